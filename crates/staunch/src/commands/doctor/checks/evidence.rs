//! Whether evidence can be taken, and kept.

use std::path::Path;
use std::time::Instant;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use staunch_model::{FailureKind, Printable};
use staunch_server::dto::EvidenceView;
use staunch_store::DirVault;
use staunch_store::s3::Bucket;

use super::super::{Finding, Health};
use super::acting::has_capability;
use super::kept::existing;
use super::who::kept_out;
use crate::anchors::{AnchorState, git_is_there};
use crate::bucket;
use crate::commands::evidence::was_sealed;
use crate::config::{AnchorKind, AnchorSettings, Config, EvidenceBucket};
use crate::output::{now, relative};
use crate::wiring;

/// What is missing without a capability, by its bit in capability(7).
const NEEDED: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "flows and the ruleset"),
    (13, "CAP_NET_RAW", "packets"),
    (19, "CAP_SYS_PTRACE", "what processes of others have open and run"),
    (2, "CAP_DAC_READ_SEARCH", "files of others"),
];

const CHECK: &str = "evidence";

/// Room that a vault should have: some captures and log files.
const ROOM_MIN: u64 = 1 << 30;

/// What the vault of a running server has to say of itself; nothing while it keeps evidence.
pub(super) fn of_server(it: &EvidenceView) -> Option<Finding> {
    let (text, fix) = match (&it.no_vault, &it.vault_failure) {
        (Some(why), _) => (
            format!("the running server keeps none: {}", Printable(why)),
            "make room, or give it the directory: it tries again by itself. When the vault is another's or damaged, or its \
             settings or its bucket are to blame, mend that and start it again",
        ),
        (None, Some(why)) => (
            format!(
                "the vault of the running server has sealed none of the last {} it was to keep: {}",
                it.vault_missed,
                Printable(why)
            ),
            "make room, or let the user of the server write there: what is asked for next is tried anew. A vault whose folder \
             is gone is made by the next start",
        ),
        (None, None) => return None,
    };
    Some(Finding::new(CHECK, Health::Problem, text).fix(fix))
}

/// What is found of this machine; with `trouble`, which a running server has, nothing is called well that it
/// contradicts.
pub(super) fn all(config: &Config, trouble: Option<Finding>) -> Vec<Finding> {
    if !config.evidence.enabled {
        let text = "nothing is preserved: [evidence] enabled = false";
        return vec![Finding::new(CHECK, Health::Ok, text)];
    }
    let dir = config.evidence_dir();
    let at = existing(&dir);
    let mut findings: Vec<Finding> = trouble.into_iter().collect();
    let is_there = dir.join(wiring::VAULT).exists() || kept_out(at, AccessFlags::X_OK).is_some();
    if !is_there && was_sealed(config) {
        let text = format!("the vault in {} is gone, with all that was sealed", dir.display());
        let fix = "put it back from a copy, or start the server again, which makes another; `staunch evidence list` names what \
                   is gone then";
        findings.push(Finding::new(CHECK, Health::Problem, text).fix(fix));
    }
    let is_well = findings.is_empty();
    if access(at, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        let text = format!(
            "this user cannot keep evidence in {}: it is missed, and containment goes on",
            at.display()
        );
        let fix = "give it to the user of the server, or name another as `dir` under [evidence]";
        findings.push(match kept_out(at, AccessFlags::W_OK | AccessFlags::X_OK) {
            Some(kept) => Finding::new(CHECK, Health::Problem, format!("{text}; {}", kept.what)).fix(fix),
            None => Finding::new(CHECK, Health::Problem, text).fix(fix),
        });
    } else if let Ok(found) = statvfs(at) {
        let free = found.blocks_available().saturating_mul(found.fragment_size());
        let text = format!("{} MiB free for it at {}", free >> 20, at.display());
        if free < ROOM_MIN {
            let text = format!("{text}; on a full disk evidence is missed");
            let fix = "make room, or name a directory on a disk of its own as `dir` under [evidence]";
            findings.push(Finding::new(CHECK, Health::Warning, text).fix(fix));
        } else if is_well {
            let log = dir.join(wiring::LOG);
            let signed = if log.is_dir() { "; it is logged and signed" } else { "" };
            findings.push(Finding::new(CHECK, Health::Ok, format!("{text}{signed}")));
        }
    }
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(bit, ..)| !has_capability(*bit))
        .map(|(_, name, what)| format!("{what} ({name})"))
        .collect();
    if !missing.is_empty() {
        let text = format!(
            "this user cannot take {}; a playbook that asks for it goes on without",
            missing.join(", ")
        );
        findings.push(Finding::new(CHECK, Health::Ok, text));
    }
    findings.extend(config.evidence.s3.as_ref().map(|it| bucket(&dir, it)));
    findings.extend(config.evidence.anchors.iter().map(|it| anchor(&dir, it)));
    findings
}

