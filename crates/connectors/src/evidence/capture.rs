//! Takes the packets from and to one address for a while, in the form of pcapng.
//!
//! Never sends a packet, and never makes an interface promiscuous.
//!
//! # Expected flow
//! Opens a packet socket behind a filter that lets nothing through, empties it, lets through what has the
//! address, and writes what comes until the time is over or a bound is reached
//!
//! # Guarantees
//! No packet without the address is kept; how many packets were lost is told; what came before the end is
//! kept
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! Packets of other network namespaces are seen where this one forwards them; what is dropped on input is
//! seen all the same, what is dropped on output is not; of large packets that hardware cuts, one is seen
//!
//! # Errors
//! `Invalid` when the target is no address, `Denied` without CAP_NET_RAW, `TimedOut`

mod filter;
mod pcapng;

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, getsockopt, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Span, Target};
use staunch_ports::{About, CollectRequest, Collected, Collector, Collects, Sink};

use self::pcapng::Seen;
use super::document::{self, of_sink};
use super::limits::{CAP_NET_RAW, Deadline, no_target, require_capability};

const KIND: EvidenceKind = EvidenceKind::Capture;
const TAKES_MAX: Span = Span::from_mins(10);

/// How long it lasts when nobody says.
const WINDOW: Span = Span::from_secs(10);

/// Bytes of a capture when nobody says.
const BYTES_MAX: u64 = 16 << 20;

/// Packets of a capture.
const PACKETS_MAX: u64 = 1_000_000;

/// Room for packets that wait to be read. Without CAP_NET_ADMIN the kernel gives less.
const BUFFER_BYTES: usize = 8 << 20;

const NAME: &str = "capture.pcapng";

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct CaptureCollector;

/// The socket, with the filter on it.
struct Tap {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What has come.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    received: u64,
    dropped: u64,
    ended_by: &'static str,
}

impl CaptureCollector {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Collector for CaptureCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/capture",
            kind: KIND,
            needs: &["CAP_NET_RAW"],
            changes: &["the kernel hands every packet to a filter and stamps it with its time, while it lasts"],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, request: &CollectRequest) -> Result<(), Failure> {
        address(request)?;
        require_capability(CAP_NET_RAW, "CAP_NET_RAW", "packets")
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let whole = Deadline::of(request, TAKES_MAX);
        whole.check("packets")?;
        let address = address(request)?;
        let window = request.options.window.unwrap_or(WINDOW).to_std();
        let bytes_max = request.options.bytes_max.unwrap_or(BYTES_MAX);
        let mut tap = Tap::open(address)?;
        let about = About {
            name: NAME.into(),
            media_type: "application/x-pcapng",
            locator: format!("packets of {address} on all interfaces of this network namespace").into(),
            method: format!("AF_PACKET, SOCK_DGRAM, ETH_P_ALL, SO_ATTACH_FILTER for host {address}, not promiscuous")
                .into(),
            modified: None,
        };
        let (since, begun) = (document::now(), now());
        let taken = sink
            .begin(about.clone())
            .and_then(|()| tap.take(address, sink, whole.within(window), bytes_max, begun))
            .and_then(|tally| sink.end().map(|()| tally));
        let tally = taken.map_err(|error| {
            let failure = of_sink(NAME, &error);
            sink.missed(about, failure.clone());
            failure
        })?;
        // That the packets are kept does not depend on what is told of them.
        let told = document::about(KIND, &format!("packets of {address}"), "PACKET_STATISTICS");
        let _ = document::write_since(since, KIND, told, sink, |document| {
            document.field("address", &address)?;
            document.field("window_us", &u64::try_from(window.as_micros()).unwrap_or(u64::MAX))?;
            document.field(
                "lasted_us",
                &u64::try_from(now().saturating_sub(begun).as_micros()).unwrap_or(u64::MAX),
            )?;
            document.field("packets", &tally.packets)?;
            document.field("bytes", &tally.bytes)?;
            document.field("kernel_received", &tally.received)?;
            document.field("kernel_dropped", &tally.dropped)?;
            document.field("ended_by", tally.ended_by)?;
            document.field("promiscuous", &false)?;
            if tally.dropped > 0 {
                document.problem(&format!("{} packets were lost for want of room", tally.dropped));
            }
            Ok(())
        });
        Ok(Collected::default())
    }

    /// The filter goes away with its socket, and that with the process.
    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

