//! Puts the parts together and starts the threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use staunch_engine::EngineState;
use staunch_engine::lists::{Changes, List};
use staunch_model::{
    ActionKind, Command, Description, Input, InstallationId, Operator, Policy, ReleaseScope, RiskTable,
};
use staunch_ports::{Action, AppendError, Clock, Enricher, Follower, Journal, Notifier};
use thiserror::Error;

use crate::drivers::Drivers;
use crate::event_loop::{EventLoop, Left, LoopError, LoopState};
use crate::handle::{Handle, Message, Recorded, Replier};
use crate::health::{HealthReaders, HealthSignals};
use crate::helpers;
use crate::notices;
use crate::preserve::Preserver;
use crate::put_back::put_back;
use crate::recovery::{RecoverError, Recovered, recover};
use crate::seat::Seat;
use crate::steady::SteadyClock;
use crate::telemetry::{LogMeter, Telemetry};

/// The outside parts.
pub struct Parts {
    /// The journal.
    pub journal: Box<dyn Journal>,
    /// The drivers, at most one for each kind of action.
    pub actions: Vec<Box<dyn Action>>,
    /// Who knows about traffic.
    pub traffic: Option<Arc<dyn Enricher>>,
    /// Who tells people.
    pub notifiers: Vec<Box<dyn Notifier>>,
    /// Who preserves evidence; without it, evidence is missed at once.
    pub preserver: Option<Preserver>,
    /// What tells whether the business is well.
    pub signals: HealthSignals,
    /// Who keeps a view of the journal. Each must have caught up with it.
    pub followers: Vec<Box<dyn Follower>>,
    /// Who is told how far the journal is durable, for the transparency log; shown with the rest of [`Telemetry`].
    pub log: Option<Arc<LogMeter>>,
    /// The machine's clock. The engine's begins at it and cannot be set.
    pub clock: Arc<dyn Clock>,
    /// The kinds of action whose enforcement point has lost what it held, because the machine was started anew: what is
    /// in force of them is put back before anything else is done.
    pub lost: Vec<ActionKind>,
    /// What was released while no server ran.
    pub released_before: Option<ReleasedBefore>,
    /// Whose journal it is.
    pub installation: InstallationId,
    /// The version of the program, for the record.
    pub build: Box<str>,
}

/// Who has released everything while no server ran: that is recorded, as a command each, before the first sweep, which
/// would otherwise find that somebody else has removed it all.
pub struct ReleasedBefore {
    /// Who, one after the other.
    pub by: Vec<Operator>,
    /// Is called once when all of it is durable in the journal, and not before.
    pub recorded: Box<dyn FnOnce() + Send>,
}

impl ReleasedBefore {
    /// Gives the commands. They are read once the loop runs, and before what is sent after them.
    fn tell(self, commands: &Sender<Message>) {
        let mut recorded = Some(self.recorded);
        let last = self.by.len().saturating_sub(1);
        let has_failed = Arc::new(AtomicBool::new(false));
        for (number, by) in self.by.into_iter().enumerate() {
            let recorded = recorded.take_if(|_| number == last);
            let has_failed = Arc::clone(&has_failed);
            let reply: Replier<Recorded> = Box::new(move |answer| match answer {
                Ok(answer) => {
                    let lifted = answer.reply.affected.len();
                    tracing::info!(lifted, "what was released without a server is recorded");
                    if let Some(recorded) = recorded.filter(|_| !has_failed.load(Ordering::Relaxed)) {
                        recorded();
                    }
                }
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "what was released without a server is not recorded");
                }
            });
            let command = Command::Release(ReleaseScope::All);
            drop(commands.send(Message::Command { by, command, reply }));
        }
    }
}

/// How the runtime behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Submissions waiting to be taken up; beyond it intake answers "try again".
    pub queue_max: usize,
    /// How long a commit waits for local reads. Default 200 us, the time of one sync.
    pub linger: Duration,
    /// Frames between two snapshots.
    pub snapshot_every: u64,
    /// How often enrichers are refreshed.
    pub refresh_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_max: 4_096,
            linger: Duration::from_micros(200),
            snapshot_every: 200_000,
            refresh_interval: Duration::from_secs(2),
        }
    }
}

