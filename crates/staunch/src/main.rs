//! The staunch program: commands, configuration and the wiring of concrete parts.
//!
//! Never decides anything about an incident: that is the engine's business. Commands that operate a running Staunch go
//! through its API, so that everything an operator does is recorded.

mod actor;
mod anchors;
mod api_key;
mod backtest;
mod bucket;
mod called;
mod cli;
mod client;
mod clock_offset;
mod commands;
mod config;
mod context;
mod demo;
mod digest;
mod drill;
mod exit;
mod feeds;
mod files;
mod finding;
mod health;
mod inlets;
mod jobs;
mod lists;
mod log;
mod logbook;
mod lookups;
#[cfg(test)]
mod loopback;
mod misbehave;
mod names;
mod narrator;
mod note;
mod notices;
mod outbox;
mod output;
mod passed_over;
mod playbooks;
mod progress;
mod reach;
mod sandbox;
mod service_manager;
mod signing;
mod stage;
mod traces;
mod watched;
mod whole;
mod wiring;
mod words;

use std::process::ExitCode;

/// One whose threads seldom wait for each other, and which keeps little (docs/adr/0038-jemalloc.md). How much is set
/// where it is compiled, in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|it| it == jobs::LAUNCH) {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        return staunch_connectors::actions::exec_job::launch::main(&arguments);
    }
    let (cli, json) = match cli::read(std::env::args_os()) {
        Ok(read) => read,
        Err(error) if error.use_stderr() && cli::asks_for_json(std::env::args_os()) => {
            return told(&cli::not_taken(&error), true);
        }
        Err(error) => error.exit(),
    };
    if json {
        output::answer_in_json();
    }
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(fault) => told(&fault, json),
    }
}

/// Says what went wrong, as data where data was asked for.
fn told(fault: &exit::Fault, json: bool) -> ExitCode {
    // Who reads a log of JSON reads nothing else there, unless the answer was asked for as data too.
    if log::end(fault) && !json {
        return fault.exit.into();
    }
    let text = if json {
        fault.json_line()
    } else {
        fault.render(output::colors_on_stderr(), output::is_stderr_terminal())
    };
    output::say_rendered(&text);
    fault.exit.into()
}
