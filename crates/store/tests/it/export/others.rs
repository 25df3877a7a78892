//! What others read: an implementation of the proofs, and the usual tools.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use signed_note::{Note, StandardVerifier, VerifierList};
use staunch_model::Sha256Hash;
use staunch_store::LogProof;
use tlog_tiles::Hash;

use super::made::Made;
use crate::log_key;

/// `signed_note` and `tlog_tiles`, by other authors, read the inventory, the checkpoint, and each proof.
#[test]
fn an_implementation_by_others_checks_inventory_and_proofs() {
    let made = Made::new();
    let theirs = StandardVerifier::new(&log_key().verifier().to_string()).expect("it is a key");
    let known = VerifierList::new(vec![Box::new(theirs)]);
    let opened = |note: &[u8]| {
        let note = Note::from_bytes(note).expect("it is a note");
        let (signatures, unknown) = note.verify(&known).expect("it is signed");
        assert_eq!((signatures.len(), unknown.len()), (1, 0));
        note.text().to_vec()
    };
    let files = made.files();
    let inventory = String::from_utf8(opened(&files[0].1)).expect("it is text");
    assert!(
        inventory.contains(&Sha256Hash::of(&files[1].1).to_string()),
        "{inventory}"
    );
    let (mut proofs, mut signed) = (0, 0);
    for pair in files.windows(2) {
        let [(file, content), (name, proof)] = pair else {
            unreachable!("they are two")
        };
        if !name.ends_with(".tlog-proof") {
            continue;
        }
        assert_eq!(name.strip_suffix(".tlog-proof"), Some(&**file));
        let text = std::str::from_utf8(proof).expect("it is text");
        let proof = LogProof::parse(text).expect("it is a proof");
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(&opened(proof.note.as_bytes())).expect("a checkpoint");
        let hashes: Vec<Hash> = proof.hashes.iter().map(|it| Hash(it.0)).collect();
        let leaf = tlog_tiles::record_hash(&proof.entry);
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        tlog_tiles::check_record(&hashes, size, root, proof.index, leaf).expect("it is there");
        let other = (proof.index + 1) % size;
        assert!(tlog_tiles::check_record(&hashes, size, root, other, leaf).is_err());
        if file.contains("manifests/") {
            // As `VERIFY.md` says it.
            let text = std::str::from_utf8(content).expect("it is JSON");
            let (before, line) = text.split_once(",\"signature\":\"").expect("it is signed");
            let note = format!("{before}}}\n\n{}\n", line.trim_end_matches("\"}\n"));
            assert_eq!(opened(note.as_bytes()), format!("{before}}}\n").as_bytes());
            signed += 1;
        }
        let entry = String::from_utf8(proof.entry.clone()).expect("it is JSON");
        assert!(entry.contains(&Sha256Hash::of(content).to_string()), "{entry}");
        proofs += 1;
    }
    assert_eq!((proofs, signed), (21, 17));
}

/// What `VERIFY.md` says works: `tar`, `sha256sum` and `zstd` are everywhere.
#[test]
fn the_usual_tools_unpack_it_and_check_the_list() {
    let made = Made::new();
    let to = made.path("by-tar");
    fs::create_dir(&to).expect("it is ours");
    let mut plain = Vec::new();
    zstd::Decoder::new(&*made.archive())
        .and_then(|mut it| it.read_to_end(&mut plain))
        .expect("it is zstd");
    fs::write(made.path("plain.tar"), plain).expect("it is ours");
    let tar = Command::new("tar")
        .arg("-xf")
        .arg(made.path("plain.tar"))
        .arg("-C")
        .arg(&to)
        .output();
    let tar = tar.expect("tar is there");
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    let sums = Command::new("sha256sum")
        .args(["-c", "--strict", "SHA256SUMS"])
        .current_dir(to.join("INC-1"))
        .output();
    let sums = sums.expect("sha256sum is there");
    assert!(sums.status.success(), "{sums:?}");
    assert_eq!(made.verify(&to.join("INC-1")).1, []);
}
