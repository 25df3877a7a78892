//! What Unbound lists of its local zones and of the data in them, as far as it concerns the domains that are looked at.
//!
//! Never asks anybody: it reads text. Never keeps more than its bounds, however much is listed.

mod lines;
#[cfg(test)]
mod tests;
mod turned;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use staunch_model::DomainName;

pub use self::lines::Unreadable;
use self::lines::{Data, data_line, each_line, zone_line};
use self::turned::Turned;
use super::super::super::Label;

/// The most names that are kept of one look.
const KEPT_MAX: usize = 262_144;

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
