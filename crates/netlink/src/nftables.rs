//! One nf_tables table of our own: two sets of single addresses with timeouts, and the rules that drop their traffic.
//!
//! It never flushes a ruleset and never touches another table.
//!
//! Every change is one batch, which the kernel applies whole or not at all. A change can be made conditional on the
//! [`Generation`] of the ruleset, so that what was observed still holds when it lands.
//!
//! Caveats. Keep an [`Nft`] open: closing its socket after a delete waits 8 to 32 ms for the kernel to free memory
//! (kernel 6.18). An element that expires does not change the generation, and a list of all elements can miss one while
//! the kernel collects expired ones; certainty about an address comes from [`Nft::get_elements`].

mod batch;
mod element;
mod error;
mod isolation;
mod layout;
mod parse;
mod read;
mod table;

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;

pub use element::{COMMENT_BYTES_MAX, Element, NewElement, TIMEOUT_MIN};
pub use error::NftError;
pub use isolation::{ALLOWED_MAX, Allowed, Cut, IpVersion, Isolate, Isolated, Isolation, Transport};
pub use parse::{
    Chain, Counter, Expression, Limit, Rule, Set, parse_chain, parse_comment, parse_cut_list, parse_element_list,
    parse_generation, parse_rule, parse_set,
};
pub use table::{Defect, TableOptions};

use crate::message::{CREATE, EXCLUSIVE};
use crate::socket::{Family, Socket};
use batch::{Batch, BatchError};
use element::{Key, comment_is_valid, timeout_is_valid, write_element, write_key};

/// The most elements in one batch. 1,024 with the longest comment are 270 KiB, and fit the 416 KiB that a send buffer
/// gets by default without `CAP_NET_ADMIN`.
pub const ELEMENTS_PER_BATCH_MAX: usize = 1_024;

/// How often a read or a conditional change that was overtaken by another change is repeated.
const ATTEMPTS_MAX: usize = 8;

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a message type.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// `struct nfgenmsg` for the family `inet`.
const INET: [u8; 4] = [1, 0, 0, 0];
/// `struct nfgenmsg` for no family.
const UNSPECIFIED: [u8; 4] = [0; 4];

