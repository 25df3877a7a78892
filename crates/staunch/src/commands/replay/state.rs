//! The whole state at one time: what was open, what was in force, and how much of the budgets was spent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde_json::{Value, json};
use staunch_engine::budget::Scope;
use staunch_engine::{Engine, EngineState, limits};
use staunch_model::{Incident, IncidentId, Input, Printable, StateKind, Timestamp, Transaction};
use staunch_ports::Lsn;
use staunch_store::ReadOnlyJournal;

use super::frames::state_words;
use super::{each, no_incident, opened};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, wrap};

pub(super) fn run(
    journal: &ReadOnlyJournal,
    output: &Output,
    at: Timestamp,
    incident: Option<IncidentId>,
) -> Result<Exit, Fault> {
    let mut engine = Engine::new();
    let mut last = Lsn(0);
    let mut build = None;
    each(journal, &mut |step| {
        if step.now > at {
            return Ok(ControlFlow::Break(()));
        }
        // What does not fit this build is shown with the state.
        let _ = engine.replay(&step.frame, step.now);
        last = step.lsn;
        if let Input::Started { build: by, .. } = &step.frame.input {
            build = Some(Printable(by).to_string());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let view = View {
        state: engine.state(),
        at,
        last,
        build,
        incident,
    };
    if let Some(id) = incident.filter(|id| !view.state.incidents.contains_key(id)) {
        return Err(match opened(journal, id)? {
            (None, last) => no_incident(id, last),
            (Some(later), _) if later > at => Fault::new(Exit::NotFound, format!("there was no {id} at {at}"))
                .hint(format!("it was opened at {later}")),
            (Some(_), _) => Fault::new(Exit::NotFound, format!("{id} was not kept in memory at {at}"))
                .hint("closed incidents are forgotten after a while: replay it without --at"),
        });
    }
    output.show(&view.json(), |output| view.text(output))?;
    Ok(Exit::Ok)
}

struct View<'a> {
    state: &'a EngineState,
    at: Timestamp,
    last: Lsn,
    build: Option<String>,
    incident: Option<IncidentId>,
}

/// How much of one budget was spent.
struct Spent {
    what: String,
    spent: u64,
    limit: u64,
}

impl View<'_> {
    fn incidents(&self) -> impl Iterator<Item = &Incident> {
        let all = self.state.incidents.values();
        all.filter(|it| self.incident.is_none_or(|id| it.id == id))
    }

    fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        let all = self.state.transactions.values();
        all.filter(|it| self.shows(it))
    }

    fn containments(&self) -> impl Iterator<Item = &Transaction> {
        self.state.containments().filter(|it| self.shows(it))
    }

    /// Without an incident everything; with one what it has planned, and what it holds.
    fn shows(&self, it: &Transaction) -> bool {
        self.incident
            .is_none_or(|id| it.incident == id || it.is_held_by(id) || it.joined().contains(&id))
    }

    fn by_state(&self) -> BTreeMap<StateKind, Vec<&Transaction>> {
        let mut groups: BTreeMap<StateKind, Vec<&Transaction>> = BTreeMap::new();
        for it in self.transactions() {
            groups.entry(it.state.kind()).or_default().push(it);
        }
        groups
    }

    fn playbook(&self, it: &Incident) -> String {
        let playbook = self.state.playbooks.get(&*it.playbook);
        playbook.map_or_else(|| it.playbook.to_string(), |it| Printable(&it.name).to_string())
    }

    fn budgets(&self) -> Vec<Spent> {
        let limits = self.state.limits();
        let spent = |scope| self.state.budgets.spent(scope, limits::BUDGET_WINDOW, self.at);
        let mut all = vec![Spent {
            what: "acts in all".to_owned(),
            spent: spent(Scope::Total),
            limit: limits.acts_per_hour_max.into(),
        }];
        for driver in self.state.policy.iter().flat_map(|policy| &policy.drivers) {
            all.push(Spent {
                what: format!("{} acts", driver.kind),
                spent: spent(Scope::Action(driver.kind)),
                limit: limits.acts_per_action_hour_max.into(),
            });
        }
        for playbook in self.state.policy.iter().flat_map(|policy| &policy.playbooks) {
            all.push(Spent {
                what: format!("acts of {}", Printable(&playbook.name)),
                spent: spent(Scope::Playbook(playbook.hash)),
                limit: playbook.guards.acts_per_hour_max.into(),
            });
        }
        let groups: BTreeSet<Scope> = self
            .state
            .transactions
            .values()
            .map(|it| staunch_engine::budget::group(&it.target))
            .collect();
        for scope in groups {
            let (Scope::Group(first), count) = (scope, spent(scope)) else {
                continue;
            };
            if count > 0 {
                let bits = if first.is_ipv4() { 24 } else { 48 };
                all.push(Spent {
                    what: format!("acts in {first}/{bits}"),
                    spent: count,
                    limit: limits.acts_per_group_hour_max.into(),
                });
            }
        }
        all
    }

    fn failures(&self) -> (u64, u32) {
        let limits = self.state.limits();
        let spent = self
            .state
            .budgets
            .spent(Scope::Failures, limits.breaker_window, self.at);
        (spent, limits.breaker_failures)
    }

    fn json(&self) -> Value {
        let state = self.state;
        let by_state: BTreeMap<&str, Vec<&Transaction>> = self
            .by_state()
            .into_iter()
            .map(|(kind, group)| (kind.name(), group))
            .collect();
        let incidents: Vec<Value> = self
            .incidents()
            .map(|it| json!({ "incident": it, "playbook": self.playbook(it) }))
            .collect();
        let containments: Vec<Value> = self
            .containments()
            .map(|it| {
                json!({ "id": it.id, "target": it.target.to_string(), "state": it.state.kind(),
                              "incident": it.incident, "lease_until": it.lease_until,
                              "verified_at": state.verified_at(it) })
            })
            .collect();
        let budgets: Vec<Value> = self
            .budgets()
            .into_iter()
            .map(|it| json!({ "what": it.what, "spent": it.spent, "limit": it.limit }))
            .collect();
        let (failures, failures_max) = self.failures();
        let notices: Vec<_> = state.notices.values().map(|it| &it.notice).collect();
        json!({
            "at": self.at, "last_lsn": self.last.0, "last_frame": state.now, "build": self.build,
            "installation": state.installation,
            "mode": { "in_force": state.mode_max(), "set": state.mode_set,
                      "policy": state.policy.as_ref().map(|policy| policy.mode_max) },
            "breaker": { "open_since": state.breaker_open, "failures": failures, "failures_max": failures_max },
            "budgets": budgets, "containments": containments, "incidents": incidents, "transactions": by_state,
            "notices": notices, "quarantined": state.quarantined, "unfit_records": state.unfit.count,
        })
    }

    fn text(&self, output: &Output) -> String {
        let state = self.state;
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            let label = format!("{label:<14}");
            text.push_str(&format!("{}{}\n", output.paint(Tone::Faint, &label), wrap(value, 14)));
        };
        line("at", &self.at.to_string());
        line(
            "frames",
            &match (self.last, &self.build) {
                (Lsn(0), _) => "none: the journal begins later".to_owned(),
                (last, Some(build)) => format!("1 to {last}, the last one at {}, by {build}", state.now),
                (last, None) => format!("1 to {last}, the last one at {}", state.now),
            },
        );
        line(
            "mode",
            &match (state.mode_set, &state.policy) {
                (Some(set), Some(policy)) => format!(
                    "{}: set to {set} by a person, {} in the policy",
                    state.mode_max(),
                    policy.mode_max
                ),
                (_, Some(policy)) => format!("{}: {} in the policy", state.mode_max(), policy.mode_max),
                (_, None) => "no policy was pinned yet".to_owned(),
            },
        );
        let (failures, failures_max) = self.failures();
        line(
            "breaker",
            &match state.breaker_open {
                Some(since) => format!("OPEN since {since}: everything only observes"),
                None => format!(
                    "closed: {failures} of {failures_max} failures in {}",
                    state.limits().breaker_window
                ),
            },
        );
        for (at, it) in self.budgets().iter().enumerate() {
            let label = if at == 0 { "last hour" } else { "" };
            line(label, &format!("{} of {} {}", it.spent, it.limit, it.what));
        }
        let waiting = format!("{} notices not taken yet", state.notices.len());
        line("notices", &waiting);
        for (id, why) in &state.quarantined {
            line("quarantined", &format!("{id}: {}", Printable(why)));
        }
        let title = |text: &mut String, title: &str| {
            text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, title)));
        };
        let rows: Vec<Vec<String>> = self
            .containments()
            .map(|it| {
                let until = it.lease_until.map_or_else(|| "-".to_owned(), |until| until.to_string());
                vec![
                    it.id.to_string(),
                    it.target.to_string(),
                    it.state.kind().to_string(),
                    until,
                    it.incident.to_string(),
                ]
            })
            .collect();
        title(&mut text, &format!("Containments: {}", rows.len()));
        if !rows.is_empty() {
            text.push_str(&output.table(&["id", "target", "state", "lease until", "incident"], &rows));
        }
        let rows: Vec<Vec<String>> = self
            .incidents()
            .map(|it| {
                let status = format!("{:?}", it.status).to_lowercase();
                let outcome = it.outcome.map_or_else(|| "-".to_owned(), |outcome| outcome.to_string());
                vec![
                    it.id.to_string(),
                    status,
                    outcome,
                    it.events.to_string(),
                    self.playbook(it),
                    it.key.to_string(),
                ]
            })
            .collect();
        title(&mut text, &format!("Incidents: {}", rows.len()));
        if !rows.is_empty() {
            text.push_str(&output.table(&["id", "status", "outcome", "events", "playbook", "key"], &rows));
        }
        title(&mut text, &format!("Transactions: {}", self.transactions().count()));
        for (kind, group) in self.by_state() {
            text.push_str(&format!("{kind}: {}\n", group.len()));
            for it in group {
                let line = format!("{} {}", it.id, state_words(it));
                text.push_str(&format!("  {}\n", wrap(&Printable(&line).to_string(), 4)));
            }
        }
        text
    }
}
