//! Which processes hold a socket: by the number of its inode, which is the name of the link of an open file.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use staunch_model::Failure;

use super::document::Problems;
use super::limits::Deadline;
use super::procdir::ProcessDir;
use super::processes::numbers;
use super::value::Text;

/// Open files that are looked at in one process.
const FILES_MAX: usize = 1 << 20;

/// Who holds which socket.
#[derive(Default)]
pub(super) struct Holders {
    processes: Vec<Holder>,
    /// By inode: places in `processes`, and the number of the open file there.
    by_inode: HashMap<u64, Vec<(usize, u32)>>,
}

struct Holder {
    pid: u32,
    started: u64,
    name: Vec<u8>,
    program: Option<Vec<u8>>,
}

/// A holder as it is written.
#[derive(Serialize)]
pub(super) struct Held<'a> {
    pid: u32,
    started: u64,
    name: Text<'a>,
    program: Option<Text<'a>>,
    file: u32,
}

impl Holders {
    /// Looks at every process. Of each it takes the sockets that are `wanted`; all of them when that is `None`.
    pub(super) fn look(
        proc: &Path,
        wanted: Option<&HashSet<u64>>,
        deadline: Deadline,
        problems: &mut Problems,
    ) -> Result<Self, Failure> {
        let mut found = Self::default();
        if wanted.is_some_and(HashSet::is_empty) {
            return Ok(found);
        }
        let (mut unseen, mut left) = (0, 0);
        for pid in numbers(proc)? {
            if deadline.is_over() {
                left += 1;
                continue;
            }
            let Ok(Some(process)) = ProcessDir::open(proc, pid) else {
                continue;
            };
            let Ok((files, is_cut)) = process.numbers("fd", FILES_MAX) else {
                unseen += u32::from(!process.stat.has_ended());
                continue;
            };
            left += u32::from(is_cut);
            let place = found.processes.len();
            let mut holds = false;
            for file in files {
                let Ok(link) = process.link(&format!("fd/{file}")) else {
                    continue;
                };
                let Some(inode) = socket(&link).filter(|it| wanted.is_none_or(|wanted| wanted.contains(it))) else {
                    continue;
                };
                found.by_inode.entry(inode).or_default().push((place, file));
                holds = true;
            }
            if holds {
                found.processes.push(Holder {
                    pid,
                    started: process.stat.started,
                    program: process.link("exe").ok(),
                    name: process.name,
                });
            }
        }
        if unseen > 0 {
            problems.add(&format!(
                "the open files of {unseen} processes could not be seen; CAP_SYS_PTRACE is needed for that"
            ));
        }
        if left > 0 {
            problems.add(&format!(
                "the open files of {left} processes were not looked at, or not all of them"
            ));
        }
        Ok(found)
    }

    /// Those that hold the socket with this inode.
    pub(super) fn of(&self, inode: u64) -> Vec<Held<'_>> {
        let places = self.by_inode.get(&inode).into_iter().flatten();
        places
            .map(|(place, file)| {
                let holder = &self.processes[*place];
                Held {
                    pid: holder.pid,
                    started: holder.started,
                    name: Text(&holder.name),
                    program: holder.program.as_deref().map(Text),
                    file: *file,
                }
            })
            .collect()
    }
}

/// The inode in `socket:[4711]`.
fn socket(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
