//! A tabletop, and its minutes.

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::harness::{Home, SMALL, staunch, stderr};

/// Holds a tabletop on `home` with `answers`: its output and its minutes.
fn tabletop(home: &Home, answers: &str, more: &[&str]) -> (Output, String) {
    let minutes = home.path("minutes.md");
    let mut child = staunch(&["drill", "tabletop"])
        .args(more)
        .arg("--minutes")
        .arg(&minutes)
        .env("STAUNCH_CONFIG", home.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // A tabletop that ends early does not read all of it.
    drop(stdin.write_all(answers.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (output, std::fs::read_to_string(minutes).unwrap_or_default())
}

#[test]
fn a_tabletop_leaves_minutes_and_nothing_else() {
    let home = Home::new(SMALL);
    let answers =
        "go: the numbers look right\nada\nwhat?\nask, who tells the | customer?\ngrace <b>\ngo\n\nstop we wait\nada\n";
    let (output, minutes) = tabletop(&home, answers, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for shown in [
        "ET MALWARE JAWS",
        "41.108.52.138",
        ": check",
        ": act",
        ": verify",
        ": undo",
        "never-touch",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    let widest = said.lines().max_by_key(|line| line.chars().count()).expect("it prints");
    assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
    let decided: Vec<&str> = minutes.lines().filter(|line| line.starts_with("| 1")).collect();
    assert_eq!(decided.len(), 4, "{minutes}");
    assert!(
        decided[0].contains("| go | ada |") && decided[0].contains("the numbers look right"),
        "{minutes}"
    );
    assert!(
        decided[1].contains(r"who tells the \| customer?") && decided[1].contains(r"grace \<b\>"),
        "{minutes}"
    );
    assert!(
        decided[2].contains(r"| go | grace \<b\> |"),
        "who spoke last speaks on: {minutes}"
    );
    assert!(decided[3].contains("| stop | ada |"), "{minutes}");
    assert!(minutes.contains(r"- [ ] who tells the \| customer?"), "{minutes}");
    assert!(!home.data().exists(), "nothing is opened");

    // The minutes of another day are not written over.
    let (again, _) = tabletop(&home, answers, &[]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}

#[test]
fn a_tabletop_that_nobody_answers_says_what_is_undecided() {
    let home = Home::new(SMALL);
    let (output, minutes) = tabletop(&home, "go\nada\n", &["exploit-attempt-block"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (_, left) = minutes.split_once("## Not decided").expect("it says so");
    assert_eq!(left.matches("\n- ").count(), 3, "{minutes}");
}

#[test]
fn a_tabletop_tells_a_playbook_that_does_not_match_from_one_that_is_not_there() {
    let refused = |name: &str| {
        let (output, minutes) = tabletop(&Home::new(SMALL), "go\n", &[name]);
        assert_eq!((output.status.code(), &*minutes), (Some(5), ""), "{output:?}");
        stderr(&output)
    };
    let idle = refused("brute-force-block");
    assert!(idle.contains("does not match the playbook brute-force-block"), "{idle}");
    let unknown = refused("nosuch");
    assert!(unknown.contains("there is no playbook nosuch"), "{unknown}");
    assert!(
        unknown.contains("hint: known: brute-force-block, exploit-attempt-block"),
        "{unknown}"
    );
    let near = refused("brute-force-blok");
    assert!(near.contains("hint: did you mean brute-force-block?"), "{near}");
}

#[test]
fn a_tabletop_says_which_of_several_events_it_took() {
    let home = Home::new(SMALL);
    let event = crate::harness::exploit_from("203.0.113.7");
    let events = home.path("events.json");
    std::fs::write(&events, format!("[{}]", [&*event; 10].join(","))).expect("it is our directory");
    let events = events.display().to_string();
    let (output, _) = tabletop(&home, "", &["--event", &events]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let left_out = "only the first event is planned: 9 further events were left out";
    assert!(stderr(&output).contains(left_out), "{output:?}");
}
