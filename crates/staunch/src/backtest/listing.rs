//! Which files of events a person means who names files and directories.
//!
//! Never opens any of them, and passes over nothing in silence: what is skipped has a name.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::Printable;

use crate::files::is_missing;

/// Skipped files that are named; further ones are only counted.
const NAMED_MAX: usize = 5;

/// What the name of a file of events ends with, before rotation and packing have put something behind it.
const ENDINGS: [&str; 3] = [".ndjson", ".jsonl", ".json"];

/// The files of events, and what is none.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) skipped: Skipped,
    /// Links in directories that lead nowhere, safe to show.
    pub(crate) absent: Vec<String>,
}

/// What was found in directories and is no file of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) count: u64,
    /// The first of them, safe to show.
    pub(crate) first: Vec<String>,
}

impl Skipped {
    /// What is said of them; `None` when there is nothing to say.
    pub(crate) fn words(&self) -> Option<String> {
        let files = if self.count == 1 { "file" } else { "files" };
        let more = self.count - self.first.len() as u64;
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        (self.count > 0).then(|| format!("skipped {} {files}: {}{more}", self.count, self.first.join(", ")))
    }
}

/// The files that `paths` mean: a directory means the files of events in it, by name.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn listing(paths: &[PathBuf]) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for path in paths {
        if path.is_dir() {
            let mut found = fs::read_dir(path)?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()?;
            found.sort();
            found.into_iter().for_each(|path| listing.sort(path));
        } else {
            listing.files.push(path.clone());
        }
    }
    Ok(listing)
}

impl Listing {
    /// Puts `path`, which was found in a directory, where it belongs.
    fn sort(&mut self, path: PathBuf) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let what = match fs::metadata(&path) {
            Ok(it) if it.is_dir() => " (a directory)",
            _ if !is_of_events(&name) => "",
            Ok(it) if !it.is_file() => " (no regular file)",
            Err(error) if is_missing(&error) => {
                self.absent.push(Printable(&path.display().to_string()).to_string());
                return;
            }
            // What else may be wrong with it shows when it is read.
            Ok(_) | Err(_) => {
                self.files.push(path);
                return;
            }
        };
        self.skipped.count += 1;
        if self.skipped.first.len() < NAMED_MAX {
            self.skipped.first.push(format!("{}{what}", Printable(&name)));
        }
    }
}

/// Whether a file of this name holds events: `eve.json`, also rotated, as `eve.json.1` or `eve.json-20260301`, and
/// packed after that.
fn is_of_events(name: &str) -> bool {
    let name = [".gz", ".zst"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let rotated = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = match rotated.strip_suffix(['.', '-']) {
        Some(before) if rotated.len() < name.len() => before,
        _ => name,
    };
    ENDINGS.iter().any(|end| name.ends_with(end))
}

/// The first of `files` that was named before and can be read only once: stdin, or a pipe under any of its names.
pub(crate) fn named_twice(files: &[PathBuf]) -> Option<&PathBuf> {
    let mut seen = BTreeSet::new();
    files
        .iter()
        .find(|path| read_once(path).is_some_and(|it| !seen.insert(it)))
}

/// The device and number of what is at `path` when it can be read only once; `None` for what can be opened again.
fn read_once(path: &Path) -> Option<(u64, u64)> {
    let is_stdin = path == Path::new("-");
    match fs::metadata(if is_stdin { Path::new("/dev/stdin") } else { path }) {
        Ok(it) if is_stdin || !it.is_file() => Some((it.dev(), it.ino())),
        Err(_) if is_stdin => Some((0, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_and_packed_files_keep_their_name() {
        for name in [
            "eve.json",
            "eve.json.1",
            "eve.json.10.gz",
            "eve.json-20260301",
            "eve.json-20260301.zst",
            "suricata-20260301T120000.000000Z.ndjson.zst",
            "a.jsonl.gz",
            ".json",
        ] {
            assert!(is_of_events(name), "{name}");
        }
        for name in [
            "eve.json1",
            "eve.json.gz.1",
            "eve.json.old",
            "eve.1",
            "7",
            "fast.log",
            "json",
            "",
        ] {
            assert!(!is_of_events(name), "{name}");
        }
    }

    #[test]
    fn many_skipped_files_are_counted() {
        let mut listing = Listing::default();
        assert_eq!(listing.skipped.words(), None);
        for n in 0..7 {
            listing.sort(format!("/nowhere/{n}.txt").into());
        }
        assert_eq!(
            listing.skipped.words().as_deref(),
            Some("skipped 7 files: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more")
        );
    }
}
