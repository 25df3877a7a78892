//! Reads a file that grows, is renamed, replaced and cut.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;

use super::super::kept::Kept;
use super::place::Place;
use super::{Begin, FileSettings, LINES_MAX, PIECE_BYTES_MAX};
use crate::json::EVENT_BYTES_MAX;

/// What rotated files that are packed end with: they cannot be read on.
const PACKED: [&str; 4] = ["gz", "zst", "xz", "bz2"];

/// How long a file that has a successor is still looked at. Whoever writes it may be told of the new one a little
/// later.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes that are read at once, and that are enough when there is a whole line in them.
const READ_BYTES: usize = 256 << 10;

/// A file that is open.
struct Open {
    file: File,
    /// Bytes of it that were taken: what the buffer begins with.
    taken: u64,
    buffer: Vec<u8>,
    /// Bytes at the beginning of the buffer that were handed on.
    handed: usize,
    /// Whether the rest of an overlong line, or of one that began before we did, is passed over.
    skips: bool,
    /// Whether the last line feed that was handed on is not in the file.
    was_ended: bool,
    /// Since when nothing has been added to it.
    idle_since: Option<Instant>,
    /// Overlong lines that were passed over and are not told yet.
    overlong: u64,
}

pub(super) struct Reader {
    settings: FileSettings,
    /// The files that are read: the newest last, before it those that may still grow.
    files: VecDeque<Open>,
    /// The file whose lines were handed on.
    handing: Option<usize>,
    /// Files that were rotated while nobody read, oldest first.
    backlog: VecDeque<File>,
    /// Whether it was looked for a place that was kept.
    resumed: bool,
    kept: Kept<Place>,
    /// What was lost and is not told yet.
    lost: u64,
    pub(super) grace: Duration,
}

impl Reader {
    pub(super) fn new(settings: FileSettings) -> Self {
        let kept = Kept::new(settings.place.clone(), settings.path.display().to_string());
        Self {
            settings,
            files: VecDeque::new(),
            handing: None,
            backlog: VecDeque::new(),
            resumed: false,
            kept,
            lost: 0,
            grace: GRACE,
        }
    }

    /// Whole lines that were not taken yet; the same ones until [`Self::taken`]. `None` when there are none at present.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.resumed {
            self.resume()?;
            self.resumed = true;
        }
        if self.handing.is_none() {
            self.handing = self.find()?;
        }
        let handing = self.handing.and_then(|at| self.files.get(at));
        Ok(handing.map(|open| &open.buffer[..open.handed]))
    }

    /// Finds a file with whole lines.
    fn find(&mut self) -> io::Result<Option<usize>> {
        loop {
            for at in 0..self.files.len() {
                self.start_over_when_cut(at)?;
                let open = &mut self.files[at];
                let found = open.find_lines_in_file();
                self.lost += std::mem::take(&mut open.overlong);
                if found? {
                    return Ok(Some(at));
                }
            }
            let newest_is_read = match self.files.back() {
                Some(newest) => is_current(&self.settings.path, &newest.file)?,
                None => false,
            };
            if !newest_is_read && let Some(file) = self.next_file()? {
                self.files.push_back(Open::at(file, 0));
                continue;
            }
            let is_over = |open: &Open| open.idle_since.is_some_and(|since| since.elapsed() >= self.grace);
            if self.files.len() < 2 || !self.files.front().is_some_and(is_over) {
                return Ok(None);
            }
            if self.files[0].end_last_line() {
                return Ok(Some(0));
            }
            self.files.pop_front();
        }
    }

    /// The lines that were handed on have been taken.
    pub(super) fn taken(&mut self) {
        if let Some(open) = self.handing.take().and_then(|at| self.files.get_mut(at)) {
            open.take();
        }
        if self.kept.is_due() {
            self.keep();
        }
    }

    /// How many lines were lost since this was asked last: too long for an event, or gone before they were read. How
    /// many there were of the latter nobody knows: they count as one.
    pub(super) fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Keeps the place while no lines are waiting.
    pub(super) fn rest(&mut self) {
        self.keep();
    }

    /// Keeps the place: that in the oldest file that may still grow and that can be found again.
    fn keep(&mut self) {
        // A file without a name is gone with the process: its place would be found nowhere, and that of the next be
        // lost.
        let named = self.files.iter().find(|open| has_name(&open.file));
        let unread = || self.files.iter().find(|open| !open.is_over());
        if let Some(oldest) = named.or_else(unread).or(self.files.front()) {
            let is_over = self.backlog.is_empty() && self.files.iter().all(Open::is_over);
            self.kept.keep(Place::of(&oldest.file, oldest.taken, is_over));
        }
    }

    /// Opens what was being read when the place was kept, and finds what was rotated since.
    fn resume(&mut self) -> io::Result<()> {
        let path = self.settings.path.clone();
        let Some(place) = self.kept.load().cloned() else {
            if self.settings.begin == Begin::End
                && let Some(file) = open(&path)?
            {
                let end = file.metadata()?.len();
                let mut open = Open::at(file, end);
                open.skips = end > 0 && open.byte_before(end)? != b'\n';
                self.files.push_back(open);
            }
            return Ok(());
        };
        if place.is_over {
            tracing::info!(
                file = %path.display(),
                "what was being read before the restart had been removed: what somebody wrote to it since is not read"
            );
            // Its number may be that of another file by now. What was begun and rotated since was written to since.
            let kept_at = self.kept.kept_at().unwrap_or(SystemTime::UNIX_EPOCH);
            let since = rotated(&path)?.into_iter().filter(|(modified, _)| *modified >= kept_at);
            self.backlog.extend(since.map(|(_, file)| file));
            self.kept.forget();
            return Ok(());
        }
        if let Some(file) = open(&path)?
            && place.is_in(&file)?
        {
            self.files.push_back(Open::at(file, place.offset));
            return Ok(());
        }
        let mut rotated = rotated(&path)?;
        match rotated.iter().position(|(_, file)| place.is_in(file).unwrap_or(false)) {
            Some(at) => {
                let mut later = rotated.split_off(at).into_iter().map(|(_, file)| file);
                self.files.extend(later.next().map(|file| Open::at(file, place.offset)));
                self.backlog.extend(later);
            }
            None => {
                tracing::warn!(
                    file = %path.display(),
                    "what was being read before the restart is gone: the end of it was not read"
                );
                self.lost += 1;
                self.kept.forget();
            }
        }
        Ok(())
    }

    /// The next file to read; `None` when there is none yet.
    fn next_file(&mut self) -> io::Result<Option<File>> {
        match self.backlog.pop_front() {
            Some(file) => Ok(Some(file)),
            None => open(&self.settings.path),
        }
    }

    /// A file that was cut, or filled anew since, is read from its start.
    fn start_over_when_cut(&mut self, at: usize) -> io::Result<()> {
        let open = &mut self.files[at];
        let other = match self.kept.place() {
            Some(kept) => kept.is_of(&open.file)? && !kept.is_in(&open.file)?,
            None => false,
        };
        if other || open.file.metadata()?.len() < open.taken {
            tracing::warn!(file = %self.settings.path.display(), "the file was cut: it is read from its start");
            *open = Open::at(open.file.try_clone()?, 0);
            self.kept.forget();
        }
        Ok(())
    }
}

