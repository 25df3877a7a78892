//! Questions to the index. Each is answered from one state of it, as of one frame.
//!
//! Never writes: connections are read-only. The statements are in `queries`, and what their rows say in `columns`.

mod columns;
mod queries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use staunch_model::{
    IncidentId, IncidentOutcome, IncidentStatus, Judgement, NoticeId, StateKind, Timestamp, TransactionId,
};
use staunch_ports::Lsn;

use super::IndexError;
use super::file::is_corrupt;
use super::rows::{CommandRow, Happening, IncidentDetail, IncidentRow, NoticeRow, Place, TransactionRow};

pub(super) use columns::content_hash;
use columns::{command_row, notice_row};
use queries::{below, collect, detail, happened, incidents, judgements, place_behind, position, rows, transactions};

/// The most rows of one page.
pub const ROWS_MAX: u32 = 1_000;

/// Connections that are kept open for the next question.
const IDLE_MAX: usize = 4;

/// How long a question waits for the writer, which hardly ever stands in its way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many steps of SQLite's machine lie between two looks at the clock: well below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Which incidents; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Only open or only closed ones.
    pub status: Option<IncidentStatus>,
    /// Only those whose contain phase stands like this.
    pub outcome: Option<IncidentOutcome>,
    /// Only those of the playbook with this name.
    pub playbook: Option<String>,
    /// Only those whose key, or the target of one of whose transactions, contains this.
    pub text: Option<String>,
    /// Only those opened at this time or later.
    pub since: Option<Timestamp>,
    /// Only those with a lower id.
    pub before: Option<IncidentId>,
    /// How many: at most one more than [`ROWS_MAX`], by which is known that there are more; 0 stands for [`ROWS_MAX`].
    pub limit: u32,
}

/// Which transactions; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Only those in this state.
    pub state: Option<StateKind>,
    /// Only those aimed at this, as text.
    pub target: Option<String>,
    /// Only those with a lower id.
    pub before: Option<TransactionId>,
    /// How many: at most one more than [`ROWS_MAX`], by which is known that there are more; 0 stands for [`ROWS_MAX`].
    pub limit: u32,
}

/// Asks the index. Cheap to clone; every question in progress has a connection of its own.
#[derive(Clone, Debug)]
pub struct IndexReader {
    shared: Arc<Shared>,
    /// How long an answer may take; `None` for as long as it does.
    within: Option<Duration>,
}

/// What the writer and its readers share.
#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    /// Counts how often the file was replaced: connections to an older one are dropped.
    generation: AtomicU64,
    /// Set by a reader that found damage; the writer rebuilds the index then.
    damaged: AtomicBool,
    /// Whether the file is known to be of this journal; false until the writer has looked, when it is awaited or
    /// replaced.
    fits: AtomicBool,
    writer: Mutex<Writer>,
    idle: Mutex<Vec<(u64, Connection)>>,
}

/// How the writer is.
#[derive(Debug, Default)]
struct Writer {
    /// The last frame that a question can see; [`Lsn`] 0 in a process that does not write.
    reached: Lsn,
    /// Why it cannot enter frames; `None` while it can.
    trouble: Option<Box<str>>,
}

impl Shared {
    pub(super) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            generation: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            fits: AtomicBool::new(true),
            writer: Mutex::new(Writer::default()),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Takes note that the file was replaced.
    pub(super) fn replaced(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
    }

