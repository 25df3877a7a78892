//! Builders of policies, playbooks and events, each with the values that most tests want.

use std::sync::Arc;

use staunch_model::{
    ActionKind, ContentHash, Context, Description, Endpoint, Event, Fact, Facts, IncidentOutcome, Match, MatchedStep,
    Mode, Modes, NotifyStep, OnFailure, Permissions, Phase, Playbook, PlaybookGuards, Policy, Protection, RiskClass,
    Severity, Span, Step, Target, Timestamp, TrafficShare, UndoClass,
};

/// The longest time in flight of the drivers here.
pub(crate) const LOCAL_IN_FLIGHT: Span = Span::from_millis(100);
/// See [`LOCAL_IN_FLIGHT`].
pub(crate) const REMOTE_IN_FLIGHT: Span = Span::from_secs(2);

pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
pub(crate) const LEASE: Span = Span::from_hours(1);

pub(crate) fn target(text: &str) -> Target {
    text.parse().unwrap()
}

/// The hash of the playbook called `name`.
pub(crate) fn hash(name: &str) -> ContentHash {
    ContentHash::of(name.as_bytes())
}

/// A playbook that enforces one step with a lease of an hour and tells people everything.
pub(crate) fn playbook(name: &str, adjust: impl FnOnce(&mut Playbook)) -> Playbook {
    let step = Step {
        phase: Phase::Contain,
        action: ActionKind::BlockIp,
        target: "event.source.ip".into(),
        lease: LEASE,
    };
    let mut playbook = Playbook {
        name: name.into(),
        summary: "A playbook for tests.".into(),
        hash: hash(name),
        attack: vec!["T1110".into()],
        deduplicate: Span::from_mins(10),
        context: vec![Context::TrafficShare],
        guards: PlaybookGuards {
            traffic_share_max_bp: Some(500),
            ..PlaybookGuards::default()
        },
        preserve: Vec::new(),
        steps: vec![step.clone(), step.clone(), step],
        notify: vec![NotifyStep {
            when: IncidentOutcome::ALL.to_vec(),
        }],
        modes: Modes {
            low: Mode::Enforce,
            medium: Mode::Enforce,
            high: Mode::Enforce,
        },
        on_failure: OnFailure::Rollback,
    };
    adjust(&mut playbook);
    playbook
}

pub(crate) fn modes(mode: Mode) -> Modes {
    Modes {
        low: mode,
        medium: mode,
        high: mode,
    }
}

/// A policy with the default limits, a local driver, and the playbooks `enforce`, `other`, `approve`, `observe` and
/// `keep`.
pub(crate) fn policy(adjust: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: vec![protection("198.51.100.0/24", "the office")],
        mode_max: Mode::Enforce,
        playbooks: vec![
            Arc::new(playbook("enforce", |_| {})),
            Arc::new(playbook("other", |_| {})),
            Arc::new(playbook("approve", |it| it.modes = modes(Mode::Approve))),
            Arc::new(playbook("observe", |it| it.modes = modes(Mode::Observe))),
            Arc::new(playbook("keep", |it| it.on_failure = OnFailure::Keep)),
        ],
        drivers: vec![driver()],
    };
    adjust(&mut policy);
    policy
}

/// Changes one playbook of `policy`.
pub(crate) fn adjust_playbook(policy: &mut Policy, name: &str, adjust: impl FnOnce(&mut Playbook)) {
    let playbook = policy.playbooks.iter_mut().find(|it| &*it.name == name).unwrap();
    adjust(Arc::make_mut(playbook));
}

pub(crate) fn protection(network: &str, reason: &str) -> Protection {
    Protection {
        network: network.parse().unwrap(),
        reason: reason.into(),
    }
}

pub(crate) fn driver() -> Description {
    Description {
        kind: ActionKind::BlockIp,
        driver: "memory".into(),
        risk: RiskClass::Low,
        undo: UndoClass::Owned,
        cuts_established: true,
        in_flight_max: LOCAL_IN_FLIGHT,
        d3fend: "D3-ITF".into(),
        permissions: Permissions {
            act: "none".into(),
            check: "none".into(),
            undo: "none".into(),
        },
        local: true,
    }
}

/// Makes the driver of `policy` a remote one, whose requests may land late.
pub(crate) fn remote(policy: &mut Policy) {
    policy.drivers[0].local = false;
    policy.drivers[0].in_flight_max = REMOTE_IN_FLIGHT;
}

pub(crate) fn event(time: Option<Timestamp>) -> Event {
    Event {
        system: "suricata".into(),
        id: Some("17".into()),
        time,
        received: time.unwrap_or(START),
        severity: Severity::High,
        signature: "ET SCAN brute force".into(),
        category: "attempted-user".into(),
        source: Endpoint {
            ip: Some("203.0.113.7".parse().unwrap()),
            port: Some(4_711),
        },
        destination: Endpoint {
            ip: Some("192.0.2.1".parse().unwrap()),
            port: Some(22),
        },
        user: None,
        host: Some("sensor-1".into()),
        raw: b"{}".as_slice().into(),
    }
}

/// A match of `playbook` with one step for each of `targets`; `-` is a step without a target.
pub(crate) fn matched(playbook: &str, key: &str, targets: &[&str]) -> Match {
    let step = |(at, ip): (usize, &&str)| MatchedStep {
        step: at as u16,
        target: (*ip != "-").then(|| target(ip)),
    };
    Match {
        playbook: hash(playbook),
        key: key.into(),
        preserve: Vec::new(),
        steps: targets.iter().enumerate().map(step).collect(),
    }
}

/// A traffic share of `flows` of 1,000 flows.
pub(crate) fn traffic(flows: u64) -> Facts {
    traffic_of(flows, 1_000)
}

pub(crate) fn traffic_of(flows: u64, flows_total: u64) -> Facts {
    let share = TrafficShare {
        flows,
        flows_total,
        bytes: None,
        bytes_total: None,
    };
    Facts {
        traffic: Some(Fact {
            value: Ok(share),
            source: "conntrack".into(),
            age: Span::ZERO,
        }),
    }
}

pub(crate) fn traffic_unknown(why: &str) -> Facts {
    Facts {
        traffic: Some(Fact {
            value: Err(why.into()),
            source: "conntrack".into(),
            age: Span::ZERO,
        }),
    }
}
