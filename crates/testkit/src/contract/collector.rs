//! What every collector of evidence is held to, whatever it takes.
//!
//! The suite judges by what the collector answers and by what it does to its sink. Never names a collector.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use staunch_model::{EvidenceId, Failure, FailureKind, Span};
use staunch_ports::{About, CollectRequest, Collected, Collector, Sink};

/// What a collector may take longer than it says before a check calls it stuck: only for a machine that is busy.
const SPARE: Duration = Duration::from_secs(30);

/// Artefacts of one collection that a test looks at.
const ARTEFACTS_MAX: usize = 1_000;

/// What a collector takes from, and a way to see whether that changed.
pub trait CollectorWorld {
    /// A collector.
    fn collector(&self) -> Box<dyn Collector>;

    /// A request that it can answer.
    fn request(&self) -> CollectRequest;

    /// A request that it has to refuse; `None` when there is none.
    fn request_in_vain(&self) -> Option<CollectRequest> {
        None
    }

    /// What a collector must not change, as text. It says the same each time when nothing happened.
    fn state(&self) -> String;

    /// Names of artefacts that a collection has always.
    fn artefacts(&self) -> Vec<String>;
}

/// An artefact that was sealed.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// What its collector said of it.
    pub about: About,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A sink that keeps what it is given, within bounds, and fails the test when a collector breaks its rules.
#[derive(Debug, Default)]
pub struct Kept {
    /// What was sealed.
    pub sealed: Vec<Sealed>,
    /// What could not be taken.
    pub missed: Vec<(About, Failure)>,
    open: Option<Sealed>,
    /// How it fails.
    pub fault: Fault,
    /// How long each write takes.
    pub pause: Duration,
    refusals: usize,
    written: u64,
}

/// How a sink fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Nothing can be begun.
    NoBegin,
    /// An artefact may have as many bytes.
    TooLarge(u64),
    /// After so many bytes in all, the time is over.
    TimedOut(u64),
    /// Nothing can be sealed.
    NoEnd,
}

impl Kept {
    /// One that fails so.
    #[must_use]
    pub fn failing(fault: Fault) -> Self {
        Self {
            fault,
            ..Self::default()
        }
    }

