//! Fields of Sigma rules with their values, and words that are looked for anywhere.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::Refused;
use crate::limits;
use crate::yaml::{Kind, Node};

/// How deep events are looked into for words.
const DEPTH_MAX: usize = 32;

/// A field with what it is to be.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// The names on the way to it.
    path: Vec<String>,
    /// Whether all of the tests are to hold, or one.
    all: bool,
    tests: Vec<Test>,
}

/// Words that are looked for in all of an event.
#[derive(Clone, Debug)]
pub(super) struct Words {
    all: bool,
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    /// There is nothing there.
    Missing,
    Exists(bool),
    Text(Pattern),
    Regex(Regex),
    Network(IpNet),
    Number(Bound, f64),
}

/// What values are taken as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Regex,
    Network,
    Exists,
    Number(Bound),
}

/// On which side of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Bound {
    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// The modifiers behind a name.
struct Modifiers {
    how: How,
    all: bool,
    cased: bool,
    /// Flags of a regular expression.
    flags: [bool; 3],
}

impl Modifiers {
    fn read<'m>(names: impl Iterator<Item = &'m str>) -> Result<Self, Refused> {
        let mut it = Self {
            how: How::Equals,
            all: false,
            cased: false,
            flags: [false; 3],
        };
        for name in names {
            let how = match name {
                "all" => {
                    it.all = true;
                    continue;
                }
                "cased" => {
                    it.cased = true;
                    continue;
                }
                "i" | "m" | "s" if it.how == How::Regex => {
                    it.flags[usize::from(name == "m") + 2 * usize::from(name == "s")] = true;
                    continue;
                }
                "contains" => How::Contains,
                "startswith" => How::StartsWith,
                "endswith" => How::EndsWith,
                "re" => How::Regex,
                "cidr" => How::Network,
                "exists" => How::Exists,
                "lt" => How::Number(Bound::Less),
                "lte" => How::Number(Bound::AtMost),
                "gt" => How::Number(Bound::Greater),
                "gte" => How::Number(Bound::AtLeast),
                other => return Err(Refused::Modifier(other.to_owned())),
            };
            // Two of them together mean something else than either.
            if it.how != How::Equals {
                return Err(Refused::Modifier(name.to_owned()));
            }
            it.how = how;
        }
        Ok(it)
    }

    fn test(&self, name: &str, node: &Node) -> Result<Test, Refused> {
        let text = node.text().ok_or_else(|| Refused::Value(name.to_owned()))?;
        if node.is_null() {
            return match self.how {
                How::Equals => Ok(Test::Missing),
                _ => Err(Refused::Value(name.to_owned())),
            };
        }
        let wild = |before, after| {
            let mut pattern = Pattern::read(text, self.cased);
            if before {
                pattern.pieces.insert(0, Piece::Any);
            }
            if after {
                pattern.pieces.push(Piece::Any);
            }
            Ok(Test::Text(pattern))
        };
        match self.how {
            How::Equals => wild(false, false),
            How::Contains => wild(true, true),
            How::StartsWith => wild(false, true),
            How::EndsWith => wild(true, false),
            How::Regex => {
                let [i, m, s] = self.flags;
                RegexBuilder::new(text)
                    .case_insensitive(i)
                    .multi_line(m)
                    .dot_matches_new_line(s)
                    .size_limit(limits::REGEX_BYTES_MAX)
                    .build()
                    .map(Test::Regex)
                    .map_err(|_| Refused::Regex(text.to_owned()))
            }
            How::Network => {
                let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                network
                    .map(Test::Network)
                    .map_err(|_| Refused::Network(text.to_owned()))
            }
            How::Exists => match text {
                "true" | "yes" => Ok(Test::Exists(true)),
                "false" | "no" => Ok(Test::Exists(false)),
                _ => Err(Refused::Value(name.to_owned())),
            },
            How::Number(bound) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Test::Number(bound, number)),
                _ => Err(Refused::Value(name.to_owned())),
            },
        }
    }

    fn tests(&self, name: &str, node: &Node) -> Result<Vec<Test>, Refused> {
        let nodes = match &node.kind {
            Kind::List(items) => &items[..],
            _ => std::slice::from_ref(node),
        };
        let tests: Vec<Test> = nodes
            .iter()
            .map(|node| self.test(name, node))
            .collect::<Result<_, _>>()?;
        if tests.is_empty() {
            return Err(Refused::Value(name.to_owned()));
        }
        Ok(tests)
    }
}

impl Field {
    /// A field of a search: `name|modifier: value`.
    pub(super) fn read(key: &str, node: &Node) -> Result<Self, Refused> {
        let mut parts = key.split('|');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return Err(Refused::Value(key.to_owned()));
        }
        let modifiers = Modifiers::read(parts)?;
        Ok(Self {
            path: name.split('.').map(ToOwned::to_owned).collect(),
            all: modifiers.all,
            tests: modifiers.tests(name, node)?,
        })
    }

    pub(super) fn holds(&self, event: &Value) -> bool {
        let found = find(event, &self.path);
        let texts: Vec<String> = match found {
            Some(Value::Array(items)) => items.iter().filter_map(text_of).collect(),
            found => found.and_then(text_of).into_iter().collect(),
        };
        let presence = match found {
            None => Presence::Absent,
            Some(Value::Null) => Presence::Null,
            Some(_) => Presence::Value,
        };
        hold(&self.tests, self.all, &texts, presence)
    }
}

