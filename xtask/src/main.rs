//! Project tasks: `cargo xtask <task>`.
//!
//! Never imports a crate of ours, so that it builds quickly and can judge all of them.
//!
//! A task is a module with `run(arguments) -> Result<ExitCode>` and a row in [`TASKS`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is the purpose"
)]

use std::process::ExitCode;

use anyhow::Result;

mod api;
mod bench;
mod deb;
mod fuzz;
mod model;
mod promtool;
mod python;
mod s3;
mod schema;
mod shell;
mod sim;
mod test;
mod tidy;
mod torture;
mod usage;
mod workspace;

/// A task by its name.
struct Task {
    name: &'static str,
    /// What follows the name, for the help text.
    arguments: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Result<ExitCode>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        arguments: "[cargo test options] [-- <name of a test>...]",
        summary: "set this machine up, run all tests, and list the tests that could not run",
        run: test::run,
    },
    Task {
        name: "tidy",
        arguments: "[--fix] [<check>...]",
        summary: "run all checks of form, or only the named ones, and list everything that failed",
        run: tidy::run,
    },
    Task {
        name: "sim",
        arguments: "[--seeds N] [--from S] [--seed S] [--seconds N] [--json] [--profiled]",
        summary: "run the engine in a simulated world with faults, kept seeds first, and show what breaks",
        run: sim::run,
    },
    Task {
        name: "promtool",
        arguments: "[--if-there] [SCRAPE...]",
        summary: "hold alert rules, the dashboard and scrapes to Prometheus' own tool",
        run: promtool::run,
    },
    Task {
        name: "mutants",
        arguments: "",
        summary: "put known faults into the engine, and see each found by the invariant named for it",
        run: sim::mutants,
    },
    Task {
        name: "model",
        arguments: "[--mutants]",
        summary: "visit every state that the engine can reach within bounds, or see known faults found there",
        run: model::run,
    },
    Task {
        name: "bench",
        arguments: "[--json] [--against PROGRAM] [block|triage|durable|prefixes|reload|storm|lookup|replay|backtest|evidence|memory|vault...]",
        summary: "measure the bars of the project, or only the named ones, each beside its floor; or another build in turn with this",
        run: bench::run,
    },
    Task {
        name: "torture",
        arguments: "[--debug] [--kills N] [--seconds N] [--seed S] [--json]",
        summary: "kill, stop, starve and disturb the real server under load, and see that nothing is lost or left",
        run: torture::run,
    },
    Task {
        name: "s3",
        arguments: "",
        summary: "anchor checkpoints in buckets of moto, which locks as S3 does, and see those refused that do not",
        run: s3::run,
    },
    Task {
        name: "schema",
        arguments: "[--editor]",
        summary: "check the schemas of playbooks, tests and snippets with check-jsonschema, or with an editor's server too",
        run: schema::run,
    },
    Task {
        name: "api",
        arguments: "[--seed S] [--examples N]",
        summary: "send a real server what the description of its API allows and forbids, with Schemathesis",
        run: api::run,
    },
    Task {
        name: "deb",
        arguments: "[--check] [--boot]",
        summary: "build a Debian package; install and purge it in a system of its own; take a booted one through the guide",
        run: deb::run,
    },
    Task {
        name: "fuzz",
        arguments: "[--seconds <number>] [<target>...]",
        summary: "run all fuzz targets, or only the named ones, with libFuzzer for 60 seconds each",
        run: fuzz::run,
    },
];

impl Task {
    /// How it is used.
    fn help(&self) -> String {
        let usage = format!("Usage: cargo xtask {} {}", self.name, self.arguments);
        format!("{}\n\n{}\n", usage.trim_end(), self.summary)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("error: there is no task {name:?}\n\n{}", help());
        return ExitCode::from(2);
    };
    match usage::asked(task.arguments, rest) {
        Ok(usage::Asked::Run) => {}
        Ok(usage::Asked::Help) => {
            print!("{}", task.help());
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("error: {why}\n\n{}", task.help());
            return ExitCode::from(2);
        }
    }
    (task.run)(rest).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <task>\n\n");
    for task in TASKS {
        text.push_str(&format!("  {} {}\n      {}\n", task.name, task.arguments, task.summary));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_tells_how_it_is_used_and_refuses_what_it_does_not_know() {
        for task in TASKS {
            let asked = |argument: &str| usage::asked(task.arguments, &[argument.to_owned()]);
            assert_eq!(asked("--help"), Ok(usage::Asked::Help), "{}", task.name);
            assert_eq!(asked("-h"), Ok(usage::Asked::Help), "{}", task.name);
            let help = task.help();
            assert!(help.starts_with(&format!("Usage: cargo xtask {}", task.name)), "{help}");
            assert!(help.contains(task.summary), "{help}");
            // Its arguments are those of `cargo test`, which refuses what it does not know.
            assert_eq!(asked("--no-such-option").is_err(), task.name != "test", "{}", task.name);
        }
    }

    /// The commands of ours in `text`, each without `cargo xtask`. What stands for something else is left out.
    fn commands(text: &str) -> impl Iterator<Item = Vec<String>> {
        let ends = ['\n', '`', '#', '|', '&', ';', '>', ')'];
        let after = text.split("cargo xtask ").skip(1);
        let commands = after.filter_map(move |it| it.split(ends).next());
        let words = commands.map(|it| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        words.filter(|it| !it.iter().any(|word| word.starts_with(['<', '['])))
    }

    #[test]
    fn every_task_that_is_written_down_is_one_with_arguments_that_it_takes() {
        let written = "Run `cargo xtask bench storm block` or\ncargo xtask sim --seed 5   # one\n`cargo xtask <task>`";
        let found: Vec<String> = commands(written).map(|it| it.join(" ")).collect();
        assert_eq!(found, ["bench storm block", "sim --seed 5"]);

        let workspace = workspace::Workspace::find().expect("a checkout");
        let mut seen = 0;
        for file in workspace.with_extension("md").chain([std::path::Path::new(".ci/run")]) {
            let text = workspace.read(file).expect("it can be read").expect("it is text");
            for command in commands(&text) {
                seen += 1;
                let place = format!("{}: cargo xtask {}", file.display(), command.join(" "));
                let (name, arguments) = command.split_first().expect("it names a task");
                let task = TASKS.iter().find(|task| task.name == name);
                let task = task.unwrap_or_else(|| panic!("{place}: there is no such task"));
                let asked = usage::asked(task.arguments, arguments);
                assert!(asked.is_ok(), "{place}: {asked:?}");
            }
        }
        assert!(seen > 30, "only {seen} commands are written down");
    }
}
