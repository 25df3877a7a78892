//! The enforcement point of a backtest: an ideal world in memory, and what the record says about the real one.
//!
//! Pure: it is told the time and answers at once. Without a record nothing is in the way, every act lands, and what was
//! done is found in place until it is undone or its hold ends.

use std::collections::BTreeMap;

use staunch_model::FailureKind;
use staunch_model::{
    ActionKind, Capacity, Effect, Fact, Facts, Failure, HealthReading, Input, Observation, ObservePurpose, Outcome,
    Owner, Presence, Span, Target, Timestamp, TransactionId,
};

use super::book::{Book, Verb};

/// Where facts come from that nobody has recorded.
const NOBODY: &str = "backtest";

/// What the share of traffic is when it was not recorded.
pub(crate) const SHARE_UNKNOWN: &str = "not recorded; a backtest cannot look at the traffic of that time";

/// Where something is in place: what is done, and to what.
type Place = (ActionKind, Target);

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    objects: BTreeMap<Place, (TransactionId, Timestamp)>,
    used: BTreeMap<(ActionKind, bool), u64>,
    capacity: u64,
    version: u64,
}

impl World {
    /// An empty world that takes `capacity` objects of each address family.
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            used: BTreeMap::new(),
            capacity,
            version: 1,
        }
    }

    /// Carries out `effect` at `now`, or answers it as `book` says. What tells people is taken.
    pub(crate) fn answer(&mut self, effect: &Effect, book: Option<&Book>, now: Timestamp) -> Input {
        match effect {
            Effect::Observe {
                transaction,
                ticket,
                purpose,
                kind,
                target,
                traffic,
                ..
            } => {
                let verb = match purpose {
                    ObservePurpose::PreCheck => Verb::PreCheck,
                    ObservePurpose::PostCheck => Verb::PostCheck,
                    ObservePurpose::Probe => Verb::Probe,
                };
                let recorded = book.and_then(|book| book.look(target.clone(), verb, now));
                let unknown = || Fact {
                    value: Err(SHARE_UNKNOWN.into()),
                    source: NOBODY.into(),
                    age: Span::ZERO,
                };
                let known = recorded.and_then(|it| it.facts.traffic.clone());
                let facts = Facts {
                    traffic: traffic.then(|| known.unwrap_or_else(unknown)),
                };
                Input::Observed {
                    transaction: *transaction,
                    ticket: *ticket,
                    result: self.observe((*kind, target.clone()), now, verb, recorded.map(|it| &it.result)),
                    facts,
                }
            }
            Effect::Execute {
                transaction,
                ticket,
                kind,
                target,
                hold,
                ..
            } => {
                let recorded = book.and_then(|book| book.outcome(target.clone(), Verb::Execute, now));
                // Whether an act in doubt took effect is what the look after it found.
                let landed = match recorded {
                    None | Some(Outcome::Landed) => true,
                    Some(Outcome::DidNotHappen(_)) => false,
                    Some(Outcome::InDoubt(_)) => book.is_some_and(|book| book.found_after(target.clone(), now)),
                };
                if landed {
                    self.put((*kind, target.clone()), *transaction, now + *hold);
                }
                Input::Executed {
                    transaction: *transaction,
                    ticket: *ticket,
                    outcome: recorded.cloned().unwrap_or(Outcome::Landed),
                }
            }
            Effect::Undo {
                label,
                transaction,
                ticket,
                kind,
                target,
                ..
            } => {
                let recorded = book.and_then(|book| book.outcome(target.clone(), Verb::Undo, now));
                if recorded.is_none_or(|it| *it == Outcome::Landed) {
                    self.remove((*kind, target.clone()), *label);
                }
                Input::Undone {
                    transaction: *transaction,
                    ticket: *ticket,
                    outcome: recorded.cloned().unwrap_or(Outcome::Landed),
                }
            }
            // Nothing of the past can be preserved any more; the plan goes on without it.
            Effect::Collect { evidence, .. } => Input::Collected {
                evidence: *evidence,
                result: Err(Failure::new(FailureKind::Invalid, "a backtest takes no evidence")),
            },
            // Nothing is done, so nothing hurts.
            Effect::ReadHealth {
                incident,
                watch,
                ticket,
                ..
            } => Input::HealthRead {
                incident: *incident,
                watch: *watch,
                ticket: *ticket,
                result: Ok(HealthReading::new(true, "a backtest takes the business to be well")),
            },
            Effect::Notify(notice) => Input::Notified {
                notice: notice.id,
                result: Ok(()),
            },
        }
    }

    fn observe(
        &mut self,
        place: Place,
        now: Timestamp,
        verb: Verb,
        recorded: Option<&Result<Observation, Failure>>,
    ) -> Result<Observation, Failure> {
        if let Some((label, ends)) = self.objects.get(&place).copied()
            && ends <= now
        {
            self.remove(place.clone(), label);
        }
        let presence = self
            .objects
            .get(&place)
            .map_or(Presence::Absent, |(label, ends)| Presence::Present {
                owner: Owner::Ours(*label),
                expires_in: Some(ends.since(now)),
            });
        let ideal = Observation {
            presence,
            enforcing: true,
            version: self.version,
            capacity: Some(Capacity {
                used: self.used.get(&set_of(place)).copied().unwrap_or_default(),
                max: self.capacity,
            }),
            stopped_packets: None,
        };
        match recorded {
            None => Ok(ideal),
            Some(Err(failure)) => Err(failure.clone()),
            Some(Ok(seen)) => Ok(Observation {
                // Whose object of ours it was is another matter here; somebody else's was there for us too.
                presence: match &seen.presence {
                    Presence::Present {
                        owner: Owner::Foreign(_),
                        ..
                    } => seen.presence.clone(),
                    // It was said to be done, and was not there.
                    Presence::Absent if verb == Verb::PostCheck => Presence::Absent,
                    Presence::Absent | Presence::Present { .. } => ideal.presence,
                },
                enforcing: seen.enforcing,
                ..ideal
            }),
        }
    }

    fn put(&mut self, place: Place, label: TransactionId, ends: Timestamp) {
        self.version += 1;
        if self.objects.insert(place.clone(), (label, ends)).is_none() {
            *self.used.entry(set_of(place)).or_default() += 1;
        }
    }

    /// Takes out what is labelled `label` at `place`.
    pub(crate) fn remove(&mut self, place: Place, label: TransactionId) {
        if self.objects.get(&place).is_some_and(|(owner, _)| *owner == label) {
            self.objects.remove(&place);
            *self.used.entry(set_of(place)).or_default() -= 1;
            self.version += 1;
        }
    }
}

/// The set at the enforcement point that holds `place`: addresses have one for each family.
fn set_of((kind, target): Place) -> (ActionKind, bool) {
    (kind, target.address().is_some_and(|ip| ip.is_ipv6()))
}
