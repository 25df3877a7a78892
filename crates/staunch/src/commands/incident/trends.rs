//! `staunch incident trends`: how long things took, over many incidents.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use staunch_model::{Printable, Span, Timestamp};
use staunch_server::dto::{IncidentAnswer, IncidentQuery, IncidentRow, Incidents, path};

use super::timeline::measures::{Measures, measures};
use super::timeline::short;
use crate::cli::Period;
use crate::client::Client;
use crate::exit::Fault;
use crate::output::{Output, Tone, day_and_time, now, say, wrap};

/// The most incidents that one answer holds.
const PAGE: u32 = 1_000;
const DAY_US: u64 = 86_400_000_000;
/// The columns of a name.
const NAME: usize = 25;

/// How long one thing took in several incidents.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Spread {
    /// The incidents in which it is known.
    count: u64,
    /// What half of them did not exceed, in microseconds.
    median_us: Option<u64>,
    /// What 95 of 100 did not exceed, in microseconds.
    p95_us: Option<u64>,
}

/// The measures of several incidents.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Group {
    /// The first day of the period, or the playbook. Safe to show.
    name: String,
    incidents: u64,
    event_to_received_us: Spread,
    received_to_known_us: Spread,
    received_to_preserved_us: Spread,
    received_to_contained_us: Spread,
    event_to_contained_us: Spread,
    contained_to_lifted_us: Spread,
    /// The incidents that have nothing to release, because what was done is for good.
    nothing_to_release: u64,
}

#[derive(Debug, Serialize)]
struct Trends {
    since: Timestamp,
    incidents: u64,
    /// Whether older ones of that time were left out.
    is_cut: bool,
    periods: Vec<Group>,
    playbooks: Vec<Group>,
}

pub(super) fn show(client: &Client, days: u32, by: Period, limit: u32, json: bool) -> Result<(), Fault> {
    let now = now();
    let since = Timestamp::from_micros(now.as_micros().saturating_sub(u64::from(days) * DAY_US));
    let (rows, is_cut) = list(client, since, limit)?;
    if is_cut {
        say(&format!(
            "only the newest {limit} incidents of that time; raise --limit for all"
        ));
    }
    let mut found: Vec<(IncidentRow, Measures)> = Vec::with_capacity(rows.len());
    for row in rows {
        let answer: IncidentAnswer = client.get(&format!("{}/{}", path::INCIDENTS, row.id), &json!({}))?;
        found.push((row, measures(&answer.detail)));
    }
    let trends = Trends {
        since,
        incidents: found.len() as u64,
        is_cut,
        periods: groups(&found, |row| first_day(row.opened, by)),
        playbooks: groups(&found, |row| Printable(&row.playbook).to_string()),
    };
    Output::new(json).show(&trends, |output| text(output, &trends, by))
}

/// The incidents that were opened since then, newest first, and whether there are more.
fn list(client: &Client, since: Timestamp, limit: u32) -> Result<(Vec<IncidentRow>, bool), Fault> {
    let mut rows = Vec::new();
    let mut before = None;
    loop {
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let query = IncidentQuery {
            since: Some(since),
            limit: Some(left.min(PAGE)),
            before,
            ..Default::default()
        };
        let page: Incidents = client.get(path::INCIDENTS, &query)?;
        rows.extend(page.incidents);
        before = page.next;
        if before.is_none() || rows.len() >= limit as usize {
            return Ok((rows, before.is_some()));
        }
    }
}

fn groups(found: &[(IncidentRow, Measures)], name: impl Fn(&IncidentRow) -> String) -> Vec<Group> {
    let mut by_name: BTreeMap<String, Vec<&Measures>> = BTreeMap::new();
    for (row, measures) in found {
        by_name.entry(name(row)).or_default().push(measures);
    }
    by_name
        .into_iter()
        .map(|(name, all)| {
            let of = |measure: fn(&Measures) -> Option<u64>| spread(all.iter().filter_map(|it| measure(it)).collect());
            Group {
                name,
                incidents: all.len() as u64,
                event_to_received_us: of(|it| it.event_to_received_us),
                received_to_known_us: of(|it| it.received_to_known_us),
                received_to_preserved_us: of(|it| it.received_to_preserved_us),
                received_to_contained_us: of(|it| it.received_to_contained_us),
                event_to_contained_us: of(|it| it.event_to_contained_us),
                contained_to_lifted_us: of(|it| it.contained_to_lifted_us),
                nothing_to_release: all.iter().filter(|it| it.nothing_to_release).count() as u64,
            }
        })
        .collect()
}

/// By nearest rank: every number that is told was measured.
fn spread(mut all: Vec<u64>) -> Spread {
    all.sort_unstable();
    let rank = |hundredths: usize| {
        all.get((all.len() * hundredths).div_ceil(100).saturating_sub(1))
            .copied()
    };
    Spread {
        count: all.len() as u64,
        median_us: rank(50),
        p95_us: rank(95),
    }
}

/// The day, or the Monday of the week.
fn first_day(at: Timestamp, by: Period) -> String {
    let day = at.as_micros() / DAY_US;
    let first = match by {
        Period::Day => day,
        // The epoch was a Thursday.
        Period::Week => day.saturating_sub((day + 3) % 7),
    };
    day_and_time(Timestamp::from_micros(first * DAY_US)).0
}

