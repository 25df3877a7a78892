//! Watching the business and getting back to normal, by the real binary in a namespace with its own kernel rules.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{Home, SMALL, Server, element, in_namespace, stderr, stdout, wait_until};
use crate::notices::Receiver;

const PLAYBOOK: &str = "playbook: careful\nsummary: Block who attacks, and watch the shop.\ntrigger:\n  sources: [cloudevents]\n  \
     when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\n\
     contain:\n  - block-ip: { target: event.source.ip, lease: 10m, watch: { health: shop, for: 1m, every: 1s } }\n\
     recover:\n  - request-change: { text: Rotate the key of the shop. }\n  \
     - rate-limit-ip: { target: event.source.ip, lease: 5m }\n  - release\n  \
     - soak: { health: errors, for: 5s, every: 1s }\n\
     mode: { low: enforce, medium: enforce, high: observe }\n";

/// A shop and a Prometheus on one port, as well as they are told to be.
pub(crate) struct Business {
    pub(crate) port: u16,
    /// What the shop answers with.
    pub(crate) shop: Arc<AtomicUsize>,
    /// Errors in a thousand requests.
    errors: Arc<AtomicUsize>,
}

impl Business {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let port = listener.local_addr().expect("it has one").port();
        let shop = Arc::new(AtomicUsize::new(200));
        let errors = Arc::new(AtomicUsize::new(1));
        let (status, share) = (shop.clone(), errors.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let asked = lines.next().unwrap_or_default();
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let (status, body) = if asked.starts_with("GET /api/v1/query?query=error_share ") {
                    let may = head
                        .iter()
                        .any(|it| it.eq_ignore_ascii_case("authorization: bearer s3cret"));
                    let value = share.load(Ordering::SeqCst);
                    let body = format!(
                        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":\
                         [{{\"metric\":{{}},\"value\":[1,\"0.{value:03}\"]}}]}}}}"
                    );
                    (if may { 200 } else { 401 }, body)
                } else {
                    (status.load(Ordering::SeqCst), String::new())
                };
                let answer = format!(
                    "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                // The server may have been killed.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { port, shop, errors }
    }

    fn home(&self) -> Home {
        let port = self.port;
        let config = format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n\
             [health.shop]\nurl = \"http://127.0.0.1:{port}/healthz\"\n\
             [health.errors]\nurl = \"http://127.0.0.1:{port}\"\nquery = \"error_share\"\nmax = 0.02\nkey_file = \"secret\"\n"
        );
        let home = Home::new(&config);
        home.playbook("careful.yaml", PLAYBOOK);
        crate::notices::write(&home, "secret", "Bearer s3cret");
        home
    }
}

fn attack(server: &Server, source: &str) {
    let time = SystemClock.now().to_string();
    let event = json!({
        "specversion": "1.0", "id": source, "source": "/sensor", "type": "attack", "time": time, "severity": "high",
        "sourceip": source, "data": {},
    });
    assert_eq!(server.take_from("cloudevents", &event.to_string()).matched, 1);
}

fn notices(server: &Server) -> String {
    server.get::<Value>("/v1/notices").to_string()
}

