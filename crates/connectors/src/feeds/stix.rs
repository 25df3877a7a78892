//! STIX 2.1: a bundle, or the envelopes of a TAXII 2.1 collection, one behind the other. Indicators whose pattern
//! compares the value of one IPv4 or IPv6 address are read; other patterns are counted.
//!
//! Of indicators with one id the newest version counts, on whatever page it is (STIX 2.1, section 3.6): one that is
//! revoked takes back all before it. Those that are called benign accuse nobody.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use staunch_model::Timestamp;

use super::{ENTRIES_MAX, Entry, Reading, is_special, label, of_json, time, whole};
use crate::lists::{Invalid, parse_network};

/// Bytes of the hash of an id: enough that no two have the same by chance.
const ID_BYTES: usize = 16;

const HINT: &str = "is it a STIX 2.1 bundle, or the objects of a TAXII 2.1 collection?";

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    indicator_types: Words,
    /// Where STIX 2.0 has the types.
    #[serde(default)]
    labels: Words,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    pattern_type: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    confidence: Option<u64>,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    valid_from: Option<String>,
    #[serde(default)]
    valid_until: Option<String>,
}

/// A list of words, or something else, which is not read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    Other(IgnoredAny),
}

impl Default for Words {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Object {
    /// True when it accuses nobody: it was taken back, or is of what is known to be good.
    fn accuses_nobody(&self) -> bool {
        let says = |words: &Words| match words {
            Words::Many(words) => words.iter().any(|it| it.eq_ignore_ascii_case("benign")),
            Words::Other(_) => false,
        };
        self.revoked || says(&self.indicator_types) || says(&self.labels)
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Reading, Invalid> {
    let mut indicators = Indicators::default();
    let mut pages = serde_json::Deserializer::from_slice(bytes);
    let mut is_last = None;
    // One behind the other, until there is nothing more.
    while pages.end().is_err() {
        if is_last == Some(true) {
            return Err(whole("there is something behind its last page", HINT));
        }
        let page = PageSeed(&mut indicators).deserialize(&mut pages);
        let page = page.map_err(|error| of_json(&error, HINT))?;
        if !page.is_one() {
            return Err(whole("it is neither a bundle nor an envelope", HINT));
        }
        is_last = Some(page.more != Some(true));
    }
    match is_last {
        Some(true) => Ok(indicators.reading()),
        Some(false) => Err(whole(
            "it is a part of several pages, and the last one is missing",
            "ask for all objects at once, or write the pages one behind the other",
        )),
        None => Err(whole("there is nothing in it", HINT)),
    }
}

/// What to ask for the page after this one; `None` behind the last. What is no envelope has none after it: what is
/// wrong with it is told where it is read.
///
/// # Errors
/// When it says that there is more, and not where.
pub fn next_page(bytes: &[u8]) -> Result<Option<String>, Invalid> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(default)]
        more: bool,
        #[serde(default)]
        next: Option<String>,
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else {
        return Ok(None);
    };
    match envelope {
        Envelope { more: false, .. } => Ok(None),
        Envelope { next: Some(next), .. } if !next.is_empty() => Ok(Some(next)),
        Envelope { .. } => Err(whole(
            "it says that there is more, and not what to ask for",
            "the server has to tell `next`; ask it for all objects at once",
        )),
    }
}

/// A bundle or an envelope, without what its objects say.
#[derive(Default)]
struct Page {
    kind: Option<String>,
    more: Option<bool>,
    has_objects: bool,
}

impl Page {
    /// An envelope has no type; an empty one says only that there is no more.
    fn is_one(&self) -> bool {
        match self.kind.as_deref() {
            Some(kind) => kind == "bundle",
            None => self.more.is_some() || self.has_objects,
        }
    }
}

/// Reads a page, and has the indicators taken in.
struct PageSeed<'a>(&'a mut Indicators);

impl<'de> DeserializeSeed<'de> for PageSeed<'_> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bundle or an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(field) = fields.next_key::<Field>()? {
            match field {
                Field::Type if page.kind.is_some() => return Err(Error::duplicate_field("type")),
                Field::More if page.more.is_some() => return Err(Error::duplicate_field("more")),
                Field::Objects if page.has_objects => return Err(Error::duplicate_field("objects")),
                Field::Type => page.kind = fields.next_value()?,
                Field::More => page.more = fields.next_value()?,
                Field::Objects => page.has_objects = fields.next_value_seed(ObjectsSeed(self.0))?,
                Field::Other => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(page)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Type,
    More,
    Objects,
    #[serde(other)]
    Other,
}

/// Reads the objects of a page, if there are any; nothing is kept of those that are no indicators.
struct ObjectsSeed<'a>(&'a mut Indicators);

