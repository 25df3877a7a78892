//! That a command is answered as it has to be: what can be done is done, all of it, and what cannot is refused.

use std::collections::BTreeSet;

use ipnet::IpNet;
use staunch_engine::limits::{EXEMPTION_MAX, TRUST_MAX};
use staunch_model::{
    Change, Command, Frame, IncidentId, Input, Policy, Record, RefusalReason, ReleaseScope, Span, StateKind, Target,
    Timestamp, TransactionId,
};

use super::networks::plain;
use super::recover::Recovering;
use super::{Found, Invariant, Model, Status, Tx, fail};

/// As many as one command lifts of everything.
const RELEASED_AT_ONCE_MAX: usize = 1_000;

/// How a command has to be answered.
pub(super) enum Answer {
    /// It cannot be done.
    Refused,
    /// It can.
    Done(Deed),
}

/// What a command has to be done to.
#[derive(Default)]
pub(super) struct Deed {
    /// What is named in the answer, and changes.
    affected: BTreeSet<TransactionId>,
    /// What others hold too, and which is let go only, and by whom.
    let_go: BTreeSet<(TransactionId, IncidentId)>,
    /// What is exempted from containment from then on, and until when; `None` for always.
    exempted: BTreeSet<(IpNet, Option<Timestamp>)>,
}

impl Model {
    /// How the command in `frame` has to be answered, by what is known before anything of the frame is taken up; `None`
    /// without a command, and where the model knows too little to say.
    pub(super) fn has_to_be(&self, frame: &Frame, now: Timestamp) -> Option<Answer> {
        let Input::Operator { command, .. } = &frame.input else {
            return None;
        };
        let can = |can: bool| {
            Some(if can {
                Answer::Done(Deed::default())
            } else {
                Answer::Refused
            })
        };
        match command {
            Command::Approve(id) | Command::Deny(id) => match self.transactions.get(id) {
                Some(it) if it.kind == StateKind::AwaitingApproval => {
                    // Of one that has expired, `approval` holds.
                    it.approval_expires.filter(|expires| *expires > now)?;
                    Some(to_one(*id))
                }
                _ => Some(Answer::Refused),
            },
            Command::Release(ReleaseScope::Transaction(id)) => Some(self.release_of(*id)),
            Command::ReleaseTrusting { trust, .. } if !is_within(*trust, TRUST_MAX) => Some(Answer::Refused),
            Command::ReleaseTrusting {
                scope: ReleaseScope::Transaction(id),
                trust,
            } => {
                let target = self.transactions.get(id).map(|it| &it.target);
                if !matches!(target, Some(Target::Address(_))) {
                    return Some(Answer::Refused);
                }
                Some(self.trusting(self.release_of(*id), now + *trust))
            }
            Command::ReleaseTrusting {
                scope: ReleaseScope::Incident(id),
                trust,
            } => {
                let held = self.transactions.values().filter(|it| it.is_held_by(*id));
                let mut lifted = held.filter(|it| can_be_released(it));
                if lifted.any(|it| !matches!(it.target, Target::Address(_))) {
                    return Some(Answer::Refused);
                }
                Some(self.trusting(self.release_of_incident(*id), now + *trust))
            }
            Command::Release(ReleaseScope::All) => {
                let all = self.transactions.iter().filter(|(_, it)| can_be_released(it));
                let affected: BTreeSet<_> = all.map(|(id, _)| *id).collect();
                let is_one_turn = affected.len() <= RELEASED_AT_ONCE_MAX;
                is_one_turn.then(|| {
                    Answer::Done(Deed {
                        affected,
                        ..Deed::default()
                    })
                })
            }
            Command::Release(ReleaseScope::Incident(id)) => Some(self.release_of_incident(*id)),
            Command::Renew {
                transaction,
                lease,
                shorten,
            } => {
                let policy = self.policy.as_ref()?;
                let it = self.transactions.get(transaction);
                let renews = it.is_some_and(|it| self.can_be_renewed(it, policy, *lease, *shorten, now));
                Some(if renews { to_one(*transaction) } else { Answer::Refused })
            }
            Command::SetMode(_) => can(true),
            Command::Protect { lasts: Some(lasts), .. } if !is_within(*lasts, EXEMPTION_MAX) => Some(Answer::Refused),
            Command::Protect { network, lasts } => Some(Answer::Done(Deed {
                exempted: BTreeSet::from([(plain(*network), lasts.map(|lasts| now + lasts))]),
                ..Deed::default()
            })),
            Command::Unprotect { network } => {
                let until = self.exempt.get(&plain(*network));
                can(until.is_some_and(|until| until.is_none_or(|until| now < until)))
            }
            Command::Recover(id) => can(self.can_be_recovered(*id)),
            Command::StopRecovery(id) => can(self.recoveries.of(*id) == Some(Recovering::Running)),
            _ => None,
        }
    }

