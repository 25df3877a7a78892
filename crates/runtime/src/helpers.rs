//! Helper threads: followers, the drift sweep and the refresh of enrichers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use staunch_model::{Frame, Timestamp};
use staunch_ports::{Clock, Enricher, Follower, Lsn};

use crate::drivers::{DriverRequest, Drivers};
use crate::handle::Message;
use crate::second_look::Swept;
use crate::steady::SteadyClock;
use crate::telemetry::Telemetry;

/// How long a sweep waits for one driver. Reading 100,000 elements takes about a tenth of a second.
const SWEEP_DEADLINE: Duration = Duration::from_secs(20);

/// Durable frames on their way to a follower. A frame with its event has some kilobytes, so this bounds them to a few
/// megabytes; what does not fit is fetched from the journal.
const FOLLOWED_MAX: usize = 2_048;

/// The longest time between two looks of a follower after what it keeps: one that waits for room goes on within moments
/// of when there is some, whether or not another frame comes.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(3);

/// The shortest time between two flushes of a follower while frames keep coming: in a burst, each is a transaction of
/// the index, which would take more of the processor than the engine does.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);

/// A durable frame on its way to the followers.
pub(crate) type Followed = (Lsn, Timestamp, Arc<Frame>);

/// The way to the thread of a follower.
pub(crate) struct Feed {
    frames: Sender<Followed>,
    /// The newest durable frame, whether or not it found room on the way.
    newest: Arc<AtomicU64>,
    /// A frame has found no room since the follower looked for such.
    overflowed: Arc<AtomicBool>,
}

impl Feed {
    /// Hands a frame on, and waits for nobody: what finds no room is fetched from the journal by the follower.
    pub(crate) fn put(&self, followed: Followed) {
        self.newest.store(followed.0.0, Ordering::Release);
        if self.frames.try_send(followed).is_err() {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// Starts the thread that feeds a follower, and has it look after itself every `interval`, or oftener. Frames that do
/// not fit into the channel are fetched from the journal.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn follower(
    mut follower: Box<dyn Follower>,
    telemetry: Arc<Telemetry>,
    interval: Duration,
) -> std::io::Result<(Feed, JoinHandle<()>)> {
    let interval = interval.min(LOOK_AFTER_MAX);
    let (sender, frames): (_, Receiver<Followed>) = bounded(FOLLOWED_MAX);
    let newest = Arc::new(AtomicU64::new(0));
    let known = Arc::clone(&newest);
    let overflowed = Arc::new(AtomicBool::new(false));
    let is_short = Arc::clone(&overflowed);
    let name = follower.name().to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut look_at = Instant::now() + interval;
        let mut is_behind = false;
        // Until when frames are taken before they are flushed; `None` when all are.
        let mut flush_at: Option<Instant> = None;
        let mut flushed = Instant::now();
        loop {
            let first = match frames.recv_deadline(flush_at.unwrap_or(look_at)) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    close_gap(follower.as_mut(), &known);
                    return follower.flush();
                }
            };
            // Nothing comes behind the end of a burst, which may be what found no room.
            let mut may_lack = first.is_none() && is_short.swap(false, Ordering::AcqRel);
            if Instant::now() >= look_at {
                follower.look_after();
                may_lack |= first.is_none();
                look_at = Instant::now() + interval;
            }
            if may_lack {
                close_gap(follower.as_mut(), &known);
            }
            for (lsn, now, frame) in first.into_iter().chain(frames.try_iter().take(4_096)) {
                flush_at.get_or_insert(flushed + FLUSH_INTERVAL);
                if lsn > follower.position().next() {
                    // One that stays behind, as on a full disk, was counted when it fell behind.
                    if !std::mem::replace(&mut is_behind, true) {
                        telemetry.follower_gaps.add(1);
                    }
                    follower.catch_up(lsn);
                }
                if lsn == follower.position().next() {
                    follower.follow(lsn, now, &frame);
                }
                is_behind &= lsn > follower.position();
            }
            if flush_at.is_some_and(|at| Instant::now() >= at) {
                follower.flush();
                flush_at = None;
                flushed = Instant::now();
            }
        }
    })?;
    let feed = Feed {
        frames: sender,
        newest,
        overflowed,
    };
    Ok((feed, thread))
}

