//! Boots a small Debian of its own under QEMU, with systemd, cgroup v2 and a kernel of its own, and takes it through
//! the guide of the first hour, word for word, then through the package, a server that hangs, and a new start of the
//! machine.
//!
//! Needs root and Debian's packages once, to make that system; this machine's own is never touched. The machine has no
//! network: what the guide fetches and compiles is taken from here.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::check::{base, good};
use crate::shell;

/// What is needed, by the packages that have it.
const TOOLS: [(&str, &str); 3] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
];

/// What the system has beside what every Debian has: what boots it, and what the guide has installed.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,kmod,linux-image-amd64,iproute2,procps,ca-certificates,curl,git,nftables,\
     unbound,dns-root-data";

/// The guide, whose blocks of commands are run.
const GUIDE: &str = "docs/guide/first-hour.md";

/// The sections of it that are run there. The first one compiles, which is done here; the second is the demo, whose
/// evidence has deadlines that an emulated processor does not hold.
const SECTIONS: std::ops::RangeInclusive<u8> = 3..=5;

/// What runs there.
const SCRIPT: &str = include_str!("boot.sh");

/// A job for the service to run.
const JOB: &str = "crates/connectors/tests/jobs/keep.sh";

/// Runs the script when everything else has started.
const UNIT: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/bin/bash /srv/boot.sh\n";

/// What it follows: Suricata's log, with nothing in it yet that matters.
const LOG: &str = "{\"event_type\":\"stats\",\"stats\":{\"uptime\":1}}\n";

/// Seconds after which it is given up. Without KVM it takes about ten minutes.
const SECONDS_MAX: &str = "1800";

