//! The report for people at a terminal, in 80 columns.

use staunch_engine::guard::percent;
use staunch_model::{Printable, Verdict};

use super::past::InputRead;
use super::report::{Changed, Listed, PlanRow, Report, Side, in_unit};
use super::tally::Reach;
use crate::output::{Output, Tone, counted, wrap};

/// Addresses shown of each list; `--json` has more.
const SHOWN_MAX: usize = 20;

/// Plans shown; `--json` has more.
const PLANS_MAX: usize = 10;

/// Columns of labels.
const LABEL: usize = 14;

pub(crate) fn text(output: &Output, report: &Report) -> String {
    let mut page = Page {
        output,
        text: String::new(),
    };
    page.read(report);
    page.side("New", &report.new);
    if let Some(old) = &report.old {
        page.side("Old", old);
    }
    page.comparison(report);
    page.plans(&report.new);
    if !report.failed_on.is_empty() {
        let what = format!("=> --fail-on: {}", report.failed_on.join(", "));
        page.text.push_str(&format!("\n{}\n", output.paint(Tone::Bad, &what)));
    }
    page.text
}

/// How much was read of a torn `input`, and why no more; `None` for a whole one.
pub(crate) fn torn(input: &InputRead) -> Option<String> {
    let why = input.torn.as_ref()?;
    let (events, were) = (
        counted(input.events, "event"),
        if input.events == 1 { "was" } else { "were" },
    );
    Some(format!("{events} {were} read of it, and the rest is lost ({why})"))
}

/// What is said of an `input` whose events came too late because of their order.
pub(crate) fn backwards(input: &InputRead) -> Option<String> {
    let were = if input.late == 1 { "was" } else { "were" };
    let what = "held back for their age, because the input runs backwards: sort it by time";
    (input.late > 0).then(|| format!("{}: {} of its events {were} {what}", input.name, input.late))
}

/// What is said of a link that leads nowhere.
pub(crate) fn nowhere(name: &str) -> String {
    format!("{name} leads nowhere: nothing was read of it")
}

struct Page<'a> {
    output: &'a Output,
    text: String,
}

