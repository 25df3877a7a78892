//! A wall clock that can be set, for the processes that are started with it: see `clock.c`.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The shim and the file with the shift.
pub(crate) struct Clock {
    directory: TempDir,
    shift: File,
}

impl Clock {
    /// Compiles the shim with the C compiler that the bundled SQLite needs too.
    pub(crate) fn new() -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let directory = tempfile::tempdir().map_err(failed)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/clock.c");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(directory.path().join("clock.so"))
            .arg(&source)
            .output()
            .map_err(|error| format!("cannot start cc: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let shift = File::create(directory.path().join("shift")).map_err(failed)?;
        let clock = Self { directory, shift };
        clock.set(0);
        Ok(clock)
    }

    /// What a process that is to have this clock is started with.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let path = |name: &str| self.directory.path().join(name).into_os_string();
        vec![
            ("LD_PRELOAD", path("clock.so")),
            ("STAUNCH_TORTURE_CLOCK", path("shift")),
        ]
    }

    /// Sets it to so many seconds after, or before, that of the machine.
    pub(crate) fn set(&self, seconds: i64) {
        let nanoseconds = seconds * 1_000_000_000;
        self.shift
            .write_all_at(&nanoseconds.to_ne_bytes(), 0)
            .expect("the file of the shift can be written");
    }

    /// How far a process that is started with it, and which says the time, is from this one; in seconds.
    pub(crate) fn seen(&self) -> Result<i64, String> {
        let said = Command::new("date")
            .arg("+%s")
            .envs(self.environment())
            .output()
            .map_err(|error| error.to_string())?;
        let said: i64 = String::from_utf8_lossy(&said.stdout)
            .trim()
            .parse()
            .map_err(|error| format!("date does not say the time: {error}"))?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(|error| error.to_string())?;
        Ok(said - i64::try_from(now.as_secs()).map_err(|error| error.to_string())?)
    }
}
