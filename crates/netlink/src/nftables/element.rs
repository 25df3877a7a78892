//! Elements: one address with a timeout and a comment.

use std::net::IpAddr;
use std::time::Duration;

use super::layout::{BLOCK4, BLOCK6};
use super::{ELEMENT_LIST, ELEMENT_SET, OBJECT_TABLE};
use crate::message::Builder;

/// The longest comment in bytes, as in `nft` (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const COMMENT_BYTES_MAX: usize = 128;

/// The shortest timeout. The kernel rounds down to its ticks, of 10 ms at most, and takes zero ticks for "never".
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// The longest timeout, of 10 years: far below what the kernel can count.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// How much the kernel may round a timeout.
const ROUNDING: Duration = Duration::from_millis(20);

pub(super) const LIST_ELEMENT: u16 = 1;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_TIMEOUT: u16 = 4;
pub(super) const ELEMENT_EXPIRATION: u16 = 5;
pub(super) const ELEMENT_USERDATA: u16 = 6;

/// The type of a comment in the user data of an element (`NFTNL_UDATA_SET_ELEM_COMMENT`) and of a rule.
pub(super) const USERDATA_COMMENT: u8 = 0;

/// An element to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewElement<'a> {
    /// The address. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) counts as IPv4, as on the wire.
    pub address: IpAddr,
    /// After how long the kernel deletes it.
    pub timeout: Duration,
    /// Whose it is; empty for none.
    pub comment: &'a str,
}

/// An element as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The address.
    pub address: IpAddr,
    /// The timeout it was given; `None` when it never expires.
    pub timeout: Option<Duration>,
    /// How long it still has; `None` when it never expires.
    pub expires: Option<Duration>,
    /// The comment.
    pub comment: Option<String>,
    /// How many packets it matched; `None` when the set has no counters.
    pub packets: Option<u64>,
    /// How many bytes it matched; `None` when the set has no counters.
    pub bytes: Option<u64>,
}

impl Element {
    /// Tells whether the element has this comment; none counts as empty.
    pub fn has_comment(&self, comment: &str) -> bool {
        self.comment.as_deref().unwrap_or_default() == comment
    }

    /// Tells whether the element has this timeout, counted from about now.
    pub(super) fn was_given(&self, timeout: Duration) -> bool {
        /// A renewal is read back at once; this much may pass on a machine that is busy.
        const READ_BACK: Duration = Duration::from_secs(2);
        let near = |it: Option<Duration>, tolerance| it.is_some_and(|it| it.abs_diff(timeout) <= tolerance);
        near(self.timeout, ROUNDING) && near(self.expires, READ_BACK)
    }
}

/// Where an address is kept: its set and its bytes there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) set: &'static str,
    bytes: [u8; 16],
    length: usize,
}

impl Key {
    pub(super) fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 16];
        match address.to_canonical() {
            IpAddr::V4(it) => {
                bytes[..4].copy_from_slice(&it.octets());
                Self {
                    set: BLOCK4,
                    bytes,
                    length: 4,
                }
            }
            IpAddr::V6(it) => Self {
                set: BLOCK6,
                bytes: it.octets(),
                length: 16,
            },
        }
    }
}

pub(super) fn timeout_is_valid(timeout: Duration) -> bool {
    (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout)
}

/// Tells whether a comment survives `nft list ruleset` being loaded again, where nothing can be escaped.
pub(super) fn comment_is_valid(comment: &str) -> bool {
    comment.len() <= COMMENT_BYTES_MAX && !comment.chars().any(|it| it == '"' || it.is_control())
}

/// Writes a message that names one element.
pub(super) fn write_key(message: &mut Builder, table: &str, address: IpAddr) {
    write_list(message, table, Key::of(address), |_| {});
}

/// Writes a message that adds one element, or renews it if it is `again`.
pub(super) fn write_element(message: &mut Builder, table: &str, element: &NewElement<'_>, again: bool) {
    write_list(message, table, Key::of(element.address), |m| {
        let timeout = u64::try_from(element.timeout.as_millis()).unwrap_or(u64::MAX);
        m.u64_be(ELEMENT_TIMEOUT, timeout);
        if again {
            // Without this the kernel keeps the old deadline when the timeout is the same (6.11 and later).
            m.u64_be(ELEMENT_EXPIRATION, timeout);
        }
        if !element.comment.is_empty() {
            m.bytes(ELEMENT_USERDATA, &comment_userdata(element.comment));
        }
    });
}

/// Makes user data that `nft` shows as a comment: type, length with the NUL, text, NUL.
pub(super) fn comment_userdata(comment: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(comment.len() + 3);
    // A length beyond one byte cannot happen below COMMENT_BYTES_MAX; 0 would be read as no comment.
    data.extend_from_slice(&[USERDATA_COMMENT, u8::try_from(comment.len() + 1).unwrap_or(0)]);
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}

fn write_list(message: &mut Builder, table: &str, key: Key, rest: impl FnOnce(&mut Builder)) {
    message.text(OBJECT_TABLE, table);
    message.text(ELEMENT_SET, key.set);
    message.nest(ELEMENT_LIST, |list| {
        list.nest(LIST_ELEMENT, |element| {
            element.nest(ELEMENT_KEY, |it| it.bytes(DATA_VALUE, &key.bytes[..key.length]));
            rest(element);
        });
    });
}
