//! The archive of events: bounds, rotation, and what is left after a crash.

use std::fs;
use std::path::Path;

use staunch_model::{Span, Timestamp};
use staunch_ports::Archive as _;
use staunch_store::{ArchiveOptions, EventArchive};

const OPTIONS: ArchiveOptions = ArchiveOptions {
    bytes_max: 40_000,
    file_bytes_max: 10_000,
};

fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

/// Lines that hardly compress, each with its number.
fn lines(first: u32, count: u32) -> String {
    let noise = |n: u32| blake3::hash(&n.to_le_bytes()).to_hex().repeat(1);
    (first..first + count)
        .map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", noise(n)))
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("it is our directory")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn size(dir: &Path) -> u64 {
    let sizes = names(dir).into_iter();
    sizes
        .map(|name| fs::metadata(dir.join(name)).expect("it is there").len())
        .sum()
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).expect("it is there");
    String::from_utf8(zstd::decode_all(&bytes[..]).expect("every block is whole")).expect("UTF-8")
}

#[test]
fn what_is_kept_can_be_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("archive");
    let mut archive = EventArchive::open(&dir, OPTIONS).expect("it is made");
    archive
        .append("suricata", lines(0, 3).as_bytes(), noon())
        .expect("there is room");
    archive
        .append("suricata", lines(3, 3).as_bytes(), noon() + Span::from_secs(1))
        .expect("there is room");
    archive
        .append("falco", lines(9, 1).as_bytes(), noon())
        .expect("there is room");
    assert_eq!(
        names(&dir),
        [
            "falco-20260301T120000.000000Z.ndjson.zst",
            "suricata-20260301T120000.000000Z.ndjson.zst"
        ]
    );
    assert_eq!(read(&dir.join(&names(&dir)[1])), lines(0, 6));
    // What an earlier run has written is never written to again.
    drop(archive);
    let mut archive = EventArchive::open(&dir, OPTIONS).expect("it is there");
    archive
        .append("falco", lines(10, 1).as_bytes(), noon())
        .expect("there is room");
    assert_eq!(names(&dir)[1], "falco-20260301T120000.000001Z.ndjson.zst");
    assert_eq!(archive.bytes(), size(&dir));
}

#[test]
fn files_and_the_whole_are_bounded_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let stranger = dir.path().join("notes.txt");
    fs::write(&stranger, "x".repeat(100_000)).expect("it is our directory");
    let mut archive = EventArchive::open(dir.path(), OPTIONS).expect("it is there");
    for n in 0..200_u32 {
        let source = if n % 3 == 0 { "falco" } else { "suricata" };
        let now = noon() + Span::from_secs(u64::from(n));
        archive
            .append(source, lines(n * 10, 10).as_bytes(), now)
            .expect("there is room");
        let (bytes, ours) = (archive.bytes(), size(dir.path()) - 100_000);
        assert_eq!(bytes, ours, "after {n}");
        assert!(bytes <= OPTIONS.bytes_max, "{bytes} after {n}");
    }
    for name in names(dir.path()).iter().filter(|name| *name != "notes.txt") {
        let bytes = fs::metadata(dir.path().join(name)).expect("it is there").len();
        assert!(bytes <= OPTIONS.file_bytes_max, "{name} has {bytes}");
        assert!(
            !read(&dir.path().join(name)).contains("\"n\":0,"),
            "{name} should have gone"
        );
    }
    assert!(stranger.exists(), "only files of the archive are removed");
    let newest = names(dir.path())
        .into_iter()
        .filter(|name| name.starts_with("suricata"))
        .max()
        .expect("one");
    assert!(
        read(&dir.path().join(newest)).contains("\"n\":1999,"),
        "the newest is kept"
    );
}

#[test]
fn what_cannot_fit_is_an_error_and_harms_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut archive = EventArchive::open(dir.path(), OPTIONS).expect("it is there");
    archive
        .append("falco", lines(0, 1).as_bytes(), noon())
        .expect("there is room");
    archive
        .append("falco", lines(1, 2_000).as_bytes(), noon())
        .expect_err("larger than a file");
    assert_eq!(read(&dir.path().join(&names(dir.path())[0])), lines(0, 1));
    fs::remove_dir_all(dir.path()).expect("it is our directory");
    archive
        .append("suricata", lines(0, 1).as_bytes(), noon())
        .expect_err("there is no directory");
}
