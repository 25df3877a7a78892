//! The playbook language: parse with spans, check everything, compile to the plan the engine runs.
//!
//! Never reads a file, a clock or the network: texts and limits are arguments, and every mistake is a value. The
//! language itself is described in `docs/reference/playbooks.md`.

mod cel;
mod diagnostic;
pub mod edit;
mod json_schema;
pub mod limits;
mod pages;
mod parameters;
mod schema;
pub mod sigma;
pub mod signature;
mod snippets;
mod suggest;
pub mod test_file;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use staunch_model::{Description, ParameterValue, Program, Span};

pub use cel::looked::{Looked, Looker, Seen, SeenField, SeenTest};
pub use diagnostic::{Diagnostic, Severity};
pub use json_schema::{SchemaOf, json_schema};
pub use pages::page;
pub use parameters::{check_configured, is_environment};
pub use snippets::{SNIPPETS_FILE, SnippetKind, SnippetName, Snippets};

/// The playbooks that come with Staunch: file name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    (
        "brute-force-block.yaml",
        include_str!("../../../playbooks/brute-force-block.yaml"),
    ),
    (
        "crowdsec-block.yaml",
        include_str!("../../../playbooks/crowdsec-block.yaml"),
    ),
    (
        "exploit-attempt-block.yaml",
        include_str!("../../../playbooks/exploit-attempt-block.yaml"),
    ),
    ("scan-block.yaml", include_str!("../../../playbooks/scan-block.yaml")),
    (
        "command-and-control-block.yaml",
        include_str!("../../../playbooks/command-and-control-block.yaml"),
    ),
    (
        "command-and-control-lookup.yaml",
        include_str!("../../../playbooks/command-and-control-lookup.yaml"),
    ),
    (
        "exfiltration-block.yaml",
        include_str!("../../../playbooks/exfiltration-block.yaml"),
    ),
    (
        "crypto-miner-freeze.yaml",
        include_str!("../../../playbooks/crypto-miner-freeze.yaml"),
    ),
    (
        "reverse-shell-freeze.yaml",
        include_str!("../../../playbooks/reverse-shell-freeze.yaml"),
    ),
    (
        "container-escape-freeze.yaml",
        include_str!("../../../playbooks/container-escape-freeze.yaml"),
    ),
    (
        "dns-c2-sinkhole.yaml",
        include_str!("../../../playbooks/dns-c2-sinkhole.yaml"),
    ),
    (
        "account-takeover-lock.yaml",
        include_str!("../../../playbooks/account-takeover-lock.yaml"),
    ),
];

/// The tests of the playbooks that come with Staunch: the playbook's file name and the text of its tests.
pub const BUILT_IN_TESTS: &[(&str, &str)] = &[
    (
        "brute-force-block.yaml",
        include_str!("../../../playbooks/brute-force-block.test.yaml"),
    ),
    (
        "crowdsec-block.yaml",
        include_str!("../../../playbooks/crowdsec-block.test.yaml"),
    ),
    (
        "exploit-attempt-block.yaml",
        include_str!("../../../playbooks/exploit-attempt-block.test.yaml"),
    ),
    (
        "scan-block.yaml",
        include_str!("../../../playbooks/scan-block.test.yaml"),
    ),
    (
        "command-and-control-block.yaml",
        include_str!("../../../playbooks/command-and-control-block.test.yaml"),
    ),
    (
        "command-and-control-lookup.yaml",
        include_str!("../../../playbooks/command-and-control-lookup.test.yaml"),
    ),
    (
        "exfiltration-block.yaml",
        include_str!("../../../playbooks/exfiltration-block.test.yaml"),
    ),
    (
        "crypto-miner-freeze.yaml",
        include_str!("../../../playbooks/crypto-miner-freeze.test.yaml"),
    ),
    (
        "reverse-shell-freeze.yaml",
        include_str!("../../../playbooks/reverse-shell-freeze.test.yaml"),
    ),
    (
        "container-escape-freeze.yaml",
        include_str!("../../../playbooks/container-escape-freeze.test.yaml"),
    ),
    (
        "dns-c2-sinkhole.yaml",
        include_str!("../../../playbooks/dns-c2-sinkhole.test.yaml"),
    ),
    (
        "account-takeover-lock.yaml",
        include_str!("../../../playbooks/account-takeover-lock.test.yaml"),
    ),
];

/// The systems whose decoders come with Staunch. The name `generic` stands for all that a configuration describes.
pub const SYSTEMS: [&str; 12] = [
    "suricata",
    "falco",
    "guardduty",
    "cloudtrail",
    "alertmanager",
    "kubernetes-audit",
    "crowdsec",
    "ocsf",
    "wazuh",
    "okta",
    "cloudevents",
    "auditd",
];

/// What playbooks are checked against.
#[derive(Clone, Debug)]
pub struct CheckContext {
    /// The systems that a playbook can name as sources.
    pub systems: Vec<String>,
    /// The longest lease.
    pub lease_max: Span,
    /// The drivers in use. When there are none, steps are not checked against them.
    pub drivers: Vec<Description>,
    /// The names of the jobs that are configured; `None` when that is not known, and steps are not checked against
    /// them.
    pub jobs: Option<Vec<Box<str>>>,
    /// The environment whose values of parameters hold; `None` for the defaults.
    pub environment: Option<String>,
    /// Values of parameters that hold whatever a playbook says: by its name, and by theirs.
    pub parameters: BTreeMap<String, BTreeMap<String, String>>,
    /// The health signals that can be watched; `None` when they are not known, and any will do.
    pub signals: Option<Signals>,
}

