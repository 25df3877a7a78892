//! The words of an expression, and the bounds that must hold before it is parsed.
//!
//! The parser of the `cel` crate recurses, and its messages are those of a parser generator. So the common mistakes and
//! everything that this version does not support are found here, with better words, and hostile nesting is refused.

use std::ops::Range;

use staunch_model::Printable;

use super::Reporter;
use crate::limits;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Name,
    /// A number.
    Number,
    /// A quoted text.
    Text,
    /// An operator or bracket.
    Sign,
}

/// A token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Its bytes in the expression.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: Kind,
    /// For an opening bracket, the end of its closing one.
    pub(crate) closes: usize,
}

/// Splits and checks `text`. `None` when a mistake was reported.
pub(crate) fn read(text: &str, reporter: &mut Reporter<'_, '_>) -> Option<Vec<Token>> {
    if text.trim().is_empty() {
        reporter.error_with_hint(
            "P040",
            &(0..text.len()),
            "the expression is empty",
            "write for example: event.severity >= high",
        );
        return None;
    }
    if text.len() > limits::EXPRESSION_BYTES_MAX {
        let message = format!(
            "the expression has {} bytes, more than {}",
            text.len(),
            limits::EXPRESSION_BYTES_MAX
        );
        reporter.error_with_hint(
            "P041",
            &(0..1),
            message,
            "split it into several playbooks, or use one regular expression",
        );
        return None;
    }
    let mut tokens = split(text, reporter)?;
    check_brackets(text, &mut tokens, reporter)?;
    check_signs(text, &tokens, reporter)?;
    check_bounds(text, &tokens, reporter)?;
    Some(tokens)
}

/// The name of a parameter that `text` begins with as it is written elsewhere in a playbook: `${name}`.
fn put_in(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

const SIGNS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ",", ".", "!", "<", ">", "?", ":", "+", "-", "*",
    "/", "%", "=", "&",
];

fn split(text: &str, reporter: &mut Reporter<'_, '_>) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (length, kind) = if c.is_ascii_whitespace() {
            at += 1;
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if let Some(quote) = quote_at(rest) {
            let Some(length) = quoted_length(rest, quote) else {
                let hint = "close the text with the same quote, or escape a quote inside it with a backslash";
                reporter.error_with_hint("P040", &(at..at + 1), "a text that is never closed", hint);
                return None;
            };
            (length, Kind::Text)
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            (rest.find(end).unwrap_or(rest.len()), Kind::Name)
        } else if c.is_ascii_digit() {
            (number_length(rest), Kind::Number)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (sign.len(), Kind::Sign)
        } else if let Some(name) = put_in(rest) {
            let message = "no parameter is put into an expression";
            let hint = format!("write `parameter.{name}` where a constant text can stand");
            reporter.error_with_hint("P082", &(at..at + name.len() + "${}".len()), message, hint);
            return None;
        } else {
            let hint = match c {
                '|' => "write || for or",
                '`' => "write event.raw[\"the name\"] for a name with other characters than letters, digits and _",
                _ if c.is_alphabetic() => "texts stand in quotes",
                _ => "look at the characters around here",
            };
            let message = format!("`{}` cannot stand here", Printable(&c.to_string()));
            reporter.error_with_hint("P040", &(at..at + c.len_utf8()), message, hint);
            return None;
        };
        tokens.push(Token {
            span: at..at + length,
            kind,
            closes: at + length,
        });
        at += length;
    }
    Some(tokens)
}

/// The prefix and the quote that start `rest`, if a text does.
fn quote_at(rest: &str) -> Option<(usize, &str)> {
    let prefix = rest
        .find(['"', '\''])
        .filter(|at| matches!(&rest[..*at], "" | "r" | "R" | "b" | "B" | "br" | "bR" | "Br" | "BR"))?;
    let quoted = &rest[prefix..];
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| quoted.starts_with(quote))?;
    Some((prefix, quote))
}

fn quoted_length(rest: &str, (prefix, quote): (usize, &str)) -> Option<usize> {
    let raw = rest[..prefix].contains(['r', 'R']);
    let mut at = prefix + quote.len();
    loop {
        let left = rest.get(at..)?;
        if left.starts_with(quote) {
            return Some(at + quote.len());
        }
        let mut chars = left.chars();
        let c = chars.next()?;
        if c == '\n' && quote.len() == 1 {
            return None;
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += chars.next()?.len_utf8();
        }
    }
}

fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let sign_of_exponent = matches!(bytes[end], b'+' | b'-')
            && end > 0
            && matches!(bytes[end - 1], b'e' | b'E')
            && !rest.starts_with("0x");
        let fraction = bytes[end] == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(bytes[end].is_ascii_alphanumeric() || sign_of_exponent || fraction) {
            break;
        }
        end += 1;
    }
    end
}

