//! `staunch doctor`: what it finds well, and what it must not call so.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::mount::MsFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use staunch_model::StateKind;
use staunch_netlink::nftables::Nft;
use staunch_server::dto::Containment;

use crate::harness::{DEADLINE, Home, SMALL, disk_of_its_own, exploit_from, in_namespace, wait_until};

const ATTACKER: &str = "203.0.113.9";

/// Health and text of each finding of the check named, and the exit code.
fn examine(home: &Home, check: &str) -> (Vec<(String, String)>, Option<i32>) {
    let output = home.run(&["doctor", "--json"]);
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let of_check = found.iter().filter(|it| it["check"] == check);
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let findings = of_check.map(|it| (text(&it["health"]), text(&it["found"])));
    (findings.collect(), output.status.code())
}

#[track_caller]
pub(crate) fn finds(home: &Home, check: &str, health: &str, text: &str) {
    let (findings, exit) = examine(home, check);
    assert!(
        findings.iter().any(|(of, found)| of == health && found.contains(text)),
        "{check}: {findings:?}"
    );
    assert!(health != "problem" || exit == Some(1), "{exit:?}");
}

#[test]
fn a_sound_machine_has_no_problem_and_a_server_is_asked() {
    in_namespace("doctor::sound", || {
        let home = Home::new(&format!("{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n"));
        finds(&home, "server", "warning", "none runs here");
        finds(&home, "journal", "ok", "the first start makes it");
        finds(&home, "address", "ok", "is free");
        let server = home.serve();
        let (findings, exit) = examine(&home, "server");
        assert_eq!((findings.len(), exit), (1, Some(0)), "{findings:?}");
        finds(&home, "server", "ok", "mode enforce");
        finds(&home, "firewall", "ok", "hold 0 of ours");
        finds(&home, "journal", "ok", "readable");
        finds(&home, "playbooks", "ok", "2, without mistakes");
        finds(&home, "tokens", "warning", "there is none");
        finds(&home, "tokens", "warning", "it asks for no token there");
        assert!(server.ok(&["status"]).contains("NO TOKEN IS ASKED FOR on its machine"));
        let shown = home.run(&["doctor"]);
        let shown = String::from_utf8(shown.stdout).expect("it is text");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        finds(&home, "firewall", "ok", "hold 1 of ours");
    });
}

#[test]
fn with_a_mistake_in_the_configuration_all_else_is_looked_at() {
    in_namespace("doctor::mistake", || {
        let home = Home::new(&format!(
            "mod = \"observe\"\n{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n"
        ));
        finds(&home, "configuration", "problem", "staunch.toml:2:1: unknown key `mod`");
        finds(&home, "playbooks", "ok", "2, without mistakes");
        finds(&home, "journal", "ok", "the first start makes it");
        finds(&home, "firewall", "ok", "hold 0 of ours");
        finds(&home, "address", "ok", "127.0.0.1:7450 is free");
        // What stands in the table with the mistake is not guessed.
        home.configure(&format!(
            "{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\nbody_bytes = 1\nlisen = \"[::1]:1\"\n"
        ));
        finds(&home, "configuration", "problem", "unknown key");
        finds(&home, "open files", "unknown", "not made");
        finds(&home, "journal", "ok", "the first start makes it");
        // Nor is who listens at the usual address shown a token, when another one was meant.
        home.configure(&format!("{SMALL}[http]\nlisen = \"127.0.0.1:7451\"\n"));
        let other = TcpListener::bind("127.0.0.1:7450").expect("nobody else is in this namespace");
        other.set_nonblocking(true).expect("it can be");
        let mut command = crate::harness::staunch(&["doctor"]);
        let output = command
            .env("STAUNCH_CONFIG", home.config())
            .env("STAUNCH_TOKEN", "s3cret")
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(other.accept().is_err(), "somebody has called");
        finds(&home, "server", "unknown", "not made");
        drop(other);
        // A value that cannot work is one, too.
        home.configure(&SMALL.replace("segment_bytes = ", "segment_bytes = 1 # "));
        finds(&home, "configuration", "problem", "segment_bytes");
        finds(&home, "disk", "unknown", "not made");
        finds(&home, "playbooks", "ok", "2, without mistakes");
        // Where the data is, is not guessed either.
        fs::write(home.config(), "data_dri = \"data\"\n").expect("it is our directory");
        finds(&home, "data directory", "unknown", "not made");
        finds(&home, "server", "unknown", "not made");
        finds(&home, "playbooks", "ok", "without mistakes");
        fs::write(home.config(), "data_dir = [\n").expect("it is our directory");
        finds(&home, "configuration", "problem", "staunch.toml:");
        let (findings, _) = examine(&home, "journal");
        assert_eq!(findings, [], "nothing is known of it");
    });
}

