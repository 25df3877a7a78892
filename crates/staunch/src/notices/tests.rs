//! Routes, and webhooks against servers on this host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use staunch_model::{Asset, Failure, FailureKind, Identity, IdentityKind, KnownAccount, NoticeId, NoticeLevel};
use staunch_testkit::contract::notifier::{Told, notifier};

use super::*;
use crate::loopback::{Loopback, Request};

const SECRET: [u8; 32] = [9; 32];
const INSTALLATION: InstallationId = InstallationId([7; 8]);

fn notice(level: NoticeLevel) -> Notice {
    Notice {
        id: NoticeId(1),
        level,
        incident: None,
        transaction: None,
        text: "something has happened".into(),
    }
}

fn secret(dir: &Path) -> String {
    let file = dir.join("secret");
    let text = format!("whsec_{}\n", BASE64_STANDARD.encode(SECRET));
    fs::write(&file, text).expect("it is our directory");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    file.display().to_string()
}

/// A webhook at `url` whose files are in `dir`, with `more` in its settings.
fn webhook(dir: &Path, url: &str, more: &str) -> Webhook {
    let text = format!(
        "[notifiers.oncall]\nkind = \"webhook\"\nurl = \"{url}/hook/s3cret-path\"\nkey_file = \"{}\"\n{more}\n\
         [[routes]]\nto = [\"oncall\"]\n",
        secret(dir)
    );
    let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
    Webhook::new("oncall", &config.notifiers["oncall"], INSTALLATION)
}

/// What `notifier` fails with.
fn failure(notifier: &mut dyn Notifier) -> Failure {
    let failed = notifier.notify(&notice(NoticeLevel::Page), &About::default());
    let failure = failed.expect_err("it is not taken").failure;
    let secret = BASE64_STANDARD.encode(SECRET);
    assert!(
        !failure.what.contains("s3cret") && !failure.what.contains(&secret),
        "{failure}"
    );
    failure
}

/// Whether a receiver that knows the secret believes `request`.
fn is_signed(request: &Request) -> bool {
    let header = |name| request.header(name).expect("it is there");
    let text = format!(
        "{}.{}.{}",
        header("webhook-id"),
        header("webhook-timestamp"),
        request.body
    );
    let tag = header("webhook-signature").strip_prefix("v1,").expect("version 1");
    let tag = BASE64_STANDARD.decode(tag).expect("it is base64");
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), text.as_bytes(), &tag).is_ok()
}

#[test]
fn a_webhook_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    notifier(|told| {
        let (server, url) = Loopback::plain();
        told(&mut webhook(dir.path(), &url, ""));
        let told = server.asked().into_iter().map(|request| {
            assert!(is_signed(&request), "{request:?}");
            assert!(
                request.head.starts_with("POST /hook/s3cret-path HTTP/1.1\n"),
                "{request:?}"
            );
            assert_eq!(request.header("content-type"), Some("application/json"));
            let body: serde_json::Value = serde_json::from_str(&request.body).expect("it is JSON");
            assert_eq!(body["id"], request.header("webhook-id").expect("it is there"));
            assert_eq!(body["instance"], INSTALLATION.to_string());
            Told {
                id: body["id"].as_str().expect("a text").to_owned(),
                level: serde_json::from_value(body["level"].clone()).expect("a level"),
                text: request.body,
            }
        });
        told.collect()
    });
}

