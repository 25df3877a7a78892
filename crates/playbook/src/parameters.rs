//! The parameters of a playbook: values with names, with others for some environments.
//!
//! Never pastes text into text. A value takes the place of a whole scalar, or is a constant of an expression.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saphyr_parser::ScalarStyle;
use staunch_model::{ContentHash, ParameterValue, Printable};

use crate::cel::Reporter;
use crate::cel::parse::{Syntax, SyntaxKind};
use crate::diagnostic::{Diagnostic, Report};
use crate::yaml::{Kind, Node};
use crate::{CheckContext, Compiled, limits, suggest};

/// The key of a playbook that has them.
const KEY: &str = "parameters";

/// The name of the value that holds where no other does.
pub(crate) const DEFAULT: &str = "default";

/// The name in expressions that they are members of.
const IN_EXPRESSIONS: &str = "parameter";

/// The parameters that a file declares.
#[derive(Debug, Default)]
pub(crate) struct Declared<'n> {
    all: Vec<Parameter<'n>>,
    /// Whether some of them are mistaken, which was reported.
    mistaken: bool,
}

#[derive(Debug)]
struct Parameter<'n> {
    name: &'n str,
    span: Range<usize>,
    default: &'n Node,
    /// By the names of environments.
    others: Vec<(&'n str, &'n Node)>,
}

/// One value for each parameter.
#[derive(Debug, Default)]
pub(crate) struct Values {
    all: BTreeMap<String, Value>,
    /// Whether there are others that are mistaken: then nothing is said of names that are not known.
    mistaken: bool,
}

#[derive(Debug)]
struct Value {
    text: String,
    style: ScalarStyle,
    /// Where it stands in the file; `None` when the configuration gives it.
    span: Option<Range<usize>>,
    /// Whether it is another one than the default.
    differs: bool,
    from: String,
}

/// Values that are looked at together.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) values: Values,
    /// Which they are, for messages about what is wrong with these and right with the defaults.
    pub(crate) when: String,
    /// Whether the playbook is used with them.
    pub(crate) in_force: bool,
}

impl<'n> Declared<'n> {
    /// Reads what `root` declares. What is mistaken is reported and left out.
    pub(crate) fn read(root: &'n Node, report: &mut Report<'_>) -> Self {
        let Some(node) = member(root, KEY) else {
            return Self::default();
        };
        let Kind::Mapping(pairs) = &node.kind else {
            if !matches!(node.kind, Kind::Refused) && !node.is_null() {
                let message = format!("`{KEY}` is a mapping, and this is {}", node.describe());
                report.error_with_hint("P006", node.point(), message, "write for example { lease: 1h }");
            }
            return Self {
                all: Vec::new(),
                mistaken: true,
            };
        };
        let mut mistaken = false;
        if let Some((key, _)) = pairs.get(limits::PARAMETERS_MAX) {
            let message = format!("{} parameters, more than {}", pairs.len(), limits::PARAMETERS_MAX);
            report.error("P023", key.point(), message);
            mistaken = true;
        }
        let mut all = Vec::new();
        for (key, value) in pairs.iter().take(limits::PARAMETERS_MAX) {
            let Some(name) = a_name(
                key,
                is_name,
                "a parameter",
                "small letters, digits and _: lease_first",
                report,
            ) else {
                mistaken = true;
                continue;
            };
            match given(name, key, value, report) {
                Some((default, others)) => all.push(Parameter {
                    name,
                    span: key.span.clone(),
                    default,
                    others,
                }),
                None => mistaken = true,
            }
        }
        let declared = Self { all, mistaken };
        let environments = declared.environments();
        if environments.len() > limits::ENVIRONMENTS_MAX {
            let message = format!(
                "{} environments, more than {}",
                environments.len(),
                limits::ENVIRONMENTS_MAX
            );
            report.error("P023", node.point(), message);
            return Self {
                all: Vec::new(),
                mistaken: true,
            };
        }
        declared
    }

