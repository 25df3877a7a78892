//! Three hosts in network namespaces of their own, joined by veth pairs, cut off from everything else.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use staunch_netlink::conntrack::Conntrack;
use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NetNs, enter_new_net};

/// For a connection, and for a request to the kernel.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// The protected server: the attacked side of the recorded alert.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(40, 110, 35, 23);
/// The attacking side of the recorded alert.
pub(crate) const ATTACKER: Ipv4Addr = Ipv4Addr::new(41, 108, 52, 138);
/// More addresses of the attacker's host, for the later scenes (TEST-NET-3, RFC 5737).
pub(crate) const OTHERS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(203, 0, 113, 41),
    Ipv4Addr::new(203, 0, 113, 42),
    Ipv4Addr::new(203, 0, 113, 43),
    Ipv4Addr::new(203, 0, 113, 44),
];
/// The load balancer (TEST-NET-2, RFC 5737).
pub(crate) const BALANCER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

const WEB: SocketAddrV4 = SocketAddrV4::new(SERVER, 8_080);
const PROBE_PORT: u16 = 9_999;

/// Datagrams after the first dropped one that were sent, and did not arrive either, before it counts as dropped.
const DROPPED_AFTER_MIN: usize = 20;

/// How long no datagram may arrive, while more are sent, before it is looked at which was the first not to arrive.
const SILENCE: Duration = Duration::from_millis(60);

/// A host: a thread in a network namespace of its own that runs what it is given.
pub(crate) struct Host {
    namespace: NetNs,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Host {
    fn start(name: &str) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, namespace) = mpsc::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let entered = enter_new_net().and_then(|()| NetNs::current());
            if ready.send(entered).is_ok() {
                inbox.into_iter().for_each(|job| job());
            }
        })?;
        let namespace = namespace
            .recv()?
            .with_context(|| format!("cannot make a namespace for the {name}"))?;
        Ok(Self { namespace, jobs })
    }

    /// Runs `job` on this host and returns what it returns.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = mpsc::channel();
        let boxed = Box::new(move || {
            // The caller waits, or the play is over.
            let _ = sender.send(job());
        });
        self.jobs
            .send(boxed)
            .map_err(|_| anyhow!("a host of the stage has gone"))?;
        receiver.recv().map_err(|_| anyhow!("a host of the stage has gone"))
    }
}

/// The whole stage. The calling thread's namespace is the protected server's.
pub(crate) struct Stage {
    pub(crate) attacker: Host,
    balancer_bytes: Arc<AtomicU64>,
    probes_arrived: Arc<AtomicU64>,
    // Keeps the balancer's namespace alive.
    _balancer: Host,
}

impl Stage {
    /// Builds the stage and starts its traffic.
    pub(crate) fn build() -> Result<Self> {
        let attacker = Host::start("attacker")?;
        let balancer = Host::start("balancer")?;
        let mut links = Links::open(TIMEOUT)?;
        links.set_up("lo")?;
        let addresses: Vec<Ipv4Addr> = std::iter::once(ATTACKER).chain(OTHERS).collect();
        links.add_address("lo", IpAddr::V4(SERVER), 32)?;
        join(&mut links, "attacker", 0, &attacker, addresses)?;
        join(&mut links, "balancer", 1, &balancer, vec![BALANCER])?;
        // Bytes are counted for each flow only when the kernel is asked to; without it, flows alone decide.
        if let Err(error) = Conntrack::open(TIMEOUT)
            .map_err(anyhow::Error::from)
            .and_then(|_| count_bytes())
        {
            tracing::debug!(%error, "conntrack does not count bytes here");
        }
        serve_web()?;
        let probes_arrived = receive_probes()?;
        let balancer_bytes = Arc::new(AtomicU64::new(0));
        let counter = balancer_bytes.clone();
        balancer.run(move || carry_traffic(&counter))??;
        Ok(Self {
            attacker,
            balancer_bytes,
            probes_arrived,
            _balancer: balancer,
        })
    }

    /// Bytes that the load balancer has carried so far.
    pub(crate) fn balancer_bytes(&self) -> u64 {
        self.balancer_bytes.load(Ordering::Relaxed)
    }

    /// True when the load balancer carries traffic at this moment.
    pub(crate) fn balancer_is_served(&self) -> bool {
        let before = self.balancer_bytes();
        within(Duration::from_secs(1), || self.balancer_bytes() > before + 100_000)
    }

