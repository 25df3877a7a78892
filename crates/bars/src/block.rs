//! Time from the first byte of an alert on the HTTP socket to the first packet that is dropped in the kernel.
//!
//! Two network namespaces joined by a veth pair; the attacker sends a datagram about every 100 us from the address
//! that the alert names. The first datagram that does not arrive, with none after it, marks the block. The floor is a
//! JSON POST that is answered by one netlink write, measured in the same way. Beside them stands one sync of a file
//! after a pause as long as theirs: a disk that has rested takes longer than one that is kept busy.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NetNs, enter_new_net};
use staunch_netlink::nftables::{NewElement, Nft, TableOptions};

use crate::report::{Row, quantile};
use crate::server::{Server, alert, post};

const ROUNDS: u32 = 200;
/// Alerts of the floor, and then of the figure, that follow each other. After an element that somebody else has added
/// the driver reads its whole table again, which is so for the first alert of a turn and not for each.
const TURN: u32 = 20;
const _: () = assert!(ROUNDS.is_multiple_of(TURN));
const TIMEOUT: Duration = Duration::from_secs(2);
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    std::thread::Builder::new()
        .name("victim".into())
        .spawn(in_namespace)
        .map_err(|error| error.to_string())?
        .join()
        .map_err(|_| "the measuring thread panicked".to_owned())?
}

fn in_namespace() -> Result<Vec<Row>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let field = Field::set_up()?;
    let floor_server = floor_server()?;
    let mut floor_connection = TcpStream::connect(floor_server).map_err(|error| text(&error))?;
    floor_connection.set_nodelay(true).map_err(|error| text(&error))?;
    let server = Server::start("nftables")?;
    let mut connection = server.connect()?;
    let (mut floor, mut ours, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let mut file = RestedFile::new()?;
    // Floor and figure take turns, so that whatever else the machine does hits both.
    for turn in 0..ROUNDS / TURN {
        let rounds = turn * TURN..(turn + 1) * TURN;
        for round in rounds.clone() {
            floor.push(field.time(source(round * 2), |source| {
                post(&mut floor_connection, "/", alert(source).as_bytes()).map(|_| ())
            })?);
        }
        for round in rounds.clone() {
            ours.push(field.time_alert(&server, &mut connection, source(round * 2 + 1))?);
        }
        for _ in rounds {
            syncs.push(file.time()?);
        }
    }
    let verified = server.status("/in_force")?;
    if verified < u64::from(ROUNDS) {
        return Err(format!("only {verified} of {ROUNDS} blocks were verified"));
    }
    let (floor50, floor99) = (quantile(&mut floor, 0.5), quantile(&mut floor, 0.99));
    let (ours50, ours99) = (quantile(&mut ours, 0.5), quantile(&mut ours, 0.99));
    let sync50 = quantile(&mut syncs, 0.5);
    Ok(vec![
        Row {
            what: "POST to first drop, median",
            figure: format!("{ours50:.2} ms"),
            floor: format!("{floor50:.2} ms"),
            bar: format!(
                "<= 2x ({:.1}x; {:.1}x with a sync of {sync50:.2} ms)",
                ours50 / floor50,
                ours50 / (floor50 + sync50)
            ),
            reached: ours50 <= 2.0 * floor50 && ours50 < 3.7,
            numbers: vec![
                ("median_ms", ours50),
                ("floor_median_ms", floor50),
                ("rested_sync_ms", sync50),
            ],
        },
        Row {
            what: "POST to first drop, p99",
            figure: format!("{ours99:.2} ms"),
            floor: format!("{floor99:.2} ms"),
            bar: format!("< 10x ({:.1}x)", ours99 / floor50),
            reached: ours99 < 10.0 * floor50,
            numbers: vec![("p99_ms", ours99), ("floor_p99_ms", floor99)],
        },
    ])
}

/// The address that sends in round `at`.
pub(crate) fn source(at: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + at)
}

/// Two hosts, each a namespace: the one that is protected, of the thread that set this up, and the attacker's.
pub(crate) struct Field {
    attacker: Attacker,
    /// The number of the newest datagram that arrived.
    last: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    receiver: Option<std::thread::JoinHandle<()>>,
}