fn check_brackets(text: &str, tokens: &mut [Token], reporter: &mut Reporter<'_, '_>) -> Option<()> {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..tokens.len() {
        let span = tokens[at].span.clone();
        if tokens[at].kind != Kind::Sign {
            continue;
        }
        match &text[span.clone()] {
            "(" | "[" | "{" => {
                open.push(at);
                if open.len() > limits::EXPRESSION_DEPTH_MAX {
                    let message = format!("nested deeper than {} brackets", limits::EXPRESSION_DEPTH_MAX);
                    reporter.error("P041", &span, message);
                    return None;
                }
            }
            sign @ (")" | "]" | "}") => {
                let opened = open.pop();
                let fits = opened.is_some_and(|it| {
                    matches!(
                        (&text[tokens[it].span.clone()], sign),
                        ("(", ")") | ("[", "]") | ("{", "}")
                    )
                });
                let Some(opened) = opened.filter(|_| fits) else {
                    reporter.error("P040", &span, format!("`{sign}` closes nothing that was opened"));
                    return None;
                };
                tokens[opened].closes = span.end;
            }
            _ => {}
        }
    }
    if let Some(at) = open.pop() {
        let span = tokens[at].span.clone();
        reporter.error("P040", &span, format!("`{}` is never closed", &text[span.clone()]));
        return None;
    }
    Some(())
}

/// Refuses signs and words that are not CEL, or that this version does not support.
fn check_signs(text: &str, tokens: &[Token], reporter: &mut Reporter<'_, '_>) -> Option<()> {
    for (at, token) in tokens.iter().enumerate() {
        let word = &text[token.span.clone()];
        let after_operand = at > 0 && ends_operand(text, &tokens[at - 1]);
        let (code, message, hint) = match (token.kind, word) {
            (Kind::Sign, "?" | ":") => ("P042", "`?:` is not supported", "write the two cases with && and ||"),
            (Kind::Sign, "{" | "}") => ("P042", "maps and messages are not supported", "compare single fields"),
            (Kind::Sign, "+" | "*" | "/" | "%") => ("P042", "arithmetic is not supported", ARITHMETIC_HINT),
            (Kind::Sign, "-") if after_operand => ("P042", "arithmetic is not supported", ARITHMETIC_HINT),
            (Kind::Sign, "=") => ("P040", "`=` is not an operator", "write == to compare"),
            (Kind::Sign, "&") => ("P040", "`&` is not an operator", "write && for and"),
            (Kind::Name, "and" | "AND") if after_operand => ("P040", "`and` is not an operator", "write && for and"),
            (Kind::Name, "or" | "OR") if after_operand => ("P040", "`or` is not an operator", "write || for or"),
            (Kind::Name, "not" | "NOT")
                if !after_operand && tokens.get(at + 1).is_some_and(|it| it.kind == Kind::Name) =>
            {
                ("P040", "`not` is not an operator", "write ! before the condition")
            }
            _ => continue,
        };
        reporter.error_with_hint(code, &token.span, message, hint);
        return None;
    }
    Some(())
}

const ARITHMETIC_HINT: &str = "compare fields with constants";

fn ends_operand(text: &str, token: &Token) -> bool {
    match token.kind {
        Kind::Sign => matches!(&text[token.span.clone()], ")" | "]" | "}"),
        Kind::Name => &text[token.span.clone()] != "in",
        Kind::Number | Kind::Text => true,
    }
}

/// Bounds everything on which the parser recurses besides brackets: chains of members, of `!` and of comparisons.
fn check_bounds(text: &str, tokens: &[Token], reporter: &mut Reporter<'_, '_>) -> Option<()> {
    let mut chain = 0;
    let mut compared = vec![false];
    for token in tokens {
        let sign = &text[token.span.clone()];
        match (token.kind, sign) {
            (Kind::Sign, "." | "!" | "-") => chain += 1,
            (Kind::Sign, "(" | "[") => {
                chain += 1;
                compared.push(false);
            }
            (Kind::Sign, ")" | "]") => {
                compared.pop();
            }
            (Kind::Sign, "&&" | "||" | ",") => {
                chain = 0;
                if let Some(last) = compared.last_mut() {
                    *last = false;
                }
            }
            (Kind::Sign, "==" | "!=" | "<" | "<=" | ">" | ">=") | (Kind::Name, "in") => {
                chain = 0;
                let again = compared.last_mut().is_some_and(|last| std::mem::replace(last, true));
                if again {
                    reporter.error_with_hint(
                        "P042",
                        &token.span,
                        "comparisons cannot be chained",
                        "join two comparisons with &&",
                    );
                    return None;
                }
            }
            _ => {}
        }
        if chain > limits::EXPRESSION_CHAIN_MAX {
            let message = format!("a chain of more than {} members", limits::EXPRESSION_CHAIN_MAX);
            reporter.error("P041", &token.span, message);
            return None;
        }
    }
    Some(())
}
