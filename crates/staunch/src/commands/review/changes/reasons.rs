//! What the record gives a reason to change: a number that crossed a limit, a wait that was too long, a person's word.
//!
//! Never suggests anything that no record speaks for, and tells which numbers of a change no record says.

mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use staunch_model::{
    ActionKind, Change, Command, FailureKind, IncidentOutcome, Limits, Playbook, Record, RefusalReason, ReleaseScope,
    Span, Target, Timestamp, TransactionId,
};
use staunch_playbook::edit::Step;

use crate::commands::review::record::Recorded;
use crate::config::Config;

/// The longest that a question may wait, and that a job may take, by the configuration.
const APPROVAL_EXPIRY_MAX: Span = Span::from_hours(7 * 24);
const JOB_TIMEOUT_MAX: Span = Span::from_mins(5);

/// Targets that are suggested never to be touched.
const PROTECTED_MAX: usize = 5;

/// Words of a person who releases what was none of an attacker's. Compared without case, as whole words. A mistake is
/// none of them: what was a mistake may have been the release.
const BENIGN: [&str; 5] = ["benign", "false positive", "false alarm", "our own", "harmless"];

/// Words before one of these that say the opposite.
const DENIALS: [&str; 5] = ["not", "no", "never", "isn't", "hardly"];

/// Whether `reason` says that what was released was none of an attacker's.
fn is_benign(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let words: Vec<&str> = reason
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|it| !it.is_empty())
        .collect();
    BENIGN.iter().any(|it| {
        let wanted: Vec<&str> = it.split(' ').collect();
        let mut places = words
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, there)| *there == wanted);
        places.any(|(at, _)| {
            !words[at.saturating_sub(3)..at]
                .iter()
                .any(|word| DENIALS.contains(word))
        })
    })
}

/// A reason, and the change that it is one for.
#[derive(Clone, Debug)]
pub(in crate::commands::review) struct Reason {
    /// The change in words for a file name.
    pub(in crate::commands::review) slug: &'static str,
    /// The change, in words and numbers of ours.
    pub(in crate::commands::review) title: String,
    /// What is recorded: the frame, and what it says. As it came.
    pub(in crate::commands::review) because: Vec<(u64, String)>,
    pub(in crate::commands::review) wish: Wish,
    /// Why a backtest cannot judge it.
    pub(in crate::commands::review) unjudged: Option<&'static str>,
    /// What of the change no record says.
    pub(in crate::commands::review) guessed: Option<&'static str>,
}

