//! Triggers in words: how each playbook takes an event, clause by clause.
//!
//! Never judges; it shows what triage reports.

use staunch_model::{
    Clause, ClauseKind, ClauseValue, EventKind, ParameterValue, Printable, TriggerOutcome, TriggerReport,
};

use crate::output::{Output, Tone, wrap};

/// Where the text of a clause begins: after its value.
const INDENT: usize = 11;

/// How every playbook takes an event of `kind` and `system`, matched or not.
pub(super) fn text(output: &Output, reports: &[&TriggerReport], kind: EventKind, system: &str) -> String {
    if reports.iter().any(|it| it.outcome == TriggerOutcome::NotAnAlert) {
        let kind = format!("{kind:?}").to_lowercase();
        return format!("playbooks look at alerts only, and this is {kind}\n");
    }
    let mut text = String::new();
    for report in reports {
        let name = output.paint(Tone::Strong, &Printable(&report.playbook).to_string());
        text.push_str(&name);
        let indent = report.playbook.chars().count() + 2;
        text.push_str(&format!("  {}\n", wrap(&outcome(report, system), indent.min(30))));
        text.push_str(&clauses(output, report));
        text.push('\n');
    }
    text
}

/// What became of the event at one playbook, as one sentence.
pub(super) fn outcome(report: &TriggerReport, system: &str) -> String {
    let clauses = &report.explanation.clauses;
    match report.outcome {
        TriggerOutcome::Matches => "matches".to_owned(),
        TriggerOutcome::WithoutKey => format!(
            "matches, but without an incident key nothing follows: {}",
            Printable(&report.explanation.key)
        ),
        TriggerOutcome::BeyondLimit => {
            "matches, but one event starts only so many playbooks: nothing follows".to_owned()
        }
        TriggerOutcome::DoesNotHold if clauses.iter().any(|it| it.depth == 0 && it.value == ClauseValue::False) => {
            "does not match".to_owned()
        }
        TriggerOutcome::DoesNotHold => "does not match: what it asks for is missing".to_owned(),
        TriggerOutcome::OtherSystem => format!(
            "does not look at events of {}, only of {}",
            Printable(system),
            Printable(&report.systems.join(", "))
        ),
        TriggerOutcome::NotAnAlert => "looks at alerts only".to_owned(),
    }
}

/// The clauses of a trigger with their values, and what the event has for them. What several clauses in a row were
/// tested on is said once, after them.
pub(super) fn clauses(output: &Output, report: &TriggerReport) -> String {
    let mut text = String::new();
    let mut clauses = report.explanation.clauses.iter().peekable();
    while let Some(clause) = clauses.next() {
        let (tone, value) = match clause.value {
            ClauseValue::True => (Tone::Good, "true"),
            ClauseValue::False => (Tone::Bad, "false"),
            ClauseValue::Unknown => (Tone::Warning, "unknown"),
        };
        let indent = INDENT + 2 * clause.depth.min(10);
        text.push_str(&format!(
            "  {}{}{}\n",
            output.paint(tone, &format!("{value:<9}")),
            " ".repeat(indent - INDENT),
            wrap(&words(clause), indent + 2)
        ));
        let next_says_it = clauses
            .peek()
            .is_some_and(|next| next.reason == clause.reason && next.depth == clause.depth);
        if !clause.reason.is_empty() && !next_says_it {
            let reason = wrap(&format!("<- {}", Printable(&clause.reason)), indent + 5);
            text.push_str(&format!(
                "{}{}\n",
                " ".repeat(indent + 2),
                output.paint(Tone::Faint, &reason)
            ));
        }
    }
    text
}

/// The values of a playbook's parameters, and where each is from.
pub(super) fn parameters(output: &Output, parameters: &[ParameterValue]) -> String {
    let line = |it: &ParameterValue| {
        let what = format!("{} = {}", Printable(&it.name), Printable(&it.value));
        let from = output.paint(Tone::Faint, &format!("({})", Printable(&it.from)));
        format!("  {} {from}\n", wrap(&what, 4))
    };
    parameters.iter().map(line).collect()
}

fn words(clause: &Clause) -> String {
    // One that is a name in the playbook is told by it.
    let name = match clause.text.strip_prefix("condition.") {
        Some(name) if name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') => {
            format!("{}: ", Printable(&clause.text))
        }
        _ => String::new(),
    };
    match clause.kind {
        ClauseKind::Test => Printable(&clause.text).to_string(),
        ClauseKind::All => format!("{name}all of"),
        ClauseKind::Any => format!("{name}any of"),
        ClauseKind::Not => "not".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::{Endpoint, EventView, FieldValue, NothingKnown, RawFields, Severity};
    use staunch_playbook::{BUILT_IN, CheckContext, compile_all};

    use super::*;

    struct Nothing;

    impl RawFields for Nothing {
        fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
            None
        }
        fn bytes(&self) -> &[u8] {
            b"{}"
        }
    }

    fn shown(signature: &str, attacker: bool) -> String {
        let view = EventView {
            system: "suricata",
            kind: EventKind::Alert,
            id: None,
            time: None,
            severity: Severity::High,
            signature,
            category: "Attempted Administrator Privilege Gain",
            source: Endpoint {
                ip: attacker.then_some([203, 0, 113, 7].into()),
                port: None,
            },
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: &Nothing,
            around: &NothingKnown,
        };
        let compiled = compile_all(BUILT_IN.iter().copied(), &CheckContext::default()).expect("they can be used");
        let programs = compiled.into_iter().map(|it| it.program).collect();
        let reports = staunch_engine::triage::Triage::new(programs).reports(&view);
        let output = Output::plain();
        let text = text(&output, &reports.iter().collect::<Vec<_>>(), view.kind, view.system);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    }

    #[test]
    fn clauses_say_what_the_event_has_once() {
        let text = shown("ET SCAN SSH Brute Force Login", true);
        assert!(
            text.starts_with("brute-force-block  matches\n  true     event.severity >= medium\n"),
            "{text}"
        );
        assert!(
            text.contains("             <- event.severity is high\n  true     any of\n  true       event.signature")
        );
        let first = text.split("\n\n").next().expect("there is one");
        let said = first
            .matches("<- event.signature is \"ET SCAN SSH Brute Force Login\"")
            .count();
        assert_eq!(said, 1, "{text}");
    }

    #[test]
    fn what_has_no_incident_key_says_so() {
        let text = shown("ET SCAN SSH Brute Force Login", false);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(
                "brute-force-block matches, but without an incident key nothing follows: event.source.ip is missing"
            ),
            "{text}"
        );
    }

    #[test]
    fn text_from_the_event_cannot_steer() {
        assert!(!shown("\u{1b}[2J", true).contains('\u{1b}'));
    }
}
