//! VPC flow logs of AWS: one record a line, fields with blanks between them.
//!
//! Without a heading the fields are those of version 2; a heading says their order, as the files in S3 have it. The
//! time of a record is its `start`, in whole seconds: when the first packet of its window was received, which may be up
//! to 60 seconds after it passed the interface. (Fields and times: Amazon VPC User Guide, "Flow log records".)

use std::net::IpAddr;
use std::str;

use super::{Fact, Format, Kind, Outcome, Parties, Same, clipped, end, protocol};
use crate::sources::{address, time};

/// The fields of version 2, in their order.
const VERSION_2: [&str; 14] = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
];

/// Fields of a heading; all versions together have some forty.
const FIELDS_MAX: usize = 128;

/// Where the fields are that are read.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    fields: Vec<String>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            fields: VERSION_2.map(str::to_owned).to_vec(),
        }
    }
}

/// Whether a line names fields.
pub(super) fn is_heading(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace);
    let has = |name: &[u8]| words.clone().any(|word| word == name);
    has(b"srcaddr")
        && has(b"dstaddr")
        && words.all(|word| word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-'))
}

/// Whether a line is a record of version 2.
pub(super) fn is_record(line: &[u8]) -> bool {
    let Ok(line) = str::from_utf8(line) else { return false };
    let words: Vec<&str> = line.split_ascii_whitespace().take(VERSION_2.len() + 1).collect();
    words.len() == VERSION_2.len() && words[0] == "2" && matches!(words[13], "OK" | "NODATA" | "SKIPDATA")
}

impl Decoder {
    pub(super) fn line(&mut self, line: &[u8]) -> Outcome {
        if is_heading(line) {
            let Ok(line) = str::from_utf8(line) else {
                return Outcome::Unreadable("the heading is not UTF-8");
            };
            let names = line.split_ascii_whitespace().take(FIELDS_MAX);
            self.fields = names.map(str::to_owned).collect();
            return Outcome::PassedOver;
        }
        let Ok(line) = str::from_utf8(line) else {
            return Outcome::Unreadable("the record is not UTF-8");
        };
        let words: Vec<&str> = line.split_ascii_whitespace().take(FIELDS_MAX + 1).collect();
        if words.len() != self.fields.len() {
            return Outcome::Unreadable("it has another number of fields");
        }
        let field = |name: &str| {
            let at = self.fields.iter().position(|it| it == name)?;
            words.get(at).copied().filter(|it| *it != "-")
        };
        if matches!(field("log-status"), Some("NODATA" | "SKIPDATA")) {
            return Outcome::PassedOver;
        }
        let ip = |name: &str| field(name).and_then(address::read);
        let (Some(source), Some(destination)) = (ip("srcaddr"), ip("dstaddr")) else {
            return Outcome::Unreadable("srcaddr or dstaddr is no address");
        };
        let seconds = field("start").and_then(|it| it.parse::<u64>().ok());
        let Some(time) = seconds.and_then(|it| time::since_epoch(it.checked_mul(1_000_000)?)) else {
            return Outcome::Untimed;
        };
        let port = |name: &str| field(name).and_then(|it| it.parse::<u16>().ok()).unwrap_or(0);
        let (from, to) = ((source, port("srcport")), (destination, port("dstport")));
        Outcome::Fact(Box::new(self.fact(time, from, to, &field)))
    }

    fn fact<'l>(
        &self,
        time: staunch_model::Timestamp,
        from: (IpAddr, u16),
        to: (IpAddr, u16),
        field: &dyn Fn(&str) -> Option<&'l str>,
    ) -> Fact {
        let number = field("protocol").and_then(|it| it.parse::<u64>().ok());
        let name = number.map_or_else(|| "unknown protocol".to_owned(), protocol);
        let mut what = format!("vpc-flow: {name} {} -> {}", end(from), end(to));
        let mut add = |text: &str| {
            what.push_str(", ");
            what.push_str(text);
        };
        if let Some(action) = field("action") {
            add(action);
        }
        for (name, unit) in [("packets", "packets"), ("bytes", "bytes")] {
            if let Some(count) = field(name) {
                add(&format!("{count} {unit}"));
            }
        }
        let mut parties = Parties::default();
        parties.address(Some(from.0));
        parties.address(Some(to.0));
        for name in ["interface-id", "instance-id", "pkt-srcaddr", "pkt-dstaddr"] {
            match field(name).map(|it| (it, address::read(it))) {
                Some((_, Some(ip))) => parties.address(Some(ip)),
                Some((text, None)) => parties.name(Some(text)),
                None => {}
            }
        }
        Fact {
            format: Format::VpcFlow,
            time,
            missing: Vec::new(),
            kind: Kind::Connection,
            same: number.map(|_| Same::connection(&name, from, to)),
            parties,
            what: clipped(&what),
        }
    }
}
