//! Who has evidence in hand is on record, and nothing is on record that was not done.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::evidence::{ATTACKER, HTTP, evidence, playbook};
use crate::evidence_folder::in_one_line;
use crate::harness::{
    Home, SMALL, element, exploit_from, in_namespace, mounts_of_its_own, staunch, stderr, stdout, wait_until,
};

/// A home with sealed and signed evidence of INC-1, and the id of one piece of it.
pub(crate) fn collected() -> (Home, String) {
    let home = Home::new(&format!("{SMALL}{HTTP}"));
    home.playbook("keep-first.yaml", &playbook("  - network\n  - sockets\n"));
    let server = home.serve();
    server.take(&exploit_from(ATTACKER));
    wait_until("the attacker is blocked", || element(ATTACKER).is_some());
    wait_until("all of it is sealed", || evidence(&server).len() == 2);
    // Signing is of no use to who hands over, and an archive waits for it.
    let logged = || {
        let verified: Value =
            serde_json::from_slice(&server.run(&["evidence", "verify", "--json"]).stdout).expect("JSON");
        verified["entries"].as_u64() >= Some(5) && verified["proved"] == true
    };
    wait_until("all of it is logged", logged);
    let id = evidence(&server)[0]["evidence"].as_str().expect("an id").to_owned();
    server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    drop(server);
    (home, id)
}

