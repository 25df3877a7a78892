//! The folder of a review: for its owner alone, because events are in it as they came.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use staunch_model::Printable;

use crate::exit::{Exit, Fault};

#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// What was written, by name.
    pub(super) files: Vec<String>,
}

impl Folder {
    /// Makes `dir`, which is not there or is empty, unless `force`.
    ///
    /// # Errors
    /// When there is something in it, or it cannot be made.
    pub(super) fn make(dir: &Path, force: bool) -> Result<Self, Fault> {
        let made = Self {
            dir: dir.to_owned(),
            files: Vec::new(),
        };
        make_dir(dir)?;
        let mut entries = fs::read_dir(dir).map_err(|error| failed("read", dir, &error))?;
        if !force && entries.next().is_some() {
            let what = format!("{} is not empty", Printable(&dir.display().to_string()));
            return Err(
                Fault::new(Exit::Failed, what).hint("name another with --output, or write into it with --force")
            );
        }
        Ok(made)
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
        file.write_all(bytes).map_err(|error| failed("write", &path, &error))?;
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

    /// Takes back a file that was written.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Fault> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        self.files.retain(|it| it != name);
        Ok(())
    }
}

fn make_dir(dir: &Path) -> Result<(), Fault> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed("make", dir, &error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Fault {
    Fault::doing(
        Exit::Failed,
        format!("cannot {what} {}", Printable(&path.display().to_string())),
        error,
    )
}
