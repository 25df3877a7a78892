//! The plan: what Staunch would do about an event, and why, without doing it.

use serde::Serialize;
use staunch_engine::context::{self, Around};
use staunch_engine::guard::{self, Question, Ruling};
use staunch_engine::repeat;
use staunch_model::{
    ActionKind, Context, Description, EventContext, EventView, EvidenceKind, Facts, Found, IncidentId, Judgement,
    Match, Phase, Playbook, Span, Standing, Target, Timestamp, TransactionId,
};
use staunch_ports::Reputations;

use crate::handle::{Busy, Handle};

/// What would be done about one event.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// One entry for each playbook that matched; empty when none did.
    pub responses: Vec<Response>,
}

/// What one playbook would do.
#[derive(Clone, Debug, Serialize)]
pub struct Response {
    /// The playbook.
    pub playbook: Box<str>,
    /// What it is for.
    pub summary: Box<str>,
    /// The incident key.
    pub key: Box<str>,
    /// The incident that the event would join; `None` when it would open one.
    pub joins: Option<IncidentId>,
    /// The evidence that would be preserved, in the order in which it is taken.
    pub evidence: Vec<PlannedEvidence>,
    /// Its steps, in order.
    pub steps: Vec<PlannedStep>,
    /// What its recovery would do, in order, once a person starts it.
    pub recover: Vec<String>,
}

/// A piece of evidence that would be preserved.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedEvidence {
    /// What it is.
    pub kind: EvidenceKind,
    /// Of what; `None` when it is of this machine as a whole, or when the event names nothing to take it of.
    pub target: Option<Target>,
    /// How long acts that could destroy it would wait for it.
    pub deadline: Span,
}

/// What one step would do.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// The action.
    pub action: ActionKind,
    /// What it is aimed at; `None` when the event names nothing.
    pub target: Option<Target>,
    /// How long it would stay in force.
    pub lease: Span,
    /// How many leases in a row the target has served, because of which this one is longer.
    pub served: u32,
    /// What would happen: `act`, `ask`, `observe`, `refuse` or `join`.
    pub ruling: &'static str,
    /// The refusal, or the transaction joined.
    pub why: Option<Box<str>>,
    /// Everything that was concluded.
    pub judgement: Option<Judgement>,
    /// Why the driver could not look, if it could not.
    pub look_failed: Option<Box<str>>,
    /// How it would be done and undone.
    pub driver: Option<Description>,
    /// The evidence that it could destroy, and so waits for.
    pub waits_for: Vec<EvidenceKind>,
    /// The evidence that it could destroy and that nothing preserves.
    pub loses: Vec<EvidenceKind>,
    /// Which health signal would be watched while it is in force, and for how long.
    pub watch: Option<Box<str>>,
}

/// What is known of what the plan is about.
pub struct Knows<'k> {
    /// What feeds say.
    pub reputations: Option<&'k dyn Reputations>,
    /// What is known around the event.
    pub context: Option<&'k EventContext>,
    /// What those targets are that are no addresses.
    pub found: &'k [Found],
}

/// Makes the plan for `view`, which matched `matches`. Looks at the world and changes nothing. Blocks.
///
/// # Errors
/// [`Busy::Stopping`].
pub fn plan(handle: &Handle, knows: &Knows<'_>, view: &EventView<'_>, matches: Vec<Match>) -> Result<Plan, Busy> {
    let mut responses = Vec::new();
    for matched in matches {
        responses.push(respond(handle, knows, view.time, matched)?);
    }
    let mut responses: Vec<Response> = responses.into_iter().flatten().collect();
    wait_for_others(&mut responses);
    Ok(Plan { responses })
}

/// An act waits for what another playbook preserves of the same event, too, where that acts on the same target or keeps
/// something of it.
fn wait_for_others(responses: &mut [Response]) {
    let opens = |it: &&Response| it.joins.is_none();
    let all = responses.to_vec();
    for (at, response) in responses.iter_mut().enumerate() {
        for step in &mut response.steps {
            let concerns = |other: &Response| {
                let acts = |it: &PlannedStep| (it.action, &it.target) == (step.action, &step.target);
                let target = step.target.as_ref();
                target.is_some()
                    && (other.steps.iter().any(acts) || other.evidence.iter().any(|it| it.target.as_ref() == target))
            };
            let others = all.iter().enumerate().filter(|(it, _)| *it != at).map(|(_, it)| it);
            let kept: Vec<EvidenceKind> = others
                .filter(opens)
                .filter(|it| concerns(it))
                .flat_map(|it| it.evidence.iter().map(|it| it.kind))
                .collect();
            let (waits, loses) = std::mem::take(&mut step.loses)
                .into_iter()
                .partition::<Vec<_>, _>(|kind| kept.contains(kind));
            step.waits_for.extend(waits);
            step.waits_for
                .sort_by_key(|kind| EvidenceKind::ALL.iter().position(|it| it == kind));
            step.loses = loses;
        }
    }
}

