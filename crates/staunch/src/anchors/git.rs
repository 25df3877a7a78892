//! Commits checkpoints to a repository: one file for each log, `ORIGIN/checkpoint`, with its history.
//!
//! Runs `git` without a shell, with arguments that are fixed but for the repository, the branch and what git
//! itself has said. Several machines may share a branch.
//!
//! # Expected flow
//! Fetches the branch into a repository of its own, holds what is there against the log, adds the file to the
//! tree, commits, pushes
//!
//! # Guarantees
//! A branch is never forced: what others have committed stays. A checkpoint that the log does not continue is
//! never replaced
//!
//! # Assumptions
//! `git` 2.30 or later is in `/usr/local/bin`, `/usr/bin` or `/bin`
//!
//! # Caveats
//! Who can force the branch of the repository can take back what is there; this machine then finds that the
//! branch was rewritten
//!
//! # Errors
//! `Unavailable` (no git, no repository, no network), `TimedOut`, `Conflict` (the log or the branch was put back)

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use staunch_model::{Failure, FailureKind, Printable};
use staunch_store::tlog::note::NOTE_BYTES_MAX;

use super::{Work, continues, io_failure};

/// Bytes of what git says that are kept.
const SAID_BYTES_MAX: u64 = NOTE_BYTES_MAX;

/// Characters of a complaint that are told.
const COMPLAINT_CHARS_MAX: usize = 200;

/// How often it is looked whether git has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What `git ls-remote --exit-code` says when there is no such branch.
const NO_BRANCH: i32 = 2;

/// Attempts when somebody else commits to the branch at the same time.
const ATTEMPTS: usize = 3;

/// Where a branch is fetched to, before it is known that it was not rewritten.
const THEIRS: &str = "refs/staunch/theirs";

/// The repository of this anchor, and where it pushes to.
struct Repository<'a> {
    dir: PathBuf,
    index: PathBuf,
    remote: &'a str,
    branch: String,
    until: Instant,
}

/// How git has ended, and what it said.
struct Said {
    code: Option<i32>,
    text: Vec<u8>,
    complaint: String,
}

/// Commits the checkpoint.
///
/// # Errors
/// See the module.
pub(super) fn commit(work: &Work<'_>) -> Result<(), Failure> {
    let repository = Repository {
        dir: work.dir.join("repository.git"),
        index: work.dir.join("index"),
        remote: work.settings.repository.as_deref().unwrap_or_default(),
        branch: format!("refs/heads/{}", work.settings.branch),
        until: work.until,
    };
    if !repository.dir.join("HEAD").exists() {
        let dir = repository.dir.display().to_string();
        repository.run(&["init", "--quiet", "--bare", "--template=", "--", &dir], None)?;
    }
    let mut pushed = repository.add(work);
    for _ in 1..ATTEMPTS {
        match &pushed {
            // Somebody else has committed in between.
            Err(failure) if failure.kind == FailureKind::Unavailable && Instant::now() < work.until => {
                pushed = repository.add(work);
            }
            _ => break,
        }
    }
    pushed
}

