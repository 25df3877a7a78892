//! Paths that lead nowhere: one rule for every command that takes one, told by the reference of the commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::harness::{Home, Server, stderr, stdout};

/// How each command is given besides the path in question. `HOME` is a directory that is there.
const COMMANDS: &[(&str, &[&str])] = &[
    ("approve", &[]),
    ("backtest", &["--events", "HOME/event"]),
    ("check", &[]),
    ("config show", &[]),
    ("containment list", &[]),
    ("deny", &["TX-1", "--reason", "ours", "--yes"]),
    ("doctor", &[]),
    ("drill key", &[]),
    ("drill run", &["reply-lost", "--live", "--yes"]),
    ("drill stop", &["--yes"]),
    ("drill tabletop", &[]),
    ("drill verify", &["@HOME/report"]),
    ("evidence anchor", &[]),
    ("evidence checkpoint", &[]),
    ("evidence export", &["INC-1"]),
    ("evidence get", &["EVIDENCE", "--output", "HOME/out"]),
    ("evidence key", &[]),
    ("evidence list", &[]),
    ("evidence show", &["EVIDENCE"]),
    ("evidence verify", &[]),
    ("incident graph", &["INC-1"]),
    ("incident list", &[]),
    ("incident show", &["INC-1"]),
    ("incident timeline", &["INC-1"]),
    ("incident trends", &[]),
    ("index rebuild", &[]),
    ("index status", &[]),
    ("journal cat", &[]),
    ("journal verify", &[]),
    ("man", &[]),
    ("mode", &[]),
    ("plan", &["@HOME/event"]),
    ("playbook keygen", &[]),
    ("playbook show", &["@HOME/playbooks/brute-force-block.yaml"]),
    ("playbook sign", &["@HOME/playbooks", "--key", "HOME/key"]),
    ("playbook verify", &["--trusted-key", "KEY"]),
    ("protect add", &["192.0.2.1", "--reason", "ours", "--yes"]),
    ("protect explain", &["192.0.2.1"]),
    ("protect list", &[]),
    ("protect remove", &["192.0.2.1", "--reason", "ours", "--yes"]),
    ("recover", &["INC-1", "--show"]),
    ("release", &["TX-1", "--reason", "ours", "--yes"]),
    ("reload", &["--yes", "--reason", "a trial"]),
    ("renew", &["TX-1", "--for", "1h", "--yes", "--reason", "a trial"]),
    ("replay", &[]),
    ("review", &["INC-1"]),
    ("review check", &["@HOME"]),
    ("run", &[]),
    ("schema", &["playbook"]),
    ("serve", &[]),
    ("source test", &["@HOME/event", "--as", "suricata"]),
    ("status", &[]),
    ("test", &[]),
    ("token create", &["name", "--role", "sender"]),
    ("token list", &[]),
    ("token revoke", &["name", "--yes"]),
    ("version", &[]),
    ("watch", &[]),
];

/// What is made where it is not there, or is only written down: not a path that has to lead somewhere.
const MADE: &[(&str, &str)] = &[
    ("init", "[DIR]"),
    ("init", "--data-dir"),
    ("init", "--unit"),
    ("serve", "--data-dir"),
    ("run", "--data-dir"),
    ("token create", "--data-dir"),
    // It tells in its findings whether it can be made.
    ("doctor", "--data-dir"),
];

/// What needs more than a server without an incident to come to its path: that is another test's.
const TOLD_ELSEWHERE: &[(&str, &str)] = &[];

/// The paths that each command takes, as the reference has them: `--config`, or `[PATH]...` for one by its place.
fn taken() -> BTreeMap<String, Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let text = fs::read_to_string(file).expect("the reference is there");
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut command = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## `staunch ") {
            command = heading.trim_end_matches('`').to_owned();
            continue;
        }
        let written = line.trim_start();
        let is_path = ["FILE", "DIR", "PATH", "REPORT"].iter().any(|name| {
            let ends = [format!("<{name}>"), format!("[{name}]")];
            let bare = written.trim_end_matches("...");
            ends.iter().any(|end| bare.ends_with(end.as_str()))
        });
        let is_argument = written.starts_with(['-', '<', '[']) && line.starts_with("  ");
        if !is_path || !is_argument || command.is_empty() {
            continue;
        }
        let long = written.split(' ').find(|word| word.starts_with("--"));
        let name = long.map_or_else(|| written.to_owned(), str::to_owned);
        all.entry(command.clone()).or_default().push(name);
    }
    all
}

