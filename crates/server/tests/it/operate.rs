//! What operators see and do, from the first event to the end.

use std::sync::atomic::Ordering;

use staunch_model::{IncidentId, IncidentStatus, Limits, Mode, Span, StateKind, TransactionId};
use staunch_server::dto::{
    Approvals, CommandReply, Commands, Containment, Containments, DriftView, INDEX_LAG_HEADER, IncidentAnswer,
    Incidents, ModeBecause, ModeView, Notices, Status, Transactions, path,
};

use super::{Options, Staunch, until};

const EVENTS: &str = "/v1/events/test";
const ADDRESS: &str = "203.0.113.7";

fn event(staunch: &Staunch, rule: &str, ip: &str) {
    let answer = staunch
        .client()
        .post(EVENTS, &format!(r#"{{"rule": "{rule}", "ip": "{ip}"}}"#));
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn containments(staunch: &Staunch) -> Vec<Containment> {
    staunch
        .client()
        .get(path::CONTAINMENTS)
        .json::<Containments>()
        .containments
}

/// The containment of `transaction` once it is in `state`.
fn wait_for(staunch: &Staunch, transaction: u64, state: StateKind) -> Containment {
    let mut found = None;
    until(&format!("TX-{transaction} is {state}"), || {
        found = containments(staunch)
            .into_iter()
            .find(|it| it.transaction == TransactionId(transaction) && it.state == state);
        found.is_some()
    });
    found.expect("it was found")
}

fn affected(staunch: &Staunch, path: &str, body: &str) -> Vec<TransactionId> {
    staunch.client().post(path, body).json::<CommandReply>().affected
}

#[test]
fn a_containment_is_shown_released_and_remembered() {
    let staunch = Staunch::start(Options::default());
    event(&staunch, "brute", ADDRESS);
    let it = wait_for(&staunch, 1, StateKind::InForce);
    assert_eq!(
        (&*it.target, it.playbook.as_deref(), it.mode),
        (ADDRESS, Some("brute"), Mode::Enforce)
    );
    assert_eq!((it.incident, &it.holders[..]), (IncidentId(1), &[IncidentId(1)][..]));
    assert_eq!((it.drift, it.drift_reason), (Some(DriftView::Verified), None));
    assert!(
        it.lease_until > it.verified_at && it.opened < it.verified_at,
        "in order"
    );
    let status: Status = staunch.client().get(path::STATUS).json();
    assert_eq!(
        (
            &*status.version,
            status.in_force,
            status.unverified,
            status.incidents_open
        ),
        ("1.2.3", 1, 0, 1)
    );
    assert_eq!(
        (&status.playbooks[..], &status.sources[..]),
        (
            &["brute".to_owned(), "careful".to_owned()][..],
            &["test".to_owned()][..]
        )
    );
    assert_eq!((status.counts.events_accepted, status.counts.events_matched), (1, 1));
    assert!(status.journal_lsn.is_some_and(|lsn| lsn >= 6), "{status:?}");

    let released = affected(
        &staunch,
        path::RELEASE,
        r#"{"scope": {"transaction": "TX-1"}, "reason": "a mistake"}"#,
    );
    assert_eq!(released, [TransactionId(1)]);
    until("it is lifted", || containments(&staunch).is_empty());
    assert!(!staunch.world.is_blocked(ADDRESS));
    let again = staunch.client().post(
        path::RELEASE,
        r#"{"scope": {"transaction": "TX-1"}, "reason": "a mistake"}"#,
    );
    assert!(
        again.problem(409, "refused").detail.contains("TX-1 is released"),
        "{again:?}"
    );

    staunch.wait_for_index();
    let answer = staunch.client().get("/v1/incidents/INC-1");
    assert!(answer.has(&format!("{INDEX_LAG_HEADER}: 0")), "{answer:?}");
    let incident: IncidentAnswer = answer.json();
    assert_eq!(incident.detail.incident.status, IncidentStatus::Closed);
    assert_eq!(incident.detail.transactions[0].state, StateKind::Released);
    assert_eq!(
        incident.detail.transactions[0].reason.as_deref(),
        Some("released by ada")
    );
    assert_eq!(incident.index.lag, Some(0));
    let commands: Commands = staunch.client().get("/v1/commands?limit=1").json();
    assert_eq!(
        commands.commands[0].refused.as_deref(),
        Some("TX-1 is released already")
    );
    let commands: Commands = staunch
        .client()
        .get(&format!("/v1/commands?before={}", commands.next.expect("more")))
        .json();
    assert_eq!(
        (&*commands.commands[0].by, &*commands.commands[0].reason),
        ("ada", "a mistake")
    );
    let notices: Notices = staunch.client().get(path::NOTICES).json();
    assert!(notices.notices[0].text.contains("contained"), "{notices:?}");
}

#[test]
fn whoever_was_told_of_something_finds_it() {
    let staunch = Staunch::start(Options::default());
    staunch.wait_for_index();
    staunch.index_gate.close();
    event(&staunch, "brute", "203.0.113.1");
    staunch.index_gate.wait_for_arrivals(1);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| staunch.client().get("/v1/incidents/INC-1"));
        // Answered after the question, as a rule: without the index, which is what the question waits for.
        let status: Status = staunch.client().get(path::STATUS).json();
        assert!(status.index.is_some_and(|it| it.lag != Some(0)));
        staunch.index_gate.open();
        let answer: IncidentAnswer = asked.join().expect("it does not panic").json();
        assert_eq!(answer.detail.incident.key, "203.0.113.1");
    });
}

