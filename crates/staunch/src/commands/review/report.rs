//! The report: what is recorded, and room for what only people know. It looks for causes, and never for somebody to
//! blame.

use staunch_model::{IncidentId, Record, Timestamp};

use super::changes::{self, Suggested};
use super::page::Block;
use super::record::Recorded;
use crate::exit::Fault;

/// Targets that the summary names; the table of what was contained has all of them.
const CONTAINED_MAX: usize = 10;

/// Headings that people write under, each with what is asked of them.
const PROMPTS: [(&str, &str); 6] = [
    (
        "What happened, in your words",
        "Tell it to somebody who was not there. Say what each person saw then, and not what is known since.",
    ),
    (
        "Impact on customers",
        "Who could not do what, from when to when, and how was that found out?",
    ),
    (
        "What went well",
        "Which habit, tool or preparation helped, and should be kept?",
    ),
    (
        "What was hard",
        "Where was it unclear what to do, or slow to do it? Name what was missing and not who.",
    ),
    (
        "Contributing causes",
        "Which conditions made this possible? There are most often several. What people did made sense to them then: why?",
    ),
    ("Follow-ups", "What is to be changed, who owns it, and by when?"),
];

/// All of the report.
///
/// # Errors
/// When the measures cannot be worked out.
pub(super) fn blocks(recorded: &Recorded, changes: &[Suggested], questions: &[String]) -> Result<Vec<Block>, Fault> {
    let detail = &recorded.detail;
    let incident = &detail.incident;
    let when = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let outcome = match incident.outcome {
        Some(_) => crate::commands::incident::outcome_of(incident),
        None => "not settled".to_owned(),
    };
    let mut blocks = vec![Block::Text(
        "The tables hold what is recorded. Everything under a question is for people to write. The page timeline.html has \
         the picture."
            .to_owned(),
    )];
    let summary = [
        ("incident", incident.id.to_string()),
        ("for", incident.key.clone()),
        ("playbook", incident.playbook.clone()),
        ("first event", format!("{}: {}", incident.system, incident.signature)),
        ("severity", incident.severity.to_string()),
        ("attacking address", or(&incident.source)),
        ("attacked address", or(&incident.destination)),
        ("contained", contained(recorded)),
        ("events", incident.events.to_string()),
        ("opened", incident.opened.to_string()),
        ("closed", when(incident.closed)),
        ("outcome", outcome),
    ];
    let mut table = |heading, table| blocks.extend([Block::Heading(heading), table]);
    table(
        "Summary",
        rows(["What", "Recorded"], &summary, |(what, value)| {
            [(*what).to_owned(), value.clone()]
        }),
    );
    table(
        "How long things took",
        rows(
            ["Measure", "Took", "From what to what"],
            &crate::commands::incident::measures_of(detail),
            Clone::clone,
        ),
    );
    table(
        "What happened, as recorded",
        rows(["At", "Of", "What"], &detail.timeline, |it| {
            let of = it.transaction.map_or_else(|| "-".to_owned(), |id| id.to_string());
            [it.at.to_string(), of, it.what.clone()]
        }),
    );
    table(
        "What was contained, and lifted",
        rows(
            ["Id", "What", "State", "In force", "Lifted", "Because"],
            &detail.transactions,
            |it| {
                [
                    it.id.to_string(),
                    format!("{} {}", it.kind, it.target),
                    it.state.to_string(),
                    when(it.in_force_at),
                    when(it.released_at),
                    or(&it.reason),
                ]
            },
        ),
    );
    let judged = detail
        .transactions
        .iter()
        .filter_map(|it| Some((it.id, it.judgement.as_ref()?)));
    let guards: Vec<_> = judged
        .flat_map(|(id, it)| it.guards.iter().map(move |guard| (id, guard)))
        .collect();
    table(
        "Guards, with their numbers",
        rows(["Id", "Guard", "Verdict", "Why"], &guards, |(id, it)| {
            let verdict = format!("{:?}", it.verdict).to_lowercase();
            [id.to_string(), it.guard.name().to_owned(), verdict, it.why.to_string()]
        }),
    );
    table(
        "Evidence",
        rows(
            ["Id", "Kind", "Of", "Asked", "Sealed", "Degraded"],
            &detail.evidence,
            |it| {
                let why = it.why.as_deref().unwrap_or("no reason is recorded");
                let late = it.missed_at.map(|at| format!("missed at {at}: {why}"));
                let parts = recorded.beside.missed.words(it.id);
                let degraded: Vec<String> = late.into_iter().chain(parts).collect();
                let degraded = Some(degraded.join("; ")).filter(|it| !it.is_empty());
                [
                    it.id.to_string(),
                    it.kind.to_string(),
                    or(&it.target),
                    it.asked.to_string(),
                    when(it.sealed_at),
                    or(&degraded),
                ]
            },
        ),
    );
    table(
        "What people decided",
        rows(["At", "What"], &detail.commands, |it| [it.at.to_string(), it.words()]),
    );
    let notices: Vec<_> = detail
        .timeline
        .iter()
        .filter_map(|it| match serde_json::from_value(it.detail.clone()) {
            Ok(Record::NoticeQueued(notice)) => Some((it.at, notice)),
            _ => None,
        })
        .collect();
    table(
        "Notices",
        rows(["At", "Level", "What"], &notices, |(at, notice)| {
            [at.to_string(), notice.level.name().to_owned(), notice.text.to_string()]
        }),
    );
    blocks.extend(changes::blocks(changes));
    blocks.push(Block::Heading("Open questions of the record"));
    blocks.push(Block::List(questions.to_vec()));
    for (heading, prompt) in PROMPTS {
        blocks.push(Block::Heading(heading));
        blocks.push(Block::Prompt(prompt));
    }
    Ok(blocks)
}

