//! Parts of sealed evidence that could not be taken, by the records in the vault: the journal has only that it was
//! sealed.
//!
//! Reads records alone, which name what was missed, and no byte of what was kept: nothing is handled.

use std::ops::ControlFlow;
use std::path::Path;

use serde::Serialize;
use staunch_model::{EvidenceId, IncidentId, Printable};
use staunch_ports::Vault as _;
use staunch_server::dto::EvidenceRow;
use staunch_store::vault::{DirVault, DirVaultOptions};

use super::folder;
use crate::cli::DataArgs;
use crate::wiring;

/// Parts of one piece of evidence that are named in a sentence.
const NAMED_MAX: usize = 3;

/// A part that could not be taken. Its texts are safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct MissedPart {
    pub(in crate::commands) evidence: EvidenceId,
    /// Its name, such as that of a file.
    pub(in crate::commands) name: String,
    /// Where it would have been found.
    pub(in crate::commands) locator: String,
    pub(in crate::commands) why: String,
}

/// What was missed of the evidence of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct MissedParts {
    #[serde(rename = "missed_parts")]
    pub(in crate::commands) all: Vec<MissedPart>,
    /// Why it is not known what was missed. Safe to show.
    #[serde(rename = "missed_parts_unknown", skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) unknown: Option<String>,
}

impl MissedParts {
    /// Those of `incident` by the vault that is `named`, or by that of the configuration; nothing when none of `rows`
    /// was sealed.
    pub(in crate::commands) fn of(
        named: Option<&Path>,
        data: &DataArgs,
        incident: IncidentId,
        rows: &[EvidenceRow],
    ) -> Self {
        if rows.iter().all(|it| it.sealed_at.is_none()) {
            return Self::default();
        }
        match folder(named, data) {
            Ok(folder) => Self::in_folder(&folder, incident, rows),
            Err(fault) => Self::unknown(&fault.told()),
        }
    }

    /// The same, by the vault in `folder`.
    pub(in crate::commands) fn in_folder(folder: &Path, incident: IncidentId, rows: &[EvidenceRow]) -> Self {
        let vault = DirVault::read_with(&folder.join(wiring::VAULT), DirVaultOptions::default());
        let mut found = Self::default();
        let read = vault.records(incident, &mut |sealed| {
            // One of another journal, or one that was not sealed in time, is not what the journal speaks of.
            if rows
                .iter()
                .any(|it| it.id == sealed.record.evidence && it.sealed_at.is_some())
            {
                let safe = |text: &str| Printable(text).to_string();
                found.all.extend(sealed.record.missed.iter().map(|it| MissedPart {
                    evidence: sealed.record.evidence,
                    name: safe(&it.name),
                    locator: safe(&it.locator),
                    why: safe(&it.failure.what),
                }));
            }
            ControlFlow::Continue(())
        });
        if let Err(failure) = read {
            found.unknown = Some(Printable(&failure.what).to_string());
        }
        found.all.sort_by_key(|it| it.evidence);
        found
    }

    /// Nobody can tell, for the reason `why`.
    pub(in crate::commands) fn unknown(why: &str) -> Self {
        Self {
            all: Vec::new(),
            unknown: Some(Printable(why).to_string()),
        }
    }

    /// What was missed of one piece of evidence, in words; `None` when nothing was, or nobody knows.
    pub(in crate::commands) fn words(&self, evidence: EvidenceId) -> Option<String> {
        let of: Vec<&MissedPart> = self.all.iter().filter(|it| it.evidence == evidence).collect();
        let parts = match of.len() {
            0 => return None,
            1 => "1 part".to_owned(),
            count => format!("{count} parts"),
        };
        let named = of.iter().take(NAMED_MAX).map(|it| format!("{} ({})", it.name, it.why));
        let named: Vec<String> = named.collect();
        let more = match of.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Some(format!("{parts} MISSED: {}{more}", named.join("; ")))
    }
}