impl Field {
    /// Moves the calling thread into a new namespace, the protected host's, and joins the attacker's to it.
    pub(crate) fn set_up() -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        enter_new_net().map_err(|error| text(&error))?;
        let attacker = Attacker::start()?;
        let mut links = Links::open(TIMEOUT).map_err(|error| text(&error))?;
        links.set_up("lo").map_err(|error| text(&error))?;
        links.create_pair("veth0", "veth1").map_err(|error| text(&error))?;
        links
            .move_link("veth1", &Destination::Handle(&attacker.namespace))
            .map_err(|error| text(&error))?;
        links
            .add_address("veth0", IpAddr::V4(VICTIM), 24)
            .map_err(|error| text(&error))?;
        links.set_up("veth0").map_err(|error| text(&error))?;
        attacker.go()?;
        links
            .add_route(
                Some((IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), 15)),
                IpAddr::V4(ATTACKER),
                None,
            )
            .map_err(|error| text(&error))?;
        let socket = UdpSocket::bind((VICTIM, 9_999)).map_err(|error| text(&error))?;
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .map_err(|error| text(&error))?;
        let last = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let receiver = {
            let (last, stop) = (last.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut bytes = [0; 8];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((8, _)) = socket.recv_from(&mut bytes) {
                        last.fetch_max(u64::from_le_bytes(bytes), Ordering::Relaxed);
                    }
                }
            })
        };
        Ok(Self {
            attacker,
            last,
            stop,
            receiver: Some(receiver),
        })
    }

    /// Milliseconds from the start of `block` to the first datagram from `source` that was dropped.
    fn time(&self, source: Ipv4Addr, block: impl FnOnce(Ipv4Addr) -> Result<(), String>) -> Result<f64, String> {
        self.attacker.time(source, &self.last, block)
    }

    /// Milliseconds from the alert about `source` to its first datagram that was dropped.
    pub(crate) fn time_alert(
        &self,
        server: &Server,
        connection: &mut TcpStream,
        source: Ipv4Addr,
    ) -> Result<f64, String> {
        self.time(source, |source| {
            server.post(connection, alert(source).as_bytes()).map(|_| ())
        })
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It only counts; what it panicked of has shown in the figures.
        let _ = self.receiver.take().map(std::thread::JoinHandle::join);
    }
}

/// A file that is overwritten and synced, as a segment of the journal is, at the pace of the measurement.
struct RestedFile {
    file: File,
    _directory: tempfile::TempDir,
    at: u64,
}

impl RestedFile {
    /// Bytes of the event and the intent in the journal.
    const BYTES: usize = 2_135;
    const PAUSE: Duration = Duration::from_millis(10);

    fn new() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut file = File::create(directory.path().join("sync")).map_err(|error| error.to_string())?;
        let zeros = vec![0; Self::BYTES * ROUNDS as usize];
        file.write_all(&zeros)
            .and_then(|()| file.sync_all())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            file,
            _directory: directory,
            at: 0,
        })
    }

    /// Milliseconds that one write and its sync take after a pause.
    fn time(&mut self) -> Result<f64, String> {
        std::thread::sleep(Self::PAUSE);
        let begun = Instant::now();
        self.file
            .write_all_at(&[b'x'; Self::BYTES], self.at)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| error.to_string())?;
        self.at += Self::BYTES as u64;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }
}

type Job = (Ipv4Addr, Arc<AtomicBool>, mpsc::Sender<Vec<(u64, Instant)>>);

/// The attacking host: a thread in a namespace of its own.
struct Attacker {
    namespace: NetNs,
    jobs: mpsc::Sender<Job>,
    ready: mpsc::Receiver<Result<(), String>>,
    /// The number of the last datagram that it has sent.
    sent: Arc<AtomicU64>,
}

