//! The guards: pure, in one file, fail closed. A guard never says just no; it says which number crossed which limit.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use staunch_model::text::{Sentence, boxed};
use staunch_model::{
    ActionKind, Capacity, Facts, Found, GuardName, GuardResult, Judgement, Mode, Observation, Owner, Playbook,
    Presence, RiskClass, Span, Standing, Target, Timestamp, TransactionId, Unit, Verdict, WhenUnknown,
};

use crate::budget::{self, Scope};
use crate::context::{self, Around};
use crate::exempt;
use crate::found;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::risk;
use crate::state::EngineState;

/// What is to be judged.
#[derive(Clone, Debug)]
pub struct Question {
    /// The playbook that asks.
    pub playbook: Arc<Playbook>,
    /// The transaction that would act; `None` in a plan that is only asked for.
    pub transaction: Option<TransactionId>,
    /// What would be done.
    pub kind: ActionKind,
    /// To what.
    pub target: Target,
    /// When the event happened, by the source's clock.
    pub event_time: Option<Timestamp>,
    /// The time that the event's age is counted to, when that is not now: a person who approves decides knowing the
    /// event, so the age is what it was when the incident was opened. Approvals have an expiry of their own.
    pub arrived: Option<Timestamp>,
    /// Whether the act was counted in the budgets already, because it is sent once more.
    pub debited: bool,
    /// What feeds say of the target, when that is not what the state knows.
    pub standing: Option<Standing>,
    /// What the target is, when it is no address and that is not what the state knows.
    pub found: Option<Found>,
    /// What is known around the event, when that is not what the state knows.
    pub around: Option<Around>,
}

/// What follows from a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// A guard refused.
    Refuse(GuardResult),
    /// Nothing is done; this is what would have been.
    Observe,
    /// A person must decide.
    Ask,
    /// Act.
    Act,
}

/// How many guards there are at most, so that their results need no more room than was made for them.
const GUARDS_MAX: usize = 13;

/// Applies every guard to `question`, given what the driver saw and what is known.
///
/// All guards are applied even after one refused, so that the plan shows every number.
#[must_use]
pub fn judge(
    state: &EngineState,
    question: &Question,
    observation: Option<&Observation>,
    facts: &Facts,
    now: Timestamp,
) -> Judgement {
    let class = risk_of(state, question.kind, &question.target);
    let mut guards = Vec::with_capacity(GUARDS_MAX);
    guards.push(match &question.target {
        Target::Address(ip) => never_touch(state, *ip, now),
        other => found::never_touch(state, other, question.found.as_ref()),
    });
    guards.extend(question.target.address().map(prefix_width));
    guards.extend([
        freshness(question, now),
        target_busy(state, question, observation),
        capacity(observation.and_then(|seen| seen.capacity)),
        match &question.target {
            Target::Address(_) => impact(&question.playbook, facts),
            other => no_impact(other),
        },
        spent(state, question, GuardName::BudgetAction, now),
        spent(state, question, GuardName::BudgetPlaybook, now),
        spent(state, question, GuardName::BudgetGroup, now),
        spent(state, question, GuardName::BudgetTotal, now),
        breaker(state, now),
    ]);
    guards.extend(risk::guard(state, question, now));
    guards.extend(context::guard(state, question));
    Judgement {
        mode: question.playbook.modes.of(class).min(state.mode_max()),
        risk: class,
        guards,
        facts: facts.clone(),
        observation: observation.cloned(),
    }
}

/// A source's `time` on the engine's clock, which shows `now` and may be ahead of the machine's after that was set
/// back: the age of an event is what it was when the machine `received` it.
#[must_use]
pub fn on_our_clock(time: Timestamp, received: Timestamp, now: Timestamp) -> Timestamp {
    if time <= received {
        now - received.since(time)
    } else {
        now + time.since(received)
    }
}

/// What follows from `judgement`. `approved` tells that a person has said yes to this transaction.
#[must_use]
pub fn rule(judgement: &Judgement, approved: bool) -> Ruling {
    if let Some(refusal) = judgement.refusal() {
        return Ruling::Refuse(refusal.clone());
    }
    let asks = judgement.guards.iter().any(|result| result.verdict == Verdict::Ask);
    match judgement.mode {
        Mode::Observe if is(Mutant::ObserveActs) => Ruling::Act,
        Mode::Observe => Ruling::Observe,
        Mode::Enforce if is(Mutant::ObservedInVain) && !asks => Ruling::Observe,
        _ if approved => Ruling::Act,
        _ if is(Mutant::ApprovalSkipped) => Ruling::Act,
        Mode::Enforce if !asks => Ruling::Act,
        Mode::Approve | Mode::Enforce => Ruling::Ask,
    }
}

