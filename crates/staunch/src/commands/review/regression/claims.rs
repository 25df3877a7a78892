//! What a test of an incident expects: what is recorded of it, and when that is looked at.
//!
//! Never claims what the record does not say.

use std::collections::{BTreeMap, BTreeSet};

use staunch_model::{Record, StateKind, Timestamp, Verdict, WatchId};
use staunch_server::dto::TransactionRow;

use super::super::page::quoted;
use super::super::record::Recorded;
use super::{offset, testable};

/// How long after something a test looks whether it is so.
const LOOK_AFTER_MS: u64 = 1_000;

/// When it is looked whether what was recorded at `at` is so: a while after it, and before the next thing happens.
fn look_after(recorded: &Recorded, at: Timestamp) -> u64 {
    let detail = &recorded.detail;
    let planned = detail.transactions.iter().map(|it| it.created);
    let commands = detail.commands.iter().map(|it| it.at);
    let events = recorded.events.iter().map(|it| it.received);
    let next = planned.chain(commands).chain(events).filter(|it| *it > at).min();
    let half = next.map_or(LOOK_AFTER_MS, |next| next.since(at).as_micros() / 2_000);
    offset(recorded, at) + half.min(LOOK_AFTER_MS)
}

/// What is recorded, a line each, by time; of what was before `until`.
pub(super) fn claims(recorded: &Recorded, until: Option<Timestamp>) -> Vec<String> {
    let mut claims: Vec<(u64, String)> = Vec::new();
    let last = recorded.events.last().map_or(0, |it| offset(recorded, it.received));
    let after = |at: Timestamp| look_after(recorded, at);
    let all = recorded.detail.incident.events == recorded.events.len() as u64;
    if all {
        let joined = recorded.detail.incident.events.saturating_sub(1);
        claims.push((last + LOOK_AFTER_MS, format!("incidents: 1, joined: {joined}")));
    }
    // When it was in force and when it was planned.
    let mut in_force: Vec<(Timestamp, Timestamp, String)> = Vec::new();
    let end = recorded.detail.timeline.iter().map(|it| it.at).max();
    let end = end.unwrap_or(recorded.detail.incident.opened);
    let rows = &recorded.detail.transactions;
    // A test says the state of the newest at a target.
    let is_newest = |it: &TransactionRow, at: Timestamp| {
        let is_newer = |other: &TransactionRow| other.id > it.id && other.created <= at;
        !rows.iter().any(|other| other.target == it.target && is_newer(other))
    };
    for it in rows {
        let Some(target) = testable(it) else { continue };
        let name = quoted(&target);
        if let Some(at) = it.in_force_at {
            in_force.push((at, it.created, target.clone()));
            // What was lifted early is looked at halfway.
            let half = it.released_at.map_or(LOOK_AFTER_MS, |lifted| {
                (offset(recorded, lifted) - offset(recorded, at).min(offset(recorded, lifted))) / 2
            });
            let look = offset(recorded, at) + half.min(LOOK_AFTER_MS);
            if is_newest(it, at) {
                claims.push((look, format!("state: {{ {name}: in-force }}")));
            }
            // And shortly before its end, or that of the record: what is held for less than it was is found by it.
            let until = it
                .released_at
                .or_else(|| (it.state == StateKind::InForce).then_some(end));
            if let Some(until) = until.filter(|until| is_newest(it, *until)) {
                let held_at = offset(recorded, until).saturating_sub(LOOK_AFTER_MS);
                if held_at > look {
                    claims.push((held_at, format!("state: {{ {name}: in-force }}")));
                }
            }
        }
        if let Some(at) = it.released_at.filter(|at| is_newest(it, *at)) {
            claims.push((after(at), format!("state: {{ {name}: {} }}", it.state)));
        }
        if let Some(expires) = it.approval_expires {
            claims.push((offset(recorded, it.created) + 10, format!("asked: {{ {name}: {{}} }}")));
            if it.state == StateKind::Refused && it.updated >= expires {
                claims.push((after(expires), format!("state: {{ {name}: refused }}, acts: 0")));
            }
        }
        let refusal = it.judgement.as_ref().and_then(|judgement| {
            let mut guards = judgement.guards.iter();
            guards.find(|guard| guard.verdict == Verdict::Refused)
        });
        match (it.state, refusal) {
            (StateKind::Refused, Some(guard)) => {
                claims.push((
                    after(it.updated),
                    format!("refused: {{ {name}: {} }}", guard.guard.name()),
                ));
            }
            (StateKind::WouldExecute, _) => {
                claims.push((after(it.updated), format!("state: {{ {name}: would-execute }}")));
            }
            _ => {}
        }
    }
    in_force.sort();
    // Who is contained again keeps the place of the first time.
    let mut known = BTreeSet::new();
    in_force.retain(|(_, _, target)| known.insert(target.clone()));
    // Acts that were sent at once end in an order that nothing asks for.
    let is_ordered = in_force.windows(2).all(|pair| pair[0].0 <= pair[1].1);
    if in_force.len() > 1 && is_ordered {
        let order: Vec<String> = in_force.iter().map(|(_, _, target)| quoted(target)).collect();
        let at = in_force.last().map_or(last, |(at, _, _)| offset(recorded, *at));
        claims.push((at + LOOK_AFTER_MS, format!("order: [{}]", order.join(", "))));
    }
    claims.extend(preserved(recorded));
    claims.extend(watched(recorded));
    claims.retain(|(at, _)| until.is_none_or(|until| *at < offset(recorded, until)));
    claims.sort();
    claims
        .into_iter()
        .map(|(at, claim)| format!("{{ at: {at}ms, {claim} }}"))
        .collect()
}

