//! Feeds: files in which others say which addresses are bad.
//!
//! Never acts on what a feed says, and never believes it about networks that mean something else to everybody: private
//! and other special-purpose networks are taken out, and how many is said. A file that is cut off or is something else
//! is refused whole; what is in a format and cannot be used (a domain, a pattern with conditions) is counted.

mod misp;
mod spamhaus;
mod stix;
mod table;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::Timestamp;

use crate::lists::{self, Invalid};
use crate::ranges::{self, Filter, Provider};

pub use misp::{Listed, MANIFEST, MispEvents, manifest};
pub use stix::next_page;
pub use table::{FeedTable, Terms};

/// The longest file of a feed.
pub const FEED_BYTES_MAX: u64 = 64 << 20;

/// The most networks of one feed; fewer in the tests of this crate, which reach it.
pub const ENTRIES_MAX: usize = if cfg!(test) { 1_000 } else { 500_000 };

/// The longest label that is kept, in characters.
const LABEL_CHARS_MAX: usize = 64;

/// How a feed is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A network or address on each line; also the netsets of FireHOL.
    Plain,
    /// The JSON lines of Spamhaus DROP.
    Spamhaus,
    /// A STIX 2.1 bundle, or the envelopes of a TAXII 2.1 collection, one behind the other.
    Stix,
    /// A MISP event, or a MISP feed: its manifest, and the files of its events beside it.
    Misp,
    /// `ip-ranges.json` of AWS.
    Aws,
    /// `cloud.json` of Google.
    Gcp,
    /// `ServiceTags_Public.json` of Azure.
    Azure,
}

impl Format {
    /// Whose ranges they are; `None` when it is not a file of ranges.
    #[must_use]
    pub const fn provider(self) -> Option<Provider> {
        match self {
            Self::Aws => Some(Provider::Aws),
            Self::Gcp => Some(Provider::Gcp),
            Self::Azure => Some(Provider::Azure),
            Self::Plain | Self::Spamhaus | Self::Stix | Self::Misp => None,
        }
    }
}

/// A network that a feed names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network.
    pub network: IpNet,
    /// How sure the feed is of it, in percent, when it says so.
    pub confidence: Option<u8>,
    /// What the feed calls it. May be empty.
    pub label: Box<str>,
    /// When the feed said so, when it tells.
    pub as_of: Option<Timestamp>,
    /// When that begins to hold, when it tells.
    pub starts: Option<Timestamp>,
    /// When that ends, when it tells.
    pub expires: Option<Timestamp>,
}

impl Entry {
    /// True when it holds from `now`, or has held before.
    fn has_begun(&self, now: Timestamp) -> bool {
        self.starts.is_none_or(|it| it <= now)
    }
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The networks that it names.
    pub entries: Vec<Entry>,
    /// Networks that were taken out because they are special: private, loopback, multicast and the like.
    pub special: u64,
    /// What is in it and cannot be used: other kinds of indicators, patterns with conditions.
    pub not_understood: u64,
    /// What it takes back or calls good.
    pub taken_back: u64,
    /// When it was made, when it tells.
    pub as_of: Option<Timestamp>,
}

/// Reads a file of `format`.
///
/// # Errors
/// The first mistake; also when it is not of that format, is cut off, or names more than [`ENTRIES_MAX`] networks.
pub fn read(format: Format, bytes: &[u8]) -> Result<Reading, Invalid> {
    read_filtered(format, &Filter::default(), bytes)
}

/// The same, of the ranges of a provider those that `filter` means. Other formats have no services.
///
/// # Errors
/// As [`read`], and as [`ranges::read`].
pub fn read_filtered(format: Format, filter: &Filter, bytes: &[u8]) -> Result<Reading, Invalid> {
    let reading = match format {
        Format::Plain => lines(bytes)?,
        Format::Spamhaus => spamhaus::read(bytes)?,
        Format::Stix => stix::read(bytes)?,
        Format::Misp => misp::read(bytes)?,
        Format::Aws => provided(Provider::Aws, filter, bytes)?,
        Format::Gcp => provided(Provider::Gcp, filter, bytes)?,
        Format::Azure => provided(Provider::Azure, filter, bytes)?,
    };
    reading.bounded()
}

