//! The ids of what is new: each is given out once, one after the other.
//!
//! Never gives one out: what plans something new does, and the record says which.

use std::fmt;

use super::ApplyError;

/// How far the number of something new may be above the last one given out. The engine gives out the next one; there
/// are gaps only where records were left out. No journal holds enough records to come to the end of 64 bits in such
/// steps.
const NUMBER_GAP_MAX: u64 = 1 << 32;

/// Takes note that `number` was given out, in the `id` of something new.
pub(super) fn number(id: &impl fmt::Display, number: u64, last: &mut u64) -> Result<(), ApplyError> {
    if number == 0 || number > last.saturating_add(NUMBER_GAP_MAX) {
        return Err(ApplyError::Misnumbered(id.to_string().into()));
    }
    *last = number.max(*last);
    Ok(())
}

/// Refuses the `id` of something new that is not free: two things with one id could not both be found.
pub(super) fn free(id: &impl fmt::Display, is_free: bool) -> Result<(), ApplyError> {
    if is_free {
        return Ok(());
    }
    Err(ApplyError::Misnumbered(id.to_string().into()))
}
