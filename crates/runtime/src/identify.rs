//! From what an event names to the target itself: a process by its number, and what an account, a host or a domain is.

use std::collections::BTreeMap;

use staunch_model::{EventView, Found, Match, Process, Target, Timestamp};
use staunch_ports::{Seen, Targets};

/// Targets that are asked for because of one body. Beyond that the others are not told: the senders of a body wait for
/// it.
const PER_BODY_MAX: usize = 64;

/// Who is asked for the targets that the events of one body name, each once.
pub(crate) struct Identifier<'a> {
    targets: Option<&'a dyn Targets>,
    found: BTreeMap<Named, Found>,
}

/// What an event names, and of which time and host.
type Named = (Target, Option<Timestamp>, Option<Box<str>>);

impl<'a> Identifier<'a> {
    /// Without `targets` none can be told.
    pub(crate) fn new(targets: Option<&'a dyn Targets>) -> Self {
        Self {
            targets,
            found: BTreeMap::new(),
        }
    }

    /// Puts into `matches` the targets that `view` means by what it names.
    pub(crate) fn identify(&mut self, view: &EventView<'_>, matches: &mut [Match]) {
        let steps = matches
            .iter_mut()
            .flat_map(|it| it.preserve.iter_mut().chain(&mut it.steps));
        for target in steps.map(|step| &mut step.target) {
            if let Some(named) = target.take_if(|it| it.address().is_none()) {
                *target = self.find(named, view);
            }
        }
    }

    /// What each of them is.
    pub(crate) fn found(self) -> Vec<Found> {
        self.found.into_values().collect()
    }

    fn find(&mut self, named: Target, view: &EventView<'_>) -> Option<Target> {
        let asked = (named, view.time, view.host.map(Into::into));
        if let Some(found) = self.found.get(&asked) {
            return Some(found.target.clone());
        }
        let named = &asked.0;
        let found = match self.targets {
            None => Found {
                target: named.clone(),
                facts: Err(format!("acting on {} is not configured here", named.aim().plural()).into()),
            },
            Some(_) if self.found.len() >= PER_BODY_MAX => {
                // Only what was asked for is kept, so that a body cannot make this grow.
                tracing::warn!(%named, "a body names more targets than are asked for, and nothing is done to this one");
                return match named {
                    // Nothing is ever done to it.
                    Target::Process(process) => Some(Target::Process(Process::unidentified(process.pid))),
                    // What was said of it before may not hold.
                    _ => None,
                };
            }
            Some(targets) => targets.find(
                named,
                Seen {
                    time: view.time,
                    host: view.host,
                },
            ),
        };
        let target = found.target.clone();
        self.found.insert(asked, found);
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use staunch_model::{
        ContentHash, Endpoint, EventKind, FieldValue, HostName, MatchedStep, RawFields, Severity, TargetFacts,
    };

    use super::*;

    struct Raw;

    impl RawFields for Raw {
        fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
            None
        }
        fn bytes(&self) -> &[u8] {
            b"{}"
        }
    }

