//! Scalars with a meaning: words, durations, percentages, numbers.

use staunch_model::{Printable, Span};

use super::Walk;
use crate::suggest;
use crate::yaml::Node;

impl Walk<'_, '_> {
    /// One of a few words.
    pub(super) fn word<T: Clone>(&mut self, node: &Node, key: &str, words: &[(&str, T)]) -> Option<T> {
        let written = self.scalar(node, key)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == written)
            .map(|(_, value)| value.clone());
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{}` is not a value of `{key}`", Printable(written));
            self.report.error_with_hint(
                "P013",
                node.span.clone(),
                message,
                suggest::hint(written, &known, "values"),
            );
        }
        found
    }

    /// A duration within bounds.
    pub(super) fn duration(&mut self, node: &Node, key: &str, least: Span, most: Span) -> Option<Span> {
        let span = self.span(node, key)?;
        if span < least || span > most {
            let message = format!("`{key}` is {span}, and must be from {least} to {most}");
            self.report.error("P018", node.span.clone(), message);
            return None;
        }
        Some(span)
    }

    /// A duration.
    pub(super) fn span(&mut self, node: &Node, key: &str) -> Option<Span> {
        let written = self.scalar(node, key)?;
        let span = written.parse::<Span>().ok();
        if span.is_none() {
            let message = format!("`{}` is not a duration", Printable(written));
            let hint = match written.parse::<u64>() {
                Ok(_) => format!("a number needs a unit: write {written}s or {written}m"),
                Err(_) => "write for example 90s, 10m, 1h30m; units are d, h, m, s, ms, us".to_owned(),
            };
            self.report.error_with_hint("P016", node.span.clone(), message, hint);
        }
        span
    }

    /// A percentage from 0 % to 100 %, in basis points.
    pub(super) fn percentage(&mut self, node: &Node, key: &str) -> Option<u64> {
        let written = self.scalar(node, key)?;
        let found = basis_points(written);
        if found.is_none() {
            let message = format!("`{}` is not a percentage for `{key}`", Printable(written));
            let hint = if basis_points(&format!("{written}%")).is_some() {
                format!("write {written}%")
            } else {
                "write for example 5% or 2.5%: from 0% to 100%, with at most two decimals".to_owned()
            };
            self.report.error_with_hint("P017", node.span.clone(), message, hint);
        }
        found
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, node: &Node, key: &str, least: u32, most: u32) -> Option<u32> {
        let written = self.scalar(node, key)?;
        let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        let found = written
            .parse::<u32>()
            .ok()
            .filter(|number| digits && (least..=most).contains(number));
        if found.is_none() {
            let message = format!("`{}` is not a value of `{key}`", Printable(written));
            self.report.error_with_hint(
                "P018",
                node.span.clone(),
                message,
                format!("write a whole number from {least} to {most}"),
            );
        }
        found
    }
}

/// `2.5%` as 250: hundredths of a percent, exactly.
fn basis_points(text: &str) -> Option<u64> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole, 3) || !digits(fraction, 2) {
        return None;
    }
    let hundredths = format!("{fraction:0<2}").parse::<u64>().ok()?;
    Some(whole.parse::<u64>().ok()? * 100 + hundredths).filter(|points| *points <= 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        for (text, expect) in [
            ("5%", Some(500)),
            ("2.5%", Some(250)),
            ("0.01%", Some(1)),
            ("100 %", Some(10_000)),
            ("0%", Some(0)),
            ("100.01%", None),
            ("5", None),
            ("-5%", None),
            ("+5%", None),
            ("5.%", None),
            (".5%", None),
            ("0.001%", None),
            ("1e2%", None),
            ("", None),
            ("%", None),
        ] {
            assert_eq!(basis_points(text), expect, "{text}");
        }
    }
}
