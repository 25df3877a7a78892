//! Archives of evidence: what is found in one that somebody has tampered with, what a hostile one costs, and what an
//! implementation by others says of its proofs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use signed_note::{Note, StandardVerifier, VerifierList};
use staunch_model::{Failure, FailureKind, IncidentId, Sha256Hash};
use staunch_ports::Vault;
use staunch_store::export::Inventory;
use staunch_store::vault::logged::Logbook;
use staunch_store::{
    ArchiveFinding, ArchiveSummary, DirVault, DirVaultOptions, ExportError, ExportParts, ExportSummary, LogKey,
    LogProof, TransparencyLog, export_incident, verify_archive,
};
use staunch_testkit::contract::vault::{draft, noise, record, store};
use tlog_tiles::Hash;

use crate::{ORIGIN, log_key, quick_dir, temp_dir};

/// A vault with evidence of three incidents, 300 entries in its log, and an archive of the first.
struct Made {
    dir: tempfile::TempDir,
    /// The checkpoint at half of it.
    earlier: String,
    summary: ExportSummary,
}

fn vault(dir: &Path) -> DirVault {
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    DirVault::open(&dir.join("vault"), options).expect("the vault opens")
}

fn export(dir: &Path, incident: u64, key: &LogKey) -> Result<(Vec<u8>, ExportSummary), ExportError> {
    let parts = ExportParts {
        bucket: None,
        vault: &dir.join("vault"),
        log: &dir.join("log"),
        key,
        incident: IncidentId(incident),
        further: vec![("timeline.json".into(), b"{}\n".to_vec())],
    };
    let mut bytes = Vec::new();
    let (mut steps, mut last) = (0, 0);
    let mut progress = |done, total| {
        assert!(last <= done && done <= total);
        last = done;
        steps += 1;
    };
    let summary = export_incident(&parts, &mut progress, &mut bytes)?;
    assert!(steps > 0);
    assert_eq!(
        (summary.bytes, summary.sha256),
        (bytes.len() as u64, Sha256Hash::of(&bytes))
    );
    Ok((bytes, summary))
}

impl Made {
    fn new() -> Self {
        let dir = quick_dir();
        let vault = vault(dir.path());
        let log = TransparencyLog::open(&dir.path().join("log"), log_key(), None).expect("the log opens");
        let mut book = Logbook::new(log).expect("it is empty");
        let mut earlier = String::new();
        for number in 0..290_u64 {
            let incident = if number % 20 == 0 { 1 } else { number % 2 + 2 };
            let sealed = store(&vault, incident, number % 2 * 2 + 1, &noise(number, 50));
            if number % 100 == 0 {
                vault.put_record(&record(&sealed)).expect("it is stored");
            }
            if number == 140 {
                book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
                    .expect("it is logged");
                book.log().note().clone_into(&mut earlier);
            }
        }
        let why = Failure::new(FailureKind::Denied, "no permission");
        vault.put_missed(draft(1, 5, "shadow"), why).expect("it is stored");
        let large = store(&vault, 1, 7, &vec![b'a'; 300_000]);
        vault.put_record(&record(&large)).expect("it is stored");
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
            .expect("it is logged");
        let (bytes, summary) = export(dir.path(), 1, &log_key()).expect("there is evidence");
        fs::write(dir.path().join("archive"), bytes).expect("it is ours");
        Self { dir, earlier, summary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn archive(&self) -> Vec<u8> {
        fs::read(self.path("archive")).expect("it is there")
    }

    /// The files of the archive, in their order.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let bytes = zstd::decode_all(&*self.archive()).expect("it is zstd");
        let mut at = 0;
        let mut files = Vec::new();
        while bytes[at] != 0 {
            let field = |from: usize, length: usize| {
                let field = &bytes[at + from..at + from + length];
                let end = field.iter().position(|it| *it == 0).unwrap_or(length);
                std::str::from_utf8(&field[..end]).expect("it is text").to_owned()
            };
            let size = usize::from_str_radix(&field(124, 12), 8).expect("a size");
            let content = bytes[at + 512..at + 512 + size].to_vec();
            files.push((format!("{}/{}", field(345, 155), field(0, 100)), content));
            at += 512 + size.next_multiple_of(512);
        }
        files
    }

    /// The same, as a folder.
    fn unpacked(&self) -> PathBuf {
        let root = self.path("unpacked");
        for (name, content) in self.files() {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is ours");
            fs::write(path, content).expect("it is ours");
        }
        root.join("INC-1")
    }

    fn verify(&self, path: &Path) -> (ArchiveSummary, Vec<ArchiveFinding>) {
        verify(path, &log_key(), Some(&self.earlier))
    }

    /// Packs files as an archive does, and verifies it.
    fn packed(&self, files: &[(String, Vec<u8>)]) -> Vec<ArchiveFinding> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            bytes.extend(header(name, content.len(), b'0'));
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend([0; 1_024]);
        self.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"))
    }

