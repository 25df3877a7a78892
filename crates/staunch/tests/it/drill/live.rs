//! Drills on a running server, within the scope that it declares.

use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use staunch_model::{Span, Timestamp};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{Home, SMALL, Server, element, elements, exploit_from, in_namespace, staunch, stderr, wait_until};

/// A server's configuration with `scope` for drills.
fn with_scope(scope: &str) -> String {
    format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n[drill]\nscope = [{scope}]\n")
}

/// Runs the live drill `name` on `server`, with its report in the directory of `home`.
fn run_live(home: &Home, server: &Server, name: &str, more: &[&str]) -> Output {
    let dir = home.path("reports");
    std::fs::create_dir_all(&dir).expect("it is our directory");
    let dir = dir.display().to_string();
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
        for part in ["UNDER WAY", "lose-reply", "192.0.2.0/29", "until "] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("(in 4m") || shown.contains("(in 5m"), "{shown}");
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
        std::fs::create_dir(home.path("reports")).expect("it is our directory");
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
