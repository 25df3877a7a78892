//! Payloads of a journal: any bytes as frames, made frames that fit the format and nothing else, and any bytes as a
//! snapshot; then recovery, a start, and time passing.
//!
//! What holds: a payload is refused or read, and what is read is written as the same; recovery of a journal that only
//! its format makes sense of keeps going; the state it ends in survives a snapshot; what is decided from there replays
//! to the same state without a misfit, and what it tells people can be shown.

use staunch_engine::state::SNAPSHOT_FORM;
use staunch_engine::{Engine, EngineState};
use staunch_model::{Frame, Input, InstallationId, Record, Span, Timestamp};
use staunch_ports::journal::NewFrame;
use staunch_ports::{Journal, Lsn, Purpose};
use staunch_runtime::{RecoverError, recover};
use staunch_store::MemoryJournal;

use crate::made::Made;
use crate::shown::assert_line;

/// Frames of one journal.
const FRAMES_MAX: usize = 64;

/// Turns that are taken after the start.
const TURNS_MAX: usize = 24;

/// Reads the rest of the bytes as their first one says.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => replay(&payloads(rest)),
        1 => made(rest),
        _ => snapshot(rest),
    }
}

/// Payloads of any bytes: each has two bytes of length before it.
#[must_use]
pub fn payloads(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        payloads.push((1_700_000_000_000_000, payload.to_vec()));
        data = rest;
    }
    payloads
}

fn made(data: &[u8]) {
    let mut made = Made::of(data);
    let mut payloads = Vec::new();
    while !made.is_empty() && payloads.len() < FRAMES_MAX {
        let now = made.number();
        if let Some(frame) = made.value::<Frame>() {
            payloads.push((now, postcard::to_stdvec(&frame).expect("every frame can be stored")));
        }
    }
    replay(&payloads);
}

fn snapshot(data: &[u8]) {
    if let Some(engine) = read(data) {
        go_on(engine);
    }
    let mut made = Made::of(data);
    if let Some(state) = made.value::<EngineState>() {
        // Most are states that no history leads to, which are refused.
        if let Ok(engine) = Engine::from_snapshot(&state.encode()) {
            go_on(engine);
        }
    }
}

/// The engine of a snapshot, which has no form before it.
#[must_use]
pub fn read(data: &[u8]) -> Option<Engine> {
    Engine::from_snapshot(&[&SNAPSHOT_FORM, data].concat()).ok()
}

fn replay(payloads: &[(u64, Vec<u8>)]) {
    let mut journal = MemoryJournal::new();
    let epoch = journal.open_epoch().expect("a journal in memory");
    let mut unknown = None;
    for (position, (now_us, payload)) in (1..).zip(payloads) {
        match postcard::from_bytes::<Frame>(payload) {
            Ok(frame) => {
                let bytes = postcard::to_stdvec(&frame).expect("every frame can be stored");
                assert_eq!(postcard::from_bytes::<Frame>(&bytes).expect("and read back"), frame);
                // The index and `staunch journal cat` show frames as JSON.
                let json = serde_json::to_string(&frame).expect("every frame can be shown");
                assert_eq!(serde_json::from_str::<Frame>(&json).expect("and read back"), frame);
            }
            Err(_) => unknown = unknown.or(Some(Lsn(position))),
        }
        let frame = NewFrame {
            now_us: *now_us,
            payload,
        };
        let tail = journal.tail();
        let appended = journal.append(epoch, tail.lsn, Purpose::Settle, &[frame]);
        assert!(appended.is_ok(), "{appended:?}");
    }
    match recover(&journal) {
        Ok(recovered) => {
            assert_eq!((unknown, recovered.frames), (None, payloads.len() as u64));
            go_on(recovered.engine);
        }
        Err(RecoverError::Unknown { lsn, .. }) => assert_eq!(Some(lsn), unknown, "the first unknown frame is named"),
        Err(error) => panic!("a journal in memory can be read: {error}"),
    }
}

/// Starts `engine`, and lets time pass until nothing is due.
fn go_on(mut engine: Engine) {
    survives(&engine);
    let started = Input::Started {
        installation: InstallationId([7; 8]),
        build: "fuzz".into(),
    };
    step(&mut engine, &started, Timestamp::EPOCH);
    for _ in 0..TURNS_MAX {
        let Some(due) = engine.state().next_deadline() else {
            break;
        };
        step(&mut engine, &Input::Tick, due + Span::from_micros(1));
    }
    survives(&engine);
}

fn survives(engine: &Engine) {
    let bytes = engine.state().encode();
    let back = Engine::from_snapshot(&bytes).expect("a state that was written can be read");
    assert_eq!(back.state().encode(), bytes, "a snapshot is the state");
}

fn step(engine: &mut Engine, input: &Input, now: Timestamp) {
    let mut before = engine.clone();
    let step = engine.step(input, now);
    for record in &step.records {
        match record {
            Record::NoticeQueued(notice) => assert_line(&notice.text),
            Record::CommandRefused { why } => assert_line(why),
            _ => {}
        }
    }
    let frame = Frame {
        input: input.clone(),
        records: step.records,
    };
    let replayed = before.replay(&frame, step.now);
    assert_eq!(replayed, Ok(()), "what was decided fits: {:?}", frame.records);
    assert_eq!(
        before.state().encode(),
        engine.state().encode(),
        "replay is what was live"
    );
}
