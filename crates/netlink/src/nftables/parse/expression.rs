//! Expressions: the steps of a rule.

use crate::message::{Attribute, Builder, Malformed};

const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// One step of a rule, without counts, so that two rules can be compared by what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a property of the packet.
    Meta {
        /// `NFT_META_*`
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Loads a property of the connection.
    Conntrack {
        /// `NFT_CT_*`
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Loads bytes of the packet.
    Payload {
        /// Where to.
        register: u32,
        /// `NFT_PAYLOAD_*`
        base: u32,
        /// From where, in bytes.
        offset: u32,
        /// How many bytes.
        length: u32,
    },
    /// Masks a register.
    Mask {
        /// Where from.
        source: u32,
        /// Where to.
        register: u32,
        /// The bits to keep.
        mask: Vec<u8>,
        /// The bits to flip afterwards.
        xor: Vec<u8>,
    },
    /// Leaves the rule unless a register compares as said.
    Compare {
        /// What is compared.
        register: u32,
        /// `NFT_CMP_*`
        operator: u32,
        /// With what.
        data: Vec<u8>,
    },
    /// Leaves the rule unless a register is in a set.
    Lookup {
        /// The name of the set.
        set: String,
        /// What is looked up.
        register: u32,
        /// `NFT_LOOKUP_F_*`; 1 inverts.
        flags: u32,
    },
    /// Leaves the rule while no more than so much has passed.
    Limit(Limit),
    /// Counts.
    Counter,
    /// Ends with a verdict.
    Verdict {
        /// `NF_*` or `NFT_*`, as an unsigned number.
        code: u32,
    },
    /// Anything else, or one of the above with parts that are not known here.
    Other {
        /// Its name.
        name: String,
    },
}

/// A limit of packets: what is above it goes on in the rule, what is below leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Packets in a second.
    pub packets_per_second: u32,
    /// Packets that may come at once beyond that.
    pub burst: u32,
}

impl Limit {
    /// `NFT_LIMIT_PKTS`
    const PACKETS: u32 = 0;
    /// `NFT_LIMIT_F_INV`
    const ABOVE: u32 = 1;
    /// The unit of the rate in seconds.
    const SECOND: u64 = 1;

    fn parse(parts: &Parts<'_>) -> Option<Self> {
        let rate = parts.long(1)?;
        let same = parts.long(2) == Some(Self::SECOND)
            && parts.number(4) == Some(Self::PACKETS)
            && parts.number(5) == Some(Self::ABOVE);
        same.then_some(Self {
            packets_per_second: u32::try_from(rate).ok()?,
            burst: parts.number(3)?,
        })
    }

    fn write(self, m: &mut Builder) {
        m.u64_be(1, self.packets_per_second.into());
        m.u64_be(2, Self::SECOND);
        m.u32_be(3, self.burst);
        m.u32_be(4, Self::PACKETS);
        m.u32_be(5, Self::ABOVE);
    }
}

/// How much an element has matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counter {
    /// Reads an expression that is a counter; `None` when it is another one.
    pub(in crate::nftables) fn parse(expression: &Attribute<'_>) -> Result<Option<Self>, Malformed> {
        let (name, data) = name_and_data(expression)?;
        let Some(data) = data.filter(|_| name == "counter") else {
            return Ok(None);
        };
        let mut counter = Self::default();
        for attribute in data.nested() {
            let attribute = attribute?;
            match attribute.kind {
                1 => counter.bytes = attribute.u64_be()?,
                2 => counter.packets = attribute.u64_be()?,
                _ => {}
            }
        }
        Ok(Some(counter))
    }
}

/// Reads one expression.
pub(in crate::nftables) fn parse_expression(expression: &Attribute<'_>) -> Result<Expression, Malformed> {
    let (name, data) = name_and_data(expression)?;
    let mut parts = Parts::default();
    if let Some(data) = data {
        for attribute in data.nested() {
            parts.take(&attribute?)?;
        }
    }
    let other = Expression::Other { name: name.to_owned() };
    let known = match name {
        "meta" => parts
            .numbers([1, 2])
            .map(|[register, key]| Expression::Meta { key, register }),
        "ct" => parts
            .numbers([1, 2])
            .map(|[register, key]| Expression::Conntrack { key, register }),
        "payload" => parts
            .numbers([1, 2, 3, 4])
            .map(|[register, base, offset, length]| Expression::Payload {
                register,
                base,
                offset,
                length,
            }),
        "bitwise" => match (parts.numbers([1, 2]), parts.data(4), parts.data(5)) {
            // Anything but the plain mask (operation 0) is not known here.
            (Some([source, register]), Some(mask), Some(xor)) if parts.number(6).unwrap_or(0) == 0 => {
                Some(Expression::Mask {
                    source,
                    register,
                    mask,
                    xor,
                })
            }
            _ => None,
        },
        "cmp" => match (parts.numbers([1, 2]), parts.data(3)) {
            (Some([register, operator]), Some(data)) => Some(Expression::Compare {
                register,
                operator,
                data,
            }),
            _ => None,
        },
        "lookup" => match (parts.text(1), parts.number(2)) {
            (Some(set), Some(register)) if parts.number(3).is_none() => Some(Expression::Lookup {
                set,
                register,
                flags: parts.number(5).unwrap_or(0),
            }),
            _ => None,
        },
        "limit" => Limit::parse(&parts).map(Expression::Limit),
        "counter" => Some(Expression::Counter),
        "immediate" => parts.verdict.map(|code| Expression::Verdict { code }),
        _ => None,
    };
    Ok(known.unwrap_or(other))
}

