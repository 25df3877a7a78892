//! What can be a name: of a parameter, of an environment, and of a value in a scalar.

use staunch_model::Printable;

use crate::diagnostic::Report;
use crate::limits;
use crate::yaml::{Kind, Node};

/// The name in a scalar that is exactly `${name}`.
pub(super) fn reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?
        .strip_suffix('}')
        .filter(|name| !name.contains(['{', '}']))
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether `text` can be the name of an environment.
#[must_use]
pub fn is_environment(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= limits::NAME_CHARS_MAX
        && text.split('-').all(part)
}

/// The text of a key that is a name.
pub(crate) fn a_name<'n>(
    key: &'n Node,
    fits: fn(&str) -> bool,
    what: &str,
    form: &str,
    report: &mut Report<'_>,
) -> Option<&'n str> {
    let name = match (&key.kind, key.text()) {
        (Kind::Refused, _) => return None,
        (_, Some(name)) => name,
        _ => {
            let message = format!("the name of {what} is a text, and this is {}", key.describe());
            report.error("P006", key.point(), message);
            return None;
        }
    };
    if fits(name) && name.len() <= limits::NAME_CHARS_MAX {
        return Some(name);
    }
    let message = format!("`{}` is not the name of {what}", Printable(name));
    let hint = format!("names are {form}; at most {} characters", limits::NAME_CHARS_MAX);
    report.error_with_hint("P012", key.span.clone(), message, hint);
    None
}
