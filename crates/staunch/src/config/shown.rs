//! The configuration as it is shown: every key with its value, and where that comes from.
//!
//! Never shows a secret: those are in files of their own, and of the address of a feed the part is left out that may
//! hold one.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::mistake::{Step, exactly, line_of};
use super::{Config, Loaded};
use crate::exit::{Exit, Fault};

/// A line of the shown configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The heading of a table.
    Heading(String),
    /// A key with its value, and the line of the file that sets it; `None` for a default.
    Key(String, Option<usize>),
}

/// A configuration and the lines of the file that set its keys.
#[derive(Debug)]
pub(crate) struct Shown {
    text: String,
    /// Where each value is in `text`, and the line that sets it.
    leaves: Vec<Leaf>,
    values: Value,
}

#[derive(Debug)]
struct Leaf {
    path: Vec<Part>,
    span: Range<usize>,
    set_by: Option<usize>,
}

/// A step of the way to a value, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Key(String),
    At(usize),
}

impl Shown {
    /// What is in force with `loaded`.
    ///
    /// # Errors
    /// [`Exit::Failed`] when a value cannot be written in TOML, such as a path that is not UTF-8.
    pub(crate) fn new(loaded: &Loaded) -> Result<Self, Fault> {
        let config = with_paths(&loaded.config);
        let failed = |error: &dyn std::error::Error| Fault::doing(Exit::Failed, "cannot show the configuration", error);
        let text = toml::to_string(&config).map_err(|error| failed(&error))?;
        let values = serde_json::to_value(&config).map_err(|error| failed(&error))?;
        let root = DeTable::parse(&text).map_err(|error| failed(&error))?;
        let mut leaves = Vec::new();
        for (key, value) in root.get_ref() {
            let path = vec![Part::Key(key.get_ref().to_string())];
            leaves_of(value.get_ref(), value.span(), path, &mut leaves);
        }
        let written = DeTable::parse(&loaded.text).ok();
        for leaf in &mut leaves {
            let path: Vec<Step<'_>> = leaf.path.iter().map(Part::step).collect();
            let span = written.as_ref().and_then(|root| exactly(root.get_ref(), &path));
            leaf.set_by = span.map(|span| line_of(&loaded.text, span.start));
        }
        leaves.sort_by_key(|leaf| leaf.span.start);
        Ok(Self { text, leaves, values })
    }

    /// The lines, of all keys or only of those that the file sets.
    pub(crate) fn lines(&self, defaults_too: bool) -> Vec<Line> {
        let by_line: BTreeMap<usize, &Leaf> = self
            .leaves
            .iter()
            .map(|leaf| (line_of(&self.text, leaf.span.start), leaf))
            .collect();
        let mut lines = Vec::new();
        // A text may have several lines: up to which one the value goes that was begun, and whether it is shown.
        let mut begun = (0, false);
        for (at, text) in (1..).zip(self.text.lines()) {
            let (until, shown) = begun;
            match by_line.get(&at) {
                None if at <= until => {
                    if let (true, Some(Line::Key(key, _))) = (shown, lines.last_mut()) {
                        *key = format!("{key}\n{text}");
                    }
                }
                None if text.is_empty() => {}
                None => lines.push(Line::Heading(text.to_owned())),
                Some(leaf) => {
                    let shown = defaults_too || leaf.set_by.is_some();
                    begun = (line_of(&self.text, leaf.span.end), shown);
                    if shown {
                        lines.push(Line::Key(readable(text, leaf), leaf.set_by));
                    }
                }
            }
        }
        // A heading without a key says nothing.
        let mut kept: Vec<Line> = Vec::new();
        for line in lines.into_iter().rev() {
            if matches!(line, Line::Key(..)) || matches!(kept.last(), Some(Line::Key(..))) {
                kept.push(line);
            }
        }
        kept.reverse();
        kept
    }

    /// The values, of all keys or only of those that the file sets.
    pub(crate) fn values(&self, defaults_too: bool) -> Value {
        let mut values = self.values.clone();
        if !defaults_too {
            let set: Vec<&[Part]> = self.set().map(|leaf| leaf.path.as_slice()).collect();
            keep(&mut values, &mut Vec::new(), &set);
        }
        values
    }

    /// The lines of the file, by the paths of the keys that they set.
    pub(crate) fn lines_of_file(&self) -> BTreeMap<String, usize> {
        self.set()
            .filter_map(|leaf| leaf.set_by.map(|line| (dotted(&leaf.path), line)))
            .collect()
    }

    fn set(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(|leaf| leaf.set_by.is_some())
    }
}

impl Part {
    fn step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::At(at) => Step::At(*at),
        }
    }
}

/// `config` with the paths that hold where none is named.
fn with_paths(config: &Config) -> Config {
    let mut config = config.clone();
    config.http.tokens_file = Some(config.tokens_file());
    config.archive.dir = Some(config.archive_dir());
    config.evidence.dir = Some(config.evidence_dir());
    for feed in &mut config.feeds {
        feed.url = feed.url.as_deref().map(without_secrets);
    }
    for lookup in &mut config.lookups {
        lookup.url = Some(without_secrets(lookup.url()));
    }
    for notifier in config.notifiers.values_mut() {
        notifier.url = notifier.shown();
    }
    for signal in config.health.values_mut() {
        signal.url = without_secrets(&signal.url);
    }
    if let Some(prometheus) = &mut config.prometheus {
        prometheus.url = without_secrets(&prometheus.url);
    }
    config
}

