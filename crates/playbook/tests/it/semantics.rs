//! What conditions mean, as a table, and that all ways of evaluating them agree.

use proptest::prelude::*;
use staunch_model::{
    Asset, EventKind, EventView, Identity, IdentityKind, Place, Rating, Score, Severity, Surroundings,
};
use staunch_model::{Clause, ClauseValue};

use crate::event::{alert, raw};
use crate::{check, places, playbook};

/// The value of the whole trigger by its clauses.
fn joined(clauses: &[Clause]) -> ClauseValue {
    let top = || clauses.iter().filter(|it| it.depth == 0).map(|it| it.value);
    if top().any(|it| it == ClauseValue::False) {
        ClauseValue::False
    } else if top().any(|it| it == ClauseValue::Unknown) {
        ClauseValue::Unknown
    } else {
        ClauseValue::True
    }
}

/// The trigger's value for [`alert`]: the closure and the explanation, for it and for its negation.
fn value(when: &str) -> ClauseValue {
    let raw = raw();
    value_of(when, &alert(&raw))
}

/// The same for `event`.
fn value_of(when: &str, event: &EventView<'_>) -> ClauseValue {
    // The second operand is unknown for this event, and keeps the check for impossible triggers out of the way.
    let open = |when: &str| format!("({when}) || event.raw.nothing == 1");
    let run = |when: &str| {
        let compiled = check(&playbook(when)).unwrap_or_else(|found| panic!("{when}: {found:?}"));
        (
            (compiled.program.when)(event),
            joined(&(compiled.program.explain)(event).clauses),
        )
    };
    let (is_true, clauses) = run(&open(when));
    let (is_false, _) = run(&open(&format!("!({when})")));
    let value = match (is_true, is_false) {
        (true, false) => ClauseValue::True,
        (false, true) => ClauseValue::False,
        (false, false) => ClauseValue::Unknown,
        (true, true) => panic!("{when} is true and false"),
    };
    let expect = if value == ClauseValue::True {
        ClauseValue::True
    } else {
        ClauseValue::Unknown
    };
    assert_eq!(clauses, expect, "{when}: the clauses and the closure differ");
    value
}

/// What is known around [`alert`]: its attacked side, where its attacker is, and its account.
struct Around {
    asset: Asset,
    identity: Identity,
}

impl Surroundings for Around {
    fn asset_at(&self, ip: std::net::IpAddr) -> Option<&Asset> {
        (ip.to_string() == "10.0.0.5").then_some(&self.asset)
    }
    fn asset_named(&self, _: &str) -> Option<&Asset> {
        None
    }
    fn identity(&self, account: &str) -> Option<&Identity> {
        (account == "ann").then_some(&self.identity)
    }
    fn place(&self, ip: std::net::IpAddr) -> Place<'_> {
        if ip.to_string() != "203.0.113.7" {
            return Place::default();
        }
        Place {
            country: Some("DE"),
            asn: Some(64_496),
            organization: None,
        }
    }
    fn rating(&self, ip: std::net::IpAddr) -> Option<Rating> {
        (ip.to_string() == "203.0.113.7").then_some(Rating {
            score: Score::from_thousandths(950),
            confidence: Some(90),
        })
    }
}

