//! The process ends after every single frame of a story, with its effects sent or not, for a moment or for hours.

use staunch_model::{FailureKind, Input, ReleaseScope, Span};

use crate::build;
use crate::life::IP;
use crate::sim::{Cut, Fault, Sim, Verb};

/// Tells `story` once to count its frames, and then cuts it after each of them. A story must not expect anything.
fn check(name: &str, world: fn() -> Sim, story: fn(&mut Sim)) {
    let mut whole = world();
    let first = whole.frames.len();
    story(&mut whole);
    let last = whole.frames.len();
    whole.ends_clean();
    assert!(last > first + 3, "{name} has something to cut");
    for frames in first + 1..=last {
        for dispatched in [true, false] {
            for outage in [Span::ZERO, Span::from_secs(10), Span::from_hours(3)] {
                let mut sim = world();
                sim.cut = Some(Cut {
                    frames,
                    dispatched,
                    outage,
                });
                story(&mut sim);
                assert!(sim.cut.is_none(), "{name} was cut after frame {frames}");
                sim.ends_clean();
            }
        }
    }
}

#[test]
fn of_the_happy_path() {
    for world in [Sim::usual, Sim::remote] {
        check("happy", world, |sim| {
            sim.event("enforce", IP);
            sim.run(Span::from_hours(2));
        });
    }
}

#[test]
fn of_a_rollback_with_an_act_that_lands_late() {
    check("rollback", Sim::remote, |sim| {
        sim.faults(
            Verb::Execute,
            &[Fault::InDoubt, Fault::LandsLate(Span::from_millis(1_900))],
        );
        sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Unavailable), Fault::ReplyLost]);
        sim.event("enforce", IP);
        sim.run(Span::from_mins(1));
    });
}

#[test]
fn of_a_rollback_with_siblings() {
    check("siblings", Sim::usual, |sim| {
        sim.faults(Verb::Execute, &[Fault::None, Fault::None, Fault::Lies]);
        sim.event_about("enforce", "three", &["203.0.113.1", "203.0.113.2", "203.0.113.3"]);
        sim.run(Span::from_mins(1));
    });
}

#[test]
fn of_a_release() {
    check("release", Sim::usual, |sim| {
        sim.event("enforce", IP);
        sim.run(Span::from_secs(1));
        drop(sim.command(staunch_model::Command::Release(ReleaseScope::All)));
        sim.run(Span::from_secs(1));
    });
}

#[test]
fn of_an_approval_a_renewal_and_a_join() {
    check("approval", Sim::remote, |sim| {
        sim.event("approve", IP);
        sim.run(Span::from_secs(1));
        drop(sim.approve(1));
        sim.run(Span::from_secs(1));
        drop(sim.renew(1, Span::from_hours(2)));
        sim.run(Span::from_secs(1));
        let matches = vec![build::matched("other", IP, &[IP])];
        sim.input(Input::Event {
            event: build::event(Some(sim.now)).into(),
            matches,
        });
        sim.run(Span::from_secs(1));
        drop(sim.release_incident(1));
        sim.run(Span::from_mins(30));
        drop(sim.release_incident(2));
        sim.run(Span::from_secs(1));
    });
}

#[test]
fn of_a_stuck_transaction() {
    check("stuck", Sim::usual, |sim| {
        sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 9]);
        sim.world.enforcing = false;
        sim.event("enforce", IP);
        sim.run(Span::from_mins(5));
        drop(sim.release(1));
        sim.run(Span::from_secs(10));
    });
}
