//! Whether what a test expects is so, and what is so instead.

use std::collections::BTreeMap;

use staunch_model::{
    Change, ClauseKind, ClauseValue, Effect, EvidenceKind, GuardName, IncidentOutcome, Owner, Record, RecoveryEnd,
    RefusalReason, State, Target, TriggerOutcome, TriggerReport, Verdict, WatchVerdict,
};
use staunch_playbook::test_file::{Claim, InPlace, Preserved, RecoveryStage};
use staunch_sim::script::{Script, Seen};

use super::coverage::judgement;

/// Reasons for an event to match nothing that are no clause.
pub(super) const REASONS: [&str; 3] = ["not an alert", "other system", "without key"];

/// What there is to judge by.
pub(super) struct Evidence<'a> {
    pub(super) script: &'a Script,
    /// How the playbook took the events that did not match.
    pub(super) unmatched: &'a [&'a TriggerReport],
    /// Events of the test that match.
    pub(super) matched: usize,
}

/// True when `written` names the clause `text`.
pub(super) fn names(written: &str, kind: ClauseKind, text: &str) -> bool {
    let written = written.split_whitespace().collect::<Vec<_>>().join(" ");
    written == text || (kind == ClauseKind::Test && text.contains(&written))
}

/// Holds `claim` against what is so.
///
/// # Errors
/// What is so instead.
pub(super) fn judge(evidence: &Evidence<'_>, claim: &Claim) -> Result<(), String> {
    let script = evidence.script;
    let same = |expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected == found { Ok(()) } else { Err(found) }
    };
    match claim {
        Claim::State(target, expected) => {
            let newest = script.newest(target);
            match newest {
                Some(it) if Some(it.state.kind()) == *expected => Ok(()),
                None if expected.is_none() => Ok(()),
                Some(it) => Err(state_words(&it.state)),
                None => Err("no transaction".to_owned()),
            }
        }
        Claim::World(target, expected) => {
            let found = match script.owner(target) {
                None => InPlace::Absent,
                Some(Owner::Ours(_)) => InPlace::Ours,
                Some(Owner::Foreign(_)) => InPlace::Foreign,
            };
            same(&expected.name(), &found.name())
        }
        Claim::Refused { target, guard, says } => {
            let Some(it) = script.newest(target) else {
                return Err("no transaction".to_owned());
            };
            let State::Refused(reason) = &it.state else {
                return Err(state_words(&it.state));
            };
            let by = match &**reason {
                RefusalReason::Guard { guard, .. } => Some(*guard),
                _ => None,
            };
            let fits = guard.is_none_or(|guard| by == Some(guard))
                && says.as_ref().is_none_or(|says| reason.to_string().contains(says));
            if fits { Ok(()) } else { Err(state_words(&it.state)) }
        }
        Claim::Asked { target, guard, says } => asked(script, target, *guard, says.as_deref()),
        Claim::Order(expected) => {
            let mut found = Vec::new();
            for effect in acts(script) {
                if let Effect::Execute { target, .. } = effect
                    && !found.contains(target)
                {
                    found.push(target.clone());
                }
            }
            same(&list(expected), &list(&found))
        }
        Claim::Acts(expected) => same(expected, &acts(script).count()),
        Claim::Incidents(expected) => same(
            expected,
            &count(script, |it| matches!(it, Record::IncidentOpened { .. })),
        ),
        Claim::Joined(expected) => same(expected, &count(script, |it| matches!(it, Record::EventJoined { .. }))),
        Claim::Outcome(expected) => {
            let mut outcomes = records(script).filter_map(|it| match it {
                Record::OutcomeReached { outcome, .. } => Some(*outcome),
                _ => None,
            });
            let found = outcomes.next_back().map_or("none", IncidentOutcome::name);
            same(&expected.name(), &found)
        }
        Claim::Notices(level, expected) => same(
            expected,
            &count(
                script,
                |it| matches!(it, Record::NoticeQueued(notice) if notice.level == *level),
            ),
        ),
        Claim::Notice(expected) => {
            let mut notices = records(script).filter_map(|it| match it {
                Record::NoticeQueued(notice) => Some(&*notice.text),
                _ => None,
            });
            if notices.clone().any(|it| it.contains(expected)) {
                return Ok(());
            }
            Err(notices
                .next_back()
                .map_or_else(|| "no notice".to_owned(), |it| format!("the last one: {it}")))
        }
        Claim::CommandRefused(expected) => {
            let mut refused = records(script).filter_map(|it| match it {
                Record::CommandRefused { why } => Some(&**why),
                _ => None,
            });
            if refused.clone().any(|it| it.contains(expected)) {
                return Ok(());
            }
            Err(refused
                .next_back()
                .map_or_else(|| "no command was refused".to_owned(), str::to_owned))
        }
        Claim::NoMatch(expected) => no_match(evidence, expected),
        Claim::Evidence(kind, expected) => preserved(script, *kind, *expected),
        Claim::Recovery(expected) => recovery(script, *expected),
        Claim::Watch(signal, expected) => watch(script, &signal.value, *expected),
    }
}

