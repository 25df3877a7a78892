//! The trigger: sources, condition, incident key.

use staunch_model::{Extractor, Needles, Predicate, Printable, Span};

use super::{DEDUPLICATE_DEFAULT, Walk, shape};
use crate::cel::analysis::{self, Finding};
use crate::cel::field::{Field, Type};
use crate::cel::parse::Syntax;
use crate::cel::scalar::Scalar;
use crate::cel::test::Condition;
use crate::cel::{Reporter, check, compile, needles, parse};
use crate::yaml::{Kind, Node};
use crate::{Snippets, limits, parameters, suggest};

/// A checked trigger.
pub(super) struct Trigger {
    pub(super) systems: Vec<String>,
    pub(super) when: Predicate,
    pub(super) condition: Condition,
    pub(super) text: Box<str>,
    pub(super) needles: Option<Needles>,
    pub(super) incident: Extractor,
    /// The fields that `incident` takes.
    pub(super) key: Box<[Field]>,
    pub(super) deduplicate: Span,
}

impl Walk<'_, '_> {
    pub(super) fn trigger(&mut self, node: &Node) -> Option<Trigger> {
        let fields = self.fields(node, &shape::TRIGGER)?;
        let systems = self.required(&fields, "sources").and_then(|node| self.sources(node));
        let when = self.required(&fields, "when").and_then(|node| {
            let (condition, text) = self.expression(node, "when", |syntax, reporter| {
                let condition = check::condition(syntax, reporter)?;
                Some((condition, Box::from(&*reporter.scalar.text)))
            })?;
            Some((node, text, condition))
        });
        let incident = self.required(&fields, "incident").and_then(|node| self.incident(node));
        let deduplicate = fields.get("deduplicate").map_or(Some(DEDUPLICATE_DEFAULT), |node| {
            self.duration(node, "deduplicate", Span::ZERO, limits::DEDUPLICATE_MAX)
        });
        let (node, text, condition) = when?;
        // A trigger that names a wrong source is looked at as if it named all: what is impossible there is impossible.
        let all: Vec<&str> = self.context.systems.iter().map(String::as_str).collect();
        let named: Vec<&str> = systems.iter().flatten().map(String::as_str).collect();
        self.possible(node, &condition, if named.is_empty() { &all } else { &named });
        let key = incident?;
        Some(Trigger {
            systems: systems?,
            when: compile::predicate(&condition),
            needles: needles::needles(&condition),
            condition,
            text,
            incident: compile::extractor(key.clone()),
            key,
            deduplicate: deduplicate?,
        })
    }

    fn sources(&mut self, node: &Node) -> Option<Vec<String>> {
        let sources = self.entries(node, "sources", |walk, item| {
            let name = walk.scalar(item, "sources")?;
            if walk.context.systems.iter().any(|known| known == name) {
                return Some(name.to_owned());
            }
            let known: Vec<&str> = walk.context.systems.iter().map(String::as_str).collect();
            let hint = suggest::hint(name, &known, "systems that are known here");
            walk.report.error_with_hint(
                "P014",
                item.span.clone(),
                format!("there is no source system `{}`", Printable(name)),
                hint,
            );
            None
        })?;
        if sources.is_empty() {
            let hint = format!("systems that are known here: {}", self.context.systems.join(", "));
            self.report
                .error_with_hint("P011", node.span.clone(), "`sources` names no system", hint);
            return None;
        }
        Some(sources)
    }

    fn possible(&mut self, node: &Node, condition: &Condition, systems: &[&str]) {
        match analysis::find(condition, systems) {
            Finding::Sometimes => {}
            Finding::Never => {
                let hint = "look for a part that is always false, or for two parts that exclude each other";
                self.report
                    .error_with_hint("P024", node.span.clone(), "this trigger can never match", hint);
            }
            Finding::Always => {
                let hint = "narrow it by severity, signature or category";
                self.report.warning(
                    "P025",
                    node.span.clone(),
                    "this trigger matches every event of its sources",
                    hint,
                );
            }
        }
    }

    fn incident(&mut self, node: &Node) -> Option<Box<[Field]>> {
        if !matches!(node.kind, Kind::List(_)) {
            return Some(Box::new([self.part_of_key(node)?]));
        }
        let fields = self.entries_up_to(node, "incident", limits::KEY_FIELDS_MAX, Self::part_of_key)?;
        if fields.is_empty() {
            let hint = "write a field such as event.source.ip, or several";
            self.report
                .error_with_hint("P050", node.span.clone(), "`incident` names no field", hint);
            return None;
        }
        Some(fields.into())
    }

    fn part_of_key(&mut self, node: &Node) -> Option<Field> {
        let field = self.expression(node, "incident", check::field)?;
        if matches!(field.kind(), Type::Severity | Type::Kind) || field == Field::System {
            let message = format!("{field} does not tell one incident from another");
            self.report.error_with_hint(
                "P050",
                node.span.clone(),
                message,
                "write a field such as event.source.ip or event.user",
            );
            return None;
        }
        Some(field)
    }

    /// The expression in a scalar, through `check`.
    pub(super) fn expression<T>(
        &mut self,
        node: &Node,
        key: &str,
        check: impl FnOnce(&Syntax, &mut Reporter<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let hint = "write the expression, and parameter.NAME in it where the value is to be a constant";
        parameters::refuse(node, "an expression", hint, self.report)?;
        self.scalar(node, key)?;
        let (text, start) = self.report.source(&node.span);
        let mut scalar = Scalar::new(node, text, start)?;
        let mut syntax = parse::parse(&mut Reporter {
            scalar: &scalar,
            report: self.report,
        })?;
        let within = (&mut scalar, &mut syntax);
        Snippets::put_conditions(self.snippets, within, self.snippets_used, self.report)?;
        let mut reporter = Reporter {
            scalar: &scalar,
            report: self.report,
        };
        self.values.resolve(&mut syntax, self.used, &mut reporter)?;
        check(&syntax, &mut reporter)
    }
}
