//! Isolates this machine with a table of nftables whose chains drop everything but what is to stay reachable, for as
//! long as two elements of a set are there.
//!
//! # Expected flow
//! Ask what is to stay reachable, write chains, rules and both elements (IPv4, IPv6) in one atomic batch, and be asked
//! again to read them back. The kernel removes the elements by itself when their timeout ends: that is the dead man's
//! switch, which needs no program of ours.
//!
//! # Guarantees
//! All of it is there or nothing, at one moment. Executing twice equals executing once. Undo removes only elements that
//! carry this transaction's label, read and deleted under one generation of the ruleset, and leaves chains that do
//! nothing. No other table is ever touched, and one of our name that is not ours is left alone. Established connections
//! are cut, because the chains come before connections are tracked. Nothing is isolated under the name of another
//! machine.
//!
//! # Assumptions
//! The table `inet <table>` is ours by name. Where it, or a part of it, is missing, `execute` makes it again.
//!
//! # Caveats
//! What stays reachable is what was to when the machine was isolated; a renewal moves the end only. What other tables
//! drop stays dropped. Not cut are packet sockets, frames that a bridge passes on between its ports, flows offloaded to
//! hardware, and what a program at the driver of a card (XDP) sends on: all of these take privileges on this machine.
//! Let through for the machine's own sake are loopback, neighbour discovery, and DHCP to the servers of its link.
//!
//! # Errors
//! `Invalid` (another machine, or a hold out of bounds), `Denied` (no CAP_NET_ADMIN), `Unavailable` (busy, or the
//! ruleset kept changing), `Conflict` (somebody else's isolation is in place, or the table has another shape);
//! `InDoubt` when the kernel's answer was lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use staunch_model::{
    Description, Failure, FailureKind, HostName, InstallationId, Observation, Outcome, Owner, Presence, Printable,
    Span, Target, TransactionId,
};
use staunch_netlink::nftables::{Allowed, Cut, IpVersion, Isolate, Isolated, Isolation, NftError};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

use super::super::block_ip::nftables::error::{failure, outcome};
use super::super::block_ip::nftables::{not_tried, span, stalled, unsettled};
use super::super::block_ip::{ReleaseError, StartError};
use super::super::former::lifted_and_read;
use super::super::{Label, Whose, hold};
use super::{LIFELINES_WAIT, Lifelines, description};
use crate::enrichers::ThisHost;

/// How often a change is tried again that was overtaken by another one.
const ROUNDS_MAX: usize = 8;

/// How much an isolation that is in place may end before the time asked for and still count as the one asked for.
const HOLD_TOLERANCE: Span = Span::from_secs(2);

/// How the driver works.
#[derive(Clone)]
pub struct NftablesIsolationOptions {
    /// The table, of the family `inet`. Default: `staunch_isolation`.
    pub table: String,
    /// Whose isolations are ours.
    pub installation: InstallationId,
    /// Which names of hosts are this machine.
    pub host: ThisHost,
    /// What stays reachable.
    pub lifelines: Arc<dyn Lifelines>,
    /// How long the kernel's answer is awaited. Default: one second.
    pub timeout: Duration,
}

impl NftablesIsolationOptions {
    /// The defaults for `installation`, with `lifelines`.
    #[must_use]
    pub fn new(installation: InstallationId, lifelines: Arc<dyn Lifelines>) -> Self {
        Self {
            table: "staunch_isolation".to_owned(),
            installation,
            host: ThisHost::default(),
            lifelines,
            timeout: Duration::from_secs(1),
        }
    }
}

/// The driver. It works in the network namespace of the thread that uses it first.
pub struct NftablesIsolateHost {
    options: NftablesIsolationOptions,
    /// `None` until first used, and after an error that may have left it out of step.
    isolation: Option<Isolation>,
    /// The name under which the newest transaction isolated.
    named: Option<(TransactionId, HostName)>,
    /// What other installations had there when it was last looked at for all.
    former: Vec<Former>,
}

impl NftablesIsolateHost {
    /// Makes a driver that opens its connection, and makes its table, when it first acts.
    #[must_use]
    pub fn new(options: NftablesIsolationOptions) -> Self {
        Self {
            options,
            isolation: None,
            named: None,
            former: Vec::new(),
        }
    }

    /// Makes a driver, once nf_tables can be read and a table of this name could be ours.
    ///
    /// # Errors
    /// [`StartError`], which knows what to do about it.
    pub fn start(options: NftablesIsolationOptions) -> Result<Self, StartError> {
        let mut driver = Self::new(options);
        match driver.with(Isolation::check) {
            Ok(()) => Ok(driver),
            Err(source) => Err(StartError {
                table: driver.options.table,
                source,
            }),
        }
    }

    /// Uses the connection, opening it when there is none, and drops it when it may be out of step.
    fn with<T>(&mut self, work: impl FnOnce(&mut Isolation) -> Result<T, NftError>) -> Result<T, NftError> {
        let mut isolation = match self.isolation.take() {
            Some(isolation) => isolation,
            None => Isolation::open(&self.options.table, self.options.timeout)?,
        };
        let result = work(&mut isolation);
        let spoils = result.as_ref().is_err_and(|error| {
            matches!(
                error,
                NftError::Timeout { .. } | NftError::OutcomeUnknown { .. } | NftError::Failed { .. }
            )
        });
        if !spoils {
            self.isolation = Some(isolation);
        }
        result
    }

