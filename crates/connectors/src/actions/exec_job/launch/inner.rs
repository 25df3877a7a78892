//! What becomes the job: gives up what the job is not to have, and executes its program.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::super::Confinement;
use super::{Entry, Held, Launch};
use crate::calls;

/// The newest version of Landlock whose rights are asked for.
const NEWEST: ABI = ABI::V6;

/// Where programs and what they need to be started are.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/nix/store"];

/// What the loader, the C library and TLS read, none of which is a secret: private keys lie beside some of it.
const READ: [&str; 20] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
    "/dev/urandom",
];

/// The largest program whose hash is compared.
const PROGRAM_BYTES_MAX: u64 = 256 << 20;

/// The largest file that a job may write, and the most files that it may have open.
const FILE_BYTES_MAX: u64 = 64 << 20;
const FILES_MAX: u64 = 256;

/// The search path of a job.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Does not come back where all goes well. Both are numbers of descriptors: where to read what is to be executed, and
/// where to say why it is not.
pub(super) fn become_job(handed: &str, told: &str) -> ExitCode {
    let handed = taken(handed, File::options().read(true));
    let tell = taken(told, File::options().write(true));
    let why = match handed.and_then(|it| Ok(serde_json::from_reader(io::BufReader::new(it))?)) {
        Ok((launch, entry)) => execute(&launch, &entry),
        Err(error) => format!("cannot read what is to be executed: {error}"),
    };
    if let Ok(mut tell) = tell {
        // There is nobody else to be told.
        let _ = tell.write_all(why.as_bytes());
    }
    ExitCode::FAILURE
}

/// A description of its own of what was inherited, which ends with this program; the inherited one is closed.
fn taken(number: &str, how: &OpenOptions) -> io::Result<File> {
    let file = how.open(format!("/proc/self/fd/{number}"));
    if let Ok(number) = number.parse::<i32>() {
        let _ = nix::unistd::close(number);
    }
    file
}

/// Executes the program of `launch`; why that was not possible.
fn execute(launch: &Launch, entry: &Entry) -> String {
    match confine(launch, entry) {
        Ok(mut command) => format!("cannot execute {}: {}", launch.program.display(), command.exec()),
        Err(why) => why,
    }
}

fn confine(launch: &Launch, entry: &Entry) -> Result<Command, String> {
    entry.enter()?;
    let Confinement { user, environment, .. } = &launch.confinement;
    let user = user.as_deref().map(user_of).transpose()?;
    // The server's own needs no change.
    let user = user.filter(|(uid, _)| *uid != Uid::effective());
    if user.is_some() {
        can_end_others()?;
    }
    let pinned = launch
        .sha256
        .as_deref()
        .map(|hash| pinned(&launch.program, hash))
        .transpose()?;
    let failed = |what: &'static str| move |error: nix::Error| format!("cannot {what}: {error}");
    nix::unistd::setsid().map_err(failed("begin a session"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("renounce new privileges"))?;
    restrict_files(launch)?;
    if let Some((uid, gid)) = user {
        nix::unistd::setgroups(&[]).map_err(failed("leave the groups of the server"))?;
        nix::unistd::setresgid(gid, gid, gid).map_err(failed("take the group of its user"))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(failed("become its user"))?;
    }
    drop_capabilities()?;
    limit(launch, user.is_some(), entry.held)?;
    // When the supervisor is killed, so is what it supervises. Last of these, because a change of user forgets it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("end with its supervisor"))?;
    refuse_calls(launch.confinement.network).map_err(|error| format!("cannot refuse system calls: {error}"))?;
    let program = match &pinned {
        // Without close-on-exec: an interpreter opens it again by this name.
        Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
        None => launch.program.clone(),
    };
    let mut command = Command::new(program);
    command
        .arg0(&launch.program)
        .args(&launch.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (&**name, &**value)));
    // It is to be open in the job.
    std::mem::forget(pinned);
    Ok(command)
}

/// Whether the program has the hash that is pinned.
pub(super) fn check_pinned(launch: &Launch) -> Result<(), String> {
    let hash = launch.sha256.as_deref();
    hash.map_or(Ok(()), |hash| pinned(&launch.program, hash).map(drop))
}

/// Whether what runs as another user can be ended: by its supervisor, at the end of its time, and by the kernel when
/// that is gone.
fn can_end_others() -> Result<(), String> {
    let own = rustix::thread::capabilities(None).map_err(|error| format!("cannot look at capabilities: {error}"))?;
    if own.effective.contains(CapabilitySet::KILL) {
        return Ok(());
    }
    Err("nobody could end it, because the server lacks CAP_KILL, which a job with a user of its own takes".to_owned())
}

fn user_of(name: &str) -> Result<(Uid, Gid), String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok((user.uid, user.gid)),
        Ok(None) => Err(format!("there is no user {name}")),
        Err(error) => Err(format!("cannot look up the user {name}: {error}")),
    }
}

