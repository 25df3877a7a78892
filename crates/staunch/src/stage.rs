//! A stage of our own: three hosts in network namespaces, and a real `staunch serve` between them.
//!
//! Never touches anything outside of its namespaces and its directory, but for the group of cgroup v2 in which the demo
//! freezes a process of its own. The demo and the drills play on it.

mod beacon;
mod hosts;
mod server;

use anyhow::{Context as _, Result};

pub(crate) use beacon::Beacon;
pub(crate) use hosts::{ATTACKER, BALANCER, OTHERS, SERVER, Stage, within};
pub(crate) use server::{ALERT, Server, Setup};

/// How the name of a stage's directory begins. Parts misbehave by the orders of a file only below such a one.
pub(crate) const STAGE_PREFIX: &str = "staunch-stage-";

/// Leaves the machine's network for a namespace of our own; as another user than root in a user namespace. Must be
/// called while the process has one thread only.
///
/// # Errors
/// When this kernel does not let this user.
pub(crate) fn enter() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        match staunch_netlink::namespace::enter_new_net() {
            Ok(()) => return Ok(()),
            // Root without the capability, as in a container: a user namespace may still be allowed.
            Err(error) => tracing::debug!(%error, "no namespace as root"),
        }
    }
    staunch_netlink::namespace::enter_user_and_net()
        .context("this kernel does not let this user make network namespaces")
}
