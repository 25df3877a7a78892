//! The server, if one runs: its address and what it says of itself.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::json;
use staunch_connectors::inlets::syslog::Transport;
use staunch_model::{Printable, Timestamp};
use staunch_server::dto::{Health as Alive, IndexView, InletReading, Status, path};

use super::super::{Finding, Health};
use crate::cli::ServerArgs;
use crate::client::{Client, Patience};
use crate::commands::reload::keys;
use crate::config::Config;
use crate::exit::Exit;
use crate::inlets::remedy;
use crate::output::{counted, now, relative};

/// The address of the API, and those of syslog: whether a start could listen there. With a server `running`, it does.
pub(super) fn listen(config: &Config, running: bool) -> Vec<Finding> {
    const CHECK: &str = "address";
    let listen = config.http.listen;
    let mut findings = Vec::new();
    if running {
        findings.push(Finding::new(
            CHECK,
            Health::Ok,
            format!("{listen}, with a server behind it"),
        ));
    } else {
        findings.push(free(CHECK, listen, Transport::Tcp, "http.listen"));
        let syslog = config.sources.syslog.iter().map(|it| it.listen);
        findings.extend(syslog.map(|it| free("syslog", it.address, it.transport, "it under [[sources.syslog]]")));
    }
    if !listen.ip().is_loopback() && config.http.tls.is_none() {
        let text = format!("{listen} speaks plain HTTP: tokens can be read on their way");
        let fix = "set [http.tls], or listen on 127.0.0.1 behind a TLS proxy";
        findings.push(Finding::new(CHECK, Health::Warning, text).fix(fix));
    }
    findings
}

/// Whether `address` can be listened on, which the key `set_by` names.
fn free(check: &'static str, address: SocketAddr, transport: Transport, set_by: &str) -> Finding {
    let (bound, flag) = match transport {
        Transport::Tcp => (TcpListener::bind(address).map(drop), 't'),
        Transport::Udp => (UdpSocket::bind(address).map(drop), 'u'),
    };
    let Err(error) = bound else {
        return Finding::new(check, Health::Ok, format!("{address} is free"));
    };
    let port = address.port();
    let (why, fix) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "another program has it".to_owned(),
            format!("`ss -{flag}lnp sport = :{port}` as root names it: end that, or set {set_by}"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            "no interface of this machine has the address".to_owned(),
            format!("`ip address` shows those that it has: set {set_by} to one of them, or give it this one"),
        ),
        io::ErrorKind::PermissionDenied => {
            let found = format!("{address} cannot be tried: this user may not use port {port}");
            let fix = format!("run this as the user of the server, or set {set_by} to a port above 1023");
            return Finding::new(check, Health::Unknown, found).fix(fix);
        }
        _ => (error.to_string(), format!("set {set_by}")),
    };
    Finding::new(
        check,
        Health::Problem,
        format!("{address} cannot be listened on: {why}"),
    )
    .fix(fix)
}

/// The running server's word; nothing when none is there.
pub(super) fn status_of(config: &Config, server: &ServerArgs) -> Result<Option<Status>, Finding> {
    let asked = Client::with(server, config, Patience::SHORT).and_then(|client| client.get(path::STATUS, &json!({})));
    match asked {
        Ok(status) => Ok(Some(status)),
        // Whoever takes connections is there, and is not well.
        Err(fault) if fault.exit == Exit::Unreachable && !fault.is_silence() => Ok(None),
        // A fault of the connection, such as a certificate that is not good, has a cause; what a server says has none.
        Err(fault) if fault.exit == Exit::Denied && !fault.has_cause() => Err(Finding::new(
            "server",
            Health::Unknown,
            "it answers, and does not tell this user how it is",
        )
        .fix("put a viewer's token into STAUNCH_TOKEN, or run this as the user of the server")),
        Err(fault) => Err(Finding::of("server", &fault)),
    }
}

/// Whether it is a Staunch that has the address, which it tells everybody.
pub(super) fn is_there(config: &Config, server: &ServerArgs) -> bool {
    let asked = Client::with(server, config, Patience::SHORT);
    asked.is_ok_and(|client| client.get::<Alive>(path::HEALTH, &json!({})).is_ok())
}

/// The inlets that the running server reads nothing from, but for the files of `config`.
pub(super) fn inlets(status: &Status, config: Option<&Config>) -> Vec<Finding> {
    let is_told = |it: &&InletReading| {
        let files = config.iter().flat_map(|config| &config.sources.files);
        files.into_iter().any(|file| follows(it, &file.path))
    };
    let failing = status.inlets.iter().filter(|it| !is_told(it));
    let one = |it: &InletReading| {
        let why = it.failing.as_ref()?;
        let text = format!(
            "it cannot read from {} {}: {}",
            Printable(&it.kind),
            Printable(&it.follows),
            Printable(why)
        );
        let finding = Finding::new("server", Health::Problem, text);
        Some(match remedy(it) {
            Some(fix) => finding.fix(fix),
            None => finding,
        })
    };
    failing.filter_map(one).collect()
}

/// Whether it is the file `path` that is read there.
pub(super) fn follows(inlet: &InletReading, path: &Path) -> bool {
    inlet.kind == "file" && inlet.follows == Printable(&path.display().to_string()).to_string()
}

