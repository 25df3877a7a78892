//! The report as one page that needs nothing else: no script, no font, no image, no request.
//!
//! Every text goes through [`escape`], whoever wrote it.

use std::fmt::Write as _;

use staunch_engine::guard::percent;
use staunch_model::text::is_unsafe_to_show;

use super::report::{Listed, Report, Side, in_unit};
use super::tally::Reach;
use super::text::{backwards, change, nowhere, plan_words, torn, verdict};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--faint:#777;--bad:#b3261e;--warn:#8a5a00;--good:#1b6e3c}
@media(prefers-color-scheme:dark){:root{--faint:#aaa;--bad:#ff8a80;--warn:#ffcc66;--good:#7fd8a0}}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--line)}h3{font-size:1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
td:last-child{overflow-wrap:anywhere}
th{color:var(--faint);font-weight:normal}td.n{text-align:right;white-space:nowrap}
.sum{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1rem 0}
.sum div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .75rem}.sum b{display:block;font-size:1.5rem}
.faint{color:var(--faint)}.bad{color:var(--bad)}.warn{color:var(--warn)}.good{color:var(--good)}
details{border:1px solid var(--line);border-radius:.5rem;padding:.4rem .75rem;margin:.4rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
code{font-family:ui-monospace,monospace}";

/// `text` so that it is text in a page, in an attribute too, and steers nothing that shows it.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if is_unsafe_to_show(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = Page(String::new());
    page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width\"><title>Staunch backtest</title>");
    page.raw(&format!(
        "<style>{STYLE}</style></head><body>\n<h1>Backtest: what the playbooks would have done</h1>\n"
    ));
    if !report.failed_on.is_empty() {
        page.part(
            "p class=\"bad\"",
            &format!("Failed on: {}", report.failed_on.join(", ")),
        );
    }
    page.summary(report);
    page.read(report);
    page.comparison(report);
    page.side("New", &report.new);
    page.plans(&report.new);
    if let Some(old) = &report.old {
        page.side("Old", old);
    }
    page.part("p class=\"faint\"", &format!("{}; nothing was executed", report.build));
    page.raw("</body></html>\n");
    page.0
}

struct Page(String);

