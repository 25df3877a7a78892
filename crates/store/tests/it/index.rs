//! The query index: what it shows, and that it never shows another history than the journal's.

mod happened;
mod preserved;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_model::{
    ActionKind, Cause, Change, Command, ContentHash, Dispatch, EffectKey, Endpoint, Event, Facts, Frame, IncidentId,
    IncidentOutcome, IncidentStatus, Input, Judgement, Limits, Mode, Modes, Notice, NoticeId, NoticeLevel, OnFailure,
    Operator, Playbook, PlaybookGuards, Policy, Record, ReleaseScope, RiskClass, Severity, Span, StateKind, Target,
    Timestamp, TransactionId,
};
use staunch_ports::journal::NewFrame;
use staunch_ports::{Follower, Journal, Lsn, Purpose};
use staunch_store::index::{IncidentFilter, Index, IndexError, IndexReader, TransactionFilter};
use staunch_store::{JournalOptions, SegmentJournal};

use super::temp_dir;

const HOSTILE: &str = "x'); DROP TABLE incidents; --\u{1b}[31m\u{202e}\0";

/// A journal, and the index beside it.
struct Setup {
    dir: tempfile::TempDir,
    journal: SegmentJournal,
}

impl Setup {
    fn new() -> Self {
        let dir = temp_dir();
        let journal = open_journal(&dir.path().join("journal"));
        Self { dir, journal }
    }

    fn index_path(&self) -> PathBuf {
        self.dir.path().join("index.sqlite")
    }

    fn open(&self) -> Index {
        Index::open(&self.index_path(), &self.dir.path().join("journal")).expect("the index opens")
    }

    /// Appends `frames`, each a second after the one before it.
    fn append(&mut self, frames: &[Frame]) {
        append(&mut self.journal, frames);
    }
}

fn open_journal(dir: &Path) -> SegmentJournal {
    fs::create_dir_all(dir).expect("a directory");
    let options = JournalOptions {
        segment_bytes: 64 << 10,
        reserve_bytes: 4 << 10,
        payload_bytes_max: 16 << 10,
        ..JournalOptions::default()
    };
    let mut journal = SegmentJournal::open(dir, options).expect("the journal opens");
    journal.open_epoch().expect("an epoch");
    journal
}

fn append(journal: &mut SegmentJournal, frames: &[Frame]) {
    for frame in frames {
        let tail = journal.tail();
        let payload = postcard::to_stdvec(frame).expect("frames can be encoded");
        let new = NewFrame {
            now_us: at(tail.lsn.0 + 1).as_micros(),
            payload: &payload,
        };
        journal
            .append(tail.epoch, tail.lsn, Purpose::Settle, &[new])
            .expect("there is room");
    }
}

/// The time of frame `lsn`.
fn at(lsn: u64) -> Timestamp {
    Timestamp::EPOCH + Span::from_secs(1_700_000_000 + lsn)
}

fn follow(index: &mut Index, frames: &[Frame]) {
    for frame in frames {
        let lsn = index.position().next();
        index.follow(lsn, at(lsn.0), frame);
    }
    index.flush();
}

fn playbook() -> Playbook {
    Playbook {
        name: "brute-force".into(),
        summary: "Block it.".into(),
        hash: ContentHash::of(b"brute-force"),
        attack: Vec::new(),
        deduplicate: Span::from_mins(10),
        context: Vec::new(),
        guards: PlaybookGuards::default(),
        preserve: Vec::new(),
        steps: Vec::new(),
        notify: Vec::new(),
        modes: Modes::default(),
        on_failure: OnFailure::default(),
    }
}

fn policy() -> Frame {
    let limits = Limits {
        actions_in_flight_max: 1,
        acts_per_action_hour_max: 1,
        acts_per_group_hour_max: 1,
        acts_per_hour_max: 1,
        breaker_failures: 1,
        breaker_window: Span::from_mins(1),
        approval_expiry: Span::from_mins(1),
        lease_max: Span::from_hours(1),
        sweep_interval: Span::from_secs(30),
    };
    let playbooks = vec![Arc::new(playbook())];
    let policy = Arc::new(Policy {
        limits,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks,
        drivers: Vec::new(),
    });
    Frame {
        input: Input::Policy(policy.clone()),
        records: vec![Record::PolicyPinned(policy)],
    }
}

