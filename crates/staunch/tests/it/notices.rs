//! Who is told: routes by whose things an event is about, to receivers on this host, by the real binary.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{Home, SMALL, Server, in_namespace, wait_until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const PLAYBOOK: &str = "playbook: any\nsummary: Block who attacks.\ntrigger:\n  sources: [cloudevents]\n  \
     when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\n\
     contain:\n  - block-ip: { target: event.source.ip, lease: 10m }\nnotify:\n  - page: { when: outcome == contained }\n\
     mode: { low: enforce, medium: approve, high: observe }\n";

const ASSETS: &str = "assets:\n  - { network: 10.0.0.1, owner: payments, environment: production }\n  \
     - { network: 10.0.0.2, owner: payments, environment: staging }\n  - { network: 10.0.0.3, owner: web }\n";

const CONFIG: &str = "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n\
     [[http.senders]]\nname = \"receiver\"\nsource = \"notices\"\nscheme = \"standard-webhooks\"\nsecret_files = [\"secret\"]\n\
     [[sources.generic]]\nname = \"notices\"\nsignature = \"text\"\nid = \"id\"\n\
     [[context.assets]]\npath = \"assets.yaml\"\n\
     [[routes]]\nteam = \"payments\"\nenvironment = \"production\"\nto = [\"payments-oncall\"]\n\
     [[routes]]\nteam = \"web\"\nto = [\"web\"]\n[[routes]]\nto = [\"desk\"]\n";

/// What a receiver was sent: the headers by small names, and the body.
#[derive(Clone, Debug)]
struct Sent {
    headers: Vec<(String, String)>,
    body: String,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("it is JSON")
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("there is no {name}: {self:?}")).1
    }
}

/// A receiver in this namespace, which refuses the first `refusals` and takes the others.
pub(crate) struct Receiver {
    pub(crate) url: String,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Receiver {
    pub(crate) fn start(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let shared = sent.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let lines = reader.by_ref().lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let headers = head.iter().filter_map(|line| line.split_once(": "));
                let headers: Vec<_> = headers
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.iter().find(|(name, _)| name == "content-length");
                let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().expect("a length"))];
                reader.read_exact(&mut body).expect("it is all there");
                let body = String::from_utf8(body).expect("it is text");
                let mut all = shared.lock().expect("no test panics with it");
                all.push(Sent { headers, body });
                let status = if all.len() <= refusals {
                    "503 Service Unavailable"
                } else {
                    "204 No Content"
                };
                drop(all);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                // The server may have been killed.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { url, sent }
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().expect("no test panics with it").clone()
    }

    /// The bodies that came.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.sent().into_iter().map(|it| it.body).collect()
    }
}

