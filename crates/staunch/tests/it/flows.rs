//! From a real alert over HTTP to the kernel, and back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use staunch_model::{IncidentStatus, StateKind};
use staunch_netlink::nftables::Nft;
use staunch_server::dto::{
    Approvals, DriftView, EventPlan, IncidentAnswer, Incidents, ModeView, Notices, Ruling, Status,
};

use crate::harness::{
    DEADLINE, Home, SMALL, Server, brute_force_from, element, elements, exploit_from, in_namespace, staunch, stderr,
    wait_until,
};

const ATTACKER: &str = "41.108.52.138";

fn in_force(server: &Server) -> usize {
    server
        .containments()
        .iter()
        .filter(|it| it.state == StateKind::InForce)
        .count()
}

/// With as many arenas as there are by default, and free pages kept for ten seconds, a server takes half as much again.
#[test]
fn the_allocator_keeps_little() {
    let output = staunch(&["--version"])
        .env("MALLOC_CONF", "stats_print:true")
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    for set in [
        "opt.narenas: 1\n",
        "opt.dirty_decay_ms: 20 ",
        "opt.tcache_nslots_small_max: 32",
    ] {
        assert!(said.contains(set), "{set}: {said}");
    }
}

#[test]
fn an_alert_becomes_an_element_and_a_release_takes_it_away() {
    in_namespace("flows::an_alert_becomes_an_element", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let plan: EventPlan = plan_of(&home, &server, &exploit_from(ATTACKER));
        assert_eq!(plan.plan.responses[0].steps[0].ruling, Ruling::Act);
        assert_eq!(element(ATTACKER), None, "a plan changes nothing");

        let taken = server.take(&exploit_from(ATTACKER));
        assert_eq!((taken.accepted, taken.matched), (1, 1));
        wait_until("the containment", || in_force(&server) == 1);
        let status: Status = server.json(&["status"]);
        let found = element(ATTACKER).expect("it is in the kernel");
        assert_eq!(found.comment, Some(format!("staunch:{}:TX-1", status.installation)));
        let timeout = found.timeout.expect("it ends by itself");
        assert_eq!(timeout, Duration::from_secs(3_660), "the lease of an hour and a margin");

        let listed = &server.containments()[0];
        assert_eq!((listed.target.as_str(), listed.transaction.0), (ATTACKER, 1));
        assert_eq!(listed.playbook.as_deref(), Some("exploit-attempt-block"));
        assert_eq!(listed.drift, Some(DriftView::Verified));
        let text = server.ok(&["containment", "list"]);
        assert!(
            text.contains(ATTACKER) && text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );

        server.take(&exploit_from(ATTACKER));
        wait_until("the second event in the index", || {
            server.json::<Incidents>(&["incident", "list"]).incidents[0].events == 2
        });
        assert_eq!(elements().len(), 1, "the same alert joins");

        let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(shown.detail.transactions[0].state, StateKind::InForce);
        assert!(server.ok(&["incident", "show", "INC-1"]).contains("never-touch"));

        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert_eq!(element(ATTACKER), None);
        let closed: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(closed.detail.incident.status, IncidentStatus::Closed);

        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        assert!(home.run(&["journal", "verify"]).status.success());
        let cat = home.run(&["journal", "cat", "--json"]);
        let lines = String::from_utf8(cat.stdout).expect("UTF-8");
        assert!(lines.lines().count() > 5);
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    });
}

