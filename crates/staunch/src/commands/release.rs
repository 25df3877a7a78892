//! `staunch release`, with the big red button.

use std::time::{Duration, Instant};

use serde_json::json;
use staunch_model::{ReleaseScope, StateKind, TransactionId};
use staunch_server::auth::Right;
use staunch_server::dto::{Containment, Containments, ReleaseRequest, Status, is_blank, path};

use crate::actor::actor;
use crate::cli::ReleaseArgs;
use crate::client::{Client, Patience, is_served, named_url_must_not_be_blank};
use crate::config::{self, Config};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, confirm, say, warn};
use crate::wiring::released::Noted;
use crate::wiring::{self, Direct};

/// How often everything is asked of a server that says it is busy, or cuts the connection. One that was just dying
/// refuses the next one.
const BUSY_TRIES: usize = 3;

/// The pause between two of those tries.
const BUSY_PAUSE: Duration = Duration::from_millis(300);

/// How often it is looked whether what is waited for is lifted.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) fn run(args: &ReleaseArgs) -> Result<Exit, Fault> {
    if args.all {
        return all(args);
    }
    let (scope, what) = match (args.id, args.incident) {
        (Some(id), _) => (ReleaseScope::Transaction(id), id.to_string()),
        (None, Some(incident)) => (ReleaseScope::Incident(incident), format!("what {incident} holds")),
        (None, None) => {
            let fault = Fault::new(Exit::Usage, "it is not said what to release");
            return Err(fault.hint(
                "name a transaction, as in `staunch release TX-17`; an incident, for what it holds, as in `staunch release \
                 --incident INC-3`; or everything: `staunch release --all`",
            ));
        }
    };
    let reason = args.change.must_say_why()?;
    let client = Client::new(&args.change.show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    confirm(&format!("release {what}?"), args.change.yes)?;
    let request = ReleaseRequest {
        scope,
        trust: args.trust,
        reason,
    };
    let reply = client.command(path::RELEASE, &request).map_err(|fault| {
        let here = fault.exit == Exit::Unreachable && !fault.is_silence() && args.change.show.server.url.is_none();
        match fault.advice().map(str::to_owned) {
            Some(advice) if here => fault.hint(format!(
                "{advice}; without a server only all of it can be lifted: `staunch release --all`"
            )),
            _ => fault,
        }
    })?;
    let awaited = wait(args, &client, &request.scope, &reply.affected)?;
    Output::new(args.change.show.json).show(&reply, |_| released_text(args, &reply.affected, &awaited))?;
    match args.trust {
        Some(trust) if !reply.affected.is_empty() => say(&format!(
            "and left alone for {trust}, or longer where it is protected for longer: `staunch protect list` shows by whom"
        )),
        // Only what another incident holds too was let go of.
        Some(_) => say("nothing is trusted, because nothing was released"),
        None => {}
    }
    Ok(Exit::Ok)
}

/// What is said of a release of `affected`, with which all of `awaited` was waited for.
fn released_text(args: &ReleaseArgs, affected: &[TransactionId], awaited: &[TransactionId]) -> String {
    match args.wait {
        _ if awaited.is_empty() => "there was nothing to release\n".to_owned(),
        Some(_) if affected.is_empty() => {
            format!(
                "{} was being released already; nothing of it is in place\n",
                few(awaited)
            )
        }
        Some(_) => format!("released {}; nothing of it is in place\n", few(awaited)),
        None => format!(
            "releasing {}; `staunch containment list` shows when it is done\n",
            few(affected)
        ),
    }
}

/// The names of `all`, or how many there are.
fn few(all: &[TransactionId]) -> String {
    match all.len() {
        count if count <= 8 => names(all),
        count => format!("{count} transactions"),
    }
}

