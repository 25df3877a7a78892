//! What people are told where little goes wrong.

use std::fs;

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
