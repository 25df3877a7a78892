//! Writes the seeds that are not text: segments, journals, frames and netlink messages.
//!
//! `cargo run -p staunch-fuzzing --example seeds -- fuzz/corpus`

use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use staunch_connectors::actions::block_ip::{MemoryBlockIp, MemoryWorld};
use staunch_engine::Engine;
use staunch_engine::state::SNAPSHOT_FORM;
use staunch_fuzzing::format::{self, SegmentHead};
use staunch_fuzzing::tlog::key;
use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    Command, Effect, Endpoint, Event, Facts, Failure, FailureKind, Frame, FrameChain, Handled, Handling,
    HandlingAction, IncidentId, Input, InstallationId, LogEntry, Logged, Match, MatchedStep, Mode, Operator, Policy,
    Receipt, Record, ReleaseScope, Severity, Sha256Hash, Span, Storage, SweepFindings, SystemName, Taken, Target,
    Timestamp, WriteOnce,
};
use staunch_netlink::message::Builder;
use staunch_playbook::{BUILT_IN, CheckContext, compile_all};
use staunch_ports::{Action as _, Epoch, ExecuteRequest, Lsn, SealedManifest, StoredFrame, UndoRequest, Vault as _};
use staunch_store::tlog::merkle::leaf_hash;
use staunch_store::tlog::stamp::StampRequest;
use staunch_store::vault::HandlingLog;
use staunch_store::vault::logged::{Logbook, entry_of_manifest};
use staunch_store::{DirVault, DirVaultOptions, ExportParts, TransparencyLog, export_incident};
use staunch_testkit::MemoryVault;
use staunch_testkit::contract::vault as contract;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn main() -> std::io::Result<()> {
    let to = std::env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".to_owned());
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new(&to).join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for (length, seed) in [
        (0, 1),
        (8, 2),
        (60, 3),
        (200, 4),
        (400, 5),
        (800, 6),
        (800, 7),
        (1_500, 8),
    ] {
        let bytes = random(seed, length);
        write("journal", &format!("random-{length}-{seed}"), &bytes)?;
        write("frames", &format!("made-{length}-{seed}"), &[&[1], &*bytes].concat())?;
        write("frames", &format!("state-{length}-{seed}"), &[&[2], &*bytes].concat())?;
    }
    for count in [0, 1, 3, 9] {
        write("segment", &format!("frames-{count}"), &segment(count))?;
    }
    let (frames, state) = history();
    write("frames", "snapshot", &[&[2], &*state].concat())?;
    for count in [1, 2, 4, 8, frames.len()] {
        write(
            "frames",
            &format!("history-{count}"),
            &payloads(&frames[..count.min(frames.len())]),
        )?;
    }
    for (name, bytes) in messages() {
        write("netlink", name, &bytes)?;
    }
    for (target, name, bytes) in evidence() {
        write(target, &name, &bytes)?;
    }
    Ok(())
}

