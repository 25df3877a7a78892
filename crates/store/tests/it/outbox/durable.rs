//! What a process that was killed has named, and has not made durable.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use staunch_ports::Vault as _;
use staunch_store::s3::Bucket;
use staunch_store::{DirVault, DirVaultOptions, FileHook, FileOp};
use staunch_testkit::contract::vault::{draft, store};
use staunch_testkit::s3::Behaviour;

use crate::in_bucket::{settings, standing};
use crate::quick_dir;
use crate::vault_s3::{InMemory, storage};

/// Writes down every change, and lets none happen after the last one.
struct Steps {
    is_last: fn(&FileOp<'_>) -> bool,
    is_dead: AtomicBool,
    seen: Mutex<Vec<String>>,
}

impl Steps {
    fn until(is_last: fn(&FileOp<'_>) -> bool) -> Arc<Self> {
        Arc::new(Self {
            is_last,
            is_dead: AtomicBool::new(false),
            seen: Mutex::default(),
        })
    }

    /// Checks that the names in `dir` were made durable before the change that `is_use` knows.
    fn check_durable_before(&self, dir: &str, is_use: impl Fn(&str) -> bool) {
        let seen = self.seen.lock().expect("nothing panics in here");
        let durable = seen.iter().position(|it| *it == format!("SyncDir {{ name: {dir:?} }}"));
        let used = seen.iter().position(|it| is_use(it)).expect("it is used");
        assert!(durable.is_some_and(|it| it < used), "{seen:#?}");
    }
}

impl FileHook for Steps {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        if self.is_dead.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        self.is_dead.store((self.is_last)(op), Ordering::Relaxed);
        self.seen
            .lock()
            .expect("nothing panics in here")
            .push(format!("{op:?}"));
        Ok(())
    }
}

fn open(dir: &Path, link: &InMemory, hook: &Arc<Steps>) -> DirVault {
    let bucket = Bucket::new(settings("s3.example", "bucket/pre"), Box::new(link.clone()), standing());
    let options = DirVaultOptions {
        is_immutable: false,
        bucket: Some(Arc::new(bucket)),
        hook: Some(Arc::<Steps>::clone(hook)),
        ..DirVaultOptions::default()
    };
    DirVault::open(dir, options).expect("the vault opens")
}

fn is_receipt(op: &FileOp<'_>) -> bool {
    matches!(op, FileOp::Link { to, .. } if to.contains(".receipt"))
}

#[test]
fn an_artefact_is_not_named_before_the_note_that_was_there_is_durable() {
    let (dir, link) = (quick_dir(), InMemory::new(Behaviour::Locks));
    link.is_away.store(true, Ordering::Relaxed);
    let killed = Steps::until(|op| matches!(op, FileOp::Link { to, .. } if to.starts_with("outbox/")));
    let vault = open(dir.path(), &link, &killed);
    let mut deposit = vault.begin(None).expect("it begins");
    deposit.write_all(b"evidence").expect("it is written");
    deposit.seal(draft(1, 1, "artefact")).expect_err("it was killed");
    drop(vault);
    let next = Steps::until(|_| false);
    store(&open(dir.path(), &link, &next), 1, 1, b"evidence");
    next.check_durable_before("outbox", |it| it.starts_with("Link") && it.contains("to: \"objects/"));
}

#[test]
fn an_artefact_is_not_removed_before_the_receipt_that_was_there_is_durable() {
    let (dir, link) = (quick_dir(), InMemory::new(Behaviour::Locks));
    link.is_away.store(true, Ordering::Relaxed);
    let killed = Steps::until(is_receipt);
    let vault = open(dir.path(), &link, &killed);
    let sealed = store(&vault, 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    let sent = vault.send().expect("it can be listed");
    assert!(sent.artefacts.is_empty(), "it was killed");
    drop(vault);
    let next = Steps::until(|_| false);
    let sent = open(dir.path(), &link, &next).send().expect("it can be listed");
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    let file = storage(&sealed).path.clone();
    let (parent, _) = file.rsplit_once('/').expect("it is in a directory");
    next.check_durable_before(parent, |it| *it == format!("Remove {{ name: {file:?} }}"));
}

#[test]
fn a_manifest_is_not_written_before_the_receipt_that_was_there_is_durable() {
    let (dir, link) = (quick_dir(), InMemory::new(Behaviour::Locks));
    let killed = Steps::until(is_receipt);
    let vault = open(dir.path(), &link, &killed);
    vault.check().expect("the bucket locks");
    let mut deposit = vault.begin(None).expect("it begins");
    deposit.write_all(b"evidence").expect("it is written");
    deposit.seal(draft(1, 1, "artefact")).expect_err("it was killed");
    drop(vault);
    let next = Steps::until(|_| false);
    let vault = open(dir.path(), &link, &next);
    vault.check().expect("the bucket locks");
    let sealed = store(&vault, 1, 1, b"evidence");
    assert!(storage(&sealed).version.is_some(), "it is in the bucket");
    let receipt = killed
        .seen
        .lock()
        .expect("nothing panics in here")
        .pop()
        .expect("the last");
    let (_, to) = receipt.rsplit_once("to: \"").expect("it was linked");
    let (parent, _) = to.rsplit_once('/').expect("it is in a directory");
    next.check_durable_before(parent, |it| it.starts_with("Link") && it.contains("to: \"manifests/"));
}