/// What was in force at one time or another, whether or not an event names it as the attacking side.
fn contained(recorded: &Recorded) -> String {
    let in_force = recorded
        .detail
        .transactions
        .iter()
        .filter(|it| it.in_force_at.is_some());
    let mut targets: Vec<&str> = in_force.map(|it| &*it.target).collect();
    targets.sort_unstable();
    targets.dedup();
    let more = targets.len().saturating_sub(CONTAINED_MAX);
    targets.truncate(CONTAINED_MAX);
    match (targets.join(", "), more) {
        (none, _) if none.is_empty() => "-".to_owned(),
        (all, 0) => all,
        (some, more) => format!("{some} and {more} more"),
    }
}

/// A table with a row for each of `items`.
fn rows<T, const N: usize>(head: [&'static str; N], items: &[T], row: impl Fn(&T) -> [String; N]) -> Block {
    Block::Table(head.to_vec(), items.iter().map(|it| row(it).to_vec()).collect())
}

/// What is in the folder.
pub(super) fn readme(id: IncidentId, files: &[String]) -> String {
    let what = |name: &str| match name {
        "event.json" => "the first event, as it came",
        "report.md" | "report.html" => "the report: facts, and questions for people to answer",
        "timeline.html" | "timeline.json" => "the timeline, as a page with a picture and as data",
        "questions.md" => "what the record leaves open",
        super::folder::LIST => "the names of all of these, so that `check` can tell what is missing",
        name if name.ends_with(".test.yaml") => "a test of the playbook, made of the events of this incident",
        name if name.starts_with("changes/") && name.ends_with(".diff") => {
            "a change that the record gives a reason for"
        }
        name if name.starts_with("changes/") && name.ends_with(".md") => "why, and what a backtest says of it",
        changes::INDEX => "the same of all changes, as data",
        "tests/snippets.yaml" => "the snippets that the playbook uses",
        name if name.starts_with("sigma/") => "the draft of a Sigma rule; its first line says what it was tried on",
        _ => "the playbook as it was",
    };
    let list: String = files.iter().map(|it| format!("- `{it}`: {}\n", what(it))).collect();
    format!(
        "# Review of {id}\n\nWritten by `staunch review` from the journal.\n\n{list}\nEvents are in it as they came, with names, \
         addresses and secrets that senders put there: in event.json and in the test. Words of events are in the report, the \
         timeline, the questions and the Sigma rule. Read them before you share any of it.\n\n`staunch review check` with this \
         folder runs the test on the playbook beside it, tries the rule on event.json, tells whether the diffs still apply \
         to what is configured, and names what is missing of these files. Exit code 0 says that all holds, 13 that something does not. To keep the test, put it beside the playbook in your repository.\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_summary_names_what_was_contained_where_the_event_names_no_attacker() {
        let noon = "2026-11-25T12:00:00Z";
        let act = |id: u64, target: &str, in_force_at: Option<&str>| {
            json!({"id": format!("TX-{id}"), "incident": "INC-7", "step": 0, "kind": "block-ip", "target": target,
                "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null,
                "created": noon, "updated": noon, "in_force_at": in_force_at, "released_at": null, "approved_by": null,
                "approval_expires": null, "judgement": null})
        };
        let report = |transactions: Value| {
            let detail = json!({
                "incident": {"id": "INC-7", "playbook": "p", "playbook_hash": "00".repeat(32), "key": "k",
                    "status": "open", "opened": noon, "closed": null, "outcome": null, "events": 1, "system": "falco",
                    "signature": "x", "severity": "high", "source": null, "destination": null},
                "transactions": transactions, "commands": [], "evidence": [], "events": [], "timeline": [],
                "timeline_count": 0,
            });
            let of = Recorded::of(serde_json::from_value(detail).expect("it is a detail"));
            contained(&of)
        };
        assert_eq!(report(json!([])), "-");
        let acts = json!([
            act(1, "203.0.113.99", Some(noon)),
            act(2, "203.0.113.99", Some(noon)),
            act(3, "203.0.113.5", None),
        ]);
        assert_eq!(report(acts), "203.0.113.99");
        let many: Vec<Value> = (10..22)
            .map(|it| act(it, &format!("203.0.113.{it}"), Some(noon)))
            .collect();
        assert!(report(many.into()).ends_with("203.0.113.19 and 2 more"));
    }
}
