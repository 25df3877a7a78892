//! Feeds: what others say of addresses, read from files at the start and again when they change. Those with an address
//! are fetched into such a file.
//!
//! Never stops a server: a feed that cannot be read makes what it would say unknown, which is told, and the copy that
//! was read last counts until it expires.

mod fetch;

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use staunch_connectors::feeds::{
    FEED_BYTES_MAX, FeedTable, Format, MANIFEST, MispEvents, Reading, Terms, manifest, read, read_filtered,
};
use staunch_connectors::lists::Invalid;
use staunch_model::{Printable, Standing, Target, Timestamp};
use staunch_ports::Reputations;
use staunch_runtime::Handle;
use staunch_runtime::telemetry::FeedReading;
use staunch_server::{Stamp, stamp};

use crate::config::{Config, FeedSettings};
use crate::exit::{Exit, Fault};
use crate::files::{is_missing, open_regular};
use crate::lists::name;
use crate::watched::{Found, Watched};

pub(crate) use fetch::Fetching;

/// The most bytes of all events of a MISP feed.
const EVENTS_BYTES_MAX: u64 = 4 * FEED_BYTES_MAX;

/// A feed as it was read, and what was left out of it.
pub(crate) struct Fed {
    pub(crate) table: FeedTable,
    /// Networks that were taken out because they are special.
    pub(crate) special: u64,
    /// What is in it and cannot be used.
    pub(crate) not_understood: u64,
}

/// Reads one feed.
///
/// # Errors
/// Why it cannot be used, and what to do about it.
pub(crate) fn read_one(settings: &FeedSettings, now: Timestamp) -> Result<Fed, Fault> {
    let path = &settings.path;
    let (feed, shown) = (Printable(&settings.name), name(path));
    let fetched = fetched(path).unwrap_or(now).min(now);
    let reading = if path.is_dir() && settings.format == Format::Misp {
        read_directory(&feed.to_string(), path, EVENTS_BYTES_MAX)?
    } else {
        let bytes = bounded(&feed.to_string(), path)?;
        let read = match settings.beside_manifest() {
            Some(_) => MispEvents::of_copy(&bytes).and_then(MispEvents::reading),
            None => read_filtered(settings.format, &settings.filter(), &bytes),
        };
        read.map_err(|invalid| refused(&feed.to_string(), &shown, invalid))?
    };
    let reading = usable(reading).map_err(|invalid| refused(&feed.to_string(), &shown, invalid))?;
    let (special, not_understood) = (reading.special, reading.not_understood);
    let terms = Terms {
        name: feed.to_string().into(),
        score: settings.score,
        confidence: settings.confidence,
        lasts: settings.expires_after,
    };
    Ok(Fed {
        table: FeedTable::new(terms, reading, fetched, now),
        special,
        not_understood,
    })
}

/// `reading`, when there is something in it that counts, or that is taken back. One in which there is not says no more
/// than an empty file, and whoever has mixed up a file must not have everything that a feed said forgotten.
///
/// # Errors
/// When there is not.
fn usable(reading: Reading) -> Result<Reading, Invalid> {
    if !reading.entries.is_empty() || reading.taken_back > 0 {
        return Ok(reading);
    }
    let (special, not_understood) = (reading.special, reading.not_understood);
    let what = match (special, not_understood) {
        (0, 0) => "it names no network".to_owned(),
        _ => format!("it names no network that counts ({special} special, {not_understood} not understood)"),
    };
    Err(Invalid {
        line: None,
        what,
        hint: "is it cut off, or another file? A feed that is to say nothing is taken out of the configuration".into(),
    })
}

/// The events of a MISP feed that its manifest names.
fn read_directory(feed: &str, path: &Path, bytes_max: u64) -> Result<Reading, Fault> {
    let file = path.join(MANIFEST);
    let listed = manifest(&bounded(feed, &file)?).map_err(|invalid| refused(feed, &name(&file), invalid))?;
    let mut all = Reading::default();
    let mut bytes_left = bytes_max;
    for event in listed {
        let file = path.join(event.file());
        let invalid = |invalid| refused(feed, &name(&file), invalid);
        let bytes = bounded(feed, &file)?;
        bytes_left = bytes_left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            let shown = name(path);
            let what = format!("the events of the feed {feed} ({shown}) have more than {bytes_max} bytes");
            Fault::new(Exit::Usage, what).hint("take a shorter feed, or a part of this one")
        })?;
        all.merge(read(Format::Misp, &bytes).map_err(invalid)?);
        // Many events together must not be more than one file may be.
        all = all.bounded().map_err(invalid)?;
    }
    Ok(all)
}

