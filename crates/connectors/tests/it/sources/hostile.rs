//! Events made to hurt: each is refused with a position, or decoded to what it says and nothing more.

use staunch_connectors::json::{Document, EVENT_BYTES_MAX};
use staunch_connectors::sources::{Decoded, Falco, GuardDuty, Source, Suricata, SuricataSettings};
use staunch_model::{EventKind, FieldValue, Printable, RawFields, Severity};

use super::with_event;

/// Checks that `bytes` are refused at `offset` with a message that holds `what`.
fn refused(bytes: &[u8], offset: usize, what: &str) {
    let error = Document::parse(bytes).expect_err("it must be refused");
    let shown: String = String::from_utf8_lossy(bytes).chars().take(80).collect();
    assert!(
        error.what.contains(what) && error.offset == offset,
        "{error} (expected {what} at {offset}): {shown}"
    );
}

#[test]
fn nesting_is_refused_before_it_reaches_the_parser() {
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let levels_in_one = open.matches(['[', '{']).count();
        let body = format!("{{\"a\":{}", open.repeat(10_000));
        let beyond = 64 / levels_in_one;
        let offset = 5 + if levels_in_one == 2 {
            (beyond - 1) * open.len() + 1
        } else {
            (beyond - 1) * open.len()
        };
        refused(body.as_bytes(), offset, "nested more than 64 levels");
    }
    let megabyte = "[".repeat(EVENT_BYTES_MAX);
    refused(megabyte.as_bytes(), 64, "nested");
    let exact = format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63));
    assert!(Document::parse(exact.as_bytes()).is_ok());
    let harmless = format!("{{\"a\":\"{}\"}}", "[{".repeat(10_000));
    assert!(Document::parse(harmless.as_bytes()).is_ok());
}

#[test]
fn bytes_that_are_not_json_are_refused_where_they_stop_being_it() {
    refused(b"", 0, "ends before");
    refused(b" \n ", 3, "ends before");
    refused(b"{\"a\":\"xyz", 9, "ends before");
    refused(b"{\"a\":", 5, "ends before");
    refused(b"{\"a\"", 4, "ends before");
    refused(b"{\"a\":tr", 7, "ends before");
    refused(b"{\"a\":1", 6, "ends before");
    refused(b"{\"a\":\"\xff\"}", 6, "not UTF-8");
    refused(b"{\"\xc0\xaf\":1}", 2, "UTF-8");
    refused(b"{\"a\":1}\xff", 7, "UTF-8");
    refused(b"{\"a\":\"\xed\xa0\x80\"}", 6, "not UTF-8");
    refused(b"{\"a\":\"x\0y\"}", 7, "control character");
    refused(b"{\0\"a\":1}", 1, "does not allow");
    refused(b"{\"a\":1}\0", 7, "text after");
    refused(b"{\"a\":1}  \0\0", 9, "text after");
    refused(b"{\"a\":1} x", 8, "text after");
    refused(b"{\"a\":1}{}", 7, "text after");
    refused(b"{\"a\":\"\\ud800\"}", 5, "escape");
    refused(b"{\"a\":1e400}", 9, "too large");
    refused(b"{\"a\":-1e400}", 10, "too large");
    refused(b"{\"a\":NaN}", 5, "does not allow");
    refused(b"{\"a\":01}", 6, "does not allow");
    refused(b"\xef\xbb\xbf{}", 0, "does not allow");
    refused(b"null", 0, "must be a JSON object");
    refused(b"  17", 2, "must be a JSON object");
    refused(b"\"text\"", 0, "must be a JSON object");
    refused(b"[{}]", 0, "must be a JSON object");
}

