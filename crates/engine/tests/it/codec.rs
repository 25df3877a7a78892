//! The formats of the journal: compact bytes that come back as they were, and JSON that people can read.

use std::sync::Arc;

use staunch_engine::transaction::samples;
use staunch_model::{
    ActionKind, Asset, Cause, Change, Command, ContentHash, ContextRow, ContextRuling, ContextTable, Dispatch,
    DrillFault, DrillId, EffectKey, EventContext, EvidenceId, EvidenceKind, EvidenceOptions, Failure, FailureKind,
    Found, Frame, HealthReading, Identity, IdentityKind, IncidentId, IncidentOutcome, Input, InstallationId, Known,
    KnownAccount, KnownAddress, KnownHost, ListChange, ListedNetwork, Mode, Notice, NoticeId, NoticeLevel, Operator,
    Outcome, Owner, Presence, Rating, Record, RecoveryEnd, RecoveryWait, RefusalReason, ReleaseScope, Reputation,
    Score, Sealed, Span, SweepFindings, TargetFacts, Timestamp, TransactionId, WatchId, WatchOver, WatchPlan,
    WatchVerdict,
};

use crate::build::{self, START, target};

const TX: TransactionId = TransactionId(17);
const INC: IncidentId = IncidentId(4);

fn failure() -> Failure {
    Failure::new(FailureKind::Unavailable, "netlink is busy")
}

fn asset() -> Asset {
    Asset {
        owner: Some("payments".into()),
        tier: Some("0".into()),
        data_class: None,
        environment: Some("production".into()),
        named: "203.0.113.0/24".into(),
        by: "assets.yaml, line 3".into(),
    }
}

fn around() -> EventContext {
    EventContext {
        addresses: vec![KnownAddress {
            ip: [203, 0, 113, 7].into(),
            asset: Some(asset()),
            country: Some("DE".into()),
            asn: Some(64_496),
            organization: Some("Example".into()),
            rating: Some(Rating {
                score: Score::MAX,
                confidence: Some(90),
            }),
        }],
        host: Some(KnownHost {
            name: "db-1".into(),
            asset: asset(),
        }),
        account: Some(KnownAccount {
            name: "ann".into(),
            identity: Some(Identity {
                team: None,
                kind: Some(IdentityKind::Human),
                break_glass: true,
                by: "people.csv, line 2".into(),
            }),
        }),
    }
}

fn context_row() -> ContextRow {
    ContextRow {
        name: "tier 0".into(),
        asset_known: Some(true),
        owner: vec!["payments".into()],
        tier: vec!["0".into()],
        data_class: Vec::new(),
        environment: Vec::new(),
        team: Vec::new(),
        identity_kind: Some(IdentityKind::Service),
        break_glass: Some(false),
        then: ContextRuling::Refuse,
    }
}