fn plan_of(home: &Home, server: &Server, event: &str) -> EventPlan {
    let file = home.path("event.json");
    std::fs::write(&file, event).expect("it is our directory");
    let file = file.display().to_string();
    let text = server.ok(&["plan", &file]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    server.json(&["plan", &file])
}

#[test]
fn observe_approve_and_enforce_are_what_they_say() {
    in_namespace("flows::observe_approve_and_enforce", || {
        let home = Home::new(&SMALL.replace("enforce", "observe"));
        let server = home.serve();
        server.take(&brute_force_from("203.0.113.1"));
        wait_until("the conclusion", || {
            let listed: Incidents = server.json(&["incident", "list"]);
            listed.incidents.first().is_some_and(|it| it.outcome.is_some())
        });
        assert_eq!(
            server.json::<Incidents>(&["incident", "list"]).incidents[0]
                .outcome
                .map(|it| it.name()),
            Some("would-contain")
        );
        assert!(elements().is_empty());

        let mode: ModeView = server.json(&["mode", "approve", "--reason", "ours", "--yes"]);
        assert_eq!(mode.mode, staunch_model::Mode::Approve);
        for address in ["203.0.113.2", "203.0.113.3"] {
            server.take(&brute_force_from(address));
        }
        let mut waiting = Vec::new();
        wait_until("the questions", || {
            waiting = server.json::<Approvals>(&["approve"]).approvals;
            waiting.len() == 2
        });
        assert!(elements().is_empty());
        let unsure = server.run(&["approve", &waiting[0].transaction.to_string(), "--reason", "ours"]);
        assert_eq!(unsure.status.code(), Some(2), "without a person to ask it needs --yes");
        server.ok(&[
            "approve",
            &waiting[0].transaction.to_string(),
            "--reason",
            "ours",
            "--yes",
        ]);
        server.ok(&["deny", &waiting[1].transaction.to_string(), "--yes", "--reason", "ours"]);
        // Whoever comes later is told who was quicker. The index is a moment behind.
        wait_until("the decision's record", || {
            let late = server.run(&[
                "approve",
                &waiting[1].transaction.to_string(),
                "--reason",
                "ours",
                "--yes",
            ]);
            let said = String::from_utf8_lossy(&late.stderr).into_owned();
            late.status.code() == Some(4) && said.contains("was denied by") && said.contains(": ours")
        });
        wait_until("the approved one", || in_force(&server) == 1);
        assert_eq!(elements().len(), 1);
        for unknown in [
            &["deny", "TX-99", "--reason", "ours", "--yes"][..],
            &["release", "TX-99", "--reason", "ours", "--yes"],
            &["release", "--incident", "INC-99", "--reason", "ours", "--yes"],
            &["renew", "TX-99", "--for", "1h", "--yes", "--reason", "a trial"],
        ] {
            assert_eq!(server.run(unknown).status.code(), Some(5), "{unknown:?}");
        }

        server.ok(&["mode", "enforce", "--reason", "ours", "--yes"]);
        server.take(&brute_force_from("203.0.113.4"));
        wait_until("the enforced one", || in_force(&server) == 2);
        assert!(element("203.0.113.4").is_some());
        let before = element("203.0.113.4").and_then(|it| it.expires).expect("it ends");
        let renewed = server
            .containments()
            .into_iter()
            .find(|it| it.target == "203.0.113.4")
            .expect("it is in force");
        server.ok(&[
            "renew",
            &renewed.transaction.to_string(),
            "--for",
            "2h",
            "--yes",
            "--reason",
            "a trial",
        ]);
        wait_until("the renewal", || {
            element("203.0.113.4")
                .and_then(|it| it.expires)
                .is_some_and(|it| it > before)
        });
        wait_until("its record", || {
            server
                .containments()
                .iter()
                .all(|it| it.transaction != renewed.transaction || it.lease_until > renewed.lease_until)
        });
        let id = renewed.transaction.to_string();
        let shorter = server.run(&["renew", &id, "--for", "1h", "--yes", "--reason", "a trial"]);
        assert_eq!(shorter.status.code(), Some(4), "{shorter:?}");
        assert!(
            String::from_utf8_lossy(&shorter.stderr).contains("--shorten"),
            "{shorter:?}"
        );
        server.ok(&["renew", &id, "--for", "1h", "--shorten", "--yes", "--reason", "a trial"]);
        server.ok(&[
            "release",
            "--incident",
            &renewed.incident.to_string(),
            "--reason",
            "ours",
            "--yes",
        ]);
        wait_until("the release of an incident", || in_force(&server) == 1);
        for told in [
            "203.0.113.4 for ",
            "in force until",
            "set the mode to enforce",
            "released, and verified",
        ] {
            wait_until(told, || home.log().contains(told));
        }
    });
}

const SHORT_LEASE: &str = "playbook: short\nsummary: Block for two seconds.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 1m\n\
    context: [never-touch]\ncontain:\n  - block-ip: { target: event.source.ip, lease: 2s }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

#[test]
fn a_lease_ends_and_playbooks_are_read_again() {
    in_namespace("flows::a_lease_ends", || {
        let home = Home::new(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
        ));
        home.playbook("short.yaml", SHORT_LEASE);
        let server = home.serve();
        server.take(&brute_force_from("203.0.113.9"));
        wait_until("the block", || element("203.0.113.9").is_some());
        wait_until("the end of the lease", || element("203.0.113.9").is_none());
        wait_until("its record", || server.containments().is_empty());

        home.playbook("short.yaml", &SHORT_LEASE.replace("lease: 2s", "leese: 2s"));
        server.signal(Signal::SIGHUP);
        wait_until("the refusal", || home.log().contains("the earlier one stays in force"));
        home.playbook("short.yaml", &SHORT_LEASE.replace("Brute Force", "Another Thing"));
        server.signal(Signal::SIGHUP);
        wait_until("the new playbook", || home.log().contains("were read again"));
        assert_eq!(server.take(&brute_force_from("203.0.113.10")).matched, 0);
    });
}

