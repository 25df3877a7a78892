//! Drills of a driver that does not do what it says, or does not say what it did.

use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use crate::drill::game::{ATTACK, Game};
use crate::misbehave::Misbehaviour;
use crate::stage::OTHERS;

/// The state and the reason of a transaction, for people.
pub(super) fn stands(transaction: &Value) -> String {
    let state = transaction["state"].as_str().unwrap_or("no transaction");
    match transaction["reason"].as_str() {
        Some(reason) => format!("{state}: {reason}"),
        None => state.to_owned(),
    }
}

/// What is claimed of an address and what its packets show, for people.
fn claim_and_truth(claimed: bool, open: bool) -> String {
    format!(
        "{}, and it {}",
        if claimed { "claimed" } else { "not claimed" },
        if open { "gets in" } else { "does not get in" }
    )
}

/// Notes whether the program claims no block of an address that does get in.
fn hold_not_claimed(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    let (claimed, open) = (game.is_claimed(address)?, game.stage.gets_in(address)?);
    game.hold("not-claimed", !claimed && open, claim_and_truth(claimed, open));
    Ok(())
}

pub(super) fn lying(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    game.misbehave(Misbehaviour::Lie)?;
    let begun = Instant::now();
    game.server.post_alert(address, ATTACK)?;
    let ended = game.ends(address, &["rolled-back"])?;
    let caught = is_caught(&ended);
    let took = caught.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("alert to verified rolled back", took);
    game.hold("caught", caught, stands(&ended));
    hold_not_claimed(game)?;
    game.page("paged", "failed");
    game.recover()
}

/// Whether it was rolled back because a look has found nothing.
pub(super) fn is_caught(ended: &Value) -> bool {
    ended["state"] == "rolled-back" && ended["reason"].as_str().is_some_and(|it| it.contains("post-check"))
}

pub(super) fn throttled(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    game.misbehave(Misbehaviour::Throttle)?;
    let begun = Instant::now();
    game.server.post_alert(address, ATTACK)?;
    game.ends(address, &["rolling-back", "rolled-back", "stuck"])?;
    hold_not_claimed(game)?;
    game.look_at_traffic("while the driver was throttled");
    game.all_well()?;
    let ended = game.ends(address, &["rolled-back", "stuck"])?;
    let settled = ended["state"] == "rolled-back";
    let took = settled.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("alert to verified rolled back", took);
    game.hold("settled", settled, stands(&ended));
    game.page("paged", "failed");
    game.recover()
}

pub(super) fn reply_lost(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    game.misbehave(Misbehaviour::LoseReply)?;
    let took = game.contain(address)?;
    game.notes
        .time("alert to first dropped packet, with the reply lost", took);
    let ended = game.ends(address, &["in-force", "rolled-back", "stuck"])?;
    let incident = ended["incident"].as_str().unwrap_or_default();
    let detail = game.server.get(&format!("/v1/incidents/{incident}"))?;
    let (looked, seen) = looked(&detail, &ended);
    game.hold("looks", looked, seen);
    let (claimed, open) = (game.is_claimed(address)?, game.stage.gets_in(address)?);
    game.hold("agrees", claimed != open, claim_and_truth(claimed, open));
    game.recover()
}

/// Whether `ended`, a transaction of the incident in `detail`, is in force although its reply was missed.
pub(super) fn looked(detail: &Value, ended: &Value) -> (bool, String) {
    let timeline = detail["timeline"].as_array().into_iter().flatten();
    let doubted = timeline
        .filter_map(|it| it["what"].as_str())
        .find(|it| it.contains("the reply was lost"));
    match doubted {
        Some(what) => (ended["state"] == "in-force", format!("{what}; then {}", stands(ended))),
        None => (false, format!("{}, and no reply was missed", stands(ended))),
    }
}
