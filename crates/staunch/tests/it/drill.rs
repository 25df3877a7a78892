//! Drills as a user runs them: here on a stage of their own, and what becomes of their reports.

mod live;
mod tabletop;

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::harness::{Home, SMALL, in_namespace, names_in, on_a_full_disk, staunch, stderr};

/// A directory for the reports of one test.
struct Reports(tempfile::TempDir);

impl Reports {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Runs `staunch drill` with `arguments`, on data that is not there.
    fn drill(&self, arguments: &[&str]) -> Output {
        let mut command = staunch(&["drill"]);
        command.args(arguments).current_dir(self.0.path());
        command.output().expect("the binary starts")
    }

    /// Runs the drill `name` on a stage of its own: its exit code and its score.
    fn run(&self, name: &str, more: &[&str]) -> (Option<i32>, Value) {
        let data = self.0.path().join("data").display().to_string();
        let output = self.drill(&[&["run", name, "--json", "--data-dir", &data], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let score = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code(), score)
    }

    /// The report that was written.
    fn report(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.0.path()).expect("it is ours");
        files
            .find_map(|entry| {
                let path = entry.expect("it can be read").path();
                path.extension().is_some_and(|it| it == "json").then_some(path)
            })
            .expect("a report was written")
    }
}

fn expectation<'s>(score: &'s Value, name: &str) -> &'s Value {
    let all = score["expectations"].as_array().expect("a list");
    all.iter().find(|it| it["name"] == name).expect("it is expected")
}

/// The names in `drill list`.
fn names() -> Vec<String> {
    let output = Reports::new().drill(&["list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let drills = list["drills"].as_array().expect("a list").iter();
    drills
        .map(|it| it["name"].as_str().expect("a name").to_owned())
        .collect()
}

macro_rules! private_drills {
    ($($test:ident: $name:literal, $time:literal;)*) => {
        $(
            #[test]
            fn $test() {
                holds($name, $time);
            }
        )*

        #[test]
        fn every_drill_is_listed_and_tested() {
            assert_eq!(names(), [$($name),*]);
            let output = Reports::new().drill(&["list"]);
            let text = String::from_utf8_lossy(&output.stdout);
            let widest = text.lines().max_by_key(|line| line.chars().count()).expect("it prints");
            assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
            for name in names() {
                assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {text}");
            }
        }
    };
}

private_drills! {
    private_clock_skew: "clock-skew", "in force for two seconds to verified gone";
    private_driver_throttled: "driver-throttled", "alert to verified rolled back";
    private_feed_down: "feed-down", "release to verified gone";
    private_kill: "kill", "restart to verified in force";
    private_lying_post_check: "lying-post-check", "alert to verified rolled back";
    private_partial_write: "partial-write", "restart to listening";
    private_protected_target: "protected-target", "release to verified gone";
    private_reply_lost: "reply-lost", "alert to first dropped packet, with the reply lost";
    private_set_flushed: "set-flushed", "removed by hand to noticed and settled";
    private_store_gone: "store-gone", "files gone to noticed";
}

/// Runs the drill `name`: everything that it expects is true, and `time` was measured.
fn holds(name: &str, time: &str) {
    in_namespace(&format!("drill::{name}"), || {
        let reports = Reports::new();
        let (code, score) = reports.run(name, &[]);
        assert_eq!((code, &score["held"]), (Some(0), &true.into()), "{score:#}");
        assert!(score["guards"].as_array().is_some_and(|it| !it.is_empty()), "{score:#}");
        for measured in [time, "alert to first dropped packet, after the fault"] {
            let times = score["times"].as_array().expect("a list");
            let found = times.iter().find(|it| it["what"] == measured);
            assert!(
                found.is_some_and(|it| it["ms"].as_f64().is_some()),
                "{measured}: {score:#}"
            );
        }
        let text = std::fs::read_to_string(reports.report()).expect("it is ours");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("it is JSON"), score);
    });
}

#[test]
fn without_its_fault_a_drill_fails() {
    in_namespace("drill::without_its_fault", || {
        let reports = Reports::new();
        let (code, score) = reports.run("lying-post-check", &["--control"]);
        assert_eq!((code, &score["held"]), (Some(14), &false.into()), "{score:#}");
        assert_eq!(expectation(&score, "caught")["seen"], "in-force");
        assert_eq!(expectation(&score, "paged")["held"], false);
        assert_eq!(expectation(&score, "contains-again")["held"], true, "{score:#}");
        assert_eq!(score["control"], true);
    });
}

#[test]
fn a_report_is_proved_and_a_changed_byte_is_not() {
    in_namespace("drill::a_report_is_proved", || {
        let reports = Reports::new();
        let (_, score) = reports.run("protected-target", &[]);
        let (report, key) = (reports.report(), score["signed_by"].as_str().expect("a key").to_owned());
        let shown = report.display().to_string();
        let code = |more: &[&str]| reports.drill(&[&["verify", &shown], more].concat()).status.code();
        assert_eq!(code(&[]), Some(0));
        assert_eq!(code(&["--key", &key]), Some(0));
        // Without a data directory, the key is beside the report.
        let printed = reports.drill(&["key", "--key", "drill.key"]);
        assert_eq!(String::from_utf8_lossy(&printed.stdout).trim(), key);
        let other = reports.drill(&["key", "--key", "other.key"]);
        let other = String::from_utf8(other.stdout).expect("it writes UTF-8");
        assert_eq!(code(&["--key", other.trim()]), Some(14));
        assert_eq!(code(&["--key", "nonsense"]), Some(2));
        changed(&report, "\"held\": true", "\"held\": false", || code(&[]));
        let signature = PathBuf::from(format!("{shown}.sig"));
        changed(&signature, "sha256", "sha257", || code(&[]));
        changed(&report, &key, other.trim(), || code(&[]));
        assert_eq!(code(&[]), Some(0), "everything was put back");
    });
}

/// With `from` replaced by `to` in `file`, nothing is proved.
fn changed(file: &Path, from: &str, to: &str, code: impl Fn() -> Option<i32>) {
    let text = std::fs::read_to_string(file).expect("it is ours");
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replacen(from, to, 1)).expect("it is ours");
    assert_eq!(code(), Some(14), "{from}");
    std::fs::write(file, text).expect("it is ours");
}

