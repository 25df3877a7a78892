//! Why a request was not carried out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ElementError;

/// Why a request was not carried out, after RFC 9457. The answer to every request that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:staunch:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words; the same for every problem of its type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, safe to show.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The byte of the body where reading failed, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Elements of the body that could not be read, when all of them could not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ElementError>,
    /// What could have been named instead, such as the known sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
    /// Mistakes in the configuration, or in what it names, when it was to be read again; the first
    /// 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

/// A mistake in a file of the server. All texts are safe to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// The file, when it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The code, such as `P010`, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// What [`Problem::kind`] begins with.
    pub const TYPE_PREFIX: &str = "urn:staunch:problem:";

    /// The code: the last part of the type, such as `queue-full`.
    #[must_use]
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(Self::TYPE_PREFIX).unwrap_or(&self.kind)
    }
}
