//! What was ended, by whom: an empty file for each, whose name is the label.
//!
//! A process that is not there any more says nothing of why, and the groups that it was in go with its service. So this is
//! written before anything is done, and is what a driver knows of its own acts afterwards.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::freeze_process::{Label, Purpose};

/// Files that are read in the directory; what Staunch holds at once is far below it.
const FILES_MAX: usize = 65_536;

/// The directory of the files.
#[derive(Clone, Debug)]
pub(super) struct Tombs(PathBuf);

impl Tombs {
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Every label. None where there is no directory.
    pub(super) fn labels(&self) -> io::Result<BTreeSet<Label>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut labels = BTreeSet::new();
        for (count, entry) in entries.enumerate() {
            if count >= FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX} files in it")));
            }
            let name = entry?.file_name();
            let label = name.to_str().and_then(Label::parse);
            labels.extend(label.filter(|it| it.purpose == Purpose::Kill));
        }
        Ok(labels)
    }

    /// Writes one down, and returns when that is durable.
    pub(super) fn write(&self, label: &Label) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(self.path(label))?.sync_all()?;
        self.sync()
    }

    /// Removes one, unless it is not there, and returns when that is durable.
    pub(super) fn remove(&self, label: &Label) -> io::Result<()> {
        match fs::remove_file(self.path(label)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    fn path(&self, label: &Label) -> PathBuf {
        self.0.join(label.to_string())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
