//! One test: its events through the real decoder and the real triage, and what follows in a scripted world.

use std::collections::BTreeSet;
use std::sync::Arc;

use staunch_engine::limits;
use staunch_engine::triage::{Triage, Triaged};
use staunch_model::{
    ActionKind, Event, EventContext, EventView, Found, Input, Match, Policy, Printable, Program, Protection, Record,
    Span, Target, TargetFacts, Timestamp, TriggerReport,
};
use staunch_playbook::Diagnostic;
use staunch_playbook::test_file::{self, FaultKind, Point, Signal, Test, What, WorldKind};
use staunch_ports::{Sighting, Source};
use staunch_sim::script::{Ask, Fault, Happening, Mishap, Moment, Script, Seen, Setting};

use super::coverage::Coverage;
use super::files::Suite;
use super::judge::{self, Evidence};
use super::report::{Difference, Line, TestReport};
use crate::commands::trigger;
use crate::words;

/// When a test starts whose events have no time.
const START: &str = "2026-01-01T00:00:00Z";

/// How long a test goes on after the last thing that happens, unless it expects something later.
const AFTER: Span = Span::from_secs(10);

/// The label of what somebody else has put in place.
const FOREIGN: &str = "somebody else";

/// Something that was read from an event's JSON.
struct Decoded {
    at: Span,
    /// What it is, in words, when it matched nothing.
    words: String,
    reports: Vec<TriggerReport>,
}