fn respond(
    handle: &Handle,
    knows: &Knows<'_>,
    event_time: Option<Timestamp>,
    matched: Match,
) -> Result<Option<Response>, Busy> {
    let asked = matched.clone();
    let Some((playbook, joins)) = handle.query(move |state| {
        let playbook = state.playbooks.get(&asked.playbook).cloned()?;
        let joins = state.absorbing(&playbook, &asked, state.now);
        Some((playbook, joins))
    })?
    else {
        return Ok(None);
    };
    let evidence = evidence(&playbook, &matched);
    let kept = |action, kept| {
        let preserved = |kind: EvidenceKind| evidence.iter().any(|it| it.kind == kind);
        let mut kinds = EvidenceKind::ALL.to_vec();
        kinds.retain(|kind| kind.is_destroyed_by(action) && preserved(*kind) == kept);
        kinds
    };
    let mut steps = Vec::new();
    let mut recovers = Vec::new();
    for step in &matched.steps {
        let Some(definition) = playbook.steps.get(usize::from(step.step)) else {
            continue;
        };
        if definition.phase == Phase::Recover {
            recovers.push((step.step, step.target.clone()));
            continue;
        }
        let planned = PlannedStep {
            action: definition.action,
            target: step.target.clone(),
            lease: definition.lease,
            served: 0,
            ruling: "refuse",
            why: Some("the event names nothing to act on".into()),
            judgement: None,
            look_failed: None,
            driver: None,
            waits_for: kept(definition.action, true),
            loses: kept(definition.action, false),
            watch: playbook.watch_of(step.step).map(|it| it.words().into()),
        };
        let mut judged = match &step.target {
            Some(target) => {
                let asked = knows.reputations.filter(|_| target.address().is_some());
                let mut found = knows.found.iter();
                let heard = Heard {
                    standing: asked.map(|it| it.standing(target, handle.machine_now())),
                    found: found.find(|it| it.target == *target).cloned(),
                    around: knows
                        .context
                        .map(|it| Around::of(context::targets(&matched, it), it.account.clone())),
                };
                judge(handle, &playbook, event_time, target, heard, step.step, &planned)?
            }
            None => planned,
        };
        if let Some(incident) = joins {
            judged.ruling = "join";
            judged.why = Some(format!("{incident} takes up the event, and nothing new is done").into());
        }
        steps.push(judged);
    }
    let (name, summary) = (playbook.name.clone(), playbook.summary.clone());
    Ok(Some(Response {
        playbook: name,
        summary,
        key: matched.key,
        joins,
        evidence,
        recover: playbook.recover().map(|it| it.words(&playbook, &recovers)).collect(),
        steps,
    }))
}

fn evidence(playbook: &Playbook, matched: &Match) -> Vec<PlannedEvidence> {
    let planned = matched.preserve.iter().filter_map(|it| {
        let step = playbook.preserve.get(usize::from(it.step))?;
        Some(PlannedEvidence {
            kind: step.evidence,
            target: it.target.clone(),
            deadline: step.deadline,
        })
    });
    planned.collect()
}

/// What is heard of a target when its event comes.
struct Heard {
    standing: Option<Standing>,
    found: Option<Found>,
    around: Option<Around>,
}

