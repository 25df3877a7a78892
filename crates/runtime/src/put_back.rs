//! What is in force and was lost with a start of the machine: the tables of the kernel begin empty.
//!
//! Never decides anything: it is what was decided, under the same key, for as long as its lease still runs. The first
//! sweep looks whether it is there, as at any other time.

use staunch_engine::EngineState;
use staunch_engine::limits::HOLD_MARGIN;
use staunch_model::{ActionKind, Outcome, StateKind, Timestamp};
use staunch_ports::{Action, ExecuteRequest};

/// Requests that are handed over at once.
const AT_ONCE: usize = 256;

/// Has the drivers of `kinds` put back what is in force at `now`.
pub(crate) fn put_back(state: &EngineState, actions: &mut [Box<dyn Action>], kinds: &[ActionKind], now: Timestamp) {
    for action in actions {
        let kind = action.describe().kind;
        if !kinds.contains(&kind) {
            continue;
        }
        let requests = requests(state, kind, now);
        let mut failed = None;
        let mut done = 0;
        for part in requests.chunks(AT_ONCE) {
            for outcome in action.execute(part) {
                match outcome {
                    Outcome::Landed => done += 1,
                    Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure) => failed = Some(failure),
                }
            }
        }
        let of = requests.len();
        if let Some(failure) = failed {
            tracing::error!(%kind, done, of, %failure, "the machine was started anew: not all that was in force is put back");
        } else if of > 0 {
            tracing::info!(%kind, done, "the machine was started anew: what was in force is put back");
        }
    }
}

fn requests(state: &EngineState, kind: ActionKind, now: Timestamp) -> Vec<ExecuteRequest> {
    let in_force = state
        .transactions
        .values()
        .filter(|it| it.kind == kind && it.state.kind() == StateKind::InForce);
    in_force
        .filter_map(|it| {
            let until = it.lease_until.filter(|until| *until > now)?;
            Some(ExecuteRequest {
                transaction: it.label(),
                key: state.effect_key(it),
                target: it.target.clone(),
                version: 0,
                hold: until.since(now) + HOLD_MARGIN,
                renewal: false,
            })
        })
        .collect()
}
