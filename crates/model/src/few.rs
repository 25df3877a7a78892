//! Short lists, of which there are hundreds of thousands.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list that mostly has one member or none, which it keeps without an allocation. Reads like a slice.
#[derive(Clone, PartialEq, Eq)]
pub struct Few<T>(Inner<T>);

#[derive(Clone)]
enum Inner<T> {
    One(T),
    Many(Box<[T]>),
}

impl<T: Copy + PartialEq> Few<T> {
    /// A list without members.
    #[must_use]
    pub fn new() -> Self {
        Self(Inner::Many(Box::default()))
    }

    /// Adds `item` at the end.
    pub fn push(&mut self, item: T) {
        self.0 = match &self.0 {
            Inner::Many(items) if items.is_empty() => Inner::One(item),
            inner => Inner::Many(inner.as_slice().iter().copied().chain([item]).collect()),
        };
    }

    /// Takes out every member that is not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut items = self.to_vec();
        items.retain(keep);
        *self = items.into_iter().collect();
    }
}

impl<T> Inner<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}

impl<T: PartialEq> PartialEq for Inner<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Inner<T> {}

impl<T: Copy + PartialEq> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_slice()
    }
}

impl<T: Copy + PartialEq> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items: Box<[T]> = items.into_iter().collect();
        match *items {
            [item] => Self(Inner::One(item)),
            _ => Self(Inner::Many(items)),
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Few<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        **self == *other
    }
}

impl<T: PartialEq> PartialEq<Vec<T>> for Few<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, T: Copy + PartialEq + Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items: Vec<T>| items.into_iter().collect())
    }
}

/// A list that mostly has no members, and is no larger than a pointer then. Reads like a slice.
#[derive(Clone, PartialEq, Eq)]
pub struct Seldom<T>(Option<Box<Members<T>>>);

/// The members of a list that has some.
#[derive(Clone, PartialEq, Eq)]
struct Members<T>(Vec<T>);

impl<T> Seldom<T> {
    /// A list without members.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds `item` at the end.
    pub fn push(&mut self, item: T) {
        let members = self.0.get_or_insert_with(|| Box::new(Members(Vec::new())));
        members.0.push(item);
    }

    /// Takes out every member that is not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(members) = &mut self.0 {
            members.0.retain(keep);
            if members.0.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Seldom<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |members| &members.0)
    }
}

impl<T> FromIterator<T> for Seldom<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        Self((!items.is_empty()).then(|| Box::new(Members(items))))
    }
}

impl<'a, T> IntoIterator for &'a Seldom<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items: Vec<T>| items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_like_any_other() {
        assert_eq!((size_of::<Few<u64>>(), size_of::<Seldom<u64>>()), (16, 8));
        let mut seldom = Seldom::new();
        let mut few = Few::new();
        let mut vec: Vec<u64> = Vec::new();
        for item in 0..4 {
            assert_eq!(few, vec);
            let bytes = postcard::to_stdvec(&few).expect("serialises");
            assert_eq!(bytes, postcard::to_stdvec(&vec).expect("serialises"));
            assert_eq!(postcard::from_bytes::<Few<u64>>(&bytes).expect("reads back"), few);
            assert_eq!((&*seldom, postcard::to_stdvec(&seldom)), (&*vec, Ok(bytes.clone())));
            assert_eq!(postcard::from_bytes::<Seldom<u64>>(&bytes).expect("reads back"), seldom);
            few.push(item);
            seldom.push(item);
            vec.push(item);
        }
        while !vec.is_empty() {
            let last = vec.pop();
            few.retain(|item| Some(*item) != last);
            assert_eq!(few, vec);
            assert_eq!(few, vec.iter().copied().collect::<Few<u64>>());
            seldom.retain(|item| Some(*item) != last);
            assert_eq!(seldom, vec.iter().copied().collect::<Seldom<u64>>());
            assert_eq!(&*seldom, vec);
        }
    }
}
