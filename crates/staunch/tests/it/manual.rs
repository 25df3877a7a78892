//! `staunch completions` and `staunch man`.

use std::fs;
use std::process::Command;

use crate::harness::staunch;

#[test]
fn every_shell_gets_a_script_that_names_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = staunch(&["completions", shell]).output().expect("the binary starts");
        assert!(output.status.success(), "{shell}: {output:?}");
        let script = String::from_utf8(output.stdout).expect("it is text");
        for word in ["protect", "release", "doctor"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let unknown = staunch(&["completions", "tcsh"]).output().expect("the binary starts");
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn bash_takes_the_script_and_completes() {
    let output = staunch(&["completions", "bash"]).output().expect("the binary starts");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("staunch.bash");
    fs::write(&script, output.stdout).expect("it is our directory");
    let ask = format!(
        "source {}; COMP_WORDS=(staunch prot); COMP_CWORD=1; _staunch staunch prot staunch; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let answer = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .output()
        .expect("bash is there");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "protect", "{answer:?}");
}

#[test]
fn each_command_has_a_page_and_hidden_ones_have_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().display().to_string();
    let output = staunch(&["man", &path]).output().expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    for page in [
        "staunch",
        "staunch-serve",
        "staunch-protect-add",
        "staunch-journal-verify",
    ] {
        let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).expect(page);
        assert!(
            text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
            "{page}: {text}"
        );
    }
    let serve = fs::read_to_string(dir.path().join("staunch-serve.1")).expect("it is there");
    assert!(serve.contains("allow\\-unauthenticated\\-loopback"), "{serve}");
    assert!(!serve.contains("rehearse"), "what is hidden is not in it");
    let gone = dir.path().join("gone").display().to_string();
    let refused = staunch(&["man", &gone]).output().expect("the binary starts");
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
}
