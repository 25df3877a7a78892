//! TLS for connections from the network: our certificate, whether clients must have one, and who they are by it.
//!
//! Never falls back to plain HTTP, and never puts half of what was changed in force: a certificate and its key are
//! replaced together or not at all.

mod name;
mod secured;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use staunch_model::WithCauses;
use thiserror::Error;

pub use name::Subject;
pub(crate) use secured::Secured;

use crate::auth::{Identity, Role};
use crate::files::{self, FileError, FileWatch, Stamp, stamp};

/// How often the files are looked at for changes, when connections come.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// What is spoken behind TLS.
const PROTOCOL: &[u8] = b"http/1.1";

/// How connections from the network are protected.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The certificate and those between it and its authority, in PEM, our own first.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authorities of clients' certificates, in PEM. Without it clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must have a certificate.
    pub client_auth: ClientAuth,
    /// Who clients are by their certificates. The first that fits holds.
    pub clients: Vec<ClientIdentity>,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It may have one, which must be good then.
    #[default]
    Optional,
    /// Without a good one the handshake fails.
    Required,
}

/// Who a client is when its certificate has a name.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The name in the certificate.
    pub subject: Subject,
    /// What it is called here.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
}

/// Why TLS cannot be spoken as configured.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no certificate or key in a file.
    #[error("there is no {what} in {path}")]
    Nothing {
        /// What should be there.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A certificate and its key cannot be used, or not together.
    #[error("the certificate {certificate} cannot be used with the key {key}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("the authorities in {path} cannot be used")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: VerifierBuilderError,
    },
    /// A certificate among the authorities is none.
    #[error("a certificate in {path} cannot be read")]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
}

/// TLS as it is configured. Changes of the files are noticed within a second, and hold for new connections.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    config: Arc<ServerConfig>,
    watch: FileWatch,
}

impl Tls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        Self::load_refreshed(settings, REFRESH_INTERVAL)
    }

    /// Like [`Tls::load`], with another time between two looks at the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load_refreshed(settings: TlsSettings, refresh_interval: Duration) -> Result<Self, TlsError> {
        let stamps = settings.stamps();
        let known = Known {
            config: Arc::new(settings.read()?),
            watch: FileWatch::new(stamps, refresh_interval),
        };
        Ok(Self {
            settings,
            known: Mutex::new(known),
        })
    }

    /// What holds for a connection that begins, read anew when a file has changed.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamps) = known.watch.changed(|| self.settings.stamps()) {
            match self.settings.read() {
                Ok(config) => {
                    tracing::info!("the certificate was read again; it holds for new connections");
                    known.config = Arc::new(config);
                    known.watch.was_read(stamps);
                }
                // Certificate and key are two files: between the two writes they do not match.
                Err(error) => {
                    if known.watch.has_failed(stamps) {
                        tracing::error!(
                            error = %WithCauses(&error),
                            "the certificate cannot be read; the earlier one stays in use"
                        );
                    }
                }
            }
        }
        known.config.clone()
    }

    /// Who a client with this certificate is; `None` when nobody is configured by a name in it.
    pub(crate) fn identity(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        let clients = &self.settings.clients;
        let found = name::first(certificate, clients.iter().map(|it| &it.subject))?;
        let client = clients.get(found)?;
        Some(Identity {
            name: client.name.clone(),
            role: client.role,
        })
    }
}

impl TlsSettings {
    fn stamps(&self) -> Vec<Stamp> {
        let authorities = self.client_ca.as_deref().and_then(stamp);
        vec![stamp(&self.certificate), stamp(&self.key), authorities]
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&files::read_secret(&self.key)?).map_err(|_| TlsError::Nothing {
            what: "private key",
            path: self.key.clone(),
        })?;
        let pair = |source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(self.verifier(path, provider)?),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A session that is resumed would not be looked at again: every connection proves itself anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn verifier(&self, path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(path)? {
            roots.add(authority).map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                source,
            })?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.client_auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        builder.build().map_err(|source| TlsError::Authorities {
            path: path.to_owned(),
            source,
        })
    }
}

/// The certificates in the file at `path`, of which there must be one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = files::read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| TlsError::Nothing {
        what: "certificate",
        path: path.to_owned(),
    })
}

/// A certificate for `localhost` that a test makes up, and who is to be trusted for it.
#[cfg(test)]
pub(crate) fn made_up() -> (Tls, RootCertStore) {
    use std::os::unix::fs::PermissionsExt;

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it signs itself");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (certificate, key) = (dir.path().join("certificate"), dir.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).expect("it is our directory");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("it is our directory");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("it is our file");
    let tls = Tls::load(TlsSettings {
        certificate,
        key,
        client_ca: None,
        client_auth: ClientAuth::Optional,
        clients: Vec::new(),
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("it can be trusted");
    (tls.expect("the files can be used"), roots)
}
