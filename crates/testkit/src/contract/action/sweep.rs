//! What the drift sweep reads.

use staunch_model::{Outcome, TransactionId};
use staunch_ports::OwnedTarget;

use super::{Scene, execute};

pub(super) fn owned_lists_exactly_ours(scene: &mut Scene) {
    let owned = scene.ours.owned().expect("readable");
    assert_eq!((owned.targets, owned.enforcing), (vec![], true));
    if scene.world.targets_max().is_some_and(|max| max < 6) {
        return owned_lists_the_one_only_when_it_is_ours(scene);
    }
    let mut expect = Vec::new();
    let families = scene.world.families();
    for family in families.iter().copied() {
        scene.family = family;
        for transaction in 1..=3_u8 {
            let target = scene.target(transaction.into());
            assert_eq!(scene.execute(transaction.into(), target.clone()), Outcome::Landed);
            expect.push(OwnedTarget {
                transaction: TransactionId(transaction.into()),
                target,
            });
        }
        scene.world.put(scene.target(4), "somebody");
        // Looks like ours, but no program of ours writes it like this.
        let lookalike = scene.world.lookalike(scene.target(5));
        scene.world.put(scene.target(5), &lookalike);
        assert_eq!(scene.theirs.execute(&[execute(6, scene.target(6))]), [Outcome::Landed]);
    }
    expect.sort_by_key(|it| it.target.clone());
    let mut found = scene.ours.owned().expect("readable").targets;
    found.sort_by_key(|it| it.target.clone());
    assert_eq!(found, expect);
    assert_eq!(scene.theirs.owned().expect("readable").targets.len(), families.len());
}

/// The same where there is one target: one after the other.
fn owned_lists_the_one_only_when_it_is_ours(scene: &mut Scene) {
    let target = scene.target(1);
    let expect = OwnedTarget {
        transaction: TransactionId(1),
        target: target.clone(),
    };
    assert_eq!(scene.execute(1, target.clone()), Outcome::Landed);
    assert_eq!(scene.ours.owned().expect("readable").targets, [expect]);
    scene.world.remove(target.clone());
    for label in ["somebody".to_owned(), scene.world.lookalike(target.clone())] {
        scene.world.put(target.clone(), &label);
        assert_eq!(scene.ours.owned().expect("readable").targets, [], "{label}");
        scene.world.remove(target.clone());
    }
    assert_eq!(scene.theirs.execute(&[execute(6, target)]), [Outcome::Landed]);
    assert_eq!(scene.ours.owned().expect("readable").targets, []);
    assert_eq!(scene.theirs.owned().expect("readable").targets.len(), 1);
}