fn judge(
    handle: &Handle,
    playbook: &std::sync::Arc<Playbook>,
    event_time: Option<Timestamp>,
    target: &Target,
    heard: Heard,
    step: u16,
    planned: &PlannedStep,
) -> Result<PlannedStep, Busy> {
    let kind = planned.action;
    let asks = playbook.context.contains(&Context::TrafficShare);
    let (seen, facts): (_, Facts) = handle.look(kind, target.clone(), asks);
    let mut question = Question {
        playbook: playbook.clone(),
        transaction: None,
        kind,
        target: target.clone(),
        event_time: None,
        arrived: None,
        debited: false,
        standing: heard.standing,
        found: heard.found,
        around: heard.around,
    };
    let (now, received) = (handle.now(), handle.machine_now());
    let unjudged = planned.clone();
    let leases = playbook.clone();
    handle.query(move |state| {
        let now = state.now.max(now);
        question.event_time = event_time.map(|time| guard::on_our_clock(time, received, now));
        let driver = state.driver(kind).cloned();
        let (lease, served) =
            repeat::lease(state, &leases, step, &question.target, now).unwrap_or((unjudged.lease, None));
        let holder = state.holder_of(kind, &question.target).filter(|id: &TransactionId| {
            let held = state.transactions.get(id).map(|it| it.state.kind());
            held.is_some_and(staunch_engine::transaction::can_be_held)
        });
        let observation = seen.as_ref().ok();
        let judgement = guard::judge(state, &question, observation, &facts, now);
        let look_failed = seen.as_ref().err().map(|failure| failure.to_string().into());
        let (ruling, why) = match (holder, guard::rule(&judgement, false)) {
            (Some(holder), _) => ("join", Some(format!("{holder} acts on this target already").into())),
            _ if look_failed.is_some() => ("refuse", look_failed.clone()),
            (None, Ruling::Refuse(result)) => ("refuse", Some(result.why)),
            (None, Ruling::Observe) => ("observe", None),
            (None, Ruling::Ask) => ("ask", None),
            (None, Ruling::Act) => ("act", None),
        };
        PlannedStep {
            lease,
            served: served.map_or(0, |it| it.times),
            ruling,
            why,
            judgement: Some(judgement),
            look_failed,
            driver,
            ..unjudged
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(keeps: &[(EvidenceKind, Option<&str>)], blocks: &str) -> Response {
        let target = |ip: &str| Target::Address(ip.parse().expect("an address"));
        let evidence: Vec<PlannedEvidence> = keeps
            .iter()
            .map(|(kind, of)| PlannedEvidence {
                kind: *kind,
                target: of.map(target),
                deadline: Span::from_secs(2),
            })
            .collect();
        let kept = |kind: &EvidenceKind| evidence.iter().any(|it| it.kind == *kind);
        let destroyed = EvidenceKind::ALL
            .into_iter()
            .filter(|it| it.is_destroyed_by(ActionKind::BlockIp));
        let (waits_for, loses) = destroyed.partition(kept);
        Response {
            playbook: "a".into(),
            summary: "A.".into(),
            key: "a".into(),
            joins: None,
            steps: vec![PlannedStep {
                action: ActionKind::BlockIp,
                target: Some(target(blocks)),
                lease: Span::from_hours(1),
                served: 0,
                ruling: "act",
                why: None,
                judgement: None,
                look_failed: None,
                driver: None,
                waits_for,
                loses,
                watch: None,
            }],
            evidence,
            recover: Vec::new(),
        }
    }

    #[test]
    fn an_act_waits_for_what_another_playbook_keeps_of_its_target() {
        use EvidenceKind::{Capture, Flows, Sockets};
        const IP: &str = "203.0.113.7";
        let after = |mut all: Vec<Response>| {
            wait_for_others(&mut all);
            (all[0].steps[0].waits_for.clone(), all[0].steps[0].loses.clone())
        };
        let nothing = (Vec::new(), vec![Flows, Sockets, Capture]);
        assert_eq!(after(vec![response(&[], IP)]), nothing);
        let keeps = [(Sockets, None), (Flows, Some(IP))];
        let both = (vec![Flows, Sockets], vec![Capture]);
        assert_eq!(
            after(vec![response(&[], IP), response(&keeps, IP)]),
            both,
            "both block it"
        );
        assert_eq!(
            after(vec![response(&[], IP), response(&keeps, "203.0.113.9")]),
            both,
            "the other keeps something of it"
        );
        let elsewhere = response(&[(Sockets, None)], "203.0.113.9");
        assert_eq!(
            after(vec![response(&[], IP), elsewhere]),
            nothing,
            "the other has nothing to do with it"
        );
        let mut joins = response(&keeps, IP);
        joins.joins = Some(IncidentId(1));
        assert_eq!(after(vec![response(&[], IP), joins]), nothing, "nothing is taken anew");
    }
}
