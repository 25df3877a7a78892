use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use super::super::testing::{DEADLINE, Taker, wait_until};
use super::*;

fn settings(listen: &str) -> SyslogSettings {
    SyslogSettings {
        listen: listen.parse().expect("an address"),
        from: Vec::new(),
        app_names: Vec::new(),
        hand_on: HandOn::Message,
    }
}

/// A socket of `settings` on any free port.
fn start(settings: SyslogSettings) -> (InletThread, SocketAddr, Taker) {
    let socket = SyslogSocket::bind(settings).expect("a free port");
    let address = socket.listen().address;
    let (taker, sink) = Taker::new();
    let inlet = socket.start(taker.tally.clone(), sink).expect("a thread");
    (inlet, address, taker)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream
}

/// Whether the other side closes it, and not only says nothing.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn where_to_listen_is_read_and_shown() {
    for text in ["udp://127.0.0.1:514", "tcp://[::1]:6514"] {
        assert_eq!(text.parse::<Listen>().expect("an address").to_string(), text);
    }
    for text in [
        "127.0.0.1:514",
        "tls://127.0.0.1:514",
        "udp://localhost:514",
        "udp://127.0.0.1",
        "udp://",
    ] {
        assert!(text.parse::<Listen>().is_err(), "{text}");
    }
}

#[test]
fn a_datagram_is_a_message() {
    let (inlet, address, taker) = start(settings("udp://127.0.0.1:0"));
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |bytes: &[u8]| sender.send_to(bytes, address).expect("it is sent");
    send(b"<174>Nov  6 03:00:00 sensor suricata[1]: @cee: {\"n\": 1}\n");
    // Over UDP a number at the beginning is no length, and a line feed ends nothing.
    send(b"7 <1>a: x");
    send(b"<174>1 - - suricata - - - {\n  \"n\": 2\n}");
    send(b"");
    send(b"<13>app:  \n");
    send("<174>1 - - suricata - - - \u{feff}{\"n\": 3}".as_bytes());
    taker.expect("{\"n\": 1}");
    taker.expect("{   \"n\": 2 }");
    taker.expect("{\"n\": 3}");
    assert_eq!(taker.tally.reading().malformed, 3);
    inlet.stop();
    assert!(taker.is_empty());
}

#[test]
fn streams_are_cut_as_rfc_6587_says_and_do_not_mix() {
    let (inlet, address, taker) = start(settings("tcp://127.0.0.1:0"));
    let (mut one, mut other) = (connect(address), connect(address));
    one.write_all(b"12 <13>app: on").expect("it reads");
    other.write_all(b"<13>app: three\n<13>app: fo").expect("it reads");
    taker.expect("three");
    one.write_all(b"e5 <13>x<13>app: two\n").expect("it reads");
    assert_eq!(taker.lines(3), ["one", "x", "two"]);
    other.write_all(b"ur").expect("it reads");
    drop(other);
    taker.expect("four");
    one.write_all(b"no syslog\n<13>app: five\n").expect("it reads");
    taker.expect("five");
    assert_eq!(taker.tally.reading().malformed, 1);
    inlet.stop();
    assert!(is_closed(&mut one));
}

#[test]
fn an_overlong_message_is_passed_over_and_costs_no_other() {
    let (inlet, address, taker) = start(settings("tcp://127.0.0.1:0"));
    let mut stream = connect(address);
    let long = "x".repeat(3 * MESSAGE_BYTES_MAX);
    let counted = format!("{} <13>app: {long}", long.len() + 9);
    stream.write_all(counted.as_bytes()).expect("it reads");
    stream
        .write_all(format!("<13>app: {long}\n").as_bytes())
        .expect("it reads");
    stream.write_all(b"<13>app: short\n").expect("it reads");
    taker.expect("short");
    assert_eq!(taker.tally.reading().dropped, 2);
    let fits = "y".repeat(MESSAGE_BYTES_MAX - 9);
    stream
        .write_all(format!("<13>app: {fits}\n").as_bytes())
        .expect("it reads");
    taker.expect(&fits);
    inlet.stop();
}

