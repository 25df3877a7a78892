//! What a checked condition is: a tree of tests on fields.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use memchr::memmem::Finder;
use regex::Regex;
use staunch_model::{EventView, FieldValue};

use super::field::{Field, Type};
use super::parse::Comparison;

/// A condition with its place in the expression.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// Its bytes in the expression.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: ConditionKind,
}

/// What a condition is.
#[derive(Clone, Debug)]
pub(crate) enum ConditionKind {
    Constant(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Field, Test),
}

/// A test on one field. It is unknown when the field is missing or of another type.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// The severities that pass: bit `n` stands for `Severity::ALL[n]`.
    Severity(u8),
    /// The kinds that pass: bit `n` stands for `KINDS[n]`.
    Kind(u8),
    /// A test on a text.
    Text(TextTest),
    /// A test on a number.
    Number(Comparison, Number),
    /// One of these whole numbers.
    NumberIn(Box<[i128]>),
    /// This truth value.
    Bool(bool),
    /// A test on an address.
    Address(AddressTest),
    /// The characters of a text or the members of a list.
    Size(Comparison, i128),
    /// The field is there. Never unknown.
    Present,
    /// Equal to another field.
    Same(Field),
    /// One of the first members of a list passes.
    Member { members: Box<[Field]>, test: Box<Test> },
}

/// The kinds of event, as bits in [`Test::Kind`].
pub(crate) const KINDS: [staunch_model::EventKind; 4] = {
    use staunch_model::EventKind as K;
    [K::Alert, K::Telemetry, K::Health, K::Sample]
};

/// A number in an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

/// A test on a text.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    Is(Box<str>),
    /// One of these, in order.
    OneOf(Box<[Box<str>]>),
    Contains(Box<Finder<'static>>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Matches(Regex),
    /// The same on the text with ASCII letters made small. The constants have no capital ones.
    Lower(LowerTest),
}

/// A test on a text with ASCII letters made small.
#[derive(Clone, Debug)]
pub(crate) enum LowerTest {
    Is(Box<str>),
    OneOf(Box<[Box<str>]>),
    Contains(LowerFinder),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
}

/// A test on an address.
#[derive(Clone, Debug)]
pub(crate) enum AddressTest {
    Is(IpAddr),
    OneOf(Box<[IpAddr]>),
    InNetwork(IpNet),
    IsPrivate,
}

impl Test {
    /// The value for `event`; `None` is unknown.
    pub(crate) fn value(&self, field: &Field, event: &EventView<'_>) -> Option<bool> {
        match self {
            Self::Severity(mask) => Some(mask & (1 << event.severity as u8) != 0),
            Self::Kind(mask) => KINDS
                .iter()
                .position(|kind| *kind == event.kind)
                .map(|bit| mask & (1 << bit) != 0),
            Self::Text(test) => field.text(event).map(|text| test.holds(text)),
            Self::Number(comparison, number) => compare(field.value(event)?, *number).map(|it| comparison.holds(it)),
            Self::NumberIn(numbers) => whole(field.value(event)?).map(|number| numbers.contains(&number)),
            Self::Bool(expect) => match field.value(event)? {
                FieldValue::Bool(value) => Some(value == *expect),
                _ => None,
            },
            Self::Address(test) => field.address(event).map(|ip| test.holds(ip)),
            Self::Size(comparison, size) => size_of(field, event).map(|it| comparison.holds(it.cmp(size))),
            Self::Present => Some(field.is_present(event)),
            Self::Same(other) => same(field, other, event),
            Self::Member { members, test } => match field.value(event)? {
                // Of what the event does not have nobody can say that it is not in the list.
                FieldValue::List(_) if matches!(&**test, Self::Same(sought) if !sought.is_present(event)) => None,
                FieldValue::List(length) => {
                    let mut looked_at = members.iter().take(length);
                    let is_found = looked_at.any(|member| test.value(member, event) == Some(true));
                    (is_found || length <= members.len()).then_some(is_found)
                }
                _ => None,
            },
        }
    }
}

impl TextTest {
    /// Up to so many texts are compared one by one: most differ in their length already.
    const SCAN_MAX: usize = 16;

    pub(crate) fn holds(&self, text: &str) -> bool {
        match self {
            Self::Is(expect) => text == &**expect,
            Self::OneOf(texts) if texts.len() <= Self::SCAN_MAX => texts.iter().any(|it| &**it == text),
            Self::OneOf(texts) => texts.binary_search_by(|it| (**it).cmp(text)).is_ok(),
            Self::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Self::StartsWith(start) => text.starts_with(&**start),
            Self::EndsWith(end) => text.ends_with(&**end),
            Self::Matches(regex) => regex.is_match(text),
            Self::Lower(test) => test.holds(text),
        }
    }
}

