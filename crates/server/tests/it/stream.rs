//! What happens, as it happens.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use staunch_model::{IncidentId, TransactionId};
use staunch_server::dto::{StreamEntry, StreamKind, path};
use staunch_server::{HttpLimits, Role};

use super::client::Client;
use super::{Options, PATIENCE, Staunch};

const EVENTS: &str = "/v1/events/test";

fn event(staunch: &Staunch, ip: &str) {
    let answer = staunch
        .client()
        .post(EVENTS, &format!(r#"{{"rule": "brute", "ip": "{ip}"}}"#));
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// A stream that is read.
struct Told {
    lines: std::io::Lines<BufReader<TcpStream>>,
    id: String,
}

impl Told {
    fn open(client: &Client, path: &str) -> Self {
        let stream = client.open("GET", path, &[]);
        let mut lines = BufReader::new(stream).lines();
        let mut line = || lines.next().expect("an answer").expect("it can be read");
        assert_eq!(line(), "HTTP/1.1 200 OK");
        let mut head = String::new();
        loop {
            let line = line();
            if line.is_empty() {
                break;
            }
            head.push_str(&line.to_lowercase());
            head.push('\n');
        }
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Self {
            lines,
            id: String::new(),
        }
    }

    /// Reads up to the first id.
    fn wait_for_place(&mut self) {
        while self.id.is_empty() {
            let line = self.lines.next().expect("it goes on").expect("it can be read");
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            }
        }
    }

    /// The next event; `None` when the server has ended the stream as it should be ended.
    fn next(&mut self) -> Option<StreamEntry> {
        let mut name = String::new();
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "nothing is told");
            let line = self.lines.next()?.expect("the stream goes on or ends");
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            } else if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let entry: StreamEntry = serde_json::from_str(data).expect("it is what the API says");
                assert_eq!(entry.kind.name(), name);
                return Some(entry);
            } else if line == "0" {
                return None;
            }
        }
    }

    /// Everything up to the first entry that says `last`.
    fn up_to(&mut self, last: &str) -> Vec<(StreamEntry, String)> {
        let mut all = Vec::new();
        loop {
            let entry = self.next().expect("the stream goes on");
            let is_last = entry.what.contains(last);
            all.push((entry, self.id.clone()));
            if is_last {
                return all;
            }
        }
    }
}

#[test]
fn what_happens_is_told_in_order_and_again_from_any_place() {
    let staunch = Staunch::start(Options::default());
    let client = staunch.client();
    let mut live = Told::open(&client, path::STREAM);
    event(&staunch, "203.0.113.7");
    let mut told = live.up_to("outcome: contained");
    let released = client.post(
        path::RELEASE,
        r#"{"scope": {"transaction": "TX-1"}, "reason": "a test"}"#,
    );
    assert_eq!(released.status, 200, "{released:?}");
    told.extend(live.up_to("closed"));
    event(&staunch, "203.0.113.8");
    told.extend(live.up_to("outcome: contained"));

    let entries: Vec<&StreamEntry> = told.iter().map(|(entry, _)| entry).collect();
    assert!(entries.is_sorted_by_key(|it| it.lsn), "{entries:#?}");
    assert_eq!(entries[0].kind, StreamKind::Incident);
    assert_eq!(entries[0].incident, Some(IncidentId(1)));
    let command = entries
        .iter()
        .find(|it| it.kind == StreamKind::Command)
        .expect("the release");
    assert!(command.what.ends_with("release TX-1, because a test"), "{command:?}");
    let acts: Vec<_> = entries
        .iter()
        .filter(|it| it.transaction == Some(TransactionId(1)))
        .collect();
    assert!(
        acts.iter().any(|it| it.what.starts_with("verified: in force")),
        "{acts:#?}"
    );
    assert!(acts.iter().all(|it| it.incident == Some(IncidentId(1))), "{acts:#?}");

    // From the beginning, and behind every event of it.
    let mut again = Told::open(&client, &format!("{}?after=0", path::STREAM));
    let all = again.up_to("outcome: contained");
    assert_eq!(
        all.iter()
            .filter(|(entry, _)| entry.kind == StreamKind::Installation)
            .count(),
        1
    );
    for (place, (_, id)) in told.iter().enumerate().take(told.len() - 1) {
        let mut rest = Told::open(&client.clone().header(&format!("Last-Event-ID: {id}")), path::STREAM);
        let (expected, _) = &told[place + 1];
        assert_eq!(rest.next().as_ref(), Some(expected), "behind {id}");
    }

    let mut second = Told::open(&client, &format!("{}?after=0&incident=INC-2", path::STREAM));
    let only = second.up_to("outcome: contained");
    assert!(
        only.iter().all(|(entry, _)| entry.incident == Some(IncidentId(2))),
        "{only:#?}"
    );
}

#[test]
fn who_is_cut_off_before_anything_was_told_misses_nothing() {
    let staunch = Staunch::start(Options::default());
    let client = staunch.client();
    staunch.wait_for_index();
    let mut cut = Told::open(&client, path::STREAM);
    cut.wait_for_place();
    let place = cut.id.clone();
    drop(cut);
    event(&staunch, "203.0.113.7");
    staunch.wait_for_index();
    let mut back = Told::open(&client.header(&format!("Last-Event-ID: {place}")), path::STREAM);
    let first = back.next().expect("it goes on");
    assert!(first.what.starts_with("opened by"), "{first:?}");
}

