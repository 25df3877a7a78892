//! Only one process writes.

use std::env;
use std::path::Path;
use std::process::{self, Command};

use staunch_store::{OpenError, SegmentJournal};

use crate::{open, small, temp_dir};

const CHILD_DIR: &str = "STAUNCH_TEST_LOCKED_DIR";

#[test]
fn a_second_writer_is_told_who_holds_the_journal() {
    if let Some(dir) = env::var_os(CHILD_DIR) {
        let parent = env::var("STAUNCH_TEST_PARENT")
            .expect("set by the parent")
            .parse()
            .expect("a process id");
        return check_locked(Path::new(&dir), parent);
    }
    let dir = temp_dir();
    let journal = open(dir.path());
    check_locked(dir.path(), process::id());
    let child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "lock::a_second_writer_is_told_who_holds_the_journal"])
        .env(CHILD_DIR, dir.path())
        .env("STAUNCH_TEST_PARENT", process::id().to_string())
        .output()
        .expect("the child runs");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    drop(journal);
    drop(open(dir.path()));
}

fn check_locked(dir: &Path, holder: u32) {
    let error = SegmentJournal::open(dir, small()).expect_err("somebody holds it");
    assert!(
        matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == holder),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {holder}")), "{text}");
}
