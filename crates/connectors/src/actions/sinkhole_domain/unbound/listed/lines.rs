//! The lines of a list.
//!
//! Of zones, Unbound lists a name and a type on each line; of data, a record in the form of RFC 1035 on each line, and
//! empty lines. A byte of a zone's name that is no letter, digit, `-`, `_` or `*` is listed as `?`.

use std::io::{self, Read};

use crate::actions::Label;

/// The longest line that is read whole: a name has up to 1,016 characters where each byte is escaped.
pub(super) const LINE_BYTES_MAX: usize = 4 << 10;

/// The most that is read of one list: a million zones take some 40 MB.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// What is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a list is not read.
#[derive(Debug)]
pub enum Unreadable {
    /// It could not be read to its end.
    Io(io::Error),
    /// It goes beyond a bound, which is named.
    TooMuch(String),
    /// A line is not what it ought to be.
    Garbled,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    /// Its type, such as `TXT`.
    pub(super) kind: Box<str>,
    /// Of a `TXT` record with one string, the string as it is listed.
    pub(super) text: Option<Box<str>>,
}

impl Data {
    pub(super) fn label(&self) -> Option<Label> {
        self.text.as_deref().and_then(Label::parse)
    }

    /// Whether it is what a sinkhole with an address has beside its label.
    pub(super) fn is_address(&self) -> bool {
        matches!(&*self.kind, "A" | "AAAA")
    }
}

/// The name and the type of a zone.
pub(super) fn zone_line(line: &[u8], whole: bool) -> Result<(&str, &str), Unreadable> {
    let text = std::str::from_utf8(line).ok().filter(|_| whole);
    let mut fields = text.unwrap_or_default().split_ascii_whitespace();
    match (fields.next(), fields.next(), fields.next()) {
        (Some(name), Some(kind), None) if name.ends_with('.') => Ok((name, kind)),
        _ => Err(Unreadable::Garbled),
    }
}

/// The name and the record of a line of data; `None` where there is none.
pub(super) fn data_line(line: &[u8], whole: bool) -> Result<Option<(&str, Data)>, Unreadable> {
    /// What Unbound lists for a record that it cannot write.
    const UNWRITABLE: &str = "BADRR";
    // All that is not text stands in the value, which is no label then.
    let (text, all) = match std::str::from_utf8(line) {
        Ok(text) => (text, whole),
        Err(error) => (
            std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default(),
            false,
        ),
    };
    let text = text.trim_matches([' ', '\t', '\r']);
    if (text.is_empty() && all) || text == UNWRITABLE {
        return Ok(None);
    }
    let mut fields = text.splitn(5, ['\t', ' ']);
    let (Some(name), Some(ttl), Some(_), Some(kind)) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Unreadable::Garbled);
    };
    if !name.ends_with('.') || ttl.parse::<u32>().is_err() {
        return Err(Unreadable::Garbled);
    }
    let value = fields.next().filter(|_| all && kind == "TXT");
    let string = value.and_then(|it| it.strip_prefix('"')?.strip_suffix('"'));
    Ok(Some((
        name,
        Data {
            kind: kind.into(),
            text: string.filter(|it| !it.contains('"')).map(Into::into),
        },
    )))
}

/// Gives `take` each line, and whether it is the whole of it: of a longer one the beginning.
pub(super) fn each_line(
    mut from: impl Read,
    mut take: impl FnMut(&[u8], bool) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut line = Vec::new();
    let (mut whole, mut total) = (true, 0_u64);
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unreadable::Io(error)),
        };
        total += count as u64;
        if total > LIST_BYTES_MAX {
            return Err(Unreadable::TooMuch(format!("{LIST_BYTES_MAX} bytes")));
        }
        let mut rest = &chunk[..count];
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (part, after) = end.map_or((rest, [].as_slice()), |at| (&rest[..at], &rest[at + 1..]));
            let room = LINE_BYTES_MAX - line.len();
            whole &= part.len() <= room;
            line.extend_from_slice(&part[..part.len().min(room)]);
            if end.is_some() {
                take(&line, whole)?;
                line.clear();
                whole = true;
            }
            rest = after;
        }
    }
    // Unbound ends every line: what has no end was cut off.
    if line.is_empty() {
        return Ok(());
    }
    Err(Unreadable::Io(io::ErrorKind::UnexpectedEof.into()))
}
