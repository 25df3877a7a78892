//! A table of our own that cuts this network namespace off, but for what is to stay reachable, for a time that the
//! kernel counts.
//!
//! It never flushes a ruleset and never touches another table.
//!
//! The set `isolated` holds families of protocols, IPv4 and IPv6, each with a timeout. The chains leave alone what is
//! of a family that is not in it, so that the machine is back on the network when the elements have expired, whatever
//! has become of who put them there. What is let through by our chains is still dropped by those of other tables that
//! drop it.
//!
//! Caveats. What does not pass the hooks of `inet` is not cut: packet sockets, frames between ports of a bridge, flows
//! that are offloaded to hardware, and programs at the hook of a driver (XDP).

mod layout;

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::batch::{Batch, BatchError};
use super::element::{
    DATA_VALUE, ELEMENT_KEY, ELEMENT_TIMEOUT, ELEMENT_USERDATA, LIST_ELEMENT, comment_is_valid, comment_userdata,
    timeout_is_valid,
};
use super::parse::{Rule, Set, parse_cut_list, write_expression};
use super::table::{DORMANT, Found, SET_SHAPE, SET_TIMEOUT, present, write_chain};
use super::{
    DELETE_ELEMENT, DELETE_RULE, Defect, ELEMENT_LIST, ELEMENT_SET, GET_ELEMENT, Generation, INET, NEW_CHAIN,
    NEW_ELEMENT, NEW_RULE, NEW_SET, NEW_TABLE, Nft, NftError, OBJECT_TABLE,
};
use crate::message::{Builder, CREATE, EXCLUSIVE, Malformed};
use layout::{CHAINS, ISOLATED, RULE_COMMENT, Side, allowed_in};

/// The most networks and services that can stay reachable: a packet is compared with each of them.
pub const ALLOWED_MAX: usize = 256;

/// The data type of families of protocols as `nft` numbers it, for display only.
const TYPE_NFPROTO: u32 = 2;

/// A version of the internet protocol, as a family of protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `NFPROTO_*`
    const fn number(self) -> u8 {
        match self {
            Self::V4 => super::layout::NFPROTO_IPV4,
            Self::V6 => super::layout::NFPROTO_IPV6,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }
}

/// A version of the internet protocol that is cut off, as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Which.
    pub version: IpVersion,
    /// The timeout it was given; `None` when it never expires.
    pub timeout: Option<Duration>,
    /// How long it still has; `None` when it never expires.
    pub expires: Option<Duration>,
    /// Whose it is.
    pub comment: Option<String>,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Something that stays reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowed {
    /// All traffic with the addresses of a network.
    Network {
        /// An address of it.
        address: IpAddr,
        /// The length of its prefix.
        prefix: u8,
    },
    /// What is sent to one port of an address, and what comes from there.
    Service {
        /// The address.
        address: IpAddr,
        /// The protocol.
        transport: Transport,
        /// The port.
        port: u16,
        /// Whose sockets may send there; `None` for everybody's.
        user: Option<u32>,
    },
}

/// The table as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolated {
    /// The generation it holds for.
    pub generation: Generation,
    /// Everything about the table that makes "isolated" untrue.
    pub defects: Vec<Defect>,
    /// What is cut off of IPv4 and IPv6.
    pub cuts: [Option<Cut>; 2],
    /// What stays reachable, where the rules are whole.
    pub allowed: Vec<Allowed>,
    /// How many packets the rules have dropped since they were written.
    pub stopped_packets: u64,
}

/// A change to the table.
#[derive(Debug, Clone, Copy)]
pub struct Isolate<'a> {
    /// What is to stay reachable; `None` to leave the rules as they are.
    pub allowed: Option<&'a [Allowed]>,
    /// After how long the kernel lifts it.
    pub timeout: Duration,
    /// Whose it is.
    pub comment: &'a str,
}

/// A connection to such a table of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Isolation {
    nft: Nft,
}

impl Isolation {
    /// Opens a connection for the table `inet <table>`, which need not exist; every answer is awaited at most
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// [`NftError::Failed`].
    pub fn open(table: &str, timeout: Duration) -> Result<Self, NftError> {
        let nft = Nft::open(table, timeout)?;
        Ok(Self { nft })
    }

    /// Reads all of the table at one generation.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset kept changing.
    pub fn look(&mut self) -> Result<Isolated, NftError> {
        self.look_whole().map(|(isolated, _)| isolated)
    }

    /// Checks that the table is ours, or could be made so.
    ///
    /// # Errors
    ///
    /// [`NftError::Mismatch`] when an object has our name but another shape, or the table is somebody else's.
    pub fn check(&mut self) -> Result<(), NftError> {
        let wrong = wrong_in(&self.look_whole()?.1);
        if wrong.is_empty() {
            return Ok(());
        }
        Err(NftError::Mismatch { defects: wrong })
    }

