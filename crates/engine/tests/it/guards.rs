//! Every guard, with the numbers in its answer.

use staunch_engine::guard::{Question, judge};
use staunch_model::{
    ActionKind, Context, FailureKind, GuardName, Mode, NoticeLevel, Owner, Policy, Span, StateKind, TransactionId,
    Verdict, WhenUnknown,
};

use crate::build::{self, START, adjust_playbook, protection, target, traffic, traffic_unknown};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

/// What `guard` says of one event about `ip` under a policy, in a world that is adjusted before.
fn says(guard: GuardName, ip: &str, policy: Policy, adjust: impl FnOnce(&mut Sim)) -> (Verdict, String, StateKind) {
    let mut sim = Sim::new(policy);
    adjust(&mut sim);
    let id = 1;
    if sim.kind(id).is_none() {
        sim.event("enforce", ip);
    }
    sim.run(Span::from_secs(1));
    let judgement = sim.judgement(id);
    assert_eq!(
        judgement.guards.len(),
        11,
        "every guard answers, whatever another one says"
    );
    let result = judgement.guards.into_iter().find(|it| it.guard == guard).unwrap();
    let end = sim.kind(id).unwrap();
    if end == StateKind::Refused {
        assert_eq!(sim.refusal(id), format!("{guard}: {}", result.why));
        assert!(!sim.is_in_place(id));
        assert!(sim.acts.iter().all(|(_, transaction, _)| transaction.0 != id));
    }
    if let (Some(measured), Some(limit)) = (result.measured, result.limit) {
        let crosses = if guard == GuardName::Capacity {
            measured >= limit
        } else {
            measured > limit
        };
        if crosses {
            assert_ne!(result.verdict, Verdict::Passed, "{result:?}");
        }
    }
    sim.ends_clean();
    (result.verdict, result.why.into(), end)
}

#[track_caller]
fn check(guard: GuardName, policy: Policy, adjust: impl FnOnce(&mut Sim), verdict: Verdict, why: &str) {
    let (said, because, end) = says(guard, IP, policy, adjust);
    assert_eq!((said, because.as_str()), (verdict, why));
    let expected = match verdict {
        Verdict::Passed | Verdict::Unknown => StateKind::InForce,
        Verdict::Ask => StateKind::AwaitingApproval,
        Verdict::ObserveOnly => StateKind::WouldExecute,
        Verdict::Refused => StateKind::Refused,
    };
    assert_eq!(end, expected, "{why}");
}

fn usual() -> Policy {
    build::policy(|_| {})
}

fn when_unknown(when: WhenUnknown) -> Policy {
    build::policy(|policy| adjust_playbook(policy, "enforce", |it| it.guards.when_unknown = when))
}

#[test]
fn never_touch() {
    let guard = GuardName::NeverTouch;
    check(
        guard,
        usual(),
        |_| {},
        Verdict::Passed,
        "203.0.113.7 is in no protected network",
    );
    for (ip, why) in [
        (
            "198.51.100.9",
            "198.51.100.9 is in 198.51.100.0/24, which is never touched: the office",
        ),
        (
            "127.0.0.9",
            "127.0.0.9 is in 127.0.0.0/8, which is never touched: loopback",
        ),
        ("::1", "::1 is in ::1/128, which is never touched: loopback"),
        (
            "224.0.0.5",
            "224.0.0.5 is in 224.0.0.0/4, which is never touched: multicast",
        ),
        (
            "169.254.169.254",
            "169.254.169.254 is in 169.254.169.254/32, which is never touched: the cloud's metadata service",
        ),
    ] {
        assert_eq!(
            says(guard, ip, usual(), |_| {}),
            (Verdict::Refused, why.into(), StateKind::Refused)
        );
    }
    let policy = build::policy(|it| {
        it.never_touch
            .push(protection("203.0.113.0/24", "line\u{1b}[31m\nbreak"));
    });
    let (_, why, _) = says(guard, IP, policy, |_| {});
    assert!(why.ends_with("line\\u{1b}[31m\\u{a}break"), "{why}");
}

