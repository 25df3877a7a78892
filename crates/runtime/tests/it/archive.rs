//! Events that match nothing, on their way to an archive that the test holds in its hand.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, bounded};
use staunch_model::{Endpoint, EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity, Timestamp};
use staunch_ports::{Archive, ArchiveError, NotRead, Sighting, Source};
use staunch_runtime::{Archiver, Handle, Intake, Taken};

use crate::journal::GatedJournal;
use crate::world::World;
use crate::{LIMIT, start};

/// Reads every line as an alert, or as telemetry when it begins with `~`.
struct Lines;

struct Line<'a>(&'a [u8]);

impl RawFields for Line<'_> {
    fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
        None
    }
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl Source for Lines {
    fn name(&self) -> &str {
        "lines"
    }
    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), NotRead> {
        for (at, line) in body.split(|byte| *byte == b'|').enumerate() {
            let kind = if line.starts_with(b"~") {
                EventKind::Telemetry
            } else {
                EventKind::Alert
            };
            let view = EventView {
                system: "lines",
                kind,
                id: None,
                time: None,
                severity: Severity::Unknown,
                signature: "",
                category: "",
                source: Endpoint::default(),
                destination: Endpoint::default(),
                user: None,
                host: None,
                raw: &Line(line),
                around: &NothingKnown,
            };
            visit(at, Sighting::Event(&view));
        }
        Ok(())
    }
    fn explain(&self, _: &[u8]) -> Option<String> {
        None
    }
}

/// An archive that keeps in memory what it is given, once `open` lets it.
struct Held {
    open: Receiver<()>,
    kept: Arc<Mutex<Vec<u8>>>,
    fails: bool,
}

impl Archive for Held {
    fn append(&mut self, source: &str, lines: &[u8], _: Timestamp) -> Result<(), ArchiveError> {
        // The test opens by letting go of its end.
        let _ = self.open.recv();
        assert_eq!(source, "lines");
        if self.fails {
            return Err(ArchiveError {
                what: "write to",
                file: "nowhere".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.kept.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }
}

/// Posts `body`, and waits for the answer, which must not wait for the archive.
fn take(intake: &Intake, body: &[u8]) -> Taken {
    let (sender, receiver) = bounded(1);
    let reply = Box::new(move |result| sender.send(result).expect("the test waits"));
    intake.take("lines", body, reply);
    receiver.recv_timeout(LIMIT).expect("an answer").expect("it was taken")
}

fn counts(handle: &Handle) -> (u64, u64) {
    let counts = handle.telemetry().counts();
    (counts.events_archived, counts.events_archive_dropped)
}

/// Takes `bodies` while the archive does not answer, then lets it: what was kept, and how many were kept and dropped.
fn archived(bodies: &[Vec<u8>], fails: bool) -> (String, u64, u64) {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    let (closed, open) = bounded::<()>(0);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let archive = Held {
        open,
        kept: kept.clone(),
        fails,
    };
    let (archiver, thread) = Archiver::start(Box::new(archive), &handle).expect("a thread");
    let intake = Intake::new(vec![Arc::new(Lines)], Vec::new(), handle.clone()).with_archive(Some(archiver));
    for body in bodies {
        take(&intake, body);
    }
    drop(closed);
    thread.stop();
    let (archived, dropped) = counts(&handle);
    drop(intake);
    runtime.stop().expect("it stops cleanly");
    let kept = String::from_utf8(kept.lock().unwrap().clone()).expect("UTF-8");
    (kept, archived, dropped)
}

#[test]
fn what_matches_nothing_is_archived_a_line_each_and_telemetry_is_not() {
    let (kept, archived, dropped) = archived(&[b"one|~telemetry|t\n\rwo".to_vec(), b"th\nr\ree".to_vec()], false);
    assert_eq!(kept, "one\nt  wo\nth r ee\n");
    assert_eq!((archived, dropped), (3, 0));
}

#[test]
fn a_stuck_archive_costs_its_own_events_and_no_answer() {
    let event = "x".repeat(1 << 19);
    let body = [event.as_str(), &event].join("|").into_bytes();
    let (kept, archived, dropped) = archived(&vec![body; 40], false);
    assert_eq!(archived + dropped, 80);
    assert!(dropped > 0, "the queue is bounded");
    assert_eq!(kept.len() as u64, archived * (event.len() as u64 + 1));
    // The queue, a block for the source, and what the thread has in its hand.
    assert!(kept.len() <= (8 << 20) + (3 << 20), "{} bytes were held", kept.len());
}

#[test]
fn a_broken_archive_is_counted() {
    let (kept, archived, dropped) = archived(&[b"one|two".to_vec(), b"three".to_vec()], true);
    assert_eq!((kept.as_str(), archived, dropped), ("", 0, 3));
}
