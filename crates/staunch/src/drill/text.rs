//! What a drill came to, for people: 80 columns.

use super::game::ALWAYS;
use super::live::LIVE_ALWAYS;
use super::scenarios::Scenario;
use super::score::{Judged, Score};
use crate::output::{Output, Tone, wrap};

/// The column where the second part of a line begins.
const INDENT: usize = 20;

/// The list of drills.
pub(crate) fn list(output: &Output, drills: &[Scenario]) -> String {
    let mut text = String::new();
    for drill in drills {
        let places = if drill.live.is_some() {
            "private, live"
        } else {
            "private"
        };
        let name = format!("{:<60}{places:>20}", drill.name);
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &name)));
        text.push_str(&format!("  {}\n", wrap(drill.question, 2)));
        text.push_str(&line(output, "  fault", drill.fault));
        for (at, expected) in drill.expects.iter().enumerate() {
            text.push_str(&line(output, if at == 0 { "  expected" } else { "" }, expected.what));
        }
        text.push('\n');
    }
    let always: [(&str, &[_]); 2] = [("private", &ALWAYS), ("live", &LIVE_ALWAYS)];
    for (place, expected) in always {
        let heading = format!("and of every {place} drill");
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &heading)));
        for (at, expected) in expected.iter().enumerate() {
            text.push_str(&line(output, if at == 0 { "  expected" } else { "" }, expected.what));
        }
    }
    text
}

fn line(output: &Output, label: &str, value: &str) -> String {
    let label = output.paint(Tone::Faint, &format!("{label:<12}"));
    format!("{label}{}\n", wrap(value, 12))
}

/// What a drill came to.
pub(crate) fn score(output: &Output, score: &Score) -> String {
    let mut text = String::new();
    text.push_str(&output.paint(Tone::Strong, &format!("{} ({})", score.drill, score.place.name())));
    text.push_str(&format!("\n  {}\n", wrap(score.question, 2)));
    let fault = if score.control {
        format!("left out, as a control: {}", score.fault)
    } else {
        score.fault.to_owned()
    };
    text.push_str(&format!("  {}\n\n", wrap(&format!("Fault: {fault}."), 2)));
    for judged in &score.expectations {
        text.push_str(&expectation(output, judged));
    }
    if let Some(why) = &score.broken_off {
        let line = wrap(&format!("It broke off: {why}"), 2);
        text.push_str(&format!("\n  {}\n", output.paint(Tone::Bad, &line)));
    }
    if !score.times.is_empty() {
        text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "times")));
    }
    for time in &score.times {
        let took = time.ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms:.1} ms"));
        text.push_str(&format!("  {took:>12}  {}\n", wrap(&time.what, 16)));
    }
    text.push_str(&guards(output, score));
    text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "people were told")));
    for alert in &score.alerts {
        text.push_str(&format!("  {:<18}{}\n", alert.level, wrap(&alert.text, INDENT)));
    }
    if score.alerts.is_empty() {
        text.push_str("  nothing\n");
    }
    let (tone, verdict) = verdict(score);
    let seconds = f64::from(u32::try_from(score.took_ms).unwrap_or(u32::MAX)) / 1e3;
    text.push_str(&format!("\n{}, in {seconds:.1} s\n", output.paint(tone, &verdict)));
    text
}

/// What it came to.
fn verdict(score: &Score) -> (Tone, String) {
    let failed = score.expectations.iter().filter(|it| !it.held).count();
    let all = score.expectations.len();
    // What broke off has shown nothing.
    let is_control = score.control && score.broken_off.is_none();
    match (score.held, is_control) {
        (true, false) => (Tone::Good, format!("HELD: all {all} expectations")),
        (false, false) => (Tone::Bad, format!("FAILED: {failed} of {all} expectations")),
        (false, true) => (
            Tone::Good,
            format!("FAILED, as a control has to: {failed} of {all} expectations"),
        ),
        (true, true) => (
            Tone::Bad,
            format!("HELD without its fault, which shows nothing: all {all} expectations"),
        ),
    }
}

fn expectation(output: &Output, judged: &Judged) -> String {
    let (tone, word) = if judged.held {
        (Tone::Good, "ok")
    } else {
        (Tone::Bad, "FAILED")
    };
    let word = output.paint(tone, &format!("{word:<6}"));
    let mut text = format!("  {word} {}\n", wrap(judged.expected.what, 9));
    // What every drill expects has nothing to tell when it held.
    let common = ALWAYS
        .iter()
        .chain(&LIVE_ALWAYS)
        .any(|it| it.name == judged.expected.name);
    if !judged.held || !common {
        text.push_str(&format!(
            "         {}\n",
            output.paint(Tone::Faint, &wrap(&format!("seen: {}", judged.seen), 15))
        ));
    }
    text
}

/// The guards that did not just pass, and how many did.
fn guards(output: &Output, score: &Score) -> String {
    let mut text = String::new();
    if score.guards.is_empty() {
        return text;
    }
    text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "guards")));
    for guard in score.guards.iter().filter(|it| it.verdict != "passed") {
        let what = format!("{} {}: {}", guard.verdict, guard.target, guard.why);
        text.push_str(&format!("  {:<18}{}\n", guard.guard, wrap(&what, INDENT)));
    }
    let passed = score.guards.iter().filter(|it| it.verdict == "passed").count();
    text.push_str(&format!("  {passed} judgements passed\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::super::score::{Expected, Place};
    use super::*;

    #[test]
    fn a_control_has_to_fail_and_is_told_so() {
        let told = |held, control, broken_off: Option<&str>| {
            let score = Score {
                format: 1,
                drill: "kill",
                question: "",
                fault: "",
                place: Place::Private,
                control,
                staunch: "",
                begun: staunch_model::Timestamp::default(),
                took_ms: 0,
                held,
                expectations: vec![Judged {
                    expected: Expected { name: "a", what: "it" },
                    held,
                    seen: String::new(),
                }],
                times: Vec::new(),
                guards: Vec::new(),
                alerts: Vec::new(),
                broken_off: broken_off.map(str::to_owned),
                signed_by: String::new(),
            };
            verdict(&score).1
        };
        assert!(told(true, false, None).starts_with("HELD: "));
        assert!(told(false, false, None).starts_with("FAILED: 1 of 1 "));
        assert!(told(false, true, None).starts_with("FAILED, as a control has to: 1 of 1 "));
        assert!(told(true, true, None).starts_with("HELD without its fault"));
        assert!(told(false, true, Some("no stage")).starts_with("FAILED: "));
    }
}
