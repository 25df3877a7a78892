//! What must follow from an event: an incident of its attacker, with the evidence and the steps of its playbook.
//!
//! Never says what may be done to a target: see `acts.rs`.

use staunch_model::{
    Change, ContentHash, Frame, GuardName, IncidentId, Input, Match, Phase, Playbook, Record, RefusalReason, Span,
    StateKind, Step, Target, Timestamp, TransactionId,
};

use super::{Case, Found, Invariant, Model, Status, Tx, fail};

/// For how long an incident that did not contain its attacker takes up further events, at most.
const REJUDGE_PAUSE: Span = Span::from_mins(1);

/// Whether an attacker is free of a step of its open incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slipped {
    No,
    /// The model does not know enough to tell.
    Perhaps,
    Yes,
}

impl Model {
    /// Every match of an event opens an incident or joins one; what one opens with is what its playbook says.
    pub(super) fn answers_event(&self, frame: &Frame) -> Found {
        let (Input::Event { matches, .. } | Input::EventInContext { matches, .. }) = &frame.input else {
            return Ok(());
        };
        for matched in matches {
            let Some(playbook) = self.playbooks.get(&matched.playbook) else {
                continue;
            };
            let opened = frame.records.iter().find_map(|record| match record {
                Record::IncidentOpened {
                    incident,
                    playbook,
                    key,
                    ..
                } if *playbook == matched.playbook && *key == matched.key => Some(*incident),
                _ => None,
            });
            if let Some(incident) = opened {
                self.opens_with(frame, incident, playbook, matched)?;
                continue;
            }
            let joins = |record: &Record| match record {
                Record::EventJoined { incident } => self.incidents.get(incident).is_some_and(|case| {
                    case.playbook == matched.playbook && case.key == matched.key && case.status != Status::Forgotten
                }),
                _ => false,
            };
            if !frame.records.iter().any(joins) {
                let what = format!("an event of {} is dropped", staunch_model::Printable(&matched.key));
                return fail(Invariant::EventsAnswered, what);
            }
        }
        Ok(())
    }

    /// `incident` opens in `frame` with all evidence and all steps that `matched` names.
    fn opens_with(&self, frame: &Frame, incident: IncidentId, playbook: &Playbook, matched: &Match) -> Found {
        let planned =
            |record: &&Record| matches!(record, Record::EvidencePlanned { incident: of, .. } if *of == incident);
        let evidence = frame.records.iter().filter(planned).count();
        if evidence != matched.preserve.len() {
            let what = format!("{incident} asks for {evidence} of {} pieces", matched.preserve.len());
            return fail(Invariant::EventsAnswered, what);
        }
        for (at, step, target) in matched.steps.iter().filter_map(|it| {
            let step = playbook.steps.get(usize::from(it.step))?;
            (step.phase != Phase::Recover).then_some((it.step, step, it.target.as_ref()))
        }) {
            let target = target.filter(|it| it.aim() == step.action.aims_at());
            let is_it = |record: &Record| self.is_planned_by(record, incident, at, step, target);
            if !frame.records.iter().any(is_it) {
                let what = format!("step {at} of {incident} is left out");
                return fail(Invariant::EventsAnswered, what);
            }
        }
        Ok(())
    }

    /// Whether `record` says that a step of `incident` is planned, or joins what is there.
    fn is_planned_by(
        &self,
        record: &Record,
        incident: IncidentId,
        step: u16,
        planned: &Step,
        target: Option<&Target>,
    ) -> bool {
        match (record, target) {
            (Record::StepWithoutTarget { incident: of, step: at }, None) => (*of, *at) == (incident, step),
            (
                Record::TransactionPlanned {
                    incident: of,
                    step: at,
                    kind,
                    target: aimed,
                    ..
                },
                Some(target),
            ) => (*of, *at, *kind, aimed) == (incident, step, planned.action, target),
            (
                Record::Transaction {
                    transaction,
                    change: Change::Joined(by),
                },
                Some(target),
            ) if *by == incident => {
                let it = self.transactions.get(transaction);
                it.is_some_and(|it| it.action == Some(planned.action) && it.target == *target)
            }
            _ => false,
        }
    }

