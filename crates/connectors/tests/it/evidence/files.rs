//! Files that a playbook names: real ones, links, pipes, large ones and ones that grow.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use staunch_connectors::evidence::FilesCollector;
use staunch_model::{EvidenceOptions, FailureKind};
use staunch_ports::{CollectRequest, Collector as _};
use staunch_testkit::contract::collector::{Fault, Kept};
use tempfile::TempDir;

use super::{list, request, take};

/// A directory, by a path without a link in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn request_of(folder: &Path, names: &[&str]) -> CollectRequest {
    let paths = names.iter().map(|it| format!("{}/{it}", folder.display()).into());
    CollectRequest {
        options: EvidenceOptions {
            paths: paths.collect(),
            ..EvidenceOptions::default()
        },
        ..request(None)
    }
}

#[test]
fn named_files_are_taken_with_times_and_hashes() {
    let (_guard, path) = folder();
    fs::create_dir_all(path.join("one")).unwrap();
    fs::create_dir_all(path.join("two")).unwrap();
    fs::write(path.join("one/a.log"), "first").unwrap();
    fs::write(path.join("two/B c.log"), "second").unwrap();
    fs::write(path.join("two/.hidden.log"), "not meant").unwrap();
    fs::write(
        path.join("two").join(std::ffi::OsStr::from_bytes(b"\xff\n.log")),
        "third",
    )
    .unwrap();
    let (kept, collected) = take(&mut FilesCollector::new(), &request_of(&path, &["*/*.log"]));
    assert_eq!(
        kept.names(),
        ["file-001-a.log", "file-002-b_c.log", "file-003-__.log", "files.json"]
    );
    let first = kept.artefact("file-001-a.log");
    assert_eq!(first.bytes, b"first");
    assert_eq!(&*first.about.locator, path.join("one/a.log").to_str().unwrap());
    let changed = fs::metadata(path.join("one/a.log")).unwrap();
    assert_eq!(
        first.about.modified.unwrap().as_micros() / 1_000_000,
        u64::try_from(changed.mtime()).unwrap()
    );
    let json = kept.json("files.json");
    let files = list(&json, "files");
    assert_eq!(
        files[0]["sha256"],
        "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
    );
    assert_eq!(
        (&files[0]["taken_bytes"], &files[0]["before"]["inode"]),
        (&json!(5), &json!(changed.ino()))
    );
    assert!(
        files[2]["path"]["hex"].as_str().unwrap().ends_with("ff0a2e6c6f67"),
        "{}",
        files[2]
    );
    // Its own files, which may be read without a trace.
    assert!(collected.changes.is_empty(), "{:?}", collected.changes);
    assert_eq!(files[0]["before"]["read"], files[0]["after"]["read"]);
}

/// When `path` was last read.
fn read_at(path: &Path) -> (i64, i64) {
    let stat = fs::metadata(path).unwrap();
    (stat.atime(), stat.atime_nsec())
}

#[test]
fn what_reading_changes_is_told_and_nothing_is_changed_where_that_can_be() {
    let name = "evidence::files::what_reading_changes";
    if !nix::unistd::geteuid().is_root() {
        staunch_testkit::skip(name, "a file of somebody else takes root to make");
        return;
    }
    let (_guard, path) = folder();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (control, file) = (path.join("control"), path.join("of root"));
    fs::write(&control, "any").unwrap();
    fs::write(&file, "any").unwrap();
    let before = (read_at(&control), read_at(&file));
    fs::read(&control).unwrap();
    if read_at(&control) == before.0 {
        staunch_testkit::skip(name, "the file system keeps no times of the last read");
        return;
    }
    // Who may read without a trace, does.
    let request = request_of(&path, &["of root"]);
    let (_, collected) = take(&mut FilesCollector::new(), &request);
    assert_eq!(read_at(&file), before.1);
    assert!(collected.changes.is_empty(), "{:?}", collected.changes);
    // Another user's file, without CAP_FOWNER, which goes with the user of the file system (capabilities(7)).
    let changes = std::thread::spawn(move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
        take(&mut FilesCollector::new(), &request).1.changes
    });
    let changes = changes.join().unwrap();
    assert_ne!(read_at(&file), before.1, "there was no other way");
    let [change] = &*changes else {
        panic!("one change: {changes:?}");
    };
    let path = file.display();
    assert!(
        change.starts_with(&format!("the time of the last read of {path}, which was ")),
        "{change}"
    );
}

