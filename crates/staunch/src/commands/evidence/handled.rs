//! The handling log of a folder of evidence: who has it in hand, when and why.
//!
//! Never writes to a copy: what is done with one is on record where the copy was made from.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::stat::{major, minor};
use serde::Serialize;
use staunch_model::{EvidenceId, Handled, Handling, HandlingAction, IncidentId, Printable, Sha256Hash, Timestamp};
use staunch_store::tlog::CHECKPOINT;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::{Handles, HandlingLog};
use staunch_store::{LogKey, LogVerifier};

use super::disk;
use crate::actor::actor;
use crate::cli::DataArgs;
use crate::config::{EVIDENCE, EVIDENCE_KEY};
use crate::exit::{Exit, Fault, escaped};
use crate::files::read_bounded;
use crate::output::{now, warn, warn_wrapped};
use crate::wiring;

/// The longest name of a place, or outcome, that is written down.
const TEXT_CHARS_MAX: usize = 300;

/// The longest reason.
const REASON_CHARS_MAX: usize = 500;

/// The lines that are shown, the newest of them.
pub(super) const SHOWN_MAX: usize = 1_000;

/// The log of a folder.
pub(super) struct Custody {
    log: HandlingLog,
    whose: Whose,
    /// Where the key may be that signs its lines.
    key_files: Vec<PathBuf>,
    /// Whether the evidence is in a transparency log, so that there is a key.
    has_log: bool,
    /// The log with its key, once that was needed.
    signed: OnceCell<HandlingLog>,
}

/// A line as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct HandledAs {
    #[serde(flatten)]
    pub(super) it: Handled,
    /// Whether the key has signed it; `None` without a key to hold it against.
    pub(super) is_signed: Option<bool>,
}

/// Whose folder it is.
enum Whose {
    /// That of this installation: what is done with it is written down.
    Own,
    /// A copy, which is not written to.
    Copy,
    /// Nobody can tell, for this reason: nothing is handed out.
    Unknown(String),
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

/// How a file is named in the log: from the root, since nobody knows later where the command was given.
///
/// # Errors
/// When the directory in which it was given is not known.
pub(super) fn place(path: &Path) -> Result<String, Fault> {
    let shown = path.display().to_string();
    let place = std::path::absolute(path).map_err(|error| {
        let what = format!("where {} is cannot be told", Printable(&shown));
        Fault::doing(disk(&error), what, &error).hint("name it by its whole path")
    })?;
    Ok(place.display().to_string())
}

impl Custody {
    /// That of `folder`, which `named` says when it is not the one of the configuration.
    pub(super) fn of(folder: &Path, named: Option<&Path>, data: &DataArgs) -> Self {
        Self {
            log: HandlingLog::in_folder(folder),
            whose: match named {
                Some(_) => whose(folder, data),
                None => Whose::Own,
            },
            key_files: key_files(folder, data),
            has_log: folder.join(wiring::LOG).join(CHECKPOINT).exists(),
            signed: OnceCell::new(),
        }
    }

