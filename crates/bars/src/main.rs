//! The bars of the project: what Staunch reaches, each beside its floor in the same run.
//!
//! Run by `cargo xtask bench`. Without arguments everything is measured; names of measurements pick some. `--json`
//! prints the figures for machines. `--against PROGRAM` measures another build of `staunch` in turn with this one, and
//! nothing else. Needs root, or a user namespace in which it is root, for the kernel's part.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

mod backtest;
mod block;
mod compare;
mod durable;
mod evidence;
mod lookup;
mod memory;
mod prefixes;
mod reload;
mod replay;
mod report;
mod server;
mod storm;
mod triage;
mod vault;

use report::Row;

type Measurement = (&'static str, fn() -> Result<Vec<Row>, String>);

const MEASUREMENTS: [Measurement; 12] = [
    ("block", block::measure),
    ("triage", triage::measure),
    ("durable", durable::measure),
    ("prefixes", prefixes::measure),
    ("reload", reload::measure),
    ("storm", storm::measure),
    ("lookup", lookup::measure),
    ("replay", replay::measure),
    ("backtest", backtest::measure),
    ("evidence", evidence::measure),
    ("memory", memory::measure),
    ("vault", vault::measure),
];

fn main() {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let json = wanted
        .iter()
        .position(|argument| argument == "--json")
        .map(|at| wanted.remove(at))
        .is_some();
    let against = wanted.iter().position(|argument| argument == "--against").map(|at| {
        wanted.remove(at);
        wanted.drain(at..wanted.len().min(at + 1)).next()
    });
    if let Some(other) = against {
        compare_with(other.as_deref(), &wanted, json);
        return;
    }
    let mut rows = Vec::new();
    let mut failed = false;
    for (name, measure) in MEASUREMENTS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        eprintln!("measuring {name} ...");
        match measure() {
            Ok(more) => rows.extend(more),
            Err(why) => {
                eprintln!("{name} could not be measured: {why}");
                failed = true;
            }
        }
    }
    if json {
        report::print_json(&rows);
    } else {
        report::print_table(&rows);
    }
    if failed {
        std::process::exit(1);
    }
}

/// Measures the program at `other` in turn with the one that was built beside this one.
fn compare_with(other: Option<&str>, wanted: &[String], json: bool) {
    let rows = match other {
        None => Err("--against needs the path of another build of staunch".to_owned()),
        Some(_) if !wanted.is_empty() => Err(format!("--against compares all that it can: it takes no {}", wanted[0])),
        Some(other) => compare::measure(other.into()),
    };
    match rows {
        Ok(rows) if json => report::print_json(&rows),
        Ok(rows) => report::print_compared(&rows),
        Err(why) => {
            eprintln!("nothing was compared: {why}");
            std::process::exit(1);
        }
    }
}
