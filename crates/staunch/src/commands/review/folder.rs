//! The folder of a review: for its owner alone, because events are in it as they came.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use staunch_model::{IncidentId, Printable};

use crate::exit::{Exit, Fault};
use crate::files::{cannot_write, read_bounded};
use crate::output::warn;

/// What stands in the folder while a review is written into it. A review that was killed leaves it.
const CLAIM: &str = ".review-in-work";

/// What the folder holds, by name.
pub(super) const LIST: &str = "files.json";

/// The largest list, and the most names in it: a review writes some dozens.
const LIST_BYTES_MAX: u64 = 1 << 20;
const LISTED_MAX: usize = 1_000;

/// What a review wrote: who deletes something of it is told so by `check`.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    format: u32,
    incident: IncidentId,
    files: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// What was written, by name.
    pub(super) files: Vec<String>,
    /// Whether it is to be left as it was found, unless the review comes to its end.
    undo: Undo,
    /// Whether it is this review that has claimed the folder.
    is_claimed: bool,
}

/// What is taken back when the review does not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// All of it, and the folder.
    Folder,
    /// All that was written; the folder was there.
    Files,
    /// Nothing: an earlier review was written over.
    Nothing,
}

impl Folder {
    /// Makes `dir`, which is not there or is empty, unless `force`. Nobody else writes a review into it meanwhile.
    ///
    /// # Errors
    /// When there is something in it, or it cannot be made.
    pub(super) fn make(dir: &Path, force: bool) -> Result<Self, Fault> {
        let shown = dir.display().to_string();
        let shown = Printable(&shown);
        let is_made = make_dir(dir)?;
        if !dir.is_dir() {
            let fault = Fault::new(Exit::Usage, format!("{shown} is no directory"));
            return Err(fault.hint("name a folder that is not there, or an empty one, with --output"));
        }
        let mut made = Self {
            dir: dir.to_owned(),
            files: Vec::new(),
            undo: match (force, is_made) {
                (_, true) => Undo::Folder,
                (false, false) => Undo::Files,
                (true, false) => Undo::Nothing,
            },
            is_claimed: true,
        };
        let claim = made.path(CLAIM);
        if let Err(fault) = claimed(&claim, force) {
            (made.undo, made.is_claimed) = (Undo::Nothing, false);
            return Err(fault);
        }
        let others = || -> std::io::Result<bool> {
            for entry in fs::read_dir(dir)? {
                if entry?.file_name() != CLAIM {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // Only who has the claim knows that nobody is about to write there.
        if !force && others().map_err(|error| failed("read", dir, &error))? {
            let what = format!("{shown} is not empty");
            return Err(
                Fault::new(Exit::Failed, what).hint("name another with --output, or write into it with --force")
            );
        }
        Ok(made)
    }

    /// Keeps what was written.
    ///
    /// # Errors
    /// When the folder cannot be given free.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Fault> {
        let claim = self.path(CLAIM);
        fs::remove_dir(&claim).map_err(|error| failed("remove", &claim, &error))?;
        (self.undo, self.is_claimed) = (Undo::Nothing, false);
        Ok(std::mem::take(&mut self.files))
    }

    /// Writes the list of what was written, and of `last`, which is written after it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_list(&mut self, incident: IncidentId, last: &str) -> Result<(), Fault> {
        let mut files = self.files.clone();
        files.extend([LIST, last].map(str::to_owned));
        let listed = Listed {
            format: 1,
            incident,
            files,
        };
        let text = crate::output::json(&listed)?;
        self.write(LIST, format!("{text}\n").as_bytes())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes the file `name`, whose directory is made. A link in its place is replaced and not followed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.path(name);
        if let Some((dir, _)) = name.split_once('/') {
            make_dir(&self.path(dir))?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace", &path, &error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("make", &path, &error))?;
        if let Err(error) = file.write_all(bytes) {
            // What is left of it would be taken for all of it.
            return Err(match fs::remove_file(&path) {
                Ok(()) => failed("write", &path, &error),
                Err(_) => failed("write, and cannot remove the beginning of", &path, &error),
            });
        }
        if !self.files.iter().any(|it| it == name) {
            self.files.push(name.to_owned());
        }
        Ok(())
    }

    /// Removes the files of an earlier review in the directory `dir`, which are told by their names.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub(super) fn clear(&self, dir: &str, is_ours: &dyn Fn(&str) -> bool) -> Result<(), Fault> {
        let dir = self.path(dir);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| failed("list", &dir, &error))?,
        };
        for entry in entries {
            let path = entry.map_err(|error| failed("list", &dir, &error))?.path();
            if path.file_name().and_then(|it| it.to_str()).is_some_and(is_ours) {
                fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
            }
        }
        Ok(())
    }

    /// Takes back a file, if it was written.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Fault> {
        if !self.files.iter().any(|it| it == name) {
            return Ok(());
        }
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        self.files.retain(|it| it != name);
        Ok(())
    }
}

