//! The driver that ends processes, held to its contract and beyond it with real processes in groups of their own.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::freeze_process::{Label, Purpose};
use staunch_connectors::actions::kill_process::CgroupKillProcess;
use staunch_model::{
    EffectKey, FailureKind, InstallationId, Outcome, Owner, Presence, Process, Span, Target, TransactionId, UndoClass,
};
use staunch_ports::{Action, ExecuteRequest, UndoRequest};
use staunch_testkit::contract::action::{ActionWorld, Family, action};
use tempfile::TempDir;

use crate::block_ip_setting::until;
use crate::freeze_process_setting::{OURS, Started, Subtree, THEIRS, group_of, in_subtree, move_to, set_frozen};

/// Processes in one group, made when they are asked for, and what was written of those that were ended.
struct InCgroups {
    started: RefCell<BTreeMap<u16, Started>>,
    home: PathBuf,
    tree: Subtree,
    tombs: TempDir,
}

impl InCgroups {
    fn new() -> Self {
        let tree = Subtree::make().unwrap();
        Self {
            started: RefCell::default(),
            home: tree.group("home"),
            tree,
            tombs: tempfile::tempdir().unwrap(),
        }
    }
}

/// The file that was written of `target`, when there is one.
fn tomb(tombs: &Path, target: &Target) -> Option<PathBuf> {
    let process = target.process().unwrap();
    let entries = fs::read_dir(tombs).into_iter().flatten().flatten();
    let of_it = |path: &PathBuf| {
        let label = path.file_stem().and_then(|it| Label::parse(it.to_str()?));
        label.is_some_and(|it| it.process == process)
    };
    entries.map(|it| it.path()).find(of_it)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl ActionWorld for InCgroups {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        let options = self.tree.options(installation);
        Box::new(CgroupKillProcess::start(options, self.tombs.path()).unwrap())
    }
    fn label(&self, target: Target) -> Option<String> {
        if let Some(path) = tomb(self.tombs.path(), &target) {
            return Some(name_of(&path));
        }
        let pid = target.process().unwrap().pid;
        if !is_running(pid) {
            return None;
        }
        let group = group_of(pid);
        (group.starts_with(&self.home) && group != self.home).then(|| name_of(&group))
    }
    fn put(&self, target: Target, label: &str) {
        let group = self.home.join(label);
        fs::create_dir_all(&group).unwrap();
        set_frozen(&group, true);
        move_to(&group, target.process().unwrap().pid);
    }
    fn remove(&self, target: Target) {
        fs::remove_file(tomb(self.tombs.path(), &target).unwrap()).unwrap();
    }
    fn flush(&self) {
        for entry in fs::read_dir(self.tombs.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    fn break_enforcement(&self) {
        unreachable!("nothing undoes an end");
    }
    fn restore_enforcement(&self) {
        unreachable!("nothing undoes an end");
    }
    fn families(&self) -> &'static [Family] {
        &[Family::Processes]
    }
    fn target(&self, _: Family, number: u16) -> Target {
        let mut started = self.started.borrow_mut();
        let it = started.entry(number).or_insert_with(|| Started::echo(&self.home));
        it.target()
    }
    fn counts_down(&self) -> bool {
        false
    }
    fn enforces_each(&self) -> bool {
        true
    }
    fn is_final(&self) -> bool {
        true
    }
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 12, 40]
    }
    fn lookalike(&self, target: Target) -> String {
        let Process { pid, started, boot } = target.process().unwrap();
        format!("staunchkill-a0a0a0a0a0a0a0a0-TX-05-{pid}-{started}-{boot:08x}")
    }
}

#[test]
fn the_driver_that_kills_keeps_the_contract() {
    in_subtree("the_driver_that_kills_keeps_the_contract", |_| {
        action(|| Box::new(InCgroups::new()));
    });
}

/// A driver in `tree`, and where it writes.
fn driver(tree: &Subtree) -> (CgroupKillProcess, TempDir) {
    let tombs = tempfile::tempdir().unwrap();
    let driver = CgroupKillProcess::start(tree.options(OURS), tombs.path()).unwrap();
    (driver, tombs)
}

