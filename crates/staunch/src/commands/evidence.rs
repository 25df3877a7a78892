//! `staunch evidence`
//!
//! Reads the vault itself, so that it works with a server, without one, and on a copy. Never changes anything in it.

mod anchor;
mod archive;
mod sealed;

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{
    CollectionRecord, EvidenceId, EvidenceKind, Failure, FailureKind, IncidentId, Manifest, Printable, Sha256Hash,
    Taken, Timestamp,
};
use staunch_ports::{SealedManifest, SealedRecord, Vault};
use staunch_store::LogVerifier;
use staunch_store::tlog::CHECKPOINT;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::{DirVault, EvidenceFolder, EvidenceSummary, Progress, verify_evidence};

use crate::anchors::{self, AnchorsChecked};
use crate::cli::{DataArgs, EvidenceCommand, EvidenceGetArgs, EvidenceVerifyArgs, VaultArgs};
use crate::exit::{Exit, Fault};
use crate::files::read_bounded;
use crate::output::{Output, Tone, print, say, wrap};
use crate::{progress, wiring};

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 1_000;

/// The bytes of a file with a key.
const KEY_BYTES_MAX: u64 = 4_096;

/// Collections that are listed.
const LISTED_MAX: usize = 10_000;

pub(super) fn run(command: &EvidenceCommand) -> Result<Exit, Fault> {
    match command {
        EvidenceCommand::List { incident, from } => list(*incident, from),
        EvidenceCommand::Show { id, from } => show(*id, from),
        EvidenceCommand::Get(args) => get(args),
        EvidenceCommand::Export(args) => archive::export(args),
        EvidenceCommand::Verify(args) => verify(args),
        EvidenceCommand::Key { data } => key(data),
        EvidenceCommand::Checkpoint { vault, data } => checkpoint(vault.as_deref(), data),
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
    artefacts: usize,
    bytes: u64,
    /// Parts that could not be taken.
    missed: usize,
    /// Why nothing, or nothing more, could be taken.
    failure: Option<Failure>,
    /// The SHA-256 of the record.
    record: Sha256Hash,
}

impl Row {
    fn of(sealed: &SealedRecord) -> Self {
        let it = &sealed.record;
        Self {
            evidence: it.evidence,
            incident: it.incident,
            kind: it.kind,
            target: it.target.as_ref().map(ToString::to_string),
            started_at: it.started_at,
            ended_at: it.ended_at,
            artefacts: it.artefacts.len(),
            bytes: it.artefacts.iter().map(|it| it.size).sum(),
            missed: it.missed.len(),
            failure: it.failure.clone(),
            record: sealed.hash,
        }
    }

    fn state(&self) -> (Tone, String) {
        match (&self.failure, self.missed) {
            (Some(failure), _) => (Tone::Bad, format!("missed: {failure}")),
            (None, 0) => (Tone::Good, "sealed".to_owned()),
            (None, 1) => (Tone::Warning, "sealed, 1 part missed".to_owned()),
            (None, missed) => (Tone::Warning, format!("sealed, {missed} parts missed")),
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    vault: PathBuf,
    evidence: Vec<Row>,
    /// True when there is more than is listed.
    cut: bool,
}

fn list(incident: Option<IncidentId>, from: &VaultArgs) -> Result<Exit, Fault> {
    let (vault, dir) = open(from.vault.as_deref(), &from.data)?;
    let mut rows = Vec::new();
    let mut cut = false;
    for incident in incidents(&vault, incident)? {
        vault
            .records(incident, &mut |sealed| {
                if rows.len() == LISTED_MAX {
                    cut = true;
                    return ControlFlow::Break(());
                }
                rows.push(Row::of(&sealed));
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|failure| say(&format!("{incident}: {failure}")));
    }
    rows.sort_by_key(|it| (it.incident, it.evidence, it.started_at));
    let list = List {
        vault: dir,
        evidence: rows,
        cut,
    };
    Output::new(from.json).show(&list, |output| {
        if list.evidence.is_empty() {
            return "nothing was preserved; playbooks ask for evidence with `preserve`\n".to_owned();
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
        text
    })?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct Shown {
    records: Vec<SealedAs<CollectionRecord>>,
    manifests: Vec<SealedAs<Manifest>>,
}

#[derive(Debug, Serialize)]
struct SealedAs<T> {
    sha256: Sha256Hash,
    #[serde(flatten)]
    content: T,
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
            .unwrap_or_else(|failure| say(&format!("{incident}: {failure}")));
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
            .unwrap_or_else(|failure| say(&format!("{incident}: {failure}")));
        // Numbers are given out once.
        break;
    }
    if records.is_empty() {
        let message = format!("there is no record of {id} in this vault");
        return Err(Fault::new(Exit::NotFound, message)
            .hint("`staunch evidence list` shows what there is; what was never tried has no record"));
    }
    records.sort_by_key(|it| it.record.started_at);
    Ok((records, manifests))
}

fn show(id: EvidenceId, from: &VaultArgs) -> Result<Exit, Fault> {
    let (vault, _) = open(from.vault.as_deref(), &from.data)?;
    let (records, manifests) = find(&vault, id)?;
    let shown = Shown {
        records: records
            .into_iter()
            .map(|it| SealedAs {
                sha256: it.hash,
                content: it.record,
            })
            .collect(),
        manifests: manifests
            .into_iter()
            .map(|it| SealedAs {
                sha256: it.hash,
                content: it.manifest,
            })
            .collect(),
    };
    Output::new(from.json).show(&shown, |output| shown_text(output, &shown))?;
    Ok(Exit::Ok)
}

fn shown_text(output: &Output, shown: &Shown) -> String {
    let mut text = String::new();
    for sealed in &shown.records {
        let it = &sealed.content;
        let of = it
            .target
            .as_ref()
            .map_or_else(|| "this machine".to_owned(), ToString::to_string);
        let title = format!(
            "{}: {} of {}, for {}",
            it.evidence,
            it.kind,
            Printable(&of),
            it.incident
        );
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &lines(&title, 2))));
        let mut line = |label: &str, value: &str| {
            text.push_str(&format!(
                "  {}{}\n",
                output.paint(Tone::Faint, &format!("{label:<10}")),
                lines(&Printable(value).to_string(), 12)
            ));
        };
        let took = it.ended_at.since(it.started_at);
        line("taken", &format!("{}, in {took}", it.started_at));
        line(
            "by",
            &format!(
                "{} of Staunch {} on {}",
                it.collector.name, it.collector.version, it.collector.host
            ),
        );
        line("record", &sealed.sha256.to_string());
        for change in &it.changes_caused {
            line("changed", change);
        }
        if let Some(failure) = &it.failure {
            line("missed", &failure.to_string());
        }
    }
    for sealed in &shown.manifests {
        let (it, custody) = (&sealed.content, &sealed.content.custody);
        let title = format!("{}. {}", it.sequence, Printable(&custody.name));
        text.push_str(&format!("\n  {}\n", output.paint(Tone::Strong, &lines(&title, 4))));
        let mut line = |label: &str, value: &str| {
            text.push_str(&format!(
                "    {}{}\n",
                output.paint(Tone::Faint, &format!("{label:<10}")),
                lines(&Printable(value).to_string(), 14)
            ));
        };
        match &it.taken {
            Taken::Stored {
                size: bytes,
                sha256,
                storage,
            } => {
                line("sha256", &sha256.to_string());
                line("size", &size(*bytes));
                line("stored", &format!("under its SHA-256, kept by {}", storage.write_once));
            }
            Taken::Missed(failure) => line("missed", &failure.to_string()),
        }
        line("found at", &custody.locator);
        line("read by", &custody.method);
        if let Some(modified) = custody.modified {
            line("modified", &modified.to_string());
        }
        line("manifest", &sealed.sha256.to_string());
    }
    text
}

fn get(args: &EvidenceGetArgs) -> Result<Exit, Fault> {
    let (vault, _) = open(args.vault.as_deref(), &args.data)?;
    let (_, manifests) = find(&vault, args.id)?;
    let mut fitting: Vec<(&str, Sha256Hash)> = manifests
        .iter()
        .filter_map(|it| match &it.manifest.taken {
            Taken::Stored { sha256, .. } => Some((&*it.manifest.custody.name, *sha256)),
            Taken::Missed(_) => None,
        })
        .filter(|(name, hash)| {
            args.name
                .as_deref()
                .is_none_or(|it| it == *name || it == hash.to_string())
        })
        .collect();
    // Evidence that was taken again may be the same.
    fitting.dedup();
    let (name, hash) = match fitting.as_slice() {
        [] => {
            let message = format!("{} has no such artefact", args.id);
            return Err(
                Fault::new(Exit::NotFound, message).hint(format!("`staunch evidence show {}` names them", args.id))
            );
        }
        [one] => *one,
        several => {
            let mut names: Vec<String> = several.iter().map(|(name, _)| Printable(name).to_string()).collect();
            names.dedup();
            let message = format!("{} has {} artefacts", args.id, several.len());
            return Err(Fault::new(Exit::Usage, message)
                .hint(format!("name one of them, or its SHA-256: {}", names.join(", "))));
        }
    };
    let mut from = vault.open(hash).map_err(|failure| fault(&failure))?;
    let bytes = if args.output == Path::new("-") {
        copy(&mut from, &mut io::stdout().lock(), &args.output)?
    } else {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&args.output)
            .map_err(|error| {
                Fault::doing(Exit::Failed, format!("cannot make {}", args.output.display()), &error)
                    .hint("name a file that is not there")
            })?;
        let copied = copy(&mut from, &mut file, &args.output).and_then(|bytes| {
            let synced = file.sync_all();
            synced.map_err(|error| Fault::doing(Exit::Failed, "cannot write it durably", &error))?;
            Ok(bytes)
        });
        // What is not proved to the end is not left behind as if it were.
        if copied.is_err() {
            drop(std::fs::remove_file(&args.output));
        }
        copied?
    };
    say(&format!("{}: {}, SHA-256 {hash}: proved", Printable(name), size(bytes)));
    Ok(Exit::Ok)
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, name: &Path) -> Result<u64, Fault> {
    io::copy(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Fault::doing(Exit::Corrupt, "what is stored is not what was sealed", &error)
            .hint("what was written up to here is not proved; nothing is left in a file"),
        _ => Fault::doing(Exit::Failed, format!("cannot write {}", name.display()), &error),
    })
}

