//! Has a resolver deny that a domain, and all below it, exists.
//!
//! Holds what drivers of this kind have in common; a driver is one file in this folder. Never reaches who asks another
//! resolver or knows the address already.

use std::time::Duration;

use staunch_model::{
    ActionKind, Description, DomainName, Failure, FailureKind, Permissions, RiskClass, Span, Target, UndoClass,
};

pub mod unbound;

pub use unbound::{ANSWER_TTL_SECONDS, Sinkhole, UnboundOptions, UnboundSinkhole};

/// The domain of a target.
///
/// # Panics
/// When it is none, which nobody asks of an action that [`ActionKind::aims_at`] domains.
fn domain_of(target: &Target) -> &DomainName {
    match target {
        Target::Domain(domain) => domain,
        other => unreachable!("{other} was given to a driver that acts on domains"),
    }
}

/// A failure to sinkhole.
fn refused(target: &Target, kind: FailureKind, why: &str) -> Failure {
    Failure::new(kind, &format!("cannot sinkhole {target}: {why}"))
}

/// The facts that hold for every driver of this kind.
fn description(driver: &str, in_flight_max: Duration, permissions: Permissions) -> Description {
    Description {
        kind: ActionKind::SinkholeDomain,
        driver: driver.into(),
        risk: RiskClass::Medium,
        undo: UndoClass::Owned,
        // Who has the address goes on using it.
        cuts_established: false,
        in_flight_max: Span::from_micros(u64::try_from(in_flight_max.as_micros()).unwrap_or(u64::MAX)),
        d3fend: "D3-DNSDL".into(),
        permissions,
        // It is a program on this machine, which may be busy for seconds.
        local: false,
    }
}
