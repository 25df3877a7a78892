//! `staunch evidence verify` of a folder.

use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{HandlingAction, Printable, Sha256Hash};
use staunch_store::LogVerifier;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::{DirVault, EvidenceFolder, EvidenceSummary, Progress, Unlogged, verify_evidence};

use super::handled::{Custody, Deed, is_live};
use super::in_log::{Noted, note_of, put_back_by, signed_size};
use super::{Findings, KEY_BYTES_MAX, archive, bucket, folder, lines, sealed, size};
use crate::anchors::{self, AnchorsChecked};
use crate::cli::{DataArgs, EvidenceVerifyArgs};
use crate::exit::{Exit, Fault, escaped};
use crate::files::{cannot_read, must_be_there, read_bounded};
use crate::output::{Output, Tone, say, wrap};
use crate::{progress, wiring};

/// What a verification comes to. Text, JSON, exit code and handling log say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// All of it is as it was sealed and signed.
    Proved,
    /// What was looked at and is in the log is. Artefacts that are elsewhere were not looked at, or their bucket did
    /// not answer, or a copy, or a handling log, has what no signature stands for.
    InPart,
    /// Something is not as it was, or is here and cannot be read.
    NotProved,
}

impl Verdict {
    pub(super) const fn exit(self) -> Exit {
        match self {
            Self::Proved => Exit::Ok,
            Self::InPart => Exit::Failed,
            Self::NotProved => Exit::Corrupt,
        }
    }

    pub(super) const fn words(self) -> (Tone, &'static str) {
        match self {
            Self::Proved => (Tone::Good, "PROVED"),
            Self::InPart => (Tone::Warning, "PROVED IN PART"),
            Self::NotProved => (Tone::Bad, "NOT AS IT WAS SEALED"),
        }
    }

    /// What the handling log says.
    fn outcome(self, not_read: u64) -> String {
        match self {
            Self::Proved => "proved".to_owned(),
            Self::InPart if not_read > 0 => {
                format!("proved in part: {not_read} artefacts in a bucket were not read")
            }
            Self::InPart => "proved in part: there is what nobody has signed".to_owned(),
            Self::NotProved => "not as it was sealed".to_owned(),
        }
    }
}

/// What was verified.
#[derive(Debug, Serialize)]
struct Verified {
    verdict: Verdict,
    /// Whether the verdict is that all of it is proved.
    proved: bool,
    /// Whether it is a copy: no server writes to it, so that nothing in it is about to be logged.
    copy: bool,
    /// How many of the findings are what a crash, or a server at work, leaves behind; they prove nothing either way,
    /// and with them a copy is proved in part.
    left_behind: u64,
    /// What is there and is not in the log: it is not proved, and in none of the other numbers.
    unlogged: Beside,
    /// The size of the log that is signed, and its root.
    checkpoint: Option<(u64, Sha256Hash)>,
    /// Whether the log continues the earlier checkpoint that was given.
    continues_earlier: Option<bool>,
    /// How it is known that the log was signed with more entries before; `null` where nothing tells of that.
    put_back: Option<String>,
    /// What the log was held against of its anchors, when that was asked for.
    anchors: Option<AnchorsChecked>,
    entries: u64,
    manifests: u64,
    /// Those of them that carry no signature of the key themselves: the log alone stands for them.
    unsigned: u64,
    records: u64,
    artefacts: u64,
    bytes: u64,
    /// Artefacts that were read from the bucket, which says that it keeps them as their receipts say.
    in_bucket: u64,
    /// Artefacts that are encrypted: their stored bytes are those of their manifests, and what they are was not looked
    /// at.
    encrypted: u64,
    /// Artefacts in a bucket that nobody has named, or that did not answer: nothing is proved of them.
    not_read: u64,
    /// Those of them whose bucket did not answer.
    away: u64,
    /// Lines of the handling logs that the key has signed.
    handled: u64,
    /// What is not as it was sealed and signed.
    findings: Vec<String>,
    /// How many more there are.
    more: u64,
}

/// What is there and is not in the log.
#[derive(Debug, Serialize)]
struct Beside {
    artefacts: u64,
    manifests: u64,
    records: u64,
    /// Lines of the handling log.
    lines: u64,
}

