//! The bounds of the language, each with its reason.

use staunch_model::Span;

/// The largest file: a hundred times the largest playbook that a person reads with pleasure.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// The deepest nesting of YAML. The language itself needs five levels.
pub const NESTING_MAX: usize = 32;
/// The most keys of one mapping; the language knows eleven at the top.
pub const KEYS_MAX: usize = 256;
/// Steps in one playbook: each is an act for each incident.
pub const STEPS_MAX: usize = 16;
/// Pieces of evidence in one playbook: one of each kind, and one more.
pub const EVIDENCE_MAX: usize = 12;
/// Paths, or units, of one piece of evidence.
pub const EVIDENCE_PATHS_MAX: usize = 32;
/// The longest path: the kernel's `PATH_MAX`.
pub const EVIDENCE_PATH_BYTES_MAX: usize = 4_095;
/// The largest bound of one artefact, in MiB.
pub const EVIDENCE_MIB_MAX: u32 = 1 << 20;
/// The shortest that containment waits for evidence, and that packets are captured.
pub const PRESERVE_LEAST: Span = Span::from_millis(100);
/// The longest that containment waits for evidence: the engine waits no longer, an attacker acts meanwhile.
pub const PRESERVE_MOST: Span = Span::from_mins(2);
/// The longest capture, which ends before the engine's patience does.
pub const CAPTURE_MOST: Span = Span::from_mins(1);
/// The furthest that the journal is read back.
pub const JOURNAL_MOST: Span = Span::from_hours(7 * 24);
/// Steps of the recover phase.
pub const RECOVER_MAX: usize = 16;
/// The shortest that a health signal is watched: a few readings.
pub const WATCH_LEAST: Span = Span::from_secs(5);
/// The longest: a day.
pub const WATCH_MOST: Span = Span::from_hours(24);
/// The shortest time between two readings of a health signal.
pub const WATCH_EVERY_LEAST: Span = Span::from_secs(1);
/// The longest time between two readings.
pub const WATCH_EVERY_MOST: Span = Span::from_mins(10);
/// Notices in one playbook.
pub const NOTICES_MAX: usize = 16;
/// Fields of one incident key.
pub const KEY_FIELDS_MAX: usize = 4;
/// Sources, techniques and context entries in one list.
pub const ENTRIES_MAX: usize = 64;
/// The longest summary, in characters: it is shown on one line.
pub const SUMMARY_CHARS_MAX: usize = 200;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 64;
/// The most parameters of one playbook.
pub const PARAMETERS_MAX: usize = 64;
/// The longest value of a parameter, in characters: an expression may name it a hundred times.
pub const PARAMETER_CHARS_MAX: usize = 500;
/// The most environments of one playbook: it is checked once for each.
pub const ENVIRONMENTS_MAX: usize = 16;
/// The most snippets of one file, of each kind.
pub const SNIPPETS_MAX: usize = 128;
/// The most places of one playbook that a snippet is put into, those in other snippets among them.
pub const SNIPPET_USES_MAX: usize = 256;
/// The most values that one block stands for, the blocks in it among them, and that blocks put into one playbook: more
/// than the largest playbook that a person reads with pleasure has.
pub const SNIPPET_VALUES_MAX: usize = 1_000;
/// The longest expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// The deepest nesting of brackets in an expression.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
/// The longest chain of `.name`, `[key]`, `(` and `!` around one operand: one of each for every bracket, twice over.
pub const EXPRESSION_CHAIN_MAX: usize = 2 * EXPRESSION_DEPTH_MAX;
/// The most nodes of an expression.
pub const EXPRESSION_NODES_MAX: usize = 1_000;
/// The deepest nesting of an expression with the conditions that it names: no deeper than brackets, members and `!`
/// alone make one.
pub const EXPRESSION_EXPANDED_DEPTH_MAX: usize = EXPRESSION_DEPTH_MAX + EXPRESSION_CHAIN_MAX;
/// The memory of one compiled regular expression.
pub const REGEX_BYTES_MAX: usize = 256 * 1024;
/// The members of a list in an event that `in` looks at. Falco sends up to a dozen tags.
pub const LIST_MEMBERS_MAX: usize = 32;
/// The longest `deduplicate`.
pub const DEDUPLICATE_MAX: Span = Span::from_hours(30 * 24);
/// The longest `event_age_max`.
pub const EVENT_AGE_MAX: Span = Span::from_hours(24);
/// Leases of one step after the first: with eight that double, an hour becomes ten days.
pub const LEASES_THEN_MAX: usize = 8;
/// The longest time after a lease in which a target counts as one that comes back.
pub const RETURNS_WITHIN_MAX: Span = Span::from_hours(30 * 24);
/// The largest `flows_min`: far above what a share needs to mean something.
pub const FLOWS_MIN_MAX: u32 = 100_000;
/// The largest `acts_per_hour_max`.
pub const ACTS_PER_HOUR_MAX: u32 = 100_000;
/// The stack of the thread that parses expressions. The parser of the `cel` crate needs 190 KiB for each bracket in a
/// debug build (measured 2026-11-20), so that 64 of them overflow the usual 2 MiB. The memory is reserved, not used.
pub(crate) const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

const _: () = assert!(PARSER_STACK_BYTES > 3 * EXPRESSION_DEPTH_MAX * 190 * 1024 / 2);
