//! `staunch evidence show`

use serde::Serialize;
use staunch_model::{
    ClockOffset, CollectionRecord, EvidenceId, Manifest, ManifestDraft, Printable, Receipt, Sha256Hash, Span, Storage,
    Taken,
};
use staunch_store::LogVerifier;

use super::handled::{self, Custody, HandledAs};
use super::in_log::InLog;
use super::{find, lines, open, size};
use crate::cli::VaultArgs;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, warn};

/// Lines of the handling log that are told to people.
const TOLD_MAX: usize = 20;

#[derive(Debug, Serialize)]
struct Shown {
    records: Vec<SealedAs<CollectionRecord>>,
    manifests: Vec<SealedAs<Manifest>>,
    /// The checkpoint that stands for what is in the log; `None` when none is proved, or nothing was logged.
    checkpoint: Option<Signed>,
    /// What says that artefacts are in a bucket, and how it keeps them.
    receipts: Vec<Receipt>,
    /// Artefacts that are to be in one and are not.
    waiting: Vec<Sha256Hash>,
    /// Who has had it in hand since it was sealed; the newest lines of the handling log.
    handled: Vec<HandledAs>,
}

/// What a log was at one time, with a signature that was looked at.
#[derive(Debug, Serialize)]
struct Signed {
    /// Which log: the name of its key.
    log: String,
    entries: u64,
    root: Sha256Hash,
}

#[derive(Debug, Serialize)]
struct SealedAs<T> {
    sha256: Sha256Hash,
    /// Whether it is in the log; `None` when the log cannot be read, or is not proved by a key.
    in_log: Option<bool>,
    /// Its index there, from 0.
    log_entry: Option<u64>,
    #[serde(flatten)]
    content: T,
}

impl<T> SealedAs<T> {
    fn of(sha256: Sha256Hash, content: T, log: &InLog) -> Self {
        let place = log.known.as_ref().map(|known| known.entries.get(&sha256).copied());
        Self {
            sha256,
            in_log: place.as_ref().ok().map(Option::is_some),
            log_entry: place.ok().flatten(),
            content,
        }
    }
}

pub(super) fn show(id: EvidenceId, key: Option<&str>, from: &VaultArgs) -> Result<Exit, Fault> {
    let (vault, folder) = open(from.vault.as_deref(), &from.data)?;
    let log = InLog::of(&folder, key, &from.data)?;
    let (records, manifests) = find(&vault, id)?;
    if let Err(why) = &log.known {
        warn(&format!("nothing is proved to be in the log: {why}"));
    }
    let (mut receipts, mut waiting) = (Vec::new(), Vec::new());
    let mut stored: Vec<(Sha256Hash, &Storage)> = manifests
        .iter()
        .filter_map(|it| match &it.manifest.taken {
            Taken::Stored { sha256, storage, .. } => Some((*sha256, storage)),
            Taken::Missed(_) => None,
        })
        .collect();
    stored.sort_unstable_by_key(|(hash, storage)| (*hash, storage.sha256));
    stored.dedup_by_key(|(hash, storage)| (*hash, storage.sha256));
    let hashes: Vec<Sha256Hash> = stored.iter().map(|(hash, _)| *hash).collect();
    let custody = Custody::of(&folder, from.vault.as_deref(), &from.data);
    let handled = match records.first() {
        Some(first) => custody.lines(first.record.incident, id, &hashes, first.record.ended_at, log.key()),
        None => Vec::new(),
    };
    for (hash, storage) in stored {
        match vault.receipt(hash, storage) {
            Ok(receipt) => receipts.extend(receipt),
            Err(failure) => warn(&failure.to_string()),
        }
        if vault.is_waiting(hash, storage) {
            waiting.push(hash);
        }
    }
    let shown = Shown {
        handled,
        receipts,
        waiting,
        checkpoint: log
            .known
            .as_ref()
            .ok()
            .and_then(|it| it.checkpoint.as_ref())
            .map(|it| Signed {
                log: it.origin.clone(),
                entries: it.size,
                root: it.root,
            }),
        records: records
            .into_iter()
            .map(|it| SealedAs::of(it.hash, it.record, &log))
            .collect(),
        manifests: manifests
            .into_iter()
            .map(|it| SealedAs::of(it.hash, it.manifest, &log))
            .collect(),
    };
    Output::new(from.json).show(&shown, |output| shown_text(output, &shown, log.key()))?;
    Ok(Exit::Ok)
}

/// How far the clock was off, for people.
fn clock(offset: &ClockOffset) -> String {
    let (off, way) = match offset.offset_us {
        us if us < 0 => (us.unsigned_abs(), "behind UTC"),
        us => (us.unsigned_abs(), "ahead of UTC"),
    };
    let wrong = offset
        .error_max_us
        .map_or_else(String::new, |us| format!(", at most {} wrong", Span::from_micros(us)));
    format!("{} {way}{wrong}, by {}", Span::from_micros(off), offset.told_by)
}

