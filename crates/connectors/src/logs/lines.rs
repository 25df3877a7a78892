//! Lines of a bounded length.

use std::io::{self, BufRead, Read as _};

use super::LINE_BYTES_MAX;

/// A line that is not blank.
pub(super) enum Line<'l> {
    /// Without its end.
    Whole(&'l [u8]),
    /// Longer than a line may be; none of it is kept.
    TooLong,
}

/// Reads lines, one at a time.
pub(super) struct Lines<'r> {
    from: &'r mut dyn BufRead,
    line: Vec<u8>,
}

impl<'r> Lines<'r> {
    pub(super) fn new(from: &'r mut dyn BufRead) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next line, or `None` at the end. A byte-order mark at the beginning of a line is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let most = LINE_BYTES_MAX as u64 + 1;
            if (&mut *self.from).take(most).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if self.line.last() != Some(&b'\n') && self.line.len() > LINE_BYTES_MAX {
                self.pass_over()?;
                return Ok(Some(Line::TooLong));
            }
            let marked = if self.line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            if !self.line[marked..].trim_ascii().is_empty() {
                return Ok(Some(Line::Whole(self.line[marked..].trim_ascii_end())));
            }
        }
    }

    /// To the end of the line.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            let (used, ended) = match self.from.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => match memchr::memchr(b'\n', bytes) {
                    Some(at) => (at + 1, true),
                    None => (bytes.len(), false),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.from.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}
