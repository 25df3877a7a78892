//! Makes the files of handling logs, for whom the folder belongs to.
//!
//! Never follows a link, and never gives away what may be somebody else's: the superuser appends here.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};

use nix::unistd::Uid;
use rustix::fs::{Dir, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::{HANDLING, invalid};

/// Whom a folder of evidence belongs to. Everything below it is reached from its descriptor, and nothing is given away
/// whose name may lead elsewhere by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    pub(super) fn of(folder: &File) -> io::Result<Self> {
        let about = folder.metadata()?;
        Ok(Self {
            uid: about.uid(),
            gid: about.gid(),
        })
    }

    /// Whether something is of the owner of the folder, or of whoever runs this.
    fn is_ours(self, uid: u32) -> bool {
        uid == self.uid || uid == Uid::effective().as_raw()
    }

    /// The directory of the logs, which is made when it is not there.
    pub(super) fn directory(self, folder: &File) -> io::Result<File> {
        let is_new = match mkdirat(folder, HANDLING, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = open_directory(folder)?;
        if !self.is_ours(dir.metadata()?.uid()) {
            return Err(invalid("the directory of the handling log is somebody else's"));
        }
        // One that has something in it was put in the place of ours, and is not given away.
        if is_empty(&dir)? {
            self.give(&dir)?;
        }
        if is_new {
            folder.sync_all()?;
        }
        Ok(dir)
    }

    /// A log to be appended to, and whether it was made by this.
    pub(super) fn log(self, dir: &File, name: &str) -> io::Result<(File, bool)> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let new = openat(
            dir,
            name,
            flags | OFlags::CREATE | OFlags::EXCL,
            Mode::RUSR | Mode::WUSR,
        );
        let (file, is_new) = match new {
            Err(Errno::EXIST) => (File::from(openat(dir, name, flags, Mode::empty())?), false),
            new => (File::from(new?), true),
        };
        let about = file.metadata()?;
        // Another name of the same file may be anywhere.
        if !about.is_file() || about.nlink() != 1 || !self.is_ours(about.uid()) {
            return Err(invalid("it is no plain file of one name that belongs to the folder"));
        }
        // A crash may have come before it was given.
        if is_new || about.len() == 0 {
            self.give(&file)?;
        }
        Ok((file, is_new))
    }

    /// Gives what the superuser has made to the owner of the folder.
    fn give(self, made: &File) -> io::Result<()> {
        let about = made.metadata()?;
        if (about.uid(), about.gid()) == (self.uid, self.gid) || about.uid() != 0 {
            return Ok(());
        }
        fchown(made, Some(self.uid), Some(self.gid))
    }
}

/// Opens the directory of the logs itself, and nothing that a link of its name leads to.
pub(super) fn open_directory(folder: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, HANDLING, flags, Mode::empty())?.into())
}

fn is_empty(dir: &File) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
