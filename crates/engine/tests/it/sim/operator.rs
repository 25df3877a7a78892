//! The operator: commands, and what was answered to them.

use staunch_model::{Command, IncidentId, Input, Mode, Operator, Policy, Record, ReleaseScope, Span, TransactionId};

use super::Sim;

pub(crate) const OPERATOR: &str = "ann";

impl Sim {
    pub(crate) fn command(&mut self, command: Command) -> Result<Vec<TransactionId>, String> {
        let by = Operator {
            name: OPERATOR.into(),
            from: "192.0.2.9".into(),
            reason: "test".into(),
        };
        let frames = self.frames.len();
        self.input(Input::Operator { by, command });
        let reply = self.frames[frames..]
            .iter()
            .flat_map(|(_, frame)| &frame.records)
            .find_map(|record| match record {
                Record::CommandDone { affected } => Some(Ok(affected.clone())),
                Record::CommandRefused { why } => Some(Err(why.to_string())),
                _ => None,
            });
        reply.expect("every command is answered in its frame")
    }

    pub(crate) fn release(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Release(ReleaseScope::Transaction(TransactionId(id))))
    }

    pub(crate) fn release_incident(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Release(ReleaseScope::Incident(IncidentId(id))))
    }

    pub(crate) fn release_all(&mut self) -> Vec<TransactionId> {
        self.command(Command::Release(ReleaseScope::All)).unwrap()
    }

    pub(crate) fn renew(&mut self, id: u64, lease: Span) -> Result<Vec<TransactionId>, String> {
        self.set_lease(id, lease, false)
    }

    /// Renews, and lets the lease end earlier than it would.
    pub(crate) fn shorten(&mut self, id: u64, lease: Span) -> Result<Vec<TransactionId>, String> {
        self.set_lease(id, lease, true)
    }

    fn set_lease(&mut self, id: u64, lease: Span, shorten: bool) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Renew {
            transaction: TransactionId(id),
            lease,
            shorten,
        })
    }

    pub(crate) fn approve(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Approve(TransactionId(id)))
    }

    pub(crate) fn deny(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Deny(TransactionId(id)))
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        assert_eq!(self.command(Command::SetMode(mode)), Ok(Vec::new()));
    }

    pub(crate) fn policy(&mut self, policy: Policy) {
        self.input(Input::Policy(policy.into()));
    }
}
