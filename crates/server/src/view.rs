//! The engine's state as the API shows it.
//!
//! Never judges what to do about it.

mod protections;
mod recovery;

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use staunch_engine::{EngineState, exempt};
use staunch_model::text::clip;
use staunch_model::{
    ActionKind, Cause, Command, Failure, IncidentId, IncidentStatus, Mode, Printable, Span, State, StateKind, Target,
    Timestamp, Transaction, TransactionId,
};

use crate::dto::{
    ActionCount, Approval, CommandRow, Containment, ContextView, CopyView, DriftView, EvidenceView, FeedView, ListView,
    LookupView, ModeBecause, ModeView, Protected, ReasonCount, SweepFailure,
};
use staunch_runtime::lookups::LookupReading;
use staunch_runtime::telemetry::{ContextReading, CopyReading, FeedReading, ListReading, Telemetry};

pub(crate) use protections::{exempted, exempted_around, listed, listed_page, page_of, protections};
pub(crate) use recovery::recovery;

/// Sweeps that may be missed before a containment counts as stale.
const SWEEPS_MISSED_MAX: u64 = 3;

/// What the status says about the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) incidents_open: u64,
    pub(crate) in_force: u64,
    pub(crate) in_force_by: Vec<ActionCount>,
    /// `None` when that cannot be told from the sweeps, so that each containment must be looked at.
    pub(crate) unverified: Option<u64>,
    pub(crate) under_way: u64,
    pub(crate) awaiting_approval: u64,
    pub(crate) stuck: u64,
}

/// Adds up the engine's own counts: however much is contained, it is asked in no time.
pub(crate) fn totals(state: &EngineState, now: Timestamp) -> Totals {
    let mut totals = Totals {
        incidents_open: state.index.incidents_open,
        unverified: Some(0),
        ..Totals::default()
    };
    for (kind, standing, count) in state.index.standing.iter() {
        match standing {
            StateKind::InForce => {
                totals.in_force += count;
                totals.in_force_by.push(ActionCount {
                    action: kind,
                    driver: driver_of(state, kind),
                    count,
                });
                if state.sweep_failed.contains_key(&kind) {
                    totals.unverified = totals.unverified.map(|it| it + count);
                } else if state.swept_at.get(&kind).is_none_or(|at| is_overdue(state, *at, now)) {
                    totals.unverified = None;
                }
            }
            StateKind::PreChecking
            | StateKind::Executing
            | StateKind::PostChecking
            | StateKind::Releasing
            | StateKind::RollingBack
            | StateKind::Settling => totals.under_way += count,
            StateKind::AwaitingApproval => totals.awaiting_approval += count,
            StateKind::Stuck => totals.stuck += count,
            StateKind::Planned
            | StateKind::Refused
            | StateKind::Released
            | StateKind::RolledBack
            | StateKind::WouldExecute => {}
        }
    }
    totals
}

fn driver_of(state: &EngineState, kind: ActionKind) -> String {
    let mut drivers = state.policy.iter().flat_map(|policy| &policy.drivers);
    let driver = drivers.find(|it| it.kind == kind);
    driver.map_or_else(String::new, |it| it.driver.to_string())
}

/// How many of the first `count` transactions after `after` are in force without being verified, and where to go on;
/// `None` at the end.
pub(crate) fn unverified(
    state: &EngineState,
    after: TransactionId,
    count: usize,
    now: Timestamp,
) -> (u64, Option<TransactionId>) {
    let (found, next) = page(state, after, count, |it| {
        (it.state.kind() == StateKind::InForce && doubt(state, it, now).is_some()).then_some(())
    });
    (found.len() as u64, next)
}

/// How far Staunch goes by itself, and who says so.
pub(crate) fn mode(state: &EngineState) -> ModeView {
    let policy = state.policy.as_ref().map_or(Mode::Observe, |policy| policy.mode_max);
    let mode = state.mode_max();
    let (because, explanation) = match (state.breaker_open, state.mode_set) {
        (Some(since), _) => {
            let then = state.mode_set.unwrap_or(policy);
            let text = format!(
                "the circuit breaker opened at {since} after repeated failures: everything only observes until a person \
                 sets the mode (it was {then})"
            );
            (ModeBecause::Breaker, text)
        }
        (None, Some(set)) => (
            ModeBecause::Operator,
            format!("a person set the mode to {set}; the configuration says {policy}"),
        ),
        (None, None) => (ModeBecause::Policy, format!("the configuration says {policy}")),
    };
    ModeView {
        mode,
        because,
        breaker_open: state.breaker_open,
        set: state.mode_set,
        policy,
        set_by: None,
        explanation,
    }
}

