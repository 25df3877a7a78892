//! Hands events that matched nothing to an archive, without ever making intake wait.
//!
//! ```text
//! intake -> a batch for each body -> bounded queue -> one thread -> blocks of a source -> the archive
//! ```
//!
//! Never holds more than [`WAITING_BYTES_MAX`] in the queue and one block for each source. What does not fit is dropped
//! and counted: an archive that is slow, full or broken costs events of the archive and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use staunch_model::WithCauses;
use staunch_ports::{Archive, Clock};

use crate::handle::Handle;
use crate::telemetry::Telemetry;

/// Bytes of events that wait for the archive. Some seconds of a busy sensor.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Batches that wait for the archive.
const WAITING_MAX: usize = 1_024;

/// Bytes that are archived together. Compression hardly gains from more, and a crash costs at most this much.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// How long an event waits for others before it is archived.
const BLOCK_PAUSE: Duration = Duration::from_secs(1);

/// The way to the archive. Cheap to clone.
#[derive(Clone)]
pub struct Archiver {
    queue: Sender<Lines>,
    waiting: Arc<AtomicUsize>,
    telemetry: Arc<Telemetry>,
}

/// The thread behind an [`Archiver`].
pub struct ArchiverThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Events of one source, one a line.
struct Lines {
    source: String,
    bytes: Vec<u8>,
}

/// The events of one body that matched nothing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    room: usize,
    bytes: Vec<u8>,
    events: u64,
    dropped: u64,
}

impl Batch {
    /// Adds one event, on a line of its own. Line ends inside it are blanks between its values: in a text they would
    /// not be JSON.
    pub(crate) fn add(&mut self, event: &[u8]) {
        if self.bytes.len() + event.len() >= self.room {
            self.dropped += 1;
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        // Without a branch, so that many bytes are done at once.
        for byte in &mut self.bytes[start..] {
            *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        }
        self.bytes.push(b'\n');
        self.events += 1;
    }
}

impl Archiver {
    /// Starts the thread that feeds `archive`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(archive: Box<dyn Archive>, handle: &Handle) -> std::io::Result<(Self, ArchiverThread)> {
        let (queue, lines) = bounded(WAITING_MAX);
        let (stop, stopped) = bounded(0);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            archive,
            clock: handle.clock.clone(),
            telemetry: handle.telemetry.clone(),
            waiting: waiting.clone(),
            blocks: BTreeMap::new(),
            since: None,
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("archive".into())
            .spawn(move || writer.run(&lines, &stopped))?;
        let archiver = Self {
            queue,
            waiting,
            telemetry: handle.telemetry.clone(),
        };
        Ok((archiver, ArchiverThread { stop, thread }))
    }

    /// An empty batch with the room that there is at present.
    pub(crate) fn batch(&self) -> Batch {
        Batch {
            room: WAITING_BYTES_MAX.saturating_sub(self.waiting.load(Ordering::Relaxed)),
            ..Batch::default()
        }
    }

    /// Hands over `batch`, or drops it. Returns at once.
    pub(crate) fn offer(&self, source: &str, batch: Batch) {
        let Batch {
            bytes,
            events,
            mut dropped,
            ..
        } = batch;
        let size = bytes.len();
        if events > 0 {
            let before = self.waiting.fetch_add(size, Ordering::Relaxed);
            let lines = Lines {
                source: source.to_owned(),
                bytes,
            };
            if before + size > WAITING_BYTES_MAX || self.queue.try_send(lines).is_err() {
                self.waiting.fetch_sub(size, Ordering::Relaxed);
                dropped += events;
            }
        }
        self.telemetry.events_archive_dropped.add(dropped);
    }
}

impl ArchiverThread {
    /// Archives what is waiting, and ends.
    pub fn stop(self) {
        drop(self.stop);
        // A thread that panicked has said so; nothing depends on it.
        drop(self.thread.join());
    }
}

struct Writer {
    archive: Box<dyn Archive>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    waiting: Arc<AtomicUsize>,
    /// Events that wait for others, by source.
    blocks: BTreeMap<String, (Vec<u8>, u64)>,
    /// Since when the oldest of them waits.
    since: Option<Instant>,
    failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Lines>, stop: &Receiver<()>) {
        loop {
            let due = self
                .since
                .map_or(BLOCK_PAUSE, |since| BLOCK_PAUSE.saturating_sub(since.elapsed()));
            select! {
                recv(lines) -> taken => match taken {
                    Ok(taken) => self.take(taken),
                    Err(_) => break,
                },
                recv(stop) -> _ => break,
                default(due) => self.flush(),
            }
            if self.since.is_some_and(|since| since.elapsed() >= BLOCK_PAUSE) {
                self.flush();
            }
        }
        for taken in lines.try_iter() {
            self.take(taken);
        }
        self.flush();
    }

    fn take(&mut self, lines: Lines) {
        self.waiting.fetch_sub(lines.bytes.len(), Ordering::Relaxed);
        self.since.get_or_insert_with(Instant::now);
        let Lines { source, bytes } = lines;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let block = self.blocks.entry(source.clone()).or_default();
            if !block.0.is_empty() && block.0.len() + line.len() > BLOCK_BYTES_MAX {
                let full = std::mem::take(block);
                self.append(&source, &full.0, full.1);
            }
            let block = self.blocks.entry(source.clone()).or_default();
            block.0.extend_from_slice(line);
            block.1 += 1;
        }
    }

    fn flush(&mut self) {
        self.since = None;
        for (source, (bytes, events)) in std::mem::take(&mut self.blocks) {
            self.append(&source, &bytes, events);
        }
    }

    fn append(&mut self, source: &str, lines: &[u8], events: u64) {
        if events == 0 {
            return;
        }
        match self.archive.append(source, lines, self.clock.now()) {
            Ok(()) => {
                self.telemetry.events_archived.add(events);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("events are archived again");
                }
            }
            Err(error) => {
                self.telemetry.events_archive_dropped.add(events);
                // Once for each time that it breaks, not for each block.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error = %WithCauses(&error), "events are not archived; containment goes on");
                }
            }
        }
    }
}