    /// True when `source`, an address of the attacker's host, gets a new connection to the web server.
    pub(crate) fn gets_in(&self, source: Ipv4Addr) -> Result<bool> {
        self.attacker
            .run(move || fetch_from(source, Duration::from_millis(400)).is_ok())
    }

    /// Milliseconds from now until the first datagram from `source` that no longer arrives, while `act` runs.
    pub(crate) fn time_to_drop(&self, source: Ipv4Addr, act: impl FnOnce() -> Result<()>) -> Result<Option<f64>> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, sent) = mpsc::channel();
        let before = self.probes_arrived.load(Ordering::Relaxed);
        let newest_sent = Arc::new(AtomicU64::new(before));
        let (stopped, sending) = (stop.clone(), newest_sent.clone());
        let probing = Box::new(move || {
            let _ = sender.send(probe(source, before, &sending, &stopped));
        });
        self.attacker
            .jobs
            .send(probing)
            .map_err(|_| anyhow!("the attacker has gone"))?;
        let arrives = within(Duration::from_secs(2), || {
            self.probes_arrived.load(Ordering::Relaxed) > before + 20
        });
        let begun = Instant::now();
        let acted = if arrives {
            act()
        } else {
            Err(anyhow!("no probe arrives even before the block"))
        };
        self.silent_after(|arrived| newest_sent.load(Ordering::Relaxed) > arrived + DROPPED_AFTER_MIN as u64 + 1);
        stop.store(true, Ordering::Relaxed);
        let sent = sent.recv()??;
        acted?;
        // What was sent last may still be on its way to being counted.
        self.silent_after(|_| true);
        let arrived = self.probes_arrived.load(Ordering::Relaxed);
        let dropped = first_dropped(&sent, arrived);
        Ok(dropped.map(|at| at.saturating_duration_since(begun).as_secs_f64() * 1e3))
    }

    /// Waits until no datagram has arrived for [`SILENCE`] and `enough` holds of the last one that did, at most 2 s.
    fn silent_after(&self, enough: impl Fn(u64) -> bool) {
        let mut newest = (self.probes_arrived.load(Ordering::Relaxed), Instant::now());
        within(Duration::from_secs(2), || {
            let seen = self.probes_arrived.load(Ordering::Relaxed);
            if seen != newest.0 {
                newest = (seen, Instant::now());
            }
            newest.1.elapsed() > SILENCE && enough(seen)
        });
    }
}

/// When the first datagram was sent that did not arrive, nor any after it; `None` when too few were sent after it to
/// tell, so that a last one that is merely not counted yet is not taken for dropped.
fn first_dropped(sent: &[(u64, Instant)], arrived: u64) -> Option<Instant> {
    let first = sent.iter().position(|(number, _)| *number > arrived)?;
    let after = sent.len() - first - 1;
    (after >= DROPPED_AFTER_MIN).then_some(sent[first].1)
}

/// Waits until `condition` holds; false when it does not within `limit`, or the play is to end.
pub(crate) fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > limit || super::is_interrupted() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Joins `host` to the server by a veth pair, with `addresses` on the host's end. The link itself has addresses of
/// TEST-NET-1 (RFC 5737) that nothing else uses: network `number` of them.
fn join(links: &mut Links, name: &str, number: u8, host: &Host, addresses: Vec<Ipv4Addr>) -> Result<()> {
    let peer = format!("{name}0");
    let (near, far) = (
        Ipv4Addr::new(192, 0, 2, 4 * number + 1),
        Ipv4Addr::new(192, 0, 2, 4 * number + 2),
    );
    links.create_pair(name, &peer)?;
    links.move_link(&peer, &Destination::Handle(&host.namespace))?;
    links.add_address(name, IpAddr::V4(near), 30)?;
    links.set_up(name)?;
    let theirs = addresses.clone();
    host.run(move || -> Result<()> {
        let mut links = Links::open(TIMEOUT)?;
        links.set_up("lo")?;
        links.add_address(&peer, IpAddr::V4(far), 30)?;
        for address in theirs {
            links.add_address(&peer, IpAddr::V4(address), 32)?;
        }
        links.set_up(&peer)?;
        links.add_route(Some((IpAddr::V4(SERVER), 32)), IpAddr::V4(near), None)?;
        Ok(())
    })??;
    for address in addresses {
        links.add_route(Some((IpAddr::V4(address), 32)), IpAddr::V4(far), None)?;
    }
    Ok(())
}

