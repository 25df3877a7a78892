//! What the journal says the world answered, by target and time.
//!
//! Only what an ideal world would not have said is kept: facts, failures, objects of somebody else, what people who
//! were asked said, and containments that somebody else removed.

use std::collections::BTreeMap;

use staunch_model::{
    Command, Facts, Failure, Input, Observation, Outcome, Owner, Presence, Span, StateKind, SweepFindings, Target,
    Timestamp,
};
use staunch_ports::Lsn;

use crate::commands::FrameStep as Step;

/// How far from the time of an answer it still holds. A look and the act after it are milliseconds apart; a minute also
/// covers a run in which a queue was shorter or longer.
const HOLDS_FOR: Span = Span::from_mins(1);

/// How far from the time of a question what a person said still holds. Questions are answered late.
const SAID_FOR: Span = Span::from_hours(1);

/// Answers kept. Beyond it the ideal world answers, and the report says so.
const ANSWERS_MAX: usize = 500_000;

/// What was asked of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    PreCheck,
    PostCheck,
    Probe,
    Execute,
    Undo,
}

/// A recorded look.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) result: Result<Observation, Failure>,
    pub(crate) facts: Facts,
}

#[derive(Debug)]
enum Answer {
    Look(Look),
    Outcome(Outcome),
}

/// The recorded answers.
#[derive(Debug, Default)]
pub(crate) struct Book {
    answers: BTreeMap<(Target, Verb), Vec<(Timestamp, Answer)>>,
    /// Whether people said yes.
    said: BTreeMap<Target, Vec<(Timestamp, bool)>>,
    /// What a sweep found gone, by the frame that says so.
    vanished: BTreeMap<Lsn, Vec<(Target, Box<str>)>>,
    kept: usize,
    /// Answers for which there was no room.
    pub(crate) left_out: u64,
}

impl Book {
    /// Takes down what `step` says, which came when `engine` stood as before it.
    pub(crate) fn take_down(&mut self, engine: &staunch_engine::Engine, step: &Step) {
        let (frame, now) = (&step.frame, step.now);
        if let Input::Operator { command, .. } = &frame.input {
            self.take_down_command(engine, command, now);
            return;
        }
        if let Input::Swept(findings) = &frame.input {
            self.take_down_sweep(engine, findings, step.lsn);
            return;
        }
        let (transaction, verb_of): (_, fn(StateKind) -> Option<Verb>) = match &frame.input {
            Input::Observed { transaction, .. } => (*transaction, |kind| match kind {
                StateKind::PreChecking => Some(Verb::PreCheck),
                StateKind::PostChecking => Some(Verb::PostCheck),
                StateKind::Settling | StateKind::Releasing => Some(Verb::Probe),
                _ => None,
            }),
            Input::Executed { transaction, .. } => (*transaction, |kind| {
                (kind == StateKind::Executing).then_some(Verb::Execute)
            }),
            Input::Undone { transaction, .. } => (*transaction, |kind| {
                matches!(kind, StateKind::RollingBack | StateKind::Releasing).then_some(Verb::Undo)
            }),
            _ => return,
        };
        let Some(it) = engine.state().transactions.get(&transaction) else {
            return;
        };
        let Some(verb) = verb_of(it.state.kind()) else { return };
        let answer = match &frame.input {
            Input::Observed { result, facts, .. } => Answer::Look(Look {
                result: result.clone(),
                facts: facts.clone(),
            }),
            Input::Executed { outcome, .. } | Input::Undone { outcome, .. } => Answer::Outcome(outcome.clone()),
            _ => return,
        };
        if is_ideal(&answer, verb) {
            return;
        }
        if self.kept >= ANSWERS_MAX {
            self.left_out += 1;
            return;
        }
        self.kept += 1;
        self.answers
            .entry((it.target.clone(), verb))
            .or_default()
            .push((now, answer));
    }

