//! What is too long to be handed on.

use staunch_ports::InletTally;

use super::Seldom;

/// Counts what is too long, and tells of it from time to time.
#[derive(Debug)]
pub(super) struct Overlong {
    bytes_max: usize,
    told: Seldom,
}

impl Overlong {
    /// Counts what is longer than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            told: Seldom::default(),
        }
    }

    /// Counts one more, which was passed over.
    pub(super) fn add(&mut self, tally: &InletTally) {
        tally.dropped(1);
        if let Some(messages) = self.told.add(1) {
            let (inlet, bytes_max) = (tally.follows(), self.bytes_max);
            tracing::warn!(
                inlet,
                messages,
                bytes_max,
                "messages are too long: they are passed over"
            );
        }
    }
}
