//! Feeds, in every format.
//!
//! What holds: a feed is read whole or refused with a hint, in words that can be shown; no network that is read is
//! special or has host bits, labels are short, and confidence is in percent; a table of it finds each network by its
//! first address, or a narrower one, and nothing after the last has expired. A manifest names files that stay in its
//! directory. What is kept of the events of a feed, written anew, reads as the same.

use staunch_connectors::feeds::{FeedTable, Format, MispEvents, Reading, Terms, is_special, manifest, read};
use staunch_connectors::lists::Invalid;
use staunch_model::{Score, Span, Timestamp};

use crate::shown::assert_line;

/// Reads a feed: the first byte says of which format.
pub fn run(data: &[u8]) {
    let Some((format, bytes)) = data.split_first() else {
        return;
    };
    let format = match format % 5 {
        _ if *format == 0xf0 => Format::Aws,
        _ if *format == 0xf1 => Format::Gcp,
        _ if *format == 0xf2 => Format::Azure,
        _ if *format == 0xf3 => return kept(bytes),
        0 => Format::Plain,
        1 => Format::Spamhaus,
        2 => Format::Stix,
        3 => Format::Misp,
        _ => return names(bytes),
    };
    match read(format, bytes) {
        Ok(reading) => hold(reading),
        Err(invalid) => assert_told(&invalid),
    }
}

fn assert_told(invalid: &Invalid) {
    assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
    assert_line(&invalid.what);
    assert_line(&invalid.hint);
}

/// Holds what was read, and the table that is made of it, to what they are.
fn hold(reading: Reading) {
    for it in &reading.entries {
        assert!(
            !is_special(it.network) && it.network.trunc() == it.network,
            "{}",
            it.network
        );
        assert!(it.label.chars().count() <= 64 && it.confidence.is_none_or(|it| it <= 100));
    }
    let networks: Vec<_> = reading.entries.iter().map(|it| it.network).collect();
    let never = Timestamp::from_micros(u64::MAX);
    let ends: Vec<_> = reading.entries.iter().filter_map(|it| it.expires).collect();
    let lasts = Span::from_hours(1);
    let terms = Terms {
        name: "feed".into(),
        score: Score::MAX,
        confidence: 50,
        lasts,
    };
    let start = Timestamp::EPOCH;
    let table = FeedTable::new(terms, reading, start, start);
    assert!(table.len() <= networks.len());
    for network in networks {
        if let Some(found) = table.find(network.network(), start) {
            assert!(found.network.contains(&network.network()) && found.counts_at(start));
        }
        let last = ends.iter().copied().max().unwrap_or(start).max(start + lasts);
        if last < never {
            assert!(table.find(network.network(), last).is_none());
        }
    }
}

fn names(bytes: &[u8]) {
    match manifest(bytes) {
        Ok(listed) => {
            for it in listed {
                let name = it.file();
                let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
                assert!(it.uuid().len() == 36 && it.uuid().bytes().all(is_plain), "{name}");
                assert!(name.len() == 41 && name.starts_with(it.uuid()), "{name}");
            }
        }
        Err(invalid) => assert_told(&invalid),
    }
}

fn kept(bytes: &[u8]) {
    let events = match MispEvents::of_copy(bytes) {
        Ok(events) => events,
        Err(invalid) => return assert_told(&invalid),
    };
    let copy = events.to_copy().expect("it is not much longer than what was read");
    assert_eq!(MispEvents::of_copy(&copy).as_ref(), Ok(&events));
    match events.reading() {
        Ok(reading) => hold(reading),
        Err(invalid) => assert_told(&invalid),
    }
}
