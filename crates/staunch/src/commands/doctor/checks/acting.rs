//! Whether what acts can act.

use std::fs;

use staunch_model::{ActionKind, FailureKind, InstallationId};
use staunch_server::dto::{ActionCount, Status};

use super::super::{Finding, Health};
use crate::config::Config;
use crate::wiring;

/// All of it, for the installation that is `running`, or that would be started.
pub(super) fn all(config: &Config, running: Option<InstallationId>) -> Vec<Finding> {
    let mut findings = vec![firewall(config, running)];
    findings.extend(left_in_firewall(config, running));
    findings.extend(beside_firewall(config));
    findings
}

/// The same, but for the firewall.
pub(super) fn beside_firewall(config: &Config) -> Vec<Finding> {
    let others = [processes(config), domains(config), accounts(config), isolation(config)];
    let mut findings: Vec<Finding> = others.into_iter().flatten().collect();
    findings.extend(super::jobs::all(config));
    findings
}

/// What the driver of the firewall calls itself.
const NFTABLES: &str = "nftables";

/// That what the server of this machine has in force is not all in its firewall; nothing when it is. The server says
/// how it is `again`, so that what comes and goes meanwhile is not taken for missing.
pub(super) fn missing_in_firewall(
    config: &Config,
    status: &Status,
    again: impl FnOnce() -> Option<Status>,
) -> Option<Finding> {
    const CHECK: &str = "firewall";
    let in_force = |status: &Status| -> u64 {
        // One that only pretends has nothing there.
        let of_firewall = |it: &&ActionCount| {
            matches!(it.action, ActionKind::BlockIp | ActionKind::RateLimitIp) && it.driver == NFTABLES
        };
        status.in_force_by.iter().filter(of_firewall).map(|it| it.count).sum()
    };
    // That it cannot be looked at is told by the other finding.
    let held = wiring::firewall(config, Some(status.installation)).ok()?.targets.len() as u64;
    let said = in_force(status);
    if held >= said {
        return None;
    }
    let said = said.min(in_force(&again()?));
    let held_again = wiring::firewall(config, Some(status.installation)).ok()?.targets.len() as u64;
    let held = held.max(held_again);
    if held >= said {
        return None;
    }
    let table = &config.nftables.table;
    let text = format!(
        "the server has {said} in force, and the tables inet {table} and {table}_limit hold {held} of them: somebody \
         else has taken out the others"
    );
    let fix = "the next sweep finds what is missing, rolls it back and tells people; the next alert of an attacker \
               blocks it anew";
    Some(Finding::new(CHECK, Health::Problem, text).fix(fix))
}

fn firewall(config: &Config, running: Option<InstallationId>) -> Finding {
    const CHECK: &str = "firewall";
    let table = &config.nftables.table;
    match wiring::firewall(config, running) {
        Ok(owned) if !owned.targets.is_empty() && !owned.enforcing => {
            let text = format!(
                "the tables inet {table} and {table}_limit hold {} of ours and one of them achieves nothing",
                owned.targets.len()
            );
            Finding::new(CHECK, Health::Problem, text).fix("start the server again: it makes its rules anew")
        }
        Ok(owned) => {
            let text = format!(
                "nf_tables answers; the tables inet {table} and {table}_limit hold {} of ours",
                owned.targets.len()
            );
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => Finding::of(CHECK, &fault).fix(
            "give the server CAP_NET_ADMIN (root, or AmbientCapabilities in its unit), and load the module nf_tables",
        ),
    }
}

/// What is in our tables and not of this installation, which blocks all the same; nothing when there is nothing.
fn left_in_firewall(config: &Config, running: Option<InstallationId>) -> Option<Finding> {
    const CHECK: &str = "firewall";
    // That it cannot be looked at is told by the other finding.
    let ours = wiring::firewall(config, running).ok()?.targets.len();
    let left = match wiring::firewall_labelled(config) {
        Ok(labelled) => labelled.saturating_sub(ours),
        Err(fault) => return Some(Finding::of(CHECK, &fault)),
    };
    if left == 0 {
        return None;
    }
    let (table, noun) = (&config.nftables.table, if left == 1 { "block" } else { "blocks" });
    let text = format!(
        "the tables inet {table} and {table}_limit hold {left} {noun} of former installations besides, in force until \
         they end by themselves"
    );
    Some(Finding::new(CHECK, Health::Warning, text).fix(format!(
        "`staunch containment list` shows them while a server runs, `nft list table inet {table}` without one; `staunch \
         release --all --former` lifts them, and everything else"
    )))
}

/// What acts on processes of others take, by the number of the capability (capabilities(7)).
const NEEDED_FOR_PROCESSES: [(u32, &str); 2] = [(1, "CAP_DAC_OVERRIDE"), (CAP_SYS_PTRACE, "CAP_SYS_PTRACE")];

/// Without it, what processes of other users run, and who started them, is not to be seen.
const CAP_SYS_PTRACE: u32 = 19;

/// Whether this process has the capability of this number at the moment. False when the kernel does not say.
pub(super) fn has_capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    set.is_some_and(|set| set >> bit & 1 == 1)
}

