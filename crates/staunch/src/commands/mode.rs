//! `staunch mode`

use serde_json::json;
use staunch_model::{Mode, Printable};
use staunch_server::dto::{ModeRequest, ModeView, path};

use crate::cli::ModeArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, confirm, say};

pub(super) fn run(args: &ModeArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let wanted = match args.mode {
        Some(mode) => Some((Mode::from(mode), args.change.must_say_why()?)),
        None => None,
    };
    let client = Client::new(&show.server, Patience::USUAL)?;
    let before: ModeView = client.get(path::MODE, &json!({}))?;
    let Some((wanted, reason)) = wanted else {
        Output::new(show.json).show(&before, |output| text(output, &before))?;
        return Ok(Exit::Ok);
    };
    let question = match wanted {
        Mode::Observe => format!(
            "set the mode from {} to observe: nothing new will be contained?",
            before.mode
        ),
        Mode::Approve => format!(
            "set the mode from {} to approve: a person decides on each act?",
            before.mode
        ),
        Mode::Enforce => format!(
            "set the mode from {} to enforce: playbooks may act by themselves?",
            before.mode
        ),
    };
    confirm(&question, args.change.yes)?;
    client.command(path::MODE, &ModeRequest { mode: wanted, reason })?;
    let after: ModeView = client.get(path::MODE, &json!({}))?;
    Output::new(show.json).show(&after, |output| text(output, &after))?;
    if wanted == Mode::Observe {
        say("what is in force stays in force until its lease ends; `staunch release --all` lifts it");
    }
    Ok(Exit::Ok)
}

fn text(output: &Output, view: &ModeView) -> String {
    let tone = match view.mode {
        Mode::Observe => Tone::Plain,
        Mode::Approve => Tone::Warning,
        Mode::Enforce => Tone::Strong,
    };
    format!(
        "{}\n  {}\n",
        output.paint(tone, view.mode.name()),
        Printable(&view.explanation)
    )
}
