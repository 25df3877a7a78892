//! What says that a bucket has an artefact: receipts, and reading by them.
//!
//! Never changes a receipt, and never takes one away: an artefact that is put into a bucket once more gets a further
//! one, with the next number. Those of other buckets stay, too.

use std::io::{self, Read};
use std::time::Instant;

use staunch_model::custody::RECEIPT_BYTES_MAX;
use staunch_model::{Failure, FailureKind, Printable, Receipt, Sha256Hash, Storage};

use super::name::ObjectName;
use super::{DirVault, Shared};
use crate::files::{Files, failure, parent};
use crate::s3::{Bucket, UnfinishedList, within};

/// What the name of each artefact in a bucket begins with.
const OBJECTS: &str = "objects/";

/// The most receipts of one artefact that are looked at.
const RECEIPTS_MAX: usize = 100;

/// By when an object of so many bytes is to be there.
pub(super) fn by(bytes: u64) -> Instant {
    Instant::now() + within(bytes)
}

/// The name in the bucket of bytes that are stored so: their own SHA-256, so that it is the same bytes whenever the
/// name is taken, and so that the bucket is not told what they were before they were encrypted.
pub(super) fn sent_name(stored: Sha256Hash, of: ObjectName) -> String {
    let name = DirVault::object_name(stored);
    match of.encrypted {
        Some(_) => format!("{name}.age"),
        None => name,
    }
}

/// Whether a name in the bucket is one that [`sent_name`] gives.
fn is_sent_name(name: &str) -> bool {
    let stored = name.strip_suffix(".age").unwrap_or(name);
    ObjectName::parse(stored).is_some_and(|it| it.encrypted.is_none())
}

/// The uploads in parts of artefacts that have begun in a bucket, and did not end.
///
/// # Errors
/// Why it does not tell.
pub fn unfinished(bucket: &Bucket, by: Instant) -> Result<UnfinishedList, Failure> {
    bucket.unfinished(OBJECTS, &is_sent_name, by)
}

/// Aborts them all. Returns how many there were; the first failure, when there is one.
pub(super) fn abort_unfinished(bucket: &Bucket, by: Instant) -> Result<usize, Failure> {
    bucket.abort_unfinished(OBJECTS, &is_sent_name, by)
}

/// The same as [`sent_name`], of what a storage says.
pub(crate) fn object_of(storage: &Storage) -> String {
    let name = DirVault::object_name(storage.sha256);
    match storage.encryption {
        Some(_) => format!("{name}.age"),
        None => name,
    }
}

/// The receipt in these bytes, when it is one for this name.
pub(crate) fn parse_receipt(bytes: &[u8], of: ObjectName) -> Result<Receipt, String> {
    let receipt = Receipt::parse(bytes).map_err(|error| error.to_string())?;
    let found = ObjectName::of(receipt.artefact, &receipt.storage);
    let is_to_unknown = receipt
        .storage
        .encryption
        .as_ref()
        .is_some_and(|it| it.recipients.is_empty());
    let stored = |name: ObjectName| name.encrypted.map(|it| it.stored);
    let is_it = found == of || is_to_unknown && found.artefact == of.artefact && stored(found) == stored(of);
    if is_it {
        Ok(receipt)
    } else {
        Err("it is the receipt of something else".to_owned())
    }
}

/// A receipt that is there.
pub(crate) struct Found {
    pub(crate) number: u32,
    /// Its file.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What it says; why it is none.
    pub(crate) receipt: Result<Receipt, String>,
}

/// All receipts of an artefact, the newest last.
pub(crate) fn receipts(files: &Files, of: ObjectName) -> io::Result<Vec<Found>> {
    let first = of.receipt(1);
    let dir = parent(&first);
    let mut numbers: Vec<u32> = files
        .list(dir)?
        .iter()
        .filter_map(|file| ObjectName::parse_receipt(&format!("{dir}/{file}")))
        .filter_map(|(name, number)| (name == of).then_some(number))
        .collect();
    numbers.sort_unstable();
    let from = numbers.len().saturating_sub(RECEIPTS_MAX);
    let mut found = Vec::new();
    for number in numbers.split_off(from) {
        let name = of.receipt(number);
        let read = files.read(&name, RECEIPT_BYTES_MAX);
        let receipt = match &read {
            Ok(bytes) => parse_receipt(bytes, of),
            Err(error) => Err(error.to_string()),
        };
        found.push(Found {
            number,
            name,
            bytes: read.unwrap_or_default(),
            receipt,
        });
    }
    Ok(found)
}

