//! `GET /metrics`, and the alert rules and the dashboard that read it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use staunch_netlink::nftables::Nft;
use staunch_server::dto::Status;

use crate::harness::{DEADLINE, Home, SMALL, Server, element, exploit_from, in_namespace, stdout, wait_until};

const RULES: &str = include_str!("../../../../contrib/prometheus/staunch.rules.yaml");
const DASHBOARD: &str = include_str!("../../../../contrib/grafana/staunch.json");
const ATTACKER: &str = "203.0.113.9";

pub(crate) fn scrape(server: &Server) -> String {
    let mut answer = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
    let kind = answer.headers().get("content-type").expect("it has one").clone();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    answer.body_mut().read_to_string().expect("it is text")
}

/// The value of the sample with this name and these labels.
pub(crate) fn value(scrape: &str, sample: &str) -> Option<f64> {
    let line = scrape
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("it is a number"))
}

/// The names that begin with `staunch_` in `text`.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|it| it.starts_with("staunch_")).collect()
}

/// Has the server of `home` bring its checkpoints to a repository; says whether it can.
fn anchored(home: &Home) -> bool {
    let repository = home.path("anchors.git").display().to_string();
    let made = Command::new("git")
        .args(["init", "--quiet", "--bare", &repository])
        .status();
    if !made.is_ok_and(|it| it.success()) {
        staunch_testkit::skip("metrics::anchor_age", "there is no git");
        return false;
    }
    let anchor = format!("[[evidence.anchors]]\nname = \"elsewhere\"\nkind = \"git\"\nrepository = \"{repository}\"\n");
    let config = fs::read_to_string(home.config()).expect("it is there");
    fs::write(home.config(), format!("{config}{anchor}every = \"1s\"\n")).expect("it is our directory");
    true
}

