//! Questions to the index. Each is answered from one state of it, as of one frame.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use staunch_model::{
    ActionKind, ContentHash, EvidenceId, EvidenceKind, IncidentId, IncidentOutcome, IncidentStatus, Mode, NoticeId,
    NoticeLevel, Record, Severity, Span, StateKind, Timestamp, TransactionId,
};
use staunch_ports::Lsn;

use super::rows::{
    CommandRow, EventRow, EvidenceRow, Happening, IncidentDetail, IncidentRow, NoticeRow, Place, TimelineEntry,
    TransactionRow,
};
use super::write::{EVENTS_KEPT_MAX, int, status, time};
use super::{IndexError, is_corrupt};

/// The most rows of one answer.
pub const ROWS_MAX: u32 = 1_000;

/// Connections that are kept open for the next question.
const IDLE_MAX: usize = 4;

/// How long a question waits for the writer, which hardly ever stands in its way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Which incidents; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Only open or only closed ones.
    pub status: Option<IncidentStatus>,
    /// Only those of the playbook with this name.
    pub playbook: Option<String>,
    /// Only those whose key, or the target of one of whose transactions, contains this.
    pub text: Option<String>,
    /// Only those opened at this time or later.
    pub since: Option<Timestamp>,
    /// Only those with a lower id.
    pub before: Option<IncidentId>,
    /// How many: at most [`ROWS_MAX`], which also holds for 0.
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
    /// How many: at most [`ROWS_MAX`], which also holds for 0.
    pub limit: u32,
}

/// Asks the index. Cheap to clone; every question in progress has a connection of its own.
#[derive(Clone, Debug)]
pub struct IndexReader {
    shared: Arc<Shared>,
}

/// What the writer and its readers share.
#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    /// Counts how often the file was replaced: connections to an older one are dropped.
    generation: AtomicU64,
    /// Set by a reader that found damage; the writer rebuilds the index then.
    damaged: AtomicBool,
    /// Why the writer cannot enter frames; `None` while it can.
    trouble: Mutex<Option<Box<str>>>,
    idle: Mutex<Vec<(u64, Connection)>>,
}

impl Shared {
    pub(super) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            generation: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            trouble: Mutex::new(None),
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

    /// Takes note of why frames cannot be entered, or that they can.
    pub(super) fn set_trouble(&self, why: Option<Box<str>>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(super) fn has_trouble(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
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
        let trouble = self.shared.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Commands, newest first: the last `limit` (at most [`ROWS_MAX`], also for 0) before frame `before`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn commands(&self, before: Option<u64>, limit: u32) -> Result<Vec<CommandRow>, IndexError> {
        self.ask("commands", |db| {
            let sql = "SELECT * FROM commands WHERE lsn < ?1 ORDER BY lsn DESC LIMIT ?2";
            collect(db, sql, &[&below(before), &rows(limit)], command_row)
        })
    }

    /// Notices, newest first: the last `limit` (at most [`ROWS_MAX`], also for 0) before `before`.
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

    /// What happened after `place`, of all incidents or of one, oldest first: at most `limit` (at most [`ROWS_MAX`], also
    /// for 0).
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
        let answer = db
            .transaction()
            .and_then(|transaction| question(&transaction))
            .map_err(failed);
        match &answer {
            Ok(_) => {
                let mut idle = self.shared.idle();
                if idle.len() < IDLE_MAX && self.shared.generation.load(Ordering::Acquire) == generation {
                    idle.push((generation, db));
                }
            }
            Err(IndexError::Query { source, .. }) if is_corrupt(source) => {
                self.shared.damaged.store(true, Ordering::Release);
            }
            Err(_) => {}
        }
        answer
    }
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

pub(super) fn position(db: &Connection) -> rusqlite::Result<Lsn> {
    db.prepare_cached("SELECT position FROM progress")?
        .query_row([], |row| Ok(Lsn(number(row, "position")?)))
}

fn incidents(db: &Connection, filter: &IncidentFilter) -> rusqlite::Result<Vec<IncidentRow>> {
    let mut sql = format!("{INCIDENTS} WHERE id < ?");
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(below(filter.before.map(|it| it.0)))];
    match filter.status {
        // Spelled out, so that the partial index is used.
        Some(IncidentStatus::Open) => sql.push_str(" AND status = 'open'"),
        Some(IncidentStatus::Closed) => {
            sql.push_str(" AND status = ?");
            values.push(Box::new(status(IncidentStatus::Closed)));
        }
        None => {}
    }
    if let Some(playbook) = &filter.playbook {
        sql.push_str(" AND playbook = ?");
        values.push(Box::new(playbook.clone()));
    }
    if let Some(since) = filter.since {
        // Incidents are opened in the order of their ids, so that the first one bounds the scan.
        sql.push_str(" AND id >= (SELECT id FROM incidents WHERE opened >= ? ORDER BY opened, id LIMIT 1)");
        values.push(Box::new(time(since)));
    }
    if let Some(text) = &filter.text {
        sql.push_str(
            " AND (instr(key, ?) > 0 OR EXISTS (
                SELECT 1 FROM holders JOIN transactions ON transactions.id = holders.tx
                WHERE holders.incident = incidents.id AND instr(transactions.target, ?) > 0))",
        );
        values.push(Box::new(text.clone()));
        values.push(Box::new(text.clone()));
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(Box::new(rows(filter.limit)));
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    collect(db, &sql, &values, incident_row)
}

