//! Holds a handling log against its signatures, and against what the transparency log says of it.

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
    /// Those after them, which anybody may have written or damaged.
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
    let (mut lines, mut proved) = (0, 0);
    let mut is_changed = false;
    let name = name.to_owned();
    // The first line of those in a row that are none, and why.
    let mut unreadable: Option<(u64, String)> = None;
    let tell = |run: Option<(u64, String)>, last: u64, find: &mut dyn FnMut(Finding)| {
        if let Some((first, what)) = run {
            let (name, what) = (name.clone(), Printable(&what).to_string());
            find(Finding::LinesUnreadable {
                name,
                first,
                last,
                what,
            });
        }
    };
    each_line(from, &mut |line| {
        hash.update(line.bytes);
        bytes += line.bytes.len() as u64;
        lines = line.number;
        let name = || name.clone();
        match &line.handled {
            Err(error) => {
                let (first, what) = unreadable.take().unwrap_or_else(|| (lines, error.to_string()));
                unreadable = Some((first, what));
            }
            Ok(handled) => {
                tell(unreadable.take(), lines - 1, find);
                if !line.follows {
                    let (name, line) = (name(), line.number);
                    find(Finding::LineOutOfOrder { name, line });
                }
                match key.has_signed_line(handled) {
                    Ok(true) => proved = lines,
                    Ok(false) => {}
                    Err(why) => {
                        let (name, line) = (name(), line.number);
                        find(Finding::LineNotProved { name, line, why });
                    }
                }
            }
        }
        while let Some(head) = heads.next_if(|it| it.bytes <= bytes) {
            let is_as_logged = head.bytes == bytes && Sha256Hash(hash.clone().finalize().into()) == head.sha256;
            if is_as_logged {
                proved = lines;
            } else if !is_changed {
                is_changed = true;
                find(Finding::HandlingChanged {
                    name: name(),
                    number: head.number,
                    bytes: head.bytes,
                });
            }
        }
    })?;
    tell(unreadable, lines, find);
    if let Some(head) = heads.next().filter(|_| !is_changed) {
        find(Finding::HandlingCutOff {
            name: name.clone(),
            number: head.number,
            bytes: head.bytes,
            found: bytes,
        });
    }
    Ok(Checked {
        proved,
        unproved: lines - proved,
    })
}
