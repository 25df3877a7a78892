//! The driver that freezes processes, held to its contract and beyond it with real processes in groups of their own.

#![allow(clippy::unwrap_used)]

mod in_cgroups;
mod taken_up;

use std::fs;

use staunch_connectors::actions::freeze_process::{CgroupFreezeProcess, CgroupOptions, Label, Purpose};
use staunch_model::{
    EffectKey, FailureKind, Observation, Outcome, Owner, Presence, Process, Span, Target, TransactionId,
};
use staunch_ports::{Action as _, ExecuteRequest, UndoRequest};
use staunch_testkit::contract::action::action;

use self::in_cgroups::InCgroups;
use crate::block_ip_setting::until;
use crate::freeze_process_setting::{
    OURS, Started, group_of, identify, in_subtree, is_frozen, move_to, processes_in, set_frozen,
};

#[test]
fn the_cgroup_driver_keeps_the_contract() {
    in_subtree("the_cgroup_driver_keeps_the_contract", |_| {
        action(|| Box::new(InCgroups::new()));
    });
}

fn request(transaction: u64, target: Target) -> ExecuteRequest {
    ExecuteRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target,
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    }
}

fn execute(driver: &mut CgroupFreezeProcess, transaction: u64, target: Target) -> Outcome {
    driver.execute(&[request(transaction, target)]).remove(0)
}

fn undo(driver: &mut CgroupFreezeProcess, transaction: u64, target: Target) -> Outcome {
    let request = UndoRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target,
        lease_ended: false,
    };
    driver.undo(&[request]).remove(0)
}

fn see(driver: &mut CgroupFreezeProcess, target: Target) -> Observation {
    driver.observe(&[target]).remove(0).unwrap()
}

fn ours(transaction: u64) -> Presence {
    Presence::Present {
        owner: Owner::Ours(TransactionId(transaction)),
        expires_in: None,
    }
}

fn name(transaction: u64, target: &Target) -> String {
    let label = Label {
        purpose: Purpose::Freeze,
        installation: OURS,
        transaction: TransactionId(transaction),
        process: target.process().unwrap(),
    };
    label.to_string()
}

#[track_caller]
fn assert_refused(outcome: &Outcome, kind: FailureKind, says: &str) {
    match outcome {
        Outcome::DidNotHappen(failure) if failure.kind == kind && failure.what.contains(says) => {}
        other => panic!("expected a refusal as {kind:?} that says {says:?}, got {other:?}"),
    }
}

/// Starts a process with a child and a grandchild, and returns it with their numbers.
fn family(group: &std::path::Path) -> (Started, u32, u32) {
    let script = "sh -c 'echo $$; sleep 1000 & echo $!; wait' &
                  while read word; do echo \"$word\"; done";
    let mut parent = Started::script(group, script);
    let child = parent.hear().parse().unwrap();
    let grandchild = parent.hear().parse().unwrap();
    (parent, child, grandchild)
}

#[test]
fn a_family_in_two_groups_is_frozen_and_given_back() {
    in_subtree("a_family_in_two_groups_is_frozen_and_given_back", |tree| {
        let (home, other) = (tree.group("home"), tree.group("other"));
        let (mut parent, child, grandchild) = family(&home);
        move_to(&other, grandchild);
        let (mut driver, target) = (tree.driver(OURS), parent.target());
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        for (pid, home) in [(parent.process.pid, &home), (child, &home), (grandchild, &other)] {
            let group = group_of(pid);
            assert_eq!(group, home.join(name(1, &target)), "it stays inside of its own");
            assert!(is_frozen(&group));
        }
        parent.say("hello");
        assert!(!parent.says_something(50), "a frozen process answers nothing");
        let seen = see(&mut driver, target.clone());
        assert_eq!((seen.presence, seen.enforcing), (ours(1), true));
        let of_child = see(&mut driver, Target::Process(identify(child)));
        assert_eq!(
            (of_child.presence, of_child.enforcing),
            (ours(1), true),
            "it is held too"
        );
        let outcome = execute(&mut driver, 2, Target::Process(identify(child)));
        assert_refused(&outcome, FailureKind::Conflict, "TX-1");
        assert_eq!(driver.owned().unwrap().targets.len(), 1, "one target, in two groups");

        // One of the two groups is enough to see that it does not hold.
        set_frozen(&group_of(grandchild), false);
        assert!(!see(&mut driver, target.clone()).enforcing);
        set_frozen(&group_of(grandchild), true);
        move_to(&other, grandchild);
        assert!(
            !see(&mut driver, target.clone()).enforcing,
            "a descendant was taken out"
        );
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        assert!(see(&mut driver, target.clone()).enforcing, "and is held again");

        assert_eq!(undo(&mut driver, 1, target.clone()), Outcome::Landed);
        assert_eq!(parent.hear(), "hello", "it goes on where it was");
        assert!(parent.goes_on());
        assert_eq!([group_of(child), group_of(grandchild)], [home.clone(), other.clone()]);
        assert_eq!(tree.groups(), [home, other], "nothing is left");
        assert_eq!(see(&mut driver, target).presence, Presence::Absent);
    });
}

