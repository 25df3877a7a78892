//! Holds a process and those that descend from it.

use std::collections::BTreeMap;
use std::time::Instant;

use staunch_model::{Failure, FailureKind, Outcome, Printable, Process, Target};
use staunch_ports::ExecuteRequest;

use super::super::super::hold;
use super::super::{Label, process_of, refused, untouchable};
use super::CgroupFreezeProcess;
use super::error::{failure, unreadable};
use super::group::Group;
use super::look::{Look, Seen};
use crate::proc::{Stat, Table};

/// How often those that descend are looked for before they are given up: each time there were new ones.
const ROUNDS_MAX: usize = 64;

/// Why holding stopped.
struct Stopped {
    failure: Failure,
    /// Whether what was done is left: it may have its effect yet.
    is_left: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            is_left: false,
        }
    }
}

/// What came of moving one process.
enum Placed {
    /// It is in our group.
    In,
    /// It has ended.
    Ended,
    /// The group that it was in is not there any more; it is somewhere else.
    Elsewhere,
}

impl CgroupFreezeProcess {
    pub(in crate::actions) fn execute_one(&self, request: &ExecuteRequest, until: Instant) -> Outcome {
        match self.decide(request, until) {
            Ok(outcome) => outcome,
            Err(failure) => Outcome::DidNotHappen(failure),
        }
    }

    fn decide(&self, request: &ExecuteRequest, until: Instant) -> Result<Outcome, Failure> {
        let (target, process) = (&request.target, process_of(&request.target));
        if let Some(failure) = hold::refused(self.purpose.verb(), target, request.hold) {
            return Err(failure);
        }
        let no = |kind, why: &str| Err(refused(self.purpose, target, kind, why));
        if !process.is_identified() {
            return no(
                FailureKind::Invalid,
                "it cannot be told from others that had its number or will have it",
            );
        }
        let label = self.label(request.transaction, target);
        let look = self.look()?;
        let is_there = match look.see(process)? {
            Seen::Ours(it) if it.transaction == label.transaction => true,
            Seen::Ours(it) => {
                return no(
                    FailureKind::Conflict,
                    &format!("a cgroup of {} is in place", it.transaction),
                );
            }
            Seen::Within(it) => {
                let held = Target::Process(it.process);
                let why = format!("{} holds it already, together with {held}", it.transaction);
                return no(FailureKind::Conflict, &why);
            }
            Seen::Foreign(name) => {
                let ours = Label::parse(&name).filter(|it| it.installation == label.installation);
                let why = match ours {
                    // The same installation, for the other purpose.
                    Some(it) => format!(
                        "{} holds it to {} it: release that first",
                        it.transaction,
                        it.purpose.verb()
                    ),
                    None => format!("somebody else's cgroup holds it ({})", Printable(&name)),
                };
                return no(FailureKind::Conflict, &why);
            }
            Seen::Absent => false,
        };
        if request.renewal {
            return if is_there {
                Ok(Outcome::Landed)
            } else {
                no(FailureKind::Conflict, "nothing is in place to be renewed")
            };
        }
        let table = self
            .proc
            .everybody()
            .map_err(|error| unreadable("the processes", &error))?;
        if let Some(why) = untouchable(&table, process.pid) {
            return no(FailureKind::Invalid, why);
        }
        if look.alive(process)?.is_none() {
            return no(FailureKind::Gone, "it has ended");
        }
        let mut hold = Hold {
            driver: self,
            look: &look,
            label,
            target,
            groups: look.groups(&label).cloned().collect(),
            until,
        };
        Ok(match hold.all(table, &mut || {}) {
            Ok(()) => Outcome::Landed,
            Err(stopped) if stopped.is_left || is_there => Outcome::InDoubt(stopped.failure),
            Err(stopped) => hold.take_back(stopped.failure),
        })
    }
}

/// Holding one target.
struct Hold<'a> {
    driver: &'a CgroupFreezeProcess,
    look: &'a Look<'a>,
    label: Label,
    target: &'a Target,
    /// The groups with our label, those that were there before among them.
    groups: Vec<Group>,
    until: Instant,
}

