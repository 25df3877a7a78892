//! `staunch review`: the folder that is made of a real incident, and what its tests find.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Home, SMALL, brute_force_from, stderr, stdout, wait_until};

/// Blocks without asking for the share of traffic, so that nobody has to be asked.
const BLOCK: &str = "playbook: block\nsummary: Block whoever guesses passwords.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 10m\n\
    contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

/// Words that would be markup, structure of YAML or a command to a terminal if they were let.
const HOSTILE: &str =
    "Brute Force\n# x\n  - a: b <script>alert(1)</script> \"q\" * ? \\ [x](http://e) \u{1b}[31m\u{2028}%d";

fn hostile_from(address: &str) -> String {
    let mut event: Value = serde_json::from_str(&brute_force_from(address)).expect("it is JSON");
    event["alert"]["signature"] = HOSTILE.into();
    event.to_string()
}

/// A home with three incidents: one of two events, blocked and released; one refused; one of hostile words.
fn lived_in() -> Home {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[[never_touch.networks]]\n\
         network = \"198.51.100.7\"\nreason = \"the office\"\n"
    ));
    home.playbook("block.yaml", BLOCK);
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.take(&brute_force_from("203.0.113.1"));
    wait_until("the containment", || {
        server.containments().iter().any(|it| it.lease_until.is_some())
    });
    server.take(&brute_force_from("203.0.113.1"));
    server.ok(&["release", "TX-1", "--yes", "--reason", "<b>ours</b>"]);
    wait_until("the release", || server.containments().is_empty());
    server.take(&brute_force_from("198.51.100.7"));
    wait_until("the refusal", || {
        server
            .run(&["incident", "show", "INC-2"])
            .stdout
            .windows(7)
            .any(|it| it == b"refused")
    });
    server.take(&hostile_from("203.0.113.3"));
    wait_until("the last containment", || server.containments().len() == 1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    home
}

/// Writes the review of `id` and gives back what the command said.
fn review(home: &Home, id: &str, more: &[&str]) -> (String, Value) {
    let dir = home.path(&format!("review-{id}")).display().to_string();
    let arguments = [&["review", id, "--output", &dir, "--json"], more].concat();
    let output = home.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (dir, serde_json::from_slice(&output.stdout).expect("it is JSON"))
}

fn check(home: &Home, dir: &str, more: &[&str]) -> (Option<i32>, Value) {
    let output = home.run(&[&["review", "check", dir, "--json"], more].concat());
    let answer = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        answer.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))),
    )
}

