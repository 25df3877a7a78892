//! What must hold of notices: none is given up lightly.
//!
//! Never says what people have to be told: see `told.rs`.

use staunch_model::{NoticeId, Span, Timestamp};

use super::{Found, Invariant, fail};

/// How often a notice is tried before it is given up.
const TRIES_MIN: u32 = 10;

/// How many notices may wait: when there are more, one is dropped that was not tried so often.
const WAITING_MAX: usize = 1_000;

/// The notices that nobody has taken yet, and how often each was sent. There are few at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices(Vec<(NoticeId, u32)>);

impl Notices {
    pub(super) fn queued(&mut self, notice: NoticeId) {
        self.0.push((notice, 1));
    }

    pub(super) fn resent(&mut self, notice: NoticeId) {
        if let Some((_, tries)) = self.0.iter_mut().find(|(it, _)| *it == notice) {
            *tries += 1;
        }
    }

    pub(super) fn taken(&mut self, notice: NoticeId) {
        self.0.retain(|(it, _)| *it != notice);
    }

    /// It was not taken, and is tried again at a time, or never.
    pub(super) fn failed(&mut self, notice: NoticeId, again: Option<Timestamp>, now: Timestamp) -> Found {
        let Some((_, tries)) = self.0.iter().find(|(it, _)| *it == notice) else {
            return Ok(());
        };
        match again {
            // The pause doubles with each try, from two seconds.
            Some(at) if at != now + Span::from_secs(1 << (*tries).min(TRIES_MIN)) => fail(
                Invariant::StuckIsTold,
                format!("{notice} is sent again at {at}, after {tries} tries"),
            ),
            Some(_) => Ok(()),
            None if *tries < TRIES_MIN && self.0.len() < WAITING_MAX => fail(
                Invariant::StuckIsTold,
                format!("{notice} is given up after {tries} tries"),
            ),
            None => {
                self.taken(notice);
                Ok(())
            }
        }
    }
}
