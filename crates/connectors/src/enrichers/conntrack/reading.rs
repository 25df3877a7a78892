//! One reading of the tracked connections: flows and bytes of every address.
//!
//! Pure: it counts what it is given.

use std::collections::HashMap;
use std::net::IpAddr;

use staunch_model::TrafficShare;
use staunch_netlink::conntrack::{Counters, Flow, TcpState};

/// The most addresses that are counted: about 16 MiB. A host with more is beyond what one table of flows can judge.
pub const ADDRESSES_MAX: usize = 200_000;

/// The part of all flows, in percent, whose bytes must be counted by the kernel before bytes are believed: flows that
/// began before counting was switched on have none.
const COUNTED_PERCENT_MIN: u64 = 95;

/// `IPS_SEEN_REPLY` and `IPS_ASSURED`: packets went both ways, and then some.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;

/// Flows and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    flows: u64,
    bytes: u64,
}

/// What one pass over the tracked connections found.
#[derive(Debug)]
pub struct Reading {
    by_address: HashMap<IpAddr, Sum>,
    addresses_max: usize,
    total: Sum,
    /// How many flows have their bytes counted.
    counted: u64,
    /// Whether an address was left out because there were too many.
    is_partial: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self::with_addresses_max(ADDRESSES_MAX)
    }
}

impl Reading {
    fn with_addresses_max(addresses_max: usize) -> Self {
        Self {
            by_address: HashMap::new(),
            addresses_max,
            total: Sum::default(),
            counted: 0,
            is_partial: false,
        }
    }

    /// Counts a connection, if it is established and leaves this host.
    pub fn add(&mut self, flow: &Flow) {
        if !is_established(flow) || is_local(flow) {
            return;
        }
        let bytes = |it: Option<Counters>| it.map_or(0, |it| it.bytes);
        let sum = Sum {
            flows: 1,
            bytes: bytes(flow.sent).saturating_add(bytes(flow.received)),
        };
        self.counted += u64::from(flow.sent.is_some() || flow.received.is_some());
        self.total.add(sum);
        let (source, destination) = (flow.original.source, flow.original.destination);
        // Behind address translation, the one who answers is not the one who was called.
        let answers = flow.reply.map_or(destination, |it| it.source);
        self.add_to(source, sum);
        if destination != source {
            self.add_to(destination, sum);
        }
        if answers != source && answers != destination {
            self.add_to(answers, sum);
        }
    }

    /// How many flows there are in all.
    #[must_use]
    pub fn flows_total(&self) -> u64 {
        self.total.flows
    }

    /// The share of one address; `None` when it may have been left out.
    #[must_use]
    pub fn share(&self, address: IpAddr) -> Option<TrafficShare> {
        let sum = match self.by_address.get(&address) {
            Some(sum) => *sum,
            None if self.is_partial => return None,
            None => Sum::default(),
        };
        let counts = self.total.flows > 0 && self.counted * 100 >= self.total.flows * COUNTED_PERCENT_MIN;
        Some(TrafficShare {
            flows: sum.flows,
            flows_total: self.total.flows,
            bytes: counts.then_some(sum.bytes),
            bytes_total: counts.then_some(self.total.bytes),
        })
    }