/// The machine's clock was set back by an hour, and the engine's never goes back.
#[test]
fn the_age_of_an_event_is_measured_by_the_clock_that_received_it() {
    let behind = |sim: &Sim, age: Span| staunch_model::Event {
        received: sim.now - Span::from_hours(1),
        ..build::event(Some(sim.now - Span::from_hours(1) - age))
    };
    for (age, path) in [
        (Span::from_secs(5), StateKind::InForce),
        (Span::from_mins(16), StateKind::Refused),
    ] {
        let mut sim = Sim::usual();
        let event = behind(&sim, age).into();
        let matches = vec![build::matched("enforce", IP, &[IP])];
        sim.input(staunch_model::Input::Event { event, matches });
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(1), Some(path), "{age}");
    }
}

#[test]
fn freshness() {
    let guard = GuardName::Freshness;
    let old = |span: Span| move |sim: &mut Sim| sim.event_at("enforce", IP, Some(START - span));
    let ahead = |span: Span| move |sim: &mut Sim| sim.event_at("enforce", IP, Some(START + span));
    // The look at the world takes 2 ms.
    let just = Span::from_micros(15 * 60_000_000 - 2_000);
    check(
        guard,
        usual(),
        old(just),
        Verdict::Passed,
        "the event is 15m old, at most 15m",
    );
    let over = Span::from_micros(15 * 60_000_000 - 1_000);
    check(
        guard,
        usual(),
        old(over),
        Verdict::Refused,
        "the event is 15m old, more than 15m",
    );
    check(
        guard,
        usual(),
        old(Span::from_hours(2)),
        Verdict::Refused,
        "the event is 2h old, more than 15m",
    );
    check(
        guard,
        usual(),
        ahead(Span::from_mins(5)),
        Verdict::Passed,
        // The look at the world takes 2 ms.
        "the event is 4m59s in the future, at most 5m",
    );
    let why = "the event is 9m59s in the future, more than 5m";
    check(guard, usual(), ahead(Span::from_mins(10)), Verdict::Refused, why);
    let none = |sim: &mut Sim| sim.event_at("enforce", IP, None);
    let why = "the event has no time that can be read, so its age is unknown";
    check(guard, when_unknown(WhenUnknown::Ask), none, Verdict::Ask, why);
    check(guard, when_unknown(WhenUnknown::Refuse), none, Verdict::Refused, why);
    check(guard, when_unknown(WhenUnknown::Pass), none, Verdict::Unknown, why);
}

#[test]
fn target_busy() {
    let guard = GuardName::TargetBusy;
    check(guard, usual(), |_| {}, Verdict::Passed, "nothing is in place there");
    let why = "somebody else's object is in place there (fail2ban)";
    check(guard, usual(), |sim| sim.foreign(IP), Verdict::Refused, why);
    let ours = |sim: &mut Sim| {
        sim.invariants.planted.insert(TransactionId(900));
        sim.world.tamper(target(IP), Some(Owner::Ours(TransactionId(900))));
    };
    let mut sim = Sim::usual();
    ours(&mut sim);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.refusal(1),
        "target-busy: an object of TX-900 is still in place there"
    );

    // A plan that is only asked for sees the stuck transaction, and that nobody has looked.
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 8]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(5));
    for (ip, verdict, why) in [
        (IP, Verdict::Refused, "TX-1 is stuck at this target and needs a person"),
        ("203.0.113.8", Verdict::Unknown, "nobody has looked at the target"),
    ] {
        let question = Question {
            playbook: sim.state().playbooks[&build::hash("enforce")].clone(),
            transaction: None,
            kind: ActionKind::BlockIp,
            target: target(ip),
            event_time: Some(sim.now),
            arrived: None,
            debited: false,
            standing: None,
            found: None,
            around: None,
        };
        let judgement = judge(sim.state(), &question, None, &traffic(0), sim.now);
        let result = judgement.guards.iter().find(|it| it.guard == guard).unwrap();
        assert_eq!((result.verdict, &*result.why), (verdict, why));
    }
    sim.ends_clean();
}

#[test]
fn capacity() {
    let guard = GuardName::Capacity;
    let fill = |used: u32, max: u64| {
        move |sim: &mut Sim| {
            for host in 0..used {
                sim.foreign(&format!("192.0.2.{host}"));
            }
            sim.world.capacity_max = max;
        }
    };
    check(
        guard,
        usual(),
        fill(2, 3),
        Verdict::Passed,
        "the enforcement point holds 2 of 3",
    );
    check(
        guard,
        usual(),
        fill(3, 3),
        Verdict::Refused,
        "the enforcement point holds 3 of 3",
    );
    check(
        guard,
        usual(),
        fill(4, 3),
        Verdict::Refused,
        "the enforcement point holds 4 of 3",
    );
}

