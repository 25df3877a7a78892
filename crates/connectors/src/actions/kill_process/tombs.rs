//! What was ended, by whom: an empty file for each, whose name is the label, with `.begun` behind it until all of it is
//! held.
//!
//! A process that is not there any more says nothing of why, and the groups that it was in go with its service. So this
//! is written before anything is done, and is what a driver knows of its own acts afterwards.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::freeze_process::{Label, Purpose};

/// Files that are read in the directory; what Staunch holds at once is far below it.
const FILES_MAX: usize = 65_536;

/// The end of the name of one that is begun.
const BEGUN: &str = ".begun";

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is to be held. If it ends now, that is not our doing.
    Begun,
    /// All of it was held, and is told to end.
    Held,
}

/// The directory of the files.
#[derive(Clone, Debug)]
pub(super) struct Tombs(PathBuf);

impl Tombs {
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Every label, with how far it has come. None where there is no directory.
    pub(super) fn labels(&self) -> io::Result<BTreeMap<Label, Stage>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let mut labels = BTreeMap::new();
        for (count, entry) in entries.enumerate() {
            if count >= FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX} files in it")));
            }
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let (text, stage) = match name.strip_suffix(BEGUN) {
                Some(text) => (text, Stage::Begun),
                None => (name, Stage::Held),
            };
            if let Some(label) = Label::parse(text).filter(|it| it.purpose == Purpose::Kill) {
                let known = labels.entry(label).or_insert(stage);
                *known = (*known).max(stage);
            }
        }
        Ok(labels)
    }

    /// Writes down that it is begun, and returns when that is durable.
    pub(super) fn begin(&self, label: &Label) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(self.begun(label))?.sync_all()?;
        self.sync()?;
        // The directory itself may be new.
        self.0.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// Writes down that all of it is held, and returns when that is durable.
    pub(super) fn hold(&self, label: &Label) -> io::Result<()> {
        match fs::rename(self.begun(label), self.path(label)) {
            // It was held before.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path(label).exists() => Ok(()),
            renamed => renamed.and_then(|()| self.sync()),
        }
    }

    /// Removes one, unless it is not there, and returns when that is durable.
    pub(super) fn remove(&self, label: &Label) -> io::Result<()> {
        for path in [self.begun(label), self.path(label)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        if self.0.exists() { self.sync() } else { Ok(()) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    fn begun(&self, label: &Label) -> PathBuf {
        self.0.join(format!("{label}{BEGUN}"))
    }

    fn path(&self, label: &Label) -> PathBuf {
        self.0.join(label.to_string())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
