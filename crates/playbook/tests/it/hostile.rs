//! Hostile and random input: refused within bounds, never a panic.

use proptest::prelude::*;
use staunch_playbook::{BUILT_IN, Diagnostic};

use crate::{check, places, playbook};

/// Compiles and renders, so that every span is looked at too.
fn survive(text: &str) -> Vec<Diagnostic> {
    let found = match check(text) {
        Ok(compiled) => compiled.warnings,
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason: {text}");
            found
        }
    };
    for diagnostic in &found {
        assert!(text.get(diagnostic.span.clone()).is_some(), "{diagnostic:?}");
        assert!(diagnostic.render(text, false).contains(diagnostic.code));
    }
    found
}

#[test]
fn hostile_expressions_are_refused_without_harm() {
    let many = 10_000;
    for (when, code) in [
        ("(".repeat(many) + "true" + &")".repeat(many), "P041"),
        ("!".repeat(many) + "true", "P041"),
        (vec!["event.raw.ok"; many].join(" || "), "P041"),
        ("(".repeat(65) + "event.raw.ok" + &")".repeat(65), "P041"),
        ("!".repeat(1_000) + "event.raw.ok", "P041"),
        ("event.raw".to_owned() + &".a".repeat(1_000), "P041"),
        ("event.raw".to_owned() + &"[0]".repeat(1_000), "P041"),
        ("-".repeat(1_000) + "1 == 1", "P041"),
        ("event.raw.a in [".to_owned() + &"1,".repeat(1_500) + "1]", "P041"),
        (vec!["1"; 500].join(" == "), "P042"),
        ("(".repeat(many), "P041"),
        ("[".repeat(64) + &"]".repeat(64), "P046"),
        ("size(".repeat(64) + &")".repeat(64), "P045"),
        ("event.raw.a[".repeat(60) + "0" + &"]".repeat(60), "P041"),
        ("(!".repeat(60) + "event.raw.ok" + &")".repeat(60), ""),
        ("(!".repeat(32) + "event.raw.ok" + &")".repeat(32), ""),
        ("!".repeat(120) + "event.raw.ok", ""),
        ("event.raw".to_owned() + &".a".repeat(120), ""),
        ("event.raw".to_owned() + &"[0]".repeat(120), ""),
        (vec!["event.raw.a"; 240].join("||"), ""),
        ("\u{202e}".to_owned(), "P040"),
    ] {
        let found = survive(&playbook(&when));
        let expect: Vec<_> = if code.is_empty() { vec![] } else { vec![code] };
        assert_eq!(
            places(&found).iter().map(|it| it.0).collect::<Vec<_>>(),
            expect,
            "{when:.40}"
        );
    }
}

#[test]
fn the_deepest_allowed_conditions_compile() {
    let deep = format!("{}event.raw.a{}", "(!(event.raw.b == 1) || ".repeat(32), ")".repeat(32));
    assert_eq!(survive(&playbook(&deep)), []);
}

#[test]
fn hostile_yaml_is_refused_without_harm() {
    let many = 100_000;
    for (text, code) in [
        ("[".repeat(many), "P002"),
        ("{a: ".repeat(many / 4), "P002"),
        ("- ".repeat(many), "P002"),
        ("? ".repeat(many), "P002"),
        ("a: 1\n".repeat(1_000), "P005"),
        ((0..1_000).map(|at| format!("k{at}: 1\n")).collect::<String>(), "P002"),
        ("a".repeat(300_000), "P002"),
        ("&a ".repeat(many / 2), "P001"),
        ("a: &x [1]\nb: [*x, *x]".to_owned(), "P003"),
        (String::new(), "P004"),
        ("# nothing\n".to_owned(), "P004"),
        ("~".to_owned(), "P004"),
        ("\u{feff}a: 1".to_owned(), "P001"),
        ("a: \"\u{0}\"".to_owned(), "P001"),
        ("just words".to_owned(), "P006"),
        ("\t".to_owned(), "P004"),
        ("%YAML 9.9\n---\na: b".to_owned(), "P010"),
    ] {
        let found = survive(&text);
        assert!(found.iter().any(|it| it.code == code), "{text:.30}: {found:.3?}");
        assert!(found.len() <= 200);
    }
}

/// Words that mean something somewhere, so that random texts get far.
fn words() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "event",
        ".severity",
        ".raw",
        ".source.ip",
        "[0]",
        "[\"a\"]",
        " == ",
        " >= ",
        " in ",
        " && ",
        " || ",
        "!",
        "(",
        ")",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "\"x\"",
        "r\"\\",
        "5",
        "-5",
        "1.5",
        "1e",
        "0x",
        "5u",
        "null",
        "true",
        "high",
        "alert",
        "has(",
        ".contains(",
        ".matches(\"",
        ".size()",
        ".lowerAscii()",
        ".inNetwork(\"10.0.0.0/8\")",
        "{",
        "?",
        ":",
        "\n",
        " ",
        "é",
        "//",
        "\\",
        "`",
        "`a`",
        ".?",
        "[?",
        "\"\"\"",
        "b'",
        "all(x, x)",
        "outcome",
    ])
    .prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![8 => known, 1 => "\\PC{0,3}"], 0..25).prop_map(|it| it.concat())
}

/// A built-in playbook with a few random edits.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..12_usize,
        prop_oneof![
            Just(String::new()),
            "[\\x20-\\x7e\\n]{1,4}",
            prop::sample::select(vec![
                ": ", "- ", "\n", "|", ">", "&a ", "*a", "{", "}", "\"", "'", "\t", "é", "\r\n", "#", "?"
            ])
            .prop_map(str::to_owned),
        ],
    );
    let source = prop::sample::select(BUILT_IN.to_vec());
    (source, prop::collection::vec(edit, 1..5)).prop_map(|((_, text), edits)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, cut, insert) in edits {
            let at = at.index(characters.len() + 1);
            let end = (at + cut).min(characters.len());
            characters.splice(at..end, insert.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_expressions_do_no_harm(when in words()) {
        survive(&playbook(&when));
    }

    #[test]
    fn random_yaml_does_no_harm(text in "[\\x20-\\x7eé\\n\\t\\r]{0,200}") {
        survive(&text);
    }

    #[test]
    fn random_characters_do_no_harm(text in "\\PC{0,100}") {
        survive(&text);
        survive(&playbook(&text));
    }

    #[test]
    fn edited_playbooks_do_no_harm(text in mutated()) {
        survive(&text);
    }
}
