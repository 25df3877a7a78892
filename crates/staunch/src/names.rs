//! Where the services are that Staunch calls: their names are looked up ahead of time, and again from time to time.
//!
//! Never holds anybody up but a start, and that for a moment: a name server may be slow, and neither a block nor an
//! isolation must be. Never forgets an address because nobody can be asked: one that was found is held until a day
//! after it was found the last time, and longer while its name is not found. Over a restart a file keeps them
//! (`kept.rs`).

mod kept;

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use staunch_connectors::enrichers::{RESOLV_CONF, resolver_addresses};
use staunch_model::{Printable, Protection, Span, Timestamp};

use crate::called::{Endpoint, endpoints};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output;

use kept::{Kept, Place, Record};

/// Where systemd-resolved writes whom it asks.
const RESOLV_CONF_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// How often names are looked up again; sooner while one was never found, as when the network comes up after this
/// process.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
const LOOK_UP_SOON: Duration = Duration::from_secs(5);

/// How long a start waits until every name was looked up once.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How long an address is held after it was found the last time: services that are in many places answer with others
/// each time.
const HELD: Duration = Duration::from_secs(86_400);

/// Addresses that are held of one name; of more, those that were found last.
const ADDRESSES_MAX: usize = 256;

/// The services that are called, and where each was found.
pub(crate) struct Names {
    endpoints: Vec<Endpoint>,
    known: Mutex<Known>,
    /// The file that keeps them; `None` where nothing is to be kept.
    kept_in: Option<PathBuf>,
}

/// What was found.
#[derive(Default)]
struct Known {
    /// Whom this machine asks.
    resolvers: Vec<IpAddr>,
    /// By name.
    found: BTreeMap<String, Found>,
    /// How often other addresses were held than before.
    news: u64,
}

/// Where one name was found.
#[derive(Default)]
struct Found {
    /// The last time.
    last: Vec<IpAddr>,
    /// What is held, and when it was found the last time.
    held: BTreeMap<IpAddr, Instant>,
    /// Whether it was found by this process, and not only by one before.
    again: bool,
}

/// Looks names up until it is dropped.
pub(crate) struct Looking {
    _stop: Sender<()>,
    first: Receiver<()>,
}

impl Looking {
    /// Waits until every name was looked up once, for a moment at most.
    pub(crate) fn wait(&self) {
        if self.first.recv_timeout(FIRST_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("names of services that are called are still looked up; their addresses are protected then");
        }
    }
}

impl Names {
    /// Those that `config` names, of which nothing was looked up so far.
    #[cfg(test)]
    pub(crate) fn of(config: &Config) -> Arc<Self> {
        Arc::new(Self::with(config, None))
    }

    /// Those that `config` names, held where a server before was the last to find them, until they are looked up.
    pub(crate) fn as_before(config: &Config, now: Timestamp) -> Arc<Self> {
        let path = config.called_file();
        let record = Record::load(&path, now);
        let names = Self::with(config, Some(path));
        names.take_up(&record, now, Instant::now());
        Arc::new(names)
    }

    fn with(config: &Config, kept_in: Option<PathBuf>) -> Self {
        Self {
            endpoints: endpoints(config),
            known: Mutex::default(),
            kept_in,
        }
    }

