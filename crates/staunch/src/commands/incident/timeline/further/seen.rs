//! What the sealed evidence of an incident says: processes that began, logins, connections that were open, times of
//! files, and the lines of logs that were kept.
//!
//! What a collector read out of the kernel was observed. What a file of the machine says, whoever wrote to it, is
//! stated.

use std::collections::BTreeSet;
use std::io;

use serde_json::Value;
use staunch_connectors::logs::{Format, Kind, Parties, ReadError, Same};
use staunch_model::{EvidenceKind, Printable, Timestamp};

use super::interest::{About, Interest};
use super::{ENTRIES_MAX, Found, Further, LogRead, OF_EVIDENCE, rank};
use crate::cli::FurtherArgs;
use crate::commands::evidence::reading::Reading;
use crate::commands::incident::graph::facts::{Began, Facts, Login, ProcessKey};
use crate::commands::incident::sealed::{self, Kept};
use crate::commands::incident::timeline::{Basis, Entry, Lane};

/// Generations that are gone up from a process of the incident.
const GENERATIONS_MAX: usize = 64;

/// Something that evidence says, before it is known whether it belongs to the incident.
#[derive(Clone, Debug)]
struct Seen {
    at: Timestamp,
    /// The kind of evidence.
    system: &'static str,
    said_by: String,
    kind: Kind,
    basis: Basis,
    same: Option<Same>,
    parties: Parties,
    what: String,
}

impl Further {
    /// Adds what is sealed. What its processes are comes to be a part of `interest`.
    pub(super) fn evidence(&mut self, reading: &Reading, args: &FurtherArgs, interest: &mut Interest) {
        let read = sealed::read(reading);
        self.tells.missing.extend(read.missing);
        let facts = Facts::of(&read.sealed);
        interest.pids.extend(pids(&facts, interest));
        let (kept, missing) = sealed::kept(reading);
        self.tells.missing.extend(missing);

        self.origins += 1;
        let origin = self.origins;
        let mut seen = processes(&facts);
        seen.extend(logins(&facts));
        seen.extend(connections(&facts));
        let mut no_room: u64 = 0;
        // All of it was there when it was taken, which is beside the incident whatever it is about: what names only the
        // attacked side is no more than what the machine does all day.
        let mut only_attacked: u64 = 0;
        let is_shown = |it: &Seen| {
            let about = interest.about(&it.parties);
            let is_within = interest.is_within(it.at);
            only_attacked += u64::from(is_within && about == About::AttackedSide);
            is_within && about == About::Incident
        };
        // Files are those that the playbook names: all of them are about the incident.
        let files = kept
            .iter()
            .filter(|it| it.is_list)
            .flat_map(|it| match it.document(reading) {
                Ok(list) => files(&list, &it.evidence.to_string()),
                Err(why) => {
                    let what = format!("{} (files): {}", it.evidence, Printable(&why));
                    self.tells.missing.push(what);
                    Vec::new()
                }
            });
        let files: Vec<Seen> = files.filter(|it| interest.is_within(it.at)).collect();
        for it in seen.into_iter().filter(is_shown).chain(files) {
            if self.found.len() >= ENTRIES_MAX {
                no_room += 1;
                continue;
            }
            let rank = rank(args, it.system, OF_EVIDENCE);
            let entry = Entry {
                system: Some(it.system.to_owned()),
                origin: Some(it.said_by),
                kind: Some(it.kind),
                same: it.same,
                ..Entry::new(it.at, (Lane::Found, it.basis, it.what))
            };
            self.found.push(Found { entry, origin, rank });
        }
        if only_attacked > 0 {
            let what = format!(
                "evidence: {only_attacked} connections that name only the attacked side are not shown; --all shows them"
            );
            self.tells.hidden.push(what);
        }
        if no_room > 0 {
            let what = format!("{no_room} more things in evidence, for which there was no room");
            self.tells.missing.push(what);
        }
        self.logs_left += kept.iter().filter(|it| !it.is_list).count();
        for it in kept.iter().filter(|it| !it.is_list) {
            self.kept(it, reading, args, interest);
        }
    }