#[test]
fn what_is_known_around_an_event_is_asked_like_its_fields() {
    use ClauseValue::{False as F, True as T, Unknown as U};
    let around = Around {
        asset: Asset {
            tier: Some("0".into()),
            named: "10.0.0.0/8".into(),
            by: "a\u{1b}ssets, line 2".into(),
            ..Asset::default()
        },
        identity: Identity {
            kind: Some(IdentityKind::Human),
            break_glass: true,
            ..Identity::default()
        },
    };
    let raw = raw();
    let event = EventView {
        user: Some("ann"),
        around: &around,
        ..alert(&raw)
    };
    #[rustfmt::skip]
    let table = [
        ("asset.tier == \"0\"", T), ("asset.destination.tier in [\"0\", \"1\"]", T), ("asset.tier != \"0\"", F),
        // what is not known is neither equal nor different
        ("asset.owner == \"a\"", U), ("asset.owner != \"a\"", U), ("has(asset.owner)", F), ("has(asset.tier)", T),
        ("asset.source.tier == \"0\"", U), ("asset.host.tier == \"0\"", U), ("!has(asset.source.tier)", T),
        ("identity.kind == \"human\"", T), ("identity.kind != \"service\"", T), ("identity.team == \"a\"", U),
        ("identity.break_glass", T), ("!identity.break_glass", F), ("identity.break_glass == true", T),
        ("geo.source.country in [\"DE\", \"AT\"]", T), ("geo.source.country == \"US\"", F),
        ("geo.source.asn == 64496", T), ("geo.source.asn in [1, 64496]", T), ("geo.source.organization == \"a\"", U),
        ("geo.destination.country == \"DE\"", U), ("!has(geo.destination.asn)", T),
        // scores are compared as whole thousandths
        ("reputation.source.score > 0.8", T), ("reputation.source.score == 0.95", T), ("reputation.source.score >= 1", F),
        ("reputation.source.score < 0.951", T), ("reputation.source.confidence >= 90", T),
        ("reputation.destination.score < 0.5", U), ("0.8 < reputation.source.score", T),
    ];
    for (when, expect) in table {
        assert_eq!(value_of(when, &event), expect, "{when}");
    }
    let compiled = check(&playbook("asset.tier == \"1\" || asset.owner == \"a\"")).expect("it can be used");
    let clauses = (compiled.program.explain)(&event).clauses;
    let reasons: Vec<_> = clauses
        .iter()
        .map(|it| &*it.reason)
        .filter(|it| !it.is_empty())
        .collect();
    assert_eq!(
        reasons,
        [
            "asset.tier is \"0\", by a\\u{1b}ssets, line 2: 10.0.0.0/8",
            "asset.owner is not known"
        ]
    );
}

#[test]
fn fields_around_an_event_are_checked_when_a_playbook_is_read() {
    let refused = |when: &str| check(&playbook(when)).expect_err("it is a mistake");
    for when in [
        "asset.teir == \"0\"",
        "asset == \"0\"",
        "geo.country == \"DE\"",
        "reputation.source.score > 80",
        "reputation.source.score > 0.12345",
        "reputation.source.score in [1, 2]",
        "identity.break_glass == \"yes\"",
        "identity.break_glass in [true]",
        "geo.source.asn == \"AS64496\"",
    ] {
        assert!(!refused(when).is_empty(), "{when}");
    }
    // What an incident is told by, and what is acted on, are the event's own.
    let text = playbook("event.severity >= high").replace("incident: event.source.ip", "incident: asset.owner");
    assert!(check(&text).is_err());
}