    fn written(&self, bytes: &[u8]) -> Vec<ArchiveFinding> {
        let path = self.path("tampered");
        fs::write(&path, bytes).expect("it is ours");
        self.verify(&path).1
    }
}

fn verify(path: &Path, key: &LogKey, earlier: Option<&str>) -> (ArchiveSummary, Vec<ArchiveFinding>) {
    let mut findings = Vec::new();
    let summary = verify_archive(path, &key.verifier(), earlier, &mut |_, _| (), &mut |it| {
        findings.push(it);
    });
    let summary = summary.expect("it opens");
    assert_eq!(summary.findings, findings.len() as u64);
    assert!(findings.iter().all(|it| !it.to_string().contains(['\n', '\u{1b}'])));
    (summary, findings)
}

/// A header of tar, by the book.
fn header(path: &str, size: usize, kind: u8) -> Vec<u8> {
    let (prefix, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut block = vec![0; 512];
    let fields: [(usize, &str); 9] = [
        (0, name),
        (100, "0000644"),
        (108, "0000000"),
        (116, "0000000"),
        (124, &format!("{size:011o}")),
        (136, "00000000000"),
        (148, "        "),
        (329, "0000000"),
        (337, "0000000"),
    ];
    for (at, text) in fields {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn an_archive_and_its_folder_are_proved_with_the_key_alone() {
    let made = Made::new();
    let it = &made.summary;
    assert_eq!((it.manifests, it.records, it.artefacts, it.missed), (17, 4, 16, 1));
    assert_eq!(it.artefact_bytes, 15 * 50 + 300_000);
    for path in [made.path("archive"), made.unpacked()] {
        let (summary, findings) = made.verify(&path);
        assert_eq!(findings, []);
        let checkpoint = summary.checkpoint.as_ref().expect("it is proved");
        assert_eq!((checkpoint.size, summary.entries), (296, 296));
        assert_eq!((summary.manifests, summary.records, summary.proofs), (17, 4, 21));
        assert_eq!((summary.artefacts, summary.bytes), (16, it.artefact_bytes));
        assert_eq!(summary.incident, Some(IncidentId(1)));
        assert!(summary.continues_earlier);
        let (_, findings) = verify(&path, &LogKey::from_seed(ORIGIN, &[8; 32]), None);
        assert!(
            matches!(findings.as_slice(), [ArchiveFinding::InventoryNotProved { .. }]),
            "{findings:?}"
        );
    }
    // The same evidence makes the same archive.
    let (again, _) = export(made.dir.path(), 1, &log_key()).expect("there is evidence");
    assert!(again == made.archive());
}

#[test]
fn a_changed_byte_of_any_file_is_named() {
    let made = Made::new();
    let folder = made.unpacked();
    for (name, content) in made.files() {
        let name = name.strip_prefix("INC-1/").expect("all are below");
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(folder.join(name), changed).expect("it is ours");
            let (_, findings) = made.verify(&folder);
            let told = findings.first().expect("it is found").to_string();
            let expected = match name {
                "INVENTORY" => "INVENTORY is not proved".to_owned(),
                "SHA256SUMS" => "SHA256SUMS was removed or changed".to_owned(),
                name => format!("{name} was changed"),
            };
            assert!(told.starts_with(&expected), "{name}, byte {at}: {findings:#?}");
        }
        fs::write(folder.join(name), &content).expect("it is ours");
        // Removed.
        fs::remove_file(folder.join(name)).expect("it is there");
        let (_, findings) = made.verify(&folder);
        let told = findings.first().expect("it is found").to_string();
        assert!(told.starts_with(&format!("{name} was removed")), "{findings:#?}");
        fs::write(folder.join(name), &content).expect("it is ours");
    }
    assert_eq!(made.verify(&folder).1, []);
}

#[test]
fn an_archive_that_was_cut_or_changed_anywhere_is_not_proved() {
    let made = Made::new();
    let archive = made.archive();
    let cut = |at: usize| made.written(&archive[..at]);
    for at in [1, 100, archive.len() / 2, archive.len() - 1] {
        let findings = cut(at);
        let last = findings.last().expect("it is found");
        assert!(matches!(last, ArchiveFinding::Truncated { .. }), "{at}: {findings:?}");
    }
    for at in (6..archive.len()).step_by(archive.len() / 97) {
        let mut changed = archive.clone();
        changed[at] ^= 4;
        assert_ne!(made.written(&changed), [], "byte {at}");
    }
    let mut longer = archive;
    longer.push(0);
    let findings = made.written(&longer);
    assert!(
        matches!(findings.as_slice(), [ArchiveFinding::Malformed { .. }]),
        "{findings:?}"
    );
    let not_packed = made.written(b"no archive");
    assert!(
        matches!(not_packed.as_slice(), [ArchiveFinding::Malformed { .. }]),
        "{not_packed:?}"
    );
}

#[test]
fn files_that_are_taken_out_put_in_or_moved_are_named() {
    let made = Made::new();
    let files = made.files();
    assert_eq!(made.packed(&files), [], "it is packed as archives are");
    for (at, (name, _)) in files.iter().enumerate().skip(2) {
        let mut less = files.clone();
        less.remove(at);
        let name = name.strip_prefix("INC-1/").expect("all are below").to_owned();
        let findings = made.packed(&less);
        assert_eq!(
            findings.first(),
            Some(&ArchiveFinding::Removed { name }),
            "{findings:?}"
        );
    }
    // Two in each other's place.
    let mut moved = files.clone();
    moved.swap(5, 9);
    assert_ne!(made.packed(&moved), []);
    // Twice, outside, and further ones.
    let twice = files[6].0.clone();
    for name in [
        "INC-1/../../etc/passwd",
        "/etc/passwd",
        "INC-1/extra",
        "INC-2/log/checkpoint",
        &twice,
    ] {
        let mut more = files.clone();
        more.push((name.to_owned(), b"x".to_vec()));
        let findings = made.packed(&more);
        let is_told = |it: &ArchiveFinding| matches!(it, ArchiveFinding::Foreign { name: told } if told == name);
        assert!(findings.iter().any(is_told), "{name}: {findings:?}");
    }
    // In a folder: further files, a link in the place of a file, a link in the place of a directory.
    let folder = made.unpacked();
    fs::write(folder.join("objects/extra"), "x").expect("it is ours");
    let findings = made.verify(&folder).1;
    let name = "objects/extra".to_owned();
    assert_eq!(findings, [ArchiveFinding::Foreign { name }]);
    fs::remove_file(folder.join("objects/extra")).expect("it is there");
    fs::rename(folder.join("timeline.json"), made.path("elsewhere")).expect("it is there");
    std::os::unix::fs::symlink(made.path("elsewhere"), folder.join("timeline.json")).expect("it is ours");
    assert_eq!(made.verify(&folder).1.len(), 1);
    fs::rename(made.path("elsewhere"), folder.join("timeline.json")).expect("it is there");
    fs::rename(folder.join("log"), made.path("moved")).expect("it is there");
    std::os::unix::fs::symlink(made.path("moved"), folder.join("log")).expect("it is ours");
    assert_ne!(made.verify(&folder).1, []);
}

#[test]
fn links_bombs_and_floods_are_refused_early() {
    let made = Made::new();
    let begin = |files: usize| {
        let mut bytes = Vec::new();
        for (name, content) in made.files().into_iter().take(files) {
            bytes.extend(header(&name, content.len(), b'0'));
            bytes.extend(&content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    };
    for kind in *b"125L" {
        let mut bytes = begin(4);
        bytes.extend(header("INC-1/link", 0, kind));
        let findings = made.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"));
        let is_refused =
            matches!(findings.last(), Some(ArchiveFinding::Malformed { what, .. }) if what.contains("link"));
        assert!(is_refused, "{findings:?}");
    }
    // 16 GiB of zeros in half a megabyte, in a file that is there and in one that is not.
    for name in [made.files()[2].0.clone(), "INC-1/zeros".to_owned()] {
        let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("it begins");
        packed.write_all(&begin(2)).expect("it is memory");
        packed
            .write_all(&header(&name, (8 << 30) - 1, b'0'))
            .expect("it is memory");
        let zeros = vec![0; 1 << 20];
        for _ in 0..64 {
            packed.write_all(&zeros).expect("it is memory");
        }
        let findings = made.written(&packed.finish().expect("it is memory"));
        let refused = findings.last().expect("it is found").to_string();
        assert!(
            refused.contains("larger than what was signed") || refused.contains("too much"),
            "{refused}"
        );
    }
    // More names than are told.
    let mut bytes = begin(2);
    for number in 0..5_000 {
        bytes.extend(header(&format!("INC-1/{number}"), 0, b'0'));
    }
    let findings = made.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"));
    assert!(findings.len() < 1_100, "{}", findings.len());
}

/// Signs an archive anew, as somebody with the key can.
fn signed_anew(files: &mut [(String, Vec<u8>)]) {
    let sums: String = files[2..]
        .iter()
        .map(|(name, content)| format!("{}  {}\n", Sha256Hash::of(content), name.trim_start_matches("INC-1/")))
        .collect();
    let inventory = Inventory {
        incident: IncidentId(1),
        sums: Sha256Hash::of(sums.as_bytes()),
        files: files.len() as u64 - 2,
        bytes: files[2..].iter().map(|(_, content)| content.len() as u64).sum(),
    };
    files[0].1 = log_key().sign(&inventory.to_text()).into_bytes();
    files[1].1 = sums.into_bytes();
}

/// The files of an archive with their names.
type Files = Vec<(String, Vec<u8>)>;

#[test]
fn what_was_left_out_by_somebody_with_the_key_is_found_by_the_log() {
    let made = Made::new();
    let files = made.files();
    let told = |change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        signed_anew(&mut files);
        let findings: Vec<String> = made.packed(&files).iter().map(ToString::to_string).collect();
        findings
    };
    assert_eq!(told(&|_| ()), [""; 0]);
    // The last evidence: its manifest and record with their proofs, and the artefact.
    let of_last = |name: &str| name.contains("EV-7/");
    let findings = told(&|files| files.retain(|(name, _)| !of_last(name)));
    assert!(
        findings
            .iter()
            .any(|it| it.starts_with("manifests/EV-7/00000001.json was removed; entry")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|it| it.starts_with("records/EV-7/")),
        "{findings:?}"
    );
    // An artefact.
    let findings = told(&|files| {
        let at = files
            .iter()
            .position(|(name, _)| name.contains("objects/"))
            .expect("there are some");
        files.remove(at);
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.starts_with("the artefact objects/")),
        "{findings:?}"
    );
    // The last entries of the log, with the checkpoint that was signed then.
    let findings = told(&|files| {
        let at = files
            .iter()
            .position(|(name, _)| name.ends_with("001.p/40"))
            .expect("the last bundle");
        files.remove(at);
    });
    assert!(
        findings.iter().any(|it| it.contains("history was changed")),
        "{findings:?}"
    );
    // A proof, and one that is of another file.
    let findings = told(&|files| files.retain(|(name, _)| !name.ends_with("EV-7/00000001.json.tlog-proof")));
    assert_eq!(findings, ["manifests/EV-7/00000001.json has no proof beside it"]);
    let findings = told(&|files| {
        let of = |end: &str| {
            files
                .iter()
                .position(|(name, _)| name.ends_with(end))
                .expect("it is there")
        };
        let (one, other) = (of("EV-7/00000001.json.tlog-proof"), of("EV-5/00000001.json.tlog-proof"));
        files[one].1 = files[other].1.clone();
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.contains("its entry is of something else")),
        "{findings:?}"
    );
    // Two bundles in each other's place.
    let findings = told(&|files| {
        let bundles = files
            .iter()
            .position(|(name, _)| name.contains("tile/entries"))
            .expect("there are two");
        let content = files[bundles].1.clone();
        files[bundles].1 = std::mem::replace(&mut files[bundles + 1].1, content);
    });
    assert_ne!(findings, [""; 0]);
    // An artefact that unpacks to more than its manifest says: the bytes that are stored are signed, and no manifest
    // is.
    let findings = told(&|files| {
        let it = files
            .iter_mut()
            .find(|(name, _)| name.contains("objects/"))
            .expect("there are some");
        it.1 = zstd::encode_all(&*vec![0; 64 << 20], 1).expect("it is packed");
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.contains("unpacks to more than the")),
        "{findings:?}"
    );
}

#[test]
fn a_history_that_was_signed_anew_or_put_back_shows_against_an_earlier_checkpoint() {
    let made = Made::new();
    let other = temp_dir();
    let vault = vault(other.path());
    let log = TransparencyLog::open(&other.path().join("log"), log_key(), None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is empty");
    store(&vault, 1, 1, b"another history");
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    let (short, _) = export(other.path(), 1, &log_key()).expect("there is evidence");
    let findings = made.written(&short);
    assert!(findings[0].to_string().contains("the log was put back"), "{findings:?}");
    for number in 0..200 {
        store(&vault, 1, 1, &noise(number, 20));
    }
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    let (long, _) = export(other.path(), 1, &log_key()).expect("there is evidence");
    let findings = made.written(&long);
    assert!(
        matches!(findings.as_slice(), [one] if one.to_string().contains("history was signed anew")),
        "{findings:?}"
    );
    let (summary, findings) = verify(&made.path("tampered"), &log_key(), None);
    assert!(findings.is_empty() && !summary.continues_earlier, "{findings:?}");
    let (_, findings) = verify(&made.path("archive"), &log_key(), Some("no note"));
    assert!(
        findings[0].to_string().contains("earlier checkpoint is not proved"),
        "{findings:?}"
    );
}

#[test]
fn what_cannot_be_proved_is_not_exported() {
    let made = Made::new();
    assert!(matches!(
        export(made.dir.path(), 9, &log_key()),
        Err(ExportError::Nothing { .. })
    ));
    let other = LogKey::from_seed(ORIGIN, &[8; 32]);
    assert!(matches!(export(made.dir.path(), 1, &other), Err(ExportError::Log(_))));
    let vault = vault(made.dir.path());
    store(&vault, 1, 7, b"after the log");
    assert!(matches!(
        export(made.dir.path(), 1, &log_key()),
        Err(ExportError::Unlogged { count: 1, .. })
    ));
    let removed = made.path("vault/manifests/INC-1/EV-7/00000002.json");
    fs::remove_file(removed).expect("it is there");
    let removed = made.path("vault/manifests/INC-1/EV-7/00000001.json");
    fs::remove_file(removed).expect("it is there");
    assert!(matches!(
        export(made.dir.path(), 1, &log_key()),
        Err(ExportError::Changed { .. })
    ));
    let object = fs::read_dir(made.path("vault/objects"))
        .expect("objects")
        .next()
        .expect("one")
        .expect("one");
    assert!(object.path().is_dir());
}

#[test]
fn an_artefact_that_was_changed_is_not_exported() {
    let made = Made::new();
    let (name, _) = made
        .files()
        .into_iter()
        .find(|(name, _)| name.contains("objects/"))
        .expect("there are some");
    let path = made.path("vault").join(name.trim_start_matches("INC-1/"));
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[8] ^= 1;
    fs::remove_file(&path).expect("it is ours");
    fs::write(&path, &bytes).expect("it is ours");
    let told = export(made.dir.path(), 1, &log_key()).expect_err("it was changed");
    assert!(matches!(told, ExportError::Changed { .. }), "{told:?}");
    fs::write(&path, &bytes[..9]).expect("it is ours");
    let told = export(made.dir.path(), 1, &log_key()).expect_err("it was changed");
    assert!(matches!(told, ExportError::Changed { .. }), "{told:?}");
}

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
    let mut proofs = 0;
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
        let entry = String::from_utf8(proof.entry.clone()).expect("it is JSON");
        assert!(entry.contains(&Sha256Hash::of(content).to_string()), "{entry}");
        proofs += 1;
    }
    assert_eq!(proofs, 21);
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
