//! From an alert to a machine that talks with nobody but those who manage it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::json;
use staunch_model::{ActionKind, StateKind};
use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NetNs, run_in_new_net};
use staunch_netlink::nftables::{Allowed, Isolated, Isolation};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{IncidentAnswer, Incidents};

use crate::harness::{DEADLINE, Home, SMALL, Server, in_namespace, stderr, stdout, wait_until};

/// What the guide says.
const GUIDE: &str = include_str!("../../../../docs/guide/isolation.md");
const ISOLATION: &str = "[isolation]\nenabled = true\nmanagement = [\"10.9.0.2\"]\n";
const HOST: &str = "10.9.0.1";
const MANAGEMENT: &str = "10.9.0.2";
const ATTACKER: &str = "10.9.0.3";

/// The playbook of the guide, which asks nobody.
fn playbook() -> String {
    let (_, rest) = GUIDE.split_once("```yaml\n").expect("it has one");
    let (playbook, _) = rest.split_once("```").expect("it ends");
    let asks_nobody = playbook.replace("high: approve", "high: enforce");
    assert_ne!(asks_nobody, playbook);
    asks_nobody
}

fn home(isolation: &str, playbook: &str) -> Home {
    let home = Home::new(&format!(
        "{SMALL}{isolation}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.playbook("rootkit.yaml", playbook);
    home
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("every machine has one");
    name.trim().to_owned()
}

fn alert(host: &str) -> String {
    json!({
        "hostname": host,
        "priority": "Critical",
        "rule": "Linux Kernel Module Injection Detected",
        "source": "syscall",
        "time": SystemClock.now().to_string(),
        "output": "a module was put into the kernel",
        "output_fields": { "proc.name": "insmod" }
    })
    .to_string()
}

fn look() -> Isolated {
    let mut isolation = Isolation::open("staunch_isolation", DEADLINE).expect("this thread may");
    isolation.look().expect("it can be read")
}

fn is_isolated() -> bool {
    let seen = look();
    seen.defects.is_empty() && seen.cuts.iter().all(Option::is_some)
}

fn in_force(server: &Server) -> bool {
    let all = server.containments();
    all.iter().any(|it| it.state == StateKind::InForce)
}

/// Who manages this machine, and an attacker, in another namespace.
fn others() -> NetNs {
    let other = run_in_new_net(|| NetNs::current().expect("it is there")).expect("there can be another");
    let mut links = Links::open(DEADLINE).expect("this thread may");
    links.create_pair("here", "there").expect("made");
    links.move_link("there", &Destination::Handle(&other)).expect("moved");
    let prepare = |links: &mut Links, link: &str, addresses: &[&str]| {
        for address in addresses {
            let address = address.parse().expect("an address");
            links.add_address(link, address, 24).expect("added");
        }
        links.set_up(link).expect("set up");
    };
    prepare(&mut links, "here", &[HOST]);
    inside(&other, || {
        let mut links = Links::open(DEADLINE).expect("this thread may");
        prepare(&mut links, "there", &[MANAGEMENT, ATTACKER]);
    });
    other
}

fn inside<T: Send>(namespace: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let task = || {
            namespace.enter().expect("it can be entered");
            work()
        };
        scope.spawn(task).join().expect("it ends well")
    })
}

/// Whether `client` gets a connection to this machine before `wait` is over.
fn connects(other: &NetNs, listener: &TcpListener, client: &str, wait: Duration) -> bool {
    let to = listener.local_addr().expect("it listens");
    let from = SocketAddr::new(client.parse().expect("an address"), 0);
    let seconds = i64::try_from(wait.as_secs()).expect("it is short");
    let wait = TimeVal::new(seconds, i64::from(wait.subsec_micros()));
    inside(other, || {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).expect("it is an address of this namespace");
        setsockopt(&socket, sockopt::SendTimeout, &wait).expect("it can be limited");
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).is_ok()
    })
}

