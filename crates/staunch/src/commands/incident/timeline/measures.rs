//! How long things took in an incident, and how far the clocks of its sources are off.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use staunch_model::{GuardName, GuardResult, Printable, Record, RecoveryWait, Timestamp, TransactionId};
use staunch_server::dto::{EventRow, IncidentDetail, TransactionRow};

use super::guards::judgement_of;
use super::{short, signed};

/// Evidence up to this place in the list of RFC 3227, section 2.1, is gone when the machine is switched off.
const VOLATILE_TO: u8 = 3;

/// How long things took, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::commands::incident) struct Measures {
    /// To detect: from the first event, by its source's clock, until it was received. Zero when that clock is ahead.
    pub(in crate::commands::incident) event_to_received_us: Option<u64>,
    /// To know: from receiving the first event until the last of the volatile evidence was sealed and all context that
    /// was asked for was known, whichever was later; nothing while some is not, also when it was missed.
    pub(in crate::commands::incident) received_to_known_us: Option<u64>,
    /// From receiving the first event until the last of the evidence was sealed; nothing while some is neither sealed
    /// nor missed.
    pub(in crate::commands::incident) received_to_preserved_us: Option<u64>,
    /// To contain: from receiving the first event until the first containment was verified.
    pub(in crate::commands::incident) received_to_contained_us: Option<u64>,
    /// Dwell: from the first event, by its source's clock, until the first containment was verified.
    pub(in crate::commands::incident) event_to_contained_us: Option<u64>,
    /// To release: from the first containment that can be lifted until the last was, once none is left. What a recovery
    /// does by itself, such as a job, contains nothing; and what is for good has nothing to release.
    pub(in crate::commands::incident) contained_to_lifted_us: Option<u64>,
    /// The containments that nothing undoes.
    pub(in crate::commands::incident) for_good: u64,
    /// Whether all containments are for good, so that there is nothing to release.
    pub(in crate::commands::incident) nothing_to_release: bool,
}

/// Why there is no time to release.
pub(in crate::commands::incident) const FOR_GOOD: &str = "nothing to release: what was done is for good";

/// A measure in words.
pub(super) struct Named {
    /// In one word or two.
    pub(super) name: &'static str,
    /// From what to what, short.
    pub(super) label: &'static str,
    /// In a sentence.
    pub(super) meaning: &'static str,
    pub(super) took_us: Option<u64>,
    /// Why it never takes any time; `None` when it took some, or is going to.
    pub(super) why_none: Option<&'static str>,
}

impl Measures {
    pub(super) fn named(&self) -> [Named; 6] {
        let named = |name, label, meaning, took_us| Named {
            name,
            label,
            meaning,
            took_us,
            why_none: None,
        };
        [
            named(
                "to detect",
                "happened, then received",
                "from the first event, by its source's clock, until it was received",
                self.event_to_received_us,
            ),
            named(
                "to know",
                "received, then known",
                "from then until context was known and volatile evidence sealed",
                self.received_to_known_us,
            ),
            named(
                "to preserve",
                "received, then preserved",
                "from receiving the first event until the last evidence was sealed",
                self.received_to_preserved_us,
            ),
            named(
                "to contain",
                "received, then contained",
                "from receiving the first event until the first containment was verified",
                self.received_to_contained_us,
            ),
            named(
                "dwell",
                "happened, then contained",
                "from the first event, by its source's clock, until the first containment",
                self.event_to_contained_us,
            ),
            Named {
                why_none: self.nothing_to_release.then_some(FOR_GOOD),
                ..named(
                    "to release",
                    "contained, then lifted",
                    "from the first containment until the last was lifted",
                    self.contained_to_lifted_us,
                )
            },
        ]
    }
}

pub(in crate::commands::incident) fn measures(detail: &IncidentDetail) -> Measures {
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.since(from?).as_micros());
    let first = detail.events.first();
    let received = first.map(|event| event.received);
    let happened = first.and_then(|event| event.time);
    let recovery = acts_of_recovery(detail);
    let containments = || detail.transactions.iter().filter(|it| !recovery.contains(&it.id));
    let contained = containments().filter_map(|it| it.in_force_at).min();
    let was_in_force = |it: &&TransactionRow| it.in_force_at.is_some();
    let releasable = || {
        containments()
            .filter(|it| !it.kind.is_irreversible())
            .filter(was_in_force)
    };
    let for_good = containments()
        .filter(|it| it.kind.is_irreversible())
        .filter(was_in_force)
        .count();
    let is_settled = detail
        .evidence
        .iter()
        .all(|it| it.sealed_at.is_some() || it.missed_at.is_some());
    let sealed = detail.evidence.iter().filter_map(|it| it.sealed_at).max();
    let volatile = detail
        .evidence
        .iter()
        .filter(|it| it.kind.volatility() <= VOLATILE_TO)
        .map(|it| it.sealed_at);
    let known = volatile.chain(context(detail)).collect::<Option<Vec<_>>>();
    let lifted = releasable().map(|it| it.released_at).collect::<Option<Vec<_>>>();
    let held = releasable().filter_map(|it| it.in_force_at).min();
    Measures {
        event_to_received_us: between(happened, received),
        received_to_known_us: between(received, known.and_then(|all| all.into_iter().max())),
        received_to_preserved_us: between(received, sealed.filter(|_| is_settled)),
        received_to_contained_us: between(received, contained),
        event_to_contained_us: between(happened, contained),
        contained_to_lifted_us: between(held, lifted.and_then(|all| all.into_iter().max())),
        for_good: for_good as u64,
        nothing_to_release: for_good > 0 && held.is_none(),
    }
}

