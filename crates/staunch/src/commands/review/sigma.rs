//! The draft of a Sigma rule: what the trigger looked at in the first event, in the names of the event as it was sent.
//!
//! Never says a test that the first event does not pass, and tells which clauses of the trigger no rule can say. Rules
//! are read and tried by [`staunch_playbook::sigma`].

mod fields;

use std::fmt::Write as _;

use serde_json::Value;
use staunch_model::{Event, IncidentId, Printable, Severity, Timestamp};
use staunch_playbook::sigma::Rule;
use staunch_playbook::{Looked, Seen, SeenField, SeenTest};

use super::page::quoted;
use super::record::Recorded;
pub(super) use fields::{Candidate, candidates};

/// How deep fields of an event are looked for.
const DEPTH_MAX: usize = 16;

/// One field of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its name with the modifier: `alert.signature|contains`.
    key: String,
    /// As YAML; one of them will do.
    values: Vec<String>,
}

/// What a rule selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// Fields that are so.
    all: Vec<Line>,
    /// Fields that are not.
    none: Vec<Line>,
    /// Clauses of the trigger that it does not say.
    pub(super) left_out: Vec<String>,
}

/// What says all that the trigger looked at in the event that is `raw` as it was sent.
pub(super) fn of_trigger(looked: Looked, raw: &Value) -> Draft {
    let leaves = leaves(raw);
    let mut draft = Draft {
        left_out: looked.left_out,
        ..Draft::default()
    };
    for (seen, is) in looked
        .all
        .into_iter()
        .map(|it| (it, true))
        .chain(looked.none.into_iter().map(|it| (it, false)))
    {
        let line = Line::of(&seen, &leaves);
        // What was decoded may have been changed on the way.
        match line.filter(|line| line.matches(raw) == is) {
            Some(line) if is => draft.all.push(line),
            Some(line) => draft.none.push(line),
            None => draft.left_out.push(match &seen.field {
                SeenField::Decoded { name, .. } => format!("a test of {name}"),
                SeenField::Raw(path) => format!("a test of event.raw.{}", path.join(".")),
            }),
        }
    }
    draft
}

impl Line {
    /// What says `seen`, by the field of the event that holds it.
    fn of(seen: &Seen, leaves: &[(String, String)]) -> Option<Self> {
        let path = match &seen.field {
            SeenField::Raw(path) => {
                let path = path.join(".");
                is_name(&path).then_some(path)?
            }
            SeenField::Decoded { name, value } => {
                let is_port = name.ends_with(".port");
                let holds = |(path, found): &&(String, String)| {
                    found == value && (!is_port || path.to_lowercase().contains("port"))
                };
                leaves.iter().find(holds)?.0.clone()
            }
        };
        let texts = |all: &[String]| all.iter().map(|it| quoted(&literal(it))).collect();
        let plain = |all: &[String]| all.iter().map(|it| quoted(it)).collect();
        let (modifier, values): (&str, Vec<String>) = match &seen.test {
            SeenTest::Equals(all) => ("", texts(all)),
            SeenTest::Contains(all) => ("|contains", texts(all)),
            SeenTest::StartsWith(all) => ("|startswith", texts(all)),
            SeenTest::EndsWith(all) => ("|endswith", texts(all)),
            SeenTest::Matches(all) => ("|re", plain(all)),
            SeenTest::InNetwork(all) => ("|cidr", plain(all)),
            SeenTest::Present => ("|exists", vec!["true".to_owned()]),
            SeenTest::Number(how, number) => {
                let modifier = ["lt", "lte", "gt", "gte"].into_iter().find(|it| it == how)?;
                return Some(Self {
                    key: format!("{path}|{modifier}"),
                    values: vec![number.clone()],
                });
            }
        };
        Some(Self {
            key: format!("{path}{modifier}"),
            values,
        })
    }

    /// The name of its field, without a modifier.
    fn field(&self) -> &str {
        self.key.split('|').next().unwrap_or_default()
    }

    fn yaml(&self) -> String {
        let values = match &self.values[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        format!("        {}: {values}\n", quoted(&self.key))
    }

    fn matches(&self, raw: &Value) -> bool {
        let draft = Draft {
            all: vec![self.clone()],
            ..Draft::default()
        };
        draft.compiled().is_some_and(|rule| rule.matches(raw))
    }
}

impl Draft {
    /// The same, and this too.
    pub(super) fn and(&self, line: &Line) -> Self {
        let mut more = self.clone();
        more.all.push(line.clone());
        more
    }

