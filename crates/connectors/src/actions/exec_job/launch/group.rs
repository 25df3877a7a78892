//! The control group of a run: what all of its processes together may take.
//!
//! # Expected flow
//! The supervisor makes the group, what becomes the job enters it before it gives anything up, and the supervisor
//! removes it when every process of the run has ended.
//!
//! # Guarantees
//! A group is of one run and holds nothing else. What a supervisor that was killed has left behind is ended and removed
//! by the next one. A limit that is told to be held is held by the kernel over the whole run.
//!
//! # Caveats
//! It takes a user who may make groups, which is root unless somebody has given it a part of a tree. In cgroup v2 they
//! are made at the top of the tree, because a group that has processes cannot give controllers to those below it; where
//! only a part of the tree is mounted, as in a container, there are none. A controller that is with cgroup v1 is used
//! there, below the group of the server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::super::Confinement;
use crate::mounts::{self, Mount};
use crate::proc::Proc;

/// What the name of a group begins with; the number and the start of its supervisor follow.
const PREFIX: &str = "staunch-job-";

/// The period over which processor time is counted out, in microseconds.
const PERIOD: u64 = 100_000;

/// How often a group is tried to be removed: its processes end a moment after they are killed.
const REMOVE_TRIES_MAX: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// Which limits control groups hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Memory of all processes together.
    pub memory: bool,
    /// The number of processes and threads, whosever they are.
    pub processes: bool,
    /// Processor time.
    pub cpu: bool,
}

/// What becomes the job enters these groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    directories: Vec<PathBuf>,
    /// Which limits they hold.
    pub(super) held: Held,
}

impl Entry {
    /// Moves this process into them.
    pub(super) fn enter(&self) -> Result<(), String> {
        for directory in &self.directories {
            // 0 is who writes it.
            fs::write(directory.join("cgroup.procs"), "0")
                .map_err(|error| format!("cannot enter its control group {}: {error}", directory.display()))?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Processes,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Processes, Self::Cpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// A tree in which groups can be made, and for what.
struct Tree {
    parent: PathBuf,
    is_v2: bool,
    controllers: Vec<Controller>,
}

/// The groups of one run, one in each tree.
#[derive(Default)]
pub(super) struct Groups {
    made: Vec<(PathBuf, bool)>,
    held: Held,
}

impl Groups {
    /// Makes them as far as that is possible: what they do not hold is for the limits of setrlimit(2).
    pub(super) fn make(confinement: &Confinement) -> Self {
        let proc = Proc::new(Path::new("/proc"));
        let own = std::process::id();
        let mut groups = Self::default();
        let Ok(Some(stat)) = proc.stat(own) else {
            return groups;
        };
        for tree in trees(&proc).unwrap_or_default() {
            remove_left(&proc, &tree);
            let directory = tree.parent.join(format!("{PREFIX}{own}-{}", stat.started));
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            for controller in tree.controllers {
                if limit(&directory, tree.is_v2, controller, confinement).is_ok() {
                    match controller {
                        Controller::Memory => groups.held.memory = true,
                        Controller::Processes => groups.held.processes = true,
                        Controller::Cpu => groups.held.cpu = true,
                    }
                }
            }
            groups.made.push((directory, tree.is_v2));
        }
        groups
    }

    pub(super) const fn held(&self) -> Held {
        self.held
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            directories: self.made.iter().map(|(directory, _)| directory.clone()).collect(),
            held: self.held,
        }
    }

    /// Whether the kernel killed something in them for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let count = |(directory, is_v2): &(PathBuf, bool)| {
            let file = if *is_v2 { "memory.events" } else { "memory.oom_control" };
            let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.and_then(|it| it.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        self.made.iter().any(|it| count(it) > 0)
    }

    /// Removes them; what is still in them is killed.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.made
            .iter()
            .try_for_each(|(directory, is_v2)| remove(directory, *is_v2))
    }
}

/// The trees of this machine that have a controller.
fn trees(proc: &Proc) -> io::Result<Vec<Tree>> {
    let mounts = mounts::parse(&fs::read("/proc/self/mountinfo")?);
    let mut left = Controller::ALL.to_vec();
    let mut trees = Vec::new();
    let v2 = mounts::cgroup2(&mounts).filter(|it| it.part == Path::new("/"));
    if let Some(mount) = v2 {
        let controllers = give(&mount.point, &left);
        left.retain(|it| !controllers.contains(it));
        if !controllers.is_empty() {
            trees.push(Tree {
                parent: mount.point.clone(),
                is_v2: true,
                controllers,
            });
        }
    }
    let own = fs::read(proc.path("self/cgroup"))?;
    for mount in mounts.iter().filter(|it| it.kind == b"cgroup") {
        let controllers: Vec<Controller> = left.iter().copied().filter(|it| mount.has(it.name())).collect();
        let Some(parent) = controllers.first().and_then(|it| own_group(&own, mount, *it)) else {
            continue;
        };
        left.retain(|it| !controllers.contains(it));
        trees.push(Tree {
            parent,
            is_v2: false,
            controllers,
        });
    }
    Ok(trees)
}

/// The directory of the group that this process is in, of the tree of cgroup v1 that `mount` is; see `cgroups(7)`.
fn own_group(text: &[u8], mount: &Mount, controller: Controller) -> Option<PathBuf> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = controllers.split(',').any(|it| it == controller.name());
        is_it.then(|| mount.directory(Path::new(path))).flatten()
    })
}

