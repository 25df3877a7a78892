//! `staunch status`

use serde_json::json;
use staunch_model::{Printable, Timestamp};
use staunch_server::dto::{EvidenceView, InletReading, ProtectionOrigin, ProtectionView, ReasonCount, Status, path};

use super::reload::keys;
use crate::cli::ShowArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::inlets::remedy;
use crate::output::{Output, Tone, clock, counted, now, relative, wrap};

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Fault> {
    let client = Client::new(&args.server, Patience::USUAL)?;
    let status: Status = client.get(path::STATUS, &json!({}))?;
    Output::new(args.json).show(&status, |output| text(output, &status, now()))?;
    Ok(Exit::Ok)
}

fn text(output: &Output, it: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let label = format!("{label:<13}");
        text.push_str(&output.paint(Tone::Faint, &label));
        text.push_str(&wrap(&value, 13));
        text.push('\n');
    };
    let up = staunch_model::Span::from_secs(it.uptime.as_secs());
    line(
        "staunch",
        format!("{}, up {up}, installation {}", Printable(&it.version), it.installation),
    );
    line("mode", Printable(&it.mode.explanation).to_string());
    if let Some(drill) = &it.drill {
        let scope: Vec<_> = drill.scope.iter().map(|it| Printable(it).to_string()).collect();
        let (until, left) = (clock(drill.until, now), relative(drill.until, now));
        let (id, fault, scope) = (drill.id, drill.fault, scope.join(", "));
        line(
            "drill",
            format!("{id} is UNDER WAY: the fault {fault} for {scope}, until {until} ({left})"),
        );
        line("", "`staunch drill stop` ends it at once".to_owned());
    }
    if it.open_to_loopback {
        line(
            "access",
            "NO TOKEN IS ASKED FOR on its machine: it was started with --allow-unauthenticated-loopback".to_owned(),
        );
    }
    if !it.at_next_start.is_empty() {
        line(
            "changed",
            format!(
                "from the next start on, as the file was when it was last read: {}",
                keys(&it.at_next_start)
            ),
        );
    }
    let mut in_force = format!("{} in force", it.in_force);
    if it.in_force_by.len() > 1 {
        let each: Vec<_> = it
            .in_force_by
            .iter()
            .map(|of| format!("{} {}", of.action, of.count))
            .collect();
        in_force.push_str(&format!(" ({})", each.join(", ")));
    }
    if it.unverified > 0 {
        in_force.push_str(&format!(", {} of them NOT VERIFIED", it.unverified));
    }
    line(
        "containments",
        format!("{in_force}, {} under way, {} stuck", it.under_way, it.stuck),
    );
    if it.stuck > 0 {
        line(
            "",
            "a stuck transaction needs a person: `staunch containment list` says why".to_owned(),
        );
    }
    if it.former > 0 {
        let (are, them) = if it.former == 1 { ("is", "it") } else { ("are", "them") };
        line(
            "",
            format!(
                "{} more {are} of FORMER INSTALLATIONS: `staunch containment list` shows {them}, `staunch release --all \
                 --former` lifts {them}",
                it.former
            ),
        );
    }
    line(
        "waiting",
        format!(
            "{} for approval, {} notices, {} submissions",
            it.awaiting_approval, it.notices_pending, it.queue_depth
        ),
    );
    line("incidents", format!("{} open", it.incidents_open));
    if !it.refusals.is_empty() {
        let acts = by_reason(&it.refusals, "act");
        line("", format!("{acts} REFUSED: `staunch incident list --outcome refused`"));
    }
    if !it.rollbacks.is_empty() {
        line("", by_reason(&it.rollbacks, "rollback"));
    }
    if it.exemptions > 0 {
        let noun = if it.exemptions == 1 { "network" } else { "networks" };
        let count = it.exemptions;
        let what = format!("{count} {noun} by people, where nothing is contained: `staunch protect list` shows all");
        line("exempted", what);
        for exempted in &it.exempted {
            line("", exempted_text(exempted, now));
        }
    }
    let counts = &it.counts;
    line(
        "events",
        format!(
            "{} accepted, {} matched, {} malformed, {} samples, {} turned away",
            counts.events_accepted,
            counts.events_matched,
            counts.events_malformed,
            counts.events_sample,
            counts.events_turned_away
        ),
    );
    if counts.requests_unproved > 0 {
        let requests = counted(counts.requests_unproved, "request");
        line(
            "",
            format!(
                "{requests} with events REFUSED, without a good token or signature: the log says where they come from"
            ),
        );
    }
    if counts.events_archived + counts.events_archive_dropped > 0 {
        line(
            "archive",
            format!(
                "{} events archived, {} dropped",
                counts.events_archived, counts.events_archive_dropped
            ),
        );
    }
    evidence(&mut line, &it.evidence, now);
    let swept = it.swept_at.map_or_else(|| "not yet".to_owned(), |at| relative(at, now));
    line("last sweep", swept);
    for failure in &it.sweep_failures {
        line(
            "",
            format!("FAILED for {}: {}", failure.action, Printable(&failure.why)),
        );
    }
    let index = match &it.index {
        None => "no index".to_owned(),
        Some(view) => match view.lag {
            Some(0) => "index up to date".to_owned(),
            Some(lag) => format!("index {lag} frames behind"),
            None => format!("index at frame {}", view.position),
        },
    };
    let frames = it
        .journal_lsn
        .map_or_else(|| "journal".to_owned(), |lsn| format!("{lsn} frames"));
    line("journal", format!("{frames}, {index}"));
    if let Some(why) = it.index.as_ref().and_then(|view| view.trouble.as_ref()) {
        line("", format!("the index cannot be written: {}", Printable(why)));
    }
    if let Some(since) = it.journal_full {
        let since = relative(since, now);
        line(
            "",
            format!("FULL: first refused {since}. No events are taken until there is room; containment can be lifted"),
        );
    }
    if let Some(lost) = &it.journal_lost {
        line(
            "",
            format!(
                "LOST: {}. No events are taken, nothing would survive a restart; containment can be lifted",
                Printable(lost)
            ),
        );
    }
    for gap in &it.sandbox_gaps {
        line("sandbox", format!("NOT WHOLE: {}", Printable(gap)));
    }
    let list = |names: &[String]| {
        names
            .iter()
            .map(|name| Printable(name).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    line(
        "playbooks",
        if it.playbooks.is_empty() {
            "none".to_owned()
        } else {
            list(&it.playbooks)
        },
    );
    for (at, list) in it.lists.iter().enumerate() {
        let (path, read) = (Printable(&list.path), relative(list.read_at, now));
        let label = if at == 0 { "lists" } else { "" };
        line(
            label,
            format!("{path}: {}, read {read}", counted(list.networks, "network")),
        );
        if let Some(why) = &list.refused {
            line("", format!("REFUSED since: {}", Printable(why)));
        }
    }
    for (at, file) in it.context.iter().enumerate() {
        let (path, read) = (Printable(&file.path), relative(file.read_at, now));
        let label = if at == 0 { "context" } else { "" };
        let what = match &*file.kind {
            // How large its tree is tells nobody anything.
            "geo" if file.entries == 0 => format!("{path}: never read, so no place is known"),
            "geo" => format!("{path}: read {read}"),
            kind => format!("{path}: {} {}, read {read}", file.entries, Printable(kind)),
        };
        line(label, what);
        if let Some(why) = &file.refused {
            line("", format!("REFUSED since: {}", Printable(why)));
        }
    }
    for (at, feed) in it.feeds.iter().enumerate() {
        let (name, networks) = (Printable(&feed.name), feed.networks);
        let age = match (feed.as_of, feed.expires) {
            (Some(as_of), Some(expires)) if now < expires => format!("of {}", relative(as_of, now)),
            (Some(as_of), _) => format!("of {}, TOO OLD to count", relative(as_of, now)),
            (None, _) => "never read".to_owned(),
        };
        line(
            if at == 0 { "feeds" } else { "" },
            format!("{name}: {}, {age}", counted(networks, "network")),
        );
        if let Some(why) = &feed.failed {
            line("", format!("FAILS: {}", Printable(why)));
        }
    }
    for (at, lookup) in it.lookups.iter().enumerate() {
        let (name, all) = (Printable(&lookup.name), lookup.hits + lookup.misses);
        let label = if at == 0 { "look-ups" } else { "" };
        line(
            label,
            format!("{name}: {all} questions, of {} the answer was there", lookup.hits),
        );
        let pause = lookup.paused_until.map(|until| format!(", left alone until {until}"));
        if let Some(why) = &lookup.failed {
            line("", format!("FAILS: {}{}", Printable(why), pause.unwrap_or_default()));
        }
    }
    line("sources", list(&it.sources));
    for (at, inlet) in it.inlets.iter().enumerate() {
        line(if at == 0 { "follows" } else { "" }, followed(inlet, now));
        if let Some(why) = &inlet.failing {
            line("", format!("FAILS: {}", Printable(why)));
            if let Some(remedy) = remedy(inlet) {
                line("", format!("-> {remedy}"));
            }
        }
        if let Some(why) = &inlet.waiting {
            line("", format!("WAITS: {}", Printable(why)));
        }
    }
    text
}

/// How many there were since the start, and for which reason how many.
fn by_reason(counts: &[ReasonCount], noun: &str) -> String {
    let all = counts.iter().map(|it| it.count).sum();
    let each: Vec<_> = counts
        .iter()
        .map(|it| format!("{} {}", Printable(&it.reason), it.count))
        .collect();
    format!("{} since the start ({})", counted(all, noun), each.join(", "))
}

/// What a person keeps from being contained: until when, by whom, and why.
pub(super) fn exempted_text(it: &ProtectionView, now: Timestamp) -> String {
    let verb = match it.origin {
        ProtectionOrigin::Trusted => "trusted",
        _ => "protected",
    };
    let until = it.until.map_or_else(
        || "until it is taken back".to_owned(),
        |until| format!("until {} ({})", clock(until, now), relative(until, now)),
    );
    let by = it
        .by
        .as_deref()
        .map_or_else(String::new, |by| format!(" by {}", Printable(by)));
    let reason = if it.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", Printable(&it.reason))
    };
    format!("{} is {verb} {until}{by}{reason}", it.network)
}

