//! The finder of processes: real ones of this machine, and ones of our own making in a copy of `/proc`.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use staunch_connectors::enrichers::{ProcessFinder, ProcessOptions, ThisHost};
use staunch_model::{Found, Process, Span, Target, TargetFacts, Timestamp};
use staunch_ports::{Clock as _, Seen, Targets as _};
use tempfile::TempDir;

use crate::block_ip_setting::until;
use crate::freeze_process_setting::identify;

/// No number of a process is as high.
const NOBODY: u32 = 4_194_305;

fn options() -> ProcessOptions {
    ProcessOptions {
        any_pid_namespace: true,
        host: ThisHost {
            unnamed: true,
            ..ThisHost::default()
        },
        ..ProcessOptions::default()
    }
}

fn now() -> Option<Timestamp> {
    Some(staunch_ports::clock::SystemClock.now())
}

fn ask(options: ProcessOptions, pid: u32, time: Option<Timestamp>, host: Option<&str>) -> Found {
    named(&ProcessFinder::new(options).unwrap(), pid, time, host)
}

fn named(finder: &ProcessFinder, pid: u32, time: Option<Timestamp>, host: Option<&str>) -> Found {
    let named = Target::Process(Process::unidentified(pid));
    finder.find(&named, Seen { time, host })
}

fn find(options: ProcessOptions, pid: u32) -> Found {
    ask(options, pid, now(), None)
}

fn facts(options: ProcessOptions, pid: u32) -> TargetFacts {
    find(options, pid).facts.unwrap()
}

/// Why nothing is said of a process.
fn refusal(options: ProcessOptions, pid: u32, event_time: Option<Timestamp>, host: Option<&str>) -> String {
    let found = ask(options, pid, event_time, host);
    assert_eq!(found.target, Target::Process(Process::unidentified(pid)));
    found.facts.unwrap_err().into()
}

#[track_caller]
fn assert_protected(facts: &TargetFacts, says: &str) {
    let why = facts.protected.as_deref().unwrap_or_default();
    assert!(!why.is_empty() && why.contains(says), "{facts:?}");
}

