//! Freezes a process with a group of cgroup v2 that is made for it inside of its own.
//!
//! # Expected flow
//! Make a group with our label in the process's present group, set it to be frozen, move the process in, do the same
//! for those that descend from it, wherever they are, until no new ones appear, and wait until the kernel says that all
//! are frozen. Undo moves everything back to the group that ours is in, and removes ours.
//!
//! # Guarantees
//! A group inside of its own keeps limits, accounting and the service manager's idea of which unit a process belongs
//! to, so that nothing is lost when it is moved back. Executing twice equals executing once. Undo removes only groups
//! with this transaction's label, and what was started inside meanwhile goes back too. A process is looked at before
//! and after it is moved: if its number has gone to another one in between, that one is moved back. Process 1, the
//! kernel's threads, Staunch itself and what it descends from are never frozen, whoever asks. A label counts only on a
//! group that root or this user made, because a user to whom a part of the tree is delegated can make groups of any
//! name in it.
//!
//! # Assumptions
//! cgroup v2 is mounted and processes are seen with the numbers of the PID namespace of this process.
//!
//! # Caveats
//! The kernel does not count down: a freeze has no end of its own, `expires_in` is `None`, and while Staunch is not
//! there nothing lifts it. Descent is told by the parent of each process: one whose parent has ended before it was
//! seen, such as a daemon that forked twice, is not found. Who may kill a frozen process can kill it. A user to whom
//! the process's group is delegated can move it out with another process of its own; `observe` and `owned` see that. A
//! process in the middle of a system call that does not end is moved, and frozen when it ends. A process in a threaded
//! group cannot be frozen. What the service manager stops or kills goes with our group in it. `owned` leaves out what
//! is in place but not frozen: each freeze is enforced by itself, and one that somebody thawed says nothing of the
//! others.
//!
//! # Errors
//! `Denied` (this user may not write to the group), `Unavailable` (no cgroup v2, or it kept starting others), `Gone`
//! (it has ended), `Conflict` (its number has gone to another, a threaded group, something else is in place), `Full`
//! (more processes than are frozen together, or no more groups may be made), `Invalid` (not to be told from others, or
//! never to be frozen); `InDoubt` when it was moved and has not frozen in time, or what was done could not be taken
//! back.

pub(in crate::actions) mod error;
pub(in crate::actions) mod group;
mod hold;
mod lift;
pub(in crate::actions) mod look;
mod mount;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use staunch_model::{
    Description, Failure, FailureKind, InstallationId, Observation, Outcome, Owner, Permissions, Presence, Printable,
    Process, Target, TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

use super::super::Whose;
use super::super::former::lifted_and_read;
use super::{Label, Purpose, description, process_of};
use crate::proc::Proc;
use error::failure;
use look::{Look, Seen};
pub use mount::RootError;

/// The longest time that one call takes, but for a look that is under way when it is over.
pub(in crate::actions) const CALL_MAX: Duration = Duration::from_secs(4);

/// How much longer the last act of a call may take to be taken back.
pub(in crate::actions) const MARGIN: Duration = Duration::from_secs(1);

/// How long a look waits for a group that is set to be frozen and is not yet.
const SETTLES_WITHIN: Duration = Duration::from_millis(50);

/// How the driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupOptions {
    /// Whose groups are ours.
    pub installation: InstallationId,
    /// The directory below which processes are frozen, in the tree of cgroup v2. Default: where the tree is mounted.
    pub root: Option<PathBuf>,
    /// Where the processes are. Default: `/proc`.
    pub proc: PathBuf,
    /// The most processes that are frozen for one target. Default: 4,096.
    pub processes_max: usize,
    /// How long it is awaited that all of a target's processes are frozen. Default: 500 ms.
    pub frozen_within: Duration,
}

impl CgroupOptions {
    /// The defaults for `installation`.
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self {
            installation,
            root: None,
            proc: PathBuf::from("/proc"),
            processes_max: 4_096,
            frozen_within: Duration::from_millis(500),
        }
    }
}

/// Where the tree of cgroup v2 is mounted, as `self/mountinfo` in `proc` says: what this driver writes is all below it.
///
/// # Errors
/// [`RootError`].
pub fn cgroup2_mount(proc: &Path) -> Result<PathBuf, RootError> {
    mount::find(&Proc::new(proc)).map(|it| it.point)
}

/// The driver. It keeps nothing that a new one would not find.
#[derive(Debug)]
pub struct CgroupFreezeProcess {
    pub(in crate::actions) options: CgroupOptions,
    /// What its groups are made for.
    purpose: Purpose,
    proc: Proc,
    /// What other installations had there when everything was last listed.
    former: Vec<Former>,
}

impl CgroupFreezeProcess {
    /// Makes a driver. It opens nothing before it is asked.
    #[must_use]
    pub fn new(options: CgroupOptions) -> Self {
        Self::with_purpose(options, Purpose::Freeze)
    }

    /// Makes one whose groups are made for `purpose`. It only ever freezes what is in them.
    pub(in crate::actions) fn with_purpose(options: CgroupOptions, purpose: Purpose) -> Self {
        let proc = Proc::new(&options.proc);
        Self {
            options,
            purpose,
            proc,
            former: Vec::new(),
        }
    }