impl Repository<'_> {
    fn add(&self, work: &Work<'_>) -> Result<(), Failure> {
        let parent = self.fetch()?;
        let path = format!("{}/checkpoint", work.checkpoint.origin);
        if parent.is_some() && self.holds(work, &path)? {
            return Ok(());
        }
        let blob = self.word(&["hash-object", "-w", "--stdin"], Some(work.note.as_bytes()))?;
        match fs::remove_file(&self.index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(&self.index, &error)),
            _ => {}
        }
        if let Some(parent) = &parent {
            self.run(&["read-tree", parent], None)?;
        }
        let entry = format!("100644,{blob},{path}");
        self.run(&["update-index", "--add", "--cacheinfo", &entry], None)?;
        let tree = self.word(&["write-tree"], None)?;
        let message = format!("{} at {} entries", work.checkpoint.origin, work.checkpoint.size);
        let mut arguments = vec!["commit-tree", &tree, "-m", &message];
        if let Some(parent) = &parent {
            arguments.extend(["-p", parent]);
        }
        let commit = self.word(&arguments, None)?;
        let update = format!("{commit}:{}", self.branch);
        self.run(&["push", "--quiet", "--", self.remote, &update], None)?;
        self.run(&["update-ref", &self.branch, &commit], None).map(drop)
    }

    /// Brings the branch here; its newest commit, when there is one.
    fn fetch(&self) -> Result<Option<String>, Failure> {
        let was_there = self.tip()?.is_some();
        let listed = self.said(&["ls-remote", "--exit-code", "--", self.remote, &self.branch], None)?;
        match listed.code {
            Some(NO_BRANCH) if was_there => {
                let what = format!("{} was there and is gone", self.branch);
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            Some(NO_BRANCH) => return Ok(None),
            _ => listed.good()?,
        };
        let refs = format!("+{}:{THEIRS}", self.branch);
        self.run(
            &[
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                self.remote,
                &refs,
            ],
            None,
        )?;
        if was_there {
            let follows = self.said(&["merge-base", "--is-ancestor", &self.branch, THEIRS], None)?;
            if follows.code == Some(1) {
                let what = format!("{} was rewritten: what it had was taken back", self.branch);
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            follows.good()?;
        }
        self.run(&["update-ref", &self.branch, THEIRS], None)?;
        self.tip()
    }

    /// The newest commit of the branch that is here.
    fn tip(&self) -> Result<Option<String>, Failure> {
        let said = self.said(&["rev-parse", "--verify", "--quiet", &self.branch], None)?;
        if said.code == Some(1) {
            return Ok(None);
        }
        said.word().map(Some)
    }

    /// Whether the branch has this checkpoint. One that it has must be of what the log begins with.
    fn holds(&self, work: &Work<'_>, path: &str) -> Result<bool, Failure> {
        let listed = self.run(&["ls-tree", "--name-only", &self.branch, "--", path], None)?;
        if listed.text.is_empty() {
            return Ok(false);
        }
        let there = self.run(&["cat-file", "blob", &format!("{}:{path}", self.branch)], None)?;
        if there.text == work.note.as_bytes() {
            return Ok(true);
        }
        let contradicts = |what: String| {
            let what = format!("{path} on {}: {what}", self.branch);
            Failure::new(FailureKind::Conflict, &what)
        };
        let note = std::str::from_utf8(&there.text).map_err(|error| contradicts(error.to_string()))?;
        let earlier = work
            .key
            .checkpoint(note)
            .map_err(|error| contradicts(error.to_string()))?;
        continues(work.log, work.checkpoint.size, &earlier).map_err(contradicts)?;
        Ok(false)
    }

    fn word(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<String, Failure> {
        self.said(arguments, input)?.word()
    }

    fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<Said, Failure> {
        self.said(arguments, input)?.good()
    }

    fn said(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<Said, Failure> {
        let unavailable =
            |error: &io::Error| Failure::new(FailureKind::Unavailable, &format!("cannot run git: {error}"));
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(kept_environment())
            .env("GIT_INDEX_FILE", &self.index);
        // Nothing of a remote or of a configuration runs as a command of its own.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never"]);
        for allowed in ["file", "https", "ssh"] {
            command.args(["-c", &format!("protocol.{allowed}.allow=always")]);
        }
        command.args(["-c", "gc.auto=0", "-c", "commit.gpgSign=false"]);
        if arguments.first() != Some(&"init") {
            command.arg("--git-dir").arg(&self.dir);
        }
        command
            .args(arguments)
            .current_dir("/")
            .process_group(0)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| unavailable(&error))?;
        let told = child.stdout.take().map(read_all).transpose();
        let complained = child.stderr.take().map(read_all).transpose();
        let written = match (child.stdin.take(), input) {
            // It fits into the pipe.
            (Some(mut stdin), Some(input)) => stdin.write_all(input),
            _ => Ok(()),
        };
        let code = self.wait(&mut child);
        let (told, complained) = match (told, complained, written) {
            (Ok(Some(told)), Ok(Some(complained)), Ok(())) => (told, complained),
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return Err(unavailable(&error)),
            _ => return Err(unavailable(&io::Error::other("it has no output"))),
        };
        let code = code?;
        let complaint = self.received(&complained)?;
        Ok(Said {
            code,
            text: self.received(&told)?,
            complaint: String::from_utf8_lossy(&complaint).into_owned(),
        })
    }

    /// Waits until it ends, or ends it with all that it has started.
    fn wait(&self, child: &mut Child) -> Result<Option<i32>, Failure> {
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status.code()),
                Ok(None) if Instant::now() < self.until => thread::sleep(LOOK),
                ended => {
                    let group = Pid::from_raw(child.id().try_into().unwrap_or(i32::MAX));
                    // It may have ended in between, which is as good.
                    let _ = killpg(group, Signal::SIGKILL);
                    let waited = child.wait();
                    let what = match ended.and(waited) {
                        Ok(_) => return Err(Self::late()),
                        Err(error) => format!("cannot wait for git: {error}"),
                    };
                    return Err(Failure::new(FailureKind::Unavailable, &what));
                }
            }
        }
    }

    fn received(&self, from: &Receiver<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        // Who has the other end of the pipe may outlive git.
        let rest = self.until.saturating_duration_since(Instant::now()).max(LOOK);
        from.recv_timeout(rest).map_err(|_| Self::late())
    }

    fn late() -> Failure {
        Failure::new(FailureKind::TimedOut, "git has not ended within the deadline")
    }
}

