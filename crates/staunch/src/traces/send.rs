//! Sends finished spans over OTLP, on a thread of its own.
//!
//! Never waits for room, and never keeps more than [`TRACES_MAX`] transactions: a receiver that is away costs spans,
//! which are counted, and nothing else.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use staunch_connectors::otlp::{self, CONTENT_TYPE, Resource, Span, TRACES_PATH, rejected};
use staunch_model::Printable;
use staunch_runtime::telemetry::SpanTally;
use ureq::Agent;

use super::Actions;
use crate::client::secure;
use crate::exit::{Exit, Fault};

/// Transactions whose spans wait for the receiver: a few megabytes.
const TRACES_MAX: usize = 1_024;

/// Spans in one request: below 1 MiB.
const BATCH_SPANS_MAX: usize = 512;

/// How long spans wait for others.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The same, when the server stops: one try.
const LAST_DEADLINE: Duration = Duration::from_secs(1);

/// The pause after a first failure; it doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where finished spans are put.
pub(crate) struct Outbox {
    queue: Sender<Vec<Span>>,
    tally: Arc<SpanTally>,
}

impl Outbox {
    /// Puts the spans of a transaction on their way, or drops and counts them.
    pub(crate) fn put(&self, spans: Vec<Span>) {
        if let Err(TrySendError::Full(spans) | TrySendError::Disconnected(spans)) = self.queue.try_send(spans) {
            self.lose(spans.len() as u64);
        }
    }

    /// One whose spans a test takes.
    #[cfg(test)]
    pub(super) fn for_a_test() -> (Self, Receiver<Vec<Span>>) {
        let (queue, sent) = bounded(16);
        let tally = Arc::default();
        (Self { queue, tally }, sent)
    }

    /// Spans that were counted as lost.
    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.tally.lost.value()
    }

    /// Counts spans that are not made or not sent.
    pub(crate) fn lose(&self, spans: u64) {
        self.tally.lost.add(spans);
    }
}

/// The thread that sends.
pub(crate) struct Sending {
    stop: Sender<()>,
    ended: Receiver<()>,
    pub(crate) tally: Arc<SpanTally>,
    /// Told what was in force at the start, by who has asked the engine.
    pub(crate) before: Arc<OnceLock<Actions>>,
}

impl Sending {
    /// Begins to send to the receiver at `url`, with a place to put spans.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(url: &str, resource: Resource) -> Result<(Self, Outbox), Fault> {
        let (queue, spans) = bounded(TRACES_MAX);
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded::<()>(0);
        let tally = Arc::<SpanTally>::default();
        let mut courier = Courier {
            agent: agent(),
            url: format!("{}{TRACES_PATH}", url.trim_end_matches('/')),
            resource,
            spans,
            stopped,
            tally: tally.clone(),
            failures: 0,
        };
        let work = move || {
            courier.run();
            // Whoever waits sees that this end is gone.
            drop(end);
        };
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(work)
            .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
        let outbox = Outbox {
            queue,
            tally: tally.clone(),
        };
        let sending = Self {
            stop,
            ended,
            tally,
            before: Arc::default(),
        };
        Ok((sending, outbox))
    }

    /// Has what is left sent, once the outbox is gone, and waits for that for a moment.
    pub(crate) fn finish(self) {
        drop(self.stop);
        // Nobody ever sends. What takes longer ends with the process.
        let _ = self.ended.recv_timeout(LAST_DEADLINE * 2);
    }
}

/// What the thread works with.
struct Courier {
    agent: Agent,
    url: String,
    resource: Resource,
    spans: Receiver<Vec<Span>>,
    stopped: Receiver<()>,
    tally: Arc<SpanTally>,
    failures: u32,
}

/// What came of a request.
enum Came {
    /// The receiver has it, but for so many spans.
    Taken(u64),
    /// It will never take it.
    Refused(String),
    /// It may take it later.
    Later(String),
}

impl Courier {
    /// Sends what comes until there is nobody any more who could put something.
    fn run(&mut self) {
        while let Some(batch) = self.gather() {
            let request = otlp::request(&self.resource, &batch);
            let count = batch.len() as u64;
            drop(batch);
            while !self.deliver(&request, count) {
                let pause = PAUSE_MAX.min(PAUSE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16)));
                if self.stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    if !self.deliver(&request, count) {
                        let left: usize = self.spans.iter().map(|it| it.len()).sum();
                        self.tally.lost.add(count + left as u64);
                        return;
                    }
                    break;
                }
            }
        }
    }

    /// The next spans: all that come within a moment, as far as one request holds them.
    fn gather(&self) -> Option<Vec<Span>> {
        let mut batch = self.spans.recv().ok()?;
        let until = Instant::now() + BATCH_DELAY;
        while batch.len() < BATCH_SPANS_MAX {
            match self.spans.recv_deadline(until) {
                Ok(more) => batch.extend(more),
                // The end is noticed with the next call.
                Err(_) => break,
            }
        }
        Some(batch)
    }

    /// Tries to bring `request` with `count` spans. False when it has to be tried again.
    fn deliver(&mut self, request: &[u8], count: u64) -> bool {
        let is_stopping = self.stopped.try_recv() == Err(TryRecvError::Disconnected);
        let deadline = if is_stopping { LAST_DEADLINE } else { DEADLINE };
        match self.post(request, deadline) {
            Came::Taken(rejected) => {
                let rejected = rejected.min(count);
                self.tally.sent.add(count - rejected);
                self.tally.lost.add(rejected);
                if self.failures > 0 {
                    tracing::info!("the receiver of traces takes spans again");
                }
                if rejected > 0 {
                    tracing::warn!(spans = rejected, "the receiver of traces has not taken all spans");
                }
                self.failures = 0;
                true
            }
            Came::Refused(why) => {
                self.tally.lost.add(count);
                tracing::warn!(spans = count, why = %Printable(&why), "the receiver of traces refuses spans; they are dropped");
                true
            }
            Came::Later(why) => {
                if self.failures == 0 {
                    tracing::warn!(
                        why = %Printable(&why),
                        "the receiver of traces takes no spans; they are kept as far as there is room"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }

    fn post(&self, request: &[u8], deadline: Duration) -> Came {
        let asked = self
            .agent
            .post(&self.url)
            .config()
            .timeout_global(Some(deadline))
            .build()
            .header("content-type", CONTENT_TYPE);
        let mut answer = match asked.send(request) {
            Ok(answer) => answer,
            Err(error) => return Came::Later(error.to_string()),
        };
        let status = answer.status();
        // Those that OTLP says may be tried again.
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Came::Later(format!("it answers with {status}"));
        }
        if !status.is_success() {
            return Came::Refused(format!("it answers with {status}"));
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        // It has them, whatever it had to say besides.
        Came::Taken(body.map_or(0, |body| rejected(&body)))
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .tls_config(secure::native())
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .new_agent()
}
