//! Ends a process with a group of cgroup v2 that is made for it inside of its own.
//!
//! # Expected flow
//! Write down what is to be ended, hold the process and those that descend from it as the driver that freezes does, and
//! when nothing of it moves any more, have the kernel end all that is in the groups (`cgroup.kill`), wait until they
//! are empty, and remove them. Undo thaws and gives back what was held and not ended, and forgets what was written
//! down.
//!
//! # Guarantees
//! Nothing is ended that was not held first: what could not be held as a whole is given back, and nothing is ended of
//! it. Executing twice equals executing once. That a process is not there any more is not taken for our doing: only
//! what was written down before is. Process 1, the kernel's threads, Staunch itself and what it descends from are never
//! ended.
//!
//! # Assumptions
//! Those of the driver that freezes; and Linux 5.14, which has `cgroup.kill`.
//!
//! # Caveats
//! There is no way back: undo brings no process back. A service manager may start the program again, as a new process.
//! What was ended is written down until its lease ends, which says how long the same process, should one still be
//! there, counts as ended. Those of the driver that freezes.
//!
//! # Errors
//! Those of the driver that freezes; `Unavailable` where the kernel cannot end a group, or where nothing can be written
//! down; `InDoubt` when it was told to end and has not in time, or what was done could not be taken back.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use staunch_model::{
    ActionKind, Description, Failure, FailureKind, Observation, Outcome, Owner, Permissions, Presence, RiskClass, Span,
    Target, UndoClass,
};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};
use thiserror::Error;

use super::super::former::lifted_and_read;
use super::super::freeze_process::cgroup::error::failure;
use super::super::freeze_process::cgroup::look::Look;
use super::super::freeze_process::cgroup::{CALL_MAX, MARGIN, not_tried};
use super::super::freeze_process::{CgroupFreezeProcess, CgroupOptions, Label, Purpose, RootError, process_of};
use super::super::{Whose, hold};
use super::tombs::{Stage, Tombs};

/// How long it is awaited that all that was told to end has ended.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no driver.
#[derive(Debug, Error)]
pub enum KillError {
    /// There is no tree to hold processes in.
    #[error("no process can be held")]
    NoTree(#[from] RootError),
    /// The kernel has no way to end a group.
    #[error("this kernel cannot end a cgroup as a whole: that takes Linux 5.14")]
    NoKill,
}

/// The driver.
#[derive(Debug)]
pub struct CgroupKillProcess {
    freezer: CgroupFreezeProcess,
    tombs: Tombs,
    /// What other installations had there when everything was last listed.
    former: Vec<Former>,
}

impl CgroupKillProcess {
    /// Makes a driver, which writes down in `dir` what it ends. It opens nothing before it is asked.
    #[must_use]
    pub fn new(options: CgroupOptions, dir: &Path) -> Self {
        Self {
            freezer: CgroupFreezeProcess::with_purpose(options, Purpose::Kill),
            tombs: Tombs::at(dir),
            former: Vec::new(),
        }
    }

    /// Makes a driver, and looks whether there is a tree to hold processes in and a kernel that can end them.
    ///
    /// # Errors
    /// [`KillError`].
    pub fn start(options: CgroupOptions, dir: &Path) -> Result<Self, KillError> {
        let mount = super::super::freeze_process::cgroup2_mount(&options.proc)?;
        if kills_no_group(&mount) {
            return Err(KillError::NoKill);
        }
        Ok(Self::new(options, dir))
    }

    /// How many targets are held, to be ended, with a label of Staunch that is meant by `whose`. What has ended is not
    /// held.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn count_labelled(&self, whose: Whose) -> Result<usize, Failure> {
        self.freezer.count_labelled(whose)
    }

    /// Gives back everything that is held, to be ended, with a label of Staunch that is meant by `whose`, and returns
    /// how many targets that were. What has ended stays written down: nothing undoes it. Without a record: the last
    /// resort for when the engine cannot be reached.
    ///
    /// # Errors
    /// The first failure, when not all of it could be given back.
    pub fn release_everything(&self, whose: Whose) -> Result<u64, Failure> {
        let released = self.freezer.release_everything(whose)?;
        let look = self.freezer.look()?;
        let labels = self.tombs.labels().map_err(|error| self.unwritten(&error))?;
        for (label, stage) in labels.iter().filter(|(it, _)| whose.means(it.installation)) {
            if !Self::has_ended(&look, label, *stage)? {
                self.tombs.remove(label).map_err(|error| self.unwritten(&error))?;
            }
        }
        Ok(released)
    }

