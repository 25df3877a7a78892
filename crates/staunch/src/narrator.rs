//! What happens, as lines of the log: containment that holds, ends, fails or waits, and what people command.
//!
//! The journal has all of it; the log has what somebody who watches wants to read. Reads what is durable, on the
//! index's thread, so that nobody under attack waits for a slow terminal.

use std::time::{Duration, Instant};

use staunch_model::{Change, Command, Frame, Input, Printable, Record, ReleaseScope, Timestamp};
use staunch_ports::{Follower, Lsn};

use crate::words;

/// Lines in one [`INTERVAL`]: a storm of alerts must not become a storm of lines.
const LINES_MAX: u32 = 200;

/// The time that [`LINES_MAX`] counts for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the log what another follower takes.
pub(crate) struct Narrator<F> {
    inner: F,
    since: Instant,
    told: u32,
    left_out: u64,
}

impl<F: Follower> Narrator<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self {
            inner,
            since: Instant::now(),
            told: 0,
            left_out: 0,
        }
    }

    /// Whether there is room for a line in this interval. Says how many had none, once it is over.
    fn has_room(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= INTERVAL {
            self.since = now;
            self.told = 0;
            self.say_left_out();
        }
        if self.told >= LINES_MAX {
            self.left_out += 1;
            return false;
        }
        self.told += 1;
        true
    }

    fn say_left_out(&mut self) {
        let lines = std::mem::take(&mut self.left_out);
        if lines > 0 {
            tracing::info!(lines, "left out here; `staunch journal cat` shows everything");
        }
    }
}

impl<F: Follower> Follower for Narrator<F> {
    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        for line in lines(frame) {
            if self.has_room(Instant::now()) {
                tracing::info!("{}", Printable(&line));
            }
        }
        self.inner.follow(lsn, now, frame);
    }

    fn is_durable(&mut self, lsn: Lsn) {
        self.inner.is_durable(lsn);
    }

    fn position(&self) -> Lsn {
        self.inner.position()
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn catch_up(&mut self) {
        self.inner.catch_up();
    }

    fn look_after(&mut self) {
        self.say_left_out();
        self.inner.look_after();
    }
}

/// The lines of `frame`; most frames have none.
fn lines(frame: &Frame) -> Vec<String> {
    let mut lines = Vec::new();
    // Everything is released in turns, and the last one finds nothing left.
    let is_last_turn = matches!(&frame.records[..], [Record::CommandDone { affected }] if affected.is_empty());
    let is_command = match &frame.input {
        Input::Operator { command, .. } => *command != Command::Release(ReleaseScope::All) || !is_last_turn,
        _ => false,
    };
    if is_command {
        lines.push(words::input(&frame.input));
    }
    let is_told = |record: &&Record| match record {
        Record::Transaction { change, .. } => is_told(change),
        Record::CommandDone { .. } | Record::CommandRefused { .. } => is_command,
        Record::TransactionPlanned { .. }
        | Record::CameBack { .. }
        | Record::OrphanAdopted { .. }
        | Record::OutcomeReached { .. }
        | Record::ModeSet { .. }
        | Record::BreakerOpened { .. }
        | Record::Exempted(_)
        | Record::ExemptionEnded { .. }
        | Record::EvidenceSealed { .. }
        | Record::EvidenceMissed { .. }
        | Record::WatchEnded { .. }
        | Record::RecoveryStarted { .. }
        | Record::RecoveryAt { waits: Some(_), .. }
        | Record::ContainedAgain { .. }
        | Record::RecoveryEnded { .. } => true,
        _ => false,
    };
    lines.extend(frame.records.iter().filter(is_told).map(words::record));
    lines
}

/// Whether a person who watches wants to know of `change`.
fn is_told(change: &Change) -> bool {
    matches!(
        change,
        Change::Refused { .. }
            | Change::WouldExecute { .. }
            | Change::ApprovalRequested { .. }
            | Change::Approved { .. }
            | Change::PostCheckPassed { .. }
            | Change::RollbackStarted { .. }
            | Change::ProbedAbsent
            | Change::GaveUp(_)
            | Change::ReleaseStarted { .. }
            | Change::ReleaseVerified
            | Change::Renewed { .. }
            | Change::RenewFailed(_)
    )
}

#[cfg(test)]
mod tests {
    use staunch_model::{Mode, Operator, TransactionId};

    use super::*;

    /// Counts what it is given.
    struct Counts(Lsn);

    impl Follower for Counts {
        fn follow(&mut self, lsn: Lsn, _: Timestamp, _: &Frame) {
            self.0 = lsn;
        }
        fn is_durable(&mut self, lsn: Lsn) {
            self.0 = lsn;
        }
        fn position(&self) -> Lsn {
            self.0
        }
        fn flush(&mut self) {}
        fn catch_up(&mut self) {}
    }

    #[test]
    fn commands_and_their_ends_are_told_and_ticks_are_not() {
        let by = Operator {
            name: "ada".into(),
            from: "10.0.0.1".into(),
            reason: "it is a test".into(),
        };
        let command = Frame {
            input: Input::Operator {
                by,
                command: Command::SetMode(Mode::Observe),
            },
            records: vec![
                Record::ModeSet { mode: Mode::Observe },
                Record::CommandDone { affected: Vec::new() },
            ],
        };
        assert_eq!(
            lines(&command),
            [
                "ada from 10.0.0.1: set the mode to observe, because it is a test",
                "the mode is observe",
                "done, 0 transactions affected"
            ]
        );
        let change = |change| Frame {
            input: Input::Tick,
            records: vec![Record::Transaction {
                transaction: TransactionId(7),
                change,
            }],
        };
        assert_eq!(lines(&change(Change::ReleaseVerified)), ["TX-7 released, and verified"]);
        assert!(lines(&change(Change::StaleReply { ticket: 1 })).is_empty());
    }

    #[test]
    fn what_is_durable_is_handed_on() {
        let mut narrator = Narrator::new(Counts(Lsn(0)));
        narrator.is_durable(Lsn(7));
        assert_eq!(narrator.position(), Lsn(7));
    }

    #[test]
    fn a_storm_has_few_lines_and_what_was_left_out_is_counted() {
        let mut narrator = Narrator::new(Counts(Lsn(0)));
        let begun = narrator.since;
        let told = (0..LINES_MAX + 5).filter(|_| narrator.has_room(begun)).count();
        assert_eq!((told, narrator.left_out), (LINES_MAX as usize, 5));
        assert!(narrator.has_room(begun + INTERVAL));
        assert_eq!(narrator.left_out, 0);
    }
}