/// Bytes of a reason in the sentence about the mode, which has to stay short; the whole is beside it.
const REASON_IN_SENTENCE_MAX: usize = 60;

/// Puts into `mode` who set it, by the last `command` that set one. A command that set another mode is left out: the
/// index is behind.
pub(crate) fn name_who_set(mode: &mut ModeView, command: Option<CommandRow>) {
    let Some(it) = command else { return };
    let Ok(Command::SetMode(set)) = serde_json::from_value(it.command.clone()) else {
        return;
    };
    if mode.set != Some(set) {
        return;
    }
    let part = clip(&it.reason, REASON_IN_SENTENCE_MAX);
    let rest = if part.len() < it.reason.len() { "..." } else { "" };
    // Within quotes of ours, so that it cannot end the sentence in its own way.
    let reason = match Printable(part).to_string().replace('"', "'") {
        nothing if nothing.is_empty() => nothing,
        said => format!(" (\"{said}{rest}\")"),
    };
    mode.explanation = format!(
        "{} set the mode to {set} at {}{reason}; the configuration says {}",
        Printable(&it.by),
        it.at,
        mode.policy
    );
    mode.set_by = Some(it);
}

/// Until when the closed incident `id` takes up further events, of which nothing follows. A playbook that is no longer
/// in force has none.
pub(crate) fn absorbs_until(state: &EngineState, id: IncidentId, now: Timestamp) -> Option<Timestamp> {
    let it = state.incidents.get(&id)?;
    let mut playbooks = state.policy.iter().flat_map(|policy| &policy.playbooks);
    let absorbs = it.status == IncidentStatus::Closed && now < it.absorbs_until;
    (absorbs && playbooks.any(|playbook| playbook.hash == *it.playbook)).then_some(it.absorbs_until)
}

/// The kinds of action that the last sweep could not verify.
pub(crate) fn sweep_failures(state: &EngineState) -> Vec<SweepFailure> {
    let failed = state.sweep_failed.iter();
    failed
        .map(|(kind, failure)| SweepFailure {
            action: *kind,
            why: failure.to_string(),
        })
        .collect()
}

/// The containments among the first `count` transactions after `after`, and where to go on; `None` at the end.
pub(crate) fn containments(
    state: &EngineState,
    after: TransactionId,
    count: usize,
    now: Timestamp,
) -> (Vec<Containment>, Option<TransactionId>) {
    page(state, after, count, |it| {
        holds_something(it.state.kind()).then(|| containment(state, it, now))
    })
}

/// The approvals among the first `count` transactions after `after`, and where to go on; `None` at the end.
pub(crate) fn approvals(
    state: &EngineState,
    after: TransactionId,
    count: usize,
) -> (Vec<Approval>, Option<TransactionId>) {
    page(state, after, count, |it| {
        let incident = state.incidents.get(&it.incident);
        (it.state.kind() == StateKind::AwaitingApproval).then(|| Approval {
            transaction: it.id,
            incident: it.incident,
            playbook: state.playbook_of(it).map(|playbook| playbook.name.to_string()),
            key: incident.map(|incident| incident.key.to_string()),
            action: it.kind,
            target: it.target.to_string(),
            lease: it.lease,
            expires: it.deadline,
            judgement: None,
        })
    })
}

fn page<T>(
    state: &EngineState,
    after: TransactionId,
    count: usize,
    show: impl Fn(&Transaction) -> Option<T>,
) -> (Vec<T>, Option<TransactionId>) {
    let mut looked_at = state
        .transactions
        .up_from(&TransactionId(after.0.saturating_add(1)))
        .take(count);
    let mut last = None;
    let mut seen = 0;
    let shown = looked_at
        .by_ref()
        .filter_map(|(id, it)| {
            last = Some(*id);
            seen += 1;
            show(it)
        })
        .collect();
    (shown, last.filter(|_| seen == count))
}

const fn holds_something(state: StateKind) -> bool {
    matches!(
        state,
        StateKind::InForce
            | StateKind::Executing
            | StateKind::PostChecking
            | StateKind::Releasing
            | StateKind::RollingBack
            | StateKind::Settling
            | StateKind::Stuck
    )
}