fn count_bytes() -> Result<()> {
    staunch_netlink::conntrack::set_accounting(true)?;
    Ok(())
}

/// A web server that answers every line with 64 KiB.
fn serve_web() -> Result<()> {
    let listener = TcpListener::bind(WEB)?;
    std::thread::Builder::new().name("web".into()).spawn(move || {
        let page = vec![b'.'; 64 * 1024];
        for connection in listener.incoming().map_while(Result::ok) {
            let page = page.clone();
            std::thread::spawn(move || {
                let mut connection = connection;
                let mut request = [0; 64];
                while connection.read(&mut request).is_ok_and(|n| n > 0) && connection.write_all(&page).is_ok() {}
            });
        }
    })?;
    Ok(())
}

/// The load balancer's work: eight connections that fetch pages, a few hundred a second.
fn carry_traffic(counter: &Arc<AtomicU64>) -> Result<()> {
    for _ in 0..8 {
        let mut connection = connect(BALANCER, WEB, TIMEOUT).context("the load balancer does not reach the server")?;
        let counter = counter.clone();
        std::thread::spawn(move || {
            let mut page = vec![0; 64 * 1024];
            while connection.write_all(b"GET\n").is_ok() && connection.read_exact(&mut page).is_ok() {
                counter.fetch_add(page.len() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    Ok(())
}

/// Fetches one page from `source`, an address of the calling host.
fn fetch_from(source: Ipv4Addr, timeout: Duration) -> Result<()> {
    let mut connection = connect(source, WEB, timeout)?;
    connection.write_all(b"GET\n")?;
    let mut page = vec![0; 64 * 1024];
    connection.read_exact(&mut page)?;
    Ok(())
}

/// A connection from `source` to `to`, with `timeout` for connecting, reading and writing.
pub(super) fn connect(source: Ipv4Addr, to: SocketAddrV4, timeout: Duration) -> Result<TcpStream> {
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, sockopt};
    use nix::sys::time::{TimeVal, TimeValLike};
    use std::os::fd::AsRawFd;
    // The standard library cannot bind a client's address.
    let handle = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::milliseconds(i64::try_from(timeout.as_millis())?);
    setsockopt(&handle, sockopt::SendTimeout, &limit)?;
    setsockopt(&handle, sockopt::ReceiveTimeout, &limit)?;
    bind(handle.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
    socket::connect(handle.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(TcpStream::from(handle))
}

/// Counts numbered datagrams: the highest number that arrived.
fn receive_probes() -> Result<Arc<AtomicU64>> {
    let arrived = Arc::new(AtomicU64::new(0));
    let socket = UdpSocket::bind((SERVER, PROBE_PORT))?;
    let counter = arrived.clone();
    std::thread::Builder::new().name("probes".into()).spawn(move || {
        let mut number = [0; 8];
        while let Ok((n, _)) = socket.recv_from(&mut number) {
            if n == number.len() {
                counter.fetch_max(u64::from_le_bytes(number), Ordering::Relaxed);
            }
        }
    })?;
    Ok(arrived)
}

/// Sends numbered datagrams from `source` about every 100 us until told to stop; returns the numbers and times of those
/// that were sent.
fn probe(source: Ipv4Addr, after: u64, newest_sent: &AtomicU64, stop: &AtomicBool) -> Result<Vec<(u64, Instant)>> {
    let socket = UdpSocket::bind((source, 0))?;
    socket.connect((SERVER, PROBE_PORT))?;
    let limit = Instant::now() + Duration::from_secs(5);
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) && Instant::now() < limit {
        let number = after + 1 + sent.len() as u64;
        let at = Instant::now();
        // One that could not be sent says nothing of whether it would have arrived; the next has its number.
        if socket.send(&number.to_le_bytes()).is_ok() {
            sent.push((number, at));
            newest_sent.store(number, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_told_by_what_was_sent_after_it() {
        let begun = Instant::now();
        let sent: Vec<_> = (1..=30).map(|it| (it, begun + Duration::from_millis(it))).collect();
        assert_eq!(first_dropped(&sent, 9), Some(begun + Duration::from_millis(10)));
        assert_eq!(first_dropped(&sent, 10), None, "only 19 were sent after it");
        assert_eq!(first_dropped(&sent, 30), None, "all arrived");
        assert_eq!(first_dropped(&[], 0), None);
    }
}
