//! Runs every target over its corpus and over what once failed, without libFuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use staunch_fuzzing::TARGETS;

/// Bytes of all committed inputs together.
const BYTES_MAX: usize = 2 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files in `folder`, in order; none when there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut paths = files(&folder().join("corpus").join(target));
    assert!(!paths.is_empty(), "{target} has no corpus");
    paths.extend(files(&folder().join("regressions").join(target)));
    paths
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let failed: Vec<PathBuf> = inputs(name)
        .into_iter()
        .filter(|path| {
            let bytes = fs::read(path).expect("readable");
            let held = catch_unwind(|| (target.run)(&bytes));
            held.is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{name} does not hold for {failed:#?}");
}

macro_rules! replays {
    ($($name:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*
    };
}

replays!(suricata falco guardduty cloudtrail alertmanager kubernetes_audit crowdsec ocsf wazuh okta cloudevents auditd syslog generic bodies playbook configuration cel segment journal frames netlink http context geo lists lookups feeds unbound age sntp custody tlog archive job logins logs sigma journald own_addresses proc shadow unpack);

#[test]
fn every_target_has_a_binary_and_is_replayed() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let binaries: BTreeSet<String> = files(&folder().join("fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, binaries);
    assert!(
        names
            .iter()
            .map(String::as_str)
            .eq(REPLAYED.iter().copied().collect::<BTreeSet<_>>())
    );
}

#[test]
fn inputs_stay_small() {
    let bytes: usize = TARGETS
        .iter()
        .flat_map(|target| inputs(target.name))
        .map(|path| fs::read(path).expect("readable").len())
        .sum();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes of inputs");
}
