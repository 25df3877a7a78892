//! Evidence in the index.

use staunch_model::{
    Asset, ContentHash, EvidenceId, EvidenceKind, Failure, FailureKind, Frame, IncidentId, Input, KnownAccount, Record,
    Sealed, Target,
};

use super::{HOSTILE, Setup, address, at, event, follow, opened, policy};

fn told(record: Record) -> Frame {
    Frame {
        input: Input::Tick,
        records: vec![record],
    }
}

fn planned(evidence: u64, kind: EvidenceKind, target: Option<Target>) -> Frame {
    told(Record::EvidencePlanned {
        evidence: EvidenceId(evidence),
        incident: IncidentId(1),
        kind,
        target,
        options: Box::default(),
        deadline: at(10),
    })
}

#[test]
fn evidence_is_shown_with_its_incident_whatever_became_of_it() {
    let setup = Setup::new();
    let mut index = setup.open();
    let hash = ContentHash::of(b"record");
    let failure = Failure::new(FailureKind::Denied, HOSTILE);
    let sealed = |evidence| {
        told(Record::EvidenceSealed {
            evidence: EvidenceId(evidence),
            sealed: Sealed {
                hash,
                bytes: 17,
                artefacts: 2,
            },
        })
    };
    let missed = |evidence| {
        told(Record::EvidenceMissed {
            evidence: EvidenceId(evidence),
            failure: failure.clone(),
        })
    };
    follow(
        &mut index,
        &[
            policy(),
            opened(1, "203.0.113.1", "ssh brute force"),
            planned(1, EvidenceKind::Flows, Some(Target::Address(address(1)))),
            planned(2, EvidenceKind::Network, None),
            planned(3, EvidenceKind::Process, None),
            planned(4, EvidenceKind::Modules, None),
            sealed(1),
            missed(2),
            sealed(2),
            missed(3),
        ],
    );
    let detail = index
        .reader()
        .incident(IncidentId(1))
        .expect("it answers")
        .expect("it is there");
    let became: Vec<_> = detail
        .evidence
        .iter()
        .map(|it| {
            (
                it.id.0,
                it.kind.name(),
                it.target.as_deref(),
                it.sealed_at,
                it.missed_at,
            )
        })
        .collect();
    assert_eq!(
        became,
        [
            (1, "flows", Some("203.0.113.1"), Some(at(7)), None),
            (2, "network", None, Some(at(9)), Some(at(8))),
            (3, "process", None, None, Some(at(10))),
            (4, "modules", None, None, None),
        ]
    );
    let first = &detail.evidence[0];
    assert_eq!(
        (first.record, first.bytes, first.artefacts),
        (Some(hash), Some(17), Some(2))
    );
    assert_eq!((first.asked, first.deadline), (at(3), at(10)));
    assert_eq!(detail.evidence[2].why.as_deref(), Some(&*failure.what));
    let said: Vec<_> = detail.timeline.iter().map(|it| it.what.as_str()).collect();
    assert!(said.contains(&"EV-1 asked for: flows of 203.0.113.1"), "{said:?}");
    assert!(
        said.contains(&"EV-1 sealed: flows of 203.0.113.1, 2 artefacts of 17 bytes"),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|it| it.starts_with("EV-3 missed, it goes on without: process: ")),
        "{said:?}"
    );
    assert!(!said.iter().any(|it| it.contains('\u{1b}')), "{said:?}");
}

#[test]
fn of_many_tries_that_fail_for_one_reason_one_is_told() {
    let setup = Setup::new();
    let mut index = setup.open();
    let postponed = |evidence, what: &str| {
        told(Record::EvidencePostponed {
            evidence: EvidenceId(evidence),
            failure: Failure::new(FailureKind::Unavailable, what),
            until: at(20),
        })
    };
    let resent = |evidence| {
        told(Record::EvidenceResent {
            evidence: EvidenceId(evidence),
        })
    };
    let mut frames = vec![
        policy(),
        opened(1, "203.0.113.1", "ssh brute force"),
        planned(1, EvidenceKind::Modules, None),
        planned(2, EvidenceKind::Network, None),
    ];
    for _ in 0..100 {
        frames.extend([postponed(1, "there is no vault"), resent(1)]);
    }
    frames.extend([postponed(2, "there is no vault"), postponed(1, "it is busy")]);
    follow(&mut index, &frames);
    let detail = index.reader().incident(IncidentId(1));
    let detail = detail.expect("it answers").expect("it is there");
    let said: Vec<_> = detail
        .timeline
        .iter()
        .filter(|it| it.what.contains("tried again"))
        .collect();
    let parts = [("EV-1", "no vault"), ("EV-2", "no vault"), ("EV-1", "busy")];
    assert_eq!(said.len(), parts.len(), "{said:#?}");
    for (it, (of, why)) in said.iter().zip(parts) {
        assert!(it.what.starts_with(of) && it.what.contains(why), "{it:?}");
    }
    assert_eq!(detail.timeline_count, detail.timeline.len() as u64);
}

#[test]
fn what_is_known_around_an_event_is_in_the_timeline_of_its_incident_with_its_time() {
    let setup = Setup::new();
    let mut index = setup.open();
    let incident = IncidentId(1);
    let target = Target::Address(address(1));
    let asset = Asset {
        tier: Some("0".into()),
        named: "203.0.113.0/24".into(),
        by: "assets.yaml, line 2".into(),
        ..Asset::default()
    };
    let account = KnownAccount {
        name: HOSTILE.into(),
        identity: None,
    };
    let around = |targets: Vec<(Target, Option<Asset>)>, account| Record::AroundKnown {
        incident,
        targets,
        account,
    };
    let mut first = opened(1, "203.0.113.1", "ssh brute force");
    first
        .records
        .push(around(vec![(target.clone(), Some(asset.clone()))], None));
    let later = Frame {
        input: event("again"),
        records: vec![
            Record::EventJoined { incident },
            around(vec![(target, None)], Some(Box::new(account))),
            Record::AssetsKnown {
                incident,
                assets: vec![asset],
            },
        ],
    };
    // Of an event that names nobody there is nothing to tell.
    let nobody = told(around(Vec::new(), None));
    follow(&mut index, &[policy(), first, later, nobody]);
    let detail = index.reader().incident(incident);
    let detail = detail.expect("it answers").expect("it is there");
    let context: Vec<(bool, &str)> = detail
        .timeline
        .iter()
        .filter(|it| it.what.starts_with("context: "))
        .map(|it| (it.at == detail.incident.opened, it.what.as_str()))
        .collect();
    let known = "tier 0 (assets.yaml, line 2: 203.0.113.0/24)";
    assert_eq!(
        context,
        [
            (true, format!("context: 203.0.113.1 is {known}").as_str()),
            (
                false,
                &*format!(
                    "context: nothing is known of 203.0.113.1; nothing is known of the account {}",
                    staunch_model::Printable(HOSTILE)
                )
            ),
            (false, &*format!("context: it names {known}")),
        ]
    );
}