    /// What is planned is aimed at what the event of `incident` names for its step.
    pub(super) fn is_named(&self, id: TransactionId, incident: IncidentId, step: u16, target: &Target) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        if !case
            .named_targets
            .iter()
            .any(|(at, named)| (*at, named) == (step, target))
        {
            let what = format!("{id} is step {step} of {incident} at {target}, which its event does not name");
            return fail(Invariant::EventsAnswered, what);
        }
        Ok(())
    }

    /// An attacker has one incident of a playbook at a time, and a further one when it has slipped from a step of that.
    pub(super) fn opens_alone(&self, frame: &Frame, incident: IncidentId, now: Timestamp) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let kept = self.incidents.iter().filter(|(id, other)| {
            let is_kept = **id != incident && other.status != Status::Forgotten;
            is_kept && other.playbook == case.playbook && other.key == case.key
        });
        let Some((other, newest)) = kept.max_by_key(|(id, _)| **id) else {
            return Ok(());
        };
        let takes = match newest.status {
            Status::Open => self.has_slipped(frame, *other, newest, now) == Slipped::No,
            Status::Closed => now < newest.absorbs_until,
            Status::Forgotten => false,
        };
        if takes {
            let what = format!("{incident} is opened although there is {other}");
            return fail(Invariant::EventsAnswered, what);
        }
        Ok(())
    }

    /// An open incident takes up an event unless its attacker has slipped from one of the steps that the event names.
    pub(super) fn joins_what_holds(&self, frame: &Frame, incident: IncidentId, now: Timestamp) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        if self.has_slipped(frame, incident, case, now) == Slipped::Yes {
            let what = format!("{incident} takes up an event, and does not hold its attacker any more");
            return fail(Invariant::EventsAnswered, what);
        }
        Ok(())
    }

    /// Whether a step that the event in `frame` names has ended in the open `incident`, for so long that it is judged
    /// anew, and nothing else holds its target.
    fn has_slipped(&self, frame: &Frame, incident: IncidentId, case: &Case, now: Timestamp) -> Slipped {
        let Some(playbook) = self
            .playbooks
            .get(&case.playbook)
            .filter(|_| case.status == Status::Open)
        else {
            return Slipped::No;
        };
        let own = || {
            let known = |id| self.transactions.get(id).map(|it| (*id, it));
            case.transactions.iter().filter_map(known)
        };
        let is_kept = |it: &Tx| {
            let planner = self.incidents.get(&it.incident);
            planner.is_some_and(|planner| planner.status != Status::Forgotten)
        };
        // What has hurt is let rest until it is forgotten, with the time of its playbook.
        let lifts = |it: &Tx| matches!(it.kind, StateKind::Releasing | StateKind::Released);
        if own().any(|(_, it)| it.hurts && lifts(it) && is_kept(it)) {
            return Slipped::No;
        }
        let mut slipped = Slipped::No;
        for (at, target) in named_by(frame, case.playbook, &case.key) {
            let Some(step) = playbook.steps.get(usize::from(at)) else {
                continue;
            };
            if step.phase == Phase::Recover || target.aim() != step.action.aims_at() {
                continue;
            }
            let of_step = || own().filter(|(_, it)| it.action == Some(step.action));
            let mut at_place = of_step().filter(|(_, it)| it.target == target && is_kept(it));
            let one = match at_place.next_back() {
                Some((_, it)) if it.has_left() && it.is_held_by(incident) => {
                    let was_in_force = matches!(it.kind, StateKind::Released | StateKind::RolledBack);
                    let is_over = |pause| now >= case.absorbs_until.max(it.since + pause);
                    match it.judged_anew_after {
                        Some(Span::ZERO) if was_in_force => Slipped::Yes,
                        Some(pause) if is_over(pause) => Slipped::Yes,
                        // By the mode of today.
                        None if it.kind == StateKind::WouldExecute && is_over(REJUDGE_PAUSE) => Slipped::Perhaps,
                        _ => Slipped::No,
                    }
                }
                Some(_) => Slipped::No,
                // What others had planned was lifted, and is forgotten with them; where it was, too.
                None if of_step().any(|(_, it)| it.target == target && !is_kept(it)) => Slipped::Yes,
                None if of_step().any(|(_, it)| !is_kept(it)) => Slipped::Perhaps,
                None => Slipped::No,
            };
            slipped = slipped.max(one.min(self.is_free_of(step, &target)));
        }
        slipped
    }

    /// Whether nothing acts or waits to act at `target` as `step` would. What an orphan does is not known here.
    fn is_free_of(&self, step: &Step, target: &Target) -> Slipped {
        let there = self
            .transactions
            .values()
            .filter(|it| it.target == *target && !it.has_left());
        let holds = |it: &Tx| match it.action {
            Some(action) if action == step.action => Slipped::No,
            Some(_) => Slipped::Yes,
            None => Slipped::Perhaps,
        };
        there.map(holds).min().unwrap_or(Slipped::Yes)
    }

    /// A closed incident takes further events for no longer than its playbook says; and one that did not contain, or
    /// whose containment has ended by itself, does not keep its attacker from being judged anew.
    pub(super) fn shields_nobody(&self, incident: IncidentId, until: Timestamp, now: Timestamp) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let mut all = case.transactions.iter().filter_map(|id| self.transactions.get(id));
        // What has hurt would hurt again, whoever planned it.
        if all.any(|it| it.hurts) {
            return Ok(());
        }
        // What others have planned may have been forgotten with them.
        let speaking = self.speaking_of(incident, case).into_iter();
        let own = speaking.filter(|(_, it)| it.incident == incident && it.has_left());
        let pauses = own.filter_map(|(_, it)| it.judged_anew_after);
        let end = case.absorbs_until.max(now);
        let latest = pauses.map(|pause| now + pause).fold(end, Timestamp::min);
        if until > latest {
            let what = format!("{incident} takes up events until {until}, and has to until {latest} only");
            return fail(Invariant::EventsAnswered, what);
        }
        Ok(())
    }
}

