//! Faults that are put into Staunch on purpose, one at a time, to see that the invariants find them.
//!
//! Only with the feature `mutants`, which nothing but the simulator's tests turn on; without it [`is`] is a constant
//! and costs nothing.

/// A fault on purpose. Those of the engine are in its code; those of a process and of drivers are in the simulator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Effects leave before their frame is synced.
    EffectBeforeSync,
    /// Events are acknowledged before their frame is synced.
    ReplyBeforeSync,
    /// A start decides recorded inputs again instead of applying what was decided.
    RecoveryDecidesAgain,
    /// The journal takes frames of a writer that has been replaced.
    FencingIgnored,
    /// A driver sends an act however late.
    SendByIgnored,
    /// A driver replaces what somebody else has in place.
    ActIgnoresOwner,
    /// A driver removes what is in place, whoever's it is.
    UndoIgnoresOwner,
    /// An act in doubt counts as one that did not happen.
    InDoubtIsFailure,
    /// A rollback is not settled.
    NoSettle,
    /// A rollback is settled for half of the time.
    SettleTooShort,
    /// The settling time counts from the intent, as if drivers sent at once.
    SettleFromIntent,
    /// The settling time does not start again after a restart.
    RecoverySkipsSettling,
    /// A rollback that was carried out counts as verified.
    NoProbe,
    /// A release that was carried out counts as verified.
    UndoBelieved,
    /// An act that the driver reports as landed counts as in force.
    ActBelieved,
    /// A post-check does not ask whether the rules are in place.
    EnforcingIgnored,
    /// A post-check takes somebody else's object for ours.
    ForeignAccepted,
    /// Replies to older effects count.
    StaleRepliesTaken,
    /// Protected networks are acted on.
    NeverTouchIgnored,
    /// Only networks of IPv4 are protected.
    NeverTouchIpv4Only,
    /// Protected networks are looked up after the act, which is then rolled back.
    NeverTouchAfter,
    /// Networks that people have exempted are acted on.
    ExemptionIgnored,
    /// Networks that files list are acted on.
    ListIgnored,
    /// Old events are acted on.
    FreshnessIgnored,
    /// Budgets are full again after a start.
    BudgetsForgotten,
    /// The budget of a neighbourhood is not counted.
    GroupBudgetIgnored,
    /// The budget of a neighbourhood of IPv6 is that of a /64.
    GroupNarrow,
    /// Any number of actions is in flight.
    ConcurrencyIgnored,
    /// Two transactions act on one target.
    TargetShared,
    /// An act is sent again and again.
    ExecuteForEver,
    /// Leases do not end after a start.
    LeaseForgotten,
    /// A lease may be renewed for any time.
    LeaseUnbounded,
    /// A lease ends an hour later than planned.
    LeaseStretched,
    /// A renewed lease ends an hour later than asked for.
    RenewalStretched,
    /// A question to people lapses an hour later than configured.
    QuestionStretched,
    /// The enforcement point keeps an act for an hour longer than its lease by itself.
    HoldStretched,
    /// Who comes back is new after a start.
    ReturnsForgotten,
    /// Siblings are rolled back in the order of completion.
    RollbackOrder,
    /// A person's release lifts in the order of completion.
    ReleaseOrder,
    /// Siblings of a failure stay in force.
    SiblingsKept,
    /// An act that failed is sent once more although a sibling has failed meanwhile.
    SentInVain,
    /// A sibling of a failure is rolled back for itself.
    SiblingMistaken,
    /// Nobody is asked.
    ApprovalSkipped,
    /// An approval counts after it has expired.
    ApprovalOutlived,
    /// What was released ends as rolled back.
    ReleaseIsRollback,
    /// What waits for a person cannot be denied.
    DenyRefused,
    /// A command that is refused is answered as done.
    RefusalIsDone,
    /// Everything is released but one.
    ReleaseLeavesOne,
    /// A denial lets act.
    DenyApproves,
    /// Trust is answered as given, and is not.
    TrustForgotten,
    /// Trust and protections last for as long as they are asked for.
    ExemptionUnbounded,
    /// A renewal ends a lease earlier without being asked to.
    RenewalShortens,
    /// Releasing an incident lifts what others hold too.
    ReleaseTakesAll,
    /// A protection is answered as given, and is not.
    ProtectionUnrecorded,
    /// A protection that nobody gave is answered as taken back.
    UnprotectsNothing,
    /// A recovery begins while its incident is still being contained.
    RecoveryBeginsEarly,
    /// A recovery goes on although it was stopped.
    RecoveryGoesOn,
    /// Observe mode acts.
    ObserveActs,
    /// The circuit breaker never opens.
    BreakerShut,
    /// Containment does not wait for evidence.
    EvidenceIgnored,
    /// Containment does not wait for the evidence of other incidents.
    EvidenceOfOthersIgnored,
    /// Evidence is given up at the first failure.
    EvidenceGivenUp,
    /// A containment that hurts stays in force.
    WatchIgnored,
    /// A signal that was unhealthy before the act counts against it.
    BaselineIgnored,
    /// A recovery lifts in the order of completion.
    RecoveryOrder,
    /// A recovery goes on before what it lifts is verified.
    RecoveryHurries,
    /// A sweep overlooks what has vanished.
    SweepBlind,
    /// A sweep leaves orphans where they are.
    OrphansLeft,
    /// What came into force while a sweep was reading counts as vanished.
    VanishedTooSoon,
    /// What was lifted while a sweep was reading counts as nobody's.
    LiftedIsOrphan,
    /// Nobody is told of a stuck transaction.
    StuckSilently,
    /// Text of others is shown as it is.
    TextUnescaped,
    /// The engine's time goes back with the clock.
    TimeGoesBack,
    /// A lost reply is waited for without an end.
    WaitsForEver,
    /// Nobody is told that the breaker has opened.
    BreakerSilently,
    /// Nobody is told of what somebody else has removed.
    VanishedSilently,
    /// What an incident has let go of counts for how it stands.
    LetGoCounts,
    /// Only the first outcome of an incident is told.
    OutcomeOnce,
    /// What has hurt may be contained anew at once.
    HurtsAtOnce,
    /// A recovery goes on while something that it lifts is stuck.
    StuckPassedOver,
    /// A recovery lifts one, and goes on.
    RestStays,
    /// An act may stop any share of the traffic.
    ImpactIgnored,
    /// A share of the traffic that is not known counts as none.
    UnknownShareTaken,
    /// An enforcement point that is full is acted on.
    RoomIgnored,
    /// A target where somebody else's object is in place counts as free.
    OthersOverlooked,
    /// Events from the future are acted on.
    FutureTaken,
    /// Events without a time are acted on.
    TimelessTaken,
    /// Every act is of low risk.
    RiskIgnored,
    /// An internal address counts as any other.
    InternalIsOutside,
    /// Nobody is asked when there is too little risk.
    RiskMinIgnored,
    /// A person is asked however much risk there is.
    RiskAlwaysAsks,
    /// What feeds said counts after it has expired.
    SaidOutlived,
    /// Of the rows of the table that hold, the last decides.
    RowsBackwards,
    /// The rows of the table take every address for one from outside.
    InternalRowsIgnored,
    /// What feeds say of a target counts for good.
    SaidPassedOver,
    /// An act is counted twice in the budget of its kind.
    BudgetCountsTwice,
    /// An event is old after half the time that its playbook allows.
    FreshnessStrict,
    /// An enforcement point counts as full while there is room for one more.
    RoomUnderrated,
    /// Trust and protections last beyond their end.
    ProtectedTooLong,
    /// An act counts as stopping twice the traffic that it does.
    ShareOverrated,
    /// What is planned waits for its turn for a moment only.
    QueueImpatient,
    /// An act that failed is given up at once.
    ExecuteOnce,
    /// An act that ends by itself as its lease does counts as ending too early.
    FoundIsMissing,
    /// What a remote driver has done counts as not there at the first look.
    MissedAtOnce,
    /// What may act is only observed.
    ObservedInVain,
    /// A refusal counts as a failure of its siblings.
    RefusalIsFailure,
    /// Containment waits two minutes longer for evidence than its playbook says.
    DeadlineStretched,
    /// A notice is tried once.
    NoticeOnce,
    /// Of the matches of an event, only the first counts.
    MatchDropped,
    /// Of the steps of a playbook, only the first two are planned.
    StepLeftOut,
    /// Of the evidence that a playbook asks for, only the first piece is.
    EvidenceLeftOut,
    /// Every event opens an incident of its own.
    IncidentEach,
    /// An incident that did not contain takes up further events like one that did.
    AttackerShielded,
    /// What a sweep could not look at counts as vanished.
    UnreadIsGone,
    /// While a step of an incident is in force, further events join it, although another step has ended.
    StepShielded,
    /// What waits first keeps all others from starting.
    QueueStops,
    /// Budgets are those of half an hour.
    BudgetShort,
    /// A target that cannot be looked at is given up at once.
    LookOnce,
    /// An undo is tried once.
    UndoOnce,
    /// The pause between two tries of an undo doubles without an end.
    PauseUnbounded,
    /// A recovery goes on when its act has failed.
    ActPassedOver,
    /// A recovery goes on when its signal cannot be read.
    BlindIsHealthy,
    /// Of what a recovery has lifted, only one is contained again.
    BackByHalf,
    /// Nobody is told how a recovery has ended.
    RecoveryFailsSilently,
    /// A watch ends with the first healthy reading.
    WatchShort,
    /// What is in force is not watched.
    WatchNeverBegins,
    /// People are told how the best of the transactions stands.
    BestTold,
    /// The breaker goes on counting old failures when a person has set the mode.
    FailuresKept,
    /// What waits for a person goes on waiting when another step has failed.
    QuestionKept,
    /// An incident is closed while its evidence is being taken.
    ClosedEarly,
    /// Siblings are rolled back when a release is stuck.
    StuckReleaseFails,
    /// Nobody is told of evidence that an event names nothing for.
    MissedSilently,
    /// The answer to an older question about a health signal counts.
    OldReadingsTaken,
    /// A watch whose signal cannot be read at its end is given up at once.
    BlindAtOnce,
    /// Nobody is told of what is contained and protected since.
    ProtectedSilently,
    /// A recovery lifts what other incidents hold too.
    RecoveryTakesAll,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 136] = [
        Self::EffectBeforeSync,
        Self::ReplyBeforeSync,
        Self::RecoveryDecidesAgain,
        Self::FencingIgnored,
        Self::SendByIgnored,
        Self::ActIgnoresOwner,
        Self::UndoIgnoresOwner,
        Self::InDoubtIsFailure,
        Self::NoSettle,
        Self::SettleTooShort,
        Self::SettleFromIntent,
        Self::RecoverySkipsSettling,
        Self::NoProbe,
        Self::UndoBelieved,
        Self::ActBelieved,
        Self::EnforcingIgnored,
        Self::ForeignAccepted,
        Self::StaleRepliesTaken,
        Self::NeverTouchIgnored,
        Self::NeverTouchIpv4Only,
        Self::NeverTouchAfter,
        Self::ExemptionIgnored,
        Self::ListIgnored,
        Self::FreshnessIgnored,
        Self::BudgetsForgotten,
        Self::GroupBudgetIgnored,
        Self::GroupNarrow,
        Self::ConcurrencyIgnored,
        Self::TargetShared,
        Self::ExecuteForEver,
        Self::LeaseForgotten,
        Self::LeaseUnbounded,
        Self::LeaseStretched,
        Self::RenewalStretched,
        Self::QuestionStretched,
        Self::HoldStretched,
        Self::ReturnsForgotten,
        Self::RollbackOrder,
        Self::ReleaseOrder,
        Self::SiblingsKept,
        Self::SentInVain,
        Self::SiblingMistaken,
        Self::ApprovalSkipped,
        Self::ApprovalOutlived,
        Self::ReleaseIsRollback,
        Self::DenyRefused,
        Self::RefusalIsDone,
        Self::ReleaseLeavesOne,
        Self::DenyApproves,
        Self::TrustForgotten,
        Self::ExemptionUnbounded,
        Self::RenewalShortens,
        Self::ReleaseTakesAll,
        Self::ProtectionUnrecorded,
        Self::UnprotectsNothing,
        Self::RecoveryBeginsEarly,
        Self::RecoveryGoesOn,
        Self::ObserveActs,
        Self::BreakerShut,
        Self::EvidenceIgnored,
        Self::EvidenceOfOthersIgnored,
        Self::EvidenceGivenUp,
        Self::WatchIgnored,
        Self::BaselineIgnored,
        Self::RecoveryOrder,
        Self::RecoveryHurries,
        Self::SweepBlind,
        Self::OrphansLeft,
        Self::VanishedTooSoon,
        Self::LiftedIsOrphan,
        Self::StuckSilently,
        Self::TextUnescaped,
        Self::TimeGoesBack,
        Self::WaitsForEver,
        Self::BreakerSilently,
        Self::VanishedSilently,
        Self::LetGoCounts,
        Self::OutcomeOnce,
        Self::HurtsAtOnce,
        Self::StuckPassedOver,
        Self::RestStays,
        Self::ImpactIgnored,
        Self::UnknownShareTaken,
        Self::RoomIgnored,
        Self::OthersOverlooked,
        Self::FutureTaken,
        Self::TimelessTaken,
        Self::RiskIgnored,
        Self::InternalIsOutside,
        Self::RiskMinIgnored,
        Self::RiskAlwaysAsks,
        Self::SaidOutlived,
        Self::RowsBackwards,
        Self::InternalRowsIgnored,
        Self::SaidPassedOver,
        Self::BudgetCountsTwice,
        Self::FreshnessStrict,
        Self::RoomUnderrated,
        Self::ProtectedTooLong,
        Self::ShareOverrated,
        Self::QueueImpatient,
        Self::ExecuteOnce,
        Self::FoundIsMissing,
        Self::MissedAtOnce,
        Self::ObservedInVain,
        Self::RefusalIsFailure,
        Self::DeadlineStretched,
        Self::NoticeOnce,
        Self::MatchDropped,
        Self::StepLeftOut,
        Self::EvidenceLeftOut,
        Self::IncidentEach,
        Self::AttackerShielded,
        Self::UnreadIsGone,
        Self::StepShielded,
        Self::QueueStops,
        Self::BudgetShort,
        Self::LookOnce,
        Self::UndoOnce,
        Self::PauseUnbounded,
        Self::ActPassedOver,
        Self::BlindIsHealthy,
        Self::BackByHalf,
        Self::RecoveryFailsSilently,
        Self::WatchShort,
        Self::WatchNeverBegins,
        Self::BestTold,
        Self::FailuresKept,
        Self::QuestionKept,
        Self::ClosedEarly,
        Self::StuckReleaseFails,
        Self::MissedSilently,
        Self::OldReadingsTaken,
        Self::BlindAtOnce,
        Self::ProtectedSilently,
        Self::RecoveryTakesAll,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Puts `mutant` into everything that runs on this thread, or takes it out.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    /// True when `mutant` is in.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// True when `mutant` is in, which it never is in this build.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline(always)]
pub const fn is(_mutant: Mutant) -> bool {
    false
}
