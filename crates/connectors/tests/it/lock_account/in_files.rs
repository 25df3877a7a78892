//! Accounts in files of their own, as the contract suite wants them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use staunch_model::{InstallationId, Target};
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, Family};

use crate::freeze_process_setting::{Started, Subtree, is_frozen, set_frozen};
use crate::lock_account_setting::{Files, SECRET, name, target, uid};

/// Accounts, made when they are asked for.
pub(super) struct InFiles {
    files: Files,
    /// The lines of the accounts that there are, as they were made.
    lines: RefCell<BTreeMap<String, String>>,
    /// Slices of users with something running, where the enforcement is broken in them.
    tree: Option<(Subtree, RefCell<Vec<Started>>)>,
}

impl InFiles {
    pub(super) fn new() -> Self {
        Self {
            files: Files::new(),
            lines: RefCell::default(),
            tree: None,
        }
    }

    pub(super) fn with_sessions() -> Self {
        let tree = Subtree::make().unwrap();
        fs::create_dir(tree.root.join("user.slice")).unwrap();
        Self {
            files: Files::with_slices(&tree.root),
            lines: RefCell::default(),
            tree: Some((tree, RefCell::default())),
        }
    }

    /// The accounts with a record.
    fn held(&self) -> Vec<String> {
        let lines = self.lines.borrow();
        lines
            .keys()
            .filter(|it| self.files.record(it).is_some())
            .cloned()
            .collect()
    }

    fn slice(&self, name: &str) -> Option<PathBuf> {
        let (tree, _) = self.tree.as_ref()?;
        let number = name.strip_prefix("user").unwrap().parse().unwrap();
        Some(slice_of(&tree.root, number))
    }

    fn restore(&self, name: &str) {
        let fields = self.files.fields(name);
        let line = self.lines.borrow()[name].clone();
        let text = String::from_utf8(self.files.shadow()).unwrap();
        self.files.write("shadow", &text.replace(&fields.join(":"), &line));
        if let Some(slice) = self.slice(name) {
            set_frozen(&slice, false);
        }
    }

    /// Makes the enforcement of what is held work, or not.
    fn set_enforced(&self, enforced: bool) {
        for name in self.held() {
            match self.slice(&name) {
                Some(slice) => set_frozen(&slice, enforced),
                None => self.files.set(&name, 7, if enforced { "2" } else { "" }),
            }
        }
    }
}

pub(super) fn slice_of(tree: &Path, number: u16) -> PathBuf {
    tree.join(format!("user.slice/user-{}.slice", uid(number)))
}

fn name_of(target: &Target) -> &str {
    match target {
        Target::Account(name) => name.as_str(),
        other => panic!("{other}"),
    }
}

fn label_in(record: &str) -> String {
    let label = record.lines().find_map(|line| line.strip_prefix("label "));
    label.unwrap().to_owned()
}

impl ActionWorld for InFiles {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(self.files.driver(installation))
    }
    fn label(&self, target: Target) -> Option<String> {
        let name = name_of(&target);
        let fields = self.files.fields(name);
        let is_frozen = self.slice(name).is_some_and(|slice| is_frozen(&slice));
        match self.files.record(name) {
            Some(record) => {
                assert!(fields[1].starts_with('!') && fields[7] == "2", "{fields:?}");
                Some(label_in(&record))
            }
            None => {
                assert_eq!(fields.join(":"), self.lines.borrow()[name], "it is as it was");
                assert!(!is_frozen);
                None
            }
        }
    }
    fn put(&self, target: Target, label: &str) {
        let name = name_of(&target);
        self.files.set(name, 7, "2");
        self.files.set(name, 1, "!");
        fs::create_dir_all(self.files.path("accounts")).unwrap();
        let record = format!("staunch lock-account 1\nlabel {label}\n");
        fs::write(self.files.path("accounts").join(name), record).unwrap();
    }
    fn remove(&self, target: Target) {
        let name = name_of(&target);
        fs::remove_file(self.files.path("accounts").join(name)).unwrap();
        self.restore(name);
    }
    fn flush(&self) {
        drop(fs::remove_dir_all(self.files.path("accounts")));
        let names: Vec<String> = self.lines.borrow().keys().cloned().collect();
        names.iter().for_each(|name| self.restore(name));
    }
    fn break_enforcement(&self) {
        self.set_enforced(false);
    }
    fn restore_enforcement(&self) {
        self.set_enforced(true);
    }
    fn families(&self) -> &'static [Family] {
        &[Family::Accounts]
    }
    fn target(&self, _: Family, number: u16) -> Target {
        let name = name(number);
        if !self.lines.borrow().contains_key(&name) {
            let line = self.files.add(number, &format!("$y$j9T${SECRET}"), "");
            self.lines.borrow_mut().insert(name.clone(), line);
            if let Some((tree, started)) = &self.tree {
                let slice = slice_of(&tree.root, number);
                fs::create_dir(&slice).unwrap();
                started.borrow_mut().push(Started::echo(&slice));
            }
        }
        target(&name)
    }
    fn counts_down(&self) -> bool {
        false
    }
    fn enforces_each(&self) -> bool {
        true
    }
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 12, 30]
    }
}
