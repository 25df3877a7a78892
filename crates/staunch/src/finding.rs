//! Tells processes and other targets on a thread of its own, which is there before the server enters its sandbox.
//!
//! Landlock lets nobody in a sandbox look into processes outside of it, and which program a process runs
//! (`/proc/PID/exe`) is such a look (landlock(7), "Ptrace restrictions"). So one thread stays outside. It reads `/proc`
//! and the password files, and does nothing else.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use staunch_model::{Found, Target, Timestamp};
use staunch_ports::{Seen, Targets};

/// Questions that may wait.
const WAITING_MAX: usize = 64;

/// How long an answer is awaited: reading the table of a machine with thousands of processes takes tens of
/// milliseconds.
const DEADLINE: Duration = Duration::from_secs(2);

/// The way to the thread.
pub(crate) struct Finding(SyncSender<Question>);

enum Which {
    /// The one that an event names.
    Named {
        target: Target,
        time: Option<Timestamp>,
        host: Option<String>,
    },
    /// One that was found before.
    Found(Target),
}

struct Question {
    which: Which,
    until: Instant,
    answer: SyncSender<Found>,
}

impl Finding {
    /// Starts the thread, which asks `finder`. It ends when nobody can ask it any more.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(finder: Arc<dyn Targets>) -> io::Result<Self> {
        let (sender, questions): (_, Receiver<Question>) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("targets".into()).spawn(move || {
            for question in questions {
                // Who asked has given up.
                if Instant::now() >= question.until {
                    continue;
                }
                let found = match question.which {
                    Which::Named { target, time, host } => finder.find(
                        &target,
                        Seen {
                            time,
                            host: host.as_deref(),
                        },
                    ),
                    Which::Found(target) => finder.look_again(&target),
                };
                // Who asked may have given up.
                drop(question.answer.try_send(found));
            }
        })?;
        Ok(Self(sender))
    }
}

impl Finding {
    /// Asks for `which`; when nobody answers in time, `target` could not be told.
    fn ask(&self, which: Which, target: &Target) -> Found {
        let unknown = |why: &str| Found {
            target: target.clone(),
            facts: Err(why.into()),
        };
        let (answer, found) = sync_channel(1);
        let question = Question {
            which,
            until: Instant::now() + DEADLINE,
            answer,
        };
        match self.0.try_send(question) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return unknown("too many targets are asked for at once"),
            Err(TrySendError::Disconnected(_)) => return unknown("who tells targets has ended"),
        }
        found
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| unknown("this machine did not say in time which one it is"))
    }
}

impl Targets for Finding {
    fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
        let which = Which::Named {
            target: named.clone(),
            time: seen.time,
            host: seen.host.map(ToOwned::to_owned),
        };
        self.ask(which, named)
    }

    fn look_again(&self, target: &Target) -> Found {
        self.ask(Which::Found(target.clone()), target)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;
    use std::sync::{Barrier, Mutex};

    use staunch_model::TargetFacts;

    use super::*;

    /// Says of every target that it is the host's name, once it is let.
    struct Slow(Arc<Barrier>, Mutex<Sender<Target>>);

    impl Targets for Slow {
        fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
            let asked = self.1.lock().expect("nobody panicked");
            asked.send(named.clone()).expect("the test listens");
            drop(asked);
            self.0.wait();
            Found {
                target: named.clone(),
                facts: Ok(TargetFacts {
                    what: seen.host.unwrap_or_default().into(),
                    protected: None,
                }),
            }
        }

        fn look_again(&self, target: &Target) -> Found {
            self.find(target, Seen::default())
        }
    }

    fn numbered(pid: u32) -> Target {
        format!("pid:{pid}").parse().expect("a process")
    }

    const fn on(host: Option<&str>) -> Seen<'_> {
        Seen { time: None, host }
    }

    #[test]
    fn each_gets_the_answer_to_its_question_and_too_many_none() {
        let let_go = Arc::new(Barrier::new(2));
        let (asked, first_asked) = std::sync::mpsc::channel();
        let finding = Finding::start(Arc::new(Slow(let_go.clone(), Mutex::new(asked)))).expect("a thread");
        thread::scope(|scope| {
            let first = scope.spawn(|| finding.find(&numbered(1), on(Some("one"))));
            assert_eq!(first_asked.recv(), Ok(numbered(1)));
            let (answer, answers) = sync_channel(WAITING_MAX);
            for pid in 0..u32::try_from(WAITING_MAX).expect("small") {
                let question = Question {
                    which: Which::Named {
                        target: numbered(pid),
                        time: None,
                        host: None,
                    },
                    until: Instant::now() + DEADLINE,
                    answer: answer.clone(),
                };
                assert!(finding.0.try_send(question).is_ok());
            }
            let refused = finding.find(&numbered(2), on(None));
            assert_eq!(refused.facts, Err("too many targets are asked for at once".into()));
            for _ in 0..=WAITING_MAX {
                let_go.wait();
            }
            let found = first.join().expect("it ends well");
            assert_eq!(found.facts.map(|it| it.what), Ok("one".into()));
            assert_eq!(answers.iter().take(WAITING_MAX).count(), WAITING_MAX);
        });
    }
}