#[test]
fn an_incident_that_the_index_does_not_have_yet_is_told_from_one_that_never_was() {
    let staunch = Staunch::start(Options::default());
    staunch.wait_for_index();
    staunch.index_gate.close();
    event(&staunch, "brute", "203.0.113.1");
    let asked = |id: &str| {
        staunch
            .client()
            .get(&format!("/v1/incidents/{id}"))
            .problem(404, "not-found")
    };
    let opened = asked("INC-1");
    assert_eq!(&*opened.detail, "INC-1 is not in the index yet");
    assert_eq!(
        opened.hint.as_deref(),
        Some("it has just been opened: ask again in a moment")
    );
    // Nobody knows it; that the index is behind is said all the same, because it may have been closed and forgotten.
    let unknown = asked("INC-7");
    assert!(unknown.detail.contains("INC-7 in the index, which is "), "{unknown:?}");
    assert_eq!(unknown.hint.as_deref(), Some("ask again in a moment"));
    staunch.index_gate.open();
    staunch.wait_for_index();
    let there: IncidentAnswer = staunch.client().get("/v1/incidents/INC-1").json();
    assert_eq!(there.detail.incident.id, IncidentId(1));
    let never = asked("INC-7");
    assert_eq!((&*never.detail, never.hint), ("there is no INC-7", None));
}

#[test]
fn incidents_come_in_pages_and_what_is_not_there_is_not_found() {
    let staunch = Staunch::start(Options::default());
    for last in 1..=5 {
        event(&staunch, "brute", &format!("203.0.113.{last}"));
    }
    staunch.wait_for_index();
    let page = |query: &str| {
        staunch
            .client()
            .get(&format!("/v1/incidents{query}"))
            .json::<Incidents>()
    };
    let ids = |page: &Incidents| page.incidents.iter().map(|it| it.id.0).collect::<Vec<_>>();
    let first = page("?limit=2");
    assert_eq!((ids(&first), first.next), (vec![5, 4], Some(IncidentId(4))));
    let second = page("?limit=4&before=INC-4");
    assert_eq!((ids(&second), second.next), (vec![3, 2, 1], None));
    let exactly = page("?limit=3&before=INC-4");
    assert_eq!((ids(&exactly), exactly.next), (vec![3, 2, 1], None));
    assert_eq!(ids(&page("?status=open&playbook=brute&text=113.3")), [3]);
    assert_eq!(ids(&page("?status=closed")), [0; 0]);
    let since = format!("?since={}", super::world::ManualClock::START);
    assert_eq!(page(&since).incidents.len(), 5);
    let transactions: Transactions = staunch.client().get("/v1/transactions?target=203.0.113.2").json();
    assert_eq!(transactions.transactions[0].id, TransactionId(2));
    staunch.client().get("/v1/incidents/INC-6").problem(404, "not-found");
    staunch.client().get("/v1/incidents/6").problem(404, "not-found");
    for bad in ["?limit=0", "?limit=1001", "?status=ajar", "?colour=red", "?before=4"] {
        let problem = staunch
            .client()
            .get(&format!("/v1/incidents{bad}"))
            .problem(400, "malformed");
        let key = bad[1..].split('=').next().expect("a key");
        assert!(key != "colour" || problem.detail.contains(key), "{problem:?}");
    }
}

