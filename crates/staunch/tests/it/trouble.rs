//! When something is in the way: locks, permissions, full disks, damage.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;
use staunch_model::{StateKind, TransactionId};
use staunch_server::dto::{Status, StreamEntry, StreamKind};

use crate::harness::{
    Ended, Home, SMALL, STAUNCH, disk_of_its_own, element, elements, exploit_from, in_namespace, stderr, wait_until,
};

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    in_namespace("trouble::a_second_server", || {
        let home = Home::new(SMALL);
        let _first = home.serve();
        let Err(second) = home.try_serve(&["--allow-unauthenticated-loopback"]) else {
            panic!("two servers on one journal")
        };
        assert_eq!(second.status.code(), Some(7));
        assert!(stderr(&second).contains("is in use by process"), "{second:?}");
        assert!(
            !stderr(&second).contains("there is no vault"),
            "nothing else is the matter: {second:?}"
        );
        let rebuild = home.run(&["index", "rebuild"]);
        assert_eq!(rebuild.status.code(), Some(7));
    });
}

#[test]
fn a_server_whose_log_nobody_reads_goes_on() {
    in_namespace("trouble::log", || {
        let home = Home::new(SMALL);
        let log = home.path("stderr");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).expect("it is our directory");
        let reader = File::options()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(&log)
            .expect("a pipe");
        let server = home.serve();
        // As when the terminal is closed that it was started from.
        drop(reader);
        for attacker in ["203.0.113.1", "203.0.113.2"] {
            server.take(&exploit_from(attacker));
            wait_until("the containment", || element(attacker).is_some());
            wait_until("the incident in the index", || {
                server.ok(&["incident", "list"]).contains(attacker)
            });
        }
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn a_second_installation_on_the_same_table_is_refused() {
    in_namespace("trouble::a_second_installation", || {
        let sweeps = format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n");
        let (one, two) = (Home::new(&sweeps), Home::new(&sweeps));
        let first = one.serve();
        first.take(&exploit_from("203.0.113.1"));
        wait_until("the containment", || element("203.0.113.1").is_some());
        let Err(second) = two.try_serve(&["--allow-unauthenticated-loopback"]) else {
            panic!("two installations enforce with one table")
        };
        assert_eq!(second.status.code(), Some(7), "{second:?}");
        let said = stderr(&second);
        let holder = format!("process {} of user", first.id());
        assert!(said.contains(&holder) && said.contains("hint: "), "{said}");
        assert!(
            two.try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
                .is_ok()
        );

        // With another table of its own it is let in.
        two.configure(&format!("{sweeps}[nftables]\ntable = \"another\"\n"));
        let beside = two.serve();
        beside.take(&exploit_from("203.0.113.2"));
        wait_until("the second one's containment", || {
            beside.containments().iter().any(|it| it.state == StateKind::InForce)
        });
        drop(beside);

        // A killed process holds nothing any more, and its elements are not the next one's to lift.
        first.kill();
        two.configure(&sweeps);
        let after = two.serve();
        let swept = || after.get::<Status>("/v1/status").swept_at;
        wait_until("a sweep", || swept().is_some());
        let at = swept();
        wait_until("another sweep", || swept() > at);
        assert!(element("203.0.113.1").is_some(), "it is the first one's");
    });
}

#[test]
fn without_tokens_nobody_is_let_in_by_accident() {
    in_namespace("trouble::without_tokens", || {
        let home = Home::new(SMALL);
        let Err(refused) = home.try_serve(&[]) else {
            panic!("it listens without a token")
        };
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("staunch token create"), "{refused:?}");
        let made = home.run(&["token", "create", "alice", "--role", "operator"]);
        let token = String::from_utf8(made.stdout).expect("UTF-8");
        let sender = home.run(&["token", "create", "soar", "--role", "sender"]);
        let sender = String::from_utf8(sender.stdout).expect("UTF-8");
        let Ok(server) = home.try_serve(&[]) else {
            panic!("{}", home.log())
        };
        assert_eq!(server.post(&exploit_from("203.0.113.1")).expect("it answers").0, 401);
        let denied = server.run(&["status"]);
        assert_eq!(denied.status.code(), Some(8), "{denied:?}");
        assert!(stderr(&denied).contains("STAUNCH_TOKEN"), "{denied:?}");
        let with = |token: &str| {
            let mut command = crate::harness::staunch(&["status", "--json"]);
            command
                .env("STAUNCH_URL", &server.url)
                .env("STAUNCH_TOKEN", token.trim())
                .output()
                .expect("it starts")
        };
        assert!(with(&token).status.success());
        assert_eq!(with(&sender).status.code(), Some(8), "a sender does not operate");
        // Who lacks a right is told whose token has it: that of the command, though it looks first.
        for (arguments, whose) in [
            (&["status"][..], "use the token of a viewer"),
            (&["mode"], "use the token of a viewer"),
            (
                &["mode", "observe", "--yes", "--reason", "a test"],
                "use the token of an operator",
            ),
            (
                &["release", "--all", "--yes", "--reason", "a test"],
                "use the token of a responder or an operator",
            ),
            (
                &["release", "TX-1", "--yes", "--reason", "a test"],
                "use the token of a responder or an operator",
            ),
            (
                &["approve", "TX-1", "--yes", "--reason", "a test"],
                "use the token of a responder or an operator",
            ),
            (
                &["protect", "add", "192.0.2.1", "--yes", "--reason", "a test"],
                "use the token of a responder or an operator",
            ),
        ] {
            let output = crate::harness::staunch(arguments)
                .env("STAUNCH_URL", &server.url)
                .env("STAUNCH_TOKEN", sender.trim())
                .output()
                .expect("it starts");
            assert_eq!(output.status.code(), Some(8), "{arguments:?}: {output:?}");
            let said = stderr(&output);
            assert!(said.contains(&format!("hint: {whose}\n")), "{arguments:?}: {said}");
        }
    });
}

#[test]
fn without_the_capability_it_says_what_to_do() {
    if !geteuid().is_root() {
        staunch_testkit::skip("trouble::without_the_capability", "dropping a capability needs root");
        return;
    }
    in_namespace("trouble::without_the_capability", || {
        let home = Home::new(SMALL);
        let serve = Command::new("setpriv")
            .args([
                "--bounding-set",
                "-net_admin",
                "--inh-caps",
                "-net_admin",
                STAUNCH,
                "serve",
                "--config",
            ])
            .arg(home.config())
            .args(["--listen", "127.0.0.1:0", "--allow-unauthenticated-loopback"])
            .output();
        let Ok(output) = serve else {
            staunch_testkit::skip(
                "trouble::without_the_capability",
                "setpriv is not installed (Debian: util-linux)",
            );
            return;
        };
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("CAP_NET_ADMIN") && said.contains("hint: "), "{said}");
    });
}

