//! When a file that is read again whenever it changes is to be read: once it has stayed as it is from one look to the
//! next, so that a slow writer has time, and not again while it is as it was when it was read or refused.
//!
//! Never reads a file; that is for whoever knows what is in it.

use staunch_server::Stamp;

/// How a file stands, by what it was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// When it was read; `None` for one that never was.
    read: Option<Stamp>,
    /// At the last look.
    seen: Stamp,
    /// When it was refused, and nothing has been taken since.
    refused: Option<Stamp>,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing to be done.
    Nothing,
    /// It was refused, and is again what it was when it was read.
    Back,
    /// It has changed, and has stayed like that.
    Changed,
}

impl Watched {
    /// One that was read when it was like `stamp`.
    pub(crate) const fn read(stamp: Stamp) -> Self {
        Self {
            read: Some(stamp),
            seen: stamp,
            refused: None,
        }
    }

    /// One that is like `stamp` and was never read.
    pub(crate) const fn unread(stamp: Stamp) -> Self {
        Self {
            read: None,
            seen: stamp,
            refused: None,
        }
    }

    /// The same, seen like `stamp`.
    pub(crate) const fn seen(self, stamp: Stamp) -> Self {
        Self { seen: stamp, ..self }
    }

    /// Looks at it when it is like `now`.
    pub(crate) fn look(&mut self, now: Stamp) -> Found {
        let is_settled = std::mem::replace(&mut self.seen, now) == now;
        if self.read == Some(now) {
            return match self.refused.take() {
                Some(_) => Found::Back,
                None => Found::Nothing,
            };
        }
        if is_settled && self.refused != Some(now) {
            Found::Changed
        } else {
            Found::Nothing
        }
    }

    /// What it was read as is in force from now on; it was like `stamp`.
    pub(crate) const fn take(&mut self, stamp: Stamp) {
        self.read = Some(stamp);
        self.refused = None;
    }

    /// It was refused as it was when it was looked at last.
    pub(crate) const fn refuse(&mut self) {
        self.refused = Some(self.seen);
    }

    /// Whether it was refused, and nothing has been taken since.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn like(number: i64) -> Stamp {
        Some((number, 0, 1, 1, 0o644))
    }

    #[test]
    fn what_has_changed_is_told_once_it_stays_like_that() {
        let mut file = Watched::read(like(1));
        assert_eq!(file.look(like(1)), Found::Nothing);
        assert_eq!(file.look(like(2)), Found::Nothing, "it may still be written");
        assert_eq!(file.look(like(3)), Found::Nothing, "it is");
        assert_eq!(file.look(like(3)), Found::Changed);
        assert_eq!(file.look(like(3)), Found::Changed, "until it is taken");
        file.take(like(3));
        assert_eq!(file.look(like(3)), Found::Nothing);
    }

    #[test]
    fn what_was_refused_is_not_tried_again_until_it_changes() {
        let mut file = Watched::read(like(1));
        file.look(None);
        assert_eq!(file.look(None), Found::Changed, "it is gone");
        file.refuse();
        assert!(file.is_refused());
        assert_eq!(file.look(None), Found::Nothing);
        assert_eq!(file.look(like(1)), Found::Back);
        assert!(!file.is_refused());
        assert_eq!(file.look(like(1)), Found::Nothing);
    }

    #[test]
    fn one_that_was_never_read_has_nothing_to_come_back_to() {
        let mut file = Watched::unread(like(1));
        assert_eq!(file.look(like(1)), Found::Changed);
        file.refuse();
        assert_eq!(file.look(like(1)), Found::Nothing);
        file.look(like(2));
        assert_eq!(file.look(like(2)), Found::Changed);
    }
}
