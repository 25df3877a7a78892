//! Lets nobody log in as one account of this machine, and stops what runs in its sessions; all of it as it was when
//! undone.
//!
//! Holds what drivers of this kind have in common; a driver is one file in this folder. Never ends a process, and never
//! takes or changes a password.

use std::time::Duration;

use staunch_model::{
    AccountName, ActionKind, Description, Failure, FailureKind, Permissions, RiskClass, Span, Target, UndoClass,
};

pub mod shadow;

pub use shadow::{ShadowLockAccount, ShadowOptions};

/// The account of a target.
///
/// # Panics
/// When it is none, which nobody asks of an action that [`ActionKind::aims_at`] accounts.
fn account_of(target: &Target) -> &AccountName {
    match target {
        Target::Account(name) => name,
        other => unreachable!("{other} was given to a driver that acts on accounts"),
    }
}

/// A failure to lock.
fn refused(target: &Target, kind: FailureKind, why: &str) -> Failure {
    Failure::new(kind, &format!("cannot lock {target}: {why}"))
}

/// The facts that hold for every driver of this kind on this machine.
fn description(driver: &str, in_flight_max: Duration, permissions: Permissions) -> Description {
    Description {
        kind: ActionKind::LockAccount,
        driver: driver.into(),
        risk: RiskClass::Medium,
        undo: UndoClass::Restores,
        // What runs in a session stands still, and the kernel keeps its connections.
        cuts_established: false,
        in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
        d3fend: "D3-AL".into(),
        permissions,
        local: true,
    }
}
