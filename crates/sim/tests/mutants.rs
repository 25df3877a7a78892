//! Every fault that is put in on purpose is found, and found by the invariant that is named for it: a second guard must
//! not hide that the first is gone.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use staunch_engine::mutant::{self, Mutant};
use staunch_sim::{Invariant, Scenario, Violation, run, run_traced};

/// The most seeds that a mutant may survive.
const SEEDS_MAX: u64 = 60_000;

/// Each mutant and the invariant that has to find it.
const NAMED: [(Mutant, Invariant); 136] = {
    use {Invariant as I, Mutant as M};
    [
        (M::EffectBeforeSync, I::DurableIntent),
        (M::ReplyBeforeSync, I::AcknowledgedKept),
        (M::RecoveryDecidesAgain, I::ReplayEqualsLive),
        (M::FencingIgnored, I::OneLeader),
        (M::SendByIgnored, I::EndIsClean),
        (M::ActIgnoresOwner, I::NoDamage),
        (M::UndoIgnoresOwner, I::NoDamage),
        (M::InDoubtIsFailure, I::EndIsVerified),
        (M::NoSettle, I::EndIsClean),
        (M::SettleTooShort, I::EndIsClean),
        (M::SettleFromIntent, I::EndIsClean),
        (M::RecoverySkipsSettling, I::EndIsClean),
        (M::NoProbe, I::EndIsVerified),
        (M::UndoBelieved, I::EndIsVerified),
        (M::ActBelieved, I::ForceIsVerified),
        (M::EnforcingIgnored, I::ForceIsVerified),
        (M::ForeignAccepted, I::ForceIsVerified),
        (M::StaleRepliesTaken, I::ReplyIsNewest),
        (M::NeverTouchIgnored, I::NeverTouch),
        (M::NeverTouchIpv4Only, I::NeverTouch),
        (M::NeverTouchAfter, I::NeverTouch),
        (M::ExemptionIgnored, I::NeverTouch),
        (M::ListIgnored, I::NeverTouch),
        (M::FreshnessIgnored, I::EventIsFresh),
        (M::BudgetsForgotten, I::Budgets),
        (M::GroupBudgetIgnored, I::Budgets),
        (M::GroupNarrow, I::Budgets),
        (M::ConcurrencyIgnored, I::Concurrency),
        (M::TargetShared, I::OneAct),
        (M::ExecuteForEver, I::OneAct),
        (M::LeaseForgotten, I::LeasesEnd),
        (M::LeaseUnbounded, I::CommandsAnswered),
        (M::LeaseStretched, I::LeasesEnd),
        (M::RenewalStretched, I::LeasesEnd),
        (M::QuestionStretched, I::Approval),
        (M::HoldStretched, I::LeasesEnd),
        (M::ReturnsForgotten, I::LeasesGrow),
        (M::RollbackOrder, I::RollbackOrder),
        (M::ReleaseOrder, I::ReleaseOrder),
        (M::SiblingsKept, I::AllOrNothing),
        (M::SentInVain, I::AllOrNothing),
        (M::SiblingMistaken, I::AllOrNothing),
        (M::ApprovalSkipped, I::Approval),
        (M::ApprovalOutlived, I::Approval),
        (M::DenyRefused, I::CommandsAnswered),
        (M::RefusalIsDone, I::CommandsAnswered),
        (M::ReleaseLeavesOne, I::CommandsAnswered),
        (M::DenyApproves, I::CommandsAnswered),
        (M::TrustForgotten, I::CommandsAnswered),
        (M::ExemptionUnbounded, I::CommandsAnswered),
        (M::RenewalShortens, I::CommandsAnswered),
        (M::ReleaseTakesAll, I::CommandsAnswered),
        (M::ProtectionUnrecorded, I::CommandsAnswered),
        (M::UnprotectsNothing, I::CommandsAnswered),
        (M::RecoveryBeginsEarly, I::CommandsAnswered),
        (M::RecoveryGoesOn, I::CommandsAnswered),
        (M::ObserveActs, I::Mode),
        (M::BreakerShut, I::Breaker),
        (M::EvidenceIgnored, I::EvidenceFirst),
        (M::EvidenceOfOthersIgnored, I::EvidenceFirst),
        (M::EvidenceGivenUp, I::EvidenceFirst),
        (M::WatchIgnored, I::HurtIsLifted),
        (M::BaselineIgnored, I::HurtIsLifted),
        (M::RecoveryOrder, I::RecoveryOrder),
        (M::RecoveryHurries, I::RecoveryOrder),
        (M::SweepBlind, I::InForceIsThere),
        (M::OrphansLeft, I::EndIsClean),
        (M::VanishedTooSoon, I::ForceIsVerified),
        (M::LiftedIsOrphan, I::EndIsVerified),
        (M::StuckSilently, I::StuckIsTold),
        (M::TextUnescaped, I::TextIsEscaped),
        (M::ReleaseIsRollback, I::StatesFollow),
        (M::TimeGoesBack, I::TimeGoesOn),
        (M::WaitsForEver, I::EverythingEnds),
        (M::BreakerSilently, I::StuckIsTold),
        (M::VanishedSilently, I::StuckIsTold),
        (M::LetGoCounts, I::StatesFollow),
        (M::OutcomeOnce, I::StatesFollow),
        (M::HurtsAtOnce, I::HurtIsLifted),
        (M::StuckPassedOver, I::RecoveryOrder),
        (M::RestStays, I::RecoveryOrder),
        (M::ImpactIgnored, I::Impact),
        (M::UnknownShareTaken, I::Impact),
        (M::RoomIgnored, I::Capacity),
        (M::OthersOverlooked, I::TargetFree),
        (M::FutureTaken, I::EventIsFresh),
        (M::TimelessTaken, I::EventIsFresh),
        (M::RiskIgnored, I::Approval),
        (M::InternalIsOutside, I::Approval),
        (M::RiskMinIgnored, I::Approval),
        (M::RiskAlwaysAsks, I::Approval),
        (M::SaidOutlived, I::Approval),
        (M::RowsBackwards, I::Approval),
        (M::InternalRowsIgnored, I::Approval),
        (M::SaidPassedOver, I::Approval),
        (M::BudgetCountsTwice, I::RefusedForReason),
        (M::FreshnessStrict, I::RefusedForReason),
        (M::RoomUnderrated, I::RefusedForReason),
        (M::ProtectedTooLong, I::RefusedForReason),
        (M::ShareOverrated, I::RefusedForReason),
        (M::QueueImpatient, I::RefusedForReason),
        (M::ExecuteOnce, I::RefusedForReason),
        (M::FoundIsMissing, I::RefusedForReason),
        (M::MissedAtOnce, I::RefusedForReason),
        (M::ObservedInVain, I::RefusedForReason),
        (M::RefusalIsFailure, I::RefusedForReason),
        (M::DeadlineStretched, I::EvidenceFirst),
        (M::NoticeOnce, I::StuckIsTold),
        (M::MatchDropped, I::EventsAnswered),
        (M::StepLeftOut, I::EventsAnswered),
        (M::EvidenceLeftOut, I::EventsAnswered),
        (M::IncidentEach, I::EventsAnswered),
        (M::AttackerShielded, I::EventsAnswered),
        (M::UnreadIsGone, I::ForceIsVerified),
        (M::StepShielded, I::EventsAnswered),
        (M::QueueStops, I::NothingWaits),
        (M::BudgetShort, I::Budgets),
        (M::LookOnce, I::StuckIsTold),
        (M::UndoOnce, I::StuckIsTold),
        (M::PauseUnbounded, I::EverythingEnds),
        (M::ActPassedOver, I::RecoveryOrder),
        (M::BlindIsHealthy, I::RecoveryOrder),
        (M::BackByHalf, I::RecoveryOrder),
        (M::RecoveryFailsSilently, I::StuckIsTold),
        (M::WatchShort, I::HurtIsLifted),
        (M::WatchNeverBegins, I::HurtIsLifted),
        (M::BestTold, I::StatesFollow),
        (M::FailuresKept, I::Breaker),
        (M::QuestionKept, I::AllOrNothing),
        (M::ClosedEarly, I::EvidenceFirst),
        (M::StuckReleaseFails, I::RefusedForReason),
        (M::MissedSilently, I::StuckIsTold),
        (M::OldReadingsTaken, I::ReplyIsNewest),
        (M::BlindAtOnce, I::HurtIsLifted),
        (M::ProtectedSilently, I::StuckIsTold),
        (M::RecoveryTakesAll, I::RecoveryOrder),
    ]
};

