//! `staunch replay`
//!
//! Reads the journal and nothing else, takes no lock and writes nothing, so that it works beside a running server. It
//! always begins with the first frame: segments are never trimmed, and a snapshot would hide what led to it.

mod frames;
mod state;
mod verify;

use std::ops::ControlFlow;

use staunch_model::{Frame, IncidentId, Printable, Record, Timestamp};
use staunch_ports::Lsn;
use staunch_store::ReadOnlyJournal;

use super::journal::{open_fault, read_fault};
use super::load_existing;
use crate::cli::ReplayArgs;
use crate::exit::{Exit, Fault};
use crate::output::Output;
use crate::progress::Progress;

/// Frames between two looks at the clock.
const LOOK_EVERY: u64 = 1_024;

pub(super) fn run(args: &ReplayArgs) -> Result<Exit, Fault> {
    let config = load_existing(&args.data)?;
    let journal = ReadOnlyJournal::open(&config.journal_dir()).map_err(|error| open_fault(&error))?;
    let output = Output::new(args.json);
    if args.verify {
        return verify::run(&journal, &output);
    }
    match args.at {
        Some(at) => state::run(&journal, &output, end_of_millisecond(at), args.incident),
        None => frames::run(&journal, &output, args.incident),
    }
}

/// The last moment of the millisecond that `at` is: times are shown to the millisecond, and what was shown with `at`
/// is a part of the state at that time. One with microseconds is meant as it is.
fn end_of_millisecond(at: Timestamp) -> Timestamp {
    match at.as_micros() {
        us if us.is_multiple_of(1_000) => Timestamp::from_micros(us.saturating_add(999)),
        us => Timestamp::from_micros(us),
    }
}

/// When `incident` was opened, and the last incident of the journal.
fn opened(journal: &ReadOnlyJournal, incident: IncidentId) -> Result<(Option<Timestamp>, Option<IncidentId>), Fault> {
    let (mut at, mut last) = (None, None);
    each(journal, &mut |step| {
        for record in &step.frame.records {
            if let Record::IncidentOpened { incident: it, .. } = record {
                last = last.max(Some(*it));
                if *it == incident {
                    at = Some(step.now);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((at, last))
}

/// There never was this incident.
fn no_incident(incident: IncidentId, last: Option<IncidentId>) -> Fault {
    let hint = last.map_or_else(
        || "no incident is recorded in it".to_owned(),
        |last| format!("the last one that is recorded in it is {last}"),
    );
    Fault::new(Exit::NotFound, format!("there is no {incident} in the journal")).hint(hint)
}

/// A frame that was read.
pub(crate) struct Step {
    pub(crate) lsn: Lsn,
    pub(crate) now: Timestamp,
    pub(crate) frame: Frame,
}

/// Hands every frame to `visit`, in order, until it breaks, and says on stderr how far that has come.
///
/// # Errors
/// Those of `visit`, and when the journal cannot be read or ends before its newest snapshot.
pub(crate) fn each(
    journal: &ReadOnlyJournal,
    visit: &mut dyn FnMut(&Step) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let mut progress = Progress::start();
    let mut ended = Ok(());
    let read = journal.read_all(&mut |stored| {
        let now = Timestamp::from_micros(stored.now_us);
        if stored.lsn.0.is_multiple_of(LOOK_EVERY) {
            progress.tell(|| format!("frame {} of {now}", stored.lsn));
        }
        let visited = postcard::from_bytes::<Frame>(&stored.payload)
            .map_err(|error| unknown(stored.lsn, &error))
            .and_then(|frame| {
                visit(&Step {
                    lsn: stored.lsn,
                    now,
                    frame,
                })
            });
        match visited {
            Ok(flow) => flow,
            Err(fault) => {
                ended = Err(fault);
                ControlFlow::Break(())
            }
        }
    });
    ended.and(read.map_err(|error| read_fault(&error)))
}

fn unknown(lsn: Lsn, error: &postcard::Error) -> Fault {
    let what = format!(
        "frame {lsn} is not of a form that this build knows: {}",
        Printable(&error.to_string())
    );
    Fault::new(Exit::Failed, what).hint("use the version of Staunch that wrote it, or a later one")
}
