//! What is in force and was lost with a start of the machine: the tables of the kernel begin empty.
//!
//! Never decides anything: it is what was decided, under the same key, for as long as its lease still runs, and not
//! what is never to be touched by now, nor what another driver had put there. The first sweep looks whether it is
//! there, as at any other time, and ends what is not.

use staunch_engine::EngineState;
use staunch_engine::exempt::protection;
use staunch_engine::limits::HOLD_MARGIN;
use staunch_model::{ActionKind, Description, Failure, Outcome, StateKind, Timestamp};
use staunch_ports::{Action, ExecuteRequest};

/// Requests that are handed over at once.
const AT_ONCE: usize = 256;

/// Has the drivers of `kinds` put back what is in force at `now` by `before`; `protected` is what is never touched from
/// now on. Returns what people are to be told: of each kind, what is not in place any more, and why.
pub(crate) fn put_back(
    before: &EngineState,
    protected: &EngineState,
    actions: &mut [Box<dyn Action>],
    kinds: &[ActionKind],
    now: Timestamp,
) -> Vec<String> {
    let mut troubles = Vec::new();
    for action in actions {
        let Description { kind, driver, .. } = action.describe();
        if !kinds.contains(&kind) {
            continue;
        }
        let mut requests = requests(before, kind, now);
        if before.driver(kind).is_none_or(|then| then.driver != driver) {
            if !requests.is_empty() {
                let count = requests.len();
                troubles.push(format!(
                    "this machine was started anew, which lifts what the kernel held. {kind}: {count} in force by another \
                     driver, not put back"
                ));
            }
            continue;
        }
        let in_force = requests.len();
        requests.retain(|it| {
            let found = it.target.address().and_then(|ip| protection(protected, ip, now));
            if let Some((network, _)) = &found {
                tracing::warn!(target = %it.target, %network, "it is never to be touched by now, and is not put back");
            }
            found.is_none()
        });
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
        if let Some(failure) = &failed {
            tracing::error!(%kind, done, of, %failure, "the machine was started anew: not all that was in force is put back");
        } else if of > 0 {
            tracing::info!(%kind, done, "the machine was started anew: what was in force is put back");
        }
        troubles.extend(trouble(kind, in_force, of, done, failed.as_ref()));
    }
    troubles
}

/// What is said when of `in_force` containments of `kind` `tried` were to be put back, and `done` are.
fn trouble(kind: ActionKind, in_force: usize, tried: usize, done: usize, failed: Option<&Failure>) -> Option<String> {
    let mut why = Vec::new();
    if let Some(failure) = failed {
        why.push(format!("{} not known to be back: {failure}", tried - done));
    }
    if tried < in_force {
        why.push(format!("{} not to be touched any more", in_force - tried));
    }
    if why.is_empty() {
        return None;
    }
    Some(format!(
        "this machine was started anew, which lifts what the kernel held. {kind}: {in_force} in force, {}. \
         Nobody else has removed them; the next sweep ends those that it misses",
        why.join("; ")
    ))
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