/// Custody records of a vault, and what a log over them is made of.
fn evidence() -> Vec<(&'static str, String, Vec<u8>)> {
    let vault = MemoryVault::new(1 << 20);
    let stored = contract::store(&vault, 3, 17, b"evidence");
    let missed = Failure::new(FailureKind::TimedOut, "the deadline has passed");
    let missed = vault
        .put_missed(contract::draft(3, 17, "maps"), missed)
        .expect("it is memory");
    let record = contract::record(&stored);
    let frames = LogEntry::new(Logged::Frames {
        first: 1,
        last: 9,
        chain: FrameChain([0xab; 16]),
    });
    let collection = LogEntry::new(Logged::Collection {
        incident: record.incident,
        evidence: record.evidence,
        record: record.hash(),
    });
    let mut signed = handled(&stored);
    signed.signature = Some(key().signature(&signed.signed_text("handling/INC-3.jsonl")).into());
    let handling = LogEntry::new(Logged::Handling {
        incident: None,
        bytes: signed.to_bytes().len() as u64,
        sha256: Sha256Hash::of(&signed.to_bytes()),
    });
    let manifests = [entry_of_manifest(&stored), entry_of_manifest(&missed)];
    let entries = [&frames, &collection, &manifests[0], &manifests[1]].map(LogEntry::to_bytes);
    let mut seeds = vec![
        ("custody", 0, "stored", stored.manifest.to_bytes()),
        ("custody", 0, "missed", missed.manifest.to_bytes()),
        ("custody", 1, "record", record.to_bytes()),
        ("custody", 2, "frames", entries[0].clone()),
        ("custody", 2, "collection", entries[1].clone()),
        ("custody", 2, "manifest", entries[2].clone()),
        ("custody", 2, "handling", handling.to_bytes()),
        ("custody", 3, "receipt", receipt(&stored).to_bytes()),
        ("custody", 4, "handled", handled(&stored).to_bytes()),
        ("custody", 4, "signed", signed.to_bytes()),
    ];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut log = TransparencyLog::open(dir.path(), key(), None).expect("a log");
    let earlier = log.append(&entries[..3]).expect("a log").clone();
    let now = log.append(&entries[3..]).expect("a log").clone();
    let read = |name: &str| fs::read(dir.path().join(name)).expect("a file of the log");
    let bytes = |hashes: &[Sha256Hash]| hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    let inclusion = log.reader().prove_inclusion(1).expect("a log").expect("a proof");
    let consistency = log.reader().prove_consistency(3).expect("a log").expect("a proof");
    let numbers = |index: u64| [index.to_be_bytes(), now.size.to_be_bytes()].concat();
    let leaf = leaf_hash(&entries[1]);
    let inclusion = [numbers(1), bytes(&[leaf, now.root]), bytes(&inclusion)].concat();
    let consistency = [numbers(3), bytes(&[earlier.root, now.root]), bytes(&consistency)].concat();
    seeds.extend([
        ("tlog", 0, "note", read("checkpoint")),
        ("tlog", 1, "checkpoint", now.to_text().into_bytes()),
        ("tlog", 2, "name", b"tile/1/x001/234.p/5".to_vec()),
        ("tlog", 3, "bundle", [&[3], &*read("tile/entries/000.p/4")].concat()),
        ("tlog", 4, "hashes", read("tile/0/000.p/4")),
        ("tlog", 5, "key", log.verifier().to_string().into_bytes()),
        ("tlog", 6, "inclusion", inclusion),
        ("tlog", 6, "consistency", consistency),
        (
            "tlog",
            7,
            "own-stamp-request",
            StampRequest::new(b"checkpoint", [7; 8]).to_bytes(),
        ),
    ]);
    seeds.extend(archive());
    let named =
        |(target, kind, name, bytes): (_, u8, &str, Vec<u8>)| (target, name.to_owned(), [&[kind], &*bytes].concat());
    seeds.into_iter().map(named).collect()
}

/// What says that an artefact is in a bucket.
fn receipt(stored: &SealedManifest) -> Receipt {
    let Taken::Stored { sha256, storage, .. } = &stored.manifest.taken else {
        panic!("it was stored");
    };
    Receipt {
        schema_version: CUSTODY_SCHEMA_VERSION,
        artefact: *sha256,
        storage: Storage {
            path: "s3://evidence/web-1/objects/ab/ab12.zst".into(),
            write_once: WriteOnce::LockGovernance,
            retain_until: Some(Timestamp::from_micros(1_800_000_000_000_000)),
            legal_hold: true,
            version: Some("v1".into()),
            ..storage.clone()
        },
        at: Timestamp::from_micros(1_764_000_000_000_000),
    }
}

/// A line of a handling log.
fn handled(stored: &SealedManifest) -> Handled {
    Handled {
        schema_version: CUSTODY_SCHEMA_VERSION,
        previous: Some(stored.hash),
        evidence: Some(stored.manifest.custody.evidence),
        artefact: None,
        handling: Handling {
            at: Timestamp::from_micros(1_764_000_000_000_000),
            actor: "alice@web-1".into(),
            action: HandlingAction::Open,
            reason: "triage".into(),
            from: None,
            to: None,
        },
        outcome: Some("proved".into()),
        signature: None,
    }
}