/// How evidence stands, where there is any, or a place that it is brought to.
fn evidence(line: &mut impl FnMut(&str, String), it: &EvidenceView, now: Timestamp) {
    let is_quiet = it.preserving + it.sealed + it.missed == 0;
    if is_quiet && it.anchors.is_empty() && it.bucket.is_none() && it.no_vault.is_none() {
        return;
    }
    let missed = match it.missed {
        0 => String::new(),
        missed => format!(", {missed} MISSED"),
    };
    line(
        "evidence",
        format!("{} sealed{missed}, {} being taken", it.sealed, it.preserving),
    );
    match (&it.no_vault, &it.vault_failure) {
        (Some(why), _) => line("", format!("there is NO VAULT: {}", Printable(why))),
        (None, Some(why)) => {
            let missed = it.vault_missed;
            line(
                "",
                format!("the vault has REFUSED the last {missed}: {}", Printable(why)),
            );
        }
        (None, None) => {}
    }
    let copies = it
        .anchors
        .iter()
        .map(|copy| (format!("anchor {}", Printable(&copy.name)), "checkpoint", copy));
    for (place, what, copy) in copies.chain(it.bucket.iter().map(|copy| ("bucket".to_owned(), "artefact", copy))) {
        let arrived = copy.at.map_or_else(
            || format!("no {what} has arrived"),
            |at| format!("last {what} {}", relative(at, now)),
        );
        let waiting = match copy.waiting {
            Some(0) => String::new(),
            Some(waiting) => format!(", {waiting} waiting"),
            None => ", what waits is NOT KNOWN".to_owned(),
        };
        let failing = if copy.is_failing {
            ", the last attempt FAILED"
        } else {
            ""
        };
        line("", format!("{place}: {arrived}{waiting}{failing}"));
    }
}

/// An inlet and its numbers; those that are of interest only when they are not 0 are left out when they are.
fn followed(it: &InletReading, now: Timestamp) -> String {
    let (kind, follows, source) = (Printable(&it.kind), Printable(&it.follows), Printable(&it.source));
    let named = if it.kind == it.follows {
        format!("{kind}")
    } else {
        format!("{kind} {follows}")
    };
    let mut text = format!("{named} as {source}: {} lines", it.lines);
    for (count, what) in [
        (it.malformed, "malformed"),
        (it.dropped, "LOST"),
        (it.passed_over, "passed over"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    match it.last_line {
        Some(at) => text.push_str(&format!(", last {}", relative(at, now))),
        None => text.push_str(", none so far"),
    }
    if it.absent {
        text.push_str("; THE FILE IS NOT THERE");
    }
    text
}
