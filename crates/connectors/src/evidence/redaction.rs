//! Hides what looks like a secret in command lines and environments, so that evidence can be handed on.
//!
//! A hidden value is replaced by its length and a keyed hash, so that two processes with the same secret can be seen to
//! have it. It goes by names and by the forms of URLs and headers: a secret that looks like neither is kept.

use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::value::{Hex, Text};

/// Bytes of a hash that are kept: enough that no two secrets of a machine have the same by chance.
const HASH_BYTES: usize = 16;

/// Names that are given to secrets, or parts of such names; without regard to case.
const NAMES: &[&str] = &[
    "KEY",
    "TOKEN",
    "PASS",
    "_PWD",
    "SECRET",
    "CREDENTIAL",
    "AUTH",
    "COOKIE",
    "SESSION",
    "SIGNATURE",
    "DSN",
    "DATABASE_URL",
    "CONNECTION_STRING",
    "PRIVATE",
];

/// What is hidden, and the key of the hashes.
#[derive(Clone)]
pub struct Redaction {
    names: Vec<Box<str>>,
    key: [u8; 32],
}

impl Redaction {
    /// Hides the values of names in which one of the usual words is.
    #[must_use]
    pub fn usual(key: [u8; 32]) -> Self {
        Self::of(key, NAMES.iter().copied())
    }

