//! The small disk under the data directory, and what can befall it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

/// Room for ten segments, snapshots and the index.
const BYTES: u64 = 96 << 20;

/// A file system of its own, in the mount namespace of this thread.
pub(crate) struct Volume {
    at: PathBuf,
    image: PathBuf,
    /// The name of the loop device; `None` for a file system in memory.
    device: Option<String>,
}

impl Volume {
    /// Makes one and mounts it at `at`. Without a loop device it is one in memory.
    pub(crate) fn new(at: &Path, image: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let mut volume = Self {
            at: at.to_owned(),
            image: image.to_owned(),
            device: None,
        };
        let file = fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(BYTES).map_err(|error| error.to_string())?;
        let made = run("mkfs.ext4", &["-q", "-F", "-m0", &image.display().to_string()]).and_then(|()| volume.mount());
        if let Err(error) = made {
            eprintln!("note: a file system in memory, because there is no ext4 on a loop device: {error}");
            mount(
                Some("tmpfs"),
                at,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(format!("size={BYTES},mode=700").as_str()),
            )
            .map_err(|error| format!("cannot mount a tmpfs: {error}"))?;
        }
        Ok(volume)
    }

    fn mount(&mut self) -> Result<(), String> {
        let (image, at) = (self.image.display().to_string(), self.at.display().to_string());
        run("mount", &["-o", "loop,errors=remount-ro", &image, &at])?;
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").map_err(|error| error.to_string())?;
        let line = mounts.lines().rev().find(|line| line.contains(&format!(" {at} ")));
        let device = line.and_then(|line| line.split_once(" - ")?.1.split(' ').nth(1));
        self.device = device.and_then(|it| it.strip_prefix("/dev/")).map(str::to_owned);
        self.device
            .as_ref()
            .map(drop)
            .ok_or("its device is not found".to_owned())
    }

    /// What it is, for the report.
    pub(crate) fn kind(&self) -> &'static str {
        if self.device.is_some() {
            "ext4 on a loop device"
        } else {
            "tmpfs"
        }
    }

    pub(crate) fn is_real(&self) -> bool {
        self.device.is_some()
    }

    /// How many bytes of a hundred are taken.
    pub(crate) fn used_percent(&self) -> u64 {
        statvfs(&self.at).map_or(100, |it| {
            100 - it.blocks_available().saturating_mul(100) / it.blocks().max(1)
        })
    }

    /// Takes all the room there is, until what is returned is dropped.
    pub(crate) fn fill(&self) -> Filler {
        let path = self.at.join("filler");
        if let Ok(file) = fs::File::create(&path) {
            let mut offset = 0;
            for block in [vec![1; 1 << 20], vec![1; 4096]] {
                while let Ok(written) = file.write_at(&block, offset) {
                    offset += written as u64;
                    if written < block.len() {
                        break;
                    }
                }
            }
        }
        Filler(path)
    }

    /// Lets the file system meet an error, upon which it takes no more writes.
    pub(crate) fn break_it(&self) {
        let device = self.device.as_deref().expect("only asked of a real one");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(&trigger, "torture").unwrap_or_else(|error| panic!("{trigger}: {error}"));
    }

    /// Unmounts it, has it checked, and mounts it again.
    pub(crate) fn mend(&mut self) -> Result<(), String> {
        umount2(&self.at, MntFlags::empty()).map_err(|error| format!("cannot unmount: {error}"))?;
        // 1 means that it has corrected something, which is what it is for.
        let check = Command::new("e2fsck").arg("-p").arg(&self.image).output();
        match check {
            Ok(output) if output.status.code().is_some_and(|code| code <= 1) => self.mount(),
            other => Err(format!("e2fsck: {other:?}")),
        }
    }

    /// Takes no writes while `yes`. Nobody may have a file open for writing.
    pub(crate) fn read_only(&self, yes: bool) {
        let none: Option<&str> = None;
        let mut flags = MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, yes);
        mount(none, &self.at, none, flags, none).unwrap_or_else(|error| panic!("cannot remount: {error}"));
    }

    /// Lets every write hang, until what is returned is dropped.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["-f", &self.at.display().to_string()]).expect("a mounted file system can be frozen");
        Frozen(self)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The namespace takes with it what this leaves.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        drop(fs::remove_file(&self.image));
    }
}

/// A file that takes all room.
pub(crate) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// A file system whose writes hang.
pub(crate) struct Frozen<'a>(&'a Volume);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = run("fsfreeze", &["-u", &self.0.at.display().to_string()]) {
            eprintln!("note: {error}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