pub(crate) fn write(home: &Home, file: &str, text: &str) {
    fs::write(home.path(file), text).expect("it is our directory");
    fs::set_permissions(home.path(file), fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// An attack from `source` on `destination`.
fn attack(server: &Server, source: &str, destination: &str) {
    let time = SystemClock.now().to_string();
    let event = json!({
        "specversion": "1.0", "id": source, "source": "/sensor", "type": "attack", "time": time, "severity": "high",
        "sourceip": source, "data": { "destination_ip": destination },
    });
    assert_eq!(server.take_from("cloudevents", &event.to_string()).matched, 1);
}

/// Posts `sent` to `server`, which knows the secret, as a signed event; whether it was believed.
fn is_believed(server: &Server, sent: &Sent, body: &str) -> bool {
    let mut request = ureq::post(format!("{}/v1/events/notices", server.url))
        .config()
        .http_status_as_error(false)
        .build();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        request = request.header(name, sent.header(name));
    }
    let answer = request.send(body).expect("it answers");
    match answer.status().as_u16() {
        202 => true,
        401 => false,
        other => panic!("it answers with {other}"),
    }
}

#[test]
fn notices_go_to_those_whose_things_are_attacked() {
    in_namespace("notices::routes", || {
        let [payments, web, desk] = [1, 0, 0].map(Receiver::start);
        let notifiers: String = [("payments-oncall", &payments), ("web", &web), ("desk", &desk)]
            .map(|(name, it)| {
                let url = format!("{}/hook/s3cret-path", it.url);
                format!("[notifiers.{name}]\nkind = \"webhook\"\nurl = \"{url}\"\nkey_file = \"secret\"\n")
            })
            .concat();
        let home = Home::new(&format!("{SMALL}{CONFIG}{notifiers}"));
        home.playbook("any.yaml", PLAYBOOK);
        write(&home, "assets.yaml", ASSETS);
        write(&home, "secret", SECRET);
        let shown = home.run(&["config", "show"]);
        let shown = String::from_utf8(shown.stdout).expect("it is text");
        assert!(
            shown.contains(&format!("{}/...", web.url)) && !shown.contains("s3cret"),
            "{shown}"
        );

        let server = home.serve();
        attack(&server, "203.0.113.21", "10.0.0.1");
        attack(&server, "203.0.113.22", "10.0.0.2");
        attack(&server, "203.0.113.23", "10.0.0.3");
        wait_until("all notices", || {
            payments.sent().len() == 2 && web.sent().len() == 1 && desk.sent().len() == 1
        });
        let says = |it: &Sent, team: &str, address: &str| {
            let body = it.json();
            assert_eq!(
                (&body["level"], &body["team"]),
                (&"info".into(), &team.into()),
                "{body}"
            );
            assert!(body["text"].as_str().is_some_and(|it| it.contains(address)), "{body}");
            assert_eq!(body["id"], it.header("webhook-id"));
        };
        let [first, again] = &payments.sent()[..] else {
            panic!("two tries")
        };
        says(first, "payments", "203.0.113.21");
        says(&web.sent()[0], "web", "203.0.113.23");
        // It is in no production, so that nobody is named for it but those who have the rest.
        says(&desk.sent()[0], "payments", "203.0.113.22");
        // The second try is the same notice, by its id and by what it says.
        assert_eq!(
            (first.header("webhook-id"), &first.body),
            (again.header("webhook-id"), &again.body)
        );
        let id = first.json()["id"].as_str().expect("a text").to_owned();
        let notice = id.split_once('-').expect("installation and notice").1.to_owned();

        // Whoever knows the secret believes it, and not what somebody has changed.
        assert!(!is_believed(
            &server,
            again,
            &again.body.replace("203.0.113.21", "203.0.113.99")
        ));
        assert!(is_believed(&server, again, &again.body));

        // The log has everything, each once, whoever else has failed; and no secret.
        let log = home.log();
        for address in ["203.0.113.21", "203.0.113.22", "203.0.113.23"] {
            let lines = log
                .lines()
                .filter(|line| line.contains(address) && line.contains("contained"));
            assert_eq!(lines.count(), 1, "{log}");
        }
        assert!(
            log.lines()
                .any(|line| line.contains(&notice) && line.contains("it answers with 503")),
            "{log}"
        );
        assert!(!log.contains("s3cret") && !log.contains(&SECRET[6..]), "{log}");
        let doctor = String::from_utf8(home.run(&["doctor"]).stdout).expect("it is text");
        assert!(
            doctor.contains("payments-oncall") && !doctor.contains("s3cret"),
            "{doctor}"
        );
    });
}

#[test]
fn mistakes_in_routes_are_found() {
    let home = Home::new("");
    let notifier = |more: &str| {
        format!("[notifiers.desk]\nkind = \"webhook\"\nurl = \"https://hooks.example/\"\nkey_file = \"secret\"\n{more}")
    };
    for (config, expect) in [
        (notifier(""), "no route leads to desk"),
        (
            notifier("[[routes]]\nto = [\"desk\", \"dsek\"]\n"),
            "there is no notifier dsek",
        ),
        (
            notifier("[[routes]]\nto = [\"desk\"]\n[[routes]]\nto = []\n"),
            "two routes hold when no other does",
        ),
        (
            notifier("[[routes]]\nteam = \"web\"\nto = [\"desk\"]\n"),
            "no file says whose things are",
        ),
        (
            notifier("[[routes]]\ndata_class = \"pci\"\nto = [\"desk\"]\n"),
            "no file says what assets are",
        ),
        (
            notifier("[[routes]]\nbreak_glass = false\nto = [\"desk\"]\n"),
            "no file says whose accounts are",
        ),
        (
            notifier("[[routes]]\ndata_class = \" \"\nto = [\"desk\"]\n"),
            "data_class is empty",
        ),
        (notifier("[[routes]]\nlevel = \"urgent\"\nto = [\"desk\"]\n"), "urgent"),
        (
            notifier("deadline = \"1h\"\n[[routes]]\nto = [\"desk\"]\n"),
            "deadline is 1h",
        ),
        (
            notifier("[[routes]]\nto = [\"desk\"]\n").replace("https://", "http://"),
            "without encryption only this machine is told",
        ),
        (
            notifier("[[routes]]\nto = [\"desk\"]\n").replace("hooks.", "user:word@hooks."),
            "it has a user or a password in it",
        ),
        ("[[routes]]\nto = [\"log\"]\n".to_owned(), "the log has every notice"),
    ] {
        home.configure(&config);
        let output = home.run(&["check"]);
        let said = crate::harness::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{config}: {said}");
        assert!(said.contains(expect), "{config}: {said}");
    }
    // One file would do for both.
    home.configure(&notifier(
        "[[routes]]\nteam = \"web\"\ndata_class = \"pci\"\nto = [\"desk\"]\n",
    ));
    let said = crate::harness::stderr(&home.run(&["check"]));
    assert!(said.contains("1 mistake in the configuration"), "{said}");
    home.configure(&notifier("[[routes]]\nlevel = \"page\"\nto = [\"desk\"]\n"));
    let output = home.run(&["check"]);
    assert!(output.status.success(), "{output:?}");
}