#[test]
fn a_process_that_keeps_forking_is_frozen_completely() {
    in_subtree("a_process_that_keeps_forking_is_frozen_completely", |tree| {
        let home = tree.group("home");
        let script = "n=0
                      while [ $n -lt 2000 ]; do sleep 1000 & n=$((n+1)); done
                      echo done
                      wait";
        let parent = Started::script(&home, script);
        until("it has forked some", || (processes_in(&home).len() > 20).then_some(()));
        let (mut driver, target) = (tree.driver(OURS), parent.target());
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        let group = home.join(name(1, &target));
        assert_eq!(processes_in(&home), [0; 0], "nobody was left behind");
        let held = processes_in(&group);
        assert!(is_frozen(&group) && (20..2000).contains(&held.len()), "{}", held.len());
        assert!(!parent.says_something(50));
        assert_eq!(processes_in(&group), held, "nobody is added any more");
        assert!(see(&mut driver, target.clone()).enforcing);
        assert_eq!(undo(&mut driver, 1, target), Outcome::Landed);
        until("it goes on forking", || {
            (processes_in(&home).len() > held.len()).then_some(())
        });
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn a_frozen_process_that_is_killed_leaves_nothing() {
    in_subtree("a_frozen_process_that_is_killed_leaves_nothing", |tree| {
        let home = tree.group("home");
        let (mut killed, mut driver) = (Started::echo(&home), tree.driver(OURS));
        let target = killed.target();
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        killed.kill();
        assert_eq!(
            see(&mut driver, target.clone()).presence,
            ours(1),
            "its group is still there"
        );
        let renewal = ExecuteRequest {
            renewal: true,
            ..request(1, target.clone())
        };
        assert_eq!(driver.execute(&[renewal]), [Outcome::Landed]);
        assert_refused(&execute(&mut driver, 1, target.clone()), FailureKind::Gone, "has ended");
        assert_eq!(undo(&mut driver, 1, target.clone()), Outcome::Landed);
        assert_eq!(see(&mut driver, target.clone()).presence, Presence::Absent);
        assert_eq!(tree.groups(), [home]);
        assert_refused(&execute(&mut driver, 1, target), FailureKind::Gone, "has ended");
    });
}

#[test]
fn another_process_with_the_number_is_left_alone() {
    in_subtree("another_process_with_the_number_is_left_alone", |tree| {
        let home = tree.group("home");
        let (mut bystander, mut driver) = (Started::echo(&home), tree.driver(OURS));
        let real = bystander.process;
        for (process, kind, says) in [
            (
                Process {
                    started: real.started + 1,
                    ..real
                },
                FailureKind::Gone,
                "has ended",
            ),
            (
                Process {
                    boot: real.boot ^ 1,
                    ..real
                },
                FailureKind::Gone,
                "has ended",
            ),
            (
                Process::unidentified(real.pid),
                FailureKind::Invalid,
                "told from others",
            ),
        ] {
            let target = Target::Process(process);
            assert_refused(&execute(&mut driver, 1, target.clone()), kind, says);
            assert_eq!(see(&mut driver, target.clone()).presence, Presence::Absent);
            assert_eq!(undo(&mut driver, 1, target), Outcome::Landed);
        }
        assert_eq!(group_of(real.pid), home);
        assert_eq!(tree.groups(), [home]);
        assert!(bystander.goes_on());
    });
}

#[test]
fn what_would_stop_the_machine_is_never_frozen() {
    in_subtree("what_would_stop_the_machine_is_never_frozen", |tree| {
        let mut driver = tree.driver(OURS);
        let own = std::process::id();
        let parent = std::os::unix::process::parent_id();
        for (pid, says) in [
            (1, "process 1"),
            (2, "part of the kernel"),
            (own, "Staunch itself"),
            (parent, "Staunch descends from it"),
        ] {
            // Seen from a PID namespace of its own, a machine has no kernel threads.
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                continue;
            }
            let process = Process {
                started: identify(pid).started.max(1),
                ..identify(pid)
            };
            let says = if pid == 1 { "process 1" } else { says };
            let outcome = execute(&mut driver, 1, Target::Process(process));
            assert_refused(&outcome, FailureKind::Invalid, says);
        }
        assert!(tree.groups().is_empty());
    });
}

#[test]
fn two_that_hold_one_process_are_lifted_in_any_order() {
    in_subtree("two_that_hold_one_process_are_lifted_in_any_order", |tree| {
        let home = tree.group("home");
        for child_first in [true, false] {
            let (mut parent, child, grandchild) = family(&home);
            let mut driver = tree.driver(OURS);
            let (whole, part) = (parent.target(), Target::Process(identify(child)));
            assert_eq!(execute(&mut driver, 1, part.clone()), Outcome::Landed);
            assert!(parent.goes_on());
            assert_eq!(execute(&mut driver, 2, whole.clone()), Outcome::Landed);
            for (transaction, target) in [(1, part.clone()), (2, whole.clone())] {
                let seen = see(&mut driver, target);
                assert_eq!((seen.presence, seen.enforcing), (ours(transaction), true));
            }
            let order = if child_first {
                [(1, part), (2, whole)]
            } else {
                [(2, whole), (1, part)]
            };
            let [(first, one), (second, other)] = order;
            assert_eq!(undo(&mut driver, first, one), Outcome::Landed);
            let seen = see(&mut driver, other.clone());
            assert_eq!((seen.presence, seen.enforcing), (ours(second), true));
            assert!(is_frozen(&group_of(grandchild)), "the other still holds it");
            assert_eq!(undo(&mut driver, second, other), Outcome::Landed);
            assert_eq!([group_of(child), group_of(grandchild)], [home.clone(), home.clone()]);
            assert!(parent.goes_on());
            assert_eq!(tree.groups(), std::slice::from_ref(&home));
            for pid in [child, grandchild] {
                let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        }
    });
}

#[test]
fn too_many_are_not_frozen_in_part() {
    in_subtree("too_many_are_not_frozen_in_part", |tree| {
        let home = tree.group("home");
        let (mut parent, ..) = family(&home);
        let mut driver = CgroupFreezeProcess::new(CgroupOptions {
            processes_max: 2,
            ..tree.options(OURS)
        });
        let outcome = execute(&mut driver, 1, parent.target());
        assert_refused(&outcome, FailureKind::Full, "more than 2 processes");
        assert!(parent.goes_on());
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn a_process_in_a_threaded_group_is_left_as_it_is() {
    in_subtree("a_process_in_a_threaded_group_is_left_as_it_is", |tree| {
        let home = tree.group("home");
        let threaded = home.join("threaded");
        fs::create_dir(&threaded).unwrap();
        let (mut driver, mut held) = (tree.driver(OURS), Started::echo(&home));
        fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
        move_to(&threaded, held.process.pid);
        let outcome = execute(&mut driver, 1, held.target());
        assert_refused(&outcome, FailureKind::Conflict, "threaded");
        assert_eq!(tree.groups(), [home, threaded]);
        assert!(held.goes_on());
    });
}

#[test]
fn where_a_process_cannot_be_given_back_it_goes_on_all_the_same() {
    in_subtree("where_a_process_cannot_be_given_back_it_goes_on_all_the_same", |tree| {
        let home = tree.group("home");
        let (mut driver, mut held) = (tree.driver(OURS), Started::echo(&home));
        let target = held.target();
        assert_eq!(execute(&mut driver, 1, target.clone()), Outcome::Landed);
        let in_the_way = group_of(held.process.pid).join("somebodys");
        fs::create_dir(&in_the_way).unwrap();
        // It goes on, so that it did happen in part.
        match undo(&mut driver, 1, target.clone()) {
            Outcome::InDoubt(why) if why.kind == FailureKind::Conflict && why.what.contains("somebodys") => {}
            other => panic!("{other:?}"),
        }
        assert!(held.goes_on());
        fs::remove_dir(&in_the_way).unwrap();
        assert_eq!(undo(&mut driver, 1, target), Outcome::Landed);
        assert_eq!(tree.groups(), [home]);
    });
}

#[test]
fn a_machine_without_cgroup_v2_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let proc = folder.path().join("self");
    fs::create_dir(&proc).unwrap();
    fs::write(
        proc.join("mountinfo"),
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n",
    )
    .unwrap();
    let options = CgroupOptions {
        proc: folder.path().to_owned(),
        ..CgroupOptions::new(OURS)
    };
    let error = CgroupFreezeProcess::start(options.clone()).unwrap_err();
    assert!(error.to_string().contains("no cgroup v2"), "{error}");
    let mut driver = CgroupFreezeProcess::new(options);
    let target = Target::Process(Process {
        pid: 7,
        started: 7,
        boot: 7,
    });
    let failure = driver.observe(std::slice::from_ref(&target)).remove(0).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_refused(
        &execute(&mut driver, 1, target),
        FailureKind::Unavailable,
        "no cgroup v2",
    );
    assert!(driver.owned().is_err());
}