    /// The logs.
    pub(super) const fn log(&self) -> &HandlingLog {
        &self.log
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
        match &self.whose {
            Whose::Own => {}
            Whose::Copy => return Ok(()),
            Whose::Unknown(why) => {
                let what = format!("whether this is a copy of evidence cannot be told: {why}");
                return Err(Fault::new(Exit::Usage, what)
                    .hint("who handles evidence is on record: name a configuration that can be read, or none"));
            }
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
        self.signed()?.append(incident, handles).map(drop).map_err(|error| {
            let file = self.log.file(incident);
            let what = format!("cannot write {}", file.display());
            let (exit, hint) = match (disk(&error), error.kind()) {
                (Exit::Busy, _) => (
                    Exit::Busy,
                    "make room on the disk of the vault, or read a copy (--vault)",
                ),
                (_, io::ErrorKind::ResourceBusy) => (
                    Exit::Busy,
                    "see who holds the lock of that file (lslocks), or read a copy (--vault)",
                ),
                (_, io::ErrorKind::FileTooLarge) => {
                    (Exit::Denied, "it takes no more: read a copy of the folder (--vault)")
                }
                (_, io::ErrorKind::InvalidData) => (
                    Exit::Denied,
                    "somebody has put something else in its place: see what it is and how it came there, or read a copy (--vault)",
                ),
                _ => (Exit::Denied, "run it as the user of the server, or on a copy (--vault)"),
            };
            Fault::doing(exit, what, &error).hint(format!("who handles evidence is on record: {hint}"))
        })
    }

    /// The log, whose lines are signed where there is a key.
    ///
    /// # Errors
    /// When there is one that cannot be used, or none is found and the folder has a log: a line without a signature
    /// would be nobody's word.
    fn signed(&self) -> Result<HandlingLog, Fault> {
        if let Some(known) = self.signed.get() {
            return Ok(known.clone());
        }
        let mut key = None;
        for file in &self.key_files {
            // It is not made here: a new one would prove nothing.
            key = LogKey::read(file).map_err(|error| {
                Fault::doing(Exit::Denied, "what is done with evidence cannot be signed", &error).hint(
                    "who handles evidence is on record, signed by the key of its log: run it as the user of the server, or \
                     on a copy (--vault)",
                )
            })?;
            if key.is_some() {
                break;
            }
        }
        if key.is_none() && self.has_log {
            let what = "the key is not known that signs what is done with this evidence";
            return Err(Fault::new(Exit::Usage, what).hint(
                "name the configuration of its server with --config, or make a copy of the folder and read that (--vault)",
            ));
        }
        let signed = self.log.clone().signed_with(key.map(Arc::new));
        Ok(self.signed.get_or_init(|| signed).clone())
    }

    /// Writes down what is begun, does it, and writes down what it came to. Nothing is begun that cannot be written
    /// down.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) fn done<T>(
        &self,
        incident: Option<IncidentId>,
        deed: Deed<'_>,
        act: impl FnOnce() -> Result<T, Fault>,
        outcome: impl FnOnce(&T) -> String,
    ) -> Result<T, Fault> {
        let outcome_of = |text: &str, deed: Deed<'_>| {
            let deed = Deed {
                outcome: Some(text),
                ..deed
            };
            self.note_after(incident, deed);
        };
        self.note(
            incident,
            Deed {
                outcome: Some("begun"),
                ..deed
            },
        )?;
        let done = act();
        match &done {
            Ok(done) => outcome_of(&outcome(done), deed),
            Err(fault) => outcome_of(&format!("failed: {}", fault.told()), deed),
        }
        done
    }

    /// As [`Custody::note`], of what was done and has disclosed nothing: it is told when it cannot be written.
    pub(super) fn note_after(&self, incident: Option<IncidentId>, deed: Deed<'_>) {
        if let Err(fault) = self.note(incident, deed) {
            warn_wrapped(&format!("it is not in the handling log: {}", fault.told()));
        }
    }

    /// What was done with a piece of evidence and these artefacts of it since it was `sealed`, the newest lines last,
    /// each with whether `key` has signed it. What was done with all evidence before did not concern it.
    pub(super) fn lines(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        artefacts: &[Sha256Hash],
        sealed: Timestamp,
        key: Option<&LogVerifier>,
    ) -> Vec<HandledAs> {
        let mut found = Vec::new();
        for log in [Some(incident), None] {
            let name = HandlingLog::name(log);
            let mut take = |it: Handled| {
                let is_of = it.handling.at >= sealed
                    && it.evidence.is_none_or(|id| id == evidence)
                    && it.artefact.is_none_or(|hash| artefacts.contains(&hash));
                if is_of {
                    let is_signed = key.map(|key| key.has_signed_line(&name, &it) == Ok(true));
                    found.push(HandledAs { it, is_signed });
                }
            };
            let read = self.log.read(log, &mut take, &mut |what| warn(&what));
            if let Err(error) = read {
                warn_wrapped(&format!("the handling log cannot be read: {error}"));
            }
        }
        found.sort_by_key(|it| it.it.handling.at);
        found.split_off(found.len().saturating_sub(SHOWN_MAX))
    }

    /// Shows what came of all that was done with the evidence of an incident, or with all evidence, as far as `key` has
    /// signed it.
    pub(super) fn outcomes(&self, incident: Option<IncidentId>, key: &LogVerifier, take: &mut dyn FnMut(&str)) {
        self.outcomes_of(incident.map(Some).into_iter().chain([None]), key, take);
    }

    /// As [`Custody::outcomes`], with the evidence of whatever incident.
    pub(super) fn all_outcomes(&self, key: &LogVerifier, take: &mut dyn FnMut(&str)) {
        match self.log.logs(&mut |_| {}) {
            Ok(logs) => self.outcomes_of(logs, key, take),
            Err(error) => warn_wrapped(&format!("the handling logs cannot be listed: {error}")),
        }
    }

