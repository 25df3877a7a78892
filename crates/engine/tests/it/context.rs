//! What is known around events, and the guard that asks or refuses because of it.

use std::sync::Arc;

use staunch_model::{
    Asset, ContextRow, ContextRuling, ContextTable, EventContext, GuardName, GuardResult, Identity, Input,
    KnownAccount, KnownAddress, Record, Span, StateKind, Verdict,
};

use crate::build::{self, target};
use crate::life::IP;
use crate::sim::Sim;

fn asset(tier: &str) -> Asset {
    Asset {
        tier: Some(tier.into()),
        named: "203.0.113.0/24".into(),
        by: "assets.yaml, line 3".into(),
        ..Asset::default()
    }
}

fn account(name: &str, break_glass: Option<bool>) -> KnownAccount {
    KnownAccount {
        name: name.into(),
        identity: break_glass.map(|break_glass| Identity {
            break_glass,
            by: "people.csv, line 2".into(),
            ..Identity::default()
        }),
    }
}

/// A person is asked for tier 1, nobody locks out who keeps a key for emergencies, and tier 0 is refused unless it is
/// known to be for tests.
fn table() -> ContextTable {
    let tier = |tier: &str, it: ContextRow| ContextRow {
        tier: vec![tier.into()],
        ..it
    };
    ContextTable {
        rows: vec![
            tier("test", ContextRow::new("for tests", ContextRuling::Pass)),
            ContextRow {
                break_glass: Some(true),
                ..ContextRow::new("break glass", ContextRuling::Refuse)
            },
            tier("0", ContextRow::new("crown jewels", ContextRuling::Refuse)),
            tier("1", ContextRow::new("important", ContextRuling::Ask)),
        ],
    }
}

fn started() -> Sim {
    let mut sim = Sim::usual();
    sim.input(Input::ContextTable(Arc::new(table())));
    sim
}

fn context(asset: Option<Asset>, account: Option<KnownAccount>) -> EventContext {
    let ip = target(IP).address().unwrap();
    let address = KnownAddress {
        ip,
        asset,
        country: None,
        asn: None,
        organization: None,
        rating: None,
    };
    EventContext {
        addresses: vec![address],
        host: None,
        account,
    }
}

fn event(sim: &mut Sim, key: &str, context: EventContext) {
    let event = Arc::new(build::event(Some(sim.now)));
    let matches = vec![build::matched("enforce", key, &[IP])];
    sim.input(Input::EventInContext {
        event,
        matches,
        context: Arc::new(context),
    });
}

/// Lets so many actions be in flight: with none, what is planned waits to be judged.
fn in_flight(sim: &mut Sim, most: u32) {
    sim.policy(build::policy(|it| it.limits.actions_in_flight_max = most));
}

fn judged(sim: &Sim, id: u64) -> Option<GuardResult> {
    let judgement = sim.judgement(id);
    judgement.guards.into_iter().find(|it| it.guard == GuardName::Context)
}

#[test]
fn the_first_row_that_holds_decides_and_the_judgement_says_by_what() {
    let check = |asset, account, kind, verdict, why: &str| {
        let mut sim = started();
        event(&mut sim, "key", context(asset, account));
        sim.run_until_kind(1, kind);
        let result = judged(&sim, 1).unwrap();
        assert_eq!((result.verdict, &*result.why), (verdict, why));
    };
    let (act, ask, refuse) = (StateKind::InForce, StateKind::AwaitingApproval, StateKind::Refused);
    let is = |tier: &str| format!("{IP} is tier {tier} (assets.yaml, line 3: 203.0.113.0/24)");
    check(
        Some(asset("1")),
        None,
        ask,
        Verdict::Ask,
        &format!("row 4 of the context guard (important) asks a person: {}", is("1")),
    );
    check(
        Some(asset("0")),
        None,
        refuse,
        Verdict::Refused,
        &format!("row 3 of the context guard (crown jewels) refuses: {}", is("0")),
    );
    check(
        None,
        Some(account("em\u{1b}ergency", Some(true))),
        refuse,
        Verdict::Refused,
        &format!(
            "row 2 of the context guard (break glass) refuses: nothing is known of {IP}; em\\u{{1b}}ergency is an account, for \
             emergencies (break-glass) (people.csv, line 2)"
        ),
    );
    check(
        Some(asset("test")),
        Some(account("emergency", Some(true))),
        act,
        Verdict::Passed,
        &format!("row 1 of the context guard (for tests) lets it pass: {}", is("test")),
    );
    check(
        None,
        Some(account("bob", None)),
        act,
        Verdict::Passed,
        &format!("no row of the context guard holds: nothing is known of {IP}"),
    );
}

