//! The driver that locks accounts, held to its contract and beyond it with password files and groups of its own.

#![allow(clippy::unwrap_used)]

mod in_files;
mod sessions;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use staunch_connectors::actions::Whose;
use staunch_connectors::actions::lock_account::{ShadowLockAccount, ShadowOptions};
use staunch_model::{FailureKind, Outcome, Presence};
use staunch_ports::{Action as _, ExecuteRequest};
use staunch_testkit::contract::action::action;

use self::in_files::InFiles;
use crate::freeze_process_setting::in_subtree;
use crate::lock_account_setting::{
    Files, OURS, SECRET, THEIRS, assert_refused, execute, foreign, name, ours, request, see, target, undo,
};

#[test]
fn the_shadow_driver_keeps_the_contract() {
    action(|| Box::new(InFiles::new()));
}

#[test]
fn the_shadow_driver_keeps_the_contract_with_sessions() {
    in_subtree("the_shadow_driver_keeps_the_contract_with_sessions", |_| {
        action(|| Box::new(InFiles::with_sessions()));
    });
}

#[test]
fn whatever_an_account_was_it_is_again() {
    let hash = format!("$y$j9T${SECRET}");
    let (marked, barred) = (format!("!{hash}"), format!("*{hash}"));
    for (password, expiry) in [
        (hash.as_str(), ""),
        (&hash, "-1"),
        (&hash, "0"),
        (&hash, "99999"),
        (&marked, ""),
        (&barred, "99999"),
        ("", ""),
        ("!", ""),
        ("!!", "99999"),
        ("*", "-1"),
        ("!*", ""),
    ] {
        let files = Files::new();
        files.add(1, password, expiry);
        // No line end, and bytes that are no text, after it.
        let before = [&files.shadow()[..], b"x\xff\0:*:1::::::"].concat();
        fs::write(files.path("shadow"), &before).unwrap();
        let metadata = |files: &Files| {
            let it = fs::metadata(files.path("shadow")).unwrap();
            (it.mode(), it.uid(), it.gid())
        };
        let (mut driver, owned) = (files.driver(OURS), metadata(&files));
        assert_eq!(see(&mut driver, "user1").presence, Presence::Absent);
        assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
        let locked = files.shadow();
        let expect = if password.starts_with('!') {
            password.to_owned()
        } else {
            format!("!{password}")
        };
        let line = format!("user1:{expect}:19500:0:99999:7::2:\n");
        let old = format!("user1:{password}:19500:0:99999:7::{expiry}:\n");
        let at = before.len() - old.len() - b"x\xff\0:*:1::::::".len();
        let whole = [&before[..at], line.as_bytes(), b"x\xff\0:*:1::::::"].concat();
        assert!(locked == whole, "only that line has changed: {password:?} {expiry:?}");
        assert_eq!(metadata(&files), owned);
        let seen = see(&mut driver, "user1");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), true));
        let record = files.record("user1").unwrap();
        assert!(!record.contains(SECRET), "{record}");
        let mode = fs::metadata(files.path("accounts").join("user1")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);

        // Once more changes nothing, nor does a driver that knows nothing.
        assert_eq!(execute(&mut files.driver(OURS), 1, "user1"), Outcome::Landed);
        assert!(files.shadow() == locked);
        assert_eq!(files.record("user1"), Some(record));
        assert_eq!(undo(&mut files.driver(OURS), 1, "user1"), Outcome::Landed);
        assert!(files.shadow() == before, "it is as it was: {password:?} {expiry:?}");
        assert_eq!((files.record("user1"), files.others()), (None, vec![]));
        assert_eq!(see(&mut driver, "user1").presence, Presence::Absent);
    }
}

