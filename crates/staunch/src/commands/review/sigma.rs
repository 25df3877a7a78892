//! A Sigma rule of one selection: written, read back and tried on events.
//!
//! Never understands more of Sigma than it writes: fields of one `selection` with `contains`, `startswith` and `endswith`,
//! wildcards, and lists, under `condition: selection`. A rule of another form is refused and not guessed at.

use serde_json::Value;
use staunch_model::{Event, Severity};

use super::page::quoted;

/// Fields of an event that a rule may need, at most.
const DEPTH_MAX: usize = 16;

/// The modifiers that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: String,
    how: How,
    /// Any of them will do. As the rule has them, wildcards and all.
    values: Vec<String>,
}

/// The selection of a rule: all fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    fields: Vec<Field>,
}

/// What of `event` tells it from others, the most telling first: the fields that hold its signature, its category, its
/// account and its host.
pub(super) fn candidates(event: &Event, raw: &Value) -> Vec<Selection> {
    let mut leaves = Vec::new();
    flatten(raw, String::new(), 0, &mut leaves);
    let told = [
        Some(&*event.signature),
        Some(&*event.category),
        event.user.as_deref(),
        event.host.as_deref(),
    ];
    told.into_iter()
        .flatten()
        .filter(|it| !it.is_empty())
        .filter_map(|wanted| leaves.iter().find(|(_, value)| value == wanted))
        .map(|(path, value)| Selection {
            fields: vec![Field {
                path: path.clone(),
                how: How::Equals,
                values: vec![literal(value)],
            }],
        })
        .collect()
}

impl Selection {
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut fields = self.fields.clone();
        fields.extend(other.fields.iter().cloned());
        Self { fields }
    }

    /// Whether it selects `event`. Letters match whatever their case, as Sigma has it.
    pub(super) fn matches(&self, event: &Value) -> bool {
        !self.fields.is_empty()
            && self.fields.iter().all(|field| {
                let mut parts = field.path.split('.');
                let found = parts.try_fold(event, |at, part| at.get(part));
                found.and_then(scalar).is_some_and(|text| field.matches(&text))
            })
    }

    /// The rule as a text.
    pub(super) fn rule(&self, title: &str, id: &str, event: &Event, tried: &str) -> String {
        let level = match event.severity {
            Severity::Critical => "critical",
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
            _ => "informational",
        };
        let title: String = title.chars().take(200).collect();
        let fields: String = self.fields.iter().map(Field::line).collect();
        format!(
            "# A draft. {tried}\ntitle: {}\nid: {id}\nstatus: experimental\ndescription: >-\n    Written from the first event \
             of an incident. Read it, and try it on events of your own, before it is used.\nlogsource:\n    product: {}\n\
             detection:\n    selection:\n{fields}    condition: selection\nfalsepositives:\n    - Unknown\nlevel: {level}\n",
            quoted(&title),
            quoted(&event.system.to_string()),
        )
    }

    /// The selection of a rule of the form that [`Selection::rule`] writes.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(super) fn of_rule(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().skip_while(|line| *line != "detection:").skip(1);
        if lines.next() != Some("    selection:") {
            return Err("it has no `detection` that begins with `selection`".to_owned());
        }
        let mut fields = Vec::new();
        for line in lines {
            if let Some(rest) = line.strip_prefix("        ") {
                fields.push(Field::of_line(rest)?);
            } else if line == "    condition: selection" {
                return if fields.is_empty() {
                    Err("its selection is empty".to_owned())
                } else {
                    Ok(Self { fields })
                };
            } else {
                break;
            }
        }
        Err("only `condition: selection` after one selection is understood".to_owned())
    }
}

