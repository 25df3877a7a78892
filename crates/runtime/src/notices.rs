//! Telling people: each notifier has a thread of its own, so that one that is slow keeps nobody else waiting. One that
//! panics has not taken the notice, and is asked again like any other.
//!
//! Never decides whether a notice is sent again: the engine does, and then only those are asked who have not taken it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use staunch_engine::limits::NOTICES_MAX;
use staunch_model::{Failure, FailureKind, Input, Notice, NoticeId};
use staunch_ports::notifier::About;
use staunch_ports::{Notifier, NotifyError};

/// Notices of which it is remembered who has taken them: more than the engine ever waits for.
const REMEMBERED_MAX: usize = NOTICES_MAX + NOTICES_MAX / 2;

/// A notifier that takes longer for one notice tells no more at the end.
const SLOW: Duration = Duration::from_millis(500);

/// How long at the end what waits is told: a stop is not held up for long.
const LAST: Duration = Duration::from_secs(3);

/// A notice on its way, with what is known around it.
pub(crate) type Telling = (Notice, About);

/// What the thread that hands notices out waits for.
enum Arrival {
    Notice(Notice, About),
    /// A notifier, by its position, has tried.
    Tried(NoticeId, usize, Result<(), Failure>),
}

/// How one notifier stands with one notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Idle,
    Asked,
    Taken,
}

/// A notice that not all have taken.
struct Pending {
    about: Arc<About>,
    standings: Vec<Standing>,
    failure: Option<Failure>,
}

/// Starts the threads that tell people: one for each of `notifiers`, and one that hands notices out.
pub(crate) fn start(
    notifiers: Vec<Box<dyn Notifier>>,
    outcomes: Sender<Input>,
) -> std::io::Result<(Sender<Telling>, Vec<JoinHandle<()>>)> {
    let (sender, notices): (_, Receiver<Telling>) = unbounded();
    let (tried, arrivals) = unbounded();
    let mut threads = Vec::new();
    let mut hands = Vec::new();
    for (at, notifier) in notifiers.into_iter().enumerate() {
        let (hand, taken) = unbounded();
        let tried = tried.clone();
        let thread = std::thread::Builder::new().name("notifier".into());
        threads.push(thread.spawn(move || tell(at, notifier, &taken, &tried))?);
        hands.push(hand);
    }
    drop(tried);
    let thread = std::thread::Builder::new().name("notices".into());
    threads.push(thread.spawn(move || {
        let mut desk = Desk {
            hands,
            outcomes,
            pending: BTreeMap::new(),
        };
        let mut notices = Some(notices);
        while let Some(arrival) = next(&mut notices, &arrivals) {
            match arrival {
                Arrival::Notice(notice, about) => desk.hand_out(&Arc::new(notice), about),
                Arrival::Tried(notice, at, result) => desk.tried(notice, at, result),
            }
            if notices.is_none() {
                // Nobody waits for an answer any more.
                return;
            }
        }
    })?);
    Ok((sender, threads))
}

/// What comes next; `None` when nothing can any more.
fn next(notices: &mut Option<Receiver<Telling>>, arrivals: &Receiver<Arrival>) -> Option<Arrival> {
    let open = notices.as_ref()?;
    crossbeam_channel::select! {
        recv(open) -> told => match told {
            Ok((notice, about)) => Some(Arrival::Notice(notice, about)),
            Err(_) => {
                *notices = None;
                None
            }
        },
        recv(arrivals) -> arrival => match arrival {
            Ok(arrival) => Some(arrival),
            // Without a notifier nobody tries.
            Err(_) => {
                let (notice, about) = open.recv().ok()?;
                Some(Arrival::Notice(notice, about))
            }
        },
    }
}

