//! Events that come over syslog and over a socket of the file system, into the real program.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::signal::Signal;
use staunch_server::dto::Status;

use crate::harness::{Home, SMALL, brute_force_from, disk_of_its_own, element, in_namespace, stderr, wait_until};

/// An alert about `address` on one line.
fn alert(address: &str) -> String {
    brute_force_from(address).replace('\n', " ")
}

#[test]
fn what_comes_over_syslog_is_contained() {
    in_namespace("inlets::syslog", || {
        let home = Home::new(&format!(
            "{SMALL}[[sources.syslog]]\nlisten = \"udp://127.0.0.1:5514\"\n\
             [[sources.syslog]]\nlisten = \"tcp://127.0.0.1:5514\"\napp_names = [\"suricata\"]\n"
        ));
        let server = home.serve();
        let is_blocked = |address: &str| wait_until(address, || element(address).is_some());
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // As Suricata sends it with `filetype: syslog`, a prefix, and through a relay.
        let line = format!(
            "<173>Nov  6 03:00:00 sensor suricata[7]: @cee: {}",
            alert("203.0.113.1")
        );
        datagrams
            .send_to(line.as_bytes(), "127.0.0.1:5514")
            .expect("it is sent");
        is_blocked("203.0.113.1");

        let mut stream = TcpStream::connect("127.0.0.1:5514").expect("it listens");
        let other = format!("<173>Nov  6 03:00:00 sensor falco: {}\n", alert("203.0.113.2"));
        let modern = format!(
            "<173>1 2026-11-06T03:00:00Z sensor suricata 7 - [a b=\"]\"] {}",
            alert("203.0.113.3")
        );
        write!(stream, "{other}{} {modern}", modern.len()).expect("it reads");
        is_blocked("203.0.113.3");
        assert!(element("203.0.113.2").is_none(), "its program is not named");
        datagrams.send_to(b"no syslog", "127.0.0.1:5514").expect("it is sent");
        let mut inlets = Vec::new();
        wait_until("the numbers", || {
            inlets = server.json::<Status>(&["status"]).inlets;
            inlets[0].malformed == 1 && inlets[1].lines == 1
        });
        let shown = inlets
            .iter()
            .map(|it| (it.kind.as_str(), it.follows.as_str(), it.lines, it.passed_over));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                ("syslog", "udp://127.0.0.1:5514", 1, 0),
                ("syslog", "tcp://127.0.0.1:5514", 1, 1)
            ]
        );
        assert!(inlets.iter().all(|it| it.last_line.is_some() && it.waiting.is_none()));
        let text = server.ok(&["status"]);
        let words = "follows      syslog udp://127.0.0.1:5514 as suricata: 1 lines, 1 malformed, last";
        assert!(text.contains(words), "{text}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn what_comes_over_a_socket_is_contained() {
    in_namespace("inlets::socket", || {
        let home = Home::new(&format!("{SMALL}[[sources.sockets]]\npath = \"events.sock\"\n"));
        let server = home.serve();
        let mut stream = UnixStream::connect(home.path("events.sock")).expect("it listens");
        writeln!(stream, "not json\n{}", alert("203.0.113.1")).expect("it reads");
        wait_until("the block", || element("203.0.113.1").is_some());
        wait_until("the warning", || home.log().contains("lines that cannot be read"));
        // What a killed server leaves behind is in the way of nobody.
        server.kill();
        assert!(home.path("events.sock").exists());
        let server = home.serve();
        let mut stream = UnixStream::connect(home.path("events.sock")).expect("it listens");
        writeln!(stream, "{}", alert("203.0.113.2")).expect("it reads");
        wait_until("the block", || element("203.0.113.2").is_some());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
        assert!(!home.path("events.sock").exists(), "it was removed");
    });
}

#[test]
fn an_address_that_cannot_be_listened_on_ends_the_start() {
    in_namespace("inlets::in_use", || {
        let home = Home::new(&format!(
            "{SMALL}[[sources.syslog]]\nlisten = \"udp://127.0.0.1:5514\"\n"
        ));
        let _other = UdpSocket::bind("127.0.0.1:5514").expect("a free port");
        let Err(output) = home.try_serve(&["--allow-unauthenticated-loopback"]) else {
            panic!("it started");
        };
        assert_eq!(output.status.code(), Some(7));
        let said = stderr(&output);
        assert!(said.contains("cannot listen on udp://127.0.0.1:5514"), "{said}");
    });
}

#[test]
fn what_the_journal_says_is_contained_once_and_through_a_kill() {
    in_namespace("inlets::journald", || {
        // The program itself is tested with the inlet; this stands in its place for the way from there to a block. It
        // is none that a sandbox lets a server run.
        let home = Home::new(&format!(
            "{SMALL}[sandbox]\nenabled = false\n[[sources.journald]]\nunits = [\"suricata.service\"]\nbegin = \"start\"\n"
        ));
        let path = format!("{}:/usr/bin:/bin", home.path("").display());
        let home = home.with_environment(vec![("PATH", path.into())]);
        let script = format!(
            "#!/bin/sh\ncd '{}'\necho \"$*\" >> arguments\ncat entries\nexec sleep 600\n",
            home.path("").display()
        );
        let entries = |addresses: &[&str]| {
            let entry = |(at, address): (usize, &&str)| {
                let entry = serde_json::json!({"__CURSOR": format!("s=a;i={at}"), "MESSAGE": alert(address)});
                format!("{entry}\n")
            };
            let text: String = addresses.iter().enumerate().map(entry).collect();
            fs::write(home.path("entries"), text).expect("it is our directory");
        };
        entries(&["203.0.113.1"]);
        fs::write(home.path("journalctl"), script).expect("it is our directory");
        fs::set_permissions(home.path("journalctl"), Permissions::from_mode(0o700)).expect("it is our file");
        let server = home.serve();
        wait_until("the block", || element("203.0.113.1").is_some());
        let places = || fs::read_dir(home.data().join("files")).map_or(0, Iterator::count);
        let cursor = || {
            let place = fs::read_dir(home.data().join("files")).ok()?.next()?.ok()?;
            fs::read_to_string(place.path()).ok()
        };
        wait_until("the place", || cursor().is_some_and(|text| text.contains("s=a;i=0")));
        assert_eq!(places(), 1);
        server.kill();

        entries(&["203.0.113.1", "203.0.113.2"]);
        let server = home.serve();
        wait_until("the block", || element("203.0.113.2").is_some());
        let arguments = fs::read_to_string(home.path("arguments")).expect("it was started");
        assert!(arguments.contains("--unit=suricata.service"), "{arguments}");
        assert!(
            arguments
                .lines()
                .last()
                .unwrap_or_default()
                .contains("--cursor=s=a;i=0"),
            "{arguments}"
        );
        let mut inlets = Vec::new();
        wait_until("the numbers", || {
            inlets = server.json::<Status>(&["status"]).inlets;
            inlets[0].lines == 1
        });
        let it = &inlets[0];
        assert_eq!((it.kind.as_str(), it.follows.as_str()), ("journal", "suricata.service"));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn the_journal_is_followed_from_within_the_sandbox() {
    let name = "inlets::journald_sandboxed";
    if !nix::unistd::geteuid().is_root() {
        staunch_testkit::skip(name, "putting a program in its place needs root");
        return;
    }
    in_namespace(name, || {
        // Programs are run only where those of a machine are. Nobody else sees the one that stands for journalctl.
        let programs = Path::new("/usr/local/bin");
        disk_of_its_own(programs, MsFlags::empty(), "mode=755");
        let home = Home::new(&format!(
            "{SMALL}[[sources.journald]]\nunits = [\"suricata.service\"]\nbegin = \"start\"\n"
        ));
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let home = home.with_environment(vec![("PATH", path.into())]);
        let entry = serde_json::json!({"__CURSOR": "s=a;i=0", "MESSAGE": alert("203.0.113.1")});
        let entries = home.path("entries");
        fs::write(&entries, format!("{entry}\n")).expect("it is our directory");
        let (program, outside) = (programs.join("journalctl"), home.path("outside"));
        let script = format!(
            "#!/bin/sh\necho out > '{}'\ncat '{}'\nexec sleep 600\n",
            outside.display(),
            entries.display()
        );
        fs::write(&program, script).expect("it is ours");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is ours");
        let server = home.serve();
        assert_eq!(server.json::<Status>(&["status"]).sandbox_gaps, [""; 0]);
        wait_until("the block", || element("203.0.113.1").is_some());
        // What it runs may write no more than itself.
        assert!(!outside.exists());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
    });
}
