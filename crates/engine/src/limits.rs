//! Every bound of the engine, with the reason for its number. Relations between bounds are checked when compiling.

use staunch_model::{Limits, Span, Timestamp};

/// The latest time there is, the end of the calendar: a later one counts as this. What is planned for after it lies
/// ahead still, so that every deadline is later than the time at which it is set, whatever a journal says the time was.
pub const NOW_MAX: Timestamp = Timestamp::from_micros(253_402_207_200_000_000);

/// Steps of one playbook. More targets than this in one response is a case for a person.
pub const STEPS_PER_PLAYBOOK_MAX: usize = 16;

/// Accounts of one incident of which it is kept what is known. An attacker names as many as it likes; with more than
/// these, the context guard treats accounts as unknown.
pub const ACCOUNTS_PER_INCIDENT_MAX: usize = 8;

/// Assets that the events of one incident name, of which it is kept whose they are: people of so many are told.
pub const ASSETS_PER_INCIDENT_MAX: usize = 8;

/// Pieces of evidence that one playbook may ask for.
pub const EVIDENCE_PER_PLAYBOOK_MAX: usize = 12;

/// The longest that containment may wait for evidence: an attacker acts meanwhile.
pub const PRESERVE_DEADLINE_MAX: Span = Span::from_mins(2);

/// The pause after evidence that could not be taken; it doubles with each try.
pub const COLLECT_PAUSE: Span = Span::from_millis(500);

/// The longest pause between two tries of evidence: what comes back shortly before a deadline is taken by the last try,
/// which is [`COLLECT_PAUSE`] before it.
pub const COLLECT_PAUSE_MAX: Span = Span::from_secs(20);

/// How often a piece of evidence is tried at the most, where nothing but its collector fails. Each try leaves two
/// records: with a pause that never grew, two minutes were 240 tries of each piece.
pub const COLLECT_ATTEMPTS_MAX: u16 = 12;

/// The pause after the try with this number, from 1.
#[must_use]
pub const fn collect_pause(attempts: u16) -> Span {
    let doublings = if attempts > 16 { 15 } else { attempts.saturating_sub(1) };
    let pause = COLLECT_PAUSE.times(1 << doublings);
    if pause.as_micros() < COLLECT_PAUSE_MAX.as_micros() {
        pause
    } else {
        COLLECT_PAUSE_MAX
    }
}

/// The tries that fit into `deadline` when each fails at once.
const fn collect_attempts(deadline: Span) -> u16 {
    let last = deadline.as_micros().saturating_sub(COLLECT_PAUSE.as_micros());
    let (mut at, mut attempts) = (0, 1);
    while at < last {
        at += collect_pause(attempts).as_micros();
        attempts += 1;
    }
    attempts
}

/// How long a health signal may take to answer. Containment that is watched waits for the first answer.
pub const HEALTH_DEADLINE: Span = Span::from_secs(2);

/// How many readings of a health signal in a row are unhealthy before what it watches hurts: one may be a hiccup.
pub const HEALTH_UNHEALTHY_MAX: u16 = 2;

/// The pause after a reading that was unhealthy or could not be had.
pub const HEALTH_PAUSE: Span = Span::from_secs(1);

/// How long a signal that cannot be read at the end of a watch is tried again.
pub const HEALTH_GRACE: Span = Span::from_secs(30);

/// Playbooks that one event may match. Each match makes an incident and its transactions in one frame.
pub const MATCHES_PER_EVENT_MAX: usize = 32;

/// Bytes of an incident key. It is kept with each incident; a longer one is cut and ends with the hash of all of it.
pub const INCIDENT_KEY_BYTES_MAX: usize = 256;

/// Open or remembered incidents. Beyond it new events are refused, so that memory stays bounded.
pub const INCIDENTS_MAX: usize = 1_000_000;

/// Actions in flight at the same time that an operator may configure. The default is 50 (see [`DEFAULT`]).
pub const ACTIONS_IN_FLIGHT_CEILING: u32 = 1_024;

/// How long a driver may take for one look at the world. Well above a local look (microseconds) and a remote API's
/// slow answer, well below what a person notices as a hang.
pub const OBSERVE_DEADLINE: Span = Span::from_secs(5);

/// How often a look is tried before it counts as failed.
pub const OBSERVE_ATTEMPTS_MAX: u16 = 3;

/// How long a driver may take for an act or an undo beyond its longest time in flight.
pub const ACT_DEADLINE_MARGIN: Span = Span::from_secs(5);

/// How often an act is sent. A second try covers a reply that was lost; more would only repeat a refusal.
pub const EXECUTE_ATTEMPTS_MAX: u16 = 2;