#[test]
fn a_report_without_its_signature_is_refused_with_what_to_do() {
    let reports = Reports::new();
    let report = reports.0.path().join("drill-made-by-hand.json");
    std::fs::write(&report, "{}").expect("it is ours");
    let shown = report.display().to_string();
    let output = reports.drill(&["verify", &shown]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot read {shown}.sig")), "{said}");
    assert!(said.contains("hint: ") && said.contains("beside the report"), "{said}");
    // A report that is not there has nothing to do with signatures.
    let nowhere = stderr(&reports.drill(&["verify", &format!("{shown}x")]));
    assert!(!nowhere.contains("signature"), "{nowhere}");
}

#[test]
fn a_full_disk_leaves_no_part_of_a_key_or_a_report() {
    on_a_full_disk("drill::full_disk", |small| {
        let reports = Reports::new();
        let (key, shown) = (small.join("drill.key"), small.display().to_string());
        let made = reports.drill(&["key", "--key", &key.display().to_string()]);
        assert_eq!(made.status.code(), Some(9), "{made:?}");
        assert!(stderr(&made).contains("hint: make room on that disk"), "{made:?}");
        assert_eq!(names_in(small), ["filler"]);
        let ran = reports.drill(&["run", "protected-target", "--report", &shown, "--key", "drill.key"]);
        assert_eq!(ran.status.code(), Some(9), "{ran:?}");
        assert_eq!(names_in(small), ["filler"]);
        let home = Home::new(SMALL);
        let minutes = small.join("minutes.md").display().to_string();
        let held = home.run(&["drill", "tabletop", "--minutes", &minutes]);
        assert_eq!(held.status.code(), Some(9), "{held:?}");
        assert!(
            String::from_utf8_lossy(&held.stdout).contains("## Not decided"),
            "they are shown: {held:?}"
        );
        assert_eq!(names_in(small), ["filler"]);
        // With room, all is as if nothing had been.
        std::fs::remove_file(small.join("filler")).expect("it is ours");
        let made = reports.drill(&["key", "--key", &key.display().to_string()]);
        assert_eq!(made.status.code(), Some(0), "{made:?}");
    });
}

#[test]
fn a_file_without_a_key_is_told_with_what_to_do() {
    let reports = Reports::new();
    for text in ["", "\n", "PRIVATE+KEY+cut"] {
        let path = reports.0.path().join("drill.key");
        let mut file = std::fs::File::create(&path).expect("it is our directory");
        file.set_permissions(Permissions::from_mode(0o600)).expect("it is ours");
        file.write_all(text.as_bytes()).expect("there is room");
        let output = reports.drill(&["key", "--key", "drill.key"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        let (_, hint) = said.split_once("hint: ").expect("there is one");
        assert!(hint.contains("remove it") && hint.contains("--key"), "{said}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("it is there"),
            text,
            "it is not touched"
        );
    }
}

#[test]
fn an_unknown_drill_is_refused_with_those_that_are_known() {
    let output = Reports::new().drill(&["run", "earthquake"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("store-gone"), "{output:?}");
}

#[test]
fn the_directory_of_a_report_is_tried_before_the_drill() {
    let reports = Reports::new();
    let data = reports.0.path().join("data").display().to_string();
    let run = |dir: &str| {
        let began = reports.drill(&[
            "run",
            "kill",
            "--report",
            dir,
            "--key",
            "drill.key",
            "--data-dir",
            &data,
        ]);
        assert!(!stderr(&began).contains("drill kill: it takes"), "{began:?}");
        assert!(
            stderr(&began).contains("hint: name a directory that is there"),
            "{began:?}"
        );
        began.status.code()
    };
    assert_eq!(run("missing/reports"), Some(5));
    assert!(names_in(reports.0.path()).is_empty(), "nothing is made");
    std::fs::write(reports.0.path().join("file"), "").expect("it is ours");
    assert_eq!(run("file"), Some(5));
}

#[test]
fn a_damaged_signature_is_told_from_one_of_another_key() {
    in_namespace("drill::a_damaged_signature", || {
        let reports = Reports::new();
        reports.run("protected-target", &[]);
        let report = reports.report();
        let shown = report.display().to_string();
        let signature = PathBuf::from(format!("{shown}.sig"));
        let whole = std::fs::read_to_string(&signature).expect("it is there");
        for damaged in [
            "",
            &whole[..whole.len() - 1],
            &whole[..whole.len() / 2],
            &whole[..whole.len() - 20],
            &format!("{whole}{whole}"),
        ] {
            std::fs::write(&signature, damaged).expect("it is ours");
            let output = reports.drill(&["verify", &shown]);
            assert_eq!(output.status.code(), Some(14), "{damaged:?}: {output:?}");
            assert!(
                stderr(&output).contains("its signature is damaged"),
                "{damaged:?}: {output:?}"
            );
        }
        std::fs::write(&signature, &whole).expect("it is ours");
        let other = reports.drill(&["key", "--key", "other.key"]);
        let other = String::from_utf8(other.stdout).expect("it writes UTF-8");
        let output = reports.drill(&["verify", &shown, "--key", other.trim()]);
        assert!(stderr(&output).contains("is not of this key"), "{output:?}");
    });
}
