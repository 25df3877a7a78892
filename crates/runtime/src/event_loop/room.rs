//! Whether the journal can take what is new: its room, and whether its files are where the next start looks for them.
//!
//! Never keeps back what ends something: what is in force can be lifted, whatever is found here.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use staunch_model::{Input, Timestamp};

use super::messages::ROOM_PER_EVENT;
use super::{EventLoop, LoopError};

/// Room that lifting one containment takes: the frames of its release, measured at about 300 bytes.
const ROOM_TO_LIFT: usize = 512;

/// How often it is looked at whether the journal's files are where the next start looks for them, while events come:
/// what is acknowledged in between would be lost. A look takes some microseconds, and one more for each sealed segment.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Room that there must be, besides that for the largest of what was refused, until a full journal counts as one with
/// room again: what one release gives back is filled by the next event.
const ROOM_AGAIN: usize = 64 * 1024;

/// The shortest time between two pages about a full journal. Each takes about a kilobyte of the reserve.
const FULL_PAGE_PAUSE: Duration = Duration::from_secs(60 * 60);

impl EventLoop {
    /// Room in the journal that what is under way and in force will need until it has ended.
    pub(super) fn room_to_finish(&self) -> usize {
        let state = self.engine.state();
        state.index.by_target.len() * ROOM_TO_LIFT + state.index.queue.len() * ROOM_PER_EVENT
    }

    /// Takes no more events while the journal's files are not where the next start looks for them, and pages. What is
    /// under way and in force goes on, and can be lifted: the files that are open take frames.
    pub(super) fn look_after_journal(&mut self) -> Result<(), LoopError> {
        self.state.looked_at = Some(Instant::now());
        self.look_for_room();
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

    /// Takes note that what needs `size` bytes is refused for want of room, and pages, unless that was done of late.
    pub(super) fn journal_is_full(&mut self, size: usize) -> Result<(), LoopError> {
        let was_full = self.state.refused_size.is_some();
        self.state.refused_size = self.state.refused_size.max(Some(size));
        if was_full {
            return Ok(());
        }
        tracing::error!("the journal is full: no more events are taken, and only lifting containment goes on");
        self.set_full_since(Some(self.clock.now()));
        if self
            .state
            .full_paged_at
            .is_some_and(|at| at.elapsed() < FULL_PAGE_PAUSE)
        {
            return Ok(());
        }
        self.state.full_paged_at = Some(Instant::now());
        let text = "the journal is full: no more events are taken, and nothing new is contained. Containment can be \
                    lifted. Make room on the disk of the data directory; events are taken again by themselves then";
        self.turn(Input::Trouble(text.into()))
    }

    /// Looks whether a journal that was full has room again.
    fn look_for_room(&mut self) {
        let Some(refused) = self.state.refused_size else { return };
        let size = self.state.pending.bytes.len() + self.room_to_finish() + refused + ROOM_AGAIN;
        if self.journal.has_room(size) {
            self.state.refused_size = None;
            self.set_full_since(None);
            tracing::info!("the journal has room again: events are taken");
        }
    }

    fn set_full_since(&self, since: Option<Timestamp>) {
        let full = &self.telemetry.journal_full;
        *full.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}