#[test]
fn every_mutant_is_killed_by_the_invariant_named_for_it() {
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<Mutant, Option<(u64, Violation)>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((mutant, _)) = NAMED.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seen = first_violation(*mutant);
                    found.lock().expect("no thread panics").insert(*mutant, seen);
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let found = found.into_inner().expect("no thread panics");
    let mut wrong = Vec::new();
    println!("{:<24} {:<20} seeds needed", "mutant", "killed by");
    for (mutant, named) in NAMED {
        let name = format!("{mutant:?}");
        match &found[&mutant] {
            Some((seed, violation)) => {
                println!("{name:<24} {:<20} {}", violation.invariant.to_string(), seed + 1);
                if violation.invariant != named {
                    wrong.push(format!("{name} is found by {violation}, not by {named} (seed {seed})"));
                }
            }
            None => {
                println!("{name:<24} {:<20} -", "nothing");
                wrong.push(format!("{name} survives {SEEDS_MAX} seeds"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first seed that does not survive `mutant`, and what it broke. The mutant is in on this thread only.
fn first_violation(mutant: Mutant) -> Option<(u64, Violation)> {
    mutant::set(Some(mutant));
    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, run(&Scenario::from_seed(seed)).violation?)));
    // A run that is traced looks at every frame at once, others at many together: they find the same.
    if let Some((seed, violation)) = &found {
        let traced = run_traced(&Scenario::from_seed(*seed)).violation;
        assert_eq!(traced.as_ref(), Some(violation), "{mutant:?}, seed {seed}");
    }
    mutant::set(None);
    found
}

#[test]
fn every_mutant_is_named() {
    for mutant in Mutant::ALL {
        assert!(NAMED.iter().any(|(named, _)| *named == mutant), "{mutant:?}");
    }
}

/// A fault in the engine fails a scripted run like any other.
#[test]
fn a_scripted_run_finds_what_is_broken() {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use staunch_model::{Endpoint, Event, Match, MatchedStep, Severity, Span, Target, Timestamp};
    use staunch_sim::scenario::policy;
    use staunch_sim::script::{Fault, Happening, Mishap, Point, Script, Setting};
    use staunch_sim::world::WorldKind;

    let start = Timestamp::from_micros(1_700_000_000_000_000);
    let target = Target::Address([203, 0, 113, 7].into());
    let play = |mutant| {
        mutant::set(mutant);
        let policy = Arc::new(policy(WorldKind::Kernel, 0));
        let playbook = policy.playbooks[0].hash;
        let mut script = Script::new(Setting {
            policy,
            world: WorldKind::Kernel,
            start,
            shares: BTreeMap::new(),
            share_of_others: Some(10),
            faults: vec![Fault {
                at: Point::Execute,
                of: Some(target.clone()),
                evidence: None,
                mishap: Mishap::Lies,
                times: None,
            }],
        });
        let event = Event {
            system: "simulated".into(),
            id: None,
            time: Some(start),
            received: start,
            severity: Severity::High,
            signature: "".into(),
            category: "".into(),
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: b"{}".as_slice().into(),
        };
        let step = MatchedStep {
            step: 0,
            target: Some(target.clone()),
        };
        let matches = vec![Match {
            playbook,
            key: "a".into(),
            preserve: Vec::new(),
            steps: vec![step],
        }];
        let event = Arc::new(event);
        script.plan(Span::ZERO, Happening::Event { event, matches });
        script.run_until(Span::from_secs(20));
        script.finish();
        mutant::set(None);
        script.violation().map(|it| it.invariant)
    };
    assert_eq!(play(None), None);
    assert_eq!(play(Some(Mutant::ActBelieved)), Some(Invariant::ForceIsVerified));
    assert_eq!(play(Some(Mutant::NoProbe)), Some(Invariant::EndIsVerified));
}
