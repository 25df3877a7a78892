//! Reads the header of a syslog message: RFC 5424, and what is sent in the manner of RFC 3164.
//!
//! RFC 5424 is read as it is written. RFC 3164 describes what was seen and requires nothing, so what is missing there
//! is missing here too: a time, a host and a tag are taken where they are, and the rest is the text.

use serde::Serialize;
use thiserror::Error;

/// The largest priority: facility 23, severity 7.
const PRIORITY_MAX: u16 = 191;

/// Bytes of one word of a header; the longest that RFC 5424 allows is a host name of 255.
const WORD_BYTES_MAX: usize = 255;

/// What some senders of RFC 3164 put before JSON (Common Event Expression).
const COOKIE: &[u8] = b"@cee:";

/// A message, and what its header says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// What kind of program sent it, 0 to 23.
    pub facility: u8,
    /// How bad it is, 0 to 7; 7 is the least.
    pub severity: u8,
    /// When it was sent, as the header says it.
    pub timestamp: Option<&'a str>,
    /// The host that it comes from.
    pub hostname: Option<&'a str>,
    /// The program that it comes from; the tag of RFC 3164 without what is in brackets.
    pub app_name: Option<&'a str>,
    /// The process that it comes from.
    pub process_id: Option<&'a str>,
    /// What kind of message it is.
    pub message_id: Option<&'a str>,
    /// What the message says, without what it is wrapped in.
    #[serde(skip)]
    pub text: &'a [u8],
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotSyslog {
    /// It does not begin with a priority.
    #[error("it does not begin with a priority such as <13>")]
    Priority,
    /// The header of RFC 5424 is not whole.
    #[error("its header is not as RFC 5424 says")]
    Header,
    /// The structured data of RFC 5424 cannot be read.
    #[error("its structured data are not as RFC 5424 says")]
    StructuredData,
}

/// Reads one message.
///
/// # Errors
/// [`NotSyslog`].
pub fn parse(frame: &[u8]) -> Result<Message<'_>, NotSyslog> {
    let (priority, rest) = priority(frame).ok_or(NotSyslog::Priority)?;
    let message = Message {
        facility: u8::try_from(priority >> 3).unwrap_or(u8::MAX),
        severity: u8::try_from(priority & 7).unwrap_or(u8::MAX),
        timestamp: None,
        hostname: None,
        app_name: None,
        process_id: None,
        message_id: None,
        text: rest,
    };
    let mut message = match rest.strip_prefix(b"1 ") {
        Some(rest) => rfc5424(message, rest)?,
        None => rfc3164(message, rest),
    };
    let text = message.text.trim_ascii_start();
    message.text = text.strip_prefix(COOKIE).map_or(text, <[u8]>::trim_ascii_start);
    while let [rest @ .., 0 | b'\n' | b'\r' | b' ' | b'\t'] = message.text {
        message.text = rest;
    }
    Ok(message)
}

fn priority(frame: &[u8]) -> Option<(u16, &[u8])> {
    let rest = frame.strip_prefix(b"<")?;
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) || rest.get(digits) != Some(&b'>') {
        return None;
    }
    let number = rest[..digits]
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (number <= PRIORITY_MAX).then_some((number, &rest[digits + 1..]))
}

