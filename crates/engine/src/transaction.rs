//! The life of a safety transaction: one table.
//!
//! Never judges and never touches anything but the state it is given.

use std::fmt;

use staunch_model::{Cause, Change, State, StateKind};

use crate::mutant::{Mutant, is};

/// A change that is not legal in the state it was applied to: the journal and this build disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalChange {
    /// The state.
    pub state: StateKind,
    /// The change.
    pub change: &'static str,
}

impl fmt::Display for IllegalChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a transaction that is {} cannot take the change {}",
            self.state, self.change
        )
    }
}

impl std::error::Error for IllegalChange {}

/// Returns the state after `change`. Nothing else changes the state of a transaction.
///
/// # Errors
/// [`IllegalChange`] for every pair that is not in the table.
#[rustfmt::skip]
pub fn after(state: &State, change: &Change) -> Result<State, IllegalChange> {
    use {Change as C, State as S};
    Ok(match (state, change) {
        (S::Planned,          C::PreCheckStarted(_))            => S::PreChecking,
        (S::Planned,          C::Refused { reason, .. })        => S::Refused(reason.clone()),

        (S::PreChecking,      C::Resent(_) | C::Postponed { .. }) => S::PreChecking,
        (S::PreChecking,      C::Refused { reason, .. })        => S::Refused(reason.clone()),
        (S::PreChecking,      C::WouldExecute { .. })           => S::WouldExecute,
        (S::PreChecking,      C::ApprovalRequested { .. })      => S::AwaitingApproval,
        (S::PreChecking,      C::ExecuteIntended { .. })        => S::Executing,

        (S::AwaitingApproval, C::Approved { .. })               => S::Planned,
        (S::AwaitingApproval, C::Refused { reason, .. })        => S::Refused(reason.clone()),

        (S::Executing,        C::Landed(_))                     => S::PostChecking,
        (S::Executing,        C::Unproved { .. })               => S::PostChecking,
        (S::Executing,        C::RollbackStarted { cause, .. }) => S::RollingBack(cause.clone()),
        (S::Executing,        C::ProbedAbsent) if is(Mutant::InDoubtIsFailure) => S::RolledBack(Box::new(Cause::Orphan)),

        (S::PostChecking,     C::Resent(_) | C::Postponed { .. }) => S::PostChecking,
        (S::PostChecking,     C::PostCheckPassed { .. })        => S::InForce,
        (S::PostChecking,     C::ExecuteIntended { .. })        => S::Executing,
        (S::PostChecking,     C::RollbackStarted { cause, .. }) => S::RollingBack(cause.clone()),

        (S::InForce,          C::RenewStarted { .. } | C::RenewCheckStarted { .. }) => S::InForce,
        (S::InForce,          C::Resent(_) | C::Postponed { .. }) => S::InForce,
        (S::InForce,          C::Renewed { .. } | C::RenewFailed(_)) => S::InForce,
        (S::InForce,          C::ReleaseStarted { cause, .. })  => S::Releasing(cause.clone()),
        (S::InForce,          C::RollbackStarted { cause, .. }) => S::RollingBack(cause.clone()),

        (S::Releasing(it),    C::Resent(_) | C::Postponed { .. } | C::Lifted(_) | C::ProbedPresent(_)) => S::Releasing(it.clone()),
        (S::Releasing(it),    C::ReleaseVerified) if is(Mutant::ReleaseIsRollback) => S::RolledBack(it.clone()),
        (S::Releasing(it),    C::ReleaseVerified)               => S::Released(it.clone()),
        (S::Releasing(_),     C::GaveUp(reason))                => S::Stuck(reason.clone()),

        (S::RollingBack(it),  C::Resent(_) | C::Postponed { .. }) => S::RollingBack(it.clone()),
        (S::RollingBack(it),  C::UndoLanded { .. })             => S::Settling(it.clone()),
        (S::RollingBack(_),   C::GaveUp(reason))                => S::Stuck(reason.clone()),

        (S::Settling(it),     C::Resent(_) | C::Postponed { .. }) => S::Settling(it.clone()),
        (S::Settling(it),     C::ProbedPresent(_))              => S::RollingBack(it.clone()),
        (S::Settling(it),     C::ProbedAbsent)                  => S::RolledBack(it.clone()),
        (S::Settling(_),      C::GaveUp(reason))                => S::Stuck(reason.clone()),

        (S::Stuck(_),         C::ReleaseStarted { cause, .. })  => S::Releasing(cause.clone()),

        // Given up because a record of it did not fit: see `recovery`.
        (S::Planned | S::PreChecking | S::AwaitingApproval | S::Executing | S::PostChecking | S::InForce | S::Stuck(_),
                              C::GaveUp(reason))                => S::Stuck(reason.clone()),

        (_,                   C::Joined(_) | C::LetGo(_)) if can_be_held(state.kind()) => state.clone(),
        (_,                   C::StaleReply { .. })             => state.clone(),

        (state, change) => return Err(IllegalChange { state: state.kind(), change: name(change) }),
    })
}