    /// What is known of `target`, by what is there and what was written down.
    fn observe_one(&self, look: &Look<'_>, target: &Target) -> Result<Observation, Failure> {
        let process = process_of(target);
        let labels = self.tombs.labels().map_err(|error| self.unwritten(&error))?;
        let Some((label, stage)) = labels.into_iter().find(|(it, _)| it.process == process) else {
            return CgroupFreezeProcess::observe_one(look, process);
        };
        let owner = if self.is_ours(&label) {
            Owner::Ours(label.transaction)
        } else {
            Owner::Foreign(label.to_string().into())
        };
        Ok(Observation {
            presence: Presence::Present {
                owner,
                expires_in: None,
            },
            enforcing: Self::has_ended(look, &label, stage)?,
            version: 0,
            capacity: None,
            stopped_packets: None,
        })
    }

    /// Whether it was told to end once all of it was held, and is not there any more, with all that was held with it.
    fn has_ended(look: &Look<'_>, label: &Label, stage: Stage) -> Result<bool, Failure> {
        // One that ended before it was held did so by itself.
        if stage == Stage::Begun || look.alive(label.process)?.is_some() {
            return Ok(false);
        }
        let mut groups = look.groups(label);
        groups.try_fold(true, |ended, group| match group.await_empty(Instant::now()) {
            Ok(is_empty) => Ok(ended && is_empty),
            Err(error) if error.is_gone() => Ok(ended),
            Err(error) => Err(failure("tell whether a cgroup is empty", &error)),
        })
    }

    fn is_ours(&self, label: &Label) -> bool {
        label.installation == self.freezer.options.installation
    }

    fn execute_one(&self, request: &ExecuteRequest, until: Instant) -> Result<Outcome, Failure> {
        if let Some(refused) = hold::refused("kill", &request.target, request.hold) {
            return Err(refused);
        }
        let label = self.freezer.label(request.transaction, &request.target);
        let labels = self.tombs.labels().map_err(|error| self.unwritten(&error))?;
        let written = match labels.iter().find(|(it, _)| it.process == label.process) {
            Some((it, stage)) if *it == label => Some(*stage),
            Some((it, _)) => {
                let what = format!(
                    "cannot kill {}: {it} stands for it already ({})",
                    request.target, it.transaction
                );
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            None => None,
        };
        if let Some(stage) = written
            && Self::has_ended(&self.freezer.look()?, &label, stage)?
        {
            return Ok(Outcome::Landed);
        }
        if request.renewal || !label.process.is_identified() {
            // It says why not.
            return Ok(self.freezer.execute_one(request, until));
        }
        if written.is_none() {
            self.tombs.begin(&label).map_err(|error| self.unwritten(&error))?;
        }
        match self.freezer.execute_one(request, until) {
            Outcome::Landed => Ok(self.end(&label, &request.target)),
            Outcome::DidNotHappen(failure) if written.is_none() => {
                self.tombs.remove(&label).map_err(|error| self.unwritten(&error))?;
                Err(failure)
            }
            Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure) => Ok(Outcome::InDoubt(failure)),
        }
    }

    /// Ends what is held under `label`.
    fn end(&self, label: &Label, target: &Target) -> Outcome {
        // From here on it is our doing that it ends.
        if let Err(error) = self.tombs.hold(label) {
            return Outcome::InDoubt(self.unwritten(&error));
        }
        let ended = self.freezer.look().and_then(|look| {
            let doing = format!("kill {target}");
            let until = Instant::now() + ENDED_WITHIN;
            for group in look.groups(label) {
                match group.kill() {
                    Err(error) if !error.is_gone() => return Err(failure(&doing, &error)),
                    _ => {}
                }
            }
            for group in look.groups(label) {
                match group.await_empty(until) {
                    Ok(true) => {}
                    Err(error) if error.is_gone() => {}
                    Err(error) => return Err(failure(&doing, &error)),
                    Ok(false) => {
                        let what = format!(
                            "cannot kill {target}: it was told to end and has not within {ENDED_WITHIN:?}; it is in a system \
                             call that does not end"
                        );
                        return Err(Failure::new(FailureKind::TimedOut, &what));
                    }
                }
            }
            look.lift(label).map_err(|error| failure(&doing, &error))?;
            if self.freezer.look()?.alive(label.process)?.is_some() {
                let what = format!("cannot kill {target}: it was not in its group when that was told to end");
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            Ok(())
        });
        match ended {
            Ok(()) => Outcome::Landed,
            // Some of it may have ended.
            Err(failure) => Outcome::InDoubt(failure),
        }
    }

    fn undo_one(&mut self, request: &UndoRequest) -> Outcome {
        let label = self.freezer.label(request.transaction, &request.target);
        match self.freezer.undo(std::slice::from_ref(request)).pop() {
            Some(Outcome::Landed) => match self.tombs.remove(&label) {
                Ok(()) => Outcome::Landed,
                // It was given back.
                Err(error) => Outcome::InDoubt(self.unwritten(&error)),
            },
            Some(other) => other,
            None => not_tried(),
        }
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Full,
            _ => FailureKind::Unavailable,
        };
        let what = format!("cannot keep what was ended in {}: {error}", self.tombs.dir().display());
        Failure::new(kind, &what)
    }
}