/// Writes one expression into a list. [`Expression::Other`] is written by its name alone.
pub(in crate::nftables) fn write_expression(list: &mut Builder, expression: &Expression) {
    list.nest(LIST_ELEMENT, |it| write_alone(it, expression));
}

/// Writes one expression that is in no list.
pub(in crate::nftables) fn write_alone(it: &mut Builder, expression: &Expression) {
    let value = |m: &mut Builder, kind, data: &[u8]| m.nest(kind, |it| it.bytes(DATA_VALUE, data));
    match expression {
        Expression::Meta { key, register } => named(it, "meta", |m| {
            m.u32_be(1, *register);
            m.u32_be(2, *key);
        }),
        Expression::Conntrack { key, register } => named(it, "ct", |m| {
            m.u32_be(1, *register);
            m.u32_be(2, *key);
        }),
        Expression::Payload {
            register,
            base,
            offset,
            length,
        } => named(it, "payload", |m| {
            m.u32_be(1, *register);
            m.u32_be(2, *base);
            m.u32_be(3, *offset);
            m.u32_be(4, *length);
        }),
        Expression::Mask {
            source,
            register,
            mask,
            xor,
        } => named(it, "bitwise", |m| {
            m.u32_be(1, *source);
            m.u32_be(2, *register);
            m.u32_be(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
            value(m, 4, mask);
            value(m, 5, xor);
        }),
        Expression::Compare {
            register,
            operator,
            data,
        } => named(it, "cmp", |m| {
            m.u32_be(1, *register);
            m.u32_be(2, *operator);
            value(m, 3, data);
        }),
        Expression::Lookup { set, register, flags } => named(it, "lookup", |m| {
            m.text(1, set);
            m.u32_be(2, *register);
            if *flags != 0 {
                m.u32_be(5, *flags);
            }
        }),
        Expression::Limit(limit) => named(it, "limit", |m| limit.write(m)),
        Expression::Counter => named(it, "counter", |_| {}),
        Expression::Verdict { code } => named(it, "immediate", |m| {
            m.u32_be(1, 0);
            m.nest(2, |data| data.nest(DATA_VERDICT, |it| it.u32_be(VERDICT_CODE, *code)));
        }),
        Expression::Other { name } => named(it, name, |_| {}),
    }
}

fn named(message: &mut Builder, name: &str, data: impl FnOnce(&mut Builder)) {
    message.text(NAME, name);
    message.nest(DATA, data);
}

fn name_and_data<'a>(expression: &Attribute<'a>) -> Result<(&'a str, Option<Attribute<'a>>), Malformed> {
    let (mut name, mut data) = ("", None);
    for attribute in expression.nested() {
        let attribute = attribute?;
        match attribute.kind {
            NAME => name = attribute.text()?,
            DATA => data = Some(attribute),
            _ => {}
        }
    }
    Ok((name, data))
}

/// The attributes of an expression, whatever kind of expression it is: they are few and numbered from 1.
#[derive(Default)]
struct Parts<'a> {
    payloads: [Option<&'a [u8]>; 8],
    verdict: Option<u32>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, attribute: &Attribute<'a>) -> Result<(), Malformed> {
        if let Some(slot) = self.payloads.get_mut(usize::from(attribute.kind)) {
            *slot = Some(attribute.payload);
        }
        if attribute.kind != 2 || attribute.payload.len() < 8 {
            return Ok(());
        }
        // Only an immediate has data here; elsewhere the four bytes of a number do not get this far.
        for verdict in attribute.nested().flatten().filter(|it| it.kind == DATA_VERDICT) {
            for code in verdict.nested().flatten().filter(|it| it.kind == VERDICT_CODE) {
                self.verdict = Some(code.u32_be()?);
            }
        }
        Ok(())
    }

    fn payload(&self, kind: usize) -> Option<&'a [u8]> {
        self.payloads.get(kind).copied().flatten()
    }

    fn number(&self, kind: usize) -> Option<u32> {
        self.payload(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn long(&self, kind: usize) -> Option<u64> {
        self.payload(kind)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn numbers<const N: usize>(&self, kinds: [usize; N]) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for (number, kind) in numbers.iter_mut().zip(kinds) {
            *number = self.number(kind)?;
        }
        Some(numbers)
    }

    fn text(&self, kind: usize) -> Option<String> {
        let bytes = self.payload(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn data(&self, kind: u16) -> Option<Vec<u8>> {
        let attribute = Attribute {
            kind,
            payload: self.payload(usize::from(kind))?,
        };
        attribute
            .nested()
            .flatten()
            .find(|it| it.kind == DATA_VALUE)
            .map(|it| it.payload.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse_attributes;
    use crate::nftables::layout;

    #[test]
    fn every_rule_of_the_layout_is_read_as_it_was_written() {
        let limit = Expression::Limit(Limit {
            packets_per_second: 10,
            burst: 20,
        });
        let rules = layout::chains(true).into_iter().flat_map(|it| it.rules).flatten();
        for expression in rules.chain([limit]) {
            let mut builder = Builder::default();
            write_expression(&mut builder, &expression);
            let bytes = builder.finish().unwrap();
            let attribute = parse_attributes(&bytes).next().unwrap().unwrap();
            assert_eq!(parse_expression(&attribute).unwrap(), expression);
        }
    }
}