#[test]
fn who_followed_another_journal_is_told_so() {
    let staunch = Staunch::start(Options::default());
    event(&staunch, "203.0.113.7");
    staunch.wait_for_index();
    let follow = |id: &str| Told::open(&staunch.client().header(&format!("Last-Event-ID: {id}")), path::STREAM);
    let mut live = Told::open(&staunch.client(), path::STREAM);
    live.wait_for_place();
    let installation = live
        .id
        .rsplit_once('.')
        .expect("it names its installation")
        .1
        .to_owned();

    // Of another data directory: told from the beginning, whatever the place was.
    for place in ["1.1", "999999.7"] {
        let mut other = follow(&format!("{place}.0123456789abcdef"));
        let first = other.next().expect("it goes on");
        assert_eq!(first.kind, StreamKind::Stream, "{first:?}");
        assert!(first.what.starts_with("this is another installation"), "{first:?}");
        let told = other.up_to("outcome: contained");
        assert!(told[0].0.lsn <= 2, "{told:#?}");
    }
    // Of this one, and of a frame that it does not have any more: told from now on.
    for id in [format!("999999.7.{installation}"), "999999.7".to_owned()] {
        let mut back = follow(&id);
        let first = back.next().expect("it goes on");
        assert!(first.what.starts_with("the journal ends before"), "{first:?}");
        assert!(back.id.ends_with(&installation), "{}", back.id);
    }
    let told = staunch
        .client()
        .get(&format!("{}?after=999999", path::STREAM))
        .problem(400, "malformed");
    assert!(
        told.detail.starts_with("there is no frame 999999 yet"),
        "{}",
        told.detail
    );
}

#[test]
fn a_stream_ends_with_the_token_that_opened_it_and_with_the_server() {
    let mut staunch = Staunch::start(Options {
        http: HttpLimits {
            keep_alive: Duration::from_millis(20),
            ..HttpLimits::default()
        },
        ..Options::default()
    });
    let token = staunch.tokens.create("wall", Role::Viewer).expect("a token");
    let mut wall = Told::open(&staunch.with_token(&token), path::STREAM);
    event(&staunch, "203.0.113.7");
    assert!(wall.next().is_some());
    staunch.tokens.revoke("wall").expect("revoked");
    while wall.next().is_some() {}

    // Also one that has much to be told yet: it is asked for its token before each entry.
    let token = staunch.tokens.create("slow", Role::Viewer).expect("a token");
    let mut slow = Told::open(&staunch.with_token(&token), path::STREAM);
    staunch.tokens.revoke("slow").expect("revoked");
    for last in 8..40 {
        event(&staunch, &format!("203.0.113.{last}"));
    }
    while slow.next().is_some() {}

    // Not cut off: it is ended as every answer is, after what the index had not followed yet when it was opened.
    let mut other = Told::open(&staunch.client(), path::STREAM);
    staunch
        .server
        .take()
        .expect("it runs")
        .stop()
        .expect("the server stops");
    while other.next().is_some() {}
}

#[test]
fn who_may_not_look_and_who_names_no_place_is_turned_away() {
    let staunch = Staunch::start(Options::default());
    staunch.stranger().get(path::STREAM).problem(401, "unauthorized");
    let sender = staunch.tokens.create("siem", Role::Sender).expect("a token");
    staunch.with_token(&sender).get(path::STREAM).problem(403, "forbidden");
    for id in [
        "",
        "17",
        "x.1",
        "1.x",
        "-1.2",
        "1.2.",
        "1.2.x",
        "1.2.0123456789abcdef.3",
    ] {
        let client = staunch.client().header(&format!("Last-Event-ID: {id}"));
        client.get(path::STREAM).problem(400, "malformed");
    }
    for query in ["after=x", "incident=TX-1", "since=1"] {
        staunch
            .client()
            .get(&format!("{}?{query}", path::STREAM))
            .problem(400, "malformed");
    }
    let told = staunch
        .client()
        .get(&format!("{}?after=abc", path::STREAM))
        .problem(400, "malformed");
    assert_eq!(
        told.detail,
        "the query string cannot be used: after must be a whole number"
    );
    // There are 32 places, of which nobody has more than 8, and one that was given back can be had again.
    let mut open: Vec<Told> = (0..8).map(|_| Told::open(&staunch.client(), path::STREAM)).collect();
    let told = staunch.client().get(path::STREAM).problem(429, "too-many-streams");
    assert_eq!(told.detail, "8 streams are open already for who asks");
    for name in ["ben", "cleo", "dan"] {
        let token = staunch.tokens.create(name, Role::Viewer).expect("a token");
        open.extend((0..8).map(|_| Told::open(&staunch.with_token(&token), path::STREAM)));
    }
    let last = staunch.tokens.create("eve", Role::Viewer).expect("a token");
    staunch
        .with_token(&last)
        .get(path::STREAM)
        .problem(503, "too-many-streams");
    open.remove(0);
    super::until("a place is free", || {
        let stream = staunch.client().open("GET", path::STREAM, &[]);
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .is_ok_and(|_| line.contains("200"))
    });
    let without_index = Staunch::start(Options {
        with_index: false,
        ..Options::default()
    });
    without_index.client().get(path::STREAM).problem(503, "no-index");
}
