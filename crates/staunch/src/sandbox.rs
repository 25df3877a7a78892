//! What a server takes away from itself once it knows its configuration, so that whoever takes it over can do little
//! with it.
//!
//! Landlock leaves files to be written only where the server writes, and programs to be run only when it runs one.
//! Seccomp refuses the system calls that a server never makes and that reach into the kernel or into other processes.
//! Both hold for good, for the thread that enters and for all that it starts: enter before there are others. One thread
//! is outside where jobs are run (`jobs.rs`), one where processes or accounts are acted on, to tell which they are
//! (`finding.rs`), and four where evidence is preserved: they look into processes, and write where the vault is
//! (`wiring/evidence.rs`). They take no input but what the engine decided. Beside those four are one that hashes this
//! program and ends, and where there is a bucket one that sends artefacts to it (`outbox.rs`): what the bucket answers
//! is input.
//!
//! Never in the way of containment: where the kernel has no Landlock or no seccomp, the server says so and goes on. Not
//! refused is `clone` with flags for namespaces.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use nix::libc;
use seccompiler::BpfProgram;
use staunch_connectors::actions::freeze_process::cgroup2_mount;
use staunch_connectors::calls;

use crate::config::Config;
use crate::exit::{Exit, Fault};

/// The newest version of Landlock whose rights are asked for; a kernel that knows fewer is asked for those.
const NEWEST: ABI = ABI::V5;

/// Where programs and what they need to be started are.
const PROGRAMS: [&str; 5] = ["/usr", "/bin", "/lib", "/lib64", "/nix/store"];

/// What a server may do with files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The directories that it writes in.
    writes: Vec<PathBuf>,
    /// Whether it runs a program.
    runs: bool,
}

/// What came of entering.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) files: Files,
    /// Why no system call is refused; `None` when they are.
    pub(crate) calls: Option<seccompiler::Error>,
}

/// How far the kernel holds a server to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// All of it.
    Restricted,
    /// What this kernel's version of Landlock knows.
    Partly,
    /// The kernel has no Landlock, or that of Linux 5.13 to 5.18, with which no file could be moved to another
    /// directory.
    Open,
}

impl Needs {
    /// What a server with `config` needs.
    pub(crate) fn of(config: &Config) -> Self {
        let sockets = config.sources.sockets.iter().filter_map(|it| it.path.parent());
        let mut writes = vec![config.data_dir.clone(), PathBuf::from("/dev/null")];
        if config.archive.enabled {
            writes.push(config.archive_dir());
        }
        writes.extend(sockets.map(Path::to_owned));
        if config.accounts.enabled {
            // The password files are replaced, and locked, in their directory. Of the groups of users, only files are
            // written.
            writes.push("/etc".into());
            let tree = cgroup2_mount(Path::new("/proc")).ok();
            // Where nobody has logged in yet, it may not be there.
            let users = tree.map(|tree| Some(tree.join("user.slice")).filter(|it| it.is_dir()).unwrap_or(tree));
            writes.extend(users);
        }
        if config.processes.enabled {
            // Without one the driver has said so when it was started.
            let below = config.processes.below.clone();
            writes.extend(below.or_else(|| cgroup2_mount(Path::new("/proc")).ok()));
        }
        Self {
            writes,
            runs: !config.sources.journald.is_empty(),
        }
    }
}

/// Leaves this thread, and all that it starts from now on, no more than `needs`.
///
/// # Errors
/// When the kernel refuses what it says it knows of Landlock.
pub(crate) fn enter(needs: &Needs) -> Result<Entered, Fault> {
    let files = restrict_files(needs).map_err(|error| {
        Fault::doing(
            Exit::Failed,
            "cannot leave this process only the files it needs",
            &error,
        )
        .hint("[sandbox] enabled = false starts without")
    })?;
    let calls = forbidden(needs.runs)
        .map_err(seccompiler::Error::from)
        .and_then(|program| seccompiler::apply_filter(&program))
        .err();
    Ok(Entered { files, calls })
}

