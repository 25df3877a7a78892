//! Whether this machine was started anew since a server of this data directory last ran on it.
//!
//! Never takes a data directory without a note for one of another boot: what was in force there may have been lifted
//! since.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use staunch_model::ActionKind;
use staunch_runtime::Handle;

use crate::config::Config;
use crate::exit::Fault;
use crate::files::cannot_write;
use crate::whole;

/// What the kernel calls this boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The pause between two looks whether there was a sweep.
const LOOK: Duration = Duration::from_millis(50);

/// The pause between two looks whether the note is there still.
const LOOK_FOR_NOTE: Duration = Duration::from_secs(1);

/// The actions whose containments are in tables of the kernel, which begin empty.
const IN_KERNEL: [ActionKind; 3] = [ActionKind::BlockIp, ActionKind::RateLimitIp, ActionKind::IsolateHost];

/// This machine, so that a data directory that was copied to another one is not taken for one of an earlier boot.
const MACHINE: &str = "/etc/machine-id";

/// The kinds of action of which nothing is left.
pub(crate) fn lost(config: &Config) -> Vec<ActionKind> {
    let is_another = || {
        let noted = fs::read_to_string(config.boot_file()).ok()?;
        let (boot, machine) = noted.trim_end().split_once('\n')?;
        let is_here = fs::read_to_string(MACHINE).ok()?.trim() == machine;
        Some(is_here && fs::read_to_string(BOOT).ok()?.trim() != boot)
    };
    if is_another().unwrap_or(false) {
        IN_KERNEL.to_vec()
    } else {
        Vec::new()
    }
}

/// Notes which boot this is, once the first sweep has looked what is in place: before, a server that dies leaves what
/// it found, and the next one finds the same. Notes it anew, when two sweeps have looked since, after somebody has
/// lifted everything beside this server and removed the note: what is contained from then on is put back too.
pub(crate) fn note_after_a_sweep(config: &Config, handle: Handle) {
    let file = config.boot_file();
    let note = move || {
        if wait_for_sweep(&handle).is_none() {
            return;
        }
        loop {
            if let Err(error) = write(&file) {
                tracing::warn!(%error, "which boot this is cannot be noted: what is in force is not put back after the next one");
                return;
            }
            while file.exists() {
                thread::sleep(LOOK_FOR_NOTE);
                // It has stopped.
                if handle.query(|_| ()).is_err() {
                    return;
                }
            }
            // The first of them may have looked before it was removed.
            if wait_for_sweep(&handle).and_then(|()| wait_for_sweep(&handle)).is_none() {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("boot".into()).spawn(note) {
        tracing::warn!(%error, "which boot this is is not noted");
    }
}

/// Waits for the end of a sweep; `None` when the engine has stopped.
fn wait_for_sweep(handle: &Handle) -> Option<()> {
    let begun = handle.now();
    loop {
        let swept = handle.query(move |state| state.swept_at.values().any(|at| *at >= begun));
        if swept.ok()? {
            return Some(());
        }
        thread::sleep(LOOK);
    }
}

fn write(file: &Path) -> io::Result<()> {
    let read =
        |path: &str| fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")));
    let (boot, machine) = (read(BOOT)?, read(MACHINE)?);
    whole::replace(
        file,
        &format!("{}\n{}\n", boot.trim(), machine.trim()),
        whole::FOR_OWNER,
    )
}

/// Forgets it: what was lifted without a server is not put back.
///
/// # Errors
/// When the note cannot be removed.
pub(crate) fn forget(config: &Config) -> Result<(), Fault> {
    match fs::remove_file(config.boot_file()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let what = "all is lifted, and it cannot be noted that nothing is to be put back when this machine starts";
            Err(cannot_write(what, &error).hint("do it as the user of the server, or as root"))
        }
        _ => Ok(()),
    }
}
