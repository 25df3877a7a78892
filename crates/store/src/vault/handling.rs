//! The handling log: who has opened, copied, handed over or verified evidence after it was sealed, when and why.
//!
//! Never changes a manifest or a line that is there: lines are appended, each with the hash of the one before it and
//! signed with the key of the transparency log, by one process at a time. Never follows a link in the folder: the
//! superuser appends here, and the folder belongs to somebody else.
//!
//! ```text
//! handling/INC-3.jsonl  of the evidence of an incident
//! handling/all.jsonl    of everything there is
//! ```
//!
//! # Caveats
//! Whoever can write to the folder can cut off the last lines, which shows when the transparency log stands for them: a
//! server at work logs within a minute how far each log has come ([`Logbook`](super::logged::Logbook)).

mod check;
mod owner;

use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{Dir, Mode, OFlags, openat};
use sha2::{Digest as _, Sha256};
use staunch_model::custody::{CUSTODY_SCHEMA_VERSION, HANDLED_BYTES_MAX};
use staunch_model::{EvidenceId, Handled, Handling, IncidentId, NotCustody, Printable, Sha256Hash};

use crate::tlog::{LogKey, LogVerifier};

pub(crate) use check::{Checked, Head, check};
use owner::{Owner, open_directory};

/// The directory, in the folder of evidence.
pub const HANDLING: &str = "handling";

/// The log of everything.
const ALL: &str = "all.jsonl";

/// The most bytes of one log: some 100,000 lines.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// How often the lock of a log is tried before a line is refused: for 10 seconds. A line is written and synced in
/// milliseconds, on a disk that is very busy in some hundred.
const LOCK_TRIES_TO_WRITE: usize = 500;

/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How long locks are waited for while logs are read, all of them together: for a second. Whoever holds them for ever
/// holds up nobody.
pub(crate) struct Patience(usize);

impl Default for Patience {
    fn default() -> Self {
        Self(50)
    }
}

impl Patience {
    /// Whether `lock` got its lock before patience was at its end. It is tried once at least.
    fn lock(&mut self, mut lock: impl FnMut() -> Result<(), TryLockError>) -> io::Result<bool> {
        loop {
            match lock() {
                Err(TryLockError::WouldBlock) if self.0 > 0 => {
                    self.0 -= 1;
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Ok(false),
                locked => return locked.map(|()| true).map_err(io::Error::from),
            }
        }
    }
}

/// The handling logs of a folder of evidence.
#[derive(Clone, Debug)]
pub struct HandlingLog {
    folder: PathBuf,
    key: Option<Arc<LogKey>>,
}

/// How long a log is: its first `bytes`, to the end of a line that is signed, with their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256Hash,
}

/// A line of a log, or what stands in the place of one.
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// With its end, where it has one.
    pub(crate) bytes: &'a [u8],
    /// What it says.
    pub(crate) handled: Result<Handled, NotCustody>,
    /// Whether it holds the hash of what stands before it.
    pub(crate) follows: bool,
}

/// What was done, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handles {
    /// Which evidence; `None` when it was all of the incident.
    pub evidence: Option<EvidenceId>,
    /// The SHA-256 of the artefact; `None` when it was all of the evidence.
    pub artefact: Option<Sha256Hash>,
    /// What was done.
    pub handling: Handling,
    /// What it came to.
    pub outcome: Option<Box<str>>,
}

