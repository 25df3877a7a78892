//! What happens in a run, as data: drawn from a seed, or written down for a test.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use staunch_model::{
    ActionKind, Aim, ContentHash, Context, EvidenceKind, EvidenceOptions, Found, IncidentOutcome, Mode, Modes,
    NotifyStep, OnFailure, Phase, Playbook, PlaybookGuards, Policy, PreserveStep, Process, Protection, RecoverStep,
    Span, Step, Target, TargetFacts, WatchPlan,
};

use crate::chance::Chance;
use crate::fault::{Fault, Rates};
use crate::world::{ON_A_MACHINE, WorldKind};

/// Something that happens outside the engine's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A source sends an event, perhaps several times.
    Event {
        /// The playbook it matches, by position in the policy.
        playbook: u8,
        /// Its key.
        key: u8,
        /// What its steps are aimed at, by number; `None` where it names nothing.
        targets: Vec<Option<u8>>,
        /// How old it is when it comes.
        age: Span,
        /// How often it comes.
        copies: u8,
    },
    /// An operator asks for something.
    Command(Order),
    /// The leader ends without a word, and starts again after a while.
    Crash {
        /// How long it is away.
        outage: Span,
        /// How many frames after the start it ends once more; 0 for never.
        again_after: u8,
    },
    /// The leader stands still.
    Pause(Span),
    /// The drift sweep reads the world.
    Sweep,
    /// Somebody else touches the world.
    Tamper(Tamper),
    /// The leader's machine has its clock set by so many microseconds.
    SetClock(i64),
    /// The disk has no room for new work, for so long.
    DiskFull(Span),
    /// The next sync fails.
    FailSync,
    /// Syncs take long, for so long.
    SlowSync(Span),
    /// The policy is replaced by another one of the run's.
    Policy(u8),
    /// The rules that act on what is in place are gone, for so long.
    Unenforced(Span),
    /// There is room for so many objects only, for so long.
    Crowded(u8, Span),
    /// The file of protected networks lists these places from here on.
    List(Vec<u8>),
    /// Health signals are unhealthy, or `None` unreadable, for so long.
    Health(Option<bool>, Span),
}

/// What an operator asks for. Transactions and incidents are told by a number that is taken modulo those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Release a transaction.
    Release(u64),
    /// Release what an incident holds.
    ReleaseIncident(u64),
    /// Release everything.
    ReleaseAll,
    /// Renew a transaction for so long.
    Renew(u64, Span),
    /// Approve a transaction.
    Approve(u64),
    /// Approve a transaction at the very moment at which the question lapses.
    ApproveLate(u64),
    /// Deny a transaction.
    Deny(u64),
    /// Set the mode.
    Mode(Mode),
    /// Protect a place for so long.
    Protect(u8, Span),
    /// Protect a place no longer.
    Unprotect(u8),
    /// Release a transaction, and trust its target for so long.
    ReleaseTrusting(u64, Span),
    /// Recover an incident.
    Recover(u64),
    /// Stop the recovery of an incident.
    StopRecovery(u64),
}

/// What somebody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// Removes what is at a place.
    Remove(u8),
    /// Puts something of theirs at a place, or in the place of ours.
    Replace(u8),
    /// Removes everything.
    Flush,
}

/// The process ends at a certain frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When the journal holds so many frames or more.
    pub frames: usize,
    /// How far that frame has come.
    pub when: When,
    /// How long the process is away.
    pub outage: Span,
}

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is written, and not synced.
    Written,
    /// It is synced, and nothing that follows from it has left.
    Synced,
    /// What follows from it has left.
    Sent,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What every draw during the run depends on.
    pub seed: u64,
    /// The kind of enforcement point.
    pub world: WorldKind,
    /// How many processes contend for the lead.
    pub replicas: u8,
    /// How often effects meet faults.
    pub rates: Rates,
    /// How often, in percent, an adversary undoes what was just done.
    pub adversary_percent: u8,
    /// How long a sync takes; zero for at once.
    pub sync: Span,
    /// Whether processes go by their machine's clock as it is, so that time may go back a little under the engine's feet.
    pub raw_clock: bool,
    /// The policies that the run changes between; the first holds at the start.
    pub policies: Vec<Arc<Policy>>,
    /// Where the leading process ends, in this order.
    pub cuts: Vec<Cut>,
    /// What happens, and when.
    pub happenings: Vec<(Span, Happening)>,
}

