//! Drills of what is on disk, and of a process that is gone from one moment to the next.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use staunch_store::journal::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};

use super::driver::stands;
use crate::drill::game::{ATTACK, Game};
use crate::misbehave::Misbehaviour;
use crate::stage::{ATTACKER, OTHERS};

pub(super) fn kill(game: &mut Game) -> Result<()> {
    let address = OTHERS[0];
    game.misbehave(Misbehaviour::Stall)?;
    game.server.post_alert(address, ATTACK)?;
    let under_way = game.server.wait_for_state(address, "executing")?;
    let blocked = game.wait(|| game.stage.gets_in(address).is_ok_and(|open| !open));
    game.all_well()?;
    game.server.kill()?;
    let seen = match (under_way, blocked) {
        (true, true) => "both",
        (false, _) => "no act was under way",
        (true, false) => "its packets still arrived",
    };
    game.hold("in-the-act", under_way && blocked, seen);
    let begun = Instant::now();
    game.server.restart()?;
    let ended = game.ends(address, &["in-force", "rolled-back", "stuck"])?;
    let kept = ended["state"] == "in-force" && !game.stage.gets_in(address)?;
    let took = kept.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("restart to verified in force", took);
    game.hold("looks", kept, stands(&ended));
    let mut claimed: Vec<String> = game
        .server
        .containments()?
        .iter()
        .filter(|it| it["state"] == "in-force")
        .filter_map(|it| it["target"].as_str().map(str::to_owned))
        .collect();
    let mut there: Vec<String> = game.in_kernel()?.iter().map(ToString::to_string).collect();
    claimed.sort();
    there.sort();
    let seen = format!("claimed: {}; there: {}", claimed.join(", "), there.join(", "));
    game.hold("nothing-unverified", claimed == there, seen);
    game.recover()
}

pub(super) fn partial_write(game: &mut Game) -> Result<()> {
    let addresses = [ATTACKER, OTHERS[0]];
    for address in addresses {
        game.server.post_alert(address, ATTACK)?;
        game.ends(address, &["in-force"])?;
    }
    game.server.kill()?;
    if game.with_fault() {
        tear(&game.journal()).context("cannot tear the end of the journal")?;
    }
    let (proved, said) = game.server.run(&["journal", "verify"])?;
    let torn = said.lines().find(|line| line.contains("not finished"));
    let seen = torn.map_or("no write is unfinished", str::trim).to_owned();
    game.hold("torn", proved && torn.is_some(), seen);
    let begun = Instant::now();
    let started = game.server.restart();
    let took = started.is_ok().then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("restart to listening", took);
    match &started {
        Ok(()) => game.hold("starts", true, "it listens"),
        Err(error) => game.hold("starts", false, format!("{error:#}")),
    }
    started?;
    let mut lost = Vec::new();
    for address in addresses {
        let found = game.ends(address, &["in-force"])?;
        if found["state"] != "in-force" || game.stage.gets_in(address)? {
            lost.push(format!("{address}: {}", stands(&found)));
        }
    }
    let seen = if lost.is_empty() {
        format!("{} of {}", addresses.len(), addresses.len())
    } else {
        lost.join("; ")
    };
    game.hold("kept", lost.is_empty(), seen);
    game.recover()
}

/// Writes the first half of the journal's last frame once more after its end, as a write that power has cut short.
fn tear(journal: &Path) -> Result<()> {
    let mut segments: Vec<_> = std::fs::read_dir(journal)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "seg"))
        .collect();
    segments.sort();
    let newest = segments.last().context("there is no segment")?;
    let file = File::options().read(true).write(true).open(newest)?;
    let (mut at, mut last) = (SEGMENT_HEADER_BYTES, None);
    loop {
        let mut length = [0; 4];
        file.read_exact_at(&mut length, at)?;
        match u64::from(u32::from_le_bytes(length)) {
            0 => break,
            length => {
                let whole = length + FRAME_HEADER_BYTES as u64;
                last = Some((at, whole));
                at += whole;
            }
        }
    }
    let Some((start, whole)) = last else {
        bail!("there is no frame");
    };
    let mut half = vec![0; usize::try_from(whole / 2)?.max(FRAME_HEADER_BYTES)];
    file.read_exact_at(&mut half, start)?;
    file.write_all_at(&half, at)?;
    file.sync_all()?;
    Ok(())
}

pub(super) fn store_gone(game: &mut Game) -> Result<()> {
    game.server.post_alert(ATTACKER, ATTACK)?;
    game.ends(ATTACKER, &["in-force"])?;
    let journal = game.journal();
    let away = journal.with_file_name("journal-moved-away");
    if game.with_fault() {
        std::fs::rename(&journal, &away)?;
    }
    let begun = Instant::now();
    let lost = |game: &Game| {
        let status = game.server.get("/v1/status").unwrap_or_default();
        status["journal_lost"].as_str().map(str::to_owned)
    };
    let noticed = game.wait(|| lost(game).is_some());
    let took = noticed.then(|| begun.elapsed().as_secs_f64() * 1e3);
    game.notes.time("files gone to noticed", took);
    let seen = lost(game).unwrap_or_else(|| "the status says nothing".to_owned());
    game.hold("noticed", noticed, seen);
    let (status, answer) = game.server.try_alert(OTHERS[0], ATTACK)?;
    let kind = answer["type"].as_str().unwrap_or("no problem").to_owned();
    let refused = status == 503 && kind.ends_with("journal-lost");
    game.hold("refuses", refused, format!("{status}, {kind}"));
    game.page("paged", "no more events are taken");
    let took = game.release(ATTACKER)?;
    let open = game.stage.gets_in(ATTACKER)?;
    game.notes.time("release without a journal to verified gone", took);
    let seen = format!(
        "{}, and it {}",
        if took.is_some() { "verified" } else { "not verified" },
        if open { "gets in" } else { "does not get in" }
    );
    game.hold("lets-go-without", took.is_some() && open, seen);
    game.look_at_traffic("while the journal was gone");
    if game.with_fault() {
        std::fs::rename(&away, &journal)?;
    }
    let back = game.wait(|| lost(game).is_none());
    let (status, answer) = game.server.try_alert(OTHERS[0], ATTACK)?;
    let seen = if status == 202 {
        "taken".to_owned()
    } else {
        format!("{status}: {answer}")
    };
    game.hold("goes-on", back && status == 202, seen);
    game.recover()
}
