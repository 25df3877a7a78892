//! The timeline as one page that needs nothing else: no script, no font, no image, no request.
//!
//! Every text goes through [`escape`], whoever wrote it: attackers write the words of events.
//!
//! How it prints is told in `paper.rs`.

mod paper;

use std::fmt::Write as _;

use staunch_model::Printable;
use staunch_server::dto::{IncidentRow, TransactionRow};

use super::guards::verdict;
use super::measures::Clock;
use super::{Basis, Lane, LeftOut, Timeline, picture, short, signed};
use crate::backtest::html::escape;
use crate::backtest::report::in_unit;
use crate::commands::incident::sides_of;
use crate::output::day_and_time;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--ink:#1a1a1a;--faint:#5c5c5c;--line:#8886;--shade:#8881;--event:#b3261e;--incident:#7a4b00;\
--evidence:#1b5e8a;--transaction:#1b6e3c;--notice:#6a3d9a;--person:#333;--log:#8a5a2b;--found:#2b6f77}
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--ink:#e8e8e8;--faint:#aaa;--event:#ff8a80;--incident:#ffcc66;\
--evidence:#8ecbff;--transaction:#7fd8a0;--notice:#cfa8ff;--person:#ddd;--log:#e0b080;--found:#86d0d8}}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:1.5rem auto;padding:0 1rem;background:var(--bg);color:var(--ink)}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:1.6rem 0 .4rem;border-bottom:1px solid var(--line)}
p{margin:.3rem 0;overflow-wrap:anywhere}.faint{color:var(--faint)}
.sum{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.6rem;margin:1rem 0}
.sum div{border:1px solid var(--line);border-radius:.4rem;padding:.4rem .7rem;font-size:.8rem;line-height:1.35;color:var(--faint)}
.sum dt{color:var(--ink);font-size:.9rem}.sum dd{margin:0}.sum dd.took{font-size:1.45rem;line-height:1.3;color:var(--ink);font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.87rem}
th,td{text-align:left;padding:.2rem .7rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--faint);font-weight:normal}tbody th{font-weight:normal}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td.t{white-space:nowrap;font-variant-numeric:tabular-nums}
td.w{overflow-wrap:anywhere;overflow:clip;width:60%}td.l{white-space:nowrap}
caption{text-align:left;color:var(--faint);padding:.2rem 0}
details{border:1px solid var(--line);border-radius:.4rem;padding:.35rem .75rem;margin:.4rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.4rem 0;font-size:.82rem;color:var(--faint)}
.legend svg,td.l svg{width:14px;height:14px;vertical-align:-2px;margin-right:.35rem}.legend svg.wide{width:30px}
.scroll{overflow-x:auto}.picture{min-width:52rem;font:11px/1 system-ui,sans-serif}.picture td{padding:0;border:0}.picture td>svg{display:block;width:100%;height:auto}
svg text{fill:var(--ink)}svg .day,svg .tick{fill:var(--faint);font-size:10.5px}svg .time{font-size:11px}
svg .lane{font-size:12px;font-weight:600}svg .label{font-size:11px}
.even{fill:var(--shade)}.odd{fill:none}.axis{stroke:var(--ink);fill:none}.grid{stroke:var(--line);stroke-dasharray:1 4}
.leader{stroke:var(--line)}.said{stroke:var(--event);stroke-dasharray:2 2;fill:none}.more{stroke:var(--ink);stroke-width:1.3}
.hatch{stroke:var(--line);stroke-width:2}.gap{fill:url(#gap);opacity:.55}
.event{--c:var(--event)}.incident{--c:var(--incident)}.evidence{--c:var(--evidence)}.transaction{--c:var(--transaction)}\
.notice{--c:var(--notice)}.person{--c:var(--person)}.log{--c:var(--log)}.found{--c:var(--found)}
.mark{fill:var(--c);stroke:var(--c);stroke-width:1.6}.mark.inferred{fill:var(--bg)}.mark.stated{fill-opacity:.3}
.bar{fill:var(--c,var(--ink));stroke:var(--c,var(--ink));stroke-width:1}.bar.open{fill:var(--bg);stroke-dasharray:4 2}\
.bar.missed{fill:var(--bg)}.cross{stroke:var(--ink);stroke-width:2}
@media screen and (max-width:44rem){main>table{display:block;overflow-x:auto}main>table td.t{white-space:normal;min-width:6.5rem}td.w{min-width:14rem}}
@page{size:landscape;margin:12mm}
@media print{:root{color-scheme:light;font-size:13px;--bg:#fff;--ink:#000;--faint:#333;--line:#0006;--shade:#0000000a;--event:#000;--incident:#000;\
--evidence:#000;--transaction:#000;--notice:#000;--person:#000;--log:#000;--found:#000}\
body{font-size:9pt;line-height:1.4;max-width:none;margin:0;padding:0}th,td{padding-top:.12rem;padding-bottom:.12rem}.scroll{overflow:visible}.picture{min-width:0}h1{margin-top:0}\
.sum{grid-template-columns:repeat(6,1fr)}.sum div,tr,li,.legend,.causes{break-inside:avoid}\
h2,caption,summary,thead{break-after:avoid}.legend,tbody tr:nth-child(-n+2),tbody tr:last-child{break-before:avoid}\
thead{display:table-header-group}details::details-content{content-visibility:visible;block-size:auto}}";

/// The page. `causes` is the picture of what led to what: markup of ours.
pub(super) fn page(timeline: &Timeline<'_>, causes: Option<&str>) -> String {
    let it = timeline.incident;
    let mut page = Page(String::new());
    let course = picture::draw(timeline);
    let paper = causes.map_or_else(String::new, paper::rules);
    page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.raw("<meta name=\"viewport\" content=\"width=device-width\">\n");
    page.part("title", &format!("Timeline of {}", it.id));
    page.raw(&format!(
        "<style>{STYLE}{paper}</style></head><body>\n<main>\n<div class=\"course\">\n<header>\n"
    ));
    page.part("h1", &format!("{}: {}", it.id, it.standing()));
    let about = about(it);
    page.part("p", &about);
    let closed = it.closed.map_or_else(String::new, |at| format!(", closed {at}"));
    page.part(
        "p class=\"faint\"",
        &format!(
            "Playbook {}, key {}. Opened {}{closed}.",
            shown(&it.playbook),
            shown(&it.key),
            it.opened
        ),
    );
    page.raw("</header>\n");
    page.measures(timeline);
    page.part("h2", "The course");
    page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Picture of the timeline\">\n");
    page.raw(&course);
    page.raw("</div>\n");
    page.legend(timeline);
    page.raw("</div>\n");
    if let Some(causes) = causes {
        page.raw("<div class=\"causes\">\n");
        page.part("h2", "The causes");
        page.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Picture of the causes\">\n");
        page.raw(causes);
        page.raw("</div>\n</div>\n");
    }
    page.entries(timeline);
    page.guards(&timeline.detail.transactions);
    page.logs(timeline);
    page.clocks(timeline);
    page.raw("</main>\n<footer>\n");
    let order = if timeline.window.is_some() {
        "The order is that of the journal; logs and what was found in evidence stand between that by their own times."
    } else {
        "The order is that of the journal."
    };
    page.part(
        "p class=\"faint\"",
        &format!("All times are UTC, by the clock of this installation unless another is named. {order}"),
    );
    page.raw("</footer></body></html>\n");
    page.0
}

/// What the first event said, and of whom, as far as it names anybody.
fn about(it: &IncidentRow) -> String {
    let words = format!(
        "First event, by {}: {} (severity {})",
        shown(&it.system),
        shown(&it.signature),
        it.severity
    );
    match sides_of(it) {
        Some(sides) => format!("{words}, {sides}."),
        None => format!("{words}."),
    }
}

/// A text from outside, cut as it is cut elsewhere.
fn shown(text: &str) -> String {
    Printable(text).to_string()
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

    fn heading(&mut self, caption: &str, titles: &[&str]) {
        self.raw("<table>");
        self.part("caption", caption);
        self.raw("<thead><tr>");
        for title in titles {
            self.part("th scope=\"col\"", title);
        }
        self.raw("</tr></thead><tbody>\n");
    }

    fn measures(&mut self, timeline: &Timeline<'_>) {
        self.raw("<dl class=\"sum\">\n");
        for measure in timeline.measures.named() {
            self.raw("<div>");
            self.part("dt", measure.name);
            let took = measure.took_us.map_or_else(|| "–".to_owned(), short);
            self.part("dd class=\"took\"", &took);
            self.part("dd", measure.why_none.unwrap_or(measure.meaning));
            self.raw("</div>\n");
        }
        self.raw("</dl>\n");
    }

    fn legend(&mut self, timeline: &Timeline<'_>) {
        self.raw("<ul class=\"legend\" aria-label=\"Signs\">\n");
        let (observed, inferred) = (Basis::Observed, Basis::Inferred);
        let signs = [
            (Lane::Event, observed, "event"),
            (Lane::Log, Basis::Stated, "entry of a log"),
            (Lane::Found, observed, "found in evidence"),
            (Lane::Incident, inferred, "decision"),
            (Lane::Evidence, observed, "evidence"),
            (Lane::Transaction, observed, "act"),
            (Lane::Notice, inferred, "notice"),
            (Lane::Person, observed, "person"),
            (
                Lane::Transaction,
                observed,
                "filled: observed, said by a source, driver, collector or person",
            ),
            (
                Lane::Log,
                Basis::Stated,
                "pale: stated by a log or a file, which Staunch did not see happen",
            ),
            (
                Lane::Transaction,
                inferred,
                "hollow: inferred, concluded or decided by Staunch",
            ),
        ];
        let has = |lane| timeline.entries.iter().any(|it| it.lane == lane);
        let (has_logs, has_found) = (has(Lane::Log), has(Lane::Found));
        for (lane, basis, text) in signs {
            let is_there = match lane {
                Lane::Log => has_logs,
                Lane::Found => has_found,
                _ => true,
            };
            if is_there {
                self.raw("<li>");
                self.sign(lane, basis);
                let _ = writeln!(self.0, "{}</li>", escape(text));
            }
        }
        for (class, text) in [
            ("bar", "lasted"),
            ("bar open", "awaited, or in force until its lease ends"),
            ("bar missed", "missed, or sealed too late"),
        ] {
            let _ = writeln!(
                self.0,
                "<li><svg class=\"wide\" viewBox=\"0 0 30 14\" aria-hidden=\"true\">\
                 <rect class=\"{class}\" x=\"1\" y=\"4\" width=\"28\" height=\"6\"/></svg>{text}</li>"
            );
        }
        self.raw(
            "<li><svg class=\"wide\" viewBox=\"0 0 30 14\" aria-hidden=\"true\"><rect class=\"gap\" width=\"30\" height=\"14\"/>\
             </svg>a gap in the axis, with its length; the scale is another after it</li>\n\
             <li>dotted line: from the first event by its source's clock until it was received</li>\n\
             <li>1 +4: entry 1 of the table and four more in the same place</li>\n</ul>\n",
        );
    }

    fn sign(&mut self, lane: Lane, basis: Basis) {
        let _ = write!(
            self.0,
            "<svg class=\"{}\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>",
            lane.name(),
            picture::shape(lane, 7.0, 7.0, basis.class())
        );
    }

    fn entries(&mut self, timeline: &Timeline<'_>) {
        self.part("h2", "All of it");
        let LeftOut { events, entries } = timeline.left_out;
        if events + entries > 0 {
            let what = format!(
                "{events} events and {entries} entries are not in it; `staunch replay --incident {}` has them all.",
                timeline.incident.id
            );
            self.part("p", &what);
        }
        let caption = if timeline.window.is_some() {
            "What happened, in the order of the journal; logs and what was found in evidence by their times"
        } else {
            "What happened, in the order of the journal"
        };
        self.heading(caption, &["No.", "Time (UTC)", "Elapsed", "Lane", "What", "Basis"]);
        for entry in &timeline.entries {
            let (day, time) = day_and_time(entry.at);
            self.raw("<tr>");
            self.part("th scope=\"row\" class=\"n\"", &entry.number.to_string());
            self.part("td class=\"t\"", &format!("{day} {time}"));
            self.part("td class=\"n\"", &signed(entry.elapsed_us));
            self.raw("<td class=\"l\">");
            self.sign(entry.lane, entry.basis);
            let lane = match entry.lane {
                Lane::Event | Lane::Log | Lane::Found => entry.system.as_deref().unwrap_or(entry.lane.name()),
                Lane::Incident => "decision",
                Lane::Transaction => "act",
                lane => lane.name(),
            };
            let _ = write!(self.0, "{}</td>", escape(&picture::fitting(lane, 120.0)));
            self.part("td class=\"w\"", &entry.sentence(&day));
            self.part("td", &entry.based());
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table>\n");
        self.part(
            "p class=\"faint\"",
            "The severity of an event is what Staunch makes of what its source says.",
        );
    }

    fn guards(&mut self, transactions: &[TransactionRow]) {
        if transactions.iter().all(|it| it.judgement.is_none()) {
            return;
        }
        self.part("h2", "Guards");
        for it in transactions {
            let Some(judgement) = &it.judgement else { continue };
            let because = it
                .reason
                .as_deref()
                .map_or_else(String::new, |it| format!(": {}", shown(it)));
            let count = judgement.guards.len();
            let guards = if count == 1 { "guard" } else { "guards" };
            self.raw("<details>");
            let summary = format!(
                "{} {} {}, {}{because}; judged by {count} {guards}",
                it.id,
                it.kind,
                shown(&it.target),
                it.state,
            );
            self.part("summary", &summary);
            self.heading(
                &format!("The numbers that decided on {}", it.id),
                &["Guard", "Verdict", "Measured", "Limit", "Why"],
            );
            for guard in &judgement.guards {
                let number = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), |it| in_unit(it, guard.unit));
                self.raw("<tr>");
                self.part("th scope=\"row\"", guard.guard.name());
                self.part("td class=\"l\"", verdict(guard.verdict));
                self.part("td class=\"l\"", &number(guard.measured));
                self.part("td class=\"l\"", &number(guard.limit));
                self.part("td class=\"w\"", &shown(&guard.why));
                self.raw("</tr>\n");
            }
            self.raw("</tbody></table></details>\n");
        }
    }

    fn logs(&mut self, timeline: &Timeline<'_>) {
        let (Some(window), told) = (timeline.window, timeline.told()) else {
            return;
        };
        self.part("h2", "Logs and evidence");
        let about = if window.all {
            "of whatever it is about"
        } else {
            "as far as it is about something of the incident"
        };
        self.part("p", &format!("From {} to {}, {about}.", window.from, window.to));
        self.raw("<ul>\n");
        for line in told {
            self.part("li", &line);
        }
        self.raw("</ul>\n");
    }

    fn clocks(&mut self, timeline: &Timeline<'_>) {
        if timeline.clocks.is_empty() {
            return;
        }
        self.part("h2", "Clocks of the sources");
        let mut titles = vec!["Source", "Median", "Events that say when they happened"];
        let of_logs: Vec<String> = timeline.clocks.iter().map(Clock::of_its_logs).collect();
        let has_logs = of_logs.iter().any(|it| !it.is_empty());
        if has_logs {
            titles.push("In its logs");
        }
        self.heading(
            "How much later than by the source's clock its events were received: the offset of that clock and the delay of \
             the way together",
            &titles,
        );
        for (clock, of_logs) in timeline.clocks.iter().zip(&of_logs) {
            let median = clock.offset_and_delay_us.map_or_else(|| "–".to_owned(), signed);
            self.raw("<tr>");
            self.part("th scope=\"row\"", &clock.system);
            self.part("td", &median);
            self.part("td", &clock.events.to_string());
            if has_logs {
                self.part("td", of_logs);
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table>\n");
    }
}

#[cfg(test)]
mod tests;
