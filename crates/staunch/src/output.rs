//! What people and programs read: tables that fit 80 columns, JSON, and questions.
//!
//! Data goes to stdout and talk to stderr. Nothing that came from outside reaches a terminal unescaped: tables escape
//! every cell, and JSON escapes what a terminal could act on.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::json;
use staunch_model::text::is_unsafe_to_show;
use staunch_model::{Printable, Timestamp};

use crate::exit::{Exit, Fault, escaped};

/// Where tables wrap when stdout is not a terminal, and at the most where it is one: wider lines are hard to read.
const COLUMNS: u16 = 80;

/// How answers are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    color: bool,
}

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            color: colors(io::stdout().is_terminal()),
        }
    }

    /// Text without colours, whatever stdout is.
    pub(crate) const fn plain() -> Self {
        Self {
            json: false,
            color: false,
        }
    }

    /// Shows `value` as JSON, or calls `text` for people.
    pub(crate) fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) -> Result<(), Fault> {
        if self.json {
            print(&json(value)?)
        } else {
            print(&text(self))
        }
    }

    /// `text`, which must be safe to show, in the colour of `tone`.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A table with a heading. Cells are escaped; colours are applied to lines that are known to be whole.
    pub(crate) fn table(&self, heading: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(COLUMNS);
        table.set_header(heading.iter().map(|title| Cell::new(title.to_uppercase())));
        for row in rows {
            table.add_row(row.iter().map(|cell| Cell::new(Printable(cell).to_string())));
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            // The first column is what people copy: it never wraps.
            if at == 0 {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        if let Some(last) = table.column_mut(heading.len().saturating_sub(1)) {
            last.set_padding((0, 0));
            last.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(8)));
        }
        let lines = table.to_string();
        let mut text = String::new();
        for (at, line) in lines.lines().enumerate() {
            let line = line.trim_end();
            text.push_str(&if at == 0 {
                self.paint(Tone::Faint, line)
            } else {
                line.to_owned()
            });
            text.push('\n');
        }
        text
    }
}

/// Writes `text` to stdout. A reader that has gone away (`| head`) is no mistake.
pub(crate) fn print(text: &str) -> Result<(), Fault> {
    print_on(text).map(drop)
}

/// Writes `text` to stdout, as a part of something that goes on: ended as soon as nobody reads it any more.
pub(crate) fn print_on(text: &str) -> Result<ControlFlow<()>, Fault> {
    let mut stdout = io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') || text.is_empty() {
        b""
    } else {
        b"\n"
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(end))
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Fault::doing(Exit::Failed, "cannot write the answer", &error)),
    }
}

/// Whether nobody will ever read what is written to stdout: a pipe without a reader, say.
pub(crate) fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    match poll(&mut asked, PollTimeout::ZERO) {
        Ok(1..) => asked[0].revents().is_some_and(|it| it.intersects(gone)),
        _ => false,
    }
}

/// Whether the command was asked to answer in JSON.
static IN_JSON: AtomicBool = AtomicBool::new(false);

/// Takes note that the command answers in JSON: there is nobody to talk to then, and stderr is lines of JSON too.
pub(crate) fn answer_in_json() {
    IN_JSON.store(true, Ordering::Relaxed);
}

/// Whether the command answers in JSON.
pub(crate) fn answers_in_json() -> bool {
    IN_JSON.load(Ordering::Relaxed)
}

/// Says something to the person at the terminal, on stderr, escaped. Nothing is said where JSON was asked for: what a
/// program has to know is in the answer, or a [`warn`].
pub(crate) fn say(text: &str) {
    if !answers_in_json() {
        talk(text);
    }
}

/// Tells that an answer is not all that it could be: as [`say`] to a person, and as a line of JSON where that was asked
/// for.
pub(crate) fn warn(text: &str) {
    if answers_in_json() {
        warn_json(&json!({ "warning": text }));
    } else {
        talk(text);
    }
}

/// The same, with lines that are broken as [`say_wrapped`] does.
pub(crate) fn warn_wrapped(text: &str) {
    if answers_in_json() {
        warn(text);
    } else {
        say_wrapped(text);
    }
}

