//! Enters frames into the tables. Every text is a bound parameter, never part of a statement.

mod commands;
mod evidence;
mod incidents;
mod timeline;
mod transactions;
mod values;

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use staunch_model::{ContentHash, Event, Frame, IncidentStatus, Input, Printable, Record, StateKind, Timestamp};
use staunch_ports::Lsn;

pub(super) use self::incidents::EVENTS_KEPT_MAX;
pub(super) use self::values::{int, status, time};
use super::words;

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
    if let Input::Operator { by, command } = &frame.input {
        entry.command_told(by, command, &frame.records)?;
    }
    for record in &frame.records {
        entry.record(record)?;
    }
    if let Input::Operator { by, command } = &frame.input {
        entry.command(by, command, &frame.records)?;
    }
    Ok(())
}

/// Notes how far the index has come.
pub(super) fn progress(db: &Connection, lsn: Lsn, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE progress SET position = ?1, last_now = ?2")?
        .execute(params![int(lsn.0), time(now)])?;
    Ok(())
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
            Record::AroundKnown {
                incident,
                targets,
                account,
            } => match words::around(targets, account.as_deref()) {
                Some(what) => self.on_incident(incident.0, &what, record),
                None => Ok(()),
            },
            Record::AssetsKnown { incident, assets } => self.on_incident(incident.0, &words::named(assets), record),
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
            | Record::RecoveryEnded { .. } => {
                self.recovery(record)?;
                match staunch_model::recover::words(record) {
                    Some((incident, what)) => self.on_incident(incident.0, &what, record),
                    None => Ok(()),
                }
            }
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
            | Record::ContextTablePinned(_) => Ok(()),
        }
    }

    /// The event that the frame is about.
    fn event(&self) -> Option<&Event> {
        self.input.event().map(|(event, _)| &**event)
    }
}
