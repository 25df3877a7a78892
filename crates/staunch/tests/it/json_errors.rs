//! Errors as data, where JSON was asked for.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Home, SMALL, Server, staunch, stderr, stdout};

/// What the command said on the last line of stderr, which must be JSON, and nothing on stdout.
#[track_caller]
fn told(output: &Output, exit: i32) -> Value {
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    assert_eq!(stdout(output), "", "{output:?}");
    let said = stderr(output);
    let last = said.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(told["exit_code"], exit, "{told}");
    assert!(told["error"].as_str().is_some_and(|it| !it.is_empty()), "{told}");
    assert!(told["because"].is_array(), "{told}");
    told
}

fn serving(home: &Home, arguments: &[&str]) -> Server {
    let mut all = vec!["--driver", "memory"];
    all.extend(arguments);
    home.try_serve(&all)
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"))
}

#[test]
fn what_a_server_refuses_is_told_as_json() {
    let home = Home::new(SMALL);
    let server = serving(&home, &["--allow-unauthenticated-loopback"]);
    // One that is behind says so in the same words.
    crate::harness::wait_until("the index", || {
        let status = server.get::<staunch_server::dto::Status>("/v1/status");
        status.index.is_some_and(|it| it.lag == Some(0))
    });
    for (command, exit) in [
        (&["incident", "show", "INC-9"][..], 5),
        (&["incident", "timeline", "INC-9"], 5),
        (&["release", "TX-9", "--reason", "ours", "--yes"], 5),
        (&["renew", "TX-9", "--for", "1h", "--yes", "--reason", "a trial"], 5),
        (&["protect", "remove", "192.0.2.1", "--reason", "ours", "--yes"], 4),
    ] {
        let mut with_json = command.to_vec();
        with_json.push("--json");
        let answer = told(&server.run(&with_json), exit);
        // The same words as for people.
        let plain = server.run(command);
        assert_eq!(plain.status.code(), Some(exit), "{plain:?}");
        let first = stderr(&plain).lines().next().unwrap_or_default().to_owned();
        assert_eq!(
            first,
            format!("error: {}", answer["error"].as_str().unwrap_or_default())
        );
    }
    let shown = server.run(&["incident", "timeline", "INC-9", "--format", "json"]);
    told(&shown, 5);
}

#[test]
fn a_missing_permission_is_told_as_json() {
    let home = Home::new(SMALL);
    let created = home.run(&["token", "create", "soar", "--role", "sender"]);
    assert!(created.status.success(), "{created:?}");
    let server = serving(&home, &[]);
    let answer = told(&server.run(&["status", "--json"]), 8);
    assert!(
        answer["hint"].as_str().is_some_and(|it| it.contains("STAUNCH_TOKEN")),
        "{answer}"
    );
    fs::write(home.path("token"), stdout(&created).trim()).expect("it is our directory");
    let token = home.path("token").display().to_string();
    told(
        &server.run(&["containment", "list", "--token-file", &token, "--json"]),
        8,
    );
}

#[test]
fn what_goes_wrong_without_a_server_is_told_as_json() {
    let nobody = staunch(&["status", "--json", "--url", "http://127.0.0.1:1"]).output();
    let answer = told(&nobody.expect("the binary starts"), 3);
    assert_eq!(answer["error"], "no Staunch answers at http://127.0.0.1:1");
    let because = answer["because"][0].as_str().unwrap_or_default();
    assert!(because.contains("refused"), "{answer}");
    assert!(answer.get("mistakes").is_none(), "{answer}");

    let home = Home::new("mode = \"observe\"\nmod = \"enforce\"\n[evidence]\nimmutable = false\n");
    for command in [
        &["token", "list", "--json"][..],
        &["journal", "verify", "--json"],
        &["check", "--json"],
        &["config", "show", "--json"],
    ] {
        let answer = told(&home.run(command), 2);
        let mistake = &answer["mistakes"][0];
        assert_eq!(
            (&mistake["line"], &mistake["column"]),
            (&3.into(), &1.into()),
            "{answer}"
        );
        assert_eq!(mistake["what"], "unknown key `mod`");
        assert_eq!(mistake["hint"], "did you mean `mode`?");
        assert!(
            mistake["file"].as_str().is_some_and(|it| it.ends_with("staunch.toml")),
            "{answer}"
        );
    }
    let shown = home.run(&["token", "list"]);
    assert!(stderr(&shown).contains("3 | mod = \"enforce\""), "{shown:?}");
}

#[test]
fn arguments_that_are_not_taken_are_told_as_json_by_commands_that_have_it() {
    let run = |arguments: &[&str]| staunch(arguments).output().expect("the binary starts");
    let answer = told(&run(&["status", "--json", "--nonsense"]), 2);
    assert_eq!(answer["error"], "unexpected argument '--nonsense' found");
    told(&run(&["incident", "show", "--json", "nonsense"]), 2);
    for plain in [&["demo", "--json"][..], &["status", "--nonsense"]] {
        let output = run(plain);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).starts_with("error: "), "{output:?}");
    }
    let help = run(&["status", "--json", "--help"]);
    assert!(help.status.success() && stdout(&help).contains("Usage:"), "{help:?}");
}

