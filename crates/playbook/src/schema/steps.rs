//! What a playbook does: the acts and the notices.

use staunch_model::{
    ActionKind, Aim, Context, IncidentOutcome, NotifyStep, Phase, Printable, Span, Step, TargetExtractor, UndoClass,
    WatchPlan, is_job_name,
};

use super::fields::Fields;
use super::shape::Shape;
use super::{Walk, shape};
use crate::cel::field::{Field, Type};
use crate::cel::{check, compile, outcome};
use crate::yaml::{Kind, Node};
use crate::{limits, suggest};

/// Acts with their targets, and what the playbook has to know of their leases.
type Acts = (Vec<(Step, TargetExtractor)>, Vec<Context>);

/// How long after a lease a target comes back, when the playbook does not say.
const WITHIN_DEFAULT: Span = Span::from_hours(7 * 24);

impl Walk<'_, '_> {
    /// The acts with their targets, and what has to be known of leases that grow.
    pub(super) fn contain(&mut self, fields: &Fields<'_>) -> Option<Acts> {
        let node = self.required(fields, "contain")?;
        let items = match &node.kind {
            Kind::List(items) if items.is_empty() => {
                let hint = "write at least one step, for example - block-ip: { target: event.source.ip, lease: 1h }";
                self.report
                    .error_with_hint("P022", node.span.clone(), "`contain` has no steps", hint);
                return None;
            }
            _ => self.list(node, "contain", limits::STEPS_MAX)?,
        };
        let steps: Vec<_> = items.iter().map(|item| self.step(item, &CONTAINS)).collect();
        let steps = steps.into_iter().collect::<Option<Vec<_>>>()?;
        let mut growing = Vec::new();
        for (at, (_, _, beside)) in (0..).zip(&steps) {
            growing.extend(beside.context(at));
        }
        let steps: Vec<_> = steps.into_iter().map(|(step, target, _)| (step, target)).collect();
        for (at, (step, _)) in steps.iter().enumerate() {
            if steps[..at]
                .iter()
                .any(|(other, _)| other.action == step.action && other.target == step.target)
            {
                let hint = "remove it; one act on a target is enough";
                self.report
                    .warning("P030", items[at].point(), "this step repeats an earlier one", hint);
            }
        }
        Some((steps, growing))
    }

    /// One act, with the keys of `shapes`.
    pub(super) fn step(&mut self, node: &Node, shapes: &StepShapes) -> Option<(Step, TargetExtractor, Beside)> {
        let (key, value) = self.single(node, "a step", "block-ip: { target: event.source.ip, lease: 1h }")?;
        let name = key.text()?;
        let names = ActionKind::ALL.map(ActionKind::name);
        let action = ActionKind::ALL.into_iter().find(|kind| kind.name() == name);
        if action.is_none() {
            let message = format!("there is no action `{}`", Printable(name));
            self.report.error_with_hint(
                "P015",
                key.span.clone(),
                message,
                suggest::hint(name, &names, "actions"),
            );
        }
        let is_job = action == Some(ActionKind::ExecJob);
        let fields = self.fields(value, if is_job { shapes.of_job } else { shapes.usual })?;
        // A job may be about the machine as a whole.
        let target = if is_job {
            fields.get("target")
        } else {
            self.required(&fields, "target")
        };
        let lease = self.lease(&fields, key);
        let action = action?;
        let job = self.job(action, &fields, key);
        let irreversible = match fields.get("irreversible") {
            Some(node) => self.word(node, "irreversible", &shape::IRREVERSIBLE)?,
            None => false,
        };
        self.driver(action, irreversible, key);
        let watch = match fields.get("watch") {
            Some(node) => Some(self.watch(node, irreversible)?),
            None => None,
        };
        let (target, extractor) = match (action, target) {
            (ActionKind::ExecJob, None) => {
                let job = job?;
                (job.clone(), compile::job(&job, None))
            }
            (ActionKind::ExecJob, Some(target)) => {
                let (subject, field) = self.subject(target)?;
                let job = job?;
                (format!("{job}: {subject}").into(), compile::job(&job, Some(field)))
            }
            (_, target) => self.target(target?, action.aims_at())?,
        };
        let lease = lease?;
        let step = Step {
            phase: Phase::Contain,
            action,
            target,
            lease: lease.first,
        };
        Some((step, extractor, Beside { lease, watch }))
    }

