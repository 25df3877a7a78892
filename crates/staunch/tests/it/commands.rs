//! What every command says, with and without a server.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Home, SMALL, exploit_from, in_namespace, staunch, stderr, wait_until};

#[test]
fn every_command_has_help_that_fits() {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["check"],
        &["plan"],
        &["test"],
        &["backtest"],
        &["incident"],
        &["incident", "list"],
        &["incident", "show"],
        &["incident", "timeline"],
        &["config", "show"],
        &["watch"],
        &["containment", "list"],
        &["approve"],
        &["deny"],
        &["release"],
        &["renew"],
        &["mode"],
        &["status"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
        &["journal", "verify"],
        &["journal", "cat"],
        &["replay"],
        &["index", "rebuild"],
        &["index", "status"],
        &["version"],
    ];
    for command in commands {
        let output = staunch(command)
            .arg("-h")
            .env("COLUMNS", "80")
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{command:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("Usage: staunch"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "colour where there is no terminal: {text:?}");
    }
}

#[test]
fn every_answer_can_be_had_in_json() {
    in_namespace("commands::every_answer_can_be_had_in_json", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from("203.0.113.1"));
        wait_until("the containment", || {
            server.containments().iter().any(|it| it.lease_until.is_some())
        });
        let event = home.path("event.json");
        std::fs::write(&event, exploit_from("203.0.113.2")).expect("it is our directory");
        let event = event.display().to_string();
        let commands: &[&[&str]] = &[
            &["check"],
            &["plan", &event],
            &["plan", "--local", &event],
            &["incident", "list"],
            &["incident", "show", "INC-1"],
            &["containment", "list"],
            &["containment", "list", "--awaiting"],
            &["approve"],
            &["renew", "TX-1", "--for", "2h", "--yes", "--reason", "a trial"],
            &["mode"],
            &["mode", "observe", "--reason", "ours", "--yes"],
            &["status"],
            &["token", "create", "a", "--role", "sender"],
            &["token", "list"],
            &["token", "revoke", "a", "--yes"],
            &["journal", "verify"],
            &["replay", "--verify"],
            &["index", "status"],
            &["version"],
            &["release", "TX-1", "--reason", "ours", "--yes"],
            &["release", "--all", "--reason", "ours", "--yes"],
        ];
        for command in commands {
            let _: Value = server.json(command);
        }
        for command in [
            &["status"][..],
            &["check"],
            &["incident", "list"],
            &["journal", "cat"],
            &["mode"],
        ] {
            let text = server.ok(command);
            assert!(!text.is_empty() && !text.contains('\u{1b}'), "{command:?}: {text:?}");
        }
    });
}

#[test]
fn text_from_events_steers_nothing() {
    in_namespace("commands::text_from_events_steers_nothing", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let mut event: Value = serde_json::from_str(&exploit_from("203.0.113.1")).expect("it is JSON");
        event["alert"]["signature"] = "ET EXPLOIT \u{1b}[2J\u{9b}31m\u{202e}evil\nERROR forged".into();
        let event = event.to_string();
        server.take(&event);
        wait_until("the incident", || {
            !server.json::<Value>(&["incident", "list"])["incidents"]
                .as_array()
                .expect("a list")
                .is_empty()
        });
        let file = home.path("event.json");
        std::fs::write(&file, &event).expect("it is our directory");
        let file = file.display().to_string();
        let commands: &[&[&str]] = &[
            &["incident", "list"],
            &["incident", "show", "INC-1"],
            &["plan", &file],
            &["containment", "list"],
            &["journal", "cat"],
            &["replay"],
            &["replay", "--at", "2099-01-01T00:00:00Z"],
            &["replay", "--json"],
            &["incident", "list", "--json"],
            &["incident", "show", "INC-1", "--json"],
            &["plan", &file, "--json"],
            &["journal", "cat", "--json"],
        ];
        for command in commands {
            let text = server.ok(command);
            let bad = |c: char| c != '\n' && staunch_model::text::is_unsafe_to_show(c);
            assert!(!text.contains(bad), "{command:?}: {text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("ERROR forged")),
                "{command:?}: {text}"
            );
        }
        assert!(!home.log().lines().any(|line| line.starts_with("ERROR forged")));
        // The name of a source is that, whatever it would mean in an address.
        for source in ["my sensor", "suricata?x", "suricata/", "../plan/suricata"] {
            let planned = server.run(&["plan", &file, "--source", source]);
            assert_eq!(planned.status.code(), Some(5), "{source}: {planned:?}");
        }
    });
}