#[test]
fn what_hurts_the_business_is_lifted_and_paged() {
    in_namespace("recover::hurts", || {
        let business = Business::start();
        let home = business.home();
        let server = home.serve();
        attack(&server, "203.0.113.31");
        wait_until("a block", || element("203.0.113.31").is_some());
        wait_until("a watch", || {
            let watches = server.get::<Value>("/v1/recoveries/INC-1");
            watches["watches"][0]["signal"] == "shop" && watches["state"] == "waiting"
        });
        business.shop.store(503, Ordering::SeqCst);
        wait_until("its end", || element("203.0.113.31").is_none());
        wait_until("a page", || notices(&server).contains("is lifted because it hurt"));
        let pages = notices(&server);
        assert!(pages.contains("the health signal shop says HTTP 503"), "{pages}");
        let timeline = server.ok(&["incident", "timeline", "INC-1", "--format", "csv"]);
        for part in [
            "shop is read before TX-1",
            "WATCH-1 is NOT healthy: HTTP 503",
            "it HURTS",
        ] {
            assert!(timeline.contains(part), "{part}: {timeline}");
        }
        let words = "contained, then lifted because it hurt";
        for command in [
            &["incident", "list"][..],
            &["incident", "show", "INC-1"],
            &["incident", "timeline", "INC-1"],
        ] {
            let told = server.ok(command);
            // A narrow column of the list has it on several lines.
            assert!(
                told.contains(if command[1] == "list" { "hurt" } else { words }),
                "{told}"
            );
            let lines: Vec<&str> = told.lines().collect();
            assert!(lines.iter().all(|it| it.chars().count() <= 80), "{told}");
        }
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(incident["incident"]["lifted_because_hurt"], true, "{incident}");
        // What was unhealthy before is told, and goes on unwatched.
        attack(&server, "203.0.113.32");
        wait_until("a block", || element("203.0.113.32").is_some());
        wait_until("a warning", || notices(&server).contains("goes on unwatched"));
        let incident: Value = server.json(&["incident", "show", "INC-2"]);
        assert_eq!(incident["incident"]["lifted_because_hurt"], false, "{incident}");
        let doctor = stdout(&home.run(&["doctor"]));
        assert!(doctor.contains("shop is not healthy: HTTP 503"), "{doctor}");
        assert!(doctor.contains("errors is healthy: 0.001"), "{doctor}");
    });
}

