use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use super::super::testing::{Taker, wait_until};
use super::*;

fn settings(directory: &TempDir) -> SocketSettings {
    SocketSettings {
        path: directory.path().join("events.sock"),
        mode: 0o600,
        group: None,
    }
}

fn start(settings: &SocketSettings) -> (InletThread, Taker) {
    let socket = LineSocket::bind(settings).expect("it is our directory");
    let (taker, sink) = Taker::new();
    let inlet = socket.start(taker.tally.clone(), sink).expect("a thread");
    (inlet, taker)
}

#[test]
fn lines_come_from_whoever_connects() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(&directory);
    let (inlet, taker) = start(&settings);
    let mut one = UnixStream::connect(&settings.path).expect("it listens");
    let mut other = UnixStream::connect(&settings.path).expect("it listens");
    one.write_all(b"{\"n\": 1}\n\n{\"n\"").expect("it reads");
    taker.expect("{\"n\": 1}");
    other.write_all(b"9 {\"n\": 2}\n").expect("it reads");
    taker.expect("9 {\"n\": 2}");
    one.write_all(b": 3}").expect("it reads");
    drop(one);
    taker.expect("{\"n\": 3}");
    let long = "x".repeat(2 * EVENT_BYTES_MAX);
    other
        .write_all(format!("{long}\nshort\n").as_bytes())
        .expect("it reads");
    taker.expect("short");
    assert_eq!(taker.tally.reading().dropped, 1);
    inlet.stop();
    assert!(!settings.path.exists(), "it was removed");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

#[test]
fn its_mode_is_what_was_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    for mode in [0o600, 0o660, 0o222] {
        let settings = SocketSettings {
            mode,
            ..settings(&directory)
        };
        let socket = LineSocket::bind(&settings).expect("it is our directory");
        let found = fs::symlink_metadata(&settings.path).expect("it is there").mode();
        assert_eq!(found & 0o7777, mode);
        drop(socket);
    }
    let missing = SocketSettings {
        group: Some("no-such-group".into()),
        ..settings(&directory)
    };
    let error = LineSocket::bind(&missing).expect_err("there is no such group");
    assert!(error.to_string().contains("no-such-group"), "{error}");
}

#[test]
fn what_a_process_with_the_same_id_has_left_behind_is_in_the_way_of_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(&directory);
    let left = directory.path().join(format!(".{}", std::process::id()));
    fs::create_dir(&left).expect("it is our directory");
    drop(UnixListener::bind(left.join("s")).expect("it is our directory"));
    let (inlet, taker) = start(&settings);
    let mut stream = UnixStream::connect(&settings.path).expect("it listens");
    stream.write_all(b"one\n").expect("it reads");
    taker.expect("one");
    inlet.stop();
}

#[test]
fn only_what_nobody_listens_on_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(&directory);
    // Left behind by a process that was killed.
    drop(UnixListener::bind(&settings.path).expect("it is our directory"));
    assert!(settings.path.exists());
    let (inlet, taker) = start(&settings);
    let error = LineSocket::bind(&settings).expect_err("it is listened on");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let mut stream = UnixStream::connect(&settings.path).expect("it listens still");
    stream.write_all(b"one\n").expect("it reads");
    taker.expect("one");

    // Somebody else's socket in its place stays there.
    fs::remove_file(&settings.path).expect("it is our directory");
    let _other = UnixListener::bind(&settings.path).expect("it is our directory");
    inlet.stop();
    assert!(settings.path.exists());
    fs::remove_file(&settings.path).expect("it is our directory");

    fs::write(&settings.path, "a file").expect("it is our directory");
    let error = LineSocket::bind(&settings).expect_err("it is no socket");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&settings.path).expect("it is still there"), b"a file");
    fs::remove_file(&settings.path).expect("it is our directory");

    // A socket of another kind is somebody's, whether he listens or not.
    let _datagrams = UnixDatagram::bind(&settings.path).expect("it is our directory");
    assert!(LineSocket::bind(&settings).is_err());
}

#[test]
fn connections_are_bounded_and_their_places_are_given_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(&directory);
    let (inlet, taker) = start(&settings);
    let connect = || UnixStream::connect(&settings.path).expect("it listens");
    let mut all: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| connect()).collect();
    let mut further = connect();
    wait_until("its end", || further.write_all(b"x\n").is_err());
    for stream in &mut all {
        stream.write_all(b"one\n").expect("it reads");
        taker.expect("one");
    }
    // One that ends leaves its place to another one, and to one only.
    all.pop();
    let mut next = None;
    wait_until("a place", || {
        let mut stream = connect();
        let is_taken = stream.write_all(b"two\n").is_ok() && taker.line_soon().as_deref() == Some("two");
        next = is_taken.then_some(stream);
        is_taken
    });
    let mut further = connect();
    wait_until("its end", || further.write_all(b"x\n").is_err());
    let mut next = next.expect("it was taken up");
    next.write_all(b"three\n").expect("it reads");
    taker.expect("three");
    inlet.stop();
}
