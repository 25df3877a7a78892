//! Services that are asked about addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_connectors::lookups::{Form, Kind};
use staunch_model::Span;

/// Where AbuseIPDB answers.
const ABUSEIPDB: &str = "https://api.abuseipdb.com/api/v2/check";

/// A service that is asked over HTTP about the targets of events that no feed names; `abuseipdb`, which lists addresses
/// as good, about those that one names, too. It takes effect from the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupSettings {
    /// What it is called; no feed has the same name. Since v0.1.
    pub(crate) name: String,
    /// `abuseipdb`: version 2 of its API; `generic`: any service that answers with JSON in which a number is the score.
    /// Since v0.1.
    pub(crate) kind: Kind,
    /// Where it is asked: `https://`, or `http://` on this machine. Of a `generic` one, `{ip}` behind the host stands
    /// for the address. Default for `abuseipdb` `https://api.abuseipdb.com/api/v2/check`. Since v0.1.
    pub(crate) url: Option<String>,
    /// The file of the key, which nobody but its owner and group may read: for `abuseipdb` the key, for `generic` the
    /// whole value of `header`. Default none; `abuseipdb` needs one. Since v0.1.
    pub(crate) key_file: Option<PathBuf>,
    /// The header in which the key is sent. Default `Key` for `abuseipdb`, `Authorization` for `generic`. Since v0.1.
    pub(crate) header: Option<String>,
    /// Of a `generic` one, where the score is in the answer: a JSON pointer such as `/data/score`. Since v0.1.
    pub(crate) pointer: Option<String>,
    /// Of a `generic` one, the number that is the worst score; 0 is the best. Default 100; 1 to 1000000. Since v0.1.
    #[serde(default = "a_hundred")]
    pub(crate) scale: u32,
    /// Of `abuseipdb`, of how many days reports count. Default 30; 1 to 365. Since v0.1.
    #[serde(default = "thirty")]
    pub(crate) max_age_days: u16,
    /// The file of the authorities in PEM by which it is verified. Default those of this machine. Since v0.1.
    pub(crate) ca: Option<PathBuf>,
    /// How long an answer is kept, and the same address not asked of again. Default `60s`; `1s` to `24h`. Since v0.1.
    #[serde(default = "a_minute")]
    pub(crate) cache: Span,
    /// How long an event waits for an answer; without one, the score is unknown. An answer that comes later is kept for
    /// the next event. Default `300ms`; `10ms` to `5s`. Since v0.1.
    #[serde(default = "a_moment")]
    pub(crate) deadline: Span,
    /// How long an answer counts for what is decided, from when it was asked for. Default `1h`; `1m` to `7d`, and not
    /// less than `cache`. Since v0.1.
    #[serde(default = "an_hour")]
    pub(crate) expires_after: Span,
    /// How sure it is, in percent. Default 50; at most 100. Since v0.1.
    #[serde(default = "fifty")]
    pub(crate) confidence: u8,
    /// Networks of whose addresses it is asked although they are not global, such as private ones. Default none. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) also: Vec<IpNet>,
}

impl LookupSettings {
    /// Where it is asked, without the address.
    pub(crate) fn url(&self) -> &str {
        match (&self.url, self.kind) {
            (Some(url), _) => url,
            (None, Kind::AbuseIpdb) => ABUSEIPDB,
            (None, Kind::Generic) => "",
        }
    }

    /// Where it is asked about `ip`.
    pub(crate) fn url_of(&self, ip: IpAddr) -> String {
        match self.kind {
            Kind::AbuseIpdb => format!("{}?ipAddress={ip}&maxAgeInDays={}", self.url(), self.max_age_days),
            Kind::Generic => self.url().replace("{ip}", &ip.to_string()),
        }
    }

    /// The header in which the key is sent.
    pub(crate) fn header(&self) -> &str {
        match (&self.header, self.kind) {
            (Some(header), _) => header,
            (None, Kind::AbuseIpdb) => "Key",
            (None, Kind::Generic) => "Authorization",
        }
    }

    /// How its answers are read.
    pub(crate) fn form(&self) -> Form {
        match self.kind {
            Kind::AbuseIpdb => Form::AbuseIpdb,
            Kind::Generic => Form::Generic {
                pointer: self.pointer.as_deref().unwrap_or_default().into(),
                scale: self.scale,
            },
        }
    }

    /// True when it is on this machine, and asked without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        self.url().starts_with("http://")
    }

    /// Why it cannot be asked at its address.
    pub(super) fn why_no_url(&self) -> Option<&'static str> {
        let url = self.url();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Some("it does not begin with https:// or http://");
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        if host.is_empty() || host.contains(['{', '}']) || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Some("it names no host");
        }
        if host.contains('@') {
            return Some("it has a user or a password in it");
        }
        if path.contains('#') {
            return Some("it has a fragment in it, which is never sent");
        }
        let is_placed = path.contains("{ip}");
        match self.kind {
            Kind::Generic if !is_placed => return Some("it does not say where the address stands: {ip}"),
            Kind::AbuseIpdb if path.contains(['?', '{']) => return Some("it has more in it than a path"),
            _ => {}
        }
        match scheme {
            "https" => None,
            "http" if is_loopback(host) => None,
            "http" => Some("without encryption only this machine is asked, such as 127.0.0.1"),
            _ => Some("it does not begin with https:// or http://"),
        }
    }
}

/// Whether `url` is one of this machine, so that what is sent there stays on it.
pub(super) fn is_on_this_machine(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    is_loopback(host)
}

/// Whether `host`, which may have a port, is an address of this machine. A name would have to be looked up for that.
pub(super) fn is_loopback(host: &str) -> bool {
    let is = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let address = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(address, _)| address),
    };
    is(address)
}

const fn a_hundred() -> u32 {
    100
}

const fn thirty() -> u16 {
    30
}

const fn a_minute() -> Span {
    Span::from_secs(60)
}

const fn a_moment() -> Span {
    Span::from_millis(300)
}

const fn an_hour() -> Span {
    Span::from_hours(1)
}

const fn fifty() -> u8 {
    50
}
