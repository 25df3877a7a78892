//! Sources other than Suricata: from what a system sends to the kernel, and what `staunch source test` says of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use staunch_model::StateKind;
use staunch_netlink::link::Links;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{
    Home, SMALL, element, elements, exploit_from, for_silence, in_namespace, stderr, stdout, wait_until,
};

/// Blocks who a finding names, whatever became of the traffic.
const FINDINGS: &str = "\
playbook: guardduty-block
summary: Block an address that GuardDuty calls an attacker of an instance.
trigger:
  sources: [guardduty]
  when: event.severity >= high && event.signature.startsWith(\"UnauthorizedAccess:EC2/\")
  incident: event.source.ip
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
mode: { low: enforce }
";

/// The lines of a file of constructed events.
fn constructed(system: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../connectors/tests/data")
        .join(system)
        .join("constructed.jsonl");
    let text = fs::read_to_string(file).expect("the fixtures are there");
    text.lines().map(str::to_owned).collect()
}

/// The finding at `line`, as if it had been made now.
fn finding(line: usize) -> Value {
    let mut event: Value = serde_json::from_str(&constructed("guardduty")[line - 1]).expect("it is JSON");
    event["detail"]["service"]["eventLastSeen"] = SystemClock.now().to_string().into();
    event
}

fn home() -> Home {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.playbook("guardduty-block.yaml", FINDINGS);
    home
}

#[test]
fn playbooks_can_name_every_decoder() {
    let settings = staunch_connectors::sources::SourceSettings::default();
    let sources = staunch_connectors::sources::ports(&settings).expect("the sources of the program");
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    assert_eq!(names, staunch_playbook::SYSTEMS);
}

/// The text between `from` and the end of the block, in the guide of the first hour.
fn in_first_hour(from: &str) -> &'static str {
    const GUIDE: &str = include_str!("../../../../docs/guide/first-hour.md");
    let (_, rest) = GUIDE
        .split_once(from)
        .unwrap_or_else(|| panic!("the guide has no {from}"));
    rest.split_once("```").expect("the block has an end").0
}

/// The action for fail2ban and the mapping are those of the guide; what the shell makes of the action is what fail2ban
/// 1.0.2 has it make.
#[test]
fn what_the_guide_has_fail2ban_write_comes_to_a_playbook() {
    let mapping = in_first_hour("```toml\n[[sources.generic]]\n");
    let home = Home::new(&format!("{SMALL}[playbooks]\n[[sources.generic]]\n{mapping}"));
    let log = home.path("fail2ban.json");
    let action = in_first_hour("\nactionban = ").replace("/var/log/fail2ban-staunch.json", &log.display().to_string());
    let time = (SystemClock.now().as_micros() / 1_000_000).to_string();
    let filled = [
        ("<name>", "sshd"),
        ("<ip>", "203.0.113.45"),
        ("<failures>", "5"),
        ("<time>", &format!("{time}.0")),
    ];
    let command = filled
        .iter()
        .fold(action, |text, (tag, value)| text.replace(tag, value));
    let ran = Command::new("sh")
        .args(["-c", &command])
        .status()
        .expect("there is a shell");
    assert!(ran.success(), "{command}");
    let file = log.display().to_string();
    let output = home.run(&["source", "test", &file, "--as", "fail2ban"]);
    let told = stdout(&output);
    assert!(output.status.success(), "{told}{}", stderr(&output));
    assert!(told.contains("brute-force-block  matches"), "{told}");
    assert!(told.contains("203.0.113.45"), "{told}");
}

/// CrowdSec's own alert of guessed passwords, which it has no severity for.
#[test]
fn what_crowdsec_says_comes_to_a_playbook() {
    let home = Home::new(&format!("{SMALL}[playbooks]\n"));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/tests/data/crowdsec");
    let file = data.join("alert_ssh-bf.json").display().to_string();
    let output = home.run(&["source", "test", &file, "--as", "crowdsec"]);
    let told = stdout(&output);
    assert!(output.status.success(), "{told}{}", stderr(&output));
    assert!(told.contains("crowdsec-block  matches"), "{told}");
}