/// Which of `wanted` groups at the top of the tree of cgroup v2 have, after they were asked for where they have not.
fn give(top: &Path, wanted: &[Controller]) -> Vec<Controller> {
    let list = |file: &str| fs::read_to_string(top.join(file)).unwrap_or_default();
    let has = |text: &str, it: Controller| text.split_whitespace().any(|name| name == it.name());
    let (there, given) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    for it in wanted.iter().filter(|it| has(&there, **it) && !has(&given, **it)) {
        // Whether that has worked is read below.
        let _ = fs::write(top.join("cgroup.subtree_control"), format!("+{}", it.name()));
    }
    let given = list("cgroup.subtree_control");
    wanted.iter().copied().filter(|it| has(&given, *it)).collect()
}

/// Sets what the processes in `directory` may have; see `cgroup-v2.rst`, and `cgroup-v1` of the kernel's documentation.
fn limit(directory: &Path, is_v2: bool, controller: Controller, confinement: &Confinement) -> io::Result<()> {
    let must = |file: &str, value: u64| fs::write(directory.join(file), value.to_string());
    // Without swap there is no such file.
    let may = |file: &str, value: u64| drop(must(file, value));
    let bytes = confinement.memory_mib_max.saturating_mul(1 << 20);
    let quota = confinement.cpu_percent_max.saturating_mul(PERIOD / 100);
    match (controller, is_v2) {
        (Controller::Memory, true) => {
            must("memory.max", bytes)?;
            may("memory.swap.max", 0);
            may("memory.oom.group", 1);
            Ok(())
        }
        (Controller::Memory, false) => {
            must("memory.limit_in_bytes", bytes)?;
            may("memory.memsw.limit_in_bytes", bytes);
            may("memory.swappiness", 0);
            Ok(())
        }
        (Controller::Processes, _) => must("pids.max", confinement.processes_max),
        (Controller::Cpu, true) => fs::write(directory.join("cpu.max"), format!("{quota} {PERIOD}")),
        (Controller::Cpu, false) => {
            must("cpu.cfs_period_us", PERIOD)?;
            must("cpu.cfs_quota_us", quota)
        }
    }
}

/// Ends and removes, in all trees, what supervisors have left that are gone.
pub(super) fn end_left() {
    let proc = Proc::new(Path::new("/proc"));
    // Where the trees cannot be told, no group was made.
    for tree in trees(&proc).unwrap_or_default() {
        remove_left(&proc, &tree);
    }
}

/// Ends and removes what supervisors have left that are gone.
fn remove_left(proc: &Proc, tree: &Tree) {
    let Ok(entries) = fs::read_dir(&tree.parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let supervisor = name.to_str().and_then(|name| {
            let (pid, started) = name.strip_prefix(PREFIX)?.split_once('-')?;
            Some((pid.parse::<u32>().ok()?, started.parse::<u64>().ok()?))
        });
        let Some((pid, started)) = supervisor else { continue };
        let is_there = match proc.stat(pid) {
            Ok(stat) => stat.is_some_and(|it| it.started == started && !it.has_ended()),
            // Nobody knows: it is left for another time.
            Err(_) => true,
        };
        if !is_there {
            // The next one tries again.
            let _ = remove(&entry.path(), tree.is_v2);
        }
    }
}

/// Removes the group of `directory`, whose processes are killed until there are none.
fn remove(directory: &Path, is_v2: bool) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries >= REMOVE_TRIES_MAX => return Err(error),
            Err(_) => {}
        }
        tries += 1;
        // Before Linux 5.14 there is no such file, nor is it in cgroup v1.
        if !is_v2 || fs::write(directory.join("cgroup.kill"), "1").is_err() {
            let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines().filter_map(|it| it.parse().ok()) {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        thread::sleep(REMOVE_PAUSE);
    }
}
