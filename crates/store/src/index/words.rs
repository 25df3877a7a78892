//! What a change means for a row of the index, and how it is put into words.
//!
//! The table of states is the engine's; this is a copy that is proved against it by a test, because a store may not
//! import the engine.

use staunch_model::{Asset, Cause, Change, Command, KnownAccount, Operator, Printable, Record, StateKind, Target};

/// The state of a transaction that was `state` after `change`, which the engine has found legal.
#[must_use]
pub fn state_after(state: StateKind, change: &Change) -> StateKind {
    match next(change) {
        Next::Becomes(next) => next,
        Next::Stays => state,
        Next::BackToUndo if state == StateKind::Settling => StateKind::RollingBack,
        Next::BackToUndo => state,
    }
}

/// What a change does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It becomes this one.
    Becomes(StateKind),
    /// It stays as it is.
    Stays,
    /// What was settling is rolled back again; everything else stays as it is.
    BackToUndo,
}

#[rustfmt::skip]
pub(super) const fn next(change: &Change) -> Next {
    use Change as C;
    match change {
        C::PreCheckStarted(_)                 => Next::Becomes(StateKind::PreChecking),
        C::Refused { .. }                     => Next::Becomes(StateKind::Refused),
        C::WouldExecute { .. }                => Next::Becomes(StateKind::WouldExecute),
        C::ApprovalRequested { .. }           => Next::Becomes(StateKind::AwaitingApproval),
        C::Approved { .. }                    => Next::Becomes(StateKind::Planned),
        C::ExecuteIntended { .. }             => Next::Becomes(StateKind::Executing),
        C::Landed(_) | C::Unproved { .. }     => Next::Becomes(StateKind::PostChecking),
        C::PostCheckPassed { .. }             => Next::Becomes(StateKind::InForce),
        C::RollbackStarted { .. }             => Next::Becomes(StateKind::RollingBack),
        C::UndoLanded { .. }                  => Next::Becomes(StateKind::Settling),
        C::ProbedAbsent                       => Next::Becomes(StateKind::RolledBack),
        C::GaveUp(_)                          => Next::Becomes(StateKind::Stuck),
        C::ReleaseStarted { .. }              => Next::Becomes(StateKind::Releasing),
        C::ReleaseVerified                    => Next::Becomes(StateKind::Released),
        C::ProbedPresent(_)                   => Next::BackToUndo,
        C::Postponed { .. } | C::Resent(_) | C::Lifted(_)
        | C::RenewStarted { .. } | C::RenewCheckStarted { .. } | C::Renewed { .. } | C::RenewFailed(_)
        | C::Joined(_) | C::LetGo(_) | C::StaleReply { .. } => Next::Stays,
    }
}

/// Why a transaction is in the state that `change` brought it into; `None` when `change` says nothing about it.
#[must_use]
pub fn reason(change: &Change) -> Option<String> {
    match change {
        Change::Refused { reason, .. } => Some(reason.to_string()),
        Change::RollbackStarted { cause, .. } | Change::ReleaseStarted { cause, .. } => Some(cause.to_string()),
        Change::GaveUp(stuck) => Some(stuck.to_string()),
        _ => None,
    }
}

/// Whether `change` begins to lift what hurts the business.
pub(super) fn hurts(change: &Change) -> bool {
    let (Change::RollbackStarted { cause, .. } | Change::ReleaseStarted { cause, .. }) = change else {
        return false;
    };
    matches!(**cause, Cause::Hurts { .. })
}

/// Who asked for what, why, and what became of it when it was refused. Safe to show.
pub(super) fn command(by: &Operator, command: &Command, answer: &Record) -> String {
    let refused = match answer {
        Record::CommandRefused { why } => Some(&**why),
        _ => None,
    };
    asked(&by.name, &by.from, &command.to_string(), &by.reason, refused)
}

/// The same, of what a row holds.
pub(super) fn asked(by: &str, from: &str, what: &str, reason: &str, refused: Option<&str>) -> String {
    let mut text = format!("{by} from {from}: {what}");
    if !reason.is_empty() {
        text.push_str(&format!(", because {reason}"));
    }
    if let Some(why) = refused {
        text.push_str(&format!("; REFUSED: {why}"));
    }
    Printable(&text).to_string()
}