/// The first attribute of every message about an object in a table is the name of the table.
const OBJECT_TABLE: u16 = 1;
/// `NFTA_SET_ELEM_LIST_SET` and `NFTA_SET_NAME`
const ELEMENT_SET: u16 = 2;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`
const ELEMENT_LIST: u16 = 3;

/// The generation of the whole ruleset of a network namespace. Any change by anybody makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    /// Its number, which is never 0. Every change by anybody adds one.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What [`Nft::delete_if`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteIf {
    /// The element had the expected comment and is deleted.
    Deleted,
    /// There was no such element.
    Absent,
    /// The element belongs to somebody else and is untouched.
    Other {
        /// The comment it has.
        comment: Option<String>,
    },
}

/// A connection to one table of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    table: String,
    /// How much of the traffic of an element passes; `None` for nothing of it.
    limit: Option<Limit>,
}

impl Nft {
    /// Opens a connection for the table `inet <table>`, which need not exist; every answer is awaited at most
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// [`NftError::Failed`].
    pub fn open(table: &str, timeout: Duration) -> Result<Self, NftError> {
        let opened = Socket::open(Family::Netfilter, timeout);
        let socket = opened.map_err(|source| NftError::Failed {
            doing: "open nf_tables".to_owned(),
            source,
        })?;
        Ok(Self {
            socket,
            table: table.to_owned(),
            limit: None,
        })
    }

    /// The same connection to a table that drops only what is above `limit`, counted for each element by itself and in
    /// both directions together. Needs Linux 5.11.
    #[must_use]
    pub fn limiting(self, limit: Limit) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// Returns the current generation of the ruleset.
    ///
    /// # Errors
    ///
    /// [`NftError::Timeout`], [`NftError::Failed`].
    pub fn generation(&mut self) -> Result<Generation, NftError> {
        self.socket
            .ask(
                GET_GENERATION,
                &UNSPECIFIED,
                |_| {},
                |message| parse_generation(message.payload),
            )
            .map(Generation)
            .map_err(|it| NftError::of_read("read the generation of the ruleset".to_owned(), it))
    }

    /// Adds all elements or none.
    ///
    /// # Errors
    ///
    /// [`NftError::Exists`] names the first address that is already there; nothing was added then.
    pub fn add_elements(&mut self, elements: &[NewElement<'_>]) -> Result<(), NftError> {
        self.add(None, elements)
    }

    /// Adds all elements, or none if the ruleset is not of this generation any more.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset changed; otherwise as [`Nft::add_elements`].
    pub fn add_elements_at(&mut self, at: Generation, elements: &[NewElement<'_>]) -> Result<(), NftError> {
        self.add(Some(at), elements)
    }

    /// Deletes all elements or none.
    ///
    /// # Errors
    ///
    /// [`NftError::Absent`] names the first address that is not there; nothing was deleted then.
    pub fn delete_elements(&mut self, addresses: &[IpAddr]) -> Result<(), NftError> {
        self.delete(None, addresses)
    }

    /// Deletes all elements, or none if the ruleset is not of this generation any more.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset changed; otherwise as [`Nft::delete_elements`].
    pub fn delete_elements_at(&mut self, at: Generation, addresses: &[IpAddr]) -> Result<(), NftError> {
        self.delete(Some(at), addresses)
    }

    /// Deletes those of the elements that are there, in one batch, and returns which were.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset kept changing.
    pub fn delete_present(&mut self, addresses: &[IpAddr]) -> Result<Vec<bool>, NftError> {
        self.until_unmoved(|nft, at| {
            let present: Vec<bool> = nft.get_elements(addresses)?.iter().map(Option::is_some).collect();
            let chosen: Vec<IpAddr> = addresses
                .iter()
                .zip(&present)
                .filter(|(_, there)| **there)
                .map(|(address, _)| *address)
                .collect();
            match nft.delete_elements_at(at, &chosen) {
                Ok(()) => Ok(present),
                // It expired since it was read, which does not change the generation.
                Err(NftError::Absent { address }) => Err(NftError::Moved {
                    doing: format!("delete {address}"),
                }),
                Err(error) => Err(error),
            }
        })
    }

    /// Deletes an element if its comment is the expected one, with nothing able to happen in between.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset kept changing.
    pub fn delete_if(&mut self, address: IpAddr, comment: &str) -> Result<DeleteIf, NftError> {
        self.delete_if_with(address, comment, || {})
    }

    /// Gives an existing element with the expected comment a new timeout, counted from now, and returns it as read
    /// back.
    ///
    /// Kernels before 6.11 keep the old timeout; there the element is replaced, and its counters start again.
    ///
    /// # Errors
    ///
    /// [`NftError::Absent`], [`NftError::Foreign`] when the comment is another one, [`NftError::Moved`] when the
    /// ruleset kept changing.
    pub fn renew(&mut self, address: IpAddr, comment: &str, timeout: Duration) -> Result<Element, NftError> {
        if !timeout_is_valid(timeout) {
            return Err(NftError::TimeoutInvalid { address, timeout });
        }
        let new = NewElement {
            address,
            timeout,
            comment,
        };
        self.until_unmoved(|nft, at| {
            nft.expect_ours(address, comment)?;
            let mut batch = Batch::new(&mut nft.socket, Some(at), 1);
            let table = nft.table.as_str();
            batch.push(NEW_ELEMENT, CREATE, |m| write_element(m, table, &new, true));
            nft.commit(batch, &[address], "renew")
        })?;
        let renewed = self.get_element(address)?.ok_or(NftError::Absent { address })?;
        if renewed.was_given(timeout) {
            return Ok(renewed);
        }
        self.until_unmoved(|nft, at| {
            nft.expect_ours(address, comment)?;
            let mut batch = Batch::new(&mut nft.socket, Some(at), 2);
            let table = nft.table.as_str();
            batch.push(DELETE_ELEMENT, 0, |m| write_key(m, table, address));
            batch.push(NEW_ELEMENT, CREATE | EXCLUSIVE, |m| {
                write_element(m, table, &new, false);
            });
            nft.commit(batch, &[address, address], "replace")
        })?;
        self.get_element(address)?.ok_or(NftError::Absent { address })
    }

    fn add(&mut self, at: Option<Generation>, elements: &[NewElement<'_>]) -> Result<(), NftError> {
        for element in elements {
            if !timeout_is_valid(element.timeout) {
                return Err(NftError::TimeoutInvalid {
                    address: element.address,
                    timeout: element.timeout,
                });
            }
            if !comment_is_valid(element.comment) {
                return Err(NftError::CommentInvalid {
                    address: element.address,
                });
            }
        }
        let addresses: Vec<IpAddr> = elements.iter().map(|it| it.address).collect();
        let mut batch = self.batch(at, addresses.len())?;
        for element in elements {
            batch.push(NEW_ELEMENT, CREATE | EXCLUSIVE, |m| {
                write_element(m, &self.table, element, false);
            });
        }
        self.commit(batch, &addresses, "add")
    }

    fn delete(&mut self, at: Option<Generation>, addresses: &[IpAddr]) -> Result<(), NftError> {
        let mut batch = self.batch(at, addresses.len())?;
        for address in addresses {
            batch.push(DELETE_ELEMENT, 0, |m| write_key(m, &self.table, *address));
        }
        self.commit(batch, addresses, "delete")
    }

    fn batch(&mut self, at: Option<Generation>, count: usize) -> Result<Batch, NftError> {
        if count > ELEMENTS_PER_BATCH_MAX {
            return Err(NftError::TooMany { count });
        }
        Ok(Batch::new(&mut self.socket, at, count))
    }

    /// Commits a batch whose messages are about `addresses`, one each.
    fn commit(&mut self, batch: Batch, addresses: &[IpAddr], verb: &str) -> Result<(), NftError> {
        let Err(error) = batch.commit(&mut self.socket) else {
            return Ok(());
        };
        let address = error.index().and_then(|index| addresses.get(index)).copied();
        let doing = match address {
            Some(address) => format!(
                "{verb} {address} in the set \"{}\" of {}",
                Key::of(address).set,
                self.name()
            ),
            None => format!("{verb} {} elements of {}", addresses.len(), self.name()),
        };
        match (error, address) {
            (BatchError::Refused { refusal, .. }, Some(address)) => match refusal.errno() {
                Some(Errno::EEXIST) => Err(NftError::Exists { address }),
                Some(Errno::ENOENT) if self.find_set(Key::of(address).set)?.is_some() => {
                    Err(NftError::Absent { address })
                }
                Some(Errno::ENFILE | Errno::ENOSPC) => Err(NftError::Full { address }),
                _ => Err(NftError::of_change(doing, BatchError::Refused { index: None, refusal })),
            },
            (error, _) => Err(NftError::of_change(doing, error)),
        }
    }

    /// Deletes an element if its comment is the expected one; `meanwhile` happens between reading and deleting.
    fn delete_if_with(
        &mut self,
        address: IpAddr,
        comment: &str,
        mut meanwhile: impl FnMut(),
    ) -> Result<DeleteIf, NftError> {
        self.until_unmoved(|nft, at| {
            let found = nft.get_element(address)?;
            meanwhile();
            match found {
                None => Ok(DeleteIf::Absent),
                Some(found) if found.has_comment(comment) => match nft.delete_elements_at(at, &[address]) {
                    Ok(()) => Ok(DeleteIf::Deleted),
                    // It expired since it was read, which does not change the generation.
                    Err(NftError::Absent { .. }) => Ok(DeleteIf::Absent),
                    Err(error) => Err(error),
                },
                Some(found) => Ok(DeleteIf::Other { comment: found.comment }),
            }
        })
    }

    /// Checks that an element is there with the expected comment.
    fn expect_ours(&mut self, address: IpAddr, comment: &str) -> Result<(), NftError> {
        match self.get_element(address)? {
            None => Err(NftError::Absent { address }),
            Some(found) if found.has_comment(comment) => Ok(()),
            Some(found) => Err(NftError::Foreign {
                address,
                comment: found.comment,
            }),
        }
    }

    /// Repeats a conditional change while the ruleset moves under it.
    fn until_unmoved<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self, Generation) -> Result<T, NftError>,
    ) -> Result<T, NftError> {
        for _ in 1..ATTEMPTS_MAX {
            let at = self.generation()?;
            match attempt(self, at) {
                Err(NftError::Moved { .. }) => {}
                other => return other,
            }
        }
        let at = self.generation()?;
        attempt(self, at)
    }

    /// Repeats a dump while the ruleset moves under it.
    fn until_read<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, NftError>) -> Result<T, NftError> {
        for _ in 1..ATTEMPTS_MAX {
            match attempt(self) {
                Err(NftError::Moved { .. }) => {}
                other => return other,
            }
        }
        attempt(self)
    }

    /// Returns how errors name the table.
    fn name(&self) -> String {
        format!("table \"inet {}\"", self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::run_in_new_net;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn in_new_net(test: &str, work: impl FnOnce() + Send) {
        if let Err(error) = run_in_new_net(work) {
            staunch_testkit::skip(test, &error.to_string());
        }
    }

    fn opened() -> Nft {
        let mut nft = Nft::open("staunch", Duration::from_secs(5)).unwrap();
        nft.ensure_table(TableOptions {
            elements_max: 100,
            track_flows: false,
        })
        .unwrap();
        nft
    }

    fn put(nft: &mut Nft, comment: &str) {
        nft.add_elements(&[NewElement {
            address: ADDRESS,
            timeout: Duration::from_secs(60),
            comment,
        }])
        .unwrap();
    }

    #[test]
    fn an_element_that_replaced_the_expected_one_meanwhile_is_spared() {
        in_new_net("an_element_that_replaced_the_expected_one_meanwhile_is_spared", || {
            let (mut ours, mut other) = (opened(), opened());
            put(&mut ours, "expected");
            let mut rounds = 0;
            let result = ours.delete_if_with(ADDRESS, "expected", || {
                rounds += 1;
                if rounds == 1 {
                    other.delete_elements(&[ADDRESS]).unwrap();
                    put(&mut other, "protected");
                }
            });
            assert_eq!(
                result.unwrap(),
                DeleteIf::Other {
                    comment: Some("protected".to_owned())
                }
            );
            assert!(ours.get_element(ADDRESS).unwrap().unwrap().has_comment("protected"));
        });
    }

    #[test]
    fn a_ruleset_that_never_rests_ends_the_attempts() {
        in_new_net("a_ruleset_that_never_rests_ends_the_attempts", || {
            let (mut ours, mut other) = (opened(), opened());
            put(&mut ours, "expected");
            let mut rounds = 0;
            let result = ours.delete_if_with(ADDRESS, "expected", || {
                rounds += 1;
                other.delete_elements(&[ADDRESS]).unwrap();
                put(&mut other, "expected");
            });
            assert!(matches!(result.unwrap_err(), NftError::Moved { .. }));
            assert_eq!(rounds, ATTEMPTS_MAX);
        });
    }
}
