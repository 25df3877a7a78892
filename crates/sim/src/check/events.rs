//! What must follow from an event: an incident of its attacker, with the evidence and the steps of its playbook.
//!
//! Never says what may be done to a target: see `acts.rs`.

use staunch_model::{
    Change, ContentHash, Frame, GuardName, IncidentId, Input, Match, Phase, Playbook, Record, RefusalReason, Span,
    Step, Target, Timestamp, TransactionId,
};

use super::{Found, Invariant, Model, Status, fail};

/// For how long an incident that did not contain its attacker takes up further events, at most.
const REJUDGE_PAUSE: Span = Span::from_mins(1);

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

    /// An attacker has one incident of a playbook at a time.
    pub(super) fn opens_alone(&self, incident: IncidentId, now: Timestamp) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let absorbs = |(id, other): &(&IncidentId, &super::Case)| {
            let takes = match other.status {
                Status::Open => true,
                Status::Closed => now < other.absorbs_until,
                Status::Forgotten => false,
            };
            **id != incident && takes && other.playbook == case.playbook && other.key == case.key
        };
        match self.incidents.iter().find(absorbs) {
            Some((other, _)) => fail(
                Invariant::EventsAnswered,
                format!("{incident} is opened although there is {other}"),
            ),
            None => Ok(()),
        }
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
