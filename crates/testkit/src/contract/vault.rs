//! What every vault is held to, from memory to a bucket.
//!
//! Never looks at how a vault keeps what it keeps: what that can lose or get wrong is tested beside each of them.

mod found;
mod made;
mod scale;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use staunch_model::{
    CollectionRecord, EvidenceId, Failure, FailureKind, IncidentId, ManifestDraft, Sha256Hash, Taken, Timestamp,
};
use staunch_ports::{SealedManifest, Vault};

use self::found::{keep, manifests, read, records};
pub use self::made::{artefact, draft, noise, record, store};
pub use self::scale::{LARGE_BYTES, bounded_memory, many_small, resident_bytes};

/// The most bytes of an artefact in the vaults that [`vault`] is given.
pub const ARTEFACT_BYTES_MAX: u64 = 1 << 20;

/// One vault, and what a test has to do behind its back.
pub trait Subject {
    /// The vault.
    fn vault(&self) -> Arc<dyn Vault>;

    /// Opens it again, as a restart does. What is unfinished stays as it is, as after a crash.
    fn reopen(&mut self);

    /// Changes what is stored of an artefact, or removes the change, without the vault.
    fn damage(&self, artefact: Sha256Hash);

    /// How much there is of unfinished artefacts.
    fn unfinished(&self) -> usize;
}

/// Runs the suite. `make` returns an empty vault for artefacts of at most [`ARTEFACT_BYTES_MAX`].
///
/// # Panics
/// When the vault breaks the contract.
pub fn vault(make: impl Fn() -> Box<dyn Subject>) {
    an_empty_vault_has_nothing(&*make());
    it_proves_that_it_can_be_used(&*make());
    what_is_sealed_is_read_back(&mut *make());
    an_artefact_of_nothing_is_one(&*make());
    manifests_are_chained(&mut *make());
    the_same_bytes_are_stored_once(&*make());
    what_is_too_long_is_refused(&*make());
    what_is_not_sealed_leaves_nothing(&mut *make());
    what_was_missed_is_evidence(&mut *make());
    records_are_found_under_their_hash(&mut *make());
    what_was_changed_is_not_read_to_its_end(&*make());
    what_was_changed_is_never_taken_for_the_same(&*make());
    a_visit_ends_when_it_breaks(&*make());
    names_are_text(&*make());
    many_store_at_once(&*make());
}

fn an_empty_vault_has_nothing(subject: &dyn Subject) {
    let vault = subject.vault();
    assert_eq!(vault.describe().artefact_bytes_max, ARTEFACT_BYTES_MAX);
    assert!(manifests(&*vault, IncidentId(1)).is_empty());
    assert!(records(&*vault, IncidentId(1)).is_empty());
    let none = Sha256Hash::of(b"nothing");
    let record = vault.record(IncidentId(1), EvidenceId(1), none);
    assert_eq!(record, Ok(None));
    let opened = vault.open(none).err().expect("there is none");
    assert_eq!(opened.kind, FailureKind::Invalid);
    assert_eq!(subject.unfinished(), 0);
}

fn it_proves_that_it_can_be_used(subject: &dyn Subject) {
    let vault = subject.vault();
    let found = vault.check().expect("it can be used");
    assert_eq!(vault.describe().write_once, found);
    assert_eq!(vault.check(), Ok(found), "it can be asked again");
    assert_eq!(subject.unfinished(), 0, "the proof leaves nothing");
    let mut incidents = Vec::new();
    vault
        .incidents(&mut |it| keep(&mut incidents, it))
        .expect("it can be listed");
    assert!(incidents.is_empty(), "the proof is no evidence");
}

fn what_is_sealed_is_read_back(subject: &mut dyn Subject) {
    let bytes = noise(7, 300_000);
    let mut deposit = subject.vault().begin(None).expect("it begins");
    for part in bytes.chunks(777) {
        deposit.write_all(part).expect("there is room");
    }
    assert_eq!(deposit.bytes(), 300_000);
    let sealed = deposit.seal(draft(1, 1, "noise")).expect("it is sealed");
    let Taken::Stored { size, sha256, storage } = &sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    assert_eq!((*size, *sha256), (300_000, Sha256Hash::of(&bytes)));
    assert_ne!(storage.path.as_ref(), "");
    assert_eq!(
        sealed.manifest.custody,
        draft(1, 1, "noise"),
        "nothing of it is made up"
    );
    assert_eq!(sealed.hash, sealed.manifest.hash());
    for _ in 0..2 {
        let vault = subject.vault();
        assert_eq!(read(&*vault, *sha256).expect("it is there"), bytes);
        assert_eq!(manifests(&*vault, IncidentId(1)), std::slice::from_ref(&sealed));
        assert!(manifests(&*vault, IncidentId(11)).is_empty());
        drop(vault);
        subject.reopen();
    }
}

