//! What a full disk has left is logged when there is room again, without a restart.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::DirVaultOptions;
use staunch_store::{DirVault, FileHook, FileOp};

use staunch_testkit::contract::vault::{record, store};

use super::*;
use crate::files::read_bounded;

/// A disk that has no room for records while it is full.
#[derive(Default)]
struct Full(AtomicBool);

impl FileHook for Full {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        match op {
            FileOp::Link { to, .. } if to.starts_with("records/") && self.0.load(Ordering::Relaxed) => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

fn serve(dir: &Path, disk: Arc<Full>) -> (Arc<dyn Vault>, LogVerifier) {
    let options = DirVaultOptions {
        is_immutable: false,
        hook: Some(disk),
        ..DirVaultOptions::default()
    };
    let vault: Arc<dyn Vault> = Arc::new(DirVault::open(&dir.join("vault"), options).expect("the vault opens"));
    let parts = LogbookParts {
        dir: dir.join("log"),
        key: dir.join("key"),
        public_key: dir.join("key.pub"),
        name: "web-1/staunch".into(),
        journal: dir.join("journal"),
    };
    let logged = LoggedVault::start(vault, parts, DurableUpTo::default()).expect("there is a log");
    let key = logged.key().clone();
    (Arc::new(logged), key)
}

/// Waits until the log has so many entries.
fn wait_for(dir: &Path, key: &LogVerifier, entries: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let note = read_bounded(&dir.join("log").join(CHECKPOINT), NOTE_BYTES_MAX).unwrap_or_default();
        let size = key.checkpoint(&note).map_or(0, |it| it.size);
        if size >= entries {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the log has {size} entries, and not {entries}"
        );
        thread::yield_now();
    }
}

/// Seals one artefact and its record.
fn seal(vault: &dyn Vault, evidence: u64) -> Result<Sha256Hash, Failure> {
    let sealed = store(vault, 1, evidence, b"evidence");
    vault.put_record(&record(&sealed))
}

#[test]
fn manifests_without_a_record_are_logged_when_the_record_has_no_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(Full::default());
    let (vault, key) = serve(dir.path(), Arc::clone(&disk));
    disk.0.store(true, Ordering::Relaxed);
    let failure = seal(&*vault, 1).expect_err("there is no room");
    assert_eq!(failure.kind, FailureKind::Full, "{failure}");
    assert!(!failure.to_string().contains("records/"), "{failure}");
    // The manifest is there, and nothing else comes that would have it logged.
    wait_for(dir.path(), &key, 1);
}

#[test]
fn who_is_left_is_tried_again_later_and_later() {
    let mut left = Left::default();
    assert_eq!((left.due(), left.pause()), (Vec::new(), ROUND));
    let full = Failure::new(FailureKind::Full, "full");
    left.took(IncidentId(1), Err(full.clone()));
    left.took(IncidentId(2), Err(full.clone()));
    assert!(left.pause() <= RETRY && left.due().is_empty());
    left.again = Some(Instant::now());
    assert_eq!(left.due(), [IncidentId(1), IncidentId(2)]);
    assert!(left.pause() > RETRY);
    left.took(IncidentId(1), Ok(1));
    left.took(IncidentId(2), Err(full));
    assert!(left.pause() > RETRY, "what fails again does not begin anew");
    left.took(IncidentId(2), Ok(3));
    assert_eq!((left.due(), left.pause()), (Vec::new(), ROUND));
}
