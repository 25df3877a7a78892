//! What the tests of inlets that listen share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use staunch_ports::InletTally;

use super::{Delivery, Sink};

/// How long anything may take here. Only a failing test takes this long.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Takes lines, or refuses them for as long as it is told to.
pub(super) struct Taker {
    lines: mpsc::Receiver<String>,
    pub(super) refuses: Arc<AtomicBool>,
    pub(super) tally: Arc<InletTally>,
}

impl Taker {
    pub(super) fn new() -> (Self, Sink) {
        let (sender, lines) = mpsc::channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let refusing = refuses.clone();
        let sink: Sink = Box::new(move |text| {
            if refusing.load(Ordering::SeqCst) {
                return Delivery::Again;
            }
            assert!(text.ends_with(b"\n"));
            for line in String::from_utf8_lossy(text).lines() {
                drop(sender.send(line.to_owned()));
            }
            Delivery::Taken
        });
        let tally = Arc::new(InletTally::new("test", "a test", "suricata"));
        (Self { lines, refuses, tally }, sink)
    }

    /// The next line; nothing else may come before it.
    pub(super) fn expect(&self, line: &str) {
        assert_eq!(self.lines.recv_timeout(DEADLINE).as_deref(), Ok(line));
    }

    /// The next `count` lines.
    pub(super) fn lines(&self, count: usize) -> Vec<String> {
        let next = |_| self.lines.recv_timeout(DEADLINE).expect("a line");
        (0..count).map(next).collect()
    }

    /// A line, when one comes soon.
    pub(super) fn line_soon(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_millis(100)).ok()
    }

    /// Whether no line has come that was not expected.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

/// Waits until `holds`.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        // Nobody ever sends.
        let (_sender, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(2));
    }
}
