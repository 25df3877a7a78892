//! Finds the addresses that must never be blocked because this host would cut itself off.
//!
//! Never asks the network, and never protects a peer for being connected: it reads interfaces and routes of the network
//! namespace of the calling thread, the resolver's configuration, and what sshd and the machine's records of logins say
//! of who has logged in.

pub mod files;
mod sessions;

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use nix::net::if_::if_indextoname;
use staunch_model::{Printable, Protection};
use staunch_netlink::link::{InterfaceAddress, LinkError, Links};
use thiserror::Error;

use files::resolvers;

pub use sessions::Sessions;

/// Where the addresses of the resolvers are.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

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
/// the peers of management `sessions`; ordered, without repetition. A file that is not there lists nothing.
///
/// An open connection proves nothing: anybody can have one. A session is passed over that neither an environment that
/// this process may read nor a record of logins tells of (without a terminal and without PAM, or with `UseDNS`, to a
/// process that is not root): such addresses belong under `[never_touch]`.
///
/// # Errors
/// [`DiscoverError`]; a list with a part missing would protect too little.
pub fn protections(resolv_conf: &Path, sessions: &Sessions) -> Result<Vec<Protection>, DiscoverError> {
    let mut links = Links::open(TIMEOUT)?;
    let mut found = own(&links.addresses()?);
    found.extend(links.gateways()?.into_iter().map(|it| protect(it, "gateway")));
    found.extend(resolvers(&read(resolv_conf)?).map(|it| protect(it, "resolver")));
    let session = |(peer, told): (IpAddr, &str)| protect(peer, &format!("management session ({told})"));
    found.extend(sessions.peers().into_iter().map(session));
    found.sort_by(|a, b| (a.network, &a.reason).cmp(&(b.network, &b.reason)));
    found.dedup();
    Ok(found)
}

/// This host's own addresses, but for those of loopback; ordered, without repetition.
///
/// # Errors
/// [`DiscoverError::Links`].
pub fn own_addresses() -> Result<Vec<IpAddr>, DiscoverError> {
    let addresses = Links::open(TIMEOUT)?.addresses()?;
    let mut found: Vec<IpAddr> = addresses.iter().map(|it| it.address.to_canonical()).collect();
    found.retain(|it| !it.is_loopback());
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The resolvers that are listed in `resolv_conf`; none when it is not there.
///
/// # Errors
/// [`DiscoverError::File`].
pub fn resolver_addresses(resolv_conf: &Path) -> Result<Vec<IpAddr>, DiscoverError> {
    Ok(resolvers(&read(resolv_conf)?).map(|it| it.to_canonical()).collect())
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

/// The first `bytes_max` bytes of a file; nothing when it cannot be read, as when its process has ended.
fn beginning(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
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
