//! Arguments that the program does not take, for the person who gave them.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Cli, JSON};
use crate::exit::{Exit, Fault};

/// The characters that are shown of a value that is not taken.
const VALUE_CHARS_MAX: usize = 60;

/// What people call things that have another name here, and where those are. What sounds alike is no help with them: a
/// slip must not lead to a command that does something else.
pub(super) const OTHER_NAMES: [(&[&str], &str); 7] = [
    (
        &["undo", "unblock", "unban", "rollback", "revert", "lift"],
        "`staunch release` lifts what is in force",
    ),
    (
        &["explain", "why"],
        "`staunch incident show` says why, `staunch protect explain` whether",
    ),
    (
        &["list", "ls", "blocks", "transactions"],
        "`staunch containment list` or `staunch incident list`",
    ),
    (
        &["block", "ban", "contain", "isolate"],
        "playbooks do, of what an event names: see `staunch plan`",
    ),
    (
        &["stop", "pause", "disable", "off"],
        "`staunch mode observe`, and `staunch release --all` lifts everything",
    ),
    (
        &["log", "logs", "tail", "events"],
        "`staunch watch` shows what happens as it happens",
    ),
    (
        &["allow", "allowlist", "whitelist", "trust"],
        "`staunch protect add`, or `staunch release --trust` of a mistake",
    ),
];

/// `error` of `arguments` as a person can use it: without most of a value that is longer than anybody reads, since what
/// is wrong with it stands behind it, and with the name that a command has here.
pub(super) fn made_clear(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    // Groups of commands have words of their own, which they know better.
    let first = arguments.get(1).and_then(|it| it.to_str());
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(name) = first
        && let Some((_, tip)) = OTHER_NAMES.iter().find(|(names, _)| names.contains(&name))
    {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*tip).into()]));
    }
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && value.chars().count() > VALUE_CHARS_MAX
    {
        let begin: String = value.chars().take(VALUE_CHARS_MAX).collect();
        error.insert(ContextKind::InvalidValue, ContextValue::String(format!("{begin}...")));
    }
    error
}

/// The fault of arguments that are not taken, as the reader of the command line tells of them.
pub(crate) fn not_taken(error: &clap::Error) -> Fault {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let mut fault = Fault::new(Exit::Usage, first.strip_prefix("error: ").unwrap_or(first));
    for line in lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")) {
        match line.strip_prefix("tip: ") {
            Some(tip) => fault = fault.hint(tip),
            None if line.is_empty() => {}
            None => fault = fault.because(line),
        }
    }
    if fault.advice().is_none() {
        fault = fault.hint("`--help` shows what can be given");
    }
    fault
}

/// Whether JSON is asked for by a command line that cannot be read, of a command that has it.
pub(crate) fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let root = Cli::command();
    let (mut command, mut asked) = (&root, false);
    for word in arguments.skip(1).take_while(|word| word != "--") {
        asked |= word == "--json";
        command = command.find_subcommand(&word).unwrap_or(command);
    }
    asked && command.get_arguments().any(|it| it.get_id() == JSON)
}