#[test]
fn without_a_server_commands_say_so() {
    for command in [
        &["status"][..],
        &["incident", "list"],
        &["containment", "list"],
        &["mode"],
        &["approve"],
    ] {
        let output = staunch(command)
            .args(["--url", "http://127.0.0.1:1"])
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(3), "{command:?}: {output:?}");
        let said = stderr(&output);
        assert!(
            said.starts_with("error: no Staunch answers at http://127.0.0.1:1\n"),
            "{said}"
        );
        assert!(said.contains("hint: "), "{said}");
        assert!(output.stdout.is_empty());
    }
}

/// A variable that a script or a unit left empty names no server, and is told by its name.
#[test]
fn an_address_that_is_set_but_empty_is_told_as_such() {
    let home = Home::new(SMALL);
    let button = ["release", "--all", "--reason", "ours", "--yes"];
    let drill = ["drill", "run", "reply-lost", "--live", "--yes"];
    for command in [
        &["status"][..],
        &["watch", "--count", "0"],
        &["release", "TX-1", "--reason", "ours", "--yes"],
        &button,
        &[&button[..], &["--direct"]].concat(),
        &drill,
    ] {
        for blank in ["", "  \t"] {
            let output = staunch(command)
                .env("STAUNCH_CONFIG", home.config())
                .env("STAUNCH_URL", blank)
                .output()
                .expect("the binary starts");
            assert_eq!(output.status.code(), Some(2), "{command:?}: {output:?}");
            let said = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.starts_with("error: STAUNCH_URL is set but empty hint: "), "{said}");
            assert!(said.contains("`unset STAUNCH_URL`"), "{said}");
            // The flag is told by its own name, and says what is meant where the variable does not.
            let flag = staunch(command)
                .args(["--url", blank])
                .env("STAUNCH_CONFIG", home.config())
                .env("STAUNCH_URL", "http://127.0.0.1:1")
                .output()
                .expect("the binary starts");
            assert_eq!(flag.status.code(), Some(2), "{command:?}: {flag:?}");
            assert!(
                stderr(&flag).starts_with("error: --url is given but empty\n"),
                "{flag:?}"
            );
        }
        let named = staunch(command)
            .args(["--url", "http://127.0.0.1:1"])
            .env("STAUNCH_CONFIG", home.config())
            .env("STAUNCH_URL", "")
            .output()
            .expect("the binary starts");
        assert!(!stderr(&named).contains("empty"), "{command:?}: {named:?}");
    }
    assert!(!home.path("data/drill.key").exists(), "nothing is made before");
}

#[test]
fn mistakes_on_the_command_line_are_exit_code_2() {
    for command in [
        &["nonsense"][..],
        &["release"],
        &["release", "TX-1", "--all"],
        &["incident", "show", "17"],
        &["renew", "TX-1", "--for", "10"],
        &["status", "--client-cert", "a.pem"],
        &["approve", "TX-1", "--reason", "ours", "--url", "ftp://x"],
    ] {
        let output = staunch(command).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(2), "{command:?}: {output:?}");
    }
}

#[test]
fn what_is_not_there_is_exit_code_5() {
    let home = Home::new("");
    for command in [
        &["journal", "verify"][..],
        &["journal", "cat"],
        &["index", "status"],
        &["index", "rebuild"],
        &["plan", "/nowhere"],
    ] {
        let output = home.run(command);
        assert_eq!(output.status.code(), Some(5), "{command:?}: {output:?}");
        assert!(stderr(&output).contains("hint: "), "{output:?}");
    }
}

