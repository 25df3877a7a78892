//! Inputs, records and effects: the only ways in and out of the engine.

use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Failure, Observation, Outcome};
use crate::command::{Command, Operator};
use crate::event::Event;
use crate::evidence::{EvidenceKind, EvidenceOptions, Sealed};
use crate::health::{HealthReading, WatchOver, WatchPlan, WatchVerdict};
use crate::id::{ContentHash, EffectKey, EvidenceId, IncidentId, InstallationId, NoticeId, TransactionId, WatchId};
use crate::incident::IncidentOutcome;
use crate::listed::ListChange;
use crate::playbook::{Match, Mode};
use crate::policy::{Exemption, Policy};
use crate::recover::{RecoveryEnd, RecoveryWait};
use crate::risk::{Known, RiskTable};
use crate::surroundings::{Asset, ContextTable, EventContext, KnownAccount};
use crate::target::{Found, Target};
use crate::time::{Span, Timestamp};
use crate::transaction::{Cause, RefusalReason, StuckReason};
use crate::verdict::{Facts, Judgement};

/// Something that happened outside. One input makes one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The process started on this journal.
    Started {
        /// Whose journal it is.
        installation: InstallationId,
        /// The version of the program.
        build: Box<str>,
    },
    /// The policy that holds from here on.
    Policy(Arc<Policy>),
    /// An event matched at least one playbook.
    Event {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
    },
    /// A driver has looked at the world.
    Observed {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What it saw.
        result: Result<Observation, Failure>,
        /// What the enrichers know, when they were asked.
        facts: Facts,
    },
    /// A driver has tried to act.
    Executed {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// A driver has tried to undo.
    Undone {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// A notifier has tried to tell people.
    Notified {
        /// Which notice.
        notice: NoticeId,
        /// Whether it was taken.
        result: Result<(), Failure>,
    },
    /// The drift sweep has compared the world with the state.
    Swept(SweepFindings),
    /// An operator asks for something.
    Operator {
        /// Who.
        by: Operator,
        /// What.
        command: Command,
    },
    /// Time has passed and something is due.
    Tick,
    /// A collector has tried to preserve evidence.
    Collected {
        /// Which evidence.
        evidence: EvidenceId,
        /// What was stored.
        result: Result<Sealed, Failure>,
    },
    /// Something is wrong with this process itself, which people must be told of.
    Trouble(Box<str>),
    /// A file lists other networks than before, all of which or a part of which is here.
    Listed(Arc<ListChange>),
    /// The table of risks that holds from here on.
    Risk(Arc<RiskTable>),
    /// What feeds say of a target, for events that come after it.
    Known(Known),
    /// What a process is that the events after it name.
    Found(Found),
    /// An event matched at least one playbook, and something is kept that may know of what it names.
    EventInContext {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
        /// What was known around it: what its triggers were asked with.
        context: Arc<EventContext>,
    },
    /// The table of the context guard that holds from here on.
    ContextTable(Arc<ContextTable>),
    /// A health signal was read, or could not be.
    HealthRead {
        /// The incident whose watch asked for it.
        incident: IncidentId,
        /// For which watch.
        watch: WatchId,
        /// The reading this answers.
        ticket: u32,
        /// What it says.
        result: Result<HealthReading, Failure>,
    },
}

impl Input {
    /// The event that came, and what it matched; `None` when this is something else.
    #[must_use]
    pub fn event(&self) -> Option<(&Arc<Event>, &[Match])> {
        match self {
            Self::Event { event, matches } | Self::EventInContext { event, matches, .. } => Some((event, matches)),
            _ => None,
        }
    }

    /// An event that `matches`, with what is known around it, if anything may be.
    #[must_use]
    pub fn of_event(event: Arc<Event>, matches: Vec<Match>, context: Option<Arc<EventContext>>) -> Self {
        match context {
            Some(context) => Self::EventInContext {
                event,
                matches,
                context,
            },
            None => Self::Event { event, matches },
        }
    }
}

/// What the drift sweep found, by comparison with the engine's state. Everything in force that is not named here was
/// found in place, ours and enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFindings {
    /// The kinds whose enforcement point was read.
    pub swept: Vec<ActionKind>,
    /// The kinds whose enforcement point could not be read.
    pub failed: Vec<(ActionKind, Failure)>,
    /// Containments that are not there as they should be, and what was found instead.
    pub vanished: Vec<(TransactionId, Box<str>)>,
    /// Objects labelled as ours that no live transaction owns: the transaction on the label, and where.
    pub orphans: Vec<(TransactionId, ActionKind, Target)>,
}

