//! Undoing.

use staunch_model::Outcome;

use super::{Scene, execute, ours, undo};

pub(super) fn undoing_removes_ours(scene: &mut Scene) {
    let (target, other) = (scene.target(1), scene.other(2));
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    if let Some(other) = &other {
        assert_eq!(scene.execute(2, other.clone()), Outcome::Landed);
    }
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.owner(target.clone()), None);
    assert_eq!(scene.world.label(target), None);
    if let Some(other) = other {
        assert_eq!(scene.owner(other), ours(2));
    }
}

pub(super) fn undoing_twice_or_without_executing_lands(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    for _ in 0..3 {
        assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
        assert_eq!(scene.world.label(target.clone()), None);
    }
}

pub(super) fn undoing_leaves_what_is_not_of_the_transaction(scene: &mut Scene) {
    if scene.other(3).is_none() {
        return undoing_leaves_each_that_is_not_of_the_transaction(scene);
    }
    let (of_one, foreign, theirs) = (scene.target(1), scene.target(2), scene.target(3));
    assert_eq!(scene.execute(1, of_one.clone()), Outcome::Landed);
    scene.world.put(foreign.clone(), "somebody");
    assert_eq!(scene.theirs.execute(&[execute(2, theirs.clone())]), [Outcome::Landed]);
    let all = [of_one, foreign, theirs];
    let before = all.clone().map(|it| scene.world.label(it));
    assert!(before.iter().all(Option::is_some));
    assert_eq!(
        scene.ours.undo(&all.clone().map(|it| undo(2, it))),
        [const { Outcome::Landed }; 3]
    );
    assert_eq!(all.map(|it| scene.world.label(it)), before);
}

/// The same where there is one target: one after the other.
fn undoing_leaves_each_that_is_not_of_the_transaction(scene: &mut Scene) {
    let target = scene.target(1);
    for round in 0..3 {
        match round {
            0 => assert_eq!(scene.execute(1, target.clone()), Outcome::Landed),
            1 => scene.world.put(target.clone(), "somebody"),
            _ => assert_eq!(scene.theirs.execute(&[execute(2, target.clone())]), [Outcome::Landed]),
        }
        let before = scene.world.label(target.clone());
        assert!(before.is_some());
        assert_eq!(scene.undo(2, target.clone()), Outcome::Landed);
        assert_eq!(scene.world.label(target.clone()), before);
        scene.world.remove(target.clone());
    }
}

pub(super) fn undoing_after_a_flush_lands(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    scene.world.flush();
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    let seen = scene.see(target);
    assert_eq!(seen.presence, staunch_model::Presence::Absent);
    assert_eq!(seen.enforcing, scene.world.enforces_each(), "undoing makes nothing");
}

pub(super) fn executing_after_undoing_works(scene: &mut Scene) {
    let target = scene.target(1);
    for transaction in 1..4 {
        assert_eq!(scene.execute(transaction, target.clone()), Outcome::Landed);
        assert_eq!(scene.owner(target.clone()), ours(transaction));
        assert_eq!(scene.undo(transaction, target.clone()), Outcome::Landed);
        assert_eq!(scene.owner(target.clone()), None);
    }
    assert_eq!(
        scene.execute(3, target.clone()),
        Outcome::Landed,
        "under the same key too"
    );
    assert_eq!(scene.owner(target), ours(3));
}
