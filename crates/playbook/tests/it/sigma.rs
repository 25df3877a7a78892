//! Real rules: each is read, or refused by the name of what is not evaluated; those with recorded events match them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use staunch_playbook::sigma::Rule;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigma")
}

/// The rules below `dir`.
fn rules(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            rules(&path, found);
        } else if path.extension().is_some_and(|it| it == "yml") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a Windows event of the data has, by the names that rules use.
fn fields(event: &Value) -> Value {
    let mut fields = Map::new();
    for part in ["System", "EventData"] {
        let part = event["Event"][part].as_object().into_iter().flatten();
        fields.extend(part.map(|(name, value)| (name.clone(), value.clone())));
    }
    Value::Object(fields)
}

#[test]
fn every_rule_is_read_or_refused_by_name() {
    let mut found = Vec::new();
    rules(&data().join("rules"), &mut found);
    rules(&data().join("rules-emerging-threats"), &mut found);
    let mut refused = BTreeMap::new();
    let mut products: BTreeMap<String, usize> = BTreeMap::new();
    for path in &found {
        match Rule::read(&read(path)) {
            Ok(rule) => *products.entry(rule.product().unwrap_or("none").to_owned()).or_default() += 1,
            Err(why) => {
                let name = path.file_stem().and_then(|it| it.to_str()).expect("it has a name");
                refused.insert(name.to_owned(), format!("{}: {why}", why.name()));
            }
        }
    }
    assert_eq!(found.len(), 47);
    let refused: Vec<(&str, &str)> = refused.iter().map(|(name, why)| (&**name, &**why)).collect();
    assert_eq!(
        refused,
        [(
            "proc_creation_win_wmic_uninstall_security_products",
            "modifier: it uses the modifier `windash`, which is not evaluated here"
        )]
    );
    let products: Vec<(&str, usize)> = products.iter().map(|(name, count)| (&**name, *count)).collect();
    assert_eq!(
        products,
        [("aws", 17), ("kubernetes", 7), ("linux", 9), ("windows", 13)]
    );
}

#[test]
fn rules_match_the_events_that_were_recorded_for_them_and_not_those_of_others() {
    let mut all: Vec<(String, Rule, Vec<Value>)> = Vec::new();
    for line in read(&data().join("regression_index.jsonl")).lines() {
        let entry: Value = serde_json::from_str(line).expect("it is JSON");
        let name = entry["rule"].as_str().expect("a file");
        let Ok(rule) = Rule::read(&read(&data().join(name))) else {
            continue;
        };
        let mut events = Vec::new();
        for file in entry["event_files"].as_array().expect("a list") {
            let text = read(&data().join(file.as_str().expect("a file")));
            let stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            events.extend(stream.map(|it| fields(&it.expect("it is JSON"))));
        }
        let matched = events.iter().filter(|event| rule.matches(event)).count();
        match entry["expected_matches"][0].as_u64() {
            Some(expected) => assert_eq!(matched as u64, expected, "{name}"),
            // The source does not say how many.
            None => assert!(matched > 0, "{name}"),
        }
        all.push((name.to_owned(), rule, events));
    }
    assert_eq!(all.len(), 13);
    let mut of_others = Vec::new();
    for (name, rule, _) in &all {
        for (other, _, events) in all.iter().filter(|(other, ..)| other != name) {
            if events.iter().any(|event| rule.matches(event)) {
                of_others.push((name, other));
            }
        }
    }
    // What accepts the licence under another name accepts the licence.
    let file = |name: &str| format!("rules/windows/registry/registry_set/registry_set_pua_sysinternals_{name}.yml");
    let (accepts, renamed) = (file("execution_via_eula"), file("renamed_execution_via_eula"));
    assert_eq!(of_others, [(&accepts, &renamed)]);
}