/// Runs `test` of `suite` on `program`.
pub(super) fn run(
    suite: &Suite,
    test: &Test,
    program: &Program,
    sources: &[Arc<dyn Source>],
    coverage: &mut Coverage,
) -> Result<TestReport, Vec<Diagnostic>> {
    check_clauses(suite, test, coverage)?;
    check_signals(suite, test, program)?;
    let start = match test.start {
        Some(start) => start,
        None => start_of(suite, test, sources)?,
    };
    let policy = policy(test, program);
    let triage = Triage::new(vec![program.clone()]);
    let mut script = Script::new(setting(test, policy, start));
    if !test.world.enforcing {
        script.plan(Span::ZERO, Happening::Enforcing(false));
    }
    if let Some(room) = test.world.capacity {
        script.plan(Span::ZERO, Happening::Room(room));
    }
    for (signal, says) in &test.world.signals {
        script.plan(Span::ZERO, signal_of(signal, *says));
    }
    for target in &test.world.foreign {
        script.plan(Span::ZERO, Happening::Tamper(target.clone(), Some(FOREIGN.into())));
    }
    if !test.context.guards.rows.is_empty() {
        let table = Arc::new(test.context.guards.clone());
        script.plan(Span::ZERO, Happening::ContextTable(table));
    }
    let mut happenings = Vec::new();
    let mut decoded = Vec::new();
    for event in &test.events {
        let received = start + event.at;
        read(suite, event, sources, |sighting| {
            let Sighting::Event(view) = sighting else {
                decoded.push(Decoded {
                    at: event.at,
                    words: format!("event from {}: not an event of this source", event.source.value),
                    reports: Vec::new(),
                });
                return;
            };
            let view = &EventView {
                around: &test.context.around,
                ..**view
            };
            let reports = triage.reports(view);
            for report in &reports {
                coverage.looked(&report.explanation);
            }
            if let Triaged::Matched(found) = triage.sort(view)
                && !found.matches.is_empty()
            {
                let event_kept = Arc::new(Event::keep(view, received));
                let mut matches = found.matches;
                let found = identify(test, &mut matches);
                happenings.extend(found.map(|it| (event.at, Happening::Found(it))));
                let happening = if test.context.guards.rows.is_empty() {
                    Happening::Event {
                        event: event_kept,
                        matches,
                    }
                } else {
                    let steps = matches.iter().flat_map(|it| &it.steps);
                    let addresses = steps.filter_map(|step| step.target.as_ref()?.address());
                    Happening::EventInContext {
                        context: Arc::new(EventContext::of(view, addresses)),
                        event: event_kept,
                        matches,
                    }
                };
                happenings.push((event.at, happening));
            } else {
                let said = reports.first().map(|it| trigger::outcome(it, view.system));
                let said = said.unwrap_or_default();
                decoded.push(Decoded {
                    at: event.at,
                    words: format!("event from {}: {}: {said}", view.system, view.signature),
                    reports,
                });
            }
        })?;
    }
    let matched = happenings.len();
    for it in &test.happens {
        happenings.extend(happening(&it.what).into_iter().map(|what| (it.at, what)));
    }
    let last = happenings.iter().map(|(at, _)| *at);
    let last = last.chain(decoded.iter().map(|it| it.at)).max().unwrap_or(Span::ZERO);
    let expected = test.expect.iter().filter_map(|it| it.at).max().unwrap_or(Span::ZERO);
    let end = expected.max(last + AFTER);
    for (at, happening) in happenings {
        script.plan(at, happening);
    }
    let mut claims: Vec<_> = test.expect.iter().map(|it| (it.at.unwrap_or(end), it)).collect();
    claims.sort_by_key(|(at, _)| *at);
    let mut differences = Vec::new();
    for (at, expect) in claims {
        script.run_until(at);
        let reports: Vec<&TriggerReport> = decoded
            .iter()
            .filter(|it| it.at <= at)
            .flat_map(|it| &it.reports)
            .collect();
        let evidence = Evidence {
            script: &script,
            unmatched: &reports,
            matched,
        };
        if let Err(found) = judge::judge(&evidence, &expect.claim) {
            differences.push(Difference {
                at,
                line: line_of(&suite.text, expect.span.start),
                expected: judge::words(&expect.claim),
                found,
            });
        }
    }
    script.run_until(end);
    let history = script.history().to_vec();
    coverage.happened(&history, |id| script.step_of(id));
    for fault in script.unmet_faults().filter_map(|at| test.faults.get(at)) {
        differences.push(Difference {
            at: end,
            line: line_of(&suite.text, fault.span.start),
            expected: "a request meets the fault".to_owned(),
            found: "none does".to_owned(),
        });
    }
    script.finish();
    for misfit in script.misfits() {
        differences.push(Difference {
            at: end,
            line: line_of(&suite.text, test.name.span.start),
            expected: "every happening finds what it is about".to_owned(),
            found: misfit.clone(),
        });
    }
    let violation = script.violation().map(ToString::to_string);
    Ok(TestReport {
        name: test.name.value.clone(),
        line: line_of(&suite.text, test.name.span.start),
        passed: differences.is_empty() && violation.is_none(),
        expectations: test.expect.len(),
        differences,
        violation,
        simulated: end,
        timeline: timeline(&history, &decoded),
    })
}

/// Clauses that are expected to be false are clauses of the trigger.
fn check_clauses(suite: &Suite, test: &Test, coverage: &Coverage) -> Result<(), Vec<Diagnostic>> {
    for expect in &test.expect {
        let test_file::Claim::NoMatch(written) = &expect.claim else {
            continue;
        };
        let known = judge::REASONS.contains(&written.as_str())
            || coverage
                .written
                .iter()
                .any(|(kind, text)| judge::names(written, *kind, text));
        if !known {
            let message = format!("the trigger has no clause `{}`", Printable(written));
            let clauses: Vec<&str> = coverage.written.iter().map(|(_, text)| text.as_str()).collect();
            let hint = format!("write a clause or a part of one: {}", clauses.join("; "));
            return Err(suite.mistake(expect.span.clone(), &message, &hint));
        }
    }
    Ok(())
}

