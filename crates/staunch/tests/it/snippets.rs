//! Snippets beside playbooks: found by every command, read again by a reload, and covered by signatures.

use std::fs;

use serde_json::Value;
use staunch_server::dto::Reloaded;

use crate::harness::{Home, Server, brute_force_from, staunch, stderr, stdout};

const PLAYBOOK: &str = "playbook: ssh\nsummary: Block who guesses passwords.\nparameters:\n  \
    lease: { default: 1h, staging: 10m }\ntrigger:\n  sources: [suricata]\n  when: condition.guessing\n  \
    incident: event.source.ip\n  deduplicate: 1m\ncontain:\n  - use: block-source\nmode: { use: by-day }\n";

const SNIPPETS: &str = "conditions:\n  guessing: event.signature.contains(\"Brute Force\")\nblocks:\n  block-source:\n    \
    block-ip: { target: event.source.ip, lease: '${lease}' }\n  by-day: { low: enforce, medium: approve }\n";

const BASE: &str = "[never_touch]\ndiscover = false\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n";

fn home(snippets: &str) -> Home {
    let home = Home::new(BASE);
    home.playbook("ssh.yaml", PLAYBOOK);
    home.playbook("snippets.yaml", snippets);
    home
}

fn answer(home: &Home, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = home.run(arguments);
    let answer = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (output.status.code(), answer)
}

/// What `check` exits with, and `file:line:column code` of each diagnostic, the file without its directory.
fn check(home: &Home, paths: &[&str]) -> (Option<i32>, Vec<String>) {
    let (code, answer) = answer(home, &[&["check", "--json"][..], paths].concat());
    let place = |it: &Value| {
        let file = it["file"].as_str().expect("a file");
        let file = file.rsplit('/').next().unwrap_or(file);
        let code = it["code"].as_str().expect("a code");
        format!("{file}:{}:{} {code}", it["line"], it["column"])
    };
    let diagnostics = answer["diagnostics"].as_array().expect("a list");
    (code, diagnostics.iter().map(place).collect())
}

#[test]
fn they_are_found_beside_playbooks() {
    let home = home(SNIPPETS);
    let path = |name: &str| home.path("playbooks").join(name).display().to_string();
    let (dir, ssh, snippets) = (path(""), path("ssh.yaml"), path("snippets.yaml"));
    let (dir, ssh, snippets) = (dir.as_str(), ssh.as_str(), snippets.as_str());
    for paths in [&[][..], &[dir], &[ssh], &[ssh, snippets], &[snippets]] {
        assert_eq!(check(&home, paths), (Some(0), Vec::new()), "{paths:?}");
    }
    let said = home.run(&["check"]);
    assert!(
        stdout(&said).contains("  snippets: condition guessing, block block-source, block by-day\n"),
        "{said:?}"
    );
    assert!(stderr(&said).contains("2 files, 0 errors, 0 warnings"), "{said:?}");

    // What nothing uses is told where the whole directory is looked at.
    home.playbook("snippets.yaml", &format!("{SNIPPETS}  more: 1\n"));
    let unused = vec!["snippets.yaml:7:3 P086".to_owned()];
    assert_eq!(check(&home, &[]), (Some(0), unused.clone()));
    assert_eq!(check(&home, &[dir]), (Some(0), unused));
    assert_eq!(check(&home, &[ssh]), (Some(0), Vec::new()));
    let other = PLAYBOOK.replace("playbook: ssh", "playbook: other");
    home.playbook(
        "other.yaml",
        &other.replace("{ use: by-day }", "{ low: { use: more } }"),
    );
    assert_eq!(check(&home, &[]), (Some(2), vec!["snippets.yaml:7:9 P013".to_owned()]));
    home.playbook("other.yaml", &other);

    // A mistake is shown with the lines of its own file, once for both playbooks.
    home.playbook(
        "snippets.yaml",
        &SNIPPETS.replace("event.source.ip", "event.source.ipp"),
    );
    assert_eq!(check(&home, &[]), (Some(2), vec!["snippets.yaml:5:31 P043".to_owned()]));
    let said = stderr(&home.run(&["check"]));
    assert!(
        said.contains("snippets.yaml:5:31") && said.contains("event.source.ipp"),
        "{said}"
    );
    assert!(said.contains("other.yaml:11:10)"), "{said}");
    home.playbook("snippets.yaml", "conditions: [");
    assert_eq!(check(&home, &[]), (Some(2), vec!["snippets.yaml:1:14 P001".to_owned()]));
    assert_eq!(
        check(&home, &[snippets]),
        (Some(2), vec!["snippets.yaml:1:14 P001".to_owned()])
    );
    for name in ["ssh.yaml", "other.yaml"] {
        fs::remove_file(path(name)).expect("it is there");
    }
    assert_eq!(check(&home, &[]), (Some(2), vec!["snippets.yaml:1:14 P001".to_owned()]));
    let serve = home.run(&["serve", "--driver", "memory"]);
    assert_eq!(serve.status.code(), Some(2), "{serve:?}");

    // Something of that name that cannot be read is not as if it were not there.
    fs::remove_file(snippets).expect("it is there");
    fs::create_dir(snippets).expect("it is our directory");
    home.playbook("ssh.yaml", PLAYBOOK);
    assert_eq!(home.run(&["check"]).status.code(), Some(2));
    fs::remove_dir(snippets).expect("it is there");
    let (code, places) = check(&home, &[]);
    assert_eq!((code, places.len()), (Some(2), 3), "{places:?}");
    assert!(
        places
            .iter()
            .all(|it| it.starts_with("ssh.yaml:") && it.ends_with("P085")),
        "{places:?}"
    );
}

