//! One artefact that is a JSON object, written part by part: nothing but the part at hand is in memory.

use serde::Serialize;
use staunch_model::{EvidenceKind, Failure, FailureKind, Printable, Timestamp};
use staunch_ports::clock::SystemClock;
use staunch_ports::{About, Clock as _, Sink};

/// Bytes that are handed to the sink at once.
const FLUSH_BYTES: usize = 64 << 10;

/// Bytes of one list that is held until it is known to be whole.
const ITEMS_BYTES_MAX: usize = 64 << 20;

/// Problems that an artefact names; more of them are counted.
const PROBLEMS_MAX: usize = 100;

/// The version of the form of the documents.
const VERSION: u32 = 1;

/// A JSON object that is being written.
pub(super) struct Document<'s> {
    sink: &'s mut dyn Sink,
    about: About,
    buffer: Vec<u8>,
    /// Whether something was written since the last opening bracket.
    has_parts: bool,
    problems: Problems,
}

/// Values of a list that are not written before the list is whole.
#[derive(Default)]
pub(super) struct Items {
    bytes: Vec<u8>,
    count: u64,
    is_cut: bool,
}

/// What could not be read, in words.
#[derive(Default)]
pub(super) struct Problems {
    told: Vec<String>,
    more: u64,
}

/// What an artefact of JSON is.
pub(super) fn about(kind: EvidenceKind, locator: &str, method: &str) -> About {
    About {
        name: format!("{}.json", kind.name()).into(),
        media_type: "application/json",
        locator: locator.into(),
        method: method.into(),
        modified: None,
    }
}

/// Writes one artefact. When that fails, what was begun is dropped, and it is recorded that it is missing.
pub(super) fn write(
    kind: EvidenceKind,
    about: About,
    sink: &mut dyn Sink,
    body: impl FnOnce(&mut Document<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    write_since(now(), kind, about, sink, body)
}

/// The same, of what was begun to be taken at `begun`, before the document was.
pub(super) fn write_since(
    begun: Timestamp,
    kind: EvidenceKind,
    about: About,
    sink: &mut dyn Sink,
    body: impl FnOnce(&mut Document<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut document = Document {
        sink: &mut *sink,
        about: about.clone(),
        buffer: Vec::with_capacity(FLUSH_BYTES + 4_096),
        has_parts: false,
        problems: Problems::default(),
    };
    let done = document
        .begin(kind, begun)
        .and_then(|()| body(&mut document))
        .and_then(|()| document.end());
    done.inspect_err(|failure| sink.missed(about, failure.clone()))
}

impl Document<'_> {
    fn begin(&mut self, kind: EvidenceKind, begun: Timestamp) -> Result<(), Failure> {
        self.sink
            .begin(self.about.clone())
            .map_err(|error| of_sink(&self.about.name, &error))?;
        self.buffer.push(b'{');
        self.field("kind", &kind.name())?;
        self.field("version", &VERSION)?;
        self.field("begun", &begun)
    }

    fn end(&mut self) -> Result<(), Failure> {
        let problems = std::mem::take(&mut self.problems);
        self.field("complete", &problems.told.is_empty())?;
        self.field("problems", &problems.told)?;
        if problems.more > 0 {
            self.field("more_problems", &problems.more)?;
        }
        self.field("ended", &now())?;
        self.buffer.extend(b"}\n");
        self.flush()?;
        self.sink.end().map_err(|error| of_sink(&self.about.name, &error))
    }

    /// Says that something is left out, because it could not be read, or for want of time or room.
    pub(super) fn problem(&mut self, what: &str) {
        self.problems.add(what);
    }

    /// Says that all of these could not be read.
    pub(super) fn problems(&mut self, problems: &Problems) {
        self.problems.more += problems.more;
        problems.told.iter().for_each(|it| self.problems.add(it));
    }

    /// Writes a part.
    pub(super) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        self.name(name)?;
        self.value(value)
    }

    /// Begins a list. Until [`Document::end_list`], only [`Document::item`] follows.
    pub(super) fn begin_list(&mut self, name: &str) -> Result<(), Failure> {
        self.name(name)?;
        self.buffer.push(b'[');
        self.has_parts = false;
        Ok(())
    }

    /// Writes one value of a list.
    pub(super) fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        self.separate();
        self.value(value)
    }

    /// Ends a list.
    pub(super) fn end_list(&mut self) {
        self.buffer.push(b']');
        self.has_parts = true;
    }

    /// Writes a list that is whole.
    pub(super) fn items(&mut self, name: &str, items: &Items) -> Result<(), Failure> {
        self.begin_list(name)?;
        for part in items.bytes.chunks(FLUSH_BYTES) {
            self.buffer.extend(part);
            self.flush_when_full()?;
        }
        self.end_list();
        if items.is_cut {
            self.problem(&format!("{name}: those after the first {} are left out", items.count));
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), Failure> {
        self.separate();
        self.value(name)?;
        self.buffer.push(b':');
        Ok(())
    }

    fn separate(&mut self) {
        // The object begins with a bracket, and every list does.
        if self.has_parts {
            self.buffer.push(b',');
        }
        self.has_parts = true;
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.buffer, value).map_err(|error| {
            Failure::new(
                FailureKind::Invalid,
                &format!("cannot write {}: {error}", self.about.name),
            )
        })?;
        self.flush_when_full()
    }

    fn flush_when_full(&mut self) -> Result<(), Failure> {
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.sink.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| of_sink(&self.about.name, &error))
    }
}

impl Items {
    /// Adds a value; false when there is no more room.
    pub(super) fn push(&mut self, value: &(impl Serialize + ?Sized)) -> bool {
        if self.is_cut || self.bytes.len() > ITEMS_BYTES_MAX {
            self.is_cut = true;
            return false;
        }
        let before = self.bytes.len();
        if before > 0 {
            self.bytes.push(b',');
        }
        // Only maps with keys that are no text cannot be written; there are none.
        if serde_json::to_writer(&mut self.bytes, value).is_err() {
            self.bytes.truncate(before);
            self.is_cut = true;
            return false;
        }
        self.count += 1;
        true
    }

    /// Forgets what there is.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Leaves out what follows.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }
}

impl Problems {
    pub(super) fn add(&mut self, what: &str) {
        if self.told.len() < PROBLEMS_MAX {
            self.told.push(Printable(what).to_string());
        } else {
            self.more += 1;
        }
    }
}

/// What a sink refuses, as a failure.
pub(super) fn of_sink(name: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            Failure::new(FailureKind::Full, &format!("{name} is larger than an artefact may be"))
        }
        std::io::ErrorKind::TimedOut => Failure::new(FailureKind::TimedOut, &format!("{name} was not taken in time")),
        _ => Failure::new(FailureKind::Unavailable, &format!("cannot store {name}: {error}")),
    }
}

/// The time of the machine's clock.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}
