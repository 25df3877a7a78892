//! Driver threads: each driver has one, takes what is waiting as a batch, and answers with inputs.
//!
//! A *local* driver whose thread has nothing to do can be borrowed: whoever has it carries out a small batch in place
//! and saves waking two threads. The answers take the same way.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use staunch_engine::sweep::Reading;
use staunch_model::{
    ActionKind, Facts, Failure, FailureKind, Input, Observation, Outcome, Target, Timestamp, TransactionId,
};
use staunch_ports::{Action, Clock, Enricher, ExecuteRequest, Former, UndoRequest};

use crate::telemetry::Telemetry;

/// The most requests carried out as one batch; one nf_tables batch takes as many.
const BATCH_MAX: usize = 1_000;

/// A batch carried out in place that takes longer than this ends the borrowing for [`SLOW_PAUSE`]. Some thirty times
/// what the packet filter takes for one address.
const SLOW: Duration = Duration::from_millis(1);

/// How long a driver that was slow in place works on its own thread only.
const SLOW_PAUSE: Duration = Duration::from_secs(1);

/// Why something is not done for whose action no driver is running.
pub(crate) const NO_DRIVER: &str = "no driver is running for this action";

pub(crate) type LookReply = Box<dyn FnOnce((Result<Observation, Failure>, Facts)) + Send>;

pub(crate) enum DriverRequest {
    Observe {
        transaction: TransactionId,
        ticket: u32,
        target: Target,
        traffic: bool,
    },
    Execute {
        ticket: u32,
        request: ExecuteRequest,
        send_by: Timestamp,
    },
    Undo {
        transaction: TransactionId,
        ticket: u32,
        request: UndoRequest,
    },
    Look {
        target: Target,
        traffic: bool,
        reply: LookReply,
    },
    LookAgain {
        targets: Vec<Target>,
        reply: Sender<Vec<Result<Observation, Failure>>>,
    },
    LiftFormer {
        reply: Sender<Result<u64, Failure>>,
    },
    Sweep {
        reply: Sender<Reading>,
    },
    Stop,
}

/// The running driver threads.
pub(crate) struct Drivers {
    drivers: BTreeMap<ActionKind, Driver>,
    former: Arc<Mutex<FormerByKind>>,
    outcomes: Sender<Input>,
}

/// The answer to `request` where there is no driver; `None` for what is not asked for a transaction.
fn without_driver(request: DriverRequest) -> Option<Input> {
    let failure = Failure::new(FailureKind::Unavailable, NO_DRIVER);
    match request {
        DriverRequest::Observe {
            transaction, ticket, ..
        } => Some(Input::Observed {
            transaction,
            ticket,
            result: Err(failure),
            facts: Facts::default(),
        }),
        DriverRequest::Execute { ticket, request, .. } => Some(Input::Executed {
            transaction: request.transaction,
            ticket,
            outcome: Outcome::DidNotHappen(failure),
        }),
        DriverRequest::Undo {
            transaction, ticket, ..
        } => Some(Input::Undone {
            transaction,
            ticket,
            outcome: Outcome::DidNotHappen(failure),
        }),
        DriverRequest::Look { .. }
        | DriverRequest::LookAgain { .. }
        | DriverRequest::LiftFormer { .. }
        | DriverRequest::Sweep { .. }
        | DriverRequest::Stop => None,
    }
}

/// One driver, its thread's channel, and what the thread has not carried out yet.
struct Driver {
    sender: Sender<DriverRequest>,
    waiting: Arc<AtomicUsize>,
    worker: Arc<Mutex<Worker>>,
    local: bool,
}

/// A driver that is carried out in place. Its thread waits meanwhile.
pub(crate) struct Borrowed<'a>(MutexGuard<'a, Worker>);

