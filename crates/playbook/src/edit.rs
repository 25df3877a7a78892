//! Changes one value in the text of a playbook, and leaves every other byte of it as it is, comments among them.
//!
//! Never decides which value is right, and never says that the outcome is a playbook: whoever changes it compiles it.

use crate::diagnostic::Report;
use crate::yaml::{self, Kind, Node};

/// A step of the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An item of a list, from 0.
    Item(usize),
    /// An item of a list by its name, as of `flows: { … }` or `- network` in a list of evidence: the first of it from
    /// 0.
    Named(&'a str, usize),
    /// The value of the only key, as of `block-ip: { … }` in a list of steps.
    Only,
}

/// `text` with `value`, which is YAML on one line, at `path`. A key that is not there is added, and so is the mapping
/// around it; where the value is that of a parameter, the parameter's default is changed. `None` when there is no such
/// place.
#[must_use]
pub fn set(text: &str, path: &[Step<'_>], value: &str) -> Option<String> {
    let mut report = Report::new("", text);
    let root = yaml::parse(text, &mut report)?;
    if report.has_errors() || value.contains(['\n', '\r']) {
        return None;
    }
    match find(&root, path) {
        Ok(node) => {
            let parameter = node.text().and_then(parameter);
            match parameter {
                Some(name) => of_parameter(text, &root, name, value),
                None => replace(text, node, value),
            }
        }
        Err((node, rest)) => add(text, node, rest, value),
    }
}

/// The node at `path`; else the last one on the way, and what of the path is left.
fn find<'n, 'p>(root: &'n Node, path: &'p [Step<'p>]) -> Result<&'n Node, (&'n Node, &'p [Step<'p>])> {
    let mut node = root;
    for (at, step) in path.iter().enumerate() {
        let next = match (step, &node.kind) {
            (Step::Key(name), Kind::Mapping(pairs)) => pairs
                .iter()
                .find(|(key, _)| key.text() == Some(name))
                .map(|(_, value)| value),
            (Step::Item(at), Kind::List(items)) => items.get(*at),
            (Step::Named(name, nth), Kind::List(items)) => items.iter().filter(|it| named(it) == Some(name)).nth(*nth),
            (Step::Only, Kind::Mapping(pairs)) => match &pairs[..] {
                [(_, value)] => Some(value),
                _ => None,
            },
            _ => None,
        };
        node = next.ok_or((node, &path[at..]))?;
    }
    Ok(node)
}

/// The name of an item: itself, or its only key.
fn named(item: &Node) -> Option<&str> {
    match &item.kind {
        Kind::Mapping(pairs) => match &pairs[..] {
            [(key, _)] => key.text(),
            _ => None,
        },
        _ => item.text(),
    }
}

/// The name in `${name}`.
fn parameter(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// Changes the default of a parameter.
fn of_parameter(text: &str, root: &Node, name: &str, value: &str) -> Option<String> {
    let path = [Step::Key("parameters"), Step::Key(name), Step::Key("default")];
    let plain = find(root, &path[..2]).ok()?;
    match &plain.kind {
        Kind::Scalar { .. } => replace(text, plain, value),
        _ => replace(text, find(root, &path).ok()?, value),
    }
}

fn replace(text: &str, node: &Node, value: &str) -> Option<String> {
    // A value over many lines would leave the comments in it nowhere.
    let written = &text[node.span.clone()];
    (!written.is_empty() && !written.contains('\n'))
        .then(|| format!("{}{value}{}", &text[..node.span.start], &text[node.span.end..]))
}

/// Adds what is left of a path to `node`.
fn add(text: &str, node: &Node, rest: &[Step<'_>], value: &str) -> Option<String> {
    match (&node.kind, rest) {
        // What stands alone in a list, such as `- network`.
        (Kind::Scalar { .. }, [Step::Only, Step::Key(key)]) if !node.is_null() => {
            let written = &text[node.span.clone()];
            replace(text, node, &format!("{written}: {{ {key}: {value} }}"))
        }
        (Kind::Mapping(pairs), [Step::Key(key)]) => add_pair(text, node, pairs, &format!("{key}: {value}")),
        (Kind::Mapping(pairs), [Step::Key(outer), Step::Key(key)]) => {
            add_pair(text, node, pairs, &format!("{outer}: {{ {key}: {value} }}"))
        }
        _ => None,
    }
}

fn add_pair(text: &str, node: &Node, pairs: &[(Node, Node)], pair: &str) -> Option<String> {
    let with = |at: usize, added: &str| Some(format!("{}{added}{}", &text[..at], &text[at..]));
    if text[node.span.clone()].starts_with('{') {
        let (_, last) = pairs.last()?;
        return with(last.span.end, &format!(", {pair}"));
    }
    let own_line = |key: &Node| {
        let start = text[..key.span.start].rfind('\n').map_or(0, |at| at + 1);
        let indent = &text[start..key.span.start];
        indent.chars().all(|c| c == ' ').then_some((start, indent))
    };
    // In a playbook, what is known and its limits stand before the steps.
    let steps = pairs.iter().find(|(key, _)| key.text() == Some("contain"));
    let before = steps.or(pairs.first()).into_iter().chain(pairs);
    let (mut at, indent) = before.map(|(key, _)| key).find_map(own_line)?;
    // A comment right above belongs to what is below it.
    while let Some((start, line)) = line_before(text, at) {
        if !line.trim_start().starts_with('#') {
            break;
        }
        at = start;
    }
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    with(at, &format!("{indent}{pair}{end}"))
}

/// The line that ends right before `at`, and where it starts.
fn line_before(text: &str, at: usize) -> Option<(usize, &str)> {
    let end = at.checked_sub(1)?;
    let start = text[..end].rfind('\n').map_or(0, |it| it + 1);
    Some((start, &text[start..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Head.\nplaybook: a # the name\nparameters: { lease: 1h, age: { default: 5m, x: 1m } }\n\
        preserve:\n  - network\n  - flows: { target: event.source.ip } # who talked\n  - files:\n      # which\n      \
        paths: [/etc/passwd]\n# Steps.\ncontain:\n  - block-ip: { target: event.source.ip, lease: \"${lease}\" }\n";

    /// The line that is changed or added, and the one that it takes the place of.
    fn check(path: &[Step<'_>], value: &str, expect: (Option<&str>, &str)) {
        let changed = set(TEXT, path, value).expect("there is such a place");
        let old: Vec<&str> = TEXT.lines().collect();
        let new: Vec<&str> = changed.lines().collect();
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (was, is) = expect;
        assert_eq!(new[same], is);
        assert_eq!(was.is_some(), old.len() == new.len());
        let rest = if was.is_some() { same + 1 } else { same };
        if let Some(was) = was {
            assert_eq!(old[same], was);
        }
        assert_eq!(old[rest..], new[same + 1..]);
    }

    #[test]
    fn one_line_changes_and_its_comment_stays() {
        use Step::{Item, Key, Named, Only};
        check(
            &[Key("preserve"), Named("flows", 0), Only, Key("deadline")],
            "9s",
            (
                Some("  - flows: { target: event.source.ip } # who talked"),
                "  - flows: { target: event.source.ip, deadline: 9s } # who talked",
            ),
        );
        check(
            &[Key("preserve"), Named("network", 0), Only, Key("deadline")],
            "9s",
            (Some("  - network"), "  - network: { deadline: 9s }"),
        );
        check(
            &[Key("preserve"), Item(2), Only, Key("deadline")],
            "9s",
            (None, "      deadline: 9s"),
        );
        check(
            &[Key("contain"), Item(0), Only, Key("target")],
            "event.destination.ip",
            (
                Some("  - block-ip: { target: event.source.ip, lease: \"${lease}\" }"),
                "  - block-ip: { target: event.destination.ip, lease: \"${lease}\" }",
            ),
        );
        check(
            &[Key("playbook")],
            "b",
            (Some("playbook: a # the name"), "playbook: b # the name"),
        );
    }

    #[test]
    fn a_block_that_is_not_there_comes_before_the_steps_and_their_comment() {
        let path = [Step::Key("guards"), Step::Key("event_age_max")];
        check(&path, "1h", (None, "guards: { event_age_max: 1h }"));
        let changed = set(TEXT, &path, "1h").expect("there is a place");
        assert!(
            changed.contains("guards: { event_age_max: 1h }\n# Steps.\ncontain:"),
            "{changed}"
        );
    }

    #[test]
    fn of_a_parameter_the_default_is_changed() {
        let was = "parameters: { lease: 1h, age: { default: 5m, x: 1m } }";
        check(
            &[Step::Key("contain"), Step::Item(0), Step::Only, Step::Key("lease")],
            "2h",
            (Some(was), "parameters: { lease: 2h, age: { default: 5m, x: 1m } }"),
        );
    }

    #[test]
    fn where_there_is_no_place_nothing_is_changed() {
        use Step::{Item, Key, Named, Only};
        for path in [
            &[Key("preserve"), Named("flows", 1), Only, Key("deadline")][..],
            &[Key("contain"), Item(7), Only, Key("lease")],
            &[Key("playbook"), Key("x")],
            &[Key("contain"), Only],
            &[Key("a"), Key("b"), Key("c")],
        ] {
            assert_eq!(set(TEXT, path, "x"), None, "{path:?}");
        }
        assert_eq!(set("a: [", &[Key("a")], "x"), None);
        assert_eq!(set(TEXT, &[Key("playbook")], "b\nmode: x"), None);
        assert_eq!(set("a: |\n  x\n  y\n", &[Key("a")], "b"), None);
    }
}
