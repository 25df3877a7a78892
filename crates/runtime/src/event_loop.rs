//! The event loop: one thread that decides, makes durable, and lets effects go. In this order, always.
//!
//! Inputs that are waiting are decided together and made durable by one sync (group commit). Replies and every effect
//! that changes something leave after that sync. Reads may leave at once, because they change nothing: when a local
//! driver answers them within the linger time, check and intent share one sync, which halves the time to a block.
//!
//! A few requests to a local driver that has nothing else to do are carried out in place, by the thread of the loop,
//! which saves waking the driver's. The loop itself does not wait for that: it stays in its [`Seat`] meanwhile, where a
//! second thread takes it over when the driver takes long.
//!
//! What a message becomes is in `messages`, what waits for the sync in `commit`, and who carries out an effect in
//! `effects`.

mod commit;
mod effects;
mod messages;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use staunch_engine::Engine;
use staunch_model::{ActionKind, Frame, Input, encode_onto};
use staunch_ports::{AppendError, Clock, Epoch, Journal};
use thiserror::Error;

use crate::drivers::{DriverRequest, Drivers};
use crate::handle::{Message, Submission};
use crate::health::HealthReaders;
use crate::helpers::Feed;
use crate::notices::Telling;
use crate::preserve::Preserver;
use crate::seat::Seat;
use crate::telemetry::Telemetry;

use commit::{Durable, Pending};

/// Frames decided before they are made durable together. Bounds the delay of the first one.
const FRAMES_PER_COMMIT_MAX: usize = 1_024;

/// Bytes decided before they are made durable together, and the most that one append is given.
const BYTES_PER_COMMIT_MAX: usize = 16 << 20;

/// How long a stop waits for actions in flight.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Why the loop ended on its own. The process must exit and recover from the journal.
#[derive(Debug, Error)]
pub enum LoopError {
    /// The journal no longer takes frames.
    #[error("cannot go on without the journal")]
    Journal(#[from] AppendError),
    /// A frame could not be encoded.
    #[error("cannot encode a frame: {0}")]
    Encode(String),
}

/// How a thread came to leave the loop.
pub(crate) enum Left {
    /// It was held up, and another thread has taken over.
    TakenOver,
    /// The loop has ended.
    Ended(Result<(), LoopError>),
}

pub(crate) struct EventLoop {
    pub(crate) engine: Engine,
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) epoch: Epoch,
    pub(crate) clock: Arc<dyn Clock>,
    /// Room for all that may wait is there from the start, so it holds pointers.
    pub(crate) inbox: Receiver<Box<Submission>>,
    pub(crate) commands: Receiver<Message>,
    pub(crate) outcomes: Receiver<Input>,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) notices: Sender<Telling>,
    pub(crate) preserver: Preserver,
    pub(crate) health: HealthReaders,
    pub(crate) followers: Vec<Feed>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) linger: Duration,
    pub(crate) snapshot_every: u64,
    pub(crate) state: LoopState,
}

impl LoopState {
    /// A loop that begins with `replayed` frames since the last snapshot.
    pub(crate) fn after(replayed: u64) -> Self {
        Self {
            frames_since_snapshot: replayed,
            ..Self::default()
        }
    }
}

#[derive(Default)]
pub(crate) struct LoopState {
    pending: Pending,
    durable: Durable,
    /// Requests to be carried out in place. All of them may leave: acts among them are durable.
    in_place: BTreeMap<ActionKind, Vec<DriverRequest>>,
    /// Reads that a local driver is answering.
    reads_out: usize,
    frames_since_snapshot: u64,
    stopping_since: Option<Instant>,
    /// What is appended would not be found by the next start.
    journal_lost: bool,
    /// When that was looked at.
    looked_at: Option<Instant>,
    /// While the journal is full: the largest of what was refused for it.
    refused_size: Option<usize>,
    /// When that was last paged.
    full_paged_at: Option<Instant>,
}

impl EventLoop {
    /// Runs until it is stopped, or until another thread has taken the loop over. A snapshot is written at the end.
    ///
    /// What is under way is all in the loop, so that the other thread starts from the top.
    pub(crate) fn run(mut self: Box<Self>, seat: &Seat<Box<Self>>) -> Left {
        loop {
            self.tell();
            // Of a loop that was taken over, what was decided may still have to become durable.
            if self.state.pending.frames.is_empty() {
                if self.may_stop() {
                    self.snapshot();
                    return Left::Ended(Ok(()));
                }
                if self.state.frames_since_snapshot >= self.snapshot_every {
                    self.snapshot();
                }
            }
            if let Err(error) = self.take_in() {
                return Left::Ended(Err(error));
            }
            match self.carry_out(seat) {
                Some(it) => self = it,
                None => return Left::TakenOver,
            }
            if let Err(error) = self.linger().and_then(|()| self.commit()) {
                return Left::Ended(Err(error));
            }
            // Acts first: those who wait for an answer can wait a little longer than those who are under attack.
            match self.carry_out(seat) {
                Some(it) => self = it,
                None => return Left::TakenOver,
            }
        }
    }