#[test]
fn what_is_the_matter_with_a_directory_is_said_once() {
    in_namespace("trouble::said_once", || {
        let home = Home::new(SMALL);
        fs::create_dir(home.data()).expect("it is our directory");
        fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let server = home.serve();
        server.take(&exploit_from("203.0.113.1"));
        wait_until("the containment", || element("203.0.113.1").is_some());
        let log = home.log();
        assert_eq!(log.matches("others can enter").count(), 1, "{log}");
        // Nothing else is said twice at a start, but for its time.
        let started: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        let warnings = started
            .iter()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"));
        for line in warnings {
            assert_eq!(started.iter().filter(|it| *it == line).count(), 1, "{line}: {log}");
        }
    });
}

#[test]
fn a_full_disk_stops_intake_and_never_a_release() {
    if !geteuid().is_root() {
        staunch_testkit::skip("trouble::a_full_disk", "mounting a small file system needs root");
        return;
    }
    in_namespace("trouble::a_full_disk", || {
        let home = Home::new(&format!(
            "{SMALL}[limits]\nsweep_interval = \"1s\"\n[[sources.files]]\npath = \"eve.json\"\n"
        ));
        let followed = home.path("eve.json");
        fs::write(&followed, "").expect("it is our directory");
        let data = home.data();
        fs::create_dir(&data).expect("it is our directory");
        disk_of_its_own(&data, MsFlags::empty(), "size=18m,mode=700");
        let server = home.serve();
        let mut blocked = 0;
        let filler = File::create(data.join("filler")).expect("there is room");
        let mut offset = 0;
        while filler.write_at(&[1; 4096], offset).is_ok_and(|written| written == 4096) {
            offset += 4096;
        }
        let mut last = 202;
        // There are two segments of eight megabytes. The padding is so that it does not take thousands of events.
        let padding = format!("{{\"padding\":\"{}\",", "x".repeat(16 << 10));
        for number in 0..4_000 {
            let address = format!("203.{}.{}.9", number / 250, number % 250);
            let body = format!("{}\n", exploit_from(&address).replacen('{', &padding, 1));
            let (status, answer) = server.post(&body).expect("it answers");
            last = status;
            if status != 202 {
                assert_eq!(answer["type"], "urn:staunch:problem:journal-full", "{answer}");
                break;
            }
            blocked += 1;
        }
        assert_eq!(last, 503, "the disk did not fill up after {blocked} events");
        assert!(blocked > 0);
        assert!(!elements().is_empty());
        let status = || server.get::<Status>("/v1/status");
        assert!(status().journal_full.is_some());
        assert!(server.ok(&["status"]).contains("FULL: first refused"));
        let said = crate::harness::stdout(&server.run(&["doctor"]));
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "its journal is full",
            "fewer than the 16 MiB of two segments of the journal",
        ] {
            assert!(words.contains(part), "{part}: {said}");
        }
        // A line that is written now is read when there is room.
        fs::write(&followed, format!("{}\n", exploit_from("198.51.100.77"))).expect("it is our directory");
        wait_until("the page", || {
            home.log().contains("no more events are taken, and nothing new")
        });
        let log = home.log();
        let begins = |line: &&str| line.contains("ERROR") && line.contains("only lifting containment goes on");
        assert_eq!(log.lines().filter(begins).count(), 1, "{log}");
        // The index is on that disk too, and whoever misses something in it is told why.
        let index = || server.get::<Status>("/v1/status").index;
        let newest = format!("INC-{blocked}");
        wait_until("trouble of the index", || {
            index().is_some_and(|it| it.trouble.is_some())
        });
        let listed = server.run(&["incident", "list"]);
        let shown = server.run(&["incident", "show", &newest]);
        assert_eq!(shown.status.code(), Some(5), "{shown:?}");
        for said in [
            stderr(&listed),
            stderr(&shown),
            server.ok(&["status"]),
            crate::harness::stdout(&server.run(&["doctor"])),
        ] {
            let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
            let why = "index cannot be written: database or disk is full";
            assert!(words.contains(why), "{said}");
        }
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
        wait_until("the release on a full disk", || {
            server.containments().iter().all(|it| it.state != StateKind::InForce) && elements().is_empty()
        });
        // Room is made, and no further frame comes.
        let none: Option<&str> = None;
        mount(none, &data, none, MsFlags::MS_REMOUNT, Some("size=64m")).expect("root may");
        wait_until("the index to catch up", || {
            index().is_some_and(|it| it.trouble.is_none() && it.lag == Some(0))
        });
        assert!(server.ok(&["incident", "show", &newest]).contains(&newest));
        wait_until("the journal to have room", || status().journal_full.is_none());
        assert!(home.log().contains("the journal has room again"), "{}", home.log());
        // There were more blocks than the budget has, so it is only decided on.
        let listed = || server.ok(&["incident", "list", "--json", "--limit", "1"]);
        wait_until("the line of the followed file", || listed().contains("198.51.100.77"));
        assert!(home.run(&["journal", "verify"]).status.success());
    });
}

