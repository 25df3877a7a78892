//! Servers on this host for tests of what is called by HTTP: in the clear, or with a certificate of an authority of
//! their own.
//!
//! Never leaves this host.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    /// What was asked for, with its query.
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A server that answers the same to all until it is told otherwise.
pub(crate) struct Loopback {
    answer: Mutex<Option<String>>,
    /// Of what is asked for, what is answered instead.
    others: Mutex<BTreeMap<String, String>>,
    asked: Mutex<Vec<Request>>,
    changed: Condvar,
}

impl Loopback {
    /// A server in the clear, and its address.
    pub(crate) fn plain() -> (Arc<Self>, String) {
        Self::start(None)
    }

    /// A server with a certificate for `127.0.0.1`, and its address. The authority that has issued it is written to
    /// `ca`.
    pub(crate) fn secured(ca: &Path) -> (Arc<Self>, String) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Those of files of one name have one name, too.
        let name = ca.file_stem().expect("it has a name").to_string_lossy();
        params.distinguished_name.push(DnType::CommonName, &*name);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        std::fs::write(ca, authority.pem()).expect("it is our directory");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("it signs");
        Self::showing(certificate.der(), &key)
    }

    /// One that shows a certificate which it is the authority of, as `openssl req -x509` makes them, and that is
    /// written to `ca`.
    pub(crate) fn secured_by_itself(ca: &Path) -> (Arc<Self>, String) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("it signs itself");
        std::fs::write(ca, certificate.pem()).expect("it is our directory");
        Self::showing(certificate.der(), &key)
    }

    fn showing(certificate: &[u8], key: &KeyPair) -> (Arc<Self>, String) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("they are a pair");
        Self::start(Some(Arc::new(config)))
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> (Arc<Self>, String) {
        let server = Arc::new(Self {
            answer: Mutex::new(Some("204 No Content".to_owned())),
            others: Mutex::default(),
            asked: Mutex::default(),
            changed: Condvar::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("it has one"));
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, tls) = (shared.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => server.serve(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("it is a good one");
                        server.serve(StreamOwned::<_, TcpStream>::new(connection, stream));
                    }
                });
            }
        });
        (server, url)
    }

    fn serve(&self, mut stream: impl Read + Write) {
        let mut reader = BufReader::new(&mut stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|it| it > 0) {
                // Whoever wanted to ask has gone, as those do who do not like the certificate.
                return;
            }
            if line.trim_end().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            head.push_str(&line.replace('\r', ""));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("it is all there");
        let body = String::from_utf8(body).expect("it is text");
        let request = Request { head, body };
        let others = self.others.lock().expect("no test panics with it");
        let other = others.get(request.target()).cloned();
        drop(others);
        self.lock().push(request);
        self.changed.notify_all();
        let answer = other.or_else(|| self.answer.lock().expect("no test panics with it").clone());
        // Whoever asked may have gone.
        match answer {
            Some(answer) => {
                let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
                let length = body.len();
                let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                drop(stream.write_all(text.as_bytes()));
                drop(stream.flush());
            }
            // Until the other side has had enough.
            None => drop(stream.read(&mut [0])),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.asked.lock().expect("no test panics with it")
    }

    /// Answers `answer` from here on: a status, headers in lines behind it, and a body behind an empty line; with
    /// `None`, nothing.
    pub(crate) fn says(&self, answer: Option<&str>) {
        *self.answer.lock().expect("no test panics with it") = answer.map(str::to_owned);
    }

    /// The same for `target` alone, with its query.
    pub(crate) fn says_of(&self, target: &str, answer: &str) {
        let mut others = self.others.lock().expect("no test panics with it");
        others.insert(target.to_owned(), answer.to_owned());
    }

    /// What it was sent so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.lock().clone()
    }
}
