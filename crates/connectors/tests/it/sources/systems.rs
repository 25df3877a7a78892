//! Every event of the systems that are read by paths: what became of it, as a table for each file.

use std::fmt::Write as _;
use std::path::Path;

use staunch_connectors::sources::{Decoded, Generic, GenericSettings, Source, SourceSettings, body, built_in};
use staunch_model::{Printable, RawFields as _};

use super::recorded::row;

/// What became of each event of `body`, a line each.
pub(super) fn table(source: &dyn Source, body: &[u8]) -> String {
    let mut table = String::new();
    body::each(source, body, &mut |index, offset, document| {
        let number = index + 1;
        let _ = match document {
            Err(error) => writeln!(table, "{number:>3} not read at byte {}: {}", error.offset, error.what),
            Ok(document) => match source.decode(document) {
                Decoded::Event(view) => {
                    assert_eq!(view.system, source.name());
                    row(&mut table, number, &view, source.explain(document));
                    Ok(())
                }
                Decoded::Ignored(reason) => writeln!(table, "{number:>3} ignored: {reason}"),
                Decoded::Malformed { what, .. } => {
                    writeln!(table, "{number:>3} malformed at byte {offset}: {}", Printable(what))
                }
            },
        };
    });
    table
}

/// The files of the folder `system`, by name.
pub(super) fn files(system: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(system);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("readable").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl" || extension == "json")
        {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("readable")));
        }
    }
    files.sort();
    files
}

pub(super) fn system(name: &str) -> std::sync::Arc<dyn Source> {
    let mut all = built_in(&SourceSettings::default()).into_iter();
    all.find(|source| source.name() == name).expect("a built-in source")
}

/// Checks every file of `name`, of which there are `count`.
fn check(name: &str, count: usize) {
    check_with(name, &*system(name), count);
}

/// The same, read by `source`.
fn check_with(name: &str, source: &dyn Source, count: usize) {
    let files = files(name);
    assert_eq!(files.len(), count, "{name}");
    for (file, body) in files {
        let table = table(source, &body);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}-{file}"), table);
        });
    }
}

#[test]
fn guardduty() {
    check("guardduty", 3);
}

#[test]
fn cloudtrail() {
    check("cloudtrail", 14);
}

#[test]
fn alertmanager() {
    check("alertmanager", 5);
}

#[test]
fn kubernetes_audit() {
    check("kubernetes-audit", 3);
}

#[test]
fn crowdsec() {
    check("crowdsec", 5);
}

#[test]
fn ocsf() {
    check("ocsf", 4);
}

#[test]
fn wazuh() {
    check("wazuh", 1);
}

#[test]
fn okta() {
    check("okta", 2);
}

#[test]
fn cloudevents() {
    check("cloudevents", 2);
}

