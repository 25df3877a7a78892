//! What a client may take up, and what becomes of one that wants more.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use staunch_server::HttpLimits;
use staunch_server::dto::path;

use super::client::{answer, connect};
use super::{Options, Staunch};

const EVENTS: &str = "/v1/events/test";
const SHORT: Duration = Duration::from_millis(100);

fn start(http: HttpLimits) -> Staunch {
    Staunch::start(Options {
        http,
        ..Options::default()
    })
}

#[test]
fn a_body_over_the_limit_is_refused_on_its_announcement() {
    let staunch = start(HttpLimits {
        body_bytes_max: 1_000,
        ..HttpLimits::default()
    });
    // No byte of the body is ever sent.
    let stream = staunch
        .client()
        .open("POST", EVENTS, &["Content-Length: 1001", "Connection: close"]);
    let problem = answer(stream).problem(413, "too-large");
    assert!(problem.detail.contains("1000"), "{problem:?}");
    let stream = staunch
        .client()
        .open("POST", EVENTS, &["Content-Length: 99999999999999", "Connection: close"]);
    answer(stream).problem(413, "too-large");
    assert_eq!(staunch.client().post(EVENTS, &"\n".repeat(1_000)).status, 202);
}

#[test]
fn a_client_that_sends_it_all_nevertheless_sees_the_answer() {
    let staunch = start(HttpLimits {
        body_bytes_max: 1_000,
        ..HttpLimits::default()
    });
    staunch
        .client()
        .post(EVENTS, &"\n".repeat(4 << 20))
        .problem(413, "too-large");
    staunch
        .stranger()
        .post(EVENTS, &"\n".repeat(4 << 20))
        .problem(401, "unauthorized");
}

#[test]
fn a_chunked_body_is_counted_as_it_comes() {
    let staunch = start(HttpLimits {
        body_bytes_max: 1_000,
        ..HttpLimits::default()
    });
    let headers = ["Transfer-Encoding: chunked", "Connection: close"];
    let chunk = format!("1f4\r\n{}\r\n", "\n".repeat(500));
    let mut stream = staunch.client().open("POST", EVENTS, &headers);
    stream
        .write_all(format!("{chunk}{chunk}0\r\n\r\n").as_bytes())
        .expect("sent");
    assert_eq!(answer(stream).status, 202);
    let mut stream = staunch.client().open("POST", EVENTS, &headers);
    // It never ends, and is refused all the same.
    stream
        .write_all(format!("{chunk}{chunk}{chunk}").as_bytes())
        .expect("sent");
    answer(stream).problem(413, "too-large");
    let mut stream = staunch.client().open("POST", EVENTS, &headers);
    stream.write_all(b"zz\r\n").expect("sent");
    answer(stream).problem(400, "malformed");
}

#[test]
fn bodies_share_a_bounded_memory() {
    let staunch = start(HttpLimits {
        buffered_bytes_max: 4 << 10,
        ..HttpLimits::default()
    });
    let turned_away = staunch.client().post(EVENTS, &"\n".repeat(8 << 10));
    turned_away.problem(429, "crowded");
    assert!(turned_away.has("retry-after: 1"), "{turned_away:?}");
    // What was held is given back.
    for _ in 0..3 {
        assert_eq!(staunch.client().post(EVENTS, &"\n".repeat(4 << 10)).status, 202);
    }
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let staunch = start(HttpLimits {
        head_timeout: SHORT,
        ..HttpLimits::default()
    });
    let mut stream = connect(staunch.address);
    stream
        .write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .expect("sent");
    assert_eq!(answer(stream).status, 408);
    let mut silent = connect(staunch.address);
    assert_eq!(silent.read(&mut [0; 8]).expect("it is closed"), 0);
    // One byte at a time does not help: the time is for the whole head.
    let mut drip = connect(staunch.address);
    let begun = std::time::Instant::now();
    while drip.write_all(b"X").is_ok() {
        assert!(begun.elapsed() < super::PATIENCE, "it is never cut off");
        std::thread::yield_now();
    }
}

#[test]
fn a_body_that_does_not_come_ends_the_request() {
    let staunch = start(HttpLimits {
        body_timeout: SHORT,
        ..HttpLimits::default()
    });
    let mut stream = staunch.client().open("POST", EVENTS, &["Content-Length: 1000"]);
    stream.write_all(b"x").expect("sent");
    answer(stream).problem(408, "slow-body");
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_kept() {
    let staunch = start(HttpLimits {
        idle_timeout: Duration::from_secs(1),
        ..HttpLimits::default()
    });
    let mut stream = staunch.client().open("GET", path::HEALTH, &[]);
    let mut bytes = Vec::new();
    // Two requests on one connection, and then its end.
    let mut chunk = [0; 1_024];
    while !bytes.ends_with(b"}") {
        let read = stream.read(&mut chunk).expect("it answers");
        assert_ne!(read, 0, "it is kept");
        bytes.extend_from_slice(&chunk[..read]);
    }
    stream
        .write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    stream.read_to_end(&mut bytes).expect("it is closed");
    assert_eq!(String::from_utf8_lossy(&bytes).matches("HTTP/1.1 200 OK").count(), 2);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let staunch = start(HttpLimits::default());
    let mut stream = connect(staunch.address);
    let sent = stream.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}", "x".repeat(128 << 10)).as_bytes());
    let mut bytes = Vec::new();
    // The end of it may find the connection closed, which is as good an answer.
    if sent.is_ok() && stream.read_to_end(&mut bytes).is_ok() && !bytes.is_empty() {
        assert!(
            bytes.starts_with(b"HTTP/1.1 431 "),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert_eq!(staunch.client().get(path::HEALTH).status, 200);
}

/// The size of a read grows with the bodies that came before, so that a head arrives with more of its body each time.
#[test]
fn large_bodies_on_one_connection_are_not_taken_for_a_head() {
    let staunch = start(HttpLimits::default());
    let mut stream = connect(staunch.address);
    let body = "\n".repeat(256 << 10);
    let request = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        staunch.operator,
        body.len()
    );
    for round in 0..12 {
        stream.write_all(request.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        let mut chunk = [0; 1_024];
        while !bytes.ends_with(b"}") {
            let read = stream.read(&mut chunk).expect("it answers");
            assert_ne!(read, 0, "it is kept, in round {round}");
            bytes.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.starts_with("HTTP/1.1 202 "), "round {round}: {text}");
        }
    }
}

#[test]
fn connections_are_bounded() {
    let staunch = start(HttpLimits {
        connections_max: 2,
        ..HttpLimits::default()
    });
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = staunch.client().open("GET", path::HEALTH, &[]);
            assert_ne!(stream.read(&mut [0; 1]).expect("it answers"), 0);
            stream
        })
        .collect();
    let turned_away = answer(connect(staunch.address));
    turned_away.problem(503, "too-many-connections");
    assert!(turned_away.has("retry-after: 1"), "{turned_away:?}");
    drop(held);
    super::until("a connection is free again", || {
        let mut stream = connect(staunch.address);
        let request = b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut text = String::new();
        stream.write_all(request).is_ok() && stream.read_to_string(&mut text).is_ok() && text.contains(" 200 ")
    });
}

#[test]
fn unknown_paths_and_methods_are_problems() {
    let staunch = start(HttpLimits::default());
    staunch.client().get("/nothing").problem(404, "not-found");
    staunch.client().get("/v1/events/a/b").problem(404, "not-found");
    staunch.client().get(EVENTS).problem(405, "method");
    staunch.client().post(path::STATUS, "").problem(405, "method");
    staunch.client().send("DELETE", path::MODE, b"").problem(405, "method");
}
