//! `staunch reload`

use std::fmt::Write as _;

use staunch_model::Printable;
use staunch_server::auth::Right;
use staunch_server::dto::{Mistake, ReloadRequest, Reloaded, path};

use crate::cli::ReloadArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault, escaped};
use crate::output::{Output, Tone, confirm, counted};

pub(super) fn run(args: &ReloadArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let request = ReloadRequest {
        reason: args.change.must_say_why()?,
    };
    let client = Client::new(&show.server, Patience::USUAL)?.meaning_to(Right::Operate);
    confirm(
        "have the server read its playbooks, protections and risks again?",
        args.change.yes,
    )?;
    let reloaded: Reloaded = client.post(path::RELOAD, &request)?;
    Output::new(show.json).show(&reloaded, |output| text(output, &reloaded))?;
    Ok(Exit::Ok)
}

fn text(output: &Output, it: &Reloaded) -> String {
    let mut text = format!(
        "{}  {}, {}, {} in lists\n",
        output.paint(Tone::Good, "read again"),
        counted(it.playbooks, "playbook"),
        counted(it.protected, "protected network"),
        counted(it.listed, "network"),
    );
    for (tone, heading, mistakes) in [
        (Tone::Bad, "refused, the earlier one stays", &it.refused),
        (Tone::Warning, "strange", &it.warnings),
    ] {
        for mistake in mistakes {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{}  {}", output.paint(tone, heading), told(mistake));
        }
    }
    if !it.at_next_start.is_empty() {
        let heading = output.paint(Tone::Warning, "changed, from the next start on");
        let _ = writeln!(text, "{heading}  {}", keys(&it.at_next_start));
    }
    text
}

/// Keys of the configuration as a list; safe to show.
pub(crate) fn keys(all: &[String]) -> String {
    let all: Vec<String> = all.iter().map(|key| Printable(key).to_string()).collect();
    all.join(", ")
}

/// A mistake in a line, and what to do about it in another; safe to show.
pub(crate) fn told(it: &Mistake) -> String {
    let mut text = String::new();
    if let Some(file) = &it.file {
        let _ = write!(text, "{}", Printable(file));
        for place in [it.line, it.column].into_iter().flatten() {
            let _ = write!(text, ":{place}");
        }
        text.push_str(": ");
    }
    if let Some(code) = &it.code {
        let _ = write!(text, "[{}] ", Printable(code));
    }
    text.push_str(&one_line(&it.what));
    if let Some(hint) = &it.hint {
        let _ = write!(text, "\n    hint: {}", one_line(hint));
    }
    text
}

/// `text`, safe to show and uncut: a mistake may name all keys that there are.
fn one_line(text: &str) -> String {
    escaped(&text.replace('\n', " "))
}
