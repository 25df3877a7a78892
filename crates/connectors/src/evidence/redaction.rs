//! Hides what looks like a secret in command lines and environments, so that evidence can be handed on.
//!
//! A hidden value is replaced by its length and a keyed hash, so that two processes with the same secret can be seen to
//! have it. It goes by names and by the forms of URLs and headers: a secret that looks like neither is kept. Where it
//! cannot tell a secret from what stands around it, all of an argument is hidden.

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

    /// Whether a text tells a secret whatever its name: a URL with a password, the header of a request that proves who
    /// sends it, or a value with a name that hides it, wherever in the text that is.
    fn tells(&self, text: &[u8]) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let has_password = memchr::memmem::find_iter(text, b"://").any(|at| {
            let rest = &text[at + 3..];
            // A password that should have been encoded holds any byte, also those that end an authority.
            let rest = &rest[..rest.iter().position(|it| *it == b' ').unwrap_or(rest.len())];
            let user = rest.iter().rposition(|it| *it == b'@').map(|at| &rest[..at]);
            user.is_some_and(|user| user.contains(&b':'))
        });
        let lower = text.to_ascii_lowercase();
        let is_header = [&b"authorization:"[..], b"bearer "]
            .iter()
            .any(|it| memchr::memmem::find(&lower, it).is_some());
        has_password || is_header || self.names_a_secret(text)
    }

    /// Whether one of the names before a `=`, or before a `:` with which a header or a field of JSON has one, hides its
    /// value.
    fn names_a_secret(&self, text: &[u8]) -> bool {
        memchr::memchr2_iter(b'=', b':', text).any(|at| {
            let (before, after) = (text[..at].trim_ascii_end(), &text[at + 1..]);
            let is_quoted = before.ends_with(b"\"") || before.ends_with(b"'");
            let end = before
                .iter()
                .rposition(|it| !b"\"'\\".contains(it))
                .map_or(0, |at| at + 1);
            let start = before[..end]
                .iter()
                .rposition(|it| !is_plain(*it))
                .map_or(0, |at| at + 1);
            let name = &before[start..end];
            let is_name = text[at] == b'='
                || is_quoted
                || after.starts_with(b" ")
                || (name.len() == at && !after.starts_with(b"//"));
            is_name && self.hides(name)
        })
    }

    /// An entry of an environment.
    pub(super) fn variable<'a>(&'a self, entry: &'a [u8]) -> Shown<'a> {
        let name = entry.iter().position(|it| *it == b'=').map(|at| &entry[..at]);
        if !self.tells(entry) && !name.is_some_and(|it| self.hides(it)) {
            return Shown::Open(entry);
        }
        // What is no plain name may be a part of the secret.
        let name = name.filter(|it| it.iter().copied().all(is_plain));
        let (before, value) = entry.split_at(name.map_or(0, |it| it.len() + 1));
        self.hidden(before, value)
    }

    /// The arguments of a command: `--name=value`, `NAME=value`, and what follows `--name`.
    pub(super) fn arguments<'a>(&'a self, arguments: &[&'a [u8]]) -> Vec<Shown<'a>> {
        let mut value_is_next = false;
        let mut shown = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            if value_is_next && !argument.starts_with(b"-") {
                shown.push(self.hidden(b"", argument));
            } else {
                shown.push(self.variable(argument));
            }
            let has_value = argument.contains(&b'=');
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

/// Whether a byte may be in the name of an option, of a variable or of a header.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
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
    use proptest::prelude::*;

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
            "Authorization: Basic hunter2==",
            "-HAuthorization: Basic hunter2==",
            "X-Api-Key: hunter2",
            "X-Api-Key:hunter2=",
            "Cookie: id=hunter2",
            "postgresql://app:hunter2@db/x?sslmode=require",
            "--url=postgresql://app:hunter2@db/x?sslmode=require",
            "https://app:hunter2/a@db/x",
            "https://app:hunter2?a=b@db/x",
            "https://app:a#hunter2@db/x",
            "https://app:a@hunter2@db/x",
            "https://example.org/?page=1&token=hunter2",
            "host=db user=app password=hunter2",
            "host = db password = hunter2",
            "{\"user\": \"app\", \"password\":\"hunter2\"}",
            "LANG=C mysql --password=hunter2",
        ] {
            let text = shown(&redaction, &["curl", secret]);
            assert!(!text.contains("hunter2"), "{text}");
            let text = serde_json::to_string(&redaction.variable(secret.as_bytes())).expect("it can be written");
            assert!(!text.contains("hunter2"), "{text}");
        }
        for open in [
            "https://example.org:8080/a:b",
            "https://example.org/a@c",
            "https://user@example.org",
            "https://example.org https://user@example.org",
            "x=y://z",
            "keyserver://example.org",
            "/opt/keycloak.jar:/opt/a.jar",
            "host=db sslmode=require",
        ] {
            assert!(shown(&redaction, &["curl", open]).contains(open), "{open}");
        }
    }

    #[test]
    fn before_a_value_a_plain_name_is_shown_and_nothing_else() {
        let redaction = Redaction::usual([7; 32]);
        let before = |text| match redaction.variable(text) {
            Shown::Hidden { before, bytes, .. } => (before, bytes),
            Shown::Open(_) => panic!("it is open"),
        };
        assert_eq!(before(b"--db.pass-word=x"), (&b"--db.pass-word="[..], 1));
        assert_eq!(before(b"CACHE=redis://a:b@c"), (&b"CACHE="[..], 13));
        assert_eq!(before(b"X-Key: a="), (&b""[..], 9));
        assert_eq!(before(b"MY KEY=a"), (&b""[..], 8));
    }

    proptest! {
        #[test]
        fn no_secret_is_shown_wherever_it_stands(
            secret in "[!-~]{0,6}hunter2[!-~]{0,6}={0,2}",
            host in "[a-z]{1,6}",
            form in 0_usize..9,
        ) {
            let arguments = match form {
                0 => vec![format!("https://app:{secret}@{host}/a?b=c")],
                1 => vec![format!("--url=https://app:{secret}@{host}/a?b=c#d")],
                2 => vec!["-H".to_owned(), format!("Authorization: Basic {secret}")],
                3 => vec![format!("--header=Authorization: {secret}")],
                4 => vec![format!("X-Auth-Token: {secret}")],
                5 => vec![format!("--password={secret}")],
                6 => vec![format!("host={host} password={secret} sslmode=require")],
                7 => vec![format!("https://{host}/?b=c&token={secret}")],
                _ => vec!["--token".to_owned(), format!("a{secret}")],
            };
            let redaction = Redaction::usual([7; 32]);
            let texts: Vec<&str> = ["program"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
            let text = shown(&redaction, &texts);
            prop_assert!(!text.contains("hunter2"), "{}", text);
            if form < 8 {
                let variable = format!("VALUE={}", arguments.last().expect("there is one"));
                let text = serde_json::to_string(&redaction.variable(variable.as_bytes())).expect("it can be written");
                prop_assert!(!text.contains("hunter2"), "{}", text);
            }
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
