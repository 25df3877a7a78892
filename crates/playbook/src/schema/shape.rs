//! What may stand where: the keys of each mapping, and the form of each value, as tables.
//!
//! The parser reads its keys here, and the JSON Schema for editors is made of the same tables, so neither knows a key
//! that the other does not. Never reads a file itself.

mod playbook;
mod recover;
mod snippets;
mod test_file;

use staunch_model::Span;

pub(crate) use playbook::{
    ACT, GUARDS, IMPACT, IRREVERSIBLE, JOB_ACT, JOB_STEP, LEASE, MODE, PAGE, PLAYBOOK, STEP, TRIGGER, evidence,
};
pub(super) use playbook::{KNOWLEDGE, ON_FAILURE, RISK, WHEN_UNKNOWN};
pub(super) use recover::OTHERWISE;
pub(crate) use recover::{RELEASE, REQUEST_CHANGE, SOAK, WATCH, recover_steps};
pub(crate) use snippets::SNIPPETS;
pub(crate) use test_file::{
    ASSET, CONTEXT, CONTEXT_ROW, EVENT, EXPECTATION, FAULT, HAPPENING, IDENTITY, LOCATED, NAMED_EVENT, OTHER_TARGET,
    PROCESS, QUESTION, RATING, TEST, TEST_FILE, WORLD,
};
pub(super) use test_file::{
    AT_MAX, ENFORCING, FAULTS_AT, IDENTITY_KINDS, LEVELS, LIMITS, PLACES_BEFORE, RISKS, RULINGS, TESTS_MAX, TIMES_MAX,
    TITLE_CHARS_MAX, WORLD_KINDS, evidence_kinds, places, preserved, recoveries, signals, verdicts,
};

/// A mapping.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What it is called in messages.
    pub(crate) what: &'static str,
    /// What it is for.
    pub(crate) doc: &'static str,
    /// Its keys.
    pub(crate) keys: &'static [Key],
    /// Which keys must stand together, besides those that must be there anyway.
    pub(crate) needs: Needs,
}

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    /// The key.
    pub(crate) name: &'static str,
    /// What its value looks like.
    pub(crate) form: Form,
    /// What it means, with its default.
    pub(crate) doc: &'static str,
    /// Whether it must be given.
    pub(crate) required: bool,
}

/// Which keys must stand together.
#[derive(Debug)]
pub(crate) enum Needs {
    /// Nothing is asked.
    Nothing,
    /// All keys of at least one of these groups.
    Some(&'static [&'static [&'static str]]),
    /// All keys of exactly one of these groups.
    One(&'static [&'static [&'static str]]),
}

/// What a value looks like.
#[derive(Debug)]
pub(crate) enum Form {
    /// Any text, of at most so many characters.
    Text(Option<usize>),
    /// The name of a playbook.
    Name,
    /// The name of a health signal.
    Signal,
    /// A condition over a query of Prometheus.
    Condition,
    /// The name of a job.
    Job,
    /// The name of an environment.
    Environment,
    /// Anything: what it must be depends on where it is used.
    Any,
    /// The name of a parameter or of a condition.
    Parameter,
    /// Values of a parameter by environment, the default among them.
    ByEnvironment,
    /// An ATT&CK technique.
    Technique,
    /// A source system that is known.
    System,
    /// An expression in CEL.
    Expression,
    /// A length of time within bounds.
    Duration(Span, Span),
    /// A length of time up to what the configuration allows.
    Lease,
    /// A percentage with at most two decimals.
    Percentage,
    /// A whole number within bounds.
    Number(u32, u32),
    /// One of a few words.
    Word(fn() -> Vec<&'static str>),
    /// What is acted on: an IP address, or a process by its number.
    Target,
    /// A network.
    Network,
    /// A point in time.
    Time,
    /// A sentence of one of a few patterns, as regular expressions.
    Phrase(&'static [&'static str]),
    /// A list of so many at least and at most.
    List(&'static Form, usize, usize),
    /// A mapping with known keys.
    Mapping(&'static Shape),
    /// A mapping with keys and values of these forms.
    Pairs(&'static Form, &'static Form),
    /// A mapping with one key, the name of what is meant.
    Named(fn() -> Vec<&'static str>, &'static Shape),
    /// One of these forms.
    Either(&'static [Form]),
}

impl Shape {
    /// The names of its keys.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|it| it.name).collect()
    }
}

/// A key that may be left out.
const fn may(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        form,
        doc,
        required: false,
    }
}

/// A key that must be there.
const fn must(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        form,
        doc,
        required: true,
    }
}

/// The words of a table.
fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}
