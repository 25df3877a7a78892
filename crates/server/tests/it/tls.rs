//! TLS: what holds for connections, and who clients are by their certificates.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use staunch_server::dto::{Commands, Health, path};
use staunch_server::{ClientAuth, ClientIdentity, HttpLimits, Role, Subject, Tls, TlsError, TlsSettings};

use super::client::{Answer, connect, parse};
use super::{Options, Staunch};

const EVENTS: &str = "/v1/events/test";
const BRUTE: &str = r#"{"rule": "brute", "ip": "203.0.113.7"}"#;
const HOST: &str = "staunch.example";

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// An authority that a test makes up.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, edit: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("it signs");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn server(&self) -> Pair {
        self.issue(|params| {
            params.subject_alt_names = vec![SanType::DnsName(HOST.try_into().expect("a name"))];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    fn client(&self, common_name: &str, names: Vec<SanType>) -> Pair {
        self.issue(|params| {
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.subject_alt_names = names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

/// The files of a server with TLS, and the authority that clients trust.
struct Files {
    dir: tempfile::TempDir,
    authority: Authority,
    clients: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            authority: Authority::new("servers"),
            clients: Authority::new("clients"),
        };
        files.write(&files.authority.server());
        fs::write(files.path("clients.pem"), files.clients.pem()).expect("it is our directory");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, pair: &Pair) {
        fs::write(self.path("server.pem"), &pair.certificate).expect("it is our directory");
        write_secret(&self.path("server.key"), &pair.key);
    }

    fn settings(&self, client_auth: Option<ClientAuth>) -> TlsSettings {
        let client = |subject: Subject, name: &str, role| ClientIdentity {
            subject,
            name: name.into(),
            role,
        };
        TlsSettings {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: client_auth.map(|_| self.path("clients.pem")),
            client_auth: client_auth.unwrap_or_default(),
            clients: vec![
                client(Subject::CommonName("siem 7".into()), "siem", Role::Sender),
                client(Subject::Dns("SOAR.example".into()), "soar", Role::Operator),
                client(Subject::Uri("spiffe://example/ns/soc".into()), "soc", Role::Operator),
                client(Subject::Email("ada@example".into()), "ada", Role::Operator),
            ],
        }
    }

    fn start(&self, client_auth: Option<ClientAuth>) -> Staunch {
        self.start_with(client_auth, Options::default())
    }

    fn start_with(&self, client_auth: Option<ClientAuth>, options: Options) -> Staunch {
        let tls = Tls::load_refreshed(self.settings(client_auth), Duration::ZERO).expect("the files can be used");
        Staunch::start_secured(options, Some(Arc::new(tls)))
    }

    /// A handshake of a client that trusts the authority, and shows `pair`.
    fn handshake(&self, staunch: &Staunch, pair: Option<&Pair>) -> Result<Secure, std::io::Error> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("a certificate");
        roots.add(authority).expect("it can be trusted");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key"),
                )
                .expect("they fit"),
        };
        let name = ServerName::try_from(HOST).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("it can be tried");
        let mut stream = StreamOwned::new(connection, connect(staunch.address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// What comes of a request on a connection of its own.
    fn send(
        &self,
        staunch: &Staunch,
        pair: Option<&Pair>,
        head: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer, std::io::Error> {
        let mut stream = self.handshake(staunch, pair)?;
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(parse(&bytes))
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("it is our directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is our file");
}

fn health(stream: &mut Secure) -> String {
    let request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path::HEALTH);
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    let mut piece = [0; 1_024];
    while !bytes.ends_with(b"}") {
        let read = stream.read(&mut piece).expect("it answers");
        assert!(read > 0, "it is not closed");
        bytes.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(bytes).expect("it is text")
}

fn certificate(stream: &Secure) -> Vec<u8> {
    stream.conn.peer_certificates().expect("it was shown")[0].to_vec()
}

#[test]
fn requests_are_served_as_without_it() {
    let files = Files::new();
    let staunch = files.start(None);
    let answer = files
        .send(&staunch, None, &format!("GET {}", path::HEALTH), "", "")
        .expect("an answer");
    assert_eq!(answer.json::<Health>().status, "ok");
    let token = format!("Authorization: Bearer {}\r\n", staunch.operator);
    let answer = files
        .send(&staunch, None, &format!("POST {EVENTS}"), &token, BRUTE)
        .expect("an answer");
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = files
        .send(&staunch, None, &format!("POST {EVENTS}"), "", BRUTE)
        .expect("an answer");
    answer.problem(401, "unauthorized");
    // A body that is larger than what it takes at once, and is refused while it is sent.
    let large = "\n".repeat(12 << 20);
    let answer = files
        .send(&staunch, None, &format!("POST {EVENTS}"), &token, &large)
        .expect("an answer");
    answer.problem(413, "too-large");
    let stream = files.handshake(&staunch, None).expect("a handshake");
    assert_eq!(
        stream.conn.alpn_protocol(),
        None,
        "the client has not asked for a protocol"
    );
}

#[test]
fn plain_http_is_told_what_is_spoken() {
    let files = Files::new();
    let staunch = files.start(None);
    let problem = staunch.client().get(path::STATUS).problem(400, "plain-http");
    assert!(problem.hint.is_some_and(|it| it.contains("https://")));
    // Anything else is closed.
    let mut stream = connect(staunch.address);
    stream.write_all(&[22, 3, 1, 0, 2, 9, 9]).expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(
        rest.first().copied().unwrap_or(21),
        21,
        "an alert at the most: {rest:?}"
    );
}

/// Connections that do not come to the end of their handshake: half of them say nothing, half begin one.
fn slow(staunch: &Staunch) -> Vec<TcpStream> {
    let mut slow: Vec<_> = (0..20).map(|_| connect(staunch.address)).collect();
    for stream in slow.iter_mut().skip(10) {
        stream.write_all(&[22, 3, 1, 2, 0, 1]).expect("sent");
    }
    slow
}

#[test]
fn a_slow_handshake_holds_up_nobody() {
    let files = Files::new();
    let staunch = files.start(None);
    let _slow = slow(&staunch);
    let mut quick = files.handshake(&staunch, None).expect("others are served meanwhile");
    assert!(health(&mut quick).contains("200 OK"));
}

fn with_limits(http: HttpLimits) -> Options {
    Options {
        http,
        ..Options::default()
    }
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off() {
    let files = Files::new();
    let http = HttpLimits {
        head_timeout: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let staunch = files.start_with(None, with_limits(http));
    for mut stream in slow(&staunch) {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => assert!(
                rest.first().is_none_or(|it| *it == 21),
                "an alert at the most: {rest:?}"
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn handshakes_count_as_connections_of_their_peer() {
    let files = Files::new();
    let http = HttpLimits {
        connections_per_peer_max: 2,
        ..HttpLimits::default()
    };
    let staunch = files.start_with(None, with_limits(http));
    let held = [connect(staunch.address), connect(staunch.address)];
    assert!(files.handshake(&staunch, None).is_err(), "both places are taken");
    drop(held);
    super::until("the places are given back", || files.handshake(&staunch, None).is_ok());
}

#[test]
fn a_new_certificate_holds_for_new_connections_and_a_wrong_one_for_none() {
    let files = Files::new();
    let staunch = files.start(None);
    let mut open = files.handshake(&staunch, None).expect("a handshake");
    assert!(health(&mut open).contains("200 OK"));
    let first = certificate(&open);
    let next = files.authority.server();
    // Only one of the two is written yet: they do not match.
    fs::write(files.path("server.pem"), &next.certificate).expect("it is our file");
    let between = files.handshake(&staunch, None).expect("the earlier pair is in use");
    assert_eq!(certificate(&between), first);
    write_secret(&files.path("server.key"), &next.key);
    let after = files.handshake(&staunch, None).expect("a handshake");
    let second = certificate(&after);
    assert_ne!(second, first);
    assert!(
        health(&mut open).contains("200 OK"),
        "a connection that is open stays open"
    );
    assert_eq!(certificate(&open), first);
    for (what, key, mode) in [
        ("no key", "nothing", 0o600),
        ("a key that others can read", &*next.key, 0o644),
    ] {
        write_secret(&files.path("server.key"), key);
        fs::set_permissions(files.path("server.key"), fs::Permissions::from_mode(mode)).expect("it is our file");
        let still = files.handshake(&staunch, None).expect("the earlier pair is in use");
        assert_eq!(certificate(&still), second, "{what}");
    }
    fs::remove_file(files.path("server.pem")).expect("it is our file");
    let still = files.handshake(&staunch, None).expect("the earlier pair is in use");
    assert_eq!(certificate(&still), second);
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let files = Files::new();
    let refused = |auth| Tls::load(files.settings(auth)).map(drop).expect_err("it is refused");
    write_secret(&files.path("server.key"), &files.authority.server().key);
    assert!(matches!(refused(None), TlsError::Pair { .. }));
    files.write(&files.authority.server());
    fs::set_permissions(files.path("server.key"), fs::Permissions::from_mode(0o604)).expect("it is our file");
    let error = refused(None);
    assert!(
        matches!(error, TlsError::File(_)) && error.to_string().contains("chmod 600"),
        "{error}"
    );
    files.write(&files.authority.server());
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(files.path("clients.pem"), text).expect("it is our file");
        refused(Some(ClientAuth::Optional));
    }
    fs::write(files.path("server.pem"), "").expect("it is our file");
    assert!(matches!(refused(None), TlsError::Nothing { .. }));
}

#[test]
fn a_client_is_who_its_certificate_says_and_may_do_what_is_configured() {
    let files = Files::new();
    let staunch = files.start(Some(ClientAuth::Optional));
    let send = |pair: Option<&Pair>, head: &str, headers: &str, body: &str| {
        files.send(&staunch, pair, head, headers, body).expect("an answer")
    };
    let status = format!("GET {}", path::STATUS);
    let post = format!("POST {EVENTS}");
    let siem = files.clients.client("siem 7", Vec::new());
    assert_eq!(send(Some(&siem), &post, "", BRUTE).status, 202);
    let problem = send(Some(&siem), &status, "", "").problem(403, "forbidden");
    assert!(problem.detail.contains("siem"), "{problem:?}");
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("a name"));
    let uri = |name: &str| SanType::URI(name.try_into().expect("a name"));
    let mail = |name: &str| SanType::Rfc822Name(name.try_into().expect("a name"));
    for (name, names) in [
        ("soar", vec![dns("a.example"), dns("soar.example")]),
        ("soc", vec![uri("spiffe://example/ns/soc")]),
        ("ada", vec![dns("a.example"), mail("ada@example")]),
    ] {
        let pair = files.clients.client("anybody", names);
        let mode = format!(r#"{{"mode": "enforce", "reason": "{name}"}}"#);
        let answer = send(Some(&pair), &format!("POST {}", path::MODE), "", &mode);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        // A browser shows a certificate for whatever page asks.
        for header in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
            send(Some(&pair), &status, header, "").problem(403, "forbidden");
        }
        // A token decides alone.
        send(Some(&pair), &status, "Authorization: Bearer stn_wrong\r\n", "").problem(401, "unauthorized");
    }
    let token = format!("Authorization: Bearer {}\r\n", staunch.operator);
    staunch_follows(&files, &staunch, &token);
    let commands: Commands = send(None, &format!("GET {}", path::COMMANDS), &token, "").json();
    let by: Vec<(&str, &str)> = commands.commands.iter().map(|it| (&*it.by, &*it.reason)).collect();
    assert_eq!(by, [("ada", "ada"), ("soc", "soc"), ("soar", "soar")]);
    // A certificate is good, and nobody's; or there is none: then there is a token, or nothing.
    for pair in [
        Some(
            files
                .clients
                .client("siem 70", vec![dns("soar.example.org"), uri("spiffe://example/ns/so")]),
        ),
        Some(files.clients.client("soar.example", vec![mail("ADA@example")])),
        None,
    ] {
        send(pair.as_ref(), &status, "", "").problem(401, "unauthorized");
        assert_eq!(send(pair.as_ref(), &status, &token, "").status, 200);
    }
}

fn staunch_follows(files: &Files, staunch: &Staunch, token: &str) {
    super::until("the index follows", || {
        let answer = files
            .send(staunch, None, &format!("GET {}", path::STATUS), token, "")
            .expect("an answer");
        let status: staunch_server::dto::Status = answer.json();
        status.index.is_some_and(|index| index.lag == Some(0))
    });
}

#[test]
fn clients_whose_certificate_is_not_good_do_not_come_in() {
    let files = Files::new();
    let expired = files.clients.issue(|params| {
        params.distinguished_name.push(DnType::CommonName, "siem 7");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let stranger = Authority::new("clients").client("siem 7", Vec::new());
    let for_servers = files.clients.issue(|params| {
        params.distinguished_name.push(DnType::CommonName, "siem 7");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let good = files.clients.client("siem 7", Vec::new());
    let post = format!("POST {EVENTS}");
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let staunch = files.start(Some(auth));
        for (what, pair) in [
            ("expired", &expired),
            ("of a stranger", &stranger),
            ("for servers", &for_servers),
        ] {
            assert!(
                files.send(&staunch, Some(pair), &post, "", BRUTE).is_err(),
                "{what} {auth:?}"
            );
        }
        let token = format!("Authorization: Bearer {}\r\n", staunch.operator);
        let without = files.send(&staunch, None, &post, &token, BRUTE);
        match auth {
            ClientAuth::Optional => assert_eq!(without.expect("an answer").status, 202),
            ClientAuth::Required => assert!(without.is_err(), "a token does not replace it"),
        }
        assert_eq!(
            files
                .send(&staunch, Some(&good), &post, "", BRUTE)
                .expect("an answer")
                .status,
            202
        );
    }
}

#[test]
fn an_authority_that_is_removed_is_trusted_no_longer() {
    let files = Files::new();
    let staunch = files.start(Some(ClientAuth::Required));
    let good = files.clients.client("siem 7", Vec::new());
    let post = format!("POST {EVENTS}");
    assert_eq!(
        files
            .send(&staunch, Some(&good), &post, "", BRUTE)
            .expect("an answer")
            .status,
        202
    );
    fs::write(files.path("clients.pem"), Authority::new("others").pem()).expect("it is our file");
    assert!(files.send(&staunch, Some(&good), &post, "", BRUTE).is_err());
}
