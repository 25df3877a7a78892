//! Which files of tests are run, and what is said of those that are not.

use serde_json::Value;

use super::{changed, test};
use crate::harness::{Home, stderr, stdout};

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = test(&["no/such.test.yaml"], false);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("cannot read no/such.test.yaml"),
        "{}",
        stderr(&output)
    );
}

/// The folder of one built-in playbook with its tests, unchanged, and how many tests it has.
fn alone(home: &Home) -> (String, u64) {
    let dir = changed(home, "brute-force-block", &[], &[]);
    let report: Value = serde_json::from_str(&stdout(&test(&[&dir], true))).expect("it is JSON");
    (dir, report["passed"].as_u64().expect("a number"))
}

#[test]
fn a_file_that_is_found_twice_runs_once() {
    let home = Home::new("");
    let (dir, count) = alone(&home);
    let (tests, playbook) = (
        format!("{dir}/brute-force-block.test.yaml"),
        format!("{dir}/brute-force-block.yaml"),
    );
    let link = home.path("link");
    std::os::unix::fs::symlink(&dir, &link).expect("a link");
    let link = link.display().to_string();
    for paths in [[&tests, &playbook], [&dir, &tests], [&dir, &dir], [&link, &playbook]] {
        let output = test(&paths.map(String::as_str), true);
        let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
        assert_eq!(report["passed"], count, "{paths:?}: {report}");
    }
}

#[test]
fn a_file_that_is_no_text_keeps_no_other_from_its_tests() {
    let home = Home::new("");
    let (dir, count) = alone(&home);
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(format!("{dir}/{name}"), bytes).expect("it is our directory");
    };
    write("latin.test.yaml", b"tests: [{ name: caf\xe9 }]\n");
    write("wide.test.yaml", b"\xff\xfet\0e\0s\0t\0s\0:\0");
    std::os::unix::fs::symlink("nowhere", format!("{dir}/gone.test.yaml")).expect("a link");
    let output = test(&[&dir], true);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(
        (&report["passed"], &report["mistakes"]),
        (&count.into(), &3.into()),
        "{report}"
    );
    assert_eq!(
        report["not_run"],
        serde_json::json!({ "files": 3, "tests": 0 }),
        "{report}"
    );
    let said = stderr(&test(&[&dir], false)).replace("\n       ", " ");
    for name in ["latin", "wide"] {
        assert!(
            said.contains(&format!("{name}.test.yaml: it is no text in UTF-8")),
            "{said}"
        );
    }
    assert!(
        said.contains("gone.test.yaml: ") && said.contains("hint: a link leads nowhere"),
        "{said}"
    );
    assert!(
        said.contains("because of mistakes, the tests of 3 files did not run"),
        "{said}"
    );
    // Also one that was named, beside another.
    let paths = [
        format!("{dir}/latin.test.yaml"),
        format!("{dir}/brute-force-block.test.yaml"),
    ];
    let output = test(&paths.each_ref().map(String::as_str), true);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(report["passed"], count, "{report}");
}

#[test]
fn what_did_not_run_is_counted_as_it_is() {
    let home = Home::new("");
    let (_, count) = alone(&home);
    // Only running them shows that two tests name a clause that is not there.
    let one = changed(
        &home,
        "brute-force-block",
        &[],
        &[("no_match: event.severity >= medium", "no_match: event.severity >= high")],
    );
    let output = test(&[&one], false);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("because of mistakes, 2 tests did not run"),
        "{}",
        stderr(&output)
    );
    let report: Value = serde_json::from_str(&stdout(&test(&[&one], true))).expect("it is JSON");
    assert_eq!(report["passed"], count - 2, "{report}");

    std::fs::write(format!("{one}/brute-force-block.test.yaml"), "\n").expect("it is our directory");
    let output = test(&[&one], false);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("the file is empty") && said.contains("hint: a file of tests has `tests:`"),
        "{said}"
    );
    assert!(
        said.contains("because of mistakes, the tests of 1 file did not run"),
        "{said}"
    );
}