#[test]
fn only_programs_that_are_named_are_taken() {
    let (inlet, address, taker) = start(SyslogSettings {
        app_names: vec!["suricata".into(), "falco".into()],
        ..settings("tcp://127.0.0.1:0")
    });
    let mut stream = connect(address);
    stream
        .write_all(
            b"<13>suricata[1]: one\n<13>sshd[2]: two\n<13>no tag\n<13>1 - - falco - - - three\n<13>Suricata: 4\n",
        )
        .expect("it reads");
    assert_eq!(taker.lines(2), ["one", "three"]);
    wait_until("the others", || taker.tally.reading().passed_over == 3);
    inlet.stop();
}

#[test]
fn an_entry_is_handed_on_as_json() {
    let (inlet, address, taker) = start(SyslogSettings {
        hand_on: HandOn::Entry,
        ..settings("udp://127.0.0.1:0")
    });
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let message = b"<38>Nov  6 03:00:00 web-1 sshd[7]: Failed password for \"x\xff\" from 203.0.113.7";
    sender.send_to(message, address).expect("it is sent");
    let line = &taker.lines(1)[0];
    let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(
        entry,
        serde_json::json!({
            "facility": 4, "severity": 6, "timestamp": "Nov  6 03:00:00", "hostname": "web-1", "app_name": "sshd",
            "process_id": "7", "message_id": null, "message": "Failed password for \"x\u{fffd}\" from 203.0.113.7",
        })
    );
    inlet.stop();
}

#[test]
fn an_entry_that_is_longer_than_any_event_is_passed_over() {
    let (inlet, address, taker) = start(SyslogSettings {
        hand_on: HandOn::Entry,
        ..settings("tcp://127.0.0.1:0")
    });
    // Each takes six bytes as JSON.
    let long = "\u{1}".repeat(EVENT_BYTES_MAX / 6);
    let mut stream = connect(address);
    stream
        .write_all(format!("<13>app: {long}\n<13>app: short\n").as_bytes())
        .expect("it reads");
    assert!(taker.lines(1)[0].contains("\"short\""));
    let reading = taker.tally.reading();
    assert_eq!((reading.dropped, reading.malformed), (1, 0));
    inlet.stop();
}

#[test]
fn who_may_not_send_is_not_listened_to() {
    let elsewhere = vec!["192.0.2.0/24".parse().expect("a network")];
    let (inlet, address, taker) = start(SyslogSettings {
        from: elsewhere.clone(),
        ..settings("udp://127.0.0.1:0")
    });
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    sender.send_to(b"<13>app: one", address).expect("it is sent");
    wait_until("the refusal", || taker.tally.reading().dropped == 1);
    inlet.stop();
    assert!(taker.is_empty());

    let (inlet, address, taker) = start(SyslogSettings {
        from: elsewhere,
        ..settings("tcp://127.0.0.1:0")
    });
    let mut stream = connect(address);
    assert!(is_closed(&mut stream));
    inlet.stop();
    assert!(taker.is_empty());
}

