//! The archive of events that matched nothing: NDJSON, compressed, in files of bounded size.
//!
//! Never decides which events are kept, never reads them again, and never grows beyond its bounds: the oldest file goes
//! first. Nothing is synced, because nothing depends on it.
//!
//! A file is called `<source>-<time of its first block>.ndjson.zst`. Each block is a zstd frame of its own and holds
//! whole lines, so that a file that is cut anywhere is readable up to the last whole block, by `zstdcat` too.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use staunch_model::Timestamp;
use staunch_ports::{Archive, ArchiveError};

/// What the name of every file ends with.
const SUFFIX: &str = ".ndjson.zst";

/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;

/// Names that are tried for a new file.
const NAMES_MAX: u64 = 1_000;

/// How large an archive may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// Bytes of one file.
    pub file_bytes_max: u64,
}

/// An archive in a directory.
#[derive(Debug)]
pub struct EventArchive {
    dir: PathBuf,
    options: ArchiveOptions,
    /// The files by age and name, with their sizes.
    files: BTreeMap<(String, String), u64>,
    /// The file of each source that is written to.
    open: BTreeMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    key: (String, String),
    file: File,
}

impl EventArchive {
    /// Opens the archive in `dir`, which is made when it is not there. Files that are there count, and are never
    /// written to again.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub fn open(dir: &Path, options: ArchiveOptions) -> Result<Self, ArchiveError> {
        let failed = |what| move |source| error(what, dir, source);
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make the archive")(error));
            }
            _ => {}
        }
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(failed("list the archive"))? {
            let entry = entry.map_err(failed("list the archive"))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if let Some(stamp) = stamp_of(&name) {
                let size = entry.metadata().map_err(failed("look at a file of the archive"))?.len();
                files.insert((stamp.to_owned(), name.clone()), size);
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            options,
            files,
            open: BTreeMap::new(),
        })
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().sum()
    }

    /// Removes the oldest files until `more` bytes fit.
    fn make_room(&mut self, more: u64) -> Result<(), ArchiveError> {
        while self.bytes() + more > self.options.bytes_max
            && let Some((key, _)) = self.files.pop_first()
        {
            self.open.retain(|_, open| open.key != key);
            let path = self.dir.join(&key.1);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    self.files.insert(key, size);
                    return Err(error("remove", &path, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A new file for `source`.
    fn create(&self, source: &str, now: Timestamp) -> Result<Open, ArchiveError> {
        let mut name = String::new();
        for at in 0..NAMES_MAX {
            let stamp = stamp(Timestamp::from_micros(now.as_micros().saturating_add(at)));
            name = format!("{source}-{stamp}{SUFFIX}");
            let path = self.dir.join(&name);
            let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
            match made {
                Ok(file) => {
                    let key = (stamp, name);
                    return Ok(Open { key, file });
                }
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(error("make", &path, source)),
            }
        }
        let source = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(error("make", &self.dir.join(name), source))
    }
}

impl Archive for EventArchive {
    fn append(&mut self, source: &str, lines: &[u8], now: Timestamp) -> Result<(), ArchiveError> {
        let block =
            zstd::bulk::compress(lines, LEVEL).map_err(|cause| error("compress events for", &self.dir, cause))?;
        let more = block.len() as u64;
        if more > self.options.file_bytes_max.min(self.options.bytes_max) {
            let cause = io::Error::new(io::ErrorKind::FileTooLarge, "the events are larger than a file may be");
            return Err(error("add to", &self.dir, cause));
        }
        self.make_room(more)?;
        let size_of = |open: &Open| self.files.get(&open.key).copied().unwrap_or(0);
        let is_full = |open: &Open| size_of(open) + more > self.options.file_bytes_max;
        if self.open.get(source).is_none_or(is_full) {
            let open = self.create(source, now)?;
            self.files.insert(open.key.clone(), 0);
            self.open.insert(source.to_owned(), open);
        }
        let open = self.open.get_mut(source).expect("it was just made sure of");
        let size = self.files.entry(open.key.clone()).or_default();
        match open.file.write_all(&block) {
            Ok(()) => {
                *size += more;
                Ok(())
            }
            Err(cause) => {
                // What was half written would hide every block after it.
                let path = self.dir.join(&open.key.1);
                if open.file.set_len(*size).is_err() {
                    self.open.remove(source);
                }
                Err(error("write to", &path, cause))
            }
        }
    }
}

fn error(what: &'static str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError {
        what,
        file: path.display().to_string(),
        source,
    }
}

/// `20261125T140000.000000Z`: as wide for every time, so that names sort by age.
fn stamp(at: Timestamp) -> String {
    let text = at.to_string().replace(['-', ':'], "");
    let millis = text.trim_end_matches('Z');
    format!("{millis}{:03}Z", at.as_micros() % 1_000)
}

/// The stamp in the name of a file of an archive; `None` for any other file.
fn stamp_of(name: &str) -> Option<&str> {
    let (_, stamp) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    let is_stamp = stamp.len() == "20261125T140000.000000Z".len() && stamp.starts_with(|c: char| c.is_ascii_digit());
    is_stamp.then_some(stamp)
}
