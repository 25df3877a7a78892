//! Reads files of events piece by piece, whatever their form, and hands on whole lines of NDJSON.
//!
//! Never holds more of a file than a few pieces, and never decides what is an event: that is the decoder's business.
//!
//! A compressed file may be torn, because whoever wrote it was killed: it is read up to where it is whole.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use staunch_connectors::json::{EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Events handed on at once, well below what a decoder takes as one body.
const LINES_MAX: usize = EVENTS_PER_BODY_MAX / 2;

/// What a zstd file begins with (RFC 8878).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a gzip file begins with (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a file is not read that is text of another kind.
#[derive(Debug)]
pub(crate) struct Utf16;

impl std::error::Error for Utf16 {}

impl fmt::Display for Utf16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is text in UTF-16, and JSON is in UTF-8")
    }
}

/// A file of events that is being read.
pub(crate) struct EventFile {
    input: Box<dyn Read>,
    form: Form,
    /// What was read and not handed on; from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Whether the input has no more bytes.
    ended: bool,
    /// Whether what is left of an overlong line is passed over.
    skipping: bool,
    /// Whether it has the same bytes when it is opened anew, as no pipe has.
    pub(crate) can_be_read_again: bool,
    /// Why the file ends earlier than it should, if it does.
    pub(crate) torn: Option<String>,
    /// Events longer than any that is read.
    pub(crate) too_long: u64,
}

/// How events lie in a file.
enum Form {
    /// One a line.
    Lines,
    /// Anything else: arrays, and objects over several lines. They are turned into lines.
    Any(Flatten),
}

/// Whole lines, or the news that there was an event which is longer than any that is read.
pub(crate) type Piece<'a> = &'a [u8];

impl EventFile {
    /// Opens the file at `path`; `-` is stdin.
    ///
    /// # Errors
    /// When it cannot be opened, or its first bytes cannot be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::new(Box::new(io::stdin().lock()), false);
        }
        let file = File::open(path)?;
        let is_regular = file.metadata()?.is_file();
        Self::new(Box::new(file), is_regular)
    }

    fn new(mut input: Box<dyn Read>, can_be_read_again: bool) -> io::Result<Self> {
        let mut head = Vec::new();
        input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
        let (is_zstd, is_gzip) = (head == ZSTD_MAGIC, head.starts_with(&GZIP_MAGIC));
        let is_packed = is_zstd || is_gzip;
        let whole = io::Cursor::new(head).chain(input);
        let mut file = Self {
            input: if is_zstd {
                Box::new(zstd::Decoder::new(whole)?)
            } else if is_gzip {
                Box::new(MultiGzDecoder::new(BufReader::new(whole)))
            } else {
                Box::new(whole)
            },
            form: Form::Lines,
            buffer: Vec::with_capacity(2 * PIECE),
            start: 0,
            ended: false,
            skipping: false,
            can_be_read_again,
            torn: None,
            too_long: 0,
        };
        file.fill(is_packed)?;
        if is_utf_16(&file.buffer) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Utf16));
        }
        if !file.begins_with_a_line(is_packed)? {
            let raw = std::mem::take(&mut file.buffer);
            let mut flatten = Flatten::default();
            flatten.push(&raw, &mut file.buffer);
            file.form = Form::Any(flatten);
        }
        Ok(file)
    }

    /// The next lines, at most [`LINES_MAX`]; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read. A compressed file that is torn or damaged ends there without an error.
    pub(crate) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        let found = self.find()?;
        self.start = found.as_ref().map_or(self.buffer.len(), |range| range.end);
        Ok(found.map(|range| &self.buffer[range]))
    }

    /// The same lines, which stay the next ones.
    ///
    /// # Errors
    /// As [`EventFile::next`].
    pub(crate) fn peek(&mut self) -> io::Result<Option<Piece<'_>>> {
        let found = self.find()?;
        Ok(found.map(|range| &self.buffer[range]))
    }

    /// Where the next lines are in the buffer.
    fn find(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(end) = end_of_lines(rest) {
                if self.skipping {
                    self.skipping = false;
                    self.start += rest.iter().position(|byte| *byte == b'\n').unwrap_or(end) + 1;
                    continue;
                }
                return Ok(Some(self.start..self.start + end));
            }
            if self.ended {
                // The last line of a torn file is not whole.
                let whole = self.torn.is_none() && !self.skipping && !rest.is_empty();
                return Ok(whole.then_some(self.start..self.buffer.len()));
            }
            if rest.len() > EVENT_BYTES_MAX + PIECE {
                self.too_long += u64::from(!self.skipping);
                self.skipping = true;
                self.buffer.clear();
                self.start = 0;
            }
            self.fill(true)?;
        }
    }

    /// Reads one more piece. With `may_be_torn`, an error after the beginning is the end.
    fn fill(&mut self, may_be_torn: bool) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut piece = Vec::new();
        let read = match &self.form {
            Form::Lines => self.input.by_ref().take(PIECE as u64).read_to_end(&mut self.buffer),
            Form::Any(_) => self.input.by_ref().take(PIECE as u64).read_to_end(&mut piece),
        };
        if let Form::Any(flatten) = &mut self.form {
            flatten.push(&piece, &mut self.buffer);
        }
        match read {
            Ok(0) => self.end(),
            Ok(_) => {}
            Err(error) if may_be_torn && is_torn(&error) => {
                self.torn = Some(error.to_string());
                self.end();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        if let Form::Any(flatten) = &mut self.form {
            flatten.end(&mut self.buffer);
        }
    }

    /// True when the first line is one whole object: then so are the others, or they are mistakes.
    fn begins_with_a_line(&mut self, may_be_torn: bool) -> io::Result<bool> {
        loop {
            let text = self.buffer.trim_ascii_start();
            let line = text.iter().position(|byte| *byte == b'\n').map(|end| &text[..end]);
            match (line, text.first()) {
                (_, Some(first)) if *first != b'{' => return Ok(*first != b'['),
                (Some(line), _) => return Ok(is_whole_object(line)),
                (None, _) if self.ended || self.buffer.len() > EVENT_BYTES_MAX => return Ok(true),
                (None, _) => self.fill(may_be_torn)?,
            }
        }
    }
}