/// Signals that a test speaks of are signals that the playbook watches.
fn check_signals(suite: &Suite, test: &Test, program: &Program) -> Result<(), Vec<Diagnostic>> {
    let watched: BTreeSet<&str> = program.playbook.signals().collect();
    let happens = test.happens.iter().filter_map(|it| match &it.what {
        What::Signals(signals) => Some(signals),
        _ => None,
    });
    let set = test
        .world
        .signals
        .iter()
        .chain(happens.flatten())
        .map(|(signal, _)| signal);
    let expected = test.expect.iter().filter_map(|it| match &it.claim {
        test_file::Claim::Watch(signal, _) => Some(signal),
        _ => None,
    });
    for signal in set.chain(expected) {
        if !watched.contains(signal.value.as_str()) {
            let message = format!("the playbook watches no health signal `{}`", Printable(&signal.value));
            let known: Vec<&str> = watched.into_iter().collect();
            let hint = match known.as_slice() {
                [] => "it watches none: `watch: { health: NAME, for: 1m }` on a step of `contain`".to_owned(),
                names => format!("it watches: {}", names.join(", ")),
            };
            return Err(suite.mistake(signal.span.clone(), &message, &hint));
        }
    }
    Ok(())
}

/// The time of the first event, less the time after the start at which it comes.
fn start_of(suite: &Suite, test: &Test, sources: &[Arc<dyn Source>]) -> Result<Timestamp, Vec<Diagnostic>> {
    let mut start = None;
    if let Some(first) = test.events.iter().min_by_key(|it| it.at) {
        read(suite, first, sources, |sighting| {
            if let Sighting::Event(view) = sighting {
                start = start.or(view.time.map(|time| time - first.at));
            }
        })?;
    }
    Ok(start.unwrap_or_else(|| START.parse().unwrap_or_default()))
}

/// Has the source of `event` read it.
fn read(
    suite: &Suite,
    event: &test_file::Event,
    sources: &[Arc<dyn Source>],
    mut each: impl FnMut(&Sighting<'_>),
) -> Result<(), Vec<Diagnostic>> {
    let named = sources.iter().find(|it| it.name() == event.source.value);
    let Some(source) = named else {
        let known: Vec<&str> = sources.iter().map(|it| it.name()).collect();
        let message = format!("there is no source `{}`", Printable(&event.source.value));
        let hint = format!("known: {}", known.join(", "));
        return Err(suite.mistake(event.source.span.clone(), &message, &hint));
    };
    let mut malformed = None;
    let mut count = 0;
    let whole = source.read(event.json.value.as_bytes(), &mut |_, sighting| {
        count += 1;
        match sighting {
            Sighting::Malformed(it) => malformed = malformed.take().or(Some(it)),
            it => each(&it),
        }
    });
    if let Some(it) = whole.err().map(staunch_ports::NotRead::malformed).or(malformed) {
        let message = format!("{} cannot read this event: {}", event.source.value, it.what);
        return Err(suite.mistake(event.json.span.clone(), &message, &it.hint));
    }
    if count == 0 {
        let message = "there is no event in it";
        return Err(suite.mistake(event.json.span.clone(), message, "give the JSON as the source sends it"));
    }
    Ok(())
}

/// Has the machine of `test` tell what the targets are that `matches` name.
fn identify<'a>(test: &'a Test, matches: &mut [Match]) -> impl Iterator<Item = Found> + use<'a> {
    let targets = matches.iter_mut().flat_map(|it| &mut it.steps);
    let mut named = Vec::new();
    for target in targets.filter_map(|step| step.target.as_mut()) {
        match target {
            Target::Address(_) => continue,
            Target::Process(process) => *process = test_file::process(process.pid),
            Target::Account(_) | Target::Host(_) | Target::Domain(_) | Target::Job(_) => {}
        }
        named.push(target.clone());
    }
    named.into_iter().map(|target| {
        let said = test.context.found.iter().find(|(known, _)| *known == target);
        let usual = || TargetFacts {
            what: match target {
                Target::Process(_) => "/usr/bin/program of user 1000",
                _ => test_file::USUAL,
            }
            .into(),
            protected: None,
        };
        let facts = match said {
            Some((_, Ok(facts))) => Ok(facts.clone()),
            Some((_, Err(why))) => Err(why.as_str().into()),
            None => Ok(usual()),
        };
        Found { target, facts }
    })
}