/// As the shop, but watched by what a query of Prometheus says; and changes are asked for where people are.
#[test]
fn a_query_of_prometheus_guards_containment_and_a_change_is_asked_for_where_people_are() {
    in_namespace("recover::query", || {
        let business = Business::start();
        let home = business.home();
        let desk = Receiver::start(0);
        let config = std::fs::read_to_string(home.config()).expect("it is there");
        let notifier = format!(
            "[notifiers.desk]\nkind = \"webhook\"\nurl = \"{}\"\nkey_file = \"key\"\n[[routes]]\nto = [\"desk\"]\n",
            desk.url
        );
        std::fs::write(home.config(), format!("{config}{notifier}")).expect("it is our directory");
        crate::notices::write(&home, "key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let watched = PLAYBOOK.replace("watch: { health: shop,", "watch: { health: errors,");
        assert_ne!(watched, PLAYBOOK);
        home.playbook("careful.yaml", &watched);
        let server = home.serve();
        attack(&server, "203.0.113.33");
        wait_until("a block", || element("203.0.113.33").is_some());
        wait_until("a watch", || {
            let watches = server.get::<Value>("/v1/recoveries/INC-1");
            watches["watches"][0]["signal"] == "errors" && watches["state"] == "waiting"
        });
        business.errors.store(50, Ordering::SeqCst);
        wait_until("its end", || element("203.0.113.33").is_none());
        let came = |words: &str| desk.bodies().iter().any(|it| it.contains(words));
        wait_until("a page", || came("is lifted because it hurt"));
        assert!(
            came("the health signal errors says 0.05 is above 0.02"),
            "{:?}",
            desk.bodies()
        );

        business.errors.store(1, Ordering::SeqCst);
        attack(&server, "203.0.113.34");
        wait_until("a block", || element("203.0.113.34").is_some());
        server.ok(&["recover", "INC-2", "--reason", "ours", "--yes"]);
        wait_until("a request for a change", || came("Rotate the key of the shop."));
    });
}

#[test]
fn an_incident_is_recovered_from_step_by_step_and_taken_back_when_it_does_not_hold() {
    in_namespace("recover::steps", || {
        let business = Business::start();
        let home = business.home();
        let server = home.serve();
        attack(&server, "203.0.113.41");
        wait_until("a block", || element("203.0.113.41").is_some());
        let plan = server.ok(&["recover", "INC-1", "--show"]);
        let expect = "Recovery of INC-1 (careful): waits for a person\n    \
                      1. ask people for a change: Rotate the key of the shop.\n    \
                      2. rate-limit-ip on 203.0.113.41\n    \
                      3. release all, in reverse order of completion, each verified\n    \
                      4. errors has to be healthy for 5s; otherwise contain again and page\n";
        assert!(plan.starts_with(expect), "{plan}");

        // It does not hold.
        business.errors.store(310, Ordering::SeqCst);
        let back = server.run(&["recover", "INC-1", "--yes", "--wait", "--reason", "the patch is in"]);
        assert_eq!(back.status.code(), Some(1), "{}", stderr(&back));
        let said = stdout(&back);
        assert!(said.contains("taken back, contained again"), "{said}");
        assert!(
            said.contains("the health signal errors says 0.31 is above 0.02"),
            "{said}"
        );
        wait_until("a block again", || element("203.0.113.41").is_some());

        // A restart in the middle of it loses nothing.
        business.errors.store(1, Ordering::SeqCst);
        server.ok(&["recover", "INC-1", "--reason", "ours", "--yes"]);
        wait_until("a soak", || {
            let view = server.get::<Value>("/v1/recoveries/INC-1");
            view["steps"][3]["state"] == "now"
        });
        assert!(element("203.0.113.41").is_none());
        server.kill();
        let server = home.serve();
        wait_until("its end", || notices(&server).contains("INC-1 has recovered"));
        assert!(element("203.0.113.41").is_none());
        let view = server.get::<Value>("/v1/recoveries/INC-1");
        assert_eq!(view["state"], "recovered", "{view}");
        let timeline = server.ok(&["incident", "timeline", "INC-1", "--format", "csv"]);
        for part in [
            "recovery started by",
            "recovery, step 3: TX-1 is lifted",
            "contains again",
            "recovery taken BACK, contained again",
            "WATCH-",
            "recovered",
        ] {
            assert!(timeline.contains(part), "{part}: {timeline}");
        }
        // What it does on the way back is in force, and contains nothing.
        for command in [&["incident", "list"][..], &["incident", "show", "INC-1"]] {
            let told = server.ok(command);
            assert!(told.contains("INC-1  recovered  "), "{told}");
        }
        let told: Value = server.json(&["incident", "timeline", "INC-1"]);
        let shown: Value = server.json(&["incident", "show", "INC-1"]);
        let left = shown["transactions"].as_array().expect("a list").iter();
        let left: Vec<&Value> = left
            .filter(|it| it["state"] == "in-force")
            .map(|it| &it["kind"])
            .collect();
        assert_eq!(left, ["rate-limit-ip"], "{shown:#}");
        assert!(
            told["measures"]["contained_to_lifted_us"].is_u64(),
            "{:#}",
            told["measures"]
        );
        // Nobody is asked whether to start what has come to its end.
        for again in [
            &["recover", "INC-1", "--reason", "ours", "--yes"][..],
            &["recover", "INC-1"],
        ] {
            let again = server.run(again);
            assert_eq!(again.status.code(), Some(4), "{}", stderr(&again));
            assert!(
                stderr(&again).contains("INC-1 has recovered already"),
                "{}",
                stderr(&again)
            );
        }
        let waited = server.run(&["recover", "INC-1", "--wait"]);
        assert_eq!(waited.status.code(), Some(0), "{}", stderr(&waited));
        let said = stdout(&waited);
        assert!(
            said.starts_with("Recovery of INC-1 (careful): recovered\n  ended "),
            "{said}"
        );
        assert_eq!(said.matches("\n  + ").count(), 4, "{said}");
        let none = server.run(&["recover", "INC-9", "--reason", "ours", "--yes"]);
        assert!(stderr(&none).contains("there is no INC-9"), "{}", stderr(&none));
        assert!(!home.log().contains("s3cret"));
    });
}

#[test]
fn a_recovery_that_is_stopped_shows_what_it_has_done() {
    in_namespace("recover::stopped", || {
        let business = Business::start();
        let home = business.home();
        home.playbook(
            "careful.yaml",
            &PLAYBOOK.replace("for: 5s, every: 1s", "for: 10m, every: 1s"),
        );
        let server = home.serve();
        attack(&server, "203.0.113.45");
        wait_until("a block", || element("203.0.113.45").is_some());
        let not_without_a_reason = |how: &[&str]| {
            for reason in [&[][..], &["--reason", " "]] {
                let refused = server.run(&[&["recover", "INC-1", "--yes"], how, reason].concat());
                assert_eq!(refused.status.code(), Some(2), "{how:?}: {refused:?}");
                let said = stderr(&refused);
                assert!(
                    said.contains("it is not said why") && said.contains("--reason"),
                    "{said}"
                );
            }
        };
        not_without_a_reason(&[]);
        not_without_a_reason(&["--wait"]);
        let view = server.get::<Value>("/v1/recoveries/INC-1");
        assert_eq!(view["state"], "waiting", "{view}");
        server.ok(&["recover", "INC-1", "--reason", "ours", "--yes"]);
        wait_until("a soak", || {
            server.get::<Value>("/v1/recoveries/INC-1")["steps"][3]["state"] == "now"
        });
        not_without_a_reason(&["--stop"]);
        let view = server.get::<Value>("/v1/recoveries/INC-1");
        assert_eq!(view["state"], "running", "{view}");
        let stopped = server.ok(&["recover", "INC-1", "--stop", "--reason", "ours", "--yes"]);
        let shown = server.ok(&["recover", "INC-1", "--show"]);
        // A server that is started again knows it too.
        server.kill();
        let server = home.serve();
        let after = server.ok(&["recover", "INC-1", "--show"]);
        for text in [stopped, shown, after] {
            assert!(text.contains("(careful): stopped by "), "{text}");
            let mut lines = text.lines().skip(1);
            assert!(lines.next().is_some_and(|it| it.starts_with("  ended ")), "{text}");
            let marks: Vec<&str> = lines.filter_map(|line| line.get(..5)).collect();
            assert_eq!(marks, ["  + 1", "  + 2", "  + 3", "    4"], "{text}");
        }
        let view = server.get::<Value>("/v1/recoveries/INC-1");
        assert!(view["ended"].is_string(), "{view}");
        // Started again, all of it lies ahead.
        server.ok(&["recover", "INC-1", "--reason", "ours", "--yes"]);
        let view = server.get::<Value>("/v1/recoveries/INC-1");
        assert!(view["ended"].is_null() && view["steps"][3]["state"] != "done", "{view}");
    });
}

#[test]
fn the_test_of_a_review_recovers_as_the_operator_did() {
    in_namespace("recover::reviewed", || {
        let business = Business::start();
        let home = business.home();
        let playbook = PLAYBOOK.replace("  - rate-limit-ip: { target: event.source.ip, lease: 5m }\n", "");
        home.playbook("careful.yaml", &playbook);
        let server = home.serve();
        attack(&server, "203.0.113.61");
        wait_until("an outcome", || {
            server.get::<Value>("/v1/incidents/INC-1")["incident"]["outcome"] == "contained"
        });
        business.errors.store(310, Ordering::SeqCst);
        let back = server.run(&["recover", "INC-1", "--reason", "ours", "--yes", "--wait"]);
        assert_eq!(back.status.code(), Some(1), "{}", stderr(&back));
        wait_until("a block again", || element("203.0.113.61").is_some());
        business.errors.store(1, Ordering::SeqCst);
        let ended = server.ok(&["recover", "INC-1", "--reason", "ours", "--yes", "--wait"]);
        assert!(ended.contains("recovered"), "{ended}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());

        let dir = home.path("review").display().to_string();
        let output = home.run(&["review", "INC-1", "--output", &dir, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let test = std::path::Path::new(&dir).join("tests/careful.review-INC-1.test.yaml");
        let test = std::fs::read_to_string(test).unwrap_or_else(|error| panic!("{error}: {said}"));
        let count = test.matches("operator: \"recover 203.0.113.61\"").count();
        assert_eq!(count, 2, "{test}");
        for part in [
            "signals: { \"errors\": unhealthy }",
            "signals: { \"errors\": healthy }",
            "watches: { \"errors\": hurt }",
            "recovery: back",
            "recovery: recovered",
            "watches: { \"errors\": healthy }",
            "state: { \"203.0.113.61\": released }",
        ] {
            assert!(test.contains(part), "{part}: {test}\n{said}");
        }
        let questions = said["questions"].to_string();
        assert!(!questions.contains("What made this so?"), "{questions}");
        let checked = home.run(&["review", "check", &dir]);
        assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
        // A playbook that recovers otherwise fails it.
        let copy = std::path::Path::new(&dir).join("tests/careful.yaml");
        std::fs::write(&copy, playbook.replace("  - release\n", "")).expect("it is our directory");
        let checked = home.run(&["review", "check", &dir]);
        assert_eq!(checked.status.code(), Some(13), "{}", stdout(&checked));
    });
}

#[test]
fn the_test_of_a_review_recovers_with_a_second_kind_of_act_at_the_target() {
    in_namespace("recover::second_kind", || {
        let business = Business::start();
        let home = business.home();
        let server = home.serve();
        attack(&server, "203.0.113.62");
        wait_until("an outcome", || {
            server.get::<Value>("/v1/incidents/INC-1")["incident"]["outcome"] == "contained"
        });
        server.ok(&["recover", "INC-1", "--reason", "ours", "--yes", "--wait"]);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let dir = home.path("review").display().to_string();
        let output = home.run(&["review", "INC-1", "--output", &dir, "--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert!(said["expectations"].as_u64() >= Some(1), "{said}");
        let questions = said["questions"].to_string();
        let test = std::path::Path::new(&dir).join("tests/careful.review-INC-1.test.yaml");
        let test = std::fs::read_to_string(test).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(test.contains("recovery: recovered"), "{test}");
        assert!(!questions.contains("How is the recovery to be tested?"), "{questions}");
        assert!(!questions.contains("What made this so?"), "{questions}");
        let checked = home.run(&["review", "check", &dir]);
        assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    });
}

#[test]
fn a_recovery_that_closes_its_incident_says_how_it_ended() {
    in_namespace("recover::closed", || {
        let business = Business::start();
        let home = business.home();
        let (contain, _) = PLAYBOOK.split_once("recover:").expect("it has one");
        let forgotten = contain.replace("deduplicate: 1m", "deduplicate: 0s");
        let all =
            format!("{forgotten}recover:\n  - release\nmode: {{ low: enforce, medium: enforce, high: observe }}\n");
        home.playbook("careful.yaml", &all);
        let server = home.serve();
        attack(&server, "203.0.113.51");
        wait_until("a block", || element("203.0.113.51").is_some());
        wait_until("an outcome", || {
            server.get::<Value>("/v1/incidents/INC-1")["incident"]["outcome"] == "contained"
        });
        let ended = server.ok(&["recover", "INC-1", "--reason", "ours", "--yes", "--wait"]);
        assert!(ended.contains("Recovery of INC-1: recovered; it is closed"), "{ended}");
        assert!(element("203.0.113.51").is_none());
        let shown = server.ok(&["recover", "INC-1", "--show"]);
        assert!(
            shown.contains("Recovery of INC-1: recovered; it is closed\n  ended "),
            "{shown}"
        );
        let waited = server.run(&["recover", "INC-1", "--wait"]);
        assert_eq!(waited.status.code(), Some(0), "{}", stderr(&waited));
        assert!(stdout(&waited).contains("recovered; it is closed"), "{waited:?}");
        let again = server.run(&["recover", "INC-1"]);
        assert_eq!(again.status.code(), Some(4), "{}", stderr(&again));
        assert!(stderr(&again).contains("INC-1 is closed: recovered"), "{again:?}");
    });
}

#[test]
fn a_recovery_tells_what_others_hold_in_force() {
    in_namespace("recover::shared", || {
        let business = Business::start();
        let home = business.home();
        let (contain, _) = PLAYBOOK.split_once("recover:").expect("it has one");
        let forgotten = contain.replace("deduplicate: 1m", "deduplicate: 0s");
        let mode = "mode: { low: enforce, medium: enforce, high: observe }\n";
        home.playbook("careful.yaml", &format!("{forgotten}recover:\n  - release\n{mode}"));
        home.playbook(
            "second.yaml",
            &format!("{forgotten}{mode}").replace("playbook: careful", "playbook: second"),
        );
        let server = home.serve();
        attack(&server, "203.0.113.52");
        wait_until("an outcome of both", || {
            ["INC-1", "INC-2"]
                .iter()
                .all(|id| server.get::<Value>(&format!("/v1/incidents/{id}"))["incident"]["outcome"] == "contained")
        });
        let ended = server.ok(&["recover", "INC-1", "--reason", "ours", "--yes", "--wait"]);
        assert!(
            ended.contains("not lifted, because other incidents hold it too: TX-1"),
            "{ended}"
        );
        assert!(element("203.0.113.52").is_some());
        wait_until("a notice", || {
            notices(&server).contains("INC-1 has recovered, and one containment stays in force for other incidents")
        });
        let unknown = server.run(&["recover", "INC-99", "--show"]);
        assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
        assert!(stderr(&unknown).contains("there is no INC-99"), "{unknown:?}");
    });
}

/// The condition stands in the playbook, and the Prometheus in the configuration. What is watched so is lifted, and
/// known by its text wherever it is told.
#[test]
fn a_condition_over_a_query_guards_containment() {
    in_namespace("recover::condition", || {
        let business = Business::start();
        let home = business.home();
        let config = std::fs::read_to_string(home.config()).expect("it is there");
        let prometheus = format!(
            "[prometheus]\nurl = \"http://127.0.0.1:{}\"\nkey_file = \"secret\"\n",
            business.port
        );
        std::fs::write(home.config(), format!("{config}{prometheus}")).expect("it is our directory");
        let condition = "error_share < 2 %";
        let watch = format!("watch: {{ prometheus: \"{condition}\",");
        let watched = PLAYBOOK.replace("watch: { health: shop,", &watch);
        let watched = watched.replace("soak: { health: errors,", "soak: { prometheus: error_share<2%,");
        assert_eq!(watched.matches("prometheus").count(), 2, "{watched}");
        home.playbook("careful.yaml", &watched);
        let check = home.run(&["check"]);
        assert!(check.status.success(), "{check:?}");
        let server = home.serve();
        attack(&server, "203.0.113.71");
        wait_until("a block", || element("203.0.113.71").is_some());
        wait_until("a watch", || {
            let watches = server.get::<Value>("/v1/recoveries/INC-1");
            watches["watches"][0]["signal"] == condition && watches["state"] == "waiting"
        });
        let doctor = stdout(&home.run(&["doctor"]));
        assert!(doctor.contains("error_share < 2 % is healthy: 0.1 %"), "{doctor}");
        business.errors.store(20, Ordering::SeqCst);
        wait_until("its end", || element("203.0.113.71").is_none());
        wait_until("a page", || notices(&server).contains("is lifted because it hurt"));
        let pages = notices(&server);
        assert!(
            pages.contains("the health signal error_share < 2 % says 2 % is not below 2 %"),
            "{pages}"
        );

        business.errors.store(1, Ordering::SeqCst);
        attack(&server, "203.0.113.72");
        wait_until("a block", || element("203.0.113.72").is_some());
        server.ok(&["recover", "INC-2", "--wait", "--reason", "it is over", "--yes"]);
        let shown = server.ok(&["recover", "INC-2", "--show"]);
        assert!(shown.contains("error_share < 2 % has to be healthy for 5s"), "{shown}");
    });
}

/// Without a Prometheus in the configuration a condition is a mistake; and what is none is told where it stands.
#[test]
fn mistakes_in_conditions_are_found() {
    let home = Home::new("");
    for (config, watch, expect) in [
        ("", "{ prometheus: a < 2 %, for: 1m }", "P096"),
        (
            "url = \"http://127.0.0.1:9090\"",
            "{ prometheus: error ratio, for: 1m }",
            "P012",
        ),
        (
            "url = \"http://127.0.0.1:9090\"",
            "{ health: shop, prometheus: a < 2 %, for: 1m }",
            "this one names two",
        ),
        (
            "url = \"http://127.0.0.1:9090\"",
            "{ for: 1m }",
            "the key `health` is missing",
        ),
        (
            "url = \"prometheus\"",
            "{ prometheus: a < 2 %, for: 1m }",
            "it does not begin with https://",
        ),
        (
            "url = \"http://127.0.0.1:9090\"\ndeadline = \"3s\"",
            "{ prometheus: a < 2 %, for: 1m }",
            "containment waits for the first reading",
        ),
    ] {
        let section = if config.is_empty() { "" } else { "[prometheus]\n" };
        home.configure(&format!(
            "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[health.shop]\nurl = \"http://shop.example/\"\n\
             [health.errors]\nurl = \"http://shop.example/\"\n{section}{config}\n"
        ));
        home.playbook(
            "careful.yaml",
            &PLAYBOOK.replace("{ health: shop, for: 1m, every: 1s }", watch),
        );
        let found = home.run(&["check"]);
        let said = format!("{}{}", stdout(&found), stderr(&found));
        assert_eq!(found.status.code(), Some(2), "{watch}: {said}");
        assert!(said.contains(expect), "{watch}: {said}");
    }
}

#[test]
fn mistakes_in_health_signals_are_found() {
    let home = Home::new("");
    for (config, expect) in [
        ("url = \"shop\"", "it does not begin with https:// or http://"),
        (
            "url = \"https://ann:pw@shop.example/\"",
            "it has a user or a password in it",
        ),
        (
            "url = \"http://shop.example/\"\nkey_file = \"secret\"",
            "a key is sent to this machine alone",
        ),
        (
            "url = \"https://shop.example/\"\nmax = 1.0",
            "asks a page, which has no value",
        ),
        (
            "url = \"https://shop.example/\"\nquery = \"up\"",
            "nothing says which values",
        ),
        (
            "url = \"https://shop.example/\"\nquery = \"up\"\nmin = 2.0\nmax = 1.0",
            "no value of shop is healthy",
        ),
        (
            "url = \"https://shop.example/\"\nquery = \"up\"\nmax = nan",
            "no value of shop is healthy",
        ),
        (
            "url = \"https://shop.example/\"\ndeadline = \"3s\"",
            "containment waits for the first reading",
        ),
    ] {
        home.configure(&format!("[health.shop]\n{config}\n"));
        let found = home.run(&["check"]);
        assert_eq!(found.status.code(), Some(2), "{config}");
        let said = stderr(&found);
        assert!(said.contains(expect), "{config}: {said}");
    }
    home.configure(
        "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[health.shop]\nurl = \"http://shop.example/\"\n",
    );
    home.playbook("careful.yaml", PLAYBOOK);
    let found = home.run(&["check"]);
    let said = format!("{}{}", stdout(&found), stderr(&found));
    assert!(
        said.contains("P096") && said.contains("there is no health signal `errors`"),
        "{said}"
    );
}