/// The risk class of the act: the driver's, raised to medium for an internal address, whose loss the business notices.
pub(crate) fn risk_of(state: &EngineState, kind: ActionKind, target: &Target) -> RiskClass {
    if is(Mutant::RiskIgnored) {
        return RiskClass::Low;
    }
    let base = state.driver(kind).map_or(RiskClass::High, |driver| driver.risk);
    if target.address().is_some_and(is_internal) && !is(Mutant::InternalIsOutside) {
        base.max(RiskClass::Medium)
    } else {
        base
    }
}

/// True for private and unique local addresses (RFC 1918, RFC 4193) and link-local ones.
#[must_use]
pub fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn never_touch(state: &EngineState, ip: IpAddr, now: Timestamp) -> GuardResult {
    let is_configured = || state.index.never_touch.longest_match(ip).is_some();
    let is_listed = || state.index.listed.longest_match(ip).is_some();
    let found = match exempt::protection(state, ip, now) {
        _ if is(Mutant::NeverTouchIgnored) || is(Mutant::NeverTouchAfter) => None,
        _ if is(Mutant::NeverTouchIpv4Only) && ip.is_ipv6() => None,
        _ if is(Mutant::ExemptionIgnored) && !is_configured() && !is_listed() => None,
        _ if is(Mutant::ListIgnored) && is_listed() && !is_configured() => None,
        found => found,
    };
    let (verdict, measured, why) = match found {
        Some((network, reason)) => {
            let mut why = Sentence::new();
            why.address(ip).text(" is in ").show(network);
            why.text(", which is never touched: ").text(&reason);
            (Verdict::Refused, 1, why.boxed())
        }
        None => (
            Verdict::Passed,
            0,
            Sentence::new().address(ip).text(" is in no protected network").boxed(),
        ),
    };
    GuardResult {
        guard: GuardName::NeverTouch,
        verdict,
        measured: Some(measured),
        limit: Some(0),
        unit: Unit::Count,
        why,
    }
}

fn prefix_width(ip: IpAddr) -> GuardResult {
    let (bits, min) = match ip {
        IpAddr::V4(_) => (32, limits::PREFIX_V4_MIN),
        IpAddr::V6(_) => (128, limits::PREFIX_V6_MIN),
    };
    GuardResult {
        guard: GuardName::PrefixWidth,
        verdict: if bits < min { Verdict::Refused } else { Verdict::Passed },
        measured: Some(bits),
        limit: Some(min),
        unit: Unit::PrefixBits,
        why: Sentence::new()
            .text("/")
            .number(bits)
            .text(", automation may touch /")
            .number(min)
            .text(" or narrower")
            .boxed(),
    }
}

fn freshness(question: &Question, now: Timestamp) -> GuardResult {
    let mut limit = question.playbook.guards.event_age_max;
    if is(Mutant::FreshnessStrict) {
        limit = Span::from_micros(limit.as_micros() / 2);
    }
    let against = |limit: Span, verdict, measured: Option<Span>, why: Box<str>| GuardResult {
        guard: GuardName::Freshness,
        verdict,
        measured: measured.map(Span::as_micros),
        limit: Some(limit.as_micros()),
        unit: Unit::Micros,
        why,
    };
    let result = |verdict, measured, why| against(limit, verdict, measured, why);
    let Some(time) = question.event_time else {
        let verdict = if is(Mutant::TimelessTaken) {
            Verdict::Unknown
        } else {
            unknown(question.playbook.guards.when_unknown)
        };
        return result(
            verdict,
            None,
            "the event has no time that can be read, so its age is unknown".into(),
        );
    };
    let arrived = question.arrived.unwrap_or(now);
    let ahead = time.since(arrived);
    if ahead > Span::ZERO {
        let most = limits::EVENT_SKEW_MAX;
        let (verdict, than) = if ahead > most && !is(Mutant::FutureTaken) {
            (Verdict::Refused, "more than")
        } else {
            (Verdict::Passed, "at most")
        };
        let why = boxed(format_args!("the event is {ahead} in the future, {than} {most}"));
        return against(most, verdict, Some(ahead), why);
    }
    let age = arrived.since(time);
    let is_old = |than: &str| {
        let mut why = Sentence::new();
        why.text("the event is ").span(age).text(than).span(limit).boxed()
    };
    if age > limit && !is(Mutant::FreshnessIgnored) {
        return result(Verdict::Refused, Some(age), is_old(" old, more than "));
    }
    result(Verdict::Passed, Some(age), is_old(" old, at most "))
}

