//! Error codes and their pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::Findings;
use super::rust_text::RustText;
use crate::workspace::Workspace;

const PAGES: &str = "docs/errors";

/// Checks that each code in a string of the crates has a page, and that each page has a code.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut codes = BTreeMap::new();
    for file in workspace.rust_files(&["crates"]) {
        let Some(text) = workspace.read(file)? else { continue };
        for (line, string) in RustText::parse(&text).strings {
            for code in codes_in(&string) {
                codes
                    .entry(code.to_owned())
                    .or_insert_with(|| format!("{}:{line}", file.display()));
            }
        }
    }
    let pages: BTreeSet<String> = workspace
        .with_extension("md")
        .filter(|file| file.parent() == Some(Path::new(PAGES)))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .filter(|page| page != "README")
        .collect();
    Ok(judge(&codes, &pages))
}

/// `codes` with the place each is first named at.
fn judge(codes: &BTreeMap<String, String>, pages: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::new();
    for (code, place) in codes.iter().filter(|(code, _)| !pages.contains(*code)) {
        findings.push(format!("{place}: {code} has no page {PAGES}/{code}.md"));
    }
    for page in pages.iter().filter(|page| !codes.contains_key(*page)) {
        findings.push(format!("{PAGES}/{page}.md: no crate names {page}"));
    }
    findings
}

/// The words of `text` that are `P` or `E`, a zero and two digits.
fn codes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| matches!(word.as_bytes(), [b'P' | b'E', b'0', b'0'..=b'9', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_whole_words() {
        let codes: Vec<&str> = codes_in("error[P012]: E001, see E0277, XP012, P12, P0123, T1110, P_012").collect();
        assert_eq!(codes, ["P012", "E001"]);
    }

    #[test]
    fn codes_and_pages_match_both_ways() {
        let codes = [("E001", "a.rs:1"), ("P002", "b.rs:7")].map(|(code, place)| (code.to_owned(), place.to_owned()));
        let pages = ["E001", "P003"].map(str::to_owned);
        assert_eq!(
            judge(&codes.into(), &pages.into()),
            [
                "b.rs:7: P002 has no page docs/errors/P002.md",
                "docs/errors/P003.md: no crate names P003"
            ]
        );
    }
}