/// Addresses that events are about.
pub const PLACES: u8 = 14;

/// The target with this number in a world of this kind. Of the addresses, neighbours share a /24.
#[must_use]
pub fn place(world: WorldKind, number: u8) -> Target {
    let aim = match world {
        WorldKind::Kernel | WorldKind::Api | WorldKind::Cloud => Aim::Address,
        WorldKind::Machine(kind) => kind.aims_at(),
    };
    match aim {
        Aim::Address => Target::Address(address(number)),
        Aim::Process => Target::Process(process(number)),
        Aim::Account => ACCOUNTS[usize::from(number)].clone(),
        Aim::Host => HOSTS[usize::from(number)].clone(),
        Aim::Domain => DOMAINS[usize::from(number)].clone(),
        Aim::Job => JOBS[usize::from(number)].clone(),
    }
}

/// What stands for each number, made once.
type Each<T> = LazyLock<Vec<T>>;

static ACCOUNTS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("account:user-{number}"))));
static HOSTS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("host:host-{number}"))));
static DOMAINS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("domain:{number}.example"))));
static JOBS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("job:lock-door:{number}"))));

fn each<T>(make: impl FnMut(u8) -> T) -> Vec<T> {
    (0..=u8::MAX).map(make).collect()
}

fn named(text: &str) -> Target {
    text.parse().expect("it is a name")
}

/// The process with this number. The last could not be told from others; the two before it are protected.
#[must_use]
pub fn process(number: u8) -> Process {
    let pid = 4_000 + u32::from(number);
    if number == PLACES - 1 {
        return Process::unidentified(pid);
    }
    Process {
        pid,
        started: 153_452,
        boot: 7,
    }
}

/// What is found out about the target with this number, as hostile as it can be. Of the last nothing can be told.
#[must_use]
pub fn found(world: WorldKind, number: u8) -> Found {
    static FILES: Each<Box<str>> =
        LazyLock::new(|| each(|number| format!("/tmp/x\u{1b}[2J{number} of user 33").into()));
    let target = place(world, number);
    let facts = if number + 1 < PLACES {
        Ok(TargetFacts {
            what: FILES[usize::from(number)].clone(),
            protected: (number + 3 >= PLACES).then(|| "the way in \u{1b}[1m".into()),
        })
    } else {
        Err("it has ended \u{1b}[1m".into())
    };
    Found { target, facts }
}

/// The address with this number. The last two are protected by all policies.
#[must_use]
pub fn address(number: u8) -> IpAddr {
    let text = match number {
        12 => [198, 51, 100, 7],
        13 => [198, 51, 100, 8],
        number if number % 3 == 0 => [192, 0, 2, number],
        number => [203, 0, 113, number],
    };
    text.into()
}

/// The label of somebody else's object, as hostile as it can be.
pub const FOREIGN: &str = "fail2ban\u{1b}[2J\u{7}\r\n\u{202e}";

/// The keys of events, hostile ones among them.
#[must_use]
pub fn key(number: u8) -> Box<str> {
    static KEYS: Each<Box<str>> = LazyLock::new(|| {
        each(|number| {
            if number.is_multiple_of(5) {
                format!("key-{number}\u{1b}[31m\n<script>").into()
            } else {
                format!("key-{number}").into()
            }
        })
    });
    KEYS[usize::from(number)].clone()
}

