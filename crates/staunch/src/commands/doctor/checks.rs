//! The checks, each a function that looks and tells.

mod acting;
mod evidence;
mod jobs;
mod kept;
mod machine;
mod server;
mod told;
pub(super) mod who;

use std::path::Path;

use nix::unistd::AccessFlags;

use super::{Finding, Health};
use crate::cli::ServerArgs;
use crate::client::is_served;
use crate::config::Config;
use crate::output::counted;
use crate::playbooks::{Texts, errors};
use crate::wiring;

/// What is found where nothing of the configuration is known.
pub(super) fn without_configuration() -> Vec<Finding> {
    vec![who::user(), machine::clock()]
}

/// What all checks find, with the configuration of `file`; nobody is asked how the server is, with `asks` false: where
/// it is, is not known for certain then, and whoever is there must not see a token.
pub(super) fn all(config: &Config, file: Option<&Path>, server: &ServerArgs, asks: bool) -> Vec<Finding> {
    let status = if asks {
        server::status_of(config, server)
    } else {
        Err(Finding::new("server", Health::Unknown, "it is not known where it is"))
    };
    // Also one that takes connections and does not say how it is.
    let running = matches!(status, Ok(Some(_)))
        || (asks && is_served(&config.operators_socket()))
        || (asks && server.url.is_none() && status.is_err() && server::is_there(config, server));
    // A server that is named may be another machine's.
    let runs_here = running && server.url.is_none();
    let mut findings = vec![who::user(), playbooks(config), kept::data_directory(config, runs_here)];
    findings.extend(kept::disk(config));
    let answer = status.as_ref().ok().and_then(Option::as_ref);
    let trouble = answer.and_then(|it| evidence::of_server(&it.evidence));
    let here = answer.filter(|_| server.url.is_none());
    let is_kept_out = who::kept_out(&config.data_dir, AccessFlags::R_OK | AccessFlags::X_OK).is_some();
    if is_kept_out {
        // What is wrong with the machine cannot be told from what this user may not see.
        let unknown = |check| {
            Finding::new(
                check,
                Health::Unknown,
                "it needs what is in the data directory, which this user may not read",
            )
        };
        findings.extend(["journal", "tokens", "firewall", "evidence"].map(unknown));
        findings.extend(trouble);
        findings.extend(kept::credentials(config));
        findings.extend(acting::beside_firewall(config, runs_here));
    } else {
        findings.push(kept::journal(config));
        findings.push(kept::tokens(config));
        findings.extend(kept::credentials(config));
        findings.extend(acting::all(config, here, runs_here));
        let again = || server::status_of(config, server).ok().flatten();
        findings.extend(here.and_then(|it| acting::missing_in_firewall(config, it, again)));
        findings.extend(evidence::all(config, trouble));
    }
    findings.push(told::protections(config));
    findings.extend(told::lists(config));
    findings.extend(told::feeds(config));
    findings.extend(told::lookups(config));
    findings.extend(told::notifiers(config));
    findings.extend(told::signals(config));
    findings.extend(told::conditions(config));
    findings.extend(told::context(config));
    findings.push(machine::sessions(config));
    findings.push(machine::open_files(config));
    findings.push(machine::clock());
    findings.extend(told::files(config, here, runs_here));
    // A server that is named may be the one that has the address.
    if server.url.is_none() {
        findings.extend(server::listen(config, running));
    }
    match status {
        Ok(Some(status)) => {
            // The file of this machine says nothing of a server that is named.
            findings.extend(server::configured(&status, file.filter(|_| server.url.is_none())));
            findings.extend(server::server_state(&status));
            findings.extend(server::inlets(&status, server.url.is_none().then_some(config)));
        }
        Ok(None) if is_kept_out && server.url.is_none() => {
            let text = "none answers at its address; its socket is in the data directory, which this user may not read";
            findings.push(Finding::new("server", Health::Unknown, text));
        }
        Ok(None) => findings.push(
            Finding::new("server", Health::Warning, "none runs here")
                .fix("start it with `staunch serve`, or name another with --url or --data-dir"),
        ),
        Err(finding) => findings.push(finding),
    }
    findings
}

fn playbooks(config: &Config) -> Finding {
    let texts = Texts::configured(config);
    let outcome = texts.compile(&wiring::check_context(config));
    let count = texts.count();
    if !outcome.usable {
        let wrong = errors(&outcome.diagnostics);
        let mut found = Vec::new();
        if let [first, others @ ..] = texts.unreadable.as_slice() {
            found.push(format!("cannot read {}: {}", first.file, first.why));
            if !others.is_empty() {
                found.push(format!("nor {} more", others.len()));
            }
        }
        if wrong > 0 {
            let (wrong, count) = (counted(wrong as u64, "mistake"), counted(count as u64, "playbook"));
            found.push(format!("{wrong} in {count}"));
        }
        let fix = match texts.unreadable.is_empty() {
            true => "`staunch check` shows each where it is",
            false => "name under [playbooks] what is there and can be read; `staunch check` shows all mistakes",
        };
        return Finding::new("playbooks", Health::Problem, found.join("; ")).fix(fix);
    }
    if count == 0 {
        return Finding::new(
            "playbooks",
            Health::Problem,
            "there is none, so no event leads to anything",
        )
        .fix("set `built_in = true` under [playbooks], or name directories in `dirs`");
    }
    match outcome.diagnostics.len() {
        0 if !outcome.idle.is_empty() => {
            let idle = outcome.idle.len();
            let text =
                format!("{count}, without mistakes; {idle} of them ask for what is not switched on, and do nothing");
            Finding::new("playbooks", Health::Ok, text).fix("`staunch check` names them, and what switches it on")
        }
        0 => Finding::new("playbooks", Health::Ok, format!("{count}, without mistakes")),
        some => Finding::new(
            "playbooks",
            Health::Warning,
            format!("{count}, with {}", counted(some as u64, "warning")),
        )
        .fix("`staunch check` shows them"),
    }
}