/// Why Staunch could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state could not be recovered.
    #[error("cannot recover the state")]
    Recover(#[from] RecoverError),
    /// The journal does not take frames.
    #[error("cannot write to the journal")]
    Journal(#[from] AppendError),
    /// The first frame could not be written.
    #[error("cannot write the first frame")]
    FirstFrame(#[source] LoopError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

/// A running Staunch.
pub struct Runtime {
    handle: Handle,
    /// The two threads that run the loop by turns. The one with which it ended knows how.
    event_loop: [JoinHandle<Option<Result<(), LoopError>>>; 2],
    seat: Arc<Seat<Box<EventLoop>>>,
    helpers: Vec<JoinHandle<()>>,
    stop: Sender<()>,
    recovered: RecoveredReport,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredReport {
    /// Frames applied.
    pub frames: u64,
    /// How long it took.
    pub took: Duration,
    /// Transactions that had not ended.
    pub open: usize,
}

impl Runtime {
    /// Recovers the state, pins `policy` (with the drivers' own descriptions), and starts everything.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(parts: Parts, settings: Settings, policy: Policy) -> Result<Self, StartError> {
        Self::start_with(parts, settings, policy, &BTreeMap::new(), None)
    }

    /// Like [`Runtime::start`], with the networks of `lists`, by the paths of their files, and of no other list
    /// protected before anything is taken up, and `risk` as the table of risks, when there is one.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start_with(
        mut parts: Parts,
        settings: Settings,
        mut policy: Policy,
        lists: &BTreeMap<Box<str>, List>,
        risk: Option<Arc<RiskTable>>,
    ) -> Result<Self, StartError> {
        let Recovered {
            engine, frames, took, ..
        } = recover(parts.journal.as_ref())?;
        let open = engine
            .state()
            .transactions
            .values()
            .filter(|it| !it.state.kind().is_terminal())
            .count();
        let machine = parts.clock;
        let steady = Arc::new(SteadyClock::new(machine.clone(), engine.state().now));
        let clock: Arc<dyn Clock> = steady.clone();
        policy.drivers = parts
            .actions
            .iter()
            .map(|action| action.describe())
            .collect::<Vec<Description>>();
        let sweep_interval = policy.limits.sweep_interval.to_std();
        let epoch = parts.journal.open_epoch()?;
        // Nobody else writes to the journal from here on, so nobody else holds what is in force.
        let mut troubles = Vec::new();
        if !parts.lost.is_empty() {
            let mut protected = engine.clone();
            protected.step(&Input::Policy(Arc::new(policy.clone())), clock.now());
            for change in list_changes(protected.state(), lists).in_order() {
                protected.step(&Input::Listed(Arc::new(change)), clock.now());
            }
            let (before, protected) = (engine.state(), protected.state());
            troubles = put_back(before, protected, &mut parts.actions, &parts.lost, clock.now());
        }
        let telemetry = Arc::new(Telemetry::default());
        if let Some(log) = parts.log {
            // Nobody else sets it.
            let _ = telemetry.log.set(log);
        }
        let (outcome_sender, outcomes) = unbounded();
        let (inbox_sender, inbox) = bounded(settings.queue_max);
        let (command_sender, commands) = unbounded();
        let (stop, stopped): (Sender<()>, Receiver<()>) = bounded(0);
        let (drivers, driver_threads) = Drivers::start(
            parts.actions,
            parts.traffic.as_ref(),
            &clock,
            &outcome_sender,
            &telemetry,
        )?;
        let drivers = Arc::new(drivers);
        let mut threads = driver_threads;
        let preserver = parts.preserver.unwrap_or_else(Preserver::nobody);
        preserver.connect(outcome_sender.clone(), parts.installation);
        let (health, readers) = HealthReaders::start(parts.signals, &outcome_sender)?;
        threads.extend(readers);
        let (notices, notifiers) = notices::start(parts.notifiers, outcome_sender)?;
        threads.extend(notifiers);
        let mut followers = Vec::with_capacity(parts.followers.len());
        for part in parts.followers {
            let (feed, thread) = helpers::follower(part, telemetry.clone(), sweep_interval)?;
            followers.push(feed);
            threads.push(thread);
        }
        if let Some(enricher) = parts.traffic {
            // The first event must not find the traffic unknown only because nobody has looked yet.
            enricher.refresh(clock.now());
            let clock = clock.clone();
            threads.push(helpers::refresher(
                enricher,
                clock,
                settings.refresh_interval,
                stopped.clone(),
            )?);
        }
        let mut event_loop = Box::new(EventLoop {
            engine,
            journal: parts.journal,
            epoch,
            clock: clock.clone(),
            inbox,
            commands,
            outcomes,
            drivers: drivers.clone(),
            notices,
            preserver,
            health,
            followers,
            telemetry: telemetry.clone(),
            linger: settings.linger,
            snapshot_every: settings.snapshot_every,
            state: LoopState::after(frames),
        });
        // The policy comes first, so that what is taken up again knows its drivers.
        if event_loop.engine.state().policy.as_deref() != Some(&policy) {
            event_loop
                .take_first(Input::Policy(Arc::new(policy)))
                .map_err(StartError::FirstFrame)?;
        }
        for change in list_changes(event_loop.engine.state(), lists).in_order() {
            event_loop
                .take_first(Input::Listed(Arc::new(change)))
                .map_err(StartError::FirstFrame)?;
        }
        if let Some(table) = risk.filter(|it| event_loop.engine.state().risk_table.as_ref() != Some(it)) {
            event_loop
                .take_first(Input::Risk(table))
                .map_err(StartError::FirstFrame)?;
        }
        let started = Input::Started {
            installation: parts.installation,
            build: parts.build,
        };
        event_loop.take_first(started).map_err(StartError::FirstFrame)?;
        for what in troubles {
            event_loop
                .take_first(Input::Trouble(what.into()))
                .map_err(StartError::FirstFrame)?;
        }
        let seat = Arc::new(Seat::new());
        let watching = engine_thread("engine-2", &seat, None)?;
        let event_loop = [engine_thread("engine-1", &seat, Some(event_loop))?, watching];
        if let Some(before) = parts.released_before {
            before.tell(&command_sender);
        }
        threads.push(helpers::sweeper(
            drivers.clone(),
            steady,
            command_sender.clone(),
            sweep_interval,
            stopped,
        )?);
        let handle = Handle {
            inbox: inbox_sender,
            commands: command_sender,
            drivers,
            clock,
            machine,
            telemetry,
        };
        let recovered = RecoveredReport { frames, took, open };
        Ok(Self {
            handle,
            event_loop,
            seat,
            helpers: threads,
            stop,
            recovered,
        })
    }

    /// The way in.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What recovery found.
    #[must_use]
    pub fn recovered(&self) -> RecoveredReport {
        self.recovered
    }

    /// True when the loop has ended on its own: the process must exit.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.event_loop.iter().any(JoinHandle::is_finished)
    }

    /// Stops taking events, lets actions in flight end within a deadline, writes a snapshot and stops.
    ///
    /// # Errors
    /// [`LoopError`] when the loop had ended on its own.
    ///
    /// # Panics
    /// When the loop panicked.
    pub fn stop(self) -> Result<(), LoopError> {
        drop(self.handle.commands.send(Message::Stop));
        self.seat.wait_until_ended();
        drop(self.stop);
        self.handle.drivers.stop();
        let mut result = Ok(());
        for thread in self.event_loop {
            match thread.join() {
                Ok(None) => {}
                Ok(Some(ended)) => result = ended,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        for helper in self.helpers {
            // A helper that panicked has been logged by its own thread; the state is safe in the journal.
            drop(helper.join());
        }
        result
    }
}

/// What makes the lists of `state` those of `lists`.
fn list_changes(state: &EngineState, lists: &BTreeMap<Box<str>, List>) -> Changes {
    let mut all = Changes::default();
    for (path, list) in lists {
        all.add(path, state.lists.get(path), Some(list));
    }
    for (path, list) in state.lists.iter().filter(|(path, _)| !lists.contains_key(*path)) {
        all.add(path, Some(list), None);
    }
    all
}

/// Starts one of the threads that run the loop: at once when it is given `event_loop`, otherwise when it has to be
/// taken over.
fn engine_thread(
    name: &str,
    seat: &Arc<Seat<Box<EventLoop>>>,
    event_loop: Option<Box<EventLoop>>,
) -> std::io::Result<JoinHandle<Option<Result<(), LoopError>>>> {
    /// Ends the other thread when this one ends, also by a panic.
    struct End(Arc<Seat<Box<EventLoop>>>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let end = End(seat.clone());
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let mut next = event_loop;
        loop {
            let event_loop = match next.take() {
                Some(it) => it,
                None => {
                    let taken_over = end.0.watch()?;
                    // After some milliseconds already: nothing is wrong with that, and nothing is to be done.
                    tracing::debug!("a driver held up the event loop; another thread goes on with it");
                    taken_over
                }
            };
            if let Left::Ended(result) = event_loop.run(&end.0) {
                return Some(result);
            }
        }
    })
}