/// One input of every variant, and every variant of what it holds.
fn inputs() -> Vec<Input> {
    let mut world = crate::world::World::default();
    let seen = world.observe(&target("2001:db8::7"), START);
    world.tamper(target("203.0.113.7"), Some(Owner::Foreign("fail2ban".into())));
    let foreign = world.observe(&target("203.0.113.7"), START);
    let mut ours = seen.clone();
    ours.presence = Presence::Present {
        owner: Owner::Ours(TX),
        expires_in: Some(Span::from_secs(5)),
    };
    ours.stopped_packets = Some(9);
    let kinds = [
        FailureKind::Denied,
        FailureKind::Unavailable,
        FailureKind::Conflict,
        FailureKind::Full,
        FailureKind::Invalid,
        FailureKind::TimedOut,
        FailureKind::Interrupted,
    ];
    let mut inputs = vec![
        Input::Started {
            installation: InstallationId([7; 8]),
            build: "0.1.0".into(),
        },
        Input::Policy(Arc::new(build::policy(build::remote))),
        Input::Event {
            event: Arc::new(build::event(Some(START))),
            matches: vec![build::matched("enforce", "key", &["203.0.113.7", "-", "2001:db8::7"])],
        },
        Input::Event {
            event: Arc::new(build::event(None)),
            matches: Vec::new(),
        },
        Input::Notified {
            notice: NoticeId(3),
            result: Ok(()),
        },
        Input::Notified {
            notice: NoticeId(3),
            result: Err(failure()),
        },
        Input::Swept(SweepFindings {
            swept: vec![ActionKind::BlockIp],
            failed: vec![(ActionKind::BlockIp, failure())],
            vanished: vec![(TX, "nothing".into())],
            orphans: vec![(TX, ActionKind::BlockIp, target("203.0.113.7"))],
        }),
        Input::Tick,
        Input::Trouble("the journal is lost".into()),
        Input::Listed(list_change()),
        Input::Risk(Arc::default()),
        Input::Known(known()),
        Input::Found(found()),
        Input::Found(Found {
            target: target("account:alice"),
            facts: Err("it is of another machine".into()),
        }),
        Input::Found(Found {
            target: target("host:web-1"),
            facts: Err("it is another machine".into()),
        }),
        Input::Found(Found {
            target: target("domain:evil.example"),
            facts: Err("nobody asked".into()),
        }),
        Input::EventInContext {
            event: Arc::new(build::event(Some(START))),
            matches: vec![build::matched("enforce", "key", &["203.0.113.7"])],
            context: Arc::new(around()),
        },
        Input::ContextTable(Arc::new(ContextTable {
            rows: vec![context_row()],
        })),
    ];
    for result in [Ok(seen), Ok(foreign), Ok(ours), Err(failure())] {
        for facts in [
            staunch_model::Facts::default(),
            build::traffic(3),
            build::traffic_unknown("no conntrack"),
        ] {
            inputs.push(Input::Observed {
                transaction: TX,
                ticket: 300,
                result: result.clone(),
                facts,
            });
        }
    }
    let outcomes = kinds.iter().flat_map(|kind| {
        let failure = Failure::new(*kind, "why");
        [Outcome::DidNotHappen(failure.clone()), Outcome::InDoubt(failure)]
    });
    for outcome in outcomes.chain([Outcome::Landed]) {
        inputs.push(Input::Executed {
            transaction: TX,
            ticket: 1,
            outcome: outcome.clone(),
        });
        inputs.push(Input::Undone {
            transaction: TX,
            ticket: 2,
            outcome,
        });
    }
    for command in [
        Command::Release(ReleaseScope::Transaction(TX)),
        Command::Release(ReleaseScope::Incident(INC)),
        Command::Release(ReleaseScope::All),
        Command::Release(ReleaseScope::Former),
        Command::Renew {
            transaction: TX,
            lease: Span::from_mins(90),
            shorten: true,
        },
        Command::Approve(TX),
        Command::Deny(TX),
        Command::SetMode(Mode::Observe),
        Command::SetMode(Mode::Approve),
        Command::SetMode(Mode::Enforce),
        Command::Protect {
            network: "2001:db8::/32".parse().expect("a network"),
            lasts: Some(Span::from_hours(2)),
        },
        Command::Protect {
            network: "192.0.2.0/24".parse().expect("a network"),
            lasts: None,
        },
        Command::Unprotect {
            network: "192.0.2.0/24".parse().expect("a network"),
        },
        Command::ReleaseTrusting {
            scope: ReleaseScope::Incident(INC),
            trust: Span::from_hours(2),
        },
        Command::Reload { mistakes: 2 },
        Command::Recover(INC),
        Command::StopRecovery(INC),
        Command::Drill {
            fault: DrillFault::LoseReply,
            lasts: Span::from_mins(2),
        },
        Command::StopDrill,
        Command::EndDrill { drill: DrillId(70_000) },
    ] {
        let by = Operator {
            name: "ann".into(),
            from: "192.0.2.9".into(),
            reason: String::new().into(),
        };
        inputs.push(Input::Operator { by, command });
    }
    for result in [
        Ok(Sealed {
            hash: build::hash("flows"),
            bytes: 17,
            artefacts: 2,
        }),
        Err(Failure::new(FailureKind::Full, "the vault is full")),
    ] {
        inputs.push(Input::Collected {
            evidence: EvidenceId(4),
            result,
        });
    }
    for result in [Ok(HealthReading::new(true, "0.1 %")), Err(failure())] {
        inputs.push(Input::HealthRead {
            incident: INC,
            watch: WatchId(3),
            ticket: 2,
            result,
        });
    }
    inputs
}

