//! The parameters of a playbook: values with names, with others for some environments.
//!
//! Never pastes text into text. A value takes the place of a whole scalar, or is a constant of an expression.

mod configured;
mod names;
mod put;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saphyr_parser::ScalarStyle;
use staunch_model::{ContentHash, ParameterValue};

use crate::CheckContext;
use crate::diagnostic::Report;
use crate::yaml::{Kind, Node};

pub use self::configured::check_configured;
pub use self::names::is_environment;
pub(crate) use self::names::{a_name, is_name};
pub(crate) use self::put::refuse;

/// The key of a playbook that has them.
const KEY: &str = "parameters";

/// The name of the value that holds where no other does.
pub(crate) const DEFAULT: &str = "default";

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
