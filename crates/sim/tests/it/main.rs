//! The simulator itself: it is deterministic, it finds what it should, and the built-in playbooks survive a crash at
//! every frame.

mod built_in;
mod runs;
mod script;
