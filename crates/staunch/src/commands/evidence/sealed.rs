//! What the journal says was sealed, held against the records in the vault.
//!
//! Never changes either. It catches what a log cannot: evidence that was taken away before it was logged.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use staunch_model::{Frame, Record, Sha256Hash};
use staunch_ports::{Lsn, Vault};
use staunch_store::ReadOnlyJournal;

/// Calls `found` with what the journal in `dir` says and `vault` does not have. Holds a hash for each record in memory.
pub(super) fn compare(dir: &Path, vault: &dyn Vault, found: &mut dyn FnMut(String)) {
    let known = match records(vault) {
        Ok(known) => known,
        // What cannot be read was told by who verifies the vault: then nobody knows what is there.
        Err(what) => return found(format!("the journal was not compared with the vault: {what}")),
    };
    let read = ReadOnlyJournal::open(dir).map(|journal| {
        journal.read(Lsn(1), &mut |stored| {
            let frame = postcard::from_bytes::<Frame>(&stored.payload);
            let records = frame.map_or_else(
                |error| {
                    found(format!("frame {} of the journal cannot be read: {error}", stored.lsn));
                    Vec::new()
                },
                |frame| frame.records,
            );
            for record in records {
                if let Record::EvidenceSealed { evidence, sealed } = record
                    && !known.contains(&Sha256Hash::from(sealed.hash))
                {
                    found(format!(
                        "frame {} of the journal says that {evidence} was sealed, and its record {} is not in the vault",
                        stored.lsn, sealed.hash
                    ));
                }
            }
            ControlFlow::Continue(())
        })
    });
    match read {
        Ok(Ok(())) => {}
        Ok(Err(error)) => found(format!("the journal was not compared to its end: {error}")),
        Err(error) => found(format!("the journal was not compared with the vault: {error}")),
    }
}

/// The hashes of all records in the vault.
fn records(vault: &dyn Vault) -> Result<BTreeSet<Sha256Hash>, String> {
    let mut incidents = Vec::new();
    let mut known = BTreeSet::new();
    vault
        .incidents(&mut |incident| {
            incidents.push(incident);
            ControlFlow::Continue(())
        })
        .map_err(|failure| failure.to_string())?;
    for incident in incidents {
        let read = vault.records(incident, &mut |sealed| {
            known.insert(sealed.hash);
            ControlFlow::Continue(())
        });
        // One that was changed is told, and is not there: its hash is in its name, which is not believed.
        drop(read);
    }
    Ok(known)
}
