//! Which rows answer a question, as SQL.
//!
//! Never puts text of a question into a statement: every value is bound. Every answer has a limit, or is about what
//! the question names.

use std::collections::BTreeMap;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use staunch_model::{IncidentId, IncidentStatus, Judgement, TransactionId};
use staunch_ports::Lsn;

use super::columns::{
    command_row, event_row, evidence_row, happening_row, incident_row, number, timeline_row, transaction_row,
};
use super::{IncidentFilter, ROWS_MAX, TransactionFilter};
use crate::index::rows::{Happening, IncidentDetail, IncidentRow, Place, TransactionRow};
use crate::index::write::{EVENTS_KEPT_MAX, int, status, time};

/// Incidents, with what the transactions say that they hold.
const INCIDENTS: &str = "SELECT incidents.*,
    EXISTS (SELECT 1 FROM holders JOIN transactions ON transactions.id = holders.tx
        WHERE holders.incident = incidents.id AND hurt AND state = 'released')
    AND NOT EXISTS (SELECT 1 FROM holders JOIN transactions ON transactions.id = holders.tx
        WHERE holders.incident = incidents.id AND state = 'in-force') AS lifted_because_hurt,
    (SELECT group_concat(state) FROM holders JOIN transactions ON transactions.id = holders.tx
        WHERE holders.incident = incidents.id AND NOT of_recovery) AS acts
    FROM incidents";

pub(super) fn position(db: &Connection) -> rusqlite::Result<Lsn> {
    db.prepare_cached("SELECT position FROM progress")?
        .query_row([], |row| Ok(Lsn(number(row, "position")?)))
}

pub(super) fn incidents(db: &Connection, filter: &IncidentFilter) -> rusqlite::Result<Vec<IncidentRow>> {
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
    if let Some(outcome) = filter.outcome {
        sql.push_str(" AND outcome = ?");
        values.push(Box::new(outcome.name()));
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

pub(super) fn transactions(db: &Connection, filter: &TransactionFilter) -> rusqlite::Result<Vec<TransactionRow>> {
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

pub(super) fn judgements(
    db: &Connection,
    of: &[TransactionId],
) -> rusqlite::Result<BTreeMap<TransactionId, Judgement>> {
    let mut found = BTreeMap::new();
    let mut ask = db.prepare_cached("SELECT * FROM transactions WHERE id = ?1")?;
    for id in of {
        let row = ask.query_row(params![int(id.0)], transaction_row).optional()?;
        if let Some(judgement) = row.and_then(|row| row.judgement) {
            found.insert(*id, judgement);
        }
    }
    Ok(found)
}

pub(super) fn detail(db: &Connection, id: IncidentId) -> rusqlite::Result<Option<IncidentDetail>> {
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

pub(super) fn place_behind(db: &Connection, lsn: u64) -> rusqlite::Result<Place> {
    let entry = db
        .prepare_cached("SELECT id FROM timeline WHERE lsn <= ?1 ORDER BY lsn DESC, id DESC LIMIT 1")?
        .query_row(params![int(lsn)], |row| number(row, "id"))
        .optional()?;
    Ok(Place {
        lsn,
        entry: entry.unwrap_or(0),
    })
}

pub(super) fn happened(
    db: &Connection,
    place: Place,
    incident: Option<IncidentId>,
    limit: u32,
) -> rusqlite::Result<Vec<Happening>> {
    // The number is only good when it is of the frame that it was given for: an index that was made anew may have
    // others.
    let known: Option<u64> = db
        .prepare_cached("SELECT lsn FROM timeline WHERE id = ?1")?
        .query_row(params![int(place.entry)], |row| number(row, "lsn"))
        .optional()?;
    let after = match known {
        Some(lsn) if lsn <= place.lsn => place.entry,
        _ => place_behind(db, place.lsn.saturating_sub(1))?.entry,
    };
    // Whoever planned a transaction holds it too, and a command is told by what it names.
    let narrowed = match incident {
        Some(_) => {
            "AND timeline.id IN (
                SELECT id FROM timeline WHERE incident = ?3 AND id > ?1
                UNION SELECT entry.id FROM holders JOIN timeline AS entry ON entry.tx = holders.tx
                    WHERE holders.incident = ?3 AND entry.id > ?1
                UNION SELECT entry.id FROM timeline AS entry WHERE entry.incident IS NULL AND entry.tx IS NULL
                    AND entry.id > ?1 AND entry.lsn IN (
                        SELECT lsn FROM command_targets WHERE incident = ?3
                        UNION SELECT command_targets.lsn FROM holders
                            JOIN command_targets ON command_targets.tx = holders.tx WHERE holders.incident = ?3))"
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

pub(super) fn collect<T>(
    db: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(values, |row| read(row))?.collect()
}

pub(super) fn rows(limit: u32) -> i64 {
    i64::from(if limit == 0 { ROWS_MAX } else { limit.min(ROWS_MAX + 1) })
}

pub(super) fn below(id: Option<u64>) -> i64 {
    id.map_or(i64::MAX, int)
}
