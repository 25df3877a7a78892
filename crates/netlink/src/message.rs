//! Netlink messages: building them, and reading them without ever panicking.
//!
//! It knows the framing only (headers, attributes, acknowledgements), never what a message means.

mod build;
mod parse;

pub use build::{Builder, TooLong};
pub use parse::{
    Acknowledgement, Attribute, Attributes, Header, Malformed, Message, Messages, parse_acknowledgement,
    parse_attributes, parse_messages,
};

/// The length of a message header in bytes.
pub(crate) const HEADER_BYTES: usize = 16;

/// `NLMSG_ERROR`: an acknowledgement, or a refusal when its error is not zero.
pub(crate) const KIND_ACKNOWLEDGEMENT: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const KIND_DONE: u16 = 3;

/// `NLM_F_REQUEST`
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub(crate) const ACKNOWLEDGE: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: the tables changed while they were being dumped.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: the acknowledgement holds only the header of the request.
pub(crate) const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: the acknowledgement ends with attributes that explain it.
pub(crate) const ACKNOWLEDGE_EXPLAINED: u16 = 0x200;
/// `NLM_F_EXCL`
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_DUMP`
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`
pub(crate) const CREATE: u16 = 0x400;

/// The bits of an attribute type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`) and not the type.
const ATTRIBUTE_FLAGS: u16 = 0xc000;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// Rounds a length up to the four bytes that netlink aligns everything to.
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}