#[test]
fn a_lease_is_renewed() {
    let staunch = Staunch::start(Options::default());
    event(&staunch, "brute", ADDRESS);
    let before = wait_for(&staunch, 1, StateKind::InForce)
        .lease_until
        .expect("it has a lease");
    let body = r#"{"transaction": "TX-1", "lease": "5h", "reason": "still going on"}"#;
    assert_eq!(affected(&staunch, path::RENEW, body), [TransactionId(1)]);
    until("it is renewed", || {
        containments(&staunch)[0].lease_until > Some(before + Span::from_hours(3))
    });
    staunch
        .client()
        .post(
            path::RENEW,
            r#"{"transaction": "TX-1", "lease": "999d", "reason": "ours"}"#,
        )
        .problem(409, "refused");
    let shorter = staunch
        .client()
        .post(
            path::RENEW,
            r#"{"transaction": "TX-1", "lease": "1h", "reason": "ours"}"#,
        )
        .problem(409, "refused");
    assert!(shorter.detail.contains("--shorten"), "{shorter:?}");
    let body = r#"{"transaction": "TX-1", "lease": "1h", "shorten": true, "reason": "ours"}"#;
    assert_eq!(affected(&staunch, path::RENEW, body), [TransactionId(1)]);
    until("it is shortened", || {
        containments(&staunch)[0].lease_until < Some(before + Span::from_hours(3))
    });
    staunch
        .client()
        .post(
            path::RENEW,
            r#"{"transaction": "TX-9", "lease": "1h", "reason": "ours"}"#,
        )
        .problem(404, "not-found");
    let problem = staunch
        .client()
        .post(
            path::RENEW,
            r#"{"transaction": "TX-1", "lease": "10", "reason": "ours"}"#,
        )
        .problem(400, "malformed");
    assert!(problem.detail.contains("not a duration"), "{problem:?}");
}

