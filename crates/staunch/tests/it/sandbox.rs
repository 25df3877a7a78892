//! What a running server has taken away from itself.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use nix::libc;
use staunch_connectors::calls;
use staunch_server::dto::{Status, path};

use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, stdout, wait_until};

/// A field of what the kernel says of a server's process.
fn status(server: &Server, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it is ours");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).to_owned()
}

/// The threads that take evidence and sign what was sealed: they look into other processes, and write to the vault. One
/// hashes the program, for manifests, and ends.
const OUTSIDE: [&str; 5] = ["evidence", "packets", "files", "logbook", "build"];

#[test]
fn a_server_contains_from_within_its_sandbox_and_can_be_started_without() {
    in_namespace("sandbox::serve", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        assert_eq!(server.get::<Status>(path::STATUS).sandbox_gaps, [""; 0]);
        // 2: a filter.
        assert_eq!(
            (&*status(&server, "Seccomp"), &*status(&server, "NoNewPrivs")),
            ("2", "1")
        );
        assert!(
            home.log().contains("may write in its own directories only"),
            "{}",
            home.log()
        );
        for thread in fs::read_dir(format!("/proc/{}/task", server.id())).expect("it is ours") {
            let path = thread.expect("it is listed").path().join("status");
            let text = fs::read_to_string(path).unwrap_or_default();
            let name = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("Name:")
                .trim();
            assert!(
                text.is_empty() || OUTSIDE.contains(&name) != text.contains("Seccomp:\t2"),
                "a thread without a filter, or one that needs none: {text}"
            );
        }
        server.take(&exploit_from("203.0.113.9"));
        wait_until("the block", || element("203.0.113.9").is_some());
        server.ok(&["release", "--incident", "INC-1", "--reason", "ours", "--yes"]);
        wait_until("the release", || element("203.0.113.9").is_none());
        drop(server);

        let text = fs::read_to_string(home.config()).expect("it is ours");
        fs::write(home.config(), format!("{text}\n[sandbox]\nenabled = false\n")).expect("it is ours");
        let server = home.serve();
        assert_eq!(
            (&*status(&server, "Seccomp"), &*status(&server, "NoNewPrivs")),
            ("0", "0")
        );
    });
}

/// As a unit does whose `SystemCallFilter` does not name them.
fn refuse_what_a_sandbox_is_made_by() {
    let calls = [libc::SYS_seccomp, libc::SYS_landlock_create_ruleset];
    let rules = calls
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect::<BTreeMap<_, _>>();
    let filter = calls::filter(rules, libc::EPERM).expect("it can be compiled");
    seccompiler::apply_filter(&filter).expect("the kernel takes it");
}

#[test]
fn what_a_unit_refuses_of_the_sandbox_is_told_and_a_server_contains_all_the_same() {
    in_namespace("sandbox::refused", || {
        let home = Home::new(SMALL);
        // What this thread is refused, all that it starts is refused too, and no other thread.
        let server = thread::scope(|scope| {
            let started = scope.spawn(|| {
                refuse_what_a_sandbox_is_made_by();
                home.serve()
            });
            started.join().expect("it starts")
        });
        let gaps = server.get::<Status>(path::STATUS).sandbox_gaps;
        assert!(
            gaps.len() == 2 && gaps[0].contains("refused no system call") && gaps[1].contains("write wherever"),
            "{gaps:?}"
        );
        for gap in &gaps {
            assert!(home.log().contains(gap), "{}", home.log());
        }
        let text = server.ok(&["status"]);
        assert_eq!(text.matches("NOT WHOLE: ").count(), 2, "{text}");
        let text = stdout(&server.run(&["doctor"]));
        assert_eq!(text.matches("its sandbox is not whole").count(), 2, "{text}");
        server.take(&exploit_from("203.0.113.9"));
        wait_until("the block", || element("203.0.113.9").is_some());
    });
}
