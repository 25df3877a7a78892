//! The timeline for people, in 80 columns.

use staunch_model::Printable;

use super::guards::guard_lines;
use super::{Basis, Lane, Timeline, short, signed};
use crate::commands::evidence::lines;
use crate::output::{Output, Tone, day_and_time, wrap};

/// The columns before the text of an entry.
const INDENT: usize = 38;

pub(super) fn text(output: &Output, timeline: &Timeline<'_>) -> String {
    let it = timeline.incident;
    let title = format!("{}  {}  {}", it.id, it.standing(), Printable(&it.key));
    let mut text = format!("{}  {}\n", output.paint(Tone::Strong, &title), Printable(&it.playbook));
    for measure in timeline.measures.named() {
        let took = measure.took_us.map_or_else(|| "-".to_owned(), short);
        let label = measure.why_none.unwrap_or(measure.label);
        text.push_str(&format!("  {:<13}{took:<10}  {label}\n", measure.name));
    }
    for clock in &timeline.clocks {
        text.push_str(&format!("  {:<24}  {}\n", clock.system, wrap(&clock.words(), 28)));
    }
    for line in timeline.told() {
        text.push_str(&format!("  {}\n", wrap(&line, 4)));
    }
    let legend = if timeline.entries.iter().any(|it| it.basis == Basis::Stated) {
        format!(
            "{} inferred by Staunch; {} stated by a log or a file; all else was observed",
            Basis::Inferred.mark(),
            Basis::Stated.mark()
        )
    } else {
        format!(
            "{} concluded or decided by Staunch; all else was observed",
            Basis::Inferred.mark()
        )
    };
    text.push_str(&format!("  {legend}\n"));
    let mut day = String::new();
    for entry in &timeline.entries {
        let (date, time) = day_and_time(entry.at);
        if day != date {
            day = date;
            let heading = output.paint(Tone::Strong, &format!("{day} (UTC)"));
            text.push_str(&format!("\n{heading}\n"));
        }
        let elapsed = signed(entry.elapsed_us);
        let (tone, lane) = match entry.lane {
            Lane::Event => (Tone::Warning, "event"),
            Lane::Log => (Tone::Faint, "log"),
            Lane::Found => (Tone::Faint, "found"),
            Lane::Incident => (Tone::Plain, "incident"),
            Lane::Evidence => (Tone::Plain, "evidence"),
            Lane::Transaction => (Tone::Good, "act"),
            Lane::Notice => (Tone::Plain, "notice"),
            Lane::Person => (Tone::Strong, "person"),
        };
        let lane = output.paint(tone, &format!("{lane:<8}"));
        let mark = entry.basis.mark();
        let what = lines(&entry.sentence(&day), INDENT);
        text.push_str(&format!("  {time:<12}  {elapsed:>9}  {lane} {mark} {what}\n"));
        text.push_str(&guard_lines(output, &entry.guards, &entry.what, INDENT));
    }
    text
}
