//! Notices: people are told, and told again until somebody listens.

use staunch_engine::limits::{NOTICE_ATTEMPTS_MAX, NOTICE_PAUSE_MAX, NOTICES_MAX, PAGE_ATTEMPTS_MAX};
use staunch_model::{Failure, FailureKind, IncidentOutcome, Input, NoticeId, NoticeLevel, NotifyStep, Span};

use crate::build::{self, adjust_playbook};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const DOWN: Fault = Fault::Fails(FailureKind::Unavailable);

fn notice_times(sim: &Sim) -> Vec<u64> {
    let text = |frame: &staunch_model::Frame| format!("{:?}", frame.records);
    let sent = sim.frames.iter().filter(|(_, frame)| {
        let text = text(frame);
        text.contains("NoticeQueued") || text.contains("NoticeResent")
    });
    sent.map(|(now, _)| now.since(build::START).as_micros() / 1_000)
        .collect()
}

#[test]
fn a_notice_that_is_not_taken_is_sent_again_and_given_up_in_the_end() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Notify, &[DOWN; 20]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(30));
    assert!(sim.told.is_empty() && sim.state().notices.is_empty());
    let times = notice_times(&sim);
    assert_eq!(times.len(), usize::from(NOTICE_ATTEMPTS_MAX));
    assert_eq!(times[..5], [6, 2_008, 6_010, 14_012, 30_014]);
    sim.ends_clean();

    let mut sim = Sim::usual();
    sim.faults(Verb::Notify, &[DOWN; 2]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(1));
    assert_eq!(sim.told.len(), 1);
    sim.ends_clean();
}

#[test]
fn a_page_is_sent_again_for_a_day() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Notify, &[DOWN; 50]);
    sim.event("approve", IP);
    sim.run(Span::from_secs(1));
    let page = sim.state().notices.values().next().unwrap();
    assert_eq!(page.notice.level, NoticeLevel::Page);
    sim.run(Span::from_hours(23));
    let kept: Vec<_> = sim.state().notices.keys().copied().collect();
    assert_eq!(
        kept,
        [NoticeId(1)],
        "nobody has listened, and what is no page is given up"
    );
    sim.run(Span::from_hours(2));
    assert!(sim.state().notices.is_empty());
    let is_first =
        |frame: &staunch_model::Frame| matches!(&frame.input, Input::Notified { notice, .. } if *notice == NoticeId(1));
    let tried: Vec<_> = sim
        .frames
        .iter()
        .filter(|(_, it)| is_first(it))
        .map(|(now, _)| *now)
        .collect();
    assert_eq!(tried.len(), usize::from(PAGE_ATTEMPTS_MAX));
    let longest = tried.windows(2).map(|it| it[1].since(it[0])).max().unwrap();
    assert!(longest < NOTICE_PAUSE_MAX + Span::from_secs(1), "{longest}");
    sim.ends_clean();
}

#[test]
fn a_notifier_that_never_answers_is_asked_again() {
    for fault in [Fault::RequestLost, Fault::ReplyLost] {
        let mut sim = Sim::usual();
        sim.faults(Verb::Notify, &[fault]);
        sim.event("enforce", IP);
        sim.run(Span::from_secs(30));
        assert_eq!(sim.state().notices.len(), 1);
        sim.run(Span::from_mins(2));
        assert!(sim.state().notices.is_empty(), "{fault:?}");
        assert_eq!(sim.told.last().unwrap().id, NoticeId(1), "a repeat has the same id");
        sim.ends_clean();
    }
}

#[test]
fn a_second_answer_changes_nothing() {
    let fails = |notice| Input::Notified {
        notice,
        result: Err(Failure::new(FailureKind::Unavailable, "down")),
    };
    let taken = |notice| Input::Notified { notice, result: Ok(()) };
    let id = NoticeId(1);
    for second in [fails(id), taken(id)] {
        let mut sim = Sim::usual();
        sim.faults(Verb::Notify, &[Fault::RequestLost]);
        sim.event("enforce", IP);
        sim.run(Span::from_secs(1));
        sim.input(fails(id));
        sim.run(Span::from_millis(10));
        sim.input(second);
        sim.run(Span::from_mins(5));
        assert!(sim.state().notices.is_empty());
        sim.input(taken(id));
        sim.input(taken(NoticeId(99)));
        assert!(sim.frames.last().unwrap().1.records.is_empty());
        sim.ends_clean();
    }
}