impl Tap {
    fn open(address: IpAddr) -> Result<Self, Failure> {
        let failed = |doing: &str, error: &std::io::Error| {
            let kind = match error.kind() {
                std::io::ErrorKind::PermissionDenied => FailureKind::Denied,
                _ => FailureKind::Unavailable,
            };
            Failure::new(kind, &format!("cannot {doing}: {error}"))
        };
        // In network byte order, as packet(7) wants it.
        let everything = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(everything)))
            .map_err(|error| failed("open a packet socket; CAP_NET_RAW is needed", &error))?;
        let attach = |filter: &[_]| {
            let attached = socket.attach_filter(filter);
            attached.map_err(|error| failed("attach a filter to a packet socket", &error))
        };
        // Until there is a filter, every packet comes in. They are taken out before it lets anything through.
        attach(&filter::nothing())?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
            // Then there is as much room as the kernel gives to everybody, and what is lost is counted.
            let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES);
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
            .map_err(|error| failed("have packets stamped with their times", &error.into()))?;
        let buffer = vec![0; usize::try_from(filter::SNAPSHOT_BYTES).unwrap_or_default()];
        let mut tap = Self {
            socket: socket
                .try_clone()
                .map_err(|error| failed("keep a packet socket", &error))?,
            buffer,
        };
        while tap
            .receive()
            .map_err(|error| failed("empty a packet socket", &error.into()))?
            .is_some()
        {}
        // Reading the counters sets them to zero.
        let _ = tap.statistics();
        attach(&filter::of(address))?;
        Ok(tap)
    }

    fn take(
        &mut self,
        address: IpAddr,
        sink: &mut dyn Sink,
        deadline: Deadline,
        bytes_max: u64,
        begun: Duration,
    ) -> std::io::Result<Tally> {
        let mut tally = Tally::default();
        // Room for the block at the end.
        let room = bytes_max.saturating_sub(128);
        let mut write = |bytes: &[u8], tally: &mut Tally| {
            sink.write_all(bytes)?;
            tally.bytes += bytes.len() as u64;
            std::io::Result::Ok(())
        };
        write(
            &pcapng::begin(&format!("host {address}"), filter::SNAPSHOT_BYTES),
            &mut tally,
        )?;
        tally.ended_by = loop {
            if deadline.is_over() {
                break "time";
            }
            if tally.packets == PACKETS_MAX {
                break "packets";
            }
            let Some((time, seen, length)) = self.receive()? else {
                self.wait(deadline.left());
                continue;
            };
            let data = &self.buffer[..length.min(self.buffer.len())];
            let block = pcapng::packet(time, &seen, data, length);
            if tally.bytes + block.len() as u64 > room {
                break "bytes";
            }
            write(&block, &mut tally)?;
            tally.packets += 1;
        };
        if let Ok(counters) = self.statistics() {
            tally.dropped = u64::from(counters.tp_drops);
            tally.received = u64::from(counters.tp_packets);
        }
        write(
            &pcapng::statistics(begun, now(), tally.received, tally.dropped),
            &mut tally,
        )?;
        Ok(tally)
    }

    fn wait(&self, time: Duration) {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        // When it is interrupted, nothing is there, and it is asked again.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout);
    }

    /// Takes a packet if there is one: when and where it was seen, and how long it was. It is in the buffer.
    fn receive(&mut self) -> Result<Option<(Duration, Seen, usize)>, Errno> {
        let mut control = nix::cmsg_space!(libc::timespec);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let received = match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                // An interface that goes down says so once.
                Err(Errno::ENETDOWN) => continue,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error),
            };
            let stamped = received.cmsgs().ok().into_iter().flatten().find_map(|it| match it {
                ControlMessageOwned::ScmTimestampns(it) => Some(Duration::from(it)),
                _ => None,
            });
            let seen = received.address.map(|it| Seen {
                protocol: u16::from_be(it.protocol()),
                interface: u32::try_from(it.ifindex()).unwrap_or_default(),
                hardware: it.hatype(),
                direction: it.pkttype(),
                address: it.addr().filter(|_| it.halen() == 6),
            });
            return Ok(Some((
                stamped.unwrap_or_else(now),
                seen.unwrap_or_default(),
                received.bytes,
            )));
        }
    }

    fn statistics(&self) -> Result<libc::tpacket_stats, Errno> {
        getsockopt(&self.socket, Statistics)
    }
}

/// `PACKET_STATISTICS`: how many packets the filter let through since it was asked last, and how many of them were
/// lost.
#[derive(Clone, Copy)]
struct Statistics;
nix::getsockopt_impl!(
    Statistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats,
    sockopt::GetStruct<libc::tpacket_stats>
);

fn address(request: &CollectRequest) -> Result<IpAddr, Failure> {
    let target = request.target.as_ref();
    let address = target
        .and_then(Target::address)
        .ok_or_else(|| no_target(KIND, target))?;
    Ok(address.to_canonical())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
