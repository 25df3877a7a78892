//! From an alert of Suricata to a name that a real resolver denies, and back.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use staunch_model::{ActionKind, StateKind};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{EventPlan, IncidentAnswer, Incidents, Ruling};

use crate::harness::{Home, SMALL, Server, in_namespace, stderr, wait_until};
use crate::metrics::{scrape, value};

const PROGRAM: &str = "/usr/sbin/unbound";

/// Where the resolver of a test answers: each has a network of its own.
const RESOLVER: &str = "127.0.0.1:53";

/// A running Unbound that knows some names and asks nobody about others.
struct Unbound<'a> {
    home: &'a Home,
    child: Option<Child>,
}

impl<'a> Unbound<'a> {
    fn start(home: &'a Home) -> Self {
        let at = home.path("");
        let at = at.display();
        let names = [("c2.evil.com", "203.0.113.5"), ("www.good.com", "203.0.113.7")];
        let mut zones = String::new();
        for (name, address) in names {
            let text = format!(
                "{name}. 300 IN SOA ns.{name}. root.{name}. 1 2 3 4 5\n{name}. 300 IN NS ns.{name}.\n\
                 {name}. 300 IN A {address}\n*.{name}. 300 IN A {address}\n"
            );
            let file = home.path(&format!("{name}.zone"));
            fs::write(&file, text).expect("it is our directory");
            zones.push_str(&format!(
                "auth-zone:\n name: \"{name}.\"\n zonefile: \"{}\"\n for-upstream: no\n fallback-enabled: no\n",
                file.display()
            ));
        }
        let config = format!(
            "server:\n directory: \"{at}\"\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n use-syslog: no\n \
             pidfile: \"{at}/pid\"\n interface: {}\n do-ip6: no\n module-config: \"iterator\"\n num-threads: 1\n\
             remote-control:\n control-enable: yes\n control-interface: \"{at}/unbound.ctl\"\n{zones}",
            RESOLVER.replace(':', "@")
        );
        fs::write(home.path("unbound.conf"), config).expect("it is our directory");
        let mut unbound = Self { home, child: None };
        unbound.run();
        unbound
    }

    fn run(&mut self) {
        let log = fs::File::create(self.home.path("unbound.log")).expect("it is our directory");
        let child = Command::new(PROGRAM)
            .args(["-d", "-c"])
            .arg(self.home.path("unbound.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("it is installed"));
        wait_until("the resolver", || asked("c2.evil.com").is_some());
        assert_eq!(
            asked("c2.evil.com"),
            Some(Said::Address([203, 0, 113, 5])),
            "{}",
            self.log()
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path("unbound.log")).unwrap_or_default()
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Unbound<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    NoSuchName,
    Address([u8; 4]),
    Other(u8),
}

/// What the resolver says of a name; `None` when it says nothing.
fn asked(name: &str) -> Option<Said> {
    let resolver: SocketAddr = RESOLVER.parse().expect("an address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(resolver).expect("it is on this machine");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a socket has one");
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).expect("it is short"));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send(&question).ok()?;
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).ok()?;
    let answer = &buffer[..count];
    // The address is right behind the question, a pointer to the name, and ten bytes.
    let at = question.len() + 12;
    Some(match (answer[3] & 0x0f, answer[7]) {
        (3, _) => Said::NoSuchName,
        (0, 1..) => Said::Address(answer[at..at + 4].try_into().expect("four bytes")),
        (code, _) => Said::Other(code),
    })
}

/// Runs `work` where there is a resolver and a network of its own, or skips the test `name`.
fn where_unbound_is(name: &str, work: impl FnOnce() + Send) {
    if Path::new(PROGRAM).is_file() {
        in_namespace(name, work);
    } else {
        staunch_testkit::skip(name, "unbound is not installed");
    }
}

fn home_with(config: &str) -> Home {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.configure(&format!(
        "{SMALL}[domains]\nenabled = true\ncontrol = \"{}\"\nresolver = \"{RESOLVER}\"\n{config}\
         [playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n",
        home.path("unbound.ctl").display()
    ));
    home.playbook("dns.yaml", include_str!("../../../../playbooks/dns-c2-sinkhole.yaml"));
    home
}

fn alert(name: &str) -> String {
    json!({
        "timestamp": SystemClock.now().to_string(),
        "flow_id": 1_683_692_437_143_973_u64,
        "event_type": "alert",
        "src_ip": "172.16.4.128",
        "src_port": 38_246,
        "dest_ip": "172.16.4.2",
        "dest_port": 53,
        "proto": "UDP",
        "alert": {
            "action": "allowed", "gid": 1, "signature_id": 2_027_863, "rev": 1,
            "signature": "ET MALWARE Observed DNS Query to Known C2 Domain",
            "category": "Domain Observed Used for C2 Detected", "severity": 1
        },
        "dns": { "version": 2, "query": [{ "type": "query", "id": 51_968, "rrname": name, "rrtype": "A" }] },
        "app_proto": "dns",
        "flow": { "src_ip": "172.16.4.128", "dest_ip": "172.16.4.2", "src_port": 38_246, "dest_port": 53 }
    })
    .to_string()
}

fn in_force(server: &Server) -> usize {
    let all = server.containments();
    all.iter().filter(|it| it.state == StateKind::InForce).count()
}

