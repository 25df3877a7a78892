//! From inlets to the intake, like a sender that waits for its answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;
use serde::Serialize;
use staunch_connectors::inlets::{Delivery, Seldom, Sink};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Clock as _, InletReading, InletTally};
use staunch_runtime::{Intake, IntakeError, Taken};

/// How long lines may be on their way. After that it is open what became of them, and they are sent again: an event
/// that was taken already joins its incident.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// What to do about an inlet that reads nothing; nothing where the reason says it.
pub(crate) fn remedy(inlet: &InletReading) -> Option<&'static str> {
    let why = inlet.failing.as_deref()?;
    // As the standard library writes the number of EACCES.
    let is_kept_out = why.contains("(os error 13)");
    match inlet.kind.as_str() {
        "file" if is_kept_out => Some(
            "let the user of the server read it: give the file to a group (`chgrp adm` and `chmod g+r`; the folders above it \
             `g+x`), and the service that group: `SupplementaryGroups=adm` under [Service], by `systemctl edit staunch`",
        ),
        "file" => Some("name the file that the sensor writes to, on a disk that can be read"),
        "journal" => Some(
            "let the user of the server read the journal: `SupplementaryGroups=systemd-journal` under [Service], by \
             `systemctl edit staunch`",
        ),
        _ => None,
    }
}

/// Where the lines of the inlet that `tally` is of go.
pub(crate) fn sink(intake: Arc<Intake>, tally: Arc<InletTally>, sum: Option<Summed>) -> Sink {
    let mut way = Way {
        intake,
        tally,
        sum,
        waiting: false,
        malformed: Seldom::default(),
        without_sequel: Seldom::default(),
    };
    Box::new(move |lines| {
        let delivery = way.deliver(lines);
        if delivery == Delivery::Taken {
            let count = lines.split_inclusive(|byte| *byte == b'\n').count();
            way.tally.took(count as u64, SystemClock.now());
            if way.waiting {
                let (kind, follows) = (way.tally.kind(), way.tally.follows());
                tracing::info!(inlet = follows, "the lines of the {kind} are taken again");
                way.tally.waits(None);
            }
        }
        way.waiting = delivery == Delivery::Again;
        delivery
    })
}

/// What has come of the lines of one inlet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sum {
    pub(crate) accepted: u64,
    pub(crate) matched: u64,
    pub(crate) malformed: u64,
    pub(crate) ignored: u64,
    pub(crate) samples: u64,
    /// Lines that are longer than any event, which were passed over.
    pub(crate) too_long: u64,
    /// Playbooks that matched and lead to nothing: without a key, or beyond the limit of one event.
    pub(crate) without_sequel: u64,
}

/// A sum that the inlet and whoever tells of it share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summed(Arc<Mutex<Sum>>);

impl Summed {
    pub(crate) fn read(&self) -> Sum {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Sum)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds what was taken, but for what is malformed.
    fn add(&self, taken: &Taken) {
        self.change(|sum| {
            sum.accepted += taken.accepted as u64;
            sum.matched += taken.matched as u64;
            sum.ignored += taken.ignored as u64;
            sum.samples += taken.samples as u64;
            sum.without_sequel += (taken.without_key + taken.beyond_limit) as u64;
        });
    }
}

/// The way of one inlet.
struct Way {
    intake: Arc<Intake>,
    tally: Arc<InletTally>,
    sum: Option<Summed>,
    /// Whether lines could not be taken the last time.
    waiting: bool,
    malformed: Seldom,
    without_sequel: Seldom,
}

impl Way {
    /// Sends `lines` together, and one by one where one of them would spoil the others: a body may be one value over
    /// several lines, a file may not.
    fn deliver(&mut self, lines: &[u8]) -> Delivery {
        let several = lines.split_inclusive(|byte| *byte == b'\n').nth(1).is_some();
        let opens_array = lines.trim_ascii_start().first() == Some(&b'[');
        if several && opens_array {
            return self.one_by_one(lines);
        }
        match self.send(lines, several) {
            Ok(taken) if several && taken.malformed > 0 && taken.accepted + taken.ignored == 0 => {
                self.one_by_one(lines)
            }
            Ok(taken) => {
                self.tell(&taken);
                Delivery::Taken
            }
            Err(Some(IntakeError::Malformed(_) | IntakeError::TooMany(_))) if several => self.one_by_one(lines),
            Err(error) => self.refused(lines, error),
        }
    }

    /// Sends each of `lines` alone. When one cannot be taken, all of them come again.
    fn one_by_one(&mut self, lines: &[u8]) -> Delivery {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let delivery = match self.send(line, false) {
                Ok(taken) => {
                    self.tell(&taken);
                    Delivery::Taken
                }
                Err(error) => self.refused(line, error),
            };
            if delivery == Delivery::Again {
                return delivery;
            }
        }
        Delivery::Taken
    }

    /// Sends `body`, which has `several` lines that are sent one by one if none can be read or they hold too many
    /// events, and waits for the answer; an error of `None` says that there was none.
    fn send(&self, body: &[u8], several: bool) -> Result<Taken, Option<IntakeError>> {
        let (done, answer) = bounded(1);
        // Nobody waits any more after the deadline.
        let reply = Box::new(move |result| drop(done.send(result)));
        if several {
            self.intake.take_together(self.tally.source(), body, reply);
        } else {
            self.intake.take_line(self.tally.source(), body, reply);
        }
        match answer.recv_timeout(ANSWER_DEADLINE) {
            Ok(result) => result.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Says of what was taken what a sender would read in the answer.
    fn tell(&mut self, taken: &Taken) {
        if let Some(sum) = &self.sum {
            sum.add(taken);
        }
        if let Some(first) = taken.errors.first() {
            self.unreadable(taken.malformed as u64, &first.what);
        }
        let (without_key, beyond_limit) = (taken.without_key, taken.beyond_limit);
        if let Some(events) = self.without_sequel.add((without_key + beyond_limit) as u64) {
            let inlet = self.tally.follows();
            tracing::warn!(
                inlet,
                events,
                without_key,
                beyond_limit,
                "playbooks matched, and nothing follows: `staunch source test` shows why"
            );
        }
    }

    fn unreadable(&mut self, malformed: u64, what: &str) {
        self.tally.malformed(malformed);
        if let Some(sum) = &self.sum {
            sum.change(|sum| sum.malformed += malformed);
        }
        if let Some(malformed) = self.malformed.add(malformed) {
            let inlet = self.tally.follows();
            tracing::warn!(inlet, malformed, last = what, "lines that cannot be read");
        }
    }

    fn refused(&mut self, lines: &[u8], error: Option<IntakeError>) -> Delivery {
        match error {
            // The same lines could not be read the next time either.
            Some(error @ (IntakeError::Malformed(_) | IntakeError::TooMany(_) | IntakeError::NoSource(_))) => {
                let count = lines.split_inclusive(|byte| *byte == b'\n').count();
                self.unreadable(count as u64, &error.to_string());
                Delivery::Taken
            }
            Some(IntakeError::Busy(busy)) => {
                if !self.waiting {
                    let (kind, follows) = (self.tally.kind(), self.tally.follows());
                    tracing::warn!(inlet = follows, why = %busy, "the {kind} waits: its lines are not taken at present");
                }
                self.tally.waits(Some(&busy.to_string()));
                Delivery::Again
            }
            None => {
                self.tally.waits(Some("what became of them is not known in time"));
                Delivery::Again
            }
        }
    }
}