fn execute(driver: &mut CgroupKillProcess, transaction: u64, target: &Target) -> Outcome {
    let request = ExecuteRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: target.clone(),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    };
    driver.execute(&[request]).remove(0)
}

fn undo(driver: &mut CgroupKillProcess, transaction: u64, target: &Target) -> Outcome {
    let request = UndoRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: target.clone(),
        lease_ended: false,
    };
    driver.undo(&[request]).remove(0)
}

fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_family_ends_together_and_a_neighbour_does_not() {
    in_subtree("a_family_ends_together_and_a_neighbour_does_not", |tree| {
        let (home, other) = (tree.group("home"), tree.group("other"));
        let mut neighbour = Started::echo(&home);
        let script = "sh -c 'echo $$; sleep 1000 & echo $!; wait' & while read word; do echo \"$word\"; done";
        let mut parent = Started::script(&home, script);
        let [child, grandchild]: [u32; 2] = [parent.hear(), parent.hear()].map(|it| it.parse().unwrap());
        move_to(&other, grandchild);
        let (mut driver, tombs) = driver(tree);
        let target = parent.target();
        assert_eq!(driver.describe().undo, UndoClass::None);
        assert_eq!(execute(&mut driver, 1, &target), Outcome::Landed);
        for pid in [parent.process.pid, child, grandchild] {
            assert!(!is_running(pid), "{pid}");
        }
        assert!(neighbour.goes_on());
        assert_eq!(tree.groups(), [home, other], "nothing is left in the tree");
        let seen = driver.observe(std::slice::from_ref(&target)).remove(0).unwrap();
        let ours = Presence::Present {
            owner: Owner::Ours(TransactionId(1)),
            expires_in: None,
        };
        assert_eq!((seen.presence, seen.enforcing), (ours, true));

        // A new driver knows as much.
        let mut again = CgroupKillProcess::start(tree.options(OURS), tombs.path()).unwrap();
        assert_eq!(again.owned().unwrap().targets.len(), 1);
        assert_eq!(undo(&mut again, 1, &target), Outcome::Landed);
        assert_eq!(again.observe(&[target]).remove(0).unwrap().presence, Presence::Absent);
        assert!(fs::read_dir(tombs.path()).unwrap().next().is_none());
    });
}

