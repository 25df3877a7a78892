//! An enforcement point in memory, with a log of what was asked of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use staunch_model::{
    ActionKind, Description, Failure, FailureKind, Observation, Outcome, Owner, Permissions, Presence, RiskClass, Span,
    Target, TransactionId, UndoClass,
};
use staunch_ports::{Action, ExecuteRequest, Owned, OwnedTarget, UndoRequest};

/// What the next act does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is carried out, and then the driver panics.
    ActAndPanic,
    /// It is refused.
    Refuse,
}

/// A verb of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Observe,
    Execute,
}

/// One call of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Whether a thread of the event loop made it.
    pub(crate) in_place: bool,
    pub(crate) requests: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log {
    pub(crate) observed: usize,
    pub(crate) executed: usize,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Target, TransactionId>,
    log: Log,
    calls: Vec<Call>,
    fault: Option<Fault>,
    /// Calls of this verb hang.
    hangs: Option<Verb>,
    /// A list of everything has nothing of it.
    unlisted: bool,
    /// No target can be looked at.
    blind: bool,
    /// The call that hangs.
    held: Option<Call>,
}

#[derive(Clone, Default)]
pub(crate) struct World(Arc<(Mutex<Inner>, Condvar)>);

impl World {
    pub(crate) fn driver(&self) -> impl Action + 'static {
        Driver(self.clone())
    }

    pub(crate) fn log(&self) -> Log {
        self.0.0.lock().unwrap().log
    }

    pub(crate) fn next(&self, fault: Fault) {
        self.0.0.lock().unwrap().fault = Some(fault);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.0.lock().unwrap().calls.clone()
    }

    /// Lets the next calls of `verb` hang until [`World::let_go`].
    pub(crate) fn hang(&self, verb: Verb) {
        self.0.0.lock().unwrap().hangs = Some(verb);
    }

    pub(crate) fn let_go(&self) {
        self.change(|inner| (inner.hangs, inner.held) = (None, None));
    }

    /// Waits until a call hangs, and returns it.
    pub(crate) fn wait_until_held(&self, limit: Duration) -> Call {
        let (inner, changed) = &*self.0;
        let (inner, timeout) = changed
            .wait_timeout_while(inner.lock().unwrap(), limit, |inner| inner.held.is_none())
            .unwrap();
        assert!(!timeout.timed_out(), "nothing hangs");
        inner.held.unwrap()
    }

    /// Lets lists miss all that is there, or not.
    pub(crate) fn unlist(&self, unlisted: bool) {
        self.change(|inner| inner.unlisted = unlisted);
    }

    /// Lets no target be looked at, or all again.
    pub(crate) fn blind(&self, blind: bool) {
        self.change(|inner| inner.blind = blind);
    }

    /// Somebody removes everything.
    pub(crate) fn flush(&self) {
        self.change(|inner| inner.objects.clear());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.0.lock().unwrap().objects.is_empty()
    }

    pub(crate) fn wait_until(&self, limit: Duration, condition: impl Fn(&Log) -> bool) {
        let (inner, changed) = &*self.0;
        let (_inner, timeout) = changed
            .wait_timeout_while(inner.lock().unwrap(), limit, |inner| !condition(&inner.log))
            .unwrap();
        assert!(!timeout.timed_out(), "the world was never asked");
    }

    /// Changes the world; the lock is free again when this returns, so that a panic after it poisons nothing.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }
}

struct Driver(World);

impl Driver {
    /// Notes a call, and hangs when the test says so.
    fn enter(&self, verb: Verb, requests: usize) {
        let in_place = std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("engine"));
        let call = Call {
            verb,
            in_place,
            requests,
        };
        let (inner, changed) = &*self.0.0;
        let mut inner = inner.lock().unwrap();
        inner.calls.push(call);
        if inner.hangs == Some(verb) {
            inner.held = Some(call);
            changed.notify_all();
            drop(changed.wait_while(inner, |inner| inner.hangs == Some(verb)).unwrap());
        }
    }
}

impl Action for Driver {
    fn describe(&self) -> Description {
        let nothing: Box<str> = "nothing".into();
        Description {
            kind: ActionKind::BlockIp,
            driver: "world".into(),
            risk: RiskClass::Low,
            undo: UndoClass::Owned,
            cuts_established: true,
            in_flight_max: Span::from_millis(100),
            d3fend: "D3-ITF".into(),
            permissions: Permissions {
                act: nothing.clone(),
                check: nothing.clone(),
                undo: nothing,
            },
            local: true,
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.enter(Verb::Observe, targets.len());
        self.0.change(|inner| {
            inner.log.observed += targets.len();
            let blind = inner.blind;
            let look = |target: &Target| {
                if blind {
                    return Err(Failure::new(FailureKind::Unavailable, "it is dark"));
                }
                let presence = match inner.objects.get(target) {
                    Some(label) => Presence::Present {
                        owner: Owner::Ours(*label),
                        expires_in: None,
                    },
                    None => Presence::Absent,
                };
                Ok(Observation {
                    presence,
                    enforcing: true,
                    version: 1,
                    capacity: None,
                    stopped_packets: None,
                })
            };
            targets.iter().map(look).collect()
        })
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        self.enter(Verb::Execute, requests.len());
        let fault = self.0.change(|inner| {
            if inner.fault == Some(Fault::Refuse) {
                return inner.fault.take();
            }
            for request in requests {
                inner.log.executed += 1;
                inner.objects.insert(request.target.clone(), request.transaction);
            }
            inner.fault.take()
        });
        assert_ne!(fault, Some(Fault::ActAndPanic), "the test asked for this panic");
        if fault == Some(Fault::Refuse) {
            let failure = Failure::new(FailureKind::Denied, "not permitted");
            return vec![Outcome::DidNotHappen(failure); requests.len()];
        }
        vec![Outcome::Landed; requests.len()]
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        self.0.change(|inner| {
            for request in requests {
                if inner.objects.get(&request.target) == Some(&request.transaction) {
                    inner.objects.remove(&request.target);
                }
            }
        });
        vec![Outcome::Landed; requests.len()]
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.0.change(|inner| {
            let own = |(target, transaction): (&Target, &TransactionId)| OwnedTarget {
                transaction: *transaction,
                target: target.clone(),
            };
            Ok(Owned {
                targets: inner.objects.iter().filter(|_| !inner.unlisted).map(own).collect(),
                enforcing: true,
                unread: Vec::new(),
            })
        })
    }
}