fn policy(test: &Test, program: &Program) -> Policy {
    let world = world(test.world.kind);
    let driver = |kind| {
        let mut driver = world.describe_as(kind);
        driver.risk = test.world.risk.unwrap_or(driver.risk);
        driver
    };
    let mut limits = limits::DEFAULT;
    if let Some(expiry) = test.context.approval_expiry {
        limits.approval_expiry = expiry;
    }
    for (limit, value) in &test.context.limits {
        let place = match limit {
            test_file::Limit::ActsPerHour => &mut limits.acts_per_hour_max,
            test_file::Limit::ActsPerAction => &mut limits.acts_per_action_hour_max,
            test_file::Limit::ActsPerGroup => &mut limits.acts_per_group_hour_max,
            test_file::Limit::BreakerFailures => &mut limits.breaker_failures,
        };
        *place = *value;
    }
    let protections = test.context.never_touch.iter().map(|(network, why)| Protection {
        network: *network,
        reason: Printable(why).to_string().into(),
    });
    Policy {
        limits,
        never_touch: protections.collect(),
        mode_max: test.context.mode,
        playbooks: vec![program.playbook.clone()],
        drivers: ActionKind::ALL.map(driver).into(),
    }
}

fn setting(test: &Test, policy: Policy, start: Timestamp) -> Setting {
    let shares = test.context.traffic.iter();
    let fault = |it: &test_file::Fault| Fault {
        at: point(it.at),
        of: it.of.clone(),
        evidence: it.evidence,
        mishap: match it.kind {
            FaultKind::Fails(kind) => Mishap::Fails(kind),
            FaultKind::RequestLost => Mishap::RequestLost,
            FaultKind::ReplyLost => Mishap::ReplyLost,
            FaultKind::InDoubt => Mishap::InDoubt,
            FaultKind::InDoubtLanded => Mishap::InDoubtLanded,
            FaultKind::Lies => Mishap::Lies,
            FaultKind::Crash(outage) => Mishap::Crash(outage),
            FaultKind::ReplyLate(late) => Mishap::ReplyLate(late),
        },
        times: it.times,
    };
    Setting {
        policy: Arc::new(policy),
        world: world(test.world.kind),
        start,
        shares: shares.cloned().collect(),
        share_of_others: test.context.traffic_of_others,
        faults: test.faults.iter().map(fault).collect(),
    }
}

const fn world(kind: WorldKind) -> staunch_sim::world::WorldKind {
    match kind {
        WorldKind::Kernel => staunch_sim::world::WorldKind::Kernel,
        WorldKind::Api => staunch_sim::world::WorldKind::Api,
        WorldKind::Cloud => staunch_sim::world::WorldKind::Cloud,
    }
}

const fn point(point: Point) -> staunch_sim::script::Point {
    use staunch_sim::script::Point as P;
    match point {
        Point::Preserve => P::Preserve,
        Point::PreCheck => P::PreCheck,
        Point::Execute => P::Execute,
        Point::PostCheck => P::PostCheck,
        Point::Renew => P::Renew,
        Point::Undo => P::Undo,
        Point::Probe => P::Probe,
        Point::Notify => P::Notify,
    }
}

