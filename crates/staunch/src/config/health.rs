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
    /// True when it is asked without encryption on this machine.
    pub(crate) fn is_plain(&self) -> bool {
        let host = self
            .url
            .strip_prefix("http://")
            .map(|rest| rest.split(['/', '?', '#']).next());
        host.flatten().is_some_and(is_loopback)
    }

    /// The address that is asked.
    pub(crate) fn asked(&self) -> String {
        match self.query {
            Some(_) => format!("{}/api/v1/query", self.url.trim_end_matches('/')),
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
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return Some("it does not begin with https:// or http://");
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || self.url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Some("it names no host");
        }
        if host.contains('@') {
            return Some("it has a user or a password in it");
        }
        if rest.contains('#') || (self.query.is_some() && rest.contains('?')) {
            return Some("it has a part in it that is not sent");
        }
        match scheme {
            "https" => None,
            "http" if self.key_file.is_none() || is_loopback(host) => None,
            "http" => Some("without encryption a key is sent to this machine alone, such as 127.0.0.1"),
            _ => Some("it does not begin with https:// or http://"),
        }
    }
}

const fn a_second() -> Span {
    Span::from_secs(1)
}
