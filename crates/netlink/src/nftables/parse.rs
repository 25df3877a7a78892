//! Reads the objects of nf_tables out of netlink messages.

use std::net::IpAddr;
use std::time::Duration;

use super::element::{
    DATA_VALUE, ELEMENT_EXPIRATION, ELEMENT_KEY, ELEMENT_TIMEOUT, ELEMENT_USERDATA, Element, USERDATA_COMMENT,
};
use super::isolation::{Cut, IpVersion};
use super::{ELEMENT_LIST, INET};
use crate::message::{Attribute, Attributes, Malformed, parse_attributes};

mod expression;

use expression::parse_expression;
pub use expression::{Counter, Expression, Limit};
pub(super) use expression::{write_alone, write_expression};

const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_EXPRESSIONS: u16 = 11;

/// `NFTA_SET_EXPR`: the one expression of a set.
pub(super) const SET_EXPRESSION: u16 = 17;
/// `NFTA_SET_EXPRESSIONS`: the list of several.
pub(super) const SET_EXPRESSIONS: u16 = 18;

/// A set, without its elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set {
    /// The table it is in.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The `NFT_SET_*` flags.
    pub flags: u32,
    /// The length of a key in bytes.
    pub key_bytes: u32,
    /// What every packet that finds an element goes through: a copy for each element.
    pub expressions: Vec<Expression>,
    /// How many elements it has, with those expired but not collected; `None` before kernel 6.16.
    pub elements: Option<u32>,
}

/// A chain, without its rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// The table it is in.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The type; `None` when it is not a base chain.
    pub kind: Option<String>,
    /// The number of the hook; `None` when it is not a base chain.
    pub hook: Option<u32>,
    /// The priority; `None` when it is not a base chain.
    pub priority: Option<i32>,
    /// The verdict at the end; `None` when it is not a base chain.
    pub policy: Option<u32>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The table it is in.
    pub table: String,
    /// The chain it is in.
    pub chain: String,
    /// The number by which it can be deleted.
    pub handle: u64,
    /// What it does.
    pub expressions: Vec<Expression>,
    /// What its first counter has counted.
    pub counter: Option<Counter>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads the generation of the ruleset.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_generation(payload: &[u8]) -> Result<u32, Malformed> {
    const ID: u16 = 1;
    let mut generation = None;
    for attribute in object(payload)? {
        let attribute = attribute?;
        if attribute.kind == ID {
            generation = Some(attribute.u32_be()?);
        }
    }
    generation.ok_or(Malformed { what: "generation" })
}

/// Reads a set.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_set(payload: &[u8]) -> Result<Set, Malformed> {
    let mut set = Set::default();
    for attribute in object(payload)? {
        let attribute = attribute?;
        match attribute.kind {
            1 => set.table = lossy(&attribute),
            2 => set.name = lossy(&attribute),
            3 => set.flags = attribute.u32_be()?,
            5 => set.key_bytes = attribute.u32_be()?,
            SET_EXPRESSION => set.expressions.push(parse_expression(&attribute)?),
            SET_EXPRESSIONS => {
                for expression in attribute.nested() {
                    set.expressions.push(parse_expression(&expression?)?);
                }
            }
            20 => set.elements = Some(attribute.u32_be()?),
            _ => {}
        }
    }
    Ok(set)
}

/// Reads a chain.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_chain(payload: &[u8]) -> Result<Chain, Malformed> {
    let mut chain = Chain::default();
    for attribute in object(payload)? {
        let attribute = attribute?;
        match attribute.kind {
            1 => chain.table = lossy(&attribute),
            3 => chain.name = lossy(&attribute),
            4 => {
                for inner in attribute.nested() {
                    let inner = inner?;
                    match inner.kind {
                        1 => chain.hook = Some(inner.u32_be()?),
                        2 => chain.priority = Some(i32::from_be_bytes(inner.array()?)),
                        _ => {}
                    }
                }
            }
            5 => chain.policy = Some(attribute.u32_be()?),
            7 => chain.kind = Some(lossy(&attribute)),
            _ => {}
        }
    }
    Ok(chain)
}

/// Reads a rule.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_rule(payload: &[u8]) -> Result<Rule, Malformed> {
    let mut rule = Rule::default();
    for attribute in object(payload)? {
        let attribute = attribute?;
        match attribute.kind {
            1 => rule.table = lossy(&attribute),
            2 => rule.chain = lossy(&attribute),
            3 => rule.handle = attribute.u64_be()?,
            4 => {
                for inner in attribute.nested() {
                    let inner = inner?;
                    rule.expressions.push(parse_expression(&inner)?);
                    rule.counter = rule.counter.or(Counter::parse(&inner)?);
                }
            }
            7 => rule.comment = parse_comment(attribute.payload),
            _ => {}
        }
    }
    Ok(rule)
}

