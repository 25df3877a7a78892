//! Nothing that is posted makes splitting, parsing or decoding panic, and what they report holds.

use proptest::prelude::*;
use staunch_connectors::json::{EVENTS_PER_BODY_MAX, Split};
use staunch_connectors::sources::{self, Decoded, GenericSettings, SourceSettings};
use staunch_model::{Event, Timestamp};

use super::recorded_files;

/// Splits, parses and decodes `body` with every source.
fn run(body: &[u8]) {
    let mapping = r#"{"name":"x","signature":"alert.signature","severity":"alert.severity","source_ip":"src_ip","time":"timestamp"}"#;
    let mapping: GenericSettings = serde_json::from_str(mapping).expect("a mapping");
    let settings = SourceSettings {
        generic: vec![mapping],
        ..SourceSettings::default()
    };
    let sources = sources::all(&settings).expect("valid");
    let mut end = 0;
    for (count, element) in Split::new(body).enumerate() {
        assert!(count <= EVENTS_PER_BODY_MAX && element.index == count);
        assert!(
            element.offset >= end && element.offset <= body.len(),
            "elements are in order"
        );
        if let Ok(bytes) = &element.content {
            assert_eq!(*bytes, &body[element.offset..element.offset + bytes.len()]);
            end = element.offset + bytes.len();
        }
        match element.parse(1 << 16) {
            Ok(document) => {
                for source in &sources {
                    if let Decoded::Event(view) = source.decode(&document) {
                        let kept = Event::keep(&view, Timestamp::EPOCH);
                        assert!(kept.signature.len() <= Event::TEXT_BYTES_MAX);
                    }
                    let _ = source.explain(&document);
                }
                assert!(
                    serde_json::from_slice::<serde_json::Value>(document_bytes(&element)).is_ok(),
                    "others read it too"
                );
            }
            Err(error) => assert!(error.offset <= body.len() && error.line(body) >= 1, "{error}"),
        }
    }
}

/// Takes events out of `body` as every source has them wrapped.
fn unwrap(body: &[u8]) {
    for source in sources::built_in(&SourceSettings::default()) {
        let mut count = 0;
        sources::body::each(&*source, body, &mut |index, offset, document| {
            assert_eq!(index, count, "{} counts", source.name());
            count += 1;
            assert!(offset <= body.len() && count <= EVENTS_PER_BODY_MAX + 1);
            match document {
                Ok(document) => {
                    let _ = source.decode(document);
                    let _ = source.explain(document);
                }
                Err(error) => assert!(error.offset <= body.len(), "{error}"),
            }
        });
    }
}

/// The files of the systems that are read by paths, without the largest.
fn systems() -> Vec<Vec<u8>> {
    let names = built_in_names();
    let bodies = names.iter().flat_map(|name| super::systems::files(name));
    bodies
        .map(|(_, body)| body)
        .filter(|body| body.len() < 30_000)
        .collect()
}

fn built_in_names() -> Vec<String> {
    let all = sources::built_in(&SourceSettings::default());
    let names = all.iter().map(|source| source.name().to_owned());
    names.filter(|name| name != "suricata" && name != "falco").collect()
}

fn document_bytes<'b>(element: &staunch_connectors::json::Element<'b>) -> &'b [u8] {
    element.content.as_ref().expect("it was parsed")
}

fn recorded_line() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<Vec<u8>> = recorded_files()
        .into_iter()
        .flat_map(|(_, _, body)| {
            body.split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty() && line.len() < 3_000)
        .collect();
    proptest::sample::select(lines)
}

/// A change of one place: what is put there, how many bytes it replaces, and where.
fn change() -> impl Strategy<Value = (Vec<u8>, usize, prop::sample::Index)> {
    let tokens = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "null",
        "1e400",
        "\u{0}",
        "\u{1b}",
        "é",
        "%",
        "9999999999999999999999",
        "",
    ];
    let token = proptest::sample::select(tokens.map(|token| token.as_bytes().to_vec()).to_vec());
    let bytes = proptest::collection::vec(any::<u8>(), 0..4);
    (
        prop_oneof![3 => token, 1 => bytes],
        0_usize..20,
        any::<prop::sample::Index>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&body);
        unwrap(&body);
    }

    #[test]
    fn bytes_that_look_like_json(body in "[\\[\\]{}\",:\\\\a1 \n\u{feff}]{0,200}") {
        run(body.as_bytes());
    }

    #[test]
    fn changed_bodies_of_wrapped_events(
        body in proptest::sample::select(systems()),
        line in any::<prop::sample::Index>(),
        changes in proptest::collection::vec(change(), 0..6),
    ) {
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        let line = line.index(lines.len());
        let mut body = lines[line..lines.len().min(line + 2)].join(&b'\n');
        for (bytes, replaced, place) in changes {
            let start = place.index(body.len() + 1);
            let end = body.len().min(start + replaced);
            body.splice(start..end, bytes);
        }
        unwrap(&body);
    }

    #[test]
    fn changed_events(
        lines in proptest::collection::vec(recorded_line(), 1..4),
        array in any::<bool>(),
        changes in proptest::collection::vec(change(), 0..6),
    ) {
        let mut body = lines.join(if array { &b",\n"[..] } else { &b"\n"[..] });
        if array {
            body.insert(0, b'[');
            body.push(b']');
        }
        for (bytes, replaced, place) in changes {
            let start = place.index(body.len() + 1);
            let end = body.len().min(start + replaced);
            body.splice(start..end, bytes);
        }
        run(&body);
    }
}
