//! Reads health signals, each in a thread of its own, so that one that is slow keeps no other waiting.
//!
//! Never judges what a reading means. Those who ask at the same time share a reading.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use staunch_model::{Condition, Failure, FailureKind, HealthReading, IncidentId, Input, WatchId};
use staunch_ports::HealthSignal;

/// The most conditions that have a thread at a time. The one that was asked for longest ago makes room.
const CONDITIONS_MAX: usize = 32;

/// What tells whether the business is well.
#[derive(Default)]
pub struct HealthSignals {
    /// Those that have a name.
    pub named: Vec<Box<dyn HealthSignal>>,
    /// Makes a signal of a condition, where there is a Prometheus to ask.
    pub of_condition: Option<OfCondition>,
}

/// Makes a signal of a condition. It is called on the thread of the loop, and must not wait.
pub type OfCondition = Box<dyn Fn(Condition) -> Box<dyn HealthSignal> + Send + Sync>;

impl fmt::Debug for HealthSignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.named.iter().map(|it| it.name()).collect();
        f.debug_struct("HealthSignals")
            .field("named", &names)
            .field("of_condition", &self.of_condition.is_some())
            .finish()
    }
}

/// What the engine asks: for which watch, and the number that the answer carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOrder {
    pub(crate) incident: IncidentId,
    pub(crate) watch: WatchId,
    pub(crate) ticket: u32,
}

/// The way to the threads that read. They end when nobody can ask them any more.
pub(crate) struct HealthReaders {
    signals: BTreeMap<Box<str>, Sender<ReadOrder>>,
    of_condition: Option<OfCondition>,
    /// By their text, each with a number that grows with every order.
    conditions: BTreeMap<Box<str>, (u64, Sender<ReadOrder>)>,
    orders: u64,
    outcomes: Sender<Input>,
}

impl HealthReaders {
    /// Starts a thread for each of `signals` that has a name. A condition has one from when it is first asked for.
    pub(crate) fn start(
        signals: HealthSignals,
        outcomes: &Sender<Input>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut readers = Self {
            signals: BTreeMap::new(),
            of_condition: signals.of_condition,
            conditions: BTreeMap::new(),
            orders: 0,
            outcomes: outcomes.clone(),
        };
        let mut threads = Vec::new();
        for signal in signals.named {
            let name = signal.name().into();
            let (sender, thread) = reader(signal, outcomes)?;
            readers.signals.insert(name, sender);
            threads.push(thread);
        }
        Ok((readers, threads))
    }

    /// Asks for a reading. Never waits.
    pub(crate) fn ask(&mut self, signal: &str, order: ReadOrder) {
        let asked = match self.signals.get(signal) {
            Some(named) => named.send(order).is_ok(),
            None => match self.condition(signal) {
                Ok(reader) => reader.send(order).is_ok(),
                Err(failure) => return answer(&self.outcomes, order, Err(failure)),
            },
        };
        if !asked {
            let what = "the reader of this health signal has ended";
            answer(&self.outcomes, order, Err(Failure::new(FailureKind::Invalid, what)));
        }
    }

    /// The way to the reader of a condition.
    fn condition(&mut self, signal: &str) -> Result<&Sender<ReadOrder>, Failure> {
        let invalid = |what: &str| Failure::new(FailureKind::Invalid, what);
        let Ok(condition) = Condition::parse(signal) else {
            return Err(invalid(&format!(
                "there is no health signal {signal} in the configuration"
            )));
        };
        let Some(make) = &self.of_condition else {
            return Err(invalid("there is no Prometheus in the configuration"));
        };
        self.orders += 1;
        if !self.conditions.contains_key(signal) {
            let (sender, _ends_when_nobody_can_ask_it) = reader(make(condition), &self.outcomes)
                .map_err(|error| Failure::new(FailureKind::Unavailable, &format!("no thread reads it: {error}")))?;
            let oldest = self.conditions.iter().min_by_key(|(_, (asked, _))| *asked);
            let oldest = oldest.map(|(text, _)| text.clone());
            if let Some(oldest) = oldest.filter(|_| self.conditions.len() >= CONDITIONS_MAX) {
                // What it was asked, it still answers.
                self.conditions.remove(&oldest);
            }
            self.conditions.insert(signal.into(), (self.orders, sender));
        }
        let (asked, reader) = self.conditions.get_mut(signal).expect("it is there by now");
        *asked = self.orders;
        Ok(reader)
    }
}

/// Starts the thread of a signal.
fn reader(
    signal: Box<dyn HealthSignal>,
    outcomes: &Sender<Input>,
) -> std::io::Result<(Sender<ReadOrder>, JoinHandle<()>)> {
    let (sender, orders) = unbounded();
    let outcomes = outcomes.clone();
    let thread = std::thread::Builder::new().name("health".into());
    let thread = thread.spawn(move || work(signal, &orders, &outcomes))?;
    Ok((sender, thread))
}

fn work(mut signal: Box<dyn HealthSignal>, orders: &Receiver<ReadOrder>, outcomes: &Sender<Input>) {
    while let Ok(first) = orders.recv() {
        // What is asked for while this one is read was asked for after it began, and has one of its own.
        let all: Vec<ReadOrder> = std::iter::once(first).chain(orders.try_iter()).collect();
        let read = catch_unwind(AssertUnwindSafe(|| signal.read()));
        let result = read.unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::Invalid,
                "the reader of this health signal has a defect",
            ))
        });
        if let Err(failure) = &result {
            tracing::warn!(signal = signal.name(), %failure, "health signal not read");
        }
        for order in all {
            answer(outcomes, order, result.clone());
        }
    }
}