impl SweepFindings {
    /// The same findings in parts of at most `max` containments and objects, to be taken one after the other.
    ///
    /// The first part, which there always is, says what was read and what could not be; the others only go on with
    /// what was found. A `max` of 0 counts as 1.
    #[must_use]
    pub fn parts(self, max: usize) -> Vec<Self> {
        let max = max.max(1);
        let mut part = Self {
            swept: self.swept,
            failed: self.failed,
            ..Self::default()
        };
        let mut parts = Vec::new();
        for vanished in self.vanished {
            if part.vanished.len() >= max {
                parts.push(std::mem::take(&mut part));
            }
            part.vanished.push(vanished);
        }
        for orphan in self.orphans {
            if part.vanished.len() + part.orphans.len() >= max {
                parts.push(std::mem::take(&mut part));
            }
            part.orphans.push(orphan);
        }
        parts.push(part);
        parts
    }
}

/// An effect that was sent: the number its reply must carry, and until when that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The effect's number within its transaction.
    pub ticket: u32,
    /// When the reply is given up.
    pub deadline: Timestamp,
}

/// A fact about one transaction. `staunch_engine::transaction::after` says which states it is legal in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The pre-check was sent.
    PreCheckStarted(Dispatch),
    /// A guard, a failed check or a person said no.
    Refused {
        /// Why.
        reason: Box<RefusalReason>,
        /// What was concluded, when it came to that.
        judgement: Option<Box<Judgement>>,
    },
    /// Observe mode: this is what would have been done.
    WouldExecute {
        /// What was concluded.
        judgement: Box<Judgement>,
    },
    /// A person was asked.
    ApprovalRequested {
        /// When the question lapses.
        expires: Timestamp,
        /// What was concluded.
        judgement: Box<Judgement>,
    },
    /// A person said yes. The pre-check is made again before the act.
    Approved {
        /// Who.
        by: Box<str>,
    },
    /// The act is about to be sent.
    ExecuteIntended {
        /// The effect.
        dispatch: Dispatch,
        /// The version of the world it is conditional on.
        version: u64,
        /// How long the enforcement point keeps it by itself: the lease plus a margin.
        hold: Span,
        /// What was concluded; `None` for a further attempt.
        judgement: Option<Box<Judgement>>,
    },
    /// The act was carried out, says the driver. The post-check is sent.
    Landed(Dispatch),
    /// The act did not work, or its outcome is unknown. The post-check is sent: query, then decide.
    Unproved {
        /// What is known.
        failure: Failure,
        /// The post-check.
        dispatch: Dispatch,
    },
    /// A check, undo or probe did not work, and is tried again at a later time.
    Postponed {
        /// Why it did not work.
        failure: Failure,
        /// When it is tried again.
        until: Timestamp,
    },
    /// The present check, undo or probe was sent again.
    Resent(Dispatch),
    /// The world is as intended.
    PostCheckPassed {
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// It is being undone.
    RollbackStarted {
        /// Why.
        cause: Box<Cause>,
        /// The undo.
        dispatch: Dispatch,
    },
    /// The undo was carried out; the next look is at this time.
    UndoLanded {
        /// When no request can be in flight any more.
        settled_at: Timestamp,
    },
    /// The look after settling found it still there, and ours.
    ProbedPresent(Dispatch),
    /// The look after settling found nothing of ours.
    ProbedAbsent,
    /// It cannot be proved clean: every undo has failed, or a record of it does not fit.
    GaveUp(Box<StuckReason>),
    /// It is being lifted.
    ReleaseStarted {
        /// Why.
        cause: Box<Cause>,
        /// The undo.
        dispatch: Dispatch,
    },
    /// The undo was carried out; a last look was sent.
    Lifted(Dispatch),
    /// Nothing of ours is left.
    ReleaseVerified,
    /// A new end is being set at the enforcement point.
    RenewStarted {
        /// The effect.
        dispatch: Dispatch,
        /// The end of the lease asked for.
        until: Timestamp,
        /// How long the enforcement point keeps it by itself.
        hold: Span,
        /// Who asked.
        by: Box<str>,
    },
    /// The new lease is in place, by what was seen.
    Renewed {
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// The new lease could not be set, or was not found in place; the old one stands.
    RenewFailed(Failure),
    /// Another incident holds it too.
    Joined(IncidentId),
    /// An incident no longer holds it.
    LetGo(IncidentId),
    /// A reply came to an effect that is not the newest.
    StaleReply {
        /// The effect it answers.
        ticket: u32,
    },
    /// The renewal was carried out, or that is not known. A look at the world was sent.
    RenewCheckStarted {
        /// What is known of a renewal whose driver did not report success.
        failure: Option<Failure>,
        /// The look.
        dispatch: Dispatch,
    },
}

/// A fact. The engine's state is the fold of all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// The process started; effects that were under way have been taken up again.
    Started {
        /// Whose journal it is.
        installation: InstallationId,
    },
    /// The policy was pinned. Its text is in the frame's input.
    PolicyPinned(Arc<Policy>),
    /// A new incident.
    IncidentOpened {
        /// Its id.
        incident: IncidentId,
        /// The playbook that answers it.
        playbook: ContentHash,
        /// Its key.
        key: Box<str>,
        /// When its event happened.
        event_time: Option<Timestamp>,
        /// Until when further events join it even though it is closed.
        absorbs_until: Timestamp,
    },
    /// A further event of an incident.
    EventJoined {
        /// Which incident.
        incident: IncidentId,
    },
    /// A new transaction.
    TransactionPlanned {
        /// Its id.
        transaction: TransactionId,
        /// Its incident.
        incident: IncidentId,
        /// The step's position in the playbook.
        step: u16,
        /// What it does.
        kind: ActionKind,
        /// What it is aimed at.
        target: Target,
        /// How long it stays in force.
        lease: Span,
        /// Its idempotency key.
        key: EffectKey,
        /// When it has waited too long for its turn.
        deadline: Timestamp,
    },
    /// A step of an incident that has nothing it could be aimed at.
    StepWithoutTarget {
        /// Which incident.
        incident: IncidentId,
        /// The step's position in the playbook.
        step: u16,
    },
    /// Something became true of a transaction.
    Transaction {
        /// Which.
        transaction: TransactionId,
        /// What.
        change: Change,
    },
    /// An object of ours that no transaction owns was found: it is taken up as a transaction and lifted.
    OrphanAdopted {
        /// The new transaction.
        transaction: TransactionId,
        /// The transaction on the object's label.
        label: TransactionId,
        /// What kind of object.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// The undo.
        dispatch: Dispatch,
    },
    /// The drift sweep read these enforcement points.
    SweepDone {
        /// Which kinds of action.
        kinds: Vec<ActionKind>,
    },
    /// The drift sweep could not read an enforcement point.
    SweepFailed {
        /// Which kind of action.
        kind: ActionKind,
        /// Why.
        failure: Failure,
    },
    /// How an incident stands after its contain phase.
    OutcomeReached {
        /// Which incident.
        incident: IncidentId,
        /// How it stands.
        outcome: IncidentOutcome,
    },
    /// Every transaction of an incident has ended.
    IncidentClosed {
        /// Which incident.
        incident: IncidentId,
        /// Until when further events join it nevertheless.
        absorbs_until: Timestamp,
    },
    /// A closed incident is no longer kept in memory.
    IncidentForgotten {
        /// Which incident.
        incident: IncidentId,
    },
    /// The circuit breaker opened: everything is demoted to observing.
    BreakerOpened {
        /// Failures counted.
        failures: u32,
    },
    /// The furthest that any playbook may go was set by a person.
    ModeSet {
        /// How far.
        mode: Mode,
    },
    /// People are to be told.
    NoticeQueued(Notice),
    /// A notice was taken.
    NoticeSent {
        /// Which.
        notice: NoticeId,
    },
    /// A notice was not taken; it is tried again at this time, or given up.
    NoticeFailed {
        /// Which.
        notice: NoticeId,
        /// When it is tried again; `None` when it is given up.
        retry_at: Option<Timestamp>,
    },
    /// A notice is sent once more.
    NoticeResent {
        /// Which.
        notice: NoticeId,
    },
    /// A command was carried out.
    CommandDone {
        /// The transactions it affected.
        affected: Vec<TransactionId>,
    },
    /// A command was refused.
    CommandRefused {
        /// Why, safe to show.
        why: Box<str>,
    },
    /// Evidence is to be preserved before its incident is contained.
    EvidencePlanned {
        /// Its id.
        evidence: EvidenceId,
        /// Its incident.
        incident: IncidentId,
        /// What it is.
        kind: EvidenceKind,
        /// Of what; `None` when it is of this machine as a whole, or when the event names nothing.
        target: Option<Target>,
        /// What the playbook says beside.
        options: EvidenceOptions,
        /// When containment waits for it no longer.
        deadline: Timestamp,
    },
    /// Evidence was not preserved; it is asked for again at this time.
    EvidencePostponed {
        /// Which.
        evidence: EvidenceId,
        /// Why.
        failure: Failure,
        /// When it is asked for again.
        until: Timestamp,
    },
    /// Evidence is asked for once more.
    EvidenceResent {
        /// Which.
        evidence: EvidenceId,
    },
    /// Evidence was stored.
    EvidenceSealed {
        /// Which.
        evidence: EvidenceId,
        /// What was stored.
        sealed: Sealed,
    },
    /// Containment goes on without a piece of evidence: it is degraded.
    EvidenceMissed {
        /// Which.
        evidence: EvidenceId,
        /// Why.
        failure: Failure,
    },
    /// A person exempted a network from containment.
    Exempted(Exemption),
    /// An exemption was taken back.
    ExemptionEnded {
        /// The network.
        network: IpNet,
    },
    /// A transaction was planned for a target that comes back, so that its lease is a longer one.
    CameBack {
        /// Which transaction.
        transaction: TransactionId,
        /// How many leases in a row the target has served.
        times: u32,
        /// When the last of them ended.
        ended: Timestamp,
    },
    /// A list of protected networks has changed.
    ListChanged(Arc<ListChange>),
    /// The table of risks was pinned.
    RiskTablePinned(Arc<RiskTable>),
    /// What feeds say of a target.
    Known(Known),
    /// What a process is.
    Found(Found),
    /// What is known around an event of an incident: of its targets, and of the account that it names.
    AroundKnown {
        /// Which incident.
        incident: IncidentId,
        /// Its targets, each with what files say of it.
        targets: Vec<(Target, Option<Asset>)>,
        /// The account that the event names.
        account: Option<KnownAccount>,
    },
    /// The table of the context guard was pinned.
    ContextTablePinned(Arc<ContextTable>),
    /// What files say of the addresses and the host that an event of an incident names.
    AssetsKnown {
        /// Which incident.
        incident: IncidentId,
        /// The assets.
        assets: Vec<Asset>,
    },
    /// A health signal is to be watched: it is read now.
    WatchPlanned {
        /// Its id.
        watch: WatchId,
        /// Its incident.
        incident: IncidentId,
        /// What it is over.
        over: WatchOver,
        /// What is watched, and for how long.
        plan: WatchPlan,
        /// When the answer is given up.
        answer_by: Timestamp,
    },
    /// A health signal was read, or could not be.
    WatchRead {
        /// The incident.
        incident: IncidentId,
        /// The watch.
        watch: WatchId,
        /// What it says.
        result: Result<HealthReading, Failure>,
        /// When it is read again; `None` while what is watched has not begun.
        next: Option<Timestamp>,
    },
    /// A health signal is read once more.
    WatchAsked {
        /// The incident.
        incident: IncidentId,
        /// The watch.
        watch: WatchId,
        /// When the answer is given up.
        answer_by: Timestamp,
    },
    /// What is watched has begun.
    WatchStarted {
        /// The incident.
        incident: IncidentId,
        /// The watch.
        watch: WatchId,
        /// Until when it is watched.
        until: Timestamp,
        /// When it is read next.
        next: Timestamp,
    },
    /// A watch has ended.
    WatchEnded {
        /// The incident.
        incident: IncidentId,
        /// The watch.
        watch: WatchId,
        /// How.
        verdict: WatchVerdict,
    },
    /// An incident has a recovery, which waits for a person to start it.
    RecoveryPlanned {
        /// The incident.
        incident: IncidentId,
        /// What its acts are aimed at, by their position among the playbook's steps.
        targets: Vec<(u16, Option<Target>)>,
    },
    /// A person has started the recovery of an incident.
    RecoveryStarted {
        /// The incident.
        incident: IncidentId,
        /// Who.
        by: Box<str>,
    },
    /// A recovery is at a step.
    RecoveryAt {
        /// The incident.
        incident: IncidentId,
        /// The step's position in the recover phase.
        at: u16,
        /// What it waits for; `None` when it has come to the step.
        waits: Option<RecoveryWait>,
    },
    /// What a recovery had lifted is contained again.
    ContainedAgain {
        /// The incident.
        incident: IncidentId,
        /// The new transaction.
        transaction: TransactionId,
    },
    /// A recovery has ended.
    RecoveryEnded {
        /// The incident.
        incident: IncidentId,
        /// How.
        end: RecoveryEnd,
    },
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Somebody should look today.
    Warning,
    /// Somebody must look at once.
    Page,
}