fn open(vault: Option<&Path>, data: &DataArgs) -> Result<(DirVault, PathBuf), Fault> {
    let dir = folder(vault, data)?;
    Ok((DirVault::read_only(&dir.join(wiring::VAULT)), dir))
}

/// The folder of evidence.
fn folder(named: Option<&Path>, data: &DataArgs) -> Result<PathBuf, Fault> {
    let dir = match named {
        Some(dir) => dir.to_owned(),
        None => super::load(data)?.evidence_dir(),
    };
    if !dir.join(wiring::VAULT).is_dir() {
        let message = format!("there is no vault in {}", dir.display());
        let hint = "a server makes it when it starts; name the folder that holds the directories `vault` and `log`";
        return Err(Fault::new(Exit::NotFound, message).hint(hint));
    }
    Ok(dir)
}

fn key(data: &DataArgs) -> Result<Exit, Fault> {
    let file = super::load(data)?.evidence_key_file();
    let text = read_bounded(&file, KEY_BYTES_MAX).map_err(|error| {
        Fault::doing(Exit::NotFound, format!("cannot read {}", file.display()), &error)
            .hint("a server writes it when it starts with `[evidence] enabled`")
    })?;
    print(&text)?;
    Ok(Exit::Ok)
}

fn checkpoint(vault: Option<&Path>, data: &DataArgs) -> Result<Exit, Fault> {
    let file = folder(vault, data)?.join(wiring::LOG).join(CHECKPOINT);
    let text = read_bounded(&file, NOTE_BYTES_MAX).map_err(|error| {
        Fault::doing(Exit::NotFound, format!("cannot read {}", file.display()), &error)
            .hint("a log without an entry has no checkpoint")
    })?;
    let lines: Vec<String> = text.lines().map(|line| Printable(line).to_string()).collect();
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(Exit::Ok)
}

