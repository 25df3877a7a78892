//! Mistakes that a reload finds, as the log and the API tell them.

use staunch_model::Printable;
use staunch_playbook::Diagnostic;
use staunch_server::dto::Mistake;

use crate::config::Unusable;
use crate::exit::{Fault, escaped};
use crate::playbooks::Unreadable;

/// What is wrong with a configuration.
pub(super) fn of_config(unusable: Unusable) -> Vec<Mistake> {
    match unusable {
        Unusable::Unreadable(fault) => vec![of_fault(&fault)],
        Unusable::Mistaken { file, text, mistakes } => mistakes
            .into_iter()
            .map(|it| {
                let (line, column) = it.position(&text);
                Mistake {
                    file: Some(Printable(&file).to_string()),
                    line: Some(line as u64),
                    column: Some(column as u64),
                    code: None,
                    what: it.what,
                    hint: Some(escaped(&it.hint)),
                }
            })
            .collect(),
    }
}

/// What is wrong, or strange, in a playbook.
pub(super) fn of_playbook(it: &Diagnostic) -> Mistake {
    Mistake {
        file: Some(Printable(&it.file).to_string()),
        line: Some(it.line as u64),
        column: Some(it.column as u64),
        code: Some(it.code.to_owned()),
        what: it.message.clone(),
        hint: it.hint.as_deref().map(escaped),
    }
}

/// What is wrong in a playbook only until the next start, which takes up what has changed under these keys of the
/// configuration.
pub(super) fn until_next_start(it: &Diagnostic, keys: &[String]) -> Mistake {
    Mistake {
        what: format!("by what the server was started with, {}", it.message),
        hint: Some(format!(
            "the configuration has what is missing, but a change of {} takes effect with the next start only: start the \
             server again",
            keys.join(", ")
        )),
        ..of_playbook(it)
    }
}

/// A playbook that cannot be read.
pub(super) fn of_unreadable(it: &Unreadable) -> Mistake {
    Mistake {
        file: Some(it.file.clone()),
        what: format!("it cannot be read: {}", it.why),
        hint: Some("name under [playbooks] a directory of playbooks that the server may read".to_owned()),
        ..Mistake::default()
    }
}

/// What cannot be used for another reason.
pub(super) fn of_fault(fault: &Fault) -> Mistake {
    Mistake {
        what: escaped(&fault.told()),
        hint: fault.advice().map(escaped),
        ..Mistake::default()
    }
}

/// Writes a mistake to the log, at a level, as one line with its parts.
macro_rules! tell {
    ($level:ident, $it:expr, $words:literal) => {{
        let Mistake {
            file,
            line,
            column,
            code,
            what,
            hint,
        } = $it;
        tracing::$level!(file, line, column, code, what, hint, $words);
    }};
}

/// Writes `it` to the log.
pub(super) fn log(it: &Mistake) {
    tell!(error, it, "a mistake in what was to be read again");
}

/// Writes `it`, which does not hinder, to the log.
pub(super) fn warn(it: &Mistake) {
    tell!(warn, it, "something is strange in what was read again");
}
