//! `staunch evidence get` to a file, once more: after a try that proved nothing, and where something else is.

use std::fs;

use staunch_ports::Vault as _;
use staunch_store::vault::logged::Logbook;
use staunch_store::{LogKey, TransparencyLog};
use staunch_testkit::contract::vault::{record, store};

use crate::evidence_folder::{home, in_one_line, vault};
use crate::harness::stderr;

/// A server is whoever holds the vault; its log is behind.
#[test]
fn a_try_that_proved_nothing_is_ended_by_the_next_one_under_the_same_name() {
    let (home, _) = home(b"genuine");
    let folder = home.data().join("evidence");
    let server = vault(&folder.join("vault"));
    let sealed = store(&server, 1, 2, b"late");
    server.put_record(&record(&sealed)).expect("there is room");
    let file = home.path("late.bin");
    let name = file.display().to_string();
    let get = || {
        let got = home.run(&["evidence", "get", "EV-2", "--output", &name, "--wait", "0s"]);
        (got.status.code(), in_one_line(&stderr(&got)))
    };
    let content = || fs::read(&file).expect("it is there");

    let (code, told) = get();
    assert!(code == Some(9) && !told.contains("already"), "{code:?}: {told}");
    assert_eq!(content(), b"late");
    let (code, told) = get();
    assert!(
        code == Some(9) && told.contains("has these bytes already"),
        "{code:?}: {told}"
    );
    let key = LogKey::open(&home.data().join("evidence.key"), "").expect("it is there");
    let log = TransparencyLog::open(&folder.join("log"), key, None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is sound");
    let taken = book.take_incident(&server, sealed.manifest.custody.incident);
    assert_eq!(taken, Ok(2));
    let (code, told) = get();
    assert!(code == Some(0) && told.ends_with(": proved"), "{code:?}: {told}");
    assert!(told.contains("has these bytes already"), "{told}");
    assert_eq!(content(), b"late");

    // What is whole and differs is somebody's, as is what is no file.
    let is_refused = || {
        let (code, told) = get();
        assert!(
            code == Some(1) && told.contains("name a file that is not there"),
            "{code:?}: {told}"
        );
    };
    for other in [&b"late, and more"[..], b"lat", b""] {
        fs::write(&file, other).expect("it is ours");
        is_refused();
        assert_eq!(content(), other);
    }
    fs::remove_file(&file).expect("it is ours");
    let elsewhere = home.path("elsewhere.bin");
    fs::write(&elsewhere, b"late").expect("it is our directory");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("it is our directory");
    is_refused();
    fs::remove_file(&file).expect("it is ours");
    fs::create_dir(&file).expect("it is our directory");
    is_refused();
}