    /// Makes what is missing of the table with its rules, as [`Isolate::allowed`] says, and cuts off both families,
    /// replacing what is cut off by then: all of it or nothing, and nothing when the ruleset is not as `seen` any more.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when it is not, [`NftError::Mismatch`] when an object has our name but another shape or the
    /// table is somebody else's.
    pub fn isolate(&mut self, seen: &Isolated, change: Isolate<'_>) -> Result<(), NftError> {
        if !timeout_is_valid(change.timeout) || !comment_is_valid(change.comment) {
            return Err(NftError::CutInvalid {
                timeout: change.timeout,
                comment: change.comment.to_owned(),
            });
        }
        self.change(seen, change.allowed, |batch, table| {
            for (version, cut) in IpVersion::ALL.into_iter().zip(&seen.cuts) {
                if cut.is_some() {
                    batch.push(DELETE_ELEMENT, 0, |m| write_cut(m, table, version, |_| {}));
                }
                batch.push(NEW_ELEMENT, CREATE | EXCLUSIVE, |m| {
                    write_cut(m, table, version, |element| {
                        let timeout = u64::try_from(change.timeout.as_millis()).unwrap_or(u64::MAX);
                        element.u64_be(ELEMENT_TIMEOUT, timeout);
                        if !change.comment.is_empty() {
                            element.bytes(ELEMENT_USERDATA, &comment_userdata(change.comment));
                        }
                    });
                });
            }
        })
    }

    /// Makes what is missing of the table with its rules, for what is to stay reachable, and cuts nothing off.
    ///
    /// # Errors
    ///
    /// As [`Isolation::isolate`].
    pub fn make(&mut self, seen: &Isolated, allowed: &[Allowed]) -> Result<(), NftError> {
        self.change(seen, Some(allowed), |_, _| {})
    }

    /// Lifts what is cut off of these families, and nothing when the ruleset is not as `seen` any more.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when it is not.
    pub fn lift(&mut self, seen: &Isolated, versions: &[IpVersion]) -> Result<(), NftError> {
        self.change(seen, None, |batch, table| {
            for version in versions {
                batch.push(DELETE_ELEMENT, 0, |m| write_cut(m, table, *version, |_| {}));
            }
        })
    }

    /// Deletes the table with everything in it.
    ///
    /// # Errors
    ///
    /// [`NftError::Missing`] when it is not there.
    pub fn delete_table(&mut self) -> Result<(), NftError> {
        self.nft.delete_table()
    }

    fn look_whole(&mut self) -> Result<(Isolated, Found), NftError> {
        self.nft.until_unmoved(|nft, generation| {
            let found = nft.find()?;
            let mut cuts = [None, None];
            if found.sets.iter().any(|it| it.name == ISOLATED && is_of_families(it)) {
                for (version, cut) in IpVersion::ALL.into_iter().zip(&mut cuts) {
                    *cut = find_cut(nft, version)?;
                }
            }
            if nft.generation()? != generation {
                return Err(NftError::Moved {
                    doing: format!("read {}", nft.name()),
                });
            }
            let drops = found.rules.iter().filter(|it| it.expressions == layout::drop_all());
            let isolated = Isolated {
                generation,
                defects: defects(&found),
                cuts,
                allowed: rules_of(&found, Side::Output)
                    .and_then(|it| allowed_in(Side::Output, &it))
                    .unwrap_or_default(),
                stopped_packets: drops.filter_map(|it| it.counter).map(|it| it.packets).sum(),
            };
            Ok((isolated, found))
        })
    }

    /// One batch at the generation of `seen`: what is missing of the table and its rules, and what `then` adds.
    fn change(
        &mut self,
        seen: &Isolated,
        allowed: Option<&[Allowed]>,
        then: impl FnOnce(&mut Batch, &str),
    ) -> Result<(), NftError> {
        let found = match allowed {
            Some(_) => self.look_whole()?.1,
            None => Found::default(),
        };
        let allowed_count = allowed.unwrap_or_default().len();
        if allowed_count > ALLOWED_MAX {
            return Err(NftError::TooManyAllowed { count: allowed_count });
        }
        let wrong = wrong_in(&found);
        if !wrong.is_empty() {
            return Err(NftError::Mismatch { defects: wrong });
        }
        // Each of what is allowed has at most three rules in all, and each chain fewer than 16 beside them.
        let capacity = 64 + found.rules.len() + allowed_count * 3;
        let mut batch = Batch::new(&mut self.nft.socket, Some(seen.generation), capacity);
        let table = self.nft.table.as_str();
        if let Some(allowed) = allowed {
            write_table(&mut batch, table, &found, allowed);
        }
        then(&mut batch, table);
        let doing = format!("change {}", self.nft.name());
        batch.commit(&mut self.nft.socket).map_err(|error| match error {
            // An element expired since it was read, or was put there, which does not change the generation.
            BatchError::Refused { refusal, .. } if matches!(refusal.errno(), Some(Errno::ENOENT | Errno::EEXIST)) => {
                NftError::Moved { doing }
            }
            error => NftError::of_change(doing, error),
        })
    }
}

