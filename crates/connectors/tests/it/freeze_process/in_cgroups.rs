//! Processes in one group, as the contract suite wants them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use staunch_model::{InstallationId, Process, Target};
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, Family};

use crate::freeze_process_setting::{Started, Subtree, group_of, move_to, set_frozen};

/// Processes in one group, made when they are asked for.
pub(super) struct InCgroups {
    started: RefCell<BTreeMap<u16, Started>>,
    home: PathBuf,
    tree: Subtree,
}

impl InCgroups {
    pub(super) fn new() -> Self {
        let tree = Subtree::make().unwrap();
        Self {
            started: RefCell::default(),
            home: tree.group("home"),
            tree,
        }
    }

    /// The groups that processes are in and that are not their own.
    fn held(&self) -> Vec<(u32, PathBuf)> {
        let started = self.started.borrow();
        let groups = started.values().map(|it| (it.process.pid, group_of(it.process.pid)));
        groups.filter(|(_, group)| *group != self.home).collect()
    }
}

fn pid(target: &Target) -> u32 {
    target.process().unwrap().pid
}

impl ActionWorld for InCgroups {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(self.tree.driver(installation))
    }
    fn label(&self, target: Target) -> Option<String> {
        let group = group_of(pid(&target));
        (group != self.home).then(|| group.file_name().unwrap().to_str().unwrap().to_owned())
    }
    fn put(&self, target: Target, label: &str) {
        let group = self.home.join(label);
        fs::create_dir_all(&group).unwrap();
        set_frozen(&group, true);
        move_to(&group, pid(&target));
    }
    fn remove(&self, target: Target) {
        let group = group_of(pid(&target));
        assert_ne!(group, self.home);
        move_to(&self.home, pid(&target));
        fs::remove_dir(group).unwrap();
    }
    fn flush(&self) {
        for (pid, _) in self.held() {
            move_to(&self.home, pid);
        }
        for group in self.tree.groups().iter().filter(|it| **it != self.home) {
            fs::remove_dir(group).unwrap();
        }
    }
    fn break_enforcement(&self) {
        for (_, group) in self.held() {
            set_frozen(&group, false);
        }
    }
    fn restore_enforcement(&self) {
        for (_, group) in self.held() {
            set_frozen(&group, true);
        }
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
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 12, 40]
    }
    fn lookalike(&self, target: Target) -> String {
        let Process { pid, started, boot } = target.process().unwrap();
        format!("staunch-a0a0a0a0a0a0a0a0-TX-05-{pid}-{started}-{boot:08x}")
    }
}