impl HandlingLog {
    /// The logs in the folder of evidence. What is appended is signed by nobody.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            key: None,
        }
    }

    /// The same logs, of which each line that is appended is signed with `key`, which is that of the transparency log.
    #[must_use]
    pub fn signed_with(self, key: Option<Arc<LogKey>>) -> Self {
        Self { key, ..self }
    }

    /// The name of the log of an incident, or of everything without one, in the folder and in an archive; and in what
    /// its lines are signed with.
    #[must_use]
    pub fn name(incident: Option<IncidentId>) -> String {
        name_of(incident)
    }

    /// The file of the log of an incident; of everything without one.
    #[must_use]
    pub fn file(&self, incident: Option<IncidentId>) -> PathBuf {
        self.folder.join(HANDLING).join(name(incident))
    }

    /// Appends a line, which is durable when this returns. What the superuser makes is given to the owner of the
    /// folder, who has to append to it as well.
    ///
    /// # Errors
    /// When it cannot be written; `FileTooLarge` when the line or the log is too long, `InvalidData` when the log is no
    /// plain file of one name, or somebody else's.
    pub fn append(&self, incident: Option<IncidentId>, handles: Handles) -> io::Result<Handled> {
        let folder = File::open(&self.folder)?;
        let owner = Owner::of(&folder)?;
        let dir = owner.directory(&folder)?;
        let (mut file, is_new) = owner.log(&dir, &name(incident))?;
        // It is let go when the file is closed.
        if !Patience(LOCK_TRIES_TO_WRITE).lock(|| file.try_lock())? {
            let what = "somebody holds the lock of this log, and no line takes that long";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
        }
        let about = file.metadata()?;
        let last = last_line(&mut file, about.len())?;
        // What a crash has cut off is a line of its own from here on.
        let cut = last.as_ref().is_some_and(|it| !it.ends_with(b"\n"));
        let mut handled = Handled {
            schema_version: CUSTODY_SCHEMA_VERSION,
            previous: last.map(|mut line| {
                if cut {
                    line.push(b'\n');
                }
                Sha256Hash::of(&line)
            }),
            evidence: handles.evidence,
            artefact: handles.artefact,
            handling: handles.handling,
            outcome: handles.outcome,
            signature: None,
        };
        if let Some(key) = &self.key {
            handled.signature = Some(key.signature(&handled.signed_text(&name_of(incident))).into());
        }
        let mut bytes = handled.to_bytes();
        if bytes.len() as u64 > HANDLED_BYTES_MAX || about.len() + bytes.len() as u64 >= LOG_BYTES_MAX {
            let path = self.file(incident);
            let what = format!("{} is full, or the line is longer than any", path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        if cut {
            bytes.insert(0, b'\n');
        }
        if let Err(error) = file.write_all(&bytes) {
            // Half a line, as a full disk leaves it, is none. When it stays, the next goes on after it.
            let _ = file.set_len(about.len());
            return Err(error);
        }
        file.sync_all()?;
        if is_new {
            dir.sync_all()?;
        }
        Ok(handled)
    }

    /// Shows the lines of a log in their order. What is no line, or does not follow on the one before, goes to `wrong`
    /// in words. Who has signed them is not looked at: [`verify_evidence`](super::verify_evidence) does that.
    ///
    /// # Errors
    /// When it cannot be read. A log that is not there has no lines.
    pub fn read(
        &self,
        incident: Option<IncidentId>,
        visit: &mut dyn FnMut(Handled),
        wrong: &mut dyn FnMut(String),
    ) -> io::Result<()> {
        let Some(file) = self.open(incident)? else {
            return Ok(());
        };
        let name = name_of(incident);
        each_line(file, &mut |line| {
            let number = line.number;
            match line.handled {
                Ok(handled) => {
                    if !line.follows {
                        wrong(format!("{name}: line {number} does not follow on the line before it"));
                    }
                    visit(handled);
                }
                Err(error) => {
                    let why = error.to_string();
                    wrong(format!("{name}: line {number} is none: {}", Printable(&why)));
                }
            }
        })
    }

    /// The logs that there are, each by its incident, and that of everything by `None`, which is the first. What else
    /// is beside them goes to `foreign`, by its name.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn logs(&self, foreign: &mut dyn FnMut(&str)) -> io::Result<Vec<Option<IncidentId>>> {
        let Some(dir) = self.directory()? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            match of_name(&name) {
                Some(log) => found.push(log),
                None if [".", ".."].contains(&&*name) => {}
                None => foreign(&name),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// How long a log is by now, to the end of the last line that `key` has signed, and the hash of its first `known`
    /// bytes where a line ends there: `None` where none does, or it is shorter. What it tells of is durable.
    ///
    /// # Errors
    /// When it cannot be read. One that is not there is empty.
    pub(crate) fn extent(
        &self,
        incident: Option<IncidentId>,
        known: u64,
        key: &LogVerifier,
        patience: &mut Patience,
    ) -> io::Result<(Option<Sha256Hash>, Extent)> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut at_end = (hash.clone(), bytes);
        let mut at_known = (known == 0).then(|| Sha256Hash::of(b""));
        if let Some(file) = self.open(incident)? {
            // It is let go when the file is closed. Who holds it for ever does not keep a log from being logged.
            patience.lock(|| file.try_lock_shared())?;
            file.sync_data()?;
            let name = name_of(incident);
            each_line(file, &mut |line| {
                hash.update(line.bytes);
                bytes += line.bytes.len() as u64;
                if bytes == known && line.bytes.ends_with(b"\n") {
                    at_known = Some(Sha256Hash(hash.clone().finalize().into()));
                }
                let handled = line.handled.as_ref().ok();
                if handled.is_some_and(|it| key.has_signed_line(&name, it) == Ok(true)) {
                    at_end = (hash.clone(), bytes);
                }
            })?;
        }
        let (hash, bytes) = at_end;
        let sha256 = Sha256Hash(hash.finalize().into());
        Ok((at_known, Extent { bytes, sha256 }))
    }

    /// A log to be verified, when nobody is in the middle of a line of it; `None` when there is none. Nobody is waited
    /// for longer than a line takes.
    ///
    /// # Errors
    /// When it cannot be read; `FileTooLarge` when it is longer than any, which nobody writes.
    pub(crate) fn open_whole(&self, incident: Option<IncidentId>, patience: &mut Patience) -> io::Result<Option<File>> {
        let Some(file) = self.open(incident)? else {
            return Ok(None);
        };
        // Whoever holds it for ever is not believed, and holds up nobody.
        patience.lock(|| file.try_lock_shared())?;
        if file.metadata()?.len() > LOG_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any"));
        }
        Ok(Some(file))
    }

    /// How many bytes a log has.
    ///
    /// # Errors
    /// When it cannot be looked at. One that is not there has none.
    pub(crate) fn length(&self, incident: Option<IncidentId>) -> io::Result<u64> {
        let file = self.open(incident)?;
        file.map_or(Ok(0), |file| Ok(file.metadata()?.len()))
    }

    /// The bytes of a log, as they are handed over; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read; `FileTooLarge` when it is longer than any, which nobody writes.
    pub fn bytes(&self, incident: Option<IncidentId>) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_whole(incident, &mut Patience::default())? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// The directory of the logs; `None` when there is none.
    fn directory(&self) -> io::Result<Option<File>> {
        is_there(File::open(&self.folder).and_then(|folder| open_directory(&folder)))
    }

    /// A log to be read; `None` when there is none.
    fn open(&self, incident: Option<IncidentId>) -> io::Result<Option<File>> {
        let Some(dir) = self.directory()? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Some(file) = is_there(openat(&dir, name(incident), flags, Mode::empty()).map_err(io::Error::from))? else {
            return Ok(None);
        };
        let file = File::from(file);
        if file.metadata()?.is_file() {
            Ok(Some(file))
        } else {
            Err(invalid("it is no plain file"))
        }
    }
}