fn transactions(db: &Connection, filter: &TransactionFilter) -> rusqlite::Result<Vec<TransactionRow>> {
    let mut sql = String::from("SELECT * FROM transactions WHERE id < ?");
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(below(filter.before.map(|it| it.0)))];
    if let Some(state) = filter.state {
        sql.push_str(" AND state = ?");
        values.push(Box::new(state.name()));
    }
    if let Some(target) = &filter.target {
        sql.push_str(" AND target = ?");
        values.push(Box::new(target.clone()));
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(Box::new(rows(filter.limit)));
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    collect(db, &sql, &values, transaction_row)
}

fn detail(db: &Connection, id: IncidentId) -> rusqlite::Result<Option<IncidentDetail>> {
    let incident = db
        .prepare_cached(&format!("{INCIDENTS} WHERE id = ?1"))?
        .query_row(params![int(id.0)], incident_row)
        .optional()?;
    let Some(incident) = incident else { return Ok(None) };
    let id = int(id.0);
    let transactions = collect(
        db,
        "SELECT transactions.* FROM holders JOIN transactions ON transactions.id = holders.tx
         WHERE holders.incident = ?1 ORDER BY transactions.id LIMIT ?2",
        &[&id, &rows(0)],
        transaction_row,
    )?;
    let events = collect(
        db,
        "SELECT * FROM incident_events WHERE incident = ?1 ORDER BY lsn LIMIT ?2",
        &[&id, &int(EVENTS_KEPT_MAX)],
        event_row,
    )?;
    let ids = "SELECT id FROM timeline WHERE incident = ?1
         UNION SELECT timeline.id FROM holders JOIN timeline ON timeline.tx = holders.tx WHERE holders.incident = ?1";
    let timeline = collect(
        db,
        &format!("SELECT * FROM timeline WHERE id IN ({ids}) ORDER BY id LIMIT ?2"),
        &[&id, &rows(0)],
        timeline_row,
    )?;
    let timeline_count = db
        .prepare_cached(&format!("SELECT count(*) AS entries FROM ({ids})"))?
        .query_row(params![id], |row| number(row, "entries"))?;
    let commands = collect(
        db,
        "SELECT * FROM commands WHERE lsn IN (
             SELECT lsn FROM command_targets WHERE incident = ?1
             UNION SELECT command_targets.lsn FROM holders JOIN command_targets ON command_targets.tx = holders.tx
             WHERE holders.incident = ?1) ORDER BY lsn LIMIT ?2",
        &[&id, &rows(0)],
        command_row,
    )?;
    let evidence = collect(
        db,
        "SELECT * FROM evidence WHERE incident = ?1 ORDER BY id LIMIT ?2",
        &[&id, &rows(0)],
        evidence_row,
    )?;
    Ok(Some(IncidentDetail {
        incident,
        transactions,
        commands,
        evidence,
        events,
        timeline,
        timeline_count,
    }))
}

fn place_behind(db: &Connection, lsn: u64) -> rusqlite::Result<Place> {
    let entry = db
        .prepare_cached("SELECT id FROM timeline WHERE lsn <= ?1 ORDER BY lsn DESC, id DESC LIMIT 1")?
        .query_row(params![int(lsn)], |row| number(row, "id"))
        .optional()?;
    Ok(Place {
        lsn,
        entry: entry.unwrap_or(0),
    })
}

