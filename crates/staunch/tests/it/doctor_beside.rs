//! `staunch doctor` beside a server that may do other things than who runs it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use serde_json::Value;

use crate::doctor::finds;
use crate::harness::{Home, SMALL, STAUNCH, in_namespace, staunch_with_less, wait_until};

/// What `command` says of each check: its health and its words.
fn told_by(mut command: Command, home: &Home) -> Vec<Value> {
    let output = command
        .args(["doctor", "--json", "--config"])
        .arg(home.config())
        .output();
    let output = output.expect("it starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[track_caller]
fn holds(found: &[Value], check: &str, health: &str, text: &str) {
    let is_so = |it: &&Value| {
        it["check"] == check && it["health"] == health && it["found"].as_str().is_some_and(|it| it.contains(text))
    };
    assert!(
        found.iter().any(|it| is_so(&it)),
        "{check}: {health}: {text}: {found:#?}"
    );
}

/// Root reads every file. The server that may not read one says so, and doctor says it after it.
#[test]
fn a_file_that_the_running_server_may_not_read_is_a_problem_also_for_root() {
    const TEST: &str = "doctor_beside::file";
    const LESS: [&str; 4] = [
        "--bounding-set",
        "-dac_override,-dac_read_search",
        "--inh-caps",
        "-dac_override,-dac_read_search",
    ];
    let Some(command) = staunch_with_less(TEST, &LESS) else {
        return;
    };
    in_namespace(TEST, move || {
        let home = Home::new(&format!("{SMALL}[[sources.files]]\npath = \"eve.json\"\n"));
        let followed = home.path("eve.json");
        fs::write(&followed, "").expect("it is our directory");
        chown(&followed, Some(65534), Some(65534)).expect("this is root");
        fs::set_permissions(&followed, fs::Permissions::from_mode(0o600)).expect("this is root");
        finds(&home, "followed file", "ok", "can be read by this user");
        let server = home.try_serve_by(command, &["--allow-unauthenticated-loopback"]);
        let server = server.unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
        wait_until("the inlet to fail", || server.ok(&["status"]).contains("FAILS"));
        finds(&home, "followed file", "problem", "the running server cannot read it");
        let shown = server.ok(&["status"]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("(os error 13)"), "{shown}");
        assert!(shown.contains("`SupplementaryGroups=adm` under [Service]"), "{shown}");
        let doctor = home.run(&["doctor"]);
        let shown = String::from_utf8_lossy(&doctor.stdout);
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("`SupplementaryGroups=adm` under [Service]"), "{shown}");

        fs::set_permissions(&followed, fs::Permissions::from_mode(0o644)).expect("this is root");
        wait_until("it to be read", || !server.ok(&["status"]).contains("FAILS"));
        finds(&home, "followed file", "ok", "is followed by the running server");
    });
}

/// A user who may see less than the server that runs finds no fault with the server for it.
#[test]
fn what_a_user_may_not_see_of_a_running_server_is_unknown() {
    const TEST: &str = "doctor_beside::unknown";
    const STRANGER: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    const LESS: [&str; 4] = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    let Some(powerless) = staunch_with_less(TEST, &LESS) else {
        return;
    };
    in_namespace(TEST, move || {
        let home = Home::new(&format!("{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n"));
        let token = home.run(&["token", "create", "alice", "--role", "operator"]);
        assert!(token.status.success(), "{token:?}");
        let server = home.try_serve(&["--listen", "127.0.0.1:7450"]);
        let server = server.unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
        let sender = home.run(&["token", "create", "sensor", "--role", "sender"]);
        assert!(sender.status.success(), "{sender:?}");

        // The user of the server, without its capability.
        let found = told_by(powerless, &home);
        holds(&found, "firewall", "unknown", "it says that it has 0 in force there");
        holds(&found, "address", "ok", "with a server behind it");
        assert!(found.iter().all(|it| it["health"] != "problem"), "{found:#?}");

        // Whoever may not enter its directory, as outside of a service with a user of its own.
        fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let program = home.path("staunch");
        fs::copy(STAUNCH, &program).expect("there is room");
        let mut stranger = Command::new("setpriv");
        stranger
            .args(STRANGER)
            .arg(&program)
            .env_remove("STAUNCH_TOKEN")
            .env_remove("STAUNCH_URL");
        let found = told_by(stranger, &home);
        holds(
            &found,
            "data directory",
            "unknown",
            "not known from here, and a server runs",
        );
        holds(&found, "address", "ok", "with a server behind it");
        holds(&found, "server", "unknown", "does not tell this user how it is");
        assert!(found.iter().all(|it| it["health"] != "problem"), "{found:#?}");
        drop(server);
    });
}
