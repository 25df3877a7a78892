//! Runs from seeds.

use std::fs;
use std::path::Path;

use staunch_sim::fault::{Counts, Fault};
use staunch_sim::{Scenario, run, run_traced};

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..60 {
        let (one, other) = (
            run_traced(&Scenario::from_seed(seed)),
            run_traced(&Scenario::from_seed(seed)),
        );
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.state(), other.state(), "seed {seed}");
        assert!(one.trace.lines().count() > 20, "seed {seed} has a story");
        let silent = run(&Scenario::from_seed(seed));
        assert_eq!(silent.state(), one.state(), "looking on changes nothing: seed {seed}");
        assert_eq!(silent.steps, one.steps, "seed {seed}");
    }
}

#[test]
fn every_class_of_faults_is_met_and_nothing_breaks() {
    let mut faults = Counts::default();
    let (mut transactions, seeds) = (0, 600);
    for seed in 0..seeds {
        let report = run(&Scenario::from_seed(seed));
        assert_eq!(report.violation, None, "seed {seed}");
        faults.merge(&report.faults);
        transactions += report.transactions;
    }
    for fault in Fault::ALL {
        assert!(faults.of(fault) > 0, "{fault} never happens");
    }
    assert!(
        (14 * seeds..30 * seeds).contains(&transactions),
        "{transactions} transactions in {seeds} runs"
    );
}

/// Seeds that failed once. `cargo xtask sim` adds to them.
#[test]
fn the_kept_seeds_hold() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/seeds");
    let mut kept = 0;
    for entry in fs::read_dir(&dir).expect("there is a folder of kept seeds") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("it can be read");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let seed = line.split_whitespace().next().expect("a line has a seed");
            let seed = seed.parse().expect("a seed is a number");
            assert_eq!(run(&Scenario::from_seed(seed)).violation, None, "seed {seed}");
            kept += 1;
        }
    }
    assert!(kept > 0, "there are kept seeds");
}
