//! What the tests that freeze processes share: a part of the tree of cgroup v2 of their own, processes in it, and
//! witnesses.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use staunch_connectors::actions::freeze_process::{CgroupFreezeProcess, CgroupOptions, cgroup2_mount};
use staunch_model::{InstallationId, Process, Target};

use crate::block_ip_setting::until;

pub(crate) const OURS: InstallationId = InstallationId([0xa0; 8]);
pub(crate) const THEIRS: InstallationId = InstallationId([0xb0; 8]);

/// How the directories of tests are called; their process number and a number of their own follow.
const NAME: &str = "staunch-test-";

/// A part of the tree that is there for one test. Everything in it is killed and removed when it goes away.
pub(crate) struct Subtree {
    pub(crate) root: PathBuf,
}

impl Subtree {
    /// Makes one, or says why this machine does not let it.
    pub(crate) fn make() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mount = cgroup2_mount(Path::new("/proc")).map_err(|error| error.to_string())?;
        remove_stale(&mount);
        let number = NEXT.fetch_add(1, Relaxed);
        let root = mount.join(format!("{NAME}{}-{number}", std::process::id()));
        fs::create_dir(&root).map_err(|error| format!("cannot make {}: {error}", root.display()))?;
        Ok(Self { root })
    }

    /// A group directly in it.
    pub(crate) fn group(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub(crate) fn driver(&self, installation: InstallationId) -> CgroupFreezeProcess {
        CgroupFreezeProcess::start(self.options(installation)).unwrap()
    }

    pub(crate) fn options(&self, installation: InstallationId) -> CgroupOptions {
        CgroupOptions {
            root: Some(self.root.clone()),
            ..CgroupOptions::new(installation)
        }
    }

    /// Every group in it, without itself.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let mut found = below(&self.root);
        found.pop();
        found.sort();
        found
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        remove_all(&self.root);
    }
}

/// Runs a test with a part of the tree, or says why it cannot run.
pub(crate) fn in_subtree(test: &str, work: impl FnOnce(&Subtree)) {
    match Subtree::make() {
        Ok(tree) => work(&tree),
        Err(reason) => staunch_testkit::skip(test, &reason),
    }
}

/// What tests that were killed have left.
fn remove_stale(mount: &Path) {
    for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|it| it.strip_prefix(NAME)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove_all(&entry.path());
        }
    }
}

/// A group and those below it, which come first.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            found.extend(below(&entry.path()));
        }
    }
    found.push(path.to_owned());
    found
}

fn remove_all(root: &Path) {
    drop(fs::write(root.join("cgroup.kill"), "1"));
    for path in below(root) {
        until("a group can be removed", || {
            let removed = fs::remove_dir(&path);
            (removed.is_ok() || !path.exists()).then_some(())
        });
    }
}

/// A process that a test has started, with a line each way to talk to it.
pub(crate) struct Started {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) process: Process,
}

impl Started {
    /// Starts a script in `group`. Nothing of it runs before it is there.
    pub(crate) fn script(group: &Path, script: &str) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go\n{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut started = Self {
            process: identify(child.id()),
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        move_to(group, started.process.pid);
        started.say("go");
        started
    }

    /// Starts a process in `group` that repeats what it is told.
    pub(crate) fn echo(group: &Path) -> Self {
        Self::script(group, "while read word; do echo \"$word\"; done")
    }

    pub(crate) fn target(&self) -> Target {
        Target::Process(self.process)
    }

    pub(crate) fn say(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }

    /// The next line that it says; the deadline is only for one that does not go on.
    pub(crate) fn hear(&mut self) -> String {
        if self.stdout.buffer().is_empty() {
            assert!(self.says_something(20_000), "{} says nothing", self.target());
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Whether it says something within `ms`.
    pub(crate) fn says_something(&self, ms: u16) -> bool {
        assert!(self.stdout.buffer().is_empty());
        let mut awaited = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut awaited, PollTimeout::from(ms)).unwrap() > 0
    }

    /// Whether it goes on: it repeats what it is told.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.say("still-there");
        self.hear() == "still-there"
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What tells a process from others, read without the code under test.
pub(crate) fn identify(pid: u32) -> Process {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    Process {
        pid,
        started: rest.split_whitespace().nth(19).unwrap().parse().unwrap(),
        boot: u32::from_str_radix(&boot[..8], 16).unwrap(),
    }
}

pub(crate) fn move_to(group: &Path, pid: u32) {
    fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
}

/// The directory of the group that a process is in.
pub(crate) fn group_of(pid: u32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    cgroup2_mount(Path::new("/proc")).unwrap().join(path)
}

/// The processes in a group, without those in groups below it.
pub(crate) fn processes_in(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

pub(crate) fn is_frozen(group: &Path) -> bool {
    let text = fs::read_to_string(group.join("cgroup.events")).unwrap();
    text.lines().any(|line| line == "frozen 1")
}

/// Freezes a group or lets it go on, and comes back when all of it is.
pub(crate) fn set_frozen(group: &Path, frozen: bool) {
    fs::write(group.join("cgroup.freeze"), if frozen { "1" } else { "0" }).unwrap();
    until("the group is as it was set", || {
        (is_frozen(group) == frozen).then_some(())
    });
}
