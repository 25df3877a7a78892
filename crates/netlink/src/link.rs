//! Links, addresses and routes of one network namespace, over rtnetlink.
//!
//! It never removes anything, and reads only the main routing table.

mod parse;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

pub use parse::{InterfaceAddress, parse_address, parse_gateways};

use crate::message::{Builder, CREATE, EXCLUSIVE, Malformed, Message};
use crate::socket::{Family, Socket, SocketError};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// `IFF_UP`
const UP: u32 = 1;
/// `IFA_F_NODAD`: an IPv6 address that is usable at once, without looking for a duplicate first.
const NO_DUPLICATE_DETECTION: u8 = 2;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const ROUTE_UNICAST: u8 = 1;
/// The length of `struct ifinfomsg`.
const LINK_HEADER_BYTES: usize = 16;
/// How often a dump that was overtaken by a change is repeated.
const DUMP_ATTEMPTS_MAX: usize = 8;

/// Why a link, an address or a route could not be read or changed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The process lacks `CAP_NET_ADMIN` in this network namespace.
    #[error("cannot {doing}: CAP_NET_ADMIN is needed")]
    Denied {
        /// What was being done.
        doing: String,
    },
    /// There is no such link, namespace or next hop.
    #[error("cannot {doing}: there is no such object")]
    Missing {
        /// What was being done.
        doing: String,
        /// The cause.
        source: SocketError,
    },
    /// It exists already.
    #[error("cannot {doing}: it exists already")]
    Exists {
        /// What was being done.
        doing: String,
    },
    /// Anything else.
    #[error("cannot {doing}")]
    Failed {
        /// What was being done.
        doing: String,
        /// The cause.
        source: SocketError,
    },
}

/// Where a link is moved to.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a, F: AsFd> {
    /// The namespace behind an open handle, such as a [`crate::namespace::NetNs`].
    Handle(&'a F),
    /// The namespace of a process.
    Process(u32),
}

