//! What is taken up again after a start, state by state. Recovery applies recorded decisions and never re-decides;
//! what was under way when the process ended is asked about, never assumed.
//!
//! | | found | what is known | what is done |
//! |---|---|---|---|
//! | a | planned, awaiting approval | nothing was sent | it keeps its place and its deadline |
//! | b | pre-checking | only reads were sent | the check is sent again |
//! | c | executing | the intent is durable, the outcome is not | in doubt: the post-check is sent |
//! | d | post-checking | the same, or the reply was recorded | the post-check is sent again |
//! | e | in force, renewing | the renewal may have landed | in doubt: a look is sent, and until it shows the new lease the old one stands |
//! | f | in force | verified before | nothing; a sweep follows at once |
//! | g | rolling back, releasing | the undo may have landed | it is sent again: undo is conditional and owned; all but the first 500 when no answer has come by its deadline |
//! | h | settling | the undo landed, a late act may follow | the whole settling time starts again |
//! | i | ended, stuck | nothing is under way | nothing |
//! | k | evidence that is awaited | it may have been stored | it is asked for again: storing twice is harmless |
//! | l | a health watch whose answer is awaited | nothing was changed | the signal is read again |
//! | m | a recovery | the step it is at | it goes on when what it waits for has come to an end |
//! | j | quarantined | a record of it does not fit this build | it is stuck, and people are told; a person's release goes on |
//!
//! One transaction that cannot be taken up never stops the others: each row looks at one transaction only.

use staunch_model::{
    Await, Change, Failure, FailureKind, InstallationId, NoticeId, NoticeLevel, Record, State, StateKind, StuckReason,
    Transaction, TransactionId,
};

use crate::apply::UNFIT;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::react::is_renewal_sent;
use crate::turn::Turn;

impl Turn<'_> {
    /// The process started on this journal.
    pub(crate) fn on_started(&mut self, installation: InstallationId) {
        self.put(Record::Started { installation });
        // Before new ones are queued, which are not to be sent twice.
        let waiting: Vec<NoticeId> = self
            .state
            .notices
            .iter()
            .filter(|(_, it)| it.retry_at.is_none())
            .map(|(id, _)| *id)
            .collect();
        self.give_up_quarantined();
        self.tell_unfit();
        let all: Vec<TransactionId> = self.state.transactions.keys().copied().collect();
        let mut undos = 0;
        for id in all {
            let it = self.state.transactions[&id].clone();
            if matches!(it.state.kind(), StateKind::RollingBack | StateKind::Releasing) {
                undos += 1;
                if undos > limits::WORK_PER_TURN_MAX {
                    continue;
                }
            }
            self.take_up(&it);
        }
        let evidence: Vec<_> = self
            .state
            .evidence
            .values()
            .filter(|it| it.is_open() && it.retry_at.is_none())
            .map(|it| it.id)
            .collect();
        for evidence in evidence {
            self.put(Record::EvidenceResent { evidence });
        }
        let watches = self.state.watches.values().filter(|it| it.asked);
        let watches: Vec<_> = watches.cloned().collect();
        for watch in watches {
            self.ask_signal(&watch);
        }
        for notice in waiting {
            self.put(Record::NoticeResent { notice });
        }
    }

    /// Leaves every quarantined transaction to a person.
    fn give_up_quarantined(&mut self) {
        let quarantined = self.state.quarantined.clone();
        for (id, why) in quarantined {
            let Some(it) = self.state.transactions.get(&id) else {
                continue;
            };
            let (incident, attempts) = (it.incident, it.attempts);
            // What was stuck before stays so, for the same reason to its siblings.
            let trying = match &it.state {
                State::Stuck(reason) => reason.trying,
                state => state.kind(),
            };
            let text = format!(
                "{id} ({} on {}) is stuck: a record of it does not fit this build ({why}). Look at the target, then \
                 run `staunch release {id}`",
                it.kind, it.target
            );
            let last = Failure::new(
                FailureKind::Invalid,
                &format!("a record does not fit this build: {why}"),
            );
            let reason = StuckReason { trying, attempts, last };
            self.change(id, Change::GaveUp(Box::new(reason)));
            self.notice(NoticeLevel::Page, Some(incident), Some(id), &text);
        }
    }

    fn tell_unfit(&mut self) {
        let unfit = self.state.unfit.clone();
        if let Some(first) = unfit.first {
            let text = format!("{} {UNFIT}; the first: {first}", unfit.count);
            self.notice(NoticeLevel::Page, None, None, &text);
        }
    }

    fn take_up(&mut self, it: &Transaction) {
        let interrupted = || Failure::new(FailureKind::Interrupted, "Staunch was stopped before the answer came");
        match it.state.kind() {
            StateKind::Planned | StateKind::AwaitingApproval => {}
            StateKind::PreChecking | StateKind::PostChecking => {
                let dispatch = self.look(it);
                self.change(it.id, Change::Resent(dispatch));
            }
            StateKind::Executing => self.unproved(it, interrupted()),
            // One whose lease has ended is due.
            StateKind::InForce if it.renewing().is_none() || it.lease_until.is_none_or(|end| end <= self.now) => {}
            StateKind::InForce if is_renewal_sent(it) => self.check_renewal(it, Some(interrupted())),
            StateKind::InForce => {
                let dispatch = self.look(it);
                self.change(it.id, Change::Resent(dispatch));
            }
            StateKind::RollingBack | StateKind::Releasing if it.undone => {
                let dispatch = self.look(it);
                self.change(it.id, Change::Resent(dispatch));
            }
            StateKind::RollingBack | StateKind::Releasing => {
                let dispatch = self.act(it);
                self.change(it.id, Change::Resent(dispatch));
            }
            StateKind::Settling => {
                let again = self.now + self.in_flight_max(it.kind) + limits::SETTLE_MARGIN;
                let until = if is(Mutant::RecoverySkipsSettling) {
                    self.now
                } else {
                    self.settled_at(it).max(again)
                };
                debug_assert!(it.undone && matches!(it.awaits, Await::Timer | Await::Reply));
                self.change(
                    it.id,
                    Change::Postponed {
                        failure: interrupted(),
                        until,
                    },
                );
            }
            StateKind::Refused
            | StateKind::Released
            | StateKind::RolledBack
            | StateKind::Stuck
            | StateKind::WouldExecute => {}
        }
    }
}
