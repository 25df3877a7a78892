//! What happens outside: sources, operators, sweeps, somebody else, disks and clocks.

use std::sync::Arc;

use ipnet::IpNet;
use staunch_engine::lists::{List, changes};
use staunch_model::{Known, ListedNetwork, Reputation, Score, Standing, Target};

use super::*;
use crate::world::Place;

/// How long a sweep takes that reads all at once.
const SWEEP: Span = Span::from_millis(3);

/// The file of protected networks.
const LIST: &str = "/etc/listed";

impl Sim<'_> {
    pub(super) fn happen(&mut self, happening: &Happening) {
        if self.quiet {
            return;
        }
        self.say(|| format!("{happening:?}"));
        match happening {
            Happening::Event {
                playbook,
                key: number,
                targets,
                dated,
                copies,
            } => {
                if *copies > 1 {
                    self.counts.add(Fault::Storm);
                }
                for copy in 0..*copies {
                    // Some of a storm are nearly the same.
                    let number = if copy % 4 == 3 { number.wrapping_add(1) } else { *number };
                    self.event(*playbook, number, targets, *dated);
                }
            }
            Happening::Command(Order::ApproveLate(which)) => self.approve_late(*which),
            Happening::Command(order) => {
                let command = self.command_of(*order);
                self.command(command);
            }
            Happening::Crash { outage, again_after } => {
                if let Some(leader) = self.leader() {
                    self.counts.add(Fault::Crash);
                    self.crash(leader, *outage, *again_after);
                }
            }
            Happening::Pause(span) => {
                if let Some(leader) = self.leader() {
                    self.counts.add(Fault::Paused);
                    self.replicas[leader].paused_since = self.now;
                    self.replicas[leader].paused_until = self.now + *span;
                    self.call_others(leader);
                }
            }
            Happening::Sweep => self.sweep(),
            Happening::SweepInVain => {
                self.counts.add(Fault::SweepFailed);
                let failure = Failure::new(FailureKind::Unavailable, "nobody answers\u{7}");
                self.read_by_sweep(Err(failure), false);
            }
            Happening::Tamper(tamper) => {
                self.counts.add(Fault::Tampered);
                match tamper {
                    Tamper::Remove(number) => self.world.tamper(self.place_of(*number), None, self.now),
                    Tamper::Replace(number) => {
                        let theirs = Some(Owner::Foreign(FOREIGN.into()));
                        self.world.tamper(self.place_of(*number), theirs, self.now);
                    }
                    Tamper::Flush => self.world.flush(self.now),
                }
            }
            Happening::SetClock(us) => {
                if let Some(leader) = self.leader() {
                    self.counts
                        .add(if *us > 0 { Fault::ClockForward } else { Fault::ClockBack });
                    // Between processes, clocks differ by less than the margins; that is what a lease needs. Without a
                    // steady clock the engine's own margins are all there is.
                    let narrow = self.replicas.len() > 1 || self.scenario.raw_clock;
                    let clock = &mut self.replicas[leader].clock;
                    clock.ahead_us = clock.ahead_us.saturating_add(*us);
                    if narrow {
                        clock.ahead_us = clock.ahead_us.clamp(-150_000, 150_000);
                    }
                }
            }
            Happening::DiskFull(span) => {
                self.counts.add(Fault::DiskFull);
                self.full_until = self.now + *span;
            }
            Happening::FailSync => self.fail_sync = true,
            Happening::SlowSync(span) => {
                self.counts.add(Fault::SyncSlow);
                self.slow_until = self.now + *span;
            }
            Happening::Policy(which) => {
                if let Some(leader) = self.leader() {
                    let policy = &self.scenario.policies[usize::from(*which) % self.scenario.policies.len()];
                    if self.replicas[leader].engine.state().policy.as_ref() != Some(policy) {
                        self.input(leader, Input::Policy(policy.clone()), false);
                    }
                }
            }
            Happening::List(places) => {
                if let Some(leader) = self.leader() {
                    let line = |number: &u8| ListedNetwork {
                        network: network(*number),
                        line: u32::from(*number),
                        reason: None,
                    };
                    let after = List::new("listed", places.iter().map(line));
                    let before = self.replicas[leader].engine.state().lists.get(LIST);
                    for part in changes(LIST, before, Some(&after)) {
                        self.input(leader, Input::Listed(Arc::new(part)), false);
                    }
                }
            }
            Happening::Said(number, said) => {
                if let Some(leader) = self.leader() {
                    let now = self.replicas[leader].clock.read(self.now);
                    self.feeds.insert(*number, standing(*number, *said, now));
                }
            }
            Happening::RiskTable(is_usual) => {
                if let Some(leader) = self.leader() {
                    self.input(leader, Input::Risk(risk_table(*is_usual)), false);
                }
            }
            Happening::Unenforced(span) => {
                self.counts.add(Fault::Unenforced);
                self.world.enforcing = false;
                self.later(self.now + *span, Item::Enforce);
            }
            Happening::Health(healthy, span) => {
                self.healthy = *healthy;
                self.later(self.now + *span, Item::Healthy);
            }
            Happening::Crowded(room, span) => {
                self.counts.add(Fault::Crowded);
                self.world.capacity_max = u64::from(*room);
                self.later(self.now + *span, Item::Room);
            }
        }
    }

    pub(super) fn event(&mut self, playbook: u8, number: u8, targets: &[Option<u8>], dated: Dated) {
        let Some(leader) = self.leader().filter(|_| self.now >= self.full_until) else {
            return;
        };
        let policy = &self.scenario.policies[0];
        let state = self.replicas[leader].engine.state();
        let policy = state.policy.as_ref().unwrap_or(policy).clone();
        let at = usize::from(playbook) % policy.playbooks.len();
        // Some match two playbooks: one that acts at once, and one that preserves first.
        let also = (at == ACTS_AT_ONCE && number.is_multiple_of(3)).then_some(PRESERVES);
        let playbooks = std::iter::once(at)
            .chain(also)
            .filter_map(|at| policy.playbooks.get(at));
        let received = self.replicas[leader].clock.machine(self.now);
        let event = Event {
            system: "simulated".into(),
            id: None,
            time: match dated {
                Dated::Ago(span) => Some(received - span),
                Dated::Ahead(span) => Some(received + span),
                Dated::Never => None,
            },
            received,
            severity: Severity::High,
            signature: "SIM\u{1b}[0m".into(),
            category: "".into(),
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: b"{}".as_slice().into(),
        };
        let kind = self.world.kind();
        if matches!(kind, WorldKind::Machine(_)) {
            for number in targets.iter().copied().flatten() {
                self.input(leader, Input::Found(found(kind, number)), false);
            }
        }
        if self.scenario.asks_feeds {
            for number in targets.iter().copied().flatten() {
                let known = Known {
                    target: place(kind, number),
                    standing: self.feeds.get(&number).cloned().unwrap_or(Ok(None)),
                };
                self.input(leader, Input::Known(known), false);
            }
        }
        let step = |(at, number): (usize, &Option<u8>)| MatchedStep {
            step: u16::try_from(at).unwrap_or(u16::MAX),
            target: number.map(|number| place(kind, number)),
        };
        let matched = |playbook: &Arc<staunch_model::Playbook>| Match {
            playbook: playbook.hash,
            key: key(number),
            preserve: targets
                .iter()
                .enumerate()
                .map(step)
                .take(playbook.preserve.len())
                .collect(),
            steps: targets.iter().enumerate().map(step).collect(),
        };
        let input = Input::Event {
            event: Arc::new(event),
            matches: playbooks.map(matched).collect(),
        };
        self.input(leader, input, true);
    }

    pub(super) fn command_of(&self, order: Order) -> Command {
        let state = self.leader().map(|at| self.replicas[at].engine.state());
        let modulo = |last: u64, which: u64| 1 + which % last.max(1);
        let transaction = |which| TransactionId(modulo(state.map_or(0, |it| it.last_transaction), which));
        let incident = |which| IncidentId(modulo(state.map_or(0, |it| it.last_incident), which));
        match order {
            Order::Release(which) => Command::Release(ReleaseScope::Transaction(transaction(which))),
            Order::ReleaseIncident(which) => Command::Release(ReleaseScope::Incident(incident(which))),
            Order::ReleaseAll => Command::Release(ReleaseScope::All),
            Order::Renew(which, lease) => Command::Renew {
                transaction: transaction(which),
                lease,
                shorten: which % 2 == 0,
            },
            Order::Approve(which) | Order::ApproveLate(which) => {
                Command::Approve(self.awaiting(which).unwrap_or_else(|| transaction(which)))
            }
            Order::Deny(which) => Command::Deny(self.awaiting(which).unwrap_or_else(|| transaction(which))),
            Order::Mode(mode) => Command::SetMode(mode),
            Order::Protect(number, lasts) => Command::Protect {
                network: network(number),
                lasts: Some(lasts),
            },
            Order::ProtectAround(number, lasts) => Command::Protect {
                network: around(number),
                lasts: Some(lasts),
            },
            Order::Unprotect(number) => Command::Unprotect {
                network: network(number),
            },
            Order::Recover(which) => Command::Recover(incident(which)),
            Order::StopRecovery(which) => Command::StopRecovery(incident(which)),
            Order::ReleaseTrusting(which, trust) => Command::ReleaseTrusting {
                scope: if which % 3 == 0 {
                    ReleaseScope::Incident(incident(which))
                } else {
                    ReleaseScope::Transaction(transaction(which))
                },
                trust,
            },
        }
    }

    /// One of the transactions that wait for a person.
    pub(super) fn awaiting(&self, which: u64) -> Option<TransactionId> {
        let state = self.replicas[self.leader()?].engine.state();
        let waiting = state
            .transactions
            .values()
            .filter(|it| it.state.kind() == StateKind::AwaitingApproval);
        let waiting: Vec<_> = waiting.map(|it| it.id).collect();
        let at = which.checked_rem(waiting.len() as u64)?;
        waiting.get(usize::try_from(at).ok()?).copied()
    }

    /// An approval comes at the very moment at which its question lapses.
    pub(super) fn approve_late(&mut self, which: u64) {
        let (Some(leader), Some(id)) = (self.leader(), self.awaiting(which)) else {
            return;
        };
        let it = &self.replicas[leader];
        if let Some(waiting) = it.engine.state().transactions.get(&id) {
            let at = it.clock.when(waiting.deadline, self.now);
            self.later(at, Item::Command(Box::new(Command::Approve(id))));
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        if let Some(leader) = self.leader() {
            let by = Operator {
                name: "ann".into(),
                from: "192.0.2.9".into(),
                reason: "because\u{7}".into(),
            };
            self.input(leader, Input::Operator { by, command }, false);
        }
    }

    pub(super) fn sweep(&mut self) {
        let half = !self.quiet && self.scenario.sweep_takes > Span::ZERO;
        let owned = self.world.owned().map(|(label, (_, target))| (label, target));
        let read = owned.filter(|(label, _)| !half || is_read_first(*label));
        self.read_by_sweep(Ok((read.collect(), self.world.enforcing)), half);
    }

    /// Reads what a sweep has not read when it began.
    pub(super) fn read_rest(&self, reading: &mut Reading) {
        let owned = self.world.owned().map(|(label, (_, target))| (label, target));
        if let Ok((objects, enforcing)) = &mut reading.found {
            objects.extend(owned.filter(|(label, _)| !is_read_first(*label)));
            *enforcing &= self.world.enforcing;
            let unread = objects.extract_if(.., |(label, _)| is_unreadable(*label));
            let why = Failure::new(FailureKind::Unavailable, "it cannot be looked at\u{1b}[2K");
            reading.unread.extend(unread.map(|(_, target)| (target, why.clone())));
        }
    }

    /// A sweep of `replica` has read the world.
    pub(super) fn swept(&mut self, replica: usize, reading: Reading) {
        let readings = [reading];
        let findings = compare(self.replicas[replica].engine.state(), &readings);
        let [reading] = &readings;
        if !findings.vanished.is_empty() || !findings.orphans.is_empty() || !reading.unread.is_empty() {
            self.judge();
            let now = self.replicas[replica].clock.read(self.now);
            if let Err((invariant, what)) = self.model.swept(&findings, reading, now) {
                self.fail(invariant, what);
            }
        }
        self.input(replica, Input::Swept(findings), false);
    }

    fn read_by_sweep(&mut self, found: Result<(Vec<(TransactionId, Target)>, bool), Failure>, half: bool) {
        if let Some(leader) = self.leader() {
            let begun = self.replicas[leader].clock.read(self.now);
            let reading = Reading {
                kind: self.world.kind().action(),
                begun,
                found,
                unread: Vec::new(),
            };
            let item = Item::Swept {
                replica: leader,
                life: self.replicas[leader].life,
                reading: Box::new(reading),
                half,
            };
            let takes = if half { self.scenario.sweep_takes } else { SWEEP };
            self.later(self.now + takes, item);
        }
    }

    pub(super) fn adversary(&mut self, label: TransactionId, _: u8) {
        let place = self
            .world
            .owned()
            .find(|(owner, _)| *owner == label)
            .map(|(_, place)| place);
        if let (Some(place), false) = (place, self.quiet) {
            self.counts.add(Fault::Tampered);
            self.say(|| format!("the adversary removes what {label} put in place"));
            self.world.tamper(place, None, self.now);
        }
    }

    fn place_of(&self, number: u8) -> Place {
        let world = self.world.kind();
        (world.action(), place(world, number))
    }
}

/// What is known of a place of which feeds say `said` at `now`.
fn standing(number: u8, said: Said, now: Timestamp) -> Standing {
    match said {
        Said::Unknown => Err("the feed cannot be read\u{1b}[1m".into()),
        Said::Unnamed => Ok(None),
        Said::Named(thousandths, lasts) => Ok(Some(Reputation {
            score: Score::from_thousandths(thousandths),
            confidence: 80,
            feed: "bad\u{1b}[2J".into(),
            network: network(number),
            label: "\u{7}".into(),
            as_of: now,
            expires: now + lasts,
        })),
    }
}

/// Whether a sweep that takes its time cannot look at what carries `label`.
const fn is_unreadable(label: TransactionId) -> bool {
    label.0 % 5 == 3
}

/// Whether a sweep that takes its time reads what carries `label` when it begins.
const fn is_read_first(label: TransactionId) -> bool {
    label.0.is_multiple_of(2)
}

fn network(number: u8) -> IpNet {
    address(number).into()
}

/// The network of a place and its neighbours.
fn around(number: u8) -> IpNet {
    let address = address(number);
    let bits = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, bits).expect("as long as may be").trunc()
}
