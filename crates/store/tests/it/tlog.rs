//! The transparency log: the vectors of others, another implementation, and crashes at every change of the directory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use staunch_model::{FailureKind, LogEntry, Logged, Sha256Hash};
use staunch_ports::Journal;
use staunch_store::tlog::merkle::{
    self, Nodes, empty_root, is_consistent, is_included, leaf_hash, node_hash, prove_consistency, prove_inclusion,
};
use staunch_store::tlog::tile::{ENTRY_BYTES_MAX, Tile};
use staunch_store::vault::logged::Logbook;
use staunch_store::{
    Checkpoint, DirVault, DirVaultOptions, FileHook, FileOp, LogError, LogKey, LogReader, MemoryJournal,
    TransparencyLog,
};
use staunch_testkit::contract::vault::{record, store};
use tlog_tiles::{Hash, TileHashReader, TileReader};

use crate::{ORIGIN, append_ok, log_key, quick_dir};

fn open(dir: &Path) -> TransparencyLog {
    TransparencyLog::open(dir, log_key(), None).expect("the log opens")
}

fn entries(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|it| format!("entry {it}\n").into_bytes())
        .collect()
}

/// Leaves in memory; hashes of subtrees by the definition.
struct Leaves(Vec<Sha256Hash>);

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Sha256Hash, Infallible> {
        let at = |number: u64| usize::try_from(number << level).expect("small");
        Ok(defined(&self.0[at(index)..at(index + 1)]))
    }
}

/// MTH of RFC 6962, section 2.1, word by word.
fn defined(leaves: &[Sha256Hash]) -> Sha256Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut middle = 1;
            while middle * 2 < leaves.len() {
                middle *= 2;
            }
            node_hash(defined(&leaves[..middle]), defined(&leaves[middle..]))
        }
    }
}

/// The leaves that the implementations of RFC 6962 share as a test.
fn known_leaves() -> Leaves {
    let leaves: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
        ],
    ];
    Leaves(leaves.iter().map(|leaf| leaf_hash(leaf)).collect())
}

fn hashes(texts: &[&str]) -> Vec<Sha256Hash> {
    texts.iter().map(|text| text.parse().expect("a hash")).collect()
}