#[test]
fn an_index_that_cannot_be_opened_at_the_start_comes_back_by_itself() {
    in_namespace("trouble::awaited_index", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from("203.0.113.1"));
        wait_until("the incident in the index", || {
            server.ok(&["incident", "list"]).contains("203.0.113.1")
        });
        server.kill();
        let index = home.data().join("index.sqlite");
        for ending in ["", "-wal", "-shm"] {
            drop(fs::remove_file(format!("{}{ending}", index.display())));
        }
        fs::create_dir(&index).expect("it is our directory");

        let server = home.serve();
        assert!(home.log().contains("there is no index"), "{}", home.log());
        server.take(&exploit_from("203.0.113.2"));
        wait_until("the containment without an index, in the log", || {
            element("203.0.113.2").is_some() && home.log().contains("TX-2 in force until")
        });
        let why = "unable to open database file";
        let listed = server.run(&["incident", "list"]);
        assert_eq!(listed.status.code(), Some(9), "{listed:?}");
        let doctor = crate::harness::stdout(&server.run(&["doctor"]));
        for said in [stderr(&listed), server.ok(&["status"]), doctor] {
            let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(why), "{said}");
            // Nobody is sent to stop a server that mends this itself.
            assert!(
                !words.contains("start staunch") && !words.contains("index rebuild"),
                "{said}"
            );
        }
        assert!(stderr(&listed).contains("tried again"), "{listed:?}");

        // No further frame comes.
        fs::remove_dir(&index).expect("it is empty");
        wait_until("the index to come back", || {
            let index = server.get::<Status>("/v1/status").index;
            index.is_some_and(|it| it.trouble.is_none() && it.lag == Some(0))
        });
        let listed = server.ok(&["incident", "list"]);
        assert!(
            listed.contains("203.0.113.1") && listed.contains("203.0.113.2"),
            "{listed}"
        );
        assert!(home.log().contains("there is an index again"), "{}", home.log());
    });
}