    fn take_down_command(&mut self, engine: &staunch_engine::Engine, command: &Command, now: Timestamp) {
        let (id, yes) = match command {
            Command::Approve(id) => (id, true),
            Command::Deny(id) => (id, false),
            Command::Release(_)
            | Command::ReleaseTrusting { .. }
            | Command::Renew { .. }
            | Command::SetMode(_)
            | Command::Protect { .. }
            | Command::Unprotect { .. }
            | Command::Reload { .. }
            | Command::Recover(_)
            | Command::StopRecovery(_)
            | Command::Drill { .. }
            | Command::StopDrill
            | Command::EndDrill { .. } => return,
        };
        let Some(it) = engine.state().transactions.get(id) else {
            return;
        };
        if it.state.kind() != StateKind::AwaitingApproval {
            return;
        }
        if self.kept >= ANSWERS_MAX {
            self.left_out += 1;
            return;
        }
        self.kept += 1;
        self.said.entry(it.target.clone()).or_default().push((now, yes));
    }

    fn take_down_sweep(&mut self, engine: &staunch_engine::Engine, findings: &SweepFindings, lsn: Lsn) {
        for (id, found) in &findings.vanished {
            let Some(it) = engine.state().transactions.get(id) else {
                continue;
            };
            if self.kept >= ANSWERS_MAX {
                self.left_out += 1;
                continue;
            }
            self.kept += 1;
            self.vanished
                .entry(lsn)
                .or_default()
                .push((it.target.clone(), found.clone()));
        }
    }

    /// What the sweep of frame `lsn` found gone.
    pub(crate) fn vanished(&self, lsn: Lsn) -> &[(Target, Box<str>)] {
        self.vanished.get(&lsn).map_or(&[], Vec::as_slice)
    }

    /// Whether a person who was asked about `target` at `now` said yes; `None` when nobody said anything.
    pub(crate) fn said(&self, target: &Target, now: Timestamp) -> Option<bool> {
        let all = self.said.get(target)?;
        let first = all.partition_point(|(at, _)| *at < now);
        let (at, yes) = all.get(first)?;
        (at.since(now) <= SAID_FOR).then_some(*yes)
    }

    /// What was seen at `target` near `now`, if that is not what an ideal world shows.
    pub(crate) fn look(&self, target: Target, verb: Verb, now: Timestamp) -> Option<&Look> {
        match self.nearest(target, verb, now)? {
            Answer::Look(look) => Some(look),
            Answer::Outcome(_) => None,
        }
    }

    /// What became of an act near `now`, if it did not simply land.
    pub(crate) fn outcome(&self, target: Target, verb: Verb, now: Timestamp) -> Option<&Outcome> {
        match self.nearest(target, verb, now)? {
            Answer::Outcome(outcome) => Some(outcome),
            Answer::Look(_) => None,
        }
    }

    /// Whether the look after an act near `now` found it in place.
    pub(crate) fn found_after(&self, target: Target, now: Timestamp) -> bool {
        // A look that found it is ideal, and not kept.
        self.look(target, Verb::PostCheck, now).is_none()
    }

    fn nearest(&self, target: Target, verb: Verb, now: Timestamp) -> Option<&Answer> {
        let all = self.answers.get(&(target, verb))?;
        let later = all.partition_point(|(at, _)| *at < now);
        let distance = |at: Timestamp| at.since(now).max(now.since(at));
        [later.checked_sub(1), Some(later)]
            .into_iter()
            .flatten()
            .filter_map(|at| all.get(at))
            .filter(|(at, _)| distance(*at) <= HOLDS_FOR)
            .min_by_key(|(at, _)| distance(*at))
            .map(|(_, answer)| answer)
    }
}

/// True for what the ideal world would have answered too.
fn is_ideal(answer: &Answer, verb: Verb) -> bool {
    match answer {
        Answer::Outcome(outcome) => *outcome == Outcome::Landed,
        Answer::Look(Look { result: Err(_), .. }) => false,
        Answer::Look(Look {
            result: Ok(seen),
            facts,
        }) => {
            let as_meant = match &seen.presence {
                Presence::Absent => verb != Verb::PostCheck,
                Presence::Present {
                    owner: Owner::Ours(_), ..
                } => true,
                Presence::Present { .. } => false,
            };
            as_meant && seen.enforcing && facts.traffic.is_none()
        }
    }
}
