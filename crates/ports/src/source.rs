//! Sources: reading what a system sends.

use serde::Serialize;
use staunch_model::EventView;

/// What one element of a body turned out to be.
pub enum Sighting<'a> {
    /// An event.
    Event(&'a EventView<'a>),
    /// Something that is not an event by the format or the configuration; the reason is for counting.
    Ignored(&'static str),
    /// Not what this system sends.
    Malformed(Malformed),
}

/// Why something could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Malformed {
    /// The byte of the body where reading failed, from 0.
    pub offset: usize,
    /// What is wrong, safe to show.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Why a body was not read to its end. Elements before that have been visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// As a whole it is not what this system sends.
    Malformed(Malformed),
    /// It holds more elements than are read of one body; here is where the first of them begins that was not read.
    TooMany(Malformed),
}

impl NotRead {
    /// What to say of it.
    #[must_use]
    pub fn malformed(self) -> Malformed {
        match self {
            Self::Malformed(it) | Self::TooMany(it) => it,
        }
    }
}

/// One system's way of sending events.
pub trait Source: Send + Sync {
    /// The system's name: what playbooks list under `sources` and what events are posted to.
    fn name(&self) -> &str;

    /// The body that is to be read, for a system that puts part of an event into the headers of a request; `None` when
    /// it is the body as it was sent. `headers` are names in small letters, and values.
    fn with_headers(&self, _headers: &mut dyn Iterator<Item = (&str, &str)>, _body: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Reads `body` (one event, an array or NDJSON) and calls `visit` with each element's position and what it is.
    /// A malformed element never spoils the others.
    ///
    /// # Errors
    /// [`NotRead`] when the body as a whole cannot be read or holds too many elements. Elements before the error
    /// have been visited.
    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), NotRead>;

    /// Why the attacking side of the first event of `body` was chosen as it was, or why none was, for people.
    fn explain(&self, body: &[u8]) -> Option<String>;
}