/// The playbooks of [`policy`] that all runs have events for, by position.
pub const PLAYBOOKS: u8 = 6;

/// A playbook that acts without preserving anything.
pub(crate) const ACTS_AT_ONCE: usize = 1;

/// The playbook that preserves before it acts.
pub(crate) const PRESERVES: usize = 5;

/// The playbook with a recover phase.
const RECOVERS: u8 = PLAYBOOKS;

fn playbook(world: WorldKind, name: &str, lease: Span, adjust: impl FnOnce(&mut Playbook)) -> Arc<Playbook> {
    let step = Step {
        phase: Phase::Contain,
        action: world.action(),
        target: "event.source.ip".into(),
        lease,
    };
    let all = |mode| Modes {
        low: mode,
        medium: mode,
        high: mode,
    };
    let mut playbook = Playbook {
        name: name.into(),
        summary: "A playbook of the simulator.".into(),
        hash: ContentHash::of(format!("{name} {lease}").as_bytes()),
        attack: Vec::new(),
        deduplicate: Span::from_mins(10),
        context: vec![Context::NeverTouch],
        guards: PlaybookGuards::default(),
        preserve: Vec::new(),
        steps: vec![step.clone(), step.clone(), step],
        notify: vec![NotifyStep {
            when: IncidentOutcome::ALL.to_vec(),
        }],
        modes: all(Mode::Enforce),
        on_failure: OnFailure::Rollback,
    };
    match name {
        "approve" => playbook.modes = all(Mode::Approve),
        "observe" => playbook.modes = all(Mode::Observe),
        "keep" => playbook.on_failure = OnFailure::Keep,
        _ => {}
    }
    adjust(&mut playbook);
    Arc::new(playbook)
}

/// A policy of the simulator: one playbook for each way of going on, the last with evidence to preserve. `variant` turns
/// its limits, leases and protected networks.
#[must_use]
pub fn policy(world: WorldKind, variant: u8) -> Policy {
    let lease = [Span::from_hours(1), Span::from_secs(40)][usize::from(variant & 1)];
    let tight = variant & 2 != 0;
    let mut limits = staunch_engine::limits::DEFAULT;
    limits.approval_expiry = Span::from_secs(30);
    // Wide enough that most runs have failures without opening the breaker at once.
    limits.breaker_failures = if tight { 3 } else { 12 };
    if tight {
        limits.acts_per_group_hour_max = 4;
        limits.acts_per_action_hour_max = 9;
        limits.acts_per_hour_max = 9;
        limits.actions_in_flight_max = 2;
    }
    let mut never_touch = vec![Protection {
        network: "198.51.100.0/24".parse().expect("a network"),
        reason: "the office \u{1b}[1m".into(),
    }];
    if variant & 4 != 0 {
        never_touch.push(Protection {
            network: "203.0.113.2/32".parse().expect("a network"),
            reason: "newly protected".into(),
        });
    }
    let preserve = |it: &mut Playbook| {
        let step = |evidence| PreserveStep {
            evidence,
            target: "event.source.ip".into(),
            options: EvidenceOptions::default(),
            deadline: Span::from_secs(5),
        };
        // One that the act can destroy, where there is such a kind, and one that no act can: containment waits for the first.
        let kind = world.describe().kind;
        let first = EvidenceKind::ALL.into_iter().find(|it| it.is_destroyed_by(kind));
        it.preserve = vec![step(first.unwrap_or(EvidenceKind::Flows)), step(EvidenceKind::Files)];
    };
    // The first step is watched, the third is an act of the recovery.
    let recovers = |it: &mut Playbook| {
        let watch = |lasts| WatchPlan {
            signal: "shop".into(),
            lasts: Span::from_secs(lasts),
            every: Span::from_secs(1),
        };
        it.steps[2].phase = Phase::Recover;
        it.context.extend([
            Context::Watched {
                step: 0,
                watch: watch(20),
            },
            Context::Recover(RecoverStep::Act { step: 2 }),
            Context::Recover(RecoverStep::Release { kinds: Vec::new() }),
            Context::Recover(RecoverStep::Soak {
                watch: watch(8),
                back: true,
            }),
        ]);
    };
    // Short enough after a short lease that targets come back within it and after it.
    let grow = |it: &mut Playbook, lease: Span| {
        for step in 0..3 {
            it.context.extend([
                Context::LeaseThen {
                    step,
                    lease: lease + lease,
                },
                Context::LeaseThen {
                    step,
                    lease: lease + lease + lease,
                },
                Context::ReturnsWithin {
                    step,
                    within: Span::from_mins(2),
                },
            ]);
        }
    };
    Policy {
        limits,
        never_touch,
        mode_max: Mode::Enforce,
        playbooks: vec![
            playbook(world, "enforce", lease, |it| {
                if tight {
                    it.guards.acts_per_hour_max = 5;
                }
            }),
            playbook(world, "other", lease, |it| grow(it, lease)),
            playbook(world, "approve", lease, |_| {}),
            playbook(world, "observe", lease, |_| {}),
            playbook(world, "keep", lease, |_| {}),
            playbook(world, "preserve", lease, preserve),
            playbook(world, "recover", lease, recovers),
        ],
        drivers: vec![world.describe()],
    }
}

