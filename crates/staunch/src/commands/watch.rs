//! `staunch watch`
//!
//! Never leaves anything out: a connection that is lost is taken up behind the last entry that was shown.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use serde_json::json;
use staunch_model::{IncidentId, Printable};
use staunch_server::dto::{StreamEntry, StreamKind, StreamQuery, path};

use crate::cli::WatchArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, day_and_time, is_unread, json_line, print_on, say, wrap};

/// How long nothing at all may come: a server that has nothing to tell says so every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How often it is looked whether anybody reads what is shown, while nothing comes.
const LOOK_FOR_READER: Duration = Duration::from_millis(500);

/// How long a server that has gone is looked for.
const LOOK_FOR: Duration = Duration::from_secs(60);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes of a line of the stream: an entry has a few hundred.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The columns before the text of an entry.
const INDENT: usize = 24;

/// What came of a stream.
enum Heard {
    Entry {
        id: String,
        entry: StreamEntry,
    },
    /// Where the stream is.
    Place(String),
    /// The server is there, and has nothing to tell.
    Alive,
    /// Something that this version cannot read.
    Strange,
}

pub(super) fn run(args: &WatchArgs) -> Result<Exit, Fault> {
    let client = Client::new(&args.show.server, Patience::ENDLESS)?;
    if let Some(id) = args.incident {
        say_when_absent(args, id)?;
    }
    let output = Output::new(args.show.json);
    let query = StreamQuery {
        after: args.after,
        incident: args.incident,
    };
    let mut watch = Watch {
        left: args.count,
        last: None,
        day: String::new(),
    };
    let mut lost: Option<Instant> = None;
    loop {
        match client.stream(path::STREAM, &query, watch.last.as_deref()) {
            Ok(body) => {
                if lost.take().is_some() {
                    say("it is back");
                }
                if watch.follow(BufReader::new(body.into_reader()), &output)? {
                    return Ok(Exit::Ok);
                }
            }
            // At first there must be a server; and one that says no says so again.
            Err(fault) if lost.is_none() || !matches!(fault.exit, Exit::Unreachable | Exit::Busy) => return Err(fault),
            Err(fault) if lost.is_some_and(|since| since.elapsed() >= LOOK_FOR) => return Err(fault),
            Err(_) => {}
        }
        if lost.is_none() {
            lost = Some(Instant::now());
            say("the stream has ended; looking for the server for a minute");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Says when there is no such incident: nothing may ever come of it.
fn say_when_absent(args: &WatchArgs, id: IncidentId) -> Result<(), Fault> {
    let client = Client::new(&args.show.server, Patience::USUAL)?;
    let asked = client.get::<serde_json::Value>(&format!("{}/{id}", path::INCIDENTS), &json!({}));
    // Whatever else is wrong is said when the stream is asked for.
    if let Err(fault) = asked
        && fault.exit == Exit::NotFound
    {
        say(&format!("{}; it is watched for all the same", fault.told()));
    }
    Ok(())
}

struct Watch {
    /// How many entries are still to be shown.
    left: Option<u64>,
    /// The id of the last one that was shown.
    last: Option<String>,
    day: String,
}

impl Watch {
    /// Shows what comes. True when as much was shown as was asked for, or nobody reads it any more; false when the
    /// stream has ended.
    fn follow(&mut self, stream: impl BufRead + Send + 'static, output: &Output) -> Result<bool, Fault> {
        if self.left == Some(0) {
            return Ok(true);
        }
        // A read cannot be given up when nothing comes; a wait can.
        let (told, hear) = mpsc::sync_channel(64);
        std::thread::Builder::new()
            .name("stream".into())
            .spawn(move || read(stream, &told))
            .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
        let mut heard_at = Instant::now();
        loop {
            let heard = hear.recv_timeout(LOOK_FOR_READER);
            if heard.is_ok() {
                heard_at = Instant::now();
            }
            match heard {
                Ok(Heard::Alive) => {}
                Ok(Heard::Place(id)) => self.last = Some(id),
                Ok(Heard::Strange) => {
                    let what = "the server tells something that this version cannot read";
                    let hint = "is the same version of Staunch running there? compare with `staunch version`";
                    return Err(Fault::new(Exit::Failed, what).hint(hint));
                }
                Ok(Heard::Entry { id, entry }) => {
                    let text = if output.json {
                        json_line(&entry)?
                    } else {
                        self.text(output, &entry)
                    };
                    if print_on(&text)?.is_break() {
                        return Ok(true);
                    }
                    self.last = Some(id);
                    // What the stream says of itself has not happened to anybody.
                    if let Some(left) = &mut self.left
                        && entry.kind != StreamKind::Stream
                    {
                        *left -= 1;
                        if *left == 0 {
                            return Ok(true);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if is_unread() => return Ok(true),
                Err(RecvTimeoutError::Timeout) if heard_at.elapsed() < SILENCE_MAX => {}
                // It has ended, or is cut somewhere on the way.
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return Ok(false),
            }
        }
    }

    fn text(&mut self, output: &Output, entry: &StreamEntry) -> String {
        let (date, time) = day_and_time(entry.at);
        let mut text = String::new();
        if self.day != date {
            let heading = format!("{date} (UTC)");
            self.day = date;
            text.push_str(&format!("{}\n", output.paint(Tone::Strong, &heading)));
        }
        let about = entry.incident.map_or_else(String::new, |id| id.to_string());
        let tone = match entry.kind {
            StreamKind::Incident | StreamKind::Transaction => Tone::Plain,
            StreamKind::Notice | StreamKind::Stream => Tone::Warning,
            StreamKind::Command | StreamKind::Installation => Tone::Strong,
        };
        let whose = entry.transaction.map_or_else(String::new, |id| format!("{id} "));
        let what = wrap(&format!("{whose}{}", Printable(&entry.what)), INDENT);
        text.push_str(&format!("{time}  {about:<9} {}\n", output.paint(tone, &what)));
        text
    }
}

/// Reads events until the stream or the interest in it ends.
fn read(mut stream: impl BufRead, told: &SyncSender<Heard>) {
    let (mut id, mut data) = (String::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        // What is cut off in the middle is told again when the stream is taken up.
        match std::io::Read::take(&mut stream, LINE_BYTES_MAX).read_line(&mut line) {
            Ok(1..) if line.ends_with('\n') => {}
            _ => return,
        }
        let heard = match line.trim_end_matches(['\r', '\n']).split_once(':') {
            Some(("id", value)) => {
                value.trim_start().clone_into(&mut id);
                continue;
            }
            Some(("data", value)) => {
                value.trim_start().clone_into(&mut data);
                continue;
            }
            Some(("", _)) => Heard::Alive,
            None if line.trim().is_empty() && !data.is_empty() => {
                let entry = serde_json::from_str(&data);
                data.clear();
                entry.map_or(Heard::Strange, |entry| Heard::Entry { id: id.clone(), entry })
            }
            None if line.trim().is_empty() && !id.is_empty() => Heard::Place(id.clone()),
            _ => continue,
        };
        if told.send(heard).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(stream: &str) -> Vec<String> {
        let (told, hear) = mpsc::sync_channel(64);
        read(stream.as_bytes(), &told);
        drop(told);
        hear.into_iter()
            .map(|it| match it {
                Heard::Entry { id, entry } => format!("{id} {}", entry.what),
                Heard::Place(id) => format!("at {id}"),
                Heard::Alive => "alive".to_owned(),
                Heard::Strange => "strange".to_owned(),
            })
            .collect()
    }

    #[test]
    fn what_is_whole_is_taken_from_a_stream() {
        let entry = |what: &str| format!(r#"{{"lsn":1,"at":"2026-11-25T14:00:00Z","kind":"command","what":"{what}"}}"#);
        let (a, b) = (entry("a"), entry("b"));
        let stream = format!(
            "id: 1.0\n\nid: 1.1\nevent: command\ndata: {a}\n\n:\nid: 1.2\r\ndata:{b}\r\n\r\nid: 1.3\ndata: {a}\n"
        );
        assert_eq!(heard(&stream), ["at 1.0", "1.1 a", "alive", "1.2 b"]);
        assert_eq!(
            heard(&format!("id: 1.1\ndata: {{}}\n\nid: 1.2\ndata: {a}\n\n")),
            ["strange", "1.2 a"]
        );
    }
}
