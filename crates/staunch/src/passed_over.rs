//! The frames that a follower of the journal was too slow for, read from the journal itself.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use staunch_model::{Frame, Printable, Timestamp, WithCauses};
use staunch_ports::Lsn;
use staunch_store::ReadOnlyJournal;

/// Has `take` take the frames of the journal in the directory `journal` that are within `frames`, in order.
///
/// # Errors
/// What is wrong, in words, when one of them cannot be read or is not of a form that this build knows. Those before it
/// were taken.
pub(crate) fn read(
    journal: &Path,
    frames: Range<Lsn>,
    take: &mut dyn FnMut(Lsn, Timestamp, &Frame),
) -> Result<(), String> {
    let opened = ReadOnlyJournal::open(journal).map_err(|error| WithCauses(&error).to_string())?;
    let mut next = frames.start;
    let mut unknown = None;
    let read = opened.read(next, &mut |stored| {
        if next >= frames.end {
            return ControlFlow::Break(());
        }
        match postcard::from_bytes::<Frame>(&stored.payload) {
            Ok(frame) => take(stored.lsn, Timestamp::from_micros(stored.now_us), &frame),
            Err(error) => {
                unknown = Some(format!(
                    "frame {next} is not of a form that this build knows: {}",
                    Printable(&error.to_string())
                ));
                return ControlFlow::Break(());
            }
        }
        next = stored.lsn.next();
        ControlFlow::Continue(())
    });
    read.map_err(|error| WithCauses(&error).to_string())?;
    match unknown {
        Some(why) => Err(why),
        None if next < frames.end => Err(format!("the journal ends before frame {next}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::Input;
    use staunch_ports::{Journal as _, NewFrame, Purpose};
    use staunch_store::{JournalOptions, SegmentJournal};

    use super::*;

    /// A journal of four ticks, one second apart.
    fn four_ticks(dir: &Path) -> SegmentJournal {
        let mut journal = SegmentJournal::open(dir, JournalOptions::default()).expect("a journal");
        let tick = postcard::to_allocvec(&Frame {
            input: Input::Tick,
            records: Vec::new(),
        });
        let payload = tick.expect("it can be written");
        let frames: Vec<_> = (1..=4)
            .map(|second| NewFrame {
                now_us: second * 1_000_000,
                payload: &payload,
            })
            .collect();
        let epoch = journal.open_epoch().expect("an epoch");
        let appended = journal.append(epoch, journal.tail().lsn, Purpose::Settle, &frames);
        appended.expect("there is room");
        journal
    }

    fn taken(dir: &Path, from: u64, until: u64) -> (Vec<(u64, u64)>, Result<(), String>) {
        let mut taken = Vec::new();
        let read = read(dir, Lsn(from)..Lsn(until), &mut |lsn, now, frame| {
            assert_eq!(frame.input, Input::Tick);
            taken.push((lsn.0, now.as_micros() / 1_000_000));
        });
        (taken, read)
    }

    #[test]
    fn what_was_passed_over_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _journal = four_ticks(dir.path());
        assert_eq!(taken(dir.path(), 2, 4), (vec![(2, 2), (3, 3)], Ok(())));
        assert_eq!(taken(dir.path(), 4, 5), (vec![(4, 4)], Ok(())));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _journal = four_ticks(dir.path());
        let (there, read) = taken(dir.path(), 3, 7);
        assert_eq!(there, [(3, 3), (4, 4)]);
        assert_eq!(read, Err("the journal ends before frame 5".to_owned()));
        let (none, read) = taken(&dir.path().join("nowhere"), 1, 2);
        assert!(none.is_empty() && read.is_err(), "{read:?}");
    }
}
