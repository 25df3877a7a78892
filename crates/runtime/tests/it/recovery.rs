//! Recovery of journals that are longer than what is read ahead.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use staunch_engine::Engine;
use staunch_model::{Frame, Input, InstallationId, Mode, Policy, Span, Timestamp};
use staunch_ports::{Journal, Lsn, NewFrame, Purpose};
use staunch_runtime::{RecoverError, recover};

use crate::journal::GatedJournal;
use crate::{event, playbook};

const EVENTS: u32 = 1_500;

/// What the engine decides on a policy, a start and `EVENTS` events of as many addresses, a second apart.
fn history(engine: &mut Engine) -> Vec<(Timestamp, Vec<u8>)> {
    let policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: vec![Arc::new(playbook())],
        drivers: Vec::new(),
    };
    let started = Input::Started {
        installation: InstallationId([7; 8]),
        build: "test".into(),
    };
    let events = (0..EVENTS).map(|n| {
        let (event, matches) = event(IpAddr::V4(Ipv4Addr::from(0xc612_0000 + n)));
        Input::Event { event, matches }
    });
    let inputs = [Input::Policy(policy.into()), started].into_iter().chain(events);
    let mut now = Timestamp::from_micros(1_800_000_000_000_000);
    inputs
        .map(|input| {
            now = now + Span::from_secs(1);
            let records = engine.step(&input, now).records;
            (now, postcard::to_stdvec(&Frame { input, records }).unwrap())
        })
        .collect()
}

fn journal_of(frames: &[(Timestamp, Vec<u8>)]) -> GatedJournal {
    let mut journal = GatedJournal::default();
    let epoch = journal.open_epoch().unwrap();
    let frames: Vec<NewFrame<'_>> = frames
        .iter()
        .map(|(now, payload)| NewFrame {
            now_us: now.as_micros(),
            payload,
        })
        .collect();
    journal.append(epoch, Lsn(0), Purpose::Settle, &frames).unwrap();
    journal
}

#[test]
fn a_long_journal_makes_the_state_that_wrote_it() {
    let mut live = Engine::new();
    let frames = history(&mut live);
    let recovered = recover(&journal_of(&frames)).expect("it recovers");
    assert_eq!((recovered.frames, recovered.misfits), (u64::from(EVENTS) + 2, 0));
    assert!(!recovered.engine.state().incidents.is_empty());
    assert_eq!(recovered.engine.state().hash(), live.state().hash());
}

#[test]
fn a_frame_of_no_known_form_far_into_a_journal_is_named() {
    let mut frames = history(&mut Engine::new());
    frames[999].1 = vec![0xff; 9];
    frames[1_200].1 = vec![0xff; 9];
    match recover(&journal_of(&frames)) {
        Err(RecoverError::Unknown { lsn, .. }) => assert_eq!(lsn, Lsn(1_000), "the first of them"),
        other => panic!("it is refused, and not {other:?}"),
    }
}
