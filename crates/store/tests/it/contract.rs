//! The contract suite against both journals.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use staunch_ports::Journal;
use staunch_store::journal::{DiskOp, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use staunch_store::{JournalOptions, MemoryJournal, SegmentJournal};
use staunch_testkit::contract::journal::{PAYLOAD_BYTES_MAX, SCARCE_RESERVE_BYTES, Space, journal};

use crate::{Faults, temp_dir};

#[test]
fn segment_journal() {
    let last = Rc::new(RefCell::new(None));
    let open_last = {
        let last = Rc::clone(&last);
        move || -> Box<dyn Journal> {
            let last = last.borrow();
            let (dir, options): &(tempfile::TempDir, JournalOptions) = last.as_ref().expect("one was made");
            Box::new(SegmentJournal::open(dir.path(), options.clone()).expect("the journal opens"))
        }
    };
    let make = |space| {
        *last.borrow_mut() = Some((temp_dir(), options(space)));
        open_last()
    };
    journal(make, |closed| {
        drop(closed);
        open_last()
    });
}

#[test]
fn memory_journal() {
    let last = RefCell::new(MemoryJournal::new());
    let make = |space| -> Box<dyn Journal> {
        *last.borrow_mut() = match space {
            Space::Ample => MemoryJournal::new(),
            Space::Scarce => MemoryJournal::with_capacity(64 << 10, SCARCE_RESERVE_BYTES),
        };
        Box::new(last.borrow().clone())
    };
    journal(make, |closed| {
        drop(closed);
        Box::new(last.borrow().restart())
    });
}

fn options(space: Space) -> JournalOptions {
    match space {
        Space::Ample => JournalOptions {
            segment_bytes: SEGMENT_HEADER_BYTES + (1 << 20) + 2 * (FRAME_HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64,
            reserve_bytes: 1 << 20,
            ..JournalOptions::default()
        },
        Space::Scarce => {
            let faults = Faults::new();
            // The first segment and one spare, then the disk is full.
            let mut left = 2;
            faults.set(move |op| {
                if !matches!(op, DiskOp::Create { name: "spare" }) {
                    return None;
                }
                if left == 0 {
                    return Some(io::ErrorKind::StorageFull);
                }
                left -= 1;
                None
            });
            JournalOptions {
                segment_bytes: 48 << 10,
                reserve_bytes: SCARCE_RESERVE_BYTES,
                payload_bytes_max: 2 << 10,
                ..faults.options()
            }
        }
    }
}