#[test]
fn roots_and_proofs_are_those_that_others_have_written_down() {
    let leaves = known_leaves();
    let roots = hashes(&[
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]);
    for (size, root) in (0..).zip(&roots) {
        assert_eq!(merkle::root(&leaves, size), Ok(*root), "{size}");
    }
    let inclusion = hashes(&[
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]);
    assert_eq!(prove_inclusion(&leaves, 0, 8), Ok(Some(inclusion)));
    let consistency = hashes(&[
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    assert_eq!(prove_consistency(&leaves, 6, 8), Ok(Some(consistency)));
}

fn numbered(count: u64) -> Leaves {
    Leaves((0..count).map(|it| leaf_hash(&it.to_be_bytes())).collect())
}

#[test]
fn every_proof_of_small_trees_proves_and_nothing_else_does() {
    for size in 0..40 {
        let leaves = numbered(size);
        let root = defined(&leaves.0);
        assert_eq!(merkle::root(&leaves, size), Ok(root));
        assert_eq!(prove_inclusion(&leaves, size, size), Ok(None));
        assert_eq!(prove_consistency(&leaves, size + 1, size), Ok(None));
        for (index, leaf) in (0..).zip(&leaves.0) {
            let Ok(proof) = prove_inclusion(&leaves, index, size);
            let proof = proof.expect("it is in the tree");
            assert!(is_included(*leaf, index, size, root, &proof), "{index} of {size}");
            for other in 0..size + 2 {
                assert_eq!(is_included(*leaf, other, size, root, &proof), other == index);
            }
            assert!(!is_included(leaf_hash(b"other"), index, size, root, &proof));
            assert!(!is_included(*leaf, index, size, leaf_hash(b"other"), &proof));
        }
        for earlier in 0..=size {
            let Ok(proof) = prove_consistency(&leaves, earlier, size);
            let proof = proof.expect("it is not larger");
            let earlier_root = defined(&leaves.0[..usize::try_from(earlier).expect("small")]);
            assert!(
                is_consistent(earlier, earlier_root, size, root, &proof),
                "{earlier} of {size}"
            );
            let other = leaf_hash(b"other");
            assert!(
                !is_consistent(earlier, other, size, root, &proof),
                "{earlier} of {size}"
            );
            assert!(earlier == 0 || !is_consistent(earlier, earlier_root, size, other, &proof));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_changed_proof_proves(size in 1_u64..600, a in any::<u64>(), b in any::<u64>(), at in any::<usize>(), bit in 0_usize..256) {
        let leaves = numbered(size);
        let root = defined(&leaves.0);
        let (index, earlier) = (a % size, b % size + 1);
        let flip = |proof: &[Sha256Hash]| {
            let mut changed = proof.to_vec();
            let at = at % proof.len().max(1);
            if let Some(hash) = changed.get_mut(at) {
                hash.0[bit / 8] ^= 1 << (bit % 8);
            }
            changed
        };
        let leaf = leaves.0[usize::try_from(index).expect("small")];
        let Ok(Some(proof)) = prove_inclusion(&leaves, index, size) else { panic!("it is in the tree") };
        prop_assert!(is_included(leaf, index, size, root, &proof));
        prop_assert_eq!(is_included(leaf, index, size, root, &flip(&proof)), proof.is_empty());
        let longer = [&proof[..], &[leaf]].concat();
        prop_assert!(!is_included(leaf, index, size, root, &longer));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!is_included(leaf, index, size, root, shorter));
        }

        let earlier_root = defined(&leaves.0[..usize::try_from(earlier).expect("small")]);
        let Ok(Some(proof)) = prove_consistency(&leaves, earlier, size) else { panic!("it is not larger") };
        prop_assert!(is_consistent(earlier, earlier_root, size, root, &proof));
        prop_assert_eq!(is_consistent(earlier, earlier_root, size, root, &flip(&proof)), proof.is_empty());
        let longer = [&proof[..], &[leaf]].concat();
        prop_assert!(!is_consistent(earlier, earlier_root, size, root, &longer));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!is_consistent(earlier, earlier_root, size, root, shorter));
        }
    }
}

/// Serves the tiles of a log to the other implementation, byte for byte as they are on the disk.
struct Served(PathBuf);

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let path = tile.path().replace("tile/8/", "tile/");
            let missing = |error: io::Error| panic!("cannot read {path}: {error}");
            Ok(fs::read(self.0.join(&path)).unwrap_or_else(missing))
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Note, checkpoint, tiles and proofs, read and checked by code that is not ours, from files and the public key alone.
#[test]
fn another_implementation_reads_and_proves_the_log() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    let mut earlier = Vec::new();
    // 66,048 entries have tiles on three levels.
    for count in [1, 254, 1, 1, 1_000, 64_279, 512] {
        log.append(&entries(log.checkpoint().size, count))
            .expect("there is room");
        earlier.push(log.checkpoint().clone());
    }
    let verifier = log.verifier();
    drop(log);

    let note = fs::read(dir.path().join("checkpoint")).expect("it is there");
    let note = Note::from_bytes(&note).expect("it is a note");
    let theirs = StandardVerifier::new(&verifier.to_string()).expect("it is a key");
    let known = VerifierList::new(vec![Box::new(theirs)]);
    let (signatures, unknown) = note.verify(&known).expect("it is signed");
    assert_eq!((signatures.len(), unknown.len()), (1, 0));
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("it is a checkpoint");
    assert_eq!((checkpoint.origin(), checkpoint.size()), (ORIGIN, 66_048));

    let served = Served(dir.path().to_owned());
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    // It authenticates each tile against the root.
    let authentic = TileHashReader::new(size, root, &served);
    assert_eq!(
        tlog_tiles::tree_hash(size, &authentic).expect("all tiles are there"),
        root
    );
    let (ours, _) = LogReader::open(dir.path(), &verifier).expect("it opens");
    assert_eq!(Hash(ours.root().expect("it can be read").0), root);
    for index in [0, 1, 255, 256, 257, 65_535, 65_536, 66_047] {
        let proof = tlog_tiles::prove_record(size, index, &authentic).expect("it can be proved");
        let entry = entries(index, 1).remove(0);
        tlog_tiles::check_record(&proof, size, root, index, tlog_tiles::record_hash(&entry)).expect("it is there");
        let our_proof = ours
            .prove_inclusion(index)
            .expect("it can be read")
            .expect("it is there");
        assert!(
            our_proof.iter().map(|it| Hash(it.0)).eq(proof.iter().copied()),
            "{index}"
        );
    }
    for before in &earlier {
        let proof = tlog_tiles::prove_tree(size, before.size, &authentic).expect("it can be proved");
        tlog_tiles::check_tree(&proof, size, root, before.size, Hash(before.root.0)).expect("it begins so");
        let our_proof = ours
            .prove_consistency(before.size)
            .expect("it can be read")
            .expect("it is larger");
        let theirs: Vec<_> = proof.iter().map(|it| Sha256Hash(it.0)).collect();
        if before.size != size {
            assert_eq!(our_proof, theirs, "{}", before.size);
        }
        let (now, then) = (Sha256Hash(root.0), before.root);
        assert!(is_consistent(before.size, then, size, now, &our_proof));
    }
}

