//! What operators ask for.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{IncidentId, TransactionId};
use crate::playbook::Mode;
use crate::time::Span;

/// Who asks, from where, and why. Recorded with every command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The name on the token.
    pub name: Box<str>,
    /// The address the request came from.
    pub from: Box<str>,
    /// The reason given; may be empty.
    pub reason: Box<str>,
}

/// What to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseScope {
    /// One transaction.
    Transaction(TransactionId),
    /// What one incident holds; what other incidents hold too stays in force.
    Incident(IncidentId),
    /// Everything, so much at a time: see [`Command::Release`].
    All,
    /// What a former installation has left at the enforcement points. No transaction of this one is affected.
    Former,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Lift containment; stop what is waiting or under way.
    ///
    /// [`ReleaseScope::All`] lifts a bounded number in one turn: the reply's [`CommandReply::affected`] names them, and
    /// whoever sends the command repeats it until that is empty.
    Release(ReleaseScope),
    /// Let a containment in force run for this long from now.
    Renew {
        /// Which.
        transaction: TransactionId,
        /// How long from now.
        lease: Span,
        /// Whether it may end before the present lease does; otherwise such a renewal is refused.
        shorten: bool,
    },
    /// Let a waiting transaction act.
    Approve(TransactionId),
    /// Refuse a waiting transaction.
    Deny(TransactionId),
    /// Set how far any playbook may go, and close the circuit breaker if it goes beyond observing.
    SetMode(Mode),
    /// Exempt a network from containment. What is in force there stays in force, and somebody is told. One that is exempt
    /// already is exempt for this reason and this time from now on.
    Protect {
        /// The network.
        network: IpNet,
        /// For how long from now; `None` until it is taken back.
        lasts: Option<Span>,
    },
    /// Take the exemption of exactly this network back.
    Unprotect {
        /// The network.
        network: IpNet,
    },
    /// As [`Command::Release`], and exempt every address that is let go.
    ReleaseTrusting {
        /// What to release; not everything.
        scope: ReleaseScope,
        /// For how long from now. An exemption that lasts longer stays as it is.
        trust: Span,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReply {
    /// The transactions it affected.
    pub affected: Vec<TransactionId>,
    /// Why it was refused, if it was; safe to show.
    pub refused: Option<Box<str>>,
    /// How many objects of former installations were removed.
    #[serde(default)]
    pub former: u64,
}