fn found() -> Found {
    Found {
        target: target("pid:4242@153452.0000002a"),
        facts: Ok(TargetFacts {
            what: "/tmp/xmrig of user 33".into(),
            protected: Some("it is the way in".into()),
        }),
    }
}

fn known() -> Known {
    Known {
        target: target("203.0.113.7"),
        standing: Ok(Some(Reputation {
            score: Score::from_thousandths(950),
            confidence: 90,
            feed: "drop".into(),
            network: "203.0.113.0/24".parse().unwrap(),
            label: "SBL1".into(),
            as_of: START,
            expires: START + Span::from_hours(1),
        })),
    }
}

fn list_change() -> Arc<ListChange> {
    let added = ["203.0.113.0/24", "2001:db8::/32"].map(|network| ListedNetwork {
        network: network.parse().unwrap(),
        line: 7,
        reason: network.contains(':').then(|| "ours".into()),
    });
    Arc::new(ListChange {
        list: "/etc/staunch/partners.txt".into(),
        reason: "a partner".into(),
        added: added.to_vec(),
        removed: vec!["198.51.100.0/24".parse().unwrap()],
    })
}

/// One record of every variant, with every variant of a change, a reason and a cause.
fn records() -> Vec<Record> {
    let dispatch = Dispatch {
        ticket: 1,
        deadline: START,
    };
    let mut records = vec![
        Record::Started {
            installation: InstallationId([7; 8]),
        },
        Record::PolicyPinned(Arc::new(build::policy(|_| {}))),
        Record::IncidentOpened {
            incident: INC,
            playbook: ContentHash::of(b"x"),
            key: "key".into(),
            event_time: Some(START),
            absorbs_until: START,
        },
        Record::EventJoined { incident: INC },
        Record::TransactionPlanned {
            transaction: TX,
            incident: INC,
            step: 1,
            kind: ActionKind::BlockIp,
            target: target("203.0.113.7"),
            lease: Span::from_hours(1),
            key: EffectKey([3; 16]),
            deadline: START,
        },
        Record::StepWithoutTarget { incident: INC, step: 2 },
        Record::CameBack {
            transaction: TX,
            times: 2,
            ended: START,
        },
        Record::OrphanAdopted {
            transaction: TX,
            label: TransactionId(900),
            kind: ActionKind::BlockIp,
            target: target("2001:db8::7"),
            dispatch,
        },
        Record::SweepDone {
            kinds: vec![ActionKind::BlockIp],
        },
        Record::SweepFailed {
            kind: ActionKind::BlockIp,
            failure: failure(),
        },
        Record::IncidentClosed {
            incident: INC,
            absorbs_until: START,
        },
        Record::IncidentForgotten { incident: INC },
        Record::BreakerOpened { failures: 5 },
        Record::ModeSet { mode: Mode::Observe },
        Record::NoticeSent { notice: NoticeId(3) },
        Record::NoticeFailed {
            notice: NoticeId(3),
            retry_at: Some(START),
        },
        Record::NoticeFailed {
            notice: NoticeId(3),
            retry_at: None,
        },
        Record::NoticeResent { notice: NoticeId(3) },
        Record::CommandDone { affected: vec![TX] },
        Record::CommandRefused {
            why: "there is no TX-17".into(),
        },
    ];
    records.extend(IncidentOutcome::ALL.map(|outcome| Record::OutcomeReached { incident: INC, outcome }));
    for level in [NoticeLevel::Info, NoticeLevel::Warning, NoticeLevel::Page] {
        let notice = Notice {
            id: NoticeId(3),
            level,
            incident: Some(INC),
            transaction: None,
            text: "contained".into(),
        };
        records.push(Record::NoticeQueued(notice));
    }
    let evidence = EvidenceId(4);
    records.extend([
        Record::EvidencePlanned {
            evidence,
            incident: INC,
            kind: EvidenceKind::Flows,
            target: Some(target("203.0.113.7")),
            options: Box::new(EvidenceOptions {
                paths: vec!["/var/log/auth.log*".into()],
                units: vec!["ssh.service".into()],
                window: Some(Span::from_mins(10)),
                bytes_max: Some(1 << 20),
            }),
            deadline: START,
        },
        Record::EvidencePostponed {
            evidence,
            failure: failure(),
            until: START,
        },
        Record::EvidenceResent { evidence },
        Record::EvidenceSealed {
            evidence,
            sealed: Sealed {
                hash: build::hash("flows"),
                bytes: 17,
                artefacts: 2,
            },
        },
        Record::EvidenceMissed {
            evidence,
            failure: failure(),
        },
        Record::ListChanged(list_change()),
        Record::RiskTablePinned(Arc::default()),
        Record::Known(Box::new(known())),
        Record::Found(found()),
        Record::AroundKnown {
            incident: INC,
            targets: vec![(target("203.0.113.7"), Some(asset())), (target("203.0.113.8"), None)],
            account: around().account.map(Box::new),
        },
        Record::ContextTablePinned(Arc::new(ContextTable {
            rows: vec![context_row()],
        })),
        Record::AssetsKnown {
            incident: INC,
            assets: vec![asset()],
        },
    ]);
    let mut changes = samples::changes();
    for reason in [
        RefusalReason::Guard {
            guard: staunch_model::GuardName::NeverTouch,
            why: "why".into(),
        },
        RefusalReason::NoTarget,
        RefusalReason::CheckFailed(failure()),
        RefusalReason::Denied { by: "ann".into() },
        RefusalReason::ApprovalExpired,
        RefusalReason::Cancelled { by: "ann".into() },
        RefusalReason::QueueTimeout,
        RefusalReason::Abandoned,
    ] {
        changes.push(Change::Refused {
            reason: reason.into(),
            judgement: None,
        });
    }
    for cause in [
        Cause::LeaseEnded,
        Cause::Operator { by: "ann".into() },
        Cause::ExecuteFailed(failure()),
        Cause::PostCheckFailed {
            found: "nothing".into(),
        },
        Cause::Sibling(TX),
        Cause::Orphan,
        Cause::Vanished {
            found: "nothing".into(),
        },
    ] {
        changes.push(Change::RollbackStarted {
            cause: cause.into(),
            dispatch,
        });
    }
    records.extend(changes.into_iter().map(|change| Record::Transaction {
        transaction: TX,
        change,
    }));
    records.extend(of_health_and_recovery());
    records
}

