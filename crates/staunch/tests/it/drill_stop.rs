//! A live drill that was left behind: `staunch drill stop`, and what is recorded of drills.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use staunch_server::dto::{Commands, DrillFault, DrillView};

use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, staunch, stderr, stdout, wait_until};

fn home() -> Home {
    Home::new(&format!(
        "{SMALL}[limits]\nsweep_interval = \"1s\"\n[drill]\nscope = [\"192.0.2.0/28\"]\n"
    ))
}

/// The live drill `name` on `server`.
fn live(home: &Home, server: &Server, name: &str) -> Command {
    std::fs::create_dir_all(home.path("reports")).expect("it is our directory");
    let event = home.path("event.json");
    std::fs::write(&event, exploit_from("198.51.100.9")).expect("it is our directory");
    let mut command = staunch(&["drill", "run", name, "--live", "--yes", "--json", "--report"]);
    command
        .arg(home.path("reports"))
        .arg("--event")
        .arg(&event)
        .env("STAUNCH_URL", &server.url)
        .env("STAUNCH_CONFIG", home.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The status of the answer to an order.
fn order(server: &Server, body: &str) -> u16 {
    match ureq::post(format!("{}/v1/drill", server.url)).send(body) {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(status)) => status,
        Err(error) => panic!("{error}"),
    }
}

fn view(server: &Server) -> DrillView {
    server.get("/v1/drill")
}

fn fault(server: &Server) -> Option<DrillFault> {
    view(server).fault
}

/// The orders about drills, oldest first, with their reasons, once the index has `count` of them.
fn recorded(server: &Server, count: usize) -> Vec<(Value, String)> {
    let mut found = Vec::new();
    wait_until("the record", || {
        let all = server.get::<Commands>("/v1/commands").commands;
        let about_drills = |it: &Value| it.get("enddrill").is_some() || it.get("drill").is_some();
        let all = all.into_iter().rev().filter(|it| about_drills(&it.command));
        found = all.map(|it| (it.command, it.reason)).collect();
        found.len() == count
    });
    found
}

#[test]
fn what_a_drill_has_left_behind_ends_at_once_and_is_recorded() {
    in_namespace("drill_stop::ends", || {
        let home = home();
        let server = home.serve();
        let said = r#"{"fault":"lie","lasts":"10m","reason":"a test"}"#;
        assert_eq!(order(&server, said), 200);
        server.take(&exploit_from("192.0.2.1"));
        wait_until("the lie to be caught", || {
            server.get::<Value>("/v1/transactions?target=192.0.2.1")["transactions"][0]["state"] == "rolled-back"
        });
        let status = server.ok(&["status"]);
        assert!(status.contains("`staunch drill stop` ends it at once"), "{status}");
        assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");

        // Nobody is there to ask, or the reason says nothing: it goes on.
        for (more, says) in [
            (&[][..], "add --yes"),
            (&["--yes", "--reason", " "], "the reason is blank"),
        ] {
            let refused = server.run(&[&["drill", "stop"], more].concat());
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(stderr(&refused).contains(says), "{refused:?}");
        }
        assert_eq!(fault(&server), Some(DrillFault::Lie));

        let drill = view(&server).drill.expect("it goes on");
        assert!(status.contains(&format!("{drill} is UNDER WAY")), "{status}");
        let ended = server.ok(&["drill", "stop", "--yes", "--reason", "it was left behind"]);
        assert_eq!(ended, format!("the fault lie of {drill} has ended for 192.0.2.0/28\n"));
        assert_eq!(fault(&server), None);
        assert!(!server.ok(&["status"]).contains("UNDER WAY"));
        server.take(&exploit_from("192.0.2.2"));
        wait_until("the block", || element("192.0.2.2").is_some());
        let all = recorded(&server, 2);
        let reasons: Vec<_> = all.iter().map(|(_, reason)| &**reason).collect();
        assert_eq!(reasons, ["a test", "it was left behind"]);
        assert_eq!(
            (&all[0].0["drill"]["fault"], &all[1].0["enddrill"]["drill"]),
            (&"lie".into(), &drill.to_string().into())
        );

        // Once more: all is well already, so nothing is asked and nothing recorded; what is held is told.
        let again = server.run(&["drill", "stop"]);
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        assert!(stdout(&again).starts_with("no drill is under way"), "{again:?}");
        let told = stderr(&again);
        assert!(told.contains("still holds 192.0.2.2: `staunch release TX-2`"), "{told}");
        let json: Value = server.json(&["drill", "stop"]);
        assert_eq!(json["ended"], Value::Null, "{json}");
        assert_eq!(json["held"][0]["transaction"], "TX-2", "{json}");
        assert_eq!(recorded(&server, 2).len(), 2);

        server.kill();
        let journal = home.run(&["journal", "cat"]);
        let told = stdout(&journal);
        for part in ["have lie go wrong for 10m", &format!("end what goes wrong for {drill}")] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let same = home.run(&["replay", "--verify"]);
        assert_eq!(same.status.code(), Some(0), "{same:?}");
    });
}

#[test]
fn a_drill_that_is_killed_does_not_keep_the_next_one_waiting() {
    in_namespace("drill_stop::killed", || {
        let home = home();
        let server = home.serve();
        let drill = |name: &str| live(&home, &server, name);
        // Its fault does not last long. One that was not caught in time has ended it, and another is started.
        let mut before = 0;
        for _ in 0..5 {
            let mut child = drill("driver-throttled").spawn().expect("the binary starts");
            wait_until("the fault, or the end", || {
                fault(&server).is_some() || child.try_wait().expect("it is our child").is_some()
            });
            drop(child.kill());
            child.wait().expect("it is our child");
            if fault(&server).is_some() {
                break;
            }
            before += 2;
        }
        assert_eq!(fault(&server), Some(DrillFault::Throttle), "nobody ends it");

        let kept = drill("reply-lost").output().expect("the binary starts");
        assert_eq!(kept.status.code(), Some(9), "{kept:?}");
        // On stderr it is JSON, where that is asked for.
        assert!(stderr(&kept).contains("staunch drill stop"), "{kept:?}");
        let ended: Value = server.json(&["drill", "stop", "--yes"]);
        assert_eq!(ended["ended"], "throttle", "{ended}");
        let held = drill("reply-lost").output().expect("the binary starts");
        assert_eq!(held.status.code(), Some(0), "{held:?}");
        // That one gave its name to everything that it asked for, and ended its fault once.
        let all = recorded(&server, before + 4);
        let reasons: Vec<_> = all[before..].iter().map(|(_, reason)| &**reason).collect();
        let [killed, "", held, ended] = reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(killed.starts_with("the drill driver-throttled, run "), "{killed}");
        assert!(
            held.starts_with("the drill reply-lost, run ") && held == ended,
            "{held}, {ended}"
        );
    });
}

/// A drill cleans up after itself: what another has ordered meanwhile goes on.
#[test]
fn the_fault_of_another_drill_is_left_alone() {
    in_namespace("drill_stop::another", || {
        let home = home();
        let server = home.serve();
        let child = live(&home, &server, "reply-lost").arg("--control").spawn();
        let child = child.expect("the binary starts");
        wait_until("its first act", || {
            server.get::<Value>("/v1/transactions")["transactions"][0].is_object()
        });
        assert_eq!(
            order(&server, r#"{"fault":"lie","lasts":"10m","reason":"a test"}"#),
            200
        );
        let output = child.wait_with_output().expect("it is our child");
        assert_eq!(fault(&server), Some(DrillFault::Lie), "{output:?}");
        assert_eq!(recorded(&server, 1).len(), 1);
    });
}

/// A person may end a drill that still runs, and somebody may order the next one before it cleans up.
#[test]
fn the_clean_up_of_a_drill_that_was_ended_leaves_the_next_one_alone() {
    in_namespace("drill_stop::next", || {
        let home = home();
        let server = home.serve();
        let body = r#"{"fault":"lie","lasts":"10m","reason":"a test"}"#;
        // Its fault does not last long. A drill that was not stopped in time has ended it, and another is started.
        let next = (0..5).find_map(|_| {
            let mut child = live(&home, &server, "driver-throttled").spawn().expect("it starts");
            wait_until("the fault, or the end", || {
                fault(&server).is_some() || child.try_wait().expect("it is our child").is_some()
            });
            let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
            kill(id, Signal::SIGSTOP).expect("it is our child");
            let caught = view(&server).drill;
            if caught.is_some() {
                server.ok(&["drill", "stop", "--yes"]);
                assert_eq!(order(&server, body), 200);
            }
            let next = view(&server).drill;
            kill(id, Signal::SIGCONT).expect("it is our child");
            let output = child.wait_with_output().expect("it is our child");
            caught.map(|caught| (caught, next, output))
        });
        let (caught, next, output) = next.expect("one of them was stopped in time");
        assert!(caught < next.expect("it has begun"), "{caught}, {next:?}");
        assert_eq!(
            (fault(&server), view(&server).drill),
            (Some(DrillFault::Lie), next),
            "{output:?}"
        );

        // Nor does a person end it who means the one before.
        let named = server.ok(&["drill", "stop", &caught.to_string()]);
        let goes_on = view(&server).drill.expect("it goes on");
        assert_eq!(
            named,
            format!("nothing has ended: {goes_on} is under way, the fault lie\n")
        );
        let json: Value = server.json(&["drill", "stop", &caught.to_string()]);
        assert_eq!(
            (&json["ended"], &json["under_way"]["id"]),
            (&Value::Null, &goes_on.to_string().into())
        );
        let ended = server.ok(&["drill", "stop", &goes_on.to_string(), "--yes"]);
        assert!(
            ended.starts_with(&format!("the fault lie of {goes_on} has ended")),
            "{ended}"
        );
        let bad = server.run(&["drill", "stop", "TX-1"]);
        assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    });
}

/// No answer says whose the fault is that goes on, and the record does: it is ended, and that of another is not.
#[test]
fn a_drill_whose_order_got_no_answer_ends_what_it_has_begun() {
    in_namespace("drill_stop::no_answer", || {
        let home = home();
        let server = home.serve();
        let url = without_an_answer(&server.url, "POST /v1/drill HTTP/1.1");
        let mut drill = live(&home, &server, "driver-throttled");
        let output = drill.env("STAUNCH_URL", url).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(14), "{output:?}");
        let clean = clean(&output);
        assert_eq!(
            (&clean["held"], &clean["seen"]),
            (&Value::from(true), &Value::from("fault over, 0 held"))
        );
        assert_eq!(fault(&server), None);
        let all = recorded(&server, 2);
        assert!(
            all[0].0.get("drill").is_some() && all[1].0.get("enddrill").is_some(),
            "{all:?}"
        );
        assert_eq!(all[0].1, all[1].1, "it gave its reason for both");
    });
}

/// The event was taken, and what it contained is known by its address alone.
#[test]
fn a_drill_whose_event_got_no_answer_lets_go_of_what_it_has_contained() {
    in_namespace("drill_stop::no_answer_to_an_event", || {
        let home = home();
        let server = home.serve();
        let url = without_an_answer(&server.url, "POST /v1/events/suricata HTTP/1.1");
        let mut drill = live(&home, &server, "driver-throttled");
        let output = drill.env("STAUNCH_URL", url).output().expect("the binary starts");
        assert_ne!(output.status.code(), Some(0), "{output:?}");
        let clean = clean(&output);
        assert_eq!(
            (&clean["held"], &clean["seen"]),
            (&Value::from(true), &Value::from("fault over, 0 held"))
        );
        assert!(server.containments().is_empty());
    });
}

/// What the score of a drill says of its end.
fn clean(output: &Output) -> Value {
    let score: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let all = score["expectations"].as_array().expect("a list");
    let clean = all.iter().find(|it| it["name"] == "clean");
    clean.expect("it is expected").clone()
}

/// The address of a proxy that brings everything to the server at `url` and back, but for the answer to what begins
/// with `line`: in its place the connection is cut when the server has answered.
fn without_an_answer(url: &str, line: &'static str) -> String {
    let server = url.strip_prefix("http://").expect("it is in the clear").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server) = (client.expect("it comes"), TcpStream::connect(&server));
            let Ok(mut server) = server else { return };
            std::thread::spawn(move || {
                // What comes in one write here is one request: the program writes no next one before the answer.
                let mut bytes = vec![0; 1 << 20];
                let (mut back, mut to) = (
                    server.try_clone().expect("it can be"),
                    client.try_clone().expect("it can be"),
                );
                let cut = Arc::new(AtomicBool::new(false));
                let is_cut = cut.clone();
                std::thread::spawn(move || {
                    let mut bytes = vec![0; 1 << 20];
                    while let Ok(count @ 1..) = back.read(&mut bytes) {
                        if is_cut.load(Ordering::SeqCst) || to.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    drop(to.shutdown(Shutdown::Both));
                });
                while let Ok(count @ 1..) = client.read(&mut bytes) {
                    if bytes[..count].starts_with(line.as_bytes()) {
                        cut.store(true, Ordering::SeqCst);
                    }
                    if server.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                drop(server.shutdown(Shutdown::Write));
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn of_orders_at_the_same_time_one_is_taken_and_recorded() {
    in_namespace("drill_stop::at_once", || {
        let home = home();
        let server = home.serve();
        let body = r#"{"fault":"throttle","lasts":"1m","reason":"a test"}"#;
        let mut answers: Vec<u16> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| order(&server, body))).collect();
            asked.into_iter().map(|it| it.join().expect("it answers")).collect()
        });
        answers.sort_unstable();
        assert_eq!(answers, [200, 409, 409, 409, 409, 409, 409, 409]);
        assert_eq!(recorded(&server, 1).len(), 1);
        // An order is for a fault; to end it has a way of its own.
        assert_eq!(order(&server, r#"{"lasts":"1m","reason":"a test"}"#), 400);
        assert_eq!(order(&server, r#"{"fault":"lie","lasts":"1m","reason":" "}"#), 400);
        assert_eq!(fault(&server), Some(DrillFault::Throttle));
    });
}

#[test]
fn without_a_scope_there_is_no_drill_to_stop() {
    in_namespace("drill_stop::without_a_scope", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let none = server.run(&["drill", "stop", "--yes"]);
        assert_eq!(none.status.code(), Some(4), "{none:?}");
        assert!(stderr(&none).contains("declares no scope"), "{none:?}");
    });
}