impl Drivers {
    /// Starts a thread for each of `actions`; their answers go to `outcomes`.
    pub(crate) fn start(
        actions: Vec<Box<dyn Action>>,
        traffic: Option<&Arc<dyn Enricher>>,
        clock: &Arc<dyn Clock>,
        outcomes: &Sender<Input>,
        telemetry: &Arc<Telemetry>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut drivers = BTreeMap::new();
        let mut threads = Vec::new();
        let former = Arc::<Mutex<FormerByKind>>::default();
        for action in actions {
            let description = action.describe();
            let (sender, requests) = unbounded();
            let worker = Arc::new(Mutex::new(Worker {
                action,
                kind: description.kind,
                traffic: traffic.cloned(),
                clock: clock.clone(),
                outcomes: outcomes.clone(),
                telemetry: telemetry.clone(),
                former: former.clone(),
                slow_at: None,
            }));
            let waiting = Arc::new(AtomicUsize::new(0));
            let driver = Driver {
                sender,
                waiting: waiting.clone(),
                worker: worker.clone(),
                local: description.local,
            };
            let name = format!("driver-{}", description.driver);
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || run(&worker, &waiting, &requests))?,
            );
            drivers.insert(description.kind, driver);
        }
        let outcomes = outcomes.clone();
        Ok((
            Self {
                drivers,
                former,
                outcomes,
            },
            threads,
        ))
    }

    /// Hands `request` to the thread of the driver of `kind`; false when there is none.
    pub(crate) fn send(&self, kind: ActionKind, request: DriverRequest) -> bool {
        self.drivers.get(&kind).is_some_and(|driver| {
            driver.waiting.fetch_add(1, Ordering::Relaxed);
            driver.sender.send(request).is_ok()
        })
    }

    /// As [`Drivers::send`], and answers itself that nothing was done when there is no driver of `kind`: nobody has to
    /// wait for a deadline to learn that.
    pub(crate) fn order(&self, kind: ActionKind, request: DriverRequest) -> bool {
        if self.drivers.contains_key(&kind) {
            return self.send(kind, request);
        }
        if let Some(answer) = without_driver(request) {
            drop(self.outcomes.send(answer));
        }
        false
    }

    /// Whether the driver of `kind` is local and its thread has carried out everything that was sent to it.
    pub(crate) fn has_time(&self, kind: ActionKind) -> bool {
        self.drivers
            .get(&kind)
            .is_some_and(|driver| driver.local && driver.waiting.load(Ordering::Acquire) == 0)
    }

    /// The driver of `kind`, to be used in place; `None` when somebody else uses it or it was slow of late.
    pub(crate) fn borrow(&self, kind: ActionKind) -> Option<Borrowed<'_>> {
        let worker = match self.drivers.get(&kind)?.worker.try_lock() {
            Ok(worker) => worker,
            Err(TryLockError::Poisoned(worker)) => worker.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let pauses = worker.slow_at.is_some_and(|at| at.elapsed() < SLOW_PAUSE);
        (!pauses).then_some(Borrowed(worker))
    }

    /// Ends every driver thread after what it was asked before. Handles to them may live on.
    pub(crate) fn stop(&self) {
        for driver in self.drivers.values() {
            // One that has ended needs no telling.
            let _ = driver.sender.send(DriverRequest::Stop);
        }
    }

    /// What other installations have left, with the kind of each.
    pub(crate) fn former(&self) -> Vec<(ActionKind, Former)> {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let of =
            |(kind, found): (&ActionKind, &Vec<Former>)| found.iter().map(|it| (*kind, it.clone())).collect::<Vec<_>>();
        former.iter().flat_map(of).collect()
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = ActionKind> {
        self.drivers.keys().copied()
    }
}

impl Borrowed<'_> {
    /// Carries out `batch` on this thread.
    pub(crate) fn carry_out(mut self, batch: &mut Vec<DriverRequest>) {
        let begun = Instant::now();
        self.0.carry_out(batch);
        self.0.slow_at = (begun.elapsed() > SLOW).then(Instant::now);
    }
}