/// Whether the bucket locks, and whether what waits reaches it. A bucket is asked to show it, as it is when a server
/// starts.
fn bucket(folder: &Path, settings: &EvidenceBucket) -> Finding {
    const CHECK: &str = "bucket";
    const FIX: &str =
        "see docs/guide/evidence.md: a bucket needs Object Lock, and a key that may put objects with a retention";
    let bucket = match bucket::of_evidence(settings) {
        Ok(bucket) => bucket,
        Err(failure) => return Finding::new(CHECK, Health::Problem, failure.to_string()).fix(FIX),
    };
    let place = bucket.settings().place.clone();
    let waiting = DirVault::read_only(&folder.join(wiring::VAULT)).waiting();
    let waits = match &waiting {
        Ok(waiting) if waiting.files == 0 => String::new(),
        Ok(waiting) => {
            let since = waiting
                .since
                .map_or_else(String::new, |at| format!(", the oldest since {}", relative(at, now())));
            format!("; {} files wait to be sent{since}", waiting.files)
        }
        Err(failure) => format!("; what waits cannot be read: {failure}"),
    };
    match bucket.prove(Instant::now() + settings.wait.to_std()) {
        Ok(()) if waits.is_empty() => {
            let mode = bucket.settings().mode.write_once();
            let text = format!("{place} locks evidence: {mode}");
            match unfinished(&bucket, settings) {
                Unended::None => Finding::new(CHECK, Health::Ok, text),
                Unended::Unknown(why) => Finding::new(CHECK, Health::Ok, format!("{text}; {why}")),
                Unended::Some(what) => Finding::new(CHECK, Health::Warning, format!("{text}; {what}")).fix(
                    "their parts are paid for: a server aborts them when it starts; a rule of the bucket may as well \
                     (AbortIncompleteMultipartUpload)",
                ),
            }
        }
        Ok(()) => Finding::new(CHECK, Health::Warning, format!("{place} locks evidence{waits}"))
            .fix("a running server sends them within moments; its log says why it does not"),
        Err(failure) if matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut) => {
            let text = format!("{place} is away: {failure}{waits}");
            Finding::new(CHECK, Health::Warning, text)
                .fix("evidence is kept here, and sent when the bucket is there; who has this machine has it until then")
        }
        Err(failure) => {
            let text = format!("{place} is no place for evidence, which is missed: {failure}{waits}");
            Finding::new(CHECK, Health::Problem, text).fix(FIX)
        }
    }
}

/// The uploads in parts that did not end, where nothing waits to be sent.
enum Unended {
    None,
    Some(String),
    /// Why nobody knows.
    Unknown(String),
}

fn unfinished(bucket: &Bucket, settings: &EvidenceBucket) -> Unended {
    let found = match staunch_store::vault::unfinished(bucket, Instant::now() + settings.wait.to_std()) {
        Ok(found) => found,
        Err(failure) => return Unended::Unknown(format!("whether uploads did not end is not known: {failure}")),
    };
    let uploads = &found.uploads;
    let Some(first) = uploads.first() else {
        return if found.is_cut {
            Unended::Unknown("whether uploads did not end is not known: there are too many of others".to_owned())
        } else {
            Unended::None
        };
    };
    let at_least = if found.is_cut { "at least " } else { "" };
    let since = uploads.iter().filter_map(|it| it.since).min();
    let since = since.map_or_else(String::new, |at| format!(", the oldest begun {}", relative(at, now())));
    Unended::Some(format!(
        "uploads in parts that did not end: {at_least}{}{since}, one of them of {}",
        uploads.len(),
        Printable(&first.name)
    ))
}

/// Whether the newest checkpoints reach this anchor, as the server has written down.
fn anchor(folder: &Path, settings: &AnchorSettings) -> Finding {
    const CHECK: &str = "anchor";
    let name = &settings.name;
    if settings.kind == AnchorKind::Git && !git_is_there() {
        return Finding::new(CHECK, Health::Problem, format!("{name} needs git, and there is none"))
            .fix("install git in /usr/bin or /usr/local/bin, or take the anchor out");
    }
    let state = match AnchorState::read(folder, name) {
        Ok(Some(state)) => state,
        Ok(None) => {
            let text = format!("{name}: nothing was brought there");
            return Finding::new(CHECK, Health::Unknown, text)
                .fix("start the server, or try it with `staunch evidence anchor`");
        }
        Err(error) => return Finding::new(CHECK, Health::Unknown, format!("{name}: it cannot be read: {error}")),
    };
    let last = match state.at {
        Some(at) => format!("the last is of {} entries, {}", state.size, relative(at, now())),
        None => "none is there".to_owned(),
    };
    match &state.failure {
        None => Finding::new(CHECK, Health::Ok, format!("{name} has checkpoints of the log; {last}")),
        Some(failure) if state.is_contradicted => {
            let text = format!("{name} contradicts the log of evidence here: {failure}; {last}");
            Finding::new(CHECK, Health::Problem, text).fix(
                "an older copy was put in its place, or somebody wrote to one of them: keep both, and hold them against each \
                 other with `staunch evidence verify --earlier CHECKPOINT`",
            )
        }
        Some(failure) => {
            let text = format!("{name} does not get the newest checkpoints: {failure}; {last}");
            Finding::new(CHECK, Health::Warning, text)
                .fix("what is not anchored can be taken back; `staunch evidence anchor` tries it again")
        }
    }
}