fn of_health_and_recovery() -> Vec<Record> {
    let (incident, watch) = (INC, WatchId(3));
    let plan = WatchPlan {
        signal: "shop".into(),
        lasts: Span::from_mins(1),
        every: Span::from_secs(5),
    };
    let mut records = vec![Record::Transaction {
        transaction: TX,
        change: Change::ReleaseStarted {
            cause: Box::new(Cause::Hurts {
                signal: "shop".into(),
                says: "31 %".into(),
            }),
            dispatch: Dispatch {
                ticket: 1,
                deadline: START,
            },
        },
    }];
    records.extend(
        [WatchOver::Containment(TX), WatchOver::Recovery(1)].map(|over| Record::WatchPlanned {
            watch,
            incident,
            over,
            plan: plan.clone(),
            answer_by: START,
        }),
    );
    records.extend([
        Record::WatchRead {
            incident,
            watch,
            result: Ok(HealthReading::new(false, "31 %")),
            next: Some(START),
        },
        Record::WatchRead {
            incident,
            watch,
            result: Err(failure()),
            next: None,
        },
        Record::WatchAsked {
            incident,
            watch,
            answer_by: START,
        },
        Record::WatchStarted {
            incident,
            watch,
            until: START,
            next: START,
        },
    ]);
    let verdicts = [
        WatchVerdict::Healthy,
        WatchVerdict::Hurt,
        WatchVerdict::NoBaseline,
        WatchVerdict::Blind,
        WatchVerdict::Moot,
    ];
    records.extend(verdicts.map(|verdict| Record::WatchEnded {
        incident,
        watch,
        verdict,
    }));
    records.extend([
        Record::RecoveryPlanned {
            incident,
            targets: vec![(1, Some(target("203.0.113.7"))), (2, None)],
        },
        Record::RecoveryStarted {
            incident,
            by: "ann".into(),
        },
    ]);
    let waits = [
        None,
        Some(RecoveryWait::Act(TX)),
        Some(RecoveryWait::Release(TX)),
        Some(RecoveryWait::Soak(watch)),
    ];
    records.extend(waits.map(|waits| Record::RecoveryAt { incident, at: 1, waits }));
    records.push(Record::ContainedAgain {
        incident,
        transaction: TX,
    });
    let ends = [
        RecoveryEnd::Recovered,
        RecoveryEnd::Failed { why: "why".into() },
        RecoveryEnd::Back { why: "why".into() },
        RecoveryEnd::Stopped { by: "ann".into() },
    ];
    records.extend(ends.map(|end| Record::RecoveryEnded { incident, end }));
    records
}

