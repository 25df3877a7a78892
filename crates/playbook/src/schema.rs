//! The keys of a playbook: from the tree to the plan.
//!
//! Every key is looked at even when another one is wrong, so that all mistakes are reported at once.

mod fields;
mod preserve;
mod recover;
pub(crate) mod shape;
mod steps;
pub(crate) mod test_file;
mod trigger;
mod values;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use staunch_model::{
    Context, EventView, Explanation, FLOWS_MIN_DEFAULT, Mode, Modes, OnFailure, Playbook, PlaybookGuards, Printable,
    Program, Risk, Span, Step, SystemName,
};

use crate::cel::explain;
use crate::cel::looked::Looker;
use crate::diagnostic::{Diagnostic, Report};
use crate::parameters::{self, Declared, Set, Values};
use crate::snippets::{self, SnippetName, Snippets};
use crate::yaml::{Kind, Node};
use crate::{CheckContext, Compiled, Source, limits, yaml};
use fields::Fields;

/// What the impact limit asks for besides the limit itself.
struct Impact {
    /// Where the limit stands.
    span: Range<usize>,
    flows_min: u32,
}

/// Events that come this long after an incident opened join it, when the playbook does not say.
const DEDUPLICATE_DEFAULT: Span = Span::from_mins(10);

/// Compiles one file; with it, the bytes of the playbook's name.
pub(crate) fn compile(source: Source<'_>, context: &CheckContext) -> Result<(Compiled, Range<usize>), Vec<Diagnostic>> {
    let mut report = Report::new(source.file, source.text);
    let mistaken = source.snippets.map_or(&[][..], Snippets::diagnostics);
    mistaken.iter().for_each(|it| report.keep(it.clone()));
    let root = yaml::parse(source.text, &mut report);
    let compiled = root.and_then(|root| {
        let mut snippets = BTreeSet::new();
        let root = snippets::put_into(&root, source.snippets, &mut snippets, &mut report);
        with_parameters(&root, source, snippets, context, &mut report)
    });
    let errors = report.has_errors();
    let found = report.finish();
    match compiled {
        Some((mut compiled, span)) if !errors => {
            compiled.warnings = found;
            Ok((compiled, span))
        }
        _ => Err(found),
    }
}

/// A playbook without mistakes, written out with everything that snippets stand for.
pub(crate) fn written_out(source: Source<'_>, context: &CheckContext) -> Result<String, Vec<Diagnostic>> {
    compile(source, context)?;
    let mut report = Report::new(source.file, source.text);
    let root = yaml::parse(source.text, &mut report).map(|root| {
        let root = snippets::put_into(&root, source.snippets, &mut BTreeSet::new(), &mut report);
        snippets::write(&root, source.snippets, &mut report)
    });
    root.ok_or_else(|| report.finish())
}

/// Compiles the playbook with every set of values that its parameters can have, and gives the one that is in force.
fn with_parameters<'a>(
    root: &Node,
    source: Source<'a>,
    mut snippets_used: BTreeSet<SnippetName>,
    context: &CheckContext,
    report: &mut Report<'a>,
) -> Option<(Compiled, Range<usize>)> {
    let declared = Declared::read(root, report);
    let mut used = BTreeSet::new();
    let mut in_force = None;
    let mut usual = BTreeSet::new();
    for set in declared.sets(root, context) {
        let Set { values, when, .. } = &set;
        let mut own = report.alike();
        let tree = values.put_into(root, &mut used, &mut own);
        let mut walk = Walk {
            text: source.text,
            context,
            report: &mut own,
            values,
            used: &mut used,
            snippets: source.snippets,
            snippets_used: &mut snippets_used,
        };
        let compiled = walk.playbook(&tree);
        for it in own.finish() {
            let known = (it.code, it.file.clone(), it.span.start, it.span.end, it.message.clone());
            let message = if when.is_empty() {
                usual.insert(known);
                it.message
            } else if usual.contains(&known) {
                continue;
            } else {
                format!("{} ({when})", it.message)
            };
            report.keep(Diagnostic { message, ..it });
        }
        if set.in_force {
            in_force = compiled;
        }
    }
    if !report.has_errors() {
        declared.tell_unused(&used, report);
    }
    let (compiled, span) = in_force?;
    let environments = declared.environments().into_iter().map(Box::from).collect();
    Some((
        Compiled {
            environments,
            ..compiled
        },
        span,
    ))
}

