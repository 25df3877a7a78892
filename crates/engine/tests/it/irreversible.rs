//! Acts that nothing undoes: they are left to their leases, and nobody is told that they were released.

use std::sync::Arc;

use staunch_model::{
    ActionKind, Cause, Command, Found, IncidentId, Input, Record, ReleaseScope, RiskClass, StateKind, Target,
    TargetFacts, TransactionId, UndoClass,
};

use crate::build;
use crate::sim::Sim;

const MINER: &str = "pid:4242@153452.0000002a";

/// One that ends processes.
fn killing(undo: UndoClass) -> Sim {
    let mut sim = Sim::new(build::policy(|it| {
        it.drivers[0].kind = ActionKind::KillProcess;
        it.drivers[0].risk = RiskClass::Low;
        it.drivers[0].undo = undo;
        for playbook in &mut it.playbooks {
            for step in &mut Arc::make_mut(playbook).steps {
                step.action = ActionKind::KillProcess;
            }
        }
    }));
    let target: Target = MINER.parse().unwrap();
    let facts = Ok(TargetFacts {
        what: "/tmp/xmrig of user 33".into(),
        protected: None,
    });
    sim.input(Input::Found(Found { target, facts }));
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::InForce);
    sim
}

fn state(sim: &Sim) -> StateKind {
    sim.state().transactions[&TransactionId(1)].state.kind()
}

#[test]
fn nobody_releases_what_is_for_good() {
    let mut sim = killing(UndoClass::None);
    let refused = sim.command(Command::Release(ReleaseScope::Transaction(TransactionId(1))));
    let why = refused.unwrap_err();
    assert!(
        why.starts_with(&format!(
            "TX-1 cannot be undone: kill-process of {MINER} is for good; it is listed until"
        )),
        "{why}"
    );
    for scope in [ReleaseScope::All, ReleaseScope::Incident(IncidentId(1))] {
        assert_eq!(sim.command(Command::Release(scope)), Ok(vec![]), "{scope:?}");
        assert_eq!(state(&sim), StateKind::InForce);
    }
    // The same act with a way back.
    let mut sim = killing(UndoClass::Owned);
    let released = sim.command(Command::Release(ReleaseScope::Transaction(TransactionId(1))));
    assert_eq!(released, Ok(vec![TransactionId(1)]));
}

#[test]
fn it_is_listed_until_its_lease_ends() {
    let mut sim = killing(UndoClass::None);
    sim.run_until_kind(1, StateKind::Released);
    let causes: Vec<_> = sim
        .records()
        .filter_map(|record| match record {
            Record::Transaction {
                change: staunch_model::Change::ReleaseStarted { cause, .. },
                ..
            } => Some((**cause).clone()),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [Cause::LeaseEnded]);
    assert!(sim.world.elements.is_empty());
}
