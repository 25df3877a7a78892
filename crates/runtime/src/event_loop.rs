//! The event loop: one thread that decides, makes durable, and lets effects go. In this order, always.
//!
//! Inputs that are waiting are decided together and made durable by one sync (group commit). Replies and every effect
//! that changes something leave after that sync. Reads may leave at once, because they change nothing: when a local
//! driver answers them within the linger time, check and intent share one sync, which halves the time to a block.
//!
//! A few requests to a local driver that has nothing else to do are carried out in place, by the thread of the loop,
//! which saves waking the driver's. The loop itself does not wait for that: it stays in its [`Seat`] meanwhile, where a
//! second thread takes it over when the driver takes long.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use staunch_engine::{Engine, sweep};
use staunch_model::{
    ActionKind, Command, CommandReply, Effect, Frame, IncidentId, Input, Match, Notice, Record, ReleaseScope,
    Timestamp, TransactionId,
};
use staunch_ports::notifier::About;
use staunch_ports::{
    AppendError, Clock, CollectRequest, Epoch, ExecuteRequest, FRAME_OVERHEAD_MAX, Journal, Lsn, NewFrame, Purpose,
    UndoRequest,
};
use thiserror::Error;

use crate::drivers::{DriverRequest, Drivers};
use crate::handle::{Busy, EventReply, Message, Query, Replier, Submission};
use crate::health::{HealthReaders, ReadOrder};
use crate::helpers::Followed;
use crate::notices::Telling;
use crate::preserve::{CollectOrder, Preserver};
use crate::seat::Seat;
use crate::telemetry::Telemetry;

/// Frames decided before they are made durable together. Bounds the delay of the first one.
const FRAMES_PER_COMMIT_MAX: usize = 1_024;

/// Bytes decided before they are made durable together, and the most that one append is given.
const BYTES_PER_COMMIT_MAX: usize = 16 << 20;

/// Memory that is kept for the bytes of the next commit.
const BYTES_KEPT_MAX: usize = 1 << 20;

/// Room in a frame for what feeds say of one target, with its record.
const ROOM_PER_KNOWN: usize = 2 * 1024;

/// Room that must be left in the journal before an event is taken, besides its own size: the frames of a whole
/// transaction with judgement and outcome.
const ROOM_PER_EVENT: usize = 8 * 1024;

/// Findings of a sweep that are decided in one turn: a frame of them stays far below what the journal takes.
const FINDINGS_PER_TURN_MAX: usize = 1_000;

/// Room that lifting one containment takes: the frames of its release, measured at about 300 bytes.
const ROOM_TO_LIFT: usize = 512;

/// The most requests carried out in place at a time; more of them are worth waking the driver's thread, which works
/// while the loop goes on.
const IN_PLACE_MAX: usize = 8;

/// How often it is looked at whether the journal's files are where the next start looks for them, while events come: what
/// is acknowledged in between would be lost. A look takes some microseconds, and one more for each sealed segment.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

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

/// Everything that waits for the next commit.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    frames: Vec<(u64, std::ops::Range<usize>, Arc<Frame>)>,
    effects: Vec<Effect>,
    queries: Vec<Query>,
    replies: Vec<Replier<()>>,
}

/// What is durable and has not been told yet.
#[derive(Default)]
struct Durable {
    replies: Vec<Replier<()>>,
    queries: Vec<Query>,
    frames: Vec<Followed>,
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
    pub(crate) follower: Option<Sender<Followed>>,
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
}

