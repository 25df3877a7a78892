//! Triage: which playbooks an event concerns.
//!
//! Never decides what follows from it. Runs on every event, so it allocates only when a playbook matches.

use std::fmt;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use staunch_model::text::clip;
use staunch_model::{
    ContentHash, EventKind, EventView, Explanation, Match, MatchedStep, Predicate, Program, TriggerOutcome,
    TriggerReport,
};

use crate::limits::{INCIDENT_KEY_BYTES_MAX, MATCHES_PER_EVENT_MAX};

/// Hexadecimal digits of the hash at the end of a key that was cut: 128 bits.
const KEY_HASH_DIGITS: usize = 32;
const _: () = assert!(
    KEY_HASH_DIGITS < INCIDENT_KEY_BYTES_MAX && KEY_HASH_DIGITS <= 64,
    "a hash has 64 digits"
);

/// Triggers with needles from which on one search for all of them is quicker than asking each. The search takes about
/// 1 ns for a byte of signature, which has 50, and a trigger 4 ns (2026-11-25).
const FILTERED_MIN: usize = 16;

/// Bytes of needles that are looked for in one search, whose tables take about 100 bytes for each. Without it each
/// trigger is asked.
const NEEDLE_BYTES_MAX: usize = 16 * 1024;

/// The playbooks in force, ordered by the systems whose events they look at.
#[derive(Clone, Debug, Default)]
pub struct Triage {
    programs: Vec<Program>,
    /// A list, because there are few systems.
    systems: Vec<System>,
}

/// The programs that look at the events of one system.
#[derive(Clone, Debug)]
struct System {
    name: Arc<str>,
    /// All of them, in the order in which they were given.
    candidates: Vec<Candidate>,
    /// How most events are told to match few of them or none.
    filter: Option<Filter>,
}

/// One search for the needles of many programs.
#[derive(Clone)]
struct Filter {
    signature: Option<AhoCorasick>,
    category: Option<AhoCorasick>,
    /// The programs that an event without any needle may match: those of which no needles are known.
    others: Vec<Candidate>,
}

/// A program that an event of a system may match. Its trigger is kept here, beside the others that are asked in a row.
#[derive(Clone)]
struct Candidate {
    when: Predicate,
    position: usize,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.others.fmt(f)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.position.fmt(f)
    }
}

/// What triage made of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triaged {
    /// Playbooks match.
    Matched(Matches),
    /// An alert that no playbook matches.
    Unmatched,
    /// Not an alert. Telemetry, health and samples match nothing, whatever they say.
    NotAnAlert(EventKind),
}

/// The playbooks that match one event. At least one of the three is not empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// The matches, in the order of the playbooks.
    pub matches: Vec<Match>,
    /// Playbooks whose trigger holds but whose incident key is missing or empty: nothing follows from them.
    pub without_key: usize,
    /// Playbooks beyond [`MATCHES_PER_EVENT_MAX`], whose trigger holds: nothing follows from them.
    pub beyond_limit: usize,
}

impl Triage {
    /// Sorts `programs` by system.
    #[must_use]
    pub fn new(programs: Vec<Program>) -> Self {
        let mut systems: Vec<System> = Vec::new();
        for (position, program) in programs.iter().enumerate() {
            for system in &program.systems {
                let known = systems.iter().position(|known| known.name == system.0);
                let at = known.unwrap_or_else(|| {
                    systems.push(System {
                        name: Arc::clone(&system.0),
                        candidates: Vec::new(),
                        filter: None,
                    });
                    systems.len() - 1
                });
                let candidates = &mut systems[at].candidates;
                if candidates.last().is_none_or(|last| last.position != position) {
                    candidates.push(Candidate {
                        when: Arc::clone(&program.when),
                        position,
                    });
                }
            }
        }
        for system in &mut systems {
            system.filter = Filter::new(&programs, &system.candidates);
        }
        Self { programs, systems }
    }

