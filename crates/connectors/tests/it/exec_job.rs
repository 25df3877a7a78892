//! The driver that runs jobs, held to its contract and beyond it with real programs.

#![allow(clippy::unwrap_used)]

mod bounds;
mod kept;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use staunch_connectors::actions::exec_job::{Ended, JobSpec, Report, Runs as _};
use staunch_model::{FailureKind, Outcome, Presence, Target, TransactionId};
use staunch_ports::{Action as _, ExecuteRequest, Owned, UndoRequest};
use staunch_testkit::contract::action::action;

use self::bounds::{groups, groups_hold};
use self::kept::Kept;
use crate::exec_job_setting::{OURS, Place, launcher, program, request, target, undo_of};

#[test]
fn a_real_job_keeps_the_contract() {
    action(|| Box::new(Kept(Place::new())));
}

/// What becomes of one act by `odd.sh`.
fn act(place: &Place, subject: &str) -> Outcome {
    let mut driver = place.driver(OURS, place.job("odd.sh"));
    driver.execute(&[request(subject)]).remove(0)
}

#[test]
fn the_status_says_what_became_of_an_act() {
    let place = Place::new();
    assert_eq!(act(&place, "exit-0"), Outcome::Landed);
    for (status, kind) in [
        (75, FailureKind::Unavailable),
        (64, FailureKind::Invalid),
        (65, FailureKind::Invalid),
        (77, FailureKind::Denied),
    ] {
        let outcome = act(&place, &format!("exit-{status}"));
        let is_no = matches!(&outcome, Outcome::DidNotHappen(failure) if failure.kind == kind);
        assert!(is_no, "{status}: {outcome:?}");
        assert!(format!("{outcome:?}").contains("this is why"), "{outcome:?}");
    }
    for status in [1, 2, 66, 126, 127, 255] {
        let outcome = act(&place, &format!("exit-{status}"));
        assert!(matches!(outcome, Outcome::InDoubt(_)), "{status}: {outcome:?}");
    }
    let outcome = act(&place, "signal");
    assert!(
        matches!(&outcome, Outcome::InDoubt(failure) if failure.what.contains("signal 9")),
        "{outcome:?}"
    );
}

#[test]
fn what_cannot_be_seen_is_not_acted_on() {
    let place = Place::new();
    for (subject, kind) in [
        ("blind-75", FailureKind::Unavailable),
        ("blind-77", FailureKind::Denied),
        ("blind-1", FailureKind::Unavailable),
        ("liar", FailureKind::Invalid),
    ] {
        let mut driver = place.driver(OURS, place.job("odd.sh"));
        let seen = driver.observe(&[target(subject)]).remove(0).unwrap_err();
        assert_eq!(seen.kind, kind, "{seen}");
        for outcome in [
            driver.execute(&[request(subject)]).remove(0),
            driver.undo(&[undo_of(subject)]).remove(0),
        ] {
            assert_eq!(outcome, Outcome::DidNotHappen(seen.clone()));
        }
    }
    assert!(!place.state().join("arguments").exists(), "nothing was run to act");
    let mut driver = place.driver(OURS, place.job("odd.sh"));
    let other = Target::Job(staunch_model::JobTarget::new("other", "").unwrap());
    let unknown = driver.observe(&[other]).remove(0).unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Invalid, "{unknown}");
}

/// Whether there is no such process, or one that only waits to be reaped.
fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
    })
}

/// The processes that `odd.sh` has started, a line for each.
fn started(place: &Place) -> String {
    fs::read_to_string(place.state().join("pids")).unwrap_or_default()
}

/// Starts a supervisor whose job hangs with two processes of its own; the job goes on for as long as the input is open.
fn supervise(place: &Place, output: Stdio) -> (Child, ChildStdin) {
    let launch = place.launch(program("odd.sh"), &["execute", "hang"]);
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_staunch-job-launcher"))
        .stdin(Stdio::piped())
        .stdout(output)
        .spawn()
        .unwrap();
    let mut input = supervisor.stdin.take().unwrap();
    input
        .write_all(serde_json::to_string(&launch).unwrap().as_bytes())
        .unwrap();
    input.write_all(b"\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while started(place).lines().count() < 3 {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::yield_now();
    }
    (supervisor, input)
}