    fn outcomes_of(
        &self,
        logs: impl IntoIterator<Item = Option<IncidentId>>,
        key: &LogVerifier,
        take: &mut dyn FnMut(&str),
    ) {
        for log in logs {
            let name = HandlingLog::name(log);
            let mut of = |it: Handled| {
                if key.has_signed_line(&name, &it) == Ok(true) {
                    take(it.outcome.as_deref().unwrap_or_default());
                }
            };
            // Lines that are none are told by who shows or verifies it.
            if let Err(error) = self.log.read(log, &mut of, &mut |_| {}) {
                warn_wrapped(&format!("the handling log cannot be read: {error}"));
            }
        }
    }
}

/// Where the key may be that signs for the log of a folder: beside it, or where the configuration has it when the
/// folder is that of the configuration. That of another installation does not sign here.
fn key_files(folder: &Path, data: &DataArgs) -> Vec<PathBuf> {
    let beside = beside(folder).filter(|it| is_key_of(it, folder));
    let configured = super::super::load(data).ok().filter(|config| {
        let [own, this] = [&config.evidence_dir(), folder].map(|it| it.canonicalize().ok());
        own.is_some() && own == this
    });
    let configured = configured.map(|it| it.evidence_secret_key_file());
    configured.into_iter().chain(beside).collect()
}

/// Whose folder one is that was named. A copy needs no configuration; a folder that a server of this machine works with
/// is none, whatever a configuration says, or does not say.
fn whose(folder: &Path, data: &DataArgs) -> Whose {
    let folder = match folder.canonicalize() {
        Ok(folder) => folder,
        Err(error) => return Whose::Unknown(error.to_string()),
    };
    if is_at_work(&folder) {
        return Whose::Own;
    }
    // The secret key of its log is not copied along: it is beside the folder that it signs for, and that has its own
    // name there, which a copy beside it has not.
    let is_named_so = folder.file_name() == Some(OsStr::new(EVIDENCE));
    let has_key = is_named_so && beside(&folder).is_some_and(|it| is_key_of(&it, &folder));
    match super::super::load(data) {
        Ok(config) => match config.evidence_dir().canonicalize() {
            Ok(own) if own == folder => Whose::Own,
            Ok(own) if own.parent() == folder.parent() => Whose::Copy,
            _ if has_key => Whose::Own,
            _ => Whose::Copy,
        },
        Err(_) if has_key => Whose::Own,
        Err(fault) => Whose::Unknown(fault.told()),
    }
}

/// Where the key is whose folder stands beside it.
fn beside(folder: &Path) -> Option<PathBuf> {
    folder.parent().map(|it| it.join(EVIDENCE_KEY))
}

/// Whether the key in a file has signed the log in a folder of evidence.
fn is_key_of(file: &Path, folder: &Path) -> bool {
    let key = LogKey::read(file).ok().flatten();
    let note = read_bounded(&folder.join(wiring::LOG).join(CHECKPOINT), NOTE_BYTES_MAX).ok();
    key.zip(note)
        .is_some_and(|(key, note)| key.verifier().checkpoint(&note).is_ok())
}

/// Whether a server of this machine works with a folder, or will when it starts: then that logs what is not in the log.
/// A file beside a folder does not make it so, because whoever made a copy can have put it there.
pub(super) fn is_live(folder: &Path, named: Option<&Path>, data: &DataArgs) -> bool {
    if named.is_none() || is_at_work(folder) {
        return true;
    }
    let of_configuration = super::super::load(data).ok().map(|it| it.evidence_dir());
    let own = of_configuration.and_then(|it| it.canonicalize().ok());
    own.is_some_and(|own| folder.canonicalize().is_ok_and(|it| it == own))
}

/// Whether a server of this machine works with a folder.
pub(super) fn is_at_work(folder: &Path) -> bool {
    is_locked(&folder.join(wiring::VAULT).join("lock"))
}

/// Whether somebody holds the lock of a file, which no link leads to. It is not tried: a server that starts at the same
/// moment would find it taken.
fn is_locked(file: &Path) -> bool {
    let Ok(about) = fs::symlink_metadata(file) else {
        return false;
    };
    let (major, minor) = (major(about.dev()), minor(about.dev()));
    let id = format!("{major:02x}:{minor:02x}:{}", about.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks
        .lines()
        .any(|line| line.split_ascii_whitespace().any(|word| word == id))
}

fn bounded(text: &str) -> Box<str> {
    text.chars().take(TEXT_CHARS_MAX).collect::<String>().into()
}

/// A line for people, without the reason.
pub(super) fn line(shown: &HandledAs) -> String {
    let it = &shown.it;
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
    if shown.is_signed == Some(false) {
        text.push_str(" (NOT SIGNED: nobody who has the key has written this)");
    }
    escaped(&text)
}