/// How often the post-check of a remote driver looks before it believes its eyes; a local one looks once.
pub const POST_CHECK_ATTEMPTS_REMOTE_MAX: u16 = 5;

/// Time between two looks of a post-check.
pub const POST_CHECK_PAUSE: Span = Span::from_millis(200);

/// How often an undo and the look after it are tried before a transaction is stuck.
pub const UNDO_ATTEMPTS_MAX: u16 = 8;

/// The pause after a failed undo; it doubles with each attempt.
pub const UNDO_PAUSE: Span = Span::from_millis(250);

/// The longest pause between two tries of an undo.
pub const UNDO_PAUSE_MAX: Span = Span::from_secs(30);

/// What is added to the longest time in flight before an undone act counts as settled: covers scheduling and clock
/// error.
pub const SETTLE_MARGIN: Span = Span::from_millis(500);

/// How much longer than the lease the enforcement point keeps a containment by itself. Staunch lifts and verifies at
/// the end of the lease; the margin is what ends containment if Staunch never comes back.
pub const HOLD_MARGIN: Span = Span::from_secs(60);

/// How much shorter than asked the enforcement point's own countdown may be found in a post-check.
pub const HOLD_TOLERANCE: Span = Span::from_secs(30);

/// How long a planned transaction may wait for its turn. Containment that starts later answers an old situation.
pub const QUEUE_WAIT_MAX: Span = Span::from_mins(5);

/// How long after a refusal or a failure an event of the same attacker is judged anew. Long enough that a stream of
/// events does not make an incident each, short enough that an attacker gains little from having been refused once.
pub const REJUDGE_PAUSE: Span = Span::from_mins(1);

/// How far ahead of our clock an event's time may be: sensors' clocks drift, but not by more.
pub const EVENT_SKEW_MAX: Span = Span::from_mins(5);

/// How often a notice that is no page is tried before it is given up: for about 17 minutes.
pub const NOTICE_ATTEMPTS_MAX: u16 = 10;

/// How often a page is tried: for a day, and longer than a receiver is away for.
pub const PAGE_ATTEMPTS_MAX: u16 = 35;

/// How long a notifier may take to answer. Well above the time-outs of the services behind it; without it a reply
/// that is lost would be a page that nobody reads.
pub const NOTICE_DEADLINE: Span = Span::from_mins(1);

/// The pause after a notice that was not taken; it doubles with each attempt.
pub const NOTICE_PAUSE: Span = Span::from_secs(1);

/// The longest pause between two tries of a notice.
pub const NOTICE_PAUSE_MAX: Span = Span::from_hours(1);

/// Notices waiting at once. Beyond it the oldest that is not a page is dropped, else the oldest page about how an
/// incident stands, and that is recorded.
pub const NOTICES_MAX: usize = 1_000;

/// Bytes of the text of a notice.
pub const NOTICE_TEXT_BYTES_MAX: usize = 1_000;

/// How much one turn does of what is due, or of what a command to release everything asks for, counted in records and
/// in incidents that are looked after because of them; and how many undos under way a start sends again. The rest is
/// left to a later turn. This bounds the frame, and the length of the turn: when Staunch has been down for an hour, the
/// deadlines of everything there is may have passed.
pub const WORK_PER_TURN_MAX: usize = 500;

/// Incidents that hold one transaction. All of them are looked after when it ends, in one turn; a further one plans a
/// transaction of its own, which waits for the target.
pub const HOLDERS_MAX: usize = 400;

/// Bytes of the smallest limit that a journal may have for its frames.
const FRAME_BYTES_MIN: usize = 2 << 20;

/// Bytes that one incident adds to a frame at the most, besides the text of a notice: how it stands, that it is closed,
/// and the notice that has no room.
const OUTCOME_BYTES_MAX: usize = 100;

// The other half of a frame is for the input and what follows from it alone.
const _: () =
    assert!((WORK_PER_TURN_MAX + HOLDERS_MAX) * (NOTICE_TEXT_BYTES_MAX + OUTCOME_BYTES_MAX) < FRAME_BYTES_MIN / 2);

/// Transactions named in one notice.
pub const NAMED_IN_NOTICE_MAX: usize = 5;

/// Networks that people have exempted from containment at the same time. Each is in every snapshot; lists of thousands
/// belong into the configuration.
pub const EXEMPTIONS_MAX: usize = 10_000;

/// Networks of all lists that are never touched, together. The lists of all clouds have 30,000 between them; 100,000
/// take about 10 MiB in the state and 2 MiB in every snapshot.
pub const LISTED_NETWORKS_MAX: usize = 200_000;

