//! The rounds: one of each kind is one of these.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use staunch_netlink::nftables::{NewElement, Nft};

use crate::harness::{DEADLINE, Server, elements, pause, start_and_kill, wait_until};
use crate::kind::Kind;
use crate::life::{Life, must};
use crate::load::{release_all, release_everything, settle};
use crate::{CLOCK_SHIFT_MAX, REPLAY_EVERY, Torture};

impl Torture {
    /// One round. True when what it is for was seen to happen.
    pub(crate) fn round(&mut self, life: &mut Life, kind: Kind) -> bool {
        match kind {
            Kind::Start => {
                let delay = self.random.within(Duration::ZERO, life.start);
                self.kills += 1;
                return !start_and_kill(&life.home, delay);
            }
            Kind::ReadOnly => {
                life.volume.read_only(true);
                let started = life.home.try_serve(&["--allow-unauthenticated-loopback"]);
                let refused = started.is_err();
                // It may be killed only before the file system changes again.
                drop(started);
                life.volume.read_only(false);
                return refused;
            }
            _ => {}
        }
        let server = life.checked_start();
        if life.rounds.is_multiple_of(REPLAY_EVERY) {
            life.prove("replay", &["replay", "--verify"]);
        }
        // Sometimes the next server finds what this one has in force.
        if self.random.below(4) > 0 {
            release_everything(&server);
        }
        match kind {
            Kind::Early => {
                let delay = self.millis(0, 60);
                life.load(&server, |_, _| {
                    pause(delay);
                    self.kill_in(&server);
                });
                true
            }
            Kind::Snapshot => {
                let file = life.home.data().join("journal/snapshot.tmp");
                let mut hit = false;
                life.load(&server, |_, _| {
                    let begun = Instant::now();
                    while !hit && begun.elapsed() < Duration::from_secs(2) {
                        hit = file.exists();
                        std::thread::yield_now();
                    }
                    self.kill_in(&server);
                });
                hit
            }
            Kind::Release => self.in_release(life, server),
            Kind::Stop => {
                let (before, stopped, after) = (self.millis(0, 200), self.millis(50, 1_500), self.millis(0, 200));
                life.load(&server, |_, _| {
                    pause(before);
                    server.signal(Signal::SIGSTOP);
                    pause(stopped);
                    server.signal(Signal::SIGCONT);
                    pause(after);
                });
                must(settle(&server, &BTreeSet::new()));
                life.load(&server, |_, _| self.kill_in(&server));
                true
            }
            Kind::Clock => {
                let (before, after) = (self.millis(0, 200), self.millis(0, 1_200));
                let ahead = i64::try_from(self.random.below(2 * CLOCK_SHIFT_MAX)).expect("some hours");
                let shift = ahead - i64::try_from(CLOCK_SHIFT_MAX).expect("some hours");
                life.load(&server, |_, _| {
                    pause(before);
                    self.clock.set(shift);
                    pause(after);
                });
                must(settle(&server, &BTreeSet::new()));
                life.load(&server, |_, _| self.kill_in(&server));
                drop(server);
                // The next start finds a journal whose times may be ahead of its clock.
                self.clock.set(0);
                true
            }
            Kind::Full => self.on_a_full_disk(life, server),
            Kind::Broken => {
                let (before, after) = (self.millis(20, 300), self.millis(0, 500));
                let mut refused = false;
                life.load(&server, |volume, taken| {
                    pause(before);
                    volume.break_it();
                    pause(after);
                    refused = taken.refused.load(Ordering::Relaxed) > 0;
                    self.kill_in(&server);
                });
                drop(server);
                must(life.volume.mend());
                refused
            }
            Kind::Frozen => {
                let (before, after) = (self.millis(0, 300), self.millis(0, 300));
                life.load(&server, |volume, _| {
                    pause(before);
                    let frozen = volume.freeze();
                    pause(after);
                    // It does not end while a write of it hangs.
                    self.kill_in(&server);
                    pause(after);
                    drop(frozen);
                });
                true
            }
            Kind::Flushed | Kind::Deleted | Kind::Foreign => self.beside_somebody_else(life, server, kind),
            Kind::Start | Kind::ReadOnly | Kind::Load => {
                let delay = self.millis(200, 1_000);
                life.load(&server, |_, _| {
                    pause(delay);
                    self.kill_in(&server);
                });
                true
            }
        }
    }

    /// Sends the signal; the end is awaited when the server is dropped.
    fn kill_in(&mut self, server: &Server) {
        self.kills += 1;
        server.signal(Signal::SIGKILL);
    }