static POLICIES: LazyLock<Vec<Arc<Policy>>> = LazyLock::new(|| {
    let worlds = [WorldKind::Kernel, WorldKind::Api, WorldKind::Cloud];
    let worlds = worlds.into_iter().chain(ON_A_MACHINE.map(WorldKind::Machine));
    let all = worlds.flat_map(|world| (0..8).map(move |variant| Arc::new(policy(world, variant))));
    all.collect()
});

impl Scenario {
    /// Draws a run from `seed`: about twenty transactions, and everything that can go wrong with them.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::at(seed, &[0]);
        let chance = &mut chance;
        let world = chance.pick(&[WorldKind::Kernel, WorldKind::Kernel, WorldKind::Api, WorldKind::Cloud]);
        let world = if world == WorldKind::Kernel && is_on_a_machine(seed) {
            // Of a draw of its own, so that it changes nothing else; most of them freeze.
            let kind = Chance::at(seed, &[10]).below(8);
            let kind = ON_A_MACHINE.get(usize::try_from(kind).expect("small"));
            WorldKind::Machine(kind.copied().unwrap_or(ActionKind::FreezeProcess))
        } else {
            world
        };
        let known = |variant: u64| {
            let world = match world {
                WorldKind::Kernel => 0,
                WorldKind::Api => 8,
                WorldKind::Cloud => 16,
                WorldKind::Machine(kind) => {
                    let at = ON_A_MACHINE.iter().position(|it| *it == kind);
                    24 + 8 * at.expect("it is one of them")
                }
            };
            POLICIES[world + usize::try_from(variant).expect("small")].clone()
        };
        let policies = vec![known(chance.below(8)), known(chance.below(8))];
        let replicas = if chance.percent(20) {
            2 + u8::from(chance.percent(30))
        } else {
            1
        };
        let sync_us = chance.pick(&[0, 0, 0, 100, 2_000, 40_000]);
        let adversary_percent = match world {
            WorldKind::Cloud => 20,
            WorldKind::Kernel | WorldKind::Api | WorldKind::Machine(_) => 0,
        };
        let mut happenings = Vec::with_capacity(48);
        let mut at = Span::ZERO;
        for _ in 0..18 + chance.below(8) {
            at = at
                + Span::from_micros(match chance.below(10) {
                    0..=3 => chance.below(2_000),
                    4..=6 => chance.below(300_000),
                    7 | 8 => chance.below(8_000_000),
                    _ => chance.below(45_000_000),
                });
            happenings.push((at, happening(chance)));
        }
        more_events(seed, at, &mut happenings);
        exemptions(seed, at, &mut happenings);
        lists(seed, at, &mut happenings);
        recoveries(seed, at, &mut happenings);
        Self {
            seed,
            world,
            replicas,
            rates: rates(chance),
            adversary_percent,
            sync: Span::from_micros(sync_us),
            raw_clock: replicas == 1 && chance.percent(5),
            policies,
            cuts: Vec::new(),
            happenings,
        }
    }
}