/// The kinds of error with which a decoder says that its input ends early or is damaged.
fn is_torn(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
    )
}

/// Whether `bytes` begin as JSON does in UTF-16: with the mark of the order of bytes, or with a bracket of two bytes.
fn is_utf_16(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..]
    )
}

/// The end of the last whole line, or of the line that makes [`LINES_MAX`].
fn end_of_lines(bytes: &[u8]) -> Option<usize> {
    let last = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
    let ends = bytes[..last].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    // Lines are hardly ever that short, so that they are counted for small ones only.
    if last / LINES_MAX < 2 || ends.clone().count() > LINES_MAX {
        return ends.take(LINES_MAX).last().map(|(at, _)| at + 1);
    }
    Some(last)
}

fn is_whole_object(line: &[u8]) -> bool {
    let mut flatten = Flatten::default();
    let mut out = Vec::new();
    flatten.push(line, &mut out);
    let ends = out.iter().filter(|byte| **byte == b'\n').count();
    flatten.depth == 0 && !flatten.in_string && ends == 1 && out.ends_with(b"\n")
}

/// Turns JSON values into lines: items of arrays, and objects over several lines.
#[derive(Default)]
struct Flatten {
    /// Open brackets of the present item. The array around items is none of them.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether the present line has anything in it.
    open: bool,
}

