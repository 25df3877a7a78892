//! What the tests share: namespaces, witnesses, and waiting for a condition instead of for a time.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NamespaceError, NetNs, run_in_new_net};
use staunch_netlink::nftables::{Nft, TableOptions};
use staunch_testkit::skip;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const OPTIONS: TableOptions = TableOptions {
    elements_max: 200_000,
    track_flows: true,
};

/// Runs a test in a new network namespace, or says why it cannot run.
pub(crate) fn in_new_net(test: &str, work: impl FnOnce() + Send) {
    match run_in_new_net(work) {
        Ok(()) => {}
        Err(error @ (NamespaceError::Net { .. } | NamespaceError::Loopback { .. })) => skip(test, &error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// Opens the table and makes it.
pub(crate) fn made() -> Nft {
    let mut nft = Nft::open("staunch", TIMEOUT).unwrap();
    nft.ensure_table(OPTIONS).unwrap();
    nft
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs a command in the namespace of this thread and returns what it wrote, or its complaint.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Runs `nft` with the words of a command, and expects it to work.
pub(crate) fn nft(words: &str) -> String {
    command("nft", &words.split(' ').collect::<Vec<_>>()).unwrap()
}

/// Loads a ruleset file with `nft`.
pub(crate) fn nft_load(text: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
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

/// Connects this namespace by a pair of links with another one, which lives as long as the returned handle, and gives
/// both sides an address: `ours` here, `theirs` there.
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
