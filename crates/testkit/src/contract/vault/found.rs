//! What is there, read from a vault.

use std::io::{self, Read};
use std::ops::ControlFlow;

use staunch_model::{CollectionRecord, IncidentId, Sha256Hash};
use staunch_ports::{SealedManifest, Vault};

pub(super) fn manifests(vault: &dyn Vault, incident: IncidentId) -> Vec<SealedManifest> {
    let mut all = Vec::new();
    vault
        .manifests(incident, &mut |it| keep(&mut all, it))
        .expect("they can be read");
    all
}

pub(super) fn records(vault: &dyn Vault, incident: IncidentId) -> Vec<(Sha256Hash, CollectionRecord)> {
    let mut all = Vec::new();
    vault
        .records(incident, &mut |it| keep(&mut all, (it.hash, it.record)))
        .expect("they can be read");
    all
}

pub(super) fn read(vault: &dyn Vault, artefact: Sha256Hash) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = vault
        .open(artefact)
        .map_err(|failure| io::Error::other(failure.to_string()))?;
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn keep<T>(all: &mut Vec<T>, it: T) -> ControlFlow<()> {
    all.push(it);
    ControlFlow::Continue(())
}