/// An archive of evidence, and what it is made of.
fn archive() -> Vec<(&'static str, u8, &'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&dir.path().join("vault"), options).expect("a vault");
    let stored = contract::store(&vault, 3, 17, b"evidence");
    vault.put_record(&contract::record(&stored)).expect("a vault");
    let log = TransparencyLog::open(&dir.path().join("log"), key(), None).expect("a log");
    Logbook::new(log)
        .expect("a log")
        .take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("a log");
    let parts = ExportParts {
        vault: &dir.path().join("vault"),
        log: &dir.path().join("log"),
        handling: &HandlingLog::in_folder(dir.path()),
        key: &key(),
        incident: IncidentId(3),
        further: vec![("timeline.json".into(), b"{}\n".to_vec())],
        bucket: None,
    };
    let mut packed = Vec::new();
    export_incident(&parts, &mut |_, _| (), &mut packed).expect("there is evidence");
    let plain = zstd::decode_all(&*packed).expect("it is packed");
    // The first file, and the first that begins like a proof.
    let from = |start: &[u8]| {
        plain
            .windows(start.len())
            .position(|it| it == start)
            .expect("it is in it")
    };
    let text = |at: usize| {
        let end = plain[at..].iter().position(|it| *it == 0).expect("it is padded");
        plain[at..at + end].to_vec()
    };
    let note = text(from(b"staunch evidence archive"));
    let end = note.windows(2).position(|it| it == b"\n\n").expect("it is signed");
    let inventory = note[..=end].to_vec();
    let proof = text(from(b"c2sp.org/tlog-proof@v1\nextra "));
    vec![
        ("archive", 0, "packed", packed),
        ("archive", 1, "plain", plain),
        ("archive", 2, "inventory", inventory),
        ("archive", 3, "proof", proof),
    ]
}