    fn add_to(&mut self, address: IpAddr, sum: Sum) {
        if let Some(it) = self.by_address.get_mut(&address) {
            it.add(sum);
        } else if self.by_address.len() < self.addresses_max {
            self.by_address.insert(address, sum);
        } else {
            self.is_partial = true;
        }
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.flows += other.flows;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// TCP by its state; anything else when packets keep going both ways. A ping is never that.
fn is_established(flow: &Flow) -> bool {
    match flow.tcp_state {
        Some(state) => state == TcpState::Established,
        // A TCP connection that hardware took over shows no state.
        None if flow.is_tcp() => flow.status & SEEN_REPLY != 0,
        None => flow.status & ASSURED != 0,
    }
}

fn is_local(flow: &Flow) -> bool {
    flow.original.source.is_loopback() || flow.original.destination.is_loopback()
}

#[cfg(test)]
mod tests {
    use staunch_netlink::conntrack::Tuple;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tuple(source: &str, destination: &str, protocol: u8) -> Tuple {
        let (source, destination) = (ip(source), ip(destination));
        Tuple {
            source,
            destination,
            protocol,
            source_port: Some(1),
            destination_port: Some(2),
        }
    }

    fn tcp(source: &str, destination: &str, bytes: Option<u64>) -> Flow {
        let count = |bytes| Counters { packets: 1, bytes };
        Flow {
            original: tuple(source, destination, 6),
            reply: Some(tuple(destination, source, 6)),
            status: SEEN_REPLY | ASSURED,
            tcp_state: Some(TcpState::Established),
            timeout: None,
            sent: bytes.map(count),
            received: bytes.map(|_| count(1)),
        }
    }

    fn read(flows: &[Flow]) -> Reading {
        let mut reading = Reading::default();
        flows.iter().for_each(|it| reading.add(it));
        reading
    }

    fn share(flows: u64, flows_total: u64, bytes: Option<(u64, u64)>) -> Option<TrafficShare> {
        let (bytes, bytes_total) = bytes.unzip();
        Some(TrafficShare {
            flows,
            flows_total,
            bytes,
            bytes_total,
        })
    }

    #[test]
    fn a_flow_counts_once_for_each_address_and_once_in_all() {
        let mut nat = tcp("192.0.2.1", "198.51.100.9", Some(9));
        nat.reply = Some(tuple("10.0.0.7", "192.0.2.1", 6));
        let reading = read(&[nat, tcp("192.0.2.2", "198.51.100.9", Some(89))]);
        assert_eq!(reading.share(ip("192.0.2.1")), share(1, 2, Some((10, 100))));
        assert_eq!(reading.share(ip("10.0.0.7")), share(1, 2, Some((10, 100))));
        assert_eq!(reading.share(ip("198.51.100.9")), share(2, 2, Some((100, 100))));
        assert_eq!(reading.share(ip("203.0.113.1")), share(0, 2, Some((0, 100))));
    }

    #[test]
    fn only_established_flows_that_leave_the_host_count() {
        let mut closing = tcp("192.0.2.1", "198.51.100.9", None);
        closing.tcp_state = Some(TcpState::TimeWait);
        let mut ping = tcp("192.0.2.1", "198.51.100.9", None);
        (ping.original.protocol, ping.tcp_state, ping.status) = (1, None, SEEN_REPLY);
        let mut query = ping;
        (query.original.protocol, query.status) = (17, SEEN_REPLY | ASSURED);
        let local = tcp("127.0.0.1", "127.0.0.1", None);
        assert_eq!(read(&[closing, ping, local]).flows_total(), 0);
        assert_eq!(read(&[query]).flows_total(), 1);
    }

    #[test]
    fn bytes_are_believed_only_when_nearly_all_are_counted() {
        let mut flows = vec![tcp("192.0.2.1", "198.51.100.9", Some(9)); 19];
        flows.push(tcp("192.0.2.2", "198.51.100.9", None));
        assert_eq!(read(&flows).share(ip("192.0.2.1")), share(19, 20, Some((190, 190))));
        flows.push(tcp("192.0.2.2", "198.51.100.9", None));
        assert_eq!(read(&flows).share(ip("192.0.2.1")), share(19, 21, None));
    }

    #[test]
    fn beyond_the_bound_an_address_is_unknown() {
        let mut reading = Reading::with_addresses_max(2);
        for source in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
            reading.add(&tcp(source, "198.51.100.9", None));
        }
        assert_eq!(reading.share(ip("192.0.2.1")), share(2, 3, None));
        assert_eq!(reading.share(ip("192.0.2.2")), None);
        assert_eq!(reading.share(ip("203.0.113.1")), None);
    }
}