/// `change` in a few words, safe to show.
pub(super) fn what(change: &Change) -> String {
    let text = match change {
        Change::PreCheckStarted(_) => return "pre-check started".to_owned(),
        Change::Landed(_) => return "act carried out, says the driver; post-check started".to_owned(),
        Change::Resent(_) => return "sent again".to_owned(),
        Change::ExecuteIntended { judgement: Some(_), .. } => return "act sent".to_owned(),
        Change::ExecuteIntended { judgement: None, .. } => return "act sent again".to_owned(),
        Change::WouldExecute { .. } => return "observe mode: it would have acted".to_owned(),
        Change::ProbedPresent(_) => return "still in place: undo sent again".to_owned(),
        Change::ProbedAbsent => return "nothing of ours is left: rolled back".to_owned(),
        Change::Lifted(_) => return "undo carried out: a last look was sent".to_owned(),
        Change::ReleaseVerified => return "nothing of ours is left: released".to_owned(),
        Change::StaleReply { .. } => return "a late reply was passed over".to_owned(),
        Change::PostCheckPassed { lease_until } => return format!("verified: in force until {lease_until}"),
        Change::ApprovalRequested { expires, .. } => return format!("a person is asked, until {expires}"),
        Change::UndoLanded { settled_at } => return format!("undo carried out: looked at again at {settled_at}"),
        Change::Renewed { lease_until } => return format!("renewed until {lease_until}"),
        Change::Joined(incident) => return format!("joined by {incident}"),
        Change::LetGo(incident) => return format!("let go of by {incident}"),
        Change::Refused { reason, .. } => format!("refused: {reason}"),
        Change::Approved { by } => format!("approved by {by}"),
        Change::Unproved { failure, .. } => format!("it is not proved that it acted: {failure}; post-check started"),
        Change::Postponed { failure, until } => format!("tried again at {until}: {failure}"),
        Change::RollbackStarted { cause, .. } => format!("rollback started: {cause}"),
        Change::GaveUp(reason) => format!("stuck: {reason}"),
        Change::ReleaseStarted { cause, .. } => format!("release started: {cause}"),
        Change::RenewStarted { until, by, .. } => format!("{by} asks for a lease until {until}"),
        Change::RenewCheckStarted { failure: None, .. } => {
            return "renewal carried out, says the driver; a look was sent".to_owned();
        }
        Change::RenewCheckStarted {
            failure: Some(failure), ..
        } => format!("it is not proved that it was renewed: {failure}; a look was sent"),
        Change::RenewFailed(failure) => format!("the lease could not be renewed: {failure}"),
    };
    Printable(&text).to_string()
}

/// What is known around an event: of its targets, and of the account that it names; `None` when it names neither. Safe
/// to show.
pub(super) fn around(targets: &[(Target, Option<Asset>)], account: Option<&KnownAccount>) -> Option<String> {
    let targets = targets.iter().map(|(target, asset)| match asset {
        Some(asset) => format!("{target} is {asset}"),
        None => format!("nothing is known of {target}"),
    });
    let account = account.map(|it| match &it.identity {
        Some(identity) => format!("{} is {identity}", Printable(&it.name)),
        None => format!("nothing is known of the account {}", Printable(&it.name)),
    });
    let known: Vec<String> = targets.chain(account).collect();
    let text = format!("context: {}", known.join("; "));
    (!known.is_empty()).then(|| Printable(&text).to_string())
}

/// What files say of what an event names. Safe to show.
pub(super) fn named(assets: &[Asset]) -> String {
    let assets: Vec<String> = assets.iter().map(ToString::to_string).collect();
    let text = format!("context: it names {}", assets.join("; "));
    Printable(&text).to_string()
}

/// What a piece of evidence is.
pub(super) fn evidence(kind: &str, target: Option<&str>) -> String {
    target.map_or_else(|| kind.to_owned(), |target| format!("{kind} of {target}"))
}
