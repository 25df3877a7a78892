//! Tries changes on the past: the playbooks of today against those with a change, over the events of the incident, over
//! all of the journal, and over archived events.
//!
//! Never executes anything, and counts what becomes of addresses, as `staunch backtest` does.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use staunch_engine::lists::changes;
use staunch_model::{Policy, Program, Protection};
use staunch_ports::{Knowledge as _, Source};
use staunch_store::ReadOnlyJournal;

use super::reasons::Wish;
use crate::backtest::lane::{Approvals, Lane};
use crate::backtest::listing::listing;
use crate::backtest::past;
use crate::backtest::report::compare;
use crate::backtest::tally::Tally;
use crate::commands::backtest::source_of_name;
use crate::commands::open_fault;
use crate::commands::review::record::Recorded;
use crate::config::Config;
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::output::now;
use crate::{lists, wiring};

/// What a change came to over some events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands::review) struct Outcome {
    /// Over which.
    pub(in crate::commands::review) over: String,
    /// Events that were read.
    pub(in crate::commands::review) events: u64,
    /// Targets that only the change contains, that only it spares, that otherwise fare differently, and all others.
    pub(in crate::commands::review) newly_contained: u64,
    pub(in crate::commands::review) newly_spared: u64,
    pub(in crate::commands::review) otherwise_different: u64,
    pub(in crate::commands::review) unchanged: u64,
    /// How often something came into force, without the change and with it.
    pub(in crate::commands::review) containments: (u64, u64),
}

/// A change to be tried.
pub(super) struct Candidate {
    /// The playbooks with it.
    pub(super) programs: Vec<Program>,
    /// The configuration with it.
    pub(super) config: Config,
    pub(super) wish: Wish,
}

impl Candidate {
    /// `recorded` with the change.
    fn policy(&self, recorded: &Policy) -> Policy {
        let mut policy = recorded.clone();
        match &self.wish {
            Wish::Playbook(..) => {}
            Wish::Settings(..) => policy.limits = self.config.limits.into(),
            Wish::NeverTouch(network, reason) => policy.never_touch.push(Protection {
                network: *network,
                reason: reason.as_str().into(),
            }),
        }
        policy
    }
}

/// What each of `candidates` comes to, over each past. `programs` are those of today.
///
/// # Errors
/// When the journal or the archive cannot be read.
pub(super) fn run(
    candidates: &[Candidate],
    programs: &[Program],
    recorded: &Recorded,
    config: &Config,
    archive: &Path,
) -> Result<Vec<Vec<Outcome>>, Fault> {
    let mut all = vec![Vec::new(); candidates.len()];
    if candidates.is_empty() {
        return Ok(all);
    }
    let sources = wiring::event_sources(config)?;
    let lane = |programs: &[Program]| {
        Lane::new(
            Some(programs.to_vec()),
            config.nftables.elements_max.into(),
            Approvals::Lapse,
        )
    };
    let lanes = || -> Vec<Lane> {
        let new = candidates.iter().map(|it| lane(&it.programs));
        std::iter::once(lane(programs)).chain(new).collect()
    };
    let mode = recorded.policy.as_ref().map(|it| it.mode_max);
    let adapt = |position: usize, policy: &Policy| {
        // Commands are not given again, and so neither is the mode that a person had set.
        let policy = Policy {
            mode_max: mode.unwrap_or(policy.mode_max),
            ..policy.clone()
        };
        match position.checked_sub(1) {
            Some(at) => candidates[at].policy(&policy),
            None => policy,
        }
    };
    let dir = config.journal_dir();
    let id = recorded.id();
    for (over, only) in [
        (format!("the events of {id}"), Some(&recorded.frames)),
        ("all events of the journal".to_owned(), None),
    ] {
        let journal = ReadOnlyJournal::open(&dir).map_err(|error| open_fault(&error))?;
        let mut lanes = lanes();
        let read = past::journal(&journal, "the journal", &sources, &mut lanes, &adapt, only)?;
        add(&mut all, &over, read.events, &lanes);
    }
    let files = archived(archive, &sources)?;
    if !files.is_empty() {
        let mut lanes = lanes();
        let listed = lists::read(config)?;
        let listed: Vec<_> = listed
            .iter()
            .flat_map(|(path, list)| changes(path, None, Some(list)))
            .map(Arc::new)
            .collect();
        let table = Arc::new(config.context.table());
        lanes.iter_mut().for_each(|lane| lane.begin_with(&listed, &table));
        let context = Context::start(config, None)?;
        let known = (!config.context.is_empty()).then(|| context.current());
        let drivers = wiring::check_context(config).drivers;
        let policy = |position: usize| {
            let today = wiring::policy(config, &[], &[], &drivers);
            adapt(position, &today)
        };
        let read = past::files(&files, &mut lanes, &policy, now(), known.as_deref())?;
        add(
            &mut all,
            "archived events that matched no playbook",
            read.events,
            &lanes,
        );
    }
    Ok(all)
}

fn add(all: &mut [Vec<Outcome>], over: &str, events: u64, lanes: &[Lane]) {
    let Some((old, new)) = lanes.split_first() else { return };
    for (outcomes, lane) in all.iter_mut().zip(new) {
        outcomes.push(outcome(over, events, &old.tally, &lane.tally));
    }
}

fn outcome(over: &str, events: u64, old: &Tally, new: &Tally) -> Outcome {
    let compared = compare(old, new);
    Outcome {
        over: over.to_owned(),
        events,
        newly_contained: compared.newly_contained.count,
        newly_spared: compared.newly_spared.count,
        otherwise_different: compared.otherwise_different,
        unchanged: compared.same,
        containments: (old.containments, new.containments),
    }
}

/// The files of the archive whose source is known; none when there is no archive.
fn archived(dir: &Path, sources: &[Arc<dyn Source>]) -> Result<Vec<past::Sourced>, Fault> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let found = listing(&[dir.to_owned()])
        .map_err(|error| Fault::doing(Exit::Failed, "cannot list the archived events", &error))?;
    let sourced = |file: std::path::PathBuf| {
        let name = source_of_name(&file, sources)?;
        let source = sources.iter().find(|it| it.name() == name)?.clone();
        Some((file, source))
    };
    Ok(found.files.into_iter().filter_map(sourced).collect())
}