/// Networks in one part of a change to a list. Taking one up holds the engine up for some milliseconds.
pub const LIST_CHANGE_NETWORKS_MAX: usize = 4_096;

/// Bytes of reasons in one part of a change to a list, which stands in its frame twice: with its networks it is far
/// below the 2 MiB that a frame may have at the least.
pub const LIST_CHANGE_TEXT_BYTES_MAX: usize = 256 * 1024;

/// How long it counts that no feed names a target. After that its score is unknown: the feeds of today may name it.
pub const UNNAMED_FOR: Span = Span::from_hours(1);

/// After how long it is said anew, when an event comes, that no feed names its target.
pub const UNNAMED_SAID_AGAIN: Span = Span::from_mins(30);

const _: () = assert!(UNNAMED_SAID_AGAIN.as_micros() < UNNAMED_FOR.as_micros());

/// Targets of which it is remembered what feeds say. When there is no room for one more, those are dropped that nobody
/// is about to judge.
pub const KNOWN_TARGETS_MAX: usize = 65_536;

/// Processes of which it is remembered what they are. When there is no room for one more, those are dropped at which
/// nothing is planned or in force.
pub const TARGETS_FOUND_MAX: usize = 4_096;

/// The longest exemption with an end. One that is to hold for longer has none.
pub const EXEMPTION_MAX: Span = Span::from_hours(10 * 366 * 24);

/// The longest trust after a release: long enough for a change of shift and a holiday. What is harmless for good is
/// protected, which says so.
pub const TRUST_MAX: Span = Span::from_hours(90 * 24);

/// How long the reading of a sweep may be under way. Three times what the sweep waits for a driver; what was lifted is
/// remembered for so long, at most, so that a reading which began before does not make an orphan of it.
pub const SWEEP_READING_MAX: Span = Span::from_mins(1);

/// Targets that are remembered because a lease of theirs has ended, so that the next is longer: as many as one
/// enforcement point holds at a time. Each is in every snapshot, 30 bytes.
pub const REPEATS_MAX: usize = 65_536;

/// The widest network an IPv4 act may be aimed at, in prefix bits.
pub const PREFIX_V4_MIN: u64 = 32;

/// The widest network an IPv6 act may be aimed at, in prefix bits.
pub const PREFIX_V6_MIN: u64 = 128;

/// The length of a budget's window. Counted in whole minutes.
pub const BUDGET_WINDOW: Span = Span::from_hours(1);

/// The limits that hold when the configuration says nothing.
///
/// 50 actions in flight keep a storm from throttling any API that is driven; 500 acts in an hour are more than any
/// analyst reviews and far fewer than a false positive on a busy site produces; 20 in one /24 or /48 stop a run
/// against a shared network; 5 failures in 10 minutes mean that something systematic is wrong.
pub const DEFAULT: Limits = Limits {
    actions_in_flight_max: 50,
    acts_per_action_hour_max: 500,
    acts_per_group_hour_max: 20,
    acts_per_hour_max: 500,
    breaker_failures: 5,
    breaker_window: Span::from_mins(10),
    approval_expiry: Span::from_mins(30),
    lease_max: Span::from_hours(24),
    sweep_interval: Span::from_secs(30),
};

const _: () = assert!(DEFAULT.actions_in_flight_max <= ACTIONS_IN_FLIGHT_CEILING);
const _: () = assert!(DEFAULT.acts_per_group_hour_max <= DEFAULT.acts_per_action_hour_max);
const _: () = assert!(DEFAULT.acts_per_action_hour_max <= DEFAULT.acts_per_hour_max);
const _: () = assert!(DEFAULT.breaker_failures >= 1);
const _: () = assert!(HOLD_TOLERANCE.as_micros() < HOLD_MARGIN.as_micros());
const _: () = assert!(DEFAULT.breaker_window.as_micros() <= BUDGET_WINDOW.as_micros());
const _: () = assert!(OBSERVE_DEADLINE.as_micros() < QUEUE_WAIT_MAX.as_micros());
const _: () = assert!(PRESERVE_DEADLINE_MAX.as_micros() < QUEUE_WAIT_MAX.as_micros());
const _: () = assert!(COLLECT_PAUSE.as_micros() <= COLLECT_PAUSE_MAX.as_micros());
const _: () = assert!(collect_attempts(PRESERVE_DEADLINE_MAX) <= COLLECT_ATTEMPTS_MAX);
const _: () = assert!(UNDO_PAUSE.as_micros() <= UNDO_PAUSE_MAX.as_micros());
