//! Senders that sign what they post.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use staunch_model::Span;
use staunch_ports::Clock as _;
use staunch_server::dto::{Status, Taken, path};
use staunch_server::{HttpLimits, Scheme, SenderSettings};

use super::client::{Answer, Client, answer};
use super::{Options, Staunch};

const EVENTS: &str = "/v1/events/test";
const BRUTE: &str = r#"{"rule": "brute", "ip": "203.0.113.7"}"#;
const SECRET: [u8; 32] = [7; 32];
const TEXT_SECRET: &str = "sixteen letters or more";

/// Two senders of the source `test`, with their secrets in `dir`.
pub(crate) fn write(dir: &Path) -> Vec<SenderSettings> {
    let sender = |name: &str, scheme, secret: &str| {
        let file = dir.join(name);
        secret_file(&file, secret);
        SenderSettings {
            name: name.to_owned(),
            source: "test".to_owned(),
            scheme,
            secret_files: vec![file],
            window: Span::from_mins(5),
        }
    };
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(SECRET));
    vec![
        sender("siem", Scheme::StandardWebhooks, &secret),
        sender("forge", Scheme::GitHub, TEXT_SECRET),
    ]
}

fn secret_file(path: &Path, secret: &str) {
    fs::write(path, secret).expect("it is our directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is our file");
}

/// A client of `staunch` that signs `body` as the message `id` at `seconds`.
fn signing(staunch: &Staunch, id: &str, seconds: u64, body: &[u8]) -> Client {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let tag = hmac::sign(&key, &[format!("{id}.{seconds}.").as_bytes(), body].concat());
    staunch
        .stranger()
        .header(&format!("Webhook-Id: {id}"))
        .header(&format!("Webhook-Timestamp: {seconds}"))
        .header(&format!("Webhook-Signature: v1,{}", BASE64_STANDARD.encode(tag)))
}

/// The same with a signature over the body alone.
fn signing_body(staunch: &Staunch, body: &[u8]) -> Client {
    let key = hmac::Key::new(hmac::HMAC_SHA256, TEXT_SECRET.as_bytes());
    let hex: String = hmac::sign(&key, body)
        .as_ref()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    staunch.stranger().header(&format!("X-Hub-Signature-256: sha256={hex}"))
}

fn now(staunch: &Staunch) -> u64 {
    staunch.clock.now().as_micros() / 1_000_000
}

/// Events that the engine was given.
fn accepted(staunch: &Staunch) -> u64 {
    let handle = staunch.runtime.as_ref().expect("it runs").handle();
    handle.telemetry().counts().events_accepted
}

fn repeated(answer: &Answer) -> bool {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json::<Taken>().repeated
}

#[test]
fn a_signature_lets_events_in_and_nothing_else() {
    let staunch = Staunch::start(Options::default());
    let post = |path: &str| signing(&staunch, "m1", now(&staunch), BRUTE.as_bytes()).post(path, BRUTE);
    for path in [path::RELEASE, path::MODE, "/v1/plan/test", "/v1/events"] {
        post(path).problem(401, "unauthorized");
    }
    signing(&staunch, "m1", now(&staunch), b"")
        .get(path::STATUS)
        .problem(401, "unauthorized");
    // A source that is there and is not its own is not told apart from one that is not there.
    let elsewhere = ["/v1/events/none", "/v1/events/"].map(|path| post(path).body);
    assert!(elsewhere.iter().all(|it| !it.contains("known")), "{elsewhere:?}");
    let taken: Taken = post(EVENTS).json();
    assert_eq!((taken.matched, taken.incidents.len(), taken.repeated), (1, 1, false));
    let forge: Taken = signing_body(&staunch, b"ignore").post(EVENTS, "ignore").json();
    assert_eq!(forge.ignored, 1);
}

