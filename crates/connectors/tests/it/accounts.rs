//! Who is told an account to be, and which are protected.

#![allow(clippy::unwrap_used)]

use std::fs;

use staunch_connectors::enrichers::{AccountFinder, AccountOptions, ThisHost};
use staunch_ports::{Seen, Targets as _};

use crate::lock_account_setting::{Files, SECRET, target};

fn options(files: &Files) -> AccountOptions {
    let host = ThisHost {
        names: vec!["web-1".to_owned()],
        ..ThisHost::default()
    };
    AccountOptions {
        host,
        protected: ["breakglass".parse().unwrap()].into(),
        passwd: files.path("passwd"),
        group: files.path("group"),
        shadow: files.path("shadow"),
        login_defs: files.path("login.defs"),
        own_groups: files.path("cgroup"),
    }
}

fn with_accounts() -> Files {
    let files = Files::new();
    for number in 1..=3 {
        files.add(number, &format!("$y${SECRET}"), "");
    }
    files.append(
        "passwd",
        "toor:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\n\
         breakglass:x:1001:1001::/home/breakglass:/bin/bash\ntwin:x:20002:20002::/home/twin:\n\
         twice:x:1002:1002::/:/bin/sh\ntwice:x:1003:1003::/:/bin/sh\nplain:x:1004:1004::/:\n",
    );
    files.write("group", "sudo:x:27:user1\n");
    files
}

/// What is said of `name` on `host`: what it is and why it is protected, or why that cannot be told.
fn said(options: &AccountOptions, name: &str, host: Option<&str>) -> Result<(String, Option<String>), String> {
    let finder = AccountFinder::new(options.clone());
    let found = finder.find(&target(name), Seen { time: None, host });
    assert_eq!(found.target, target(name));
    let shown = format!("{found:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let facts = found.facts.map_err(String::from)?;
    Ok((facts.what.into(), facts.protected.map(Into::into)))
}

#[test]
fn an_account_of_this_machine_is_told() {
    let files = with_accounts();
    let options = options(&files);
    let here = Some("web-1");
    assert_eq!(
        said(&options, "user3", here),
        Ok(("user 20003, shell /bin/bash".to_owned(), None))
    );
    assert_eq!(
        said(&options, "plain", here),
        Ok(("user 1004, shell /bin/sh".to_owned(), None))
    );
    for (name, host, says) in [
        ("user3", Some("web-2"), "it is an account of web-2"),
        ("user3", None, "may be of any"),
        ("user9", here, "no such account"),
        ("User3", here, "no such account"),
        ("twice", here, "more than once"),
    ] {
        let why = said(&options, name, host).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
    fs::remove_file(files.path("passwd")).unwrap();
    assert!(said(&options, "user3", here).is_err(), "it fails closed");
}

#[test]
fn what_must_never_be_locked_is_protected() {
    let files = with_accounts();
    let mut options = options(&files);
    let protected = |options: &AccountOptions, name| said(options, name, Some("web-1")).unwrap().1;
    for (name, says) in [
        ("root", "it is root"),
        ("toor", "it is root"),
        ("www-data", "below 1000"),
        ("nobody", "nobody"),
        ("breakglass", "[accounts] protected"),
        ("user2", "twin has the same number"),
        ("twin", "user2 has the same number"),
        ("user1", "last account that may become root"),
    ] {
        let why = protected(&options, name);
        assert!(why.as_ref().is_some_and(|it| it.contains(says)), "{name}: {why:?}");
    }
    files.write("group", "sudo:x:27:user1\nwheel:x:10:user3\n");
    assert_eq!(protected(&options, "user1"), None, "user3 can get in");
    files.set("user3", 7, "1");
    assert!(protected(&options, "user1").is_some(), "user3 is locked");
    files.write("login.defs", "UID_MIN 30000\n");
    assert!(protected(&options, "user3").is_some_and(|it| it.contains("below 30000")));
    files.write("login.defs", "");
    // Without the shadow file nobody knows who can still log in.
    options.shadow = files.path("none");
    let why = said(&options, "user3", Some("web-1")).unwrap_err();
    assert!(why.contains("cannot read"), "{why}");
}

/// Who starts Staunch with sudo has it in a session of their own.
#[test]
fn an_account_in_whose_session_this_runs_is_protected() {
    let files = with_accounts();
    let options = options(&files);
    let protected = |name| said(&options, name, Some("web-1")).unwrap().1;
    assert_eq!(protected("user3"), None);
    for (groups, is_own) in [
        ("0::/user.slice/user-20003.slice/session-4.scope\n", true),
        (
            "3:cpu:/\n0::/a:b/user.slice/user-20003.slice/user@20003.service/app.slice\n",
            true,
        ),
        ("0::/user.slice/user-2000.slice/session-4.scope\n", false),
        ("0::/system.slice/user-20003.slice.service\n", false),
        ("", false),
    ] {
        files.write("cgroup", groups);
        assert_eq!(
            protected("user3").is_some_and(|why| why.contains("within its sessions")),
            is_own,
            "{groups}"
        );
    }
}