fn text(output: &Output, trends: &Trends, by: Period) -> String {
    let incidents = if trends.incidents == 1 { "incident" } else { "incidents" };
    let span = Span::from_secs(now().since(trends.since).as_secs());
    let mut text = format!("{} {incidents} in the last {span}\n", trends.incidents);
    if trends.incidents == 0 {
        return text;
    }
    let period = match by {
        Period::Day => "day",
        Period::Week => "week from",
    };
    for (title, groups) in [(period, &trends.periods), ("playbook", &trends.playbooks)] {
        let heading = format!(
            "{:<NAME$} {:>5} {:>4} {:>8}{:>8}{:>8}{:>8}{:>8}",
            title.to_uppercase(),
            "COUNT",
            "",
            "DETECT",
            "KNOW",
            "CONTAIN",
            "DWELL",
            "RELEASE"
        );
        text.push_str(&format!("\n{}\n", output.paint(Tone::Faint, &heading)));
        for group in groups {
            let name = cut(&group.name);
            text.push_str(&format!("{name:<NAME$} {:>5}", group.incidents));
            text.push_str(&line(group, "50%", |it| it.median_us));
            text.push_str(&format!("{:<NAME$} {:>5}", "", ""));
            text.push_str(&line(group, "95%", |it| it.p95_us));
        }
    }
    let for_good: u64 = trends.playbooks.iter().map(|it| it.nothing_to_release).sum();
    if for_good > 0 {
        let line = format!(
            "RELEASE leaves out {for_good} of the {}, whose acts are for good",
            trends.incidents
        );
        text.push_str(&format!("\n{}\n", wrap(&line, 2)));
    }
    text
}

fn line(group: &Group, share: &str, of: fn(&Spread) -> Option<u64>) -> String {
    let mut line = format!(" {share:>4} ");
    for spread in [
        &group.event_to_received_us,
        &group.received_to_known_us,
        &group.received_to_contained_us,
        &group.event_to_contained_us,
        &group.contained_to_lifted_us,
    ] {
        let took = of(spread).map_or_else(|| "-".to_owned(), short);
        line.push_str(&format!("{took:>8}"));
    }
    line.push('\n');
    line
}

/// As much of a name as there is room for.
fn cut(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let mut cut: String = name.chars().take(NAME - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_95_of_100_are_numbers_that_were_measured() {
        let of = |all: &[u64]| {
            let spread = spread(all.to_vec());
            (spread.count, spread.median_us, spread.p95_us)
        };
        assert_eq!(of(&[]), (0, None, None));
        assert_eq!(of(&[7]), (1, Some(7), Some(7)));
        assert_eq!(of(&[9, 1]), (2, Some(1), Some(9)));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), (100, Some(50), Some(95)));
    }

    #[test]
    fn weeks_begin_on_monday() {
        let of = |at: &str, by| first_day(at.parse().expect("a time"), by);
        assert_eq!(of("2026-11-29T23:59:59Z", Period::Week), "2026-11-23");
        assert_eq!(of("2026-11-23T00:00:00Z", Period::Week), "2026-11-23");
        assert_eq!(of("2026-11-22T23:59:59Z", Period::Week), "2026-11-16");
        assert_eq!(of("1970-01-01T00:00:00Z", Period::Week), "1970-01-01");
        assert_eq!(of("2026-11-29T23:59:59Z", Period::Day), "2026-11-29");
    }

    #[test]
    fn the_table_fits_80_columns() {
        let spread = || spread(vec![86_399_999_999, 59_999_999, 99_999, 999_999]);
        let group = |name: &str| Group {
            name: name.to_owned(),
            incidents: 12_345,
            event_to_received_us: spread(),
            received_to_known_us: spread(),
            received_to_preserved_us: spread(),
            received_to_contained_us: spread(),
            event_to_contained_us: spread(),
            contained_to_lifted_us: Spread::default(),
            nothing_to_release: 0,
        };
        let trends = Trends {
            since: now(),
            incidents: 12_345,
            is_cut: false,
            periods: vec![group("2026-11-23")],
            playbooks: vec![group(&"long-".repeat(20))],
        };
        let text = text(&Output::plain(), &trends, Period::Week);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("…") && text.contains("  23h59m"), "{text}");
        assert!(!text.contains("for good"), "{text}");
    }

    #[test]
    fn what_is_for_good_is_told_apart_from_what_is_still_held() {
        let incident = |id: &str, playbook: &str| -> IncidentRow {
            serde_json::from_value(
                json!({"id": id, "playbook": playbook, "playbook_hash": "00".repeat(32), "key": "k",
                "status": "open", "opened": "2026-11-24T12:00:00Z", "closed": null, "outcome": "contained", "events": 1,
                "system": "falco", "signature": "x", "severity": "high", "source": null, "destination": null}),
            )
            .expect("it is a row")
        };
        let known = |contained_to_lifted_us, nothing_to_release| Measures {
            contained_to_lifted_us,
            nothing_to_release,
            ..Measures::default()
        };
        let found = [
            (incident("INC-1", "kill"), known(None, true)),
            (incident("INC-2", "freeze"), known(None, false)),
            (incident("INC-3", "freeze"), known(Some(7), false)),
        ];
        let playbooks = groups(&found, |row| row.playbook.clone());
        let told: Vec<_> = playbooks
            .iter()
            .map(|it| (it.name.as_str(), it.nothing_to_release, it.contained_to_lifted_us.count))
            .collect();
        assert_eq!(told, [("freeze", 0, 1), ("kill", 1, 0)]);
        let trends = Trends {
            since: now(),
            incidents: 3,
            is_cut: false,
            periods: groups(&found, |row| first_day(row.opened, Period::Week)),
            playbooks,
        };
        let text = text(&Output::plain(), &trends, Period::Week);
        assert!(
            text.ends_with("\nRELEASE leaves out 1 of the 3, whose acts are for good\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
