//! Tests of playbooks as data: events in, what happens meanwhile, and what is to be true when.
//!
//! Never runs anything: [`parse`] gives the tests of a file, or every mistake in it. `docs/guide/playbook-tests.md`
//! describes the format.

mod around;

use std::ops::Range;

use ipnet::IpNet;
use staunch_model::{
    ContextTable, EvidenceKind, FailureKind, GuardName, IncidentOutcome, Mode, NoticeLevel, Process, RiskClass, Span,
    StateKind, Target, TargetFacts, Timestamp, WatchVerdict,
};

pub use around::{Around, At as Located};

use crate::diagnostic::{Diagnostic, Report};

pub use crate::schema::test_file::parse;

/// The tests of one file.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// The playbook's file, relative to this one; `None` for the one beside it.
    pub playbook: Option<At<String>>,
    /// The environment whose values its parameters have; `None` for the defaults.
    pub environment: Option<At<String>>,
    /// The tests, in their order.
    pub tests: Vec<Test>,
}

/// A value and the bytes of the file that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it is.
    pub span: Range<usize>,
}

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: At<String>,
    /// When it starts; `None` for the time of its first event.
    pub start: Option<Timestamp>,
    /// What is known and configured.
    pub context: Context,
    /// The enforcement point.
    pub world: World,
    /// What goes wrong with which request.
    pub faults: Vec<Fault>,
    /// What comes in.
    pub events: Vec<Event>,
    /// What else happens.
    pub happens: Vec<Happens>,
    /// What is to be true.
    pub expect: Vec<Expect>,
}

/// What is known and configured.
#[derive(Clone, Debug)]
pub struct Context {
    /// The share of the traffic of some targets in basis points; `None` when it is unknown.
    pub traffic: Vec<(Target, Option<u64>)>,
    /// The share of all others.
    pub traffic_of_others: Option<u64>,
    /// The processes and other targets that are not as they usually are, with what is said of them.
    pub found: Vec<(Target, Result<TargetFacts, String>)>,
    /// What is known around events.
    pub around: Around,
    /// The table of the context guard.
    pub guards: ContextTable,
    /// Networks that are never touched, and why.
    pub never_touch: Vec<(IpNet, String)>,
    /// The furthest that any playbook may go.
    pub mode: Mode,
    /// How long an approval may wait; `None` for the default.
    pub approval_expiry: Option<Span>,
    /// Limits other than the defaults.
    pub limits: Vec<(Limit, u32)>,
}

/// A limit that a test can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Acts in all in an hour.
    ActsPerHour,
    /// Acts of one kind in an hour.
    ActsPerAction,
    /// Acts in one neighbourhood in an hour.
    ActsPerGroup,
    /// Failures that open the circuit breaker.
    BreakerFailures,
}

/// The kinds of enforcement point there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldKind {
    /// Answers at once, and counts down by itself.
    Kernel,
    /// A remote API, conditional on a version.
    Api,
    /// A remote API that shows changes a while later.
    Cloud,
}

/// The enforcement point.
#[derive(Clone, Debug)]
pub struct World {
    /// Its kind.
    pub kind: WorldKind,
    /// The risk class of its driver; `None` for that of the real one.
    pub risk: Option<RiskClass>,
    /// Targets where something of somebody else is in place.
    pub foreign: Vec<Target>,
    /// How many objects it takes; `None` for more than any test needs.
    pub capacity: Option<u64>,
    /// Whether its rules are there.
    pub enforcing: bool,
    /// What the health signals say that are not healthy.
    pub signals: Vec<(At<String>, Signal)>,
}

/// What a health signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// All is well.
    Healthy,
    /// Something is hurt.
    Unhealthy,
    /// Nothing: it cannot be read.
    Unreadable,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Unreadable];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStage {
    /// The playbook has no recover phase, or no incident was opened.
    None,
    /// Nobody has started it.
    Waiting,
    /// It is under way.
    Running,
    /// Every step was taken.
    Recovered,
    /// A step failed.
    Failed,
    /// What had been lifted is contained again.
    Back,
    /// An operator stopped it.
    Stopped,
}

impl RecoveryStage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Waiting,
        Self::Running,
        Self::Recovered,
        Self::Failed,
        Self::Back,
        Self::Stopped,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Back => "back",
            Self::Stopped => "stopped",
        }
    }
}

/// What has become of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preserved {
    /// It was not asked for.
    None,
    /// It is being taken.
    Open,
    /// It is stored.
    Sealed,
    /// Containment goes on without it.
    Missed,
    /// It is stored, and containment went on without it.
    Late,
}

impl Preserved {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Open, Self::Sealed, Self::Missed, Self::Late];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Missed => "missed",
            Self::Late => "late",
        }
    }
}

