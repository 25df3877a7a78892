//! What holds up the outbox, and what waits alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use staunch_model::FailureKind;
use staunch_testkit::contract::vault::{Subject as _, store};
use staunch_testkit::s3::Behaviour;

use super::file_of;
use crate::vault_s3::{InMemory, storage, subject};

/// Damages a file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_file_is_no_outage_and_waits_alone() {
    let damages: [(&str, Damage); 3] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("no frame", |bytes| bytes[0] ^= 0xff),
    ];
    for (what, damage) in damages {
        let link = InMemory::new(Behaviour::Locks);
        let subject = subject(&link);
        link.is_away.store(true, Ordering::Relaxed);
        let mut files: Vec<_> = (0..4_u64)
            .map(|it| file_of(subject.dir.path(), &store(&*subject.vault(), 1, it, &it.to_le_bytes())))
            .collect();
        link.is_away.store(false, Ordering::Relaxed);
        // The first that is sent.
        files.sort_unstable();
        let mut bytes = fs::read(&files[0]).expect("it waits");
        damage(&mut bytes);
        fs::set_permissions(&files[0], fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&files[0], bytes).expect("it is ours");

        let sent = subject.dir_vault().send().expect("what waits can be listed");
        let failure = sent.failure.expect("it is told");
        assert_eq!(
            (failure.kind, sent.is_held_up, sent.waiting),
            (FailureKind::Conflict, false, Some(1)),
            "{what}: {failure}"
        );
        let name = files[0].file_name().expect("a name").to_string_lossy();
        assert!(failure.to_string().contains(&name[..32]), "{what}: {failure}");
        assert_eq!((sent.artefacts.len(), sent.documents), (3, 4), "{what}");
        assert!(files[0].exists(), "it is evidence of what was done to it");
        let next = store(&*subject.vault(), 1, 9, b"next");
        assert!(storage(&next).version.is_some(), "{what}: the bucket counts as away");
    }
}
