//! `staunch protect` and `staunch release --trust`: what people take out of containment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};

use nix::mount::{MsFlags, mount};
use serde_json::Value;
use staunch_model::{Span, Timestamp};
use staunch_netlink::link::Links;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::Protections;

use crate::harness::{
    DEADLINE, Home, SMALL, element, elements, exploit_from, in_namespace, mounts_of_its_own, stderr, stdout, wait_until,
};

const ATTACKER: &str = "203.0.113.9";

#[test]
fn what_is_protected_by_command_is_not_contained_after_a_restart_either() {
    in_namespace("protect::restart", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let added = server.ok(&[
            "protect",
            "add",
            "203.0.113.9/28",
            "--for",
            "2h",
            "--reason",
            "the payment provider",
            "--yes",
        ]);
        assert!(added.starts_with("203.0.113.0/28 is protected until 20"), "{added}");
        server.kill();

        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        let incidents = || server.ok(&["incident", "list"]);
        wait_until("the refusal", || incidents().contains("refused"));
        let shown = server.ok(&["incident", "show", "INC-1"]);
        assert!(shown.contains("never-touch"), "{shown}");
        assert!(shown.contains("the payment provider"), "{shown}");
        assert!(elements().is_empty(), "nothing is blocked");

        let explained = server.ok(&["protect", "explain", ATTACKER]);
        let words = explained.replace('\n', " ");
        assert!(
            words
                .starts_with("203.0.113.9 is never touched: it is in 203.0.113.0/28, which loopback protects until 20"),
            "{explained}"
        );
        assert!(words.contains(": the payment provider"), "{explained}");
        assert!(explained.lines().all(|line| line.chars().count() <= 80), "{explained}");
        let listed = server.ok(&["protect", "list"]);
        assert!(listed.contains("203.0.113.0/28"), "{listed}");
        assert!(listed.contains("127.0.0.0/8"), "{listed}");
        let always: Protections = server.json(&["protect", "explain", "127.0.0.1"]);
        let nets: Vec<_> = always.protections.iter().map(|it| it.network.to_string()).collect();
        assert!(nets.contains(&"127.0.0.0/8".to_owned()), "{nets:?}");

        // Its exact network is taken back, nothing around it, and nothing of the configuration.
        for (network, exit) in [
            ("203.0.113.9", 5),
            ("203.0.113.0/28", 0),
            ("203.0.113.0/28", 5),
            ("127.0.0.0/8", 4),
        ] {
            let removed = server.run(&["protect", "remove", network, "--reason", "ours", "--yes"]);
            assert_eq!(removed.status.code(), Some(exit), "{network}: {removed:?}");
        }
        server.ok(&["protect", "add", ATTACKER, "--reason", "ours", "--yes"]);
        let removed: Value = server.json(&["protect", "remove", ATTACKER, "--reason", "ours", "--yes"]);
        assert_eq!(removed["network"], "203.0.113.9/32", "{removed}");
        let explained = server.ok(&["protect", "explain", ATTACKER]);
        assert_eq!(
            explained,
            "203.0.113.9 is in no protected network: the other guards decide\n"
        );
        let commands: Value = server.get("/v1/commands");
        let text = commands.to_string();
        assert!(text.contains("the payment provider"), "it is recorded: {text}");
    });
}

#[test]
fn who_protects_what_is_in_force_is_told_so_and_it_stays() {
    in_namespace("protect::in_force", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || {
            element(ATTACKER).is_some() && server.ok(&["containment", "list"]).contains("in-force")
        });
        server.ok(&["protect", "add", ATTACKER, "--for", "1m", "--reason", "ours", "--yes"]);
        let added = server.run(&["protect", "add", ATTACKER, "--reason", "ours", "--yes"]);
        assert!(
            stderr(&added)
                .replace('\n', " ")
                .contains("it replaces the protection which loopback protects until"),
            "{added:?}"
        );
        assert!(added.status.success(), "{added:?}");
        let told = stderr(&added).replace('\n', " ");
        assert!(
            told.contains("TX-1 still holds 203.0.113.9: `staunch release TX-1` lifts it"),
            "{told}"
        );
        assert!(element(ATTACKER).is_some());
        let explained = server.ok(&["protect", "explain", ATTACKER]);
        assert!(explained.contains("TX-1 holds it at present"), "{explained}");
        let listed = server.run(&["containment", "list"]);
        assert!(stderr(&listed).contains("PROTECTED NOW: 1 of 1"), "{listed:?}");
        wait_until("the page", || {
            home.log().contains("TX-1 holds a target that is protected now")
        });
    });
}

