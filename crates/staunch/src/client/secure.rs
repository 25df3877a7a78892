//! HTTPS to a server: whom to trust, what to show, and what to say when that fails.
//!
//! Never leaves a certificate unverified.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use staunch_model::Printable;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::cli::ServerArgs;
use crate::exit::{Exit, Fault};
use crate::files::{is_missing, read_bounded};

/// The longest file of certificates: a bundle of all public authorities has a quarter of it.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How servers are verified and what they are shown, as `args` say: the authorities of this machine, or those in a
/// file.
///
/// # Errors
/// When a file cannot be used.
pub(super) fn config(args: &ServerArgs) -> Result<TlsConfig, Fault> {
    let roots = match &args.ca {
        Some(path) if path.as_os_str().is_empty() => {
            let fault = Fault::new(Exit::Usage, "--ca, or STAUNCH_CA in the environment, is empty");
            return Err(fault.hint("name a file of certificates in PEM, or unset STAUNCH_CA"));
        }
        Some(path) => {
            let all = certificates(path, "--ca takes a file of certificates in PEM")?;
            RootCerts::new_with_certs(&all)
        }
        None => native_roots(),
    };
    let shown = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "--client-cert takes a certificate in PEM")?;
            let text = read(key, "--client-key takes a private key in PEM")?;
            let unusable = |_| nothing(key, "private key", "--client-key takes a private key in PEM");
            check_pair(
                &chain,
                PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| unusable(()))?,
            )?;
            let pem = PrivateKey::from_pem(text.as_bytes()).map_err(|_| unusable(()))?;
            Some(ClientCert::new_with_certs(&chain, pem))
        }
        // The command line wants both or none.
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(shown)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The authorities that this machine trusts.
fn native_roots() -> RootCerts {
    // What cannot be read of them is trusted less, not more.
    let found = rustls_native_certs::load_native_certs().certs;
    let all: Vec<_> = found.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
    RootCerts::new_with_certs(&all)
}

/// How servers are verified by the authorities of this machine, without showing them anything.
pub(crate) fn native() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(native_roots())
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// How servers are verified by the authorities in the file `ca`, without showing them anything.
///
/// # Errors
/// When it cannot be used; `hint` says what it should be.
pub(crate) fn trusting(ca: &Path, hint: &str) -> Result<TlsConfig, Fault> {
    // A configuration names it: a file that is not there is a mistake in that.
    let all = certificates(ca, hint).map_err(|mut fault| {
        fault.exit = Exit::Usage;
        fault
    })?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&all))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// How a service that the configuration names is called.
pub(crate) struct Calling<'c> {
    /// The file of the authorities by which it is verified; those of this machine when there is none.
    pub(crate) ca: Option<&'c Path>,
    /// How long a call takes at the most, with everything.
    pub(crate) within: Duration,
    /// How many connections are kept for the next calls.
    pub(crate) kept: usize,
    /// Whether it is on this machine and called without encryption: then never by way of another machine.
    pub(crate) is_plain: bool,
}

impl Calling<'_> {
    /// What calls it: no redirect is followed, and a status is an answer like any other.
    ///
    /// # Errors
    /// When the file of authorities cannot be used.
    pub(crate) fn agent(&self) -> Result<Agent, Fault> {
        let tls = match self.ca {
            Some(ca) => trusting(ca, "ca takes a file of certificates in PEM")?,
            None => native(),
        };
        let agent = Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_idle_connections_per_host(self.kept)
            .timeout_global(Some(self.within));
        let agent = if self.is_plain { agent.proxy(None) } else { agent };
        Ok(agent.build().new_agent())
    }
}

/// Why there is no safe connection with a service, when it is a matter of TLS.
pub(crate) fn why_unsafe(error: &ureq::Error) -> Option<&'static str> {
    let cause = match error {
        ureq::Error::Rustls(cause) => cause,
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref::<TlsError>()?,
        _ => return None,
    };
    Some(match cause {
        // One of the same name has not issued it either.
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "there is no safe connection with it: none of the authorities that are trusted has issued its certificate"
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "there is no safe connection with it: its certificate is for another name",
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "there is no safe connection with it: its certificate has expired"
        }
        TlsError::InvalidCertificate(why) if is_of_an_authority(why) => {
            "there is no safe connection with it: its certificate is that of an authority (CA:TRUE), not of a server"
        }
        TlsError::InvalidCertificate(_) => {
            "there is no safe connection with it: its certificate is not good; `openssl s_client -connect HOST:PORT` \
             shows it"
        }
        _ => "there is no safe connection with it",
    })
}

