//! Records of logins and lists of modules, as files of our own making.

use std::fs;
use std::path::Path;

use serde_json::json;
use staunch_connectors::evidence::{LOGIN_RECORD_BYTES, LoginFiles, LoginsCollector, ModulesCollector};

use super::{list, one, request, take};

pub(super) fn login(user: &[u8]) -> Vec<u8> {
    let mut record = vec![0; LOGIN_RECORD_BYTES];
    record[..2].copy_from_slice(&7_i16.to_ne_bytes());
    record[4..8].copy_from_slice(&4_711_i32.to_ne_bytes());
    record[44..44 + user.len()].copy_from_slice(user);
    record
}

pub(super) fn login_files(folder: &Path) -> LoginFiles {
    LoginFiles {
        utmp: folder.join("utmp"),
        wtmp: folder.join("wtmp"),
        btmp: folder.join("btmp"),
        sessions: folder.join("sessions"),
        users: folder.join("users"),
    }
}

#[test]
fn logins_are_taken_from_all_that_records_them() {
    let folder = tempfile::tempdir().unwrap();
    let files = login_files(folder.path());
    fs::write(
        &files.utmp,
        [login(b"alice"), login(b"\xff\x1b[2J"), vec![1, 2]].concat(),
    )
    .unwrap();
    let many: Vec<u8> = (0..5_000)
        .flat_map(|it| login(format!("user{it}").as_bytes()))
        .collect();
    fs::write(&files.wtmp, many).unwrap();
    fs::create_dir(&files.sessions).unwrap();
    fs::write(
        files.sessions.join("4"),
        "# comment\nUSER=mallory\nREMOTE_HOST=192.0.2.7\n",
    )
    .unwrap();
    nix::unistd::mkfifo(&files.sessions.join("4.ref"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (kept, collected) = take(&mut LoginsCollector::new(files), &request(None));
    assert!(collected.changes.is_empty());
    let json = kept.json("logins.json");
    let users: Vec<_> = list(&json, "utmp").iter().map(|it| &it["user"]).collect();
    assert_eq!(users, [&json!("alice"), &json!({ "hex": "ff1b5b324a" })]);
    assert!(
        json["problems"][0]
            .as_str()
            .unwrap()
            .contains("2 bytes after the last record"),
        "{}",
        json["problems"]
    );
    let last = list(&json, "wtmp");
    assert_eq!((last.len(), &json["wtmp_records_before"]), (4_096, &json!(904)));
    assert_eq!(
        (&last[0]["user"], &last[4_095]["user"]),
        (&json!("user904"), &json!("user4999"))
    );
    assert_eq!((&json["btmp"], &json["users"]), (&json!(null), &json!(null)));
    let sessions = list(&json, "sessions");
    assert_eq!(sessions.len(), 1, "a pipe is not read: {sessions:?}");
    assert_eq!(sessions[0]["lines"][1], "USER=mallory");
}

pub(super) fn kernel_with_modules(folder: &Path) {
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/version", "Linux version 6.12\n");
    write("proc/sys/kernel/tainted", "4096\n");
    let listed = "nf_tables 1 0 - Live 0x0000000000000000\nodd 16384 0 - Live 0x0000000000000000 (OE)\n";
    write("proc/modules", listed);
    for (name, state) in [("nf_tables", "live"), ("hidden", "live")] {
        write(&format!("sys/module/{name}/initstate"), &format!("{state}\n"));
        write(&format!("sys/module/{name}/srcversion"), "ABCDEF0123456789\n");
    }
    // A part of the kernel that has parameters and is no module.
    write("sys/module/printk/parameters/time", "Y\n");
}

#[test]
fn a_module_that_is_in_one_list_only_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    kernel_with_modules(folder.path());
    let mut collector = ModulesCollector::new(folder.path().join("proc"), folder.path().join("sys"));
    let json = take(&mut collector, &request(None)).0.json("modules.json");
    assert_eq!(
        (&json["tainted"], &json["kernel_loads_modules"]),
        (&json!("4096"), &json!(true))
    );
    assert_eq!(list(&json, "modules").len(), 3, "{json}");
    let honest = one(&json, "modules", &[("name", json!("nf_tables"))]);
    assert_eq!(honest["files"]["srcversion"], json!(["ABCDEF0123456789"]));
    assert!(honest["listed"].is_string() && honest["has_directory"] == true);
    let hidden = one(&json, "modules", &[("name", json!("hidden"))]);
    assert_eq!(
        (&hidden["listed"], &hidden["has_directory"]),
        (&json!(null), &json!(true))
    );
    let odd = one(&json, "modules", &[("name", json!("odd"))]);
    assert_eq!(odd["has_directory"], false);
    assert!(odd["listed"].as_str().unwrap().contains("(OE)"));
    // A kernel without modules.
    fs::remove_file(folder.path().join("proc/modules")).unwrap();
    let json = take(&mut collector, &request(None)).0.json("modules.json");
    assert_eq!(json["kernel_loads_modules"], false);
}
