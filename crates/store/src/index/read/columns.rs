//! What a row of the file says, as a value.
//!
//! Never guesses: a column that holds what this version does not write is an error.

use rusqlite::Row;
use serde::de::DeserializeOwned;
use staunch_model::{
    ActionKind, ContentHash, EvidenceId, EvidenceKind, IncidentId, IncidentOutcome, IncidentStatus, Mode, NoticeId,
    NoticeLevel, Record, Severity, Span, StateKind, Timestamp, TransactionId,
};

use crate::index::rows::{
    Acts, CommandRow, EventRow, EvidenceRow, Happening, IncidentRow, NoticeRow, Place, TimelineEntry, TransactionRow,
};
use crate::index::write::status;

pub(super) fn incident_row(row: &Row<'_>) -> rusqlite::Result<IncidentRow> {
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
        acts: acts(row)?,
        recovered: row.get("recovered")?,
    })
}

/// How many acts are in which state, of a list of their states.
fn acts(row: &Row<'_>) -> rusqlite::Result<Acts> {
    let states: Option<String> = row.get("acts")?;
    let mut acts = Acts::default();
    for name in states.iter().flat_map(|it| it.split(',')) {
        let state = StateKind::ALL.into_iter().find(|it| it.name() == name);
        acts.add(state.ok_or_else(|| unknown("acts", name))?);
    }
    Ok(acts)
}

pub(super) fn transaction_row(row: &Row<'_>) -> rusqlite::Result<TransactionRow> {
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

pub(super) fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
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

pub(super) fn evidence_row(row: &Row<'_>) -> rusqlite::Result<EvidenceRow> {
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

pub(super) fn timeline_row(row: &Row<'_>) -> rusqlite::Result<TimelineEntry> {
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

pub(super) fn happening_row(row: &Row<'_>) -> rusqlite::Result<Happening> {
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

pub(super) fn command_row(row: &Row<'_>) -> rusqlite::Result<CommandRow> {
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

pub(super) fn notice_row(row: &Row<'_>) -> rusqlite::Result<NoticeRow> {
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

pub(super) fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
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

pub(in crate::index) fn content_hash(bytes: [u8; 32]) -> ContentHash {
    ContentHash::from_bytes(bytes)
}