#[test]
fn without_a_table_nothing_is_said_of_it_and_without_knowledge_a_person_is_asked() {
    let mut sim = Sim::usual();
    event(&mut sim, "key", context(Some(asset("0")), None));
    sim.run_until_kind(1, StateKind::InForce);
    assert_eq!(judged(&sim, 1), None);

    let mut sim = started();
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::AwaitingApproval);
    let result = judged(&sim, 1).unwrap();
    let why = format!("whose {IP} is, is unknown: no file was asked when its event came");
    assert_eq!((result.verdict, &*result.why), (Verdict::Ask, &*why));
}

#[test]
fn an_account_of_a_later_event_counts_until_the_act_and_another_does_not_hide_it() {
    let mut sim = started();
    in_flight(&mut sim, 0);
    event(&mut sim, "key", context(None, Some(account("emergency", Some(true)))));
    // An attacker who names another account afterwards changes nothing.
    event(&mut sim, "key", context(None, Some(account("bob", Some(false)))));
    // Nor does a crash.
    sim.crash(Span::from_secs(1));
    in_flight(&mut sim, 50);
    sim.run_until_kind(1, StateKind::Refused);

    let mut sim = started();
    in_flight(&mut sim, 0);
    event(&mut sim, "one", context(None, Some(account("bob", Some(false)))));
    // The event of another incident that joins the same transaction.
    event(&mut sim, "two", context(None, Some(account("emergency", Some(true)))));
    in_flight(&mut sim, 50);
    sim.run_until_kind(1, StateKind::Refused);
}

#[test]
fn with_more_accounts_than_are_kept_a_person_is_asked() {
    let mut sim = started();
    in_flight(&mut sim, 0);
    for number in 0..=staunch_engine::limits::ACCOUNTS_PER_INCIDENT_MAX {
        event(
            &mut sim,
            "key",
            context(None, Some(account(&format!("u{number}"), None))),
        );
    }
    in_flight(&mut sim, 50);
    sim.run_until_kind(1, StateKind::AwaitingApproval);
    let why = judged(&sim, 1).unwrap().why;
    assert!(why.starts_with("the events name more than 8 accounts"), "{why}");
}

#[test]
fn what_is_known_is_recorded_when_it_is_news_and_forgotten_with_its_incident() {
    let mut sim = started();
    for _ in 0..3 {
        event(&mut sim, "key", context(Some(asset("test")), None));
    }
    let records = |sim: &Sim| {
        sim.records()
            .filter(|it| matches!(it, Record::AroundKnown { .. }))
            .count()
    };
    assert_eq!(records(&sim), 1);
    let incident = staunch_model::IncidentId(1);
    // What is attacked is named, too, though nothing is aimed at it: each once, and no more than are kept.
    for number in 0..20 {
        let host = staunch_model::KnownHost {
            name: format!("h{number}").into(),
            asset: asset(&format!("tier {number}")),
        };
        for _ in 0..2 {
            let mut context = context(Some(asset("test")), None);
            context.host = Some(host.clone());
            event(&mut sim, "key", context);
        }
    }
    let tiers = |sim: &Sim| {
        let around = sim.state().around.get(incident).expect("it is kept");
        let tiers = around
            .assets()
            .iter()
            .map(|it| it.tier.as_deref().unwrap_or_default().to_owned());
        tiers.collect::<Vec<_>>()
    };
    let named = sim
        .records()
        .filter(|it| matches!(it, Record::AssetsKnown { .. }))
        .count();
    assert_eq!((tiers(&sim).len(), named), (8, 8));
    assert_eq!(tiers(&sim)[..3], ["test", "tier 0", "tier 1"]);
    assert_eq!(records(&sim), 1, "nothing else is news");
    sim.run(Span::from_hours(48));
    assert!(sim.state().around.get(incident).is_none(), "it is forgotten");
}
