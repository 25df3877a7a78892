//! Sigma rules: read, and tried on events as their sources send them.
//!
//! Never guesses: a rule that says something which is not evaluated here is refused by the name of it. Understood are
//! searches of fields and of words; the modifiers `contains`, `startswith`, `endswith`, `all`, `cased`, `re` (with `i`,
//! `m` and `s`), `cidr`, `exists`, `lt`, `lte`, `gt` and `gte`; wildcards, lists and null; and conditions of `and`,
//! `or`, `not`, brackets, `1 of`, `any of`, `all of` and `them`. Fields are looked up by their path in the event: what
//! maps names is the reader's.

mod condition;
mod value;

use std::fmt;

use serde_json::Value;
use staunch_model::Printable;

use crate::diagnostic::Report;
use crate::yaml::{self, Kind, Node};
use condition::Condition;
use value::{Field, Words};

/// Searches of one rule.
const SEARCHES_MAX: usize = 256;

/// A rule that can be tried.
#[derive(Clone, Debug)]
pub struct Rule {
    product: Option<String>,
    searches: Vec<Search>,
    condition: Condition,
}

/// What a condition names.
#[derive(Clone, Debug)]
enum Search {
    /// All of these fields are as the rule says.
    Fields(Vec<Field>),
    /// One of these is true.
    Any(Vec<Search>),
    /// These words are somewhere in the event.
    Words(Words),
}

/// Why a rule is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not YAML, or more of it than is read; with the mistake.
    NotYaml(String),
    /// It is no rule of events, but of other rules.
    Correlation,
    /// It has no `detection` with searches.
    NoDetection,
    /// It has no condition.
    NoCondition,
    /// It has several conditions.
    SeveralConditions,
    /// It counts over time.
    Timeframe,
    /// Its condition counts or joins.
    Aggregation,
    /// Its condition cannot be read; with the place.
    Condition(String),
    /// Its condition names a search that is not there.
    UnknownSearch(String),
    /// A field has a modifier that is not evaluated here.
    Modifier(String),
    /// A search or a field holds something else than values.
    Value(String),
    /// A regular expression is not understood here.
    Regex(String),
    /// A network is none.
    Network(String),
    /// It has more searches than are read, or nests them deeper.
    TooLarge,
}

impl Refused {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotYaml(_) => "not-yaml",
            Self::Correlation => "correlation",
            Self::NoDetection => "no-detection",
            Self::NoCondition => "no-condition",
            Self::SeveralConditions => "several-conditions",
            Self::Timeframe => "timeframe",
            Self::Aggregation => "aggregation",
            Self::Condition(_) => "condition",
            Self::UnknownSearch(_) => "unknown-search",
            Self::Modifier(_) => "modifier",
            Self::Value(_) => "value",
            Self::Regex(_) => "regex",
            Self::Network(_) => "network",
            Self::TooLarge => "too-large",
        }
    }
}

impl fmt::Display for Refused {
    /// In a few words that are safe to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The most of a text of the rule that is shown.
        const SHOWN_MAX: usize = 80;
        let shown = |text: &str| {
            let short: String = text.chars().take(SHOWN_MAX).collect();
            Printable(&short).to_string()
        };
        match self {
            Self::NotYaml(why) => write!(f, "it is not YAML that is read here: {}", shown(why)),
            Self::Correlation => f.write_str("it correlates other rules, which is not evaluated here"),
            Self::NoDetection => f.write_str("it has no `detection` with searches"),
            Self::NoCondition => f.write_str("it has no condition"),
            Self::SeveralConditions => f.write_str("it has several conditions; split it into rules"),
            Self::Timeframe => f.write_str("it counts over a timeframe, which is not evaluated here"),
            Self::Aggregation => f.write_str("its condition counts or joins, which is not evaluated here"),
            Self::Condition(at) => write!(f, "its condition cannot be read at `{}`", shown(at)),
            Self::UnknownSearch(name) => write!(f, "its condition names `{}`, which is no search of it", shown(name)),
            Self::Modifier(name) => write!(f, "it uses the modifier `{}`, which is not evaluated here", shown(name)),
            Self::Value(name) => write!(f, "`{}` holds something else than values", shown(name)),
            Self::Regex(text) => write!(f, "the regular expression `{}` is not understood here", shown(text)),
            Self::Network(text) => write!(f, "`{}` is no network", shown(text)),
            Self::TooLarge => f.write_str("it has more searches than are read, or nests them deeper"),
        }
    }
}