#[test]
fn what_is_released_with_trust_is_seen_again_and_left_alone() {
    in_namespace("protect::trust", || {
        let home = Home::new(SMALL);
        // Further events of an attacker who was let go are judged anew soon.
        let playbook = include_str!("../../../../playbooks/exploit-attempt-block.yaml");
        let quick = playbook
            .replace("traffic_share_max: 5%", "traffic_share_max: 5%, flows_min: 0")
            .replace("deduplicate: 10m", "deduplicate: 1s");
        home.playbook("exploit-attempt-block.yaml", &quick);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        let named = server.run(&["release", "INC-1", "--yes"]);
        assert!(stderr(&named).contains("write --incident INC-1"), "{named:?}");
        let long = "x".repeat(600);
        let long = server.run(&["release", "TX-1", "--reason", &long, "--yes"]);
        assert_eq!(long.status.code(), Some(2));
        assert!(stderr(&long).contains("at most 500 are kept"), "{long:?}");
        let refused = server.run(&["release", "--all", "--trust", "2h", "--reason", "ours", "--yes"]);
        assert_eq!(refused.status.code(), Some(2), "not everything: {refused:?}");
        let released = server.run(&["release", "TX-1", "--trust", "2h", "--reason", "our scanner", "--yes"]);
        assert!(released.status.success(), "{released:?}");
        assert!(stderr(&released).contains("left alone for 2h"), "{released:?}");
        wait_until("the release", || elements().is_empty());
        let explained = server.ok(&["protect", "explain", ATTACKER]).replace('\n', " ");
        assert!(
            explained.contains("which loopback has released and trusts until 20"),
            "{explained}"
        );
        assert!(explained.contains("our scanner"), "{explained}");

        wait_until("a refusal", || {
            server.take(&exploit_from(ATTACKER));
            server.ok(&["incident", "list"]).contains("refused")
        });
        assert!(elements().is_empty());
        let shown = server.ok(&["incident", "show", "INC-2"]);
        assert!(shown.contains("released it and trusts it until"), "{shown}");
    });
}

/// What was released without trust is left alone for a while, too, and that is no secret.
#[test]
fn whoever_looks_for_what_was_released_is_told_until_when_its_events_are_only_counted() {
    in_namespace("protect::counted", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        assert!(!server.ok(&["incident", "show", "INC-1"]).contains("further"));
        server.ok(&["release", "TX-1", "--reason", "oops", "--yes", "--wait", "10s"]);
        server.take(&exploit_from(ATTACKER));
        wait_until("the second event", || {
            server.json::<Value>(&["incident", "show", "INC-1"])["incident"]["events"] == 2
        });
        let shown = server.ok(&["incident", "show", "INC-1"]);
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("further events of it are counted here, and nothing follows from them"),
            "{shown}"
        );
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        let until = incident["absorbs_until"].as_str().expect("a time");
        let opened = incident["incident"]["opened"].as_str().expect("a time");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(at(until).since(at(opened)), Span::from_mins(10));
    });
}

/// Nothing happens to an address that was released as a mistake: whoever wonders is told why, wherever they look first.
#[test]
fn whoever_looks_for_what_is_trusted_is_told_until_when_and_by_whom() {
    in_namespace("protect::told", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        assert!(!server.ok(&["status"]).contains("exempted"));
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        assert!(!server.ok(&["incident", "show", "INC-1"]).contains("exempted"));
        let why = ["--trust", "2h", "--reason", "our scanner", "--yes", "--wait", "10s"];
        server.ok(&[&["release", "TX-1"][..], &why].concat());
        server.take(&exploit_from(ATTACKER));
        for command in [&["status"][..], &["incident", "show", "INC-1"]] {
            let shown = server.ok(command);
            let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("203.0.113.9/32 is trusted until "), "{shown}");
            assert!(words.contains("by loopback"), "{shown}");
            assert!(words.contains("our scanner"), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        }
        let status: Value = server.json(&["status"]);
        assert_eq!(
            (&status["exemptions"], &status["exempted"][0]["origin"]),
            (&1.into(), &"trusted".into())
        );
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(incident["exempted"][0]["network"], "203.0.113.9/32", "{incident}");
        server.ok(&["protect", "remove", ATTACKER, "--reason", "ours", "--yes"]);
        assert!(!server.ok(&["incident", "show", "INC-1"]).contains("exempted"));
        assert!(!server.ok(&["status"]).contains("exempted"));
    });
}

/// Somebody who is logged in, which other tests see, too: from an address that none of them attacks from. It is over
/// when this is dropped.
struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