/// What the organisation says of it, for people; `None` when it says nothing.
fn labels(custody: &ManifestDraft) -> Option<String> {
    let tlp = custody.tlp.map(|it| it.marking().to_owned());
    let classification = custody.classification.as_deref().map(str::to_owned);
    let keep = custody.keep_until.map(|until| format!("to be kept until {until}"));
    let all: Vec<String> = [tlp, classification, keep].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Whether it is in the log, for people.
fn in_log<T>(it: &SealedAs<T>, signed: Option<&Signed>) -> String {
    match (it.in_log, it.log_entry, signed) {
        // People count from 1.
        (Some(_), Some(index), Some(signed)) => format!("entry {} of {}, proved", index + 1, signed.entries),
        (None, ..) => "not known: no log is proved".to_owned(),
        _ => "no: nothing proves it".to_owned(),
    }
}

/// Whether a manifest carries a signature of the key, for people; `None` without a key to look at it with.
fn signed(manifest: &Manifest, key: Option<&LogVerifier>) -> Option<String> {
    let key = key?;
    Some(match key.has_signed(manifest) {
        Ok(true) => format!("by {}, proved", key.name()),
        Ok(false) => "not by this key itself: the log alone stands for it".to_owned(),
        Err(why) => why.to_string(),
    })
}

/// Where an artefact is, for people.
fn place(storage: &Storage) -> String {
    match &storage.version {
        None => "under its SHA-256".to_owned(),
        Some(version) => format!("as {}, version {version}", storage.path),
    }
}

/// How an artefact is kept, for people.
fn kept(storage: &Storage) -> String {
    let until = storage
        .retain_until
        .map_or_else(String::new, |until| format!(" until {until}"));
    let hold = if storage.legal_hold { ", with a legal hold" } else { "" };
    format!("{}{until}{hold}", storage.write_once)
}

fn shown_text(output: &Output, shown: &Shown, key: Option<&LogVerifier>) -> String {
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
        if let (Some(deadline), Some(true), None) = (it.deadline, it.is_late(), &it.failure) {
            let value = format!("it was to be sealed by {deadline}: an act that waited for it waited no longer");
            line("LATE", &value);
        }
        line(
            "by",
            &format!(
                "{} of Staunch {} on {}",
                it.collector.name, it.collector.version, it.collector.host
            ),
        );
        line("record", &sealed.sha256.to_string());
        line("in log", &in_log(sealed, shown.checkpoint.as_ref()));
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
                line("stored", &place(storage));
                if let Some(encryption) = &storage.encryption {
                    let to: Vec<&str> = encryption.recipients.iter().map(|it| &**it).collect();
                    line(
                        "encrypted",
                        &format!("with {}, to {}", encryption.scheme, to.join(" and ")),
                    );
                }
                line("kept by", &kept(storage));
                if let Some(receipt) = shown.receipts.iter().find(|it| it.artefact == *sha256) {
                    if storage.version.is_none() {
                        line("sent", &format!("{}, {}", receipt.at, place(&receipt.storage)));
                        line("kept by", &kept(&receipt.storage));
                    }
                } else if shown.waiting.contains(sha256) {
                    line("waits", "it is not in the bucket: it is kept here until it is");
                }
            }
            Taken::Missed(failure) => line("missed", &failure.to_string()),
        }
        if let Some(transaction) = custody.transaction {
            line("before", &format!("{transaction}, which waited for it"));
        }
        line("found at", &custody.locator);
        line("read by", &custody.method);
        if let Some(offset) = &custody.clock_offset {
            line("clock", &clock(offset));
        }
        if let Some(modified) = custody.modified {
            line("modified", &modified.to_string());
        }
        if let Some(labels) = labels(custody) {
            line("labels", &labels);
        }
        line("manifest", &sealed.sha256.to_string());
        if let Some(uuid) = &it.uuid {
            line("uuid", uuid);
        }
        if let Some(signed) = signed(&sealed.content, key) {
            line("signed", &signed);
        }
        line("in log", &in_log(sealed, shown.checkpoint.as_ref()));
    }
    if let Some(signed) = &shown.checkpoint {
        text.push_str(&format!("\n  {}\n", output.paint(Tone::Strong, "Log, as it is signed")));
        for (label, value) in [
            ("of", &signed.log),
            ("entries", &signed.entries.to_string()),
            ("root", &signed.root.to_string()),
        ] {
            text.push_str(&format!(
                "    {}{}\n",
                output.paint(Tone::Faint, &format!("{label:<10}")),
                lines(&Printable(value).to_string(), 14)
            ));
        }
    }
    if !shown.handled.is_empty() {
        text.push_str(&format!(
            "\n  {}\n",
            output.paint(Tone::Strong, "Handled since it was sealed")
        ));
    }
    let before = shown.handled.len().saturating_sub(TOLD_MAX);
    if before > 0 {
        text.push_str(&format!("    {before} lines before; --json has them\n"));
    }
    for it in shown.handled.iter().skip(before) {
        text.push_str(&format!("    {}\n", lines(&handled::line(it), 6)));
        let reason = &it.it.handling.reason;
        if !reason.is_empty() {
            let reason = format!("because: {}", Printable(reason));
            text.push_str(&format!("      {}\n", output.paint(Tone::Faint, &lines(&reason, 8))));
        }
    }
    text
}