    /// The playbooks in force.
    #[must_use]
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Finds the playbooks that `view` matches, with their incident keys and targets.
    ///
    /// A key longer than [`INCIDENT_KEY_BYTES_MAX`] keeps its beginning and ends with the hash of all of it, so that
    /// two long keys stay two incidents and no key is refused. A match without a target for a step stays a match: that
    /// the event names no target is recorded as a refusal of that step, for people to see.
    #[must_use]
    pub fn sort(&self, view: &EventView<'_>) -> Triaged {
        if view.kind != EventKind::Alert {
            return Triaged::NotAnAlert(view.kind);
        }
        let Some(system) = self.systems.iter().find(|system| *system.name == *view.system) else {
            return Triaged::Unmatched;
        };
        let candidates = match &system.filter {
            Some(filter) if !filter.finds(view) => &filter.others,
            _ => &system.candidates,
        };
        let mut found: Option<Matches> = None;
        for candidate in candidates {
            if (candidate.when)(view) {
                found
                    .get_or_insert_default()
                    .add(&self.programs[candidate.position], view);
            }
        }
        found.map_or(Triaged::Unmatched, Triaged::Matched)
    }

    /// How each playbook takes `view`, matched or not, in their order. For people: slower than [`Triage::sort`] by far.
    #[must_use]
    pub fn reports(&self, view: &EventView<'_>) -> Vec<TriggerReport> {
        let mut matched = 0;
        let report = |program: &Program| {
            let outcome = if view.kind != EventKind::Alert {
                TriggerOutcome::NotAnAlert
            } else if program.systems.iter().all(|system| *system.0 != *view.system) {
                TriggerOutcome::OtherSystem
            } else if !(program.when)(view) {
                TriggerOutcome::DoesNotHold
            } else if matched == MATCHES_PER_EVENT_MAX {
                TriggerOutcome::BeyondLimit
            } else if (program.incident)(view).is_none_or(|key| key.is_empty()) {
                TriggerOutcome::WithoutKey
            } else {
                matched += 1;
                TriggerOutcome::Matches
            };
            let looks = !matches!(outcome, TriggerOutcome::NotAnAlert | TriggerOutcome::OtherSystem);
            TriggerReport {
                playbook: program.playbook.name.to_string(),
                outcome,
                systems: program.systems.iter().map(|system| system.0.to_string()).collect(),
                explanation: if looks {
                    (program.explain)(view)
                } else {
                    Explanation::default()
                },
            }
        };
        self.programs.iter().map(report).collect()
    }

    /// The matches of [`Triage::sort`] alone.
    #[must_use]
    pub fn matches(&self, view: &EventView<'_>) -> Vec<Match> {
        match self.sort(view) {
            Triaged::Matched(found) => found.matches,
            Triaged::Unmatched | Triaged::NotAnAlert(_) => Vec::new(),
        }
    }
}

impl Filter {
    /// A filter for `candidates`, when it tells more than it costs.
    fn new(programs: &[Program], candidates: &[Candidate]) -> Option<Self> {
        let (with, others): (Vec<_>, Vec<_>) = candidates
            .iter()
            .map(|it| (it, &programs[it.position].needles))
            .partition(|(_, needles)| needles.is_some());
        if with.len() < FILTERED_MIN {
            return None;
        }
        let needles = || with.iter().filter_map(|(_, needles)| needles.as_ref());
        Some(Self {
            signature: search(needles().flat_map(|it| &it.signature))?,
            category: search(needles().flat_map(|it| &it.category))?,
            others: others.into_iter().map(|(candidate, _)| candidate.clone()).collect(),
        })
    }

    /// True when `view` has one of the needles.
    fn finds(&self, view: &EventView<'_>) -> bool {
        let is_in = |search: &Option<AhoCorasick>, text| search.as_ref().is_some_and(|search| search.is_match(text));
        is_in(&self.signature, view.signature) || is_in(&self.category, view.category)
    }
}

