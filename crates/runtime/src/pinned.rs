//! What a frame that pins something takes, and may take.

use staunch_model::Input;

/// Bytes of a frame that pins `input`, which is in it twice: as the input, and as the record.
#[must_use]
pub fn pinned_bytes(input: &Input) -> usize {
    postcard::to_stdvec(input).map_or(usize::MAX, |bytes| 2 * bytes.len())
}

/// What it may take where a frame has `payload_bytes_max`: half of that, since what is due is decided in the same turn.
#[must_use]
pub const fn pinned_bytes_max(payload_bytes_max: usize) -> usize {
    payload_bytes_max / 2
}
