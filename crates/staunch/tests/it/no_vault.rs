//! A server whose vault cannot be used: what becomes of evidence meanwhile, what is told, and that it ends with its
//! cause.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use serde_json::Value;
use staunch_server::dto::{EvidenceView, Status};

use crate::evidence::{evidence, playbook};
use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, stdout, wait_until};
use crate::metrics::{scrape, value};

fn home(dir: &Path) -> Home {
    let home = Home::new(&format!(
        "{SMALL}[evidence]\nimmutable = false\ndir = {:?}\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n\
         [http]\nlisten = \"127.0.0.1:7450\"\n",
        dir.display()
    ));
    home.playbook("keep-first.yaml", &playbook("  - modules\n  - ruleset\n"));
    home
}

fn stands(server: &Server) -> EvidenceView {
    server.get::<Status>("/v1/status").evidence
}

/// What the metrics say of the vault: whether it fails, and how many pieces were missed because of it.
fn counted(server: &Server) -> (Option<f64>, Option<f64>) {
    let now = scrape(server);
    (
        value(&now, "staunch_vault_failed"),
        value(&now, "staunch_vault_missed_total"),
    )
}

/// By how many frames the log is behind the journal, and for how many seconds.
fn log_lag(server: &Server) -> (Option<f64>, Option<f64>) {
    let now = scrape(server);
    (
        value(&now, "staunch_log_lag_frames"),
        value(&now, "staunch_log_lag_seconds"),
    )
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What doctor says, which fits the terminal.
fn doctor(server: &Server) -> String {
    let told = stdout(&server.run(&["doctor"]));
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    in_one_line(&told)
}

/// Leaves no room where `file` is.
fn fill(file: &Path) {
    let mut filler = File::create(file).expect("it is our directory");
    while filler.write_all(&[1; 4096]).is_ok() {}
    while filler.write_all(&[1]).is_ok() {}
}

/// Has `address` blocked, for which two pieces of evidence are asked for.
fn block(server: &Server, address: &str) {
    server.take(&exploit_from(address));
    wait_until("the block", || element(address).is_some());
    wait_until("the evidence to be settled", || stands(server).preserving == 0);
}

/// Why the pieces of the first incident were missed.
fn whys(server: &Server) -> Vec<String> {
    let mut whys = Vec::new();
    wait_until("the index to have both", || {
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        let pieces = incident["evidence"].as_array().expect("a list").iter();
        whys = pieces.filter_map(|it| it["why"].as_str().map(str::to_owned)).collect();
        whys.len() == 2
    });
    whys
}

#[test]
fn a_vault_that_had_no_room_at_the_start_is_there_when_room_is_made() {
    if !geteuid().is_root() {
        staunch_testkit::skip("no_vault::full", "mounting a small file system needs root");
        return;
    }
    in_namespace("no_vault::full", || {
        let folder = tempfile::tempdir().expect("a directory");
        let dir = folder.path().join("disk");
        fs::create_dir(&dir).expect("it is our directory");
        unshare(CloneFlags::CLONE_NEWNS).expect("root may");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
        let (tmpfs, small) = (Some("tmpfs"), Some("size=2m,mode=700"));
        mount(tmpfs, &dir, tmpfs, MsFlags::empty(), small).expect("root may");
        let filler = dir.join("filler");
        fill(&filler);
        let home = home(&dir);
        let server = home.serve();
        let full = "No space left on device";

        // Nothing is kept, which is told before and after something is missed, with the reason.
        assert!(stands(&server).no_vault.is_some_and(|it| it.contains(full)));
        assert!(
            home.log().contains("there is no vault: evidence is missed"),
            "{}",
            home.log()
        );
        block(&server, "203.0.113.1");
        let found = stands(&server);
        assert_eq!((found.sealed, found.missed, found.vault_missed), (0, 2, 2), "{found:?}");
        assert_eq!(counted(&server), (Some(1.0), Some(2.0)));
        assert_eq!(log_lag(&server).0, None, "nobody knows what the log has");
        assert!(log_lag(&server).1 > Some(0.0), "it is not level");
        assert_eq!(whys(&server).iter().filter(|why| why.contains(full)).count(), 2);
        let told = doctor(&server);
        let problem = "PROBLEM evidence: the running server keeps none: ";
        assert!(told.contains(problem) && told.contains(full), "{told}");
        assert!(!told.contains("it is logged and signed"), "{told}");
        let told = in_one_line(&server.ok(&["status"]));
        assert!(told.contains("there is NO VAULT: ") && told.contains(full), "{told}");

        // Room is made, and nobody does anything else.
        fs::remove_file(&filler).expect("it is ours");
        wait_until("the vault", || stands(&server).no_vault.is_none());
        assert!(home.log().contains("there is a vault again"), "{}", home.log());
        block(&server, "203.0.113.2");
        let found = stands(&server);
        assert_eq!((found.sealed, found.missed, found.vault_missed), (2, 2, 0), "{found:?}");
        assert_eq!(
            counted(&server),
            (Some(0.0), Some(2.0)),
            "what was missed stays counted"
        );
        assert_eq!(found.vault_failure, None);
        assert_eq!(evidence(&server).len(), 2);
        let now = scrape(&server);
        // Once without a vault, and once with it.
        for result in ["sealed", "missed"] {
            let sample = format!("staunch_evidence_artefacts_total{{kind=\"modules\",result=\"{result}\"}}");
            assert_eq!(value(&now, &sample), Some(1.0), "{now}");
        }
        assert!(value(&now, "staunch_evidence_sealed_bytes_total") > Some(0.0), "{now}");
        wait_until(
            "the log to be known",
            || matches!(log_lag(&server), (Some(frames), Some(_)) if frames >= 0.0),
        );
        let told = doctor(&server);
        assert!(!told.contains("PROBLEM evidence"), "{told}");
        let verified = || home.run(&["evidence", "verify"]);
        wait_until("the log", || stdout(&verified()).contains("PROVED"));

        // A vault that is there, and takes nothing.
        fill(&filler);
        block(&server, "203.0.113.3");
        let found = stands(&server);
        assert_eq!(
            (found.missed, found.vault_missed, &found.no_vault),
            (4, 2, &None),
            "{found:?}"
        );
        assert_eq!(counted(&server), (Some(1.0), Some(4.0)));
        let told = doctor(&server);
        let problem =
            "PROBLEM evidence: the vault of the running server has sealed none of the last 2 it was to keep: ";
        assert!(told.contains(problem) && told.contains(full), "{told}");
        let told = in_one_line(&server.ok(&["status"]));
        assert!(told.contains("the vault has REFUSED the last 2: "), "{told}");
        fs::remove_file(&filler).expect("it is ours");
        block(&server, "203.0.113.4");
        assert_eq!(stands(&server).vault_missed, 0);
    });
}

#[test]
fn a_vault_that_is_another_servers_stays_so() {
    in_namespace("no_vault::anothers", || {
        let folder = tempfile::tempdir().expect("a directory");
        let home = home(folder.path());
        let taken = staunch_store::DirVault::open(
            &folder.path().join("vault"),
            staunch_store::DirVaultOptions {
                is_immutable: false,
                ..Default::default()
            },
        )
        .expect("it is ours");
        let server = home.serve();
        let why = "another process writes to the vault";
        assert!(stands(&server).no_vault.is_some_and(|it| it.contains(why)));
        block(&server, "203.0.113.1");
        let nothing = "nothing is preserved on this installation";
        assert_eq!(whys(&server), [nothing, nothing]);
        let told = doctor(&server);
        assert!(
            told.contains("PROBLEM evidence: the running server keeps none: ") && told.contains(why),
            "{told}"
        );
        drop(taken);
    });
}
