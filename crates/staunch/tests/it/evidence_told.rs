//! What `staunch evidence` says of what it was given, and of what it does not have.

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;
use tempfile::TempDir;

use crate::custody::{collected, text};
use crate::evidence::{ATTACKER, HTTP, playbook};
use crate::harness::{
    Home, SMALL, disk_of_its_own, element, exploit_from, in_namespace, staunch, stderr, stdout, wait_until,
};

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Verifies what is piped in.
fn piped(home: &Home, file: &std::path::Path, named: &str, key: &str) -> Output {
    let from = File::open(file).expect("it is there");
    staunch(&["evidence", "verify", named, "--key", key])
        .env("STAUNCH_CONFIG", home.config())
        .stdin(Stdio::from(from))
        .output()
        .expect("the binary starts")
}

#[test]
fn what_is_no_archive_is_told_with_what_to_do() {
    in_namespace("evidence_told::no_archive", || {
        let (home, _) = collected();
        let key = stdout(&home.run(&["evidence", "key"])).trim().to_owned();
        let archive = home.path("INC-1.tar.zst");
        let exported = home.run(&["evidence", "export", "INC-1", "--output", text(&archive)]);
        assert!(exported.status.success(), "{}", stderr(&exported));
        let verify = |path: &std::path::Path| home.run(&["evidence", "verify", text(path), "--key", &key]);
        let proved = verify(&archive);
        assert!(proved.status.success(), "{}", stdout(&proved));
        // What went to a pipe is verified from one.
        for named in ["-", "/dev/stdin"] {
            let ran = piped(&home, &archive, named, &key);
            assert!(
                ran.status.success() && stdout(&ran).contains("PROVED"),
                "{}",
                stderr(&ran)
            );
        }
        let packed = fs::read(&archive).expect("it is there");
        let tar = zstd::decode_all(&*packed).expect("it is packed");
        let plain = home.path("plain.tar");
        fs::write(&plain, &tar).expect("it is our directory");
        let gzip = home.path("it.tar.gz");
        fs::write(&gzip, [&[0x1f, 0x8b, 8, 0], &tar[..1000]].concat()).expect("it is our directory");
        let empty = home.path("empty");
        fs::write(&empty, "").expect("it is our directory");
        for (file, hint) in [
            (
                &plain,
                "hint: it is a tar, and not packed as it was exported: unpack it",
            ),
            (&gzip, "hint: it is packed with gzip: name the .tar.zst"),
            (&empty, "hint: it is empty: name the .tar.zst"),
            (&home.config(), "hint: it does not begin as an archive does"),
        ] {
            let ran = verify(file);
            assert_eq!(ran.status.code(), Some(6), "{}", stderr(&ran));
            assert!(in_one_line(&stdout(&ran)).contains(hint), "{}", stdout(&ran));
            assert!(
                stdout(&ran).lines().all(|line| line.chars().count() <= 80),
                "{}",
                stdout(&ran)
            );
        }
        // Unpacked and packed again, which others do.
        let unpacked = home.path("unpacked");
        fs::create_dir(&unpacked).expect("it is our directory");
        let run = |command: &mut Command| assert!(command.status().expect("it is there").success(), "{command:?}");
        run(Command::new("tar").arg("-xf").arg(&plain).arg("-C").arg(&unpacked));
        let again = home.path("again.tar");
        run(Command::new("tar")
            .arg("-cf")
            .arg(&again)
            .arg("-C")
            .arg(&unpacked)
            .arg("INC-1"));
        let repacked = home.path("again.tar.zst");
        let bytes = zstd::encode_all(&*fs::read(&again).expect("it is there"), 3).expect("it is packed");
        fs::write(&repacked, bytes).expect("it is our directory");
        let ran = verify(&repacked);
        assert_eq!(ran.status.code(), Some(6), "{}", stdout(&ran));
        assert!(
            in_one_line(&stdout(&ran)).contains("unpack it, and verify the folder"),
            "{}",
            stdout(&ran)
        );
        let folder = unpacked.join("INC-1");
        let proved = verify(&folder);
        assert!(proved.status.success(), "{}", stdout(&proved));
        let how = fs::read_to_string(folder.join("VERIFY.md")).expect("it is there");
        assert!(
            how.contains("INC-1.evidence.tar.zst") && !how.contains("INC-3"),
            "{how}"
        );
        // A pipe in the place of a file is told with its name.
        let inventory = folder.join("INVENTORY");
        fs::remove_file(&inventory).expect("it is ours");
        mkfifo(&inventory, Mode::S_IRUSR | Mode::S_IWUSR).expect("it is ours");
        let ran = verify(&folder);
        assert_eq!(ran.status.code(), Some(6), "{}", stderr(&ran));
        assert!(
            in_one_line(&stdout(&ran)).contains("INVENTORY is not what it should be: it is no plain file"),
            "{}",
            stdout(&ran)
        );

        let none = home.run(&["evidence", "verify", "nowhere.tar.zst", "--key", &key]);
        assert_eq!(none.status.code(), Some(5), "{}", stderr(&none));
        assert!(
            stderr(&none).contains("there is no file and no folder nowhere.tar.zst"),
            "{}",
            stderr(&none)
        );
        let mistyped = key.replacen("staunch+", "staunch+0", 1);
        let ran = home.run(&["evidence", "verify", text(&archive), "--key", &mistyped]);
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        assert!(
            in_one_line(&stderr(&ran)).contains("a letter of the key is wrong"),
            "{}",
            stderr(&ran)
        );
    });
}