/// Who comes back after a lease is held for longer: the plan says so, a restart does not forget it, and the journal
/// decides it again.
#[test]
fn whoever_comes_back_is_held_for_longer() {
    in_namespace("flows::whoever_comes_back", || {
        let home = Home::new(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
        ));
        let growing = SHORT_LEASE.replace("lease: 2s", "lease: { first: 2s, then: [1h], within: 1h }");
        home.playbook("short.yaml", &growing);
        let event = brute_force_from("203.0.113.9");
        let served = |server: &Server| plan_of(&home, server, &event).plan.responses[0].steps[0].served;
        let server = home.serve();
        assert_eq!(served(&server), 0);
        server.take(&brute_force_from("203.0.113.9"));
        wait_until("the block", || element("203.0.113.9").is_some());
        wait_until("the end of the lease", || element("203.0.113.9").is_none());
        wait_until("its record", || server.containments().is_empty());
        drop(server);

        let server = home.serve();
        assert_eq!(served(&server), 1);
        let plan = server.ok(&["plan", &home.path("event.json").display().to_string()]);
        assert!(plan.contains("block-ip 203.0.113.9 for 1h"), "{plan}");
        assert!(
            plan.contains("comes back after 1 lease, so this one is longer"),
            "{plan}"
        );
        server.take(&event);
        wait_until("the longer block", || in_force(&server) == 1);
        for told in [
            "block-ip 203.0.113.9 for 1h",
            "is for a target that comes back: 1 lease served",
        ] {
            wait_until(told, || home.log().contains(told));
        }
        drop(server);
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
    });
}

#[test]
fn what_is_protected_is_refused_with_the_reason() {
    in_namespace("flows::what_is_protected_is_refused", || {
        let protected = "[[never_touch.networks]]\nnetwork = \"203.0.113.0/24\"\nreason = \"the load balancers\"\n";
        let home = Home::new(&format!("{SMALL}{protected}"));
        let server = home.serve();
        server.take(&exploit_from("203.0.113.7"));
        let mut shown = String::new();
        wait_until("the refusal", || {
            shown = server.ok(&["incident", "show", "INC-1"]);
            shown.contains("refused")
        });
        assert!(shown.contains("the load balancers"), "{shown}");
        assert!(elements().is_empty());
    });
}

#[test]
fn what_is_protected_later_is_marked_and_the_hint_lifts_it() {
    in_namespace("flows::what_is_protected_later", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from("203.0.113.7"));
        wait_until("the containment", || in_force(&server) == 1);
        let before = server.ok(&["containment", "list"]) + &server.ok(&["incident", "show", "INC-1"]);
        assert!(!before.contains("PROTECTED"), "{before}");
        home.configure(&format!(
            "{SMALL}[[never_touch.networks]]\nnetwork = \"203.0.113.0/24\"\nreason = \"the \\u001b[2Jbalancers\"\n"
        ));
        server.signal(Signal::SIGHUP);
        wait_until("the new policy", || home.log().contains("were read again"));
        let list = server.run(&["containment", "list"]);
        assert!(stderr(&list).contains("PROTECTED NOW: 1 of 1"), "{list:?}");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = words(&server.ok(&["incident", "show", "INC-1"]));
        assert!(
            shown.contains("PROTECTED NOW: 203.0.113.0/24 is never touched (the \\u{1b}[2Jbalancers)"),
            "{shown}"
        );
        let page = server.get::<Notices>("/v1/notices").notices.remove(0).text;
        assert!(page.contains("holds a target that is protected now"), "{page}");
        let hint = page.split('`').nth(1).expect("it names a command").to_owned();
        let mut arguments: Vec<&str> = hint.split(' ').skip(1).collect();
        arguments.extend(["--yes", "--reason", "they are \u{1b}[31mours"]);
        server.ok(&arguments);
        wait_until("the release", || elements().is_empty());
        wait_until("its record", || {
            let shown = words(&server.ok(&["incident", "show", "INC-1"]));
            shown.contains("loopback from 127.0.0.1:")
                && shown.contains(": release TX-1, because they are \\u{1b}[31mours")
        });
        assert!(!server.ok(&["incident", "show", "INC-1"]).contains("PROTECTED"));
    });
}

