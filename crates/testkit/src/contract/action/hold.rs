//! How long a containment holds by itself, and moving its end; or, where the enforcement point does not count down,
//! that it has no end.

use staunch_model::{FailureKind, Outcome, Span};
use staunch_ports::ExecuteRequest;

use super::{HOLD, Scene, assert_refused, execute, ours};

/// The shortest hold that a check waits for.
const SHORT: Span = Span::from_millis(200);

/// How far an end may be from the one asked for.
const NEAR: Span = Span::from_secs(30);

fn renew(transaction: u64, target: staunch_model::Target, hold: Span) -> ExecuteRequest {
    ExecuteRequest {
        hold,
        renewal: true,
        ..execute(transaction, target)
    }
}

/// Checks when what is at `target` ends by itself.
#[track_caller]
fn assert_ends_in(scene: &mut Scene, target: staunch_model::Target, expect: Span) {
    let left = scene.expires_in(target);
    if !scene.world.counts_down() {
        assert_eq!(left, None, "it does not end by itself");
        return;
    }
    let left = left.expect("it ends by itself");
    assert!(
        left <= expect + NEAR && left + NEAR >= expect,
        "{left} is not about {expect}"
    );
}

pub(super) fn a_hold_ends_by_itself(scene: &mut Scene) {
    let (short, long) = (scene.target(1), scene.other(2));
    if let Some(long) = &long {
        assert_eq!(scene.execute(2, long.clone()), Outcome::Landed);
    }
    assert_eq!(
        scene.request(ExecuteRequest {
            hold: SHORT,
            ..execute(1, short.clone())
        }),
        Outcome::Landed
    );
    let Scene {
        world, ours: driver, ..
    } = scene;
    let ended = world.wait(SHORT, &mut || {
        let seen = driver
            .observe(std::slice::from_ref(&short))
            .remove(0)
            .expect("readable");
        seen.presence == staunch_model::Presence::Absent
    });
    if !world.counts_down() {
        assert!(!ended, "it was to stay beyond its hold of {SHORT}");
        assert_eq!(
            (scene.owner(short.clone()), scene.expires_in(short.clone())),
            (ours(1), None)
        );
        assert!(scene.see(short).enforcing);
        if let Some(long) = long {
            assert_eq!(scene.owner(long), ours(2));
        }
        return;
    }
    assert!(ended, "a hold of {SHORT} did not end");
    assert_eq!(scene.world.label(short.clone()), None);
    if let Some(long) = long {
        assert_eq!(scene.owner(long), ours(2));
    }
    assert_eq!(
        scene.execute(3, short.clone()),
        Outcome::Landed,
        "its place is free again"
    );
    assert_eq!(scene.undo(1, short.clone()), Outcome::Landed);
    assert_eq!(scene.owner(short), ours(3), "undoing what ended leaves its successor");
}

pub(super) fn a_renewal_moves_the_end(scene: &mut Scene) {
    let target = scene.target(1);
    let ten_minutes = Span::from_mins(10);
    assert_eq!(
        scene.request(ExecuteRequest {
            hold: ten_minutes,
            ..execute(1, target.clone())
        }),
        Outcome::Landed
    );
    assert_ends_in(scene, target.clone(), ten_minutes);
    for hold in [HOLD, HOLD.times(3), HOLD.times(3), ten_minutes] {
        assert_eq!(scene.request(renew(1, target.clone(), hold)), Outcome::Landed);
        assert_ends_in(scene, target.clone(), hold);
        assert_eq!(scene.owner(target.clone()), ours(1));
    }
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.world.label(target), None);
}

pub(super) fn a_renewal_needs_an_object_of_ours(scene: &mut Scene) {
    if scene.other(3).is_none() {
        return a_renewal_needs_the_one_object_to_be_ours(scene);
    }
    let (absent, foreign, of_one) = (scene.target(1), scene.target(2), scene.target(3));
    scene.world.put(foreign.clone(), "somebody");
    assert_eq!(scene.execute(1, of_one.clone()), Outcome::Landed);
    for target in [absent.clone(), foreign.clone(), of_one.clone()] {
        assert_refused(&scene.request(renew(2, target, HOLD.times(2))), FailureKind::Conflict);
    }
    assert_eq!(scene.world.label(absent), None, "a renewal makes nothing");
    assert_eq!(scene.world.label(foreign.clone()).as_deref(), Some("somebody"));
    assert_eq!(scene.expires_in(foreign), None);
    assert_ends_in(scene, of_one.clone(), HOLD);
    scene.world.flush();
    assert_refused(&scene.request(renew(1, of_one, HOLD)), FailureKind::Conflict);
}

/// The same where there is one target: one after the other.
fn a_renewal_needs_the_one_object_to_be_ours(scene: &mut Scene) {
    let target = scene.target(1);
    let refuses = |scene: &mut Scene, transaction| {
        let outcome = scene.request(renew(transaction, target.clone(), HOLD.times(2)));
        assert_refused(&outcome, FailureKind::Conflict);
    };
    refuses(scene, 2);
    assert_eq!(scene.world.label(target.clone()), None, "a renewal makes nothing");
    scene.world.put(target.clone(), "somebody");
    refuses(scene, 2);
    assert_eq!(scene.world.label(target.clone()).as_deref(), Some("somebody"));
    assert_eq!(scene.expires_in(target.clone()), None);
    scene.world.remove(target.clone());
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    refuses(scene, 2);
    assert_ends_in(scene, target.clone(), HOLD);
    scene.world.flush();
    refuses(scene, 1);
}

pub(super) fn a_hold_out_of_bounds_is_refused(scene: &mut Scene) {
    let target = scene.target(1);
    for hold in [Span::ZERO, Span::from_micros(1), Span::from_micros(u64::MAX)] {
        let request = ExecuteRequest {
            hold,
            ..execute(1, target.clone())
        };
        assert_refused(&scene.request(request), FailureKind::Invalid);
        assert_eq!(scene.world.label(target.clone()), None);
    }
}

pub(super) fn an_act_again_gets_its_whole_hold(scene: &mut Scene) {
    let target = scene.target(1);
    let ten_minutes = Span::from_mins(10);
    assert_eq!(
        scene.request(ExecuteRequest {
            hold: ten_minutes,
            ..execute(1, target.clone())
        }),
        Outcome::Landed
    );
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    assert_ends_in(scene, target, HOLD);
}