fn restrict_files(needs: &Needs) -> Result<Files, landlock::RulesetError> {
    // Reading is left as it is: what a reload names is not known yet.
    let writing = AccessFs::from_write(NEWEST);
    let handled: BitFlags<AccessFs> = writing | AccessFs::Execute;
    // Without the right to be asked about it, a kernel with Landlock refuses every move to another directory, such as
    // that of a socket to its place.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .create()?;
    for path in &needs.writes {
        // What is not there cannot be written to either.
        if let Ok(opened) = PathFd::new(path) {
            let rights = if path.is_dir() {
                writing
            } else {
                writing & AccessFs::from_file(NEWEST)
            };
            rules = rules.add_rule(PathBeneath::new(opened, rights))?;
        }
    }
    for path in PROGRAMS.iter().filter(|_| needs.runs) {
        if let Ok(opened) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(opened, AccessFs::Execute))?;
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Files::Restricted,
        RulesetStatus::PartiallyEnforced => Files::Partly,
        RulesetStatus::NotEnforced => Files::Open,
    })
}

/// A filter that answers what a server never asks with `EPERM`.
fn forbidden(runs: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut calls = calls::never_needed();
    if !runs {
        calls.extend([libc::SYS_execve, libc::SYS_execveat]);
    }
    // A call without conditions is refused whatever its arguments are.
    calls::filter(calls.into_iter().map(|call| (call, Vec::new())).collect(), libc::EPERM)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;

    /// Does `work` on a thread of its own, which has entered with `needs`.
    fn inside<T: Send>(needs: &Needs, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let entered = enter(needs).expect("the kernel takes it");
                assert_ne!(entered.files, Files::Open, "this kernel has no Landlock");
                assert!(entered.calls.is_none(), "{entered:?}");
                work()
            });
            thread.join().expect("the thread ends well")
        })
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let (own, other) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fs::write(other.path().join("there"), "text").expect("it is our directory");
        let needs = Needs {
            writes: vec![own.path().to_owned(), "/dev/null".into()],
            runs: false,
        };
        inside(&needs, || {
            let refused = |result: std::io::Result<()>| {
                assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
            };
            fs::create_dir(own.path().join("dir")).expect("it is the directory");
            fs::write(own.path().join("dir/a"), "text").expect("it is the directory");
            fs::rename(own.path().join("dir/a"), own.path().join("b")).expect("it is the directory");
            fs::remove_file(own.path().join("b")).expect("it is the directory");
            fs::write("/dev/null", "text").expect("it may be written to");
            assert_eq!(
                fs::read_to_string(other.path().join("there")).expect("it may be read"),
                "text"
            );

            refused(fs::write(other.path().join("new"), "text"));
            refused(fs::write(other.path().join("there"), "text"));
            refused(fs::remove_file(other.path().join("there")));
            refused(Command::new("/bin/true").status().map(drop));
            refused(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(Into::into));
            refused(nix::unistd::chroot("/").map_err(Into::into));
            let clock = nix::time::ClockId::CLOCK_REALTIME;
            let now = clock.now().expect("it can be read");
            refused(nix::time::clock_settime(clock, now).map_err(Into::into));
        });
        // Whoever has not entered is as free as before.
        fs::write(other.path().join("new"), "text").expect("this thread is free");
        assert!(Command::new("/bin/true").status().expect("it runs").success());
    }

    #[test]
    fn a_program_can_be_run_where_one_is_needed() {
        let own = tempfile::tempdir().expect("a directory");
        let program = own.path().join("own");
        fs::copy("/bin/true", &program).expect("it can be copied");
        let needs = Needs {
            writes: vec![own.path().to_owned()],
            runs: true,
        };
        inside(&needs, || {
            assert!(Command::new("/bin/true").status().expect("it runs").success());
            // What was written can not be run.
            let error = Command::new(&program).status().expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn what_a_server_needs_comes_from_its_configuration() {
        let config = crate::config::parse("data_dir = \"/d\"\n").expect("a configuration");
        let needs = Needs::of(&config);
        assert_eq!(
            (needs.writes, needs.runs),
            (vec!["/d".into(), "/dev/null".into()], false)
        );
        let text = "data_dir = \"/d\"\n[archive]\nenabled = true\n[[sources.sockets]]\npath = \"/run/s/e.sock\"\n[[sources.journald]]\n";
        let needs = Needs::of(&crate::config::parse(text).expect("a configuration"));
        let writes: Vec<PathBuf> = ["/d", "/dev/null", "/d/archive", "/run/s"]
            .iter()
            .map(Into::into)
            .collect();
        assert_eq!((needs.writes, needs.runs), (writes, true));
        let text = "data_dir = \"/d\"\n[accounts]\nenabled = true\n";
        let needs = Needs::of(&crate::config::parse(text).expect("a configuration"));
        assert!(
            needs.writes.contains(&"/etc".into()),
            "password files are replaced there"
        );
    }
}