fn asked(script: &Script, target: &Target, guard: Option<GuardName>, says: Option<&str>) -> Result<(), String> {
    let Some(it) = script.newest(target) else {
        return Err("no transaction".to_owned());
    };
    let mut questions = records(script).filter_map(|record| match record {
        Record::Transaction { transaction, change } if *transaction == it.id => match change {
            Change::ApprovalRequested { .. } => judgement(change),
            _ => None,
        },
        _ => None,
    });
    let Some(question) = questions.next_back() else {
        return Err(format!("nobody was asked: {}", state_words(&it.state)));
    };
    let asking: Vec<_> = question.guards.iter().filter(|it| it.verdict == Verdict::Ask).collect();
    let fits = |result: &&&staunch_model::GuardResult| {
        guard.is_none_or(|guard| result.guard == guard) && says.is_none_or(|says| result.why.contains(says))
    };
    if asking.iter().any(|it| fits(&it)) || (guard.is_none() && says.is_none()) {
        return Ok(());
    }
    let found: Vec<String> = asking.iter().map(|it| format!("{}: {}", it.guard, it.why)).collect();
    Err(if found.is_empty() {
        format!("asked because of mode {}", question.mode)
    } else {
        format!("asked because of {}", found.join("; "))
    })
}

/// What has become of the evidence of this kind that the newest incident asked for.
fn preserved(script: &Script, kind: EvidenceKind, expected: Preserved) -> Result<(), String> {
    let mut pieces = BTreeMap::new();
    let mut why = None;
    for record in records(script) {
        match record {
            Record::IncidentOpened { .. } => {
                pieces.clear();
                why = None;
            }
            Record::EvidencePlanned { evidence, kind: of, .. } if *of == kind => {
                pieces.insert(*evidence, Preserved::Open);
            }
            Record::EvidenceSealed { evidence, .. } => {
                if let Some(it) = pieces.get_mut(evidence) {
                    *it = match it {
                        Preserved::Missed => Preserved::Late,
                        _ => Preserved::Sealed,
                    };
                }
            }
            Record::EvidenceMissed { evidence, failure } => {
                if let Some(it) = pieces.get_mut(evidence) {
                    *it = Preserved::Missed;
                    why = Some(failure);
                }
            }
            _ => {}
        }
    }
    let found = |of: Preserved| pieces.values().filter(|it| **it == of).count();
    if (pieces.is_empty() && expected == Preserved::None) || (!pieces.is_empty() && found(expected) == pieces.len()) {
        return Ok(());
    }
    if pieces.is_empty() {
        return Err("not asked for".to_owned());
    }
    let parts = Preserved::ALL.into_iter().filter(|it| found(*it) > 0);
    let mut told: Vec<String> = match parts.clone().count() {
        1 => parts.map(|it| it.name().to_owned()).collect(),
        _ => parts.map(|it| format!("{} {}", found(it), it.name())).collect(),
    };
    told.extend(why.map(ToString::to_string));
    Err(told.join(", "))
}

/// How far the recovery is that was last heard of.
fn recovery(script: &Script, expected: RecoveryStage) -> Result<(), String> {
    let mut stages = records(script).filter_map(|it| match it {
        Record::RecoveryPlanned { .. } => Some((RecoveryStage::Waiting, None)),
        Record::RecoveryStarted { .. } => Some((RecoveryStage::Running, None)),
        Record::RecoveryEnded { end, .. } => Some(match end {
            RecoveryEnd::Recovered => (RecoveryStage::Recovered, None),
            RecoveryEnd::Failed { why } => (RecoveryStage::Failed, Some(why)),
            RecoveryEnd::Back { why } => (RecoveryStage::Back, Some(why)),
            RecoveryEnd::Stopped { .. } => (RecoveryStage::Stopped, None),
        }),
        _ => None,
    });
    let (found, why) = stages.next_back().unwrap_or((RecoveryStage::None, None));
    if found == expected {
        return Ok(());
    }
    Err(match why {
        Some(why) => format!("{}: {why}", found.name()),
        None => found.name().to_owned(),
    })
}

/// How the newest watch of `signal` ended.
fn watch(script: &Script, signal: &str, expected: Option<WatchVerdict>) -> Result<(), String> {
    let mut newest = None;
    for record in records(script) {
        match record {
            Record::WatchPlanned {
                incident, watch, plan, ..
            } if *plan.signal == *signal => newest = Some(((*incident, *watch), None)),
            Record::WatchEnded {
                incident,
                watch,
                verdict,
            } => match &mut newest {
                Some((of, ended)) if *of == (*incident, *watch) => *ended = Some(*verdict),
                _ => {}
            },
            _ => {}
        }
    }
    let Some((_, found)) = newest else {
        return Err("it has not been watched".to_owned());
    };
    if found == expected {
        return Ok(());
    }
    Err(found.map_or("running", WatchVerdict::name).to_owned())
}

