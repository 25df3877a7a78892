//! Tests of the playbook language from outside.

mod broken;
mod built_in;
mod event;
mod hostile;
mod jobs;
mod looked;
mod pages;
mod parameters;
mod render;
mod semantics;
mod sigma;
mod snippets;

use staunch_playbook::{CheckContext, Compiled, Diagnostic, compile};

/// A whole playbook with `when` as its trigger.
fn playbook(when: &str) -> String {
    let indented = when.replace('\n', "\n    ");
    format!(
        "playbook: example\nsummary: An example.\ntrigger:\n  sources: [suricata, falco]\n  when: |-\n    {indented}\n  \
         incident: event.source.ip\ncontain:\n  - block-ip: {{ target: event.source.ip, lease: 1h }}\n"
    )
}

/// The line and the column at which [`playbook`] puts its trigger.
const WHEN_LINE: usize = 6;
const WHEN_COLUMN: usize = 5;

fn check(text: &str) -> Result<Compiled, Vec<Diagnostic>> {
    compile("example.yaml", text, &CheckContext::default())
}

/// Code, line and column of each diagnostic.
fn places(diagnostics: &[Diagnostic]) -> Vec<(&'static str, usize, usize)> {
    diagnostics.iter().map(|it| (it.code, it.line, it.column)).collect()
}
