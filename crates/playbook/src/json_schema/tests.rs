use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::Regex;
use saphyr_parser::ScalarStyle;

use super::*;
use crate::diagnostic::{Diagnostic, Report};
use crate::yaml::{self, Kind, Node};
use crate::{BUILT_IN, BUILT_IN_TESTS, Snippets, Source, compile_source, test_file};

/// Has every key that a playbook can have.
const WHOLE_PLAYBOOK: &str = "
playbook: whole-1
summary: ${says}
parameters:
  says: { default: Has every key., staging: Has every key too. }
  rest: 1
attack: [T1110, T1110.001]
trigger:
  sources: [suricata]
  when: event.severity >= high
  incident: event.source.ip
  deduplicate: 1h30m
context: [never-touch, traffic-share]
guards:
  impact: { traffic_share_max: 2.5%, flows_min: 5 }
  risk_min: high
  when_unknown: refuse
  event_age_max: 5m
  acts_per_hour_max: 20
preserve:
  - network
  - ruleset: { deadline: 1s, mib_max: 8 }
  - process: { target: event.raw.pid, deadline: 1s }
  - capture: { target: event.source.ip, window: 1s, deadline: 3s, mib_max: 64 }
  - files: { paths: [/var/log/auth.log*], deadline: 5s }
  - journal: { units: [ssh.service], window: 10m }
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
  - block-ip: { target: event.destination.ip, lease: { first: 1h, then: [6h, 24h], within: 7d } }
  - rate-limit-ip: { target: event.source.ip, lease: 1h, watch: { health: shop, for: 1m, every: 5s } }
  - kill-process: { target: event.raw.pid, lease: 1h, irreversible: yes }
  - exec-job: { job: lock-door, target: event.user, lease: 1h }
notify:
  - page
  - page: { when: outcome != contained }
recover:
  - lock-account: { target: event.user, lease: 1h, irreversible: no }
  - release: { actions: [block-ip] }
  - soak: { health: shop, for: 10m, every: 10s, otherwise: stop }
  - soak: { prometheus: errors < 2 %, for: 10m }
  - release
  - request-change: { text: Rotate the key. }
mode: { low: enforce, medium: approve, high: observe }
on_failure: keep
";

/// Has every key that a test file can have.
const WHOLE_TESTS: &str = "
playbook: ../whole.yaml
environment: staging
events:
  one: { source: suricata, json: '{}' }
tests:
  - name: all of it
    start: 2026-01-31T12:00:00Z
    context:
      traffic: { 203.0.113.7: 5%, 2001:db8::7: unknown, others: 1.25% }
      processes: { 4242: { program: /usr/sbin/sshd, protected: the way in }, 4243: gone }
      assets: { 203.0.113.7: { owner: payments, tier: one, data_class: pci, environment: production }, web-1: {} }
      identities: { alice: { team: it, kind: human, break_glass: no } }
      places: { 203.0.113.7: { country: NL, asn: 64500, organization: Example } }
      ratings: { 203.0.113.7: { score: 90%, confidence: 80 } }
      guards:
        - { name: all, asset_known: yes, owner: [payments], tier: [one], data_class: [pci], environment: [production],
            team: [it], identity_kind: human, break_glass: no, then: ask }
      targets: { account:root: { what: user 0, protected: it is root }, host:web-2: gone }
      never_touch: { 198.51.100.0/24: a partner }
      mode: approve
      approval_expiry: 10m
      limits: { acts_per_hour_max: 3 }
    world: { kind: cloud, risk: low, in_place: { 203.0.113.9: foreign }, capacity: 5, enforcing: no, signals: { shop: healthy } }
    faults:
      - { at: execute, of: 203.0.113.7, kind: crash, times: 2, for: 10s }
      - { at: undo, kind: lies, times: always }
      - { at: preserve, evidence: flows, kind: full }
    events:
      - { at: 0s, event: one }
      - { at: 1s, source: falco, json: '{}' }
    happens:
      - { at: 1m, somebody: removes the block of 203.0.113.7 }
      - { at: 1m, somebody: puts something at 203.0.113.7 }
      - { at: 1m, somebody: lets go of pid:4242 }
      - { at: 1m, somebody: removes everything }
      - { at: 1m, somebody: restores the rules }
      - { at: 2m, operator: approve 203.0.113.7 }
      - { at: 2m, operator: renew 203.0.113.7 for 2h }
      - { at: 2m, operator: release everything }
      - { at: 2m, operator: mode observe }
      - { at: 2m, operator: recover 203.0.113.7 }
      - { at: 2m, operator: stop recovery of job:lock-door:alice }
      - { at: 2m, signals: { shop: unhealthy, errors: unreadable } }
      - { at: 3m, crash: 5s }
    expect:
      - { at: 1s, state: { 203.0.113.7: in-force }, acts: 1 }
      - { world: { 203.0.113.7: ours }, acts: 1 }
      - { refused: { 203.0.113.7: impact }, acts: 1 }
      - { refused: { 203.0.113.7: { guard: impact, says: 5 % } }, acts: 1 }
      - { asked: { 203.0.113.7: { guard: impact } }, acts: 1 }
      - { order: [203.0.113.7, 203.0.113.8], acts: 1 }
      - { incidents: 2, joined: 0 }
      - { outcome: contained, notice: somebody else }
      - { notices: { page: 0 }, acts: 1 }
      - { command_refused: not waiting, no_match: event.severity >= high }
      - { evidence: { flows: missed, sockets: sealed, capture: none }, acts: 1 }
      - { recovery: back, watches: { shop: no-baseline, errors < 2 %: running } }
  - name: unknown traffic
    context: { traffic: unknown, never_touch: [198.51.100.0/24, '2001:db8::/32'] }
    events: []
    expect: [{ acts: 0 }]
