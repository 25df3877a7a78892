//! Blocks one address with an element in an nftables set, or limits it, by a table whose rules do the one or the other.
//!
//! # Expected flow
//! Look up the set, add the element with a timeout in one atomic batch with its like, and be asked again to read it
//! back. The kernel removes the element by itself when the timeout ends.
//!
//! # Guarantees
//! Executing twice equals executing once. Undo removes only an element that carries this transaction's label, checked
//! and deleted under one generation of the ruleset. No other table is ever touched. An element is *created*: the
//! kernel refuses when anything is at the address, so a world that moved between `observe` and `execute` is a
//! `Conflict`. The version, which is the generation of the whole ruleset, is deliberately no condition of `execute`:
//! every element that anybody adds makes a new one, so concurrent transactions would refuse each other, while all that
//! matters to an element is that its own place is empty.
//!
//! # Assumptions
//! The table `inet <table>` is ours by name. Where it, or a part of it, is missing, `execute` makes it again.
//!
//! # Caveats
//! Flows already offloaded to hardware may live on until they expire. A set that exists keeps the size it was made
//! with. On kernels before 6.16 the number of elements in use is counted from the last list and our own changes, and
//! on those before 6.11 a renewal starts the counters again. The list behind `owned` can miss an element while the
//! kernel collects expired ones; certainty about one address comes from `observe`.
//!
//! # Errors
//! `Denied` (no CAP_NET_ADMIN), `Unavailable` (busy, or the ruleset kept changing), `Conflict` (something else is at
//! the address, or the table has another shape), `Full`, `Invalid` (a hold out of bounds); `InDoubt` when the kernel's
//! answer was lost.

mod claim;
mod connection;
pub(in crate::actions) mod error;
mod execute;
mod undo;

use std::net::IpAddr;
use std::time::Duration;

use staunch_model::{
    ActionKind, Capacity, Description, Failure, FailureKind, InstallationId, Observation, Outcome, Presence, Span,
    Target, TransactionId,
};
use staunch_netlink::nftables::{Element, Limit, Nft, NftError, TableOptions};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

use super::super::former::lifted_and_read;
use super::super::{Label, Whose};
use super::{address_of, description};
pub use claim::{Claim, ClaimError, Holder};
use connection::{Connection, set_of, spoils};
use error::failure;
pub use error::{ReleaseError, StartError};
pub use undo::{count_labelled, release_everything};

/// The most elements in one batch; the kernel takes a little more (`ELEMENTS_PER_BATCH_MAX`).
const BATCH_MAX: usize = 1_000;
const _: () = assert!(BATCH_MAX <= staunch_netlink::nftables::ELEMENTS_PER_BATCH_MAX);

/// How often a batch is tried again without those that stood in its way.
const ROUNDS_MAX: usize = 8;

/// How the driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftablesOptions {
    /// The table, of the family `inet`. Default: `staunch`.
    pub table: String,
    /// How much of the traffic of an address passes; `None` for nothing of it. Default: `None`. With a limit, a table
    /// of its own is needed, and Linux 5.11.
    pub limit: Option<Limit>,
    /// Whose elements are ours.
    pub installation: InstallationId,
    /// The most elements in each of the two sets (IPv4, IPv6). Default: 131,072.
    pub elements_max: u32,
    /// Whether to switch conntrack on in the network namespace, so that traffic shares are known. Default: true.
    pub track_flows: bool,
    /// How long the kernel's answer is awaited. Default: one second.
    pub timeout: Duration,
}

impl NftablesOptions {
    /// The defaults for `installation`.
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self {
            table: "staunch".to_owned(),
            limit: None,
            installation,
            elements_max: 131_072,
            track_flows: true,
            timeout: Duration::from_secs(1),
        }
    }
}

/// The driver. It works in the network namespace of the thread that uses it first.
#[derive(Debug)]
pub struct NftablesIp {
    options: NftablesOptions,
    /// The limit that was asked for.
    asked: Option<Limit>,
    /// `None` until first used, and after an error that may have left it out of step.
    connection: Option<Connection>,
    checked: Option<Checked>,
    /// How many elements are in the sets, as far as known.
    used: [u64; 2],
    /// What other installations had there when everything was last listed.
    former: Vec<Former>,
}

/// The newest full check of the table.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// The generation it holds for.
    generation: u32,
    /// How many changes of our own, which touch elements only, landed since.
    own_changes: u32,
    /// Whether every set, chain and rule was there.
    intact: bool,
}

