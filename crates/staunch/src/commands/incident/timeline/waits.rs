//! Acts that waited for what other incidents keep of their target (`staunch_engine::EngineState::is_preserved`).
//!
//! The journal does not say why an act waits: it is inferred from when evidence of others was asked for and settled.
//! That an act waited for something else at the same time, such as its turn, is not excluded.

use std::collections::BTreeSet;

use staunch_model::{Change, IncidentId, Span, Timestamp, TransactionId};
use staunch_playbook::limits::PRESERVE_MOST;
use staunch_server::dto::{EvidenceRow, IncidentDetail, IncidentRow, TransactionRow};

/// Other incidents that are looked into.
const OTHERS_MAX: usize = 20;

/// Later than everything.
const FAR: Timestamp = Timestamp::from_micros(u64::MAX);

/// Since when other incidents may have been opened whose evidence an act of `detail` has waited for; `None` when it has
/// no act.
pub(in crate::commands) fn since(detail: &IncidentDetail) -> Option<Timestamp> {
    let first = detail.transactions.iter().map(|it| it.created).min()?;
    // Evidence is asked for when an incident opens, and has its deadline.
    Some(first - PRESERVE_MOST - Span::from_secs(1))
}

/// The incidents among `rows` that are to be looked into: first those that are about a target of `detail`.
pub(in crate::commands) fn candidates(detail: &IncidentDetail, rows: &[IncidentRow]) -> Vec<IncidentId> {
    let targets: BTreeSet<&str> = detail.transactions.iter().map(|it| it.target.as_str()).collect();
    let latest = detail.transactions.iter().map(|it| it.created).max();
    let mut found: Vec<&IncidentRow> = rows
        .iter()
        .filter(|it| it.id != detail.incident.id && latest.is_some_and(|latest| it.opened <= latest))
        .collect();
    let is_about = |it: &IncidentRow| {
        let sides = [&it.source, &it.destination].into_iter().flatten();
        sides.chain([&it.key]).any(|text| targets.contains(text.as_str()))
    };
    found.sort_by_key(|it| (!is_about(it), it.id.0.abs_diff(detail.incident.id.0)));
    found.into_iter().take(OTHERS_MAX).map(|it| it.id).collect()
}

/// For what of `others` the act `id` of `detail` waited until `began`, or waits when it has not begun; in words.
pub(super) fn words(
    detail: &IncidentDetail,
    others: &[IncidentDetail],
    id: TransactionId,
    began: Option<Timestamp>,
) -> Option<String> {
    let act = detail.transactions.iter().find(|it| it.id == id)?;
    // Until when it waits for its own.
    let own = detail.evidence.iter().filter(|it| it.kind.is_destroyed_by(act.kind));
    let own = own.map(|it| settled(it).unwrap_or(FAR)).max();
    let from = own.map_or(act.created, |own| own.max(act.created));
    let mut holders = holders(detail, id);
    // The incident that has joined an act of another one waits for what that keeps.
    holders.insert(act.incident);
    let kept = others.iter().filter(|it| it.incident.opened <= act.created);
    let kept = kept.flat_map(|other| other.evidence.iter().map(move |it| (other.incident.id, it)));
    let kept = kept.filter(|(of, it)| is_waited_for(act, it, holders.contains(of)));
    let ended = kept.map(|(of, it)| (settled(it), of, it)).filter(|(end, _, it)| {
        let is_open = end.is_none();
        it.asked <= began.unwrap_or(FAR)
            && end.unwrap_or(FAR) > from
            && began.is_none_or(|began| !is_open && end.is_some_and(|end| end <= began))
    });
    // The last one of them.
    let (end, of, it) = ended.max_by_key(|(end, _, it)| (end.unwrap_or(FAR), it.id))?;
    let whose = if it.target.as_ref() == Some(&act.target) {
        "of the same target"
    } else {
        "which holds this act too"
    };
    let what = format!("{} ({}) of {of}, {whose}", it.id, it.kind);
    Some(match end {
        None => format!("waits for {what}"),
        Some(end) => {
            let waited = super::short(end.since(act.created).as_micros());
            let missed = if it.sealed_at == Some(end) {
                ""
            } else {
                ", until that was missed"
            };
            format!("waited {waited} for {what}{missed}")
        }
    })
}

