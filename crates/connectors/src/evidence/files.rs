//! Takes files that a playbook names, each as an artefact of its own, and a list of them with their times and hashes.
//!
//! Never writes to a file, never opens what is no regular file, and never follows a symbolic link, in no part of a path
//! (`O_NOFOLLOW` on each): whoever owns a directory on the way cannot make it hand over another file.
//!
//! # Expected flow
//! Walks to each file part by part, looks at it without opening it, opens it, and takes as much as it had
//! then
//!
//! # Guarantees
//! A log that grows ends where it ended at the beginning; of a file that is larger than an artefact may be,
//! the end is taken, and that its beginning is missed is a record with both sizes
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! A file that is written to meanwhile may be torn: its times before and after are told. Where its owner is
//! another user and CAP_FOWNER is missing, reading changes when it was last read, which is told
//!
//! # Errors
//! `Invalid` for a path that is none, `Unavailable` when no file could be taken

mod walk;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;

use ring::digest;
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};
use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Printable, Span, Timestamp};
use staunch_ports::{About, CollectRequest, Collected, Collector, Collects, Sink};

use self::walk::{Found, Pattern};
use super::document;
use super::limits::Deadline;
use super::value::{Hex, Text};

const KIND: EvidenceKind = EvidenceKind::Files;
const TAKES_MAX: Span = Span::from_mins(5);

/// Files that one collection takes.
const FILES_MAX: usize = 256;

/// Bytes of a file's name that its artefact has in its own.
const NAME_BYTES_MAX: usize = 64;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilesCollector;

/// A file as it is listed.
#[derive(Default, Serialize)]
struct Listed {
    #[serde(serialize_with = "text")]
    path: Vec<u8>,
    artefact: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Facts>,
    /// Where in the file the artefact begins.
    from: u64,
    taken_bytes: u64,
    sha256: Option<String>,
}

#[derive(Serialize)]
struct Facts {
    bytes: u64,
    modified: String,
    changed: String,
    read: String,
    born: Option<String>,
    mode: String,
    user: u32,
    group: u32,
    links: u32,
    inode: u64,
    device: String,
}

/// How taking a file failed.
enum Fault {
    /// This file could not be read.
    File(Failure),
    /// The artefact became too large after so many bytes of so many.
    TooLarge { kept: u64, whole: u64 },
    /// Nothing more can be stored.
    Sink(Failure),
}

