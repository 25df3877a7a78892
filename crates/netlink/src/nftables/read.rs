//! Reads elements: single ones, and all of them.

use std::net::IpAddr;

use nix::errno::Errno;

use super::element::{Key, write_key};
use super::parse::parse_element_list;
use super::{ELEMENT_SET, Element, GET_ELEMENT, INET, Nft, NftError, OBJECT_TABLE, layout};
use crate::message::{Builder, HEADER_BYTES, KIND_ACKNOWLEDGEMENT, REQUEST, parse_acknowledgement, parse_messages};
use crate::socket::SocketError;

/// How many single reads are sent at once. Their replies, about 1 KiB of kernel memory each, must fit the receive
/// buffer of an unprivileged process.
const GETS_IN_FLIGHT_MAX: usize = 128;

impl Nft {
    /// Reads one element; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// As [`Nft::get_elements`].
    pub fn get_element(&mut self, address: IpAddr) -> Result<Option<Element>, NftError> {
        Ok(self.get_elements(&[address])?.pop().flatten())
    }

    /// Reads single elements, in the order asked for; `None` for those that are not there.
    ///
    /// # Errors
    ///
    /// [`NftError::Missing`] when the table or the set is not there, which is not the same as an absent element.
    pub fn get_elements(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Element>>, NftError> {
        let mut found = vec![None; addresses.len()];
        for (addresses, found) in addresses
            .chunks(GETS_IN_FLIGHT_MAX)
            .zip(found.chunks_mut(GETS_IN_FLIGHT_MAX))
        {
            self.get_chunk(addresses, found)?;
        }
        Ok(found)
    }

    /// Reads every element of both sets, ordered by address.
    ///
    /// The kernel loses or repeats elements of a dump while it resizes the hash table in the background, without a
    /// word (seen on 6.18: 2,000 of 100,000 lost right after they were added). So a list counts only when it is as
    /// long as the kernel says the set is (6.16 and later), or when two in a row have the same addresses.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset kept changing, or no two lists agreed.
    pub fn list_elements(&mut self) -> Result<Vec<Element>, NftError> {
        let elements = self.map_elements(|element| element)?;
        Ok(elements.into_iter().map(|(_, element)| element).collect())
    }

    /// Reads every element as [`Nft::list_elements`] does, and keeps of each its address and what `keep` makes of it: a
    /// list of 100,000 whole elements takes 20 MiB.
    ///
    /// # Errors
    ///
    /// As [`Nft::list_elements`].
    pub fn map_elements<T>(&mut self, keep: impl Fn(Element) -> T) -> Result<Vec<(IpAddr, T)>, NftError> {
        let mut all = self.list_set(layout::BLOCK4, &keep)?;
        all.append(&mut self.list_set(layout::BLOCK6, &keep)?);
        Ok(all)
    }

    fn list_set<T>(&mut self, set: &str, keep: &impl Fn(Element) -> T) -> Result<Vec<(IpAddr, T)>, NftError> {
        let mut previous: Option<Vec<IpAddr>> = None;
        self.until_read(|nft| {
            let elements = nft.dump_set(set, keep)?;
            let is_whole = nft.set_length(set)?.is_some_and(|it| elements.len() >= it);
            let addresses = elements.iter().map(|(address, _)| *address);
            if is_whole
                || previous
                    .as_ref()
                    .is_some_and(|it| addresses.clone().eq(it.iter().copied()))
            {
                return Ok(elements);
            }
            previous = Some(addresses.collect());
            Err(NftError::Moved {
                doing: format!("list the set \"{set}\""),
            })
        })
    }

    fn dump_set<T>(&mut self, set: &str, keep: &impl Fn(Element) -> T) -> Result<Vec<(IpAddr, T)>, NftError> {
        let mut elements = Vec::new();
        let names = |m: &mut Builder| {
            m.text(OBJECT_TABLE, &self.table);
            m.text(ELEMENT_SET, set);
        };
        let read = self.socket.dump(GET_ELEMENT, &INET, names, |message| {
            parse_element_list(message.payload, |element| {
                elements.push((element.address, keep(element)));
            })
        });
        read.map_err(|it| NftError::of_read(format!("list the set \"{set}\""), it))?;
        elements.sort_unstable_by_key(|(address, _)| *address);
        elements.dedup_by_key(|(address, _)| *address);
        Ok(elements)
    }

    fn get_chunk(&mut self, addresses: &[IpAddr], found: &mut [Option<Element>]) -> Result<(), NftError> {
        let doing = || "read elements".to_owned();
        let first = self.socket.reserve(u32::try_from(addresses.len()).unwrap_or(u32::MAX));
        let mut builder = Builder::with_capacity(addresses.len() * 96);
        for (sequence, address) in (0..).map(|it: u32| first.wrapping_add(it)).zip(addresses) {
            builder.message(GET_ELEMENT, REQUEST, sequence, &INET, |m| {
                write_key(m, &self.table, *address);
            });
        }
        let failed = |source| NftError::of_read(doing(), source);
        let bytes = builder.finish().map_err(|it| failed(it.into()))?;
        self.socket.send(&bytes).map_err(failed)?;
        let mut open = addresses.len();
        let mut refused: Option<(IpAddr, SocketError)> = None;
        while open > 0 {
            for message in parse_messages(self.socket.receive(true).map_err(failed)?) {
                let message = message.map_err(|it| failed(it.into()))?;
                let index = message.header.sequence.wrapping_sub(first) as usize;
                let (Some(slot), Some(address)) = (found.get_mut(index), addresses.get(index)) else {
                    continue;
                };
                open = open.saturating_sub(1);
                if message.header.kind != KIND_ACKNOWLEDGEMENT {
                    parse_element_list(message.payload, |element| *slot = Some(element))
                        .map_err(|it| failed(it.into()))?;
                    continue;
                }
                let answer = parse_acknowledgement(message.header.flags, message.payload);
                let refusal = SocketError::refused(answer.map_err(|it| failed(it.into()))?);
                refused = refused.or(refusal
                    .err()
                    .filter(|it| !is_absent(it, &self.table))
                    .map(|it| (*address, it)));
            }
        }
        match refused {
            None => Ok(()),
            Some((address, error))
                if error.errno() == Some(Errno::ENOENT) && self.find_set(Key::of(address).set)?.is_some() =>
            {
                // The kernel did not say what is missing, but the set is there, so it was the element.
                Ok(())
            }
            Some((_, error)) => Err(NftError::of_read(doing(), error)),
        }
    }
}

/// Tells whether a refused read says that the element itself is absent: the kernel points at the attribute it could
/// not find, and the elements come after the names of the table and the set.
fn is_absent(error: &SocketError, table: &str) -> bool {
    let before_elements = HEADER_BYTES + INET.len() + (table.len() + 5) + (layout::BLOCK4.len() + 5);
    match error {
        SocketError::Refused {
            errno: Errno::ENOENT,
            offset: Some(offset),
            ..
        } => usize::try_from(*offset).is_ok_and(|it| it >= before_elements),
        _ => false,
    }
}