/// When each piece of the context that was asked for was known; `None` for one that is not.
///
/// What files, feeds and services say is asked before an event is taken up, and has no time of its own in the record:
/// it was known when the incident was opened. Facts are asked for with each judgement. Only acts that were planned when
/// the incident was opened count: what others ask for, such as those of a recovery, is not waited for.
fn context(detail: &IncidentDetail) -> Vec<Option<Timestamp>> {
    let opened = detail.incident.opened;
    let mut said = None;
    let mut facts: BTreeMap<TransactionId, Option<Timestamp>> = BTreeMap::new();
    let first: BTreeSet<TransactionId> = detail
        .transactions
        .iter()
        .filter(|it| it.incident == detail.incident.id && it.created == opened)
        .map(|it| it.id)
        .collect();
    for it in &detail.timeline {
        let Some(act) = it.transaction else {
            let record = serde_json::from_value(it.detail.clone());
            let is_around = matches!(record, Ok(Record::AroundKnown { .. } | Record::AssetsKnown { .. }));
            said = said.or((is_around && it.at == opened).then_some(Some(opened)));
            continue;
        };
        let Some(judgement) = judgement_of(&it.detail).filter(|_| first.contains(&act)) else {
            continue;
        };
        let tells = |it: &GuardResult| match it.guard {
            GuardName::Context => true,
            // Without a score, it is not told whether anybody was asked.
            GuardName::Risk => it.measured.is_some(),
            _ => false,
        };
        if judgement.guards.iter().any(tells) {
            said = Some(Some(opened));
        }
        if let Some(fact) = &judgement.facts.traffic {
            let known = facts.entry(act).or_default();
            *known = known.or(fact.value.is_ok().then_some(it.at));
        }
    }
    said.into_iter().chain(facts.into_values()).collect()
}

/// What was done on the way back to normal, which contains nothing and may stay in force.
fn acts_of_recovery(detail: &IncidentDetail) -> BTreeSet<TransactionId> {
    let of_incident = detail.timeline.iter().filter(|it| it.transaction.is_none());
    of_incident
        .filter_map(|it| match serde_json::from_value(it.detail.clone()) {
            Ok(Record::RecoveryAt {
                waits: Some(RecoveryWait::Act(act)),
                ..
            }) => Some(act),
            _ => None,
        })
        .collect()
}

/// What is known of the clock of a source: how much later than by it its events were received. That is the offset of
/// the clock and the delay of the way together; nothing here can tell them apart.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Clock {
    /// The source. Safe to show.
    pub(super) system: String,
    /// The events that say when they happened, of those that are shown.
    pub(super) events: u64,
    /// The median of received minus source time, in microseconds; negative when the source's clock is ahead.
    pub(super) offset_and_delay_us: Option<i64>,
    /// How far its clock is said to be ahead, in microseconds; negative when it is behind. The times of its logs are
    /// less that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stated_offset_us: Option<i64>,
    /// The entries of its logs that are shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) log_entries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Clock {
    /// Of a source of which there is nothing but logs.
    pub(super) fn of_logs(system: &str) -> Self {
        Self {
            system: Printable(system).to_string(),
            events: 0,
            offset_and_delay_us: None,
            stated_offset_us: None,
            log_entries: 0,
        }
    }

    /// What is known of it.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        match self.offset_and_delay_us {
            Some(us) => parts.push(format!(
                "{} later than by its clock: offset and delay, median of {}",
                signed(us),
                self.events
            )),
            None if self.log_entries == 0 && self.stated_offset_us.is_none() => {
                parts.push("its events do not say when they happened".to_owned());
            }
            None => {}
        }
        parts.extend(Some(self.of_its_logs()).filter(|it| !it.is_empty()));
        parts.join("; ")
    }

    /// What of it is known for its logs; nothing when it has none.
    pub(super) fn of_its_logs(&self) -> String {
        match self.stated_offset_us {
            Some(us) => {
                let side = if us < 0 { "behind" } else { "ahead" };
                format!(
                    "stated to be {} {side}; set right in its logs",
                    short(us.unsigned_abs())
                )
            }
            None if self.log_entries > 0 => "taken as it is".to_owned(),
            None => String::new(),
        }
    }
}

/// The clocks of the sources of `events`, in the order in which the sources first spoke.
pub(super) fn clocks(events: &[EventRow]) -> Vec<Clock> {
    let mut found: Vec<(&str, Vec<i64>)> = Vec::new();
    for event in events {
        let at = found
            .iter()
            .position(|(system, _)| *system == event.system)
            .unwrap_or_else(|| {
                found.push((&event.system, Vec::new()));
                found.len() - 1
            });
        let difference = event.time.and_then(|time| {
            let (received, time) = (event.received.as_micros(), time.as_micros());
            i64::try_from(i128::from(received) - i128::from(time)).ok()
        });
        found[at].1.extend(difference);
    }
    found
        .into_iter()
        .map(|(system, mut differences)| {
            differences.sort_unstable();
            Clock {
                system: Printable(system).to_string(),
                events: differences.len() as u64,
                offset_and_delay_us: differences.get(differences.len().saturating_sub(1) / 2).copied(),
                stated_offset_us: None,
                log_entries: 0,
            }
        })
        .collect()
}