/// What has become of the evidence of each kind; nothing of a kind of which some was sealed and some was not.
fn preserved(recorded: &Recorded) -> Vec<(u64, String)> {
    let mut kinds: BTreeMap<&str, Vec<(Timestamp, &str)>> = BTreeMap::new();
    for row in &recorded.detail.evidence {
        let became = match (row.sealed_at, row.missed_at) {
            (None, None) => continue,
            (Some(at), None) => (at, "sealed"),
            (None, Some(at)) => (at, "missed"),
            (Some(at), Some(_)) => (at, "late"),
        };
        kinds.entry(row.kind.name()).or_default().push(became);
    }
    let alike = |pieces: &Vec<(Timestamp, &str)>| pieces.iter().all(|(_, state)| *state == pieces[0].1);
    kinds
        .into_iter()
        .filter(|(_, pieces)| alike(pieces))
        .filter_map(|(kind, pieces)| {
            let (at, state) = pieces.into_iter().max()?;
            Some((look_after(recorded, at), format!("evidence: {{ {kind}: {state} }}")))
        })
        .collect()
}

/// How watches and recoveries ended.
fn watched(recorded: &Recorded) -> Vec<(u64, String)> {
    let mut signals: BTreeMap<WatchId, Box<str>> = BTreeMap::new();
    let mut claims = Vec::new();
    for entry in &recorded.detail.timeline {
        let look = look_after(recorded, entry.at);
        match serde_json::from_value(entry.detail.clone()) {
            Ok(Record::WatchPlanned { watch, plan, .. }) => {
                signals.insert(watch, plan.signal);
            }
            Ok(Record::WatchEnded { watch, verdict, .. }) => claims.extend(signals.get(&watch).map(|signal| {
                let claim = format!("watches: {{ {}: {} }}", quoted(signal), verdict.name());
                (look, claim)
            })),
            Ok(Record::RecoveryEnded { end, .. }) => claims.push((look, format!("recovery: {}", end.name()))),
            _ => {}
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn recorded(transactions: &Value) -> Recorded {
        let noon = "2026-11-25T12:00:00Z";
        let entry =
            json!({"lsn": 9, "at": "2026-11-25T12:10:00Z", "transaction": null, "what": "recovered", "detail": null});
        let detail = json!({
            "incident": {"id": "INC-7", "playbook": "p", "playbook_hash": "00".repeat(32), "key": "k", "status": "open",
                "opened": noon, "closed": null, "outcome": "contained", "events": 1, "system": "falco",
                "signature": "x", "severity": "high", "source": null, "destination": null},
            "transactions": transactions, "commands": [], "evidence": [], "events": [], "timeline": [entry],
            "timeline_count": 1,
        });
        Recorded::of(serde_json::from_value(detail).expect("it is a detail"))
    }

    fn transaction(id: u64, target: &str, released_at: Option<&str>) -> Value {
        let noon = "2026-11-25T12:00:00Z";
        let state = if released_at.is_some() { "released" } else { "in-force" };
        json!({"id": format!("TX-{id}"), "incident": "INC-7", "step": 0, "kind": "freeze-process", "target": target,
            "state": state, "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null, "created": noon,
            "updated": noon, "in_force_at": noon, "released_at": released_at, "approved_by": null,
            "approval_expires": null, "judgement": null})
    }

    #[test]
    fn processes_and_jobs_are_expected_as_addresses_are() {
        for (target, name) in [
            ("203.0.113.7", "203.0.113.7"),
            ("pid:8883@5857639.ee93db0a", "pid:8883"),
            ("job:rebuild:web-1", "job:rebuild:web-1"),
            ("account:ann", "account:ann"),
        ] {
            let of = recorded(&json!([transaction(1, target, None)]));
            let claims = claims(&of, None);
            let expect = format!("{{ at: 1000ms, state: {{ \"{name}\": in-force }} }}");
            assert!(claims.contains(&expect), "{claims:#?}");
        }
        let of = recorded(&json!([transaction(1, "job:rebuild:a b", None)]));
        assert!(claims(&of, None).is_empty(), "a test cannot name it");
    }

    #[test]
    fn an_order_is_expected_only_of_acts_that_came_one_after_the_other() {
        let order_of = |planned: &str| {
            let mut second = transaction(2, "203.0.113.8", None);
            second["created"] = planned.into();
            second["in_force_at"] = "2026-11-25T12:00:07Z".into();
            let of = recorded(&json!([transaction(1, "203.0.113.7", None), second]));
            claims(&of, None).into_iter().find(|it| it.contains("order:"))
        };
        let order = "{ at: 8000ms, order: [\"203.0.113.7\", \"203.0.113.8\"] }";
        assert_eq!(order_of("2026-11-25T12:00:05Z").as_deref(), Some(order));
        assert_eq!(order_of("2026-11-25T11:59:59Z"), None, "they were sent at once");
    }

    #[test]
    fn what_became_of_evidence_is_expected_by_kind() {
        let noon = "2026-11-25T12:00:00Z";
        let later = "2026-11-25T12:00:04Z";
        let piece = |id: u64, kind: &str, sealed_at: Option<&str>, missed_at: Option<&str>| {
            json!({"id": format!("EV-{id}"), "kind": kind, "target": null, "asked": noon, "deadline": later,
                "sealed_at": sealed_at, "record": null, "bytes": null, "artefacts": null, "missed_at": missed_at,
                "why": null})
        };
        let mut of = recorded(&json!([]));
        of.detail.evidence = serde_json::from_value(json!([
            piece(1, "sockets", Some(noon), None),
            piece(2, "processes", None, Some(later)),
            piece(3, "journal", Some(later), Some(noon)),
            piece(4, "files", Some(noon), None),
            piece(5, "files", None, Some(noon)),
            piece(6, "modules", Some(noon), None),
            piece(7, "modules", Some(later), None),
            piece(8, "logins", None, None),
        ]))
        .expect("they are rows");
        assert_eq!(
            claims(&of, None),
            [
                "{ at: 1000ms, evidence: { sockets: sealed } }",
                "{ at: 5000ms, evidence: { journal: late } }",
                "{ at: 5000ms, evidence: { modules: sealed } }",
                "{ at: 5000ms, evidence: { processes: missed } }",
            ]
        );
    }

    /// A lease that is shorter than what was recorded is found.
    #[test]
    fn what_was_in_force_is_so_until_shortly_before_its_end() {
        let of = recorded(&json!([
            transaction(1, "203.0.113.7", Some("2026-11-25T12:05:00Z")),
            transaction(2, "203.0.113.8", None),
        ]));
        let claims = claims(&of, None);
        for expect in [
            "{ at: 299000ms, state: { \"203.0.113.7\": in-force } }",
            "{ at: 301000ms, state: { \"203.0.113.7\": released } }",
            "{ at: 599000ms, state: { \"203.0.113.8\": in-force } }",
        ] {
            assert!(claims.iter().any(|it| it == expect), "{expect}: {claims:#?}");
        }
    }
}
