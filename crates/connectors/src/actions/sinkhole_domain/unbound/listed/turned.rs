//! Names turned around, so that what is below a name stands behind it.

use std::borrow::Borrow;

use staunch_model::DomainName;

/// A name turned around, its last label first: what is below a name begins with it. The root is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turned(pub(super) String);

impl Turned {
    pub(super) fn new(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut turned = String::with_capacity(name.len() + 1);
        for label in name.rsplit('.').filter(|it| !it.is_empty()) {
            turned.push_str(label);
            turned.push('.');
        }
        turned.make_ascii_lowercase();
        Self(turned)
    }

    pub(super) fn of(domain: &DomainName) -> Self {
        Self::new(domain.as_str())
    }

    /// The name as people write it, with a point at the end.
    pub(super) fn name(&self) -> String {
        if self.0.is_empty() {
            return ".".to_owned();
        }
        let mut name = String::with_capacity(self.0.len());
        for label in self.0.trim_end_matches('.').rsplit('.') {
            name.push_str(label);
            name.push('.');
        }
        name
    }

    /// The names above it and itself, the root first.
    pub(super) fn and_above(&self) -> impl DoubleEndedIterator<Item = &str> {
        let ends = self.0.match_indices('.').map(|(at, _)| at + 1);
        std::iter::once(0).chain(ends).map(|end| &self.0[..end])
    }
}

impl Borrow<str> for Turned {
    fn borrow(&self) -> &str {
        &self.0
    }
}
