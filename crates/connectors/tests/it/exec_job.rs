//! The driver that runs jobs, held to its contract and beyond it with real programs.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use staunch_connectors::actions::exec_job::{Ended, Report, Runs as _};
use staunch_model::{FailureKind, InstallationId, Outcome, Presence, Target};
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, Family, action};

use crate::exec_job_setting::{OURS, Place, launcher, program, request, target, undo_of};

/// The files of `keep.sh`.
struct Kept(Place);

impl Kept {
    fn file(&self, target: &Target) -> PathBuf {
        let Target::Job(job) = target else { panic!("{target}") };
        self.0.state().join(job.subject())
    }

    fn set_works(&self, works: &str) {
        for entry in fs::read_dir(self.0.state()).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let label = text.lines().next().unwrap();
            fs::write(&path, format!("{label}\n{works}\n")).unwrap();
        }
    }
}

impl ActionWorld for Kept {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(self.0.driver(installation, self.0.job("keep.sh")))
    }
    fn label(&self, target: Target) -> Option<String> {
        let text = fs::read_to_string(self.file(&target)).ok()?;
        text.lines().next().map(ToOwned::to_owned)
    }
    fn put(&self, target: Target, label: &str) {
        fs::write(self.file(&target), format!("{label}\ntrue\n")).unwrap();
    }
    fn remove(&self, target: Target) {
        fs::remove_file(self.file(&target)).unwrap();
    }
    fn flush(&self) {
        fs::remove_dir_all(self.0.state()).unwrap();
        fs::create_dir(self.0.state()).unwrap();
    }
    fn break_enforcement(&self) {
        self.set_works("false");
    }
    fn restore_enforcement(&self) {
        self.set_works("true");
    }
    fn families(&self) -> &'static [Family] {
        &[Family::Jobs]
    }
    fn target(&self, _: Family, number: u16) -> Target {
        target(&format!("subject-{number}"))
    }
    fn counts_down(&self) -> bool {
        false
    }
    fn enforces_each(&self) -> bool {
        true
    }
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 12]
    }
}

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

