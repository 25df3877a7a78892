//! The report for people at a terminal, in 80 columns.

use staunch_model::{Printable, Span};

use super::coverage::CoverageReport;
use super::report::{Report, TestReport};
use crate::commands::trigger::parameters;
use crate::output::{Output, Tone, wrap};

/// Lines of a timeline that are shown, from its beginning and from its end; `--json` has all of them.
const FIRST_LINES: usize = 20;
const LAST_LINES: usize = 40;

/// Where the columns of a difference begin: when, what was expected, what was found.
const WHEN: usize = 6;
const EXPECTED: usize = 15;
const FOUND: usize = 48;
const COLUMNS: usize = 80;

pub(super) fn text(output: &Output, report: &Report) -> String {
    let mut text = String::new();
    for file in &report.files {
        let title = output.paint(Tone::Strong, &Printable(&file.file).to_string());
        text.push_str(&format!("{title}\n"));
        text.push_str(&parameters(output, &file.parameters));
        for test in &file.tests {
            text.push_str(&one(output, test));
        }
        text.push('\n');
    }
    for coverage in &report.coverage {
        text.push_str(&covered(output, coverage));
        text.push('\n');
    }
    let tests = report.passed + report.failed;
    if tests == 0 {
        return text;
    }
    let plural = if tests == 1 { "" } else { "s" };
    let (tone, verdict) = match report.failed {
        0 => (Tone::Good, format!("{tests} test{plural} passed")),
        failed => (Tone::Bad, format!("{failed} of {tests} test{plural} failed")),
    };
    let simulated = report
        .files
        .iter()
        .flat_map(|file| &file.tests)
        .map(|test| test.simulated);
    let simulated = simulated.fold(Span::ZERO, |sum, it| sum + it);
    let verdict = output.paint(tone, &verdict);
    text.push_str(&format!("{verdict}; {simulated} of simulated time\n"));
    text
}

fn one(output: &Output, test: &TestReport) -> String {
    let name = Printable(&test.name).to_string();
    if test.passed {
        let name = wrap(&name, 8);
        return format!("  {}    {name}\n", output.paint(Tone::Good, "ok"));
    }
    let title = wrap(&format!("{name} (line {})", test.line), 8);
    let mut text = format!("  {}  {title}\n", output.paint(Tone::Bad, "FAIL"));
    if let Some(violation) = &test.violation {
        let what = format!("an invariant did not hold: {}", Printable(violation));
        text.push_str(&format!("{:WHEN$}{}\n", "", wrap(&what, WHEN)));
    }
    if !test.differences.is_empty() {
        let heading = columns(&["at", "expected", "found"]);
        text.push_str(&format!("{}\n", output.paint(Tone::Faint, heading.trim_end())));
    }
    for it in &test.differences {
        let expected = format!("{} (line {})", it.expected, it.line);
        text.push_str(&columns(&[&it.at.to_string(), &expected, &it.found]));
    }
    text.push_str(&format!("{:WHEN$}{}\n", "", output.paint(Tone::Faint, "what happened")));
    let mut before = None;
    let left_out = FIRST_LINES..test.timeline.len().saturating_sub(LAST_LINES);
    for (at, line) in test.timeline.iter().enumerate() {
        if left_out.contains(&at) {
            if at == left_out.start {
                let count = left_out.len();
                text.push_str(&format!("{:WHEN$}({count} lines left out: --json has them)\n", ""));
            }
            continue;
        }
        let when = short(line.at);
        let shown = if before.as_ref() == Some(&when) { "" } else { &when };
        let (bullet, what) = match line.what.strip_prefix("- ") {
            Some(what) => ("- ", what),
            None => ("", line.what.as_str()),
        };
        let indent = EXPECTED + 4 + bullet.len();
        text.push_str(&format!("{:WHEN$}{shown:<12} {bullet}{}\n", "", wrap(what, indent)));
        before = Some(when);
    }
    text
}

/// `1m30s`, in milliseconds while it is short: what takes microseconds is shown as at once.
fn short(at: Span) -> String {
    Span::from_millis(at.as_micros() / 1_000).to_string()
}