impl From<Unlogged> for Beside {
    fn from(it: Unlogged) -> Self {
        let Unlogged {
            artefacts,
            manifests,
            records,
            lines,
        } = it;
        Self {
            artefacts,
            manifests,
            records,
            lines,
        }
    }
}

pub(super) fn verify(args: &EvidenceVerifyArgs) -> Result<Exit, Fault> {
    if let Some(path) = args.path.as_deref().filter(|path| archive::is_one(path)) {
        if args.anchors {
            return Err(Fault::new(Exit::Usage, "an archive has no anchors")
                .hint("verify the folder of evidence with --anchors, or name an anchored checkpoint as --earlier"));
        }
        return archive::verify(path, args);
    }
    let dir = folder(args.path.as_deref(), &args.data)?;
    must_be_there(
        args.journal.as_slice(),
        "name the directory of the journal, such as /var/lib/staunch/journal, or of a copy of it",
    )?;
    let key = verifier(args.key.as_deref(), &args.data)?;
    let earlier = earlier(args)?;
    let bucket = bucket(args.path.is_some(), &args.data)?;
    let custody = Custody::of(&dir, args.path.as_deref(), &args.data);
    let folder = EvidenceFolder {
        handling: custody.log(),
        vault: &dir.join(wiring::VAULT),
        log: &dir.join(wiring::LOG),
        journal: args.journal.as_deref(),
        key: &key,
        earlier: earlier.as_deref(),
        bucket: bucket.as_deref(),
    };
    let mut progress = progress::Progress::start();
    let mut findings = Findings::default();
    let (mut left_behind, mut unanswered, mut nobodys) = (0, 0, 0);
    let summary = verify_evidence(
        &folder,
        &mut |at| match at {
            Progress::Entries { done, total } => progress.tell(|| format!("{done} of {total} entries of the log")),
            Progress::Artefacts { done, bytes } => progress.tell(|| format!("{done} artefacts, {}", size(bytes))),
        },
        &mut |finding| {
            left_behind += u64::from(finding.may_be_left_behind());
            unanswered += u64::from(finding.is_outage());
            nobodys += u64::from(finding.is_nobodys_word());
            findings.push(finding.to_string());
        },
    );
    let mut of_journal = 0;
    let mut of_anchors = 0;
    let anchors = args.anchors.then(|| {
        anchors::check(&dir, &key, &mut |finding| {
            of_anchors += 1;
            findings.push(finding);
        })
    });
    if let Some(journal) = &args.journal {
        sealed::compare(journal, &DirVault::read_only(folder.vault), &mut |finding| {
            of_journal += 1;
            findings.push(finding);
        });
    }
    let mut noted = Noted::of(&key);
    custody.all_outcomes(&key, &mut |outcome| noted.take(outcome));
    let mut put_back = None;
    if let Some(signed) = &summary.checkpoint {
        let before = noted.and_kept_elsewhere(&dir, signed.size);
        // One that is none by now says nothing of how far the log has come since.
        let size = signed_size(&dir, &key).unwrap_or(signed.size);
        put_back = put_back_by(before, size);
        if let Some(how) = &put_back {
            findings.push(format!("THE LOG WAS PUT BACK: {how}"));
        }
    }
    let is_sound =
        of_journal + of_anchors == 0 && put_back.is_none() && summary.findings == left_behind + unanswered + nobodys;
    let mut verified = verified(&summary, args.earlier.is_some(), findings);
    verified.put_back = put_back;
    verified.left_behind = left_behind;
    verified.copy = !is_live(&dir, args.path.as_deref(), &args.data);
    verified.anchors = anchors;
    // A server logs what it is writing, and a start what was left. Nobody does so with a copy: whoever had it in hand
    // may have put there what is not in the log. Lines of handling logs are signed as they are written.
    let is_all_signed = (left_behind == 0 || !verified.copy) && nobodys == 0;
    verified.verdict = match (is_sound, summary.not_read == 0 && unanswered == 0 && is_all_signed) {
        (false, _) => Verdict::NotProved,
        (true, true) => Verdict::Proved,
        (true, false) => Verdict::InPart,
    };
    verified.proved = verified.verdict == Verdict::Proved;
    let mut outcome = verified.verdict.outcome(summary.not_read);
    if let Some(signed) = &summary.checkpoint {
        outcome = format!("{outcome}; {}", note_of(&key, signed.size));
    }
    custody.note_after(
        None,
        Deed {
            action: HandlingAction::Verify,
            reason: args.reason.as_deref(),
            evidence: None,
            artefact: None,
            to: None,
            outcome: Some(&outcome),
        },
    );
    Output::new(args.json).show(&verified, |output| verified_text(output, &verified))?;
    Ok(verified.verdict.exit())
}

