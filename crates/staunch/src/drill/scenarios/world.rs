//! Drills of a world that is not as it should be: its clock, its traffic, its packet filter, its alerts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use staunch_netlink::nftables::Nft;

use super::driver::stands;
use crate::drill::game::{ATTACK, Game, PROTECTED, SHORT};
use crate::misbehave::{CLOCK, Misbehaviour};
use crate::stage::{ATTACKER, OTHERS};

/// Seconds by which the clock is set wrong.
const SKEW: u32 = 2 * 60 * 60;

pub(super) fn clock_skew(game: &mut Game) -> Result<()> {
    let took = game.contain(ATTACKER)?;
    game.notes.time("alert to first dropped packet", took);
    game.ends(ATTACKER, &["in-force"])?;
    game.order(&format!("{CLOCK} {SKEW}"))?;
    let warned = |game: &Game| {
        let all = game.alerts().into_iter();
        all.map(|it| it.text).find(|it| it.contains("clock was set"))
    };
    game.wait(|| warned(game).is_some());
    let seen = warned(game);
    game.hold("noticed", seen.is_some(), seen.as_deref().unwrap_or("no warning"));
    // Whatever would end it early does so with the next sweep.
    let swept = |game: &Game| {
        game.server
            .get("/v1/status")
            .map(|it| it["swept_at"].clone())
            .unwrap_or_default()
    };
    let before = swept(game);
    game.wait(|| swept(game) != before);
    let (state, open) = (game.transaction(ATTACKER)?, game.stage.gets_in(ATTACKER)?);
    let stays = state["state"] == "in-force" && !open;
    game.hold("not-early", stays, stands(&state));
    game.look_at_traffic("with the clock set ahead");
    game.all_well()?;

    let address = OTHERS[0];
    game.server.post_alert(address, SHORT)?;
    game.ends(address, &["in-force"])?;
    let begun = Instant::now();
    game.order(&format!("{CLOCK} -{SKEW}"))?;
    let ended = game.ends(address, &["released"])?;
    let released = ended["state"] == "released" && game.stage.gets_in(address)?;
    let took = released.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("in force for two seconds to verified gone", took);
    game.hold("not-late", released, stands(&ended));
    game.recover()
}

pub(super) fn feed_down(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    game.misbehave(Misbehaviour::FeedDown)?;
    game.server.post_alert(address, ATTACK)?;
    let waiting = game.ends(address, &["awaiting-approval", "in-force"])?;
    let guards = waiting["judgement"]["guards"].as_array().cloned().unwrap_or_default();
    let impact = guards
        .iter()
        .find(|it| it["guard"] == "impact")
        .cloned()
        .unwrap_or(Value::Null);
    let asks = waiting["state"] == "awaiting-approval" && impact["verdict"] != "passed";
    let seen = format!(
        "{}; impact: {}",
        waiting["state"].as_str().unwrap_or("no transaction"),
        impact["why"].as_str().unwrap_or("nothing said")
    );
    game.hold("asks", asks, seen);
    let open = game.stage.gets_in(address)?;
    let seen = if open { "it gets in" } else { "it does not get in" };
    game.hold("waits", open && game.in_kernel()?.is_empty(), seen);
    let request = json!({ "transaction": waiting["id"], "reason": "the drill denies it" });
    let (status, answer) = game.server.post("/v1/deny", &request)?;
    let ended = game.ends(address, &["refused"])?;
    let seen = if status == 200 {
        stands(&ended)
    } else {
        format!("{status}: {answer}")
    };
    game.hold("obeys", status == 200 && ended["state"] == "refused", seen);
    game.recover()
}

pub(super) fn protected_target(game: &mut Game) -> Result<()> {
    let address = if game.with_fault() { PROTECTED } else { OTHERS[0] };
    game.server.post_alert(address, ATTACK)?;
    let ended = game.ends(address, &["refused", "in-force"])?;
    let guards = ended["judgement"]["guards"].as_array().cloned().unwrap_or_default();
    let refuses = |it: &&Value| it["guard"] == "never-touch" && it["verdict"] == "refused";
    let refused = ended["state"] == "refused" && guards.iter().any(|it| refuses(&it));
    let said = ended["reason"]
        .as_str()
        .is_some_and(|it| it.contains("payment provider"));
    game.hold("refused", refused && said, stands(&ended));
    let open = game.stage.gets_in(address)?;
    let seen = if open { "it gets in" } else { "it does not get in" };
    game.hold("untouched", open && game.in_kernel()?.is_empty(), seen);
    let told = |game: &Game| {
        game.alerts()
            .into_iter()
            .find(|it| it.text.contains("payment provider"))
    };
    game.wait(|| told(game).is_some());
    let seen = told(game).map(|it| it.text);
    game.hold("told", seen.is_some(), seen.as_deref().unwrap_or("nobody was told"));
    game.recover()
}

pub(super) fn set_flushed(game: &mut Game) -> Result<()> {
    let took = game.contain(ATTACKER)?;
    game.notes.time("alert to first dropped packet", took);
    game.ends(ATTACKER, &["in-force"])?;
    let begun = Instant::now();
    if game.with_fault() {
        Nft::open("staunch", Duration::from_secs(2))?.delete_elements(&[IpAddr::V4(ATTACKER)])?;
    }
    let ended = game.ends(ATTACKER, &["rolled-back", "stuck"])?;
    let noticed = ended["state"] == "rolled-back" && !game.is_claimed(ATTACKER)?;
    let took = noticed.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("removed by hand to noticed and settled", took);
    game.hold("noticed", noticed, stands(&ended));
    game.page("paged", &ATTACKER.to_string());
    let took = game.contain(ATTACKER)?;
    game.notes.time("next alert to first dropped packet", took);
    let again = game.ends(ATTACKER, &["in-force"])?;
    let anew = again["id"] != ended["id"] && again["state"] == "in-force";
    game.hold("judged-anew", anew && took.is_some(), stands(&again));
    game.recover()
}
