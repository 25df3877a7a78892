//! The idempotency keys of what is sent.

use std::collections::BTreeSet;

use staunch_model::{Span, StateKind, TransactionId};

use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

/// A driver tells an attempt that is made again from a new act by its key.
#[test]
fn every_attempt_of_a_transaction_carries_the_same_key() {
    for crashes in [false, true] {
        let mut sim = Sim::usual();
        sim.faults(Verb::Execute, &[Fault::RequestLost, Fault::ReplyLost]);
        sim.faults(Verb::Undo, &[Fault::RequestLost]);
        sim.event("enforce", IP);
        sim.run(Span::from_millis(50));
        if crashes {
            sim.crash(Span::from_secs(1));
        }
        sim.run(Span::from_mins(1));
        assert_eq!(sim.kind(1), Some(StateKind::InForce));
        sim.release(1).unwrap();
        sim.run(Span::from_millis(50));
        if crashes {
            sim.crash(Span::from_secs(1));
        }
        sim.run(Span::from_mins(1));
        assert_eq!(sim.kind(1), Some(StateKind::Released));
        assert_eq!((sim.acts.len(), sim.undos.len()), (2, 2));
        let first = sim.keys[0].1;
        assert_eq!(sim.keys, [(TransactionId(1), first); 4]);

        // The same target once more, and another: each is an act of its own.
        sim.run(Span::from_mins(20));
        sim.event("enforce", IP);
        sim.event("enforce", "203.0.113.8");
        sim.run(Span::from_secs(1));
        let keys: BTreeSet<String> = sim.keys.iter().map(|(_, key)| format!("{key:?}")).collect();
        assert_eq!((sim.keys.len(), keys.len()), (6, 3), "{:?}", sim.keys);
        sim.ends_clean();
    }
}
