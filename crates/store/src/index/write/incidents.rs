//! Enters incidents and the first of their events.

use rusqlite::{OptionalExtension, params};
use staunch_model::{ContentHash, Endpoint, Event, IncidentStatus, Record, RecoveryEnd, RecoveryWait};

use super::{Entry, int, status, time};

/// Events of one incident that are kept. All of them are counted, and the journal has all of them.
pub(in crate::index) const EVENTS_KEPT_MAX: u64 = 100;

impl Entry<'_> {
    pub(super) fn incident_opened(&self, incident: i64, playbook: ContentHash, key: &str) -> rusqlite::Result<()> {
        let event = self.event();
        self.db
            .prepare_cached(
                "INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, 1, ?7, ?8, ?9, ?10, ?11, 0)",
            )?
            .execute(params![
                incident,
                self.names.get(&playbook).map_or("", |name| &**name),
                playbook.as_bytes(),
                key,
                status(IncidentStatus::Open),
                self.now,
                event.map_or("", |it| &it.system.0),
                event.map_or("", |it| &it.signature),
                event.map_or(staunch_model::Severity::Unknown, |it| it.severity).name(),
                event.and_then(|it| address(&it.source)),
                event.and_then(|it| address(&it.destination)),
            ])?;
        event.map_or(Ok(()), |event| self.keep_event(incident, event))
    }

    /// What a recovery makes of its incident and of its acts, which contain nothing.
    pub(super) fn recovery(&self, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::RecoveryAt {
                waits: Some(RecoveryWait::Act(act)),
                ..
            } => self
                .db
                .prepare_cached("UPDATE transactions SET of_recovery = 1 WHERE id = ?1")?
                .execute(params![int(act.0)])
                .map(drop),
            Record::RecoveryStarted { incident, .. }
            | Record::ContainedAgain { incident, .. }
            | Record::RecoveryEnded { incident, .. } => {
                let end = RecoveryEnd::Recovered;
                let recovered = matches!(record, Record::RecoveryEnded { end: it, .. } if *it == end);
                self.db
                    .prepare_cached("UPDATE incidents SET recovered = ?2 WHERE id = ?1")?
                    .execute(params![int(incident.0), recovered])
                    .map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn event_joined(&self, incident: i64) -> rusqlite::Result<()> {
        let events: Option<i64> = self
            .db
            .prepare_cached("UPDATE incidents SET events = events + 1 WHERE id = ?1 RETURNING events")?
            .query_row(params![incident], |row| row.get(0))
            .optional()?;
        match (self.event(), events) {
            (Some(event), Some(events)) if events <= int(EVENTS_KEPT_MAX) => self.keep_event(incident, event),
            _ => Ok(()),
        }
    }

    fn keep_event(&self, incident: i64, event: &Event) -> rusqlite::Result<()> {
        // Two playbooks of one event open two incidents; one incident takes an event once.
        self.db
            .prepare_cached("INSERT OR IGNORE INTO incident_events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute(params![
                incident,
                self.lsn,
                event.time.map(time),
                time(event.received),
                &*event.system.0,
                &*event.signature,
                event.severity.name(),
                address(&event.source),
                address(&event.destination),
            ])
            .map(drop)
    }
}

fn address(endpoint: &Endpoint) -> Option<String> {
    endpoint.ip.map(|ip| ip.to_string())
}