/// A warning that has more to it than a text.
pub(crate) fn warn_json(value: &impl Serialize) {
    if let Ok(line) = json_line(value) {
        say_rendered(&format!("{line}\n"));
    }
}

/// Tells of a fault that does not end the command.
pub(crate) fn warn_of(fault: &Fault) {
    if answers_in_json() {
        warn_json(&json!({ "warning": fault.told(), "hint": fault.advice() }));
    } else {
        say_rendered(&fault.render(colors_on_stderr(), is_stderr_terminal()));
    }
}

fn talk(text: &str) {
    let mut text = escaped(text);
    if is_stderr_terminal() {
        text = fit(&text);
    }
    // Nobody can be told that stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The same as [`say`] of what may be longer than a line: it is wrapped, and further lines are indented.
pub(crate) fn say_wrapped(text: &str) {
    say(&wrap(text, 2));
}

/// Whether a person reads stderr: then its lines are broken at 80 columns. What is piped is taken line by line.
pub(crate) fn is_stderr_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes text that is safe already, such as a rendered diagnostic, to stderr.
pub(crate) fn say_rendered(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether a stream that is a terminal, or not, gets colours.
pub(crate) fn colors(is_terminal: bool) -> bool {
    is_terminal && wants_colors(|name| std::env::var_os(name))
}

/// Whether the environment, asked by name, lets a terminal have colours.
fn wants_colors(environment: impl Fn(&str) -> Option<OsString>) -> bool {
    environment("NO_COLOR").is_none_or(|value| value.is_empty()) && environment("TERM").is_none_or(|it| it != "dumb")
}

/// Whether stderr gets colours.
pub(crate) fn colors_on_stderr() -> bool {
    colors(io::stderr().is_terminal())
}

/// Asks `question` at a terminal and reads a line. `None` when there is nobody to ask, or no answer.
pub(crate) fn ask(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr().lock(), "{} ", escaped(question));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).ok()?;
    Some(answer.trim().to_owned())
}

/// Asks before something is changed.
///
/// # Errors
/// [`Exit::Refused`] when the answer is not yes, [`Exit::Usage`] when there is nobody to ask.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Fault> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let fault = Fault::new(Exit::Usage, format!("nobody to ask: {question}"));
        return Err(fault.hint("stdin is not a terminal; add --yes to go on without asking"));
    }
    let answer = ask(&format!("{question} [y/N]"));
    if answer.is_some_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")) {
        return Ok(());
    }
    Err(Fault::new(Exit::Refused, "not confirmed; nothing was changed"))
}

/// `value` as indented JSON in which nothing can steer a terminal.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Fault> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot write the answer as JSON", &error))?;
    Ok(json_escaped(&text))
}

/// `value` as one line of JSON in which nothing can steer a terminal.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<String, Fault> {
    let text = serde_json::to_string(value)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot write the answer as JSON", &error))?;
    Ok(json_escaped(&text))
}

/// Escapes what serde_json leaves as it is: C1 controls, overrides and the like. They occur in strings only.
pub(crate) fn json_escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unsafe_to_show(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// `14:31:23` of today, or the date and the time; UTC.
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_string();
    match (text.split_once('T'), now.to_string().split_once('T')) {
        (Some((date, time)), Some((today, _))) => {
            let time = time.split('.').next().unwrap_or(time).trim_end_matches('Z');
            if date == today {
                time.to_owned()
            } else {
                format!("{date} {time}")
            }
        }
        _ => text,
    }
}

/// The day, and the time of it to the millisecond: `2026-11-25` and `14:00:00.250`.
pub(crate) fn day_and_time(at: Timestamp) -> (String, String) {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or(("", &text));
    let time = time.trim_end_matches('Z').chars().take("00:00:00.000".len()).collect();
    (day.to_owned(), time)
}