fn refused(feed: &str, file: &str, invalid: Invalid) -> Fault {
    let at = invalid.line.map_or_else(String::new, |line| format!(", line {line}"));
    Fault::new(Exit::Usage, format!("the feed {feed} ({file}{at}): {}", invalid.what)).hint(invalid.hint)
}

fn bounded(feed: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    let shown = name(path);
    let unreadable = |error: &io::Error| {
        let (exit, hint) = match error.kind() {
            _ if is_missing(error) => (
                Exit::NotFound,
                "it is read when it is there: mend its path, or fetch it",
            ),
            io::ErrorKind::PermissionDenied => (Exit::Failed, "let the user of the server read it"),
            _ => (
                Exit::Failed,
                "see that it is a file and the disk is sound, or fetch it again",
            ),
        };
        Fault::doing(exit, format!("cannot read the feed {feed} ({shown})"), error).hint(hint)
    };
    let mut bytes = Vec::new();
    let opened = open_regular(path).map_err(|error| unreadable(&error))?;
    let mut opened = opened.take(FEED_BYTES_MAX + 1);
    opened.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FEED_BYTES_MAX {
        let what = format!("the feed {feed} ({shown}) has more than {FEED_BYTES_MAX} bytes");
        return Err(Fault::new(Exit::Usage, what).hint("is it the right file?"));
    }
    Ok(bytes)
}

/// What changes when a feed does: for a directory, its manifest.
fn look_at(settings: &FeedSettings) -> Stamp {
    if settings.path.is_dir() {
        stamp(&settings.path.join(MANIFEST))
    } else {
        stamp(&settings.path)
    }
}

