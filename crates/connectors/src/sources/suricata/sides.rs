//! Whom an alert accuses.
//!
//! Never guesses: when the record does not settle who attacks whom, nobody is accused, and the reason says why. An
//! alert's `src_ip` and `dest_ip` follow the packet: the server's answer to an attack has the victim as its source.
//!
//! *Inside* is in the home networks, *outside* is not. Who opened the connection is known from `flow.src_ip`, else from
//! `direction`. The rule names the attacker when it has the `target` keyword, which Suricata writes as `alert.source`
//! and `alert.target`.
//!
//! | | the two ends | opened by | the rule names as attacker | accused |
//! |---|---|---|---|---|
//! | a | one inside, one outside | anybody | the outside end | the outside end |
//! | b | one inside, one outside | outside | nobody | the outside end, also when the packet was the answer to it |
//! | c | one inside, one outside | outside | the inside end, in an `ATTACK_RESPONSE` rule | the outside end: these rules name the one that answers, which here is the victim |
//! | d | one inside, one outside | outside | the inside end | nobody: the rule and the connection contradict each other |
//! | e | one inside, one outside | inside | nobody, but it protects servers only (`attack_target`) | nobody: an inside host attacks somebody's server, and that one is the victim |
//! | f | one inside, one outside | inside | nobody | the outside end: a client went out to it (malware, command and control) |
//! | g | one inside, one outside | inside | the inside end | the inside end: the rule and the connection agree. The guards still protect it |
//! | h | one inside, one outside | unknown | nobody | the outside end, unless the packet came from inside and the rule protects servers only (as e) |
//! | i | one inside, one outside | unknown | the inside end | nobody: nothing confirms the rule |
//! | j | both inside | anybody | one of them | that one |
//! | k | both inside | anybody | nobody | nobody: it may be either |
//! | l | both outside | anybody | one of them | that one |
//! | m | both outside | anybody | nobody | nobody: the home networks may be incomplete |
//! | n | the connection is not between the packet's ends (ICMP errors from a router) | | | nobody |
//! | o | an end is missing, multicast, broadcast or unspecified | | | nobody: that is not a host |
//!
//! A sender of UDP can forge the outside address of rows a, b and h; never-touch networks and budgets are what limits
//! the harm.

use std::net::IpAddr;

use staunch_model::Endpoint;

use super::super::address::{Known, Networks};
use crate::json::Node;

/// What a record says about a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection<'a> {
    /// The packet's sender and receiver.
    pub(super) packet: (Endpoint, Endpoint),
    /// Who opened the connection.
    pub(super) flow: Flow,
    /// The attacker and the victim that the rule names.
    pub(super) named: Option<(Endpoint, Endpoint)>,
    /// The name of the rule.
    pub(super) signature: &'a str,
    /// The rule protects servers only.
    pub(super) attacks_servers: bool,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The first of these two, in the sensor's table of flows.
    Between(IpAddr, IpAddr),
    /// The sender of the packet.
    Sender,
    /// The receiver of the packet.
    Receiver,
    /// The record does not say.
    Unknown,
}

/// Who is accused of attacking whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accusation {
    /// The attacking side; empty when nobody is accused.
    pub(super) source: Endpoint,
    /// The attacked side; empty when nobody is accused.
    pub(super) destination: Endpoint,
    /// The row of the table, in words.
    pub(super) why: &'static str,
}

impl Flow {
    /// Takes the word of the table of flows before that of `direction`.
    pub(super) fn of(flow: Option<Node<'_>>, direction: Option<&str>, known: &Known<'_>) -> Self {
        let mut ends = (None, None);
        if let Some(flow) = flow {
            for (key, value) in flow.members() {
                match key {
                    "src_ip" => ends.0 = value.text().and_then(|text| known.read(text)),
                    "dest_ip" => ends.1 = value.text().and_then(|text| known.read(text)),
                    _ => {}
                }
            }
        }
        match (ends, direction) {
            ((Some(opener), Some(other)), _) => Self::Between(opener, other),
            (_, Some("to_server")) => Self::Sender,
            (_, Some("to_client")) => Self::Receiver,
            _ => Self::Unknown,
        }
    }
}

