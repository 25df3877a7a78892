//! What others have begun or left: half done, thawed by somebody, of another driver or installation.

use std::fs;

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::freeze_process::CgroupFreezeProcess;
use staunch_model::{FailureKind, Outcome, Presence, TransactionId};
use staunch_ports::Action as _;

use super::{assert_refused, execute, name, ours, see, undo};
use crate::freeze_process_setting::{OURS, Started, THEIRS, group_of, in_subtree, is_frozen, set_frozen};

#[test]
fn a_driver_made_anew_finds_and_undoes_what_another_made() {
    in_subtree("a_driver_made_anew_finds_and_undoes_what_another_made", |tree| {
        let home = tree.group("home");
        let mut held = Started::echo(&home);
        assert_eq!(execute(&mut tree.driver(OURS), 7, held.target()), Outcome::Landed);
        let mut driver = tree.driver(OURS);
        let owned = driver.owned().unwrap().targets;
        assert_eq!(owned.len(), 1);
        assert_eq!(
            (owned[0].transaction, owned[0].target.clone()),
            (TransactionId(7), held.target())
        );
        assert_eq!(see(&mut driver, held.target()).presence, ours(7));
        assert_eq!(undo(&mut driver, 7, owned[0].target.clone()), Outcome::Landed);
        assert!(held.goes_on());
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn what_is_half_done_is_seen_undone_or_finished() {
    in_subtree("what_is_half_done_is_seen_undone_or_finished", |tree| {
        let home = tree.group("home");
        let (mut driver, mut held) = (tree.driver(OURS), Started::echo(&home));
        let target = held.target();
        let group = home.join(name(1, &target));
        for frozen in [false, true] {
            fs::create_dir(&group).unwrap();
            set_frozen(&group, frozen);
            let seen = see(&mut driver, target.clone());
            assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
            assert_refused(&execute(&mut driver, 2, target.clone()), FailureKind::Conflict, "TX-1");
            assert_eq!(undo(&mut driver, 1, target.clone()), Outcome::Landed);
            assert_eq!(tree.groups(), std::slice::from_ref(&home));
        }
        fs::create_dir(&group).unwrap();
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        assert!(is_frozen(&group) && group_of(held.process.pid) == group);
        assert_eq!(undo(&mut driver, 1, target), Outcome::Landed);
        assert!(held.goes_on());
    });
}

#[test]
fn what_starts_in_a_group_that_somebody_thawed_goes_back_too() {
    in_subtree("what_starts_in_a_group_that_somebody_thawed_goes_back_too", |tree| {
        let home = tree.group("home");
        let script = "while read word; do sleep 1000 & echo $!; done";
        let (mut driver, mut held) = (tree.driver(OURS), Started::script(&home, script));
        let target = held.target();
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        let group = group_of(held.process.pid);
        set_frozen(&group, false);
        let seen = see(&mut driver, target.clone());
        assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
        assert_eq!(driver.owned().unwrap().targets, [], "what is not enforced is left out");
        held.say("fork");
        let started: u32 = held.hear().parse().unwrap();
        assert_eq!(group_of(started), group);
        assert_eq!(undo(&mut driver, 1, target), Outcome::Landed);
        assert_eq!(
            [group_of(started), group_of(held.process.pid)],
            [home.clone(), home.clone()]
        );
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn what_other_installations_left_is_listed_and_lifted() {
    in_subtree("what_other_installations_left_is_listed_and_lifted", |tree| {
        let home = tree.group("home");
        let (mut one, mut other) = (Started::echo(&home), Started::echo(&home));
        let (mut driver, mut theirs) = (tree.driver(OURS), tree.driver(THEIRS));
        assert_eq!(execute(&mut theirs, 1, one.target()), Outcome::Landed);
        assert_eq!(execute(&mut driver, 1, other.target()), Outcome::Landed);
        assert_eq!(driver.former(), [], "nothing was listed yet");
        assert_eq!(driver.owned().unwrap().targets.len(), 1);
        let former = driver.former();
        assert_eq!(former.len(), 1);
        assert_eq!((former[0].target.clone(), former[0].expires_in), (one.target(), None));
        assert!(
            former[0].label.starts_with("staunch-b0b0b0b0b0b0b0b0-TX-1-"),
            "{former:?}"
        );
        assert_eq!(driver.lift_former(), Ok(1));
        assert_eq!(driver.former(), []);
        assert!(one.goes_on());
        assert_eq!(see(&mut driver, other.target()).presence, ours(1), "ours stays");
        assert_eq!(driver.count_labelled(Whose::Of(OURS)), Ok(1));
        assert_eq!(driver.release_everything(Whose::Anybodys), Ok(1));
        assert!(other.goes_on());
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn a_label_on_a_group_that_a_user_made_does_not_count() {
    in_subtree("a_label_on_a_group_that_a_user_made_does_not_count", |tree| {
        let home = tree.group("home");
        let (mut driver, held) = (tree.driver(OURS), Started::echo(&home));
        let forged = home.join(name(1, &held.target()).replace("a0a0", "b0b0"));
        fs::create_dir(&forged).unwrap();
        let seen = |driver: &mut CgroupFreezeProcess| see(driver, held.target()).presence;
        assert!(matches!(seen(&mut driver), Presence::Present { .. }), "root made it");
        match std::os::unix::fs::chown(&forged, Some(65_534), None) {
            Ok(()) => {}
            Err(error) => {
                staunch_testkit::skip("a_label_on_a_group_that_a_user_made_does_not_count", &error.to_string());
                return;
            }
        }
        assert_eq!(seen(&mut driver), Presence::Absent);
        assert_eq!(execute(&mut driver, 1, held.target()), Outcome::Landed);
        assert_eq!(undo(&mut driver, 1, held.target()), Outcome::Landed);
    });
}
