//! What happened, told from a place on.

use staunch_model::{Command, Frame, IncidentId, Input, Mode, Printable, Record, TransactionId};
use staunch_store::index::{Happening, Place};

use super::{HOSTILE, Setup, at, follow, opened, operator, whole_life};

#[test]
fn what_happened_is_told_from_any_place_on_and_once() {
    let setup = Setup::new();
    let mut index = setup.open();
    let mut frames = whole_life();
    frames.push(opened(2, "203.0.113.8", "ssh brute force"));
    frames.push(Frame {
        input: Input::Tick,
        records: vec![Record::CameBack {
            transaction: TransactionId(1),
            times: 2,
            ended: at(7),
        }],
    });
    frames.push(Frame {
        input: Input::Operator {
            by: operator(),
            command: Command::SetMode(Mode::Enforce),
        },
        records: vec![
            Record::ModeSet { mode: Mode::Enforce },
            Record::CommandDone { affected: Vec::new() },
        ],
    });
    follow(&mut index, &frames);
    let reader = index.reader();
    let all = reader.happened(Place::default(), None, 0).expect("the index answers");
    let words: Vec<&str> = all.iter().map(|it| &*it.what).collect();
    let by = |what: &str| format!("ada from 127.0.0.1:9: {what}, because {}", Printable(HOSTILE));
    assert!(words.contains(&&*by("release TX-1")), "{words:#?}");
    assert!(
        words.contains(&"its target comes back after 2 leases in a row"),
        "{words:#?}"
    );
    assert_eq!(
        words[words.len() - 2..],
        [&*by("set the mode to enforce"), "the mode is enforce"]
    );
    assert!(all.is_sorted_by(|a, b| a.place < b.place && a.place.lsn <= b.place.lsn));

    // In pages of any size, from any place on, each is told once.
    for limit in 1..=all.len() {
        let mut place = Place::default();
        let mut told = Vec::new();
        while let Some(last) = {
            let some = reader
                .happened(place, None, u32::try_from(limit).expect("few"))
                .expect("the index answers");
            let last = some.last().map(|it| it.place);
            told.extend(some);
            last
        } {
            place = last;
        }
        assert_eq!(told, all, "in pages of {limit}");
    }
    // A number of another index is not believed: the frame's entries are told again rather than lost.
    let middle = all[all.len() / 2].place;
    for entry in [0, 1_000_000, all[all.len() - 1].place.entry] {
        let from = Place { lsn: middle.lsn, entry };
        let told = reader.happened(from, None, 0).expect("the index answers");
        let behind: Vec<_> = all.iter().filter(|it| it.place.lsn >= middle.lsn).cloned().collect();
        assert_eq!(told, behind, "{from:?}");
    }
    let end = reader
        .position()
        .and_then(|lsn| reader.place(lsn))
        .expect("the index answers");
    assert_eq!(end, all[all.len() - 1].place);

    let narrowed = reader
        .happened(Place::default(), Some(IncidentId(1)), 0)
        .expect("the index answers");
    // What people asked of it is about it, too.
    let asked = by("release TX-1");
    let is_about = |it: &&Happening| it.incident == Some(IncidentId(1)) || it.what == asked;
    let about: Vec<_> = all.iter().filter(is_about).cloned().collect();
    assert!(about.iter().any(|it| it.what == asked));
    assert_eq!(narrowed, about);
    assert!(narrowed.iter().any(|it| it.transaction == Some(TransactionId(1))));
}
