//! From the files that are followed to the intake, like a sender that waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use staunch_connectors::inlets::file::{Delivery, Sink};
use staunch_runtime::{Intake, IntakeError, Taken};

/// How long lines may be on their way. After that it is open what became of them, and they are sent again: an event that
/// was taken already joins its incident.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Where the lines of `file`, which the system `source` writes, go.
pub(crate) fn sink(intake: Arc<Intake>, source: String, file: String) -> Sink {
    let mut way = Way {
        intake,
        source,
        file,
        waiting: false,
    };
    Box::new(move |lines| {
        let delivery = way.deliver(lines);
        if way.waiting && delivery == Delivery::Taken {
            tracing::info!(file = way.file, "the lines of the file are taken again");
        }
        way.waiting = delivery == Delivery::Again;
        delivery
    })
}

/// The way of one file.
struct Way {
    intake: Arc<Intake>,
    source: String,
    file: String,
    /// Whether lines could not be taken the last time.
    waiting: bool,
}

impl Way {
    /// Sends `lines` together, and one by one where one of them would spoil the others: a body may be one value over
    /// several lines, a file may not.
    fn deliver(&self, lines: &[u8]) -> Delivery {
        let several = lines.split_inclusive(|byte| *byte == b'\n').nth(1).is_some();
        let opens_array = lines.trim_ascii_start().first() == Some(&b'[');
        if several && opens_array {
            return self.one_by_one(lines);
        }
        match self.send(lines) {
            Ok(taken) if several && taken.malformed > 0 && taken.accepted + taken.ignored == 0 => {
                self.one_by_one(lines)
            }
            Ok(taken) => {
                self.tell(&taken);
                Delivery::Taken
            }
            Err(Some(IntakeError::Malformed(_))) if several => self.one_by_one(lines),
            Err(error) => self.refused(lines, error),
        }
    }

    /// Sends each of `lines` alone. When one cannot be taken, all of them come again.
    fn one_by_one(&self, lines: &[u8]) -> Delivery {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let delivery = match self.send(line) {
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

    /// Sends `body` and waits for the answer; an error of `None` says that there was none.
    fn send(&self, body: &[u8]) -> Result<Taken, Option<IntakeError>> {
        let (done, answer) = bounded(1);
        // Nobody waits any more after the deadline.
        self.intake
            .take(&self.source, body, Box::new(move |result| drop(done.send(result))));
        match answer.recv_timeout(ANSWER_DEADLINE) {
            Ok(result) => result.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Says of what was taken what a sender would read in the answer.
    fn tell(&self, taken: &Taken) {
        if let Some(first) = taken.errors.first() {
            let (malformed, first) = (taken.malformed, first.what.as_str());
            tracing::warn!(file = self.file, malformed, first, "lines that cannot be read");
        }
        let (without_key, beyond_limit) = (taken.without_key, taken.beyond_limit);
        if without_key + beyond_limit > 0 {
            tracing::warn!(
                file = self.file,
                without_key,
                beyond_limit,
                "playbooks matched, and nothing follows: `staunch source test` shows why"
            );
        }
    }

    fn refused(&self, lines: &[u8], error: Option<IntakeError>) -> Delivery {
        match error {
            // The same lines could not be read the next time either.
            Some(error @ (IntakeError::Malformed(_) | IntakeError::NoSource(_))) => {
                tracing::warn!(file = self.file, %error, bytes = lines.len(), "lines that cannot be read");
                Delivery::Taken
            }
            Some(IntakeError::Busy(busy)) => {
                if !self.waiting {
                    tracing::warn!(file = self.file, why = %busy, "the file waits: its lines are not taken at present");
                }
                Delivery::Again
            }
            None => Delivery::Again,
        }
    }
}