#[test]
fn what_this_machine_depends_on_is_never_blocked() {
    in_namespace("protect::discovered", || {
        const OWN: &str = "198.51.100.1";
        const GATEWAY: &str = "198.51.100.2";
        const RESOLVER: &str = "203.0.113.53";
        const PEER: &str = "203.0.113.241";
        const RESOLV_CONF: &str = "/etc/resolv.conf";
        if !Path::new(RESOLV_CONF).exists() {
            staunch_testkit::skip(
                "protect::discovered",
                "there is no /etc/resolv.conf to put another over",
            );
            return;
        }
        let mut links = Links::open(DEADLINE).expect("this thread may");
        links.create_pair("here", "there").expect("it is our namespace");
        for link in ["here", "there"] {
            links.set_up(link).expect("it is there");
        }
        let address = |text: &str| text.parse().expect("an address");
        links.add_address("here", address(OWN), 24).expect("it is up");
        links
            .add_route(None, address(GATEWAY), Some("here"))
            .expect("it is near");
        let mut session = Command::new("sleep");
        session
            .arg("600")
            .env("SSH_CONNECTION", format!("{PEER} 50001 {OWN} 22"));
        let _session = Session(session.spawn().expect("sleep is there"));

        let home = Home::new(SMALL);
        mounts_of_its_own().expect("this thread may");
        fs::write(home.path("resolv.conf"), format!("nameserver {RESOLVER}\n")).expect("it is our directory");
        let none: Option<&str> = None;
        let ours = home.path("resolv.conf");
        mount(Some(&ours), RESOLV_CONF, none, MsFlags::MS_BIND, none).expect("this thread may");
        let server = home.serve();
        let expected = [
            (PEER, "management session (ssh)"),
            (GATEWAY, "gateway"),
            (RESOLVER, "resolver"),
        ];
        for (at, (peer, reason)) in (1..).zip(expected) {
            server.take(&exploit_from(peer));
            let shown = || server.run(&["incident", "show", &format!("INC-{at}")]);
            wait_until("the refusal", || stdout(&shown()).contains("outcome: refused"));
            let told = stdout(&shown());
            assert!(told.contains("never-touch") && told.contains(reason), "{told}");
        }
        assert_eq!(elements(), []);
        let explained = server.ok(&["protect", "explain", OWN]);
        assert!(
            explained.contains("is never touched") && explained.contains("own address"),
            "{explained}"
        );
    });
}

/// Packets from what Staunch calls can be forged: a block of it would silence whoever is paged.
#[test]
fn what_staunch_calls_is_never_blocked() {
    in_namespace("protect::called", || {
        let config = format!(
            "{SMALL}[telemetry]\notlp = \"http://203.0.113.78:4318\"\n[notifiers.oncall]\nkind = \"webhook\"\nurl = \
             \"https://203.0.113.77:8088/hook\"\nkey_file = \"secret\"\n[[routes]]\nto = [\"oncall\"]\n[[lookups]]\nname = \
             \"who\"\nkind = \"generic\"\npointer = \"/score\"\nurl = \"https://203.0.113.79/{{ip}}\"\ndeadline = \
             \"100ms\"\n[[feeds]]\nname = \"drop\"\nurl = \"https://203.0.113.80/\"\n[health.shop]\nurl = \
             \"https://203.0.113.81/\"\n[prometheus]\nurl = \"https://203.0.113.82\"\n[evidence]\nclock = \
             \"203.0.113.85\"\n[evidence.s3]\nendpoint = \"https://203.0.113.83\"\nbucket = \"evidence\"\nkey_file = \
             \"secret\"\n[[evidence.anchors]]\nname = \"tsa\"\nkind = \"rfc3161\"\nurl = \
             \"https://203.0.113.84/tsr\"\n"
        );
        let home = Home::new(&config);
        fs::write(home.path("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("it is our directory");
        fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o600)).expect("it is our file");
        let server = home.serve();
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (address, what) in [
            ("203.0.113.77", "called: the notifier oncall"),
            ("203.0.113.78", "called: the receiver of traces"),
            ("203.0.113.79", "called: the look-up who"),
            ("203.0.113.80", "called: the feed drop"),
            ("203.0.113.81", "called: the health signal shop"),
            ("203.0.113.82", "called: the Prometheus of conditions"),
            ("203.0.113.83", "called: the bucket of evidence"),
            ("203.0.113.84", "called: the anchor tsa"),
            ("203.0.113.85", "called: the time server of evidence"),
        ] {
            let explained = words(server.ok(&["protect", "explain", address]));
            let expect = format!("{address} is never touched: it is in {address}/32");
            assert!(
                explained.starts_with(&expect) && explained.ends_with(what),
                "{explained}"
            );
            let listed = server.ok(&["protect", "list"]);
            assert!(
                listed.lines().any(|it| it.contains(address) && it.contains(what)),
                "{listed}"
            );

            // A plan without a server says so, too.
            fs::write(home.path("event.json"), exploit_from(address)).expect("it is our directory");
            let event = home.path("event.json").display().to_string();
            let plan = home.run(&["plan", &event, "--source", "suricata", "--local"]);
            let plan = words(String::from_utf8(plan.stdout).expect("it is text"));
            assert!(plan.contains(what), "{plan}");
            server.take(&exploit_from(address));
        }
        wait_until("the refusals", || {
            server.ok(&["incident", "list"]).matches("refused").count() == 9
        });
        assert!(elements().is_empty(), "nothing is blocked");
        server.take(&exploit_from(ATTACKER));
        wait_until("the block of another", || element(ATTACKER).is_some());

        // The configuration may do without anything discovered, and then it is said to.
        server.kill();
        home.configure(&format!("{config}[never_touch]\ndiscover = false\n"));
        let explained = home.serve().ok(&["protect", "explain", "203.0.113.77"]);
        assert!(explained.contains("in no protected network"), "{explained}");
    });
}