/// One search for all of `needles`, `Some(None)` without any. `None` when they are too many for one.
///
/// Asking for a start that all of them have would be quicker for playbooks that begin alike, and slower for others.
fn search<'a>(needles: impl Iterator<Item = &'a Box<str>>) -> Option<Option<AhoCorasick>> {
    let needles: Vec<&[u8]> = needles.map(|it| it.as_bytes()).collect();
    let bytes: usize = needles.iter().map(|it| it.len()).sum();
    if needles.is_empty() || bytes > NEEDLE_BYTES_MAX {
        return needles.is_empty().then_some(None);
    }
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).prefilter(false);
    builder.build(needles).ok().map(Some)
}

impl Matches {
    fn add(&mut self, program: &Program, view: &EventView<'_>) {
        if self.matches.len() == MATCHES_PER_EVENT_MAX {
            self.beyond_limit += 1;
            return;
        }
        let Some(key) = (program.incident)(view).filter(|key| !key.is_empty()) else {
            self.without_key += 1;
            return;
        };
        let preserve = (0_u16..).zip(&program.preserve).map(|(step, target)| MatchedStep {
            step,
            target: target(view),
        });
        let steps = (0_u16..).zip(&program.targets).map(|(step, target)| MatchedStep {
            step,
            target: target(view),
        });
        self.matches.push(Match {
            playbook: program.playbook.hash,
            key: bounded(key),
            preserve: preserve.collect(),
            steps: steps.collect(),
        });
    }
}

/// `key` in at most [`INCIDENT_KEY_BYTES_MAX`] bytes.
fn bounded(key: String) -> Box<str> {
    if key.len() <= INCIDENT_KEY_BYTES_MAX {
        return key.into();
    }
    let hash = ContentHash::of(key.as_bytes()).to_string();
    let kept = clip(&key, INCIDENT_KEY_BYTES_MAX - 1 - KEY_HASH_DIGITS);
    format!("{kept}#{}", clip(&hash, KEY_HASH_DIGITS)).into()
}

#[cfg(test)]
mod tests {
    use staunch_model::{
        Endpoint, FieldValue, Modes, Needles, NothingKnown, OnFailure, Playbook, PlaybookGuards, RawFields, Severity,
        Span, SystemName, Target,
    };

    use super::*;

    struct Nothing;