/// True while another incident may still hold the transaction: until it ends or is being undone.
#[must_use]
pub const fn can_be_held(state: StateKind) -> bool {
    matches!(
        state,
        StateKind::Planned
            | StateKind::PreChecking
            | StateKind::AwaitingApproval
            | StateKind::Executing
            | StateKind::PostChecking
            | StateKind::InForce
    )
}

/// True when a rolled back transaction failed, rather than having been given up for another reason.
#[must_use]
pub fn is_failure(cause: &Cause) -> bool {
    match cause {
        Cause::ExecuteFailed(_) | Cause::PostCheckFailed { .. } => true,
        Cause::LeaseEnded
        | Cause::Operator { .. }
        | Cause::Sibling(_)
        | Cause::Orphan
        | Cause::Vanished { .. }
        | Cause::Hurts { .. } => false,
    }
}

/// The name of a change in output, logs and the diagram.
#[must_use]
pub const fn name(change: &Change) -> &'static str {
    match change {
        Change::PreCheckStarted(_) => "pre-check-started",
        Change::Refused { .. } => "refused",
        Change::WouldExecute { .. } => "would-execute",
        Change::ApprovalRequested { .. } => "approval-requested",
        Change::Approved { .. } => "approved",
        Change::ExecuteIntended { .. } => "execute-intended",
        Change::Landed(_) => "landed",
        Change::Unproved { .. } => "unproved",
        Change::Postponed { .. } => "postponed",
        Change::Resent(_) => "resent",
        Change::PostCheckPassed { .. } => "post-check-passed",
        Change::RollbackStarted { .. } => "rollback-started",
        Change::UndoLanded { .. } => "undo-landed",
        Change::ProbedPresent(_) => "probed-present",
        Change::ProbedAbsent => "probed-absent",
        Change::GaveUp(_) => "gave-up",
        Change::ReleaseStarted { .. } => "release-started",
        Change::Lifted(_) => "lifted",
        Change::ReleaseVerified => "release-verified",
        Change::RenewStarted { .. } => "renew-started",
        Change::Renewed { .. } => "renewed",
        Change::RenewFailed(_) => "renew-failed",
        Change::Joined(_) => "joined",
        Change::LetGo(_) => "let-go",
        Change::StaleReply { .. } => "stale-reply",
        Change::RenewCheckStarted { .. } => "renew-check-started",
    }
}

