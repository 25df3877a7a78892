//! Signed playbooks: keys, signatures, and what refuses what is not signed.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use nix::sys::signal::Signal;

use crate::harness::{Home, in_namespace, staunch, stderr, wait_until};

const PLAYBOOK: &str = include_str!("../../../../playbooks/brute-force-block.yaml");

fn playbook(home: &Home, arguments: &[&str]) -> Output {
    let config = home.config().display().to_string();
    let mut command = staunch(&["playbook"]);
    command.args(arguments);
    if arguments[0] != "keygen" {
        command.args(["--config", &config]);
    }
    command.output().expect("the binary starts")
}

fn check(home: &Home) -> (Option<i32>, Vec<String>) {
    let config = home.config().display().to_string();
    let output = staunch(&["check", "--json", "--config", &config])
        .output()
        .expect("the binary starts");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let diagnostics = answer["diagnostics"].as_array().expect("a list");
    let code = |it: &Value| it["code"].as_str().expect("a text").to_owned();
    (output.status.code(), diagnostics.iter().map(code).collect())
}

/// A home that asks for signatures of a key of its own, with one playbook that is not signed; and that key's file.
fn signing() -> (Home, String) {
    let home = Home::new("");
    let key = home.path("alice.key").display().to_string();
    let output = playbook(&home, &["keygen", "--key", &key, "--name", "alice"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let verifier = String::from_utf8(output.stdout).expect("UTF-8");
    let verifier = verifier.trim();
    home.configure(&format!(
        "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\nrequire_signature = true\ntrusted_keys = [\"{verifier}\"]\n"
    ));
    home.playbook("ssh.yaml", PLAYBOOK);
    (home, key)
}

#[test]
fn only_what_a_trusted_key_has_signed_is_used() {
    let (home, key) = signing();
    let dir = home.path("playbooks");
    let file = dir.join("ssh.yaml");
    let shown = file.display().to_string();
    assert_eq!(check(&home), (Some(2), vec!["P070".to_owned()]));
    // A server does not start with it.
    let config = home.config().display().to_string();
    let serve = staunch(&["serve", "--config", &config])
        .output()
        .expect("the binary starts");
    assert_eq!(serve.status.code(), Some(2), "{}", stderr(&serve));
    assert!(stderr(&serve).contains("P070"), "{}", stderr(&serve));

    let output = playbook(&home, &["sign", "--key", &key, &shown]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(check(&home), (Some(0), Vec::new()));
    let output = playbook(&home, &["verify"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("by alice"),
        "{output:?}"
    );

    // One byte more, even in a comment.
    fs::write(&file, format!("{PLAYBOOK}#\n")).expect("it is our directory");
    assert_eq!(check(&home), (Some(2), vec!["P071".to_owned()]));
    let output = playbook(&home, &["verify", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(answer["files"][0]["proved"], false);

    // Exchanged contents are found out; a file that is renamed together with its signature is the same playbook.
    let other = PLAYBOOK.replace("playbook: brute-force-block", "playbook: other");
    fs::write(&file, &other).expect("it is our directory");
    fs::write(dir.join("other.yaml"), PLAYBOOK).expect("it is our directory");
    let dir = dir.display().to_string();
    assert!(playbook(&home, &["sign", "--key", &key, &dir]).status.success());
    assert_eq!(check(&home), (Some(0), Vec::new()));
    fs::write(&file, PLAYBOOK).expect("it is our directory");
    fs::write(Path::new(&dir).join("other.yaml"), &other).expect("it is our directory");
    assert_eq!(check(&home), (Some(2), vec!["P071".to_owned(), "P071".to_owned()]));
    for (from, to) in [
        ("ssh.yaml.sig", "x"),
        ("other.yaml.sig", "ssh.yaml.sig"),
        ("x", "other.yaml.sig"),
    ] {
        fs::rename(Path::new(&dir).join(from), Path::new(&dir).join(to)).expect("it is our directory");
    }
    assert_eq!(check(&home), (Some(0), Vec::new()));
}

#[test]
fn a_key_that_is_not_trusted_signs_in_vain() {
    let (home, _) = signing();
    let mallory = home.path("mallory.key").display().to_string();
    assert!(playbook(&home, &["keygen", "--key", &mallory]).status.success());
    let dir = home.path("playbooks").display().to_string();
    assert!(playbook(&home, &["sign", "--key", &mallory, &dir]).status.success());
    assert_eq!(check(&home), (Some(2), vec!["P071".to_owned()]));
    // A key is never overwritten, and none is made by the way.
    assert_ne!(playbook(&home, &["keygen", "--key", &mallory]).status.code(), Some(0));
    let gone = home.path("gone.key");
    let output = playbook(&home, &["sign", "--key", &gone.display().to_string(), &dir]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(!gone.exists());
    // What has mistakes is not signed.
    home.playbook("ssh.yaml", &PLAYBOOK.replace("lease: 1h", "lease: 100d"));
    fs::remove_file(home.path("playbooks/ssh.yaml.sig")).expect("it is there");
    assert_eq!(
        playbook(&home, &["sign", "--key", &mallory, &dir]).status.code(),
        Some(2)
    );
    assert!(!home.path("playbooks/ssh.yaml.sig").exists());
}

/// Each mistake leads to its page, which is in the program.
#[test]
fn check_explains_its_codes() {
    let (home, _) = signing();
    let config = home.config().display().to_string();
    let output = staunch(&["check", "--config", &config])
        .output()
        .expect("the binary starts");
    let said = stderr(&output);
    assert!(
        said.contains("error[P070]") && said.contains("`staunch check --explain P070` says more"),
        "{said}"
    );
    let output = staunch(&["check", "--explain", "p070"])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("# P070: not signed\n"),
        "{output:?}"
    );
    let unknown = staunch(&["check", "--explain", "P999"])
        .output()
        .expect("the binary starts");
    assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
}

#[test]
fn a_configuration_that_could_prove_nothing_is_a_mistake() {
    for (config, place) in [
        ("[playbooks]\nrequire_signature = true\n", "trusted_keys"),
        ("[playbooks]\ntrusted_keys = [\"alice\"]\n", "no verifier key"),
    ] {
        let home = Home::new(config);
        let config = home.config().display().to_string();
        let output = staunch(&["check", "--config", &config])
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(place), "{}", stderr(&output));
    }
}

/// A reload with a playbook that was changed leaves the earlier ones in force.
#[test]
fn a_reload_refuses_what_was_changed() {
    let (home, key) = signing();
    let dir = home.path("playbooks").display().to_string();
    assert!(playbook(&home, &["sign", "--key", &key, &dir]).status.success());
    in_namespace("signatures::a_reload", || {
        let server = home.serve();
        home.playbook("ssh.yaml", &PLAYBOOK.replace("T1110", "T1111"));
        server.signal(Signal::SIGHUP);
        wait_until("the refusal", || home.log().contains("the earlier one stays in force"));
        assert!(home.log().contains("P071"), "{}", home.log());
        assert!(playbook(&home, &["sign", "--key", &key, &dir]).status.success());
        server.signal(Signal::SIGHUP);
        wait_until("the new playbook", || home.log().contains("were read again"));
    });
}
