//! What was seen during a run, and what is known of its transactions.
//!
//! Never asks the engine, which forgets what has ended at once: everything is learnt from the records.

use std::sync::Arc;

use staunch_engine::transaction::after;
use staunch_model::{Cause, Effect, Frame, IncidentId, Record, Span, State, Target, TransactionId};

use super::{Mishap, Script};
use crate::check::Invariant;

/// Something that was seen during a run.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When, since the start.
    pub at: Span,
    /// What.
    pub what: Seen,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A frame became durable.
    Frame(Arc<Frame>),
    /// A request left, and what is to go wrong with it.
    Sent(Effect, Option<Mishap>),
    /// The process ended.
    Ended,
    /// The process started again.
    Started,
    /// Somebody else touched the world.
    Touched(String),
}

/// A transaction as it was last seen.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its id.
    pub id: TransactionId,
    /// Its incident.
    pub incident: IncidentId,
    /// The step of the playbook.
    pub step: u16,
    /// What it is aimed at.
    pub target: Target,
    /// Its state.
    pub state: State,
}

impl Script {
    /// Keeps what became of the transactions of `frame`, by its records: the engine forgets what has ended at once.
    pub(super) fn learn(&mut self, frame: &Frame) {
        for record in &frame.records {
            match record {
                Record::TransactionPlanned {
                    transaction,
                    incident,
                    step,
                    target,
                    ..
                } => {
                    let known = Known {
                        id: *transaction,
                        incident: *incident,
                        step: *step,
                        target: target.clone(),
                        state: State::Planned,
                    };
                    self.known.insert(*transaction, known);
                }
                Record::OrphanAdopted {
                    transaction, target, ..
                } => {
                    let known = Known {
                        id: *transaction,
                        incident: IncidentId(0),
                        step: 0,
                        target: target.clone(),
                        state: State::Releasing(Box::new(Cause::Orphan)),
                    };
                    self.known.insert(*transaction, known);
                }
                Record::Transaction { transaction, change } => {
                    let known = self.known.get_mut(transaction);
                    let next = known.as_ref().map(|it| after(&it.state, change));
                    match (known, next) {
                        (Some(known), Some(Ok(next))) => known.state = next,
                        (_, Some(Err(error))) => self.fail(Invariant::NoPanic, error.to_string()),
                        (_, _) => {}
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn see(&mut self, what: Seen) {
        let at = self.now.since(self.setting.start);
        self.history.push(Moment { at, what });
    }
}
