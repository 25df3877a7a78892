//! The query index: what it shows, and that it never shows another history than the journal's.

mod asked;
mod happened;
mod kept;
mod preserved;
mod shown;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_model::{
    ActionKind, Cause, Change, Command, ContentHash, Dispatch, EffectKey, Endpoint, Event, Facts, Frame, IncidentId,
    IncidentOutcome, Input, Judgement, Limits, Mode, Modes, Notice, NoticeId, NoticeLevel, OnFailure, Operator,
    Playbook, PlaybookGuards, Policy, Record, ReleaseScope, RiskClass, Severity, Span, Target, Timestamp,
    TransactionId,
};
use staunch_ports::journal::NewFrame;
use staunch_ports::{Follower, Journal, Purpose};
use staunch_store::index::{IncidentFilter, Index, IndexReader};
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