/// Whose an element is.
enum Found {
    /// This installation's, for this transaction.
    Ours(TransactionId),
    /// Another installation's.
    Former(Box<Former>),
    /// Somebody's who is not Staunch.
    Other,
}

impl NftablesIp {
    /// Makes a driver that opens its connection, and makes its table, when it first acts.
    #[must_use]
    pub fn new(options: NftablesOptions) -> Self {
        Self {
            asked: options.limit,
            options,
            connection: None,
            checked: None,
            used: [0; 2],
            former: Vec::new(),
        }
    }

    /// Makes the table, or what is missing of it, and a driver for it.
    ///
    /// # Errors
    /// [`StartError`], which knows what to do about it.
    pub fn start(options: NftablesOptions) -> Result<Self, StartError> {
        let mut driver = Self::new(options);
        if let Err(source) = driver.ensure_table() {
            return Err(StartError {
                table: driver.options.table,
                source,
            });
        }
        // Only to know how many elements there are where the kernel does not say; the next sweep lists again.
        let _ = driver.list();
        Ok(driver)
    }

    /// Makes a driver that limits. Its table is made when it first acts. One that was made with another limit is
    /// deleted when nothing is in it, to be made anew; otherwise what is limited keeps its limit, and so do those that
    /// join it.
    ///
    /// # Errors
    /// [`StartError`] when the table is not one of limits, or cannot be read.
    pub fn start_limiting(options: NftablesOptions) -> Result<Self, StartError> {
        let mut driver = Self::limiting_as_found(options)?;
        let asked = driver.asked;
        if driver.options.limit == asked {
            return Ok(driver);
        }
        let emptied = driver.with(|it| {
            let is_empty = it.nft.list_elements()?.is_empty();
            if is_empty {
                it.nft.delete_table()?;
            }
            Ok(is_empty)
        });
        match emptied {
            Ok(false) => {}
            Ok(true) => {
                driver.options.limit = asked;
                driver.connection = None;
            }
            Err(source) => return Err(driver.cannot_start(source)),
        }
        Ok(driver)
    }

    /// A driver that limits, with the limit that its table was made with, if it is there. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::start_limiting`].
    pub fn limiting_as_found(options: NftablesOptions) -> Result<Self, StartError> {
        let mut driver = Self::new(options);
        match driver.with(|it| Ok((it.nft.table_present()?, it.nft.limit_found()?))) {
            Ok((true, Some(found))) => {
                driver.options.limit = Some(found);
                // It was opened for the other limit.
                driver.connection = None;
                Ok(driver)
            }
            Ok(_) => Ok(driver),
            Err(source) => Err(driver.cannot_start(source)),
        }
    }

    /// The limit that is in force, when it is another than was asked for.
    #[must_use]
    pub fn other_limit(&self) -> Option<Limit> {
        self.options.limit.filter(|limit| Some(*limit) != self.asked)
    }

    fn cannot_start(self, source: NftError) -> StartError {
        StartError {
            table: self.options.table,
            source,
        }
    }

    /// What it does to addresses.
    fn kind(&self) -> ActionKind {
        match self.options.limit {
            None => ActionKind::BlockIp,
            Some(_) => ActionKind::RateLimitIp,
        }
    }

