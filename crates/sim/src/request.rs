//! What becomes of a request: carried out by the world, or answered by a driver that has not asked it.
//!
//! Shared by the seeded runs and the scripted ones. When a request arrives, what goes wrong with it, and whether
//! anybody hears the answer is their business.

use std::collections::BTreeSet;

use staunch_model::{
    ContentHash, Effect, EvidenceId, Facts, Failure, FailureKind, HealthReading, Input, Outcome, Owner, Presence,
    Sealed, Span, Timestamp, TransactionId,
};

use crate::world::World;

/// The circumstances in which a request reaches the world.
pub(crate) struct Arrival {
    /// When.
    pub(crate) now: Timestamp,
    /// How long readers do not see what it did.
    pub(crate) lag: Span,
    /// Whether a look says the opposite of what is there.
    pub(crate) lies: bool,
    /// What enrichers know, for a look that asks them.
    pub(crate) facts: Facts,
    /// Whether health signals are healthy; `None` where they cannot be read.
    pub(crate) healthy: Option<bool>,
    /// What they say about themselves.
    pub(crate) says: &'static str,
}

/// What a request did.
pub(crate) struct Landing {
    /// The answer.
    pub(crate) input: Input,
    /// The transaction whose act has put something where nothing of it was.
    pub(crate) created: Option<TransactionId>,
}

/// Carries `effect` out. Evidence goes into `vault`.
pub(crate) fn land(effect: &Effect, world: &mut World, vault: &mut BTreeSet<EvidenceId>, arrival: Arrival) -> Landing {
    let Arrival {
        now,
        lag,
        lies,
        facts,
        healthy,
        says,
    } = arrival;
    let mut created = None;
    let input = match effect {
        Effect::Observe {
            transaction,
            ticket,
            kind,
            target,
            ..
        } => {
            let mut seen = world.observe(&(*kind, target.clone()), now);
            if lies {
                seen.presence = match seen.presence {
                    Presence::Absent => Presence::Present {
                        owner: Owner::Ours(*transaction),
                        expires_in: None,
                    },
                    Presence::Present { .. } => Presence::Absent,
                };
            }
            Input::Observed {
                transaction: *transaction,
                ticket: *ticket,
                result: Ok(seen),
                facts,
            }
        }
        Effect::Execute {
            transaction,
            ticket,
            kind,
            target,
            version,
            hold,
            renewal,
            ..
        } => {
            let ours = Owner::Ours(*transaction);
            let place = (*kind, target.clone());
            let before = world.get(&place).is_some_and(|it| it.owner == ours);
            let outcome = world.execute(*transaction, place, *version, *hold, *renewal, now, lag);
            created = (outcome == Outcome::Landed && !before).then_some(*transaction);
            Input::Executed {
                transaction: *transaction,
                ticket: *ticket,
                outcome,
            }
        }
        Effect::Undo {
            label,
            transaction,
            ticket,
            kind,
            target,
            ..
        } => Input::Undone {
            transaction: *transaction,
            ticket: *ticket,
            outcome: world.undo(*label, (*kind, target.clone()), now, lag),
        },
        Effect::ReadHealth {
            incident,
            watch,
            ticket,
            ..
        } => Input::HealthRead {
            incident: *incident,
            watch: *watch,
            ticket: *ticket,
            result: healthy
                .map(|healthy| HealthReading::new(healthy, says))
                .ok_or_else(|| Failure::new(FailureKind::Unavailable, "nobody answers")),
        },
        Effect::Notify(notice) => Input::Notified {
            notice: notice.id,
            result: Ok(()),
        },
        Effect::Collect { evidence, target, .. } => {
            vault.insert(*evidence);
            Input::Collected {
                evidence: *evidence,
                result: Ok(Sealed {
                    hash: ContentHash::of(format!("{target:?}").as_bytes()),
                    bytes: 64,
                    artefacts: 1,
                }),
            }
        }
    };
    Landing { input, created }
}

/// The answer of a driver that has not asked the world; `None` where it could not answer well without.
pub(crate) fn unasked(effect: &Effect, result: Result<(), Failure>, in_doubt: bool) -> Option<Input> {
    let outcome = |result: Result<(), Failure>| match result {
        Ok(()) => Outcome::Landed,
        Err(failure) if in_doubt => Outcome::InDoubt(failure),
        Err(failure) => Outcome::DidNotHappen(failure),
    };
    Some(match effect {
        Effect::Observe {
            transaction, ticket, ..
        } => Input::Observed {
            transaction: *transaction,
            ticket: *ticket,
            result: Err(result.err()?),
            facts: Facts::default(),
        },
        Effect::Execute {
            transaction, ticket, ..
        } => Input::Executed {
            transaction: *transaction,
            ticket: *ticket,
            outcome: outcome(result),
        },
        Effect::Undo {
            transaction, ticket, ..
        } => Input::Undone {
            transaction: *transaction,
            ticket: *ticket,
            outcome: outcome(result),
        },
        Effect::Notify(notice) => Input::Notified {
            notice: notice.id,
            result,
        },
        Effect::ReadHealth {
            incident,
            watch,
            ticket,
            ..
        } => Input::HealthRead {
            incident: *incident,
            watch: *watch,
            ticket: *ticket,
            result: Err(result.err()?),
        },
        Effect::Collect { evidence, .. } => Input::Collected {
            evidence: *evidence,
            result: Err(result.err()?),
        },
    })
}

/// Takes the transactions of `effect` into `excused`: those that were lied to are not to blame for what follows.
pub(crate) fn excuse(effect: &Effect, excused: &mut BTreeSet<TransactionId>) {
    match effect {
        Effect::Observe { transaction, .. } | Effect::Execute { transaction, .. } => {
            excused.insert(*transaction);
        }
        Effect::Undo { transaction, label, .. } => excused.extend([*transaction, *label]),
        Effect::Notify(_) | Effect::Collect { .. } | Effect::ReadHealth { .. } => {}
    }
}
