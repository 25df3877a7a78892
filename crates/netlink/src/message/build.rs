//! Builds one or several netlink messages in one buffer.

use thiserror::Error;

use super::{ACKNOWLEDGE, HEADER_BYTES, NESTED, aligned};

/// A message or attribute is longer than its length field can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a netlink message or attribute is too long to be sent")]
pub struct TooLong;

/// Builds netlink messages one after the other.
///
/// A length that does not fit is remembered and reported by [`Builder::finish`], so that nothing is sent cut short.
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    last: Option<usize>,
    too_long: bool,
}

impl Builder {
    /// Makes an empty builder with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            last: None,
            too_long: false,
        }
    }

    /// Appends one message: the netlink header, the `fixed` header of the family, and the attributes `body` writes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, fixed: &[u8], body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.last = Some(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.bytes.len() - start, HEADER_BYTES);
        self.raw(fixed);
        body(self);
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
    }

    /// Asks the kernel to acknowledge the message appended last.
    pub fn acknowledge_last(&mut self) {
        if let Some(start) = self.last {
            let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | ACKNOWLEDGE;
            self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// Appends bytes as they are, padded to four bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    /// Appends an attribute of plain bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(value.len() + 4) else {
            self.too_long = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// Appends a text attribute with the NUL at its end that the kernel expects.
    pub fn text(&mut self, kind: u16, value: &str) {
        let Ok(length) = u16::try_from(value.len() + 5) else {
            self.too_long = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.raw(&[0]);
    }

    /// Appends a 32-bit attribute in network byte order.
    pub fn u32_be(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Appends a 64-bit attribute in network byte order.
    pub fn u64_be(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Appends a 32-bit attribute in the byte order of this machine.
    pub fn u32_ne(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute that holds what `body` writes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
    }

    /// Returns the finished bytes.
    ///
    /// # Errors
    ///
    /// [`TooLong`] when a message or an attribute did not fit its length field.
    pub fn finish(self) -> Result<Vec<u8>, TooLong> {
        if self.too_long { Err(TooLong) } else { Ok(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_attributes, parse_messages};
    use super::*;

    #[test]
    fn what_is_built_can_be_read_back() {
        let mut builder = Builder::with_capacity(64);
        builder.message(7, 1, 42, &[1, 2, 3, 4], |m| {
            m.text(1, "staunch");
            m.nest(2, |n| {
                n.u32_be(1, 0xdead_beef);
                n.u64_be(2, 5);
                n.bytes(3, &[9]);
            });
        });
        builder.message(8, 0, 43, &[], |m| m.u32_ne(1, 3));
        builder.acknowledge_last();
        let bytes = builder.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);

        let messages: Vec<_> = parse_messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].header.kind, messages[0].header.sequence), (7, 42));
        assert_eq!(messages[1].header.flags, ACKNOWLEDGE);
        let attributes: Vec<_> = parse_attributes(&messages[0].payload[4..])
            .map(Result::unwrap)
            .collect();
        assert_eq!(attributes[0].text().unwrap(), "staunch");
        let nested: Vec<_> = attributes[1].nested().map(Result::unwrap).collect();
        assert_eq!(nested[0].u32_be().unwrap(), 0xdead_beef);
        assert_eq!(nested[1].u64_be().unwrap(), 5);
        assert_eq!(nested[2].u8().unwrap(), 9);
    }

    #[test]
    fn too_long_is_reported_and_not_cut() {
        let mut builder = Builder::default();
        builder.message(1, 1, 1, &[], |m| {
            m.nest(1, |n| (0..3).for_each(|_| n.bytes(1, &[0; 30_000])));
        });
        assert_eq!(builder.finish(), Err(TooLong));
        let mut builder = Builder::default();
        builder.message(1, 1, 1, &[], |m| m.bytes(1, &[0; 65_536]));
        assert_eq!(builder.finish(), Err(TooLong));
    }
}
