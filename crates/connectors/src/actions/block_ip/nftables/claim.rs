//! The claim on an enforcement point: one process at a time enforces with a table of a network namespace.
//!
//! Never touches the packet filter. Two installations that enforce with one table would each find the other's elements
//! in the way and, with a copied data directory, each lift what the other has put in force.
//!
//! The claim is an abstract Unix socket. Its name lives in the network namespace, as the table does, so that containers
//! that share a namespace share the claim, whatever files they see; and the kernel takes it back however its process
//! ends. Any process of the namespace can take the name first, which keeps Staunch from starting and does no other
//! harm: the error names that process.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use thiserror::Error;

/// A claim that is held until it is dropped, or its process ends.
#[derive(Debug)]
pub struct Claim {
    _name: UnixListener,
}

/// Who holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process, as this process sees it; 0 when it is in a namespace of processes that cannot be seen from here.
    pub process: i32,
    /// The user that it ran as when it took the claim.
    pub user: u32,
}

/// Why an enforcement point could not be claimed.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// Another process holds it.
    #[error("another Staunch enforces with the table \"inet {table}\" of this network namespace{}", told(*.holder))]
    Held {
        /// The table.
        table: String,
        /// Who it is, when that can be found out.
        holder: Option<Holder>,
    },
    /// It could not be tried.
    #[error("cannot claim the table \"inet {table}\"")]
    Claim {
        /// The table.
        table: String,
        /// The cause.
        source: io::Error,
    },
}

fn told(holder: Option<Holder>) -> String {
    match holder {
        Some(Holder { process: 0, user }) => format!(": a process of user {user} in another container"),
        Some(Holder { process, user }) => format!(": process {process} of user {user}"),
        None => String::new(),
    }
}

impl Claim {
    /// Claims `table` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`ClaimError::Held`] while another process enforces with it.
    pub fn take(table: &str) -> Result<Self, ClaimError> {
        let failed = |source| ClaimError::Claim {
            table: table.to_owned(),
            source,
        };
        let name = SocketAddr::from_abstract_name(format!("staunch/enforces/inet/{table}")).map_err(failed)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self { _name: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::Held {
                table: table.to_owned(),
                holder: holder(&name),
            }),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Who holds `name`. The kernel says it at once: nobody has to accept the connection.
fn holder(name: &SocketAddr) -> Option<Holder> {
    let stream = UnixStream::connect_addr(name).ok()?;
    let found = getsockopt(&stream, PeerCredentials).ok()?;
    Some(Holder {
        process: found.pid(),
        user: found.uid(),
    })
}

#[cfg(test)]
mod tests {
    use staunch_netlink::namespace::run_in_new_net;

    use super::*;

    fn one_at_a_time() {
        let first = Claim::take("staunch").unwrap();
        let Err(ClaimError::Held { holder, .. }) = Claim::take("staunch") else {
            panic!("it was claimed twice");
        };
        let this = i32::try_from(std::process::id()).unwrap();
        assert_eq!(holder.map(|it| it.process), Some(this));
        let _other_table = Claim::take("another").unwrap();
        drop(first);
        let _again = Claim::take("staunch").unwrap();
        // Another namespace has another table of that name.
        run_in_new_net(|| drop(Claim::take("staunch").unwrap())).unwrap();
    }

    #[test]
    fn a_table_is_claimed_by_one_at_a_time() {
        if let Err(error) = run_in_new_net(one_at_a_time) {
            staunch_testkit::skip("a_table_is_claimed_by_one_at_a_time", &error.to_string());
        }
    }
}
