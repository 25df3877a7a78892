//! The real binary, from outside: its commands, its configuration, and a server in a network namespace of its own.

mod backtest;
mod commands;
mod config;
mod context;
mod demo;
mod doctor;
mod drill;
mod feeds;
mod files;
mod flows;
mod harness;
mod incident;
mod init;
mod inlets;
mod kill;
mod lists;
#[allow(dead_code, reason = "the torture uses more of it")]
mod load;
mod manual;
mod metrics;
mod operators;
mod playbook_tests;
mod processes;
mod protect;
mod rate_limit;
mod reload;
mod replay;
mod run;
mod said;
mod sandbox;
mod senders;
mod signatures;
mod sources;
mod tls;
mod traces;
mod trouble;
