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
    /// Those that a signature of theirs, or of a line after them, or the transparency log stands for.
    pub(crate) proved: u64,
    /// Those of them that carry no signature themselves, as of a machine that had no key yet.
    pub(crate) unsigned: u64,
    /// Those that come after the last such line, and those without a signature that come after one with it: anybody may
    /// have written or damaged them.
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
    let mut count = Count::default();
    let (mut unreadable, mut unsigned) = (Run::default(), Run::default());
    let mut is_changed = false;
    each_line(from, &mut |line| {
        hash.update(line.bytes);
        bytes += line.bytes.len() as u64;
        let number = line.number;
        let kind = match &line.handled {
            Err(error) => {
                unreadable.add(number, || Printable(&error.to_string()).to_string());
                Kind::Unreadable
            }
            Ok(handled) => {
                if !line.follows {
                    let name = name.to_owned();
                    find(Finding::LineOutOfOrder { name, line: number });
                }
                match key.has_signed_line(name, handled) {
                    Ok(true) => Kind::Signed,
                    Ok(false) => Kind::Unsigned,
                    Err(why) => {
                        let name = name.to_owned();
                        find(Finding::LineNotProved {
                            name,
                            line: number,
                            why,
                        });
                        Kind::Unsigned
                    }
                }
            }
        };
        if kind == Kind::Unsigned && count.has_signed {
            unsigned.add(number, String::new);
        }
        unreadable.told_before(number, |first, last, what| {
            let name = name.to_owned();
            find(Finding::LinesUnreadable {
                name,
                first,
                last,
                what,
            });
        });
        unsigned.told_before(number, |first, last, _| {
            let name = name.to_owned();
            find(Finding::LinesUnsigned { name, first, last });
        });
        count.line(number, kind);
        while let Some(head) = heads.next_if(|it| it.bytes <= bytes) {
            let is_as_logged = head.bytes == bytes && Sha256Hash(hash.clone().finalize().into()) == head.sha256;
            if is_as_logged {
                count.is_stood_for();
            } else if !is_changed {
                is_changed = true;
                find(Finding::HandlingChanged {
                    name: name.to_owned(),
                    number: head.number,
                    bytes: head.bytes,
                });
            }
        }
    })?;
    unreadable.told_before(u64::MAX, |first, last, what| {
        let name = name.to_owned();
        find(Finding::LinesUnreadable {
            name,
            first,
            last,
            what,
        });
    });
    unsigned.told_before(u64::MAX, |first, last, _| {
        let name = name.to_owned();
        find(Finding::LinesUnsigned { name, first, last });
    });
    if let Some(head) = heads.next().filter(|_| !is_changed) {
        find(Finding::HandlingCutOff {
            name: name.to_owned(),
            number: head.number,
            bytes: head.bytes,
            found: bytes,
        });
    }
    Ok(count.checked())
}

/// What stands in the place of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A line that the key has signed.
    Signed,
    /// One that it has not.
    Unsigned,
    /// None that can be read.
    Unreadable,
}

/// Counts lines as they come.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    has_signed: bool,
    /// Up to the last line that something stands for.
    proved: Checked,
    /// Up to the last line.
    so_far: Checked,
}

impl Count {
    fn line(&mut self, number: u64, kind: Kind) {
        match kind {
            Kind::Unsigned if self.has_signed => self.so_far.unproved += 1,
            Kind::Unsigned => self.so_far.unsigned += 1,
            Kind::Signed | Kind::Unreadable => {}
        }
        self.so_far.proved = number - self.so_far.unproved;
        if kind == Kind::Signed {
            self.has_signed = true;
            self.is_stood_for();
        }
    }

    /// Something stands for all lines so far.
    fn is_stood_for(&mut self) {
        self.proved = self.so_far;
    }

    fn checked(self) -> Checked {
        let lines = self.so_far.proved + self.so_far.unproved;
        Checked {
            unproved: lines - self.proved.proved,
            ..self.proved
        }
    }
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

    /// Calls `tell` when the row has ended before the line with this `number`.
    fn told_before(&mut self, number: u64, tell: impl FnOnce(u64, u64, String)) {
        if let Some((first, last, what)) = self.lines.take_if(|(_, last, _)| *last < number) {
            tell(first, last, what);
        }
    }
}
