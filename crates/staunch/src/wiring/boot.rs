//! Whether this machine was started anew since a server of this data directory last ran on it.
//!
//! Never takes a data directory without a note for one of another boot: what was in force there may have been lifted
//! since.

use std::fs;
use std::io;

use staunch_model::ActionKind;

use crate::config::Config;
use crate::exit::Fault;
use crate::files::cannot_write;
use crate::whole;

/// What the kernel calls this boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The actions whose containments are in tables of the kernel, which begin empty.
const IN_KERNEL: [ActionKind; 3] = [ActionKind::BlockIp, ActionKind::RateLimitIp, ActionKind::IsolateHost];

/// The kinds of action of which nothing is left.
pub(crate) fn lost(config: &Config) -> Vec<ActionKind> {
    let noted = fs::read_to_string(config.boot_file());
    match (noted, fs::read_to_string(BOOT)) {
        (Ok(noted), Ok(here)) if noted.trim() != here.trim() => IN_KERNEL.to_vec(),
        _ => Vec::new(),
    }
}

/// Notes which boot this is. Without the note a start of the machine looks as if somebody had removed everything.
pub(crate) fn note(config: &Config) {
    let note = || whole::replace(&config.boot_file(), &fs::read_to_string(BOOT)?, whole::FOR_OWNER);
    if let Err(error) = note() {
        tracing::warn!(%error, "which boot this is cannot be noted: what is in force is not put back after the next one");
    }
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
