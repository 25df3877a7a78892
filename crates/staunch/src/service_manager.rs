//! Tells the service manager, systemd mostly, when the server is ready, that it lives, and when it stops, by the
//! protocol of sd_notify(3).
//!
//! Never waits for the service manager longer than some seconds, and does nothing where there is none. The socket is
//! opened before the sandbox, which may keep it from being found.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use staunch_runtime::Handle;

/// How long is waited where the queue of the service manager is full, as when a machine starts.
const FULL_MAX: Duration = Duration::from_secs(5);

/// What a person does about one that cannot be told.
const HINT: &str = "set Type=exec and WatchdogSec=0 for the unit, or see what is wrong with NOTIFY_SOCKET";

/// The way to the service manager.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
    /// How long it waits for a sign of life, when it does.
    patience: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process, as its environment says.
    pub(crate) fn of_environment() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = connect(&address)
            .map_err(|error| {
                let what = "the service manager cannot be told that the server is ready, and will take it for one that never starts";
                tracing::error!(%error, hint = HINT, "{what}");
            })
            .ok()
            .map(Arc::new);
        let variable = |name| std::env::var(name).ok();
        Self {
            socket,
            patience: patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()),
        }
    }

    /// The server takes events and commands from now on.
    pub(crate) fn ready(&self) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(b"READY=1")
        {
            let what =
                "the service manager was not told that the server is ready, and takes it for one that never starts";
            tracing::error!(%error, hint = HINT, "{what}");
        }
    }

    /// It takes no more events, and ends.
    pub(crate) fn stopping(&self) {
        if let Some(socket) = &self.socket {
            send(socket, "STOPPING=1");
        }
    }

    /// Has a thread ask the event loop, twice as often as the service manager looks, and give a sign of life for each
    /// answer: none comes from a loop that hangs. It ends with the loop.
    pub(crate) fn keep_telling(&self, handle: Handle) {
        let (Some(socket), Some(patience)) = (self.socket.clone(), self.patience) else {
            return;
        };
        let tell = move || {
            while handle.query(|_| ()).is_ok() {
                send(&socket, "WATCHDOG=1");
                thread::sleep(patience / 2);
            }
        };
        if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(tell) {
            tracing::error!(%error, "the service manager gets no signs of life, and will take the server for dead");
        }
    }
}

/// A socket of this process, connected to the one at `address`: a path, or an abstract name that begins with `@`.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path if path.starts_with(b"/") => SocketAddr::from_pathname(Path::new(address))?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "its socket is neither a path nor a name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(FULL_MAX))?;
    Ok(socket)
}

/// How long the service manager waits for a sign of life of the process `id`.
fn patience(microseconds: Option<String>, of: Option<String>, id: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse() != Ok(id)) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

fn send(socket: &UnixDatagram, state: &str) {
    if let Err(error) = socket.send(state.as_bytes()) {
        tracing::debug!(%error, state, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_for_who_is_asked_for_one() {
        let of =
            |microseconds: &str, of: Option<&str>| patience(Some(microseconds.to_owned()), of.map(str::to_owned), 7);
        assert_eq!(of("120000000", None), Some(Duration::from_secs(120)));
        assert_eq!(of("120000000", Some("7")), Some(Duration::from_secs(120)));
        assert_eq!(of("120000000", Some("8")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
        assert_eq!(patience(None, None, 7), None);
    }

    #[test]
    fn a_service_manager_has_a_path_or_an_abstract_name() {
        let name = format!("staunch-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&abstract_name).expect("nobody has it");
        manager.set_read_timeout(Some(FULL_MAX)).expect("it is no zero");
        let socket = connect(OsStr::new(&format!("@{name}"))).expect("it is there");
        send(&socket, "READY=1");
        let mut told = [0; 64];
        let length = manager.recv(&mut told).expect("it was told");
        assert_eq!(&told[..length], b"READY=1");

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        assert_eq!(
            connect(path.as_os_str()).expect_err("it is not there").kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            connect(OsStr::new("notify")).expect_err("no address").kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
