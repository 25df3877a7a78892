//! What must hold of notices: none is given up lightly.
//!
//! Never says what people have to be told: see `told.rs`.

use staunch_model::{Notice, NoticeId, NoticeLevel, Span, Timestamp};

use super::{Found, Invariant, fail};

/// How often a notice is tried before it is given up.
const TRIES_MIN: u32 = 10;

/// How often a page is.
const TRIES_OF_PAGE_MIN: u32 = 35;

/// The longest pause between two tries.
const PAUSE_MAX: Span = Span::from_hours(1);

/// How many notices may wait: when there are more, one is dropped that was not tried so often.
const WAITING_MAX: usize = 1_000;

/// The notices that nobody has taken yet. There are few at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices(Vec<Waiting>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    notice: NoticeId,
    is_page: bool,
    /// How often it was sent.
    tries: u32,
}

impl Notices {
    pub(super) fn queued(&mut self, notice: &Notice) {
        self.0.push(Waiting {
            notice: notice.id,
            is_page: notice.level == NoticeLevel::Page,
            tries: 1,
        });
    }

    pub(super) fn resent(&mut self, notice: NoticeId) {
        if let Some(waiting) = self.0.iter_mut().find(|it| it.notice == notice) {
            waiting.tries += 1;
        }
    }

    pub(super) fn taken(&mut self, notice: NoticeId) {
        self.0.retain(|it| it.notice != notice);
    }

    /// It was not taken, and is tried again at a time, or never.
    pub(super) fn failed(&mut self, notice: NoticeId, again: Option<Timestamp>, now: Timestamp) -> Found {
        let Some(&Waiting { is_page, tries, .. }) = self.0.iter().find(|it| it.notice == notice) else {
            return Ok(());
        };
        let tries_min = if is_page { TRIES_OF_PAGE_MIN } else { TRIES_MIN };
        // It doubles with each try, from two seconds.
        let pause = Span::from_secs(1 << tries.min(12)).min(PAUSE_MAX);
        match again {
            Some(at) if at != now + pause => fail(
                Invariant::StuckIsTold,
                format!("{notice} is sent again at {at}, after {tries} tries"),
            ),
            Some(_) => Ok(()),
            None if tries < tries_min && self.0.len() < WAITING_MAX => fail(
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
