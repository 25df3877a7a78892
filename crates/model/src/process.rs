//! Processes as targets: what tells one from all others, and what is known of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process of this machine, told from every other that has had its number or will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the machine's first PID namespace counts.
    pub pid: u32,
    /// When it started, in ticks since the machine booted: field 22 of `/proc/PID/stat` (proc(5)). 0 when the process
    /// could not be told; nothing is done to it then.
    pub started: u64,
    /// The first 32 bits of the boot id of the machine (`/proc/sys/kernel/random/boot_id`): numbers and ticks begin
    /// anew with each boot. 0 together with `started`.
    pub boot: u32,
}

impl Process {
    pub(crate) const PREFIX: &str = "pid:";

    /// The process of which an event gives no more than the number.
    #[must_use]
    pub const fn unidentified(pid: u32) -> Self {
        Self {
            pid,
            started: 0,
            boot: 0,
        }
    }

    /// Whether it is told from others.
    #[must_use]
    pub const fn is_identified(self) -> bool {
        self.started != 0
    }

    /// The form that is shown, without the prefix.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some((pid, rest)) = text.split_once('@') else {
            return number(text).map(Self::unidentified);
        };
        let (started, boot) = rest.split_once('.')?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let boot = (boot.len() == 8 && boot.bytes().all(hex)).then(|| u32::from_str_radix(boot, 16).ok())??;
        let started = number(started).filter(|ticks| *ticks != 0)?;
        Some(Self {
            pid: number(pid)?,
            started,
            boot,
        })
    }
}

/// A number in the one way in which it is written.
fn number<N: std::str::FromStr + fmt::Display>(text: &str) -> Option<N> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok())?
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, started, boot } = self;
        if self.is_identified() {
            write!(f, "{}{pid}@{started}.{boot:08x}", Self::PREFIX)
        } else {
            write!(f, "{}{pid}", Self::PREFIX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    #[test]
    fn what_is_shown_is_read_back() {
        let known = Process {
            pid: 4242,
            started: 153_452,
            boot: 0x1f3c,
        };
        for process in [known, Process::unidentified(7)] {
            let target = Target::Process(process);
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        assert_eq!(Target::Process(known).to_string(), "pid:4242@153452.00001f3c");
        for text in [
            "pid:",
            "pid:-1",
            "pid:+1",
            "pid:01",
            "pid:4294967296",
            "pid:1@",
            "pid:1@2",
            "pid:1@0.00000001",
            "pid:1@2.0000000G",
            "pid:1@2.0000000A",
            "pid:1@2.1",
            "4242",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