/// A connection to the links of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Opens the connection; every answer is awaited at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LinkError::Failed`].
    pub fn open(timeout: Duration) -> Result<Self, LinkError> {
        let socket = Socket::open(Family::Route, timeout).map_err(|it| explain("open rtnetlink".to_owned(), it))?;
        Ok(Self { socket })
    }

    /// Makes a pair of connected virtual links, both down.
    ///
    /// # Errors
    ///
    /// [`LinkError::Exists`] when a name is taken, [`LinkError::Denied`].
    pub fn create_pair(&mut self, name: &str, peer: &str) -> Result<(), LinkError> {
        self.socket
            .request(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, 0, 0), |m| {
                m.text(IFLA_IFNAME, name);
                m.nest(IFLA_LINKINFO, |info| {
                    info.text(IFLA_INFO_KIND, "veth");
                    info.nest(IFLA_INFO_DATA, |data| {
                        data.nest(VETH_INFO_PEER, |other| {
                            other.raw(&link_header(0, 0, 0));
                            other.text(IFLA_IFNAME, peer);
                        });
                    });
                });
            })
            .map_err(|it| explain(format!("create the links \"{name}\" and \"{peer}\""), it))
    }

    /// Moves a link into another network namespace. It is down there and has lost its addresses.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`], [`LinkError::Exists`] when the name is taken there, [`LinkError::Denied`].
    pub fn move_link<F: AsFd>(&mut self, name: &str, destination: &Destination<'_, F>) -> Result<(), LinkError> {
        self.socket
            .request(NEW_LINK, 0, &link_header(0, 0, 0), |m| {
                m.text(IFLA_IFNAME, name);
                match destination {
                    Destination::Handle(handle) => m.bytes(IFLA_NET_NS_FD, &handle.as_fd().as_raw_fd().to_ne_bytes()),
                    Destination::Process(pid) => m.u32_ne(IFLA_NET_NS_PID, *pid),
                }
            })
            .map_err(|it| explain(format!("move the link \"{name}\" to another namespace"), it))
    }

    /// Sets a link up.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`], [`LinkError::Denied`].
    pub fn set_up(&mut self, name: &str) -> Result<(), LinkError> {
        self.socket
            .request(NEW_LINK, 0, &link_header(0, UP, UP), |m| m.text(IFLA_IFNAME, name))
            .map_err(|it| explain(format!("set the link \"{name}\" up"), it))
    }

    /// Returns the index of a link.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`].
    pub fn index(&mut self, name: &str) -> Result<u32, LinkError> {
        let read = |message: &Message<'_>| match message.payload.get(4..8) {
            Some(&[a, b, c, d]) => Ok(u32::from_ne_bytes([a, b, c, d])),
            _ => Err(Malformed { what: "link" }),
        };
        self.socket
            .ask(GET_LINK, &link_header(0, 0, 0), |m| m.text(IFLA_IFNAME, name), read)
            .map_err(|it| explain(format!("find the link \"{name}\""), it))
    }

    /// Adds an address with the length of its prefix to a link. An IPv6 address is usable at once.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`], [`LinkError::Exists`], [`LinkError::Denied`].
    pub fn add_address(&mut self, name: &str, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let index = self.index(name)?;
        let mut fixed = [family(address), prefix, NO_DUPLICATE_DETECTION, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        self.socket
            .request(NEW_ADDRESS, CREATE | EXCLUSIVE, &fixed, |m| {
                address_attribute(m, IFA_LOCAL, address);
                address_attribute(m, IFA_ADDRESS, address);
            })
            .map_err(|it| explain(format!("add {address}/{prefix} to the link \"{name}\""), it))
    }

    /// Adds a route to the main table: to `prefix`, or the default route, through `via` and, if given, a link.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`], [`LinkError::Exists`], [`LinkError::Denied`].
    pub fn add_route(
        &mut self,
        prefix: Option<(IpAddr, u8)>,
        via: IpAddr,
        link: Option<&str>,
    ) -> Result<(), LinkError> {
        let index = link.map(|name| self.index(name)).transpose()?;
        let length = prefix.map_or(0, |(_, length)| length);
        let fixed = [
            family(via),
            length,
            0,
            0,
            TABLE_MAIN,
            PROTOCOL_STATIC,
            0,
            ROUTE_UNICAST,
            0,
            0,
            0,
            0,
        ];
        self.socket
            .request(NEW_ROUTE, CREATE | EXCLUSIVE, &fixed, |m| {
                if let Some((address, _)) = prefix {
                    address_attribute(m, RTA_DST, address);
                }
                address_attribute(m, RTA_GATEWAY, via);
                if let Some(index) = index {
                    m.u32_ne(RTA_OIF, index);
                }
            })
            .map_err(|it| explain(format!("add a route via {via}"), it))
    }

    /// Returns every address of every link.
    ///
    /// # Errors
    ///
    /// [`LinkError::Failed`].
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, LinkError> {
        self.collect("list the addresses", GET_ADDRESS, |payload, found| {
            found.extend(parse_address(payload)?);
            Ok(())
        })
    }

    /// Returns the next hops of the default routes in the main table, without repetition.
    ///
    /// # Errors
    ///
    /// [`LinkError::Failed`].
    pub fn gateways(&mut self) -> Result<Vec<IpAddr>, LinkError> {
        let mut gateways = self.collect("list the gateways", GET_ROUTE, |payload, found| {
            found.extend(parse_gateways(payload)?);
            Ok(())
        })?;
        gateways.sort_unstable();
        gateways.dedup();
        Ok(gateways)
    }

    fn collect<T>(
        &mut self,
        doing: &str,
        kind: u16,
        read: impl Fn(&[u8], &mut Vec<T>) -> Result<(), Malformed>,
    ) -> Result<Vec<T>, LinkError> {
        let mut attempt = 1;
        loop {
            let mut found = Vec::new();
            match self
                .socket
                .dump(kind, &[0; LINK_HEADER_BYTES], |_| {}, |it| read(it.payload, &mut found))
            {
                Ok(()) => return Ok(found),
                Err(SocketError::Interrupted) if attempt < DUMP_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(explain(doing.to_owned(), error)),
            }
        }
    }
}

fn explain(doing: String, error: SocketError) -> LinkError {
    match error.errno() {
        Some(Errno::EPERM | Errno::EACCES) => LinkError::Denied { doing },
        Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
            LinkError::Missing { doing, source: error }
        }
        Some(Errno::EEXIST) => LinkError::Exists { doing },
        _ => LinkError::Failed { doing, source: error },
    }
}

/// Makes a `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 }
}

fn address_attribute(message: &mut Builder, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(it) => message.bytes(kind, &it.octets()),
        IpAddr::V6(it) => message.bytes(kind, &it.octets()),
    }
}