fn rfc5424<'a>(message: Message<'a>, mut rest: &'a [u8]) -> Result<Message<'a>, NotSyslog> {
    let mut word = || {
        let end = memchr::memchr(b' ', rest).ok_or(NotSyslog::Header)?;
        let (word, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        match word {
            b"-" => Ok(None),
            _ => printable(word).map(Some).ok_or(NotSyslog::Header),
        }
    };
    let (timestamp, hostname, app_name) = (word()?, word()?, word()?);
    let (process_id, message_id) = (word()?, word()?);
    let end = structured_data(rest).ok_or(NotSyslog::StructuredData)?;
    let text = match rest.get(end) {
        None => &[][..],
        Some(b' ') => &rest[end + 1..],
        Some(_) => return Err(NotSyslog::StructuredData),
    };
    Ok(Message {
        timestamp,
        hostname,
        app_name,
        process_id,
        message_id,
        text: without_mark(text),
        ..message
    })
}

/// A word of a header.
fn printable(word: &[u8]) -> Option<&str> {
    let is_one = (1..=WORD_BYTES_MAX).contains(&word.len()) && word.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(word).ok().filter(|_| is_one)
}

/// Text without the mark that says that it is UTF-8.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Where the structured data that `bytes` begin with end: `-`, or elements in brackets.
fn structured_data(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'-') {
        return Some(1);
    }
    let mut at = 0;
    while bytes.get(at) == Some(&b'[') {
        at += 1 + name(&bytes[at + 1..])?;
        while bytes.get(at) == Some(&b' ') {
            at += 1 + name(&bytes[at + 1..])?;
            if bytes.get(at..at + 2) != Some(b"=\"") {
                return None;
            }
            at = value_end(bytes, at + 2)?;
        }
        if bytes.get(at) != Some(&b']') {
            return None;
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

/// How long the name of an element or of a value is.
fn name(bytes: &[u8]) -> Option<usize> {
    let is_of_it = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
    let length = bytes.iter().take_while(|byte| is_of_it(byte)).count();
    (1..=WORD_BYTES_MAX).contains(&length).then_some(length)
}

/// Where the value that begins at `at` ends, its quotation mark included.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

fn rfc3164<'a>(message: Message<'a>, bytes: &'a [u8]) -> Message<'a> {
    let (timestamp, rest) = match time(bytes) {
        Some((time, rest)) => (Some(time), rest.trim_ascii_start()),
        None => (None, bytes.trim_ascii_start()),
    };
    // Programs of the same machine name no host. Without a time there is none either: it stands after it.
    let (hostname, rest) = match host(rest) {
        Some((host, after)) if timestamp.is_some() && tag(rest).is_none() => (Some(host), after.trim_ascii_start()),
        _ => (None, rest),
    };
    let (app_name, process_id, text) = match tag(rest) {
        Some(it) => (Some(it.name), it.process_id, it.text),
        None => (None, None, rest),
    };
    Message {
        timestamp,
        hostname,
        app_name,
        process_id,
        text: without_mark(text.trim_ascii_start()),
        ..message
    }
}

/// The time that `bytes` begin with: as RFC 3164 says it, with a year, or in the manner of RFC 3339.
fn time(bytes: &[u8]) -> Option<(&str, &[u8])> {
    /// `d` is a digit or a space, `a` a letter.
    const SHAPES: [&[u8]; 2] = [b"aaa dd dddd dd:dd:dd", b"aaa dd dd:dd:dd"];
    let is_like = |shape: &[u8]| {
        bytes.len() >= shape.len()
            && shape.iter().zip(bytes).all(|(shape, byte)| match shape {
                b'd' => byte.is_ascii_digit() || *byte == b' ',
                b'a' => byte.is_ascii_alphabetic(),
                _ => byte == shape,
            })
    };
    let start = match SHAPES.iter().find(|shape| is_like(shape)) {
        Some(shape) => shape.len(),
        None => {
            let is_date = bytes.len() > 11 && is_like_date(&bytes[..11]);
            is_date.then_some(11)?
        }
    };
    // Parts of a second, a zone, and the colon that routers put behind it.
    let more = bytes[start..]
        .iter()
        .take_while(|byte| !byte.is_ascii_whitespace())
        .count();
    let (time, rest) = bytes.split_at(start + more);
    let time = time.strip_suffix(b":").unwrap_or(time);
    let shown = std::str::from_utf8(time)
        .ok()
        .filter(|it| it.len() <= 64 && it.is_ascii())?;
    Some((shown, rest))
}

fn is_like_date(bytes: &[u8]) -> bool {
    let shape = b"dddd-dd-ddT";
    shape.iter().zip(bytes).all(|(shape, byte)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte == shape,
    })
}

/// The name of a host that `bytes` begin with, and what follows it.
fn host(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'%' | b'/');
    let end = memchr::memchr(b' ', bytes)?;
    let word = printable(&bytes[..end]).filter(|word| word.as_bytes().iter().all(is_of_it))?;
    if word.starts_with('%') || (word.ends_with(':') && !word.ends_with("::")) {
        return None;
    }
    Some((word, &bytes[end + 1..]))
}

/// The program that a text begins with, as `sshd[123]: ` or `kernel: `.
struct Tag<'a> {
    name: &'a str,
    process_id: Option<&'a str>,
    text: &'a [u8],
}

fn tag(bytes: &[u8]) -> Option<Tag<'_>> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'@');
    let length = bytes.iter().take_while(|byte| is_of_it(byte)).count();
    let name = printable(&bytes[..length])?;
    let rest = &bytes[length..];
    let (process_id, rest) = match rest.strip_prefix(b"[") {
        Some(inside) => {
            let end = memchr::memchr(b']', inside)?;
            (Some(printable(&inside[..end])?), &inside[end + 1..])
        }
        None => (None, rest),
    };
    let text = match (rest, process_id) {
        ([b':'], _) => &[][..],
        ([b':', b' ' | b'{' | b'\t', ..], _) => &rest[1..],
        // A process in brackets is told from a word of the text also without a colon.
        ([b' ', ..], Some(_)) => rest,
        _ => return None,
    };
    Some(Tag { name, process_id, text })
}

#[cfg(test)]
mod tests;