#[test]
fn every_frame_comes_back_as_it_was() {
    let records = records();
    for input in inputs() {
        let frame = Frame {
            input,
            records: records.clone(),
        };
        let bytes = postcard::to_stdvec(&frame).unwrap();
        assert_eq!(postcard::from_bytes::<Frame>(&bytes).unwrap(), frame);
        let json = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<Frame>(&json).unwrap(), frame);
    }
    for record in records {
        let bytes = postcard::to_stdvec(&record).unwrap();
        assert_eq!(postcard::from_bytes::<Record>(&bytes).unwrap(), record);
    }
}

#[test]
fn a_frame_that_is_cut_or_garbled_is_an_error_and_never_a_panic() {
    let frame = Frame {
        input: inputs().remove(2),
        records: records(),
    };
    let bytes = postcard::to_stdvec(&frame).unwrap();
    for end in 0..bytes.len() {
        assert!(postcard::from_bytes::<Frame>(&bytes[..end]).is_err());
    }
    let mut chance = crate::chance::Chance::new(1);
    for _ in 0..2_000 {
        let mut garbled = bytes.clone();
        let at = chance.below(garbled.len() as u64) as usize;
        garbled[at] = chance.next() as u8;
        drop(postcard::from_bytes::<Frame>(&garbled));
    }
}

#[test]
fn frames_of_a_whole_story_are_readable() {
    let mut sim = crate::sim::Sim::usual();
    sim.event("enforce", "203.0.113.7");
    sim.run(Span::from_secs(1));
    let lines: Vec<_> = sim.frames[2..]
        .iter()
        .map(|(_, frame)| serde_json::to_string(frame).unwrap())
        .collect();
    let text = lines.join("\n");
    for part in [
        "\"TX-1\"",
        "\"INC-1\"",
        "\"NOTE-1\"",
        "\"1h\"",
        "\"203.0.113.7\"",
        "\"2023-11-14T22:13:20.",
        "\"block-ip\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    insta::assert_snapshot!("happy-path-frames", text);
}

/// What is in journals must be readable by every later build. A new variant goes to the end of its enum.
#[test]
fn the_bytes_of_a_frame_do_not_change() {
    let frame = Frame {
        input: inputs().remove(2),
        records: records(),
    };
    let bytes = postcard::to_stdvec(&frame).unwrap();
    let lines: Vec<_> = bytes
        .chunks(32)
        .map(|chunk| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .collect();
    insta::assert_snapshot!("frame-bytes", lines.join("\n"));
    let numbers: Vec<_> = inputs()
        .iter()
        .map(|input| postcard::to_stdvec(input).unwrap()[0])
        .collect();
    assert_eq!(
        numbers[..8],
        [0, 1, 2, 2, 6, 6, 7, 9],
        "the number of each input variant"
    );
}

#[test]
fn a_time_is_the_same_in_both_formats() {
    let time = Timestamp::from_micros(1_700_000_000_123_456);
    assert_eq!(
        postcard::from_bytes::<Timestamp>(&postcard::to_stdvec(&time).unwrap()).unwrap(),
        time
    );
    let json = serde_json::to_string(&time).unwrap();
    let back: Timestamp = serde_json::from_str(&json).unwrap();
    assert_eq!(back, time, "{json}");
}
