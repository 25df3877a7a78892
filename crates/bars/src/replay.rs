//! Replay of 1,000,000 frames from the segment journal.

use std::time::Instant;

use staunch_engine::Engine;
use staunch_model::{Facts, Frame, Input, InstallationId, Observation, Outcome, Owner, Presence, Span, Timestamp};
use staunch_ports::{Journal, Lsn, NewFrame, Purpose};
use staunch_store::{JournalOptions, SegmentJournal};

use crate::durable::{event, policy};
use crate::report::Row;

const FRAMES: usize = 1_000_000;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = directory.path().join("journal");
    write(&path)?;
    let begun = Instant::now();
    let journal = SegmentJournal::open(&path, JournalOptions::default()).map_err(|error| error.to_string())?;
    let opened = begun.elapsed().as_secs_f64();
    let recovered = staunch_runtime::recover(&journal).map_err(|error| error.to_string())?;
    let took = begun.elapsed().as_secs_f64();
    if recovered.frames < FRAMES as u64 {
        return Err(format!("only {} frames were replayed", recovered.frames));
    }
    let mut bytes = 0_u64;
    let begun = Instant::now();
    journal
        .read(Lsn(1), &mut |frame| bytes += frame.payload.len() as u64)
        .map_err(|error| error.to_string())?;
    let read = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let mib = bytes as f64 / f64::from(1 << 20);
    Ok(vec![Row {
        what: "replay of 1M frames",
        figure: format!("{took:.2} s"),
        floor: format!("{:.2} s read", opened + read),
        bar: "< 2 s".into(),
        reached: took < 2.0,
        numbers: vec![
            ("seconds", took),
            ("open_seconds", opened),
            ("read_seconds", read),
            ("mebibytes", mib),
        ],
    }])
}

/// Writes whole lives of transactions: event, check, act, check, release at the end of the lease, and its checks.
fn write(path: &std::path::Path) -> Result<(), String> {
    let mut journal = SegmentJournal::open(path, JournalOptions::default()).map_err(|error| error.to_string())?;
    let epoch = journal.open_epoch().map_err(|error| error.to_string())?;
    let mut engine = Engine::new();
    let mut now = Timestamp::from_micros(1_800_000_000_000_000);
    let mut batch: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut written = 0;
    let driver = {
        use staunch_ports::Action;
        crate::durable::EmptyDriver::default().describe()
    };
    let mut pinned = policy();
    pinned.drivers = vec![driver];
    let mut inputs = std::collections::VecDeque::from([
        Input::Policy(pinned.into()),
        Input::Started {
            installation: InstallationId::default(),
            build: "bench".into(),
        },
    ]);
    let mut next = 0;
    while written + batch.len() < FRAMES {
        if inputs.is_empty() {
            let (mut event, matches) = event(next, now);
            // A short raw event, as the bar speaks of frames of about 300 bytes.
            std::sync::Arc::make_mut(&mut event).raw = vec![b'x'; 250].into();
            inputs.push_back(Input::Event { event, matches });
            next += 1;
            now = now + Span::from_millis(20);
        }
        let input = inputs.pop_front().expect("one was just added");
        let step = engine.step(&input, now);
        inputs.extend(step.effects.iter().filter_map(answer));
        batch.push((
            now.as_micros(),
            postcard::to_stdvec(&Frame {
                input,
                records: step.records,
            })
            .unwrap(),
        ));
        if batch.len() == 1_000 {
            append(&mut journal, epoch, &batch)?;
            written += batch.len();
            batch.clear();
        }
    }
    append(&mut journal, epoch, &batch)
}

fn append(journal: &mut SegmentJournal, epoch: staunch_ports::Epoch, batch: &[(u64, Vec<u8>)]) -> Result<(), String> {
    let frames: Vec<NewFrame<'_>> = batch
        .iter()
        .map(|(now_us, payload)| NewFrame {
            now_us: *now_us,
            payload,
        })
        .collect();
    let tail = journal.tail().lsn;
    journal
        .append(epoch, tail, Purpose::Settle, &frames)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// What a perfect world answers.
fn answer(effect: &staunch_model::Effect) -> Option<Input> {
    use staunch_model::{Effect, ObservePurpose};
    Some(match effect {
        Effect::Observe {
            transaction,
            ticket,
            purpose,
            ..
        } => {
            let presence = match purpose {
                ObservePurpose::PostCheck => Presence::Present {
                    owner: Owner::Ours(*transaction),
                    expires_in: None,
                },
                ObservePurpose::PreCheck | ObservePurpose::Probe => Presence::Absent,
            };
            let seen = Observation {
                presence,
                enforcing: true,
                version: 1,
                capacity: None,
                stopped_packets: None,
            };
            Input::Observed {
                transaction: *transaction,
                ticket: *ticket,
                result: Ok(seen),
                facts: Facts::default(),
            }
        }
        Effect::Execute {
            transaction, ticket, ..
        } => Input::Executed {
            transaction: *transaction,
            ticket: *ticket,
            outcome: Outcome::Landed,
        },
        Effect::Undo {
            transaction, ticket, ..
        } => Input::Undone {
            transaction: *transaction,
            ticket: *ticket,
            outcome: Outcome::Landed,
        },
        Effect::Notify(_) | Effect::Collect { .. } | Effect::ReadHealth { .. } => return None,
    })
}