    /// The name of the job of an `exec-job`.
    fn job(&mut self, action: ActionKind, fields: &Fields<'_>, key: &Node) -> Option<Box<str>> {
        let Some(node) = fields.get("job") else {
            if action == ActionKind::ExecJob && !fields.is_misspelt("job") {
                let hint =
                    "add for example `job: quarantine-mailbox`, the name of a `[jobs.NAME]` of the configuration";
                self.report
                    .error_with_hint("P094", key.span.clone(), "this step does not say which job", hint);
            }
            return None;
        };
        let name = self.scalar(node, "job")?.trim().to_owned();
        if !is_job_name(&name) {
            let message = format!("`{}` cannot be the name of a job", Printable(&name));
            let hint = "a name has 1 to 64 lower-case letters, digits and -, and begins with a letter";
            self.report.error_with_hint("P094", node.span.clone(), message, hint);
            return None;
        }
        if let Some(jobs) = &self.context.jobs
            && !jobs.iter().any(|job| **job == *name)
        {
            let names: Vec<&str> = jobs.iter().map(|job| &**job).collect();
            let message = format!("there is no job `{name}` in the configuration");
            let hint = match names.is_empty() {
                true => format!("describe it under [jobs.{name}] in the configuration"),
                false => suggest::hint(&name, &names, "jobs"),
            };
            self.report.error_with_hint("P093", node.span.clone(), message, hint);
            return None;
        }
        Some(name.into())
    }

    /// What a job is about: any text or number or address.
    fn subject(&mut self, node: &Node) -> Option<(Box<str>, Field)> {
        let text = self.scalar(node, "target")?;
        let field = self.expression(node, "target", check::field)?;
        let fits = matches!(field.kind(), Type::Text | Type::Any | Type::Address | Type::Number);
        if !fits {
            let message = format!("{field} is {}, not {}", field.kind().name(), Aim::Job.name());
            let hint = "write a field with a text, a number or an address, such as event.user";
            self.report.error_with_hint("P050", node.span.clone(), message, hint);
            return None;
        }
        Some((text.trim().into(), field))
    }

    pub(super) fn target(&mut self, node: &Node, aim: Aim) -> Option<(Box<str>, TargetExtractor)> {
        let text = self.scalar(node, "target")?;
        let field = self.expression(node, "target", check::field)?;
        let (fits, hint) = match aim {
            Aim::Address => (
                matches!(field.kind(), Type::Address | Type::Any),
                "write event.source.ip or a field of event.raw",
            ),
            Aim::Account => (
                matches!(field.kind(), Type::Text | Type::Any),
                "write event.user or a field of event.raw",
            ),
            Aim::Host => (
                matches!(field.kind(), Type::Text | Type::Any),
                "write event.host or a field of event.raw",
            ),
            Aim::Domain => (
                matches!(field.kind(), Type::Text | Type::Any),
                "write the field of the raw event that holds it, such as event.raw.dns.rrname",
            ),
            Aim::Job => (
                matches!(field.kind(), Type::Text | Type::Any),
                "write a field with a text, such as event.user",
            ),
            Aim::Process => (
                field.kind() == Type::Any,
                "write the field of the raw event that holds it, such as event.raw.output_fields[\"proc.pid\"]",
            ),
        };
        if !fits {
            let message = format!("{field} is {}, not {}", field.kind().name(), aim.name());
            self.report.error_with_hint("P050", node.span.clone(), message, hint);
            return None;
        }
        Some((text.trim().into(), compile::target(field, aim)))
    }

