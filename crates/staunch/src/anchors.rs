//! Brings checkpoints of the transparency log to places that who can write here cannot take back.
//!
//! Never in the way of the log or of evidence: each anchor has a thread of its own, and what fails is told and
//! tried again. The threads are there before the server enters its sandbox, because they run `git` and reach
//! other machines.

mod git;
mod rfc3161;
mod s3;

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Timestamp};
use staunch_runtime::telemetry::{CopyMeter, CopyReading};
use staunch_store::LogVerifier;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::tlog::stamp::{Stamp, StampRequest};
use staunch_store::tlog::{CHECKPOINT, Checkpoint, LogReader};

pub(crate) use git::is_there as git_is_there;

use crate::config::{AnchorKind, AnchorSettings};
use crate::files::{open_regular, read_bounded};
use crate::output::now;
use crate::whole;
use crate::wiring::{LOG, make_private_dir};

/// What anchors have brought away, in the directory of evidence: a directory for each.
pub(crate) const ANCHORS: &str = "anchors";

/// What became of the last attempt, in the directory of an anchor.
const STATE: &str = "state.json";

const STATE_BYTES_MAX: u64 = 16 << 10;

/// How often it is looked for a new checkpoint. The journal is logged once in a minute.
const LOOK: Duration = Duration::from_secs(30);

/// The pause after a first failure; it doubles with each further one, up to the anchor's own interval.
const PAUSE: Duration = Duration::from_secs(60);

/// Anchored checkpoints that are verified: more than ten years of one each hour.
const CHECKED_MAX: usize = 100_000;

/// What became of an anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct AnchorState {
    /// When a checkpoint was last anchored.
    pub(crate) at: Option<Timestamp>,
    /// The size of the log that it is of.
    pub(crate) size: u64,
    /// The root of the log at that size.
    pub(crate) root: Option<Sha256Hash>,
    /// Why the last attempt has failed.
    pub(crate) failure: Option<String>,
    /// Since when attempts fail.
    pub(crate) failing_since: Option<Timestamp>,
    /// Whether the last attempt has failed because what is there contradicts the log.
    #[serde(default)]
    pub(crate) is_contradicted: bool,
}

impl AnchorState {
    /// What is known of the anchor `name` in the folder of evidence; `None` before its first attempt.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = folder.join(ANCHORS).join(name).join(STATE);
        match read_bounded(&file, STATE_BYTES_MAX) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One place, and the log whose checkpoints are brought there.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    settings: AnchorSettings,
    /// The folder of evidence.
    folder: PathBuf,
    key: LogVerifier,
    /// Whether the bucket has shown that it locks.
    has_proved: Cell<bool>,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is no checkpoint.
    Empty,
    /// The newest is anchored already.
    Known(u64),
    /// The newest was anchored; the size of the log.
    New(u64),
}

/// What an anchor works with.
struct Work<'a> {
    settings: &'a AnchorSettings,
    /// The directory of the anchor.
    dir: &'a Path,
    /// The directory of the log.
    log: &'a Path,
    key: &'a LogVerifier,
    note: &'a str,
    checkpoint: &'a Checkpoint,
    until: Instant,
}

/// Starts a thread for each anchor of the log in `folder`, which `key` proves. How they stand is told to `copies`.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(
    anchors: &[AnchorSettings],
    folder: &Path,
    key: &LogVerifier,
    copies: &Arc<CopyMeter>,
) -> Result<(), Failure> {
    for settings in anchors {
        let anchor = Anchor::new(settings, folder, key);
        let copies = Arc::clone(copies);
        thread::Builder::new()
            .name("anchor".into())
            .spawn(move || anchor.keep(&copies))
            .map_err(|error| Failure::new(FailureKind::Unavailable, &error.to_string()))?;
    }
    Ok(())
}

impl Anchor {
    /// The anchor that `settings` describe, of the log in `folder`, which `key` proves.
    pub(crate) fn new(settings: &AnchorSettings, folder: &Path, key: &LogVerifier) -> Self {
        Self {
            settings: settings.clone(),
            folder: folder.to_owned(),
            key: key.clone(),
            has_proved: Cell::new(false),
        }
    }

    fn keep(&self, copies: &CopyMeter) {
        let every = self.settings.every.to_std();
        let mut failures = 0_u32;
        // What cannot be read of it is written anew by the first attempt.
        let known = AnchorState::read(&self.folder, &self.settings.name).unwrap_or_default();
        let mut reading = CopyReading {
            at: known.and_then(|it| it.at),
            waiting: Some(0),
            ..CopyReading::default()
        };
        loop {
            let brought = self.bring();
            reading.is_failing = brought.is_err();
            reading.failures += u64::from(brought.is_err());
            if let Ok(Outcome::New(_)) = brought {
                reading.at = Some(now());
            }
            copies.anchors().insert((&*self.settings.name).into(), reading);
            let pause = match brought {
                Ok(Outcome::New(size)) => {
                    failures = 0;
                    tracing::info!(
                        anchor = self.settings.name,
                        size,
                        "a checkpoint of the log was anchored"
                    );
                    every
                }
                Ok(Outcome::Empty | Outcome::Known(_)) => every.min(LOOK),
                Err(failure) => {
                    let pause = every.min(PAUSE * 2_u32.saturating_pow(failures.min(16)));
                    failures = failures.saturating_add(1);
                    if failure.kind == FailureKind::Conflict {
                        tracing::error!(anchor = self.settings.name, %failure, "an anchor contradicts the log");
                    } else {
                        tracing::warn!(
                            anchor = self.settings.name, %failure, again_in = ?pause,
                            "a checkpoint was not anchored; the log goes on"
                        );
                    }
                    pause
                }
            };
            thread::sleep(pause);
        }
    }