    /// Those that `config` names, held where a server before was the last to find them, and looked up once, as far as a
    /// moment is enough for it, where they are to be protected. Nothing is kept.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn looked_up(config: &Config) -> Result<Arc<Self>, Fault> {
        let now = output::now();
        let names = Self::with(config, None);
        names.take_up(&Record::load(&config.called_file(), now), now, Instant::now());
        let names = Arc::new(names);
        if config.never_touch.discover {
            names.start()?.wait();
        }
        Ok(names)
    }

    /// Begins to look them up.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Looking, Fault> {
        let (stop, stopped) = channel();
        let (done, first) = sync_channel(1);
        if self.names().next().is_some() {
            let names = self.clone();
            let thread = thread::Builder::new().name("names".into());
            thread
                .spawn(move || names.run(&stopped, &done))
                .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
        }
        Ok(Looking { _stop: stop, first })
    }

    fn run(&self, stopped: &Receiver<()>, done: &SyncSender<()>) {
        let mut kept = self.kept_in.clone().map(Kept::new);
        loop {
            self.look_up(Instant::now(), |host| {
                (host, 0).to_socket_addrs().map(|all| all.map(|it| it.ip()).collect())
            });
            // Only the first round is waited for, and perhaps by nobody.
            let _ = done.try_send(());
            if let Some(kept) = &mut kept {
                let (record, at) = (self.record(output::now(), Instant::now()), Instant::now());
                kept.keep(record, at);
            }
            let pause = if self.is_any_unfound() {
                LOOK_UP_SOON
            } else {
                LOOK_UP_EVERY
            };
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Asks `resolve` for every name once.
    fn look_up(&self, now: Instant, resolve: impl Fn(&str) -> std::io::Result<Vec<IpAddr>>) {
        let resolvers = resolvers();
        self.known().resolvers = resolvers;
        for host in self.names() {
            // Nothing is locked meanwhile: it may take long.
            match resolve(host) {
                Ok(found) if !found.is_empty() => self.known().enter(host, &found, now),
                Ok(_) => self.tell_missing(host, "it has no address"),
                Err(error) => self.tell_missing(host, &error.to_string()),
            }
        }
    }

    /// Holds what `record` says, which was kept by the clock that says `now`, until it is looked up.
    fn take_up(&self, record: &Record, now: Timestamp, at: Instant) {
        let mut known = self.known();
        for host in self.names() {
            let Some(place) = record.names.get(host) else { continue };
            let found_at = |found: &Timestamp| {
                let age = Duration::from_micros(now.since(*found).as_micros());
                at.checked_sub(age).unwrap_or(at)
            };
            let mut found = Found {
                last: place.last.iter().take(ADDRESSES_MAX).copied().collect(),
                held: place
                    .held
                    .iter()
                    .map(|(address, at)| (*address, found_at(at)))
                    .collect(),
                again: false,
            };
            found.bound();
            known.found.insert(host.to_owned(), found);
        }
    }

    /// What is held, to be kept by the clock that says `now`.
    fn record(&self, now: Timestamp, at: Instant) -> Record {
        let known = self.known();
        let found_at = |found: &Instant| {
            let age = at.saturating_duration_since(*found).as_micros();
            let age = Span::from_micros(u64::try_from(age).unwrap_or(u64::MAX));
            Timestamp::from_micros(now.as_micros().saturating_sub(age.as_micros()))
        };
        let place = |it: &Found| Place {
            last: it.last.clone(),
            held: it.held.iter().map(|(address, at)| (*address, found_at(at))).collect(),
        };
        let names = known.found.iter().map(|(host, it)| (host.clone(), place(it)));
        Record { names: names.collect() }
    }

    fn tell_missing(&self, host: &str, why: &str) {
        let kept = self.known().found.contains_key(host);
        let host = Printable(host).to_string();
        tracing::debug!(host, kept, why, "a name was not found");
    }

    /// The names that are called, each once.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self.endpoints.iter().filter(|it| literal(it).is_none()).collect();
        names.sort_unstable_by_key(|it| &it.host);
        names.dedup_by_key(|it| &it.host);
        names.into_iter().map(|it| it.host.as_str())
    }

    /// Whether there is a name that this process has not found so far.
    fn is_any_unfound(&self) -> bool {
        let known = self.known();
        let mut names = self.names();
        names.any(|host| known.found.get(host).is_none_or(|it| !it.again))
    }

    /// The services whose names were found before this process, and not by it.
    pub(crate) fn only_before(&self) -> impl Iterator<Item = &Endpoint> {
        let known = self.known();
        let before = |it: &&Endpoint| known.found.get(&it.host).is_some_and(|it| !it.again);
        self.endpoints.iter().filter(before).collect::<Vec<_>>().into_iter()
    }

    /// The services whose names were never found.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Endpoint> {
        let known = self.known();
        let missing = |it: &&Endpoint| literal(it).is_none() && !known.found.contains_key(&it.host);
        self.endpoints.iter().filter(missing).collect::<Vec<_>>().into_iter()
    }

    /// Changes whenever [`Names::protections`] does.
    pub(crate) fn news(&self) -> u64 {
        self.known().news
    }

    /// What is called, with each of the addresses where it was found the last time; first, whom this machine asks for
    /// names.
    pub(crate) fn reachable(&self) -> (Vec<IpAddr>, Vec<(&Endpoint, IpAddr)>) {
        let known = self.known();
        let at = |it: &Endpoint| match literal(it) {
            Some(address) => vec![address],
            None => known.found.get(&it.host).map_or_else(Vec::new, |it| it.last.clone()),
        };
        let all = self
            .endpoints
            .iter()
            .flat_map(|it| at(it).into_iter().map(move |address| (it, address)));
        (known.resolvers.clone(), all.collect())
    }

    /// The addresses of all that is called, each with the reason why it is never touched; ordered, without repetition.
    pub(crate) fn protections(&self) -> Vec<Protection> {
        let known = self.known();
        let mut all = Vec::new();
        for it in &self.endpoints {
            let named = || known.found.get(&it.host).into_iter().flat_map(|it| it.held.keys());
            let addresses: Vec<IpAddr> = literal(it).map_or_else(|| named().copied().collect(), |it| vec![it]);
            let reason = match literal(it) {
                Some(_) => format!("called: {}", Printable(&it.what)),
                None => format!("called: {} ({})", Printable(&it.what), Printable(&it.host)),
            };
            all.extend(addresses.into_iter().map(|address| Protection {
                network: IpNet::from(address.to_canonical()),
                reason: reason.as_str().into(),
            }));
        }
        // What no containment can mean is protected as that.
        all.retain(|it| !it.network.addr().is_loopback() && !it.network.addr().is_unspecified());
        all.sort_by(|a, b| (a.network, &a.reason).cmp(&(b.network, &b.reason)));
        all.dedup();
        all
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Holds `found` for `host`, and lets go what was not found for long.
    fn enter(&mut self, host: &str, found: &[IpAddr], now: Instant) {
        let entry = self.found.entry(host.to_owned()).or_default();
        let before: Vec<IpAddr> = entry.held.keys().copied().collect();
        entry.last = found.iter().take(ADDRESSES_MAX).map(IpAddr::to_canonical).collect();
        entry.held.extend(entry.last.iter().map(|address| (*address, now)));
        entry.held.retain(|_, at| now.saturating_duration_since(*at) < HELD);
        entry.again = true;
        entry.bound();
        if !entry.held.keys().eq(&before) {
            self.news += 1;
        }
    }
}