#[test]
fn over_tcp_senders_wait_while_nothing_is_taken_and_nothing_is_lost() {
    let (inlet, address, taker) = start(settings("tcp://127.0.0.1:0"));
    taker.refuses.store(true, Ordering::SeqCst);
    let mut stream = connect(address);
    stream.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    let line = |n: usize| format!("<13>app: {n} {}\n", "x".repeat(1000));
    // Until neither the inlet nor the kernel takes any more.
    let mut rest = Vec::new();
    loop {
        rest.extend_from_slice(line(sent).as_bytes());
        sent += 1;
        let mut is_full = false;
        while !rest.is_empty() && !is_full {
            match stream.write(&rest) {
                Ok(written) => drop(rest.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => is_full = true,
                Err(error) => panic!("{error}"),
            }
        }
        if is_full {
            break;
        }
        assert!(sent < 100_000, "it takes everything though nothing is taken of it");
    }
    taker.refuses.store(false, Ordering::SeqCst);
    stream.set_nonblocking(false).expect("a socket");
    stream.write_all(&rest).expect("it reads again");
    for (n, line) in taker.lines(sent).iter().enumerate() {
        assert!(line.starts_with(&format!("{n} x")), "{line}");
    }
    assert_eq!(taker.tally.reading().dropped, 0);
    inlet.stop();
}

#[test]
fn what_is_lost_over_udp_is_counted() {
    let (inlet, address, taker) = start(settings("udp://127.0.0.1:0"));
    taker.refuses.store(true, Ordering::SeqCst);
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let message = format!("<13>app: {}", "x".repeat(60_000));
    // Twice of what the kernel keeps at the most: it counts what it was asked for twice.
    let count = 4 * RECEIVE_BUFFER_BYTES / message.len();
    for _ in 0..count {
        sender.send_to(message.as_bytes(), address).expect("it is sent");
    }
    taker.refuses.store(false, Ordering::SeqCst);
    // The kernel says with each how many were lost before it.
    let (mut further, mut taken) = (0, 0);
    wait_until("the one that was sent last", || {
        further += 1;
        let last = format!("now {further}");
        sender
            .send_to(format!("<13>app: {last}").as_bytes(), address)
            .expect("it is sent");
        let mut is_last = false;
        while let Some(line) = taker.line_soon() {
            taken += 1;
            is_last |= line == last;
        }
        is_last
    });
    let dropped = taker.tally.reading().dropped;
    assert!(dropped > 0);
    assert_eq!(dropped + taken, (count + further) as u64);
    inlet.stop();
}

#[test]
fn datagrams_that_are_none_of_ours_hold_up_no_line() {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    for (another, in_vain) in [
        (&stranger, "<13>suricata: x"),
        (&sender, "no syslog"),
        (&sender, "<13>suricata:"),
        (&sender, "<13>another: x"),
    ] {
        let socket = SyslogSocket::bind(SyslogSettings {
            from: vec!["127.0.0.1/32".parse().expect("a network")],
            app_names: vec!["suricata".into()],
            ..settings("udp://127.0.0.1:0")
        });
        let socket = socket.expect("a free port");
        // All of them are there before the first is read.
        let address = socket.listen().address;
        let send = |from: &UdpSocket, text: &str| from.send_to(text.as_bytes(), address).expect("it is sent");
        send(&sender, "<13>suricata: first");
        for _ in 0..DATAGRAMS_IN_VAIN_MAX {
            send(another, in_vain);
        }
        send(&sender, "<13>suricata: last");
        let (handed_on, pieces) = std::sync::mpsc::channel();
        let sink: Sink = Box::new(move |lines| {
            drop(handed_on.send(String::from_utf8_lossy(lines).into_owned()));
            super::super::Delivery::Taken
        });
        let tally = Arc::new(InletTally::new("test", "a test", "suricata"));
        let inlet = socket.start(tally, sink).expect("a thread");
        for expect in ["first\n", "last\n"] {
            assert_eq!(pieces.recv_timeout(DEADLINE).as_deref(), Ok(expect), "{in_vain}");
        }
        inlet.stop();
    }
}

#[test]
fn one_address_takes_no_more_connections_than_its_share() {
    let (inlet, address, taker) = start(settings("tcp://127.0.0.1:0"));
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS_PER_PEER_MAX).map(|_| connect(address)).collect();
    let mut further = connect(address);
    assert!(is_closed(&mut further));
    for stream in &mut streams {
        stream.write_all(b"<13>app: one\n").expect("it reads");
        taker.expect("one");
    }
    // A connection that ends leaves its place to another one.
    streams.pop();
    wait_until("a place", || {
        let mut stream = connect(address);
        stream.write_all(b"<13>app: two\n").is_ok() && matches!(taker.line_soon().as_deref(), Some("two"))
    });
    inlet.stop();
}

#[test]
fn an_address_in_use_is_an_error() {
    let (inlet, address, _taker) = start(settings("tcp://127.0.0.1:0"));
    let error = SyslogSocket::bind(settings(&format!("tcp://{address}"))).expect_err("it is in use");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    inlet.stop();
}
