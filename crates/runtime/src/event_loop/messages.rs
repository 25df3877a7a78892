//! What a message from outside becomes: whether it is taken, which inputs it means, and what is answered.
//!
//! Never answers before what was decided is durable, and takes nothing new that the journal has no room to finish.

use std::time::Instant;

use staunch_engine::sweep;
use staunch_model::{Command, CommandReply, IncidentId, Input, Match, Record, ReleaseScope, TransactionId};
use staunch_ports::Lsn;

use super::room::LOOK_INTERVAL;
use super::{EventLoop, LoopError};
use crate::handle::{Busy, EventReply, Message, Recorded};
use crate::second_look::{Missed, Swept};
use crate::{pinned_bytes, pinned_bytes_max};

/// Room in a frame for what feeds say of one target, with its record.
const ROOM_PER_KNOWN: usize = 2 * 1024;

/// Room that must be left in the journal before an event is taken, besides its own size: the frames of a whole
/// transaction with judgement and outcome.
pub(super) const ROOM_PER_EVENT: usize = 8 * 1024;

/// Findings of a sweep that are decided in one turn: a frame of them stays far below what the journal takes.
const FINDINGS_PER_TURN_MAX: usize = 1_000;

impl EventLoop {
    pub(super) fn on_message(&mut self, message: Message) -> Result<(), LoopError> {
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
                    if busy == Busy::JournalFull {
                        self.journal_is_full(new)?;
                    }
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
            // As with events: a drill has something contained, which must find room to be lifted. To end one, and
            // whatever else a person asks for, there is room.
            Message::Command {
                command: Command::Drill { .. },
                reply,
                ..
            } if !self
                .journal
                .has_room(self.state.pending.bytes.len() + ROOM_PER_EVENT + self.room_to_finish()) =>
            {
                self.journal_is_full(ROOM_PER_EVENT)?;
                reply(Err(Busy::JournalFull));
            }
            Message::Command { by, command, reply } => {
                let input = Input::Operator { by, command };
                let frame = self.decide(input.clone())?;
                // What is pending is appended in its order, and nothing else is.
                let at = Lsn(self.journal.tail().lsn.0 + self.state.pending.frames.len() as u64);
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
                self.state.pending.replies.push(Box::new(move |result| {
                    reply(result.map(|()| Recorded {
                        frame: at,
                        reply: outcome,
                    }));
                }));
            }
            Message::Policy { policy, reply } => {
                let is_news = self.engine.state().policy.as_ref() != Some(&policy);
                let input = Input::Policy(policy);
                if is_news && let Err(busy) = self.check_size(pinned_bytes(&input)) {
                    reply(Err(busy));
                } else {
                    if is_news {
                        self.decide(input)?;
                    }
                    self.state.pending.replies.push(reply);
                }
            }
            Message::Pin { input, reply } => {
                // As with events: what is in force must find room to be lifted.
                let bytes = pinned_bytes(&input);
                let size = self.state.pending.bytes.len() + bytes + self.room_to_finish();
                if let Err(busy) = self.check_size(bytes) {
                    reply(Err(busy));
                } else if self.journal.has_room(size) {
                    self.decide(input)?;
                    self.state.pending.replies.push(reply);
                } else {
                    self.journal_is_full(bytes)?;
                    reply(Err(Busy::JournalFull));
                }
            }
            // What is told must not be undone by a crash, so it waits for what has been decided to be durable.
            Message::Query(ask) => self.state.pending.queries.push(ask),
            Message::Sweep(Swept { readings, again }) => {
                let findings = sweep::compare(self.engine.state(), &readings);
                if let Some(again) = again
                    && let Some(missed) = Missed::of(&findings, self.engine.state())
                    && again.send((readings, missed)).is_ok()
                {
                    return Ok(());
                }
                self.telemetry.sweeps.add(1);
                self.look_after_journal()?;
                for part in findings.parts(FINDINGS_PER_TURN_MAX) {
                    self.turn(Input::Swept(part))?;
                }
            }
            Message::Stop => self.state.stopping_since = Some(Instant::now()),
        }
        Ok(())
    }

    /// Whether what takes `bytes` of a frame fits into one.
    fn check_size(&self, bytes: usize) -> Result<(), Busy> {
        let max = pinned_bytes_max(self.journal.payload_bytes_max());
        if bytes > max {
            return Err(Busy::TooLarge { bytes, max });
        }
        Ok(())
    }
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