impl std::error::Error for Refused {}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What of it is not evaluated here.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let mut report = Report::new("rule", text);
        let root = yaml::parse(text, &mut report);
        let root = match root {
            Some(root) if !report.has_errors() => root,
            _ => {
                let found = report.finish();
                let why = found.first().map_or_else(String::new, |it| it.message.clone());
                return Err(Refused::NotYaml(why));
            }
        };
        if member(&root, "correlation").is_some() {
            return Err(Refused::Correlation);
        }
        let product = member(&root, "logsource")
            .and_then(|it| member(it, "product"))
            .and_then(Node::text)
            .map(ToOwned::to_owned);
        let Some(Kind::Mapping(detection)) = member(&root, "detection").map(|it| &it.kind) else {
            return Err(Refused::NoDetection);
        };
        let mut names = Vec::new();
        let mut searches = Vec::new();
        let mut condition = None;
        for (key, value) in detection {
            let name = key.text().unwrap_or_default();
            match name {
                "condition" => condition = Some(value),
                "timeframe" => return Err(Refused::Timeframe),
                _ => {
                    names.push(name);
                    searches.push(search(name, value, 0)?);
                }
            }
        }
        if searches.is_empty() {
            return Err(Refused::NoDetection);
        }
        if searches.len() > SEARCHES_MAX {
            return Err(Refused::TooLarge);
        }
        let condition = match condition.map(|it| &it.kind) {
            Some(Kind::Scalar { text, .. }) => Condition::read(text, &names)?,
            Some(Kind::List(_)) => return Err(Refused::SeveralConditions),
            _ => return Err(Refused::NoCondition),
        };
        Ok(Self {
            product,
            searches,
            condition,
        })
    }

    /// The product whose events it is for.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.product.as_deref()
    }

    /// Whether it selects `event`. Letters match whatever their case, unless the rule says otherwise.
    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        self.condition.holds(&|at| self.searches[at].holds(event))
    }
}

impl Search {
    fn holds(&self, event: &Value) -> bool {
        match self {
            Self::Fields(fields) => fields.iter().all(|field| field.holds(event)),
            Self::Any(searches) => searches.iter().any(|search| search.holds(event)),
            Self::Words(words) => words.hold(event),
        }
    }
}

fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.kind {
        Kind::Mapping(pairs) => pairs
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value),
        _ => None,
    }
}

/// A mapping of fields, a list of those, or words.
fn search(name: &str, node: &Node, depth: usize) -> Result<Search, Refused> {
    match &node.kind {
        Kind::Mapping(pairs) if pairs.is_empty() => Err(Refused::Value(name.to_owned())),
        Kind::Mapping(pairs) => match &pairs[..] {
            [(key, value)] if key.text().is_some_and(|it| it.starts_with('|')) => {
                Words::read(key.text().unwrap_or_default(), value).map(Search::Words)
            }
            _ => {
                let fields = pairs
                    .iter()
                    .map(|(key, value)| Field::read(key.text().unwrap_or_default(), value));
                fields.collect::<Result<_, _>>().map(Search::Fields)
            }
        },
        Kind::List(items) if items.iter().all(|it| it.text().is_some()) && !items.is_empty() => {
            Words::read("", node).map(Search::Words)
        }
        // A list in a list means nothing.
        Kind::List(items) if depth == 0 && !items.is_empty() => {
            let all = items.iter().map(|item| match &item.kind {
                Kind::Mapping(_) => search(name, item, depth + 1),
                _ => Err(Refused::Value(name.to_owned())),
            });
            all.collect::<Result<_, _>>().map(Search::Any)
        }
        Kind::Scalar { .. } if !node.is_null() => Words::read("", node).map(Search::Words),
        _ => Err(Refused::Value(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
