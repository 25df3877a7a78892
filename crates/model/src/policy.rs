//! Policy: the limits and protections that hold for every playbook.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::action::Description;
use crate::playbook::{Mode, Playbook};
use crate::time::{Span, Timestamp};

/// Why a network is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The network.
    pub network: IpNet,
    /// Why, in the words shown in a refusal: `own address of eth0`, or the reason given in the configuration.
    pub reason: Box<str>,
}

/// A network that a person has exempted from containment while the server runs: events of it are judged and recorded,
/// and refused by the guard `never-touch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// The network, without host bits.
    pub network: IpNet,
    /// How it came about.
    pub cause: ExemptionCause,
    /// Who gave it: the name on the token.
    pub by: Box<str>,
    /// Why, in that person's words; may be empty.
    pub reason: Box<str>,
    /// When it was given.
    pub since: Timestamp,
    /// When it ends; `None` when it holds until it is taken back.
    pub until: Option<Timestamp>,
}

impl Exemption {
    /// True when it holds at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How an [`Exemption`] came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExemptionCause {
    /// It was asked for.
    Protected,
    /// A containment of it was released as a mistake.
    Trusted,
}

/// The networks that are never touched.
pub type NeverTouch = Vec<Protection>;

/// The limits an operator can set. Bounds and defaults are in the engine's `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Actions that are being carried out at the same time.
    pub actions_in_flight_max: u32,
    /// Acts of one kind in an hour.
    pub acts_per_action_hour_max: u32,
    /// Acts in one target group (/24 or /48) in an hour.
    pub acts_per_group_hour_max: u32,
    /// Acts in all in an hour.
    pub acts_per_hour_max: u32,
    /// Failures (rolled back or stuck) within [`Limits::breaker_window`] that open the circuit breaker.
    pub breaker_failures: u32,
    /// See [`Limits::breaker_failures`].
    pub breaker_window: Span,
    /// How long an approval may wait.
    pub approval_expiry: Span,
    /// The longest lease, renewals included, counted from the time of asking.
    pub lease_max: Span,
    /// How often containments in force are verified.
    pub sweep_interval: Span,
}

/// Everything that decisions depend on besides events: pinned in the journal whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The limits.
    pub limits: Limits,
    /// The networks that are never touched.
    pub never_touch: NeverTouch,
    /// The furthest that any playbook may go, whatever it says.
    pub mode_max: Mode,
    /// The playbooks in force.
    pub playbooks: Vec<Arc<Playbook>>,
    /// The drivers in use.
    pub drivers: Vec<Description>,
}