impl Open {
    fn at(file: File, taken: u64) -> Self {
        Self {
            file,
            taken,
            buffer: Vec::new(),
            handed: 0,
            skips: false,
            was_ended: false,
            idle_since: None,
            overlong: 0,
        }
    }

    /// Whether it has no name any more, and all of it was taken.
    fn is_over(&self) -> bool {
        let found = self.file.metadata();
        found.is_ok_and(|it| it.nlink() == 0 && it.len() == self.taken) && self.buffer.is_empty()
    }

    fn byte_before(&self, offset: u64) -> io::Result<u8> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset - 1)?;
        Ok(byte[0])
    }

    /// Reads until there is a whole line in the buffer, or nothing more in the file.
    fn find_lines_in_file(&mut self) -> io::Result<bool> {
        loop {
            let grown = self.fill()?;
            if self.find_lines() {
                self.idle_since = None;
                return Ok(true);
            }
            if !grown {
                self.idle_since.get_or_insert_with(Instant::now);
                return Ok(false);
            }
            self.idle_since = None;
        }
    }

    /// Reads some of what there is. False when there is nothing.
    fn fill(&mut self) -> io::Result<bool> {
        let start = self.buffer.len();
        self.buffer.resize(PIECE_BYTES_MAX.min(start + READ_BYTES), 0);
        let read = loop {
            match self.file.read_at(&mut self.buffer[start..], self.taken + start as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        Ok(read? > 0)
    }

    /// Finds the whole lines in the buffer. An overlong one is passed over.
    fn find_lines(&mut self) -> bool {
        if self.skips {
            let end = memchr::memchr(b'\n', &self.buffer);
            let passed = end.map_or(self.buffer.len(), |at| at + 1);
            self.skips = end.is_none();
            self.taken += passed as u64;
            self.buffer.drain(..passed);
        }
        self.handed = memchr::memchr_iter(b'\n', &self.buffer)
            .take(LINES_MAX)
            .last()
            .map_or(0, |at| at + 1);
        if self.handed == 0 && self.buffer.len() > EVENT_BYTES_MAX {
            tracing::warn!(
                offset = self.taken,
                "a line is longer than any event: it is passed over"
            );
            self.skips = true;
            self.overlong += 1;
            self.taken += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.handed > 0
    }

    /// Gives the last line of a file that nobody writes to any more the end that it lacks.
    fn end_last_line(&mut self) -> bool {
        if self.buffer.is_empty() {
            return false;
        }
        self.buffer.push(b'\n');
        self.was_ended = true;
        self.handed = self.buffer.len();
        true
    }

    /// What was handed on is done with.
    fn take(&mut self) {
        self.taken += self.handed as u64;
        self.taken -= u64::from(std::mem::take(&mut self.was_ended));
        self.buffer.drain(..self.handed);
        self.handed = 0;
    }
}

/// The file at `path`; `None` when there is none.
fn open(path: &Path) -> io::Result<Option<File>> {
    // To open a pipe would wait for somebody who writes to it.
    let flags = OFlag::O_NONBLOCK.bits();
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a pipe, a directory or a device, and no file that grows",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `file` has a name still, so that it can be opened again.
fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

/// Whether the file at `path` is `file`.
fn is_current(path: &Path, file: &File) -> io::Result<bool> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let ours = file.metadata()?;
    Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino()))
}

/// The files beside `path` whose names begin with its name, oldest first; those that are packed are left out.
fn rotated(path: &Path) -> io::Result<Vec<(SystemTime, File)>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let directory: PathBuf = if directory.as_os_str().is_empty() {
        ".".into()
    } else {
        directory.to_owned()
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let beside = entry?.path();
        let begins = beside
            .file_name()
            .is_some_and(|it| it != name && it.as_encoded_bytes().starts_with(name.as_encoded_bytes()));
        let packed = beside
            .extension()
            .is_some_and(|it| PACKED.iter().any(|packed| it == *packed));
        // What cannot be opened cannot be what was being read.
        if begins
            && !packed
            && let Ok(Some(file)) = open(&beside)
        {
            found.push((file.metadata()?.modified()?, file));
        }
    }
    found.sort_by_key(|(modified, _)| *modified);
    Ok(found)
}
