//! The real binary, from outside: its commands, its configuration, and a server in a network namespace of its own.

mod backtest;
mod commands;
mod config;
mod demo;
mod flows;
mod harness;
mod kill;
mod operators;
mod playbook_tests;
mod replay;
mod trouble;
