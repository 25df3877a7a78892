//! What can be said of targets that events name and that are no addresses.

use staunch_model::{Found, Target, Timestamp};

/// When and where an event saw what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// When, by the source's clock; `None` when it does not say.
    pub time: Option<Timestamp>,
    /// On which host; `None` when it does not say.
    pub host: Option<&'a str>,
}

/// Tells the target that an event means from all others that have had its name or number or will have it, and says what
/// it is and whether it must never be touched.
///
/// Answers in milliseconds, from what is true at that moment: the longer ago an event was, the less often its process
/// is still there.
pub trait Targets: Send + Sync {
    /// Finds what an event names as `named`, `seen` there. Never guesses: whenever it could be another one, the facts
    /// are the reason, for people.
    fn find(&self, named: &Target, seen: Seen<'_>) -> Found;

    /// What is to be said by now of `target`, which was found before: a process may run another program, or have ended.
    /// Facts are the reason when it is not there any more.
    fn look_again(&self, target: &Target) -> Found;
}