/// The program in a file in memory that nobody can change any more, when it has this hash.
fn pinned(program: &Path, hash: &str) -> Result<OwnedFd, String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", program.display());
    // Without waiting for the other end of what may be a pipe.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(program);
    let opened = opened.map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > PROGRAM_BYTES_MAX {
        return Err(format!("{} is no file that can be hashed", program.display()));
    }
    let mut bytes = Vec::new();
    opened.take(PROGRAM_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let found = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let found: String = found.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != hash {
        return Err(format!(
            "not the program that is pinned: {} has the SHA-256 {found}",
            program.display()
        ));
    }
    let kept = || -> io::Result<OwnedFd> {
        let flags = MemfdFlags::ALLOW_SEALING;
        let memory = match memfd_create("job", flags | MemfdFlags::EXEC) {
            // Before Linux 6.3 all of them could be executed.
            Err(rustix::io::Errno::INVAL) => memfd_create("job", flags)?,
            made => made?,
        };
        let mut file = File::from(memory);
        file.write_all(&bytes)?;
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        // A descriptor that can be written through could not be executed.
        let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        rustix::io::fcntl_setfd(&read_only, rustix::io::FdFlags::empty())?;
        Ok(read_only.into())
    };
    kept().map_err(|error| format!("cannot keep {} in memory: {error}", program.display()))
}

/// Leaves nothing that lifts what this user may do, also when that is root.
fn drop_capabilities() -> Result<(), String> {
    let failed = |error: rustix::io::Errno| format!("cannot give up capabilities: {error}");
    let own = rustix::thread::capabilities(None).map_err(failed)?;
    if own.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..64 {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // This kernel has no more of them.
                Err(rustix::io::Errno::INVAL) => break,
                done => done.map_err(failed)?,
            }
        }
    } else if Uid::effective().is_root() {
        return Err("cannot give up capabilities: the server is root without CAP_SETPCAP".to_owned());
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // What is not inheritable is not ambient either.
    rustix::thread::set_capabilities(None, none).map_err(failed)
}

fn limit(launch: &Launch, has_own_user: bool, held: Held) -> Result<(), String> {
    let confinement = &launch.confinement;
    let mut limits = vec![
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_CPU, launch.timeout_ms.div_ceil(1000).saturating_add(1)),
        (Resource::RLIMIT_FSIZE, FILE_BYTES_MAX),
        (Resource::RLIMIT_NOFILE, FILES_MAX),
    ];
    if !held.memory {
        limits.push((Resource::RLIMIT_AS, confinement.memory_mib_max.saturating_mul(1 << 20)));
    }
    if has_own_user && !held.processes {
        limits.push((Resource::RLIMIT_NPROC, confinement.processes_max));
    }
    for (resource, most) in limits {
        setrlimit(resource, most, most).map_err(|error| format!("cannot set {resource:?}: {error}"))?;
    }
    Ok(())
}

/// Leaves only the files that the job needs.
fn restrict_files(launch: &Launch) -> Result<(), String> {
    let failed = |error: landlock::RulesetError| format!("cannot leave it only the files it needs: {error}");
    let confinement = &launch.confinement;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|it| it.scope(Scope::from_all(NEWEST)))
        .map_err(failed)?;
    if !confinement.network {
        rules = rules.handle_access(AccessNet::from_all(NEWEST)).map_err(failed)?;
    }
    let mut rules = rules.create().map_err(failed)?;
    let run = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute);
    for path in PROGRAMS {
        rules = allow(rules, Path::new(path), run).map_err(failed)?;
    }
    rules = allow(rules, &launch.program, run).map_err(failed)?;
    for path in READ
        .iter()
        .map(Path::new)
        .chain(confinement.read.iter().map(AsRef::as_ref))
    {
        rules = allow(rules, path, read).map_err(failed)?;
    }
    rules = allow(rules, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile).map_err(failed)?;
    for path in &confinement.write {
        rules = allow(rules, path, all).map_err(failed)?;
    }
    match rules.restrict_self().map_err(failed)?.ruleset {
        RulesetStatus::NotEnforced => {
            Err("this kernel has no Landlock, and a job is run in a sandbox or not at all".into())
        }
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// The same with `rights` below `path`; what is not there cannot be used either.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(rules);
    };
    let rights = if path.is_dir() {
        rights
    } else {
        rights & AccessFs::from_file(NEWEST)
    };
    rules.add_rule(PathBeneath::new(opened, rights))
}

/// Has the kernel refuse what reaches into it, into other processes or, without `network`, to other machines.
fn refuse_calls(network: bool) -> Result<(), seccompiler::Error> {
    let mut calls = calls::never_needed();
    if !network {
        // Of all families: sockets of other services of this machine are ways out, too.
        calls.push(libc::SYS_socket);
    }
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // New namespaces by way of a new process.
    let namespaces = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let with = |flag: i32| {
        let flag = u64::from(flag.cast_unsigned());
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![condition])
    };
    let clones: Result<Vec<_>, seccompiler::BackendError> = namespaces.into_iter().map(with).collect();
    rules.insert(libc::SYS_clone, clones?);
    // Its flags are in memory, where a filter cannot look: the C library then takes clone(2).
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, error) in [(unknown, libc::ENOSYS), (rules, libc::EPERM)] {
        seccompiler::apply_filter(&calls::filter(rules, error)?)?;
    }
    Ok(())
}
