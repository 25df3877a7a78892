//! From an alert of Wazuh to an account that nobody gets into, and back: with the real files, programs and PAM, in a
//! copy of `/etc` that is this test's own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::json;
use staunch_connectors::actions::freeze_process::cgroup2_mount;
use staunch_model::{ActionKind, StateKind};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{EventPlan, Incidents, Ruling};

use crate::harness::{Home, SMALL, Server, in_namespace, stderr, wait_until};

/// What says that `/etc` is the copy.
const MARKER: &str = "/etc/staunch-test-copy";

const NAME: &str = "staunch-t2";
const PASSWORD: &str = "correct horse battery staple";

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Runs `work` where `/etc` is a copy with an account of the number that it is given, or skips the test `name`.
fn with_an_account(name: &str, work: impl FnOnce(u32) + Send) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("etc").display().to_string();
    // Slices are those of the machine: each account has one of its own.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = 40_000 + std::process::id() % 1_000 * 10 + NEXT.fetch_add(2, Relaxed);
    let prepare = || {
        for program in ["su", "useradd", "chpasswd"] {
            run(program, &["--help"])?;
        }
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("cannot make a mount namespace: {error}"))?;
        run("mount", &["--make-rprivate", "/"])?;
        run("cp", &["-a", "/etc", &copy])?;
        fs::write(Path::new(&copy).join("staunch-test-copy"), "").map_err(|error| error.to_string())?;
        run("mount", &["--bind", &copy, "/etc"])
    };
    in_namespace(name, || match prepare() {
        Err(reason) => staunch_testkit::skip(name, &reason),
        Ok(_) => {
            assert!(
                Path::new(MARKER).exists(),
                "it must not touch the machine's own accounts"
            );
            let uid = number.to_string();
            run(
                "useradd",
                &["--no-create-home", "--uid", &uid, "--shell", "/bin/sh", NAME],
            )
            .expect("it is added");
            let mut chpasswd = Command::new("chpasswd")
                .stdin(Stdio::piped())
                .spawn()
                .expect("it is there");
            let mut input = chpasswd.stdin.take().expect("it is piped");
            writeln!(input, "{NAME}:{PASSWORD}").expect("it listens");
            drop(input);
            assert!(chpasswd.wait().expect("it ends").success());
            work(number);
        }
    });
    assert!(!Path::new(MARKER).exists(), "nobody else sees it");
}

/// Whether PAM lets the account in: root needs no password, so that only its account phase is asked.
fn gets_in() -> bool {
    run("su", &["-s", "/bin/true", NAME]).is_ok()
}

/// The line of the account.
fn line() -> String {
    let shadow = fs::read_to_string("/etc/shadow").expect("it can be read");
    let line = shadow.lines().find(|line| line.starts_with(&format!("{NAME}:")));
    line.expect("it is there").to_owned()
}

/// A process in the slice of a user, and the slice. Both go away with this.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    slice: PathBuf,
}

impl Session {
    /// Starts one, or says why there are no slices here.
    fn start(uid: u32) -> Result<Self, String> {
        let tree = cgroup2_mount(Path::new("/proc")).map_err(|error| error.to_string())?;
        let slice = tree.join(format!("user.slice/user-{uid}.slice"));
        fs::create_dir_all(&slice).map_err(|error| format!("cannot make {}: {error}", slice.display()))?;
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat is everywhere");
        let session = Self {
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
            slice,
        };
        fs::write(session.slice.join("cgroup.procs"), session.child.id().to_string()).expect("it can be moved");
        Ok(session)
    }

    /// Waits for it to say `words`, for ever while it stands still.
    fn answers(&mut self, words: &str) {
        writeln!(self.input, "{words}").expect("it listens");
        let mut heard = String::new();
        self.output.read_line(&mut heard).expect("it is a text");
        assert_eq!(heard.trim_end(), words);
    }

    fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.slice.join("cgroup.events")).expect("it can be read");
        events.lines().any(|line| line == "frozen 1")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(fs::write(self.slice.join("cgroup.freeze"), "0"));
        drop(self.child.kill());
        drop(self.child.wait());
        wait_until("the slice is gone", || fs::remove_dir(&self.slice).is_ok());
        // Of the machine, unless this made it.
        if let Some(slices) = self.slice.parent() {
            drop(fs::remove_dir(slices));
        }
    }
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("every machine has one");
    name.trim().to_owned()
}

fn alert(host: &str, user: &str) -> String {
    json!({
        "timestamp": SystemClock.now().to_string(),
        "rule": {
            "id": "40112",
            "level": 12,
            "description": "Multiple authentication failures followed by a success.",
            "groups": ["syslog", "attacks", "authentication_success"]
        },
        "agent": { "id": "001", "name": host },
        "id": "1764064800.1",
        "decoder": { "name": "sshd" },
        "data": { "srcip": "203.0.113.70", "dstuser": user }
    })
    .to_string()
}

