//! Journals that are made here, whose world is known, through new playbooks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_engine::Engine;
use staunch_engine::triage::Triage;
use staunch_model::{
    Command, Effect, Event, Fact, Facts, Failure, FailureKind, Frame, Input, InstallationId, Mode, Observation,
    ObservePurpose, Operator, Outcome, Owner, Policy, Presence, Span, SweepFindings, Timestamp, TrafficShare,
    TransactionId,
};
use staunch_playbook::CheckContext;
use staunch_ports::{Action as _, Journal as _, NewFrame, Purpose, Sighting};
use staunch_store::{JournalOptions, SegmentJournal};

use super::{Bench, addresses, alert, at, playbook};

/// As [`record_with`], without commands.
fn record(dir: &Path, text: &str, events: &[(Timestamp, String)], world: &dyn Fn(&Effect) -> Option<Input>) {
    record_with(dir, text, events, &[], world);
}

/// Records how an engine with `text` as its playbook fares in a world that answers as `world` says.
pub(crate) fn record_with(
    dir: &Path,
    text: &str,
    events: &[(Timestamp, String)],
    commands: &[(Timestamp, Input)],
    world: &dyn Fn(&Effect) -> Option<Input>,
) {
    let options = JournalOptions {
        segment_bytes: 8 << 20,
        reserve_bytes: 131_072,
        payload_bytes_max: 1 << 20,
        ..JournalOptions::default()
    };
    let mut journal = SegmentJournal::open(dir, options).expect("an empty directory");
    let epoch = journal.open_epoch().expect("nobody else writes");
    let compiled = staunch_playbook::compile("a.yaml", text, &CheckContext::default()).expect("it is right");
    let triage = Triage::new(vec![compiled.program.clone()]);
    let source = staunch_connectors::sources::ports(&Default::default())
        .expect("the usual ones")
        .remove(0);
    let memory = staunch_connectors::actions::block_ip::MemoryBlockIp::new(
        staunch_connectors::actions::block_ip::MemoryWorld::new(),
        InstallationId::default(),
    );
    let policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: vec![compiled.program.playbook],
        drivers: vec![memory.describe()],
    };
    let mut engine = Engine::new();
    let start = events[0].0;
    let started = Input::Started {
        installation: InstallationId::default(),
        build: "a test".into(),
    };
    let mut inputs = vec![(start, Input::Policy(policy.into())), (start, started)];
    for (time, event) in events {
        let read = source.read(event.as_bytes(), &mut |_, sighting| {
            if let Sighting::Event(view) = sighting {
                let event = Arc::new(Event::keep(view, *time));
                let matches = triage.matches(view);
                inputs.push((*time, Input::Event { event, matches }));
            }
        });
        read.expect("it is one event");
    }
    inputs.extend(commands.iter().cloned());
    inputs.sort_by_key(|(time, _)| *time);
    // Deadlines come before what happens after them, and answers at once.
    for (now, input) in inputs {
        let mut waiting = std::collections::VecDeque::new();
        while let Some(due) = engine.state().next_deadline().filter(|due| *due < now) {
            waiting.push_back(Input::Tick);
            while let Some(input) = waiting.pop_front() {
                waiting.extend(turn(&mut engine, &mut journal, epoch, due, input, world));
            }
        }
        waiting.push_back(input);
        while let Some(input) = waiting.pop_front() {
            waiting.extend(turn(&mut engine, &mut journal, epoch, now, input, world));
        }
    }
}

fn turn(
    engine: &mut Engine,
    journal: &mut SegmentJournal,
    epoch: staunch_ports::Epoch,
    now: Timestamp,
    input: Input,
    world: &dyn Fn(&Effect) -> Option<Input>,
) -> Vec<Input> {
    let step = engine.step(&input, now);
    let frame = Frame {
        input,
        records: step.records,
    };
    let payload = postcard::to_stdvec(&frame).expect("it can be encoded");
    let new = NewFrame {
        now_us: step.now.as_micros(),
        payload: &payload,
    };
    let tail = journal.tail().lsn;
    journal
        .append(epoch, tail, Purpose::Settle, &[new])
        .expect("there is room");
    step.effects.iter().filter_map(world).collect()
}