/// An address without its user and its query, where keys are written.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?..."));
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host
        .rsplit_once('@')
        .map_or(host.to_owned(), |(_, host)| format!("...@{host}"));
    let path = path.map_or_else(String::new, |path| format!("/{path}"));
    format!("{scheme}://{host}{path}{query}")
}

/// Collects what is not a table, nor a list of tables, in `value`.
fn leaves_of(value: &DeValue<'_>, span: Range<usize>, path: Vec<Part>, leaves: &mut Vec<Leaf>) {
    let inside = |part: Part| path.iter().cloned().chain([part]).collect::<Vec<_>>();
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let path = inside(Part::Key(key.get_ref().to_string()));
                leaves_of(value.get_ref(), value.span(), path, leaves);
            }
        }
        DeValue::Array(array) if array.iter().any(|it| matches!(it.get_ref(), DeValue::Table(_))) => {
            for (at, value) in array.iter().enumerate() {
                leaves_of(value.get_ref(), value.span(), inside(Part::At(at)), leaves);
            }
        }
        _ => leaves.push(Leaf {
            path,
            span,
            set_by: None,
        }),
    }
}

/// The line of `leaf` as people write it: modes of files in octal.
fn readable(line: &str, leaf: &Leaf) -> String {
    let is_mode = leaf.path.last() == Some(&Part::Key("mode".into()));
    match line.split_once(" = ") {
        Some((key, value)) if is_mode => match value.parse::<u32>() {
            Ok(mode) => format!("{key} = {mode:#o}"),
            Err(_) => line.to_owned(),
        },
        _ => line.to_owned(),
    }
}

/// Removes from `value`, which is at `path`, what is not at one of `set`. True when something is left.
fn keep(value: &mut Value, path: &mut Vec<Part>, set: &[&[Part]]) -> bool {
    if set.contains(&path.as_slice()) {
        return true;
    }
    let mut below = |value: &mut Value, part: Part| {
        path.push(part);
        let left = keep(value, path, set);
        path.pop();
        left
    };
    match value {
        Value::Object(map) => {
            map.retain(|key, value| below(value, Part::Key(key.clone())));
            !map.is_empty()
        }
        Value::Array(array) => {
            let mut at = 0..;
            array.retain_mut(|value| below(value, Part::At(at.next().unwrap_or_default())));
            !array.is_empty()
        }
        _ => false,
    }
}

fn dotted(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Key(key) if text.is_empty() => text.push_str(key),
            Part::Key(key) => text.push_str(&format!(".{key}")),
            Part::At(at) => text.push_str(&format!("[{at}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Shown {
        let config = super::super::parse(text).expect("a configuration");
        let loaded = Loaded {
            config,
            file: None,
            text: text.to_owned(),
        };
        Shown::new(&loaded).expect("it can be shown")
    }

    #[test]
    fn keys_in_addresses_are_left_out() {
        for (url, shown) in [
            ("https://feeds.example/drop.txt", "https://feeds.example/drop.txt"),
            (
                "https://ada:secret@feeds.example/a?key=secret&b",
                "https://...@feeds.example/a?...",
            ),
            ("https://feeds.example", "https://feeds.example"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn what_is_shown_is_a_configuration_that_says_the_same() {
        let text = "mode = \"approve\"\n[[sources.files]]\npath = \"/var/log/eve.json\"\n[[sources.sockets]]\npath = \"/s\"\n\
                    mode = 0o660\n[[sources.generic]]\nname = \"edr\"\nsignature = \"a.b\"\nseverity = \"c\"\n[sources.generic.severities]\n\
                    bad = \"high\"\n[never_touch]\nnetworks = [{ network = \"192.0.2.0/24\", reason = \"a\\n[sandbox]\\nenabled = false\" }]\n";
        let first = shown(text);
        let again: Vec<String> = first
            .lines(true)
            .into_iter()
            .map(|line| match line {
                Line::Heading(text) | Line::Key(text, _) => text,
            })
            .collect();
        let second = shown(&again.join("\n"));
        assert_eq!(first.values(true), second.values(true));
        assert!(
            second
                .lines(true)
                .iter()
                .all(|line| !matches!(line, Line::Key(_, None)))
        );
    }

    #[test]
    fn only_what_the_file_says_is_told_from_defaults() {
        let it = shown("mode = \"approve\"\n\n[limits]\nlease_max = \"2h\"\n\n[[sources.sockets]]\npath = \"/s\"\n");
        let lines = vec![
            Line::Key("mode = \"approve\"".into(), Some(1)),
            Line::Heading("[limits]".into()),
            Line::Key("lease_max = \"2h\"".into(), Some(4)),
            Line::Heading("[[sources.sockets]]".into()),
            Line::Key("path = \"/s\"".into(), Some(7)),
        ];
        assert_eq!(it.lines(false), lines);
        assert_eq!(
            it.values(false),
            serde_json::json!({ "mode": "approve", "limits": { "lease_max": "2h" },
                                "sources": { "sockets": [{ "path": "/s" }] } })
        );
        let lines: BTreeMap<_, _> = [("limits.lease_max", 4), ("mode", 1), ("sources.sockets[0].path", 7)].into();
        let found = it.lines_of_file();
        assert_eq!(
            found
                .iter()
                .map(|(path, line)| (&**path, *line))
                .collect::<BTreeMap<_, _>>(),
            lines
        );
        assert!(
            it.lines(true)
                .contains(&Line::Key("source = \"suricata\"".into(), None))
        );
        assert!(it.lines(true).contains(&Line::Key("mode = 0o600".into(), None)));
    }
}