    pub(super) fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::AcqRel)
    }

    /// Takes note of whether the file may be asked.
    pub(super) fn set_fits(&self, fits: bool) {
        self.fits.store(fits, Ordering::Release);
    }

    pub(super) fn fits(&self) -> bool {
        self.fits.load(Ordering::Acquire)
    }

    /// Takes note of why frames cannot be entered, or that they can.
    pub(super) fn set_trouble(&self, why: Option<Box<str>>) {
        self.writer().trouble = why;
    }

    pub(super) fn has_trouble(&self) -> bool {
        self.writer().trouble.is_some()
    }

    /// Takes note of what questions can see from now on.
    pub(super) fn set_reached(&self, position: Lsn) {
        self.writer().reached = position;
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, within: None }
    }

    /// The same, whose questions are given up when they are not answered `within` this time: nobody waits any more.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self {
            within: Some(within),
            ..self
        }
    }

    /// Asks the index at `path`, which another process may be writing.
    ///
    /// # Errors
    /// When there is no index of this version.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let reader = Self::new(Shared::new(path));
        reader.position()?;
        Ok(reader)
    }

    /// Why frames cannot be entered, such as a disk that is full; `None` while they can, and in a process that does not
    /// write the index.
    #[must_use]
    pub fn trouble(&self) -> Option<Box<str>> {
        self.shared.writer().trouble.clone()
    }

    /// Whether the frame at `position` is on its way into the index: questions do not see it yet, and nothing is known
    /// that keeps it out. True for every frame in a process that does not write the index.
    #[must_use]
    pub fn is_awaited(&self, position: Lsn) -> bool {
        let writer = self.shared.writer();
        writer.reached < position && writer.trouble.is_none()
    }

    /// The last frame in the index.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn position(&self) -> Result<Lsn, IndexError> {
        self.ask("the position", position)
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn incidents(&self, filter: &IncidentFilter) -> Result<Vec<IncidentRow>, IndexError> {
        self.ask("incidents", |db| incidents(db, filter))
    }

    /// One incident with what belongs to it; `None` when the index knows no such incident.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn incident(&self, id: IncidentId) -> Result<Option<IncidentDetail>, IndexError> {
        self.ask("an incident", |db| detail(db, id))
    }

    /// Transactions, newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn transactions(&self, filter: &TransactionFilter) -> Result<Vec<TransactionRow>, IndexError> {
        self.ask("transactions", |db| transactions(db, filter))
    }

    /// What was concluded about each of the transactions `of`, as far as the index knows it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn judgements(&self, of: &[TransactionId]) -> Result<BTreeMap<TransactionId, Judgement>, IndexError> {
        self.ask("judgements", |db| judgements(db, of))
    }

    /// Commands, newest first: the last `limit` (as in [`IncidentFilter::limit`]) before frame `before`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn commands(&self, before: Option<u64>, limit: u32) -> Result<Vec<CommandRow>, IndexError> {
        self.ask("commands", |db| {
            let sql = "SELECT * FROM commands WHERE lsn < ?1 ORDER BY lsn DESC LIMIT ?2";
            collect(db, sql, &[&below(before), &rows(limit)], command_row)
        })
    }

    /// The last command that set the mode and was not refused.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn mode_command(&self) -> Result<Option<CommandRow>, IndexError> {
        self.ask("who set the mode", |db| {
            let sql = "SELECT * FROM commands INDEXED BY commands_of_mode WHERE command LIKE '{\"setmode\":%' AND refused IS NULL \
                       ORDER BY lsn DESC LIMIT 1";
            Ok(collect(db, sql, &[], command_row)?.pop())
        })
    }

    /// Notices, newest first: the last `limit` (as in [`IncidentFilter::limit`]) before `before`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn notices(&self, before: Option<NoticeId>, limit: u32) -> Result<Vec<NoticeRow>, IndexError> {
        self.ask("notices", |db| {
            let sql = "SELECT * FROM notices WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            collect(db, sql, &[&below(before.map(|it| it.0)), &rows(limit)], notice_row)
        })
    }

    /// The place behind the last thing that happened up to frame `lsn`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn place(&self, lsn: Lsn) -> Result<Place, IndexError> {
        self.ask("a place", |db| place_behind(db, lsn.0))
    }

    /// What happened after `place`, of all incidents or of one, oldest first: at most `limit` (at most [`ROWS_MAX`],
    /// also for 0).
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn happened(
        &self,
        place: Place,
        incident: Option<IncidentId>,
        limit: u32,
    ) -> Result<Vec<Happening>, IndexError> {
        self.ask("what happened", |db| happened(db, place, incident, limit))
    }

    /// Answers `question` from one state of the index.
    fn ask<R>(
        &self,
        what: &'static str,
        question: impl Fn(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, IndexError> {
        if !self.shared.fits() {
            let why = self.trouble().unwrap_or_default();
            return Err(IndexError::Awaited { why });
        }
        let generation = self.shared.generation.load(Ordering::Acquire);
        let failed = |source| IndexError::Query { what, source };
        let kept = self
            .shared
            .idle()
            .pop()
            .filter(|(made, _)| *made == generation)
            .map(|(_, db)| db);
        let mut db = match kept {
            Some(db) => db,
            None => open(&self.shared.path).map_err(failed)?,
        };
        let until = self.within.map(|within| Instant::now() + within);
        let is_over = until.map(|until| move || Instant::now() >= until);
        let answer = db
            .progress_handler(STEPS_BETWEEN_LOOKS, is_over)
            .and_then(|()| db.transaction())
            .and_then(|transaction| question(&transaction))
            .map_err(|source| match self.within {
                Some(within) if is_interrupted(&source) => IndexError::TooSlow { what, within },
                _ => failed(source),
            });
        match &answer {
            Ok(_) => {
                let mut idle = self.shared.idle();
                if idle.len() < IDLE_MAX && self.shared.generation.load(Ordering::Acquire) == generation {
                    idle.push((generation, db));
                }
            }
            // What was replaced meanwhile, or is being replaced, is not what the next question finds.
            Err(IndexError::Query { source, .. })
                if is_corrupt(source)
                    && self.shared.generation.load(Ordering::Acquire) == generation
                    && self.shared.fits() =>
            {
                self.shared.damaged.store(true, Ordering::Release);
            }
            Err(_) => {}
        }
        answer
    }
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "query_only", true)?;
    // The server may not write in the directory for temporary files.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_question_finds_while_the_file_is_replaced_is_no_damage() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let shared = Shared::new(file.path());
        let reader = IndexReader::new(shared.clone());
        let answer = reader.ask("anything", |db| {
            shared.replaced();
            position(db)
        });
        answer.expect_err("there is no such table");
        assert!(!shared.take_damaged());
        reader.position().expect_err("there is no such table");
        assert!(shared.take_damaged(), "that is the file that is used");
    }
}
