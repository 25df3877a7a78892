//! What the index shows of incidents, transactions, commands and notices.

use staunch_model::{
    ActionKind, Change, Command, ContentHash, EffectKey, Frame, IncidentId, IncidentOutcome, IncidentStatus, Input,
    Mode, NoticeLevel, Record, RecoveryEnd, RecoveryWait, RefusalReason, ReleaseScope, Severity, Span, StateKind,
    Target, TransactionId,
};
use staunch_store::index::{IncidentFilter, Index, TransactionFilter};

use super::{
    HOSTILE, Setup, address, at, changed, dispatch, event, follow, ids, joined, judgement, opened, operator, policy,
    whole_life,
};

#[test]
fn a_whole_life_can_be_looked_up() {
    let setup = Setup::new();
    let mut index = setup.open();
    follow(&mut index, &whole_life());
    let reader = index.reader();
    let detail = reader
        .incident(IncidentId(1))
        .expect("the index answers")
        .expect("it is there");
    let incident = &detail.incident;
    assert_eq!(
        (&*incident.playbook, &*incident.key, incident.events),
        ("brute-force", "203.0.113.7", 1)
    );
    assert_eq!(incident.playbook_hash, ContentHash::of(b"brute-force"));
    assert_eq!(
        (incident.status, incident.outcome),
        (IncidentStatus::Closed, Some(IncidentOutcome::Contained))
    );
    assert_eq!((incident.opened, incident.closed), (at(2), Some(at(15))));
    assert_eq!(
        (&*incident.system, &*incident.signature, incident.severity),
        ("suricata", "ssh brute force", Severity::High)
    );
    assert_eq!(
        (incident.source.as_deref(), incident.destination.as_deref()),
        (Some("203.0.113.7"), Some("203.0.113.1"))
    );
    let [transaction] = &detail.transactions[..] else {
        panic!("one transaction")
    };
    assert_eq!(
        (transaction.state, transaction.mode),
        (StateKind::Released, Some(Mode::Enforce))
    );
    assert_eq!(transaction.reason.as_deref(), Some("released by ada"));
    assert_eq!((transaction.created, transaction.updated), (at(2), at(14)));
    assert_eq!(
        (transaction.in_force_at, transaction.released_at),
        (Some(at(9)), Some(at(14)))
    );
    assert_eq!(
        (transaction.lease_until, transaction.approval_expires),
        (Some(at(3_600)), Some(at(1_000)))
    );
    assert_eq!(transaction.approved_by.as_deref(), Some("ada"));
    assert_eq!(transaction.judgement.as_ref(), Some(&*judgement()));
    let [event] = &detail.events[..] else {
        panic!("one event")
    };
    assert_eq!((event.lsn, event.time, event.received), (2, Some(at(0)), at(1)));
    let told: Vec<_> = detail
        .timeline
        .iter()
        .map(|entry| (entry.lsn, entry.what.as_str()))
        .collect();
    assert_eq!(told[0], (2, "opened by suricata: ssh brute force"));
    assert_eq!(told[1], (2, "planned: block-ip 203.0.113.1 for 1h"));
    assert!(told.contains(&(12, "release started: released by ada")), "{told:?}");
    assert_eq!(told.last(), Some(&(15, "closed")));
    assert_eq!(detail.timeline_count, told.len() as u64);
    assert_eq!(detail.timeline[1].transaction, Some(TransactionId(1)));
    let commands = reader.commands(None, 0).expect("the index answers");
    let [command] = &commands[..] else {
        panic!("one command")
    };
    assert_eq!(
        (&*command.by, &*command.from, &*command.reason),
        ("ada", "127.0.0.1:9", HOSTILE)
    );
    assert_eq!(
        (&command.affected[..], command.refused.as_deref()),
        (&[TransactionId(1)][..], None)
    );
    assert_eq!(detail.commands, commands);
    let notices = reader.notices(None, 0).expect("the index answers");
    assert_eq!(
        (notices[0].level, notices[0].sent_at, notices[0].given_up),
        (NoticeLevel::Page, Some(at(11)), false)
    );
}

