//! Where the tests run: tests of kernel state need a network namespace that they may change.
//!
//! Never changes the machine's own namespaces.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell;

/// Options that give `unshare` (util-linux) a namespace in which any user is root.
const APART: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];

/// The loopback interface of a new namespace is down; servers under test listen on it.
const LOOPBACK_THEN: &str = "ip link set lo up && exec \"$@\"";

/// Settings with which a kernel forbids user namespaces, and the value that does.
const FORBIDDING: [(&str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ("user/max_user_namespaces", "0"),
];

/// Where the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the namespaces of this process.
    Here,
    /// In a user and network namespace of their own.
    Apart,
}

impl Place {
    /// Finds the best place this machine allows, and says which when it is not the ordinary one.
    pub(super) fn choose() -> Self {
        if !shell::is_installed("unshare") {
            eprintln!("note: `unshare` of util-linux is missing, so the tests run with the rights of this user only");
            return Self::Here;
        }
        if try_unshare(&["--net"]).is_ok() {
            return Self::Here;
        }
        if !shell::is_installed("ip") {
            eprintln!("note: `ip` of iproute2 is missing, so the tests run without a network namespace of their own");
            return Self::Here;
        }
        match try_unshare(&APART) {
            Ok(()) => {
                eprintln!("note: this user may not make network namespaces; the tests run in a user namespace");
                Self::Apart
            }
            Err(why) => {
                eprintln!("note: this kernel or container forbids namespaces; tests that need one will say so");
                eprintln!("      {why}");
                for (setting, value) in FORBIDDING {
                    if fs::read_to_string(Path::new("/proc/sys").join(setting)).is_ok_and(|it| it.trim() == value) {
                        eprintln!("      {} is {value}", setting.replace('/', "."));
                    }
                }
                eprintln!("      hint: run as root, or give the container CAP_SYS_ADMIN and CAP_NET_ADMIN");
                Self::Here
            }
        }
    }

    /// True when the tests have no network but their own.
    pub(super) fn is_apart(self) -> bool {
        self == Self::Apart
    }

    /// Cargo with `arguments`, in this place.
    pub(super) fn cargo(self, root: &Path, arguments: &[String]) -> Command {
        let mut cargo = shell::cargo(root);
        match self {
            Self::Here => {
                cargo.args(arguments);
                cargo
            }
            Self::Apart => {
                let mut command = shell::program("unshare");
                command
                    .current_dir(root)
                    .args(APART)
                    .args(["--", "sh", "-c", LOOPBACK_THEN, "sh"]);
                command
                    .arg(cargo.get_program())
                    .args(arguments)
                    .env("CARGO_NET_OFFLINE", "true");
                command
            }
        }
    }
}

fn try_unshare(options: &[&str]) -> Result<(), String> {
    match shell::capture(shell::program("unshare").args(options).args(["--", "true"])) {
        Ok(captured) if captured.success => Ok(()),
        Ok(captured) => Err(captured.text.trim().to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}
