//! The processes below the supervisor.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Closes everything that was open when this process was started, but for its standard input, output and error.
pub(super) fn close_inherited() -> io::Result<()> {
    for number in open_numbers()? {
        if number > 2 {
            // The list itself is among them, and closed by now.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

fn open_numbers() -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}

/// Kills the process group of the job.
pub(super) fn kill_group(leader: u32) {
    let Ok(leader) = i32::try_from(leader) else { return };
    let leader = Pid::from_raw(leader);
    // Before it leads a group of its own there is none, and later it may have ended.
    let _ = killpg(leader, Signal::SIGKILL);
    let _ = kill(leader, Signal::SIGKILL);
}

/// Kills whatever descends from this process, until there is nothing. What is orphaned by that becomes its own child.
pub(super) fn end_all() -> io::Result<()> {
    loop {
        for child in children()? {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let own = Pid::this().as_raw();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name of a program may hold anything, also a bracket: the last one ends it.
        let rest = stat.iter().rposition(|byte| *byte == b')').map(|at| &stat[at + 1..]);
        let parent = rest.and_then(|rest| {
            std::str::from_utf8(rest)
                .ok()?
                .split_whitespace()
                .nth(1)?
                .parse::<i32>()
                .ok()
        });
        if parent == Some(own) {
            children.push(Pid::from_raw(pid));
        }
    }
    Ok(children)
}
