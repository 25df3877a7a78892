//! Enters frames into the tables. Every text is a bound parameter, never part of a statement.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use staunch_model::{
    Change, Command, ContentHash, Endpoint, Event, EvidenceId, Frame, IncidentStatus, Input, Judgement, Printable,
    Record, ReleaseScope, StateKind, Timestamp, TransactionId,
};
use staunch_ports::Lsn;

use super::words::{self, Next};

/// Events of one incident that are kept. All of them are counted, and the journal has all of them.
pub(super) const EVENTS_KEPT_MAX: u64 = 100;

/// The names of the playbooks that the journal has pinned so far.
pub(super) type Names = BTreeMap<ContentHash, Box<str>>;

/// Enters `frame`.
pub(super) fn frame(
    db: &Connection,
    names: &mut Names,
    lsn: Lsn,
    now: Timestamp,
    frame: &Frame,
) -> rusqlite::Result<()> {
    let mut entry = Entry {
        db,
        names,
        lsn: int(lsn.0),
        now: time(now),
        input: &frame.input,
    };
    if let (Input::Operator { by, command }, Some(answer)) = (&frame.input, frame.records.iter().rev().find(is_answer))
    {
        entry.on_installation(&words::command(by, command, answer), answer)?;
    }
    for record in &frame.records {
        entry.record(record)?;
    }
    if let Input::Operator { by, command } = &frame.input {
        let (affected, refused) = frame.records.iter().rev().find_map(answer).unwrap_or((&[], None));
        db.prepare_cached("INSERT INTO commands VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                entry.lsn,
                entry.now,
                &*by.name,
                &*by.from,
                &*by.reason,
                json(command),
                json(&affected),
                refused,
            ])?;
        let (incident, named) = match command {
            Command::Release(scope) | Command::ReleaseTrusting { scope, .. } => match scope {
                ReleaseScope::Incident(incident) => (Some(*incident), None),
                ReleaseScope::Transaction(id) => (None, Some(*id)),
                ReleaseScope::All | ReleaseScope::Former => (None, None),
            },
            Command::Approve(id) | Command::Deny(id) => (None, Some(*id)),
            Command::Renew { transaction, .. } => (None, Some(*transaction)),
            Command::Recover(id) | Command::StopRecovery(id) => (Some(*id), None),
            Command::SetMode(_)
            | Command::Protect { .. }
            | Command::Unprotect { .. }
            | Command::Reload { .. }
            | Command::Drill { .. }
            | Command::StopDrill => (None, None),
        };
        let also = named.filter(|id| !affected.contains(id));
        let touched = affected.iter().copied().chain(also).map(|id| (None, Some(int(id.0))));
        for (incident, tx) in touched.chain(incident.map(|id| (Some(int(id.0)), None))) {
            db.prepare_cached("INSERT INTO command_targets VALUES (?1, ?2, ?3)")?
                .execute(params![entry.lsn, incident, tx])?;
        }
    }
    Ok(())
}

/// Notes how far the index has come.
pub(super) fn progress(db: &Connection, lsn: Lsn, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE progress SET position = ?1, last_now = ?2")?
        .execute(params![int(lsn.0), time(now)])?;
    Ok(())
}

fn is_answer(record: &&Record) -> bool {
    answer(record).is_some()
}

fn answer(record: &Record) -> Option<(&[TransactionId], Option<&str>)> {
    match record {
        Record::CommandDone { affected } => Some((affected, None)),
        Record::CommandRefused { why } => Some((&[], Some(why))),
        _ => None,
    }
}

struct Entry<'a> {
    db: &'a Connection,
    names: &'a mut Names,
    lsn: i64,
    now: i64,
    input: &'a Input,
}