/// When the file was written, which is when it was fetched.
fn fetched(path: &Path) -> Option<Timestamp> {
    let file = if path.is_dir() {
        path.join(MANIFEST)
    } else {
        path.to_owned()
    };
    let seconds = u64::try_from(fs::metadata(file).ok()?.mtime()).ok()?;
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

/// The feeds of a configuration.
pub(crate) struct Feeds {
    feeds: RwLock<Vec<Feed>>,
}

struct Feed {
    settings: FeedSettings,
    /// What it says; `None` while it was never read.
    table: Option<Arc<FeedTable>>,
    /// Why the file as it is now cannot be used.
    failed: Option<Box<str>>,
    /// Why it could not be fetched the last time.
    unfetched: Option<Box<str>>,
    watched: Watched,
}

impl Feeds {
    /// The feeds of `config`, as they are at `now`; nothing when there are none.
    pub(crate) fn start(config: &Config, now: Timestamp) -> Option<Arc<Self>> {
        let feed = |settings: &FeedSettings| {
            let settings = &settings.in_dir(&config.data_dir);
            let mut feed = Feed {
                settings: settings.clone(),
                table: None,
                failed: None,
                unfetched: None,
                watched: Watched::read(look_at(settings)),
            };
            // One that is yet to be fetched has no copy, which says nothing of the feed.
            if settings.url.is_none() || settings.path.exists() {
                feed.take(read_one(settings, now));
            }
            feed
        };
        let feeds: Vec<_> = config.feeds.iter().map(feed).collect();
        (!feeds.is_empty()).then(|| {
            Arc::new(Self {
                feeds: RwLock::new(feeds),
            })
        })
    }

    /// Looks at all files, and takes those that have changed and stayed like that since the last look.
    pub(crate) fn look(&self, handle: &Handle) {
        let now = handle.machine_now();
        let changed: Vec<_> = {
            let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
            let settled = feeds.iter_mut().enumerate().filter_map(|(at, feed)| {
                let found = look_at(&feed.settings);
                (feed.watched.look(found) == Found::Changed).then(|| (at, feed.settings.clone(), found))
            });
            settled.collect()
        };
        for (at, settings, found) in changed {
            // Look-ups go on with what was read before.
            let read = read_one(&settings, now);
            let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(feed) = feeds.get_mut(at) {
                // Also of one that cannot be used: it is not tried again until it changes.
                feed.watched.take(found);
                feed.take(read);
                tell(handle, &settings.name, feed.reading());
            }
        }
    }

    /// The feeds that are fetched, with their positions, and of when the copy is that can be used.
    pub(crate) fn fetched(&self) -> Vec<(usize, FeedSettings, Option<Timestamp>)> {
        let feeds = self.feeds.read().unwrap_or_else(PoisonError::into_inner);
        let all = feeds.iter().enumerate().filter(|(_, feed)| feed.settings.url.is_some());
        all.map(|(at, feed)| {
            let copied = feed.table.as_ref().map(|it| it.fetched());
            (at, feed.settings.clone(), copied)
        })
        .collect()
    }

    /// Notes how the last try to fetch the feed at `at` came out.
    pub(crate) fn note(&self, at: usize, unfetched: Option<&str>, handle: &Handle) {
        let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get_mut(at) {
            feed.unfetched = unfetched.map(Into::into);
            tell(handle, &feed.settings.name, feed.reading());
        }
    }

    /// Says how the feeds stand.
    pub(crate) fn tell(&self, handle: &Handle) {
        for feed in &*self.feeds.read().unwrap_or_else(PoisonError::into_inner) {
            tell(handle, &feed.settings.name, feed.reading());
        }
    }
}

impl Feed {
    /// Takes over what was read, or why it could not be.
    fn take(&mut self, read: Result<Fed, Fault>) {
        let feed = Printable(&self.settings.name).to_string();
        match read {
            Ok(Fed {
                table,
                special,
                not_understood,
            }) => {
                let networks = table.len();
                tracing::info!(
                    feed,
                    networks,
                    special,
                    not_understood,
                    fetched = %table.fetched(),
                    "a feed was read; special-purpose networks, such as private ones, were left out of it"
                );
                self.table = Some(Arc::new(table));
                self.failed = None;
            }
            Err(fault) => {
                let why = fault.told();
                tracing::error!(
                    feed,
                    why,
                    hint = fault.advice(),
                    "a feed cannot be used; what was read before counts until it expires"
                );
                self.failed = Some(why.into());
            }
        }
    }

    fn reading(&self) -> FeedReading {
        FeedReading {
            networks: self.table.as_ref().map_or(0, |it| it.len() as u64),
            as_of: self.table.as_ref().map(|it| it.fetched()),
            lasts: self.settings.expires_after,
            failed: self.unfetched.clone().or_else(|| self.failed.clone()),
        }
    }
}

impl Reputations for Feeds {
    fn standing(&self, target: &Target, now: Timestamp) -> Standing {
        let Some(ip) = target.address() else { return Ok(None) };
        let feeds = self.feeds.read().unwrap_or_else(PoisonError::into_inner);
        let named = feeds.iter().filter_map(|feed| feed.table.as_ref()?.find(ip, now));
        // Of several that say the same, the surer; then the first.
        let worst = named.reduce(|best, it| {
            if (it.score, it.confidence) > (best.score, best.confidence) {
                it
            } else {
                best
            }
        });
        if worst.is_some() {
            return Ok(worst);
        }
        for feed in &*feeds {
            let feed_name = Printable(&feed.settings.name);
            match &feed.table {
                None => {
                    let why = feed
                        .unfetched
                        .as_deref()
                        .or(feed.failed.as_deref())
                        .unwrap_or("it was not read yet");
                    return Err(format!("feed {feed_name} was never read: {why}").into());
                }
                Some(table) if table.is_stale(now) => {
                    return Err(format!("feed {feed_name} is of {}, and counts no longer", table.fetched()).into());
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

fn tell(handle: &Handle, feed: &str, reading: FeedReading) {
    let shown = Printable(feed).to_string();
    handle.telemetry().feeds().insert(shown.into(), reading);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_directory_are_bounded_in_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let event = br#"{"Event":{}}"#;
        let uuids: Vec<_> = (0..5).map(|at| format!("5f4a9c1e-0000-4000-8000-{at:012x}")).collect();
        let names: Vec<_> = uuids.iter().map(|uuid| format!("\"{uuid}\":{{}}")).collect();
        fs::write(dir.path().join(MANIFEST), format!("{{{}}}", names.join(","))).expect("a manifest");
        for uuid in uuids {
            fs::write(dir.path().join(format!("{uuid}.json")), event).expect("an event");
        }
        let bytes = 5 * event.len() as u64;
        assert!(read_directory("it", dir.path(), bytes).is_ok_and(|it| it.entries.is_empty()));
        let fault = read_directory("it", dir.path(), bytes - 1).expect_err("they are too long");
        let what = format!("have more than {} bytes", bytes - 1);
        assert!(fault.told().contains(&what), "{}", fault.told());
    }
}
