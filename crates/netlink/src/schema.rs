//! Reads netlink objects whole, by tables that name their parts, for those who keep what the kernel says and decide
//! nothing.
//!
//! Nothing is lost and nothing fails: what a table does not know, or what is not as it says, is kept as bytes with its
//! number.

use std::net::IpAddr;

use crate::message::{Malformed, parse_attributes};

/// How deep attributes are looked into; what lies deeper is kept as bytes. nf_tables nests nine levels.
const DEPTH_MAX: usize = 24;

/// What the attributes of an object are called, and how their values are to be read.
#[derive(Debug, Clone, Copy)]
pub struct Schema(pub &'static [(u16, &'static str, Form)]);

/// How a value is to be read.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A number of 1, 2, 4 or 8 bytes in the byte order of this machine.
    Native,
    /// A number of 1, 2, 4 or 8 bytes in network byte order.
    Network,
    /// As [`Form::Native`], with a sign.
    Signed,
    /// As [`Form::Network`], with a sign.
    NetworkSigned,
    /// Text that ends with a NUL.
    Text,
    /// An IPv4 or IPv6 address, by its length.
    Address,
    /// Bytes.
    Bytes,
    /// Attributes.
    Nest(&'static Schema),
    /// A list: attributes of which each holds one value, whatever its number.
    List(&'static Form),
    /// A part of a rule of nf_tables: its name, and attributes that depend on it.
    Expression,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A number below zero.
    Negative(i64),
    /// Text.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
    /// Bytes that have no other form.
    Bytes(&'a [u8]),
    /// Attributes.
    Fields(Vec<Field<'a>>),
    /// A list of values.
    List(Vec<Value<'a>>),
}

/// One part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is called; `None` when its number is not known.
    pub name: Option<&'static str>,
    /// Its number; 0 for parts of the fixed header and for what follows the last readable attribute.
    pub kind: u16,
    /// What it holds.
    pub value: Value<'a>,
}

/// A kind of object: a fixed header, and attributes behind it.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The length of the header in bytes.
    pub header_bytes: usize,
    /// The parts of the header: where each begins, its length, its name and its form.
    pub header: &'static [(usize, usize, &'static str, Form)],
    /// The attributes.
    pub schema: &'static Schema,
}

/// Reads the payload of a message.
///
/// # Errors
///
/// [`Malformed`] when it is shorter than its header. Everything else can be read.
pub fn parse_object<'a>(layout: &Layout, payload: &'a [u8]) -> Result<Vec<Field<'a>>, Malformed> {
    let what = Malformed { what: "object header" };
    let rest = payload.get(layout.header_bytes..).ok_or(what)?;
    let mut fields = Vec::with_capacity(layout.header.len() + 8);
    for (start, length, name, form) in layout.header {
        let bytes = payload.get(*start..start + length).ok_or(what)?;
        fields.push(Field {
            name: Some(name),
            kind: 0,
            value: read(form, bytes, 0),
        });
    }
    fields.extend(parse_fields(layout.schema, rest));
    Ok(fields)
}

/// Reads attributes. What follows the last one that can be read is the field `unread`.
pub fn parse_fields<'a>(schema: &Schema, bytes: &'a [u8]) -> Vec<Field<'a>> {
    fields(schema, bytes, 0)
}

/// Returns the value that is called `name`.
pub fn find<'f, 'a>(fields: &'f [Field<'a>], name: &str) -> Option<&'f Value<'a>> {
    fields.iter().find(|it| it.name == Some(name)).map(|it| &it.value)
}

impl<'a> Value<'a> {
    /// Returns the number, if it is one.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(it) => Some(*it),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(it) => Some(it),
            _ => None,
        }
    }
}

