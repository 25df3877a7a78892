//! Blocks all traffic from and to one address, or what is above a rate of it.
//!
//! Holds what its drivers have in common; a driver is one file in this folder. The driver of `rate-limit-ip` is that of
//! nftables with a limit: all that differs is what the rules of its table do.

use std::net::IpAddr;
use std::time::Duration;

use staunch_model::{ActionKind, Description, Failure, FailureKind, Permissions, RiskClass, Span, Target, UndoClass};

pub mod memory;
pub mod nftables;

pub use memory::{Fault, MemoryBlockIp, MemoryWorld, Verb};
pub use nftables::{
    Claim, ClaimError, NftablesIp, NftablesOptions, ReleaseError, StartError, count_labelled, release_everything,
};

/// How much a block that is in place may end before the time asked for and still count as the one asked for: an end
/// is counted from when it was set, and rounded to ticks.
const HOLD_TOLERANCE: Span = Span::from_secs(2);

/// The address of a target in the form it has on the wire: an IPv4 address written as IPv6 is an IPv4 address.
///
/// # Panics
/// When it is no address, which nobody asks of an action that [`staunch_model::ActionKind::aims_at`] addresses.
fn address_of(target: &Target) -> IpAddr {
    match target {
        Target::Address(ip) => ip.to_canonical(),
        other => unreachable!("{other} was given to a driver that blocks addresses"),
    }
}

/// What is done to an address, in the words of messages.
const fn verb(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::RateLimitIp => "limit",
        _ => "block",
    }
}

/// What is said of an element that is not the one asked for.
fn conflict(kind: ActionKind, target: &Target, found: &str) -> Failure {
    let verb = verb(kind);
    Failure::new(FailureKind::Conflict, &format!("cannot {verb} {target}: {found}"))
}

/// The facts that hold for every driver of these kinds on this machine.
fn description(kind: ActionKind, driver: &str, in_flight_max: Duration, needs: &str) -> Description {
    Description {
        kind,
        driver: driver.into(),
        risk: RiskClass::Low,
        undo: UndoClass::Owned,
        cuts_established: true,
        in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
        d3fend: "D3-ITF".into(),
        permissions: Permissions {
            act: needs.into(),
            check: needs.into(),
            undo: needs.into(),
        },
        local: true,
    }
}
