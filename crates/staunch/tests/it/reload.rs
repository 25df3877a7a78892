//! A running server is told to read its configuration again.

use std::fs;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use staunch_server::dto::{Commands, Mistake, Protections, Reloaded, Status};

use crate::harness::{Home, Server, brute_force_from, stderr, wait_until};

const PLAYBOOK: &str = "playbook: short\nsummary: Block for a moment.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 1m\n\
    context: [never-touch]\ncontain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

const BASE: &str = "[log]\nformat = \"json\"\n[journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\n\
    [playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[never_touch]\ndiscover = false\n";

fn start() -> (Home, Server) {
    let home = Home::new(BASE);
    home.playbook("short.yaml", PLAYBOOK);
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    (home, server)
}

/// What the log says, each line of which must be JSON.
fn log(home: &Home) -> Vec<Value> {
    let lines = home.log();
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: not JSON: {line}"));
    lines.lines().map(read).collect()
}

/// What operators asked for, newest first, once the index has `count` of it.
fn commands(server: &Server, count: usize) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    wait_until("the record", || {
        found = server.get::<Commands>("/v1/commands").commands;
        found.len() == count
    });
    let told = found.into_iter().map(|it| {
        assert_eq!(&*it.by, "loopback", "{it:?}");
        assert!(it.from.starts_with("127.0.0.1:"), "{it:?}");
        (it.reason, it.refused)
    });
    told.collect()
}

fn reload(server: &Server, reason: &str) -> Reloaded {
    server.json(&["reload", "--yes", "--reason", reason])
}

#[test]
fn a_reload_by_command_is_recorded_and_says_what_was_read() {
    let (home, server) = start();
    home.playbook("short.yaml", &PLAYBOOK.replace("Brute Force", "Another Thing"));
    fs::write(home.path("partner.txt"), "203.0.113.0/24\n198.51.100.0/24\n").expect("it is our directory");
    let list = "[[never_touch.files]]\npath = \"partner.txt\"\nreason = \"a partner\"\n";
    let network = "[[never_touch.networks]]\nnetwork = \"192.0.2.0/24\"\nreason = \"ours\"\n";
    let later = "[http]\nconnections_max = 99\n";
    home.configure(&format!("{BASE}{list}{network}{later}"));
    let reloaded = reload(&server, "a new partner");
    assert_eq!((reloaded.playbooks, reloaded.listed), (1, 2), "{reloaded:?}");
    assert!(reloaded.protected >= 1 && reloaded.refused.is_empty(), "{reloaded:?}");
    assert_eq!(reloaded.at_next_start, ["http.connections_max"]);
    let protections = server.get::<Protections>("/v1/protections").protections;
    assert!(protections.iter().any(|it| it.reason == "ours"), "{protections:?}");
    assert_eq!(
        server.take(&brute_force_from("203.0.113.10")).matched,
        0,
        "the new one is in force"
    );
    assert_eq!(commands(&server, 1), [("a new partner".to_owned(), None)]);

    // A list that cannot be used is told, and what it said stays; everything else is read.
    fs::write(home.path("partner.txt"), "203.0.113.0/24\nnobody\n").expect("it is our directory");
    home.playbook("short.yaml", PLAYBOOK);
    let reloaded = reload(&server, "a trial");
    let refused = &reloaded.refused[0].what;
    assert!(refused.contains("partner.txt, line 2"), "{reloaded:?}");
    assert_eq!(reloaded.listed, 2, "{reloaded:?}");
    assert_eq!(server.take(&brute_force_from("192.0.2.10")).matched, 1);
}