#[test]
fn links_and_pipes_are_never_opened() {
    let (_guard, path) = folder();
    fs::create_dir(path.join("real")).unwrap();
    fs::write(path.join("real/secret"), "secret").unwrap();
    symlink(path.join("real/secret"), path.join("link")).unwrap();
    symlink(path.join("real"), path.join("way")).unwrap();
    nix::unistd::mkfifo(&path.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut collector = FilesCollector::new();
    for (name, says) in [
        ("link", "symbolic link"),
        ("way/secret", "symbolic link"),
        ("pipe", "no regular file"),
        ("none", "no file"),
    ] {
        let mut kept = Kept::default();
        let request = request_of(&path, &[name]);
        let failure = collector.execute(&request, &mut kept).unwrap_err();
        assert_eq!(kept.missed.len(), 1, "{name}");
        assert!(
            failure.what.contains(says) || failure.what.contains("there is no such file"),
            "{name}: {failure}"
        );
        assert_eq!(kept.names(), ["files.json"], "{name}");
    }
    // One that is there is taken all the same, and what is not is told.
    let (kept, _) = take(
        &mut collector,
        &request_of(&path, &["link", "real/secret", "w*/secret"]),
    );
    assert_eq!(kept.names(), ["file-002-secret", "files.json"]);
    assert_eq!(kept.missed.len(), 2);
    assert!(
        kept.json("files.json")["files"][0]["missed"]
            .as_str()
            .unwrap()
            .contains("symbolic link")
    );
    for path in ["relative", "/a/../b", ""] {
        let request = CollectRequest {
            options: EvidenceOptions {
                paths: vec![path.into()],
                ..EvidenceOptions::default()
            },
            ..request(None)
        };
        assert_eq!(collector.observe(&request).unwrap_err().kind, FailureKind::Invalid);
    }
    assert_eq!(
        collector.observe(&request(None)).unwrap_err().kind,
        FailureKind::Invalid
    );
}

#[test]
fn of_a_file_that_is_too_large_the_end_is_taken() {
    let (_guard, path) = folder();
    let text: Vec<u8> = (0..300_000_u32)
        .map(|it| b'a' + u8::try_from(it % 26).unwrap())
        .collect();
    fs::write(path.join("large"), &text).unwrap();
    let bounded = CollectRequest {
        options: EvidenceOptions {
            bytes_max: Some(1_000),
            ..request_of(&path, &["large"]).options
        },
        ..request(None)
    };
    let (kept, _) = take(&mut FilesCollector::new(), &bounded);
    assert_eq!(kept.artefact("file-001-large").bytes, text[299_000..]);
    let listed = &kept.json("files.json")["files"];
    assert_eq!(listed[0]["from"], 299_000);
    // That it is cut is a record, with the size of the whole and of what is kept.
    let words = "only its last 1000 of 300000 bytes are kept";
    let (about, failure) = &kept.missed[0];
    assert_eq!((kept.missed.len(), &*about.name), (1, "file-001-large"));
    assert!(failure.what.contains(words), "{failure}");
    assert!(
        listed[0]["missed"].as_str().is_some_and(|it| it.contains(words)),
        "{listed:#}"
    );
    let whole = CollectRequest {
        options: EvidenceOptions {
            bytes_max: Some(300_000),
            ..request_of(&path, &["large"]).options
        },
        ..request(None)
    };
    assert!(
        take(&mut FilesCollector::new(), &whole).0.missed.is_empty(),
        "all of it is kept"
    );
    // A bound that only the sink knows.
    let mut kept = Kept::failing(Fault::TooLarge(200_000));
    FilesCollector::new()
        .execute(&request_of(&path, &["large"]), &mut kept)
        .unwrap();
    assert_eq!(kept.missed.len(), 1);
    let taken = &kept.artefact("file-002-large").bytes;
    let words = format!(
        "300000 bytes are more than an artefact may be; its last {} bytes follow",
        taken.len()
    );
    assert_eq!(&*kept.missed[0].1.what, words);
    assert!(taken.len() > 100_000 && text.ends_with(taken), "{}", taken.len());
}

/// A sink that writes to a log whenever something of it is stored.
struct Growing<'a>(Kept, &'a mut File);

impl std::io::Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write_all(b"one more line\n")?;
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl staunch_ports::Sink for Growing<'_> {
    fn begin(&mut self, about: staunch_ports::About) -> std::io::Result<()> {
        self.0.begin(about)
    }
    fn end(&mut self) -> std::io::Result<()> {
        self.0.end()
    }
    fn missed(&mut self, about: staunch_ports::About, failure: staunch_model::Failure) {
        self.0.missed(about, failure);
    }
}

#[test]
fn a_log_that_grows_ends_where_it_ended_at_the_beginning() {
    let (_guard, path) = folder();
    let mut log = File::create(path.join("log")).unwrap();
    log.write_all(&[b'x'; 200_000]).unwrap();
    let mut sink = Growing(Kept::default(), &mut log);
    FilesCollector::new()
        .execute(&request_of(&path, &["log"]), &mut sink)
        .unwrap();
    assert_eq!(sink.0.artefact("file-001-log").bytes, [b'x'; 200_000]);
    let json = sink.0.json("files.json");
    assert_ne!(
        json["files"][0]["before"]["bytes"], json["files"][0]["after"]["bytes"],
        "that it grew is told"
    );
}
