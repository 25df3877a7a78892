//! The signatures that manifests carry themselves.

use std::path::Path;
use std::sync::Arc;

use staunch_model::{IncidentId, Manifest};
use staunch_store::vault::logged::Logbook;
use staunch_store::vault::{EvidenceFolder, EvidenceSummary, Finding, HandlingLog, verify_evidence};
use staunch_store::{DirVault, DirVaultOptions, LogKey, TransparencyLog};
use staunch_testkit::contract::vault::store;

use super::folder::put;
use crate::{ORIGIN, log_key, quick_dir};

const FIRST: &str = "vault/manifests/INC-1/EV-1/00000001.json";

/// A vault in `dir` with a manifest of each of these keys.
fn seal(dir: &Path, keys: &[Option<LogKey>]) {
    for (key, number) in keys.iter().zip(1..) {
        let options = DirVaultOptions {
            is_immutable: false,
            key: key.clone().map(Arc::new),
            ..DirVaultOptions::default()
        };
        let vault = DirVault::open(&dir.join("vault"), options).expect("the vault opens");
        store(&vault, 1, number, b"evidence");
    }
}

/// Logs what is there, as a server does that starts.
fn log(dir: &Path) {
    let log = TransparencyLog::open(&dir.join("log"), log_key(), None).expect("the log opens");
    let vault = DirVault::read_only(&dir.join("vault"));
    let mut book = Logbook::new(log).expect("it can be read");
    book.take_incident(&vault, IncidentId(1)).expect("it is logged");
}

fn verify(dir: &Path) -> (EvidenceSummary, Vec<Finding>) {
    let folder = EvidenceFolder {
        bucket: None,
        vault: &dir.join("vault"),
        log: &dir.join("log"),
        handling: &HandlingLog::in_folder(dir),
        journal: None,
        key: &log_key().verifier(),
        earlier: None,
    };
    let mut findings = Vec::new();
    let summary = verify_evidence(&folder, &mut |_| (), &mut |it| findings.push(it));
    (summary, findings)
}

fn first(dir: &Path) -> Manifest {
    Manifest::parse(&std::fs::read(dir.join(FIRST)).expect("it is there")).expect("it is one")
}

#[test]
fn a_manifest_is_signed_with_the_key_of_the_log_and_says_when_it_is_not() {
    let dir = quick_dir();
    let other = LogKey::from_seed("other.example/log", &[8; 32]);
    let namesake = LogKey::from_seed(ORIGIN, &[9; 32]);
    seal(dir.path(), &[Some(log_key()), None, Some(other), Some(namesake)]);
    log(dir.path());
    let manifest = first(dir.path());
    let signature = manifest.signature.as_deref().expect("it is signed");
    assert!(signature.starts_with(&format!("\u{2014} {ORIGIN} ")), "{signature}");
    assert_eq!(log_key().verifier().has_signed(&manifest), Ok(true));
    let (summary, findings) = verify(dir.path());
    assert_eq!(findings, []);
    assert_eq!((summary.manifests, summary.unsigned), (4, 3));
}

/// The log stands for what was there when it was logged; the signature for what was sealed.
#[test]
fn a_manifest_that_was_changed_before_it_was_logged_is_found() {
    let dir = quick_dir();
    seal(dir.path(), &[Some(log_key())]);
    let sealed = first(dir.path());
    let wrong = |change: &dyn Fn(&mut Manifest), why: &str| {
        let mut manifest = sealed.clone();
        change(&mut manifest);
        let dir = quick_dir();
        seal(dir.path(), &[Some(log_key())]);
        put(&dir.path().join(FIRST), &manifest.to_bytes());
        log(dir.path());
        match &verify(dir.path()).1[..] {
            [Finding::Wrong { name, what }] => {
                assert!(FIRST.ends_with(&**name) && what.contains(why), "{name}: {what}");
            }
            other => panic!("{other:?}"),
        }
    };
    wrong(
        &|it| it.custody.locator = "/etc/passwd".into(),
        "its signature by the key",
    );
    wrong(&|it| it.signature = Some("by me".into()), "no signed note");
    let two_lines = |it: &mut Manifest| {
        let line = it.signature.take().expect("it is signed");
        it.signature = Some(format!("{line}\nnobody\n\n{line}").into());
    };
    wrong(&two_lines, "no signed note");
    let beside = |it: &mut Manifest| {
        let line = it.signature.take().expect("it is signed");
        it.signature = Some(format!("{line}\n\u{2014} other/log AAAAAAAAAAAAAAAA").into());
    };
    wrong(&beside, "no signed note");
}