/// What the event in `frame` names for each step of the playbook that it matches with `key`.
pub(super) fn named_by(frame: &Frame, playbook: ContentHash, key: &str) -> Vec<(u16, Target)> {
    let (Input::Event { matches, .. } | Input::EventInContext { matches, .. }) = &frame.input else {
        return Vec::new();
    };
    let own = matches.iter().filter(|it| it.playbook == playbook && *it.key == *key);
    let steps = own.flat_map(|it| &it.steps);
    steps.filter_map(|it| Some((it.step, it.target.clone()?))).collect()
}

/// The time of the event of `incident` is as far from now as it was from its arrival, by the clock that both were read
/// from.
pub(super) fn is_dated(frame: &Frame, incident: IncidentId, told: Option<Timestamp>, now: Timestamp) -> Found {
    let (Input::Event { event, .. } | Input::EventInContext { event, .. }) = &frame.input else {
        return Ok(());
    };
    let expected = event.time.map(|time| {
        if time <= event.received {
            now - event.received.since(time)
        } else {
            now + time.since(event.received)
        }
    });
    if told != expected {
        let what = format!("{incident} is of {told:?}, and its event of {expected:?}");
        return fail(Invariant::EventIsFresh, what);
    }
    Ok(())
}

/// After how long the attacker is judged anew whose act was refused for this; `None` where a person said so.
pub(super) fn judged_anew_after(reason: &RefusalReason) -> Option<Span> {
    match reason {
        RefusalReason::Guard {
            guard: GuardName::Freshness,
            ..
        } => Some(Span::ZERO),
        RefusalReason::NoTarget | RefusalReason::Denied { .. } | RefusalReason::Cancelled { .. } => None,
        _ => Some(REJUDGE_PAUSE),
    }
}

/// The same of one that is lifted or undone because of `cause`.
pub(super) fn judged_anew_when(cause: &staunch_model::Cause) -> Option<Span> {
    use staunch_model::Cause;
    match cause {
        Cause::LeaseEnded | Cause::Vanished { .. } | Cause::Orphan => Some(Span::ZERO),
        Cause::ExecuteFailed(_) | Cause::PostCheckFailed { .. } | Cause::Sibling(_) => Some(REJUDGE_PAUSE),
        Cause::Operator { .. } | Cause::Hurts { .. } => None,
    }
}
