//! Diagnostics: what is wrong with a playbook, where, and how to mend it.
//!
//! Never prints anything; [`Diagnostic::render`] returns the text.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use staunch_model::Printable;

use crate::limits;

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
        // What is rendered shows lines of the file: of one that could steer a terminal none are shown.
        let steers = |c: char| !matches!(c, '\n' | '\r' | '\t') && staunch_model::text::is_unsafe_to_show(c);
        if text.contains(steers) {
            let hint = self.hint.as_deref().unwrap_or("remove control characters");
            return format!("{self}\nhint: {hint}");
        }
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

/// Collects the diagnostics of one file, and of what other files put into it.
///
/// A span beyond the file's text is one of a file that was put in: each has a stretch of its own behind it, so that a
/// span alone tells where something stands.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    /// In the order of their stretches.
    put_in: Vec<PutIn<'a>>,
    found: Vec<Diagnostic>,
    errors: usize,
}

/// A file of which something was put in.
#[derive(Clone)]
struct PutIn<'a> {
    /// Where its stretch starts.
    start: usize,
    file: &'a str,
    text: &'a str,
    /// What it took the place of.
    used_at: Range<usize>,
}

impl<'a> Report<'a> {
    /// The most diagnostics of each severity kept for one file: nobody reads more, and hostile input could make
    /// millions.
    const COUNT_MAX: usize = 100;

    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            put_in: Vec::new(),
            found: Vec::new(),
            errors: 0,
        }
    }

    /// Another one of the same file, with what was put into it, and nothing found.
    pub(crate) fn alike(&self) -> Self {
        Self {
            put_in: self.put_in.clone(),
            ..Self::new(self.file, self.text)
        }
    }

    /// Makes a stretch for `file` at `used_at`: by how much spans in it are to be moved. `None` when there are too
    /// many.
    pub(crate) fn put_in(&mut self, (file, text): (&'a str, &'a str), used_at: Range<usize>) -> Option<usize> {
        if self.put_in.len() >= limits::SNIPPET_USES_MAX {
            return None;
        }
        let before = self
            .put_in
            .last()
            .map_or(self.text.len(), |it| it.start + it.text.len());
        let start = before + 1;
        self.put_in.push(PutIn {
            start,
            file,
            text,
            used_at,
        });
        Some(start)
    }

    /// The text that `span` is about, and where its stretch starts.
    pub(crate) fn source(&self, span: &Range<usize>) -> (&'a str, usize) {
        let of = self.stretch(span);
        of.map_or((self.text, 0), |it| (it.text, it.start))
    }

    fn stretch(&self, span: &Range<usize>) -> Option<&PutIn<'a>> {
        let after = self.put_in.partition_point(|it| it.start <= span.start);
        self.put_in[..after].last()
    }

    /// The place in the file itself that `span` came in by: `None` when it is in the file.
    fn used_at(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let mut at = self.stretch(span)?.used_at.clone();
        while let Some(outer) = self.stretch(&at) {
            at = outer.used_at.clone();
        }
        Some(at)
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
        mut message: String,
        hint: Option<String>,
    ) {
        let (file, text, start) = self
            .stretch(&span)
            .map_or((self.file, self.text, 0), |it| (it.file, it.text, it.start));
        if let Some(at) = self.used_at(&span) {
            let (line, column) = position(self.text, within(self.text, &at).start);
            message = format!("{message} (used at {}:{line}:{column})", Printable(self.file));
        }
        let mut span = within(text, &(span.start - start..span.end.max(span.start) - start));
        if span.start == text.len() {
            // The end of the text is where its last word ends: people do not see the empty lines behind it.
            let end = text.trim_end().len();
            span = end..end;
        }
        let (line, column) = position(text, span.start);
        self.keep(Diagnostic {
            code,
            severity,
            file: file.into(),
            line,
            column,
            span,
            message,
            hint,
        });
    }

    /// Takes what another report found.
    pub(crate) fn keep(&mut self, found: Diagnostic) {
        let same = match found.severity {
            Severity::Error => self.errors,
            Severity::Warning => self.found.len() - self.errors,
        };
        if same >= Self::COUNT_MAX {
            return;
        }
        self.errors += usize::from(found.severity == Severity::Error);
        self.found.push(found);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The diagnostics in the order of the file, each once, and those of what was put in after them.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|it| (*it.file != *self.file, it.span.start, it.span.end, it.code));
        let file = self.file;
        // What is wrong in a file that was put in is wrong wherever it was.
        self.found
            .dedup_by(|a, b| a == b || (*a.file != *file && (a.code, &a.span, &a.file) == (b.code, &b.span, &b.file)));
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
