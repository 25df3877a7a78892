//! The query index: a view of the journal in SQLite, for the questions of people.
//!
//! Never the truth: it can be thrown away at any time and is rebuilt from the journal.
//!
//! # Expected flow
//! `open` looks at what is on disk and catches up with the journal. The runtime then feeds every durable frame to
//! `follow`; what waits together is one SQLite transaction. Readers have connections of their own.
//!
//! # Guarantees
//! - The index is as of one frame: rows and [`Follower::position`] are committed together.
//! - It is never ahead of the history it shows: when it ends after the journal, or with another frame than the journal
//!   has at that position (a crash lost frames that were not durable yet), it is rebuilt.
//! - A file of another version, a damaged file, or a file that is not ours is rebuilt. A file that SQLite cannot read
//!   is set aside with the ending `.damaged`.
//!
//! # Caveats
//! A loss of power may cost the last commits; they are caught up from the journal. While it is being rebuilt it answers
//! from what it has, and its position says how far that is. One that cannot be opened is awaited ([`AwaitedIndex`]).

mod awaited;
mod file;
mod read;
mod rows;
mod schema;
mod words;
mod write;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use staunch_model::{Frame, Timestamp, WithCauses};
use staunch_ports::{Follower, Lsn, ReadError};
use thiserror::Error;

use crate::journal::ReadOnlyJournal;

pub use awaited::AwaitedIndex;
pub use read::{IncidentFilter, IndexReader, ROWS_MAX, TransactionFilter};
pub use rows::{
    Acts, CommandRow, EventRow, EvidenceRow, Happening, IncidentDetail, IncidentRow, NoticeRow, Place, TimelineEntry,
    TransactionRow,
};
pub use words::{reason, state_after};

use file::{connect_or_replace, identity, is_corrupt, replace};
use read::Shared;
use write::Names;

/// Frames in one SQLite transaction. Bounds how far readers are behind while the journal is caught up with.
const FRAMES_PER_COMMIT_MAX: u32 = 4_096;