/// Whether processes can be told and frozen; nothing when they are not to be.
fn processes(config: &Config) -> Option<Finding> {
    const CHECK: &str = "processes";
    let frozen = wiring::frozen(config)?;
    let told = wiring::targets(config);
    let missing: Vec<_> = NEEDED_FOR_PROCESSES
        .into_iter()
        .filter(|(bit, _)| !has_capability(*bit))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        let text = format!(
            "{} missing: processes of others cannot be told or frozen",
            missing.join(" and ")
        );
        let fix = "run the server, and doctor, as root or with both capabilities";
        return Some(Finding::new(CHECK, Health::Problem, text).fix(fix));
    }
    Some(match (frozen, told) {
        (Err(fault), _) | (_, Err(fault)) => Finding::of(CHECK, &fault),
        (Ok(count), Ok(_)) => Finding::new(
            CHECK,
            Health::Ok,
            format!("cgroup v2 can freeze processes; {count} are frozen by us"),
        ),
    })
}

/// Whether the resolver can be told to deny domains; nothing when it is not to be.
fn domains(config: &Config) -> Option<Finding> {
    const CHECK: &str = "domains";
    Some(match wiring::sinkholed(config)? {
        Ok(count) => Finding::new(
            CHECK,
            Health::Ok,
            format!("Unbound can deny domains; {count} are sinkholed by us"),
        ),
        Err(failure) => {
            let fix = match failure.kind {
                FailureKind::Denied => "run the server, and doctor, as root or in the group of Unbound",
                _ => {
                    "start Unbound with `control-enable: yes` and the socket of [domains] control as `control-interface` under \
                     remote-control; `resolver` is the address on which it answers"
                }
            };
            Finding::new(CHECK, Health::Problem, failure.to_string()).fix(fix)
        }
    })
}

/// Whether this machine can be isolated; nothing when it is not to be.
fn isolation(config: &Config) -> Option<Finding> {
    const CHECK: &str = "isolation";
    let isolated = wiring::isolated(config)?;
    Some(match isolated {
        Err(fault) => Finding::of(CHECK, &fault),
        Ok(isolated) => {
            let state = if isolated {
                "is isolated by us"
            } else {
                "is not isolated"
            };
            let networks = config.isolation.management.len();
            let noun = if networks == 1 { "network" } else { "networks" };
            let text = format!("this machine {state}; {networks} {noun} would stay in touch with it");
            if config.isolation.keep_sessions && !has_capability(CAP_SYS_PTRACE) {
                let text = format!("{text}, and nobody who is logged in: CAP_SYS_PTRACE is missing");
                let fix = "run the server, and doctor, as root or with it; or set keep_sessions = false";
                return Some(Finding::new(CHECK, Health::Warning, text).fix(fix));
            }
            Finding::new(CHECK, Health::Ok, text)
        }
    })
}

/// Whether accounts can be locked; nothing when they are not to be.
fn accounts(config: &Config) -> Option<Finding> {
    const CHECK: &str = "accounts";
    Some(match wiring::locked(config)? {
        Err(fault) => Finding::of(CHECK, &fault),
        Ok(count) => Finding::new(
            CHECK,
            Health::Ok,
            format!("accounts of /etc/shadow can be locked; {count} are locked by us"),
        ),
    })
}