/// Has `notifier`, the one at `at`, tell what comes.
fn tell(
    at: usize,
    mut notifier: Box<dyn Notifier>,
    notices: &Receiver<(Arc<Notice>, Arc<About>)>,
    tried: &Sender<Arrival>,
) {
    let mut ended: Option<Instant> = None;
    for (notice, about) in notices {
        let begun = Instant::now();
        let told = catch_unwind(AssertUnwindSafe(|| notifier.notify(&notice, &about)));
        let told = told.unwrap_or_else(|_| {
            let what = format!("the notifier {} has a defect", notifier.name());
            Err(NotifyError {
                notice: notice.id,
                failure: Failure::new(FailureKind::Invalid, &what),
            })
        });
        let result = told.map_err(|error| {
            tracing::warn!(notifier = notifier.name(), notice = %notice.id, %error, "notice not taken");
            error.failure
        });
        // What waits at the end is told by those who are quick and for whom it works. The others tell it after the next
        // start.
        let is_hopeless = result.is_err() || begun.elapsed() > SLOW;
        if tried.send(Arrival::Tried(notice.id, at, result)).is_err()
            && (is_hopeless || ended.get_or_insert_with(Instant::now).elapsed() > LAST)
        {
            return;
        }
    }
}

/// Hands notices out and notes who has taken them.
struct Desk {
    hands: Vec<Sender<(Arc<Notice>, Arc<About>)>>,
    outcomes: Sender<Input>,
    pending: BTreeMap<NoticeId, Pending>,
}

impl Desk {
    /// Hands `notice` to all who have not taken it. What was known when it was told first holds.
    fn hand_out(&mut self, notice: &Arc<Notice>, about: About) {
        let pending = self.pending.entry(notice.id).or_insert_with(|| Pending {
            about: Arc::new(about),
            standings: vec![Standing::Idle; self.hands.len()],
            failure: None,
        });
        pending.failure = None;
        for (hand, standing) in self.hands.iter().zip(&mut pending.standings) {
            // Whoever is still at it answers later.
            if *standing == Standing::Idle {
                *standing = Standing::Asked;
                drop(hand.send((notice.clone(), pending.about.clone())));
            }
        }
        self.settle(notice.id);
        // The oldest have been given up, or are told to all once more.
        while self.pending.len() > REMEMBERED_MAX {
            self.pending.pop_first();
        }
    }

    fn tried(&mut self, notice: NoticeId, at: usize, result: Result<(), Failure>) {
        let Some(pending) = self.pending.get_mut(&notice) else {
            return;
        };
        if let Some(standing) = pending.standings.get_mut(at) {
            *standing = if result.is_ok() {
                Standing::Taken
            } else {
                Standing::Idle
            };
        }
        if let Err(failure) = result {
            pending.failure.get_or_insert(failure);
        }
        self.settle(notice);
    }

    /// Tells the engine how it went, once nobody is at it any more.
    fn settle(&mut self, notice: NoticeId) {
        let Some(pending) = self.pending.get_mut(&notice) else {
            return;
        };
        if pending.standings.contains(&Standing::Asked) {
            return;
        }
        let result = match pending.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        };
        if result.is_ok() {
            self.pending.remove(&notice);
        }
        drop(self.outcomes.send(Input::Notified { notice, result }));
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use staunch_model::{NoticeLevel, Timestamp};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Tells the test what it is told, and answers what the test says.
    struct Held {
        told: Sender<(NoticeId, Timestamp)>,
        answers: Receiver<Result<(), Failure>>,
    }

    impl Notifier for Held {
        fn name(&self) -> &str {
            "held"
        }

        fn notify(&mut self, notice: &Notice, about: &About) -> Result<(), NotifyError> {
            self.told.send((notice.id, about.at)).expect("the test waits");
            let answer = self.answers.recv_timeout(LIMIT).expect("the test answers");
            answer.map_err(|failure| NotifyError {
                notice: notice.id,
                failure,
            })
        }
    }

    /// The test's side of a notifier.
    struct Hand {
        told: Receiver<(NoticeId, Timestamp)>,
        answers: Sender<Result<(), Failure>>,
    }

    impl Hand {
        fn answers(&self, id: u64, at: u64, answer: Result<(), Failure>) {
            let told = self.told.recv_timeout(LIMIT).expect("it is told");
            assert_eq!(told, (NoticeId(id), Timestamp::from_micros(at)));
            self.answers.send(answer).expect("it waits");
        }
    }

