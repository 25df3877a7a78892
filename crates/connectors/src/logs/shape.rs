//! The keys of the first value of a JSON text that may break off anywhere.

/// What values are wrapped in by who delivers them: the keys of lists of events, and of one event.
const WRAPPERS: [&[u8]; 8] = [
    b"Records",
    b"records",
    b"items",
    b"findings",
    b"Findings",
    b"events",
    b"data",
    b"detail",
];

/// Keys that are kept of one object.
const KEYS_MAX: usize = 256;

/// How deep a value is followed; what is deeper than any event ends the look.
const DEPTH_MAX: usize = 64;

/// An object: its keys as they are written, and those of its values that are texts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape<'b> {
    pub(super) keys: Vec<&'b [u8]>,
    pub(super) texts: Vec<(&'b [u8], &'b [u8])>,
}

/// Something that is open.
enum Open<'b> {
    /// Its place among the shapes, when it is looked at, and the key that was read last.
    Object {
        shape: Option<usize>,
        key: &'b [u8],
        is_key_next: bool,
    },
    /// Whether its first object is looked at, and none was there before.
    List { is_looked_at: bool },
}

/// The first value: the object itself, the first one of a list, and what stands in them as wrapped.
pub(super) fn shapes(bytes: &[u8]) -> Vec<Shape<'_>> {
    let mut found: Vec<Shape<'_>> = Vec::new();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                let is_looked_at = match open.last_mut() {
                    None => true,
                    Some(Open::List { is_looked_at }) => *byte == b'{' && std::mem::take(is_looked_at),
                    Some(Open::Object { shape, key, .. }) => shape.is_some() && WRAPPERS.contains(key),
                };
                if open.len() == DEPTH_MAX {
                    break;
                }
                open.push(if *byte == b'[' {
                    Open::List { is_looked_at }
                } else {
                    let shape = is_looked_at.then(|| {
                        found.push(Shape::default());
                        found.len() - 1
                    });
                    Open::Object {
                        shape,
                        key: b"",
                        is_key_next: true,
                    }
                });
            }
            b'}' | b']' => {
                open.pop();
                if open.is_empty() {
                    break;
                }
            }
            b',' => {
                if let Some(Open::Object { is_key_next, .. }) = open.last_mut() {
                    *is_key_next = true;
                }
            }
            b'"' => {
                let Some(length) = length(&bytes[at..]) else { break };
                let text = &bytes[at..at + length];
                at += length + 1;
                if let Some(Open::Object {
                    shape,
                    key,
                    is_key_next,
                }) = open.last_mut()
                {
                    let shape = shape
                        .map(|shape| &mut found[shape])
                        .filter(|it| it.keys.len() < KEYS_MAX);
                    if std::mem::take(is_key_next) {
                        *key = text;
                        shape.into_iter().for_each(|it| it.keys.push(text));
                    } else {
                        let key = *key;
                        shape.into_iter().for_each(|it| it.texts.push((key, text)));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// How long the text is that `bytes` begin with; `None` when it does not end.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    bytes.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_of_the_first_value_and_of_what_it_wraps_count() {
        let keys = |text: &str| {
            let all = shapes(text.as_bytes());
            let keys = all.iter().map(|it| {
                it.keys
                    .iter()
                    .map(|it| String::from_utf8_lossy(it).into_owned())
                    .collect()
            });
            keys.collect::<Vec<Vec<String>>>()
        };
        assert_eq!(
            keys(r#"{"a":{"b":1},"c":["d",{"e":1}],"f\"":"g"} {"h":1}"#),
            [vec!["a", "c", "f\\\""]]
        );
        assert_eq!(keys(r#"[[1],{"a":1},{"b":1}]"#), [vec!["a"]]);
        assert_eq!(
            keys(r#"{"Records":[{"a":{"Records":[{"no":1}]}},{"b":1}]}"#),
            [vec!["Records"], vec!["a"]]
        );
        assert_eq!(keys(r#"{"x":{"Records":[{"no":1}]}}"#), [vec!["x"]]);
        // Wherever it breaks off, what was there counts.
        let text = r#"{"detail":{"a":"b","c":1}}"#;
        for end in 0..text.len() {
            assert!(keys(&text[..end]).concat().len() <= 3);
        }
        assert_eq!(keys(&text[..22]), [vec!["detail"], vec!["a", "c"]]);
        assert_eq!(shapes(&b"[".repeat(1_000_000)), []);
        assert_eq!(shapes(br#"{"k":"v","n":1}"#)[0].texts, [(&b"k"[..], &b"v"[..])]);
    }
}
