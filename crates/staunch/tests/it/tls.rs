//! HTTPS between the program and its server, as the configuration and the command line name it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use staunch_server::dto::Status;

use crate::harness::{Home, SMALL, Server, staunch, stderr, wait_until};

const TLS: &str = "[http.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
const CLIENTS: &str = "client_ca = \"ca.pem\"\nclient_auth = \"required\"\n\
    [[http.tls.clients]]\nname = \"ann\"\nrole = \"operator\"\ncommon_name = \"Ann of the SOC\"\n";

/// An installation whose authority has issued certificates for `localhost` and for Ann.
struct Secured {
    home: Home,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Secured {
    fn new(config: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let secured = Self {
            home: Home::new(&format!("{SMALL}{config}")),
            authority: CertifiedIssuer::self_signed(params, key).expect("it signs itself"),
        };
        secured.write("ca.pem", &secured.authority.pem());
        secured.issue("server", |params| {
            params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().expect("a name"))];
        });
        secured.issue("ann", |params| {
            params.distinguished_name.push(DnType::CommonName, "Ann of the SOC");
        });
        secured
    }

    fn issue(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::default();
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("it signs");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.home.path(name), text).expect("it is our directory");
        fs::set_permissions(self.home.path(name), fs::Permissions::from_mode(0o600)).expect("it is our file");
    }

    fn serve(&self) -> Server {
        let server = self
            .home
            .try_serve(&["--driver", "memory"])
            .unwrap_or_else(|failed| panic!("{failed:?}"));
        assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
        server
    }

    /// Asks how the server stands, at `localhost`.
    fn status(&self, server: &Server, token: &str, arguments: &[&str]) -> Output {
        let url = server.url.replace("127.0.0.1", "localhost");
        let mut command = staunch(&["status", "--json", "--url", &url]);
        command
            .args(arguments)
            .env("STAUNCH_TOKEN", token)
            .current_dir(self.home.path("."));
        command.output().expect("the binary starts")
    }

    fn token(&self) -> String {
        let made = self.home.run(&["token", "create", "ann", "--role", "operator"]);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).expect("it is text").trim().to_owned()
    }
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        // As text, or as JSON.
        let named = format!("\"{}\":\"", word.trim_end_matches(": "));
        let is_said = said.contains(word) || word.ends_with(": ") && said.contains(&named);
        assert!(is_said, "does not say {word:?}: {said}");
    }
}