impl Words {
    pub(super) fn read(key: &str, node: &Node) -> Result<Self, Refused> {
        let modifiers = Modifiers::read(key.split('|').filter(|it| !it.is_empty()))?;
        // Words are looked for inside of texts.
        let modifiers = match modifiers.how {
            How::Equals => Modifiers {
                how: How::Contains,
                ..modifiers
            },
            How::Regex => modifiers,
            _ => return Err(Refused::Modifier(key.trim_start_matches('|').to_owned())),
        };
        Ok(Self {
            all: modifiers.all,
            tests: modifiers.tests("words", node)?,
        })
    }

    pub(super) fn hold(&self, event: &Value) -> bool {
        let mut texts = Vec::new();
        add_texts(event, DEPTH_MAX, &mut texts);
        let presence = if texts.is_empty() {
            Presence::Absent
        } else {
            Presence::Value
        };
        hold(&self.tests, self.all, &texts, presence)
    }
}

/// Whether there is something, whatever it is: also a mapping and a list, which have no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    Null,
    Value,
}

fn hold(tests: &[Test], all: bool, texts: &[String], presence: Presence) -> bool {
    let cased: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
    let small: Vec<Vec<char>> = texts.iter().map(|text| text.to_lowercase().chars().collect()).collect();
    let holds = |test: &Test| match test {
        Test::Missing => presence != Presence::Value,
        Test::Exists(expect) => (presence != Presence::Absent) == *expect,
        Test::Text(pattern) => {
            let texts = if pattern.cased { &cased } else { &small };
            texts.iter().any(|text| glob(&pattern.pieces, text))
        }
        Test::Regex(regex) => texts.iter().any(|text| regex.is_match(text)),
        Test::Network(network) => texts.iter().any(|text| {
            text.parse::<IpAddr>()
                .is_ok_and(|ip| network.contains(&ip.to_canonical()))
        }),
        Test::Number(bound, number) => texts.iter().any(|text| {
            let value = text.parse::<f64>().ok();
            let ordering = value.and_then(|it| it.partial_cmp(number));
            ordering.is_some_and(|it| bound.holds(it))
        }),
    };
    if all {
        tests.iter().all(holds)
    } else {
        tests.iter().any(holds)
    }
}

/// What is at `path`. A name of the event may have dots in it.
fn find<'e>(event: &'e Value, path: &[String]) -> Option<&'e Value> {
    let fields = match (event, path) {
        (_, []) => return Some(event),
        (Value::Object(fields), _) => fields,
        _ => return None,
    };
    (1..=path.len()).find_map(|length| {
        let name = path[..length].join(".");
        find(fields.get(&name)?, &path[length..])
    })
}

/// The text in `value`, when it is one, a number or a truth value.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The texts in `value`, however deep they are, down to a bound.
fn add_texts(value: &Value, depth: usize, texts: &mut Vec<String>) {
    match value {
        Value::Array(items) if depth > 0 => items.iter().for_each(|item| add_texts(item, depth - 1, texts)),
        Value::Object(fields) if depth > 0 => fields.values().for_each(|it| add_texts(it, depth - 1, texts)),
        value => texts.extend(text_of(value)),
    }
}

/// A text with wildcards.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    cased: bool,
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

impl Pattern {
    /// What `text` stands for: `*` and `?` are wildcards, unless a backslash stands before them.
    pub(super) fn read(text: &str, cased: bool) -> Self {
        let text = if cased { text.to_owned() } else { text.to_lowercase() };
        let mut chars = text.chars().peekable();
        let mut pieces = Vec::new();
        while let Some(c) = chars.next() {
            pieces.push(match (c, chars.peek()) {
                ('\\', Some(&next)) if matches!(next, '*' | '?' | '\\') => {
                    chars.next();
                    Piece::Char(next)
                }
                ('*', _) => Piece::Any,
                ('?', _) => Piece::One,
                (c, _) => Piece::Char(c),
            });
        }
        Self { pieces, cased }
    }

    /// Whether it stands for `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        let text: Vec<char> = if self.cased {
            text.chars().collect()
        } else {
            text.to_lowercase().chars().collect()
        };
        glob(&self.pieces, &text)
    }
}

/// Goes back to the last `*` only, so that no pattern takes more than the product of both lengths.
fn glob(pattern: &[Piece], text: &[char]) -> bool {
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(Piece::Any) => {
                back = Some((p, t));
                p += 1;
            }
            Some(Piece::One) => (p, t) = (p + 1, t + 1),
            Some(Piece::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|it| *it == Piece::Any)
}