/// A world in which acts turn out as `outcome`, and the share of traffic of everybody is `flows` of 100.
pub(crate) fn world(effect: &Effect, flows: u64, outcome: &Outcome) -> Option<Input> {
    Some(match effect {
        Effect::Observe {
            transaction,
            ticket,
            purpose,
            ..
        } => {
            let ours = Presence::Present {
                owner: Owner::Ours(*transaction),
                expires_in: None,
            };
            let is_there = *purpose == ObservePurpose::PostCheck && *outcome == Outcome::Landed;
            let share = TrafficShare {
                flows,
                flows_total: 100,
                bytes: None,
                bytes_total: None,
            };
            let fact = Fact {
                value: Ok(share),
                source: "a test".into(),
                age: Span::ZERO,
            };
            Input::Observed {
                transaction: *transaction,
                ticket: *ticket,
                result: Ok(Observation {
                    presence: if is_there { ours } else { Presence::Absent },
                    enforcing: true,
                    version: 1,
                    capacity: None,
                    stopped_packets: None,
                }),
                facts: Facts {
                    traffic: (*purpose == ObservePurpose::PreCheck).then_some(fact),
                },
            }
        }
        Effect::Execute {
            transaction, ticket, ..
        } => Input::Executed {
            transaction: *transaction,
            ticket: *ticket,
            outcome: outcome.clone(),
        },
        Effect::Undo {
            transaction, ticket, ..
        } => Input::Undone {
            transaction: *transaction,
            ticket: *ticket,
            outcome: Outcome::Landed,
        },
        Effect::Notify(notice) => Input::Notified {
            notice: notice.id,
            result: Ok(()),
        },
        Effect::Collect { .. } | Effect::ReadHealth { .. } => return None,
    })
}

#[test]
fn a_journal_answers_with_what_was_known_then() {
    let bench = Bench::new();
    let limited = |percent: &str| {
        let more = format!("context: [traffic-share]\nguards: {{ impact: {{ traffic_share_max: {percent} }} }}\n");
        playbook("share", "event.signature.contains(\"Brute\")", &more)
    };
    let journal = bench.home.path("recorded");
    let events = [(at(0), alert("203.0.113.1", at(0), "Brute"))];
    record(&journal, &limited("5%"), &events, &|effect| {
        world(effect, 40, &Outcome::Landed)
    });
    let shown = journal.display().to_string();
    bench.write("same/a.yaml", limited("5%"));
    bench.write("wider/a.yaml", limited("50%"));
    let (same, wider) = (bench.home.path("same"), bench.home.path("wider"));
    let report =
        |playbooks: &PathBuf| bench.report(&["--journal", &shown, "--playbooks", &playbooks.display().to_string()]);
    let unchanged = report(&same);
    assert_eq!(unchanged["comparison"]["same"], 1, "{unchanged}");
    assert_eq!(unchanged["old"]["addresses"]["refused"], 1, "{unchanged}");
    assert_eq!(unchanged["new"]["guards"][0]["measured_max"], 4_000, "{unchanged}");
    let changed = report(&wider);
    assert_eq!(
        addresses(&changed["comparison"]["newly_contained"]),
        ["203.0.113.1"],
        "{changed}"
    );
    assert_eq!(changed["new"]["impact"]["share_max_bp"], 4_000, "{changed}");
    assert_eq!(changed["new"]["impact"]["known"], 1, "{changed}");
    let text = bench.run(&["--journal", &shown, "--playbooks", &wider.display().to_string()]);
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("the largest was 40 % of the traffic (203.0.113.1)"),
        "{text}"
    );
    assert!(
        text.contains("203.0.113.1 refused by share (impact: this would stop 40 %"),
        "{text}"
    );
}

