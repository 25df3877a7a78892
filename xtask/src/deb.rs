//! `cargo xtask deb`: a Debian package of the program, its unit, its configuration and its documentation.
//!
//! Never publishes anything, and never touches this machine's installed packages: `--check` installs into a system of
//! its own in the target folder, and `--boot` into one that it boots under QEMU.

mod boot;
mod check;
mod notices;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{shell, workspace};

/// What is needed to build, by the packages that have it.
const TOOLS: [(&str, &str); 2] = [("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper")];

/// The template that `staunch init --unit` fills in as well: one place says what the service may do.
const UNIT: &str = "crates/staunch/src/commands/init/staunch.service";

/// What the template says, and what holds where the user is one of the package.
const UNIT_CHANGES: [(&str, &str); 4] = [
    ("@BINARY@", "/usr/bin/staunch"),
    ("@CONFIG@", "/etc/staunch/staunch.toml"),
    ("@STATE@", "StateDirectory=staunch\nStateDirectoryMode=0700"),
    ("DynamicUser=yes", "User=staunch\nGroup=staunch"),
];

/// Where completions go, by the name of the shell.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/staunch"),
    ("zsh", "usr/share/zsh/vendor-completions/_staunch"),
    ("fish", "usr/share/fish/vendor_completions.d/staunch.fish"),
];

/// The folder of the documentation.
const DOCUMENTATION: &str = "docs";

/// What the unit is given for acts that need more than the firewall.
const DROP_INS: &str = "contrib/debian/drop-ins";

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (mut checks, mut boots) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--check" => checks = true,
            "--boot" => boots = true,
            _ => anyhow::bail!("deb has two options: --check and --boot"),
        }
    }
    for (tool, package) in TOOLS {
        anyhow::ensure!(
            shell::is_installed(tool),
            "{tool} is missing: apt-get install {package}"
        );
    }
    let root = workspace::root()?;
    anyhow::ensure!(
        shell::watch(shell::cargo(&root).args(["build", "--release", "--locked", "--package", "staunch"]))?,
        "the program does not build"
    );
    let target = workspace::target(&root);
    let package = build(&root, &target)?;
    println!("{}", package.display());
    if checks {
        check::check(&target, &package)?;
    }
    if boots {
        boot::boot(&root, &target, &package)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Packs what is in `target`, and returns the package.
fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let home = target.join("deb");
    let source = home.join("source");
    if source.exists() {
        fs::remove_dir_all(&source).with_context(|| format!("cannot empty {}", source.display()))?;
    }
    let stage = source.join("stage");
    let version = version(root)?;
    copy_folder(&root.join("contrib/debian"), &source.join("debian"))?;
    let unit = fs::read_to_string(root.join(UNIT)).with_context(|| format!("cannot read {UNIT}"))?;
    fs::write(source.join("debian/staunch.service"), unit_of_package(&unit)?)?;
    let date = git(root, "--format=%cD")?;
    fs::write(source.join("debian/changelog"), changelog(root, &version, &date)?)?;
    lay_out(root, &target.join("release/staunch"), &stage)?;
    let packed = shell::watch(
        shell::program("dpkg-buildpackage")
            .args(["--build=binary", "--no-sign"])
            .env("SOURCE_DATE_EPOCH", git(root, "--format=%ct")?)
            .current_dir(&source),
    )?;
    anyhow::ensure!(packed, "the package cannot be built");
    let architecture = shell::stdout_of(shell::program("dpkg").arg("--print-architecture"))?;
    let architecture = String::from_utf8(architecture)?;
    Ok(home.join(format!("staunch_{version}_{}.deb", architecture.trim())))
}