impl<'de> DeserializeSeed<'de> for ObjectsSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectsSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of objects")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<bool, A::Error> {
        while !self.0.are_over() {
            let Some(object) = objects.next_element()? else {
                return Ok(true);
            };
            self.0.take(&object);
        }
        while objects.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }
}

/// The indicators of all pages, each in its newest version.
#[derive(Default)]
struct Indicators {
    /// Those that were taken back leave their places.
    networks: Vec<Option<Entry>>,
    /// How many were not.
    count: usize,
    /// Everything else that is said.
    rest: Reading,
    /// Of those with an id, which is hashed, the newest version.
    versions: BTreeMap<[u8; ID_BYTES], Version>,
}

struct Version {
    modified: Option<Timestamp>,
    said: Said,
}

/// What an indicator says.
#[derive(Clone, Copy)]
enum Said {
    /// A network, by its place.
    Network(usize),
    Special,
    NotUnderstood,
    Nothing,
}

impl Indicators {
    /// True when they name too many networks: nothing else of them counts.
    fn are_over(&self) -> bool {
        self.count > ENTRIES_MAX
    }

    /// Takes in what an object says, unless a newer version of it has come before.
    fn take(&mut self, object: &Object) {
        if object.r#type.as_deref() != Some("indicator") {
            return;
        }
        let modified = object.modified.as_deref().and_then(time);
        let id = object.id.as_deref().map(hashed);
        let accuses_nobody = object.accuses_nobody();
        if let Some(known) = id.and_then(|id| self.versions.get(&id)) {
            // Of what should be the same version, the one that accuses nobody holds.
            let is_older = modified < known.modified || (modified == known.modified && !accuses_nobody);
            if is_older {
                return;
            }
            self.forget(known.said);
        }
        let said = if accuses_nobody {
            self.rest.taken_back += 1;
            Said::Nothing
        } else {
            self.rest.as_of = self.rest.as_of.max(modified);
            self.add(entry(object))
        };
        if let Some(id) = id {
            self.versions.insert(id, Version { modified, said });
        }
    }

    fn add(&mut self, entry: Option<Entry>) -> Said {
        match entry {
            None => {
                self.rest.not_understood += 1;
                Said::NotUnderstood
            }
            Some(entry) if is_special(entry.network) => {
                self.rest.special += 1;
                Said::Special
            }
            Some(entry) => {
                self.count += 1;
                self.networks.push(Some(entry));
                Said::Network(self.networks.len() - 1)
            }
        }
    }

    /// Another version holds.
    fn forget(&mut self, said: Said) {
        match said {
            Said::Network(at) => {
                self.count -= 1;
                self.networks[at] = None;
            }
            Said::Special => self.rest.special -= 1,
            Said::NotUnderstood => self.rest.not_understood -= 1,
            Said::Nothing => self.rest.taken_back -= 1,
        }
    }

    fn reading(self) -> Reading {
        Reading {
            entries: self.networks.into_iter().flatten().collect(),
            ..self.rest
        }
    }
}

fn hashed(id: &str) -> [u8; ID_BYTES] {
    let mut hash = [0; ID_BYTES];
    hash.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..ID_BYTES]);
    hash
}

fn entry(object: &Object) -> Option<Entry> {
    if object.pattern_type.as_deref().is_some_and(|it| it != "stix") {
        return None;
    }
    let network = address(object.pattern.as_deref()?)?;
    // A time that cannot be read must not make an indicator hold at once, or for ever.
    let at = |text: &Option<String>| -> Option<Option<Timestamp>> {
        match text {
            None => Some(None),
            Some(text) => time(text).map(Some),
        }
    };
    Some(Entry {
        network,
        confidence: object.confidence.and_then(|it| u8::try_from(it.min(100)).ok()),
        label: label(object.name.as_deref().unwrap_or_default()),
        as_of: object
            .modified
            .as_deref()
            .or(object.valid_from.as_deref())
            .and_then(time),
        starts: at(&object.valid_from)?,
        expires: at(&object.valid_until)?,
    })
}