    impl RawFields for Nothing {
        fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
            None
        }
        fn bytes(&self) -> &[u8] {
            b"{}"
        }
    }

    fn alert(signature: &str) -> EventView<'_> {
        EventView {
            system: "suricata",
            kind: EventKind::Alert,
            id: None,
            time: None,
            severity: Severity::High,
            signature,
            category: "",
            source: Endpoint {
                ip: Some([203, 0, 113, 7].into()),
                port: None,
            },
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: &Nothing,
            around: &NothingKnown,
        }
    }

    /// A playbook whose trigger is that the signature contains its name; the signature is the incident key.
    fn program(name: &'static str, systems: &[&str]) -> Program {
        let playbook = Playbook {
            name: name.into(),
            summary: name.into(),
            hash: ContentHash::of(name.as_bytes()),
            attack: Vec::new(),
            deduplicate: Span::from_mins(10),
            context: Vec::new(),
            guards: PlaybookGuards::default(),
            preserve: Vec::new(),
            steps: Vec::new(),
            notify: Vec::new(),
            modes: Modes::default(),
            on_failure: OnFailure::default(),
        };
        Program {
            playbook: Arc::new(playbook),
            systems: systems.iter().map(|system| SystemName::from(*system)).collect(),
            when: Arc::new(move |view| view.signature.contains(name)),
            needles: None,
            incident: Arc::new(|view| {
                view.signature
                    .strip_prefix("nokey ")
                    .map_or(Some(view.signature), |_| None)
                    .map(Into::into)
            }),
            preserve: Vec::new(),
            targets: vec![Arc::new(|view| view.source.ip.map(Target::Address)), Arc::new(|_| None)],
            explain: Arc::new(|_| Explanation {
                clauses: Vec::new(),
                key: "looked at".to_owned(),
                parameters: Vec::new(),
            }),
        }
    }

    fn names(triage: &Triage, view: &EventView<'_>) -> Vec<String> {
        let name = |found: Match| {
            let program = triage
                .programs()
                .iter()
                .find(|program| program.playbook.hash == found.playbook);
            program
                .map(|program| program.playbook.name.to_string())
                .unwrap_or_default()
        };
        triage.matches(view).into_iter().map(name).collect()
    }

    #[test]
    fn only_playbooks_of_the_system_match_and_each_once_in_order() {
        let twice = ["suricata", "falco", "suricata", "suricata"];
        let triage = Triage::new(vec![
            program("b", &["suricata"]),
            program("a", &twice),
            program("a b", &["falco"]),
        ]);
        assert_eq!(names(&triage, &alert("a b")), ["b", "a"]);
        assert_eq!(
            names(
                &triage,
                &EventView {
                    system: "falco",
                    ..alert("a b")
                }
            ),
            ["a", "a b"]
        );
        assert_eq!(
            triage.sort(&EventView {
                system: "other",
                ..alert("a b")
            }),
            Triaged::Unmatched
        );
        assert_eq!(triage.sort(&alert("c")), Triaged::Unmatched);
    }

    #[test]
    fn steps_carry_their_targets_or_the_lack_of_one() {
        let found = Triage::new(vec![program("a", &["suricata"])]).matches(&alert("a"));
        let target = Some(Target::Address([203, 0, 113, 7].into()));
        assert_eq!(
            found[0].steps,
            [MatchedStep { step: 0, target }, MatchedStep { step: 1, target: None }]
        );
        assert_eq!(&*found[0].key, "a");
    }

    #[test]
    fn reports_say_what_became_of_the_event_at_every_playbook() {
        use TriggerOutcome::{BeyondLimit, DoesNotHold, Matches, NotAnAlert, OtherSystem, WithoutKey};
        let mut programs = vec![
            program("a", &["suricata"]),
            program("b", &["suricata"]),
            program("a", &["falco"]),
        ];
        let outcomes = |programs: &[Program], view: &EventView<'_>| {
            let reports = Triage::new(programs.to_vec()).reports(view);
            let looks = |outcome| !matches!(outcome, NotAnAlert | OtherSystem);
            assert!(
                reports
                    .iter()
                    .all(|it| looks(it.outcome) == (it.explanation.key == "looked at"))
            );
            reports.iter().map(|it| it.outcome).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&programs, &alert("a")), [Matches, DoesNotHold, OtherSystem]);
        assert_eq!(
            outcomes(&programs, &alert("nokey a")),
            [WithoutKey, DoesNotHold, OtherSystem]
        );
        let health = EventView {
            kind: EventKind::Health,
            ..alert("a")
        };
        assert_eq!(outcomes(&programs, &health), [NotAnAlert; 3]);
        programs = (0..=MATCHES_PER_EVENT_MAX)
            .map(|_| program("a", &["suricata"]))
            .collect();
        let found = outcomes(&programs, &alert("a"));
        assert_eq!(found.iter().filter(|it| **it == Matches).count(), MATCHES_PER_EVENT_MAX);
        assert_eq!(found.last(), Some(&BeyondLimit));
    }

    #[test]
    fn nothing_but_alerts_ever_matches() {
        let triage = Triage::new(vec![program("a", &["suricata"])]);
        for kind in [EventKind::Telemetry, EventKind::Health, EventKind::Sample] {
            let view = EventView { kind, ..alert("a") };
            assert_eq!(triage.sort(&view), Triaged::NotAnAlert(kind));
            assert!(triage.matches(&view).is_empty());
        }
    }

    #[test]
    fn matches_are_bounded_and_what_is_left_out_is_counted() {
        let triage = Triage::new(vec![program("a", &["suricata"]); MATCHES_PER_EVENT_MAX + 3]);
        let Triaged::Matched(found) = triage.sort(&alert("a")) else {
            panic!("it matches")
        };
        assert_eq!(
            (found.matches.len(), found.without_key, found.beyond_limit),
            (MATCHES_PER_EVENT_MAX, 0, 3)
        );
        let Triaged::Matched(found) = triage.sort(&alert("nokey a")) else {
            panic!("it matches")
        };
        assert_eq!(
            (found.matches.len(), found.without_key, found.beyond_limit),
            (0, MATCHES_PER_EVENT_MAX + 3, 0)
        );
    }

    #[test]
    fn long_keys_are_cut_and_stay_different() {
        let key_of = |signature: String| {
            let found = Triage::new(vec![program("a", &["suricata"])]).matches(&alert(&signature));
            found.into_iter().next().expect("it matches").key
        };
        let exact = "aé".repeat(100)[..INCIDENT_KEY_BYTES_MAX - 1].to_owned() + "a";
        assert_eq!(*key_of(exact.clone()), *exact);
        let (one, other) = (key_of("aé".repeat(200) + "1"), key_of("aé".repeat(200) + "2"));
        assert_ne!(one, other);
        assert!(
            one.len() <= INCIDENT_KEY_BYTES_MAX && other.len() <= INCIDENT_KEY_BYTES_MAX && one.starts_with("aéaé")
        );
        assert_eq!(one, key_of("aé".repeat(200) + "1"));
    }

    /// As `program`, with the needles that a compiler would find.
    fn with_needles(name: &'static str) -> Program {
        let needles = Some(Needles {
            signature: vec![name.to_ascii_uppercase().into()],
            category: Vec::new(),
        });
        Program {
            needles,
            ..program(name, &["suricata"])
        }
    }

    #[test]
    fn one_search_for_all_finds_what_asking_each_finds() {
        const NAMES: [&str; 20] = [
            "aa", "ab", "ba", "bb", "abc", "cab", "bca", "xyz", "é", "zz", "yy", "q1", "q2", "q3", "q4", "q5", "q6",
            "q7", "q8", "q9",
        ];
        let by_category = |category: &'static str| Program {
            when: Arc::new(move |view| view.category.ends_with(category)),
            needles: Some(Needles {
                signature: Vec::new(),
                category: vec![category.into()],
            }),
            ..program("by category", &["suricata"])
        };
        let never = Program {
            when: Arc::new(|_| false),
            needles: Some(Needles::default()),
            ..program("never", &["suricata"])
        };
        let mut programs: Vec<Program> = NAMES.iter().map(|name| with_needles(name)).collect();
        programs.insert(3, program("plain", &["suricata"]));
        programs.insert(7, by_category("cat"));
        programs.push(never);
        let one_by_one: Vec<Program> = programs
            .iter()
            .cloned()
            .map(|it| Program { needles: None, ..it })
            .collect();
        let (filtered, plain) = (Triage::new(programs), Triage::new(one_by_one));
        assert!(filtered.systems[0].filter.is_some() && plain.systems[0].filter.is_none());
        for signature in [
            "",
            "abca",
            "AB",
            "a plain thing",
            "abq7",
            "é",
            "É",
            "nothing",
            "xy",
            "xyzzyzz",
        ] {
            for category in ["", "cat", "Cat", "a cat", "cats"] {
                let view = EventView {
                    category,
                    ..alert(signature)
                };
                assert_eq!(filtered.sort(&view), plain.sort(&view), "{signature} {category}");
            }
        }
        assert_eq!(names(&filtered, &alert("a plain cab")), ["ab", "plain", "cab"]);
    }

    #[test]
    fn too_much_to_look_for_is_asked_one_by_one() {
        let long: &'static str = Box::leak("x".repeat(NEEDLE_BYTES_MAX / FILTERED_MIN + 1).into_boxed_str());
        let triage = Triage::new(vec![with_needles(long); FILTERED_MIN]);
        assert!(triage.systems[0].filter.is_none());
        assert_eq!(
            triage.matches(&alert(long)).len(),
            MATCHES_PER_EVENT_MAX.min(FILTERED_MIN)
        );
    }
}