impl Reading {
    /// Adds what another file of the same feed says.
    pub fn merge(&mut self, other: Self) {
        let room = (ENTRIES_MAX + 1).saturating_sub(self.entries.len());
        self.entries.extend(other.entries.into_iter().take(room));
        self.special += other.special;
        self.not_understood += other.not_understood;
        self.taken_back += other.taken_back;
        self.as_of = self.as_of.max(other.as_of);
    }

    /// The same reading, when it does not name too many networks.
    ///
    /// # Errors
    /// When it does.
    pub fn bounded(self) -> Result<Self, Invalid> {
        if self.entries.len() <= ENTRIES_MAX {
            return Ok(self);
        }
        let what = format!("it names more than {ENTRIES_MAX} networks");
        Err(whole(what, "take a shorter feed, or a part of this one"))
    }

    /// Takes a network in, or counts it as special. One is taken in above the bound, and no more.
    fn add(&mut self, entry: Entry) {
        if is_special(entry.network) {
            self.special += 1;
        } else if !self.is_over() {
            self.entries.push(entry);
        }
    }

    /// True when it names too many networks: nothing else of it counts.
    fn is_over(&self) -> bool {
        self.entries.len() > ENTRIES_MAX
    }
}

fn provided(provider: Provider, filter: &Filter, bytes: &[u8]) -> Result<Reading, Invalid> {
    let mut reading = Reading::default();
    for it in ranges::read(provider, bytes, filter, ENTRIES_MAX)? {
        reading.add(Entry {
            network: it.network,
            confidence: None,
            label: label(&it.named),
            as_of: None,
            starts: None,
            expires: None,
        });
    }
    Ok(reading)
}

fn lines(bytes: &[u8]) -> Result<Reading, Invalid> {
    let mut reading = Reading::default();
    for it in lists::lines(bytes, ENTRIES_MAX)? {
        reading.add(Entry {
            network: it.network,
            confidence: None,
            label: label(it.reason.as_deref().unwrap_or_default()),
            as_of: None,
            starts: None,
            expires: None,
        });
    }
    Ok(reading)
}

/// A mistake of the file as a whole.
fn whole(what: impl Into<String>, hint: &str) -> Invalid {
    Invalid {
        line: None,
        what: what.into(),
        hint: hint.into(),
    }
}

/// A mistake in JSON.
pub(crate) fn of_json(error: &serde_json::Error, hint: &str) -> Invalid {
    Invalid {
        line: u32::try_from(error.line()).ok().filter(|line| *line > 0),
        what: staunch_model::Printable(&error.to_string()).to_string(),
        hint: hint.into(),
    }
}

/// The beginning of `text`.
fn label(text: &str) -> Box<str> {
    text.trim().chars().take(LABEL_CHARS_MAX).collect::<String>().into()
}

/// The time that `text` says as RFC 3339 has it.
fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok().map(Timestamp::from_micros)
}

