//! Reads what a playbook declares: names, defaults, and the values of environments.

use staunch_model::Printable;

use super::names::{a_name, is_environment, is_name, reference};
use super::{DEFAULT, Declared, KEY, Parameter, member};
use crate::diagnostic::Report;
use crate::limits;
use crate::yaml::{Kind, Node};

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