fn containment(state: &EngineState, it: &Transaction, now: Timestamp) -> Containment {
    let (drift, drift_reason) = drift(state, it, now).map_or((None, None), |(drift, why)| (Some(drift), why));
    Containment {
        transaction: it.id,
        incident: it.incident,
        action: it.kind,
        target: it.target.to_string(),
        state: it.state.kind(),
        mode: it.mode,
        approved_by: it.approved_by().map(str::to_owned),
        playbook: state.playbook_of(it).map(|playbook| playbook.name.to_string()),
        opened: state.incidents.get(&it.incident).map(|incident| incident.opened),
        lease_until: it.lease_until,
        renewing: it.renewing(),
        verified_at: state.verified_at(it),
        drift,
        drift_reason,
        holders: holders(it),
        reason: staunch_engine::advance::reason(it),
        protected: protected(state, it, now),
    }
}

/// What protects the target of `it` at present, when it may be contained nevertheless.
pub(crate) fn protected(state: &EngineState, it: &Transaction, now: Timestamp) -> Option<Protected> {
    if !holds_something(it.state.kind()) {
        return None;
    }
    let (network, reason) = exempt::protection(state, it.target.address()?, now)?;
    Some(Protected {
        transaction: it.id,
        network: network.to_string(),
        reason,
    })
}

/// How the files of protected networks stand.
pub(crate) fn lists(telemetry: &Telemetry) -> Vec<ListView> {
    let lists = telemetry.lists();
    let view = |(path, it): (&str, &ListReading)| ListView {
        path: path.to_owned(),
        networks: it.networks,
        read_at: it.read_at,
        refused: it.refused.as_deref().map(str::to_owned),
        refusals: it.refusals,
    };
    lists.iter().map(|(path, it)| (&**path, it)).map(view).collect()
}

/// How the files of context stand.
pub(crate) fn context(telemetry: &Telemetry) -> Vec<ContextView> {
    let context = telemetry.context();
    let view = |((kind, path), it): (&(&'static str, Box<str>), &ContextReading)| ContextView {
        kind: (*kind).to_owned(),
        path: path.to_string(),
        entries: it.entries,
        read_at: it.read_at,
        refused: it.refused.as_deref().map(str::to_owned),
        refusals: it.refusals,
    };
    context.iter().map(view).collect()
}

/// How the feeds stand.
pub(crate) fn feeds(telemetry: &Telemetry) -> Vec<FeedView> {
    let feeds = telemetry.feeds();
    let view = |(name, it): (&str, &FeedReading)| FeedView {
        name: name.to_owned(),
        networks: it.networks,
        as_of: it.as_of,
        expires: it.as_of.map(|as_of| as_of + it.lasts),
        failed: it.failed.as_deref().map(str::to_owned),
    };
    feeds.iter().map(|(name, it)| (&**name, it)).map(view).collect()
}

/// How the services stand that are asked about addresses, at `now`.
pub(crate) fn lookups(telemetry: &Telemetry, now: Timestamp) -> Vec<LookupView> {
    let Some(meter) = telemetry.lookups.get() else {
        return Vec::new();
    };
    let readings = meter.readings().clone();
    let view = |(name, it): (Box<str>, LookupReading)| {
        let (hits, misses) = meter.of_cache(&name);
        LookupView {
            name: name.into(),
            hits,
            misses,
            failed: it.failed.map(Into::into),
            paused_until: it.paused_until.filter(|until| *until > now),
        }
    };
    readings.into_iter().map(view).collect()
}

/// How often what was not done, or was undone, for which reason, most first.
pub(crate) fn reasons(counts: Vec<(&'static str, u64)>) -> Vec<ReasonCount> {
    let view = |(reason, count): (&str, u64)| ReasonCount {
        reason: reason.to_owned(),
        count,
    };
    let mut counts: Vec<_> = counts.into_iter().map(view).collect();
    counts.sort_by_key(|it| Reverse(it.count));
    counts
}

/// How evidence stands, but for what is being taken, which the engine knows.
pub(crate) fn evidence(telemetry: &Telemetry) -> EvidenceView {
    let (sealed, missed) = telemetry.meter.evidence_counts();
    let view = |name: &str, it: &CopyReading| CopyView {
        name: name.to_owned(),
        at: it.at,
        is_failing: it.is_failing,
        waiting: it.waiting,
    };
    let copies = telemetry.copies.get();
    let vault = telemetry.vault.get().map(|it| it.reading().clone()).unwrap_or_default();
    EvidenceView {
        preserving: 0,
        sealed,
        missed,
        bytes: telemetry.meter.evidence_bytes.get(),
        anchors: copies
            .map(|copies| copies.anchors().iter().map(|(name, it)| view(name, it)).collect())
            .unwrap_or_default(),
        bucket: copies.and_then(|copies| copies.bucket().as_ref().map(|it| view("", it))),
        no_vault: vault.absent.map(Into::into),
        vault_missed: vault.missed,
        vault_failure: vault.failure.map(Into::into),
    }
}

/// The transactions that hold `ip` or may do so.
pub(crate) fn holding(state: &EngineState, ip: IpAddr) -> Vec<TransactionId> {
    let at = |kind| state.holder_of(kind, &Target::Address(ip));
    ActionKind::ALL.into_iter().filter_map(at).collect()
}

fn holders(it: &Transaction) -> Vec<IncidentId> {
    // An orphan has no incident that could hold it.
    let own = (it.held && it.incident != IncidentId(0)).then_some(it.incident);
    own.into_iter().chain(it.joined().iter().copied()).collect()
}

/// What is known of whether `it` is still there; `None` in a state in which a sweep does not tell.
fn drift(state: &EngineState, it: &Transaction, now: Timestamp) -> Option<(DriftView, Option<String>)> {
    match &it.state {
        State::InForce => Some(match doubt(state, it, now) {
            None => (DriftView::Verified, None),
            Some(doubt) => (DriftView::Stale, Some(doubt.to_string())),
        }),
        State::RollingBack(cause) | State::Settling(cause) => match &**cause {
            Cause::Vanished { found } => Some((DriftView::Missing, Some(found.to_string()))),
            _ => None,
        },
        _ => None,
    }
}

/// Why something in force does not count as verified.
enum Doubt<'a> {
    SweepFailed(&'a Failure),
    NeverVerified,
    Overdue { ago: Span, interval: Span },
}

impl fmt::Display for Doubt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SweepFailed(failure) => write!(f, "the last sweep failed: {failure}"),
            Self::NeverVerified => f.write_str("it was never verified"),
            Self::Overdue { ago, interval } => write!(
                f,
                "it was last verified {} ago, and a sweep is due every {interval}",
                seconds(*ago)
            ),
        }
    }
}

