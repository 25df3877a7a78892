//! How the file is kept: in step with the journal, mended and rebuilt from it, and for nobody else to read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use staunch_model::IncidentId;
use staunch_ports::journal::NewFrame;
use staunch_ports::{Follower as _, Journal as _, Lsn, Purpose};
use staunch_store::index::{AwaitedIndex, IncidentFilter, Index, IndexError, IndexReader};

use super::super::temp_dir;
use super::{Setup, append, at, follow, ids, open_journal, opened, policy, whole_life};

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
fn it_catches_up_with_the_journal_and_goes_on_from_there() {
    let mut setup = Setup::new();
    let frames = whole_life();
    setup.append(&frames[..3]);
    let mut index = setup.open();
    assert_eq!(index.position(), Lsn(3));
    setup.append(&frames[3..6]);
    index.catch_up(Lsn(7));
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

/// Looks after the index until it has the frame at `lsn`, as the thread that feeds it does.
fn look_after_until(index: &mut Index, lsn: Lsn) {
    let end = Instant::now() + Duration::from_secs(30);
    while index.position() != lsn {
        assert!(Instant::now() < end, "it stays at {}", index.position());
        index.look_after();
        std::thread::yield_now();
    }
}

#[test]
fn frames_that_were_not_committed_are_read_again() {
    let mut setup = Setup::new();
    let frames = whole_life();
    setup.append(&frames[..2]);
    let mut index = setup.open();
    let saboteur = rusqlite::Connection::open(setup.index_path()).expect("opens");
    // Neither can be written how far it is, nor be read.
    saboteur
        .execute_batch(
            "ALTER TABLE progress RENAME TO kept;
            CREATE VIEW progress AS SELECT abs(-9223372036854775807 - 1) AS position, 0 AS last_now",
        )
        .expect("made");
    setup.append(&frames[2..4]);
    follow(&mut index, &frames[2..4]);
    assert_eq!(index.position(), Lsn(2), "nothing more is in it");
    setup.append(&frames[4..5]);
    follow(&mut index, &frames[4..5]);
    assert_eq!(index.position(), Lsn(2), "it does not know how far it is");
    saboteur
        .execute_batch("DROP VIEW progress; ALTER TABLE kept RENAME TO progress")
        .expect("mended");
    look_after_until(&mut index, Lsn(5));
    let detail = index.reader().incident(IncidentId(1)).expect("it answers");
    index.rebuild().expect("rebuilt");
    assert_eq!(detail, index.reader().incident(IncidentId(1)).expect("it answers"));
}

#[test]
fn an_index_that_cannot_be_replaced_takes_nothing_until_it_is() {
    let mut setup = Setup::new();
    let frames = whole_life();
    setup.append(&frames[..2]);
    let mut index = setup.open();
    let reader = index.reader();
    // What is damaged cannot be set aside.
    let aside = setup.dir.path().join("index.sqlite.damaged");
    fs::create_dir(&aside).expect("made");
    let saboteur = rusqlite::Connection::open(setup.index_path()).expect("opens");
    saboteur.execute_batch("DROP TABLE transactions").expect("dropped");
    setup.append(&frames[2..5]);
    follow(&mut index, &frames[2..5]);
    assert_eq!(index.position(), Lsn(2), "nothing more is in it");
    assert!(matches!(reader.position(), Err(IndexError::Awaited { .. })));
    fs::remove_dir(&aside).expect("removed");
    look_after_until(&mut index, Lsn(5));
    assert_eq!(
        (reader.trouble(), ids(&reader, &IncidentFilter::default())),
        (None, vec![1])
    );
    setup.append(&frames[5..6]);
    follow(&mut index, &frames[5..6]);
    assert_eq!(reader.position().expect("it answers"), Lsn(6));
}

#[test]
fn damage_of_a_file_that_was_replaced_is_none_of_the_next() {
    let mut setup = Setup::new();
    setup.append(&whole_life());
    let mut index = setup.open();
    let reader = index.reader();
    let saboteur = rusqlite::Connection::open(setup.index_path()).expect("opens");
    saboteur.execute_batch("DROP TABLE incidents").expect("dropped");
    reader
        .incidents(&IncidentFilter::default())
        .expect_err("there are none");
    fs::remove_file(setup.index_path()).expect("removed");
    index.look_after();
    let made = fs::metadata(setup.index_path()).expect("it is there").ino();
    index.flush();
    let found = fs::metadata(setup.index_path()).expect("it is there").ino();
    assert_eq!(found, made, "it was rebuilt once more");
    assert_eq!(ids(&reader, &IncidentFilter::default()), [1]);
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

#[test]
fn an_index_that_cannot_be_opened_is_awaited() {
    let mut setup = Setup::new();
    setup.append(&whole_life());
    let (dir, journal) = (setup.dir.path().join("later"), setup.dir.path().join("journal"));
    let path = dir.join("index.sqlite");
    let Err(why) = Index::open(&path, &journal) else {
        panic!("there is no directory for it")
    };
    let mut index = AwaitedIndex::new(&path, &journal, &why);
    let reader = index.reader();
    assert!(matches!(reader.position(), Err(IndexError::Awaited { .. })));
    index.look_after();
    assert_eq!(index.position(), Lsn(0));
    let trouble = reader.trouble().expect("it is told");
    assert!(trouble.contains("unable to open"), "{trouble}");

    fs::create_dir(&dir).expect("it is our directory");
    let end = Instant::now() + Duration::from_secs(30);
    while index.position() == Lsn(0) {
        assert!(Instant::now() < end, "it was never opened");
        index.look_after();
        std::thread::yield_now();
    }
    // Those who asked before are answered from here on.
    assert_eq!((index.position(), reader.trouble()), (Lsn(15), None));
    assert_eq!(ids(&reader, &IncidentFilter::default()), [1]);
    let more = opened(9, "later", "later");
    setup.append(std::slice::from_ref(&more));
    index.follow(Lsn(16), at(16), &more);
    index.flush();
    assert_eq!(reader.position().expect("it answers"), Lsn(16));
}

#[test]
fn an_awaited_index_never_answers_from_another_history() {
    let mut setup = Setup::new();
    setup.append(&whole_life());
    let mut index = setup.open();
    index.flush();
    drop(index);
    let (path, journal) = (setup.index_path(), setup.dir.path().join("journal"));
    let why = IndexError::Awaited { why: "full".into() };
    let reader = AwaitedIndex::new(&path, &journal, &why).reader();
    assert!(matches!(reader.position(), Err(IndexError::Awaited { .. })));
    assert!(reader.incidents(&IncidentFilter::default()).is_err());
}
