//! `staunch evidence get`

use std::io::{self, Read, Write};
use std::path::Path;

use staunch_model::{Failure, FailureKind, HandlingAction, Printable, Sha256Hash, Taken};
use staunch_ports::{SealedManifest, Vault as _};
use staunch_server::read_secret;
use staunch_store::age::Identity;

use super::handled::{Custody, Deed, is_at_work, is_live, place};
use super::in_log::InLog;
use super::new_file::has_already;
use super::{NewFile, fault, find, no_terminal, open_with, size, unwritten};
use crate::cli::EvidenceGetArgs;
use crate::exit::{Exit, Fault};
use crate::output::{say_wrapped, warn_wrapped};

pub(super) fn get(args: &EvidenceGetArgs) -> Result<Exit, Fault> {
    let identities = args.identity.as_deref().map(identities).transpose()?;
    let (vault, folder) = open_with(args.vault.as_deref(), &args.data, identities.unwrap_or_default())?;
    // A key that is none is told before anything is written.
    let mut log = InLog::of(&folder, args.key.as_deref(), &args.data)?;
    let (records, manifests) = find(&vault, args.id)?;
    let mut fitting: Vec<(&str, Sha256Hash, u64)> = manifests
        .iter()
        .filter_map(|it| match &it.manifest.taken {
            Taken::Stored { sha256, size, .. } => Some((&*it.manifest.custody.name, *sha256, *size)),
            Taken::Missed(_) => None,
        })
        .filter(|(name, hash, _)| {
            args.name
                .as_deref()
                .is_none_or(|it| it == *name || it == hash.to_string())
        })
        .collect();
    // Evidence that was taken again may be the same.
    // The bytes tell their number: manifests that differ in that only are of one artefact.
    fitting.dedup_by_key(|(name, hash, _)| (*name, *hash));
    let (name, hash, bytes) = match fitting.as_slice() {
        [] => {
            let message = format!("{} has no such artefact", args.id);
            return Err(
                Fault::new(Exit::NotFound, message).hint(format!("`staunch evidence show {}` names them", args.id))
            );
        }
        [one] => *one,
        several => {
            let mut names: Vec<String> = several.iter().map(|(name, ..)| Printable(name).to_string()).collect();
            names.dedup();
            let message = format!("{} has {} artefacts", args.id, several.len());
            return Err(Fault::new(Exit::Usage, message)
                .hint(format!("name one of them, or its SHA-256: {}", names.join(", "))));
        }
    };
    let mut from = vault
        .open(hash)
        .map_err(|failure| refused(&failure, args.identity.is_some()))?;
    let is_stdout = args.output == Path::new("-");
    if is_stdout {
        no_terminal("an artefact")?;
    }
    let to = (!is_stdout).then(|| place(&args.output)).transpose()?;
    let destination = Destination::of(&args.output, is_stdout, hash)?;
    let deed = Deed {
        action: if is_stdout {
            HandlingAction::Open
        } else {
            HandlingAction::Copy
        },
        reason: args.reason.as_deref(),
        evidence: Some(args.id),
        artefact: Some(hash),
        to: to.as_deref(),
        outcome: None,
    };
    let custody = Custody::of(&folder, args.vault.as_deref(), &args.data);
    let incident = records.first().map(|it| it.record.incident);
    let was_there = matches!(destination, Destination::HasIt);
    let act = || match destination {
        Destination::New(file) => {
            let bytes = copy(&mut from, &mut &file.file, &args.output)?;
            file.finish().map(|()| bytes)
        }
        Destination::Stdout => copy(&mut from, &mut io::stdout().lock(), &args.output),
        Destination::HasIt => Ok(bytes),
    };
    // Before a byte of it is given away.
    let (noted, before) = (log.noted(), log.size());
    let bytes = custody.done(incident, deed, act, |bytes| {
        let done = if was_there { "was there already" } else { "done" };
        let of_log = noted.as_ref().map_or_else(String::new, |it| format!("; {it}"));
        format!("{done}, {bytes} bytes{of_log}")
    })?;
    let says = |it: &&SealedManifest| matches!(&it.manifest.taken, Taken::Stored { sha256, .. } if *sha256 == hash);
    let stand_for_it: Vec<&SealedManifest> = manifests.iter().filter(says).collect();
    if was_there {
        say_wrapped(&format!(
            "{} has these bytes already, and was left as it is",
            Printable(&args.output.display().to_string())
        ));
    }
    let locator = stand_for_it.first().map(|it| &it.manifest.custody.locator);
    // One manifest that is in the log is enough.
    let hashes: Vec<Sha256Hash> = stand_for_it.iter().map(|it| it.hash).collect();
    log.await_any(&hashes, args.wait, || {
        say_wrapped(&format!(
            "{} is written; waiting up to {} for its manifest to be in the log, where the server brings it",
            Printable(name),
            args.wait
        ));
    });
    // What proves it must not be taken away again unseen.
    if let Some(grown) = log.noted().filter(|_| log.size() > before) {
        let outcome = format!("after the wait; {grown}");
        let deed = Deed {
            outcome: Some(&outcome),
            ..deed
        };
        custody.note_after(incident, deed);
    }
    let put_back = log.put_back(&custody, incident);
    let is_own = is_live(&folder, args.vault.as_deref(), &args.data);
    let proof = Proof::of(&log, &hashes, put_back.clone(), is_own && is_at_work(&folder));
    if let Some(why) = put_back.filter(|_| proof == Proof::Logged) {
        // What it still has is proved.
        warn_wrapped(&format!("THE LOG WAS PUT BACK: {why}"));
    }
    // What is not in it is told beside it.
    let missed = manifests.iter().find_map(|it| match &it.manifest.taken {
        Taken::Missed(failure) if Some(&it.manifest.custody.locator) == locator => Some(&*failure.what),
        _ => None,
    });
    if let Some(what) = missed {
        warn_wrapped(&format!("{}: {}", Printable(name), Printable(what)));
    }
    say_wrapped(&format!(
        "{}: {}, SHA-256 {hash}: {}",
        Printable(name),
        size(bytes),
        proof.told()
    ));
    let how = match proof {
        Proof::Awaited => "the server tries on",
        Proof::Absent if is_own => "a server logs what it finds when it starts",
        Proof::PutBack(_) => {
            if !is_own {
                say_wrapped(
                    "hint: a copy that was made while a server was at work may look like this: make it anew first",
                );
            }
            say_wrapped(
                "hint: hold the log against a checkpoint that was kept elsewhere (`staunch evidence verify --earlier`), and find \
                 out who could write to its folder",
            );
            return Ok(proof.exit());
        }
        Proof::Absent | Proof::Unknown(_) | Proof::Logged => return Ok(proof.exit()),
    };
    say_wrapped(&format!(
        "hint: {how}; `staunch evidence show {}` says when it is in the log, and this SHA-256 is proved with it",
        args.id
    ));
    Ok(proof.exit())
}