/// The arguments of a command, with `path` where `what` takes one.
fn given(base: &[&str], what: &str, path: &str) -> Vec<String> {
    let mut all: Vec<String> = base.iter().map(|it| (*it).to_owned()).collect();
    if !what.starts_with("--") {
        match all.iter_mut().find(|it| it.starts_with('@')) {
            Some(place) => path.clone_into(place),
            None => all.push(path.to_owned()),
        }
    } else if let Some(at) = all.iter().position(|it| it == what) {
        path.clone_into(&mut all[at + 1]);
    } else {
        all.extend([what, path].map(str::to_owned));
    }
    match what {
        "--journal" if all.iter().any(|it| it == "--events") => {
            all.retain(|it| it != "--events" && !it.ends_with("/event"));
        }
        "--ca" => all.extend(["--url", "https://127.0.0.1:1"].map(str::to_owned)),
        "--client-cert" => all.extend(["--url", "https://127.0.0.1:1", "--client-key", path].map(str::to_owned)),
        "--client-key" => all.extend(["--url", "https://127.0.0.1:1", "--client-cert", path].map(str::to_owned)),
        _ => {}
    }
    all.iter().map(|it| it.trim_start_matches('@').to_owned()).collect()
}

/// A home with an incident and its evidence, events, a report and a key.
fn furnished() -> (Home, Vec<(&'static str, String)>) {
    let (home, evidence) = crate::custody::collected();
    fs::write(home.path("event"), crate::harness::exploit_from("203.0.113.9")).expect("it is our directory");
    fs::write(home.path("report"), "{}").expect("it is our directory");
    let key = home.path("key").display().to_string();
    let made = home.run(&["playbook", "keygen", "--key", &key]);
    assert!(made.status.success(), "{made:?}");
    let here = home.path("").display().to_string();
    let words = vec![
        ("HOME", here.trim_end_matches('/').to_owned()),
        ("KEY", stdout(&made).trim().to_owned()),
        ("EVIDENCE", evidence),
    ];
    (home, words)
}

#[test]
fn a_path_that_leads_nowhere_is_told_with_one_code_by_every_command() {
    crate::harness::in_namespace("paths::nowhere", || {
        let (home, words) = furnished();
        let _server: Server = home.serve();
        let nowhere = home.path("absent/at/all").display().to_string();
        let mut wrong = Vec::new();
        let mut tried = 0;
        for (command, paths) in taken() {
            for what in paths {
                let is_exempt = |all: &[(&str, &str)]| all.contains(&(command.as_str(), what.as_str()));
                if is_exempt(MADE) || is_exempt(TOLD_ELSEWHERE) {
                    continue;
                }
                let Some((_, base)) = COMMANDS.iter().find(|(name, _)| *name == command) else {
                    panic!("say in COMMANDS how `{command}` is given: it takes {what}");
                };
                let mut arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
                arguments.extend(given(base, &what, &nowhere));
                for (word, stands_for) in &words {
                    for it in &mut arguments {
                        *it = it.replace(word, stands_for);
                    }
                }
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let output = home.run(&arguments);
                let said = stderr(&output);
                let told = said.contains("absent/at") && said.contains("hint: ");
                if output.status.code() != Some(5) || !told || home.path("absent").exists() {
                    drop(fs::remove_dir_all(home.path("absent")));
                    wrong.push(format!("{} {arguments:?}\n{said}", output.status));
                }
                tried += 1;
            }
        }
        assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(tried > 200, "only {tried} were tried: is the reference read rightly?");
    });
}