/// What the handling log of INC-1 says: the action and the outcome of each line.
fn lines(home: &Home) -> Vec<(String, String)> {
    let text = fs::read_to_string(home.data().join("evidence/handling/INC-1.jsonl")).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect("a line");
    text.lines()
        .map(parse)
        .map(|it| (it["handling"]["action"].to_string(), it["outcome"].to_string()))
        .collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn what_was_done_before_a_piece_was_sealed_is_none_of_its_handling() {
    in_namespace("custody::before", || {
        let home = Home::new(&format!("{SMALL}{HTTP}"));
        home.playbook("keep-first.yaml", &playbook("  - network\n"));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the first is sealed", || evidence(&server).len() == 1);
        let handled = |id: &str| {
            let shown: Value = server.json(&["evidence", "show", id]);
            shown["handled"].as_array().expect("a list").len()
        };
        let first = evidence(&server)[0]["evidence"].as_str().expect("an id").to_owned();
        // It is written down, whatever it comes to.
        server.run(&["evidence", "verify", "--reason", "before"]);
        assert_eq!(handled(&first), 1);
        server.take(&exploit_from("203.0.113.77"));
        wait_until("the second is sealed", || evidence(&server).len() == 2);
        let rows = evidence(&server);
        let second = rows
            .iter()
            .filter_map(|it| it["evidence"].as_str())
            .find(|it| *it != first);
        let second = second.expect("another one").to_owned();
        assert_eq!((handled(&first), handled(&second)), (1, 0));
        let told = server.ok(&["evidence", "show", &second]);
        assert!(!told.contains("Handled since"), "{told}");
        server.run(&["evidence", "verify", "--reason", "after"]);
        assert_eq!((handled(&first), handled(&second)), (2, 1));
        let told = server.ok(&["evidence", "show", &second]);
        assert!(
            told.contains("because: after") && !told.contains("because: before"),
            "{told}"
        );
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

/// What the transparency log stands for, and what is signed beyond it, shows when it was tampered with.
#[test]
fn who_has_handled_it_can_be_neither_changed_nor_cut_off() {
    in_namespace("custody::tampered", || {
        let (home, id) = collected();
        for reason in ["triage", "for the insurer"] {
            let got = home.run(&["evidence", "get", &id, "--output", "-", "--reason", reason]);
            assert!(got.status.success(), "{}", stderr(&got));
        }
        // A start logs what was handled while no server was at work.
        let entries = || {
            let verified = home.run(&["evidence", "verify", "--json"]);
            let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
            assert_eq!(verified["verdict"], "proved", "{verified:#}");
            verified["entries"].as_u64().expect("a number")
        };
        let before = entries();
        let server = home.serve();
        wait_until("it is logged", || entries() > before);
        drop(server);
        let folder = home.data().join("evidence");
        let sound = fs::read_to_string(folder.join("handling/INC-1.jsonl")).expect("it is there");
        let copy = home.path("copy");
        copied(&folder, &copy);
        let key = fs::read_to_string(home.data().join("evidence.pub")).expect("it is there");
        let file = copy.join("handling/INC-1.jsonl");
        let verify = |log: &str| {
            fs::write(&file, log).expect("it is our copy");
            let done = home.run(&["evidence", "verify", text(&copy), "--key", key.trim()]);
            (done.status.code(), stdout(&done))
        };
        assert_eq!(verify(&sound).0, Some(0), "{}", verify(&sound).1);
        let lines: Vec<&str> = sound.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 4, "{sound}");
        let last = lines[3].replace("insurer", "nobody");
        for (tampered, told) in [
            (
                format!("{}{last}", lines[..3].concat()),
                "line 4 is not as it was signed",
            ),
            (lines[..3].concat(), "handling/INC-1.jsonl was cut off or removed"),
            (String::new(), "handling/INC-1.jsonl was cut off or removed"),
            ("garbage\n".repeat(1_000), "handling/INC-1.jsonl was changed"),
        ] {
            let (code, said) = verify(&tampered);
            assert_eq!(code, Some(6), "{said}");
            assert!(in_one_line(&said).contains(told), "{told}: {said}");
        }
        // What was put behind it is nobody's word, and what was signed elsewhere is of elsewhere.
        let unsigned = lines[3].split(",\"signature\"").next().expect("it has one");
        for (more, exit, told) in [
            ("garbage\n", 1, "PROVED IN PART: "),
            ("{", 1, "PROVED IN PART: "),
            (&*format!("{unsigned}}}\n"), 6, "line 5 does not follow"),
            (lines[0], 6, "line 5 does not follow"),
        ] {
            let (code, said) = verify(&format!("{sound}{more}"));
            assert_eq!(code, Some(exit), "{more}: {said}");
            assert!(in_one_line(&said).contains(told), "{more}: {said}");
        }
        fs::write(copy.join("handling/INC-2.jsonl"), &sound).expect("it is our copy");
        let (code, said) = verify(&sound);
        assert_eq!(code, Some(6), "{said}");
        assert!(
            in_one_line(&said).contains("handling/INC-2.jsonl: line 1 is not as it was signed"),
            "{said}"
        );
        fs::remove_dir_all(copy.join("handling")).expect("it is our copy");
        let gone = home.run(&["evidence", "verify", text(&copy), "--key", key.trim()]);
        assert_eq!(gone.status.code(), Some(6), "{}", stdout(&gone));
        // A copy beside the folder is one, though the key is beside it as well.
        let beside = home.data().join("evidence.bak");
        copied(&folder, &beside);
        let before = fs::read_to_string(beside.join("handling/INC-1.jsonl")).expect("it was copied");
        let got = home.run(&["evidence", "get", &id, "--output", "-", "--vault", text(&beside)]);
        assert!(got.status.success(), "{}", stderr(&got));
        // Also to whoever has another configuration.
        let elsewhere = home.path("elsewhere");
        fs::create_dir(&elsewhere).expect("it is our directory");
        let get = [
            "evidence",
            "get",
            &id,
            "--output",
            "-",
            "--vault",
            text(&beside),
            "--data-dir",
            text(&elsewhere),
        ];
        let got = home.run(&get);
        assert_eq!(got.status.code(), Some(1), "{}", stderr(&got));
        let after = fs::read_to_string(beside.join("handling/INC-1.jsonl")).expect("it is there");
        assert_eq!(after, before, "a copy is not written to");
        // Who reads what was done is told what nobody has signed.
        fs::write(
            beside.join("handling/INC-1.jsonl"),
            sound.replace("for the insurer", "for the press"),
        )
        .expect("it is our copy");
        let shown = home.run(&["evidence", "show", &id, "--vault", text(&beside)]);
        let said = in_one_line(&stdout(&shown));
        assert!(
            said.contains("NOT SIGNED: nobody who has the key has written this) because: for the press"),
            "{said}"
        );
        assert_eq!(said.matches("NOT SIGNED").count(), 2, "begun and done: {said}");
        fs::remove_dir_all(&beside).expect("it is our copy");
        // What was cut off here is missing in what is handed over, and an archive says so.
        fs::write(folder.join("handling/INC-1.jsonl"), lines[..2].concat()).expect("it is ours");
        let archive = home.path("INC-1.tar.zst");
        home.run(&["evidence", "export", "INC-1", "--output", text(&archive)]);
        let told = home.run(&["evidence", "verify", text(&archive), "--key", key.trim()]);
        assert_eq!(told.status.code(), Some(6), "{}", stdout(&told));
        let said = in_one_line(&stdout(&told));
        assert!(said.contains("handling/INC-1.jsonl was c"), "{said}");
        // A server goes on, and says so.
        let server = home.serve();
        wait_until("it is told", || home.log().contains("does not begin as it was logged"));
        drop(server);
    });
}

pub(crate) fn copied(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(done.expect("it is there").success());
}

#[test]
fn what_was_not_handed_over_is_not_on_record_as_a_copy() {
    in_namespace("custody::not_handed_over", || {
        let (home, id) = collected();
        let handling = home.data().join("evidence/handling");
        let before: Vec<_> = fs::read_dir(&handling).expect("it is there").collect();
        // There is no such incident, and nothing of it is made.
        let none = home.run(&["evidence", "export", "INC-99"]);
        assert_eq!(none.status.code(), Some(5), "{}", stderr(&none));
        assert!(
            stderr(&none).contains("there is no evidence of INC-99"),
            "{}",
            stderr(&none)
        );
        assert_eq!(fs::read_dir(&handling).expect("it is there").count(), before.len());
        let none = home.run(&["evidence", "list", "INC-99"]);
        assert_eq!(none.status.code(), Some(5), "{}", stderr(&none));
        assert!(stderr(&none).contains("there is no INC-99"), "{}", stderr(&none));
        // Nothing was touched where the file was there already.
        let file = home.path("there");
        fs::write(&file, "of somebody").expect("it is our directory");
        for command in [
            vec!["evidence", "export", "INC-1", "--output", text(&file)],
            vec!["evidence", "get", &id, "--output", text(&file)],
        ] {
            let refused = home.run(&command);
            assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
            assert!(
                stderr(&refused).contains("name a file that is not there"),
                "{}",
                stderr(&refused)
            );
        }
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "of somebody");
        assert_eq!(lines(&home), []);
        // What was done says what it came to.
        let archive = home.path("INC-1.tar.zst");
        let mut command = staunch(&["evidence", "export", "INC-1", "--output", "INC-1.tar.zst"]);
        let exported = command
            .env("STAUNCH_CONFIG", home.config())
            .current_dir(home.path("."))
            .output()
            .expect("the binary starts");
        assert!(exported.status.success(), "{}", stderr(&exported));
        // Where the command was given, nobody knows later.
        let log = fs::read_to_string(handling.join("INC-1.jsonl")).expect("it is there");
        assert!(log.contains(&format!("\"to\":\"{}\"", text(&archive))), "{log}");
        let told = lines(&home);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], ("\"copy\"".into(), "\"begun\"".into()));
        assert!(told[1].1.starts_with("\"done, SHA-256 "), "{told:?}");
        // The pipe is gone before a byte of it was taken: that it failed is on record.
        let full = File::options().write(true).open("/dev/full").expect("it is there");
        let mut command = staunch(&["evidence", "get", &id, "--output", "-"]);
        let ran = command
            .env("STAUNCH_CONFIG", home.config())
            .stdout(Stdio::from(full))
            .output();
        let ran = ran.expect("the binary starts");
        assert_eq!(ran.status.code(), Some(9), "{}", stderr(&ran));
        assert!(stderr(&ran).contains("the disk is full"), "{}", stderr(&ran));
        let told = lines(&home).split_off(2);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], ("\"open\"".into(), "\"begun\"".into()));
        assert!(told[1].1.starts_with("\"failed: "), "{told:?}");
    });
}