    /// Adds what a log says that was kept.
    fn kept(&mut self, kept: &Kept, reading: &Reading, args: &FurtherArgs, interest: &Interest) {
        let format = (kept.kind == EvidenceKind::Journal).then_some(Format::Journal);
        let name = kept.from.rsplit('/').next().unwrap_or(&kept.from);
        let name = match format {
            Some(_) => format!("{} journal", kept.evidence),
            None => format!("{} {name}", kept.evidence),
        };
        let mut read = LogRead {
            file: format!("{} {}", kept.evidence, kept.from),
            format: format.map(Format::name),
            guessed: format.is_none(),
            ..LogRead::default()
        };
        let before = self.found.len();
        let failed = match kept.open(reading) {
            Ok(mut from) => {
                let lines = self.lines(&mut from, format, (&name, Lane::Log), args, interest, &mut read);
                // Only at the end of its bytes it is proved; what is unpacked may end before.
                let proved = lines.and_then(|()| io::copy(&mut from, &mut io::sink()).map_err(ReadError::Io));
                proved.map(drop).map_err(|error| match error {
                    ReadError::Io(error) | ReadError::BrokenOff { source: error, .. } => error.to_string(),
                    other => other.to_string(),
                })
            }
            Err(why) => {
                self.logs_left = self.logs_left.saturating_sub(1);
                Err(why)
            }
        };
        if let Err(why) = failed {
            // What was not proved to its end does not count.
            self.found.truncate(before);
            read = LogRead {
                file: read.file,
                format: format.map(Format::name),
                failed: Some(Printable(&why).to_string()),
                ..LogRead::default()
            };
        }
        self.tells.logs.push(read);
    }
}

/// The processes that belong to the incident: those that evidence was taken of, that hold a connection to one of its
/// addresses, and who started them.
fn pids(facts: &Facts, interest: &Interest) -> BTreeSet<u32> {
    let subjects = facts
        .processes
        .iter()
        .filter(|(_, it)| it.is_subject)
        .map(|(key, _)| *key);
    let of_addresses = facts
        .connections
        .iter()
        .filter(|((_, _, remote), _)| interest.addresses.contains(&remote.0));
    let holders = of_addresses.flat_map(|(_, it)| it.holders.iter().copied());
    let named = facts
        .processes
        .keys()
        .copied()
        .filter(|(pid, _)| interest.pids.contains(pid));
    let mut all: BTreeSet<ProcessKey> = subjects.chain(holders).chain(named).collect();
    let mut newest: Vec<ProcessKey> = all.iter().copied().collect();
    for _ in 0..GENERATIONS_MAX {
        newest = newest.iter().filter_map(|it| facts.parent_of(*it)).collect();
        newest.retain(|it| all.insert(*it));
        if newest.is_empty() {
            break;
        }
    }
    // What everything comes from is of no incident.
    all.into_iter().map(|(pid, _)| pid).filter(|pid| *pid > 2).collect()
}

fn processes(facts: &Facts) -> Vec<Seen> {
    let began = facts.processes.iter().filter_map(|(key, it)| Some((key, it, it.at?)));
    began
        .map(|(&(pid, started), it, at)| {
            let program = it.program.as_deref().map_or_else(String::new, |it| format!(", {it}"));
            let user = it.user.as_deref().map_or_else(String::new, |it| format!(", user {it}"));
            let parent = facts
                .parent_of((pid, started))
                .map_or_else(String::new, |it| format!(", by {}", it.0));
            Seen {
                at,
                system: "processes",
                said_by: it.said_by.join(" "),
                kind: Kind::Process,
                basis: Basis::Observed,
                same: it.program.clone().map(|program| Same::Process { pid, program }),
                parties: Parties {
                    pids: vec![pid],
                    ..Parties::default()
                },
                what: Printable(&format!("process {pid} ({}) began{program}{user}{parent}", it.name)).to_string(),
            }
        })
        .collect()
}

