//! The collectors of evidence, against real kernels, processes and files.

#![allow(clippy::unwrap_used)]

mod capture;
mod contract;
mod files;
mod journal;
mod network;
mod processes;
mod records;

use std::process::Command;

use serde_json::Value;
use staunch_connectors::evidence::Redaction;
use staunch_model::{EvidenceId, EvidenceOptions, IncidentId, Span, Target};
use staunch_ports::{CollectRequest, Collected, Collector};
use staunch_testkit::contract::collector::Kept;

/// A request for evidence of `target`, with more time than anything takes here.
fn request(target: Option<Target>) -> CollectRequest {
    CollectRequest {
        evidence: EvidenceId(1),
        incident: IncidentId(1),
        target,
        options: EvidenceOptions::default(),
        time_left: Span::from_secs(20),
    }
}

fn take(collector: &mut dyn Collector, request: &CollectRequest) -> (Kept, Collected) {
    let mut kept = Kept::default();
    let collected = collector.execute(request, &mut kept).unwrap();
    (kept, collected)
}

fn redaction() -> Redaction {
    Redaction::usual([7; 32])
}

/// Every object in a list.
fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json[name]
        .as_array()
        .unwrap_or_else(|| panic!("no list {name}: {json}"))
}

/// The one object in a list in which these parts are so.
#[track_caller]
fn one<'a>(json: &'a Value, name: &str, parts: &[(&str, Value)]) -> &'a Value {
    let fits = |it: &&Value| parts.iter().all(|(part, value)| &it[*part] == value);
    let found: Vec<&Value> = list(json, name).iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{parts:?} in {}", json[name]);
    found[0]
}

/// Runs a program that is expected to work; none of them is needed to run where it is not installed.
fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success(), "{command}");
}

fn is_installed(test: &str, program: &str) -> bool {
    let installed =
        Command::new(program).arg("--version").output().is_ok() || Command::new(program).arg("-V").output().is_ok();
    if !installed {
        staunch_testkit::skip(test, &format!("{program} is not installed"));
    }
    installed
}
