//! Exit codes and the errors that lead to them.
//!
//! The meaning of a code never changes: scripts rely on it. `docs/reference/exit-codes.md` is generated from here.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use staunch_model::text::is_unsafe_to_show;

use crate::output::{fit, wrap_after};

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Failed,
    Usage,
    Unreachable,
    Refused,
    NotFound,
    Corrupt,
    InUse,
    Denied,
    Busy,
    Direct,
    Poisoned,
    Differs,
    TestFailed,
    DrillFailed,
}

impl Exit {
    /// All codes, in the order of their numbers.
    pub(crate) const ALL: [Self; 15] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::NotFound,
        Self::Corrupt,
        Self::InUse,
        Self::Denied,
        Self::Busy,
        Self::Direct,
        Self::Poisoned,
        Self::Differs,
        Self::TestFailed,
        Self::DrillFailed,
    ];

    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::NotFound => 5,
            Self::Corrupt => 6,
            Self::InUse => 7,
            Self::Denied => 8,
            Self::Busy => 9,
            Self::Direct => 10,
            Self::Poisoned => 11,
            Self::Differs => 12,
            Self::TestFailed => 13,
            Self::DrillFailed => 14,
        }
    }

    /// What it means, for the reference.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "it did not work; the message says why",
            Self::Usage => "a mistake in the arguments, the configuration or a playbook; nothing was done",
            Self::Unreachable => "no running Staunch could be reached",
            Self::Refused => "Staunch refused the command, or the person at the terminal said no",
            Self::NotFound => "there is no such incident, transaction, token, file or folder",
            Self::Corrupt => {
                "the journal is corrupt (the message names the file and the offset), or evidence is not as it was sealed or exported"
            }
            Self::InUse => "another process uses the data directory, or enforces with the same nftables table",
            Self::Denied => "a permission is missing: the token was not accepted, or the kernel or a file said no",
            Self::Busy => {
                "Staunch cannot take it at present (queue or disk full, or stopping), or nothing proves so far what `evidence get` has written; try again"
            }
            Self::Direct => {
                "`release --all` went around the server: what Staunch had put in force was removed directly in the kernel"
            }
            Self::Poisoned => {
                "`serve` ended by itself because the journal takes no more frames or the engine failed; start it again to recover from disk"
            }
            Self::Differs => {
                "`replay --verify` found that this build decides differently from the record, or `backtest` found what `--fail-on` names"
            }
            Self::TestFailed => {
                "`test`: a test of a playbook failed; `review check`: a test, a rule or a diff of the review does not hold"
            }
            Self::DrillFailed => {
                "`drill run`: an expectation did not hold; `drill verify`: the report is not what was signed"
            }
        }
    }
}

/// The codes as `staunch --help` lists them.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:");
    for exit in Exit::ALL {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "\n  {:>2}  {}",
            exit.code(),
            crate::output::wrap(exit.meaning(), 6)
        );
    }
    text
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked to, for the person who asked.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    mistakes: Vec<MistakeInFile>,
    /// Somebody was there, and said nothing.
    is_silence: bool,
}

/// A mistake in a file that a fault is about.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MistakeInFile {
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    pub(crate) what: String,
    pub(crate) hint: String,
    /// The mistake with the line that it is in, safe to show.
    #[serde(skip)]
    pub(crate) rendered: String,
}

/// A fault as it is written with `--json`.
#[derive(Serialize)]
struct Told<'f> {
    error: &'f str,
    because: &'f [String],
    hint: Option<&'f str>,
    exit_code: u8,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mistakes: &'f [MistakeInFile],
}

