//! Decides every recorded input again, at its recorded time and from the same state, and compares.
//!
//! Never changes what is compared with: the comparison ends at the first difference, because from there on this build
//! and the record are about two different states.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use serde::Serialize;
use serde_json::Value;
use staunch_engine::Engine;
use staunch_model::{Input, Printable, Record, Timestamp};
use staunch_store::ReadOnlyJournal;

use super::{Step, each};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, say, wrap};
use crate::wiring;
use crate::words;

/// Places inside one record that are named as different; more would not be read.
const PLACES_MAX: usize = 6;

/// What the comparison found.
#[derive(Debug, Serialize)]
struct Verdict {
    /// Whether this build decides the same.
    same: bool,
    /// Frames compared, the differing one included.
    frames_compared: u64,
    /// Records compared.
    records_compared: u64,
    /// The build that was run.
    this_build: Box<str>,
    /// The builds that wrote the journal, and the first frame of each.
    recorded_by: Vec<Build>,
    /// Where the two part.
    first_difference: Option<Difference>,
}

#[derive(Debug, Serialize)]
struct Build {
    build: String,
    from_lsn: u64,
}

#[derive(Debug, Serialize)]
struct Difference {
    lsn: u64,
    now: Timestamp,
    /// What happened, in words.
    input: String,
    /// What is wrong besides the records, if anything is.
    remark: Option<String>,
    lines: Vec<Line>,
    recorded: Vec<Record>,
    decided: Vec<Record>,
}

/// One line of the comparison.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    side: Side,
    words: String,
    /// Where the record differs from its counterpart, when their words do not tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Both,
    Recorded,
    Decided,
}

pub(super) fn run(journal: &ReadOnlyJournal, output: &Output) -> Result<Exit, Fault> {
    let mut verdict = Verdict {
        same: true,
        frames_compared: 0,
        records_compared: 0,
        this_build: wiring::build(),
        recorded_by: Vec::new(),
        first_difference: None,
    };
    let mut engine = Engine::new();
    // An engine that refuses its own decision panics; that is an answer here, and no accident.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let read = each(journal, &mut |step| {
        if let Input::Started { build, .. } = &step.frame.input
            && verdict.recorded_by.last().is_none_or(|last| *last.build != **build)
        {
            verdict.recorded_by.push(Build {
                build: Printable(build).to_string(),
                from_lsn: step.lsn.0,
            });
        }
        verdict.frames_compared += 1;
        verdict.records_compared += step.frame.records.len() as u64;
        verdict.first_difference = compare(&mut engine, step);
        Ok(match verdict.first_difference {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        })
    });
    set_hook(hook);
    read?;
    if verdict.frames_compared == 0 {
        // Nothing that was decided is no proof that it would be decided again.
        return Err(
            Fault::new(Exit::NotFound, "there is nothing to compare: no frame is recorded")
                .hint("name the data directory of a server with --data-dir"),
        );
    }
    verdict.same = verdict.first_difference.is_none();
    output.show(&verdict, |output| text(output, &verdict))?;
    if verdict.same {
        return Ok(Exit::Ok);
    }
    say("this build decides differently from the record: recovery still applies what was recorded");
    Ok(Exit::Differs)
}

/// Decides the input of `step` again. `None` when the record says the same; the engine has then taken it.
fn compare(engine: &mut Engine, step: &Step) -> Option<Difference> {
    let (recorded, now) = (&step.frame.records, step.now);
    let decided = catch_unwind(AssertUnwindSafe(|| engine.step(&step.frame.input, now)));
    let (decided, remark) = match decided {
        Ok(it) if it.now == now && it.records == *recorded => return None,
        Ok(it) if it.now != now => {
            let what = format!(
                "the time of the frame lies before {}, which was decided at earlier",
                it.now
            );
            (it.records, Some(what))
        }
        Ok(it) => (it.records, None),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("it panicked");
            (Vec::new(), Some(Printable(why).to_string()))
        }
    };
    Some(Difference {
        lsn: step.lsn.0,
        now,
        input: words::input(&step.frame.input),
        remark,
        lines: lines(recorded, &decided),
        recorded: recorded.clone(),
        decided,
    })
}

/// Both lists of records as one: what they share at the beginning and at the end, and between that what differs.
fn lines(recorded: &[Record], decided: &[Record]) -> Vec<Line> {
    let same = |side: &[Record]| -> Vec<Line> { side.iter().map(|record| line(Side::Both, record)).collect() };
    let pairs = || recorded.iter().zip(decided);
    let head = pairs().take_while(|(one, other)| one == other).count();
    let rest = recorded.len().min(decided.len()) - head;
    let tail = recorded.iter().rev().zip(decided.iter().rev());
    let tail = tail.take(rest).take_while(|(one, other)| one == other).count();
    let (mine, theirs) = (
        &recorded[head..recorded.len() - tail],
        &decided[head..decided.len() - tail],
    );
    let mut lines = same(&recorded[..head]);
    for at in 0..mine.len().max(theirs.len()) {
        let (one, other) = (mine.get(at), theirs.get(at));
        let mut added: Vec<Line> = one.map(|it| line(Side::Recorded, it)).into_iter().collect();
        added.extend(other.map(|it| line(Side::Decided, it)));
        if let (Some(one), Some(other), [first, second]) = (one, other, &mut added[..])
            && first.words == second.words
        {
            let (one, other) = (serde_json::to_value(one), serde_json::to_value(other));
            let mut places = Vec::new();
            if let (Ok(one), Ok(other)) = (one, other) {
                different("", &one, &other, &mut places);
            }
            first.places = places
                .iter()
                .map(|(place, one, _)| format!("{place} is {one}"))
                .collect();
            second.places = places
                .iter()
                .map(|(place, _, other)| format!("{place} is {other}"))
                .collect();
        }
        lines.extend(added);
    }
    lines.extend(same(&recorded[recorded.len() - tail..]));
    lines
}

