//! One data directory on one disk, and what must hold after every start on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::harness::{Home, Server};
use crate::load::{CONFIG, Load, PLAYBOOK, Taken, handled, settle};
use crate::volume::Volume;

/// One data directory on one disk.
pub(crate) struct Life {
    // Unmounted before the directory is removed.
    pub(crate) volume: Volume,
    pub(crate) home: Home,
    pub(crate) load: Load,
    /// Every address whose event was acknowledged.
    pub(crate) acknowledged: Vec<String>,
    /// The first of them that no start has been asked about.
    pub(crate) unchecked: usize,
    pub(crate) rounds: u32,
    pub(crate) start: Duration,
}

impl Life {
    pub(crate) fn new(clock: &Clock) -> Self {
        let home = Home::new(CONFIG).with_environment(clock.environment());
        home.playbook("load.yaml", PLAYBOOK);
        let volume = Volume::new(&home.data(), &home.path("disk.img")).unwrap_or_else(|error| panic!("{error}"));
        Self {
            volume,
            home,
            load: Load::new(),
            acknowledged: Vec::new(),
            unchecked: 0,
            rounds: 0,
            start: Duration::from_millis(100),
        }
    }

    /// Starts a server and checks everything that must hold after a start.
    pub(crate) fn checked_start(&mut self) -> Server {
        let starting = Instant::now();
        let server = self.home.serve();
        self.start = starting.elapsed();
        must(settle(&server, &BTreeSet::new()));
        must(handled(&server, &self.acknowledged[self.unchecked..]));
        self.unchecked = self.acknowledged.len();
        self.prove("verify", &["journal", "verify"]);
        server
    }

    pub(crate) fn prove(&self, what: &str, arguments: &[&str]) {
        let output = self.home.run(arguments);
        assert!(output.status.success(), "{what}: {output:?}");
    }

    pub(crate) fn load(&mut self, server: &Server, work: impl FnOnce(&Volume, &Taken)) {
        let volume = &self.volume;
        let mut taken = self.load.run(&server.url, |taken| work(volume, taken));
        self.acknowledged.append(&mut taken);
    }
}

pub(crate) fn must(result: Result<(), String>) {
    if let Err(wrong) = result {
        panic!("{wrong}");
    }
}
