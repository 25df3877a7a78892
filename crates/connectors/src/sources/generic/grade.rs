//! How bad the events of a mapping are: as each of them says, or as the mapping says of all.
//!
//! Never takes a word for a path, nor a path for a word, where both may be meant.

use staunch_model::{FieldValue, Printable, Severity};

use super::path::Path;
use super::{GenericSettings, is_written, read};
use crate::json::Node;
use crate::sources::SettingsError;

const KEY: &str = "severity";

/// Where the severity of an event is from.
#[derive(Clone, Debug)]
pub(super) enum Grade {
    /// All events have this one.
    Always(Severity),
    /// Each says its own, in words of its system.
    Said {
        path: Path,
        table: Vec<(Box<str>, Severity)>,
    },
}

impl Grade {
    pub(super) fn new(settings: &GenericSettings) -> Result<Self, SettingsError> {
        let has_table = !settings.severities.is_empty();
        let Some(text) = settings.severity.as_deref() else {
            return match has_table {
                true => Err(SettingsError::new(
                    "severities",
                    "there is a table of severities, but no path to look at",
                    "set `severity` to the path of the value",
                )),
                false => Ok(Self::Always(Severity::Unknown)),
            };
        };
        // What nobody knows is no severity to give, so `unknown` is the name of a field.
        let words = || Severity::ALL.into_iter().filter(|it| *it != Severity::Unknown);
        match words().find(|it| text.eq_ignore_ascii_case(it.name())) {
            Some(word) if text != word.name() => Err(SettingsError::new(
                KEY,
                format!("\"{}\" is the word {word}, or the name of a field", Printable(text)),
                "write the word in small letters for all events, or [\"...\"] around it for what that field says",
            )),
            Some(word) if has_table => Err(SettingsError::new(
                KEY,
                format!("all events are {word}, and there is a table of severities"),
                "leave out `severities`, or write [\"...\"] around the word for what the field of that name says",
            )),
            Some(word) => Ok(Self::Always(word)),
            None => Ok(Self::Said {
                path: read(KEY, text)?,
                table: settings
                    .severities
                    .iter()
                    .map(|(name, severity)| (name.as_str().into(), *severity))
                    .collect(),
            }),
        }
    }

    /// The severity of the event below `root`.
    pub(super) fn of(&self, root: Node<'_>) -> Severity {
        match self {
            Self::Always(severity) => *severity,
            Self::Said { path, table } => path.of(root).map(|node| meant(node.value(), table)).unwrap_or_default(),
        }
    }
}

/// What `value` means: what the table says, else the severity that it is the name of.
fn meant(value: FieldValue<'_>, table: &[(Box<str>, Severity)]) -> Severity {
    let listed = table
        .iter()
        .find(|(name, _)| is_written(value, name))
        .map(|(_, severity)| *severity);
    let named = || {
        Severity::ALL
            .into_iter()
            .find(|severity| is_written(value, severity.name()))
    };
    listed.or_else(named).unwrap_or_default()
}
