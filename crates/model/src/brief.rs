//! Short texts, of which there are hundreds of thousands.

use std::fmt;
use std::ops::Deref;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that mostly has at most [`Brief::BYTES_INSIDE`] bytes, which it keeps without an allocation. Reads like a
/// `str`.
#[derive(Clone)]
pub struct Brief(Inner);

#[derive(Clone)]
enum Inner {
    /// The bytes of a text, and how many of them count.
    Here(u8, [u8; Brief::BYTES_INSIDE]),
    There(Box<str>),
}

impl Brief {
    /// The most bytes that are kept inside. Every IPv4 address and most names have fewer.
    pub const BYTES_INSIDE: usize = 22;
}

impl From<&str> for Brief {
    fn from(text: &str) -> Self {
        let mut bytes = [0; Self::BYTES_INSIDE];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(inside), Ok(length)) => {
                inside.copy_from_slice(text.as_bytes());
                Self(Inner::Here(length, bytes))
            }
            _ => Self(Inner::There(text.into())),
        }
    }
}

impl Deref for Brief {
    type Target = str;
    fn deref(&self) -> &str {
        match &self.0 {
            Inner::Here(length, bytes) => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).expect("it was copied from a text")
            }
            Inner::There(text) => text,
        }
    }
}

impl PartialEq for Brief {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Brief {}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl Serialize for Brief {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Brief {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Brief;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Brief, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_text_like_any_other() {
        assert_eq!(size_of::<Brief>(), 24);
        for length in [0, 1, 21, 22, 23, 400] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let brief = Brief::from(&*text);
            assert_eq!((&*brief, brief.to_string()), (&*text, text.clone()));
            assert_eq!(format!("{brief:?} {brief:>30}"), format!("{text:?} {text:>30}"));
            assert_eq!(matches!(brief.0, Inner::Here(..)), length <= Brief::BYTES_INSIDE);
            let bytes = postcard::to_stdvec(&brief).expect("serialises");
            assert_eq!(bytes, postcard::to_stdvec(&text).expect("serialises"));
            assert_eq!(postcard::from_bytes::<Brief>(&bytes).expect("reads back"), brief);
            let json = serde_json::to_string(&brief).expect("serialises");
            assert_eq!(serde_json::from_str::<Brief>(&json).expect("reads back"), brief);
            assert_ne!(brief, Brief::from(&*(text + "y")));
        }
    }
}