/// Where an artefact goes.
enum Destination {
    Stdout,
    New(NewFile),
    /// It is there, whole: an earlier try that proved nothing, or was not heard of, has left it.
    HasIt,
}

impl Destination {
    /// # Errors
    /// When something else is there, or nothing can be.
    fn of(path: &Path, is_stdout: bool, hash: Sha256Hash) -> Result<Self, Fault> {
        if is_stdout {
            return Ok(Self::Stdout);
        }
        if has_already(path, hash)? {
            return Ok(Self::HasIt);
        }
        NewFile::make(path).map(Self::New)
    }
}

/// What proves an artefact that was written.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// A signed log stands for its manifest.
    Logged,
    /// Its manifest is not in the log so far, and the log is that of a server, which logs what it finds. Who can write
    /// to the folder can have put it there too.
    Awaited,
    /// Its manifest is not in the log of a copy, which nobody adds to.
    Absent,
    /// Its manifest is not in the log, which had more entries at an earlier time, as these words say.
    PutBack(String),
    /// Nothing is proved of any, for this reason, in words that are safe to show.
    Unknown(String),
}

impl Proof {
    /// What `log` says of an artefact with these manifests, where `put_back` says why the log is not what it was, and
    /// `is_live` that a server works with it.
    fn of(log: &InLog, manifests: &[Sha256Hash], put_back: Option<String>, is_live: bool) -> Self {
        match (&log.known, put_back) {
            (Err(why), _) => Self::Unknown(why.clone()),
            (Ok(known), _) if manifests.iter().any(|it| known.has(it)) => Self::Logged,
            (Ok(_), Some(why)) => Self::PutBack(why),
            (Ok(_), None) if is_live => Self::Awaited,
            (Ok(_), None) => Self::Absent,
        }
    }

    const fn exit(&self) -> Exit {
        match self {
            Self::Logged => Exit::Ok,
            Self::Awaited => Exit::Busy,
            Self::PutBack(_) => Exit::Corrupt,
            Self::Absent | Self::Unknown(_) => Exit::Failed,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Logged => "proved".to_owned(),
            Self::Awaited => {
                "as its manifest says, which is not in the log so far, so that nothing is proved".to_owned()
            }
            Self::Absent => "as its manifest says, which is not in the log, so that nothing is proved".to_owned(),
            Self::PutBack(why) => format!("as its manifest says, which is not in the log: THE LOG WAS PUT BACK: {why}"),
            Self::Unknown(why) => format!("as its manifest says, and nothing is proved: {why}"),
        }
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, name: &Path) -> Result<u64, Fault> {
    io::copy(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Fault::doing(Exit::Corrupt, "what is stored is not what was sealed", &error)
            .hint("what was written up to here is not proved; a file of it is removed"),
        _ => unwritten(name, &error),
    })
}

/// Why it is not read.
fn refused(failure: &Failure, has_identity: bool) -> Fault {
    let told = fault(failure);
    match failure.kind {
        FailureKind::Denied if has_identity => {
            told.hint("name the identity of one of the recipients, whom `staunch evidence show` names")
        }
        FailureKind::Denied => told.hint("name the file of an identity with --identity, where it is encrypted"),
        _ => told,
    }
}

/// The secret keys in a file. They are never shown.
pub(super) fn identities(file: &Path) -> Result<Vec<Identity>, Fault> {
    let bytes = read_secret(file).map_err(|error| {
        // Anything else that is wrong with it is told by its reader.
        let exit = if file.exists() { Exit::Usage } else { Exit::NotFound };
        Fault::of(exit, &error).hint("--identity names a file of `age-keygen` that nobody else may read")
    })?;
    let text = std::str::from_utf8(&bytes).ok();
    text.and_then(Identity::parse_all).ok_or_else(|| {
        let shown = file.display().to_string();
        let what = format!("there is no identity of age in {}", Printable(&shown));
        Fault::new(Exit::Usage, what).hint("it holds a line of AGE-SECRET-KEY-1…, as `age-keygen` writes it")
    })
}
