//! `staunch drill`

use std::path::{Path, PathBuf};

use serde_json::json;
use staunch_model::Printable;

use crate::cli::{DataArgs, DrillCommand, DrillKeyArgs, DrillRunArgs};
use crate::drill::{self, Place, Scenario, Score};
use crate::exit::{Exit, Fault};
use crate::files::cannot_write;
use crate::note::Signer;
use crate::output::{Output, print, say};

/// The name of the key in its directory.
const KEY: &str = "drill.key";

/// The name of the key that reports are signed with.
const KEY_NAME: &str = "staunch-drill";

/// The directory of reports in the data directory.
const REPORTS: &str = "drills";

pub(super) fn run(command: &DrillCommand) -> Result<Exit, Fault> {
    match command {
        DrillCommand::List { json } => list(*json),
        DrillCommand::Run(args) => run_one(args),
        DrillCommand::Stop(args) => super::drill_stop::run(args),
        DrillCommand::Verify { report, key, json } => verify(report, key.as_deref(), *json),
        DrillCommand::Key { key } => print_key(key),
        DrillCommand::Tabletop(args) => super::tabletop::run(args),
    }
}

fn list(json: bool) -> Result<Exit, Fault> {
    let rows: Vec<_> = drill::ALL
        .iter()
        .map(|it| {
            let mut places = vec![Place::Private.name()];
            places.extend(it.live.as_ref().map(|_| Place::Live.name()));
            json!({
                "name": it.name, "question": it.question, "fault": it.fault, "where": places,
                "expected": it.expects, "expected_always": drill::ALWAYS,
                "expected_live": it.live.as_ref().map(|live| live.expects.iter().chain(&drill::LIVE_ALWAYS).collect::<Vec<_>>()),
            })
        })
        .collect();
    Output::new(json).show(&json!({ "drills": rows }), |output| {
        drill::list_text(output, &drill::ALL)
    })?;
    Ok(Exit::Ok)
}

fn run_one(args: &DrillRunArgs) -> Result<Exit, Fault> {
    let drill = drill::find(&args.name).ok_or_else(|| {
        let names: Vec<&str> = drill::ALL.iter().map(|it| it.name).collect();
        Fault::new(Exit::NotFound, format!("there is no drill {}", Printable(&args.name)))
            .hint(format!("known: {}", names.join(", ")))
    })?;
    if args.live {
        return super::drill_live::run(args, drill);
    }
    let dir = args.report.clone().unwrap_or_else(|| ".".into());
    // Before the stage: in its namespaces another user's files may be out of reach.
    drill::try_dir(&dir)?;
    let signer = signer(args.key.as_deref(), &args.server.data, &dir)?;
    say(&format!("drill {}: it takes up to a minute", drill.name));
    let score = drill::run_private(drill, args.control, signer.verifier().text())?;
    finish(&score, &dir, &signer, args.json)
}

/// Writes the report and says what the drill came to.
pub(super) fn finish(score: &Score, dir: &Path, signer: &Signer, json: bool) -> Result<Exit, Fault> {
    let written = drill::write(score, dir, signer);
    Output::new(json).show(score, |output| drill::score_text(output, score))?;
    let path = written?;
    let shown = path.display().to_string();
    say(&format!("report {}, signed", Printable(&shown)));
    Ok(if score.held { Exit::Ok } else { Exit::DrillFailed })
}

/// Where reports of live drills are.
pub(super) fn reports(data: &DataArgs) -> Result<PathBuf, Fault> {
    Ok(super::load(data)?.data_dir.join(REPORTS))
}

/// Makes `dir`, which nobody has named, where it is not there, and makes sure that a report can be written into it.
pub(super) fn make_reports(dir: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(dir).map_err(|error| {
        let shown = dir.display().to_string();
        cannot_write(&format!("cannot make {}", Printable(&shown)), &error).hint("name another place with --report")
    })?;
    drill::try_dir(dir)
}

/// The key that signs: the one that is named, that of the data directory where there is one, or one beside the report.
pub(super) fn signer(named: Option<&Path>, data: &DataArgs, beside: &Path) -> Result<Signer, Fault> {
    if let Some(path) = named {
        return Signer::open(path, KEY_NAME);
    }
    let dir = super::load(data)?.data_dir;
    let usable = dir.is_dir() && nix::unistd::access(&dir, nix::unistd::AccessFlags::W_OK).is_ok();
    let dir = if usable { dir } else { beside.to_owned() };
    std::fs::create_dir_all(&dir).map_err(|error| {
        let shown = dir.display().to_string();
        Fault::doing(Exit::Failed, format!("cannot make {}", Printable(&shown)), &error)
            .hint("name other places with --report and --key")
    })?;
    Signer::open(&dir.join(KEY), KEY_NAME)
}

fn verify(report: &Path, key: Option<&str>, json: bool) -> Result<Exit, Fault> {
    let proved = drill::verify(report, key)?;
    let about = &proved.report;
    let held = about["held"].as_bool();
    let answer = json!({
        "proved": true, "key": proved.key, "key_was_given": key.is_some(), "drill": about["drill"], "held": held,
    });
    Output::new(json).show(&answer, |_| {
        let held = if held == Some(true) { "held" } else { "FAILED" };
        let name = Printable(about["drill"].as_str().unwrap_or_default()).to_string();
        format!(
            "{name}, {held}: the report is what was signed\nkey  {}\n",
            Printable(&proved.key)
        )
    })?;
    if key.is_none() {
        say("the key is the one that the report names: compare it with one that you know, or give that with --key");
    }
    Ok(Exit::Ok)
}

fn print_key(args: &DrillKeyArgs) -> Result<Exit, Fault> {
    let path = match &args.key {
        Some(path) => path.clone(),
        None => super::load(&args.data)?.data_dir.join(KEY),
    };
    let signer = Signer::open(&path, KEY_NAME)?;
    print(&format!("{}\n", signer.verifier().text()))?;
    Ok(Exit::Ok)
}

/// What a live drill expects, when `drill` can be one.
pub(super) fn live_of(drill: &'static Scenario) -> Result<&'static drill::LiveScenario, Fault> {
    drill.live.as_ref().ok_or_else(|| {
        let can: Vec<&str> = drill::ALL
            .iter()
            .filter(|it| it.live.is_some())
            .map(|it| it.name)
            .collect();
        Fault::new(
            Exit::Usage,
            format!("the drill {} plays on a stage of its own only", drill.name),
        )
        .hint(format!("leave out --live; live can be: {}", can.join(", ")))
    })
}
