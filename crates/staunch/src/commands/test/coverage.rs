//! What of a playbook the tests have reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use staunch_model::{
    Change, ClauseKind, ClauseValue, Endpoint, EventKind, EventView, EvidenceKind, EvidenceOptions, Explanation,
    FieldValue, GuardName, IncidentOutcome, Judgement, NothingKnown, Playbook, Program, RawFields, Record, RecoverStep,
    RecoveryEnd, RiskClass, Severity, Verdict, WatchOver, WatchVerdict,
};
use staunch_sim::script::{Moment, Seen};

/// The guards that an event can make refuse. A target is one address, so the width of its prefix never is too much; and
/// a sample never gets as far as a guard.
const GUARDS: [GuardName; 10] = [
    GuardName::NeverTouch,
    GuardName::Freshness,
    GuardName::TargetBusy,
    GuardName::Capacity,
    GuardName::Impact,
    GuardName::BudgetAction,
    GuardName::BudgetPlaybook,
    GuardName::BudgetGroup,
    GuardName::BudgetTotal,
    GuardName::Breaker,
];

const RISKS: [(RiskClass, &str); 3] = [
    (RiskClass::Low, "low"),
    (RiskClass::Medium, "medium"),
    (RiskClass::High, "high"),
];

/// An event without anything, to learn the clauses of a trigger from.
struct Nothing;

impl RawFields for Nothing {
    fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
        None
    }
    fn bytes(&self) -> &[u8] {
        b"{}"
    }
}

/// What of one playbook was reached.
pub(super) struct Coverage {
    /// The tests of its trigger, each with whether it was true and false.
    clauses: Vec<(String, bool, bool)>,
    /// All clauses, those that hold others included.
    pub(super) written: Vec<(ClauseKind, String)>,
    guards: BTreeMap<GuardName, (bool, bool)>,
    /// Each with its position among the playbook's steps.
    steps: Vec<(u16, String, bool)>,
    /// The evidence that is kept: kind, options, how it is shown, and whether it was sealed.
    evidence: Vec<(EvidenceKind, Box<EvidenceOptions>, String, bool)>,
    /// The leases after the first of steps whose leases grow: step, how many leases before, and how it is shown.
    leases: Vec<(u16, u32, String, bool)>,
    modes: Vec<(RiskClass, String, bool)>,
    outcomes: BTreeSet<IncidentOutcome>,
    /// The steps of the recover phase.
    recovery: Vec<(String, bool)>,
    /// The health watches, each with whether it was healthy to the end, and whether it hurt.
    watches: Vec<(Watched, String, bool, bool)>,
}

/// What a health watch is over, in a playbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// A step by its position among all.
    Step(u16),
    /// A step of the recover phase by its position there.
    Recovery(u16),
}

/// The coverage of one playbook.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct CoverageReport {
    pub(super) playbook: String,
    pub(super) reached: usize,
    pub(super) of: usize,
    pub(super) parts: Vec<Part>,
}

/// One kind of thing in a playbook.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) what: &'static str,
    pub(super) reached: usize,
    pub(super) of: usize,
    /// What no test has reached.
    pub(super) missing: Vec<String>,
}

impl Coverage {
    pub(super) fn new(program: &Program) -> Self {
        let nothing = EventView {
            system: "",
            kind: EventKind::Alert,
            id: None,
            time: None,
            severity: Severity::Unknown,
            signature: "",
            category: "",
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: &Nothing,
            around: &NothingKnown,
        };
        let explained = (program.explain)(&nothing).clauses;
        let playbook = &program.playbook;
        let limited = playbook.guards.traffic_share_max_bp.is_some();
        let guards = GUARDS.iter().filter(|guard| limited || **guard != GuardName::Impact);
        let step = |it: &staunch_model::Step| format!("{} {}", it.action, it.target);
        Self {
            clauses: explained
                .iter()
                .filter(|it| it.kind == ClauseKind::Test)
                .map(|it| (it.text.clone(), false, false))
                .collect(),
            written: explained.into_iter().map(|it| (it.kind, it.text)).collect(),
            guards: guards.map(|guard| (*guard, (false, false))).collect(),
            steps: playbook.containing().map(|(at, it)| (at, step(it), false)).collect(),
            evidence: playbook
                .preserve
                .iter()
                .map(|it| {
                    let text = format!("{} {}", it.evidence, it.target);
                    (it.evidence, it.options.clone(), text.trim_end().to_owned(), false)
                })
                .collect(),
            leases: playbook
                .containing()
                .flat_map(|(at, of)| {
                    let then = (1..).zip(playbook.leases_then(at));
                    then.map(move |(times, lease)| (at, times, format!("{} for {lease}", step(of)), false))
                })
                .collect(),
            modes: RISKS
                .iter()
                .map(|(risk, name)| (*risk, format!("{name}: {}", playbook.modes.of(*risk)), false))
                .collect(),
            outcomes: BTreeSet::new(),
            recovery: (1..)
                .zip(playbook.recover())
                .map(|(number, it): (u16, _)| (format!("{number}. {}", recover_words(playbook, it)), false))
                .collect(),
            watches: watches(playbook)
                .map(|(over, what)| (over, what, false, false))
                .collect(),
        }
    }

