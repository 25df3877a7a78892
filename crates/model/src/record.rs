//! Inputs, records and effects: the only ways in and out of the engine.
//!
//! Never says what follows from what: the engine does. Variants are only added at the end, because journals hold their
//! numbers.

mod change;
mod effect;
mod input;
mod notice;

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::change::{Change, Dispatch};
pub use self::effect::{Effect, ObservePurpose};
pub use self::input::{Input, SweepFindings};
pub use self::notice::{Notice, NoticeLevel};
use crate::action::{ActionKind, Failure};
use crate::evidence::{EvidenceKind, EvidenceOptions, Sealed};
use crate::health::{HealthReading, WatchOver, WatchPlan, WatchVerdict};
use crate::id::{ContentHash, EffectKey, EvidenceId, IncidentId, InstallationId, NoticeId, TransactionId, WatchId};
use crate::incident::IncidentOutcome;
use crate::listed::ListChange;
use crate::playbook::Mode;
use crate::policy::{Exemption, Policy};
use crate::recover::{RecoveryEnd, RecoveryWait};
use crate::risk::{Known, RiskTable};
use crate::surroundings::{Asset, ContextTable, KnownAccount};
use crate::target::{Found, Target};
use crate::time::{Span, Timestamp};

/// One step: an input and everything that became true by it. The unit of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What happened.
    pub input: Input,
    /// What became true.
    pub records: Vec<Record>,
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
        options: Box<EvidenceOptions>,
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
    Known(Box<Known>),
    /// What a process is.
    Found(Found),
    /// What is known around an event of an incident: of its targets, and of the account that it names.
    AroundKnown {
        /// Which incident.
        incident: IncidentId,
        /// Its targets, each with what files say of it.
        targets: Vec<(Target, Option<Asset>)>,
        /// The account that the event names.
        account: Option<Box<KnownAccount>>,
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