    /// `answer` when what is let go is trusted until `until` besides. What is exempted for longer stays so.
    fn trusting(&self, mut answer: Answer, until: Timestamp) -> Answer {
        if let Answer::Done(deed) = &mut answer {
            let targets = deed.affected.iter().filter_map(|id| self.transactions.get(id));
            let networks = targets.filter_map(|it| it.target.address()).map(IpNet::from);
            let lasts = |end: &Option<Timestamp>| end.is_none_or(|end| end >= until);
            let new = networks.filter(|network| !self.exempt.get(network).is_some_and(lasts));
            deed.exempted = new.map(|network| (network, Some(until))).collect();
        }
        answer
    }

    fn release_of(&self, id: TransactionId) -> Answer {
        match self.transactions.get(&id) {
            Some(it) if can_be_released(it) => to_one(id),
            _ => Answer::Refused,
        }
    }

    /// What only this incident holds is lifted, and what others hold too is theirs from here on.
    fn release_of_incident(&self, id: IncidentId) -> Answer {
        if !self.incidents.get(&id).is_some_and(|it| it.status != Status::Forgotten) {
            return Answer::Refused;
        }
        let mut done = Deed::default();
        for (transaction, it) in self.transactions.iter().filter(|(_, it)| it.is_held_by(id)) {
            if it.is_held_by_others(id) {
                if it.kind != StateKind::Stuck && can_be_called_off(it.kind) {
                    done.let_go.insert((*transaction, id));
                }
            } else if can_be_released(it) {
                done.affected.insert(*transaction);
            }
        }
        Answer::Done(done)
    }

    /// A lease that runs is set anew, and ends sooner only if that was asked for.
    fn can_be_renewed(&self, it: &Tx, policy: &Policy, lease: Span, shorten: bool, now: Timestamp) -> bool {
        let (Some(end), StateKind::InForce) = (it.lease_until, it.kind) else {
            return false;
        };
        now < end
            && is_within(lease, policy.limits.lease_max)
            && (shorten || now + lease >= end)
            && it.renews.is_none()
            && self.protection(&it.target, policy, now).is_none()
    }

    /// A recovery begins when nothing that its incident holds is still on its way in or out.
    fn can_be_recovered(&self, id: IncidentId) -> bool {
        let is_open = self.incidents.get(&id).is_some_and(|it| it.status == Status::Open);
        let waits = matches!(self.recoveries.of(id), Some(Recovering::Waiting | Recovering::Stopped));
        let mut held = self.transactions.values().filter(|it| it.is_held_by(id));
        is_open && waits && held.all(|it| it.kind.is_terminal() || it.kind == StateKind::InForce)
    }

    /// Holds the answer in `frame` to `expected`. What was done is in the frame before the answer.
    pub(super) fn answered(frame: &Frame, expected: &Answer, now: Timestamp) -> Found {
        let Input::Operator { command, .. } = &frame.input else {
            return Ok(());
        };
        let answers = |record: &Record| matches!(record, Record::CommandDone { .. } | Record::CommandRefused { .. });
        let Some(place) = frame.records.iter().position(answers) else {
            return fail(Invariant::CommandsAnswered, format!("{command:?} is not answered"));
        };
        let done_before = &frame.records[..place];
        let what = match (&frame.records[place], expected) {
            (Record::CommandRefused { .. }, Answer::Refused) if done_before.is_empty() => return Ok(()),
            (Record::CommandRefused { .. }, Answer::Refused) => {
                format!("{command:?} is refused, and something is done")
            }
            (Record::CommandRefused { why }, Answer::Done(_)) => {
                format!("{command:?} is refused, and can be done: {why}")
            }
            (_, Answer::Refused) => format!("{command:?} is done, and cannot be"),
            (Record::CommandDone { affected }, Answer::Done(done)) => {
                let told: BTreeSet<_> = affected.iter().copied().collect();
                let changed: BTreeSet<_> = done_before.iter().filter_map(changed).collect();
                let let_go: BTreeSet<_> = done_before.iter().filter_map(let_go).collect();
                let exempted: BTreeSet<_> = done_before.iter().filter_map(exempted).collect();
                let wrong = |record: &&Record| !fits(command, record, now);
                if told != done.affected {
                    format!("{command:?} is done to {told:?}, and has to be to {:?}", done.affected)
                } else if changed != done.affected {
                    format!("{command:?} is done to {told:?}, and {changed:?} have changed")
                } else if let Some(record) = done_before.iter().find(wrong) {
                    format!("{command:?} is answered with {record:?}")
                } else if let_go != done.let_go {
                    format!("{command:?} lets go of {let_go:?}, and has to of {:?}", done.let_go)
                } else if exempted != done.exempted {
                    format!("{command:?} exempts {exempted:?}, and has to {:?}", done.exempted)
                } else if !is_carried_out(command, done_before) {
                    format!("{command:?} is done, and nothing says what it did")
                } else {
                    return Ok(());
                }
            }
            (other, Answer::Done(_)) => format!("{command:?} is answered by {other:?}"),
        };
        fail(Invariant::CommandsAnswered, what)
    }
}

