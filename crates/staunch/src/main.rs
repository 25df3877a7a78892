//! The staunch program: commands, configuration and the wiring of concrete parts.
//!
//! Never decides anything about an incident: that is the engine's business. Commands that operate a running Staunch go
//! through its API, so that everything an operator does is recorded.

mod allocator;
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
mod narrator;
mod note;
mod notices;
mod outbox;
mod output;
mod playbooks;
mod progress;
mod reach;
mod sandbox;
mod signing;
mod stage;
mod traces;
mod watched;
mod wiring;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|it| it == jobs::LAUNCH) {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        return staunch_connectors::actions::exec_job::launch::main(&arguments);
    }
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(fault) => {
            output::say_rendered(&fault.render(output::colors_on_stderr()));
            fault.exit.into()
        }
    }
}
