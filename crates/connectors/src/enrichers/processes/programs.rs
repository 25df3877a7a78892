//! Which programs are protected.
//!
//! Anybody can call a program of their own `sshd`, put a file of that name somewhere, run the real one with a library
//! of their own, or, as root of a container, have a file at the same path. What counts is therefore the file that is
//! run: it is at a protected path, the very one that the machine has there, root's, writable by nobody else, and run as
//! root or as a user that such programs have to themselves.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::ProcessOptions;
use crate::proc::{Proc, is_gone};

/// Where programs of the system are.
const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/sbin",
    "/bin",
];

/// The programs in any of [`DIRECTORIES`] that are protected.
const PROGRAMS: [&str; 16] = [
    "sshd*",
    "dbus-daemon",
    "dbus-broker*",
    "dockerd",
    "containerd",
    "containerd-shim*",
    "crio",
    "conmon",
    "kubelet",
    "udevd",
    "udevadm",
    "agetty",
    "login",
    "auditd",
    "falco",
    "suricata",
];

/// The directories of which every program is protected, or those with such a name.
const ELSEWHERE: [&str; 8] = [
    "/usr/lib/systemd/*",
    "/lib/systemd/*",
    "/usr/lib/openssh/sshd*",
    "/usr/libexec/openssh/sshd*",
    "/usr/libexec/sshd*",
    "/usr/lib/ssh/sshd*",
    "/usr/lib/udev/udevd",
    "/lib/udev/udevd",
];

/// The users beside root that such programs have to themselves.
pub(super) const USERS: [&str; 6] = ["messagebus", "dbus", "systemd-*", "falco", "suricata", "_suricata"];

/// Bytes that are read of the list of users.
const PASSWD_BYTES_MAX: u64 = 4 << 20;

/// Threads whose program is asked for when the first thread of a process has ended. All have the same one.
const THREADS_MAX: usize = 64;

/// What the kernel adds to the path of a file that is not there any more.
const DELETED: &[u8] = b" (deleted)";

/// What the finder cannot work with.
#[derive(Debug, Error)]
pub enum ProcessOptionsError {
    /// A protected program is not given by a whole path.
    #[error("\"{0}\" is not the whole path of a program; a * may only be its last character")]
    Program(String),
    /// The users could not be read.
    #[error("cannot read {}", path.display())]
    Passwd {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

pub(super) fn by_default() -> Vec<String> {
    let everywhere = DIRECTORIES.iter().flat_map(|directory| {
        let programs = PROGRAMS.iter();
        programs.map(move |program| format!("{directory}/{program}"))
    });
    everywhere.chain(ELSEWHERE.map(str::to_owned)).collect()
}

/// A text, or all that begin with it and have no further `/`.
#[derive(Clone, Debug)]
struct Pattern {
    text: Vec<u8>,
    is_beginning: bool,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let beginning = text.strip_suffix('*');
        Self {
            text: beginning.unwrap_or(text).as_bytes().to_owned(),
            is_beginning: beginning.is_some(),
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        match text.strip_prefix(self.text.as_slice()) {
            Some(rest) if self.is_beginning => !rest.contains(&b'/'),
            Some(rest) => rest.is_empty(),
            None => false,
        }
    }
}

/// What is protected.
#[derive(Debug)]
pub(super) struct Programs {
    paths: Vec<Pattern>,
    /// Those that are protected whoever runs them, and whosever the file is.
    always: Vec<Pattern>,
    users: BTreeSet<u32>,
    /// The root directories of this process and of process 1. They differ where Staunch runs in a container.
    roots: [PathBuf; 2],
}

impl Programs {
    pub(super) fn new(options: &ProcessOptions) -> Result<Self, ProcessOptionsError> {
        for text in options.protected.iter().chain(&options.protected_always) {
            let path = text.strip_suffix('*').unwrap_or(text);
            if !path.starts_with('/') || path.contains('*') || path.len() < 2 {
                return Err(ProcessOptionsError::Program(text.clone()));
            }
        }
        let names: Vec<Pattern> = options.protected_users.iter().map(|it| Pattern::new(it)).collect();
        let passwd = read(&options.passwd).map_err(|source| ProcessOptionsError::Passwd {
            path: options.passwd.clone(),
            source,
        })?;
        let users = passwd.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            let uid = std::str::from_utf8(uid).ok()?.parse::<u32>().ok()?;
            names.iter().any(|it| it.matches(name)).then_some(uid)
        });
        Ok(Self {
            paths: options.protected.iter().map(|it| Pattern::new(it)).collect(),
            always: options.protected_always.iter().map(|it| Pattern::new(it)).collect(),
            users: users.chain([0]).collect(),
            roots: [PathBuf::from("/"), options.proc.join("1/root")],
        })
    }