    /// Takes in how the trigger looked at an event.
    pub(super) fn looked(&mut self, explanation: &Explanation) {
        let tests = explanation.clauses.iter().filter(|it| it.kind == ClauseKind::Test);
        for ((_, was_true, was_false), clause) in self.clauses.iter_mut().zip(tests) {
            *was_true |= clause.value == ClauseValue::True;
            *was_false |= clause.value == ClauseValue::False;
        }
    }

    /// Takes in what happened. `step_of` tells the step of a transaction.
    pub(super) fn happened(
        &mut self,
        history: &[Moment],
        step_of: impl Fn(staunch_model::TransactionId) -> Option<u16>,
    ) {
        let (mut over, mut asked) = (BTreeMap::new(), BTreeMap::new());
        for moment in history {
            let Seen::Frame(frame) = &moment.what else { continue };
            for record in &frame.records {
                match record {
                    Record::OutcomeReached { outcome, .. } => {
                        self.outcomes.insert(*outcome);
                    }
                    Record::CameBack { transaction, times, .. } => {
                        let step = step_of(*transaction);
                        let reached = self
                            .leases
                            .iter_mut()
                            .filter(|(of, before, ..)| step == Some(*of) && before == times);
                        reached.for_each(|(.., reached)| *reached = true);
                    }
                    Record::Transaction { transaction, change } => {
                        if let Some(judgement) = judgement(change) {
                            self.judged(judgement);
                        }
                        if let Change::PostCheckPassed { .. } = change
                            && let Some(step) = step_of(*transaction)
                            && let Some((_, _, reached)) = self.steps.iter_mut().find(|(at, ..)| *at == step)
                        {
                            *reached = true;
                        }
                    }
                    Record::EvidencePlanned {
                        evidence,
                        kind,
                        options,
                        ..
                    } => {
                        asked.insert(*evidence, (*kind, options));
                    }
                    Record::EvidenceSealed { evidence, .. } => {
                        let of = asked.get(evidence);
                        let alike = |it: &&mut (EvidenceKind, Box<EvidenceOptions>, String, bool)| {
                            of.is_some_and(|(kind, options)| it.0 == *kind && it.1 == **options)
                        };
                        self.evidence.iter_mut().filter(alike).for_each(|it| it.3 = true);
                    }
                    Record::RecoveryAt { at, .. } => self.recovered_to(usize::from(*at)),
                    Record::RecoveryEnded {
                        end: RecoveryEnd::Recovered,
                        ..
                    } => self.recovered_to(usize::MAX),
                    Record::WatchPlanned { watch, over: of, .. } => {
                        let of = match of {
                            WatchOver::Containment(id) => step_of(*id).map(Watched::Step),
                            WatchOver::Recovery(at) => Some(Watched::Recovery(*at)),
                        };
                        over.insert(*watch, of);
                    }
                    Record::WatchEnded { watch, verdict, .. } => {
                        let of = over.get(watch).copied().flatten();
                        let of = self.watches.iter_mut().find(|(it, ..)| Some(*it) == of);
                        if let Some((.., healthy, hurt)) = of {
                            *healthy |= *verdict == WatchVerdict::Healthy;
                            *hurt |= *verdict == WatchVerdict::Hurt;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The steps of the recover phase before `at` are done.
    fn recovered_to(&mut self, at: usize) {
        self.recovery.iter_mut().take(at).for_each(|(_, done)| *done = true);
    }

    fn judged(&mut self, judgement: &Judgement) {
        for result in &judgement.guards {
            if let Some((passed, refused)) = self.guards.get_mut(&result.guard) {
                match result.verdict {
                    Verdict::Passed => *passed = true,
                    Verdict::Ask | Verdict::ObserveOnly | Verdict::Refused => *refused = true,
                    Verdict::Unknown => {}
                }
            }
        }
        for (risk, text, reached) in &mut self.modes {
            // A policy or an operator may have set a narrower mode than the playbook's.
            if *risk == judgement.risk && text.ends_with(judgement.mode.name()) {
                *reached = true;
            }
        }
    }

    pub(super) fn report(&self, playbook: &str) -> CoverageReport {
        let sides = |items: Vec<(String, bool, &str)>, what| {
            let of = items.len();
            let missing: Vec<String> = items
                .into_iter()
                .filter(|(_, reached, _)| !reached)
                .map(|(name, _, side)| format!("{name}{side}"))
                .collect();
            Part {
                what,
                reached: of - missing.len(),
                of,
                missing,
            }
        };
        let clauses = self.clauses.iter();
        let clauses =
            clauses.flat_map(|(text, t, f)| [(text.clone(), *t, " never true"), (text.clone(), *f, " never false")]);
        let guards = self.guards.iter();
        let guards = guards.flat_map(|(guard, (passed, refused))| {
            let name = guard.name().to_owned();
            [
                (name.clone(), *passed, " never passing"),
                (name, *refused, " never refusing"),
            ]
        });
        let steps = self
            .steps
            .iter()
            .map(|(_, text, reached)| (text.clone(), *reached, " never in force"));
        let evidence = self.evidence.iter();
        let evidence = evidence.map(|(.., text, sealed)| (text.clone(), *sealed, " never sealed"));
        let leases = self.leases.iter();
        let leases = leases.map(|(_, _, text, reached)| (text.clone(), *reached, " never given"));
        let modes = self.modes.iter().map(|(_, text, reached)| (text.clone(), *reached, ""));
        let recovery = self.recovery.iter();
        let recovery = recovery.map(|(text, done)| (text.clone(), *done, " never done"));
        let watches = self.watches.iter().flat_map(|(_, text, healthy, hurt)| {
            [
                (text.clone(), *healthy, " never healthy to the end"),
                (text.clone(), *hurt, " never hurting"),
            ]
        });
        let outcomes = IncidentOutcome::ALL.iter();
        let outcomes = outcomes.map(|it| (it.name().to_owned(), self.outcomes.contains(it), ""));
        let mut parts = vec![
            sides(clauses.collect(), "clauses"),
            sides(guards.collect(), "guards"),
            sides(evidence.collect(), "evidence"),
            sides(steps.collect(), "steps"),
            sides(leases.collect(), "leases"),
            sides(modes.collect(), "modes"),
            sides(outcomes.collect(), "outcomes"),
            sides(watches.collect(), "watches"),
            sides(recovery.collect(), "recovery"),
        ];
        // Most playbooks have no evidence, no leases that grow, no watches and no recover phase.
        parts.retain(|it| it.of > 0);
        CoverageReport {
            playbook: playbook.to_owned(),
            reached: parts.iter().map(|it| it.reached).sum(),
            of: parts.iter().map(|it| it.of).sum(),
            parts,
        }
    }
}

/// What a step of the recover phase does; what an act is aimed at is for each incident to say.
fn recover_words(playbook: &Playbook, step: &RecoverStep) -> String {
    match step {
        RecoverStep::Act { step } => {
            let act = playbook.steps.get(usize::from(*step));
            act.map_or_else(String::new, |it| format!("{} {}", it.action, it.target))
        }
        RecoverStep::Release { .. } | RecoverStep::Soak { .. } | RecoverStep::RequestChange { .. } => {
            step.words(playbook, &[])
        }
    }
}

/// What `playbook` watches, and a name for each watch.
fn watches(playbook: &Playbook) -> impl Iterator<Item = (Watched, String)> {
    let steps = playbook.containing().filter_map(|(at, step)| {
        let watch = playbook.watch_of(at)?;
        Some((
            Watched::Step(at),
            format!("{} over {} {}", watch.signal, step.action, step.target),
        ))
    });
    let soaks = (0..)
        .zip(playbook.recover())
        .filter_map(|(at, step): (u16, _)| match step {
            RecoverStep::Soak { watch, .. } => {
                let number = u32::from(at) + 1;
                Some((
                    Watched::Recovery(at),
                    format!("{} over recovery, step {number}", watch.signal),
                ))
            }
            RecoverStep::Act { .. } | RecoverStep::Release { .. } | RecoverStep::RequestChange { .. } => None,
        });
    steps.chain(soaks)
}

/// What was concluded, when `change` says.
pub(super) fn judgement(change: &Change) -> Option<&Judgement> {
    match change {
        Change::Refused { judgement, .. } | Change::ExecuteIntended { judgement, .. } => judgement.as_deref(),
        Change::WouldExecute { judgement } | Change::ApprovalRequested { judgement, .. } => Some(judgement),
        _ => None,
    }
}