    /// The environments that any of them has a value for.
    pub(crate) fn environments(&self) -> BTreeSet<&'n str> {
        self.all
            .iter()
            .flat_map(|it| it.others.iter().map(|(name, _)| *name))
            .collect()
    }

    /// What to look at: the defaults first, then each environment, then what the configuration makes of them.
    pub(crate) fn sets(&self, root: &Node, context: &CheckContext) -> Vec<Set> {
        let chosen = context.environment.as_deref();
        let name = member(root, "playbook").and_then(Node::text).unwrap_or_default();
        let given = context.parameters.get(name);
        let overridden = given.is_some_and(|given| self.all.iter().any(|it| given.contains_key(it.name)));
        let environments = self.environments();
        let named = chosen.is_some_and(|it| environments.contains(it));
        let mut sets = vec![Set {
            values: self.values(None, None),
            when: String::new(),
            in_force: !named && !overridden,
        }];
        sets.extend(environments.into_iter().map(|it| Set {
            values: self.values(Some(it), None),
            when: format!("in the environment `{it}`"),
            in_force: !overridden && chosen == Some(it),
        }));
        if overridden {
            sets.push(Set {
                values: self.values(chosen, given),
                when: "with the values of the configuration".to_owned(),
                in_force: true,
            });
        }
        sets
    }

    fn values(&self, environment: Option<&str>, given: Option<&BTreeMap<String, String>>) -> Values {
        let one = |it: &Parameter<'_>| {
            let default = it.default.text().unwrap_or_default();
            let of = it.others.iter().find(|(name, _)| Some(*name) == environment);
            let (node, from) = of.map_or((it.default, "the default".to_owned()), |(name, node)| {
                (*node, format!("environment {name}"))
            });
            let value = match (given.and_then(|given| given.get(it.name)), &node.kind) {
                (Some(text), _) => Value {
                    text: text.clone(),
                    style: ScalarStyle::DoubleQuoted,
                    span: None,
                    differs: text != default,
                    from: "the configuration".to_owned(),
                },
                (None, Kind::Scalar { text, style }) => Value {
                    text: text.clone(),
                    style: *style,
                    span: Some(node.span.clone()),
                    differs: text != default,
                    from,
                },
                _ => return None,
            };
            Some((it.name.to_owned(), value))
        };
        Values {
            all: self.all.iter().filter_map(one).collect(),
            mistaken: self.mistaken,
        }
    }

    /// Says which of them are not `used`.
    pub(crate) fn tell_unused(&self, used: &BTreeSet<String>, report: &mut Report<'_>) {
        for it in self.all.iter().filter(|it| !used.contains(it.name)) {
            let hint = format!(
                "remove it, or write \"${{{0}}}\" where its value is to stand, or parameter.{0} in an expression",
                it.name
            );
            report.warning(
                "P081",
                it.span.clone(),
                format!("nothing uses the parameter `{}`", it.name),
                hint,
            );
        }
    }
}

impl Values {
    /// `node` with the values in the places of their names. Which were there is added to `used`.
    pub(crate) fn put_into(&self, node: &Node, used: &mut BTreeSet<String>, report: &mut Report<'_>) -> Node {
        self.put(node, true, used, report)
    }

    fn put(&self, node: &Node, top: bool, used: &mut BTreeSet<String>, report: &mut Report<'_>) -> Node {
        let kind = match &node.kind {
            Kind::Mapping(pairs) => {
                let mut put = |(key, value): &(Node, Node)| {
                    // What they are is looked at before.
                    let value = match key.text() {
                        Some(KEY) if top => value.clone(),
                        _ => self.put(value, false, used, report),
                    };
                    (key.clone(), value)
                };
                Kind::Mapping(pairs.iter().map(&mut put).collect())
            }
            Kind::List(items) => Kind::List(items.iter().map(|it| self.put(it, false, used, report)).collect()),
            Kind::Scalar { text, .. } => {
                let Some(name) = reference(text) else {
                    return node.clone();
                };
                let Some(value) = self.all.get(name) else {
                    if !self.mistaken {
                        let (message, hint) = self.unknown(name);
                        report.error_with_hint("P080", node.span.clone(), message, hint);
                    }
                    return Node {
                        kind: Kind::Refused,
                        ..node.clone()
                    };
                };
                used.insert(name.to_owned());
                return Node {
                    span: value.span.clone().unwrap_or_else(|| node.span.clone()),
                    kind: Kind::Scalar {
                        text: value.text.clone(),
                        style: value.style,
                    },
                    put_at: Some(node.span.clone()),
                };
            }
            Kind::Refused => Kind::Refused,
        };
        Node { kind, ..node.clone() }
    }

