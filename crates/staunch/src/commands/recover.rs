//! `staunch recover`

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use staunch_model::{IncidentId, Printable, Timestamp};
use staunch_server::auth::Right;
use staunch_server::dto::{RecoverRequest, RecoveryPhase, RecoveryStepPhase, RecoveryView, path};

use crate::cli::RecoverArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, clock, confirm, now, relative, say, wrap};

/// How often it is looked how far the recovery is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long the index may take to follow the journal.
const INDEX_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn run(args: &RecoverArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let client = Client::new(&show.server, Patience::USUAL)?;
    let client = client.meaning_to(if args.show { Right::Look } else { Right::Respond });
    let output = Output::new(show.json);
    let before = match look(&client, args.id) {
        // It is asked for how it went, and that is known.
        Err(fault) if !args.stop && fault.exit == Exit::NotFound => {
            let found = incident(&client, args.id)?;
            let end = end_of(&found).ok_or(fault)?;
            if !args.show && args.wait.is_none() {
                return Err(ended_already(args.id, &format!("is closed: {}", Printable(&end.what))));
            }
            show_closed(&output, args.id, &found, &end)?;
            return Ok(if args.show { Exit::Ok } else { end.exit() });
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
    if !args.stop && before.state == RecoveryPhase::Recovered {
        if args.wait.is_none() {
            return Err(ended_already(args.id, "has recovered already"));
        }
        return end(&client, &output, args.id, Ok(before));
    }
    let reason = args.change.must_say_why()?;
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
        reason,
    };
    client.command(path::RECOVER, &request)?;
    let after = match args.wait {
        Some(most) if !args.stop => wait(&client, args.id, most.to_std()),
        _ => look(&client, args.id),
    };
    end(&client, &output, args.id, after)
}

/// Shows how the recovery stands that was looked at last. With nothing left in force, the incident may be closed by
/// then.
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

/// The fault of starting once more what has come to its end.
fn ended_already(id: IncidentId, how: &str) -> Fault {
    Fault::new(Exit::Refused, format!("{id} {how}")).hint(format!("`staunch recover {id} --show` says when and how"))
}

/// How a recovery ended, as the timeline of its incident has it.
#[derive(Debug)]
struct End {
    what: String,
    at: Option<Timestamp>,
}

impl End {
    /// How a command ends that has waited for it.
    fn exit(&self) -> Exit {
        if self.what.starts_with("recovery FAILED") || self.what.starts_with("recovery taken BACK") {
            Exit::Failed
        } else {
            Exit::Ok
        }
    }
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
            let unknown = || End {
                what: match found["index"]["trouble"].as_str() {
                    Some(why) => format!("its end is not in the index, which cannot be written: {why}"),
                    None => "its end is not in the index yet".to_owned(),
                },
                at: None,
            };
            let end = end.unwrap_or_else(unknown);
            break (found, end);
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    show_closed(output, id, &found, &end)?;
    Ok(end.exit())
}

/// What the index has of an incident.
fn incident(client: &Client, id: IncidentId) -> Result<Value, Fault> {
    client.get(&format!("{}/{id}", path::INCIDENTS), &())
}

fn show_closed(output: &Output, id: IncidentId, found: &Value, end: &End) -> Result<(), Fault> {
    let told = timeline(found);
    // A containment that others hold too is not lifted.
    let left = format!("let go of by {id}");
    let left: Vec<String> = told
        .iter()
        .filter(|it| it["what"].as_str() == Some(&*left))
        .filter_map(|it| Some(it["transaction"].as_str()?.to_owned()))
        .collect();
    let shown = json!({ "incident": id, "closed": true, "end": end.what, "ended": end.at, "held_by_others": left });
    output.show(&shown, |_| {
        let what = format!("Recovery of {id}: {}; it is closed", Printable(&end.what));
        let mut text = format!("{}\n", wrap(&what, 0));
        text.push_str(&ended(end.at));
        text.push_str(&held_by_others(&left));
        text
    })
}

fn timeline(incident: &Value) -> &[Value] {
    incident["timeline"].as_array().map_or(&[][..], Vec::as_slice)
}

/// How the last recovery of an incident ended; `None` when its timeline does not say so.
fn end_of(incident: &Value) -> Option<End> {
    const ENDS: [&str; 4] = [
        "recovered",
        "recovery FAILED",
        "recovery taken BACK",
        "recovery stopped",
    ];
    timeline(incident).iter().rev().find_map(|it| {
        let what = it["what"].as_str()?;
        ENDS.iter().any(|end| what.starts_with(end)).then(|| End {
            what: what.to_owned(),
            at: it["at"].as_str().and_then(|at| at.parse().ok()),
        })
    })
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
        all => {
            let names = all.join(", ");
            let text = format!("not lifted, because other incidents hold it too: {}", Printable(&names));
            format!("  {}\n", wrap(&text, 2))
        }
    }
}

/// The line that says when a recovery ended.
fn ended(at: Option<Timestamp>) -> String {
    let now = now();
    at.map_or_else(String::new, |at| {
        format!("  ended {}, {}\n", clock(at, now), relative(at, now))
    })
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
    text.push_str(&ended(view.ended));
    if let Some(why) = &view.why {
        text.push_str(&format!("  {}\n", wrap(why, 2)));
    }
    for (number, step) in (1..).zip(&view.steps) {
        let mark = match step.state {
            RecoveryStepPhase::Done => "+",
            RecoveryStepPhase::Now => ">",
            RecoveryStepPhase::Ahead => " ",
        };
        text.push_str(&format!("  {mark} {number}. {}\n", wrap(&step.what, 7)));
    }
    for watch in &view.watches {
        let told = format!(
            "{} watches {} over {}, {} unhealthy readings in a row",
            watch.watch, watch.signal, watch.over, watch.unhealthy
        );
        text.push_str(&format!("  {}\n", wrap(&told, 2)));
    }
    let held: Vec<String> = view.held_by_others.iter().map(ToString::to_string).collect();
    text.push_str(&held_by_others(&held));
    text
}