impl Fault {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            mistakes: Vec::new(),
            is_silence: false,
        }
    }

    /// A fault that says what `error` and all its causes say.
    pub(crate) fn of(exit: Exit, error: &dyn Error) -> Self {
        Self::new(exit, error.to_string()).causes_of(error)
    }

    /// Something that was being done, and the error that ended it.
    pub(crate) fn doing(exit: Exit, what: impl Into<String>, error: &dyn Error) -> Self {
        let mut fault = Self::new(exit, what);
        fault.causes.push(error.to_string());
        fault.causes_of(error)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, about these mistakes in a file.
    #[must_use]
    pub(crate) fn with_mistakes(mut self, mistakes: Vec<MistakeInFile>) -> Self {
        self.mistakes = mistakes;
        self
    }

    /// Adds one more reason, after those that are there.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    fn causes_of(mut self, error: &dyn Error) -> Self {
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if self.causes.last() != Some(&text) && self.message != text {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// What is wrong, with its causes, in a line; not escaped.
    pub(crate) fn told(&self) -> String {
        let causes = self.causes.iter().map(String::as_str);
        let all: Vec<_> = std::iter::once(&*self.message).chain(causes).collect();
        all.join(": ")
    }

    /// True when something else has led to it.
    pub(crate) fn has_cause(&self) -> bool {
        !self.causes.is_empty()
    }

    /// The same, about somebody who takes connections and says nothing.
    pub(crate) const fn silence(mut self) -> Self {
        self.is_silence = true;
        self
    }

    /// Whether somebody was there and said nothing.
    pub(crate) const fn is_silence(&self) -> bool {
        self.is_silence
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The whole text for a person, with everything escaped that could steer a terminal; with `wraps`, in lines of at
    /// most 80 columns. An empty message is silence: the command has said everything itself.
    pub(crate) fn render(&self, color: bool, wraps: bool) -> String {
        let (red, cyan, off) = if color {
            ("\u{1b}[1;31m", "\u{1b}[1;36m", "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let mut text: String = self.mistakes.iter().map(|it| &*it.rendered).collect();
        if self.message.is_empty() {
            return text;
        }
        // Writing into a string cannot fail.
        let shown = |text: &str, label: &str, indent| {
            let text = escaped(text);
            match text.split_once('\n') {
                _ if !wraps => text,
                // Further lines are wrapped each by itself, under where it begins.
                Some((first, further)) => format!("{}\n{}", wrap_after(first, label.len(), indent), fit(further)),
                None => wrap_after(&text, label.len(), indent),
            }
        };
        let _ = writeln!(text, "{red}error:{off} {}", shown(&self.message, "error: ", 2));
        for cause in &self.causes {
            let _ = writeln!(text, "  because: {}", shown(cause, "  because: ", 4));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{cyan}hint:{off} {}", shown(hint, "hint: ", 2));
        }
        text
    }

    /// The whole as a line of JSON, for those who gave `--json`. As with [`Fault::render`], an empty message is
    /// silence.
    pub(crate) fn json_line(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let told = Told {
            error: &self.message,
            because: &self.causes,
            hint: self.hint.as_deref(),
            exit_code: self.exit.code(),
            mistakes: &self.mistakes,
        };
        // Of texts and numbers, JSON can always be made.
        crate::output::json_line(&told).map_or_else(|fault| fault.render(false, false), |line| line + "\n")
    }
}

/// `text` with everything escaped that steers a terminal, but for line ends. Unlike `Printable` it cuts nothing: it is
/// for our own sentences, which may hold words from outside.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unsafe_to_show(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {

    use super::*;

    /// What the reference says of paths.
    const PATHS: &str = "\n## Paths that are not there\n\n\
        A file or folder that is named on the command line or in an environment variable, and that is not there, is\n\
        code 5, whatever it is for: the configuration, the data directory, playbooks, events, an archive, a key, the\n\
        folder that something is to be written into. What a configuration or a playbook names, and is not there, is a\n\
        mistake in that file: code 2.\n\n\
        A command that makes what is not there takes the path as it is: `serve` and `token create` make the data\n\
        directory, `drill` its key. `doctor` says of a data directory that is not there whether it can be made.\n";

    /// What the reference says of errors.
    const ERRORS: &str = r##"
## Errors

An error is on stderr, whatever the command writes to stdout. It has what went wrong, what led to it, and what to do:

```text
error: no Staunch answers at http://127.0.0.1:7450
  because: io: Connection refused (os error 111)
hint: start it with `staunch serve`, or name its address with --url or STAUNCH_URL
```

At a terminal the lines are broken at 80 columns; what is piped has one for each.

A command that takes `--json` writes its error as one line of JSON when it is given, and that line is the last of stderr.
Before it there is nothing but warnings, which are lines of JSON too (and the log lines of `staunch run`); notes for
people are left out. Arguments that the command does not take are told the same way.

```json
{"error":"there is no INC-9","because":[],"hint":null,"exit_code":5}
```

| Field | What it holds |
|---|---|
| `error` | what went wrong |
| `because` | what led to it, from the outside in; a list that may be empty |
| `hint` | what to do about it, or `null` |
| `exit_code` | the code of the table above, with which the command ends |
| `mistakes` | of a configuration with mistakes that the command itself has read: each with `file`, `line`, `column`, `what` and `hint`; absent elsewhere |

A warning says what an answer lacks, such as incidents that are not in the index yet. It has its text in `warning`, and
may have a `hint`, or the `mistakes` of a configuration that the command goes on with; a mistake in a playbook is in
`diagnostic` instead, as `staunch check --json` has it.

```json
{"warning":"7 frames of the journal are not in the index yet: what is newest may be missing here"}
```

Nothing is on stdout then, but for what a command had answered before it failed: `staunch watch --json` writes what it
sees as it sees it, and `run`, `backtest` and `test` print their summary also when nothing could be read or tested. A
command that did what it was asked to do, and found something bad, answers on stdout and writes no error: so do `check`,
`test`, `doctor`, `backtest --fail-on`, `replay --verify`, `drill run`, `evidence verify` and `playbook verify`. So does
`evidence get`, which ends with 1, as `evidence verify` does of what is proved in part, when nothing proves what it has
written, and with 9 while a server may still bring that into its log. What is last on stderr tells them apart.
"##;

    #[test]
    fn codes_are_their_positions() {
        for (position, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), position, "{exit:?}");
        }
    }

    #[test]
    fn a_fault_names_its_causes_once_and_ends_with_the_hint() {
        let inner = std::io::Error::other("disk on fire\u{1b}[31m");
        let fault = Fault::doing(Exit::Failed, "cannot write", &inner).hint("buy a new one");
        let text = fault.render(false, false);
        assert_eq!(
            text,
            "error: cannot write\n  because: disk on fire\\u{1b}[31m\nhint: buy a new one\n"
        );
    }

    #[test]
    fn each_line_of_a_message_is_wrapped_by_itself() {
        let mistake = format!(
            "  a.yaml:1:1: [P096] {}\n    hint: {}",
            "what is ".repeat(12),
            "add it ".repeat(12)
        );
        let mistake = mistake.replace(" \n", "\n");
        let fault = Fault::new(
            Exit::Usage,
            format!("2 mistakes\n{}\n{}", mistake.trim_end(), mistake.trim_end()),
        );
        let text = fault.render(false, true);
        assert!(
            text.lines().all(|line| line.len() <= 80 && !line.trim().is_empty()),
            "{text}"
        );
        let begin = |with: &str| text.lines().filter(|line| line.starts_with(with)).count();
        assert_eq!(
            (begin("  a.yaml:1:1: [P096] what"), begin("    hint: add it ")),
            (2, 2),
            "{text}"
        );
        assert!(!text.lines().any(|line| line.ends_with("hint:")), "{text}");
    }

    #[test]
    fn a_fault_is_one_line_of_json_that_cannot_steer_a_terminal() {
        let inner = std::io::Error::other("disk\non fire\u{1b}[31m\u{9b}");
        let line = Fault::doing(Exit::Busy, "cannot write", &inner).hint("buy").json_line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().chars().any(is_unsafe_to_show), "{line}");
        let told: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        let expected = serde_json::json!({ "error": "cannot write", "because": ["disk\non fire\u{1b}[31m\u{9b}"], "hint": "buy",
                                           "exit_code": 9 });
        assert_eq!(told, expected);
        assert_eq!(Fault::new(Exit::Failed, "").json_line(), "", "it was said already");
    }

    #[test]
    fn the_reference_lists_every_code() {
        let mut text = String::from(
            "# Exit codes\n\nWhat the `staunch` program tells the shell. The meaning of a number never changes.\n\n\
             | Code | Meaning |\n|---|---|\n",
        );
        for exit in Exit::ALL {
            let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
        }
        text.push_str(
            "\nA process that was ended by a signal has no code of its own; the shell shows 128 and its number.\n",
        );
        text.push_str(PATHS);
        text.push_str(ERRORS);
        crate::cli::tests::check_reference("exit-codes.md", &text);
    }
}