fn answer(outcomes: &Sender<Input>, order: ReadOrder, result: Result<HealthReading, Failure>) {
    // Without a loop nobody waits for it.
    drop(outcomes.send(Input::HealthRead {
        incident: order.incident,
        watch: order.watch,
        ticket: order.ticket,
        result,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting {
        begun: Sender<()>,
        go: Receiver<()>,
        panics: bool,
    }

    impl HealthSignal for Counting {
        fn name(&self) -> &str {
            "shop"
        }

        fn read(&mut self) -> Result<HealthReading, Failure> {
            self.begun.send(()).expect("the test listens");
            self.go.recv().expect("the test goes on");
            assert!(!self.panics, "on purpose");
            Ok(HealthReading::new(true, "well"))
        }
    }

    fn named(signal: Counting) -> HealthSignals {
        HealthSignals {
            named: vec![Box::new(signal)],
            of_condition: None,
        }
    }

    /// Says which condition it was made of.
    struct Echo(String);

    impl HealthSignal for Echo {
        fn name(&self) -> &str {
            &self.0
        }

        fn read(&mut self) -> Result<HealthReading, Failure> {
            Ok(HealthReading::new(true, &self.0))
        }
    }

    fn order(ticket: u32) -> ReadOrder {
        ReadOrder {
            incident: IncidentId(1),
            watch: WatchId(2),
            ticket,
        }
    }

    fn ticket_and_result(input: Input) -> (u32, Result<HealthReading, Failure>) {
        match input {
            Input::HealthRead { ticket, result, .. } => (ticket, result),
            other => panic!("no reading: {other:?}"),
        }
    }

    #[test]
    fn who_asks_meanwhile_shares_the_next_reading() {
        let (outcomes, inputs) = unbounded();
        let ((begun, begins), (goes, go)) = (unbounded(), unbounded());
        let signal = Counting {
            begun,
            go,
            panics: false,
        };
        let (mut readers, threads) = HealthReaders::start(named(signal), &outcomes).expect("threads");
        readers.ask("shop", order(1));
        begins.recv().expect("it reads");
        readers.ask("shop", order(2));
        readers.ask("shop", order(3));
        goes.send(()).expect("it waits");
        assert_eq!(ticket_and_result(inputs.recv().expect("an answer")).0, 1);
        begins.recv().expect("it reads once more");
        goes.send(()).expect("it waits");
        let rest = [(); 2].map(|()| ticket_and_result(inputs.recv().expect("an answer")).0);
        assert_eq!(rest, [2, 3]);
        drop(readers);
        threads.into_iter().for_each(|it| it.join().expect("it ends"));
        assert!(begins.try_recv().is_err(), "two readings for three questions");
    }

    #[test]
    fn a_defect_and_an_unknown_name_are_answers() {
        let (outcomes, inputs) = unbounded();
        let ((begun, _begins), (goes, go)) = (unbounded(), unbounded());
        let signal = Counting {
            begun,
            go,
            panics: true,
        };
        let (mut readers, _threads) = HealthReaders::start(named(signal), &outcomes).expect("threads");
        goes.send(()).expect("there is room");
        readers.ask("shop", order(1));
        let (ticket, result) = ticket_and_result(inputs.recv().expect("an answer"));
        assert_eq!(ticket, 1);
        assert_eq!(result.expect_err("it panicked").kind, FailureKind::Invalid);
        readers.ask("other", order(2));
        let (ticket, result) = ticket_and_result(inputs.recv().expect("an answer"));
        assert_eq!(ticket, 2);
        let failure = result.expect_err("there is none").to_string();
        assert_eq!(failure, "there is no health signal other in the configuration");
        readers.ask("errors < 2 %", order(3));
        let (_, result) = ticket_and_result(inputs.recv().expect("an answer"));
        let failure = result.expect_err("there is none").to_string();
        assert_eq!(failure, "there is no Prometheus in the configuration");
    }

    #[test]
    fn each_condition_has_a_reader_and_the_oldest_makes_room() {
        let (outcomes, inputs) = unbounded();
        let signals = HealthSignals {
            named: Vec::new(),
            of_condition: Some(Box::new(|it| Box::new(Echo(it.to_string())))),
        };
        let (mut readers, threads) = HealthReaders::start(signals, &outcomes).expect("threads");
        assert!(threads.is_empty(), "nobody has asked");
        for number in 0..=CONDITIONS_MAX {
            let ticket = u32::try_from(number).expect("few");
            let condition = format!("errors < {number} %");
            readers.ask(&condition, order(ticket));
            let (told, result) = ticket_and_result(inputs.recv().expect("an answer"));
            assert_eq!((told, &*result.expect("it is read").says), (ticket, condition.as_str()));
        }
        assert_eq!(readers.conditions.len(), CONDITIONS_MAX);
        assert!(!readers.conditions.contains_key("errors < 0 %"), "the oldest is gone");
        readers.ask("errors < 0 %", order(99));
        assert_eq!(ticket_and_result(inputs.recv().expect("an answer")).0, 99);
        assert!(!readers.conditions.contains_key("errors < 1 %"), "the next is gone");
    }
}
