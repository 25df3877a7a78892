//! Freezes one process and those that descend from it: they keep all they have, do nothing, and can go on.
//!
//! Holds what drivers of this kind have in common; a driver is one file in this folder. Never sends a signal: a stop
//! signal can be caught, waited for and undone by whoever may signal the process.

use std::time::Duration;

use staunch_model::{
    ActionKind, Description, Failure, FailureKind, Permissions, Process, RiskClass, Span, Target, UndoClass,
};

use crate::proc::Table;

pub mod cgroup;
pub mod label;

pub use cgroup::{CgroupFreezeProcess, CgroupOptions, RootError, cgroup2_mount};
pub use label::{Label, Purpose};

/// The process of a target.
///
/// # Panics
/// When it is none, which nobody asks of an action that [`ActionKind::aims_at`] processes.
pub(super) fn process_of(target: &Target) -> Process {
    match target {
        Target::Process(process) => *process,
        other => unreachable!("{other} was given to a driver that acts on processes"),
    }
}

/// Why freezing `pid` would stop the machine or Staunch itself; `None` when it would not. The last line of defence:
/// what is protected beyond it, the guards know.
fn untouchable(table: &Table, pid: u32) -> Option<&'static str> {
    let own = std::process::id();
    if pid == 1 {
        Some("it is process 1, without which the machine does not go on")
    } else if pid == 0 || table.get(pid).is_some_and(crate::proc::Stat::is_kernel_thread) {
        Some("it is a part of the kernel")
    } else if pid == own {
        Some("it is Staunch itself")
    } else if table.ancestors(own).contains(&pid) {
        Some("Staunch descends from it")
    } else {
        None
    }
}

/// A failure to freeze, or to kill.
fn refused(purpose: Purpose, target: &Target, kind: FailureKind, why: &str) -> Failure {
    Failure::new(kind, &format!("cannot {} {target}: {why}", purpose.verb()))
}

/// The facts that hold for every driver of this kind on this machine.
fn description(driver: &str, in_flight_max: Duration, permissions: Permissions) -> Description {
    Description {
        kind: ActionKind::FreezeProcess,
        driver: driver.into(),
        risk: RiskClass::Medium,
        undo: UndoClass::Owned,
        // A frozen process answers nothing, but the kernel keeps its connections, and what it has sent is on its way.
        cuts_established: false,
        in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
        d3fend: "D3-PS".into(),
        permissions,
        local: true,
    }
}
