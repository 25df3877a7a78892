//! Drills as a user runs them: on a stage of their own, and on a running server within the scope that it declares.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use staunch_model::{Span, Timestamp};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{
    Home, SMALL, Server, element, elements, exploit_from, in_namespace, names_in, on_a_full_disk, staunch, stderr,
    wait_until,
};

/// A directory for the reports of one test.
struct Reports(tempfile::TempDir);

impl Reports {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Runs `staunch drill` with `arguments`, on data that is not there.
    fn drill(&self, arguments: &[&str]) -> Output {
        let mut command = staunch(&["drill"]);
        command.args(arguments).current_dir(self.0.path());
        command.output().expect("the binary starts")
    }

    /// Runs the drill `name` on a stage of its own: its exit code and its score.
    fn run(&self, name: &str, more: &[&str]) -> (Option<i32>, Value) {
        let data = self.0.path().join("data").display().to_string();
        let output = self.drill(&[&["run", name, "--json", "--data-dir", &data], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let score = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code(), score)
    }

    /// The report that was written.
    fn report(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.0.path()).expect("it is ours");
        files
            .find_map(|entry| {
                let path = entry.expect("it can be read").path();
                path.extension().is_some_and(|it| it == "json").then_some(path)
            })
            .expect("a report was written")
    }
}

fn expectation<'s>(score: &'s Value, name: &str) -> &'s Value {
    let all = score["expectations"].as_array().expect("a list");
    all.iter().find(|it| it["name"] == name).expect("it is expected")
}

/// The names in `drill list`.
fn names() -> Vec<String> {
    let output = Reports::new().drill(&["list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let drills = list["drills"].as_array().expect("a list").iter();
    drills
        .map(|it| it["name"].as_str().expect("a name").to_owned())
        .collect()
}

macro_rules! private_drills {
    ($($test:ident: $name:literal, $time:literal;)*) => {
        $(
            #[test]
            fn $test() {
                holds($name, $time);
            }
        )*

        #[test]
        fn every_drill_is_listed_and_tested() {
            assert_eq!(names(), [$($name),*]);
            let output = Reports::new().drill(&["list"]);
            let text = String::from_utf8_lossy(&output.stdout);
            let widest = text.lines().max_by_key(|line| line.chars().count()).expect("it prints");
            assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
            for name in names() {
                assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {text}");
            }
        }
    };
}

private_drills! {
    private_clock_skew: "clock-skew", "in force for two seconds to verified gone";
    private_driver_throttled: "driver-throttled", "alert to verified rolled back";
    private_feed_down: "feed-down", "release to verified gone";
    private_kill: "kill", "restart to verified in force";
    private_lying_post_check: "lying-post-check", "alert to verified rolled back";
    private_partial_write: "partial-write", "restart to listening";
    private_protected_target: "protected-target", "release to verified gone";
    private_reply_lost: "reply-lost", "alert to first dropped packet, with the reply lost";
    private_set_flushed: "set-flushed", "removed by hand to noticed and settled";
    private_store_gone: "store-gone", "files gone to noticed";
}

/// Runs the drill `name`: everything that it expects is true, and `time` was measured.
fn holds(name: &str, time: &str) {
    in_namespace(&format!("drill::{name}"), || {
        let reports = Reports::new();
        let (code, score) = reports.run(name, &[]);
        assert_eq!((code, &score["held"]), (Some(0), &true.into()), "{score:#}");
        assert!(score["guards"].as_array().is_some_and(|it| !it.is_empty()), "{score:#}");
        for measured in [time, "alert to first dropped packet, after the fault"] {
            let times = score["times"].as_array().expect("a list");
            let found = times.iter().find(|it| it["what"] == measured);
            assert!(
                found.is_some_and(|it| it["ms"].as_f64().is_some()),
                "{measured}: {score:#}"
            );
        }
        let text = std::fs::read_to_string(reports.report()).expect("it is ours");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("it is JSON"), score);
    });
}

#[test]
fn without_its_fault_a_drill_fails() {
    in_namespace("drill::without_its_fault", || {
        let reports = Reports::new();
        let (code, score) = reports.run("lying-post-check", &["--control"]);
        assert_eq!((code, &score["held"]), (Some(14), &false.into()), "{score:#}");
        assert_eq!(expectation(&score, "caught")["seen"], "in-force");
        assert_eq!(expectation(&score, "paged")["held"], false);
        assert_eq!(expectation(&score, "contains-again")["held"], true, "{score:#}");
        assert_eq!(score["control"], true);
    });
}

#[test]
fn a_report_is_proved_and_a_changed_byte_is_not() {
    in_namespace("drill::a_report_is_proved", || {
        let reports = Reports::new();
        let (_, score) = reports.run("protected-target", &[]);
        let (report, key) = (reports.report(), score["signed_by"].as_str().expect("a key").to_owned());
        let shown = report.display().to_string();
        let code = |more: &[&str]| reports.drill(&[&["verify", &shown], more].concat()).status.code();
        assert_eq!(code(&[]), Some(0));
        assert_eq!(code(&["--key", &key]), Some(0));
        // Without a data directory, the key is beside the report.
        let printed = reports.drill(&["key", "--key", "drill.key"]);
        assert_eq!(String::from_utf8_lossy(&printed.stdout).trim(), key);
        let other = reports.drill(&["key", "--key", "other.key"]);
        let other = String::from_utf8(other.stdout).expect("it writes UTF-8");
        assert_eq!(code(&["--key", other.trim()]), Some(14));
        assert_eq!(code(&["--key", "nonsense"]), Some(2));
        changed(&report, "\"held\": true", "\"held\": false", || code(&[]));
        let signature = PathBuf::from(format!("{shown}.sig"));
        changed(&signature, "sha256", "sha257", || code(&[]));
        changed(&report, &key, other.trim(), || code(&[]));
        assert_eq!(code(&[]), Some(0), "everything was put back");
    });
}

/// With `from` replaced by `to` in `file`, nothing is proved.
fn changed(file: &Path, from: &str, to: &str, code: impl Fn() -> Option<i32>) {
    let text = std::fs::read_to_string(file).expect("it is ours");
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replacen(from, to, 1)).expect("it is ours");
    assert_eq!(code(), Some(14), "{from}");
    std::fs::write(file, text).expect("it is ours");
}