/// The time that is so many seconds after the epoch.
fn seconds(text: &str) -> Option<Timestamp> {
    let seconds: u64 = text.parse().ok()?;
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

/// True for a network of which a part is special (RFC 6890): private, shared, loopback, link-local, multicast,
/// reserved. Networks for documentation are not: nobody has them.
#[must_use]
pub fn is_special(network: IpNet) -> bool {
    const V4: [([u8; 4], u8); 11] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
    ];
    // The unspecified address, loopback and what maps IPv4; unique local; link-local; multicast.
    const V6: [(u128, u8); 4] = [(0, 8), (0xfc << 120, 7), (0xfe80 << 112, 10), (0xff << 120, 8)];
    let overlaps = |special: Option<IpNet>| {
        special.is_some_and(|special| special.contains(&network) || network.contains(&special))
    };
    let v4 = V4
        .iter()
        .map(|(ip, bits)| IpNet::new(IpAddr::V4(Ipv4Addr::from(*ip)), *bits).ok());
    let v6 = V6
        .iter()
        .map(|(ip, bits)| IpNet::new(IpAddr::from(ip.to_be_bytes()), *bits).ok());
    v4.chain(v6).any(overlaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn networks(reading: &Reading) -> Vec<String> {
        reading.entries.iter().map(|it| it.network.to_string()).collect()
    }

    #[test]
    fn special_networks_are_taken_out_of_a_netset_and_counted() {
        let netset = "#\n# firehol_level1\n# Source File Date: Thu Nov 26\n0.0.0.0/8\n1.10.16.0/20\n10.0.0.0/8\n\
                      100.64.0.0/10\n172.16.0.0/12\n192.168.0.0/16\n224.0.0.0/3\n203.0.113.7\n10.1.2.3\n8.0.0.0/5\n\
                      fe80::1\n::ffff:10.0.0.1\n2001:db8::/32\nfc00::/7\n";
        let reading = read(Format::Plain, netset.as_bytes()).expect("it is well formed");
        assert_eq!(networks(&reading), ["1.10.16.0/20", "203.0.113.7/32", "2001:db8::/32"]);
        assert_eq!((reading.special, reading.not_understood), (11, 0));
    }

    #[test]
    fn of_too_many_networks_no_more_are_kept_than_show_that_they_are_too_many() {
        let repeat = |before: &str, one: &str, after: &str| {
            let all = vec![one; ENTRIES_MAX + 10].join(if one.ends_with('}') { "," } else { "\n" });
            format!("{before}{all}{after}")
        };
        let attribute = r#"{"type":"ip-dst","value":"9.9.9.9","to_ids":true}"#;
        let indicator = r#"{"type":"indicator","pattern":"[ipv4-addr:value='9.9.9.9']"}"#;
        for (format, text) in [
            (Format::Plain, repeat("", "9.9.9.9", "")),
            (Format::Spamhaus, repeat("", "{\"cidr\":\"9.9.9.9\"} ", "")),
            (Format::Stix, repeat("{\"more\":false,\"objects\":[", indicator, "]}")),
            (Format::Misp, repeat("{\"Event\":{\"Attribute\":[", attribute, "]}}")),
            (
                Format::Misp,
                repeat("{\"Event\":{\"Object\":[{\"Attribute\":[", attribute, "]}]}}"),
            ),
        ] {
            let invalid = read(format, text.as_bytes()).expect_err("they are too many");
            assert!(
                invalid.what.contains("more than 1000 networks"),
                "{format:?}: {invalid:?}"
            );
            let kept = match format {
                Format::Plain | Format::Spamhaus | Format::Aws | Format::Gcp | Format::Azure => continue,
                Format::Stix => stix::read(text.as_bytes()),
                Format::Misp => misp::read(text.as_bytes()),
            };
            let kept = kept.expect("it is well formed");
            assert_eq!(kept.entries.len(), ENTRIES_MAX + 1, "{format:?}");
            let mut twice = kept.clone();
            twice.merge(kept);
            assert_eq!(twice.entries.len(), ENTRIES_MAX + 1);
        }
    }

    #[test]
    fn what_is_no_feed_is_refused_whole() {
        let page = b"<!doctype html>\n<html><body>503</body></html>";
        use Format::{Aws, Azure, Gcp, Misp, Plain, Spamhaus, Stix};
        for format in [Plain, Spamhaus, Stix, Misp, Aws, Gcp, Azure] {
            let invalid = read(format, page).expect_err("it is a page");
            assert!(!invalid.hint.is_empty(), "{format:?}: {invalid:?}");
            read(format, b"").expect_err("it is empty");
        }
    }
}