impl FilesCollector {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Collector for FilesCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/files",
            kind: KIND,
            needs: &[
                "CAP_DAC_READ_SEARCH, for files of other users",
                "CAP_FOWNER, to leave the times at which they were last read",
            ],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, request: &CollectRequest) -> Result<(), Failure> {
        let patterns = patterns(request)?;
        let found = patterns.iter().map(|it| it.find(1));
        let mut why = None;
        for (found, pattern) in found.zip(&patterns) {
            match found {
                Ok(found) if found.is_empty() => {
                    why = why.or(Some(missing(&format!("there is no file {}", pattern.text()))));
                }
                Ok(_) => return Ok(()),
                Err(error) => why = why.or(Some(of_walk(pattern, &error))),
            }
        }
        why.map_or(Ok(()), Err)
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        deadline.check("files")?;
        let since = document::now();
        let mut collected = Collected::default();
        let mut listed: Vec<Listed> = Vec::new();
        let mut first_failure = None;
        let mut miss = |sink: &mut dyn Sink, listed: &mut Vec<Listed>, path: &[u8], failure: Failure| {
            sink.missed(about(&artefact(listed.len(), path), path, None, ""), failure.clone());
            listed.push(Listed {
                path: path.to_vec(),
                missed: Some(failure.what.to_string()),
                ..Listed::default()
            });
            first_failure.get_or_insert(failure);
        };
        'all: for pattern in patterns(request)? {
            let found = match pattern.find(FILES_MAX) {
                Ok(found) if found.is_empty() => {
                    miss(
                        sink,
                        &mut listed,
                        pattern.text().as_bytes(),
                        missing("there is no such file"),
                    );
                    continue;
                }
                Ok(found) => found,
                Err(error) => {
                    miss(sink, &mut listed, pattern.text().as_bytes(), of_walk(&pattern, &error));
                    continue;
                }
            };
            for it in found {
                if listed.len() >= FILES_MAX {
                    let what = format!("more than {FILES_MAX} files");
                    miss(sink, &mut listed, &it.path, Failure::new(FailureKind::Full, &what));
                    break 'all;
                }
                let bytes_max = request.options.bytes_max.unwrap_or(u64::MAX);
                let mut taken = take(&it, listed.len(), sink, deadline, bytes_max);
                let by_vault = matches!(taken, Err(Fault::TooLarge { .. }));
                if let Err(Fault::TooLarge { kept, whole }) = taken {
                    let what = format!("{whole} bytes are more than an artefact may be; its last {kept} bytes follow");
                    miss(sink, &mut listed, &it.path, Failure::new(FailureKind::Full, &what));
                    taken = take(&it, listed.len(), sink, deadline, kept);
                }
                match taken {
                    Ok(mut file) => {
                        if file.from > 0 && !by_vault {
                            file.missed = Some(miss_beginning(&file, sink));
                        }
                        note_changes(&file, &mut collected);
                        listed.push(file);
                    }
                    Err(Fault::File(failure)) => miss(sink, &mut listed, &it.path, failure),
                    Err(Fault::TooLarge { .. }) => {
                        let what = "larger than an artefact may be";
                        miss(sink, &mut listed, &it.path, Failure::new(FailureKind::Full, what));
                    }
                    Err(Fault::Sink(failure)) => {
                        miss(sink, &mut listed, &it.path, failure);
                        break 'all;
                    }
                }
            }
        }
        let list = document::about(
            KIND,
            "the paths that the playbook names",
            "statx before and after each was read",
        );
        let written = document::write_since(since, KIND, list, sink, |document| {
            document.begin_list("files")?;
            listed.iter().try_for_each(|it| document.item(it))?;
            document.end_list();
            Ok(())
        });
        match (listed.iter().any(|it| it.artefact.is_some()), first_failure, written) {
            (false, Some(failure), _) | (false, None, Err(failure)) => Err(failure),
            // Files that were sealed stay; that their list is missing was recorded.
            _ => Ok(collected),
        }
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

fn patterns(request: &CollectRequest) -> Result<Vec<Pattern>, Failure> {
    let paths = &request.options.paths;
    if paths.is_empty() {
        return Err(Failure::new(FailureKind::Invalid, "no path is named"));
    }
    paths.iter().map(|it| Pattern::parse(it)).collect()
}

/// Records that the beginning of a file is not in its artefact, because the playbook bounds that. Returns why, in
/// words.
fn miss_beginning(file: &Listed, sink: &mut dyn Sink) -> String {
    let kept = file.taken_bytes;
    let whole = file.from + kept;
    let what = format!("only its last {kept} of {whole} bytes are kept: the playbook has a bound");
    let name = file.artefact.as_deref().unwrap_or_default();
    sink.missed(
        about(name, &file.path, None, ""),
        Failure::new(FailureKind::Full, &what),
    );
    what
}

/// Takes one file, at most `bytes_max` bytes from its end.
fn take(
    found: &Found,
    number: usize,
    sink: &mut dyn Sink,
    deadline: Deadline,
    bytes_max: u64,
) -> Result<Listed, Fault> {
    let of_file = |error: &io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => FailureKind::Denied,
            io::ErrorKind::NotFound => FailureKind::Unavailable,
            io::ErrorKind::InvalidInput => FailureKind::Invalid,
            _ => FailureKind::Unavailable,
        };
        let what = format!("cannot read {}: {error}", String::from_utf8_lossy(&found.path));
        Fault::File(Failure::new(kind, &what))
    };
    if deadline.is_over() {
        let what = format!("no time is left to take {}", String::from_utf8_lossy(&found.path));
        return Err(Fault::File(Failure::new(FailureKind::TimedOut, &what)));
    }
    let (mut file, before) = found.open().map_err(|error| of_file(&error))?;
    let length = before.stx_size;
    let from = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from)).map_err(|error| of_file(&error))?;
    let name = artefact(number, &found.path);
    let part = if from > 0 { "the last" } else { "all" };
    let method = format!(
        "openat with O_NOFOLLOW and O_NOATIME, read of {part} {} of {length} bytes",
        length - from
    );
    sink.begin(about(&name, &found.path, Some(before.stx_mtime), &method))
        .map_err(|error| Fault::Sink(document::of_sink(&name, &error)))?;
    let copied = copy(&mut file, length - from, sink, deadline, &name, &of_file);
    let (taken_bytes, hash) = copied.map_err(|fault| match fault {
        Fault::TooLarge { kept, .. } => Fault::TooLarge { kept, whole: length },
        fault => fault,
    })?;
    sink.end()
        .map_err(|error| Fault::Sink(document::of_sink(&name, &error)))?;
    let after = stat(&file).ok();
    Ok(Listed {
        path: found.path.clone(),
        artefact: Some(name),
        missed: None,
        before: Some(Facts::of(&before)),
        after: after.as_ref().map(Facts::of),
        from,
        taken_bytes,
        sha256: Some(hash),
    })
}