impl Page<'_> {
    fn title(&mut self, title: &str) {
        let line = self.output.paint(Tone::Strong, &wrap(title, 0));
        self.text.push_str(&format!("\n{line}\n"));
    }

    fn line(&mut self, label: &str, value: &str) {
        let label = self.output.paint(Tone::Faint, &format!("{label:<LABEL$}"));
        self.text.push_str(&format!("{label}{}\n", wrap(value, LABEL)));
    }

    fn read(&mut self, report: &Report) {
        let read = &report.read;
        let inputs = read.inputs.len();
        let from = match &read.inputs[..] {
            [one] if read.frames > 0 => format!("{} frames of {}", read.frames, one.name),
            [one] => format!("{} as {}", one.name, one.source),
            _ => format!("{inputs} files"),
        };
        self.line(
            "read",
            &format!("{} events, {} of them alerts; {from}", read.events, read.alerts),
        );
        if let (Some(from), Some(to)) = (read.from, read.to) {
            self.line("", &format!("from {from} to {to}"));
        }
        if read.malformed + read.ignored + read.samples + read.without_time > 0 {
            self.line(
                "",
                &format!(
                    "{} malformed, {} ignored, {} samples, {} alerts without a time",
                    read.malformed, read.ignored, read.samples, read.without_time
                ),
            );
        }
        for what in &read.malformed_first {
            self.line("", &format!("malformed: {what}"));
        }
        for input in &read.inputs {
            if let Some(what) = torn(input) {
                self.line("", &format!("{} is torn: {what}", input.name));
            }
        }
        for what in read.inputs.iter().filter_map(backwards) {
            self.line("", &what);
        }
        for name in &read.absent {
            self.line("", &nowhere(name));
        }
        if let Some(what) = read.skipped.words() {
            self.line("", &what);
        }
        let it = &report.assumptions;
        self.line("assumed", &format!("mode {}; {}", it.mode, it.approvals));
        for note in &it.notes {
            self.line("", note);
        }
    }

    fn side(&mut self, label: &str, side: &Side) {
        self.title(&format!("{label}: {}", side.name));
        self.line(
            "matched",
            &format!(
                "{} events; incidents opened: {}, joined: {}",
                side.events_matched, side.incidents, side.joins
            ),
        );
        self.line(
            "addresses",
            &format!(
                "{} contained, {} only asked about, {} observed, {} refused, {} failed",
                side.count(Reach::Contained),
                side.count(Reach::Asked),
                side.count(Reach::Observed),
                side.count(Reach::Refused),
                side.count(Reach::Failed)
            ),
        );
        self.line(
            "acts",
            &format!(
                "{}, of which {} came into force; {} questions to a person",
                side.acts, side.containments, side.asked
            ),
        );
        if side.failures + side.breaker_opened > 0 {
            let first = side
                .breaker_first
                .map_or_else(String::new, |at| format!(", first at {at}"));
            let opened = format!("the breaker opened {} times{first}", side.breaker_opened);
            self.line("failures", &format!("{}; {opened}", side.failures));
        }
        let impact = &side.impact;
        let largest = match (impact.share_max_bp, &impact.share_max_target) {
            (Some(share), Some(target)) => format!("; the largest was {} of the traffic ({target})", percent(share)),
            _ => String::new(),
        };
        self.line(
            "impact",
            &format!(
                "share of traffic known for {} judgements, unknown for {}{largest}",
                impact.known, impact.unknown
            ),
        );
        for (at, peak) in side.peaks.iter().enumerate() {
            let limit = peak.limit.map_or_else(String::new, |limit| format!(" of {limit}"));
            let when = peak.at.map_or_else(String::new, |at| format!(", at {at}"));
            let label = if at == 0 { "peaks" } else { "" };
            self.line(label, &format!("{}{limit} {}{when}", peak.peak, peak.what));
        }
        if side.guards.is_empty() {
            self.line("guards", "none tripped");
        }
        for (at, guard) in side.guards.iter().enumerate() {
            let label = if at == 0 { "guards" } else { "" };
            let mut what = format!(
                "{}: refused {}, asked {}, demoted {}",
                guard.guard, guard.refused, guard.asked, guard.demoted
            );
            // A limit of none is a yes or no, and its number says nothing.
            if let (Some(measured), Some(unit), true) = (guard.measured_max, guard.unit, guard.limit != Some(0)) {
                what.push_str(&format!("; up to {}", in_unit(measured, unit)));
                if let Some(limit) = guard.limit {
                    what.push_str(&format!(" against {}", in_unit(limit, unit)));
                }
            }
            self.line(label, &what);
            if let Some(example) = &guard.example {
                self.line("", &format!("  such as {}: {}", example.target, example.why));
            }
        }
        for (why, count) in &side.other_refusals {
            self.line("", &format!("{count} refused: {why}"));
        }
        if side.without_key + side.without_target + side.beyond_limit + side.addresses_left_out > 0 {
            self.line("left out", &format!(
                "{} matches without an incident key, {} steps without a target, {} matches beyond the most of one event, \
                 {} addresses beyond the most that are told apart",
                side.without_key, side.without_target, side.beyond_limit, side.addresses_left_out
            ));
        }
        let never = match &side.never_matched[..] {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        self.line("never matched", &never);
    }

    fn comparison(&mut self, report: &Report) {
        let Some(found) = &report.comparison else { return };
        self.title("New against old");
        self.listed("newly contained", Tone::Warning, &found.newly_contained);
        self.listed("newly spared", Tone::Warning, &found.newly_spared);
        self.line(
            "otherwise",
            &format!(
                "{} addresses differ, {} are as before",
                found.otherwise_different, found.same
            ),
        );
    }

    fn listed(&mut self, what: &str, tone: Tone, listed: &Listed) {
        let tone = if listed.count > 0 { tone } else { Tone::Plain };
        let head = self.output.paint(tone, &format!("{} {what}", listed.count));
        self.text.push_str(&format!("{head}\n"));
        for it in listed.addresses.iter().take(SHOWN_MAX) {
            let line = format!("{}  {}", it.address, change(it));
            self.text.push_str(&format!("  {}\n", wrap(&line, 6)));
        }
        if listed.count > SHOWN_MAX as u64 {
            self.text
                .push_str(&format!("  and {} more\n", listed.count - SHOWN_MAX as u64));
        }
    }

    fn plans(&mut self, side: &Side) {
        self.title("Plans of the new playbooks");
        if side.plans.is_empty() {
            self.text.push_str("none: nothing matched\n");
        }
        for plan in side.plans.iter().take(PLANS_MAX) {
            self.plan(plan);
        }
        let beyond = side.plans.len().saturating_sub(PLANS_MAX) as u64 + side.plans_left_out;
        if beyond > 0 {
            self.text.push_str(&format!("and {beyond} more; --json has up to 50\n"));
        }
    }

    fn plan(&mut self, plan: &PlanRow) {
        let head = format!("{} x {}", plan.count, plan_words(plan));
        self.text.push_str(&format!("{}\n", wrap(&head, 4)));
        let line = format!("such as {}; first at {}", plan.examples.join(", "), plan.first);
        self.text.push_str(&format!("    {}\n", wrap(&line, 4)));
        for guard in plan.guards.iter().filter(|guard| guard.verdict != Verdict::Passed) {
            let word = verdict(guard.verdict);
            let why = wrap(&Printable(&guard.why).to_string(), 30);
            self.text
                .push_str(&format!("    {:<16}  {word:<8}{why}\n", guard.guard));
        }
    }
}

/// What a plan comes to, in words.
pub(crate) fn plan_words(plan: &PlanRow) -> String {
    let guard = plan.guard.map_or_else(String::new, |guard| format!(" by {guard}"));
    let mode = plan.mode.map_or_else(String::new, |mode| format!(", mode {mode}"));
    let risk = plan
        .risk
        .as_ref()
        .map_or_else(String::new, |risk| format!(", risk {risk}"));
    // What was approved has a plan of its own besides, as an act.
    let approved = match plan.approved {
        0 => String::new(),
        all if all == plan.count => ", who approves".to_owned(),
        some => format!(", who approves {some}"),
    };
    format!(
        "{}: {} for {}: {}{approved}{guard}{mode}{risk}",
        plan.playbook, plan.action, plan.lease, plan.ruling
    )
}

/// The word for a verdict.
pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Unknown => "unknown",
        Verdict::Ask => "ask",
        Verdict::ObserveOnly => "observe",
        Verdict::Refused => "REFUSED",
    }
}

/// What became of an address before and after, in words.
pub(crate) fn change(it: &Changed) -> String {
    let side = |reach: Reach, playbook: &Option<String>, why: &Option<String>| {
        let by = playbook
            .as_ref()
            .map_or_else(String::new, |playbook| format!(" by {playbook}"));
        let why = why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        match reach {
            Reach::Nothing => "no match".to_owned(),
            reach => format!("{}{by}{why}", reach.name()),
        }
    };
    let (old, new) = (
        side(it.old, &it.old_playbook, &it.old_why),
        side(it.new, &it.new_playbook, &it.new_why),
    );
    format!("{old} -> {new}")
}
