//! What every journal is held to, from memory to a database.
//!
//! Never tests durability against real crashes: each store knows its own ways to fail and tests them beside itself.

use staunch_ports::journal::NewFrame;
use staunch_ports::{AppendError, Epoch, Journal, Lsn, Purpose, StoredFrame, Tail};

/// The longest payload that every journal accepts, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Bytes that a journal made for [`Space::Scarce`] keeps back for [`Purpose::Settle`].
pub const SCARCE_RESERVE_BYTES: u64 = 16 << 10;

/// How much room a fresh journal shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// At least 16 MiB, and payloads of [`PAYLOAD_BYTES_MAX`].
    Ample,
    /// Less than 1 MiB, of which [`SCARCE_RESERVE_BYTES`] are kept back. It never gets more. Payloads of 1 KiB.
    Scarce,
}

/// Runs the whole suite. `make` returns an empty journal; `reopen` closes one and opens it again, as a restart does.
///
/// # Panics
/// When the journal breaks the contract.
pub fn journal(make: impl Fn(Space) -> Box<dyn Journal>, reopen: impl Fn(Box<dyn Journal>) -> Box<dyn Journal>) {
    an_empty_journal_has_nothing(&make);
    what_is_appended_is_read_back(&make);
    an_append_of_nothing_changes_nothing(&make);
    a_wrong_position_is_a_conflict(&make);
    an_earlier_writer_is_fenced(&make, &reopen);
    frames_are_chained(&make);
    the_longest_frame_fits_and_a_longer_one_is_refused(&make, &reopen);
    a_full_journal_still_settles(&make, &reopen);
    the_newest_snapshot_is_found(&make, &reopen);
    a_reopened_journal_goes_on(&make, &reopen);
}

type Make<'a> = &'a dyn Fn(Space) -> Box<dyn Journal>;
type Reopen<'a> = &'a dyn Fn(Box<dyn Journal>) -> Box<dyn Journal>;

fn an_empty_journal_has_nothing(make: Make<'_>) {
    let journal = make(Space::Ample);
    assert_eq!(journal.tail(), Tail::default());
    assert_eq!(frames(&*journal, Lsn(0)), []);
    assert_eq!(journal.newest_snapshot().expect("an empty store can be read"), None);
    assert!(journal.has_room(1024));
}

fn what_is_appended_is_read_back(make: Make<'_>) {
    let mut journal = make(Space::Ample);
    let epoch = journal.open_epoch().expect("a first epoch");
    append(&mut *journal, epoch, &[b"one", b""]);
    append(&mut *journal, epoch, &[b"three"]);
    let all = frames(&*journal, Lsn(1));
    let seen: Vec<_> = all
        .iter()
        .map(|it| (it.lsn.0, it.epoch, it.now_us, it.payload.as_slice()))
        .collect();
    let expect: [(u64, Epoch, u64, &[u8]); 3] = [
        (1, epoch, 1_001, b"one"),
        (2, epoch, 1_002, b""),
        (3, epoch, 1_003, b"three"),
    ];
    assert_eq!(seen, expect);
    assert_eq!(frames(&*journal, Lsn(0)), all, "position 0 is before the first frame");
    assert_eq!(frames(&*journal, Lsn(3)), all[2..]);
    assert_eq!(frames(&*journal, Lsn(4)), []);
    assert_eq!(
        journal.tail(),
        Tail {
            lsn: Lsn(3),
            epoch,
            hash: all[2].hash
        }
    );
}

fn an_append_of_nothing_changes_nothing(make: Make<'_>) {
    let mut journal = make(Space::Ample);
    let epoch = journal.open_epoch().expect("a first epoch");
    append(&mut *journal, epoch, &[b"one"]);
    let before = journal.tail();
    assert_eq!(journal.append(epoch, Lsn(1), Purpose::Intake, &[]).ok(), Some(Lsn(1)));
    assert_eq!(journal.tail(), before);
}

fn a_wrong_position_is_a_conflict(make: Make<'_>) {
    let mut journal = make(Space::Ample);
    let epoch = journal.open_epoch().expect("a first epoch");
    append(&mut *journal, epoch, &[b"one", b"two"]);
    for wrong in [0, 1, 3] {
        let refused = journal.append(epoch, Lsn(wrong), Purpose::Settle, &[frame(9, b"lost")]);
        assert!(
            matches!(refused, Err(AppendError::Conflict { tail: Lsn(2) })),
            "at {wrong}: {refused:?}"
        );
    }
    assert_eq!(frames(&*journal, Lsn(1)).len(), 2);
    append(&mut *journal, epoch, &[b"three"]);
}

