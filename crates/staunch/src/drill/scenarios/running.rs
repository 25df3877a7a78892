//! The live forms of drills: what is seen of a running Staunch through its API, without a look at packets.

use super::driver::{is_caught, looked, stands};
use crate::drill::live::Running;
use crate::exit::Fault;

fn hold_not_claimed(running: &mut Running) -> Result<(), Fault> {
    let claimed = running.is_claimed(running.addresses[0])?;
    let seen = if claimed { "claimed" } else { "not claimed" };
    running.notes.hold("not-claimed", !claimed, seen);
    Ok(())
}

pub(super) fn lying(running: &mut Running) -> Result<(), Fault> {
    let (ended, took) = running.contain(running.addresses[0], &["rolled-back", "in-force", "stuck"])?;
    let caught = is_caught(&ended);
    running
        .notes
        .time("alert to verified rolled back", took.filter(|_| caught));
    running.notes.hold("caught", caught, stands(&ended));
    hold_not_claimed(running)
}

pub(super) fn throttled(running: &mut Running) -> Result<(), Fault> {
    let address = running.addresses[0];
    let (_, early) = running.contain(address, &["rolling-back", "rolled-back", "in-force", "stuck"])?;
    running.notes.time("alert to the first rollback", early);
    hold_not_claimed(running)?;
    running.all_well()?;
    let ended = running.ends(address, &["rolled-back", "in-force", "stuck"])?;
    running
        .notes
        .hold("settled", ended["state"] == "rolled-back", stands(&ended));
    Ok(())
}

pub(super) fn reply_lost(running: &mut Running) -> Result<(), Fault> {
    let (ended, took) = running.contain(running.addresses[0], &["in-force", "rolled-back", "stuck"])?;
    running
        .notes
        .time("alert to verified in force, with the reply lost", took);
    let detail = running.incident(&ended)?;
    let (looked, seen) = looked(&detail, &ended);
    running.notes.hold("looks", looked, seen);
    Ok(())
}

pub(super) fn feed_down(running: &mut Running) -> Result<(), Fault> {
    let address = running.addresses[0];
    let (waiting, took) = running.contain(address, &["awaiting-approval", "in-force"])?;
    running.notes.time("alert to asked", took);
    let guards = waiting["judgement"]["guards"].as_array().into_iter().flatten();
    let impact = guards.into_iter().find(|it| it["guard"] == "impact");
    let why = impact.and_then(|it| it["why"].as_str()).unwrap_or("nothing said");
    let asks = waiting["state"] == "awaiting-approval" && why.contains("unknown");
    let state = waiting["state"].as_str().unwrap_or("no transaction");
    running.notes.hold("asks", asks, format!("{state}; impact: {why}"));
    if state == "awaiting-approval" {
        running.deny(&waiting)?;
        let ended = running.ends(address, &["refused"])?;
        running.notes.hold("obeys", ended["state"] == "refused", stands(&ended));
    }
    Ok(())
}
