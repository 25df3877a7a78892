//! Who has released everything around a server that did not run, for the next one to record.
//!
//! Never has anything recorded twice: the note is gone before its command is given, so that nothing is lifted that was
//! contained since.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use serde::{Deserialize, Serialize};
use staunch_model::{Operator, Printable, Timestamp};

use crate::config::Config;
use crate::output::now;
use crate::{whole, wiring};

/// The most bytes of a note. A reason has at most some hundred characters.
const NOTE_BYTES_MAX: u64 = 16 << 10;

/// Who may read it: also a server that runs as another user. It tells no more than the journal.
const MODE: u32 = 0o644;

/// Where such a command comes from, beside the time.
const FROM: &str = "this machine, without the server";

#[derive(Serialize, Deserialize)]
struct Note {
    at: Timestamp,
    by: Box<str>,
    reason: Box<str>,
}

/// Notes for the next start that `by` has released everything because of `reason`. False where a server runs: it finds
/// out itself, and may have contained anew by then; or where none has ever run.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note(config: &Config, by: &str, reason: Option<&str>) -> io::Result<bool> {
    if !config.journal_dir().exists() || wiring::check_free(config).is_err() {
        return Ok(false);
    }
    let note = Note {
        at: now(),
        by: by.into(),
        reason: reason.unwrap_or("no reason was given").into(),
    };
    let file = config.released_file();
    whole::replace(&file, &serde_json::to_string(&note)?, MODE)?;
    // Whatever the mask of this process takes away.
    fs::set_permissions(&file, Permissions::from_mode(MODE))?;
    Ok(true)
}

/// Takes the note away. A note that cannot be read or taken away is told, and counts as none.
pub(crate) fn take(config: &Config) -> Option<Operator> {
    let file = config.released_file();
    let read = || {
        if fs::symlink_metadata(&file)?.len() > NOTE_BYTES_MAX {
            return Err(io::Error::other("it is too long"));
        }
        let text = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        Ok(serde_json::from_str::<Note>(&text)?)
    };
    match read() {
        Ok(Note { at, by, reason }) => {
            tracing::warn!(%at, by = %Printable(&by), reason = %Printable(&reason), "everything was released without a server");
            Some(Operator {
                name: by,
                from: format!("{FROM}, at {at}").into(),
                reason,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let file = file.display();
            tracing::error!(%file, %error, "who has released everything without a server is not recorded");
            None
        }
    }
}
