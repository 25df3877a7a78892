//! The driver that locks accounts against the real programs that let people in, with a copy of `/etc` of their own.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use staunch_connectors::actions::lock_account::{ShadowLockAccount, ShadowOptions};
use staunch_model::Outcome;

use crate::lock_account_setting::{OURS, execute, see, undo};

/// What says that `/etc` is the copy.
const MARKER: &str = "/etc/staunch-test-copy";

const NAME: &str = "staunch-t1";
const PASSWORD: &str = "correct horse battery staple";

/// Runs `work` where `/etc` is a copy that nobody else sees, or says why this machine does not let it.
fn with_an_etc_of_its_own(test: &str, work: impl FnOnce() + Send) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("etc");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    };
    let prepare = || {
        for program in ["su", "chpasswd", "chage", "passwd", "useradd"] {
            run(program, &["--help"])?;
        }
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("cannot make a mount namespace: {error}"))?;
        run("mount", &["--make-rprivate", "/"])?;
        run("cp", &["-a", "/etc", &copy.display().to_string()])?;
        fs::write(copy.join("staunch-test-copy"), "").map_err(|error| error.to_string())?;
        run("mount", &["--bind", &copy.display().to_string(), "/etc"])
    };
    // A namespace is of one thread, which ends with it.
    let reason = std::thread::scope(|scope| {
        let thread = scope.spawn(|| match prepare() {
            Ok(()) => {
                assert!(
                    Path::new(MARKER).exists(),
                    "it must not touch the machine's own accounts"
                );
                work();
                None
            }
            Err(reason) => Some(reason),
        });
        thread.join().unwrap()
    });
    assert!(!Path::new(MARKER).exists(), "nobody else sees it");
    if let Some(reason) = reason {
        staunch_testkit::skip(test, &reason);
    }
}

/// Runs a program with `input`. Returns whether it did well, and all that it said.
fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that asks for nothing has ended.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// As root, which needs no password: only the account phase of PAM is asked.
fn root_becomes() -> (bool, String) {
    run("su", &["-s", "/bin/true", NAME], "")
}

/// As somebody else, with the password.
fn somebody_becomes() -> (bool, String) {
    let su = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "su",
        "-s",
        "/bin/true",
        NAME,
    ];
    run("setpriv", &su, &format!("{PASSWORD}\n"))
}

#[test]
fn pam_refuses_the_account_until_it_is_given_back() {
    with_an_etc_of_its_own("pam_refuses_the_account_until_it_is_given_back", || {
        assert_eq!(
            run("useradd", &["--no-create-home", "--shell", "/bin/sh", NAME], ""),
            (true, String::new())
        );
        let (set, said) = run("chpasswd", &[], &format!("{NAME}:{PASSWORD}\n"));
        assert!(set, "{said}");
        let records = tempfile::tempdir().unwrap();
        let options = ShadowOptions {
            cgroups: Some(records.path().join("none")),
            ..ShadowOptions::new(OURS, records.path().join("accounts"))
        };
        let mut driver = ShadowLockAccount::new(options);
        let before = fs::read("/etc/shadow").unwrap();
        let status = |expect: &str| {
            let (_, said) = run("passwd", &["-S", NAME], "");
            assert!(said.starts_with(&format!("{NAME} {expect} ")), "{said}");
        };
        assert!(root_becomes().0);
        assert!(somebody_becomes().0, "{}", somebody_becomes().1);
        status("P");

        assert_eq!(execute(&mut driver, 1, NAME), Outcome::Landed);
        let (entered, said) = root_becomes();
        assert!(!entered && said.contains("expired"), "{said}");
        let (entered, said) = somebody_becomes();
        assert!(!entered && said.contains("Authentication failure"), "{said}");
        status("L");
        let (_, said) = run("chage", &["-l", NAME], "");
        assert!(said.contains("Account expires\t\t\t\t\t\t: Jan 03, 1970"), "{said}");
        assert!(see(&mut driver, NAME).enforcing);
        // Who administers it can go on working meanwhile.
        assert!(run("chage", &["-M", "30", NAME], "").0);
        assert!(!root_becomes().0);

        assert_eq!(undo(&mut driver, 1, NAME), Outcome::Landed);
        assert!(root_becomes().0);
        assert!(somebody_becomes().0);
        status("P");
        let (_, said) = run("chage", &["-l", NAME], "");
        assert!(said.contains("Account expires\t\t\t\t\t\t: never"), "{said}");
        assert!(run("chage", &["-M", "99999", NAME], "").0);
        assert!(fs::read("/etc/shadow").unwrap() == before, "the file is as it was");

        // A password that was set meanwhile is the one that counts.
        assert_eq!(execute(&mut driver, 2, NAME), Outcome::Landed);
        let (set, said) = run("chpasswd", &[], &format!("{NAME}:another one\n"));
        assert!(set, "{said}");
        assert!(!root_becomes().0, "it stays locked all the same");
        assert_eq!(undo(&mut driver, 2, NAME), Outcome::Landed);
        assert!(root_becomes().0);
        assert!(!somebody_becomes().0, "the old password is none any more");
    });
}
