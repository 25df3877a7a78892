//! The handling log: who has opened, copied, handed over or verified evidence after it was sealed, when and why.
//!
//! Never changes a manifest or a line that is there: lines are appended, each with the hash of the one before it, by one process
//! at a time.
//!
//! ```text
//! handling/INC-3.jsonl  of the evidence of an incident
//! handling/all.jsonl    of everything there is
//! ```
//!
//! # Caveats
//! Whoever can write to the folder can write lines that nobody has earned, or cut off the last ones. A line in the middle that was
//! changed or taken out shows.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use staunch_model::custody::{CUSTODY_SCHEMA_VERSION, HANDLED_BYTES_MAX};
use staunch_model::{EvidenceId, Handled, Handling, IncidentId, Printable, Sha256Hash};

use crate::files::open_plain;

/// The directory, in the folder of evidence.
pub const HANDLING: &str = "handling";

/// The most bytes of one log: some 100,000 lines.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// The handling logs of a folder of evidence.
#[derive(Clone, Debug)]
pub struct HandlingLog {
    dir: PathBuf,
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
    /// The logs in the folder of evidence.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            dir: folder.join(HANDLING),
        }
    }

    /// The file of the log of an incident; of everything without one.
    #[must_use]
    pub fn file(&self, incident: Option<IncidentId>) -> PathBuf {
        self.dir.join(name(incident))
    }

    /// Appends a line, which is durable when this returns. Who has the superuser write it gives it to the owner of the folder.
    ///
    /// # Errors
    /// When it cannot be written; `FileTooLarge` when the line or the log is too long, `InvalidData` when the log is no plain file.
    pub fn append(&self, incident: Option<IncidentId>, handles: Handles) -> io::Result<Handled> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            made => {
                if made.is_ok() {
                    give(&File::open(&self.dir)?, &self.dir)?;
                    sync_above(&self.dir)?;
                }
            }
        }
        let path = self.file(incident);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).expect("flags are few bits"))
            .open(&path)?;
        // It is let go when the file is closed.
        file.lock()?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
        }
        let last = last_line(&mut file, about.len())?;
        // What a crash has cut off is a line of its own from here on.
        let cut = last.as_ref().is_some_and(|it| !it.ends_with(b"\n"));
        let handled = Handled {
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
        };
        let mut bytes = handled.to_bytes();
        if bytes.len() as u64 > HANDLED_BYTES_MAX || about.len() + bytes.len() as u64 >= LOG_BYTES_MAX {
            let what = format!("{} is full, or the line is longer than any", path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        if cut {
            bytes.insert(0, b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        if about.len() == 0 {
            give(&file, &self.dir)?;
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(handled)
    }

    /// Shows the lines of a log in their order. What is no line, or does not follow on the one before, goes to `wrong` in words,
    /// with whether a crash leaves such as well.
    ///
    /// # Errors
    /// When it cannot be read. A log that is not there has no lines.
    pub fn read(
        &self,
        incident: Option<IncidentId>,
        visit: &mut dyn FnMut(Handled),
        wrong: &mut dyn FnMut(String, bool),
    ) -> io::Result<()> {
        let file = match open_plain(&self.file(incident)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut lines = BufReader::new(file.take(LOG_BYTES_MAX));
        let mut previous = None;
        for number in 1_u64.. {
            let mut line = Vec::new();
            let read = (&mut lines).take(HANDLED_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let hash = Sha256Hash::of(&line);
            match Handled::parse(&line) {
                Ok(handled) => {
                    if handled.previous != previous {
                        let log = name(incident);
                        let what = format!("{HANDLING}/{log}: line {number} does not follow on the line before it");
                        wrong(what, false);
                    }
                    visit(handled);
                }
                Err(error) => {
                    let (log, why) = (name(incident), error.to_string());
                    wrong(
                        format!("{HANDLING}/{log}: line {number} is none: {}", Printable(&why)),
                        true,
                    );
                }
            }
            previous = Some(hash);
        }
        Ok(())
    }

    /// The incidents that have a log.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn incidents(&self) -> io::Result<Vec<IncidentId>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let file = entry?.file_name();
            let incident = file.to_str().and_then(|it| it.strip_suffix(".jsonl"));
            found.extend(incident.and_then(super::dir::exactly::<IncidentId>));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The bytes of a log, as they are handed over; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bytes(&self, incident: Option<IncidentId>) -> io::Result<Option<Vec<u8>>> {
        let file = match open_plain(&self.file(incident)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

fn name(incident: Option<IncidentId>) -> String {
    incident.map_or_else(|| "all.jsonl".to_owned(), |it| format!("{it}.jsonl"))
}

/// The last line of a file of `length` bytes, with its end where it has one; `None` when there is none. Of a line that is longer
/// than any it is the end.
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

/// Gives what the superuser has made to the owner of the directory above, who has to append to it as well.
fn give(file: &File, dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir.parent().unwrap_or(dir))?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) || made.uid() != 0 {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

fn sync_above(dir: &Path) -> io::Result<()> {
    File::open(dir.parent().unwrap_or(dir))?.sync_all()
}