";

/// The same, as far as it can be with snippets.
const WHOLE_WITH_SNIPPETS: &str = "
playbook: whole-2
summary: { use: says }
attack: [T1110, { use: techniques }]
trigger: { use: trigger, sources: [suricata], incident: [{ use: field }, event.user], deduplicate: { use: long } }
context: { use: known }
guards:
  use: guards
  impact: { use: impact, flows_min: { use: seven } }
  risk_min: { use: high }
contain:
  - block-ip: { use: step }
  - block-ip: { target: { use: other-field }, lease: { use: long } }
  - use: steps
notify:
  - page: { use: page }
  - use: pages
mode: { use: modes, high: { use: observe } }
on_failure: { use: keep }
";

/// Has every key that a file of snippets can have, and what the playbook with snippets uses.
const WHOLE_SNIPPETS: &str = "
conditions:
  serious: event.severity >= high
blocks:
  says: Uses snippets.
  techniques: [T1110.001, T1110.002]
  trigger: { when: condition.serious }
  field: event.source.ip
  other-field: event.destination.ip
  long: 1h
  known: [never-touch, traffic-share]
  guards: { event_age_max: 5m }
  impact: { traffic_share_max: 2.5% }
  seven: 7
  high: high
  step: { target: { use: field }, lease: 1h }
  steps:
    - block-ip: { use: step, lease: { first: 1h, then: [6h] } }
  page: { when: outcome != contained }
  pages: [page]
  modes: { low: enforce }
  observe: observe
  keep: keep
";

/// The mistakes that a schema can know. The others are in expressions, in names that mean something elsewhere, and in
/// sums of units.
const KNOWABLE: [&str; 13] = [
    "P006", "P010", "P011", "P012", "P013", "P014", "P015", "P016", "P017", "P018", "P020", "P022", "P023",
];

fn mistakes(of: SchemaOf, text: &str) -> Vec<Diagnostic> {
    let found = match of {
        SchemaOf::Playbook => {
            let snippets = Snippets::read("snippets.yaml", WHOLE_SNIPPETS);
            let source = Source {
                file: "x.yaml",
                text,
                snippets: Some(&snippets),
            };
            compile_source(source, &CheckContext::default()).map(drop)
        }
        SchemaOf::Snippets => match Snippets::read("snippets.yaml", text).diagnostics() {
            [] => Ok(()),
            found => Err(found.to_vec()),
        },
        SchemaOf::TestFile => test_file::parse("x.test.yaml", text).map(drop),
    };
    found.err().map_or_else(Vec::new, |found| {
        assert!(!found.is_empty(), "refused without a reason: {text}");
        found
    })
}

