//! What Unbound lists of its local zones and of the data in them, as far as it concerns the domains that are looked at.
//!
//! Never asks anybody: it reads text. Never keeps more than its bounds, however much is listed.
//!
//! Of zones, Unbound lists a name and a type on each line; of data, a record in the form of RFC 1035 on each line, and
//! empty lines. A byte of a zone's name that is no letter, digit, `-`, `_` or `*` is listed as `?`.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use staunch_model::DomainName;

use super::super::super::Label;

/// The longest line that is read whole: a name has up to 1,016 characters where each byte is escaped.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The most that is read of one list: a million zones take some 40 MB.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// The most names that are kept of one look.
const KEPT_MAX: usize = 262_144;

/// What is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a list is not read.
#[derive(Debug)]
pub enum Unreadable {
    /// It could not be read to its end.
    Io(io::Error),
    /// It goes beyond a bound, which is named.
    TooMuch(String),
    /// A line is not what it ought to be.
    Garbled,
}

/// A name turned around, its last label first: what is below a name begins with it. The root is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turned(String);

impl Turned {
    fn new(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut turned = String::with_capacity(name.len() + 1);
        for label in name.rsplit('.').filter(|it| !it.is_empty()) {
            turned.push_str(label);
            turned.push('.');
        }
        turned.make_ascii_lowercase();
        Self(turned)
    }

    fn of(domain: &DomainName) -> Self {
        Self::new(domain.as_str())
    }

    /// The name as people write it, with a point at the end.
    fn name(&self) -> String {
        if self.0.is_empty() {
            return ".".to_owned();
        }
        let mut name = String::with_capacity(self.0.len());
        for label in self.0.trim_end_matches('.').rsplit('.') {
            name.push_str(label);
            name.push('.');
        }
        name
    }

    /// The names above it and itself, the root first.
    fn and_above(&self) -> impl DoubleEndedIterator<Item = &str> {
        let ends = self.0.match_indices('.').map(|(at, _)| at + 1);
        std::iter::once(0).chain(ends).map(|end| &self.0[..end])
    }
}

impl Borrow<str> for Turned {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Data {
    /// Its type, such as `TXT`.
    kind: Box<str>,
    /// Of a `TXT` record with one string, the string as it is listed.
    text: Option<Box<str>>,
}

impl Data {
    fn label(&self) -> Option<Label> {
        self.text.as_deref().and_then(Label::parse)
    }

    /// Whether it is what a sinkhole with an address has beside its label.
    fn is_address(&self) -> bool {
        matches!(&*self.kind, "A" | "AAAA")
    }
}

/// How a domain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is there.
    Absent,
    /// It has a label of Staunch.
    Held {
        /// The label.
        label: Label,
        /// The type of the zone; `None` when the label is in a zone above.
        kind: Option<Box<str>>,
    },
    /// A name above it has a label of Staunch.
    Within {
        /// The label.
        label: Label,
        /// The type of that zone.
        kind: Box<str>,
    },
    /// Somebody else's zone is there, above or below.
    Foreign(Box<str>),
}

/// How a sinkhole is lifted without what is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lift {
    /// The zone goes, and all in it.
    Zone,
    /// Somebody else has put data below its name: the zone stays, as one that lets names through, without the label.
    Label,
    /// There is no zone of its own: only the data of its name go.
    Data,
    /// Somebody else has put data at its name, which would go too.
    InTheWay,
}

/// What is listed, as far as it concerns somebody.
#[derive(Debug, Default)]
pub struct Listed {
    /// The names that are looked at.
    wanted: BTreeSet<Turned>,
    /// The types of zones at, above and below the names that are looked at, and at and above those with a label.
    zones: BTreeMap<Turned, Box<str>>,
    /// The data at and below the names that are looked at.
    data: BTreeMap<Turned, Vec<Data>>,
    /// Every name with a label.
    labels: BTreeMap<Turned, (DomainName, Label)>,
}