#[test]
fn what_is_not_good_is_turned_away_with_the_same_words() {
    let staunch = Staunch::start(Options::default());
    let seconds = now(&staunch);
    let good = signing(&staunch, "m1", seconds, BRUTE.as_bytes());
    let mut said = Vec::new();
    let mut refuse = |what: &str, answer: Answer| {
        answer.problem(401, "unauthorized");
        said.push((what.to_owned(), answer.body));
    };
    refuse("another body", good.post(EVENTS, &BRUTE.replace('7', "8")));
    refuse(
        "too old",
        signing(&staunch, "m2", seconds - 400, BRUTE.as_bytes()).post(EVENTS, BRUTE),
    );
    refuse(
        "too new",
        signing(&staunch, "m3", seconds + 400, BRUTE.as_bytes()).post(EVENTS, BRUTE),
    );
    refuse(
        "no id",
        staunch
            .stranger()
            .header("Webhook-Signature: v1,AAAA")
            .post(EVENTS, BRUTE),
    );
    refuse("two", good.clone().header("Webhook-Id: m9").post(EVENTS, BRUTE));
    refuse("no source", good.post("/v1/events/none", BRUTE));
    let crossed = format!("X-Hub-Signature-256: sha256={}", "0".repeat(64));
    refuse(
        "of another scheme",
        staunch.stranger().header(&crossed).post(EVENTS, BRUTE),
    );
    let status: Status = staunch.client().get(path::STATUS).json();
    assert_eq!(status.counts.requests_unproved, said.len() as u64);
    for (what, body) in &said {
        assert_eq!(body, &said[0].1, "{what}");
        for word in ["siem", "forge", "old", "window"] {
            assert!(!body.contains(word), "{what}: {body}");
        }
    }
    assert_eq!(accepted(&staunch), 0);
    assert_eq!(good.post(EVENTS, BRUTE).status, 202);
}

#[test]
fn a_token_or_an_open_door_do_not_replace_a_wrong_signature_nor_the_other_way_round() {
    let staunch = Staunch::start(Options {
        open_to_loopback: true,
        ..Options::default()
    });
    assert_eq!(staunch.stranger().post(EVENTS, BRUTE).status, 202);
    let wrong = "Webhook-Signature: v1,AAAA";
    staunch
        .stranger()
        .header(wrong)
        .post(EVENTS, BRUTE)
        .problem(401, "unauthorized");
    let both = signing(&staunch, "m1", now(&staunch), BRUTE.as_bytes()).header("Authorization: Bearer stn_wrong");
    both.post(EVENTS, BRUTE).problem(401, "unauthorized");
    // The token alone decides where there is one.
    assert_eq!(staunch.client().header(wrong).post(EVENTS, BRUTE).status, 202);
}

#[test]
fn a_message_that_was_confirmed_is_confirmed_again_and_not_taken_twice() {
    let staunch = Staunch::start(Options::default());
    let first = signing(&staunch, "m1", now(&staunch), BRUTE.as_bytes());
    assert!(!repeated(&first.post(EVENTS, BRUTE)));
    assert_eq!(accepted(&staunch), 1);
    assert!(repeated(&first.post(EVENTS, BRUTE)), "the same bytes, replayed");
    staunch.clock.advance(Span::from_mins(30));
    let again = signing(&staunch, "m1", now(&staunch), BRUTE.as_bytes());
    assert!(
        repeated(&again.post(EVENTS, BRUTE)),
        "the same message, sent again with its time"
    );
    first.post(EVENTS, BRUTE).problem(401, "unauthorized");
    let other = BRUTE.replace(".7", ".8");
    let reused = signing(&staunch, "m1", now(&staunch), other.as_bytes());
    reused.post(EVENTS, &other).problem(409, "reused-id");
    assert_eq!(accepted(&staunch), 1, "nothing of it came to the engine");
    // Another sender's messages are another's.
    assert!(!repeated(&signing_body(&staunch, BRUTE.as_bytes()).post(EVENTS, BRUTE)));
    assert!(repeated(&signing_body(&staunch, BRUTE.as_bytes()).post(EVENTS, BRUTE)));
    staunch.clock.advance(Span::from_mins(6));
    assert!(!repeated(&signing_body(&staunch, BRUTE.as_bytes()).post(EVENTS, BRUTE)));
}

