//! How a playbook gets back to normal, and which health signals are watched meanwhile.

use staunch_model::{
    ActionKind, Condition, Context, Phase, Printable, RecoverStep, Span, Step, TargetExtractor, WatchPlan, text,
};

use super::fields::Fields;
use super::steps::RECOVERS;
use super::{Walk, is_name, shape};
use crate::yaml::Node;
use crate::{limits, suggest};

/// The fewest readings in which a watch is divided when the playbook does not say.
const READINGS: u64 = 12;

/// The longest time between two readings when the playbook does not say.
const EVERY_MOST_DEFAULT: Span = Span::from_secs(10);

/// What comes of the recover phase: its acts, and what the playbook has to know of it.
pub(super) type Recovers = (Vec<(Step, TargetExtractor)>, Vec<Context>);

impl Walk<'_, '_> {
    /// The recover phase of a playbook that contains with `contained`, which is not known when one of its steps has a
    /// mistake.
    pub(super) fn recover(&mut self, node: Option<&Node>, contained: Option<&[Step]>) -> Option<Recovers> {
        let Some(node) = node else {
            return Some(Recovers::default());
        };
        let items = self.list(node, "recover", limits::RECOVER_MAX)?;
        let mut acts = Vec::new();
        let mut context = Vec::new();
        let mut complete = true;
        for item in items {
            let first = contained.map_or(0, <[Step]>::len) + acts.len();
            match self.recover_step(item, first, contained) {
                Some(Recovering::Act(step, target, lease)) => {
                    let step_at = u16::try_from(first).unwrap_or(u16::MAX);
                    context.extend(lease);
                    context.push(Context::Recover(RecoverStep::Act { step: step_at }));
                    acts.push((step, target));
                }
                Some(Recovering::Other(step)) => context.push(Context::Recover(step)),
                None => complete = false,
            }
        }
        complete.then_some((acts, context))
    }

    fn recover_step(&mut self, node: &Node, at: usize, contained: Option<&[Step]>) -> Option<Recovering> {
        if node.text() == Some("release") {
            return Some(Recovering::Other(RecoverStep::Release { kinds: Vec::new() }));
        }
        let (key, value) = self.single(node, "a step", "soak: { health: shop, for: 10m }")?;
        match key.text()? {
            "release" => self.release(value, contained),
            "soak" => {
                let fields = self.fields(value, &shape::SOAK)?;
                let watch = self.watch_plan(&fields);
                let back = match fields.get("otherwise") {
                    Some(node) => self.word(node, "otherwise", &shape::OTHERWISE)?,
                    None => true,
                };
                Some(Recovering::Other(RecoverStep::Soak { watch: watch?, back }))
            }
            "request-change" => {
                let fields = self.fields(value, &shape::REQUEST_CHANGE)?;
                let node = self.required(&fields, "text")?;
                let text = self.plain_text(node)?;
                Some(Recovering::Other(RecoverStep::RequestChange { text }))
            }
            name if ActionKind::ALL.iter().any(|kind| kind.name() == name) => {
                let (mut step, target, beside) = self.step(node, &RECOVERS)?;
                step.phase = Phase::Recover;
                let at = u16::try_from(at).unwrap_or(u16::MAX);
                Some(Recovering::Act(step, target, beside.context(at)))
            }
            name => {
                let names = shape::recover_steps();
                let message = format!("there is no recover step `{}`", Printable(name));
                let hint = suggest::hint(name, &names, "steps");
                self.report.error_with_hint("P015", key.span.clone(), message, hint);
                None
            }
        }
    }

    fn release(&mut self, node: &Node, contained: Option<&[Step]>) -> Option<Recovering> {
        let fields = self.fields(node, &shape::RELEASE)?;
        let list = self.required(&fields, "actions")?;
        let words = ActionKind::ALL.map(|kind| (kind.name(), kind));
        let kinds = self.entries_up_to(list, "actions", limits::STEPS_MAX, |walk, item| {
            let kind = walk.word(item, "actions", &words)?;
            if contained.is_some_and(|steps| steps.iter().all(|step| step.action != kind)) {
                let message = format!("no step of `contain` does `{kind}`, so there is nothing of it to release");
                let hint = "remove it, or write just `- release` for all that contains";
                walk.report.error_with_hint("P097", item.span.clone(), message, hint);
                return None;
            }
            Some(kind)
        })?;
        if kinds.is_empty() {
            let hint = "write just `- release` for all that contains";
            self.report
                .error_with_hint("P022", list.span.clone(), "`actions` names no action", hint);
            return None;
        }
        Some(Recovering::Other(RecoverStep::Release { kinds }))
    }

    fn plain_text(&mut self, node: &Node) -> Option<Box<str>> {
        let written = self.scalar(node, "text")?.trim();
        let characters = written.chars().count();
        if characters == 0 || characters > limits::SUMMARY_CHARS_MAX || written.chars().any(text::is_unsafe_to_show) {
            let message = format!(
                "`text` is not one line of 1 to {} characters",
                limits::SUMMARY_CHARS_MAX
            );
            let hint = "write one sentence that says what is to be changed";
            self.report.error_with_hint("P012", node.span.clone(), message, hint);
            return None;
        }
        Some(written.into())
    }

