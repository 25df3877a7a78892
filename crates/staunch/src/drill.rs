//! Drills: something is made to go wrong on purpose, and what Staunch does about it is measured and judged.
//!
//! Never touches anything but a stage of its own, or, in a running Staunch, addresses of the scope that its
//! configuration declares for drills.

mod game;
mod live;
mod report;
mod scenarios;
mod score;
mod text;

use std::time::Instant;

use staunch_model::{Printable, Timestamp};

use crate::exit::{Exit, Fault};
use crate::output::now;
use crate::stage;
pub(crate) use game::ALWAYS;
use game::Game;
pub(crate) use live::{LIVE_ALWAYS, LiveScenario, Running, Wanted, scope_and_fault};
pub(crate) use report::{try_dir, verify, write};
pub(crate) use scenarios::{ALL, Scenario, find};
use score::{Expected, Notes};
pub(crate) use score::{Place, Score};
pub(crate) use text::{list as list_text, score as score_text};

/// The version of the report's format.
const FORMAT: u32 = 1;

/// A recorded alert of Suricata about an attack on an address at home, with the present time.
///
/// # Errors
/// Never: the alert is part of the program.
pub(crate) fn sample_event() -> Result<serde_json::Value, Fault> {
    /// A private address (RFC 1918), which is at home where nothing else is configured.
    const AT_HOME: &str = "10.0.0.80";
    let mut event: serde_json::Value = serde_json::from_str(stage::ALERT)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot read the alert that comes with Staunch", &error))?;
    event["timestamp"] = now().to_string().into();
    event["dest_ip"] = AT_HOME.into();
    event["flow"]["dest_ip"] = AT_HOME.into();
    Ok(event)
}

/// A drill that has begun.
struct Begun {
    drill: &'static Scenario,
    place: Place,
    control: bool,
    at: Timestamp,
    started: Instant,
    signed_by: String,
}

impl Begun {
    fn new(drill: &'static Scenario, place: Place, control: bool, signed_by: String) -> Self {
        Self {
            drill,
            place,
            control,
            at: now(),
            started: Instant::now(),
            signed_by,
        }
    }

    /// What it has come to.
    fn end(self, notes: Notes, expected: impl Iterator<Item = Expected>, broken_off: Option<String>) -> Score {
        let expectations = notes.judge(expected);
        Score {
            format: FORMAT,
            drill: self.drill.name,
            question: self.drill.question,
            fault: self.drill.fault,
            place: self.place,
            control: self.control,
            staunch: env!("CARGO_PKG_VERSION"),
            begun: self.at,
            took_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            held: broken_off.is_none() && expectations.iter().all(|it| it.held),
            expectations,
            times: notes.times,
            guards: notes.guards,
            alerts: notes.alerts,
            broken_off,
            signed_by: self.signed_by,
        }
    }
}

/// Plays `drill` on a stage of its own; without its fault when `control` says so. Must be called while the process has
/// one thread only.
///
/// # Errors
/// When there can be no stage here. A drill that breaks off has a score that says so.
pub(crate) fn run_private(drill: &'static Scenario, control: bool, signed_by: String) -> Result<Score, Fault> {
    let begun = Begun::new(drill, Place::Private, control, signed_by);
    let no_stage = |exit, error: &anyhow::Error| {
        Fault::doing(exit, "there can be no stage for this drill here", error.as_ref()).hint(
            "run it as root, or allow user namespaces as named above; it plays in network namespaces of its own and \
             touches nothing outside",
        )
    };
    stage::enter().map_err(|error| no_stage(Exit::Denied, &error))?;
    let mut game = Game::begin(control).map_err(|error| no_stage(Exit::Failed, &error))?;
    let broken_off = (drill.play)(&mut game).err().map(|error| {
        // What was told until then is worth knowing the most.
        game.notes.alerts = game.alerts();
        Printable(&format!("{error:#}")).to_string()
    });
    let notes = std::mem::take(&mut game.notes);
    Ok(begun.end(notes, drill.expects.iter().copied().chain(ALWAYS), broken_off))
}

/// Plays the live form of `drill` on `running`, and releases what it contained, however it ends.
pub(crate) fn run_live(
    drill: &'static Scenario,
    live: &'static LiveScenario,
    mut running: Running,
    control: bool,
    signed_by: String,
) -> Score {
    let begun = Begun::new(drill, Place::Live, control, signed_by);
    let played = running.play(live, control);
    let left = running.leave();
    let broken_off = played.and(left).err();
    let broken_off = broken_off.map(|fault| fault.render(false, false).trim_end().replace('\n', "; "));
    let notes = std::mem::take(&mut running.notes);
    begun.end(notes, live.expects.iter().copied().chain(LIVE_ALWAYS), broken_off)
}