    /// Brings the newest checkpoint there, when it is not there. What it comes to is written beside the log.
    ///
    /// # Errors
    /// Why it is not there; `Conflict` when what is there contradicts the log, or another process is at it.
    pub(crate) fn bring(&self) -> Result<Outcome, Failure> {
        let dir = self.folder.join(ANCHORS).join(&self.settings.name);
        let _lock = open(&self.folder.join(ANCHORS), &dir)?;
        let known = AnchorState::read(&self.folder, &self.settings.name).map_err(|error| io_failure(&dir, &error))?;
        let mut state = known.unwrap_or_default();
        let outcome = self.attempt(&dir, &mut state);
        match &outcome {
            Ok(_) => {
                (state.failure, state.failing_since) = (None, None);
                state.is_contradicted = false;
            }
            Err(failure) => {
                state.is_contradicted = failure.kind == FailureKind::Conflict;
                state.failure = Some(failure.to_string());
                state.failing_since = state.failing_since.or_else(|| Some(now()));
            }
        }
        let text = serde_json::to_vec(&state).expect("it has nothing but texts and numbers");
        whole::keep(&dir.join(STATE), &text).map_err(|error| io_failure(&dir, &error))?;
        outcome
    }

    fn attempt(&self, dir: &Path, state: &mut AnchorState) -> Result<Outcome, Failure> {
        let log = self.folder.join(LOG);
        let file = log.join(CHECKPOINT);
        let note = match read_bounded(&file, NOTE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Empty),
            note => note.map_err(|error| io_failure(&file, &error))?,
        };
        let checkpoint = self.key.checkpoint(&note).map_err(|error| {
            let what = format!("{} is not signed by the key of this machine: {error}", file.display());
            Failure::new(FailureKind::Conflict, &what)
        })?;
        if state.root == Some(checkpoint.root) && state.size == checkpoint.size {
            return Ok(Outcome::Known(checkpoint.size));
        }
        let work = Work {
            settings: &self.settings,
            dir,
            log: &log,
            key: &self.key,
            note: &note,
            checkpoint: &checkpoint,
            until: Instant::now() + self.settings.deadline.to_std(),
        };
        match self.settings.kind {
            AnchorKind::Git => git::commit(&work)?,
            AnchorKind::Rfc3161 => rfc3161::stamp(&work)?,
            AnchorKind::S3 => {
                let mut has_proved = self.has_proved.get();
                let put = s3::put(&work, &mut has_proved);
                self.has_proved.set(has_proved);
                put?;
            }
        }
        work.keep(CHECKPOINT, note.as_bytes())?;
        *state = AnchorState {
            at: Some(now()),
            size: checkpoint.size,
            root: Some(checkpoint.root),
            ..AnchorState::default()
        };
        Ok(Outcome::New(checkpoint.size))
    }
}

impl Work<'_> {
    /// Writes what belongs to the checkpoint into the directory of the anchor.
    fn keep(&self, suffix: &str, bytes: &[u8]) -> Result<(), Failure> {
        let file = self.dir.join(format!("{}.{suffix}", self.checkpoint.size));
        whole::keep(&file, bytes).map_err(|error| io_failure(&file, &error))
    }
}

/// Makes the directory of an anchor, and takes its lock.
fn open(parent: &Path, dir: &Path) -> Result<File, Failure> {
    for dir in [parent, dir] {
        make_private_dir(dir).map_err(|fault| Failure::new(FailureKind::Unavailable, &fault.told()))?;
    }
    let file = File::create(dir.join("lock")).map_err(|error| io_failure(dir, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = "another process brings a checkpoint there at the moment";
            Err(Failure::new(FailureKind::Unavailable, what))
        }
        Err(TryLockError::Error(error)) => Err(io_failure(dir, &error)),
    }
}

fn io_failure(at: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot use {}: {error}", at.display());
    Failure::new(FailureKind::Unavailable, &what)
}

/// Whether the log continues `earlier`.
///
/// # Errors
/// Why it does not.
fn continues(log: &Path, size: u64, earlier: &Checkpoint) -> Result<(), String> {
    if earlier.size > size {
        return Err(format!(
            "it is of {} entries and the log has {size}: the log was put back",
            earlier.size
        ));
    }
    let root = LogReader::new(log, earlier.size).root();
    let root = root.map_err(|error| format!("the log cannot be read: {error}"))?;
    if root != earlier.root {
        return Err(format!("the first {} entries of the log are others", earlier.size));
    }
    Ok(())
}

