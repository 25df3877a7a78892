//! The two sockets a driver keeps open: one for its table, one for two numbers about the ruleset.
//!
//! Never changes anything by itself.

use std::net::IpAddr;
use std::time::Duration;

use staunch_netlink::Errno;
use staunch_netlink::nftables::{Element, Limit, Nft, NftError, parse_generation, parse_set};
use staunch_netlink::socket::{Family, Socket, SocketError};

/// `NFT_MSG_GETSET` and `NFT_MSG_GETGEN` of the subsystem `NFNL_SUBSYS_NFTABLES`.
const GET_SET: u16 = 10 << 8 | 10;
const GET_GENERATION: u16 = 10 << 8 | 16;
/// `struct nfgenmsg` for the family `inet`, and for none.
const INET: [u8; 4] = [1, 0, 0, 0];
const UNSPECIFIED: [u8; 4] = [0; 4];

/// The sets of the table: IPv4, IPv6.
const SETS: [&str; 2] = ["block4", "block6"];

/// Which of the sets holds an address.
pub(super) fn set_of(address: IpAddr) -> usize {
    usize::from(address.to_canonical().is_ipv6())
}

/// An open connection to the table.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) nft: Nft,
    reader: Socket,
    table: String,
}

impl Connection {
    pub(super) fn open(table: &str, limit: Option<Limit>, timeout: Duration) -> Result<Self, NftError> {
        let reader = Socket::open(Family::Netfilter, timeout).map_err(|source| NftError::Failed {
            doing: "open nf_tables".to_owned(),
            source,
        })?;
        let nft = Nft::open(table, timeout)?;
        Ok(Self {
            nft: match limit {
                Some(limit) => nft.limiting(limit),
                None => nft,
            },
            reader,
            table: table.to_owned(),
        })
    }

    /// The number of the ruleset's generation; never 0. Every change by anybody adds one.
    pub(super) fn generation(&mut self) -> Result<u32, NftError> {
        let read = self
            .reader
            .ask(GET_GENERATION, &UNSPECIFIED, |_| {}, |it| parse_generation(it.payload));
        read.map_err(|source| explain("read the generation of the ruleset", source))
    }

    /// How many elements each set holds, with those expired but not collected. `None` for a set that none of
    /// `addresses` belongs to, for one that is missing, and before kernel 6.16.
    pub(super) fn lengths(&mut self, addresses: &[IpAddr]) -> Result<[Option<u64>; 2], NftError> {
        let mut lengths = [None; 2];
        for (number, (length, set)) in lengths.iter_mut().zip(SETS).enumerate() {
            if !addresses.iter().any(|it| set_of(*it) == number) {
                continue;
            }
            let names = |m: &mut staunch_netlink::message::Builder| {
                m.text(1, &self.table);
                m.text(2, set);
            };
            match self.reader.ask(GET_SET, &INET, names, |it| parse_set(it.payload)) {
                Ok(set) => *length = set.elements.map(u64::from),
                Err(SocketError::Refused {
                    errno: Errno::ENOENT, ..
                }) => {}
                Err(source) => return Err(explain("read the length of a set", source)),
            }
        }
        Ok(lengths)
    }

    /// Reads elements, in the order asked for. Where a set is missing, so are its elements.
    pub(super) fn elements(&mut self, addresses: &[IpAddr]) -> Result<Vec<Option<Element>>, NftError> {
        match self.nft.get_elements(addresses) {
            Err(NftError::Missing { .. }) => {}
            found => return found,
        }
        let mut all = vec![None; addresses.len()];
        for set in 0..SETS.len() {
            let places: Vec<usize> = (0..addresses.len())
                .filter(|it| set_of(addresses[*it]) == set)
                .collect();
            let asked: Vec<IpAddr> = places.iter().map(|it| addresses[*it]).collect();
            match self.nft.get_elements(&asked) {
                Ok(found) => places
                    .into_iter()
                    .zip(found)
                    .for_each(|(place, element)| all[place] = element),
                Err(NftError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

/// Tells whether the sockets may be out of step with the kernel after this, so that new ones are better.
pub(super) fn spoils(error: &NftError) -> bool {
    matches!(
        error,
        NftError::Timeout { .. } | NftError::OutcomeUnknown { .. } | NftError::Failed { .. }
    )
}

fn explain(doing: &str, source: SocketError) -> NftError {
    let doing = doing.to_owned();
    match (source.errno(), source) {
        (Some(Errno::EPERM | Errno::EACCES), _) => NftError::Denied { doing },
        (_, SocketError::Timeout { after }) => NftError::Timeout { doing, after },
        (_, source) => NftError::Failed { doing, source },
    }
}
