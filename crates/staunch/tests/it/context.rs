//! What is known around events: what triggers and the guard make of files of assets and accounts, and what becomes of a
//! file with a mistake.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::Status;

use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, stderr, wait_until};

/// A partner's network, whose blocking a person is asked about, and an address in it that is for tests.
const PARTNER: &str = "203.0.113.9";
const TESTS: &str = "203.0.113.10";
const NOBODY: &str = "198.51.100.9";

const ASSETS: &str = "assets:\n  - network: 203.0.113.0/24\n    owner: sales\n    tier: \"1\"\n    environment: production\n  \
                      - network: 203.0.113.10\n    tier: test\n  - network: 10.0.0.80\n    tier: \"0\"\n";
const PEOPLE: &str = "account,team,kind,break_glass\nemergency,platform,human,true\nci,platform,service,false\n";

const PLAYBOOK: &str = "playbook: crown-jewels\nsummary: Block who attacks what matters most.\ntrigger:\n  \
     sources: [suricata]\n  when: asset.tier == \"0\"\n  incident: event.source.ip\n  deduplicate: 1m\n\
     contain:\n  - block-ip: { target: event.source.ip, lease: 10m }\n\
     mode: { low: enforce, medium: approve, high: observe }\n";

const LOGINS: &str = "playbook: logins\nsummary: Block where an account is abused from.\ntrigger:\n  sources: [vpn]\n  \
     when: has(identity.team) && event.severity >= high\n  incident: event.user\n  deduplicate: 1m\n\
     contain:\n  - block-ip: { target: event.source.ip, lease: 10m }\n\
     mode: { low: enforce, medium: approve, high: observe }\n";

const HTTP: &str = "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n";

const CONTEXT: &str = "[[context.assets]]\npath = \"assets.yaml\"\n[[context.identities]]\npath = \"people.csv\"\n\
     [[context.guards]]\nname = \"break glass\"\nbreak_glass = true\nthen = \"refuse\"\n\
     [[context.guards]]\nname = \"partners\"\nenvironment = [\"production\"]\nthen = \"ask\"\n\
     [[sources.generic]]\nname = \"vpn\"\nsignature = \"what\"\nseverity = \"severity\"\nuser = \"user\"\n\
     source_ip = \"from\"\ntime = \"at\"\n";

fn home() -> Home {
    let home = Home::new(&format!("{SMALL}{HTTP}{CONTEXT}"));
    home.playbook("crown-jewels.yaml", PLAYBOOK);
    home.playbook("logins.yaml", LOGINS);
    write(&home, "assets.yaml", ASSETS);
    write(&home, "people.csv", PEOPLE);
    home
}

