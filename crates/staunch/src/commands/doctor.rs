//! `staunch doctor`: whether this machine has what a server needs, and whether the one that runs is well.
//!
//! Never changes anything. A check that cannot be made says so instead of passing.

mod checks;

use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::config::{self, Loaded};
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

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Fault> {
    let server = &args.show.server;
    // Its mistakes are shown where they are.
    let Loaded { mut config, file, .. } = config::load(server.data.config.config.as_deref())?;
    if let Some(dir) = &server.data.data_dir {
        config.data_dir.clone_from(dir);
    }
    let mut findings = vec![match &file {
        Some(file) => Finding::new("configuration", Health::Ok, file.display().to_string()),
        None => Finding::new("configuration", Health::Ok, "no file, so all defaults hold"),
    }];
    findings.extend(checks::all(&config, server));
    let worst = findings.iter().map(|it| it.health).max().unwrap_or(Health::Ok);
    Output::new(args.show.json).show(&findings, |output| text(output, &findings))?;
    Ok(if worst == Health::Problem {
        Exit::Failed
    } else {
        Exit::Ok
    })
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
