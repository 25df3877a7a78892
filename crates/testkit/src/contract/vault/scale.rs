//! Many artefacts, and large ones in little memory.

use std::fs;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::thread;

use staunch_model::{EvidenceId, IncidentId};
use staunch_ports::SealedManifest;

use super::Subject;
use super::found::read;
use super::made::{artefact, draft, half_noise, store};

/// Bytes that [`bounded_memory`] writes: far more than what it lets them cost.
pub const LARGE_BYTES: u64 = 256 << 20;

/// The most memory that writing or reading [`LARGE_BYTES`] may cost, in bytes.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// Stores 10,000 small artefacts of one incident and reads them back.
///
/// # Panics
/// When one of them is not there.
pub fn many_small(subject: &mut dyn Subject) {
    const COUNT: u64 = 10_000;
    let vault = subject.vault();
    thread::scope(|scope| {
        for thread in 0..4 {
            let vault = &vault;
            scope.spawn(move || {
                for number in (thread..COUNT).step_by(4) {
                    store(&**vault, 1, thread, &number.to_le_bytes());
                }
            });
        }
    });
    drop(vault);
    subject.reopen();
    let vault = subject.vault();
    let mut count = 0;
    let mut last = (EvidenceId(0), None);
    let check = &mut |it: SealedManifest| {
        let custody = &it.manifest.custody;
        let expected = if custody.evidence == last.0 { last.1 } else { None };
        assert_eq!(it.manifest.previous, expected);
        last = (custody.evidence, Some(it.hash));
        count += 1;
        if count % 100 == 0 {
            read(&*vault, artefact(&it)).expect("it is whole");
        }
        ControlFlow::Continue(())
    };
    vault.manifests(IncidentId(1), check).expect("they can be read");
    assert_eq!(count, COUNT);
}

/// Streams [`LARGE_BYTES`] into a vault and out of it, and looks at the memory of the process meanwhile.
///
/// # Panics
/// When it costs more than a bound, or what comes out is not what went in.
pub fn bounded_memory(subject: &dyn Subject) {
    const PART: usize = 1 << 20;
    let vault = subject.vault();
    let before = resident_bytes();
    let mut most = 0;
    let mut look = |number: u64| {
        if number.is_multiple_of(8) {
            most = most.max(resident_bytes().saturating_sub(before));
        }
    };
    let mut deposit = vault.begin(None).expect("it begins");
    let parts = LARGE_BYTES / PART as u64;
    for number in 0..parts {
        deposit.write_all(&half_noise(number, PART)).expect("there is room");
        look(number);
    }
    let sealed = deposit.seal(draft(1, 1, "large")).expect("it is sealed");
    let mut reader = vault.open(artefact(&sealed)).expect("it is there");
    let mut part = vec![0; PART];
    for number in 0..parts {
        reader.read_exact(&mut part).expect("it is whole");
        assert!(part == half_noise(number, PART), "part {number} is another");
        look(number);
    }
    assert_eq!(reader.read(&mut part).expect("it is what was sealed"), 0);
    assert!(most <= MEMORY_BYTES_MAX, "it took {most} bytes of memory");
}

/// The memory of this process that is in use, in bytes.
///
/// # Panics
/// When Linux does not tell it.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let number: u64 = kilobytes.and_then(|it| it.trim().parse().ok()).expect("it is a number");
    number * 1_024
}