fn fields<'a>(schema: &Schema, bytes: &'a [u8], depth: usize) -> Vec<Field<'a>> {
    let mut found = Vec::new();
    // Where the attribute that is next begins.
    let mut at = 0;
    for attribute in parse_attributes(bytes) {
        let Ok(attribute) = attribute else {
            found.push(Field {
                name: Some("unread"),
                kind: 0,
                value: Value::Bytes(&bytes[at..]),
            });
            break;
        };
        at = (at + 4 + attribute.payload.len()).next_multiple_of(4).min(bytes.len());
        let known = schema.0.iter().find(|(kind, ..)| *kind == attribute.kind);
        found.push(Field {
            name: known.map(|(_, name, _)| *name),
            kind: attribute.kind,
            value: known.map_or(Value::Bytes(attribute.payload), |(.., form)| {
                read(form, attribute.payload, depth + 1)
            }),
        });
    }
    found
}

fn read<'a>(form: &Form, bytes: &'a [u8], depth: usize) -> Value<'a> {
    if depth > DEPTH_MAX {
        return Value::Bytes(bytes);
    }
    let value = match form {
        Form::Native | Form::Network => number(bytes, matches!(form, Form::Native)).map(Value::Number),
        Form::Signed | Form::NetworkSigned => signed(bytes, matches!(form, Form::Signed)),
        Form::Text => text(bytes).map(Value::Text),
        Form::Address => address(bytes).map(Value::Address),
        Form::Bytes => None,
        Form::Nest(schema) => Some(Value::Fields(fields(schema, bytes, depth))),
        Form::List(form) => list(form, bytes, depth),
        Form::Expression => Some(Value::Fields(expression(bytes, depth))),
    };
    value.unwrap_or(Value::Bytes(bytes))
}

fn list<'a>(form: &Form, bytes: &'a [u8], depth: usize) -> Option<Value<'a>> {
    let values: Result<Vec<_>, _> = parse_attributes(bytes)
        .map(|it| it.map(|it| read(form, it.payload, depth + 1)))
        .collect();
    values.ok().map(Value::List)
}

/// Reads an expression: `NFTA_EXPR_NAME` says what is in `NFTA_EXPR_DATA`.
fn expression(bytes: &[u8], depth: usize) -> Vec<Field<'_>> {
    const NAME: u16 = 1;
    let name = parse_attributes(bytes)
        .filter_map(Result::ok)
        .find(|it| it.kind == NAME)
        .and_then(|it| it.text().ok());
    let schema = name.and_then(crate::ruleset::expression);
    fields(schema.unwrap_or(&crate::ruleset::EXPRESSION), bytes, depth)
}

fn number(bytes: &[u8], native: bool) -> Option<u64> {
    let wide: [u8; 8] = match (bytes, native) {
        ([it], _) => return Some(u64::from(*it)),
        ([a, b], true) => return Some(u64::from(u16::from_ne_bytes([*a, *b]))),
        ([a, b], false) => return Some(u64::from(u16::from_be_bytes([*a, *b]))),
        ([a, b, c, d], true) => return Some(u64::from(u32::from_ne_bytes([*a, *b, *c, *d]))),
        ([a, b, c, d], false) => return Some(u64::from(u32::from_be_bytes([*a, *b, *c, *d]))),
        (bytes, _) => bytes.try_into().ok()?,
    };
    Some(if native {
        u64::from_ne_bytes(wide)
    } else {
        u64::from_be_bytes(wide)
    })
}

fn signed(bytes: &[u8], native: bool) -> Option<Value<'static>> {
    let number = number(bytes, native)?;
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    let signed = (number << unused).cast_signed() >> unused;
    Some(u64::try_from(signed).map_or(Value::Negative(signed), Value::Number))
}

