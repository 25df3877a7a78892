//! Sources that are described by a mapping.

use staunch_connectors::json::Document;
use staunch_connectors::sources::{self, Decoded, Generic, GenericSettings, Source, SourceSettings};
use staunch_model::{EventKind, Severity};

use super::with_event;

const MAPPING: &str = r#"{
    "name": "honeypot",
    "signature": "rule.title",
    "source_ip": "peers[0].ip", "source_port": "peers[0].port",
    "destination_ip": "peers[1].ip", "destination_port": "peers[1][\"the port\"]",
    "severity": "rule.level", "severities": { "7": "high", "Page": "critical", "true": "low" },
    "category": "rule.class", "id": "meta[\"event.id\"]",
    "time": "when", "time_format": "unix_ms",
    "user": "who", "host": "sensor",
    "sample": { "path": "drill", "equals": "true" },
    "only": { "path": "type", "equals": "hit" }
}"#;

fn settings(text: &str) -> GenericSettings {
    serde_json::from_str(text).expect("a mapping")
}

#[test]
fn a_mapping_says_where_everything_is() {
    let generic = Generic::new(&settings(MAPPING)).expect("valid");
    let event = r#"{"type":"hit","rule":{"title":"ssh login","level":7,"class":"auth"},"when":1645021883329,"who":"root",
        "peers":[{"ip":"::ffff:203.0.113.7","port":"51000"},{"ip":"10.0.0.5","the port":22}],"sensor":"pot-1",
        "meta":{"event.id":"e-1"}}"#;
    with_event(&generic, event, |view| {
        assert_eq!(
            (view.system, view.kind, view.severity),
            ("honeypot", EventKind::Alert, Severity::High)
        );
        assert_eq!(
            (view.signature, view.category, view.id),
            ("ssh login", "auth", Some("e-1"))
        );
        assert_eq!((view.user, view.host), (Some("root"), Some("pot-1")));
        assert_eq!(view.time.expect("a time").to_string(), "2022-02-16T14:31:23.329Z");
        let shown = |end: staunch_model::Endpoint| format!("{:?} {:?}", end.ip, end.port);
        assert_eq!(shown(view.source), "Some(203.0.113.7) Some(51000)");
        assert_eq!(shown(view.destination), "Some(10.0.0.5) Some(22)");
    });
    let drill = r#"{"type":"hit","rule":{"title":"t"},"drill":true}"#;
    with_event(&generic, drill, |view| {
        assert_eq!(
            (view.kind, view.severity, view.source.ip, view.time),
            (EventKind::Sample, Severity::Unknown, None, None)
        );
    });
    let decoded = |text: &str| {
        let document = Document::parse(text.as_bytes()).expect("well-formed");
        let _ = generic.explain(&document);
        match generic.decode(&document) {
            Decoded::Event(_) => "event",
            Decoded::Ignored(_) => "ignored",
            Decoded::Malformed { .. } => "malformed",
        }
    };
    assert_eq!(decoded("{}"), "ignored");
    assert_eq!(decoded(r#"{"type":"miss","rule":{"title":"t"}}"#), "ignored");
    assert_eq!(decoded(r#"{"type":"hit"}"#), "malformed");
    assert_eq!(decoded(r#"{"type":"hit","rule":{"title":""}}"#), "event");
}

#[test]
fn severities_are_looked_up_then_taken_by_name() {
    let generic = Generic::new(&settings(MAPPING)).expect("valid");
    let rows = [
        ("7", Severity::High),
        ("\"7\"", Severity::High),
        ("\"page\"", Severity::Critical),
        ("\"Medium\"", Severity::Medium),
        ("true", Severity::Low),
        ("8", Severity::Unknown),
        ("7.0", Severity::Unknown),
        ("null", Severity::Unknown),
        ("[7]", Severity::Unknown),
        ("\"\"", Severity::Unknown),
    ];
    for (level, expect) in rows {
        let text = format!(r#"{{"type":"hit","rule":{{"title":"t","level":{level}}}}}"#);
        with_event(&generic, &text, |view| assert_eq!(view.severity, expect, "{level}"));
    }
}

/// What a sensor says that has no scale is as bad as the mapping says; a field may still be called like a word.
#[test]
fn a_word_is_the_severity_of_all_events() {
    let event = r#"{"s":"t","high":"low","HIGH":"info","unknown":"medium","a":{"low":"critical"}}"#;
    let rows = [
        ("info", Severity::Info),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
        (r#"[\"high\"]"#, Severity::Low),
        (r#"[\"HIGH\"]"#, Severity::Info),
        ("a.low", Severity::Critical),
        ("unknown", Severity::Medium),
    ];
    for (written, expect) in rows {
        let generic = Generic::new(&settings(&format!(
            r#"{{"name":"x","signature":"s","severity":"{written}"}}"#
        )));
        let generic = generic.unwrap_or_else(|error| panic!("{written}: {error}"));
        with_event(&generic, event, |view| assert_eq!(view.severity, expect, "{written}"));
        let nothing = if written.contains(['[', '.']) || written == "unknown" {
            Severity::Unknown
        } else {
            expect
        };
        with_event(&generic, r#"{"s":"t"}"#, |view| {
            assert_eq!(view.severity, nothing, "{written}");
        });
    }
}

#[test]
fn times_are_read_in_the_format_of_the_mapping() {
    let rows = [
        ("rfc3339", "\"2022-02-16T14:31:23.5+0100\"", Some(1_645_018_283_500_000)),
        ("rfc3339", "1645018283", None),
        ("unix", "1645018283", Some(1_645_018_283_000_000)),
        ("unix", "1645018283.5", Some(1_645_018_283_500_000)),
        ("unix", "\"1645018283\"", Some(1_645_018_283_000_000)),
        ("unix", "\"1645018283.25\"", Some(1_645_018_283_250_000)),
        ("unix", "-1", None),
        ("unix", "\"NaN\"", None),
        ("unix", "\"inf\"", None),
        ("unix", "1e300", None),
        ("unix", "18446744073709551615", None),
        ("unix", "null", None),
        ("unix_ms", "1645018283500", Some(1_645_018_283_500_000)),
        ("unix_ms", "9223372036854775807", None),
    ];
    for (format, time, expect) in rows {
        let mapping = format!(r#"{{"name":"x","signature":"s","time":"t","time_format":"{format}"}}"#);
        let generic = Generic::new(&settings(&mapping)).expect("valid");
        with_event(&generic, &format!(r#"{{"s":"s","t":{time}}}"#), |view| {
            assert_eq!(
                view.time.map(staunch_model::Timestamp::as_micros),
                expect,
                "{format} {time}"
            );
        });
    }
}

#[test]
fn mistakes_name_their_key() {
    let check = |generic: &str, expect: &str| {
        let text = format!(r#"{{"generic":[{{"name":"ok","signature":"s"}},{generic}]}}"#);
        let shown = match serde_json::from_str::<SourceSettings>(&text) {
            Ok(settings) => sources::all(&settings).map(|_| ()).expect_err("a mistake").to_string(),
            Err(error) => error
                .to_string()
                .split(" at line")
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        assert!(shown.starts_with(expect), "{shown} (expected {expect})");
    };
    check(
        r#"{"name":"x","signature":"a..b"}"#,
        "generic[1].signature: character 2 of the path: expected a key",
    );
    check(
        r#"{"name":"x","signature":"s","source_ip":""}"#,
        "generic[1].source_ip: a path has 1 to 256 bytes",
    );
    check(
        r#"{"name":"x","signature":"s","sample":{"path":"[","equals":"y"}}"#,
        "generic[1].sample.path: character 1 of the path: expected [0]",
    );
    check(
        r#"{"name":"X y","signature":"s"}"#,
        "generic[1].name: \"X y\" is not a name",
    );
    check(r#"{"name":"","signature":"s"}"#, "generic[1].name: \"\" is not a name");
    check(
        r#"{"name":"falco","signature":"s"}"#,
        "generic[1].name: there is a source \"falco\" already",
    );
    check(
        r#"{"name":"ok","signature":"s"}"#,
        "generic[1].name: there is a source \"ok\" already",
    );
    check(
        r#"{"name":"x","signature":"s","severities":{"1":"high"}}"#,
        "generic[1].severities: there is a table",
    );
    check(
        r#"{"name":"x","signature":"s","severity":"high","severities":{"1":"high"}}"#,
        "generic[1].severity: all events are high, and there is a table of severities",
    );
    check(
        r#"{"name":"x","signature":"s","severity":"High"}"#,
        "generic[1].severity: \"High\" is the word high, or the name of a field",
    );
    check(
        r#"{"name":"x","signature":"s","severity":"a..b"}"#,
        "generic[1].severity: character 2 of the path: expected a key",
    );
    check(
        r#"{"name":"x","signature":"s","severities":{"1":"worse"}}"#,
        "unknown variant `worse`",
    );
    check(
        r#"{"name":"x","signature":"s","sourceip":"a"}"#,
        "unknown field `sourceip`",
    );
    check(r#"{"name":"x"}"#, "missing field `signature`");
}

#[test]
fn the_registry_has_the_built_in_and_the_described_sources() {
    let text =
        r#"{"suricata":{"home_networks":["192.0.2.0/24"]},"generic":[{"name":"honeypot","signature":"alert.title"}]}"#;
    let settings: SourceSettings = serde_json::from_str(text).expect("settings");
    let all = sources::all(&settings).expect("valid");
    assert_eq!(
        all.iter().map(|source| source.name()).collect::<Vec<_>>(),
        [
            "suricata",
            "falco",
            "guardduty",
            "cloudtrail",
            "alertmanager",
            "kubernetes-audit",
            "crowdsec",
            "ocsf",
            "wazuh",
            "okta",
            "cloudevents",
            "honeypot"
        ]
    );
    assert!(serde_json::from_str::<SourceSettings>(r#"{"suricata":{"home_networks":["192.0.2.1/24x"]}}"#).is_err());
}