#[test]
fn what_was_not_taken_may_come_again() {
    let staunch = Staunch::start(Options {
        queue_max: 1,
        ..Options::default()
    });
    // Unreadable is not taken, whatever its signature.
    for _ in 0..2 {
        signing(&staunch, "bad", now(&staunch), b"!")
            .post(EVENTS, "!")
            .problem(400, "malformed");
    }
    staunch.gate.close();
    let (client, mode) = (staunch.client(), r#"{"mode": "enforce", "reason": "a test"}"#);
    let command = std::thread::spawn(move || client.post(path::MODE, mode));
    staunch.gate.wait_for_arrivals(1);
    let send = |id: &str| {
        let client = signing(&staunch, id, now(&staunch), BRUTE.as_bytes());
        std::thread::spawn(move || client.post(EVENTS, BRUTE))
    };
    let answer = |sent: std::thread::JoinHandle<Answer>| sent.join().expect("it was answered");
    let first = send("m1");
    let handle = staunch.runtime.as_ref().expect("it runs").handle();
    super::until("the first is queued", || handle.queue_depth() == 1);
    answer(send("m2")).problem(429, "queue-full");
    // While the first is under way, the same message is neither taken nor lost.
    answer(send("m1")).problem(503, "under-way");
    staunch.gate.open();
    assert_eq!(answer(command).status, 200);
    assert!(!repeated(&answer(first)));
    assert!(!repeated(&answer(send("m2"))), "it was turned away before");
    assert!(repeated(&answer(send("m1"))));
}

#[test]
fn the_signature_is_over_the_body_as_it_is_sent() {
    let staunch = Staunch::start(Options::default());
    let packed = zstd::bulk::compress(BRUTE.as_bytes(), 1).expect("it fits");
    let send = |id: &str, signed: &[u8]| {
        signing(&staunch, id, now(&staunch), signed)
            .header("Content-Encoding: zstd")
            .send("POST", EVENTS, &packed)
    };
    send("m1", BRUTE.as_bytes()).problem(401, "unauthorized");
    let taken: Taken = send("m2", &packed).json();
    assert_eq!(taken.matched, 1);
    // What cannot be unpacked is looked at after the signature only.
    let unpackable = |client: Client| {
        client
            .header("Content-Encoding: gzip")
            .send("POST", EVENTS, b"not packed")
    };
    unpackable(signing(&staunch, "m3", now(&staunch), b"another")).problem(401, "unauthorized");
    unpackable(signing(&staunch, "m4", now(&staunch), b"not packed")).problem(400, "malformed");
}

/// Whether something was said to who is at this end of `stream`, or it was closed.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("it is open");
    let said = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("it is open");
    !said.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn bodies_of_strangers_leave_room_for_those_with_a_token() {
    let staunch = Staunch::start(Options {
        http: HttpLimits {
            body_bytes_max: 4 << 10,
            buffered_bytes_max: 8 << 10,
            ..HttpLimits::default()
        },
        ..Options::default()
    });
    let claim = staunch.stranger().header("Webhook-Signature: v1,AAAA");
    let half = |length| {
        claim.open(
            "POST",
            EVENTS,
            &[&format!("Content-Length: {length}"), "Connection: close"],
        )
    };
    let hold = || {
        let mut held = half(4 << 10);
        std::io::Write::write_all(&mut held, &[b'\n'; (4 << 10) - 1]).expect("sent");
        held
    };
    let mut held = hold();
    let crowded = || {
        let mut stream = half(2 << 10);
        std::io::Write::write_all(&mut stream, &[b'\n'; 2 << 10]).expect("sent");
        answer(stream)
    };
    super::until("strangers are crowded", || {
        // One that came while the other was there was turned away itself.
        if is_answered(&held) {
            held = hold();
        }
        crowded().status == 429
    });
    assert_eq!(staunch.client().post(EVENTS, &"\n".repeat(4 << 10)).status, 202);
    drop(held);
    super::until("there is room again", || crowded().status == 401);
}

#[test]
fn secrets_are_changed_while_it_runs() {
    let staunch = Staunch::start(Options::default());
    let send = |id: &str| signing(&staunch, id, now(&staunch), BRUTE.as_bytes()).post(EVENTS, BRUTE);
    assert_eq!(send("m1").status, 202);
    let file = staunch.dir.path().join("siem");
    let old = fs::read_to_string(&file).expect("it is our file");
    let new = format!("whsec_{}", BASE64_STANDARD.encode([8; 32]));
    secret_file(&file, &format!("{new}\n{old}\n"));
    assert_eq!(send("m2").status, 202, "both are good");
    secret_file(&file, &new);
    send("m3").problem(401, "unauthorized");
    secret_file(&file, "not a secret");
    send("m4").problem(401, "unauthorized");
    fs::remove_file(&file).expect("it is our file");
    send("m5").problem(401, "unauthorized");
    secret_file(&file, &old);
    assert_eq!(send("m6").status, 202);
}
