//! What happens, as lines of the log: containment that holds, ends, fails or waits, and what people command.
//!
//! The journal has all of it; the log has what somebody who watches wants to read. Reads what is durable, on a thread
//! of its own, so that nobody under attack waits for a slow terminal, and whether or not there is an index.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use staunch_model::{Change, Command, Frame, Input, Printable, Record, ReleaseScope, Timestamp};
use staunch_ports::{Follower, Lsn};

use crate::{passed_over, words};

/// Lines in one [`INTERVAL`]: a storm of alerts must not become a storm of lines.
const LINES_MAX: u32 = 200;

/// The time that [`LINES_MAX`] counts for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the log what happens.
pub(crate) struct Narrator {
    /// The directory of the journal, for what it was too slow for.
    journal: PathBuf,
    /// The last frame that was told.
    position: Lsn,
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Narrator {
    /// Tells what comes after `position` in the journal that is in the directory `journal`.
    pub(crate) fn new(journal: PathBuf, position: Lsn) -> Self {
        Self {
            journal,
            position,
            since: Instant::now(),
            told: 0,
            left_out: 0,
        }
    }

    fn tell(&mut self, frame: &Frame) {
        for line in lines(frame) {
            if self.has_room(Instant::now()) {
                tracing::info!("{}", Printable(&line));
            }
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

impl Follower for Narrator {
    fn name(&self) -> &'static str {
        "narrator"
    }

    fn follow(&mut self, lsn: Lsn, _: Timestamp, frame: &Frame) {
        self.tell(frame);
        self.position = lsn;
    }

    fn position(&self) -> Lsn {
        self.position
    }

    /// What cannot be read is left out, which is told: what happens now is not to wait for it.
    fn catch_up(&mut self, until: Lsn) {
        let (dir, from) = (self.journal.clone(), self.position.next());
        let read = passed_over::read(&dir, from..until, &mut |lsn, _, frame| {
            self.tell(frame);
            self.position = lsn;
        });
        if let Err(why) = read {
            let frames = until.0 - self.position.next().0;
            tracing::warn!(frames, %why, "what happened in these frames of the journal cannot be told here");
            self.position = Lsn(until.0.saturating_sub(1));
        }
    }

    fn look_after(&mut self) {
        self.say_left_out();
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
    fn what_cannot_be_read_any_more_does_not_hold_up_what_happens_now() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut narrator = Narrator::new(dir.path().join("nowhere"), Lsn(4));
        narrator.catch_up(Lsn(9));
        assert_eq!(narrator.position().next(), Lsn(9));
    }

    #[test]
    fn a_storm_has_few_lines_and_what_was_left_out_is_counted() {
        let mut narrator = Narrator::new(PathBuf::new(), Lsn(0));
        let begun = narrator.since;
        let told = (0..LINES_MAX + 5).filter(|_| narrator.has_room(begun)).count();
        assert_eq!((told, narrator.left_out), (LINES_MAX as usize, 5));
        assert!(narrator.has_room(begun + INTERVAL));
        assert_eq!(narrator.left_out, 0);
    }
}