#[test]
fn a_job_that_takes_too_long_ends_with_all_it_has_started() {
    let place = Place::new();
    let mut job = place.job("odd.sh");
    job.timeout = Duration::from_secs(2);
    let began = Instant::now();
    let outcome = place.driver(OURS, job).execute(&[request("hang")]).remove(0);
    assert!(
        matches!(&outcome, Outcome::InDoubt(failure) if failure.kind == FailureKind::TimedOut),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let pids = fs::read_to_string(place.state().join("pids")).unwrap();
    let pids: Vec<&str> = pids.lines().collect();
    assert_eq!(pids.len(), 3, "all three were there");
    assert!(pids.iter().all(|pid| is_gone(pid)), "{pids:?}");
}

#[test]
fn a_job_ends_when_whoever_started_it_has_gone() {
    let place = Place::new();
    let launch = place.launch(program("odd.sh"), &["execute", "hang"]);
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_staunch-job-launcher"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = supervisor.stdin.take().unwrap();
    input
        .write_all(serde_json::to_string(&launch).unwrap().as_bytes())
        .unwrap();
    input.write_all(b"\n").unwrap();
    let started = || fs::read_to_string(place.state().join("pids")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(20);
    while started().lines().count() < 3 {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::yield_now();
    }
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
    assert!(started().lines().all(is_gone), "{}", started());
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
fn a_job_that_writes_too_much_is_ended() {
    let place = Place::new();
    let began = Instant::now();
    let outcome = act(&place, "flood");
    assert!(
        matches!(&outcome, Outcome::InDoubt(failure) if failure.what.contains("wrote too much")),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(15), "it is not waited for");
    let report = launcher().run(place.launch(program("odd.sh"), &["execute", "flood"]));
    assert_eq!(report.ended, Ended::TooMuchOutput);
    assert_eq!(report.output.len(), 64 * 1024);
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

/// What `escape.pl` says it could do.
fn tried(output: &str) -> Vec<(&str, &str)> {
    output.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn the_sandbox_holds() {
    if !cfg!(target_arch = "x86_64") || !Path::new("/usr/bin/perl").exists() {
        return staunch_testkit::skip("the_sandbox_holds", "it takes perl on x86-64");
    }
    if !nix::unistd::Uid::effective().is_root() {
        return staunch_testkit::skip(
            "the_sandbox_holds",
            "it takes root, from which there is something to take away",
        );
    }
    let place = Place::new();
    let (elsewhere, secret, mine) = (
        place.path("elsewhere"),
        place.path("secret"),
        place.state().join("mine"),
    );
    fs::create_dir(&elsewhere).unwrap();
    fs::write(&secret, "secret").unwrap();
    fs::write(&mine, "").unwrap();
    let arguments = [elsewhere.to_str().unwrap(), secret.to_str().unwrap()];
    let other = std::process::id().to_string();
    let names = [
        "write",
        "read",
        "inet",
        "unix",
        "unshare",
        "new-privileges",
        "clone",
        "chown",
        "signal",
    ];
    let all = |said| names.map(|name| (name, said));

    // Without the sandbox all of it works, so that what follows shows something.
    let free = Command::new(program("escape.pl"))
        .args(arguments)
        .env("MINE", &mine)
        .env("OTHER", &other)
        .output()
        .unwrap();
    let free = String::from_utf8(free.stdout).unwrap();
    assert_eq!(tried(&free)[..names.len()], all("allowed"));

    let mut launch = place.launch(program("escape.pl"), &arguments);
    let environment = &mut launch.confinement.environment;
    environment.insert("MINE".into(), mine.to_str().unwrap().into());
    environment.insert("OTHER".into(), other.into());
    let report = launcher().run(launch.clone());
    assert_eq!(report.ended, Ended::Exited(0), "{}", report.errors);
    assert_eq!(tried(&report.output)[..names.len()], all("refused"));
    assert!(report.output.ends_with("uid 0\n"));

    // With what is granted, that and no more.
    launch.confinement.network = true;
    launch.confinement.read.push(secret);
    launch.confinement.write.push(elsewhere);
    let granted = ["write", "read", "inet", "unix"];
    let report = launcher().run(launch);
    for (name, said) in &tried(&report.output)[..names.len()] {
        let expect = if granted.contains(name) { "allowed" } else { "refused" };
        assert_eq!(*said, expect, "{name}");
    }
}

#[test]
fn a_job_runs_as_its_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return staunch_testkit::skip("a_job_runs_as_its_user", "it takes root");
    }
    let place = Place::new();
    let mut launch = place.launch("/usr/bin/id".into(), &[]);
    let own = launcher().run(launch.clone());
    assert!(own.output.starts_with("uid=0("), "{own:?}");
    launch.confinement.user = Some("nobody".into());
    let report = launcher().run(launch.clone());
    assert!(report.output.starts_with("uid=65534("), "{report:?}");
    assert!(
        !report.output.contains("root"),
        "none of the groups of the server: {report:?}"
    );
    launch.confinement.user = Some("no-such-user".into());
    let report = launcher().run(launch.clone());
    assert!(
        matches!(&report.ended, Ended::NotStarted(why) if why.contains("no-such-user")),
        "{report:?}"
    );
    launch.confinement.user = None;
    launch.program = "/no/such/program".into();
    let report = launcher().run(launch);
    assert!(matches!(&report.ended, Ended::NotStarted(_)), "{report:?}");
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let sh = |text: &str| launcher().run(place.launch("/bin/sh".into(), &["-c", text]));
    // A job has no more memory than it is given; what it opens, writes and dumps is bounded.
    let report = sh("ulimit -v; ulimit -n; ulimit -c; ulimit -f; ls /proc/self/fd 2>&1 | wc -l");
    let memory = match report.held.memory {
        true => "unlimited".to_owned(),
        false => (256 * 1024).to_string(),
    };
    let expect = format!("{memory}\n256\n0\n{}\n", (64 << 20) / 512);
    assert!(report.output.starts_with(&expect), "{report:?}");
    let report = sh("head -c 100000000 /dev/urandom >$STATE/large; wc -c <$STATE/large");
    assert_eq!(report.output.trim().parse::<u64>().unwrap(), 64 << 20, "{report:?}");
}

/// Directories of control groups of jobs, wherever they can be.
fn groups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own: Vec<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points = points.filter_map(|line| line.split(' ').nth(4));
    let parents = points.flat_map(|point| {
        let below = own
            .iter()
            .map(move |path| Path::new(point).join(path.trim_start_matches('/')));
        below.chain([PathBuf::from(point)])
    });
    let entries = parents.filter_map(|it| fs::read_dir(it).ok()).flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|it| it.file_name().to_string_lossy().starts_with("staunch-job-"))
        .map(|it| it.path())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// True when control groups hold all limits here; otherwise the test `name` is skipped.
fn groups_hold(name: &str, place: &Place) -> bool {
    let held = launcher().run(place.launch("/bin/true".into(), &[])).held;
    let all = held.memory && held.processes && held.cpu;
    if !all {
        staunch_testkit::skip(name, "it takes root, and control groups for memory, pids and cpu");
    }
    all
}

#[test]
fn all_processes_of_a_job_share_its_memory() {
    let place = Place::new();
    if !groups_hold("all_processes_of_a_job_share_its_memory", &place) {
        return;
    }
    let mut launch = place.launch("/bin/sh".into(), &[]);
    launch.confinement.memory_mib_max = 64;
    let mut hold = |text: &str| {
        launch.arguments = vec!["-c".into(), text.into()];
        launcher().run(launch.clone())
    };
    // `dd` has a whole block in memory until it is taken. One alone fits, two together do not.
    let keep = |seconds: u8| {
        format!("dd bs=40M count=1 iflag=fullblock if=/dev/urandom 2>/dev/null | (sleep {seconds}; wc -c)")
    };
    let one = hold(&keep(0));
    assert_eq!((&one.ended, one.output.trim()), (&Ended::Exited(0), "41943040"));
    let keep = keep(5);
    let two = hold(&format!(
        "{keep} >$STATE/one & {keep} >$STATE/two; wait; cat $STATE/one $STATE/two; exit 1"
    ));
    assert_eq!(two.ended, Ended::OutOfMemory, "{two:?}");

    let mut job = place.job("odd.sh");
    job.confinement.memory_mib_max = 16;
    let outcome = place.driver(OURS, job).execute(&[request("swell")]).remove(0);
    assert!(
        matches!(&outcome, Outcome::InDoubt(failure) if failure.what.contains("memory_mib_max")),
        "{outcome:?}"
    );
}

#[test]
fn the_processes_of_a_job_are_counted_whosever_they_are() {
    let place = Place::new();
    if !groups_hold("the_processes_of_a_job_are_counted_whosever_they_are", &place) {
        return;
    }
    let mut launch = place.launch(
        "/bin/sh".into(),
        &["-c", "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); echo $i; done"],
    );
    launch.confinement.processes_max = 20;
    let report = launcher().run(launch);
    assert_ne!(report.ended, Ended::Exited(0), "{report:?}");
    let started = report.output.lines().count();
    // The shell itself is one of them.
    assert_eq!(started, 19, "{report:?}");
}

#[test]
fn a_job_has_its_share_of_the_processors() {
    let place = Place::new();
    if !groups_hold("a_job_has_its_share_of_the_processors", &place) {
        return;
    }
    // Waits until it is told to end, in the middle of its group.
    let go = place.state().join("go");
    let mut launch = place.launch(
        "/bin/sh".into(),
        &[
            "-c",
            "echo > $STATE/here; while [ ! -e $STATE/go ]; do sleep 0.01; done",
        ],
    );
    launch.confinement.cpu_percent_max = 50;
    let before = groups();
    let running = std::thread::spawn(move || launcher().run(launch));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !place.state().join("here").exists() {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::yield_now();
    }
    let quotas: Vec<String> = groups()
        .iter()
        .filter(|it| !before.contains(it))
        .flat_map(|it| [it.join("cpu.cfs_quota_us"), it.join("cpu.max")])
        .filter_map(|it| fs::read_to_string(it).ok())
        .collect();
    fs::write(go, "").unwrap();
    assert_eq!(running.join().unwrap().ended, Ended::Exited(0));
    let has = |quota: &str| quotas.iter().any(|it| it.trim() == quota);
    assert!(has("50000") || has("50000 100000"), "{quotas:?}");
}

#[test]
fn what_a_killed_supervisor_leaves_is_ended_by_the_next_run() {
    let place = Place::new();
    if !groups_hold("what_a_killed_supervisor_leaves_is_ended_by_the_next_run", &place) {
        return;
    }
    let launch = place.launch(program("odd.sh"), &["execute", "hang"]);
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_staunch-job-launcher"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = supervisor.stdin.take().unwrap();
    input
        .write_all(serde_json::to_string(&launch).unwrap().as_bytes())
        .unwrap();
    input.write_all(b"\n").unwrap();
    let started = || fs::read_to_string(place.state().join("pids")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(20);
    while started().lines().count() < 3 {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::yield_now();
    }
    let name = format!("staunch-job-{}-", supervisor.id());
    let left = || {
        groups()
            .into_iter()
            .filter(|it| it.to_string_lossy().contains(&name))
            .count()
    };
    assert!(left() > 0, "it has groups");
    assert!(!started().lines().any(is_gone), "something has ended: {}", started());
    // From here on any run ends what is left, also one of another test.
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let report = launcher().run(place.launch("/bin/true".into(), &[]));
    assert_eq!(report.ended, Ended::Exited(0));
    assert_eq!(left(), 0);
    assert!(started().lines().all(is_gone), "{}", started());
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