/// Whether `act` waits for `it` of another incident, which holds the act too or not.
fn is_waited_for(act: &TransactionRow, it: &EvidenceRow, holds: bool) -> bool {
    it.kind.is_destroyed_by(act.kind) && (holds || it.target.as_ref() == Some(&act.target))
}

/// When it was there, or containment went on without it.
fn settled(it: &EvidenceRow) -> Option<Timestamp> {
    [it.sealed_at, it.missed_at].into_iter().flatten().min()
}

/// The incidents that have joined the act.
fn holders(detail: &IncidentDetail, id: TransactionId) -> BTreeSet<IncidentId> {
    let changes = detail.timeline.iter().filter(|it| it.transaction == Some(id));
    changes
        .filter_map(|it| match serde_json::from_value(it.detail.clone()) {
            Ok(Change::Joined(incident)) => Some(incident),
            _ => None,
        })
        .collect()
}

/// Whether `change` is what an act waits for its turn to do.
pub(super) const fn begins(change: &Change) -> bool {
    matches!(change, Change::PreCheckStarted(_) | Change::Refused { .. })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::further::Further;
    use super::super::{Basis, Beside, csv, html, text, timeline};
    use super::*;
    use crate::output::Output;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(1_795_608_000_000_000 + ms * 1_000)
    }

    /// The incident `id`, opened after `opened` milliseconds, with its evidence and whatever happened to the block of
    /// 203.0.113.9, if that is its own.
    fn incident(id: u64, opened: u64, evidence: &Value, changes: &[(u64, Change)]) -> IncidentDetail {
        let (act, it) = ("TX-1", "it");
        let entry = |(ms, change): &(u64, Change)| json!({"lsn": 20, "at": at(*ms), "transaction": act, "what": it, "detail": change});
        let timeline: Vec<Value> = changes.iter().map(entry).collect();
        let transactions = if changes.is_empty() {
            json!([])
        } else {
            json!([{"id": "TX-1", "incident": format!("INC-{id}"), "step": 0, "kind": "block-ip", "target": "203.0.113.9",
                "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null,
                "created": at(opened), "updated": at(opened), "in_force_at": null, "released_at": null, "approved_by": null,
                "approval_expires": null, "judgement": null}])
        };
        let detail = json!({
            "incident": {"id": format!("INC-{id}"), "playbook": "p", "playbook_hash": "00".repeat(32), "key": "k",
                "status": "open", "opened": at(opened), "closed": null, "outcome": null, "events": 1, "system": "suricata",
                "signature": "x", "severity": "high", "source": "203.0.113.9", "destination": null},
            "transactions": transactions, "commands": [], "evidence": evidence, "events": [],
            "timeline": timeline, "timeline_count": 0,
        });
        serde_json::from_value(detail).expect("it is a detail")
    }

    /// Evidence that was asked for at 0, and sealed or missed.
    fn kept(id: u64, kind: &str, target: &str, sealed: Option<u64>, missed: Option<u64>) -> Value {
        json!({"id": format!("EV-{id}"), "kind": kind, "target": target, "asked": at(0), "deadline": at(10_000),
            "sealed_at": sealed.map(at), "record": null, "bytes": null, "artefacts": null, "missed_at": missed.map(at),
            "why": null})
    }

    fn begun(ms: u64) -> (u64, Change) {
        let refused = Change::Refused {
            reason: Box::new(staunch_model::RefusalReason::ApprovalExpired),
            judgement: None,
        };
        (ms, refused)
    }

    fn said(own: &Value, other: &Value, opened: u64, began: Option<u64>) -> Option<String> {
        let detail = incident(1, 0, own, &[begun(9_000)]);
        let others = [incident(2, opened, other, &[])];
        words(&detail, &others, TransactionId(1), began.map(at))
    }

    #[test]
    fn an_act_waits_for_what_others_keep_of_its_target_and_for_nothing_else() {
        let ip = "203.0.113.9";
        let none = json!([]);
        let flows = |sealed| json!([kept(7, "flows", ip, Some(sealed), None)]);
        let waited = "waited 3.00s for EV-7 (flows) of INC-2, of the same target";
        assert_eq!(said(&none, &flows(3_000), 0, Some(3_000)).as_deref(), Some(waited));
        let missed = json!([kept(7, "flows", ip, None, Some(3_000))]);
        assert_eq!(
            said(&none, &missed, 0, Some(3_100)),
            Some(format!("{waited}, until that was missed"))
        );
        // It is still being kept.
        let open = json!([kept(7, "flows", ip, None, None)]);
        assert_eq!(
            said(&none, &open, 0, None).as_deref(),
            Some("waits for EV-7 (flows) of INC-2, of the same target")
        );
        // Its own took longer.
        let own = |sealed| json!([kept(1, "flows", ip, Some(sealed), None)]);
        assert_eq!(said(&own(4_000), &flows(3_000), 0, Some(4_000)), None);
        assert_eq!(
            said(&own(2_000), &flows(3_000), 0, Some(3_000)).as_deref(),
            Some(waited)
        );
        // The act is that of the other one, and what that keeps need not be of its target.
        let mut joined = incident(1, 0, &none, &[begun(9_000)]);
        joined.transactions[0].incident = IncidentId(2);
        let others = [incident(
            2,
            0,
            &json!([kept(7, "flows", "203.0.113.8", Some(3_000), None)]),
            &[],
        )];
        assert_eq!(
            words(&joined, &others, TransactionId(1), Some(at(3_000))).as_deref(),
            Some("waited 3.00s for EV-7 (flows) of INC-2, which holds this act too")
        );
        // Of another target, of a kind that a block does not destroy, of an incident that opened later, or sealed
        // later.
        assert_eq!(
            said(
                &none,
                &json!([kept(7, "flows", "203.0.113.8", Some(3_000), None)]),
                0,
                Some(3_000)
            ),
            None
        );
        assert_eq!(
            said(&none, &json!([kept(7, "files", ip, Some(3_000), None)]), 0, Some(3_000)),
            None
        );
        assert_eq!(said(&none, &flows(3_000), 1, Some(3_000)), None);
        assert_eq!(said(&none, &flows(3_000), 0, Some(2_999)), None);
    }

    #[test]
    fn why_an_act_waited_stands_before_it_began_in_every_format() {
        let detail = incident(1, 0, &json!([]), &[begun(3_000)]);
        let others = vec![incident(
            2,
            0,
            &json!([kept(7, "flows", "203.0.113.9", Some(3_000), None)]),
            &[],
        )];
        let beside = Beside {
            others,
            ..Beside::default()
        };
        let it = timeline(&detail, Further::default(), &beside);
        let what: Vec<(&str, Basis)> = it.entries.iter().map(|it| (&*it.what, it.basis)).collect();
        let waited = "waited 3.00s for EV-7 (flows) of INC-2, of the same target";
        assert_eq!(what, [(waited, Basis::Inferred), ("it", Basis::Inferred)]);
        assert_eq!(it.entries[0].transaction, Some(TransactionId(1)));
        let shown = text(&Output::plain(), &it);
        let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&format!("act ~ TX-1 {waited}")), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        let json = serde_json::to_value(&it).expect("JSON");
        assert_eq!(
            (&json["entries"][0]["what"], &json["entries"][0]["basis"]),
            (&json!(waited), &json!("inferred"))
        );
        assert!(html::page(&it, None).contains(waited));
        assert!(csv(&it.entries).expect("CSV").contains(waited));
    }
}
