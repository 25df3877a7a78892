//! `cargo xtask promtool`: holds alert rules with their tests, the queries of the dashboard, and a scrape of a running
//! server, to Prometheus' own tool.
//!
//! Never installs anything: promtool is the one that `STAUNCH_PROMTOOL` names, or the one of this machine, or is taken
//! out of Debian's package `prometheus` (19 MB), which apt-get fetches once into the target directory. That rules and
//! dashboard name metrics that there are is tested without it, in `staunch/tests/it/metrics.rs`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::api::SCRAPE;
use crate::{shell, workspace};

/// Names the program. It is a promise that there is one.
const NAMED_BY: &str = "STAUNCH_PROMTOOL";

/// The package that has it.
const PACKAGE: &str = "prometheus";

/// Has apt-get give up soon where there is no network.
const WITHOUT_PATIENCE: [&str; 4] = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20"];

/// Runs the task. A file of `arguments` is a scrape: `curl .../metrics > FILE`; without, it is the one that
/// `cargo xtask api` has left, if it has. With `--if-there`, a machine that has no promtool and cannot fetch it is told
/// as one, and that is no failure.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (options, scrapes): (Vec<_>, Vec<_>) = arguments.iter().partition(|it| *it == "--if-there");
    let root = workspace::root()?;
    let target = workspace::target(&root);
    let dir = target.join("promtool");
    let tool = match found(env::var_os(NAMED_BY).map(PathBuf::from), &dir) {
        Ok(tool) => tool,
        Err(missing) if missing.may_be_left_out && !options.is_empty() => {
            println!(
                "NOT RUN: alert rules and dashboard were not held to promtool: {:#}",
                missing.why
            );
            return Ok(ExitCode::SUCCESS);
        }
        Err(missing) => return Err(missing.why),
    };
    let folder = root.join("contrib/prometheus");
    let promtool = |words: &[&str]| {
        let mut command = Command::new(&tool);
        command.args(words).current_dir(&folder);
        command
    };
    let mut good = shell::watch(&mut promtool(&["check", "rules", "staunch.rules.yaml"]))?;
    good &= shell::watch(&mut promtool(&["test", "rules", "staunch.rules.test.yaml"]))?;
    let queries = queries_of(&fs::read_to_string(root.join("contrib/grafana/staunch.json"))?)?;
    fs::create_dir_all(&dir)?;
    let rules = dir.join("dashboard.yaml");
    fs::write(&rules, as_rules(&queries).to_string())?;
    println!("the {} queries of the dashboard, as rules:", queries.len());
    good &= shell::watch(Command::new(&tool).args(["check", "rules"]).arg(&rules))?;
    let of_api = target.join("api").join(SCRAPE);
    let mut scrapes: Vec<PathBuf> = scrapes.into_iter().map(PathBuf::from).collect();
    if scrapes.is_empty() && of_api.is_file() {
        println!("the metrics of the server that `cargo xtask api` tried last:");
        scrapes.push(of_api);
    }
    for scrape in &scrapes {
        let mut check = promtool(&["check", "metrics"]);
        check.stdin(fs::File::open(scrape)?);
        good &= shell::watch(&mut check)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why there is no promtool.
#[derive(Debug)]
struct Missing {
    why: anyhow::Error,
    /// Nobody has promised that there is one.
    may_be_left_out: bool,
}

/// Where promtool is: what is `named`, or what this machine has, or what is fetched into `dir`.
fn found(named: Option<PathBuf>, dir: &Path) -> Result<PathBuf, Missing> {
    if let Some(named) = named {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(Missing {
                why: anyhow::anyhow!("{NAMED_BY} names {}, which is no file", named.display()),
                may_be_left_out: false,
            })
        };
    }
    if shell::is_installed("promtool") {
        return Ok("promtool".into());
    }
    fetched(dir).map_err(|why| Missing {
        why,
        may_be_left_out: true,
    })
}

/// The one in `dir`, which is fetched when it is not there.
fn fetched(dir: &Path) -> Result<PathBuf> {
    let tool = dir.join("promtool");
    if tool.is_file() {
        return Ok(tool);
    }
    anyhow::ensure!(
        shell::is_installed("apt-get") && shell::is_installed("dpkg-deb"),
        "promtool is not installed, and there is no apt-get to fetch it with; {NAMED_BY} can name one"
    );
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let apt_get = |order: &[&str]| {
        let mut command = shell::program("apt-get");
        shell::watch(command.args(WITHOUT_PATIENCE).args(order).current_dir(dir))
    };
    let fetch = || apt_get(&["download", PACKAGE]);
    let is_fetched = fetch()? || (apt_get(&["update"])? && fetch()?);
    anyhow::ensure!(
        is_fetched,
        "promtool is not installed, and apt-get cannot fetch the package {PACKAGE}; {NAMED_BY} can name one"
    );
    let archive = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|it| it == "deb"))
        .context("apt-get has fetched no package")?;
    let unpacked = dir.join("unpacked");
    let is_unpacked = shell::watch(shell::program("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
    // What is not whole is fetched again the next time.
    fs::remove_file(&archive)?;
    anyhow::ensure!(is_unpacked, "the package {PACKAGE} cannot be unpacked");
    fs::rename(unpacked.join("usr/bin/promtool"), &tool)
        .with_context(|| format!("there is no promtool in the package {PACKAGE}"))?;
    fs::remove_dir_all(&unpacked)?;
    Ok(tool)
}

/// The queries of a dashboard of Grafana, with what Grafana puts in for its variables.
fn queries_of(dashboard: &str) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(dashboard).context("the dashboard is no JSON")?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let mut queries = Vec::new();
    for panel in panels {
        let targets = panel["targets"].as_array();
        let targets = targets.with_context(|| format!("the panel {} asks for nothing", panel["title"]))?;
        for target in targets {
            let query = target["expr"].as_str();
            let query = query.with_context(|| format!("a query of the panel {} is no text", panel["title"]))?;
            let query = query.replace("$__rate_interval", "5m").replace("$__range", "6h");
            queries.push(query.replace("$instance", ".*"));
        }
    }
    anyhow::ensure!(!queries.is_empty(), "the dashboard asks for nothing");
    Ok(queries)
}

/// Rules that record what `queries` ask for. JSON is YAML.
fn as_rules(queries: &[String]) -> Value {
    let rules = queries.iter().enumerate();
    let rules: Vec<Value> = rules
        .map(|(at, query)| json!({ "record": format!("dashboard:query:{at}"), "expr": query }))
        .collect();
    json!({ "groups": [{ "name": "dashboard", "rules": rules }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dashboard_asks_for_becomes_rules() {
        let text = r#"{"panels":[{"title":"a","targets":[{"expr":"rate(x{i=~\"$instance\"}[$__rate_interval])"}]}]}"#;
        let queries = queries_of(text).expect("it is one");
        assert_eq!(queries, [r#"rate(x{i=~".*"}[5m])"#]);
        assert_eq!(as_rules(&queries)["groups"][0]["rules"][0]["expr"], queries[0]);
        for text in ["", "{}", r#"{"panels":[]}"#, r#"{"panels":[{"title":"a"}]}"#] {
            assert!(queries_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_that_was_promised_and_is_not_there_is_never_left_out() {
        let missing = found(Some("/nonexistent/promtool".into()), Path::new("/nonexistent"));
        let missing = missing.expect_err("it is not there");
        assert!(!missing.may_be_left_out, "{missing:?}");
        assert!(missing.why.to_string().contains("STAUNCH_PROMTOOL"), "{missing:?}");
    }
}