fn happened(
    db: &Connection,
    place: Place,
    incident: Option<IncidentId>,
    limit: u32,
) -> rusqlite::Result<Vec<Happening>> {
    // The number is only good when it is of the frame that it was given for: an index that was made anew may have others.
    let known: Option<u64> = db
        .prepare_cached("SELECT lsn FROM timeline WHERE id = ?1")?
        .query_row(params![int(place.entry)], |row| number(row, "lsn"))
        .optional()?;
    let after = match known {
        Some(lsn) if lsn <= place.lsn => place.entry,
        _ => place_behind(db, place.lsn.saturating_sub(1))?.entry,
    };
    let narrowed = match incident {
        Some(_) => {
            "AND (timeline.incident = ?3 OR transactions.incident = ?3 OR EXISTS (
                SELECT 1 FROM holders WHERE holders.incident = ?3 AND holders.tx = timeline.tx)
             OR (timeline.incident IS NULL AND timeline.tx IS NULL AND EXISTS (
                SELECT 1 FROM command_targets WHERE command_targets.lsn = timeline.lsn
                    AND (command_targets.incident = ?3 OR EXISTS (
                        SELECT 1 FROM holders WHERE holders.incident = ?3 AND holders.tx = command_targets.tx)))))"
        }
        None => "AND ?3 IS NULL",
    };
    let sql = format!(
        "SELECT timeline.*, coalesce(timeline.incident, transactions.incident) AS about
         FROM timeline LEFT JOIN transactions ON transactions.id = timeline.tx
         WHERE timeline.id > ?1 {narrowed} ORDER BY timeline.id LIMIT ?2"
    );
    collect(
        db,
        &sql,
        &[&int(after), &rows(limit), &incident.map(|it| int(it.0))],
        happening_row,
    )
}

fn happening_row(row: &Row<'_>) -> rusqlite::Result<Happening> {
    let entry = timeline_row(row)?;
    Ok(Happening {
        place: Place {
            lsn: entry.lsn,
            entry: number(row, "id")?,
        },
        at: entry.at,
        incident: row
            .get::<_, Option<i64>>("about")?
            .map(|id| IncidentId(id.unsigned_abs())),
        transaction: entry.transaction,
        what: entry.what,
        detail: unpacked("detail", &row.get::<_, Vec<u8>>("detail")?)?,
    })
}

fn collect<T>(
    db: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(values, |row| read(row))?.collect()
}

/// Incidents, with what the transactions say that they hold.
const INCIDENTS: &str = "SELECT incidents.*,
    EXISTS (SELECT 1 FROM holders JOIN transactions ON transactions.id = holders.tx
        WHERE holders.incident = incidents.id AND hurt AND state = 'released')
    AND NOT EXISTS (SELECT 1 FROM holders JOIN transactions ON transactions.id = holders.tx
        WHERE holders.incident = incidents.id AND state = 'in-force') AS lifted_because_hurt
    FROM incidents";

fn incident_row(row: &Row<'_>) -> rusqlite::Result<IncidentRow> {
    let hash: [u8; 32] = row.get("hash")?;
    Ok(IncidentRow {
        id: IncidentId(number(row, "id")?),
        playbook: row.get("playbook")?,
        playbook_hash: content_hash(hash),
        key: row.get("key")?,
        status: named(row, "status", &[IncidentStatus::Open, IncidentStatus::Closed], status)?,
        opened: Timestamp::from_micros(number(row, "opened")?),
        closed: optional_time(row, "closed")?,
        outcome: optional_named(row, "outcome", &IncidentOutcome::ALL, IncidentOutcome::name)?,
        events: number(row, "events")?,
        system: row.get("system")?,
        signature: row.get("signature")?,
        severity: named(row, "severity", &Severity::ALL, Severity::name)?,
        source: row.get("source")?,
        destination: row.get("destination")?,
        lifted_because_hurt: row.get("lifted_because_hurt")?,
    })
}

fn transaction_row(row: &Row<'_>) -> rusqlite::Result<TransactionRow> {
    const MODES: [Mode; 3] = [Mode::Observe, Mode::Approve, Mode::Enforce];
    Ok(TransactionRow {
        id: TransactionId(number(row, "id")?),
        incident: IncidentId(number(row, "incident")?),
        step: row.get("step")?,
        kind: named(row, "kind", &ActionKind::ALL, ActionKind::name)?,
        target: row.get("target")?,
        state: named(row, "state", &StateKind::ALL, StateKind::name)?,
        reason: row.get("reason")?,
        mode: optional_named(row, "mode", &MODES, Mode::name)?,
        lease: Span::from_micros(number(row, "lease")?),
        lease_until: optional_time(row, "lease_until")?,
        created: Timestamp::from_micros(number(row, "created")?),
        updated: Timestamp::from_micros(number(row, "updated")?),
        in_force_at: optional_time(row, "in_force_at")?,
        released_at: optional_time(row, "released_at")?,
        approved_by: row.get("approved_by")?,
        approval_expires: optional_time(row, "approval_expires")?,
        judgement: row
            .get::<_, Option<Vec<u8>>>("judgement")?
            .map(|bytes| unpacked("judgement", &bytes))
            .transpose()?,
    })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        lsn: number(row, "lsn")?,
        time: optional_time(row, "time")?,
        received: Timestamp::from_micros(number(row, "received")?),
        system: row.get("system")?,
        signature: row.get("signature")?,
        severity: named(row, "severity", &Severity::ALL, Severity::name)?,
        source: row.get("source")?,
        destination: row.get("destination")?,
    })
}

