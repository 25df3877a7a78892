//! Why a journal could not be opened, and what to do about it.

use std::io;
use std::path::PathBuf;

use staunch_ports::ReadError;
use thiserror::Error;

/// Why a journal could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("cannot open the journal: {what}")]
    Options {
        /// The contradiction.
        what: String,
    },
    /// Another process writes to this journal.
    #[error("the journal {} is in use by {}", dir.display(), pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
        /// The process, when it could be read.
        pid: Option<u32>,
    },
    /// This user may not read or write the journal.
    #[error("cannot {what} {}: access denied", path.display())]
    Denied {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file system of the journal takes no writes.
    #[error("cannot {what} {}: its file system is read-only", path.display())]
    ReadOnly {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is no room for the first segment of the journal.
    #[error("cannot {what} {}: no space left, {needed} bytes needed", path.display())]
    NoSpace {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Bytes that must be free.
        needed: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A newer Staunch has written this file.
    #[error("{} has format version {found}, this build reads up to {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build knows.
        supported: u32,
    },
    /// The journal is damaged. Nothing was changed.
    #[error("the journal is corrupt at {}, byte {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The offset of the damage in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The disk answered with an error.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What an operator can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Options { .. } => "mend the journal settings in the configuration",
            Self::Locked { .. } => "stop that process first, or give this one a data directory of its own",
            Self::Denied { .. } => "run as the user that owns the data directory, or give it to this user with chown",
            Self::ReadOnly { .. } => {
                "the kernel may have made it read-only after an error, which its log tells: mount it for writing, or name \
                 another data directory"
            }
            Self::NoSpace { .. } => "free some space or move the data directory to a larger disk",
            Self::Version { .. } => "start the newer version again: older builds cannot read its journal",
            Self::Corrupt { .. } => {
                "copy the directory aside, look at it with `staunch journal verify`, and restore the file from a backup; \
                 Staunch never cuts a damaged journal by itself"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                "the data directory, or one above it, is a file: name a directory"
            }
            Self::Io { .. } => "look at the kernel log: the disk or its file system may be failing",
        }
    }

    /// Files an I/O error under the variant that says most about it.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, needed: u64, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { what, path, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { what, path, source },
            _ if super::disk::is_no_space(&source) => Self::NoSpace {
                what,
                path,
                needed,
                source,
            },
            _ => Self::Io { what, path, source },
        }
    }
}

impl From<OpenError> for ReadError {
    /// For readers that meet a file which cannot be opened in the middle of a log.
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Corrupt { path, offset, what } => Self::Corrupt {
                file: path.display().to_string(),
                offset,
                what,
            },
            other => Self::Io {
                what: other.to_string(),
                source: io::Error::other(other),
            },
        }
    }
}
