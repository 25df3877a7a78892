//! Folders of evidence without a server: a copy that somebody has added to, and an export that is killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use serde_json::{Value, json};
use staunch_ports::Vault as _;
use staunch_store::vault::logged::Logbook;
use staunch_store::{DirVault, DirVaultOptions, LogKey, TransparencyLog};
use staunch_testkit::contract::vault::{noise, record, store};

use crate::harness::{Home, STAUNCH, stderr, stdout};
use crate::whole::checkpoint_signed_anew;

pub(crate) fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn vault(dir: &Path) -> DirVault {
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    DirVault::open(dir, options).expect("the vault opens")
}

/// A home with one artefact of `bytes`, which is in the log; and the public key.
pub(crate) fn home(bytes: &[u8]) -> (Home, String) {
    let home = Home::new("[evidence]\nimmutable = false\n");
    let folder = home.data().join("evidence");
    fs::create_dir_all(&folder).expect("it is our directory");
    let vault = vault(&folder.join("vault"));
    let sealed = store(&vault, 1, 1, bytes);
    vault.put_record(&record(&sealed)).expect("there is room");
    let key = LogKey::open(&home.data().join("evidence.key"), "staunch.example/0102").expect("it is made");
    let public = key.verifier().to_string();
    fs::write(home.data().join("evidence.pub"), format!("{public}\n")).expect("it is our directory");
    let log = TransparencyLog::open(&folder.join("log"), key, None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is empty");
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    (home, public)
}

/// Adds evidence without a fault in itself, as somebody without a key can.
fn forge(folder: &Path) {
    let vault = vault(&folder.join("vault"));
    let forged = store(&vault, 9, 999, b"forged");
    vault.put_record(&record(&forged)).expect("there is room");
}

#[test]
fn what_is_not_in_the_log_of_a_copy_is_not_proved() {
    let (home, key) = home(b"genuine");
    let own = home.data().join("evidence");
    let copy = home.path("elsewhere/evidence");
    fs::create_dir(home.path("elsewhere")).expect("it is our directory");
    let copied = Command::new("cp").arg("-a").arg(&own).arg(&copy).status();
    assert!(copied.expect("cp runs").success());
    let path = copy.display().to_string();
    let verify = |path: &str| -> (Option<i32>, Value) {
        let done = home.run(&["evidence", "verify", path, "--key", &key, "--json"]);
        (done.status.code(), serde_json::from_slice(&done.stdout).expect("JSON"))
    };
    let (code, genuine) = verify(&path);
    assert_eq!((code, &genuine["verdict"]), (Some(0), &json!("proved")), "{genuine:#}");
    assert_eq!((&genuine["artefacts"], &genuine["copy"]), (&json!(1), &json!(true)));

    forge(&copy);
    let is_told = |how: &str| {
        let (code, told) = verify(&path);
        assert_eq!(code, Some(1), "{how}: {told:#}");
        assert_eq!(
            (&told["verdict"], &told["proved"]),
            (&json!("in-part"), &json!(false)),
            "{how}"
        );
        let beside = json!({ "artefacts": 1, "manifests": 1, "records": 1, "lines": 0 });
        assert_eq!(told["unlogged"], beside, "{how}");
        for what in ["artefacts", "bytes", "manifests", "records", "entries"] {
            assert_eq!(told[what], genuine[what], "{how}: {what}");
        }
        assert_eq!(told["findings"].as_array().map(Vec::len), Some(2), "{how}: {told:#}");
    };
    is_told("a copy");
    let text = home.run(&["evidence", "verify", &path, "--key", &key]);
    let text = stdout(&text);
    for part in [
        "PROVED IN PART: 1 artefacts",
        "not in the log, not proved and not counted",
    ] {
        assert!(in_one_line(&text).contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    // Nothing that comes with a copy makes it the folder of a server.
    let beside = home.path("elsewhere/evidence.key");
    fs::write(&beside, "no key").expect("it is our directory");
    is_told("a key beside it");
    fs::remove_file(&beside).expect("it is ours");
    let lock = fs::File::open(own.join("vault/lock")).expect("it is there");
    lock.try_lock().expect("nobody has it");
    fs::remove_file(copy.join("vault/lock")).expect("it is ours");
    symlink(own.join("vault/lock"), copy.join("vault/lock")).expect("it is our directory");
    is_told("a link to the lock of a server");
    drop(lock);

    // Who lists and takes it out is told.
    let list = home.run(&["evidence", "list", "--vault", &path, "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let in_log: Vec<(&Value, &Value)> = list["evidence"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (&it["evidence"], &it["in_log"]))
        .collect();
    assert_eq!(
        in_log,
        [(&json!("EV-1"), &json!(true)), (&json!("EV-999"), &json!(false))]
    );
    let list = stdout(&home.run(&["evidence", "list", "--vault", &path]));
    assert_eq!(
        in_one_line(&list).matches("not in the log; sealed").count(),
        1,
        "{list}"
    );
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let show = |id: &str, more: &[&str]| {
        let arguments = [&["evidence", "show", id, "--vault", &path], more].concat();
        let text = home.run(&arguments);
        let told: Value =
            serde_json::from_slice(&home.run(&[&arguments[..], &["--json"]].concat()).stdout).expect("JSON");
        assert!(
            stdout(&text).lines().all(|line| line.chars().count() <= 80),
            "{}",
            stdout(&text)
        );
        (told, in_one_line(&stdout(&text)), in_one_line(&stderr(&text)))
    };
    let (told, text, _) = show("EV-1", &[]);
    let places = |told: &Value| {
        let of = |what: &str| told[what][0]["log_entry"].as_u64();
        assert_eq!(told["manifests"][0]["in_log"], of("manifests").is_some(), "{told:#}");
        assert_eq!(told["records"][0]["in_log"], of("records").is_some(), "{told:#}");
        (of("manifests"), of("records"))
    };
    assert_eq!(places(&told), (Some(0), Some(1)), "{told:#}");
    assert_eq!(told["checkpoint"]["entries"], genuine["entries"], "{told:#}");
    assert_eq!(told["checkpoint"]["root"], genuine["checkpoint"][1], "{told:#}");
    assert!(
        text.contains("in log entry 1 of 2, proved")
            && text.contains("in log entry 2 of 2, proved")
            && text.contains("Log, as it is signed of staunch.example/0102"),
        "{text}"
    );
    let (told, text, _) = show("EV-999", &[]);
    assert_eq!(places(&told), (None, None), "{told:#}");
    assert_eq!(text.matches("in log no: nothing proves it").count(), 2, "{text}");
    let get = |id: &str, more: &[&str]| {
        let got = home.run(&[&["evidence", "get", id, "--vault", &path, "--output", "-"], more].concat());
        let bytes: &[u8] = if id == "EV-1" { b"genuine" } else { b"forged" };
        assert_eq!(got.stdout, bytes, "it is written: {}", stderr(&got));
        (got.status.code(), in_one_line(&stderr(&got)))
    };
    for more in [&[][..], &["--key", &key]] {
        let (code, got) = get("EV-1", more);
        assert!(code == Some(0) && got.ends_with(": proved"), "{code:?}: {got}");
    }
    let (code, got) = get("EV-999", &[]);
    assert!(
        code == Some(1) && got.ends_with("which is not in the log, so that nothing is proved"),
        "{code:?}: {got}"
    );

    // Whoever has the copy can sign its log anew: only a key that was kept tells.
    let checkpoint = copy.join("log/checkpoint");
    let sound = fs::read_to_string(&checkpoint).expect("it is there");
    let name = key.split('+').next().expect("a key has a name");
    let forged = LogKey::from_seed(name, &[9; 32]);
    let replace = |text: &str| {
        fs::remove_file(&checkpoint).expect("it is ours");
        fs::write(&checkpoint, text).expect("it is our directory");
    };
    replace(&checkpoint_signed_anew(&sound, &forged));
    let list = |more: &[&str]| {
        let list = home.run(&[&["evidence", "list", "--vault", &path, "--json"], more].concat());
        let told = in_one_line(&stderr(&list));
        (serde_json::from_slice::<Value>(&list.stdout).expect("JSON"), told)
    };
    for more in [&[][..], &["--key", &key]] {
        let (code, got) = get("EV-1", more);
        assert!(
            code == Some(1) && got.contains("nothing is proved: ") && got.contains("no signature of the key"),
            "{code:?}: {got}"
        );
        let (shown, text, told) = show("EV-1", more);
        assert!(told.contains("nothing is proved to be in the log"), "{told}");
        assert_eq!(
            (&shown["manifests"][0]["in_log"], &shown["checkpoint"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(text.matches("in log not known: no log is proved").count(), 2, "{text}");
        let (list, told) = list(more);
        assert!(told.contains("nothing is proved to be in the log"), "{told}");
        assert!(
            list["evidence"]
                .as_array()
                .is_some_and(|it| it.iter().all(|it| it["in_log"].is_null())),
            "{list:#}"
        );
    }
    let theirs = forged.verifier().to_string();
    assert_eq!(
        get("EV-1", &["--key", &theirs]).0,
        Some(0),
        "it is what they have signed"
    );
    replace(&sound);
    // On a machine that has no key, nothing is taken for proved.
    let elsewhere = Home::new("");
    let got = elsewhere.run(&["evidence", "get", "EV-1", "--vault", &path, "--output", "-"]);
    assert!(
        got.status.code() == Some(1) && in_one_line(&stderr(&got)).contains("with --key"),
        "{}",
        stderr(&got)
    );
    let no_key = elsewhere.run(&[
        "evidence", "get", "EV-1", "--vault", &path, "--output", "-", "--key", "x",
    ]);
    assert_eq!(
        (no_key.status.code(), no_key.stdout.len()),
        (Some(2), 0),
        "{}",
        stderr(&no_key)
    );

    // A log that is not that of its checkpoint stands for nothing.
    let bundle = copy.join("log/tile/entries/000.p/2");
    let mut bytes = fs::read(&bundle).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::remove_file(&bundle).expect("it is ours");
    fs::write(&bundle, bytes).expect("it is our directory");
    let (code, got) = get("EV-1", &[]);
    assert!(code == Some(1) && got.contains("nothing is proved"), "{code:?}: {got}");
    let list = home.run(&["evidence", "list", "--vault", &path]);
    assert!(
        in_one_line(&stderr(&list)).contains("nothing is proved to be in the log"),
        "{}",
        stderr(&list)
    );
    assert!(
        in_one_line(&stdout(&list)).contains("in no log that is proved; sealed"),
        "{}",
        stdout(&list)
    );
}

/// The next start logs it.
#[test]
fn what_is_not_in_the_log_of_a_server_proves_nothing_either_way() {
    let (home, key) = home(b"genuine");
    let own = home.data().join("evidence");
    forge(&own);
    let path = own.display().to_string();
    for arguments in [
        &["evidence", "verify", "--json"][..],
        &["evidence", "verify", &path, "--key", &key, "--json"],
    ] {
        let done = home.run(arguments);
        let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!(
            (done.status.code(), &told["verdict"]),
            (Some(0), &json!("proved")),
            "{told:#}"
        );
        let beside = json!({ "artefacts": 1, "manifests": 1, "records": 1, "lines": 0 });
        assert_eq!((&told["unlogged"], &told["copy"]), (&beside, &json!(false)), "{told:#}");
        assert_eq!(
            (&told["artefacts"], &told["left_behind"]),
            (&json!(1), &json!(2)),
            "{told:#}"
        );
    }
    let text = stdout(&home.run(&["evidence", "verify"]));
    for part in [
        "PROVED: 1 artefacts",
        "not in the log, not proved and not counted",
        "prove nothing either way",
    ] {
        assert!(in_one_line(&text).contains(part), "{part}: {text}");
    }
    // Somebody else's configuration does not make it theirs, but that a server has its lock does.
    let elsewhere = Home::new("");
    let verify = || elsewhere.run(&["evidence", "verify", &path, "--key", &key]);
    assert_eq!(verify().status.code(), Some(1), "{}", stdout(&verify()));
    let lock = fs::File::open(own.join("vault/lock")).expect("it is there");
    lock.try_lock().expect("nobody has it");
    assert_eq!(verify().status.code(), Some(0), "{}", stdout(&verify()));
}

/// What the program writes to stderr, as it writes it.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let from = BufReader::new(child.stderr.take().expect("it is piped"));
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A server is whoever holds the vault; its log is behind.
#[test]
fn what_was_sealed_a_moment_ago_is_waited_for() {
    let (home, _) = home(b"genuine");
    let folder = home.data().join("evidence");
    let get = |id: &str, more: &[&str]| {
        let got = home.run(&[&["evidence", "get", id, "--output", "-"], more].concat());
        let told = in_one_line(&stderr(&got));
        (got.status.code(), got.stdout, told)
    };
    let server = vault(&folder.join("vault"));
    let sealed = store(&server, 1, 2, b"late");
    server.put_record(&record(&sealed)).expect("there is room");

    // There is none by then.
    let started = Instant::now();
    let (code, bytes, told) = get("EV-2", &["--wait", "100ms"]);
    assert!(started.elapsed() >= Duration::from_millis(100), "it has not waited");
    assert_eq!((code, &*bytes), (Some(9), &b"late"[..]), "{told}");
    for part in [
        "waiting up to 100ms for its manifest to be in the log",
        "as its manifest says, which is not in the log so far, so that nothing is proved hint: the server tries on",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, _, told) = get("EV-2", &["--wait", "0s"]);
    assert!(code == Some(9) && !told.contains("waiting"), "{code:?}: {told}");
    let (code, _, told) = get("EV-1", &[]);
    assert!(code == Some(0) && !told.contains("waiting"), "{code:?}: {told}");

    // It comes.
    let mut child = Command::new(STAUNCH)
        .args(["evidence", "get", "EV-2", "--output", "-", "--wait", "10m"])
        .env("STAUNCH_CONFIG", home.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = lines_of(&mut child);
    let first = lines.recv_timeout(Duration::from_secs(60)).expect("it says something");
    assert!(first.contains("waiting up to 10m"), "{first}");
    let key = LogKey::open(&home.data().join("evidence.key"), "").expect("it is there");
    let log = TransparencyLog::open(&folder.join("log"), key, None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is sound");
    assert!(
        book.take_incident(&server, sealed.manifest.custody.incident)
            .expect("it is logged")
            > 0
    );
    let done = child.wait_with_output().expect("it ends");
    let rest: Vec<String> = lines.iter().collect();
    assert_eq!((done.status.code(), &*done.stdout), (Some(0), &b"late"[..]), "{rest:?}");
    assert!(rest.join(" ").ends_with(": proved"), "{rest:?}");
    // The log that proves it is on record, and the one from before the wait.
    let show = stdout(&home.run(&["evidence", "show", "EV-2", "--json"]));
    for entries in [2, 4] {
        assert!(show.contains(&format!("has {entries} entries")), "{entries}: {show}");
    }

    // Without a server nobody is waited for; the next start logs it.
    let late = store(&server, 1, 3, b"later");
    server.put_record(&record(&late)).expect("there is room");
    drop(server);
    let (code, _, told) = get("EV-3", &["--wait", "10m"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        !told.contains("waiting") && told.contains("hint: a server logs what it finds when it starts"),
        "{told}"
    );
}

/// Whoever holds the vault is at work, and has logged all of it: it is not about to come.
#[test]
fn a_log_that_was_put_back_is_told_as_that_and_not_as_one_that_is_behind() {
    let (home, _) = home(b"genuine");
    let folder = home.data().join("evidence");
    let (log, early) = (folder.join("log"), home.path("early"));
    let copied = Command::new("cp").arg("-a").arg(&log).arg(&early).status();
    assert!(copied.expect("cp runs").success());
    let server = vault(&folder.join("vault"));
    let key = LogKey::open(&home.data().join("evidence.key"), "").expect("it is there");
    let opened = TransparencyLog::open(&log, key, None).expect("the log opens");
    let mut book = Logbook::new(opened).expect("it is sound");
    for id in [2, 3] {
        let sealed = store(&server, 1, id, &id.to_le_bytes());
        server.put_record(&record(&sealed)).expect("there is room");
        let taken = book.take_incident(&server, sealed.manifest.custody.incident);
        assert_eq!(taken, Ok(2));
    }
    drop(book);
    let get = |id: &str| {
        let got = home.run(&["evidence", "get", id, "--output", "-", "--wait", "0s"]);
        (got.status.code(), in_one_line(&stderr(&got)))
    };
    let verify = || {
        let verified = home.run(&["evidence", "verify"]);
        (verified.status.code(), in_one_line(&stdout(&verified)))
    };
    let put = |note: &[u8]| {
        fs::remove_file(log.join("checkpoint")).expect("it is ours");
        fs::write(log.join("checkpoint"), note).expect("it is ours");
    };
    let is_told = |how: &str, size: u64| {
        for id in ["EV-2", "EV-3"] {
            let (code, told) = get(id);
            let why = format!(
                "which is not in the log: THE LOG WAS PUT BACK: its checkpoint stands for 2 entries, and {how} that stands \
                 for {size} hint: hold the log against"
            );
            assert!(code == Some(6) && told.contains(&why), "{code:?}: {told}");
        }
        let (code, told) = get("EV-1");
        let warned = format!("THE LOG WAS PUT BACK: its checkpoint stands for 2 entries, and {how}");
        assert!(
            code == Some(0) && told.contains(": proved") && told.contains(&warned),
            "what it still has is proved: {told}"
        );
        let (code, told) = verify();
        let why =
            format!("THE LOG WAS PUT BACK: its checkpoint stands for 2 entries, and {how} that stands for {size}");
        assert!(code == Some(6) && told.contains(&why), "{code:?}: {told}");
        let told = stdout(&home.run(&["evidence", "verify", "--json"]));
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let found = told["findings"].as_array().expect("what was found").iter();
        let is_found = found.filter_map(Value::as_str).any(|it| it == why);
        let how = why.trim_start_matches("THE LOG WAS PUT BACK: ");
        assert!(
            told["proved"] == false && is_found && told["put_back"] == how,
            "{told:#}"
        );
    };

    // The checkpoint alone: the files of those after it are there.
    let newest = fs::read(log.join("checkpoint")).expect("it is there");
    put(&fs::read(early.join("checkpoint")).expect("it is there"));
    is_told("its own files are those of one", 4);
    put(&newest);
    assert_eq!(get("EV-3").0, Some(0));
    assert_eq!(verify().0, Some(0), "it is whole");
    let whole = stdout(&home.run(&["evidence", "verify", "--json"]));
    assert!(whole.contains("\"put_back\": null"), "{whole}");

    // All of it: whoever has had evidence in hand since has written down what the log was.
    fs::rename(&log, home.path("newest")).expect("it is ours");
    fs::rename(&early, &log).expect("it is ours");
    is_told("the handling log tells of one", 6);
    // So has an anchor.
    fs::remove_dir_all(folder.join("handling")).expect("it is ours");
    fs::create_dir_all(folder.join("anchors/elsewhere")).expect("it is our directory");
    fs::write(folder.join("anchors/elsewhere/6.checkpoint"), &newest).expect("it is our directory");
    is_told("an anchor has kept one", 6);
    drop(server);
    is_told("an anchor has kept one", 6);
}

/// What an attacker has written could steer it, and an archive is none to read.
#[test]
fn nothing_of_it_is_written_to_a_terminal() {
    let (home, _) = home(b"\x1b[2J");
    for command in [&["get", "EV-1"][..], &["export", "INC-1"]] {
        let terminal = openpty(None, None).expect("there are terminals");
        let refused = Command::new(STAUNCH)
            .arg("evidence")
            .args(command)
            .args(["--output", "-"])
            .env("STAUNCH_CONFIG", home.config())
            .stdin(Stdio::null())
            .stdout(Stdio::from(terminal.slave))
            .output()
            .expect("it starts");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(stderr(&refused).contains("stdout is a terminal"), "{refused:?}");
        // Whoever writes to it has ended.
        let mut shown = Vec::new();
        let end = fs::File::from(terminal.master).read_to_end(&mut shown);
        assert!(shown.is_empty(), "{end:?}: {shown:?}");
    }
    let handled = home.run(&["evidence", "show", "EV-1"]);
    assert!(!stdout(&handled).contains("begun"), "{handled:?}");
}

#[test]
fn an_export_that_is_killed_leaves_nothing_under_the_name() {
    let (home, key) = home(&noise(3, 300_000));
    let file = home.path("INC-1.tar.zst");
    let name = file.display().to_string();
    let export = ["evidence", "export", "INC-1", "--output", name.as_str()];
    // The kernel ends it in the middle of its writing, as it does with `kill -9`: nothing of it runs any more.
    let killed = Command::new("sh")
        .args(["-c", "ulimit -c 0 && ulimit -f 64 && exec \"$@\"", "sh", STAUNCH])
        .args(export)
        .env("STAUNCH_CONFIG", home.config())
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    assert_eq!(killed.status.signal(), Some(25), "SIGXFSZ: {}", stderr(&killed));
    assert!(!file.exists(), "it is not whole");
    let parts = || {
        let entries = fs::read_dir(home.path(".")).expect("it is there");
        let names = entries.map(|it| it.expect("an entry").file_name().into_string().expect("text"));
        names.filter(|it| it.ends_with(".part")).collect::<Vec<String>>()
    };
    let left = parts();
    assert!(left.len() == 1 && left[0].starts_with(".INC-1.tar.zst."), "{left:?}");

    let done = home.run(&export);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(parts(), left, "it leaves nothing of its own");
    let verified = home.run(&["evidence", "verify", &name, "--key", &key]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    let again = home.run(&export);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    assert!(
        stderr(&again).contains("name a file that is not there"),
        "{}",
        stderr(&again)
    );
}
