//! From an event to a job of the operator's own that is in force, and back.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use staunch_model::{ActionKind, StateKind};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{Commands, EventPlan, Incidents, Ruling};

use crate::harness::{Home, SMALL, Server, in_namespace, stderr, stdout, wait_until};

const JOB: &str = include_str!("../../../connectors/tests/jobs/keep.sh");

const PLAYBOOK: &str = "playbook: mailbox
summary: Quarantine the mailbox of an account that was taken over.
attack: [T1078]
trigger:
  sources: [wazuh]
  when: event.severity >= low
  incident: event.user
contain:
  - exec-job: { job: quarantine-mailbox, target: event.user, lease: 1h }
mode: { low: enforce, medium: enforce, high: enforce }
";

/// A home with a job that keeps a file for each mailbox.
fn home() -> Home {
    let home = Home::new("");
    let program = home.path("keep.sh");
    fs::write(&program, JOB).expect("it is our directory");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is our file");
    let state = home.path("state");
    fs::create_dir(&state).expect("it is our directory");
    home.configure(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n\
         [jobs.quarantine-mailbox]\nprogram = \"{}\"\nobserve = [\"observe\", \"{{subject}}\"]\n\
         execute = [\"execute\", \"{{subject}}\", \"{{label}}\"]\nundo = [\"undo\", \"{{subject}}\"]\n\
         write = [\"{}\"]\nenvironment = {{ STATE = \"{}\" }}\ntimeout = \"1s\"\nprotected = [\"ceo\"]\n",
        program.display(),
        state.display(),
        state.display()
    ));
    home.playbook("mailbox.yaml", PLAYBOOK);
    home
}

fn alert(user: &str) -> String {
    json!({
        "timestamp": SystemClock.now().to_string(),
        "rule": { "id": "40112", "level": 12, "description": "A login after many failures.", "groups": ["syslog"] },
        "agent": { "id": "001", "name": "mail-1" },
        "id": "1764064800.1",
        "decoder": { "name": "sshd" },
        "data": { "srcip": "203.0.113.70", "dstuser": user }
    })
    .to_string()
}

fn in_force(server: &Server) -> usize {
    let all = server.containments();
    all.iter().filter(|it| it.state == StateKind::InForce).count()
}

#[test]
fn a_job_is_in_force_until_it_is_released() {
    in_namespace("jobs::a_job_is_in_force", || {
        let home = home();
        let checked = home.run(&["check"]);
        assert!(checked.status.success(), "{}{}", stdout(&checked), stderr(&checked));
        let server = home.serve();
        let kept = home.path("state/alice");
        let event = alert("alice");
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let plan: EventPlan = server.json(&["plan", &file.display().to_string(), "--source", "wazuh"]);
        let step = &plan.plan.responses[0].steps[0];
        assert_eq!((step.ruling, step.action), (Ruling::Act, ActionKind::ExecJob));
        assert!(!kept.exists(), "a plan changes nothing");

        server.take_from("wazuh", &event);
        wait_until("the containment", || in_force(&server) == 1);
        assert_eq!(server.containments()[0].target, "job:quarantine-mailbox:alice");
        let text = fs::read_to_string(&kept).expect("the job has made it");
        assert!(text.starts_with("staunch:") && text.contains(":TX-1\n"), "{text}");

        // What is in force is found again after a crash, and not run again.
        server.kill();
        let server = home.serve();
        wait_until("the containment", || in_force(&server) == 1);
        assert_eq!(fs::read_to_string(&kept).expect("it is there"), text);
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert!(!kept.exists(), "the job has undone it");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
    });
}

/// What is being lifted is waited for by whoever asks for it: given again, the command must not find that there is
/// nothing to do.
#[test]
fn a_release_that_is_given_again_waits_for_what_is_being_lifted() {
    in_namespace("jobs::a_release_that_is_given_again", || {
        let home = home();
        let held = home.path("state/held");
        let busy = "case $1 in undo) [ ! -e \"$STATE/held\" ] || exit 75 ;; esac\n";
        let (first, rest) = JOB.split_once('\n').expect("it has lines");
        fs::write(home.path("keep.sh"), format!("{first}\n{busy}{rest}")).expect("it is our file");
        fs::write(&held, "").expect("it is our directory");
        let server = home.serve();
        server.take_from("wazuh", &alert("alice"));
        wait_until("the containment", || in_force(&server) == 1);
        let release = |scope: &[&str], wait: &str| {
            let why = ["--yes", "--reason", "a test", "--wait", wait];
            server.run(&[&["release"], scope, &why].concat())
        };
        for scope in [&["--all"][..], &["--all"], &["--incident", "INC-1"]] {
            let output = release(scope, "1ms");
            assert_eq!(output.status.code(), Some(1), "{scope:?}: {output:?}");
            let said = stderr(&output);
            assert!(
                said.contains("TX-1 not lifted within 1ms; it goes on")
                    && said.contains("`staunch containment list` shows"),
                "{scope:?}: {said}"
            );
        }
        // Who waits for a server that dies goes around it.
        let commands = || server.get::<Commands>("/v1/commands").commands.len();
        let before = commands();
        let mut waiting =
            crate::harness::staunch(&["release", "--all", "--yes", "--reason", "a test", "--wait", "60s"]);
        waiting
            .env("STAUNCH_CONFIG", home.config())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path("waiting")).expect("it is our directory"));
        let waiting = waiting.spawn().expect("the binary starts");
        // Everything is released in turns, of which the last finds nothing more.
        wait_until("the command", || commands() == before + 2);
        server.kill();
        let output = waiting.wait_with_output().expect("it ends");
        let said = fs::read_to_string(home.path("waiting")).expect("it is ours");
        assert_eq!(output.status.code(), Some(10), "{said}");
        assert!(said.contains("it is gone around"), "{said}");
        let server = home.serve();
        let release = |scope: &[&str], wait: &str| {
            let why = ["--yes", "--reason", "a test", "--wait", wait];
            server.run(&[&["release"], scope, &why].concat())
        };
        fs::remove_file(&held).expect("it is ours");
        let output = release(&["--all"], "30s");
        assert!(output.status.success(), "{output:?}");
        let said = stdout(&output);
        assert_eq!(said, "TX-1 was being released already; nothing of it is in place\n");
        assert!(server.containments().is_empty());
        assert_eq!(stdout(&release(&["--all"], "30s")), "there was nothing to release\n");
    });
}