fn find_cut(nft: &mut Nft, version: IpVersion) -> Result<Option<Cut>, NftError> {
    let table = nft.table.as_str();
    let mut found = None;
    let answer = nft.socket.ask(
        GET_ELEMENT,
        &INET,
        |m| write_cut(m, table, version, |_| {}),
        |message| {
            parse_cut_list(message.payload, |cut| found = Some(cut))?;
            Ok::<(), Malformed>(())
        },
    );
    present(answer).map_err(|it| NftError::of_read(format!("find what is cut off of {}", nft.name()), it))?;
    Ok(found.filter(|it| it.version == version))
}

fn is_of_families(set: &Set) -> bool {
    set.key_bytes == 1 && set.flags & SET_TIMEOUT != 0 && set.flags & SET_SHAPE == 0 && set.expressions.is_empty()
}

/// The rules of a chain, if it is there.
fn rules_of(found: &Found, side: Side) -> Option<Vec<&Rule>> {
    let name = side.chain().name;
    let has_chain = found.chains.iter().any(|it| it.name == name);
    has_chain.then(|| found.rules.iter().filter(|it| it.chain == name).collect())
}

fn defects(found: &Found) -> Vec<Defect> {
    let mut defects = Vec::new();
    match found.table {
        None => defects.push(Defect::TableMissing),
        Some(flags) if flags & DORMANT != 0 => defects.push(Defect::TableDormant),
        Some(_) => {}
    }
    match found.sets.iter().find(|it| it.name == ISOLATED) {
        None => defects.push(Defect::SetMissing { set: ISOLATED }),
        Some(set) if !is_of_families(set) => defects.push(Defect::SetShape { set: ISOLATED }),
        Some(_) => {}
    }
    for side in CHAINS {
        let layout = side.chain();
        let name = layout.name;
        match found.chains.iter().find(|it| it.name == name) {
            None => defects.push(Defect::ChainMissing { chain: name }),
            Some(chain) if !chain.matches(&layout) => defects.push(Defect::ChainShape { chain: name }),
            Some(_) => {
                let allowed = rules_of(found, side).and_then(|it| allowed_in(side, &it));
                if allowed.is_none_or(|it| side == Side::Forward && !it.is_empty()) {
                    defects.push(Defect::Rules { chain: name });
                }
            }
        }
    }
    defects
}

/// What keeps the table from being made ours.
fn wrong_in(found: &Found) -> Vec<Defect> {
    if found.table.is_none() {
        return Vec::new();
    }
    let mut wrong = defects(found);
    let is_strange = !found.sets.iter().any(|it| it.name == ISOLATED);
    wrong.retain(|it| {
        matches!(
            it,
            Defect::TableDormant | Defect::SetShape { .. } | Defect::ChainShape { .. }
        )
    });
    let sets = found.sets.iter().map(|it| &it.name);
    let first = sets.chain(found.chains.iter().map(|it| &it.name)).next();
    if let Some(name) = first.filter(|_| is_strange) {
        wrong.push(Defect::NotOurs { name: name.clone() });
    }
    wrong
}

/// Writes what is missing of the table, and all of our rules anew, before those of others.
fn write_table(batch: &mut Batch, table: &str, found: &Found, allowed: &[Allowed]) {
    if found.table.is_none() {
        batch.push(NEW_TABLE, CREATE, |m| m.text(OBJECT_TABLE, table));
    }
    if !found.sets.iter().any(|it| it.name == ISOLATED) {
        batch.push(NEW_SET, CREATE, |m| {
            m.text(1, table);
            m.text(2, ISOLATED);
            m.u32_be(3, SET_TIMEOUT);
            m.u32_be(4, TYPE_NFPROTO);
            m.u32_be(5, 1);
            m.u32_be(10, 1);
        });
    }
    for side in CHAINS {
        let layout = side.chain();
        if !found.chains.iter().any(|it| it.name == layout.name) {
            batch.push(NEW_CHAIN, CREATE, |m| write_chain(m, table, &layout));
        }
        let is_ours = |it: &&Rule| it.chain == layout.name && it.comment.as_deref() == Some(RULE_COMMENT);
        for rule in found.rules.iter().filter(is_ours) {
            batch.push(DELETE_RULE, 0, |m| {
                m.text(1, table);
                m.text(2, layout.name);
                m.u64_be(3, rule.handle);
            });
        }
        // Nothing is let through to others.
        let of_side = if side == Side::Forward { &[] } else { allowed };
        // Each is put before what is there, so the last becomes the first.
        for rule in side.rules(of_side).iter().rev() {
            batch.push(NEW_RULE, CREATE, |m| {
                m.text(1, table);
                m.text(2, layout.name);
                m.nest(4, |list| rule.iter().for_each(|it| write_expression(list, it)));
                m.bytes(7, &comment_userdata(RULE_COMMENT));
            });
        }
    }
}

fn write_cut(message: &mut Builder, table: &str, version: IpVersion, rest: impl FnOnce(&mut Builder)) {
    message.text(OBJECT_TABLE, table);
    message.text(ELEMENT_SET, ISOLATED);
    message.nest(ELEMENT_LIST, |list| {
        list.nest(LIST_ELEMENT, |element| {
            element.nest(ELEMENT_KEY, |it| it.bytes(DATA_VALUE, &[version.number()]));
            rest(element);
        });
    });
}
