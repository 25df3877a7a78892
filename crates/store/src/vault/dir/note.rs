//! What waits to be sent, as the outbox writes it down: the name of a note, and what is in it.
//!
//! Never believes a name: it is read in the one way in which it is written.

use staunch_model::{EvidenceId, IncidentId};

use super::name::ObjectName;
use super::{exactly, hash_of, sequence_of};

/// The longest reason in a note.
const WHY_CHARS_MAX: usize = 400;

/// What the name of a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// The artefact of this name.
    Artefact(ObjectName),
    /// The manifest or record in this file.
    Document(String),
}

impl Queued {
    /// Reads the name of a note, and nothing but the one way in which it is written.
    pub(crate) fn parse(note: &str) -> Option<Self> {
        let name = note.replace('+', "/");
        if note_of(&name) != note {
            return None;
        }
        if let Some(of) = ObjectName::parse(&name) {
            return Some(Self::Artefact(of));
        }
        let mut parts = name.split('/');
        let is_last: fn(&str) -> bool = match parts.next()? {
            "manifests" => |it| sequence_of(it).is_some(),
            "records" => |it| hash_of(it).is_some(),
            _ => return None,
        };
        exactly::<IncidentId>(parts.next()?)?;
        exactly::<EvidenceId>(parts.next()?)?;
        let is_document = is_last(parts.next()?) && parts.next().is_none();
        is_document.then_some(Self::Document(name))
    }

    /// The file that waits.
    pub(super) fn file(&self) -> String {
        match self {
            Self::Artefact(of) => of.to_string(),
            Self::Document(name) => name.clone(),
        }
    }
}

/// The note of a file.
pub(super) fn note_of(name: &str) -> String {
    name.replace('/', "+")
}

/// What is in a note.
#[derive(Debug, Default)]
pub(super) struct Note {
    pub(super) why: String,
    /// Whom the artefact is encrypted to.
    pub(super) recipients: Vec<String>,
}

impl Note {
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::to_owned);
        Self {
            why: lines.next().unwrap_or_default(),
            recipients: lines.collect(),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let why: String = self
            .why
            .chars()
            .filter(|it| !it.is_control())
            .take(WHY_CHARS_MAX)
            .collect();
        let lines: Vec<&str> = std::iter::once(&*why)
            .chain(self.recipients.iter().map(String::as_str))
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::Sha256Hash;

    use super::*;

    #[test]
    fn names_are_parsed_and_never_believed() {
        let hash = Sha256Hash::of(b"a");
        let of = ObjectName {
            artefact: hash,
            encrypted: None,
        };
        assert_eq!(Queued::parse(&note_of(&of.to_string())), Some(Queued::Artefact(of)));
        let record = format!("records+INC-3+EV-17+{hash}.json");
        for note in ["manifests+INC-3+EV-17+00000001.json", &record] {
            let queued = Queued::parse(note).expect("it is one");
            assert_eq!(note_of(&queued.file()), note);
        }
        for note in [
            "..+..+etc+passwd",
            "manifests+..+..+x",
            "manifests+INC-3+EV-17+..",
            "manifests+INC-3+EV-17+1.json",
            "manifests+INC-3+EV-17+00000001.json+",
            "manifests+INC-3+EV-17+../00000001.json",
            "manifests/INC-3/EV-17/00000001.json",
            "manifests+INC-03+EV-17+00000001.json",
            "records+INC-3+EV-17+00000001.json",
            "lock",
            "",
        ] {
            assert_eq!(Queued::parse(note), None, "{note}");
        }
    }

    #[test]
    fn a_note_says_why_and_for_whom() {
        let note = Note {
            why: "it was\naway".into(),
            recipients: vec!["age1x".into(), "age1y".into()],
        };
        let read = Note::parse(&note.to_text());
        assert_eq!((&*read.why, read.recipients.len()), ("it wasaway", 2));
        let empty = Note::parse("");
        assert_eq!((&*empty.why, empty.recipients.len()), ("", 0));
    }
}