#[test]
fn a_folder_is_told_of_within_eighty_columns_and_to_its_cause() {
    in_namespace("evidence_told::folder", || {
        let (home, _) = collected();
        let ran = home.run(&["evidence", "verify"]);
        let told = stdout(&ran);
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        let said = stderr(&ran);
        assert!(said.contains("the key is the one on this machine"), "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
        let ran: Value = serde_json::from_slice(&home.run(&["evidence", "verify", "--json"]).stdout).expect("JSON");
        assert_eq!(
            (&ran["verdict"], &ran["proved"]),
            (&"proved".into(), &true.into()),
            "{ran}"
        );
        let list: Value = serde_json::from_slice(&home.run(&["evidence", "list", "--json"]).stdout).expect("JSON");
        assert_eq!(list["evidence"][0]["state"], "sealed", "{list}");
        assert_eq!(list["unrecorded"], serde_json::json!([]), "{list}");
        let none = home.run(&["evidence", "list", "INC-1000"]);
        assert_eq!(none.status.code(), Some(5), "{none:?}");
        assert!(stderr(&none).contains("there is no INC-1000"), "{none:?}");
        // An object that was made a link is told as one, and the finding is not cut before that.
        let objects = home.data().join("evidence/vault/objects");
        let dir = fs::read_dir(objects)
            .expect("objects")
            .next()
            .expect("one")
            .expect("one")
            .path();
        let object = fs::read_dir(dir)
            .expect("objects")
            .next()
            .expect("one")
            .expect("one")
            .path();
        let aside = home.path("aside");
        fs::rename(&object, &aside).expect("it is ours");
        std::os::unix::fs::symlink(&aside, &object).expect("it is ours");
        let ran = home.run(&["evidence", "verify"]);
        assert_eq!(ran.status.code(), Some(6), "{}", stderr(&ran));
        let told = stdout(&ran);
        assert!(
            in_one_line(&told).contains("it is a link, and none is followed"),
            "{told}"
        );
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        // The cause of a finding with the longest name that there is.
        fs::remove_file(&object).expect("it is ours");
        fs::rename(&aside, &object).expect("it is ours");
        let log = home.data().join("evidence/handling/all.jsonl");
        let last = fs::read_to_string(log).expect("it is there");
        let last = last.lines().last().expect("a line").to_owned();
        assert!(last.contains("not as it was sealed"), "{last}");
    });
}

/// The journal knows what was sealed, also when another vault stands in the place of the one that had it.
#[test]
fn what_was_sealed_and_is_removed_is_told() {
    in_namespace("evidence_told::removed", || {
        let (home, _) = collected();
        let list = || {
            let told = stdout(&home.run(&["evidence", "list", "--json"]));
            serde_json::from_str::<Value>(&told).expect("JSON")
        };
        assert_eq!(list()["gone"], serde_json::json!([]), "{}", list());
        let doctor = || in_one_line(&stdout(&home.run(&["doctor"])));
        assert!(!doctor().contains("is gone"), "{}", doctor());
        fs::rename(home.data().join("evidence/vault"), home.path("aside")).expect("it is ours");
        assert!(
            doctor().contains("PROBLEM evidence: the vault in")
                && doctor().contains("is gone, with all that was sealed"),
            "{}",
            doctor()
        );

        let server = home.serve();
        let gone = list()["gone"].clone();
        assert_eq!(gone[0]["evidence"], "EV-1", "{gone}");
        assert!(gone[0]["sealed_at"].is_string(), "{gone}");
        let told = server.ok(&["evidence", "list"]);
        assert!(
            in_one_line(&told).contains("NOT IN THE VAULT any more, or cannot be read there"),
            "{told}"
        );
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    });
}

#[test]
fn who_may_not_look_is_told_that() {
    if !geteuid().is_root() {
        staunch_testkit::skip("evidence_told::may_not", "only root runs a program as somebody else");
        return;
    }
    in_namespace("evidence_told::may_not", || {
        let (home, _) = collected();
        let (_program, another) = for_all();
        let vault = home.data().join("evidence");
        let ran = another(&["evidence", "list", "--vault", text(&vault)]);
        assert_eq!(ran.status.code(), Some(8), "{}", stderr(&ran));
        assert!(
            in_one_line(&stderr(&ran)).contains("as the user of the server"),
            "{}",
            stderr(&ran)
        );
    });
}

/// The program where everybody gets at it, which the one of the test need not be, in a folder that lasts as long as it
/// is held; and what runs that as somebody else, with the configuration that is beside it.
fn for_all() -> (TempDir, impl Fn(&[&str]) -> Output) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let copy = folder.path().join("staunch");
    let mut to = fs::OpenOptions::new();
    let mut to = to
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&copy)
        .expect("it is ours");
    let mut from = File::open(crate::harness::STAUNCH).expect("it is there");
    std::io::copy(&mut from, &mut to).expect("there is room");
    drop(to);
    let config = folder.path().join("staunch.toml");
    let run = move |arguments: &[&str]| {
        Command::new(&copy)
            .args(arguments)
            .env_clear()
            .env("STAUNCH_CONFIG", &config)
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("it can be run")
    };
    (folder, run)
}