#[test]
fn what_is_not_taken_says_why_and_shows_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, url) = Loopback::plain();
    let mut plain = webhook(dir.path(), &url, "");
    for (answer, kind, why) in [
        (
            "503 Service Unavailable",
            FailureKind::Unavailable,
            "it answers with 503",
        ),
        ("401 Unauthorized\n\ns3cret", FailureKind::Denied, "it answers with 401"),
        ("404 Not Found", FailureKind::Invalid, "it answers with 404"),
        // It is not followed: the notice would go where nobody has configured.
        (
            "302 Found\nlocation: http://127.0.0.1:1/",
            FailureKind::Unavailable,
            "it answers with 302",
        ),
        ("this is no status", FailureKind::Invalid, "what it answers is no HTTP"),
    ] {
        server.says(Some(answer));
        assert_eq!(failure(&mut plain), Failure::new(kind, why), "{answer}");
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 5);
    let ids: std::collections::BTreeSet<_> = asked.iter().map(|it| it.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "each try has the same id");

    server.says(None);
    let silent = failure(&mut webhook(dir.path(), &url, "deadline = \"100ms\""));
    assert_eq!(
        silent,
        Failure::new(FailureKind::TimedOut, "it has not answered within 100ms")
    );
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        format!("http://{}", listener.local_addr().expect("it has one"))
    };
    let refused = failure(&mut webhook(dir.path(), &gone, ""));
    assert_eq!(
        refused,
        Failure::new(FailureKind::Unavailable, "it cannot be reached: connection refused")
    );

    // A secret that others may read is not used, and the notices say so.
    let file = dir.path().join("secret");
    let config = format!(
        "[notifiers.oncall]\nkind = \"webhook\"\nurl = \"{url}\"\nkey_file = \"{}\"\n[[routes]]\nto = [\"oncall\"]\n",
        file.display()
    );
    let config = crate::config::parse(&config).unwrap_or_else(|_| panic!("{config}"));
    let settings = &config.notifiers["oncall"];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let exposed = failure(&mut Webhook::new("oncall", settings, INSTALLATION));
    assert!(exposed.what.contains("others than its owner can open it"), "{exposed}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(&file, "s3cret").expect("it is our directory");
    let fault = check(settings).expect_err("it is no secret");
    assert!(
        fault.told().contains("there is no secret in") && !fault.told().contains("s3cret"),
        "{}",
        fault.told()
    );
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let dir = tempfile::tempdir().expect("a directory");
    for (answer, then) in [
        (
            "429 Too Many Requests\nretry-after: 600",
            Failure::new(FailureKind::Unavailable, "it has asked to be left alone (Retry-After)"),
        ),
        (
            "503 Service Unavailable\nretry-after: 600",
            Failure::new(FailureKind::Unavailable, "it has asked to be left alone (Retry-After)"),
        ),
        (
            "410 Gone",
            Failure::new(FailureKind::Denied, "it has answered with 410: it is gone"),
        ),
    ] {
        let (server, url) = Loopback::plain();
        let mut notifier = webhook(dir.path(), &url, "");
        server.says(Some(answer));
        let status = &answer[..3];
        assert_eq!(
            failure(&mut notifier).what.as_ref(),
            format!("it answers with {status}")
        );
        server.says(Some("204 No Content"));
        assert_eq!(failure(&mut notifier), then, "{answer}");
        assert_eq!(server.asked().len(), 1, "it is not called again: {answer}");
    }
    for answer in [
        "429 Too Many Requests\nretry-after: 0",
        "429 Too Many Requests\nretry-after: soon",
        "503 Service Unavailable",
    ] {
        let (server, url) = Loopback::plain();
        let mut notifier = webhook(dir.path(), &url, "");
        server.says(Some(answer));
        assert_eq!(failure(&mut notifier).kind, FailureKind::Unavailable);
        server.says(Some("204 No Content"));
        let taken = notifier.notify(&notice(NoticeLevel::Page), &About::default());
        assert!(taken.is_ok(), "{answer}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[test]
fn a_webhook_is_called_by_https_when_its_authority_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    let (server, url) = Loopback::secured(&ca);
    Loopback::secured(&other);
    let namesake = dir.path().join("namesake").join("ca.pem");
    fs::create_dir(dir.path().join("namesake")).expect("it is our directory");
    Loopback::secured(&namesake);
    let trusting = |ca: &Path| webhook(dir.path(), &url, &format!("ca = \"{}\"", ca.display()));
    trusting(&ca)
        .notify(&notice(NoticeLevel::Page), &About::default())
        .expect("it is taken");
    assert!(is_signed(&server.asked()[0]));
    let why =
        "there is no safe connection with it: none of the authorities that are trusted has issued its certificate";
    for mut stranger in [trusting(&other), trusting(&namesake), webhook(dir.path(), &url, "")] {
        assert_eq!(failure(&mut stranger), Failure::new(FailureKind::Denied, why));
    }
    // It is for 127.0.0.1 and not for another address of this host.
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let mut elsewhere = webhook(dir.path(), &elsewhere, &format!("ca = \"{}\"", ca.display()));
    let why = "there is no safe connection with it: its certificate is for another name";
    assert_eq!(failure(&mut elsewhere), Failure::new(FailureKind::Denied, why));
    assert_eq!(server.asked().len(), 1, "nothing was told to a stranger");
}

#[test]
fn routes_lead_to_those_whose_things_they_are() {
    const ROUTES: &str = r#"
[[routes]]
team = "payments"
environment = "production"
level = "warning"
to = ["oncall", "desk"]
[[routes]]
team = "web"
to = ["web"]
[[routes]]
tier = "0"
to = []
[[routes]]
to = ["night"]
"#;
    let routes: Vec<RouteSettings> = {
        let config: Config = toml::from_str(ROUTES).expect("it is TOML");
        config.routes
    };
    let asset = |owner: &str, environment: &str, tier: &str| {
        let text = |it: &str| (!it.is_empty()).then(|| it.into());
        Asset {
            owner: text(owner),
            tier: text(tier),
            data_class: None,
            environment: text(environment),
            named: "10.0.0.1".into(),
            by: "file".into(),
        }
    };
    let account = |team: &str| KnownAccount {
        name: "ann".into(),
        identity: Some(Identity {
            team: Some(team.into()),
            kind: None,
            break_glass: false,
            by: "file".into(),
        }),
    };
    let check = |level, assets: &[Asset], accounts: &[KnownAccount], expect: &[&str]| {
        let about = About {
            assets: assets.to_vec(),
            accounts: accounts.to_vec(),
            ..About::default()
        };
        let all = ["oncall", "desk", "web", "night"].into_iter();
        let found: Vec<_> = all.filter(|it| lead_to(&routes, it, &notice(level), &about)).collect();
        assert_eq!(found, expect, "{level:?} {assets:?} {accounts:?}");
    };
    use NoticeLevel::{Info, Page, Warning};
    let payments = asset("payments", "production", "1");
    let one = std::slice::from_ref::<Asset>;
    check(Page, one(&payments), &[], &["oncall", "desk"]);
    check(Warning, one(&payments), &[], &["oncall", "desk"]);
    check(Info, one(&payments), &[], &["night"]);
    // Both must be said of one asset.
    let split = [asset("payments", "staging", ""), asset("sales", "production", "")];
    check(Page, &split, &[], &["night"]);
    check(Page, &[], &[account("payments")], &["night"]);
    check(Page, &[payments, asset("web", "", "")], &[], &["oncall", "desk", "web"]);
    check(Info, &[], &[account("web")], &["web"]);
    check(Page, &[asset("", "", "0")], &[], &[]);
    check(Page, &[asset("sales", "", "")], &[account("sales")], &["night"]);
    check(Page, &[], &[], &["night"]);
}

#[test]
fn routes_lead_by_what_is_kept_and_by_who_uses_an_account() {
    const ROUTES: &str = r#"
[[routes]]
data_class = "pci"
to = ["privacy"]
[[routes]]
identity_kind = "service"
team = "web"
to = ["web"]
[[routes]]
break_glass = true
to = ["security"]
[[routes]]
data_class = "health"
identity_kind = "human"
team = "clinic"
to = ["clinic"]
"#;
    let config: Config = toml::from_str(ROUTES).expect("it is TOML");
    let asset = |owner: &str, class: &str| Asset {
        owner: Some(owner.into()),
        tier: None,
        data_class: Some(class.into()),
        environment: None,
        named: "10.0.0.1".into(),
        by: "file".into(),
    };
    let account = |team: &str, kind, break_glass| KnownAccount {
        name: "ann".into(),
        identity: Some(Identity {
            team: Some(team.into()),
            kind: Some(kind),
            break_glass,
            by: "file".into(),
        }),
    };
    let check = |assets: &[Asset], accounts: &[KnownAccount], expect: &[&str]| {
        let about = About {
            assets: assets.to_vec(),
            accounts: accounts.to_vec(),
            ..About::default()
        };
        let all = ["privacy", "web", "security", "clinic"].into_iter();
        let told = all.filter(|it| lead_to(&config.routes, it, &notice(NoticeLevel::Page), &about));
        assert_eq!(told.collect::<Vec<_>>(), expect, "{assets:?} {accounts:?}");
    };
    use IdentityKind::{Human, Service};
    check(&[asset("sales", "pci")], &[], &["privacy"]);
    check(&[asset("sales", "public")], &[], &[]);
    check(&[], &[account("web", Service, false)], &["web"]);
    check(&[], &[account("web", Human, false)], &[]);
    check(&[], &[account("shop", Service, false)], &[]);
    // It is the account that is asked for its team, since nothing else is said of an asset.
    check(&[asset("web", "public")], &[account("shop", Service, false)], &[]);
    check(&[], &[account("web", Service, true)], &["web", "security"]);
    check(&[], &[account("shop", Human, true)], &["security"]);
    // One of the asset, and one of the account.
    check(
        &[asset("clinic", "health")],
        &[account("sales", Human, false)],
        &["clinic"],
    );
    check(&[asset("clinic", "health")], &[account("clinic", Service, false)], &[]);
    check(&[asset("sales", "health")], &[account("clinic", Human, false)], &[]);
    check(&[asset("clinic", "health")], &[], &[]);
}
