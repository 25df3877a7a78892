//! What the tests in network namespaces share: namespaces, witnesses, and waiting for a condition instead of a time.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use staunch_connectors::actions::block_ip::NftablesOptions;
use staunch_model::{InstallationId, Target};
use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NamespaceError, NetNs, run_in_new_net};
use staunch_netlink::nftables::{Limit, Nft, TableOptions};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const OURS: InstallationId = InstallationId([0xa0; 8]);

/// Runs a test in a new network namespace, or says why it cannot run.
pub(crate) fn in_new_net(test: &str, work: impl FnOnce() + Send) {
    match run_in_new_net(work) {
        Ok(()) => {}
        Err(error @ (NamespaceError::Net { .. } | NamespaceError::Loopback { .. })) => {
            staunch_testkit::skip(test, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
}

/// As [`in_new_net`], with `nft` as a witness.
pub(crate) fn in_new_net_with_nft(test: &str, work: impl FnOnce() + Send) {
    match Command::new("nft").arg("--version").stdout(Stdio::null()).status() {
        Ok(_) => in_new_net(test, work),
        Err(error) => staunch_testkit::skip(test, &format!("nft is not installed: {error}")),
    }
}

pub(crate) fn options(installation: InstallationId) -> NftablesOptions {
    NftablesOptions {
        timeout: TIMEOUT,
        ..NftablesOptions::new(installation)
    }
}

/// A connection of the witness's own to the table.
pub(crate) fn witness() -> Nft {
    Nft::open("staunch", TIMEOUT).unwrap()
}

/// Makes the table as the driver does, with this limit.
pub(crate) fn make_table_with(limit: Option<Limit>) {
    let options = options(OURS);
    let table = TableOptions {
        elements_max: options.elements_max,
        track_flows: options.track_flows,
    };
    let witness = witness();
    let mut witness = match limit {
        Some(limit) => witness.limiting(limit),
        None => witness,
    };
    witness.ensure_table(table).unwrap();
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(text: &str) -> Target {
    Target::Address(ip(text))
}

/// Loads commands with `nft`, and expects it to work.
pub(crate) fn nft(commands: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{commands}");
}

/// What `nft` shows of `what`.
pub(crate) fn nft_list(what: &str) -> String {
    let words = format!("list {what}");
    let output = Command::new("nft").args(words.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "{words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until the answer is there; the deadline is only for a broken system.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::yield_now();
    }
}

/// Connects this namespace by a pair of links with another one, which lives as long as the returned handle.
pub(crate) fn connect_namespaces(ours: &[&str], theirs: &[&str]) -> NetNs {
    let other = run_in_new_net(|| NetNs::current().unwrap()).unwrap();
    let mut links = Links::open(TIMEOUT).unwrap();
    links.create_pair("here", "there").unwrap();
    links.move_link("there", &Destination::Handle(&other)).unwrap();
    prepare("here", ours);
    inside(&other, || prepare("there", theirs));
    other
}

/// Runs work on a thread inside another namespace.
pub(crate) fn inside<T: Send>(namespace: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let task = || {
            namespace.enter().unwrap();
            work()
        };
        scope.spawn(task).join().unwrap()
    })
}

/// Opens a connection from `client` in another namespace to `server` here; the server's end comes first.
pub(crate) fn connection(other: &NetNs, server: &str, client: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::new(ip(server), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let theirs = inside(other, || {
        // An IPv6 link needs a moment until it carries traffic.
        until("the server is reachable", || {
            let family = if address.is_ipv4() {
                AddressFamily::Inet
            } else {
                AddressFamily::Inet6
            };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            bind(
                socket.as_raw_fd(),
                &SockaddrStorage::from(SocketAddr::new(ip(client), 0)),
            )
            .ok()?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).ok()?;
            Some(TcpStream::from(socket))
        })
    });
    (listener.accept().unwrap().0, theirs)
}

fn prepare(link: &str, addresses: &[&str]) {
    let mut links = Links::open(TIMEOUT).unwrap();
    for address in addresses {
        let address = ip(address);
        links
            .add_address(link, address, if address.is_ipv4() { 24 } else { 64 })
            .unwrap();
    }
    links.set_up(link).unwrap();
}