impl Found {
    /// Holds no more than it may: those that were found last.
    fn bound(&mut self) {
        while self.held.len() > ADDRESSES_MAX
            && let Some(oldest) = self.held.iter().min_by_key(|(_, at)| **at).map(|(it, _)| *it)
        {
            self.held.remove(&oldest);
        }
    }
}

/// The address of a service that is called by its address.
fn literal(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.host.parse().ok()
}

/// Whom this machine asks for names: those of its own, or those that a resolver on it asks.
pub(crate) fn resolvers() -> Vec<IpAddr> {
    let read = |path: &str| resolver_addresses(Path::new(path)).unwrap_or_default();
    let mut addresses = read(RESOLV_CONF);
    if addresses.iter().all(IpAddr::is_loopback) {
        addresses = read(RESOLV_CONF_UPSTREAM);
    }
    addresses.retain(|it| !it.is_loopback());
    addresses
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn names() -> Arc<Names> {
        let text = "[telemetry]\notlp = \"http://203.0.113.78:4318\"\n\
                    [[feeds]]\nname = \"drop\"\nurl = \"https://feeds.example/list\"\nformat = \"plain\"\n\
                    [[feeds]]\nname = \"here\"\nurl = \"http://127.0.0.1/list\"\nformat = \"plain\"\n";
        Names::of(&crate::config::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}")))
    }

    /// What is protected, after every name was found at `addresses`, or nowhere when there are none.
    fn after(names: &Names, now: Instant, addresses: &[&str]) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().expect("an address")).collect();
        names.look_up(now, |host| {
            assert_eq!(host, "feeds.example", "addresses are not looked up");
            if addresses.is_empty() {
                return Err(io::Error::other("nobody answers"));
            }
            Ok(addresses.clone())
        });
        let all = names.protections();
        all.iter().map(|it| format!("{} {}", it.network, it.reason)).collect()
    }

    #[test]
    fn what_is_called_is_protected_and_stays_so_while_nobody_can_be_asked() {
        const TRACES: &str = "203.0.113.78/32 called: the receiver of traces";
        let feed = |address: &str| format!("{address}/32 called: the feed drop (feeds.example)");
        let names = names();
        let start = Instant::now();
        let hours = |hours: u64| start + Duration::from_secs(hours * 3_600);
        assert_eq!(after(&names, start, &[]), [TRACES]);
        assert_eq!((names.missing().count(), names.news()), (1, 0));

        let both = [feed("198.51.100.1"), TRACES.to_owned()];
        assert_eq!(after(&names, start, &["198.51.100.1", "::ffff:198.51.100.1"]), both);
        assert_eq!((names.missing().count(), names.news()), (0, 1));
        assert_eq!(after(&names, hours(1), &["198.51.100.1"]), both);
        assert_eq!(names.news(), 1, "it is where it was");
        assert_eq!(after(&names, hours(100), &[]), both, "nobody can be asked");

        // The service has moved. What was found before is held for a day more, but an isolation goes by where it is.
        assert_eq!(after(&names, hours(2), &["198.51.100.2"]).len(), 3);
        let (_, reachable) = names.reachable();
        let last: Vec<_> = reachable.iter().map(|(_, address)| address.to_string()).collect();
        assert_eq!(last, ["127.0.0.1", "203.0.113.78", "198.51.100.2"]);
        let moved = [feed("198.51.100.2"), TRACES.to_owned()];
        assert_eq!(after(&names, hours(25), &["198.51.100.2"]), moved);
        assert_eq!(names.news(), 3);
    }

    #[test]
    fn what_was_held_before_a_restart_is_held_until_its_name_is_found() {
        const TRACES: &str = "203.0.113.78/32 called: the receiver of traces";
        let feed = |address: &str| format!("{address}/32 called: the feed drop (feeds.example)");
        let wall = Timestamp::from_micros(1_700_000_000_000_000);
        let start = Instant::now();
        let hours = |hours: u64| start + Duration::from_secs(hours * 3_600);
        let before = names();
        after(&before, start, &["198.51.100.1"]);
        after(&before, hours(20), &["198.51.100.2"]);
        let record = before.record(wall, hours(20));

        // Another process, two hours later, whose name server does not answer.
        let (names, wall) = (names(), wall + Span::from_hours(2));
        names.take_up(&record, wall, start);
        let held = [feed("198.51.100.1"), feed("198.51.100.2"), TRACES.to_owned()];
        assert_eq!(after(&names, start, &[]), held);
        let (_, reachable) = names.reachable();
        let last = reachable.iter().map(|(_, address)| address.to_string());
        assert!(
            last.collect::<Vec<_>>().contains(&"198.51.100.2".to_owned()),
            "an isolation leaves it reachable"
        );
        let before: Vec<_> = names.only_before().map(|it| it.what.clone()).collect();
        assert_eq!((names.missing().count(), before), (0, vec!["the feed drop".to_owned()]));
        assert!(names.is_any_unfound(), "it is looked up again soon");
        // What was found 22 hours ago is held for two more.
        assert_eq!(after(&names, hours(1), &["198.51.100.3"]).len(), 4);
        assert!(!names.is_any_unfound() && names.only_before().next().is_none());
        let left = [feed("198.51.100.2"), feed("198.51.100.3"), TRACES.to_owned()];
        assert_eq!(after(&names, hours(3), &["198.51.100.3"]), left);
        // A name that is called no more is not held.
        let mut other = Record::default();
        other
            .names
            .insert("gone.example".into(), record.names["feeds.example"].clone());
        let names = self::names();
        names.take_up(&other, wall, start);
        assert_eq!(after(&names, start, &[]), [TRACES]);
    }

    #[test]
    fn a_name_with_ever_other_addresses_holds_those_that_were_found_last() {
        let names = names();
        let start = Instant::now();
        for at in 0..=ADDRESSES_MAX as u64 {
            let address = format!("198.51.{}.{}", at / 256, at % 256);
            after(&names, start + Duration::from_secs(at), &[&address]);
        }
        let all = names.protections();
        assert_eq!(all.len(), ADDRESSES_MAX + 1);
        let has = |network: &str| all.iter().any(|it| it.network.to_string() == network);
        assert!(has("198.51.1.0/32") && !has("198.51.0.0/32"));
    }
}