/// Whether `name` is small letters, digits and single hyphens, a letter first, and not too long.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.split('-').all(is_part)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= limits::NAME_CHARS_MAX
}

/// A walk over the tree of one file.
struct Walk<'w, 'a> {
    text: &'w str,
    context: &'w CheckContext,
    report: &'w mut Report<'a>,
    /// The values of parameters.
    values: &'w Values,
    /// The names of those that were used.
    used: &'w mut BTreeSet<String>,
    /// The snippets that the file may use.
    snippets: Option<&'a Snippets>,
    /// Those that it does.
    snippets_used: &'w mut BTreeSet<SnippetName>,
}

impl Walk<'_, '_> {
    fn playbook(&mut self, root: &Node) -> Option<(Compiled, Range<usize>)> {
        let fields = self.fields(root, &shape::PLAYBOOK)?;
        let name = self
            .required(&fields, "playbook")
            .and_then(|node| Some((self.name(node)?, node.span.clone())));
        let summary = self.required(&fields, "summary").and_then(|node| self.summary(node));
        let attack = fields
            .get("attack")
            .map_or(Some(Vec::new()), |node| self.techniques(node));
        let trigger = self.required(&fields, "trigger").and_then(|node| self.trigger(node));
        let knowledge = fields
            .get("context")
            .map_or(Some(Vec::new()), |node| self.knowledge(node));
        let (guards, impact, risk_min) = fields
            .get("guards")
            .map_or((Some(PlaybookGuards::default()), None, None), |node| self.guards(node));
        let preserve = self.preserve(fields.get("preserve"));
        // What is written as JSON comes from a program, which may have sorted the keys.
        if !self
            .text
            .get(root.span.start..)
            .is_some_and(|text| text.starts_with('{'))
        {
            self.evidence_first(&fields);
        }
        let steps = self.contain(&fields);
        let contained: Option<Vec<Step>> = steps
            .as_ref()
            .map(|(steps, _)| steps.iter().map(|(step, _)| step.clone()).collect());
        let recovers = self.recover(fields.get("recover"), contained.as_deref());
        let notify = self.notify(fields.get("notify"));
        let modes = fields
            .get("mode")
            .map_or(Some(Modes::default()), |node| self.modes(node));
        let on_failure = fields.get("on_failure").map_or(Some(OnFailure::default()), |node| {
            self.word(node, "on_failure", &shape::ON_FAILURE)
        });

        let (name, name_span) = name?;
        let (trigger, preserve, (mut steps, growing)) = (trigger?, preserve?, steps?);
        let (recovering, recovery) = recovers?;
        steps.extend(recovering);
        let mut context = knowledge?;
        context.extend(growing);
        if let Some(least) = risk_min {
            context.push(Context::RiskMin(least));
        }
        if let Some(Impact { flows_min, .. }) = &impact {
            context.push(Context::FlowsMin(*flows_min));
        }
        if let Some(Impact { span, .. }) = impact.filter(|_| !context.contains(&Context::TrafficShare)) {
            let hint = "add `traffic-share` to `context`; it is taken as if it stood there";
            self.report.warning(
                "P026",
                span,
                "the impact limit needs the traffic share, which `context` does not name",
                hint,
            );
            context.push(Context::TrafficShare);
        }
        context.extend(recovery);
        let (steps, targets): (Vec<_>, _) = steps.into_iter().unzip();
        self.unkept(&fields, &preserve, &steps);
        let (preserve, preserved) = preserve.into_iter().unzip();
        let contributed = self
            .snippets
            .map_or_else(Vec::new, |it| it.contribution(self.snippets_used));
        let playbook = Playbook {
            name,
            summary: summary?,
            hash: self.values.hash(self.text, &contributed),
            attack: attack?,
            deduplicate: trigger.deduplicate,
            context,
            guards: guards?,
            preserve,
            steps,
            notify: notify?,
            modes: modes?,
            on_failure: on_failure?,
        };
        let systems = trigger.systems.iter().map(|it| SystemName::from(it.as_str())).collect();
        let (condition, text, key) = (trigger.condition, trigger.text, trigger.key);
        let parameters = self.values.shown();
        let told = parameters.clone();
        let looked = Looker::new(condition.clone(), text.clone());
        let explain = move |event: &EventView<'_>| Explanation {
            clauses: explain::explain(&condition, &text, event),
            key: key.iter().map(|it| it.show(event)).collect::<Vec<_>>().join(", "),
            parameters: told.clone(),
        };
        let program = Program {
            playbook: Arc::new(playbook),
            systems,
            when: trigger.when,
            needles: trigger.needles,
            incident: trigger.incident,
            preserve: preserved,
            targets,
            explain: Arc::new(explain),
        };
        let compiled = Compiled {
            program,
            warnings: Vec::new(),
            parameters,
            environments: Vec::new(),
            snippets: self.snippets_used.iter().cloned().collect(),
            contributed: contributed.into(),
            looked,
        };
        Some((compiled, name_span))
    }

    fn name(&mut self, node: &Node) -> Option<Box<str>> {
        let hint = "write the name itself: the configuration finds the values of parameters by it";
        parameters::refuse(node, "the name of a playbook", hint, self.report)?;
        let name = self.scalar(node, "playbook")?;
        if is_name(name) {
            return Some(name.into());
        }
        let message = format!("`{}` is not a name for a playbook", Printable(name));
        let hint = format!(
            "names are small letters, digits and single hyphens, at most {}: brute-force-block",
            limits::NAME_CHARS_MAX
        );
        self.report.error_with_hint("P012", node.span.clone(), message, hint);
        None
    }

    fn summary(&mut self, node: &Node) -> Option<Box<str>> {
        let summary = self.scalar(node, "summary")?.trim();
        let characters = summary.chars().count();
        if characters > limits::SUMMARY_CHARS_MAX {
            let message = format!(
                "the summary has {characters} characters, more than {}",
                limits::SUMMARY_CHARS_MAX
            );
            self.report.error_with_hint(
                "P012",
                node.span.clone(),
                message,
                "write one sentence; details go into comments",
            );
            return None;
        }
        if summary.is_empty() || summary.chars().any(staunch_model::text::is_unsafe_to_show) {
            let hint = "write one sentence on one line";
            self.report.error_with_hint(
                "P012",
                node.span.clone(),
                "the summary is empty or not one line of plain text",
                hint,
            );
            return None;
        }
        Some(summary.into())
    }

    fn techniques(&mut self, node: &Node) -> Option<Vec<Box<str>>> {
        self.entries(node, "attack", |walk, item| {
            let technique = walk.scalar(item, "attack")?;
            let digits =
                |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            let fits = technique
                .strip_prefix('T')
                .is_some_and(|rest| match rest.split_once('.') {
                    Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
                    None => digits(rest, 4),
                });
            if !fits {
                let message = format!("`{}` is not an ATT&CK technique", Printable(technique));
                walk.report.error_with_hint(
                    "P012",
                    item.span.clone(),
                    message,
                    "write for example T1110 or T1110.001",
                );
                return None;
            }
            Some(technique.into())
        })
    }

    fn knowledge(&mut self, node: &Node) -> Option<Vec<Context>> {
        self.entries(node, "context", |walk, item| {
            walk.word(item, "context", &shape::KNOWLEDGE)
        })
    }

    /// The guards, the impact limit if there is one, and the risk below which a person is asked, if there is one.
    fn guards(&mut self, node: &Node) -> (Option<PlaybookGuards>, Option<Impact>, Option<Risk>) {
        let Some(fields) = self.fields(node, &shape::GUARDS) else {
            return (None, None, None);
        };
        let defaults = PlaybookGuards::default();
        let mut flows_min = Some(FLOWS_MIN_DEFAULT);
        let share = fields.get("impact").and_then(|node| {
            let fields = self.fields(node, &shape::IMPACT)?;
            if let Some(node) = fields.get("flows_min") {
                flows_min = self.number(node, "flows_min", 0, limits::FLOWS_MIN_MAX);
            }
            self.required(&fields, "traffic_share_max")
        });
        let traffic_share_max_bp = match (fields.get("impact"), share) {
            (None, _) => Some(None),
            (Some(_), None) => None,
            (Some(_), Some(node)) => self.percentage(node, "traffic_share_max").map(Some),
        };
        let risk_min = fields
            .get("risk_min")
            .map_or(Some(None), |node| self.word(node, "risk_min", &shape::RISK).map(Some));
        let when_unknown = fields.get("when_unknown").map_or(Some(defaults.when_unknown), |node| {
            self.word(node, "when_unknown", &shape::WHEN_UNKNOWN)
        });
        let event_age_max = fields
            .get("event_age_max")
            .map_or(Some(defaults.event_age_max), |node| {
                self.duration(node, "event_age_max", Span::from_secs(1), limits::EVENT_AGE_MAX)
            });
        let acts_per_hour_max = fields
            .get("acts_per_hour_max")
            .map_or(Some(defaults.acts_per_hour_max), |node| {
                self.number(node, "acts_per_hour_max", 1, limits::ACTS_PER_HOUR_MAX)
            });
        let guards = || {
            Some(PlaybookGuards {
                traffic_share_max_bp: traffic_share_max_bp?,
                when_unknown: when_unknown?,
                event_age_max: event_age_max?,
                acts_per_hour_max: acts_per_hour_max?,
            })
        };
        let impact = share.zip(flows_min).map(|(node, flows_min)| Impact {
            span: node.span.clone(),
            flows_min,
        });
        let guards = guards().filter(|_| flows_min.is_some() && risk_min.is_some());
        (guards, impact, risk_min.flatten())
    }

    fn modes(&mut self, node: &Node) -> Option<Modes> {
        if let (Kind::Scalar { text, .. }, false) = (&node.kind, node.is_null()) {
            let hint = format!(
                "write {{ low: {text}, medium: {text}, high: {text} }} to use it for all three",
                text = Printable(text)
            );
            self.report.error_with_hint(
                "P006",
                node.span.clone(),
                "`mode` is a mapping of risk classes to modes",
                hint,
            );
            return None;
        }
        let fields = self.fields(node, &shape::MODE)?;
        let words = [Mode::Observe, Mode::Approve, Mode::Enforce].map(|mode| (mode.name(), mode));
        let mut of = |risk: &'static str| {
            fields
                .get(risk)
                .map_or(Some(Mode::default()), |node| self.word(node, risk, &words))
        };
        let (low, medium, high) = (of("low"), of("medium"), of("high"));
        Some(Modes {
            low: low?,
            medium: medium?,
            high: high?,
        })
    }

    /// A key that must be there.
    fn required<'n>(&mut self, fields: &Fields<'n>, key: &'static str) -> Option<&'n Node> {
        let node = fields.get(key);
        if node.is_none() && !fields.is_misspelt(key) {
            let message = format!("the key `{key}` is missing in {}", fields.what);
            self.report
                .error_with_hint("P011", fields.point.clone(), message, format!("add `{key}: ...`"));
        }
        node
    }
}
