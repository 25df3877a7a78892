//! The tables of the sources, and of the ways in which their events come besides HTTP.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_connectors::inlets::file::Begin;
use staunch_connectors::inlets::syslog::{HandOn, Listen};
use staunch_connectors::sources::{GenericSettings, SourceSettings, SuricataSettings};

use super::networks;
/// Event sources. Those that come with Staunch need no settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SourcesSettings {
    /// Suricata. Since v0.1.
    pub(crate) suricata: SuricataSettings,
    /// Systems that are described by a mapping instead of code. Default none. Since v0.1.
    pub(crate) generic: Vec<GenericSettings>,
    /// Files that sensors append events to. Default none. Since v0.1.
    pub(crate) files: Vec<FileSource>,
    /// Addresses that take syslog messages. Default none. Since v0.1.
    pub(crate) syslog: Vec<SyslogSource>,
    /// Sockets of the file system that take lines. Default none. Since v0.1.
    pub(crate) sockets: Vec<SocketSource>,
    /// Parts of the journal of systemd that are followed. Default none. Since v0.1.
    pub(crate) journald: Vec<JournaldSource>,
}

/// A file that a sensor appends events to, one a line. It is followed through rotation, truncation and restarts; what
/// was not made durable before a crash is read again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSource {
    /// The file, such as `/var/log/suricata/eve.json`. It need not be there yet. Since v0.1.
    pub(crate) path: PathBuf,
    /// The system that writes it. Default `suricata`. Since v0.1.
    #[serde(default = "suricata")]
    pub(crate) source: String,
    /// Where to begin the first time: `end`, with what is appended from then on, or `start`. Default `end`. Since v0.1.
    #[serde(default)]
    pub(crate) begin: Begin,
}

/// An address that takes syslog messages, of RFC 5424 and RFC 3164. What a message says is an event; what it is wrapped
/// in, and `@cee:`, is taken off. It takes effect from the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyslogSource {
    /// Where it listens: `udp://` or `tcp://` and an address with its port, such as `tcp://127.0.0.1:5514`. Over TCP
    /// senders wait while nothing can be taken; over UDP messages are lost then, and counted. Since v0.1.
    pub(crate) listen: Listen,
    /// The system whose events come. Default `suricata`. Since v0.1.
    #[serde(default = "suricata")]
    pub(crate) source: String,
    /// Who may send: networks and single addresses. Syslog knows no password, and over UDP an address can be forged.
    /// Default this machine only; needed when `listen` is not an address of this machine only. Since v0.1.
    #[serde(default, deserialize_with = "networks")]
    pub(crate) from: Vec<IpNet>,
    /// The programs (APP-NAME, or the tag of RFC 3164) whose messages are taken; others are passed over. Default all.
    /// Since v0.1.
    #[serde(default)]
    pub(crate) app_names: Vec<String>,
    /// What is handed to the source: `message`, what it says; or `entry`, a JSON object with `facility`, `severity`,
    /// `timestamp`, `hostname`, `app_name`, `process_id`, `message_id` and `message`, for a mapping. Default `message`.
    /// Since v0.1.
    #[serde(default)]
    pub(crate) hand_on: HandOn,
}

/// A socket in the file system that takes events, one a line, from programs that connect to it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SocketSource {
    /// The socket, such as `/run/staunch/events.sock`. Its directory must be there. One that an earlier process has
    /// left is replaced; one that somebody listens on, and anything else, is not. Since v0.1.
    pub(crate) path: PathBuf,
    /// The system that writes to it. Default `suricata`. Since v0.1.
    #[serde(default = "suricata")]
    pub(crate) source: String,
    /// Its mode: who may write to it may send. Default `0o600`. Since v0.1.
    #[serde(default = "private")]
    pub(crate) mode: u32,
    /// The group that it belongs to; see `mode`. Default the one of Staunch. Since v0.1.
    #[serde(default)]
    pub(crate) group: Option<String>,
}

/// A part of the journal of systemd, followed through restarts; what was not made durable before a crash is read again.
/// It needs the program `journalctl`, and Staunch to be allowed to read the journal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JournaldSource {
    /// The system whose events come. Default `suricata`. Since v0.1.
    #[serde(default = "suricata")]
    pub(crate) source: String,
    /// The units whose entries are taken, such as `suricata.service`. Default all. Since v0.1.
    #[serde(default)]
    pub(crate) units: Vec<String>,
    /// The identifiers (`SYSLOG_IDENTIFIER`, such as `suricata`) whose entries are taken; with `units`, both must be
    /// among those named. Default all. Since v0.1.
    #[serde(default)]
    pub(crate) identifiers: Vec<String>,
    /// What is handed to the source: `message`, the field `MESSAGE`; or `entry`, the whole entry as JSON, for a
    /// mapping. Default `message`. Since v0.1.
    #[serde(default)]
    pub(crate) hand_on: HandOn,
    /// Where to begin the first time: `end`, with what is written from then on, or `start`. Default `end`. Since v0.1.
    #[serde(default)]
    pub(crate) begin: Begin,
    /// The directory of the journal, such as `/var/log/journal/remote`. Default that of this machine. Since v0.1.
    #[serde(default)]
    pub(crate) directory: Option<PathBuf>,
}

impl JournaldSource {
    /// What tells it from others: which entries, and whose.
    pub(crate) fn key(&self) -> (&str, &[String], &[String], Option<&Path>) {
        (&self.source, &self.units, &self.identifiers, self.directory.as_deref())
    }
}

const fn private() -> u32 {
    0o600
}

fn suricata() -> String {
    "suricata".to_owned()
}

impl SourcesSettings {
    /// The same in the words of the decoders.
    pub(crate) fn settings(&self) -> SourceSettings {
        SourceSettings {
            suricata: self.suricata.clone(),
            generic: self.generic.clone(),
        }
    }
}
