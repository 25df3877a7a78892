//! Runs a program of the operator's own to look, to act and to undo.
//!
//! # Expected flow
//! Run the job to look; where nothing is there, write a record of it and run it to act; look again when asked. Undo
//! runs it to look, and to take back only what carries the label of the transaction.
//!
//! # Guarantees
//! A subject is one argument or a part of one, whatever it holds, and no shell sees it. What is somebody else's is
//! neither acted on nor taken back. A job that is in force already is not run again. Every run is confined, bounded in
//! time and output, and leaves no process behind. Landed is said only for the status 0; whether it is true is for the
//! next look.
//!
//! # Assumptions
//! The job keeps the label it is given beside what it does, and gives it back when it looks. Run twice under one key it
//! achieves no more than once. What a permanent job has left in place when its lease ended carries that label for good;
//! there is no record of it for that transaction, by which the driver knows that it is nobody's to take back.
//!
//! # Caveats
//! Between the look and the act the world may move: a job that can make its change conditional finds what was seen on
//! its standard input. There is no countdown: while Staunch is not there nothing ends what a job has done. The sweep
//! asks for what this installation has a record of, so that what is left of a lost data directory is not found.
//!
//! # Errors
//! By the status, as `sysexits.h` has it: 75 `Unavailable` (tried again), 64 and 65 `Invalid`, 77 `Denied`, after which
//! nothing has happened. Any other status, a signal, the end of the time and too much output after an act are
//! `InDoubt`. A program that was never executed did not happen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use staunch_model::{
    ActionKind, Description, EffectKey, Failure, FailureKind, InstallationId, JobTarget, Observation, Outcome, Owner,
    Permissions, Presence, Printable, RiskClass, Span, Target, TransactionId, UndoClass,
};
use staunch_ports::{Action, ExecuteRequest, Owned, OwnedTarget, UndoRequest};

use super::super::{Label, hold};
use super::answer::Answer;
use super::launch::{Ended, Launch, Report};
use super::records::Records;
use super::run::{Runs, SUPERVISOR_MARGIN};
use super::{JobSpec, words};

/// Jobs that run at the same time for one batch.
const AT_ONCE_MAX: usize = 4;

/// How long a job may look: the engine waits for 5 s, and a job that is late is known to be late and not only missed.
const OBSERVE_WITHIN: Duration = Duration::from_secs(4);

/// How long a sweep may begin with runs: it is given up after 20 s.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);

/// How long the record of a job of which nothing is in place is kept, beyond what it may have under way.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// The most that is shown of what a job wrote to its standard error.
const ERRORS_BYTES_MAX: usize = 160;

/// How the driver works.
#[derive(Clone)]
pub struct ExecJobOptions {
    /// Whose acts are ours.
    pub installation: InstallationId,
    /// The directory of the records. Nobody but this driver writes in it.
    pub records: PathBuf,
    /// The jobs by their names.
    pub jobs: BTreeMap<Box<str>, JobSpec>,
}

/// The driver. It keeps nothing that a new one would not find, but for what the next sweep is to do.
pub struct ExecJob {
    options: ExecJobOptions,
    records: Records,
    runs: Arc<dyn Runs>,
    /// How many records the sweeps have looked at so far: the next one goes on behind them.
    swept: usize,
    /// The jobs of which the last sweep has found nothing in place, for the first time.
    absent: BTreeSet<Target>,
}

/// One run that is asked for.
#[derive(Serialize)]
struct Input<'a> {
    verb: &'static str,
    job: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
}

/// What a job is told of what it saw.
#[derive(Serialize)]
struct Seen {
    present: bool,
    version: u64,
}

/// For whom a job changes something.
#[derive(Clone, Copy)]
struct Change {
    transaction: TransactionId,
    key: EffectKey,
    hold: Option<Span>,
}