/// Reads the elements in one message, calling `visit` with each. Elements that are not addresses are left out.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_element_list(payload: &[u8], mut visit: impl FnMut(Element)) -> Result<(), Malformed> {
    parse_elements(payload, parse_address, |address, read: Read| {
        visit(Element {
            address,
            timeout: read.timeout,
            expires: read.expires,
            comment: read.comment,
            packets: read.counter.map(|it| it.packets),
            bytes: read.counter.map(|it| it.bytes),
        });
    })
}

/// Reads the elements of a set of families of protocols in one message, calling `visit` with each. Elements that are
/// neither IPv4 nor IPv6 are left out.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_cut_list(payload: &[u8], mut visit: impl FnMut(Cut)) -> Result<(), Malformed> {
    parse_elements(payload, parse_version, |version, read: Read| {
        visit(Cut {
            version,
            timeout: read.timeout,
            expires: read.expires,
            comment: read.comment,
        });
    })
}

/// What an element holds beside its key.
#[derive(Default)]
struct Read {
    timeout: Option<Duration>,
    expires: Option<Duration>,
    comment: Option<String>,
    counter: Option<Counter>,
}

fn parse_elements<K>(
    payload: &[u8],
    parse_key: fn(&Attribute<'_>) -> Result<Option<K>, Malformed>,
    mut visit: impl FnMut(K, Read),
) -> Result<(), Malformed> {
    for attribute in object(payload)? {
        let attribute = attribute?;
        if attribute.kind == ELEMENT_LIST {
            for element in attribute.nested() {
                if let (Some(key), read) = parse_element(element?.nested(), parse_key)? {
                    visit(key, read);
                }
            }
        }
    }
    Ok(())
}

fn parse_element<K>(
    attributes: Attributes<'_>,
    parse_key: fn(&Attribute<'_>) -> Result<Option<K>, Malformed>,
) -> Result<(Option<K>, Read), Malformed> {
    let (mut key, mut read) = (None, Read::default());
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            ELEMENT_KEY => key = parse_key(&attribute)?,
            ELEMENT_TIMEOUT => read.timeout = Some(Duration::from_millis(attribute.u64_be()?)),
            ELEMENT_EXPIRATION => read.expires = Some(Duration::from_millis(attribute.u64_be()?)),
            ELEMENT_USERDATA => read.comment = parse_comment(attribute.payload),
            ELEMENT_EXPRESSION => read.counter = Counter::parse(&attribute)?,
            ELEMENT_EXPRESSIONS => {
                for expression in attribute.nested() {
                    read.counter = read.counter.or(Counter::parse(&expression?)?);
                }
            }
            _ => {}
        }
    }
    Ok((key, read))
}

fn parse_version(key: &Attribute<'_>) -> Result<Option<IpVersion>, Malformed> {
    let mut version = None;
    for attribute in key.nested() {
        let attribute = attribute?;
        if attribute.kind == DATA_VALUE {
            version = attribute.u8().ok().and_then(IpVersion::of_number);
        }
    }
    Ok(version)
}

fn parse_address(key: &Attribute<'_>) -> Result<Option<IpAddr>, Malformed> {
    let mut address = None;
    for attribute in key.nested() {
        let attribute = attribute?;
        if attribute.kind == DATA_VALUE {
            address = match attribute.payload.len() {
                4 => Some(IpAddr::from(attribute.array::<4>()?)),
                16 => Some(IpAddr::from(attribute.array::<16>()?)),
                _ => None,
            };
        }
    }
    Ok(address)
}

/// Reads the comment out of user data, which any program may write as it likes; what does not parse is no comment.
pub fn parse_comment(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *kind == USERDATA_COMMENT {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
        rest = &tail[value.len()..];
    }
    None
}

fn object(payload: &[u8]) -> Result<Attributes<'_>, Malformed> {
    payload.get(INET.len()..).map(parse_attributes).ok_or(Malformed {
        what: "nf_tables header",
    })
}

/// Reads a name, which the kernel does not require to be UTF-8.
fn lossy(attribute: &Attribute<'_>) -> String {
    let end = attribute
        .payload
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(attribute.payload.len());
    String::from_utf8_lossy(&attribute.payload[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nftables::element::comment_userdata;

    #[test]
    fn comments_survive_and_foreign_user_data_is_no_comment() {
        for comment in ["", "t-1", &"x".repeat(128), "grüße"] {
            assert_eq!(parse_comment(&comment_userdata(comment)).as_deref(), Some(comment));
        }
        assert_eq!(parse_comment(&[]), None);
        assert_eq!(parse_comment(&[0]), None);
        assert_eq!(parse_comment(&[0, 9, b'a']), None);
        assert_eq!(parse_comment(&[3, 1, 7, 0, 2, b'a', 0]).as_deref(), Some("a"));
        assert_eq!(parse_comment(&[0, 1, 0xff]).as_deref(), Some("\u{fffd}"));
    }
}
