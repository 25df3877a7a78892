//! Paths of one machine, and hosts of package registries: neither belongs into a file that others check out.
//!
//! Lock files name their registry, and recorded events name what they saw; both are left alone.

use std::path::Path;

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// What is looked for. Written in two halves, so that this file passes its own check.
const FORBIDDEN: &[&str] = &[
    concat!("/work", "/"),
    concat!("/root", "/"),
    concat!("crates", ".io/"),
    concat!("crates", ".io-index"),
    concat!("registry.npm", "js.org"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Folders of recorded events, and of inputs that were made from them.
const RECORDED: [&str; 4] = ["fixtures", "recorded", "corpus", "regressions"];

/// Checks every text file of the checkout.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::new();
    for file in workspace.files.iter().filter(|file| is_judged(file)) {
        let Some(text) = workspace.read(file)? else { continue };
        for (index, line) in text.lines().enumerate() {
            for place in places_in(line) {
                findings.push(format!("{}:{}: names {place}", file.display(), index + 1));
            }
        }
    }
    Ok(findings)
}

fn is_judged(file: &Path) -> bool {
    let is_lock = file.extension().is_some_and(|extension| extension == "lock");
    let is_recorded = file
        .components()
        .any(|part| RECORDED.iter().any(|folder| part.as_os_str() == *folder));
    !is_lock && !is_recorded
}

fn places_in(line: &str) -> impl Iterator<Item = &'static str> {
    FORBIDDEN.iter().copied().filter(move |place| {
        line.match_indices(place).any(|(at, _)| {
            // A path begins where a word begins: `docs/work/` is no path of a machine.
            let before = line[..at].chars().next_back();
            !(place.starts_with('/')
                && before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}')))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &[&str]) {
        let found: Vec<&str> = places_in(line).collect();
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn paths_of_a_machine_and_registries_are_found() {
        check(concat!("cd /work", "/main"), &[concat!("/work", "/")]);
        check(concat!("\"/root", "/.cargo\""), &[concat!("/root", "/")]);
        check(concat!("https://crates", ".io/crates/x"), &[concat!("crates", ".io/")]);
        check("docs/work/a.md ${home}/root/x /rooted/ /workspace/", &[]);
    }

    #[test]
    fn lock_files_and_recorded_events_are_left_alone() {
        assert!(!is_judged(Path::new("Cargo.lock")));
        assert!(!is_judged(Path::new("crates/connectors/tests/fixtures/falco.json")));
        assert!(!is_judged(Path::new("fuzz/corpus/falco/1")));
        assert!(is_judged(Path::new("docs/guide/install.md")));
    }
}