#[test]
fn who_may_not_look_is_told_who_may() {
    if !nix::unistd::geteuid().is_root() {
        staunch_testkit::skip("doctor::who_may_not_look", "becoming another user needs root");
        return;
    }
    in_namespace("doctor::who_may_not_look", || {
        let home = Home::new(SMALL);
        let made = home.run(&["token", "create", "sensor", "--role", "sender"]);
        assert!(made.status.success(), "{made:?}");
        // The directory of the test is for its owner alone.
        fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let program = home.path("staunch");
        fs::copy(crate::harness::STAUNCH, &program).expect("there is room");
        let asked = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["doctor", "--json", "--config"])
            .arg(home.config())
            .output();
        let Ok(output) = asked else {
            staunch_testkit::skip(
                "doctor::who_may_not_look",
                "setpriv is not installed (Debian: util-linux)",
            );
            return;
        };
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let of = |check: &str| found.iter().find(|it| it["check"] == check).unwrap_or(&Value::Null);
        let says = |check: &str, part: &str| {
            let text = of(check)["found"].as_str().unwrap_or_default();
            assert!(text.contains(part), "{check}: {found:?}");
        };
        says("user", "(uid 65534)");
        says(
            "data directory",
            "belongs to root (uid 0), mode 700, and this is run as",
        );
        assert!(
            of("data directory")["fix"]
                .as_str()
                .is_some_and(|it| it.contains("sudo staunch doctor")),
            "{found:?}"
        );
        for check in ["journal", "tokens", "firewall", "server"] {
            assert_eq!(of(check)["health"], "unknown", "{found:?}");
            says(check, "which this user may not read");
        }
        let blames = |it: &Value| it.to_string().contains("CAP_NET_ADMIN (root, or AmbientCapabilities");
        assert!(
            !found.iter().any(blames),
            "nothing is known of the capabilities of the server: {found:?}"
        );
    });
}

#[test]
fn each_thing_that_is_wrong_is_called_a_problem() {
    in_namespace("doctor::wrong", || {
        let home = Home::new(SMALL);
        home.playbook("broken.yaml", "name: [\n");
        finds(&home, "playbooks", "problem", "1 mistake in 3 playbooks");
        fs::remove_file(home.path("playbooks/broken.yaml")).expect("it is ours");
        finds(&home, "playbooks", "ok", "2, without mistakes");

        fs::write(home.data(), "in the way").expect("it is our directory");
        finds(&home, "data directory", "problem", "is not a directory");
        fs::remove_file(home.data()).expect("it is ours");
        fs::create_dir(home.data()).expect("it is our directory");
        fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        finds(&home, "data directory", "warning", "mode 755");
        let of_kernel = home.run(&["doctor", "--data-dir", "/proc/x"]);
        let shown = String::from_utf8(of_kernel.stdout).expect("it is text");
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("nothing can be made below /proc"), "{shown}");

        fs::write(home.data().join("tokens"), "no token\n").expect("it is ours");
        finds(&home, "tokens", "problem", "line 1");
        fs::remove_file(home.data().join("tokens")).expect("it is ours");

        home.configure(&format!(
            "{SMALL}[http]\nlisten = \"127.0.0.1:7450\"\n[[sources.files]]\npath = \"gone.json\"\n"
        ));
        let taken = TcpListener::bind("127.0.0.1:7450").expect("nobody else is in this namespace");
        finds(&home, "address", "problem", "cannot be listened on");
        drop(taken);
        finds(&home, "followed file", "warning", "is not there yet");
        fs::create_dir(home.path("gone.json")).expect("it is our directory");
        finds(&home, "followed file", "problem", "is a directory");
        fs::remove_dir(home.path("gone.json")).expect("it is ours");
        fs::write(home.path("gone.json"), "").expect("it is our directory");
        finds(&home, "followed file", "ok", "can be read");
        home.configure(&format!("{SMALL}[http]\nlisten = \"0.0.0.0:7450\"\n"));
        finds(&home, "address", "warning", "plain HTTP");
    });
}

