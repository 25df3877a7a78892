//! Checks what the configuration says of parameters against the playbooks that there are.

use std::collections::BTreeSet;
use std::ops::Range;

use staunch_model::Printable;

use super::KEY;
use crate::diagnostic::{Diagnostic, Report};
use crate::{CheckContext, Compiled, suggest};

/// What is wrong with what the configuration in `text` says of parameters: values for what is not there, and an
/// environment that no playbook knows. `place` finds the bytes of the nearest thing to the keys of a path.
#[must_use]
pub fn check_configured(
    (file, text): (&str, &str),
    place: impl Fn(&[&str]) -> Range<usize>,
    context: &CheckContext,
    compiled: &[Compiled],
) -> Vec<Diagnostic> {
    let mut report = Report::new(file, text);
    for (playbook, values) in &context.parameters {
        let of = compiled.iter().find(|it| *it.program.playbook.name == **playbook);
        let Some(of) = of else {
            let at = place(&["playbooks", KEY, playbook]);
            let known: Vec<&str> = compiled.iter().map(|it| &*it.program.playbook.name).collect();
            let message = format!("there is no playbook `{}` to have parameters", Printable(playbook));
            report.error_with_hint("P083", at, message, suggest::hint(playbook, &known, "playbooks"));
            continue;
        };
        for name in values.keys() {
            let known: Vec<&str> = of.parameters.iter().map(|it| it.name.as_str()).collect();
            if !known.contains(&name.as_str()) {
                let at = place(&["playbooks", KEY, playbook, name]);
                let message = format!("{playbook} has no parameter `{}`", Printable(name));
                report.error_with_hint("P083", at, message, suggest::hint(name, &known, "its parameters"));
            }
        }
    }
    let known: BTreeSet<&str> = compiled
        .iter()
        .flat_map(|it| it.environments.iter().map(|it| &**it))
        .collect();
    if let Some(chosen) = context.environment.as_deref()
        && !known.is_empty()
        && !known.contains(chosen)
    {
        let known: Vec<&str> = known.into_iter().collect();
        let message = format!(
            "no playbook knows the environment `{}`: the defaults hold",
            Printable(chosen)
        );
        let hint = suggest::hint(chosen, &known, "environments in playbooks");
        report.warning("P084", place(&["playbooks", "environment"]), message, hint);
    }
    report.finish()
}
