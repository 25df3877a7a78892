//! What a trigger looked at in an event that it holds for, test by test: for rules in other languages.
//!
//! Never says more than the trigger does: of alternatives only those that hold for the event are told, and a test that
//! says nothing about what the source sent is told by its text.

use std::fmt;
use std::sync::Arc;

use staunch_model::EventView;

use super::explain::value;
use super::field::Field;
use super::parse::Comparison;
use super::test::{AddressTest, Condition, ConditionKind, LowerTest, Number, Test, TextTest};

/// What a trigger looked at in one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Tests of which each holds.
    pub all: Vec<Seen>,
    /// Tests of which none does, as the trigger asks for.
    pub none: Vec<Seen>,
    /// Clauses of which neither tells, as they are written.
    pub left_out: Vec<String>,
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which field.
    pub field: SeenField,
    /// How it was tested.
    pub test: SeenTest,
}

/// A field that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenField {
    /// One that the source's decoder filled, with what the event has in it.
    Decoded {
        /// Its name, such as `event.signature`.
        name: String,
        /// What the event has there.
        value: String,
    },
    /// One of the event as it was sent: the names on the way to it.
    Raw(Vec<String>),
}

/// How a field was tested. Of several values one will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenTest {
    /// It is one of these.
    Equals(Vec<String>),
    /// It contains one of these.
    Contains(Vec<String>),
    /// It starts with one of these.
    StartsWith(Vec<String>),
    /// It ends with one of these.
    EndsWith(Vec<String>),
    /// It matches one of these regular expressions.
    Matches(Vec<String>),
    /// It is an address in one of these networks.
    InNetwork(Vec<String>),
    /// It is a number less than this one, or whatever the word says: `lt`, `lte`, `gt`, `gte`.
    Number(&'static str, String),
    /// It is there.
    Present,
}

/// Tells what a trigger looked at.
#[derive(Clone)]
pub struct Looker(Arc<dyn Fn(&EventView<'_>) -> Looked + Send + Sync>);

impl fmt::Debug for Looker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looker")
    }
}

impl Looker {
    /// One for `condition`, which is written in `text`.
    pub(crate) fn new(condition: Condition, text: Box<str>) -> Self {
        Self(Arc::new(move |event| {
            let mut looked = Looked::default();
            look(&condition, true, &text, event, &mut looked);
            looked
        }))
    }

    /// What the trigger looked at in `event`, which it holds for.
    #[must_use]
    pub fn at(&self, event: &EventView<'_>) -> Looked {
        (self.0)(event)
    }
}

/// Adds what says that `condition` is `want` for `event`.
fn look(condition: &Condition, want: bool, text: &str, event: &EventView<'_>, looked: &mut Looked) {
    match (&condition.kind, want) {
        (ConditionKind::Constant(_), _) => {}
        (ConditionKind::Not(inner), _) => look(inner, !want, text, event, looked),
        (ConditionKind::All(parts), true) | (ConditionKind::Any(parts), false) => {
            parts.iter().for_each(|part| look(part, want, text, event, looked));
        }
        (ConditionKind::Any(parts), true) | (ConditionKind::All(parts), false) => {
            let decides = parts.iter().find(|part| value(part, event) == Some(want));
            match decides {
                Some(part) => look_at_one(part, parts, want, text, event, looked),
                // It holds by something that is known around the event only.
                None => looked.left_out.push(written(condition, text)),
            }
        }
        (ConditionKind::Test(field, test), _) => match seen(field, test, event) {
            Some((seen, is)) if is == want => looked.all.push(seen),
            Some((seen, _)) => looked.none.push(seen),
            None => looked.left_out.push(written(condition, text)),
        },
    }
}

/// Adds the alternative `part` of `parts`, with those that are the same test of the same field for other values.
fn look_at_one(
    part: &Condition,
    parts: &[Condition],
    want: bool,
    text: &str,
    event: &EventView<'_>,
    looked: &mut Looked,
) {
    let of = |part: &Condition| match &part.kind {
        ConditionKind::Test(field, test) => seen(field, test, event).filter(|(_, is)| *is == want),
        _ => None,
    };
    let Some((mut first, _)) = of(part) else {
        look(part, want, text, event, looked);
        return;
    };
    let others = parts.iter().filter(|other| !std::ptr::eq(*other, part)).filter_map(of);
    for (other, _) in others.filter(|(other, _)| other.field == first.field) {
        first.test.join(other.test);
    }
    looked.all.push(first);
}

