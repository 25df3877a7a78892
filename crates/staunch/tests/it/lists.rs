//! Files that list what is never touched: what they protect, what becomes of mistakes in them, and who is told.

use std::fs;

use nix::sys::signal::Signal;
use staunch_server::dto::{Protections, Status};

use crate::harness::{Home, SMALL, Server, element, elements, exploit_from, in_namespace, stderr, wait_until};

const LISTED: &str = "203.0.113.9";
const OTHER: &str = "198.51.100.9";

fn home() -> Home {
    let files = "[[never_touch.files]]\npath = \"partners.txt\"\nreason = \"a partner\"\n";
    Home::new(&format!("{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n{files}"))
}

fn write(home: &Home, text: &str) {
    fs::write(home.path("partners.txt"), text).expect("it is our directory");
}

fn metric(server: &Server, name: &str) -> Option<f64> {
    let text = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
    let text = text.into_body().read_to_string().expect("it is text");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("staunch_list_{name}{{list=\"")))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn doctor(home: &Home) -> String {
    let output = home.run(&["doctor"]);
    String::from_utf8(output.stdout)
        .expect("it is text")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_list_of_thousands_is_shown_to_its_end() {
    in_namespace("lists::long", || {
        let home = home();
        let networks: Vec<String> = (0..2_500)
            .map(|at| format!("100.64.{}.{}/32", at / 250, at % 250))
            .collect();
        write(&home, &networks.join("\n"));
        let server = home.serve();
        let first: Protections = server.get("/v1/protections");
        assert_eq!(first.left_out, 1_500);
        let shown: Protections = server.json(&["protect", "list"]);
        let listed = shown.protections.iter().filter(|it| it.file.is_some());
        let found: Vec<String> = listed.map(|it| it.network.to_string()).collect();
        assert_eq!(found, networks);
        assert_eq!((shown.left_out, shown.next), (0, None));
        let page: Protections = server.get("/v1/protections?limit=7&after=100.64.0.9/32");
        assert_eq!((page.protections.len(), page.left_out), (7, 2_500 - 17));
    });
}

#[test]
fn a_list_is_in_force_within_a_moment_of_a_change_and_a_mistake_changes_nothing() {
    in_namespace("lists::reload", || {
        let home = home();
        write(
            &home,
            "# partners\n203.0.113.0/24\n203.0.113.0/28 # the payment provider\n",
        );
        let server = home.serve();
        server.take(&exploit_from(LISTED));
        let mut shown = String::new();
        wait_until("the refusal", || {
            shown = server.ok(&["incident", "show", "INC-1"]);
            shown.contains("refused")
        });
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let path = home.path("partners.txt").display().to_string();
        assert!(
            words(&shown).contains(&format!("the payment provider ({path}, line 3)")),
            "{shown}"
        );
        assert!(elements().is_empty(), "nothing is blocked");
        let explained: Protections = server.json(&["protect", "explain", LISTED]);
        let found: Vec<_> = explained
            .protections
            .iter()
            .map(|it| (it.file.as_deref(), it.line))
            .collect();
        assert_eq!(found, [(Some(path.as_str()), Some(3)), (Some(path.as_str()), Some(2))]);
        let explained = words(&server.ok(&["protect", "explain", LISTED]));
        assert!(
            explained.contains(&format!("which line 3 of {path} lists: the payment provider")),
            "{explained}"
        );
        let listed = server.ok(&["protect", "list"]);
        assert!(listed.contains("/partners.txt:2"), "{listed}");
        assert_eq!(metric(&server, "networks"), Some(2.0));
        assert_eq!(metric(&server, "refused"), Some(0.0));

        // Half a line, as a slow writer leaves it. All of it is refused, and what was said before holds.
        write(&home, "198.51.100.0/24\n203.0.113.0/2\n");
        wait_until("the refusal of the list", || metric(&server, "refused") == Some(1.0));
        assert_eq!(metric(&server, "networks"), Some(2.0));
        assert_eq!(metric(&server, "refusals_total"), Some(1.0));
        let why = format!("the list {path}, line 2: 203.0.113.0/2 has bits set after its prefix");
        let log = home.log();
        assert!(
            log.contains(&why) && log.contains("write 192.0.0.0/2 or 203.0.113.0"),
            "{log}"
        );
        let status: Status = server.json(&["status"]);
        assert_eq!(status.lists[0].refused.as_deref(), Some(why.as_str()));
        assert!(server.ok(&["status"]).contains("REFUSED"));
        let found = doctor(&home);
        assert!(found.contains(&format!("PROBLEM list: {}", words(&why))), "{found}");
        assert!(
            found.contains(&format!("PROBLEM server: it has refused a list: {}", words(&why))),
            "{found}"
        );
        server.take(&exploit_from(OTHER));
        wait_until("the block", || element(OTHER).is_some());

        // A file that is gone protects as before, too; and a restart does not begin without it.
        fs::remove_file(home.path("partners.txt")).expect("it is there");
        wait_until("the second refusal", || metric(&server, "refusals_total") == Some(2.0));
        assert_eq!(metric(&server, "networks"), Some(2.0));

        write(&home, "198.51.100.0/24\n203.0.113.0/24\n");
        wait_until("the new list", || metric(&server, "refused") == Some(0.0));
        assert!(element(OTHER).is_some(), "what is in force stays");
        let list = server.run(&["containment", "list"]);
        assert!(stderr(&list).contains("PROTECTED NOW: 1 of 1"), "{list:?}");
        let explained = words(&server.ok(&["protect", "explain", LISTED]));
        assert!(
            explained.contains("line 2") && !explained.contains("payment"),
            "{explained}"
        );
        assert!(!doctor(&home).contains("PROBLEM list"));
    });
}

#[test]
fn without_its_lists_a_server_does_not_start_and_a_start_takes_over_what_changed_meanwhile() {
    in_namespace("lists::start", || {
        let home = home();
        let path = home.path("partners.txt").display().to_string();
        for (text, what) in [
            (None, format!("cannot read the list {path}")),
            (
                Some("ten\n"),
                format!("the list {path}, line 1: not a network or address: ten"),
            ),
            (Some("# none\n"), format!("the list {path}: it lists no network")),
        ] {
            if let Some(text) = text {
                write(&home, text);
            }
            let Err(output) = home.try_serve(&["--allow-unauthenticated-loopback"]) else {
                panic!("it starts without its list")
            };
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let log = home.log();
            assert!(
                log.replace('\n', " ").contains(&what) && log.contains("hint: "),
                "{what}: {log}"
            );
        }
        write(&home, "203.0.113.9\n");
        home.serve().kill();
        write(&home, "203.0.113.10\n");
        let server = home.serve();
        server.take(&exploit_from(LISTED));
        wait_until("the block", || element(LISTED).is_some());
        let explained = server.ok(&["protect", "explain", "203.0.113.10"]);
        assert!(explained.contains("never touched"), "{explained}");
        server.kill();
        // The inputs and what was decided on them are in the journal: deciding again gives the same.
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
    });
}

#[test]
fn on_sighup_lists_come_and_go_with_the_configuration() {
    in_namespace("lists::sighup", || {
        let home = home();
        write(&home, "203.0.113.0/24\n");
        let server = home.serve();
        let listen = "[http]\nlisten = \"127.0.0.1:7450\"\n";
        let missing = "[[never_touch.files]]\npath = \"missing.txt\"\nreason = \"a partner\"\n";
        home.configure(&format!("{SMALL}{listen}{missing}"));
        server.signal(Signal::SIGHUP);
        wait_until("the refusal", || home.log().contains("the earlier one stays in force"));
        assert!(server.ok(&["protect", "explain", LISTED]).contains("never touched"));

        home.configure(&format!("{SMALL}{listen}"));
        server.signal(Signal::SIGHUP);
        wait_until("no list", || metric(&server, "networks").is_none());
        assert!(
            server
                .ok(&["protect", "explain", LISTED])
                .contains("in no protected network")
        );
        server.take(&exploit_from(LISTED));
        wait_until("the block", || element(LISTED).is_some());
    });
}

/// Ranges of three services, as AWS publishes them; anybody can rent an address of one of them.
const RANGES: &str = r#"{"syncToken": "1", "createDate": "2026-11-24-16-00-00", "prefixes": [
{"ip_prefix": "203.0.113.0/26", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
{"ip_prefix": "198.51.100.0/24", "region": "eu-central-1", "service": "AMAZON", "network_border_group": "eu-central-1"},
{"ip_prefix": "198.51.100.0/24", "region": "eu-central-1", "service": "EC2", "network_border_group": "eu-central-1"}],
"ipv6_prefixes": []}"#;

