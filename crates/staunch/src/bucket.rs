//! Buckets of S3, asked by HTTP: where evidence and checkpoints are locked.
//!
//! Never shows the secret key, which is read from its file for each request. What is asked, and what is made of the
//! answers, is in `staunch_store::s3`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use staunch_model::{Failure, FailureKind, Printable};
use staunch_ports::clock::SystemClock;
use staunch_store::s3::{
    Answer, Bucket, BucketSettings, Credentials, Link, LockMode, OBJECT_BYTES_MAX, PartSizes, Payload, Request,
};
use ureq::{Agent, AsSendBody, Body, http};

use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::{AnchorSettings, EvidenceBucket, RetentionMode};

/// Connections that are kept for the next requests: each thread that seals, and the one that sends.
const CONNECTIONS_KEPT: usize = 4;

/// How long a request may take that says nothing else.
const WITHIN: Duration = Duration::from_secs(60);

/// A bucket behind an address.
struct HttpLink {
    agent: Agent,
    /// The scheme and the host.
    root: String,
    key_file: PathBuf,
    /// Where the configuration names it.
    section: &'static str,
}

/// The bucket of an anchor.
///
/// # Errors
/// `Denied` when its authorities cannot be used.
pub(crate) fn of_anchor(it: &AnchorSettings) -> Result<Bucket, Failure> {
    let url = it.url.as_deref().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
    let named = host;
    let host = without_default_port(scheme, host);
    let base = base.trim_matches('/');
    let place = match base {
        "" => format!("{scheme}://{named}/"),
        base => format!("{scheme}://{named}/{base}/"),
    };
    let key_file = it.key_file.as_deref();
    let root = format!("{scheme}://{host}");
    let link = HttpLink::new(root, key_file, it.ca.as_deref(), "[[evidence.anchors]]")?;
    let settings = BucketSettings {
        host: host.to_owned(),
        base: base.to_owned(),
        // Checkpoints are small, so that nothing is listed here, and whether the bucket is in the path is not known.
        bucket_in_path: String::new(),
        place,
        region: it.region.clone(),
        mode: mode(it.retention),
        retain: it.retain,
        legal_hold: it.legal_hold,
        object_bytes_max: OBJECT_BYTES_MAX,
        parts: PartSizes::S3,
    };
    Ok(Bucket::new(settings, Box::new(link), Arc::new(SystemClock)))
}

/// The bucket that evidence is kept in.
///
/// # Errors
/// `Denied` when its authorities cannot be used.
pub(crate) fn of_evidence(it: &EvidenceBucket) -> Result<Arc<Bucket>, Failure> {
    let prefix = it.prefix.trim_matches('/');
    let within = |parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().filter(|it| !it.is_empty()).collect();
        parts.join("/")
    };
    let base = if it.path_style {
        within(&[&it.bucket, prefix])
    } else {
        prefix.to_owned()
    };
    let root = it.address();
    let (scheme, host) = root.split_once("://").unwrap_or(("https", &root));
    let host = without_default_port(scheme, host).to_owned();
    let root = format!("{scheme}://{host}");
    let link = HttpLink::new(root, Some(&it.key_file), it.ca.as_deref(), "[evidence.s3]")?;
    let settings = BucketSettings {
        host,
        base,
        bucket_in_path: if it.path_style {
            it.bucket.clone()
        } else {
            String::new()
        },
        place: format!("s3://{}/", within(&[&it.bucket, prefix])),
        region: it.region.clone(),
        mode: mode(it.retention),
        retain: it.retain,
        legal_hold: it.legal_hold,
        object_bytes_max: OBJECT_BYTES_MAX,
        parts: PartSizes::S3,
    };
    Ok(Arc::new(Bucket::new(settings, Box::new(link), Arc::new(SystemClock))))
}

/// A host as clients write it into a request, where it is signed: without the port that the scheme means.
fn without_default_port<'h>(scheme: &str, host: &'h str) -> &'h str {
    let port = if scheme == "http" { ":80" } else { ":443" };
    host.strip_suffix(port).unwrap_or(host)
}