/// Whoever comes to protect what is called need not start the server again for what is called by name.
#[test]
fn what_is_called_by_name_is_protected_from_the_reload_on_that_says_so() {
    in_namespace("protect::reloaded", || {
        const CALLED: &str = "203.0.113.90";
        const HOSTS: &str = "/etc/hosts";
        if !Path::new(HOSTS).exists() {
            staunch_testkit::skip("protect::reloaded", "there is no /etc/hosts to put another over");
            return;
        }
        let config = format!(
            "{SMALL}[[lookups]]\nname = \"who\"\nkind = \"generic\"\npointer = \"/score\"\nurl = \
             \"https://who.staunch.test/{{ip}}\"\ndeadline = \"100ms\"\n"
        );
        let home = Home::new(&format!("{config}[never_touch]\ndiscover = false\n"));
        mounts_of_its_own().expect("this thread may");
        fs::write(home.path("hosts"), format!("{CALLED} who.staunch.test\n")).expect("it is our directory");
        let none: Option<&str> = None;
        mount(Some(&home.path("hosts")), HOSTS, none, MsFlags::MS_BIND, none).expect("this thread may");
        let server = home.serve();
        let explained = || server.ok(&["protect", "explain", CALLED]);
        assert!(explained().contains("in no protected network"), "{}", explained());
        home.configure(&config);
        server.ok(&["reload", "--yes", "--reason", "a test"]);
        wait_until("the protection", || explained().contains("called: the look-up who"));
    });
}

/// At a start the name server may not answer yet, and what Staunch calls must not be open until it does.
#[test]
fn what_staunch_calls_by_name_is_protected_before_its_name_is_found_again() {
    // There is no way out of the namespace, so that no name server answers.
    in_namespace("protect::kept", || {
        let config = format!(
            "{SMALL}[[lookups]]\nname = \"who\"\nkind = \"generic\"\npointer = \"/score\"\nurl = \
             \"https://who.invalid/{{ip}}\"\ndeadline = \"100ms\"\n"
        );
        let home = Home::new(&config);
        let doctor = || {
            let output = home.run(&["doctor", "--json"]);
            let found: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
            found.to_string()
        };
        let server = home.serve();
        let explained = server.ok(&["protect", "explain", ATTACKER]);
        assert!(explained.contains("in no protected network"), "{explained}");
        assert!(doctor().contains("is not protected before its name is found: the look-up who (who.invalid)"));
        server.kill();

        let place = |found: &str| {
            format!(
                "{{\"names\":{{\"who.invalid\":{{\"last\":[\"{ATTACKER}\"],\"held\":{{\"{ATTACKER}\":\"{found}\"}}}}}}}}"
            )
        };
        let now = SystemClock.now();
        fs::write(home.data().join("called.json"), place(&now.to_string())).expect("it is ours");
        let server = home.serve();
        let explained = server.ok(&["protect", "explain", ATTACKER]).replace('\n', " ");
        assert!(
            explained.contains("called: the look-up who (who.invalid)"),
            "{explained}"
        );
        server.take(&exploit_from(ATTACKER));
        wait_until("the refusal", || server.ok(&["incident", "list"]).contains("refused"));
        assert!(elements().is_empty(), "nothing is blocked");
        assert!(doctor().contains("is protected where a server found it before"));
        // It is kept for the next one, too.
        let kept = fs::read_to_string(home.data().join("called.json")).expect("it is there");
        assert!(kept.contains(ATTACKER), "{kept}");
        server.kill();

        // What is older than a week may be somebody else's.
        let old = Timestamp::from_micros(now.as_micros() - Span::from_hours(8 * 24).as_micros());
        fs::write(home.data().join("called.json"), place(&old.to_string())).expect("it is ours");
        let server = home.serve();
        let explained = server.ok(&["protect", "explain", ATTACKER]);
        assert!(explained.contains("in no protected network"), "{explained}");
    });
}