fn no_match(evidence: &Evidence<'_>, expected: &str) -> Result<(), String> {
    if evidence.matched > 0 {
        return Err(format!("{} events match", evidence.matched));
    }
    if evidence.unmatched.is_empty() {
        return Err("no event has come".to_owned());
    }
    let outcomes = [
        TriggerOutcome::NotAnAlert,
        TriggerOutcome::OtherSystem,
        TriggerOutcome::WithoutKey,
    ];
    for report in evidence.unmatched {
        let mut clauses = report.explanation.clauses.iter();
        if clauses.any(|it| it.value == ClauseValue::False && names(expected, it.kind, &it.text)) {
            return Ok(());
        }
        if REASONS
            .iter()
            .zip(outcomes)
            .any(|(reason, it)| *reason == expected && it == report.outcome)
        {
            return Ok(());
        }
    }
    let wrong: Vec<String> = evidence
        .unmatched
        .iter()
        .flat_map(|report| &report.explanation.clauses)
        .filter(|it| it.depth == 0 && it.value != ClauseValue::True)
        .map(|it| format!("{} is {}", it.text, it.value.name()))
        .collect();
    Err(if wrong.is_empty() {
        let reason = evidence.unmatched.iter().find_map(|it| {
            let at = outcomes.iter().position(|outcome| *outcome == it.outcome)?;
            Some(REASONS[at])
        });
        format!("no match: {}", reason.unwrap_or("no clause was false"))
    } else {
        wrong.join("; ")
    })
}

/// What is expected, in words.
pub(super) fn words(claim: &Claim) -> String {
    let because = |guard: &Option<GuardName>, says: &Option<String>| match (guard, says) {
        (Some(guard), Some(says)) => format!(" by {guard}, saying \"{says}\""),
        (Some(guard), None) => format!(" by {guard}"),
        (None, Some(says)) => format!(", saying \"{says}\""),
        (None, None) => String::new(),
    };
    match claim {
        Claim::State(address, state) => format!("{address}: {}", state.map_or("none", |it| it.name())),
        Claim::World(address, place) => format!("in the world at {address}: {}", place.name()),
        Claim::Refused { target, guard, says } => format!("{target}: refused{}", because(guard, says)),
        Claim::Asked { target, guard, says } => format!("{target}: a person asked{}", because(guard, says)),
        Claim::Order(order) => {
            format!("acts in this order: {}", list(order))
        }
        Claim::Acts(count) => format!("acts sent: {count}"),
        Claim::Incidents(count) => format!("incidents opened: {count}"),
        Claim::Joined(count) => format!("events joined: {count}"),
        Claim::Outcome(outcome) => format!("outcome: {outcome}"),
        Claim::Notices(level, count) => format!("notices, {}: {count}", level.name()),
        Claim::Notice(says) => format!("a notice says \"{says}\""),
        Claim::CommandRefused(says) => format!("a command is refused: \"{says}\""),
        Claim::NoMatch(reason) if REASONS.contains(&reason.as_str()) => format!("no match: {reason}"),
        Claim::NoMatch(clause) => format!("no match: {clause} is false"),
        Claim::Evidence(kind, it) => format!("evidence, {kind}: {}", it.name()),
        Claim::Recovery(stage) => format!("recovery: {}", stage.name()),
        Claim::Watch(signal, None) => format!("the watch of {} is running", signal.value),
        Claim::Watch(signal, Some(verdict)) => format!("the watch of {} ended: {}", signal.value, verdict.name()),
    }
}

fn state_words(state: &State) -> String {
    let kind = state.kind();
    match state {
        State::Refused(reason) => format!("{kind}: {reason}"),
        State::Releasing(cause) | State::Released(cause) | State::RollingBack(cause) => format!("{kind}: {cause}"),
        State::Settling(cause) | State::RolledBack(cause) => format!("{kind}: {cause}"),
        State::Stuck(reason) => format!("{kind}: {reason}"),
        _ => kind.to_string(),
    }
}

fn list(targets: &[Target]) -> String {
    if targets.is_empty() {
        return "none".to_owned();
    }
    targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn records(script: &Script) -> impl DoubleEndedIterator<Item = &Record> + Clone {
    let frames = script.history().iter().filter_map(|it| match &it.what {
        Seen::Frame(frame) => Some(frame),
        _ => None,
    });
    frames.flat_map(|frame| &frame.records)
}

fn count(script: &Script, is: impl Fn(&Record) -> bool) -> usize {
    records(script).filter(|it| is(it)).count()
}

/// The acts that were sent. A renewal is none.
fn acts(script: &Script) -> impl Iterator<Item = &Effect> {
    script.history().iter().filter_map(|it| match &it.what {
        Seen::Sent(effect @ Effect::Execute { renewal: false, .. }, _) => Some(effect),
        _ => None,
    })
}
