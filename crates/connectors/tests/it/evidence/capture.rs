//! Packets between two namespaces, read back by readers of others.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;

use pcap_parser::traits::PcapReaderIterator as _;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
use staunch_connectors::evidence::CaptureCollector;
use staunch_model::{EvidenceOptions, Failure, FailureKind, Span, Timestamp};
use staunch_netlink::namespace::NetNs;
use staunch_ports::{About, CollectRequest, Collector as _, Sink};
use staunch_testkit::contract::collector::Kept;

use super::request;
use crate::block_ip_setting::{at, connect_namespaces, in_new_net, inside, ip, until};

/// A sink that says when an artefact is begun.
struct Telling(Kept, mpsc::Sender<()>);

impl std::io::Write for Telling {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink for Telling {
    fn begin(&mut self, about: About) -> std::io::Result<()> {
        let _ = self.1.send(());
        self.0.begin(about)
    }
    fn end(&mut self) -> std::io::Result<()> {
        self.0.end()
    }
    fn missed(&mut self, about: About, failure: Failure) {
        self.0.missed(about, failure);
    }
}

/// Captures what passes between this host and `client` while another host talks too, until the artefact is full.
fn captured(server: &str, client: &str, other: &str) -> Kept {
    let theirs = connect_namespaces(&[server], &[client, other]);
    let bind = |address: &str| {
        until("the address can be used", || {
            UdpSocket::bind(SocketAddr::new(ip(address), 0)).ok()
        })
    };
    let here = bind(server);
    let to = here.local_addr().unwrap();
    let (from_client, from_other) = inside(&theirs, || (bind(client), bind(other)));
    let request = CollectRequest {
        options: EvidenceOptions {
            bytes_max: Some(20_000),
            window: Some(Span::from_secs(60)),
            ..EvidenceOptions::default()
        },
        ..request(Some(at(client)))
    };
    let (begun, has_begun) = mpsc::channel();
    let namespace = NetNs::current().unwrap();
    std::thread::scope(|scope| {
        let capture = scope.spawn(move || {
            namespace.enter().unwrap();
            let mut sink = Telling(Kept::default(), begun);
            CaptureCollector::new().execute(&request, &mut sink).unwrap();
            sink.0
        });
        has_begun.recv().unwrap();
        // Nobody knows yet who the neighbours are: this host asks for both.
        here.send_to(b"first", from_client.local_addr().unwrap()).unwrap();
        here.send_to(b"first", from_other.local_addr().unwrap()).unwrap();
        while !capture.is_finished() {
            from_other.send_to(&[b'o'; 100], to).unwrap();
            from_client.send_to(&[b'c'; 100], to).unwrap();
            let mut buffer = [0; 200];
            let _ = here.recv_from(&mut buffer).unwrap();
        }
        capture.join().unwrap()
    })
}

/// A packet as the reader understands it: its protocol, and what follows the header of its link.
struct Packet {
    protocol: u16,
    data: Vec<u8>,
}

fn read(bytes: &[u8]) -> Vec<Packet> {
    let mut reader = PcapNGReader::new(1 << 20, bytes).unwrap();
    let (mut packets, mut statistics) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::InterfaceDescription(it)) => {
                        assert_eq!((it.linktype.0, it.if_tsresol), (276, 9));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(it)) => {
                        assert_eq!(it.caplen, it.origlen);
                        let data = &it.data[..usize::try_from(it.caplen).unwrap()];
                        let seconds = (u64::from(it.ts_high) << 32 | u64::from(it.ts_low)) / 1_000_000_000;
                        assert!(seconds > 1_700_000_000, "{seconds}");
                        packets.push(Packet {
                            protocol: u16::from_be_bytes([data[0], data[1]]),
                            data: data[20..].to_vec(),
                        });
                    }
                    PcapBlockOwned::NG(Block::InterfaceStatistics(_)) => statistics += 1,
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => {}
                    _ => panic!("an unknown block"),
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(statistics, 1);
    packets
}

fn holds(data: &[u8], address: &str) -> bool {
    let octets = match ip(address) {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    data.windows(octets.len()).any(|it| it == octets)
}

/// What tcpdump shows, where it is installed: a second reader beside that of `pcap-parser`, which is always asked.
fn tcpdump(bytes: &[u8]) -> Option<Vec<String>> {
    Command::new("tcpdump").arg("--version").output().ok()?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.pcapng");
    fs::write(&file, bytes).unwrap();
    let output = Command::new("tcpdump").args(["-nn", "-r"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
    )
}

fn check(server: &str, client: &str, other: &str, asks: fn(&Packet) -> bool) {
    let kept = captured(server, client, other);
    let bytes = &kept.artefact("capture.pcapng").bytes;
    assert!(bytes.len() <= 20_000, "{}", bytes.len());
    let packets = read(bytes);
    assert!(packets.len() > 50, "{}", packets.len());
    for packet in &packets {
        assert!(
            holds(&packet.data, client) && !holds(&packet.data, other),
            "{:x?}",
            packet.data
        );
    }
    assert!(
        packets.iter().any(asks),
        "that this host asks who it is was not captured"
    );
    assert!(packets.iter().any(|it| it.data.ends_with(&[b'c'; 100])));
    let told = kept.json("capture.json");
    let at = |name: &str| -> Timestamp { told[name].as_str().expect("a time").parse().expect("a time") };
    let lasted = Span::from_micros(told["lasted_us"].as_u64().expect("a number"));
    assert!(
        at("ended").since(at("begun")) + Span::from_millis(10) >= lasted,
        "it begins with the first packet: {told}"
    );
    assert_eq!(
        (told["packets"].as_u64(), &told["ended_by"]),
        (Some(packets.len() as u64), &"bytes".into())
    );
    assert!(told["kernel_received"].as_u64() >= told["packets"].as_u64(), "{told}");
    if let Some(lines) = tcpdump(bytes) {
        assert_eq!(lines.len(), packets.len());
        assert!(
            lines.iter().all(|it| it.contains(client) && !it.contains(other)),
            "{lines:?}"
        );
    }
}

#[test]
fn packets_of_an_ipv4_address_only_are_captured() {
    const TEST: &str = "packets_of_an_ipv4_address_only_are_captured";
    in_new_net(TEST, || {
        check("10.9.0.1", "10.9.0.2", "10.9.0.3", |it| it.protocol == 0x0806);
    });
}

#[test]
fn packets_of_an_ipv6_address_only_are_captured() {
    const TEST: &str = "packets_of_an_ipv6_address_only_are_captured";
    in_new_net(TEST, || {
        // A solicitation that this host sends to a group.
        let asks = |it: &Packet| it.protocol == 0x86dd && it.data[6] == 58 && it.data[40] == 135 && it.data[24] == 0xff;
        check("fd09::1", "fd09::2", "fd09::3", asks);
    });
}

#[test]
fn a_capture_ends_with_its_time_and_keeps_what_it_has() {
    in_new_net("a_capture_ends_with_its_time_and_keeps_what_it_has", || {
        let hurried = CollectRequest {
            time_left: Span::from_millis(100),
            options: EvidenceOptions {
                window: Some(Span::from_hours(1)),
                ..EvidenceOptions::default()
            },
            ..request(Some(at("192.0.2.1")))
        };
        let mut kept = Kept::default();
        CaptureCollector::new().execute(&hurried, &mut kept).unwrap();
        assert!(read(&kept.artefact("capture.pcapng").bytes).is_empty());
        assert_eq!(kept.json("capture.json")["ended_by"], "time");
        let mut kept = Kept::default();
        let failure = CaptureCollector::new().execute(&request(None), &mut kept).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
    });
}
