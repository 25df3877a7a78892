//! Whether what acts can act.

use std::fs;

use staunch_model::{ActionKind, Failure, FailureKind, InstallationId};
use staunch_server::dto::{ActionCount, Status};

use super::super::{Finding, Health};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::wiring;

/// All of it, for the installation that `asked` is the server of, or that would be started. One that is `running` has
/// rights of its own, which this user may lack.
pub(super) fn all(config: &Config, asked: Option<&Status>, running: bool) -> Vec<Finding> {
    let installation = asked.map(|it| it.installation);
    let mut findings = vec![match firewall(config, installation) {
        Found::Seen(finding) => finding,
        Found::KeptOut(finding) if running => of_server(finding, asked),
        Found::KeptOut(finding) => finding,
    }];
    findings.extend(left_in_firewall(config, installation));
    findings.extend(beside_firewall(config, running));
    findings
}

/// The same, but for the firewall.
pub(super) fn beside_firewall(config: &Config, running: bool) -> Vec<Finding> {
    let others = [processes(config), domains(config), accounts(config), isolation(config)];
    let told = |it| match it {
        Found::KeptOut(finding) if running => finding.unknown_here(),
        Found::Seen(finding) | Found::KeptOut(finding) => finding,
    };
    let mut findings: Vec<Finding> = others.into_iter().flatten().map(told).collect();
    findings.extend(super::jobs::all(config));
    findings
}

/// What a look has come to.
enum Found {
    Seen(Finding),
    /// This user lacks a right.
    KeptOut(Finding),
}

impl Found {
    /// What `fault` says, which stopped the look.
    fn of(fault: &Fault, finding: Finding) -> Self {
        match fault.exit {
            Exit::Denied => Self::KeptOut(finding),
            _ => Self::Seen(finding),
        }
    }
}

/// What the running server says of the firewall, which this user may not look at.
fn of_server(finding: Finding, asked: Option<&Status>) -> Finding {
    let unknown = finding.unknown_here();
    match asked {
        Some(status) => {
            let found = format!(
                "{}; it says that it has {} in force there",
                unknown.found,
                in_firewall(status)
            );
            Finding { found, ..unknown }
        }
        None => unknown,
    }
}

/// How many of the server's containments are in the firewall, as it says.
fn in_firewall(status: &Status) -> u64 {
    // One that only pretends has nothing there.
    let of_firewall =
        |it: &&ActionCount| matches!(it.action, ActionKind::BlockIp | ActionKind::RateLimitIp) && it.driver == NFTABLES;
    status.in_force_by.iter().filter(of_firewall).map(|it| it.count).sum()
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
    // That it cannot be looked at is told by the other finding.
    let held = wiring::firewall(config, Some(status.installation)).ok()?.targets.len() as u64;
    let said = in_firewall(status);
    if held >= said {
        return None;
    }
    let said = said.min(in_firewall(&again()?));
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

fn firewall(config: &Config, running: Option<InstallationId>) -> Found {
    const CHECK: &str = "firewall";
    let table = &config.nftables.table;
    Found::Seen(match wiring::firewall(config, running) {
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
        Err(fault) => {
            let fix = "give the server CAP_NET_ADMIN (root, or AmbientCapabilities in its unit), and load the module nf_tables";
            return Found::of(&fault, Finding::of(CHECK, &fault).fix(fix));
        }
    })
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
fn processes(config: &Config) -> Option<Found> {
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
        return Some(Found::KeptOut(Finding::new(CHECK, Health::Problem, text).fix(fix)));
    }
    Some(match (frozen, told) {
        (Err(fault), _) | (_, Err(fault)) => Found::of(&fault, Finding::of(CHECK, &fault)),
        (Ok(count), Ok(_)) => Found::Seen(Finding::new(
            CHECK,
            Health::Ok,
            format!("cgroup v2 can freeze processes; {count} are frozen by us"),
        )),
    })
}

/// Whether the resolver can be told to deny domains; nothing when it is not to be.
fn domains(config: &Config) -> Option<Found> {
    const CHECK: &str = "domains";
    let problem = |failure: &Failure, fix| Finding::new(CHECK, Health::Problem, failure.to_string()).fix(fix);
    Some(match wiring::sinkholed(config)? {
        Ok(count) => Found::Seen(Finding::new(
            CHECK,
            Health::Ok,
            format!("Unbound can deny domains; {count} are sinkholed by us"),
        )),
        Err(failure) if failure.kind == FailureKind::Denied => {
            let fix = "run the server, and doctor, as root or in the group of Unbound";
            Found::KeptOut(problem(&failure, fix))
        }
        Err(failure) => {
            let fix = "start Unbound with `control-enable: yes` and the socket of [domains] control as `control-interface` under \
                     remote-control; `resolver` is the address on which it answers";
            Found::Seen(problem(&failure, fix))
        }
    })
}

/// Whether this machine can be isolated; nothing when it is not to be.
fn isolation(config: &Config) -> Option<Found> {
    const CHECK: &str = "isolation";
    let isolated = wiring::isolated(config)?;
    Some(match isolated {
        Err(fault) => Found::of(&fault, Finding::of(CHECK, &fault)),
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
                return Some(Found::KeptOut(Finding::new(CHECK, Health::Warning, text).fix(fix)));
            }
            Found::Seen(Finding::new(CHECK, Health::Ok, text))
        }
    })
}

/// Whether accounts can be locked; nothing when they are not to be.
fn accounts(config: &Config) -> Option<Found> {
    const CHECK: &str = "accounts";
    Some(match wiring::locked(config)? {
        Err(fault) => Found::of(&fault, Finding::of(CHECK, &fault)),
        Ok(count) => Found::Seen(Finding::new(
            CHECK,
            Health::Ok,
            format!("accounts of /etc/shadow can be locked; {count} are locked by us"),
        )),
    })
}