    /// The health signal that is watched while a step is in force.
    pub(super) fn watch(&mut self, node: &Node, irreversible: bool) -> Option<WatchPlan> {
        let fields = self.fields(node, &shape::WATCH)?;
        let plan = self.watch_plan(&fields)?;
        if irreversible {
            let hint = "remove `watch`, or take an action that can be undone";
            let message = "nothing undoes this step, so nothing can be done when it hurts";
            self.report.error_with_hint("P098", node.point(), message, hint);
            return None;
        }
        Some(plan)
    }

    fn watch_plan(&mut self, fields: &Fields<'_>) -> Option<WatchPlan> {
        let signal = match (fields.get("health"), fields.get("prometheus")) {
            (Some(_), Some(node)) => {
                let message = "a watch reads one signal, and this one names two";
                let hint = "keep `health` or `prometheus`; a second step can be watched by the other";
                self.report.error_with_hint("P012", node.span.clone(), message, hint);
                None
            }
            (_, Some(node)) => self.condition(node),
            (node, None) => match node {
                Some(node) => self.signal(node),
                None => self.required(fields, "health").and(None),
            },
        };
        let lasts = self
            .required(fields, "for")
            .and_then(|node| self.duration(node, "for", limits::WATCH_LEAST, limits::WATCH_MOST));
        let every = match fields.get("every") {
            Some(node) => Some((
                self.duration(node, "every", limits::WATCH_EVERY_LEAST, limits::WATCH_EVERY_MOST)?,
                node,
            )),
            None => None,
        };
        let (signal, lasts) = (signal?, lasts?);
        if let Some((every, node)) = &every
            && *every > lasts
        {
            let message = format!("the signal is read every {every}, and watched for {lasts}");
            let hint = "read it at least once: `every` is not longer than `for`";
            self.report.error_with_hint("P018", node.span.clone(), message, hint);
            return None;
        }
        let usual =
            Span::from_micros(lasts.as_micros() / READINGS).clamp(limits::WATCH_EVERY_LEAST, EVERY_MOST_DEFAULT);
        Some(WatchPlan {
            signal,
            lasts,
            every: every.map_or(usual, |(every, _)| every),
        })
    }

    /// A condition over a query of the Prometheus that the configuration has to know where there is one.
    fn condition(&mut self, node: &Node) -> Option<Box<str>> {
        let written = self.scalar(node, "prometheus")?;
        let condition = match Condition::parse(written) {
            Ok(condition) => condition,
            Err(why) => {
                let message = format!("`{}` is no condition: {why}", Printable(written));
                let hint = "write a query in PromQL and what its value has to be, such as `sum(rate(errors[1m])) / \
                            sum(rate(requests[1m])) < 2 %`";
                self.report.error_with_hint("P012", node.span.clone(), message, hint);
                return None;
            }
        };
        if self.context.signals.as_ref().is_some_and(|known| !known.prometheus) {
            let message = "there is no Prometheus in the configuration that this condition could be asked of";
            let hint = "add [prometheus] with a `url` to the configuration";
            self.report.error_with_hint("P096", node.span.clone(), message, hint);
            return None;
        }
        Some(condition.to_string().into())
    }

    /// The name of a signal, or the text of a condition, as tests name what is watched.
    pub(super) fn signal_or_condition(&mut self, node: &Node) -> Option<Box<str>> {
        match node.text().map(Condition::parse) {
            Some(Ok(condition)) => Some(condition.to_string().into()),
            _ => self.signal(node),
        }
    }

    /// The name of a signal, which the configuration has to know where there is one.
    fn signal(&mut self, node: &Node) -> Option<Box<str>> {
        let name = self.scalar(node, "health")?;
        if !is_name(name) {
            let message = format!("`{}` is not the name of a health signal", Printable(name));
            let hint = "names are small letters, digits and single hyphens, as in [health.shop] of the configuration";
            self.report.error_with_hint("P012", node.span.clone(), message, hint);
            return None;
        }
        let known = self.context.signals.as_ref();
        if let Some(known) = known.filter(|known| !known.names.contains(name)) {
            let message = format!("there is no health signal `{name}` in the configuration");
            let names: Vec<&str> = known.names.iter().map(String::as_str).collect();
            let hint = match names.as_slice() {
                [] => format!("add [health.{name}] with a `url` to the configuration"),
                names => suggest::hint(name, names, "health signals"),
            };
            self.report.error_with_hint("P096", node.span.clone(), message, hint);
            return None;
        }
        Some(name.into())
    }
}

/// A step of the recover phase.
enum Recovering {
    /// An act, and what the playbook has to know of its lease.
    Act(Step, TargetExtractor, Vec<Context>),
    /// Anything else.
    Other(RecoverStep),
}