    /// Makes a driver, and looks whether there is a tree to freeze in.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn start(options: CgroupOptions) -> Result<Self, RootError> {
        let driver = Self::new(options);
        mount::find(&driver.proc)?;
        Ok(driver)
    }

    /// How many targets are held with a label of Staunch that is meant by `whose`.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn count_labelled(&self, whose: Whose) -> Result<usize, Failure> {
        let labels = self.look()?.labels();
        Ok(labels.iter().filter(|it| whose.means(it.installation)).count())
    }

    /// Lifts everything with a label of Staunch that is meant by `whose`, and returns how many targets were held.
    ///
    /// The last resort for when the engine cannot be reached: nothing is recorded.
    ///
    /// # Errors
    /// The first failure, when not all of it could be lifted; the others are tried all the same.
    pub fn release_everything(&self, whose: Whose) -> Result<u64, Failure> {
        let mut look = self.look()?;
        let (mut released, mut failed) = (0, None);
        for label in look.labels().iter().filter(|it| whose.means(it.installation)) {
            match look.lift(label) {
                Ok(_) => released += 1,
                Err(error) => {
                    let doing = format!("thaw {}", Target::Process(label.process));
                    failed.get_or_insert_with(|| failure(&doing, &error));
                }
            }
            // What was lifted may have changed where others are.
            look = self.look()?;
        }
        failed.map_or(Ok(released), Err)
    }

    pub(in crate::actions) fn look(&self) -> Result<Look<'_>, Failure> {
        Look::new(
            &self.proc,
            self.options.installation,
            self.purpose,
            self.options.root.as_deref(),
        )
    }

    pub(in crate::actions) fn observe_one(look: &Look<'_>, process: Process) -> Result<Observation, Failure> {
        let (owner, enforcing) = match look.see(process)? {
            Seen::Absent => (None, true),
            Seen::Ours(label) => (Some(Owner::Ours(label.transaction)), look.is_enforced(&label)?),
            Seen::Within(label) => (Some(Owner::Ours(label.transaction)), look.is_enforced(&label)?),
            Seen::Foreign(name) => (Some(Owner::Foreign(Printable(&name).to_string().into())), true),
        };
        Ok(Observation {
            presence: owner.map_or(Presence::Absent, |owner| Presence::Present {
                owner,
                expires_in: None,
            }),
            enforcing,
            version: 0,
            capacity: None,
            stopped_packets: None,
        })
    }

    fn read_owned(&mut self) -> Result<Owned, Failure> {
        let look = self.look()?;
        let (mut targets, mut unread) = (Vec::new(), Vec::new());
        let mut former = Vec::new();
        for label in look.labels() {
            let target = Target::Process(label.process);
            if label.installation != self.options.installation {
                former.push(Former {
                    target,
                    label: label.to_string().into(),
                    expires_in: None,
                });
            } else {
                match look.is_enforced(&label) {
                    Ok(true) => targets.push(OwnedTarget {
                        transaction: label.transaction,
                        target,
                    }),
                    Ok(false) => {}
                    Err(failure) => unread.push((target, failure)),
                }
            }
        }
        self.former = former;
        Ok(Owned {
            targets,
            enforcing: true,
            unread,
        })
    }

    pub(in crate::actions) fn label(&self, transaction: TransactionId, target: &Target) -> Label {
        Label {
            purpose: self.purpose,
            installation: self.options.installation,
            transaction,
            process: process_of(target),
        }
    }
}

impl Action for CgroupFreezeProcess {
    fn describe(&self) -> Description {
        let writes = "write to cgroup.procs of the target's cgroup and of the cgroups above it, and make cgroups there: \
                      root, or CAP_DAC_OVERRIDE";
        let permissions = Permissions {
            act: writes.into(),
            check: "read /proc and the tree of cgroup v2".into(),
            undo: writes.into(),
        };
        description("cgroup", CALL_MAX + self.options.frozen_within + MARGIN, permissions)
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        if targets.is_empty() {
            return Vec::new();
        }
        match self.look() {
            Ok(look) => {
                let seen = targets.iter().map(|it| Self::observe_one(&look, process_of(it)));
                seen.collect()
            }
            Err(failure) => vec![Err(failure); targets.len()],
        }
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let until = Instant::now() + CALL_MAX;
        let each = requests.iter().map(|request| {
            if Instant::now() < until {
                self.execute_one(request, until)
            } else {
                not_tried()
            }
        });
        each.collect()
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let until = Instant::now() + CALL_MAX;
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut look = None;
        for request in requests {
            let label = self.label(request.transaction, &request.target);
            if Instant::now() >= until {
                outcomes.push(not_tried());
                continue;
            }
            let looked = match look.take() {
                Some(looked) => Ok(looked),
                None => self.look(),
            };
            outcomes.push(match looked {
                Err(failure) => Outcome::DidNotHappen(failure),
                Ok(looked) => match looked.lift(&label) {
                    Ok(lifted) => {
                        // What was lifted may have changed where others are.
                        look = (lifted == 0).then_some(looked);
                        Outcome::Landed
                    }
                    // Some of it may go on by now.
                    Err(error) => Outcome::InDoubt(failure(&format!("thaw {}", request.target), &error)),
                },
            });
        }
        outcomes
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.read_owned()
    }

    fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        let lifted = self.release_everything(Whose::Others(self.options.installation));
        lifted_and_read(self, lifted)
    }
}

pub(in crate::actions) fn not_tried() -> Outcome {
    let what = "not tried: earlier requests of the same batch took too long";
    Outcome::DidNotHappen(Failure::new(FailureKind::Unavailable, what))
}