/// Text with the NUL at its end, or without. A NUL inside, or bytes that are no UTF-8, make it bytes.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(text).ok().filter(|it| !it.contains('\0'))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Builder;

    const INNER: Schema = Schema(&[(1, "number", Form::Network), (2, "text", Form::Text)]);
    const OUTER: Schema = Schema(&[
        (0, "zero", Form::Bytes),
        (1, "signed", Form::NetworkSigned),
        (2, "address", Form::Address),
        (3, "inner", Form::Nest(&INNER)),
        (4, "list", Form::List(&Form::Text)),
    ]);
    const LAYOUT: Layout = Layout {
        header_bytes: 4,
        header: &[(0, 1, "family", Form::Native), (2, 2, "id", Form::Network)],
        schema: &OUTER,
    };

    fn built(body: impl FnOnce(&mut Builder)) -> Vec<u8> {
        let mut builder = Builder::default();
        builder.raw(&[7, 0, 1, 2]);
        body(&mut builder);
        builder.finish().unwrap()
    }

    #[test]
    fn what_is_known_has_names_and_what_is_not_is_kept() {
        let bytes = built(|m| {
            m.bytes(0, b"x");
            m.u32_be(1, (-5_i32).cast_unsigned());
            m.bytes(2, &[192, 0, 2, 1]);
            m.nest(3, |m| {
                m.u32_be(1, 9);
                m.text(2, "a");
                m.bytes(77, &[1, 2, 3]);
            });
            m.nest(4, |m| {
                m.text(9, "one");
                m.text(8, "two");
            });
            m.bytes(5, &[0xff]);
        });
        let fields = parse_object(&LAYOUT, &bytes).unwrap();
        assert_eq!(find(&fields, "family"), Some(&Value::Number(7)));
        assert_eq!(find(&fields, "id"), Some(&Value::Number(0x102)));
        assert_eq!(find(&fields, "zero"), Some(&Value::Bytes(b"x")));
        assert_eq!(find(&fields, "signed"), Some(&Value::Negative(-5)));
        assert_eq!(find(&fields, "address"), Some(&Value::Address([192, 0, 2, 1].into())));
        let Some(Value::Fields(inner)) = find(&fields, "inner") else {
            panic!("{fields:?}")
        };
        assert_eq!(find(inner, "number").and_then(Value::number), Some(9));
        assert_eq!((inner[2].name, inner[2].kind), (None, 77));
        assert_eq!(inner[2].value, Value::Bytes(&[1, 2, 3]));
        let two = Value::List(vec![Value::Text("one"), Value::Text("two")]);
        assert_eq!(find(&fields, "list"), Some(&two));
        assert_eq!((fields[7].name, fields[7].kind), (None, 5));
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_bytes() {
        let mut bytes = built(|m| {
            m.bytes(1, &[1, 2, 3]);
            m.bytes(2, &[1, 2, 3]);
            m.nest(3, |m| m.bytes(2, &[0xff, 0xfe]));
        });
        bytes.extend([9, 0, 1]);
        let fields = parse_object(&LAYOUT, &bytes).unwrap();
        assert_eq!(find(&fields, "signed"), Some(&Value::Bytes(&[1, 2, 3])));
        assert_eq!(find(&fields, "address"), Some(&Value::Bytes(&[1, 2, 3])));
        let Some(Value::Fields(inner)) = find(&fields, "inner") else {
            panic!("{fields:?}")
        };
        assert_eq!(find(inner, "text"), Some(&Value::Bytes(&[0xff, 0xfe])));
        assert_eq!(find(&fields, "unread"), Some(&Value::Bytes(&[9, 0, 1])));
        assert!(parse_object(&LAYOUT, &[1, 2, 3]).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        // A set of expressions that put themselves into a set, and so on.
        let mut inner = Vec::new();
        for _ in 0..2_000 {
            let mut builder = Builder::default();
            builder.text(1, "dynset");
            builder.nest(2, |m| m.nest(10, |m| m.nest(1, |m| m.raw(&inner))));
            inner = builder.finish().unwrap();
            if inner.len() > 60_000 {
                break;
            }
        }
        let value = read(&Form::Expression, &inner, 0);
        assert!(matches!(value, Value::Fields(_)));
    }
}
