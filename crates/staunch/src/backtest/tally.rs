//! What became of one lane, counted from its records as they come. Bounded, however many events there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use staunch_engine::budget::{Scope, group};
use staunch_engine::{EngineState, limits};
use staunch_model::{
    ActionKind, Change, ContentHash, GuardName, GuardResult, IncidentId, Judgement, Match, Mode, Playbook, Policy,
    Record, RefusalReason, RiskClass, Span, Target, Timestamp, TransactionId, Unit, Verdict,
};

/// Addresses that are told apart. Beyond it they are counted as left out.
const ADDRESSES_MAX: usize = 1_000_000;

/// Plans that are told apart.
const PLANS_MAX: usize = 200;

/// Addresses named as examples of a plan.
const EXAMPLES_MAX: usize = 5;

/// How far Staunch went for an address, at the furthest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reach {
    /// No playbook matched.
    Nothing,
    /// A guard or a rule of the engine said no.
    Refused,
    /// The act failed, and was undone or needs a person.
    Failed,
    /// It was written down what would have been done.
    Observed,
    /// A person was asked, and it went no further.
    Asked,
    /// It came into force.
    Contained,
}

impl Reach {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Observed => "observed",
            Self::Asked => "asked",
            Self::Contained => "contained",
        }
    }
}

/// What became of one address.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) reach: Reach,
    /// How often it came into force.
    pub(crate) containments: u64,
    /// When it was first aimed at.
    pub(crate) first: Timestamp,
    /// Why it went no further, the last time that it did not.
    pub(crate) why: Option<Box<str>>,
    /// The playbook of the furthest reach.
    pub(crate) playbook: ContentHash,
}

/// How often a guard did not simply pass, and its worst case.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuardTally {
    pub(crate) refused: u64,
    pub(crate) asked: u64,
    pub(crate) demoted: u64,
    /// The largest number that it refused, and the limit that was crossed.
    pub(crate) worst: Option<(u64, Option<u64>, Unit)>,
    /// The first case.
    pub(crate) example: Option<(Target, Timestamp, Box<str>)>,
}

/// What is known of the traffic that containment would have stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Impact {
    pub(crate) known: u64,
    pub(crate) unknown: u64,
    pub(crate) largest: Option<(u64, Target)>,
}

/// The most of something, and when it was reached first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    pub(crate) count: u64,
    pub(crate) at: Option<Timestamp>,
}

impl Peak {
    fn see(&mut self, count: u64, now: Timestamp) {
        if count > self.count {
            *self = Self { count, at: Some(now) };
        }
    }
}

/// What makes two plans the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlanKey {
    pub(crate) playbook: ContentHash,
    pub(crate) step: u16,
    pub(crate) kind: ActionKind,
    pub(crate) ruling: Ruling,
    pub(crate) lease: Span,
}

/// What would have followed from a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ruling {
    Act,
    ActAsApproved,
    Ask,
    Observe,
    Refuse(Option<GuardName>),
}

/// A plan, how often it was made, and the first case of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) count: u64,
    /// Of those that a person was asked about, how many that person approved.
    pub(crate) approved: u64,
    pub(crate) examples: Vec<Target>,
    pub(crate) first: Timestamp,
    pub(crate) mode: Option<Mode>,
    pub(crate) risk: Option<RiskClass>,
    pub(crate) guards: Vec<GuardResult>,
    pub(crate) why: Option<Box<str>>,
}

/// What is remembered of a transaction until it has ended.
#[derive(Clone, Debug)]
struct Planned {
    playbook: ContentHash,
    step: u16,
    kind: ActionKind,
    target: Target,
    lease: Span,
    was_asked: bool,
}

impl Planned {
    /// What it has in common with the others of its kind.
    const fn key(&self, ruling: Ruling) -> PlanKey {
        PlanKey {
            playbook: self.playbook,
            step: self.step,
            kind: self.kind,
            ruling,
            lease: self.lease,
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) events_matched: u64,
    pub(crate) hits: BTreeMap<ContentHash, u64>,
    pub(crate) without_key: u64,
    pub(crate) beyond_limit: u64,
    pub(crate) incidents: u64,
    pub(crate) joins: u64,
    pub(crate) without_target: u64,
    pub(crate) playbooks: BTreeMap<ContentHash, std::sync::Arc<Playbook>>,
    pub(crate) limits: Option<staunch_model::Limits>,
    pub(crate) addresses: BTreeMap<Target, Address>,
    pub(crate) addresses_left_out: u64,
    pub(crate) guards: BTreeMap<GuardName, GuardTally>,
    pub(crate) other_refusals: BTreeMap<&'static str, u64>,
    pub(crate) impact: Impact,
    pub(crate) acts: u64,
    pub(crate) containments: u64,
    pub(crate) asked: u64,
    pub(crate) failures: u64,
    pub(crate) breaker: Peak,
    pub(crate) peak_in_force: Peak,
    pub(crate) peak_total: Peak,
    pub(crate) peak_group: (Peak, Option<Target>),
    pub(crate) peak_playbook: BTreeMap<ContentHash, Peak>,
    pub(crate) peak_action: BTreeMap<ActionKind, Peak>,
    pub(crate) plans: BTreeMap<PlanKey, Plan>,
    pub(crate) plans_left_out: u64,
    planned: BTreeMap<TransactionId, Planned>,
    open: BTreeMap<IncidentId, ContentHash>,
    in_force: BTreeSet<TransactionId>,
}

impl Tally {
    /// Learns the names and limits of `policy`.
    pub(crate) fn know(&mut self, policy: &Policy) {
        self.limits = Some(policy.limits);
        for playbook in &policy.playbooks {
            self.playbooks.insert(playbook.hash, playbook.clone());
        }
    }