impl SeenTest {
    /// Takes over the values of `other`, if that tests in the same way.
    fn join(&mut self, other: Self) {
        let ((Self::Equals(mine), Self::Equals(others))
        | (Self::Contains(mine), Self::Contains(others))
        | (Self::StartsWith(mine), Self::StartsWith(others))
        | (Self::EndsWith(mine), Self::EndsWith(others))
        | (Self::Matches(mine), Self::Matches(others))
        | (Self::InNetwork(mine), Self::InNetwork(others))) = (self, other)
        else {
            return;
        };
        for it in others {
            if !mine.contains(&it) {
                mine.push(it);
            }
        }
    }
}

fn written(condition: &Condition, text: &str) -> String {
    let written = text.get(condition.span.clone()).unwrap_or(text);
    written.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `test` as a test of what was sent, and whether it is to hold; `None` when it says nothing about that.
fn seen(field: &Field, test: &Test, event: &EventView<'_>) -> Option<(Seen, bool)> {
    let (test, is) = match test {
        Test::Text(test) => (of_text(test)?, true),
        Test::Number(Comparison::Equal, number) => (SeenTest::Equals(vec![written_number(*number)]), true),
        Test::Number(Comparison::NotEqual, number) => (SeenTest::Equals(vec![written_number(*number)]), false),
        Test::Number(comparison, number) => (SeenTest::Number(word(*comparison)?, written_number(*number)), true),
        Test::NumberIn(numbers) => (
            SeenTest::Equals(numbers.iter().map(ToString::to_string).collect()),
            true,
        ),
        Test::Bool(expect) => (SeenTest::Equals(vec![expect.to_string()]), true),
        Test::Address(test) => (of_address(test), true),
        Test::Present => (SeenTest::Present, true),
        Test::Severity(_) | Test::Kind(_) | Test::Size(..) | Test::Same(_) | Test::Member { .. } => return None,
    };
    let field = match field {
        Field::Raw(path) => SeenField::Raw(path.iter().map(ToString::to_string).collect()),
        Field::Severity | Field::Kind => return None,
        field if field.is_around() => return None,
        field => {
            let port = |port: Option<u16>| port.map(|it| it.to_string());
            let value = match field {
                Field::SourcePort => port(event.source.port),
                Field::DestinationPort => port(event.destination.port),
                Field::SourceIp | Field::DestinationIp => field.address(event).map(|ip| ip.to_string()),
                field => field.text(event).map(ToOwned::to_owned),
            };
            SeenField::Decoded {
                name: field.to_string(),
                value: value?,
            }
        }
    };
    Some((Seen { field, test }, is))
}

fn of_text(test: &TextTest) -> Option<SeenTest> {
    let one = |text: &str| vec![text.to_owned()];
    let bytes = |needle: &[u8]| std::str::from_utf8(needle).ok().map(one);
    let many = |texts: &[Box<str>]| texts.iter().map(ToString::to_string).collect();
    Some(match test {
        TextTest::Is(text) | TextTest::Lower(LowerTest::Is(text)) => SeenTest::Equals(one(text)),
        TextTest::OneOf(texts) | TextTest::Lower(LowerTest::OneOf(texts)) => SeenTest::Equals(many(texts)),
        TextTest::Contains(finder) => SeenTest::Contains(bytes(finder.needle())?),
        TextTest::Lower(LowerTest::Contains(finder)) => SeenTest::Contains(bytes(finder.needle())?),
        TextTest::StartsWith(text) | TextTest::Lower(LowerTest::StartsWith(text)) => SeenTest::StartsWith(one(text)),
        TextTest::EndsWith(text) | TextTest::Lower(LowerTest::EndsWith(text)) => SeenTest::EndsWith(one(text)),
        TextTest::Matches(regex) => SeenTest::Matches(one(regex.as_str())),
    })
}

fn of_address(test: &AddressTest) -> SeenTest {
    /// The private networks (RFC 1918, RFC 4193).
    const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
    match test {
        AddressTest::Is(ip) => SeenTest::Equals(vec![ip.to_string()]),
        AddressTest::OneOf(all) => SeenTest::Equals(all.iter().map(ToString::to_string).collect()),
        AddressTest::InNetwork(network) => SeenTest::InNetwork(vec![network.to_string()]),
        AddressTest::IsPrivate => SeenTest::InNetwork(PRIVATE.map(str::to_owned).to_vec()),
    }
}

const fn word(comparison: Comparison) -> Option<&'static str> {
    Some(match comparison {
        Comparison::Less => "lt",
        Comparison::LessOrEqual => "lte",
        Comparison::Greater => "gt",
        Comparison::GreaterOrEqual => "gte",
        Comparison::Equal | Comparison::NotEqual => return None,
    })
}

fn written_number(number: Number) -> String {
    match number {
        Number::Int(number) => number.to_string(),
        Number::Float(number) => number.to_string(),
    }
}
