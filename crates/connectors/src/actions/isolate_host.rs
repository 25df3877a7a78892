//! Cuts this machine off from the network, but for those that manage it and for what Staunch itself needs.
//!
//! Holds what its drivers have in common; a driver is one file in this folder.

use std::time::Duration;

use staunch_model::{ActionKind, Description, Permissions, RiskClass, Span, UndoClass};
use staunch_netlink::nftables::Allowed;

pub mod nftables;

pub use nftables::{NftablesIsolateHost, NftablesIsolationOptions, count_labelled, release_everything};

/// Says what stays reachable while the machine is isolated.
pub trait Lifelines: Send + Sync {
    /// Whom this machine talks with and nobody else, as it is at that moment. At most
    /// [`staunch_netlink::nftables::ALLOWED_MAX`], those without which nobody gets in among them. Answers within
    /// [`LIFELINES_WAIT`].
    fn reachable(&self) -> Vec<Allowed>;
}

/// How long it may take to say what stays reachable.
pub const LIFELINES_WAIT: Duration = Duration::from_secs(2);

/// The same at all times.
impl Lifelines for Vec<Allowed> {
    fn reachable(&self) -> Vec<Allowed> {
        self.clone()
    }
}

/// The facts that hold for every driver of this kind.
fn description(driver: &str, in_flight_max: Duration, needs: &str) -> Description {
    Description {
        kind: ActionKind::IsolateHost,
        driver: driver.into(),
        risk: RiskClass::High,
        undo: UndoClass::Owned,
        cuts_established: true,
        in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
        d3fend: "D3-NI".into(),
        permissions: Permissions {
            act: needs.into(),
            check: needs.into(),
            undo: needs.into(),
        },
        local: true,
    }
}
