//! The engine: one turn at a time, live or from the journal.

use staunch_model::{Effect, Frame, Input, Record, Timestamp};

use crate::apply::{ApplyError, apply_again, is_quarantined, leave_out};
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::Turn;

/// Room for the records of most turns.
const RECORDS: usize = 4;

/// The pure, deterministic engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    state: EngineState,
}

/// What one turn produced: the frame for the journal, and what to do once it is durable.
#[derive(Clone, Debug)]
pub struct Step {
    /// The time the turn was decided at: never before that of an earlier turn.
    pub now: Timestamp,
    /// What became true.
    pub records: Vec<Record>,
    /// What to do. See [`Effect::is_read`] for what may leave before the frame is durable.
    pub effects: Vec<Effect>,
}

impl Engine {
    /// An engine that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine with the state of a snapshot.
    ///
    /// # Errors
    /// When the bytes are not a snapshot of this version.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, postcard::Error> {
        EngineState::decode(bytes).map(|state| Self { state })
    }

    /// What the engine knows.
    #[must_use]
    pub fn state(&self) -> &EngineState {
        &self.state
    }

    /// Decides what `input` means at `now` and applies it. Depends on nothing but the state and the arguments.
    pub fn step(&mut self, input: &Input, now: Timestamp) -> Step {
        let now = if is(Mutant::TimeGoesBack) {
            now
        } else {
            now.min(limits::NOW_MAX).max(self.state.now)
        };
        self.state.now = now;
        // All but a look at the time that finds nothing due gives some.
        let records = if matches!(input, Input::Tick) { 0 } else { RECORDS };
        let mut turn = Turn {
            state: &mut self.state,
            now,
            records: Vec::with_capacity(records),
            effects: Vec::new(),
        };
        match input {
            Input::Started { installation, .. } => turn.on_started(*installation),
            Input::Policy(policy) => turn.on_policy(policy),
            Input::Event { event, matches } => {
                let matches_max = if is(Mutant::MatchDropped) { 1 } else { usize::MAX };
                for matched in matches.iter().take(matches_max) {
                    turn.on_match(event, matched);
                }
            }
            Input::EventInContext {
                event,
                matches,
                context,
            } => {
                for matched in matches {
                    if let Some(incident) = turn.on_match(event, matched) {
                        turn.note_around(incident, matched, context);
                    }
                }
            }
            Input::ContextTable(table) => turn.put(Record::ContextTablePinned(table.clone())),
            Input::Observed {
                transaction,
                ticket,
                result,
                facts,
            } => {
                turn.on_observed(*transaction, *ticket, result, facts);
            }
            Input::Executed {
                transaction,
                ticket,
                outcome,
            } => turn.on_executed(*transaction, *ticket, outcome),
            Input::Undone {
                transaction,
                ticket,
                outcome,
            } => turn.on_undone(*transaction, *ticket, outcome),
            Input::Notified { notice, result } => turn.on_notified(*notice, result),
            Input::Swept(findings) => turn.on_swept(findings),
            Input::Operator { by, command } => turn.on_command(by, command),
            Input::Tick => {}
            Input::Collected { evidence, result } => turn.on_collected(*evidence, result),
            Input::Listed(change) => turn.on_listed(change),
            Input::Risk(table) => turn.on_risk(table),
            Input::Known(known) => turn.on_known(known),
            Input::Found(found) => turn.on_found(found),
            Input::HealthRead {
                incident,
                watch,
                ticket,
                result,
            } => turn.on_health_read(*incident, *watch, *ticket, result),
            Input::Trouble(what) => turn.notice(staunch_model::NoticeLevel::Page, None, None, what),
        }
        turn.advance();
        let Turn { records, effects, .. } = turn;
        Step { now, records, effects }
    }

    /// Whether this engine knows what `other` does, once it has been asked at `now`. Nothing of it is changed.
    pub fn equals_at(&mut self, now: Timestamp, other: &Self) -> bool {
        let before = self.state.now;
        self.state.now = before.max(now.min(limits::NOW_MAX));
        let equals = self.state == other.state;
        self.state.now = before;
        equals
    }

    /// Applies a frame from the journal without deciding anything. Its effects belong to the past and are dropped:
    /// [`Input::Started`] takes up what is open.
    ///
    /// A record that does not fit is left out and remembered: its transaction is quarantined, everything else goes on
    /// as usual, and the next [`Input::Started`] tells people.
    ///
    /// # Errors
    /// The first [`ApplyError`], for information only: the whole frame was taken, the state is sound, and replay goes
    /// on with the next frame.
    pub fn replay(&mut self, frame: &Frame, now: Timestamp) -> Result<(), ApplyError> {
        let now = now.min(limits::NOW_MAX);
        self.state.now = self.state.now.max(now);
        let mut unfit = None;
        for record in &frame.records {
            if is_quarantined(&self.state, record) {
                continue;
            }
            if let Err(error) = apply_again(&mut self.state, record, now) {
                leave_out(&mut self.state, record, &error);
                unfit = unfit.or(Some(error));
            }
        }
        self.state.index.dirty.clear();
        unfit.map_or(Ok(()), Err)
    }
}