impl Action for CgroupKillProcess {
    fn describe(&self) -> Description {
        let held = self.freezer.describe();
        let ended = Span::from_micros(u64::try_from(ENDED_WITHIN.as_micros()).unwrap_or(u64::MAX));
        Description {
            kind: ActionKind::KillProcess,
            risk: RiskClass::High,
            undo: UndoClass::None,
            // The kernel closes them with the process.
            cuts_established: true,
            in_flight_max: held.in_flight_max + ended,
            d3fend: "D3-PT".into(),
            permissions: Permissions {
                act: format!("{}; and cgroup.kill", held.permissions.act).into(),
                ..held.permissions
            },
            ..held
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        if targets.is_empty() {
            return Vec::new();
        }
        match self.freezer.look() {
            Ok(look) => targets.iter().map(|it| self.observe_one(&look, it)).collect(),
            Err(failure) => vec![Err(failure); targets.len()],
        }
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let until = Instant::now() + CALL_MAX;
        let each = requests.iter().map(|request| {
            if Instant::now() < until {
                self.execute_one(request, until).unwrap_or_else(Outcome::DidNotHappen)
            } else {
                not_tried()
            }
        });
        each.collect()
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let until = Instant::now() + CALL_MAX + MARGIN;
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(if Instant::now() < until {
                self.undo_one(request)
            } else {
                not_tried()
            });
        }
        outcomes
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        // Also what others have left is read.
        self.freezer.owned()?;
        let look = self.freezer.look()?;
        let written = self.tombs.labels().map_err(|error| self.unwritten(&error))?;
        let mut targets = Vec::new();
        let held = look.labels();
        let unwritten = held.iter().filter(|it| !written.contains_key(it)).map(|it| (it, None));
        let all = written
            .iter()
            .map(|(label, stage)| (label, Some(*stage)))
            .chain(unwritten);
        for (label, stage) in all.filter(|(it, _)| self.is_ours(it)) {
            // What is held and was not ended is not in force; what nobody wrote down is to be given back.
            let is_listed = match stage {
                Some(stage) => Self::has_ended(&look, label, stage)?,
                None => true,
            };
            if is_listed {
                targets.push(OwnedTarget {
                    transaction: label.transaction,
                    target: Target::Process(label.process),
                });
            }
        }
        let others = written.keys().filter(|it| !self.is_ours(it)).map(|label| Former {
            target: Target::Process(label.process),
            label: label.to_string().into(),
            expires_in: None,
        });
        self.former = self.freezer.former().into_iter().chain(others).collect();
        Ok(Owned {
            targets,
            enforcing: true,
            unread: Vec::new(),
        })
    }

    fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        let lifted = self.release_everything(Whose::Others(self.freezer.options.installation));
        lifted_and_read(self, lifted)
    }
}

/// Whether the groups of the tree at `mount` cannot be ended as a whole, though they can be frozen. Those in it all
/// can, or none can; the one at the root of everything has no such files. One that is being removed loses its files one
/// by one: one that can be ended tells more than one that cannot.
fn kills_no_group(mount: &Path) -> bool {
    let entries = std::fs::read_dir(mount).into_iter().flatten().flatten();
    let groups: Vec<_> = entries.map(|it| it.path()).collect();
    let any_has = |file: &str| groups.iter().any(|it| it.join(file).exists());
    !any_has("cgroup.kill") && any_has("cgroup.freeze")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_being_removed_does_not_tell_that_none_can_be_ended() {
        let mount = tempfile::tempdir().expect("a directory");
        let put = |group: &str, files: &[&str]| {
            let group = mount.path().join(group);
            std::fs::create_dir_all(&group).expect("a group");
            for file in files {
                std::fs::write(group.join(file), "").expect("a file");
            }
        };
        assert!(!kills_no_group(mount.path()), "nothing speaks against it");
        put("removed", &["cgroup.freeze"]);
        assert!(kills_no_group(mount.path()));
        put("whole", &["cgroup.freeze", "cgroup.kill"]);
        assert!(!kills_no_group(mount.path()));
    }
}
