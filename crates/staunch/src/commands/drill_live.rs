//! `staunch drill run --live`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;
use staunch_server::dto::{REASON_BYTES_MAX, is_blank};

use super::drill::{finish, live_of, make_reports, reports, signer};
use crate::cli::DrillRunArgs;
use crate::client::{
    Client, Patience, named_data_dir_must_be_there, named_files_must_be_there, named_url_must_not_be_blank,
};
use crate::drill::{self, Running, Scenario, Wanted};
use crate::exit::{Exit, Fault};
use crate::output::{confirm, say};

pub(super) fn run(args: &DrillRunArgs, drill: &'static Scenario) -> Result<Exit, Fault> {
    let live = live_of(drill)?;
    let reason = reason(drill, args.reason.as_deref())?;
    named_url_must_not_be_blank(&args.server)?;
    // Before anything is made in it.
    named_data_dir_must_be_there(&args.server)?;
    named_files_must_be_there(&args.server)?;
    let dir = match &args.report {
        Some(dir) => {
            drill::try_dir(dir)?;
            dir.clone()
        }
        None => reports(&args.server.data)?,
    };
    let signer = signer(args.key.as_deref(), &args.server.data, &dir)?;
    if args.report.is_none() {
        make_reports(&dir)?;
    }
    let wanted = Wanted {
        reason,
        event: event(args)?,
        source: "suricata".to_owned(),
        address: args.address,
    };
    let client = Client::new(&args.server, Patience::USUAL)?;
    let mut running = Running::look(client, wanted)?;
    let question = format!(
        "hold the drill {} on the running Staunch, with {}? the fault: {}",
        drill.name,
        running.describe(),
        drill.fault
    );
    confirm(&question, args.yes)?;
    running.until(catch_interrupts()?);
    let score = drill::run_live(drill, live, running, args.control, signer.verifier().text());
    finish(&score, &dir, &signer, args.json)
}

/// What the record says of everything that the drill asks for, with a mark that tells this run from every other.
fn reason(drill: &Scenario, said: Option<&str>) -> Result<String, Fault> {
    let mut mark = [0; 4];
    getrandom::fill(&mut mark).map_err(|error| {
        let what = format!("this machine gives no random numbers: {error}");
        Fault::new(Exit::Failed, what)
    })?;
    let run = format!("the drill {}, run {:08x}", drill.name, u32::from_be_bytes(mark));
    let Some(said) = said else {
        return Ok(run);
    };
    if is_blank(said) {
        let hint = "say why in --reason \"...\", or leave it out: the record names the drill";
        return Err(Fault::new(Exit::Usage, "the reason is blank").hint(hint));
    }
    let reason = format!("{run}: {said}");
    if reason.len() > REASON_BYTES_MAX {
        let (bytes, most) = (reason.len(), REASON_BYTES_MAX);
        let what = format!("with the name of the drill, the reason has {bytes} bytes; at most {most} are kept");
        return Err(Fault::new(Exit::Usage, what).hint("give a shorter --reason"));
    }
    Ok(reason)
}

/// The event that makes the running Staunch act.
fn event(args: &DrillRunArgs) -> Result<Value, Fault> {
    let Some(file) = &args.event else {
        return drill::sample_event();
    };
    let text = super::plan::read_event(file)?;
    let no_event = |why: &str| {
        Fault::new(
            Exit::Usage,
            format!("the event of a drill must be one alert of Suricata: {why}"),
        )
        .hint("give one line of eve.json with --event")
    };
    let event: Value = serde_json::from_slice(&text).map_err(|error| no_event(&error.to_string()))?;
    if event["src_ip"].is_string() {
        Ok(event)
    } else {
        Err(no_event("it has no src_ip"))
    }
}

/// From here on SIGINT and SIGTERM do not end the process, but say that the drill is to end and to clean up. The second
/// one ends it.
fn catch_interrupts() -> Result<Arc<AtomicBool>, Fault> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals
        .thread_block()
        .map_err(|error| Fault::doing(Exit::Failed, "cannot wait for signals", &error))?;
    let interrupted = Arc::<AtomicBool>::default();
    let flag = interrupted.clone();
    let watch = move || {
        while signals.wait().is_ok() {
            if flag.swap(true, Ordering::Relaxed) {
                say("ended at once: the fault ends by itself within minutes, a containment with its lease");
                std::process::exit(i32::from(Exit::Failed.code()));
            }
            say("interrupted: ending the fault, and releasing what was contained");
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
    Ok(interrupted)
}
