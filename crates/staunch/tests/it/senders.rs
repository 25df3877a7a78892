//! Senders that sign what they post, as the configuration names them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ring::hmac;
use serde_json::Value;

use crate::harness::{Home, SMALL, Server, exploit_from, stderr, wait_until};

const SECRET: &str = "It's a Secret to Everybody";
const SENDERS: &str = "[[http.senders]]\nname = \"forge\"\nsource = \"suricata\"\nscheme = \"github\"\n\
    secret_files = [\"forge.secret\"]\n";

fn home() -> Home {
    let home = Home::new(&format!("{SMALL}{SENDERS}"));
    secret(&home, SECRET, 0o600);
    home
}

fn secret(home: &Home, text: &str, mode: u32) {
    let file = home.path("forge.secret");
    fs::write(&file, text).expect("it is our directory");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is our file");
}

/// Posts `body` with a signature that `secret` makes.
fn post(server: &Server, secret: &str, body: &str) -> (u16, Value) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag: String = hmac::sign(&key, body.as_bytes())
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{}/v1/events/suricata", server.url))
        .header("X-Hub-Signature-256", format!("sha256={tag}"))
        .send(body)
        .expect("it answers");
    let text = answer.body_mut().read_to_string().expect("the answer can be read");
    (
        answer.status().as_u16(),
        serde_json::from_str(&text).expect("it is JSON"),
    )
}

#[test]
fn a_configured_sender_needs_no_token_and_its_secret_can_be_changed() {
    let home = home();
    // There is no token at all: operators have their socket, and the sender its secret.
    let server = home
        .try_serve(&["--driver", "memory"])
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    let body = exploit_from("203.0.113.1");
    let (status, answer) = post(&server, SECRET, &body);
    assert_eq!((status, &answer["matched"]), (202, &1.into()), "{answer}");
    let (status, answer) = post(&server, SECRET, &body);
    assert_eq!((status, &answer["repeated"]), (202, &true.into()), "{answer}");
    let (status, answer) = post(&server, "another secret than that", &body);
    assert_eq!(status, 401, "{answer}");
    secret(&home, "another secret than that", 0o600);
    wait_until("the new secret", || {
        post(&server, "another secret than that", &exploit_from("203.0.113.2")).0 == 202
    });
    assert_eq!(post(&server, SECRET, &exploit_from("203.0.113.3")).0, 401);
    let log = home.log();
    assert!(
        log.contains("a signed request was turned away") && log.contains("forge"),
        "{log}"
    );
    assert!(!log.contains("Everybody") && !log.contains("another secret"), "{log}");
}

#[test]
fn a_secret_that_others_can_read_or_that_is_not_there_is_refused_at_the_start() {
    let home = home();
    let refused = |words: &[&str]| {
        let Err(output) = home.try_serve(&["--driver", "memory"]) else {
            panic!("it started")
        };
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            words.iter().all(|it| said.contains(it)) && !said.contains("Everybody"),
            "{said}"
        );
    };
    secret(&home, SECRET, 0o644);
    refused(&["forge.secret holds a secret", "mode 644", "hint: ", "chmod 600"]);
    secret(&home, "short", 0o600);
    refused(&["forge.secret, line 1", "at least 16 characters", "hint: "]);
    fs::remove_file(home.path("forge.secret")).expect("it is our file");
    refused(&["the sender forge has no secret", "hint: "]);
}