impl Entry<'_> {
    fn record(&mut self, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::PolicyPinned(policy) => {
                for playbook in &policy.playbooks {
                    self.db
                        .prepare_cached("INSERT OR IGNORE INTO playbooks VALUES (?1, ?2)")?
                        .execute(params![playbook.hash.as_bytes(), &*playbook.name])?;
                    self.names.insert(playbook.hash, playbook.name.clone());
                }
                Ok(())
            }
            Record::IncidentOpened {
                incident,
                playbook,
                key,
                ..
            } => {
                self.incident_opened(int(incident.0), *playbook, key)?;
                let text = match self.event() {
                    Some(event) => format!("opened by {}: {}", event.system, Printable(&event.signature)),
                    None => "opened".to_owned(),
                };
                self.on_incident(incident.0, &text, record)
            }
            Record::EventJoined { incident } => self.event_joined(int(incident.0)),
            Record::TransactionPlanned {
                transaction,
                incident,
                step,
                kind,
                target,
                lease,
                ..
            } => {
                let (id, incident) = (int(transaction.0), int(incident.0));
                let target = target.to_string();
                self.db
                    .prepare_cached(
                        "INSERT INTO transactions (id, incident, step, kind, target, state, lease, created, updated)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                    )?
                    .execute(params![
                        id,
                        incident,
                        step,
                        kind.name(),
                        target,
                        StateKind::Planned.name(),
                        int(lease.as_micros()),
                        self.now
                    ])?;
                self.hold(incident, id)?;
                self.on_transaction(transaction.0, &format!("planned: {kind} {target} for {lease}"), record)
            }
            Record::StepWithoutTarget { incident, step } => {
                let text = format!("step {} has nothing it could be aimed at", u32::from(*step) + 1);
                self.on_incident(incident.0, &text, record)
            }
            Record::Transaction { transaction, change } => {
                self.change(int(transaction.0), change)?;
                self.on_transaction(transaction.0, &words::what(change), record)
            }
            Record::OrphanAdopted {
                transaction,
                label,
                kind,
                target,
                ..
            } => {
                self.db
                    .prepare_cached(
                        "INSERT INTO transactions
                         (id, incident, step, kind, target, state, reason, lease, created, updated)
                         VALUES (?1, 0, 0, ?2, ?3, ?4, ?5, 0, ?6, ?6)",
                    )?
                    .execute(params![
                        int(transaction.0),
                        kind.name(),
                        target.to_string(),
                        StateKind::Releasing.name(),
                        staunch_model::Cause::Orphan.to_string(),
                        self.now
                    ])?;
                let text = format!("an object of {label} without a transaction was found and is being removed");
                self.on_transaction(transaction.0, &text, record)
            }
            Record::OutcomeReached { incident, outcome } => {
                self.db
                    .prepare_cached("UPDATE incidents SET outcome = ?2 WHERE id = ?1")?
                    .execute(params![int(incident.0), outcome.name()])?;
                self.on_incident(incident.0, &format!("outcome: {outcome}"), record)
            }
            Record::IncidentClosed { incident, .. } => {
                self.db
                    .prepare_cached("UPDATE incidents SET status = ?2, closed = ?3 WHERE id = ?1")?
                    .execute(params![int(incident.0), status(IncidentStatus::Closed), self.now])?;
                self.on_incident(incident.0, "closed", record)
            }
            Record::NoticeQueued(notice) => {
                self.db
                    .prepare_cached("INSERT INTO notices VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, 0)")?
                    .execute(params![
                        int(notice.id.0),
                        self.now,
                        notice.level.name(),
                        notice.incident.map(|it| int(it.0)),
                        notice.transaction.map(|it| int(it.0)),
                        &*notice.text,
                    ])?;
                match notice.incident {
                    Some(incident) => self.on_incident(incident.0, &format!("{} queued for people", notice.id), record),
                    None => Ok(()),
                }
            }
            Record::NoticeSent { notice } => self
                .db
                .prepare_cached("UPDATE notices SET sent_at = ?2 WHERE id = ?1")?
                .execute(params![int(notice.0), self.now])
                .map(drop),
            Record::NoticeFailed { notice, retry_at: None } => self
                .db
                .prepare_cached("UPDATE notices SET given_up = 1 WHERE id = ?1")?
                .execute(params![int(notice.0)])
                .map(drop),
            Record::Started { .. } => self.on_installation("started; what was under way is taken up again", record),
            Record::BreakerOpened { failures } => {
                let what =
                    format!("the circuit breaker opened after {failures} failures: it only observes from now on");
                self.on_installation(&what, record)
            }
            Record::ModeSet { mode } => self.on_installation(&format!("the mode is {mode}"), record),
            Record::Exempted(it) => self.on_installation(&format!("{} is never touched", it.network), record),
            Record::ExemptionEnded { network } => {
                self.on_installation(&format!("{network} is protected no longer"), record)
            }
            Record::CameBack { transaction, times, .. } => {
                let leases = if *times == 1 { "lease" } else { "leases" };
                let what = format!("its target comes back after {times} {leases} in a row");
                self.on_transaction(transaction.0, &what, record)
            }
            Record::EvidencePlanned {
                evidence,
                incident,
                kind,
                target,
                deadline,
                ..
            } => {
                let target = target.as_ref().map(ToString::to_string);
                self.db
                    .prepare_cached(
                        "INSERT INTO evidence VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, NULL, NULL, NULL, NULL)",
                    )?
                    .execute(params![
                        int(evidence.0),
                        int(incident.0),
                        kind.name(),
                        target,
                        self.now,
                        time(*deadline),
                    ])?;
                let what = format!(
                    "{evidence} asked for: {}",
                    words::evidence(kind.name(), target.as_deref())
                );
                self.on_incident(incident.0, &what, record)
            }
            // Of all tries that fail for one reason, the first is told: there may be two in a second, for two minutes.
            Record::EvidencePostponed { evidence, failure, .. } => self.on_evidence_once(
                *evidence,
                |of| format!("not yet taken, tried again: {of}: {failure}"),
                record,
            ),
            Record::EvidenceSealed { evidence, sealed } => {
                self.db
                    .prepare_cached(
                        "UPDATE evidence SET sealed_at = ?2, record = ?3, bytes = ?4, artefacts = ?5 WHERE id = ?1",
                    )?
                    .execute(params![
                        int(evidence.0),
                        self.now,
                        sealed.hash.as_bytes(),
                        int(sealed.bytes),
                        sealed.artefacts,
                    ])?;
                let artefacts = if sealed.artefacts == 1 { "artefact" } else { "artefacts" };
                let (count, bytes) = (sealed.artefacts, sealed.bytes);
                self.on_evidence(
                    *evidence,
                    |of| format!("sealed: {of}, {count} {artefacts} of {bytes} bytes"),
                    record,
                )
            }
            Record::EvidenceMissed { evidence, failure } => {
                self.db
                    .prepare_cached("UPDATE evidence SET missed_at = ?2, why = ?3 WHERE id = ?1")?
                    .execute(params![int(evidence.0), self.now, &*failure.what])?;
                self.on_evidence(
                    *evidence,
                    |of| format!("missed, it goes on without: {of}: {failure}"),
                    record,
                )
            }
            // That it is still healthy is no news.
            Record::WatchRead {
                result: Ok(reading),
                next: Some(_),
                ..
            } if reading.healthy => Ok(()),
            Record::WatchPlanned { .. }
            | Record::WatchRead { .. }
            | Record::WatchStarted { .. }
            | Record::WatchEnded { .. }
            | Record::RecoveryStarted { .. }
            | Record::RecoveryAt { waits: Some(_), .. }
            | Record::ContainedAgain { .. }
            | Record::RecoveryEnded { .. } => match staunch_model::recover::words(record) {
                Some((incident, what)) => self.on_incident(incident.0, &what, record),
                None => Ok(()),
            },
            Record::WatchAsked { .. }
            | Record::RecoveryPlanned { .. }
            | Record::RecoveryAt { waits: None, .. }
            | Record::SweepDone { .. }
            | Record::SweepFailed { .. }
            | Record::IncidentForgotten { .. }
            | Record::NoticeFailed { .. }
            | Record::NoticeResent { .. }
            | Record::CommandDone { .. }
            | Record::CommandRefused { .. }
            | Record::EvidenceResent { .. }
            | Record::ListChanged(_)
            | Record::RiskTablePinned(_)
            | Record::Known(_)
            | Record::Found(_)
            | Record::AroundKnown { .. }
            | Record::AssetsKnown { .. }
            | Record::ContextTablePinned(_) => Ok(()),
        }
    }

    fn event(&self) -> Option<&Event> {
        self.input.event().map(|(event, _)| &**event)
    }

    fn incident_opened(&self, incident: i64, playbook: ContentHash, key: &str) -> rusqlite::Result<()> {
        let event = self.event();
        self.db
            .prepare_cached(
                "INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, 1, ?7, ?8, ?9, ?10, ?11)",
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

    fn event_joined(&self, incident: i64) -> rusqlite::Result<()> {
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

    fn hold(&self, incident: i64, transaction: i64) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO holders VALUES (?1, ?2)")?
            .execute(params![incident, transaction])
            .map(drop)
    }

    fn change(&self, id: i64, change: &Change) -> rusqlite::Result<()> {
        let mut row = Update::default();
        match change {
            Change::Refused { judgement, .. } | Change::ExecuteIntended { judgement, .. } => {
                row.judged(judgement.as_deref());
            }
            Change::WouldExecute { judgement } => row.judged(Some(judgement)),
            Change::ApprovalRequested { expires, judgement } => {
                row.judged(Some(judgement));
                row.approval_expires = Some(time(*expires));
            }
            Change::Approved { by } => row.approved_by = Some(by),
            Change::PostCheckPassed { lease_until } => {
                row.in_force_at = Some(self.now);
                row.lease_until = Some(time(*lease_until));
            }
            Change::Renewed { lease_until } => row.lease_until = Some(time(*lease_until)),
            Change::ReleaseVerified | Change::ProbedAbsent => row.released_at = Some(self.now),
            Change::Joined(incident) => self.hold(int(incident.0), id)?,
            _ => {}
        }
        let (state, back_to_undo) = match words::next(change) {
            Next::Becomes(state) => (Some(state.name()), false),
            Next::Stays => (None, false),
            Next::BackToUndo => (None, true),
        };
        self.db
            .prepare_cached(
                "UPDATE transactions SET
                    state = CASE WHEN ?2 AND state = 'settling' THEN 'rolling-back' ELSE coalesce(?3, state) END,
                    reason = coalesce(?4, reason),
                    mode = coalesce(?5, mode),
                    lease_until = coalesce(?6, lease_until),
                    in_force_at = coalesce(?7, in_force_at),
                    released_at = coalesce(?8, released_at),
                    approved_by = coalesce(?9, approved_by),
                    approval_expires = coalesce(?10, approval_expires),
                    judgement = coalesce(?11, judgement),
                    updated = ?12,
                    hurt = hurt OR ?13
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                back_to_undo,
                state,
                words::reason(change),
                row.mode,
                row.lease_until,
                row.in_force_at,
                row.released_at,
                row.approved_by,
                row.approval_expires,
                row.judgement,
                self.now,
                words::hurts(change),
            ])
            .map(drop)
    }

    /// What concerns a piece of evidence, in the words that `what` makes of it.
    fn on_evidence(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        match self.of_evidence(evidence, what)? {
            Some((incident, what)) => self.timeline(Some(incident), None, &what, detail),
            None => Ok(()),
        }
    }

    /// The same, unless these words stand there already.
    fn on_evidence_once(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        let Some((incident, what)) = self.of_evidence(evidence, what)? else {
            return Ok(());
        };
        let stands = self
            .db
            .prepare_cached("SELECT 1 FROM timeline WHERE incident = ?1 AND what = ?2 LIMIT 1")?
            .exists(params![incident, what])?;
        if stands {
            return Ok(());
        }
        self.timeline(Some(incident), None, &what, detail)
    }

    /// The incident of a piece of evidence, and the words that `what` makes of it; `None` when it is not known.
    fn of_evidence(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
    ) -> rusqlite::Result<Option<(i64, String)>> {
        let known: Option<(i64, String, Option<String>)> = self
            .db
            .prepare_cached("SELECT incident, kind, target FROM evidence WHERE id = ?1")?
            .query_row(params![int(evidence.0)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(known.map(|(incident, kind, target)| {
            let of = words::evidence(&kind, target.as_deref());
            (incident, format!("{evidence} {}", what(&of)))
        }))
    }

    fn on_incident(&self, incident: u64, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(Some(int(incident)), None, what, detail)
    }

    /// What concerns no incident: it is told live and in no incident's timeline.
    fn on_installation(&self, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(None, None, what, detail)
    }

    fn on_transaction(&self, transaction: u64, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(None, Some(int(transaction)), what, detail)
    }

    fn timeline(
        &self,
        incident: Option<i64>,
        transaction: Option<i64>,
        what: &str,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO timeline (lsn, at, incident, tx, what, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.lsn, self.now, incident, transaction, what, packed(detail)])
            .map(drop)
    }
}

/// What a change sets besides the state; `None` leaves a column as it is.
#[derive(Default)]
struct Update<'a> {
    mode: Option<&'static str>,
    lease_until: Option<i64>,
    in_force_at: Option<i64>,
    released_at: Option<i64>,
    approved_by: Option<&'a str>,
    approval_expires: Option<i64>,
    judgement: Option<Vec<u8>>,
}

impl Update<'_> {
    fn judged(&mut self, judgement: Option<&Judgement>) {
        self.mode = judgement.map(|it| it.mode.name());
        self.judgement = judgement.map(packed);
    }
}

/// A number as SQLite keeps it. Ids and times beyond its range do not occur in a million years.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn time(time: Timestamp) -> i64 {
    int(time.as_micros())
}

pub(super) const fn status(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Open => "open",
        IncidentStatus::Closed => "closed",
    }
}

fn address(endpoint: &Endpoint) -> Option<String> {
    endpoint.ip.map(|ip| ip.to_string())
}

/// Values that are only shown are kept as the journal keeps them, which is smaller and quicker than JSON.
fn packed(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("every type of the journal can be encoded")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("types of the journal have no map with keys that are not text")
}