#[test]
fn acts_that_failed_fail_again_and_open_the_breaker() {
    let bench = Bench::new();
    let text = playbook("block", "event.signature.contains(\"Brute\")", "");
    let journal = bench.home.path("recorded");
    let denied = Outcome::DidNotHappen(Failure::new(FailureKind::Denied, "no permission"));
    let events: Vec<(Timestamp, String)> = (1..=7)
        .map(|n| (at(n), alert(&format!("203.0.{n}.1"), at(n), "Brute")))
        .collect();
    record(&journal, &text, &events, &|effect| world(effect, 0, &denied));
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let report = bench.report(&["--journal", &journal.display().to_string(), "--playbooks", &new]);
    let side = &report["new"];
    assert_eq!(side["breaker_opened"], 1, "{side}");
    assert_eq!(
        side["addresses"],
        serde_json::json!({ "failed": 5, "observed": 2 }),
        "{side}"
    );
    assert_eq!(report["old"]["addresses"], side["addresses"], "{report}");
    let output = bench.run(&[
        "--journal",
        &journal.display().to_string(),
        "--playbooks",
        &new,
        "--fail-on",
        "breaker",
    ]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");
}

#[test]
fn what_a_person_said_then_is_said_again() {
    let bench = Bench::new();
    let asks = "context: [traffic-share]\nguards: { impact: { traffic_share_max: 5% } }\n";
    let text = playbook("asks", "event.signature.contains(\"Brute\")", asks);
    let journal = bench.home.path("recorded");
    let events: Vec<(Timestamp, String)> = (1..=3)
        .map(|n| (at(n), alert(&format!("203.0.{n}.1"), at(n), "Brute")))
        .collect();
    let person = |name: &str| Operator {
        name: name.into(),
        from: "".into(),
        reason: "".into(),
    };
    let said = [
        (
            at(4),
            Input::Operator {
                by: person("ann"),
                command: Command::Deny(TransactionId(1)),
            },
        ),
        (
            at(5),
            Input::Operator {
                by: person("ann"),
                command: Command::Approve(TransactionId(2)),
            },
        ),
    ];
    // The share is unknown, so that a person is asked about each of them.
    let unknown = |effect: &Effect| {
        let mut answer = world(effect, 0, &Outcome::Landed)?;
        if let Input::Observed {
            facts: Facts { traffic: Some(fact) },
            ..
        } = &mut answer
        {
            fact.value = Err("nobody counts".into());
        }
        Some(answer)
    };
    record_with(&journal, &text, &events, &said, &unknown);
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let side = |approvals: &str| {
        let arguments = [
            "--journal",
            &journal.display().to_string(),
            "--playbooks",
            &new,
            "--approvals",
            approvals,
        ];
        bench.report(&arguments)["new"].clone()
    };
    let lapse = side("lapse");
    assert_eq!(
        lapse["addresses"],
        serde_json::json!({ "asked": 2, "contained": 1 }),
        "{lapse}"
    );
    assert_eq!(lapse["other_refusals"]["a person said no"], 1, "{lapse}");
    let asked = lapse["plans"].as_array().expect("a list").iter();
    let asked: Vec<_> = asked.filter(|it| it["ruling"] == "ask a person").collect();
    assert_eq!(
        (asked.len(), &asked[0]["count"], &asked[0]["approved"]),
        (1, &3.into(), &1.into()),
        "{lapse}"
    );
    let grant = side("grant");
    assert_eq!(
        grant["addresses"],
        serde_json::json!({ "asked": 1, "contained": 2 }),
        "{grant}"
    );
}

#[test]
fn what_somebody_else_removed_then_is_removed_again() {
    let bench = Bench::new();
    let text = playbook("block", "event.signature.contains(\"Brute\")", "");
    let journal = bench.home.path("recorded");
    let events = [1, 9].map(|n| (at(n), alert("203.0.113.1", at(n), "Brute")));
    let swept = Input::Swept(SweepFindings {
        vanished: vec![(TransactionId(1), "nothing of ours is in place".into())],
        ..SweepFindings::default()
    });
    record_with(&journal, &text, &events, &[(at(4), swept)], &|effect| {
        world(effect, 0, &Outcome::Landed)
    });
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let report = bench.report(&["--journal", &journal.display().to_string(), "--playbooks", &new]);
    // Otherwise the second event would have joined the first.
    let side = &report["new"];
    assert_eq!(
        (&side["containments"], &side["joins"]),
        (&2.into(), &0.into()),
        "{side}"
    );
}