fn to_one(id: TransactionId) -> Answer {
    Answer::Done(Deed {
        affected: BTreeSet::from([id]),
        ..Deed::default()
    })
}

/// Whether something may last for so long.
fn is_within(span: Span, max: Span) -> bool {
    span > Span::ZERO && span <= max
}

/// The transaction that `record` changes, other than by letting it go.
fn changed(record: &Record) -> Option<TransactionId> {
    match record {
        Record::Transaction {
            change: Change::LetGo(_),
            ..
        } => None,
        Record::Transaction { transaction, .. } => Some(*transaction),
        _ => None,
    }
}

fn let_go(record: &Record) -> Option<(TransactionId, IncidentId)> {
    match record {
        Record::Transaction {
            transaction,
            change: Change::LetGo(incident),
        } => Some((*transaction, *incident)),
        _ => None,
    }
}

fn exempted(record: &Record) -> Option<(IpNet, Option<Timestamp>)> {
    match record {
        Record::Exempted(it) => Some((it.network, it.until)),
        _ => None,
    }
}

/// Whether what `record` changes of a transaction is what `command` asks for.
fn fits(command: &Command, record: &Record, now: Timestamp) -> bool {
    let Record::Transaction { change, .. } = record else {
        return true;
    };
    match (command, change) {
        (_, Change::LetGo(_)) => true,
        (Command::Approve(_), change) => matches!(change, Change::Approved { .. }),
        (Command::Deny(_), Change::Refused { reason, .. }) => matches!(**reason, RefusalReason::Denied { .. }),
        (Command::Deny(_), _) => false,
        (Command::Renew { lease, .. }, change) => {
            matches!(change, Change::RenewStarted { until, .. } if *until == now + *lease)
        }
        (_, change) => matches!(
            change,
            Change::Refused { .. } | Change::RollbackStarted { .. } | Change::ReleaseStarted { .. }
        ),
    }
}

/// Whether `records` say that what `command` asks for is so, where that is nothing of a transaction or an exemption.
fn is_carried_out(command: &Command, records: &[Record]) -> bool {
    let says = |record: &Record| match (command, record) {
        (Command::SetMode(asked), Record::ModeSet { mode }) => mode == asked,
        (Command::Unprotect { network: asked }, Record::ExemptionEnded { network }) => network == asked,
        (Command::Recover(asked), Record::RecoveryStarted { incident, .. })
        | (Command::StopRecovery(asked), Record::RecoveryEnded { incident, .. }) => incident == asked,
        _ => false,
    };
    let is_said = matches!(
        command,
        Command::SetMode(_) | Command::Unprotect { .. } | Command::Recover(_) | Command::StopRecovery(_)
    );
    !is_said || records.iter().any(says)
}

/// Whether there is anything of it to call off, to undo or to lift, that has not begun to be.
fn can_be_released(it: &Tx) -> bool {
    can_be_called_off(it.kind) && !(it.kind == StateKind::InForce && it.for_good)
}

fn can_be_called_off(kind: StateKind) -> bool {
    matches!(
        kind,
        StateKind::Planned
            | StateKind::PreChecking
            | StateKind::AwaitingApproval
            | StateKind::Executing
            | StateKind::PostChecking
            | StateKind::InForce
            | StateKind::Stuck
    )
}