#[test]
fn what_happens_is_counted_and_what_stands_is_shown() {
    in_namespace("metrics::counted", || {
        let list = "[[never_touch.files]]\npath = \"list.txt\"\nreason = \"a partner\"\n";
        let feed = "[[feeds]]\nname = \"drop\"\npath = \"list.txt\"\n[[context.assets]]\npath = \"assets.csv\"\n\
                    [[lookups]]\nname = \"own\"\nkind = \"generic\"\nurl = \"http://127.0.0.1:1/{ip}\"\npointer = \"/score\"\n";
        // Nobody is there: what waits and what fails is told as well.
        let copies = "[evidence]\nimmutable = false\n[evidence.s3]\nendpoint = \"http://127.0.0.1:1\"\nbucket = \"evidence\"\n\
                      key_file = \"s3.key\"\n[[evidence.anchors]]\nname = \"nowhere\"\nkind = \"git\"\n\
                      repository = \"/nonexistent/anchors.git\"\n[[sources.files]]\npath = \"eve.json\"\n";
        let home = Home::new(&format!("{SMALL}{list}{feed}{copies}"));
        let is_anchored = anchored(&home);
        crate::s3_server::key(&home);
        fs::write(home.path("list.txt"), "192.0.2.0/24\n").expect("it is our directory");
        fs::write(home.path("assets.csv"), "network,tier\n10.0.0.0/8,0\n").expect("it is our directory");
        let server = home.serve();
        let before = scrape(&server);
        assert_eq!(value(&before, "staunch_events_accepted_total"), Some(0.0), "{before}");
        assert_eq!(value(&before, "staunch_containments{state=\"in-force\"}"), Some(0.0));
        assert_eq!(value(&before, "staunch_mode{mode=\"enforce\"}"), Some(1.0));
        assert_eq!(value(&before, "staunch_mode{mode=\"observe\"}"), Some(0.0));
        // What appeared with its first count would be no increase for an alert.
        let inlet = home.path("eve.json");
        let inlet = format!("{{kind=\"file\",inlet=\"{}\",source=\"suricata\"}}", inlet.display());
        for sample in [
            "staunch_transactions_total{action=\"block-ip\",result=\"stuck\"}",
            "staunch_refusals_total{reason=\"impact\"}",
            "staunch_rollbacks_total{reason=\"vanished\"}",
            &format!("staunch_inlet_lost_total{inlet}"),
            &format!("staunch_inlet_failing{inlet}"),
        ] {
            assert_eq!(value(&before, sample), Some(0.0), "{sample}");
        }

        server.take(&exploit_from(ATTACKER));
        server.ok(&["protect", "add", "198.51.100.7", "--reason", "ours", "--yes"]);
        server.take(&exploit_from("198.51.100.7"));
        let result = |result: &str| format!("staunch_transactions_total{{action=\"block-ip\",result=\"{result}\"}}");
        wait_until("both outcomes", || {
            let now = scrape(&server);
            let counted = |name| value(&now, &result(name)) == Some(1.0);
            counted("in-force") && counted("refused")
        });
        let now = scrape(&server);
        assert_eq!(value(&now, "staunch_events_accepted_total"), Some(2.0), "{now}");
        assert_eq!(value(&now, "staunch_events_matched_total"), Some(2.0));
        assert_eq!(value(&now, "staunch_containments{state=\"in-force\"}"), Some(1.0));
        assert_eq!(value(&now, "staunch_containments_unverified"), Some(0.0));
        assert_eq!(value(&now, "staunch_protections"), Some(1.0));
        assert_eq!(value(&now, "staunch_refusals_total{reason=\"never-touch\"}"), Some(1.0));
        for phase in ["wait", "pre-check", "execute", "post-check", "contain"] {
            let took = |suffix| value(&now, &format!("staunch_phase_seconds_{suffix}{{phase=\"{phase}\"}}"));
            let at_least = if matches!(phase, "wait" | "pre-check") {
                2.0
            } else {
                1.0
            };
            assert_eq!(took("count"), Some(at_least), "{phase}: {now}");
            assert!(took("sum").is_some_and(|sum| sum < 60.0), "{phase}: {now}");
        }

        server.ok(&["release", "TX-1", "--reason", "ours", "--yes"]);
        wait_until("the release", || {
            element(ATTACKER).is_none() && value(&scrape(&server), &result("released")) == Some(1.0)
        });
        let now = scrape(&server);
        assert_eq!(value(&now, "staunch_containments{state=\"in-force\"}"), Some(0.0));
        assert_eq!(value(&now, "staunch_phase_seconds_count{phase=\"release\"}"), Some(1.0));

        // Every metric that rules and dashboard ask for is there, and each has its help and its type.
        let age = "staunch_anchor_age_seconds";
        if is_anchored {
            let sample = format!("{age}{{anchor=\"elsewhere\"}}");
            wait_until("a checkpoint elsewhere", || value(&scrape(&server), &sample).is_some());
        }
        let now = scrape(&server);
        let there = names(&now);
        let asked = names(RULES).into_iter().chain(names(DASHBOARD));
        // Before the first checkpoint is elsewhere it has no age.
        let asked = asked.filter(|name| is_anchored || *name != age);
        let missing: Vec<_> = asked.filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?} are not in {now}");
        for line in now.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|it| name.strip_suffix(it));
            let named = [Some(name), family].into_iter().flatten();
            let has = |what: &str| named.clone().any(|name| now.contains(&format!("# {what} {name} ")));
            assert!(has("HELP") && has("TYPE"), "{line}");
        }
    });
}

