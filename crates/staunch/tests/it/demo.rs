//! The demo as a user runs it: every claim true, and the stage gone afterwards.

use std::process::Command;

use crate::harness::{STAUNCH, in_namespace};

#[test]
fn every_claim_of_the_demo_is_true() {
    in_namespace("every_claim_of_the_demo_is_true", || {
        let output = Command::new(STAUNCH).arg("demo").output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        for scene in [
            "first dropped packet",
            "it joined INC-1",
            "of the traffic",
            "post-check failed",
            "restarted",
            "released",
            "sealed before anything was done",
            "verifies with the public key and nothing else",
            "with one bit of it changed, it does not",
            "staunch incident timeline INC-",
            "sealed: flows of 203.0.113.44",
            "staunch review check",
            "recovery started by",
            "nothing of the incident is in force",
        ] {
            assert!(text.contains(scene), "{scene:?} is not in\n{text}");
        }
        assert!(!text.contains("FALSE"), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("Next: `staunch init`"), "{last}");
        let seconds = text
            .lines()
            .find_map(|line| line.split_once("claims checked and true, in ")?.1.strip_suffix(" s."));
        let seconds: f64 = seconds.expect("it says how long it took").parse().expect("a number");
        assert!(
            seconds < 20.0,
            "the README promises less than 20 s, and it took {seconds} s"
        );
        let widest = text.lines().max_by_key(|line| line.chars().count()).expect("it prints");
        assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
    });
}