/// In one of four runs in a kernel, which acts on what the machine has of its own instead of blocking addresses. Drawn by itself, so that it
/// changes nothing about the other runs.
fn is_on_a_machine(seed: u64) -> bool {
    Chance::at(seed, &[8]).percent(25)
}

/// Further events among what happens, so that there are about twenty transactions. Drawn by themselves, so that they change
/// nothing about what else a seed means.
fn more_events(seed: u64, end: Span, happenings: &mut Vec<(Span, Happening)>) {
    let mut chance = Chance::at(seed, &[9]);
    for _ in 0..5 + chance.below(5) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        happenings.push((at, event(&mut chance)));
    }
    happenings.sort_by_key(|(at, _)| *at);
}

/// In one of four runs people protect targets and trust what they release. Drawn by itself, so that it changes nothing
/// about the other runs.
fn exemptions(seed: u64, end: Span, happenings: &mut Vec<(Span, Happening)>) {
    let mut chance = Chance::at(seed, &[1]);
    if !chance.percent(25) {
        return;
    }
    for _ in 0..1 + chance.below(4) {
        let lasts = Span::from_micros(chance.pick(&[2_000, 3_000_000, 60_000_000, 7_200_000_000]));
        let order = match chance.below(8) {
            0..=3 => Order::Protect(number(&mut chance), lasts),
            4 => Order::Unprotect(number(&mut chance)),
            _ => Order::ReleaseTrusting(chance.below(20), lasts),
        };
        happenings.push((
            Span::from_micros(chance.below(1 + end.as_micros())),
            Happening::Command(order),
        ));
    }
    happenings.sort_by_key(|(at, _)| *at);
}

/// In one of four runs a file lists protected targets, and others later. Drawn by itself, too.
fn lists(seed: u64, end: Span, happenings: &mut Vec<(Span, Happening)>) {
    let mut chance = Chance::at(seed, &[2]);
    if !chance.percent(25) {
        return;
    }
    for _ in 0..1 + chance.below(3) {
        let places = (0..chance.below(4)).map(|_| number(&mut chance)).collect();
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        happenings.push((at, Happening::List(places)));
    }
    happenings.sort_by_key(|(at, _)| *at);
}

/// In one of four runs there are incidents that are watched and recovered from, and the business is not always well. Drawn by
/// itself, too.
fn recoveries(seed: u64, end: Span, happenings: &mut Vec<(Span, Happening)>) {
    let mut chance = Chance::at(seed, &[11]);
    if !chance.percent(25) {
        return;
    }
    for _ in 0..1 + chance.below(3) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        let incident = Happening::Event {
            playbook: RECOVERS,
            key: number(&mut chance),
            targets: (0..3).map(|_| Some(number(&mut chance))).collect(),
            age: Span::from_micros(chance.below(2_000_000)),
            copies: 1,
        };
        happenings.push((at, incident));
        // The incident has a number that nobody knows beforehand: several are tried.
        for _ in 0..2 + chance.below(6) {
            let after = Span::from_micros(chance.below(60_000_000));
            let which = chance.below(20);
            let order = if chance.percent(10) {
                Order::StopRecovery(which)
            } else {
                Order::Recover(which)
            };
            happenings.push((at + after, Happening::Command(order)));
        }
    }
    for _ in 0..1 + chance.below(4) {
        let at = Span::from_micros(chance.below(1 + end.as_micros() + 30_000_000));
        let healthy = (!chance.percent(25)).then_some(false);
        let lasts = Span::from_micros(chance.pick(&[500_000, 4_000_000, 30_000_000]));
        happenings.push((at, Happening::Health(healthy, lasts)));
    }
    happenings.sort_by_key(|(at, _)| *at);
}

