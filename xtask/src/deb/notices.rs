//! The licences of the libraries that are a part of the program, with the texts that they ask to be passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// What the files with licences are called.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// All of them, as a text.
pub(super) fn all(root: &Path) -> Result<String> {
    let tree = shell::stdout_of(shell::cargo(root).args([
        "tree",
        "--locked",
        "--package",
        "staunch",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let tree = String::from_utf8(tree)?;
    let linked: BTreeSet<(&str, &str)> = tree.lines().filter_map(named).collect();
    let metadata = shell::stdout_of(shell::cargo(root).args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo metadata writes JSON")?;
    let packages = metadata["packages"].as_array().context("it lists packages")?;
    let mut list = String::from("Libraries that are a part of staunch, with their licences:\n\n");
    // Many have the same text.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        // Those of the project itself come from no registry.
        if package["source"].is_null() || !linked.contains(&(text("name"), text("version"))) {
            continue;
        }
        let name = format!("{} {}", text("name"), text("version"));
        writeln!(list, "  {name}: {}", text("license"))?;
        let folder = Path::new(text("manifest_path"))
            .parent()
            .context("a manifest is in a folder")?;
        for licence in licences(folder)? {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    for (text, names) in &texts {
        write!(list, "\n{}\n{}:\n\n{}\n", "-".repeat(72), names.join(", "), text.trim())?;
    }
    Ok(list)
}

/// Name and version in a line of `cargo tree`.
fn named(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

/// The texts of licences in `folder`.
fn licences(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|it| name.starts_with(it)) && entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            texts.push(String::from_utf8_lossy(&bytes).replace('\r', ""));
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_of_the_tree() {
        assert_eq!(named("serde v1.0.229"), Some(("serde", "1.0.229")));
        assert_eq!(named("staunch v0.1.0 (path)"), Some(("staunch", "0.1.0")));
        assert_eq!(named(""), None);
    }
}
