//! Takes lines from programs of this machine that connect to a socket in the file system.
//!
//! Its mode, and that of its directory, say who may. Never removes anything but a socket that nobody listens on.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::Group;
use staunch_ports::InletTally;

use super::listener::{Attendant, IDLE_MIN, Limits, Listener, Opens};
use super::{Added, Batch, Framing, InletThread, Sink};
use crate::json::EVENT_BYTES_MAX;

/// Connections at the same time: each may hold one unfinished line.
const CONNECTIONS_MAX: usize = 32;

/// Where to listen, and who may send.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// The socket. Its directory must be there.
    pub path: PathBuf,
    /// Its mode: who may write to it may send.
    pub mode: u32,
    /// The group that it belongs to; with none, that of this process.
    pub group: Option<String>,
}

/// A socket that is listened on, and that nobody reads yet.
#[derive(Debug)]
pub struct LineSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is: somebody may put another one in its place.
    is: (u64, u64),
}

impl LineSocket {
    /// Makes the socket. It has its mode and its group from the moment it has its name. One that an earlier process has
    /// left behind is replaced.
    ///
    /// # Errors
    /// When somebody listens there, when something else is there, when there is no such group, or without the
    /// permission.
    pub fn bind(settings: &SocketSettings) -> io::Result<Self> {
        let path = &settings.path;
        make_way(path)?;
        let group = match &settings.group {
            None => None,
            Some(name) => {
                let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name:?}"));
                Some(Group::from_name(name)?.ok_or_else(missing)?.gid.as_raw())
            }
        };
        let (listener, is) = put(path, settings.mode, group)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.clone(),
            is,
        })
    }

    /// Starts a thread that hands what comes to `sink`, and removes the socket at its end.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self, tally: Arc<InletTally>, sink: Sink) -> io::Result<InletThread> {
        let limits = Limits {
            connections_max: CONNECTIONS_MAX,
            connections_per_peer_max: CONNECTIONS_MAX,
            idle_min: IDLE_MIN,
            message_bytes_max: EVENT_BYTES_MAX,
            framing: Framing::Lines,
        };
        InletThread::start("socket", move |stop| {
            Attendant::new(Listener::Unix(self.listener), limits, Box::new(Lines), tally, sink).run(&stop);
            let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == self.is);
            if is_ours && let Err(error) = fs::remove_file(&self.path) {
                tracing::warn!(%error, socket = %self.path.display(), "the socket was left behind");
            }
        })
    }
}

/// A message is a line.
struct Lines;

impl Opens for Lines {
    fn open(&mut self, message: &[u8], batch: &mut Batch) -> Added {
        // An empty line is none.
        batch.add(message)
    }
}

/// Listens at `path`, in the place of whatever is there. The socket has its mode and its group from the moment it has
/// its name, and nobody reaches it before. With it comes which file it is: device and number.
///
/// # Errors
/// When the socket cannot be made, or cannot be given to the group.
pub fn put(path: &Path, mode: u32, group: Option<u32>) -> io::Result<(UnixListener, (u64, u64))> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    // What a crash leaves of it is in the way of nobody. Its name is short: the path of a socket may not be long.
    let unfinished = tempfile::Builder::new()
        .prefix(".")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(directory.unwrap_or(Path::new(".")))?;
    let at = unfinished.path().join("s");
    let listener = UnixListener::bind(&at)?;
    if group.is_some() {
        chown(&at, None, group)?;
    }
    fs::set_permissions(&at, Permissions::from_mode(mode))?;
    let made = fs::symlink_metadata(&at)?;
    fs::rename(&at, path)?;
    Ok((listener, (made.dev(), made.ino())))
}

/// Makes sure that nothing is lost when `path` is replaced.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something is there that is no socket",
        )),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
