//! The world outside: an enforcement point of one of three kinds, true to the contract of drivers.
//!
//! Owned: it removes only what carries the label asked for. Conditional: it refuses an act on a world that has moved.
//! Idempotent: a second act under the same label changes nothing. Whatever is done to somebody else's object by us is
//! kept in [`World::damage`].

use std::collections::BTreeMap;

use staunch_engine::mutant::{Mutant, is};
use staunch_model::{
    ActionKind, Capacity, Description, Failure, FailureKind, Observation, Outcome, Owner, Permissions, Presence,
    RiskClass, Span, Target, Timestamp, TransactionId, UndoClass,
};

/// A kind of enforcement point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldKind {
    /// A kernel: answers at once, and counts down by itself.
    Kernel,
    /// The same, where addresses are limited and not blocked.
    Limiter,
    /// A remote API: throttles, is conditional on a version, and does not count down.
    Api,
    /// A remote API that shows changes a while later, where an adversary undoes what is done.
    Cloud,
    /// What a machine has of its own, its processes, accounts and the like, where this is done: it answers at once, and
    /// goes on until it is told otherwise.
    Machine(ActionKind),
}

/// What is done in worlds of the kind [`WorldKind::Machine`].
pub const ON_A_MACHINE: [ActionKind; 6] = [
    ActionKind::FreezeProcess,
    ActionKind::KillProcess,
    ActionKind::IsolateHost,
    ActionKind::LockAccount,
    ActionKind::SinkholeDomain,
    ActionKind::ExecJob,
];

impl WorldKind {
    /// The longest time between sending a request and its last effect that can be seen.
    #[must_use]
    pub const fn in_flight_max(self) -> Span {
        match self {
            Self::Kernel | Self::Limiter | Self::Machine(_) => Span::from_millis(100),
            Self::Api => Span::from_secs(2),
            Self::Cloud => Span::from_secs(4),
        }
    }

    /// How long a change may stay unseen.
    #[must_use]
    pub const fn lag_max(self) -> Span {
        match self {
            Self::Kernel | Self::Limiter | Self::Api | Self::Machine(_) => Span::ZERO,
            Self::Cloud => Span::from_millis(1_500),
        }
    }

    /// The longest time a request may be under way before it lands.
    #[must_use]
    pub const fn transit_max(self) -> Span {
        Span::from_micros(self.in_flight_max().as_micros() - self.lag_max().as_micros())
    }

    /// Whether it is on the machine itself.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Kernel | Self::Limiter | Self::Machine(_))
    }

    /// Whether what is in place there ends by itself.
    #[must_use]
    pub const fn counts_down(self) -> bool {
        matches!(self, Self::Kernel | Self::Limiter)
    }

    /// What is done there.
    #[must_use]
    pub const fn action(self) -> ActionKind {
        match self {
            Self::Kernel | Self::Api | Self::Cloud => ActionKind::BlockIp,
            Self::Limiter => ActionKind::RateLimitIp,
            Self::Machine(kind) => kind,
        }
    }

    /// What its driver says of itself.
    #[must_use]
    pub fn describe(self) -> Description {
        Description {
            risk: RiskClass::Low,
            ..self.describe_as(self.action())
        }
    }

    /// What its driver for actions of `kind` says of itself, with the risk of the real one.
    #[must_use]
    pub fn describe_as(self, kind: ActionKind) -> Description {
        let (risk, d3fend) = match kind {
            ActionKind::BlockIp | ActionKind::RateLimitIp => (RiskClass::Low, "D3-ITF"),
            ActionKind::FreezeProcess => (RiskClass::Medium, "D3-PS"),
            ActionKind::KillProcess => (RiskClass::High, "D3-PT"),
            ActionKind::IsolateHost => (RiskClass::High, "D3-NI"),
            ActionKind::LockAccount => (RiskClass::Medium, "D3-AL"),
            ActionKind::SinkholeDomain => (RiskClass::Medium, "D3-DNSDL"),
            ActionKind::ExecJob => (RiskClass::High, "D3-PA"),
        };
        Description {
            kind,
            driver: "simulated".into(),
            risk,
            undo: if kind.is_irreversible() {
                UndoClass::None
            } else {
                UndoClass::Owned
            },
            cuts_established: true,
            in_flight_max: self.in_flight_max(),
            d3fend: d3fend.into(),
            permissions: Permissions {
                act: "none".into(),
                check: "none".into(),
                undo: "none".into(),
            },
            local: self.is_local(),
        }
    }
}

