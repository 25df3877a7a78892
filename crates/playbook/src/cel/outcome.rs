//! Conditions on the outcome of an incident: there are only a few outcomes, so each is tried at load.

use staunch_model::{IncidentOutcome, Printable};

use super::Reporter;
use super::parse::{Comparison, Syntax, SyntaxKind};
use crate::suggest;

/// The outcomes for which the condition is true, in their order. `None` when a mistake was reported.
pub(crate) fn outcomes(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<Vec<IncidentOutcome>> {
    let set = set(syntax, reporter)?;
    Some(
        IncidentOutcome::ALL
            .into_iter()
            .zip(set)
            .filter(|(_, holds)| *holds)
            .map(|(outcome, _)| outcome)
            .collect(),
    )
}

/// For each outcome, whether the condition is true.
type Set = [bool; IncidentOutcome::ALL.len()];

fn set(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<Set> {
    match &syntax.kind {
        SyntaxKind::Bool(value) => Some([*value; _]),
        SyntaxKind::And(operands) => join(operands, true, reporter),
        SyntaxKind::Or(operands) => join(operands, false, reporter),
        SyntaxKind::Not(operand) => set(operand, reporter).map(|set| set.map(|holds| !holds)),
        SyntaxKind::Compare(comparison, left, right) => {
            let (left, right) = if is_outcome(left) { (left, right) } else { (right, left) };
            if !is_outcome(left) {
                return not_supported(syntax, reporter);
            }
            let named = name(right, reporter)?;
            match comparison {
                Comparison::Equal => Some(IncidentOutcome::ALL.map(|outcome| outcome == named)),
                Comparison::NotEqual => Some(IncidentOutcome::ALL.map(|outcome| outcome != named)),
                _ => {
                    let hint = "write == or !=, or in [refused, stuck]";
                    reporter.error_with_hint("P046", &syntax.span, "outcomes have no order", hint);
                    None
                }
            }
        }
        SyntaxKind::In(left, right) => match (is_outcome(left), &right.kind) {
            (true, SyntaxKind::List(items)) => {
                let named: Vec<_> = items.iter().map(|it| name(it, reporter)).collect();
                let named = named.into_iter().collect::<Option<Vec<_>>>()?;
                Some(IncidentOutcome::ALL.map(|outcome| named.contains(&outcome)))
            }
            _ => not_supported(syntax, reporter),
        },
        _ => not_supported(syntax, reporter),
    }
}

fn join(operands: &[Syntax], and: bool, reporter: &mut Reporter<'_, '_>) -> Option<Set> {
    let sets: Vec<_> = operands.iter().map(|it| set(it, reporter)).collect();
    let mut all = [and; _];
    for set in sets {
        for (holds, one) in all.iter_mut().zip(set?) {
            *holds = if and { *holds && one } else { *holds || one };
        }
    }
    Some(all)
}

fn is_outcome(syntax: &Syntax) -> bool {
    matches!(&syntax.kind, SyntaxKind::Path(segments) if segments.len() == 1 && &*segments[0].key == "outcome")
}

fn not_supported(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<Set> {
    let hint = "write for example: outcome != contained, or outcome in [refused, stuck]";
    reporter.error_with_hint("P046", &syntax.span, "a notice depends on `outcome` only", hint);
    None
}

/// The outcome that a name or a text stands for. A name is written with `_` where the outcome has `-`.
fn name(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<IncidentOutcome> {
    let written = match &syntax.kind {
        SyntaxKind::Path(segments) if segments.len() == 1 => segments[0].key.replace('_', "-"),
        SyntaxKind::Text(text) => text.clone(),
        _ => {
            not_supported(syntax, reporter)?;
            return None;
        }
    };
    let found = IncidentOutcome::ALL
        .into_iter()
        .find(|outcome| outcome.name() == written);
    if found.is_none() {
        let names = IncidentOutcome::ALL.map(|outcome| outcome.name().replace('-', "_"));
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = suggest::hint(&written, &known, "outcomes");
        reporter.error_with_hint(
            "P051",
            &syntax.span,
            format!("there is no outcome `{}`", Printable(&written)),
            hint,
        );
    }
    found
}
