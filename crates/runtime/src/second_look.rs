//! A second look at what a sweep misses: a list of everything may have lost a part of it, and only a look at a target
//! is certain about it.
//!
//! Never judges. What is there after all is added to the reading.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use staunch_engine::EngineState;
use staunch_engine::sweep::Reading;
use staunch_model::{ActionKind, Failure, Observation, Owner, Presence, SweepFindings, Target, TransactionId};

use crate::drivers::{DriverRequest, Drivers};

/// How long looking may take in all: a reading must not be too old when it is judged.
const LOOKING_MAX: Duration = Duration::from_secs(10);

/// Targets that are looked at with one request: acts wait for it in between.
const TARGETS_PER_LOOK_MAX: usize = 256;

/// What drivers have read, and to whom it goes back when it misses something.
pub(crate) struct Swept {
    pub(crate) readings: Vec<Reading>,
    /// Without one, what is missed counts as vanished.
    pub(crate) again: Option<Sender<(Vec<Reading>, Missed)>>,
}

/// What the engine believes to be in force and no reading has, with its labels.
pub(crate) struct Missed(BTreeMap<ActionKind, Vec<(TransactionId, Target)>>);

impl Missed {
    /// What `findings` take for vanished; `None` when that is nothing.
    pub(crate) fn of(findings: &SweepFindings, state: &EngineState) -> Option<Self> {
        let mut missed = BTreeMap::<_, Vec<_>>::new();
        for (id, _) in &findings.vanished {
            if let Some(it) = state.transactions.get(id) {
                missed.entry(it.kind).or_default().push((it.label(), it.target.clone()));
            }
        }
        (!missed.is_empty()).then_some(Self(missed))
    }

    /// Looks at each target, and adds what is there to `readings`, and what cannot be looked at. Where nobody answers
    /// in time, the list is all that is known.
    pub(crate) fn look_for(mut self, readings: &mut [Reading], drivers: &Drivers) {
        let begun = Instant::now();
        for reading in readings {
            if let (Some(missed), Ok((objects, _))) = (self.0.remove(&reading.kind), &mut reading.found) {
                let before = objects.len();
                let unread = &mut reading.unread;
                for some in missed.chunks(TARGETS_PER_LOOK_MAX) {
                    if begun.elapsed() > LOOKING_MAX {
                        break;
                    }
                    let Some(seen) = look(reading.kind, some, drivers) else {
                        break;
                    };
                    for ((label, target), seen) in some.iter().zip(seen) {
                        match seen {
                            Ok(seen) if is_there(&seen, *label) => objects.push((*label, target.clone())),
                            Ok(_) => {}
                            Err(failure) => unread.push((target.clone(), failure)),
                        }
                    }
                }
                if let count @ 1.. = objects.len() - before {
                    tracing::warn!(kind = %reading.kind, count, "a sweep has missed what a look finds in place");
                }
            }
        }
    }
}

/// What is at each of `missed`; `None` when nobody answers.
fn look(
    kind: ActionKind,
    missed: &[(TransactionId, Target)],
    drivers: &Drivers,
) -> Option<Vec<Result<Observation, Failure>>> {
    let targets = missed.iter().map(|(_, target)| target.clone()).collect();
    let (reply, wait) = bounded(1);
    drivers
        .send(kind, DriverRequest::LookAgain { targets, reply })
        .then_some(())?;
    wait.recv_timeout(staunch_engine::limits::OBSERVE_DEADLINE.to_std())
        .ok()
}

fn is_there(seen: &Observation, label: TransactionId) -> bool {
    matches!(&seen.presence, Presence::Present { owner: Owner::Ours(it), .. } if *it == label)
}