#[test]
fn what_is_protected_or_no_subject_is_left_alone() {
    in_namespace("jobs::what_is_protected", || {
        let home = home();
        let server = home.serve();
        let refused = |number: usize, user: &str, says: &str| {
            server.take_from("wazuh", &alert(user));
            wait_until("the refusal", || {
                let listed: Incidents = server.json(&["incident", "list"]);
                listed.incidents.iter().filter(|it| it.outcome.is_some()).count() == number
            });
            let shown = server.ok(&["incident", "show", &format!("INC-{number}")]);
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(words.join(" ").contains(says), "{says}: {shown}");
        };
        refused(1, "CEO", "protected by the configuration");
        refused(2, "-rf", "refused, closed");
        refused(3, "a\nb", "refused, closed");
        assert!(server.containments().is_empty());
        let left = fs::read_dir(home.path("state")).expect("it is there").count();
        assert_eq!(left, 0, "nothing was run");
    });
}

#[test]
fn a_job_that_is_not_there_is_refused_and_told() {
    let home = home();
    home.playbook(
        "mailbox.yaml",
        &PLAYBOOK.replace("quarantine-mailbox", "quarantine-mailbx"),
    );
    let checked = home.run(&["check"]);
    assert!(!checked.status.success());
    let said = format!("{}{}", stdout(&checked), stderr(&checked));
    assert!(said.contains("P093") && said.contains("quarantine-mailbox"), "{said}");
    let doctor = home.run(&["doctor"]);
    let said = stdout(&doctor);
    assert!(said.contains("job quarantine-mailbox"), "{said}");
    fs::remove_file(home.path("keep.sh")).expect("it is there");
    let said = stdout(&home.run(&["doctor"]));
    assert!(said.contains("cannot look at"), "{said}");
}

#[test]
fn a_playbook_with_a_job_is_tested_like_others() {
    let home = Home::new("");
    home.playbook("mailbox.yaml", PLAYBOOK);
    let event = alert("alice");
    let tests = |state: &str| {
        format!(
            "events:\n  seen:\n    source: wazuh\n    json: '{event}'\ntests:\n  - name: it is in force and given back\n    \
             events: [{{ at: 0s, event: seen }}]\n    expect:\n      - {{ at: 1m, state: {{ \
             job:quarantine-mailbox:alice: {state} }}, acts: 1 }}\n      - {{ at: 1h2m, state: {{ \
             job:quarantine-mailbox:alice: released }}, world: {{ job:quarantine-mailbox:alice: absent }} }}\n  \
             - name: what is protected is left alone\n    \
             context: {{ targets: {{ job:quarantine-mailbox:alice: {{ what: a mailbox, protected: it is needed }} }} }}\n    \
             events: [{{ at: 0s, event: seen }}]\n    expect:\n      - {{ at: 1s, acts: 0, outcome: refused }}\n"
        )
    };
    home.playbook("mailbox.test.yaml", &tests("in-force"));
    let dir = home.path("playbooks").display().to_string();
    let passed = home.run(&["test", &dir]);
    assert!(passed.status.success(), "{}{}", stdout(&passed), stderr(&passed));
    home.playbook("mailbox.test.yaml", &tests("refused"));
    let failed = home.run(&["test", &dir]);
    assert!(!failed.status.success());
    assert!(stdout(&failed).contains("in-force"), "{}", stdout(&failed));
}

/// A remediation that outlives its lease, while the other one does not.
#[test]
fn what_a_permanent_job_has_done_stays_when_its_lease_ends() {
    in_namespace("jobs::what_a_permanent_job", || {
        let home = home();
        let settings = fs::read_to_string(home.path("staunch.toml")).expect("it is there");
        let permanent = settings.replace("protected = [\"ceo\"]", "permanent = true");
        assert_ne!(permanent, settings);
        home.playbook("mailbox.yaml", &PLAYBOOK.replace("lease: 1h", "lease: 2s"));
        let server = home.serve();
        server.take_from("wazuh", &alert("alice"));
        wait_until("the end of the lease", || released(&server, 1));
        assert!(!home.path("state/alice").exists(), "it ends with its lease");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());

        fs::write(home.config(), permanent).expect("it is our directory");
        let server = home.serve();
        server.take_from("wazuh", &alert("bob"));
        wait_until("the end of the lease", || released(&server, 2));
        assert!(home.path("state/bob").exists(), "it stays");
        assert_eq!(server.containments(), []);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
    });
}

/// Whether the transaction of this number was in force, and is not any more.
fn released(server: &Server, number: u64) -> bool {
    let shown: Value = server.json(&["incident", "list"]);
    let listed = shown["incidents"].as_array().map_or(0, Vec::len) as u64;
    listed >= number && {
        let shown: Value = server.json(&["incident", "show", &format!("INC-{number}")]);
        shown["transactions"][0]["state"] == "released"
    }
}
