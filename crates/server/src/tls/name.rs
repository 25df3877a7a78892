//! Names in a client's certificate.
//!
//! Never judges a certificate: that it was verified is the handshake's business, before anything is read here.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// A name that a certificate can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The common name of the subject.
    CommonName(String),
    /// An alternative name that is a host's, in any case.
    Dns(String),
    /// An alternative name that is a URI, such as a SPIFFE id.
    Uri(String),
    /// An alternative name that is an address for mail.
    Email(String),
}

/// The position of the first of `subjects` that `certificate` has.
pub(super) fn first<'a>(
    certificate: &CertificateDer<'_>,
    subjects: impl IntoIterator<Item = &'a Subject>,
) -> Option<usize> {
    let mut subjects = subjects.into_iter().peekable();
    subjects.peek()?;
    let certificate = Certificate::from_der(certificate)
        .map_err(|error| tracing::warn!(%error, "a client's certificate is good, but its names cannot be read"))
        .ok()?;
    let signed = certificate.tbs_certificate();
    let common = signed.subject().common_name().ok().flatten();
    let common = common.as_ref().map(DirectoryString::value);
    let others = signed.get_extension::<SubjectAltName>().ok().flatten();
    let others = others.map(|(_, names)| names.0).unwrap_or_default();
    let has = |subject: &Subject| match subject {
        Subject::CommonName(wanted) => common.as_deref() == Some(wanted.as_str()),
        Subject::Dns(wanted) => others.iter().any(|it| match it {
            GeneralName::DnsName(name) => name.as_str().eq_ignore_ascii_case(wanted),
            _ => false,
        }),
        Subject::Uri(wanted) => others.iter().any(|it| match it {
            GeneralName::UniformResourceIdentifier(uri) => uri.as_str() == wanted,
            _ => false,
        }),
        Subject::Email(wanted) => others.iter().any(|it| match it {
            GeneralName::Rfc822Name(address) => address.as_str() == wanted,
            _ => false,
        }),
    };
    subjects.position(has)
}