/// The health signals that can be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// By their names.
    pub names: BTreeSet<String>,
    /// Whether there is a Prometheus, of which conditions are asked.
    pub prometheus: bool,
}

impl Default for CheckContext {
    /// The decoders that come with Staunch, leases of up to 24 hours, no drivers.
    fn default() -> Self {
        let systems = SYSTEMS.into_iter().chain(["generic"]).map(str::to_owned).collect();
        Self {
            systems,
            lease_max: Span::from_hours(24),
            drivers: Vec::new(),
            jobs: None,
            environment: None,
            parameters: BTreeMap::new(),
            signals: None,
        }
    }
}

/// A playbook in a file, and the snippets that it may use.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file's name, for diagnostics.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The snippets beside it.
    pub snippets: Option<&'a Snippets>,
}

impl<'a> From<(&'a str, &'a str)> for Source<'a> {
    /// A playbook beside which there are no snippets.
    fn from((file, text): (&'a str, &'a str)) -> Self {
        Self {
            file,
            text,
            snippets: None,
        }
    }
}

/// A checked playbook.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What triage runs and the engine pins.
    pub program: Program,
    /// What is probably not meant, though it can be used.
    pub warnings: Vec<Diagnostic>,
    /// The values of its parameters that hold.
    pub parameters: Vec<ParameterValue>,
    /// The environments that its parameters have values for.
    pub environments: Vec<Box<str>>,
    /// The snippets that it uses, those in other snippets among them.
    pub snippets: Vec<SnippetName>,
    /// What those stand for, in a form of its own; empty when it uses none. Two playbooks of the same text with the
    /// same here are the same, whatever else stands in their files of snippets.
    pub contributed: Box<[u8]>,
    /// What its trigger looks at in an event that it holds for.
    pub looked: Looker,
}

/// Reads and checks one playbook.
///
/// # Errors
///
/// Every mistake in the file, in its order, with the warnings among them.
pub fn compile(file_name: &str, text: &str, context: &CheckContext) -> Result<Compiled, Vec<Diagnostic>> {
    compile_source((file_name, text).into(), context)
}

/// Reads and checks one playbook, with the snippets that it may use.
///
/// # Errors
///
/// Every mistake in the file, in its order, with the warnings among them, and then those in the snippets.
pub fn compile_source(source: Source<'_>, context: &CheckContext) -> Result<Compiled, Vec<Diagnostic>> {
    schema::compile(source, context).map(|(compiled, _)| compiled)
}

/// A playbook as YAML with everything that snippets stand for in its place, without comments. It is read as the same
/// plan, unless an expression has become too long.
///
/// # Errors
///
/// Every mistake, as when it is compiled.
pub fn written_out(source: Source<'_>, context: &CheckContext) -> Result<String, Vec<Diagnostic>> {
    schema::written_out(source, context)
}

/// Reads and checks playbooks that are loaded together: `(file name, text)`.
///
/// # Errors
///
/// Every mistake in every file, in the order of the files, names that are used twice included.
pub fn compile_all<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    context: &CheckContext,
) -> Result<Vec<Compiled>, Vec<Diagnostic>> {
    compile_sources(files.into_iter().map(Source::from), context)
}

/// Reads and checks playbooks that are loaded together, with the snippets that they may use.
///
/// # Errors
///
/// Every mistake in every file, in the order of the files, names that are used twice included. A mistake in snippets is
/// told with the first playbook that it concerns.
pub fn compile_sources<'a>(
    sources: impl IntoIterator<Item = Source<'a>>,
    context: &CheckContext,
) -> Result<Vec<Compiled>, Vec<Diagnostic>> {
    let mut told = BTreeSet::new();
    let mut is_new = |it: &Diagnostic, of: &Source<'_>| {
        *it.file == *of.file || told.insert((it.file.clone(), it.code, it.span.start, it.span.end))
    };
    let mut compiled: Vec<(Compiled, &str)> = Vec::new();
    let mut found = Vec::new();
    let mut failed = false;
    for source in sources {
        let Source { file, text, .. } = source;
        match schema::compile(source, context) {
            Ok((mut one, name_span)) => {
                one.warnings.retain(|it| is_new(it, &source));
                let name = &one.program.playbook.name;
                if let Some((_, first)) = compiled.iter().find(|(other, _)| other.program.playbook.name == *name) {
                    let mut report = diagnostic::Report::new(file, text);
                    let message = format!(
                        "the name `{name}` is already used in {}",
                        staunch_model::Printable(first)
                    );
                    report.error_with_hint("P027", name_span, message, "give each playbook a name of its own");
                    found.extend(report.finish());
                    failed = true;
                }
                compiled.push((one, file));
            }
            Err(diagnostics) => {
                found.extend(diagnostics.into_iter().filter(|it| is_new(it, &source)));
                failed = true;
            }
        }
    }
    if failed {
        Err(found)
    } else {
        Ok(compiled.into_iter().map(|(one, _)| one).collect())
    }
}