    /// Uses the connection, opening it when there is none, and drops it when it may be out of step.
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, NftError>) -> Result<T, NftError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.options.table, self.options.limit, self.options.timeout)?,
        };
        let result = work(&mut connection);
        if !result.as_ref().is_err_and(spoils) {
            self.connection = Some(connection);
        }
        result
    }

    /// Makes what is missing of the table.
    fn ensure_table(&mut self) -> Result<(), NftError> {
        let table = TableOptions {
            elements_max: self.options.elements_max,
            track_flows: self.options.track_flows,
        };
        self.checked = None;
        self.with(|it| it.nft.ensure_table(table))
    }

    /// Whether the table is whole. The check is repeated only when somebody else changed the ruleset since: each
    /// change adds one to the generation, so our own can be told from those of others.
    fn intact_at(&mut self, generation: u32) -> Result<bool, NftError> {
        if let Some(checked) = &mut self.checked
            && checked.generation.wrapping_add(checked.own_changes) == generation
        {
            checked.generation = generation;
            checked.own_changes = 0;
            return Ok(checked.intact);
        }
        self.checked = None;
        let intact = self.with(|it| it.nft.chains_intact())?;
        // The generation was read before the check: if it moved in between, the next look checks again.
        self.checked = Some(Checked {
            generation,
            own_changes: 0,
            intact,
        });
        Ok(intact)
    }

    /// Notes that one batch of our own landed, which changed the number of elements at `addresses`.
    fn landed(&mut self, addresses: &[IpAddr], added: bool) {
        if let Some(checked) = &mut self.checked {
            checked.own_changes = checked.own_changes.wrapping_add(1);
        }
        for address in addresses {
            let used = &mut self.used[set_of(*address)];
            *used = if added { *used + 1 } else { used.saturating_sub(1) };
        }
    }

    /// Reads the targets, all or none.
    fn look(&mut self, targets: &[Target]) -> Result<Vec<Observation>, NftError> {
        let addresses: Vec<IpAddr> = targets.iter().map(address_of).collect();
        let (generation, lengths, elements) =
            self.with(|it| Ok((it.generation()?, it.lengths(&addresses)?, it.elements(&addresses)?)))?;
        let enforcing = self.intact_at(generation)?;
        for (used, length) in self.used.iter_mut().zip(lengths) {
            *used = length.unwrap_or(*used);
        }
        let max = u64::from(self.options.elements_max);
        let observe = |(address, element): (&IpAddr, Option<Element>)| Observation {
            stopped_packets: element.as_ref().and_then(|it| it.packets),
            presence: element.map_or(Presence::Absent, |it| Presence::Present {
                owner: Label::owner(it.comment.as_deref(), self.options.installation),
                expires_in: it.expires.map(span),
            }),
            enforcing,
            version: generation.into(),
            capacity: Some(Capacity {
                used: self.used[set_of(*address)],
                max,
            }),
        };
        Ok(addresses.iter().zip(elements).map(observe).collect())
    }

    /// Lists every element and whose it is; `None` when the table is missing altogether.
    fn list(&mut self) -> Result<Option<Vec<(IpAddr, Found)>>, NftError> {
        let installation = self.options.installation;
        let whose = |element: Element| match element.comment.as_deref().and_then(Label::parse) {
            Some(label) if label.installation == installation => Found::Ours(label.transaction),
            Some(label) => Found::Former(Box::new(Former {
                target: Target::Address(element.address),
                label: label.to_string().into(),
                expires_in: element.expires.map(span),
            })),
            None => Found::Other,
        };
        let listed = self.with(|it| match it.nft.map_elements(whose) {
            Ok(elements) => Ok(Some(elements)),
            // With only a part of it missing, an empty list would be a lie about the other part.
            Err(NftError::Missing { .. }) if !it.nft.table_present()? => Ok(None),
            Err(error) => Err(error),
        })?;
        self.used = [0; 2];
        for (address, _) in listed.iter().flatten() {
            self.used[set_of(*address)] += 1;
        }
        Ok(listed)
    }

    fn read_owned(&mut self) -> Result<Owned, NftError> {
        let listed = self.list()?.unwrap_or_default();
        let generation = self.with(Connection::generation)?;
        let enforcing = self.intact_at(generation)?;
        self.former.clear();
        let mut targets = Vec::new();
        for (address, whose) in listed {
            let target = Target::Address(address);
            match whose {
                Found::Ours(transaction) => targets.push(OwnedTarget { transaction, target }),
                Found::Former(former) => self.former.push(*former),
                Found::Other => {}
            }
        }
        Ok(Owned {
            targets,
            enforcing,
            unread: Vec::new(),
        })
    }
}

impl Action for NftablesIp {
    fn describe(&self) -> Description {
        description(self.kind(), "nftables", self.options.timeout, "CAP_NET_ADMIN")
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        match self.look(targets) {
            Ok(seen) => seen.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(failure(&error)); targets.len()],
        }
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        self.execute_all(requests)
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        self.undo_all(requests)
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.read_owned().map_err(|error| failure(&error))
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

/// Opens the table for a change outside of a driver.
fn open(table: &str) -> Result<Nft, NftError> {
    Nft::open(table, Duration::from_secs(5))
}

pub(in crate::actions) fn unsettled(what: &str) -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        &format!("cannot {what}: the ruleset kept changing"),
    )
}

/// Tells whether the kernel left the request before this one without an answer. The rest of a call is not tried then,
/// so that a call waits once and not once for each request.
pub(in crate::actions) fn stalled(before: Option<&Outcome>) -> bool {
    matches!(before, Some(Outcome::InDoubt(_))) || before.is_some_and(|it| *it == not_tried())
}

pub(in crate::actions) fn not_tried() -> Outcome {
    let what = "not tried: the packet filter left an earlier request of the same batch without an answer";
    Outcome::DidNotHappen(Failure::new(FailureKind::Unavailable, what))
}

pub(in crate::actions) fn span(duration: Duration) -> Span {
    Span::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