fn an_earlier_writer_is_fenced(make: Make<'_>, reopen: Reopen<'_>) {
    let mut journal = make(Space::Ample);
    let first = journal.open_epoch().expect("a first epoch");
    append(&mut *journal, first, &[b"one"]);
    let second = journal.open_epoch().expect("a second epoch");
    assert!(second > first);
    assert_eq!(journal.tail().epoch, second);
    for epoch in [first, Epoch(0), Epoch(second.0 + 1)] {
        let refused = journal.append(epoch, Lsn(1), Purpose::Settle, &[frame(9, b"lost")]);
        assert!(
            matches!(refused, Err(AppendError::Fenced { current }) if current == second),
            "{epoch}: {refused:?}"
        );
    }
    // An epoch counts even when nothing was written in it.
    let mut journal = reopen(journal);
    assert_eq!(journal.tail().epoch, second);
    let third = journal.open_epoch().expect("a third epoch");
    assert!(third > second);
    append(&mut *journal, third, &[b"two"]);
    let epochs: Vec<_> = frames(&*journal, Lsn(1)).iter().map(|it| it.epoch).collect();
    assert_eq!(epochs, [first, third]);
}

fn frames_are_chained(make: Make<'_>) {
    let history = |payloads: &[&[u8]], together: bool| {
        let mut journal = make(Space::Ample);
        let epoch = journal.open_epoch().expect("a first epoch");
        if together {
            append(&mut *journal, epoch, payloads);
        } else {
            payloads
                .iter()
                .for_each(|payload| append(&mut *journal, epoch, &[payload]));
        }
        frames(&*journal, Lsn(1))
    };
    let all = history(&[b"a", b"b", b"c", b"d"], true);
    assert_eq!(all[0].prev, [0; 16], "before the first frame there is nothing");
    for pair in all.windows(2) {
        assert_eq!(pair[1].prev, pair[0].hash, "frame {}", pair[1].lsn);
    }
    assert_eq!(
        history(&[b"a", b"b", b"c", b"d"], false),
        all,
        "how frames are grouped is not part of history"
    );
    let other = history(&[b"a", b"B", b"c", b"d"], true);
    assert_eq!(other[0], all[0]);
    for index in 1..4 {
        assert_ne!(
            other[index].hash, all[index].hash,
            "a changed frame changes the chain from there on"
        );
    }
}

fn the_longest_frame_fits_and_a_longer_one_is_refused(make: Make<'_>, reopen: Reopen<'_>) {
    let mut journal = make(Space::Ample);
    let epoch = journal.open_epoch().expect("a first epoch");
    let longest: Vec<u8> = (0..=u8::MAX).cycle().take(PAYLOAD_BYTES_MAX).collect();
    let longer = vec![1; PAYLOAD_BYTES_MAX + 1];
    append(&mut *journal, epoch, &[b"before", &longest]);
    assert!(journal.has_room(PAYLOAD_BYTES_MAX));
    assert!(
        journal.has_room(4 * PAYLOAD_BYTES_MAX),
        "room is asked for many frames at once"
    );
    assert!(journal.batch_bytes_max() >= PAYLOAD_BYTES_MAX as u64);
    let both = [frame(3, b"fits"), frame(4, &longer)];
    let refused = journal.append(epoch, Lsn(2), Purpose::Settle, &both);
    assert!(refused.is_err(), "a frame of {} bytes was accepted", longer.len());
    append(&mut *journal, epoch, &[&longest, b"after"]);
    let journal = reopen(journal);
    let all = frames(&*journal, Lsn(1));
    assert_eq!(all.len(), 4);
    assert!(
        all[1].payload == longest && all[2].payload == longest,
        "a long payload was changed"
    );
    assert_eq!(all[3].payload, b"after");
}

fn a_full_journal_still_settles(make: Make<'_>, reopen: Reopen<'_>) {
    const PAYLOAD: [u8; 1024] = [7; 1024];
    let mut journal = make(Space::Scarce);
    let epoch = journal.open_epoch().expect("a first epoch");
    let taken_in = fill(&mut *journal, epoch, Purpose::Intake, &PAYLOAD);
    assert!(taken_in > 0, "a fresh journal has no room");
    assert!(!journal.has_room(PAYLOAD.len()));
    let settled = fill(&mut *journal, epoch, Purpose::Settle, &PAYLOAD);
    // A tenth may be lost to headers and to the ends of files.
    let least = SCARCE_RESERVE_BYTES / PAYLOAD.len() as u64 * 9 / 10;
    assert!(
        settled >= least,
        "{settled} frames fit into the reserve, expected {least}"
    );
    assert_eq!(
        journal.tail().lsn,
        Lsn(taken_in + settled),
        "refused frames were written"
    );
    let mut journal = reopen(journal);
    assert_eq!(frames(&*journal, Lsn(1)).len() as u64, taken_in + settled);
    journal.open_epoch().expect("a full journal can be taken over");
}

