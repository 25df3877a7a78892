//! A process on the protected server that calls an address of the attacker's host, over and over.
//!
//! It has no children, so that whoever ends it, frozen or not, leaves nothing behind.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::hosts::{SERVER, Stage, TIMEOUT, connect, within};

/// Says a word for each line that it reads, until there is none, or nobody can be told any more.
const PROGRAM: &str = "while read -r _ && echo beacon; do :; done";

/// The time between two lines that it reads.
const PACE: Duration = Duration::from_millis(20);

/// How long nothing may be heard before it counts as silent: fifteen words.
const SILENCE: Duration = Duration::from_millis(300);

/// The longest time until it is heard again: TCP doubles its pauses while nothing arrives, and what was blocked for
/// 15 s comes up to 13 s later.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// The process. Ended when this is dropped.
pub(crate) struct Beacon {
    process: Child,
    /// Where it calls.
    pub(crate) called: SocketAddrV4,
    /// Bytes that have arrived there.
    heard: Arc<AtomicU64>,
}

impl Beacon {
    /// Starts one that calls `to`, an address of the attacker's host.
    ///
    /// # Errors
    /// When nobody listens there, or there is no shell.
    pub(crate) fn start(stage: &Stage, to: Ipv4Addr) -> Result<Self> {
        let heard = Arc::new(AtomicU64::new(0));
        let counter = heard.clone();
        let port = stage.attacker.run(move || listen(to, &counter))??;
        let called = SocketAddrV4::new(to, port);
        let connection = connect(SERVER, called, TIMEOUT).context("the web server does not reach the attacker")?;
        // What is written when nobody acknowledges must not end it.
        connection.set_write_timeout(None)?;
        let mut process = Command::new("sh")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(OwnedFd::from(connection)))
            .stderr(Stdio::null())
            .spawn()
            .context("there is no shell `sh`")?;
        let lines = process.stdin.take().context("it has no standard input")?;
        let beacon = Self { process, called, heard };
        std::thread::Builder::new()
            .name("pace".into())
            .spawn(move || pace(lines))?;
        Ok(beacon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// True when something of it arrives from now on.
    pub(crate) fn is_heard(&self) -> bool {
        let before = self.heard.load(Ordering::Relaxed);
        within(HEARD_WITHIN, || self.heard.load(Ordering::Relaxed) > before)
    }

    /// True when nothing of it arrives any more, within two seconds.
    pub(crate) fn is_silent(&self) -> bool {
        let mut newest = (self.heard.load(Ordering::Relaxed), Instant::now());
        within(Duration::from_secs(2), || {
            let heard = self.heard.load(Ordering::Relaxed);
            if heard != newest.0 {
                newest = (heard, Instant::now());
            }
            newest.1.elapsed() > SILENCE
        })
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Hands it lines until it has ended.
fn pace(mut lines: ChildStdin) {
    while lines.write_all(b"\n").is_ok() {
        std::thread::sleep(PACE);
    }
}

/// Listens on a free port of `address`, and counts what the first caller says.
fn listen(address: Ipv4Addr, counter: &Arc<AtomicU64>) -> Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let counter = counter.clone();
    std::thread::Builder::new().name("called".into()).spawn(move || {
        let Ok((mut caller, _)) = listener.accept() else {
            return;
        };
        let mut bytes = [0; 256];
        while let Ok(read @ 1..) = caller.read(&mut bytes) {
            counter.fetch_add(read as u64, Ordering::Relaxed);
        }
    })?;
    Ok(port)
}