/// Something in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Whose it is.
    pub owner: Owner,
    /// When it ends by itself.
    pub ends: Option<Timestamp>,
}

/// What was there before the last change, for those who do not see that yet.
#[derive(Clone, Debug)]
struct Before {
    element: Option<Element>,
    version: u64,
    until: Timestamp,
}

/// Where something is in place: what is done, and to what.
pub type Place = (ActionKind, Target);

/// An enforcement point.
#[derive(Clone, Debug)]
pub struct World {
    kind: WorldKind,
    elements: BTreeMap<Place, Element>,
    versions: BTreeMap<Place, u64>,
    unseen: BTreeMap<Place, Before>,
    /// Whether the rules that act on what is in place are there.
    pub enforcing: bool,
    /// How much it takes.
    pub capacity_max: u64,
    /// Objects of others that we removed or replaced.
    pub damage: Vec<String>,
    /// Nothing ends by itself before this.
    first_end: Timestamp,
}

impl World {
    /// An empty one.
    #[must_use]
    pub fn new(kind: WorldKind) -> Self {
        Self {
            kind,
            elements: BTreeMap::new(),
            versions: BTreeMap::new(),
            unseen: BTreeMap::new(),
            enforcing: true,
            capacity_max: CAPACITY,
            damage: Vec::new(),
            first_end: NEVER,
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> WorldKind {
        self.kind
    }

    /// Lets time pass: what ends by itself does so.
    pub fn at(&mut self, now: Timestamp) {
        if !self.kind.counts_down() || now < self.first_end {
            return;
        }
        let ended = |it: &Element| it.ends.is_some_and(|end| end <= now);
        if self.elements.values().any(ended) {
            let gone: Vec<_> = self
                .elements
                .iter()
                .filter(|(_, it)| ended(it))
                .map(|(at, _)| at.clone())
                .collect();
            for target in gone {
                self.set(target, None, now, Span::ZERO);
            }
        }
        self.first_end = self.elements.values().filter_map(|it| it.ends).min().unwrap_or(NEVER);
    }

    /// What a driver reads at `place`.
    #[must_use]
    pub fn observe(&self, place: &Place, now: Timestamp) -> Observation {
        let before = self.unseen.get(place).filter(|before| now < before.until);
        let (element, version) = match before {
            Some(before) => (before.element.as_ref(), before.version),
            None => (self.elements.get(place), self.version(place)),
        };
        let presence = match element {
            None => Presence::Absent,
            Some(it) => Presence::Present {
                owner: it.owner.clone(),
                expires_in: it.ends.map(|end| end.since(now)),
            },
        };
        Observation {
            presence,
            enforcing: self.enforcing,
            version,
            capacity: Some(Capacity {
                used: self.elements.len() as u64,
                max: self.capacity_max,
            }),
            stopped_packets: None,
        }
    }

    /// Acts for `label`. `lag` is how long the change stays unseen.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are those of the effect, and when it lands"
    )]
    pub fn execute(
        &mut self,
        label: TransactionId,
        place: Place,
        version: u64,
        hold: Span,
        renewal: bool,
        now: Timestamp,
        lag: Span,
    ) -> Outcome {
        let fails = |kind, what| Outcome::DidNotHappen(Failure::new(kind, what));
        // Nothing counts down for a process.
        let ends = (self.kind == WorldKind::Kernel && place.1.address().is_some()).then(|| now + hold);
        let ours = Owner::Ours(label);
        match self.elements.get(&place) {
            Some(it) if it.owner == ours && renewal => {
                self.set(place, Some(Element { owner: ours, ends }), now, lag);
                Outcome::Landed
            }
            Some(it) if it.owner == ours => Outcome::Landed,
            Some(it) if is(Mutant::ActIgnoresOwner) => {
                let owner = it.owner.clone();
                self.damaged(&owner, &place, label, "replaced");
                self.set(place, Some(Element { owner: ours, ends }), now, lag);
                Outcome::Landed
            }
            Some(_) => fails(FailureKind::Conflict, "something else is in place"),
            None if renewal => fails(FailureKind::Conflict, "there is nothing to renew"),
            None if !self.kind.is_local() && version != self.version(&place) => {
                fails(FailureKind::Conflict, "the world has moved")
            }
            None if self.elements.len() as u64 >= self.capacity_max => fails(FailureKind::Full, "it is full"),
            None => {
                self.set(place, Some(Element { owner: ours, ends }), now, lag);
                Outcome::Landed
            }
        }
    }