/// A YAML text as an editor sees it, by the core schema of YAML 1.2.
fn value(text: &str) -> Value {
    fn of(node: &Node) -> Value {
        match &node.kind {
            Kind::Scalar { text, style } if *style == ScalarStyle::Plain => match text.as_str() {
                "" | "~" | "null" => Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                text => text
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| text.parse::<f64>().map(Value::from))
                    .unwrap_or_else(|_| text.into()),
            },
            Kind::Scalar { text, .. } => text.as_str().into(),
            Kind::List(items) => items.iter().map(of).collect(),
            Kind::Mapping(pairs) => pairs
                .iter()
                .map(|(key, value)| (key.text().expect("a text").to_owned(), of(value)))
                .collect(),
            Kind::Refused => panic!("the parser refused it"),
        }
    }
    let mut report = Report::new("x.yaml", text);
    of(&yaml::parse(text, &mut report).expect("it is YAML"))
}

thread_local! {
    static PATTERNS: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether `schema` allows `value`. Knows the keywords that the schemas use, and no others.
fn allows(schema: &Value, value: &Value) -> bool {
    let all =
        |of: &Value, with: &dyn Fn(&Value) -> bool| of.as_array().expect("a list").iter().filter(|it| with(it)).count();
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("the type {other}"),
    };
    schema.as_object().expect("a schema").iter().all(|(keyword, of)| {
        let number = || of.as_u64().expect("a number");
        match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" if of == "null" => value.is_null(),
            "type" => match of {
                Value::String(name) => is(name),
                names => all(names, &|it| is(it.as_str().expect("a name"))) > 0,
            },
            "not" => !allows(of, value),
            "const" => of == value,
            "enum" => all(of, &|it| it == value) > 0,
            "anyOf" => all(of, &|it| allows(it, value)) > 0,
            "oneOf" => all(of, &|it| allows(it, value)) == 1,
            "pattern" => value.as_str().is_none_or(|text| {
                let pattern = of.as_str().expect("a pattern");
                PATTERNS.with_borrow_mut(|known| {
                    let compiled = known.entry(pattern.to_owned());
                    compiled
                        .or_insert_with(|| Regex::new(pattern).expect(pattern))
                        .is_match(text)
                })
            }),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= number()),
            "minimum" => value
                .as_i64()
                .is_none_or(|it| it >= i64::try_from(number()).expect("small")),
            "maximum" => value
                .as_i64()
                .is_none_or(|it| it <= i64::try_from(number()).expect("small")),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|it| allows(of, it))),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= number()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= number()),
            "minProperties" => value.as_object().is_none_or(|it| it.len() as u64 >= number()),
            "maxProperties" => value.as_object().is_none_or(|it| it.len() as u64 <= number()),
            "required" => value
                .as_object()
                .is_none_or(|it| all(of, &|key| !it.contains_key(key.as_str().expect("a key"))) == 0),
            "propertyNames" => value
                .as_object()
                .is_none_or(|it| it.keys().all(|key| allows(of, &key.as_str().into()))),
            "properties" => value.as_object().is_none_or(|it| {
                it.iter()
                    .all(|(key, value)| of.get(key).is_none_or(|of| allows(of, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|it| {
                let known = &schema["properties"];
                let mut others = it.iter().filter(|(key, _)| known.get(key).is_none());
                others.all(|(_, value)| if of.is_boolean() { of == true } else { allows(of, value) })
            }),
            other => panic!("the keyword {other}"),
        }
    })
}

/// Parser and schema say the same about `changed`, as far as a schema can.
fn check(of: SchemaOf, schema: &Value, changed: &Value, how: &str) {
    // JSON is YAML.
    let text = changed.to_string();
    let found = mistakes(of, &text);
    let allowed = allows(schema, changed);
    if found.is_empty() {
        assert!(allowed, "{how}: the schema refuses what the parser takes: {text}");
    } else if found.iter().any(|it| KNOWABLE.contains(&it.code)) {
        assert!(!allowed, "{how}: the schema takes what the parser refuses: {found:?}");
    }
}

