//! Look-ups: services that are asked over HTTP about addresses that no feed names; those that list addresses as good,
//! about the others too. What is listed as good has the score 0, by the service that says so, whatever others say.
//!
//! Never holds an event up for longer than the deadline, and never has more than a bounded number of questions under
//! way: what has no answer then is unknown, with the reason. An answer is kept for a while, as is that there was none.

mod ask;
mod cache;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ipnet::IpNet;
use staunch_connectors::lookups::{Answer, is_global};
use staunch_model::{Printable, Reputation, Score, Span, Standing, Target, Timestamp};
use staunch_ports::Reputations;
use staunch_runtime::lookups::{LookupMeter, LookupReading, Outcome};

use self::ask::{Unanswered, Way};
use self::cache::{Cache, holds};
use crate::config::{Config, LookupSettings};
use crate::exit::{Exit, Fault};

/// Questions to one service that are asked at the same time.
const ASKED_AT_ONCE_MAX: usize = 8;

/// Questions to one service that are under way, those that wait for their turn among them. Of what is beyond, the score
/// is unknown: nobody waits for a turn that comes after the deadline.
const UNDER_WAY_MAX: usize = 32;

/// Addresses of which an answer is kept: a few megabytes.
const CACHE_ENTRIES_MAX: usize = 16_384;

/// How long a question may take after nobody waits for it any more.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// How long it is kept that there was no answer, and how long a service is left alone that has failed so often in a
/// row.
const UNANSWERED_FOR: Span = Span::from_secs(10);

/// See [`UNANSWERED_FOR`].
const FAILURES_MAX: u32 = 3;

/// What a service has said of an address, or why it has not.
type Said = Result<Answer, Box<str>>;

/// What a service says of an address, as far as that makes its standing.
enum Word {
    /// It is listed as good.
    Good(Reputation),
    /// Anything else.
    Standing(Standing),
}

/// An address that services are asked of.
#[derive(Clone, Copy)]
struct Asked {
    ip: IpAddr,
    /// A feed names it: only that it is good changes anything.
    is_named: bool,
}

/// What feeds and services say of addresses. The services are asked of those that no feed names, and those that list
/// addresses as good, of all.
pub(crate) struct Lookups {
    feeds: Option<Arc<dyn Reputations>>,
    services: Vec<Service>,
    meter: Arc<LookupMeter>,
}

/// A service and the way to its threads.
struct Service {
    shared: Arc<Shared>,
    /// `None` when it can never be asked.
    questions: Option<Sender<Question>>,
}

/// A question that is under way.
struct Question {
    ip: IpAddr,
    asked: Timestamp,
    since: Instant,
}

impl Question {
    /// The time, by the clock of who has asked.
    fn now(&self) -> Timestamp {
        let micros = self.since.elapsed().as_micros();
        self.asked + Span::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What those who ask and the threads share.
struct Shared {
    settings: LookupSettings,
    /// What it is called, safe to show.
    name: Box<str>,
    state: Mutex<State>,
    /// An answer has come.
    changed: Condvar,
    meter: Arc<LookupMeter>,
}

struct State {
    cache: Cache<Said>,
    under_way: BTreeSet<IpAddr>,
    /// Failures since the last answer.
    failures: u32,
    pause: Option<Pause>,
}

/// That a service is left alone.
struct Pause {
    from: Timestamp,
    until: Timestamp,
    why: Box<str>,
}

/// What is known of an address before anybody has waited.
enum Begun {
    /// The service is not asked of it.
    NotAsked,
    Known(Said, Timestamp),
    UnderWay,
}

/// Looks whether the files of a look-up can be used. Asks nobody.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(crate) fn check(settings: &LookupSettings) -> Result<(), Fault> {
    Way::new(settings).map(drop)
}

impl Lookups {
    /// The look-ups of `config`, which ask about what `feeds` do not name; nothing when there are none. One whose files
    /// cannot be used says so whenever it is asked, and stops nothing.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(config: &Config, feeds: Option<Arc<dyn Reputations>>) -> Result<Option<Arc<Self>>, Fault> {
        Self::start_bounded(config, feeds, CACHE_ENTRIES_MAX)
    }