    /// Removes what carries `label`.
    pub fn undo(&mut self, label: TransactionId, place: Place, now: Timestamp, lag: Span) -> Outcome {
        let Some(it) = self.elements.get(&place) else {
            return Outcome::Landed;
        };
        if it.owner == Owner::Ours(label) {
            self.set(place, None, now, lag);
        } else if is(Mutant::UndoIgnoresOwner) {
            let owner = it.owner.clone();
            self.damaged(&owner, &place, label, "removed");
            self.set(place, None, now, lag);
        }
        Outcome::Landed
    }

    fn damaged(&mut self, owner: &Owner, place: &Place, label: TransactionId, what: &str) {
        self.damage
            .push(format!("{label} {what} what {owner:?} has at {}", place.1));
    }

    /// Somebody else puts something at `place`, or removes what is there.
    pub fn tamper(&mut self, place: Place, owner: Option<Owner>, now: Timestamp) {
        self.set(place, owner.map(|owner| Element { owner, ends: None }), now, Span::ZERO);
    }

    /// Somebody else removes everything.
    pub fn flush(&mut self, now: Timestamp) {
        let all: Vec<_> = self.elements.keys().cloned().collect();
        for place in all {
            self.set(place, None, now, Span::ZERO);
        }
    }

    /// What is at `place`.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&Element> {
        self.elements.get(place)
    }

    /// Everything that carries our label, and where it is.
    pub fn owned(&self) -> impl Iterator<Item = (TransactionId, Place)> {
        self.elements.iter().filter_map(|(place, it)| match it.owner {
            Owner::Ours(label) => Some((label, place.clone())),
            Owner::Foreign(_) => None,
        })
    }

    fn set(&mut self, place: Place, element: Option<Element>, now: Timestamp, lag: Span) {
        let version = self.version(&place);
        if let Some(end) = element.as_ref().and_then(|it| it.ends) {
            self.first_end = self.first_end.min(end);
        }
        let before = match &element {
            Some(_) => self.elements.insert(place.clone(), element.expect("it is there")),
            None => self.elements.remove(&place),
        };
        self.versions.insert(place.clone(), version + 1);
        if lag == Span::ZERO {
            self.unseen.remove(&place);
        } else {
            self.unseen.insert(
                place,
                Before {
                    element: before,
                    version,
                    until: now + lag,
                },
            );
        }
    }

    fn version(&self, place: &Place) -> u64 {
        self.versions.get(place).copied().unwrap_or(1)
    }
}

/// Later than anything.
const NEVER: Timestamp = Timestamp::from_micros(u64::MAX);

/// How much an enforcement point takes unless it is crowded.
pub const CAPACITY: u64 = 65_536;
