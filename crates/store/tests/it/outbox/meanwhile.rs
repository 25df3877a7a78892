//! What is sealed while it is sent, or while its note is removed.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use staunch_model::FailureKind;
use staunch_ports::Vault as _;
use staunch_store::s3::Bucket;
use staunch_store::{DirVault, DirVaultOptions, FileHook, FileOp};
use staunch_testkit::contract::vault::{Subject as _, store};
use staunch_testkit::s3::Behaviour;

use super::{file_of, findings};
use crate::in_bucket::{InBucket, settings, standing};
use crate::temp_dir;
use crate::vault_s3::{InMemory, readable, subject};

/// Seals the same few artefacts on two threads while a third sends what waits.
fn seal_while_sending(subject: &mut InBucket, link: &InMemory) {
    let vault = subject.dir_vault();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                let sent = vault.send().expect("it can be listed");
                assert_eq!(sent.failure.filter(|it| it.kind != FailureKind::Unavailable), None);
            }
        });
        let sealers: Vec<_> = (0..2)
            .map(|thread| {
                let vault = &vault;
                scope.spawn(move || {
                    for round in 0..60_u64 {
                        // Half of them are sealed while it is away.
                        link.is_away.store((round + thread) % 2 == 0, Ordering::Relaxed);
                        let mut deposit = vault.begin(None).expect("it begins");
                        deposit.write_all(&(round % 3).to_le_bytes()).expect("there is room");
                        let draft = staunch_testkit::contract::vault::draft(1, thread, "artefact");
                        deposit.seal(draft).expect("nothing is dropped");
                    }
                })
            })
            .collect();
        for sealer in sealers {
            sealer.join().expect("nothing was dropped");
        }
        is_done.store(true, Ordering::Release);
        sender.join().expect("nothing was refused");
    });
    link.is_away.store(false, Ordering::Relaxed);
    drop(vault);
    // What nobody has answered for while others were answered for would wait some seconds.
    subject.reopen();
    let vault = subject.dir_vault();
    let sent = vault.send().expect("it can be sent");
    assert_eq!(
        (sent.waiting, sent.failure),
        (Some(0), None),
        "something waits for ever"
    );
    assert_eq!(readable(&vault, "at the end"), 120);
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert_eq!(found, []);
}

#[test]
fn what_is_sealed_while_it_is_sent_is_not_lost() {
    for is_encrypted in [false, true] {
        let link = InMemory::new(Behaviour::Locks);
        let mut subject = subject(&link);
        if is_encrypted {
            subject = subject.encrypted();
        }
        seal_while_sending(&mut subject, &link);
    }
}

/// Has the same artefact sealed on another thread at the moment when its note is about to be removed.
#[derive(Default)]
struct SealsMeanwhile {
    vault: OnceLock<Arc<DirVault>>,
    link: OnceLock<InMemory>,
    has_begun: AtomicBool,
    sealing: Mutex<Option<thread::JoinHandle<()>>>,
}

impl FileHook for SealsMeanwhile {
    fn before(&self, op: &FileOp<'_>) -> std::io::Result<()> {
        let FileOp::Remove { name } = op else { return Ok(()) };
        if !name.starts_with("outbox/objects") || self.has_begun.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let vault = Arc::clone(self.vault.get().expect("it was told"));
        self.link
            .get()
            .expect("it was told")
            .is_away
            .store(true, Ordering::Relaxed);
        let (done, is_done) = mpsc::channel::<()>();
        *self.sealing.lock().expect("nobody panics") = Some(thread::spawn(move || {
            store(&*vault, 1, 2, b"evidence");
            drop(done);
        }));
        // Who has to wait for this removal does not come to an end before it.
        let _ = is_done.recv_timeout(Duration::from_millis(500));
        Ok(())
    }
}

#[test]
fn a_note_is_not_removed_from_under_who_seals_the_same() {
    let link = InMemory::new(Behaviour::Locks);
    let (dir, hook) = (temp_dir(), Arc::new(SealsMeanwhile::default()));
    let bucket = Bucket::new(settings("s3.example", "b"), Box::new(link.clone()), standing());
    let options = DirVaultOptions {
        is_immutable: false,
        bucket: Some(Arc::new(bucket)),
        hook: Some(Arc::<SealsMeanwhile>::clone(&hook)),
        ..DirVaultOptions::default()
    };
    let vault = Arc::new(DirVault::open(dir.path(), options).expect("the vault opens"));
    vault.check().expect("the bucket locks");
    hook.vault.set(Arc::clone(&vault)).expect("it is told once");
    hook.link.set(link.clone()).ok().expect("it is told once");
    link.is_away.store(true, Ordering::Relaxed);
    let sealed = store(&*vault, 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    vault.send().expect("it can be sent");
    let sealing = hook.sealing.lock().expect("nobody panics").take();
    sealing.expect("it was begun").join().expect("it was sealed");
    link.is_away.store(false, Ordering::Relaxed);
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.waiting, sent.failure), (Some(0), None));
    assert!(!file_of(dir.path(), &sealed).exists(), "it waits for ever");
    assert_eq!(readable(&vault, "at the end"), 2);
}
