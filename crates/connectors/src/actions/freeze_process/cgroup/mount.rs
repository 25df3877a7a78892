//! Where the tree of cgroup v2 is mounted.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use thiserror::Error;

use crate::mounts::{self, Mount};
use crate::proc::Proc;

/// Bytes that are read of the list of mounts. A machine with many containers has some thousands of 200 bytes.
const MOUNTS_BYTES_MAX: u64 = 16 << 20;

/// Why there is no tree to freeze in.
#[derive(Debug, Error)]
pub enum RootError {
    /// The list of mounts could not be read.
    #[error("cannot read {}", path.display())]
    Mounts {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It lists no cgroup v2.
    #[error("this machine has no cgroup v2 mounted, without which no process can be frozen")]
    NoCgroup2,
}

/// Where the tree of cgroup v2 is.
///
/// # Errors
/// [`RootError`].
pub(super) fn find(proc: &Proc) -> Result<Mount, RootError> {
    let path = proc.path("self/mountinfo");
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|it| it.take(MOUNTS_BYTES_MAX).read_to_end(&mut text))
        .map_err(|source| RootError::Mounts { path, source })?;
    mounts::cgroup2(&mounts::parse(&text))
        .cloned()
        .ok_or(RootError::NoCgroup2)
}
