//! The tables of the HTTP API: where it listens, who signs, TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use staunch_model::Span;
use staunch_server::{ClientAuth, Role, Scheme, Subject};
/// The HTTP API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpSettings {
    /// The address and port it listens on; port 0 takes any free one. Without `[http.tls]` it speaks plain HTTP: then
    /// put a TLS proxy in front of it before it leaves the machine. Default `127.0.0.1:7450`. Since v0.1.
    pub(crate) listen: SocketAddr,
    /// The file of hashed tokens that `staunch token` writes. Default `tokens` in the data directory. Since v0.1.
    pub(crate) tokens_file: Option<PathBuf>,
    /// The largest body of a request, in bytes. Default 8388608 (8 MiB); at most 1 GiB. Since v0.1.
    pub(crate) body_bytes_max: usize,
    /// Connections at the same time; further ones are answered with 503. Default 1024; at most 65536. Since v0.1.
    pub(crate) connections_max: usize,
    /// Of those, connections of one peer: an IPv4 address or an IPv6 /64. A TLS proxy in front of it is one peer. The
    /// operators' socket in the data directory has connections of its own. Default 256; at most 65536. Since v0.1.
    pub(crate) connections_per_peer_max: usize,
    /// Senders that sign what they post instead of showing a token. Default none. Since v0.1.
    pub(crate) senders: Vec<HttpSender>,
    /// TLS for the network. Default none: plain HTTP. Since v0.1.
    pub(crate) tls: Option<HttpTls>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7450)),
            tokens_file: None,
            body_bytes_max: 8 << 20,
            connections_max: 1_024,
            connections_per_peer_max: 256,
            senders: Vec::new(),
            tls: None,
        }
    }
}

/// A sender that signs what it posts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSender {
    /// What it is called in the log. Since v0.1.
    pub(crate) name: String,
    /// The source that it posts to: the last part of its address `/v1/events/SOURCE`. Since v0.1.
    pub(crate) source: String,
    /// How it signs: `standard-webhooks`, `github` (`X-Hub-Signature-256`, as many others do too), `slack` or
    /// `pagerduty`. Since v0.1.
    pub(crate) scheme: Scheme,
    /// Files with a secret in each line, of which every one is good; up to 4 while a secret is changed. Others than the
    /// owner and the group must not be able to read them. They are read again within a second of a change. Since v0.1.
    pub(crate) secret_files: Vec<PathBuf>,
    /// How far the time in a signature may be from this machine's, to either side. For schemes without a time
    /// (`github`, `pagerduty`): for how long the same body is not taken twice. Default `5m`; `1s` to `1h`. Since v0.1.
    #[serde(default = "five_minutes")]
    pub(crate) window: Span,
}

/// TLS for the network. All files are looked at again within a second of a change, and what is new holds for new
/// connections; when it cannot be used, the earlier stays in use and the log says why.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTls {
    /// The certificate and those between it and its authority, in PEM, the server's own first. Since v0.1.
    pub(crate) certificate: PathBuf,
    /// Its private key, in PEM. Others than the owner and the group must not be able to read the file. Since v0.1.
    pub(crate) key: PathBuf,
    /// The authorities of clients' certificates, in PEM. Default none: clients are not asked for a certificate. Since
    /// v0.1.
    pub(crate) client_ca: Option<PathBuf>,
    /// `optional`: a client may have a certificate, which must be good then. `required`: without a good one it does not
    /// come in, also with a token or a signature. Default `optional`. Since v0.1.
    #[serde(default)]
    pub(crate) client_auth: ClientAuth,
    /// Who clients are by their certificates; the first that fits holds. A certificate that fits none proves nothing
    /// beyond the handshake. Default none. Since v0.1.
    #[serde(default)]
    pub(crate) clients: Vec<HttpTlsClient>,
}

/// Who a client is whose certificate has one name: exactly one of the four kinds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTlsClient {
    /// What it is called in the record of what it does. Since v0.1.
    pub(crate) name: String,
    /// What it may do: `sender` posts events, `operator` does everything. Since v0.1.
    pub(crate) role: Role,
    /// The common name of the subject. Since v0.1.
    pub(crate) common_name: Option<String>,
    /// An alternative name: a host's, in any case. Since v0.1.
    pub(crate) dns: Option<String>,
    /// An alternative name: a URI, such as a SPIFFE id. Since v0.1.
    pub(crate) uri: Option<String>,
    /// An alternative name: an address for mail. Since v0.1.
    pub(crate) email: Option<String>,
}

impl HttpTlsClient {
    /// The names that are said. One is wanted.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let mut all = Vec::new();
        all.extend(self.common_name.clone().map(Subject::CommonName));
        all.extend(self.dns.clone().map(Subject::Dns));
        all.extend(self.uri.clone().map(Subject::Uri));
        all.extend(self.email.clone().map(Subject::Email));
        all
    }
}

fn five_minutes() -> Span {
    Span::from_mins(5)
}