fn target_busy(state: &EngineState, question: &Question, observation: Option<&Observation>) -> GuardResult {
    let result = |verdict, measured, why: fmt::Arguments<'_>| GuardResult {
        guard: GuardName::TargetBusy,
        verdict,
        measured,
        limit: Some(0),
        unit: Unit::Count,
        why: boxed(why),
    };
    if let Some(holder) = state.holder_of(question.kind, &question.target)
        && let Some(it) = state.transactions.get(&holder)
        && it.state.kind() == staunch_model::StateKind::Stuck
        && question.transaction != Some(holder)
    {
        return result(
            Verdict::Refused,
            Some(1),
            format_args!("{holder} is stuck at this target and needs a person"),
        );
    }
    match observation.map(|seen| &seen.presence) {
        None => result(Verdict::Unknown, None, format_args!("nobody has looked at the target")),
        Some(Presence::Absent) => result(Verdict::Passed, Some(0), format_args!("nothing is in place there")),
        Some(Presence::Present {
            owner: Owner::Ours(label),
            ..
        }) if Some(*label) == question.transaction => result(
            Verdict::Passed,
            Some(0),
            format_args!("what is in place there is this transaction's own"),
        ),
        Some(Presence::Present {
            owner: Owner::Ours(label),
            ..
        }) => result(
            Verdict::Refused,
            Some(1),
            format_args!("an object of {label} is still in place there"),
        ),
        Some(Presence::Present {
            owner: Owner::Foreign(label),
            ..
        }) => {
            let label = if is(Mutant::TextUnescaped) {
                label.to_string()
            } else {
                staunch_model::Printable(label).to_string()
            };
            let verdict = if is(Mutant::OthersOverlooked) {
                Verdict::Passed
            } else {
                Verdict::Refused
            };
            result(
                verdict,
                Some(1),
                format_args!("somebody else's object is in place there ({label})"),
            )
        }
    }
}

fn capacity(capacity: Option<Capacity>) -> GuardResult {
    let (verdict, measured, limit, why) = match capacity {
        Some(Capacity { used, max }) => (
            if (used >= max && !is(Mutant::RoomIgnored)) || (used + 1 == max && is(Mutant::RoomUnderrated)) {
                Verdict::Refused
            } else {
                Verdict::Passed
            },
            Some(used),
            Some(max),
            Sentence::new()
                .text("the enforcement point holds ")
                .number(used)
                .text(" of ")
                .number(max)
                .boxed(),
        ),
        None => (
            Verdict::Unknown,
            None,
            None,
            "the enforcement point does not tell its room".into(),
        ),
    };
    GuardResult {
        guard: GuardName::Capacity,
        verdict,
        measured,
        limit,
        unit: Unit::Count,
        why,
    }
}

/// The guard of [`GuardName::Impact`] for what no share of the traffic is counted of.
fn no_impact(target: &Target) -> GuardResult {
    GuardResult {
        guard: GuardName::Impact,
        verdict: Verdict::Passed,
        measured: None,
        limit: None,
        unit: Unit::BasisPoints,
        why: boxed(format_args!(
            "shares of traffic are counted by address, not by {}",
            target.aim().noun()
        )),
    }
}

fn impact(playbook: &Playbook, facts: &Facts) -> GuardResult {
    let result = |verdict, measured, limit, why: String| GuardResult {
        guard: GuardName::Impact,
        verdict,
        measured,
        limit,
        unit: Unit::BasisPoints,
        why: why.into(),
    };
    let limit = playbook.guards.traffic_share_max_bp;
    let when_unknown = if is(Mutant::UnknownShareTaken) {
        Verdict::Unknown
    } else {
        unknown(playbook.guards.when_unknown)
    };
    let share = match &facts.traffic {
        None if limit.is_none() => {
            return result(
                Verdict::Passed,
                None,
                None,
                "the playbook sets no limit for stopped traffic".into(),
            );
        }
        None => {
            return result(
                when_unknown,
                None,
                limit,
                "the share of traffic was not asked for".into(),
            );
        }
        Some(fact) => match &fact.value {
            Ok(share) => share,
            Err(reason) => {
                let why = format!("the share of traffic is unknown: {}", staunch_model::Printable(reason));
                return result(
                    if limit.is_none() {
                        Verdict::Unknown
                    } else {
                        when_unknown
                    },
                    None,
                    limit,
                    why,
                );
            }
        },
    };
    let flows_min = u64::from(playbook.flows_min());
    // One flow of three is a large share of nothing much; none of three is none.
    if limit.is_some() && share.flows > 0 && share.flows_total < flows_min {
        let why = format!(
            "the share of traffic says nothing: {} flow{} in all, fewer than {flows_min} ({} of them would stop)",
            share.flows_total,
            if share.flows_total == 1 { "" } else { "s" },
            share.flows,
        );
        return result(when_unknown, None, limit, why);
    }
    let measured = if is(Mutant::ShareOverrated) {
        2 * share.basis_points()
    } else {
        share.basis_points()
    };
    let of = format!(
        "this would stop {} of the traffic ({} of {} flows{})",
        percent(measured),
        share.flows,
        share.flows_total,
        match (share.bytes, share.bytes_total) {
            (Some(part), Some(whole)) => format!(", {part} of {whole} bytes"),
            _ => String::new(),
        }
    );
    match limit {
        Some(limit) if measured > limit && !is(Mutant::ImpactIgnored) => {
            let why = format!("{of}, more than the {} allowed", percent(limit));
            result(Verdict::Refused, Some(measured), Some(limit), why)
        }
        Some(limit) => result(
            Verdict::Passed,
            Some(measured),
            Some(limit),
            format!("{of}, at most {}", percent(limit)),
        ),
        None => result(Verdict::Passed, Some(measured), None, of),
    }
}