#[test]
fn a_time_that_cannot_be_is_told_before_anybody_is_asked() {
    let home = Home::new(SMALL);
    for (command, why) in [
        (&["protect", "add", ATTACKER, "--for", "0s"][..], "no time at all"),
        (&["protect", "add", ATTACKER, "--for", "3661d"], "the longest is 3660d"),
        (&["release", "TX-1", "--trust", "0s"], "no time at all"),
        (&["release", "TX-1", "--trust", "91d"], "the longest is 90d"),
        (&["renew", "TX-1", "--for", "0s"], "no time at all"),
    ] {
        // There is no server, which would be exit code 3.
        let refused = home.run(&[command, &["--reason", "ours", "--yes"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {refused:?}");
        assert!(stderr(&refused).contains(why), "{command:?}: {refused:?}");
    }
    for command in [
        &["protect", "add", ATTACKER, "--for", "3660d"][..],
        &["release", "TX-1", "--trust", "90d"],
    ] {
        let asked = home.run(&[command, &["--reason", "ours", "--yes"]].concat());
        assert_eq!(asked.status.code(), Some(3), "{command:?}: {asked:?}");
    }
}

#[test]
fn nothing_in_force_is_changed_without_a_reason() {
    let home = Home::new(SMALL);
    for command in [
        &["mode", "observe"][..],
        &["protect", "add", ATTACKER],
        &["protect", "remove", ATTACKER],
        &["release", "TX-1"],
        &["release", "--incident", "INC-1", "--trust", "2h"],
        &["approve", "TX-1"],
        &["deny", "TX-1"],
        &["renew", "TX-1", "--for", "1h"],
        &["reload"],
    ] {
        for reason in [&[][..], &["--reason", ""], &["--reason", " \t"]] {
            let words = [command, reason, &["--yes"]].concat();
            // Nobody is asked: there is no server, which would be exit code 3.
            let refused = home.run(&words);
            assert_eq!(refused.status.code(), Some(2), "{words:?}: {refused:?}");
            let said = stderr(&refused).replace('\n', " ");
            assert!(
                said.contains("it is not said why") && said.contains("hint: add --reason"),
                "{said}"
            );
        }
    }
    // To look at the mode, or at what waits, none is needed.
    assert_ne!(home.run(&["mode"]).status.code(), Some(2));
    assert_ne!(home.run(&["approve"]).status.code(), Some(2));
    // Where one may be left out, one that says nothing is refused.
    let drill = ["drill", "run", "reply-lost", "--live"];
    for reason in ["", " \t", "\u{200b}"] {
        let words = [&drill[..], &["--reason", reason, "--yes"]].concat();
        let refused = home.run(&words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {refused:?}");
        let said = stderr(&refused).replace('\n', " ");
        assert!(
            said.contains("the reason is blank") && said.contains("leave it out"),
            "{said}"
        );
    }
    let none = home.run(&[&drill[..], &["--yes", "--url", "http://127.0.0.1:1"]].concat());
    assert_eq!(none.status.code(), Some(3), "{none:?}");
}

/// Whoever presses the big red button is asked why only where that is recorded.
#[test]
fn everything_is_released_without_a_reason_only_where_there_is_no_record() {
    in_namespace("protect::button", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || element(ATTACKER).is_some());
        for reason in [&[][..], &["--reason", " "]] {
            let words = [&["release", "--all", "--yes"], reason].concat();
            let refused = home.run(&words);
            assert_eq!(refused.status.code(), Some(2), "{words:?}: {refused:?}");
            assert!(stderr(&refused).contains("it is not said why"), "{refused:?}");
        }
        assert!(
            element(ATTACKER).is_some(),
            "the server answers, so it was not gone around"
        );
        server.kill();
        let button = home.run(&["release", "--all", "--yes"]);
        assert_eq!(button.status.code(), Some(10), "{button:?}");
        assert!(element(ATTACKER).is_none());
    });
}
