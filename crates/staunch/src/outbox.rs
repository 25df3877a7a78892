//! Sends to the bucket what could not be sent when it was sealed, on a thread of its own.
//!
//! Never in the way of evidence or containment. What it comes to is written beside the vault, and told to the
//! metrics. The thread is there before the server enters its sandbox, because it reaches another machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use staunch_model::{Failure, FailureKind, Handling, HandlingAction, Timestamp};
use staunch_runtime::telemetry::{CopyMeter, CopyReading};
use staunch_store::DirVault;
use staunch_store::vault::{Arrived, Handles, HandlingLog, Sent};

use crate::files::read_bounded;
use crate::output::now;
use crate::whole;

/// What became of the last attempt, in the folder of evidence.
const STATE: &str = "bucket.json";

const STATE_BYTES_MAX: u64 = 16 << 10;

/// How often it is looked for what waits.
const LOOK: Duration = Duration::from_secs(5);

/// The pause after a first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(5);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// What became of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct BucketState {
    /// When something last arrived there.
    pub(crate) at: Option<Timestamp>,
    /// How many artefacts, manifests and records waited after the last attempt; `None` when nobody knows.
    pub(crate) waiting: Option<u64>,
    /// Why.
    pub(crate) failure: Option<String>,
    /// Since when attempts fail.
    pub(crate) failing_since: Option<Timestamp>,
}

impl BucketState {
    /// What is known of the bucket of the vault in the folder of evidence; `None` before the first attempt.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match read_bounded(&folder.join(STATE), STATE_BYTES_MAX) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn after(&self, round: &Sent) -> Self {
        let has_arrived = !round.artefacts.is_empty() || round.documents > 0;
        Self {
            at: if has_arrived { Some(now()) } else { self.at },
            waiting: round.waiting,
            failure: round.failure.as_ref().map(ToString::to_string),
            failing_since: round.failure.as_ref().map(|_| self.failing_since.unwrap_or_else(now)),
        }
    }
}

/// Starts the thread that sends what waits in `vault`, which is in the folder of evidence, and writes into the
/// handling `log` what was moved. How it stands is told to `copies`.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(
    vault: Arc<DirVault>,
    folder: PathBuf,
    log: HandlingLog,
    copies: Arc<CopyMeter>,
) -> Result<(), Failure> {
    thread::Builder::new()
        .name("outbox".into())
        .spawn(move || keep(&vault, &folder, &log, &copies))
        .map(drop)
        .map_err(|error| Failure::new(FailureKind::Unavailable, &error.to_string()))
}

fn keep(vault: &DirVault, folder: &Path, log: &HandlingLog, copies: &CopyMeter) {
    let mut state = BucketState::read(folder).unwrap_or_else(|error| {
        tracing::warn!(%error, "what became of the bucket of evidence cannot be read; it is written anew");
        None
    });
    let mut failures = 0_u32;
    let mut failed = 0;
    loop {
        let round = vault.send().unwrap_or_else(|failure| Sent {
            failure: Some(failure),
            is_held_up: true,
            ..Sent::default()
        });
        let known = state.clone().unwrap_or_default();
        let then = known.after(&round);
        tell(&round, &known, log);
        failed += u64::from(round.failure.is_some());
        *copies.bucket() = Some(CopyReading {
            at: then.at,
            is_failing: round.failure.is_some(),
            failures: failed,
            waiting: round.waiting,
        });
        if state.as_ref() != Some(&then) {
            let text = serde_json::to_vec(&then).expect("it has nothing but texts and numbers");
            if let Err(error) = whole::keep(&folder.join(STATE), &text) {
                tracing::warn!(%error, "what became of the bucket of evidence cannot be written");
            }
            state = Some(then);
        }
        // What is refused by itself is tried again by itself, and nothing else waits for it.
        failures = if round.is_held_up {
            failures.saturating_add(1)
        } else {
            0
        };
        let pause = match failures {
            0 => LOOK,
            _ => PAUSE_MAX.min(PAUSE * 2_u32.saturating_pow((failures - 1).min(16))),
        };
        thread::sleep(pause);
    }
}