    /// The name of the machine that `target` is, when that is this one.
    fn this(&self, target: &Target) -> Result<HostName, Failure> {
        let invalid = |why: &str| {
            let what = format!("cannot isolate {target}: {why}");
            Failure::new(FailureKind::Invalid, &what)
        };
        let Target::Host(name) = target else {
            return Err(invalid("it is no host"));
        };
        match self.options.host.is_named(name.as_str()) {
            Ok(true) => Ok(name.clone()),
            Ok(false) => Err(invalid("it is another machine")),
            Err(why) => Err(invalid(&why)),
        }
    }

    fn observe_one(&self, target: &Target, seen: &Isolated) -> Result<Observation, Failure> {
        self.this(target)?;
        let owner = owner(seen, self.options.installation);
        let presence = owner.map_or(Presence::Absent, |owner| Presence::Present {
            owner,
            expires_in: expires_in(seen),
        });
        Ok(Observation {
            stopped_packets: (presence != Presence::Absent).then_some(seen.stopped_packets),
            presence,
            enforcing: enforces(seen),
            version: seen.generation.number().into(),
            capacity: None,
        })
    }

    fn isolate(&mut self, request: &ExecuteRequest) -> Outcome {
        let refused = hold::refused("isolate", &request.target, request.hold);
        let name = match (refused, self.this(&request.target)) {
            (Some(refused), _) | (None, Err(refused)) => return Outcome::DidNotHappen(refused),
            (None, Ok(name)) => name,
        };
        let label = Label {
            installation: self.options.installation,
            transaction: request.transaction,
        };
        let mut reachable = None;
        for _ in 0..ROUNDS_MAX {
            let seen = match self.with(Isolation::look) {
                Ok(seen) => seen,
                Err(error) => return outcome(&error),
            };
            match owner(&seen, self.options.installation) {
                None if request.renewal => {
                    return conflict(&request.target, "nothing is in place to be renewed");
                }
                None => {}
                Some(Owner::Ours(transaction)) if transaction == request.transaction => {
                    let is_long = expires_in(&seen).is_some_and(|left| left + HOLD_TOLERANCE >= request.hold);
                    if !request.renewal && is_long && enforces(&seen) {
                        self.named = Some((request.transaction, name));
                        return Outcome::Landed;
                    }
                }
                Some(Owner::Ours(transaction)) => {
                    return conflict(&request.target, &format!("an isolation of {transaction} is in place"));
                }
                Some(Owner::Foreign(label)) => {
                    return conflict(
                        &request.target,
                        &format!("somebody else's isolation is in place ({label})"),
                    );
                }
            }
            let is_new = seen.cuts.iter().all(Option::is_none);
            let allowed: Option<&[Allowed]> = if is_new || !seen.defects.is_empty() {
                let lifelines = &self.options.lifelines;
                Some(reachable.get_or_insert_with(|| lifelines.reachable()))
            } else {
                None
            };
            let change = Isolate {
                allowed,
                timeout: request.hold.to_std(),
                comment: &label.to_string(),
            };
            match self.with(|it| it.isolate(&seen, change)) {
                Ok(()) => {
                    self.named = Some((request.transaction, name));
                    return Outcome::Landed;
                }
                Err(NftError::Moved { .. }) => {}
                Err(error) => return outcome(&error),
            }
        }
        Outcome::DidNotHappen(unsettled(&format!("isolate {}", request.target)))
    }

    fn lift(&mut self, request: &UndoRequest) -> Outcome {
        let label = Label {
            installation: self.options.installation,
            transaction: request.transaction,
        };
        match self.with(|it| lift_those(it, |it| it == label)) {
            Ok(_) => Outcome::Landed,
            Err(NftError::Moved { .. }) => {
                Outcome::DidNotHappen(unsettled(&format!("lift the isolation of {}", request.target)))
            }
            Err(error) => outcome(&error),
        }
    }

    fn read_owned(&mut self) -> Result<Owned, Failure> {
        let seen = self.with(Isolation::look).map_err(|error| failure(&error))?;
        self.former.clear();
        let labels = labels(&seen);
        if labels.is_empty() {
            return Ok(Owned {
                targets: Vec::new(),
                enforcing: enforces(&seen),
                unread: Vec::new(),
            });
        }
        let own = self.options.host.name();
        let own = own.map_err(|why| Failure::new(FailureKind::Unavailable, &Printable(&why).to_string()))?;
        let mut targets = Vec::new();
        for label in labels {
            if label.installation == self.options.installation {
                // What was isolated under another of its names is found under that one.
                let named = self.named.as_ref().filter(|(of, _)| *of == label.transaction);
                let name = named.map_or_else(|| own.clone(), |(_, name)| name.clone());
                targets.push(OwnedTarget {
                    transaction: label.transaction,
                    target: Target::Host(name),
                });
            } else {
                self.former.push(Former {
                    target: Target::Host(own.clone()),
                    label: label.to_string().into(),
                    expires_in: expires_in(&seen),
                });
            }
        }
        Ok(Owned {
            targets,
            enforcing: enforces(&seen),
            unread: Vec::new(),
        })
    }
}