#[test]
fn repeated_keys_are_refused_at_any_depth_and_in_any_spelling() {
    refused(
        br#"{"event_type":"flow","event_type":"alert"}"#,
        21,
        "\"event_type\" occurs twice",
    );
    refused(br#"{"a":[{"b":{"c":1,"\u0063":2}}]}"#, 18, "\"c\" occurs twice");
    refused(b"{\"\\u001b\":1,\"\\u001b\":1}", 12, "\"\\u{1b}\" occurs twice");
    assert!(Document::parse(br#"{"a":{"b":1},"b":{"b":1},"c":"\"a\":"}"#).is_ok());
}

#[test]
fn an_event_may_have_exactly_the_limit_of_bytes() {
    let of_size = |size: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(size - 8));
    assert!(Document::parse(of_size(EVENT_BYTES_MAX).as_bytes()).is_ok());
    refused(
        of_size(EVENT_BYTES_MAX + 1).as_bytes(),
        EVENT_BYTES_MAX,
        "the event has 1048577 bytes, the limit is 1048576",
    );
    assert!(Document::parse_within(b"{\"a\":1}", 6).is_err());
}

#[test]
fn numbers_keep_their_value_or_become_floats() {
    let text = br#"{"n":[9223372036854775807,-9223372036854775808,18446744073709551615,18446744073709551616,1.5,1e308,-0,1e-999]}"#;
    let document = Document::parse(text).expect("well-formed");
    let rows = [
        FieldValue::Int(i64::MAX),
        FieldValue::Int(i64::MIN),
        FieldValue::UInt(u64::MAX),
        FieldValue::Float(18_446_744_073_709_551_616.0),
        FieldValue::Float(1.5),
        FieldValue::Float(1e308),
        FieldValue::Float(-0.0),
        FieldValue::Float(0.0),
    ];
    for (index, expect) in rows.into_iter().enumerate() {
        let path = [Box::from("n"), index.to_string().into()];
        assert_eq!(document.field(&path), Some(expect), "{index}");
    }
}

#[test]
fn fields_are_found_by_keys_and_indexes() {
    let document = Document::parse(br#"{"a":{"b.c":[null,{"d":true}],"0":"key"},"e":{}}"#).expect("well-formed");
    let field = |path: &[&str]| document.field(&path.iter().map(|key| Box::from(*key)).collect::<Vec<_>>());
    assert_eq!(field(&["a", "b.c"]), Some(FieldValue::List(2)));
    assert_eq!(field(&["a", "b.c", "0"]), Some(FieldValue::Null));
    assert_eq!(field(&["a", "b.c", "1", "d"]), Some(FieldValue::Bool(true)));
    assert_eq!(field(&["a", "0"]), Some(FieldValue::Text("key")));
    assert_eq!(field(&["e"]), Some(FieldValue::Object));
    assert_eq!(field(&[]), Some(FieldValue::Object));
    for absent in [
        &["x"][..],
        &["a", "b.c", "2"],
        &["a", "b.c", "-1"],
        &["a", "b.c", "x"],
        &["a", "0", "y"],
        &["e", ""],
    ] {
        assert_eq!(field(absent), None, "{absent:?}");
    }
    assert_eq!(document.bytes().len(), 48);
}

#[test]
fn text_stays_as_sent_and_is_escaped_when_shown() {
    let text = r#"{"event_type":"alert","alert":{"signature":"\u001b]0;owned\u0007\u202ered","severity":1}}"#;
    with_event(&Suricata::new(&SuricataSettings::default()), text, |view| {
        assert_eq!(view.signature, "\u{1b}]0;owned\u{7}\u{202e}red");
        assert_eq!(
            Printable(view.signature).to_string(),
            "\\u{1b}]0;owned\\u{7}\\u{202e}red"
        );
    });
}

#[test]
fn suricata_records_of_the_wrong_shape() {
    let suricata = Suricata::new(&SuricataSettings::default());
    for text in [
        "{}",
        r#"{"event_type":1}"#,
        r#"{"event_type":"alert"}"#,
        r#"{"event_type":"alert","alert":[]}"#,
    ] {
        let document = Document::parse(text.as_bytes()).expect("well-formed");
        assert!(
            matches!(suricata.decode(&document), Decoded::Malformed { .. }),
            "{text}"
        );
        let _ = suricata.explain(&document);
    }
    let rows = [
        (r#"{}"#, Severity::Unknown),
        (r#"{"severity":0}"#, Severity::Unknown),
        (r#"{"severity":-1}"#, Severity::Unknown),
        (r#"{"severity":"1"}"#, Severity::Unknown),
        (r#"{"severity":1.5}"#, Severity::Unknown),
        (r#"{"severity":99999999999999999999}"#, Severity::Unknown),
        (r#"{"severity":1}"#, Severity::High),
        (r#"{"severity":2}"#, Severity::Medium),
        (r#"{"severity":3}"#, Severity::Low),
        (r#"{"severity":4}"#, Severity::Info),
        (r#"{"severity":255}"#, Severity::Info),
        (
            r#"{"severity":1,"metadata":{"signature_severity":["Informational"]}}"#,
            Severity::High,
        ),
        (
            r#"{"severity":3,"metadata":{"signature_severity":["Major","Critical"]}}"#,
            Severity::Critical,
        ),
        (
            r#"{"severity":3,"metadata":{"signature_severity":"Major"}}"#,
            Severity::High,
        ),
        (
            r#"{"severity":3,"metadata":{"signature_severity":[1,null]}}"#,
            Severity::Low,
        ),
        (r#"{"severity":3,"metadata":[]}"#, Severity::Low),
        (
            r#"{"signature":null,"category":7,"source":1,"target":[]}"#,
            Severity::Unknown,
        ),
    ];
    for (alert, expect) in rows {
        with_event(
            &suricata,
            &format!(r#"{{"event_type":"alert","alert":{alert}}}"#),
            |view| {
                assert_eq!(
                    (view.kind, view.severity, view.signature),
                    (EventKind::Alert, expect, ""),
                    "{alert}"
                );
            },
        );
    }
    for (event_type, kind) in [
        ("stats", EventKind::Health),
        ("flow", EventKind::Telemetry),
        ("", EventKind::Telemetry),
    ] {
        let text = format!(
            r#"{{"event_type":"{event_type}","src_ip":"192.0.2.1","host":"sensor-1","alert":{{"severity":1}}}}"#
        );
        with_event(&suricata, &text, |view| {
            assert_eq!(
                (view.kind, view.severity, view.source.ip, view.host),
                (kind, Severity::Unknown, None, Some("sensor-1"))
            );
        });
    }
}

#[test]
fn falco_alerts_of_the_wrong_shape() {
    for text in ["{}", r#"{"rule":null}"#, r#"{"rule":["x"]}"#] {
        let document = Document::parse(text.as_bytes()).expect("well-formed");
        assert!(matches!(Falco.decode(&document), Decoded::Malformed { .. }), "{text}");
        let _ = Falco.explain(&document);
    }
    for fields in [
        "null",
        "[]",
        "7",
        r#"{"user.name":null,"fd.rip":null}"#,
        r#"{"user.name":"<NA>","fd.rip":"<NA>"}"#,
    ] {
        let text = format!(r#"{{"rule":"r","priority":"error","time":"x","hostname":"","output_fields":{fields}}}"#);
        with_event(&Falco, &text, |view| {
            assert_eq!(
                (view.severity, view.user, view.host, view.source.ip, view.time),
                (Severity::High, None, None, None, None)
            );
        });
    }
    let priorities = [
        ("Emergency", Severity::Critical),
        ("Alert", Severity::Critical),
        ("CRITICAL", Severity::Critical),
        ("Error", Severity::High),
        ("Warning", Severity::Medium),
        ("Notice", Severity::Low),
        ("Informational", Severity::Info),
        ("Debug", Severity::Info),
        ("Fatal", Severity::Unknown),
        ("", Severity::Unknown),
    ];
    for (priority, expect) in priorities {
        with_event(&Falco, &format!(r#"{{"rule":"r","priority":"{priority}"}}"#), |view| {
            assert_eq!(view.severity, expect, "{priority}");
        });
    }
}

#[test]
fn falco_addresses_come_from_fields_that_name_the_remote_side() {
    let rows = [
        (
            r#"{"fd.rip":"203.0.113.7","fd.rport":4444,"fd.cip":"10.0.0.1"}"#,
            Some("203.0.113.7"),
        ),
        (
            r#"{"fd.rip":"::ffff:203.0.113.7","fd.rport":"4444"}"#,
            Some("203.0.113.7"),
        ),
        (
            r#"{"fd.cip":"203.0.113.7","fd.cport":4444,"fd.is_server":true}"#,
            Some("203.0.113.7"),
        ),
        (
            r#"{"fd.cip":"203.0.113.7","fd.cport":4444,"evt.type":"accept4"}"#,
            Some("203.0.113.7"),
        ),
        (r#"{"fd.cip":"203.0.113.7","fd.is_server":false}"#, None),
        (r#"{"fd.cip":"203.0.113.7","evt.type":"connect"}"#, None),
        (r#"{"fd.sip":"203.0.113.7"}"#, None),
        (r#"{"fd.name":"10.0.0.1:5->203.0.113.7:80"}"#, None),
        (r#"{"fd.rip":"203.0.113.0/24"}"#, None),
        (r#"{"fd.rip":"fe80::1%eth0"}"#, None),
        (r#"{"fd.rip":["203.0.113.7"]}"#, None),
        (r#"{"ka.sourceips":"203.0.113.7"}"#, None),
    ];
    for (fields, expect) in rows {
        with_event(&Falco, &format!(r#"{{"rule":"r","output_fields":{fields}}}"#), |view| {
            assert_eq!(view.source.ip.map(|ip| ip.to_string()).as_deref(), expect, "{fields}");
            assert_eq!(view.source.port, expect.map(|_| 4444), "{fields}");
        });
    }
}

#[test]
fn falco_tells_samples_and_health_from_alerts() {
    let rows = [
        ("Falco internal: syscall event drop", "", EventKind::Health),
        ("Test rule", "This is a test from falcosidekick", EventKind::Sample),
        ("Test rule", "something real", EventKind::Alert),
        ("Another rule", "This is a test from falcosidekick", EventKind::Alert),
        ("A Falco internal: rule", "", EventKind::Alert),
    ];
    for (rule, output, kind) in rows {
        with_event(
            &Falco,
            &format!(r#"{{"rule":"{rule}","output":"{output}","uuid":"u-1"}}"#),
            |view| {
                assert_eq!((view.kind, view.id), (kind, Some("u-1")), "{rule}");
            },
        );
    }
}

/// `GetFindings` writes what else is known of a finding as a text that is JSON (GuardDuty API reference,
/// `ServiceAdditionalInfo`).
#[test]
fn guardduty_says_in_a_text_that_a_finding_is_a_sample_and_no_other_text_does() {
    let long = format!(r#"{{\"sample\":true,\"x\":\"{}\"}}"#, "x".repeat(64 << 10));
    let deep = format!(r#"{{\"sample\":true,\"x\":{}1{}}}"#, "[".repeat(70), "]".repeat(70));
    let rows = [
        (r#"{\"sample\":true}"#, EventKind::Sample),
        (r#" {\"threatName\": \"x\", \"sample\" : true } "#, EventKind::Sample),
        (r#"{\"Sample\":\"true\"}"#, EventKind::Sample),
        (r#"{\"sample\":false}"#, EventKind::Alert),
        (r#"{\"sample\":1}"#, EventKind::Alert),
        (r#"{\"userAgent\":\"{\\\"sample\\\":true}\"}"#, EventKind::Alert),
        (r#"{\"a\":{\"sample\":true}}"#, EventKind::Alert),
        (r#"[{\"sample\":true}]"#, EventKind::Alert),
        // What parsers disagree about says nothing.
        (r#"{\"sample\":true,\"sample\":false}"#, EventKind::Alert),
        (r#"{\"sample\":true"#, EventKind::Alert),
        (r#"{\"sample\":true} x"#, EventKind::Alert),
        ("\\u0000\\ud83d\\ude00 no JSON", EventKind::Alert),
        ("", EventKind::Alert),
        (&long, EventKind::Alert),
        (&deep, EventKind::Alert),
    ];
    for (value, kind) in rows {
        for (service, info, key) in [
            ("Service", "AdditionalInfo", "Value"),
            ("service", "additionalInfo", "value"),
        ] {
            let info = format!(r#""{info}":{{"{key}":"{value}","Type":"default"}}"#);
            let finding =
                format!(r#"{{"Id":"f-1","Type":"Recon:EC2/Portscan","Title":"A scan","{service}":{{{info}}}}}"#);
            with_event(&GuardDuty, &finding, |view| {
                let shown: String = value.chars().take(80).collect();
                assert_eq!((view.kind, view.id), (kind, Some("f-1")), "{shown}");
            });
        }
    }
    // It may be an object, or nothing: a finding is one all the same.
    for value in ["{\"sample\":true}", "null", "[1]"] {
        let info = format!(r#"{{"type":"t","service":{{"additionalInfo":{{"value":{value}}}}}}}"#);
        with_event(&GuardDuty, &info, |view| assert_eq!(view.kind, EventKind::Alert));
    }
}
