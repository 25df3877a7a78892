//! An enforcement point in memory, true to the contract of drivers: owned, idempotent, conditional.

use std::collections::BTreeMap;

use staunch_model::{
    Capacity, Failure, FailureKind, Observation, Outcome, Owner, Presence, Span, Target, Timestamp, TransactionId,
};

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) owner: Owner,
    pub(crate) ends: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) elements: BTreeMap<Target, Element>,
    versions: BTreeMap<Target, u64>,
    /// Whether the rules that act on the elements are in place.
    pub(crate) enforcing: bool,
    pub(crate) capacity_max: u64,
    /// Whether acts are conditional on a version, as in most systems, or on nothing, as in the worst.
    pub(crate) versioned: bool,
    /// How much shorter than asked it holds.
    pub(crate) hold_cut: Span,
    /// Set when somebody else has changed something.
    pub(crate) tampered: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            elements: BTreeMap::new(),
            versions: BTreeMap::new(),
            enforcing: true,
            capacity_max: 65_536,
            versioned: true,
            hold_cut: Span::ZERO,
            tampered: false,
        }
    }
}

impl World {
    /// Lets time pass: elements end by themselves.
    pub(crate) fn at(&mut self, now: Timestamp) {
        let ended = |it: &Element| it.ends.is_some_and(|end| end <= now);
        let gone: Vec<_> = self
            .elements
            .iter()
            .filter(|(_, it)| ended(it))
            .map(|(target, _)| target.clone())
            .collect();
        gone.into_iter().for_each(|target| self.set(target, None));
    }

    pub(crate) fn observe(&self, target: &Target, now: Timestamp) -> Observation {
        let presence = match self.elements.get(target) {
            None => Presence::Absent,
            Some(it) => Presence::Present {
                owner: it.owner.clone(),
                expires_in: it.ends.map(|end| end.since(now)),
            },
        };
        Observation {
            presence,
            enforcing: self.enforcing,
            version: self.version(target),
            capacity: Some(Capacity {
                used: self.elements.len() as u64,
                max: self.capacity_max,
            }),
            stopped_packets: None,
        }
    }

    pub(crate) fn execute(
        &mut self,
        transaction: TransactionId,
        target: Target,
        version: u64,
        hold: Span,
        renewal: bool,
        now: Timestamp,
    ) -> Outcome {
        let fails = |kind, what| Outcome::DidNotHappen(Failure::new(kind, what));
        let ends = Some(now + Span::from_micros(hold.as_micros().saturating_sub(self.hold_cut.as_micros())));
        let ours = Owner::Ours(transaction);
        match self.elements.get(&target) {
            Some(it) if it.owner == ours && renewal => {
                self.set(target, Some(Element { owner: ours, ends }));
                Outcome::Landed
            }
            Some(it) if it.owner == ours => Outcome::Landed,
            Some(_) => fails(FailureKind::Conflict, "something else is in place"),
            None if renewal => fails(FailureKind::Conflict, "there is nothing to renew"),
            None if self.versioned && version != self.version(&target) => {
                fails(FailureKind::Conflict, "the world has moved")
            }
            None if self.elements.len() as u64 >= self.capacity_max => fails(FailureKind::Full, "the set is full"),
            None => {
                self.set(target, Some(Element { owner: ours, ends }));
                Outcome::Landed
            }
        }
    }

    pub(crate) fn undo(&mut self, label: TransactionId, target: Target) -> Outcome {
        if self
            .elements
            .get(&target)
            .is_some_and(|it| it.owner == Owner::Ours(label))
        {
            self.set(target, None);
        }
        Outcome::Landed
    }

    /// Somebody else puts something at `target`, or removes what is there.
    pub(crate) fn tamper(&mut self, target: Target, element: Option<Owner>) {
        self.tampered = true;
        self.set(target, element.map(|owner| Element { owner, ends: None }));
    }

    fn set(&mut self, target: Target, element: Option<Element>) {
        *self.versions.entry(target.clone()).or_insert(1) += 1;
        match element {
            Some(element) => drop(self.elements.insert(target, element)),
            None => drop(self.elements.remove(&target)),
        }
    }

    fn version(&self, target: &Target) -> u64 {
        if self.versioned {
            self.versions.get(target).copied().unwrap_or(1)
        } else {
            0
        }
    }

    /// The targets that hold something labelled with `transaction`.
    pub(crate) fn holds(&self, transaction: TransactionId) -> bool {
        self.elements.values().any(|it| it.owner == Owner::Ours(transaction))
    }

    /// Everything that carries our label.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (TransactionId, Target)> {
        self.elements.iter().filter_map(|(target, it)| match it.owner {
            Owner::Ours(label) => Some((label, target.clone())),
            Owner::Foreign(_) => None,
        })
    }
}
