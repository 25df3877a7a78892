//! Who comes back: targets whose lease ended of late, so that the next one is longer where the playbook says so.
//!
//! Never decides anything by itself: the playbook holds the leases, and what counts are recorded facts. A lease counts
//! when it has ended by itself and that was verified. What a person releases was no attacker: that makes the target
//! new. What was rolled back or only observed was never served.

use serde::{Deserialize, Serialize};
use staunch_model::{ActionKind, Playbook, Span, Target, Timestamp, Transaction};

use crate::compact::{CompactMap, CompactSet};
use crate::limits;
use crate::state::EngineState;

/// A target of a playbook, by the beginning of the hash of its name: editing a playbook does not make its targets new.
/// Names are the operator's, so nobody else can choose two of one hash.
type Place = (u64, ActionKind, Target);

/// What a target has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// How many leases in a row, each begun within the window after the one before.
    pub times: u32,
    /// When the last of them ended.
    pub ended: Timestamp,
    /// From when on it no longer counts.
    pub until: Timestamp,
}

/// The targets that are remembered, at most [`limits::REPEATS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    served: CompactMap<Place, Served>,
    /// The same by the time at which they are forgotten. Derived.
    #[serde(skip)]
    by_end: CompactSet<(Timestamp, Place)>,
}

/// How long a step of `playbook` holds `target`, and what that has served before; `None` when there is no such step.
#[must_use]
pub fn lease(
    state: &EngineState,
    playbook: &Playbook,
    step: u16,
    target: &Target,
    now: Timestamp,
) -> Option<(Span, Option<Served>)> {
    let definition = playbook.steps.get(usize::from(step))?;
    if playbook.returns_within(step).is_none() {
        return Some((definition.lease, None));
    }
    let served = state.repeats.of(playbook, definition.action, target, now);
    let lease = match served {
        // The limit may have been lowered since the playbook was checked.
        Some(served) => playbook.lease_after(step, served.times)?.min(state.limits().lease_max),
        None => definition.lease,
    };
    Some((lease.max(definition.lease), served))
}

impl Repeats {
    /// What `target` has served under `playbook`; `None` when nothing that still counts at `now`.
    #[must_use]
    pub fn of(&self, playbook: &Playbook, kind: ActionKind, target: &Target, now: Timestamp) -> Option<Served> {
        let served = self.served.get(&place(playbook, kind, target))?;
        (now < served.until).then_some(*served)
    }

    /// How many targets are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.served.len()
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.served.is_empty()
    }

    /// The lease of `it` has ended at `now`, which counts for `within`. With too many targets, those that would be
    /// forgotten first make room.
    pub(crate) fn serve(&mut self, playbook: &Playbook, it: &Transaction, now: Timestamp, within: Span) {
        let counted = self
            .of(playbook, it.kind, &it.target, now)
            .map_or(0, |served| served.times);
        // What came before may have been forgotten while this lease ran: it tells by its length which one it was.
        let told = playbook
            .leases_then(it.step)
            .filter(|lease| *lease <= it.lease)
            .fold(0, |n, _| n + 1);
        let before = counted.max(told);
        let place = place(playbook, it.kind, &it.target);
        self.forget(&place);
        while let Some((until, first)) = self.by_end.first().cloned() {
            if until > now && self.served.len() < limits::REPEATS_MAX {
                break;
            }
            self.forget(&first);
        }
        let served = Served {
            times: before.saturating_add(1),
            ended: now,
            until: now + within,
        };
        self.served.insert(place.clone(), served);
        self.by_end.add((served.until, place));
    }

    /// `target` is new again.
    pub(crate) fn pardon(&mut self, playbook: &Playbook, it: &Transaction) {
        self.forget(&place(playbook, it.kind, &it.target));
    }

    /// Makes what is derived anew.
    pub(crate) fn rebuild(&mut self) {
        self.by_end = CompactSet::new();
        for (place, served) in self.served.iter() {
            self.by_end.add((served.until, place.clone()));
        }
    }

    fn forget(&mut self, place: &Place) {
        if let Some(served) = self.served.remove(place) {
            self.by_end.take(&(served.until, place.clone()));
        }
    }
}

fn place(playbook: &Playbook, kind: ActionKind, target: &Target) -> Place {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(playbook.name.as_bytes()).as_bytes();
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), kind, target.clone())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use staunch_model::{ContentHash, IncidentId, Modes, OnFailure, PlaybookGuards, TransactionId};

    use super::*;
    use crate::apply::new_transaction;

    #[test]
    fn those_that_are_forgotten_first_make_room() {
        let playbook = Playbook {
            name: "growing".into(),
            summary: "Its leases grow.".into(),
            hash: ContentHash::of(b"growing"),
            attack: Vec::new(),
            deduplicate: Span::ZERO,
            context: Vec::new(),
            guards: PlaybookGuards::default(),
            preserve: Vec::new(),
            steps: Vec::new(),
            notify: Vec::new(),
            modes: Modes::default(),
            on_failure: OnFailure::Keep,
        };
        let max = u32::try_from(limits::REPEATS_MAX).expect("it is small");
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let target = |n: u32| Target::Address(Ipv4Addr::from(n).into());
        let mut repeats = Repeats::default();
        for n in 0..max + 10 {
            let id = TransactionId(u64::from(n) + 1);
            let it = new_transaction(id, id, IncidentId(1), ActionKind::BlockIp, target(n));
            repeats.serve(
                &playbook,
                &it,
                start + Span::from_millis(n.into()),
                Span::from_hours(24),
            );
        }
        let now = start + Span::from_millis(u64::from(max) + 10);
        let times = |repeats: &Repeats, n, now| {
            repeats
                .of(&playbook, ActionKind::BlockIp, &target(n), now)
                .map(|it| it.times)
        };
        assert_eq!(repeats.len(), limits::REPEATS_MAX);
        assert_eq!(times(&repeats, 9, now), None);
        assert_eq!(times(&repeats, 10, now), Some(1));

        let mut read: Repeats =
            postcard::from_bytes(&postcard::to_stdvec(&repeats).expect("it is stored")).expect("it is read");
        read.rebuild();
        assert_eq!(read, repeats);

        // All of them are over, and one more lets go of them.
        let later = now + Span::from_hours(25);
        let id = TransactionId(1);
        let it = new_transaction(id, id, IncidentId(1), ActionKind::BlockIp, target(0));
        read.serve(&playbook, &it, later, Span::from_hours(24));
        assert_eq!(read.len(), 1);
    }
}
