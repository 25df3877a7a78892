//! Finds the addresses that must never be blocked because this host would cut itself off.
//!
//! Never asks the network, and never protects a peer for being connected: it reads interfaces and routes of the network
//! namespace of the calling thread, the resolver's configuration, and what sshd leaves in the environment of a session
//! once somebody has logged in.

mod files;

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

use files::{has_login, resolvers, ssh_peer};

/// Where the addresses of the resolvers are.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where the processes are.
pub const PROC: &str = "/proc";

/// Processes whose environment is read. A busy server has some hundreds; it bounds the time that a start takes.
const PROCESSES_MAX: usize = 16_384;

/// Bytes that are read of one environment. sshd and login shells leave some kilobytes.
const ENVIRONMENT_BYTES_MAX: u64 = 64 << 10;

/// Bytes that are read of the status of a process, which has about 1.5 KB.
const STATUS_BYTES_MAX: u64 = 8 << 10;

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
/// the peers of authenticated SSH sessions of the processes under `proc`; ordered, without repetition. A file that is
/// not there lists nothing.
///
/// A session is known by `SSH_CONNECTION` or `SSH_CLIENT`, which sshd sets after authentication, in the environment of
/// this process or of one whose user can log in. An open connection proves nothing: anybody can have one. Environments
/// that this process may not read (those of other users, unless it is root) are passed over, and so are sessions
/// without a process of their own (`ssh -N`): their addresses belong under `[never_touch]`.
///
/// # Errors
/// [`DiscoverError`]; a list with a part missing would protect too little.
pub fn protections(resolv_conf: &Path, proc: &Path) -> Result<Vec<Protection>, DiscoverError> {
    let mut links = Links::open(TIMEOUT)?;
    let mut found = own(&links.addresses()?);
    found.extend(links.gateways()?.into_iter().map(|it| protect(it, "gateway")));
    found.extend(resolvers(&read(resolv_conf)?).map(|it| protect(it, "resolver")));
    found.extend(sessions(proc).map(|it| protect(it, "management session (ssh)")));
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

/// The peers of authenticated SSH sessions of the processes under `proc`, as [`protections`] finds them: what may not
/// be read is passed over.
#[must_use]
pub fn session_peers(proc: &Path) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = sessions(proc).map(|it| it.to_canonical()).collect();
    found.sort_unstable();
    found.dedup();
    found
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

/// The peers of authenticated SSH sessions: our own, and those of processes whose user can log in.
fn sessions(proc: &Path) -> impl Iterator<Item = IpAddr> {
    let numbers = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = numbers.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let others = numbers.take(PROCESSES_MAX).filter(|process| {
        let status = beginning(&process.join("status"), STATUS_BYTES_MAX);
        status.is_some_and(|status| has_login(&String::from_utf8_lossy(&status)))
    });
    std::iter::once(proc.join("self"))
        .chain(others)
        .filter_map(|process| ssh_peer(&beginning(&process.join("environ"), ENVIRONMENT_BYTES_MAX)?))
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
