//! The data directory, and whose it is.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use staunch_model::{Frame, Input, InstallationId, Printable};
use staunch_ports::Lsn;
use staunch_store::ReadOnlyJournal;

use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::whole;

/// Makes the data directory of `config`.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_data_dir(config: &Config) -> Result<(), Fault> {
    make_private_dir(&config.data_dir).map_err(|fault| {
        fault.hint(if config.data_dir.is_file() {
            "it is a file: name a directory with --data-dir, or data_dir in the configuration"
        } else {
            "make it and give it to this user, or name another with --data-dir, or data_dir in the configuration"
        })
    })
}

/// Makes `dir` with mode 0700. One that is there keeps its mode, and others being able to enter it is said, once.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), Fault> {
    let failed = |error: &io::Error| {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::Denied
        } else {
            Exit::Failed
        };
        let shown = dir.display().to_string();
        Fault::doing(exit, format!("cannot make the directory {}", Printable(&shown)), error)
            .hint("make it and give it to this user, or name another")
    };
    private_dir(dir).map_err(|error| failed(&error))
}

/// As [`make_private_dir`], and says what the disk says.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(error),
        _ => {}
    }
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 && is_first_time(dir) {
        let shown = dir.display().to_string();
        tracing::warn!(dir = %shown, mode = format!("{:o}", mode & 0o777), "others can enter this directory of ours");
    }
    Ok(())
}

/// Whether this process has not asked it of `dir` before: a start makes the data directory wherever something needs it.
fn is_first_time(dir: &Path) -> bool {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    TOLD.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(dir.to_owned())
}

/// The installation's id: from its file, else from the journal, else drawn at random. It is written when it was not
/// there.
pub(super) fn installation(config: &Config, tail: Lsn) -> Result<InstallationId, Fault> {
    let path = config.installation_file();
    let shown = path.display().to_string();
    let failed = |what: &str, error: &io::Error| {
        Fault::doing(
            Exit::Failed,
            format!("cannot {what} the installation id {}", Printable(&shown)),
            error,
        )
        .hint(
            "it says which elements in the kernel are ours: restore it from a backup, or delete it to have it restored \
                   from the journal",
        )
    };
    if let Some(id) = read_installation(&path).map_err(|error| failed("read", &error))? {
        return Ok(id);
    }
    let known = if tail > Lsn(0) {
        installation_in(&config.journal_dir())
    } else {
        None
    };
    let id = match known {
        Some(id) => id,
        None => {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(|error| failed("draw", &io::Error::other(error.to_string())))?;
            InstallationId(bytes)
        }
    };
    whole::keep(&path, format!("{id}\n").as_bytes()).map_err(|error| failed("write", &error))?;
    Ok(id)
}

/// The id in the file; `None` when there is no file.
pub(super) fn read_installation(path: &Path) -> io::Result<Option<InstallationId>> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|error: String| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id that the journal was begun with.
fn installation_in(journal: &Path) -> Option<InstallationId> {
    let mut found = None;
    let read = ReadOnlyJournal::open(journal).ok()?.read(Lsn(1), &mut |stored| {
        if let Ok(Frame {
            input: Input::Started { installation, .. },
            ..
        }) = postcard::from_bytes(&stored.payload)
        {
            found = Some(installation);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    read.ok().and(found)
}