impl Action for NftablesIsolateHost {
    fn describe(&self) -> Description {
        description("nftables", self.options.timeout + LIFELINES_WAIT, "CAP_NET_ADMIN")
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        if targets.is_empty() {
            return Vec::new();
        }
        match self.with(Isolation::look) {
            Ok(seen) => targets.iter().map(|it| self.observe_one(it, &seen)).collect(),
            Err(error) => vec![Err(failure(&error)); targets.len()],
        }
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        one_by_one(requests, |it| self.isolate(it))
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        one_by_one(requests, |it| self.lift(it))
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.read_owned()
    }

    fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        let lifted = release_everything(&self.options.table, Whose::Others(self.options.installation))
            .map_err(|error| failure(&error.source));
        lifted_and_read(self, lifted.map(|count| count as u64))
    }
}

/// How many isolations with a label of Staunch there are. A table that is missing holds none.
///
/// # Errors
/// [`ReleaseError`], for want of a better one: nothing was released.
pub fn count_labelled(table: &str, whose: Whose) -> Result<usize, ReleaseError> {
    let counted = open(table).and_then(|mut isolation| isolation.look()).map(|seen| {
        let labels = labels(&seen);
        labels.iter().filter(|label| whose.means(label.installation)).count()
    });
    counted.map_err(|source| released_nothing(table, source))
}

/// Lifts every isolation with a label of Staunch that is meant by `whose`, and returns how many there were.
///
/// The last resort for when the engine cannot be reached: nothing is recorded. A table that is missing holds nothing.
///
/// # Errors
/// [`ReleaseError`].
pub fn release_everything(table: &str, whose: Whose) -> Result<usize, ReleaseError> {
    open(table)
        .and_then(|mut isolation| lift_those(&mut isolation, |label| whose.means(label.installation)))
        .map_err(|source| released_nothing(table, source))
}

fn released_nothing(table: &str, source: NftError) -> ReleaseError {
    ReleaseError {
        table: table.to_owned(),
        released: 0,
        source,
    }
}

/// Opens the table for a change outside of a driver.
fn open(table: &str) -> Result<Isolation, NftError> {
    Isolation::open(table, Duration::from_secs(5))
}

/// Lifts what has a label that is meant, and nothing else; returns how many labels that were.
fn lift_those(isolation: &mut Isolation, is_meant: impl Fn(Label) -> bool) -> Result<usize, NftError> {
    for _ in 0..ROUNDS_MAX {
        let seen = isolation.look()?;
        let meant = |cut: &&Cut| label(cut).is_some_and(&is_meant);
        let versions: Vec<IpVersion> = seen.cuts.iter().flatten().filter(meant).map(|it| it.version).collect();
        if versions.is_empty() {
            return Ok(0);
        }
        match isolation.lift(&seen, &versions) {
            Ok(()) => return Ok(labels(&seen).into_iter().filter(|it| is_meant(*it)).count()),
            Err(NftError::Moved { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(NftError::Moved {
        doing: "lift an isolation".to_owned(),
    })
}

/// Carries out one after the other, and none after one that the kernel left without an answer.
fn one_by_one<R>(requests: &[R], mut work: impl FnMut(&R) -> Outcome) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        let outcome = if stalled(outcomes.last()) {
            not_tried()
        } else {
            work(request)
        };
        outcomes.push(outcome);
    }
    outcomes
}

fn conflict(target: &Target, found: &str) -> Outcome {
    let what = format!("cannot isolate {target}: {found}");
    Outcome::DidNotHappen(Failure::new(FailureKind::Conflict, &what))
}

fn label(cut: &Cut) -> Option<Label> {
    cut.comment.as_deref().and_then(Label::parse)
}

/// The labels of Staunch that are there, each once.
fn labels(seen: &Isolated) -> BTreeSet<Label> {
    seen.cuts.iter().flatten().filter_map(label).collect()
}

/// Whose the isolation is. A part of somebody else's makes all of it theirs: it is not ours to change.
fn owner(seen: &Isolated, installation: InstallationId) -> Option<Owner> {
    let mut owners = seen
        .cuts
        .iter()
        .flatten()
        .map(|it| Label::owner(it.comment.as_deref(), installation));
    let first = owners.next()?;
    let foreign = owners.find(|it| matches!(it, Owner::Foreign(_)) || *it != first);
    Some(foreign.unwrap_or(first))
}

/// When the first part of it ends.
fn expires_in(seen: &Isolated) -> Option<Span> {
    seen.cuts.iter().flatten().filter_map(|it| it.expires).min().map(span)
}

/// Whether all of the machine is cut off, or would be.
fn enforces(seen: &Isolated) -> bool {
    let cut = seen.cuts.iter().flatten().count();
    seen.defects.is_empty() && (cut == 0 || cut == seen.cuts.len())
}