    /// How often `guard` let something not simply pass.
    pub(crate) fn held_back_by(&self, guard: GuardName) -> u64 {
        let it = self.guards.get(&guard);
        it.map_or(0, |it| it.refused + it.asked + it.demoted)
    }

    /// Counts an event that matched.
    pub(crate) fn matched(&mut self, matches: &[Match]) {
        self.events_matched += 1;
        for matched in matches {
            *self.hits.entry(matched.playbook).or_default() += 1;
        }
    }

    /// Counts `record`, which became true at `now` and left `state`.
    pub(crate) fn note(&mut self, record: &Record, state: &EngineState, now: Timestamp) {
        match record {
            Record::IncidentOpened { incident, playbook, .. } => {
                self.incidents += 1;
                self.open.insert(*incident, *playbook);
            }
            Record::EventJoined { .. } => self.joins += 1,
            Record::IncidentForgotten { incident } => drop(self.open.remove(incident)),
            Record::StepWithoutTarget { .. } => self.without_target += 1,
            Record::TransactionPlanned {
                transaction,
                incident,
                step,
                kind,
                target,
                lease,
                ..
            } => {
                let planned = Planned {
                    playbook: self.open.get(incident).copied().unwrap_or_default(),
                    step: *step,
                    kind: *kind,
                    target: target.clone(),
                    lease: *lease,
                    was_asked: false,
                };
                self.planned.insert(*transaction, planned);
            }
            Record::Transaction { transaction, change } => self.change(*transaction, change, state, now),
            Record::BreakerOpened { .. } => {
                let opened = self.breaker.count + 1;
                self.breaker = Peak {
                    count: opened,
                    at: self.breaker.at.or(Some(now)),
                };
            }
            _ => {}
        }
    }

    fn change(&mut self, id: TransactionId, change: &Change, state: &EngineState, now: Timestamp) {
        let Some(it) = self.planned.get(&id).cloned() else {
            return;
        };
        match change {
            Change::ApprovalRequested { judgement, .. } => {
                self.asked += 1;
                self.guards_of(judgement, Verdict::Ask, &it.target, now);
                let ruling = Ruling::Ask;
                self.reach(&it, Reach::Asked, first_of(judgement, Verdict::Ask), now);
                if let Some(planned) = self.planned.get_mut(&id) {
                    planned.was_asked = true;
                }
                self.plan(&it, ruling, Some(judgement), None, now);
            }
            Change::Approved { .. } => {
                if let Some(plan) = self.plans.get_mut(&it.key(Ruling::Ask)) {
                    plan.approved += 1;
                }
            }
            Change::WouldExecute { judgement } => {
                self.guards_of(judgement, Verdict::ObserveOnly, &it.target, now);
                self.impact_of(judgement, &it.target);
                self.reach(&it, Reach::Observed, first_of(judgement, Verdict::ObserveOnly), now);
                self.plan(&it, Ruling::Observe, Some(judgement), None, now);
                self.planned.remove(&id);
            }
            Change::Refused { reason, judgement } => {
                let (guard, why): (_, Box<str>) = match &**reason {
                    RefusalReason::Guard { guard, why } => (Some(*guard), format!("{guard}: {why}").into()),
                    other => {
                        let why = refusal(other);
                        *self.other_refusals.entry(why).or_default() += 1;
                        (None, why.into())
                    }
                };
                if let Some(judgement) = judgement {
                    self.guards_of(judgement, Verdict::Refused, &it.target, now);
                    self.impact_of(judgement, &it.target);
                }
                self.reach(&it, Reach::Refused, Some(why.clone()), now);
                self.plan(&it, Ruling::Refuse(guard), judgement.as_deref(), Some(why), now);
                self.planned.remove(&id);
            }
            Change::ExecuteIntended {
                judgement: Some(judgement),
                ..
            } => {
                self.acts += 1;
                self.impact_of(judgement, &it.target);
                let ruling = if it.was_asked {
                    Ruling::ActAsApproved
                } else {
                    Ruling::Act
                };
                self.plan(&it, ruling, Some(judgement), None, now);
                let spent = |scope| state.budgets.spent(scope, limits::BUDGET_WINDOW, now);
                self.peak_total.see(spent(Scope::Total), now);
                let action = self.peak_action.entry(it.kind).or_default();
                action.see(spent(Scope::Action(it.kind)), now);
                let playbook = self.peak_playbook.entry(it.playbook).or_default();
                playbook.see(spent(Scope::Playbook(it.playbook)), now);
                let before = self.peak_group.0;
                self.peak_group.0.see(spent(group(&it.target)), now);
                if self.peak_group.0 != before {
                    self.peak_group.1 = Some(it.target.clone());
                }
            }
            Change::PostCheckPassed { .. } => {
                self.containments += 1;
                self.in_force.insert(id);
                self.peak_in_force.see(self.in_force.len() as u64, now);
                self.reach(&it, Reach::Contained, None, now);
                if let Some(address) = self.addresses.get_mut(&it.target) {
                    address.containments += 1;
                }
            }
            Change::RollbackStarted { .. } | Change::ReleaseStarted { .. } => drop(self.in_force.remove(&id)),
            Change::ReleaseVerified => drop(self.planned.remove(&id)),
            Change::ProbedAbsent | Change::GaveUp(_) => {
                self.failures += 1;
                self.reach(&it, Reach::Failed, Some("the act failed as recorded".into()), now);
                self.planned.remove(&id);
            }
            _ => {}
        }
    }

