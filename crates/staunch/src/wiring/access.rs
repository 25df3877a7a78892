//! Who is let in, as the configuration says: limits, senders that sign, TLS.

use std::io;

use staunch_server::{
    ClientIdentity, FileError, HttpLimits, SenderSettings, Senders, SendersError, Tls, TlsError, TlsSettings,
};

use crate::config::Config;
use crate::exit::{Exit, Fault};
/// What one client of the API, and all of them together, may take up.
pub(crate) fn http_limits(config: &Config) -> HttpLimits {
    let defaults = HttpLimits::default();
    HttpLimits {
        body_bytes_max: config.http.body_bytes_max,
        // Every size that is accepted must fit at least once.
        buffered_bytes_max: defaults.buffered_bytes_max.max(config.http.body_bytes_max),
        connections_max: config.http.connections_max,
        connections_per_peer_max: config.http.connections_per_peer_max,
        ..defaults
    }
}

/// The senders that sign, with their secrets.
///
/// # Errors
/// When a secret cannot be used.
pub(crate) fn senders(config: &Config) -> Result<Senders, Fault> {
    let settings = config.http.senders.iter().map(|it| SenderSettings {
        name: it.name.clone(),
        source: it.source.clone(),
        scheme: it.scheme,
        secret_files: it.secret_files.clone(),
        window: it.window,
    });
    Senders::load(settings.collect()).map_err(|error| match &error {
        SendersError::File(file) => file_fault(file),
        _ => Fault::of(Exit::Usage, &error).hint("[[http.senders]] in the configuration names the files of secrets"),
    })
}

/// TLS for the network; `None` for plain HTTP.
///
/// # Errors
/// When certificate, key or authorities cannot be used.
pub(crate) fn tls(config: &Config) -> Result<Option<Tls>, Fault> {
    let Some(tls) = &config.http.tls else { return Ok(None) };
    let clients = tls.clients.iter().filter_map(|it| {
        Some(ClientIdentity {
            // The configuration was checked: there is exactly one.
            subject: it.subjects().pop()?,
            name: it.name.as_str().into(),
            role: it.role,
        })
    });
    let settings = TlsSettings {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        client_ca: tls.client_ca.clone(),
        client_auth: tls.client_auth,
        clients: clients.collect(),
    };
    Tls::load(settings).map(Some).map_err(|error| match &error {
        TlsError::File(file) => file_fault(file),
        TlsError::Nothing { .. } | TlsError::Authorities { .. } | TlsError::Authority { .. } => {
            Fault::of(Exit::Usage, &error).hint("[http.tls] takes files in PEM")
        }
        TlsError::Pair { .. } => Fault::of(Exit::Usage, &error).hint("name the key that the certificate was made for"),
    })
}

/// A file of secrets or certificates that cannot be used.
fn file_fault(error: &FileError) -> Fault {
    match error {
        FileError::Exposed { .. } => Fault::of(Exit::Usage, error)
            .hint("others may have read or changed it: replace the secret, then run chmod 600 on the file"),
        FileError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Fault::of(Exit::Denied, error).hint("give the file to the user that Staunch runs as")
        }
        FileError::Read { .. } | FileError::TooLong { .. } => {
            Fault::of(Exit::Usage, error).hint("the configuration names the file under [http]")
        }
    }
}