/// Has `follower` take from the journal what found no room and was followed by nothing, at the end of a burst.
fn close_gap(follower: &mut dyn Follower, newest: &AtomicU64) {
    let newest = Lsn(newest.load(Ordering::Acquire));
    if newest > follower.position() {
        follower.catch_up(newest.next());
        follower.flush();
    }
}

/// Starts the thread that sweeps every `interval`, and at once, and looks whether the machine's clock was set.
pub(crate) fn sweeper(
    drivers: Arc<Drivers>,
    clock: Arc<SteadyClock>,
    inbox: Sender<Message>,
    interval: Duration,
    stop: Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("sweep".into()).spawn(move || {
        loop {
            clock.compare();
            let readings: Vec<_> = drivers
                .kinds()
                .filter_map(|kind| {
                    let (reply, wait) = bounded(1);
                    drivers.send(kind, DriverRequest::Sweep { reply }).then_some(())?;
                    Some(
                        wait.recv_timeout(SWEEP_DEADLINE)
                            .unwrap_or_else(|_| staunch_engine::sweep::Reading {
                                kind,
                                begun: Timestamp::EPOCH,
                                found: Err(staunch_model::Failure::new(
                                    staunch_model::FailureKind::TimedOut,
                                    "the driver did not answer the sweep in time",
                                )),
                                unread: Vec::new(),
                            }),
                    )
                })
                .collect();
            let (again, missed) = bounded(1);
            let is_taken = |readings, again| inbox.send(Message::Sweep(Swept { readings, again })).is_ok();
            if !is_taken(readings, Some(again)) {
                return;
            }
            if let Ok((mut readings, missed)) = missed.recv_timeout(SWEEP_DEADLINE) {
                missed.look_for(&mut readings, &drivers);
                if !is_taken(readings, None) {
                    return;
                }
            }
            if !waits(&stop, interval) {
                return;
            }
        }
    })
}

/// Starts the thread that refreshes `enricher` every `interval`, and at once. A refresh that panics is logged, and the
/// next one is tried.
pub(crate) fn refresher(
    enricher: Arc<dyn Enricher>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    stop: Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("refresh".into()).spawn(move || {
        loop {
            let refreshed = catch_unwind(AssertUnwindSafe(|| enricher.refresh(clock.now())));
            if refreshed.is_err() {
                tracing::error!(
                    enricher = enricher.name(),
                    "an enricher panicked; its readings are not refreshed"
                );
            }
            if !waits(&stop, interval) {
                return;
            }
        }
    })
}

/// Waits for `interval`; false when it is time to stop.
fn waits(stop: &Receiver<()>, interval: Duration) -> bool {
    matches!(stop.recv_timeout(interval), Err(RecvTimeoutError::Timeout))
}

#[cfg(test)]
mod tests {
    use staunch_model::{Fact, Span, Target, TrafficShare};

    use super::*;

    /// Panics each time, and tells of it before.
    struct Panics(Sender<()>);

    impl Enricher for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }

        fn refresh(&self, _: Timestamp) {
            self.0.send(()).expect("the test waits");
            panic!("as a defect does");
        }

        fn traffic_share(&self, _: &Target, _: Timestamp) -> Fact<TrafficShare> {
            unreachable!("nobody asks")
        }
    }

    struct Stands;

    impl Clock for Stands {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }

        fn passed(&self) -> Span {
            Span::ZERO
        }
    }

    #[test]
    fn an_enricher_that_panics_is_refreshed_again() {
        let (tell, told) = bounded(0);
        let (end, stop) = bounded(1);
        let enricher = Arc::new(Panics(tell));
        let thread = refresher(enricher, Arc::new(Stands), Duration::from_millis(1), stop).expect("a thread");
        for _ in 0..2 {
            told.recv_timeout(Duration::from_secs(30)).expect("it is refreshed");
        }
        drop(end);
        // One more may have begun.
        while told.recv().is_ok() {}
        thread.join().expect("it ends in order");
    }
}