fn names(all: &[TransactionId]) -> String {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Waits, when that was asked for, until nothing of `affected` is in force or on its way, nor anything in `scope` that
/// was being lifted already: who gives the command again, because the first one took too long, waits for the same.
/// Returns what was waited for.
fn wait(
    args: &ReleaseArgs,
    client: &Client,
    scope: &ReleaseScope,
    affected: &[TransactionId],
) -> Result<Vec<TransactionId>, Fault> {
    let mut awaited = affected.to_vec();
    let Some(most) = args.wait else {
        return Ok(awaited);
    };
    let until = Instant::now() + most.to_std();
    let is_in_scope = |it: &Containment| match scope {
        ReleaseScope::All => true,
        ReleaseScope::Incident(incident) => it.incident == *incident || it.holders.contains(incident),
        _ => false,
    };
    for look in 0_u64.. {
        let mut all = client.get::<Containments>(path::CONTAINMENTS, &json!({}))?.containments;
        if look == 0 {
            // What comes later was not there to be released.
            let lifting = all.iter().filter(|it| it.state.is_undo() && is_in_scope(it));
            awaited.extend(lifting.map(|it| it.transaction));
            awaited.sort_unstable();
            awaited.dedup();
        }
        all.retain(|it| awaited.contains(&it.transaction));
        if all.is_empty() {
            break;
        }
        let stuck: Vec<_> = all
            .iter()
            .filter(|it| it.state == StateKind::Stuck)
            .map(|it| it.transaction)
            .collect();
        if !stuck.is_empty() {
            let fault = Fault::new(Exit::Failed, format!("{} cannot be proved to be lifted", names(&stuck)));
            return Err(fault.hint("`staunch containment list` says why, and what is in place"));
        }
        if Instant::now() >= until {
            let left: Vec<_> = all.iter().map(|it| it.transaction).collect();
            let fault = Fault::new(
                Exit::Failed,
                format!("{} not lifted within {most}; it goes on", few(&left)),
            );
            return Err(fault.hint("`staunch containment list` shows when it is done"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(awaited)
}

/// Through the server when it answers, around it when it does not: nobody must wait for a broken Staunch to let go.
fn all(args: &ReleaseArgs) -> Result<Exit, Fault> {
    let server = &args.change.show.server;
    named_url_must_not_be_blank(server)?;
    if args.direct {
        if server.url.is_some() {
            let fault = Fault::new(Exit::Usage, "--direct is about this machine, and a URL is named");
            return Err(fault.hint("leave out --url and STAUNCH_URL, or --direct"));
        }
        return directly(args, &local(args)?.config);
    }
    // A named server may protect another machine: this one's elements are then none of its business.
    let here = match server.url {
        Some(_) => None,
        None => {
            let Local { config, knows_address } = local(args)?;
            if !knows_address && !is_served(&config.operators_socket()) {
                warn("the Staunch of this machine does not answer at its socket, and its address is not known");
                return directly(args, &config);
            }
            Some(config)
        }
    };
    let client = match &here {
        Some(config) => Client::with(server, config, Patience::SHORT)?,
        None => Client::new(server, Patience::SHORT)?,
    }
    .meaning_to(Right::Respond);
    let mut result = through(args, &client);
    for _ in 1..BUSY_TRIES {
        match &result {
            Err(fault) if fault.exit == Exit::Busy => std::thread::sleep(BUSY_PAUSE),
            _ => break,
        }
        result = through(args, &client);
    }
    let is_recorded = result.is_ok();
    match result.and_then(|released| told(args, &client, &released)) {
        Ok(exit) => Ok(exit),
        Err(fault) => match &here {
            Some(config) if fault.exit == Exit::Unreachable => {
                warn(&format!("{}; it is gone around", fault.told()));
                directly(args, config)
            }
            Some(_) if fault.exit == Exit::Denied => Err(fault.hint(
                "put the token of a responder or an operator into STAUNCH_TOKEN, or run this as the user of the server; or let go without it: \
                 `staunch release --all --direct`",
            )),
            // It answers, so it runs: to go around it is for a person to decide.
            Some(_) if !is_recorded && matches!(fault.exit, Exit::Busy | Exit::Failed) => Err(fault.hint(
                "the server runs, so it was not gone around: give the command again, or let go without it: \
                 `staunch release --all --direct`",
            )),
            None if fault.exit == Exit::Unreachable => Err(fault.hint(
                "nothing was released here, because a URL is named; on the protected machine itself leave out --url and \
                 STAUNCH_URL",
            )),
            _ => Err(fault),
        },
    }
}

/// What the server has released.
struct Released {
    affected: Vec<TransactionId>,
    /// Of former installations.
    former: u64,
    former_left: u64,
}

fn through(args: &ReleaseArgs, client: &Client) -> Result<Released, Fault> {
    let status = match client.get::<Status>(path::STATUS, &json!({})) {
        Ok(status) => Some(status),
        Err(fault) if matches!(fault.exit, Exit::Denied | Exit::Unreachable) => return Err(fault),
        // The number is for the question only. Whether the server is of help, the command itself finds out.
        Err(_) => None,
    };
    // Here it is recorded. Who goes around the server leaves no record, and must not be kept from it.
    let reason = args.change.must_say_why()?;
    let question = match &status {
        Some(status) => {
            let count = status.in_force + status.under_way + status.awaiting_approval;
            let former = match status.former {
                former if args.former => format!(", and {former} of former installations"),
                _ => String::new(),
            };
            format!("release everything: {count} in force, waiting or under way{former}?")
        }
        None => "release everything?".to_owned(),
    };
    confirm(&question, args.change.yes)?;
    let request = |scope| ReleaseRequest {
        scope,
        trust: None,
        reason: reason.clone(),
    };
    let reply = client.command(path::RELEASE, &request(ReleaseScope::All))?;
    let lifted = if args.former {
        client.command(path::RELEASE, &request(ReleaseScope::Former))?.former
    } else {
        0
    };
    Ok(Released {
        affected: reply.affected,
        former: lifted,
        former_left: status.map_or(0, |it| it.former).saturating_sub(lifted),
    })
}

/// Waits for what was released, if that was asked for, and tells of it.
fn told(args: &ReleaseArgs, client: &Client, released: &Released) -> Result<Exit, Fault> {
    let Released {
        affected,
        former,
        former_left,
    } = released;
    let awaited = wait(args, client, &ReleaseScope::All, affected)?;
    let answer =
        json!({ "way": "server", "affected": affected, "former_released": former, "former_left": former_left });
    Output::new(args.change.show.json).show(&answer, |_| {
        let mut text = released_text(args, affected, &awaited);
        if args.former {
            text.push_str(&format!("{former} of former installations released\n"));
        }
        text
    })?;
    say_what_stays(*former_left);
    Ok(Exit::Ok)
}

/// Tells of elements that somebody who wants everything released would overlook.
fn say_what_stays(former: u64) {
    if former > 0 {
        say(&format!(
            "{former} of former installations {} in force: `staunch release --all --former` lifts {} too",
            if former == 1 { "stays" } else { "stay" },
            if former == 1 { "it" } else { "them" },
        ));
    }
}

/// What is known of this machine's Staunch.
struct Local {
    config: Config,
    /// Whether the server is to be asked at its address too, and not at its socket alone.
    knows_address: bool,
}

/// The configuration of this machine's server; where it has mistakes, what can be read of it; and where nothing can be
/// read, what holds without one.
///
/// # Errors
/// When a mistake may be in what names the place of what is to be lifted: another Staunch of this machine may be at the
/// one that would be taken instead.
fn local(args: &ReleaseArgs) -> Result<Local, Fault> {
    let data = &args.change.show.server.data;
    let with_data_dir = |mut config: Config, knows_address| {
        if let Some(dir) = &data.data_dir {
            config.data_dir.clone_from(dir);
        }
        Local { config, knows_address }
    };
    let unusable = match config::read(data.config.config.as_deref()) {
        Ok(loaded) => return Ok(with_data_dir(loaded.config, true)),
        Err(unusable) => unusable,
    };
    match unusable.salvage() {
        Some(found) if !(found.knows_table && (found.knows_data_dir || data.data_dir.is_some())) => {
            Err(unusable.fault().hint(
                "nothing was released, because a mistake may be in the name of the data directory or of the tables in the \
                 kernel: mend it, or name another file with --config",
            ))
        }
        Some(found) => {
            unusable.say_going_on();
            Ok(with_data_dir(found.config, found.knows_address))
        }
        None => {
            unusable.say_going_on();
            Ok(with_data_dir(Config::default(), true))
        }
    }
}

/// Lifts what we hold in the kernel, without journal or index. The next start of a server records who did it and why;
/// one that runs finds in its next sweep that it is gone.
fn directly(args: &ReleaseArgs, config: &Config) -> Result<Exit, Fault> {
    let table = &config.nftables.table;
    say(&format!(
        "what is left is to lift here, directly in the kernel, what Staunch holds: elements of the tables \
         inet {table} and {table}_limit, the isolation of this machine, frozen processes, locked accounts and sinkholed domains"
    ));
    confirm("lift it?", args.change.yes)?;
    // What cannot be lifted here, the next start lifts.
    let reason = args.change.reason.as_deref().filter(|it| !is_blank(it));
    let noted = wiring::released::note(config, &actor(), reason);
    if let Err(error) = &noted {
        let file = config.released_file();
        warn(&format!(
            "who did this and why cannot be noted for the next start in {}: {error}",
            file.display()
        ));
    }
    let noted = noted.ok();
    let is_noted = noted == Some(Noted::ForTheNextStart);
    let Direct { released, former } = wiring::release_directly(config, args.former).map_err(|fault| {
        if !is_noted {
            return fault;
        }
        let file = config.released_file();
        let then = format!(
            "the next start of the server lifts and records all of it, unless {} is removed before",
            file.display()
        );
        match fault.advice().map(str::to_owned) {
            Some(advice) => fault.hint(format!("{advice}; {then}")),
            None => fault.hint(then),
        }
    })?;
    let answer = json!({ "way": "kernel", "released": released, "former_left": former, "noted": is_noted });
    Output::new(args.change.show.json).show(&answer, |output| {
        let text = format!(
            "{released} containment{} released directly in the kernel",
            if released == 1 { "" } else { "s" }
        );
        output.paint(Tone::Strong, &text) + "\n"
    })?;
    say_what_stays(former as u64);
    if is_noted {
        say("the next start of the server records that, with who and why");
    } else {
        say("a server that runs, or is started, finds them missing in its next sweep and records that;");
        say("while it runs it may contain again: set `staunch mode observe` as soon as it answers, or stop it");
        match noted {
            _ if reason.is_none() => {}
            Some(Noted::OfNoUse) => {
                say("the reason that was given is on record nowhere: nobody tells it to a server that runs");
            }
            _ => say("the reason that was given is on record nowhere"),
        }
    }
    Ok(Exit::Direct)
}
