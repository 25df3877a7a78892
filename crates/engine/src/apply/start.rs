//! What a start does to the state that the records before it have left.
//!
//! Never decides what becomes of what was under way: see `recovery.rs`.

use staunch_model::{InstallationId, Span, StateKind, Timestamp, Transaction};

use crate::budget::Budgets;
use crate::mutant::{Mutant, is};
use crate::repeat::Repeats;
use crate::state::{EngineState, Subject};

/// A process has started.
pub(super) fn started(state: &mut EngineState, installation: InstallationId, now: Timestamp) {
    state.installation = installation;
    keep_waiting_for_what_was_sent(state, now);
    if is(Mutant::BudgetsForgotten) {
        state.budgets = Budgets::default();
    }
    if is(Mutant::ReturnsForgotten) {
        state.repeats = Repeats::default();
    }
    if is(Mutant::LeaseForgotten) {
        forget_leases(state, now);
    }
}

/// What the process before has sent may land for as long as if it was sent at this start, whatever the clock says.
fn keep_waiting_for_what_was_sent(state: &mut EngineState, now: Timestamp) {
    let under_way = |it: &&Transaction| {
        // Of what is in force, an earlier try or a duplicate may be. Nothing is, where all had landed when it was
        // verified.
        let all_had_landed = it.state.kind() == StateKind::InForce && it.in_flight_until <= it.verified_at;
        it.in_flight_until.is_some() && !it.state.kind().is_terminal() && !all_had_landed
    };
    let sent: Vec<_> = state
        .transactions
        .values()
        .filter(under_way)
        .map(|it| (it.id, it.kind))
        .collect();
    for (id, kind) in sent {
        let until = Some(now + state.in_flight_max(kind));
        if let Some(it) = state.transactions.get_mut(&id) {
            it.in_flight_until = it.in_flight_until.max(until);
        }
    }
}

/// See [`Mutant::LeaseForgotten`].
fn forget_leases(state: &mut EngineState, now: Timestamp) {
    let in_force = |it: &Transaction| it.state.kind() == StateKind::InForce;
    let forgotten: Vec<_> = state
        .transactions
        .values()
        .filter(|it| in_force(it))
        .map(|it| it.id)
        .collect();
    for id in forgotten {
        if let Some(it) = state.transactions.get_mut(&id) {
            state.index.deadlines.remove(&(it.deadline, Subject::Transaction(id)));
            it.deadline = now + Span::from_hours(1_000_000);
            state.index.deadlines.insert((it.deadline, Subject::Transaction(id)));
        }
    }
}
