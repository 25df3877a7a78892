//! The log as another implementation reads it.

use std::fs;
use std::io;
use std::path::PathBuf;

use signed_note::{Note, StandardVerifier, VerifierList};
use staunch_model::Sha256Hash;
use staunch_store::LogReader;
use staunch_store::tlog::merkle::is_consistent;
use tlog_tiles::{Hash, TileHashReader, TileReader};

use super::{entries, open};
use crate::{ORIGIN, quick_dir};

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