/// The receipt that counts: the newest of those of `bucket`, or the newest of all without one.
pub(crate) fn newest<'f>(found: &'f [Found], bucket: Option<&Bucket>) -> Option<&'f Found> {
    let is_of = |it: &Receipt| bucket.is_none_or(|bucket| *it.storage.path == *bucket.address(&object_of(&it.storage)));
    found.iter().rev().find(|it| it.receipt.as_ref().is_ok_and(is_of))
}

/// Reads the stored bytes that a receipt is of, from the bucket.
pub(crate) fn fetch(bucket: &Bucket, receipt: &Receipt) -> Result<Box<dyn Read + Send>, Failure> {
    let name = object_of(&receipt.storage);
    if *receipt.storage.path != *bucket.address(&name) {
        return Err(elsewhere(receipt, "the configuration names another bucket"));
    }
    let version = receipt.storage.version.as_deref();
    let (_, body) = bucket.get(&name, version, by(receipt.storage.size))?;
    Ok(body)
}

/// An artefact is where nobody is asked.
fn elsewhere(receipt: &Receipt, why: &str) -> Failure {
    let what = format!("the artefact is at {}, and {why}", Printable(&receipt.storage.path));
    Failure::new(FailureKind::Unavailable, &what)
}

impl Shared {
    /// The receipts for a name.
    pub(super) fn receipts(&self, of: ObjectName) -> Result<Vec<Found>, Failure> {
        let name = of.receipt(1);
        receipts(&self.files, of).map_err(|error| failure("read the receipts of", &self.files.path(&name), &error))
    }

    /// The receipt that counts; `None` when there is none.
    pub(super) fn receipt(&self, of: ObjectName) -> Result<Option<Receipt>, Failure> {
        let found = self.receipts(of)?;
        let bucket = self.remote.as_ref().map(|it| &*it.bucket);
        let of_bucket = newest(&found, bucket).or_else(|| newest(&found, None));
        if let Some(it) = of_bucket {
            return Ok(it.receipt.clone().ok());
        }
        match found.last() {
            None => Ok(None),
            Some(it) => {
                let why = it.receipt.as_ref().err().map_or("", |it| it);
                let error = io::Error::new(io::ErrorKind::InvalidData, why);
                Err(failure("read the receipt", &self.files.path(&it.name), &error))
            }
        }
    }

    /// The stored bytes of what is in the bucket; `None` when there is no receipt for it.
    pub(super) fn fetch(&self, name: ObjectName) -> Result<Option<Box<dyn Read + Send>>, Failure> {
        let Some(receipt) = self.receipt(name)? else {
            return Ok(None);
        };
        match &self.remote {
            Some(remote) => fetch(&remote.bucket, &receipt).map(Some),
            None => Err(elsewhere(&receipt, "no configuration names that bucket")),
        }
    }

    /// Makes the names of receipts that are there durable: who was killed after naming one need not have done so.
    pub(super) fn settle_receipts(&self, of: ObjectName) -> Result<(), Failure> {
        let name = of.receipt(1);
        let dir = parent(&name);
        let synced = self.files.sync_dir(dir);
        synced.map_err(|error| failure("sync", &self.files.path(dir), &error))
    }

    /// Writes a receipt, under the next number; the one that says the same when there is one.
    pub(super) fn put_receipt(&self, of: ObjectName, receipt: Receipt) -> Result<Receipt, Failure> {
        // Others may write one at the same time.
        for _ in 0..8 {
            let found = self.receipts(of)?;
            let says_it = |it: &&Receipt| {
                (&it.storage.path, &it.storage.version) == (&receipt.storage.path, &receipt.storage.version)
            };
            if let Some(known) = found
                .iter()
                .rev()
                .filter_map(|it| it.receipt.as_ref().ok())
                .find(says_it)
            {
                self.settle_receipts(of)?;
                return Ok(known.clone());
            }
            let name = of.receipt(found.last().map_or(0, |it| it.number).saturating_add(1));
            let put = || {
                self.files.make_dirs(parent(&name))?;
                self.files.put_new(&self.staged(), &name, &receipt.to_bytes())?;
                self.freeze(&name)
            };
            match put() {
                Ok(_) => return Ok(receipt),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failure("write", &self.files.path(&name), &error)),
            }
        }
        let what = "others write receipts of the same artefact all the time";
        Err(Failure::new(FailureKind::Conflict, what))
    }
}

impl DirVault {
    /// What says that the bucket has an artefact that is stored so; `None` when it has not, or nobody knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self, artefact: Sha256Hash, storage: &Storage) -> Result<Option<Receipt>, Failure> {
        self.shared.receipt(ObjectName::of(artefact, storage))
    }
}