#[test]
fn impact() {
    let guard = GuardName::Impact;
    let share = |flows: u64| move |sim: &mut Sim| sim.facts = traffic(flows);
    let why = "this would stop 5 % of the traffic (50 of 1000 flows), at most 5 %";
    check(guard, usual(), share(50), Verdict::Passed, why);
    let why = "this would stop 40 % of the traffic (400 of 1000 flows), more than the 5 % allowed";
    check(guard, usual(), share(400), Verdict::Refused, why);
    let why = "this would stop 5.1 % of the traffic (51 of 1000 flows), more than the 5 % allowed";
    check(guard, usual(), share(51), Verdict::Refused, why);

    let unknown = |sim: &mut Sim| sim.facts = traffic_unknown("conntrack is not loaded");
    let why = "the share of traffic is unknown: conntrack is not loaded";
    check(guard, when_unknown(WhenUnknown::Ask), unknown, Verdict::Ask, why);
    check(guard, when_unknown(WhenUnknown::Refuse), unknown, Verdict::Refused, why);
    check(guard, when_unknown(WhenUnknown::Pass), unknown, Verdict::Unknown, why);

    let nothing = |sim: &mut Sim| sim.facts = staunch_model::Facts::default();
    check(
        guard,
        usual(),
        nothing,
        Verdict::Ask,
        "the share of traffic was not asked for",
    );
    let no_limit =
        build::policy(|policy| adjust_playbook(policy, "enforce", |it| it.guards.traffic_share_max_bp = None));
    check(
        guard,
        no_limit.clone(),
        nothing,
        Verdict::Passed,
        "the playbook sets no limit for stopped traffic",
    );
    check(
        guard,
        no_limit.clone(),
        unknown,
        Verdict::Unknown,
        "the share of traffic is unknown: conntrack is not loaded",
    );
    let why = "this would stop 99.9 % of the traffic (999 of 1000 flows)";
    check(guard, no_limit, share(999), Verdict::Passed, why);
}

#[test]
fn a_share_of_few_flows_says_nothing() {
    let guard = GuardName::Impact;
    let few = |flows: u64, total: u64| move |sim: &mut Sim| sim.facts = build::traffic_of(flows, total);
    let of_20 = |when| {
        build::policy(move |policy| {
            adjust_playbook(policy, "enforce", |it| {
                it.context.push(Context::FlowsMin(20));
                it.guards.when_unknown = when;
            });
        })
    };
    let ask = || of_20(WhenUnknown::Ask);
    let why = "this would stop 5 % of the traffic (1 of 20 flows), at most 5 %";
    check(guard, ask(), few(1, 20), Verdict::Passed, why);
    let why = "this would stop 10 % of the traffic (2 of 20 flows), more than the 5 % allowed";
    check(guard, ask(), few(2, 20), Verdict::Refused, why);
    let why = "the share of traffic says nothing: 19 flows in all, fewer than 20 (19 of them would stop)";
    check(guard, ask(), few(19, 19), Verdict::Ask, why);
    let why = "the share of traffic says nothing: 3 flows in all, fewer than 20 (1 of them would stop)";
    check(guard, of_20(WhenUnknown::Refuse), few(1, 3), Verdict::Refused, why);
    check(guard, of_20(WhenUnknown::Pass), few(1, 3), Verdict::Unknown, why);
    let why = "the share of traffic says nothing: 1 flow in all, fewer than 20 (1 of them would stop)";
    check(guard, ask(), few(1, 1), Verdict::Ask, why);
    let why = "this would stop 0 % of the traffic (0 of 3 flows), at most 5 %";
    check(guard, ask(), few(0, 3), Verdict::Passed, why);
    // Without a limit there is nothing that the sample could be too small for.
    let no_limit = build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.context.push(Context::FlowsMin(20));
            it.guards.traffic_share_max_bp = None;
        });
    });
    let why = "this would stop 33.33 % of the traffic (1 of 3 flows)";
    check(guard, no_limit, few(1, 3), Verdict::Passed, why);
    // Journals hold playbooks from before there was a smallest sample.
    let why = "this would stop 33.33 % of the traffic (1 of 3 flows), more than the 5 % allowed";
    check(guard, usual(), few(1, 3), Verdict::Refused, why);
}