fn verified(summary: &EvidenceSummary, asked: bool, findings: Findings) -> Verified {
    Verified {
        verdict: Verdict::NotProved,
        proved: false,
        copy: false,
        left_behind: 0,
        unlogged: summary.unlogged.into(),
        checkpoint: summary.checkpoint.as_ref().map(|it| (it.size, it.root)),
        continues_earlier: asked.then_some(summary.continues_earlier),
        put_back: None,
        anchors: None,
        entries: summary.entries,
        manifests: summary.manifests,
        unsigned: summary.unsigned,
        records: summary.records,
        artefacts: summary.artefacts,
        bytes: summary.bytes,
        in_bucket: summary.in_bucket,
        encrypted: summary.encrypted,
        not_read: summary.not_read,
        away: summary.away,
        handled: summary.lines,
        findings: findings.told,
        more: findings.more,
    }
}

fn verified_text(output: &Output, it: &Verified) -> String {
    let mut text = String::new();
    for finding in &it.findings {
        let line = lines(&escaped(finding), 4);
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
    let (tone, verdict) = it.verdict.words();
    let line = wrap(&format!("{verdict}: {what}"), 2);
    text.push_str(&format!("{}\n", output.paint(tone, &line)));
    text.push_str(&beside_text(output, it));
    if it.in_bucket > 0 && it.verdict != Verdict::NotProved {
        let line = format!(
            "{} of the artefacts are in the bucket, which keeps them as it was asked to",
            it.in_bucket
        );
        text.push_str(&format!("  {}\n", wrap(&line, 2)));
    }
    text.push_str(&unsigned_text(it.unsigned));
    if it.encrypted > 0 {
        text.push_str(&encrypted_text(it.encrypted));
    }
    text.push_str(&not_read_text(output, it));
    if let Some((size, root)) = &it.checkpoint {
        text.push_str(&format!("  signed at {size} entries,\n  root {root}\n"));
    }
    match it.continues_earlier {
        Some(true) => text.push_str("  the log continues the earlier checkpoint: nothing was taken back since\n"),
        Some(false) => {}
        None if it.anchors.as_ref().is_some_and(|it| it.checkpoints > 0) => {}
        None => text.push_str(
            "  not compared with an earlier checkpoint (--earlier): a folder that\n  was put back as a whole would not show\n",
        ),
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

/// What is told of artefacts that were not read, and what to do about it.
fn not_read_text(output: &Output, it: &Verified) -> String {
    let mut lines = Vec::new();
    if it.not_read > it.away {
        lines.push(format!(
            "{} artefacts were not read: they are in a bucket that the configuration does not name, and nothing is proved of them",
            it.not_read - it.away
        ));
    }
    if it.away > 0 {
        lines.push(format!(
            "{} artefacts were not read: their bucket did not answer, and nothing is proved of them",
            it.away
        ));
        lines.push("verify again when it can be reached; `staunch doctor` says what keeps it away".to_owned());
    }
    let paint = |line: &String| format!("  {}\n", output.paint(Tone::Warning, &wrap(line, 2)));
    lines.iter().map(paint).collect()
}

/// What is told of what is there and is not in the log.
fn beside_text(output: &Output, it: &Verified) -> String {
    let mut lines = Vec::new();
    let Beside {
        artefacts,
        manifests,
        records,
        lines: handled,
    } = it.unlogged;
    if artefacts + manifests + records > 0 {
        lines.push(format!(
            "not in the log, not proved and not counted: {artefacts} artefacts, {manifests} manifests, {records} records{}",
            if it.copy {
                "; somebody put them there, or they were being written when the copy was made"
            } else {
                "; a server logs what it has within moments, and when it starts"
            }
        ));
    }
    if handled > 0 {
        lines.push(handled_text(handled));
    }
    if it.copy && it.verdict == Verdict::NotProved {
        lines.push(
            "a copy that was made while a server was at work may look like this: make it anew before anybody is accused"
                .to_owned(),
        );
    }
    if it.left_behind > 0 {
        lines.push(format!(
            "{} of the findings are what a crash or a server at work leaves behind; they prove nothing either way",
            it.left_behind
        ));
    }
    let paint = |line: &String| format!("  {}\n", output.paint(Tone::Warning, &wrap(line, 2)));
    lines.iter().map(paint).collect()
}

/// What is told of lines of handling logs that prove nothing.
pub(super) fn handled_text(unproved: u64) -> String {
    if unproved == 1 {
        return "1 line of the handling logs is not signed by the key, and proves nothing".to_owned();
    }
    format!("{unproved} lines of the handling logs are not signed by the key, and prove nothing")
}

/// The earlier checkpoint that was named.
pub(super) fn earlier(args: &EvidenceVerifyArgs) -> Result<Option<String>, Fault> {
    let read = |file: &PathBuf| {
        read_bounded(file, NOTE_BYTES_MAX).map_err(|error| {
            let shown = file.display().to_string();
            cannot_read(&format!("cannot read {}", Printable(&shown)), &error)
                .hint("name a file with a checkpoint, as `staunch evidence checkpoint` prints it")
        })
    };
    args.earlier.as_ref().map(read).transpose()
}

/// The key that was named, or that of this machine.
///
/// # Errors
/// When there is none, or what is named is none.
pub(super) fn verifier(named: Option<&str>, data: &DataArgs) -> Result<LogVerifier, Fault> {
    let (text, from) = match named {
        Some(named) if LogVerifier::parse(named.trim()).is_some() => (named.to_owned(), "the command line".to_owned()),
        Some(named) => {
            let text = read_bounded(Path::new(named), KEY_BYTES_MAX).map_err(|error| {
                Fault::doing(
                    Exit::Usage,
                    format!("{} is no public key, and no file with one", Printable(named)),
                    &error,
                )
                .hint(if named.contains('+') {
                    "a letter of the key is wrong, or is missing: its parts are held against each other; copy it once more"
                } else {
                    "a key is one word, such as web-1/staunch+1a2b3c4d+AbC...=; `staunch evidence key` prints it"
                })
            })?;
            (text, named.to_owned())
        }
        None => {
            let file = super::super::load(data)?.evidence_key_file();
            let text = read_bounded(&file, KEY_BYTES_MAX).map_err(|error| {
                let shown = file.display().to_string();
                cannot_read(&format!("cannot read {}", Printable(&shown)), &error).hint("name the key with --key")
            })?;
            let line = "the key is the one on this machine: against whoever can write here, use one that was kept \
                        elsewhere";
            say(&wrap(line, 0));
            (text, file.display().to_string())
        }
    };
    LogVerifier::parse(text.trim()).ok_or_else(|| {
        Fault::new(Exit::Usage, format!("there is no public key in {}", Printable(&from)))
            .hint("a key is one word, such as web-1/staunch+1a2b3c4d+AbC...=; `staunch evidence key` prints it")
    })
}

/// What is told of manifests that carry no signature of the key themselves; nothing when there is none.
pub(super) fn unsigned_text(count: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let line =
        format!("{count} of the manifests carry no signature of the key themselves: the log alone stands for them");
    format!("  {}\n", wrap(&line, 2))
}

/// What was verified of artefacts that are encrypted.
pub(super) fn encrypted_text(count: u64) -> String {
    let line = format!(
        "{count} of the artefacts are encrypted: their stored bytes are proved, and what is in them is proved when it is read \
         (`get --identity`)"
    );
    format!("  {}\n", wrap(&line, 2))
}
