//! Logs: what files of events, flows, queries, audit records and plain lines say, as facts with a time.
//!
//! Never opens a file, never looks at a clock and never judges what belongs to an incident: bytes in, facts out.
//!
//! A log is hostile: attackers write words of it, and lines that look like those of others. No line is longer than
//! [`LINE_BYTES_MAX`] and no document than [`DOCUMENT_BYTES_MAX`]. In memory is one line at a time; of audit records,
//! those of the events whose other records may follow, up to a bound; of a document, all of it. Texts of a fact are
//! cut. They are as they came: show them with [`staunch_model::Printable`] only.

use std::io::{self, BufRead, Read as _};
use std::net::IpAddr;

use serde::Serialize;
use staunch_model::{Event, Timestamp, text};
use thiserror::Error;

mod access;
mod audit;
mod flow;
mod format;
mod guess;
mod json;
mod lines;
mod mentions;
mod plain;
mod shape;
mod stamp;

pub use format::Format;
pub use guess::guess;
use lines::{Line, Lines};

use crate::json::{EVENT_BYTES_MAX, Node};

/// Bytes of one line: as many as an event may have.
pub const LINE_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// Bytes of one JSON document. CloudTrail's own files have at most some MiB.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a text of a fact; more is cut.
pub const TEXT_BYTES_MAX: usize = 4 << 10;

/// Addresses that are taken out of one line.
pub const ADDRESSES_MAX: usize = 16;

/// The beginning of a log by which its format is guessed.
pub const HEAD_BYTES: usize = 64 << 10;

/// What is said of a document of which the end is missing.
pub const ENDS_EARLY: &str = "the document ends before it is whole";

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something that a source says of somebody: an alert, a call of an API, a record of an audit.
    Event,
    /// A connection between two ends.
    Connection,
    /// A question for a name.
    Query,
    /// An attempt to log in, that succeeded or not.
    Login,
    /// A process that began.
    Process,
    /// A time of a file.
    File,
    /// Anything else.
    Message,
}

impl Kind {
    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Connection => "connection",
            Self::Query => "query",
            Self::Login => "login",
            Self::Process => "process",
            Self::File => "file",
            Self::Message => "message",
        }
    }
}

/// What makes two facts the same one when they are as near in time: the kind, and who took part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Same {
    /// An event: what fired, and between whom. Which side attacks is what a decoder makes of it, and does not count.
    Event {
        /// The rule, signature or title.
        signature: String,
        /// The sides, the lower one first.
        sides: [Option<IpAddr>; 2],
    },
    /// A connection, in either direction.
    Connection {
        /// In small letters.
        protocol: String,
        /// Both ends with their ports, the lower one first; port 0 for protocols without.
        ends: [(IpAddr, u16); 2],
    },
    /// A question.
    Query {
        /// Who asked.
        client: IpAddr,
        /// For what, in small letters, without the last dot.
        name: String,
        /// Of which type, in capital letters.
        of_type: String,
    },
    /// A login.
    Login {
        /// As whom.
        account: String,
        /// From where.
        from: Option<IpAddr>,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// A process that began.
    Process {
        /// Its number.
        pid: u32,
        /// The path of its program.
        program: String,
    },
}

impl Same {
    /// An event between two sides, of which either may be unknown.
    #[must_use]
    pub fn event(signature: &str, one: Option<IpAddr>, other: Option<IpAddr>) -> Self {
        Self::Event {
            signature: text::clip(signature, Event::TEXT_BYTES_MAX).to_owned(),
            sides: [one.min(other), one.max(other)],
        }
    }

    /// Whether both are the same, time apart. An event whose sides are not known is that of any sides.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Event { signature, sides },
                Self::Event {
                    signature: one,
                    sides: of,
                },
            ) => signature == one && (sides == of || [sides, of].iter().any(|it| **it == [None, None])),
            _ => self == other,
        }
    }

    /// A connection between two ends, whichever began it.
    #[must_use]
    pub fn connection(protocol: &str, one: (IpAddr, u16), other: (IpAddr, u16)) -> Self {
        Self::Connection {
            protocol: protocol.to_owned(),
            ends: [one.min(other), one.max(other)],
        }
    }

    /// A question for `name`.
    #[must_use]
    pub fn query(client: IpAddr, name: &str, of_type: &str) -> Self {
        Self::Query {
            client,
            name: clipped(name.trim_end_matches('.')).to_ascii_lowercase(),
            of_type: clipped(of_type).to_ascii_uppercase(),
        }
    }
}

/// Who took part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Addresses, IPv4-mapped IPv6 turned into IPv4; at most [`ADDRESSES_MAX`].
    pub addresses: Vec<IpAddr>,
    /// Names of accounts, hosts and domains.
    pub names: Vec<String>,
    /// Numbers of processes.
    pub pids: Vec<u32>,
    /// Text in which further names may stand as words.
    pub text: Option<String>,
    /// All addresses that stand anywhere in the record, in order and each once; IPv4-mapped IPv6 turned into IPv4.
    /// There are as many as the record has room for, so that none can be crowded out.
    pub mentions: Vec<IpAddr>,
}