/// What was verified.
#[derive(Debug, Serialize)]
struct Verified {
    /// Whether nothing was found.
    proved: bool,
    /// How many of the findings are what a crash, or a server at work, leaves behind; they prove nothing either way.
    left_behind: u64,
    /// The size of the log that is signed, and its root.
    checkpoint: Option<(u64, Sha256Hash)>,
    /// Whether the log continues the earlier checkpoint that was given.
    continues_earlier: Option<bool>,
    /// What the log was held against of its anchors, when that was asked for.
    anchors: Option<AnchorsChecked>,
    entries: u64,
    manifests: u64,
    records: u64,
    artefacts: u64,
    bytes: u64,
    /// What is not as it was sealed and signed.
    findings: Vec<String>,
    /// How many more there are.
    more: u64,
}

fn verify(args: &EvidenceVerifyArgs) -> Result<Exit, Fault> {
    if let Some(path) = args.path.as_deref().filter(|path| archive::is_one(path)) {
        if args.anchors {
            return Err(Fault::new(Exit::Usage, "an archive has no anchors")
                .hint("verify the folder of evidence with --anchors, or name an anchored checkpoint as --earlier"));
        }
        return archive::verify(path, args);
    }
    let dir = folder(args.path.as_deref(), &args.data)?;
    let key = verifier(args)?;
    let earlier = earlier(args)?;
    let folder = EvidenceFolder {
        vault: &dir.join(wiring::VAULT),
        log: &dir.join(wiring::LOG),
        journal: args.journal.as_deref(),
        key: &key,
        earlier: earlier.as_deref(),
    };
    let mut progress = progress::Progress::start();
    let mut findings = Vec::new();
    let mut more = 0;
    let mut left_behind = 0;
    let summary = verify_evidence(
        &folder,
        &mut |at| match at {
            Progress::Entries { done, total } => progress.tell(|| format!("{done} of {total} entries of the log")),
            Progress::Artefacts { done, bytes } => progress.tell(|| format!("{done} artefacts, {}", size(bytes))),
        },
        &mut |finding| {
            left_behind += u64::from(finding.may_be_left_behind());
            if findings.len() < FINDINGS_MAX {
                findings.push(finding.to_string());
            } else {
                more += 1;
            }
        },
    );
    let mut of_journal = 0;
    let mut of_anchors = 0;
    let anchors = args.anchors.then(|| {
        anchors::check(&dir, &key, &mut |finding| {
            of_anchors += 1;
            if findings.len() < FINDINGS_MAX {
                findings.push(finding);
            } else {
                more += 1;
            }
        })
    });
    if let Some(journal) = &args.journal {
        sealed::compare(journal, &DirVault::read_only(folder.vault), &mut |finding| {
            of_journal += 1;
            if findings.len() < FINDINGS_MAX {
                findings.push(finding);
            } else {
                more += 1;
            }
        });
    }
    let mut verified = verified(&summary, args.earlier.is_some(), findings, more);
    verified.left_behind = left_behind;
    verified.anchors = anchors;
    verified.proved = of_journal + of_anchors == 0 && summary.findings == left_behind;
    Output::new(args.json).show(&verified, |output| verified_text(output, &verified))?;
    Ok(if verified.proved { Exit::Ok } else { Exit::Corrupt })
}