    /// The artefact of a name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn artefact(&self, name: &str) -> &Sealed {
        let found = self.sealed.iter().find(|it| &*it.about.name == name);
        found.unwrap_or_else(|| panic!("no artefact {name}, but {:?}; missed: {:?}", self.names(), self.missed))
    }

    /// The artefact of a name, as JSON.
    ///
    /// # Panics
    /// When there is none, or it is no JSON.
    #[must_use]
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.artefact(name).bytes).expect("it is JSON")
    }

    /// The names of what was sealed.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.sealed.iter().map(|it| &*it.about.name).collect()
    }

    fn refuse(&mut self, kind: io::ErrorKind) -> io::Error {
        self.refusals += 1;
        assert!(
            self.refusals <= ARTEFACTS_MAX,
            "the collector goes on although nothing can be stored"
        );
        io::Error::new(kind, "the sink of a test")
    }

    fn is_late(&self, more: usize) -> bool {
        matches!(self.fault, Fault::TimedOut(bytes) if self.written + more as u64 > bytes)
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A disk that is slow; nothing waits for this to have passed.
        std::thread::sleep(self.pause);
        if self.is_late(bytes.len()) {
            return Err(self.refuse(io::ErrorKind::TimedOut));
        }
        let open = self.open.as_mut().expect("an artefact was begun before it is written");
        if let Fault::TooLarge(most) = self.fault
            && open.bytes.len() + bytes.len() > usize::try_from(most).expect("a small bound")
        {
            return Err(self.refuse(io::ErrorKind::FileTooLarge));
        }
        open.bytes.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Kept {
    fn begin(&mut self, about: About) -> io::Result<()> {
        assert!(self.open.is_none(), "the artefact before {} has not ended", about.name);
        check_about(&about);
        assert!(
            self.sealed.iter().all(|it| it.about.name != about.name),
            "there is an artefact {} already",
            about.name
        );
        assert!(self.sealed.len() < ARTEFACTS_MAX, "there are too many artefacts");
        if self.fault == Fault::NoBegin {
            return Err(self.refuse(io::ErrorKind::StorageFull));
        }
        if self.is_late(1) {
            return Err(self.refuse(io::ErrorKind::TimedOut));
        }
        let bytes = Vec::new();
        self.open = Some(Sealed { about, bytes });
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let open = self.open.take().expect("an artefact was begun before it ends");
        if self.fault == Fault::NoEnd {
            return Err(self.refuse(io::ErrorKind::StorageFull));
        }
        if open.about.media_type == "application/json" {
            let read: Result<serde_json::Value, _> = serde_json::from_slice(&open.bytes);
            assert!(
                read.is_ok_and(|it| it.is_object()),
                "{} is no JSON object",
                open.about.name
            );
        }
        self.sealed.push(open);
        Ok(())
    }

    fn missed(&mut self, about: About, failure: Failure) {
        check_about(&about);
        assert!(!failure.what.is_empty(), "{} was missed without a reason", about.name);
        self.open = None;
        self.missed.push((about, failure));
    }
}

fn check_about(about: &About) {
    let name = &*about.name;
    let is_plain = |it: char| matches!(it, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    assert!(
        name.chars().all(is_plain) && !name.starts_with('.') && (1..=255).contains(&name.len()),
        "{name:?} is no name of a file"
    );
    assert!(
        about.media_type.contains('/'),
        "{name}: {:?} is no media type",
        about.media_type
    );
    assert!(!about.locator.is_empty(), "{name}: nobody says where it was found");
    assert!(!about.locator.contains(char::is_control) && !about.method.contains(char::is_control));
}

/// Runs the whole suite.
///
/// # Panics
/// When a collector breaks the contract.
pub fn collector(world: &dyn CollectorWorld) {
    describing_is_static_and_complete(world);
    observing_only_looks(world);
    taking_seals_what_it_says(world);
    taking_again_seals_it_again(world);
    a_request_in_vain_is_refused(world);
    without_time_nothing_is_taken_and_nothing_hangs(world);
    a_sink_that_refuses_is_respected(world);
    a_slow_sink_does_not_hold_it(world);
    undoing_after_a_cut_off_leaves_nothing(world);
}

fn take(world: &dyn CollectorWorld, sink: &mut Kept) -> Result<Collected, Failure> {
    let mut collector = world.collector();
    execute(&mut *collector, &world.request(), sink)
}

/// Takes it, and fails the test when that takes longer than the request leaves, or leaves an artefact open.
fn execute(collector: &mut dyn Collector, request: &CollectRequest, sink: &mut Kept) -> Result<Collected, Failure> {
    let begun = Instant::now();
    let taken = collector.execute(request, sink);
    let most = request.time_left.min(collector.describe().takes_max).to_std() + SPARE;
    assert!(
        begun.elapsed() <= most,
        "it took {:?} and not {most:?}",
        begun.elapsed()
    );
    assert!(sink.open.is_none(), "an artefact was left open: {taken:?}");
    if let Err(failure) = &taken {
        assert!(!failure.what.is_empty(), "it failed without a reason");
    }
    taken
}

fn describing_is_static_and_complete(world: &dyn CollectorWorld) {
    let mut collector = world.collector();
    let said = collector.describe();
    assert!(
        said.name.ends_with(&format!("/{}", said.kind.name())),
        "{} does not say what it takes",
        said.name
    );
    assert!(said.takes_max > Span::ZERO, "it has no bound in time");
    for text in said.needs.iter().chain(said.changes) {
        assert!(!text.trim().is_empty());
    }
    execute(&mut *collector, &world.request(), &mut Kept::default()).expect("it can be taken");
    assert_eq!(collector.describe(), said, "what is static has changed");
    assert_eq!(world.collector().describe(), said);
    let aim = world.request().target.map(|it| it.aim());
    assert_eq!(said.kind.aims_at(), aim, "the request of the test is of the wrong kind");
}

fn observing_only_looks(world: &dyn CollectorWorld) {
    let before = world.state();
    let mut collector = world.collector();
    for _ in 0..2 {
        collector.observe(&world.request()).expect("it can be taken");
    }
    assert_eq!(world.state(), before, "looking has changed something");
}

fn taking_seals_what_it_says(world: &dyn CollectorWorld) {
    let before = world.state();
    let mut sink = Kept::default();
    let collected = take(world, &mut sink).expect("it can be taken");
    for name in world.artefacts() {
        assert!(!sink.artefact(&name).bytes.is_empty(), "{name} is empty");
    }
    assert!(
        collected
            .changes
            .iter()
            .all(|line| !line.trim().is_empty() && !line.contains('\n'))
    );
    assert_eq!(world.state(), before, "taking it has changed something");
}

fn taking_again_seals_it_again(world: &dyn CollectorWorld) {
    let mut collector = world.collector();
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut sink = Kept::default();
        execute(&mut *collector, &world.request(), &mut sink).expect("it can be taken");
        names.push(sink.names().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(names[0], names[1], "asked again, it has taken something else");
}

fn a_request_in_vain_is_refused(world: &dyn CollectorWorld) {
    let Some(request) = world.request_in_vain() else { return };
    let mut collector = world.collector();
    assert!(collector.observe(&request).is_err(), "it says that it can be taken");
    let mut sink = Kept::default();
    let taken = execute(&mut *collector, &request, &mut sink);
    assert!(taken.is_err(), "it says that it was taken: {:?}", sink.names());
}

fn without_time_nothing_is_taken_and_nothing_hangs(world: &dyn CollectorWorld) {
    let mut collector = world.collector();
    let mut sink = Kept::default();
    let request = CollectRequest {
        time_left: Span::ZERO,
        ..world.request()
    };
    let failure = execute(&mut *collector, &request, &mut sink).expect_err("there was no time");
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
    assert!(sink.sealed.is_empty());
    // A little time may be enough or not; it is respected, and what is sealed is whole.
    for micros in [1, 100, 10_000] {
        let request = CollectRequest {
            time_left: Span::from_micros(micros),
            ..world.request()
        };
        let mut sink = Kept::default();
        if execute(&mut *collector, &request, &mut sink).is_ok() {
            assert!(!sink.sealed.is_empty(), "it was taken, and there is nothing");
        }
    }
}

fn a_sink_that_refuses_is_respected(world: &dyn CollectorWorld) {
    let whole = {
        let mut sink = Kept::default();
        take(world, &mut sink).expect("it can be taken");
        sink.written
    };
    let bounds = [0, 1, 100, whole / 2];
    let faults = bounds
        .iter()
        .flat_map(|it| [Fault::TooLarge(*it), Fault::TimedOut(*it)]);
    for fault in faults.chain([Fault::NoBegin, Fault::NoEnd]) {
        let mut sink = Kept::failing(fault);
        let taken = take(world, &mut sink);
        if sink.sealed.is_empty() {
            let failure = taken.expect_err("nothing was sealed");
            let expected: &[FailureKind] = match fault {
                Fault::TooLarge(_) => &[FailureKind::Full],
                Fault::TimedOut(_) => &[FailureKind::TimedOut],
                _ => &[FailureKind::Unavailable, FailureKind::Full],
            };
            assert!(expected.contains(&failure.kind), "{fault:?}: {failure:?}");
        }
        assert!(
            sink.refusals == 0 || !sink.missed.is_empty(),
            "{fault:?}: nobody says what is missing"
        );
        if matches!(fault, Fault::TimedOut(_) | Fault::NoBegin) {
            assert!(sink.refusals <= 3, "{fault:?}: it went on {} times", sink.refusals);
        }
    }
}

fn a_slow_sink_does_not_hold_it(world: &dyn CollectorWorld) {
    let mut sink = Kept {
        pause: Duration::from_millis(20),
        ..Kept::default()
    };
    let request = CollectRequest {
        time_left: Span::from_millis(60),
        ..world.request()
    };
    let mut collector = world.collector();
    if execute(&mut *collector, &request, &mut sink).is_err() {
        assert!(sink.sealed.is_empty() || !sink.missed.is_empty());
    }
}

fn undoing_after_a_cut_off_leaves_nothing(world: &dyn CollectorWorld) {
    let before = world.state();
    let mut collector = world.collector();
    let request = world.request();
    let _ = execute(&mut *collector, &request, &mut Kept::failing(Fault::TimedOut(50)));
    for _ in 0..2 {
        collector.undo(request.evidence).expect("nothing is left");
    }
    collector
        .undo(EvidenceId(u64::MAX))
        .expect("nothing of it was ever there");
    assert_eq!(world.state(), before, "something was left");
    // Whoever undoes may be another process than the one that was cut off.
    world.collector().undo(request.evidence).expect("nothing is left");
    execute(&mut *collector, &request, &mut Kept::default()).expect("it can be taken afterwards");
}
