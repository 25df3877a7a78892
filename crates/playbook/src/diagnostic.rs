//! Diagnostics: what is wrong with a playbook, where, and how to mend it.
//!
//! Never prints anything; [`Diagnostic::render`] returns the text.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use staunch_model::Printable;

/// Whether a diagnostic stops the playbook from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The playbook cannot be used.
    Error,
    /// The playbook can be used, but is probably not what its author meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The stable code, such as `P010`. Each has a page in `docs/errors/`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The file's name, as the caller gave it.
    pub file: Box<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// What is wrong: lower-case, without a full stop, safe to show.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Shows the diagnostic with the lines of `text`, the file's content, that it is about. `color` adds ANSI colours.
    #[must_use]
    pub fn render(&self, text: &str, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let file = Printable(&self.file).to_string();
        let span = within(text, &self.span);
        let snippet = Snippet::source(text)
            .path(file)
            .annotation(AnnotationKind::Primary.span(span));
        let mut group = level
            .primary_title(self.message.as_str())
            .id(self.code)
            .element(snippet);
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:column: error[P010]: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            severity,
            line,
            column,
            message,
            ..
        } = self;
        write!(
            f,
            "{}:{line}:{column}: {severity}[{code}]: {message}",
            Printable(&self.file)
        )
    }
}

/// Collects the diagnostics of one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Diagnostic>,
    errors: usize,
}

impl<'a> Report<'a> {
    /// The most diagnostics of each severity kept for one file: nobody reads more, and hostile input could make
    /// millions.
    const COUNT_MAX: usize = 100;

    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
            errors: 0,
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        self.add(Severity::Error, code, span, message.into(), None);
    }

    pub(crate) fn error_with_hint(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, code, span, message.into(), Some(hint.into()));
    }

    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, span, message.into(), Some(hint.into()));
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        let same = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.found.len() - self.errors,
        };
        if same >= Self::COUNT_MAX {
            return;
        }
        self.errors += usize::from(severity == Severity::Error);
        let mut span = within(self.text, &span);
        if span.start == self.text.len() {
            // The end of the text is where its last word ends: people do not see the empty lines behind it.
            let end = self.text.trim_end().len();
            span = end..end;
        }
        let (line, column) = position(self.text, span.start);
        self.found.push(Diagnostic {
            code,
            severity,
            file: self.file.into(),
            line,
            column,
            span,
            message,
            hint,
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The diagnostics in the order of the file, each once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|it| (it.span.start, it.span.end, it.code));
        self.found.dedup();
        self.found
    }
}

/// The line and the column of the byte `at`, both from 1; the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// `span` cut to `text`, on character boundaries.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_in_its_last_line_with_words() {
        let mut report = Report::new("a.yaml", "foo: [\n\n");
        report.error("P001", 8..8, "it ends here");
        let found = report.finish();
        assert_eq!((found[0].line, found[0].column, found[0].span.clone()), (1, 7, 6..6));
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position("aé\nöx", 3), (1, 3));
        assert_eq!(position("aé\nöx", 6), (2, 2));
        assert_eq!(within("é", &(1..9)), 0..2);
    }
}