fn text(dir: &str, name: &str) -> String {
    fs::read_to_string(Path::new(dir).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_review_holds_what_is_recorded_and_its_tests_fail_when_the_playbook_changes() {
    let home = lived_in();
    let (dir, said) = review(&home, "INC-1", &[]);
    assert!(said["expectations"].as_u64() >= Some(3), "{said}");
    for name in said["files"].as_array().expect("a list") {
        let path = Path::new(&dir).join(name.as_str().expect("a name"));
        let mode = fs::metadata(&path).expect("it was written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mode = fs::metadata(&dir).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let report = text(&dir, "report.md");
    assert!(
        report.contains("203.0.113.1") && report.contains("## What was hard"),
        "{report}"
    );
    assert!(
        report.contains("## What people decided") && report.contains("\\<b>ours"),
        "{report}"
    );
    assert!(!text(&dir, "report.html").contains("<b>ours"));
    let test = text(&dir, "tests/block.review-INC-1.test.yaml");
    assert!(test.contains("in-force") && test.contains("joined: 1"), "{test}");
    assert!(test.contains("operator: \"release 203.0.113.1\""), "{test}");

    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(0), "{answer}");
    assert_eq!(answer["checks"].as_array().map(Vec::len), Some(3), "{answer}");

    // What is gone cannot fail: it is named instead.
    let test = Path::new(&dir).join("tests/block.review-INC-1.test.yaml");
    let kept = fs::read(&test).expect("it is there");
    fs::remove_file(&test).expect("it is our directory");
    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(13), "{answer}");
    let failed: Vec<&Value> = answer["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|it| it["passed"] == false)
        .collect();
    assert_eq!(failed.len(), 1, "{answer}");
    assert_eq!(failed[0]["what"], "tests/block.review-INC-1.test.yaml");
    assert_eq!(failed[0]["why"], "the review wrote it, and it is not there");
    fs::remove_dir_all(Path::new(&dir).join("tests")).expect("it is our directory");
    assert_eq!(check(&home, &dir, &[]).0, Some(13));
    let list = Path::new(&dir).join("files.json");
    let listed = fs::read(&list).expect("it is there");
    fs::remove_file(&list).expect("it is our directory");
    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(13), "{answer}");
    assert!(
        answer.to_string().contains("what the review wrote is not known"),
        "{answer}"
    );
    fs::write(&list, listed).expect("it is our directory");
    fs::create_dir(Path::new(&dir).join("tests")).expect("it is our directory");
    fs::write(&test, kept).expect("it is our directory");

    let again = home.run(&["review", "INC-1", "--output", &dir]);
    assert!(
        !again.status.success() && stderr(&again).contains("is not empty"),
        "{again:?}"
    );

    let changed = BLOCK.replace("low: enforce", "low: observe");
    fs::write(Path::new(&dir).join("tests/block.yaml"), changed).expect("it is our directory");
    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(13), "{answer}");
    assert_eq!(answer["passed"], false);
    let unknown = home.run(&[
        "review",
        "INC-99",
        "--output",
        &home.path("other").display().to_string(),
    ]);
    assert!(stderr(&unknown).contains("there is no INC-99"), "{}", stderr(&unknown));
    assert!(!home.path("other").exists());
    assert!(stdout(&home.run(&["review", "check", &dir])).contains("FAIL"));
}

#[test]
fn a_refusal_is_tested_and_asked_about_and_hostile_words_stay_words() {
    let home = lived_in();
    let (dir, said) = review(&home, "INC-2", &[]);
    assert_eq!(said["expectations"], 2, "{said}\n{}", text(&dir, "questions.md"));
    let test = text(&dir, "tests/block.review-INC-2.test.yaml");
    assert!(test.contains("refused: { \"198.51.100.7\": never-touch }"), "{test}");
    assert!(said["questions"].to_string().contains("have been refused"), "{said}");
    assert_eq!(check(&home, &dir, &[]).0, Some(0));

    let (dir, said) = review(&home, "INC-3", &[]);
    assert!(said["expectations"].as_u64() >= Some(2), "{said}");
    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(0), "{answer}");
    for name in [
        "report.md",
        "report.html",
        "questions.md",
        "sigma/INC-3.yml",
        "tests/block.review-INC-3.test.yaml",
    ] {
        let text = text(&dir, name);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{2028}'), "{name}: {text}");
        assert!(
            !text.contains("\n# x") && !text.contains("\n  - a: b"),
            "{name}: {text}"
        );
    }
    assert!(!text(&dir, "report.html").contains("<script"));
    assert!(!text(&dir, "report.md").contains(" <script"));
}

#[test]
fn a_playbook_with_snippets_has_a_test_with_them() {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    let snippets = "conditions:\n  guessing: event.signature.contains('Brute Force')\n\
        blocks:\n  alone: { low: enforce, medium: approve, high: observe }\n";
    home.playbook("snippets.yaml", snippets);
    let text = BLOCK.replace("event.signature.contains(\"Brute Force\")", "condition.guessing");
    let text = text.replace("{ low: enforce, medium: approve, high: observe }", "{ use: alone }");
    assert!(
        text.contains("condition.guessing") && text.contains("use: alone"),
        "{text}"
    );
    home.playbook("block.yaml", &text);
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.take(&brute_force_from("203.0.113.1"));
    wait_until("the containment", || server.containments().len() == 1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());

    let (dir, said) = review(&home, "INC-1", &[]);
    assert!(said["expectations"].as_u64() >= Some(2), "{said}");
    assert_eq!(self::text(&dir, "tests/snippets.yaml"), snippets);
    let rule = self::text(&dir, "sigma/INC-1.yml");
    assert!(rule.contains("\"alert.signature|contains\": \"Brute Force\""), "{rule}");
    assert!(rule.contains("author: \"staunch review of INC-1\"\ndate: 20"), "{rule}");
    assert_eq!(check(&home, &dir, &[]).0, Some(0));
    let changed = snippets.replace("low: enforce", "low: observe");
    fs::write(Path::new(&dir).join("tests/snippets.yaml"), changed).expect("it is our directory");
    assert_eq!(check(&home, &dir, &[]).0, Some(13));
}

