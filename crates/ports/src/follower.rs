//! Followers: whoever keeps a view of the journal, such as the query index. A view is never the truth.
//!
//! Each has a place of its own: one that is slow, or that cannot write, keeps no other from what happens.

use staunch_model::{Frame, Timestamp};

use crate::journal::Lsn;

/// Follows the journal, frame by frame.
pub trait Follower: Send {
    /// What it is called, as the name of its thread: 15 bytes at the most.
    fn name(&self) -> &'static str;

    /// Takes the frame at `lsn`, which is durable. Called in order and without gaps from [`Follower::position`] on.
    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame);

    /// The last frame taken.
    fn position(&self) -> Lsn;

    /// Makes what was taken visible to readers. Called moments after a frame was taken, and when no more will come.
    fn flush(&mut self) {}

    /// Frames were passed over because the follower was too slow: takes those before `until` from the journal itself.
    /// `until` is durable, and is followed next when everything before it was taken; where that cannot be, this is
    /// called again with the next frame.
    fn catch_up(&mut self, until: Lsn);

    /// Looks after what the follower keeps, and makes it anew where it has vanished. Called from time to time.
    fn look_after(&mut self) {}
}
