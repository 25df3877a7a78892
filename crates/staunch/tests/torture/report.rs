//! What came out of a run, as a table or as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::{Options, Torture};

#[derive(Default)]
pub(crate) struct Row {
    pub(crate) rounds: u32,
    /// Rounds in which it was seen to have done what it is for.
    pub(crate) hits: u32,
    pub(crate) kills: u32,
    pub(crate) acknowledged: usize,
    pub(crate) violations: u32,
}

impl Torture {
    pub(crate) fn report(&self, options: &Options, took: Duration) {
        let seconds = took.as_secs();
        if options.json {
            let kinds: BTreeMap<String, _> = self
                .rows
                .iter()
                .map(|(kind, row)| {
                    let row = json!({ "rounds": row.rounds, "hits": row.hits, "kills": row.kills,
                        "acknowledged": row.acknowledged, "violations": row.violations });
                    (format!("{kind:?}").to_lowercase(), row)
                })
                .collect();
            println!(
                "{}",
                json!({ "seed": options.seed, "seconds": seconds, "disk": self.disk, "lives": self.lives,
                    "kills": self.kills, "acknowledged": self.acknowledged, "violations": self.violations,
                    "kinds": kinds })
            );
            return;
        }
        println!("| Kind | Rounds | Hits | Kills | Acknowledged | Violations |\n|---|---|---|---|---|---|");
        for (kind, row) in &self.rows {
            let Row {
                rounds,
                hits,
                kills,
                acknowledged,
                violations,
            } = row;
            println!(
                "| {} | {rounds} | {hits} | {kills} | {acknowledged} | {violations} |",
                format!("{kind:?}").to_lowercase()
            );
        }
        println!(
            "\nseed {}, {seconds} s, {}, {} data directories: {} kills, {} acknowledged events, {} violations",
            options.seed,
            self.disk,
            self.lives,
            self.kills,
            self.acknowledged,
            self.violations.len()
        );
    }
}