#[test]
fn what_is_appended_is_read_back_by_its_number() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    assert_eq!((log.checkpoint().size, log.checkpoint().root), (0, empty_root()));
    let all = entries(0, 1_500);
    let mut at = 0;
    for count in (0..).map(|it| it * 7 % 50) {
        let end = (at + count).min(all.len());
        log.append(&all[at..end]).expect("there is room");
        at = end;
        if at == all.len() {
            break;
        }
        if count % 3 == 0 {
            drop(log);
            log = open(dir.path());
        }
    }
    let leaves: Vec<_> = all.iter().map(|it| leaf_hash(it)).collect();
    assert_eq!(log.checkpoint().root, defined(&leaves));
    let read = |first: u64| {
        let mut read = BTreeMap::new();
        let mut visit = |number, entry: &[u8]| {
            read.insert(number, entry.to_vec());
            ControlFlow::Continue(())
        };
        log.reader().entries(first, &mut visit).expect("it can be read");
        read
    };
    assert!(read(0).into_iter().eq((0..).zip(all.clone())));
    assert!(read(300).into_iter().eq((300..).zip(all[300..].to_vec())));
    // Partial tiles are gone where full ones have taken their place.
    assert!(!dir.path().join("tile/0/000.p").exists() && !dir.path().join("tile/entries/004.p").exists());
    assert!(dir.path().join("tile/0/005.p/220").exists());
    assert!(dir.path().join("tile/1/000.p/5").exists());
}

#[test]
fn an_entry_that_is_too_long_is_refused_with_all_beside_it() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    log.append(&[vec![1; ENTRY_BYTES_MAX], Vec::new()]).expect("it fits");
    let refused = log.append(&[vec![2], vec![1; ENTRY_BYTES_MAX + 1]]);
    assert!(matches!(refused, Err(LogError::TooLong { .. })));
    assert_eq!(log.checkpoint().size, 2);
    log.append(&[b"x"]).expect("it goes on");
}

#[test]
fn one_process_writes_with_one_key() {
    let dir = quick_dir();
    let log = open(dir.path());
    let second = TransparencyLog::open(dir.path(), log_key(), None);
    assert!(matches!(second, Err(LogError::Locked { .. })));
    drop(log);
    let other = LogKey::from_seed(ORIGIN, &[8; 32]);
    let other = TransparencyLog::open(dir.path(), other, None).expect_err("it is another's");
    assert_eq!(other.to_failure().kind, FailureKind::Conflict, "{other}");
    open(dir.path());
}