#[test]
fn what_nobody_has_taken_is_sent_again_after_a_restart() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Notify, &[Fault::RequestLost, DOWN]);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.crash(Span::ZERO);
    sim.run(Span::from_millis(100));
    assert!(sim.told.is_empty());
    sim.crash(Span::ZERO);
    assert!(sim.told.is_empty(), "it waits for its time");
    sim.run(Span::from_mins(1));
    assert_eq!(sim.told.len(), 1);
    sim.ends_clean();
}

#[test]
fn a_playbook_tells_only_what_it_wants_told() {
    let policy = build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.notify = vec![NotifyStep {
                when: vec![IncidentOutcome::RolledBack],
            }];
        });
    });
    let mut sim = Sim::new(policy);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert!(sim.told.is_empty());
    assert_eq!(sim.incident(1).outcome, Some(IncidentOutcome::Contained));
    sim.faults(Verb::Execute, &[Fault::Lies]);
    sim.event("enforce", "203.0.113.8");
    sim.run(Span::from_secs(5));
    assert_eq!(sim.told.len(), 1);
    assert_eq!(sim.told[0].level, NoticeLevel::Page);
    sim.ends_clean();
}

#[test]
fn notices_are_bounded_and_pages_outlive_the_rest() {
    let mut sim = Sim::new(build::policy(|policy| {
        policy.limits.acts_per_hour_max = 0;
        policy.limits.actions_in_flight_max = 1_000;
    }));
    sim.invariants.compare_every = 50;
    let down = vec![DOWN; 100_000];
    sim.faults(Verb::Notify, &down);
    sim.event("approve", IP);
    sim.sweep_fails();
    for host in 0..NOTICES_MAX + 50 {
        sim.event("enforce", &format!("203.{}.{}.1", host / 256, host % 256));
        sim.run(Span::from_millis(2));
    }
    sim.run(Span::from_millis(500));
    assert_eq!(sim.state().notices.len(), NOTICES_MAX);
    let pages = sim
        .state()
        .notices
        .values()
        .filter(|it| it.notice.level == NoticeLevel::Page)
        .count();
    assert_eq!(pages, 1);
    sim.ends_clean();
}

#[test]
fn what_few_pages_say_outlives_pages_about_incidents() {
    let mut sim = Sim::new(build::policy(|policy| policy.limits.actions_in_flight_max = 1_000));
    sim.invariants.compare_every = 50;
    let down = vec![DOWN; 100_000];
    sim.faults(Verb::Notify, &down);
    sim.input(Input::Trouble("the journal is lost".into()));
    for host in 0..NOTICES_MAX + 50 {
        sim.event("approve", &format!("203.{}.{}.1", host / 256, host % 256));
        sim.run(Span::from_millis(2));
    }
    sim.run(Span::from_millis(500));
    let kept = &sim.state().notices;
    assert_eq!(kept.len(), NOTICES_MAX);
    assert!(kept.values().all(|it| it.notice.level == NoticeLevel::Page));
    assert_eq!(&*kept[&NoticeId(1)].notice.text, "the journal is lost");
    sim.ends_clean();
}

#[test]
fn text_from_events_is_safe_to_show() {
    let mut sim = Sim::usual();
    sim.event_about("enforce", "key\u{1b}[31m\nINC-9 forged", &[IP]);
    sim.run(Span::from_secs(1));
    assert_eq!(
        &*sim.told[0].text,
        "INC-1 (enforce, key\\u{1b}[31m\\u{a}INC-9 forged): contained"
    );
    sim.ends_clean();
}

#[test]
fn trouble_is_paged() {
    let mut sim = Sim::usual();
    sim.input(Input::Trouble("the journal is lost".into()));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.told(NoticeLevel::Page), ["the journal is lost"]);
    sim.ends_clean();
}
