//! A vault whose artefacts are in a bucket, as the contract suite wants it. Also a part of the example `vault_s3`.

use std::path::Path;
use std::sync::Arc;

use staunch_model::custody::RECEIPT_BYTES_MAX;
use staunch_model::{Receipt, Sha256Hash, Span, Timestamp};
use staunch_ports::{Clock, Vault};
use staunch_store::age::Identity;
use staunch_store::s3::{Bucket, BucketSettings, Link, LockMode, OBJECT_BYTES_MAX, PartSizes};
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::Subject;

/// A clock that stands, so that what is kept until a time is kept until the same time whenever it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing(pub Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn passed(&self) -> Span {
        Span::ZERO
    }
}

/// The time of this machine, standing.
pub(crate) fn standing() -> Arc<Standing> {
    Arc::new(Standing(staunch_ports::clock::SystemClock.now()))
}

/// A bucket behind `host` that is asked to keep things for an hour.
pub(crate) fn settings(host: &str, base: &str) -> BucketSettings {
    BucketSettings {
        host: host.to_owned(),
        base: base.to_owned(),
        bucket_in_path: base.split('/').next().unwrap_or_default().to_owned(),
        place: format!("s3://{base}/"),
        region: "eu-central-1".to_owned(),
        mode: LockMode::Governance,
        retain: Span::from_hours(1),
        legal_hold: false,
        object_bytes_max: OBJECT_BYTES_MAX,
        parts: PartSizes::S3,
    }
}

/// Changes what is in a bucket under a path and a version.
pub(crate) type Damage = Box<dyn Fn(&str, &str)>;

/// A vault in a directory and a bucket.
pub(crate) struct InBucket {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) damage: Damage,
    pub(crate) artefact_bytes_max: u64,
    /// What it is encrypted to, and read with.
    pub(crate) key: Option<&'static str>,
    vault: Option<Arc<DirVault>>,
}

impl InBucket {
    pub(crate) fn new(settings: BucketSettings, link: Box<dyn Link>, artefact_bytes_max: u64, damage: Damage) -> Self {
        let mut it = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            bucket: Arc::new(Bucket::new(settings, link, standing())),
            damage,
            artefact_bytes_max,
            key: None,
            vault: None,
        };
        it.reopen();
        it
    }

    /// The same, encrypted.
    pub(crate) fn encrypted(mut self) -> Self {
        // Made for these tests; it protects nothing.
        self.key = Some("AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW");
        self.reopen();
        self
    }

    pub(crate) fn dir_vault(&self) -> Arc<DirVault> {
        Arc::clone(self.vault.as_ref().expect("it is open"))
    }

    /// What is written down of an artefact that the bucket has.
    pub(crate) fn receipt(&self, artefact: Sha256Hash) -> Option<Receipt> {
        let plain = self.dir.path().join(receipt_name(artefact));
        let dir = self
            .dir
            .path()
            .join(DirVault::object_name(artefact).replace(".zst", ""));
        let encrypted = std::fs::read_dir(dir).into_iter().flatten();
        let encrypted = encrypted.map(|it| it.expect("an entry").path());
        let found = encrypted
            .chain([plain])
            .find(|it| it.to_string_lossy().ends_with(".receipt.json"))?;
        let bytes = std::fs::read(found).ok()?;
        assert!(bytes.len() as u64 <= RECEIPT_BYTES_MAX);
        Some(Receipt::parse(&bytes).expect("it is a receipt"))
    }
}

/// Without the immutable flag, because that would outlive the test.
pub(crate) fn open(dir: &Path, bucket: Arc<Bucket>, artefact_bytes_max: u64, key: Option<&str>) -> DirVault {
    let identities: Vec<Identity> = key.and_then(Identity::parse).into_iter().collect();
    let options = DirVaultOptions {
        artefact_bytes_max,
        is_immutable: false,
        bucket: Some(bucket),
        recipients: identities.iter().map(Identity::recipient).collect(),
        identities: identities.into(),
        ..DirVaultOptions::default()
    };
    DirVault::open(dir, options).expect("the vault opens")
}

pub(crate) fn receipt_name(artefact: Sha256Hash) -> String {
    DirVault::object_name(artefact).replace(".zst", ".receipt.json")
}

impl Subject for InBucket {
    fn vault(&self) -> Arc<dyn Vault> {
        self.dir_vault()
    }

    fn reopen(&mut self) {
        self.vault = None;
        let vault = open(
            self.dir.path(),
            Arc::clone(&self.bucket),
            self.artefact_bytes_max,
            self.key,
        );
        // As a server does when it starts.
        vault.check().expect("the bucket locks");
        self.vault = Some(Arc::new(vault));
    }

    fn damage(&self, artefact: Sha256Hash) {
        let receipt = self.receipt(artefact).expect("it is in the bucket");
        let path = receipt.storage.path.strip_prefix("s3:/").expect("it is in a bucket");
        (self.damage)(path, receipt.storage.version.as_deref().expect("it has one"));
    }

    fn unfinished(&self) -> usize {
        // What waits in the directory is whole, and the suite is about a bucket that is there.
        let staged = std::fs::read_dir(self.dir.path().join("tmp"))
            .expect("it is there")
            .count();
        let waiting = self.dir_vault().waiting().expect("it can be listed").artefacts;
        staged + usize::try_from(waiting).expect("they are few")
    }
}