impl LowerTest {
    pub(crate) fn holds(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let starts = |it: &str| {
            text.get(..it.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(it.as_bytes()))
        };
        match self {
            Self::Is(expect) => text.eq_ignore_ascii_case(expect.as_bytes()),
            Self::OneOf(texts) => texts.iter().any(|it| text.eq_ignore_ascii_case(it.as_bytes())),
            Self::Contains(finder) => finder.is_in(text),
            Self::StartsWith(start) => starts(start),
            Self::EndsWith(end) => {
                text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
            }
        }
    }
}

/// Finds a text without regard to the case of ASCII letters, and without making a copy.
#[derive(Clone, Debug)]
pub(crate) struct LowerFinder {
    needle: Box<[u8]>,
    /// The byte of the needle that is looked for first, because it is rare in English.
    rare: usize,
}

impl LowerFinder {
    pub(crate) fn new(needle: &str) -> Self {
        /// Letters from the commonest to the rarest; all else is rarer.
        const COMMON: &[u8] = b" etaoinsrhdlucmfywgpbvkxqjz";
        let rank = |byte: u8| COMMON.iter().position(|it| *it == byte).unwrap_or(COMMON.len());
        let needle: Box<[u8]> = needle.as_bytes().into();
        let rare = (0..needle.len()).max_by_key(|at| rank(needle[*at])).unwrap_or(0);
        Self { needle, rare }
    }

    pub(crate) fn needle(&self) -> &[u8] {
        &self.needle
    }

    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let Some(&rare) = self.needle.get(self.rare) else {
            return true;
        };
        let Some(starts) = (text.len() + 1).checked_sub(self.needle.len()) else {
            return false;
        };
        let fits = |start: usize| text[start..start + self.needle.len()].eq_ignore_ascii_case(&self.needle);
        let places = &text[self.rare..self.rare + starts];
        memchr::memchr2_iter(rare, rare.to_ascii_uppercase(), places).any(fits)
    }
}

impl AddressTest {
    pub(crate) fn holds(&self, ip: IpAddr) -> bool {
        match self {
            Self::Is(expect) => ip == *expect,
            Self::OneOf(addresses) => addresses.contains(&ip),
            Self::InNetwork(network) => network.contains(&ip),
            Self::IsPrivate => match ip {
                IpAddr::V4(ip) => ip.is_private(),
                IpAddr::V6(ip) => ip.is_unique_local(),
            },
        }
    }
}

impl Comparison {
    pub(crate) const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// The comparison with its sides exchanged.
    pub(crate) const fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }

    /// The comparison that holds when this one does not.
    pub(crate) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }
}

/// Compares what an event has with a constant. A number with a fraction is compared with such a constant only, so that
/// whole numbers are never rounded.
pub(crate) fn compare(value: FieldValue<'_>, constant: Number) -> Option<Ordering> {
    match (value, constant) {
        (FieldValue::Float(value), Number::Float(constant)) => value.partial_cmp(&constant),
        (_, Number::Int(constant)) => whole(value).map(|value| value.cmp(&constant)),
        (_, Number::Float(constant)) => whole(value).and_then(|value| whole_with_float(value, constant)),
    }
}

/// Compares exactly: `value` is within 65 bits.
fn whole_with_float(value: i128, constant: f64) -> Option<Ordering> {
    /// 2^100: beyond every whole number in an event, and exact.
    const FAR: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;
    if constant.is_nan() {
        return None;
    }
    if constant.abs() >= FAR {
        return Some(if constant > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        });
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fraction is compared below, and 2^100 fits"
    )]
    let floor = constant.floor() as i128;
    Some(value.cmp(&floor).then(if constant > constant.floor() {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

pub(crate) fn whole(value: FieldValue<'_>) -> Option<i128> {
    match value {
        FieldValue::Int(value) => Some(value.into()),
        FieldValue::UInt(value) => Some(value.into()),
        _ => None,
    }
}

fn size_of(field: &Field, event: &EventView<'_>) -> Option<i128> {
    let size = match field.text(event) {
        Some(text) => text.chars().count(),
        None => match field.value(event)? {
            FieldValue::List(length) => length,
            _ => return None,
        },
    };
    i128::try_from(size).ok()
}

fn same(left: &Field, right: &Field, event: &EventView<'_>) -> Option<bool> {
    if left.kind() == Type::Address || right.kind() == Type::Address {
        return Some(left.address(event)? == right.address(event)?);
    }
    if let (Some(left), Some(right)) = (left.text(event), right.text(event)) {
        return Some(left == right);
    }
    Some(whole(left.value(event)?)? == whole(right.value(event)?)?)
}