/// Bytes of a linear congruential generator (Knuth's MMIX constants), the same each time.
fn random(mut state: u64, count: usize) -> Vec<u8> {
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

fn segment(count: u64) -> Vec<u8> {
    let head = SegmentHead::first();
    let mut file = head.encode();
    let mut prev = [0; 16];
    for position in 1..=count {
        let mut frame = StoredFrame {
            lsn: Lsn(position),
            epoch: Epoch(1 + u32::from(position > 3)),
            now_us: START.as_micros() + position,
            prev,
            hash: [0; 16],
            payload: format!("payload {position}").into_bytes(),
        };
        frame.hash = format::chain(&frame);
        prev = frame.hash;
        format::add_frame(&mut file, &head, 0, &frame);
    }
    // The target puts the rest of the header block back.
    file.splice(60..4096, []);
    file
}

fn payloads(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0];
    for frame in frames {
        let length = u16::try_from(frame.len()).expect("frames of this history are short");
        bytes.extend(length.to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

/// The frames of a block from its event to its release, a refusal and a sweep, and the state in the middle of it.
fn history() -> (Vec<Vec<u8>>, Vec<u8>) {
    let installation = InstallationId([7; 8]);
    let world = MemoryWorld::new();
    let mut driver = MemoryBlockIp::new(world, installation);
    let programs = compile_all(BUILT_IN.iter().copied(), &CheckContext::default()).expect("they are checked");
    // Few, so that the seeds are small.
    let playbooks: Vec<_> = programs.into_iter().take(2).map(|it| it.program.playbook).collect();
    let policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: playbooks.clone(),
        drivers: vec![driver.describe()],
    };
    let event = |ip: &str| {
        let ip: IpAddr = ip.parse().expect("an address");
        Input::Event {
            event: Arc::new(Event {
                system: SystemName::from("suricata"),
                id: None,
                time: Some(START),
                received: START,
                severity: Severity::High,
                signature: "ET SCAN SSH Brute Force login".into(),
                category: "Attempted Login".into(),
                source: Endpoint {
                    ip: Some(ip),
                    port: Some(40_000),
                },
                destination: Endpoint::default(),
                user: None,
                host: None,
                raw: Arc::from(&b"{}"[..]),
            }),
            matches: vec![Match {
                playbook: playbooks[0].hash,
                key: ip.to_string().into(),
                preserve: Vec::new(),
                steps: vec![MatchedStep {
                    step: 0,
                    target: Some(Target::Address(ip)),
                }],
            }],
        }
    };
    let release = Input::Operator {
        by: Operator {
            name: "ada".into(),
            from: "127.0.0.1".into(),
            reason: "over".into(),
        },
        command: Command::Release(ReleaseScope::All),
    };
    let started = Input::Started {
        installation,
        build: "seeds".into(),
    };
    let swept = Input::Swept(SweepFindings {
        swept: vec![staunch_model::ActionKind::BlockIp],
        ..SweepFindings::default()
    });
    let mut engine = Engine::new();
    let (mut frames, mut state, mut now) = (Vec::new(), Vec::new(), START);
    let mut inputs = VecDeque::from([
        started,
        Input::Policy(Arc::new(policy)),
        event("203.0.113.7"),
        event("::1"),
        swept,
        release,
        Input::Tick,
    ]);
    while let Some(input) = inputs.pop_front() {
        now = now + Span::from_millis(1);
        if matches!(input, Input::Operator { .. }) {
            // The target puts the form before it.
            state = engine.state().encode().split_off(SNAPSHOT_FORM.len());
        }
        let step = engine.step(&input, now);
        for effect in step.effects {
            inputs.extend(answer(&mut driver, &effect));
            inputs.rotate_right(1);
        }
        let records: Vec<Record> = step.records;
        frames.push(postcard::to_stdvec(&Frame { input, records }).expect("every frame can be stored"));
    }
    (frames, state)
}

fn answer(driver: &mut MemoryBlockIp, effect: &Effect) -> Option<Input> {
    Some(match effect.clone() {
        Effect::Observe {
            transaction,
            ticket,
            target,
            ..
        } => Input::Observed {
            transaction,
            ticket,
            result: driver.observe(&[target]).remove(0),
            facts: Facts::default(),
        },
        Effect::Execute {
            transaction,
            ticket,
            target,
            key,
            version,
            hold,
            renewal,
            ..
        } => Input::Executed {
            transaction,
            ticket,
            outcome: driver
                .execute(&[ExecuteRequest {
                    transaction,
                    target,
                    key,
                    version,
                    hold,
                    renewal,
                }])
                .remove(0),
        },
        Effect::Undo {
            label,
            transaction,
            ticket,
            target,
            key,
            ..
        } => Input::Undone {
            transaction,
            ticket,
            outcome: driver
                .undo(&[UndoRequest {
                    transaction: label,
                    target,
                    key,
                    lease_ended: false,
                }])
                .remove(0),
        },
        Effect::Collect { .. } | Effect::ReadHealth { .. } => return None,
        Effect::Notify(notice) => Input::Notified {
            notice: notice.id,
            result: Ok(()),
        },
    })
}

/// Messages as the kernel sends them, by kind.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    const INET: [u8; 4] = [1, 0, 0, 0];
    let message = |kind: u16, fixed: &[u8], body: &dyn Fn(&mut Builder)| {
        let mut builder = Builder::default();
        builder.message(kind, 2, 7, fixed, |it| body(it));
        builder.finish().expect("short")
    };
    let element = |list: &mut Builder, address: &[u8]| {
        list.nest(1, |it| {
            it.nest(1, |key| key.bytes(1, address));
            it.u64_be(4, 3_600_000);
            it.u64_be(5, 3_599_000);
            it.bytes(6, b"\x00\x05st-1\x00");
            it.nest(7, |counter| {
                counter.text(1, "counter");
                counter.nest(2, |data| {
                    data.u64_be(1, 1_500);
                    data.u64_be(2, 3);
                });
            });
        });
    };
    let tuple = |it: &mut Builder, kind: u16, v6: bool| {
        it.nest(kind, |tuple| {
            tuple.nest(1, |ip| {
                if v6 {
                    ip.bytes(3, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                    ip.bytes(4, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
                } else {
                    ip.bytes(1, &[203, 0, 113, 7]);
                    ip.bytes(2, &[10, 0, 0, 5]);
                }
            });
            tuple.nest(2, |protocol| {
                protocol.bytes(1, &[6]);
                protocol.bytes(2, &[0x9c, 0x40]);
                protocol.bytes(3, &[0, 22]);
            });
        });
    };
    let flow = |it: &mut Builder, v6: bool| {
        tuple(it, 1, v6);
        tuple(it, 2, v6);
        it.u32_be(3, 14);
        it.nest(4, |info| info.nest(1, |tcp| tcp.bytes(1, &[3])));
        it.u32_be(7, 431_999);
        for direction in [9, 10] {
            it.nest(direction, |counters| {
                counters.u64_be(1, 20);
                counters.u64_be(2, 4_000);
            });
        }
    };
    let object = |it: &mut Builder| {
        it.text(1, "staunch");
        it.text(2, "block4");
    };
    let expression = |list: &mut Builder, name: &str, values: &[(u16, u32)]| {
        list.nest(1, |it| {
            it.text(1, name);
            it.nest(2, |data| {
                values.iter().for_each(|(kind, value)| data.u32_be(*kind, *value));
            });
        });
    };
    vec![
        ("generation", message(0xa0f, &INET, &|it| it.u32_be(1, 42))),
        (
            "set",
            message(0xa09, &INET, &|it| {
                object(it);
                it.u32_be(3, 0x10);
                it.u32_be(5, 4);
            }),
        ),
        (
            "chain",
            message(0xa03, &INET, &|it| {
                it.text(1, "staunch");
                it.text(3, "pre");
                it.nest(4, |hook| {
                    hook.u32_be(1, 0);
                    hook.u32_be(2, 310_u32.wrapping_neg());
                });
                it.u32_be(5, 1);
                it.text(7, "filter");
            }),
        ),
        (
            "rule",
            message(0xa06, &INET, &|it| {
                it.text(1, "staunch");
                it.text(2, "pre");
                it.u64_be(3, 9);
                it.nest(4, |list| {
                    expression(list, "meta", &[(1, 1), (2, 15)]);
                    expression(list, "payload", &[(1, 1), (2, 1), (3, 12), (4, 4)]);
                    expression(list, "lookup", &[(2, 1), (5, 0)]);
                    expression(list, "counter", &[]);
                    expression(list, "immediate", &[(1, 0)]);
                });
                it.bytes(7, b"\x00\x0astaunch 1\x00");
            }),
        ),
        (
            "elements",
            message(0xa0c, &INET, &|it| {
                object(it);
                it.nest(3, |list| {
                    element(list, &[203, 0, 113, 7]);
                    element(list, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                });
            }),
        ),
        ("flow4", message(0x100, &[2, 0, 0, 0], &|it| flow(it, false))),
        ("flow6", message(0x100, &[10, 0, 0, 0], &|it| flow(it, true))),
        (
            "address",
            message(20, &[2, 24, 0, 0, 1, 0, 0, 0], &|it| {
                it.bytes(1, &[192, 0, 2, 1]);
                it.bytes(2, &[192, 0, 2, 1]);
                it.text(3, "eth0");
            }),
        ),
        (
            "route",
            message(24, &[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0], &|it| {
                it.u32_ne(15, 254);
                it.bytes(5, &[192, 0, 2, 254]);
                it.bytes(9, &[16, 0, 0, 0, 2, 0, 0, 0, 8, 0, 5, 0, 192, 0, 2, 253]);
            }),
        ),
        (
            "refusal",
            message(2, &(-17_i32).to_ne_bytes(), &|it| {
                it.raw(&[0; 16]);
                it.text(1, "no such set");
                it.u32_ne(2, 36);
            }),
        ),
    ]
}
