//! Which jobs may be in force: a file for each, written before the job is run, so that a sweep knows whom to ask.
//!
//! Never says that a job is in force: that is for the job to observe.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use staunch_model::{JobTarget, Target, TransactionId};

/// The longest record: the longest target, and some.
const BYTES_MAX: usize = 1024;

/// The directory of the records. Nobody but this driver writes in it.
#[derive(Clone, Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps `job` as that of a transaction, durably.
    pub(super) fn keep(&self, job: &JobTarget, transaction: TransactionId) -> io::Result<()> {
        let path = self.path(job);
        // One that cannot be read is written anew.
        if matches!(self.is_of(job, transaction), Ok(true)) {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let fresh = path.with_extension("new");
        // What a crash has left behind.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text(job, transaction).as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        sync(&self.dir)
    }

    /// Whether `job` is kept as that of this transaction.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(super) fn is_of(&self, job: &JobTarget, transaction: TransactionId) -> io::Result<bool> {
        match fs::read_to_string(self.path(job)) {
            Ok(kept) => Ok(kept == text(job, transaction)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets `job` when it was kept this long ago.
    pub(super) fn forget_old(&self, job: &JobTarget, age: Duration) -> io::Result<()> {
        let kept = match fs::metadata(self.path(job)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about?.modified()?,
        };
        // With the clock set back it is as if it were new.
        match kept.elapsed() {
            Ok(elapsed) if elapsed > age => self.forget(job),
            _ => Ok(()),
        }
    }

    /// Forgets `job`.
    pub(super) fn forget(&self, job: &JobTarget) -> io::Result<()> {
        match fs::remove_file(self.path(job)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(&self.dir),
        }
    }

    /// All that are kept, in the order of their targets.
    pub(super) fn all(&self) -> io::Result<Vec<JobTarget>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_record = path.extension().is_none();
            if !is_record || fs::metadata(&path)?.len() > BYTES_MAX as u64 {
                continue;
            }
            let kept = match fs::read_to_string(&path) {
                Ok(kept) => kept,
                // Nobody knows of what it was, and it says nothing of the others.
                Err(error) => {
                    tracing::warn!(record = %path.display(), %error, "the record of a job cannot be read");
                    continue;
                }
            };
            if let Some(Ok(Target::Job(job))) = kept.lines().next().map(str::parse) {
                all.push(job);
            }
        }
        all.sort();
        Ok(all)
    }

    fn path(&self, job: &JobTarget) -> PathBuf {
        self.dir.join(blake3::hash(job.as_str().as_bytes()).to_hex().as_str())
    }
}

/// What a record says: the job, and for whom it was run last.
fn text(job: &JobTarget, transaction: TransactionId) -> String {
    format!("{}\n{transaction}\n", Target::Job(job.clone()))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
