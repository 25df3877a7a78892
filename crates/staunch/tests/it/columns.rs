//! What the usual commands say at a terminal: lines of at most 80 columns, but for what cannot be broken.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::{Home, STAUNCH, in_namespace, stdout};

/// A word that is longer than this is a path, an identifier or an address, and is shown whole wherever it stands.
const WORD: usize = 40;

/// What may stand beside such a word in its line: a label.
const BESIDE: usize = 30;

/// What `arguments` say at a terminal, on stdout and stderr together; nothing where there can be no terminal.
fn at_terminal(home: &Home, arguments: &[&str]) -> Option<String> {
    typed_at_terminal(home, arguments, "")
}

/// What `arguments` say when somebody types `lines` at the terminal, as [`at_terminal`].
fn typed_at_terminal(home: &Home, arguments: &[&str], lines: &str) -> Option<String> {
    let quoted = |word: &&str| format!("'{}'", word.replace('\'', r"'\''"));
    let words: Vec<String> = [STAUNCH].iter().chain(arguments).map(quoted).collect();
    let ran = Command::new("script")
        .args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"])
        .env("STAUNCH_CONFIG", home.config())
        .env("NO_COLOR", "1")
        .env_remove("STAUNCH_URL")
        .current_dir(home.path(""))
        .stdin(typed(lines))
        .output();
    match ran {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).replace('\r', "")),
        Err(error) => {
            staunch_testkit::skip(
                "columns",
                &format!("script cannot be started (Debian: bsdutils): {error}"),
            );
            None
        }
    }
}

/// A pipe that holds `lines` and has ended: they fit into one.
fn typed(lines: &str) -> Stdio {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(lines.as_bytes()).expect("it has room");
    reader.into()
}

#[test]
fn who_has_not_said_why_is_asked_at_a_terminal() {
    in_namespace("columns::why", || {
        let home = Home::new(crate::harness::SMALL);
        let command = ["approve", "TX-1", "--yes", "--url", "http://127.0.0.1:1"];
        let Some(said) = typed_at_terminal(&home, &command, "a scanner of ours\n") else {
            return;
        };
        assert!(said.contains("why? (it is recorded)"), "{said}");
        assert!(
            said.contains("127.0.0.1:1") && !said.contains("not said why"),
            "it went on: {said}"
        );
        let said = typed_at_terminal(&home, &command, " \n").expect("there was a terminal");
        assert!(said.contains("it is not said why"), "{said}");
    });
}

/// The lines of `text` that are too long, though they could have been broken.
fn too_long(text: &str) -> Vec<&str> {
    let breaks = |line: &&str| {
        let all = line.chars().count();
        let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        all > 80 && (longest <= WORD || all - longest > BESIDE)
    };
    text.lines().filter(breaks).collect()
}

#[test]
fn the_usual_commands_fit_80_columns() {
    in_namespace("columns::usual", || {
        let (home, evidence) = crate::custody::collected();
        fs::write(home.path("event"), crate::harness::exploit_from("203.0.113.9")).expect("it is our directory");
        fs::write(home.path("garbage"), "no event\nanother\n".repeat(40)).expect("it is our directory");
        fs::write(home.path("mistaken.toml"), "data_dri = \"data\"\n").expect("it is our directory");
        fs::write(
            home.path("mistaken.yaml"),
            "playbook: mistaken\nsumary: x\ntrigger: { sources: [nobody], when: event.foo == 1 }\n",
        )
        .expect("it is our directory");
        let made = home.run(&["token", "create", "sensor", "--role", "sender"]);
        assert!(made.status.success(), "{made:?}");
        let server = home.serve();
        server.take(&crate::harness::exploit_from("203.0.113.77"));
        crate::harness::wait_until("a block", || crate::harness::element("203.0.113.77").is_some());
        let named = home.path("playbooks").display().to_string();
        let mut wrong = Vec::new();
        for arguments in [
            &["check"][..],
            &["check", "mistaken.yaml"],
            &["check", "absent.yaml"],
            &["check", "--explain", "P031"],
            &["plan", "event"],
            &["plan", "event", "--local"],
            &["status"],
            &["incident", "list"],
            &["incident", "show", "INC-1"],
            &["incident", "show", "INC-99"],
            &["incident", "timeline", "INC-1"],
            &["incident", "graph", "INC-1"],
            &["incident", "trends"],
            &["containment", "list"],
            &["approve"],
            &["doctor"],
            &["doctor", "--config", "mistaken.toml"],
            &["protect", "list"],
            &[
                "protect",
                "add",
                "203.0.113.64/26",
                "--yes",
                "--reason",
                "a partner that tests us",
            ],
            &["protect", "explain", "203.0.113.77"],
            &["mode"],
            &["token", "list"],
            &["token", "list", "--data-dir", "absent"],
            &["token", "create", "ann", "--role", "viewer"],
            &["source", "test", "event", "--as", "suricata"],
            &["source", "test", "garbage", "--as", "suricata"],
            &["test"],
            &["test", named.as_str()],
            &["evidence", "list"],
            &["evidence", "show", evidence.as_str()],
            &["evidence", "verify"],
            &["evidence", "list", "--vault", "absent"],
            &["recover", "INC-1", "--show"],
            &["release", "TX-99", "--reason", "ours", "--yes"],
            &["review", "INC-1", "--output", "review"],
            &["review", "check", "review"],
            &["replay"],
            &["replay", "--verify"],
            &["backtest", "--events", "event"],
            &["backtest", "--events", "event", "--playbooks", named.as_str()],
            &["backtest", "--journal", "data"],
            &["journal", "verify"],
            &["index", "status"],
            &["drill", "list"],
            &["drill", "stop", "--yes"],
            &["status", "--config", "mistaken.toml"],
            &["status", "--url", "http://127.0.0.1:1"],
            &["release", "--all", "--yes", "--url", "http://127.0.0.1:1"],
            &["release", "--all", "--reason", "ours", "--yes"],
            &["release", "--all", "--direct", "--yes"],
        ] {
            let Some(said) = at_terminal(&home, arguments) else {
                return;
            };
            assert!(!said.trim().is_empty(), "{arguments:?} says nothing");
            for line in too_long(&said) {
                wrong.push(format!("{arguments:?}: {line}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn what_is_piped_has_its_errors_in_one_line_each() {
    let home = Home::new("");
    let ran = home.run(&["journal", "verify", "--data-dir", &"a/".repeat(100)]);
    let said = crate::harness::stderr(&ran);
    assert_eq!(said.lines().count(), 2, "an error and its hint: {said}");
    assert!(said.lines().all(|line| line.chars().count() > 80), "{said}");
    assert_eq!(stdout(&ran), "");
}