#[test]
fn while_the_index_cannot_be_written_the_log_and_the_watchers_are_told() {
    in_namespace("trouble::an_index_that_is_locked", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from("203.0.113.1"));
        wait_until("the incident in the index", || {
            server.ok(&["incident", "list"]).contains("203.0.113.1")
        });
        let told = home.path("told");
        let mut command = crate::harness::staunch(&["watch", "--after", "0", "--json"]);
        command
            .env("STAUNCH_CONFIG", home.config())
            .stdout(File::create(&told).expect("it is our directory"));
        let _watching = Ended(command.spawn().expect("the binary starts"));
        let told = || -> Vec<StreamEntry> {
            let text = fs::read_to_string(&told).expect("it is there");
            // What is being written has no end yet.
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole
                .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
                .collect()
        };
        let of_itself = || told().into_iter().filter(|it| it.kind == StreamKind::Stream);
        wait_until("the first one to be told", || {
            told().iter().any(|it| it.what.contains("outcome: contained"))
        });
        assert_eq!(of_itself().count(), 0, "{:?}", told());

        // Somebody else writes to it, and does not end.
        let other = rusqlite::Connection::open(home.data().join("index.sqlite")).expect("it opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("it is free");
        server.take(&exploit_from("203.0.113.2"));
        wait_until("the containment in the log", || {
            home.log().contains("TX-2 in force until")
        });
        wait_until("the watcher to be told of the trouble", || of_itself().count() == 1);
        let trouble = of_itself().next().expect("it was counted").what;
        assert!(
            trouble.contains("cannot be told here yet") && trouble.contains("database is locked"),
            "{trouble}"
        );
        let counts = server.get::<Status>("/v1/status").counts;
        assert_eq!(counts.follower_gaps, 1, "of all the frames it fell behind once");

        other.execute_batch("ROLLBACK").expect("it is ours");
        wait_until("the second one to be told", || {
            let is_last = |it: &StreamEntry| it.what.contains("outcome: contained");
            told().iter().filter(|it| is_last(it)).count() == 2
        });
        let told = told();
        let goes_on = told
            .iter()
            .position(|it| it.kind == StreamKind::Stream && it.what.contains("told again"));
        let goes_on = goes_on.expect("that it goes on is told");
        let (before, after) = told.split_at(goes_on);
        let is_second = |it: &StreamEntry| it.transaction == Some(TransactionId(2));
        assert!(
            !before.iter().any(is_second) && after.iter().any(is_second),
            "{told:#?}"
        );
        // The log has each line once.
        let lines = home.log().matches("TX-2 in force until").count();
        assert_eq!(lines, 1, "{}", home.log());
    });
}

#[test]
fn files_that_vanish_under_a_server_are_noticed() {
    in_namespace("trouble::files_that_vanish", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"6s\"\n"));
        let server = home.serve();
        server.take(&exploit_from("203.0.113.1"));
        wait_until("the containment", || element("203.0.113.1").is_some());
        let status = || server.get::<Status>("/v1/status");

        let index = home.data().join("index.sqlite");
        for ending in ["", "-wal", "-shm"] {
            drop(fs::remove_file(format!("{}{ending}", index.display())));
        }
        wait_until("a new index", || {
            // While the file is exchanged there may be no answer.
            let list = server.run(&["incident", "list", "--json"]);
            let found = serde_json::from_slice::<staunch_server::dto::Incidents>(&list.stdout);
            index.exists() && found.is_ok_and(|it| it.incidents.len() == 1)
        });
        assert!(home.log().contains("rebuilt from the journal"), "{}", home.log());

        let (journal, away) = (home.data().join("journal"), home.path("away"));
        let sweeps = status().counts.sweeps;
        wait_until("a sweep", || status().counts.sweeps > sweeps);
        let sweeps = status().counts.sweeps;
        fs::rename(&journal, &away).expect("moved");
        // Events notice it, long before the next sweep does.
        wait_until("the loss to be noticed", || {
            let answer = server.post(&exploit_from("203.0.113.1"));
            answer.is_ok_and(|(code, _)| code == 503)
        });
        let found = status();
        assert!(found.journal_lost.is_some());
        assert_eq!(found.counts.sweeps, sweeps, "it took a sweep to notice");
        let (code, answer) = server.post(&exploit_from("203.0.113.2")).expect("it answers");
        assert_eq!(
            (code, &answer["type"]),
            (503, &"urn:staunch:problem:journal-lost".into()),
            "{answer}"
        );
        assert!(server.ok(&["status"]).contains("LOST"));
        wait_until("the page", || home.log().contains("no more events are taken, because"));
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
        wait_until("the release", || elements().is_empty());

        fs::rename(&away, &journal).expect("moved back");
        wait_until("the journal to be back", || {
            let answer = server.post(&exploit_from("203.0.113.1"));
            answer.is_ok_and(|(code, _)| code == 202)
        });
        assert!(status().journal_lost.is_none());
        server.take(&exploit_from("203.0.113.3"));
        server.kill();
        assert!(home.run(&["journal", "verify"]).status.success());
    });
}

