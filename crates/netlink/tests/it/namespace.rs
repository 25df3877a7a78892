//! Namespaces.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use staunch_netlink::namespace::{NamespaceError, NetNs, run_in_new_net};
use staunch_testkit::skip;

use crate::setting::{in_new_net, inside};

fn own() -> u64 {
    std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

#[test]
fn only_the_thread_moves() {
    let before = own();
    in_new_net("only_the_thread_moves", || {
        let here = own();
        assert_ne!(here, before);
        let other = run_in_new_net(|| (NetNs::current().unwrap(), own())).unwrap();
        assert_eq!(inside(&other.0, own), other.1);
        assert_eq!(own(), here);
    });
    assert_eq!(own(), before);
}

#[test]
fn a_panic_comes_out_on_the_caller() {
    in_new_net("a_panic_comes_out_on_the_caller", || {
        let result = std::panic::catch_unwind(|| run_in_new_net(|| panic!("from inside")));
        assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"from inside"));
    });
}

#[test]
fn a_missing_namespace_is_named() {
    let error = NetNs::open(Path::new("/run/netns/absent-namespace")).unwrap_err();
    assert!(matches!(error, NamespaceError::Open { .. }));
    assert_eq!(
        error.to_string(),
        "cannot open the namespace /run/netns/absent-namespace"
    );
}

/// Whether root may become the user and group `id` here. In a user namespace most are not mapped, or root may not give
/// up its groups.
fn may_become(id: u32) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let is_mapped = |map: &str| {
        map.lines().any(|line| {
            let mut words = line.split_ascii_whitespace().map(|word| word.parse::<u32>().unwrap());
            let (first, count) = (words.next().unwrap(), words.nth(1).unwrap());
            id.checked_sub(first).is_some_and(|at| at < count)
        })
    };
    is_mapped(&read("uid_map")) && is_mapped(&read("gid_map")) && read("setgroups").trim() != "deny"
}

#[test]
fn a_process_without_privilege_has_a_table_of_its_own() {
    const TEST: &str = "a_process_without_privilege_has_a_table_of_its_own";
    const NOBODY: u32 = 65_534;
    // Entering a user namespace takes a process with one thread, so this runs an example instead of doing it here.
    let example = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/unprivileged");
    if !example.exists() {
        return skip(TEST, "the example is not built");
    }
    // A copy, because the target directory may be out of reach for others.
    let copy = std::env::temp_dir().join(format!("staunch-netlink-unprivileged-{}", std::process::id()));
    std::fs::copy(&example, &copy).unwrap();
    let mut command = Command::new(&copy);
    if nix::unistd::geteuid().is_root() && may_become(NOBODY) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.current_dir("/").output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("User {") || complaint.contains("Map {") {
        return skip(TEST, &complaint);
    }
    assert!(output.status.success(), "{complaint}");
}
