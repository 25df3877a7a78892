//! What must always hold, by name. Never says how it is found out: the modules beside this one do.

use std::fmt;

use staunch_model::Span;

/// Something that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No effect without a durable intent.
    DurableIntent,
    /// Only the newest writer writes.
    OneLeader,
    /// What was acknowledged is in the journal, whatever happens.
    AcknowledgedKept,
    /// Replay gives the state that was live, and deciding again gives the same records.
    ReplayEqualsLive,
    /// Nothing of anybody else is removed or replaced.
    NoDamage,
    /// A transaction that has ended has nothing in the world, and nothing lands behind our back.
    EndIsClean,
    /// What is in force by the state is in the world.
    InForceIsThere,
    /// In force only after a look that found it, ours and enforced.
    ForceIsVerified,
    /// Ended only after a look that found nothing of ours.
    EndIsVerified,
    /// Only the reply to the newest effect moves a transaction, and only that to the newest question a watch.
    ReplyIsNewest,
    /// What is never touched is never touched.
    NeverTouch,
    /// An event that is old or comes from the future leads to no act; and one without a time to none but as its
    /// playbook says.
    EventIsFresh,
    /// An act goes only where a look found nothing of anybody else.
    TargetFree,
    /// Nothing is added to an enforcement point that is full.
    Capacity,
    /// No act stops more of the traffic than its playbook allows, and none acts when that is unknown but as its
    /// playbook says.
    Impact,
    /// What is refused, only observed or given up is so for a reason that holds.
    RefusedForReason,
    /// Acts in an hour stay within every budget.
    Budgets,
    /// Actions in flight stay within their limit.
    Concurrency,
    /// At most one transaction of a kind acts on a target, and it sends its act at most twice.
    OneAct,
    /// Leases end, and no later than was planned or asked for.
    LeasesEnd,
    /// A target that comes back is held for as long as its playbook says, and no other for longer.
    LeasesGrow,
    /// Siblings are rolled back in reverse order of completion.
    RollbackOrder,
    /// What a person releases together is lifted in reverse order of completion.
    ReleaseOrder,
    /// When a step failed, its siblings neither stay, wait nor act; and nothing is rolled back for what has not failed.
    AllOrNothing,
    /// What needs a person's approval has it, in time; and no question waits for longer than is configured.
    Approval,
    /// Each event that matches opens an incident, with the evidence and the steps of its playbook, or joins the one of
    /// its attacker; and one that did not contain does not shield its attacker.
    EventsAnswered,
    /// What is planned starts as soon as it can.
    NothingWaits,
    /// A command that can be carried out is, to all that it names, and one that cannot is refused.
    CommandsAnswered,
    /// Observe mode does nothing.
    Mode,
    /// Nothing acts after too many failures, and the breaker opens after so many only.
    Breaker,
    /// What hurts by a health signal is lifted and paged, and nothing is lifted for it without two unhealthy readings.
    /// It is not contained anew before its playbook's time. What is to be watched is, for as long as its playbook says.
    HurtIsLifted,
    /// A recovery takes its steps in order, and goes on only when one is done and verified: an act is in force, nothing
    /// of what is lifted is in force or stuck, what was completed last having been lifted first, and what was watched
    /// was healthy. What it had lifted is contained again when it is taken back.
    RecoveryOrder,
    /// Evidence is stored, or missed for a reason that counts, before its incident is contained, which waits for no
    /// longer than its playbook says; it is asked for again after a start, and before its incident is closed.
    EvidenceFirst,
    /// A person is paged for what is stuck, for what has vanished, for what is contained and protected since, for a
    /// recovery that has failed, for what cannot be read, and when the breaker opens, and told of missed evidence and
    /// of renewals that failed; and no look before an act, no undo and no notice is given up before it was tried often
    /// enough.
    StuckIsTold,
    /// Text of others is escaped wherever it is shown.
    TextIsEscaped,
    /// The state of a transaction is what its records make of it, and how an incident stands is what was told.
    StatesFollow,
    /// The engine's time never goes back.
    TimeGoesOn,
    /// Everything comes to an end when faults stop, and no pause between two tries is longer than it may be.
    EverythingEnds,
    /// The engine never panics, and never decides what its table forbids.
    NoPanic,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::DurableIntent => "durable-intent",
            Self::OneLeader => "one-leader",
            Self::AcknowledgedKept => "acknowledged-kept",
            Self::ReplayEqualsLive => "replay-equals-live",
            Self::NoDamage => "no-damage",
            Self::EndIsClean => "end-is-clean",
            Self::InForceIsThere => "in-force-is-there",
            Self::ForceIsVerified => "force-is-verified",
            Self::EndIsVerified => "end-is-verified",
            Self::ReplyIsNewest => "reply-is-newest",
            Self::NeverTouch => "never-touch",
            Self::EventIsFresh => "event-is-fresh",
            Self::TargetFree => "target-free",
            Self::Capacity => "capacity",
            Self::Impact => "impact",
            Self::RefusedForReason => "refused-for-reason",
            Self::Budgets => "budgets",
            Self::Concurrency => "concurrency",
            Self::OneAct => "one-act",
            Self::LeasesEnd => "leases-end",
            Self::LeasesGrow => "leases-grow",
            Self::RollbackOrder => "rollback-order",
            Self::ReleaseOrder => "release-order",
            Self::AllOrNothing => "all-or-nothing",
            Self::Approval => "approval",
            Self::EventsAnswered => "events-answered",
            Self::NothingWaits => "nothing-waits",
            Self::CommandsAnswered => "commands-answered",
            Self::Mode => "mode",
            Self::Breaker => "breaker",
            Self::HurtIsLifted => "hurt-is-lifted",
            Self::RecoveryOrder => "recovery-order",
            Self::EvidenceFirst => "evidence-first",
            Self::StuckIsTold => "stuck-is-told",
            Self::TextIsEscaped => "text-is-escaped",
            Self::StatesFollow => "states-follow",
            Self::TimeGoesOn => "time-goes-on",
            Self::EverythingEnds => "everything-ends",
            Self::NoPanic => "no-panic",
        };
        f.pad(name)
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub what: String,
    /// When, by true time since the beginning.
    pub at: Span,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (after {})", self.invariant, self.what, self.at)
    }
}