/// `in 59m12s`, `12s ago` or `now`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let round = |span: staunch_model::Span| staunch_model::Span::from_secs(span.as_secs()).to_string();
    if at.since(now).as_secs() > 0 {
        // A moment after somebody said 30d it is still 30d.
        let ahead = at.since(now).as_micros().div_ceil(1_000_000);
        format!("in {}", staunch_model::Span::from_secs(ahead))
    } else if now.since(at).as_secs() > 0 {
        format!("{} ago", round(now.since(at)))
    } else {
        "now".to_owned()
    }
}

/// `1 network`, `2 networks`: for nouns that take an s.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    use staunch_ports::Clock as _;
    staunch_ports::clock::SystemClock.now()
}

/// Wraps `text` at 80 columns. It begins after `indent` columns, and so do its further lines.
pub(crate) fn wrap(text: &str, indent: usize) -> String {
    wrap_after(text, indent, indent)
}

/// Breaks each line of `text` that is longer than 80 columns; what follows of it is indented by two columns more.
pub(crate) fn fit(text: &str) -> String {
    let one = |line: &str| {
        if line.chars().count() <= usize::from(COLUMNS) {
            return line.to_owned();
        }
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        format!("{}{}", " ".repeat(indent), wrap_after(words, indent, indent + 2))
    };
    text.split('\n').map(one).collect::<Vec<_>>().join("\n")
}

/// Wraps `text`, which begins after `begins` columns, at 80 columns. Its further lines begin after `indent` columns.
pub(crate) fn wrap_after(text: &str, begins: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = begins;
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > usize::from(COLUMNS) {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_turns_colours_off() {
        for (name, value, wants) in [
            ("LANG", "C", true),
            ("NO_COLOR", "1", false),
            ("NO_COLOR", "", true),
            ("TERM", "dumb", false),
            ("TERM", "xterm", true),
        ] {
            let found = wants_colors(|asked| (asked == name).then(|| value.into()));
            assert_eq!(found, wants, "{name}={value}");
        }
    }

    #[test]
    fn json_cannot_steer_a_terminal_and_stays_json() {
        let hostile = "a\u{1b}[31m\u{9b}\u{202e}\u{e0001}\n";
        let text = json(&hostile).expect("it is a string");
        assert!(!text.chars().any(is_unsafe_to_show), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).expect("it is JSON"), hostile);
    }

    #[test]
    fn tables_fit_80_columns_and_escape() {
        let rows = vec![vec!["TX-1".to_owned(), "x".repeat(300), "a\u{1b}[31mb ".repeat(20)]];
        let text = Output {
            json: false,
            color: false,
        }
        .table(&["id", "long", "hostile"], &rows);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(text.starts_with("ID"), "{text}");
    }

    #[test]
    fn times_are_short() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("a time");
        let soon: Timestamp = "2026-11-20T13:00:00Z".parse().expect("a time");
        assert_eq!(clock(soon, now), "13:00:00");
        assert_eq!(relative(soon, now), "in 1h");
        assert_eq!(
            relative(soon, now + staunch_model::Span::from_micros(9_000)),
            "in 1h",
            "as it was said"
        );
        assert_eq!(relative(now, soon), "1h ago");
        assert_eq!(
            clock("2026-11-19T01:02:03Z".parse().expect("a time"), now),
            "2026-11-19 01:02:03"
        );
    }

    #[test]
    fn what_is_too_long_for_a_terminal_is_broken_and_the_rest_left_alone() {
        let text = format!("short\n  {}\n\n  two  blanks", "word ".repeat(30).trim_end());
        let fitted = fit(&text);
        assert!(fitted.lines().all(|line| line.len() <= 80), "{fitted}");
        assert!(
            fitted.starts_with("short\n  word ") && fitted.ends_with("\n\n  two  blanks"),
            "{fitted}"
        );
        assert!(fitted.contains("\n    word "), "{fitted}");
        let path = "/x".repeat(60);
        assert_eq!(fit(&path), path, "a word is never broken");
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = wrap("word ".repeat(40).trim_end(), 4);
        assert!(format!("    {text}").lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.lines().nth(1).expect("two lines").starts_with("    word"));
    }
}
