//! Logs, as files have them that attackers write to.
//!
//! What holds: every item is counted by what became of it; a fact is of the format, its time can be shown and read
//! back, its texts and addresses are bounded; how the bytes arrive changes nothing; of plain lines each is read by
//! itself; and what is the same is so from either side.

use std::io::{BufRead, BufReader};

use staunch_connectors::logs::{ADDRESSES_MAX, Fact, Format, ReadError, TEXT_BYTES_MAX, Tally, read};
use staunch_model::{Printable, Timestamp};

use crate::shown::assert_line;

/// Facts that are compared with each other.
const COMPARED_MAX: usize = 16;

/// Reads a log: the first byte says of which format, or that it is to be guessed.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let format = usize::from(*kind)
        .checked_sub(1)
        .map(|it| Format::ALL[it % Format::ALL.len()]);
    let Some((format, facts, tally)) = all(&mut &bytes[..], format) else {
        return;
    };
    assert_eq!(tally.facts, facts.len() as u64);
    assert_eq!(
        tally.items,
        tally.facts + tally.passed_over + tally.untimed + tally.unreadable
    );
    if let Some(first) = &tally.first_unreadable {
        assert_line(first);
    }
    for fact in &facts {
        hold(format, fact);
    }
    for (at, one) in facts.iter().take(COMPARED_MAX).enumerate() {
        for other in facts.iter().take(COMPARED_MAX).skip(at) {
            if let (Some(one), Some(other)) = (&one.same, &other.same) {
                assert_eq!(one.is(other), other.is(one));
                assert!(one.is(one));
            }
        }
    }
    // In parts of a few bytes.
    let again = all(&mut BufReader::with_capacity(3, bytes), Some(format));
    assert_eq!(again.as_ref().map(|it| (&it.1, &it.2)), Some((&facts, &tally)));
    if matches!(format, Format::Log | Format::Access | Format::Dnsmasq) {
        let twice = [bytes, b"\n", bytes].concat();
        let (_, found, _) = all(&mut &twice[..], Some(format)).expect("it was read before");
        assert_eq!(found, [&facts[..], &facts[..]].concat(), "a line is read by itself");
    }
}

/// What is read; `None` when the format is not seen.
fn all(from: &mut dyn BufRead, format: Option<Format>) -> Option<(Format, Vec<Fact>, Tally)> {
    let around = Timestamp::from_micros(1_795_737_600_000_000);
    let mut facts = Vec::new();
    match read(from, format, around, &mut |fact| facts.push(fact)) {
        Ok((read_as, tally)) => {
            assert!(format.is_none_or(|it| it == read_as));
            Some((read_as, facts, tally))
        }
        Err(ReadError::Unknown | ReadError::Empty) => {
            assert!(format.is_none() && facts.is_empty());
            None
        }
        Err(error) => panic!("bytes in memory can be read, and are not so many: {error}"),
    }
}

fn hold(format: Format, fact: &Fact) {
    assert_eq!(fact.format, format);
    assert!(fact.what.starts_with(format.name()), "{fact:?}");
    let shown = fact.time.to_string();
    assert!(shown.ends_with('Z'), "{shown} is no date");
    let json = serde_json::to_string(&fact.time).expect("a time can be written");
    assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("and read"), fact.time);
    assert!(fact.parties.addresses.len() <= ADDRESSES_MAX);
    for ip in fact.parties.addresses.iter().chain(&fact.parties.mentions) {
        assert_eq!(*ip, ip.to_canonical());
    }
    assert!(fact.parties.mentions.is_sorted_by(|one, other| one < other));
    let texts = fact.parties.names.iter().chain(&fact.parties.text).chain([&fact.what]);
    for text in texts {
        assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes", text.len());
        assert_line(&Printable(text).to_string());
    }
}