/// Nothing is signed over what is not the log that was signed before.
#[test]
fn a_damaged_log_is_not_gone_on_with() {
    let names = [
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/0/001.p/44",
        "tile/entries/001.p/44",
        "checkpoint",
    ];
    for name in names {
        for what in ["changed", "cut", "gone"] {
            let dir = quick_dir();
            let mut log = open(dir.path());
            log.append(&entries(0, 300)).expect("there is room");
            drop(log);
            let path = dir.path().join(name);
            let mut bytes = fs::read(&path).expect("it is there");
            fs::remove_file(&path).expect("the directory is ours");
            match what {
                "changed" => bytes[10] ^= 1,
                "cut" => bytes.truncate(20),
                _ => bytes.clear(),
            }
            if what != "gone" {
                fs::write(&path, bytes).expect("the directory is ours");
            }
            let opened = TransparencyLog::open(dir.path(), log_key(), None);
            let is_found = opened.is_err();
            // The start reads the right edge only, and the rest is for who verifies.
            assert_eq!(is_found, name != "tile/0/000", "{name} {what}");
        }
    }
}

/// Lets so many changes happen and none after them, and writes down every checkpoint that was signed.
struct Cut {
    left: AtomicUsize,
    signed: Mutex<Vec<Checkpoint>>,
}

impl FileHook for Cut {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        // It was signed before it is written, whether it ever is or not.
        if let FileOp::Write { data, .. } = op
            && let Ok(text) = std::str::from_utf8(data)
            && let Ok(checkpoint) = log_key().verifier().checkpoint(text)
        {
            self.signed.lock().expect("nothing panics in here").push(checkpoint);
        }
        let counted = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted.map(drop).map_err(|_| io::ErrorKind::Other.into())
    }
}

/// Appends until it is cut off; what was acknowledged.
fn write(dir: &Path, changes: usize, batches: &[Vec<Vec<u8>>]) -> (Vec<Vec<u8>>, Vec<Checkpoint>, bool) {
    let hook = Arc::new(Cut {
        left: AtomicUsize::new(changes),
        signed: Mutex::default(),
    });
    let mut acknowledged = Vec::new();
    let mut is_whole = false;
    if let Ok(mut log) = TransparencyLog::open(dir, log_key(), Some(Arc::<Cut>::clone(&hook))) {
        is_whole = batches.iter().all(|batch| {
            let is_done = log.append(batch).is_ok();
            if is_done {
                acknowledged.extend(batch.iter().cloned());
            }
            is_done
        });
    }
    let signed = hook.signed.lock().expect("nothing panics in here").clone();
    (acknowledged, signed, is_whole)
}

#[test]
fn no_crash_makes_a_log_contradict_itself() {
    let label =
        |name: &str, count: u64| -> Vec<Vec<u8>> { (0..count).map(|it| format!("{name} {it}").into_bytes()).collect() };
    let first = [label("a", 3), label("b", 250), label("c", 10), label("d", 260)];
    let second = [label("e", 2), label("f", 300)];
    let mut cuts = 0;
    // The second writer is cut off as well, sooner or later.
    for changes in 0.. {
        let dir = quick_dir();
        let (mut kept, mut signed, is_whole) = write(dir.path(), changes, &first);
        let (more, again, _) = write(dir.path(), changes * 7 % 90, &second);
        kept.extend(more);
        signed.extend(again);
        let mut log = open(dir.path());
        log.append(&label("g", 1)).expect("it goes on");
        kept.push(b"g 0".to_vec());
        let mut all = Vec::new();
        let mut visit = |_, entry: &[u8]| {
            all.push(entry.to_vec());
            ControlFlow::Continue(())
        };
        log.reader().entries(0, &mut visit).expect("it can be read");
        let leaves: Vec<_> = all.iter().map(|it| leaf_hash(it)).collect();
        assert_eq!(log.checkpoint().root, defined(&leaves), "cut after {changes}");
        for checkpoint in signed {
            let size = usize::try_from(checkpoint.size).expect("small");
            assert!(size <= all.len(), "cut after {changes}: {size} were signed");
            assert_eq!(
                checkpoint.root,
                defined(&leaves[..size]),
                "cut after {changes}: {size} were signed otherwise"
            );
        }
        // What was acknowledged is there, in its order.
        let mut rest = all.iter();
        for entry in &kept {
            assert!(rest.any(|it| it == entry), "cut after {changes}: an entry is lost");
        }
        cuts += 1;
        if is_whole {
            break;
        }
    }
    assert!(cuts > 60, "only {cuts} changes were cut off");
}