impl EventLoop {
    /// Runs until it is stopped, or until another thread has taken the loop over. A snapshot is written at the end.
    ///
    /// What is under way is all in the loop, so that the other thread starts from the top.
    pub(crate) fn run(mut self: Box<Self>, seat: &Seat<Box<Self>>) -> Left {
        loop {
            self.tell();
            if self.may_stop() {
                self.snapshot();
                return Left::Ended(Ok(()));
            }
            if self.state.frames_since_snapshot >= self.snapshot_every {
                self.snapshot();
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

    fn on_message(&mut self, message: Message) -> Result<(), LoopError> {
        match message {
            Message::Events(submission) => {
                if self.state.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                    self.look_after_journal()?;
                }
                let steps = |matches: &[Match]| matches.iter().map(|it| it.steps.len().max(1)).sum::<usize>();
                let new = submission
                    .events
                    .iter()
                    .map(|(event, matches)| event.raw.len() + ROOM_PER_EVENT * steps(matches))
                    .sum::<usize>()
                    + ROOM_PER_KNOWN * (submission.known.len() + submission.found.len())
                    + submission
                        .contexts
                        .iter()
                        .map(|it| ROOM_PER_KNOWN * (it.addresses.len() + 2))
                        .sum::<usize>();
                let matches: usize = submission.events.iter().map(|(_, matches)| matches.len()).sum();
                let incidents = self.engine.state().incidents.len() + matches;
                let size = self.state.pending.bytes.len() + new + self.room_to_finish();
                let refused = if self.state.stopping_since.is_some() {
                    Some(Busy::Stopping)
                } else if self.state.journal_lost {
                    Some(Busy::JournalLost)
                } else if incidents > staunch_engine::limits::INCIDENTS_MAX {
                    Some(Busy::QueueFull)
                } else if !self.journal.has_room(size) {
                    Some(Busy::JournalFull)
                } else {
                    None
                };
                if let Some(busy) = refused {
                    self.telemetry.events_turned_away.add(submission.events.len() as u64);
                    (submission.reply)(Err(busy));
                    return Ok(());
                }
                for known in submission.known {
                    // What is said of a target changes with a feed, and not with each event.
                    let state = self.engine.state();
                    if state.known.is_news(&known, state.now) {
                        self.decide(Input::Known(known))?;
                    }
                }
                for found in submission.found {
                    if self.engine.state().found.is_news(&found) {
                        self.decide(Input::Found(found))?;
                    }
                }
                let mut replies = Vec::with_capacity(submission.events.len());
                let mut contexts = submission.contexts.into_iter();
                for (event, matches) in submission.events {
                    let records = self.decide(Input::of_event(event, matches, contexts.next()))?;
                    replies.push(EventReply {
                        incidents: incidents_of(&records.records),
                    });
                }
                let reply = submission.reply;
                self.state
                    .pending
                    .replies
                    .push(Box::new(move |result| reply(result.map(|()| replies))));
            }
            Message::Command { by, command, reply } => {
                let input = Input::Operator { by, command };
                let frame = self.decide(input.clone())?;
                let mut outcome = command_reply(&frame.records);
                // Everything is released in turns of a bounded size; the answer is for all of them.
                while command == Command::Release(ReleaseScope::All) {
                    let frame = self.decide(input.clone())?;
                    let more = command_reply(&frame.records);
                    if more.affected.is_empty() {
                        break;
                    }
                    outcome.affected.extend(more.affected);
                }
                self.state
                    .pending
                    .replies
                    .push(Box::new(move |result| reply(result.map(|()| outcome))));
            }
            Message::Policy { policy, reply } => {
                if self.engine.state().policy.as_ref() != Some(&policy) {
                    self.decide(Input::Policy(policy))?;
                }
                self.state.pending.replies.push(reply);
            }
            Message::Pin { input, reply } => {
                // As with events: what is in force must find room to be lifted.
                let bytes = postcard::to_stdvec(&input).map_or(usize::MAX / 2, |bytes| bytes.len());
                let size = self.state.pending.bytes.len() + 2 * bytes + self.room_to_finish();
                if self.journal.has_room(size) {
                    self.decide(input)?;
                    self.state.pending.replies.push(reply);
                } else {
                    reply(Err(Busy::JournalFull));
                }
            }
            // What is told must not be undone by a crash, so it waits for what has been decided to be durable.
            Message::Query(ask) => self.state.pending.queries.push(ask),
            Message::Sweep(readings) => {
                self.telemetry.sweeps.add(1);
                self.look_after_journal()?;
                let findings = sweep::compare(self.engine.state(), &readings);
                for part in findings.parts(FINDINGS_PER_TURN_MAX) {
                    self.turn(Input::Swept(part))?;
                }
            }
            Message::Stop => self.state.stopping_since = Some(Instant::now()),
        }
        Ok(())
    }

    /// Room in the journal that what is under way and in force will need until it has ended.
    fn room_to_finish(&self) -> usize {
        let state = self.engine.state();
        state.index.by_target.len() * ROOM_TO_LIFT + state.index.queue.len() * ROOM_PER_EVENT
    }

    /// Takes no more events while the journal's files are not where the next start looks for them, and pages. What is
    /// under way and in force goes on, and can be lifted: the files that are open take frames.
    fn look_after_journal(&mut self) -> Result<(), LoopError> {
        self.state.looked_at = Some(Instant::now());
        let lost = self.journal.lost();
        let is_lost = lost.is_some();
        let was_lost = std::mem::replace(&mut self.state.journal_lost, is_lost);
        let page = match &lost {
            Some(what) if !was_lost => {
                tracing::error!(
                    what,
                    "the files of the journal were deleted or moved away: no more events are taken"
                );
                Some(format!(
                    "the files of the journal were deleted or moved away ({what}): no more events are taken, because \
                     nothing would survive a restart. Containment can be lifted. Put the files back, or release \
                     everything and start anew"
                ))
            }
            None if was_lost => {
                tracing::info!("the files of the journal are where they should be again: events are taken");
                None
            }
            _ => None,
        };
        *self
            .telemetry
            .journal_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lost.map(Into::into);
        match page {
            Some(text) => self.turn(Input::Trouble(text.into())),
            None => Ok(()),
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
        pending.bytes = postcard::to_extend(&*frame, std::mem::take(&mut pending.bytes))
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

    /// Makes everything pending durable, then lets effects go. What is left to be told is told by [`Self::tell`].
    fn commit(&mut self) -> Result<(), LoopError> {
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
    fn tell(&mut self) {
        for reply in self.state.durable.replies.drain(..) {
            reply(Ok(()));
        }
        for ask in self.state.durable.queries.drain(..) {
            ask(self.engine.state());
        }
        for followed in self.state.durable.frames.drain(..) {
            if let Some(follower) = &self.follower {
                // A full channel makes a gap, which the follower closes from the journal.
                drop(follower.try_send(followed));
            }
        }
    }

    /// Carries out what is to be done in place, or sends it to the driver's thread where that cannot be. `None` when
    /// a driver took so long that another thread has the loop now.
    fn carry_out(mut self: Box<Self>, seat: &Seat<Box<Self>>) -> Option<Box<Self>> {
        let drivers = self.drivers.clone();
        while let Some((kind, mut batch)) = self.state.in_place.pop_first() {
            let Some(driver) = drivers.borrow(kind) else {
                self.send_all(kind, batch);
                continue;
            };
            match seat.leave(self) {
                Ok(()) => {
                    driver.carry_out(&mut batch);
                    self = seat.fetch()?;
                }
                Err(it) => {
                    self = it;
                    drop(driver);
                    self.send_all(kind, batch);
                }
            }
        }
        Some(self)
    }

    fn send_in_place(&mut self) {
        while let Some((kind, batch)) = self.state.in_place.pop_first() {
            self.send_all(kind, batch);
        }
    }

    fn send_all(&self, kind: ActionKind, batch: Vec<DriverRequest>) {
        for request in batch {
            self.drivers.order(kind, request);
        }
    }

    /// Whose the things are that the incident of `notice` is about.
    fn about(&self, notice: &Notice) -> About {
        let around = notice.incident.and_then(|it| self.engine.state().around.get(it));
        About {
            at: self.engine.state().now,
            assets: around.map_or_else(Vec::new, |it| it.assets().to_vec()),
            accounts: around.map_or_else(Vec::new, |it| it.accounts().to_vec()),
        }
    }

    /// Hands `effect` to whoever carries it out, and counts the reads that a local driver is answering. Requests to one
    /// driver are carried out in the order in which they come here.
    fn perform(&mut self, effect: Effect) {
        let read = effect.is_read();
        let (kind, request) = match effect {
            Effect::Observe {
                transaction,
                ticket,
                kind,
                target,
                traffic,
                ..
            } => {
                let request = DriverRequest::Observe {
                    transaction,
                    ticket,
                    target,
                    traffic,
                };
                (kind, request)
            }
            Effect::Execute {
                transaction,
                ticket,
                kind,
                target,
                key,
                version,
                hold,
                renewal,
                send_by,
                deadline: _,
            } => {
                let request = ExecuteRequest {
                    transaction,
                    key,
                    target,
                    version,
                    hold,
                    renewal,
                };
                let request = DriverRequest::Execute {
                    ticket,
                    request,
                    send_by,
                };
                (kind, request)
            }
            Effect::Undo {
                label,
                transaction,
                ticket,
                kind,
                target,
                key,
                ..
            } => {
                let request = UndoRequest {
                    transaction: label,
                    key,
                    target,
                };
                let request = DriverRequest::Undo {
                    transaction,
                    ticket,
                    request,
                };
                (kind, request)
            }
            Effect::Notify(notice) => {
                let about = self.about(&notice);
                drop(self.notices.send((notice, about)));
                return;
            }
            Effect::Collect {
                evidence,
                incident,
                kind,
                target,
                options,
                playbook,
                playbook_hash,
                deadline,
            } => {
                self.preserver.ask(CollectOrder {
                    kind,
                    request: CollectRequest {
                        evidence,
                        incident,
                        target,
                        options,
                        time_left: deadline.since(self.clock.now()),
                    },
                    playbook,
                    playbook_hash,
                });
                return;
            }
            Effect::ReadHealth {
                incident,
                watch,
                ticket,
                signal,
                deadline: _,
            } => {
                let order = ReadOrder {
                    incident,
                    watch,
                    ticket,
                };
                self.health.ask(&signal, order);
                return;
            }
        };
        let local = self.engine.state().driver(kind).is_some_and(|driver| driver.local);
        let in_place = &mut self.state.in_place;
        if in_place.contains_key(&kind) || self.drivers.has_time(kind) {
            self.state.reads_out += usize::from(read && local);
            let batch = in_place.entry(kind).or_default();
            batch.push(request);
            if batch.len() > IN_PLACE_MAX {
                let batch = std::mem::take(batch);
                in_place.remove(&kind);
                self.send_all(kind, batch);
            }
        } else {
            let sent = self.drivers.order(kind, request);
            self.state.reads_out += usize::from(sent && read && local);
        }
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

    fn snapshot(&mut self) {
        self.state.frames_since_snapshot = 0;
        let lsn = self.journal.tail().lsn;
        let state = self.engine.state();
        if let Err(error) = self.journal.write_snapshot(lsn, &mut |out| state.encode_to(out)) {
            tracing::warn!(%lsn, %error, "snapshot not written; the next start replays more frames");
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

fn incidents_of(records: &[Record]) -> Vec<IncidentId> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::IncidentOpened { incident, .. } | Record::EventJoined { incident } => Some(*incident),
            _ => None,
        })
        .collect()
}

fn command_reply(records: &[Record]) -> CommandReply {
    records
        .iter()
        .find_map(|record| match record {
            Record::CommandDone { affected } => Some(CommandReply {
                affected: affected.clone(),
                refused: None,
                former: 0,
            }),
            Record::CommandRefused { why } => Some(CommandReply {
                affected: Vec::<TransactionId>::new(),
                refused: Some(why.clone()),
                former: 0,
            }),
            _ => None,
        })
        .unwrap_or(CommandReply {
            affected: Vec::new(),
            refused: Some("the engine gave no answer".into()),
            former: 0,
        })
}