impl NoticeLevel {
    /// The name in playbooks' tests, in the index and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Page => "page",
        }
    }
}

/// A message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, which also tells a repeat.
    pub id: NoticeId,
    /// How urgent it is.
    pub level: NoticeLevel,
    /// The incident it is about.
    pub incident: Option<IncidentId>,
    /// The transaction it is about.
    pub transaction: Option<TransactionId>,
    /// What it says, safe to show.
    pub text: Box<str>,
}

impl Notice {
    /// Its id, how urgent it is, and what it says. Safe to show.
    #[must_use]
    pub fn words(&self) -> String {
        let text = format!("{} for people, {}: {}", self.id, self.level.name(), self.text);
        crate::Printable(&text).to_string()
    }
}

/// Why the world is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservePurpose {
    /// Before the act.
    PreCheck,
    /// After it.
    PostCheck,
    /// After an undo.
    Probe,
}

/// Something the runtime is to do. Effects come out of `apply` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at the world. Reads nothing but the world, so it may leave before its frame is durable.
    Observe {
        /// For which transaction.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What for.
        purpose: ObservePurpose,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// Whether the enrichers are to be asked for the traffic share.
        traffic: bool,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Act. Only after its frame is durable.
    Execute {
        /// For which transaction.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// The idempotency key.
        key: EffectKey,
        /// The version of the world that was judged; 0 in a renewal.
        version: u64,
        /// How long the enforcement point keeps it by itself.
        hold: Span,
        /// True when it only moves the end of a containment that is in force.
        renewal: bool,
        /// When it is too late to send it: what is sent by then has landed, or never will, by the deadline.
        send_by: Timestamp,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Undo. Only after its frame is durable.
    Undo {
        /// For which transaction: the one on the object's label.
        label: TransactionId,
        /// The transaction that is answered.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// The idempotency key.
        key: EffectKey,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Tell people. Only after its frame is durable.
    Notify(Notice),
    /// Preserve evidence. Only after its frame is durable. Asking twice stores the same or newer evidence.
    Collect {
        /// Which evidence.
        evidence: EvidenceId,
        /// The incident it belongs to.
        incident: IncidentId,
        /// What it is.
        kind: EvidenceKind,
        /// Of what; `None` when it is of this machine as a whole.
        target: Option<Target>,
        /// What the playbook says beside.
        options: EvidenceOptions,
        /// On whose authority: the name of the playbook.
        playbook: Box<str>,
        /// The hash of its text.
        playbook_hash: ContentHash,
        /// When containment waits for it no longer.
        deadline: Timestamp,
    },
    /// Read a health signal. Reads nothing but the world, so it may leave before its frame is durable.
    ReadHealth {
        /// The incident.
        incident: IncidentId,
        /// For which watch.
        watch: WatchId,
        /// The number the reply must carry.
        ticket: u32,
        /// The signal's name in the configuration.
        signal: Box<str>,
        /// When the reply is given up.
        deadline: Timestamp,
    },
}

impl Effect {
    /// True for effects that change nothing outside and may leave before their frame is durable.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Observe { .. } | Self::ReadHealth { .. })
    }
}

/// One step: an input and everything that became true by it. The unit of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What happened.
    pub input: Input,
    /// What became true.
    pub records: Vec<Record>,
}
