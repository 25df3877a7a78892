//! Vaults whose artefacts are encrypted to recipients of age, held to the contract of all vaults, and to what that adds
//! to it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_model::{Encryption, FailureKind, IncidentId, Sha256Hash, Storage, Taken};
use staunch_ports::{SealedManifest, Vault};
use staunch_store::age::{Decrypting, Identity, Recipient};
use staunch_store::vault::logged::Logbook;
use staunch_store::vault::{EvidenceFolder, HandlingLog, verify_evidence};
use staunch_store::{DirVault, DirVaultOptions, ExportParts, LogKey, TransparencyLog, export_incident, verify_archive};
use staunch_testkit::contract::vault::{
    self as contract, ARTEFACT_BYTES_MAX, Subject, artefact, draft, noise, record, store,
};

use crate::temp_dir;

/// Made for these tests; they protect nothing.
const KEY: &str = "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW";
const STRANGER: &str = "AGE-SECRET-KEY-1H2DRKV8QXV2ESG46TG44UHT3J7FYG98UQNS7Y5Y89SSYH3X028AQ47KYT9";
const OTHER: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

pub(crate) fn identities() -> Arc<[Identity]> {
    Identity::parse_all(KEY).expect("it is one").into()
}

pub(crate) fn recipients() -> Vec<Recipient> {
    vec![identities()[0].recipient(), Recipient::parse(OTHER).expect("it is one")]
}

fn options() -> DirVaultOptions {
    DirVaultOptions {
        artefact_bytes_max: ARTEFACT_BYTES_MAX,
        is_immutable: false,
        recipients: recipients(),
        identities: identities(),
        ..DirVaultOptions::default()
    }
}

fn open(dir: &Path, options: DirVaultOptions) -> DirVault {
    DirVault::open(dir, options).expect("the vault opens")
}

struct Encrypted {
    dir: tempfile::TempDir,
    vault: Option<Arc<dyn Vault>>,
}

/// What is stored of an artefact.
fn files(dir: &Path, artefact: Sha256Hash) -> Vec<PathBuf> {
    let text = artefact.to_string();
    let dir = dir.join("objects").join(&text[..2]).join(&text);
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|it| it.expect("an entry").path()).collect()
}

impl Subject for Encrypted {
    fn vault(&self) -> Arc<dyn Vault> {
        Arc::clone(self.vault.as_ref().expect("it is open"))
    }

    fn reopen(&mut self) {
        self.vault = None;
        self.vault = Some(Arc::new(open(self.dir.path(), options())));
    }

    fn damage(&self, artefact: Sha256Hash) {
        for file in files(self.dir.path(), artefact) {
            let mut bytes = fs::read(&file).expect("it is there");
            let at = bytes.len() / 2;
            bytes[at] ^= 0x10;
            fs::remove_file(&file).expect("the directory is ours");
            fs::write(&file, bytes).expect("the directory is ours");
        }
    }

    fn unfinished(&self) -> usize {
        fs::read_dir(self.dir.path().join("tmp")).expect("it is there").count()
    }
}

fn storage(sealed: &SealedManifest) -> &Storage {
    match &sealed.manifest.taken {
        Taken::Stored { storage, .. } => storage,
        Taken::Missed(why) => panic!("it was stored: {why}"),
    }
}

fn read(vault: &dyn Vault, artefact: Sha256Hash) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = vault.open(artefact).expect("it is there");
    reader.read_to_end(&mut bytes).expect("it is whole");
    bytes
}

#[test]
fn an_encrypted_vault_keeps_the_contract() {
    contract::vault(|| {
        let mut subject = Encrypted {
            dir: temp_dir(),
            vault: None,
        };
        subject.reopen();
        Box::new(subject)
    });
}

#[test]
fn both_hashes_are_in_the_manifest_and_nothing_is_stored_in_the_clear() {
    let dir = temp_dir();
    let vault = open(dir.path(), options());
    let sealed = store(&vault, 3, 17, b"the secret of web-1");
    let storage = storage(&sealed);
    assert_eq!(artefact(&sealed), Sha256Hash::of(b"the secret of web-1"));
    let expected = Encryption {
        scheme: "age".into(),
        recipients: recipients().iter().map(|it| it.text().into()).collect(),
    };
    assert_eq!(storage.encryption, Some(expected));
    let bytes = fs::read(dir.path().join(&*storage.path)).expect("it is where the manifest says");
    assert_eq!(Sha256Hash::of(&bytes), storage.sha256);
    assert_eq!(bytes.len() as u64, storage.size);
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(!bytes.windows(6).any(|it| it == b"secret"));
    // As `age -d | zstd -d` does.
    let plain = Decrypting::begin(&*bytes, &identities()).expect("it is for us");
    assert_eq!(zstd::decode_all(plain).expect("it is packed"), b"the secret of web-1");
}