impl Parties {
    fn address(&mut self, ip: Option<IpAddr>) {
        if let Some(ip) = ip
            && self.addresses.len() < ADDRESSES_MAX
            && !self.addresses.contains(&ip)
        {
            self.addresses.push(ip);
        }
    }

    fn name(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|it| !it.is_empty()) {
            self.names.push(clipped(name));
        }
    }

    /// Takes the addresses that stand in `text`.
    fn mention(&mut self, text: &str) {
        mentions::each(text, &mut |ip| self.mentions.push(ip));
        self.mentions.sort_unstable();
        self.mentions.dedup();
    }

    /// Takes the addresses that stand anywhere in `record`.
    fn mention_all(&mut self, record: Node<'_>) {
        mentions::below(record, &mut |ip| self.mentions.push(ip));
        self.mentions.sort_unstable();
        self.mentions.dedup();
    }

    fn pid(&mut self, text: Option<&str>) {
        self.pids.extend(text.and_then(|it| it.parse::<u32>().ok()));
    }
}

/// A part of a time that its source does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The year: the one that is nearest to the incident is taken.
    Year,
    /// The zone: UTC is taken.
    Zone,
}

impl Missing {
    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Zone => "zone",
        }
    }
}

/// One thing that a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The format of the log.
    pub format: Format,
    /// When, by the clock of who wrote it.
    pub time: Timestamp,
    /// What of the time is not said and was supplied.
    pub missing: Vec<Missing>,
    /// What it is about.
    pub kind: Kind,
    /// What tells it from others; `None` for what is never the same as another.
    pub same: Option<Same>,
    /// Who took part.
    pub parties: Parties,
    /// What is said, in a sentence that begins with the name of the format; at most [`TEXT_BYTES_MAX`] bytes.
    pub what: String,
}

/// What was read, by what became of it. Every item is one of the four below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines that are not blank; of JSON and of audit records, events.
    pub items: u64,
    /// Handed on.
    pub facts: u64,
    /// No fact by the format: a heading, an empty window, a state of the sensor.
    pub passed_over: u64,
    /// Without a time that can be read.
    pub untimed: u64,
    /// Not of the format, or longer than a line may be.
    pub unreadable: u64,
    /// Which of these was the first, and why. Safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_unreadable: Option<String>,
    /// Whether the log ends within a document ([`ENDS_EARLY`]). What is whole of that is counted, what was cut is not.
    #[serde(skip)]
    pub ends_early: bool,
}

impl Tally {
    fn unreadable(&mut self, what: &str) {
        self.unreadable += 1;
        let number = self.items;
        self.first_unreadable.get_or_insert_with(|| format!("{number}: {what}"));
    }
}

/// Why a log cannot be read at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The bytes could not be had.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// Some of the bytes could be had, and were read; the others could not.
    #[error("it cannot be read to its end")]
    BrokenOff {
        /// What it was read as.
        format: Format,
        /// What was read before.
        tally: Tally,
        /// Why.
        source: io::Error,
    },
    /// Nobody says what it is, and it is not seen.
    #[error("its format is not known by its first lines")]
    Unknown,
    /// There is nothing in it by which its format could be seen.
    #[error("it is empty")]
    Empty,
    /// It is one JSON document that is too large.
    #[error("it is one JSON document of more than {} MiB", DOCUMENT_BYTES_MAX >> 20)]
    TooLarge,
}

/// What becomes of one line.
enum Outcome {
    Fact(Box<Fact>),
    PassedOver,
    Untimed,
    Unreadable(&'static str),
}

/// Takes what becomes of lines and events.
struct Visitor<'v> {
    tally: Tally,
    visit: &'v mut dyn FnMut(Fact),
}

impl Visitor<'_> {
    fn take(&mut self, outcome: Outcome) {
        self.tally.items += 1;
        match outcome {
            Outcome::Fact(fact) => {
                self.tally.facts += 1;
                (self.visit)(*fact);
            }
            Outcome::PassedOver => self.tally.passed_over += 1,
            Outcome::Untimed => self.tally.untimed += 1,
            Outcome::Unreadable(what) => self.tally.unreadable(what),
        }
    }

    /// Takes that the log has ended, and whether within a document.
    fn ended(&mut self, is_cut: bool) {
        match self.tally.items {
            // Nothing of it is whole.
            0 if is_cut => self.take(Outcome::Unreadable(ENDS_EARLY)),
            _ => self.tally.ends_early = is_cut,
        }
    }
}