#[test]
fn conditions_mean_what_the_reference_says() {
    use ClauseValue::{False as F, True as T, Unknown as U};
    #[rustfmt::skip]
    let table = [
        // severities and kinds are never missing
        ("event.severity == high", T), ("event.severity >= high", T), ("event.severity > high", F),
        ("event.severity < critical", T), ("event.severity != unknown", T), ("high <= event.severity", T),
        ("critical <= event.severity", F), ("event.severity in [low, high]", T), ("event.severity == \"high\"", T),
        ("event.kind == alert", T), ("event.kind != sample", T), ("event.kind in [telemetry, \"health\"]", F),
        // texts
        ("event.system == \"suricata\"", T), ("event.signature.contains(\"Brute\")", T),
        ("event.signature.contains(\"brute\")", F), ("event.signature.lowerAscii().contains(\"brute force\")", T),
        ("event.signature.startsWith(\"ET SCAN\")", T), ("event.signature.endsWith(\"login\")", T),
        ("event.signature.lowerAscii().endsWith(\"n login\")", F), ("event.signature.lowerAscii().startsWith(\"et s\")", T),
        ("event.signature.matches(\"SSH.*[Ll]ogin$\")", T), ("event.signature.matches(r\"\\d\")", F),
        ("event.category in [\"Other\", \"Attempted Login\"]", T), ("event.category in [\"Other\"]", F),
        ("event.category.lowerAscii() == \"attempted login\"", T), ("event.category.lowerAscii() in [\"attempted login\"]", T),
        ("event.host != \"web-2\"", T), ("event.signature.size() > 10", T), ("size(event.raw.text) == 5", T),
        // missing fields
        ("event.user == \"root\"", U), ("event.user != \"root\"", U), ("!(event.user == \"root\")", U),
        ("event.user.contains(\"r\") || true", T), ("event.user.contains(\"r\") && false", F),
        ("has(event.user)", F), ("!has(event.user)", T), ("has(event.host)", T), ("event.user == null", T),
        ("event.host != null", T), ("has(event.severity)", T), ("event.user in [\"root\"]", U),
        ("event.user.size() == 0", U), ("event.raw.missing == \"x\"", U), ("!has(event.raw.missing)", T),
        ("has(event.raw.none)", F), ("has(event.raw.empty)", T), ("event.raw.empty == \"\"", T),
        ("event.raw[\"alert\"] != null", T), ("event.raw.text.deeper == 1", U),
        // addresses
        ("event.source.ip == \"203.0.113.7\"", T), ("event.source.ip == \"::ffff:203.0.113.7\"", T),
        ("event.source.ip.inNetwork(\"203.0.113.0/24\")", T), ("event.source.ip.inNetwork(\"2001:db8::/32\")", F),
        ("event.destination.ip.isPrivate()", T), ("event.source.ip.isPrivate()", F),
        ("event.source.ip in [\"203.0.113.7\", \"10.0.0.1\"]", T), ("event.source.ip == event.destination.ip", F),
        ("event.raw.client.inNetwork(\"198.51.100.9\")", T), ("event.raw.zone.isPrivate()", U),
        ("event.raw.network.inNetwork(\"198.51.100.0/24\")", U), ("event.raw.text.isPrivate()", U),
        // numbers
        ("event.destination.port == 22", T), ("event.destination.port in [22, 2222]", T), ("event.source.port < 1024", F),
        ("event.raw.count >= 7", T), ("event.raw.count > 6.5", T), ("event.raw.count == 7.0", T), ("7 < event.raw.count", F),
        ("event.raw.exact == 9007199254740993", T), ("event.raw.exact == 9007199254740992", F),
        ("event.raw.exact > 9007199254740992.0", T), ("event.raw.big > 9223372036854775807", T),
        ("event.raw.big < 1e300", T), ("event.raw.count > -1e300", T), ("event.raw.score > 80.0", T),
        ("event.raw.score > 80", U), ("event.raw.whole_float == 5", U), ("event.raw.count == \"7\"", U),
        ("event.raw.text == 7", U), ("event.raw.count in [1, 7]", T), ("event.raw.score in [80]", U),
        ("event.raw.big == 18446744073709551615u", T),
        // truth values of the raw event
        ("event.raw.ok", T), ("event.raw.bad", F), ("!event.raw.bad", T), ("event.raw.ok == false", F),
        ("event.raw.count == true", U), ("event.raw.missing", U), ("event.raw.text", U), ("event.raw.bad != true", T),
        // paths and lists
        ("event.raw.alert.metadata[\"a.b\"][\"c\"] == \"deep\"", T), ("event.raw.alert.metadata[\"a.b\"].c == \"deep\"", T),
        ("event.raw.alert.list[0].x == \"first\"", T), ("event.raw.alert.list[1].x == \"first\"", U),
        ("\"T1110\" in event.raw.tags", T), ("\"T1190\" in event.raw.tags", F), ("5 in event.raw.tags", T),
        ("!(\"T1190\" in event.raw.tags)", T), ("\"x\" in event.raw.missing", U), ("\"x\" in event.raw.text", U),
        ("event.host in event.raw.users", T), ("event.user in event.raw.users", U), ("event.raw.tags.size() == 3", T),
        ("!(event.user in event.raw.users)", U), ("!(event.host in event.raw.users)", F),
        ("event.source.ip in event.raw.users", F), ("\"t31\" in event.raw.many", T), ("\"t32\" in event.raw.many", U),
        ("!(\"t32\" in event.raw.many)", U), ("!(\"t31\" in event.raw.many)", F),
        // logic
        ("true", T), ("1 == 2", F), ("\"a\" < \"b\"", T), ("event.raw.ok && event.raw.missing", U),
        ("event.raw.bad && event.raw.missing", F), ("event.raw.missing && event.raw.bad", F),
        ("event.raw.ok || event.raw.missing", T), ("event.raw.missing || event.raw.bad", U),
        ("!(event.raw.missing && event.raw.bad)", T), ("!(event.raw.missing || event.raw.ok)", F), ("!!event.raw.ok", T),
        ("event.raw.ok && event.raw.ok && event.raw.ok && event.raw.bad", F), ("// a comment\nevent.raw.ok", T),
    ];
    for (when, expect) in table {
        assert_eq!(value(when), expect, "{when}");
    }
}

