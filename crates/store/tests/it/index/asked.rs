//! Questions that take too long, and those about many things at once.

use std::time::Duration;

use staunch_model::{Change, Frame, TransactionId};
use staunch_store::index::{IncidentFilter, IndexError};

use super::{Setup, at, changed, follow, judgement, opened, policy};

/// A question for which every incident is looked at.
fn all() -> IncidentFilter {
    IncidentFilter {
        text: Some("nowhere".into()),
        ..IncidentFilter::default()
    }
}

#[test]
fn a_question_that_takes_too_long_is_given_up() {
    let setup = Setup::new();
    let mut index = setup.open();
    let many = (1..=3_000).map(|id| opened(id, &format!("key-{id}"), "ssh brute force"));
    follow(&mut index, &[vec![policy()], many.collect()].concat());
    let patient = index.reader();
    let hasty = patient.clone().within(Duration::ZERO);
    // A small one is over before the clock is looked at, and leaves its connection to the next question.
    hasty.position().expect("the index answers");
    assert_eq!(patient.incidents(&all()).expect("the index answers"), []);
    match hasty.incidents(&all()) {
        Err(IndexError::TooSlow { what: "incidents", .. }) => {}
        other => panic!("it is given up: {other:?}"),
    }
    // Nothing is wrong with the index.
    assert_eq!(patient.incidents(&all()).expect("the index answers"), []);
    let unhurried = patient.within(Duration::from_secs(3_600));
    assert_eq!(unhurried.incidents(&all()).expect("the index answers"), []);
}

#[test]
fn judgements_are_of_those_that_are_asked_for() {
    let setup = Setup::new();
    let mut index = setup.open();
    let asked = |id| {
        let change = Change::ApprovalRequested {
            expires: at(3_600),
            judgement: judgement(),
        };
        changed(id, change)
    };
    // More of them than one page has.
    let mut frames: Vec<Frame> = vec![policy()];
    for id in 1..=1_200 {
        frames.push(opened(id, &format!("key-{id}"), "ssh brute force"));
        frames.push(asked(id));
    }
    frames.push(opened(1_201, "key-1201", "ssh brute force"));
    follow(&mut index, &frames);
    let ids = [1, 600, 1_200, 1_201, 9_999].map(TransactionId);
    let found = index.reader().judgements(&ids).expect("the index answers");
    let known: Vec<_> = found.keys().copied().collect();
    assert_eq!(known, [1, 600, 1_200].map(TransactionId));
    assert!(found.values().all(|it| *it == *judgement()));
    let every: Vec<_> = (1..=1_201).map(TransactionId).collect();
    assert_eq!(
        index.reader().judgements(&every).expect("the index answers").len(),
        1_200
    );
}
