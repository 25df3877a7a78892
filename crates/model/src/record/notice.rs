//! What people are told.
//!
//! Never says who is told, nor how: that is chosen where it is sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{IncidentId, NoticeId, TransactionId};

/// A message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, which also tells a repeat.
    pub id: NoticeId,
    /// How urgent it is.
    pub level: NoticeLevel,
    /// The incident it is about.
    pub incident: Option<IncidentId>,
    /// The transaction it is about.
    pub transaction: Option<TransactionId>,
    /// What it says, safe to show.
    pub text: Box<str>,
}

impl Notice {
    /// Its id, how urgent it is, and what it says. Safe to show.
    #[must_use]
    pub fn words(&self) -> String {
        let text = format!("{} for people, {}: {}", self.id, self.level.name(), self.text);
        crate::Printable(&text).to_string()
    }
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Somebody should look today.
    Warning,
    /// Somebody must look at once.
    Page,
}

impl NoticeLevel {
    /// The name in playbooks' tests, in the index and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Page => "page",
        }
    }
}
