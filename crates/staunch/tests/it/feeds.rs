//! Feeds and the table of risks: what they say in the plan, whom they let act, and what becomes of a feed that fails.

mod misp;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use staunch_server::dto::Status;

use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, wait_until};

/// In the recorded feed, and beside it.
const NAMED: &str = "203.0.113.9";
const UNNAMED: &str = "198.51.100.9";

const PLAYBOOK: &str = "playbook: sure\nsummary: Block what is known to be bad.\ntrigger:\n  sources: [suricata]\n  \
     when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\ncontext: [never-touch]\n\
     guards: { risk_min: high }\ncontain:\n  - block-ip: { target: event.source.ip, lease: 10m }\n\
     mode: { low: enforce, medium: approve, high: observe }\n";

const FEEDS: &str = "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n\
     [[feeds]]\nname = \"drop\"\npath = \"drop.json\"\nformat = \"spamhaus\"\nscore = 0.95\nconfidence = 90\n";

fn drop_list(home: &Home, networks: &[&str]) {
    let lines = networks
        .iter()
        .map(|it| format!("{{\"cidr\":\"{it}\",\"sblid\":\"SBL1\",\"rir\":\"test\"}}\n"));
    let metadata = format!("{{\"type\":\"metadata\",\"records\":{}}}\n", networks.len());
    let text: String = lines.chain([metadata]).collect();
    fs::write(home.path("drop.json"), text).expect("it is our directory");
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn plan(home: &Home, arguments: &[&str], address: &str) -> (String, Value) {
    fs::write(home.path("event.json"), exploit_from(address)).expect("it is our directory");
    let event = home.path("event.json").display().to_string();
    let of = |more: &[&str]| {
        let output = home.run(&[&["plan", event.as_str()], arguments, more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let json: Value = serde_json::from_str(&of(&["--json"])).expect("it is JSON");
    let guards = json["plan"]["responses"][0]["steps"][0]["judgement"]["guards"].as_array();
    let risk = guards
        .and_then(|all| all.iter().find(|it| it["guard"] == "risk"))
        .cloned();
    (words(&of(&[])), risk.expect("the risk is judged"))
}

fn metric(server: &Server, name: &str) -> Option<f64> {
    let text = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
    let text = text.into_body().read_to_string().expect("it is text");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("staunch_feed_{name}{{feed=\"drop\"")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn what_a_feed_names_is_contained_and_of_the_rest_a_person_is_asked() {
    in_namespace("feeds::risk", || {
        let home = Home::new(&format!("{SMALL}{FEEDS}"));
        home.playbook("sure.yaml", PLAYBOOK);
        drop_list(&home, &["203.0.113.0/24", "10.0.0.0/8"]);
        let (text, risk) = plan(&home, &["--local"], NAMED);
        let why = "the risk is critical, by row 2 of the table (a very high score): score 0.95 by \"drop\", which names \
                   203.0.113.0/24 as SBL1, 90 % sure";
        assert!(text.contains(why), "{text}");
        assert_eq!(
            (&risk["verdict"], &risk["measured"]),
            (&"passed".into(), &950.into()),
            "{risk}"
        );

        let server = home.serve();
        assert!(home.log().contains("special=1"), "{}", home.log());
        let (_, risk) = plan(&home, &[], UNNAMED);
        let why =
            "the risk is medium, because no row of the table holds: no feed names it; below high a person is asked";
        assert_eq!((&risk["verdict"], &risk["why"]), (&"ask".into(), &why.into()), "{risk}");
        server.take(&exploit_from(NAMED));
        server.take(&exploit_from(UNNAMED));
        wait_until("the block", || element(NAMED).is_some());
        wait_until("the question", || {
            server.json::<Status>(&["status"]).awaiting_approval == 1
        });
        assert!(element(UNNAMED).is_none());
        let shown = words(&server.ok(&["incident", "show", "INC-1"]));
        assert!(shown.contains("by row 2 of the table"), "{shown}");

        // A feed that is cut off: what was read before counts, and who looks is told.
        assert_eq!(
            (metric(&server, "networks"), metric(&server, "failed")),
            (Some(1.0), Some(0.0))
        );
        fs::write(home.path("drop.json"), "{\"cidr\":\"198.51.100.0/24\"}\n").expect("it is our directory");
        wait_until("the failure", || metric(&server, "failed") == Some(1.0));
        assert_eq!(
            (metric(&server, "networks"), metric(&server, "stale")),
            (Some(1.0), Some(0.0))
        );
        let (_, risk) = plan(&home, &[], "203.0.113.77");
        assert_eq!(risk["verdict"], "passed", "{risk}");
        let doctor = words(&String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text"));
        assert!(
            doctor.contains("warning feed: the feed drop (") && doctor.contains("metadata is missing"),
            "{doctor}"
        );
        assert!(server.ok(&["status"]).contains("FAILS"));

        drop_list(&home, &["198.51.100.0/25"]);
        wait_until("the new feed", || metric(&server, "failed") == Some(0.0));
        server.take(&exploit_from("198.51.100.8"));
        wait_until("the second block", || element("198.51.100.8").is_some());
        server.kill();
        // What feeds said is in the journal, and nothing else is asked when it is decided again.
        fs::remove_file(home.path("drop.json")).expect("it is there");
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
    });
}

#[test]
fn a_feed_that_was_never_read_makes_the_score_unknown_and_stops_nothing() {
    in_namespace("feeds::missing", || {
        let rows =
            "[risk]\notherwise = \"critical\"\n[[risk.rows]]\nname = \"clean\"\nscore_below = 0.1\nrisk = \"low\"\n";
        let home = Home::new(&format!("{SMALL}{FEEDS}{rows}"));
        home.playbook("sure.yaml", PLAYBOOK);
        let server = home.serve();
        assert_eq!(
            (metric(&server, "failed"), metric(&server, "stale")),
            (Some(1.0), Some(1.0))
        );
        let (text, risk) = plan(&home, &[], NAMED);
        assert!(risk["measured"].is_null(), "{risk}");
        let why = "the risk is critical, because no row of the table holds: the score is unknown: feed drop was never read: \
                   cannot read the feed drop";
        assert!(text.contains(why), "{text}");
        // Once it is there and names nobody near, the score is 0, and the row holds.
        drop_list(&home, &["192.0.2.0/24"]);
        wait_until("the feed", || metric(&server, "failed") == Some(0.0));
        let (text, _) = plan(&home, &[], NAMED);
        assert!(
            text.contains("the risk is low, by row 1 of the table (clean): no feed names it"),
            "{text}"
        );
        server.take(&exploit_from(NAMED));
        wait_until("the question", || {
            server.json::<Status>(&["status"]).awaiting_approval == 1
        });
    });
}

#[test]
fn a_plan_reads_the_other_formats_too() {
    in_namespace("feeds::formats", || {
        let uuid = "5f4a9c1e-0000-4000-8000-000000000001";
        let attribute = format!(r#"{{"type":"ip-dst","value":"{NAMED}","to_ids":true,"comment":"c2"}}"#);
        let event = format!(r#"{{"Event":{{"info":"a campaign","Attribute":[{attribute}]}}}}"#);
        let indicator = format!(
            r#"{{"type":"indicator","pattern":"[ipv4-addr:value = '{NAMED}']","pattern_type":"stix","name":"c2","confidence":77}}"#
        );
        type Files = Vec<(&'static str, String)>;
        let formats: [(&str, &str, Files, &str); 4] = [
            (
                "plain",
                "list.txt",
                vec![("list.txt", format!("{NAMED} # c2\n"))],
                "50 %",
            ),
            (
                "stix",
                "b.json",
                vec![("b.json", format!(r#"{{"type":"bundle","objects":[{indicator}]}}"#))],
                "77 %",
            ),
            ("misp", "e.json", vec![("e.json", event.clone())], "50 %"),
            (
                "misp",
                "feed",
                vec![
                    ("feed/manifest.json", format!("{{\"{uuid}\":{{\"info\":\"x\"}}}}")),
                    ("feed/5f4a9c1e-0000-4000-8000-000000000001.json", event),
                ],
                "50 %",
            ),
        ];
        for (format, path, files, sure) in formats {
            let feed = format!(
                "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[[feeds]]\nname = \"f\"\npath = \"{path}\"\n\
                 format = \"{format}\"\nscore = 0.9\n"
            );
            let home = Home::new(&format!("{SMALL}{feed}"));
            home.playbook("sure.yaml", PLAYBOOK);
            for (file, text) in files {
                let file = home.path(file);
                fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).expect("it is our directory");
                fs::write(file, text).expect("it is our directory");
            }
            let (text, _) = plan(&home, &["--local"], NAMED);
            let said = format!("score 0.9 by \"f\", which names {NAMED}/32 as c2, {sure} sure");
            assert!(text.contains(&said), "{format} {path}: {text}");
        }
    });
}

/// What the server of a feed answers, and what it was asked with.
#[derive(Default)]
struct Answer {
    status: &'static str,
    etag: &'static str,
    body: String,
    /// The ETags of requests, in order; empty for one without.
    asked: Vec<String>,
}

/// A server of one feed on this host, and its address.
fn feed_server() -> (Arc<Mutex<Answer>>, String) {
    let answer = Arc::new(Mutex::new(Answer::default()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!("http://{}/feed", listener.local_addr().expect("it has one"));
    let shared = answer.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut etag = String::new();
            for line in BufReader::new(&stream).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("if-none-match: ") {
                    etag = value.to_owned();
                }
            }
            let mut answer = shared.lock().expect("no test panics with it");
            let same = answer.status == "200 OK" && !etag.is_empty() && etag == answer.etag;
            answer.asked.push(etag);
            let (status, body) = match same {
                true => ("304 Not Modified", ""),
                false => (answer.status, answer.body.as_str()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\netag: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                answer.etag,
                body.len()
            );
            // Whoever asked may have gone.
            drop(stream.write_all(head.as_bytes()));
        }
    });
    (answer, url)
}

/// What a TAXII server was asked.
struct Asked {
    page: String,
    /// The header `Accept`, as it came.
    accept: String,
}

/// A TAXII server with one collection of three pages, for who knows the key. Returns what it was asked.
fn taxii_server(key: &'static str) -> (Arc<Mutex<Vec<Asked>>>, String) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!(
        "http://{}/objects/?match[type]=indicator",
        listener.local_addr().expect("it has one")
    );
    let shared = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut path, mut accept, mut knows) = (String::new(), String::new(), false);
            for line in BufReader::new(&stream).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                if let Some(rest) = line.strip_prefix("GET ") {
                    path = rest.split(' ').next().unwrap_or_default().to_owned();
                }
                if let Some((name, value)) = line.split_once(": ")
                    && name.eq_ignore_ascii_case("accept")
                {
                    accept = value.to_owned();
                }
                knows |= line.to_ascii_lowercase().starts_with("authorization: ") && line.ends_with(key);
            }
            let page = path.split("&next=").nth(1).unwrap_or("1");
            let (ip, more) = match page {
                "1" => ("203.0.113.7", ",\"more\":true,\"next\":\"a+b/2\""),
                "a%2Bb%2F2" => ("203.0.113.8", ",\"more\":true,\"next\":\"3\""),
                _ => ("203.0.113.9", ",\"more\":false"),
            };
            let page_asked = Asked {
                page: page.to_owned(),
                accept,
            };
            shared.lock().expect("no test panics with it").push(page_asked);
            let body = format!(
                "{{\"objects\":[{{\"type\":\"indicator\",\"id\":\"indicator--{ip}\",\"pattern_type\":\"stix\",\"pattern\":\"[ipv4-addr:value \
                 = '{ip}']\",\"valid_from\":\"2026-01-01T00:00:00Z\"}}]{more}}}"
            );
            let status = if knows { "200 OK" } else { "401 Unauthorized" };
            let head = format!(
                "HTTP/1.1 {status}\r\netag: \"page\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may have gone.
            drop(stream.write_all(head.as_bytes()));
        }
    });
    (asked, url)
}

#[test]
fn all_pages_of_a_collection_are_fetched_with_the_key() {
    in_namespace("feeds::taxii", || {
        let (asked, url) = taxii_server("Bearer 3f1c-secret");
        let home = Home::new("");
        let key = home.path("taxii.key");
        let write = |text: &str| {
            fs::write(&key, text).expect("it is our directory");
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is our file");
        };
        write("Bearer of nothing\n");
        home.configure(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\n[[feeds]]\nname = \"drop\"\nurl = \"{url}\"\nformat = \"stix\"\nevery = \"1s\"\n\
             key_file = \"{}\"\n",
            key.display()
        ));
        let server = home.serve();
        wait_until("the refusal", || metric(&server, "failed") == Some(1.0));
        assert!(home.log().contains("401"), "{}", home.log());
        // The key is read again at each fetch.
        write("Bearer 3f1c-secret\n");
        wait_until("the feed", || metric(&server, "networks") == Some(3.0));
        let pages = || {
            let asked = asked.lock().expect("no test panics with it");
            asked.iter().map(|it| it.page.clone()).collect::<Vec<_>>()
        };
        let pages = pages();
        let last: Vec<&str> = pages.iter().skip_while(|it| *it == "1").map(String::as_str).collect();
        assert!(last.starts_with(&["a%2Bb%2F2", "3"]), "{pages:?}");
        assert!(!home.log().contains("3f1c-secret"), "the key is nowhere shown");
        // A page that nobody answers leaves the copy as it is.
        write("Bearer of nothing\n");
        wait_until("the failure", || metric(&server, "failed") == Some(1.0));
        assert_eq!(metric(&server, "networks"), Some(3.0));
        // A server may refuse who does not ask for TAXII 2.1, for the first page or another.
        for it in &*asked.lock().expect("no test panics with it") {
            let mut types = it.accept.split(", ");
            let asks = types.any(|it| it == "application/taxii+json;version=2.1");
            assert!(asks, "page {}: accept is {:?}", it.page, it.accept);
        }
    });
}

#[test]
fn a_feed_is_fetched_with_its_etag_and_the_last_good_copy_is_kept() {
    in_namespace("feeds::fetched", || {
        let (answer, url) = feed_server();
        let says = |status, etag, body: &str| {
            let mut answer = answer.lock().expect("no test panics with it");
            answer.asked.clear();
            (answer.status, answer.etag, answer.body) = (status, etag, body.to_owned());
        };
        let asked = |etag: &str| {
            let answer = answer.lock().expect("no test panics with it");
            answer.asked.iter().any(|it| it == etag)
        };
        says("200 OK", "\"one\"", &format!("{NAMED} # c2\n"));
        let feed = format!(
            "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n\
             [[feeds]]\nname = \"drop\"\nurl = \"{url}\"\nevery = \"1s\"\nscore = 0.9\n"
        );
        let home = Home::new(&format!("{SMALL}{feed}"));
        home.playbook("sure.yaml", PLAYBOOK);
        let server = home.serve();
        wait_until("the feed", || metric(&server, "networks") == Some(1.0));
        assert!(asked(""), "the first request has no ETag");
        wait_until("a request with the ETag", || asked("\"one\""));
        server.take(&exploit_from(NAMED));
        wait_until("the block", || element(NAMED).is_some());

        // Neither an error nor a page in place of the feed replaces the copy.
        for (status, body) in [
            ("503 Service Unavailable", "later"),
            ("200 OK", "<html>\nsign in</html>"),
        ] {
            says(status, "\"page\"", body);
            wait_until("the failure", || metric(&server, "failed") == Some(1.0));
            assert_eq!(
                (metric(&server, "networks"), metric(&server, "stale")),
                (Some(1.0), Some(0.0))
            );
            let (_, risk) = plan(&home, &[], NAMED);
            assert_eq!(risk["verdict"], "passed", "{risk}");
            let doctor = words(&String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text"));
            assert!(doctor.contains("the feed drop cannot be fetched"), "{doctor}");
            says("200 OK", "\"one\"", &format!("{NAMED} # c2\n"));
            wait_until("the mending", || metric(&server, "failed") == Some(0.0));
        }
        says("200 OK", "\"two\"", "192.0.2.0/24\n192.0.2.0/25\n");
        wait_until("the new feed", || metric(&server, "networks") == Some(2.0));
        server.kill();

        // The copy is there at the next start, also while the server of the feed is not.
        says("503 Service Unavailable", "", "");
        let server = home.serve();
        assert_eq!(metric(&server, "networks"), Some(2.0));
        wait_until("a request with the kept ETag", || asked("\"two\""));
    });
}

#[test]
fn a_start_does_not_ask_again_for_a_copy_that_is_still_young() {
    in_namespace("feeds::young", || {
        let ((drop, drop_url), (other, other_url)) = (feed_server(), feed_server());
        let asked = |answer: &Mutex<Answer>| answer.lock().expect("no test panics with it").asked.len();
        for answer in [&drop, &other] {
            let mut answer = answer.lock().expect("no test panics with it");
            (answer.status, answer.body) = ("200 OK", format!("{NAMED}\n"));
        }
        let feed = |name: &str, url: &str, every: &str| {
            format!("[[feeds]]\nname = \"{name}\"\nurl = \"{url}\"\nevery = \"{every}\"\n")
        };
        // One thread asks both, the first one first.
        let feeds = feed("drop", &drop_url, "1h") + &feed("other", &other_url, "1s");
        let home = Home::new(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\n[http]\nlisten = \"127.0.0.1:7450\"\n{feeds}"
        ));
        let server = home.serve();
        wait_until("both feeds", || asked(&drop) == 1 && asked(&other) > 1);
        server.kill();
        let before = asked(&other);
        let server = home.serve();
        wait_until("the other feed", || asked(&other) > before + 1);
        assert_eq!(asked(&drop), 1, "its copy is of this hour");
        assert_eq!(metric(&server, "networks"), Some(1.0));
        server.kill();
        // What is somewhere else is asked for at once.
        let config = fs::read_to_string(home.config()).expect("it is there");
        let config = config.replace(&drop_url, &format!("{drop_url}2"));
        fs::write(home.config(), config).expect("it is our directory");
        let _server = home.serve();
        wait_until("the feed of another address", || asked(&drop) == 2);
    });
}

#[test]
fn triggers_ask_what_feeds_say_and_a_place_in_no_feed_has_the_score_0() {
    in_namespace("feeds::triggers", || {
        let home = Home::new(&format!("{SMALL}{FEEDS}"));
        let asks = |name: &str, when: &str| {
            PLAYBOOK
                .replace("playbook: sure", &format!("playbook: {name}"))
                .replace("event.severity >= high", when)
        };
        let bad = "reputation.source.score > 0.8 && reputation.source.confidence >= 90";
        home.playbook("bad.yaml", &asks("bad", bad));
        home.playbook("unnamed.yaml", &asks("unnamed", "reputation.source.score == 0"));
        // Without the feed nothing is known, so neither matches.
        let server = home.serve();
        assert_eq!(server.take(&exploit_from(NAMED)).matched, 0);
        drop_list(&home, &["203.0.113.0/24"]);
        wait_until("the feed", || metric(&server, "failed") == Some(0.0));
        let (text, _) = plan(&home, &[], NAMED);
        assert!(text.contains("known 203.0.113.9: score 0.95, 90 % sure"), "{text}");
        assert!(text.contains("reputation.source.score is 0.95"), "{text}");
        let (text, _) = plan(&home, &[], UNNAMED);
        let known = format!("known {UNNAMED}: no feed names it");
        assert!(text.contains("unnamed") && text.contains(&known), "{text}");
    });
}

/// A server that says the same of every address, or is away; the requests that it was sent.
fn lookup_server(data: &Arc<Mutex<Option<String>>>) -> (Arc<Mutex<Vec<String>>>, String) {
    let (asked, data) = (Arc::<Mutex<Vec<String>>>::default(), data.clone());
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!("http://{}/check", listener.local_addr().expect("it has one"));
    let requests = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            requests
                .lock()
                .expect("no test panics with it")
                .push(request.join("\n"));
            let (status, body) = match &*data.lock().expect("no test panics with it") {
                Some(data) => ("200 OK", format!("{{\"data\":{{{data}}}}}")),
                None => ("503 Service Unavailable", String::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may have gone.
            drop(stream.write_all(head.as_bytes()));
        }
    });
    (asked, url)
}

#[test]
fn a_service_is_asked_of_what_no_feed_names_and_its_answer_is_in_the_journal() {
    const KEY: &str = "k3y-that-nobody-may-see";
    in_namespace("feeds::lookups", || {
        let data = Arc::new(Mutex::new(Some("\"abuseConfidenceScore\":95".to_owned())));
        let says = |it| *data.lock().expect("no test panics with it") = it;
        let (asked, url) = lookup_server(&data);
        let lookup = format!(
            "[[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nurl = \"{url}\"\nkey_file = \"abuse.key\"\n\
             deadline = \"5s\"\nalso = [\"198.51.100.0/24\"]\n[log]\nlevel = \"trace\"\n"
        );
        let home = Home::new(&format!("{SMALL}{FEEDS}{lookup}"));
        home.playbook("sure.yaml", PLAYBOOK);
        drop_list(&home, &["203.0.113.0/24"]);
        fs::write(home.path("abuse.key"), format!("{KEY}\n")).expect("it is our directory");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(home.path("abuse.key"), private).expect("it is ours");
        let server = home.serve();
        server.take(&exploit_from(NAMED));
        wait_until("the block by the feed", || element(NAMED).is_some());
        assert!(asked.lock().expect("no test panics with it").is_empty());
        server.take(&exploit_from(UNNAMED));
        wait_until("the block by the look-up", || element(UNNAMED).is_some());
        let requests = asked.lock().expect("no test panics with it").clone();
        assert_eq!(requests.len(), 1, "{requests:?}");
        let request = requests[0].to_ascii_lowercase();
        assert!(request.contains(&format!("key: {KEY}")), "{request}");
        let (text, risk) = plan(&home, &[], UNNAMED);
        let why = format!("score 0.95 by \"abuse\", which names {UNNAMED}/32, 50 % sure");
        assert!(text.contains(&why), "{text}");
        assert_eq!(risk["measured"], 950, "{risk}");

        // While it is down, what it would say is unknown, and a person is asked.
        says(None);
        server.take(&exploit_from("198.51.100.77"));
        wait_until("the question", || {
            server.json::<Status>(&["status"]).awaiting_approval == 1
        });
        let (text, _) = plan(&home, &[], "198.51.100.77");
        assert!(
            text.contains("the score is unknown: look-up abuse: it answers with 503"),
            "{text}"
        );
        let status = server.json::<Status>(&["status"]);
        assert!(
            status.lookups[0].hits > 0 && status.lookups[0].failed.is_some(),
            "{:?}",
            status.lookups
        );
        assert!(server.ok(&["status"]).contains("it answers with 503"));
        let doctor = words(&String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text"));
        assert!(doctor.contains("look-up abuse: it answers with 503"), "{doctor}");
        let metrics = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
        let metrics = metrics.into_body().read_to_string().expect("it is text");
        let hits = format!(
            "staunch_lookup_cache_hits_total{{lookup=\"abuse\"}} {}\n",
            status.lookups[0].hits
        );
        for sample in [
            &*hits,
            "staunch_lookups_total{lookup=\"abuse\",result=\"answered\"} 1",
            "staunch_lookup_cache_misses_total{lookup=\"abuse\"} 2",
            "staunch_lookup_seconds_count{lookup=\"abuse\"} 2",
        ] {
            assert!(metrics.contains(sample), "{sample}: {metrics}");
        }
        server.kill();
        for told in [home.log(), metrics, doctor] {
            assert!(!told.contains(KEY), "the key is told");
        }
        // Decided again, nobody is asked.
        let before = asked.lock().expect("no test panics with it").len();
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
        assert_eq!(asked.lock().expect("no test panics with it").len(), before);
    });
}

#[test]
fn what_a_service_lists_as_good_is_not_contained_because_a_feed_names_it() {
    in_namespace("feeds::good", || {
        let good = "\"abuseConfidenceScore\":100,\"isWhitelisted\":true".to_owned();
        let (_asked, url) = lookup_server(&Arc::new(Mutex::new(Some(good))));
        let lookup = format!(
            "[[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nurl = \"{url}\"\nkey_file = \"abuse.key\"\n\
             deadline = \"5s\"\nalso = [\"203.0.113.0/24\"]\n"
        );
        let home = Home::new(&format!("{SMALL}{FEEDS}{lookup}"));
        home.playbook("sure.yaml", PLAYBOOK);
        drop_list(&home, &["203.0.113.0/24"]);
        fs::write(home.path("abuse.key"), "k3y\n").expect("it is our directory");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(home.path("abuse.key"), private).expect("it is ours");
        let server = home.serve();
        server.take(&exploit_from(NAMED));
        wait_until("the question", || {
            server.json::<Status>(&["status"]).awaiting_approval == 1
        });
        assert!(element(NAMED).is_none());
        let (text, risk) = plan(&home, &[], NAMED);
        assert_eq!(
            (&risk["verdict"], &risk["measured"]),
            (&"ask".into(), &0.into()),
            "{risk}"
        );
        let why = format!("score 0.0 by \"abuse\", which names {NAMED}/32 as whitelisted");
        assert!(text.contains(&why), "{text}");
        let shown = words(&server.ok(&["incident", "show", "INC-1"]));
        assert!(shown.contains(&why), "{shown}");
        server.kill();
        let verified = home.run(&["replay", "--verify"]);
        assert!(verified.status.success(), "{verified:?}");
    });
}
