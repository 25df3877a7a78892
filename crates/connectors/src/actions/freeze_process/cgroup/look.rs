//! One look at the tree of groups and at the processes: which groups carry a label, and whose a process is.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use staunch_model::{Failure, FailureKind, InstallationId, Process};

use super::super::{Label, Purpose};
use super::SETTLES_WITHIN;
use super::error::{failure, no_root, unreadable};
use super::group::{Group, GroupError, label_of};
use crate::mounts::Mount;
use crate::proc::{Proc, Stat, Table};

/// Groups that one look walks through. A large node has some thousands; it bounds the time of a look.
const GROUPS_MAX: usize = 65_536;

/// What was seen.
pub(in crate::actions) struct Look<'a> {
    pub(super) proc: &'a Proc,
    installation: InstallationId,
    purpose: Purpose,
    mount: Mount,
    /// Below which directory.
    root: PathBuf,
    pub(super) boot: u32,
    /// Every group with a label, those below others after them.
    labelled: Vec<(Group, Label)>,
    everybody: OnceCell<Table>,
}

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions) enum Seen {
    /// Nobody's.
    Absent,
    /// A group of ours was made for it.
    Ours(Label),
    /// It is in a group of ours that was made for another one, from which it descends.
    Within(Label),
    /// Somebody else's group holds it frozen; its name.
    Foreign(String),
}

impl<'a> Look<'a> {
    pub(super) fn new(
        proc: &'a Proc,
        installation: InstallationId,
        purpose: Purpose,
        root: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mount = super::mount::find(proc).map_err(|error| no_root(&error))?;
        let root = root.unwrap_or(&mount.point).to_owned();
        let boot = proc.boot().map_err(|error| unreadable("the boot id", &error))?;
        let labelled = walk(&root)?;
        Ok(Self {
            proc,
            installation,
            purpose,
            mount,
            root,
            boot,
            labelled,
            everybody: OnceCell::new(),
        })
    }

    /// Every label with our purpose.
    pub(in crate::actions) fn labels(&self) -> BTreeSet<Label> {
        let labels = self.labelled.iter().map(|(_, label)| *label);
        labels.filter(|it| it.purpose == self.purpose).collect()
    }

    fn is_ours(&self, label: &Label) -> bool {
        label.installation == self.installation && label.purpose == self.purpose
    }

    /// The groups with `label`.
    pub(in crate::actions) fn groups<'b>(&'b self, label: &'b Label) -> impl Iterator<Item = &'b Group> {
        let with = self.labelled.iter().filter(move |(_, it)| it == label);
        with.map(|(group, _)| group)
    }

    /// The group that a process is in; `None` when it has ended, or is not below our root.
    pub(super) fn group_of(&self, pid: u32) -> Result<Option<Group>, Failure> {
        let path = self.proc.cgroup(pid);
        let path = path.map_err(|error| unreadable(&format!("the cgroup of process {pid}"), &error))?;
        let directory = path.and_then(|it| self.mount.directory(&it));
        Ok(directory.filter(|it| it.starts_with(&self.root)).map(Group::at))
    }

    /// The process with the number and the start of `process`, when there is one that has not ended.
    pub(in crate::actions) fn alive(&self, process: Process) -> Result<Option<Stat>, Failure> {
        if process.boot != self.boot {
            return Ok(None);
        }
        let stat = self.proc.stat(process.pid);
        let stat = stat.map_err(|error| unreadable(&format!("process {}", process.pid), &error))?;
        Ok(stat.filter(|it| it.is(process) && !it.has_ended()))
    }

    /// Everybody, as read once for this look.
    fn everybody(&self) -> Result<&Table, Failure> {
        if let Some(table) = self.everybody.get() {
            return Ok(table);
        }
        let table = self
            .proc
            .everybody()
            .map_err(|error| unreadable("the processes", &error))?;
        Ok(self.everybody.get_or_init(|| table))
    }