/// The thread of a driver.
fn run(worker: &Mutex<Worker>, waiting: &AtomicUsize, requests: &Receiver<DriverRequest>) {
    let mut batch = Vec::new();
    while let Ok(first) = requests.recv() {
        batch.push(first);
        batch.extend(requests.try_iter().take(BATCH_MAX - 1));
        let stops = batch.iter().any(|request| matches!(request, DriverRequest::Stop));
        batch.retain(|request| !matches!(request, DriverRequest::Stop));
        let count = batch.len();
        worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .carry_out(&mut batch);
        // Only now: until here, something sent later must not overtake it.
        waiting.fetch_sub(count, Ordering::Release);
        if stops {
            return;
        }
    }
}

struct Worker {
    action: Box<dyn Action>,
    kind: ActionKind,
    traffic: Option<Arc<dyn Enricher>>,
    clock: Arc<dyn Clock>,
    outcomes: Sender<Input>,
    telemetry: Arc<Telemetry>,
    /// When a batch in place took too long.
    slow_at: Option<Instant>,
    former: Arc<Mutex<FormerByKind>>,
}

/// What other installations have left, as the newest sweep of each kind found it.
type FormerByKind = BTreeMap<ActionKind, Vec<Former>>;

impl Worker {
    /// Carries out `batch` verb by verb: acts, then undos, then looks. In this order, an act and the undo that was sent
    /// after its deadline end as the engine wants it, and a look sees what came before it.
    fn carry_out(&mut self, batch: &mut Vec<DriverRequest>) {
        self.telemetry.effects.add(batch.len() as u64);
        let (mut executed, mut undone, mut observed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut looks, mut looks_again) = (Vec::new(), Vec::new());
        let (mut sweeps, mut lifts) = (Vec::new(), Vec::new());
        for request in batch.drain(..) {
            match request {
                DriverRequest::Observe {
                    transaction,
                    ticket,
                    target,
                    traffic,
                } => {
                    observed.push((transaction, ticket, target, traffic));
                }
                DriverRequest::Undo {
                    transaction,
                    ticket,
                    request,
                } => undone.push((transaction, ticket, request)),
                DriverRequest::Execute {
                    ticket,
                    request,
                    send_by,
                } => {
                    if self.clock.now() < send_by {
                        executed.push((ticket, request));
                    } else {
                        // It might land after the engine has given it up and undone it.
                        let outcome = Outcome::DidNotHappen(Failure::new(
                            FailureKind::TimedOut,
                            "it waited too long for its driver, and was not sent",
                        ));
                        let transaction = request.transaction;
                        self.answer(Input::Executed {
                            transaction,
                            ticket,
                            outcome,
                        });
                    }
                }
                DriverRequest::Look { target, traffic, reply } => looks.push((target, traffic, reply)),
                DriverRequest::LookAgain { targets, reply } => looks_again.push((targets, reply)),
                DriverRequest::Sweep { reply } => sweeps.push(reply),
                DriverRequest::LiftFormer { reply } => lifts.push(reply),
                DriverRequest::Stop => {}
            }
        }
        if !executed.is_empty() {
            let requests: Vec<ExecuteRequest> = executed.iter().map(|(_, request)| request.clone()).collect();
            let mut outcomes = self.guarded(|action| action.execute(&requests)).into_iter();
            for (ticket, request) in executed {
                let outcome = outcomes.next().unwrap_or_else(|| Outcome::InDoubt(short_answer()));
                self.answer(Input::Executed {
                    transaction: request.transaction,
                    ticket,
                    outcome,
                });
            }
        }
        if !undone.is_empty() {
            let requests: Vec<UndoRequest> = undone.iter().map(|(_, _, request)| request.clone()).collect();
            let mut outcomes = self.guarded(|action| action.undo(&requests)).into_iter();
            for (transaction, ticket, _) in undone {
                let outcome = outcomes.next().unwrap_or_else(|| Outcome::InDoubt(short_answer()));
                self.answer(Input::Undone {
                    transaction,
                    ticket,
                    outcome,
                });
            }
        }
        if !observed.is_empty() {
            let targets: Vec<Target> = observed.iter().map(|(_, _, target, _)| target.clone()).collect();
            let mut results = self.observe(&targets).into_iter();
            for (transaction, ticket, target, traffic) in observed {
                let result = results.next().unwrap_or_else(|| Err(short_answer()));
                let facts = self.facts(&target, traffic);
                self.answer(Input::Observed {
                    transaction,
                    ticket,
                    result,
                    facts,
                });
            }
        }
        for (target, traffic, reply) in looks {
            let seen = self
                .observe(std::slice::from_ref(&target))
                .pop()
                .unwrap_or_else(|| Err(short_answer()));
            reply((seen, self.facts(&target, traffic)));
        }
        for (targets, reply) in looks_again {
            // Nobody waits any more when the deadline has passed.
            drop(reply.send(self.observe(&targets)));
        }
        for reply in lifts {
            let lifted =
                catch_unwind(AssertUnwindSafe(|| self.action.lift_former())).unwrap_or_else(|_| Err(panicked()));
            self.note_former();
            drop(reply.send(lifted));
        }
        for reply in sweeps {
            // Nobody waits any more when the sweep's own deadline has passed.
            drop(reply.send(self.sweep()));
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.guarded(|action| action.observe(targets))
    }

    fn sweep(&mut self) -> Reading {
        let begun = self.clock.now();
        let found = catch_unwind(AssertUnwindSafe(|| self.action.owned())).unwrap_or_else(|_| Err(panicked()));
        self.note_former();
        let mut unread = Vec::new();
        let found = found.map(|owned| {
            unread = owned.unread;
            let targets = owned.targets.into_iter();
            let targets = targets.map(|it| (it.transaction, it.target)).collect();
            (targets, owned.enforcing)
        });
        Reading {
            kind: self.kind,
            begun,
            found,
            unread,
        }
    }

    /// Keeps what other installations have left there for whoever asks, and says so when that changes.
    fn note_former(&self) {
        let found = catch_unwind(AssertUnwindSafe(|| self.action.former())).unwrap_or_default();
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let before = former.insert(self.kind, found).map_or(0, |it| it.len());
        let count = former.get(&self.kind).map_or(0, Vec::len);
        if count > before {
            tracing::warn!(
                kind = %self.kind,
                count,
                "a former installation has left containments that this one does not count: `staunch containment list` \
                 shows them, `staunch release --all --former` lifts them"
            );
        }
    }

    /// Runs a verb so that a driver that panics costs its answers, not the thread. Missing answers are in doubt.
    fn guarded<T>(&mut self, verb: impl FnOnce(&mut dyn Action) -> Vec<T>) -> Vec<T> {
        let action = self.action.as_mut();
        catch_unwind(AssertUnwindSafe(|| verb(action))).unwrap_or_else(|_| {
            tracing::error!(kind = %self.kind, "a driver panicked; its requests are in doubt");
            Vec::new()
        })
    }

    fn facts(&self, target: &Target, traffic: bool) -> Facts {
        if !traffic {
            return Facts::default();
        }
        let now = self.clock.now();
        let fact = match &self.traffic {
            Some(enricher) => {
                catch_unwind(AssertUnwindSafe(|| enricher.traffic_share(target, now))).unwrap_or_else(|_| {
                    tracing::error!(enricher = enricher.name(), "an enricher panicked; its fact is unknown");
                    staunch_model::Fact {
                        value: Err("its provider panicked".into()),
                        source: enricher.name().into(),
                        age: staunch_model::Span::ZERO,
                    }
                })
            }
            None => staunch_model::Fact {
                value: Err("no provider of traffic shares is configured".into()),
                source: "none".into(),
                age: staunch_model::Span::ZERO,
            },
        };
        Facts { traffic: Some(fact) }
    }

    fn answer(&self, input: Input) {
        // The loop outlives its drivers; when it does not, the process is ending and recovery asks again.
        drop(self.outcomes.send(input));
    }
}

fn short_answer() -> Failure {
    Failure::new(FailureKind::Unavailable, "the driver gave no answer to this request")
}

fn panicked() -> Failure {
    Failure::new(FailureKind::Unavailable, "the driver panicked")
}
