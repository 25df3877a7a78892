//! Triage: events a second on one core from bytes to "matches nothing", with 50 playbooks, against the fastest parse.

#![allow(clippy::cast_precision_loss)]

use std::time::Instant;

use staunch_connectors::sources::{SourceSettings, ports};
use staunch_engine::triage::{Triage, Triaged};
use staunch_playbook::{CheckContext, compile};
use staunch_ports::Sighting;

use crate::report::{Row, quantile};

/// The recorded alerts that the sources are tested with.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/tests/data/suricata-eve");
const EVENTS: usize = 40_000;
pub(crate) const PLAYBOOKS: u32 = 50;
const ROUNDS: usize = 7;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let (figure, floor, mean) = run()?;
    Ok(vec![Row {
        what: "triage, one core",
        figure: format!("{:.0} k/s", figure / 1e3),
        floor: format!("{:.0} k/s", floor / 1e3),
        bar: format!(">= 50 % ({:.0} %)", 100.0 * figure / floor),
        reached: figure >= 0.5 * floor,
        numbers: vec![
            ("per_second", figure),
            ("floor_per_second", floor),
            ("event_bytes", mean),
        ],
    }])
}

/// Events a second, for measurements of which this is the floor.
pub(crate) fn per_second() -> Result<f64, String> {
    run().map(|(figure, _, _)| figure)
}

/// Events a second from bytes to "matches nothing", those of the fastest parse, and the mean size of an event.
fn run() -> Result<(f64, f64, f64), String> {
    let events = events()?;
    let bytes: usize = events.iter().map(String::len).sum();
    let programs = (0..PLAYBOOKS).map(program).collect::<Result<Vec<_>, _>>()?;
    let triage = Triage::new(programs);
    let source = ports(&SourceSettings::default())
        .map_err(|error| error.to_string())?
        .into_iter()
        .find(|source| source.name() == "suricata")
        .ok_or("there is no source suricata")?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for event in &events {
            let value: sonic_rs::Value = sonic_rs::from_slice(event.as_bytes()).map_err(|error| error.to_string())?;
            std::hint::black_box(value);
        }
        floor.push(EVENTS as f64 / begun.elapsed().as_secs_f64());
        let (mut unmatched, mut other) = (0, 0);
        let begun = Instant::now();
        for event in &events {
            source
                .read(event.as_bytes(), &mut |_, sighting| match sighting {
                    Sighting::Event(view) if matches!(triage.sort(view), Triaged::Unmatched) => unmatched += 1_usize,
                    _ => other += 1_usize,
                })
                .map_err(|not_read| not_read.malformed().what)?;
        }
        ours.push(EVENTS as f64 / begun.elapsed().as_secs_f64());
        if unmatched != EVENTS || other != 0 {
            return Err(format!(
                "{unmatched} events were unmatched and {other} were something else"
            ));
        }
    }
    let (figure, floor) = (quantile(&mut ours, 0.5), quantile(&mut floor, 0.5));
    let mean = bytes as f64 / EVENTS as f64;
    Ok((figure, floor, mean))
}

/// Recorded alerts of at most 4 KiB, again and again until there are enough.
pub(crate) fn events() -> Result<Vec<String>, String> {
    let mut alerts = Vec::new();
    let files = std::fs::read_dir(RECORDED).map_err(|error| format!("{RECORDED}: {error}"))?;
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.sort();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
    {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let lines = text
            .lines()
            .filter(|line| line.len() <= 4_096 && line.contains(r#""event_type":"alert""#));
        alerts.extend(lines.map(str::to_owned));
    }
    if alerts.is_empty() {
        return Err(format!("no alerts in {RECORDED}"));
    }
    Ok(alerts.into_iter().cycle().take(EVENTS).collect())
}

/// The text of a playbook that matches none of them.
pub(crate) fn playbook(n: u32) -> String {
    format!(
        r#"playbook: bench-{n}
summary: Matches nothing here.
trigger:
  sources: [suricata]
  when: event.severity >= medium && event.signature.contains("signature {n}")
  incident: event.source.ip
contain:
  - block-ip: {{ target: event.source.ip, lease: 1h }}
mode: {{ low: enforce }}
"#
    )
}

fn program(n: u32) -> Result<staunch_model::Program, String> {
    compile(&format!("bench-{n}.yaml"), &playbook(n), &CheckContext::default())
        .map(|compiled| compiled.program)
        .map_err(|diagnostics| {
            diagnostics
                .iter()
                .map(|it| it.message.clone())
                .collect::<Vec<_>>()
                .join("; ")
        })
}