/// A row of three columns, each wrapped in its own width.
fn columns(cells: &[&str; 3]) -> String {
    let places = [(WHEN, EXPECTED), (EXPECTED, FOUND), (FOUND, COLUMNS + 1)];
    let cells: Vec<Vec<String>> = cells
        .iter()
        .zip(places)
        .map(|(cell, (from, to))| fold(&Printable(cell).to_string(), to - from - 1))
        .collect();
    let mut text = String::new();
    for row in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
        let mut line = " ".repeat(WHEN);
        for (cell, (from, _)) in cells.iter().zip(places) {
            let width = line.chars().count();
            line.push_str(&" ".repeat(from.saturating_sub(width)));
            line.push_str(cell.get(row).map_or("", String::as_str));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` in lines of at most `width` characters.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always one");
            let used = line.chars().count();
            let room = width.saturating_sub(used + usize::from(used > 0));
            if word.len() <= room {
                if used > 0 {
                    line.push(' ');
                }
                line.extend(&word);
                break;
            }
            if used == 0 {
                line.extend(word.drain(..width));
            }
            lines.push(String::new());
        }
    }
    lines
}

fn covered(output: &Output, coverage: &CoverageReport) -> String {
    let share = (coverage.reached * 100).checked_div(coverage.of).unwrap_or(100);
    let title = format!(
        "coverage of {}: {} of {} ({share} %)",
        Printable(&coverage.playbook),
        coverage.reached,
        coverage.of
    );
    let mut text = format!("{}\n", output.paint(Tone::Strong, &title));
    for part in &coverage.parts {
        text.push_str(&format!("  {:<10}{} of {}\n", part.what, part.reached, part.of));
        for missing in &part.missing {
            let what = format!("{}", Printable(missing));
            text.push_str(&format!("    - {}\n", wrap(&what, 6)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::{Difference, FileReport, Line, NotRun};
    use super::*;

    fn shown(test: TestReport) -> String {
        let report = Report {
            passed: 0,
            failed: 1,
            mistakes: 0,
            not_run: NotRun::default(),
            files: vec![FileReport {
                parameters: Vec::new(),
                file: "a.test.yaml".to_owned(),
                playbook: "a".to_owned(),
                tests: vec![test],
            }],
            coverage: Vec::new(),
        };
        let text = text(&Output::plain(), &report);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        text
    }

    fn failed() -> TestReport {
        TestReport {
            name: "long words ".repeat(12),
            line: 7,
            passed: false,
            expectations: 1,
            differences: Vec::new(),
            violation: None,
            simulated: Span::from_secs(1),
            timeline: Vec::new(),
        }
    }

    #[test]
    fn a_violation_is_told_without_any_difference() {
        let violation = Some("end-is-clean: an object of TX-1 is left at 203.0.113.7 (after 1s)".to_owned());
        let text = shown(TestReport { violation, ..failed() });
        assert!(text.contains("an invariant did not hold: end-is-clean"), "{text}");
        assert!(text.ends_with("1 of 1 test failed; 1s of simulated time\n"), "{text}");
    }

    #[test]
    fn hostile_and_long_text_stays_in_its_column() {
        let text = shown(TestReport {
            differences: vec![Difference {
                at: Span::from_micros(3_723_000_001),
                line: 9,
                expected: "x".repeat(100),
                found: "\u{1b}[2J word".repeat(20),
            }],
            ..failed()
        });
        assert!(text.contains("\\u{1b}"), "{text}");
    }

    #[test]
    fn the_middle_of_a_long_timeline_is_left_out() {
        let line = |at: u64| Line {
            at: Span::from_secs(at),
            what: format!("line {at}."),
        };
        let text = shown(TestReport {
            timeline: (0..100).map(line).collect(),
            ..failed()
        });
        assert!(text.contains("(40 lines left out: --json has them)"), "{text}");
        assert!(text.contains(" line 19.\n") && text.contains(" line 60.\n"), "{text}");
        assert!(!text.contains(" line 20.\n") && !text.contains(" line 59.\n"), "{text}");
    }
}
