//! Triage: which playbooks an event concerns.
//!
//! Never decides what follows from it. Runs on every event, so it allocates only when a playbook matches.

use std::fmt;
use std::sync::Arc;

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

/// The playbooks in force, ordered by the systems whose events they look at.
#[derive(Clone, Debug, Default)]
pub struct Triage {
    programs: Vec<Program>,
    /// For each system its programs, in the order in which they were given. A list, because there are few systems.
    systems: Vec<(Arc<str>, Vec<Candidate>)>,
}

/// A program that an event of a system may match. Its trigger is kept here, beside the others that are asked in a row.
#[derive(Clone)]
struct Candidate {
    when: Predicate,
    position: usize,
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
        let mut systems: Vec<(Arc<str>, Vec<Candidate>)> = Vec::new();
        for (position, program) in programs.iter().enumerate() {
            for system in &program.systems {
                let known = systems.iter().position(|(name, _)| *name == system.0);
                let at = known.unwrap_or_else(|| {
                    systems.push((Arc::clone(&system.0), Vec::new()));
                    systems.len() - 1
                });
                let candidates = &mut systems[at].1;
                if candidates.last().is_none_or(|last| last.position != position) {
                    candidates.push(Candidate {
                        when: Arc::clone(&program.when),
                        position,
                    });
                }
            }
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
    /// A key longer than [`INCIDENT_KEY_BYTES_MAX`] keeps its beginning and ends with the hash of all of it, so that two long
    /// keys stay two incidents and no key is refused. A match without a target for a step stays a match: that the event
    /// names no target is recorded as a refusal of that step, for people to see.
    #[must_use]
    pub fn sort(&self, view: &EventView<'_>) -> Triaged {
        if view.kind != EventKind::Alert {
            return Triaged::NotAnAlert(view.kind);
        }
        let Some((_, candidates)) = self.systems.iter().find(|(name, _)| **name == *view.system) else {
            return Triaged::Unmatched;
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
        Endpoint, FieldValue, Modes, OnFailure, Playbook, PlaybookGuards, RawFields, Severity, Span, SystemName, Target,
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
}
