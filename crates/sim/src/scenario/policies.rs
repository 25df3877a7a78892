//! Under which policy a run goes: its playbooks, limits and protected networks.
//!
//! Never drawn: the seed only picks among the variants that there are.

use std::sync::{Arc, LazyLock};

use staunch_model::{
    ContentHash, Context, EvidenceKind, IncidentOutcome, Mode, Modes, NotifyStep, OnFailure, Phase, Playbook,
    PlaybookGuards, Policy, PreserveStep, Protection, RecoverStep, Span, Step, WatchPlan,
};

use super::grounds::Grounds;
use crate::world::{ON_A_MACHINE, WorldKind};

/// The playbooks of [`policy`] that all runs have events for, by position.
pub const PLAYBOOKS: u8 = 6;

/// A playbook that acts without preserving anything.
pub(crate) const ACTS_AT_ONCE: usize = 1;

/// The playbook that preserves before it acts.
pub(crate) const PRESERVES: usize = 5;

/// The playbook with a recover phase.
pub(super) const RECOVERS: u8 = PLAYBOOKS;

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

/// A policy of the simulator: one playbook for each way of going on, the last with evidence to preserve. `variant`
/// turns its limits, leases and protected networks.
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
    let office = |network: &str| Protection {
        network: network.parse().expect("a network"),
        reason: "the office \u{1b}[1m".into(),
    };
    let mut never_touch = vec![office("::ffff:198.51.100.9/120"), office("2001:db8:2::9/48")];
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
            options: Box::default(),
            deadline: Span::from_secs(5),
        };
        // One that the act can destroy, where there is such a kind, and one that no act can: containment waits for the
        // first.
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

/// The policies of all worlds, each made once.
static POLICIES: LazyLock<Vec<Arc<Policy>>> = LazyLock::new(|| {
    let all = worlds().flat_map(|world| {
        let variants = move |grounds: Grounds| (0..VARIANTS).map(move |it| grounds.added_to(policy(world, it)));
        Grounds::ALL.into_iter().flat_map(variants)
    });
    all.map(Arc::new).collect()
});

/// The variants of [`policy`].
const VARIANTS: u8 = 8;

fn worlds() -> impl Iterator<Item = WorldKind> {
    let elsewhere = [WorldKind::Kernel, WorldKind::Limiter, WorldKind::Api, WorldKind::Cloud];
    elsewhere.into_iter().chain(ON_A_MACHINE.map(WorldKind::Machine))
}

/// The policy of `world` with this number, under which acts are judged by `grounds` too.
///
/// # Panics
/// When there are fewer variants.
pub(super) fn known(world: WorldKind, grounds: Grounds, variant: u8) -> Arc<Policy> {
    assert!(variant < VARIANTS, "there are {VARIANTS} variants");
    let world = worlds().position(|it| it == world).expect("it is one of them");
    let at = (world * Grounds::ALL.len() + grounds as usize) * usize::from(VARIANTS) + usize::from(variant);
    POLICIES[at].clone()
}
