//! How bodies are split into events, and what is said about those that cannot be.

use staunch_connectors::json::{EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX, Split};
use staunch_connectors::sources;
use staunch_ports::NotRead;

/// Checks the elements of `body`: the value of `n` of each event, or the byte and the message of its error.
fn check(body: impl AsRef<[u8]>, expect: &[Result<i64, (usize, &str)>]) {
    let body = body.as_ref();
    let found: Vec<Result<i64, (usize, String)>> = Split::new(body)
        .map(|element| match element.parse(EVENT_BYTES_MAX) {
            Ok(document) => {
                let (_, value) = document
                    .root()
                    .members()
                    .find(|(key, _)| *key == "n")
                    .expect("a member n");
                Ok(value.integer().expect("a number"))
            }
            Err(error) => Err((error.offset, error.what.into_owned())),
        })
        .collect();
    let expect: Vec<_> = expect
        .iter()
        .map(|row| row.map_err(|(offset, what)| (offset, what.to_owned())))
        .collect();
    assert_eq!(found, expect, "{}", String::from_utf8_lossy(body));
    let indexes: Vec<usize> = Split::new(body).map(|element| element.index).collect();
    assert!(indexes.into_iter().eq(0..found.len()));
}

const CUT: &str = "the JSON ends before it is complete";
const NOT_HERE: &str = "a character that JSON does not allow here";
const NO_OBJECT: &str = "an event must be a JSON object";

#[test]
fn bodies_without_events() {
    for body in ["", " \r\n\t ", "[]", " [ ] \n", "\u{feff}", "\u{feff}\n[\n]"] {
        check(body, &[]);
    }
}