    fn reach(&mut self, it: &Planned, reach: Reach, why: Option<Box<str>>, now: Timestamp) {
        if !self.addresses.contains_key(&it.target) && self.addresses.len() >= ADDRESSES_MAX {
            self.addresses_left_out += 1;
            return;
        }
        let address = self.addresses.entry(it.target.clone()).or_insert_with(|| Address {
            reach: Reach::Nothing,
            containments: 0,
            first: now,
            why: None,
            playbook: it.playbook,
        });
        if reach >= address.reach {
            address.playbook = it.playbook;
        }
        address.reach = address.reach.max(reach);
        if why.is_some() {
            address.why = why;
        }
    }

    fn guards_of(&mut self, judgement: &Judgement, verdict: Verdict, target: &Target, now: Timestamp) {
        for result in judgement.guards.iter().filter(|result| result.verdict == verdict) {
            let tally = self.guards.entry(result.guard).or_default();
            match verdict {
                Verdict::Refused => tally.refused += 1,
                Verdict::Ask => tally.asked += 1,
                Verdict::ObserveOnly => tally.demoted += 1,
                Verdict::Passed | Verdict::Unknown => {}
            }
            if let Some(measured) = result.measured
                && tally.worst.is_none_or(|(worst, _, _)| measured > worst)
            {
                tally.worst = Some((measured, result.limit, result.unit));
            }
            tally
                .example
                .get_or_insert_with(|| (target.clone(), now, result.why.clone()));
        }
    }

    fn impact_of(&mut self, judgement: &Judgement, target: &Target) {
        match judgement.facts.traffic.as_ref().map(|fact| &fact.value) {
            Some(Ok(share)) => {
                self.impact.known += 1;
                let share = share.basis_points();
                if self.impact.largest.as_ref().is_none_or(|(largest, _)| share > *largest) {
                    self.impact.largest = Some((share, target.clone()));
                }
            }
            Some(Err(_)) | None => self.impact.unknown += 1,
        }
    }

    fn plan(
        &mut self,
        it: &Planned,
        ruling: Ruling,
        judgement: Option<&Judgement>,
        why: Option<Box<str>>,
        now: Timestamp,
    ) {
        let key = it.key(ruling);
        if !self.plans.contains_key(&key) && self.plans.len() >= PLANS_MAX {
            self.plans_left_out += 1;
            return;
        }
        let plan = self.plans.entry(key).or_insert_with(|| Plan {
            count: 0,
            approved: 0,
            examples: Vec::new(),
            first: now,
            mode: judgement.map(|judgement| judgement.mode),
            risk: judgement.map(|judgement| judgement.risk),
            guards: judgement.map_or_else(Vec::new, |judgement| judgement.guards.clone()),
            why,
        });
        plan.count += 1;
        if plan.examples.len() < EXAMPLES_MAX && !plan.examples.contains(&it.target) {
            plan.examples.push(it.target.clone());
        }
    }
}

fn first_of(judgement: &Judgement, verdict: Verdict) -> Option<Box<str>> {
    let found = judgement.guards.iter().find(|result| result.verdict == verdict)?;
    Some(format!("{}: {}", found.guard, found.why).into())
}

fn refusal(reason: &RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Guard { .. } => "a guard refused",
        RefusalReason::NoTarget => "the event names nothing to act on",
        RefusalReason::CheckFailed(_) => "the target could not be looked at",
        RefusalReason::Denied { .. } => "a person said no",
        RefusalReason::ApprovalExpired => "nobody approved in time",
        RefusalReason::Cancelled { .. } => "cancelled",
        RefusalReason::QueueTimeout => "it waited too long for its turn",
        RefusalReason::Abandoned => "another step of the incident failed",
    }
}
