//! The functions.

use std::ops::Range;

use ipnet::IpNet;
use memchr::memmem::Finder;
use regex::RegexBuilder;
use staunch_model::Printable;

use super::super::field::{Field, Type, parse_address};
use super::super::parse::{Syntax, SyntaxKind};
use super::super::test::{AddressTest, ConditionKind, LowerFinder, LowerTest, Test, TextTest};
use super::Checker;
use super::operand::Value;
use crate::{limits, suggest};

/// The functions that are called on a field and are true or false.
const TESTS: [&str; 6] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "inNetwork",
    "isPrivate",
];
/// The functions that yield a value.
const VALUES: [&str; 2] = ["lowerAscii", "size"];

/// Whether `name` is a function that is true or false.
pub(super) fn is_test(name: &str) -> bool {
    TESTS.contains(&name)
}

impl Checker<'_, '_, '_> {
    /// `receiver.name(arguments)` with one of the functions that are true or false.
    pub(super) fn function(
        &mut self,
        receiver: &Syntax,
        name: &str,
        name_span: &Range<usize>,
        arguments: &[Syntax],
        span: &Range<usize>,
    ) -> Option<ConditionKind> {
        let arity = self.arity(name, name_span, arguments, usize::from(name != "isPrivate"));
        let operand = self.operand(receiver)?;
        let Value::Field {
            field,
            lower,
            size: false,
        } = operand.value
        else {
            return self.mismatch(
                &receiver.span,
                format!("{name}() is called on a field"),
                "write for example event.signature.contains(\"text\")",
            );
        };
        arity?;
        let on_addresses = matches!(name, "inNetwork" | "isPrivate");
        match (field.kind(), on_addresses) {
            (Type::Any, _) | (Type::Address, true) | (Type::Text, false) => {}
            (Type::Address, false) => {
                let message = format!("{field} is an address, not a text");
                return self.mismatch(
                    &receiver.span,
                    message,
                    "write .inNetwork(\"10.0.0.0/8\"), or compare with ==",
                );
            }
            (kind, true) => {
                let message = format!("{field} is {}, not an address", kind.name());
                return self.mismatch(
                    &receiver.span,
                    message,
                    "the addresses are event.source.ip and event.destination.ip",
                );
            }
            (kind, false) => {
                let message = format!("{field} is {}, not a text", kind.name());
                return self.mismatch(&receiver.span, message, "compare it with == or an order");
            }
        }
        if on_addresses && lower {
            return self.mismatch(
                span,
                "lowerAscii() yields a text, not an address",
                "call the function on the field itself",
            );
        }
        let test = match (name, arguments.first()) {
            ("isPrivate", _) => Test::Address(AddressTest::IsPrivate),
            ("inNetwork", Some(argument)) => Test::Address(AddressTest::InNetwork(self.network(argument)?)),
            (_, Some(argument)) => Test::Text(self.text_function(name, &field, lower, argument)?),
            (_, None) => return None,
        };
        Some(ConditionKind::Test(field, test))
    }

    fn text_function(&mut self, name: &str, field: &Field, lower: bool, argument: &Syntax) -> Option<TextTest> {
        let text = self.literal(name, argument)?;
        if text.is_empty() {
            self.pointless(&argument.span, "every text contains the empty text")?;
        }
        if name == "matches" {
            return self.regex(text, field, lower, argument);
        }
        self.small_letters(text, lower, &argument.span)?;
        Some(match (name, lower) {
            ("contains", false) => TextTest::Contains(Box::new(Finder::new(text.as_bytes()).into_owned())),
            ("startsWith", false) => TextTest::StartsWith(text.into()),
            (_, false) => TextTest::EndsWith(text.into()),
            ("contains", true) => TextTest::Lower(LowerTest::Contains(LowerFinder::new(text))),
            ("startsWith", true) => TextTest::Lower(LowerTest::StartsWith(text.into())),
            (_, true) => TextTest::Lower(LowerTest::EndsWith(text.into())),
        })
    }

    fn regex(&mut self, text: &str, field: &Field, lower: bool, argument: &Syntax) -> Option<TextTest> {
        if lower {
            let hint = format!("write {field}.matches(\"(?i)...\")");
            self.reporter
                .error_with_hint("P046", &argument.span, "matches() does not follow lowerAscii()", hint);
            return None;
        }
        let built = RegexBuilder::new(text)
            .size_limit(limits::REGEX_BYTES_MAX)
            .dfa_size_limit(4 * limits::REGEX_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => Some(TextTest::Matches(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                let hint = "make its repetitions smaller, or use (?-u) where only ASCII matters";
                self.reporter
                    .error_with_hint("P047", &argument.span, "the regular expression is too large", hint);
                None
            }
            Err(error) => {
                let full = error.to_string();
                let why = full.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let message = format!("this is not a regular expression: {}", Printable(why));
                let hint = "the syntax is RE2's; a text with backslashes is best written as r\"\\d+\"";
                self.reporter.error_with_hint("P047", &argument.span, message, hint);
                None
            }
        }
    }

    fn network(&mut self, argument: &Syntax) -> Option<IpNet> {
        let text = self.literal("inNetwork", argument)?;
        let found = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| parse_address(text).map(IpNet::from));
        match found {
            Some(network) if network.trunc() == network => Some(network),
            Some(network) => {
                let hint = format!("write \"{}\"", network.trunc());
                let message = format!("`{}` has bits behind its prefix", Printable(text));
                self.reporter.error_with_hint("P048", &argument.span, message, hint);
                None
            }
            None => {
                let message = format!("`{}` is not a network", Printable(text));
                self.reporter.error_with_hint(
                    "P048",
                    &argument.span,
                    message,
                    "write for example \"10.0.0.0/8\" or \"2001:db8::/32\"",
                );
                None
            }
        }
    }

    fn literal<'s>(&mut self, name: &str, argument: &'s Syntax) -> Option<&'s str> {
        if let SyntaxKind::Text(text) = &argument.kind {
            return Some(text);
        }
        let message = format!("{name}() takes a constant text");
        self.reporter
            .error_with_hint("P046", &argument.span, message, "write it in quotes");
        None
    }

    pub(super) fn arity(&mut self, name: &str, span: &Range<usize>, arguments: &[Syntax], expect: usize) -> Option<()> {
        if arguments.len() == expect {
            return Some(());
        }
        let plural = if expect == 1 { "" } else { "s" };
        self.reporter.error(
            "P045",
            span,
            format!("{name}() takes {expect} argument{plural}, not {}", arguments.len()),
        );
        None
    }

    /// Reports a call that is not one of a function that yields a value.
    pub(super) fn not_a_value(&mut self, receiver: Option<&Syntax>, name: &str, span: &Range<usize>) {
        let known = || TESTS.into_iter().chain(VALUES);
        if known().any(|it| it == name) {
            let (message, hint) = match receiver {
                None => (
                    format!("{name}() is called on a field"),
                    format!("write event.<field>.{name}(...)"),
                ),
                Some(_) => (
                    format!("{name}() is true or false and cannot be compared"),
                    "use it as a condition by itself".to_owned(),
                ),
            };
            self.reporter
                .error_with_hint(if receiver.is_none() { "P044" } else { "P046" }, span, message, hint);
            return;
        }
        let all = known().chain(["has"]).collect::<Vec<_>>().join(", ");
        let hint = match name {
            "icontains" | "containsIgnoreCase" => "write .lowerAscii().contains(\"small letters\")".to_owned(),
            "cidr" | "ip" | "containsIP" | "containsCIDR" => {
                "write event.source.ip.inNetwork(\"10.0.0.0/8\")".to_owned()
            }
            _ => match suggest::nearest(name, known().chain(["has"])) {
                Some(near) => format!("did you mean `{near}`? functions: {all}"),
                None => format!("functions: {all}"),
            },
        };
        self.reporter.error_with_hint(
            "P044",
            span,
            format!("there is no function `{}`", Printable(name)),
            hint,
        );
    }
}