    /// Makes constants of the members of `parameter` in `syntax`. `None` when a mistake was reported.
    pub(crate) fn resolve(
        &self,
        syntax: &mut Syntax,
        used: &mut BTreeSet<String>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<()> {
        match &mut syntax.kind {
            SyntaxKind::Path(segments) if &*segments[0].key == IN_EXPRESSIONS => {
                let [_, member] = &segments[..] else {
                    let hint = format!("write for example {IN_EXPRESSIONS}.least");
                    let message = "this is not a parameter";
                    reporter.error_with_hint("P080", &syntax.span, message, hint);
                    return None;
                };
                let Some(value) = self.all.get(&*member.key) else {
                    if !self.mistaken {
                        let (message, hint) = self.unknown(&member.key);
                        reporter.error_with_hint("P080", &member.span, message, hint);
                    }
                    return None;
                };
                used.insert(member.key.to_string());
                syntax.kind = SyntaxKind::Text(value.text.clone());
                Some(())
            }
            SyntaxKind::And(parts) | SyntaxKind::Or(parts) | SyntaxKind::List(parts) => {
                self.resolve_all(parts.iter_mut(), used, reporter)
            }
            SyntaxKind::Not(part) | SyntaxKind::Has(part) => self.resolve(part, used, reporter),
            SyntaxKind::Compare(_, left, right) | SyntaxKind::In(left, right) => {
                self.resolve_all([&mut **left, &mut **right].into_iter(), used, reporter)
            }
            SyntaxKind::Call {
                receiver, arguments, ..
            } => {
                let parts = receiver.as_deref_mut().into_iter().chain(arguments);
                self.resolve_all(parts, used, reporter)
            }
            SyntaxKind::Null
            | SyntaxKind::Bool(_)
            | SyntaxKind::Int(_)
            | SyntaxKind::Float(_)
            | SyntaxKind::Text(_)
            | SyntaxKind::Path(_) => Some(()),
        }
    }

    fn resolve_all<'s>(
        &self,
        parts: impl Iterator<Item = &'s mut Syntax>,
        used: &mut BTreeSet<String>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<()> {
        let all: Vec<_> = parts.map(|it| self.resolve(it, used, reporter)).collect();
        all.into_iter().collect()
    }

    fn unknown(&self, name: &str) -> (String, String) {
        let known: Vec<&str> = self.all.keys().map(String::as_str).collect();
        let hint = if known.is_empty() {
            format!("declare it: `{KEY}: {{ name: value }}`")
        } else {
            suggest::hint(name, &known, "parameters of this playbook")
        };
        (format!("there is no parameter `{}`", Printable(name)), hint)
    }

    /// The hash of a playbook with these values: that of its text and what snippets put into it where they are the
    /// defaults.
    pub(crate) fn hash(&self, text: &str, contributed: &[u8]) -> ContentHash {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend_from_slice(contributed);
        for (name, value) in self.all.iter().filter(|(_, value)| value.differs) {
            // A playbook has no NUL, so that no text of another one is the same as this one with its values.
            bytes.extend_from_slice(format!("\0{name}\0{}\0{}", value.text.len(), value.text).as_bytes());
        }
        ContentHash::of(&bytes)
    }

    /// What people are told of them.
    pub(crate) fn shown(&self) -> Vec<ParameterValue> {
        let one = |(name, value): (&String, &Value)| ParameterValue {
            name: name.clone(),
            value: value.text.clone(),
            from: value.from.clone(),
        };
        self.all.iter().map(one).collect()
    }
}

/// Refuses a value in a place where there can be none.
pub(crate) fn refuse(node: &Node, what: &str, hint: &str, report: &mut Report<'_>) -> Option<()> {
    let Some(at) = &node.put_at else { return Some(()) };
    report.error_with_hint("P082", at.clone(), format!("{what} cannot be a parameter"), hint);
    None
}

/// What is wrong with what the configuration in `text` says of parameters: values for what is not there, and an
/// environment that no playbook knows. `place` finds the bytes of the nearest thing to the keys of a path.
#[must_use]
pub fn check_configured(
    (file, text): (&str, &str),
    place: impl Fn(&[&str]) -> Range<usize>,
    context: &CheckContext,
    compiled: &[Compiled],
) -> Vec<Diagnostic> {
    let mut report = Report::new(file, text);
    for (playbook, values) in &context.parameters {
        let of = compiled.iter().find(|it| *it.program.playbook.name == **playbook);
        let Some(of) = of else {
            let at = place(&["playbooks", KEY, playbook]);
            let known: Vec<&str> = compiled.iter().map(|it| &*it.program.playbook.name).collect();
            let message = format!("there is no playbook `{}` to have parameters", Printable(playbook));
            report.error_with_hint("P083", at, message, suggest::hint(playbook, &known, "playbooks"));
            continue;
        };
        for name in values.keys() {
            let known: Vec<&str> = of.parameters.iter().map(|it| it.name.as_str()).collect();
            if !known.contains(&name.as_str()) {
                let at = place(&["playbooks", KEY, playbook, name]);
                let message = format!("{playbook} has no parameter `{}`", Printable(name));
                report.error_with_hint("P083", at, message, suggest::hint(name, &known, "its parameters"));
            }
        }
    }
    let known: BTreeSet<&str> = compiled
        .iter()
        .flat_map(|it| it.environments.iter().map(|it| &**it))
        .collect();
    if let Some(chosen) = context.environment.as_deref()
        && !known.is_empty()
        && !known.contains(chosen)
    {
        let known: Vec<&str> = known.into_iter().collect();
        let message = format!(
            "no playbook knows the environment `{}`: the defaults hold",
            Printable(chosen)
        );
        let hint = suggest::hint(chosen, &known, "environments in playbooks");
        report.warning("P084", place(&["playbooks", "environment"]), message, hint);
    }
    report.finish()
}

/// The name in a scalar that is exactly `${name}`.
fn reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?
        .strip_suffix('}')
        .filter(|name| !name.contains(['{', '}']))
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether `text` can be the name of an environment.
#[must_use]
pub fn is_environment(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= limits::NAME_CHARS_MAX
        && text.split('-').all(part)
}

/// The text of a key that is a name.
pub(crate) fn a_name<'n>(
    key: &'n Node,
    fits: fn(&str) -> bool,
    what: &str,
    form: &str,
    report: &mut Report<'_>,
) -> Option<&'n str> {
    let name = match (&key.kind, key.text()) {
        (Kind::Refused, _) => return None,
        (_, Some(name)) => name,
        _ => {
            let message = format!("the name of {what} is a text, and this is {}", key.describe());
            report.error("P006", key.point(), message);
            return None;
        }
    };
    if fits(name) && name.len() <= limits::NAME_CHARS_MAX {
        return Some(name);
    }
    let message = format!("`{}` is not the name of {what}", Printable(name));
    let hint = format!("names are {form}; at most {} characters", limits::NAME_CHARS_MAX);
    report.error_with_hint("P012", key.span.clone(), message, hint);
    None
}