#[test]
fn ranges_of_a_provider_protect_its_services_and_not_who_rents_there() {
    in_namespace("lists::ranges", || {
        let config = |services: &str| {
            format!(
                "{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n[[never_touch.files]]\npath = \"ip-ranges.json\"\nformat = \
                 \"aws\"\nreason = \"AWS\"\n{services}"
            )
        };
        let home = Home::new(&config(""));
        fs::write(home.path("ip-ranges.json"), RANGES).expect("it is our directory");
        let refused = home.run(&["check"]);
        assert!(stderr(&refused).contains("those of its customers too"), "{refused:?}");
        home.configure(&config("services = [\"CLOUDFRONT\", \"GLOBALACCELERATOR\"]\n"));
        assert!(doctor(&home).contains("it has no range of the service GLOBALACCELERATOR"));
        // A start is refused for it, so whoever checks before one is told.
        let refused = home.run(&["check"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(stderr(&refused).contains("no range of the service"), "{refused:?}");
        assert!(stderr(&refused).contains("1 error"), "{refused:?}");

        home.configure(&config("services = [\"CLOUDFRONT\"]\n"));
        let server = home.serve();
        server.take(&exploit_from(LISTED));
        server.take(&exploit_from(OTHER));
        wait_until("the block", || element(OTHER).is_some());
        let explained: Protections = server.json(&["protect", "explain", LISTED]);
        let found = explained.protections.first().expect("it is protected");
        assert_eq!((found.line, &*found.reason), (Some(2), "CLOUDFRONT, GLOBAL"));
        assert!(element(LISTED).is_none());
    });
}
