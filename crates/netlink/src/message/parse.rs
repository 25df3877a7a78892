//! Reads netlink messages out of untrusted bytes.

use nix::errno::Errno;
use thiserror::Error;

use super::{ACKNOWLEDGE_EXPLAINED, ATTRIBUTE_FLAGS, CAPPED, HEADER_BYTES, aligned};

/// Bytes that do not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed netlink data: {what}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
}

/// The header of a netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub kind: u16,
    /// The `NLM_F_*` flags.
    pub flags: u16,
    /// The sequence number, that of the request in a reply.
    pub sequence: u32,
    /// The port of the receiver.
    pub port: u32,
}

/// One message: its header and everything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The bytes after the header.
    pub payload: &'a [u8],
}

/// Iterates over the messages in one datagram; see [`parse_messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// Iterates over attributes; see [`parse_attributes`].
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type without its flag bits.
    pub kind: u16,
    /// The value.
    pub payload: &'a [u8],
}

/// What the kernel answered to a request: success, or a refusal with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledgement {
    /// The reason of a refusal; `None` is success.
    pub errno: Option<Errno>,
    /// The explanation in words, where the kernel gives one.
    pub text: Option<String>,
    /// Where in the request the offending attribute starts, where the kernel says so.
    pub offset: Option<u32>,
}

/// Reads the messages of one datagram. It stops after the first malformed one.
pub fn parse_messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

/// Reads a list of attributes. It stops after the first malformed one.
pub fn parse_attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// Reads the payload of an acknowledgement; `flags` are those of its header.
///
/// # Errors
///
/// [`Malformed`] when it is shorter than an error number, or its explanation does not parse.
pub fn parse_acknowledgement(flags: u16, payload: &[u8]) -> Result<Acknowledgement, Malformed> {
    const TEXT: u16 = 1;
    const OFFSET: u16 = 2;
    let what = Malformed {
        what: "acknowledgement",
    };
    let (code, rest) = payload.split_first_chunk::<4>().ok_or(what)?;
    let code = i32::from_ne_bytes(*code);
    let mut answer = Acknowledgement {
        errno: (code != 0).then(|| Errno::from_raw(code.checked_neg().unwrap_or(i32::MAX))),
        ..Acknowledgement::default()
    };
    if flags & ACKNOWLEDGE_EXPLAINED == 0 {
        return Ok(answer);
    }
    let request = if flags & CAPPED != 0 {
        HEADER_BYTES
    } else {
        let length = rest.first_chunk::<4>().ok_or(what)?;
        aligned(usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX))
    };
    for attribute in parse_attributes(rest.get(request..).ok_or(what)?) {
        let attribute = attribute?;
        match attribute.kind {
            TEXT => answer.text = Some(attribute.text()?.to_owned()),
            OFFSET => answer.offset = Some(attribute.u32_ne()?),
            _ => {}
        }
    }
    Ok(answer)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(message) = self.split() else {
            self.rest = &[];
            return Some(Err(Malformed { what: "message header" }));
        };
        Some(Ok(message))
    }
}

impl<'a> Messages<'a> {
    fn split(&mut self) -> Option<Message<'a>> {
        let header = self.rest.first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = self.rest.get(HEADER_BYTES..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or(&[]);
        let header = Header {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
        };
        Some(Message { header, payload })
    }
}

impl<'a> Message<'a> {
    /// Returns the attributes that follow a fixed header of `fixed` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the message ends within the fixed header.
    pub fn attributes(&self, fixed: usize) -> Result<Attributes<'a>, Malformed> {
        self.payload
            .get(fixed..)
            .map(parse_attributes)
            .ok_or(Malformed { what: "family header" })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(attribute) = self.split() else {
            self.rest = &[];
            return Some(Err(Malformed {
                what: "attribute header",
            }));
        };
        Some(Ok(attribute))
    }
}

impl<'a> Attributes<'a> {
    fn split(&mut self) -> Option<Attribute<'a>> {
        let [l0, l1, k0, k1] = *self.rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = self.rest.get(4..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or(&[]);
        Some(Attribute {
            kind: u16::from_ne_bytes([k0, k1]) & !ATTRIBUTE_FLAGS,
            payload,
        })
    }
}

impl<'a> Attribute<'a> {
    /// Returns the attributes inside this one.
    pub fn nested(&self) -> Attributes<'a> {
        parse_attributes(self.payload)
    }

    /// Returns the value as exactly `N` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.payload.try_into().map_err(|_| Malformed {
            what: "attribute of another length",
        })
    }

    /// Returns the value as one byte.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn u8(&self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Returns the value as 16 bits in network byte order.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn u16_be(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Returns the value as 32 bits in network byte order.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn u32_be(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Returns the value as 64 bits in network byte order.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn u64_be(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Returns the value as 32 bits in the byte order of this machine.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it has another length.
    pub fn u32_ne(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    /// Returns the value as text, up to its first NUL.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        let end = self
            .payload
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).map_err(|_| Malformed {
            what: "text that is not UTF-8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Builder;

    #[test]
    fn refusals_carry_errno_text_and_offset() {
        let mut builder = Builder::default();
        builder.raw(&(-17_i32).to_ne_bytes());
        builder.raw(&[0; HEADER_BYTES]);
        builder.text(1, "no such set");
        builder.u32_ne(2, 36);
        let bytes = builder.finish().unwrap();
        let answer = parse_acknowledgement(CAPPED | ACKNOWLEDGE_EXPLAINED, &bytes).unwrap();
        assert_eq!(answer.errno, Some(Errno::EEXIST));
        assert_eq!(answer.text.as_deref(), Some("no such set"));
        assert_eq!(answer.offset, Some(36));
        assert_eq!(parse_acknowledgement(0, &[0; 4]).unwrap(), Acknowledgement::default());
        assert!(parse_acknowledgement(0, &[0; 3]).is_err());
        assert!(parse_acknowledgement(ACKNOWLEDGE_EXPLAINED, &[0xff; 8]).is_err());
    }

    #[test]
    fn lengths_that_lie_end_the_iteration() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
            let read: Vec<_> = parse_attributes(&bytes).collect();
            assert_eq!(
                read,
                [Err(Malformed {
                    what: "attribute header"
                })],
                "length {length}"
            );
        }
        for length in [0_u32, 15, 21, u32::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[0; 16]);
            assert!(parse_messages(&bytes).next().unwrap().is_err(), "length {length}");
        }
    }
}