    fn start_bounded(
        config: &Config,
        feeds: Option<Arc<dyn Reputations>>,
        entries_max: usize,
    ) -> Result<Option<Arc<Self>>, Fault> {
        if config.lookups.is_empty() {
            return Ok(None);
        }
        let names: Vec<_> = config.lookups.iter().map(|it| it.name.as_str()).collect();
        let meter = Arc::new(LookupMeter::new(names));
        let start = |settings| Service::start(settings, &meter, entries_max);
        let services = config.lookups.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Self { feeds, services, meter })))
    }

    /// What is counted.
    pub(crate) fn meter(&self) -> Arc<LookupMeter> {
        self.meter.clone()
    }

    fn by_feeds(&self, target: &Target, now: Timestamp) -> Standing {
        self.feeds
            .as_ref()
            .map_or(Ok(None), |feeds| feeds.standing(target, now))
    }

    /// Whether any service could say of an address that feeds name something that changes anything.
    fn lists_good(&self) -> bool {
        self.services.iter().any(|it| it.shared.settings.kind.lists_good())
    }

    /// What services say of each of `all`, in their order, beside what feeds do.
    fn by_services(&self, all: &[Asked], now: Timestamp) -> Vec<Word> {
        let asked = Instant::now();
        let begun: Vec<_> = self.services.iter().map(|it| it.begin(all, now)).collect();
        // All are under way before the first is waited for.
        let said = self.services.iter().zip(begun);
        let said = said.map(|(it, begun)| it.wait(all, begun, asked, now).into_iter());
        let mut said: Vec<_> = said.collect();
        let of_next = |_: &Asked| worst(said.iter_mut().filter_map(Iterator::next));
        let words = all.iter().map(of_next).collect();
        self.meter.waits.observe(asked.elapsed().as_secs_f64());
        words
    }
}

/// That it is good, when somebody says so. Otherwise the worst that is known; that some is not known only when nothing
/// bad is.
fn worst(all: impl Iterator<Item = Word>) -> Word {
    let mut unknown = None;
    let mut worst: Option<Reputation> = None;
    let mut good = None;
    for word in all {
        let standing = match word {
            Word::Good(it) => {
                good.get_or_insert(it);
                continue;
            }
            Word::Standing(standing) => standing,
        };
        match standing {
            Ok(Some(it)) => {
                let is_worse = |best: &Reputation| (it.score, it.confidence) > (best.score, best.confidence);
                if worst.as_ref().is_none_or(is_worse) {
                    worst = Some(it);
                }
            }
            Ok(None) => {}
            Err(why) => drop(unknown.get_or_insert(why)),
        }
    }
    match (good, worst, unknown) {
        (Some(it), _, _) => Word::Good(it),
        (None, Some(it), _) => Word::Standing(Ok(Some(it))),
        (None, None, Some(why)) => Word::Standing(Err(why)),
        (None, None, None) => Word::Standing(Ok(None)),
    }
}

impl Reputations for Lookups {
    fn standing(&self, target: &Target, now: Timestamp) -> Standing {
        self.standings(std::slice::from_ref(target), now)
            .pop()
            .unwrap_or(Ok(None))
    }

    fn standings(&self, targets: &[Target], now: Timestamp) -> Vec<Standing> {
        let mut standings: Vec<_> = targets.iter().map(|it| self.by_feeds(it, now)).collect();
        let lists_good = self.lists_good();
        let asked = targets.iter().zip(&mut standings).filter_map(|(target, standing)| {
            let is_named = matches!(standing, Ok(Some(_)));
            let ip = target.address().filter(|_| !is_named || lists_good)?;
            Some((Asked { ip, is_named }, standing))
        });
        let (asked, open): (Vec<_>, Vec<_>) = asked.unzip();
        if asked.is_empty() {
            return standings;
        }
        for (said, standing) in self.by_services(&asked, now).into_iter().zip(open) {
            let by_feeds = std::mem::replace(standing, Ok(None));
            *standing = match worst([Word::Standing(by_feeds), said].into_iter()) {
                Word::Good(it) => Ok(Some(it)),
                Word::Standing(it) => it,
            };
        }
        standings
    }

    fn may_wait(&self) -> bool {
        true
    }
}