#[test]
fn each_line_that_is_not_understood_is_told_with_its_number() {
    let home = home();
    let (good, bad) = (constructed("guardduty")[0].clone(), "no event at all");
    let body: Vec<&str> = (0..30).flat_map(|_| [bad, ""]).chain([&*good, bad]).collect();
    fs::write(home.path("mixed"), body.join("\n")).expect("it is our directory");
    let file = home.path("mixed").display().to_string();
    let output = home.run(&["source", "test", &file, "--as", "guardduty", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stderr(&output), "");
    let told: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(
        (&told["elements"], &told["malformed"]),
        (&32.into(), &31.into()),
        "{told}"
    );
    assert_eq!(
        told["shown"].as_array().map(Vec::len),
        Some(20),
        "as many as --max says"
    );
    assert_eq!(told["shown"][1]["line"], 3, "{told}");
    let mistakes = told["mistakes"].as_array().expect("a list");
    let lines: Vec<u64> = mistakes.iter().filter_map(|it| it["line"].as_u64()).collect();
    let expected: Vec<u64> = (0..30).map(|at| 2 * at + 1).chain([62]).collect();
    assert_eq!(lines, expected, "all of them, whatever is shown");
    let last = &mistakes[30];
    assert!(
        last["what"].as_str().is_some_and(|it| it.contains("JSON")) && last["hint"].is_string(),
        "{last}"
    );
    assert_eq!(last["index"], 31, "{last}");
    let shown = home.run(&["source", "test", &file, "--as", "guardduty"]);
    assert!(stdout(&shown).contains("(line 3, byte 20)"), "{shown:?}");
    let said = stderr(&shown);
    assert!(
        said.contains("31 of 32 could not be read: lines 1, 3, 5,") && said.contains(" and more"),
        "{said}"
    );
}

#[test]
fn a_finding_becomes_an_element_and_a_sample_does_not() {
    in_namespace("sources::a_finding_becomes_an_element", || {
        let home = home();
        let server = home.serve();
        let mut sample = finding(12);
        sample["detail"]["severity"] = 8.into();
        let (titled, mut archived, victim) = (finding(13), finding(14), finding(3));
        archived["detail"]["severity"] = 8.into();
        for harmless in [sample, titled, archived, victim] {
            let taken = server.take_from("guardduty", &harmless.to_string());
            assert_eq!((taken.accepted, taken.matched), (1, 0), "{taken:?}: {harmless}");
        }
        assert_eq!(elements().len(), 0);

        let attack = finding(1);
        assert_eq!(
            attack["detail"]["service"]["action"]["networkConnectionAction"]["remoteIpDetails"]["ipAddressV4"],
            "203.0.113.7"
        );
        let taken = server.take_from("guardduty", &attack.to_string());
        assert_eq!((taken.accepted, taken.matched, taken.malformed), (1, 1, 0), "{taken:?}");
        wait_until("the containment", || {
            server.containments().iter().any(|it| it.state == StateKind::InForce)
        });
        assert!(element("203.0.113.7").is_some());
        server.take_from("guardduty", &finding(2).to_string());
        assert_eq!(elements().len(), 1, "the same finding, sent again, joins");
    });
}

/// An alert of a scenario that only tries something out, and one with a decision that does.
#[test]
fn what_crowdsec_simulates_is_noted_and_contains_nothing() {
    in_namespace("sources::simulated", || {
        let home = home();
        let playbook = include_str!("../../../../playbooks/crowdsec-block.yaml");
        home.playbook("crowdsec-block.yaml", &for_silence(playbook));
        let server = home.serve();
        let now = SystemClock.now().to_string();
        let alert = |line: usize| {
            let mut event: Value = serde_json::from_str(&constructed("crowdsec")[line - 1]).expect("it is JSON");
            for time in ["created_at", "start_at", "stop_at"] {
                event[time] = now.as_str().into();
            }
            event
        };
        for simulated in [alert(2), alert(3)] {
            let taken = server.take_from("crowdsec", &simulated.to_string());
            assert_eq!((taken.accepted, taken.matched), (1, 0), "{taken:?}: {simulated}");
        }
        let real = alert(1);
        let taken = server.take_from("crowdsec", &real.to_string());
        assert_eq!((taken.accepted, taken.matched), (1, 1), "{taken:?}: {real}");
        wait_until("the block", || element("203.0.113.50").is_some());
    });
}

/// With each file the number of its events that can be read; the tables of the decoders say what the others are.
#[test]
fn the_server_reads_what_each_system_sends() {
    let recorded = [
        ("alertmanager", "alertmanager/with_common_items.json", 1),
        ("auditd", "auditd/constructed.log", 6),
        ("cloudevents", "cloudevents/batch.json", 5),
        ("cloudtrail", "cloudtrail/panther.jsonl", 119),
        ("crowdsec", "crowdsec/recorded.jsonl", 34),
        ("falco", "falco-website/falco.jsonl", 8),
        ("guardduty", "guardduty/constructed.jsonl", 16),
        ("kubernetes-audit", "kubernetes-audit/panther.jsonl", 69),
        ("ocsf", "ocsf/constructed.jsonl", 15),
        ("okta", "okta/constructed.jsonl", 2),
        ("suricata", "suricata-eve/eve-ssh.jsonl", 13),
        ("wazuh", "wazuh/constructed.jsonl", 9),
    ];
    let mut systems = staunch_playbook::SYSTEMS.to_vec();
    systems.sort_unstable();
    let names: Vec<&str> = recorded.iter().map(|(source, ..)| *source).collect();
    assert_eq!(names, systems);
    in_namespace("sources::the_server_reads_what_each_system_sends", || {
        let server = Home::new(SMALL).serve();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/tests/data");
        let taken = recorded.map(|(source, file, _)| {
            let body = fs::read_to_string(data.join(file)).expect("the fixtures are there");
            (source, file, server.take_from(source, &body).accepted)
        });
        assert_eq!(taken, recorded);
    });
}

#[test]
fn a_cloud_event_is_taken_in_headers_and_as_one_object() {
    in_namespace("sources::a_cloud_event", || {
        let home = home();
        let playbook = FINDINGS
            .replace("guardduty", "cloudevents")
            .replace("UnauthorizedAccess:EC2/", "example.attack");
        home.playbook("cloudevents-block.yaml", &playbook);
        let server = home.serve();
        let mut answer = ureq::post(format!("{}/v1/events/cloudevents", server.url))
            .header("Content-Type", "application/json")
            .header("CE-SpecVersion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "/sensor")
            .header("ce-type", "example.attack.ssh")
            .header("ce-severity", "high")
            .header("ce-time", SystemClock.now().to_string())
            .send(r#"{"source_ip":"203.0.113.94"}"#)
            .expect("it answers");
        assert_eq!(answer.status().as_u16(), 202);
        let text = answer.body_mut().read_to_string().expect("the answer can be read");
        let taken: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            (&taken["accepted"], &taken["matched"]),
            (&1.into(), &1.into()),
            "{taken}"
        );
        wait_until("the containment", || element("203.0.113.94").is_some());

        // The same as one JSON object.
        let event = serde_json::json!({
            "specversion": "1.0", "id": "2", "source": "/sensor", "type": "example.attack.ssh",
            "time": SystemClock.now().to_string(),
            "data": {"severity": "high", "source_ip": "203.0.113.95"},
        });
        let answer = ureq::post(format!("{}/v1/events/cloudevents", server.url))
            .header("Content-Type", "application/cloudevents+json; charset=utf-8")
            .send(event.to_string())
            .expect("it answers");
        assert_eq!(answer.status().as_u16(), 202);
        wait_until("the other containment", || element("203.0.113.95").is_some());
    });
}

#[test]
fn an_alert_about_an_address_of_this_machine_names_its_attacker() {
    in_namespace("sources::own", || {
        let home = Home::new(SMALL);
        let file = home.path("alert.json");
        let event = exploit_from("203.0.113.95").replace("10.0.0.80", "198.51.100.7");
        fs::write(&file, event).expect("it is our directory");
        let tested = || stdout(&home.run(&["plan", "--local", "--source", "suricata", &file.display().to_string()]));
        let before = tested();
        assert!(before.contains("not known"), "{before}");
        let mut links = Links::open(Duration::from_secs(2)).expect("a namespace has links");
        links
            .add_address("lo", "198.51.100.7".parse().expect("an address"), 32)
            .expect("it is ours");
        let after = tested();
        assert!(
            after.contains("203.0.113.95") && !after.contains("attacker not known"),
            "{after}"
        );
    });
}

#[test]
fn sources_of_text_may_be_followed() {
    let home = Home::new("[[sources.files]]\npath = \"/var/log/audit/audit.log\"\nsource = \"auditd\"\n");
    let checked = home.run(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
}

fn source_test(home: &Home, arguments: &[&str]) -> Output {
    home.run(&[&["source", "test"], arguments].concat())
}

#[test]
fn source_test_shows_what_is_understood_and_why_a_playbook_does_not_match() {
    let home = home();
    let lines = constructed("guardduty");
    let file = home.path("findings.jsonl");
    let body = [&lines[0], &lines[9], &lines[11], &lines[14], &lines[15]]
        .map(String::as_str)
        .join("\n");
    fs::write(&file, body).expect("it is our directory");
    let file = file.display().to_string();

    let output = source_test(&home, &[&file, "--as", "guardduty"]);
    assert_eq!(output.status.code(), Some(1), "one event cannot be read: {output:?}");
    assert!(stderr(&output).contains("1 of 5 could not be read"), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("source_test", text) });

    let output = source_test(&home, &[&file, "--as", "guardduty", "--json", "--max", "2"]);
    assert_eq!(stderr(&output), "", "what is left out shows in the counts");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    assert_eq!((&answer["elements"], &answer["malformed"]), (&5.into(), &1.into()));
    let shown = answer["shown"].as_array().expect("a list");
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0]["triggers"][0]["outcome"], "matches");
    assert_eq!(shown[1]["triggers"][0]["outcome"], "does-not-hold");
    assert_eq!(shown[1]["triggers"][0]["explanation"]["clauses"][0]["value"], "false");
}