impl ExecJob {
    /// Makes a driver whose jobs `runs` runs.
    #[must_use]
    pub fn new(options: ExecJobOptions, runs: Arc<dyn Runs>) -> Self {
        Self {
            records: Records::new(options.records.clone()),
            options,
            runs,
            swept: 0,
            absent: BTreeSet::new(),
        }
    }

    fn spec(&self, job: &JobTarget) -> Result<&JobSpec, Failure> {
        self.options.jobs.get(job.name()).ok_or_else(|| {
            let what = format!("there is no job {} in the configuration", job.name());
            Failure::new(FailureKind::Invalid, &what)
        })
    }

    fn label(&self, transaction: TransactionId) -> Label {
        Label {
            installation: self.options.installation,
            transaction,
        }
    }

    /// How long one call may begin with runs: as long as one of them takes. A release is done only when nothing can be
    /// in flight any more, so that more would have people wait.
    fn begin_within(&self) -> Duration {
        let longest = self.options.jobs.values().map(|job| job.timeout).max();
        longest.unwrap_or_default()
    }

    fn run(&self, spec: &JobSpec, arguments: &[String], input: &Input<'_>) -> Report {
        let (transaction, key) = (input.transaction.as_deref(), input.key.as_deref());
        let values = [
            ("subject", input.subject),
            ("transaction", transaction.unwrap_or_default()),
            ("key", key.unwrap_or_default()),
            ("label", input.label.as_deref().unwrap_or_default()),
        ];
        let text = serde_json::to_string(input).unwrap_or_default();
        let timeout = match input.verb {
            "observe" => spec.timeout.min(OBSERVE_WITHIN),
            _ => spec.timeout,
        };
        self.runs.run(Launch {
            program: spec.program.clone(),
            sha256: spec.sha256.clone(),
            arguments: arguments.iter().map(|it| words::filled(it, &values)).collect(),
            input: text + "\n",
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            output_bytes_max: spec.output_bytes_max,
            confinement: spec.confinement.clone(),
        })
    }

    fn observe_one(&self, job: &JobTarget) -> Result<Observation, Failure> {
        let spec = self.spec(job)?;
        let report = self.run(
            spec,
            &spec.observe,
            &Input {
                verb: "observe",
                job: job.name(),
                subject: job.subject(),
                transaction: None,
                key: None,
                label: None,
                lease_seconds: None,
                seen: None,
            },
        );
        let failed = |kind, why: &str| failure("observe", job, kind, why, &report.errors);
        match &report.ended {
            Ended::Exited(0) => {
                let answer = Answer::read(report.output.as_bytes());
                let answer = answer.map_err(|error| failed(FailureKind::Invalid, &error.to_string()))?;
                let seen = answer.observation(self.options.installation);
                // The next time runs it again: it is part of the machine by now, and may be outdated.
                let is_left = match seen.presence {
                    Presence::Present {
                        owner: Owner::Ours(owner),
                        ..
                    } if spec.permanent => {
                        let is_of = self.records.is_of(job, owner);
                        !is_of.map_err(|error| {
                            let why = format!("whose it is cannot be told, because its record cannot be read: {error}");
                            failed(FailureKind::Unavailable, &why)
                        })?
                    }
                    _ => false,
                };
                let presence = if is_left { Presence::Absent } else { seen.presence };
                Ok(Observation { presence, ..seen })
            }
            ended => {
                let (kind, why) = told(ended);
                Err(failed(kind, &why))
            }
        }
    }

    fn change(&self, verb: &'static str, job: &JobTarget, change: Change, seen: &Observation) -> Outcome {
        let spec = match self.spec(job) {
            Ok(spec) => spec,
            Err(failure) => return Outcome::DidNotHappen(failure),
        };
        let arguments = if verb == "undo" { &spec.undo } else { &spec.execute };
        let report = self.run(
            spec,
            arguments,
            &Input {
                verb,
                job: job.name(),
                subject: job.subject(),
                transaction: Some(change.transaction.to_string()),
                key: Some(change.key.to_string()),
                label: Some(self.label(change.transaction).to_string()),
                lease_seconds: change.hold.map(|hold| hold.as_micros().div_ceil(1_000_000)),
                seen: Some(Seen {
                    present: seen.presence != Presence::Absent,
                    version: seen.version,
                }),
            },
        );
        let (kind, why) = told(&report.ended);
        let failure = failure(verb, job, kind, &why, &report.errors);
        match report.ended {
            Ended::Exited(0) => Outcome::Landed,
            Ended::Exited(64 | 65 | 75 | 77) | Ended::NotStarted(_) => Outcome::DidNotHappen(failure),
            _ => Outcome::InDoubt(failure),
        }
    }