/// The same log goes on by itself after a disk was full.
#[test]
fn a_full_disk_stops_an_append_and_not_the_log() {
    struct Full(AtomicUsize);
    impl FileHook for Full {
        fn before(&self, _: &FileOp<'_>) -> io::Result<()> {
            if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
    for at in 1..60 {
        let dir = quick_dir();
        let hook = Arc::new(Full(AtomicUsize::new(usize::MAX)));
        let mut log = TransparencyLog::open(dir.path(), log_key(), Some(Arc::<Full>::clone(&hook))).expect("it opens");
        log.append(&entries(0, 200)).expect("there is room");
        hook.0.store(at, Ordering::Relaxed);
        let first = log.append(&entries(200, 100)).map(drop);
        if let Err(error) = &first {
            assert_eq!(error.to_failure().kind, FailureKind::Full, "{error}");
        }
        hook.0.store(usize::MAX, Ordering::Relaxed);
        log.append(&[b"after"]).expect("it goes on");
        let size = log.checkpoint().size;
        assert!(size >= 201 && (first.is_err() || size == 301), "{size}");
        assert_eq!(log.reader().root().expect("it can be read"), log.checkpoint().root);
    }
}

fn open_again(book: Logbook, dir: &Path) -> TransparencyLog {
    drop(book);
    open(dir)
}

#[test]
fn what_was_not_logged_is_logged_later_and_once() {
    let dir = quick_dir();
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&dir.path().join("vault"), options).expect("the vault opens");
    let mut book = Logbook::new(open(&dir.path().join("log"))).expect("it is empty");
    let sealed: Vec<_> = (0..300_u64)
        .map(|it| store(&vault, it % 3, it % 7, &it.to_le_bytes()))
        .collect();
    let hash = staunch_ports::Vault::put_record(&vault, &record(&sealed[0])).expect("it is stored");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(301)
    );
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(0)
    );
    store(&vault, 1, 1, b"later");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(1)
    );

    let mut journal = MemoryJournal::new();
    journal.open_epoch().expect("an epoch");
    append_ok(&mut journal, &[b"one", b"two"]);
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("it is logged");
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("there is nothing to log");
    append_ok(&mut journal, &[b"three"]);
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("it is logged");
    // Whoever begins anew knows what is logged.
    let mut book = Logbook::new(open_again(book, &dir.path().join("log"))).expect("it can be read");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(0)
    );
    assert_eq!(
        book.take_frames(|from, visit| journal.read(from, visit)),
        Ok(journal.tail().lsn)
    );
    let log = book.log();
    assert_eq!(log.checkpoint().size, 304);
    let mut frames = Vec::new();
    let mut records = Vec::new();
    let mut visit = |_, entry: &[u8]| {
        match LogEntry::parse(entry).expect("it is one of ours").logged {
            Logged::Frames { first, last, chain } => frames.push((first, last, chain.0)),
            Logged::Collection { record, .. } => records.push(record),
            Logged::Manifest { .. } => {}
        }
        ControlFlow::Continue(())
    };
    log.reader().entries(0, &mut visit).expect("it can be read");
    let tail = journal.tail();
    assert_eq!(records, [hash]);
    assert_eq!((frames[0].0, frames[0].1), (1, tail.lsn.0 - 1));
    assert_eq!(frames[1], (tail.lsn.0, tail.lsn.0, tail.hash));
}

#[test]
fn names_in_the_log_are_those_of_tiles() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    log.append(&entries(0, 1_000)).expect("there is room");
    let mut stack = vec![dir.path().join("tile")];
    let mut tiles = 0;
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(
                fs::read_dir(&path)
                    .expect("a directory")
                    .map(|it| it.expect("an entry").path()),
            );
        } else {
            let name = path
                .strip_prefix(dir.path())
                .expect("it is below")
                .to_str()
                .expect("text");
            assert!(Tile::parse(name).is_some(), "{name}");
            tiles += 1;
        }
    }
    assert_eq!(tiles, 9);
}
