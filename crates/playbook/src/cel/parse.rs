//! From text to a syntax tree of ours, by way of the parser of the `cel` crate.
//!
//! Nothing outside this module knows that crate. Meanings are not looked at here.

mod convert;

use std::ops::Range;

use staunch_model::Printable;

use super::Reporter;
use super::tokens;
use crate::limits;
use convert::Conversion;

/// A node of the syntax tree.
#[derive(Clone, Debug)]
pub(crate) struct Syntax {
    /// Its bytes in the expression.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: SyntaxKind,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a node of the syntax tree is.
#[derive(Clone, Debug)]
pub(crate) enum SyntaxKind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Syntax>),
    /// A name followed by members; at least one.
    Path(Vec<Segment>),
    /// `has(path)`
    Has(Box<Syntax>),
    And(Vec<Syntax>),
    Or(Vec<Syntax>),
    Not(Box<Syntax>),
    Compare(Comparison, Box<Syntax>, Box<Syntax>),
    In(Box<Syntax>, Box<Syntax>),
    Call {
        receiver: Option<Box<Syntax>>,
        name: String,
        name_span: Range<usize>,
        arguments: Vec<Syntax>,
    },
}

/// One member of a path.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Its key, or its index in digits.
    pub(crate) key: Box<str>,
    /// Its bytes in the expression.
    pub(crate) span: Range<usize>,
}

impl Syntax {
    /// What it is made of.
    pub(crate) fn parts_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            SyntaxKind::And(parts) | SyntaxKind::Or(parts) | SyntaxKind::List(parts) => parts.iter_mut().collect(),
            SyntaxKind::Not(part) | SyntaxKind::Has(part) => vec![part],
            SyntaxKind::Compare(_, left, right) | SyntaxKind::In(left, right) => vec![left, right],
            SyntaxKind::Call {
                receiver, arguments, ..
            } => receiver.as_deref_mut().into_iter().chain(arguments).collect(),
            SyntaxKind::Null
            | SyntaxKind::Bool(_)
            | SyntaxKind::Int(_)
            | SyntaxKind::Float(_)
            | SyntaxKind::Text(_)
            | SyntaxKind::Path(_) => Vec::new(),
        }
    }

    /// Moves every span in it.
    pub(crate) fn shift(&mut self, by: usize) {
        let moved = |span: &mut Range<usize>| *span = span.start + by..span.end + by;
        moved(&mut self.span);
        match &mut self.kind {
            SyntaxKind::Path(segments) => segments.iter_mut().for_each(|it| moved(&mut it.span)),
            SyntaxKind::Call { name_span, .. } => moved(name_span),
            _ => {}
        }
        self.parts_mut().into_iter().for_each(|it| it.shift(by));
    }
}

/// Parses the expression. `None` when a mistake was reported.
pub(crate) fn parse(reporter: &mut Reporter<'_, '_>) -> Option<Syntax> {
    let text = &*reporter.scalar.text;
    let tokens = tokens::read(text, reporter)?;
    let parser = || {
        cel::parser::Parser::new()
            .max_recursion_depth(u16::MAX - 1)
            .parse_with_source_info(text)
    };
    let parsed = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(limits::PARSER_STACK_BYTES)
            .spawn_scoped(scope, parser);
        thread.map(|it| it.join())
    });
    let errors = match parsed {
        Ok(Ok(Ok((expression, info)))) => {
            let mut conversion = Conversion {
                text,
                tokens: &tokens,
                info: &info,
                reporter,
                nodes: 0,
            };
            return conversion.node(&expression);
        }
        Ok(Ok(Err(errors))) => errors.errors,
        Ok(Err(_)) | Err(_) => {
            reporter.error(
                "P041",
                &(0..text.len()),
                "the expression cannot be parsed within its bounds",
            );
            return None;
        }
    };
    // What follows the first mistake is mostly noise of the parser's recovery.
    if let Some(error) = errors.first() {
        let at = byte_of(text, error.pos);
        let token = tokens.iter().find(|token| token.span.end > at);
        let span = token.map_or(text.trim_end().len()..text.trim_end().len(), |token| token.span.clone());
        let (message, hint) = reword(text, &span, &error.msg);
        match hint {
            Some(hint) => reporter.error_with_hint("P040", &span, message, hint),
            None => reporter.error("P040", &span, message),
        }
    }
    None
}

/// The parser's message in the words of an author.
fn reword(text: &str, span: &Range<usize>, message: &str) -> (String, Option<&'static str>) {
    let written = Printable(&text[span.clone()]);
    if message.contains("<EOF>") && span.is_empty() {
        return (
            "the expression ends too early".to_owned(),
            Some("something is missing after its last word"),
        );
    }
    if message.contains("has()") {
        let hint = "give has() a field with a dot before its last name, or write event.raw[\"the name\"] != null";
        return ("has() takes a field".to_owned(), Some(hint));
    }
    if message.contains("reserved identifier") {
        return (
            format!("`{written}` is reserved in CEL"),
            Some("write event.raw[\"name\"] for a field of that name"),
        );
    }
    if message.contains("int literal") || message.contains("uint literal") {
        return (
            format!("the number {written} is too large"),
            Some("whole numbers go up to 9223372036854775807"),
        );
    }
    if text[span.clone()].starts_with(['"', '\'', 'r', 'R', 'b', 'B']) && message.contains("token recognition") {
        let hint = "write \\\\ for a backslash, or put r before the text to take it as it is";
        return (
            format!("the text {written} has an escape that CEL does not know"),
            Some(hint),
        );
    }
    if message.starts_with("Syntax error") {
        return (
            format!("`{written}` is not expected here"),
            Some("an operator such as &&, ||, == or a closing bracket may be missing before it"),
        );
    }
    let mut chars = message.chars();
    let lower: String = chars
        .next()
        .map(|c| c.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect();
    (Printable(&lower).to_string(), None)
}

/// The byte of a line (from 1) and column (from 1, in characters) of the parser.
fn byte_of(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    text[start..]
        .char_indices()
        .nth(column - 1)
        .map_or(text.len(), |(at, _)| start + at)
}