#[test]
fn who_collects_cannot_read_it_any_more() {
    let dir = temp_dir();
    let sealed = store(&open(dir.path(), options()), 1, 1, b"evidence");
    let reads = |identities: Arc<[Identity]>| {
        let options = DirVaultOptions {
            identities,
            ..DirVaultOptions::default()
        };
        DirVault::read_with(dir.path(), options).open(artefact(&sealed)).err()
    };
    let failure = reads(Arc::default()).expect("there is no key");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    let stranger = Identity::parse(STRANGER).expect("it is one");
    let failure = reads(vec![stranger].into()).expect("it is for others");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert!(failure.to_string().contains("none of the identities"), "{failure}");
    assert_eq!(reads(identities()), None);
}

#[test]
fn what_is_for_others_is_stored_for_them_as_well() {
    let dir = temp_dir();
    let first = store(&open(dir.path(), options()), 1, 1, b"evidence");
    let fewer = DirVaultOptions {
        recipients: vec![identities()[0].recipient()],
        ..options()
    };
    let vault = open(dir.path(), fewer);
    let second = store(&vault, 1, 2, b"evidence");
    let again = store(&vault, 1, 3, b"evidence");
    assert_ne!(storage(&first).path, storage(&second).path, "they are for others");
    assert_eq!(storage(&second), storage(&again), "they are for the same");
    drop(vault);
    // And in the clear, for who does not want it any more.
    let plain = DirVaultOptions {
        recipients: Vec::new(),
        ..options()
    };
    let vault = open(dir.path(), plain);
    let third = store(&vault, 1, 4, b"evidence");
    assert_eq!(storage(&third).encryption, None);
    assert_eq!(files(dir.path(), artefact(&first)).len(), 2);
    assert_eq!(read(&vault, artefact(&first)), b"evidence");
}

/// The log of a vault in `dir/vault`.
fn log(dir: &Path, vault: &dyn Vault) -> LogKey {
    let key = || LogKey::from_seed("staunch.example/0102", &[7; 32]);
    let log = TransparencyLog::open(&dir.join("log"), key(), None).expect("a log");
    Logbook::new(log)
        .expect("a log")
        .take_all(vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("a log");
    key()
}

#[test]
fn it_is_verified_and_handed_over_without_a_key() {
    let dir = temp_dir();
    let vault = open(&dir.path().join("vault"), options());
    let sealed = store(&vault, 3, 17, &noise(1, 50_000));
    vault.put_record(&record(&sealed)).expect("it is stored");
    let key = log(dir.path(), &vault);
    let (vault_dir, log_dir) = (dir.path().join("vault"), dir.path().join("log"));
    let folder = EvidenceFolder {
        vault: &vault_dir,
        log: &log_dir,
        handling: &HandlingLog::in_folder(dir.path()),
        journal: None,
        key: &key.verifier(),
        earlier: None,
        bucket: None,
    };
    let verify = || {
        let mut findings = Vec::new();
        let summary = verify_evidence(&folder, &mut |_| (), &mut |it| findings.push(it.to_string()));
        (summary.artefacts, summary.encrypted, findings)
    };
    assert_eq!(verify(), (1, 1, Vec::new()));
    let parts = ExportParts {
        vault: &vault_dir,
        log: &log_dir,
        handling: &HandlingLog::in_folder(dir.path()),
        key: &key,
        incident: IncidentId(3),
        further: Vec::new(),
        bucket: None,
    };
    let archive = dir.path().join("archive");
    let file = fs::File::create(&archive).expect("it is our directory");
    export_incident(&parts, &mut |_, _| (), file).expect("there is evidence");
    let mut findings = Vec::new();
    let summary = verify_archive(&archive, &key.verifier(), None, &mut |_, _| (), &mut |it| {
        findings.push(it.to_string());
    });
    let summary = summary.expect("it can be read");
    assert_eq!((summary.artefacts, summary.encrypted, findings), (1, 1, Vec::new()));

    // What was changed shows without a key.
    let [file] = &files(&vault_dir, artefact(&sealed))[..] else {
        panic!("there is one");
    };
    let mut bytes = fs::read(file).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(file).expect("it is ours");
    fs::write(file, &bytes).expect("it is ours");
    let (_, _, findings) = verify();
    assert!(findings.iter().any(|it| it.contains("was changed")), "{findings:?}");
    assert!(export_incident(&parts, &mut |_, _| (), Vec::new()).is_err());
    fs::remove_file(file).expect("it is ours");
    let (_, _, findings) = verify();
    assert!(findings.iter().any(|it| it.contains("was removed")), "{findings:?}");
}

#[test]
fn one_that_is_too_long_leaves_nothing() {
    let dir = temp_dir();
    let vault = open(dir.path(), options());
    let mut deposit = vault.begin(Some(10)).expect("it begins");
    deposit.write_all(b"0123456789a").expect_err("it is too long");
    let failure = deposit.seal(draft(1, 1, "long")).expect_err("it is not cut");
    assert_eq!(failure.kind, FailureKind::Invalid);
    assert!(
        !dir.path()
            .join("objects/")
            .read_dir()
            .expect("it is there")
            .any(|_| true)
    );
}
