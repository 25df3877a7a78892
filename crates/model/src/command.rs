//! What operators ask for.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{DrillId, IncidentId, TransactionId};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Exempt a network from containment. What is in force there stays in force, and somebody is told. One that is
    /// exempt already is exempt for this reason and this time from now on.
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
    /// Read playbooks, protections and the table of risks again. They have been read when this is recorded, and are put
    /// in force after it when there was no mistake.
    Reload {
        /// How many mistakes were found.
        mistakes: u32,
    },
    /// Start the recovery of an incident, as its playbook has it. It counts as the approval of the recovery's own acts.
    Recover(IncidentId),
    /// Stop the recovery of an incident where it is: what it has lifted stays lifted, and its own acts stay in force.
    StopRecovery(IncidentId),
    /// Have something go wrong on purpose, for the addresses of the scope of drills. It begins once this is known to be
    /// recorded, and only while who gave it waits for that: an order for whom nobody waits is followed by its end.
    Drill {
        /// What goes wrong.
        fault: DrillFault,
        /// For how long, when nobody ends it.
        lasts: Span,
    },
    /// End what goes wrong on purpose. It has ended when this is recorded. Only in journals of builds whose orders have
    /// no id; others have [`Command::EndDrill`].
    StopDrill,
    /// End what this order has going wrong. It has ended when this is recorded, or has not begun and never does.
    EndDrill {
        /// Which.
        drill: DrillId,
    },
}

/// What an operator may have go wrong on purpose, for the addresses of the scope of drills: none of it holds up anybody
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrillFault {
    /// The driver says that it has acted, and has not.
    Lie,
    /// The driver turns every act and undo away.
    Throttle,
    /// The driver acts, and its answer is lost.
    LoseReply,
    /// The traffic feed gives no answer.
    FeedDown,
}

impl DrillFault {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Throttle => "throttle",
            Self::LoseReply => "lose-reply",
            Self::FeedDown => "feed-down",
        }
    }
}

impl fmt::Display for DrillFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is asked for, in words that are safe to show.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(scope) => scope.fmt(f),
            Self::ReleaseTrusting { scope, trust } => write!(f, "{scope} and trust it for {trust}"),
            Self::Protect {
                network,
                lasts: Some(lasts),
            } => write!(f, "protect {network} for {lasts}"),
            Self::Protect { network, lasts: None } => write!(f, "protect {network}"),
            Self::Unprotect { network } => write!(f, "protect {network} no longer"),
            Self::Renew {
                transaction,
                lease,
                shorten,
            } => {
                let shorten = if *shorten { ", also if it ends earlier then" } else { "" };
                write!(f, "renew {transaction} for {lease}{shorten}")
            }
            Self::Approve(id) => write!(f, "approve {id}"),
            Self::Deny(id) => write!(f, "deny {id}"),
            Self::SetMode(mode) => write!(f, "set the mode to {mode}"),
            Self::Reload { .. } => f.write_str("read the configuration again"),
            Self::Recover(incident) => write!(f, "recover {incident}"),
            Self::StopRecovery(incident) => write!(f, "stop the recovery of {incident}"),
            Self::Drill { fault, lasts } => write!(f, "have {fault} go wrong for {lasts}, for a drill"),
            Self::StopDrill => f.write_str("end what goes wrong for a drill"),
            Self::EndDrill { drill } => write!(f, "end what goes wrong for {drill}"),
        }
    }
}

impl fmt::Display for ReleaseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction(id) => write!(f, "release {id}"),
            Self::Incident(id) => write!(f, "release what {id} holds"),
            Self::All => f.write_str("release everything"),
            Self::Former => f.write_str("release what a former installation has left"),
        }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandReply {
    /// The transactions it affected.
    pub affected: Vec<TransactionId>,
    /// Why it was refused, if it was; safe to show.
    pub refused: Option<Box<str>>,
    /// How many objects of former installations were removed.
    #[serde(default)]
    pub former: u64,
}
