//! A stage of our own: three hosts in network namespaces, and a real `staunch serve` between them.
//!
//! Never touches anything outside of its namespaces and its directory, but for the group of cgroup v2 in which the demo
//! freezes a process of its own. The demo and the drills play on it.

mod beacon;
mod hosts;
mod server;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

pub(crate) use beacon::Beacon;
pub(crate) use hosts::{ATTACKER, BALANCER, OTHERS, SERVER, Stage, within};
pub(crate) use server::{ALERT, Server, Setup};

/// How the name of a stage's directory begins. Parts misbehave by the orders of a file only below such a one.
pub(crate) const STAGE_PREFIX: &str = "staunch-stage-";

/// Whether somebody wants the play to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether somebody wants the play to end, who has [been listened to](listen).
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Takes Ctrl-C and SIGTERM from now on for a wish that the play ends, instead of ending at once with all that is in
/// place. Must be called while the process has one thread only, and after [`enter`].
///
/// # Errors
/// When there can be no thread that waits for them.
pub(crate) fn listen() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

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