impl Hold<'_> {
    /// Holds the target and all that descends from it by `table`, which is read again until it holds nobody new;
    /// `meanwhile` happens between the look at a process and its move.
    fn all(&mut self, mut table: Table, meanwhile: &mut dyn FnMut()) -> Result<(), Stopped> {
        for group in &self.groups {
            group.set_frozen(true).map_err(|error| self.failed(&error))?;
        }
        // Who was seen once is known, also when its parent ends.
        let mut known = BTreeMap::from([(self.process().pid, self.process().started)]);
        for _ in 0..ROUNDS_MAX {
            let mut found_new = false;
            for it in self.members(&table, &mut known)? {
                if self.is_inside(it.pid)? {
                    continue;
                }
                found_new = true;
                match self.place(&it, meanwhile)? {
                    Placed::Ended if it.is(self.process()) => return Err(self.has_ended().into()),
                    Placed::In | Placed::Ended | Placed::Elsewhere => {}
                }
                if Instant::now() > self.until {
                    return Err(self
                        .no(FailureKind::TimedOut, "moving its processes took too long")
                        .into());
                }
            }
            if !found_new {
                return self.settle();
            }
            let everybody = self.driver.proc.everybody();
            table = everybody.map_err(|error| unreadable("the processes", &error))?;
        }
        let why = "it kept starting others faster than they could be held";
        Err(self.no(FailureKind::Unavailable, why).into())
    }

    /// The target first, then all that are known and run, parents before their children.
    fn members(&self, table: &Table, known: &mut BTreeMap<u32, u64>) -> Result<Vec<Stat>, Failure> {
        let same = |pid: &u32, started: &mut u64| table.get(*pid).is_some_and(|it| it.started == *started);
        known.retain(same);
        let own = table.get(self.process().pid).copied();
        let Some(own) = own.filter(|it| it.is(self.process()) && !it.has_ended()) else {
            return Err(self.has_ended());
        };
        let roots: Vec<u32> = known.keys().copied().collect();
        let others = roots.iter().filter(|pid| **pid != own.pid);
        let others = others.filter_map(|pid| table.get(*pid)).copied();
        let members: Vec<Stat> = std::iter::once(own)
            .chain(others)
            .chain(table.descendants(&roots))
            .filter(|it| !it.has_ended())
            .collect();
        let max = self.driver.options.processes_max;
        if members.len() > max {
            let why = format!("with those that descend from it, it is more than {max} processes");
            return Err(self.no(FailureKind::Full, &why));
        }
        if let Some((it, why)) = members.iter().find_map(|it| Some((it, untouchable(table, it.pid)?))) {
            let why = format!("process {} descends from it, and {why}", it.pid);
            return Err(self.no(FailureKind::Invalid, &why));
        }
        known.extend(members.iter().map(|it| (it.pid, it.started)));
        Ok(members)
    }

    /// Moves one process into a frozen group with our label inside of its own.
    fn place(&mut self, it: &Stat, meanwhile: &mut dyn FnMut()) -> Result<Placed, Failure> {
        let Some(own) = self.look.group_of(it.pid)? else {
            return if self.still(it)? {
                let why = format!(
                    "the cgroup of process {} is outside of what this driver may use",
                    it.pid
                );
                Err(self.no(FailureKind::Conflict, &why))
            } else {
                Ok(Placed::Ended)
            };
        };
        let group = own.child(&self.label.to_string());
        match group.make() {
            Ok(()) => {}
            Err(error) if error.is_gone() => return Ok(Placed::Elsewhere),
            Err(error) => return Err(self.failed(&error)),
        }
        // Before anything is written to it: what somebody else made is left as it is.
        if !group.is_trusted() {
            let why = format!("somebody else made a cgroup with our name in {}", own.path().display());
            return Err(self.no(FailureKind::Conflict, &why));
        }
        match group.set_frozen(true) {
            Ok(()) => {}
            Err(error) if error.is_gone() => return Ok(Placed::Elsewhere),
            Err(error) => return Err(self.failed(&error)),
        }
        if !self.groups.contains(&group) {
            self.groups.push(group.clone());
        }
        if !self.still(it)? {
            return Ok(Placed::Ended);
        }
        meanwhile();
        // Of whoever has the number at this moment.
        let from = self.look.group_of(it.pid)?.unwrap_or_else(|| own.clone());
        match group.take(it.pid) {
            Ok(()) => {}
            Err(error) if error.is_ended() => return Ok(Placed::Ended),
            Err(error) if error.is_gone() => return Ok(Placed::Elsewhere),
            Err(error) => return Err(self.failed(&error)),
        }
        match self.stat(it.pid)? {
            Some(stat) if stat.started != it.started => {}
            Some(stat) if !stat.has_ended() => return Ok(Placed::In),
            _ => return Ok(Placed::Ended),
        }
        // Whoever has the number by now was not meant, and goes back to where it was.
        match from.take(it.pid) {
            Ok(()) => {
                let why = format!("the number {} went to another process, which was given back", it.pid);
                Err(self.no(FailureKind::Conflict, &why))
            }
            Err(error) if error.is_ended() => Ok(Placed::Ended),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Waits until all of it is frozen.
    fn settle(&self) -> Result<(), Stopped> {
        let until = Instant::now() + self.driver.options.frozen_within;
        for group in &self.groups {
            if !group.await_frozen(until).map_err(|error| self.failed(&error))? {
                let why = format!(
                    "its processes were moved, but not all were frozen within {:?}; one is in a system call that does not \
                     end",
                    self.driver.options.frozen_within
                );
                return Err(Stopped {
                    failure: self.no(FailureKind::TimedOut, &why),
                    is_left: true,
                });
            }
        }
        match self.look.alive(self.process())? {
            Some(_) => Ok(()),
            None => Err(self.has_ended().into()),
        }
    }

    /// Takes back what was done before `failure`.
    fn take_back(&self, failed: Failure) -> Outcome {
        let lifted = self.driver.look().and_then(|look| {
            let lifted = look.lift(&self.label);
            lifted.map_err(|error| failure(&format!("take back the freeze of {}", self.target), &error))
        });
        match lifted {
            Ok(_) => Outcome::DidNotHappen(failed),
            Err(left) => {
                let what = format!("{failed}; and then: {left}");
                Outcome::InDoubt(Failure::new(failed.kind, &what))
            }
        }
    }

    fn process(&self) -> Process {
        process_of(self.target)
    }

    /// Whether a process is the one that was seen, and runs.
    fn still(&self, it: &Stat) -> Result<bool, Failure> {
        let stat = self.stat(it.pid)?;
        Ok(stat.is_some_and(|stat| stat.started == it.started && !stat.has_ended()))
    }

    fn stat(&self, pid: u32) -> Result<Option<Stat>, Failure> {
        let stat = self.driver.proc.stat(pid);
        stat.map_err(|error| unreadable(&format!("process {pid}"), &error))
    }

    fn is_inside(&self, pid: u32) -> Result<bool, Failure> {
        let group = self.look.group_of(pid)?;
        let inside = |group: &Group| self.groups.iter().any(|ours| group.path().starts_with(ours.path()));
        Ok(group.as_ref().is_some_and(inside))
    }

    fn no(&self, kind: FailureKind, why: &str) -> Failure {
        refused(self.label.purpose, self.target, kind, why)
    }

    fn has_ended(&self) -> Failure {
        self.no(FailureKind::Gone, "it has ended")
    }

    fn failed(&self, error: &super::group::GroupError) -> Failure {
        failure(&format!("{} {}", self.label.purpose.verb(), self.target), error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use staunch_model::{InstallationId, TransactionId};

    use super::super::{CgroupOptions, cgroup2_mount};
    use super::*;

    /// A process in a group of its own, and a copy of what `/proc` says of it. All of it goes away with this.
    struct Setting {
        group: PathBuf,
        child: Child,
        proc: tempfile::TempDir,
    }

    impl Setting {
        fn make() -> Result<Self, String> {
            let mount = cgroup2_mount(Path::new("/proc")).map_err(|error| error.to_string())?;
            let group = mount.join(format!("staunch-test-{}-hold", std::process::id()));
            fs::create_dir(&group).map_err(|error| format!("cannot make {}: {error}", group.display()))?;
            let child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat is there");
            let setting = Self {
                group,
                child,
                proc: tempfile::tempdir().expect("a folder can be made"),
            };
            fs::write(setting.group.join("cgroup.procs"), setting.pid().to_string()).expect("it can be moved");
            for file in ["self/mountinfo", "sys/kernel/random/boot_id"] {
                setting.copy(file);
            }
            for file in ["stat", "cgroup"] {
                setting.copy(&format!("{}/{file}", setting.pid()));
            }
            Ok(setting)
        }

        fn pid(&self) -> u32 {
            self.child.id()
        }

        fn copy(&self, file: &str) {
            let text = fs::read(Path::new("/proc").join(file)).expect("it can be read");
            let copy = self.proc.path().join(file);
            fs::create_dir_all(copy.parent().expect("it has one")).expect("a folder can be made");
            fs::write(copy, text).expect("it can be written");
        }
    }

    impl Drop for Setting {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
            for entry in fs::read_dir(&self.group).into_iter().flatten().flatten() {
                drop(fs::remove_dir(entry.path()));
            }
            drop(fs::remove_dir(&self.group));
        }
    }

    #[test]
    fn a_number_that_goes_to_another_process_meanwhile_is_given_back() {
        let setting = match Setting::make() {
            Ok(setting) => setting,
            Err(reason) => {
                let test = "a_number_that_goes_to_another_process_meanwhile_is_given_back";
                staunch_testkit::skip(test, &reason);
                return;
            }
        };
        let driver = CgroupFreezeProcess::new(CgroupOptions {
            root: Some(setting.group.clone()),
            proc: setting.proc.path().to_owned(),
            ..CgroupOptions::new(InstallationId([0xa0; 8]))
        });
        let look = driver.look().expect("it can be looked at");
        let table = driver.proc.everybody().expect("it can be read");
        let process = Process {
            pid: setting.pid(),
            started: table.get(setting.pid()).expect("it is there").started,
            boot: look.boot,
        };
        let target = Target::Process(process);
        let mut hold = Hold {
            driver: &driver,
            look: &look,
            label: Label {
                purpose: super::super::Purpose::Freeze,
                installation: InstallationId([0xa0; 8]),
                transaction: TransactionId(1),
                process,
            },
            target: &target,
            groups: Vec::new(),
            until: Instant::now() + Duration::from_secs(10),
        };
        let stat = setting.proc.path().join(format!("{}/stat", setting.pid()));
        let others = fs::read_to_string(&stat)
            .expect("it can be read")
            .replace(&format!(" {} ", process.started), &format!(" {} ", process.started + 1));
        // The other one is in a group of its own.
        let elsewhere = setting.group.join("elsewhere");
        fs::create_dir(&elsewhere).expect("a group can be made");
        let cgroup = setting.proc.path().join(format!("{}/cgroup", setting.pid()));
        let groups = fs::read_to_string(&cgroup).expect("it can be read");
        let groups: Vec<String> = groups
            .lines()
            .map(|line| match line.strip_prefix("0::") {
                Some(own) => format!("0::{own}/elsewhere\n"),
                None => format!("{line}\n"),
            })
            .collect();
        let stopped = hold.all(table, &mut || {
            fs::write(&stat, &others).expect("it can be written");
            fs::write(&cgroup, groups.concat()).expect("it can be written");
        });
        let stopped = stopped.expect_err("the number is another one's");
        assert_eq!(stopped.failure.kind, FailureKind::Conflict);
        assert!(
            stopped.failure.what.contains("went to another process"),
            "{}",
            stopped.failure
        );
        let procs = fs::read_to_string(elsewhere.join("cgroup.procs")).expect("it can be read");
        assert_eq!(procs.trim(), setting.pid().to_string(), "it is where it was");
        assert!(matches!(hold.take_back(stopped.failure), Outcome::DidNotHappen(_)));
        assert!(look.group_of(setting.pid()).expect("readable").is_some());
        let left = fs::read_dir(&setting.group).expect("readable").flatten();
        let left = left.filter(|it| it.path().is_dir() && it.path() != elsewhere);
        assert_eq!(left.count(), 0, "nothing of ours is left");
        fs::write(setting.group.join("cgroup.procs"), setting.pid().to_string()).expect("it can be moved");
    }
}