impl Connection<'_> {
    /// Walks the table of this module.
    pub(super) fn accused(&self, home: &Networks) -> Accusation {
        let (sender, receiver) = self.packet;
        let (Some(from), Some(to)) = (sender.ip.filter(is_host), receiver.ip.filter(is_host)) else {
            return nobody("an address is missing or not that of a host");
        };
        let sender_opened = match self.flow {
            Flow::Between(opener, other) if (opener, other) == (from, to) => Some(true),
            Flow::Between(opener, other) if (opener, other) == (to, from) => Some(false),
            Flow::Between(..) => return nobody("the packet is not between the ends of its connection"),
            Flow::Sender => Some(true),
            Flow::Receiver => Some(false),
            Flow::Unknown => None,
        };
        let sender_named = self.sender_named();
        match (home.contains(from), home.contains(to)) {
            (true, false) => self.across(sender, receiver, sender_named, sender_opened),
            (false, true) => self.across(
                receiver,
                sender,
                sender_named.map(|named| !named),
                sender_opened.map(|opened| !opened),
            ),
            (both, _) => match sender_named {
                Some(true) => accuse(sender, receiver, "the rule names the attacker"),
                Some(false) => accuse(receiver, sender, "the rule names the attacker"),
                None if both => nobody("both ends are inside and the rule names no attacker"),
                None => nobody("both ends are outside the home networks and the rule names no attacker"),
            },
        }
    }

    /// True when the rule names the sender as the attacker, false when the receiver; `None` when it names neither, or
    /// two that are not the packet's. Ports count only when both ends have the same address.
    fn sender_named(&self) -> Option<bool> {
        let ((sender, receiver), (attacker, victim)) = (self.packet, self.named?);
        if sender.ip == receiver.ip {
            let same = attacker.ip == sender.ip && victim.ip == sender.ip && sender.port != receiver.port;
            return match (same, attacker.port) {
                (true, port) if port == sender.port => Some(true),
                (true, port) if port == receiver.port => Some(false),
                _ => None,
            };
        }
        match (attacker.ip, victim.ip) {
            pair if pair == (sender.ip, receiver.ip) => Some(true),
            pair if pair == (receiver.ip, sender.ip) => Some(false),
            _ => None,
        }
    }

    /// True when the rule matches answers that only a successful attack gets. Asked for one row only: it is a search.
    fn is_attack_response(&self) -> bool {
        self.signature.contains("ATTACK_RESPONSE")
    }

    /// Rows a to i.
    fn across(
        &self,
        inner: Endpoint,
        outer: Endpoint,
        inner_named: Option<bool>,
        inner_opened: Option<bool>,
    ) -> Accusation {
        let outbound_attack = self.attacks_servers && inner_opened.unwrap_or(self.packet.0 == inner);
        match (inner_opened, inner_named) {
            (_, Some(false)) => accuse(outer, inner, "the rule names the outside end as the attacker"),
            (Some(false), None) => accuse(outer, inner, "the outside end opened the connection"),
            (Some(false), Some(true)) if self.is_attack_response() => accuse(
                outer,
                inner,
                "an inside host answered as only a successful attack makes it",
            ),
            (Some(false), Some(true)) => {
                nobody("the rule names the inside end as the attacker, but the outside end opened the connection")
            }
            (Some(true) | None, None) if outbound_attack => nobody("an inside host seems to attack an outside server"),
            (Some(true), None) => accuse(outer, inner, "an inside client went out to it"),
            (Some(true), Some(true)) => accuse(
                inner,
                outer,
                "the rule names the inside end, which opened the connection",
            ),
            (None, None) => accuse(outer, inner, "it is the outside end"),
            (None, Some(true)) => {
                nobody("the rule names the inside end as the attacker, and no connection confirms it")
            }
        }
    }
}

fn accuse(source: Endpoint, destination: Endpoint, why: &'static str) -> Accusation {
    Accusation {
        source,
        destination,
        why,
    }
}

fn nobody(why: &'static str) -> Accusation {
    accuse(Endpoint::default(), Endpoint::default(), why)
}

fn is_host(ip: &IpAddr) -> bool {
    !ip.is_multicast() && !ip.is_unspecified() && !matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}
