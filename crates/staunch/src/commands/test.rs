//! `staunch test`

mod coverage;
mod files;
mod judge;
mod report;
mod run;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use staunch_model::ContentHash;
use staunch_playbook::CheckContext;

use crate::cli::TestArgs;
use crate::config::{self, Config};
use crate::exit::{Exit, Fault};
use crate::output::{Output, say};
use crate::wiring;
use coverage::Coverage;
use report::NotRun;
pub(super) use report::Report;

pub(super) fn run(args: &TestArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    let report = report(&args.paths, &config)?;
    Output::new(args.json).show(&report, |output| text::text(output, &report))?;
    if report.mistakes > 0 {
        say(&report.not_run.words());
        return Ok(Exit::Usage);
    }
    if report.passed + report.failed == 0 {
        return Err(Fault::new(Exit::NotFound, "there is no test").hint(
            "tests of brute-force-block.yaml are in brute-force-block.test.yaml beside it; name a file or a directory",
        ));
    }
    Ok(if report.failed > 0 { Exit::TestFailed } else { Exit::Ok })
}

/// What becomes of the tests in `paths`. Mistakes in files are told on stderr, and counted.
///
/// # Errors
/// When a file cannot be read, or the configuration is wrong.
pub(super) fn report(paths: &[PathBuf], config: &Config) -> Result<Report, Fault> {
    let context = wiring::check_context(config);
    let sources = wiring::event_sources(config)?;
    let found = files::find(paths, config)?;
    let mut report = Report::default();
    let (mut mistakes, mut not_run) = (0, NotRun::default());
    for unread in &found.unread {
        unread.tell();
        mistakes += 1;
        not_run.files += 1;
    }
    let mut covered: Vec<(ContentHash, String, Coverage)> = Vec::new();
    for suite in &found.suites {
        let of_tests = u64::from(suite.tests.is_some());
        let playbook = match &suite.playbook {
            Ok(texts) => texts,
            Err(diagnostics) => {
                mistakes += suite.tell(diagnostics);
                not_run.files += of_tests;
                continue;
            }
        };
        let chosen = match &suite.tests {
            Some(Ok(file)) => file.environment.as_ref(),
            _ => None,
        };
        // The values of the configuration are not those that the tests were written for, and a test says itself what
        // health signals say.
        let context = CheckContext {
            signals: None,
            environment: chosen.map(|it| it.value.clone()),
            parameters: BTreeMap::new(),
            ..context.clone()
        };
        let outcome = playbook.compile(&context);
        let compiled = match &outcome.compiled[..] {
            [one] if outcome.usable => one,
            _ => {
                playbook.tell(&outcome.diagnostics);
                mistakes += 1;
                not_run.files += of_tests;
                continue;
            }
        };
        if let Some(at) = chosen.filter(|it| !compiled.environments.iter().any(|known| **known == *it.value)) {
            let known = compiled.environments.join(", ");
            let hint = match known.as_str() {
                "" => "none of its parameters has a value by environment".to_owned(),
                known => format!("environments in the playbook: {known}"),
            };
            let message = format!("the playbook knows no environment `{}`", at.value);
            mistakes += suite.tell(&suite.mistake(at.span.clone(), &message, &hint));
            not_run.files += of_tests;
            continue;
        }
        let program = &compiled.program;
        let name = program.playbook.name.to_string();
        let hash = program.playbook.hash;
        let known = covered.iter().position(|(known, _, _)| *known == hash);
        let at = known.unwrap_or_else(|| {
            covered.push((hash, name.clone(), Coverage::new(program)));
            covered.len() - 1
        });
        let tests = match &suite.tests {
            Some(Ok(file)) => &file.tests[..],
            Some(Err(diagnostics)) => {
                mistakes += suite.tell(diagnostics);
                not_run.files += of_tests;
                continue;
            }
            None => &[],
        };
        let mut results = Vec::new();
        for test in tests {
            match run::run(suite, test, program, &sources, &mut covered[at].2) {
                Ok(result) => results.push(result),
                Err(diagnostics) => {
                    mistakes += suite.tell(&diagnostics);
                    not_run.tests += 1;
                }
            }
        }
        report.add(&suite.name, &name, &compiled.parameters, results);
    }
    // What the tests of a broken file would have reached is not known.
    if mistakes == 0 {
        report.coverage = covered.iter().map(|(_, name, it)| it.report(name)).collect();
    }
    (report.mistakes, report.not_run) = (mistakes, not_run);
    Ok(report)
}