/// What is to be changed.
#[derive(Clone, Debug)]
pub(in crate::commands::review) enum Wish {
    /// A value of the playbook.
    Playbook(Vec<Step<'static>>, String),
    /// Values in a table of the configuration.
    Settings(Vec<String>, Vec<(&'static str, String)>),
    /// A network that is never touched, and why.
    NeverTouch(IpNet, String),
}

/// What of the record is asked for over and over.
struct Facts<'r> {
    recorded: &'r Recorded,
    /// What became true of each transaction: the frame, when, and what.
    changes: Vec<(u64, Timestamp, TransactionId, Change)>,
    /// What transactions are aimed at.
    targets: BTreeMap<TransactionId, Target>,
}

/// All of them. `playbook` is the one that answered the incident, and `config` what is configured at present.
pub(in crate::commands::review) fn all(
    recorded: &Recorded,
    playbook: Option<&Arc<Playbook>>,
    config: &Config,
    questions: &mut Vec<String>,
) -> Vec<Reason> {
    let mut facts = Facts {
        recorded,
        changes: Vec::new(),
        targets: BTreeMap::new(),
    };
    for entry in &recorded.detail.timeline {
        // Of a transaction, the index has what changed; of all else, the record.
        let Some(transaction) = entry.transaction else { continue };
        if let Ok(change) = serde_json::from_value(entry.detail.clone()) {
            facts.changes.push((entry.lsn, entry.at, transaction, change));
        } else if let Ok(Record::TransactionPlanned { target, .. }) = serde_json::from_value(entry.detail.clone()) {
            facts.targets.insert(transaction, target);
        }
    }
    let mut all = Vec::new();
    all.extend(facts.approval_expiry());
    all.extend(playbook.and_then(|it| facts.untold(it)));
    all.extend(playbook.into_iter().flat_map(|it| facts.guards(it)));
    all.extend(facts.budgets());
    all.extend(playbook.into_iter().flat_map(|it| facts.evidence(it)));
    all.extend(facts.jobs(config));
    all.extend(facts.trusted(questions));
    all.extend(playbook.into_iter().flat_map(|it| facts.leases(it)));
    all
}

impl Facts<'_> {
    fn limits(&self) -> Option<Limits> {
        self.recorded.policy.as_ref().map(|it| it.limits)
    }

    /// How often each question to a person was asked: its frame, when, and when it lapses.
    fn asked(&self) -> BTreeMap<TransactionId, (u64, Timestamp, Timestamp)> {
        let asked = self.changes.iter().filter_map(|(frame, at, id, change)| match change {
            Change::ApprovalRequested { expires, .. } => Some((*id, (*frame, *at, *expires))),
            _ => None,
        });
        asked.collect()
    }

    /// A question that lapsed, or was answered when three quarters of its time had passed.
    fn approval_expiry(&self) -> Option<Reason> {
        let limit = self.limits()?.approval_expiry;
        let asked = self.asked();
        let mut because = Vec::new();
        let mut late: Option<Span> = None;
        for (frame, at, id, change) in &self.changes {
            let Some((asked_in, asked_at, expires)) = asked.get(id) else {
                continue;
            };
            let allowed = expires.since(*asked_at);
            let waited = at.since(*asked_at);
            match change {
                Change::Refused { reason, .. } if **reason == RefusalReason::ApprovalExpired => {
                    because.push((*asked_in, format!("{id} was asked at {asked_at}, until {expires}")));
                    because.push((*frame, format!("{id} was refused: nobody approved in time")));
                }
                Change::Approved { .. } if waited.as_micros() >= allowed.as_micros() / 4 * 3 => {
                    because.push((*frame, format!("{id} was approved after {waited} of {allowed}")));
                }
                _ => {}
            }
        }
        for it in self.recorded.detail.commands.iter().filter(|it| it.refused.is_some()) {
            let (Ok(Command::Approve(id)), true) = (serde_json::from_value(it.command.clone()), !because.is_empty())
            else {
                continue;
            };
            if let Some((_, asked_at, expires)) = asked.get(&id)
                && it.at >= *expires
            {
                let waited = it.at.since(*asked_at);
                because.push((
                    it.lsn,
                    format!("{} approved {id} after {waited}, which was too late", it.by),
                ));
                late = late.max(Some(waited));
            }
        }
        let wanted = late.map_or_else(|| doubled(limit), rounded).min(APPROVAL_EXPIRY_MAX);
        (!because.is_empty() && wanted > limit).then(|| Reason {
            slug: "longer-approval-expiry",
            title: format!("Let questions to people wait for {wanted} instead of {limit}"),
            because,
            wish: Wish::Settings(vec!["limits".into()], vec![("approval_expiry", text(wanted))]),
            unjudged: Some(
                "A backtest answers questions at once, as they were answered then, or never: it cannot tell who would have \
                 answered with more time.",
            ),
            guessed: late
                .is_none()
                .then_some("How much longer is a guess: it is twice the present time."),
        })
    }

    /// A question of which nobody was told.
    fn untold(&self, playbook: &Playbook) -> Option<Reason> {
        let told = playbook
            .notify
            .iter()
            .any(|it| it.when.contains(&IncidentOutcome::AwaitingApproval));
        let asked = self.asked();
        // A list that is not empty was chosen; which of its conditions is to be wider, no record tells.
        if told || !playbook.notify.is_empty() || asked.is_empty() {
            return None;
        }
        let because = asked.iter().map(|(id, (frame, at, _))| {
            (
                *frame,
                format!("{id} asked a person at {at}, and the playbook tells nobody"),
            )
        });
        Some(Reason {
            slug: "page-people",
            title: "Page people when the outcome is not plainly good, as of a question that waits".to_owned(),
            because: because.collect(),
            wish: Wish::Playbook(vec![Step::Key("notify")], "[page]".into()),
            unjudged: Some("A backtest tells nobody, so it cannot tell who would have looked sooner."),
            guessed: None,
        })
    }

    /// Evidence that was not there in time.
    fn evidence(&self, playbook: &Playbook) -> Vec<Reason> {
        let mut all: Vec<Reason> = Vec::new();
        let timeline = &self.recorded.detail.timeline;
        let missed = timeline
            .iter()
            .filter_map(|entry| match serde_json::from_value(entry.detail.clone()) {
                Ok(Record::EvidenceMissed { evidence, failure }) if failure.kind == FailureKind::TimedOut => {
                    Some((entry.lsn, evidence, failure))
                }
                _ => None,
            });
        for (frame, id, failure) in missed {
            let planned = timeline
                .iter()
                .find_map(|entry| match serde_json::from_value(entry.detail.clone()) {
                    Ok(Record::EvidencePlanned {
                        evidence,
                        kind,
                        options,
                        ..
                    }) if evidence == id => Some((entry.lsn, kind, options)),
                    _ => None,
                });
            let row = self.recorded.detail.evidence.iter().find(|it| it.id == id);
            let (Some((planned_in, kind, options)), Some(row)) = (planned, row) else {
                continue;
            };
            // Which step it was is known when no other one is alike.
            let steps = (0..).zip(&playbook.preserve);
            let alike: Vec<_> = steps
                .filter(|(_, it)| it.evidence == kind && it.options == options)
                .collect();
            let [(at, step)] = alike[..] else { continue };
            let of_kind = playbook.preserve[..at].iter().filter(|it| it.evidence == kind).count();
            let limit = step.deadline;
            let mut because = vec![
                (
                    planned_in,
                    format!("{id} ({kind}) was asked for, until {}", row.deadline),
                ),
                (frame, format!("{id} was missed: {failure}")),
            ];
            let sealed = row.sealed_at.map(|at| (at, at.since(row.asked)));
            let wanted = match sealed {
                Some((_, took)) => {
                    let lsn = timeline
                        .iter()
                        .find_map(|entry| match serde_json::from_value(entry.detail.clone()) {
                            Ok(Record::EvidenceSealed { evidence, .. }) if evidence == id => Some(entry.lsn),
                            _ => None,
                        });
                    because.push((
                        lsn.unwrap_or(frame),
                        format!("{id} was sealed after all, {took} after it was asked for"),
                    ));
                    rounded(took)
                }
                None => doubled(limit),
            };
            let wanted = wanted.min(staunch_playbook::limits::PRESERVE_MOST);
            if wanted <= limit {
                continue;
            }
            all.push(Reason {
                slug: "evidence-deadline",
                title: format!("Wait {wanted} for the evidence {kind} instead of {limit}"),
                because,
                wish: Wish::Playbook(
                    // By the kind: the plan has another order than the file.
                    vec![
                        Step::Key("preserve"),
                        Step::Named(kind.name(), of_kind),
                        Step::Only,
                        Step::Key("deadline"),
                    ],
                    wanted.exact(),
                ),
                unjudged: Some("A backtest takes no evidence, so it cannot tell how long that would have taken."),
                guessed: sealed
                    .is_none()
                    .then_some("How long it would have taken is not recorded: it is twice the present time."),
            });
        }
        all
    }

    /// Jobs that were killed because they took too long.
    fn jobs(&self, config: &Config) -> Vec<Reason> {
        let mut by_job: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        let kinds: BTreeMap<TransactionId, ActionKind> = self
            .recorded
            .detail
            .transactions
            .iter()
            .map(|it| (it.id, it.kind))
            .collect();
        for (frame, _, id, change) in &self.changes {
            let (Change::Unproved { failure, .. } | Change::Postponed { failure, .. }) = change else {
                continue;
            };
            if failure.kind != FailureKind::TimedOut || kinds.get(id) != Some(&ActionKind::ExecJob) {
                continue;
            }
            if let Some(Target::Job(job)) = self.targets.get(id) {
                let name = job.to_string().split(':').next().unwrap_or_default().to_owned();
                by_job
                    .entry(name)
                    .or_default()
                    .push((*frame, format!("{id}: {failure}")));
            }
        }
        let mut all = Vec::new();
        for (name, because) in by_job {
            let Some(job) = config.jobs.get(&name) else { continue };
            let wanted = doubled(job.timeout).min(JOB_TIMEOUT_MAX);
            if wanted > job.timeout {
                all.push(Reason {
                    slug: "job-timeout",
                    title: format!("Let the job {name} run for {wanted} instead of {}", job.timeout),
                    because,
                    wish: Wish::Settings(vec!["jobs".into(), name], vec![("timeout", text(wanted))]),
                    unjudged: Some("A backtest runs no jobs, so it cannot tell how long one would have taken."),
                    guessed: Some("How long it would have taken is not recorded: it is twice the present time."),
                });
            }
        }
        all
    }

    /// Addresses that a person released and trusted, or said to be benign.
    fn trusted(&self, questions: &mut Vec<String>) -> Vec<Reason> {
        let detail = &self.recorded.detail;
        let mut all: Vec<Reason> = Vec::new();
        let mut left_out: BTreeSet<IpAddr> = BTreeSet::new();
        for it in detail.commands.iter().filter(|it| it.refused.is_none()) {
            // In words for the report, and in those of ours for the configuration.
            let (said, written) = match serde_json::from_value::<Command>(it.command.clone()) {
                Ok(Command::ReleaseTrusting { trust, .. }) => {
                    let said = format!("released and trusted for {trust}");
                    (said.clone(), format!("{said} (record {})", it.lsn))
                }
                Ok(Command::Release(scope)) if scope != ReleaseScope::Former => {
                    if !is_benign(&it.reason) {
                        continue;
                    }
                    (
                        format!("released, with the reason \"{}\"", it.reason),
                        format!("released, for the reason in record {}", it.lsn),
                    )
                }
                _ => continue,
            };
            for row in detail.transactions.iter().filter(|row| it.affected.contains(&row.id)) {
                let Ok(ip) = row.target.parse::<IpAddr>() else { continue };
                let network = IpNet::from(ip);
                let is_known = all
                    .iter()
                    .any(|it| matches!(it.wish, Wish::NeverTouch(known, _) if known == network));
                if is_known || row.in_force_at.is_none() {
                    continue;
                }
                if all.len() >= PROTECTED_MAX {
                    left_out.insert(ip);
                    continue;
                }
                all.push(Reason {
                    slug: "never-touch",
                    title: format!("Never touch {ip}"),
                    because: vec![(it.lsn, format!("{} ({ip}) was {said} by {}", row.id, it.by))],
                    wish: Wish::NeverTouch(network, format!("{}: {} was {written}", detail.incident.id, row.id)),
                    unjudged: None,
                    guessed: None,
                });
            }
        }
        if !left_out.is_empty() {
            let which: Vec<String> = left_out.iter().map(ToString::to_string).collect();
            questions.push(format!(
                "Are these never to be touched either? They were released likewise, and {PROTECTED_MAX} became changes: {}.",
                which.join(", ")
            ));
        }
        all
    }

    /// Targets that came back after leases that are all the same.
    fn leases(&self, playbook: &Playbook) -> Vec<Reason> {
        let Some(limits) = self.limits() else { return Vec::new() };
        let mut all: Vec<Reason> = Vec::new();
        let mut steps: Vec<u16> = self.recorded.returns.iter().map(|it| it.step).collect();
        steps.sort_unstable();
        steps.dedup();
        for step in steps {
            let Some(definition) = playbook.steps.get(usize::from(step)) else {
                continue;
            };
            let first = definition.lease;
            // One that grows already has longer ones for who comes back.
            if playbook.returns_within(step).is_some() || definition.phase != staunch_model::Phase::Contain {
                continue;
            }
            let longer = |times: u64| Span::from_micros(first.as_micros().saturating_mul(times)).min(limits.lease_max);
            let mut then = vec![longer(6), longer(24)];
            then.dedup();
            then.retain(|it| *it > first);
            if then.is_empty() {
                continue;
            }
            let mut because = Vec::new();
            for it in self.recorded.returns.iter().filter(|it| it.step == step) {
                let (ended, again) = (it.ended, it.again);
                because.push((
                    ended.2,
                    format!("the lease of {} ({}) ended at {}", ended.0, it.target, ended.1),
                ));
                let after = again.1.since(ended.1);
                because.push((again.2, format!("{} was planned for it again {after} later", again.0)));
            }
            let written: Vec<String> = then.iter().map(|it| it.exact()).collect();
            let written = written.join(", ");
            all.push(Reason {
                slug: "growing-lease",
                title: format!("Hold who comes back for longer: {first}, then {written}"),
                because,
                wish: Wish::Playbook(
                    vec![
                        Step::Key("contain"),
                        Step::Item(step.into()),
                        Step::Only,
                        Step::Key("lease"),
                    ],
                    format!("{{ first: {}, then: [{written}] }}", first.exact()),
                ),
                unjudged: None,
                guessed: Some("How much longer is a guess: six and twenty-four times the first lease, up to the longest. A backtest counts what is \
                     contained, and not for how long."),
            });
        }
        all
    }
}

/// A duration of the configuration.
fn text(span: Span) -> String {
    format!("\"{}\"", span.exact())
}

fn doubled(span: Span) -> Span {
    Span::from_micros(span.as_micros().saturating_mul(2))
}

/// The next whole second, from a minute on the next whole minute.
fn rounded(span: Span) -> Span {
    let (second, minute) = (1_000_000, 60_000_000);
    let unit = if span.as_micros() < minute { second } else { minute };
    Span::from_micros(span.as_micros().div_ceil(unit).saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_reason_that_says_so_is_one_to_protect_somebody() {
        for reason in [
            "False positive: it is our scanner",
            "this was benign",
            "it's our own host",
            "a harmless crawler",
        ] {
            assert!(is_benign(reason), "{reason}");
        }
        for reason in [
            "released by mistake, block it again",
            "not benign, but the lease is too long",
            "this is no false positive",
            "nonbenign",
            "false",
            "",
        ] {
            assert!(!is_benign(reason), "{reason}");
        }
    }

    #[test]
    fn addresses_beyond_the_bound_that_were_released_as_benign_are_asked_about() {
        let noon = "2026-11-25T12:00:00Z";
        let transaction = |id: usize| {
            json!({"id": format!("TX-{id}"), "incident": "INC-7", "step": 0, "kind": "block-ip",
                "target": format!("203.0.113.{id}"), "state": "released", "reason": null, "mode": "enforce", "lease": "10m",
                "lease_until": null, "created": noon, "updated": noon, "in_force_at": noon, "released_at": noon,
                "approved_by": null, "approval_expires": null, "judgement": null})
        };
        let detail = |count: usize| {
            let ids: Vec<String> = (1..=count).map(|id| format!("TX-{id}")).collect();
            let detail = json!({
                "incident": {"id": "INC-7", "playbook": "p", "playbook_hash": "00".repeat(32), "key": "k", "status": "closed",
                    "opened": noon, "closed": noon, "outcome": "contained", "events": 1, "system": "suricata",
                    "signature": "x", "severity": "high", "source": null, "destination": null},
                "transactions": (1..=count).map(transaction).collect::<Vec<_>>(),
                "commands": [{"lsn": 9, "at": noon, "by": "ann", "from": "127.0.0.1", "reason": "benign",
                    "command": {"release": {"incident": "INC-7"}}, "affected": ids, "refused": null}],
                "evidence": [], "events": [], "timeline": [], "timeline_count": 0,
            });
            Recorded::of(serde_json::from_value(detail).expect("it is a detail"))
        };
        let config = crate::config::parse("").expect("nothing is configured");
        for (count, left_out) in [
            (PROTECTED_MAX, None),
            (
                PROTECTED_MAX + 2,
                Some(
                    "Are these never to be touched either? They were released likewise, and 5 became changes: 203.0.113.6, \
                     203.0.113.7.",
                ),
            ),
        ] {
            let mut questions = Vec::new();
            let reasons = all(&detail(count), None, &config, &mut questions);
            assert_eq!(reasons.len(), PROTECTED_MAX, "{reasons:?}");
            assert_eq!(questions.first().map(String::as_str), left_out);
            assert_eq!(questions.len(), usize::from(left_out.is_some()), "{questions:?}");
        }
    }
}
