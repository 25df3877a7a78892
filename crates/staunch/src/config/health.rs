//! Health signals: what tells whether the business is well.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use staunch_connectors::signals::Bounds;
use staunch_model::Span;

use super::lookups::is_loopback;

/// A health signal, which playbooks name in `watch` and `soak`. It takes effect from the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthSettings {
    /// What is asked: a page, which is healthy when it answers with a status of 200 to 299; or with `query` the address
    /// of a Prometheus, such as `http://127.0.0.1:9090`. `https://`, or `http://` in a network of your own. Since v0.1.
    pub(crate) url: String,
    /// An instant query of Prometheus that yields one value. Default none: the page is asked. Since v0.1.
    pub(crate) query: Option<String>,
    /// The most that the value of the query may be. Default none. Since v0.1.
    pub(crate) max: Option<f64>,
    /// The least that it may be. Default none; a query needs one of the two. Since v0.1.
    pub(crate) min: Option<f64>,
    /// The file of the whole value of the header `Authorization`, which nobody but its owner and group may read.
    /// Default none. Since v0.1.
    pub(crate) key_file: Option<PathBuf>,
    /// The file of the authorities in PEM by which it is verified. Default those of this machine. Since v0.1.
    pub(crate) ca: Option<PathBuf>,
    /// How long one reading may take. Default `1s`; `50ms` to `1500ms`, because containment that is watched waits for
    /// the first reading. Since v0.1.
    #[serde(default = "a_second")]
    pub(crate) deadline: Span,
}

impl HealthSettings {
    /// The address that is asked.
    pub(crate) fn asked(&self) -> String {
        match self.query {
            Some(_) => queries_at(&self.url),
            None => self.url.clone(),
        }
    }

    /// Within which values a query is healthy.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            min: self.min,
            max: self.max,
        }
    }

    /// Why it cannot be asked at its address.
    pub(super) fn why_no_url(&self) -> Option<&'static str> {
        let Self {
            url, query, key_file, ..
        } = self;
        why_no_url(url, query.is_some(), key_file.is_some())
    }
}

/// The Prometheus that the conditions of playbooks are asked of: `watch: { prometheus: "errors < 2 %", for: 1m }`. It
/// takes effect from the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrometheusSettings {
    /// Its address, such as `http://127.0.0.1:9090`. `https://`, or `http://` in a network of your own. Since v0.1.
    pub(crate) url: String,
    /// The file of the whole value of the header `Authorization`, which nobody but its owner and group may read.
    /// Default none. Since v0.1.
    pub(crate) key_file: Option<PathBuf>,
    /// The file of the authorities in PEM by which it is verified. Default those of this machine. Since v0.1.
    pub(crate) ca: Option<PathBuf>,
    /// How long one reading may take. Default `1s`; `50ms` to `1500ms`, because containment that is watched waits for
    /// the first reading. Since v0.1.
    #[serde(default = "a_second")]
    pub(crate) deadline: Span,
}

impl PrometheusSettings {
    /// The address of queries.
    pub(crate) fn asked(&self) -> String {
        queries_at(&self.url)
    }

    /// Why it cannot be asked at its address.
    pub(super) fn why_no_url(&self) -> Option<&'static str> {
        why_no_url(&self.url, true, self.key_file.is_some())
    }
}

/// Where the Prometheus at `url` takes instant queries.
fn queries_at(url: &str) -> String {
    format!("{}/api/v1/query", url.trim_end_matches('/'))
}

/// Why nothing can be asked at `url`.
fn why_no_url(url: &str, has_query: bool, has_key: bool) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("it does not begin with https:// or http://");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("it names no host");
    }
    if host.contains('@') {
        return Some("it has a user or a password in it");
    }
    if rest.contains('#') || (has_query && rest.contains('?')) {
        return Some("it has a part in it that is not sent");
    }
    match scheme {
        "https" => None,
        "http" if !has_key || is_loopback(host) => None,
        "http" => Some("without encryption a key is sent to this machine alone, such as 127.0.0.1"),
        _ => Some("it does not begin with https:// or http://"),
    }
}

/// True when `url` is asked without encryption on this machine.
pub(crate) fn is_plain(url: &str) -> bool {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.split(['/', '?', '#']).next());
    host.flatten().is_some_and(is_loopback)
}

const fn a_second() -> Span {
    Span::from_secs(1)
}
