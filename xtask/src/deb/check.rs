//! Holds a package to Debian's own tools, and installs, upgrades, removes and purges it in a system of its own.
//!
//! Needs root, and Debian's packages once, to make that system; this machine's own is never touched.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

/// What is needed, by the packages that have it.
const TOOLS: [(&str, &str); 4] = [
    ("lintian", "lintian"),
    ("debootstrap", "debootstrap"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
];

/// The release of Debian that it is installed on.
const RELEASE: &str = "bookworm";

/// The exposure that systemd may find, in tenths of its scale up to 10. It finds 2.2 (2026-11-26): what remains is the
/// firewall, the network, the logs that the group `adm` may read, and `/proc`, where sessions of administrators are
/// found.
const EXPOSURE_MAX: &str = "25";

/// Does all of it.
pub(super) fn check(target: &Path, package: &Path) -> Result<()> {
    for (tool, from) in TOOLS {
        anyhow::ensure!(shell::is_installed(tool), "{tool} is missing: apt-get install {from}");
    }
    good(
        shell::program("lintian")
            .args(["--allow-root", "--fail-on", "error,warning", "--info"])
            .arg(package),
    )?;
    let base = base(target, RELEASE, "systemd")?;
    let root = target.join("deb/installed");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    good(
        shell::program("cp")
            .args(["--archive", "--reflink=auto"])
            .arg(&base)
            .arg(&root),
    )?;
    let system = System { root };
    fs::copy(package, system.path("/staunch.deb")).context("cannot copy the package")?;
    system.installs()?;
    system.serves()?;
    system.keeps_changes()?;
    system.removes()?;
    println!("the package installs, serves, upgrades, is removed and purged as it should");
    Ok(())
}

/// A small Debian with `packages`, made once: `folder` of the target folder.
pub(super) fn base(target: &Path, folder: &str, packages: &str) -> Result<PathBuf> {
    let base = target.join("deb").join(folder);
    // One with other packages is made anew.
    let done = base.join("done");
    if fs::read_to_string(&done).is_ok_and(|it| it == packages) {
        return Ok(base);
    }
    if base.exists() {
        fs::remove_dir_all(&base).with_context(|| format!("cannot empty {}", base.display()))?;
    }
    good(
        shell::program("debootstrap")
            .args(["--variant=minbase", &format!("--include={packages}"), RELEASE])
            .arg(&base),
    )?;
    fs::write(&done, packages)?;
    Ok(base)
}

/// An installed system in a folder.
struct System {
    root: PathBuf,
}

impl System {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A command in it, in a network of its own.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = shell::program("unshare");
        command
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--root"])
            .arg(&self.root)
            .args(["--mount-proc=/proc", "--"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn says(&self, arguments: &[&str]) -> Result<String> {
        let said = shell::stdout_of(&mut self.command(arguments))?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn installs(&self) -> Result<()> {
        self.says(&["dpkg", "--install", "/staunch.deb"])?;
        let user = self.says(&["getent", "passwd", "staunch"])?;
        anyhow::ensure!(
            user.ends_with(":/var/lib/staunch:/usr/sbin/nologin"),
            "the user is {user}"
        );
        let data = fs::metadata(self.path("/var/lib/staunch")).context("there is no data directory")?;
        let id: u32 = self.says(&["id", "--user", "staunch"])?.parse()?;
        anyhow::ensure!(id < 1_000, "{id} is no id of a system user");
        let mode = data.mode() & 0o7777;
        anyhow::ensure!(
            (data.uid(), mode) == (id, 0o700),
            "the data directory is of {} with {mode:o}",
            data.uid()
        );
        let enabled = self.command(&["systemctl", "is-enabled", "staunch"]).output()?;
        anyhow::ensure!(
            enabled.stdout == b"disabled\n",
            "the service is not disabled: {enabled:?}"
        );
        for page in [
            "/usr/share/man/man1/staunch.1.gz",
            "/usr/share/man/man1/staunch-reload.1.gz",
        ] {
            anyhow::ensure!(self.path(page).exists(), "there is no {page}");
        }
        self.says(&["staunch", "check", "--config", "/etc/staunch/staunch.toml"])?;
        let unit = self.path("/lib/systemd/system/staunch.service");
        self.says(&[
            "systemd-analyze",
            "verify",
            "--man=no",
            "/lib/systemd/system/staunch.service",
        ])?;
        good(
            shell::program("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX])
                .arg(unit),
        )
    }

    /// The program works as the user of the package, with the one capability of the unit and with nothing else.
    fn serves(&self) -> Result<()> {
        self.says(&["staunch", "token", "create", "sensor", "--role", "sender"])?;
        let script = "setpriv --reuid staunch --regid staunch --init-groups --bounding-set -all,+net_admin --inh-caps -all,+net_admin \
                --ambient-caps -all,+net_admin --no-new-privs staunch serve > /tmp/said 2> /tmp/log &
            for turn in $(seq 100); do
                if staunch status --json > /tmp/status 2> /tmp/errors; then break; fi
                sleep 0.1
            done
            cat /tmp/status /tmp/errors /tmp/log
            $(sed -n 's/^ExecReload=//p' /lib/systemd/system/staunch.service | sed 's/ --reason.*/ --reason trial/') --json
            kill -TERM $!
            wait $!";
        let said = self.says(&["sh", "-c", script])?;
        anyhow::ensure!(said.contains("\"mode\": \"observe\""), "it does not serve: {said}");
        anyhow::ensure!(said.contains("\"at_next_start\": []"), "it does not reload: {said}");
        let journal = fs::metadata(self.path("/var/lib/staunch/journal")).context("there is no journal")?;
        let id: u32 = self.says(&["id", "--user", "staunch"])?.parse()?;
        anyhow::ensure!(journal.uid() == id, "the journal is of {}", journal.uid());
        Ok(())
    }

    /// An upgrade keeps what an administrator has changed.
    fn keeps_changes(&self) -> Result<()> {
        let config = self.path("/etc/staunch/staunch.toml");
        let changed = fs::read_to_string(&config)?.replace("mode = \"observe\"", "mode = \"approve\"");
        fs::write(&config, &changed)?;
        self.says(&["dpkg", "--install", "/staunch.deb"])?;
        anyhow::ensure!(
            fs::read_to_string(&config)? == changed,
            "an upgrade has changed the configuration"
        );
        Ok(())
    }

    fn removes(&self) -> Result<()> {
        self.says(&["dpkg", "--remove", "staunch"])?;
        anyhow::ensure!(
            !self.path("/usr/bin/staunch").exists(),
            "the program is there after a removal"
        );
        anyhow::ensure!(
            self.path("/etc/staunch/staunch.toml").exists(),
            "a removal takes the configuration"
        );
        let said = self.says(&["dpkg", "--purge", "staunch"])?;
        anyhow::ensure!(
            !self.path("/etc/staunch").exists(),
            "the configuration is there after a purge"
        );
        anyhow::ensure!(
            self.path("/var/lib/staunch/journal").exists() && said.contains("is kept"),
            "a purge takes the journal, or does not say that it is kept: {said}"
        );
        Ok(())
    }
}

/// Runs `command`, which must work.
pub(super) fn good(command: &mut Command) -> Result<()> {
    anyhow::ensure!(shell::watch(command)?, "that failed");
    Ok(())
}