/// Calls `visit` with each fact of a log, in the order in which they stand there. Without a format, it is guessed by
/// the beginning. What of a time is not said is supplied: the year that brings it nearest to `around`.
///
/// # Errors
/// [`ReadError`]; what was visited before stays.
pub fn read(
    from: &mut dyn BufRead,
    format: Option<Format>,
    around: Timestamp,
    visit: &mut dyn FnMut(Fact),
) -> Result<(Format, Tally), ReadError> {
    let mut head = Vec::new();
    let failed = (&mut *from)
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut head)
        .err();
    // What could be read before is read as far as it goes.
    if let Some(error) = failed {
        if head.is_empty() {
            return Err(ReadError::Io(error));
        }
        return Err(match whole(&head, &mut io::empty(), format, around, visit) {
            Ok((format, tally)) => ReadError::BrokenOff {
                format,
                tally,
                source: error,
            },
            Err(_) => ReadError::Io(error),
        });
    }
    whole(&head, from, format, around, visit)
}

/// Reads a log that begins with `head` and goes on with `from`.
fn whole(
    head: &[u8],
    from: &mut dyn BufRead,
    format: Option<Format>,
    around: Timestamp,
    visit: &mut dyn FnMut(Fact),
) -> Result<(Format, Tally), ReadError> {
    let begin = &head[..head.len().min(HEAD_BYTES)];
    let format = format
        .or_else(|| guess(begin))
        .ok_or_else(|| match begin.trim_ascii() {
            [] => ReadError::Empty,
            _ => ReadError::Unknown,
        })?;
    let mut visitor = Visitor {
        tally: Tally::default(),
        visit,
    };
    let is_document = format.is_json() && json::is_document(head);
    let mut all = head.chain(from);
    if is_document {
        let mut document = Vec::new();
        let failed = (&mut all).take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document).err();
        if document.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        let is_cut = json::Decoder::new(format).body(&document, &mut visitor);
        visitor.ended(is_cut);
        return done(format, visitor.tally, failed);
    }
    let mut lines = Lines::new(&mut all);
    let mut decoder = Decoder::new(format, around);
    let mut is_cut = false;
    let failed = loop {
        let line = match lines.next() {
            Ok(None) => break None,
            Ok(Some(line)) => line,
            Err(error) => break Some(error),
        };
        // It was not the last one.
        if is_cut {
            visitor.take(Outcome::Unreadable(ENDS_EARLY));
        }
        is_cut = match line {
            Line::Whole(line) => decoder.line(line, &mut visitor),
            Line::TooLong => {
                visitor.take(Outcome::Unreadable("it is longer than a line may be"));
                false
            }
        };
    };
    decoder.end(&mut visitor);
    visitor.ended(is_cut);
    done(format, visitor.tally, failed)
}

fn done(format: Format, tally: Tally, failed: Option<io::Error>) -> Result<(Format, Tally), ReadError> {
    match failed {
        None => Ok((format, tally)),
        Some(source) => Err(ReadError::BrokenOff { format, tally, source }),
    }
}

/// What reads the lines of a log.
enum Decoder {
    Json(json::Decoder),
    Audit(audit::Decoder),
    Flow(flow::Decoder),
    Plain(plain::Decoder),
    Access,
}

impl Decoder {
    fn new(format: Format, around: Timestamp) -> Self {
        match format {
            Format::Auditd => Self::Audit(audit::Decoder::default()),
            Format::VpcFlow => Self::Flow(flow::Decoder::default()),
            Format::Access => Self::Access,
            Format::Dnsmasq | Format::Log => Self::Plain(plain::Decoder::new(format, around)),
            _ => Self::Json(json::Decoder::new(format)),
        }
    }

    /// Reads a line. Returns whether it is a document that ends before it is whole.
    fn line(&mut self, line: &[u8], visitor: &mut Visitor<'_>) -> bool {
        match self {
            Self::Json(decoder) => return decoder.body(line, visitor),
            Self::Audit(decoder) => decoder.line(line, visitor),
            Self::Flow(decoder) => visitor.take(decoder.line(line)),
            Self::Plain(decoder) => visitor.take(decoder.line(line)),
            Self::Access => visitor.take(access::line(line)),
        }
        false
    }

    fn end(&mut self, visitor: &mut Visitor<'_>) {
        if let Self::Audit(decoder) = self {
            decoder.end(visitor);
        }
    }
}

/// As much of `text` as a fact keeps.
fn clipped(text: &str) -> String {
    text::clip(text, TEXT_BYTES_MAX).to_owned()
}

/// An end of a connection in words.
fn end((ip, port): (IpAddr, u16)) -> String {
    match (ip, port) {
        (ip, 0) => ip.to_string(),
        (IpAddr::V4(ip), port) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
    }
}

/// The name of a protocol of IP (IANA, "Assigned Internet Protocol Numbers").
#[must_use]
pub fn protocol(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    }
}
