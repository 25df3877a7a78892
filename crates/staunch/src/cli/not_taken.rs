//! Arguments that the program does not take, for the person who gave them.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use super::{Cli, JSON};
use crate::exit::{Exit, Fault};

/// The characters that are shown of a value that is not taken.
const VALUE_CHARS_MAX: usize = 60;

/// `error` without most of a value that is longer than anybody reads: what is wrong with it stands behind it.
pub(super) fn shortened(mut error: clap::Error) -> clap::Error {
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
