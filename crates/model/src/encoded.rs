//! Values as the journal and snapshots keep them.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// Appends to `bytes` what is kept of `value`: the same as [`postcard::to_extend`], which goes byte by byte.
///
/// # Errors
/// As [`postcard::serialize_with_flavor`]: for a value that the format has no form for.
pub fn encode_onto(value: &(impl Serialize + ?Sized), bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    postcard::serialize_with_flavor(value, Onto(bytes))
}

struct Onto(Vec<u8>);

impl Flavor for Onto {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_postcard_makes_of_it() {
        let value = (300_u64, "text", Some(vec![1_u8, 2]), [7_u8; 32], -1_i32);
        let own = postcard::to_stdvec(&value).expect("serialises");
        assert_eq!(encode_onto(&value, Vec::new()), Ok(own.clone()));
        assert_eq!(encode_onto(&value, vec![9]), Ok([vec![9], own].concat()));
    }
}
