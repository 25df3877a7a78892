//! The label that says whose an object is: `staunch:<installation>:TX-<number>`.
//!
//! Only the exact text that Staunch writes is a label of Staunch. Anything else is somebody else's, so that nothing is
//! ever removed by mistake.

use std::fmt;

use staunch_model::{InstallationId, Owner, Printable, TransactionId};

/// The first part of every label.
const PREFIX: &str = "staunch";

/// What is said of an object without any label.
const NO_LABEL: &str = "no label";

/// Whose an object is, as written on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Which installation of Staunch.
    pub installation: InstallationId,
    /// Which of its transactions.
    pub transaction: TransactionId,
}

impl Label {
    /// Reads a label; `None` when it is not exactly one of Staunch's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (installation, transaction) = text.strip_prefix(PREFIX)?.strip_prefix(':')?.split_once(':')?;
        let label = Self {
            installation: installation.parse().ok()?,
            transaction: transaction.parse().ok()?,
        };
        // Ids are read leniently (`tx-007`), labels are not.
        (label.to_string() == text).then_some(label)
    }

    /// Whose the object with the comment `text` is, seen from `installation`.
    #[must_use]
    pub fn owner(text: Option<&str>, installation: InstallationId) -> Owner {
        match text.and_then(Self::parse) {
            Some(label) if label.installation == installation => Owner::Ours(label.transaction),
            _ => Owner::Foreign(
                Printable(text.filter(|it| !it.is_empty()).unwrap_or(NO_LABEL))
                    .to_string()
                    .into(),
            ),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}:{}:{}", self.installation, self.transaction)
    }
}

/// Whose objects are meant. Those without a label of Staunch never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of this installation.
    Of(InstallationId),
    /// Those of every installation but this one.
    Others(InstallationId),
    /// Those of every installation.
    Anybodys,
}

impl Whose {
    /// Whether what carries the label of `owner` is meant.
    pub(super) fn means(self, owner: InstallationId) -> bool {
        match self {
            Self::Of(installation) => owner == installation,
            Self::Others(installation) => owner != installation,
            Self::Anybodys => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: InstallationId = InstallationId([0xab, 1, 2, 3, 4, 5, 6, 7]);

    #[test]
    fn a_label_reads_what_it_writes() {
        let label = Label {
            installation: OURS,
            transaction: TransactionId(17),
        };
        assert_eq!(label.to_string(), "staunch:ab01020304050607:TX-17");
        assert_eq!(Label::parse(&label.to_string()), Some(label));
        assert_eq!(
            Label::owner(Some(&label.to_string()), OURS),
            Owner::Ours(TransactionId(17))
        );
    }

    #[test]
    fn what_is_not_exactly_our_label_is_foreign() {
        for text in [
            "",
            "staunch",
            "staunch:ab01020304050607:tx-17",
            "staunch:ab01020304050607:TX-017",
            "staunch:AB01020304050607:TX-17",
            "staunch:ab01020304050607:TX-17 ",
            "staunch:ab01020304050607:TX-",
            "staunch:ff01020304050607:TX-17",
            "fail2ban",
        ] {
            assert!(matches!(Label::owner(Some(text), OURS), Owner::Foreign(_)), "{text}");
        }
        assert_eq!(Label::owner(None, OURS), Owner::Foreign("no label".into()));
        assert_eq!(Label::owner(Some("a\u{1b}b"), OURS), Owner::Foreign("a\\u{1b}b".into()));
    }
}