#[test]
fn a_timeline_and_a_graph_tell_who_may_not_look_into_the_vault_or_a_log() {
    if !geteuid().is_root() {
        staunch_testkit::skip("evidence_told::not_into", "only root runs a program as somebody else");
        return;
    }
    in_namespace("evidence_told::not_into", || {
        let (home, _) = collected();
        let server = home.serve();
        let (folder, another) = for_all();
        let listen = server.url.strip_prefix("http://").expect("it is plain HTTP");
        let config = format!("data_dir = {:?}\n[http]\nlisten = {listen:?}\n", text(&home.data()));
        fs::write(folder.path().join("staunch.toml"), config).expect("it is ours");
        let missing = |arguments: &[&str]| -> String {
            let ran = another(&[&["incident"], arguments, &["--json"]].concat());
            assert!(ran.status.success(), "{arguments:?}: {}", stderr(&ran));
            let told: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            told["missing"][0].as_str().expect("something is missing").to_owned()
        };
        let evidence = ["timeline", "INC-1", "--evidence"];
        let of_all = [&evidence[..], &["graph", "INC-1"]];
        for arguments in of_all {
            let why = missing(arguments);
            for part in ["Permission denied", "run it as the user of the server"] {
                assert!(why.contains(part), "{arguments:?}: {why}");
            }
        }
        let listing = another(&["incident", "show", "INC-1"]);
        assert!(stderr(&listing).contains("Permission denied"), "{}", stderr(&listing));
        // What is told beside the answer fits a terminal.
        for ran in [
            listing,
            another(&["incident", "timeline", "INC-1", "--evidence", "--format", "csv"]),
        ] {
            let told = stderr(&ran);
            assert!(told.lines().count() > 1, "{told}");
            assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        }

        // A log that this user may not read is told, beside one that may be read.
        let (denied, open) = (folder.path().join("denied.log"), folder.path().join("open.log"));
        for (file, mode) in [(&denied, 0o600), (&open, 0o644)] {
            fs::write(file, format!("2026-11-25T12:00:01Z web {ATTACKER}\n")).expect("it is ours");
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let alone = ["incident", "timeline", "INC-1", "--logs", text(&denied)];
        let ran = another(&alone);
        assert_eq!(ran.status.code(), Some(8), "{}", stderr(&ran));
        let told = in_one_line(&stderr(&ran));
        assert!(told.contains("hint: run it as a user who may read it"), "{told}");
        assert!(!told.contains("cloudtrail"), "{told}");
        let ran = another(&[&alone[..], &["--logs", text(&open)]].concat());
        assert!(ran.status.success(), "{}", stderr(&ran));
        let told = in_one_line(&stdout(&ran));
        assert!(told.contains("denied.log: not read: Permission denied"), "{told}");
        assert!(told.contains("open.log: log (guessed), "), "{told}");

        // None at all is no matter of permission.
        let elsewhere = format!(
            "data_dir = {:?}\n[http]\nlisten = {listen:?}\n",
            text(&folder.path().join("none"))
        );
        fs::write(folder.path().join("staunch.toml"), elsewhere).expect("it is ours");
        for arguments in of_all {
            let why = missing(arguments);
            assert!(
                why.contains("there is no vault on this machine"),
                "{arguments:?}: {why}"
            );
        }
    });
}

#[test]
fn what_was_missed_without_a_record_is_listed() {
    if !geteuid().is_root() {
        staunch_testkit::skip("evidence_told::missed", "mounting a small file system needs root");
        return;
    }
    in_namespace("evidence_told::missed", || {
        let home = Home::new(&format!("{SMALL}{HTTP}"));
        home.playbook("keep-first.yaml", &playbook("  - network\n  - sockets\n"));
        let folder = home.data().join("evidence");
        fs::create_dir_all(&folder).expect("it is our directory");
        disk_of_its_own(&folder, MsFlags::empty(), "size=256k,mode=700");
        let server = home.serve();
        drop(fs::write(folder.join("filler"), vec![1; 512 << 10]));
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        let list = || -> Value { server.json(&["evidence", "list", "INC-1"]) };
        wait_until("both are missed", || {
            list()["unrecorded"].as_array().is_some_and(|it| it.len() == 2)
        });
        assert_eq!(list()["evidence"], serde_json::json!([]));
        let told = server.ok(&["evidence", "list", "INC-1"]);
        assert!(told.starts_with("2 pieces were asked for and MISSED"), "{told}");
        assert!(!told.contains("nothing was preserved"), "{told}");
        assert!(!told.contains("/records/"), "{told}");
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn parts_that_were_missed_are_told_wherever_the_evidence_is() {
    in_namespace("evidence_told::parts", || {
        let home = Home::new(&format!("{SMALL}{HTTP}"));
        let places = home.path("kept");
        fs::create_dir_all(places.join("dir")).expect("it is our directory");
        fs::write(places.join("good"), "kept\n").expect("it is our directory");
        mkfifo(&places.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("it is ours");
        let paths: Vec<String> = ["good", "dir", "fifo", "absent"]
            .map(|it| places.join(it).display().to_string())
            .to_vec();
        home.playbook(
            "keep-first.yaml",
            &playbook(&format!("  - files: {{ paths: [{}] }}\n", paths.join(", "))),
        );
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        wait_until("it is sealed", || {
            server.json::<Value>(&["incident", "show", "INC-1"])["evidence"][0]["sealed_at"].is_string()
        });
        let listed = server.ok(&["evidence", "list"]);
        assert!(in_one_line(&listed).contains("3 parts missed"), "{listed}");

        // At its socket, as an operator of this machine.
        let ok = |arguments: &[&str]| {
            let ran = home.run(arguments);
            assert!(ran.status.success(), "{arguments:?}: {}", stderr(&ran));
            stdout(&ran)
        };
        let json = |arguments: &[&str]| -> Value {
            serde_json::from_str(&ok(&[arguments, &["--json"]].concat())).expect("it is JSON")
        };
        let shown = json(&["incident", "show", "INC-1"]);
        let missed = shown["missed_parts"].as_array().expect("a list");
        assert_eq!(missed.len(), 3, "{shown}");
        for (name, part) in ["dir", "fifo", "absent"].iter().zip(&paths[1..]) {
            let it = missed
                .iter()
                .find(|it| it["locator"].as_str().is_some_and(|it| it.ends_with(part)));
            let it = it.unwrap_or_else(|| panic!("{name}: {shown}"));
            assert!(it["why"].as_str().is_some_and(|why| !why.is_empty()), "{it}");
        }
        let words = "3 parts MISSED: ";
        let told = ok(&["incident", "show", "INC-1"]);
        assert!(in_one_line(&told).contains(words), "{told}");
        let told = ok(&["incident", "timeline", "INC-1"]);
        assert!(in_one_line(&told).contains(&format!("bytes; {words}")), "{told}");
        let timeline = json(&["incident", "timeline", "INC-1"]);
        assert_eq!(timeline["missed_parts"], shown["missed_parts"]);
        let page = ok(&["incident", "timeline", "INC-1", "--format", "html"]);
        assert!(page.contains(words), "{page}");
        let remote: Value = server.json(&["incident", "show", "INC-1"]);
        assert_eq!(
            remote["missed_parts_unknown"], "evidence is not read when a server is named",
            "{remote}"
        );
        // What is named is to be there.
        for command in ["timeline", "graph"] {
            let ran = home.run(&["incident", command, "INC-1", "--vault", "/nonexistent"]);
            assert_eq!(ran.status.code(), Some(5), "{command}: {}", stderr(&ran));
            assert!(stderr(&ran).contains("/nonexistent"), "{}", stderr(&ran));
        }
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
        drop(server);

        let dir = home.path("review");
        let ran = home.run(&["review", "INC-1", "--output", text(&dir), "--json"]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!(said["missed_parts"], shown["missed_parts"]);
        let questions = said["questions"].to_string();
        assert_eq!(
            questions.matches("of EV-1 have shown? It was missed: ").count(),
            3,
            "{questions}"
        );
        let report = fs::read_to_string(dir.join("report.md")).expect("it is there");
        assert!(report.contains(words), "{report}");
        let page = fs::read_to_string(dir.join("timeline.html")).expect("it is there");
        assert!(page.contains(words), "{page}");
    });
}

#[test]
fn a_file_that_is_cut_says_so_wherever_it_is() {
    in_namespace("evidence_told::cut", || {
        let home = Home::new(&format!("{SMALL}{HTTP}"));
        let log = home.path("large.log");
        let bytes: Vec<u8> = (0..3_u32 << 20)
            .map(|it| b'a' + u8::try_from(it % 26).expect("a letter"))
            .collect();
        fs::write(&log, &bytes).expect("it is our directory");
        let step = format!("  - files: {{ paths: [{}], mib_max: 1 }}\n", log.display());
        home.playbook("keep-first.yaml", &playbook(&step));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("it is sealed", || {
            server.json::<Value>(&["incident", "show", "INC-1"])["evidence"][0]["sealed_at"].is_string()
        });
        let logged = || server.json::<Value>(&["evidence", "list"])["evidence"][0]["in_log"] == true;
        wait_until("it is in the log", logged);
        let ok = |arguments: &[&str]| {
            let ran = home.run(arguments);
            assert!(ran.status.success(), "{arguments:?}: {}", stderr(&ran));
            (stdout(&ran), stderr(&ran))
        };
        let words = "only its last 1048576 of 3145728 bytes are kept";
        for command in [
            &["evidence", "list"][..],
            &["evidence", "show", "EV-1"],
            &["incident", "show", "INC-1"],
            &["incident", "timeline", "INC-1"],
        ] {
            let (told, _) = ok(command);
            assert!(in_one_line(&told).contains(words), "{command:?}: {told}");
            assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        }
        let (list, _) = ok(&["evidence", "list", "--json"]);
        let list: Value = serde_json::from_str(&list).expect("it is JSON");
        assert_eq!(list["evidence"][0]["state"], "in-part", "{list:#}");
        assert!(
            list["evidence"][0]["first_missed"]
                .as_str()
                .is_some_and(|it| it.contains(words)),
            "{list:#}"
        );
        let out = home.path("out");
        let (_, told) = ok(&["evidence", "get", "EV-1", "file-001-large.log", "--output", text(&out)]);
        assert!(in_one_line(&told).contains(words), "{told}");
        assert_eq!(fs::read(&out).expect("it is written"), bytes[2 << 20..]);
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn a_file_that_the_vault_cuts_says_so_too() {
    in_namespace("evidence_told::cut_by_vault", || {
        let bound = HTTP.replace("immutable = false", "immutable = false\nartefact_mib_max = 1");
        let home = Home::new(&format!("{SMALL}{bound}"));
        let log = home.path("large.log");
        fs::write(&log, vec![b'x'; 3 << 20]).expect("it is our directory");
        let step = format!("  - files: {{ paths: [{}] }}\n", log.display());
        home.playbook("keep-first.yaml", &playbook(&step));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        let listed = || server.json::<Value>(&["evidence", "list"])["evidence"][0].clone();
        wait_until("it is in the log", || listed()["in_log"] == true);
        let words = "3145728 bytes are more than an artefact may be; its last 1048576 bytes follow";
        let it = listed();
        assert_eq!(it["state"], "in-part", "{it:#}");
        assert!(
            it["first_missed"].as_str().is_some_and(|it| it.contains(words)),
            "{it:#}"
        );
        let got = home.run(&["evidence", "get", "EV-1", "file-002-large.log", "--output", "-"]);
        assert_eq!(
            (got.status.code(), got.stdout.len()),
            (Some(0), 1 << 20),
            "{}",
            stderr(&got)
        );
        assert!(in_one_line(&stderr(&got)).contains(words), "{}", stderr(&got));
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}