impl Listed {
    /// Nothing yet of `wanted`.
    #[must_use]
    pub fn of<'a>(wanted: impl IntoIterator<Item = &'a DomainName>) -> Self {
        Self {
            wanted: wanted.into_iter().map(Turned::of).collect(),
            ..Self::default()
        }
    }

    /// Reads what `list_local_data` answers. It comes first: zones are kept of the names that have a label, too.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_data(&mut self, from: impl Read) -> Result<(), Unreadable> {
        let mut kept = 0;
        each_line(from, |line, whole| {
            let Some((name, record)) = data_line(line, whole)? else {
                return Ok(());
            };
            let turned = Turned::new(name);
            if let (Some(label), Ok(domain)) = (record.label(), name.parse()) {
                self.labels.insert(turned.clone(), (domain, label));
                kept += 1;
            }
            if turned.and_above().any(|it| self.wanted.contains(it)) {
                self.data.entry(turned).or_default().push(record);
                kept += 1;
            }
            bounded(kept)
        })
    }

    /// Reads what `list_local_zones` answers.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_zones(&mut self, from: impl Read) -> Result<(), Unreadable> {
        let looked_at = self.wanted.iter().chain(self.labels.keys());
        let above: BTreeSet<String> = looked_at.flat_map(Turned::and_above).map(str::to_owned).collect();
        let mut kept = 0;
        each_line(from, |line, whole| {
            let (name, kind) = zone_line(line, whole)?;
            let turned = Turned::new(name);
            if above.contains(&turned.0) || turned.and_above().any(|it| self.wanted.contains(it)) {
                self.zones.insert(turned, kind.into());
                kept += 1;
            }
            bounded(kept)
        })
    }

    /// How `domain` stands, which is one of those that are looked at.
    #[must_use]
    pub fn standing(&self, domain: &DomainName) -> Standing {
        let turned = Turned::of(domain);
        let mut labels = self.data.get(&turned).into_iter().flatten().filter_map(Data::label);
        match (labels.next(), labels.next()) {
            (Some(label), None) => {
                let kind = self.zones.get(&turned).cloned();
                return Standing::Held { label, kind };
            }
            (Some(one), Some(two)) => return Standing::Foreign(format!("{one} and {two}").into()),
            (None, _) => {}
        }
        if let Some(kind) = self.zones.get(&turned) {
            let mut texts = self
                .data
                .get(&turned)
                .into_iter()
                .flatten()
                .filter_map(|it| it.text.clone());
            return Standing::Foreign(texts.next().unwrap_or_else(|| format!("a zone of type {kind}").into()));
        }
        // The nearest zone above is the one that answers.
        let nearest = turned.and_above().rev().find_map(|it| self.zones.get_key_value(it));
        if let Some((above, kind)) = nearest {
            return match self.labels.get(above) {
                Some((_, label)) => Standing::Within {
                    label: *label,
                    kind: kind.clone(),
                },
                None => Standing::Foreign(format!("the zone {} of type {kind} above it", above.name()).into()),
            };
        }
        let mut below = self.below(&turned).filter(|(it, _)| !self.labels.contains_key(*it));
        match below.next() {
            Some((zone, kind)) => Standing::Foreign(format!("the zone {} of type {kind} below it", zone.name()).into()),
            None => Standing::Absent,
        }
    }

    /// Whether `domain` itself has an address.
    pub(super) fn has_address(&self, domain: &DomainName) -> bool {
        let data = self.data.get(&Turned::of(domain));
        data.into_iter().flatten().any(Data::is_address)
    }

    /// How `domain`, which has a label of Staunch, is lifted.
    pub(super) fn lift(&self, domain: &DomainName) -> Lift {
        let turned = Turned::of(domain);
        let zone = self.zones.get(&turned);
        let redirects = zone.is_some_and(|it| **it == *super::REDIRECT);
        let mut at = self.data.get(&turned).into_iter().flatten();
        if at.any(|it| it.label().is_none() && !(redirects && it.is_address())) {
            return Lift::InTheWay;
        }
        if zone.is_none() {
            return Lift::Data;
        }
        let below = self.data.range(turned.clone()..).skip_while(|(it, _)| **it == turned);
        let mut below = below.take_while(|(it, _)| it.0.starts_with(&turned.0));
        // What is in a zone of its own below stays anyhow.
        let is_in_it = |name: &Turned| {
            let nearest = name.and_above().rev().find(|it| self.zones.contains_key(*it));
            nearest == Some(turned.0.as_str())
        };
        if below.any(|(name, _)| is_in_it(name)) {
            Lift::Label
        } else {
            Lift::Zone
        }
    }

    /// Every name with a label, the label, and the type of its zone.
    pub fn labels(&self) -> impl Iterator<Item = (&DomainName, Label, Option<&str>)> {
        let all = self.labels.iter();
        all.map(|(turned, (domain, label))| (domain, *label, self.zones.get(turned).map(|it| &**it)))
    }

    /// Enters that `domain` has got `label` and a zone of type `kind`.
    pub(super) fn enter(&mut self, domain: &DomainName, label: Label, kind: &str) {
        let turned = Turned::of(domain);
        let text = Data {
            kind: "TXT".into(),
            text: Some(label.to_string().into()),
        };
        let data = self.data.entry(turned.clone()).or_default();
        data.retain(|it| it.label().is_none());
        data.push(text);
        self.labels.insert(turned.clone(), (domain.clone(), label));
        self.zones.insert(turned, kind.into());
    }

    /// Enters that `domain` was lifted.
    pub(super) fn leave(&mut self, domain: &DomainName, lift: Lift) {
        let turned = Turned::of(domain);
        self.data.remove(&turned);
        self.labels.remove(&turned);
        match lift {
            Lift::Zone => drop(self.zones.remove(&turned)),
            Lift::Label => drop(self.zones.insert(turned, super::TRANSPARENT.into())),
            Lift::Data | Lift::InTheWay => {}
        }
    }

    fn below(&self, turned: &Turned) -> impl Iterator<Item = (&Turned, &str)> {
        let all = self.zones.range(turned.clone()..).skip_while({
            let turned = turned.clone();
            move |(it, _)| **it == turned
        });
        let turned = turned.clone();
        all.take_while(move |(it, _)| it.0.starts_with(&turned.0))
            .map(|(it, kind)| (it, &**kind))
    }
}