    fn held() -> (Box<dyn Notifier>, Hand) {
        let (told, seen) = unbounded();
        let (say, answers) = bounded(0);
        let hand = Hand {
            told: seen,
            answers: say,
        };
        (Box::new(Held { told, answers }), hand)
    }

    fn telling(id: u64, at: u64) -> Telling {
        let notice = Notice {
            id: NoticeId(id),
            level: NoticeLevel::Page,
            incident: None,
            transaction: None,
            text: "it is stuck".into(),
        };
        let about = About {
            at: Timestamp::from_micros(at),
            ..About::default()
        };
        (notice, about)
    }

    fn failed() -> Failure {
        Failure::new(FailureKind::Unavailable, "it is away")
    }

    #[test]
    fn a_slow_one_holds_nobody_up_and_only_those_are_asked_again_who_have_not_taken_it() {
        let ((slow, slow_hand), (quick, quick_hand)) = (held(), held());
        let (outcomes, results) = unbounded();
        let (notices, threads) = start(vec![slow, quick], outcomes).expect("there are threads");
        let result = |id: u64, expect: Result<(), Failure>| match results.recv_timeout(LIMIT).expect("it is told") {
            Input::Notified { notice, result } => assert_eq!((notice, result), (NoticeId(id), expect)),
            other => panic!("{other:?}"),
        };
        notices.send(telling(1, 10)).expect("it runs");
        notices.send(telling(2, 20)).expect("it runs");
        // The slow one has not answered for the first when the quick one has for both.
        quick_hand.answers(1, 10, Ok(()));
        quick_hand.answers(2, 20, Ok(()));
        assert!(results.is_empty(), "not all have taken them");
        slow_hand.answers(1, 10, Err(failed()));
        result(1, Err(failed()));
        slow_hand.answers(2, 20, Ok(()));
        result(2, Ok(()));
        // The engine sends it again: what was known at first holds, and the quick one has it already.
        notices.send(telling(1, 99)).expect("it runs");
        slow_hand.answers(1, 10, Ok(()));
        result(1, Ok(()));
        assert!(quick_hand.told.is_empty(), "it is not told twice");
        // What waits at the end is told.
        notices.send(telling(4, 40)).expect("it runs");
        drop(notices);
        quick_hand.answers(4, 40, Ok(()));
        slow_hand.answers(4, 40, Ok(()));
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    }

    /// Panics at its first notice.
    #[derive(Default)]
    struct Defective {
        has_panicked: bool,
    }

    impl Notifier for Defective {
        fn name(&self) -> &str {
            "defective"
        }

        fn notify(&mut self, _: &Notice, _: &About) -> Result<(), NotifyError> {
            assert!(std::mem::replace(&mut self.has_panicked, true), "a defect of the test");
            Ok(())
        }
    }

    #[test]
    fn a_notifier_that_panics_holds_up_no_other() {
        let (sound, hand) = held();
        let (outcomes, results) = unbounded();
        let (notices, threads) = start(vec![Box::<Defective>::default(), sound], outcomes).expect("there are threads");
        let result = || match results.recv_timeout(LIMIT).expect("it is told") {
            Input::Notified { result, .. } => result,
            other => panic!("{other:?}"),
        };
        notices.send(telling(1, 10)).expect("it runs");
        hand.answers(1, 10, Ok(()));
        let failure = result().expect_err("one has not taken it");
        assert!(failure.what.contains("defective"), "{failure}");
        // It is asked again, and goes on.
        notices.send(telling(1, 10)).expect("it runs");
        assert_eq!(result(), Ok(()));
        assert!(hand.told.is_empty(), "it is not told twice");
        notices.send(telling(2, 20)).expect("it runs");
        hand.answers(2, 20, Ok(()));
        assert_eq!(result(), Ok(()));
        drop(notices);
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    }

    #[test]
    fn without_a_notifier_everything_is_taken() {
        let (outcomes, results) = unbounded();
        let (notices, _threads) = start(Vec::new(), outcomes).expect("there are threads");
        notices.send(telling(1, 1)).expect("it runs");
        assert!(matches!(
            results.recv_timeout(LIMIT),
            Ok(Input::Notified { result: Ok(()), .. })
        ));
    }
}