/// The source that the mapping in the folder `name` describes, which is the one that the guide shows.
fn mapped(name: &str) -> Generic {
    #[derive(serde::Deserialize)]
    struct Mapping {
        sources: Sources,
    }
    #[derive(serde::Deserialize)]
    struct Sources {
        generic: [GenericSettings; 1],
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/data").join(name).join("mapping.toml")).expect("it is there");
    let guide = std::fs::read_to_string(root.join("../../docs/guide/sources.md")).expect("it is there");
    assert!(
        guide.contains(&format!("```toml\n{text}```\n")),
        "the guide does not show the mapping of {name}"
    );
    let mapping: Mapping = toml::from_str(&text).expect("a mapping");
    Generic::new(&mapping.sources.generic[0]).expect("it is valid")
}

#[test]
fn gcp_audit_by_the_mapping_of_the_guide() {
    check_with("gcp-audit", &mapped("gcp-audit"), 1);
}

#[test]
fn asff_by_the_mapping_of_the_guide() {
    check_with("asff", &mapped("asff"), 2);
}

#[test]
fn cloudevents_in_headers_become_structured_ones() {
    let row = |headers: &[(&str, &str)], body: &str| {
        let whole = system("cloudevents").with_headers(&mut headers.iter().copied(), body.as_bytes());
        whole.map(|whole| {
            let text = String::from_utf8(whole).expect("UTF-8");
            (table(&*system("cloudevents"), text.as_bytes()), text)
        })
    };
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a%20b%C3%A9%"),
        ("ce-source", "/s\"},{"),
        ("ce-type", "t"),
        ("ce-severity", "high"),
        ("ce-UPPER", "x"),
        ("ce-data", "x"),
        ("host", "staunch.example"),
        ("content-type", "application/json"),
    ];
    let (table, text) = row(&attributes, r#"{"source_ip":"203.0.113.92"}"#).expect("it is binary");
    let expect = "{\"specversion\":\"1.0\",\"id\":\"a bé%\",\"source\":\"/s\\\"},{\",\"type\":\"t\",\"severity\":\"high\",\
                  \"datacontenttype\":\"application/json\",\"data\":{\"source_ip\":\"203.0.113.92\"}}";
    assert_eq!(text, expect);
    assert!(
        table.contains("alert high | t | category /s") && table.contains("| 203.0.113.92 -> -"),
        "{table}"
    );

    let (_, text) = row(&attributes, r#"{}},"sourceip":"203.0.113.93""#).expect("it is binary");
    assert!(
        text.ends_with(r#""data":"{}},\"sourceip\":\"203.0.113.93\""}"#),
        "no JSON object is a text: {text}"
    );
    let (_, text) = row(&attributes, "").expect("it is binary");
    assert!(!text.contains("data\""), "{text}");
    let twice = [&attributes[..], &[("ce-id", "c")]].concat();
    assert!(
        row(&twice, "{}")
            .expect("it is binary")
            .0
            .contains("the key \"id\" occurs twice")
    );

    assert_eq!(row(&[("content-type", "application/json")], "{}"), None);
    let batch = ("content-type", "Application/CloudEvents-batch+json; charset=UTF-8");
    assert_eq!(row(&[attributes[0], batch], "[]"), None);
    let others = [("ce-specversion", "1.0")];
    assert_eq!(system("okta").with_headers(&mut others.into_iter(), b"{}"), None);
}

/// An event with `members` whose data are `body` in base64.
fn packed(members: &str, body: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::prelude::BASE64_STANDARD.encode(body);
    format!(r#"{{"specversion":"1.0","id":"p","source":"/s","type":"t",{members}"data_base64":"{body}"}}"#)
}

const JSON: &str = r#""datacontenttype":"application/json","#;

#[test]
fn cloudevents_in_base64_are_read_like_others() {
    let data = r#"{"severity":"high","source_ip":"203.0.113.94","user":"dana"}"#;
    for media in [
        JSON,
        r#""datacontenttype":"Application/Problem+JSON ; charset=utf-8","#,
        r#""datacontenttype":"application/octet-stream","#,
        "",
    ] {
        let event = packed(media, data.as_bytes());
        let plain = event.replace(&event[event.find("\"data_base64").expect("it is there")..], "");
        let plain = format!("{plain}\"data\":{data}}}");
        // What is kept is the event as it reads by itself, and a neighbour in a batch is not touched.
        let batch = format!("[{event}, {plain}]");
        assert_eq!(
            raw("cloudevents", &batch),
            [(0, plain.clone()), (1, plain.clone())],
            "{media}"
        );
        assert_eq!(raw("cloudevents", &plain), [(0, plain.clone())]);
        let table = table(&*system("cloudevents"), event.as_bytes());
        assert!(
            table.contains("alert high | t") && table.contains("| 203.0.113.94 -> -"),
            "{table}"
        );
    }
    let said = |members: &str, body: &[u8]| raw("cloudevents", &packed(members, body)).remove(0).1;
    assert!(
        said(r#""datacontenttype":"text/plain","#, b"a \"b\"\n\xff")
            .ends_with("\"data\":\"a \\\"b\\\"\\u000a\u{fffd}\"}")
    );
    assert!(said("", b"").ends_with(r#""data":""}"#));
    assert!(
        said(JSON, b" [1]").ends_with(r#""data":" [1]"}"#),
        "no object is a text"
    );
}

#[test]
fn cloudevents_that_are_packed_wrongly_are_malformed() {
    let check = |event: &str, expect: &str| {
        let good = packed(JSON, br#"{"a":1}"#);
        let read = raw("cloudevents", &format!("[{event},{good}]"));
        assert_eq!(read[0].1, format!("1: {expect}"), "{event}");
        assert!(read[1].1.ends_with(r#""data":{"a":1}}"#), "its neighbour is read");
    };
    let no_base64 = "`data_base64` is not base64";
    for text in [
        r#""e30""#,
        r#""e3 0=""#,
        r#""e30=e30=""#,
        r#""_-8=""#,
        "1",
        "{}",
        "null",
        r#"["e30="]"#,
    ] {
        let event = packed(JSON, b"{}").replace(r#""e30=""#, text);
        check(&event, no_base64);
    }
    check(
        &packed(JSON, b"{}").replace("data_base64", "data_base6\\u0034"),
        no_base64,
    );
    let no_json = "`data_base64` holds no JSON that can be read";
    for body in [&b"{\"a\":1"[..], b"{\"a\":1,\"a\":2}", b"\xff", b""] {
        check(&packed(JSON, body), no_json);
    }
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    check(&packed(JSON, deep.as_bytes()), no_json);
    check(
        &packed(r#""data":{},"#, b"{}"),
        "both `data` and `data_base64` are there",
    );
    // Bytes that are no UTF-8 take three times their room as a text.
    check(
        &packed("", &[0xff; 400_000]),
        "the event with what `data_base64` holds is larger than one may be",
    );
}

/// The position of each event of `body` by the source `name`, and its bytes.
fn raw(name: &str, body: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    body::each(&*system(name), body.as_bytes(), &mut |index, offset, document| {
        let bytes = document.map(|document| String::from_utf8_lossy(document.bytes()).into_owned());
        found.push((index, bytes.unwrap_or_else(|error| format!("{offset}: {}", error.what))));
    });
    found
}

#[test]
fn what_is_kept_of_a_wrapped_event_reads_the_same_by_itself() {
    for name in ["guardduty", "cloudtrail", "alertmanager", "kubernetes-audit", "okta"] {
        let (_, body) = files(name)
            .into_iter()
            .find(|(file, _)| file == "constructed")
            .expect("it is there");
        let text = String::from_utf8(body).expect("UTF-8");
        for (index, bytes) in raw(name, &text) {
            if bytes.starts_with('{') {
                assert_eq!(raw(name, &bytes), [(0, bytes.clone())], "{name} {index}");
            }
        }
    }
}

#[test]
fn events_are_taken_out_of_what_they_are_wrapped_in() {
    let row = |index: usize, bytes: &str| (index, bytes.to_owned());
    assert_eq!(
        raw("cloudtrail", "{\"Records\":[{\"a\":1},{\"a\":}, {\"a\":3}]}\n{\"b\":1}"),
        [
            row(0, r#"{"a":1}"#),
            row(1, "20: a character that JSON does not allow here"),
            row(2, r#"{"a":3}"#),
            row(3, r#"{"b":1}"#)
        ]
    );
    let list = r#"[{"detail":{"a":1}},{"detail":null},{"x":{"detail":{}}}]"#;
    let expect = [
        row(0, r#"{"a":1}"#),
        row(1, r#"{"detail":null}"#),
        row(2, r#"{"x":{"detail":{}}}"#),
    ];
    assert_eq!(raw("guardduty", list), expect);
    let spoilt = r#"{"Records":[{"a":1}],"z":nul}"#;
    assert_eq!(
        raw("cloudtrail", spoilt),
        [row(0, "0: a character that JSON does not allow here")]
    );
    let twice = r#"{"Records":[{"a":1}],"Records":[{"a":2}]}"#;
    assert_eq!(
        raw("cloudtrail", twice),
        [row(0, "0: the key \"Records\" occurs twice in one object")]
    );
    assert_eq!(raw("alertmanager", r#"{"alerts":[]}"#), []);
    let again = r#"{"Records":[{"Records":[{"a":1}]},{"a":2}]}"#;
    let refused = "12: an event that was wrapped holds events itself";
    assert_eq!(raw("cloudtrail", again), [row(0, refused), row(1, r#"{"a":2}"#)]);
    let text = r#"{"properties":{"log":"{\"items\":[]}"}}"#;
    assert_eq!(raw("kubernetes-audit", text), [row(0, &refused.replace("12", "0"))]);
}

/// A file of CloudTrail and a batch of audit events are larger than one event may be.
#[test]
fn a_body_of_wrapped_events_may_be_larger_than_an_event_but_not_endless() {
    let record = format!("{{\"eventName\":\"{}\"}}", "x".repeat(1_000));
    let body = format!("{{\"Records\":[{}]}}", vec![record; 2_000].join(","));
    assert!(body.len() > staunch_connectors::json::EVENT_BYTES_MAX);
    let found = raw("cloudtrail", &body);
    assert!(found.len() == 2_000 && found.iter().all(|(_, bytes)| bytes.starts_with('{')));
    let lines = format!("{{\"Records\":[{}]}}\n", vec!["{}"; 6_000].join(",")).repeat(2);
    let found = raw("cloudtrail", &lines);
    assert_eq!(found.len(), 10_001);
    assert!(
        found[10_000]
            .1
            .contains("there are more events in the body than are taken at once")
    );
}
