//! Reads health signals, each in a thread of its own, so that one that is slow keeps no other waiting.
//!
//! Never judges what a reading means. Those who ask at the same time share a reading.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use staunch_model::{Failure, FailureKind, HealthReading, IncidentId, Input, WatchId};
use staunch_ports::HealthSignal;

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
    outcomes: Sender<Input>,
}

impl HealthReaders {
    /// Starts a thread for each of `signals`.
    pub(crate) fn start(
        signals: Vec<Box<dyn HealthSignal>>,
        outcomes: &Sender<Input>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut readers = Self {
            signals: BTreeMap::new(),
            outcomes: outcomes.clone(),
        };
        let mut threads = Vec::new();
        for signal in signals {
            let (sender, orders) = unbounded();
            readers.signals.insert(signal.name().into(), sender);
            let outcomes = outcomes.clone();
            let thread = std::thread::Builder::new().name("health".into());
            threads.push(thread.spawn(move || work(signal, &orders, &outcomes))?);
        }
        Ok((readers, threads))
    }

    /// Asks for a reading. Never waits.
    pub(crate) fn ask(&self, signal: &str, order: ReadOrder) {
        let asked = self.signals.get(signal).is_some_and(|it| it.send(order).is_ok());
        if !asked {
            let what = format!("there is no health signal {signal} in the configuration");
            answer(&self.outcomes, order, Err(Failure::new(FailureKind::Invalid, &what)));
        }
    }
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
        let (readers, threads) = HealthReaders::start(vec![Box::new(signal)], &outcomes).expect("threads");
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
        let (readers, _threads) = HealthReaders::start(vec![Box::new(signal)], &outcomes).expect("threads");
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
    }
}
