//! Where services were found, kept over a restart: at a start, the name server may not answer yet.
//!
//! Never holds up a start or a look-up: what cannot be read is nothing, and what cannot be written is tried again.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use staunch_model::{Span, Timestamp};

use crate::files::{is_missing, read_bounded};
use crate::whole;

/// How long an address that was found counts in the file. Whoever has it later than that may be somebody else.
const KEPT_FOR: Span = Span::from_hours(7 * 24);

/// How often the file is written while the addresses stay the same, for their times.
const KEEP_EVERY: Duration = Duration::from_secs(3_600);

/// The most bytes of the file: names with as many addresses as are held of each, and room.
const BYTES_MAX: u64 = 4 << 20;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// By name.
    pub(super) names: BTreeMap<String, Place>,
}

/// Where one name was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The last time.
    pub(super) last: Vec<IpAddr>,
    /// What is held, and when it was found the last time.
    pub(super) held: BTreeMap<IpAddr, Timestamp>,
}

impl Record {
    /// What the file at `path` keeps that counts at `now`. What is not there, or cannot be read, is nothing.
    pub(super) fn load(path: &Path, now: Timestamp) -> Self {
        let read = read_bounded(path, BYTES_MAX).and_then(|text| Ok(serde_json::from_str::<Self>(&text)?));
        let mut record = match read {
            Ok(record) => record,
            Err(error) => {
                if !is_missing(&error) && error.kind() != io::ErrorKind::PermissionDenied {
                    tracing::warn!(%error, path = %path.display(), "where services were found before cannot be read");
                }
                return Self::default();
            }
        };
        for place in record.names.values_mut() {
            place.held.retain(|_, found| now.since(*found) < KEPT_FOR);
            place.last.retain(|address| place.held.contains_key(address));
        }
        record.names.retain(|_, place| !place.held.is_empty());
        record
    }

    /// Whether it says the same of the addresses, whenever they were found.
    fn is_as(&self, other: &Self) -> bool {
        let places = |it: &Self| -> Vec<(String, Vec<IpAddr>, Vec<IpAddr>)> {
            let names = it.names.iter();
            let of = |(name, place): (&String, &Place)| {
                (name.clone(), place.last.clone(), place.held.keys().copied().collect())
            };
            names.map(of).collect()
        };
        places(self) == places(other)
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    written: Option<(Record, Instant)>,
    fails: bool,
}

impl Kept {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            written: None,
            fails: false,
        }
    }

    /// Writes `record`, unless the file says it of late.
    pub(super) fn keep(&mut self, record: Record, now: Instant) {
        if let Some((written, at)) = &self.written
            && now.saturating_duration_since(*at) < KEEP_EVERY
            && record.is_as(written)
        {
            return;
        }
        match write(&self.path, &record) {
            Ok(()) => {
                self.written = Some((record, now));
                self.fails = false;
            }
            Err(error) => {
                // A first start has no data directory yet.
                if !self.fails && !is_missing(&error) {
                    let path = self.path.display();
                    tracing::warn!(%error, %path, "where services were found cannot be kept for the next start");
                }
                self.fails = true;
            }
        }
    }
}

fn write(path: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("they have more than {BYTES_MAX} bytes")));
    }
    whole::keep(path, &text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Span::from_hours(hours)
    }

    fn record(places: &[(&str, &str, u64)]) -> Record {
        let mut record = Record::default();
        for (name, address, found) in places {
            let address = address.parse().expect("an address");
            let place = record.names.entry((*name).to_owned()).or_default();
            place.last.push(address);
            place.held.insert(address, at(*found));
        }
        record
    }

    #[test]
    fn what_is_kept_is_read_back_as_long_as_it_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("called.json");
        assert_eq!(Record::load(&path, at(0)), Record::default(), "it need not be there");
        let all = record(&[
            ("a.example", "203.0.113.1", 0),
            ("a.example", "2001:db8::1", 100),
            ("b.example", "203.0.113.2", 0),
        ]);
        let mut kept = Kept::new(path.clone());
        kept.keep(all.clone(), Instant::now());
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Record::load(&path, at(167)), all);
        assert_eq!(
            Record::load(&path, at(168)),
            record(&[("a.example", "2001:db8::1", 100)])
        );
        // A clock that was set back makes nothing old.
        assert_eq!(Record::load(&path, Timestamp::from_micros(1)), all);

        for damaged in [
            "",
            "{}",
            "{\"names\":{\"a\":{\"last\":[\"nowhere\"],\"held\":{}}}}",
            "[1]",
        ] {
            fs::write(&path, damaged).expect("it is ours");
            assert_eq!(Record::load(&path, at(0)), Record::default(), "{damaged}");
        }
        fs::write(&path, " ".repeat(5 << 20)).expect("it is ours");
        assert_eq!(Record::load(&path, at(0)), Record::default(), "it is bounded");
    }

    #[test]
    fn the_file_is_written_when_something_has_changed_and_once_an_hour() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data/called.json");
        let mut kept = Kept::new(path.clone());
        let start = Instant::now();
        let first = record(&[("a.example", "203.0.113.1", 0)]);
        // Before there is a data directory it cannot be, and that is no end of it.
        kept.keep(first.clone(), start);
        fs::create_dir(dir.path().join("data")).expect("it is our directory");
        kept.keep(first.clone(), start);
        assert_eq!(Record::load(&path, at(0)), first);
        let later = record(&[("a.example", "203.0.113.1", 1)]);
        kept.keep(later.clone(), start + Duration::from_secs(3_599));
        assert_eq!(Record::load(&path, at(1)), first, "it says so of late");
        kept.keep(later.clone(), start + Duration::from_secs(3_600));
        assert_eq!(Record::load(&path, at(1)), later);
        let moved = record(&[("a.example", "203.0.113.2", 1)]);
        kept.keep(moved.clone(), start + Duration::from_secs(3_601));
        assert_eq!(Record::load(&path, at(1)), moved);
        let beside = fs::read_dir(dir.path().join("data")).expect("it is our directory");
        assert_eq!(beside.count(), 1, "nothing is left beside it");
    }
}
