//! What a test asks of a run, and how it ends.

use staunch_engine::transaction::name;
use staunch_model::{
    Cause, Change, Incident, IncidentId, Judgement, NoticeLevel, Record, RefusalReason, Span, State, StateKind,
    Transaction, TransactionId,
};

use super::Sim;
use crate::build;

impl Sim {
    /// The states of `id` in the order in which it was in them, like `planned > pre-checking > refused`.
    pub(crate) fn path(&self, id: u64) -> String {
        let life = self.lives.get(&TransactionId(id)).map_or(&[][..], Vec::as_slice);
        life.iter()
            .map(|state| state.kind().name())
            .collect::<Vec<_>>()
            .join(" > ")
    }

    /// The state `id` is in, or was in last.
    pub(crate) fn last(&self, id: u64) -> &State {
        self.lives[&TransactionId(id)].last().unwrap()
    }

    pub(crate) fn kind(&self, id: u64) -> Option<StateKind> {
        self.lives
            .get(&TransactionId(id))
            .map(|life| life.last().unwrap().kind())
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.lives.len() as u64
    }

    pub(crate) fn transaction(&self, id: u64) -> &Transaction {
        &self.state().transactions[&TransactionId(id)]
    }

    pub(crate) fn incident(&self, id: u64) -> &Incident {
        &self.state().incidents[&IncidentId(id)]
    }

    /// Why `id` was refused, with the guard's name.
    pub(crate) fn refusal(&self, id: u64) -> String {
        match self.last(id) {
            State::Refused(reason) => match &**reason {
                RefusalReason::Guard { guard, why } => format!("{guard}: {why}"),
                other => format!("{other:?}"),
            },
            other => panic!("TX-{id} is {}\n{}", other.kind(), self.story()),
        }
    }

    /// Why `id` is being lifted or undone, or was.
    pub(crate) fn cause(&self, id: u64) -> Cause {
        match self.last(id) {
            State::Releasing(cause)
            | State::Released(cause)
            | State::RollingBack(cause)
            | State::Settling(cause)
            | State::RolledBack(cause) => (**cause).clone(),
            other => panic!("TX-{id} is {}\n{}", other.kind(), self.story()),
        }
    }

    /// The newest judgement of `id`.
    pub(crate) fn judgement(&self, id: u64) -> Judgement {
        let of = |record: &Record| {
            let Record::Transaction {
                transaction: TransactionId(of),
                change,
            } = record
            else {
                return None;
            };
            match change {
                _ if *of != id => None,
                Change::Refused {
                    judgement: Some(it), ..
                }
                | Change::WouldExecute { judgement: it }
                | Change::ApprovalRequested { judgement: it, .. }
                | Change::ExecuteIntended {
                    judgement: Some(it), ..
                } => Some((**it).clone()),
                _ => None,
            }
        };
        self.records()
            .filter_map(of)
            .last()
            .unwrap_or_else(|| panic!("TX-{id} was not judged\n{}", self.story()))
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.frames.iter().flat_map(|(_, frame)| &frame.records)
    }

    /// How often `id` took a change of this name.
    pub(crate) fn changes(&self, id: u64, change: &str) -> usize {
        self.records()
            .filter(|it| {
                matches!(it, Record::Transaction { transaction, change: it } if transaction.0 == id && name(it) == change)
            })
            .count()
    }

    /// What people were told at this level.
    pub(crate) fn told(&self, level: NoticeLevel) -> Vec<&str> {
        self.told
            .iter()
            .filter(|it| it.level == level)
            .map(|it| &*it.text)
            .collect()
    }

    /// True when an element of `id` is in place.
    pub(crate) fn is_in_place(&self, id: u64) -> bool {
        self.world.holds(TransactionId(id))
    }

    pub(crate) fn is_blocked(&self, ip: &str) -> bool {
        self.world.elements.contains_key(&build::target(ip))
    }

    #[track_caller]
    pub(crate) fn expect_path(&self, id: u64, path: &str) {
        assert_eq!(self.path(id), path, "TX-{id}\n{}", self.story());
    }

    /// Faults stop, time goes on, and a person releases what is stuck: everything must come to a clean end.
    pub(crate) fn ends_clean(&mut self) {
        self.no_more_faults();
        self.run(Span::from_hours(2));
        if !self.state().transactions.is_empty() {
            self.release_all();
        }
        self.run(Span::from_hours(72));
        let state = self.engine.state();
        assert!(
            state.transactions.is_empty(),
            "transactions are left: {:?}\n{}",
            state.transactions,
            self.story()
        );
        assert!(
            state.incidents.is_empty(),
            "incidents are left: {:?}\n{}",
            state.incidents,
            self.story()
        );
        assert!(
            state.notices.is_empty(),
            "notices are left: {:?}\n{}",
            state.notices,
            self.story()
        );
        assert!(state.index.deadlines.is_empty() && state.index.queue.is_empty());
        assert!(state.index.by_target.is_empty() && state.index.next_by_target.is_empty());
        assert!(state.index.by_key.is_empty());
        assert_eq!(
            self.world.owned().count(),
            0,
            "something of ours is left\n{}",
            self.story()
        );
        for (id, life) in &self.lives {
            assert!(
                life.last().unwrap().kind().is_terminal(),
                "{id} has not ended\n{}",
                self.story()
            );
        }
    }

    /// Everything that happened, for the message of a failed test.
    pub(crate) fn story(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (now, frame) in self.frames.iter().rev().take(60).rev() {
            let input = format!("{:?}", frame.input);
            let _ = writeln!(text, "{now} {}", staunch_model::text::clip(&input, 240));
            for record in &frame.records {
                let record = format!("{record:?}");
                let _ = writeln!(text, "    {}", staunch_model::text::clip(&record, 240));
            }
        }
        text
    }
}