/// The default, and the values by environment.
type Given<'n> = (&'n Node, Vec<(&'n str, &'n Node)>);

/// The default and the other values of a parameter.
fn given<'n>(name: &str, key: &Node, node: &'n Node, report: &mut Report<'_>) -> Option<Given<'n>> {
    let Kind::Mapping(pairs) = &node.kind else {
        scalar(name, key, node, report)?;
        return Some((node, Vec::new()));
    };
    let mut default = None;
    let mut others = Vec::new();
    let mut sound = true;
    for (key, value) in pairs {
        let form = "small letters, digits and single hyphens: staging";
        let environment = a_name(key, is_environment, "an environment", form, report);
        let value = scalar(name, key, value, report);
        match (environment, value) {
            (Some(DEFAULT), Some(value)) => default = Some(value),
            (Some(environment), Some(value)) => others.push((environment, value)),
            (environment, _) => {
                sound = false;
                // It is there, though not as it should be.
                default = default.or((environment == Some(DEFAULT)).then_some(node));
            }
        }
    }
    let Some(default) = default else {
        let message = format!("the key `{DEFAULT}` is missing in the parameter `{}`", Printable(name));
        let hint = "add `default: ...`, the value where no environment is chosen";
        report.error_with_hint("P011", node.point(), message, hint);
        return None;
    };
    sound.then_some((default, others))
}

/// A value: a text that is none of a parameter.
fn scalar<'n>(name: &str, key: &Node, node: &'n Node, report: &mut Report<'_>) -> Option<&'n Node> {
    let text = match &node.kind {
        Kind::Refused => return None,
        _ if node.is_null() => {
            let message = format!("a value of the parameter `{}` is missing", Printable(name));
            report.error_with_hint("P006", key.point(), message, "give it a value or remove it");
            return None;
        }
        Kind::Scalar { text, .. } => text,
        _ => {
            let message = format!(
                "a value of the parameter `{}` is a text, and this is {}",
                Printable(name),
                node.describe()
            );
            report.error("P006", node.point(), message);
            return None;
        }
    };
    if text.chars().count() > limits::PARAMETER_CHARS_MAX {
        let message = format!(
            "a value of `{}` has more than {} characters",
            Printable(name),
            limits::PARAMETER_CHARS_MAX
        );
        report.error("P012", node.span.clone(), message);
        return None;
    }
    if reference(text).is_some() {
        let message = "the value of a parameter cannot be a parameter";
        report.error_with_hint("P082", node.span.clone(), message, "write the value itself");
        return None;
    }
    Some(node)
}

/// The value of a key of a mapping.
fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.kind {
        Kind::Mapping(pairs) => pairs
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value),
        _ => None,
    }
}
