//! What a job says that it has seen: one line of JSON, which is hostile until it is read.

use serde::Deserialize;
use staunch_model::{InstallationId, Observation, Presence};

use super::super::Label;

/// The longest answer.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The longest owner that is kept; what is longer is no label of ours, and shown cut.
const OWNER_BYTES_MAX: usize = 256;

/// What a job has seen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whether what the job does is in place.
    pub present: bool,
    /// The label under which it was put there; nothing when nobody left one.
    #[serde(default)]
    pub owner: Option<Box<str>>,
    /// Whether it works. Default true.
    #[serde(default = "yes")]
    pub enforcing: bool,
    /// The version of what was read, for changes that are conditional on it. Default 0: it has none.
    #[serde(default)]
    pub version: u64,
}

const fn yes() -> bool {
    true
}

/// Why an answer cannot be used. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is too long.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// It is not one line.
    #[error("the answer is not one line")]
    NotOneLine,
    /// It is not what is asked for.
    #[error("the answer is no JSON object with `present`, and `owner`, `enforcing` and `version` where they are known")]
    NotUnderstood,
    /// It says two things.
    #[error("the answer names an owner of what it says is absent")]
    OwnedAndAbsent,
}

impl Answer {
    /// Reads the standard output of a job that was asked to look.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn read(output: &[u8]) -> Result<Self, AnswerError> {
        if output.len() > ANSWER_BYTES_MAX {
            return Err(AnswerError::TooLong);
        }
        let line = output.strip_suffix(b"\n").unwrap_or(output);
        if line.is_empty() || line.contains(&b'\n') {
            return Err(AnswerError::NotOneLine);
        }
        let answer: Self = serde_json::from_slice(line).map_err(|_| AnswerError::NotUnderstood)?;
        if !answer.present && answer.owner.as_deref().is_some_and(|owner| !owner.is_empty()) {
            return Err(AnswerError::OwnedAndAbsent);
        }
        Ok(answer)
    }

    /// What was seen, from `installation`.
    #[must_use]
    pub fn observation(&self, installation: InstallationId) -> Observation {
        let owner = self.owner.as_deref();
        let owner = owner.map(|text| staunch_model::text::clip(text, OWNER_BYTES_MAX));
        Observation {
            presence: if self.present {
                Presence::Present {
                    owner: Label::owner(owner, installation),
                    expires_in: None,
                }
            } else {
                Presence::Absent
            },
            // What is not there has nothing that could not work.
            enforcing: self.enforcing || !self.present,
            version: self.version,
            capacity: None,
            stopped_packets: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::{Owner, TransactionId};

    use super::*;

    const OURS: InstallationId = InstallationId([0xab; 8]);

    fn seen(text: &str) -> Result<Observation, AnswerError> {
        Answer::read(text.as_bytes()).map(|it| it.observation(OURS))
    }

    #[test]
    fn an_answer_is_read() {
        let absent = seen("{\"present\":false}\n").expect("an answer");
        assert_eq!(
            (absent.presence, absent.enforcing, absent.version),
            (Presence::Absent, true, 0)
        );
        let text = "{\"present\":true,\"owner\":\"staunch:abababababababab:TX-7\",\"enforcing\":false,\"version\":3}";
        let ours = seen(text).expect("an answer");
        let owner = Owner::Ours(TransactionId(7));
        let expires_in = None;
        assert_eq!(ours.presence, Presence::Present { owner, expires_in });
        assert_eq!((ours.enforcing, ours.version), (false, 3));
    }

    #[test]
    fn whatever_else_is_said_is_nothing_of_ours() {
        for owner in ["null", "\"\"", "\"somebody\"", "\"staunch:abababababababab:TX-07\""] {
            let seen = seen(&format!("{{\"present\":true,\"owner\":{owner}}}")).expect("an answer");
            let is_foreign =
                matches!(&seen.presence, Presence::Present { owner, .. } if matches!(owner, Owner::Foreign(_)));
            assert!(is_foreign, "{owner}");
        }
        let long = format!("{{\"present\":true,\"owner\":\"{}\"}}", "é".repeat(10_000));
        let Presence::Present { owner, .. } = seen(&long).expect("an answer").presence else {
            panic!("it is there")
        };
        let Owner::Foreign(text) = owner else {
            panic!("it is somebody else's")
        };
        assert!(text.len() <= OWNER_BYTES_MAX);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let long = " ".repeat(ANSWER_BYTES_MAX + 1);
        for (text, expect) in [
            ("", AnswerError::NotOneLine),
            ("\n", AnswerError::NotOneLine),
            ("{\"present\":true}\n{\"present\":true}\n", AnswerError::NotOneLine),
            ("yes", AnswerError::NotUnderstood),
            ("{}", AnswerError::NotUnderstood),
            ("{\"present\":1}", AnswerError::NotUnderstood),
            ("{\"present\":true,\"present\":false}", AnswerError::NotUnderstood),
            ("{\"present\":true,\"ownr\":\"x\"}", AnswerError::NotUnderstood),
            ("{\"present\":true,\"version\":-1}", AnswerError::NotUnderstood),
            ("{\"present\":false,\"owner\":\"x\"}", AnswerError::OwnedAndAbsent),
            (&long, AnswerError::TooLong),
        ] {
            assert_eq!(Answer::read(text.as_bytes()), Err(expect), "{text}");
        }
    }
}