fn verified(summary: &EvidenceSummary, asked: bool, findings: Vec<String>, more: u64) -> Verified {
    Verified {
        proved: findings.is_empty(),
        left_behind: 0,
        checkpoint: summary.checkpoint.as_ref().map(|it| (it.size, it.root)),
        continues_earlier: asked.then_some(summary.continues_earlier),
        anchors: None,
        entries: summary.entries,
        manifests: summary.manifests,
        records: summary.records,
        artefacts: summary.artefacts,
        bytes: summary.bytes,
        findings,
        more,
    }
}

fn verified_text(output: &Output, it: &Verified) -> String {
    let mut text = String::new();
    for finding in &it.findings {
        let line = wrap(&Printable(finding).to_string(), 4);
        text.push_str(&format!("{}\n", output.paint(Tone::Bad, &format!("  - {line}"))));
    }
    if it.more > 0 {
        text.push_str(&format!("  and {} more\n", it.more));
    }
    let what = format!(
        "{} artefacts of {}, {} manifests, {} records, {} entries of the log",
        it.artefacts,
        size(it.bytes),
        it.manifests,
        it.records,
        it.entries
    );
    let (tone, verdict) = match (it.proved, it.left_behind) {
        (true, 0) => (Tone::Good, "PROVED"),
        (true, _) => (
            Tone::Warning,
            "PROVED, but for what a crash or a server at work leaves behind",
        ),
        (false, _) => (Tone::Bad, "NOT AS IT WAS SEALED"),
    };
    let line = wrap(&format!("{verdict}: {what}"), 2);
    text.push_str(&format!("{}\n", output.paint(tone, &line)));
    if let Some((size, root)) = &it.checkpoint {
        text.push_str(&format!("  signed at {size} entries, root {root}\n"));
    }
    match it.continues_earlier {
        Some(true) => text.push_str("  the log continues the earlier checkpoint: nothing was taken back since\n"),
        Some(false) => {}
        None if it.anchors.as_ref().is_some_and(|it| it.checkpoints > 0) => {}
        None => text.push_str("  not compared with an earlier checkpoint: a log that was put back would not show\n"),
    }
    if let Some(anchors) = &it.anchors {
        let line = match &anchors.last_stamp {
            Some((size, time)) => format!(
                "it continues {} anchored checkpoints, of which {} have a time stamp of theirs; the last at {size} entries, {time}",
                anchors.checkpoints, anchors.stamps
            ),
            None => format!(
                "it continues {} anchored checkpoints, none with a time stamp",
                anchors.checkpoints
            ),
        };
        text.push_str(&format!("  {}\n", wrap(&line, 2)));
        if anchors.stamps > 0 {
            let line = "who has signed the time stamps is verified with `openssl ts -verify`";
            text.push_str(&format!("  {}\n", wrap(line, 2)));
        }
    }
    text
}