#[test]
fn clauses_say_what_the_event_has() {
    let raw = raw();
    let event = alert(&raw);
    let when = "event.severity >= critical &&\n(event.user == \"root\" || !event.raw.bad) && event.raw.score > 80";
    let compiled = check(&playbook(when)).expect("a playbook");
    let lines: Vec<_> = (compiled.program.explain)(&event)
        .clauses
        .into_iter()
        .map(|it| {
            format!(
                "{}{} -> {} ({})",
                "  ".repeat(it.depth),
                it.text,
                it.value.name(),
                it.reason
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn keys_and_targets_are_extracted() {
    let raw = raw();
    let event = alert(&raw);
    let run = |incident: &str, target: &str| {
        let text = playbook("event.raw.ok").replace("incident: event.source.ip", &format!("incident: {incident}"));
        let text = text.replace("target: event.source.ip", &format!("target: '{target}'"));
        let compiled = check(&text).unwrap_or_else(|found| panic!("{found:?}"));
        let target = (compiled.program.targets[0])(&event).map(|it| it.to_string());
        ((compiled.program.incident)(&event), target)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        run("event.source.ip", "event.source.ip"),
        (some("203.0.113.7"), some("203.0.113.7"))
    );
    assert_eq!(
        run("event.host", "event.destination.ip"),
        (some("web-1"), some("10.0.0.5"))
    );
    assert_eq!(
        run("event.raw.alert.gid", "event.raw.client"),
        (some("1"), some("198.51.100.9"))
    );
    assert_eq!(
        run("event.user", "event.raw.zone"),
        (None, None),
        "no user; an address with a zone is no target"
    );
    assert_eq!(
        run("[event.host, event.raw.alert.gid]", "event.source.ip").0,
        some("web-1|1"),
        "a key of two fields"
    );
    assert_eq!(
        run("[event.host, event.user]", "event.source.ip").0,
        None,
        "one is missing"
    );
    assert_eq!(
        run("event.raw.score", "event.raw.network"),
        (None, None),
        "no key; a network is no target"
    );
    assert_eq!(run("event.raw.empty", "event.raw.count"), (None, None));
    assert_eq!(
        run("event.destination.port", "event.raw[\"missing\"]"),
        (some("22"), None)
    );
}

/// Random conditions of tests that are true, false and unknown for some event.
fn condition() -> impl Strategy<Value = String> {
    let test = prop::sample::select(vec![
        "event.severity >= medium",
        "event.severity < high",
        "event.severity == critical",
        "event.kind == alert",
        "event.kind == sample",
        "event.system == \"falco\"",
        "event.system != \"other\"",
        "event.user == \"root\"",
        "event.user != \"root\"",
        "event.user in [\"admin\", \"root\"]",
        "event.user.startsWith(\"r\")",
        "has(event.user)",
        "event.destination.port > 100",
        "event.destination.port <= 22",
        "event.destination.port in [22, 70000]",
        "event.destination.port != 22",
        "event.raw.count < 5",
        "event.raw.count >= 5",
        "event.raw.ok",
        "event.raw.missing == 1",
        "true",
        "false",
    ])
    .prop_map(str::to_owned);
    test.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| format!("!({it})")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|it| format!("({})", it.join(" && "))),
            prop::collection::vec(inner, 2..4).prop_map(|it| format!("({})", it.join(" || "))),
        ]
    })
}

/// Events that make the tests of [`condition`] differ.
fn each_event(mut visit: impl FnMut(&EventView<'_>)) {
    let raw = raw();
    for severity in Severity::ALL {
        for kind in [EventKind::Alert, EventKind::Telemetry] {
            for user in [None, Some("root"), Some("admin")] {
                for (system, port) in [("falco", None), ("suricata", Some(22)), ("suricata", Some(443))] {
                    let mut event = alert(&raw);
                    (event.severity, event.kind, event.user, event.system) = (severity, kind, user, system);
                    event.destination.port = port;
                    visit(&event);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn closures_explanations_and_the_check_agree(when in condition()) {
        let open = check(&playbook(&format!("({when}) || event.raw.nothing == 1"))).expect("a condition");
        let alone = check(&playbook(&when));
        let (mut any, mut every) = (false, true);
        each_event(|event| {
            let fires = (open.program.when)(event);
            assert_eq!(fires, joined(&(open.program.explain)(event).clauses) == ClauseValue::True, "{when}");
            any |= fires;
            every &= fires;
        });
        match alone {
            Err(found) => {
                prop_assert_eq!(places(&found).iter().map(|it| it.0).collect::<Vec<_>>(), vec!["P024"]);
                prop_assert!(!any, "{} was called impossible", when);
            }
            Ok(compiled) => {
                let always = compiled.warnings.iter().any(|it| it.code == "P025");
                prop_assert!(!always || every, "{} was said to match everything", when);
            }
        }
    }
}