#[test]
fn what_somebody_else_deletes_is_noticed() {
    in_namespace("flows::what_somebody_else_deletes", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n"));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the containment", || in_force(&server) == 1);
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        nft.delete_elements(&[ATTACKER.parse().expect("an address")])
            .expect("it is there");
        let gone = |it: &staunch_server::dto::Containment| {
            it.drift == Some(DriftView::Missing) || it.state != StateKind::InForce
        };
        wait_until("the sweep", || server.containments().first().is_none_or(gone));
    });
}

#[test]
fn the_big_red_button_works_through_the_server_and_around_it() {
    in_namespace("flows::the_big_red_button", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        for address in ["203.0.113.1", "198.51.100.1", "192.0.2.1"] {
            server.take(&exploit_from(address));
        }
        wait_until("the containments", || in_force(&server) == 3);
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
        wait_until("the release", || server.containments().is_empty());
        assert!(elements().is_empty());

        for address in ["203.0.113.2", "198.51.100.2"] {
            server.take(&exploit_from(address));
        }
        wait_until("the containments", || in_force(&server) == 2);
        let mistaken = server.run(&["release", "--all", "--yes", "--reason", &"x".repeat(20_000)]);
        assert_eq!(mistaken.status.code(), Some(2), "{mistaken:?}");
        assert_eq!(
            elements().len(),
            2,
            "a mistake is no reason to go around a server that works"
        );
        server.signal(Signal::SIGSTOP);
        let named = server.run(&["release", "--all", "--yes"]);
        assert_eq!(named.status.code(), Some(3), "{named:?}");
        assert_eq!(elements().len(), 2, "a URL is named, so this machine is left alone");
        let button = home.run(&["release", "--all", "--yes"]);
        assert_eq!(button.status.code(), Some(10), "{button:?}");
        assert!(
            String::from_utf8_lossy(&button.stdout).starts_with("2 containments"),
            "{button:?}"
        );
        assert!(
            stderr(&button).contains("takes connections and does not answer"),
            "{button:?}"
        );
        assert!(elements().is_empty());
        server.kill();

        let server = home.serve();
        wait_until("the next start to notice", || in_force(&server) == 0);
    });
}

#[test]
fn a_stop_waits_for_nobody_for_ever() {
    in_namespace("flows::stopping_in_time", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the containment", || in_force(&server) == 1);
        let address = server
            .url
            .strip_prefix("http://")
            .expect("it speaks plain HTTP")
            .to_owned();
        let connect = |request: &str| {
            let mut stream = TcpStream::connect(&address).expect("it listens");
            let request = request.replace("HOST", &address);
            stream.write_all(request.as_bytes()).expect("it reads");
            stream
        };
        // One that never sends the rest, and one that never has enough.
        let half = connect("POST /v1/events/suricata HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\n[");
        let mut watcher = connect("GET /v1/stream HTTP/1.1\r\nHost: HOST\r\n\r\n");
        let mut beginning = [0; 12];
        watcher.read_exact(&mut beginning).expect("it answers");
        assert_eq!(&beginning, b"HTTP/1.1 200");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        assert!(element(ATTACKER).is_some());
        drop((half, watcher));
    });
}

#[test]
fn stopping_gracefully_keeps_what_is_in_force() {
    in_namespace("flows::stopping_gracefully", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the containment", || in_force(&server) == 1);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        assert!(element(ATTACKER).is_some());
        let server = home.serve();
        wait_until("the recovery", || in_force(&server) == 1);
        assert_eq!(server.json::<Incidents>(&["incident", "list"]).incidents.len(), 1);
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), Some(0));
    });
}
