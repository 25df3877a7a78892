//! `staunch containment`

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;
use staunch_model::{Judgement, Printable, Span, StateKind, Timestamp, Verdict};
use staunch_server::dto::{Approval, Approvals, Containment, Containments, DriftView, FormerView, Status, path};

use crate::cli::ContainmentCommand;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, relative, say};

/// Containments that are named at the most.
const NAMED_MAX: usize = 5;

pub(super) fn run(command: &ContainmentCommand) -> Result<Exit, Fault> {
    let ContainmentCommand::List { awaiting, show } = command;
    let client = Client::new(&show.server, Patience::USUAL)?;
    let output = Output::new(show.json);
    if *awaiting {
        let found: Approvals = client.get(path::APPROVALS, &json!({}))?;
        output.show(&found, |output| approvals_text(output, &found))?;
    } else {
        let found: Containments = client.get(path::CONTAINMENTS, &json!({}))?;
        output.show(&found, |output| containments_text(output, &found))?;
        if !show.json && found.containments.is_empty() {
            name_awaiting(&client)?;
        }
    }
    Ok(Exit::Ok)
}

/// Says how many wait for a person: why nothing is contained, as likely as not.
fn name_awaiting(client: &Client) -> Result<(), Fault> {
    let status: Status = client.get(path::STATUS, &json!({}))?;
    if status.awaiting_approval > 0 {
        let waits = match status.awaiting_approval {
            1 => "1 act waits".to_owned(),
            count => format!("{count} acts wait"),
        };
        say(&format!(
            "{waits} for a person: `staunch containment list --awaiting` shows why"
        ));
    }
    Ok(())
}

/// What is contained within `networks`.
///
/// # Errors
/// When the server does not answer.
pub(super) fn held_in(client: &Client, networks: &[IpNet]) -> Result<Vec<Containment>, Fault> {
    let mut all = client.get::<Containments>(path::CONTAINMENTS, &json!({}))?.containments;
    all.retain(|it| {
        let address = it.target.parse::<IpAddr>();
        address.is_ok_and(|ip| networks.iter().any(|network| network.contains(&ip)))
    });
    Ok(all)
}

/// Names what stays contained, and how it is lifted.
pub(super) fn name_held(held: &[Containment]) {
    for it in held.iter().take(NAMED_MAX) {
        let (id, target) = (it.transaction, Printable(&it.target));
        say(&format!("{id} still holds {target}: `staunch release {id}` lifts it"));
    }
    if held.len() > NAMED_MAX {
        let more = held.len() - NAMED_MAX;
        say(&format!("so do {more} more: `staunch containment list` shows them"));
    }
}

fn containments_text(output: &Output, found: &Containments) -> String {
    let mut rows: Vec<Vec<String>> = found.containments.iter().map(|it| row(it, found.now)).collect();
    if rows.is_empty() && found.former.is_empty() {
        say("nothing is contained");
        return String::new();
    }
    let missing = found
        .containments
        .iter()
        .filter(|it| it.drift == Some(DriftView::Missing))
        .count();
    if missing > 0 {
        say(&format!(
            "NOT IN PLACE: {missing} of {}; VERIFIED says what was found",
            rows.len()
        ));
    }
    let protected = found.containments.iter().filter(|it| it.protected.is_some()).count();
    if protected > 0 {
        say(&format!(
            "PROTECTED NOW: {protected} of {} hold what is never touched; release them, or mend `never_touch`",
            rows.len()
        ));
    }
    rows.extend(found.former.iter().map(former_row));
    if !found.former.is_empty() {
        let (belong, are, them) = match found.former.len() {
            1 => ("belongs", "is", "it"),
            _ => ("belong", "are", "them"),
        };
        say(&format!(
            "{} {belong} to FORMER INSTALLATIONS and {are} not counted or lifted with the rest: `staunch release --all \
             --former` lifts {them}",
            found.former.len()
        ));
    }
    output.table(&["id", "state", "ends", "verified", "target and why"], &rows)
}

/// What another installation has left: nothing is known of it but what its label and the enforcement point say.
fn former_row(it: &FormerView) -> Vec<String> {
    let ends = it.expires_in.map_or_else(
        || "never".to_owned(),
        |left| format!("in {}", Span::from_secs(left.as_secs())),
    );
    let unknown = || "-".to_owned();
    vec![
        unknown(),
        "former".to_owned(),
        ends,
        unknown(),
        format!(
            "{}: another installation, label {}",
            Printable(&it.target),
            Printable(&it.label)
        ),
    ]
}

fn row(it: &Containment, now: Timestamp) -> Vec<String> {
    let ends = match (it.renewing, it.lease_until) {
        (Some(until), _) => format!("renewing to {}", relative(until, now)),
        (None, Some(until)) => relative(until, now),
        (None, None) => "-".to_owned(),
    };
    let seen = it
        .verified_at
        .map_or_else(|| "never".to_owned(), |at| relative(at, now));
    let verified = match (it.drift, &it.drift_reason) {
        (Some(DriftView::Verified), _) => seen,
        (Some(drift), Some(reason)) => format!("{}: {reason}", drift.name().to_uppercase()),
        (Some(drift), None) => format!("{}, {seen}", drift.name().to_uppercase()),
        (None, _) if it.state == StateKind::InForce => seen,
        (None, _) => "-".to_owned(),
    };
    let state = match &it.reason {
        Some(reason) if it.state != StateKind::InForce => format!("{}: {reason}", it.state),
        _ => it.state.to_string(),
    };
    let mut by = match &it.playbook {
        Some(playbook) => format!("{} {} {playbook}", it.target, it.incident),
        None => format!("{} orphan", it.target),
    };
    let others = it.holders.iter().filter(|holder| **holder != it.incident).count();
    if others > 0 {
        by.push_str(&format!(" and {others} more"));
    }
    if let Some(person) = &it.approved_by {
        by.push_str(&format!(", approved by {person}"));
    }
    if let Some(protected) = &it.protected {
        by.push_str(&format!(
            "; PROTECTED NOW: {} ({})",
            protected.network, protected.reason
        ));
    }
    vec![it.transaction.to_string(), state, ends, verified, by]
}

/// What waits for a person.
pub(super) fn approvals_text(output: &Output, found: &Approvals) -> String {
    if found.approvals.is_empty() {
        say("nothing waits for a decision");
        return String::new();
    }
    let rows: Vec<Vec<String>> = found
        .approvals
        .iter()
        .map(|it| {
            vec![
                it.transaction.to_string(),
                format!("{} {}", it.action, it.target),
                it.lease.to_string(),
                relative(it.expires, found.now),
                format!("{} {}", it.incident, it.playbook.as_deref().unwrap_or("-")),
                it.judgement.as_ref().map_or_else(|| "-".to_owned(), why_asked),
            ]
        })
        .collect();
    output.table(&["id", "would", "lease", "lapses", "for", "why a person"], &rows)
}

/// The guards that want a person, for the question.
pub(super) fn guards_that_ask(approval: &Approval) -> String {
    let asking = approval
        .judgement
        .iter()
        .flat_map(|it| &it.guards)
        .filter(|guard| guard.verdict == Verdict::Ask);
    asking
        .map(|guard| format!("{}: {}\n", guard.guard, guard.why))
        .collect()
}

fn why_asked(judgement: &Judgement) -> String {
    let asking = judgement.guards.iter().find(|guard| guard.verdict == Verdict::Ask);
    asking.map_or_else(
        || format!("mode {}", judgement.mode),
        |guard| format!("{}: {}", guard.guard, guard.why),
    )
}
