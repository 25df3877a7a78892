//! Time: it goes from message to deadline, whichever is next.

use staunch_model::{Input, Span, StateKind, Timestamp};

use super::Sim;

impl Sim {
    pub(crate) fn run(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            self.come_to(at);
        }
        self.now = self.now.max(end);
        self.world.at(self.now);
    }

    /// Runs until it `holds`, and for `limit` at the most.
    pub(crate) fn run_until(&mut self, what: &str, limit: Span, holds: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            let at = self.next_time().filter(|at| *at <= end);
            let at = at.unwrap_or_else(|| panic!("not within {limit}: {what}\n{}", self.story()));
            self.come_to(at);
        }
    }

    pub(crate) fn run_until_kind(&mut self, id: u64, kind: StateKind) {
        let limit = Span::from_hours(2);
        self.run_until(&format!("TX-{id} {kind}"), limit, |sim| sim.kind(id) == Some(kind));
    }

    /// Delivers a message that is there by `at`, or else tells the engine that it is `at`.
    fn come_to(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        if self
            .messages
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= self.now)
        {
            self.deliver();
        } else {
            self.input(Input::Tick);
        }
    }

    fn next_time(&self) -> Option<Timestamp> {
        let message = self.messages.first_key_value().map(|((at, _), _)| *at);
        let due = self.state().next_deadline().map(|at| at + self.clock_behind);
        message.into_iter().chain(due).min()
    }
}