#[test]
fn what_somebody_else_has_locked_is_left_alone() {
    let today = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let today = (today.as_secs() / 86_400).to_string();
    // The day of Staunch too: without a record it cannot be given back.
    for expiry in ["1", "2", &today] {
        let files = Files::new();
        files.add(1, "$y$x", expiry);
        let before = files.shadow();
        let mut driver = files.driver(OURS);
        let seen = see(&mut driver, "user1");
        assert_eq!(
            (seen.presence, seen.enforcing),
            (foreign("locked by somebody else"), true)
        );
        assert_refused(
            &execute(&mut driver, 1, "user1"),
            FailureKind::Conflict,
            "somebody else",
        );
        assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
        assert!(driver.owned().unwrap().targets.is_empty());
        assert!(files.shadow() == before);
        assert_eq!(files.record("user1"), None);
    }
}

#[test]
fn a_crash_after_the_record_is_seen_finished_or_undone() {
    for finish in [false, true] {
        let files = Files::new();
        files.add(1, &format!("$y${SECRET}"), "99999");
        let before = files.shadow();
        assert_eq!(execute(&mut files.driver(OURS), 1, "user1"), Outcome::Landed);
        let (locked, record) = (files.shadow(), files.record("user1"));
        // As it is when the record is written and the file is not; a file beside it is half written.
        fs::write(files.path("shadow"), &before).unwrap();
        files.write(".shadow.staunch", "user1:");
        let mut driver = files.driver(OURS);
        let seen = see(&mut driver, "user1");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
        assert!(driver.owned().unwrap().targets.is_empty(), "it is not enforced");
        assert_refused(&execute(&mut driver, 2, "user1"), FailureKind::Conflict, "TX-1");
        if finish {
            assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
            assert!(files.shadow() == locked);
            assert_eq!((files.record("user1"), files.others()), (record, vec![]));
        }
        assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
        assert!(files.shadow() == before);
        assert_eq!(files.record("user1"), None);
        assert_eq!(see(&mut driver, "user1").presence, Presence::Absent);
    }
}

#[test]
fn what_somebody_has_changed_meanwhile_stays() {
    let hash = format!("$y${SECRET}");
    let marked = format!("!{hash}");
    for (why, changes, password, expiry, enforcing) in [
        (
            "a new password",
            &[(1, "$y$new"), (2, "20000")][..],
            "$y$new",
            "99999",
            true,
        ),
        (
            "a new password that is marked",
            &[(1, "!$y$other"), (2, "20000")],
            "!$y$other",
            "99999",
            true,
        ),
        ("another expiry", &[(7, "88888")], &hash, "88888", false),
        ("no expiry", &[(7, "")], &hash, "", false),
        ("unlocked by hand", &[(1, &hash), (7, "")], &hash, "", false),
        ("locked by hand", &[(7, "1")], &marked, "1", true),
        ("expired by hand", &[(7, "15000")], &hash, "15000", true),
        ("a change of another field", &[(4, "30")], &hash, "99999", true),
    ] {
        let files = Files::new();
        files.add(1, &hash, "99999");
        let mut driver = files.driver(OURS);
        assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
        for (field, value) in changes {
            files.set("user1", *field, value);
        }
        let seen = see(&mut driver, "user1");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), enforcing), "{why}");
        assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed, "{why}");
        let fields = files.fields("user1");
        assert_eq!((fields[1].as_str(), fields[7].as_str()), (password, expiry), "{why}");
        assert_eq!(files.record("user1"), None);
    }
    // An act again, of what somebody has changed: what is given back is theirs.
    let files = Files::new();
    files.add(1, &hash, "99999");
    let mut driver = files.driver(OURS);
    assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
    files.set("user1", 7, "88888");
    assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
    assert!(see(&mut driver, "user1").enforcing);
    assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
    let fields = files.fields("user1");
    assert_eq!((fields[1].as_str(), fields[7].as_str()), (hash.as_str(), "88888"));
}