    fn in_release(&mut self, life: &mut Life, server: Server) -> bool {
        let wanted = 30 + usize::try_from(self.random.below(200)).expect("it is small");
        life.load(&server, |_, taken| {
            wait_until("a load to release", || {
                taken.acknowledged.load(Ordering::Relaxed) >= wanted
            });
        });
        wait_until("it to be in force", || elements().len() >= wanted);
        let had = elements().len();
        let delay = self.millis(0, 15);
        let (url, answered) = (server.url.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| answered.store(release_all(&url).is_ok(), Ordering::Relaxed));
            pause(delay);
            self.kill(server);
        });
        let left = elements().len();
        left > 0 && (left < had || answered.into_inner())
    }

    /// Somebody else takes all room: events are refused in the end, the server is killed, and the next one, on the disk
    /// that is still full, releases everything.
    fn on_a_full_disk(&mut self, life: &mut Life, server: Server) -> bool {
        life.load.pad(256 << 10);
        let filler = life.volume.fill();
        let delay = self.millis(0, 200);
        let mut full = false;
        life.load(&server, |_, taken| {
            let begun = Instant::now();
            while !full && begun.elapsed() < Duration::from_secs(4) {
                full = taken.refused.load(Ordering::Relaxed) > 0;
                pause(Duration::from_millis(5));
            }
            pause(delay);
            self.kill_in(&server);
        });
        life.load.pad(0);
        drop(server);
        // It need not come up without room; when it does, it must be able to release.
        if let Ok(server) = life.home.try_serve(&["--allow-unauthenticated-loopback"]) {
            must(settle(&server, &BTreeSet::new()));
            release_everything(&server);
            wait_until("the release on a full disk", || elements().is_empty());
            self.kill(server);
        }
        drop(filler);
        full
    }

    fn beside_somebody_else(&mut self, life: &mut Life, server: Server, kind: Kind) -> bool {
        let (delay, ahead) = (
            self.millis(50, 300),
            u32::try_from(self.random.below(60)).expect("small"),
        );
        let pick = self.random.below(u64::MAX);
        let strangers: Vec<IpAddr> = [
            "192.0.2.1".to_owned(),
            life.load.address(ahead),
            life.load.address(ahead + 7),
        ]
        .iter()
        .map(|it| it.parse().expect("an address"))
        .collect();
        let mut done: Vec<IpAddr> = Vec::new();
        life.load(&server, |_, _| {
            let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
            if kind == Kind::Foreign {
                for address in &strangers {
                    let element = NewElement {
                        address: *address,
                        timeout: Duration::from_secs(3_600),
                        comment: "somebody else's",
                    };
                    // Another one may have it already.
                    if nft.get_element(*address).is_ok_and(|it| it.is_none()) && nft.add_elements(&[element]).is_ok() {
                        done.push(*address);
                    }
                }
                pause(delay);
                return;
            }
            pause(delay);
            let mut addresses: Vec<IpAddr> = elements().iter().map(|it| it.address).collect();
            if kind == Kind::Deleted && !addresses.is_empty() {
                let at = usize::try_from(pick % addresses.len() as u64).expect("below a length");
                addresses = vec![addresses[at]];
            }
            let removed = nft.delete_present(&addresses).unwrap_or_default();
            done = addresses
                .into_iter()
                .zip(removed)
                .filter(|(_, was)| *was)
                .map(|(it, _)| it)
                .collect();
        });
        let others: BTreeSet<IpAddr> = if kind == Kind::Foreign {
            done.iter().copied().collect()
        } else {
            BTreeSet::new()
        };
        must(settle(&server, &others));
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        for address in &others {
            let found = nft.get_element(*address).expect("it can be read");
            let kept = found.is_some_and(|it| it.has_comment("somebody else's"));
            assert!(kept, "the element of somebody else for {address} was touched");
        }
        release_everything(&server);
        for address in &others {
            let found = nft.get_element(*address).expect("it can be read");
            assert!(
                found.is_some(),
                "the element of somebody else for {address} was removed"
            );
        }
        drop(nft.delete_present(&others.iter().copied().collect::<Vec<_>>()));
        let hit = !done.is_empty();
        self.kill(server);
        hit
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.random
            .within(Duration::from_millis(from), Duration::from_millis(to))
    }

    pub(crate) fn kill(&mut self, server: Server) {
        self.kills += 1;
        server.kill();
    }
}
