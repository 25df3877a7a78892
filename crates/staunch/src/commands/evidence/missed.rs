//! Evidence that the vault knows nothing of, and the journal does: what was missed without a record, since a full disk
//! takes no record either, and what was sealed and has been removed.
//!
//! Never asks a server: the index of the journal is beside the vault, and a copy has none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, IncidentId, Printable, Timestamp};
use staunch_store::index::{IncidentFilter, IndexError, IndexReader};

use super::{Row, lines};
use crate::cli::DataArgs;
use crate::config::Config;
use crate::output::{Output, Tone, warn_wrapped};

/// Incidents that are looked through, the newest of them.
const INCIDENTS_MAX: usize = 10_000;

/// Pieces that are told to people; all of them are in the JSON.
const TOLD_MAX: usize = 20;

/// A piece that has no record.
#[derive(Debug, Serialize)]
pub(super) struct Unrecorded {
    evidence: EvidenceId,
    incident: IncidentId,
    kind: EvidenceKind,
    /// Of what, as text; `None` when it is of the machine as a whole.
    target: Option<String>,
    /// When containment went on without it.
    missed_at: Timestamp,
    /// Why, as it was told then.
    why: Option<String>,
}

/// A piece that was sealed, and whose record is not found.
#[derive(Debug, Serialize)]
pub(super) struct Gone {
    pub(super) evidence: EvidenceId,
    incident: IncidentId,
    kind: EvidenceKind,
    /// Of what, as text; `None` when it is of the machine as a whole.
    target: Option<String>,
    /// When it was sealed.
    sealed_at: Timestamp,
}

/// What the vault lacks.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// The newest are last.
    pub(super) missed: Vec<Unrecorded>,
    /// The newest are last.
    pub(super) gone: Vec<Gone>,
}

/// What the index beside the folder says was asked for and is not among `rows`; `None` when there is no index of this
/// folder.
pub(super) fn lacks(data: &DataArgs, folder: &Path, incident: Option<IncidentId>, rows: &[Row]) -> Option<Lacks> {
    let file = index_of(data, folder)?;
    let known: BTreeSet<EvidenceId> = rows.iter().map(|it| it.evidence).collect();
    read(&file, incident, &known)
        .map_err(|error| warn_wrapped(&format!("what the vault lacks is not known: {error}")))
        .ok()
}

/// Whether anything was sealed, by the index of `config`; false where there is none, or none that can be read.
pub(in crate::commands) fn was_sealed(config: &Config) -> bool {
    let file = config.index_file();
    file.exists() && read(&file, None, &BTreeSet::new()).is_ok_and(|it| !it.gone.is_empty())
}

/// Whether the index beside the folder knows no such incident; false when there is no index of this folder, or none
/// that can be read, which [`lacks`] tells.
pub(super) fn is_unknown(data: &DataArgs, folder: &Path, incident: IncidentId) -> bool {
    let found = index_of(data, folder).map(|file| IndexReader::open(&file)?.incident(incident));
    matches!(found, Some(Ok(None)))
}

/// The index of the journal that this folder of evidence belongs to.
fn index_of(data: &DataArgs, folder: &Path) -> Option<PathBuf> {
    let config = super::super::load(data).ok()?;
    let same = |it: &Path| it.canonicalize().ok();
    // A copy is of another machine, or of another time.
    let is_own = same(&config.evidence_dir()) == same(folder);
    Some(config.index_file()).filter(|file| is_own && file.exists())
}

fn read(index: &Path, incident: Option<IncidentId>, known: &BTreeSet<EvidenceId>) -> Result<Lacks, IndexError> {
    let index = IndexReader::open(index)?;
    let mut lacks = Lacks::default();
    for incident in incidents(&index, incident)? {
        let Some(detail) = index.incident(incident)? else {
            continue;
        };
        for it in detail.evidence {
            match (it.sealed_at, it.missed_at) {
                _ if known.contains(&it.id) => {}
                (Some(sealed_at), _) => lacks.gone.push(Gone {
                    evidence: it.id,
                    incident,
                    kind: it.kind,
                    target: it.target,
                    sealed_at,
                }),
                (None, Some(missed_at)) => lacks.missed.push(Unrecorded {
                    evidence: it.id,
                    incident,
                    kind: it.kind,
                    target: it.target,
                    missed_at,
                    why: it.why,
                }),
                (None, None) => {}
            }
        }
    }
    lacks.missed.sort_by_key(|it| (it.incident, it.evidence));
    lacks.gone.sort_by_key(|it| (it.incident, it.evidence));
    Ok(lacks)
}

fn incidents(index: &IndexReader, only: Option<IncidentId>) -> Result<Vec<IncidentId>, IndexError> {
    if let Some(only) = only {
        return Ok(vec![only]);
    }
    let mut found = Vec::new();
    let mut before = None;
    while found.len() < INCIDENTS_MAX {
        let filter = IncidentFilter {
            before,
            limit: 500,
            ..IncidentFilter::default()
        };
        let page = index.incidents(&filter)?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        found.extend(page.iter().map(|it| it.id));
    }
    Ok(found)
}

/// What has been removed, for people.
pub(super) fn gone_text(output: &Output, gone: &[Gone]) -> String {
    let heading = format!(
        "{} sealed, by the journal, and NOT IN THE VAULT any more, or cannot be read there:",
        pieces(gone.len())
    );
    told(output, &heading, gone, |it| {
        let what = piece(it.evidence, it.incident, it.kind, it.target.as_deref());
        format!("{what}, sealed at {}", it.sealed_at)
    })
}

/// What was missed, for people.
pub(super) fn text(output: &Output, missed: &[Unrecorded]) -> String {
    let heading = format!(
        "{} asked for and MISSED, and nothing of {} is in the vault, by the journal:",
        pieces(missed.len()),
        if missed.len() == 1 { "it" } else { "them" }
    );
    told(output, &heading, missed, |it| {
        let what = piece(it.evidence, it.incident, it.kind, it.target.as_deref());
        let why = it.why.as_deref().unwrap_or("nobody said why");
        format!("{what}: {}", Printable(why))
    })
}

fn pieces(count: usize) -> String {
    match count {
        1 => "1 piece was".to_owned(),
        count => format!("{count} pieces were"),
    }
}

fn piece(evidence: EvidenceId, incident: IncidentId, kind: EvidenceKind, target: Option<&str>) -> String {
    let of = target.unwrap_or("this machine");
    format!("{evidence} of {incident}: {kind} of {}", Printable(of))
}

/// A heading, and a line for each of the first of `all`.
fn told<T>(output: &Output, heading: &str, all: &[T], line: impl Fn(&T) -> String) -> String {
    let mut text = format!("{}\n", output.paint(Tone::Bad, &lines(heading, 0)));
    for it in all.iter().take(TOLD_MAX) {
        text.push_str(&format!("  {}\n", lines(&line(it), 4)));
    }
    if all.len() > TOLD_MAX {
        let more = format!(
            "and {} more; --json has them, or name an incident",
            all.len() - TOLD_MAX
        );
        text.push_str(&format!("  {more}\n"));
    }
    text
}