    /// Whether it selects nothing by what it is.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The names of the fields that are so.
    #[cfg(test)]
    pub(super) fn fields(&self) -> Vec<&str> {
        self.all.iter().map(Line::field).collect()
    }

    /// It as a rule that can be tried; `None` when it says what is not evaluated.
    pub(super) fn compiled(&self) -> Option<Rule> {
        Rule::read(&format!("detection:\n{}", self.detection())).ok()
    }

    /// The rule as a text.
    pub(super) fn rule(&self, title: &str, recorded: &Recorded, event: &Event, tried: &str) -> String {
        let incident = &recorded.detail.incident;
        let (id, hash) = (recorded.uuid(), incident.playbook_hash);
        let playbooks = recorded.policy.iter().flat_map(|it| &it.playbooks);
        let attack = playbooks
            .filter(|it| it.hash == hash)
            .flat_map(|it| it.attack.iter())
            .map(|it| &**it);
        let head = head(incident.id, incident.opened, attack);
        let level = match event.severity {
            Severity::Critical => "critical",
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
            _ => "informational",
        };
        let title: String = title.chars().take(200).collect();
        let mut left_out = String::new();
        for clause in &self.left_out {
            // Writing into a string cannot fail.
            let _ = writeln!(left_out, "# The trigger asked for this too: {}", Printable(clause));
        }
        format!(
            "# A draft. {tried}\n{left_out}title: {}\nid: {id}\nstatus: experimental\ndescription: >-\n    Written from the \
             first event of an incident, and from what the trigger of its playbook\n    looked at. Read it, and try it on \
             events of your own, before it is used.\n{head}logsource:\n    product: {}\ndetection:\n{}falsepositives:\n    - Unknown\n\
             level: {level}\n",
            quoted(&title),
            quoted(&event.system.to_string()),
            self.detection()
        )
    }

