//! Keeps the memory of a long-running server close to what it uses.
//!
//! glibc gives each thread that allocates an arena of its own and seldom gives back what is freed there: with 100,000
//! leases that is 40 of 103 MiB. It also raises by itself the size from which memory is given back when it is freed.
//! One arena for all threads and a fixed size are settings that it reads when a process starts, and nowhere else, so
//! the server starts itself once more with them. What matches nothing allocates nothing, so no thread waits for another
//! on the hot path.

use std::env;
use std::ffi::CStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What glibc reads (mallopt(3)): the number of arenas, and from how many bytes on memory is mapped by itself and given
/// back. The sizes are those that it begins with; setting them keeps it from raising them.
const SETTINGS: [(&str, &str); 3] = [
    (ARENAS, "1"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
];
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Tells that this is the second start. glibc takes its own setting away from a program with file capabilities.
const STARTED_AGAIN: &str = "STAUNCH_STARTED_AGAIN";

/// What `ps` and `pgrep` find.
const PROCESS_NAME: &CStr = c"staunch";

/// Starts this program again in the same process with one arena, unless that was done or somebody has chosen a number.
///
/// Called before anything is opened. When it fails, the server runs as it is and takes more memory.
pub(crate) fn use_one_arena() {
    if env::var_os(STARTED_AGAIN).is_some() {
        // The kernel has named the process after the link, which is `exe`: nobody would find it by its name.
        if let Err(error) = nix::sys::prctl::set_name(PROCESS_NAME) {
            crate::output::say(&format!("this process cannot be named {PROCESS_NAME:?}: {error}"));
        }
    }
    if !cfg!(target_env = "gnu") || env::var_os(ARENAS).is_some() || env::var_os(STARTED_AGAIN).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let Some(name) = arguments.next() else { return };
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .envs(SETTINGS)
        .env(STARTED_AGAIN, "1")
        .exec();
    crate::output::say(&format!(
        "cannot start again with {ARENAS}=1, so more memory is used: {error}"
    ));
}
