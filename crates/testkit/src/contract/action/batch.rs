//! Many requests at once.

use std::iter::repeat_n;

use staunch_model::{FailureKind, Outcome, Presence, Target};
use staunch_ports::{ExecuteRequest, UndoRequest};

use super::{Scene, assert_refused, execute, ours, undo};

pub(super) fn an_empty_batch_has_no_answers(scene: &mut Scene) {
    assert!(scene.ours.observe(&[]).is_empty());
    assert!(scene.ours.execute(&[]).is_empty());
    assert!(scene.ours.undo(&[]).is_empty());
}

pub(super) fn every_request_has_its_answer_in_order(scene: &mut Scene) {
    for (round, size) in (0..).zip(scene.world.batch_sizes().iter().copied()) {
        // Somebody else has the one in the middle, and one near the end is malformed.
        let targets: Vec<Target> = (0..size).map(|it| scene.target(round * 5_000 + it)).collect();
        let (taken, malformed) = (usize::from(size / 2), usize::from(size) - 1);
        scene.world.put(targets[taken].clone(), "somebody");
        let mut requests: Vec<ExecuteRequest> = (1..).zip(&targets).map(|(id, it)| execute(id, it.clone())).collect();
        if malformed != taken {
            requests[malformed].hold = staunch_model::Span::ZERO;
        }
        let outcomes = scene.ours.execute(&requests);
        assert_eq!(outcomes.len(), requests.len());
        for (index, outcome) in outcomes.iter().enumerate() {
            match index {
                _ if index == taken => assert_refused(outcome, FailureKind::Conflict),
                _ if index == malformed => assert_refused(outcome, FailureKind::Invalid),
                _ => assert_eq!(outcome, &Outcome::Landed, "request {index} of {size}"),
            }
        }
        let seen = scene.ours.observe(&targets);
        assert_eq!(seen.len(), targets.len());
        for (index, (seen, id)) in seen.into_iter().zip(1..).enumerate() {
            let presence = seen.expect("readable").presence;
            match (index, presence) {
                (_, Presence::Absent) => assert!(index == malformed && index != taken, "{index} of {size} is absent"),
                (_, Presence::Present { owner, .. }) if index != taken => assert_eq!(Some(owner), ours(id)),
                (_, Presence::Present { owner, .. }) => {
                    assert_eq!(owner, staunch_model::Owner::Foreign("somebody".into()));
                }
            }
        }
        let undone: Vec<UndoRequest> = (1..).zip(&targets).map(|(id, it)| undo(id, it.clone())).collect();
        let landed: Vec<Outcome> = repeat_n(Outcome::Landed, targets.len()).collect();
        assert_eq!(scene.ours.undo(&undone), landed);
        assert!(scene.ours.owned().expect("readable").targets.is_empty());
        assert_eq!(scene.world.label(targets[taken].clone()).as_deref(), Some("somebody"));
    }
}

pub(super) fn one_target_twice_in_a_batch(scene: &mut Scene) {
    let (target, other) = (scene.target(1), scene.other(2));
    let mut requests = vec![
        execute(1, target.clone()),
        execute(2, target.clone()),
        execute(1, target.clone()),
    ];
    requests.extend(other.clone().map(|other| execute(3, other)));
    let outcomes = scene.ours.execute(&requests);
    assert_eq!(outcomes.len(), requests.len());
    assert_refused(&outcomes[1], FailureKind::Conflict);
    for (index, outcome) in outcomes.iter().enumerate().filter(|(index, _)| *index != 1) {
        assert_eq!(outcome, &Outcome::Landed, "request {index}");
    }
    let of_other = |scene: &mut Scene| other.clone().map(|other| scene.owner(other));
    let expected = other.clone().map(|_| ours(3));
    assert_eq!(
        (scene.owner(target.clone()), of_other(scene)),
        (ours(1), expected.clone())
    );
    let mut requests = vec![
        undo(2, target.clone()),
        undo(1, target.clone()),
        undo(1, target.clone()),
    ];
    requests.extend(other.clone().map(|other| undo(2, other)));
    assert_eq!(scene.ours.undo(&requests), vec![Outcome::Landed; requests.len()]);
    assert_eq!((scene.owner(target), of_other(scene)), (None, expected));
}
