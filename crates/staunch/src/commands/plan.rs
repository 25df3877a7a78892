//! `staunch plan`

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use staunch_model::{Endpoint, EventContext, EvidenceKind, Printable, TriggerOutcome, TriggerReport, UndoClass};
use staunch_ports::Reputations;
use staunch_runtime::{Intake, IntakeError, Runtime};
use staunch_server::dto::{EventPlan, PlannedStep, Response, Ruling, path};

use super::incident::guards_text;
use super::trigger;
use crate::cli::PlanArgs;
use crate::client::{Client, Patience, percent_encoded};
use crate::config::{self, Config};
use crate::context::{Context, pin};
use crate::exit::{Exit, Fault};
use crate::feeds::Feeds;
use crate::lookups::Lookups;
use crate::names::Names;
use crate::output::{Output, Tone, now, say, warn, wrap};
use crate::playbooks::Texts;
use crate::{lists, wiring, words};

/// The largest file that is read: what the API takes by default.
const EVENT_BYTES_MAX: u64 = 8 << 20;

pub(super) fn run(args: &PlanArgs) -> Result<Exit, Fault> {
    let body = read_event(&args.event)?;
    let plan = if args.local {
        let config = config::load(args.show.server.data.config.config.as_deref())?.config;
        let plan = plan_locally(&config, &Texts::configured(&config), &args.source, &body)?;
        say("planned without a running Staunch: nothing is in force, no budget is used, no incident is open");
        plan
    } else {
        let client = Client::new(&args.show.server, Patience::USUAL)?;
        client
            .post_bytes(&format!("{}{}", path::PLAN, percent_encoded(&args.source)), &body)
            .map_err(|fault| match fault.exit {
                Exit::Unreachable => {
                    fault.hint("start `staunch serve`, name its address with --url, or plan without one: --local")
                }
                _ => fault,
            })?
    };
    say_left_out(&plan);
    Output::new(args.show.json).show(&plan, |output| text(output, &plan))?;
    Ok(Exit::Ok)
}

/// Says that an event is not the only one that was given.
pub(super) fn say_left_out(plan: &EventPlan) {
    let events = match plan.others {
        0 => return,
        1 => "1 further event was".to_owned(),
        others => format!("{others} further events were"),
    };
    say(&format!("only the first event is planned: {events} left out"));
}

pub(super) fn read_event(file: &Path) -> Result<Vec<u8>, Fault> {
    let shown = file.display().to_string();
    let failed = |error: &std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Fault::doing(exit, format!("cannot read the event {}", Printable(&shown)), error)
            .hint("give a file with one event as its source sends it, or - for stdin")
    };
    let mut body = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(EVENT_BYTES_MAX + 1).read_to_end(&mut body)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(EVENT_BYTES_MAX + 1).read_to_end(&mut body))
    };
    read.map_err(|error| failed(&error))?;
    if body.len() as u64 > EVENT_BYTES_MAX {
        let what = format!("{} has more than {EVENT_BYTES_MAX} bytes", Printable(&shown));
        return Err(Fault::new(Exit::Usage, what).hint("give a file with one event"));
    }
    Ok(body)
}

