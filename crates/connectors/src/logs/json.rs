//! Logs of JSON: what the sources of events read, and the journal of systemd.
//!
//! Of an event, the words are its own: severity and sides are what the source's decoder makes of it
//! (`sources/<system>.rs`).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use staunch_model::{Endpoint, EventKind, EventView, FieldValue, RawFields as _, Severity, Timestamp};

use super::plain::{self, About};
use super::{Fact, Format, Kind, Outcome, Parties, Same, Visitor, clipped, end};
use crate::json::{Cut, Document, EVENT_BYTES_MAX, Node, Split};
use crate::sources::{Decoded, Source, SourceSettings, address, body, built_in, time};

/// Reads values.
pub(super) struct Decoder {
    format: Format,
    /// `None` for the journal.
    source: Option<Arc<dyn Source>>,
}

/// Whether what begins with `head` is one document and not a value a line.
pub(super) fn is_document(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head.first() {
        Some(b'[') => true,
        Some(b'{') => match memchr::memchr(b'\n', head) {
            Some(end) => !head[..end].trim_ascii_end().ends_with(b"}"),
            None => head.len() >= super::LINE_BYTES_MAX,
        },
        _ => false,
    }
}

impl Decoder {
    pub(super) fn new(format: Format) -> Self {
        let sources = built_in(&SourceSettings::default());
        Self {
            format,
            source: sources.into_iter().find(|it| it.name() == format.name()),
        }
    }

    /// Reads one value, or a document of several. Returns whether the document ends before it is whole: then, what of
    /// it is whole was read, and what was cut is not counted.
    pub(super) fn body(&self, bytes: &[u8], visitor: &mut Visitor<'_>) -> bool {
        let inside = self.source.as_ref().map_or(&[][..], |it| it.inside());
        // Looked for at the first mistake only, which a document that is cut always has.
        let mut cut: Option<Option<Cut>> = None;
        self.each(bytes, &mut |offset, outcome| {
            if outcome.is_err() {
                cut.get_or_insert_with(|| Cut::find(bytes, inside));
            }
            if let Some(Some(cut)) = &cut
                && (!cut.is_plain_list() || offset >= cut.end())
            {
                return;
            }
            visitor.take(outcome.unwrap_or_else(Outcome::Unreadable));
        });
        let Some(Some(cut)) = cut else {
            return false;
        };
        if !cut.is_plain_list() {
            self.each(&cut.mended(bytes), &mut |_, outcome| {
                visitor.take(outcome.unwrap_or_else(Outcome::Unreadable));
            });
        }
        true
    }

