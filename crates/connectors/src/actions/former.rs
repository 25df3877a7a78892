//! What another installation has left, which is lifted on a person's word.

use staunch_model::Failure;
use staunch_ports::Action;

/// Has `driver` read what is left after it has tried to lift what others have left, whatever came of that. Returns what
/// did.
///
/// # Errors
/// When what is left cannot be read, or not all of it was lifted.
pub(super) fn lifted_and_read(driver: &mut impl Action, lifted: Result<u64, Failure>) -> Result<u64, Failure> {
    driver.owned()?;
    lifted
}