#[test]
fn one_object() {
    check(r#"{"n":1}"#, &[Ok(1)]);
    check("\u{feff}\r\n{\"n\":1}\r\n\r\n", &[Ok(1)]);
    check("{\n  \"n\": 1,\n  \"a\": [\n    {\n    }\n  ]\n}\n", &[Ok(1)]);
    check("{\"a\":\n{\n},\n\"n\":1}", &[Ok(1)]);
    check("{\"a\": {\"b\": {}\n, \"c\": {}}\n, \"n\": 1}", &[Ok(1)]);
    check("{\"a\":[{}\n,{}],\n\"n\":1\n}", &[Ok(1)]);
}

#[test]
fn lines() {
    check("{\"n\":1}\n{\"n\":2}\n", &[Ok(1), Ok(2)]);
    check("\u{feff}{\"n\":1}\r\n\r\n \t\r\n{\"n\":2}", &[Ok(1), Ok(2)]);
    check("{\"n\":1,}\n{\"n\":2}", &[Err((7, NOT_HERE)), Ok(2)]);
    check("{\"n\":1}\n{\"n\":\n{\"n\":3}", &[Ok(1), Err((13, CUT)), Ok(3)]);
    check("{\"n\":\n{\"n\":2}\n{\"n\":3}", &[Err((5, CUT)), Ok(2), Ok(3)]);
    check(
        "{\"n\":1}\nnull\n[{\"n\":2}]\n{\"n\":3}",
        &[Ok(1), Err((8, NO_OBJECT)), Err((13, NO_OBJECT)), Ok(3)],
    );
    check(
        "{\"n\":1}{\"n\":2}\n{\"n\":3}",
        &[Err((7, "there is text after the event")), Ok(3)],
    );
    check(
        b"{\"n\":1,\"a\":\"\xff\"}\n{\"n\":2}",
        &[Err((12, "the bytes are not UTF-8")), Ok(2)],
    );
    check(
        "{\"n\":1,\"n\":2}\n{\"n\":2}",
        &[Err((7, "the key \"n\" occurs twice in one object")), Ok(2)],
    );
    check("hello\n{\"n\":1}", &[Err((0, NOT_HERE)), Ok(1)]);
}

#[test]
fn arrays() {
    check(r#"[{"n":1},{"n":2}]"#, &[Ok(1), Ok(2)]);
    check(
        "[\n  {\n    \"n\": 1, \"a\": \"],[\\\"}\"\n  } ,\n {\"n\":2, \"a\":[[]]}\n]\n",
        &[Ok(1), Ok(2)],
    );
    check(r#"[{"n":1},{"n":},{"n":3}]"#, &[Ok(1), Err((14, NOT_HERE)), Ok(3)]);
    check(r#"[{"n":1},7,{"n":3}]"#, &[Ok(1), Err((9, NO_OBJECT)), Ok(3)]);
    check(
        r#"[,{"n":1},,{"n":3},]"#,
        &[
            Err((1, "there is no event before the comma")),
            Ok(1),
            Err((10, "there is no event before the comma")),
            Ok(3),
            Err((19, "there is no event behind the comma")),
        ],
    );
    check(
        "[{\"n\":1},{\"n\":\"a\nb\"},{\"n\":3}]",
        &[
            Ok(1),
            Err((16, "a control character stands unescaped in a text")),
            Ok(3),
        ],
    );
}

#[test]
fn arrays_that_do_not_fit_together_keep_what_was_read_before() {
    let unpaired = "this bracket does not pair with the open one";
    check(r#"[{"n":1},{"n":[2},{"n":3}]"#, &[Ok(1), Err((16, unpaired))]);
    check(r#"[{"n":1},{"n":2],{"n":3}]"#, &[Ok(1), Err((15, unpaired))]);
    check(r#"[{"n":1}},{"n":3}]"#, &[Err((8, unpaired))]);
    check(
        r#"[{"n":1},{"n":2}"#,
        &[Ok(1), Ok(2), Err((16, "the array has no end"))],
    );
    check(
        r#"[{"n":1},{"n":2"#,
        &[Ok(1), Err((15, CUT)), Err((15, "the array has no end"))],
    );
    check(
        r#"[{"n":1},{"n":"2},{"x":1}]"#,
        &[Ok(1), Err((20, NOT_HERE)), Err((26, "the array has no end"))],
    );
    check("[", &[Err((1, "the array has no end"))]);
    check(
        r#"[{"n":1}] [{"n":2}]"#,
        &[Ok(1), Err((10, "there is text after the end of the array"))],
    );
    let deep = format!("[{}{},{{\"n\":2}}]", "[".repeat(100), "]".repeat(100));
    check(
        deep,
        &[
            Err((65, "objects and arrays are nested more than 64 levels deep")),
            Ok(2),
        ],
    );
}

#[test]
fn positions_are_lines_and_bytes_of_the_body() {
    let body = b"\n{\"n\":1}\n\n{\"n\":1,\"a\":\"x";
    let error = Split::new(body)
        .nth(1)
        .expect("two")
        .parse(EVENT_BYTES_MAX)
        .expect_err("cut");
    assert_eq!((error.offset, error.line(body)), (body.len(), 4));
    assert_eq!(error.to_string(), format!("byte {}: {CUT}", body.len()));
}

#[test]
fn the_number_of_events_is_bounded() {
    let too_many = "there are more events in the body than are taken at once (10,000)";
    for (open, between, close) in [("", "\n", ""), ("[", ",", "]")] {
        for count in [EVENTS_PER_BODY_MAX, EVENTS_PER_BODY_MAX + 2] {
            let body = format!("{open}{}{close}", vec![r#"{"n":1}"#; count].join(between));
            let elements: Vec<_> = Split::new(body.as_bytes()).collect();
            let (last, good) = elements.split_last().expect("elements");
            if count > EVENTS_PER_BODY_MAX {
                assert_eq!(good.len(), EVENTS_PER_BODY_MAX);
                let error = last.content.as_ref().expect_err("the limit");
                assert_eq!(
                    (error.offset, &*error.what),
                    (open.len() + EVENTS_PER_BODY_MAX * 8, too_many)
                );
            } else {
                assert!(elements.len() == count && last.content.is_ok());
            }
        }
    }
}

/// However they are wrapped, a source says of a body with too many events that it was not read to its end.
#[test]
fn a_source_says_that_a_body_holds_too_many_events() {
    let sources = sources::ports(&sources::SourceSettings::default()).expect("the settings are the default");
    let source = |name: &str| sources.iter().find(|it| it.name() == name).expect("it is built in");
    let read = |name: &str, body: &str| {
        let mut last = None;
        let read = source(name).read(body.as_bytes(), &mut |index, _| last = Some(index));
        (read, last)
    };
    let many = |one: &str, count: usize, between: &str| vec![one; count].join(between);
    let max = EVENTS_PER_BODY_MAX;
    let suricata = r#"{"event_type":"stats"}"#;
    let finding = r#"{"type":"t"}"#;
    let records = |count| {
        let record = |at| format!("type=LOGIN msg=audit(1700000000.000:{at}): pid=1\n");
        (0..count).map(record).collect::<String>()
    };
    let wrapped = |count| format!("{{\"Findings\":[{}]}}", many(finding, count, ","));
    for (name, taken, refused) in [
        ("suricata", many(suricata, max, "\n"), many(suricata, max + 1, "\n")),
        ("guardduty", many(finding, max, "\n"), many(finding, max + 50, "\n")),
        ("guardduty", wrapped(max), wrapped(max + 1)),
        (
            "guardduty",
            many(&wrapped(10), max / 10, "\n"),
            many(&wrapped(10), max / 10 + 1, "\n"),
        ),
        (
            "guardduty",
            many("{\"Findings\":[]}", max, "\n"),
            many("{\"Findings\":[]}", max + 1, "\n"),
        ),
        ("auditd", records(max), records(max + 1)),
    ] {
        let (read_to_end, last) = read(name, &taken);
        assert_eq!(read_to_end, Ok(()), "{name}");
        assert!(last.is_none_or(|it| it + 1 == max), "{name}: {last:?}");
        let (not_read, last) = read(name, &refused);
        assert!(last.is_none_or(|it| it + 1 == max), "{name}: {last:?}");
        match not_read {
            Err(NotRead::TooMany(it)) => {
                assert!(it.what.contains("more events in the body than are taken"), "{it:?}");
                assert!(it.offset > 0 && it.offset < refused.len(), "{it:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
