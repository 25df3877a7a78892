//! The result of a backtest as data: what `--json` prints, and what the text and the page are made of.

use std::collections::BTreeMap;

use serde::Serialize;
use staunch_engine::guard::percent;
use staunch_model::{ContentHash, GuardName, Mode, Printable, Score, Span, Target, Timestamp, Unit, Verdict};

use super::past::Read;
use super::tally::{Address, Peak, PlanKey, Reach, Ruling, Tally};

/// Addresses listed as newly contained or newly spared. The counts are of all of them.
const LISTED_MAX: usize = 1_000;

/// Plans listed.
const PLANS_MAX: usize = 50;

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The form of this report.
    pub(crate) format: u32,
    pub(crate) build: String,
    pub(crate) read: Read,
    pub(crate) assumptions: Assumptions,
    /// The playbooks that are tried.
    pub(crate) new: Side,
    /// The playbooks that they are compared with.
    pub(crate) old: Option<Side>,
    pub(crate) comparison: Option<Comparison>,
    /// The conditions of `--fail-on` that hold.
    pub(crate) failed_on: Vec<String>,
}

/// What was taken for granted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Assumptions {
    /// How far any playbook may go.
    pub(crate) mode: Mode,
    /// What the configuration says about that.
    pub(crate) mode_configured: Mode,
    /// What becomes of questions to a person.
    pub(crate) approvals: &'static str,
    /// Further ones, in words.
    pub(crate) notes: Vec<String>,
}

/// What one set of playbooks came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) playbooks: Vec<PlaybookRow>,
    /// Playbooks whose trigger never held.
    pub(crate) never_matched: Vec<String>,
    pub(crate) events_matched: u64,
    pub(crate) without_key: u64,
    pub(crate) beyond_limit: u64,
    pub(crate) incidents: u64,
    /// Events that joined an incident instead of opening one.
    pub(crate) joins: u64,
    pub(crate) without_target: u64,
    /// Addresses by the furthest that Staunch went for them.
    pub(crate) addresses: BTreeMap<&'static str, u64>,
    pub(crate) addresses_left_out: u64,
    pub(crate) containments: u64,
    pub(crate) acts: u64,
    pub(crate) asked: u64,
    pub(crate) failures: u64,
    pub(crate) breaker_opened: u64,
    pub(crate) breaker_first: Option<Timestamp>,
    pub(crate) guards: Vec<GuardRow>,
    pub(crate) other_refusals: BTreeMap<&'static str, u64>,
    pub(crate) impact: ImpactRow,
    pub(crate) peaks: Vec<PeakRow>,
    pub(crate) plans: Vec<PlanRow>,
    pub(crate) plans_left_out: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlaybookRow {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) matched: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct GuardRow {
    pub(crate) guard: GuardName,
    pub(crate) refused: u64,
    pub(crate) asked: u64,
    pub(crate) demoted: u64,
    /// The largest number that tripped it, and the limit then.
    pub(crate) measured_max: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) unit: Option<Unit>,
    pub(crate) example: Option<Example>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Example {
    pub(crate) target: String,
    pub(crate) at: Timestamp,
    pub(crate) why: String,
}

/// What is known of the traffic that would have stopped.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ImpactRow {
    /// Judgements for which the share of traffic was recorded.
    pub(crate) known: u64,
    pub(crate) unknown: u64,
    /// The largest known share, in basis points.
    pub(crate) share_max_bp: Option<u64>,
    pub(crate) share_max_target: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeakRow {
    pub(crate) what: String,
    pub(crate) peak: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) at: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlanRow {
    pub(crate) playbook: String,
    pub(crate) step: u16,
    pub(crate) action: String,
    pub(crate) ruling: &'static str,
    /// The guard that refused.
    pub(crate) guard: Option<GuardName>,
    pub(crate) count: u64,
    /// Of those that a person was asked about, how many that person approved. They are counted again, as acts.
    pub(crate) approved: u64,
    pub(crate) lease: Span,
    pub(crate) mode: Option<Mode>,
    pub(crate) risk: Option<String>,
    pub(crate) examples: Vec<String>,
    pub(crate) first: Timestamp,
    pub(crate) why: Option<String>,
    /// The guards of the first case.
    pub(crate) guards: Vec<PlanGuard>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlanGuard {
    pub(crate) guard: GuardName,
    pub(crate) verdict: Verdict,
    pub(crate) measured: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) unit: Unit,
    pub(crate) why: String,
}