fn bounded(kept: usize) -> Result<(), Unreadable> {
    if kept > KEPT_MAX {
        return Err(Unreadable::TooMuch(format!(
            "{KEPT_MAX} names that concern what is looked at"
        )));
    }
    Ok(())
}

/// The name and the type of a zone.
fn zone_line(line: &[u8], whole: bool) -> Result<(&str, &str), Unreadable> {
    let text = std::str::from_utf8(line).ok().filter(|_| whole);
    let mut fields = text.unwrap_or_default().split_ascii_whitespace();
    match (fields.next(), fields.next(), fields.next()) {
        (Some(name), Some(kind), None) if name.ends_with('.') => Ok((name, kind)),
        _ => Err(Unreadable::Garbled),
    }
}

/// The name and the record of a line of data; `None` where there is none.
fn data_line(line: &[u8], whole: bool) -> Result<Option<(&str, Data)>, Unreadable> {
    /// What Unbound lists for a record that it cannot write.
    const UNWRITABLE: &str = "BADRR";
    // All that is not text stands in the value, which is no label then.
    let (text, all) = match std::str::from_utf8(line) {
        Ok(text) => (text, whole),
        Err(error) => (
            std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default(),
            false,
        ),
    };
    let text = text.trim_matches([' ', '\t', '\r']);
    if (text.is_empty() && all) || text == UNWRITABLE {
        return Ok(None);
    }
    let mut fields = text.splitn(5, ['\t', ' ']);
    let (Some(name), Some(ttl), Some(_), Some(kind)) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Unreadable::Garbled);
    };
    if !name.ends_with('.') || ttl.parse::<u32>().is_err() {
        return Err(Unreadable::Garbled);
    }
    let value = fields.next().filter(|_| all && kind == "TXT");
    let string = value.and_then(|it| it.strip_prefix('"')?.strip_suffix('"'));
    Ok(Some((
        name,
        Data {
            kind: kind.into(),
            text: string.filter(|it| !it.contains('"')).map(Into::into),
        },
    )))
}

