//! The drills. To add one: a row here, and its script in one of the files below.
//!
//! A script says of each expectation whether it held and what was seen; one that it does not come to has not held.

mod driver;
mod journal;
mod running;
mod world;

use anyhow::Result;
use staunch_model::DrillFault;

use super::game::Game;
use super::live::LiveScenario;
use super::score::Expected;

/// A drill.
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it asks.
    pub(crate) question: &'static str,
    /// What goes wrong.
    pub(crate) fault: &'static str,
    /// What must be true on a stage, besides what is expected [always](super::game::ALWAYS).
    pub(crate) expects: &'static [Expected],
    /// Plays it on a stage.
    pub(crate) play: fn(&mut Game) -> Result<()>,
    /// How it is played on a running Staunch, where that can be.
    pub(crate) live: Option<LiveScenario>,
}

const fn that(name: &'static str, what: &'static str) -> Expected {
    Expected { name, what }
}

const PAGED: Expected = that("paged", "a person is paged");
const CAUGHT: Expected = that("caught", "it looks, and rolls back because nothing is there");
const SETTLED: Expected = that("settled", "it ends as rolled back, once the driver answers again");
const UNCLAIMED: Expected = that("not-claimed", "it claims no block");
const ASKS: Expected = that("asks", "a person is asked, and told why");
const OBEYS: Expected = that("obeys", "the person's no is final");
const LOOKS: Expected = that("looks", "it looks, finds the block, and has it in force");

/// All drills, by name.
pub(crate) static ALL: [Scenario; 10] = [
    Scenario {
        name: "clock-skew",
        question: "what if the machine's clock is set while Staunch runs?",
        fault: "its clock jumps two hours ahead, and later two hours back",
        expects: &[
            that("noticed", "it warns that the clock was set"),
            that("not-early", "a block of ten minutes stays when the clock jumps ahead"),
            that("not-late", "a block of two seconds ends when the clock jumps back"),
        ],
        play: world::clock_skew,
        live: None,
    },
    Scenario {
        name: "driver-throttled",
        question: "what if the enforcement point turns requests away?",
        fault: "the driver refuses every act and every undo",
        expects: &[
            that("not-claimed", "it claims no block, and the address does get in"),
            PAGED,
            SETTLED,
        ],
        play: driver::throttled,
        live: Some(LiveScenario {
            fault: DrillFault::Throttle,
            expects: &[UNCLAIMED, SETTLED],
            play: running::throttled,
        }),
    },
    Scenario {
        name: "feed-down",
        question: "what if nobody knows who carries the traffic?",
        fault: "the traffic feed gives no answer",
        expects: &[ASKS, that("waits", "nothing is blocked meanwhile"), OBEYS],
        play: world::feed_down,
        live: Some(LiveScenario {
            fault: DrillFault::FeedDown,
            expects: &[ASKS, OBEYS],
            play: running::feed_down,
        }),
    },
    Scenario {
        name: "kill",
        question: "what if Staunch dies in the middle of an act?",
        fault: "SIGKILL while a block is in the kernel and its outcome unknown",
        expects: &[
            that(
                "in-the-act",
                "it was killed with the act under way and the block in place",
            ),
            that("looks", "after the restart it finds the block by looking, and keeps it"),
            that(
                "nothing-unverified",
                "all that is in the kernel is claimed, and all claimed is there",
            ),
        ],
        play: journal::kill,
        live: None,
    },
    Scenario {
        name: "lying-post-check",
        question: "what if the driver says done and nothing is there?",
        fault: "the driver reports success and does nothing",
        expects: &[
            CAUGHT,
            that("not-claimed", "it claims no block, and the address does get in"),
            PAGED,
        ],
        play: driver::lying,
        live: Some(LiveScenario {
            fault: DrillFault::Lie,
            expects: &[CAUGHT, UNCLAIMED],
            play: running::lying,
        }),
    },
    Scenario {
        name: "partial-write",
        question: "what if power fails in the middle of a write?",
        fault: "SIGKILL, and half of a frame at the end of the journal",
        expects: &[
            that(
                "torn",
                "`journal verify` tells the unfinished write, and no frame is missing",
            ),
            that("starts", "it starts again"),
            that("kept", "all that was acknowledged is still there, and in force"),
        ],
        play: journal::partial_write,
        live: None,
    },
    Scenario {
        name: "protected-target",
        question: "what if an alert names what must never be touched?",
        fault: "an alert whose attacking side is protected in the configuration",
        expects: &[
            that("refused", "the guard never-touch refuses, with the reason"),
            that("untouched", "nothing is in the kernel, and the address gets in"),
            that("told", "people are told, with the reason"),
        ],
        play: world::protected_target,
        live: None,
    },
    Scenario {
        name: "reply-lost",
        question: "what if the act lands and its answer is lost?",
        fault: "the driver blocks the address, and its answer times out",
        expects: &[LOOKS, that("agrees", "what it claims is what the packets show")],
        play: driver::reply_lost,
        live: Some(LiveScenario {
            fault: DrillFault::LoseReply,
            expects: &[LOOKS],
            play: running::reply_lost,
        }),
    },
    Scenario {
        name: "set-flushed",
        question: "what if somebody removes our block by hand?",
        fault: "the element is deleted from the set behind Staunch's back",
        expects: &[
            that("noticed", "the sweep finds it gone, and it is no longer claimed"),
            PAGED,
            that("judged-anew", "the attacker's next alert blocks it again"),
        ],
        play: world::set_flushed,
        live: None,
    },
    Scenario {
        name: "store-gone",
        question: "what if the journal's files vanish under a running server?",
        fault: "the directory of the journal is moved away",
        expects: &[
            that("noticed", "the status says that the journal is lost"),
            that("refuses", "events are refused with 503: they would not survive"),
            PAGED,
            that("lets-go-without", "what is in force can be released all the same"),
            that("goes-on", "with the files back, events are taken again"),
        ],
        play: journal::store_gone,
        live: None,
    },
];

/// The drill called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|it| it.name == name)
}
