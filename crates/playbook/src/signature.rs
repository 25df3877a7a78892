//! What is wrong with the signature of a playbook, as a diagnostic.
//!
//! Never proves a signature: keys and notes are the business of whoever reads the files.

use crate::diagnostic::{Diagnostic, Report};

/// A playbook that has to be signed, and is not.
#[must_use]
pub fn unsigned(file: &str, text: &str) -> Vec<Diagnostic> {
    let hint = "read it, then sign it: `staunch playbook sign --key FILE PLAYBOOK`";
    say(file, text, "P070", "this playbook is not signed", hint)
}

/// A playbook whose signature does not prove it, and why.
#[must_use]
pub fn wrongly_signed(file: &str, text: &str, why: &str) -> Vec<Diagnostic> {
    let hint = "find out who changed it and why; when it is as it should be, sign it anew: `staunch playbook sign`";
    say(file, text, "P071", why, hint)
}

/// It is about the whole of the file, so its first line is shown.
fn say(file: &str, text: &str, code: &'static str, message: &str, hint: &str) -> Vec<Diagnostic> {
    let mut report = Report::new(file, text);
    let end = text.find('\n').unwrap_or(text.len());
    report.error_with_hint(code, 0..end, message, hint);
    report.finish()
}