/// The earlier checkpoint that was named.
fn earlier(args: &EvidenceVerifyArgs) -> Result<Option<String>, Fault> {
    let read = |file: &PathBuf| {
        read_bounded(file, NOTE_BYTES_MAX)
            .map_err(|error| Fault::doing(Exit::NotFound, format!("cannot read {}", file.display()), &error))
    };
    args.earlier.as_ref().map(read).transpose()
}

/// The key that was named, or that of this machine.
fn verifier(args: &EvidenceVerifyArgs) -> Result<LogVerifier, Fault> {
    let (text, from) = match &args.key {
        Some(named) if LogVerifier::parse(named.trim()).is_some() => (named.clone(), "the command line".to_owned()),
        Some(named) => {
            let text = read_bounded(Path::new(named), KEY_BYTES_MAX).map_err(|error| {
                Fault::doing(
                    Exit::Usage,
                    format!("{} is no key and no file", Printable(named)),
                    &error,
                )
                .hint("a key is one word, such as web-1/staunch+1a2b3c4d+AbC...=; `staunch evidence key` prints it")
            })?;
            (text, named.clone())
        }
        None => {
            let file = super::load(&args.data)?.evidence_key_file();
            let text = read_bounded(&file, KEY_BYTES_MAX).map_err(|error| {
                Fault::doing(Exit::Usage, format!("cannot read {}", file.display()), &error)
                    .hint("name the key with --key")
            })?;
            say("the key is the one on this machine: against whoever can write here, use one that was kept elsewhere");
            (text, file.display().to_string())
        }
    };
    LogVerifier::parse(text.trim()).ok_or_else(|| {
        Fault::new(Exit::Usage, format!("there is no public key in {}", Printable(&from)))
            .hint("a key is one word, such as web-1/staunch+1a2b3c4d+AbC...=; `staunch evidence key` prints it")
    })
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

/// Wraps `text` like [`wrap`], and breaks words that are longer than a line, such as paths.
fn lines(text: &str, indent: usize) -> String {
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
}