/// Hands on `length` bytes, or fewer when there are no more.
fn copy(
    file: &mut File,
    length: u64,
    sink: &mut dyn Sink,
    deadline: Deadline,
    name: &str,
    of_file: &dyn Fn(&io::Error) -> Fault,
) -> Result<(u64, String), Fault> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut taken = 0;
    while taken < length {
        if deadline.is_over() {
            return Err(Fault::Sink(Failure::new(
                FailureKind::TimedOut,
                &format!("{name} was not taken in time"),
            )));
        }
        let want = usize::try_from(length - taken).unwrap_or(usize::MAX).min(buffer.len());
        let read = match file.read(&mut buffer[..want]) {
            // It became shorter meanwhile.
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_file(&error)),
        };
        match sink.write_all(&buffer[..read]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(Fault::TooLarge {
                    kept: taken,
                    whole: length,
                });
            }
            Err(error) => return Err(Fault::Sink(document::of_sink(name, &error))),
        }
        context.update(&buffer[..read]);
        taken += read as u64;
    }
    Ok((taken, Hex(context.finish().as_ref()).to_string()))
}

fn note_changes(file: &Listed, collected: &mut Collected) {
    if let (Some(before), Some(after)) = (&file.before, &file.after)
        && before.read != after.read
    {
        let path = String::from_utf8_lossy(&file.path);
        let line = format!("the time of the last read of {path}, which was {}", before.read);
        collected.changes.push(Printable(&line).to_string().into());
    }
}

fn stat(file: &File) -> io::Result<Statx> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(file.as_fd(), "", AtFlags::EMPTY_PATH, wanted)?)
}

impl Facts {
    fn of(stat: &Statx) -> Self {
        let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Self {
            bytes: stat.stx_size,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
            read: time(stat.stx_atime),
            born: born.then(|| time(stat.stx_btime)),
            mode: format!("{:o}", stat.stx_mode),
            user: stat.stx_uid,
            group: stat.stx_gid,
            links: stat.stx_nlink,
            inode: stat.stx_ino,
            device: format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor),
        }
    }
}

/// In seconds since 1970.
fn time(it: StatxTimestamp) -> String {
    format!("{}.{:09}", it.tv_sec, it.tv_nsec)
}

fn about(name: &str, path: &[u8], modified: Option<StatxTimestamp>, method: &str) -> About {
    let micros = |it: StatxTimestamp| {
        u64::try_from(it.tv_sec)
            .ok()?
            .checked_mul(1_000_000)?
            .checked_add(u64::from(it.tv_nsec) / 1_000)
    };
    About {
        name: name.into(),
        media_type: "application/octet-stream",
        locator: Printable(&String::from_utf8_lossy(path)).to_string().into(),
        method: method.into(),
        modified: modified.and_then(micros).map(Timestamp::from_micros),
    }
}

/// A name that no other file of the collection has, and that says which one it is.
fn artefact(number: usize, path: &[u8]) -> String {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let plain = name
        .iter()
        .take(NAME_BYTES_MAX)
        .map(|byte| match byte.to_ascii_lowercase() {
            byte @ (b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_') => char::from(byte),
            _ => '_',
        });
    format!("file-{:03}-{}", number + 1, plain.collect::<String>())
}

fn missing(what: &str) -> Failure {
    Failure::new(FailureKind::Unavailable, what)
}

fn of_walk(pattern: &Pattern, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => FailureKind::Denied,
        io::ErrorKind::InvalidInput => FailureKind::Invalid,
        _ => FailureKind::Unavailable,
    };
    Failure::new(kind, &format!("cannot look for {}: {error}", pattern.text()))
}

fn text<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    Text(bytes).serialize(to)
}
