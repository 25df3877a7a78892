//! Triage: events a second on one core from bytes to "matches nothing", with 50 playbooks, against the fastest parse.

use std::net::Ipv4Addr;
use std::time::Instant;

use staunch_connectors::sources::{SourceSettings, ports};
use staunch_engine::triage::{Triage, Triaged};
use staunch_playbook::{CheckContext, compile};
use staunch_ports::Sighting;

use crate::report::{Row, quantile};

const EVENTS: u32 = 50_000;
const PLAYBOOKS: u32 = 50;
const ROUNDS: usize = 7;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let events: Vec<String> = (0..EVENTS)
        .map(|n| crate::server::alert(Ipv4Addr::from(0x2c00_0000 + n)).replace("brute force", "port sweep"))
        .collect();
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
        floor.push(f64::from(EVENTS) / begun.elapsed().as_secs_f64());
        let (mut unmatched, mut other) = (0, 0);
        let begun = Instant::now();
        for event in &events {
            source
                .read(event.as_bytes(), &mut |_, sighting| match sighting {
                    Sighting::Event(view) if matches!(triage.sort(view), Triaged::Unmatched) => unmatched += 1,
                    _ => other += 1,
                })
                .map_err(|malformed| malformed.what)?;
        }
        ours.push(f64::from(EVENTS) / begun.elapsed().as_secs_f64());
        if unmatched != EVENTS || other != 0 {
            return Err(format!(
                "{unmatched} events were unmatched and {other} were something else"
            ));
        }
    }
    let (figure, floor) = (quantile(&mut ours, 0.5), quantile(&mut floor, 0.5));
    #[allow(clippy::cast_precision_loss)]
    let mean = bytes as f64 / f64::from(EVENTS);
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

fn program(n: u32) -> Result<staunch_model::Program, String> {
    let text = format!(
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
    );
    compile(&format!("bench-{n}.yaml"), &text, &CheckContext::default())
        .map(|compiled| compiled.program)
        .map_err(|diagnostics| {
            diagnostics
                .iter()
                .map(|it| it.message.clone())
                .collect::<Vec<_>>()
                .join("; ")
        })
}