/// What a later version wrote, or a disk has spoilt, is not taken for undone.
#[test]
fn a_record_of_ours_that_cannot_be_read_is_told() {
    let files = Files::new();
    files.add(1, "$y$x", "");
    let mut driver = files.driver(OURS);
    assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
    let record = fs::read_to_string(files.path("accounts/user1")).unwrap();
    fs::write(files.path("accounts/user1"), format!("{record}more to come\n")).unwrap();
    let locked = files.shadow();
    assert_refused(
        &undo(&mut driver, 1, "user1"),
        FailureKind::Conflict,
        "unlock it by hand",
    );
    assert_eq!(driver.count_labelled(Whose::Of(OURS)), Ok(1));
    assert!(driver.release_everything(Whose::Of(OURS)).is_err());
    assert!(files.shadow() == locked);
    // Another transaction has nothing there to be undone.
    assert_eq!(undo(&mut driver, 2, "user1"), Outcome::Landed);
}

#[test]
fn an_account_that_is_removed_meanwhile_leaves_nothing() {
    let files = Files::new();
    let before = files.shadow();
    files.add(1, "$y$x", "");
    let mut driver = files.driver(OURS);
    assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
    fs::write(files.path("shadow"), &before).unwrap();
    assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
    assert!(files.shadow() == before);
    assert_eq!(files.record("user1"), None);
    assert_refused(
        &execute(&mut driver, 1, "user1"),
        FailureKind::Conflict,
        "no such account",
    );
    assert_eq!(files.record("user1"), None);
}

#[test]
fn what_not_everybody_reads_the_same_is_not_touched() {
    let secret = format!("$y${SECRET}");
    for (line, kind, says) in [
        (format!("user1:{secret}:1:::::\n"), FailureKind::Invalid, "fields"),
        (
            format!("user1:{secret}:1::::::\nuser1:{secret}:1::::::\n"),
            FailureKind::Invalid,
            "more than once",
        ),
        (
            format!("user1:{secret}:1::::::\n user1:{secret}:1::::::\n"),
            FailureKind::Invalid,
            "more than once",
        ),
        (format!("user1:{secret}\0:1::::::\n"), FailureKind::Invalid, "NUL"),
        (
            format!("user1:{secret}:1:::::{secret}:\n"),
            FailureKind::Invalid,
            "no day",
        ),
        (String::new(), FailureKind::Conflict, "no such account"),
    ] {
        let files = Files::new();
        files.add(1, "x", "");
        files.write("shadow", &line);
        let mut driver = files.driver(OURS);
        assert_refused(&execute(&mut driver, 1, "user1"), kind, says);
        match driver.observe(&[target("user1")]).remove(0) {
            Ok(seen) => assert_eq!(seen.presence, Presence::Absent),
            Err(failure) => assert!(failure.kind == kind && !failure.what.contains(SECRET), "{failure}"),
        }
        assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
        assert_eq!(files.shadow(), line.as_bytes());
        assert_eq!((files.record("user1"), files.others()), (None, vec![]));
    }
    let files = Files::new();
    files.add(1, "x", "");
    files.append("passwd", "user1:x:0:0::/:/bin/sh\n");
    assert_refused(
        &execute(&mut files.driver(OURS), 1, "user1"),
        FailureKind::Invalid,
        "more than once",
    );
    // A link leads to another place, and a file that never ends fits nowhere.
    let files = Files::new();
    files.add(1, "x", "");
    fs::rename(files.path("shadow"), files.path("elsewhere")).unwrap();
    symlink(files.path("elsewhere"), files.path("shadow")).unwrap();
    assert!(matches!(
        execute(&mut files.driver(OURS), 1, "user1"),
        Outcome::DidNotHappen(_)
    ));
    fs::remove_file(files.path("shadow")).unwrap();
    File::create(files.path("shadow")).unwrap().set_len(33 << 20).unwrap();
    assert_refused(
        &execute(&mut files.driver(OURS), 1, "user1"),
        FailureKind::Invalid,
        "more than",
    );
    assert_eq!(files.record("user1"), None);
}

