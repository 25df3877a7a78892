//! `cargo xtask promtool`: holds alert rules, and a scrape of a running server, to Prometheus' own tool.
//!
//! By hand: promtool is in Debian's package `prometheus`. That rules and dashboard name metrics that there are is tested
//! without it, in `staunch/tests/it/metrics.rs`.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{shell, workspace};

/// Runs the task. A file of `arguments` is a scrape: `curl .../metrics > FILE`.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    anyhow::ensure!(
        shell::is_installed("promtool"),
        "promtool is not installed: `apt-get install prometheus`"
    );
    let folder = workspace::root()?.join("contrib/prometheus");
    let promtool = |words: &[&str]| {
        let mut command = Command::new("promtool");
        command.args(words).current_dir(&folder);
        command
    };
    let mut good = shell::watch(&mut promtool(&["check", "rules", "staunch.rules.yaml"]))?;
    good &= shell::watch(&mut promtool(&["test", "rules", "staunch.rules.test.yaml"]))?;
    for scrape in arguments {
        let mut check = promtool(&["check", "metrics"]);
        check.stdin(std::fs::File::open(scrape)?);
        good &= shell::watch(&mut check)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