fn home() -> Home {
    let home = Home::new(&format!(
        "{SMALL}[accounts]\nenabled = true\nprotected = [\"breakglass\"]\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    let playbook = include_str!("../../../../playbooks/account-takeover-lock.yaml");
    let enforced = playbook.replace("medium: approve", "medium: enforce");
    assert_ne!(enforced, playbook);
    home.playbook("takeover.yaml", &enforced);
    home
}

fn in_force(server: &Server) -> usize {
    let all = server.containments();
    all.iter().filter(|it| it.state == StateKind::InForce).count()
}

/// Every file below `dir` that has `text` in it.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() {
            let bytes = fs::read(&path).expect("it can be read");
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn nobody_gets_into_an_account_until_it_is_released() {
    with_an_account("accounts::nobody_gets_into_an_account", |uid| {
        let session = Session::start(uid);
        let home = home();
        let server = home.serve();
        let before = line();
        let hash = before.split(':').nth(1).expect("it has a password").to_owned();
        assert!(hash.len() > 20, "it is a hash");
        let event = alert(&hostname(), NAME);
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let file = file.display().to_string();
        let plan: EventPlan = server.json(&["plan", &file, "--source", "wazuh"]);
        let step = &plan.plan.responses[0].steps[0];
        assert_eq!((step.ruling, step.action), (Ruling::Act, ActionKind::LockAccount));
        let text = server.ok(&["plan", &file, "--source", "wazuh"]);
        assert!(
            text.contains("lock-account") && text.contains(&format!("user {uid}")),
            "{text}"
        );
        assert!(gets_in(), "a plan changes nothing");

        server.take_from("wazuh", &event);
        wait_until("the containment", || in_force(&server) == 1);
        assert!(!gets_in());
        assert_eq!(server.containments()[0].target, format!("account:{NAME}"));
        if let Ok(session) = &session {
            assert!(session.is_frozen());
        }

        // What is locked is found again after a crash.
        server.kill();
        assert!(!gets_in());
        let server = home.serve();
        wait_until("the containment", || in_force(&server) == 1);
        assert!(!gets_in());
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert!(gets_in());
        assert_eq!(line(), before);
        match session {
            Ok(mut session) => session.answers("it goes on"),
            Err(reason) => staunch_testkit::skip("accounts::nobody_gets_into_an_account (sessions)", &reason),
        }
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        let kept = files_with(&home.data(), &hash);
        assert!(kept.is_empty(), "no password is kept: {kept:?}");
        assert!(!home.log().contains(&hash));
    });
}

#[test]
fn what_is_of_another_host_or_protected_is_not_locked() {
    with_an_account("accounts::what_is_of_another_host", |uid| {
        run(
            "useradd",
            &["--no-create-home", "--uid", &(uid + 1).to_string(), "breakglass"],
        )
        .expect("it is added");
        let home = home();
        let server = home.serve();
        let shadow = fs::read("/etc/shadow").expect("it can be read");
        let refused = |number: usize, event: String, says: &str| {
            server.take_from("wazuh", &event);
            wait_until("the refusal", || {
                let listed: Incidents = server.json(&["incident", "list"]);
                listed.incidents.iter().filter(|it| it.outcome.is_some()).count() == number
            });
            let shown = server.ok(&["incident", "show", &format!("INC-{number}")]);
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(words.join(" ").contains(says), "{says}: {shown}");
        };
        refused(1, alert("another-host", NAME), "it is an account of another-host");
        refused(2, alert(&hostname(), "root"), "it is root");
        refused(3, alert(&hostname(), "breakglass"), "protected names it");
        refused(4, alert(&hostname(), "nobody-of-that-name"), "no such account");
        refused(5, alert(&hostname(), "a\nroot::0:0"), "refused, closed");
        assert!(server.containments().is_empty());
        assert!(fs::read("/etc/shadow").expect("it can be read") == shadow);
    });
}

#[test]
fn everything_is_unlocked_without_a_server() {
    with_an_account("accounts::everything_is_unlocked", |_| {
        let home = home();
        let server = home.serve();
        let before = line();
        server.take_from("wazuh", &alert(&hostname(), NAME));
        wait_until("the containment", || in_force(&server) == 1);
        server.kill();
        assert!(!gets_in());
        let doctor = home.run(&["doctor"]);
        assert!(
            String::from_utf8_lossy(&doctor.stdout).contains("can be locked; 1 are locked by us"),
            "{doctor:?}"
        );
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10), "{}", stderr(&released));
        assert!(
            String::from_utf8_lossy(&released.stdout).contains("1 containment released"),
            "{released:?}"
        );
        assert!(gets_in());
        assert_eq!(line(), before);
    });
}

#[test]
fn without_the_setting_no_account_is_locked() {
    with_an_account("accounts::without_the_setting", |_| {
        let home = home();
        home.configure(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
        ));
        let server = home.serve();
        server.take_from("wazuh", &alert(&hostname(), NAME));
        wait_until("the refusal", || {
            let listed: Incidents = server.json(&["incident", "list"]);
            listed.incidents.first().is_some_and(|it| it.outcome.is_some())
        });
        assert!(gets_in());
        assert!(server.containments().is_empty());
    });
}
