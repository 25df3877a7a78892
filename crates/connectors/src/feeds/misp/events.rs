//! The events of a MISP feed as they were read, which is what is kept of them between fetches: an event that has not
//! changed is not asked for again.
//!
//! Never keeps what an event says beside its networks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::Timestamp;

use super::manifest::{EVENTS_MAX, Listed, is_uuid};
use crate::feeds::{ENTRIES_MAX, Entry, FEED_BYTES_MAX, LABEL_CHARS_MAX, Reading, of_json, whole};
use crate::lists::Invalid;

/// The form of the copy. One of another form is as good as none.
const FORM: u8 = 1;

const SHORTER: &str = "take a shorter feed, or a part of this one";

/// What was read of the events of a feed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MispEvents {
    all: BTreeMap<Box<str>, Event>,
    /// The bytes of their files together.
    bytes: u64,
    /// The networks that they name together.
    networks: usize,
}

/// What was read of one.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    /// What the manifest said of when it is; nothing when its file has to be fetched again.
    timestamp: Option<u64>,
    /// How long its file was.
    bytes: u64,
    reading: Reading,
}

impl MispEvents {
    /// Reads a copy, as [`Self::to_copy`] writes it.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub fn of_copy(bytes: &[u8]) -> Result<Self, Invalid> {
        const HINT: &str = "it is written anew with the next fetch";
        let copy: Copy<'_> = serde_json::from_slice(bytes).map_err(|error| of_json(&error, HINT))?;
        if copy.form != FORM {
            return Err(whole(format!("its form is {}, and not {FORM}", copy.form), HINT));
        }
        if copy.events.len() > EVENTS_MAX || copy.events.iter().any(|it| !is_uuid(&it.uuid)) {
            return Err(whole("it is no copy of the events of a MISP feed", HINT));
        }
        let mut events = Self::default();
        for kept in copy.events {
            let (uuid, event) = kept.read();
            events.insert(uuid, event);
        }
        Ok(events)
    }

    /// What is kept of them.
    ///
    /// # Errors
    /// When that is too long for the file of a feed.
    pub fn to_copy(&self) -> Result<Vec<u8>, Invalid> {
        let copy = Copy {
            form: FORM,
            events: self.all.iter().map(|(uuid, event)| Kept::of(uuid, event)).collect(),
        };
        let bytes = serde_json::to_vec(&copy).expect("texts and numbers are JSON");
        if bytes.len() as u64 <= FEED_BYTES_MAX {
            return Ok(bytes);
        }
        Err(whole(format!("its copy has more than {FEED_BYTES_MAX} bytes"), SHORTER))
    }

    /// Adds those of `others` that are not here.
    pub fn add(&mut self, others: Self) {
        for (uuid, event) in others.all {
            if !self.all.contains_key(&uuid) {
                self.insert(uuid, event);
            }
        }
    }

    /// Forgets those that a manifest does not name, or names as of another time.
    pub fn keep_only(&mut self, listed: &[Listed]) {
        let named: BTreeSet<_> = listed.iter().filter_map(|it| Some((&it.uuid, it.timestamp?))).collect();
        for (uuid, event) in std::mem::take(self).all {
            if event
                .timestamp
                .is_some_and(|timestamp| named.contains(&(&uuid, timestamp)))
            {
                self.insert(uuid, event);
            }
        }
    }

    /// Whether all are as the manifest says; one that tells no time, or is older than it says, is to be fetched again.
    #[must_use]
    pub fn are_current(&self) -> bool {
        self.all.values().all(|event| event.timestamp.is_some())
    }

    /// Whether this event was read.
    #[must_use]
    pub fn has(&self, listed: &Listed) -> bool {
        self.all.contains_key(&listed.uuid)
    }

    /// Reads the file of an event, and takes in what it says.
    ///
    /// # Errors
    /// When it cannot be read, or with it they have more than `bytes_max` bytes or [`ENTRIES_MAX`] networks.
    pub fn take(&mut self, listed: &Listed, file: &[u8], bytes_max: u64) -> Result<(), Invalid> {
        let reading = super::read(file)?.bounded()?;
        // One that is older than the manifest says comes out of a cache, and is to be fetched again.
        let is_old = |told: u64| reading.as_of.is_some_and(|of| of.as_micros() / 1_000_000 < told);
        let event = Event {
            timestamp: listed.timestamp.filter(|told| !is_old(*told)),
            bytes: file.len() as u64,
            reading,
        };
        if self.bytes + event.bytes > bytes_max {
            return Err(whole(
                format!("the events have more than {bytes_max} bytes together"),
                SHORTER,
            ));
        }
        if self.networks + event.reading.entries.len() > ENTRIES_MAX {
            let what = format!("the events name more than {ENTRIES_MAX} networks together");
            return Err(whole(what, SHORTER));
        }
        self.insert(listed.uuid.clone(), event);
        Ok(())
    }

    /// What they say together.
    ///
    /// # Errors
    /// When they name too many networks.
    pub fn reading(self) -> Result<Reading, Invalid> {
        let mut all = Reading::default();
        for event in self.all.into_values() {
            all.merge(event.reading);
        }
        all.bounded()
    }

    fn insert(&mut self, uuid: Box<str>, event: Event) {
        self.bytes += event.bytes;
        self.networks += event.reading.entries.len();
        if let Some(before) = self.all.insert(uuid, event) {
            self.bytes -= before.bytes;
            self.networks -= before.reading.entries.len();
        }
    }
}