/// What happens at once.
fn happening(what: &What) -> Vec<Happening> {
    let ask = match what {
        What::Removes(target) => return vec![Happening::Tamper(target.clone(), None)],
        What::Replaces(target) => return vec![Happening::Tamper(target.clone(), Some(FOREIGN.into()))],
        What::RemovesAll => return vec![Happening::Flush],
        What::Rules(there) => return vec![Happening::Enforcing(*there)],
        What::Crash(outage) => return vec![Happening::Crash(*outage)],
        What::Signals(signals) => return signals.iter().map(|(signal, says)| signal_of(signal, *says)).collect(),
        What::Approve(target) => Ask::Approve(target.clone()),
        What::Deny(target) => Ask::Deny(target.clone()),
        What::Release(target) => Ask::Release(target.clone()),
        What::Renew(target, lease) => Ask::Renew(target.clone(), *lease),
        What::Recover(target) => Ask::Recover(target.clone()),
        What::StopRecovery(target) => Ask::StopRecovery(target.clone()),
        What::ReleaseAll => Ask::ReleaseAll,
        What::Mode(mode) => Ask::Mode(*mode),
    };
    vec![Happening::Ask(ask)]
}

fn signal_of(signal: &test_file::At<String>, says: Signal) -> Happening {
    let healthy = match says {
        Signal::Healthy => Some(true),
        Signal::Unhealthy => Some(false),
        Signal::Unreadable => None,
    };
    Happening::Signal(signal.value.as_str().into(), healthy)
}

/// What happened, in lines that are safe to show.
fn timeline(history: &[Moment], decoded: &[Decoded]) -> Vec<Line> {
    let line = |at: Span, what: &str| Line {
        at,
        what: Printable(what).to_string(),
    };
    let mut lines: Vec<Line> = decoded.iter().map(|it| line(it.at, &it.words)).collect();
    for Moment { at, what } in history {
        match what {
            Seen::Frame(frame) => {
                let input = match &frame.input {
                    Input::Policy(_) | Input::Started { .. } | Input::Tick | Input::Notified { result: Ok(()), .. } => {
                        None
                    }
                    Input::Swept(found) if found.vanished.is_empty() && found.orphans.is_empty() => None,
                    it => Some(words::input(it)),
                };
                lines.extend(input.map(|it| line(*at, &it)));
                let quiet = |record: &&Record| {
                    !matches!(
                        record,
                        Record::PolicyPinned(_)
                            | Record::SweepDone { .. }
                            | Record::NoticeSent { .. }
                            | Record::Started { .. }
                            | Record::IncidentForgotten { .. }
                    )
                };
                let records = frame.records.iter().filter(quiet);
                lines.extend(records.map(|it| line(*at, &format!("- {}", words::record(it)))));
            }
            Seen::Sent(effect, Some(mishap)) => {
                lines.push(line(
                    *at,
                    &format!("fault: {} {}", effect_words(effect), mishap_words(*mishap)),
                ));
            }
            Seen::Sent(_, None) => {}
            Seen::Ended => lines.push(line(*at, "the process ends")),
            Seen::Started => lines.push(line(*at, "the process starts again")),
            Seen::Touched(what) => lines.push(line(*at, &format!("somebody {what}"))),
        }
    }
    lines.sort_by_key(|it| it.at);
    lines
}

fn effect_words(effect: &staunch_model::Effect) -> String {
    use staunch_model::Effect;
    match effect {
        Effect::Observe { transaction, .. } => format!("the look of {transaction}"),
        Effect::Execute { transaction, .. } => format!("the act of {transaction}"),
        Effect::Undo { transaction, .. } => format!("the undo of {transaction}"),
        Effect::Notify(notice) => notice.id.to_string(),
        Effect::Collect { evidence, .. } => format!("the collection of {evidence}"),
        Effect::ReadHealth { watch, .. } => format!("the reading of {watch}"),
    }
}

const fn mishap_words(mishap: Mishap) -> &'static str {
    match mishap {
        Mishap::Fails(_) => "fails",
        Mishap::RequestLost => "is lost on its way",
        Mishap::ReplyLost => "is carried out, and its reply is lost",
        Mishap::InDoubt => "is given up in doubt, and was not carried out",
        Mishap::InDoubtLanded => "is given up in doubt, and was carried out",
        Mishap::Lies => "is answered with a lie",
        Mishap::Crash(_) => "is on its way when the process ends",
        Mishap::ReplyLate(_) => "is carried out, and the answer comes later",
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}
