//! What the machine gives: sessions, open files, the clock.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use staunch_connectors::enrichers::Sessions;

use super::super::{Finding, Health};
use crate::config::Config;

/// Files that marks of clock daemons leave: that the clock is synchronised, or that somebody looks after it.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Open files of a server beside its connections.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Whether the peers of other users' sessions are found: their environments tell, which only root may read, and records
/// of logins, which everybody may.
pub(super) fn sessions(config: &Config) -> Finding {
    const CHECK: &str = "management sessions";
    if !config.never_touch.discover {
        return Finding::new(CHECK, Health::Ok, "not looked for, says the configuration");
    }
    if geteuid().is_root() {
        return Finding::new(
            CHECK,
            Health::Ok,
            "those of all users are seen by this user; a server sees what its user may",
        );
    }
    if Sessions::default().has_records() {
        let text = "those that systemd-logind or utmp record are seen by this user; one at no terminal is not without PAM, or with UseDNS";
        return Finding::new(CHECK, Health::Ok, text);
    }
    Finding::new(CHECK, Health::Warning, "those of other users are not seen by this user")
        .fix("list the networks of administrators under [[never_touch.networks]]")
}

pub(super) fn open_files(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let wanted = config.http.connections_max as u64 + FILES_BESIDE_CONNECTIONS;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Err(error) => Finding::new(CHECK, Health::Unknown, error.to_string()),
        Ok((_, most)) if most < wanted => {
            let text = format!(
                "this user may open {most}, and {wanted} are wanted for {} connections",
                config.http.connections_max
            );
            Finding::new(CHECK, Health::Warning, text)
                .fix("raise LimitNOFILE in the unit, or lower http.connections_max")
        }
        Ok((_, most)) => Finding::new(CHECK, Health::Ok, format!("up to {most}")),
    }
}

pub(super) fn clock() -> Finding {
    const CHECK: &str = "clock";
    if Path::new(SYNCHRONISED).exists() {
        return Finding::new(CHECK, Health::Ok, "synchronised, says systemd-timesyncd");
    }
    let daemon = ["/run/chrony/chronyd.pid", "/run/ntpd.pid", "/run/ntpsec/ntpd.pid"];
    if let Some(file) = daemon.iter().find(|it| Path::new(it).exists()) {
        return Finding::new(CHECK, Health::Ok, format!("looked after by the daemon of {file}"));
    }
    Finding::new(CHECK, Health::Unknown, "nobody is seen to look after it")
        .fix("run systemd-timesyncd, chrony or ntpsec: the age of events is judged by this clock")
}
