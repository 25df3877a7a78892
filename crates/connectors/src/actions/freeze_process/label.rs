//! The label that says whose a group is, what for, and for which process: its name,
//! `staunch-<installation>-TX-<number>-<pid>-<started>-<boot>`, or `staunchkill-...` where the process is to be ended.
//!
//! Only the exact text that Staunch writes is a label of Staunch. Anything else is somebody else's, so that nothing is
//! ever removed by mistake.

use std::fmt;

use staunch_model::{InstallationId, Process, TransactionId};

/// What a group is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// What is in it is frozen, and goes on one day.
    Freeze,
    /// What is in it is frozen, and then ended.
    Kill,
}

impl Purpose {
    /// The first part of the label.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Freeze => "staunch",
            Self::Kill => "staunchkill",
        }
    }

    /// What is done, in the words of messages.
    pub(in crate::actions) const fn verb(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Kill => "kill",
        }
    }
}

/// Whose a group is, and for which process it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// What the group is made for.
    pub purpose: Purpose,
    /// Which installation of Staunch.
    pub installation: InstallationId,
    /// Which of its transactions.
    pub transaction: TransactionId,
    /// The process that is the target. Groups for those that descend from it have the same label.
    pub process: Process,
}

impl Label {
    /// Reads a label; `None` when it is not exactly one of Staunch's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(8, '-').collect();
        let [prefix, installation, transaction, number, pid, started, boot] = parts.as_slice() else {
            return None;
        };
        let purposes = [Purpose::Freeze, Purpose::Kill];
        let purpose = purposes.into_iter().find(|it| it.prefix() == *prefix)?;
        let label = Self {
            purpose,
            installation: installation.parse().ok()?,
            transaction: format!("{transaction}-{number}").parse().ok()?,
            process: Process {
                pid: pid.parse().ok()?,
                started: started.parse().ok()?,
                boot: u32::from_str_radix(boot, 16).ok()?,
            },
        };
        // Numbers and ids are read leniently (`tx-007`, `+1`), labels are not.
        (label.process.is_identified() && label.to_string() == text).then_some(label)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { pid, started, boot } = self.process;
        write!(
            f,
            "{}-{}-{}-{pid}-{started}-{boot:08x}",
            self.purpose.prefix(),
            self.installation,
            self.transaction
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_what_it_writes_and_nothing_else() {
        let label = Label {
            purpose: Purpose::Freeze,
            installation: InstallationId([0xab, 1, 2, 3, 4, 5, 6, 7]),
            transaction: TransactionId(17),
            process: Process {
                pid: 4242,
                started: 153_452,
                boot: 0x1f3c,
            },
        };
        let text = "staunch-ab01020304050607-TX-17-4242-153452-00001f3c";
        assert_eq!(label.to_string(), text);
        assert_eq!(Label::parse(text), Some(label));
        let kill = Label {
            purpose: Purpose::Kill,
            ..label
        };
        assert_eq!(Label::parse(&text.replace("staunch-", "staunchkill-")), Some(kill));
        for bad in [
            "",
            "staunch",
            "sshd.service",
            "staunch-ab01020304050607-tx-17-4242-153452-00001f3c",
            "staunch-ab01020304050607-TX-017-4242-153452-00001f3c",
            "staunch-AB01020304050607-TX-17-4242-153452-00001f3c",
            "staunch-ab01020304050607-TX-17-+4242-153452-00001f3c",
            "staunch-ab01020304050607-TX-17-4242-0-00001f3c",
            "staunch-ab01020304050607-TX-17-4242-153452-1f3c",
            "staunch-ab01020304050607-TX-17-4242-153452-00001f3c-",
            "staunch-ab01020304050607-TX-17-4242-153452-00001f3c ",
            "staunch:ab01020304050607:TX-17",
            "staunchfreeze-ab01020304050607-TX-17-4242-153452-00001f3c",
        ] {
            assert_eq!(Label::parse(bad), None, "{bad}");
        }
    }
}