fn logins(facts: &Facts) -> Vec<Seen> {
    let login = |it: &Login| {
        let from = it
            .from
            .map_or_else(String::new, |ip| format!(" from {}", ip.to_canonical()));
        let what = format!("login of {}{from} at {}", it.user, it.line);
        Seen {
            at: it.at,
            system: "logins",
            said_by: it.said_by.clone(),
            kind: Kind::Login,
            basis: Basis::Stated,
            same: Some(Same::Login {
                account: it.user.clone(),
                from: it.from.map(|ip| ip.to_canonical()),
                succeeded: true,
            }),
            parties: Parties {
                addresses: it.from.map(|ip| ip.to_canonical()).into_iter().collect(),
                names: vec![it.user.clone()],
                pids: vec![it.pid],
                ..Parties::default()
            },
            what: Printable(&what).to_string(),
        }
    };
    facts.logins.iter().map(login).collect()
}

fn connections(facts: &Facts) -> Vec<Seen> {
    let open = facts
        .connections
        .iter()
        .filter_map(|(ends, it)| Some((ends, it, it.seen?)));
    open.map(|((protocol, here, there), it, at)| {
        let end = |(ip, port): (std::net::IpAddr, u16)| std::net::SocketAddr::from((ip, port));
        let arrow = match it.began {
            Some(Began::Here) => "->",
            Some(Began::There) => "<-",
            None => "<->",
        };
        let holders: Vec<String> = it.holders.iter().map(|(pid, _)| pid.to_string()).collect();
        let held = if holders.is_empty() {
            String::new()
        } else {
            format!(", held by {}", holders.join(" "))
        };
        let what = format!(
            "connection open: {protocol} {} {arrow} {}, {}{held}",
            end(*here),
            end(*there),
            it.state
        );
        Seen {
            at,
            system: "sockets",
            said_by: it.said_by.join(" "),
            kind: Kind::Connection,
            basis: Basis::Observed,
            same: Some(Same::connection(protocol, *here, *there)),
            // This end is that of every connection of the machine.
            parties: Parties {
                addresses: vec![there.0],
                pids: it.holders.iter().map(|(pid, _)| *pid).collect(),
                ..Parties::default()
            },
            what: Printable(&what).to_string(),
        }
    })
    .collect()
}

/// The times of files, one entry for all of a file that are the same.
fn files(list: &Value, said_by: &str) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for file in list["files"].as_array().into_iter().flatten() {
        let path = file["path"]
            .as_str()
            .or_else(|| file["path"]["hex"].as_str())
            .unwrap_or_default();
        let mut times: Vec<(Timestamp, Vec<&str>)> = Vec::new();
        for (key, name) in [
            ("born", "created"),
            ("modified", "modified"),
            ("changed", "changed"),
            ("read", "read"),
        ] {
            let Some(at) = file["before"][key].as_str().and_then(seconds) else {
                continue;
            };
            match times.iter_mut().find(|it| it.0 == at) {
                Some(known) => known.1.push(name),
                None => times.push((at, vec![name])),
            }
        }
        seen.extend(times.into_iter().map(|(at, names)| Seen {
            at,
            system: "files",
            said_by: said_by.to_owned(),
            kind: Kind::File,
            basis: Basis::Stated,
            same: None,
            parties: Parties::default(),
            what: Printable(&format!("file {path}: {}", names.join(" and "))).to_string(),
        }));
    }
    seen
}