#[test]
fn stderr_is_json_alone_where_json_is_asked_for() {
    crate::harness::in_namespace("json_errors::alone", || {
        let home = Home::new(SMALL);
        fs::write(home.path("event"), crate::harness::exploit_from("203.0.113.9")).expect("it is our directory");
        fs::write(home.path("garbage"), "no event\n".repeat(40)).expect("it is our directory");
        fs::write(home.path("mistaken.toml"), "data_dir = \"data\"\nmod = \"observe\"\n").expect("it is our directory");
        fs::write(home.path("mistaken.yaml"), "playbook: mistaken\n").expect("it is our directory");
        let server = home.serve();
        server.take(&crate::harness::exploit_from("203.0.113.77"));
        crate::harness::wait_until("a block", || crate::harness::element("203.0.113.77").is_some());
        let path = |name: &str| home.path(name).display().to_string();
        let (event, garbage, mistaken) = (path("event"), path("garbage"), path("mistaken.toml"));
        let (broken, review, playbooks) = (path("mistaken.yaml"), path("review"), path("playbooks"));
        let mut warnings = 0;
        for arguments in [
            &["status"][..],
            &["status", "--config", &mistaken],
            &["incident", "list", "--limit", "1"],
            &["incident", "timeline", "INC-1"],
            &["incident", "graph", "INC-1"],
            &["containment", "list"],
            &["approve"],
            &["protect", "add", "203.0.113.76/31", "--reason", "ours", "--yes"],
            &["protect", "remove", "203.0.113.76/31", "--reason", "ours", "--yes"],
            &["plan", &event, "--local"],
            &["source", "test", &garbage, "--as", "suricata"],
            &["check", &broken],
            &["test", &playbooks],
            &["backtest", "--events", &event],
            &["backtest", "--events", &event, "--playbooks", &broken],
            &["token", "list"],
            &["evidence", "list"],
            &["review", "INC-1", "--output", &review],
            &["review", "check", &review],
            &["replay"],
            &["index", "status"],
            &["doctor"],
            &["release", "--all", "--reason", "ours", "--yes"],
            &["release", "--all", "--direct", "--yes"],
            &["status", "--url", "http://127.0.0.1:1"],
        ] {
            let output = home.run(&[arguments, &["--json"]].concat());
            for line in stderr(&output).lines() {
                let told: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {line}"));
                let is_error = told["error"].is_string();
                warnings += usize::from(told["warning"].is_string() || told["diagnostic"].is_object());
                assert!(
                    is_error || told["warning"].is_string() || told["diagnostic"].is_object(),
                    "{arguments:?}: {line}"
                );
            }
        }
        assert!(warnings >= 2, "of the mistaken configuration and playbook: {warnings}");
        // People are told more.
        let shown = home.run(&["release", "--all", "--direct", "--yes"]);
        assert!(stderr(&shown).contains("set `staunch mode observe`"), "{shown:?}");
        // Without a server it is gone around, and why is a warning, said once.
        drop(server);
        let around = home.run(&["release", "--all", "--yes"]);
        let said = stderr(&around);
        let counts = ["no Staunch answers", "does not answer"].map(|it| said.matches(it).count());
        assert_eq!(counts, [1, 0], "{said}");
        let around = home.run(&["release", "--all", "--yes", "--json"]);
        assert_eq!(around.status.code(), Some(10), "{around:?}");
        let answer: Value = serde_json::from_str(&stdout(&around)).expect("it is JSON");
        assert_eq!(answer["way"], "kernel");
        let said = stderr(&around);
        let warning: Value = serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(
            warning["warning"]
                .as_str()
                .is_some_and(|it| it.contains("no Staunch answers")),
            "{said}"
        );
    });
}

/// Who collects a log of JSON reads its lines as that, and the last one says why there are no more.
#[test]
fn a_log_of_json_ends_with_json() {
    let home = Home::new(&format!("{SMALL}[log]\nformat = \"json\"\n"));
    let _first = serving(&home, &["--allow-unauthenticated-loopback"]);
    let Err(second) = home.try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"]) else {
        panic!("two servers on one journal")
    };
    let said = stderr(&second);
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let last = lines.last().expect("it says something");
    assert_eq!(
        (&last["level"], &last["exit_code"]),
        (&"ERROR".into(), &7.into()),
        "{last}"
    );
    let message = last["message"].as_str().unwrap_or_default();
    assert!(message.contains("is in use by process"), "{last}");
    assert!(last["hint"].is_string(), "{last}");
    // Who asks for data is answered as everywhere, behind the log.
    let asked = home.run(&["run", "--json", "--source", "nosuch", "--listen", "127.0.0.1:0"]);
    let said = stderr(&asked);
    let last: Value = serde_json::from_str(said.lines().last().expect("it says something")).expect("it is JSON");
    assert!(last["error"].is_string() && last["exit_code"].is_u64(), "{said}");
    assert_eq!(
        last["exit_code"].as_i64(),
        asked.status.code().map(Into::into),
        "{said}"
    );
}