#[test]
fn a_person_approves_one_and_denies_another() {
    let staunch = Staunch::start(Options::default());
    event(&staunch, "careful", ADDRESS);
    event(&staunch, "careful", "203.0.113.8");
    let approvals = || staunch.client().get(path::APPROVALS).json::<Approvals>().approvals;
    until("both wait", || approvals().len() == 2);
    staunch.wait_for_index();
    let waiting = approvals();
    let first = &waiting[0];
    assert_eq!(
        (first.transaction, &*first.target, first.playbook.as_deref()),
        (TransactionId(1), ADDRESS, Some("careful"))
    );
    assert_eq!(
        (first.key.as_deref(), first.lease),
        (Some(ADDRESS), Span::from_hours(1))
    );
    assert_eq!(
        first.judgement.as_ref().map(|it| it.mode),
        Some(Mode::Approve),
        "{first:?}"
    );
    assert!(!staunch.world.is_blocked(ADDRESS));
    assert_eq!(
        affected(&staunch, path::APPROVE, r#"{"transaction": "TX-1", "reason": "yes"}"#),
        [TransactionId(1)]
    );
    assert_eq!(
        affected(&staunch, path::DENY, r#"{"transaction": "TX-2", "reason": "no"}"#),
        [TransactionId(2)]
    );
    let it = wait_for(&staunch, 1, StateKind::InForce);
    assert_eq!(it.approved_by.as_deref(), Some("ada"));
    assert!(!staunch.world.is_blocked("203.0.113.8"));
    assert!(approvals().is_empty());
    for path in [path::APPROVE, path::DENY] {
        staunch
            .client()
            .post(path, r#"{"transaction": "TX-2", "reason": "again"}"#)
            .problem(409, "refused");
    }
}

#[test]
fn the_mode_is_set_and_says_who_set_it() {
    let staunch = Staunch::start(Options::default());
    let mode = || staunch.client().get(path::MODE).json::<ModeView>();
    assert_eq!(
        (mode().mode, mode().because, mode().set),
        (Mode::Enforce, ModeBecause::Policy, None)
    );
    assert_eq!(
        affected(&staunch, path::MODE, r#"{"mode": "observe", "reason": "calm down"}"#),
        []
    );
    assert_eq!(
        (mode().mode, mode().because, mode().policy),
        (Mode::Observe, ModeBecause::Operator, Mode::Enforce)
    );
    staunch.wait_for_index();
    let status: Status = staunch.client().get(path::STATUS).json();
    for view in [mode(), status.mode] {
        let by = view.set_by.expect("the index has it");
        let explanation = format!(
            "{} set the mode to observe at {} (\"calm down\"); the configuration says enforce",
            by.by, by.at
        );
        assert_eq!((&*by.reason, view.explanation), ("calm down", explanation));
    }
    let long = format!("ok\"); the configuration says approve {}", "x".repeat(100));
    for (set, reason) in [("approve", &*long), ("observe", "calmer")] {
        let body = serde_json::json!({ "mode": set, "reason": reason }).to_string();
        affected(&staunch, path::MODE, &body);
        staunch.wait_for_index();
        let view = mode();
        assert_eq!(view.set_by.map(|it| it.reason), Some(reason.to_owned()));
        let said = view.explanation;
        assert!(said.ends_with("\"); the configuration says enforce"), "{said}");
        assert!(said.matches('"').count() == 2 && said.len() < 200, "{said}");
    }
    event(&staunch, "brute", ADDRESS);
    staunch.wait_for_index();
    until("it only observes", || {
        let page: Transactions = staunch.client().get("/v1/transactions?state=would-execute").json();
        page.transactions.len() == 1
    });
    assert!(!staunch.world.is_blocked(ADDRESS));
}

#[test]
fn the_breaker_is_shown_as_the_reason() {
    let limits = Limits {
        breaker_failures: 1,
        ..staunch_engine::limits::DEFAULT
    };
    let staunch = Staunch::start(Options {
        limits,
        ..Options::default()
    });
    staunch.world.acts_fail.store(true, Ordering::SeqCst);
    event(&staunch, "brute", ADDRESS);
    wait_for(&staunch, 1, StateKind::Settling);
    until("it is rolled back", || {
        staunch.clock.advance(Span::from_secs(1));
        let mode: ModeView = staunch.client().get(path::MODE).json();
        mode.because == ModeBecause::Breaker && mode.mode == Mode::Observe && mode.breaker_open.is_some()
    });
    let reply = staunch
        .client()
        .post(path::MODE, r#"{"mode": "enforce", "reason": "mended"}"#);
    assert_eq!(reply.status, 200, "{reply:?}");
    let mode: ModeView = staunch.client().get(path::MODE).json();
    assert_eq!((mode.mode, mode.breaker_open), (Mode::Enforce, None));
}

#[test]
fn drift_is_shown() {
    let limits = Limits {
        sweep_interval: Span::from_millis(20),
        ..staunch_engine::limits::DEFAULT
    };
    let staunch = Staunch::start(Options {
        limits,
        ..Options::default()
    });
    event(&staunch, "brute", ADDRESS);
    event(&staunch, "brute", "203.0.113.8");
    wait_for(&staunch, 1, StateKind::InForce);
    wait_for(&staunch, 2, StateKind::InForce);
    let drift = |at: usize| {
        (
            containments(&staunch)[at].drift,
            containments(&staunch)[at].drift_reason.clone(),
        )
    };
    staunch.world.sweeps_fail.store(true, Ordering::SeqCst);
    until("it is stale", || drift(0).0 == Some(DriftView::Stale));
    assert_eq!(drift(0).1.as_deref(), Some("the last sweep failed: the map is gone"));
    let status: Status = staunch.client().get(path::STATUS).json();
    assert_eq!(
        (status.unverified, &*status.sweep_failures[0].why),
        (2, "the map is gone")
    );
    staunch.world.sweeps_fail.store(false, Ordering::SeqCst);
    until("it is verified again", || drift(0).0 == Some(DriftView::Verified));
    staunch
        .world
        .blocked
        .lock()
        .expect("no test panics in here")
        .remove(&staunch_model::Target::Address(ADDRESS.parse().expect("an address")));
    until("it is missing", || drift(0).0 == Some(DriftView::Missing));
    assert_eq!(drift(0).1.as_deref(), Some("nothing of ours is in place"));
    assert_eq!(drift(1).0, Some(DriftView::Verified));
}

#[test]
fn what_was_not_verified_for_three_sweeps_is_stale() {
    let limits = Limits {
        sweep_interval: Span::from_secs(1_000),
        ..staunch_engine::limits::DEFAULT
    };
    let staunch = Staunch::start(Options {
        limits,
        ..Options::default()
    });
    event(&staunch, "brute", ADDRESS);
    wait_for(&staunch, 1, StateKind::InForce);
    staunch.clock.advance(Span::from_secs(2_990));
    assert_eq!(containments(&staunch)[0].drift, Some(DriftView::Verified));
    staunch.clock.advance(Span::from_secs(20));
    let it = &containments(&staunch)[0];
    assert_eq!(it.drift, Some(DriftView::Stale));
    assert!(
        it.drift_reason
            .as_deref()
            .is_some_and(|why| why.starts_with("it was last verified 50m")),
        "{it:?}"
    );
}

#[test]
fn a_request_that_cannot_be_read_names_what_is_wrong_with_it() {
    let staunch = Staunch::start(Options::default());
    let check = |path: &str, body: &str, named: &str, position: Option<u64>| {
        let problem = staunch.client().post(path, body).problem(400, "malformed");
        assert!(problem.detail.contains(named), "{body}: {problem:?}");
        assert!(
            position.is_none() || problem.position == position,
            "{body}: {problem:?}"
        );
    };
    check(path::RELEASE, r#"{"scope": "all", "colour": 1}"#, "colour", Some(24));
    check(path::RELEASE, r#"{"scope": {"incident": "TX-1"}}"#, "INC-17", None);
    check(path::RELEASE, "{}", "scope", None);
    check(path::RELEASE, "", "EOF", Some(0));
    check(
        path::RENEW,
        r#"{"transaction": "TX-1", "lease": "1h", "Reason": ""}"#,
        "Reason",
        None,
    );
    check(
        path::APPROVE,
        r#"{"transaction": "TX-1", "\u001b[31m": 1}"#,
        "\\u{1b}",
        None,
    );
    check(path::MODE, r#"{"mode": "chaos"}"#, "chaos", None);
    check(
        path::MODE,
        &format!(r#"{{"mode": "observe", "reason": "{}"}}"#, "x".repeat(501)),
        "501",
        None,
    );
    staunch
        .client()
        .post(path::MODE, &" ".repeat(20_000))
        .problem(413, "too-large");
    let longest = format!(r#"{{"mode": "observe", "reason": "{}"}}"#, "x".repeat(500));
    assert_eq!(staunch.client().post(path::MODE, &longest).status, 200);
}

#[test]
fn without_an_index_the_present_is_shown_and_the_past_is_not() {
    let staunch = Staunch::start(Options {
        with_index: false,
        ..Options::default()
    });
    event(&staunch, "brute", ADDRESS);
    wait_for(&staunch, 1, StateKind::InForce);
    let status: Status = staunch.client().get(path::STATUS).json();
    assert_eq!(status.index, None);
    for path in [
        path::INCIDENTS,
        "/v1/incidents/INC-1",
        path::TRANSACTIONS,
        path::COMMANDS,
        path::NOTICES,
    ] {
        let problem = staunch.client().get(path).problem(503, "no-index");
        assert!(problem.hint.is_some_and(|it| it.contains("its log says why")));
    }
    assert_eq!(staunch.client().get(path::APPROVALS).status, 200);
}

#[test]
fn containments_and_approvals_come_in_pages() {
    let staunch = Staunch::start(Options::default());
    for at in 1..=5 {
        event(&staunch, "brute", &format!("203.0.113.{at}"));
    }
    until("all are in force", || {
        containments(&staunch)
            .iter()
            .filter(|it| it.state == StateKind::InForce)
            .count()
            == 5
    });
    for at in 1..=3 {
        event(&staunch, "careful", &format!("198.51.100.{at}"));
    }
    let approvals = |query: &str| -> Approvals { staunch.client().get(&format!("{}{query}", path::APPROVALS)).json() };
    until("all wait", || approvals("").approvals.len() == 3);
    let page = |query: &str| -> Containments { staunch.client().get(&format!("{}{query}", path::CONTAINMENTS)).json() };
    let whole = page("");
    assert_eq!(whole.next, None, "all of it is no page");
    let (mut found, mut query) = (Vec::new(), "?limit=2".to_owned());
    let mut pages = 0;
    loop {
        let some = page(&query);
        pages += 1;
        assert!(some.containments.len() <= 2, "{some:?}");
        found.extend(some.containments.into_iter().map(|it| it.transaction));
        let Some(next) = some.next else { break };
        query = format!("?limit=2&after={next}");
    }
    let expected: Vec<_> = whole.containments.iter().map(|it| it.transaction).collect();
    assert_eq!((found, pages), (expected.clone(), expected.len().div_ceil(2)));
    let first = approvals("?limit=2");
    assert_eq!(first.approvals.len(), 2);
    let rest = approvals(&format!("?limit=2&after={}", first.next.expect("there is more")));
    assert_eq!((rest.approvals.len(), rest.next), (1, None));
    // A page that ends with the list has none behind it.
    assert_eq!(approvals("?limit=3").next, None);
    for wrong in ["limit=0", "limit=1001", "after=INC-1", "before=TX-1", "limit=x"] {
        for path in [path::CONTAINMENTS, path::APPROVALS] {
            staunch
                .client()
                .get(&format!("{path}?{wrong}"))
                .problem(400, "malformed");
        }
    }
}

/// Reasons in which there is nothing to see, as they stand in JSON.
const BLANK: [&str; 5] = [
    "",
    " ",
    "\\t \\u2003\\n",
    "\\u0000\\u001c\\u0085",
    "\\u200b\\u2003\\ufeff\\u202e",
];

/// What changes what is in force, or how far Staunch goes, is recorded with who, from where, and why.
#[test]
fn what_changes_what_is_in_force_needs_a_reason() {
    let staunch = Staunch::start(Options::default());
    event(&staunch, "brute", ADDRESS);
    wait_for(&staunch, 1, StateKind::InForce);
    for (path, body) in [
        (path::MODE, r#""mode": "observe""#),
        (path::PROTECT, r#""network": "192.0.2.0/24""#),
        (path::UNPROTECT, r#""network": "192.0.2.0/24""#),
        (path::RELEASE, r#""scope": "all""#),
        (path::RELEASE, r#""scope": {"transaction": "TX-1"}"#),
        (path::RELEASE, r#""scope": {"incident": "INC-1"}, "trust": "2h""#),
        (path::RELEASE, r#""scope": "former""#),
        (path::APPROVE, r#""transaction": "TX-1""#),
        (path::DENY, r#""transaction": "TX-1""#),
        (path::RECOVER, r#""incident": "INC-1""#),
        (path::RECOVER, r#""incident": "INC-1", "stop": true"#),
        (path::RENEW, r#""transaction": "TX-1", "lease": "5h""#),
    ] {
        let missing = staunch
            .client()
            .post(path, &format!("{{{body}}}"))
            .problem(400, "malformed");
        assert!(missing.detail.contains("missing field `reason`"), "{path}: {missing:?}");
        for blank in BLANK {
            let body = format!(r#"{{{body}, "reason": "{blank}"}}"#);
            let problem = staunch.client().post(path, &body).problem(400, "malformed");
            assert!(problem.detail.contains("`reason` is blank"), "{path}: {problem:?}");
            assert!(problem.hint.is_some_and(|it| it.contains("`reason`")), "{path}");
        }
    }
    let missing = staunch.client().post(path::RELOAD, "{}").problem(400, "malformed");
    assert!(missing.detail.contains("missing field `reason`"), "{missing:?}");
    for blank in BLANK {
        let body = format!(r#"{{"reason": "{blank}"}}"#);
        let problem = staunch.client().post(path::RELOAD, &body).problem(400, "malformed");
        assert!(problem.detail.contains("`reason` is blank"), "{problem:?}");
    }
    // There is nothing here that could be read again, which is looked at behind the reason.
    let body = r#"{"reason": "why"}"#;
    staunch.client().post(path::RELOAD, body).problem(404, "not-found");
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    assert!(commands.commands.is_empty(), "nothing was done: {commands:?}");
    assert_eq!(staunch.client().get(path::MODE).json::<ModeView>().mode, Mode::Enforce);
    assert!(staunch.world.is_blocked(ADDRESS), "nothing was released");
}