#[test]
fn nothing_is_handed_out_of_a_folder_of_which_nobody_can_tell_whose_it_is() {
    in_namespace("custody::whose", || {
        let (home, id) = collected();
        let own = home.data().join("evidence");
        let get = |folder: &Path, config: &str| {
            home.run(&[
                "evidence",
                "get",
                &id,
                "--output",
                "-",
                "--vault",
                text(folder),
                "--config",
                config,
            ])
        };
        // It is the own folder whatever the configuration says.
        let given = |got: &Output| {
            // It is handed out, and without a key nothing proves it.
            let what = (got.status.code(), !got.stdout.is_empty());
            assert_eq!(what, (Some(1), true), "{}", stderr(got));
        };
        given(&get(&own, "/nonexistent"));
        assert_eq!(lines(&home).len(), 2);
        // Of a copy nobody can tell without the configuration that was named.
        let copy = home.path("copy");
        let copied = Command::new("cp").arg("-a").arg(&own).arg(&copy).status();
        assert!(copied.expect("cp runs").success());
        let refused = get(&copy, "/nonexistent");
        assert_eq!(
            (refused.status.code(), refused.stdout.len()),
            (Some(2), 0),
            "{}",
            stderr(&refused)
        );
        assert!(
            stderr(&refused).contains("who handles evidence is on record"),
            "{}",
            stderr(&refused)
        );
        // It is one where the configuration can be read, and is not written to.
        let config = home.path("none.toml");
        fs::write(&config, "").expect("it is our directory");
        given(&get(&copy, text(&config)));
        let log = fs::read_to_string(copy.join("handling/INC-1.jsonl")).expect("it was copied");
        assert_eq!(log.lines().count(), 2, "{log}");
    });
}

