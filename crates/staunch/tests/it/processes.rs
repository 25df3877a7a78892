//! From an alert of Falco to a process that stands still, and back.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use staunch_connectors::actions::freeze_process::cgroup2_mount;
use staunch_model::{ActionKind, Span, StateKind};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{Approvals, EventPlan, IncidentAnswer, Incidents, Ruling};

use crate::harness::{Home, SMALL, Server, in_namespace, stderr, stdout, wait_until};

const MINES: &str = "Detect crypto miners using the Stratum protocol";

/// A process that says what it hears.
struct Echo {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Echo {
    fn start() -> Self {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat is everywhere");
        let mut echo = Self {
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        };
        echo.answers("it has started");
        echo
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to say `words`, for ever while it stands still.
    fn answers(&mut self, words: &str) {
        writeln!(self.input, "{words}").expect("it listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it is a text");
        assert_eq!(line.trim_end(), words);
    }

    /// The group of cgroup v2 that it is in.
    fn group(&self) -> PathBuf {
        let mount = cgroup2_mount(Path::new("/proc")).expect("there is a tree");
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).expect("it is there");
        let own = groups
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .expect("it is in one");
        mount.join(own)
    }

    fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.group().join("cgroup.events"));
        events.is_ok_and(|it| it.lines().any(|line| line == "frozen 1"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs `work` where processes can be frozen, or skips the test `name`.
pub(crate) fn where_processes_freeze(name: &str, work: impl FnOnce() + Send) {
    let probe = cgroup2_mount(Path::new("/proc")).map_err(|error| error.to_string());
    let probe = probe.and_then(|mount| {
        let group = mount.join(format!("staunch-probe-{}-{}", std::process::id(), name.len()));
        let made = fs::create_dir(&group).and_then(|()| fs::remove_dir(&group));
        made.map_err(|error| format!("cannot make groups in {}: {error}", mount.display()))
    });
    match probe {
        Ok(()) => in_namespace(name, work),
        Err(reason) => staunch_testkit::skip(name, &reason),
    }
}

pub(crate) fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("every machine has one");
    name.trim().to_owned()
}

fn alert(rule: &str, host: &str, pid: u32) -> String {
    let time = SystemClock.now().to_string();
    json!({
        "hostname": host,
        "priority": "Critical",
        "rule": rule,
        "source": "syscall",
        "time": time,
        "output": "something mines",
        "output_fields": { "proc.pid": pid, "proc.name": "xmrig\u{1b}[2J" }
    })
    .to_string()
}

fn home_with(config: &str) -> Home {
    let home = Home::new(&format!(
        "{SMALL}{config}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.playbook(
        "miner.yaml",
        include_str!("../../../../playbooks/crypto-miner-freeze.yaml"),
    );
    home
}

fn freezing() -> Home {
    home_with("[processes]\nenabled = true\n")
}

fn in_force(server: &Server) -> usize {
    let all = server.containments();
    all.iter().filter(|it| it.state == StateKind::InForce).count()
}

#[test]
fn a_miner_stands_still_until_it_is_released() {
    where_processes_freeze("processes::a_miner_stands_still", || {
        let home = freezing();
        let server = home.serve();
        let mut echo = Echo::start();
        let before = echo.group();
        let event = alert(MINES, &hostname(), echo.pid());
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let file = file.display().to_string();
        let plan: EventPlan = server.json(&["plan", &file, "--source", "falco"]);
        let step = &plan.plan.responses[0].steps[0];
        assert_eq!((step.ruling, step.action), (Ruling::Act, ActionKind::FreezeProcess));
        let text = server.ok(&["plan", &file, "--source", "falco"]);
        assert!(
            text.contains("freeze-process") && text.contains("/cat of user"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        echo.answers("a plan changes nothing");

        server.take_from("falco", &event);
        wait_until("the containment", || in_force(&server) == 1);
        assert!(echo.is_frozen());
        let listed = &server.containments()[0];
        assert!(listed.target.starts_with(&format!("pid:{}@", echo.pid())), "{listed:?}");
        let text = server.ok(&["containment", "list"]);
        assert!(text.contains(&listed.target), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let text = server.ok(&["incident", "timeline", "INC-1"]);
        assert!(text.contains("freeze-process"), "{text}");

        // What is held is found again after a crash.
        server.kill();
        assert!(echo.is_frozen());
        let server = home.serve();
        wait_until("the containment", || in_force(&server) == 1);
        let said = server.ok(&["release", "TX-1", "--wait", "--yes", "--reason", "a test"]);
        assert_eq!(said, "released TX-1; nothing of it is in place\n");
        assert!(server.containments().is_empty());
        echo.answers("it goes on");
        assert_eq!(echo.group(), before);
        assert!(!home.log().contains('\u{1b}'), "{}", home.log());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
    });
}

#[test]
fn a_miner_is_ended_once_and_for_all() {
    where_processes_freeze("processes::a_miner_is_ended", || {
        let home = home_with("[processes]\nenabled = true\nkill = true\n");
        let freezes = include_str!("../../../../playbooks/crypto-miner-freeze.yaml");
        let frozen = freezes
            .lines()
            .find(|line| line.contains("freeze-process:"))
            .expect("its step");
        let ends =
            "  - kill-process: { target: 'event.raw.output_fields[\"proc.pid\"]', lease: 1h, irreversible: yes }";
        let ends = freezes.replace(frozen, ends).replace("high: approve", "high: enforce");
        home.playbook("miner.yaml", &ends);
        let server = home.serve();
        let mut echo = Echo::start();
        let before = echo.group();
        let event = alert(MINES, &hostname(), echo.pid());
        let file = home.path("event.json");
        fs::write(&file, &event).expect("it is our directory");
        let text = server.ok(&["plan", &file.display().to_string(), "--source", "falco"]);
        assert!(
            text.contains("not possible"),
            "the plan says that nothing undoes it: {text}"
        );
        echo.answers("a plan changes nothing");

        server.take_from("falco", &event);
        wait_until("the end", || echo.child.try_wait().expect("it is ours").is_some());
        wait_until("the containment", || in_force(&server) == 1);
        let left = fs::read_dir(&before).expect("it is there").flatten();
        let left: Vec<_> = left
            .filter(|it| it.file_name().to_string_lossy().starts_with("staunchkill"))
            .collect();
        assert!(left.is_empty(), "{left:?}");

        // It stays what it is over a crash, and nobody can take it back.
        server.kill();
        let server = home.serve();
        wait_until("the containment", || in_force(&server) == 1);
        let refused = server.run(&["release", "TX-1", "--yes", "--reason", "a test"]);
        assert!(!refused.status.success());
        assert!(
            stderr(&refused).contains("TX-1 cannot be undone"),
            "{}",
            stderr(&refused)
        );
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
    });
}

#[test]
fn what_is_of_another_host_or_protected_goes_on() {
    where_processes_freeze("processes::what_is_of_another_host", || {
        let home = freezing();
        let server = home.serve();
        let mut echo = Echo::start();
        let own = std::process::id();
        let refused = |number: usize, event: String, says: &str| {
            server.take_from("falco", &event);
            wait_until("the refusal", || {
                let listed: Incidents = server.json(&["incident", "list"]);
                listed.incidents.iter().filter(|it| it.outcome.is_some()).count() == number
            });
            let shown = server
                .ok(&["incident", "show", &format!("INC-{number}")])
                .replace("\n", " ");
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(words.join(" ").contains(says), "{says}: {shown}");
        };
        refused(
            1,
            alert(MINES, "another-host", echo.pid()),
            "it is a process of another-host",
        );
        refused(2, alert(MINES, &hostname(), 1), "is never touched");
        // Whoever started Staunch holds it.
        refused(3, alert(MINES, &hostname(), own), "is never touched");
        refused(4, alert(MINES, &hostname(), u32::MAX), "cannot be told from others");
        echo.answers("nothing was done");
        let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(shown.detail.transactions[0].state, StateKind::Refused);
        assert!(server.containments().is_empty());
    });
}

#[test]
fn a_process_that_has_come_to_run_something_protected_is_not_frozen_by_an_old_question() {
    where_processes_freeze("processes::an_old_question", || {
        let home = home_with("");
        let program = home.path("database");
        fs::copy("/bin/cat", &program).expect("cat is everywhere");
        home.configure(&format!(
            "{SMALL}[processes]\nenabled = true\nprotected = [\"{}\"]\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n",
            program.display()
        ));
        let playbook = include_str!("../../../../playbooks/crypto-miner-freeze.yaml");
        home.playbook("miner.yaml", &playbook.replace("medium: enforce", "medium: approve"));
        let server = home.serve();
        // It becomes the other program when it is told to, and stays the same process.
        let mut child = Command::new("sh")
            .args(["-c", "read -r _; exec \"$0\"", &program.display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut echo = Echo {
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        };
        server.take_from("falco", &alert(MINES, &hostname(), echo.pid()));
        wait_until("the question", || {
            !server.json::<Approvals>(&["approve"]).approvals.is_empty()
        });
        writeln!(echo.input, "now").expect("it listens");
        echo.answers("it is another program by now");
        server.ok(&["approve", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the refusal", || {
            let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
            shown.detail.transactions[0].state == StateKind::Refused
        });
        let shown: IncidentAnswer = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(shown.detail.transactions[0].state, StateKind::Refused);
        echo.answers("it goes on");
    });
}

#[test]
fn everything_is_thawed_without_a_server() {
    where_processes_freeze("processes::everything_is_thawed", || {
        let home = freezing();
        let server = home.serve();
        let mut echo = Echo::start();
        server.take_from("falco", &alert(MINES, &hostname(), echo.pid()));
        wait_until("the containment", || in_force(&server) == 1);
        server.kill();
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10), "{}", stderr(&released));
        assert!(
            String::from_utf8_lossy(&released.stdout).contains("1 containment released"),
            "{released:?}"
        );
        echo.answers("it goes on");
        let doctor = home.run(&["doctor"]);
        assert!(
            String::from_utf8_lossy(&doctor.stdout).contains("cgroup v2 can freeze processes; 0 are frozen"),
            "{doctor:?}"
        );
    });
}

#[test]
fn only_processes_of_the_named_part_of_the_tree_are_frozen() {
    where_processes_freeze("processes::only_below", || {
        let mount = cgroup2_mount(Path::new("/proc")).expect("there is a tree");
        let below = mount.join(format!("staunch-below-{}", std::process::id()));
        fs::create_dir(&below).expect("groups can be made");
        let home = home_with(&format!(
            "[processes]\nenabled = true\nbelow = \"{}\"\n",
            below.display()
        ));
        let server = home.serve();
        {
            let (mut outside, mut inside) = (Echo::start(), Echo::start());
            fs::write(below.join("cgroup.procs"), inside.pid().to_string()).expect("it can be moved");
            server.take_from("falco", &alert(MINES, &hostname(), outside.pid()));
            wait_until("that it did not work", || {
                let listed: Incidents = server.json(&["incident", "list"]);
                let outcome = listed.incidents.first().and_then(|it| it.outcome);
                outcome.is_some_and(|it| it.name() == "rolled-back")
            });
            let shown = server.ok(&["incident", "show", "INC-1"]).replace('\n', " ");
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(
                words.join(" ").contains("outside of what this driver may use"),
                "{shown}"
            );
            outside.answers("it goes on");
            server.take_from("falco", &alert(MINES, &hostname(), inside.pid()));
            wait_until("the containment", || in_force(&server) == 1);
            assert!(inside.is_frozen());
            server.ok(&["release", "--all", "--yes", "--reason", "a test"]);
            wait_until("the release", || server.containments().is_empty());
            inside.answers("it goes on");
        }
        wait_until("the processes are gone", || fs::remove_dir(&below).is_ok());
    });
}

#[test]
fn without_the_setting_no_process_is_touched() {
    in_namespace("processes::without_the_setting", || {
        let home = home_with("");
        let server = home.serve();
        let mut echo = Echo::start();
        server.take_from("falco", &alert(MINES, &hostname(), echo.pid()));
        wait_until("the refusal", || {
            let listed: Incidents = server.json(&["incident", "list"]);
            listed.incidents.first().is_some_and(|it| it.outcome.is_some())
        });
        echo.answers("it goes on");
        assert!(server.containments().is_empty());
    });
}

#[test]
fn a_real_miner_becomes_a_graph_of_its_parent_its_connection_its_file_and_its_end() {
    where_processes_freeze("processes::a_graph", || {
        let home = home_with("[processes]\nenabled = true\n[evidence]\nimmutable = false\n");
        let freezes = include_str!("../../../../playbooks/crypto-miner-freeze.yaml");
        let keeps = "preserve:\n  - process: { target: 'event.raw.output_fields[\"proc.pid\"]' }\n  - processes\n  - sockets\n\ncontain:";
        home.playbook("miner.yaml", &freezes.replace("contain:", keeps));
        let server = home.serve();

        let pool = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let port = pool.local_addr().expect("it is bound").port();
        let miner = TcpStream::connect(pool.local_addr().expect("it is bound")).expect("it listens");
        let (mut accepted, _) = pool.accept().expect("it has connected");
        let loot = home.path("loot");
        // A shell that has started what holds the connection, and says which process that is.
        // What a shell starts in the background would read nothing but for the copy.
        let script = "exec 3<&0; cat <&3 >\"$0\" & echo $!; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script, &loot.display().to_string()])
            .stdin(Stdio::from(OwnedFd::from(miner)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let mut output = BufReader::new(shell.stdout.take().expect("it is piped"));
        output.read_line(&mut said).expect("it is a text");
        let pid: u32 = said.trim().parse().expect("a number");
        writeln!(accepted, "work").expect("it is connected");
        wait_until("the work", || fs::read_to_string(&loot).is_ok_and(|it| it == "work\n"));

        server.take_from("falco", &alert(MINES, &hostname(), pid));
        wait_until("the containment", || in_force(&server) == 1);
        // A server that is named may be another's: its vault is named too.
        let graph: Value = server.json(&["incident", "graph", "INC-1"]);
        assert!(graph["missing"].to_string().contains("`--vault` names it"), "{graph:#}");
        let vault = home.data().join("evidence").display().to_string();
        let graph: Value = server.json(&["incident", "graph", "INC-1", "--vault", &vault]);
        let nodes = graph["nodes"].as_array().expect("nodes");
        let node = |kind: &str, label: &str| {
            let mut alike = nodes.iter().filter(|it| it["kind"] == kind);
            let found = alike.find(|it| it["label"].as_str().expect("a text").contains(label));
            found.unwrap_or_else(|| panic!("no {kind} {label}: {graph:#}"))
        };
        let leads = |from: &Value, what: &str, to: &Value| {
            let edges = graph["edges"].as_array().expect("edges");
            let found = edges
                .iter()
                .find(|it| it["from"] == from["id"] && it["what"] == what && it["to"] == to["id"]);
            found.unwrap_or_else(|| panic!("{from} is not {what} {to}: {graph:#}"))["basis"].clone()
        };
        let cat = node("process", &format!("{pid} "));
        let parent = node("process", &format!("{} ", shell.id()));
        let tested = node("process", &format!("{} ", std::process::id()));
        assert_eq!(leads(tested, "started", parent), "observed");
        assert_eq!(leads(parent, "started", cat), "observed");
        assert_eq!(leads(cat, "has open to write", node("file", "loot")), "observed");
        assert_eq!(leads(cat, "contained by", node("act", "freeze-process")), "observed");
        let facts = cat["facts"].to_string();
        assert!(facts.contains("SHA-256 ") && facts.contains("user 0"), "{cat}");
        let began = cat["at"].as_str().expect("a time").parse().expect("a time");
        let ago = SystemClock.now().since(began);
        assert!(ago < Span::from_mins(10) && ago > Span::ZERO, "it began {ago} ago");
        let ends = format!("to 127.0.0.1:{port}");
        let is_to_pool = |it: &&Value| it["kind"] == "connection" && it["facts"].to_string().contains(&ends);
        let connection = nodes.iter().find(is_to_pool).expect("its connection");
        assert_eq!(leads(cat, "holds", connection), "observed");
        assert_eq!(
            leads(connection, "connected to", node("address", "127.0.0.1")),
            "inferred"
        );

        let svg = home.path("graph.svg");
        server.ok(&[
            "incident",
            "graph",
            "INC-1",
            "--format",
            "svg",
            "--output",
            &svg.display().to_string(),
        ]);
        let svg = fs::read_to_string(svg).expect("it is written");
        assert!(
            svg.starts_with("<svg ") && svg.contains("freeze-process") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        // Without an address, the vault of the configuration is read.
        let dot = home.run(&["incident", "graph", "INC-1", "--format", "dot"]);
        let dot = stdout(&dot);
        assert!(dot.contains("loot"), "{dot}");
        assert!(dot.starts_with("digraph \"INC-1\" {"), "{dot}");
        let page = server.ok(&["incident", "timeline", "INC-1", "--format", "html"]);
        assert!(
            page.contains("<h2>The causes</h2>") && page.contains("class=\"graph\""),
            "{page}"
        );

        server.ok(&["release", "TX-1", "--wait", "--yes", "--reason", "a test"]);
        drop(accepted);
        assert!(shell.wait().expect("it is ours").success());
    });
}