#[test]
fn blocks_of_a_former_installation_are_told_with_how_to_lift_them() {
    in_namespace("doctor::former", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        let (findings, _) = examine(&home, "firewall");
        assert_eq!(findings.len(), 1, "{findings:?}");
        server.kill();
        fs::remove_dir_all(home.data()).expect("it is ours");
        finds(&home, "firewall", "ok", "hold 0 of ours");
        finds(&home, "firewall", "warning", "hold 1 block of former installations");
        let shown = home.run(&["doctor"]);
        let shown = String::from_utf8(shown.stdout).expect("it is text");
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("`staunch release --all --former` lifts them"), "{shown}");
        let lifted = home.run(&["release", "--all", "--former", "--yes"]);
        assert_eq!(lifted.status.code(), Some(10), "{lifted:?}");
        let (findings, _) = examine(&home, "firewall");
        assert_eq!(findings.len(), 1, "{findings:?}");
    });
}

#[test]
fn what_the_firewall_lacks_of_what_the_server_has_in_force_is_told_before_the_sweep() {
    in_namespace("doctor::missing", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1h\"\n"));
        let server = home.serve();
        for address in [ATTACKER, "198.51.100.7"] {
            server.take(&exploit_from(address));
        }
        let verified = |it: &[Containment]| it.iter().filter(|it| it.state == StateKind::InForce).count();
        wait_until("the blocks", || verified(&server.containments()) == 2);
        let all = examine(&home, "firewall").0;
        assert_eq!(all.len(), 1, "{all:?}");

        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        let address = ATTACKER.parse().expect("an address");
        nft.delete_elements(&[address]).expect("it is there");
        finds(&home, "firewall", "problem", "the server has 2 in force");
        finds(&home, "firewall", "problem", "hold 1 of them");
        nft.delete_table().expect("it is there");
        finds(&home, "firewall", "problem", "hold 0 of them");
        assert_eq!(verified(&server.containments()), 2, "no sweep has come between");
    });
}

#[test]
fn beside_a_running_server_its_own_blocks_are_not_those_of_a_former_installation() {
    in_namespace("doctor::removed_below", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        fs::remove_file(home.data().join("installation")).expect("it is there");
        let all = examine(&home, "firewall").0;
        assert_eq!(all.len(), 1, "{all:?}");
        finds(&home, "firewall", "ok", "hold 1 of ours");
    });
}

#[test]
fn a_journal_that_is_damaged_is_not_called_readable() {
    in_namespace("doctor::journal", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        server.kill();
        let journal = home.data().join("journal");
        let mut files = fs::read_dir(&journal)
            .expect("it is there")
            .flatten()
            .map(|it| it.path());
        let segment = files.find(|it| it.extension().is_some_and(|it| it == "seg"));
        let segment = segment.expect("there is a segment");
        let mut bytes = fs::read(&segment).expect("it is ours");
        // Inside of the first frame, with whole frames after it.
        bytes[4_096 + 200] ^= 0xff;
        fs::write(&segment, bytes).expect("it is ours");
        finds(&home, "journal", "problem", "");
    });
}

#[test]
fn what_a_running_server_suffers_from_is_told() {
    in_namespace("doctor::suffering", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n"));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the block", || server.ok(&["containment", "list"]).contains("in-force"));
        fs::rename(home.data().join("journal"), home.path("moved")).expect("it is ours");
        wait_until("the loss", || {
            let (findings, _) = examine(&home, "server");
            findings
                .iter()
                .any(|(health, text)| health == "problem" && text.contains("journal is lost"))
        });
    });
}

/// It takes connections, as the kernel does for it.
#[test]
fn a_server_that_stands_still_is_not_called_absent() {
    in_namespace("doctor::silent", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let id = Pid::from_raw(i32::try_from(server.id()).expect("a process id"));
        kill(id, Signal::SIGSTOP).expect("it is our child");
        let (found, _) = examine(&home, "server");
        let (health, text) = &found[0];
        assert!(
            health == "problem" && text.contains("takes connections and does not answer"),
            "{found:?}"
        );
        // Nobody is sent to end it as another program.
        let (found, _) = examine(&home, "address");
        assert!(found.iter().all(|(health, _)| health == "ok"), "{found:?}");
        kill(id, Signal::SIGCONT).expect("it is our child");
    });
}

#[test]
fn a_journal_that_was_never_begun_is_no_problem_and_one_that_is_lost_is() {
    in_namespace("doctor::begun", || {
        let home = Home::new(SMALL);
        // As a first start leaves it that found no room.
        fs::create_dir_all(home.data().join("journal")).expect("it is ours");
        finds(&home, "journal", "ok", "nothing is in it yet");
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the incident in the index", || {
            server.ok(&["incident", "list"]).contains(ATTACKER)
        });
        server.ok(&["release", "--all", "--yes", "--reason", "a test"]);
        server.kill();
        for entry in fs::read_dir(home.data().join("journal")).expect("it is there") {
            fs::remove_file(entry.expect("an entry").path()).expect("it is ours");
        }
        finds(&home, "journal", "problem", "there is no segment in it");
    });
}