#[test]
fn damage_is_told_with_its_place() {
    in_namespace("trouble::damage", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        for number in 1..=5 {
            server.take(&exploit_from(&format!("203.0.113.{number}")));
        }
        wait_until("the containments", || server.containments().len() == 5);
        server.kill();
        let journal = home.data().join("journal");
        let mut segments: Vec<_> = fs::read_dir(&journal)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().chars().any(|c| c.is_ascii_digit()))
            })
            .filter(|path| path.metadata().is_ok_and(|it| it.len() > 1 << 20))
            .collect();
        segments.sort();
        let file = File::options()
            .read(true)
            .write(true)
            .open(&segments[0])
            .expect("it is ours");
        let mut byte = [0];
        file.read_at(&mut byte, 5_000).expect("it is longer");
        file.write_at(&[byte[0] ^ 0xff], 5_000).expect("it is ours");
        let verify = home.run(&["journal", "verify"]);
        assert_eq!(verify.status.code(), Some(6), "{verify:?}");
        let said = stderr(&verify);
        let name = segments[0]
            .file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned();
        assert!(said.contains(&name) && said.contains("byte "), "{said}");
        let Err(refused) = home.try_serve(&["--allow-unauthenticated-loopback"]) else {
            panic!("it serves a corrupt journal")
        };
        assert_eq!(refused.status.code(), Some(6));
    });
}

/// Whoever cannot say that it listens protects all the same.
#[test]
fn a_server_whose_stdout_is_on_a_full_disk_starts() {
    in_namespace("trouble::full_stdout", || {
        let home = Home::new(SMALL);
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut command =
            crate::harness::staunch(&["serve", "--listen", "127.0.0.1:0", "--allow-unauthenticated-loopback"]);
        command
            .arg("--config")
            .arg(home.config())
            .stdout(full)
            .stderr(File::create(home.path("stderr")).expect("it is our directory"));
        let mut server = Ended(command.spawn().expect("the binary starts"));
        wait_until("an answer", || {
            let ended = server.0.try_wait().expect("it is ours");
            assert_eq!(ended, None, "{}", home.log());
            home.run(&["status"]).status.success()
        });
        assert!(home.log().contains("cannot write the answer"), "{}", home.log());
    });
}

/// An index is up to date with a journal that can be read, and with no part of one.
#[test]
fn a_journal_that_is_damaged_behind_the_index_is_told() {
    in_namespace("trouble::index_status", || {
        let home = Home::new(SMALL);
        let index = || ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"].map(|it| home.data().join(it));
        let take = |address: &str| {
            let server = home.serve();
            server.take(&exploit_from(address));
            wait_until("the block", || element(address).is_some());
            server.kill();
        };
        take("203.0.113.9");
        let before = index().map(|file| fs::read(file).ok());
        take("203.0.113.10");
        take("203.0.113.11");
        for (file, before) in index().iter().zip(before) {
            let put = before.map_or_else(|| fs::remove_file(file), |bytes| fs::write(file, bytes));
            assert!(put.is_ok() || !file.exists(), "{put:?}");
        }
        let status = || home.run(&["index", "status", "--json"]);
        assert_eq!(status().status.code(), Some(0), "{:?}", status());
        let segments = fs::read_dir(home.data().join("journal")).expect("it is there");
        let damaged = segments.flatten().any(|it| {
            let mut bytes = fs::read(it.path()).expect("it is ours");
            let found = bytes.windows(12).position(|it| it == b"203.0.113.10");
            let Some(at) = found else { return false };
            bytes[at] ^= 1;
            fs::write(it.path(), bytes).is_ok()
        });
        assert!(damaged, "the event is in the journal");
        assert_eq!(status().status.code(), Some(6), "{:?}", status());
    });
}
