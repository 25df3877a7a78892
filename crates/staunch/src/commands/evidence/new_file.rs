//! A file that is handed over: it has its name when it is whole, and never before.
//!
//! # Guarantees
//! - What is written stands beside the name, hidden, as `.NAME.RANDOM.part`. It gets the name when it is durable.
//! - A name that somebody else has by then is not taken from them.
//! - What a process that was killed has left stands in nobody's way.
//! - A file that is whole is never written to again. Where it has what is to be handed over, it has been.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use staunch_model::{Printable, Sha256Hash};
use tempfile::NamedTempFile;

use super::{FULL, disk, unwritten};
use crate::digest::sha256_of;
use crate::exit::{Exit, Fault};
use crate::files::open_regular;
use crate::output::say;
use crate::whole;

/// The longest name that another is made of; file systems take 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// A file that is handed over. One that is not whole does not have its name.
pub(super) struct NewFile {
    /// What it is called when it is whole.
    path: PathBuf,
    /// What it is until then.
    part: Option<NamedTempFile>,
    pub(super) file: File,
}

impl NewFile {
    /// Makes it, for its owner alone, where there is none.
    pub(super) fn make(path: &Path) -> Result<Self, Fault> {
        let made = match path.symlink_metadata() {
            // It would be found out when all is written.
            _ if path.as_os_str().as_bytes().ends_with(b"/") => Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => part_of(path),
            Err(error) => Err(error),
        };
        let (part, file) = made.map_err(|error| unmade(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            part: Some(part),
            file,
        })
    }

    /// All of it is written: makes it durable, and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        let synced = self.file.sync_all();
        synced.map_err(|error| unwritten(&self.path, &error))?;
        if let Some(part) = self.part.take()
            && let Err(refused) = part.persist_noclobber(&self.path)
        {
            self.part = Some(refused.file);
            return Err(unmade(&self.path, &refused.error));
        }
        whole::sync_folder_of(&self.path).map_err(|error| unwritten(&self.path, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let Some(part) = self.part.take() else { return };
        let shown = part.path().display().to_string();
        if let Err(error) = part.close() {
            say(&format!(
                "{} is not whole, and cannot be removed: {error}",
                Printable(&shown)
            ));
        }
    }
}

/// Whether `path` is a file that has the bytes with this hash already, as an earlier try leaves it; then it is made
/// durable. What is anything else is nobody's business here, a link too.
pub(super) fn has_already(path: &Path, sha256: Sha256Hash) -> Result<bool, Fault> {
    let is_file = path.symlink_metadata().is_ok_and(|about| about.is_file());
    if !is_file || path.as_os_str().as_bytes().ends_with(b"/") {
        return Ok(false);
    }
    let look = || {
        let file = open_regular(path)?;
        if sha256_of(&file)? != sha256 {
            return Ok(false);
        }
        file.sync_all()?;
        whole::sync_folder_of(path).map(|()| true)
    };
    look().map_err(|error| {
        let shown = path.display().to_string();
        let what = format!("{} is there, and cannot be compared", Printable(&shown));
        Fault::doing(disk(&error), what, &error).hint("name a file that is not there with --output")
    })
}

/// A new file beside `path`.
fn part_of(path: &Path) -> io::Result<(NamedTempFile, File)> {
    let mut prefix = OsString::from(".");
    let name = path.file_name().filter(|it| it.as_bytes().len() <= NAME_BYTES_MAX);
    prefix.push(name.unwrap_or("evidence".as_ref()));
    prefix.push(".");
    let part = whole::part_beside(path, &prefix, whole::FOR_OWNER)?;
    let file = part.as_file().try_clone()?;
    Ok((part, file))
}

/// It cannot be made, or cannot have its name.
fn unmade(path: &Path, error: &io::Error) -> Fault {
    let shown = path.display().to_string();
    let what = format!("cannot make {}", Printable(&shown));
    Fault::doing(disk(error), what, error).hint(match error.kind() {
        io::ErrorKind::AlreadyExists => "name a file that is not there with --output",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "name a file in a folder that is there",
        _ if disk(error) == Exit::Busy => FULL,
        _ => "name a file with --output that you may write",
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("it is there");
        let mut names: Vec<String> = entries
            .map(|it| it.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("it");
        let new = NewFile::make(&path).expect("there is none");
        (&new.file).write_all(b"half").expect("there is room");
        assert!(!path.exists());
        drop(new);
        assert_eq!(names(dir.path()), [""; 0], "nothing is left behind");
        let new = NewFile::make(&path).expect("there is none");
        (&new.file).write_all(b"whole").expect("there is room");
        new.finish().expect("nobody has the name");
        assert_eq!(names(dir.path()), ["it"]);
        assert_eq!(fs::read(&path).expect("it is there"), b"whole");
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
        let again = NewFile::make(&path).err().expect("it is there").render(false, false);
        assert!(again.contains("name a file that is not there"), "{again}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["new/", "new/it"] {
            let made = NewFile::make(&dir.path().join(name)).err();
            let fault = made.expect("there is no such folder").render(false, false);
            assert!(fault.contains("name a file in a folder that is there"), "{fault}");
        }
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn what_a_killed_process_has_left_stands_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(255);
        for name in ["it", &long] {
            let path = dir.path().join(name);
            // Nothing of it is cleared away.
            let killed = NewFile::make(&path).expect("there is none");
            (&killed.file).write_all(b"half").expect("there is room");
            std::mem::forget(killed);
            let new = NewFile::make(&path).expect("there is none");
            (&new.file).write_all(b"whole").expect("there is room");
            new.finish().expect("nobody has the name");
            assert_eq!(fs::read(&path).expect("it is there"), b"whole");
        }
    }

    #[test]
    fn a_file_that_has_the_bytes_is_told_from_anything_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("it");
        let has = |path: &Path, bytes: &[u8]| has_already(path, Sha256Hash::of(bytes)).expect("it can be read");
        assert!(!has(&path, b""), "there is none");
        fs::write(&path, b"whole").expect("it is our directory");
        assert!(has(&path, b"whole"));
        assert!(!has(&path, b"who") && !has(&path, b"whole and more"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("it is our directory");
        assert!(!has(&link, b"whole"), "it may lead elsewhere by the next time");
        assert!(!has(dir.path(), b""));
    }

    #[test]
    fn of_two_at_once_the_one_that_is_whole_first_has_the_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("it");
        let [first, second] = [b"first", b"other"].map(|text| {
            let new = NewFile::make(&path).expect("there is none");
            (&new.file).write_all(text).expect("there is room");
            new
        });
        second.finish().expect("nobody has the name");
        let fault = first.finish().expect_err("somebody has the name");
        assert!(fault.render(false, false).contains("name a file that is not there"));
        assert_eq!(fs::read(&path).expect("it is there"), b"other");
        assert_eq!(names(dir.path()), ["it"], "nothing is left behind");
    }
}