#[test]
fn hostile_text_is_data() {
    let setup = Setup::new();
    let mut index = setup.open();
    follow(
        &mut index,
        &[policy(), opened(1, HOSTILE, HOSTILE), opened(2, "plain", "plain")],
    );
    let reader = index.reader();
    let detail = reader
        .incident(IncidentId(1))
        .expect("the index answers")
        .expect("it is there");
    assert_eq!((&*detail.incident.key, &*detail.incident.signature), (HOSTILE, HOSTILE));
    let what = &detail.timeline[0].what;
    assert!(
        !what.contains('\u{1b}') && !what.contains('\u{202e}') && what.contains("\\u{1b}"),
        "{what}"
    );
    let text = |text: &str| IncidentFilter {
        text: Some(text.into()),
        ..IncidentFilter::default()
    };
    assert_eq!(ids(&reader, &text("DROP TABLE")), [1]);
    assert_eq!(ids(&reader, &text("%")), [0_u64; 0]);
    let hostile = TransactionFilter {
        target: Some(HOSTILE.into()),
        ..TransactionFilter::default()
    };
    assert_eq!(reader.transactions(&hostile).expect("the index answers"), []);
}

#[test]
fn filters_narrow_and_pages_do_not_overlap() {
    let setup = Setup::new();
    let mut index = setup.open();
    let mut frames = vec![policy()];
    frames.extend((1..=9).map(|id| opened(id, &format!("key-{id}"), "s")));
    frames.push(Frame {
        input: Input::Tick,
        records: vec![Record::IncidentClosed {
            incident: IncidentId(4),
            absorbs_until: at(0),
        }],
    });
    frames.push(changed(5, Change::PreCheckStarted(dispatch())));
    follow(&mut index, &frames);
    let reader = index.reader();
    let check = |filter: IncidentFilter, expect: &[u64]| assert_eq!(ids(&reader, &filter), expect, "{filter:?}");
    let all = IncidentFilter::default;
    check(all(), &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    check(IncidentFilter { limit: 3, ..all() }, &[9, 8, 7]);
    check(
        IncidentFilter {
            limit: 3,
            before: Some(IncidentId(7)),
            ..all()
        },
        &[6, 5, 4],
    );
    check(
        IncidentFilter {
            status: Some(IncidentStatus::Closed),
            ..all()
        },
        &[4],
    );
    check(
        IncidentFilter {
            status: Some(IncidentStatus::Open),
            limit: 2,
            ..all()
        },
        &[9, 8],
    );
    check(
        IncidentFilter {
            since: Some(at(8)),
            ..all()
        },
        &[9, 8, 7],
    );
    check(
        IncidentFilter {
            since: Some(at(99)),
            ..all()
        },
        &[],
    );
    check(
        IncidentFilter {
            playbook: Some("brute-force".into()),
            limit: 1,
            ..all()
        },
        &[9],
    );
    check(
        IncidentFilter {
            playbook: Some("other".into()),
            ..all()
        },
        &[],
    );
    check(
        IncidentFilter {
            text: Some("key-3".into()),
            ..all()
        },
        &[3],
    );
    check(
        IncidentFilter {
            text: Some("203.0.113.5".into()),
            ..all()
        },
        &[5],
    );
    let transactions = |filter: TransactionFilter| -> Vec<u64> {
        reader
            .transactions(&filter)
            .expect("the index answers")
            .into_iter()
            .map(|row| row.id.0)
            .collect()
    };
    let planned = TransactionFilter {
        state: Some(StateKind::Planned),
        limit: 2,
        ..TransactionFilter::default()
    };
    assert_eq!(transactions(planned), [9, 8]);
    let target = TransactionFilter {
        target: Some("203.0.113.5".into()),
        ..TransactionFilter::default()
    };
    assert_eq!(transactions(target), [5]);
}

#[test]
fn all_events_are_counted_and_the_first_hundred_kept() {
    let setup = Setup::new();
    let mut index = setup.open();
    let mut frames = vec![policy(), opened(1, "key", "s")];
    frames.extend((0..149).map(|_| joined(1)));
    follow(&mut index, &frames);
    let detail = index
        .reader()
        .incident(IncidentId(1))
        .expect("the index answers")
        .expect("it is there");
    assert_eq!((detail.incident.events, detail.events.len()), (150, 100));
    assert_eq!(detail.events[99].lsn, 101);
}

#[test]
fn a_transaction_that_was_joined_is_shown_with_both_incidents() {
    let setup = Setup::new();
    let mut index = setup.open();
    let second = Record::IncidentOpened {
        incident: IncidentId(2),
        playbook: ContentHash::of(b"unknown"),
        key: "other".into(),
        event_time: None,
        absorbs_until: at(1),
    };
    let joins = Record::Transaction {
        transaction: TransactionId(1),
        change: Change::Joined(IncidentId(2)),
    };
    let frames = [
        policy(),
        opened(1, "key", "s"),
        Frame {
            input: event("s"),
            records: vec![second, joins],
        },
    ];
    follow(&mut index, &frames);
    let detail = index
        .reader()
        .incident(IncidentId(2))
        .expect("the index answers")
        .expect("it is there");
    assert_eq!((detail.transactions.len(), &*detail.incident.playbook), (1, ""));
    assert_eq!(detail.timeline.last().map(|it| &*it.what), Some("joined by INC-2"));
    let other = TransactionFilter {
        target: Some("203.0.113.1".into()),
        ..TransactionFilter::default()
    };
    assert_eq!(index.reader().transactions(&other).expect("the index answers").len(), 1);
}

#[test]
fn an_incident_has_the_commands_that_touched_it() {
    let command = |command, done| Frame {
        input: Input::Operator {
            by: operator(),
            command,
        },
        records: vec![done],
    };
    let done = |ids: &[u64]| Record::CommandDone {
        affected: ids.iter().map(|id| TransactionId(*id)).collect(),
    };
    let refused = || Record::CommandRefused { why: "no".into() };
    let setup = Setup::new();
    let mut index = setup.open();
    follow(
        &mut index,
        &[
            policy(),
            opened(1, "a", "s"),
            opened(2, "b", "s"),
            command(Command::SetMode(Mode::Observe), done(&[])),
            command(Command::Approve(TransactionId(1)), done(&[1])),
            command(Command::Deny(TransactionId(2)), refused()),
            command(Command::Release(ReleaseScope::All), done(&[1, 2])),
            command(Command::Release(ReleaseScope::Incident(IncidentId(1))), done(&[])),
            // Whoever joins a transaction later sees what was done about it before.
            opened(3, "c", "s"),
            changed(1, Change::Joined(IncidentId(3))),
        ],
    );
    let touched = |incident| {
        let found = index
            .reader()
            .incident(IncidentId(incident))
            .expect("the index answers");
        let commands = found.expect("it is there").commands;
        commands.into_iter().map(|it| it.lsn).collect::<Vec<_>>()
    };
    assert_eq!(touched(1), [5, 7, 8]);
    assert_eq!(touched(2), [6, 7]);
    assert_eq!(touched(3), [5, 7]);
}

/// A further act of the first incident.
fn another(transaction: u64, kind: ActionKind) -> Record {
    Record::TransactionPlanned {
        transaction: TransactionId(transaction),
        incident: IncidentId(1),
        step: 1,
        kind,
        target: Target::Address(address(1)),
        lease: Span::from_hours(1),
        key: EffectKey::default(),
        deadline: at(300),
    }
}

fn told(record: Record) -> Frame {
    Frame {
        input: Input::Tick,
        records: vec![record],
    }
}

fn outcome(outcome: IncidentOutcome) -> Frame {
    told(Record::OutcomeReached {
        incident: IncidentId(1),
        outcome,
    })
}

fn closed() -> Frame {
    told(Record::IncidentClosed {
        incident: IncidentId(1),
        absorbs_until: at(600),
    })
}

/// How the first incident stands, in words and with its outcome.
fn standing(index: &Index) -> (String, Option<IncidentOutcome>) {
    let rows = index.reader().incidents(&IncidentFilter::default());
    let row = rows.expect("the index answers").swap_remove(0);
    (row.standing(), row.outcome)
}

#[test]
fn an_incident_of_which_a_part_is_in_force_is_not_headed_by_what_was_refused() {
    let setup = Setup::new();
    let mut index = setup.open();
    let mut follow = |frames: &[Frame]| {
        follow(&mut index, frames);
        standing(&index)
    };
    let in_force = |it| changed(it, Change::PostCheckPassed { lease_until: at(3_600) });
    let refused = |it| {
        let reason = Box::new(RefusalReason::NoTarget);
        changed(
            it,
            Change::Refused {
                reason,
                judgement: None,
            },
        )
    };
    let mut first = opened(1, "203.0.113.1", "a beacon");
    first.records.push(another(2, ActionKind::RateLimitIp));
    let (stands, _) = follow(&[policy(), first]);
    assert_eq!(stands, "deciding");
    let (stands, _) = follow(&[in_force(1)]);
    assert_eq!(stands, "deciding, 1 of 2 acts in force");
    let (stands, worst) = follow(&[refused(2), outcome(IncidentOutcome::Refused)]);
    assert_eq!(stands, "contained in part: 1 of 2 acts refused");
    assert_eq!(worst, Some(IncidentOutcome::Refused), "the journal's is the worst");
    // The worst is told first.
    let (stands, _) = follow(&[
        told(another(3, ActionKind::BlockIp)),
        changed(3, Change::ProbedAbsent),
        outcome(IncidentOutcome::RolledBack),
    ]);
    assert_eq!(stands, "contained in part: 1 of 3 acts rolled back, 1 refused");
    let (stands, _) = follow(&[changed(1, Change::ReleaseVerified), closed()]);
    assert_eq!(stands, "was contained in part: 1 of 3 acts rolled back, 1 refused");
}

#[test]
fn an_incident_of_which_nothing_is_in_force_is_headed_by_its_outcome() {
    let setup = Setup::new();
    let mut index = setup.open();
    let reason = Box::new(RefusalReason::NoTarget);
    let refused = changed(
        1,
        Change::Refused {
            reason,
            judgement: None,
        },
    );
    follow(
        &mut index,
        &[
            policy(),
            opened(1, "203.0.113.1", "a beacon"),
            refused,
            outcome(IncidentOutcome::Refused),
        ],
    );
    assert_eq!(standing(&index).0, "refused");
    follow(&mut index, &[closed()]);
    assert_eq!(standing(&index).0, "refused, closed");
}

#[test]
fn a_recovered_incident_is_not_contained_while_a_job_of_its_recovery_has_a_lease() {
    let setup = Setup::new();
    let mut index = setup.open();
    let incident = IncidentId(1);
    let in_force = |it| changed(it, Change::PostCheckPassed { lease_until: at(3_600) });
    let mut follow = |frames: &[Frame]| {
        follow(&mut index, frames);
        standing(&index).0
    };
    let end = |end| told(Record::RecoveryEnded { incident, end });
    let stands = follow(&[
        policy(),
        opened(1, "203.0.113.1", "a beacon"),
        in_force(1),
        outcome(IncidentOutcome::Contained),
    ]);
    assert_eq!(stands, "contained");
    let act = Frame {
        input: Input::Tick,
        records: vec![
            another(2, ActionKind::ExecJob),
            Record::RecoveryAt {
                incident,
                at: 0,
                waits: Some(RecoveryWait::Act(TransactionId(2))),
            },
        ],
    };
    let stands = follow(&[act, in_force(2)]);
    assert_eq!(stands, "contained");
    let stands = follow(&[
        changed(1, Change::ReleaseVerified),
        end(RecoveryEnd::Stopped { by: "ada".into() }),
    ]);
    assert_eq!(stands, "was contained");
    let stands = follow(&[end(RecoveryEnd::Recovered)]);
    assert_eq!(stands, "recovered");
    let again = Record::ContainedAgain {
        incident,
        transaction: TransactionId(3),
    };
    let stands = follow(&[told(another(3, ActionKind::BlockIp)), told(again), in_force(3)]);
    assert_eq!(stands, "contained");
    let stands = follow(&[
        changed(3, Change::ReleaseVerified),
        end(RecoveryEnd::Recovered),
        closed(),
    ]);
    assert_eq!(stands, "recovered, closed");
}
