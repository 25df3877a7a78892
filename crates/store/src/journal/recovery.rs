//! What happens when a journal is opened: one line of `recover` per step.
//!
//! Changes nothing before the whole log is proved, and then only zeroes what `scan` calls a torn tail.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use staunch_ports::{Epoch, Lsn, Tail};

use super::disk::{Disk, is_no_space};
use super::epoch::EpochFile;
use super::error::OpenError;
use super::lock::Lock;
use super::scan::{self, Log, Rest};
use super::segment::{self, Header, Segment};
use super::{Active, JournalOptions, snapshot};

/// What `open` found in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Frames proved.
    pub frames: u64,
    /// Segments proved.
    pub segments: usize,
    /// Bytes of an interrupted write that were cut. Not zero after a crash in the middle of an append.
    pub torn_bytes: u64,
}

/// Everything that a journal is made of.
pub(super) struct Found {
    pub(super) lock: Lock,
    pub(super) epoch_file: EpochFile,
    pub(super) active: Active,
    pub(super) tail: Tail,
    pub(super) recovered: Recovered,
}

pub(super) fn recover(disk: &Disk, options: &JournalOptions) -> Result<Found, OpenError> {
    make_dir(disk.dir())?;
    let lock = Lock::take(disk)?;
    let (epoch_file, epoch) = EpochFile::open(disk)?;
    let mut paths = segment::list(disk.dir())?;
    if paths.is_empty() {
        refuse_remains(disk.dir(), epoch)?;
        first_segment(disk, options)?;
        paths = segment::list(disk.dir())?;
    } else {
        settle_names(disk)?;
    }
    let name = paths
        .last()
        .and_then(|path| path.file_name()?.to_str())
        .expect("a segment was found or made")
        .to_owned();
    let file = settle_pages(disk, &name)?;
    let log = scan::log(&paths).map_err(|damage| damage.error)?;
    refuse_lost_frames(disk.dir(), log.tail.lsn)?;
    let active = activate(disk, file, name, &log, options.segment_bytes)?;
    let torn_bytes = if let Rest::Torn(bytes) = log.rest { bytes } else { 0 };
    let recovered = Recovered {
        frames: log.frames,
        segments: paths.len(),
        torn_bytes,
    };
    let tail = Tail {
        epoch: log.tail.epoch.max(epoch),
        ..log.tail
    };
    Ok(Found {
        lock,
        epoch_file,
        active,
        tail,
        recovered,
    })
}

/// Makes the directory, readable for its owner only, when it is missing.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let failed = |error| OpenError::io("create the directory", dir, 0, error);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

/// Beginning anew is right in an empty directory only: an epoch or a snapshot means that segments were lost.
fn refuse_remains(dir: &Path, epoch: Epoch) -> Result<(), OpenError> {
    let snapshot = newest_position(dir)?;
    if epoch == Epoch(0) && snapshot.is_none() {
        return Ok(());
    }
    let what = "the journal has been in use, but all of its segments are missing".to_owned();
    Err(OpenError::Corrupt {
        path: dir.to_owned(),
        offset: 0,
        what,
    })
}

fn first_segment(disk: &Disk, options: &JournalOptions) -> Result<(), OpenError> {
    let failed = |error| OpenError::io("create the first segment in", disk.dir(), options.segment_bytes, error);
    let file = segment::prepare_spare(disk, options.segment_bytes, &|| false)
        // A disk that has no room for it is not left full. What cannot be removed, the next start uses.
        .inspect_err(|_| drop(disk.remove(segment::SPARE)))
        .map_err(failed)?;
    let header = Header::new(Lsn(1), options.segment_bytes, Tail::default().hash).map_err(failed)?;
    segment::install(disk, &file, &header).map_err(failed)
}

/// Sees to it that the names of the segments stay there: a writer that was killed after it named one may not have made
/// that durable, and what is appended to a file without a name is lost with the power.
fn settle_names(disk: &Disk) -> Result<(), OpenError> {
    disk.sync_dir()
        .map_err(|error| OpenError::io("sync the directory", disk.dir(), 0, error))
}

/// Sees to it that what is read next comes from the disk, and stays there.
///
/// A killed process may leave frames that were written and never synced: they are about to be acted upon, so they are
/// synced. A failed sync may have left pages that the kernel takes for clean although they never reached the disk; they
/// are dropped from the cache, so that the disk itself is read. Earlier segments were synced before this one began.
fn settle_pages(disk: &Disk, name: &str) -> Result<File, OpenError> {
    let failed = |what| move |error| OpenError::io(what, disk.path(name), 0, error);
    let file = disk.open(name).map_err(failed("open the segment"))?;
    disk.sync(&file, name).map_err(failed("sync the segment"))?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|error| failed("drop the cached pages of the segment")(error.into()))?;
    Ok(file)
}

fn refuse_lost_frames(dir: &Path, tail: Lsn) -> Result<(), OpenError> {
    match snapshot::what_is_missing(newest_position(dir)?, tail) {
        Some((path, what)) => Err(OpenError::Corrupt { path, offset: 0, what }),
        None => Ok(()),
    }
}

/// Cuts a torn tail, and makes a last segment that is too short as long as it was made: at most as long as one is made
/// at present, so that no number in a file can make it fill the disk.
fn activate(disk: &Disk, file: File, name: String, log: &Log, segment_bytes: u64) -> Result<Active, OpenError> {
    let path = disk.path(&name);
    if let Rest::Torn(bytes) = log.rest {
        tracing::warn!(segment = %path.display(), offset = log.offset, bytes, "cutting a write that a crash interrupted");
        segment::zero_fill(disk, &file, &name, log.offset, log.offset + bytes, &|| false)
            .map_err(|error| OpenError::io("cut the torn end of", &path, 0, error))?;
    }
    let segment = Segment::open(path.clone())?;
    let len = file
        .metadata()
        .map_err(|error| OpenError::io("read the size of", &path, 0, error))?
        .len();
    let mut end = len;
    let whole = segment.header.bytes.min(segment_bytes);
    if len < whole {
        match segment::zero_fill(disk, &file, &name, len, whole, &|| false) {
            Ok(()) => end = whole,
            // The segment stays short, and the spare takes over sooner.
            Err(error) if is_no_space(&error) => {
                tracing::warn!(%error, segment = %path.display(), "cannot restore the size");
            }
            Err(error) => {
                return Err(OpenError::io("restore the size of", &path, whole - len, error));
            }
        }
    }
    Ok(Active {
        file,
        name,
        seed: segment.header.seed(),
        offset: log.offset,
        end,
    })
}

fn newest_position(dir: &Path) -> Result<Option<(Lsn, PathBuf)>, OpenError> {
    snapshot::newest_position(dir).map_err(|error| OpenError::io("list the snapshots in", dir, 0, error))
}