/// The time of `1795737605.123456789`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.')?;
    let (seconds, nanos): (u64, u64) = (seconds.parse().ok()?, nanos.parse().ok()?);
    let us = seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)?;
    Some(Timestamp::from_micros(us))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use staunch_model::text::is_unsafe_to_show;
    use staunch_model::{EvidenceId, Span};

    use super::*;
    use crate::commands::incident::sealed::Sealed;

    /// Documents that were taken at noon, an hour after the machine was started.
    fn facts(documents: &[(EvidenceKind, Value)]) -> Facts {
        let sealed = |(at, (kind, document)): (usize, &(EvidenceKind, Value))| Sealed {
            evidence: EvidenceId(1 + at as u64),
            kind: *kind,
            at: "2026-11-25T12:00:00Z".parse().expect("a time"),
            since_boot: Span::from_hours(1),
            document: document.clone(),
        };
        let sealed: Vec<Sealed> = documents.iter().enumerate().map(sealed).collect();
        Facts::of(&sealed)
    }

    fn story(name: &str) -> Facts {
        let process = |pid: u32, parent: u32, started: u64| {
            json!({"pid": pid, "parent": parent, "started": started, "name": name, "program": format!("/bin/{name}"),
                "Uid": "33\t33\t33\t33"})
        };
        let processes = [
            process(1, 0, 1),
            process(10, 1, 100),
            process(20, 10, 30_000),
            process(99, 1, 200),
        ];
        let socket = json!({"protocol": "tcp", "local": "192.0.2.1", "local_port": 40_000, "remote": "203.0.113.9",
            "remote_port": 443, "state": "established", "holders": [{"pid": 20, "started": 30_000, "name": name}]});
        let login = json!({"kind": 7, "user": name, "pid": 10, "host": "203.0.113.9", "line": "pts/0",
            "seconds": 1_795_607_000, "microseconds": 5});
        facts(&[
            (EvidenceKind::Processes, json!({"processes": processes})),
            (EvidenceKind::Sockets, json!({"tcp": [socket]})),
            (EvidenceKind::Logins, json!({"utmp": [login], "wtmp": [login]})),
        ])
    }

    fn told(seen: &[Seen]) -> Vec<String> {
        let line = |it: &Seen| format!("{} {} {} [{}]", it.at, it.basis.name(), it.what, it.said_by);
        seen.iter().map(line).collect()
    }

    #[test]
    fn documents_tell_of_processes_connections_and_logins() {
        let facts = story("curl");
        let began = told(&processes(&facts));
        assert_eq!(
            began[2],
            "2026-11-25T11:05:00.000Z observed process 20 (curl) began, /bin/curl, user 33, by 10 [EV-1 EV-2]"
        );
        assert_eq!(
            told(&connections(&facts)),
            [
                "2026-11-25T12:00:00.000Z observed connection open: tcp 192.0.2.1:40000 <-> 203.0.113.9:443, established, \
              held by 20 [EV-2]"
            ]
        );
        // The same record stands in both files.
        assert_eq!(
            told(&logins(&facts)),
            ["2026-11-25T11:43:20.000Z stated login of curl from 203.0.113.9 at pts/0 [EV-3]"]
        );
    }

    #[test]
    fn processes_of_the_incident_are_those_that_talk_to_it_and_who_started_them() {
        let facts = story("curl");
        let mut interest = Interest::nothing();
        assert!(pids(&facts, &interest).is_empty());
        interest.addresses.insert("203.0.113.9".parse().expect("an address"));
        assert_eq!(pids(&facts, &interest).into_iter().collect::<Vec<_>>(), [10, 20]);
        interest.pids.insert(99);
        assert_eq!(pids(&facts, &interest).into_iter().collect::<Vec<_>>(), [10, 20, 99]);
    }

    #[test]
    fn times_of_files_are_told_once_and_what_is_none_is_passed_over() {
        let list = json!({"files": [
            {"path": "/srv/x", "before": {"modified": "1795607000.000000000", "changed": "1795607000.000000900",
                "read": "1795607100.500000000", "born": null}},
            {"path": {"hex": "ff2f"}, "before": {"modified": "never", "changed": "1.x", "read": "18446744073709551615.0"}},
            {"path": 7}, 7]});
        assert_eq!(
            told(&files(&list, "EV-4")),
            [
                "2026-11-25T11:43:20.000Z stated file /srv/x: modified and changed [EV-4]",
                "2026-11-25T11:45:00.500Z stated file /srv/x: read [EV-4]"
            ]
        );
        assert!(files(&json!([]), "EV-4").is_empty());
    }

    #[test]
    fn names_of_attackers_are_safe_to_show() {
        let facts = story("\u{1b}[31m\u{202e}<b>\n");
        let list = json!({"files": [{"path": "/\u{9b}\u{202e}\n", "before": {"read": "1.0"}}]});
        let all = [
            processes(&facts),
            connections(&facts),
            logins(&facts),
            files(&list, "EV-4"),
        ]
        .concat();
        assert_eq!(all.len(), 7);
        for seen in &all {
            assert!(!seen.what.chars().any(is_unsafe_to_show), "{:?}", seen.what);
        }
    }
}