    fn lease(&mut self, fields: &Fields<'_>, key: &Node) -> Option<Lease> {
        let Some(node) = fields.get("lease") else {
            if fields.is_misspelt("lease") {
                return None;
            }
            let hint = "add for example `lease: 1h`: every containment ends by itself unless a person renews it";
            self.report
                .error_with_hint("P020", key.span.clone(), "this step has no lease", hint);
            return None;
        };
        if !matches!(node.kind, Kind::Mapping(_)) {
            let first = self.length(node, "lease")?;
            return Some(Lease { first, grows: None });
        }
        let fields = self.fields(node, &shape::LEASE)?;
        let first = self
            .required(&fields, "first")
            .and_then(|node| self.length(node, "first"));
        let within = match fields.get("within") {
            Some(node) => self.duration(node, "within", Span::from_secs(1), limits::RETURNS_WITHIN_MAX),
            None => Some(WITHIN_DEFAULT),
        };
        let list = self.required(&fields, "then")?;
        if matches!(&list.kind, Kind::List(items) if items.is_empty()) {
            let hint = "write for example `then: [6h, 24h]`, or `lease: 1h` for leases that are all the same";
            self.report
                .error_with_hint("P022", list.span.clone(), "`then` has no leases", hint);
            return None;
        }
        let lengths = self.entries_up_to(list, "then", limits::LEASES_THEN_MAX, |walk, item| {
            Some((item.span.clone(), walk.length(item, "then")?))
        });
        let mut before = first?;
        let mut then = Vec::new();
        for (place, lease) in lengths? {
            if lease <= before {
                let message = format!("the lease {lease} is not longer than {before} before it");
                let hint = "each lease is longer than the one before; the last one holds for all that follow";
                self.report.error_with_hint("P032", place, message, hint);
                return None;
            }
            before = lease;
            then.push(lease);
        }
        Some(Lease {
            first: first?,
            grows: Some((then, within?)),
        })
    }

    /// The length of a lease.
    fn length(&mut self, node: &Node, key: &str) -> Option<Span> {
        let most = self.context.lease_max;
        let lease = self.span(node, key)?;
        // Enforcement points count whole seconds.
        if lease < Span::from_secs(1) || lease > most {
            let message = format!("the lease is {lease}, and must be from 1s to {most}");
            let hint = "a person can renew a containment; the longest lease is set in the configuration";
            self.report.error_with_hint("P021", node.span.clone(), message, hint);
            return None;
        }
        Some(lease)
    }

    fn driver(&mut self, action: ActionKind, irreversible: bool, key: &Node) {
        let drivers = &self.context.drivers;
        let fitting = || drivers.iter().filter(|driver| driver.kind == action);
        if !drivers.is_empty() && fitting().next().is_none() {
            let message = format!("no driver for `{action}` is configured");
            self.report.warning(
                "P031",
                key.span.clone(),
                message,
                "configure one, or the step is refused when it is due",
            );
        }
        let is_for_good = action.is_irreversible() || fitting().any(|driver| driver.undo == UndoClass::None);
        if is_for_good && !irreversible {
            let message = format!("nothing undoes `{action}`, and the step does not say that it is for good");
            let hint = "add `irreversible: yes` if it is meant, or take an action that can be undone";
            self.report.error_with_hint("P029", key.span.clone(), message, hint);
        }
        if irreversible && !is_for_good {
            let message = format!("`{action}` can be undone, and is, when its lease ends");
            let hint = "remove `irreversible`";
            self.report.error_with_hint("P029", key.span.clone(), message, hint);
        }
    }

