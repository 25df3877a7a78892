//! Conditions in CEL: parsed by the `cel` crate, checked and compiled by us.
//!
//! Never interprets: what runs on an event is a closure, and every name, type and pattern in it was checked at load.

pub(crate) mod analysis;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod explain;
pub(crate) mod field;
pub(crate) mod looked;
pub(crate) mod needles;
pub(crate) mod outcome;
pub(crate) mod parse;
pub(crate) mod scalar;
pub(crate) mod test;
pub(crate) mod tokens;

use std::ops::Range;

use crate::diagnostic::{Report, Severity};
use scalar::Scalar;

/// Reports mistakes in an expression where they stand in the file.
pub(crate) struct Reporter<'r, 'a> {
    /// The expression and its place in the file.
    pub(crate) scalar: &'r Scalar<'r>,
    /// The file's diagnostics.
    pub(crate) report: &'r mut Report<'a>,
}

impl Reporter<'_, '_> {
    /// An error about the bytes `span` of the expression.
    pub(crate) fn error(&mut self, code: &'static str, span: &Range<usize>, message: impl Into<String>) {
        self.add(code, span, message.into(), None);
    }

    /// An error with a way to mend it.
    pub(crate) fn error_with_hint(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(code, span, message.into(), Some(hint.into()));
    }

    fn add(&mut self, code: &'static str, span: &Range<usize>, message: String, hint: Option<String>) {
        let (place, exact) = self.scalar.place(span);
        let message = if exact {
            message
        } else {
            format!("{message} (at character {} of the text)", span.start + 1)
        };
        self.report.add(Severity::Error, code, place, message, hint);
    }
}