/// How the configuration of the running server stands to the `file` that it is of; nothing where all of it is in force.
pub(super) fn configured(status: &Status, file: Option<&Path>) -> Option<Finding> {
    const CHECK: &str = "configuration";
    let changed = file.and_then(|file| fs::metadata(file).ok()?.modified().ok());
    let changed = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let changed = changed
        .and_then(|at| u64::try_from(at.as_micros()).ok())
        .map(Timestamp::from_micros);
    if let (Some(changed), Some(read)) = (changed, status.configuration_read)
        && (read..=now()).contains(&changed)
        && changed != read
    {
        // What the server has found changed may be as it was again.
        let text = format!(
            "the file was changed {}, after the running server has read it",
            relative(changed, now())
        );
        let fix = "`staunch reload` has it read, and says what needs a start";
        return Some(Finding::new(CHECK, Health::Warning, text).fix(fix));
    }
    (!status.at_next_start.is_empty()).then(|| {
        let text = format!(
            "the running server was started with other values of {}: what is written there is not in force",
            keys(&status.at_next_start)
        );
        Finding::new(CHECK, Health::Warning, text).fix("start it again, and they are")
    })
}

pub(super) fn server_state(status: &Status) -> Vec<Finding> {
    const CHECK: &str = "server";
    let problem = |text: String, fix: &str| Finding::new(CHECK, Health::Problem, text).fix(fix);
    let mut findings = Vec::new();
    if let Some(lost) = &status.journal_lost {
        findings.push(problem(
            format!("its journal is lost: {lost}"),
            "release what is in force, and start it again on a sound data directory",
        ));
    }
    if status.journal_full.is_some() {
        findings.push(problem(
            "its journal is full: no events are taken".to_owned(),
            "make room on the disk of the data directory; it takes events again by itself",
        ));
    }
    for gap in &status.sandbox_gaps {
        let fix = "where a unit runs it, let its SystemCallFilter allow `seccomp` and the calls of Landlock, as the one of `staunch \
                   init --unit` does; [sandbox] enabled = false goes without";
        findings.push(Finding::new(CHECK, Health::Warning, format!("its sandbox is not whole: {gap}")).fix(fix));
    }
    for failure in &status.sweep_failures {
        let text = format!("{} cannot be verified: {}", failure.action, failure.why);
        findings.push(problem(
            text,
            "mend the enforcement point; what is in force ends with its lease",
        ));
    }
    for list in &status.lists {
        if let Some(why) = &list.refused {
            let text = format!(
                "it has refused a list: {why}; {} of it that {} read {} {} in force",
                counted(list.networks, "network"),
                if list.networks == 1 { "was" } else { "were" },
                relative(list.read_at, now()),
                if list.networks == 1 { "stays" } else { "stay" },
            );
            findings.push(problem(text, "mend the file; it is read again within a second"));
        }
    }
    for file in &status.context {
        if let Some(why) = &file.refused {
            let text = format!(
                "it has refused a file of context: {why}; what was read {} stays in force",
                relative(file.read_at, now())
            );
            findings.push(problem(text, "mend the file; it is read again within a second"));
        }
    }
    for feed in &status.feeds {
        if let Some(why) = &feed.failed {
            let text = match feed.as_of {
                Some(_) => format!("{why}; what was read before counts until it expires"),
                None => format!("{why}; nothing of it has been read since the server started, so that it says nothing"),
            };
            let fix = "mend it: a file is read again within a second, and what is fetched is asked for again after a \
                       minute, later each time";
            findings.push(Finding::new(CHECK, Health::Warning, text).fix(fix));
        }
    }
    for lookup in &status.lookups {
        if let Some(why) = &lookup.failed {
            let text = format!("look-up {}: {}", Printable(&lookup.name), Printable(why));
            let fix = "mend the service or its key; scores that only it knows are unknown until then";
            findings.push(Finding::new(CHECK, Health::Warning, text).fix(fix));
        }
    }
    if status.unverified > 0 {
        let text = format!("{} of {} in force are not verified", status.unverified, status.in_force);
        findings.push(problem(text, "`staunch containment list` shows which"));
    }
    if status.stuck > 0 {
        findings.push(problem(
            format!("{} transactions are stuck", status.stuck),
            "`staunch containment list` says what was tried",
        ));
    }
    if status.mode.breaker_open.is_some() {
        findings.push(problem(
            "its circuit breaker is open: it only observes".to_owned(),
            "find out what failed, then set `staunch mode` again",
        ));
    }
    match &status.index {
        None => findings.push(
            Finding::new(CHECK, Health::Warning, "its index gives no answer: incidents cannot be listed")
                .fix("its log says why; mend that, and the server reads or makes it again by itself"),
        ),
        Some(IndexView { trouble: Some(why), .. }) => findings.push(
            Finding::new(
                CHECK,
                Health::Warning,
                format!("its index cannot be written: {}", Printable(why)),
            )
            .fix("incidents are missing in lists until it can, and it is tried again by itself; see the check of the disk, \
                 and the log of the server"),
        ),
        Some(view) if view.lag.is_some_and(|lag| lag > 10_000) => {
            findings.push(Finding::new(
                CHECK,
                Health::Warning,
                "its index is far behind the journal",
            ));
        }
        Some(_) => {}
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        let text = format!(
            "it is version {}, and this is {}",
            status.version,
            env!("CARGO_PKG_VERSION")
        );
        findings.push(Finding::new(CHECK, Health::Warning, text).fix("start it again after an update"));
    }
    if findings.is_empty() {
        let up = relative(status.started, now());
        findings.push(Finding::new(
            CHECK,
            Health::Ok,
            format!("runs, started {up}, mode {}", status.mode.mode),
        ));
    }
    if status.open_to_loopback {
        let text = "whoever can log in to the machine of the server may send it events and commands: it asks for no \
                    token there";
        let fix = "make tokens, and start it without --allow-unauthenticated-loopback";
        findings.push(Finding::new("tokens", Health::Warning, text).fix(fix));
    }
    findings
}
