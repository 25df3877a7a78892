//! A vault that is cut off at any change, and goes on.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use staunch_model::{Failure, IncidentId};
use staunch_ports::{SealedManifest, Vault as _};
use staunch_store::age::Identity;
use staunch_store::s3::Bucket;
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::{ARTEFACT_BYTES_MAX, artefact, draft, noise, record};
use staunch_testkit::s3::Behaviour;

use super::InMemory;
use crate::in_bucket::{settings, standing};
use crate::quick_dir;
use crate::vault::Cut;

/// Seals while the bucket is there and while it is away, and sends what waits.
fn collect(vault: &DirVault, link: &InMemory) -> Result<(), Failure> {
    vault.check()?;
    for (evidence, bytes, is_away) in [(1, noise(1, 3_000), false), (2, b"small".to_vec(), true)] {
        link.is_away.store(is_away, Ordering::Relaxed);
        let mut deposit = vault.begin(None)?;
        // An error of it comes back from sealing.
        let _ = deposit.write_all(&bytes);
        let sealed = deposit.seal(draft(1, evidence, "artefact"))?;
        vault.put_record(&record(&sealed))?;
    }
    link.is_away.store(false, Ordering::Relaxed);
    vault.send()?.failure.map_or(Ok(()), Err)
}

/// How many manifests there are; the artefact of each is whole.
pub(crate) fn readable(vault: &DirVault, at: &str) -> usize {
    let mut manifests = 0;
    let visit = &mut |it: SealedManifest| {
        manifests += 1;
        let mut reader = vault
            .open(artefact(&it))
            .unwrap_or_else(|failure| panic!("{at}: {failure}"));
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap_or_else(|error| panic!("{at}: {error}"));
        std::ops::ControlFlow::Continue(())
    };
    vault
        .manifests(IncidentId(1), visit)
        .unwrap_or_else(|failure| panic!("{at}: {failure}"));
    manifests
}

#[test]
fn a_crash_at_any_change_leaves_what_can_be_gone_on_with() {
    for key in [
        None,
        Some("AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW"),
    ] {
        let identities: Arc<[Identity]> = key.and_then(Identity::parse_all).unwrap_or_default().into();
        let mut cuts = 0;
        for changes in 0.. {
            let (dir, link) = (quick_dir(), InMemory::new(Behaviour::Locks));
            let bucket = Bucket::new(settings("s3.example", "bucket/pre"), Box::new(link.clone()), standing());
            let options = DirVaultOptions {
                artefact_bytes_max: ARTEFACT_BYTES_MAX,
                is_immutable: false,
                bucket: Some(Arc::new(bucket)),
                recipients: identities.iter().map(Identity::recipient).collect(),
                identities: Arc::clone(&identities),
                ..DirVaultOptions::default()
            };
            let hook = Cut::after(changes, std::io::ErrorKind::Other);
            let cut = DirVaultOptions {
                hook: Some(Arc::<Cut>::clone(&hook)),
                ..options.clone()
            };
            let done = DirVault::open(dir.path(), cut).and_then(|vault| collect(&vault, &link));
            let at = hook.last.lock().expect("nothing panics in here").clone();
            link.is_away.store(false, Ordering::Relaxed);
            let vault = DirVault::open(dir.path(), options).expect("the vault opens");
            // As a restart does: what waits is sent, and nothing that has a manifest is lost.
            vault.check().expect("the bucket locks");
            let sent = vault.send().expect("what waits can be listed");
            assert_eq!((sent.waiting, sent.failure), (Some(0), None), "{at}");
            let before = readable(&vault, &at);
            if done.is_err() {
                collect(&vault, &link).unwrap_or_else(|failure| panic!("{at}: {failure}"));
                assert_eq!(readable(&vault, &at), before + 2, "{at}");
            }
            let waiting = vault.waiting().expect("it can be listed");
            assert_eq!(waiting.files, 0, "{at}: something waits for ever");
            for path in link.bucket.paths() {
                assert_eq!(link.bucket.of(&path).len(), 1, "{at}: {path} was put twice");
            }
            let there = link.bucket.paths();
            let objects = there.iter().filter(|it| it.contains("/objects/")).count();
            // Encryption is another each time: a crash may leave one that no manifest stands for.
            assert!(objects == 2 || key.is_some() && objects > 2, "{at}: {there:?}");
            if done.is_ok() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 40, "only {cuts} changes were cut off");
    }
}