/// Makes the plan with an engine of its own that knows the configuration, the playbooks in `texts` and nothing else.
pub(super) fn plan_locally(config: &Config, texts: &Texts, source: &str, body: &[u8]) -> Result<EventPlan, Fault> {
    let outcome = texts.compile(&wiring::check_context(config));
    texts.tell_briefly(&outcome.diagnostics);
    if !outcome.usable {
        return Err(Fault::new(Exit::Usage, "the playbooks cannot be used").hint("`staunch check` shows all mistakes"));
    }
    let called = Names::looked_up(config)?;
    let discovered = wiring::discover(config, &called)?;
    let local = wiring::open_local(config);
    if !local.real {
        warn("this machine's firewall cannot be looked at, so the plan takes it to be empty");
    }
    let policy = wiring::policy(config, &outcome.compiled, &discovered, &local.drivers);
    let lists = lists::read(config)?;
    let runtime = Runtime::start_with(
        local.parts,
        wiring::settings(config),
        policy,
        &lists,
        Some(Arc::new(config.risk.table())),
    )
    .map_err(|error| Fault::of(Exit::Failed, &error))?;
    let programs = outcome.compiled.into_iter().map(|it| it.program).collect();
    let feeds = Feeds::start(config, now());
    let context = Context::start(config, feeds.clone())?;
    let by_feeds = feeds.map(|it| it as Arc<dyn Reputations>);
    let reputations = Lookups::start(config, by_feeds.clone())?.map_or(by_feeds, |it| Some(it as Arc<dyn Reputations>));
    pin(&runtime.handle(), Arc::new(config.context.table())).map_err(|error| Fault::of(Exit::Failed, &error))?;
    let intake = Intake::new(wiring::event_sources_here(config)?, programs, runtime.handle())
        .with_reputations(reputations)
        .with_targets(wiring::targets(config)?)
        .with_knowledge(context.knowledge(config));
    let made = intake.plan(source, body);
    let known: Vec<String> = intake.source_names().map(str::to_owned).collect();
    drop(intake);
    if let Err(error) = runtime.stop() {
        tracing::debug!(%error, "the engine of the plan did not stop well");
    }
    made.map(EventPlan::from).map_err(|error| match &error {
        IntakeError::NoSource(_) => Fault::of(Exit::NotFound, &error).hint(format!("known: {}", known.join(", "))),
        IntakeError::Malformed(it) | IntakeError::TooMany(it) => {
            Fault::new(Exit::Usage, format!("{} (at byte {})", it.what, it.offset)).hint(it.hint.clone())
        }
        IntakeError::Busy(_) => Fault::of(Exit::Busy, &error),
    })
}

fn text(output: &Output, made: &EventPlan) -> String {
    let event = &made.event;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!(
            "{}{}\n",
            output.paint(Tone::Faint, &format!("{label:<10}")),
            wrap(value, 10)
        ));
    };
    let kind = format!("{:?}", event.kind).to_lowercase();
    let when = event
        .time
        .map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string());
    line(
        "event",
        &format!(
            "{} {kind}, severity {}, {when}",
            Printable(&event.system),
            event.severity
        ),
    );
    line("", &Printable(&event.signature).to_string());
    line("attacker", &endpoint(event.source));
    line("attacked", &endpoint(event.destination));
    if let Some(because) = &event.because {
        line("because", &Printable(because).to_string());
    }
    let known = made.context.iter().flat_map(EventContext::lines);
    for (at, known) in known.enumerate() {
        line(if at == 0 { "known" } else { "" }, &known);
    }
    text.push('\n');
    let follows = |report: &&TriggerReport| report.outcome == TriggerOutcome::Matches;
    for response in &made.plan.responses {
        text.push_str(&response_text(output, response));
        for report in made.triggers.iter().filter(|it| it.playbook == response.playbook) {
            text.push_str(&format!("\n  {}\n", output.paint(Tone::Strong, "its trigger")));
            text.push_str(&trigger::clauses(output, report));
            let parameters = &report.explanation.parameters;
            if !parameters.is_empty() {
                text.push_str(&format!("\n  {}\n", output.paint(Tone::Strong, "its parameters")));
                text.push_str(&trigger::parameters(output, parameters));
            }
        }
        text.push('\n');
    }
    if made.plan.responses.is_empty() {
        let holds = [TriggerOutcome::WithoutKey, TriggerOutcome::BeyondLimit];
        text.push_str(if made.triggers.iter().any(|it| holds.contains(&it.outcome)) {
            "nothing would be done\n\n"
        } else {
            "no playbook matches: nothing would be done\n\n"
        });
    }
    let others: Vec<_> = made.triggers.iter().filter(|it| !follows(it)).collect();
    text.push_str(&trigger::text(output, &others, event.kind, &event.system));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

pub(super) fn endpoint(side: Endpoint) -> String {
    match (side.ip, side.port) {
        (Some(ip), Some(port)) => format!("{ip} port {port}"),
        (Some(ip), None) => ip.to_string(),
        (None, _) => "not known".to_owned(),
    }
}

