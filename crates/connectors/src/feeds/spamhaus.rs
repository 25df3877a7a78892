//! The JSON lines of Spamhaus DROP: `{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}`, and metadata as the
//! last.

use serde::Deserialize;

use super::{Entry, Reading, label, of_json, seconds, whole};
use crate::lists::{Invalid, parse_network};

const HINT: &str = "is it drop_v4.json or drop_v6.json of Spamhaus?";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    cidr: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    sblid: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    r#type: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    records: Option<u64>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Reading, Invalid> {
    let mut reading = Reading::default();
    let (mut read, mut metadata) = (0_u64, None);
    for (number, line) in (1..).zip(bytes.split(|it| *it == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let at = |invalid: Invalid| Invalid {
            line: Some(number),
            ..invalid
        };
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| at(of_json(&error, HINT)))?;
        if line.r#type.as_deref() == Some("metadata") {
            reading.as_of = line.timestamp.and_then(|it| seconds(&it.to_string()));
            metadata = Some(line.records);
            continue;
        }
        read += 1;
        // Lists of autonomous systems have the same form.
        let Some(cidr) = line.cidr else {
            reading.not_understood += 1;
            continue;
        };
        let network = parse_network(&cidr).map_err(|(what, hint)| at(whole(what, &hint)))?;
        reading.add(Entry {
            network,
            confidence: None,
            label: label(line.sblid.as_deref().unwrap_or_default()),
            as_of: None,
            starts: None,
            expires: None,
        });
        if reading.is_over() {
            return reading.bounded();
        }
    }
    match metadata {
        None => Err(whole(
            "the line with its metadata is missing: it may be cut off",
            "fetch it again",
        )),
        Some(Some(records)) if records != read => {
            let what = format!("it says that it has {records} records, and has {read}: it may be cut off");
            Err(whole(what, "fetch it again"))
        }
        Some(_) => Ok(reading),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read, tests::networks};
    use staunch_model::Timestamp;

    const LINES: &str = "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n{\"cidr\":\"2001:db8::/32\"}\n\
                         {\"cidr\":\"10.0.0.0/8\"}\n{\"asn\":64496,\"rir\":\"ripencc\"}\n";

    fn with(metadata: &str) -> String {
        format!("{LINES}{metadata}\n")
    }

    #[test]
    fn networks_and_their_numbers_are_read_and_the_time_of_the_list() {
        let text =
            with("{\"type\":\"metadata\",\"timestamp\":1764140401,\"size\":4,\"records\":4,\"copyright\":\"(c)\"}");
        let reading = read(Format::Spamhaus, text.as_bytes()).expect("it is well formed");
        assert_eq!(networks(&reading), ["1.10.16.0/20", "2001:db8::/32"]);
        assert_eq!(&*reading.entries[0].label, "SBL256894");
        assert_eq!((reading.special, reading.not_understood), (1, 1));
        assert_eq!(reading.as_of, Some(Timestamp::from_micros(1_764_140_401_000_000)));
    }

    #[test]
    fn a_list_that_is_cut_off_is_refused() {
        let check = |text: &str, line, what: &str| {
            let invalid = read(Format::Spamhaus, text.as_bytes()).expect_err("it is not whole");
            assert!(invalid.line == line && invalid.what.contains(what), "{invalid:?}");
        };
        check(LINES, None, "metadata is missing");
        check(
            &with("{\"type\":\"metadata\",\"records\":5}"),
            None,
            "has 5 records, and has 4",
        );
        check(&with("{\"type\":\"meta"), Some(5), "EOF");
        check(
            &with("{\"cidr\":\"1.10.16.1/20\"}"),
            Some(5),
            "has bits set after its prefix",
        );
    }
}
