//! One artefact of 10 GB through the vault in a directory: sealed, then read and proved. What counts is the memory.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use staunch_model::Sha256Hash;
use staunch_ports::Vault;
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::{artefact, draft, noise, resident_bytes};

use crate::report::Row;

const PART: usize = 1_000_000;
const PARTS: u64 = 10_000;
/// Parts that the floor hashes.
const FLOOR_PARTS: u64 = 500;

/// Memory is looked at once in so many parts.
const LOOK_EVERY: u64 = 16;

/// What the contract of all vaults allows.
const MIB_MAX: f64 = 64.0;

/// An eighth is noise, as in a log, so that the disk holds 1.3 GB of it.
fn part(number: u64) -> Vec<u8> {
    let mut bytes = noise(number, PART / 8);
    bytes.resize(PART, b'x');
    bytes
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let floor = hashing();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    // The immutable flag would outlive the measurement.
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(directory.path(), options).map_err(|failure| failure.to_string())?;
    let before = resident_bytes();
    let mut most = 0;
    let mut look = |number: u64| {
        if number.is_multiple_of(LOOK_EVERY) {
            most = most.max(resident_bytes().saturating_sub(before));
        }
    };

    let begun = Instant::now();
    let mut deposit = vault.begin(None).map_err(|failure| failure.to_string())?;
    for number in 0..PARTS {
        deposit.write_all(&part(number)).map_err(|error| error.to_string())?;
        look(number);
    }
    let sealed = deposit
        .seal(draft(1, 1, "large"))
        .map_err(|failure| failure.to_string())?;
    let sealing = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let mut reader = vault.open(artefact(&sealed)).map_err(|failure| failure.to_string())?;
    let mut found = vec![0; PART];
    for number in 0..PARTS {
        reader.read_exact(&mut found).map_err(|error| error.to_string())?;
        if number.is_multiple_of(LOOK_EVERY) && found != part(number) {
            return Err(format!("part {number} is not what was stored"));
        }
        look(number);
    }
    // The end is reached only when its hash is the one that was sealed.
    let rest = reader.read(&mut found).map_err(|error| error.to_string())?;
    if rest != 0 {
        return Err("there is more than was stored".to_owned());
    }
    let reading = begun.elapsed().as_secs_f64();

    let megabytes = PARTS as f64 * PART as f64 / 1e6;
    let (sealed_rate, read_rate) = (megabytes / sealing, megabytes / reading);
    let mib = most as f64 / f64::from(1 << 20);
    Ok(vec![Row {
        what: "vault, 10 GB sealed, read",
        figure: format!("{sealed_rate:.0}, {read_rate:.0} MB/s"),
        floor: format!("{floor:.0} hashed"),
        bar: format!("< {MIB_MAX} MiB of memory ({mib:.1})"),
        reached: mib < MIB_MAX,
        numbers: vec![
            ("mebibytes", mib),
            ("sealed_megabytes_per_second", sealed_rate),
            ("read_megabytes_per_second", read_rate),
            ("floor_megabytes_per_second", floor),
        ],
    }])
}

/// Megabytes a second of what makes such bytes and hashes them.
#[allow(clippy::cast_precision_loss)]
fn hashing() -> f64 {
    let begun = Instant::now();
    for number in 0..FLOOR_PARTS {
        black_box(Sha256Hash::of(&part(number)));
    }
    FLOOR_PARTS as f64 * PART as f64 / 1e6 / begun.elapsed().as_secs_f64()
}
