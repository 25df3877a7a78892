//! The handling log of a folder of evidence: who has it in hand, when and why.
//!
//! Never writes to a copy: what is done with one is on record where the copy was made from.

use std::fs;
use std::path::Path;

use nix::unistd::{Uid, User};
use staunch_model::{EvidenceId, Handled, Handling, HandlingAction, IncidentId, Printable, Sha256Hash};
use staunch_store::vault::{Handles, HandlingLog};

use crate::cli::DataArgs;
use crate::exit::{Exit, Fault};
use crate::output::{now, say};

/// The longest reason.
const REASON_CHARS_MAX: usize = 500;

/// The longest name of a place or of a user that is written down.
const NAME_CHARS_MAX: usize = 300;

/// The lines that are shown, the newest of them.
pub(super) const SHOWN_MAX: usize = 1_000;

/// The log of a folder.
pub(super) struct Custody {
    log: HandlingLog,
    /// Whether it is the folder of this installation, and no copy of one.
    is_own: bool,
}

/// What is about to be done, or was.
#[derive(Clone, Copy)]
pub(super) struct Deed<'a> {
    pub(super) action: HandlingAction,
    pub(super) reason: Option<&'a str>,
    pub(super) evidence: Option<EvidenceId>,
    pub(super) artefact: Option<Sha256Hash>,
    /// Where to, when it is copied.
    pub(super) to: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
}

impl Custody {
    /// That of `folder`, which `named` says when it is not the one of the configuration.
    pub(super) fn of(folder: &Path, named: Option<&Path>, data: &DataArgs) -> Self {
        // A copy needs no configuration.
        let own = || super::super::load(data).ok()?.evidence_dir().canonicalize().ok();
        let is_own = named.is_none() || own().is_some_and(|own| folder.canonicalize().is_ok_and(|it| it == own));
        Self {
            log: HandlingLog::in_folder(folder),
            is_own,
        }
    }

    /// Writes down what is about to be done, of the evidence of `incident` or of all.
    ///
    /// # Errors
    /// When it cannot be written: then it is not to be done.
    pub(super) fn note(&self, incident: Option<IncidentId>, deed: Deed<'_>) -> Result<(), Fault> {
        let reason = deed.reason.unwrap_or_default().trim();
        if reason.chars().count() > REASON_CHARS_MAX {
            let what = format!("the reason is longer than {REASON_CHARS_MAX} characters");
            return Err(Fault::new(Exit::Usage, what).hint("say it shorter, and the rest in the ticket"));
        }
        if !self.is_own {
            return Ok(());
        }
        let handles = Handles {
            evidence: deed.evidence,
            artefact: deed.artefact,
            handling: Handling {
                at: now(),
                actor: actor().into(),
                action: deed.action,
                reason: reason.into(),
                from: None,
                to: deed.to.map(bounded),
            },
            outcome: deed.outcome.map(bounded),
        };
        self.log.append(incident, handles).map(drop).map_err(|error| {
            let file = self.log.file(incident);
            let what = format!("cannot write {}", file.display());
            Fault::doing(Exit::Denied, what, &error)
                .hint("who handles evidence is on record: run it as the user of the server, or on a copy (--vault)")
        })
    }

    /// As [`Custody::note`], of what was done and has disclosed nothing: it is told when it cannot be written.
    pub(super) fn note_after(&self, incident: Option<IncidentId>, deed: Deed<'_>) {
        if let Err(fault) = self.note(incident, deed) {
            say(&format!("it is not in the handling log: {}", fault.told()));
        }
    }

    /// What was done with a piece of evidence and these artefacts of it, the newest lines last.
    pub(super) fn lines(&self, incident: IncidentId, evidence: EvidenceId, artefacts: &[Sha256Hash]) -> Vec<Handled> {
        let mut found = Vec::new();
        for log in [Some(incident), None] {
            let mut take = |it: Handled| {
                let is_of = it.evidence.is_none_or(|id| id == evidence)
                    && it.artefact.is_none_or(|hash| artefacts.contains(&hash));
                if is_of {
                    found.push(it);
                }
            };
            let read = self.log.read(log, &mut take, &mut |what, _| say(&what));
            if let Err(error) = read {
                say(&format!("the handling log cannot be read: {error}"));
            }
        }
        found.sort_by_key(|it| it.handling.at);
        found.split_off(found.len().saturating_sub(SHOWN_MAX))
    }

    /// Looks whether the lines of all logs follow on each other; `find` takes what is wrong, with whether a crash leaves such as
    /// well. Returns how many lines there are.
    pub(super) fn check(&self, find: &mut dyn FnMut(String, bool)) -> u64 {
        let mut lines = 0;
        let incidents = self.log.incidents().unwrap_or_else(|error| {
            find(format!("the handling logs cannot be listed: {error}"), false);
            Vec::new()
        });
        for log in incidents.into_iter().map(Some).chain([None]) {
            if let Err(error) = self.log.read(log, &mut |_| lines += 1, find) {
                find(format!("a handling log cannot be read: {error}"), false);
            }
        }
        lines
    }

    /// The logs of an incident as files of an archive.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn files(&self, incident: IncidentId) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut files = Vec::new();
        for (log, name) in [
            (Some(incident), format!("handling/{incident}.jsonl")),
            (None, "handling/all.jsonl".into()),
        ] {
            let bytes = self.log.bytes(log).map_err(|error| {
                let file = self.log.file(log);
                Fault::doing(Exit::Failed, format!("cannot read {}", file.display()), &error)
            })?;
            files.extend(bytes.map(|bytes| (name, bytes)));
        }
        Ok(files)
    }
}

/// Who runs this program, and where.
pub(super) fn actor() -> String {
    let of = |uid: Uid| {
        let user = User::from_uid(uid).ok().flatten();
        user.map_or_else(|| format!("uid {uid}"), |it| it.name)
    };
    let user = of(Uid::current());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    // sudo says for whom; who may be root may say anything.
    let shown = match std::env::var("SUDO_USER") {
        Ok(sudo) if !sudo.is_empty() && sudo != user => format!("{user} (sudo of {sudo})@{host}"),
        _ => format!("{user}@{host}"),
    };
    bounded(&shown).into()
}

fn bounded(text: &str) -> Box<str> {
    text.chars().take(NAME_CHARS_MAX).collect::<String>().into()
}

/// A line for people, without the reason.
pub(super) fn line(it: &Handled) -> String {
    let handling = &it.handling;
    let verb = match handling.action {
        HandlingAction::Collect => "collected",
        HandlingAction::Seal => "sealed",
        HandlingAction::Open => "opened",
        HandlingAction::Copy => "copied",
        HandlingAction::Transfer => "moved",
        HandlingAction::Verify => "verified",
    };
    let what = match (it.artefact, it.evidence) {
        (Some(hash), _) => hash.to_string().chars().take(12).collect(),
        (None, Some(_)) => "all of it".to_owned(),
        (None, None) => "all evidence".to_owned(),
    };
    let mut text = format!("{} {} {verb} {what}", handling.at, handling.actor);
    if let Some(to) = &handling.to {
        text.push_str(&format!(" to {to}"));
    }
    if let Some(outcome) = &it.outcome {
        text.push_str(&format!(": {outcome}"));
    }
    Printable(&text).to_string()
}