fn response_text(output: &Output, response: &Response) -> String {
    let mut text = format!(
        "{}\n",
        output.paint(Tone::Strong, &Printable(&response.playbook).to_string())
    );
    text.push_str(&format!("  {}\n", wrap(&Printable(&response.summary).to_string(), 2)));
    let joins = match response.joins {
        Some(incident) => format!("joins {incident}"),
        None => "opens an incident".to_owned(),
    };
    text.push_str(&format!("  {joins} for {}\n", Printable(&response.key)));
    for planned in &response.evidence {
        let of = match (&planned.target, planned.kind.aims_at()) {
            (Some(target), _) => format!(" of {}", Printable(target)),
            (None, None) => String::new(),
            (None, Some(aim)) => format!(", of which the event names none ({})", aim.noun()),
        };
        let wait = format!("{}{of}, within {}", planned.kind, planned.deadline);
        text.push_str(&format!("  preserves {}\n", wrap(&wait, 12)));
    }
    for (number, step) in (1..).zip(&response.steps) {
        text.push_str(&step_text(output, number, step));
    }
    if !response.recover.is_empty() {
        let title = "recovery, when a person starts it";
        text.push_str(&format!("\n  {}\n", output.paint(Tone::Strong, title)));
        for (number, what) in (1..).zip(&response.recover) {
            let what = wrap(&Printable(what).to_string(), 7);
            text.push_str(&format!("    {number}. {what}\n"));
        }
    }
    text
}

/// What becomes of the evidence that a step could destroy.
fn step_evidence(step: &PlannedStep) -> String {
    let names = |kinds: &[EvidenceKind]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !step.waits_for.is_empty() {
        parts.push(format!("waits for {}", names(&step.waits_for)));
    }
    if !step.loses.is_empty() {
        parts.push(format!("could destroy {}, which nothing preserves", names(&step.loses)));
    }
    if parts.is_empty() {
        parts.push("none is destroyed by it".to_owned());
    }
    parts.join("; ")
}

fn step_text(output: &Output, number: usize, step: &PlannedStep) -> String {
    let target = step
        .target
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |target| Printable(target).to_string());
    let title = format!("{number}. {} {target} for {}", step.action, step.lease);
    let mut text = format!("\n  {}\n", output.paint(Tone::Strong, &title));
    if step.served > 0 {
        let leases = if step.served == 1 { "lease" } else { "leases" };
        text.push_str(&format!(
            "    the target comes back after {} {leases}, so this one is longer\n",
            step.served
        ));
    }
    if let Some(judgement) = &step.judgement {
        text.push_str(&guards_text(output, judgement));
    }
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!(
            "    {}{}\n",
            output.paint(Tone::Faint, &format!("{label:<10}")),
            wrap(value, 14)
        ));
    };
    if let Some(why) = &step.look_failed {
        line("no look", &Printable(why).to_string());
    }
    if let Some(driver) = &step.driver {
        line(
            "act",
            &format!(
                "by {}, {}; lifted after {} unless renewed",
                Printable(&driver.driver),
                words::does(driver),
                step.lease
            ),
        );
        let undo = match driver.undo {
            UndoClass::Owned => "removes our object, and only ours",
            UndoClass::Restores => "restores what was there before",
            UndoClass::None => "not possible",
        };
        line(
            "undo",
            &format!("{undo}; needs {}", Printable(&driver.permissions.undo)),
        );
        line("evidence", &step_evidence(step));
        if let Some(watch) = &step.watch {
            line("watch", &Printable(watch).to_string());
        }
    }
    if let Some(judgement) = &step.judgement {
        line(
            "mode",
            &format!(
                "{} (the act is of risk class {})",
                judgement.mode,
                format!("{:?}", judgement.risk).to_lowercase()
            ),
        );
    }
    let (tone, ruling) = match step.ruling {
        Ruling::Act => (Tone::Good, "it would act"),
        Ruling::Ask => (Tone::Warning, "it would ask a person"),
        Ruling::Observe => (Tone::Plain, "it would only write down that it would have acted"),
        Ruling::Refuse => (Tone::Bad, "it would refuse"),
        Ruling::Join => (Tone::Plain, "it would join an incident that is there"),
    };
    let why = step
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(": {}", Printable(why)));
    text.push_str(&format!(
        "    {}\n",
        output.paint(tone, &wrap(&format!("=> {ruling}{why}"), 7))
    ));
    text
}