    /// Calls `visit` with the byte at which each value begins, and what becomes of it; or why it cannot be parsed.
    fn each(&self, bytes: &[u8], visit: &mut dyn FnMut(usize, Result<Outcome, &'static str>)) {
        let Some(source) = &self.source else {
            for element in Split::new(bytes) {
                let entry = element.parse(EVENT_BYTES_MAX);
                let outcome = entry.map(|it| mentioning(journal(&it), it.root()));
                visit(element.offset, outcome.map_err(|_| "it is no JSON object"));
            }
            return;
        };
        body::each(&**source, bytes, &mut |_, offset, document| {
            let outcome = match document.map(|it| (source.decode(it), it.root())) {
                Err(_) => Err("it is no JSON object, or one of more than are read of a document"),
                Ok((Decoded::Event(view), root)) => Ok(mentioning(event(self.format, &view), root)),
                Ok((Decoded::Ignored(_), _)) => Ok(Outcome::PassedOver),
                Ok((Decoded::Malformed { what, .. }, _)) => Ok(Outcome::Unreadable(what)),
            };
            visit(offset, outcome);
        });
    }
}

/// `outcome` with the addresses that stand anywhere in the record that it is of.
fn mentioning(mut outcome: Outcome, record: Node<'_>) -> Outcome {
    if let Outcome::Fact(fact) = &mut outcome {
        fact.parties.mention_all(record);
    }
    outcome
}

/// What an event says.
fn event(format: Format, view: &EventView<'_>) -> Outcome {
    if matches!(view.kind, EventKind::Health | EventKind::Sample) {
        return Outcome::PassedOver;
    }
    let mut fact = Fact {
        format,
        time: Timestamp::EPOCH,
        missing: Vec::new(),
        kind: Kind::Event,
        same: None,
        parties: parties(format, view),
        what: String::new(),
    };
    let mut at = view.time;
    if format == Format::Suricata && view.kind == EventKind::Telemetry {
        let began = text(view, &["flow", "start"]).and_then(time::read);
        seen(view, &mut fact);
        if fact.kind == Kind::Connection {
            at = began.or(at);
        }
    } else {
        // Those of the packet, because whom an alert accuses depends on the settings of who reads it.
        let packet = ends(view).filter(|_| format == Format::Suricata);
        let sides = packet.map_or((view.source.ip, view.destination.ip), |(from, to)| {
            (Some(from.0), Some(to.0))
        });
        fact.same = Some(Same::event(view.signature, sides.0, sides.1));
        fact.what = said(format, view);
    }
    let Some(at) = at else {
        return Outcome::Untimed;
    };
    fact.time = at;
    fact.what = clipped(&fact.what);
    Outcome::Fact(Box::new(fact))
}

fn text<'a>(view: &EventView<'a>, path: &[&str]) -> Option<&'a str> {
    let path: Vec<Box<str>> = path.iter().map(|it| Box::from(*it)).collect();
    match view.raw.field(&path) {
        Some(FieldValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn number(view: &EventView<'_>, path: &[&str]) -> Option<u64> {
    let path: Vec<Box<str>> = path.iter().map(|it| Box::from(*it)).collect();
    match view.raw.field(&path) {
        Some(FieldValue::Int(number)) => u64::try_from(number).ok(),
        Some(FieldValue::UInt(number)) => Some(number),
        _ => None,
    }
}

fn parties(format: Format, view: &EventView<'_>) -> Parties {
    let mut parties = Parties::default();
    for ip in [view.source.ip, view.destination.ip] {
        parties.address(ip);
    }
    for name in [view.user, view.host] {
        parties.name(name);
    }
    match format {
        Format::Suricata => {
            for key in ["src_ip", "dest_ip"] {
                parties.address(text(view, &[key]).and_then(address::read));
            }
        }
        Format::Falco => {
            for key in ["proc.pid", "proc.ppid"] {
                let pid = number(view, &["output_fields", key]).and_then(|it| u32::try_from(it).ok());
                parties.pids.extend(pid);
            }
            let output = text(view, &["output"]);
            for ip in output.into_iter().flat_map(plain::addresses) {
                parties.address(Some(ip));
            }
            parties.text = output.map(clipped);
        }
        // It names the namespace and the object.
        Format::KubernetesAudit => parties.text = text(view, &["requestURI"]).map(clipped),
        _ => {}
    }
    parties
}

/// An event in words, as the timeline has those that were received, with who took part.
fn said(format: Format, view: &EventView<'_>) -> String {
    let mut what = match view.severity {
        Severity::Unknown => format!("{format}: {}", view.signature),
        severity => format!("{format} {severity}: {}", view.signature),
    };
    // Writing into a string cannot fail.
    if format != Format::Suricata && !view.category.is_empty() {
        let _ = write!(what, " ({})", view.category);
    }
    if let Some(user) = view.user {
        let _ = write!(what, ", by {user}");
    }
    let side = |it: Endpoint| it.ip.map(|ip| end((ip, it.port.unwrap_or(0))));
    match (side(view.source), side(view.destination)) {
        (Some(from), Some(to)) => {
            let _ = write!(what, ", {from} -> {to}");
        }
        (Some(from), None) => {
            let _ = write!(what, ", from {from}");
        }
        (None, Some(to)) => {
            let _ = write!(what, ", at {to}");
        }
        // Nobody is accused: then it is told how the packet went.
        (None, None) if format == Format::Suricata => {
            if let Some((from, to)) = ends(view) {
                let _ = write!(what, ", packet {} -> {}", end(from), end(to));
            }
        }
        (None, None) => {}
    }
    if format == Format::Falco {
        what.push_str(&of_falco(view));
    }
    if let Some(refused) = text(view, &["errorCode"]).filter(|_| format == Format::CloudTrail) {
        let _ = write!(what, ", {refused}");
    }
    if let Some(host) = view.host {
        let _ = write!(what, ", on {host}");
    }
    what
}

/// The process and what it had open, as the fields of the rule's output name them.
fn of_falco(view: &EventView<'_>) -> String {
    let mut what = String::new();
    let name = text(view, &["output_fields", "proc.name"]);
    let pid = number(view, &["output_fields", "proc.pid"]);
    match (name, pid) {
        (Some(name), Some(pid)) => what.push_str(&format!(", process {name} (pid {pid})")),
        (Some(name), None) => what.push_str(&format!(", process {name}")),
        (None, Some(pid)) => what.push_str(&format!(", pid {pid}")),
        (None, None) => {}
    }
    let has_side = view.source.ip.is_some() || view.destination.ip.is_some();
    if let Some(open) = text(view, &["output_fields", "fd.name"]).filter(|it| !matches!(*it, "" | "<NA>")) {
        what.push_str(&format!(", {open}"));
    } else if !has_side {
        let output = text(view, &["output"]).unwrap_or_default();
        for ip in plain::addresses(output) {
            what.push_str(&format!(", {ip}"));
        }
    }
    what
}

/// The ends of a record of Suricata.
fn ends(view: &EventView<'_>) -> Option<((IpAddr, u16), (IpAddr, u16))> {
    let side = |ip: &str, port: &str| {
        let ip = text(view, &[ip]).and_then(address::read)?;
        let port = number(view, &[port]).and_then(|it| u16::try_from(it).ok());
        Some((ip, port.unwrap_or(0)))
    };
    side("src_ip", "src_port").zip(side("dest_ip", "dest_port"))
}

/// What Suricata has seen without judging it.
fn seen(view: &EventView<'_>, fact: &mut Fact) {
    let of_type = text(view, &["event_type"]).unwrap_or_default();
    let ends = ends(view);
    let shown = ends.map_or_else(String::new, |(from, to)| format!("{} -> {}", end(from), end(to)));
    let protocol = text(view, &["proto"]).map(|it| match it.to_ascii_lowercase().as_str() {
        "ipv6-icmp" => "icmpv6".to_owned(),
        other => clipped(other),
    });
    fact.kind = Kind::Message;
    fact.what = match of_type {
        "flow" => {
            let name = protocol.unwrap_or_else(|| "unknown protocol".to_owned());
            let above = text(view, &["app_proto"]).filter(|it| *it != "failed");
            let above = above.map_or_else(String::new, |it| format!(", {it}"));
            let count = |key| number(view, &["flow", key]).unwrap_or(0);
            fact.kind = Kind::Connection;
            fact.same = ends.map(|(from, to)| Same::connection(&name, from, to));
            let (there, back) = (count("bytes_toserver"), count("bytes_toclient"));
            format!("suricata: {name} {shown}{above}, {there} bytes there, {back} back")
        }
        "dns" => {
            let record = |key: &str| {
                text(view, &["dns", key])
                    .or_else(|| text(view, &["dns", "queries", "0", key]))
                    .or_else(|| text(view, &["dns", "query", "0", key]))
            };
            let (name, of_type) = (
                record("rrname").unwrap_or_default(),
                record("rrtype").unwrap_or_default(),
            );
            fact.parties.name(Some(name));
            let answer = text(view, &["dns", "answers", "0", "rdata"]);
            fact.parties.address(answer.and_then(address::read));
            if matches!(text(view, &["dns", "type"]), Some("query" | "request")) {
                fact.kind = Kind::Query;
                fact.same = ends.map(|(from, _)| Same::query(from.0, name, of_type));
                format!("suricata: query[{of_type}] {name}, {shown}")
            } else {
                let code = text(view, &["dns", "rcode"]).unwrap_or_default();
                let answer = answer.map_or_else(String::new, |it| format!(" {it}"));
                format!("suricata: answer {code}{answer} to query[{of_type}] {name}, {shown}")
            }
        }
        "http" => {
            let of = |key| text(view, &["http", key]).unwrap_or_default();
            let (method, host, url) = (of("http_method"), of("hostname"), of("url"));
            fact.parties.name(Some(host));
            format!("suricata: http {method} {host}{url}, {shown}")
        }
        "tls" => {
            let name = text(view, &["tls", "sni"]).unwrap_or_default();
            fact.parties.name(Some(name));
            format!("suricata: tls {name}, {shown}")
        }
        "fileinfo" => {
            let name = text(view, &["fileinfo", "filename"]).unwrap_or_default();
            format!("suricata: file {name}, {shown}")
        }
        other => format!("suricata: {other}, {shown}"),
    };
}

/// What an entry of the journal says.
fn journal(entry: &Document<'_>) -> Outcome {
    let field = |key: &str| match entry.field(&[key.into()]) {
        Some(FieldValue::Text(text)) => Some(text),
        _ => None,
    };
    let Some(said) = message(entry) else {
        return Outcome::PassedOver;
    };
    // When it was said, else when the journal took it.
    let stamp = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"];
    let micros = stamp.iter().find_map(|key| field(key)?.parse::<u64>().ok());
    let Some(time) = micros.and_then(time::since_epoch) else {
        return Outcome::Untimed;
    };
    let program = field("SYSLOG_IDENTIFIER").or_else(|| field("_COMM"));
    let pid = field("_PID").or_else(|| field("SYSLOG_PID"));
    let whose = match (program, pid) {
        (Some(program), Some(pid)) => format!("{program}[{pid}]: "),
        (Some(program), None) => format!("{program}: "),
        (None, _) => String::new(),
    };
    let shown = format!("{whose}{said}");
    let about = About {
        host: field("_HOSTNAME"),
        program,
        pid,
        text: &said,
        shown: &shown,
    };
    Outcome::Fact(Box::new(plain::fact(Format::Journal, time, Vec::new(), &about)))
}

/// The message: a text, or the bytes of one that is not UTF-8.
fn message(entry: &Document<'_>) -> Option<String> {
    let node = entry.root().at(&["MESSAGE".into()])?;
    if let Some(text) = node.text() {
        return Some(clipped(text));
    }
    let bytes = node.items().take(super::TEXT_BYTES_MAX);
    let bytes: Option<Vec<u8>> = bytes
        .map(|it| it.integer().and_then(|it| u8::try_from(it).ok()))
        .collect();
    bytes
        .filter(|it| !it.is_empty())
        .map(|it| clipped(&String::from_utf8_lossy(&it)))
}
