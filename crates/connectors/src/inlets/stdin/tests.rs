use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::super::testing::{DEADLINE, Taker, wait_until};
use super::*;
use crate::testing::warnings;

/// An input, who takes its lines, and its end.
fn start_from(input: OwnedFd) -> (InletThread, Taker, mpsc::Receiver<io::Result<()>>) {
    let (taker, sink) = Taker::new();
    let (ended, end) = mpsc::channel();
    let done: Done = Box::new(move |end| drop(ended.send(end)));
    let inlet = start(input, taker.tally.clone(), sink, done).expect("a thread");
    (inlet, taker, end)
}

#[test]
fn lines_are_taken_as_they_come_and_the_last_needs_no_end() {
    let (input, mut output) = io::pipe().expect("a pipe");
    let (inlet, taker, end) = start_from(input.into());
    output.write_all(b"{\"n\": 1}\n\n9 x\n{\"n\"").expect("it reads");
    taker.expect("{\"n\": 1}");
    taker.expect("9 x");
    output.write_all(b": 2}").expect("it reads");
    assert!(end.try_recv().is_err());
    drop(output);
    taker.expect("{\"n\": 2}");
    assert!(matches!(end.recv_timeout(DEADLINE), Ok(Ok(()))));
    inlet.stop();
}

#[test]
fn a_file_is_read_to_its_end_and_all_of_it_is_taken_before_that_is_told() {
    let mut file = tempfile::tempfile().expect("a file");
    let count = 20_000;
    for n in 0..count {
        writeln!(file, "{n}").expect("it is our file");
    }
    io::Seek::rewind(&mut file).expect("it is our file");
    let (inlet, taker, end) = start_from(file.into());
    assert!(matches!(end.recv_timeout(DEADLINE), Ok(Ok(()))));
    for (n, line) in taker.lines(count).iter().enumerate() {
        assert_eq!(*line, n.to_string());
    }
    assert!(taker.is_empty());
    inlet.stop();
}

#[test]
fn whoever_writes_waits_while_nothing_is_taken() {
    let (input, mut output) = io::pipe().expect("a pipe");
    let (inlet, taker, end) = start_from(input.into());
    taker.refuses.store(true, Ordering::SeqCst);
    let count = 5_000;
    let line = "x".repeat(200);
    let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = written.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..count {
            writeln!(output, "{line}").expect("it reads");
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    // What the pipe holds, and what was read of it, is all that is written.
    wait_until("the first lines", || written.load(Ordering::SeqCst) > 100);
    assert!(taker.line_soon().is_none());
    assert!(written.load(Ordering::SeqCst) < count);
    assert!(end.try_recv().is_err());
    taker.refuses.store(false, Ordering::SeqCst);
    assert_eq!(taker.lines(count).len(), count);
    writer.join().expect("it has written");
    assert!(matches!(end.recv_timeout(DEADLINE), Ok(Ok(()))));
    inlet.stop();
}

#[test]
fn what_cannot_be_read_is_told() {
    let directory = File::open("/").expect("it is there");
    let (inlet, taker, end) = start_from(directory.into());
    assert!(matches!(end.recv_timeout(DEADLINE), Ok(Err(_))));
    assert!(taker.tally.reading().failing.is_some());
    inlet.stop();
}

#[test]
fn a_stop_waits_for_nobody_who_writes_nothing() {
    let (input, _output) = io::pipe().expect("a pipe");
    let (inlet, _taker, end) = start_from(input.into());
    inlet.stop();
    assert!(end.recv_timeout(DEADLINE).is_err(), "it has not ended");
}

#[test]
fn overlong_lines_are_counted_and_told_together() {
    let mut file = tempfile::tempfile().expect("a file");
    let long = "x".repeat(EVENT_BYTES_MAX + 1);
    write!(file, "one\n{long}\n{long}\ntwo\n{long}").expect("it is our file");
    io::Seek::rewind(&mut file).expect("it is our file");
    let (taker, sink) = Taker::new();
    let (_never, stop) = Stop::pair();
    let told = warnings(|| assert!(matches!(read(file, &taker.tally, sink, &stop), Some(Ok(())))));
    assert_eq!(taker.lines(2), ["one", "two"]);
    assert_eq!(taker.tally.reading().dropped, 3);
    assert_eq!(told, 1);
}
