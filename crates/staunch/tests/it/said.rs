//! What people are told where little goes wrong.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Home, SMALL, brute_force_from, staunch, stderr};

#[test]
fn an_incident_that_is_not_there_is_said_to_be_absent() {
    let home = Home::new(SMALL);
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let watched = server.run(&["watch", "--incident", "INC-9", "--count", "0"]);
    assert!(watched.status.success(), "{watched:?}");
    assert!(stderr(&watched).contains("there is no INC-9"), "{watched:?}");

    for decision in ["approve", "deny"] {
        let decided = server.run(&[decision, "TX-9999", "--reason", "it is ours", "--yes"]);
        assert_eq!(decided.status.code(), Some(5), "{decided:?}");
        assert!(stderr(&decided).contains("there is no TX-9999"), "{decided:?}");
    }

    // Of two events one is planned, and that is said.
    let event = brute_force_from("203.0.113.9");
    fs::write(home.path("two.json"), format!("{event}\n{event}\n")).expect("it is our directory");
    let file = home.path("two.json").display().to_string();
    for way in [&["plan", "--json", &*file][..], &["plan", "--json", "--local", &*file]] {
        let planned = server.run(way);
        assert!(planned.status.success(), "{planned:?}");
        let people: Vec<&str> = way.iter().copied().filter(|it| *it != "--json").collect();
        let told = stderr(&server.run(&people));
        assert!(told.contains("only the first event is planned"), "{told}");
        let plan: serde_json::Value = serde_json::from_slice(&planned.stdout).expect("it is JSON");
        assert_eq!(plan["others"], 1, "{way:?}");
    }
}

#[test]
fn an_empty_name_of_a_file_is_said_to_be_empty() {
    let ways = [
        ("STAUNCH_CA", &["status", "--url", "https://127.0.0.1:1"][..]),
        ("STAUNCH_CONFIG", &["config", "show"]),
        ("STAUNCH_CONFIG", &["status"]),
    ];
    for (name, arguments) in ways {
        let output = staunch(arguments).env(name, "").output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(
            said.contains(&format!("{name} in the environment, is empty")) && said.contains("hint: "),
            "{said}"
        );
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_called_what_it_is() {
    let home = Home::new("");
    fs::write(home.path("file"), "").expect("it is our directory");
    let at = home.path("file/archive").display().to_string();
    fs::write(
        home.config(),
        format!("data_dir = \"data\"\n[archive]\nenabled = true\ndir = \"{at}\"\n"),
    )
    .expect("it is our directory");
    let failed = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .err()
        .expect("it does not start");
    let said = stderr(&failed);
    assert!(said.contains(&format!("cannot make the directory {at}")), "{said}");
    assert!(said.contains("[archive]") && !said.contains("data directory"), "{said}");
}

#[test]
fn a_server_is_found_by_the_name_of_its_process() {
    let home = Home::new(SMALL);
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let name = fs::read_to_string(format!("/proc/{}/comm", server.id())).expect("it runs");
    assert_eq!(name, "staunch\n");
}

#[test]
fn a_release_of_nothing_names_what_can_be_released() {
    let output = staunch(&["release"]).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = stderr(&output);
    for way in [
        "`staunch release TX-17`",
        "`staunch release --incident INC-3`",
        "`staunch release --all`",
    ] {
        assert!(said.contains(way), "{said}");
    }
}

#[test]
fn of_a_value_that_is_too_long_its_begin_is_told() {
    let reason = "a".repeat(501);
    let output = staunch(&["release", "--all", "--reason", &reason])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("it has 501 bytes; at most 500 are kept"), "{said}");
    assert!(said.contains("'aaaaaaaa") && said.len() < 300, "{said}");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_no_failing_disk() {
    let home = Home::new("");
    fs::write(home.path("file"), "").expect("it is our directory");
    for below in ["file", "file/data"] {
        let at = home.path(below).display().to_string();
        let failed = home.run(&["serve", "--data-dir", &at]);
        assert!(!failed.status.success(), "{failed:?}");
        let said = stderr(&failed);
        assert!(said.contains("is a file") && !said.contains("may be failing"), "{said}");
    }
    // Nor is a directory of playbooks that is not there a mistake in those that are.
    let playbooks = home.path("nowhere").display().to_string();
    fs::write(
        home.config(),
        format!("data_dir = \"data\"\n[playbooks]\ndirs = [\"{playbooks}\"]\n"),
    )
    .expect("it is our directory");
    let output = home.run(&["doctor"]).stdout;
    let said = String::from_utf8_lossy(&output);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(&format!("cannot read {playbooks}: ")), "{said}");
    assert!(!said.contains("mistakes in"), "{said}");
}

#[test]
fn a_demo_that_nobody_can_read_fails() {
    let full = File::options().write(true).open("/dev/full").expect("it is there");
    let output = staunch(&["demo"]).stdout(full).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cannot write what it tells"), "{output:?}");
}

#[test]
fn a_report_whose_key_is_none_was_changed() {
    let home = Home::new("");
    let report = home.path("drill.json").display().to_string();
    fs::write(&report, "{\"signed_by\":\"staunch-drill+other\"}").expect("it is our directory");
    fs::write(format!("{report}.sig"), "a note").expect("it is our directory");
    let output = home.run(&["drill", "verify", &report]);
    assert_eq!(output.status.code(), Some(14), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("changed after it was signed") && said.contains("signed_by"),
        "{said}"
    );
}

#[test]
fn the_page_of_a_backtest_is_for_its_owner() {
    let home = Home::new(SMALL);
    let (events, page) = (home.path("events.json"), home.path("page.html"));
    fs::write(&events, brute_force_from("203.0.113.9")).expect("it is our directory");
    let output = home.run(&[
        "backtest",
        "--events",
        &events.display().to_string(),
        "--html",
        &page.display().to_string(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let mode = fs::metadata(&page).expect("it is written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}