fn tell(round: &Sent, known: &BucketState, log: &HandlingLog) {
    for arrived in &round.artefacts {
        let receipt = &arrived.receipt;
        let noted = log.append(None, moved(arrived));
        if let Err(error) = noted {
            tracing::warn!(%error, "the handling log does not say that evidence was moved; its receipt does");
        }
        tracing::info!(
            artefact = %receipt.artefact, at = %receipt.storage.path,
            "evidence that waited is in the bucket"
        );
    }
    let (waiting, failure) = (round.waiting, round.failure.as_ref().map(ToString::to_string));
    let failure = failure.unwrap_or_default();
    match telling(round, known) {
        Telling::Nothing => {}
        Telling::Again => tracing::info!("the bucket takes evidence again; nothing waits"),
        Telling::Waits => tracing::warn!(%failure, ?waiting, "evidence waits for its bucket; it is tried again"),
        Telling::Stays => tracing::error!(%failure, ?waiting, "evidence is not in its bucket; it is kept here"),
    }
}

/// What is told of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    Nothing,
    /// The bucket takes evidence again.
    Again,
    /// Evidence waits, and no person need act.
    Waits,
    /// Evidence is refused.
    Stays,
}

/// A thing that is wrong is told once, and not in each round, unless it holds up everything by being away.
fn telling(round: &Sent, known: &BucketState) -> Telling {
    let Some(failure) = &round.failure else {
        return if known.failure.is_some() {
            Telling::Again
        } else {
            Telling::Nothing
        };
    };
    let is_told = known.failure.as_ref() == Some(&failure.to_string());
    match failure.kind {
        FailureKind::Unavailable | FailureKind::TimedOut if round.is_held_up || !is_told => Telling::Waits,
        _ if is_told => Telling::Nothing,
        _ => Telling::Stays,
    }
}

/// That an artefact is in the bucket, for the handling log.
fn moved(arrived: &Arrived) -> Handles {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let receipt = &arrived.receipt;
    Handles {
        evidence: None,
        artefact: Some(receipt.artefact),
        handling: Handling {
            at: receipt.at,
            actor: format!("staunch@{}", hostname.trim()).into(),
            action: HandlingAction::Transfer,
            reason: arrived.why.clone(),
            from: Some(arrived.from.clone()),
            to: Some(receipt.storage.path.clone()),
        },
        outcome: receipt
            .storage
            .version
            .as_ref()
            .map(|it| format!("version {it}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_that_is_wrong_is_told_once_and_another_as_another() {
        let failure = |kind, name: &str| Some(Failure::new(kind, &format!("cannot put {name}")));
        let check = |failure: Option<Failure>, is_held_up, before: Option<&str>, expected| {
            let round = Sent {
                failure,
                is_held_up,
                ..Sent::default()
            };
            let known = BucketState {
                failure: before.map(str::to_owned),
                ..BucketState::default()
            };
            assert_eq!(telling(&round, &known), expected, "{round:?} after {before:?}");
        };
        let (denied, away) = (FailureKind::Denied, FailureKind::Unavailable);
        check(None, false, None, Telling::Nothing);
        check(None, false, Some("cannot put a"), Telling::Again);
        check(failure(denied, "a"), false, None, Telling::Stays);
        check(failure(denied, "a"), false, Some("cannot put a"), Telling::Nothing);
        check(failure(denied, "b"), false, Some("cannot put a"), Telling::Stays);
        // One that is never answered for is no reason to write a line every five seconds.
        check(failure(away, "a"), false, None, Telling::Waits);
        check(failure(away, "a"), false, Some("cannot put a"), Telling::Nothing);
        // A bucket that is away is tried after pauses that grow.
        check(failure(away, "a"), true, Some("cannot put a"), Telling::Waits);
        check(failure(denied, "a"), true, Some("cannot put a"), Telling::Nothing);
    }
}