impl Said {
    fn good(self) -> Result<Self, Failure> {
        if self.code == Some(0) {
            return Ok(self);
        }
        let first = self.complaint.lines().map(str::trim).find(|it| !it.is_empty());
        let first: String = first
            .unwrap_or("it says nothing")
            .chars()
            .take(COMPLAINT_CHARS_MAX)
            .collect();
        let what = format!("git has failed: {}", Printable(&first));
        Err(Failure::new(FailureKind::Unavailable, &what))
    }

    /// The one word that it says: the name of an object.
    fn word(self) -> Result<String, Failure> {
        let said = self.good()?;
        let word = std::str::from_utf8(&said.text).unwrap_or_default().trim();
        if word.len() >= 40 && word.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Ok(word.to_owned());
        }
        Err(Failure::new(
            FailureKind::Unavailable,
            "git does not say the name of an object",
        ))
    }
}

/// Reads what is said to its end, and keeps its beginning.
fn read_all<R: Read + Send + 'static>(mut from: R) -> io::Result<Receiver<Vec<u8>>> {
    let (tell, told) = sync_channel(1);
    let read = move || {
        let mut kept = Vec::new();
        // What cannot be read was not said.
        let _ = (&mut from).take(SAID_BYTES_MAX).read_to_end(&mut kept);
        let _ = io::copy(&mut from, &mut io::sink());
        let _ = tell.send(kept);
    };
    thread::Builder::new().name("git".into()).spawn(read)?;
    Ok(told)
}

/// What git needs to know of the user of the server, and who commits.
fn kept_environment() -> Vec<(&'static str, std::ffi::OsString)> {
    let mut kept: Vec<_> = ["HOME", "SSH_AUTH_SOCK"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();
    let fixed = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Staunch"),
        ("GIT_AUTHOR_EMAIL", "staunch@localhost"),
        ("GIT_COMMITTER_NAME", "Staunch"),
        ("GIT_COMMITTER_EMAIL", "staunch@localhost"),
    ];
    kept.extend(fixed.map(|(name, value)| (name, value.into())));
    kept
}

/// Whether `git` is where it is looked for.
pub(crate) fn is_there() -> bool {
    ["/usr/local/bin/git", "/usr/bin/git", "/bin/git"]
        .iter()
        .any(|it| Path::new(it).exists())
}
