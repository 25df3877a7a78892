//! Syslog: bytes as a stream over TCP, and each message in it.
//!
//! What holds: a stream is cut into the same messages however it arrives, none longer than any may be; what a header
//! says is within its bounds, and every word and the text of a message are parts of it; a message that is written anew
//! as RFC 5424 says is read as the same.

use staunch_connectors::inlets::syslog::{Message, parse};
use staunch_connectors::inlets::{Cut, Cutter, Framing};

/// Bytes of a message here: short, so that overlong ones are met.
const MESSAGE_BYTES_MAX: usize = 300;

/// Bytes of a stream, at once and in parts; and the same bytes as one datagram.
pub fn run(data: &[u8]) {
    for framing in [Framing::Syslog, Framing::Lines] {
        let whole = messages(framing, data, data.len().max(1));
        for size in [1, 7, 64] {
            assert_eq!(messages(framing, data, size), whole, "in parts of {size}");
        }
        for message in whole.iter().flatten() {
            assert!(message.len() <= MESSAGE_BYTES_MAX);
            read(message);
        }
    }
    read(data);
}

/// The messages of `stream`, which arrives in parts of `size`; `None` for one that is too long.
fn messages(framing: Framing, stream: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
    let mut cutter = Cutter::new(framing, MESSAGE_BYTES_MAX);
    let mut found = Vec::new();
    for part in stream.chunks(size) {
        cutter.push(part);
        while let Some(cut) = cutter.next() {
            found.push(match cut {
                Cut::Message(message) => Some(message.to_vec()),
                Cut::TooLong => None,
            });
        }
    }
    found.extend(cutter.last().map(|last| Some(last.to_vec())));
    assert!(cutter.next().is_none() && cutter.last().is_none());
    found
}

fn read(bytes: &[u8]) {
    let message = match parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            crate::shown::assert_line(&error.to_string());
            return;
        }
    };
    assert!(message.facility <= 23 && message.severity <= 7);
    for word in words(&message).into_iter().flatten() {
        assert!(!word.is_empty() && word.len() <= 255 && word.is_ascii());
        assert!(is_part(word.as_bytes(), bytes));
    }
    assert!(is_part(message.text, bytes));
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_graphic()) && word != "-";
    if !words(&message).into_iter().flatten().all(is_word) {
        return;
    }
    let mut again = format!("<{}>1", u16::from(message.facility) * 8 + u16::from(message.severity));
    for word in words(&message) {
        again.push(' ');
        again.push_str(word.unwrap_or("-"));
    }
    let mut again = again.into_bytes();
    // The text of a message may begin with what is taken off the text of another one.
    again.extend_from_slice(b" - @cee:");
    again.extend_from_slice(message.text);
    assert_eq!(parse(&again), Ok(message));
}

fn words<'a>(message: &Message<'a>) -> [Option<&'a str>; 5] {
    let it = message;
    [it.timestamp, it.hostname, it.app_name, it.process_id, it.message_id]
}

/// Whether `part` lies within `whole`, not only looks like a part of it.
fn is_part(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}