#[test]
fn a_name_of_attackers_is_denied_until_it_is_released() {
    where_unbound_is("domains::a_name_is_denied", || {
        let home = home_with("");
        let _unbound = Unbound::start(&home);
        let server = home.serve();
        let event = alert("C2.evil.com");
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let file = file.display().to_string();
        let plan: EventPlan = server.json(&["plan", &file, "--source", "suricata"]);
        let step = &plan.plan.responses[0].steps[0];
        assert_eq!((step.ruling, step.action), (Ruling::Act, ActionKind::SinkholeDomain));
        let text = server.ok(&["plan", &file, "--source", "suricata"]);
        assert!(
            text.contains("sinkhole-domain") && text.contains("a name below evil.com"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(
            asked("c2.evil.com"),
            Some(Said::Address([203, 0, 113, 5])),
            "a plan changes nothing"
        );

        server.take_from("suricata", &event);
        wait_until("the containment", || in_force(&server) == 1);
        for name in ["c2.evil.com", "a.b.c2.evil.com"] {
            assert_eq!(asked(name), Some(Said::NoSuchName), "{name}");
        }
        assert_eq!(asked("www.good.com"), Some(Said::Address([203, 0, 113, 7])));
        assert_eq!(server.containments()[0].target, "domain:c2.evil.com");
        let text = server.ok(&["containment", "list"]);
        assert!(text.contains("domain:c2.evil.com"), "{text}");
        let doctor = home.run(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            doctor.contains("Unbound can deny domains; 1 are sinkholed by us"),
            "{doctor}"
        );
        assert!(doctor.lines().all(|line| line.chars().count() <= 80), "{doctor}");

        // What is held is found again after a crash.
        server.kill();
        assert_eq!(asked("c2.evil.com"), Some(Said::NoSuchName));
        let server = home.serve();
        wait_until("the containment", || in_force(&server) == 1);
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert_eq!(asked("a.b.c2.evil.com"), Some(Said::Address([203, 0, 113, 5])));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
    });
}

#[test]
fn what_is_protected_or_somebody_elses_is_not_denied() {
    where_unbound_is("domains::what_is_protected", || {
        let home = home_with("protected = [\"www.good.com\"]\n");
        let _unbound = Unbound::start(&home);
        let server = home.serve();
        for (number, (name, says)) in (1..).zip([
            ("good.com", "www.good.com is protected"),
            ("a.www.good.com", "www.good.com is protected"),
            ("co.uk", "public suffix"),
            ("7.0.168.192.in-addr.arpa", "never touched"),
            ("evil.test", "the zone test. of type static above it"),
        ]) {
            server.take_from("suricata", &alert(name));
            wait_until("the refusal", || {
                let listed: Incidents = server.json(&["incident", "list"]);
                listed.incidents.iter().filter(|it| it.outcome.is_some()).count() == number
            });
            let shown: IncidentAnswer = server.json(&["incident", "show", &format!("INC-{number}")]);
            assert_eq!(shown.detail.transactions[0].state, StateKind::Refused, "{name}");
            let text = server
                .ok(&["incident", "show", &format!("INC-{number}")])
                .replace('\n', " ");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.join(" ").contains(says), "{says}: {text}");
        }
        assert!(server.containments().is_empty());
        assert_eq!(asked("www.good.com"), Some(Said::Address([203, 0, 113, 7])));
    });
}

#[test]
fn a_restart_of_the_resolver_is_noticed() {
    where_unbound_is("domains::a_restart_is_noticed", || {
        let home = home_with("[limits]\nsweep_interval = \"1s\"\n");
        let mut unbound = Unbound::start(&home);
        let server = home.serve();
        server.take_from("suricata", &alert("c2.evil.com"));
        wait_until("the containment", || in_force(&server) == 1);
        let unverified = || value(&scrape(&server), "staunch_containments_unverified");
        assert_eq!(unverified(), Some(0.0));
        unbound.stop();
        // Nobody can look while the resolver is away, and what nobody has seen of late is not called verified.
        wait_until("it to count as unverified", || unverified() == Some(1.0));
        unbound.run();
        wait_until("that it is gone", || {
            let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
            shown.detail.transactions[0].state == StateKind::RolledBack
        });
        assert!(server.containments().is_empty());
        // The next event is judged anew.
        server.take_from("suricata", &alert("c3.evil.com"));
        wait_until("the containment", || in_force(&server) == 1);
        assert_eq!(asked("c3.evil.com"), Some(Said::NoSuchName));
    });
}

#[test]
fn everything_is_lifted_without_a_server() {
    where_unbound_is("domains::everything_is_lifted", || {
        let home = home_with("");
        let mut unbound = Unbound::start(&home);
        let server = home.serve();
        server.take_from("suricata", &alert("c2.evil.com"));
        wait_until("the containment", || in_force(&server) == 1);
        assert_eq!(asked("c2.evil.com"), Some(Said::NoSuchName));
        server.kill();
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10), "{}", stderr(&released));
        assert!(
            String::from_utf8_lossy(&released.stdout).contains("1 containment released"),
            "{released:?}"
        );
        assert_eq!(asked("c2.evil.com"), Some(Said::Address([203, 0, 113, 5])));
        // A resolver that is away is a problem with a way out, and no server waits for it.
        unbound.stop();
        let doctor = home.run(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).replace('\n', " ");
        let words: Vec<&str> = doctor.split_whitespace().collect();
        let doctor = words.join(" ");
        assert!(
            doctor.contains("cannot reach the resolver") && doctor.contains("control-enable: yes"),
            "{doctor}"
        );
        let server = home.serve();
        assert!(home.log().contains("no domain can be sinkholed yet"), "{}", home.log());
        drop(server);
    });
}
