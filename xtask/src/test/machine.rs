//! What the tests need of the machine besides a Rust toolchain.
//!
//! Installs packages only as root, only with apt-get, and only what is missing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shell;

/// Something the tests need, and the Debian package that has it.
struct Need {
    package: &'static str,
    what_for: &'static str,
    is_there: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        package: "nftables",
        what_for: "reads back what the tests put into the kernel",
        is_there: has_nft,
    },
    Need {
        package: "iproute2",
        what_for: "sets up interfaces of test namespaces",
        is_there: has_ip,
    },
    Need {
        package: "conntrack",
        what_for: "reads back the connections that are tracked",
        is_there: has_conntrack,
    },
    Need {
        package: "unbound",
        what_for: "is the resolver that domains are denied by",
        is_there: has_unbound,
    },
    Need {
        package: "gcc",
        what_for: "compiles the bundled SQLite",
        is_there: has_compiler,
    },
    Need {
        package: "make",
        what_for: "compiles the allocator",
        is_there: has_make,
    },
    Need {
        package: "libc6-dev",
        what_for: "compiles the bundled SQLite",
        is_there: has_c_headers,
    },
];

/// Installs what is missing, or says what is missing and how to install it.
///
/// # Errors
/// When this process cannot tell who it runs as.
pub(super) fn set_up() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    eprintln!("missing on this machine:");
    for need in &missing {
        eprintln!("  {:<10} {}", need.package, need.what_for);
    }
    if is_root()? && shell::is_installed("apt-get") {
        let installed = apt_get(&["update"])?
            && apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat())?;
        if !installed {
            eprintln!(
                "warning: apt-get failed; tests that need {} will say so",
                packages.join(", ")
            );
        }
    } else {
        let who = if is_root()? { "" } else { "sudo " };
        eprintln!(
            "to install: {who}apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        );
    }
    Ok(())
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.is_there)()).collect()
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    shell::watch(
        shell::program("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0)
}

fn has_nft() -> bool {
    shell::is_installed("nft")
}

fn has_ip() -> bool {
    shell::is_installed("ip")
}

fn has_conntrack() -> bool {
    shell::is_installed("conntrack")
}

fn has_unbound() -> bool {
    // It is no program for users, whose path may leave its directory out.
    shell::is_installed("unbound") || Path::new("/usr/sbin/unbound").is_file()
}

fn has_compiler() -> bool {
    shell::is_installed("cc") || shell::is_installed("gcc")
}

fn has_make() -> bool {
    shell::is_installed("make")
}

fn has_c_headers() -> bool {
    Path::new("/usr/include/stdio.h").is_file()
}
