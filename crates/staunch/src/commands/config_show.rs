//! `staunch config`

use serde_json::json;
use staunch_model::Printable;

use crate::cli::ConfigCommand;
use crate::config::{self, Line, Shown};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, json_escaped, say};

/// Where the origins begin, as far as the keys leave room.
const ORIGIN_COLUMN: usize = 44;

pub(super) fn run(command: &ConfigCommand) -> Result<Exit, Fault> {
    let ConfigCommand::Show {
        effective,
        config: args,
        json,
    } = command;
    let loaded = config::load(args.config.as_deref())?;
    let shown = Shown::new(&loaded)?;
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let answer = json!({ "file": file, "values": shown.values(*effective), "lines": shown.lines_of_file() });
    match &file {
        _ if *json => {}
        None => say("no configuration file: the defaults hold"),
        Some(file) => say(&format!("{}, with the lines that set each key", Printable(file))),
    }
    Output::new(*json).show(&answer, |output| text(output, &shown.lines(*effective)))?;
    Ok(Exit::Ok)
}

fn text(output: &Output, lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        match line {
            Line::Heading(heading) => {
                let gap = if text.is_empty() { "" } else { "\n" };
                let heading = output.paint(Tone::Strong, &Printable(heading).to_string());
                text.push_str(&format!("{gap}{heading}\n"));
            }
            Line::Key(key, set_by) => {
                let origin = set_by.map_or_else(|| "# default".to_owned(), |line| format!("# line {line}"));
                // Escaped as TOML does it: what is shown can be read again.
                let key = json_escaped(key);
                let origin = output.paint(Tone::Faint, &origin);
                text.push_str(&format!("{key:<ORIGIN_COLUMN$}  {origin}\n"));
            }
        }
    }
    text
}