/// `None` for what is not there.
fn is_there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn name(incident: Option<IncidentId>) -> String {
    incident.map_or_else(|| ALL.to_owned(), |it| format!("{it}.jsonl"))
}

/// The name of a log in its folder, and in an archive.
pub(crate) fn name_of(incident: Option<IncidentId>) -> String {
    format!("{HANDLING}/{}", name(incident))
}

/// Which log has a name in its directory; `None` when none has.
fn of_name(file: &str) -> Option<Option<IncidentId>> {
    if file == ALL {
        return Some(None);
    }
    super::dir::exactly::<IncidentId>(file.strip_suffix(".jsonl")?).map(Some)
}

/// Shows the lines of a log in their order, as far as it may be long.
fn each_line(from: impl Read, visit: &mut dyn FnMut(Line<'_>)) -> io::Result<()> {
    let mut lines = BufReader::new(from.take(LOG_BYTES_MAX));
    let mut previous = None;
    for number in 1_u64.. {
        let mut bytes = Vec::new();
        let read = (&mut lines).take(HANDLED_BYTES_MAX + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        let handled = Handled::parse(&bytes);
        let follows = handled.as_ref().is_ok_and(|it| it.previous == previous);
        previous = Some(Sha256Hash::of(&bytes));
        visit(Line {
            number,
            bytes: &bytes,
            handled,
            follows,
        });
    }
    Ok(())
}

/// The last line of a file of `length` bytes, with its end where it has one; `None` when there is none. Of a line that
/// is longer than any it is the end.
fn last_line(file: &mut File, length: u64) -> io::Result<Option<Vec<u8>>> {
    if length == 0 {
        return Ok(None);
    }
    let from = length.saturating_sub(2 * HANDLED_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(length - from).read_to_end(&mut end)?;
    let body = end.strip_suffix(b"\n").unwrap_or(&end);
    let start = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(Some(end.split_off(start)))
}
