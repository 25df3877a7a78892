//! Who has released everything around a server that did not run, for the next one to record.
//!
//! Never loses who it was: a note stays until its command is in the journal. Never has one recorded twice: a start
//! looks into the journal before it gives the command, so that nothing is lifted that was contained since.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;

use nix::libc;
use serde::{Deserialize, Serialize};
use staunch_model::{Command, Frame, Input, Operator, Printable, Record, ReleaseScope, Timestamp, WithCauses};
use staunch_ports::Lsn;
use staunch_runtime::ReleasedBefore;
use staunch_store::ReadOnlyJournal;

use crate::config::Config;
use crate::exit::Exit;
use crate::output::now;
use crate::{whole, wiring};

/// The most bytes of all notes. A reason has at most some hundred characters.
const NOTES_BYTES_MAX: u64 = 64 << 10;

/// Who may read them: also a server that runs as another user. They tell no more than the journal.
const MODE: u32 = 0o644;

/// Where such a command comes from, beside the time.
const FROM: &str = "this machine, without the server";

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Note {
    at: Timestamp,
    by: Box<str>,
    reason: Box<str>,
}

impl Note {
    /// Who gives the command. The time tells it from every other.
    fn operator(self) -> Operator {
        Operator {
            name: self.by,
            from: format!("{FROM}, at {}", self.at).into(),
            reason: self.reason,
        }
    }
}

/// What became of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// The next start reads it.
    ForTheNextStart,
    /// There is none: a server runs, which finds out itself, and may have contained anew by the time of the next start.
    OfNoUse,
    /// There is none: no server has ever run here.
    Nobody,
}

/// Notes for the next start that `by` has released everything because of `reason`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note(config: &Config, by: &str, reason: Option<&str>) -> io::Result<Noted> {
    if !config.journal_dir().exists() {
        return Ok(Noted::Nobody);
    }
    // None starts before the note is written: one that did could miss it, or take it away unread.
    let _free = match wiring::check_free(config) {
        Err(fault) if fault.exit == Exit::InUse => return Ok(Noted::OfNoUse),
        free => free.map_err(|fault| io::Error::other(fault.told()))?,
    };
    let note = Note {
        at: now(),
        by: by.into(),
        reason: reason.unwrap_or("no reason was given").into(),
    };
    append(&config.released_file(), &serde_json::to_string(&note)?)?;
    Ok(Noted::ForTheNextStart)
}

/// Appends a line, which is durable then.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        // The superuser writes here, and the directory belongs to somebody else.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.nlink() != 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no plain file of one name",
        ));
    }
    // After half a line that a crash has left, too.
    let line = format!("\n{line}\n");
    if about.len() + line.len() as u64 > NOTES_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "there are too many notes"));
    }
    file.write_all(line.as_bytes())?;
    // Whatever the mask of this process takes away.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()?;
    whole::sync_folder_of(path)
}

/// What was released before this start and is not in the journal, to be recorded now. A line that cannot be read is
/// told and counts as none, and the file is set aside then; one that cannot be read at all is told and left.
pub(crate) fn before(config: &Config) -> Option<ReleasedBefore> {
    let file = config.released_file();
    let bytes = match read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            not_recorded(&file, &error);
            return None;
        }
    };
    let (mut notes, mut is_damaged) = (Vec::new(), false);
    for line in bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
        match serde_json::from_slice::<Note>(line) {
            Ok(note) => notes.push(note),
            Err(error) => {
                is_damaged = true;
                not_recorded(&file, &error);
            }
        }
    }
    let by = match unrecorded(&config.journal_dir(), notes) {
        Ok(by) => by,
        // They stay: a start that can read the journal records them. This one does not get far.
        Err(why) => {
            not_recorded(&file, &why);
            return None;
        }
    };
    if by.is_empty() {
        done_with(&file, is_damaged);
        return None;
    }
    for Operator { name, from, reason } in &by {
        tracing::warn!(by = %Printable(name), %from, reason = %Printable(reason), "everything was released without a server");
    }
    Some(ReleasedBefore {
        by,
        recorded: Box::new(move || {
            // The engine goes on meanwhile. Without a thread the next start finds them recorded.
            let away = move || done_with(&file, is_damaged);
            if let Err(error) = thread::Builder::new().name("released".into()).spawn(away) {
                tracing::warn!(%error, "a note that is recorded is not taken away");
            }
        }),
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(NOTES_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NOTES_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "there are too many notes"));
    }
    Ok(bytes)
}

fn not_recorded(file: &Path, why: &dyn std::fmt::Display) {
    let (file, why) = (file.display(), why.to_string());
    tracing::error!(%file, error = %Printable(&why), "who has released everything without a server is not recorded");
}

/// Those whose command is not in the journal.
fn unrecorded(journal: &Path, notes: Vec<Note>) -> Result<Vec<Operator>, String> {
    let mut by: Vec<Operator> = notes.into_iter().map(Note::operator).collect();
    if by.is_empty() {
        return Ok(by);
    }
    let opened = ReadOnlyJournal::open(journal).map_err(|error| WithCauses(&error).to_string())?;
    let is_in = |payload: &[u8]| payload.windows(FROM.len()).any(|it| it == FROM.as_bytes());
    let mut visit = |stored: staunch_ports::StoredFrame| {
        if is_in(&stored.payload)
            && let Ok(frame) = postcard::from_bytes::<Frame>(&stored.payload)
            && let Input::Operator {
                by: recorded,
                command: Command::Release(ReleaseScope::All),
                ..
            } = &frame.input
            // It goes in turns, and the last one finds nothing left.
            && matches!(&frame.records[..], [Record::CommandDone { affected }] if affected.is_empty())
        {
            by.retain(|it| it != recorded);
        }
        ControlFlow::Continue(())
    };
    opened
        .read(Lsn(1), &mut visit)
        .map_err(|error| WithCauses(&error).to_string())?;
    Ok(by)
}

/// Takes the notes away, which are recorded. With one among them that could not be read they are set aside instead.
fn done_with(file: &Path, is_damaged: bool) {
    // Those that were set aside before stay.
    let aside = file.with_extension(format!("unreadable-{}", now().as_micros()));
    let done = if is_damaged {
        fs::rename(file, &aside)
    } else {
        fs::remove_file(file)
    };
    let durable = done.and_then(|()| File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all());
    match durable {
        Ok(()) if is_damaged => {
            let aside = aside.display();
            tracing::warn!(%aside, "the notes of which one could not be read are kept there");
        }
        Ok(()) => {}
        // The next start finds them recorded.
        Err(error) => tracing::warn!(file = %file.display(), %error, "a note that is recorded cannot be taken away"),
    }
}
