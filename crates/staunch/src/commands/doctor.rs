//! `staunch doctor`: whether this machine has what a server needs, and whether the one that runs is well.
//!
//! Never changes anything. A check that cannot be made says so instead of passing.

mod checks;

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::AccessFlags;
use serde::Serialize;
use staunch_model::Printable;

use crate::cli::{DoctorArgs, ServerArgs};
use crate::client::named_files_must_be_there;
use crate::config::{self, Config, Loaded, Mistake, Unusable};
use crate::exit::{Exit, Fault, escaped};
use crate::output::{Output, Tone, wrap};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// A server can run, but somebody should look.
    Warning,
    /// A server cannot run, or does not do what it is there for.
    Problem,
}

impl Health {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "not known",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Faint,
            Self::Unknown => Tone::Plain,
            Self::Warning => Tone::Warning,
            Self::Problem => Tone::Strong,
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    health: Health,
    /// What was found, safe to show.
    found: String,
    /// What to do about it.
    fix: Option<String>,
}

impl Finding {
    fn new(check: &'static str, health: Health, found: impl AsRef<str>) -> Self {
        Self {
            check,
            health,
            // Uncut: it is a sentence of ours, and its end may be what matters.
            found: escaped(&found.as_ref().replace('\n', " ")),
            fix: None,
        }
    }

    /// The problem that `fault` tells of.
    fn of(check: &'static str, fault: &Fault) -> Self {
        let finding = Self::new(check, Health::Problem, fault.told());
        match fault.advice() {
            Some(advice) => finding.fix(advice),
            None => finding,
        }
    }

    /// The same, where a server runs that may do what this user may not.
    fn unknown_here(self) -> Self {
        Self {
            health: Health::Unknown,
            found: format!("not known from here, and a server runs: {}", self.found),
            fix: Some("`sudo staunch doctor` can look".to_owned()),
            ..self
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Fault> {
    named_files_must_be_there(&args.show.server)?;
    let findings = examine(&args.show.server)?;
    let worst = findings.iter().map(|it| it.health).max().unwrap_or(Health::Ok);
    Output::new(args.show.json).show(&findings, |output| text(output, &findings))?;
    Ok(if worst == Health::Problem {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

/// What the checks that can be made have found.
///
/// # Errors
/// When the configuration that is named is not there, or cannot be read for another reason than whose it is.
fn examine(server: &ServerArgs) -> Result<Vec<Finding>, Fault> {
    const CHECK: &str = "configuration";
    let named = server.data.config.config.as_deref();
    let in_dir = |mut config: Config| {
        if let Some(dir) = &server.data.data_dir {
            config.data_dir.clone_from(dir);
        }
        config
    };
    let unusable = match config::read(named) {
        Ok(Loaded { config, file, .. }) => {
            let found = match &file {
                Some(file) => file.display().to_string(),
                None => "no file, so all defaults hold".to_owned(),
            };
            let mut findings = vec![Finding::new(CHECK, Health::Ok, found)];
            findings.extend(checks::all(&in_dir(config), file.as_deref(), server, true));
            return Ok(findings);
        }
        Err(unusable) => unusable,
    };
    let mut findings = mistakes(&unusable);
    if findings.is_empty() {
        let file = named.unwrap_or(Path::new(config::DEFAULT_PATH));
        let kept = checks::who::kept_out(file, AccessFlags::R_OK).ok_or_else(|| unusable.fault())?;
        findings.push(Finding::new(CHECK, Health::Problem, kept.what).fix(kept.fix));
        findings.extend(checks::without_configuration());
        return Ok(findings);
    }
    let Some(found) = unusable.salvage_sound() else {
        findings.extend(checks::without_configuration());
        return Ok(findings);
    };
    let knows_data_dir = found.knows_data_dir || server.data.data_dir.is_some();
    let asks = server.url.is_some() || (knows_data_dir && found.knows_address);
    let is_known = |it: &Finding| {
        let of_tables = OF_TABLES.iter().filter(|(_, checks)| checks.contains(&it.check));
        let is_lost = of_tables
            .into_iter()
            .any(|(table, _)| found.lost_tables.iter().any(|lost| lost == table));
        !is_lost
            && (knows_data_dir || !OF_DATA_DIRECTORY.contains(&it.check))
            && (found.knows_address || it.check != "address")
            && (asks || it.check != "server")
            && (found.knows_table || it.check != "firewall")
    };
    let made = checks::all(&in_dir(found.config.clone()), None, server, asks);
    let mut unknown = BTreeSet::new();
    for it in made {
        if is_known(&it) {
            findings.push(it);
        } else if unknown.insert(it.check) {
            let text = "not made: it needs what the configuration has a mistake in";
            findings.push(Finding::new(it.check, Health::Unknown, text));
        }
    }
    Ok(findings)
}

/// The checks that need what stands in a table of the configuration. What playbooks may do, many of them say.
const OF_TABLES: [(&str, &[&str]); 19] = [
    ("playbooks", &["playbooks"]),
    ("limits", &["playbooks"]),
    ("nftables", &["firewall"]),
    ("rate_limit", &["firewall", "playbooks"]),
    ("processes", &["processes", "playbooks"]),
    ("domains", &["domains", "playbooks"]),
    ("accounts", &["accounts", "playbooks"]),
    ("isolation", &["isolation", "playbooks"]),
    ("jobs", &["jobs", "playbooks"]),
    ("evidence", &["evidence", "bucket", "anchor"]),
    ("never_touch", &["never touched", "list", "management sessions"]),
    ("feeds", &["feed"]),
    ("lookups", &["look-up"]),
    ("notifiers", &["notifier"]),
    ("health", &["health", "playbooks"]),
    ("context", &["context"]),
    ("http", &["tokens", "certificate", "senders", "open files"]),
    ("journal", &["disk", "journal"]),
    ("sources", &["followed file", "syslog", "playbooks"]),
];

/// The checks that need the data directory.
const OF_DATA_DIRECTORY: [&str; 8] = [
    "data directory",
    "disk",
    "journal",
    "tokens",
    "firewall",
    "evidence",
    "bucket",
    "anchor",
];

/// The mistakes in a configuration, each with its place; none when it could not be read.
fn mistakes(unusable: &Unusable) -> Vec<Finding> {
    let Unusable::Mistaken { file, text, mistakes } = unusable else {
        return Vec::new();
    };
    let one = |it: &Mistake| {
        let (line, column) = it.position(text);
        let found = format!("{}:{line}:{column}: {}", Printable(file), it.what);
        Finding::new("configuration", Health::Problem, found).fix(&*it.hint)
    };
    mistakes.iter().map(one).collect()
}

fn text(output: &Output, findings: &[Finding]) -> String {
    let mut text = String::new();
    for it in findings {
        let health = format!("{:<10}", it.health.word());
        text.push_str(&output.paint(it.health.tone(), &health));
        text.push_str(&wrap(&format!("{}: {}", it.check, it.found), 10));
        text.push('\n');
        if let Some(fix) = &it.fix {
            text.push_str(&format!("{:10}{}\n", "", wrap(&format!("-> {fix}"), 10)));
        }
    }
    let count = |health| findings.iter().filter(|it| it.health == health).count();
    let (problems, warnings) = (count(Health::Problem), count(Health::Warning));
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    text.push_str(&format!(
        "\n{}, {}, {} not known\n",
        plural(problems, "problem"),
        plural(warnings, "warning"),
        count(Health::Unknown)
    ));
    text
}
