//! `staunch evidence`
//!
//! Reads the vault itself, so that it works with a server, without one, and on a copy. Never changes anything in it;
//! what is done with evidence is written down in the handling log beside it.

mod anchor;
mod archive;
mod get;
mod handled;
mod in_log;
mod key;
mod missed;
mod new_file;
pub(super) mod parts;
pub(super) mod reading;
mod sealed;
mod show;
mod verify;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, IncidentId, Printable, Sha256Hash, Timestamp};
use staunch_ports::{SealedManifest, SealedRecord, Vault as _};
use staunch_store::age::Identity;
use staunch_store::s3::Bucket;
use staunch_store::vault::{DirVault, DirVaultOptions};

use crate::cli::{DataArgs, EvidenceCommand, VaultArgs};
use crate::exit::{Exit, Fault};
use crate::files::{cannot_read, is_missing};
use crate::output::{Output, Tone, warn, wrap};
use crate::wiring;
use in_log::InLog;
pub(super) use missed::was_sealed;
use missed::{Gone, Unrecorded};
use new_file::NewFile;

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 1_000;

/// The bytes of a file with a key.
const KEY_BYTES_MAX: u64 = 4_096;

/// What is done about a disk that is full.
const FULL: &str = "the disk is full: make room on it, or name a file on another with --output; nothing is left behind";

/// Collections that are listed.
const LISTED_MAX: usize = 10_000;

pub(super) fn run(command: &EvidenceCommand) -> Result<Exit, Fault> {
    match command {
        EvidenceCommand::List { incident, key, from } => list(*incident, key.as_deref(), from),
        EvidenceCommand::Show { id, key, from } => show::show(*id, key.as_deref(), from),
        EvidenceCommand::Get(args) => get::get(args),
        EvidenceCommand::Export(args) => archive::export(args),
        EvidenceCommand::Verify(args) => verify::verify(args),
        EvidenceCommand::Key { data, json } => key::key(data, *json),
        EvidenceCommand::Checkpoint { vault, data, json } => key::checkpoint(vault.as_deref(), data, *json),
        EvidenceCommand::Anchor { name, data, json } => anchor::run(name.as_deref(), data, *json),
    }
}

/// One collection in a list.
#[derive(Debug, Serialize)]
struct Row {
    evidence: EvidenceId,
    incident: IncidentId,
    kind: EvidenceKind,
    /// Of what, as text; `None` when it is of the machine as a whole.
    target: Option<String>,
    started_at: Timestamp,
    ended_at: Timestamp,
    /// Until when containment waited for it; `None` when its record does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    /// Whether it came after that; `None` when its record does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<bool>,
    /// Whether it is there: `sealed`, `in-part`, or `missed`.
    state: &'static str,
    /// Whether the record and the manifests of its artefacts are in the log; `None` when the log cannot be read, or is
    /// not proved by a key.
    in_log: Option<bool>,
    artefacts: usize,
    bytes: u64,
    /// Parts that could not be taken, or of which only the end is kept.
    missed: usize,
    /// Why the first of them, in words; `None` when nothing was missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_missed: Option<String>,
    /// Why nothing, or nothing more, could be taken.
    failure: Option<Failure>,
    /// The SHA-256 of the record.
    record: Sha256Hash,
}

impl Row {
    fn of(sealed: &SealedRecord, log: &InLog) -> Self {
        let it = &sealed.record;
        Self {
            evidence: it.evidence,
            incident: it.incident,
            kind: it.kind,
            target: it.target.as_ref().map(ToString::to_string),
            started_at: it.started_at,
            ended_at: it.ended_at,
            deadline: it.deadline,
            late: it.is_late(),
            state: match (&it.failure, it.missed.len()) {
                (Some(_), _) => "missed",
                (None, 0) => "sealed",
                (None, _) => "in-part",
            },
            in_log: log.has_all(it.artefacts.iter().map(|it| it.manifest).chain([sealed.hash])),
            artefacts: it.artefacts.len(),
            bytes: it.artefacts.iter().map(|it| it.size).sum(),
            missed: it.missed.len(),
            first_missed: it.missed.first().map(|it| format!("{} ({})", it.name, it.failure.what)),
            failure: it.failure.clone(),
            record: sealed.hash,
        }
    }