/// Events that come without being posted have no sender who is told what becomes of them.
#[test]
fn what_followed_sources_lose_is_counted() {
    in_namespace("metrics::inlets", || {
        let files = "[[sources.files]]\npath = \"eve.json\"\nbegin = \"start\"\n\
                     [[sources.files]]\npath = \"other.json\"\nsource = \"falco\"\n";
        let home = Home::new(&format!("{SMALL}{files}"));
        let overlong = "x".repeat(3 << 20);
        let alert = exploit_from(ATTACKER).replace('\n', " ");
        fs::write(
            home.path("eve.json"),
            format!("{alert}\nno json\n{overlong}\n{alert}\n"),
        )
        .expect("it is ours");
        fs::create_dir(home.path("other.json")).expect("it is our directory");
        let server = home.serve();
        let sample = |name: &str, kind: &str, file: &str, source: &str| {
            let file = home.path(file);
            format!(
                "staunch_inlet_{name}{{kind=\"{kind}\",inlet=\"{}\",source=\"{source}\"}}",
                file.display()
            )
        };
        let eve = |name: &str| value(&scrape(&server), &sample(name, "file", "eve.json", "suricata"));
        let other = |name: &str| value(&scrape(&server), &sample(name, "file", "other.json", "falco"));
        wait_until("the lines", || eve("lines_total") == Some(3.0));
        wait_until("the loss", || eve("lost_total") == Some(1.0));
        assert_eq!(eve("malformed_total"), Some(1.0));
        assert_eq!(eve("passed_over_total"), Some(0.0));
        assert_eq!(
            (eve("failing"), eve("waiting"), eve("failures_total")),
            (Some(0.0), Some(0.0), Some(0.0))
        );

        wait_until("the failure", || other("failing") == Some(1.0));
        assert_eq!((other("failures_total"), other("lost_total")), (Some(1.0), Some(0.0)));
        fs::remove_dir(home.path("other.json")).expect("it is empty");
        fs::write(home.path("other.json"), "").expect("it is our directory");
        wait_until("the file", || other("failing") == Some(0.0));
        assert_eq!(other("failures_total"), Some(1.0), "it has begun once");
        let status = server.json::<Status>(&["status"]).inlets;
        assert_eq!((status[0].dropped, status[1].failures), (1, 1), "{status:?}");
    });
}

/// A containment that somebody else removes is rolled back, and counted with its cause.
#[test]
fn a_rollback_is_counted_with_its_cause() {
    in_namespace("metrics::rollback", || {
        let config = format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n");
        let home = Home::new(&config);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        nft.delete_elements(&[ATTACKER.parse().expect("an address")])
            .expect("it is there");
        wait_until("the rollback", || {
            value(&scrape(&server), "staunch_rollbacks_total{reason=\"vanished\"}") == Some(1.0)
        });
    });
}

#[test]
fn a_scrape_needs_more_than_a_senders_token() {
    in_namespace("metrics::access", || {
        let home = Home::new(SMALL);
        let token = |name, role| {
            let made = home.run(&["token", "create", name, "--role", role]);
            String::from_utf8(made.stdout).expect("it is text").trim().to_owned()
        };
        let (sender, viewer) = (token("soar", "sender"), token("prometheus", "viewer"));
        let Ok(server) = home.try_serve(&[]) else {
            panic!("{}", home.log())
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let status = |server: &Server, token: Option<&str>| {
            let mut request = agent.get(format!("{}/metrics", server.url));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request.call().expect("it answers").status().as_u16()
        };
        assert_eq!(status(&server, None), 401);
        assert_eq!(status(&server, Some(&sender)), 403);
        assert_eq!(status(&server, Some(&viewer)), 200);
        // A sender that is turned away seldom says so anywhere.
        let turned_away = || home.log().matches("its token is wrong or was revoked").count();
        assert_eq!(turned_away(), 0);
        let status_text = || stdout(&home.run(&["status"]));
        assert!(!status_text().contains("REFUSED"), "{}", status_text());
        for _ in 0..3 {
            let path = "v1/events/stn_none-of-ours";
            let request = agent.post(format!("{}/{path}", server.url));
            let request = request.header("authorization", "Bearer stn_none-of-ours");
            assert_eq!(request.send("{}").expect("it answers").status().as_u16(), 401);
        }
        wait_until("a word in the log", || turned_away() == 1);
        let shown = status_text();
        let said = "3 requests with events REFUSED, without a good token or";
        assert!(shown.contains(said), "{shown}");
        assert!(!home.log().contains("none-of-ours"), "{}", home.log());
        drop(server);
        let Ok(server) = home.try_serve(&[]) else {
            panic!("{}", home.log())
        };
        assert_eq!(status(&server, None), 401, "whoever looks around is no sensor");
        let request = agent.post(format!("{}/v1/events/falco", server.url));
        assert_eq!(request.send("{}").expect("it answers").status().as_u16(), 401);
        let untold = || home.log().contains("untold=0 why=\"it has no token\"");
        wait_until("a word in the log", untold);
    });
}