fn an_artefact_of_nothing_is_one(subject: &dyn Subject) {
    let vault = subject.vault();
    let sealed = store(&*vault, 1, 1, b"");
    let Taken::Stored { size: 0, sha256, .. } = sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    assert_eq!(read(&*vault, sha256).expect("it is there"), b"");
}

fn manifests_are_chained(subject: &mut dyn Subject) {
    let mut expected = Vec::new();
    for (evidence, number) in [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)] {
        let vault = subject.vault();
        let sealed = store(&*vault, 1, evidence, format!("{evidence}-{number}").as_bytes());
        assert_eq!(sealed.manifest.sequence, number);
        expected.push((evidence, sealed));
        drop(vault);
        subject.reopen();
    }
    expected.sort_by_key(|(evidence, _)| *evidence);
    let found = manifests(&*subject.vault(), IncidentId(1));
    assert_eq!(found, expected.into_iter().map(|(_, it)| it).collect::<Vec<_>>());
    for pair in found.windows(2) {
        let of_one = pair[0].manifest.custody.evidence == pair[1].manifest.custody.evidence;
        let expected = of_one.then_some(pair[0].hash);
        assert_eq!(pair[1].manifest.previous, expected);
    }
    assert_eq!(found[0].manifest.previous, None);
}

fn the_same_bytes_are_stored_once(subject: &dyn Subject) {
    let vault = subject.vault();
    let first = store(&*vault, 1, 1, b"the same");
    let second = store(&*vault, 2, 2, b"the same");
    let path = |it: &SealedManifest| match &it.manifest.taken {
        Taken::Stored { storage, .. } => storage.clone(),
        Taken::Missed(why) => panic!("it was stored: {why}"),
    };
    assert_eq!(path(&first), path(&second));
    assert_eq!(manifests(&*vault, IncidentId(1)), [first]);
    assert_eq!(manifests(&*vault, IncidentId(2)), [second]);
    assert_eq!(subject.unfinished(), 0);
}