/// The network of `[ipv4-addr:value = '192.0.2.1']`; `None` for any other pattern.
fn address(pattern: &str) -> Option<ipnet::IpNet> {
    let inner = pattern.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let (kind, value) = inner.split_once('=')?;
    let is_v4 = match kind.trim() {
        "ipv4-addr:value" => true,
        "ipv6-addr:value" => false,
        _ => return None,
    };
    let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    let network = parse_network(value).ok()?;
    (matches!(network, ipnet::IpNet::V4(_)) == is_v4).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::super::{FeedTable, Format, Terms, read, tests::networks, time};
    use serde_json::{Value, json};
    use staunch_model::{Score, Span};

    /// An indicator of one address, with `more` or another value of its fields.
    fn indicator(id: &str, ip: &str, more: &Value) -> Value {
        let mut object = json!({
            "type": "indicator", "id": format!("indicator--{id}"), "pattern_type": "stix",
            "pattern": format!("[ipv4-addr:value = '{ip}']"), "modified": "2026-11-20T10:00:00Z",
        });
        for (key, value) in more.as_object().expect("it is one") {
            object[key] = value.clone();
        }
        object
    }

    #[test]
    fn what_is_benign_accuses_nobody() {
        let no_more = json!({});
        let objects = json!([
            indicator("1", "203.0.113.1", &json!({"indicator_types": ["benign"]})),
            indicator(
                "2",
                "203.0.113.2",
                &json!({"indicator_types": ["anomalous-activity", "Benign"]})
            ),
            indicator("3", "203.0.113.3", &json!({"labels": ["benign"]})),
            indicator(
                "4",
                "203.0.113.4",
                &json!({"indicator_types": ["malicious-activity"], "labels": ["c2"]})
            ),
            indicator(
                "5",
                "203.0.113.5",
                &json!({"indicator_types": null, "labels": {"a": "benign"}})
            ),
            indicator("6", "203.0.113.6", &no_more),
        ]);
        let text = json!({"more": false, "objects": objects}).to_string();
        let reading = read(Format::Stix, text.as_bytes()).expect("it is well formed");
        assert_eq!(
            networks(&reading),
            ["203.0.113.4/32", "203.0.113.5/32", "203.0.113.6/32"]
        );
    }

    #[test]
    fn of_the_versions_of_an_indicator_the_newest_counts_on_whatever_page_it_is() {
        let (old, new) = ("2026-11-20T10:00:00.000Z", "2026-11-20T10:00:00.001Z");
        let at = |modified: &str| json!({"modified": modified});
        let revoked = |modified: &str| json!({"modified": modified, "revoked": true});
        let benign = json!({"modified": new, "indicator_types": ["benign"]});
        let check = |first: &[Value], second: &[Value], expect: &[&str]| {
            // In either order, on two pages, and on one.
            for (first, second) in [(first, second), (second, first)] {
                let (one, two) = (
                    json!({"more": true, "objects": first}),
                    json!({"more": false, "objects": second}),
                );
                let all = [first, second].concat();
                let both = json!({"type": "bundle", "objects": all});
                for text in [format!("{one}\n{two}"), both.to_string()] {
                    let reading = read(Format::Stix, text.as_bytes()).expect("it is well formed");
                    assert_eq!(networks(&reading), expect, "{text}");
                    assert_eq!((reading.special, reading.not_understood), (0, 0), "{text}");
                }
            }
        };
        let (a, b) = ("203.0.113.7", "203.0.113.8");
        let ip = |ip: &str| format!("{ip}/32");
        check(
            &[indicator("1", a, &at(old))],
            &[indicator("1", b, &at(new))],
            &[&ip(b)],
        );
        check(&[indicator("1", a, &at(old))], &[indicator("1", a, &revoked(new))], &[]);
        check(&[indicator("1", a, &at(old))], &[indicator("1", a, &benign)], &[]);
        check(
            &[indicator("1", a, &at(new))],
            &[indicator("1", a, &revoked(old))],
            &[&ip(a)],
        );
        // The same version: the one that accuses nobody holds.
        check(&[indicator("1", a, &at(new))], &[indicator("1", a, &revoked(new))], &[]);
        check(
            &[indicator("1", a, &at(new))],
            &[indicator("1", a, &at(new))],
            &[&ip(a)],
        );
        let domain = json!({"modified": old, "pattern": "[domain-name:value = 'a.example']"});
        check(&[indicator("1", a, &domain)], &[indicator("1", a, &at(new))], &[&ip(a)]);
        let private = indicator("1", "10.0.0.1", &at(old));
        check(&[private], &[indicator("1", a, &at(new))], &[&ip(a)]);
    }

    #[test]
    fn what_is_not_valid_yet_holds_from_when_it_is() {
        let now = time("2026-11-20T12:00:00Z").expect("a time");
        let from = |valid_from: &str| json!({"valid_from": valid_from});
        let until = |valid_from: &str, until: &str| json!({"valid_from": valid_from, "valid_until": until});
        let objects = json!([
            indicator("1", "203.0.113.1", &from("2026-11-20T12:00:00Z")),
            indicator("2", "203.0.113.2", &from("2026-11-20T13:00:00Z")),
            indicator("3", "203.0.113.3", &from("soon")),
            // One that has begun is not hidden by one that lasts longer.
            indicator(
                "4",
                "203.0.113.4",
                &until("2026-11-20T13:00:00Z", "2026-11-30T00:00:00Z")
            ),
            indicator(
                "5",
                "203.0.113.4",
                &until("2026-11-20T11:00:00Z", "2026-11-20T14:00:00Z")
            ),
        ]);
        let text = json!({"type": "bundle", "objects": objects}).to_string();
        let reading = read(Format::Stix, text.as_bytes()).expect("it is well formed");
        assert_eq!(reading.not_understood, 1);
        let terms = Terms {
            name: "f".into(),
            score: Score::MAX,
            confidence: 50,
            lasts: Span::from_hours(24),
        };
        let table = FeedTable::new(terms, reading, now, now);
        let found = |minutes| {
            let named = |last: &u8| {
                let ip = format!("203.0.113.{last}").parse().expect("an address");
                table.find(ip, now + Span::from_mins(minutes)).is_some()
            };
            (1..=4).filter(named).collect::<Vec<u8>>()
        };
        assert_eq!(found(0), [1, 4]);
        assert_eq!(found(59), [1, 4]);
        assert_eq!(found(60), [1, 2, 4]);
    }

    #[test]
    fn comparisons_of_one_address_are_read_and_the_rest_is_counted() {
        let indicator = |pattern: &str| {
            json!({
                "type": "indicator", "spec_version": "2.1", "id": format!("indicator--{pattern}"), "pattern": pattern, "pattern_type": "stix",
                "name": "c2", "confidence": 85, "modified": "2026-11-20T10:00:00.000Z",
                "valid_from": "2026-11-19T00:00:00Z", "valid_until": "2026-12-19T00:00:00Z"
            })
        };
        let mut revoked = indicator("[ipv4-addr:value = '198.51.100.1']");
        revoked["revoked"] = true.into();
        let mut odd = indicator("[ipv4-addr:value = '198.51.100.2']");
        odd["valid_until"] = "soon".into();
        let mut yara = indicator("[ipv4-addr:value = '198.51.100.3']");
        yara["pattern_type"] = "yara".into();
        let objects = json!([
            {"type": "identity", "name": "somebody"},
            indicator("[ipv4-addr:value = '203.0.113.7']"),
            indicator(" [ ipv6-addr:value='2001:db8::/32' ] "),
            indicator("[ipv4-addr:value = '10.0.0.1']"),
            indicator("[ipv6-addr:value = '203.0.113.8']"),
            indicator("[ipv4-addr:value = '203.0.113.9' OR ipv4-addr:value = '203.0.113.10']"),
            indicator("[domain-name:value = 'example.org']"),
            revoked, odd, yara,
        ]);
        for text in [
            json!({"type": "bundle", "id": "bundle--1", "objects": objects}),
            json!({"more": false, "objects": objects}),
        ] {
            let reading = read(Format::Stix, text.to_string().as_bytes()).expect("it is well formed");
            assert_eq!(networks(&reading), ["203.0.113.7/32", "2001:db8::/32"]);
            assert_eq!((reading.special, reading.not_understood), (1, 5));
            let first = &reading.entries[0];
            assert_eq!((first.confidence, &*first.label), (Some(85), "c2"));
            assert_eq!(first.expires, time("2026-12-19T00:00:00Z"));
            assert_eq!(reading.as_of, time("2026-11-20T10:00:00Z"));
        }
        read(Format::Stix, br#"{"type": "report"}"#).expect_err("it is something else");
        let page = read(Format::Stix, br#"{"more": true, "objects": []}"#).expect_err("it is a part");
        assert_eq!(page.what, "it is a part of several pages, and the last one is missing");
        // Pages one behind the other are one collection.
        let one = |ip: &str| json!({"more": true, "next": "2", "objects": [indicator(&format!("[ipv4-addr:value = '{ip}']"))]});
        let last = json!({"more": false, "objects": [indicator("[ipv4-addr:value = '203.0.113.9']")]});
        let whole = format!("{}{}\n{last}", one("203.0.113.7"), one("203.0.113.8"));
        let reading = read(Format::Stix, whole.as_bytes()).expect("it is whole");
        assert_eq!(
            networks(&reading),
            ["203.0.113.7/32", "203.0.113.8/32", "203.0.113.9/32"]
        );
        read(Format::Stix, format!("{last}{last}").as_bytes()).expect_err("two collections");
        read(Format::Stix, b" ").expect_err("nothing");
        assert_eq!(
            super::next_page(one("203.0.113.7").to_string().as_bytes()),
            Ok(Some("2".to_owned()))
        );
        assert_eq!(super::next_page(last.to_string().as_bytes()), Ok(None));
        super::next_page(br#"{"more": true, "objects": []}"#).expect_err("it does not say where");
        let empty = read(Format::Stix, br#"{"type": "bundle", "id": "bundle--1"}"#).expect("it may be empty");
        assert!(empty.entries.is_empty());
    }
}
