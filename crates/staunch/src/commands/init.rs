//! `staunch init`: a configuration with comments, the playbooks to change, and a unit for systemd.
//!
//! Never overwrites anything: what is there is kept, and said.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::Printable;
use staunch_playbook::{BUILT_IN, BUILT_IN_TESTS};

use crate::cli::InitArgs;
use crate::exit::{Exit, Fault};
use crate::output::{Output, say, warn_of};
use crate::whole;

const CONFIG: &str = include_str!("init/staunch.toml");
const UNIT: &str = include_str!("init/staunch.service");

/// Where systemd keeps the data of services.
const STATE_DIR: &str = "/var/lib";

/// Folders that the unit hides: `PrivateTmp` and `ProtectHome`.
const HIDDEN: [&str; 5] = ["/tmp", "/var/tmp", "/home", "/root", "/run/user"];

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Report {
    written: Vec<PathBuf>,
    /// Files that were there already.
    kept: Vec<PathBuf>,
}

pub(super) fn run(args: &InitArgs) -> Result<Exit, Fault> {
    let dir = std::path::absolute(&args.dir).map_err(|error| fault(&args.dir, &error))?;
    let data_dir = std::path::absolute(&args.data_dir).map_err(|error| fault(&args.data_dir, &error))?;
    for path in [&dir, &data_dir] {
        check(path)?;
    }
    let config = dir.join("staunch.toml");
    let unit = match &args.unit {
        Some(path) => Some((path, unit(&config, &data_dir)?)),
        None => None,
    };
    let mut report = Report::default();
    let playbooks = dir.join("playbooks");
    fs::create_dir_all(&playbooks).map_err(|error| fault(&playbooks, &error))?;
    let text = CONFIG.replace("@DATA_DIR@", &data_dir.display().to_string());
    report.write(&config, &text)?;
    for (name, text) in BUILT_IN {
        report.write(&playbooks.join(name), text)?;
    }
    for (name, text) in BUILT_IN_TESTS {
        let name = name.trim_end_matches(".yaml");
        report.write(&playbooks.join(format!("{name}.test.yaml")), text)?;
    }
    if let Some((path, text)) = &unit {
        report.write(path, text)?;
        warn_of_hidden(&config)?;
    }
    Output::new(args.json).show(&report, |_| report.text())?;
    if !args.json {
        next_steps(&config, args.unit.is_some());
    }
    Ok(Exit::Ok)
}

impl Report {
    fn write(&mut self, path: &Path, text: &str) -> Result<(), Fault> {
        // What is there is whole and somebody's: a part of a file never gets the name.
        if path.symlink_metadata().is_ok() {
            self.kept.push(path.to_owned());
            return Ok(());
        }
        match whole::make(path, text, 0o644) {
            Ok(()) => self.written.push(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.kept.push(path.to_owned()),
            Err(error) => return Err(fault(path, &error)),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let line = |what: &str, path: &PathBuf| format!("{what:<8}{}\n", Printable(&path.display().to_string()));
        let written = self.written.iter().map(|path| line("written", path));
        let kept = self.kept.iter().map(|path| line("kept", path));
        written.chain(kept).collect()
    }
}

/// Warns of what the unit names and the service will not see: its `/tmp` is its own, and it sees nobody's home.
fn warn_of_hidden(config: &Path) -> Result<(), Fault> {
    let binary = this_program()?;
    for (what, path, hint) in [
        (
            "the configuration",
            config,
            "name a directory such as /etc/staunch, and remove this one and the unit",
        ),
        (
            "the program",
            binary.as_path(),
            "put it into /usr/local/bin, remove the unit, and run `init` again from there",
        ),
    ] {
        if let Some(folder) = HIDDEN.iter().find(|folder| path.starts_with(folder)) {
            let shown = path.display().to_string();
            let told = format!(
                "the service will not start: {what} is {}, and the unit keeps {folder} of this machine from it",
                Printable(&shown)
            );
            warn_of(&Fault::new(Exit::Usage, told).hint(hint));
        }
    }
    Ok(())
}

fn this_program() -> Result<PathBuf, Fault> {
    std::env::current_exe()
        .map_err(|error| Fault::doing(Exit::Failed, "this program does not know where it is", &error))
}

/// The unit, for the program as it is run now.
fn unit(config: &Path, data_dir: &Path) -> Result<String, Fault> {
    let binary = this_program()?;
    check(&binary)?;
    // systemd makes a directory under /var/lib and gives it to the user of the service; any other that user cannot
    // enter.
    let state = match data_dir.strip_prefix(STATE_DIR) {
        Ok(name) if !name.as_os_str().is_empty() => {
            format!("StateDirectory={}\nStateDirectoryMode=0700", name.display())
        }
        _ => {
            let what = format!("the user of the service could not write to {}", data_dir.display());
            return Err(Fault::new(Exit::Usage, what).hint("with --unit, choose a data directory under /var/lib"));
        }
    };
    Ok(UNIT
        .replace("@BINARY@", &binary.display().to_string())
        .replace("@CONFIG@", &config.display().to_string())
        .replace("@STATE@", &state))
}

/// Paths go into files of TOML and of systemd: those with characters that mean something there are refused.
fn check(path: &Path) -> Result<(), Fault> {
    let harmless = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | '=' | ':');
    match path.to_str() {
        Some(text) if text.chars().all(harmless) => Ok(()),
        _ => {
            let shown = path.display().to_string();
            let what = format!(
                "{} has characters that files of systemd give a meaning",
                Printable(&shown)
            );
            Err(Fault::new(Exit::Usage, what).hint("choose a path of letters, digits and / . - _"))
        }
    }
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    let shown = path.display().to_string();
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    };
    Fault::doing(exit, format!("cannot write {}", Printable(&shown)), error)
        .hint("name another directory, or run this as a user who may write there")
}

fn next_steps(config: &Path, has_unit: bool) {
    let config = Printable(&config.display().to_string()).to_string();
    let named = if Path::new(&config) == Path::new(crate::config::DEFAULT_PATH) {
        String::new()
    } else {
        format!(" --config {config}")
    };
    say("next:");
    say(&format!("  staunch doctor{named}"));
    say(&format!("  staunch token create sensor --role sender{named}"));
    if has_unit {
        say("  systemctl daemon-reload && systemctl enable --now staunch");
    } else {
        say(&format!("  staunch serve{named}"));
    }
    say(&format!("  staunch status{named}"));
}