#[test]
fn tests_plans_and_backtests_use_them() {
    let home = home(SNIPPETS);
    let event = brute_force_from("203.0.113.7");
    let tests = format!(
        "tests:\n  - name: it is blocked for an hour\n    events: [{{ at: 0s, source: suricata, json: '{}' }}]\n    \
         expect:\n      - {{ at: 59m, state: {{ 203.0.113.7: in-force }} }}\n      - {{ at: 61m, state: {{ 203.0.113.7: released }} }}\n",
        event.trim().replace('\'', "''"),
    );
    home.playbook("ssh.test.yaml", &tests);
    let path = |name: &str| home.path("playbooks").join(name).display().to_string();
    let (dir, ssh, snippets) = (path(""), path("ssh.yaml"), path("snippets.yaml"));
    let (dir, ssh, snippets) = (dir.as_str(), ssh.as_str(), snippets.as_str());
    for paths in [&[][..], &[dir], &[ssh], &[ssh, snippets]] {
        let (code, report) = answer(&home, &[&["test", "--json"][..], paths].concat());
        assert_eq!(
            (code, report["files"].as_array().map(Vec::len)),
            (Some(0), Some(1)),
            "{report}"
        );
    }
    let file = home.path("event.json");
    fs::write(&file, &event).expect("it is our directory");
    let file = file.display().to_string();
    let said = stdout(&home.run(&["plan", "--local", &file]));
    assert!(said.contains("block-ip 203.0.113.7 for 1h"), "{said}");
    let said = stdout(&home.run(&["source", "test", "--as", "suricata", &file]));
    assert!(said.contains("event.signature.contains(\"Brute Force\")\n"), "{said}");
    for arguments in [
        &["backtest", "--events", &file][..],
        &["backtest", "--playbooks", dir, "--events", &file],
    ] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("203.0.113.7"), "{output:?}");
    }
    let shown = stdout(&home.run(&["playbook", "show", ssh]));
    assert!(
        shown.contains("\n  when: '(event.signature.contains(\"Brute Force\"))'\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n  - block-ip:\n      target: event.source.ip\n"),
        "{shown}"
    );
    assert_eq!(home.run(&["playbook", "show", snippets]).status.code(), Some(5));
    let (code, schema) = answer(&home, &["schema", "snippets"]);
    assert_eq!((code, &schema["title"]), (Some(0), &"Staunch snippets".into()));
}

