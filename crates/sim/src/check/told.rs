//! What people have to be told besides failures: what is contained and protected from now on, a renewal that failed,
//! and an enforcement point that cannot be read.
//!
//! Never reads what a notice says: text is for people.

use std::net::IpAddr;

use staunch_model::{
    ActionKind, Command, Frame, Input, Notice, NoticeLevel, Record, StateKind, Timestamp, TransactionId,
};

use super::{Found, Invariant, Model, Tx, fail};

impl Model {
    /// Where something acts that `frame` may protect: addresses that nothing protects before it.
    pub(super) fn may_be_protected_by(&self, frame: &Frame, now: Timestamp) -> Vec<IpAddr> {
        let protects = match &frame.input {
            Input::Policy(_) | Input::Listed(_) => true,
            Input::Operator { command, .. } => matches!(command, Command::Protect { .. }),
            _ => false,
        };
        let Some(policy) = self.policy.as_ref().filter(|_| protects) else {
            return Vec::new();
        };
        let acts = |it: &&Tx| {
            let acts = [StateKind::Executing, StateKind::PostChecking, StateKind::InForce];
            acts.contains(&it.kind) && self.protection(&it.target, policy, now).is_none()
        };
        let acting = self.transactions.values().filter(acts);
        acting.filter_map(|it| it.target.address()).collect()
    }

    /// A person is paged for what is contained at one of `acting` and is protected since `frame`.
    pub(super) fn tells_protected(&self, frame: &Frame, acting: &[IpAddr], now: Timestamp) -> Found {
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        let is_protected = |ip: &&IpAddr| self.protection(&(**ip).into(), policy, now).is_some();
        match acting.iter().find(is_protected) {
            Some(ip) if !is_paged(frame) => fail(
                Invariant::StuckIsTold,
                format!("{ip} is protected and contained, and nobody is paged"),
            ),
            _ => Ok(()),
        }
    }

    /// A person is paged when an enforcement point cannot be read that could be before.
    pub(super) fn sweep_failed(&mut self, frame: &Frame, kind: ActionKind) -> Found {
        if self.unread.insert(kind) && !is_paged(frame) {
            return fail(
                Invariant::StuckIsTold,
                format!("{kind} cannot be read and nobody is paged"),
            );
        }
        Ok(())
    }
}

/// People are told of a renewal of `id` that failed.
pub(super) fn renewal_failed(frame: &Frame, id: TransactionId) -> Found {
    if !notices(frame).any(|notice| notice.transaction == Some(id)) {
        let what = format!("the renewal of {id} has failed and nobody is told");
        return fail(Invariant::StuckIsTold, what);
    }
    Ok(())
}

/// What people are told by what is decided in `frame`.
pub(super) fn notices(frame: &Frame) -> impl Iterator<Item = &Notice> {
    frame.records.iter().filter_map(|record| match record {
        Record::NoticeQueued(notice) => Some(notice),
        _ => None,
    })
}

/// The pages among them.
pub(super) fn pages(frame: &Frame) -> impl Iterator<Item = &Notice> {
    notices(frame).filter(|it| it.level == NoticeLevel::Page)
}

/// Whether somebody is paged by what is decided in `frame`.
pub(super) fn is_paged(frame: &Frame) -> bool {
    pages(frame).next().is_some()
}