const fn mode(retention: RetentionMode) -> LockMode {
    match retention {
        RetentionMode::Governance => LockMode::Governance,
        RetentionMode::Compliance => LockMode::Compliance,
    }
}

impl HttpLink {
    fn new(root: String, key_file: Option<&Path>, ca: Option<&Path>, section: &'static str) -> Result<Self, Failure> {
        let key_file = key_file.ok_or_else(|| denied("there is no key_file"))?;
        let calling = Calling {
            ca,
            within: WITHIN,
            kept: CONNECTIONS_KEPT,
            is_plain: root.starts_with("http://"),
        };
        Ok(Self {
            agent: calling.agent().map_err(|fault| denied(&fault.told()))?,
            root,
            key_file: key_file.to_owned(),
            section,
        })
    }
}

impl HttpLink {
    fn run(
        &self,
        request: http::request::Builder,
        body: impl AsSendBody,
        within: Duration,
    ) -> Result<http::Response<Body>, Failure> {
        let request = request
            .body(body)
            .map_err(|_| Failure::new(FailureKind::Invalid, "the address of the bucket is none"))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(within))
            .build();
        self.agent.run(request).map_err(|error| broken(&error))
    }
}

impl Link for HttpLink {
    fn credentials(&self) -> Result<Credentials, Failure> {
        let key = api_key::read(&self.key_file, self.section).map_err(|fault| denied(&fault.told()))?;
        let credentials = key.to_str().ok().and_then(Credentials::parse);
        credentials.ok_or_else(|| denied("key_file holds the name of the key and the secret key, with a space between"))
    }

    fn ask(&self, asked: Request<'_>) -> Result<Answer, Failure> {
        let uri = format!("{}{}", self.root, asked.target);
        let mut request = http::Request::builder().method(asked.method).uri(uri);
        for (name, value) in asked.headers {
            // The client writes it, as the address has it.
            if name != "host" {
                request = request.header(name, value);
            }
        }
        // The size is said beforehand: S3 takes nothing without.
        let (parts, body) = match asked.body {
            Payload::Empty => self.run(request, (), asked.within),
            Payload::Bytes(bytes) => self.run(request, bytes, asked.within),
            Payload::File(file, _) => self.run(request, file, asked.within),
        }?
        .into_parts();
        let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
                .collect(),
            body: Box::new(body.into_reader()),
        })
    }
}

fn denied(what: &str) -> Failure {
    Failure::new(FailureKind::Denied, what)
}

fn broken(error: &ureq::Error) -> Failure {
    if let Some(why) = secure::why_unsafe(error) {
        return denied(why);
    }
    let kind = match error {
        ureq::Error::Timeout(_) => FailureKind::TimedOut,
        _ => FailureKind::Unavailable,
    };
    let what = format!("the bucket cannot be asked: {}", Printable(&error.to_string()));
    Failure::new(kind, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_scheme_is_not_signed_because_it_is_not_sent() {
        let of = |text: &str| toml::from_str::<EvidenceBucket>(text).expect("settings");
        let settings = |endpoint: &str, path_style: bool| {
            let bucket = of(&format!(
                "endpoint = \"{endpoint}\"\nbucket = \"b\"\nkey_file = \"k\"\npath_style = {path_style}\n"
            ));
            of_evidence(&bucket).expect("it can be used").settings().host.clone()
        };
        assert_eq!(settings("https://s3.example:443", true), "s3.example");
        assert_eq!(settings("https://s3.example:443", false), "b.s3.example");
        assert_eq!(settings("https://s3.example:4430", true), "s3.example:4430");
        assert_eq!(settings("http://127.0.0.1:80/", true), "127.0.0.1");
        assert_eq!(settings("http://127.0.0.1:443", true), "127.0.0.1:443");
        assert_eq!(without_default_port("https", "[::1]:443"), "[::1]");
    }
}