fn evidence_row(row: &Row<'_>) -> rusqlite::Result<EvidenceRow> {
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs));
    Ok(EvidenceRow {
        id: EvidenceId(number(row, "id")?),
        kind: named(row, "kind", &EvidenceKind::ALL, EvidenceKind::name)?,
        target: row.get("target")?,
        asked: Timestamp::from_micros(number(row, "asked")?),
        deadline: Timestamp::from_micros(number(row, "deadline")?),
        sealed_at: optional_time(row, "sealed_at")?,
        record: row.get::<_, Option<[u8; 32]>>("record")?.map(ContentHash::from_bytes),
        bytes: count("bytes")?,
        artefacts: count("artefacts")?,
        missed_at: optional_time(row, "missed_at")?,
        why: row.get("why")?,
    })
}

fn timeline_row(row: &Row<'_>) -> rusqlite::Result<TimelineEntry> {
    Ok(TimelineEntry {
        lsn: number(row, "lsn")?,
        at: Timestamp::from_micros(number(row, "at")?),
        transaction: row
            .get::<_, Option<i64>>("tx")?
            .map(|id| TransactionId(id.unsigned_abs())),
        what: row.get("what")?,
        detail: shown(&unpacked("detail", &row.get::<_, Vec<u8>>("detail")?)?)?,
    })
}

fn command_row(row: &Row<'_>) -> rusqlite::Result<CommandRow> {
    Ok(CommandRow {
        lsn: number(row, "lsn")?,
        at: Timestamp::from_micros(number(row, "at")?),
        by: row.get("by")?,
        from: row.get("origin")?,
        reason: row.get("reason")?,
        command: parsed("command", &row.get::<_, String>("command")?)?,
        affected: parsed("affected", &row.get::<_, String>("affected")?)?,
        refused: row.get("refused")?,
    })
}

fn notice_row(row: &Row<'_>) -> rusqlite::Result<NoticeRow> {
    const LEVELS: [NoticeLevel; 3] = [NoticeLevel::Info, NoticeLevel::Warning, NoticeLevel::Page];
    Ok(NoticeRow {
        id: NoticeId(number(row, "id")?),
        at: Timestamp::from_micros(number(row, "at")?),
        level: named(row, "level", &LEVELS, NoticeLevel::name)?,
        incident: row
            .get::<_, Option<i64>>("incident")?
            .map(|id| IncidentId(id.unsigned_abs())),
        transaction: row
            .get::<_, Option<i64>>("tx")?
            .map(|id| TransactionId(id.unsigned_abs())),
        text: row.get("text")?,
        sent_at: optional_time(row, "sent_at")?,
        given_up: row.get("given_up")?,
    })
}

fn rows(limit: u32) -> i64 {
    i64::from(if limit == 0 { ROWS_MAX } else { limit.min(ROWS_MAX) })
}

fn below(id: Option<u64>) -> i64 {
    id.map_or(i64::MAX, int)
}

fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(|us| Timestamp::from_micros(us.unsigned_abs())))
}

/// Reads a value back from the name it was stored under.
fn named<T: Copy>(row: &Row<'_>, column: &'static str, all: &[T], name: fn(T) -> &'static str) -> rusqlite::Result<T> {
    optional_named(row, column, all, name)?.ok_or_else(|| unknown(column, "nothing"))
}

fn optional_named<T: Copy>(
    row: &Row<'_>,
    column: &'static str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else {
        return Ok(None);
    };
    all.iter()
        .copied()
        .find(|it| name(*it) == text)
        .map(Some)
        .ok_or_else(|| unknown(column, &text))
}

fn parsed<T: DeserializeOwned>(column: &'static str, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| unknown(column, text))
}

fn unpacked<T: DeserializeOwned>(column: &'static str, bytes: &[u8]) -> rusqlite::Result<T> {
    postcard::from_bytes(bytes).map_err(|_| unknown(column, "something else"))
}

/// A record as people read it: of a transaction, just the change.
fn shown(record: &Record) -> rusqlite::Result<serde_json::Value> {
    let value = match record {
        Record::Transaction { change, .. } => serde_json::to_value(change),
        other => serde_json::to_value(other),
    };
    value.map_err(|_| unknown("detail", "what JSON cannot hold"))
}

/// A value that this version never writes: the file is not what it says.
fn unknown(column: &'static str, text: &str) -> rusqlite::Error {
    let what = format!("column {column} holds {}", staunch_model::Printable(text));
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into())
}

pub(super) fn content_hash(bytes: [u8; 32]) -> ContentHash {
    ContentHash::from_bytes(bytes)
}