/// The pointers to everything in `value`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The numbers at the edges of every range in `schema`.
fn edges(schema: &Value, found: &mut Vec<Value>) {
    match schema {
        Value::Object(map) => {
            for (keyword, of) in map {
                if let ("minimum" | "maximum", Some(edge)) = (keyword.as_str(), of.as_i64()) {
                    found.extend([edge - 1, edge, edge + 1].map(Value::from));
                }
                edges(of, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|it| edges(it, found)),
        _ => {}
    }
}

#[test]
fn parser_and_schema_refuse_the_same() {
    for (of, whole, shape) in [
        (SchemaOf::Playbook, WHOLE_PLAYBOOK, &PLAYBOOK),
        (SchemaOf::TestFile, WHOLE_TESTS, &TEST_FILE),
        (SchemaOf::Snippets, WHOLE_SNIPPETS, &SNIPPETS),
    ] {
        assert_eq!(mistakes(of, whole), [], "{whole}");
        let schema = json_schema(of, &CheckContext::default());
        let whole = value(whole);
        check(of, &schema, &whole, "as it is");
        every_key(shape, &|name| {
            let quoted = format!("\"{name}\":");
            assert!(whole.to_string().contains(&quoted), "the whole example has no {name}");
        });

        let mut others = vec![
            json!([[]]),
            json!({}),
            json!([]),
            json!(null),
            json!("nonsense value"),
            json!(true),
        ];
        edges(&schema, &mut others);
        others.sort_by_key(Value::to_string);
        others.dedup();
        let mut places = Vec::new();
        pointers(&whole, "", &mut places);
        for place in &places[1..] {
            for other in &others {
                let mut changed = whole.clone();
                *changed.pointer_mut(place).expect("it is there") = other.clone();
                check(of, &schema, &changed, &format!("{place} as {other}"));
            }
            let (parent, last) = place.rsplit_once('/').expect("a parent");
            let mut less = whole.clone();
            match less.pointer_mut(parent).expect("it is there") {
                Value::Object(map) => drop(map.remove(&last.replace("~1", "/"))),
                Value::Array(items) => drop(items.remove(last.parse().expect("an index"))),
                _ => unreachable!("it has members"),
            }
            check(of, &schema, &less, &format!("without {place}"));
            let mut more = whole.clone();
            match more.pointer_mut(place).expect("it is there") {
                Value::Object(map) => drop(map.insert("unknown_key".to_owned(), json!("x"))),
                Value::Array(items) => items.extend(vec![items.first().cloned().unwrap_or_default(); 300]),
                _ => continue,
            }
            check(of, &schema, &more, &format!("more in {place}"));
        }
    }
}

/// Wherever a block can stand by the parser, it can by the schema, and so can what is changed around it.
#[test]
fn blocks_stand_where_the_parser_takes_them() {
    let schema = json_schema(SchemaOf::Playbook, &CheckContext::default());
    let with_parameters = value(WHOLE_PLAYBOOK);
    assert_eq!(mistakes(SchemaOf::Playbook, WHOLE_WITH_SNIPPETS), []);
    for whole in [value(WHOLE_WITH_SNIPPETS), with_parameters] {
        assert!(allows(&schema, &whole), "{whole}");
        let mut places = Vec::new();
        pointers(&whole, "", &mut places);
        let blocks = value(WHOLE_SNIPPETS)["blocks"].as_object().expect("blocks").clone();
        let mut taken = 0;
        for place in &places[1..] {
            let names = blocks.keys().map(|name| json!({ "use": name }));
            let others = [
                json!({}),
                json!([]),
                json!("x"),
                json!({ "use": null }),
                json!({ "use": "Ä" }),
            ];
            for other in names.chain(others) {
                let mut changed = whole.clone();
                *changed.pointer_mut(place).expect("it is there") = other.clone();
                if place.ends_with("/use") {
                    continue;
                }
                if mistakes(SchemaOf::Playbook, &changed.to_string()).is_empty() {
                    assert!(allows(&schema, &changed), "{place} as {other}");
                    taken += 1;
                }
                // Parameters have names of their own, `use` among them.
                if place.starts_with("/parameters") {
                    continue;
                }
                let unknown = json!({ "use": "Ä", "nonsense": 1 });
                *changed.pointer_mut(place).expect("it is there") = unknown;
                assert!(!allows(&schema, &changed), "{place}");
            }
        }
        assert!(taken > 30, "{taken}");
    }
    let tests = json_schema(SchemaOf::TestFile, &CheckContext::default());
    let text = WHOLE_TESTS.replace("mode: approve", "mode: { use: modes }");
    assert!(!allows(&tests, &value(&text)), "a test has no snippets");
}

fn every_key(shape: &Shape, each: &dyn Fn(&str)) {
    fn within(form: &Form, each: &dyn Fn(&str)) {
        match form {
            Form::List(of, ..) => within(of, each),
            Form::Mapping(shape) | Form::Named(_, shape) => every_key(shape, each),
            Form::Pairs(_, value) => within(value, each),
            Form::Either(forms) => forms.iter().for_each(|it| within(it, each)),
            _ => {}
        }
    }
    for key in shape.keys {
        each(key.name);
        within(&key.form, each);
    }
}

#[test]
fn what_comes_with_staunch_is_allowed() {
    let playbook = json_schema(SchemaOf::Playbook, &CheckContext::default());
    let tests = json_schema(SchemaOf::TestFile, &CheckContext::default());
    for (schema, files) in [(&playbook, BUILT_IN), (&tests, BUILT_IN_TESTS)] {
        for (name, text) in files {
            assert!(allows(schema, &value(text)), "{name}");
        }
    }
}

/// Where the parser takes the name of a parameter, the schema does.
#[test]
fn names_of_parameters_stand_where_the_parser_takes_them() {
    let schema = json_schema(SchemaOf::Playbook, &CheckContext::default());
    let whole = value(WHOLE_PLAYBOOK);
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    let mut taken = 0;
    for place in &places[1..] {
        let was = whole.pointer(place).expect("it is there");
        if was.is_object() || was.is_array() || place.starts_with("/parameters") {
            continue;
        }
        let mut changed = whole.clone();
        changed["parameters"]["here"] = was.clone();
        *changed.pointer_mut(place).expect("it is there") = json!("${here}");
        let found = mistakes(SchemaOf::Playbook, &changed.to_string());
        if found.is_empty() {
            assert!(allows(&schema, &changed), "{place}");
            taken += 1;
        } else {
            assert_eq!(found[0].code, "P082", "{place}: {found:?}");
        }
    }
    assert!(taken > 20, "{taken}");
    let tests = json_schema(SchemaOf::TestFile, &CheckContext::default());
    let text = WHOLE_TESTS.replace("mode: approve", "mode: ${mode}");
    assert!(!allows(&tests, &value(&text)), "a test has no parameters");
}

/// Systems that are configured are known to the schema too.
#[test]
fn configured_systems_are_known() {
    let text = WHOLE_PLAYBOOK.replace("[suricata]", "[my-waf]");
    let mut context = CheckContext::default();
    assert!(!allows(&json_schema(SchemaOf::Playbook, &context), &value(&text)));
    context.systems.push("my-waf".to_owned());
    assert!(allows(&json_schema(SchemaOf::Playbook, &context), &value(&text)));
}

#[test]
fn every_key_is_described() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (shape, page) in [
        (&PLAYBOOK, "docs/reference/playbooks.md"),
        (&TEST_FILE, "docs/guide/playbook-tests.md"),
        (&SNIPPETS, "docs/reference/playbooks.md"),
    ] {
        let text = std::fs::read_to_string(root.join(page)).expect("the page");
        every_key(shape, &|name| {
            let told = ["`", ".", "{ ", ", ", "- "].iter().any(|before| {
                ["`", ":", ".", "["]
                    .iter()
                    .any(|after| text.contains(&format!("{before}{name}{after}")))
            });
            assert!(told, "{page} does not tell of {name}");
        });
    }
}