fn write(home: &Home, file: &str, text: &str) {
    fs::write(home.path(file), text).expect("it is our directory");
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn login(user: &str, from: &str) -> String {
    let at = SystemClock.now().to_string();
    json!({"what": "an impossible journey", "severity": "high", "user": user, "from": from, "at": at}).to_string()
}

fn run(home: &Home, arguments: &[&str]) -> String {
    let output = home.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

fn guard(plan: &Value) -> Value {
    let guards = plan["plan"]["responses"][0]["steps"][0]["judgement"]["guards"].as_array();
    let found = guards.and_then(|all| all.iter().find(|it| it["guard"] == "context"));
    found.cloned().unwrap_or_else(|| panic!("it is not judged: {plan}"))
}

/// The sum over all of `kind`, in whatever order they are told; nothing when there is none.
fn metric(server: &Server, name: &str, kind: &str) -> Option<f64> {
    let text = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
    let text = text.into_body().read_to_string().expect("it is text");
    let start = format!("staunch_context_{name}{{kind=\"{kind}\"");
    let lines = text.lines().filter(|line| line.starts_with(&start));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

#[test]
fn assets_are_read_from_json_too() {
    let home = Home::new(&format!("{SMALL}[[context.assets]]\npath = \"assets.json\"\n"));
    write(
        &home,
        "assets.json",
        r#"[{"network": "203.0.113.0/24", "owner": "sales", "tier": "1"}]"#,
    );
    write(&home, "event.json", &exploit_from(PARTNER));
    let event = home.path("event.json").display().to_string();
    let tested = words(&run(&home, &["source", "test", &event, "--as", "suricata"]));
    assert!(tested.contains("known 203.0.113.9 is tier 1, of sales"), "{tested}");
}

#[test]
fn whose_things_are_decides_what_matches_and_what_a_person_is_asked() {
    in_namespace("context::decides", || {
        let home = home();
        let path = home.path("assets.yaml").display().to_string();
        // Without a server: what is understood, why it matches, what would be done.
        write(&home, "event.json", &exploit_from(PARTNER));
        let event = home.path("event.json").display().to_string();
        let tested = words(&run(&home, &["source", "test", &event, "--as", "suricata"]));
        let known = format!("known 203.0.113.9 is tier 1, production, of sales ({path}, line 2: 203.0.113.0/24)");
        assert!(tested.contains(&words(&known)), "{tested}");
        let plan: Value =
            serde_json::from_str(&run(&home, &["plan", &event, "--local", "--json"])).expect("it is JSON");
        assert_eq!(plan["context"]["addresses"][0]["asset"]["owner"], "sales", "{plan}");
        let result = guard(&plan);
        let why = format!(
            "row 2 of the context guard (partners) asks a person: 203.0.113.9 is tier 1, production, of sales ({path}, line \
             2: 203.0.113.0/24)"
        );
        assert_eq!(
            (&result["verdict"], &result["why"]),
            (&"ask".into(), &why.as_str().into())
        );
        let text = words(&run(&home, &["plan", &event, "--local"]));
        let clause = format!("asset.tier is \"0\", by {path}, line 8: 10.0.0.80/32");
        assert!(text.contains(&words(&clause)), "{text}");

        let server = home.serve();
        server.take(&exploit_from(PARTNER));
        server.take(&exploit_from(TESTS));
        server.take(&exploit_from(NOBODY));
        wait_until("the blocks", || element(TESTS).is_some() && element(NOBODY).is_some());
        wait_until("the question", || {
            server.json::<Status>(&["status"]).awaiting_approval == 1
        });
        assert!(element(PARTNER).is_none(), "a person is asked first");
        let shown = words(&server.ok(&["incident", "show", "INC-1"]));
        assert!(shown.contains("(partners) asks a person"), "{shown}");

        // It is told where it was known, which was before the answer that it led to.
        let told: Value = server.json(&["incident", "timeline", "INC-1"]);
        let context = told["entries"].as_array().expect("a list").iter();
        let context: Vec<&Value> = context
            .filter(|it| it["what"].as_str().is_some_and(|it| it.starts_with("context: ")))
            .collect();
        assert!(
            context[0].to_string().contains("203.0.113.9 is tier 1, production"),
            "{told:#}"
        );
        assert_eq!(context[0]["basis"], "stated", "{told:#}");
        // Nothing is preserved, so that this is all that there is to know.
        assert!(told["measures"]["received_to_known_us"].is_u64(), "{told:#}");

        // Whoever keeps the key for emergencies is not locked out; a program is, and who is in no file does not match.
        let address = "192.0.2.77";
        server.take_from("vpn", &login("EMERGENCY", address));
        wait_until("the refusal", || {
            words(&server.ok(&["incident", "show", "INC-4"])).contains("(break glass) refuses")
        });
        assert_eq!(server.take_from("vpn", &login("stranger", address)).matched, 0);
        assert_eq!(server.take_from("vpn", &login("ci", address)).matched, 1);
        wait_until("the block", || element(address).is_some());

        // What was known is in the journal: with other files, what was decided is decided again in the same way.
        server.kill();
        write(
            &home,
            "assets.yaml",
            "- network: 203.0.113.10\n  environment: production\n",
        );
        write(&home, "people.csv", "account\nnobody\n");
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
        let replayed = words(&run(&home, &["replay"]));
        assert!(replayed.contains("emergencies (break-glass)"), "{replayed}");
    });
}

#[test]
fn a_file_is_in_force_within_a_moment_of_a_change_and_a_mistake_changes_nothing() {
    in_namespace("context::reload", || {
        let home = home();
        let server = home.serve();
        let path = home.path("assets.yaml").display().to_string();
        assert_eq!(
            (
                metric(&server, "entries", "assets"),
                metric(&server, "refused", "assets")
            ),
            (Some(3.0), Some(0.0))
        );
        assert_eq!(metric(&server, "entries", "identities"), Some(2.0));
        let mistake = ASSETS.replace("tier: test", "teir: test\u{1b}");
        write(&home, "assets.yaml", &mistake.replace('\u{1b}', ""));
        wait_until("the refusal", || metric(&server, "refused", "assets") == Some(1.0));
        let why = format!("the file of assets {path}, line 6: there is no column teir");
        assert!(home.log().contains(&why), "{}", home.log());
        let status: Status = server.json(&["status"]);
        assert_eq!(status.context[0].refused.as_deref(), Some(&*why));
        assert!(words(&server.ok(&["status"])).contains(&words(&format!("REFUSED since: {why}"))));
        let doctor = words(&String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text"));
        assert!(doctor.contains(&words(&format!("PROBLEM context: {why}"))), "{doctor}");
        assert!(
            doctor.contains(&words(&format!(
                "PROBLEM server: it has refused a file of context: {why}"
            ))),
            "{doctor}"
        );
        server.take(&exploit_from(TESTS));
        wait_until("the block", || element(TESTS).is_some());

        // In force as soon as it is right.
        write(&home, "assets.yaml", &ASSETS.replace("10.0.0.80", "10.0.0.81"));
        wait_until("the new file", || metric(&server, "refused", "assets") == Some(0.0));
        assert_eq!(metric(&server, "refusals_total", "assets"), Some(1.0));
        assert_eq!(
            server.take(&exploit_from(NOBODY)).matched,
            0,
            "nothing of tier 0 is attacked"
        );
    });
}

#[test]
fn without_its_files_a_server_does_not_start_and_they_come_and_go_with_the_configuration() {
    in_namespace("context::start", || {
        let home = home();
        write(&home, "people.csv", "account,kind\nann,robot\n");
        let Err(output) = home.try_serve(&["--allow-unauthenticated-loopback"]) else {
            panic!("it starts without its file")
        };
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let log = home.log();
        assert!(
            log.contains("the kind of an account is not robot") && log.contains("hint: "),
            "{log}"
        );

        write(&home, "people.csv", PEOPLE);
        let server = home.serve();
        home.configure(&format!("{SMALL}{HTTP}"));
        server.signal(Signal::SIGHUP);
        wait_until("no file", || metric(&server, "entries", "assets").is_none());
        assert_eq!(server.take(&exploit_from(NOBODY)).matched, 0);
        home.configure(&format!("{SMALL}{HTTP}[[context.assets]]\npath = \"missing.yaml\"\n"));
        server.signal(Signal::SIGHUP);
        wait_until("the refusal", || home.log().contains("the earlier one stays in force"));
        home.configure(&format!("{SMALL}{HTTP}[[context.assets]]\npath = \"assets.yaml\"\n"));
        server.signal(Signal::SIGHUP);
        wait_until("the file", || metric(&server, "entries", "assets") == Some(3.0));
        // The guard has gone with its rows.
        server.take(&exploit_from(PARTNER));
        wait_until("the block", || element(PARTNER).is_some());
    });
}

#[test]
fn rows_that_cannot_hold_and_fields_that_are_not_there_are_mistakes() {
    let check = |config: &str, what: &str| {
        let home = Home::new(config);
        let output = home.run(&["check"]);
        assert!(!output.status.success());
        let told = words(&stderr(&output));
        assert!(told.contains(what), "{told}");
    };
    let row = "[[context.guards]]\nname = \"a\"\n";
    check(&format!("{row}tier = [\"0\"]\nthen = \"ask\"\n"), "no file knows any");
    check(&format!("{row}then = \"ask\"\n"), "the row names no condition");
    check("[[context.assets]]\npath = \"assets\"\n", "it is not told how");
    let home = Home::new("");
    home.playbook("a.yaml", &PLAYBOOK.replace("asset.tier ==", "asset.teir =="));
    let output = home.run(&["check", &home.path("playbooks/a.yaml").display().to_string()]);
    let told = words(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    assert!(told.contains("did you mean `asset.tier`?"), "{told}");
}

#[test]
fn where_addresses_are_is_asked_of_databases_and_without_them_not_known() {
    in_namespace("context::geo", || {
        let databases = concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/tests/data/mmdb");
        let copy = |home: &Home, name: &str| {
            fs::copy(format!("{databases}/{name}"), home.path(name)).expect("it is there");
        };
        let geo = "[[context.geo]]\npath = \"country.mmdb\"\n[[context.geo]]\npath = \"asn.mmdb\"\n";
        let home = Home::new(&format!("{SMALL}{HTTP}{geo}"));
        let condition = "geo.source.country == \"DE\" && geo.source.asn == 64496";
        home.playbook("abroad.yaml", &PLAYBOOK.replace("asset.tier == \"0\"", condition));
        copy(&home, "asn.mmdb");
        fs::write(home.path("country.mmdb"), "<html>no licence</html>").expect("it is our directory");

        // A database that cannot be used stops nothing, and nothing matches by what it would know.
        let server = home.serve();
        assert_eq!(
            metric(&server, "refused", "geo"),
            Some(1.0),
            "that of countries, and not that of systems"
        );
        let status = words(&server.ok(&["status"]));
        assert!(status.contains("never read, so no place is known"), "{status}");
        let doctor = words(&String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text"));
        assert!(doctor.contains("warning context: the database of places"), "{doctor}");
        assert!(doctor.contains("Staunch-Test-ASN"), "{doctor}");
        assert_eq!(server.take(&exploit_from(PARTNER)).matched, 0);

        copy(&home, "country.mmdb");
        wait_until("the database", || {
            !words(&server.ok(&["status"])).contains("no place is known")
        });
        assert_eq!(server.take(&exploit_from(PARTNER)).matched, 1);
        assert_eq!(server.take(&exploit_from(NOBODY)).matched, 0);
        wait_until("the block", || element(PARTNER).is_some());
        write(&home, "event.json", &exploit_from(PARTNER));
        let event = home.path("event.json").display().to_string();
        for command in [
            &["source", "test", &event, "--as", "suricata"][..],
            &["plan", &event][..],
            &["plan", &event, "--local"][..],
        ] {
            let shown = words(&run(&home, command));
            assert!(
                shown.contains("known 203.0.113.9: country DE; AS64496 (Example Networks)"),
                "{shown}"
            );
        }
        assert!(words(&run(&home, &["plan", &event])).contains("geo.source.country is \"DE\""));
        server.kill();
        fs::remove_file(home.path("country.mmdb")).expect("it is there");
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
    });
}
