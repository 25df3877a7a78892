//! What is said to the resolver, in which order, and what is taken back when it says no.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::channel;
use std::thread;

use staunch_model::{EffectKey, Span, TransactionId};

use super::*;

/// What a request to sinkhole comes to, and the changes that a resolver was told, which says no to those that begin
/// with one of `refuses` and lists nothing.
fn told(answer: Sinkhole, refuses: &'static [&'static str]) -> (Outcome, Vec<String>) {
    let dir = tempfile::tempdir().expect("a directory");
    let control = dir.path().join("ctl");
    let listener = UnixListener::bind(&control).expect("it is our directory");
    let (said, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("somebody comes");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("it is text");
            let command = line
                .trim_end()
                .strip_prefix("UBCT1 ")
                .expect("it is the protocol")
                .to_owned();
            if command.starts_with("list_") {
                continue;
            }
            let no = refuses.iter().any(|it| command.starts_with(it));
            stream
                .write_all(if no { b"error no\n" } else { b"ok\n" })
                .expect("it is heard");
            if said.send(command).is_err() {
                break;
            }
        }
    });
    let mut driver = UnboundSinkhole::new(UnboundOptions {
        control,
        answer,
        timeout: Duration::from_secs(20),
        list_timeout: Duration::from_secs(20),
        ..UnboundOptions::new(InstallationId([0xa0; 8]))
    });
    let request = ExecuteRequest {
        transaction: TransactionId(7),
        key: EffectKey::default(),
        target: "domain:evil.example".parse().expect("a target"),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    };
    let outcome = driver.execute(&[request]).remove(0);
    (outcome, heard.try_iter().collect())
}

const LABEL: &str = "local_data evil.example. 5 IN TXT \"staunch:a0a0a0a0a0a0a0a0:TX-7\"";

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::DidNotHappen(failure) if failure.kind == FailureKind::Invalid)
}

#[test]
fn the_label_is_there_before_anything_is_denied() {
    let expect = (
        Outcome::Landed,
        vec![LABEL.to_owned(), "local_zone evil.example. always_nxdomain".to_owned()],
    );
    assert_eq!(told(Sinkhole::NoSuchName, &[]), expect);
    let address = |text: &str| Sinkhole::Address(text.parse::<IpAddr>().expect("an address"));
    for (answer, record) in [("192.0.2.1", "A 192.0.2.1"), ("2001:db8::1", "AAAA 2001:db8::1")] {
        let (outcome, commands) = told(address(answer), &[]);
        let record = format!("local_data evil.example. 5 IN {record}");
        assert_eq!(outcome, Outcome::Landed);
        assert_eq!(commands, [LABEL, "local_zone evil.example. redirect", &record]);
    }
}

#[test]
fn what_was_done_before_a_refusal_is_taken_back() {
    let (outcome, commands) = told(Sinkhole::NoSuchName, &["local_data "]);
    assert!(is_refused(&outcome), "{outcome:?}");
    assert_eq!(commands, [LABEL]);
    let (outcome, commands) = told(Sinkhole::NoSuchName, &["local_zone "]);
    assert!(is_refused(&outcome), "{outcome:?}");
    assert_eq!(commands[2..], ["local_zone_remove evil.example."]);
    let address = Sinkhole::Address([192, 0, 2, 1].into());
    for refused in ["local_zone ", "local_data evil.example. 5 IN A"] {
        let (outcome, commands) = told(
            address,
            if refused.starts_with("local_zone") {
                &["local_zone "]
            } else {
                &["local_data evil.example. 5 IN A"]
            },
        );
        assert!(is_refused(&outcome), "{refused}: {outcome:?}");
        assert_eq!(
            commands.last().map(String::as_str),
            Some("local_zone_remove evil.example."),
            "{refused}"
        );
    }
    let (outcome, _) = told(Sinkhole::NoSuchName, &["local_zone"]);
    assert!(
        matches!(outcome, Outcome::InDoubt(_)),
        "it could not be taken back: {outcome:?}"
    );
}
