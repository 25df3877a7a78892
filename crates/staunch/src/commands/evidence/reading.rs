//! Evidence that other commands read: for the graph of causes, and for the timeline.
//!
//! Gives away no byte that is not written down before, as `evidence get` does, and none of an artefact that is not as
//! long as its manifest says.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use staunch_model::{EvidenceId, FailureKind, HandlingAction, IncidentId, Printable, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::vault::DirVault;

use super::get::identities;
use super::handled::{Custody, Deed};
use super::open_with;
use crate::cli::{DataArgs, ReadingArgs};
use crate::exit::Fault;
use crate::wiring;

/// The evidence of one incident.
pub(in crate::commands) struct Reading {
    vault: DirVault,
    custody: Custody,
    incident: IncidentId,
    /// What it is read for.
    what_for: &'static str,
    reason: Option<String>,
    has_identity: bool,
    /// What is written down already: one line a piece of evidence is enough for one command.
    noted: RefCell<BTreeSet<EvidenceId>>,
}

impl Reading {
    /// Opens the folder of evidence that `args` name, or that of the configuration.
    ///
    /// # Errors
    /// When there is none, or the configuration or the identity cannot be used.
    pub(in crate::commands) fn open(
        args: &ReadingArgs,
        data: &DataArgs,
        incident: IncidentId,
        what_for: &'static str,
    ) -> Result<Self, Fault> {
        let identities = args.identity.as_deref().map(identities).transpose()?;
        let (vault, folder) = open_with(args.vault.as_deref(), data, identities.unwrap_or_default())?;
        let custody = Custody::of(&folder, args.vault.as_deref(), data);
        Ok(Self {
            has_identity: args.identity.is_some(),
            ..Self::new(vault, custody, incident, what_for, args.reason.clone())
        })
    }

    fn new(
        vault: DirVault,
        custody: Custody,
        incident: IncidentId,
        what_for: &'static str,
        reason: Option<String>,
    ) -> Self {
        Self {
            vault,
            custody,
            incident,
            what_for,
            reason,
            has_identity: false,
            noted: RefCell::default(),
        }
    }

    /// The evidence in a folder of a test, whose handling log is beside it.
    #[cfg(test)]
    pub(in crate::commands) fn in_folder(folder: &Path, incident: IncidentId) -> Self {
        use clap::Parser as _;
        use staunch_store::vault::DirVaultOptions;

        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            data: DataArgs,
        }

        let data = Only::parse_from(["it"]).data;
        let vault = DirVault::read_with(&folder.join(wiring::VAULT), DirVaultOptions::default());
        Self::new(vault, Custody::of(folder, None, &data), incident, "for a test", None)
    }

    pub(in crate::commands) const fn vault(&self) -> &DirVault {
        &self.vault
    }

    pub(in crate::commands) const fn incident(&self) -> IncidentId {
        self.incident
    }

    /// An artefact of `evidence`, which is `size` bytes long. Only at its end it is proved: until then, nothing of it
    /// counts.
    ///
    /// # Errors
    /// When it cannot be opened, or it cannot be written down that it is: why, in words that are not safe to show.
    pub(in crate::commands) fn artefact(
        &self,
        evidence: EvidenceId,
        hash: Sha256Hash,
        size: u64,
    ) -> Result<Exactly<Box<dyn Read + Send>>, String> {
        let from = self.vault.open(hash).map_err(|failure| {
            let hint = match failure.kind {
                FailureKind::Denied if !self.has_identity => "; `--identity` names the file of one",
                _ => "",
            };
            format!("{failure}{hint}")
        })?;
        if !self.noted.borrow().contains(&evidence) {
            let deed = Deed {
                action: HandlingAction::Open,
                reason: self.reason.as_deref(),
                evidence: Some(evidence),
                artefact: None,
                to: None,
                outcome: Some(self.what_for),
            };
            let noted = self.custody.note(Some(self.incident), deed);
            noted.map_err(|fault| format!("it is not read, because that cannot be written down: {}", fault.told()))?;
            self.noted.borrow_mut().insert(evidence);
        }
        Ok(Exactly { from, left: size })
    }
}

/// Looks whether there is a vault in `folder`, which is this machine's, that this user may look into.
///
/// # Errors
/// Why it cannot be looked into, and what to do about that, in words that are safe to show.
pub(in crate::commands) fn looked_into(folder: &Path) -> Result<(), String> {
    let Err(error) = fs::read_dir(folder.join(wiring::VAULT)) else {
        return Ok(());
    };
    let shown = folder.display().to_string();
    let shown = Printable(&shown);
    Err(match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "cannot look into {shown}: {error}; evidence is for its owner alone: run it as the user of the server, or as root"
        ),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "there is no vault on this machine; `--vault` names a copy".to_owned()
        }
        _ => format!("cannot look into {shown}: {error}"),
    })
}

/// Reads to the end only when there are as many bytes as there have to be.
pub(in crate::commands) struct Exactly<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.from.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) if read > 0 || left == 0 => {
                self.left = left;
                Ok(read)
            }
            _ => {
                let what = "what is stored is not as long as what was sealed";
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_as_many_bytes_are_read() {
        let read = |bytes: &[u8], size: u64| {
            let mut all = Vec::new();
            let mut from = Exactly {
                from: bytes,
                left: size,
            };
            from.read_to_end(&mut all).map(|_| all).map_err(|it| it.kind())
        };
        assert_eq!(read(b"four", 4), Ok(b"four".to_vec()));
        assert_eq!(read(b"", 0), Ok(Vec::new()));
        for size in [0, 3, 5] {
            assert_eq!(read(b"four", size), Err(io::ErrorKind::InvalidData), "{size}");
        }
    }
}