#[test]
fn an_approval_answers_a_question_but_not_a_refusal() {
    let mut sim = Sim::usual();
    sim.facts = traffic_unknown("conntrack is not loaded");
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::AwaitingApproval));
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();
}

/// The budget `guard` with room for three, and the fourth.
fn budget(guard: GuardName, policy: Policy, playbooks: [&str; 4], ips: [&str; 4], why: &str) {
    let mut sim = Sim::new(policy);
    for at in 0..4 {
        sim.event(playbooks[at], ips[at]);
        sim.run(Span::from_secs(1));
    }
    assert!((1..=3).all(|id| sim.kind(id) == Some(StateKind::InForce)));
    assert_eq!(sim.refusal(4), format!("{guard}: {why}"));
    // What is undone is not given back; only time gives room.
    sim.release_all();
    sim.run(Span::from_mins(50));
    sim.event(playbooks[3], ips[3]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(5), Some(StateKind::Refused));
    sim.run(Span::from_mins(11));
    sim.event(playbooks[3], ips[3]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(6), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn budgets() {
    let far = ["192.0.2.1", "203.0.113.1", "192.0.3.1", "203.0.114.1"];
    let near = ["203.0.113.1", "203.0.113.99", "203.0.113.200", "203.0.113.254"];
    let near6 = [
        "2001:db8:7::1",
        "2001:db8:7:1::1",
        "2001:db8:7:ffff::1",
        "2001:db8:7::2",
    ];
    let one = ["enforce"; 4];
    let many = ["enforce", "other", "keep", "enforce"];
    let policy = build::policy(|it| it.limits.acts_per_action_hour_max = 3);
    budget(
        GuardName::BudgetAction,
        policy,
        many,
        far,
        "3 block-ip acts in the last hour, 3 allowed",
    );
    let policy = build::policy(|policy| adjust_playbook(policy, "enforce", |it| it.guards.acts_per_hour_max = 3));
    budget(
        GuardName::BudgetPlaybook,
        policy,
        one,
        far,
        "3 acts of this playbook in the last hour, 3 allowed",
    );
    for ips in [near, near6] {
        let policy = build::policy(|it| it.limits.acts_per_group_hour_max = 3);
        budget(
            GuardName::BudgetGroup,
            policy,
            many,
            ips,
            "3 acts in this neighbourhood in the last hour, 3 allowed",
        );
    }
    let policy = build::policy(|it| it.limits.acts_per_hour_max = 3);
    budget(
        GuardName::BudgetTotal,
        policy,
        many,
        far,
        "3 acts in all in the last hour, 3 allowed",
    );
}

#[test]
fn a_second_attempt_is_counted_once() {
    let mut sim = Sim::new(build::policy(|it| it.limits.acts_per_hour_max = 2));
    sim.faults(Verb::Execute, &[Fault::InDoubt]);
    for host in 1..=3 {
        sim.event("enforce", &format!("203.0.113.{host}"));
        sim.run(Span::from_secs(1));
    }
    assert_eq!(
        (sim.kind(1), sim.kind(2), sim.acts.len()),
        (Some(StateKind::InForce), Some(StateKind::InForce), 3)
    );
    assert_eq!(
        sim.refusal(3),
        "budget-total: 2 acts in all in the last hour, 2 allowed"
    );
    sim.ends_clean();
}

/// Fails `count` acts.
pub(crate) fn fail(sim: &mut Sim, count: usize) {
    for host in 0..count {
        sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
        sim.event("enforce", &format!("203.0.{host}.1"));
        sim.run(Span::from_secs(5));
    }
}

#[test]
fn the_breaker_opens_after_repeated_failures_and_a_person_closes_it() {
    let mut sim = Sim::usual();
    fail(&mut sim, 4);
    assert_eq!(sim.state().breaker_open, None);
    fail(&mut sim, 1);
    assert_eq!(
        sim.state().breaker_open,
        None,
        "the same key is absorbed and nothing acts"
    );
    sim.faults(Verb::Execute, &[Fault::None]);
    sim.event("enforce", "192.0.2.1");
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.judgement(sim.transactions()).guards[10].why,
        "4 of 5 failures in 10m".into()
    );
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.event("enforce", "192.0.3.1");
    sim.run(Span::from_secs(5));
    assert!(sim.state().breaker_open.is_some());
    let page = "5 failures in 10m: everything only observes until a person runs `staunch mode`";
    assert!(sim.told(NoticeLevel::Page).contains(&page), "{:?}", sim.told);

    sim.run(Span::from_hours(2));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let id = sim.transactions();
    assert_eq!(
        sim.kind(id),
        Some(StateKind::WouldExecute),
        "it does not close by itself"
    );
    let result = sim.judgement(id).guards[10].clone();
    assert_eq!(result.verdict, Verdict::ObserveOnly);
    assert!(result.why.starts_with("open since 2023-11-14T22:"), "{}", result.why);

    sim.set_mode(Mode::Enforce);
    sim.run(Span::from_mins(10));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(id + 1), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn what_has_ended_by_itself_does_not_open_the_breaker() {
    let mut sim = Sim::usual();
    for host in 0..8 {
        sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Gone)]);
        sim.event("enforce", &format!("203.0.{host}.1"));
        sim.run(Span::from_secs(5));
        assert_eq!(sim.kind(1 + host), Some(StateKind::RolledBack));
    }
    assert_eq!(sim.state().breaker_open, None);
    assert_eq!(sim.acts.len(), 8, "none is sent again");
    sim.ends_clean();
}

