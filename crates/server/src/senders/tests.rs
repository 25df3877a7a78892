//! Vectors that the makers of the schemes have published, and everything around them that must not be good.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::HeaderValue;

use super::*;

/// From the tests of the reference libraries of Standard Webhooks.
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD: [(&str, &str); 3] = [
    ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
    ("webhook-timestamp", "1614265330"),
    ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
];

/// From GitHub's page "Validating webhook deliveries".
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_BODY: &[u8] = b"Hello, World!";
const GITHUB: [(&str, &str); 1] = [(
    "x-hub-signature-256",
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
)];

/// From Slack's page "Verifying requests from Slack".
const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const SLACK_BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const SLACK: [(&str, &str); 2] = [
    ("x-slack-request-timestamp", "1531420618"),
    (
        "x-slack-signature",
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    ),
];

const WINDOW: Span = Span::from_mins(5);

/// A sender of the source `test` whose secrets are in the file `secret` of a directory.
struct Stage {
    dir: tempfile::TempDir,
    senders: Senders,
}

impl Stage {
    fn new(scheme: Scheme, secrets: &str) -> Self {
        Self::load(scheme, secrets).expect("the secrets can be used")
    }

    fn load(scheme: Scheme, secrets: &str) -> Result<Self, SendersError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(&dir.path().join("secret"), secrets);
        let settings = SenderSettings {
            name: "siem".into(),
            source: "test".into(),
            scheme,
            secret_files: ["secret", "next"].map(|it| dir.path().join(it)).into(),
            window: WINDOW,
        };
        let senders = Senders::load_refreshed(vec![settings], Duration::ZERO)?;
        Ok(Self { dir, senders })
    }

    /// True when a request with these headers and this body is let in at `seconds`.
    fn lets_in(&self, headers: &[(&'static str, &str)], body: &[u8], seconds: u64) -> bool {
        self.arrives(headers, body, seconds).is_some()
    }

    fn arrives(&self, headers: &[(&'static str, &str)], body: &[u8], seconds: u64) -> Option<Arrival> {
        let signed = self.senders.prove("test", &map(headers), body, at(seconds));
        signed.map(|it| {
            assert_eq!(&*it.name, "siem");
            it.arrival
        })
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it is our directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is our file");
}

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_str(value).expect("a header");
        (axum::http::HeaderName::from_static(name), value)
    };
    headers.iter().map(pair).collect()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[test]
fn published_vectors_are_good_and_changed_ones_are_not() {
    type Case = (
        Scheme,
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static [u8],
        u64,
    );
    let cases: [Case; 4] = [
        (
            Scheme::StandardWebhooks,
            STANDARD_SECRET,
            &STANDARD,
            STANDARD_BODY,
            1_614_265_330,
        ),
        (Scheme::GitHub, GITHUB_SECRET, &GITHUB, GITHUB_BODY, 1_700_000_000),
        (Scheme::Slack, SLACK_SECRET, &SLACK, SLACK_BODY, 1_531_420_618),
        // PagerDuty signs the body as GitHub does, and lists signatures.
        (
            Scheme::PagerDuty,
            GITHUB_SECRET,
            &[(
                "x-pagerduty-signature",
                "v1=0000000000000000000000000000000000000000000000000000000000000000,\
                 v1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            GITHUB_BODY,
            1_700_000_000,
        ),
    ];
    for (scheme, secret, headers, body, seconds) in cases {
        let stage = Stage::new(scheme, secret);
        let mut other_body = body.to_vec();
        other_body[0] ^= 1;
        assert!(
            !stage.lets_in(headers, &other_body, seconds),
            "{scheme:?}: another body"
        );
        assert!(!stage.lets_in(headers, b"", seconds), "{scheme:?}: no body");
        for left_out in 0..headers.len() {
            let mut fewer = headers.to_vec();
            fewer.remove(left_out);
            assert!(
                !stage.lets_in(&fewer, body, seconds),
                "{scheme:?}: without {:?}",
                headers[left_out].0
            );
            let mut twice = headers.to_vec();
            twice.push(headers[left_out]);
            assert!(
                !stage.lets_in(&twice, body, seconds),
                "{scheme:?}: twice {:?}",
                headers[left_out].0
            );
            for position in 0..headers[left_out].1.len() {
                let mut value = headers[left_out].1.as_bytes().to_vec();
                value[position] = if value[position] == b'1' { b'2' } else { b'1' };
                let value = String::from_utf8(value).expect("it was text");
                let mut changed = headers.to_vec();
                changed[left_out].1 = &value;
                // Of several signatures, one that is not good may be another one that is not good.
                if !value.ends_with(&headers[left_out].1[headers[left_out].1.len().saturating_sub(67)..]) {
                    assert!(!stage.lets_in(&changed, body, seconds), "{scheme:?}: {value}");
                }
            }
        }
        let other = Stage::new(scheme, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert!(!other.lets_in(headers, body, seconds), "{scheme:?}: another secret");
        assert!(stage.senders.prove("other", &map(headers), body, at(seconds)).is_none());
        assert!(stage.lets_in(headers, body, seconds), "{scheme:?}");
    }
}

#[test]
fn a_time_is_good_within_the_window_on_both_sides() {
    for (headers, body, scheme, secret, time) in [
        (
            &STANDARD[..],
            STANDARD_BODY,
            Scheme::StandardWebhooks,
            STANDARD_SECRET,
            1_614_265_330,
        ),
        (&SLACK[..], SLACK_BODY, Scheme::Slack, SLACK_SECRET, 1_531_420_618),
    ] {
        for (now, good) in [
            (time - 301, false),
            (time - 300, true),
            (time + 300, true),
            (time + 301, false),
        ] {
            let stage = Stage::new(scheme, secret);
            assert_eq!(stage.lets_in(headers, body, now), good, "{scheme:?} {now}");
        }
    }
}

#[test]
fn an_id_with_a_dot_is_refused_because_the_signed_text_could_be_cut_elsewhere() {
    // Both halves sign the same bytes: `a.1700000000.1700000000.x`.
    let secret = hmac_of(STANDARD_SECRET, b"a.1700000000.1700000000.x");
    let signature = format!("v1,{secret}");
    let headers = |id: &'static str| {
        [
            ("webhook-id", id),
            ("webhook-timestamp", "1700000000"),
            ("webhook-signature", &*signature),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    };
    let stage = Stage::new(Scheme::StandardWebhooks, STANDARD_SECRET);
    let arrives = |id, body: &[u8]| {
        let headers = headers(id);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        stage.lets_in(&headers, body, 1_700_000_000)
    };
    assert!(!arrives("a.1700000000", b"x"));
    assert!(arrives("a", b"1700000000.x"));
}

fn hmac_of(secret: &str, text: &[u8]) -> String {
    use base64::Engine as _;
    let key = Scheme::StandardWebhooks.key(secret).expect("a secret");
    base64::prelude::BASE64_STANDARD.encode(ring::hmac::sign(&key, text))
}

#[test]
fn while_a_secret_is_changed_both_are_good_and_one_that_is_removed_is_not() {
    let stage = Stage::new(Scheme::GitHub, "the secret that will be\n");
    let (old, next) = (stage.dir.path().join("secret"), stage.dir.path().join("next"));
    let good = || stage.arrives(&GITHUB, GITHUB_BODY, 1_700_000_000).is_some();
    assert!(!good());
    write(&next, GITHUB_SECRET);
    assert!(good(), "a second file");
    fs::remove_file(&next).expect("it is our file");
    assert!(!good(), "a secret that is removed is good for nothing");
    write(&old, &format!("the secret that will be\n\n{GITHUB_SECRET}\r\n"));
    assert!(good(), "a second line");
    write(&old, "the secret that will be\n");
    assert!(!good());
    // Two signatures in one request, of which one is good, are what a sender has that changes its secret.
    let stage = Stage::new(Scheme::StandardWebhooks, STANDARD_SECRET);
    let both =
        "v1a,AAAA v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let headers = [STANDARD[0], STANDARD[1], ("webhook-signature", both)];
    assert!(stage.lets_in(&headers, STANDARD_BODY, 1_614_265_330));
}

#[test]
fn secrets_that_others_can_open_or_that_are_none_are_refused_without_being_shown() {
    let refused = |scheme, secrets: &str| {
        let error = Stage::load(scheme, secrets)
            .err()
            .unwrap_or_else(|| panic!("{secrets:?} is taken"));
        let said = format!("{error} {error:?}");
        assert!(secrets.trim().is_empty() || !said.contains(secrets.trim()), "{said}");
        said
    };
    assert!(refused(Scheme::GitHub, "fifteen letters").contains("at least 16 characters"));
    assert!(refused(Scheme::GitHub, "\n \n").contains("has no secret"));
    assert!(refused(Scheme::GitHub, "# rotated in November\n").contains("has no secret"));
    assert!(refused(Scheme::StandardWebhooks, "whsec_c2hvcnQ=").contains("24 to 64 bytes"));
    assert!(refused(Scheme::StandardWebhooks, GITHUB_SECRET).contains("24 to 64 bytes"));
    assert!(refused(Scheme::GitHub, &format!("{GITHUB_SECRET}\n").repeat(5)).contains("more than 4"));
    let stage = Stage::new(Scheme::GitHub, GITHUB_SECRET);
    assert!(!format!("{:?}", stage.senders).contains("Everybody"));
    let path = stage.dir.path().join("secret");
    let load = || Secrets::load("siem".into(), Scheme::GitHub, vec![path.clone()], Duration::ZERO);
    for (mode, good) in [
        (0o604, false),
        (0o602, false),
        (0o620, false),
        (0o640, true),
        (0o400, true),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is our file");
        match load() {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(error) => assert!(!good && error.to_string().contains("chmod 600"), "{mode:o}: {error}"),
        }
    }
    // In a running server the earlier secret stays good instead.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is our file");
    write(&stage.dir.path().join("next"), "another secret of it");
    assert!(stage.lets_in(&GITHUB, GITHUB_BODY, 1_700_000_000));
    let name = |name: &str| {
        let settings = SenderSettings {
            name: name.into(),
            source: "test".into(),
            scheme: Scheme::GitHub,
            secret_files: vec![stage.dir.path().join("next")],
            window: WINDOW,
        };
        Senders::load(vec![settings.clone(), settings])
            .expect_err("it is refused")
            .to_string()
    };
    assert!(name("a b").contains("a b") && name("a").contains("another has it"));
}

#[test]
fn what_was_taken_is_told_apart_from_what_comes_first() {
    let stage = Stage::new(Scheme::GitHub, GITHUB_SECRET);
    let arrives = |seconds| {
        stage
            .arrives(&GITHUB, GITHUB_BODY, seconds)
            .expect("the signature is good")
    };
    let Arrival::First(ticket) = arrives(1_700_000_000) else {
        panic!("it is new")
    };
    ticket.taken();
    assert!(matches!(arrives(1_700_000_300), Arrival::Again));
    assert!(
        matches!(arrives(1_700_000_301), Arrival::First(_)),
        "no time is signed: what is older comes anew"
    );
}