/// What a review wrote into `dir` and is not there any more, by name, and how much it wrote.
///
/// # Errors
/// Why that is not known.
pub(super) fn missing(dir: &Path) -> Result<(Vec<String>, usize), String> {
    let text = read_bounded(&dir.join(LIST), LIST_BYTES_MAX)
        .map_err(|error| format!("what the review wrote is not known, so neither is what is missing: {error}"))?;
    let listed: Listed =
        serde_json::from_str(&text).map_err(|error| format!("it is no list of what the review wrote: {error}"))?;
    let count = listed.files.len();
    if count > LISTED_MAX {
        return Err(format!(
            "it has {count} names, and a review writes {LISTED_MAX} at the most"
        ));
    }
    let is_there = |name: &String| {
        let is_inside = Path::new(name)
            .components()
            .all(|it| matches!(it, Component::Normal(_)));
        is_inside && dir.join(name).is_file()
    };
    Ok((listed.files.into_iter().filter(|name| !is_there(name)).collect(), count))
}

impl Drop for Folder {
    /// Takes back what no review has come of.
    fn drop(&mut self) {
        let claim = self.path(CLAIM);
        if self.undo != Undo::Nothing {
            let mut dirs: Vec<&str> = self.files.iter().filter_map(|it| Some(it.split_once('/')?.0)).collect();
            dirs.extend(MADE);
            let files = self.files.iter().map(|it| fs::remove_file(self.path(it)));
            let failed = files.filter_map(Result::err).next();
            for dir in dirs {
                // Most of them are not there.
                let _ = fs::remove_dir(self.path(dir));
            }
            let dir = self.dir.display().to_string();
            if let Some(error) = failed {
                warn(&format!(
                    "not all that was written into {} could be removed: {error}",
                    Printable(&dir)
                ));
            }
        }
        if self.is_claimed
            && let Err(error) = fs::remove_dir(&claim)
        {
            warn(&format!(
                "{} could not be removed: {error}",
                Printable(&claim.display().to_string())
            ));
        }
        if self.undo == Undo::Folder {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// The directories that a review may have in its folder.
const MADE: [&str; 3] = ["tests", "sigma", "changes"];

/// Claims the folder for one review.
fn claimed(claim: &Path, force: bool) -> Result<(), Fault> {
    match DirBuilder::new().mode(0o700).create(claim) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && !force => {
            let shown = claim.parent().unwrap_or(claim).display().to_string();
            let what = format!(
                "another review is being written into {}, or was broken off there",
                Printable(&shown)
            );
            Err(Fault::new(Exit::Failed, what).hint("name another with --output, or write into it with --force"))
        }
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed("make", claim, &error)),
        _ => Ok(()),
    }
}

/// Makes a directory. Says whether it was not there.
fn make_dir(dir: &Path) -> Result<bool, Fault> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let fault = failed("make", dir, &error);
            Err(match fault.exit {
                Exit::NotFound => fault.hint("name a folder in one that is there with --output"),
                _ => fault,
            })
        }
        made => Ok(made.is_ok()),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Fault {
    cannot_write(
        &format!("cannot {what} {}", Printable(&path.display().to_string())),
        error,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn of_two_at_once_one_writes_and_the_other_is_refused() {
        for is_there in [false, true] {
            let place = tempfile::tempdir().expect("a folder");
            let dir = place.path().join("review");
            if is_there {
                fs::create_dir(&dir).expect("our folder");
            }
            let all_have_made = Barrier::new(4);
            let written: Vec<(bool, bool)> = thread::scope(|scope| {
                let one = |_| {
                    scope.spawn(|| {
                        let made = Folder::make(&dir, false);
                        all_have_made.wait();
                        let is_made = made.is_ok();
                        let write = |mut it: Folder| it.write("a/b", b"x").and_then(|()| it.finish());
                        (is_made, made.and_then(write).is_ok())
                    })
                };
                let all: Vec<_> = (0..4).map(one).collect();
                all.into_iter().map(|it| it.join().expect("it ends")).collect()
            });
            let count = |it: (bool, bool)| written.iter().filter(|other| **other == it).count();
            assert_eq!((count((true, true)), count((false, false))), (1, 3), "{written:?}");
            assert_eq!(fs::read(dir.join("a/b")).expect("it is written"), b"x");
            let why = Folder::make(&dir, false).expect_err("there is a review").told();
            assert!(why.contains("is not empty"), "{why}");
            assert_eq!(
                fs::read_dir(&dir).expect("it is there").count(),
                1,
                "nothing else is left"
            );
            Folder::make(&dir, true)
                .expect("it is written over")
                .finish()
                .expect("it ends");
        }
    }

    #[test]
    fn what_does_not_come_to_its_end_leaves_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let dir = place.path().join("review");
        let mut folder = Folder::make(&dir, false).expect("it is made");
        folder.write("tests/a", b"x").expect("it is written");
        folder.write("b", b"x").expect("it is written");
        drop(folder);
        assert!(!dir.exists());
        // Of a folder that was there, what was written.
        fs::create_dir(&dir).expect("our folder");
        let mut folder = Folder::make(&dir, false).expect("it is empty");
        folder.write("b", b"x").expect("it is written");
        drop(folder);
        assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0);
        // What is no folder is told as that.
        let file = place.path().join("file");
        fs::write(&file, "x").expect("our folder");
        let fault = Folder::make(&file, false).expect_err("it is a file");
        assert_eq!(fault.exit, Exit::Usage);
        assert!(fault.advice().is_some_and(|it| it.contains("--output")), "{fault:?}");
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let fault = failed("write", &dir, &full);
        assert!(fault.exit == Exit::Busy && fault.advice().is_some_and(|it| it.contains("room")));
    }
}
