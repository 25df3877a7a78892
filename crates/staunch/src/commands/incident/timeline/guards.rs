//! What the guards measured, with the entry of the decision that was made by it.

use serde_json::Value;
use staunch_model::{Change, GuardResult, Judgement, Printable, Verdict};

use crate::backtest::report::in_unit;
use crate::commands::evidence::lines;
use crate::output::{Output, Tone};

/// What the guards concluded, where `change` of a transaction was decided by them. Safe to show.
pub(super) fn guards_of(change: &Value) -> Vec<GuardResult> {
    judgement_of(change).map_or_else(Vec::new, |judgement| {
        let shown = |it: GuardResult| GuardResult {
            why: Printable(&it.why).to_string().into(),
            ..it
        };
        judgement.guards.into_iter().map(shown).collect()
    })
}

/// The judgement that decided `change` of a transaction, if one did.
pub(super) fn judgement_of(change: &Value) -> Option<Box<Judgement>> {
    match serde_json::from_value(change.clone()).ok()? {
        Change::Refused { judgement, .. } | Change::ExecuteIntended { judgement, .. } => judgement,
        Change::WouldExecute { judgement } | Change::ApprovalRequested { judgement, .. } => Some(judgement),
        _ => None,
    }
}

/// What a guard says, in a word or two.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Unknown => "unknown",
        Verdict::Ask => "ask a person",
        Verdict::ObserveOnly => "observe only",
        Verdict::Refused => "REFUSED",
    }
}

/// Lines below the entry that says `what`: a sentence for each guard that did not just pass, then the numbers of the
/// others, a guard a line.
pub(super) fn guard_lines(output: &Output, guards: &[GuardResult], what: &str, indent: usize) -> String {
    let (passed, others): (Vec<_>, Vec<_>) = guards.iter().partition(|it| it.verdict == Verdict::Passed);
    let mut text = String::new();
    for guard in others {
        let word = verdict(guard.verdict);
        // What refused stands in the entry itself.
        let why = if what.contains(&*guard.why) { "" } else { &*guard.why };
        let between = if why.is_empty() { "" } else { ": " };
        let line = format!("{word}: {}{between}{why}", numbers(guard));
        let tone = if guard.verdict == Verdict::Refused {
            Tone::Bad
        } else {
            Tone::Warning
        };
        let line = lines(&line, indent).replacen(word, &output.paint(tone, word), 1);
        text.push_str(&format!("{:indent$}{line}\n", ""));
    }
    if !passed.is_empty() {
        let count = passed.len();
        let guards = if count == 1 { "guard" } else { "guards" };
        text.push_str(&format!("{:indent$}{count} {guards} passed:\n", ""));
    }
    for guard in passed {
        let measured = measured(guard);
        let limit = guard
            .limit
            .map_or_else(String::new, |it| format!("  limit {}", in_unit(it, guard.unit)));
        text.push_str(&format!("{:indent$}  {:<15} {measured:>7}{limit}\n", "", guard.guard));
    }
    text
}

/// All of `guards` in one cell.
pub(super) fn guard_cell(guards: &[GuardResult]) -> String {
    let each = guards.iter().map(|it| {
        let why = match it.verdict {
            Verdict::Passed => String::new(),
            _ => format!(": {}", it.why),
        };
        format!("{} {}{why}", numbers(it), verdict(it.verdict))
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Its name, what it measured, and the limit.
fn numbers(guard: &GuardResult) -> String {
    let limit = guard
        .limit
        .map_or_else(String::new, |it| format!(" (limit {})", in_unit(it, guard.unit)));
    format!("{} {}{limit}", guard.guard, measured(guard))
}

/// What it measured; a dash when that is not known, or there is nothing to measure.
fn measured(guard: &GuardResult) -> String {
    guard
        .measured
        .map_or_else(|| "-".to_owned(), |it| in_unit(it, guard.unit))
}