#[test]
fn failures_that_lie_far_apart_do_not_open_the_breaker() {
    let mut sim = Sim::usual();
    for host in 0..8 {
        sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
        sim.event("enforce", &format!("203.0.{host}.1"));
        sim.run(Span::from_mins(4));
    }
    assert_eq!(sim.state().breaker_open, None);
    sim.ends_clean();
}

#[test]
fn a_mode_that_a_person_set_holds_until_the_policy_says_otherwise() {
    let mut sim = Sim::usual();
    sim.set_mode(Mode::Observe);
    sim.policy(build::policy(|it| it.limits.acts_per_hour_max = 400));
    assert_eq!(
        sim.state().mode_max(),
        Mode::Observe,
        "the policy's mode has not changed"
    );
    sim.policy(build::policy(|it| it.mode_max = Mode::Approve));
    assert_eq!(sim.state().mode_max(), Mode::Approve);
    sim.ends_clean();
}

/// A refusal or an observation must not shield its attacker until the deduplication time has passed.
#[test]
fn what_was_not_contained_is_judged_anew() {
    // An old event says nothing about a new one.
    let mut sim = Sim::usual();
    sim.event_at("enforce", IP, Some(START - Span::from_hours(2)));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce), "{}", sim.story());
    sim.ends_clean();

    // Another refusal holds for a minute, so that a stream of events does not make an incident each.
    let mut sim = Sim::usual();
    sim.foreign(IP);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
    sim.vanish(IP);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 1, "it joined");
    sim.run(Span::from_mins(1));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce));
    sim.ends_clean();

    // What was observed is judged anew when the mode is set.
    let mut sim = Sim::usual();
    sim.set_mode(Mode::Observe);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::WouldExecute));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 1, "it joined");
    sim.set_mode(Mode::Enforce);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn a_second_attempt_needs_no_room_in_a_budget_that_the_first_has_filled() {
    let mut sim = Sim::new(build::policy(|it| it.limits.acts_per_hour_max = 1));
    sim.faults(Verb::Execute, &[Fault::InDoubt]);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::InForce), "{}", sim.story());
    assert_eq!(sim.acts.len(), 2);
    sim.ends_clean();
}

#[test]
fn the_breaker_counts_anew_when_a_person_has_set_the_mode() {
    let mut sim = Sim::usual();
    fail(&mut sim, 5);
    sim.event("enforce", "192.0.3.1");
    sim.run(Span::from_secs(5));
    assert!(sim.state().breaker_open.is_some());
    sim.no_more_faults();
    sim.set_mode(Mode::Enforce);
    sim.run(Span::from_secs(1));
    assert!(sim.state().breaker_open.is_none());
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(sim.transactions()), Some(StateKind::InForce));
    sim.ends_clean();
}
