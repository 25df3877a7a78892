//! YAML text to a tree whose every node knows its bytes.
//!
//! Reads a subset: one document, no anchors, aliases or tags, and every scalar is a text. Nesting is bounded while the
//! events arrive, so that hostile input cannot exhaust the stack.

use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use staunch_model::Printable;

use crate::diagnostic::Report;
use crate::limits;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its bytes in the file.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Where the name of a parameter stands whose value this is.
    pub(crate) put_at: Option<Range<usize>>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A text; what it stands for is the schema's business.
    Scalar {
        /// The value, quotes and folding already resolved.
        text: String,
        /// How it is written.
        style: ScalarStyle,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order.
    Mapping(Vec<(Node, Node)>),
    /// Something that was reported already, and about which there is no more to say.
    Refused,
}

impl Node {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// True for a value that was left out: nothing, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: ScalarStyle::Plain } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The bytes to point at: a mapping or a list over many lines is shown by its first member.
    pub(crate) fn point(&self) -> Range<usize> {
        match &self.kind {
            Kind::Mapping(pairs) => pairs.first().map_or(self.span.clone(), |(key, _)| key.point()),
            Kind::List(items) => items.first().map_or(self.span.clone(), Self::point),
            _ => self.span.clone(),
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a text",
            Kind::List(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Refused => "something refused",
        }
    }
}

/// A collection that has been opened.
struct Open {
    start: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Mapping {
        pairs: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

/// Reads `text`. `None` when nothing can be said beyond what was reported.
pub(crate) fn parse(text: &str, report: &mut Report<'_>) -> Option<Node> {
    parse_with(text, "a playbook starts with `playbook: <name>`", report)
}

/// The same, where `to_begin` is what is said of an empty file.
pub(crate) fn parse_with(text: &str, to_begin: &str, report: &mut Report<'_>) -> Option<Node> {
    if text.len() > limits::FILE_BYTES_MAX {
        report.error(
            "P002",
            0..0,
            format!(
                "the file has {} bytes, more than {}",
                text.len(),
                limits::FILE_BYTES_MAX
            ),
        );
        return None;
    }
    if let Some((at, c)) = text
        .char_indices()
        .find(|(_, c)| *c == '\u{feff}' || (c.is_control() && !"\t\n\r".contains(*c)))
    {
        let message = format!("the character {} is not allowed in a playbook", c.escape_unicode());
        report.error_with_hint(
            "P001",
            at..at + c.len_utf8(),
            message,
            "save the file as plain UTF-8 text without a mark at its start",
        );
        return None;
    }
    let offsets = Offsets::new(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = offsets.byte(error.marker());
                if error.info().contains("recursion limit") {
                    report.error(
                        "P002",
                        at..at,
                        format!("nested deeper than {} levels", limits::NESTING_MAX),
                    );
                    return None;
                }
                let message = format!("this is not YAML: {}", Printable(error.info()));
                let hint = if error.info().contains("flow") {
                    "inside { } and [ ], put a text with brackets, braces or commas in quotes"
                } else {
                    "look at the indentation, the colons and the quotes around here"
                };
                report.error_with_hint("P001", at..at, message, hint);
                return None;
            }
        };
        let span = offsets.byte(&span.start)..offsets.byte(&span.end);
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    report.error_with_hint("P004", span, "a second document", "write one playbook per file");
                    return None;
                }
                continue;
            }
            Event::Scalar(value, style, anchor, tag) => {
                let span = trim(text, span, style);
                let refused = refuse_extras(anchor, tag.is_some(), &span, report);
                let kind = if refused {
                    Kind::Refused
                } else {
                    Kind::Scalar {
                        text: value.into_owned(),
                        style,
                    }
                };
                Node {
                    span,
                    kind,
                    put_at: None,
                }
            }
            Event::Alias(_) => {
                report.error_with_hint("P003", span.clone(), "aliases are not allowed", "write the value again");
                Node {
                    span,
                    kind: Kind::Refused,
                    put_at: None,
                }
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), &span, report);
                open.push(Open {
                    start: span.start,
                    kind: OpenKind::List(Vec::new()),
                });
                if too_deep(&open, report) {
                    return None;
                }
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), &span, report);
                open.push(Open {
                    start: span.start,
                    kind: OpenKind::Mapping {
                        pairs: Vec::new(),
                        key: None,
                    },
                });
                if too_deep(&open, report) {
                    return None;
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                close(closed, span.end)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
        };
        match open.last_mut().map(|it| &mut it.kind) {
            None => root = Some(done),
            Some(OpenKind::List(items)) => items.push(done),
            Some(OpenKind::Mapping { pairs, key }) => match key.take() {
                None => *key = Some(done),
                Some(key) if pairs.len() >= limits::KEYS_MAX => {
                    report.error(
                        "P002",
                        key.span,
                        format!("a mapping of more than {} keys", limits::KEYS_MAX),
                    );
                    return None;
                }
                Some(key) => {
                    refuse_duplicate(&key, pairs, report);
                    pairs.push((key, done));
                }
            },
        }
    }
    if root.as_ref().is_none_or(Node::is_null) {
        report.error_with_hint("P004", 0..0, "the file is empty", to_begin);
        return None;
    }
    root
}

fn close(closed: Open, end: usize) -> Node {
    let kind = match closed.kind {
        OpenKind::List(items) => Kind::List(items),
        OpenKind::Mapping { pairs, .. } => Kind::Mapping(pairs),
    };
    Node {
        span: closed.start..end.max(closed.start),
        kind,
        put_at: None,
    }
}

fn too_deep(open: &[Open], report: &mut Report<'_>) -> bool {
    let deep = open.len() > limits::NESTING_MAX;
    if let (true, Some(last)) = (deep, open.last()) {
        report.error(
            "P002",
            last.start..last.start,
            format!("nested deeper than {} levels", limits::NESTING_MAX),
        );
    }
    deep
}

fn refuse_extras(anchor: usize, tagged: bool, span: &Range<usize>, report: &mut Report<'_>) -> bool {
    if anchor != 0 {
        report.error_with_hint("P003", span.clone(), "anchors are not allowed", "remove the `&name`");
    }
    if tagged {
        report.error_with_hint("P003", span.clone(), "tags are not allowed", "remove the `!tag`");
    }
    anchor != 0 || tagged
}

fn refuse_duplicate(key: &Node, pairs: &[(Node, Node)], report: &mut Report<'_>) {
    let Some(name) = key.text() else { return };
    if pairs.iter().any(|(other, _)| other.text() == Some(name)) {
        let message = format!("the key `{}` is given twice", Printable(name));
        report.error_with_hint("P005", key.span.clone(), message, "keep one of them");
    }
}

/// A scalar's span without the blanks and line ends behind it that the scanner may include.
fn trim(text: &str, span: Range<usize>, style: ScalarStyle) -> Range<usize> {
    if matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted) {
        return span;
    }
    let written = text[span.clone()].trim_end();
    span.start..span.start + written.len()
}

/// The bytes of character positions.
struct Offsets {
    /// The byte of each character, and the length of the text.
    bytes: Vec<usize>,
}

impl Offsets {
    fn new(text: &str) -> Self {
        Self {
            bytes: text.char_indices().map(|(at, _)| at).chain([text.len()]).collect(),
        }
    }

    fn byte(&self, marker: &Marker) -> usize {
        self.bytes
            .get(marker.index())
            .or(self.bytes.last())
            .copied()
            .unwrap_or(0)
    }
}