impl Page {
    /// Adds markup of ours.
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Adds `text` as the content of an element; `element` is markup of ours.
    fn part(&mut self, element: &str, text: &str) {
        let name = element.split(' ').next().unwrap_or(element);
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "<{element}>{}</{name}>", escape(text));
    }

    fn table(&mut self, heading: &[&str], rows: &[Vec<String>]) {
        let is_titled = heading.iter().any(|title| !title.is_empty());
        self.raw("<table>");
        if is_titled {
            self.raw("<thead><tr>");
            heading.iter().for_each(|title| self.part("th", title));
            self.raw("</tr></thead>");
        }
        self.raw("<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                let is_number = is_titled && !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
                self.part(if is_number { "td class=\"n\"" } else { "td" }, cell);
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table>\n");
    }

    fn summary(&mut self, report: &Report) {
        let new = &report.new;
        let mut figures = vec![
            (report.read.events, "events read"),
            (new.events_matched, "matched"),
            (new.count(Reach::Contained), "addresses contained"),
            (new.refused_by_guards(), "refused by guards"),
        ];
        if let Some(found) = &report.comparison {
            figures.push((found.newly_contained.count, "newly contained"));
            figures.push((found.newly_spared.count, "newly spared"));
        }
        self.raw("<div class=\"sum\">");
        for (figure, what) in figures {
            let _ = write!(self.0, "<div><b>{figure}</b>{}</div>", escape(what));
        }
        self.raw("</div>\n");
    }

    fn read(&mut self, report: &Report) {
        let read = &report.read;
        self.part("h2", "What was read");
        let mut rows = vec![
            vec![
                "events".into(),
                format!("{}, {} of them alerts", read.events, read.alerts),
            ],
            vec!["malformed".into(), read.malformed.to_string()],
            vec!["ignored".into(), read.ignored.to_string()],
            vec!["samples".into(), read.samples.to_string()],
            vec!["alerts without a time".into(), read.without_time.to_string()],
        ];
        if let (Some(from), Some(to)) = (read.from, read.to) {
            rows.push(vec!["from".into(), format!("{from} to {to}")]);
        }
        for what in &read.malformed_first {
            rows.push(vec!["malformed, such as".into(), what.clone()]);
        }
        let late = read.inputs.iter().filter_map(backwards);
        rows.extend(late.map(|what| vec!["late".into(), what]));
        let missed = read.absent.iter().map(|name| nowhere(name)).chain(read.skipped.words());
        rows.extend(missed.map(|what| vec!["not read".into(), what]));
        let assumed = &report.assumptions;
        rows.push(vec![
            "assumed".into(),
            format!("mode {}; {}", assumed.mode, assumed.approvals),
        ]);
        rows.extend(assumed.notes.iter().map(|note| vec![String::new(), note.clone()]));
        self.table(&["", ""], &rows);
        let rows: Vec<Vec<String>> = read
            .inputs
            .iter()
            .map(|input| {
                vec![
                    input.name.clone(),
                    input.source.clone(),
                    input.events.to_string(),
                    torn(input).map_or_else(String::new, |what| format!("torn: {what}")),
                ]
            })
            .collect();
        self.table(&["read from", "source", "events", ""], &rows);
    }

    fn comparison(&mut self, report: &Report) {
        let Some(found) = &report.comparison else { return };
        self.part("h2", "New against old");
        for (what, listed) in [
            ("Newly contained", &found.newly_contained),
            ("Newly spared", &found.newly_spared),
        ] {
            self.part("h3", &format!("{what}: {}", listed.count));
            self.listed(listed);
        }
        let rest = format!(
            "{} addresses differ otherwise, {} are as before.",
            found.otherwise_different, found.same
        );
        self.part("p", &rest);
    }

    fn listed(&mut self, listed: &Listed) {
        if listed.addresses.is_empty() {
            return;
        }
        let rows: Vec<Vec<String>> = listed
            .addresses
            .iter()
            .map(|it| vec![it.address.clone(), it.first.to_string(), change(it)])
            .collect();
        self.table(&["address", "first seen", "old -> new"], &rows);
        if listed.count > listed.addresses.len() as u64 {
            let more = listed.count - listed.addresses.len() as u64;
            self.part("p class=\"faint\"", &format!("and {more} more"));
        }
    }

    fn side(&mut self, label: &str, side: &Side) {
        self.part("h2", &format!("{label}: {}", side.name));
        let mut rows = vec![
            vec![
                "events".to_owned(),
                format!(
                    "{} matched; incidents opened: {}, joined: {}",
                    side.events_matched, side.incidents, side.joins
                ),
            ],
            vec![
                "addresses".to_owned(),
                format!(
                    "{} contained, {} only asked about, {} observed, {} refused, {} failed",
                    side.count(Reach::Contained),
                    side.count(Reach::Asked),
                    side.count(Reach::Observed),
                    side.count(Reach::Refused),
                    side.count(Reach::Failed)
                ),
            ],
            vec![
                "acts".to_owned(),
                format!(
                    "{}, of which {} came into force; {} questions to a person",
                    side.acts, side.containments, side.asked
                ),
            ],
            vec![
                "failures".to_owned(),
                format!("{}; the breaker opened {} times", side.failures, side.breaker_opened),
            ],
        ];
        let impact = &side.impact;
        let largest = match (impact.share_max_bp, &impact.share_max_target) {
            (Some(share), Some(target)) => format!("; the largest was {} ({target})", percent(share)),
            _ => String::new(),
        };
        rows.push(vec![
            "share of traffic".to_owned(),
            format!(
                "known for {} judgements, unknown for {}{largest}",
                impact.known, impact.unknown
            ),
        ]);
        rows.extend(
            side.other_refusals
                .iter()
                .map(|(why, count)| vec!["refused".to_owned(), format!("{count}: {why}")]),
        );
        self.table(&["", ""], &rows);
        let rows: Vec<Vec<String>> = side
            .playbooks
            .iter()
            .map(|it| {
                let never = if it.matched == 0 { "never matched" } else { "" };
                vec![it.name.clone(), it.matched.to_string(), never.to_owned()]
            })
            .collect();
        self.table(&["playbook", "matches", ""], &rows);
        let rows: Vec<Vec<String>> = side
            .peaks
            .iter()
            .map(|it| {
                let limit = it.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
                let at = it.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
                vec![it.what.clone(), it.peak.to_string(), limit, at]
            })
            .collect();
        self.table(&["peak", "", "limit", "at"], &rows);
        if side.guards.is_empty() {
            self.part("p", "No guard tripped.");
            return;
        }
        let rows: Vec<Vec<String>> = side
            .guards
            .iter()
            .map(|it| {
                let number = |number: Option<u64>| match (number, it.unit) {
                    (Some(number), Some(unit)) => in_unit(number, unit),
                    _ => "-".to_owned(),
                };
                let example = it
                    .example
                    .as_ref()
                    .map_or_else(String::new, |it| format!("{}: {}", it.target, it.why));
                vec![
                    it.guard.to_string(),
                    it.refused.to_string(),
                    it.asked.to_string(),
                    it.demoted.to_string(),
                    number(it.measured_max),
                    number(it.limit),
                    example,
                ]
            })
            .collect();
        self.table(
            &["guard", "refused", "asked", "demoted", "up to", "limit", "such as"],
            &rows,
        );
    }

    fn plans(&mut self, side: &Side) {
        self.part("h2", "Plans of the new playbooks");
        for plan in &side.plans {
            self.raw("<details>");
            self.part("summary", &format!("{} × {}", plan.count, plan_words(plan)));
            let such = format!("such as {}; first at {}", plan.examples.join(", "), plan.first);
            self.part("p", &such);
            if let Some(why) = &plan.why {
                self.part("p", why);
            }
            let rows: Vec<Vec<String>> = plan
                .guards
                .iter()
                .map(|it| vec![it.guard.to_string(), verdict(it.verdict).to_owned(), it.why.clone()])
                .collect();
            self.table(&["guard", "verdict", "first case"], &rows);
            self.raw("</details>\n");
        }
        if side.plans_left_out > 0 {
            self.part("p class=\"faint\"", &format!("and {} more", side.plans_left_out));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_element() {
        let hostile = "<script>alert(1)</script>&\"'\u{202e}\u{1b}[31m";
        let text = escape(hostile);
        assert!(!text.contains(['<', '>', '"', '\'', '\u{1b}', '\u{202e}']), "{text}");
        assert!(
            text.starts_with("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"),
            "{text}"
        );
    }
}
