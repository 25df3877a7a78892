//! `cargo xtask tidy`: the checks of form.
//!
//! Never stops at the first failure, and never needs the network.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

mod cargo;
mod edges;
mod error_pages;
mod licences;
mod links;
mod patterns;
mod places;
mod rust_text;
mod tracked;
mod width;

/// What a check found: one entry for each thing that is wrong.
type Findings = Vec<String>;

/// A check by its name.
struct Check {
    name: &'static str,
    run: fn(&Workspace) -> Result<Findings>,
    /// How to mend what it finds.
    hint: &'static str,
}

/// Quick checks come first.
const CHECKS: &[Check] = &[
    Check {
        name: "fmt",
        run: cargo::fmt,
        hint: "`cargo xtask tidy --fix`; when rustfmt is missing, `rustup component add rustfmt`",
    },
    Check {
        name: "tracked",
        run: tracked::check,
        hint: "`git add` it, or remove it",
    },
    Check {
        name: "edges",
        run: edges::check,
        hint: "move the code to the crate that may import it; a new edge is a row in xtask/src/tidy/edges.rs and an ADR",
    },
    Check {
        name: "links",
        run: links::check,
        hint: "mend the link, or the heading it points at",
    },
    Check {
        name: "errors",
        run: error_pages::check,
        hint: "each code has one page docs/errors/<code>.md: write the page, or remove the one that is left over",
    },
    Check {
        name: "places",
        run: places::check,
        hint: "write paths relative to the checkout, and leave the choice of a registry to the tools",
    },
    Check {
        name: "patterns",
        run: patterns::check,
        hint: "finish the code; a test that waits polls a condition or uses the simulated clock; a test that cannot run \
               here calls `staunch_testkit::skip`",
    },
    Check {
        name: "width",
        run: width::check,
        hint: "wrap the comment; a row of a table may be as wide as it has to be",
    },
    Check {
        name: "licences",
        run: licences::check,
        hint: "choose another crate or other features; deny.toml has the licences and crates that are allowed",
    },
    Check {
        name: "clippy",
        run: cargo::clippy,
        hint: "mend the code, or `#[expect(lint, reason = \"...\")]`; when clippy is missing, `rustup component add clippy`",
    },
    Check {
        name: "doc",
        run: cargo::doc,
        hint: "mend the doc comment; a link to a private item is written as `code`",
    },
];

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (options, names): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|it| it.starts_with('-'));
    if let Some(option) = options.iter().find(|it| **it != "--fix") {
        anyhow::bail!("tidy has no option {option}");
    }
    if let Some(name) = names
        .iter()
        .find(|name| CHECKS.iter().all(|check| check.name != **name))
    {
        let known: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        anyhow::bail!("there is no check {name:?}; there are {}", known.join(", "));
    }
    let workspace = Workspace::find()?;
    if !options.is_empty() && !shell::watch(shell::cargo(&workspace.root).args(["fmt", "--all"]))? {
        return Ok(ExitCode::FAILURE);
    }

    let mut failures = Vec::new();
    for check in CHECKS
        .iter()
        .filter(|check| names.is_empty() || names.iter().any(|name| *name == check.name))
    {
        let findings = run_one(check, &workspace)?;
        if !findings.is_empty() {
            failures.push((check, findings));
        }
    }
    for (check, findings) in &failures {
        println!("\n{}:", check.name);
        for finding in findings {
            println!("  {}", finding.trim_end().replace('\n', "\n  "));
        }
        println!("  hint: {}", check.hint);
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `check` and prints its line. A check that cannot be made has failed.
fn run_one(check: &Check, workspace: &Workspace) -> Result<Findings> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        write!(stdout, "...     {}\r", check.name)?;
        stdout.flush()?;
    }
    let start = Instant::now();
    let findings = (check.run)(workspace).unwrap_or_else(|error| vec![format!("cannot make this check: {error:#}")]);
    let verdict = if findings.is_empty() { "ok" } else { "FAILED" };
    writeln!(
        stdout,
        "{verdict:<7} {:<9} {:.1} s",
        check.name,
        start.elapsed().as_secs_f64()
    )?;
    Ok(findings)
}
