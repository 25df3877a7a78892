//! Followers: whoever keeps a view of the journal, such as the query index. A view is never the truth.

use staunch_model::{Frame, Timestamp};

use crate::journal::Lsn;

/// Follows the journal, frame by frame.
pub trait Follower: Send {
    /// Takes the frame at `lsn`, which is durable. Called in order and without gaps from [`Follower::position`] on.
    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame);

    /// A frame is durable, whether or not it can be followed: it may come after a gap. Who wraps another follower hands
    /// it on.
    fn is_durable(&mut self, lsn: Lsn);

    /// The last frame taken.
    fn position(&self) -> Lsn;

    /// Makes what was taken visible to readers. Called when no frame is waiting.
    fn flush(&mut self);

    /// Frames were passed over because the follower was too slow: catch up from the journal itself.
    fn catch_up(&mut self);

    /// Looks after what the follower keeps, and makes it anew where it has vanished. Called from time to time.
    fn look_after(&mut self) {}
}
