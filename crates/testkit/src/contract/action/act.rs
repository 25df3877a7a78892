//! Observing and executing.

use staunch_model::{FailureKind, Outcome, Owner, Presence};

use super::{Scene, assert_refused, execute, ours};

pub(super) fn describing_is_static_and_complete(scene: &mut Scene) {
    let before = scene.ours.describe();
    assert_eq!(scene.execute(1, scene.target(1)), Outcome::Landed);
    assert_eq!(scene.ours.describe(), before);
    let permissions = &before.permissions;
    for text in [
        &before.driver,
        &before.d3fend,
        &permissions.act,
        &permissions.check,
        &permissions.undo,
    ] {
        assert!(!text.is_empty(), "{before:?}");
    }
    assert!(before.in_flight_max.as_micros() > 0);
}

pub(super) fn observing_only_reads(scene: &mut Scene) {
    let (free, other) = (scene.target(1), scene.other(2));
    if let Some(other) = &other {
        scene.world.put(other.clone(), "somebody");
    }
    let first = scene.see(free.clone());
    assert_eq!((&first.presence, first.enforcing), (&Presence::Absent, true));
    assert_eq!(
        scene.see(free.clone()),
        first,
        "looking changes nothing, not even the version"
    );
    assert_eq!(scene.world.label(free.clone()), None);
    let foreign = other.unwrap_or_else(|| {
        scene.world.put(free.clone(), "somebody");
        free
    });
    assert_eq!(scene.owner(foreign.clone()), Some(Owner::Foreign("somebody".into())));
    assert_eq!(scene.world.label(foreign).as_deref(), Some("somebody"));
    assert!(scene.ours.observe(&[]).is_empty());
}

pub(super) fn executing_lands_and_is_seen(scene: &mut Scene) {
    let target = scene.target(1);
    let before = scene.see(target.clone());
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    let after = scene.see(target.clone());
    assert!(matches!(after.presence, Presence::Present { .. }), "{after:?}");
    assert_eq!(scene.owner(target.clone()), ours(1));
    assert!(after.enforcing);
    assert!(
        after.version == 0 || after.version != before.version,
        "a change makes a new version"
    );
    if let (Some(before), Some(after)) = (before.capacity, after.capacity) {
        assert_eq!((after.used, after.max), (before.used + 1, before.max));
    }
    assert!(scene.world.label(target).is_some(), "the witness sees it too");
}

pub(super) fn executing_twice_is_executing_once(scene: &mut Scene) {
    let target = scene.target(1);
    let request = execute(1, target.clone());
    for _ in 0..3 {
        assert_eq!(scene.request(request.clone()), Outcome::Landed);
    }
    assert_eq!(scene.owner(target.clone()), ours(1));
    assert_eq!(scene.ours.owned().expect("readable").targets.len(), 1);
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.world.label(target), None, "one undo takes back all of it");
}

pub(super) fn what_came_in_between_is_a_conflict_and_untouched(scene: &mut Scene) {
    let target = scene.target(1);
    let seen = scene.see(target.clone());
    assert_eq!(seen.presence, Presence::Absent);
    scene.world.put(target.clone(), "somebody");
    let request = staunch_ports::ExecuteRequest {
        version: seen.version,
        ..execute(1, target.clone())
    };
    let outcome = scene.request(request);
    assert_refused(&outcome, FailureKind::Conflict);
    assert!(format!("{outcome:?}").contains("somebody"), "it is named: {outcome:?}");
    assert_eq!(scene.world.label(target.clone()).as_deref(), Some("somebody"));
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.world.label(target).as_deref(), Some("somebody"));
}

pub(super) fn another_installation_is_foreign(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.theirs.execute(&[execute(1, target.clone())]), [Outcome::Landed]);
    assert!(
        matches!(scene.owner(target.clone()), Some(Owner::Foreign(_))),
        "even with the same transaction"
    );
    assert_refused(&scene.execute(1, target.clone()), FailureKind::Conflict);
    let label = scene.world.label(target.clone());
    assert_eq!(scene.undo(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.world.label(target), label);
}

pub(super) fn another_transaction_is_a_conflict(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    let outcome = scene.execute(2, target.clone());
    assert_refused(&outcome, FailureKind::Conflict);
    assert!(format!("{outcome:?}").contains("TX-1"), "it is named: {outcome:?}");
    assert_eq!(scene.owner(target), ours(1));
}

pub(super) fn an_object_removed_behind_our_back_is_seen_and_can_come_back(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    scene.world.remove(target.clone());
    assert_eq!(scene.owner(target.clone()), None);
    assert!(scene.ours.owned().expect("readable").targets.is_empty());
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.owner(target), ours(1));
}

pub(super) fn enforcement_is_reported_and_made_again(scene: &mut Scene) {
    let (target, other) = (scene.target(1), scene.other(2));
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    scene.world.break_enforcement();
    assert!(!scene.see(target.clone()).enforcing);
    let owned = scene.ours.owned().expect("readable");
    if scene.world.enforces_each() {
        // It says nothing of the others, so that it is left out.
        assert_eq!((owned.targets.len(), owned.enforcing), (0, true));
    } else {
        assert!(!owned.enforcing);
    }
    assert_eq!(scene.owner(target.clone()), ours(1), "the object itself is still there");
    scene.world.restore_enforcement();
    assert!(scene.see(target.clone()).enforcing);
    let owned = scene.ours.owned().expect("readable");
    assert_eq!((owned.targets.len(), owned.enforcing), (1, true));
    scene.world.break_enforcement();
    let (transaction, acted_on) = other.map_or((1, target), |other| (2, other));
    assert_eq!(scene.execute(transaction, acted_on.clone()), Outcome::Landed);
    assert!(scene.see(acted_on).enforcing, "an act that says it landed is enforced");
}

pub(super) fn after_everything_is_flushed_executing_works(scene: &mut Scene) {
    let target = scene.target(1);
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    scene.world.flush();
    let seen = scene.see(target.clone());
    let enforcing = scene.world.enforces_each();
    assert_eq!((seen.presence, seen.enforcing), (Presence::Absent, enforcing));
    let owned = scene.ours.owned().expect("readable");
    assert_eq!((owned.targets.len(), owned.enforcing), (0, enforcing));
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.owner(target.clone()), ours(1));
    assert!(scene.see(target).enforcing);
}