#[test]
fn a_job_ends_when_whoever_started_it_has_gone() {
    let place = Place::new();
    let (supervisor, input) = supervise(&place, Stdio::piped());
    // A service manager that stops a unit ends all processes of it: this one has to end the job first.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let pid = i32::try_from(supervisor.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }
    // As when the server is killed.
    drop(input);
    let output = supervisor.wait_with_output().unwrap();
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.ended, Ended::Abandoned);
    assert!(started(&place).lines().all(is_gone), "{}", started(&place));
}

#[test]
fn what_a_job_leaves_behind_is_ended() {
    let place = Place::new();
    let outcome = act(&place, "leave");
    assert_eq!(outcome, Outcome::Landed);
    let pid = fs::read_to_string(place.state().join("pids")).unwrap();
    assert!(is_gone(pid.trim()), "{pid}");
}

#[test]
fn a_subject_is_one_argument_whatever_it_holds() {
    let place = Place::new();
    for subject in [
        "a b; touch $STATE/broken",
        "$(touch $STATE/broken)",
        "`touch $STATE/broken` && \"x' | y > z * ? {key}",
        "../../etc/passwd",
        "é\u{1f600}",
    ] {
        assert_eq!(act(&place, subject), Outcome::Landed);
        let arguments = fs::read_to_string(place.state().join("arguments")).unwrap();
        let key = "0".repeat(32);
        let expect = format!("execute\n{subject}\nstaunch:a0a0a0a0a0a0a0a0:TX-1\nTX-1/{key}\n");
        assert_eq!(arguments, expect);
        assert!(!place.state().join("broken").exists());
    }
}

#[test]
fn a_job_is_told_what_is_asked() {
    let place = Place::new();
    assert_eq!(act(&place, "input"), Outcome::Landed);
    let input = fs::read_to_string(place.state().join("input")).unwrap();
    let key = "0".repeat(32);
    let expect = format!(
        "{{\"verb\":\"execute\",\"job\":\"a-job\",\"subject\":\"input\",\"transaction\":\"TX-1\",\"key\":\"{key}\",\
         \"label\":\"staunch:a0a0a0a0a0a0a0a0:TX-1\",\"lease_seconds\":3600,\"seen\":{{\"present\":false,\"version\":0}}}}\n"
    );
    assert_eq!(input, expect);
}

#[test]
fn a_program_with_another_hash_is_never_run() {
    let place = Place::new();
    let own = place.path("own.sh");
    fs::copy(program("odd.sh"), &own).unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, &fs::read(&own).unwrap());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let job = || {
        let mut job = place.job("odd.sh");
        job.program.clone_from(&own);
        job.sha256 = Some(hash.as_str().into());
        job
    };
    assert_eq!(place.driver(OURS, job()).execute(&[request("x")]), [Outcome::Landed]);
    fs::remove_file(place.state().join("arguments")).unwrap();
    let text = fs::read_to_string(&own).unwrap();
    fs::write(&own, format!("{text}\n# another\n")).unwrap();
    let mut driver = place.driver(OURS, job());
    let outcome = driver.execute(&[request("x")]).remove(0);
    assert!(
        matches!(&outcome, Outcome::DidNotHappen(failure) if failure.what.contains("not the program that is pinned")),
        "{outcome:?}"
    );
    assert!(driver.observe(&[target("x")]).remove(0).is_err());
    assert!(!place.state().join("arguments").exists());
}

/// The command lines of the processes that a process has started, while they are there.
fn command_lines_below(pid: u32) -> Vec<String> {
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children: Vec<String> = tasks.filter_map(children).collect();
    let lines = children.iter().flat_map(|it| it.split_whitespace());
    lines
        .filter_map(|child| fs::read(format!("/proc/{child}/cmdline")).ok())
        .map(|it| String::from_utf8_lossy(&it).into_owned())
        .collect()
}

