//! That a command is answered as it has to be: what can be done is done, all of it, and what cannot is refused.

use std::collections::BTreeSet;

use staunch_model::{Command, Frame, Input, Record, ReleaseScope, StateKind, Timestamp, TransactionId};

use super::{Found, Invariant, Model, Tx, fail};

/// As many as one command lifts of everything.
const RELEASED_AT_ONCE_MAX: usize = 1_000;

/// How a command has to be answered.
pub(super) enum Answer {
    /// It cannot be done.
    Refused,
    /// It can, and this is what it is done to.
    Done(BTreeSet<TransactionId>),
}

impl Model {
    /// How the command in `frame` has to be answered, by what is known before anything of the frame is taken up; `None`
    /// without a command, and where the model knows too little to say.
    pub(super) fn has_to_be(&self, frame: &Frame, now: Timestamp) -> Option<Answer> {
        let Input::Operator { command, .. } = &frame.input else {
            return None;
        };
        let done = |ids: &[TransactionId]| Some(Answer::Done(ids.iter().copied().collect()));
        match command {
            Command::Approve(id) | Command::Deny(id) => match self.transactions.get(id) {
                Some(it) if it.kind == StateKind::AwaitingApproval => {
                    // Of one that has expired, `approval` holds.
                    it.approval_expires.filter(|expires| *expires > now)?;
                    done(&[*id])
                }
                _ => Some(Answer::Refused),
            },
            Command::Release(ReleaseScope::Transaction(id)) => match self.transactions.get(id) {
                Some(it) if can_be_released(it) => done(&[*id]),
                _ => Some(Answer::Refused),
            },
            Command::Release(ReleaseScope::All) => {
                let all = self.transactions.iter().filter(|(_, it)| can_be_released(it));
                let all: BTreeSet<_> = all.map(|(id, _)| *id).collect();
                (all.len() <= RELEASED_AT_ONCE_MAX).then_some(Answer::Done(all))
            }
            Command::SetMode(_) => done(&[]),
            _ => None,
        }
    }

    /// Holds the answer in `frame` to `expected`. What was done to a transaction is in the frame before the answer.
    pub(super) fn answered(frame: &Frame, expected: &Answer) -> Found {
        let Input::Operator { command, .. } = &frame.input else {
            return Ok(());
        };
        let answers = |record: &Record| matches!(record, Record::CommandDone { .. } | Record::CommandRefused { .. });
        let Some(place) = frame.records.iter().position(answers) else {
            return fail(Invariant::CommandsAnswered, format!("{command:?} is not answered"));
        };
        let what = match (&frame.records[place], expected) {
            (Record::CommandRefused { .. }, Answer::Refused) => return Ok(()),
            (Record::CommandRefused { why }, Answer::Done(_)) => {
                format!("{command:?} is refused, and can be done: {why}")
            }
            (_, Answer::Refused) => format!("{command:?} is done, and cannot be"),
            (Record::CommandDone { affected }, Answer::Done(all)) => {
                let told: BTreeSet<_> = affected.iter().copied().collect();
                if told != *all {
                    format!("{command:?} is done to {told:?}, and has to be to {all:?}")
                } else if let Some(id) = all.iter().find(|id| !is_changed(&frame.records[..place], **id)) {
                    format!("{command:?} is done, and nothing of {id} has changed")
                } else {
                    return Ok(());
                }
            }
            (other, Answer::Done(_)) => format!("{command:?} is answered by {other:?}"),
        };
        fail(Invariant::CommandsAnswered, what)
    }
}

fn is_changed(records: &[Record], id: TransactionId) -> bool {
    let is_it = |record: &Record| matches!(record, Record::Transaction { transaction, .. } if *transaction == id);
    records.iter().any(is_it)
}

/// Whether there is anything of it to call off, to undo or to lift, that has not begun to be.
fn can_be_released(it: &Tx) -> bool {
    match it.kind {
        StateKind::Planned
        | StateKind::PreChecking
        | StateKind::AwaitingApproval
        | StateKind::Executing
        | StateKind::PostChecking
        | StateKind::Stuck => true,
        StateKind::InForce => !it.for_good,
        _ => false,
    }
}