/// Gives `take` each line, and whether it is the whole of it: of a longer one the beginning.
fn each_line(
    mut from: impl Read,
    mut take: impl FnMut(&[u8], bool) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut line = Vec::new();
    let (mut whole, mut total) = (true, 0_u64);
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unreadable::Io(error)),
        };
        total += count as u64;
        if total > LIST_BYTES_MAX {
            return Err(Unreadable::TooMuch(format!("{LIST_BYTES_MAX} bytes")));
        }
        let mut rest = &chunk[..count];
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (part, after) = end.map_or((rest, [].as_slice()), |at| (&rest[..at], &rest[at + 1..]));
            let room = LINE_BYTES_MAX - line.len();
            whole &= part.len() <= room;
            line.extend_from_slice(&part[..part.len().min(room)]);
            if end.is_some() {
                take(&line, whole)?;
                line.clear();
                whole = true;
            }
            rest = after;
        }
    }
    // Unbound ends every line: what has no end was cut off.
    if line.is_empty() {
        return Ok(());
    }
    Err(Unreadable::Io(io::ErrorKind::UnexpectedEof.into()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    const LABEL: &str = "staunch:a0a0a0a0a0a0a0a0:TX-7";

    fn domain(name: &str) -> DomainName {
        name.parse().expect("a domain")
    }

    fn listed(zones: &str, data: &str, wanted: &[&str]) -> Listed {
        let wanted: Vec<DomainName> = wanted.iter().map(|it| domain(it)).collect();
        let mut listed = Listed::of(&wanted);
        listed.read_data(data.as_bytes()).expect("it is data");
        listed.read_zones(zones.as_bytes()).expect("they are zones");
        listed
    }

    fn standing(zones: &str, data: &str, name: &str) -> Standing {
        listed(zones, data, &[name]).standing(&domain(name))
    }

    fn held(kind: Option<&str>) -> Standing {
        Standing::Held {
            label: Label::parse(LABEL).expect("a label"),
            kind: kind.map(Into::into),
        }
    }

    #[test]
    fn a_label_says_whose_a_name_is_and_a_zone_what_is_around_it() {
        let ours = format!("evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n\n");
        let zone = "evil.example. always_nxdomain\n";
        assert_eq!(standing(zone, &ours, "evil.example"), held(Some("always_nxdomain")));
        assert_eq!(
            standing("EVIL.example. static\n", &ours, "evil.example"),
            held(Some("static"))
        );
        assert_eq!(standing("example. transparent\n", &ours, "evil.example"), held(None));
        assert_eq!(
            standing("evil2.example. static\nle. static\n", "", "evil.example"),
            Standing::Absent
        );
        let within = standing(zone, &ours, "www.evil.example");
        assert!(
            matches!(within, Standing::Within { label, .. } if label.to_string() == LABEL),
            "{within:?}"
        );
        assert_eq!(standing(zone, &ours, "notevil.example"), Standing::Absent);
        // One of Staunch's below leaves the name free; somebody else's does not.
        let below = format!("a.evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n");
        let zones = "a.evil.example. always_nxdomain\n";
        assert_eq!(standing(zones, &below, "evil.example"), Standing::Absent);
        let foreign = |zones: &str, data: &str, says: &str| match standing(zones, data, "evil.example") {
            Standing::Foreign(text) => assert!(text.contains(says), "{text}"),
            other => panic!("{other:?} is to be somebody else's"),
        };
        foreign(zones, "", "the zone a.evil.example. of type always_nxdomain below it");
        foreign(zone, "", "a zone of type always_nxdomain");
        foreign("example. static\n", "", "the zone example. of type static above it");
        foreign(". static\n", "", "the zone . of type static above it");
        foreign(zone, "evil.example. 10 IN TXT \"somebody\"\n", "somebody");
        foreign(
            zone,
            "evil.example.\t10\tIN\tTXT\t\"staunch:\" \"a0a0a0a0a0a0a0a0:TX-7\"\n",
            "a zone",
        );
        foreign(zone, &ours.replace("TX-7", "TX-07"), "TX-07");
        foreign(
            zone,
            &format!("{ours}{}", ours.replace("TX-7", "TX-8")),
            "TX-7 and staunch",
        );
    }

    #[test]
    fn only_what_is_ours_is_lifted() {
        let ours = format!("evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n\n");
        let lift = |zones: &str, more: &str| {
            let name = "evil.example";
            listed(zones, &format!("{ours}{more}"), &[name]).lift(&domain(name))
        };
        let zone = "evil.example. always_nxdomain\n";
        assert_eq!(lift(zone, ""), Lift::Zone);
        assert_eq!(lift("example. static\n", ""), Lift::Data);
        assert_eq!(lift(zone, "www.evil.example.\t10\tIN\tA\t192.0.2.1\n"), Lift::Label);
        let below = format!("{zone}a.evil.example. static\n");
        assert_eq!(lift(&below, "b.a.evil.example.\t10\tIN\tA\t192.0.2.1\n"), Lift::Zone);
        let address = "evil.example.\t10\tIN\tA\t192.0.2.1\n";
        assert_eq!(lift(zone, address), Lift::InTheWay);
        assert_eq!(lift("evil.example. redirect\n", address), Lift::Zone);
        assert_eq!(lift(zone, "evil.example. 9 IN TXT \"a note\"\n"), Lift::InTheWay);
    }

    #[test]
    fn what_is_no_list_is_not_read_as_an_empty_one() {
        let wanted = [domain("evil.example")];
        let zones = |bytes: &[u8]| Listed::of(&wanted).read_zones(bytes);
        let data = |bytes: &[u8]| Listed::of(&wanted).read_data(bytes);
        assert!(zones(b"").is_ok() && data(b"\n\nBADRR\n").is_ok());
        for bytes in [
            &b"error unknown command 'list'\n"[..],
            b"evil.example.\n",
            b"evil.example static\n",
            b"\n",
            b"\xff. x\n",
        ] {
            assert!(matches!(zones(bytes), Err(Unreadable::Garbled)), "{bytes:?}");
        }
        for bytes in [
            &b"error unknown command\n"[..],
            b"evil.example.\tten\tIN\tA\tx\n",
            b"\xff\n",
        ] {
            assert!(matches!(data(bytes), Err(Unreadable::Garbled)), "{bytes:?}");
        }
        for cut in [zones(b"evil.example. sta"), data(b"evil.example.\t10\tIN\tTXT\t\"stau")] {
            assert!(matches!(cut, Err(Unreadable::Io(_))), "{cut:?}");
        }
        assert!(matches!(zones(&[b'a'; LINE_BYTES_MAX + 2]), Err(Unreadable::Io(_))));
        let long = format!(
            "evil.example.\t9\tIN\tTXT\t\"{}\"\nb.example.\t1\tIN\tA\tx\n",
            "x".repeat(70_000)
        );
        assert!(data(long.as_bytes()).is_ok(), "a long value is left out");
        // A label behind what is no text is none.
        let line = [
            b"evil.example.\t9\tIN\tTXT\t\"\xff".as_slice(),
            LABEL.as_bytes(),
            b"\"\n",
        ]
        .concat();
        let mut read = Listed::of(&wanted);
        read.read_data(line.as_slice()).expect("it is data");
        assert_eq!(read.labels().count(), 0);
    }

    #[test]
    fn more_than_the_bound_is_not_kept() {
        let mut text = String::new();
        for at in 0..=KEPT_MAX {
            writeln!(text, "n{at}.evil.example. static").expect("a string takes all");
        }
        let read = Listed::of([&domain("evil.example")]).read_zones(text.as_bytes());
        assert!(matches!(read, Err(Unreadable::TooMuch(_))));
        assert!(
            Listed::of([&domain("other.example")])
                .read_zones(text.as_bytes())
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..40) {
            struct Pieces<'a>(&'a [u8], usize);
            impl Read for Pieces<'_> {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    let size = self.1.min(buffer.len());
                    self.0.read(&mut buffer[..size])
                }
            }
            let lines = |from: &mut dyn Read| {
                let mut lines = Vec::new();
                let read = each_line(from, |line, whole| {
                    lines.push((line.to_vec(), whole));
                    Ok(())
                });
                (lines, read.is_ok())
            };
            prop_assert_eq!(lines(&mut Pieces(&bytes, size)), lines(&mut bytes.as_slice()));
        }

        #[test]
        fn a_name_turned_around_twice_is_itself(name in "([a-z0-9_-]{1,9}\\.){1,6}") {
            prop_assert_eq!(Turned::new(&name).name(), name);
        }
    }
}