#[test]
fn a_reload_with_mistakes_names_them_and_changes_nothing() {
    let (home, server) = start();
    home.playbook("short.yaml", &PLAYBOOK.replace("lease: 1h", "leese: 1h"));
    let refused = server.run(&["reload", "--yes", "--reason", "a typo"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = stderr(&refused);
    assert!(said.contains("short.yaml:10:42: [P"), "{said}");
    assert!(said.contains("did you mean `lease`?"), "{said}");
    assert!(said.contains("what was read before stays in force"), "{said}");
    let found = commands(&server, 1);
    let why = found[0].1.as_deref().unwrap_or_default();
    assert!(found[0].0 == "a typo" && why.contains("mistake"), "{found:?}");
    assert_eq!(
        server.take(&brute_force_from("203.0.113.9")).matched,
        1,
        "the old one is in force"
    );

    home.playbook("short.yaml", PLAYBOOK);
    home.configure(&format!("{BASE}[risk]\nbadd = 1\n"));
    let answer = server.run(&["reload", "--yes", "--reason", "a trial"]);
    assert_eq!(answer.status.code(), Some(2), "{answer:?}");
    assert!(stderr(&answer).contains("staunch.toml:13:1: "), "{answer:?}");
    assert_eq!(server.get::<Status>("/v1/status").playbooks, ["short"]);

    // Each mistake is a line of the log with fields, and nothing else is in it.
    let lines = log(&home);
    let mistakes: Vec<Mistake> = lines
        .iter()
        .filter(|it| it["message"] == "a mistake in what was to be read again")
        .map(|it| serde_json::from_value(it.clone()).expect("its fields"))
        .collect();
    let file = |at: usize| mistakes[at].file.clone().unwrap_or_default();
    assert!(file(0).ends_with("playbooks/short.yaml"), "{mistakes:?}");
    assert!(
        mistakes[0].code.as_deref().is_some_and(|it| it.starts_with('P')),
        "{mistakes:?}"
    );
    let last = mistakes.len() - 1;
    assert!(file(last).ends_with("staunch.toml"), "{mistakes:?}");
    assert_eq!((mistakes[last].line, mistakes[last].column), (Some(13), Some(1)));
}

#[test]
fn what_a_playbook_finds_with_the_next_start_only_is_told_as_that() {
    let (home, server) = start();
    let watched = "lease: 1h, watch: { health: shop, for: 1m }";
    home.playbook("short.yaml", &PLAYBOOK.replace("lease: 1h", watched));
    let said = || {
        let refused = server.run(&["reload", "--yes", "--reason", "a watch"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        stderr(&refused)
    };
    // As long as it is nowhere, it has to be added.
    let told = said();
    assert!(told.contains("[P096] there is no health signal `shop`"), "{told}");
    assert!(told.contains("add [health.shop]"), "{told}");
    home.configure(&format!("{BASE}[health.shop]\nurl = \"http://127.0.0.1:9/health\"\n"));
    let checked = home.run(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
    let told = said();
    assert!(
        told.contains("[P096] by what the server was started with, there is no health signal `shop`"),
        "{told}"
    );
    assert!(
        told.contains("health.shop takes effect with the next start only") && !told.contains("add [health.shop]"),
        "{told}"
    );
}

#[test]
fn a_signal_does_the_same_and_its_mistakes_are_fields() {
    let (home, server) = start();
    home.playbook("short.yaml", &PLAYBOOK.replace("lease: 1h", "leese: 1h"));
    server.signal(Signal::SIGHUP);
    wait_until("the refusal", || home.log().contains("the earlier one stays in force"));
    let lines = log(&home);
    let is_mistake = |it: &&Value| it["code"].is_string() && it["line"] == 10 && it["level"] == "ERROR";
    assert!(lines.iter().any(|it| is_mistake(&it)), "{lines:?}");
    home.playbook("short.yaml", PLAYBOOK);
    server.signal(Signal::SIGHUP);
    wait_until("the new playbook", || home.log().contains("were read again"));
    let mut recorded = Vec::new();
    wait_until("the record", || {
        recorded = server.get::<Commands>("/v1/commands").commands;
        recorded.len() == 2
    });
    assert!(recorded.iter().all(|it| &*it.from == "SIGHUP"), "{recorded:?}");
    let mistakes = recorded.iter().filter(|it| it.refused.is_some()).count();
    assert_eq!(mistakes, 1, "{recorded:?}");
}

/// Who changes a key that only a start takes up must not believe that it is in force.
#[test]
fn keys_that_need_a_start_are_told_after_a_signal_and_until_it() {
    let (home, server) = start();
    let doctor = || {
        let output = home.run(&["doctor", "--json"]);
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let of_check = found
            .into_iter()
            .filter(|it| it["check"] == "configuration" && it["health"] != "ok");
        of_check
            .map(|it| it["found"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(doctor(), [] as [&str; 0], "all of it is in force");
    assert_eq!(server.get::<Status>("/v1/status").at_next_start, [] as [&str; 0]);

    let changed = BASE.replace("format = \"json\"", "format = \"json\"\nlevel = \"debug\"");
    home.configure(&format!("mode = \"observe\"\n{changed}[http]\nconnections_max = 99\n"));
    let found = doctor();
    assert!(
        found.len() == 1 && found[0].contains("after the running server has read it"),
        "{found:?}"
    );
    server.signal(Signal::SIGHUP);
    let keys = ["http.connections_max", "log.level"];
    wait_until("the keys", || server.get::<Status>("/v1/status").at_next_start == keys);
    let told = log(&home);
    let line = told.iter().find(|it| it["keys"].is_string()).expect("it is in the log");
    assert_eq!(
        (&line["level"], &line["keys"]),
        (&"WARN".into(), &keys.join(", ").into()),
        "{line}"
    );
    let found = doctor();
    assert!(
        found.len() == 1 && found[0].contains("other values of http.connections_max, log.level"),
        "{found:?}"
    );
    // A time that is still to come, as a copy from another machine may have, says nothing of when it was changed.
    let file = fs::File::open(home.path("staunch.toml")).expect("it is ours");
    let later = SystemTime::now() + Duration::from_secs(3_600);
    file.set_modified(later).expect("it is ours");
    assert_eq!(doctor(), found);
    let shown = server.ok(&["status"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains(
            "changed from the next start on, as the file was when it was last read: http.connections_max, log.level"
        ),
        "{shown}"
    );
    // What is as it was is not told, nor may it be so any more before it was read.
    home.configure(BASE);
    let found = doctor();
    assert!(
        found.len() == 1 && found[0].contains("after the running server has read it"),
        "{found:?}"
    );
    assert_eq!(reload(&server, "back").at_next_start, [] as [&str; 0]);
    assert_eq!(doctor(), [] as [&str; 0]);
}