    /// Hides the values of names in which one of these words is, whatever its case. With none, nothing is hidden.
    pub fn of<'a>(key: [u8; 32], names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(|it| it.to_ascii_uppercase().into()).collect();
        Self { names, key }
    }

    /// The same, and the values of names in which one of these words is besides.
    #[must_use]
    pub fn and<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.names
            .extend(names.into_iter().map(|it| Box::from(it.to_ascii_uppercase())));
        self
    }

    /// Whether the value of `name` is hidden.
    fn hides(&self, name: &[u8]) -> bool {
        let name = name.to_ascii_uppercase();
        let holds = |part: &str| !part.is_empty() && memchr::memmem::find(&name, part.as_bytes()).is_some();
        self.names.iter().any(|it| holds(it))
    }

    /// Whether a value tells a secret whatever its name: a URL with a password, or the header of a request that proves
    /// who sends it.
    fn tells(&self, value: &[u8]) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let has_password = memchr::memmem::find_iter(value, b"://").any(|at| {
            let rest = &value[at + 3..];
            let authority = &rest[..rest.iter().position(|it| b"/?# ".contains(it)).unwrap_or(rest.len())];
            let user = authority.iter().position(|it| *it == b'@').map(|at| &authority[..at]);
            user.is_some_and(|user| user.contains(&b':'))
        });
        let lower = value.to_ascii_lowercase();
        let is_header = [&b"authorization:"[..], b"bearer "]
            .iter()
            .any(|it| memchr::memmem::find(&lower, it).is_some());
        has_password || is_header
    }

    /// An entry of an environment.
    pub(super) fn variable<'a>(&'a self, entry: &'a [u8]) -> Shown<'a> {
        match entry.iter().position(|byte| *byte == b'=') {
            Some(at) if self.hides(&entry[..at]) || self.tells(&entry[at + 1..]) => {
                self.hidden(&entry[..=at], &entry[at + 1..])
            }
            _ => Shown::Open(entry),
        }
    }

    /// The arguments of a command: `--name=value`, `NAME=value`, and what follows `--name`.
    pub(super) fn arguments<'a>(&'a self, arguments: &[&'a [u8]]) -> Vec<Shown<'a>> {
        let mut value_is_next = false;
        let mut shown = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            let has_value = argument.contains(&b'=');
            if (value_is_next && !argument.starts_with(b"-")) || (!has_value && self.tells(argument)) {
                shown.push(self.hidden(b"", argument));
            } else if has_value {
                shown.push(self.variable(argument));
            } else {
                shown.push(Shown::Open(argument));
            }
            value_is_next = at > 0 && !has_value && argument.starts_with(b"-") && self.hides(argument);
        }
        shown
    }

    fn hidden<'a>(&self, before: &'a [u8], value: &[u8]) -> Shown<'a> {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&blake3::keyed_hash(&self.key, value).as_bytes()[..HASH_BYTES]);
        Shown::Hidden {
            before,
            bytes: value.len(),
            hash,
        }
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// An argument or a variable as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    /// As it is.
    Open(&'a [u8]),
    /// Without its value.
    Hidden {
        /// What stands before the value.
        before: &'a [u8],
        /// The length of the value.
        bytes: usize,
        /// Its keyed hash.
        hash: [u8; HASH_BYTES],
    },
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open(bytes) => Text(bytes).serialize(to),
            Self::Hidden { before, bytes, hash } => {
                let mut map = to.serialize_map(Some(3))?;
                map.serialize_entry("before", &Text(before))?;
                map.serialize_entry("hidden_bytes", bytes)?;
                map.serialize_entry("keyed_hash", &Hex(hash))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(redaction: &Redaction, arguments: &[&str]) -> String {
        let arguments: Vec<&[u8]> = arguments.iter().map(|it| it.as_bytes()).collect();
        serde_json::to_string(&redaction.arguments(&arguments)).expect("it can be written")
    }

    #[test]
    fn further_words_hide_besides_the_usual_ones() {
        let redaction = Redaction::usual([7; 32]).and(["iban"]);
        let shown = shown(&redaction, &["--customer-iban=DE02", "--api-token=x7", "--color=red"]);
        assert!(!shown.contains("DE02") && !shown.contains("x7"), "{shown}");
        assert!(shown.contains("--color=red"), "{shown}");
    }

    #[test]
    fn values_of_secrets_are_hidden_and_others_are_not() {
        let redaction = Redaction::usual([7; 32]);
        for secret in [
            "AWS_SECRET_ACCESS_KEY=hunter2",
            "db_password=hunter2",
            "GITHUB_TOKEN=hunter2",
        ] {
            let text = serde_json::to_string(&redaction.variable(secret.as_bytes())).expect("it can be written");
            assert!(
                !text.contains("hunter2") && text.contains(r#""hidden_bytes":7"#),
                "{text}"
            );
            assert!(text.contains(secret.split('=').next().expect("a name")), "{text}");
        }
        for open in ["PATH=/bin", "HOME=/root", "no value", "=", ""] {
            assert_eq!(redaction.variable(open.as_bytes()), Shown::Open(open.as_bytes()));
        }
    }

    #[test]
    fn secrets_in_urls_and_headers_are_hidden_whatever_their_name() {
        let redaction = Redaction::usual([7; 32]);
        for secret in [
            "DB_PASS=hunter2",
            "CACHE=redis://user:hunter2@cache:6379/0",
            "https://user:hunter2@example.org/x",
            "Authorization: Bearer hunter2",
        ] {
            let text = shown(&redaction, &["curl", secret]);
            assert!(!text.contains("hunter2"), "{text}");
        }
        for open in ["https://example.org:8080/a:b@c", "https://user@example.org", "x=y://z"] {
            assert!(shown(&redaction, &["curl", open]).contains(open), "{open}");
        }
    }

    #[test]
    fn the_same_secret_has_the_same_hash_under_the_same_key_only() {
        let one = Redaction::usual([1; 32]);
        let hash = |redaction: &Redaction, text: &[u8]| match redaction.variable(text) {
            Shown::Hidden { hash, .. } => hash,
            Shown::Open(_) => panic!("it is open"),
        };
        assert_eq!(hash(&one, b"A_KEY=x"), hash(&one, b"B_KEY=x"));
        assert_ne!(hash(&one, b"A_KEY=x"), hash(&one, b"A_KEY=y"));
        assert_ne!(hash(&one, b"A_KEY=x"), hash(&Redaction::usual([2; 32]), b"A_KEY=x"));
    }

    #[test]
    fn arguments_are_hidden_with_their_values() {
        let redaction = Redaction::usual([7; 32]);
        let text = shown(
            &redaction,
            &[
                "mysql",
                "--password=hunter2",
                "--host=a",
                "--token",
                "hunter3",
                "hunter",
            ],
        );
        assert!(!text.contains("hunter2") && !text.contains("hunter3"), "{text}");
        assert!(text.contains("--host=a") && text.ends_with(r#","hunter"]"#), "{text}");
        let text = shown(&redaction, &["keyring", "value", "--no-auth", "-v"]);
        assert_eq!(text, r#"["keyring","value","--no-auth","-v"]"#);
        let none = Redaction::of([7; 32], []);
        assert_eq!(shown(&none, &["a", "--password=x"]), r#"["a","--password=x"]"#);
    }
}