#[test]
fn what_a_job_has_in_its_environment_is_in_no_command_line() {
    let place = Place::new();
    let mut launch = place.launch("/bin/true".into(), &[]);
    let environment = &mut launch.confinement.environment;
    environment.insert("TOKEN".into(), "hunter2".into());
    let line = format!("{}\n", serde_json::to_string(&launch).unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut is_seen = false;
    // What becomes the job is there for a moment only.
    while !is_seen {
        assert!(Instant::now() < deadline, "what becomes the job is never seen");
        let mut supervisor = Command::new(env!("CARGO_BIN_EXE_staunch-job-launcher"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = supervisor.stdin.take().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        while supervisor.try_wait().unwrap().is_none() {
            for line in command_lines_below(supervisor.id()) {
                assert!(!line.contains("hunter2"), "{line:?}");
                is_seen |= line.split('\0').any(|it| it == "inner");
            }
        }
        let report: Report = serde_json::from_reader(supervisor.stdout.take().unwrap()).unwrap();
        assert_eq!(report.ended, Ended::Exited(0), "{report:?}");
    }
}

#[test]
fn a_job_has_all_of_its_environment_however_long() {
    let place = Place::new();
    let mut launch = place.launch("/bin/sh".into(), &["-c", "echo ${#A} ${#B} ${#C}"]);
    for name in ["A", "B", "C"] {
        // Each may be 128 KiB for the kernel, and all together more.
        let value = "x".repeat(100 * 1024);
        launch.confinement.environment.insert(name.into(), value.into());
    }
    let report = launcher().run(launch);
    assert_eq!(report.ended, Ended::Exited(0), "{report:?}");
    assert_eq!(report.output, "102400 102400 102400\n");
}

#[test]
fn what_a_killed_supervisor_leaves_is_ended_by_the_next_run() {
    let place = Place::new();
    if !groups_hold("what_a_killed_supervisor_leaves_is_ended_by_the_next_run", &place) {
        return;
    }
    let (mut supervisor, _input) = supervise(&place, Stdio::null());
    let name = format!("staunch-job-{}-", supervisor.id());
    let left = || {
        groups()
            .into_iter()
            .filter(|it| it.to_string_lossy().contains(&name))
            .count()
    };
    assert!(left() > 0, "it has groups");
    assert!(
        !started(&place).lines().any(is_gone),
        "something has ended: {}",
        started(&place)
    );
    // From here on any run ends what is left, also one of another test.
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let report = launcher().run(place.launch("/bin/true".into(), &[]));
    assert_eq!(report.ended, Ended::Exited(0));
    assert_eq!(left(), 0);
    assert!(started(&place).lines().all(is_gone), "{}", started(&place));
}

#[test]
fn what_is_in_force_is_not_run_again_and_somebody_elses_is_left() {
    let place = Place::new();
    let mut driver = place.driver(OURS, place.job("keep.sh"));
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    let file = place.state().join("x");
    let made = || fs::metadata(&file).unwrap().modified().unwrap();
    let before = made();
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    assert_eq!(made(), before, "it was not run again");
    fs::write(&file, "somebody\ntrue\n").unwrap();
    assert_eq!(driver.undo(&[undo_of("x")]), [Outcome::Landed]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody\ntrue\n");
    let seen = driver.observe(&[target("x")]).remove(0).unwrap();
    assert!(matches!(seen.presence, Presence::Present { .. }));
    assert!(driver.owned().unwrap().targets.is_empty());
}

/// The only record of `place`.
fn record(place: &Place) -> PathBuf {
    let mut all = fs::read_dir(place.path("records")).unwrap();
    let found = all.next().unwrap().unwrap().path();
    assert!(all.next().is_none());
    found
}

#[test]
fn one_job_that_cannot_be_seen_says_nothing_of_the_others() {
    let place = Place::new();
    let mut driver = place.driver(OURS, place.job("keep.sh"));
    assert_eq!(
        driver.execute(&[request("seen"), request("unseen")]),
        [Outcome::Landed, Outcome::Landed]
    );
    let file = place.state().join("unseen");
    fs::remove_file(&file).unwrap();
    // Its program says nothing that can be understood of a directory.
    fs::create_dir(&file).unwrap();
    let owned = driver.owned().unwrap();
    let of = |target: &Target| target.clone();
    assert_eq!(
        owned.targets.iter().map(|it| of(&it.target)).collect::<Vec<_>>(),
        [target("seen")]
    );
    assert_eq!(
        owned.unread.iter().map(|it| of(&it.0)).collect::<Vec<_>>(),
        [target("unseen")]
    );
}

#[test]
fn a_record_of_nothing_is_forgotten_after_a_while() {
    let place = Place::new();
    let mut driver = place.driver(OURS, place.job("keep.sh"));
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    fs::remove_file(place.state().join("x")).unwrap();
    // What is under way may land yet.
    assert_eq!(
        driver.owned().unwrap(),
        Owned {
            enforcing: true,
            ..Owned::default()
        }
    );
    let file = record(&place);
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
    // A second look has it, too: what it was before counted for nothing.
    assert!(file.exists());
    driver.owned().unwrap();
    assert!(!file.exists());
}

#[test]
fn a_permanent_job_whose_record_cannot_be_read_is_not_taken_for_gone() {
    let place = Place::new();
    let permanent = JobSpec {
        permanent: true,
        ..place.job("keep.sh")
    };
    let mut driver = place.driver(OURS, permanent);
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    let file = record(&place);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let failure = driver.observe(&[target("x")]).remove(0).unwrap_err();
    assert!(failure.what.contains("its record cannot be read"), "{failure}");
    assert_eq!(driver.undo(&[undo_of("x")]), [Outcome::DidNotHappen(failure)]);
    assert!(place.state().join("x").exists());
}

#[test]
fn what_a_permanent_job_has_put_in_place_stays_when_its_lease_ends_and_not_before() {
    let place = Place::new();
    let permanent = JobSpec {
        permanent: true,
        ..place.job("keep.sh")
    };
    let file = place.state().join("x");
    let at_end = UndoRequest {
        lease_ended: true,
        ..undo_of("x")
    };
    let mut driver = place.driver(OURS, permanent.clone());
    // A rollback, or a person, takes it back.
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    assert_eq!(driver.undo(&[undo_of("x")]), [Outcome::Landed]);
    assert!(!file.exists());

    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    assert_eq!(driver.undo(std::slice::from_ref(&at_end)), [Outcome::Landed]);
    assert!(file.exists(), "it stays");
    // A new driver knows as much.
    let mut driver = place.driver(OURS, permanent);
    let seen = driver.observe(&[target("x")]).remove(0).unwrap();
    assert_eq!(seen.presence, Presence::Absent, "nobody holds it");
    assert!(driver.owned().unwrap().targets.is_empty());
    // Asked once more, as after a crash.
    assert_eq!(driver.undo(std::slice::from_ref(&at_end)), [Outcome::Landed]);
    assert!(file.exists());
    // A run that fails before it has changed anything makes it nobody's.
    let failing = JobSpec {
        permanent: true,
        execute: vec!["nothing".into()],
        ..place.job("keep.sh")
    };
    let next = ExecuteRequest {
        transaction: TransactionId(2),
        ..request("x")
    };
    let mut fails = place.driver(OURS, failing);
    for _ in 0..2 {
        let outcome = fails.execute(std::slice::from_ref(&next)).remove(0);
        let is_refused = matches!(&outcome, Outcome::DidNotHappen(it) if it.kind == FailureKind::Invalid);
        assert!(is_refused, "{outcome:?}");
        assert!(fails.owned().unwrap().targets.is_empty());
    }
    let undo = UndoRequest {
        transaction: TransactionId(2),
        ..undo_of("x")
    };
    assert_eq!(fails.undo(&[undo]), [Outcome::Landed]);
    assert!(file.exists(), "it is not taken back");
    // The next one runs it again, and holds it.
    assert_eq!(driver.execute(&[next]), [Outcome::Landed]);
    assert!(fs::read_to_string(&file).unwrap().contains(":TX-2\n"));
    assert_eq!(driver.owned().unwrap().targets.len(), 1);

    // What is not permanent ends with its lease.
    let place = Place::new();
    let mut driver = place.driver(OURS, place.job("keep.sh"));
    assert_eq!(driver.execute(&[request("x")]), [Outcome::Landed]);
    assert_eq!(driver.undo(&[at_end]), [Outcome::Landed]);
    assert!(!place.state().join("x").exists());
}