fn address(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

fn event(signature: &str) -> Input {
    let event = Event {
        system: "suricata".into(),
        id: None,
        time: Some(at(0)),
        received: at(1),
        severity: Severity::High,
        signature: signature.into(),
        category: "".into(),
        source: Endpoint {
            ip: Some(address(7)),
            port: Some(4_711),
        },
        destination: Endpoint {
            ip: Some(address(1)),
            port: None,
        },
        user: None,
        host: None,
        raw: Arc::from(&b"{}"[..]),
    };
    Input::Event {
        event: Arc::new(event),
        matches: Vec::new(),
    }
}

fn opened(incident: u64, key: &str, signature: &str) -> Frame {
    let playbook = ContentHash::of(b"brute-force");
    let (incident, transaction) = (IncidentId(incident), TransactionId(incident));
    let target = Target::Address(address(u8::try_from(incident.0 % 250).expect("below 250")));
    Frame {
        input: event(signature),
        records: vec![
            Record::IncidentOpened {
                incident,
                playbook,
                key: key.into(),
                event_time: None,
                absorbs_until: at(600),
            },
            Record::TransactionPlanned {
                transaction,
                incident,
                step: 0,
                kind: ActionKind::BlockIp,
                target,
                lease: Span::from_hours(1),
                key: EffectKey::default(),
                deadline: at(300),
            },
        ],
    }
}

fn changed(transaction: u64, change: Change) -> Frame {
    Frame {
        input: Input::Tick,
        records: vec![Record::Transaction {
            transaction: TransactionId(transaction),
            change,
        }],
    }
}

fn joined(incident: u64) -> Frame {
    Frame {
        input: event("again"),
        records: vec![Record::EventJoined {
            incident: IncidentId(incident),
        }],
    }
}

fn dispatch() -> Dispatch {
    Dispatch {
        ticket: 1,
        deadline: at(900),
    }
}

fn judgement() -> Box<Judgement> {
    let (mode, risk) = (Mode::Enforce, RiskClass::Low);
    Box::new(Judgement {
        mode,
        risk,
        guards: Vec::new(),
        facts: Facts::default(),
        observation: None,
    })
}

fn operator() -> Operator {
    Operator {
        name: "ada".into(),
        from: "127.0.0.1:9".into(),
        reason: HOSTILE.into(),
    }
}

/// Incident 1 from its first event to its end.
fn whole_life() -> Vec<Frame> {
    let (incident, transaction) = (IncidentId(1), TransactionId(1));
    let notice = NoticeId(1);
    let queued = Notice {
        id: notice,
        level: NoticeLevel::Page,
        incident: Some(incident),
        transaction: None,
        text: "look".into(),
    };
    let release = Command::Release(ReleaseScope::Transaction(transaction));
    let cause = Box::new(Cause::Operator { by: "ada".into() });
    vec![
        policy(),
        opened(1, "203.0.113.7", "ssh brute force"),
        changed(1, Change::PreCheckStarted(dispatch())),
        changed(
            1,
            Change::ApprovalRequested {
                expires: at(1_000),
                judgement: judgement(),
            },
        ),
        changed(1, Change::Approved { by: "ada".into() }),
        changed(1, Change::PreCheckStarted(dispatch())),
        changed(
            1,
            Change::ExecuteIntended {
                dispatch: dispatch(),
                version: 1,
                hold: Span::from_hours(1),
                judgement: Some(judgement()),
            },
        ),
        changed(1, Change::Landed(dispatch())),
        changed(1, Change::PostCheckPassed { lease_until: at(3_600) }),
        Frame {
            input: Input::Tick,
            records: vec![
                Record::OutcomeReached {
                    incident,
                    outcome: IncidentOutcome::Contained,
                },
                Record::NoticeQueued(queued),
            ],
        },
        Frame {
            input: Input::Tick,
            records: vec![Record::NoticeSent { notice }],
        },
        Frame {
            input: Input::Operator {
                by: operator(),
                command: release,
            },
            records: vec![
                Record::Transaction {
                    transaction,
                    change: Change::ReleaseStarted {
                        cause,
                        dispatch: dispatch(),
                    },
                },
                Record::CommandDone {
                    affected: vec![transaction],
                },
            ],
        },
        changed(1, Change::Lifted(dispatch())),
        changed(1, Change::ReleaseVerified),
        Frame {
            input: Input::Tick,
            records: vec![Record::IncidentClosed {
                incident,
                absorbs_until: at(600),
            }],
        },
    ]
}

fn ids(reader: &IndexReader, filter: &IncidentFilter) -> Vec<u64> {
    reader
        .incidents(filter)
        .expect("the index answers")
        .into_iter()
        .map(|row| row.id.0)
        .collect()
}

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
fn what_is_not_committed_is_not_seen() {
    let setup = Setup::new();
    let mut index = setup.open();
    let reader = index.reader();
    for (lsn, frame) in (1..).zip(&whole_life()[..2]) {
        index.follow(Lsn(lsn), at(lsn), frame);
    }
    assert_eq!(index.position(), Lsn(2));
    assert_eq!(reader.position().expect("the index answers"), Lsn(0));
    index.flush();
    assert_eq!(reader.position().expect("the index answers"), Lsn(2));
    assert_eq!(ids(&reader, &IncidentFilter::default()), [1]);
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

#[test]
fn it_catches_up_with_the_journal_and_goes_on_from_there() {
    let mut setup = Setup::new();
    let frames = whole_life();
    setup.append(&frames[..3]);
    let mut index = setup.open();
    assert_eq!(index.position(), Lsn(3));
    setup.append(&frames[3..6]);
    index.catch_up();
    assert_eq!(index.position(), Lsn(6));
    // A frame that it has already, and one that would leave a gap.
    index.follow(Lsn(6), at(6), &frames[5]);
    index.follow(Lsn(8), at(8), &frames[7]);
    assert_eq!(index.position(), Lsn(6));
    drop(index);
    setup.append(&frames[6..]);
    let index = setup.open();
    assert_eq!(index.position(), Lsn(15));
    let detail = index
        .reader()
        .incident(IncidentId(1))
        .expect("the index answers")
        .expect("it is there");
    let followed = Setup::new();
    let mut other = followed.open();
    follow(&mut other, &frames);
    assert_eq!(
        Some(detail),
        other.reader().incident(IncidentId(1)).expect("the index answers")
    );
}

#[test]
fn an_index_ahead_of_the_journal_is_rebuilt() {
    let mut setup = Setup::new();
    setup.append(&[policy(), opened(1, "durable", "s")]);
    let mut index = setup.open();
    follow(&mut index, &[opened(2, "lost in a crash", "s")]);
    assert_eq!(index.reader().position().expect("the index answers"), Lsn(3));
    drop(index);
    let index = setup.open();
    assert_eq!(
        (index.position(), ids(&index.reader(), &IncidentFilter::default())),
        (Lsn(2), vec![1])
    );
}

#[test]
fn an_index_of_another_history_is_rebuilt() {
    let mut setup = Setup::new();
    setup.append(&[policy(), opened(1, "durable", "s"), opened(2, "this history", "s")]);
    let mut index = setup.open();
    drop(index);
    // The same position, reached at another time: a crash lost frame 3, and another one was written without an index.
    let other = temp_dir();
    let mut journal = open_journal(other.path());
    append(&mut journal, &[policy(), opened(1, "durable", "s")]);
    let tail = journal.tail();
    let payload = postcard::to_stdvec(&opened(2, "that history", "s")).expect("frames can be encoded");
    let new = NewFrame {
        now_us: at(77).as_micros(),
        payload: &payload,
    };
    journal
        .append(tail.epoch, tail.lsn, Purpose::Settle, &[new])
        .expect("there is room");
    index = Index::open(&setup.index_path(), other.path()).expect("the index opens");
    let rows = index
        .reader()
        .incidents(&IncidentFilter::default())
        .expect("the index answers");
    assert_eq!(
        rows.iter().map(|row| &*row.key).collect::<Vec<_>>(),
        ["that history", "durable"]
    );
}

#[test]
fn a_damaged_or_foreign_file_is_set_aside_and_rebuilt() {
    let check = |name: &str, spoil: fn(&Path)| {
        let mut setup = Setup::new();
        setup.append(&whole_life());
        drop(setup.open());
        spoil(&setup.index_path());
        let index = setup.open();
        assert_eq!(index.position(), Lsn(15), "{name}");
        assert_eq!(ids(&index.reader(), &IncidentFilter::default()), [1], "{name}");
    };
    check("not a database", |path| {
        fs::write(path, b"not a database at all, but long enough to look at").expect("written");
    });
    check("cut", |path| {
        let bytes = fs::read(path).expect("it is there");
        fs::write(path, &bytes[..5_000]).expect("written");
    });
    check("removed", |path| fs::remove_file(path).expect("removed"));
    check("emptied", |path| fs::write(path, b"").expect("written"));
    check("another version", |path| {
        let db = rusqlite::Connection::open(path).expect("opens");
        db.pragma_update(None, "user_version", 0).expect("set");
    });
    check("a table is missing", |path| {
        let db = rusqlite::Connection::open(path).expect("opens");
        db.execute_batch("DROP TABLE progress").expect("dropped");
    });
    check("somebody else's", |path| {
        fs::remove_file(path).expect("removed");
        let db = rusqlite::Connection::open(path).expect("opens");
        db.execute_batch("CREATE TABLE progress (position INTEGER); CREATE TABLE x (y)")
            .expect("made");
    });
}

#[test]
fn damage_while_it_runs_is_mended_from_the_journal() {
    let mut setup = Setup::new();
    setup.append(&whole_life());
    let mut index = setup.open();
    let reader = index.reader();
    let saboteur = rusqlite::Connection::open(setup.index_path()).expect("opens");
    saboteur.execute_batch("DROP TABLE incidents").expect("dropped");
    assert!(matches!(
        reader.incidents(&IncidentFilter::default()),
        Err(IndexError::Query { .. })
    ));
    index.flush();
    assert_eq!(ids(&reader, &IncidentFilter::default()), [1]);
    assert_eq!(index.position(), Lsn(15));
}

#[test]
fn what_keeps_frames_out_is_told_until_they_are_in() {
    let mut setup = Setup::new();
    let frames = whole_life();
    setup.append(&frames[..2]);
    let mut index = setup.open();
    let reader = index.reader();
    assert_eq!(reader.trouble(), None);
    let saboteur = rusqlite::Connection::open(setup.index_path()).expect("opens");
    saboteur
        .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON progress BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .expect("made");
    follow(&mut index, &frames[2..3]);
    assert_eq!(reader.trouble().as_deref(), Some("no room"));
    assert_eq!(index.position(), Lsn(2), "nothing is half in it");
    // A turn without frames proves nothing.
    index.flush();
    assert_eq!(reader.trouble().as_deref(), Some("no room"));
    setup.append(&frames[2..3]);
    saboteur.execute_batch("DROP TRIGGER full").expect("dropped");
    follow(&mut index, &frames[2..3]);
    assert_eq!((reader.trouble(), index.position()), (None, Lsn(3)));
}

#[test]
fn a_rebuild_gives_the_same_answers_through_the_same_reader() {
    let mut setup = Setup::new();
    setup.append(&whole_life());
    let mut index = setup.open();
    let reader = index.reader();
    let before = reader.incident(IncidentId(1)).expect("the index answers");
    index.rebuild().expect("rebuilt");
    assert!(before.is_some());
    assert_eq!(reader.incident(IncidentId(1)).expect("the index answers"), before);
}

#[test]
fn a_frame_of_an_unknown_form_is_named() {
    let mut setup = Setup::new();
    setup.append(&[policy()]);
    let tail = setup.journal.tail();
    let new = NewFrame {
        now_us: 1,
        payload: &[0xff; 9],
    };
    setup
        .journal
        .append(tail.epoch, tail.lsn, Purpose::Settle, &[new])
        .expect("there is room");
    let opened = Index::open(&setup.index_path(), &setup.dir.path().join("journal"));
    assert!(
        matches!(opened, Err(IndexError::Unknown { lsn: Lsn(2), .. })),
        "{opened:?}"
    );
}

#[test]
fn a_journal_that_does_not_exist_yet_is_empty() {
    let dir = temp_dir();
    let index = Index::open(&dir.path().join("index.sqlite"), &dir.path().join("journal")).expect("the index opens");
    assert_eq!(index.position(), Lsn(0));
    assert!(IndexReader::open(&dir.path().join("index.sqlite")).is_ok());
    assert!(IndexReader::open(&dir.path().join("nothing.sqlite")).is_err());
}

#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut setup = Setup::new();
    setup.append(&[policy()]);
    let _index = setup.open();
    for ending in ["", "-wal", "-shm"] {
        let path = setup.dir.path().join(format!("index.sqlite{ending}"));
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}
