//! Mistakes in the configuration: where they are and how to mend them.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use staunch_model::Printable;
use toml::de::{DeTable, DeValue};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The bytes of the file that it is about.
    pub(crate) span: Range<usize>,
    /// What is wrong, safe to show.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) hint: String,
}

/// A step of the way to a value: a key or a position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    At(usize),
}

impl Mistake {
    /// The mistake that the TOML reader found.
    pub(crate) fn of_form(text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or_default();
        let field = message
            .strip_prefix("unknown field ")
            .and_then(|rest| unknown(rest, "known keys"));
        let hint = match field.or_else(|| {
            message
                .strip_prefix("unknown variant ")
                .and_then(|rest| unknown(rest, "allowed"))
        }) {
            Some(hint) => hint,
            None if message.contains("missing field") => "add the key".to_owned(),
            None if message.contains("duplicate key") => "keep one of the two".to_owned(),
            // The reader of TOML says "expected" of form only, and all else comes from the keys.
            None if message.contains("expected") && !message.contains("invalid") => {
                "check quotes, brackets and the = between a key and its value".to_owned()
            }
            None => "docs/reference/configuration.md says what each key takes".to_owned(),
        };
        let what = message.replacen("unknown field", "unknown key", 1);
        Self {
            span: within(text, &span),
            what: Printable(&what).to_string(),
            hint,
        }
    }

    /// A value that cannot work, at `path`.
    pub(crate) fn of_value(text: &str, path: &[Step<'_>], what: String, hint: impl Into<String>) -> Self {
        Self {
            span: within(text, &find(text, path)),
            what,
            hint: hint.into(),
        }
    }

    /// The line and the column in characters, both from 1.
    pub(crate) fn position(&self, text: &str) -> (usize, usize) {
        let before = &text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line_of(text, self.span.start), before[line_start..].chars().count() + 1)
    }

    /// The mistake with the line that it is in.
    pub(crate) fn render(&self, file: &str, text: &str, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let (line, column) = self.position(text);
        let shown = Printable(file).to_string();
        // The snippet shows lines of the file: one that could steer a terminal is left out.
        if text
            .chars()
            .any(|c| c != '\n' && c != '\t' && c != '\r' && staunch_model::text::is_unsafe_to_show(c))
        {
            return format!(
                "error: {}\n --> {shown}:{line}:{column}\nhint: {}\n\n",
                self.what, self.hint
            );
        }
        let snippet = Snippet::source(text)
            .path(shown.as_str())
            .annotation(AnnotationKind::Primary.span(self.span.clone()));
        let hint = Level::HELP.with_name("hint").message(self.hint.as_str());
        let group = Level::ERROR
            .primary_title(self.what.as_str())
            .element(snippet)
            .element(hint);
        format!("{}\n\n", renderer.render(&[group]))
    }
}

/// The hint for ``x`, expected one of `a`, `b``.
fn unknown(rest: &str, all_are: &str) -> Option<String> {
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let written = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    if known.is_empty() {
        return Some("remove it".to_owned());
    }
    let all = known.join(", ");
    Some(match nearest(written, &known) {
        Some(word) => format!("did you mean `{word}`? {all_are}: {all}"),
        None => format!("{all_are}: {all}"),
    })
}

/// The word of `known` that `written` is probably a misspelling of.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(64).collect();
    let near = |word: &'a str| (distance(&written, &word.chars().collect::<Vec<_>>()), word);
    let allowed = |word: &str| (word.len().max(written.len()) / 3).max(1);
    let best = known
        .iter()
        .map(|word| near(word))
        .min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, word)| *distance <= allowed(word))
        .map(|(_, word)| word)
}

/// The edit distance in which swapped neighbours count once.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(x != y))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The bytes of the value with these keys, or of the nearest thing around it that is in the file.
pub(crate) fn place_of(text: &str, keys: &[&str]) -> Range<usize> {
    let path: Vec<Step<'_>> = keys.iter().map(|key| Step::Key(key)).collect();
    find(text, &path)
}

/// The bytes of the value with exactly these keys; `None` when it is not in the file.
pub(crate) fn place_of_exactly(text: &str, keys: &[&str]) -> Option<Range<usize>> {
    let path: Vec<Step<'_>> = keys.iter().map(|key| Step::Key(key)).collect();
    exactly(DeTable::parse(text).ok()?.get_ref(), &path)
}

/// The bytes of the value at `path`, or of the nearest thing around it that is in the file.
fn find(text: &str, path: &[Step<'_>]) -> Range<usize> {
    let Ok(root) = DeTable::parse(text) else { return 0..0 };
    let longest = (1..=path.len()).rev();
    longest
        .filter_map(|length| exactly(root.get_ref(), &path[..length]))
        .next()
        .unwrap_or(0..0)
}

/// The bytes of the value at `path` of `root`.
pub(super) fn exactly(root: &DeTable<'_>, path: &[Step<'_>]) -> Option<Range<usize>> {
    let (Step::Key(first), rest) = path.split_first()? else {
        return None;
    };
    let mut value = root.get(*first)?;
    for step in rest {
        value = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => table.get(*key)?,
            (DeValue::Array(array), Step::At(at)) => array.get(*at)?,
            _ => return None,
        };
    }
    Some(value.span())
}

/// The line of `text` that the byte `at` is in, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
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
