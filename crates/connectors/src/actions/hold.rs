//! How long a containment may be asked to hold.

use staunch_model::{Failure, FailureKind, Span, Target};

/// The shortest time. Below it an enforcement point may round to "for ever".
pub const HOLD_MIN: Span = Span::from_millis(100);

/// The longest time: a year, far below what any enforcement point can count.
pub const HOLD_MAX: Span = Span::from_hours(366 * 24);

/// Why `hold` cannot be kept; `None` when it can. `verb` is what is done, such as `block`.
pub(super) fn refused(verb: &str, target: &Target, hold: Span) -> Option<Failure> {
    if (HOLD_MIN..=HOLD_MAX).contains(&hold) {
        return None;
    }
    let what = format!("cannot {verb} {target} for {hold}: a hold is between {HOLD_MIN} and {HOLD_MAX}");
    Some(Failure::new(FailureKind::Invalid, &what))
}