#[test]
fn what_ended_by_itself_is_not_taken_for_ours() {
    in_subtree("what_ended_by_itself_is_not_taken_for_ours", |tree| {
        let home = tree.group("home");
        let (mut driver, tombs) = driver(tree);
        let mut process = Started::echo(&home);
        let target = process.target();
        process.kill();
        match execute(&mut driver, 1, &target) {
            Outcome::DidNotHappen(failure) if failure.kind == FailureKind::Gone => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(driver.observe(&[target]).remove(0).unwrap().presence, Presence::Absent);
        assert!(
            fs::read_dir(tombs.path()).unwrap().next().is_none(),
            "nothing is claimed"
        );
    });
}

/// Staunch may end between any two steps: the next one sees that it is not done, and gives back what is held.
#[test]
fn what_was_begun_and_not_ended_is_seen_and_given_back() {
    in_subtree("what_was_begun_and_not_ended_is_seen_and_given_back", |tree| {
        let home = tree.group("home");
        let (mut driver, tombs) = driver(tree);
        let mut process = Started::echo(&home);
        let target = process.target();
        let label = Label {
            purpose: Purpose::Kill,
            installation: OURS,
            transaction: TransactionId(1),
            process: process.process,
        };
        // It was written down and no more; then held.
        let begun = tombs.path().join(format!("{label}.begun"));
        fs::write(&begun, "").unwrap();
        for is_held in [false, true] {
            let group = home.join(label.to_string());
            if is_held {
                fs::create_dir(&group).unwrap();
                set_frozen(&group, true);
                move_to(&group, process.process.pid);
            }
            let seen = driver.observe(std::slice::from_ref(&target)).remove(0).unwrap();
            assert!(matches!(
                seen.presence,
                Presence::Present {
                    owner: Owner::Ours(_),
                    ..
                }
            ));
            assert!(!seen.enforcing, "it has not ended");
            assert!(driver.owned().unwrap().targets.is_empty(), "so it is not in force");
        }
        assert_eq!(undo(&mut driver, 1, &target), Outcome::Landed);
        assert!(process.goes_on(), "it was given back");
        assert_eq!(group_of(process.process.pid), home);

        // Held without having been written down: it is found, to be given back.
        let group = home.join(label.to_string());
        fs::create_dir(&group).unwrap();
        set_frozen(&group, true);
        move_to(&group, process.process.pid);
        assert_eq!(driver.owned().unwrap().targets.len(), 1);
        assert_eq!(undo(&mut driver, 1, &target), Outcome::Landed);
        assert!(process.goes_on());

        // The same act once more, after a crash, ends it.
        fs::write(&begun, "").unwrap();
        assert_eq!(execute(&mut driver, 1, &target), Outcome::Landed);
        assert!(!is_running(process.process.pid));

        // One that ended by itself before it was held is not taken for ours.
        let mut other = Started::echo(&home);
        let label = Label {
            process: other.process,
            ..label
        };
        fs::write(tombs.path().join(format!("{label}.begun")), "").unwrap();
        other.kill();
        let seen = driver.observe(&[other.target()]).remove(0).unwrap();
        assert!(!seen.enforcing, "nothing was done to it");
    });
}

#[test]
fn what_is_frozen_for_another_reason_is_left() {
    in_subtree("what_is_frozen_for_another_reason_is_left", |tree| {
        let home = tree.group("home");
        let (mut killer, _tombs) = driver(tree);
        let mut freezer = tree.driver(OURS);
        let process = Started::echo(&home);
        let target = process.target();
        let request = ExecuteRequest {
            transaction: TransactionId(7),
            key: EffectKey::default(),
            target: target.clone(),
            version: 0,
            hold: Span::from_hours(1),
            renewal: false,
        };
        assert_eq!(freezer.execute(&[request]), [Outcome::Landed]);
        match execute(&mut killer, 1, &target) {
            Outcome::DidNotHappen(failure) => assert!(failure.what.contains("TX-7 holds it to freeze it"), "{failure}"),
            other => panic!("{other:?}"),
        }
        assert!(killer.owned().unwrap().targets.is_empty());
        assert_eq!(freezer.owned().unwrap().targets.len(), 1);
        assert!(is_running(process.process.pid));
    });
}

#[test]
fn nothing_is_ended_that_cannot_be_written_down() {
    in_subtree("nothing_is_ended_that_cannot_be_written_down", |tree| {
        let home = tree.group("home");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut driver = CgroupKillProcess::start(tree.options(OURS), &file).unwrap();
        let mut process = Started::echo(&home);
        match execute(&mut driver, 1, &process.target()) {
            Outcome::DidNotHappen(failure) => assert!(failure.what.contains("cannot keep what was ended"), "{failure}"),
            other => panic!("{other:?}"),
        }
        assert!(process.goes_on());
    });
}

#[test]
fn without_a_server_what_is_held_is_given_back_and_what_has_ended_stays_written_down() {
    let test = "without_a_server_what_is_held_is_given_back_and_what_has_ended_stays_written_down";
    in_subtree(test, |tree| {
        let home = tree.group("home");
        let (mut driver, tombs) = driver(tree);
        let (ended, mut held) = (Started::echo(&home), Started::echo(&home));
        assert_eq!(execute(&mut driver, 1, &ended.target()), Outcome::Landed);
        let label = Label {
            purpose: Purpose::Kill,
            installation: OURS,
            transaction: TransactionId(2),
            process: held.process,
        };
        let group = home.join(label.to_string());
        fs::create_dir(&group).unwrap();
        set_frozen(&group, true);
        move_to(&group, held.process.pid);
        assert_eq!(driver.count_labelled(Whose::Of(OURS)), Ok(1));
        let others = CgroupKillProcess::start(tree.options(THEIRS), tombs.path()).unwrap();
        assert_eq!(others.release_everything(Whose::Of(THEIRS)), Ok(0));
        assert_eq!(others.release_everything(Whose::Of(OURS)), Ok(1));
        assert!(held.goes_on());
        assert_eq!(driver.owned().unwrap().targets.len(), 1, "nothing undoes it");
        until("it has ended", || (!is_running(ended.process.pid)).then_some(()));
    });
}
