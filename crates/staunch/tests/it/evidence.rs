//! Evidence of a real machine, taken before a real block: what is kept, what containment waits for, and what an
//! operator sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::Status;
use staunch_store::LogKey;

use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, stderr, stdout, wait_until};
use crate::whole::checkpoint_signed_anew;

pub(crate) const ATTACKER: &str = "203.0.113.9";

/// Without immutable files, which nobody could remove afterwards.
pub(crate) const HTTP: &str = "[evidence]\nimmutable = false\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n";

pub(crate) fn playbook(preserve: &str) -> String {
    format!(
        "playbook: keep-first\nsummary: Keep what a block destroys, then block.\ntrigger:\n  sources: [suricata]\n  \
         when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\npreserve:\n{preserve}\
         contain:\n  - block-ip: {{ target: event.source.ip, lease: 10m }}\n\
         mode: {{ low: enforce, medium: approve, high: observe }}\n"
    )
}

fn home(preserve: &str) -> Home {
    let home = Home::new(&format!("{SMALL}{HTTP}"));
    home.playbook("keep-first.yaml", &playbook(preserve));
    home
}

pub(crate) fn evidence(server: &Server) -> Vec<Value> {
    let list: Value = server.json(&["evidence", "list"]);
    list["evidence"].as_array().expect("a list").clone()
}