#[test]
fn an_address_that_a_start_could_not_listen_on_is_a_problem() {
    in_namespace("doctor::address", || {
        let listen = |http: &str, syslog: &str| {
            format!(
                "{SMALL}[http]\nlisten = \"{http}\"\n[[sources.syslog]]\nlisten = \"{syslog}\"\nfrom = [\"192.0.2.0/24\"]\n"
            )
        };
        // One that this machine does not have, in plain HTTP besides.
        let home = Home::new(&listen("192.0.2.77:7450", "udp://192.0.2.77:5514"));
        finds(
            &home,
            "address",
            "problem",
            "192.0.2.77:7450 cannot be listened on: no interface",
        );
        finds(&home, "address", "warning", "speaks plain HTTP");
        finds(
            &home,
            "syslog",
            "problem",
            "192.0.2.77:5514 cannot be listened on: no interface",
        );
        let shown = home.run(&["doctor"]);
        let shown = String::from_utf8(shown.stdout).expect("it is text");
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("-> `ip address` shows those that it has: set http.listen"),
            "{shown}"
        );
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

        // One that somebody else has, while no server of ours runs.
        home.configure(&listen("127.0.0.1:7450", "udp://127.0.0.1:5514"));
        finds(&home, "address", "ok", "127.0.0.1:7450 is free");
        finds(&home, "syslog", "ok", "127.0.0.1:5514 is free");
        let tcp = TcpListener::bind("127.0.0.1:7450").expect("nobody else is in this namespace");
        let udp = UdpSocket::bind("127.0.0.1:5514").expect("nobody else is in this namespace");
        // Whoever has the port is no Staunch, and hangs up.
        thread::spawn(move || tcp.incoming().for_each(drop));
        finds(
            &home,
            "address",
            "problem",
            "127.0.0.1:7450 cannot be listened on: another program has it",
        );
        finds(
            &home,
            "syslog",
            "problem",
            "127.0.0.1:5514 cannot be listened on: another program has it",
        );
        let found = home.run(&["doctor"]);
        let words = String::from_utf8_lossy(&found.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(words.contains("`ss -tlnp sport = :7450` as root names it"), "{words}");
        drop(udp);

        // Of a server that runs, these are its own.
        let server = home.serve();
        let (found, _) = examine(&home, "syslog");
        assert_eq!(found, []);
        let (found, _) = examine(&home, "address");
        assert!(found.iter().all(|(health, _)| health == "ok"), "{found:?}");
        drop(server);
    });
}

#[test]
fn a_disk_without_room_is_found_before_it_is_full() {
    if !nix::unistd::geteuid().is_root() {
        staunch_testkit::skip("doctor::a_disk_without_room", "mounting needs root");
        return;
    }
    in_namespace("doctor::a_disk_without_room", || {
        let home = Home::new(SMALL);
        fs::create_dir(home.data()).expect("it is our directory");
        for (size, flags, health, text) in [
            (
                "size=64m",
                MsFlags::empty(),
                "warning",
                "the journal grows and is never trimmed",
            ),
            ("size=4m", MsFlags::empty(), "problem", "4 MiB free at"),
            (
                "size=64m",
                MsFlags::MS_RDONLY,
                "problem",
                "is on a read-only file system",
            ),
        ] {
            disk_of_its_own(&home.data(), flags, size);
            finds(&home, "disk", health, text);
        }
    });
}

#[test]
fn who_looks_after_the_clock_is_told() {
    if !nix::unistd::geteuid().is_root() {
        staunch_testkit::skip("doctor::who_looks_after_the_clock", "mounting needs root");
        return;
    }
    in_namespace("doctor::who_looks_after_the_clock", || {
        let home = Home::new(SMALL);
        disk_of_its_own(Path::new("/run"), MsFlags::empty(), "size=1m");
        finds(&home, "clock", "unknown", "nobody is seen to look after it");
        let said = home.run(&["doctor"]);
        let said = String::from_utf8(said.stdout).expect("it is text");
        assert!(said.contains("run systemd-timesyncd, chrony or ntpsec"), "{said}");
        for (file, text) in [
            (
                "/run/chrony/chronyd.pid",
                "looked after by the daemon of /run/chrony/chronyd.pid",
            ),
            (
                "/run/systemd/timesync/synchronized",
                "synchronised, says systemd-timesyncd",
            ),
        ] {
            fs::create_dir_all(Path::new(file).parent().expect("it has one")).expect("it is ours");
            fs::write(file, "").expect("it is ours");
            finds(&home, "clock", "ok", text);
        }
    });
}
