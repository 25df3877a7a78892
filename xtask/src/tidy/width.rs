//! How wide comments are. rustfmt wraps code, and leaves comments as they are.
//!
//! Rows of tables are as wide as they have to be.

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// As wide as the code (`rustfmt.toml`).
const COLUMNS_MAX: usize = 120;

/// Checks all Rust files.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::new();
    for file in workspace.rust_files(&["crates", "xtask", "fuzz", "examples"]) {
        if let Some(text) = workspace.read(file)? {
            let wide = too_wide(&text);
            findings.extend(wide.into_iter().map(|(line, columns)| {
                format!(
                    "{}:{line}: a comment of {columns} columns; {COLUMNS_MAX} are room",
                    file.display()
                )
            }));
        }
    }
    Ok(findings)
}

/// Lines that are nothing but a comment, and too wide: their numbers from 1, and how wide they are.
fn too_wide(text: &str) -> Vec<(usize, usize)> {
    let judge = |(number, line): (usize, &str)| {
        let columns = line.chars().count();
        let comment = line.trim_start().strip_prefix("//")?;
        let is_row = comment.trim_start_matches(['/', '!', ' ']).starts_with('|');
        (columns > COLUMNS_MAX && !is_row).then_some((number, columns))
    };
    (1..).zip(text.lines()).filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(usize, usize)]) {
        assert_eq!(too_wide(text), expect);
    }

    #[test]
    fn comments_are_as_wide_as_code_at_most() {
        let wide = "x".repeat(117);
        check(&format!("// {wide}\n"), &[]);
        check(&format!("fn a() {{\n    /// {wide}\n}}\n"), &[(2, 125)]);
        check(&format!("//! | {wide} |\n"), &[]);
        check(&format!("let a = \"{wide}\"; // {wide}\n"), &[]);
    }
}
