//! An index that could not be opened when the server started, as on a disk that was full.
//!
//! Never holds up who feeds it: an attempt is made with the next frame or look after a pause, and until one succeeds
//! questions are answered from what the file has, if that is of this journal, and refused otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use staunch_model::{Frame, Timestamp, WithCauses};
use staunch_ports::{Follower, Lsn};

use super::read::Shared;
use super::{Index, IndexError, IndexReader};

/// The pause between two attempts: somebody who has made room sees it in force within moments.
const PAUSE: Duration = Duration::from_secs(2);

/// Follows nothing until the index can be opened, and then as [`Index`] does.
pub struct AwaitedIndex {
    path: PathBuf,
    journal_dir: PathBuf,
    shared: Arc<Shared>,
    opened: Option<Index>,
    /// `None` before the first attempt.
    retry_at: Option<Instant>,
    /// What the last attempt said.
    why: String,
}

impl AwaitedIndex {
    /// Awaits the index at `path`, which could not be opened for `why`.
    #[must_use]
    pub fn new(path: &Path, journal_dir: &Path, why: &IndexError) -> Self {
        let shared = Shared::new(path);
        shared.set_fits(false);
        shared.set_trouble(Some(super::why(why)));
        Self {
            path: path.to_owned(),
            journal_dir: journal_dir.to_owned(),
            shared,
            opened: None,
            retry_at: None,
            why: WithCauses(why).to_string(),
        }
    }

    /// A way to ask it.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader::new(self.shared.clone())
    }

    fn attempt(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match Index::open_for(self.shared.clone(), &self.path, &self.journal_dir) {
            Ok(index) => {
                // What questions found while the file had no tables yet is no damage.
                self.shared.take_damaged();
                tracing::info!(frames = index.position().0, "there is an index again");
                self.opened = Some(index);
            }
            Err(error) => {
                let told = WithCauses(&error).to_string();
                if told != self.why {
                    tracing::error!(error = %told, "there is no index, for another reason than before");
                    self.why = told;
                }
                self.shared.set_trouble(Some(super::why(&error)));
                self.retry_at = Some(Instant::now() + PAUSE);
            }
        }
    }
}

impl Follower for AwaitedIndex {
    fn name(&self) -> &'static str {
        "index"
    }

    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        match &mut self.opened {
            Some(index) => index.follow(lsn, now, frame),
            // It is read from the journal when the index is there.
            None => self.attempt(),
        }
    }

    fn position(&self) -> Lsn {
        self.opened.as_ref().map_or(Lsn(0), Follower::position)
    }

    fn flush(&mut self) {
        if let Some(index) = &mut self.opened {
            index.flush();
        }
    }

    fn catch_up(&mut self, until: Lsn) {
        match &mut self.opened {
            Some(index) => index.catch_up(until),
            None => self.attempt(),
        }
    }

    fn look_after(&mut self) {
        match &mut self.opened {
            Some(index) => index.look_after(),
            None => self.attempt(),
        }
    }
}