/// The difference between the two sides, by address.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Comparison {
    /// Contained by the new playbooks only.
    pub(crate) newly_contained: Listed,
    /// Contained by the old playbooks only.
    pub(crate) newly_spared: Listed,
    /// Addresses for which the two went differently far, without one of them containing.
    pub(crate) otherwise_different: u64,
    pub(crate) same: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Listed {
    pub(crate) count: u64,
    /// The first of them, by time.
    pub(crate) addresses: Vec<Changed>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Changed {
    pub(crate) address: String,
    pub(crate) first: Timestamp,
    pub(crate) old: Reach,
    pub(crate) old_playbook: Option<String>,
    pub(crate) old_why: Option<String>,
    pub(crate) new: Reach,
    pub(crate) new_playbook: Option<String>,
    pub(crate) new_why: Option<String>,
}

fn safe(text: &str) -> String {
    Printable(text).to_string()
}

impl Side {
    /// The side called `name` that `tally` is about.
    pub(crate) fn new(name: String, tally: &Tally) -> Self {
        let mut playbooks: Vec<PlaybookRow> = tally
            .playbooks
            .values()
            .map(|playbook| PlaybookRow {
                name: safe(&playbook.name),
                hash: playbook.hash.to_string(),
                matched: tally.hits.get(&playbook.hash).copied().unwrap_or(0),
            })
            .collect();
        playbooks.sort_by(|one, other| one.name.cmp(&other.name));
        let never = playbooks.iter().filter(|it| it.matched == 0);
        let never_matched = never.map(|it| it.name.clone()).collect();
        let mut addresses: BTreeMap<&'static str, u64> = BTreeMap::new();
        for address in tally.addresses.values() {
            *addresses.entry(address.reach.name()).or_default() += 1;
        }
        let (plans, beyond) = plans(tally);
        Self {
            name,
            playbooks,
            never_matched,
            events_matched: tally.events_matched,
            without_key: tally.without_key,
            beyond_limit: tally.beyond_limit,
            incidents: tally.incidents,
            joins: tally.joins,
            without_target: tally.without_target,
            addresses,
            addresses_left_out: tally.addresses_left_out,
            containments: tally.containments,
            acts: tally.acts,
            asked: tally.asked,
            failures: tally.failures,
            breaker_opened: tally.breaker.count,
            breaker_first: tally.breaker.at,
            guards: guards(tally),
            other_refusals: tally.other_refusals.clone(),
            impact: ImpactRow {
                known: tally.impact.known,
                unknown: tally.impact.unknown,
                share_max_bp: tally.impact.largest.as_ref().map(|(share, _)| *share),
                share_max_target: tally.impact.largest.as_ref().map(|(_, target)| target.to_string()),
            },
            peaks: peaks(tally),
            plans,
            plans_left_out: tally.plans_left_out + beyond,
        }
    }

    /// How many addresses went as far as `reach`.
    pub(crate) fn count(&self, reach: Reach) -> u64 {
        self.addresses.get(reach.name()).copied().unwrap_or(0)
    }

    /// Refusals of guards in all.
    pub(crate) fn refused_by_guards(&self) -> u64 {
        self.guards.iter().map(|it| it.refused).sum()
    }
}

fn name_of(tally: &Tally, hash: ContentHash) -> String {
    let playbook = tally.playbooks.get(&hash);
    playbook.map_or_else(|| hash.to_string(), |it| safe(&it.name))
}

fn guards(tally: &Tally) -> Vec<GuardRow> {
    let row = |(guard, it): (&GuardName, &super::tally::GuardTally)| GuardRow {
        guard: *guard,
        refused: it.refused,
        asked: it.asked,
        demoted: it.demoted,
        measured_max: it.worst.map(|(measured, _, _)| measured),
        limit: it.worst.and_then(|(_, limit, _)| limit),
        unit: it.worst.map(|(_, _, unit)| unit),
        example: it.example.as_ref().map(|(target, at, why)| Example {
            target: target.to_string(),
            at: *at,
            why: safe(why),
        }),
    };
    tally.guards.iter().map(row).collect()
}

fn peaks(tally: &Tally) -> Vec<PeakRow> {
    let row = |what: String, peak: Peak, limit: Option<u64>| PeakRow {
        what,
        peak: peak.count,
        limit,
        at: peak.at,
    };
    let limits = tally.limits;
    let mut rows = vec![
        row("containments at a time".into(), tally.peak_in_force, None),
        row(
            "acts in an hour, in all".into(),
            tally.peak_total,
            limits.map(|it| it.acts_per_hour_max.into()),
        ),
    ];
    for (kind, peak) in &tally.peak_action {
        let limit = limits.map(|it| it.acts_per_action_hour_max.into());
        rows.push(row(format!("acts in an hour, {kind}"), *peak, limit));
    }
    for (hash, peak) in &tally.peak_playbook {
        let limit = tally.playbooks.get(hash).map(|it| it.guards.acts_per_hour_max.into());
        rows.push(row(format!("acts in an hour, {}", name_of(tally, *hash)), *peak, limit));
    }
    let around = tally
        .peak_group
        .1
        .clone()
        .map_or_else(String::new, |target| format!(" (around {target})"));
    let limit = limits.map(|it| it.acts_per_group_hour_max.into());
    rows.push(row(
        format!("acts in an hour, one neighbourhood{around}"),
        tally.peak_group.0,
        limit,
    ));
    rows
}

fn plans(tally: &Tally) -> (Vec<PlanRow>, u64) {
    let mut rows: Vec<PlanRow> = tally
        .plans
        .iter()
        .map(|(key, plan)| {
            let PlanKey {
                playbook,
                step,
                kind,
                ruling,
                lease,
            } = key;
            let (ruling, guard) = match ruling {
                Ruling::Act => ("contain", None),
                Ruling::ActAsApproved => ("contain, as approved", None),
                Ruling::Ask => ("ask a person", None),
                Ruling::Observe => ("observe only", None),
                Ruling::Refuse(guard) => ("refuse", *guard),
            };
            PlanRow {
                playbook: name_of(tally, *playbook),
                step: *step,
                action: kind.to_string(),
                ruling,
                guard,
                count: plan.count,
                approved: plan.approved,
                lease: *lease,
                mode: plan.mode,
                risk: plan.risk.map(|risk| format!("{risk:?}").to_lowercase()),
                examples: plan.examples.iter().map(Target::to_string).collect(),
                first: plan.first,
                why: plan.why.as_deref().map(safe),
                guards: plan
                    .guards
                    .iter()
                    .map(|result| PlanGuard {
                        guard: result.guard,
                        verdict: result.verdict,
                        measured: result.measured,
                        limit: result.limit,
                        unit: result.unit,
                        why: safe(&result.why),
                    })
                    .collect(),
            }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    let beyond = rows.len().saturating_sub(PLANS_MAX) as u64;
    rows.truncate(PLANS_MAX);
    (rows, beyond)
}

/// Compares what became of each address.
pub(crate) fn compare(old: &Tally, new: &Tally) -> Comparison {
    let mut comparison = Comparison::default();
    let (mut contained, mut spared) = (Vec::new(), Vec::new());
    let all: std::collections::BTreeSet<&Target> = old.addresses.keys().chain(new.addresses.keys()).collect();
    let reach = |it: Option<&Address>| it.map_or(Reach::Nothing, |it| it.reach);
    for target in all {
        let (before, after) = (old.addresses.get(target), new.addresses.get(target));
        let list = match (reach(before), reach(after)) {
            (Reach::Contained, Reach::Contained) => None,
            (_, Reach::Contained) => Some(&mut contained),
            (Reach::Contained, _) => Some(&mut spared),
            (one, other) if one != other => {
                comparison.otherwise_different += 1;
                continue;
            }
            _ => None,
        };
        let Some(list) = list else {
            comparison.same += 1;
            continue;
        };
        let first = [before, after].into_iter().flatten().map(|it| it.first).min();
        list.push((first.unwrap_or(Timestamp::EPOCH), target.clone()));
    }
    let listed = |mut all: Vec<(Timestamp, Target)>| {
        all.sort_unstable();
        let changed = |(first, target): &(Timestamp, Target)| {
            let (before, after) = (old.addresses.get(target), new.addresses.get(target));
            let why = |it: Option<&Address>| {
                let short = it.filter(|it| it.reach != Reach::Contained)?;
                short.why.as_deref().map(safe)
            };
            Changed {
                address: target.to_string(),
                first: *first,
                old: reach(before),
                old_playbook: before.map(|it| name_of(old, it.playbook)),
                old_why: why(before),
                new: reach(after),
                new_playbook: after.map(|it| name_of(new, it.playbook)),
                new_why: why(after),
            }
        };
        Listed {
            count: all.len() as u64,
            addresses: all.iter().take(LISTED_MAX).map(changed).collect(),
        }
    };
    comparison.newly_contained = listed(contained);
    comparison.newly_spared = listed(spared);
    comparison
}

/// `number` in words of its `unit`.
pub(crate) fn in_unit(number: u64, unit: Unit) -> String {
    match unit {
        Unit::BasisPoints => percent(number),
        Unit::Micros => Span::from_micros(number).to_string(),
        Unit::PrefixBits => format!("/{number}"),
        Unit::Count => number.to_string(),
        Unit::Thousandths => Score::from_thousandths(u16::try_from(number).unwrap_or(u16::MAX)).to_string(),
    }
}