#[test]
fn an_alert_isolates_this_machine_until_it_is_released() {
    in_namespace("isolation::an_alert_isolates_this_machine", || {
        let other = others();
        let listener = TcpListener::bind((HOST, 0)).expect("it can listen");
        let home = home(ISOLATION, &playbook());
        let server = home.serve();
        wait_until("the attacker gets in", || {
            connects(&other, &listener, ATTACKER, Duration::from_secs(1))
        });
        let event = alert(&hostname().to_uppercase());
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let plan = server.ok(&["plan", &file.display().to_string(), "--source", "falco"]);
        assert!(plan.contains("isolate-host") && plan.contains("this machine"), "{plan}");
        assert!(plan.lines().all(|line| line.chars().count() <= 80), "{plan}");
        assert!(!is_isolated(), "a plan changes nothing");

        server.take_from("falco", &event);
        wait_until("the containment", || in_force(&server));
        let listed = &server.containments()[0];
        assert_eq!(listed.action, ActionKind::IsolateHost);
        assert_eq!(listed.target, format!("host:{}", hostname().to_lowercase()));
        assert!(is_isolated());
        let management = Allowed::Network {
            address: MANAGEMENT.parse().expect("an address"),
            prefix: 32,
        };
        assert!(look().allowed.contains(&management), "{:?}", look().allowed);
        assert!(!connects(&other, &listener, ATTACKER, Duration::from_millis(50)));
        assert!(connects(&other, &listener, MANAGEMENT, Duration::from_secs(10)));
        // Staunch is spoken with over loopback all the while.
        let doctor = stdout(&server.run(&["doctor"]));
        assert!(doctor.contains("is isolated by us"), "{doctor}");

        // It is found again after a crash.
        server.kill();
        assert!(is_isolated());
        let server = home.serve();
        wait_until("the containment", || in_force(&server));
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert!(connects(&other, &listener, ATTACKER, Duration::from_secs(10)));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
    });
}

#[test]
fn without_a_server_the_kernel_lifts_it_and_so_can_an_operator() {
    in_namespace("isolation::without_a_server", || {
        let other = others();
        let listener = TcpListener::bind((HOST, 0)).expect("it can listen");
        let home = home(ISOLATION, &playbook().replace("lease: 1h", "lease: 1s"));
        let server = home.serve();
        server.take_from("falco", &alert(&hostname()));
        wait_until("the machine is isolated", is_isolated);
        server.kill();
        let left = look().cuts.into_iter().flatten().filter_map(|it| it.expires).max();
        let left = left.unwrap_or_default();
        assert!(
            left <= Duration::from_secs(61),
            "a lease of 1s and a margin of 60s: {left:?}"
        );
        assert!(!connects(&other, &listener, ATTACKER, Duration::from_millis(50)));
        // This takes the minute that a hold is longer than its lease: nothing but the kernel is at work here.
        let deadline = std::time::Instant::now() + left + DEADLINE;
        while !connects(&other, &listener, ATTACKER, Duration::from_secs(1)) {
            assert!(std::time::Instant::now() < deadline, "the kernel did not lift it");
        }
        assert!(!is_isolated());

        home.playbook("rootkit.yaml", &playbook());
        let server = home.serve();
        server.take_from("falco", &alert(&hostname()));
        wait_until("the machine is isolated", is_isolated);
        server.kill();
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10), "{}", stderr(&released));
        assert!(stdout(&released).contains("1 containment released"), "{released:?}");
        assert!(!is_isolated());
        assert!(connects(&other, &listener, ATTACKER, Duration::from_secs(10)));
    });
}

#[test]
fn whoever_is_logged_in_stays_in_touch() {
    in_namespace("isolation::whoever_is_logged_in", || {
        let home = home(&format!("{ISOLATION}keep_sessions = true\n"), &playbook());
        let server = home.serve();
        // A session that begins after the server has entered its sandbox.
        let mut shell = Command::new("cat")
            .env("SSH_CONNECTION", "203.0.113.242 50001 10.9.0.1 22")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat is everywhere");
        server.take_from("falco", &alert(&hostname()));
        wait_until("the containment", || in_force(&server));
        let allowed = look().allowed;
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
        let peer = Allowed::Network {
            address: "203.0.113.242".parse().expect("an address"),
            prefix: 32,
        };
        assert!(allowed.contains(&peer), "{allowed:?}: {}", home.log());
        assert!(
            home.log().contains("may write in its own directories only"),
            "{}",
            home.log()
        );
    });
}

#[test]
fn another_machine_is_not_isolated() {
    in_namespace("isolation::another_machine", || {
        let home = home(ISOLATION, &playbook());
        let server = home.serve();
        server.take_from("falco", &alert("another-machine"));
        wait_until("the refusal", || {
            let listed: Incidents = server.json(&["incident", "list"]);
            listed.incidents.first().is_some_and(|it| it.outcome.is_some())
        });
        let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(shown.detail.transactions[0].state, StateKind::Refused);
        let shown = server.ok(&["incident", "show", "INC-1"]).replace('\n', " ");
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains("it is another machine"), "{shown}");
        assert!(!is_isolated());
    });
}

#[test]
fn a_machine_that_nobody_could_get_into_is_not_to_be_isolated() {
    let home = home("[isolation]\nenabled = true\n", &playbook());
    let checked = home.run(&["check"]);
    assert!(!checked.status.success());
    let said = stderr(&checked);
    assert!(
        said.contains("management is missing") && said.contains("management = ["),
        "{said}"
    );
}
