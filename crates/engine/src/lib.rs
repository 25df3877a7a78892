//! Decides: the pure, deterministic state machine that turns inputs into records and records into effects.
