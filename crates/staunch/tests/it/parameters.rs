//! Parameters of playbooks: every environment is checked, and the configuration says whose values hold.

use std::fs;
use std::process::Output;

use serde_json::Value;
use staunch_server::dto::Reloaded;

use crate::harness::{Home, Server, brute_force_from, stderr, stdout};

const PLAYBOOK: &str = "playbook: ssh\nsummary: Block who guesses passwords.\nparameters:\n  \
    lease: { default: 1h, staging: 10m }\n  what: Brute Force\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(parameter.what)\n  incident: event.source.ip\n  deduplicate: 1m\n\
    contain:\n  - block-ip: { target: event.source.ip, lease: \"${lease}\" }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

const BASE: &str = "[never_touch]\ndiscover = false\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n";

fn home(playbook: &str, config: &str) -> Home {
    let home = Home::new(&format!("{BASE}{config}"));
    home.playbook("ssh.yaml", playbook);
    home
}

/// What `check` says, and `file:line:column code` of each mistake, the file without its directory.
fn check(home: &Home) -> (Option<i32>, Value, Vec<String>) {
    let output = home.run(&["check", "--json"]);
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let place = |it: &Value| {
        let file = it["file"].as_str().expect("a file");
        let file = file.rsplit('/').next().unwrap_or(file);
        let code = it["code"].as_str().expect("a code");
        format!("{file}:{}:{} {code}", it["line"], it["column"])
    };
    let places = answer["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(place)
        .collect();
    (output.status.code(), answer, places)
}

fn values(answer: &Value) -> Vec<(String, String)> {
    let text = |it: &Value| it.as_str().expect("a text").to_owned();
    let parameters = answer["playbooks"][0]["parameters"].as_array().expect("a list");
    parameters
        .iter()
        .map(|it| (text(&it["value"]), text(&it["from"])))
        .collect()
}

#[test]
fn a_mistake_in_an_environment_that_is_not_chosen_is_found() {
    let wrong = PLAYBOOK.replace("staging: 10m", "staging: 10");
    for chosen in ["", "environment = \"production\"\n", "environment = \"staging\"\n"] {
        let home = home(&wrong, chosen);
        let (code, _, places) = check(&home);
        assert_eq!(
            (code, places),
            (Some(2), vec!["ssh.yaml:4:34 P016".to_owned()]),
            "{chosen}"
        );
        let said = stderr(&home.run(&["check"]));
        assert!(said.contains("(in the environment `staging`)"), "{said}");
        let said = stderr(&home.run(&["serve", "--driver", "memory"]));
        assert!(said.contains("P016"), "{said}");
    }
}

#[test]
fn check_and_config_show_tell_what_holds() {
    let home = home(PLAYBOOK, "");
    let told = |home: &Home| {
        let (code, answer, places) = check(home);
        assert_eq!((code, places.len()), (Some(0), 0), "{answer}");
        (values(&answer), answer["playbooks"][0]["hash"].clone())
    };
    let value = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let (values, defaults) = told(&home);
    let what = value("Brute Force", "the default");
    assert_eq!(values, [value("1h", "the default"), what]);

    home.configure(&format!(
        "{BASE}environment = \"staging\"\n[playbooks.parameters.ssh]\nwhat = 7\n"
    ));
    let (values, hash) = told(&home);
    assert_eq!(
        values,
        [value("10m", "environment staging"), value("7", "the configuration")]
    );
    assert_ne!(hash, defaults);
    let said = stdout(&home.run(&["check"]));
    assert!(said.contains("  lease = 10m (environment staging)\n"), "{said}");
    let said = stdout(&home.run(&["config", "show"]));
    assert!(said.contains("environment = \"staging\""), "{said}");
    assert!(said.contains("[playbooks.parameters.ssh]\nwhat = \"7\""), "{said}");
}

#[test]
fn values_for_what_is_not_there_are_mistakes_of_the_configuration() {
    for (config, places) in [
        ("[playbooks.parameters.ssh]\nleese = \"1h\"\n", "staunch.toml:8:9 P083"),
        ("[playbooks.parameters.shh]\nlease = \"1h\"\n", "staunch.toml:7:1 P083"),
        // It is used with this value, and its place in the playbook is where it is used.
        ("[playbooks.parameters.ssh]\nlease = \"30h\"\n", "ssh.yaml:12:49 P021"),
    ] {
        let home = home(PLAYBOOK, config);
        let (code, answer, found) = check(&home);
        assert_eq!((code, found), (Some(2), vec![places.to_owned()]), "{answer}");
        assert_eq!(
            home.run(&["serve", "--driver", "memory"]).status.code(),
            Some(2),
            "{config}"
        );
    }
    let strange = home(PLAYBOOK, "environment = \"stagign\"\n");
    let (code, answer, found) = check(&strange);
    assert_eq!(
        (code, found),
        (Some(0), vec!["staunch.toml:7:15 P084".to_owned()]),
        "{answer}"
    );
    let said = stderr(&strange.run(&["check"]));
    assert!(
        said.contains("environment = \"stagign\"") && said.contains("did you mean `staging`?"),
        "{said}"
    );

    for wrong in [
        "environment = \"default\"\n",
        "environment = \"Not One\"\n",
        "[playbooks.parameters.ssh]\nlease = [\"1h\"]\n",
        "[playbooks.parameters.ssh]\nlease = \"1\\u0000h\"\n",
    ] {
        assert_eq!(home(PLAYBOOK, wrong).run(&["check"]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_reload_takes_new_values() {
    let home = home(PLAYBOOK, "");
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let event = home.path("event.json");
    fs::write(&event, brute_force_from("203.0.113.7")).expect("it is our directory");
    let plan = |server: &Server| server.ok(&["plan", &event.display().to_string()]);
    let said = plan(&server);
    assert!(said.contains("block-ip 203.0.113.7 for 1h"), "{said}");
    assert!(said.contains("lease = 1h (the default)"), "{said}");

    home.configure(&format!("{BASE}environment = \"staging\"\n"));
    let reloaded: Reloaded = server.json(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(reloaded.at_next_start, [] as [&str; 0], "{reloaded:?}");
    let said = plan(&server);
    assert!(said.contains("block-ip 203.0.113.7 for 10m"), "{said}");
    assert!(said.contains("lease = 10m (environment staging)"), "{said}");

    home.configure(&format!(
        "{BASE}[playbooks.parameters.ssh]\nwhat = \"Something Else\"\n"
    ));
    server.json::<Reloaded>(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(server.take(&brute_force_from("203.0.113.8")).matched, 0);

    // What is mistaken changes nothing.
    home.configure(&format!("{BASE}[playbooks.parameters.ssh]\nwhere = \"here\"\n"));
    let refused = server.run(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(stderr(&refused).contains("staunch.toml:8:9: [P083]"), "{refused:?}");
    assert_eq!(server.take(&brute_force_from("203.0.113.8")).matched, 0);
}

#[test]
fn tests_choose_an_environment() {
    // What the configuration says never counts.
    let home = home(
        PLAYBOOK,
        "environment = \"staging\"\n[playbooks.parameters.ssh]\nwhat = \"Something Else\"\n",
    );
    let test = |environment: &str, minutes: u32| -> Output {
        let event = brute_force_from("203.0.113.7");
        let text = format!(
            "{environment}tests:\n  - name: the lease ends\n    events: [{{ at: 0s, source: suricata, json: '{}' }}]\n    \
             expect:\n      - {{ at: {}m, state: {{ 203.0.113.7: in-force }} }}\n      - {{ at: {}m, state: {{ 203.0.113.7: \
             released }} }}\n",
            event.trim().replace('\'', "''"),
            minutes - 1,
            minutes + 1,
        );
        home.playbook("ssh.test.yaml", &text);
        home.run(&["test", "--json"])
    };
    for (environment, minutes, passes) in [
        ("", 60, true),
        ("", 10, false),
        ("environment: staging\n", 10, true),
        ("environment: staging\n", 60, false),
    ] {
        let output = test(environment, minutes);
        let code = if passes { 0 } else { 13 };
        assert_eq!(
            output.status.code(),
            Some(code),
            "{environment}{minutes}: {}",
            stderr(&output)
        );
    }
    let output = test("environment: staging\n", 10);
    let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(report["files"][0]["parameters"][0]["from"], "environment staging");
    let output = test("environment: stagign\n", 10);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("P061"), "{}", stderr(&output));
}