#[test]
fn who_must_get_back_in_is_never_locked() {
    let files = Files::new();
    for number in 1..=3 {
        files.add(number, "$y$x", "");
    }
    files.append("passwd", "toor:x:0:0::/root:/bin/sh\n");
    files.append("shadow", "toor:*:1::::::\n");
    let own = nix::unistd::geteuid().as_raw();
    files.append("passwd", &format!("staunch:x:{own}:0::/:/bin/sh\n"));
    files.append("shadow", "staunch:*:1::::::\n");
    files.write("group", "sudo:x:27:user1,user2,root,toor\n");
    let before = files.shadow();
    let mut driver = files.driver(OURS);
    for (name, says) in [("root", "it is root"), ("toor", "it is root"), ("staunch", "")] {
        assert_refused(&execute(&mut driver, 1, name), FailureKind::Invalid, says);
    }
    assert!(files.shadow() == before);
    assert_eq!(execute(&mut driver, 1, "user3"), Outcome::Landed);
    // Of two, whichever comes second is the last.
    assert_eq!(execute(&mut driver, 2, "user2"), Outcome::Landed);
    assert_refused(
        &execute(&mut driver, 3, "user1"),
        FailureKind::Invalid,
        "nobody could get back in",
    );
    assert_eq!(undo(&mut driver, 2, "user2"), Outcome::Landed);
    assert_eq!(execute(&mut driver, 3, "user1"), Outcome::Landed);
    assert_eq!(files.record("staunch"), None);
}

/// Takes or gives back the lock of the password files, as lckpwdf(3) does, for this process.
fn set_lock(file: &File, kind: libc::c_int) {
    let lock = libc::flock {
        l_type: kind.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_SETLK(&lock)).unwrap();
}

#[test]
fn the_lock_of_the_password_files_is_awaited_and_no_longer_than_that() {
    let files = Files::new();
    files.add(1, "$y$x", "");
    files.add(2, "$y$x", "");
    let before = files.shadow();
    let held = File::create(files.path(".pwd.lock")).unwrap();
    let lock = |kind| set_lock(&held, kind);
    lock(libc::F_WRLCK);
    let mut driver = ShadowLockAccount::new(ShadowOptions {
        lock_within: Duration::from_millis(100),
        ..files.options(OURS)
    });
    assert_refused(
        &execute(&mut driver, 1, "user1"),
        FailureKind::Unavailable,
        "vipw or passwd",
    );
    // Whoever has a lock of the process loses it when the process closes the file, as the driver has.
    lock(libc::F_WRLCK);
    // Those behind it in the batch do not wait as long again.
    let both = driver.execute(&[request(1, "user1"), request(2, "user2")]);
    assert_refused(&both[0], FailureKind::Unavailable, "vipw or passwd");
    assert_refused(&both[1], FailureKind::Unavailable, "not tried");
    assert!(files.shadow() == before && files.record("user1").is_none());
    lock(libc::F_UNLCK);
    assert_eq!(execute(&mut driver, 1, "user1"), Outcome::Landed);
    lock(libc::F_WRLCK);
    assert_refused(
        &undo(&mut driver, 1, "user1"),
        FailureKind::Unavailable,
        "vipw or passwd",
    );
    lock(libc::F_UNLCK);
    assert_eq!(undo(&mut driver, 1, "user1"), Outcome::Landed);
    assert!(files.shadow() == before);
}

#[test]
fn what_could_not_be_written_leaves_nothing() {
    if nix::unistd::geteuid().is_root() {
        // Root may write anywhere: a directory in place of the file that is written beside it stops it.
        let files = Files::new();
        files.add(1, "$y$x", "");
        let before = files.shadow();
        fs::create_dir(files.path(".shadow.staunch")).unwrap();
        let mut driver = files.driver(OURS);
        match execute(&mut driver, 1, "user1") {
            Outcome::DidNotHappen(failure) => assert!(failure.what.contains(".shadow.staunch"), "{failure}"),
            other => panic!("{other:?}"),
        }
        assert!(files.shadow() == before && files.record("user1").is_none());
        assert_eq!(see(&mut driver, "user1").presence, Presence::Absent);
    } else {
        let files = Files::new();
        files.add(1, "$y$x", "");
        fs::set_permissions(files.path("shadow"), fs::Permissions::from_mode(0o000)).unwrap();
        let mut driver = files.driver(OURS);
        assert_refused(&execute(&mut driver, 1, "user1"), FailureKind::Denied, "root");
        assert_eq!(files.record("user1"), None);
    }
}