/// How long a failed index waits before it tries the journal again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Why the index cannot be used. Containment does not depend on it.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The file cannot be made or opened.
    #[error("cannot open the index {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A file that is in the way cannot be set aside.
    #[error("cannot set the index {path} aside")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Frames cannot be entered.
    #[error("cannot enter frame {lsn} into the index")]
    Write {
        /// The frame.
        lsn: Lsn,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A question cannot be answered.
    #[error("cannot ask the index for {what}")]
    Query {
        /// What was asked for.
        what: &'static str,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A question was not answered within the time that it was given.
    #[error("the index was asked for {what}, and did not answer within {within:?}")]
    TooSlow {
        /// What was asked for.
        what: &'static str,
        /// The time.
        within: Duration,
    },
    /// The index was not opened yet, and what its file has may be of another journal.
    #[error("the index cannot be opened yet: {why}")]
    Awaited {
        /// What the last attempt said.
        why: Box<str>,
    },
    /// The journal cannot be read.
    #[error("cannot read the journal for the index")]
    Journal(#[source] ReadError),
    /// A frame is not of a form that this build knows.
    #[error("frame {lsn} is not of a form that this build knows: {what}")]
    Unknown {
        /// The frame.
        lsn: Lsn,
        /// What is wrong with it.
        what: String,
    },
}

/// What has to be done before a frame can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stand {
    /// The file could not be replaced: it is opened anew.
    Unopened,
    /// What was committed is read.
    Unread,
    /// Nothing.
    Ready,
}

/// The writer of the index. There is one.
#[derive(Debug)]
pub struct Index {
    db: Connection,
    journal_dir: PathBuf,
    names: Names,
    stand: Stand,
    /// The last frame taken, which may not be committed yet, and its time.
    position: Lsn,
    last_now: Timestamp,
    /// The last frame committed, and its time.
    committed: (Lsn, Timestamp),
    /// Frames in the open transaction.
    uncommitted: u32,
    retry_at: Option<Instant>,
    shared: Arc<Shared>,
    path: PathBuf,
    /// The file that is open: device and number. `None` when it could not be looked at.
    file: Option<(u64, u64)>,
}

impl Index {
    /// Opens the index at `path`, or makes it, and catches up with the journal in `journal_dir`. A journal that does
    /// not exist yet is an empty one.
    ///
    /// # Errors
    /// [`IndexError`]. An index that is damaged, of another version or of another history is rebuilt instead.
    pub fn open(path: &Path, journal_dir: &Path) -> Result<Self, IndexError> {
        Self::open_for(Shared::new(path), path, journal_dir)
    }

    /// As [`Index::open`], for readers that are there already.
    fn open_for(shared: Arc<Shared>, path: &Path, journal_dir: &Path) -> Result<Self, IndexError> {
        shared.replaced();
        let db = connect_or_replace(path)?;
        let mut index = Self {
            db,
            journal_dir: journal_dir.to_owned(),
            names: Names::new(),
            stand: Stand::Unread,
            position: Lsn(0),
            last_now: Timestamp::EPOCH,
            committed: (Lsn(0), Timestamp::EPOCH),
            uncommitted: 0,
            retry_at: None,
            shared,
            path: path.to_owned(),
            file: identity(path).ok(),
        };
        match index.begin() {
            Err(IndexError::Write { source, .. } | IndexError::Query { source, .. }) if is_corrupt(&source) => {
                index.start_over(&source)?;
            }
            other => other?,
        }
        Ok(index)
    }

    /// Goes on with what the file has, or anew when that is not of this journal.
    fn begin(&mut self) -> Result<(), IndexError> {
        self.load()?;
        if self.fits()? {
            self.shared.take_damaged();
            self.shared.set_fits(true);
            self.read_on()
        } else {
            self.rebuild()
        }
    }

    /// A way to ask it.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader::new(self.shared.clone())
    }

    /// Empties it and reads the whole journal again.
    ///
    /// # Errors
    /// [`IndexError`]. It then has what was read before the failure.
    pub fn rebuild(&mut self) -> Result<(), IndexError> {
        self.abandon();
        let begun = Instant::now();
        let empty = format!("BEGIN IMMEDIATE; {} {} COMMIT;", schema::DROP, schema::TABLES);
        self.db
            .execute_batch(&empty)
            .map_err(|source| IndexError::Write { lsn: Lsn(0), source })?;
        self.load()?;
        self.shared.set_fits(true);
        self.read_on()?;
        tracing::info!(frames = self.position.0, took = ?begun.elapsed(), "the index was rebuilt");
        Ok(())
    }

    /// Reads what was committed.
    fn load(&mut self) -> Result<(), IndexError> {
        let failed = |source| IndexError::Query {
            what: "its progress",
            source,
        };
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (position, now) = self
            .db
            .query_row("SELECT position, last_now FROM progress", [], read)
            .map_err(failed)?;
        self.names = names(&self.db).map_err(failed)?;
        self.committed = (Lsn(position.unsigned_abs()), Timestamp::from_micros(now.unsigned_abs()));
        (self.position, self.last_now) = self.committed;
        self.shared.set_reached(self.position);
        self.stand = Stand::Ready;
        Ok(())
    }

    /// Whether the journal has, at the index's position, the frame that the index ends with.
    fn fits(&self) -> Result<bool, IndexError> {
        if self.position == Lsn(0) {
            return Ok(true);
        }
        let Ok(journal) = ReadOnlyJournal::open(&self.journal_dir) else {
            return Ok(false);
        };
        let mut found = None;
        journal
            .read(self.position, &mut |frame| {
                found = Some((frame.lsn, frame.now_us));
                ControlFlow::Break(())
            })
            .map_err(IndexError::Journal)?;
        let fits = found == Some((self.position, self.last_now.as_micros()));
        if !fits {
            tracing::warn!(position = %self.position, "the index does not fit the journal and is rebuilt");
        }
        Ok(fits)
    }

    /// Takes every frame of the journal after its own position.
    fn read_on(&mut self) -> Result<(), IndexError> {
        let Ok(journal) = ReadOnlyJournal::open(&self.journal_dir) else {
            return Ok(());
        };
        let mut failed = None;
        let from = self.position.next();
        let read = journal.read(from, &mut |stored| {
            let taken = postcard::from_bytes::<Frame>(&stored.payload)
                .map_err(|error| IndexError::Unknown {
                    lsn: stored.lsn,
                    what: error.to_string(),
                })
                .and_then(|frame| self.take(stored.lsn, Timestamp::from_micros(stored.now_us), &frame));
            match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        self.commit()?;
        read.map_err(IndexError::Journal)?;
        self.shared.set_trouble(None);
        Ok(())
    }

    fn take(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) -> Result<(), IndexError> {
        let failed = |source| IndexError::Write { lsn, source };
        if self.uncommitted == 0 {
            self.db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        }
        self.uncommitted += 1;
        write::frame(&self.db, &mut self.names, lsn, now, frame).map_err(failed)?;
        self.position = lsn;
        self.last_now = now;
        if self.uncommitted >= FRAMES_PER_COMMIT_MAX {
            self.commit()
        } else {
            Ok(())
        }
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        if self.uncommitted == 0 {
            return Ok(());
        }
        write::progress(&self.db, self.position, self.last_now)
            .and_then(|()| self.db.execute_batch("COMMIT"))
            .map_err(|source| IndexError::Write {
                lsn: self.position,
                source,
            })?;
        self.uncommitted = 0;
        self.committed = (self.position, self.last_now);
        self.shared.set_trouble(None);
        self.shared.set_reached(self.position);
        Ok(())
    }

    /// Drops what is not committed. Nothing is taken before what was committed has been read again.
    fn abandon(&mut self) {
        self.uncommitted = 0;
        // SQLite may have rolled back by itself.
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "cannot roll the index back");
        }
        (self.position, self.last_now) = self.committed;
        self.stand = self.stand.min(Stand::Unread);
    }

    /// Deals with a failure: goes back to what is committed, or to an empty file when this one is damaged.
    fn failed(&mut self, error: IndexError) {
        tracing::warn!(error = %WithCauses(&error), "the index fell behind; it is caught up from the journal");
        self.shared.set_trouble(Some(why(&error)));
        self.abandon();
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
        if self.stand == Stand::Unopened {
            return;
        }
        let damage = match error {
            IndexError::Write { source, .. } | IndexError::Query { source, .. } if is_corrupt(&source) => Some(source),
            // Whether the file is of this journal is not known yet.
            _ if !self.shared.fits() => None,
            _ => match self.load() {
                Err(IndexError::Query { source, .. }) if is_corrupt(&source) => Some(source),
                _ => None,
            },
        };
        if let Some(source) = damage
            && let Err(error) = self.start_over(&source)
        {
            tracing::warn!(error = %WithCauses(&error), "the index could not be rebuilt");
            self.shared.set_trouble(Some(why(&error)));
            self.abandon();
        }
    }

    /// Reads on, unless that has failed a moment ago.
    fn try_again(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        let tried = match self.stand {
            Stand::Unopened => self.reopen(),
            Stand::Unread if !self.shared.fits() => self.begin(),
            Stand::Unread => self.load().and_then(|()| self.read_on()),
            Stand::Ready => self.read_on(),
        };
        if let Err(error) = tried {
            self.failed(error);
        }
    }

    /// Sets a damaged file aside and builds a new one.
    fn start_over(&mut self, damage: &(impl std::fmt::Display + ?Sized)) -> Result<(), IndexError> {
        tracing::warn!(why = %damage, "the index is rebuilt");
        self.shared.set_trouble(Some(damage.to_string().into()));
        self.use_file(replace)?;
        self.load()?;
        // What questions found before there were tables is no damage of this file.
        self.shared.take_damaged();
        self.shared.set_fits(true);
        self.read_on()
    }

    /// Does what [`Index::start_over`] could not: replaces the file that is damaged if that is still there, and goes on
    /// with the one that has come into its place otherwise.
    fn reopen(&mut self) -> Result<(), IndexError> {
        let is_there = self.file.is_some() && identity(&self.path).ok() == self.file;
        self.use_file(if is_there { replace } else { connect_or_replace })?;
        self.begin()
    }

    /// Goes over to the file that `open` makes or opens. Until there is one, nothing is entered and nothing is asked:
    /// the file that was used may have another name by then, and has lost its logs.
    fn use_file(&mut self, open: fn(&Path) -> Result<Connection, IndexError>) -> Result<(), IndexError> {
        self.abandon();
        self.stand = Stand::Unopened;
        self.shared.set_fits(false);
        self.db = open(&self.path)?;
        self.stand = Stand::Unread;
        self.committed = (Lsn(0), Timestamp::EPOCH);
        self.file = identity(&self.path).ok();
        self.shared.replaced();
        Ok(())
    }
}

