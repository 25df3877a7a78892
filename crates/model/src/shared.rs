//! Hashes that hundreds of thousands refer to.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::ContentHash;

/// A hash that many have in common, which is a pointer in each of them. Reads like the hash, and is stored as one.
///
/// Two that were read or made apart are equal and take the memory of two: who keeps many of them clones one.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedHash(Arc<ContentHash>);

impl From<ContentHash> for SharedHash {
    fn from(hash: ContentHash) -> Self {
        Self(Arc::new(hash))
    }
}

impl Deref for SharedHash {
    type Target = ContentHash;
    fn deref(&self) -> &ContentHash {
        &self.0
    }
}

impl PartialEq<ContentHash> for SharedHash {
    fn eq(&self, other: &ContentHash) -> bool {
        *self.0 == *other
    }
}

impl fmt::Debug for SharedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for SharedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl Serialize for SharedHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ContentHash::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_hash_like_any_other() {
        let hash = ContentHash::of(b"x");
        let shared = SharedHash::from(hash);
        assert_eq!(size_of::<SharedHash>(), size_of::<usize>());
        assert_eq!(shared, hash);
        assert_ne!(shared, ContentHash::of(b"y"));
        assert_eq!(
            (shared.to_string(), format!("{shared:?}")),
            (hash.to_string(), format!("{hash:?}"))
        );
        let bytes = postcard::to_stdvec(&shared).expect("serialises");
        assert_eq!(bytes, postcard::to_stdvec(&hash).expect("serialises"));
        assert_eq!(postcard::from_bytes::<SharedHash>(&bytes).expect("reads back"), shared);
        let json = serde_json::to_string(&shared).expect("serialises");
        assert_eq!(json, serde_json::to_string(&hash).expect("serialises"));
    }
}