/// Rates of faults: a few classes at a time, so that each meets calm company too.
fn rates(chance: &mut Chance) -> Rates {
    let mut rates = Rates::NONE;
    let level = chance.pick(&[0, 100, 300, 1_000, 3_000]);
    let classes = 1 + chance.below(8);
    for _ in 0..classes {
        let class = usize::try_from(chance.below(Fault::OF_EFFECTS as u64)).expect("small");
        let rate = level / classes + chance.below(1 + level / 4);
        rates.0[class] = u16::try_from(rate).unwrap_or(u16::MAX);
    }
    rates
}

fn happening(chance: &mut Chance) -> Happening {
    match chance.below(100) {
        0..=54 => event(chance),
        55..=66 => Happening::Command(order(chance)),
        67..=72 => Happening::Crash {
            outage: Span::from_micros(chance.pick(&[0, 1_000, 400_000, 15_000_000])),
            again_after: if chance.percent(30) {
                u8::try_from(1 + chance.below(4)).expect("small")
            } else {
                0
            },
        },
        73..=76 => Happening::Pause(Span::from_micros(
            chance.pick(&[50_000, 3_000_000, 12_000_000, 30_000_000]),
        )),
        77..=83 => Happening::Sweep,
        84..=87 => Happening::Tamper(match chance.below(5) {
            0 => Tamper::Flush,
            1 | 2 => Tamper::Replace(number(chance)),
            _ => Tamper::Remove(number(chance)),
        }),
        88 | 89 => {
            let span = i64::try_from(chance.pick(&[300_000_u64, 90_000_000, 5_000_000_000])).expect("small");
            Happening::SetClock(if chance.percent(50) { span } else { -span })
        }
        90 => Happening::DiskFull(Span::from_micros(chance.below(5_000_000))),
        91 => Happening::FailSync,
        92 | 93 => Happening::SlowSync(Span::from_micros(chance.below(3_000_000))),
        94 | 95 => Happening::Policy(u8::try_from(chance.below(2)).expect("small")),
        96 | 97 => Happening::Unenforced(Span::from_micros(chance.below(20_000_000))),
        _ => Happening::Crowded(
            u8::try_from(chance.below(4)).expect("small"),
            Span::from_micros(chance.below(20_000_000)),
        ),
    }
}

fn number(chance: &mut Chance) -> u8 {
    u8::try_from(chance.below(u64::from(PLACES))).expect("small")
}

fn event(chance: &mut Chance) -> Happening {
    let targets = (0..1 + chance.below(3))
        .map(|_| (!chance.percent(4)).then(|| number(chance)))
        .collect();
    Happening::Event {
        playbook: u8::try_from(chance.below(u64::from(PLAYBOOKS))).expect("small"),
        key: number(chance),
        targets,
        age: match chance.below(30) {
            0 => Span::from_mins(16),
            1 => Span::from_mins(14),
            _ => Span::from_micros(chance.below(2_000_000)),
        },
        copies: if chance.percent(8) { 12 } else { 1 },
    }
}

fn order(chance: &mut Chance) -> Order {
    let which = chance.below(20);
    match chance.below(16) {
        0..=2 => Order::Release(which),
        3 => Order::ReleaseIncident(which),
        4 => Order::ReleaseAll,
        5 | 6 => Order::Renew(
            which,
            Span::from_micros(chance.pick(&[1_000_000, 7_200_000_000, 400_000_000_000])),
        ),
        7..=10 => Order::Approve(which),
        11 | 12 => Order::ApproveLate(which),
        13 => Order::Deny(which),
        _ => Order::Mode(chance.pick(&[Mode::Observe, Mode::Approve, Mode::Enforce, Mode::Enforce])),
    }
}