impl Field {
    fn line(&self) -> String {
        let how = match self.how {
            How::Equals => "",
            How::Contains => "|contains",
            How::StartsWith => "|startswith",
            How::EndsWith => "|endswith",
        };
        let values: Vec<String> = self.values.iter().map(|it| quoted(it)).collect();
        let values = match &values[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        format!("        {}: {values}\n", quoted(&format!("{}{how}", self.path)))
    }

    fn of_line(line: &str) -> Result<Self, String> {
        let not = |_| "a field of its selection is not of the form \"name\": \"value\"".to_owned();
        let one: serde_json::Map<String, Value> = serde_json::from_str(&format!("{{{line}}}")).map_err(not)?;
        let (Some((name, value)), 1) = (one.iter().next(), one.len()) else {
            return Err("a line of its selection has more or less than one field".to_owned());
        };
        let (path, how) = match name.split_once('|') {
            None => (name.as_str(), How::Equals),
            Some((path, "contains")) => (path, How::Contains),
            Some((path, "startswith")) => (path, How::StartsWith),
            Some((path, "endswith")) => (path, How::EndsWith),
            Some(_) => return Err("it uses a modifier that is not evaluated here".to_owned()),
        };
        let values = match value {
            Value::Array(all) => all.iter().map(scalar).collect::<Option<Vec<_>>>(),
            one => scalar(one).map(|it| vec![it]),
        };
        match values {
            Some(values) if !values.is_empty() => Ok(Self {
                path: path.to_owned(),
                how,
                values,
            }),
            _ => Err("a field of its selection has no value".to_owned()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.to_lowercase().chars().collect();
        self.values.iter().any(|value| {
            let mut pattern = pattern(value);
            if matches!(self.how, How::Contains | How::EndsWith) {
                pattern.insert(0, Piece::Any);
            }
            if matches!(self.how, How::Contains | How::StartsWith) {
                pattern.push(Piece::Any);
            }
            glob(&pattern, &text)
        })
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

/// What `value` stands for: `*` and `?` are wildcards, unless a backslash stands before them.
fn pattern(value: &str) -> Vec<Piece> {
    let lower = value.to_lowercase();
    let mut chars = lower.chars().peekable();
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
    pieces
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

/// `text` as a value that matches it alone.
fn literal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The texts in `value` with the path of each. A name that could be taken for another path or a modifier is left out.
fn flatten(value: &Value, path: String, depth: usize, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            for (name, value) in fields {
                if name.is_empty()
                    || !name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@'))
                {
                    continue;
                }
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(value, path, depth + 1, leaves);
            }
        }
        Value::String(text) => leaves.push((path, text.clone())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(field: &str) -> Selection {
        let text = format!("detection:\n    selection:\n        {field}\n    condition: selection\n");
        Selection::of_rule(&text).expect("it is of our form")
    }

    #[test]
    fn fields_match_as_sigma_says() {
        let event = json!({ "alert": { "signature": "ET SCAN a*b\\c", "gid": 1 } });
        for (field, matches) in [
            (r#""alert.signature": "et scan a\\*b\\\\c""#, true),
            (r#""alert.signature": "et scan aXb\\\\c""#, false),
            (r#""alert.signature": "et*""#, true),
            (r#""alert.signature": "*s?an*""#, true),
            (r#""alert.signature": "scan""#, false),
            (r#""alert.signature|contains": "SCAN""#, true),
            (r#""alert.signature|startswith": ["x", "et "]"#, true),
            (r#""alert.signature|endswith": "et""#, false),
            (r#""alert.gid": 1"#, true),
            (r#""alert.nothing": "x""#, false),
        ] {
            assert_eq!(of(field).matches(&event), matches, "{field}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "title: x\n",
            "detection:\n    selection:\n    condition: selection\n",
            "detection:\n    selection:\n        \"a|re\": \"x\"\n    condition: selection\n",
            "detection:\n    selection:\n        \"a\": \"x\"\n    condition: not selection\n",
            "detection:\n    selection:\n        \"a\": \"x\", \"b\": \"y\"\n    condition: selection\n",
        ] {
            assert!(Selection::of_rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn long_patterns_end() {
        let event = json!({ "a": "a".repeat(2_000) });
        assert!(!of(&format!("\"a\": \"{}b\"", "*a".repeat(200))).matches(&event));
    }
}