    fn state(&self) -> (Tone, String) {
        let (tone, text) = match (&self.failure, self.missed) {
            (Some(failure), _) => (Tone::Bad, format!("missed: {failure}")),
            (None, 0) => (Tone::Good, "sealed".to_owned()),
            (None, missed) => {
                let parts = if missed == 1 { "part" } else { "parts" };
                let first = self.first_missed.as_deref().unwrap_or_default();
                let more = if missed > 1 { ", and more" } else { "" };
                let text = format!("sealed, {missed} {parts} missed: {first}{more}");
                (Tone::Warning, Printable(&text).to_string())
            }
        };
        let (tone, text) = match self.late {
            // Of what was missed nothing came late.
            Some(true) if self.failure.is_none() => (Tone::Warning, format!("LATE, {text}")),
            _ => (tone, text),
        };
        match self.in_log {
            Some(true) => (tone, text),
            Some(false) => (Tone::Warning, format!("not in the log; {text}")),
            None => (Tone::Warning, format!("in no log that is proved; {text}")),
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    /// The folder of evidence, which holds the vault.
    vault: PathBuf,
    evidence: Vec<Row>,
    /// What was asked for and missed, and has no record, by the index of the journal; `None` when there is none to ask.
    unrecorded: Option<Vec<Unrecorded>>,
    /// What was sealed, by the same index, and is not in the vault any more; `None` where that is not known.
    gone: Option<Vec<Gone>>,
    /// True when there is more than is listed.
    cut: bool,
}

fn list(incident: Option<IncidentId>, key: Option<&str>, from: &VaultArgs) -> Result<Exit, Fault> {
    let (vault, dir) = open(from.vault.as_deref(), &from.data)?;
    let log = InLog::of(&dir, key, &from.data)?;
    if let Err(why) = &log.known {
        warn(&format!("nothing is proved to be in the log: {why}"));
    }
    let mut rows = Vec::new();
    let mut cut = false;
    let mut is_unread = false;
    for incident in incidents(&vault, incident)? {
        vault
            .records(incident, &mut |sealed| {
                if rows.len() == LISTED_MAX {
                    cut = true;
                    return ControlFlow::Break(());
                }
                rows.push(Row::of(&sealed, &log));
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|failure| {
                is_unread = true;
                warn(&format!("{incident}: {failure}"));
            });
    }
    rows.sort_by_key(|it| (it.incident, it.evidence, it.started_at));
    if let Some(incident) = incident.filter(|it| rows.is_empty() && missed::is_unknown(&from.data, &dir, *it)) {
        return Err(Fault::new(Exit::NotFound, format!("there is no {incident}"))
            .hint("`staunch incident list` shows those there are"));
    }
    let (unrecorded, gone) = missed::lacks(&from.data, &dir, incident, &rows)
        .map(|it| (it.missed, it.gone))
        .unzip();
    // Of what is not listed, or could not be read, nobody knows here whether it is there.
    let mut gone = gone.filter(|_| !cut && !is_unread);
    // What was sealed while this looked is there by now.
    if let Some(gone) = &mut gone {
        gone.retain(|it| find(&vault, it.evidence).is_err());
    }
    let list = List {
        vault: dir,
        evidence: rows,
        unrecorded,
        gone,
        cut,
    };
    Output::new(from.json).show(&list, |output| {
        let missed = list.unrecorded.as_deref().unwrap_or_default();
        let gone = list.gone.as_deref().unwrap_or_default();
        if list.evidence.is_empty() {
            if !missed.is_empty() || !gone.is_empty() {
                return beside(output, missed, gone);
            }
            return match (incident, &list.unrecorded) {
                (Some(incident), Some(_)) => format!("{incident} has asked for no evidence\n"),
                (_, Some(_)) => "nothing was preserved; playbooks ask for evidence with `preserve`\n".to_owned(),
                (_, None) => {
                    let line =
                        "nothing was preserved; what was asked for and missed is in the journal, which is not here";
                    format!("{}\n", wrap(line, 0))
                }
            };
        }
        let heading = ["EVIDENCE", "INCIDENT", "KIND", "OF", "ARTEFACTS", "SIZE", "STATE"];
        let cells: Vec<Vec<String>> = list
            .evidence
            .iter()
            .map(|row| {
                vec![
                    row.evidence.to_string(),
                    row.incident.to_string(),
                    row.kind.to_string(),
                    row.target.clone().unwrap_or_else(|| "this machine".to_owned()),
                    row.artefacts.to_string(),
                    size(row.bytes),
                    row.state().1,
                ]
            })
            .collect();
        let mut text = output.table(&heading, &cells);
        if list.cut {
            text.push_str(&format!(
                "the first {LISTED_MAX}; name an incident to see those of one\n"
            ));
        }
        if !missed.is_empty() || !gone.is_empty() {
            text.push('\n');
            text.push_str(&beside(output, missed, gone));
        }
        text
    })?;
    Ok(Exit::Ok)
}

/// What the vault lacks, for people: what is gone comes first.
fn beside(output: &Output, missed: &[Unrecorded], gone: &[Gone]) -> String {
    let mut texts = Vec::new();
    if !gone.is_empty() {
        texts.push(missed::gone_text(output, gone));
    }
    if !missed.is_empty() {
        texts.push(missed::text(output, missed));
    }
    texts.join("\n")
}

/// Makes sure that `what` is not written to a terminal, which the words of an attacker would steer.
///
/// # Errors
/// When stdout is one. Nothing was written.
fn no_terminal(what: &str) -> Result<(), Fault> {
    if !io::stdout().is_terminal() {
        return Ok(());
    }
    let message = format!("stdout is a terminal, which {what} could steer");
    Err(Fault::new(Exit::Usage, message).hint("name a file, or hand it to a program: `--output - | less`"))
}

/// All that is stored of one piece of evidence.
fn find(vault: &DirVault, id: EvidenceId) -> Result<(Vec<SealedRecord>, Vec<SealedManifest>), Fault> {
    let (mut records, mut manifests) = (Vec::new(), Vec::new());
    for incident in incidents(vault, None)? {
        vault
            .records(incident, &mut |it| {
                if it.record.evidence == id {
                    records.push(it);
                }
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|failure| warn(&format!("{incident}: {failure}")));
        if records.is_empty() {
            continue;
        }
        vault
            .manifests(incident, &mut |it| {
                if it.manifest.custody.evidence == id {
                    manifests.push(it);
                }
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|failure| warn(&format!("{incident}: {failure}")));
        // Numbers are given out once.
        break;
    }
    if records.is_empty() {
        let message = format!("there is no record of {id} in this vault");
        return Err(Fault::new(Exit::NotFound, message)
            .hint("`staunch evidence list` shows what there is, and what was missed without a record"));
    }
    records.sort_by_key(|it| it.record.started_at);
    Ok((records, manifests))
}

/// The vault, and the folder of evidence that it is in.
///
/// # Errors
/// When there is none, or the configuration cannot be used.
fn open(vault: Option<&Path>, data: &DataArgs) -> Result<(DirVault, PathBuf), Fault> {
    open_with(vault, data, Vec::new())
}

/// The same, with what encrypted evidence is read with.
fn open_with(vault: Option<&Path>, data: &DataArgs, identities: Vec<Identity>) -> Result<(DirVault, PathBuf), Fault> {
    let dir = folder(vault, data)?;
    let options = DirVaultOptions {
        bucket: bucket(vault.is_some(), data)?,
        identities: identities.into(),
        ..DirVaultOptions::default()
    };
    Ok((DirVault::read_with(&dir.join(wiring::VAULT), options), dir))
}

/// The bucket of the configuration. Of a copy it is enough to know that there is none: what needs it says so.
fn bucket(is_copy: bool, data: &DataArgs) -> Result<Option<Arc<Bucket>>, Fault> {
    let settings = match super::load(data) {
        Ok(config) => config.evidence.s3,
        Err(fault) if is_copy => {
            warn(&format!("no bucket is asked: {}", fault.told()));
            None
        }
        Err(fault) => return Err(fault),
    };
    let of = settings.as_ref().map(crate::bucket::of_evidence);
    of.transpose().map_err(|failure| fault(&failure))
}

/// The folder of evidence.
fn folder(named: Option<&Path>, data: &DataArgs) -> Result<PathBuf, Fault> {
    let dir = match named {
        Some(dir) => dir.to_owned(),
        None => super::load(data)?.evidence_dir(),
    };
    let shown = dir.display().to_string();
    let shown = Printable(&shown);
    match fs::metadata(dir.join(wiring::VAULT)) {
        Ok(about) if about.is_dir() => Ok(dir),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let message = format!("cannot look into {shown}");
            Err(Fault::doing(Exit::Denied, message, &error)
                .hint("evidence is for its owner alone: run it as the user of the server, or as root"))
        }
        _ if named.is_some() && dir.symlink_metadata().is_err() => {
            let message = format!("there is no file and no folder {shown}");
            Err(Fault::new(Exit::NotFound, message).hint("name a folder of evidence, or an archive of one"))
        }
        _ => {
            if named.is_none() && !dir.exists() {
                super::load_existing(data)?;
            }
            let message = format!("there is no vault in {shown}");
            let hint = "a server makes it when it starts; name the folder that holds the directories `vault` and `log`";
            Err(Fault::new(Exit::NotFound, message).hint(hint))
        }
    }
}

/// The fault of a file of the evidence that cannot be read; `absent` is the hint when it is not there.
fn unreadable(file: &Path, error: &io::Error, absent: &str) -> Fault {
    let shown = file.display().to_string();
    let fault = cannot_read(&format!("cannot read {}", Printable(&shown)), error);
    match error.kind() {
        io::ErrorKind::NotFound => fault.hint(absent),
        _ => fault,
    }
}

fn incidents(vault: &DirVault, only: Option<IncidentId>) -> Result<Vec<IncidentId>, Fault> {
    if let Some(only) = only {
        return Ok(vec![only]);
    }
    let mut found = Vec::new();
    vault
        .incidents(&mut |incident| {
            found.push(incident);
            ControlFlow::Continue(())
        })
        .map_err(|failure| fault(&failure))?;
    found.sort();
    Ok(found)
}

/// What the vault says.
fn fault(failure: &Failure) -> Fault {
    let exit = match failure.kind {
        FailureKind::Denied => Exit::Denied,
        FailureKind::Invalid | FailureKind::Conflict => Exit::Corrupt,
        _ => Exit::Failed,
    };
    Fault::new(exit, failure.to_string())
}

/// What an error of a disk means to the shell.
fn disk(error: &io::Error) -> Exit {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded => Exit::Busy,
        K::PermissionDenied | K::ReadOnlyFilesystem => Exit::Denied,
        _ if is_missing(error) => Exit::NotFound,
        _ => Exit::Failed,
    }
}

/// What was found wrong, in words.
#[derive(Debug, Default)]
struct Findings {
    told: Vec<String>,
    /// How many more there are than are told one by one.
    more: u64,
}

impl Findings {
    fn push(&mut self, finding: String) {
        if self.told.len() < FINDINGS_MAX {
            self.told.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// What is handed over cannot be written.
fn unwritten(path: &Path, error: &io::Error) -> Fault {
    let shown = path.display().to_string();
    let fault = Fault::doing(disk(error), format!("cannot write {}", Printable(&shown)), error);
    match disk(error) {
        Exit::Busy => fault.hint(FULL),
        _ => fault,
    }
}

/// Wraps `text` like [`wrap`], and breaks words that are longer than a line, such as paths.
pub(super) fn lines(text: &str, indent: usize) -> String {
    let wrapped = wrap(text, indent);
    let mut text = String::with_capacity(wrapped.len());
    for (number, line) in wrapped.split('\n').enumerate() {
        let mut column = if number == 0 { indent } else { 0 };
        if number > 0 {
            text.push('\n');
        }
        for letter in line.chars() {
            if column == 80 {
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                column = indent;
            }
            text.push(letter);
            column += 1;
        }
    }
    text
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, one) in UNITS {
        if bytes >= one {
            let tenths = bytes / (one / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_late_is_called_so_in_the_list() {
        let row = |late: Option<bool>, failure: Option<Failure>| Row {
            evidence: EvidenceId(1),
            incident: IncidentId(1),
            kind: EvidenceKind::Sockets,
            target: None,
            started_at: Timestamp::from_micros(1),
            ended_at: Timestamp::from_micros(3),
            deadline: late.map(|_| Timestamp::from_micros(2)),
            late,
            state: "sealed",
            in_log: Some(true),
            artefacts: 1,
            bytes: 5,
            missed: 0,
            first_missed: None,
            failure,
            record: Sha256Hash::of(b""),
        };
        let why = Failure::new(FailureKind::TimedOut, "too slow");
        for (late, failure, expected) in [
            (Some(true), None, "LATE, sealed"),
            (Some(false), None, "sealed"),
            (None, None, "sealed"),
            (Some(true), Some(why.clone()), &*format!("missed: {why}")),
        ] {
            assert_eq!(row(late, failure).state().1, expected);
        }
    }

    #[test]
    fn long_words_are_broken_at_the_edge() {
        let path = "/srv/".to_owned() + &"x".repeat(150);
        for text in [format!("at {path} there"), path, "short".to_owned()] {
            let shown = format!("{}{}", " ".repeat(14), lines(&text, 14));
            assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
            let kept: String = shown.split_whitespace().collect();
            assert_eq!(kept, text.replace(' ', ""));
        }
    }

    #[test]
    fn sizes_are_for_people() {
        let sizes = [0, 1023, 1024, 1_600, 5 << 20, 3 << 30, 7 << 40].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 GiB", "7.0 TiB"]
        );
    }

    #[test]
    fn a_file_that_is_kept_from_who_asks_is_told_from_one_that_is_not_there() {
        for (kind, exit, hint) in [
            (io::ErrorKind::NotFound, Exit::NotFound, "hint: none was made"),
            (
                io::ErrorKind::PermissionDenied,
                Exit::Denied,
                "hint: run it as a user who may read that",
            ),
            (io::ErrorKind::InvalidData, Exit::Failed, ""),
        ] {
            let fault = unreadable(Path::new("key\u{1b}"), &kind.into(), "none was made");
            assert_eq!(fault.exit, exit);
            let told = fault.render(false, false);
            assert!(told.contains(hint) && told.contains("cannot read key\\u{1b}"), "{told}");
        }
    }
}