    fn execute_one(&self, request: &ExecuteRequest) -> Outcome {
        let job = job_of(&request.target);
        let no = |kind, why: &str| Outcome::DidNotHappen(failure("execute", job, kind, why, ""));
        if let Some(failure) = hold::refused("run", &request.target, request.hold) {
            return Outcome::DidNotHappen(failure);
        }
        let seen = match self.observe_one(job) {
            Ok(seen) => seen,
            Err(failure) => return Outcome::DidNotHappen(failure),
        };
        match &seen.presence {
            Presence::Present {
                owner: Owner::Ours(transaction),
                ..
            } if *transaction == request.transaction => {
                // It has no countdown that could be moved.
                if request.renewal || seen.enforcing {
                    return Outcome::Landed;
                }
            }
            Presence::Present { owner, .. } => {
                let whose = match owner {
                    Owner::Ours(transaction) => transaction.to_string(),
                    Owner::Foreign(label) => format!("somebody else ({})", Printable(label)),
                };
                return no(FailureKind::Conflict, &format!("it is in place for {whose}"));
            }
            Presence::Absent if request.renewal => {
                return no(FailureKind::Conflict, "nothing is in place to be renewed");
            }
            Presence::Absent if request.version != 0 && seen.version != request.version => {
                let why = format!("version {} was seen, and there is {}", request.version, seen.version);
                return no(FailureKind::Conflict, &why);
            }
            Presence::Absent => {}
        }
        if let Err(error) = self.records.keep(job, request.transaction) {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Full,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
                _ => FailureKind::Unavailable,
            };
            return no(kind, &format!("no record of it can be kept: {error}"));
        }
        let change = Change {
            transaction: request.transaction,
            key: request.key,
            hold: Some(request.hold),
        };
        self.change("execute", job, change, &seen)
    }

    fn undo_one(&self, request: &UndoRequest) -> Outcome {
        let job = job_of(&request.target);
        if request.lease_ended && self.spec(job).is_ok_and(|spec| spec.permanent) {
            return self.leave(job);
        }
        let seen = match self.observe_one(job) {
            Ok(seen) => seen,
            Err(failure) => return Outcome::DidNotHappen(failure),
        };
        if is_of(&seen, request.transaction) {
            let change = Change {
                transaction: request.transaction,
                key: request.key,
                hold: None,
            };
            let outcome = self.change("undo", job, change, &seen);
            if outcome != Outcome::Landed {
                return outcome;
            }
        }
        // The record stays while anything of ours is there, whatever the job said.
        let is_gone = || self.observe_one(job).is_ok_and(|after| !is_ours(&after));
        if is_gone()
            && let Err(error) = self.records.forget(job)
        {
            // The next sweep asks for it once more, and finds nothing.
            tracing::warn!(job = %request.target, %error, "the record of a job cannot be removed");
        }
        Outcome::Landed
    }

    /// Forgets the job at `target`, of which two sweeps in a row have found nothing in place: an undo could not make
    /// sure of that. One whose act may still land is kept, and the record of a permanent job, by which it is known that
    /// what is in place is ours.
    fn forget_what_was_left(&self, target: &Target) {
        if self.spec(job_of(target)).is_ok_and(|spec| spec.permanent) {
            return;
        }
        let in_flight = self.describe().in_flight_max.to_std();
        if let Err(error) = self
            .records
            .forget_old(job_of(target), in_flight.saturating_mul(2) + KEPT_FOR)
        {
            tracing::warn!(job = %target, %error, "the record of a job cannot be removed");
        }
    }

    /// Leaves what a permanent job has put in place to the machine.
    fn leave(&self, job: &JobTarget) -> Outcome {
        match self.records.forget(job) {
            Ok(()) => {
                tracing::info!(
                    job = job.name(),
                    "the lease has ended: what the job has put in place stays"
                );
                Outcome::Landed
            }
            Err(error) => {
                let what = format!("the record of job {} cannot be removed: {error}", job.name());
                Outcome::DidNotHappen(Failure::new(FailureKind::Unavailable, &what))
            }
        }
    }

    /// Has `each` done for all of `items`, in their order, a few at once, those of one target one after the other.
    /// Those that are not begun `within` this time get `late`.
    fn spread<I: Sync, A: Send>(
        &self,
        items: &[I],
        target: impl Fn(&I) -> &Target,
        each: impl Fn(&Self, &I) -> A + Sync,
        late: impl Fn() -> A + Sync,
        within: Duration,
    ) -> Vec<A> {
        let until = Instant::now() + within;
        let mut places: BTreeMap<&Target, usize> = BTreeMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let place = *places.entry(target(item)).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(at);
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut answers = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                for &at in group {
                    let answer = if Instant::now() < until {
                        each(self, &items[at])
                    } else {
                        late()
                    };
                    answers.push((at, answer));
                }
            }
            answers
        };
        let mut answers = thread::scope(|scope| {
            let beside: Vec<_> = (1..groups.len().min(AT_ONCE_MAX)).map(|_| scope.spawn(work)).collect();
            let mut answers = work();
            for thread in beside {
                match thread.join() {
                    Ok(theirs) => answers.extend(theirs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            answers
        });
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

impl Action for ExecJob {
    fn describe(&self) -> Description {
        let jobs = self.options.jobs.values();
        // To look, to act, and what an act may leave under way.
        let longest = jobs.clone().map(|job| {
            let runs = job.timeout.min(OBSERVE_WITHIN) + job.timeout + SUPERVISOR_MARGIN.saturating_mul(2);
            runs.saturating_add(job.in_flight_max)
        });
        let in_flight_max = longest
            .max()
            .unwrap_or(SUPERVISOR_MARGIN)
            .saturating_add(self.begin_within());
        Description {
            kind: ActionKind::ExecJob,
            driver: "sandbox".into(),
            // One for all: what it is is decided before it is known which job.
            risk: jobs.map(|job| job.risk).max().unwrap_or(RiskClass::High),
            undo: UndoClass::Restores,
            cuts_established: false,
            in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
            d3fend: "D3-PA".into(),
            permissions: Permissions {
                act: "to run the program; CAP_SETUID, CAP_SETGID and CAP_KILL for another user".into(),
                check: "to run the program; CAP_SETUID, CAP_SETGID and CAP_KILL for another user".into(),
                undo: "to run the program; CAP_SETUID, CAP_SETGID and CAP_KILL for another user".into(),
            },
            local: false,
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.spread(
            targets,
            |target| target,
            |driver, target| driver.observe_one(job_of(target)),
            || Err(late()),
            self.begin_within(),
        )
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        self.spread(
            requests,
            |request| &request.target,
            Self::execute_one,
            || Outcome::DidNotHappen(late()),
            self.begin_within(),
        )
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        self.spread(
            requests,
            |request| &request.target,
            Self::undo_one,
            || Outcome::DidNotHappen(late()),
            self.begin_within(),
        )
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        let jobs = self.records.all().map_err(|error| {
            let what = format!("cannot list the records of jobs: {error}");
            Failure::new(FailureKind::Unavailable, &what)
        })?;
        let mut targets: Vec<Target> = jobs.into_iter().map(Target::Job).collect();
        // With more than there is time for, each sweep looks at others.
        let begin = self.swept.checked_rem(targets.len()).unwrap_or_default();
        targets.rotate_left(begin);
        let seen = self.spread(
            &targets,
            |target| target,
            |driver, target| driver.observe_one(job_of(target)),
            || Err(late()),
            SWEEP_WITHIN,
        );
        let mut owned = Owned {
            enforcing: true,
            ..Owned::default()
        };
        // What is not kept from here on was found, is forgotten, or has to be found absent twice anew.
        let absent = std::mem::take(&mut self.absent);
        self.swept = begin + seen.iter().filter(|it| **it != Err(late())).count();
        for (target, seen) in targets.into_iter().zip(seen) {
            match seen {
                Ok(Observation {
                    presence:
                        Presence::Present {
                            owner: Owner::Ours(transaction),
                            ..
                        },
                    enforcing: true,
                    ..
                }) => owned.targets.push(OwnedTarget { transaction, target }),
                Ok(seen) if is_ours(&seen) => {}
                Ok(_) if absent.contains(&target) => self.forget_what_was_left(&target),
                Ok(_) => drop(self.absent.insert(target)),
                // One job that does not answer says nothing of the others.
                Err(failure) => owned.unread.push((target, failure)),
            }
        }
        Ok(owned)
    }
}

/// The job of a target.
///
/// # Panics
/// When it is none, which nobody asks of an action that [`ActionKind::aims_at`] jobs.
fn job_of(target: &Target) -> &JobTarget {
    match target {
        Target::Job(job) => job,
        other => unreachable!("{other} was given to a driver that runs jobs"),
    }
}

fn is_ours(seen: &Observation) -> bool {
    matches!(
        &seen.presence,
        Presence::Present {
            owner: Owner::Ours(_),
            ..
        }
    )
}

fn is_of(seen: &Observation, transaction: TransactionId) -> bool {
    matches!(&seen.presence, Presence::Present { owner: Owner::Ours(it), .. } if *it == transaction)
}

fn late() -> Failure {
    let what = "not tried: earlier requests of the same batch took too long";
    Failure::new(FailureKind::Unavailable, what)
}

/// What the end of a run means, when it is not what was hoped for.
fn told(ended: &Ended) -> (FailureKind, String) {
    let with = |kind, why: &str| (kind, why.to_owned());
    match ended {
        Ended::Exited(64 | 65) => with(FailureKind::Invalid, "it says that what is asked is not valid"),
        Ended::Exited(75) => with(FailureKind::Unavailable, "it says to try again"),
        Ended::Exited(77) => with(FailureKind::Denied, "it says that it may not"),
        Ended::Exited(status) => (FailureKind::Unavailable, format!("it ended with status {status}")),
        Ended::Signalled(signal) => (FailureKind::Unavailable, format!("signal {signal} ended it")),
        Ended::TimedOut => with(FailureKind::TimedOut, "it took too long and was killed"),
        Ended::TooMuchOutput => with(FailureKind::Invalid, "it wrote too much and was killed"),
        Ended::OutOfMemory => with(
            FailureKind::Full,
            "it needed more memory than memory_mib_max lets it have, and was killed",
        ),
        Ended::Abandoned => with(FailureKind::Interrupted, "it was left alone and killed"),
        Ended::Unknown => with(FailureKind::Interrupted, "it ran, and how it has ended cannot be told"),
        Ended::NotStarted(why) => (FailureKind::Denied, format!("it was not started: {}", Printable(why))),
    }
}

fn failure(verb: &str, job: &JobTarget, kind: FailureKind, why: &str, errors: &str) -> Failure {
    let line = errors.lines().next_back().unwrap_or_default().trim();
    let line = staunch_model::text::clip(line, ERRORS_BYTES_MAX);
    let said = if line.is_empty() {
        String::new()
    } else {
        format!(": {}", Printable(line))
    };
    Failure::new(kind, &format!("job {} ({verb}): {why}{said}", job.name()))
}