/// Boots it, and says what held.
pub(super) fn boot(root: &Path, target: &Path, package: &Path) -> Result<()> {
    for (tool, from) in TOOLS {
        anyhow::ensure!(shell::is_installed(tool), "{tool} is missing: apt-get install {from}");
    }
    let home = target.join("deb");
    let system = base(target, "boots", PACKAGES)?;
    lay_out(root, target, package, &system)?;
    let (image, log) = (home.join("boot.img"), home.join("boot.log"));
    // What an earlier one has said is not what this one says.
    for file in [&image, &log] {
        if file.exists() {
            fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    good(
        shell::program("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&system)
            .arg(&image)
            .arg("4G"),
    )?;
    let booted = shell::watch(&mut machine(&system, &image, &home, &log)?)?;
    let said = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let held = verdict(&said).with_context(|| format!("the whole of what it said is in {}", log.display()))?;
    anyhow::ensure!(booted, "the machine did not end by itself; see {}", log.display());
    println!("{held} things held in a Debian of its own: the first hour, word for word, and the package with systemd");
    Ok(())
}

/// Puts in what boots, and what is tried.
fn lay_out(root: &Path, target: &Path, package: &Path, system: &Path) -> Result<()> {
    fs::write(system.join("etc/fstab"), "/dev/vda / ext4 rw 0 1\n")?;
    fs::write(system.join("etc/hostname"), "staunch\n")?;
    // What `systemctl enable` makes: a file in the place of the link would be no unit.
    let units = system.join("etc/systemd/system");
    fs::write(units.join("boot.service"), UNIT)?;
    let wanted = units.join("multi-user.target.wants/boot.service");
    if !wanted.is_symlink() {
        std::os::unix::fs::symlink("../boot.service", &wanted)?;
    }
    let at = system.join("srv");
    fs::copy(package, at.join("staunch.deb")).context("cannot copy the package")?;
    fs::copy(target.join("release/staunch"), at.join("staunch")).context("cannot copy the program")?;
    fs::write(at.join("boot.sh"), SCRIPT)?;
    fs::write(at.join("eve.json"), LOG)?;
    fs::copy(root.join(JOB), at.join("keep.sh")).with_context(|| format!("cannot copy {JOB}"))?;
    let hour = at.join("hour");
    if hour.exists() {
        fs::remove_dir_all(&hour)?;
    }
    fs::create_dir(&hour)?;
    let guide = fs::read_to_string(root.join(GUIDE)).with_context(|| format!("cannot read {GUIDE}"))?;
    for section in SECTIONS {
        let blocks = blocks(&guide, section);
        anyhow::ensure!(!blocks.is_empty(), "section {section} of {GUIDE} has no commands");
        for (block, number) in blocks.iter().zip(1..) {
            fs::write(hour.join(format!("{section}.{number:02}")), block)?;
        }
    }
    Ok(())
}

/// The blocks of commands in a section of the guide.
fn blocks(guide: &str, section: u8) -> Vec<&str> {
    let heading = format!("\n## {section}. ");
    let Some((_, text)) = guide.split_once(&heading) else {
        return Vec::new();
    };
    let text = text.split_once("\n## ").map_or(text, |(section, _)| section);
    let starts = text.split("\n```sh\n").skip(1);
    starts
        .filter_map(|it| it.split_once("```").map(|(block, _)| block))
        .collect()
}

/// What starts it: a machine without a network, whose second serial line is what the script says.
fn machine(system: &Path, image: &Path, home: &Path, log: &Path) -> Result<Command> {
    let kernel = |name: &str| -> Result<std::path::PathBuf> {
        let found = fs::read_dir(system.join("boot"))?
            .filter_map(std::result::Result::ok)
            .find(|it| it.file_name().to_string_lossy().starts_with(name));
        found.map(|it| it.path()).with_context(|| format!("there is no {name}"))
    };
    let mut command = shell::program("timeout");
    command
        .args([
            SECONDS_MAX,
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ])
        .args(["-m", "2048", "-smp", "2", "-display", "none", "-nic", "none"])
        .arg("-serial")
        .arg(format!("file:{}", home.join("boot.console").display()))
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-kernel")
        .arg(kernel("vmlinuz-")?)
        .arg("-initrd")
        .arg(kernel("initrd.img-")?)
        .args(["-append", "root=/dev/vda rw console=ttyS0 quiet"])
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw", image.display()));
    Ok(command)
}

/// How many things held, by what the script said; an error when one did not, or when it did not come to its end.
fn verdict(said: &str) -> Result<usize> {
    let lines = || said.lines().map(|it| it.trim_end_matches('\r'));
    let failed: Vec<&str> = lines().filter(|it| it.starts_with("FAILED: ")).collect();
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    anyhow::ensure!(lines().any(|it| it == "DONE"), "the script did not come to its end");
    let held = lines().filter(|it| it.starts_with("ok: ")).count();
    anyhow::ensure!(held > 0, "the script has looked at nothing");
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_guide_has_commands_to_run() {
        let root = workspace::root().expect("a checkout");
        let guide = fs::read_to_string(root.join(GUIDE)).expect("there is a guide");
        assert_eq!(blocks(&guide, 2), ["staunch demo\n"]);
        assert!(blocks(&guide, 5)[0].starts_with("staunch mode enforce"));
        assert_eq!(
            blocks(
                "\n## 1. A\n\n```sh\na\n```\n\n```toml\nb\n```\n\n## 2. B\n\n```sh\nc\n```\n",
                1
            ),
            ["a\n"]
        );
        assert!(blocks(&guide, 9).is_empty());
    }

    #[test]
    fn a_verdict_needs_an_end_and_no_failure() {
        assert_eq!(verdict("ok: a\r\nok: b\r\nDONE\r\n").expect("all held"), 2);
        let failed = verdict("ok: a\nFAILED: b\nDONE\n").expect_err("one did not hold");
        assert_eq!(failed.to_string(), "FAILED: b");
        assert!(verdict("ok: a\n").is_err(), "no end");
        assert!(verdict("DONE\n").is_err(), "nothing");
    }
}