#[test]
fn a_full_disk_is_told_as_one_and_leaves_nothing() {
    if !geteuid().is_root() {
        staunch_testkit::skip("custody::full_disk", "mounting a small file system needs root");
        return;
    }
    in_namespace("custody::full_disk", || {
        let (home, id) = collected();
        let small = home.path("small");
        fs::create_dir(&small).expect("it is our directory");
        let fill = |dir: &Path| {
            let tmpfs = Some("tmpfs");
            mount(tmpfs, dir, tmpfs, MsFlags::empty(), Some("size=8k,mode=700")).expect("root may");
            // Names take no room on it, and bytes take what there is.
            drop(fs::write(dir.join("filler"), [1; 8192]));
        };
        mounts_of_its_own().expect("root may");
        fill(&small);
        let file = small.join("out");
        for command in [
            vec!["evidence", "export", "INC-1", "--output", text(&file)],
            vec!["evidence", "get", &id, "--output", text(&file)],
        ] {
            let ran = home.run(&command);
            assert_eq!(ran.status.code(), Some(9), "{}", stderr(&ran));
            assert!(stderr(&ran).contains("hint: the disk is full"), "{}", stderr(&ran));
            assert!(!file.exists(), "{command:?} has left a part");
        }
        let told = lines(&home);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told.iter()
                .all(|it| it.1 == "\"begun\"" || it.1.starts_with("\"failed: ")),
            "{told:?}"
        );
        // Nothing is handed out that cannot be written down.
        fill(&home.data().join("evidence/handling"));
        let ran = home.run(&["evidence", "get", &id, "--output", text(&home.path("out"))]);
        assert_eq!(ran.status.code(), Some(9), "{}{}", stderr(&ran), stdout(&ran));
        assert!(
            stderr(&ran).contains("make room on the disk of the vault"),
            "{}",
            stderr(&ran)
        );
        assert!(!home.path("out").exists());
    });
}