#[test]
fn evidence_is_sealed_before_the_block_and_can_be_read_and_proved() {
    in_namespace("evidence::sealed", || {
        let labels = "[evidence]\nclassification = \"internal\"\ntlp = \"amber-strict\"\nkeep = \"365d\"\nsource = { \
                      provider = \"aws\", region = \"eu-central-1\" }\n";
        let home = Home::new(&format!("{SMALL}{}", HTTP.replace("[evidence]\n", labels)));
        let preserve = "  - network\n  - flows: { target: event.source.ip }\n  - sockets\n  - processes\n  - modules\n  - ruleset\n";
        home.playbook("keep-first.yaml", &playbook(preserve));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        wait_until("all of it is sealed and logged", || {
            let rows = evidence(&server);
            rows.len() == 6 && rows.iter().all(|it| it["in_log"] == true)
        });
        let rows = evidence(&server);
        for row in &rows {
            assert_eq!(row["failure"], Value::Null, "{row}");
            assert_eq!(row["incident"], "INC-1", "{row}");
            assert!(row["bytes"].as_u64() > Some(0), "{row}");
            assert_eq!(row["late"], false, "{row}");
            assert!(row["deadline"].is_string(), "{row}");
        }
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        let shown = incident["evidence"].as_array().expect("evidence");
        assert_eq!(shown.len(), 6, "{incident}");
        let sealed = shown.iter().find(|it| it["kind"] == "flows").expect("flows");
        let record = rows.iter().find(|it| it["kind"] == "flows").expect("flows")["record"].clone();
        assert_eq!(sealed["record"], record, "the journal holds the hash of the record");
        let in_force = incident["transactions"][0]["in_force_at"].as_str().expect("in force");
        assert!(sealed["sealed_at"].as_str().expect("a time") < in_force, "{incident}");

        let flows = sealed["id"].as_str().expect("an id");
        let shown: Value = server.json(&["evidence", "show", flows]);
        assert!(shown["manifests"][0]["signature"].is_string(), "{shown}");
        assert!(shown["manifests"][0]["uuid"].is_string(), "{shown}");
        let custody = &shown["manifests"][0]["custody"];
        assert_eq!(
            (&custody["classification"], &custody["tlp"]),
            (&"internal".into(), &"amber-strict".into()),
            "{custody}"
        );
        assert!(
            custody["keep_until"].as_str() > custody["collected_at"].as_str(),
            "{custody}"
        );
        let place = &custody["source"];
        assert_eq!(
            (&place["provider"], &place["region"], &place["account"]),
            (&"aws".into(), &"eu-central-1".into(), &Value::Null)
        );
        assert!(place["boot_id"].is_string(), "{place}");
        let text = server.ok(&["evidence", "show", flows]);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("TLP:AMBER+STRICT, internal, to be kept until "), "{text}");
        assert!(text.contains(" before TX-1, which waited for it "), "{text}");
        assert!(text.contains("/staunch, proved in log entry "), "{text}");

        let stands = server.get::<Status>("/v1/status").evidence;
        assert_eq!((stands.sealed, stands.missed, stands.preserving), (6, 0, 0));
        let bytes = rows.iter().filter_map(|it| it["bytes"].as_u64()).sum::<u64>();
        assert_eq!(stands.bytes, bytes);

        // An operator reads it.
        let text = server.ok(&["status"]);
        assert!(text.contains("\nevidence     6 sealed, 0 being taken\n"), "{text}");
        let text = server.ok(&["incident", "show", "INC-1"]);
        assert!(text.contains("flows of 203.0.113.9: sealed after"), "{text}");
        let text = server.ok(&["incident", "timeline", "INC-1"]);
        assert!(text.contains("received, then preserved"), "{text}");
        // All of it is volatile.
        let timeline: Value = server.json(&["incident", "timeline", "INC-1"]);
        let known = &timeline["measures"]["received_to_known_us"];
        assert!(known.as_u64() > Some(0), "{timeline:#}");
        assert_eq!(known, &timeline["measures"]["received_to_preserved_us"]);
        let id = sealed["id"].as_str().expect("an id");
        let text = server.ok(&["evidence", "show", id]);
        assert!(text.contains("sha256") && text.contains("linux/flows"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let out = home.path("flows.json");
        let out = out.to_str().expect("a path");
        let got = server.run(&["evidence", "get", id, "--output", out]);
        assert!(got.status.success(), "{}", stderr(&got));
        let told = stderr(&got);
        assert!(
            told.trim_end().ends_with("proved") && !told.contains("nothing"),
            "{told}"
        );
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        serde_json::from_slice::<Value>(&fs::read(out).expect("it is written")).expect("it is JSON");
        let again = server.run(&["evidence", "get", id, "--output", out]);
        let told = stderr(&again);
        assert!(again.status.success() && told.contains("these bytes already"), "{told}");

        // A copy of the folder is proved with the key alone.
        let key = server.ok(&["evidence", "key"]);
        let logged = || {
            let verified: Value =
                serde_json::from_slice(&server.run(&["evidence", "verify", "--json"]).stdout).expect("JSON");
            // Six records and six manifests, and the frames of the journal.
            verified["entries"].as_u64() >= Some(13) && verified["proved"] == true
        };
        wait_until("all of it is logged", logged);
        let checkpoint = server.ok(&["evidence", "checkpoint"]);
        let told: Value = server.json(&["evidence", "key"]);
        assert_eq!(told["key"], key.trim(), "{told}");
        // The log may have grown in between.
        let told: Value = server.json(&["evidence", "checkpoint"]);
        let text = told["checkpoint"].as_str().expect("a text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(told["log"], lines[0], "{told}");
        assert_eq!(
            told["entries"].as_u64().map(|it| it.to_string()).as_deref(),
            Some(lines[1]),
            "{told}"
        );
        assert!(told["root"].as_str().is_some_and(|it| it.len() == 64), "{told}");
        assert_eq!(text.lines().next(), checkpoint.lines().next(), "{told}");
        let earlier = home.path("checkpoint");
        fs::write(&earlier, checkpoint).expect("it is our directory");
        let copy = home.path("copy");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(home.data().join("evidence"))
            .arg(&copy)
            .status();
        assert!(copied.expect("cp runs").success());
        let (copy, earlier) = (copy.to_str().expect("a path"), earlier.to_str().expect("a path"));
        let verify = ["evidence", "verify", copy, "--key", key.trim(), "--earlier", earlier];
        let proved = server.ok(&verify);
        assert!(
            proved.contains("PROVED") && proved.contains("continues the earlier checkpoint"),
            "{proved}"
        );
        assert!(!proved.contains("carry no signature"), "{proved}");
        copy_is_not_that_of_another_key(&server, copy, key.trim());

        export_is_proved(&home, &server, key.trim(), earlier);
        journal_tells_what_the_vault_lost(&home, &server);

        // What is changed is found out.
        let vault = home.data().join("evidence/vault/objects");
        let objects = fs::read_dir(vault)
            .expect("objects")
            .flat_map(|it| fs::read_dir(it.expect("a directory").path()).expect("files"));
        for object in objects {
            let path = object.expect("a file").path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
            let mut bytes = fs::read(&path).expect("it is there");
            let last = bytes.len() - 5;
            bytes[last] ^= 1;
            fs::write(&path, bytes).expect("it is ours");
        }
        let tampered = server.run(&["evidence", "get", id, "--output", "-"]);
        assert_eq!(tampered.status.code(), Some(6), "{}", stderr(&tampered));
        let tampered = server.run(&["evidence", "verify"]);
        assert_eq!(tampered.status.code(), Some(6), "{}", stderr(&tampered));
        assert!(
            stdout(&tampered).contains("NOT AS IT WAS SEALED"),
            "{}",
            stdout(&tampered)
        );
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

/// A copy is refused with another key, and one that somebody has signed anew with ours.
fn copy_is_not_that_of_another_key(server: &Server, copy: &str, key: &str) {
    let name = key.split('+').next().expect("a key has a name");
    let other = LogKey::from_seed(name, &[9; 32]);
    let theirs = other.verifier().to_string();
    let not_proved = |key: &str| {
        let forged = server.run(&["evidence", "verify", copy, "--key", key]);
        let said = stdout(&forged).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(forged.status.code(), Some(6), "{said}");
        for part in [
            "the checkpoint of the log is not proved: it carries no signature of the key",
            "NOT AS IT WAS SEALED",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    not_proved(&theirs);
    let file = Path::new(copy).join("log/checkpoint");
    let note = fs::read_to_string(&file).expect("it is there");
    let sign = |note: &str| {
        fs::remove_file(&file).expect("it is our copy");
        fs::write(&file, note).expect("it is our copy");
    };
    sign(&checkpoint_signed_anew(&note, &other));
    // Who has handled it is what our key has signed, and no entry of the log stands for it yet.
    let signed = server.run(&["evidence", "verify", copy, "--key", &theirs]);
    assert_ne!(signed.status.code(), Some(6), "{}", stdout(&signed));
    not_proved(key);
    sign(&note);
    server.ok(&["evidence", "verify", copy, "--key", key]);
}

/// A record that the journal has the hash of is missed, also where no log would show it.
fn journal_tells_what_the_vault_lost(home: &Home, server: &Server) {
    let journal = home.data().join("journal");
    let journal = journal.to_str().expect("a path");
    let verify = ["evidence", "verify", "--journal", journal];
    server.ok(&verify);
    let dir = fs::read_dir(home.data().join("evidence/vault/records/INC-1"))
        .expect("records")
        .next();
    let record = fs::read_dir(dir.expect("one").expect("one").path())
        .expect("records")
        .next();
    let record = record.expect("one").expect("one").path();
    let aside = home.path("aside.json");
    fs::rename(&record, &aside).expect("it is ours");
    let told = server.run(&verify);
    assert_eq!(told.status.code(), Some(6), "{}", stderr(&told));
    let said = stdout(&told).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("of the journal says that EV-") && said.contains("is not in the vault"),
        "{said}"
    );
    fs::rename(&aside, &record).expect("it is ours");
    server.ok(&verify);
}

/// One archive of the incident, which is proved with the key and shows what was changed in it.
fn export_is_proved(home: &Home, server: &Server, key: &str, earlier: &str) {
    let archive = home.path("INC-1.evidence.tar.zst");
    let archive = archive.to_str().expect("a path");
    let export = ["evidence", "export", "INC-1", "--output", archive, "--json"];
    let exported: Value = server.json(&export[..5]);
    assert_eq!(exported["timeline"], true, "{exported}");
    assert_eq!(
        (&exported["records"], &exported["missed"]),
        (&Value::from(6), &Value::from(0))
    );
    assert_eq!(exported["bytes"], fs::metadata(archive).expect("it is written").len());
    let again = server.run(&export);
    assert!(
        stderr(&again).contains("name a file that is not there"),
        "{}",
        stderr(&again)
    );
    let piped = server.run(&["evidence", "export", "INC-1", "--output", "-"]);
    assert!(piped.status.success(), "{}", stderr(&piped));
    assert!(stderr(&piped).contains("and the timeline"), "{}", stderr(&piped));
    let none = server.run(&["evidence", "export", "INC-9"]);
    assert_eq!(none.status.code(), Some(5), "{}", stderr(&none));
    assert!(
        stderr(&none).contains("there is no evidence of INC-9"),
        "{}",
        stderr(&none)
    );

    let verify = ["evidence", "verify", archive, "--key", key, "--earlier", earlier];
    let proved = server.ok(&verify);
    assert!(
        proved.contains("PROVED") && proved.contains("continues the earlier checkpoint"),
        "{proved}"
    );
    assert!(proved.lines().all(|line| line.chars().count() <= 80), "{proved}");
    let mut bytes = fs::read(archive).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(archive, &bytes).expect("it is ours");
    let tampered = server.run(&verify);
    assert_eq!(tampered.status.code(), Some(6), "{}", stderr(&tampered));
    assert!(
        stdout(&tampered).contains("NOT AS IT WAS EXPORTED"),
        "{}",
        stdout(&tampered)
    );
    fs::write(archive, &bytes[..middle]).expect("it is ours");
    let cut = stdout(&server.run(&verify));
    assert!(cut.contains("the archive is cut off after"), "{cut}");
}

/// Lines of a kept log that are about others.
const OTHERS: usize = 2_000;

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it is our directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("it has one") {
            it if it.is_dir() => copy_folder(&entry.path(), &to),
            it if it.is_file() => drop(fs::copy(entry.path(), &to).expect("it can be copied")),
            _ => {}
        }
    }
}

/// Writes `new` for `old` in every object that has it, and says in how many.
fn change_object(folder: &Path, old: &str, new: &str) -> usize {
    let mut changed = 0;
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            changed += change_object(&path, old, new);
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        let text = zstd::decode_all(&bytes[..]).expect("it is packed");
        let Ok(text) = String::from_utf8(text) else { continue };
        if text.contains(old) {
            let text = text.replace(old, new);
            fs::remove_file(&path).expect("it is our copy");
            fs::write(&path, zstd::encode_all(text.as_bytes(), 3).expect("it is packed")).expect("it is our copy");
            changed += 1;
        }
    }
    changed
}

#[test]
fn the_timeline_has_the_lines_of_kept_logs_the_times_of_files_and_other_logs() {
    in_namespace("evidence::timeline", || {
        let kept = Home::new("");
        let log = kept.path("auth.log");
        let now = SystemClock.now();
        let line = |from: &str, account: &str| {
            format!("{now} web sshd[7]: Failed password for {account} from {from} port 4000 ssh2\n")
        };
        let lines = format!("{}{}no time\n", line(ATTACKER, "eve"), line("198.51.100.1", "bob"));
        // More than is read at once, so that lines are read before its end proves them.
        let others = format!("{now} web app[1]: {}\n", "nothing ".repeat(100)).repeat(OTHERS);
        fs::write(&log, lines + &others).expect("it is our directory");
        let secrets = kept.path("secrets.db");
        fs::write(&secrets, [0_u8, 159, 146, 150]).expect("it is our directory");
        let home = home(&format!(
            "  - files: {{ paths: [\"{}\", \"{}\"] }}\n",
            log.display(),
            secrets.display()
        ));
        let server = home.serve();
        let event = exploit_from(ATTACKER);
        server.take(&event);
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        wait_until("the index", || server.ok(&["incident", "list"]).contains("contained"));
        wait_until("it is sealed", || {
            evidence(&server).iter().any(|it| it["failure"].is_null())
        });

        // The sensor's own file has the alert that it sent, and what else it saw.
        let eve = home.path("eve.json");
        let mut other: Value = serde_json::from_str(&event).expect("JSON");
        other["event_type"] = "http".into();
        fs::write(&eve, format!("{event}\n{other}\n")).expect("it is our directory");
        let eve = format!("suricata={}", eve.display());
        let vault = home.data().join("evidence").display().to_string();
        let asked = [
            "incident",
            "timeline",
            "INC-1",
            "--evidence",
            "--vault",
            &vault,
            "--logs",
            &eve,
        ];
        let told: Value = server.json(&asked);
        let entries = told["entries"].as_array().expect("a list");
        let with = |part: &str| -> Vec<&Value> {
            let has = |it: &&Value| it["what"].as_str().is_some_and(|it| it.contains(part));
            entries.iter().filter(has).collect()
        };
        let login = with("Failed password for eve");
        assert_eq!(login.len(), 1, "{told:#}");
        assert_eq!((&login[0]["lane"], &login[0]["kind"]), (&"log".into(), &"login".into()));
        assert_eq!(
            (&login[0]["basis"], &login[0]["origin"]),
            (&"stated".into(), &"EV-1 auth.log".into())
        );
        assert!(with("bob").is_empty(), "it is of another address: {told:#}");
        let file = with("secrets.db: ");
        assert!(
            !file.is_empty() && file.iter().all(|it| it["lane"] == "found"),
            "{told:#}"
        );
        // One event, said by the sensor and by its file.
        let mut alert = with("JAWS Webserver");
        alert.retain(|it| matches!(it["lane"].as_str(), Some("event" | "log")));
        assert_eq!(alert.len(), 1, "{alert:#?}");
        assert_eq!(
            (&alert[0]["lane"], &alert[0]["basis"]),
            (&"event".into(), &"observed".into())
        );
        assert_eq!(alert[0]["also"][0]["origin"], "eve.json", "{alert:#?}");
        assert_eq!(alert[0]["inferred"], serde_json::json!(["joined"]));
        assert_eq!(with("suricata: http").len(), 1, "{told:#}");
        let logs = told["logs"].as_array().expect("a list");
        let of = |name: &str| {
            logs.iter()
                .find(|it| it["file"].as_str().is_some_and(|it| it.contains(name)))
        };
        let auth = of("auth.log").expect("it is told");
        assert_eq!(
            (&auth["format"], &auth["guessed"], &auth["unrelated"], &auth["untimed"]),
            (&"log".into(), &true.into(), &(1 + OTHERS).into(), &1.into())
        );
        let unknown = of("secrets.db").expect("it is told");
        assert!(
            unknown["failed"].as_str().is_some_and(|it| it.contains("format")),
            "{unknown}"
        );

        // Of a log that was changed after it was sealed nothing counts, not even what stands before its end.
        let copy = home.path("changed");
        copy_folder(&home.data().join("evidence"), &copy);
        let changed = change_object(
            &copy.join("vault").join("objects"),
            "password for eve",
            "password for ann",
        );
        assert_eq!(changed, 1, "the kept log is there once");
        let copy = copy.display().to_string();
        let told: Value = server.json(&["incident", "timeline", "INC-1", "--evidence", "--vault", &copy]);
        let text = told.to_string();
        assert!(!text.contains("for ann") && !text.contains("for eve"), "{told:#}");
        let logs = told["logs"].as_array().expect("a list");
        let auth = logs
            .iter()
            .find(|it| it["file"].as_str().is_some_and(|it| it.contains("auth.log")));
        let auth = auth.expect("it is told");
        assert!(auth["failed"].is_string() && auth["shown"] == 0, "{auth}");

        let text = server.ok(&asked);
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= 80 || line.contains(['/'])),
            "{text}"
        );
        let page = server.ok(&[&asked[..], &["--format", "html"]].concat());
        for part in [
            "<h2>Logs and evidence</h2>",
            "suricata log</text>",
            "in evidence</text>",
            "observed; inferred: joined",
        ] {
            assert!(page.contains(part), "there is no {part}: {page}");
        }
        let unknown = server.run(&[
            "incident",
            "timeline",
            "INC-1",
            "--logs",
            &secrets.display().to_string(),
        ]);
        assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
        assert!(
            stderr(&unknown).contains("hint: name its format"),
            "{}",
            stderr(&unknown)
        );
    });
}

#[test]
fn what_cannot_be_kept_is_told_and_does_not_hold_up_containment() {
    in_namespace("evidence::missed", || {
        let home =
            home("  - files: { paths: [/nonexistent/log], deadline: 1s }\n  - flows: { target: event.source.ip }\n");
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        wait_until("both are on record", || {
            let rows = evidence(&server);
            ["files", "flows"]
                .iter()
                .all(|kind| rows.iter().any(|it| it["kind"] == *kind))
        });
        let files = evidence(&server)
            .into_iter()
            .find(|it| it["kind"] == "files")
            .expect("a record");
        assert_ne!(files["failure"], Value::Null, "{files}");
        let text = stdout(&server.run(&["evidence", "list"]));
        assert!(text.contains("missed:"), "{text}");
        let status: Status = server.get("/v1/status");
        assert_eq!(status.in_force, 1);
        // It is tried until its deadline.
        wait_until("it is missed", || {
            server.get::<Status>("/v1/status").evidence.missed == 1
        });
        let text = server.ok(&["status"]);
        assert!(
            text.contains("\nevidence     1 sealed, 1 MISSED, 0 being taken\n"),
            "{text}"
        );
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn an_act_that_waited_for_the_evidence_of_another_incident_says_so() {
    in_namespace("evidence::waited", || {
        let home = home("  - flows: { target: event.source.ip }\n");
        let kept = playbook("  - flows: { target: event.source.ip }\n");
        let (head, rest) = kept.split_once("preserve:\n").expect("it has one");
        let (_, rest) = rest.split_once("contain:\n").expect("it has one");
        let only = format!("{head}contain:\n{rest}").replace("playbook: keep-first", "playbook: at-once");
        home.playbook("at-once.yaml", &only);
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        // The act is that of the playbook that keeps nothing.
        let timeline: Value = server.json(&["incident", "timeline", "INC-1"]);
        assert_eq!(timeline["incident"]["playbook"], "at-once", "{timeline}");
        let entries = timeline["entries"].as_array().expect("a list");
        let waited = entries.iter().position(|it| {
            let what = it["what"].as_str().unwrap_or_default();
            what.starts_with("waited ") && what.ends_with(" for EV-1 (flows) of INC-2, of the same target")
        });
        let waited = waited.unwrap_or_else(|| panic!("{timeline:#}"));
        assert_eq!(entries[waited]["basis"], "inferred", "{timeline:#}");
        assert_eq!(entries[waited + 1]["what"], "pre-check started", "{timeline:#}");
        // The other one waited for its own.
        let timeline: Value = server.json(&["incident", "timeline", "INC-2"]);
        assert!(!timeline["entries"].to_string().contains("waited "), "{timeline:#}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn without_a_vault_evidence_is_missed_and_containment_goes_on() {
    in_namespace("evidence::no-vault", || {
        let elsewhere = HTTP.replace("[evidence]\n", "[evidence]\ndir = \"/proc/vault\"\n");
        let home = Home::new(&format!("{SMALL}{elsewhere}"));
        home.playbook(
            "keep-first.yaml",
            &playbook("  - flows: { target: event.source.ip, deadline: 200ms }\n"),
        );
        let server = home.serve();
        assert!(home.log().contains("there is no vault"), "{}", home.log());
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        let text = server.ok(&["incident", "show", "INC-1"]);
        assert!(text.contains("MISSED"), "{text}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn evidence_is_encrypted_to_those_who_may_read_it() {
    // Made for this test; it protects nothing.
    const KEY: &str = "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW";
    const PUBLIC: &str = "age15fmqtrfjp6htye4gj4yz02dsmqw67xarh7cr8sz7a0484vnk5amq8qg30y";
    in_namespace("evidence::encrypted", || {
        let to = HTTP.replace("[evidence]\n", &format!("[evidence]\nrecipients = [\"{PUBLIC}\"]\n"));
        let home = Home::new(&format!("{SMALL}{to}"));
        home.playbook("keep-first.yaml", &playbook("  - flows: { target: event.source.ip }\n"));
        let key = home.path("investigator.key");
        fs::write(&key, format!("# public key: {PUBLIC}\n{KEY}\n")).expect("it is our directory");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let identity = key.to_str().expect("a path");
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("it is sealed and logged", || {
            let rows = evidence(&server);
            rows.len() == 1 && rows[0]["in_log"] == true
        });
        let id = evidence(&server)[0]["evidence"].as_str().expect("an id").to_owned();
        let shown: Value = server.json(&["evidence", "show", &id]);
        let stored = &shown["manifests"][0]["taken"]["stored"];
        assert_eq!(stored["storage"]["encryption"]["recipients"][0], PUBLIC, "{stored}");
        let path = stored["storage"]["path"].as_str().expect("a path");
        let bytes = fs::read(home.data().join("evidence/vault").join(path)).expect("it is there");
        assert!(bytes.starts_with(b"age-encryption.org/v1\n"), "it is not in the clear");
        assert_eq!(
            stored["storage"]["sha256"],
            staunch_model::Sha256Hash::of(&bytes).to_string()
        );
        let text = server.ok(&["evidence", "show", &id]);
        assert!(text.contains("with age, to") && text.contains(PUBLIC), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

        let get = ["evidence", "get", &id, "--output", "-"];
        let without = server.run(&get);
        assert_eq!(without.status.code(), Some(8), "{}", stderr(&without));
        assert!(stderr(&without).contains("--identity"), "{}", stderr(&without));
        let with = server.run(&[&get[..], &["--identity", identity]].concat());
        let plain = with.stdout.clone();
        assert!(stderr(&with).trim_end().ends_with("proved"), "{}", stderr(&with));
        assert!(!stderr(&with).contains("nothing"), "{}", stderr(&with));
        serde_json::from_slice::<Value>(&plain).expect("it is JSON");
        assert_eq!(stored["sha256"], staunch_model::Sha256Hash::of(&plain).to_string());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let open = server.run(&[&get[..], &["--identity", identity]].concat());
        assert_eq!(
            (open.status.code(), open.stdout.len()),
            (Some(2), 0),
            "{}",
            stderr(&open)
        );

        let proved = || server.run(&["evidence", "verify"]).status.code() == Some(0);
        wait_until("it is logged", proved);
        let text = server.ok(&["evidence", "verify"]);
        assert!(text.contains("1 of the artefacts are encrypted"), "{text}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}
