//! What waits for the next sync, and what leaves after it.
//!
//! Never lets a reply or an effect that changes something leave before its frame is durable.

use std::ops::Range;
use std::sync::Arc;

use staunch_model::{Effect, Frame, Timestamp};
use staunch_ports::{FRAME_OVERHEAD_MAX, Lsn, NewFrame, Purpose};

use super::{BYTES_PER_COMMIT_MAX, EventLoop, LoopError};
use crate::handle::{Query, Replier};
use crate::helpers::Followed;

/// Memory that is kept for the bytes of the next commit.
const BYTES_KEPT_MAX: usize = 1 << 20;

/// Everything that waits for the next commit.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<(u64, Range<usize>, Arc<Frame>)>,
    pub(super) effects: Vec<Effect>,
    pub(super) queries: Vec<Query>,
    pub(super) replies: Vec<Replier<()>>,
}

/// What is durable and has not been told yet.
#[derive(Default)]
pub(super) struct Durable {
    replies: Vec<Replier<()>>,
    queries: Vec<Query>,
    frames: Vec<Followed>,
}

impl EventLoop {
    /// Makes everything pending durable, then lets effects go. What is left to be told is told by [`Self::tell`].
    pub(super) fn commit(&mut self) -> Result<(), LoopError> {
        let mut pending = std::mem::take(&mut self.state.pending);
        let durable = &mut self.state.durable;
        if pending.frames.is_empty() {
            durable.replies.append(&mut pending.replies);
            durable.queries.append(&mut pending.queries);
            return Ok(());
        }
        let frames: Vec<NewFrame<'_>> = pending
            .frames
            .iter()
            .map(|(now_us, range, _)| NewFrame {
                now_us: *now_us,
                payload: &pending.bytes[range.clone()],
            })
            .collect();
        // Room for events was checked when they were taken; from there on they are work that must be finished.
        let first = self.journal.tail().lsn.next();
        let bytes_max = usize::try_from(self.journal.batch_bytes_max())
            .unwrap_or(usize::MAX)
            .min(BYTES_PER_COMMIT_MAX);
        for part in parts(&frames, bytes_max) {
            self.journal
                .append(self.epoch, self.journal.tail().lsn, Purpose::Settle, part)?;
        }
        debug_assert_eq!(self.journal.tail().lsn.0, first.0 + frames.len() as u64 - 1);
        let count = frames.len() as u64;
        pending.bytes.clear();
        if pending.bytes.capacity() <= BYTES_KEPT_MAX {
            self.state.pending.bytes = pending.bytes;
        }
        self.telemetry.frames.add(count);
        self.telemetry.commits.add(1);
        self.state.frames_since_snapshot += count;
        for effect in pending.effects {
            self.perform(effect);
        }
        let frames = pending.frames.into_iter().zip(first.0..);
        let frames = frames.map(|((now_us, _, frame), lsn)| (Lsn(lsn), Timestamp::from_micros(now_us), frame));
        let transactions = &self.engine.state().transactions;
        let kind_of = |id| transactions.get(&id).map(|it| it.kind);
        let frames = frames.inspect(|(_, now, frame)| self.telemetry.meter.take(frame, *now, kind_of));
        let durable = &mut self.state.durable;
        durable.frames.extend(frames);
        durable.replies.append(&mut pending.replies);
        durable.queries.append(&mut pending.queries);
        Ok(())
    }

    /// Answers from what is durable: nothing has been decided since.
    pub(super) fn tell(&mut self) {
        for reply in self.state.durable.replies.drain(..) {
            reply(Ok(()));
        }
        for ask in self.state.durable.queries.drain(..) {
            ask(self.engine.state());
        }
        let frames = &mut self.state.durable.frames;
        if let (Some(log), Some((last, ..))) = (self.telemetry.log.get(), frames.last()) {
            log.durable_up_to(last.0);
        }
        for (lsn, now, frame) in frames.drain(..) {
            for follower in &self.followers {
                follower.put((lsn, now, Arc::clone(&frame)));
            }
        }
    }
}

/// `frames` in parts that are not too large for one append. Order is kept, so a crash between two of them leaves a
/// prefix of the history.
fn parts<'f, 'a>(frames: &'f [NewFrame<'a>], bytes_max: usize) -> impl Iterator<Item = &'f [NewFrame<'a>]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|frame| {
            bytes += frame.payload.len() + FRAME_OVERHEAD_MAX;
            bytes <= bytes_max
        });
        let count = fitting.count().max(1).min(rest.len());
        let (part, later) = rest.split_at(count);
        rest = later;
        (!part.is_empty()).then_some(part)
    })
}
