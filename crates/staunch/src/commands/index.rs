//! `staunch index`

use serde_json::json;
use staunch_ports::Journal as _;
use staunch_store::index::{Index, IndexReader};
use staunch_store::{ReadOnlyJournal, SegmentJournal};

use super::journal::{open_fault, read_fault};
use super::load_existing;
use crate::cli::IndexCommand;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output::Output;
use crate::wiring;

pub(super) fn run(command: &IndexCommand) -> Result<Exit, Fault> {
    match command {
        IndexCommand::Rebuild { data, json } => rebuild(&load_existing(data)?, *json),
        IndexCommand::Status { data, json } => status(&load_existing(data)?, *json),
    }
}

fn rebuild(config: &Config, as_json: bool) -> Result<Exit, Fault> {
    // Opening for reading first: opening for writing would make an empty journal where there is none.
    ReadOnlyJournal::open(&config.journal_dir()).map_err(|error| open_fault(&error))?;
    // Holding the journal keeps a server, and with it a second writer of the index, away.
    let journal = SegmentJournal::open(&config.journal_dir(), wiring::journal_options(config));
    let journal = journal.map_err(|error| match open_fault(&error) {
        fault if fault.exit == Exit::InUse => fault.hint("a running Staunch keeps its index itself: stop it first"),
        fault => fault,
    })?;
    let failed = |error: &dyn std::error::Error| {
        Fault::of(Exit::Failed, error).hint("`staunch journal verify` tells whether the journal is sound")
    };
    let mut index = Index::open(&config.index_file(), &config.journal_dir()).map_err(|error| failed(&error))?;
    index.rebuild().map_err(|error| failed(&error))?;
    let position = index.reader().position().map_err(|error| failed(&error))?;
    let last = journal.tail().lsn;
    let answer = json!({ "position": position.0, "journal": last.0, "lag": last.0.saturating_sub(position.0) });
    Output::new(as_json).show(&answer, |_| format!("the index was rebuilt from {position} frames\n"))?;
    Ok(Exit::Ok)
}

fn status(config: &Config, as_json: bool) -> Result<Exit, Fault> {
    let journal = ReadOnlyJournal::open(&config.journal_dir()).map_err(|error| open_fault(&error))?;
    let index = IndexReader::open(&config.index_file()).and_then(|index| index.position());
    let position = index.map_err(|error| {
        Fault::doing(Exit::NotFound, "there is no index that this version can read", &error)
            .hint("`staunch serve` makes it at its start, `staunch index rebuild` without a server")
    })?;
    let mut last = position;
    let read = journal.read(position.next(), &mut |frame| {
        last = frame.lsn;
        std::ops::ControlFlow::Continue(())
    });
    read.map_err(|error| read_fault(&error))?;
    let lag = last.0.saturating_sub(position.0);
    let answer = json!({ "position": position.0, "journal": last.0, "lag": lag });
    Output::new(as_json).show(&answer, |_| match lag {
        0 => format!("up to date: frame {position} of {last}\n"),
        _ => format!("{lag} frames behind: frame {position} of {last}\n"),
    })?;
    Ok(Exit::Ok)
}