impl Service {
    fn start(settings: &LookupSettings, meter: &Arc<LookupMeter>, entries_max: usize) -> Result<Self, Fault> {
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            name: Printable(&settings.name).to_string().into(),
            state: Mutex::new(State {
                cache: Cache::new(entries_max),
                under_way: BTreeSet::new(),
                failures: 0,
                pause: None,
            }),
            changed: Condvar::new(),
            meter: meter.clone(),
        });
        let way = match Way::new(settings) {
            Ok(way) => Arc::new(way),
            Err(fault) => {
                let why = fault.told();
                tracing::error!(lookup = %shared.name, why, hint = fault.advice(), "a look-up cannot be asked; what it would say is unknown");
                shared.read(Some(&why), None);
                return Ok(Self {
                    shared,
                    questions: None,
                });
            }
        };
        let (questions, asked) = crossbeam_channel::bounded(UNDER_WAY_MAX);
        for _ in 0..ASKED_AT_ONCE_MAX {
            let (shared, way, asked) = (shared.clone(), way.clone(), asked.clone());
            std::thread::Builder::new()
                .name("lookups".into())
                .spawn(move || shared.answer_all(&way, &asked))
                .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
        }
        let questions = Some(questions);
        Ok(Self { shared, questions })
    }

    /// Looks what is known of `all`, and asks of the others.
    fn begin(&self, all: &[Asked], now: Timestamp) -> Vec<Begun> {
        let shared = &*self.shared;
        let (mut hits, mut misses) = (0, 0);
        let mut state = shared.lock();
        let begun = all.iter().map(|it| {
            if !shared.is_asked_of(*it) {
                return Begun::NotAsked;
            }
            if let Some((said, asked)) = state.cache.get(it.ip, now) {
                hits += 1;
                return Begun::Known(said, asked);
            }
            misses += 1;
            self.ask(&mut state, it.ip, now)
        });
        let begun = begun.collect();
        drop(state);
        shared.meter.cached(&shared.settings.name, hits, misses);
        begun
    }

    /// Has `ip` asked of, when that is possible and nobody has done so.
    fn ask(&self, state: &mut State, ip: IpAddr, now: Timestamp) -> Begun {
        let shared = &*self.shared;
        let unknown = |why: &str| Begun::Known(Err(why.into()), now);
        if state.under_way.contains(&ip) {
            return Begun::UnderWay;
        }
        let Some(questions) = &self.questions else {
            shared.count(Outcome::Paused);
            let reading = shared.meter.readings().get(&*shared.settings.name).cloned();
            let why = reading.and_then(|it| it.failed);
            return unknown(why.as_deref().unwrap_or("it cannot be asked"));
        };
        if let Some(pause) = state.pause.as_ref().filter(|it| it.holds(now)) {
            shared.count(Outcome::Paused);
            return unknown(&format!("it is not asked until {}: {}", pause.until, pause.why));
        }
        let question = Question {
            ip,
            asked: now,
            since: Instant::now(),
        };
        if state.under_way.len() >= UNDER_WAY_MAX || questions.try_send(question).is_err() {
            shared.count(Outcome::Busy);
            return unknown("too many questions to it are under way");
        }
        state.under_way.insert(ip);
        Begun::UnderWay
    }

    /// What is known of `all` at the deadline after `asked`, or when all is.
    fn wait(&self, all: &[Asked], begun: Vec<Begun>, asked: Instant, now: Timestamp) -> Vec<Word> {
        let shared = &*self.shared;
        let until = asked + shared.settings.deadline.to_std();
        let mut state = shared.lock();
        let mut words = Vec::with_capacity(all.len());
        for (Asked { ip, is_named }, begun) in all.iter().zip(begun) {
            let (said, asked) = match begun {
                Begun::NotAsked => {
                    words.push(Word::Standing(Ok(None)));
                    continue;
                }
                Begun::Known(said, asked) => (said, asked),
                Begun::UnderWay => {
                    while state.under_way.contains(ip) {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            break;
                        }
                        let waited = shared.changed.wait_timeout(state, left);
                        state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    }
                    state.cache.get(*ip, now).unwrap_or_else(|| {
                        shared.count(Outcome::Late);
                        let why = format!("it has not answered within {}", shared.settings.deadline);
                        (Err(why.into()), now)
                    })
                }
            };
            words.push(match shared.word(*ip, said, asked) {
                // A feed has said how bad it is.
                Word::Standing(_) if *is_named => Word::Standing(Ok(None)),
                word => word,
            });
        }
        words
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: Outcome) {
        self.meter.count(&self.settings.name, outcome);
    }

    /// Whether the service is asked of an address: what is not global says something of this network, and to nobody
    /// else; of what a feed names, only that it is good counts.
    fn is_asked_of(&self, Asked { ip, is_named }: Asked) -> bool {
        let may_be = is_global(ip) || self.settings.also.iter().any(|network| network.contains(&ip));
        may_be && (!is_named || self.settings.kind.lists_good())
    }

    fn word(&self, ip: IpAddr, said: Said, asked: Timestamp) -> Word {
        let reputation = |score, label| Reputation {
            score,
            confidence: self.settings.confidence,
            feed: self.name.clone(),
            network: IpNet::from(ip),
            label,
            as_of: asked,
            expires: asked + self.settings.expires_after,
        };
        match said {
            Ok(Answer::Good(label)) => Word::Good(reputation(Score::default(), label.into())),
            Ok(Answer::Scored { score, .. }) if score == Score::default() => Word::Standing(Ok(None)),
            Ok(Answer::Scored { score, label }) => Word::Standing(Ok(Some(reputation(score, label)))),
            Err(why) => Word::Standing(Err(format!("look-up {}: {why}", self.name).into())),
        }
    }

    /// Answers questions until nobody can ask any more.
    fn answer_all(&self, way: &Way, questions: &Receiver<Question>) {
        for question in questions {
            // While it waited for its turn, others may have found out that the service is to be left alone.
            match self.paused(question.now()) {
                Some(why) => {
                    self.count(Outcome::Paused);
                    self.enter(&question, Err(why), UNANSWERED_FOR);
                }
                None => self.answer(way, &question),
            }
        }
    }

    /// Why the service is left alone at `now`; `None` when it is not.
    fn paused(&self, now: Timestamp) -> Option<Box<str>> {
        let state = self.lock();
        let pause = state.pause.as_ref().filter(|it| it.holds(now));
        pause.map(|it| it.why.clone())
    }

    fn answer(&self, way: &Way, question: &Question) {
        let begun = Instant::now();
        let answered = way.ask(question.ip, question.asked);
        self.meter.took(&self.settings.name, begun.elapsed());
        match answered {
            Ok(answer) => {
                self.count(Outcome::Answered);
                let failures = std::mem::take(&mut self.lock().failures);
                if failures > 0 {
                    tracing::info!(lookup = %self.name, "a look-up answers again");
                }
                // What was asked before it wanted to be left alone does not end that.
                if self.paused(question.now()).is_none() {
                    self.read(None, None);
                }
                self.enter(question, Ok(answer), self.settings.cache);
            }
            Err(unanswered) => self.fail(question, unanswered),
        }
    }

    fn fail(&self, question: &Question, unanswered: Unanswered) {
        let Unanswered { outcome, why, pause } = unanswered;
        self.count(outcome);
        let now = question.now();
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let is_first = state.failures == 1;
        let pause = pause.or_else(|| (state.failures >= FAILURES_MAX).then_some(UNANSWERED_FOR));
        if let Some(pause) = pause {
            let until = now + pause;
            let is_longer = |it: &Pause| !it.holds(now) || it.until < until;
            if state.pause.as_ref().is_none_or(is_longer) {
                let why = why.clone();
                state.pause = Some(Pause { from: now, until, why });
            }
        }
        let until = state.pause.as_ref().map(|it| it.until);
        drop(state);
        if is_first {
            tracing::warn!(lookup = %self.name, why = &*why, "a look-up does not answer; what it would say is unknown");
        }
        self.read(Some(&why), until);
        self.enter(question, Err(why), UNANSWERED_FOR);
    }

    /// Keeps what was said for so long, for whoever waits and for later.
    fn enter(&self, question: &Question, said: Said, lasts: Span) {
        let mut state = self.lock();
        state
            .cache
            .put(question.ip, said, question.asked, question.now() + lasts);
        state.under_way.remove(&question.ip);
        drop(state);
        self.changed.notify_all();
    }

    fn read(&self, failed: Option<&str>, paused_until: Option<Timestamp>) {
        let failed = failed.map(Into::into);
        let reading = LookupReading { failed, paused_until };
        self.meter
            .readings()
            .insert(self.settings.name.as_str().into(), reading);
    }
}

impl Pause {
    fn holds(&self, now: Timestamp) -> bool {
        holds(self.from, self.until, now)
    }
}