impl Flatten {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            if self.in_string {
                // A raw line end in a text is a mistake; it stays one without ending the line.
                out.push(if *byte == b'\n' { 1 } else { *byte });
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'[' | b']' | b',' if self.depth == 0 => self.end(out),
                b'\n' | b'\r' if self.open => out.push(b' '),
                byte if byte.is_ascii_whitespace() && !self.open => {}
                byte => {
                    self.open = true;
                    out.push(*byte);
                    match byte {
                        b'"' => self.in_string = true,
                        b'{' | b'[' => self.depth += 1,
                        b'}' | b']' => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 {
                                self.end(out);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.open) {
            out.push(b'\n');
        }
        (self.depth, self.in_string, self.escaped) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> (Vec<String>, EventFile) {
        let mut file = EventFile::new(Box::new(io::Cursor::new(bytes.to_vec())), true).expect("it can be read");
        let mut lines = Vec::new();
        while let Some(piece) = file.next().expect("it can be read") {
            lines.extend(
                String::from_utf8_lossy(piece)
                    .lines()
                    .map(|line| line.trim_end().to_owned()),
            );
        }
        (lines, file)
    }

    #[test]
    fn every_form_becomes_lines() {
        let wanted = [r#"{"a":"[,{"}"#, r#"{"b":[1,{"c":2}]}"#];
        for text in [
            "{\"a\":\"[,{\"}\n{\"b\":[1,{\"c\":2}]}\n",
            "{\"a\":\"[,{\"}\n{\"b\":[1,{\"c\":2}]}",
            "[{\"a\":\"[,{\"},{\"b\":[1,{\"c\":2}]}]",
            " [\n{\"a\":\"[,{\"}\n,\n{\"b\":[1,{\"c\":2}]}]\n",
            "{\"a\":\"[,{\"}{\"b\":[1,{\"c\":2}]}\n",
            "[{\"a\":\"[,{\"}]\n[{\"b\":[1,{\"c\":2}]}]\n",
        ] {
            assert_eq!(lines_of(text.as_bytes()).0, wanted, "{text}");
        }
        let pretty = "{\n  \"a\": 1\n}\n{\n  \"b\": \"x\\\"\"\n}\n";
        assert_eq!(
            lines_of(pretty.as_bytes()).0,
            [r#"{   "a": 1 }"#, r#"{   "b": "x\"" }"#]
        );
        assert!(lines_of(b"").0.is_empty() && lines_of(b" \n\n").0.iter().all(String::is_empty));
        // A mistake stays a mistake, and spoils no other line.
        assert_eq!(
            lines_of(b"{\"a\":1}\n[1\n{\"b\":2}\n").0,
            ["{\"a\":1}", "[1", "{\"b\":2}"]
        );
        assert_eq!(lines_of(b"[{\"a\":\"x\ny\"},{}]").0, ["{\"a\":\"x\u{1}y\"}", "{}"]);
    }

    #[test]
    fn pieces_are_bounded_and_nothing_is_lost() {
        let text = "{\"n\":1}\n".repeat(3 * LINES_MAX + 7);
        let mut file = EventFile::new(Box::new(io::Cursor::new(text)), true).expect("it can be read");
        let (mut pieces, mut lines) = (0, 0);
        while let Some(piece) = file.next().expect("it can be read") {
            let count = piece.iter().filter(|byte| **byte == b'\n').count();
            assert!(count <= LINES_MAX, "{count}");
            (pieces, lines) = (pieces + 1, lines + count);
        }
        assert_eq!(lines, 3 * LINES_MAX + 7);
        assert!(pieces > 3);
    }

    #[test]
    fn an_endless_line_is_passed_over() {
        let long = format!(
            "{{\"a\":1}}\n{{\"x\":\"{}\"}}\n{{\"b\":2}}\n",
            "y".repeat(3 * EVENT_BYTES_MAX)
        );
        let (lines, file) = lines_of(long.as_bytes());
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(file.too_long, 1);
    }

    #[test]
    fn a_torn_file_is_read_up_to_where_it_is_whole() {
        let frame = |text: &str| zstd::bulk::compress(text.as_bytes(), 3).expect("it compresses");
        let mut bytes = frame("{\"a\":1}\n{\"b\":2}\n");
        let whole = bytes.len();
        // Noise of several blocks, so that a cut leaves half a line of the block before it.
        let noise = (0..4_000_u32).map(|n| format!("{{\"c\":\"{}\"}}\n", blake3::hash(&n.to_le_bytes())));
        bytes.extend(frame(&noise.collect::<String>()));
        let (lines, file) = lines_of(&bytes);
        assert_eq!((lines.len(), file.torn), (4_002, None));
        let mut lengths = std::collections::BTreeSet::new();
        for cut in (whole + 1..bytes.len()).step_by(1_001).chain([bytes.len() - 1]) {
            let (lines, file) = lines_of(&bytes[..cut]);
            assert_eq!(lines[..2], ["{\"a\":1}", "{\"b\":2}"], "cut at {cut}");
            assert!(file.torn.is_some(), "cut at {cut}");
            assert!(lines[2..].iter().all(|line| line.ends_with("\"}")), "cut at {cut}");
            lengths.insert(lines.len());
        }
        assert!(lengths.len() > 1, "some cuts leave a part of the second frame");
        assert_eq!(lines_of(&bytes[..whole]).1.torn, None);
    }
}