/// The copy of a feed.
#[derive(Serialize, Deserialize)]
struct Copy<'c> {
    form: u8,
    #[serde(borrow)]
    events: Vec<Kept<'c>>,
}

/// What is kept of an event. Times are in microseconds but for that of the manifest, which is as it was told.
#[derive(Serialize, Deserialize)]
struct Kept<'c> {
    #[serde(borrow)]
    uuid: Cow<'c, str>,
    timestamp: Option<u64>,
    bytes: u64,
    special: u64,
    not_understood: u64,
    as_of: Option<u64>,
    /// Each with its label and its time.
    networks: Vec<(IpNet, Cow<'c, str>, Option<u64>)>,
}

impl<'c> Kept<'c> {
    fn of(uuid: &'c str, event: &'c Event) -> Self {
        let reading = &event.reading;
        let network = |it: &'c Entry| {
            let as_of = it.as_of.map(Timestamp::as_micros);
            (it.network, Cow::Borrowed(&*it.label), as_of)
        };
        Self {
            uuid: Cow::Borrowed(uuid),
            timestamp: event.timestamp,
            bytes: event.bytes,
            special: reading.special,
            not_understood: reading.not_understood,
            as_of: reading.as_of.map(Timestamp::as_micros),
            networks: reading.entries.iter().map(network).collect(),
        }
    }

    fn read(self) -> (Box<str>, Event) {
        // No file of an event is longer, so that there is no more of anything in one.
        let bounded = |count: u64| count.min(FEED_BYTES_MAX);
        let mut reading = Reading {
            special: bounded(self.special),
            not_understood: bounded(self.not_understood),
            as_of: self.as_of.map(Timestamp::from_micros),
            ..Reading::default()
        };
        for (network, label, as_of) in self.networks {
            reading.add(Entry {
                network: network.trunc(),
                confidence: None,
                label: label.chars().take(LABEL_CHARS_MAX).collect::<String>().into(),
                as_of: as_of.map(Timestamp::from_micros),
                starts: None,
                expires: None,
            });
        }
        reading.special = bounded(reading.special);
        let event = Event {
            timestamp: self.timestamp,
            bytes: bounded(self.bytes),
            reading,
        };
        (self.uuid.into(), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::misp::manifest;
    use crate::feeds::tests::networks;

    const MUCH: u64 = 1 << 20;

    fn uuid(at: u8) -> String {
        format!("5f4a9c1e-0000-4000-8000-{at:012x}")
    }

    /// A manifest of events and their times.
    fn listed(all: &[(u8, &str)]) -> Vec<Listed> {
        let entry = |(at, time): &(u8, &str)| format!("\"{}\":{{\"timestamp\":{time}}}", uuid(*at));
        let entries: Vec<_> = all.iter().map(entry).collect();
        manifest(format!("{{{}}}", entries.join(",")).as_bytes()).expect("it is one")
    }

    /// The file of an event with these addresses.
    fn file(timestamp: &str, addresses: &[&str]) -> Vec<u8> {
        let attribute = |it: &&str| {
            format!(
                r#"{{"type":"ip-dst","value":"{it}","to_ids":true,"timestamp":"1764140401","comment":"c2 \u0007"}}"#
            )
        };
        let all: Vec<_> = addresses.iter().map(attribute).collect();
        let text = format!(
            r#"{{"Event":{{"info":"x","timestamp":"{timestamp}","Attribute":[{}]}}}}"#,
            all.join(",")
        );
        text.into_bytes()
    }

    #[test]
    fn what_is_kept_reads_as_what_was_read() {
        let named = listed(&[(1, "5"), (2, "null")]);
        let mut events = MispEvents::default();
        let first = file("5", &["203.0.113.7", "10.0.0.1", "a.example", "2001:db8::7"]);
        events.take(&named[0], &first, MUCH).expect("it is well formed");
        events
            .take(&named[1], &file("5", &[]), MUCH)
            .expect("it is well formed");
        let copy = events.to_copy().expect("it is short");
        let again = MispEvents::of_copy(&copy).expect("it is a copy");
        assert_eq!(again, events);
        let reading = again.reading().expect("it is short");
        assert_eq!(networks(&reading), ["203.0.113.7/32", "2001:db8::7/128"]);
        assert_eq!((reading.special, reading.not_understood), (1, 1));
        let expect = super::super::read(&first).expect("it is well formed");
        assert_eq!(reading, expect);
    }

    #[test]
    fn an_event_is_kept_while_the_manifest_names_it_as_of_the_same_time() {
        let named = listed(&[(1, "5"), (2, "5"), (3, "5"), (4, "null"), (5, "9")]);
        let mut events = MispEvents::default();
        for it in &named {
            // What the last one says is older than the manifest.
            events.take(it, &file("5", &[]), MUCH).expect("it is well formed");
            assert!(events.has(it));
        }
        let next = listed(&[(1, "5"), (2, "6"), (4, "null"), (5, "9"), (6, "5")]);
        events.keep_only(&next);
        let has: Vec<_> = next.iter().map(|it| events.has(it)).collect();
        assert_eq!(has, [true, false, false, false, false]);
        assert!(!events.has(&named[2]), "it is in no manifest");
    }

    #[test]
    fn what_was_read_later_counts_before_the_copy() {
        let (early, late) = (listed(&[(1, "5"), (2, "5")]), listed(&[(1, "6")]));
        let mut copy = MispEvents::default();
        for it in &early {
            copy.take(it, &file("5", &["203.0.113.7"]), MUCH)
                .expect("it is well formed");
        }
        let mut events = MispEvents::default();
        events
            .take(&late[0], &file("6", &["203.0.113.8"]), MUCH)
            .expect("it is well formed");
        events.add(copy);
        assert_eq!((events.all.len(), events.networks), (2, 2));
        let reading = events.reading().expect("it is short");
        assert_eq!(networks(&reading), ["203.0.113.8/32", "203.0.113.7/32"]);
    }

    #[test]
    fn bytes_and_networks_of_all_events_are_bounded_together() {
        let named = listed(&[(1, "5"), (2, "5"), (3, "6")]);
        let one = file("5", &["203.0.113.7"]);
        let most = 2 * one.len() as u64;
        let mut events = MispEvents::default();
        for it in &named[..2] {
            events.take(it, &one, most).expect("there is room");
        }
        let invalid = events.take(&named[2], &one, most).expect_err("there is none");
        assert_eq!(invalid.what, format!("the events have more than {most} bytes together"));
        assert!(!events.has(&named[2]));

        let addresses: Vec<_> = (0..ENTRIES_MAX).map(|at| format!("2001:db8::{at:x}")).collect();
        let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut events = MispEvents::default();
        events
            .take(&named[0], &file("5", &all[1..]), MUCH)
            .expect("there is room");
        events
            .take(&named[1], &file("5", &all[..1]), MUCH)
            .expect("there is room");
        let invalid = events.take(&named[2], &one, MUCH).expect_err("there is none");
        assert_eq!(invalid.what, "the events name more than 1000 networks together");
        // What has gone leaves room.
        events.keep_only(&named[1..]);
        events.take(&named[2], &one, MUCH).expect("there is room");
    }

    #[test]
    fn what_is_no_copy_is_refused_and_what_was_changed_in_one_is_bounded() {
        let copy = |form: u8, uuid: &str, network: &str| {
            format!(
                r#"{{"form":{form},"events":[{{"uuid":"{uuid}","timestamp":1,"bytes":{max},"special":{max},"not_understood":{max},
                "as_of":{max},"networks":[["{network}","{}",{max}]]}}]}}"#,
                "x".repeat(LABEL_CHARS_MAX + 1),
                max = u64::MAX
            )
        };
        for text in [
            copy(2, &uuid(1), "203.0.113.7/32"),
            copy(1, "../x", "203.0.113.7/32"),
            copy(1, &uuid(1), "x"),
            String::from_utf8(file("5", &[])).expect("it is text"),
            String::new(),
        ] {
            let invalid = MispEvents::of_copy(text.as_bytes()).expect_err(&text);
            assert!(!invalid.hint.is_empty());
        }
        let events = MispEvents::of_copy(copy(1, &uuid(1), "203.0.113.7/24").as_bytes()).expect("it is one");
        let reading = events.reading().expect("it is short");
        assert_eq!(networks(&reading), ["203.0.113.0/24"]);
        assert_eq!(reading.entries[0].label.len(), LABEL_CHARS_MAX);
        assert_eq!(
            (reading.special, reading.not_understood),
            (FEED_BYTES_MAX, FEED_BYTES_MAX)
        );
        let events = MispEvents::of_copy(copy(1, &uuid(1), "10.0.0.1/32").as_bytes()).expect("it is one");
        assert!(events.reading().is_ok_and(|it| it.entries.is_empty()), "it is special");
    }
}
