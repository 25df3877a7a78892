//! What a job may use and reach: time, output, memory, processes, processors, and the sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use staunch_connectors::actions::exec_job::{Ended, Launcher, Runs as _};
use staunch_model::{FailureKind, Outcome};
use staunch_ports::Action as _;

use super::{act, is_gone};
use crate::exec_job_setting::{OURS, Place, launcher, program, request};

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
    let refused = |name: &str| {
        if name == "signal" && !are_signals_scoped() {
            "allowed"
        } else {
            "refused"
        }
    };
    assert_eq!(
        tried(&report.output)[..names.len()],
        names.map(|name| (name, refused(name)))
    );
    assert!(report.output.ends_with("uid 0\n"));

    // With what is granted, that and no more.
    launch.confinement.network = true;
    launch.confinement.read.push(secret);
    launch.confinement.write.push(elsewhere);
    let granted = ["write", "read", "inet", "unix"];
    let report = launcher().run(launch);
    for (name, said) in &tried(&report.output)[..names.len()] {
        let expect = if granted.contains(name) {
            "allowed"
        } else {
            refused(name)
        };
        assert_eq!(*said, expect, "{name}");
    }
}

/// Whether Landlock of this kernel keeps a job from sending signals out of its sandbox: since Linux 6.12 (landlock(7)).
fn are_signals_scoped() -> bool {
    let system = nix::sys::utsname::uname().unwrap();
    let release = system.release().to_str().unwrap();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|it| it.parse::<u32>().unwrap());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
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

/// A job of another user that nobody may end would run on when its time is over.
#[test]
fn a_job_that_could_not_be_ended_is_not_started() {
    let name = "a_job_that_could_not_be_ended_is_not_started";
    let is_there = Command::new("setpriv").arg("--version").output().is_ok();
    if !is_there || !nix::unistd::Uid::effective().is_root() {
        return staunch_testkit::skip(name, "to take rights away needs root and setpriv (Debian: util-linux)");
    }
    let place = Place::new();
    let without = [
        "--bounding-set=-kill",
        "--inh-caps=-kill",
        env!("CARGO_BIN_EXE_staunch-job-launcher"),
    ];
    let launcher = Launcher::new("/usr/bin/setpriv".into(), without.map(Into::into).to_vec());
    let mut launch = place.launch("/usr/bin/id".into(), &[]);
    let own = launcher.run(launch.clone());
    assert_eq!(own.ended, Ended::Exited(0), "its own user it may: {own:?}");
    launch.confinement.user = Some("nobody".into());
    let report = launcher.run(launch);
    let is_refused = matches!(&report.ended, Ended::NotStarted(why) if why.contains("lacks CAP_KILL"));
    assert!(is_refused, "{report:?}");
}

/// Private keys lie beside the certificates that a job may read.
#[test]
fn keys_of_the_machine_are_no_part_of_what_a_job_may_read() {
    let place = Place::new();
    let list = |dir: &str| launcher().run(place.launch("/bin/ls".into(), &[dir])).ended;
    for (dir, expect) in [
        ("/etc/ssl/certs", Ended::Exited(0)),
        ("/etc/ssl/private", Ended::Exited(2)),
        ("/etc/pki/tls/private", Ended::Exited(2)),
    ] {
        if Path::new(dir).exists() {
            assert_eq!(list(dir), expect, "{dir}");
        }
    }
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
pub(super) fn groups() -> Vec<PathBuf> {
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
pub(super) fn groups_hold(name: &str, place: &Place) -> bool {
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