/// A process that ends with this.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits for more input, which does not come.
    fn cat() -> Self {
        Self::start(&mut Command::new("cat"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn exe(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid())).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_process_is_told_with_what_it_runs() {
    let running = Running::cat();
    let found = find(options(), running.pid());
    assert_eq!(found.target, Target::Process(identify(running.pid())));
    let facts = found.facts.unwrap();
    let what = format!("{} of user {}", running.exe().display(), nix::unistd::geteuid());
    assert_eq!(*facts.what, *what);
    assert_eq!(facts.protected, None);
}

#[test]
fn a_process_of_another_host_or_of_none_is_not_told() {
    let running = Running::cat();
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let strict = ProcessOptions {
        host: ThisHost {
            names: vec!["Other.example".to_owned()],
            ..ThisHost::default()
        },
        ..options()
    };
    for host in [None, Some("")] {
        let why = refusal(strict.clone(), running.pid(), now(), host);
        assert!(why.contains("on which host"), "{why}");
    }
    for host in ["elsewhere", "other", "other.example.com", &format!("{}x", own.trim())] {
        for options in [strict.clone(), options()] {
            let why = refusal(options, running.pid(), now(), Some(host));
            assert!(why.contains(host) && why.contains(own.trim()), "{why}");
        }
    }
    for host in [own.trim(), &own.trim().to_uppercase(), "other.EXAMPLE"] {
        let finder = ProcessFinder::new(strict.clone()).unwrap();
        assert!(named(&finder, running.pid(), now(), Some(host)).facts.is_ok(), "{host}");
    }
}

#[test]
fn a_process_that_started_after_the_event_is_another_one() {
    let running = Running::cat();
    let before = Timestamp::from_micros(now().unwrap().as_micros() - 3_000_000);
    let why = refusal(options(), running.pid(), Some(before), None);
    assert!(why.contains("after the event"), "{why}");
    let tolerant = ProcessOptions {
        tolerance: Span::from_mins(10),
        ..options()
    };
    let finder = ProcessFinder::new(tolerant).unwrap();
    assert!(named(&finder, running.pid(), Some(before), None).facts.is_ok());
    let why = refusal(options(), running.pid(), None, None);
    assert!(why.contains("when it happened"), "{why}");
    let ahead = Timestamp::from_micros(now().unwrap().as_micros() + 60_000_000);
    let why = refusal(options(), running.pid(), Some(ahead), None);
    assert!(why.contains("ahead of this machine's clock"), "{why}");
}

#[test]
fn a_process_that_has_ended_is_not_told() {
    let why = refusal(options(), NOBODY, now(), None);
    assert!(why.contains("there is no process"), "{why}");
    let mut running = Running::cat();
    running.0.kill().unwrap();
    // Ended, and not yet waited for.
    until("it has ended", || {
        let finder = ProcessFinder::new(options()).unwrap();
        let why = named(&finder, running.pid(), now(), None).facts.err()?;
        assert!(why.contains("there is no process"), "{why}");
        Some(())
    });
}

#[test]
fn what_the_machine_and_staunch_need_is_protected() {
    assert_protected(&facts(options(), 1), "process 1");
    assert_protected(&facts(options(), std::process::id()), "Staunch itself");
    assert_protected(&facts(options(), parent_id()), "Staunch descends from it");
    // Seen from a PID namespace of its own, a machine has no kernel threads.
    if fs::read_link("/proc/self/ns/pid").unwrap().as_os_str() == "pid:[4026531836]" {
        let kernel = facts(options(), 2);
        assert!(kernel.what.starts_with("of user"), "{kernel:?}");
        assert_protected(&kernel, "part of the kernel");
        let without = ProcessOptions {
            any_pid_namespace: false,
            ..options()
        };
        assert!(find(without, std::process::id()).facts.is_ok());
    }
}

/// Programs in a directory of their own; root's, as long as a test does not change them.
struct Programs(TempDir);

impl Programs {
    /// Makes them where this user may make files of root's, or says why not.
    fn make(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            staunch_testkit::skip(test, "files of root's and of others can be made by root only");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Some(Self(folder))
    }

    fn copy(&self, name: &str) -> PathBuf {
        let cat = Running::cat();
        let path = self.0.path().join(name);
        fs::copy(cat.exe(), &path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn options(&self) -> ProcessOptions {
        let folder = self.0.path().canonicalize().unwrap();
        ProcessOptions {
            protected: vec![format!("{}/sshd*", folder.display())],
            protected_users: Vec::new(),
            ..options()
        }
    }
}

/// Runs a program; one that was just written may still be open in a process that is about to be started elsewhere.
fn run(command: &mut Command) -> Running {
    until("the program is not written to any more", || {
        match command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn() {
            Ok(child) => Some(Running(child)),
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            Err(error) => panic!("{error}"),
        }
    })
}

#[test]
fn a_protected_program_is_known_by_its_file() {
    let Some(programs) = Programs::make("a_protected_program_is_known_by_its_file") else {
        return;
    };
    let real = programs.copy("sshd");
    let running = run(&mut Command::new(&real));
    let protected = |running: &Running| facts(programs.options(), running.pid()).protected;
    assert_protected(&facts(programs.options(), running.pid()), "sshd is protected");
    assert_eq!(
        facts(options(), running.pid()).protected,
        None,
        "elsewhere, the name says nothing"
    );
    assert_eq!(protected(&run(&mut Command::new(programs.copy("cat")))), None);
    // Called like it, but another file.
    let named = run(Command::new(programs.copy("cat")).arg0(&real));
    assert_eq!(protected(&named), None);

    for mode in [0o775, 0o757] {
        fs::set_permissions(&real, Permissions::from_mode(mode)).unwrap();
        assert_eq!(protected(&running), None, "others can write it: {mode:o}");
    }
    fs::set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
    chown(&real, Some(65_534), None).unwrap();
    assert_eq!(protected(&running), None, "it is somebody else's");
    chown(&real, Some(0), None).unwrap();

    // Replaced by an update, and deleted.
    fs::rename(programs.copy("new"), &real).unwrap();
    let replaced = facts(programs.options(), running.pid());
    assert_protected(&replaced, "sshd");
    assert!(replaced.what.contains("/sshd (deleted) of user"), "{replaced:?}");
    fs::remove_file(&real).unwrap();
    assert_protected(&facts(programs.options(), running.pid()), "sshd");
}

#[test]
fn a_protected_program_that_anybody_runs_is_not_protected() {
    let Some(programs) = Programs::make("a_protected_program_that_anybody_runs_is_not_protected") else {
        return;
    };
    let running = run(Command::new(programs.copy("sshd")).uid(65_534).gid(65_534));
    let found = facts(programs.options(), running.pid());
    assert!(found.what.ends_with(" of user 65534"), "{found:?}");
    assert_eq!(found.protected, None);
    let passwd = programs.0.path().join("passwd");
    fs::write(
        &passwd,
        "root:x:0:0::/:/bin/sh\nsystemd-x:x:65534:65534::/:/bin/false\nnonsense\n",
    )
    .unwrap();
    let with_user = ProcessOptions {
        passwd,
        protected_users: vec!["systemd-*".to_owned()],
        ..programs.options()
    };
    assert_protected(&facts(with_user, running.pid()), "sshd");
    // What the operator names is protected whoever runs it.
    let named = ProcessOptions {
        protected_always: programs.options().protected,
        protected: Vec::new(),
        ..programs.options()
    };
    assert_protected(&facts(named, running.pid()), "sshd");
}

#[test]
fn what_a_protected_program_descends_from_is_protected() {
    let Some(programs) = Programs::make("what_a_protected_program_descends_from_is_protected") else {
        return;
    };
    let real = programs.copy("sshd");
    // Each shell waits for the one below it.
    let script = format!("sh -c '{}; :'; :", real.display());
    let parent = run(Command::new("sh").args(["-c", &script]));
    until("its grandchild runs", || {
        let protected = facts(programs.options(), parent.pid()).protected?;
        assert!(
            protected.contains("a descendant, process ") && protected.contains("sshd"),
            "{protected}"
        );
        Some(())
    });
    assert_eq!(facts(options(), parent.pid()).protected, None);
}

/// A copy of `/proc` with processes of our own making.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        made.write("sys/kernel/hostname", "made\n");
        made.write("sys/kernel/random/boot_id", "2f60005f-67df-4ff5-a318-a344d9ff71d2\n");
        made.link("self/ns/pid", Path::new("pid:[4026531836]"));
        made.link("1/root", Path::new("/"));
        made
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, file: &str, to: &Path) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(fs::remove_file(&path));
        symlink(to, path).unwrap();
    }

    /// A process that started a second after the machine.
    fn process(&self, pid: u32, parent: u32, name: &str, state: &str, threads: u32) {
        let stat = format!(
            "{pid} ({name}) {state} {parent} 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 100 41070592 2837\n"
        );
        self.write(&format!("{pid}/stat"), &stat);
        let name = name.replace('\\', "\\\\").replace('\n', "\\n");
        let status = format!("Name:\t{name}\nUmask:\t0022\nPPid:\t{parent}\nUid:\t0\t0\t0\t0\n");
        self.write(&format!("{pid}/status"), &status);
    }

    fn options(&self) -> ProcessOptions {
        ProcessOptions {
            proc: self.folder.path().to_owned(),
            host: ThisHost {
                unnamed: true,
                ..ThisHost::default()
            },
            ..ProcessOptions::default()
        }
    }
}

#[test]
fn what_a_process_calls_itself_changes_nothing() {
    let made = Made::new();
    let program = made.folder.path().join("a b\n(c) sshd (deleted)");
    fs::write(&program, "").unwrap();
    for name in [
        "sshd",
        ") R 1 1",
        "a\nUid:\t5\t5\t5\t5",
        "(systemd",
        "x) Z 1 (y",
        "\\n",
        "",
    ] {
        made.process(4_242, 1, name, "S", 1);
        made.link("4242/exe", &program);
        let found = find(made.options(), 4_242);
        let process = found.target.process().unwrap();
        assert_eq!(
            (process.pid, process.started, process.boot),
            (4_242, 100, 0x2f60_005f),
            "{name:?}"
        );
        let facts = found.facts.unwrap();
        assert_eq!(facts.protected, None, "{name:?}");
        assert_eq!(*facts.what, *format!("{} of user 0", program.display()));
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_told() {
    let made = Made::new();
    let program = made.folder.path().join("program");
    fs::write(&program, "").unwrap();
    made.process(7, 1, "a", "Z", 2);
    made.link("7/task/8/exe", &program);
    assert_eq!(
        *facts(made.options(), 7).what,
        *format!("{} of user 0", program.display())
    );
    made.process(7, 1, "a", "Z", 1);
    let why = refusal(made.options(), 7, now(), None);
    assert!(why.contains("there is no process"), "{why}");
}

#[test]
fn numbers_of_another_namespace_are_not_told() {
    let made = Made::new();
    let program = made.folder.path().join("program");
    fs::write(&program, "").unwrap();
    made.process(7, 1, "a", "S", 1);
    made.link("7/exe", &program);
    assert!(find(made.options(), 7).facts.is_ok());
    made.link("self/ns/pid", Path::new("pid:[4026532222]"));
    let why = refusal(made.options(), 7, now(), None);
    assert!(why.contains("PID namespace"), "{why}");
    let any = ProcessOptions {
        any_pid_namespace: true,
        ..made.options()
    };
    assert!(find(any, 7).facts.is_ok());
}

#[test]
fn what_cannot_be_read_is_not_told() {
    let made = Made::new();
    made.write("7/stat", "7 (a) S nonsense\n");
    let why = refusal(made.options(), 7, now(), None);
    assert!(why.contains("cannot read process 7"), "{why}");
    // A number that says it is another.
    made.process(7, 1, "a", "S", 1);
    fs::rename(made.folder.path().join("7"), made.folder.path().join("8")).unwrap();
    let why = refusal(made.options(), 8, now(), None);
    assert!(why.contains("cannot read process 8"), "{why}");
}