impl Follower for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        if self.stand != Stand::Ready {
            self.try_again();
        }
        if self.stand != Stand::Ready || lsn != self.position.next() {
            return;
        }
        if let Err(error) = self.take(lsn, now, frame) {
            self.failed(error);
        }
    }

    fn position(&self) -> Lsn {
        self.position
    }

    fn flush(&mut self) {
        if let Err(error) = self.commit() {
            self.failed(error);
        }
        if self.stand != Stand::Unopened
            && self.shared.take_damaged()
            && let Err(error) = self.start_over("a question found damage")
        {
            self.failed(error);
        }
    }

    fn look_after(&mut self) {
        if self.stand == Stand::Unopened {
            return self.try_again();
        }
        // SQLite goes on with a file that has no name any more, and what is new would not be seen after a restart.
        let found = match identity(&self.path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return tracing::warn!(%error, "cannot look after the index"),
        };
        if found.is_some() && found == self.file {
            // Frames that could not be entered do not wait for the next one.
            if self.shared.has_trouble() {
                self.try_again();
            }
            return;
        }
        tracing::warn!(path = %self.path.display(), "the file of the index has vanished: it is rebuilt from the journal");
        if let Err(error) = self.start_over("its file has vanished") {
            self.failed(error);
        }
    }

    /// Takes what the journal has, which may be more: a frame that a crash loses is found at the next start.
    fn catch_up(&mut self, _: Lsn) {
        self.try_again();
    }
}

fn names(db: &Connection) -> rusqlite::Result<Names> {
    let mut statement = db.prepare("SELECT hash, name FROM playbooks")?;
    let rows = statement.query_map([], |row| {
        let hash: [u8; 32] = row.get(0)?;
        Ok((read::content_hash(hash), row.get::<_, String>(1)?.into()))
    })?;
    rows.collect()
}

/// Why, as the trouble of the index is told: the cause, where there is one.
fn why(error: &IndexError) -> Box<str> {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), ToString::to_string).into()
}