impl Attacker {
    fn start() -> Result<Self, String> {
        let (namespace_sender, namespace) = mpsc::channel();
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready_sender, ready) = mpsc::channel();
        let sent = Arc::new(AtomicU64::new(0));
        let last = sent.clone();
        std::thread::spawn(move || {
            let entered = enter_new_net().map_err(|error| error.to_string());
            let _ = namespace_sender.send(entered.and_then(|()| NetNs::current().map_err(|error| error.to_string())));
            let mut set_up = false;
            for (source, stop, reply) in inbox {
                if !set_up {
                    let result = configure();
                    set_up = result.is_ok();
                    let _ = ready_sender.send(result);
                    continue;
                }
                let _ = reply.send(probe(source, &stop, &last).unwrap_or_default());
            }
        });
        let namespace = namespace.recv().map_err(|error| error.to_string())??;
        Ok(Self {
            namespace,
            jobs,
            ready,
            sent,
        })
    }

    /// Sets the attacker's end up, once the link has been moved to it.
    fn go(&self) -> Result<(), String> {
        let (unused, _) = mpsc::channel();
        self.jobs
            .send((ATTACKER, Arc::new(AtomicBool::new(true)), unused))
            .map_err(|error| error.to_string())?;
        self.ready.recv().map_err(|error| error.to_string())?
    }

    /// Milliseconds from the start of `block` to the first datagram from `source` that was dropped.
    fn time(
        &self,
        source: Ipv4Addr,
        last: &AtomicU64,
        block: impl FnOnce(Ipv4Addr) -> Result<(), String>,
    ) -> Result<f64, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let (reply, sent) = mpsc::channel();
        let before = last.load(Ordering::Relaxed);
        self.jobs
            .send((source, stop.clone(), reply))
            .map_err(|error| error.to_string())?;
        wait_until(|| last.load(Ordering::Relaxed) > before + 20)?;
        let begun = Instant::now();
        block(source)?;
        // The block is in place when of at least 20 datagrams sent since none has arrived for 5 ms. A machine that
        // stands still for as long sends none.
        let mut newest = (last.load(Ordering::Relaxed), Instant::now());
        wait_until(|| {
            let seen = last.load(Ordering::Relaxed);
            if seen != newest.0 {
                newest = (seen, Instant::now());
            }
            newest.1.elapsed() > Duration::from_millis(5) && self.sent.load(Ordering::Relaxed) >= newest.0 + 20
        })?;
        stop.store(true, Ordering::Relaxed);
        let sent = sent.recv().map_err(|error| error.to_string())?;
        let arrived = last.load(Ordering::Relaxed);
        let dropped = sent
            .iter()
            .find(|(sequence, _)| *sequence > arrived)
            .ok_or("nothing was dropped")?;
        Ok(dropped.1.saturating_duration_since(begun).as_secs_f64() * 1e3)
    }
}

fn configure() -> Result<(), String> {
    let mut links = Links::open(TIMEOUT).map_err(|error| error.to_string())?;
    links.set_up("lo").map_err(|error| error.to_string())?;
    links
        .add_address("veth1", IpAddr::V4(ATTACKER), 24)
        .map_err(|error| error.to_string())?;
    links.set_up("veth1").map_err(|error| error.to_string())
}

/// Sends numbered datagrams from `source` until told to stop; returns their numbers and times.
fn probe(source: Ipv4Addr, stop: &AtomicBool, last: &AtomicU64) -> Result<Vec<(u64, Instant)>, String> {
    let mut links = Links::open(TIMEOUT).map_err(|error| error.to_string())?;
    links
        .add_address("veth1", IpAddr::V4(source), 32)
        .map_err(|error| error.to_string())?;
    let socket = UdpSocket::bind((source, 0)).map_err(|error| error.to_string())?;
    socket.connect((VICTIM, 9_999)).map_err(|error| error.to_string())?;
    let mut sent = Vec::new();
    let limit = Instant::now() + Duration::from_secs(10);
    while !stop.load(Ordering::Relaxed) && Instant::now() < limit {
        let sequence = last.load(Ordering::Relaxed) + 1;
        sent.push((sequence, Instant::now()));
        let _ = socket.send(&sequence.to_le_bytes());
        last.store(sequence, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(sent)
}

fn wait_until(mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition() {
        if Instant::now() > limit {
            return Err("waited 10 s in vain".into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The floor: reads a POST, parses its JSON, adds one element by netlink, answers.
fn floor_server() -> Result<std::net::SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut nft = Nft::open("floor", TIMEOUT).map_err(|error| error.to_string())?;
    nft.ensure_table(TableOptions {
        elements_max: 65_536,
        track_flows: false,
    })
    .map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        let Ok((mut connection, _)) = listener.accept() else {
            return;
        };
        let _ = connection.set_nodelay(true);
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(n) = connection.read(&mut chunk) {
            if n == 0 {
                return;
            }
            bytes.extend_from_slice(&chunk[..n]);
            let Some(head) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
                continue;
            };
            let Ok(event) = serde_json::from_slice::<serde_json::Value>(&bytes[head + 4..]) else {
                continue;
            };
            let source: Option<IpAddr> = event["src_ip"].as_str().and_then(|ip| ip.parse().ok());
            if let Some(address) = source {
                let timeout = Duration::from_secs(3_600);
                let _ = nft.add_elements(&[NewElement {
                    address,
                    timeout,
                    comment: "floor",
                }]);
            }
            let _ = connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            bytes.clear();
        }
    });
    Ok(address)
}
