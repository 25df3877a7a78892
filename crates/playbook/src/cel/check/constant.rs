//! Constants that a field is compared with.

use std::net::IpAddr;
use std::ops::Range;

use staunch_model::{Printable, Severity};

use super::super::field::{Field, Type, kind_name, parse_address};
use super::super::test::{KINDS, LowerTest, Number, TextTest};
use super::Checker;
use super::operand::{Operand, Value};
use crate::suggest;

impl Checker<'_, '_, '_> {
    pub(super) fn text_is(&mut self, field: &Field, other: &Operand, lower: bool) -> Option<TextTest> {
        let text = self.constant_text(field, other, lower)?;
        Some(if lower {
            TextTest::Lower(LowerTest::Is(text))
        } else {
            TextTest::Is(text)
        })
    }

    /// A constant text that `field` can be equal to.
    pub(super) fn constant_text(&mut self, field: &Field, other: &Operand, lower: bool) -> Option<Box<str>> {
        match &other.value {
            Value::Text(text) if text.is_empty() && field.kind() == Type::Text => {
                let hint = format!("a text of a decoded field is never empty: write has({field}) or !has({field})");
                self.reporter
                    .error_with_hint("P052", &other.span, "nothing is equal to the empty text here", hint);
                None
            }
            Value::Text(text) => {
                self.small_letters(text, lower, &other.span)?;
                Some(text.as_str().into())
            }
            Value::Word(word) => {
                let hint = format!("texts stand in quotes: write \"{}\"", Printable(word));
                self.reporter.error_with_hint(
                    "P043",
                    &other.span,
                    format!("nothing is named `{}`", Printable(word)),
                    hint,
                );
                None
            }
            _ => {
                let hint = "write a constant in quotes";
                self.reporter.error_with_hint(
                    "P046",
                    &other.span,
                    format!("{field} is compared with a text here"),
                    hint,
                );
                None
            }
        }
    }

    /// A constant compared with text in small letters must be in small letters too.
    pub(super) fn small_letters(&mut self, text: &str, lower: bool, span: &Range<usize>) -> Option<()> {
        if lower && text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let hint = format!("write \"{}\"", Printable(&text.to_ascii_lowercase()));
            self.reporter
                .error_with_hint("P052", span, "a text after lowerAscii() has no capital letters", hint);
            return None;
        }
        Some(())
    }

    pub(super) fn severity(&mut self, other: &Operand) -> Option<Severity> {
        let names = Severity::ALL.map(Severity::name);
        let (Value::Word(word) | Value::Text(word)) = &other.value else {
            let hint = format!("severities are words: {}", names.join(", "));
            self.mismatch(&other.span, "this is not a severity", hint)?;
            return None;
        };
        let found = Severity::ALL.into_iter().find(|it| it.name() == word);
        if found.is_none() {
            let hint = suggest::hint(word, &names, "severities");
            self.reporter.error_with_hint(
                "P051",
                &other.span,
                format!("there is no severity `{}`", Printable(word)),
                hint,
            );
        }
        found
    }

    /// A score from 0 to 1, in thousandths.
    pub(super) fn score(&mut self, other: &Operand) -> Option<Number> {
        let thousandths = match &other.value {
            Value::Number(Number::Int(number @ (0 | 1))) => Some(number * 1_000),
            Value::Number(Number::Float(number)) if (0.0..=1.0).contains(number) => {
                let scaled = (number * 1_000.0).round();
                #[expect(clippy::cast_possible_truncation, reason = "it is from 0 to 1000")]
                let whole = scaled as i128;
                ((scaled / 1_000.0 - number).abs() < f64::EPSILON).then_some(whole)
            }
            _ => None,
        };
        if thousandths.is_none() {
            self.mismatch(
                &other.span,
                "a score is compared with a number from 0 to 1 that has at most three decimals",
                "write for example reputation.source.score > 0.8",
            )?;
        }
        thousandths.map(Number::Int)
    }

    pub(super) fn kind_mask(&mut self, other: &Operand) -> Option<u8> {
        let names = KINDS.map(kind_name);
        let (Value::Word(word) | Value::Text(word)) = &other.value else {
            let hint = format!("kinds are words: {}", names.join(", "));
            self.mismatch(&other.span, "this is not a kind of event", hint)?;
            return None;
        };
        let found = names.iter().position(|name| name == word);
        if found.is_none() {
            let hint = suggest::hint(word, &names, "kinds");
            self.reporter.error_with_hint(
                "P051",
                &other.span,
                format!("there is no kind of event `{}`", Printable(word)),
                hint,
            );
        }
        found.map(|bit| 1 << bit)
    }

    pub(super) fn address(&mut self, other: &Operand) -> Option<IpAddr> {
        let Value::Text(text) = &other.value else {
            self.mismatch(
                &other.span,
                "this is not an address",
                "write it in quotes: \"203.0.113.7\"",
            )?;
            return None;
        };
        let found = parse_address(text);
        if found.is_none() {
            let hint = if text.contains('/') {
                "write .inNetwork(\"10.0.0.0/8\") for a network"
            } else {
                "write for example \"203.0.113.7\""
            };
            self.reporter.error_with_hint(
                "P048",
                &other.span,
                format!("`{}` is not an address", Printable(text)),
                hint,
            );
        }
        found
    }
}