/// The journal keeps the whole: a release by the lease of a playbook whose snippets are gone needs no file.
#[test]
fn a_reload_reads_them_again_and_the_journal_needs_none() {
    let home = home(SNIPPETS);
    let arguments = ["--driver", "memory", "--allow-unauthenticated-loopback"];
    let server = home
        .try_serve(&arguments)
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let event = home.path("event.json");
    fs::write(&event, brute_force_from("203.0.113.7")).expect("it is our directory");
    let plan = |server: &Server| server.ok(&["plan", &event.display().to_string()]);
    assert!(plan(&server).contains("block-ip 203.0.113.7 for 1h"));
    assert_eq!(server.take(&brute_force_from("203.0.113.7")).matched, 1);

    home.playbook("snippets.yaml", &SNIPPETS.replace("'${lease}'", "20m"));
    let refused = server.run(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(refused.status.code(), Some(0), "{refused:?}");
    assert!(plan(&server).contains("block-ip 203.0.113.7 for 20m"));

    // What is mistaken changes nothing.
    home.playbook("snippets.yaml", &SNIPPETS.replace("guessing:", "gessing:"));
    let refused = server.run(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(stderr(&refused).contains("ssh.yaml:7:19: [P085]"), "{refused:?}");
    assert!(plan(&server).contains("block-ip 203.0.113.7 for 20m"));
    home.playbook("snippets.yaml", SNIPPETS);
    server.json::<Reloaded>(&["reload", "--yes", "--reason", "a trial"]);
    drop(server);

    // The incident of the first playbook is there after a start with neither.
    fs::remove_file(home.path("playbooks/snippets.yaml")).expect("it is there");
    fs::remove_file(home.path("playbooks/ssh.yaml")).expect("it is there");
    home.configure(&BASE.replace("built_in = false", "built_in = true"));
    let replayed = home.run(&["replay", "--verify"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    let server = home
        .try_serve(&arguments)
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let shown = server.ok(&["incident", "show", "INC-1"]);
    assert!(shown.contains("ssh") && shown.contains("203.0.113.7"), "{shown}");
}

#[test]
fn signatures_cover_what_they_contribute() {
    let home = home(SNIPPETS);
    let key = home.path("alice.key").display().to_string();
    let made = staunch(&["playbook", "keygen", "--key", &key, "--name", "alice"])
        .output()
        .expect("it starts");
    let verifier = String::from_utf8(made.stdout).expect("UTF-8");
    home.configure(&format!(
        "{BASE}require_signature = true\ntrusted_keys = [\"{}\"]\n",
        verifier.trim()
    ));
    let dir = home.path("playbooks").display().to_string();
    let sign = || {
        let output = home.run(&["playbook", "sign", "--key", &key, &dir]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let verify = || answer(&home, &["playbook", "verify", "--json"]).1["proved"].clone();
    assert_eq!(check(&home, &[]), (Some(2), vec!["ssh.yaml:1:1 P070".to_owned()]));
    assert_eq!(verify(), false);
    let said = sign();
    assert!(
        said.contains("ssh.yaml.sig") && !said.contains("snippets.yaml"),
        "{said}"
    );
    assert_eq!(check(&home, &[]), (Some(0), Vec::new()));
    assert_eq!(verify(), true);

    // Whoever can write the file cannot change the playbook: neither a condition, nor a block, nor by taking a name.
    let wrong = vec!["ssh.yaml:1:1 P071".to_owned()];
    for (from, to) in [
        ("Brute Force", "o"),
        ("low: enforce", "low: enforce, high: enforce"),
        ("event.source.ip", "event.destination.ip"),
        (
            "guessing: event",
            "guessing: condition.other || event.host == 'x'\n  other: event",
        ),
    ] {
        home.playbook("snippets.yaml", &SNIPPETS.replace(from, to));
        assert_eq!(check(&home, &[]), (Some(2), wrong.clone()), "{from} -> {to}");
        assert_eq!(verify(), false, "{from} -> {to}");
        let said = stderr(&home.run(&["check"]));
        assert!(
            said.contains("a snippet that it uses was changed after it was signed"),
            "{said}"
        );
        let serve = home.run(&["serve", "--driver", "memory"]);
        assert_eq!(serve.status.code(), Some(2), "{serve:?}");
    }
    // What changes nothing needs no signature.
    home.playbook("snippets.yaml", &format!("# A comment.\n{SNIPPETS}  more: 1\n"));
    assert_eq!(check(&home, &[]), (Some(0), vec!["snippets.yaml:8:3 P086".to_owned()]));
    assert_eq!(verify(), true);
    // A mistake in the file leaves nothing proved, and nothing usable.
    home.playbook("snippets.yaml", &SNIPPETS.replace("guessing:", "Guessing:"));
    assert_eq!(check(&home, &[]).0, Some(2));
    assert_eq!(verify(), false);

    home.playbook("snippets.yaml", &SNIPPETS.replace("Brute Force", "o"));
    sign();
    assert_eq!(check(&home, &[]), (Some(0), Vec::new()));
    home.playbook("snippets.yaml", SNIPPETS);
    assert_eq!(check(&home, &[]), (Some(2), wrong));
}