    /// Whether a process that runs `exe` as `users` is protected.
    pub(super) fn protects(&self, exe: &Exe, users: [u32; 2]) -> io::Result<bool> {
        let text = exe.link.as_os_str().as_bytes();
        let is_deleted = exe.file.nlink() == 0;
        // A file that was replaced by an update is still the program that people depend on.
        let path = text.strip_suffix(DELETED).filter(|_| is_deleted).unwrap_or(text);
        let always = self.always.iter().any(|it| it.matches(path));
        let trusted = || {
            self.paths.iter().any(|it| it.matches(path))
                && users.iter().all(|it| self.users.contains(it))
                && exe.file.uid() == 0
                && exe.file.mode() & 0o022 == 0
        };
        if !always && !trusted() {
            return Ok(false);
        }
        let relative = Path::new(OsStr::from_bytes(path))
            .strip_prefix("/")
            .unwrap_or(Path::new(""));
        let [own, machine] = &self.roots;
        // What is the same file in the root directory of this process is the same file, whatever process 1 has.
        if is_file_at(exe, &own.join(relative)).unwrap_or(false) {
            return Ok(true);
        }
        is_file_at(exe, &machine.join(relative))
    }
}

/// Whether the file that is run is the one at `path`, or was there before it was deleted, as far as that can be told.
fn is_file_at(exe: &Exe, path: &Path) -> io::Result<bool> {
    if exe.file.nlink() == 0 {
        let directory = metadata(path.parent().unwrap_or(path))?;
        return Ok(directory.is_some_and(|it| it.dev() == exe.file.dev()));
    }
    let there = metadata(path)?;
    Ok(there.is_some_and(|it| (it.dev(), it.ino()) == (exe.file.dev(), exe.file.ino())))
}

/// The program that a process runs.
#[derive(Debug)]
pub(super) struct Exe {
    /// Its path, as the kernel writes it.
    link: PathBuf,
    /// The file itself.
    file: Metadata,
}

impl Exe {
    /// The program of a process; `None` when it has none any more.
    pub(super) fn of(proc: &Proc, pid: u32) -> io::Result<Option<Self>> {
        if let Some(exe) = Self::at(&proc.of(pid, "exe"))? {
            return Ok(Some(exe));
        }
        // When the first thread has ended, the others still know.
        let threads = match fs::read_dir(proc.of(pid, "task")) {
            Ok(threads) => threads,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        for thread in threads.take(THREADS_MAX) {
            if let Some(exe) = Self::at(&thread?.path().join("exe"))? {
                return Ok(Some(exe));
            }
        }
        Ok(None)
    }

    fn at(path: &Path) -> io::Result<Option<Self>> {
        let link = match fs::read_link(path) {
            Ok(link) => link,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(metadata(path)?.map(|file| Self { link, file }))
    }

    /// Its path for people.
    pub(super) fn text(&self) -> Box<str> {
        self.link.to_string_lossy().into()
    }
}

/// What is known of a file; `None` when it is not there.
fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

/// The users; without the file there are none but root.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(PASSWD_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest_of_a_name_only() {
        let matches = |pattern: &str, path: &str| Pattern::new(pattern).matches(path.as_bytes());
        assert!(matches("/usr/sbin/sshd", "/usr/sbin/sshd"));
        assert!(!matches("/usr/sbin/sshd", "/usr/sbin/sshd-session"));
        assert!(!matches("/usr/sbin/sshd", "/tmp/usr/sbin/sshd"));
        assert!(matches("/usr/lib/systemd/*", "/usr/lib/systemd/systemd-journald"));
        assert!(!matches("/usr/lib/systemd/*", "/usr/lib/systemd/x/y"));
    }

    #[test]
    fn a_file_at_the_path_in_another_root_is_another_program() {
        if !nix::unistd::geteuid().is_root() {
            let test = "a_file_at_the_path_in_another_root_is_another_program";
            staunch_testkit::skip(test, "files of root's can be made by root only");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        let [real, other, none] = ["real", "other", "none"].map(|it| folder.path().join(it));
        for root in [&real, &other] {
            fs::create_dir_all(root.join("usr/sbin")).expect("a folder can be made");
            fs::write(root.join("usr/sbin/sshd"), "").expect("a file can be made");
        }
        let file = fs::File::open(real.join("usr/sbin/sshd")).expect("it is there");
        let protects = |link: &str, roots: [&Path; 2]| {
            let exe = Exe {
                link: PathBuf::from(link),
                file: file.metadata().expect("it is open"),
            };
            let programs = Programs {
                paths: vec![Pattern::new("/usr/sbin/sshd")],
                always: Vec::new(),
                users: [0].into(),
                roots: roots.map(Path::to_owned),
            };
            programs.protects(&exe, [0, 0]).expect("all can be read")
        };
        let path = "/usr/sbin/sshd";
        assert!(protects(path, [&real, &other]));
        assert!(protects(path, [&other, &real]));
        assert!(protects(path, [&none, &real]));
        assert!(!protects(path, [&other, &none]));
        let deleted = "/usr/sbin/sshd (deleted)";
        assert!(!protects(deleted, [&real, &real]), "a file of that very name");
        fs::remove_file(real.join("usr/sbin/sshd")).expect("it can be removed");
        assert!(protects(deleted, [&real, &none]));
        assert!(!protects(deleted, [Path::new("/dev/shm/none"), Path::new("/proc/sys")]));
    }

    #[test]
    fn what_is_no_path_of_a_program_is_refused() {
        for bad in ["sshd", "", "*", "/", "/*", "/usr/*/sshd", "/usr/bin/s*d*"] {
            let options = ProcessOptions {
                protected: vec![bad.to_owned()],
                ..ProcessOptions::default()
            };
            assert!(Programs::new(&options).is_err(), "{bad}");
        }
        assert!(Programs::new(&ProcessOptions::default()).is_ok());
    }
}