#[test]
fn the_rule_is_narrowed_until_archived_events_are_left_out_or_says_that_it_cannot_be() {
    let home = lived_in();
    let archive = home.path("events");
    fs::create_dir_all(&archive).expect("it is our directory");
    let mut benign: Value = serde_json::from_str(&brute_force_from("10.0.0.9")).expect("it is JSON");
    benign["alert"]["category"] = "Something else".into();
    let write = |events: &[&Value], more: &str| {
        let lines: String = events
            .iter()
            .map(|it| format!("{it}\n"))
            .chain([more.to_owned()])
            .collect();
        let packed = zstd::encode_all(lines.as_bytes(), 3).expect("it packs");
        fs::write(archive.join("suricata-20261120T090000.000000Z.ndjson.zst"), packed).expect("it is our directory");
    };
    let dir = archive.display().to_string();
    write(&[&benign], "");
    let (folder, said) = review(&home, "INC-1", &["--archive", &dir]);
    assert_eq!(
        said["sigma"],
        serde_json::json!({ "tried": 1, "matched": 0, "unread": 0 })
    );
    let rule = text(&folder, "sigma/INC-1.yml");
    assert!(
        rule.contains("\"alert.category\": \"Detection of a Network Scan\""),
        "{rule}"
    );
    assert_eq!(check(&home, &folder, &["--archive", &dir]).0, Some(0));

    // As the first, but for its time.
    let same: Value = serde_json::from_str(&brute_force_from("203.0.113.1")).expect("it is JSON");
    write(&[&benign, &same], "no JSON\n");
    let (code, answer) = check(&home, &folder, &["--archive", &dir]);
    assert_eq!(code, Some(13), "{answer}");
    assert!(
        answer.to_string().contains("1 lines are no JSON, and were not tried"),
        "{answer}"
    );
    let (folder, said) = review(&home, "INC-1", &["--archive", &dir, "--force"]);
    assert_eq!(
        said["sigma"],
        serde_json::json!({ "tried": 2, "matched": 1, "unread": 1 })
    );
    let rule = text(&folder, "sigma/INC-1.yml");
    assert!(rule.contains("It matches 1 of 2 archived events"), "{rule}");
    assert!(
        said["questions"]
            .to_string()
            .contains("the 1 archived lines that are no JSON"),
        "{said}"
    );
}

#[test]
fn the_rule_tells_an_attack_from_archived_events_by_its_severity() {
    let home = Home::new(&format!("{SMALL}[archive]\nenabled = true\n"));
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let scan = |severity: u64| {
        let mut event: Value = serde_json::from_str(&brute_force_from("203.0.113.99")).expect("it is JSON");
        event["alert"]["signature"] = "ET SCAN Potential SSH Scan Brute Force".into();
        event["alert"]["severity"] = severity.into();
        event["alert"]["metadata"] = serde_json::json!({});
        event.to_string()
    };
    server.take(&scan(1));
    wait_until("the incident", || {
        server.run(&["incident", "show", "INC-1"]).status.success()
    });
    (0..4).for_each(|_| drop(server.take(&scan(3))));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    let (dir, said) = review(&home, "INC-1", &[]);
    assert_eq!(
        said["sigma"],
        serde_json::json!({ "tried": 4, "matched": 0, "unread": 0 }),
        "{said}"
    );
    let rule = text(&dir, "sigma/INC-1.yml");
    assert!(rule.contains("\"alert.severity\": \"1\""), "{rule}");
    assert!(rule.contains("It matches 0 of 4 archived events"), "{rule}");
    assert!(!said["questions"].to_string().contains("benign"), "{said}");
    let archive = home.data().join("archive").display().to_string();
    let (code, answer) = check(&home, &dir, &["--archive", &archive]);
    assert_eq!(code, Some(0), "{answer}");
    assert!(
        answer.to_string().contains("it matches 0 of 4 archived events"),
        "{answer}"
    );
    // Without an archive nothing is said of benign events, and that is said.
    let (code, answer) = check(&home, &dir, &[]);
    assert_eq!(code, Some(0), "{answer}");
    let checks = answer["checks"].as_array().expect("a list");
    let of_rule = checks
        .iter()
        .find(|it| it["what"] == "sigma/INC-1.yml")
        .expect("the rule");
    assert!(
        of_rule["note"]
            .as_str()
            .is_some_and(|it| it.contains("no benign event")),
        "{answer}"
    );
    let told = stdout(&home.run(&["review", "check", &dir]));
    assert!(told.contains("note: it was held against no benign event"), "{told}");
}