    /// The notices. Without the key there is one, for every outcome that is not plainly good.
    pub(super) fn notify(&mut self, node: Option<&Node>) -> Option<Vec<NotifyStep>> {
        let Some(node) = node else {
            return Some(vec![NotifyStep {
                when: default_outcomes(),
            }]);
        };
        let items = self.list(node, "notify", limits::NOTICES_MAX)?;
        let notices: Vec<_> = items.iter().map(|item| self.notice(item)).collect();
        notices.into_iter().collect()
    }

    fn notice(&mut self, node: &Node) -> Option<NotifyStep> {
        if node.text() == Some("page") {
            return Some(NotifyStep {
                when: default_outcomes(),
            });
        }
        let (key, value) = self.single(node, "a notice", "page: { when: outcome != contained }")?;
        let name = key.text()?;
        if name != "page" {
            let message = format!("there is no notice `{}`", Printable(name));
            self.report.error_with_hint(
                "P015",
                key.span.clone(),
                message,
                suggest::hint(name, &["page"], "notices"),
            );
            return None;
        }
        let fields = self.fields(value, &shape::PAGE)?;
        let Some(condition) = fields.get("when") else {
            return Some(NotifyStep {
                when: default_outcomes(),
            });
        };
        let when = self.expression(condition, "when", outcome::outcomes)?;
        if when.is_empty() {
            let hint = "write for example: outcome != contained";
            self.report
                .warning("P028", condition.span.clone(), "this notice is never sent", hint);
        }
        Some(NotifyStep { when })
    }

    /// The one key and value of a mapping that names what to do.
    pub(super) fn single<'n>(&mut self, node: &'n Node, what: &str, example: &str) -> Option<(&'n Node, &'n Node)> {
        let hint = || format!("write for example - {example}");
        match &node.kind {
            Kind::Mapping(pairs) => match pairs.as_slice() {
                [(key, value)] if key.text().is_some() => Some((key, value)),
                [_, (second, _), ..] => {
                    let message = format!("{what} has one name, and this is a second one");
                    self.report.error_with_hint(
                        "P006",
                        second.point(),
                        message,
                        format!("{}; look at the indentation", hint()),
                    );
                    None
                }
                _ => {
                    self.report
                        .error_with_hint("P006", node.point(), format!("{what} has a name"), hint());
                    None
                }
            },
            Kind::Refused => None,
            _ => {
                let message = format!("{what} is a mapping with one name, and this is {}", node.describe());
                self.report.error_with_hint("P006", node.point(), message, hint());
                None
            }
        }
    }
}

/// The keys of a step.
pub(super) struct StepShapes {
    usual: &'static Shape,
    of_job: &'static Shape,
}

/// Those of a step that contains.
const CONTAINS: StepShapes = StepShapes {
    usual: &shape::STEP,
    of_job: &shape::JOB_STEP,
};

/// Those of an act that gets back to normal.
pub(super) const RECOVERS: StepShapes = StepShapes {
    usual: &shape::ACT,
    of_job: &shape::JOB_ACT,
};

/// How long a step stays in force.
struct Lease {
    first: Span,
    /// The leases after it, and within which time a target comes back.
    grows: Option<(Vec<Span>, Span)>,
}

/// What a playbook has to know of a step beside the step itself.
pub(super) struct Beside {
    lease: Lease,
    /// The health signal that is watched while it is in force.
    watch: Option<WatchPlan>,
}

impl Beside {
    /// What the playbook has to know of the step at `step`.
    pub(super) fn context(&self, step: u16) -> Vec<Context> {
        let mut context = Vec::new();
        if let Some((then, within)) = &self.lease.grows {
            context.extend(then.iter().map(|lease| Context::LeaseThen { step, lease: *lease }));
            context.push(Context::ReturnsWithin { step, within: *within });
        }
        context.extend(self.watch.clone().map(|watch| Context::Watched { step, watch }));
        context
    }
}

fn default_outcomes() -> Vec<IncidentOutcome> {
    IncidentOutcome::ALL
        .into_iter()
        .filter(|outcome| *outcome != IncidentOutcome::Contained)
        .collect()
}