fn spent(state: &EngineState, question: &Question, guard: GuardName, now: Timestamp) -> GuardResult {
    let limits = state.limits();
    let (scope, max, kind, what) = match guard {
        GuardName::BudgetAction => (
            Scope::Action(question.kind),
            limits.acts_per_action_hour_max,
            question.kind.name(),
            " acts",
        ),
        GuardName::BudgetPlaybook => (
            Scope::Playbook(question.playbook.hash),
            question.playbook.guards.acts_per_hour_max,
            "",
            "acts of this playbook",
        ),
        GuardName::BudgetGroup => (
            budget::group(&question.target),
            limits.acts_per_group_hour_max,
            "",
            match question.target {
                Target::Address(_) => "acts in this neighbourhood",
                Target::Process(_) => "acts on processes",
                Target::Account(_) => "acts on accounts",
                Target::Host(_) => "acts on hosts",
                Target::Domain(_) => "acts on domains",
                Target::Job(_) => "jobs",
            },
        ),
        _ => (Scope::Total, limits.acts_per_hour_max, "", "acts in all"),
    };
    let window = if is(Mutant::BudgetShort) {
        Span::from_mins(30)
    } else {
        limits::BUDGET_WINDOW
    };
    let count = state.budgets.spent(scope, window, now);
    // The first attempt may lie so far back that it no longer counts.
    let count = count.saturating_sub(u64::from(question.debited));
    let max = u64::from(max);
    let over = count >= max;
    let mut why = Sentence::new();
    if over {
        why.number(count).text(" ").text(kind).text(what);
        why.text(" in the last hour, ").number(max).text(" allowed");
    } else {
        why.number(count)
            .text(" of ")
            .number(max)
            .text(" ")
            .text(kind)
            .text(what);
        why.text(" in the last hour");
    }
    GuardResult {
        guard,
        verdict: if over { Verdict::Refused } else { Verdict::Passed },
        measured: Some(count),
        limit: Some(max),
        unit: Unit::Count,
        why: why.boxed(),
    }
}

fn breaker(state: &EngineState, now: Timestamp) -> GuardResult {
    let limits = state.limits();
    let failures = state.budgets.spent(Scope::Failures, limits.breaker_window, now);
    let (verdict, why) = match state.breaker_open {
        Some(since) => (
            Verdict::ObserveOnly,
            boxed(format_args!(
                "open since {since}: everything only observes until a person sets the mode again"
            )),
        ),
        None => (
            Verdict::Passed,
            Sentence::new()
                .number(failures)
                .text(" of ")
                .number(limits.breaker_failures.into())
                .text(" failures in ")
                .span(limits.breaker_window)
                .boxed(),
        ),
    };
    GuardResult {
        guard: GuardName::Breaker,
        verdict,
        measured: Some(failures),
        limit: Some(u64::from(limits.breaker_failures)),
        unit: Unit::Count,
        why,
    }
}

pub(crate) const fn unknown(when: WhenUnknown) -> Verdict {
    match when {
        WhenUnknown::Ask => Verdict::Ask,
        WhenUnknown::Refuse => Verdict::Refused,
        WhenUnknown::Pass => Verdict::Unknown,
    }
}

/// Basis points as a percentage: `40 %`, `2.5 %`, `0.05 %`.
#[must_use]
pub fn percent(basis_points: u64) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    match rest {
        0 => format!("{whole} %"),
        rest if rest % 10 == 0 => format!("{whole}.{} %", rest / 10),
        rest => format!("{whole}.{rest:02} %"),
    }
}
