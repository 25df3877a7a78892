//! The reference is what the program takes.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;

/// Compares `text` with a page of the reference; with `STAUNCH_UPDATE_DOCS` set, writes it.
pub(crate) fn check_reference(page: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(page);
    if std::env::var_os("STAUNCH_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/reference/{page} is not what the program says; run\n  STAUNCH_UPDATE_DOCS=1 cargo test -p staunch --bin staunch"
    );
}

#[test]
fn json_is_asked_for_of_commands_that_have_it() {
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
    let read = |line: &str| read(words(line)).expect("it can be read").1;
    assert!(read("staunch status --json"));
    assert!(!read("staunch status"));
    assert!(read("staunch token list --json"));
    assert!(read("staunch incident timeline INC-1 --format json"));
    assert!(!read("staunch incident timeline INC-1 --format html --output x"));
    assert!(!read("staunch demo"));
    for (line, asks) in [
        ("staunch status --json --nonsense", true),
        ("staunch incident show --json", true),
        ("staunch status --nonsense", false),
        ("staunch demo --json", false),
        ("staunch status -- --json", false),
    ] {
        assert_eq!(asks_for_json(words(line)), asks, "{line}");
    }
}

#[test]
fn whoever_takes_another_word_is_told_ours() {
    let said = |line: &str| {
        let words = line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        read(words).expect_err("it is not taken").render().to_string()
    };
    for (line, tip) in [
        ("staunch undo TX-1", "tip: `staunch release` lifts what is in force"),
        ("staunch explain INC-1", "tip: `staunch incident show` says why"),
        ("staunch token ls", "tip: a similar subcommand exists: 'list'"),
        ("staunch release inc-1", "that is an incident: write --incident INC-1"),
        (
            "staunch renew INC-1 --for 1h",
            "that is an incident: `staunch incident show`",
        ),
        ("staunch release --incident TX-1", "that is a transaction"),
        (
            "staunch review 203.0.113.9",
            "that is an address: `staunch incident list`",
        ),
        ("staunch serv", "tip: a similar subcommand exists: 'serve'"),
        (
            "staunch release 203.0.113.9",
            "that is an address: `staunch containment list`",
        ),
        (
            "staunch incident show TX-1",
            "that is a transaction: `staunch containment list`",
        ),
    ] {
        let said = said(line);
        assert!(said.contains(tip), "{line}: {said}");
        assert_eq!(said.matches("tip: ").count(), tip.matches("tip: ").count(), "{said}");
    }
    let tips = not_taken::OTHER_NAMES.iter().map(|(_, tip)| tip);
    assert!(tips.into_iter().all(|tip| tip.len() + "  tip: ".len() <= 80));
    let root = Cli::command();
    let taken: Vec<_> = root.get_subcommands().map(clap::Command::get_name).collect();
    let other = not_taken::OTHER_NAMES.iter().flat_map(|(names, _)| *names);
    assert!(!other.into_iter().any(|it| taken.contains(it)));
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_schemas_in_the_reference_are_what_the_parser_reads() {
    let context = staunch_playbook::CheckContext::default();
    for (page, of) in [
        ("playbook.schema.json", staunch_playbook::SchemaOf::Playbook),
        ("playbook-test.schema.json", staunch_playbook::SchemaOf::TestFile),
        ("snippets.schema.json", staunch_playbook::SchemaOf::Snippets),
    ] {
        let schema = staunch_playbook::json_schema(of, &context);
        check_reference(page, &format!("{}\n", output::json(&schema).unwrap()));
    }
}

#[test]
fn the_reference_is_what_help_says() {
    let mut text = String::from(
        "# Commands\n\nWhat `staunch --help` says, for every command. Exit codes are in [exit-codes.md](exit-codes.md).\n\n\
         Data goes to stdout and talk to stderr. Colour is used on terminals only, and never where `NO_COLOR` is set or\n\
         `TERM` is `dumb`.\n\n\
         The environment knows four names: `STAUNCH_CONFIG`, `STAUNCH_URL`, `STAUNCH_TOKEN` and `STAUNCH_CA`. An empty\n\
         one is a mistake and told by its name, but for an empty token, which is none.\n",
    );
    // Defaults from the environment must not get into the page.
    for name in ["STAUNCH_CONFIG", "STAUNCH_URL", "STAUNCH_TOKEN", "STAUNCH_CA"] {
        assert!(std::env::var_os(name).is_none(), "{name} is set");
    }
    let mut root = Cli::command().term_width(80);
    root.build();
    describe(&root, &mut text);
    check_reference("cli.md", &text);
}

fn describe(command: &clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let mut wide = command.clone().term_width(80);
    writeln!(
        text,
        "\n## `{name}`\n\n```text\n{}\n```",
        wide.render_long_help().to_string().trim_end()
    )
    .unwrap();
    for sub in command.get_subcommands().filter(|it| it.get_name() != "help") {
        describe(sub, text);
    }
}

#[test]
fn arguments_that_are_not_taken_are_told_with_their_tip() {
    let told = |arguments: &[&str]| {
        let error = Cli::command()
            .try_get_matches_from(arguments)
            .expect_err("they are not taken");
        not_taken(&error)
    };
    let fault = told(&["staunch", "status", "--jsn"]);
    let told_as_json: serde_json::Value = serde_json::from_str(&fault.json_line()).expect("it is JSON");
    assert_eq!(told_as_json["error"], "unexpected argument '--jsn' found");
    assert!(fault.advice().expect("a hint").contains("'--json'"), "{fault:?}");
    let fault = told(&["staunch", "incident", "show", "--json"]);
    let told_as_json: serde_json::Value = serde_json::from_str(&fault.json_line()).expect("it is JSON");
    assert_eq!(told_as_json["because"], serde_json::json!(["<INCIDENT>"]));
    assert!(fault.advice().expect("a hint").contains("--help"), "{fault:?}");
}