/// Whether a server shows the certificate of an authority, as `openssl req -x509` makes them, for its own.
fn is_of_an_authority(why: &CertificateError) -> bool {
    // rustls has no name for it, and keeps what webpki says as it is.
    matches!(why, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

/// Whether `key` is the one of the certificate that `chain` begins with.
fn check_pair(chain: &[Certificate<'_>], key: PrivateKeyDer<'static>) -> Result<(), Fault> {
    let certificates = chain.iter().map(|it| CertificateDer::from(it.der().to_vec()));
    let pair = CertifiedKey::from_der(certificates.collect(), key, &rustls::crypto::ring::default_provider());
    pair.map(drop).map_err(|error| {
        Fault::doing(Exit::Usage, "--client-cert and --client-key are no pair", &error)
            .hint("name the key that belongs to the certificate")
    })
}

/// What is wrong between us and the server at `shown`, when it is a matter of TLS; how it ended, and what to do.
pub(super) fn told(shown: &str, error: &ureq::Error) -> Option<Fault> {
    let cause = match error {
        ureq::Error::Rustls(cause) => cause,
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref::<TlsError>()?,
        _ => return None,
    };
    let shown = Printable(shown);
    let (exit, what, hint) = match cause {
        TlsError::InvalidCertificate(why) => {
            let what = format!("the certificate of {shown} is not good");
            let hint = match why {
                CertificateError::UnknownIssuer => {
                    "this machine does not know who issued it: name the file of that authority with --ca or STAUNCH_CA"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "it is for another name: name the server with --url as its certificate does"
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired: renew it there, the server reads it again by itself; and look at the clock here"
                }
                why if is_of_an_authority(why) => {
                    "it is that of an authority (CA:TRUE): give the server one of its own that the authority has issued"
                }
                _ => "look at it with `openssl s_client -connect HOST:PORT`",
            };
            (Exit::Denied, what, hint)
        }
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => (
            Exit::Denied,
            format!("{shown} wants a certificate of its clients"),
            "name yours with --client-cert and --client-key",
        ),
        TlsError::AlertReceived(_) => (
            Exit::Denied,
            format!("{shown} has refused the connection"),
            "does it trust the authority of --client-cert, and has that certificate not expired?",
        ),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => (
            Exit::Usage,
            format!("{shown} does not speak HTTPS"),
            "write http:// when it speaks plain HTTP",
        ),
        _ => (
            Exit::Failed,
            format!("there is no safe connection with {shown}"),
            "look at it with `openssl s_client -connect HOST:PORT`",
        ),
    };
    Some(Fault::doing(exit, what, cause).hint(hint))
}

fn certificates(path: &Path, hint: &str) -> Result<Vec<Certificate<'static>>, Fault> {
    let text = read(path, hint)?;
    let mut all = Vec::new();
    for item in parse_pem(text.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| nothing(path, "certificate", hint))? {
            all.push(certificate);
        }
    }
    if all.is_empty() {
        Err(nothing(path, "certificate", hint))
    } else {
        Ok(all)
    }
}

fn read(path: &Path, hint: &str) -> Result<String, Fault> {
    let shown = path.display().to_string();
    read_bounded(path, PEM_BYTES_MAX).map_err(|error| {
        let exit = if is_missing(&error) {
            Exit::NotFound
        } else {
            Exit::Usage
        };
        Fault::doing(exit, format!("cannot read {}", Printable(&shown)), &error).hint(hint)
    })
}

fn nothing(path: &Path, what: &str, hint: &str) -> Fault {
    let shown = path.display().to_string();
    Fault::new(Exit::Usage, format!("there is no {what} in {}", Printable(&shown))).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::Loopback;

    #[test]
    fn an_authority_that_shows_its_own_certificate_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let (_server, url) = Loopback::secured_by_itself(&ca);
        let calling = Calling {
            ca: Some(&ca),
            within: Duration::from_secs(10),
            kept: 1,
            is_plain: false,
        };
        let agent = calling.agent().unwrap_or_else(|fault| panic!("{}", fault.told()));
        let error = agent.get(&url).call().expect_err("it is no certificate of a server");
        let fault = told(&url, &error).expect("it is a matter of TLS");
        assert_eq!(fault.exit, Exit::Denied);
        let hint = fault.advice().unwrap_or_default();
        assert!(hint.contains("that of an authority (CA:TRUE)"), "{hint}");
    }
}