    /// Searches and condition. Two lines of one name stand in searches of their own, so that both hold.
    fn detection(&self) -> String {
        let mut groups: Vec<Vec<&Line>> = Vec::new();
        for line in &self.all {
            let free = groups
                .iter_mut()
                .find(|group| group.iter().all(|other| other.key != line.key));
            match free {
                Some(group) => group.push(line),
                None => groups.push(vec![line]),
            }
        }
        let mut text = String::new();
        let mut search = |name: String, lines: &[&Line]| {
            let lines: String = lines.iter().map(|line| line.yaml()).collect();
            let _ = write!(text, "    {name}:\n{lines}");
        };
        let condition = match &groups[..] {
            [one] => {
                search("selection".to_owned(), one);
                "selection"
            }
            many => {
                for (at, group) in many.iter().enumerate() {
                    search(format!("selection_{}", at + 1), group);
                }
                "all of selection_*"
            }
        };
        for (at, line) in self.none.iter().enumerate() {
            search(format!("filter_{}", at + 1), &[line]);
        }
        let filters = if self.none.is_empty() {
            ""
        } else {
            " and not 1 of filter_*"
        };
        format!("{text}    condition: {condition}{filters}\n")
    }
}

/// Author, date and tags, as the specification of Sigma has them: a date is that of the day on which the incident
/// opened, and a tag is a technique that the playbook answers, in the namespace `attack`.
fn head<'a>(incident: IncidentId, opened: Timestamp, attack: impl Iterator<Item = &'a str>) -> String {
    let date: String = opened.to_string().chars().take(10).collect();
    let mut head = format!(
        "author: {}\ndate: {date}\n",
        quoted(&format!("staunch review of {incident}"))
    );
    let is_technique = |it: &&str| {
        let rest = it.strip_prefix('T');
        rest.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    let mut tags: Vec<String> = attack
        .filter(is_technique)
        .map(|it| format!("attack.{}", it.to_lowercase()))
        .collect();
    tags.sort();
    tags.dedup();
    if !tags.is_empty() {
        head.push_str("tags:\n");
        for tag in tags {
            // Writing into a string cannot fail.
            let _ = writeln!(head, "    - {tag}");
        }
    }
    head
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

/// Whether `name` cannot be taken for a modifier or another name.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@' | '.'))
}

/// The texts, numbers and truth values in `value`, with the path of each. What has another name than a rule can say is
/// left out.
fn leaves(value: &Value) -> Vec<(String, String)> {
    let mut leaves = Vec::new();
    add_leaves(value, String::new(), 0, &mut leaves);
    leaves
}

fn add_leaves(value: &Value, path: String, depth: usize, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            for (name, value) in fields.iter().filter(|(name, _)| is_name(name)) {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                add_leaves(value, path, depth + 1, leaves);
            }
        }
        Value::String(text) => leaves.push((path, text.clone())),
        Value::Number(number) => leaves.push((path, number.to_string())),
        Value::Bool(flag) => leaves.push((path, flag.to_string())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(field: SeenField, test: SeenTest) -> Seen {
        Seen { field, test }
    }

    fn decoded(name: &str, value: &str) -> SeenField {
        SeenField::Decoded {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn raw(path: &[&str]) -> SeenField {
        SeenField::Raw(path.iter().map(ToString::to_string).collect())
    }

    fn one(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn a_draft_names_the_fields_that_the_trigger_looked_at_and_matches_the_event() {
        let event = json!({
            "alert": { "signature": "ET SCAN a*b", "gid": 22 }, "dest_port": 22, "src_ip": "203.0.113.7",
            "fields": { "proc.name": "sshd" },
        });
        let looked = Looked {
            all: vec![
                seen(
                    decoded("event.signature", "ET SCAN a*b"),
                    SeenTest::Contains(one("a*b")),
                ),
                seen(
                    decoded("event.signature", "ET SCAN a*b"),
                    SeenTest::Contains(one("scan")),
                ),
                seen(decoded("event.destination.port", "22"), SeenTest::Equals(one("22"))),
                seen(raw(&["fields", "proc.name"]), SeenTest::StartsWith(one("ss"))),
                seen(decoded("event.user", "nobody"), SeenTest::Equals(one("nobody"))),
            ],
            none: vec![seen(
                decoded("event.source.ip", "203.0.113.7"),
                SeenTest::InNetwork(one("10.0.0.0/8")),
            )],
            left_out: vec!["event.severity >= high".to_owned()],
        };
        let draft = of_trigger(looked, &event);
        assert_eq!(draft.left_out, ["event.severity >= high", "a test of event.user"]);
        assert_eq!(
            draft.detection(),
            "    selection_1:\n        \"alert.signature|contains\": \"a\\\\*b\"\n        \"dest_port\": \"22\"\n        \
             \"fields.proc.name|startswith\": \"ss\"\n    selection_2:\n        \"alert.signature|contains\": \"scan\"\n    \
             filter_1:\n        \"src_ip|cidr\": \"10.0.0.0/8\"\n    condition: all of selection_* and not 1 of filter_*\n"
        );
        let rule = draft.compiled().expect("it is evaluated");
        assert!(rule.matches(&event));
        let mut inside = event.clone();
        inside["src_ip"] = "10.1.1.1".into();
        assert!(!rule.matches(&inside));
        let mut other = event;
        other["alert"]["signature"] = "ET SCAN aXb".into();
        assert!(!rule.matches(&other));
    }

    #[test]
    fn author_date_and_tags_are_as_the_specification_has_them() {
        let opened = "2026-11-27T07:30:16.670Z".parse().expect("a time");
        let attack = ["T1110", "T1110.001", "T1110", "nothing\n", ""];
        assert_eq!(
            head(IncidentId(6), opened, attack.into_iter()),
            "author: \"staunch review of INC-6\"\ndate: 2026-11-27\ntags:\n    - attack.t1110\n    - attack.t1110.001\n"
        );
        assert!(!head(IncidentId(6), opened, [].into_iter()).contains("tags"));
    }

    #[test]
    fn hostile_names_are_no_fields_and_hostile_values_are_values() {
        let hostile = "x\"\n    condition: selection\n# \\ * ?";
        let event = json!({ "a|re": hostile, "b\nc": hostile, "d": hostile });
        let looked = Looked {
            all: vec![
                seen(decoded("event.signature", hostile), SeenTest::Equals(one(hostile))),
                seen(raw(&["b\nc"]), SeenTest::Equals(one(hostile))),
            ],
            ..Looked::default()
        };
        let draft = of_trigger(looked, &event);
        assert_eq!(draft.all.len(), 1);
        assert_eq!(draft.all[0].key, "d");
        assert_eq!(draft.left_out.len(), 1);
        let rule = draft.compiled().expect("it is evaluated");
        assert!(rule.matches(&event) && !rule.matches(&json!({ "d": "x" })));
        assert_eq!(draft.detection().lines().count(), 3, "{}", draft.detection());
    }
}