/// Where in the life of an incident something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The taking of evidence.
    Preserve,
    /// The look before the act.
    PreCheck,
    /// The act.
    Execute,
    /// The look after it.
    PostCheck,
    /// A renewal.
    Renew,
    /// The undo.
    Undo,
    /// The look after an undo.
    Probe,
    /// A notice.
    Notify,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The driver says so, and nothing was done.
    Fails(FailureKind),
    /// It never arrives, and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// The driver does not know; it was not carried out.
    InDoubt,
    /// The driver does not know; it was carried out.
    InDoubtLanded,
    /// The driver says the opposite of what is so.
    Lies,
    /// The process ends when the request has left.
    Crash(Span),
    /// It is carried out, and the answer comes so much later.
    ReplyLate(Span),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The bytes of the file to point at.
    pub span: Range<usize>,
    /// With which request.
    pub at: Point,
    /// At which target; `None` for every one.
    pub of: Option<Target>,
    /// Of evidence: of which kind; `None` for every one.
    pub evidence: Option<EvidenceKind>,
    /// What.
    pub kind: FaultKind,
    /// How many requests meet it; `None` for all of them.
    pub times: Option<u32>,
}

/// Something that a source sends.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it comes.
    pub at: Span,
    /// From which source.
    pub source: At<String>,
    /// The JSON as the source sends it.
    pub json: At<String>,
}

/// Something that happens, and when.
#[derive(Clone, Debug)]
pub struct Happens {
    /// When.
    pub at: Span,
    /// What.
    pub what: What,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody else removes what is at a target.
    Removes(Target),
    /// Somebody else puts something of theirs at a target, also in the place of ours.
    Replaces(Target),
    /// Somebody else removes everything.
    RemovesAll,
    /// Somebody else removes the rules, or puts them back.
    Rules(bool),
    /// An operator approves what waits at a target.
    Approve(Target),
    /// An operator denies it.
    Deny(Target),
    /// An operator releases what is at a target.
    Release(Target),
    /// An operator renews it for so long.
    Renew(Target, Span),
    /// An operator releases everything.
    ReleaseAll,
    /// An operator starts the recovery of the incident of what is at a target.
    Recover(Target),
    /// An operator stops it.
    StopRecovery(Target),
    /// From now on health signals say this.
    Signals(Vec<(At<String>, Signal)>),
    /// An operator sets the mode.
    Mode(Mode),
    /// The process ends, and starts again after so long.
    Crash(Span),
}

/// Something that is to be true at a time.
#[derive(Clone, Debug)]
pub struct Expect {
    /// When; `None` for the end of the test.
    pub at: Option<Span>,
    /// The bytes of the file to point at.
    pub span: Range<usize>,
    /// What.
    pub claim: Claim,
}

/// Something that is to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The newest transaction at a target is in a state; `None` when there has been none.
    State(Target, Option<StateKind>),
    /// What is in place at a target.
    World(Target, InPlace),
    /// The newest transaction at a target was refused.
    Refused {
        /// Where.
        target: Target,
        /// By which guard; `None` for a refusal for any reason.
        guard: Option<GuardName>,
        /// A part of what is said.
        says: Option<String>,
    },
    /// A person was asked about a target, because of what a guard said.
    Asked {
        /// Where.
        target: Target,
        /// The guard that asks; `None` when the mode does.
        guard: Option<GuardName>,
        /// A part of what the guard says.
        says: Option<String>,
    },
    /// The targets that were acted on, in this order.
    Order(Vec<Target>),
    /// How often an act was sent.
    Acts(u64),
    /// How many incidents were opened.
    Incidents(u64),
    /// How many events joined an incident.
    Joined(u64),
    /// The newest outcome that was told.
    Outcome(IncidentOutcome),
    /// How many notices of a level there were.
    Notices(NoticeLevel, u64),
    /// A notice says this.
    Notice(String),
    /// A command was refused, and this is a part of why.
    CommandRefused(String),
    /// What has become of all evidence of a kind that the newest incident asked for.
    Evidence(EvidenceKind, Preserved),
    /// How far the newest recovery is.
    Recovery(RecoveryStage),
    /// How the newest watch of a health signal ended; `None` while it goes on.
    Watch(At<String>, Option<WatchVerdict>),
    /// No event of the test matched, and this clause of the trigger was false.
    NoMatch(String),
}

/// What is in place at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlace {
    /// Nothing.
    Absent,
    /// Something of ours.
    Ours,
    /// Something of somebody else.
    Foreign,
}

impl InPlace {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Ours => "ours",
            Self::Foreign => "foreign",
        }
    }
}

/// A mistake in a test file that only running it shows: an event that its source cannot read, a clause that the trigger
/// does not have.
#[must_use]
pub fn mistake(file: &str, text: &str, span: Range<usize>, message: &str, hint: &str) -> Vec<Diagnostic> {
    let mut report = Report::new(file, text);
    report.error_with_hint("P061", span, message, hint);
    report.finish()
}

/// What is said of a target of which a test says nothing.
pub const USUAL: &str = "as most are";

/// The process with the number `pid` on the machine of a test, where no two have had the same.
#[must_use]
pub const fn process(pid: u32) -> Process {
    Process {
        pid,
        started: 1,
        boot: 0,
    }
}
