//! The description of the API, and entity tags.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use staunch_server::dto::{MISTAKES_MAX, REASON_BYTES_MAX, STATUS_EXEMPTIONS_MAX, Status, path};

use super::{Options, Staunch};

/// The description that is committed, so that a change of the API is seen.
const COMMITTED: &str = "../../docs/reference/openapi.json";

#[test]
fn the_api_describes_itself() {
    let staunch = Staunch::start(Options::default());
    let document: Value = staunch.stranger().get(path::OPENAPI).json();
    let text = serde_json::to_string_pretty(&document).expect("it is JSON") + "\n";
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    if std::env::var_os("STAUNCH_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &text).expect("it is in the checkout");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "docs/reference/openapi.json is not what the API says; run\n  STAUNCH_UPDATE_DOCS=1 cargo test -p staunch-server openapi"
    );

    // Every reference leads somewhere, and no two operations have one name.
    let mut references = BTreeSet::new();
    let mut names = Vec::new();
    walk(&document, &mut |key, value| match (key, value.as_str()) {
        ("$ref", Some(to)) => drop(references.insert(to.to_owned())),
        ("operationId", Some(name)) => names.push(name.to_owned()),
        _ => {}
    });
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("all are in the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");

    // What is described is there: without a token it is known and refused, and never "nothing at this path".
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{source}", "test").replace("{id}", "INC-1");
        for method in methods.as_object().expect("methods").keys() {
            let open = [path::HEALTH, path::OPENAPI, path::DOCS].contains(&path.as_str());
            let answer = staunch.stranger().send(&method.to_uppercase(), &path, b"");
            assert_eq!(
                answer.status,
                if open { 200 } else { 401 },
                "{method} {path}: {answer:?}"
            );
            if path == path::STREAM {
                continue;
            }
            let answer = staunch.client().send(&method.to_uppercase(), &path, b"");
            let unknown = answer.body.contains("there is nothing at") || answer.status == 405;
            assert!(!unknown, "{method} {path}: {answer:?}");
        }
    }
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn the_page_has_every_operation_and_loads_nothing() {
    let staunch = Staunch::start(Options::default());
    let document: Value = staunch.stranger().get(path::OPENAPI).json();
    let page = staunch.stranger().get(path::DOCS);
    assert_eq!(page.status, 200);
    assert!(page.has("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(
        page.head.contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    walk(&document["paths"], &mut |key, value| {
        if key == "operationId" {
            let id = value.as_str().expect("a name");
            assert!(page.body.contains(&format!("id=\"{id}\"")), "{id} is not on the page");
        }
    });
    let named = |start: &str| {
        let parts = page.body.split(start).skip(1);
        parts
            .map(|part| part.split('"').next().expect("an end").to_owned())
            .collect::<Vec<_>>()
    };
    let places = named("id=\"");
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len(), "{places:?}");
    for name in named("href=\"#") {
        assert!(places.contains(&name), "#{name} leads nowhere");
    }
    assert!(
        !page.body.contains("http"),
        "something is loaded or linked from elsewhere"
    );
}

#[test]
fn who_has_an_answer_is_not_sent_it_again() {
    let staunch = Staunch::start(Options::default());
    let first = staunch.client().get(path::MODE);
    let tag = first
        .head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .expect("a tag")
        .to_owned();
    let again = staunch
        .client()
        .header(&format!("If-None-Match: {tag}"))
        .get(path::MODE);
    assert_eq!((again.status, &*again.body), (304, ""), "{again:?}");
    assert!(again.has(&format!("etag: {tag}")), "{again:?}");
    let other = staunch.client().header("If-None-Match: \"0\", W/\"1\"").get(path::MODE);
    assert_eq!((other.status, &other.body), (200, &first.body));

    let set = staunch
        .client()
        .post(path::MODE, r#"{"mode": "observe", "reason": "calm down"}"#);
    assert_eq!(set.status, 200, "{set:?}");
    assert!(!set.head.contains("etag"), "what was done has no tag: {set:?}");
    let changed = staunch
        .client()
        .header(&format!("If-None-Match: {tag}"))
        .get(path::MODE);
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(changed.body, first.body);
    // Problems and what is no JSON have none.
    for path in ["/v1/incidents/INC-9", path::METRICS, path::DOCS] {
        assert!(!staunch.client().get(path).head.contains("etag"), "{path}");
    }
    let any = staunch.client().header("If-None-Match: *").get(path::STATUS);
    assert_eq!(any.status, 304, "{any:?}");
}

/// What time it is does not make an answer another one; what it says of the world does.
#[test]
fn answers_with_a_clock_in_them_have_tags_too() {
    let staunch = Staunch::start(Options::default());
    let tag_of = |path: &str| {
        let answer = staunch.client().get(path);
        let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
        // The client gives heads in small letters.
        (tag.expect("a tag").replacen("w/", "W/", 1), answer.body)
    };
    // The first sweep is over, so that nothing else changes.
    super::until("the sweep", || {
        let status: Status = staunch.client().get(path::STATUS).json();
        status.swept_at.is_some() && status.index.is_some_and(|it| it.lag == Some(0))
    });
    for path in [path::CONTAINMENTS, path::APPROVALS, path::PROTECTIONS] {
        let (tag, body) = tag_of(path);
        let (again, other) = tag_of(path);
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        assert_eq!(tag, again, "{path}");
        assert_ne!(body, other, "{path}: the clock goes on");
        let same = staunch.client().header(&format!("If-None-Match: {tag}")).get(path);
        assert_eq!((same.status, &*same.body), (304, ""), "{path}");
    }
    assert!(tag_of(path::STATUS).0.starts_with("W/\""));
    let (before, _) = tag_of(path::PROTECTIONS);
    let protected = staunch
        .client()
        .post(path::PROTECT, r#"{"network": "192.0.2.0/24", "reason": "ours"}"#);
    assert_eq!(protected.status, 200, "{protected:?}");
    let changed = staunch
        .client()
        .header(&format!("If-None-Match: {before}"))
        .get(path::PROTECTIONS);
    assert_eq!(changed.status, 200, "{changed:?}");
}

/// Who makes a client of the description learns of every bound from it, and of nothing that only the code knows.
#[test]
fn what_is_asked_for_has_its_bounds_and_no_name_of_the_code() {
    let staunch = Staunch::start(Options::default());
    let document: Value = staunch.stranger().get(path::OPENAPI).json();
    let (mut reasons, mut limits) = (0, 0);
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        let reason = &schema["properties"]["reason"];
        if name.ends_with("Request") && !reason.is_null() {
            reasons += 1;
            assert_eq!(reason["maxLength"], REASON_BYTES_MAX, "{name}");
            let about = reason["description"].as_str().expect("it says what it is");
            assert!(about.contains(&format!("{REASON_BYTES_MAX} bytes")), "{name}: {about}");
            let may = name == "DrillStopRequest";
            let required = schema["required"]
                .as_array()
                .is_some_and(|it| it.contains(&"reason".into()));
            assert_eq!(required, !may, "{name}");
            assert_eq!(
                (&reason["minLength"], reason["pattern"].is_string()),
                (&1.into(), true),
                "{name}"
            );
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            assert!(!pattern.contains(['+', '*']), "{name} has no end: {pattern}");
        }
    }
    assert_eq!(reasons, 10);
    walk(&document["paths"], &mut |key, value| {
        if key == "parameters" {
            for it in value
                .as_array()
                .expect("a list")
                .iter()
                .filter(|it| it["name"] == "limit")
            {
                limits += 1;
                assert_eq!(
                    (&it["schema"]["minimum"], &it["schema"]["maximum"]),
                    (&1.into(), &1_000.into()),
                    "{it}"
                );
            }
        }
    });
    assert_eq!(limits, 7);
    walk(&document, &mut |key, value| {
        if let ("description", Some(text)) = (key, value.as_str()) {
            assert!(!text.contains("_MAX") && !text.contains("super::"), "{text}");
        }
    });
    let described = |schema: &str, field: &str, max: usize| {
        let field = &document["components"]["schemas"][schema]["properties"][field]["description"];
        let about = field.as_str().expect("it says what it is").replace('\n', " ");
        assert!(about.contains(&format!(" {max}")), "{about}");
    };
    described("Problem", "mistakes", MISTAKES_MAX);
    described("Reloaded", "at_next_start", MISTAKES_MAX);
    described("Status", "exempted", STATUS_EXEMPTIONS_MAX);
    let limit = staunch
        .client()
        .get("/v1/incidents?limit=1001")
        .problem(400, "malformed");
    assert!(limit.detail.contains("1 to 1000"), "{limit:?}");
}