/// The states and changes as a Mermaid state diagram, made from the table by trying every pair.
///
/// Changes that leave the state as it is are left out.
#[must_use]
pub fn diagram() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("stateDiagram-v2\n    [*] --> planned\n");
    let identifier = |state: StateKind| state.name().replace('-', "_");
    for state in StateKind::ALL.into_iter().filter(|state| state.name().contains('-')) {
        let _ = writeln!(text, "    state \"{}\" as {}", state.name(), identifier(state));
    }
    for state in samples::states() {
        for change in samples::changes() {
            if let Ok(next) = after(&state, &change)
                && next.kind() != state.kind()
            {
                let _ = writeln!(
                    text,
                    "    {} --> {}: {}",
                    identifier(state.kind()),
                    identifier(next.kind()),
                    name(&change)
                );
            }
        }
    }
    for state in StateKind::ALL
        .into_iter()
        .filter(|state| state.is_terminal() && *state != StateKind::Stuck)
    {
        let _ = writeln!(text, "    {} --> [*]", identifier(state));
    }
    text
}

/// One value of every state and change, for going through the whole table.
pub mod samples {
    use staunch_model::{
        Cause, Change, Dispatch, Failure, FailureKind, IncidentId, Judgement, Mode, RefusalReason, RiskClass, Span,
        State, StateKind, StuckReason, Timestamp,
    };

    /// One value of every state.
    #[must_use]
    pub fn states() -> Vec<State> {
        let cause = || Box::new(Cause::LeaseEnded);
        vec![
            State::Planned,
            State::PreChecking,
            State::Refused(Box::new(RefusalReason::NoTarget)),
            State::AwaitingApproval,
            State::Executing,
            State::PostChecking,
            State::InForce,
            State::Releasing(cause()),
            State::Released(cause()),
            State::RollingBack(cause()),
            State::Settling(cause()),
            State::RolledBack(cause()),
            State::Stuck(stuck()),
            State::WouldExecute,
        ]
    }

    /// One value of every change.
    #[must_use]
    pub fn changes() -> Vec<Change> {
        let dispatch = Dispatch {
            ticket: 1,
            deadline: Timestamp::EPOCH,
        };
        let time = Timestamp::EPOCH;
        let failure = || Failure::new(FailureKind::TimedOut, "no answer");
        let judgement = || {
            Box::new(Judgement {
                mode: Mode::Enforce,
                risk: RiskClass::Low,
                guards: Vec::new(),
                facts: Default::default(),
                observation: None,
            })
        };
        let cause = || Box::new(Cause::LeaseEnded);
        vec![
            Change::PreCheckStarted(dispatch),
            Change::Refused {
                reason: Box::new(RefusalReason::NoTarget),
                judgement: None,
            },
            Change::WouldExecute { judgement: judgement() },
            Change::ApprovalRequested {
                expires: time,
                judgement: judgement(),
            },
            Change::Approved { by: "ann".into() },
            Change::ExecuteIntended {
                dispatch,
                version: 0,
                hold: Span::ZERO,
                judgement: None,
            },
            Change::Landed(dispatch),
            Change::Unproved {
                failure: failure(),
                dispatch,
            },
            Change::Postponed {
                failure: failure(),
                until: time,
            },
            Change::Resent(dispatch),
            Change::PostCheckPassed { lease_until: time },
            Change::RollbackStarted {
                cause: cause(),
                dispatch,
            },
            Change::UndoLanded { settled_at: time },
            Change::ProbedPresent(dispatch),
            Change::ProbedAbsent,
            Change::GaveUp(stuck()),
            Change::ReleaseStarted {
                cause: cause(),
                dispatch,
            },
            Change::Lifted(dispatch),
            Change::ReleaseVerified,
            Change::RenewStarted {
                dispatch,
                until: time,
                hold: Span::ZERO,
                by: "ann".into(),
            },
            Change::Renewed { lease_until: time },
            Change::RenewFailed(failure()),
            Change::Joined(IncidentId(2)),
            Change::LetGo(IncidentId(2)),
            Change::StaleReply { ticket: 0 },
            Change::RenewCheckStarted {
                failure: Some(failure()),
                dispatch,
            },
        ]
    }

    fn stuck() -> Box<StuckReason> {
        let last = Failure::new(FailureKind::TimedOut, "no answer");
        Box::new(StuckReason {
            trying: StateKind::RollingBack,
            attempts: 8,
            last,
        })
    }
}
