//! `staunch evidence key` and `staunch evidence checkpoint`: what is kept elsewhere to prove the log with.
//!
//! Never proves anything itself.

use std::path::Path;

use serde::Serialize;
use staunch_model::{Printable, Sha256Hash};
use staunch_store::LogVerifier;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::tlog::{CHECKPOINT, Checkpoint};

use super::{KEY_BYTES_MAX, folder, unreadable};
use crate::cli::DataArgs;
use crate::exit::{Exit, Fault};
use crate::files::read_bounded;
use crate::output::{Output, print};
use crate::wiring;

/// The public key of the log, as data.
#[derive(Debug, Serialize)]
struct PublicKey<'a> {
    /// All of it, as `--key` takes it.
    key: &'a str,
    /// The name of the log, which its checkpoints begin with.
    log: &'a str,
}

pub(super) fn key(data: &DataArgs, json: bool) -> Result<Exit, Fault> {
    let file = super::super::load_existing(data)?.evidence_key_file();
    let text = read_bounded(&file, KEY_BYTES_MAX).map_err(|error| {
        let absent = "a server writes it when it starts with `[evidence] enabled`";
        unreadable(&file, &error, absent)
    })?;
    if !json {
        print(&text)?;
        return Ok(Exit::Ok);
    }
    let key = LogVerifier::parse(text.trim()).ok_or_else(|| {
        let shown = file.display().to_string();
        let message = format!("there is no public key in {}", Printable(&shown));
        Fault::new(Exit::Failed, message).hint("a server writes it anew when it starts with `[evidence] enabled`")
    })?;
    let shown = PublicKey {
        key: &key.to_string(),
        log: key.name(),
    };
    Output::new(true).show(&shown, |_| String::new())?;
    Ok(Exit::Ok)
}

/// A signed checkpoint, as data. What it says is not proved.
#[derive(Debug, Serialize)]
struct SignedCheckpoint<'a> {
    /// All of it, as `--earlier` takes it from a file.
    checkpoint: &'a str,
    /// The name of the log.
    log: &'a str,
    /// How many entries the log has.
    entries: u64,
    /// The root of their tree.
    root: Sha256Hash,
}

pub(super) fn checkpoint(vault: Option<&Path>, data: &DataArgs, json: bool) -> Result<Exit, Fault> {
    let file = folder(vault, data)?.join(wiring::LOG).join(CHECKPOINT);
    let text = read_bounded(&file, NOTE_BYTES_MAX)
        .map_err(|error| unreadable(&file, &error, "a log without an entry has no checkpoint"))?;
    if json {
        let says = text.rfind("\n\n").and_then(|at| Checkpoint::parse(&text[..=at]));
        let says = says.ok_or_else(|| {
            let shown = file.display().to_string();
            let message = format!("there is no checkpoint in {}", Printable(&shown));
            Fault::new(Exit::Corrupt, message).hint("`staunch evidence verify` says what else is not as it was")
        })?;
        let shown = SignedCheckpoint {
            checkpoint: &text,
            log: &says.origin,
            entries: says.size,
            root: says.root,
        };
        Output::new(true).show(&shown, |_| String::new())?;
        return Ok(Exit::Ok);
    }
    let lines: Vec<String> = text.lines().map(|line| Printable(line).to_string()).collect();
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(Exit::Ok)
}
