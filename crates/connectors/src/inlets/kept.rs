//! The place up to which something was read, which survives restarts.
//!
//! Never fails the reading: what cannot be kept is read again after a restart.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often the place is kept while more keeps coming. Each time is a sync of the disk.
pub(super) const KEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A place, and the file that keeps it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    path: PathBuf,
    /// What it is a place in, for the log.
    follows: String,
    place: Option<T>,
    at: Option<Instant>,
    fails: bool,
}

impl<T: PartialEq + Serialize + DeserializeOwned> Kept<T> {
    /// The place in `follows` that the file at `path` keeps. Nothing is read yet.
    pub(super) fn new(path: PathBuf, follows: String) -> Self {
        Self {
            path,
            follows,
            place: None,
            at: None,
            fails: false,
        }
    }

    /// Reads what was kept before. What cannot be read is nothing.
    pub(super) fn load(&mut self) -> Option<&T> {
        match fs::read(&self.path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(place)) => self.place = place,
            Ok(Err(error)) => self.complain(&error, "the place that was kept is damaged"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.complain(&error, "the place that was kept cannot be read"),
        }
        self.place()
    }

    /// What is kept, as far as it is known.
    pub(super) const fn place(&self) -> Option<&T> {
        self.place.as_ref()
    }

    /// When it was kept last; `None` when that is not known.
    pub(super) fn kept_at(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).and_then(|it| it.modified()).ok()
    }

    /// What is kept holds no longer.
    pub(super) fn forget(&mut self) {
        self.place = None;
    }

    /// Whether it was not kept of late.
    pub(super) fn is_due(&self) -> bool {
        self.at.is_none_or(|at| at.elapsed() >= KEEP_INTERVAL)
    }

    /// Keeps `place`, or says once why that is not possible.
    pub(super) fn keep(&mut self, place: io::Result<T>) {
        if place.as_ref().is_ok_and(|place| self.place.as_ref() == Some(place)) {
            return;
        }
        self.at = Some(Instant::now());
        match place.and_then(|place| write(&self.path, &place).map(|()| place)) {
            Ok(place) => {
                self.place = Some(place);
                self.fails = false;
            }
            Err(error) => {
                if !self.fails {
                    self.complain(
                        &error,
                        "the place cannot be kept: what comes is read again after a restart",
                    );
                }
                self.fails = true;
            }
        }
    }

    fn complain(&self, error: &dyn std::error::Error, what: &str) {
        tracing::warn!(%error, path = %self.path.display(), inlet = self.follows, "{what}");
    }
}

/// Writes `place` to `path`, so that a crash leaves it or the one before.
fn write<T: Serialize>(path: &Path, place: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(place).map_err(io::Error::other)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let new = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}
