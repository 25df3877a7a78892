//! `staunch recover`

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use staunch_model::{IncidentId, Printable};
use staunch_server::dto::{RecoverRequest, RecoveryPhase, RecoveryStepPhase, RecoveryView, path};

use crate::cli::RecoverArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, confirm, say};

/// How often it is looked how far the recovery is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long the index may take to follow the journal.
const INDEX_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn run(args: &RecoverArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let client = Client::new(&show.server, Patience::USUAL)?;
    let output = Output::new(show.json);
    let before = match look(&client, args.id) {
        // It is asked for how it went, and that is known.
        Err(fault) if args.show && fault.exit == Exit::NotFound => {
            let found = incident(&client, args.id)?;
            let end = end_of(&found).ok_or(fault)?;
            show_closed(&output, args.id, &found, &end)?;
            return Ok(Exit::Ok);
        }
        before => before?,
    };
    if args.show {
        output.show(&before, |output| text(output, &before))?;
        return Ok(Exit::Ok);
    }
    if let Some(most) = args
        .wait
        .filter(|_| !args.stop && before.state == RecoveryPhase::Running)
    {
        say(&format!(
            "the recovery of {} is under way: waiting for its end",
            args.id
        ));
        return end(&client, &output, args.id, wait(&client, args.id, most.to_std()));
    }
    let question = if args.stop {
        format!("stop the recovery of {}?", args.id)
    } else {
        if !show.json && !args.change.yes {
            say(text(&output, &before).trim_end());
        }
        format!("recover {}?", args.id)
    };
    confirm(&question, args.change.yes)?;
    let request = RecoverRequest {
        incident: args.id,
        stop: args.stop,
        reason: args.change.reason.clone(),
    };
    client.command(path::RECOVER, &request)?;
    let after = match args.wait {
        Some(most) if !args.stop => wait(&client, args.id, most.to_std()),
        _ => look(&client, args.id),
    };
    end(&client, &output, args.id, after)
}

/// Shows how the recovery stands that was looked at last. With nothing left in force, the incident may be closed by then.
fn end(client: &Client, output: &Output, id: IncidentId, after: Result<RecoveryView, Fault>) -> Result<Exit, Fault> {
    let after = match after {
        Err(fault) if fault.exit == Exit::NotFound => return closed(client, output, id),
        after => after?,
    };
    output.show(&after, |output| text(output, &after))?;
    Ok(match after.state {
        RecoveryPhase::Failed | RecoveryPhase::Back => Exit::Failed,
        _ => Exit::Ok,
    })
}

fn look(client: &Client, id: IncidentId) -> Result<RecoveryView, Fault> {
    client.get(&format!("{}/{id}", path::RECOVERIES), &())
}

/// How the recovery ended of an incident that is closed since, by its timeline.
fn closed(client: &Client, output: &Output, id: IncidentId) -> Result<Exit, Fault> {
    let until = Instant::now() + INDEX_WITHIN;
    // The index follows the journal a moment later, and may tell of an earlier recovery until then.
    let (found, end) = loop {
        let found = incident(client, id)?;
        let is_behind = found["index"]["lag"].as_u64().is_some_and(|lag| lag > 0);
        let end = end_of(&found);
        if (end.is_some() && !is_behind) || Instant::now() >= until {
            break (
                found,
                end.unwrap_or_else(|| "its end is not in the index yet".to_owned()),
            );
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    show_closed(output, id, &found, &end)?;
    let failed = end.starts_with("recovery FAILED") || end.starts_with("recovery taken BACK");
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// What the index has of an incident.
fn incident(client: &Client, id: IncidentId) -> Result<Value, Fault> {
    client.get(&format!("{}/{id}", path::INCIDENTS), &())
}

fn show_closed(output: &Output, id: IncidentId, found: &Value, end: &str) -> Result<(), Fault> {
    let told = timeline(found);
    // A containment that others hold too is not lifted.
    let left = format!("let go of by {id}");
    let left: Vec<String> = told
        .iter()
        .filter(|it| it["what"].as_str() == Some(&*left))
        .filter_map(|it| Some(it["transaction"].as_str()?.to_owned()))
        .collect();
    let shown = json!({ "incident": id, "closed": true, "end": end, "held_by_others": left });
    output.show(&shown, |_| {
        let mut text = format!("Recovery of {id}: {}; it is closed\n", Printable(end));
        text.push_str(&held_by_others(&left));
        text
    })
}

fn timeline(incident: &Value) -> &[Value] {
    incident["timeline"].as_array().map_or(&[][..], Vec::as_slice)
}

/// How the last recovery of an incident ended; `None` when its timeline does not say so.
fn end_of(incident: &Value) -> Option<String> {
    const ENDS: [&str; 4] = [
        "recovered",
        "recovery FAILED",
        "recovery taken BACK",
        "recovery stopped",
    ];
    let mut words = timeline(incident).iter().rev().filter_map(|it| it["what"].as_str());
    let end = words.find(|it| ENDS.iter().any(|end| it.starts_with(end)))?;
    Some(end.to_owned())
}

/// Looks until the recovery has ended.
fn wait(client: &Client, id: IncidentId, most: Duration) -> Result<RecoveryView, Fault> {
    let until = Instant::now() + most;
    let mut at = None;
    loop {
        let view = look(client, id)?;
        if view.state != RecoveryPhase::Running {
            return Ok(view);
        }
        let now = view.steps.iter().position(|it| it.state == RecoveryStepPhase::Now);
        if let Some(step) = now.filter(|_| at != now).and_then(|at| view.steps.get(at)) {
            say(&format!("  now: {}", step.what));
            at = now;
        }
        if Instant::now() >= until {
            return Err(Fault::new(
                Exit::Failed,
                format!("the recovery of {id} has not ended within the time of --wait"),
            )
            .hint(format!("it goes on: `staunch recover {id} --show` says how far it is")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn held_by_others(all: &[String]) -> String {
    match all {
        [] => String::new(),
        all => format!(
            "  not lifted, because other incidents hold it too: {}\n",
            Printable(&all.join(", "))
        ),
    }
}

fn text(output: &Output, view: &RecoveryView) -> String {
    let state = match view.state {
        RecoveryPhase::Waiting => output.paint(Tone::Faint, "waits for a person"),
        RecoveryPhase::Running => output.paint(Tone::Warning, "under way"),
        RecoveryPhase::Recovered => output.paint(Tone::Good, "recovered"),
        RecoveryPhase::Failed => output.paint(Tone::Bad, "FAILED"),
        RecoveryPhase::Back => output.paint(Tone::Bad, "taken back, contained again"),
        RecoveryPhase::Stopped => output.paint(Tone::Warning, "stopped"),
    };
    let by = view.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let mut text = format!("Recovery of {} ({}): {state}{by}\n", view.incident, view.playbook);
    if let Some(why) = &view.why {
        text.push_str(&format!("  {why}\n"));
    }
    for (number, step) in (1..).zip(&view.steps) {
        let mark = match step.state {
            RecoveryStepPhase::Done => "+",
            RecoveryStepPhase::Now => ">",
            RecoveryStepPhase::Ahead => " ",
        };
        text.push_str(&format!("  {mark} {number}. {}\n", step.what));
    }
    for watch in &view.watches {
        text.push_str(&format!(
            "  {} watches {} over {}, {} unhealthy readings in a row\n",
            watch.watch, watch.signal, watch.over, watch.unhealthy
        ));
    }
    let held: Vec<String> = view.held_by_others.iter().map(ToString::to_string).collect();
    text.push_str(&held_by_others(&held));
    text
}
