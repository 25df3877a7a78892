//! From the number of a process in an event to the process itself.

use std::collections::BTreeMap;

use staunch_model::{EventView, Match, Process, ProcessFound, Target, Timestamp};
use staunch_ports::Processes;

/// Processes that the machine is asked for because of one body. Beyond that the others are not told: the senders of a body
/// wait for it.
const PER_BODY_MAX: usize = 64;

/// Who is asked for the processes that the events of one body name, each once.
pub(crate) struct Identifier<'a> {
    processes: Option<&'a dyn Processes>,
    found: BTreeMap<Named, ProcessFound>,
}

/// The number of a process, and of which time and host.
type Named = (u32, Option<Timestamp>, Option<Box<str>>);

impl<'a> Identifier<'a> {
    /// Without `processes` none can be told.
    pub(crate) fn new(processes: Option<&'a dyn Processes>) -> Self {
        Self {
            processes,
            found: BTreeMap::new(),
        }
    }

    /// Puts into `matches` the processes that `view` means by their numbers.
    pub(crate) fn identify(&mut self, view: &EventView<'_>, matches: &mut [Match]) {
        let steps = matches.iter_mut().flat_map(|it| &mut it.steps);
        for target in steps.filter_map(|step| step.target.as_mut()) {
            if let Target::Process(named) = *target {
                *target = Target::Process(self.find(named.pid, view));
            }
        }
    }

    /// What each of them is.
    pub(crate) fn found(self) -> Vec<ProcessFound> {
        self.found.into_values().collect()
    }

    fn find(&mut self, pid: u32, view: &EventView<'_>) -> Process {
        let named = (pid, view.time, view.host.map(Into::into));
        if let Some(found) = self.found.get(&named) {
            return found.process;
        }
        let unknown = |why: &str| ProcessFound {
            process: Process::unidentified(pid),
            facts: Err(why.into()),
        };
        let found = match self.processes {
            None => unknown("acting on processes is not configured here"),
            Some(_) if self.found.len() >= PER_BODY_MAX => {
                // Only what was asked for is kept, so that a body cannot make this grow.
                return Process::unidentified(pid);
            }
            Some(processes) => processes.find(pid, view.time, view.host),
        };
        let process = found.process;
        self.found.insert(named, found);
        process
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use staunch_model::{ContentHash, Endpoint, EventKind, FieldValue, MatchedStep, ProcessFacts, RawFields, Severity};

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
            target: *target,
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

    /// Number, time and host.
    type Asked = (u32, Option<Timestamp>, Option<String>);

    impl Processes for Machine {
        fn find(&self, pid: u32, time: Option<Timestamp>, host: Option<&str>) -> ProcessFound {
            let asked = (pid, time, host.map(ToOwned::to_owned));
            self.0.lock().expect("nobody panicked").push(asked);
            ProcessFound {
                process: Process {
                    pid,
                    started: 7,
                    boot: 9,
                },
                facts: Ok(ProcessFacts {
                    program: "/tmp/xmrig".into(),
                    uid: 33,
                    protected: None,
                }),
            }
        }

        fn look_again(&self, process: Process) -> ProcessFound {
            unreachable!("nobody looks at {process} again here")
        }
    }

    #[test]
    fn the_machine_is_asked_once_for_each_number() {
        let named = |pid| Some(Target::Process(Process::unidentified(pid)));
        let address = Some(Target::Address([203, 0, 113, 7].into()));
        let mut matches = [
            matched(&[named(4242), address, None]),
            matched(&[named(17), named(4242)]),
        ];
        let machine = Machine::default();
        let mut identifier = Identifier::new(Some(&machine));
        identifier.identify(&event(), &mut matches);
        identifier.identify(&event(), &mut matches.clone());
        let found = identifier.found();
        let asked = machine.0.into_inner().expect("nobody panicked");
        let host = || Some("node-1".to_owned());
        assert_eq!(asked, [(4242, Some(TIME), host()), (17, Some(TIME), host())]);
        let told = |pid| {
            Some(Target::Process(Process {
                pid,
                started: 7,
                boot: 9,
            }))
        };
        assert_eq!(matches[0], matched(&[told(4242), address, None]));
        assert_eq!(matches[1], matched(&[told(17), told(4242)]));
        let found: Vec<_> = found.iter().map(|it| (it.process.pid, it.facts.is_ok())).collect();
        assert_eq!(found, [(17, true), (4242, true)]);
    }

    #[test]
    fn without_a_machine_to_ask_nothing_is_told() {
        let named = Target::Process(Process::unidentified(4242));
        let mut matches = [matched(&[Some(named)])];
        let mut identifier = Identifier::new(None);
        identifier.identify(&event(), &mut matches);
        let found = identifier.found();
        assert_eq!(matches[0].steps[0].target, Some(named));
        assert!(found[0].facts.is_err());
    }

    #[test]
    fn a_body_does_not_have_the_machine_asked_without_end() {
        let machine = Machine::default();
        let mut identifier = Identifier::new(Some(&machine));
        let most = u32::try_from(PER_BODY_MAX).expect("small");
        for pid in 1..=most + 5 {
            let mut matches = [matched(&[Some(Target::Process(Process::unidentified(pid)))])];
            identifier.identify(&event(), &mut matches);
            let target = matches[0].steps[0].target.and_then(Target::process).expect("a process");
            assert_eq!(target.is_identified(), pid <= most, "{pid}");
        }
        assert_eq!(identifier.found().len(), PER_BODY_MAX);
        assert_eq!(machine.0.into_inner().expect("nobody panicked").len(), PER_BODY_MAX);
    }
}
