//! What rules match, and what is refused.

use serde_json::json;

use super::*;

/// A rule with this detection.
fn rule(detection: &str) -> Result<Rule, Refused> {
    Rule::read(&format!(
        "title: x\nlogsource: {{ product: suricata }}\ndetection:\n{detection}"
    ))
}

/// A rule of one field.
fn field(field: &str) -> Rule {
    rule(&format!("    selection:\n        {field}\n    condition: selection\n"))
        .unwrap_or_else(|refused| panic!("{field}: {refused}"))
}

#[test]
fn fields_match_as_sigma_says() {
    let event = json!({
        "alert": { "signature": "ET SCAN a*b\\c", "gid": 1, "empty": "", "null": null },
        "src_ip": "203.0.113.7", "tags": ["One", "Two"], "output_fields": { "proc.pid": 17 }, "flag": true,
        "maps": [{ "a": 1 }],
    });
    for (text, matches) in [
        (r#""alert.signature": "et scan a\\*b\\\\c""#, true),
        (r#""alert.signature": "et scan aXb\\\\c""#, false),
        (r#""alert.signature": "et*""#, true),
        (r#""alert.signature": "*s?an*""#, true),
        (r#""alert.signature": "scan""#, false),
        (r#""alert.signature|contains": "SCAN""#, true),
        (r#""alert.signature|contains|cased": "scan""#, false),
        (r#""alert.signature|contains|all": [et, scan]"#, true),
        (r#""alert.signature|contains|all": [et, nothing]"#, false),
        (r#""alert.signature|startswith": ["x", "et "]"#, true),
        (r#""alert.signature|endswith": "et""#, false),
        (r#""alert.signature|re": "^ET S.*c$""#, true),
        (r#""alert.signature|re": "^et""#, false),
        (r#""alert.signature|re|i": "^et""#, true),
        (r#""alert.gid": 1"#, true),
        (r#""alert.gid|gte": 1"#, true),
        (r#""alert.gid|gt": 1"#, false),
        (r#""alert.nothing": "x""#, false),
        (r#""alert.nothing": null"#, true),
        (r#""alert.null": null"#, true),
        (r#""alert.empty": null"#, false),
        (r#""alert.empty": """#, true),
        (r#""alert.gid|exists": true"#, true),
        (r#""alert.nothing|exists": true"#, false),
        // What is a mapping, a list of mappings or null is there.
        (r#""alert|exists": true"#, true),
        (r#""alert|exists": false"#, false),
        ("alert: null", false),
        (r#""maps|exists": true"#, true),
        ("maps: null", false),
        (r#""alert.null|exists": true"#, true),
        (r#""alert.null|exists": false"#, false),
        (r#""alert.empty|exists": true"#, true),
        (r#""alert.gid|exists": false"#, false),
        (r#""alert.gid|exists": no"#, false),
        (r#""alert.nothing|exists": false"#, true),
        (r#""nothing.at.all|exists": false"#, true),
        (r#""maps|exists": false"#, false),
        (r#""src_ip|cidr": 203.0.113.0/24"#, true),
        (r#""src_ip|cidr": [10.0.0.0/8, "2001:db8::/32"]"#, false),
        ("tags: two", true),
        ("tags: three", false),
        ("output_fields.proc.pid: 17", true),
        ("flag: true", true),
        // A mapping is no value.
        ("alert: x", false),
    ] {
        assert_eq!(field(text).matches(&event), matches, "{text}");
    }
}

#[test]
fn conditions_are_read_with_their_precedence() {
    let event = json!({ "a": 1, "b": 2 });
    for (condition, matches) in [
        ("yes", true),
        ("no", false),
        ("not no", true),
        ("no and no or yes", true),
        ("yes or yes and no", true),
        ("(yes or yes) and no", false),
        ("not (yes and no)", true),
        ("not yes or yes", true),
        ("1 of y*", true),
        ("all of them", false),
        ("any of them", true),
        ("all of y* and not 1 of n*", true),
        ("NOT no AND yes", true),
    ] {
        let rule = rule(&format!(
            "    yes: {{ a: 1 }}\n    yes2: {{ b: 2 }}\n    no: {{ a: 2 }}\n    condition: {condition}\n"
        ));
        assert_eq!(rule.expect(condition).matches(&event), matches, "{condition}");
    }
}

#[test]
fn lists_of_searches_and_words_are_read() {
    let event = json!({ "a": { "b": "some Words" }, "c": 5 });
    for (search, matches) in [
        ("[{ c: 4 }, { c: 5 }]", true),
        ("[{ c: 4 }, { c: 6 }]", false),
        ("[words, nothing]", true),
        ("words", true),
        ("{ '|all': [some, words] }", true),
        ("{ '|all': [some, more] }", false),
    ] {
        let rule = rule(&format!("    s: {search}\n    condition: s\n"));
        assert_eq!(rule.expect(search).matches(&event), matches, "{search}");
    }
}

#[test]
fn what_is_not_evaluated_is_refused_by_name() {
    let deep = format!(
        "    s: {{ a: 1 }}\n    condition: {}s{}\n",
        "(".repeat(200),
        ")".repeat(200)
    );
    for (detection, name) in [
        ("    condition: s\n", "no-detection"),
        ("    s: { a: 1 }\n", "no-condition"),
        ("    s: { a: 1 }\n    condition: [s, s]\n", "several-conditions"),
        ("    s: { a: 1 }\n    timeframe: 5m\n    condition: s\n", "timeframe"),
        ("    s: { a: 1 }\n    condition: s | count() > 5\n", "aggregation"),
        ("    s: { a: 1 }\n    condition: s and\n", "condition"),
        ("    s: { a: 1 }\n    condition: 2 of s\n", "condition"),
        ("    s: { a: 1 }\n    condition: s and (s\n", "condition"),
        ("    s: { a: 1 }\n    condition: s t\n", "condition"),
        ("    s: { a: 1 }\n    condition: t\n", "unknown-search"),
        ("    s: { a: 1 }\n    condition: 1 of t*\n", "unknown-search"),
        ("    s: { a|base64offset: x }\n    condition: s\n", "modifier"),
        ("    s: { a|contains|endswith: x }\n    condition: s\n", "modifier"),
        ("    s: { a: { b: 1 } }\n    condition: s\n", "value"),
        ("    s: { a: [] }\n    condition: s\n", "value"),
        ("    s: {}\n    condition: s\n", "value"),
        ("    s: { a|gt: x }\n    condition: s\n", "value"),
        ("    s: { a|re: '(?=x)' }\n    condition: s\n", "regex"),
        ("    s: { a|cidr: x }\n    condition: s\n", "network"),
        ("    s: &x { a: 1 }\n    condition: s\n", "not-yaml"),
        (&deep, "too-large"),
    ] {
        let refused = rule(detection).expect_err(detection);
        assert_eq!(refused.name(), name, "{detection}: {refused}");
    }
    let refused = Rule::read("title: x\ncorrelation:\n  type: event_count\n").expect_err("it correlates");
    assert_eq!(refused.name(), "correlation");
}

#[test]
fn long_patterns_end() {
    let event = json!({ "a": "a".repeat(2_000) });
    assert!(!field(&format!("a: \"{}b\"", "*a".repeat(200))).matches(&event));
}