/// Lays out in `stage` what is installed, beside what debhelper adds.
fn lay_out(root: &Path, binary: &Path, stage: &Path) -> Result<()> {
    let program = stage.join("usr/bin/staunch");
    make_parent(&program)?;
    fs::copy(binary, &program).with_context(|| format!("cannot copy {}", binary.display()))?;
    // What `init` writes is what it says of itself: paths are relative to the file, but for the data directory.
    let config = stage.join("etc/staunch");
    says(binary, &[&"init", &config])?;
    let pages = stage.join("usr/share/man/man1");
    fs::create_dir_all(&pages)?;
    says(binary, &[&"man", &pages])?;
    for (name, place) in COMPLETIONS {
        let place = stage.join(place);
        make_parent(&place)?;
        fs::write(place, says(binary, &[&"completions", &name])?)?;
    }
    let documents = stage.join("usr/share/doc/staunch");
    copy_folder(&root.join(DOCUMENTATION), &documents.join(DOCUMENTATION))?;
    for folder in ["prometheus", "grafana"] {
        copy_folder(
            &root.join("contrib").join(folder),
            &documents.join("examples").join(folder),
        )?;
    }
    copy_folder(&root.join(DROP_INS), &documents.join("examples/drop-ins"))?;
    fs::write(documents.join("third-party-notices"), notices::all(root)?)?;
    Ok(())
}

/// The unit for a package that has a user for it.
fn unit_of_package(template: &str) -> Result<String> {
    let mut unit = template.to_owned();
    for (from, to) in UNIT_CHANGES {
        anyhow::ensure!(unit.contains(from), "{UNIT} has no {from}");
        unit = unit.replace(from, to);
    }
    Ok(unit)
}

fn changelog(root: &Path, version: &str, date: &str) -> Result<String> {
    let control = fs::read_to_string(root.join("contrib/debian/control")).context("there is no control file")?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let maintainer = maintainer.context("the control file names no maintainer")?;
    let what = "What has changed is in the CHANGELOG of the project.";
    Ok(format!(
        "staunch ({version}) unstable; urgency=medium\n\n  * {what}\n\n -- {maintainer}  {date}\n"
    ))
}

fn version(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let manifest: toml::Table = text.parse()?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("the workspace has no version")?.to_owned())
}

/// What git says of the newest commit.
fn git(root: &Path, format: &str) -> Result<String> {
    let said = shell::stdout_of(shell::program("git").args(["log", "-1", format]).current_dir(root))?;
    Ok(String::from_utf8(said)?.trim().to_owned())
}

/// What the program says.
fn says(binary: &Path, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Vec<u8>> {
    let mut command = Command::new(binary);
    // Nothing of this machine's configuration gets into the package.
    command.env_clear();
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    shell::stdout_of(&mut command)
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("it is not the root")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Copies a folder with all files in it; they are readable for everybody, and keep whether they are executable.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
            continue;
        }
        fs::copy(&path, &copy).with_context(|| format!("cannot copy {}", path.display()))?;
        let is_program = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
        fs::set_permissions(
            &copy,
            fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 }),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_keeps_its_hardening_and_has_a_user_of_its_own() {
        let root = workspace::root().expect("this is a checkout");
        let template = fs::read_to_string(root.join(UNIT)).expect("it is there");
        let unit = unit_of_package(&template).expect("it can be filled in");
        for line in [
            "ExecStart=/usr/bin/staunch serve --config /etc/staunch/staunch.toml",
            "User=staunch",
            "StateDirectory=staunch",
            "AmbientCapabilities=CAP_NET_ADMIN",
            "CapabilityBoundingSet=CAP_NET_ADMIN",
            // Its sandbox is made by these; a unit that refuses them leaves a server without one.
            "SystemCallFilter=@system-service",
            "SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        ] {
            assert!(unit.lines().any(|it| it == line), "no line {line:?}:\n{unit}");
        }
        assert!(!unit.contains('@') || unit.contains("@system-service") && unit.matches('@').count() == 1);
        let kept = template
            .lines()
            .filter(|line| !line.contains('@') && !line.contains("DynamicUser"));
        for line in kept {
            assert!(unit.lines().any(|it| it == line), "{line:?} is lost");
        }
        assert!(unit_of_package("[Service]").is_err(), "a template without its marks");
    }

    #[test]
    fn the_changelog_is_in_the_form_of_debian() {
        let root = workspace::root().expect("this is a checkout");
        let text = changelog(&root, "1.2.3", "Thu, 26 Nov 2026 11:28:18 +0000").expect("there is a maintainer");
        assert!(
            text.starts_with("staunch (1.2.3) unstable; urgency=medium\n\n  * "),
            "{text}"
        );
        assert!(
            text.contains("\n -- ") && text.ends_with(">  Thu, 26 Nov 2026 11:28:18 +0000\n"),
            "{text}"
        );
    }
}
