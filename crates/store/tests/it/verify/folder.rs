//! A folder of evidence, and how it is tampered with.

use std::fs;
use std::path::{Path, PathBuf};

use staunch_ports::{Journal as _, Vault as _};
use staunch_store::vault::logged::Logbook;
use staunch_store::vault::{EvidenceFolder, EvidenceSummary, Finding, HandlingLog, verify_evidence};
use staunch_store::{DirVault, DirVaultOptions, LogVerifier, SegmentJournal, TransparencyLog};
use staunch_testkit::contract::vault::{noise, record, store};

use crate::{append_ok, log_key, quick_dir, small, with_epoch};

/// A folder with 310 manifests, 2 records and frames: more than one tile.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    /// The checkpoint before the last evidence.
    pub(super) earlier: String,
    /// The object of one artefact, and that of the last.
    pub(super) objects: [PathBuf; 2],
    pub(super) record: PathBuf,
}

impl Folder {
    pub(super) fn new() -> Self {
        let dir = quick_dir();
        let options = DirVaultOptions {
            is_immutable: false,
            ..DirVaultOptions::default()
        };
        let vault = DirVault::open(&dir.path().join("vault"), options).expect("the vault opens");
        let mut book = Logbook::new(open_log(&dir.path().join("log"))).expect("it is empty");
        let mut first = None;
        for number in 0..308_u64 {
            first.get_or_insert(store(&vault, number % 2 + 1, number % 4, &noise(number, 50)));
        }
        let first = first.expect("there are many");
        vault.put_record(&record(&first)).expect("it is stored");
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
            .expect("it is logged");
        let journal = dir.path().join("journal");
        fs::create_dir(&journal).expect("the directory is ours");
        let (mut journal, _) = with_epoch(SegmentJournal::open(&journal, small()).expect("the journal opens"));
        append_ok(&mut journal, &[b"one", b"two"]);
        book.take_frames(|from, visit| journal.read(from, visit))
            .expect("it is logged");
        append_ok(&mut journal, &[b"three", b"four"]);
        book.take_frames(|from, visit| journal.read(from, visit))
            .expect("it is logged");
        let earlier = book.log().note().to_owned();
        let large = store(&vault, 1, 8, &noise(1_000, 500_000));
        let last = store(&vault, 1, 9, b"the last");
        let record = vault.put_record(&record(&last)).expect("it is stored");
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
            .expect("it is logged");
        let objects = [&large, &last].map(|it| {
            let artefact = staunch_testkit::contract::vault::artefact(it);
            dir.path().join("vault").join(DirVault::object_name(artefact))
        });
        let record = dir.path().join(format!("vault/records/INC-1/EV-9/{record}.json"));
        Self {
            dir,
            earlier,
            objects,
            record,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn verify_with(&self, key: &LogVerifier, earlier: Option<&str>) -> (EvidenceSummary, Vec<Finding>) {
        let (vault, log, journal) = (self.path("vault"), self.path("log"), self.path("journal"));
        let folder = EvidenceFolder {
            bucket: None,
            vault: &vault,
            log: &log,
            handling: &HandlingLog::in_folder(self.dir.path()),
            journal: Some(&journal),
            key,
            earlier,
        };
        let mut findings = Vec::new();
        let mut steps = 0;
        let summary = verify_evidence(&folder, &mut |_| steps += 1, &mut |finding| findings.push(finding));
        assert_eq!(summary.findings, findings.len() as u64);
        assert!(findings.iter().all(|it| !it.to_string().contains('\n')));
        (summary, findings)
    }

    pub(super) fn verify(&self) -> Vec<Finding> {
        self.verify_with(&log_key().verifier(), Some(&self.earlier)).1
    }

    /// The only finding there is.
    pub(super) fn only(&self) -> Finding {
        let mut findings = self.verify();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.remove(0)
    }
}

pub(super) fn open_log(dir: &Path) -> TransparencyLog {
    TransparencyLog::open(dir, log_key(), None).expect("the log opens")
}

/// Writes a file anew, whatever its permissions are.
pub(super) fn put(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).expect("the directory is ours");
}

pub(super) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("it is there");
    bytes[at] ^= 1;
    put(path, &bytes);
}

pub(super) fn remove(path: &Path) {
    fs::remove_file(path).expect("it is there");
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("it is copied");
        }
    }
}