#[test]
fn a_report_without_its_signature_is_refused_with_what_to_do() {
    let reports = Reports::new();
    let report = reports.0.path().join("drill-made-by-hand.json");
    std::fs::write(&report, "{}").expect("it is ours");
    let shown = report.display().to_string();
    let output = reports.drill(&["verify", &shown]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot read {shown}.sig")), "{said}");
    assert!(said.contains("hint: ") && said.contains("beside the report"), "{said}");
    // A report that is not there has nothing to do with signatures.
    let nowhere = stderr(&reports.drill(&["verify", &format!("{shown}x")]));
    assert!(!nowhere.contains("signature"), "{nowhere}");
}

#[test]
fn a_full_disk_leaves_no_part_of_a_key_or_a_report() {
    on_a_full_disk("drill::full_disk", |small| {
        let reports = Reports::new();
        let (key, shown) = (small.join("drill.key"), small.display().to_string());
        let made = reports.drill(&["key", "--key", &key.display().to_string()]);
        assert_eq!(made.status.code(), Some(9), "{made:?}");
        assert!(stderr(&made).contains("hint: make room on that disk"), "{made:?}");
        assert_eq!(names_in(small), ["filler"]);
        let ran = reports.drill(&["run", "protected-target", "--report", &shown, "--key", "drill.key"]);
        assert_eq!(ran.status.code(), Some(9), "{ran:?}");
        assert_eq!(names_in(small), ["filler"]);
        let home = Home::new(SMALL);
        let minutes = small.join("minutes.md").display().to_string();
        let held = home.run(&["drill", "tabletop", "--minutes", &minutes]);
        assert_eq!(held.status.code(), Some(9), "{held:?}");
        assert!(
            String::from_utf8_lossy(&held.stdout).contains("## Not decided"),
            "they are shown: {held:?}"
        );
        assert_eq!(names_in(small), ["filler"]);
        // With room, all is as if nothing had been.
        std::fs::remove_file(small.join("filler")).expect("it is ours");
        let made = reports.drill(&["key", "--key", &key.display().to_string()]);
        assert_eq!(made.status.code(), Some(0), "{made:?}");
    });
}

#[test]
fn a_file_without_a_key_is_told_with_what_to_do() {
    let reports = Reports::new();
    for text in ["", "\n", "PRIVATE+KEY+cut"] {
        let path = reports.0.path().join("drill.key");
        let mut file = std::fs::File::create(&path).expect("it is our directory");
        file.set_permissions(Permissions::from_mode(0o600)).expect("it is ours");
        file.write_all(text.as_bytes()).expect("there is room");
        let output = reports.drill(&["key", "--key", "drill.key"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        let (_, hint) = said.split_once("hint: ").expect("there is one");
        assert!(hint.contains("remove it") && hint.contains("--key"), "{said}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("it is there"),
            text,
            "it is not touched"
        );
    }
}

#[test]
fn an_unknown_drill_is_refused_with_those_that_are_known() {
    let output = Reports::new().drill(&["run", "earthquake"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("store-gone"), "{output:?}");
}

/// A server's configuration with `scope` for drills.
fn with_scope(scope: &str) -> String {
    format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n[drill]\nscope = [{scope}]\n")
}

/// Runs the live drill `name` on `server`, with its report in the directory of `home`.
fn run_live(home: &Home, server: &Server, name: &str, more: &[&str]) -> Output {
    let dir = home.path("reports").display().to_string();
    let event = home.path("event.json");
    std::fs::write(&event, exploit_from("198.51.100.9")).expect("it is our directory");
    let event = event.display().to_string();
    let arguments = [
        "drill", "run", name, "--live", "--yes", "--json", "--report", &dir, "--event", &event,
    ];
    server.run(&[&arguments, more].concat())
}

#[test]
fn live_drills_stay_in_their_scope_and_leave_nothing() {
    in_namespace("drill::live_drills", || {
        let home = Home::new(&with_scope("\"192.0.2.0/28\""));
        let server = home.serve();
        for (number, (name, time)) in (1..).zip([
            ("driver-throttled", "alert to the first rollback"),
            ("feed-down", "alert to asked"),
            ("lying-post-check", "alert to verified rolled back"),
            ("reply-lost", "alert to verified in force, with the reply lost"),
        ]) {
            // What is outside of the scope does not misbehave after it.
            let outside = format!("198.51.100.{number}");
            let output = run_live(&home, &server, name, &[]);
            let score: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
            assert_eq!(output.status.code(), Some(0), "{score:#}");
            assert_eq!(
                (&score["held"], &score["place"]),
                (&true.into(), &"live".into()),
                "{score:#}"
            );
            for measured in [
                time,
                "alert to verified in force, after the fault",
                "release to verified gone",
            ] {
                let times = score["times"].as_array().expect("a list");
                let found = times.iter().find(|it| it["what"] == measured);
                assert!(
                    found.is_some_and(|it| it["ms"].as_f64().is_some()),
                    "{measured}: {score:#}"
                );
            }
            assert!(elements().is_empty(), "{name}");
            server.take(&exploit_from(&outside));
            wait_until("a containment outside", || element(&outside).is_some());
            server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
            wait_until("its release", || elements().is_empty());
        }
        let log = home.log();
        assert!(
            ["a drill was ordered", "a drill was ended", "fault=\"lie\""]
                .iter()
                .all(|it| log.contains(it)),
            "{log}"
        );
        let output = run_live(&home, &server, "lying-post-check", &["--control"]);
        assert_eq!(output.status.code(), Some(14), "{output:?}");
        assert!(elements().is_empty(), "a failed drill cleans up too");
    });
}

#[test]
fn what_is_outside_of_the_scope_does_not_misbehave() {
    in_namespace("drill::outside_of_the_scope", || {
        let home = Home::new(&with_scope("\"192.0.2.0/29\""));
        let server = home.serve();
        let order = |body: &str| {
            let answer = ureq::post(format!("{}/v1/drill", server.url)).send(body);
            answer.map(|it| it.status().as_u16())
        };
        assert_eq!(
            order(r#"{"fault":"lie","lasts":"1m","reason":"a test"}"#).expect("it is taken"),
            200
        );
        let second = order(r#"{"fault":"throttle","lasts":"1m","reason":"a test"}"#);
        assert!(
            matches!(second, Err(ureq::Error::StatusCode(409))),
            "one drill at a time: {second:?}"
        );
        server.take(&exploit_from("192.0.2.1"));
        server.take(&exploit_from("198.51.100.1"));
        let state = |address: &str| {
            let found: Value = server.get(&format!("/v1/transactions?limit=1&target={address}"));
            found["transactions"][0]["state"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        wait_until("the lie to be caught", || state("192.0.2.1") == "rolled-back");
        assert_eq!(state("198.51.100.1"), "in-force");
        let view: Value = server.get("/v1/drill");
        assert_eq!(
            (&view["fault"], &view["scope"][0]),
            (&"lie".into(), &"192.0.2.0/29".into())
        );
        // One that is under way is not joined.
        let output = run_live(&home, &server, "reply-lost", &[]);
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        server.ok(&["drill", "stop", "--yes"]);
        let stall = order(r#"{"fault":"stall","lasts":"1m","reason":"a test"}"#);
        assert!(
            matches!(stall, Err(ureq::Error::StatusCode(400))),
            "it would hold up everybody: {stall:?}"
        );
        let outside = run_live(&home, &server, "reply-lost", &["--address", "198.51.100.7"]);
        assert_eq!(outside.status.code(), Some(4), "{outside:?}");
        let stage_only = run_live(&home, &server, "kill", &[]);
        assert_eq!(stage_only.status.code(), Some(2), "{stage_only:?}");
    });
}

#[test]
fn status_tells_what_a_drill_has_left_going_wrong() {
    in_namespace("drill::status_tells", || {
        let home = Home::new(&with_scope("\"192.0.2.0/29\", \"2001:db8::/120\""));
        let server = home.serve();
        let order = |body: &str| {
            let answer = ureq::post(format!("{}/v1/drill", server.url)).send(body);
            assert_eq!(answer.expect("it is taken").status().as_u16(), 200);
        };
        let status = || serde_json::from_str::<Value>(&server.ok(&["status", "--json"])).expect("it is JSON");
        let drill_lines = || {
            let text = server.ok(&["status"]);
            let widest = text.lines().max_by_key(|line| line.chars().count()).expect("it prints");
            assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
            let from = text.lines().skip_while(|line| !line.starts_with("drill "));
            from.take(2).collect::<Vec<_>>().join("\n")
        };
        assert_eq!((&status()["drill"], &*drill_lines()), (&Value::Null, ""));
        // As a drill does that is killed before it can end its fault.
        order(r#"{"fault":"lose-reply","lasts":"5m","reason":"a test"}"#);
        let told = &status()["drill"];
        assert_eq!(told["fault"], "lose-reply", "{told}");
        assert_eq!(told["scope"], serde_json::json!(["192.0.2.0/29", "2001:db8::/120"]));
        let until: Timestamp = told["until"].as_str().expect("a time").parse().expect("a time");
        let left = until.since(SystemClock.now());
        assert!(left > Span::from_mins(4) && left <= Span::from_mins(5), "{left:?}");
        let shown = drill_lines();
        for part in ["UNDER WAY", "lose-reply", "192.0.2.0/29", "until ", "(in 4m"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        server.ok(&["drill", "stop", "--yes"]);
        assert_eq!((&status()["drill"], &*drill_lines()), (&Value::Null, ""));
    });
}

#[test]
fn an_interrupted_live_drill_cleans_up() {
    in_namespace("drill::an_interrupted_live_drill", || {
        let home = Home::new(&with_scope("\"192.0.2.0/29\""));
        let server = home.serve();
        let event = home.path("event.json");
        std::fs::write(&event, exploit_from("198.51.100.9")).expect("it is our directory");
        // Without its fault this drill has a block in force, and waits in vain for it to be rolled back.
        let mut child = staunch(&[
            "drill",
            "run",
            "driver-throttled",
            "--live",
            "--yes",
            "--json",
            "--control",
            "--report",
        ])
        .arg(home.path("reports"))
        .arg("--event")
        .arg(&event)
        .env("STAUNCH_URL", &server.url)
        .env("STAUNCH_CONFIG", home.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
        wait_until("the drill to contain", || element("192.0.2.1").is_some());
        let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        kill(id, Signal::SIGINT).expect("it runs");
        wait_until("its end", || child.try_wait().expect("it is our child").is_some());
        let output = child.wait_with_output().expect("it has ended");
        assert_eq!(output.status.code(), Some(14), "{output:?}");
        assert!(elements().is_empty(), "{output:?}");
        let view: Value = server.get("/v1/drill");
        assert_eq!(view["fault"], Value::Null);
    });
}

#[test]
fn without_a_scope_nothing_can_misbehave() {
    in_namespace("drill::without_a_scope", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let output = run_live(&home, &server, "lying-post-check", &[]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(stderr(&output).contains("declares no scope"), "{output:?}");
        let order =
            ureq::post(format!("{}/v1/drill", server.url)).send(r#"{"fault":"lie","lasts":"1m","reason":"a test"}"#);
        assert!(matches!(order, Err(ureq::Error::StatusCode(404))), "{order:?}");
        assert!(!home.log().contains("misbehave"), "{}", home.log());
    });
}

#[test]
fn a_scope_that_reaches_too_far_is_refused() {
    let protected = "[[never_touch.networks]]\nnetwork = \"192.0.2.8/32\"\nreason = \"a test\"\n";
    for (scope, more, says) in [
        ("\"192.0.2.0/23\"", "", "wider than a /24"),
        ("\"2001:db8::/119\"", "", "wider than a /120"),
        ("\"192.0.2.0/28\"", protected, "overlaps 192.0.2.8/32"),
    ] {
        let home = Home::new(&format!("{}{more}", with_scope(scope)));
        let Err(refused) = home.try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"]) else {
            panic!("it serves with {scope}");
        };
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(stderr(&refused).contains(says), "{refused:?}");
    }
    let home = Home::new(&with_scope("\"127.0.0.0/28\""));
    let Err(refused) = home.try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"]) else {
        panic!("it serves with its own address in the scope");
    };
    let said = stderr(&refused);
    assert!(said.contains("this machine depends on"), "{said}");
    // No network can be named as an example: this machine may be in just that one.
    let (_, hint) = said.split_once("hint: ").expect("there is one");
    assert!(!hint.contains(|c: char| c.is_ascii_digit()), "{said}");
}

/// Holds a tabletop on `home` with `answers`: its output and its minutes.
fn tabletop(home: &Home, answers: &str, more: &[&str]) -> (Output, String) {
    let minutes = home.path("minutes.md");
    let mut child = staunch(&["drill", "tabletop"])
        .args(more)
        .arg("--minutes")
        .arg(&minutes)
        .env("STAUNCH_CONFIG", home.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // A tabletop that ends early does not read all of it.
    drop(stdin.write_all(answers.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (output, std::fs::read_to_string(minutes).unwrap_or_default())
}

#[test]
fn a_tabletop_leaves_minutes_and_nothing_else() {
    let home = Home::new(SMALL);
    let answers =
        "go: the numbers look right\nada\nwhat?\nask, who tells the | customer?\ngrace <b>\ngo\n\nstop we wait\nada\n";
    let (output, minutes) = tabletop(&home, answers, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for shown in [
        "ET MALWARE JAWS",
        "41.108.52.138",
        ": check",
        ": act",
        ": verify",
        ": undo",
        "never-touch",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    let widest = said.lines().max_by_key(|line| line.chars().count()).expect("it prints");
    assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
    let decided: Vec<&str> = minutes.lines().filter(|line| line.starts_with("| 1")).collect();
    assert_eq!(decided.len(), 4, "{minutes}");
    assert!(
        decided[0].contains("| go | ada |") && decided[0].contains("the numbers look right"),
        "{minutes}"
    );
    assert!(
        decided[1].contains(r"who tells the \| customer?") && decided[1].contains(r"grace \<b\>"),
        "{minutes}"
    );
    assert!(
        decided[2].contains(r"| go | grace \<b\> |"),
        "who spoke last speaks on: {minutes}"
    );
    assert!(decided[3].contains("| stop | ada |"), "{minutes}");
    assert!(minutes.contains(r"- [ ] who tells the \| customer?"), "{minutes}");
    assert!(!home.data().exists(), "nothing is opened");

    // The minutes of another day are not written over.
    let (again, _) = tabletop(&home, answers, &[]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}

#[test]
fn a_tabletop_that_nobody_answers_says_what_is_undecided() {
    let home = Home::new(SMALL);
    let (output, minutes) = tabletop(&home, "go\nada\n", &["exploit-attempt-block"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (_, left) = minutes.split_once("## Not decided").expect("it says so");
    assert_eq!(left.matches("\n- ").count(), 3, "{minutes}");
}

#[test]
fn a_tabletop_tells_a_playbook_that_does_not_match_from_one_that_is_not_there() {
    let refused = |name: &str| {
        let (output, minutes) = tabletop(&Home::new(SMALL), "go\n", &[name]);
        assert_eq!((output.status.code(), &*minutes), (Some(5), ""), "{output:?}");
        stderr(&output)
    };
    let idle = refused("brute-force-block");
    assert!(idle.contains("does not match the playbook brute-force-block"), "{idle}");
    let unknown = refused("nosuch");
    assert!(unknown.contains("there is no playbook nosuch"), "{unknown}");
    assert!(
        unknown.contains("hint: known: brute-force-block, exploit-attempt-block"),
        "{unknown}"
    );
    let near = refused("brute-force-blok");
    assert!(near.contains("hint: did you mean brute-force-block?"), "{near}");
}