fn what_is_too_long_is_refused(subject: &dyn Subject) {
    let vault = subject.vault();
    let max = usize::try_from(ARTEFACT_BYTES_MAX).expect("it is small");
    for (asked, max) in [(None, max), (Some(u64::MAX), max), (Some(10), 10), (Some(0), 0)] {
        let mut fits = vault.begin(asked).expect("it begins");
        fits.write_all(&noise(1, max)).expect("it fits");
        fits.seal(draft(1, 1, "fits")).expect("it is sealed");

        let mut long = vault.begin(asked).expect("it begins");
        long.write_all(&noise(2, max)).expect("it fits so far");
        for _ in 0..2 {
            let error = long.write_all(b"x").expect_err("it is too long");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        let failure = long.seal(draft(1, 1, "long")).expect_err("it is not cut");
        assert_eq!(failure.kind, FailureKind::Invalid);
        let cut = vault.open(Sha256Hash::of(&noise(2, max)));
        assert!(max == 0 || cut.is_err(), "it was cut in silence");
    }
    assert_eq!(manifests(&*vault, IncidentId(1)).len(), 4);
    assert_eq!(subject.unfinished(), 0);
}

fn what_is_not_sealed_leaves_nothing(subject: &mut dyn Subject) {
    let bytes = noise(3, 400_000);
    let vault = subject.vault();
    let mut dropped = vault.begin(None).expect("it begins");
    dropped.write_all(&bytes).expect("there is room");
    drop(dropped);
    assert_eq!(subject.unfinished(), 0);

    // A process that is killed drops nothing.
    let mut killed = vault.begin(None).expect("it begins");
    killed.write_all(&bytes).expect("there is room");
    std::mem::forget(killed);
    drop(vault);
    subject.reopen();
    assert_eq!(subject.unfinished(), 0);
    let vault = subject.vault();
    assert!(vault.open(Sha256Hash::of(&bytes)).is_err());
    assert!(manifests(&*vault, IncidentId(1)).is_empty());
    assert_eq!(store(&*vault, 1, 1, b"after").manifest.sequence, 1);
}

fn what_was_missed_is_evidence(subject: &mut dyn Subject) {
    let vault = subject.vault();
    let first = store(&*vault, 1, 1, b"something");
    let why = Failure::new(FailureKind::TimedOut, "the deadline has passed");
    let missed = vault
        .put_missed(draft(1, 1, "maps"), why.clone())
        .expect("it is stored");
    assert_eq!(missed.manifest.taken, Taken::Missed(why));
    assert_eq!(
        (missed.manifest.sequence, missed.manifest.previous),
        (2, Some(first.hash))
    );
    drop(vault);
    subject.reopen();
    assert_eq!(manifests(&*subject.vault(), IncidentId(1)), [first, missed]);
}

fn records_are_found_under_their_hash(subject: &mut dyn Subject) {
    let vault = subject.vault();
    let record = record(&store(&*vault, 4, 9, b"something"));
    let hash = vault.put_record(&record).expect("it is stored");
    assert_eq!(hash, record.hash());
    assert_eq!(vault.put_record(&record), Ok(hash), "the same is stored once");
    let later = CollectionRecord {
        ended_at: Timestamp::from_micros(99),
        ..record.clone()
    };
    let other = vault.put_record(&later).expect("it is stored");
    drop(vault);
    subject.reopen();
    let vault = subject.vault();
    assert_eq!(
        vault.record(IncidentId(4), EvidenceId(9), hash),
        Ok(Some(record.clone()))
    );
    assert_eq!(vault.record(IncidentId(5), EvidenceId(9), hash), Ok(None));
    let mut found: Vec<_> = records(&*vault, IncidentId(4));
    found.sort_by_key(|(_, it)| it.ended_at);
    assert_eq!(found, [(hash, record), (other, later)]);
    let mut incidents = Vec::new();
    vault
        .incidents(&mut |it| keep(&mut incidents, it))
        .expect("it can be listed");
    assert_eq!(incidents, [IncidentId(4)]);
}

fn what_was_changed_is_not_read_to_its_end(subject: &dyn Subject) {
    let vault = subject.vault();
    let bytes = noise(5, 200_000);
    let (changed, sound) = (store(&*vault, 1, 1, &bytes), store(&*vault, 1, 1, b"sound"));
    subject.damage(artefact(&changed));
    let error = read(&*vault, artefact(&changed)).expect_err("it was changed");
    assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(read(&*vault, artefact(&sound)).expect("it was not"), b"sound");
}

fn what_was_changed_is_never_taken_for_the_same(subject: &dyn Subject) {
    let vault = subject.vault();
    let bytes = noise(6, 200_000);
    let sealed = store(&*vault, 1, 1, &bytes);
    subject.damage(artefact(&sealed));
    let mut again = vault.begin(None).expect("it begins");
    again.write_all(&bytes).expect("there is room");
    match again.seal(draft(1, 1, "again")) {
        // There is another place for it.
        Ok(again) => {
            let found = read(&*vault, artefact(&again)).expect("it is not what was changed");
            assert!(found == bytes, "it is what was sealed");
            assert_eq!(manifests(&*vault, IncidentId(1)).len(), 2);
        }
        Err(failure) => {
            assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
            assert_eq!(manifests(&*vault, IncidentId(1)).len(), 1);
            assert_eq!(subject.unfinished(), 0);
        }
    }
}

fn a_visit_ends_when_it_breaks(subject: &dyn Subject) {
    let vault = subject.vault();
    for number in 0..5 {
        vault
            .put_record(&record(&store(&*vault, number % 2, number, b"x")))
            .expect("it is stored");
    }
    let mut seen = 0;
    let mut count = || {
        seen += 1;
        ControlFlow::Break(())
    };
    vault
        .manifests(IncidentId(0), &mut |_| count())
        .expect("it can be read");
    vault.records(IncidentId(0), &mut |_| count()).expect("it can be read");
    vault.incidents(&mut |_| count()).expect("it can be listed");
    assert_eq!(seen, 3);
}

/// Nothing in a draft says where something is stored.
fn names_are_text(subject: &dyn Subject) {
    let vault = subject.vault();
    for name in ["../../etc/passwd", "/etc/passwd", "", "a\0b", "..", &"long".repeat(200)] {
        let mut deposit = vault.begin(None).expect("it begins");
        deposit.write_all(name.as_bytes()).expect("there is room");
        let draft = ManifestDraft {
            locator: name.into(),
            ..draft(1, 1, name)
        };
        let sealed = deposit.seal(draft).expect("a name is text");
        let Taken::Stored { sha256, storage, .. } = &sealed.manifest.taken else {
            panic!("it was stored: {sealed:?}");
        };
        assert!(name.is_empty() || !storage.path.contains(name), "{}", storage.path);
        assert_eq!(read(&*vault, *sha256).expect("it is there"), name.as_bytes());
    }
    assert_eq!(manifests(&*vault, IncidentId(1)).len(), 6);
}

fn many_store_at_once(subject: &dyn Subject) {
    let vault = subject.vault();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let vault = &vault;
            scope.spawn(move || {
                for number in 0..25 {
                    // Some artefacts are the same in all threads, and some threads share an evidence.
                    let bytes = noise(number % 5 * 100 + thread * (number % 2), 5_000);
                    store(&**vault, 1, thread % 2, &bytes);
                }
            });
        }
    });
    let all = manifests(&*vault, IncidentId(1));
    assert_eq!(all.len(), 100);
    for (at, it) in all.iter().enumerate() {
        assert_eq!(
            it.manifest.sequence,
            at as u64 % 50 + 1,
            "each evidence has a chain without gaps"
        );
        let previous = (it.manifest.sequence > 1).then(|| all[at - 1].hash);
        assert_eq!(it.manifest.previous, previous);
        read(&*vault, artefact(it)).expect("it is whole");
    }
    assert_eq!(subject.unfinished(), 0);
}