#[test]
fn everything_is_lifted_without_an_engine() {
    let files = Files::new();
    for number in 1..=4 {
        files.add(number, "$y$x", "");
    }
    let before = files.shadow();
    let (mut ours_driver, mut theirs) = (files.driver(OURS), files.driver(THEIRS));
    for number in 1..=2 {
        assert_eq!(
            execute(&mut ours_driver, u64::from(number), &name(number)),
            Outcome::Landed
        );
    }
    assert_eq!(execute(&mut theirs, 1, "user3"), Outcome::Landed);
    let count = |driver: &ShadowLockAccount, whose| driver.count_labelled(whose).unwrap();
    assert_eq!(count(&ours_driver, Whose::Anybodys), 3);
    assert_eq!(count(&ours_driver, Whose::Of(OURS)), 2);
    assert_eq!(ours_driver.owned().unwrap().targets.len(), 2);
    let former = ours_driver.former();
    assert_eq!(former.len(), 1);
    assert_eq!(
        (&former[0].target, &*former[0].label),
        (&target("user3"), "staunch:b0b0b0b0b0b0b0b0:TX-1")
    );
    assert_eq!(ours_driver.lift_former(), Ok(1));
    assert!(ours_driver.former().is_empty());
    assert_eq!(count(&ours_driver, Whose::Anybodys), 2);
    let mut renewal = request(1, "user1");
    renewal = ExecuteRequest {
        renewal: true,
        ..renewal
    };
    assert_eq!(ours_driver.execute(&[renewal]), [Outcome::Landed]);
    // What is no record of anybody is left.
    fs::write(files.path("accounts/user4"), "mine\n").unwrap();
    fs::write(files.path("accounts/.user4.new"), "half\n").unwrap();
    fs::write(files.path("accounts/not a name"), "mine\n").unwrap();
    assert_eq!(files.driver(THEIRS).release_everything(Whose::Anybodys), Ok(2));
    assert!(files.shadow() == before);
    let mut left: Vec<_> = fs::read_dir(files.path("accounts"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".user4.new", "not a name", "user4"]);
    assert_eq!(
        see(&mut ours_driver, "user4").presence,
        foreign("a record that cannot be read")
    );
}

/// It holds the hashes of all passwords as they were.
#[test]
fn what_a_crash_has_left_of_the_shadow_file_is_removed_at_the_next_start() {
    let files = Files::new();
    files.add(1, "$y$secret", "");
    let driver = files.driver(OURS);
    driver.remove_left().unwrap();
    files.write(".shadow.staunch", "user1:$y$secret");
    let held = File::create(files.path(".pwd.lock")).unwrap();
    set_lock(&held, libc::F_WRLCK);
    driver.remove_left().unwrap();
    assert!(files.path(".shadow.staunch").exists(), "somebody is at it");
    set_lock(&held, libc::F_UNLCK);
    driver.remove_left().unwrap();
    assert!(!files.path(".shadow.staunch").exists());
    fs::create_dir(files.path(".shadow.staunch")).unwrap();
    assert!(driver.remove_left().is_err());
}

/// Sessions are frozen with their account, and whoever froze itself would let go of nothing.
#[test]
fn the_account_in_whose_session_this_runs_is_not_locked() {
    let files = Files::new();
    files.add(1, "$y$secret", "");
    files.add(2, "$y$secret", "");
    fs::create_dir_all(files.path("proc/self")).unwrap();
    files.write("proc/self/cgroup", "0::/user.slice/user-20001.slice/session-4.scope\n");
    let options = ShadowOptions {
        proc: files.path("proc"),
        ..files.options(OURS)
    };
    let mut driver = ShadowLockAccount::new(options);
    let before = files.shadow();
    let outcome = execute(&mut driver, 1, "user1");
    assert_refused(&outcome, FailureKind::Invalid, "within its sessions");
    assert_eq!(files.shadow(), before);
}
