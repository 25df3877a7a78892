//! Holds a handling log against its signatures, and against what the transparency log says of it.
//!
//! Never decides what follows from what it finds, and holds no more than a line in memory.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use staunch_model::{Printable, Sha256Hash};

use super::each_line;
use crate::tlog::LogVerifier;
use crate::vault::verify::Finding;

/// What an entry of the transparency log says of the beginning of a handling log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    /// So many bytes from its beginning.
    pub(crate) bytes: u64,
    /// Their SHA-256.
    pub(crate) sha256: Sha256Hash,
    /// The index of the entry, from 0.
    pub(crate) number: u64,
}

/// How many lines a handling log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Those that the key has signed.
    pub(crate) signed: u64,
    /// Those that it has not, and what is none that can be read: anybody may have put them there, and a crash may have
    /// cut one off.
    pub(crate) unproved: u64,
}

/// Reads the log that is called `name` from its beginning, and calls `find` for all that is wrong with it. What `heads`
/// say of it is told once: of what was changed, by the first entry that stands for it.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn check(
    name: &str,
    from: impl Read,
    key: &LogVerifier,
    mut heads: Vec<Head>,
    find: &mut dyn FnMut(Finding),
) -> io::Result<Checked> {
    heads.sort_unstable();
    let mut heads = heads.into_iter().peekable();
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut checked = Checked::default();
    let (mut unreadable, mut unsigned) = (Run::default(), Run::default());
    let mut is_changed = false;
    each_line(from, &mut |line| {
        hash.update(line.bytes);
        bytes += line.bytes.len() as u64;
        let number = line.number;
        unreadable.end_before(
            number,
            |first, last, what| unreadable_lines(name, first, last, what),
            find,
        );
        unsigned.end_before(number, |first, last, _| unsigned_lines(name, first, last), find);
        let mut is_signed = false;
        match &line.handled {
            Err(error) => unreadable.add(number, || Printable(&error.to_string()).to_string()),
            Ok(handled) => {
                if !line.follows {
                    let name = name.to_owned();
                    find(Finding::LineOutOfOrder { name, line: number });
                }
                match key.has_signed_line(name, handled) {
                    Ok(true) => is_signed = true,
                    Ok(false) => unsigned.add(number, String::new),
                    Err(why) => {
                        let name = name.to_owned();
                        find(Finding::LineNotProved {
                            name,
                            line: number,
                            why,
                        });
                    }
                }
            }
        }
        checked.signed += u64::from(is_signed);
        checked.unproved += u64::from(!is_signed);
        while let Some(head) = heads.next_if(|it| it.bytes <= bytes) {
            let is_as_logged = head.bytes == bytes && Sha256Hash(hash.clone().finalize().into()) == head.sha256;
            if !is_as_logged && !is_changed {
                is_changed = true;
                find(Finding::HandlingChanged {
                    name: name.to_owned(),
                    number: head.number,
                    bytes: head.bytes,
                });
            }
        }
    })?;
    unreadable.end_before(
        u64::MAX,
        |first, last, what| unreadable_lines(name, first, last, what),
        find,
    );
    unsigned.end_before(u64::MAX, |first, last, _| unsigned_lines(name, first, last), find);
    if let Some(head) = heads.next().filter(|_| !is_changed) {
        find(Finding::HandlingCutOff {
            name: name.to_owned(),
            number: head.number,
            bytes: head.bytes,
            found: bytes,
        });
    }
    Ok(checked)
}

fn unreadable_lines(name: &str, first: u64, last: u64, what: String) -> Finding {
    let name = name.to_owned();
    Finding::LinesUnreadable {
        name,
        first,
        last,
        what,
    }
}

fn unsigned_lines(name: &str, first: u64, last: u64) -> Finding {
    let name = name.to_owned();
    Finding::LinesUnsigned { name, first, last }
}

/// Lines in a row of which the same is to be said.
#[derive(Debug, Default)]
struct Run {
    /// The first and the last, and what is said of the first.
    lines: Option<(u64, u64, String)>,
}

impl Run {
    fn add(&mut self, number: u64, what: impl FnOnce() -> String) {
        let (_, last, _) = self.lines.get_or_insert_with(|| (number, number, what()));
        *last = number;
    }

    /// Has `find` take what `finding` makes of the row, when it has ended before the one before the line with this
    /// `number`.
    fn end_before(
        &mut self,
        number: u64,
        finding: impl FnOnce(u64, u64, String) -> Finding,
        find: &mut dyn FnMut(Finding),
    ) {
        if let Some((first, last, what)) = self.lines.take_if(|(_, last, _)| *last + 1 < number) {
            find(finding(first, last, what));
        }
    }
}