fn line(side: Side, record: &Record) -> Line {
    Line {
        side,
        words: words::record(record),
        places: Vec::new(),
    }
}

/// Names the places where `one` and `other` differ, with the value of each.
fn different(place: &str, one: &Value, other: &Value, found: &mut Vec<(String, String, String)>) {
    if one == other || found.len() >= PLACES_MAX {
        return;
    }
    let below = |key: &str| {
        if place.is_empty() {
            key.to_owned()
        } else {
            format!("{place}.{key}")
        }
    };
    match (one, other) {
        (Value::Object(mine), Value::Object(theirs)) => {
            let added = theirs.keys().filter(|key| !mine.contains_key(*key));
            for key in mine.keys().chain(added) {
                let value = |side: &serde_json::Map<String, Value>| side.get(key).cloned().unwrap_or_default();
                different(&below(key), &value(mine), &value(theirs), found);
            }
        }
        (Value::Array(mine), Value::Array(theirs)) if mine.len() == theirs.len() => {
            for (at, (one, other)) in mine.iter().zip(theirs).enumerate() {
                different(&below(&at.to_string()), one, other, found);
            }
        }
        _ => found.push((place.to_owned(), one.to_string(), other.to_string())),
    }
}

fn text(output: &Output, it: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let label = format!("{label:<10}");
        text.push_str(&format!("{}{}\n", output.paint(Tone::Faint, &label), wrap(value, 10)));
    };
    let builds: Vec<String> = it
        .recorded_by
        .iter()
        .map(|by| format!("{} from frame {}", by.build, by.from_lsn))
        .collect();
    line("recorded", &format!("by {}", builds.join(", ")));
    line("decided", &format!("by {}", it.this_build));
    line(
        "compared",
        &format!("{} frames, {} records", it.frames_compared, it.records_compared),
    );
    let Some(found) = &it.first_difference else {
        text.push_str(&format!(
            "\n{}\n",
            output.paint(Tone::Good, "=> this build decides the same")
        ));
        return text;
    };
    text.push_str(&format!(
        "\n{}\n",
        output.paint(Tone::Bad, "=> this build decides differently")
    ));
    let head = format!("frame {}, {}: {}", found.lsn, found.now, Printable(&found.input));
    text.push_str(&format!("\n{}\n", wrap(&head, 0)));
    if let Some(why) = &found.remark {
        text.push_str(&format!("  ! {}\n", wrap(&Printable(why).to_string(), 4)));
    }
    for line in &found.lines {
        let (mark, tone, who) = match line.side {
            Side::Both => (' ', Tone::Plain, ""),
            Side::Recorded => ('-', Tone::Bad, "recorded: "),
            Side::Decided => ('+', Tone::Good, "decided:  "),
        };
        let words = format!("{who}{}", Printable(&line.words));
        let shown = format!("  {mark} {}", wrap(&words, 4));
        text.push_str(&format!("{}\n", output.paint(tone, &shown)));
        for place in &line.places {
            let shown = format!("  {mark}     {}", wrap(&Printable(place).to_string(), 8));
            text.push_str(&format!("{}\n", output.paint(tone, &shown)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use staunch_model::{IncidentId, Mode};

    use super::*;

    fn shown(recorded: &[Record], decided: &[Record]) -> Vec<(Side, String)> {
        let lines = lines(recorded, decided).into_iter();
        lines.map(|line| (line.side, line.words)).collect()
    }

    #[test]
    fn what_both_say_frames_what_only_one_says() {
        let joined = |n| Record::EventJoined {
            incident: IncidentId(n),
        };
        let words = |n| words::record(&joined(n));
        assert_eq!(
            shown(&[joined(1), joined(2), joined(4)], &[joined(1), joined(3), joined(4)]),
            [
                (Side::Both, words(1)),
                (Side::Recorded, words(2)),
                (Side::Decided, words(3)),
                (Side::Both, words(4))
            ]
        );
        // A repeated record must not count as the head and as the tail at once.
        assert_eq!(
            shown(&[joined(1)], &[joined(1), joined(1)]),
            [(Side::Both, words(1)), (Side::Decided, words(1))]
        );
        assert_eq!(shown(&[joined(1)], &[]), [(Side::Recorded, words(1))]);
    }

    #[test]
    fn records_with_the_same_words_name_the_place() {
        let closed = |n| Record::IncidentClosed {
            incident: IncidentId(1),
            absorbs_until: Timestamp::from_micros(n),
        };
        let lines = lines(&[closed(1_000_000)], &[closed(2_000_000)]);
        assert_eq!(
            lines[0].places,
            ["incident-closed.absorbs_until is \"1970-01-01T00:00:01.000Z\""]
        );
        assert_eq!(
            lines[1].places,
            ["incident-closed.absorbs_until is \"1970-01-01T00:00:02.000Z\""]
        );
        assert!(
            super::lines(&[Record::ModeSet { mode: Mode::Observe }], &[closed(1)])[0]
                .places
                .is_empty()
        );
    }
}