#[test]
fn sides_that_are_read_otherwise_are_one_question_and_a_hint_with_the_setting() {
    let rest = format!("{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n");
    let home = Home::new(&format!(
        "{rest}[sources.suricata]\nhome_networks = [\"198.51.100.0/24\"]\n"
    ));
    home.playbook("block.yaml", BLOCK);
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    // Both sides are public.
    let mut event: Value = serde_json::from_str(&brute_force_from("203.0.113.99")).expect("it is JSON");
    for pointer in ["/dest_ip", "/flow/dest_ip"] {
        *event.pointer_mut(pointer).expect("it names it") = "198.51.100.7".into();
    }
    server.take(&event.to_string());
    wait_until("the containment", || server.containments().len() == 1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    let (dir, said) = review(&home, "INC-1", &[]);
    assert!(said["expectations"].as_u64() >= Some(2), "{said}");
    assert_eq!(said["hints"], serde_json::json!([]), "{said}");
    assert!(
        text(&dir, "report.md").contains("| contained | 203.0.113.99 |"),
        "{said}"
    );

    let with = fs::read_to_string(home.config()).expect("it is there");
    let without = with.split("[sources.suricata]").next().expect("it has one");
    fs::write(home.config(), without).expect("it is our directory");
    let (_, said) = review(&home, "INC-1", &["--force"]);
    assert_eq!(said["expectations"], 0, "{said}");
    let questions = said["questions"].to_string();
    assert!(!questions.contains("What made this so"), "{said}");
    assert!(questions.contains("203.0.113.99 attacked 198.51.100.7"), "{said}");
    assert!(
        said["hints"][0].as_str().is_some_and(|it| it.contains("home_networks")),
        "{said}"
    );
    let told = stdout(&home.run(&["review", "INC-1", "--output", &dir, "--force"]));
    assert!(told.contains("hint       list 198.51.100.7, if it is yours"), "{told}");
}

#[test]
fn a_question_that_lapsed_is_tested_and_asked_about() {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[limits]\napproval_expiry = \"1s\"\n"
    ));
    home.playbook("block.yaml", &BLOCK.replace("low: enforce", "low: approve"));
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.take(&brute_force_from("203.0.113.1"));
    wait_until("the question to lapse", || {
        server
            .run(&["incident", "show", "INC-1"])
            .stdout
            .windows(7)
            .any(|it| it == b"refused")
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    let (dir, said) = review(&home, "INC-1", &[]);
    let test = text(&dir, "tests/block.review-INC-1.test.yaml");
    assert!(
        test.contains("approval_expiry: 1000ms") && test.contains("asked: { \"203.0.113.1\""),
        "{test}"
    );
    assert!(
        test.contains("state: { \"203.0.113.1\": refused }, acts: 0"),
        "{test}\n{said}"
    );
    assert!(
        said["questions"].to_string().contains("nobody approved in time"),
        "{said}"
    );
    assert_eq!(check(&home, &dir, &[]).0, Some(0));
    let report = text(&dir, "report.md");
    let notices = report.split("## Notices").nth(1).and_then(|it| it.split("## ").next());
    assert!(notices.is_some_and(|it| it.contains("awaiting-approval")), "{report}");
    let sooner = text(&dir, "tests/block.yaml").replace("low: approve", "low: enforce");
    fs::write(Path::new(&dir).join("tests/block.yaml"), sooner).expect("it is our directory");
    assert_eq!(check(&home, &dir, &[]).0, Some(13));
}

#[test]
fn what_was_approved_and_what_came_late_is_in_the_test() {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[evidence]\nimmutable = false\n"
    ));
    // Zeros that take no room, and longer to read and seal than the deadline allows.
    let slow = home.path("slow");
    let bytes = 48 << 20;
    fs::File::create(&slow)
        .and_then(|file| file.set_len(bytes))
        .expect("it is our directory");
    let preserve = format!(
        "preserve:\n  - files: {{ paths: [\"{}\"], deadline: 100ms }}\ncontain:\n",
        slow.display()
    );
    let playbook = BLOCK.replace("low: enforce", "low: approve");
    home.playbook("block.yaml", &playbook.replace("contain:\n", &preserve));
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.take(&brute_force_from("203.0.113.1"));
    let evidence = || server.json::<Value>(&["incident", "show", "INC-1"])["evidence"][0].clone();
    wait_until("the evidence, late", || evidence()["sealed_at"].is_string());
    assert!(evidence()["missed_at"].is_string(), "{}", evidence());
    server.ok(&["approve", "TX-1", "--yes", "--reason", "it is no customer"]);
    wait_until("the containment", || {
        server.containments().iter().any(|it| it.lease_until.is_some())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    let (dir, said) = review(&home, "INC-1", &[]);
    let test = text(&dir, "tests/block.review-INC-1.test.yaml");
    for part in [
        "{ at: preserve, evidence: files, kind: reply-late, for: ",
        "evidence: { files: late }",
        "asked: { \"203.0.113.1\": {} }",
        "operator: \"approve 203.0.113.1\"",
        "state: { \"203.0.113.1\": in-force }",
    ] {
        assert!(test.contains(part), "{part}: {test}\n{said:#}");
    }
    assert_eq!(check(&home, &dir, &[]).0, Some(0));
}