#[test]
fn source_test_names_the_playbooks_that_match_first() {
    let home = Home::new(SMALL);
    let alert = home.path("alert.json");
    fs::write(&alert, exploit_from("203.0.113.9")).expect("it is our directory");
    let alert = alert.display().to_string();
    let told = stdout(&source_test(&home, &[&alert, "--as", "suricata"]));
    let (matches, not) = (told.find("exploit-attempt-block  matches"), told.find("  does not"));
    assert!(matches.is_some() && not.is_some() && matches < not, "{told}");
}

#[test]
fn source_test_tells_apart_what_it_is_given() {
    let home = home();
    let file = home.path("event.json");
    fs::write(&file, "{}").expect("it is our directory");
    let file = file.display().to_string();
    let unknown = source_test(&home, &[&file, "--as", "guarddutty"]);
    assert_eq!(unknown.status.code(), Some(5));
    assert!(
        stderr(&unknown).contains("known: suricata, falco, guardduty"),
        "{unknown:?}"
    );
    fs::write(home.path("empty.json"), "[]").expect("it is our directory");
    let empty = source_test(&home, &[&home.path("empty.json").display().to_string(), "--as", "okta"]);
    assert_eq!(empty.status.code(), Some(2), "{empty:?}");
    assert_eq!(
        source_test(&home, &["nowhere.json", "--as", "okta"]).status.code(),
        Some(5)
    );
}
