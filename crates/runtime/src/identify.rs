//! From the number of a process in an event to the process itself.

use std::collections::BTreeMap;

use staunch_model::{EventView, Match, Process, ProcessFound, Target};
use staunch_ports::Processes;

/// Puts into `matches` the processes that `view` means by their numbers, and returns what each of them is.
///
/// Without `processes` none can be told.
pub(crate) fn identify(
    processes: Option<&dyn Processes>,
    view: &EventView<'_>,
    matches: &mut [Match],
) -> Vec<ProcessFound> {
    let mut found = BTreeMap::<u32, ProcessFound>::new();
    let steps = matches.iter_mut().flat_map(|it| &mut it.steps);
    for target in steps.filter_map(|step| step.target.as_mut()) {
        let Target::Process(named) = *target else { continue };
        let told = found.entry(named.pid).or_insert_with(|| match processes {
            Some(processes) => processes.find(named.pid, view.time, view.host),
            None => ProcessFound {
                process: Process::unidentified(named.pid),
                facts: Err("acting on processes is not configured here".into()),
            },
        });
        *target = Target::Process(told.process);
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use staunch_model::{
        ContentHash, Endpoint, EventKind, FieldValue, MatchedStep, ProcessFacts, RawFields, Severity, Timestamp,
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
        let found = identify(Some(&machine), &event(), &mut matches);
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
        let found = identify(None, &event(), &mut matches);
        assert_eq!(matches[0].steps[0].target, Some(named));
        assert!(found[0].facts.is_err());
    }
}