/// Appends until the journal is full and returns how many frames it took.
fn fill(journal: &mut dyn Journal, epoch: Epoch, purpose: Purpose, payload: &[u8]) -> u64 {
    for count in 0..10_000 {
        let room = journal.has_room(payload.len());
        match journal.append(epoch, journal.tail().lsn, purpose, &[frame(1, payload)]) {
            Ok(_) => assert!(room || purpose == Purpose::Settle, "has_room said no, append said yes"),
            Err(AppendError::Full { free, needed, reserved }) => {
                assert!(needed >= payload.len() as u64);
                assert_eq!(reserved, SCARCE_RESERVE_BYTES);
                let kept = if purpose == Purpose::Intake { reserved } else { 0 };
                assert!(
                    free < needed + kept,
                    "{free} bytes are free, {needed} needed, {kept} kept back"
                );
                return count;
            }
            Err(error) => panic!("a full journal must say so: {error}"),
        }
    }
    panic!("the journal never gets full");
}

fn the_newest_snapshot_is_found(make: Make<'_>, reopen: Reopen<'_>) {
    let mut journal = make(Space::Ample);
    let epoch = journal.open_epoch().expect("a first epoch");
    append(&mut *journal, epoch, &[b"one", b"two", b"three", b"four"]);
    for lsn in [1, 4, 3] {
        journal
            .put_snapshot(Lsn(lsn), format!("state {lsn}").as_bytes())
            .expect("a snapshot");
    }
    let newest = Some((Lsn(4), b"state 4".to_vec()));
    assert_eq!(journal.newest_snapshot().expect("it can be read"), newest);
    let future = journal.put_snapshot(Lsn(5), b"state 5");
    assert!(
        matches!(future, Err(AppendError::Conflict { tail: Lsn(4) })),
        "{future:?}"
    );
    let mut journal = reopen(journal);
    assert_eq!(journal.newest_snapshot().expect("it can be read"), newest);
    journal
        .put_snapshot(Lsn(4), b"")
        .expect("a snapshot may be empty, and replaces one of the same position");
    assert_eq!(
        journal.newest_snapshot().expect("it can be read"),
        Some((Lsn(4), Vec::new()))
    );
    let long = vec![b'x'; 600_001];
    let mut write_long = |out: &mut dyn std::io::Write| long.chunks(7_919).try_for_each(|piece| out.write_all(piece));
    journal
        .write_snapshot(Lsn(4), &mut write_long)
        .expect("a snapshot may come in pieces");
    assert!(journal.newest_snapshot().expect("it can be read") == Some((Lsn(4), long.clone())));
    let refused = journal.write_snapshot(Lsn(3), &mut |out| {
        out.write_all(b"half of it")?;
        Err(std::io::ErrorKind::Other.into())
    });
    assert!(matches!(refused, Err(AppendError::InDoubt)), "{refused:?}");
    assert!(journal.newest_snapshot().expect("it can be read") == Some((Lsn(4), long.clone())));
    assert_eq!(frames(&*journal, Lsn(1)).len(), 4, "a snapshot replaces no frames");
}

fn a_reopened_journal_goes_on(make: Make<'_>, reopen: Reopen<'_>) {
    let mut journal = make(Space::Ample);
    for round in 0..4_u8 {
        let epoch = journal.open_epoch().expect("an epoch");
        append(&mut *journal, epoch, &[&[round; 700], &[round]]);
        let before = (journal.tail(), frames(&*journal, Lsn(1)));
        journal = reopen(journal);
        assert_eq!((journal.tail(), frames(&*journal, Lsn(1))), before, "round {round}");
    }
    let all = frames(&*journal, Lsn(1));
    assert_eq!(all.len(), 8);
    for pair in all.windows(2) {
        assert_eq!((pair[1].lsn, pair[1].prev), (pair[0].lsn.next(), pair[0].hash));
    }
}

/// Appends `payloads` in one call. The time of a frame is its position plus 1000 microseconds.
fn append(journal: &mut dyn Journal, epoch: Epoch, payloads: &[&[u8]]) {
    let before = journal.tail().lsn;
    let frames: Vec<_> = (before.0 + 1..)
        .zip(payloads)
        .map(|(lsn, payload)| frame(1_000 + lsn, payload))
        .collect();
    let landed = journal
        .append(epoch, before, Purpose::Intake, &frames)
        .expect("there is room and nobody else");
    assert_eq!(landed, Lsn(before.0 + payloads.len() as u64));
    assert_eq!(journal.tail().lsn, landed);
}

fn frame(now_us: u64, payload: &[u8]) -> NewFrame<'_> {
    NewFrame { now_us, payload }
}

/// What is read from `from` on, and replayed the same.
fn frames(journal: &dyn Journal, from: Lsn) -> Vec<StoredFrame> {
    let mut all = Vec::new();
    journal
        .read(from, &mut |frame| all.push(frame))
        .expect("the journal can be read");
    let mut replayed = Vec::new();
    journal
        .replay(from, &mut |it| replayed.push((it.lsn, it.now_us, it.payload.to_vec())))
        .expect("the journal can be replayed");
    let read: Vec<_> = all.iter().map(|it| (it.lsn, it.now_us, it.payload.clone())).collect();
    assert!(replayed == read, "what is replayed is not what is read");
    all
}