    const TIME: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn event() -> EventView<'static> {
        EventView {
            system: "falco",
            kind: EventKind::Alert,
            id: None,
            time: Some(TIME),
            severity: Severity::High,
            signature: "a miner",
            category: "",
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: Some("node-1"),
            raw: &Raw,
            around: &staunch_model::NothingKnown,
        }
    }

    fn matched(targets: &[Option<Target>]) -> Match {
        let step = |target: &Option<Target>| MatchedStep {
            step: 0,
            target: target.clone(),
        };
        Match {
            playbook: ContentHash::of(b"one"),
            key: "4242".into(),
            preserve: Vec::new(),
            steps: targets.iter().map(step).collect(),
        }
    }

    /// A machine that remembers what it was asked.
    #[derive(Default)]
    struct Machine(Mutex<Vec<Asked>>);

    /// What was named, time and host.
    type Asked = (Target, Option<Timestamp>, Option<String>);

    impl Targets for Machine {
        fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
            let asked = (named.clone(), seen.time, seen.host.map(ToOwned::to_owned));
            self.0.lock().expect("nobody panicked").push(asked);
            let target = match named {
                Target::Process(process) => told(process.pid),
                other => other.clone(),
            };
            Found {
                target,
                facts: Ok(TargetFacts {
                    what: "/tmp/xmrig of user 33".into(),
                    protected: None,
                }),
            }
        }

        fn look_again(&self, target: &Target) -> Found {
            unreachable!("nobody looks at {target} again here")
        }
    }

    const fn told(pid: u32) -> Target {
        Target::Process(Process {
            pid,
            started: 7,
            boot: 9,
        })
    }

    const fn numbered(pid: u32) -> Target {
        Target::Process(Process::unidentified(pid))
    }

    fn host() -> Target {
        Target::Host("web-1".parse::<HostName>().expect("a name"))
    }

    #[test]
    fn what_evidence_is_taken_of_is_told_like_what_is_acted_on() {
        let mut matches = [matched(&[Some(numbered(4242))])];
        matches[0].preserve = matches[0].steps.clone();
        let machine = Machine::default();
        Identifier::new(Some(&machine)).identify(&event(), &mut matches);
        assert_eq!(matches[0].preserve[0].target, Some(told(4242)));
        assert_eq!(matches[0].steps[0].target, Some(told(4242)));
        assert_eq!(
            machine.0.into_inner().expect("nobody panicked").len(),
            1,
            "it is asked for once"
        );
    }

    #[test]
    fn each_target_is_asked_for_once_and_addresses_are_not() {
        let address = || Some(Target::Address([203, 0, 113, 7].into()));
        let mut matches = [
            matched(&[Some(numbered(4242)), address(), None]),
            matched(&[Some(numbered(17)), Some(numbered(4242)), Some(host())]),
        ];
        let machine = Machine::default();
        let mut identifier = Identifier::new(Some(&machine));
        identifier.identify(&event(), &mut matches);
        identifier.identify(
            &event(),
            &mut [matched(&[Some(numbered(17)), Some(numbered(4242)), Some(host())])],
        );
        let found = identifier.found();
        let asked = machine.0.into_inner().expect("nobody panicked");
        let at = || Some("node-1".to_owned());
        assert_eq!(
            asked,
            [
                (numbered(4242), Some(TIME), at()),
                (numbered(17), Some(TIME), at()),
                (host(), Some(TIME), at())
            ]
        );
        assert_eq!(matches[0], matched(&[Some(told(4242)), address(), None]));
        assert_eq!(matches[1], matched(&[Some(told(17)), Some(told(4242)), Some(host())]));
        let found: Vec<_> = found.into_iter().map(|it| (it.target, it.facts.is_ok())).collect();
        assert_eq!(found, [(told(17), true), (told(4242), true), (host(), true)]);
    }

    #[test]
    fn without_anybody_to_ask_nothing_is_told() {
        let mut matches = [matched(&[Some(numbered(4242)), Some(host())])];
        let mut identifier = Identifier::new(None);
        identifier.identify(&event(), &mut matches);
        let found = identifier.found();
        assert_eq!(matches[0], matched(&[Some(numbered(4242)), Some(host())]));
        let why: Vec<_> = found.into_iter().map(|it| it.facts.expect_err("nothing")).collect();
        assert_eq!(
            why,
            [
                "acting on processes is not configured here".into(),
                "acting on hosts is not configured here".into()
            ] as [Box<str>; 2]
        );
    }

    #[test]
    fn a_body_does_not_have_others_asked_without_end() {
        let machine = Machine::default();
        let mut identifier = Identifier::new(Some(&machine));
        let most = u32::try_from(PER_BODY_MAX).expect("small");
        for pid in 1..=most + 5 {
            let mut matches = [matched(&[Some(numbered(pid))])];
            identifier.identify(&event(), &mut matches);
            let target = matches[0].steps[0].target.as_ref().expect("a process");
            assert_eq!(target.is_identified(), pid <= most, "{pid}");
        }
        let mut matches = [matched(&[Some(host())])];
        identifier.identify(&event(), &mut matches);
        assert_eq!(matches[0].steps[0].target, None);
        assert_eq!(identifier.found().len(), PER_BODY_MAX);
        assert_eq!(machine.0.into_inner().expect("nobody panicked").len(), PER_BODY_MAX);
    }
}
