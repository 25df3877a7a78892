//! Finds the addresses that must never be blocked because this host would cut itself off.
//!
//! Never asks the network: it reads interfaces, routes, the resolver's configuration and the open sockets of the
//! network namespace of the calling thread.

mod files;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use nix::net::if_::if_indextoname;
use staunch_model::{Printable, Protection};
use staunch_netlink::link::{InterfaceAddress, LinkError, Links};
use thiserror::Error;

use files::{resolvers, ssh_peers};

/// Where the addresses of the resolvers are.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The open TCP connections, IPv4 and IPv6, of this thread's network namespace.
const TCP_TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// How long the kernel's answer is awaited.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the addresses could not be found.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// Interfaces and routes could not be read.
    #[error("cannot read this host's own addresses and gateways")]
    Links {
        /// The cause.
        #[from]
        source: LinkError,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Returns what this host depends on: its own addresses, its gateways, its resolvers as listed in `resolv_conf`, and
/// the peers of open SSH sessions; ordered, without repetition. A file that is not there lists nothing.
///
/// # Errors
/// [`DiscoverError`]; a list with a part missing would protect too little.
pub fn protections(resolv_conf: &Path) -> Result<Vec<Protection>, DiscoverError> {
    let mut links = Links::open(TIMEOUT)?;
    let mut found = own(&links.addresses()?);
    found.extend(links.gateways()?.into_iter().map(|it| protect(it, "gateway")));
    found.extend(resolvers(&read(resolv_conf)?).map(|it| protect(it, "resolver")));
    for table in TCP_TABLES {
        found.extend(ssh_peers(&read(Path::new(table))?).map(|it| protect(it, "management session (ssh)")));
    }
    found.sort_by(|a, b| (a.network, &a.reason).cmp(&(b.network, &b.reason)));
    found.dedup();
    Ok(found)
}

fn own(addresses: &[InterfaceAddress]) -> Vec<Protection> {
    let protect = |it: &InterfaceAddress| {
        // All of 127.0.0.0/8 is this host, not only the address that is configured.
        let network = Some(it.prefix).filter(|_| it.address.is_loopback());
        let network = network.and_then(|prefix| IpNet::new(it.address, prefix).ok());
        let network = network.map_or_else(|| IpNet::from(it.address), |it| it.trunc());
        Protection {
            network,
            reason: format!("own address of {}", link_name(it.index)).into(),
        }
    };
    addresses.iter().map(protect).collect()
}

/// The name of a link; its number when it went away meanwhile.
fn link_name(index: u32) -> String {
    match if_indextoname(index) {
        Ok(name) => Printable(&name.to_string_lossy()).to_string(),
        Err(_) => format!("link {index}"),
    }
}

fn protect(address: IpAddr, reason: &str) -> Protection {
    Protection {
        network: IpNet::from(address.to_canonical()),
        reason: reason.into(),
    }
}

/// Reads a file; one that is not there is empty.
fn read(path: &Path) -> Result<String, DiscoverError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(DiscoverError::File {
            path: path.to_owned(),
            source,
        }),
    }
}