#[test]
fn a_command_that_asks_twice_says_once_that_the_index_is_behind() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("it is bound"));
    let noon = "2026-11-25T12:00:00Z";
    let index = serde_json::json!({"position": 1, "lag": null});
    let transaction = serde_json::json!({"id": "TX-1", "incident": "INC-1", "step": 0, "kind": "block-ip",
        "target": "ip:203.0.113.9", "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m",
        "lease_until": null, "created": noon, "updated": noon, "in_force_at": noon, "released_at": null,
        "approved_by": null, "approval_expires": null, "judgement": null});
    let incident = serde_json::json!({"incident": {"id": "INC-1", "playbook": "p", "playbook_hash": "00".repeat(32),
            "key": "203.0.113.9", "status": "open", "opened": noon, "closed": null, "outcome": "contained", "events": 1,
            "system": "suricata", "signature": "s", "severity": "high", "source": null, "destination": null},
        "transactions": [transaction], "commands": [], "evidence": [], "events": [], "timeline": [],
        "timeline_count": 0, "index": index});
    let others = serde_json::json!({"incidents": [], "next": null, "index": index});
    let served = std::thread::spawn(move || {
        for (path, body) in [("GET /v1/incidents/INC-1", incident), ("GET /v1/incidents?", others)] {
            let (mut peer, _) = server.accept().expect("the command connects");
            let mut request = [0; 4096];
            let length = peer.read(&mut request).expect("it asks");
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(asked.starts_with(path), "{asked}");
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nstaunch-index-lag: 7\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            peer.write_all(answer.as_bytes()).expect("it listens");
        }
    });
    let output = staunch(&["incident", "timeline", "INC-1", "--url", &url])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    served.join().expect("both were served");
    let said = stderr(&output);
    assert_eq!(
        said.matches("7 frames of the journal are not in the index").count(),
        1,
        "{said}"
    );
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

#[test]
fn a_list_from_an_index_that_is_behind_says_so() {
    for (lag, says) in [("0", false), ("729", true)] {
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", server.local_addr().expect("it is bound"));
        let body = r#"{"incidents":[],"next":null,"index":{"position":1,"lag":null}}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nstaunch-index-lag: {lag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let served = std::thread::spawn(move || {
            let (mut peer, _) = server.accept().expect("the command connects");
            let mut request = [0; 4096];
            assert!(peer.read(&mut request).expect("it asks") > 0);
            peer.write_all(answer.as_bytes()).expect("it listens");
        });
        let output = staunch(&["incident", "list", "--url", &url])
            .output()
            .expect("the binary starts");
        served.join().expect("it was served");
        assert!(output.status.success(), "{output:?}");
        let said = stderr(&output);
        assert_eq!(
            said.contains("729 frames of the journal are not in the index"),
            says,
            "{said}"
        );
    }
}

#[test]
fn playbooks_are_checked_with_all_mistakes() {
    let home = Home::new("");
    home.playbook(
        "bad.yaml",
        "playbook: bad\nsumary: x\ntrigger: { sources: [nobody], when: event.foo == 1 }\n",
    );
    let directory = home.path("playbooks").display().to_string();
    let output = home.run(&["check", &directory]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("bad.yaml:2:1") && said.contains("did you mean `summary`?"),
        "{said}"
    );
    assert!(said.contains("nobody"), "{said}");
    let absent = home.run(&["check", "nowhere.yaml"]);
    assert_eq!(absent.status.code(), Some(5), "{absent:?}");
    let said = stderr(&absent);
    assert!(
        said.contains("nowhere.yaml") && said.contains("hint: name a playbook"),
        "{said}"
    );
    let json = home.run(&["check", "--json", &directory]);
    let answer: Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert!(answer["errors"].as_u64().expect("a number") >= 2, "{answer}");
}

#[test]
fn a_driver_that_lies_is_for_the_demo_only() {
    let home = Home::new(SMALL);
    let refused = home
        .try_serve(&["--allow-unauthenticated-loopback", "--rehearse", "orders"])
        .err()
        .expect("it does not start");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(stderr(&refused).contains("--rehearse"), "{refused:?}");
    assert!(!home.data().exists(), "nothing was made");
}
