//! The transition table and its picture: a changed table is a reviewed change.

use std::fmt::Write as _;
use std::path::Path;

use staunch_engine::transaction::{after, diagram, name, samples};
use staunch_model::StateKind;

#[test]
fn every_pair_of_state_and_change() {
    let mut text = String::new();
    for state in samples::states() {
        let _ = writeln!(text, "{}", state.kind());
        for change in samples::changes() {
            let next = after(&state, &change).map_or("-", |next| next.kind().name());
            let _ = writeln!(text, "    {:<20} {next}", name(&change));
        }
    }
    insta::assert_snapshot!("transition-table", text);
}

#[test]
fn the_samples_are_complete() {
    let kinds: Vec<_> = samples::states().iter().map(staunch_model::State::kind).collect();
    assert_eq!(kinds, StateKind::ALL);
    let mut names: Vec<_> = samples::changes().iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 26);
}

/// Nothing leads out of an end, and every other state has a way to one.
#[test]
fn ends_are_ends_and_can_be_reached_from_everywhere() {
    for state in samples::states() {
        let next: Vec<_> = samples::changes()
            .iter()
            .filter_map(|change| after(&state, change).ok())
            .collect();
        let leaves = next.iter().any(|next| next.kind() != state.kind());
        let is_end = state.kind().is_terminal() && state.kind() != StateKind::Stuck;
        assert_eq!(leaves, !is_end, "{}", state.kind());
    }
    let mut clean = vec![
        StateKind::Refused,
        StateKind::Released,
        StateKind::RolledBack,
        StateKind::WouldExecute,
    ];
    for _ in StateKind::ALL {
        for state in samples::states() {
            let leads = samples::changes()
                .iter()
                .any(|change| after(&state, change).is_ok_and(|next| clean.contains(&next.kind())));
            if leads && !clean.contains(&state.kind()) {
                clean.push(state.kind());
            }
        }
    }
    assert_eq!(clean.len(), StateKind::ALL.len());
}

#[test]
fn the_picture_in_the_manual_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/transaction-states.md");
    let text = format!(
        "<!-- Generated from crates/engine/src/transaction.rs. Do not edit; run \
         `UPDATE_DOCS=1 cargo test -p staunch-engine` to make it again. -->\n\n\
         # The states of a safety transaction\n\n\
         An arrow is a fact in the journal. Facts that leave the state as it is are left out, such as a further \
         incident that holds the same transaction, or a check that is sent once more.\n\n\
         ```mermaid\n{}```\n\n\
         ## Released together\n\n\
         `release --incident` and `release --all` (some hundreds in one turn) begin with all that they name at once, in this \
         order:\n\n\
         1. what has not acted, the newest first: it is refused, so that none of it acts meanwhile;\n\
         2. what has not been in force, the newest first: what is acting is rolled back;\n\
         3. what is in force, the last completed first, as in a rollback: a later step may stand on an earlier \
         one.\n\n\
         The answer names them in that order. Nobody waits for a proof in between, unlike in a rollback and a recovery: \
         who\nlets go wants it soon, and what cannot be lifted must hold up nothing. Each driver is sent its part in \
         that order,\nseveral drivers at the same time. What another incident holds too is only let go of.\n",
        diagram()
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/reference/transaction-states.md is out of date: run `UPDATE_DOCS=1 cargo test -p staunch-engine`"
    );
}