    pub(in crate::actions) fn see(&self, process: Process) -> Result<Seen, Failure> {
        let made_for_it = |ours: bool| {
            let mut labels = self.labelled.iter().map(|(_, label)| *label);
            labels.find(|it| it.process == process && self.is_ours(it) == ours)
        };
        if let Some(label) = made_for_it(true) {
            return Ok(Seen::Ours(label));
        }
        if let Some(label) = made_for_it(false) {
            return Ok(Seen::Foreign(label.to_string()));
        }
        if !process.is_identified() || self.alive(process)?.is_none() {
            return Ok(Seen::Absent);
        }
        let Some(group) = self.group_of(process.pid)? else {
            return Ok(Seen::Absent);
        };
        for path in group.path().ancestors().take_while(|it| it.starts_with(&self.root)) {
            let group = Group::at(path.to_owned());
            match group.label() {
                Some(label) if self.is_ours(&label) => return Ok(Seen::Within(label)),
                Some(label) => return Ok(Seen::Foreign(label.to_string())),
                // What a user freezes in a part of the tree that is its own, it can thaw at any time.
                None if is_set(&group)? && group.is_trusted() => return Ok(Seen::Foreign(group.name())),
                None => {}
            }
        }
        Ok(Seen::Absent)
    }

    /// Whether every group of `label` is frozen, and the process it is for, and all that descend from it, are in one.
    pub(super) fn is_enforced(&self, label: &Label) -> Result<bool, Failure> {
        let groups: Vec<&Group> = self.groups(label).collect();
        for group in &groups {
            match frozen(group) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // It was removed after it was seen.
                Err(error) if error.is_gone() => return Ok(false),
                Err(error) => return Err(failure("tell whether a group is frozen", &error)),
            }
        }
        if self.alive(label.process)?.is_none() {
            // What it had started went on to other parents.
            return Ok(true);
        }
        let below = self.below(label.process.pid)?;
        for pid in std::iter::once(label.process.pid).chain(below) {
            let group = self.group_of(pid)?;
            let inside = |group: &Group| groups.iter().any(|ours| group.path().starts_with(ours.path()));
            // Who has ended since is in no group, and neither is who is out of sight.
            if !group.as_ref().is_some_and(inside) && self.is_running(pid)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The processes that descend from `pid`, which is frozen, or else is found to be out of its group.
    fn below(&self, pid: u32) -> Result<BTreeSet<u32>, Failure> {
        let mut found = BTreeSet::new();
        let mut open = vec![pid];
        while let Some(parent) = open.pop() {
            let children = self.proc.children(parent);
            match children.map_err(|error| unreadable(&format!("the children of process {parent}"), &error))? {
                Some(children) => open.extend(children.into_iter().filter(|it| found.insert(*it))),
                // Without lists of children, everybody has to be looked at.
                None => return Ok(self.everybody()?.descendants(&[pid]).iter().map(|it| it.pid).collect()),
            }
        }
        Ok(found)
    }

    fn is_running(&self, pid: u32) -> Result<bool, Failure> {
        let stat = self.proc.stat(pid);
        let stat = stat.map_err(|error| unreadable(&format!("process {pid}"), &error))?;
        Ok(stat.is_some_and(|it| !it.has_ended()))
    }
}

fn frozen(group: &Group) -> Result<bool, GroupError> {
    Ok(group.is_set()? && group.await_frozen(Instant::now() + SETTLES_WITHIN)?)
}

fn is_set(group: &Group) -> Result<bool, Failure> {
    match group.is_set() {
        Err(error) if error.is_gone() => Ok(false),
        set => set.map_err(|error| failure("tell whether a group is frozen", &error)),
    }
}

/// Every group with a label below `root`.
fn walk(root: &Path) -> Result<Vec<(Group, Label)>, Failure> {
    let top = Group::at(root.to_owned());
    let mut labelled = Vec::new();
    let mut open = match top.children() {
        Ok(open) => open,
        // Nothing is frozen where there is nothing.
        Err(error) if error.is_gone() => return Ok(labelled),
        Err(error) => return Err(failure("look for groups", &error)),
    };
    let mut seen = open.len();
    while let Some(group) = open.pop() {
        if let Some(label) = group
            .path()
            .file_name()
            .and_then(label_of)
            .filter(|_| group.is_trusted())
        {
            labelled.push((group.clone(), label));
        }
        if group.is_leaf() {
            continue;
        }
        match group.children() {
            Ok(below) => {
                seen += below.len();
                open.extend(below);
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(failure("look for groups", &error)),
        }
        if seen > GROUPS_MAX {
            let what = format!(
                "cannot look for groups: there are more than {GROUPS_MAX} below {}",
                root.display()
            );
            return Err(Failure::new(FailureKind::Unavailable, &what));
        }
    }
    Ok(labelled)
}
