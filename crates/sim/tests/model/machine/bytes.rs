//! What tells one state from another: everything that the future depends on, as bytes.
//!
//! Never the time of day: times count from now on.

use std::hash::{Hash, Hasher};

use staunch_engine::Engine;
use staunch_model::{Effect, Timestamp};

use super::{Reply, Request, World};

impl World {
    /// Puts what has no order into one.
    pub(super) fn tidy(&mut self) {
        let now = self.now;
        self.requests.sort_by_cached_key(|it| it.bytes(now));
        self.replies.sort_by_cached_key(Reply::bytes);
    }

    /// Everything that the future depends on, with times from now on.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1_024);
        add(&mut out, &(self.events, self.undo_refused, &self.paged, &self.broken));
        let left = &self.left;
        out.extend([left.crashes, left.losses, left.duplicates, left.errors, left.delays]);
        out.extend([left.waits, left.releases, left.intruders, left.refusals]);
        for there in self.places.values() {
            add(&mut out, &(&there.owner, there.version));
        }
        add(&mut out, &(self.requests.len(), self.replies.len(), self.tail.len()));
        for request in &self.requests {
            out.extend(request.bytes(self.now));
        }
        for reply in &self.replies {
            out.extend(reply.bytes());
        }
        self.engine_bytes(&self.engine, &mut out);
        self.engine_bytes(&self.durable, &mut out);
        for written in &self.tail {
            add(&mut out, &written.effects.len());
            for effect in &written.effects {
                add(&mut out, &effect_bytes(effect, self.now));
            }
            self.engine_bytes(&written.replayed, &mut out);
        }
        out
    }

    fn engine_bytes(&self, engine: &Engine, out: &mut Vec<u8>) {
        let state = engine.state();
        add(
            out,
            &(state.transactions.len(), state.incidents.len(), state.notices.len()),
        );
        let since = |time: Timestamp| ahead(time, self.now);
        for it in state.transactions.values() {
            let ended = it.state.kind().is_terminal();
            // What lies further back than the margin counts as well as settled.
            let in_flight = it.in_flight_until.map(|until| since(until).max(-1_000_000));
            let mut rest = it.clone();
            rest.deadline = Timestamp::EPOCH;
            rest.in_flight_until = None;
            rest.lease_until = None;
            rest.set_renewing(None);
            rest.verified_at = None;
            add(out, &rest);
            add(out, &(!ended).then(|| since(it.deadline)));
            add(
                out,
                &(
                    in_flight,
                    it.lease_until.filter(|_| !ended).map(since),
                    it.verified_at.is_some(),
                ),
            );
        }
        for it in state.incidents.values() {
            add(
                out,
                &(it.status, it.outcome, &it.transactions, &it.joined_steps, it.next_step),
            );
        }
        for it in state.notices.values() {
            add(out, &(it.notice.transaction, it.attempts, it.retry_at.map(since)));
        }
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.bytes());
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Request {
    fn bytes(&self, now: Timestamp) -> Vec<u8> {
        let mut out = effect_bytes(&self.effect, now);
        let sent = self.sent.filter(|_| !matches!(self.effect, Effect::Observe { .. }));
        add(
            &mut out,
            &(
                self.sent.is_some(),
                sent.map(|at| ahead(at, now)),
                self.answers,
                self.slow,
            ),
        );
        out
    }
}

impl Reply {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        add(&mut out, &(&self.input, self.slow));
        out
    }
}

fn effect_bytes(effect: &Effect, now: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    match effect {
        Effect::Observe {
            transaction,
            ticket,
            target,
            ..
        } => add(&mut out, &(0_u8, transaction, ticket, target)),
        Effect::Execute {
            transaction,
            ticket,
            target,
            version,
            send_by,
            ..
        } => add(
            &mut out,
            &(1_u8, transaction, ticket, target, version, ahead(*send_by, now)),
        ),
        Effect::Undo {
            transaction,
            ticket,
            target,
            label,
            ..
        } => add(&mut out, &(2_u8, transaction, ticket, target, label)),
        Effect::Notify(notice) => add(&mut out, &(3_u8, notice)),
        Effect::Collect { evidence, .. } => add(&mut out, &(4_u8, evidence)),
        Effect::ReadHealth { watch, ticket, .. } => add(&mut out, &(5_u8, watch, ticket)),
    }
    out
}

fn add(out: &mut Vec<u8>, what: &impl serde::Serialize) {
    *out = postcard::to_extend(what, std::mem::take(out)).expect("everything can be encoded");
}

/// How far `time` lies ahead of `now`, in microseconds.
fn ahead(time: Timestamp, now: Timestamp) -> i64 {
    let micros = |it: Timestamp| i64::try_from(it.as_micros()).expect("within the calendar");
    micros(time) - micros(now)
}