/// What was verified of the anchors of a folder.
#[derive(Debug, Default, Serialize)]
pub(crate) struct AnchorsChecked {
    /// Anchored checkpoints that the log continues.
    pub(crate) checkpoints: u64,
    /// Those of them with a time stamp of theirs.
    pub(crate) stamps: u64,
    /// The size of the log at the last of them that has a time stamp, and its time.
    pub(crate) last_stamp: Option<(u64, String)>,
}

/// Holds the log in `folder` against all checkpoints that were anchored and kept beside it; `find` takes what
/// contradicts it. The signature of time stamps is not looked at.
pub(crate) fn check(folder: &Path, key: &LogVerifier, find: &mut dyn FnMut(String)) -> AnchorsChecked {
    let mut checked = AnchorsChecked::default();
    let log = folder.join(LOG);
    let size = match LogReader::open(&log, key) {
        Ok((_, checkpoint)) => checkpoint.size,
        Err(error) => {
            find(format!("the log cannot be held against its anchors: {error}"));
            return checked;
        }
    };
    match anchored(&folder.join(ANCHORS)) {
        Ok(files) => {
            for file in files {
                if let Err(what) = check_one(&file, &log, size, key, &mut checked) {
                    find(format!("{}: {what}", Printable(&file.display().to_string())));
                }
            }
        }
        Err(error) => find(format!("the anchors cannot be read: {error}")),
    }
    checked
}

/// The size of the largest log that a checkpoint of `key` stands for, among those that anchors have brought away of the
/// log in `folder`. Read the log afterwards to hold it against that.
///
/// # Errors
/// When they cannot be listed.
pub(crate) fn largest(folder: &Path, key: &LogVerifier) -> io::Result<Option<u64>> {
    let files = anchored(&folder.join(ANCHORS))?;
    let size = |file: &PathBuf| {
        let note = read_bounded(file, NOTE_BYTES_MAX).ok()?;
        // What is not signed by this key says nothing of this log; `check` tells of it.
        key.checkpoint(&note).ok().map(|it| it.size)
    };
    Ok(files.iter().filter_map(size).max())
}

/// All checkpoints that were kept, in the order of their anchors and sizes.
fn anchored(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let anchors = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        anchors => anchors?,
    };
    for anchor in anchors {
        let anchor = anchor?.path();
        for file in fs::read_dir(&anchor)? {
            let name = file?.file_name();
            let size = name.to_str().and_then(|it| it.strip_suffix(".checkpoint"));
            let Some(size) = size.and_then(|it| it.parse::<u64>().ok()) else {
                continue;
            };
            if found.len() == CHECKED_MAX {
                return Err(io::Error::other(format!("there are more than {CHECKED_MAX}")));
            }
            found.push((anchor.clone(), size));
        }
    }
    found.sort();
    let file = |(anchor, size): (PathBuf, u64)| anchor.join(format!("{size}.checkpoint"));
    Ok(found.into_iter().map(file).collect())
}

fn check_one(
    file: &Path,
    log: &Path,
    size: u64,
    key: &LogVerifier,
    checked: &mut AnchorsChecked,
) -> Result<(), String> {
    let note = read_bounded(file, NOTE_BYTES_MAX).map_err(|error| error.to_string())?;
    let checkpoint = key.checkpoint(&note).map_err(|error| error.to_string())?;
    continues(log, size, &checkpoint)?;
    checked.checkpoints += 1;
    let read = |suffix: &str| -> io::Result<Option<Vec<u8>>> {
        let file = match open_regular(&file.with_extension(suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        let most = staunch_store::tlog::stamp::STAMP_BYTES_MAX + 1;
        io::Read::read_to_end(&mut io::Read::take(file, most), &mut bytes)?;
        Ok(Some(bytes))
    };
    let both = read(rfc3161::REQUEST).and_then(|request| Ok((request, read(rfc3161::ANSWER)?)));
    let (request, answer) = match both.map_err(|error| format!("its time stamp cannot be read: {error}"))? {
        (None, None) => return Ok(()),
        (Some(request), Some(answer)) => (request, answer),
        _ => return Err("its time stamp is without the request, or the request without the time stamp".to_owned()),
    };
    let request = StampRequest::parse(&request).ok_or("its request for a time stamp cannot be read")?;
    let stamp = Stamp::parse(&answer).map_err(|error| error.to_string())?;
    stamp
        .answers(&request, note.as_bytes())
        .map_err(|error| error.to_string())?;
    checked.stamps += 1;
    let stamped = (checkpoint.size, stamp.time.to_string());
    if checked.last_stamp.as_ref().is_none_or(|known| *known < stamped) {
        checked.last_stamp = Some(stamped);
    }
    Ok(())
}