fn ok(output: &Output) -> Status {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

#[test]
fn commands_go_over_https_and_say_what_is_missing() {
    let secured = Secured::new(TLS);
    fs::create_dir(secured.home.data()).expect("it is our directory");
    let token = secured.token();
    let server = secured.serve();
    ok(&secured.status(&server, &token, &["--ca", "ca.pem"]));
    refused(
        &secured.status(&server, &token, &[]),
        8,
        &["is not good", "hint: ", "--ca or STAUNCH_CA"],
    );
    refused(&secured.status(&server, "", &["--ca", "ca.pem"]), 8, &["STAUNCH_TOKEN"]);
    let by_address = secured.status(&server, &token, &["--ca", "ca.pem", "--url", &server.url]);
    refused(&by_address, 2, &["cannot be used multiple times"]);
    let mut by_address = staunch(&["status", "--url", &server.url]);
    by_address.env("STAUNCH_CA", secured.home.path("ca.pem"));
    refused(&by_address.output().expect("it starts"), 8, &["another name", "--url"]);
    let plain = server.url.replace("https://", "http://");
    refused(
        &staunch(&["status", "--url", &plain]).output().expect("it starts"),
        2,
        &["HTTPS", "use https://"],
    );
    refused(
        &secured.status(&server, &token, &["--ca", "server.key"]),
        2,
        &["there is no certificate in server.key"],
    );
    refused(
        &secured.status(&server, &token, &["--ca", "none.pem"]),
        5,
        &["cannot read none.pem"],
    );
    // The operators' socket is not on the network.
    assert!(secured.home.run(&["status"]).status.success());
}

#[test]
fn a_server_in_the_clear_is_told_from_one_with_tls() {
    let home = Home::new(SMALL);
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    let url = server.url.replace("http://", "https://");
    refused(
        &staunch(&["status", "--url", &url]).output().expect("it starts"),
        2,
        &["does not speak HTTPS", "http://"],
    );
    assert!(
        !home.log().contains("plain HTTP"),
        "it does not leave the machine: {}",
        home.log()
    );
    drop(server);
    let _server = home
        .try_serve(&[
            "--driver",
            "memory",
            "--allow-unauthenticated-loopback",
            "--listen",
            "0.0.0.0:0",
        ])
        .err()
        .expect("a token is needed");
    fs::create_dir_all(home.data()).expect("it is our directory");
    assert!(
        home.run(&["token", "create", "ann", "--role", "operator"])
            .status
            .success()
    );
    let _server = home
        .try_serve(&["--driver", "memory", "--listen", "0.0.0.0:0"])
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    assert!(home.log().contains("the API speaks plain HTTP"), "{}", home.log());
}

#[test]
fn a_certificate_is_as_good_as_a_token_where_clients_must_have_one() {
    let secured = Secured::new(&format!("{TLS}{CLIENTS}"));
    let server = secured.serve();
    let ann = ["--ca", "ca.pem", "--client-cert", "ann.pem", "--client-key", "ann.key"];
    ok(&secured.status(&server, "", &ann));
    refused(
        &secured.status(&server, "", &["--ca", "ca.pem"]),
        8,
        &["wants a certificate of its clients", "--client-cert and --client-key"],
    );
    refused(
        &secured.status(
            &server,
            "",
            &[
                "--ca",
                "ca.pem",
                "--client-cert",
                "ann.pem",
                "--client-key",
                "server.key",
            ],
        ),
        2,
        &["--client-cert and --client-key are no pair"],
    );
    let stranger = Secured::new("");
    let theirs = ["ann.pem", "ann.key"].map(|it| stranger.home.path(it).display().to_string());
    let as_stranger = [
        "--ca",
        "ca.pem",
        "--client-cert",
        &theirs[0],
        "--client-key",
        &theirs[1],
    ];
    refused(
        &secured.status(&server, "", &as_stranger),
        8,
        &["has refused the connection", "hint: "],
    );
    refused(
        &secured.status(&server, "", &["--client-cert", "ann.pem"]),
        2,
        &["--client-key"],
    );
}

#[test]
fn a_certificate_is_renewed_while_it_runs_and_a_wrong_one_is_said() {
    let secured = Secured::new(TLS);
    fs::create_dir(secured.home.data()).expect("it is our directory");
    let token = secured.token();
    let server = secured.serve();
    // The new one is issued by another authority, so that clients can tell.
    let next = Secured::new("");
    let copy = |name: &str| {
        secured.write(name, &fs::read_to_string(next.home.path(name)).expect("it is our file"));
    };
    fs::copy(next.home.path("ca.pem"), secured.home.path("next.pem")).expect("it is our file");
    copy("server.pem");
    wait_until("the mismatch to be noticed", || {
        ok(&secured.status(&server, &token, &["--ca", "ca.pem"]));
        secured.home.log().contains("the earlier one stays in use")
    });
    copy("server.key");
    wait_until("the new certificate", || {
        secured.status(&server, &token, &["--ca", "next.pem"]).status.success()
    });
    refused(
        &secured.status(&server, &token, &["--ca", "ca.pem"]),
        8,
        &["is not good"],
    );
    drop(server);
    fs::set_permissions(secured.home.path("server.key"), fs::Permissions::from_mode(0o644)).expect("it is our file");
    let Err(output) = secured.home.try_serve(&["--driver", "memory"]) else {
        panic!("it started")
    };
    refused(&output, 2, &["server.key holds a secret", "hint: ", "chmod 600"]);
    secured.write(
        "server.key",
        &fs::read_to_string(secured.home.path("ann.key")).expect("it is our file"),
    );
    let Err(output) = secured.home.try_serve(&["--driver", "memory"]) else {
        panic!("it started")
    };
    refused(&output, 2, &["cannot be used with the key", "hint: "]);
}
