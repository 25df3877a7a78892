//! The same fact from several sources is one entry.
//!
//! Two facts are the same when they are of the same kind and about the same parties ([`Same`]), not more than [`APART`]
//! apart by clocks that were set right, and of different origins. Each takes the nearest that is free, and one log
//! never says the same thing twice: two equal lines of it are two facts. That they are the same is concluded, so it is
//! marked. A line of a log that is about no such parties, as those of applications, is the same as one of another
//! origin with the same words at the same time. Of the first [`ALSO_MAX`] others it is kept who they are, when, and
//! what they say; the rest is counted.
//!
//! # Order
//! Of equal times, those of one log stand as they stand there: an answer behind its question, also where a log has
//! whole seconds. A log whose last entry is earlier than its first is one with the newest first.

use std::collections::{BTreeMap, BTreeSet};

use staunch_connectors::logs::{Kind, Same};
use staunch_model::{Span, Timestamp};

use super::{Found, Rank, corrected};
use crate::cli::ClockOffset;
use crate::commands::incident::timeline::{Also, Entry, JOINED, Lane};

/// How far apart the same fact may be by two sources.
pub(super) const APART: Span = Span::from_secs(2);

/// Others that are named with one fact.
const ALSO_MAX: usize = 8;

/// A fact, by whoever says it first in rank.
struct Fact<'j> {
    at: Timestamp,
    same: Same,
    said: Said<'j>,
    /// The origin that said it last.
    taken_by: usize,
}

/// Where the entry of a fact is.
enum Said<'j> {
    InJournal(&'j mut Entry),
    Elsewhere(Box<Entry>, Place),
}

/// What tells entries of one time apart: who is believed first, of equals who was named first, and the place in the
/// log.
type Place = (Rank, usize, usize);

impl Said<'_> {
    fn entry(&mut self) -> &mut Entry {
        match self {
            Self::InJournal(entry) => entry,
            Self::Elsewhere(entry, _) => entry,
        }
    }
}

/// Facts that may be the same: of a kind, and of one time after the other.
type Near = BTreeMap<(Kind, Timestamp), Vec<usize>>;

/// What is about no parties that could be compared.
#[derive(Default)]
struct Lines {
    all: Vec<(Entry, Place)>,
    /// The origin that said each last.
    taken_by: Vec<usize>,
    /// Lines of logs by their time and words.
    by_words: BTreeMap<(Timestamp, String), Vec<usize>>,
}

impl Lines {
    /// Adds `entry` of `origin`, or notes it with the line of an earlier origin among the first `known` that says the
    /// same.
    fn add(&mut self, entry: Entry, place: Place, origin: usize, known: usize) {
        if entry.lane == Lane::Log {
            let said = self.by_words.entry((entry.at, entry.what.clone())).or_default();
            let is_free = |at: &usize| *at < known && self.taken_by[*at] != origin;
            if let Some(at) = said.iter().copied().find(is_free) {
                self.taken_by[at] = origin;
                also(&mut self.all[at].0, entry);
                return;
            }
            said.push(self.all.len());
        }
        self.taken_by.push(origin);
        self.all.push((entry, place));
    }
}

/// Puts what is the same together. Returns what is not of the journal, in the order of time.
pub(super) fn join(journal: &mut [Entry], found: Vec<Found>, clocks: &[ClockOffset]) -> Vec<Entry> {
    let mut facts: Vec<Fact<'_>> = Vec::new();
    let mut near = Near::new();
    let mut lines = Lines::default();
    for entry in journal.iter_mut().filter(|it| it.lane == Lane::Event) {
        let Some(same) = entry.same.take() else { continue };
        let system = entry.system.clone().unwrap_or_default();
        let at = entry.source_time.map_or(entry.at, |it| corrected(it, clocks, &system));
        add(
            &mut facts,
            &mut near,
            Kind::Event,
            Fact {
                at,
                same,
                said: Said::InJournal(entry),
                taken_by: 0,
            },
        );
    }
    // The first in rank gives the words; of equals who was named first.
    let mut found = with_places(found);
    found.sort_by_key(|(it, place)| (it.rank, it.origin, it.entry.at, *place));
    let mut rest = found.into_iter().peekable();
    while let Some(first) = rest.next() {
        let origin = first.0.origin;
        let (known, known_lines) = (facts.len(), lines.all.len());
        let mut of_origin = vec![first];
        while let Some(next) = rest.next_if(|(it, _)| it.origin == origin) {
            of_origin.push(next);
        }
        for (Found { mut entry, rank, .. }, place) in of_origin {
            let place = (rank, origin, place);
            let (Some(same), Some(kind)) = (entry.same.take(), entry.kind) else {
                lines.add(entry, place, origin, known_lines);
                continue;
            };
            let free = |at: &usize| *at < known && facts[*at].taken_by != origin && facts[*at].same.is(&same);
            let span = (kind, entry.at - APART)..=(kind, entry.at + APART);
            let nearest = near
                .range(span)
                .flat_map(|(_, all)| all.iter().copied().filter(free))
                .min_by_key(|at| facts[*at].at.since(entry.at).max(entry.at.since(facts[*at].at)));
            match nearest {
                Some(at) => {
                    facts[at].taken_by = origin;
                    also(facts[at].said.entry(), entry);
                }
                None => add(
                    &mut facts,
                    &mut near,
                    kind,
                    Fact {
                        at: entry.at,
                        same,
                        said: Said::Elsewhere(Box::new(entry), place),
                        taken_by: origin,
                    },
                ),
            }
        }
    }
    let mut alone = lines.all;
    alone.extend(facts.into_iter().filter_map(|it| match it.said {
        Said::InJournal(_) => None,
        Said::Elsewhere(entry, place) => Some((*entry, place)),
    }));
    alone.sort_by_key(|(entry, place)| (entry.at, *place));
    alone.into_iter().map(|(entry, _)| entry).collect()
}

/// Each with its place among those of its origin, the earlier ones first.
fn with_places(found: Vec<Found>) -> Vec<(Found, usize)> {
    let mut ends: BTreeMap<usize, (Timestamp, Timestamp)> = BTreeMap::new();
    for it in found.iter().filter(|it| it.entry.lane == Lane::Log) {
        ends.entry(it.origin)
            .and_modify(|(_, last)| *last = it.entry.at)
            .or_insert((it.entry.at, it.entry.at));
    }
    let newest_first = ends.iter().filter(|(_, (first, last))| last < first);
    let newest_first: BTreeSet<usize> = newest_first.map(|(origin, _)| *origin).collect();
    let most = found.len();
    let place = |at: usize, it: &Found| {
        if newest_first.contains(&it.origin) {
            most - at
        } else {
            at
        }
    };
    let placed = found.into_iter().enumerate();
    placed
        .map(|(at, it)| {
            let at = place(at, &it);
            (it, at)
        })
        .collect()
}

fn add<'j>(facts: &mut Vec<Fact<'j>>, near: &mut Near, kind: Kind, fact: Fact<'j>) {
    near.entry((kind, fact.at)).or_default().push(facts.len());
    facts.push(fact);
}

/// Notes that `other` says the same.
fn also(entry: &mut Entry, other: Entry) {
    if !entry.inferred.contains(&JOINED) {
        entry.inferred.push(JOINED);
    }
    if entry.also.len() < ALSO_MAX {
        entry.also.push(Also {
            system: other.system.unwrap_or_default(),
            origin: other.origin.unwrap_or_default(),
            at: other.at,
            what: other.what,
        });
    } else {
        entry.also_more += 1;
    }
}