    /// Takes up `first_input` before the loop starts: the start itself and the policy.
    pub(crate) fn take_first(&mut self, input: Input) -> Result<(), LoopError> {
        self.turn(input)?;
        self.send_in_place();
        self.commit()?;
        self.send_in_place();
        self.tell();
        Ok(())
    }

    /// Waits for something to do, then takes up everything that is waiting.
    fn take_in(&mut self) -> Result<(), LoopError> {
        let mut taken = self.drain()?;
        if taken == 0 && self.state.pending.frames.is_empty() && self.state.in_place.is_empty() {
            let timeout = self.until_deadline();
            crossbeam_channel::select! {
                recv(self.outcomes) -> input => if let Ok(input) = input { self.turn(input)?; taken += 1; },
                recv(self.commands) -> message => if let Ok(message) = message { self.on_message(message)?; taken += 1; },
                recv(self.inbox) -> events => if let Ok(events) = events { self.on_message(Message::Events(events))?; taken += 1; },
                default(timeout) => {}
            }
            if taken > 0 {
                self.drain()?;
            }
        }
        let due = self
            .engine
            .state()
            .next_deadline()
            .is_some_and(|at| at <= self.clock.now());
        if due { self.turn(Input::Tick) } else { Ok(()) }
    }

    /// Takes up what is waiting: outcomes before commands before events, so that work under way is finished first.
    fn drain(&mut self) -> Result<usize, LoopError> {
        let mut taken = 0;
        while self.state.pending.frames.len() < FRAMES_PER_COMMIT_MAX
            && self.state.pending.bytes.len() < BYTES_PER_COMMIT_MAX
        {
            if let Ok(input) = self.outcomes.try_recv() {
                self.turn(input)?;
            } else if let Ok(message) = self.commands.try_recv() {
                self.on_message(message)?;
            } else {
                match self.inbox.try_recv() {
                    Ok(events) => self.on_message(Message::Events(events))?,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            taken += 1;
        }
        Ok(taken)
    }

    /// Gives local reads a moment to come back, so that what follows from them shares the sync.
    fn linger(&mut self) -> Result<(), LoopError> {
        let end = Instant::now() + self.linger;
        while self.state.reads_out > 0
            && !self.state.pending.frames.is_empty()
            && self.state.pending.frames.len() < FRAMES_PER_COMMIT_MAX
        {
            match self
                .outcomes
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(input) => self.turn(input)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn until_deadline(&self) -> Duration {
        const IDLE: Duration = Duration::from_secs(1);
        let next = self.engine.state().next_deadline();
        let wait = next.map_or(IDLE, |at| at.since(self.clock.now()).to_std().min(IDLE));
        if self.state.stopping_since.is_some() {
            wait.min(Duration::from_millis(20))
        } else {
            wait
        }
    }

    fn turn(&mut self, input: Input) -> Result<(), LoopError> {
        if matches!(input, Input::Observed { .. }) {
            self.state.reads_out = self.state.reads_out.saturating_sub(1);
        }
        self.decide(input).map(|_| ())
    }

    /// One turn of the engine: its frame and effects wait for the commit, its reads leave.
    fn decide(&mut self, input: Input) -> Result<Arc<Frame>, LoopError> {
        let step = self.engine.step(&input, self.clock.now());
        let frame = Arc::new(Frame {
            input,
            records: step.records,
        });
        if let Input::Collected {
            evidence,
            result: Err(_),
        } = &frame.input
        {
            let it = self.engine.state().evidence.get(evidence);
            if it.is_none_or(|it| !it.is_open()) {
                // It is not tried again.
                self.preserver.settle(*evidence);
            }
        }
        if matches!(frame.input, Input::Tick) && frame.records.is_empty() {
            return Ok(frame);
        }
        let pending = &mut self.state.pending;
        let start = pending.bytes.len();
        pending.bytes = encode_onto(&*frame, std::mem::take(&mut pending.bytes))
            .map_err(|error| LoopError::Encode(error.to_string()))?;
        pending
            .frames
            .push((step.now.as_micros(), start..pending.bytes.len(), frame.clone()));
        for effect in step.effects {
            if effect.is_read() {
                self.perform(effect);
            } else {
                self.state.pending.effects.push(effect);
            }
        }
        Ok(frame)
    }

    fn may_stop(&self) -> bool {
        let Some(since) = self.state.stopping_since else {
            return false;
        };
        let under_way = self.engine.state().transactions.values().any(|it| {
            it.state.kind().is_in_flight()
                || matches!(it.awaits, staunch_model::Await::Reply) && !it.state.kind().is_terminal()
        });
        !under_way || since.elapsed() > STOP_DEADLINE
    }

    /// Stores the state, all of which must be durable.
    fn snapshot(&mut self) {
        debug_assert!(self.state.pending.frames.is_empty(), "a snapshot holds what is durable");
        self.state.frames_since_snapshot = 0;
        let lsn = self.journal.tail().lsn;
        let state = self.engine.state();
        if let Err(error) = self.journal.write_snapshot(lsn, &mut |out| state.encode_to(out)) {
            tracing::warn!(%lsn, %error, "snapshot not written; the next start replays more frames");
        }
    }
}
