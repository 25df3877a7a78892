//! What becomes of the sessions of an account.

use std::fs;

use staunch_model::Outcome;
use staunch_ports::Action as _;

use super::in_files::slice_of;
use crate::freeze_process_setting::{Started, in_subtree, is_frozen, set_frozen};
use crate::lock_account_setting::{Files, OURS, execute, name, ours, see, undo};

#[test]
fn a_crash_around_the_sessions_is_seen_finished_or_undone() {
    in_subtree("a_crash_around_the_sessions_is_seen_finished_or_undone", |tree| {
        for finish in [false, true] {
            let files = Files::with_slices(&tree.root);
            files.add(1, "$y$x", "");
            let (before, slice) = (files.shadow(), slice_of(&tree.root, 1));
            fs::create_dir_all(&slice).unwrap();
            let mut session = Started::echo(&slice);
            assert_eq!(execute(&mut files.driver(OURS), 1, "user1"), Outcome::Landed);
            assert!(is_frozen(&slice));
            let locked = files.shadow();
            // As it is when the file is written and the sessions go on.
            set_frozen(&slice, false);
            let mut driver = files.driver(OURS);
            let seen = see(&mut driver, "user1");
            assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
            assert!(driver.owned().unwrap().targets.is_empty());
            if finish {
                assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
                assert!(is_frozen(&slice) && see(&mut driver, "user1").enforcing);
            }
            let record = files.record("user1").unwrap();
            assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
            assert!(session.goes_on());
            assert!(files.shadow() == before);

            // As it is when an undo has written the file and thawed nothing, or thawed and not removed the record.
            for frozen in [true, false] {
                fs::write(files.path("accounts").join("user1"), &record).unwrap();
                set_frozen(&slice, frozen);
                let seen = see(&mut driver, "user1");
                assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
                assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
                assert!(session.goes_on());
                assert!(files.shadow() == before && files.record("user1").is_none());
            }
            assert!(locked != before);
            drop(session);
        }
    });
}

#[test]
fn sessions_stand_still_and_go_on() {
    in_subtree("sessions_stand_still_and_go_on", |tree| {
        let files = Files::with_slices(&tree.root);
        for number in 1..=3 {
            files.add(number, "$y$x", "");
        }
        let (slice, other) = (slice_of(&tree.root, 1), slice_of(&tree.root, 2));
        fs::create_dir_all(slice.join("session-1.scope")).unwrap();
        fs::create_dir_all(&other).unwrap();
        let mut session = Started::echo(&slice.join("session-1.scope"));
        let mut neighbour = Started::echo(&other);
        let mut driver = files.driver(OURS);
        for number in 1..=3 {
            assert_eq!(execute(&mut driver, u64::from(number), &name(number)), Outcome::Landed);
            if number == 1 {
                session.say("hello");
                assert!(!session.says_something(50), "a frozen session says nothing");
                assert!(neighbour.goes_on(), "another account goes on");
            }
        }
        assert_eq!(driver.owned().unwrap().targets.len(), 3);
        // Who has logged in at that moment, without a session before, is found.
        let late = slice_of(&tree.root, 3);
        fs::create_dir(&late).unwrap();
        assert!(see(&mut driver, "user3").enforcing, "nothing runs in it");
        let late = Started::echo(&late);
        assert!(!see(&mut driver, "user3").enforcing);
        drop(late);
        for number in 1..=3 {
            assert_eq!(undo(&mut driver, u64::from(number), &name(number)), Outcome::Landed);
        }
        assert_eq!(session.hear(), "hello", "it goes on where it was");
        assert!(neighbour.goes_on());
    });
}

#[test]
fn what_was_frozen_before_stays_frozen() {
    in_subtree("what_was_frozen_before_stays_frozen", |tree| {
        let files = Files::with_slices(&tree.root);
        files.add(1, "$y$x", "");
        let (before, slice) = (files.shadow(), slice_of(&tree.root, 1));
        fs::create_dir_all(&slice).unwrap();
        let _session = Started::echo(&slice);
        set_frozen(&slice, true);
        let mut driver = files.driver(OURS);
        for _ in 0..2 {
            assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
        }
        assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
        assert!(is_frozen(&slice));
        assert!(files.shadow() == before);
    });
}
