//! One process behind an open directory of `/proc`: when it has ended nothing can be read through it, also when its
//! number goes to another one.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};

use crate::proc::{Stat, is_gone};

/// Bytes of `stat`; it has about 300.
const STAT_BYTES_MAX: usize = 4 << 10;

/// Bytes that are asked for at once. Most files have fewer, and each further call makes the kernel write the file anew.
const READ_BYTES: usize = 8 << 10;

/// An open directory of a process, and what it was when it was opened.
#[derive(Debug)]
pub(super) struct ProcessDir {
    directory: OwnedFd,
    pub(super) stat: Stat,
    pub(super) name: Vec<u8>,
}

impl ProcessDir {
    /// Opens that of `pid`; `None` when there is none with this number.
    pub(super) fn open(proc: &Path, pid: u32) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(proc.join(pid.to_string()), flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(error) if is_gone(&error.into()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = match read_in(&directory, "stat", STAT_BYTES_MAX) {
            Ok((text, _)) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = Stat::parse(&text).filter(|it| it.pid == pid);
        let name = Stat::name(&text).map(<[u8]>::to_vec);
        match (stat, name) {
            (Some(stat), Some(name)) => Ok(Some(Self { directory, stat, name })),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not of the form of proc_pid_stat(5)",
            )),
        }
    }

    /// The beginning of a file, and whether that is not all of it.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> io::Result<(Vec<u8>, bool)> {
        read_in(&self.directory, name, bytes_max)
    }

    /// Where a link leads, as the kernel writes it.
    pub(super) fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.directory, name, Vec::new())?.into_bytes())
    }

    /// Opens what is behind a link, without changing when it was last read where that is permitted. The second value
    /// says whether it is so.
    pub(super) fn open_target(&self, name: &str) -> io::Result<(File, bool)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            Ok(file) => Ok((file.into(), true)),
            Err(rustix::io::Errno::PERM) => {
                let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
                Ok((file.into(), false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is behind a link, without opening it.
    pub(super) fn target(&self, name: &str) -> io::Result<Statx> {
        Ok(rustix::fs::statx(
            &self.directory,
            name,
            AtFlags::empty(),
            StatxFlags::BASIC_STATS,
        )?)
    }

    /// The names in a directory that are numbers, at most `max`, and whether there are more.
    pub(super) fn numbers(&self, name: &str, max: usize) -> io::Result<(Vec<u32>, bool)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::new(directory)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().ok().and_then(|it| it.parse().ok()) else {
                continue;
            };
            if found.len() == max {
                return Ok((found, true));
            }
            found.push(number);
        }
        Ok((found, false))
    }
}

fn read_in(directory: &OwnedFd, name: &str, bytes_max: usize) -> io::Result<(Vec<u8>, bool)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    File::from(file).take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    Ok((bytes, is_cut))
}
