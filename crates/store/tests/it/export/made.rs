//! An archive, and how it is taken apart and packed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_model::{Failure, FailureKind, IncidentId, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::vault::HandlingLog;
use staunch_store::vault::logged::Logbook;
use staunch_store::{
    ArchiveFinding, ArchiveSummary, DirVault, DirVaultOptions, ExportError, ExportParts, ExportSummary, LogKey,
    TransparencyLog, export_incident, verify_archive,
};
use staunch_testkit::contract::vault::{draft, noise, record, store};

use crate::{log_key, quick_dir};

/// A vault with evidence of three incidents, 300 entries in its log, and an archive of the first.
pub(super) struct Made {
    pub(super) dir: tempfile::TempDir,
    /// The checkpoint at half of it.
    pub(super) earlier: String,
    pub(super) summary: ExportSummary,
}

pub(super) fn vault(dir: &Path) -> DirVault {
    let options = DirVaultOptions {
        is_immutable: false,
        key: Some(Arc::new(log_key())),
        ..DirVaultOptions::default()
    };
    DirVault::open(&dir.join("vault"), options).expect("the vault opens")
}

pub(super) fn export(dir: &Path, incident: u64, key: &LogKey) -> Result<(Vec<u8>, ExportSummary), ExportError> {
    let parts = ExportParts {
        bucket: None,
        vault: &dir.join("vault"),
        log: &dir.join("log"),
        handling: &HandlingLog::in_folder(dir),
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
    pub(super) fn new() -> Self {
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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn archive(&self) -> Vec<u8> {
        fs::read(self.path("archive")).expect("it is there")
    }

    /// The files of the archive, in their order.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
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
    pub(super) fn unpacked(&self) -> PathBuf {
        let root = self.path("unpacked");
        for (name, content) in self.files() {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is ours");
            fs::write(path, content).expect("it is ours");
        }
        root.join("INC-1")
    }

    pub(super) fn verify(&self, path: &Path) -> (ArchiveSummary, Vec<ArchiveFinding>) {
        verify(path, &log_key(), Some(&self.earlier))
    }

    /// Packs files as an archive does, and verifies it.
    pub(super) fn packed(&self, files: &[(String, Vec<u8>)]) -> Vec<ArchiveFinding> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            bytes.extend(header(name, content.len(), b'0'));
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend([0; 1_024]);
        self.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"))
    }

    pub(super) fn written(&self, bytes: &[u8]) -> Vec<ArchiveFinding> {
        let path = self.path("tampered");
        fs::write(&path, bytes).expect("it is ours");
        self.verify(&path).1
    }
}

pub(super) fn verify(path: &Path, key: &LogKey, earlier: Option<&str>) -> (ArchiveSummary, Vec<ArchiveFinding>) {
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
pub(super) fn header(path: &str, size: usize, kind: u8) -> Vec<u8> {
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