/// Why `it`, which is in force, does not count as verified; `None` when it does. Writes no text: it is asked for every
/// containment while the engine waits.
fn doubt<'a>(state: &'a EngineState, it: &Transaction, now: Timestamp) -> Option<Doubt<'a>> {
    if let Some(failure) = state.sweep_failed.get(&it.kind) {
        return Some(Doubt::SweepFailed(failure));
    }
    let Some(at) = state.verified_at(it) else {
        return Some(Doubt::NeverVerified);
    };
    is_overdue(state, at, now).then(|| Doubt::Overdue {
        ago: now.since(at),
        interval: state.limits().sweep_interval,
    })
}

/// True when something that was verified `at` should have been verified again.
fn is_overdue(state: &EngineState, at: Timestamp, now: Timestamp) -> bool {
    now.since(at) > state.limits().sweep_interval.times(SWEEPS_MISSED_MAX)
}

fn seconds(span: Span) -> Span {
    Span::from_secs(span.as_secs())
}

#[cfg(test)]
mod tests {
    use staunch_model::{ActionKind, FailureKind};

    use super::*;

    #[test]
    fn totals_come_from_the_counts_and_the_sweeps() {
        let now = Timestamp::from_micros(1_000_000_000);
        let mut state = EngineState::default();
        let kind = ActionKind::BlockIp;
        for (standing, count) in [
            (StateKind::InForce, 100_000),
            (StateKind::Executing, 2),
            (StateKind::Settling, 3),
            (StateKind::Planned, 9),
            (StateKind::AwaitingApproval, 4),
            (StateKind::Stuck, 1),
        ] {
            state.index.standing.set(kind, standing, count);
        }
        state.index.incidents_open = 7;
        let expect = |unverified| Totals {
            incidents_open: 7,
            in_force: 100_000,
            in_force_by: vec![ActionCount {
                action: kind,
                driver: String::new(),
                count: 100_000,
            }],
            unverified,
            under_way: 5,
            awaiting_approval: 4,
            stuck: 1,
        };
        assert_eq!(
            totals(&state, now),
            expect(None),
            "never swept: post-checks may have verified them"
        );
        state.swept_at.insert(kind, now);
        assert_eq!(totals(&state, now), expect(Some(0)));
        let late = now + state.limits().sweep_interval.times(SWEEPS_MISSED_MAX);
        assert_eq!(totals(&state, late), expect(Some(0)));
        assert_eq!(totals(&state, late + Span::from_micros(1)), expect(None));
        let failure = Failure::new(FailureKind::Unavailable, "busy");
        state.sweep_failed.insert(kind, failure);
        assert_eq!(totals(&state, late + Span::from_micros(1)), expect(Some(100_000)));
    }
}
