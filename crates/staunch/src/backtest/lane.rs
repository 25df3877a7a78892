//! One set of playbooks on its way through the past: an engine of its own, with a world and a clock of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use staunch_engine::Engine;
use staunch_engine::triage::{Triage, Triaged};
use staunch_model::{
    Change, Command, ContextTable, Event, EventContext, EventView, Found, Input, InstallationId, ListChange, Match,
    Operator, Policy, Process, Program, Record, StateKind, SweepFindings, Target, TargetFacts, Timestamp, Transaction,
    TransactionId,
};

use super::book::Book;
use super::tally::Tally;
use super::world::World;

/// Who approves in a backtest.
const PERSON: &str = "the backtest";

/// What becomes of questions to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approvals {
    /// Somebody says yes at once.
    Grant,
    /// Nobody answers.
    Lapse,
}

/// A set of playbooks, and what became of it.
pub(crate) struct Lane {
    /// The processes that numbers meant last, by the record.
    named: BTreeMap<u32, Process>,
    /// `None` for the playbooks of a record, whose triggers are not in it: their matches are.
    triage: Option<Triage>,
    engine: Engine,
    world: World,
    approvals: Approvals,
    is_started: bool,
    /// What is protected from the beginning on by lists.
    lists: Vec<Arc<ListChange>>,
    /// The table of the context guard from the beginning on.
    table: Option<Arc<ContextTable>>,
    now: Timestamp,
    pub(crate) tally: Tally,
}

impl Lane {
    /// A lane for `programs`, or for recorded matches when there are none.
    pub(crate) fn new(programs: Option<Vec<Program>>, capacity: u64, approvals: Approvals) -> Self {
        Self {
            named: BTreeMap::new(),
            triage: programs.map(Triage::new),
            engine: Engine::new(),
            world: World::new(capacity),
            approvals,
            is_started: false,
            lists: Vec::new(),
            table: None,
            now: Timestamp::EPOCH,
            tally: Tally::default(),
        }
    }

    /// Protects what `lists` change from the beginning on, and has the context guard judge by `table`.
    pub(crate) fn begin_with(&mut self, lists: &[Arc<ListChange>], table: &Arc<ContextTable>) {
        self.lists.extend_from_slice(lists);
        self.table = (!table.rows.is_empty()).then(|| table.clone());
    }

    /// What `view` matches; nothing for a lane of recorded matches.
    pub(crate) fn sort(&mut self, view: &EventView<'_>) -> Vec<Match> {
        match self.triage.as_ref().map(|triage| triage.sort(view)) {
            Some(Triaged::Matched(found)) => {
                self.tally.without_key += found.without_key as u64;
                self.tally.beyond_limit += found.beyond_limit as u64;
                found.matches
            }
            Some(Triaged::Unmatched | Triaged::NotAnAlert(_)) | None => Vec::new(),
        }
    }

    /// Whether its matches come from a record.
    pub(crate) fn is_recorded(&self) -> bool {
        self.triage.is_none()
    }

    /// Makes `policy` hold from `now` on, with the playbooks of this lane unless they come from the record too.
    pub(crate) fn pin(&mut self, mut policy: Policy, book: Option<&Book>, now: Timestamp) {
        if let Some(triage) = &self.triage {
            policy.playbooks = triage.programs().iter().map(|it| it.playbook.clone()).collect();
        }
        self.tally.know(&policy);
        self.advance(book, now);
        self.turn(Input::Policy(Arc::new(policy)), book);
        for change in std::mem::take(&mut self.lists) {
            self.turn(Input::Listed(change), book);
        }
        if let Some(table) = self.table.take() {
            self.turn(Input::ContextTable(table), book);
        }
        if !self.is_started {
            self.is_started = true;
            let started = Input::Started {
                installation: InstallationId::default(),
                build: PERSON.into(),
            };
            self.turn(started, book);
        }
    }

    /// Takes what was known.
    pub(crate) fn know(&mut self, input: &Input, book: Option<&Book>, now: Timestamp) {
        if let Input::Found(found) = input
            && let Target::Process(process) = found.target
        {
            self.named.insert(process.pid, process);
        }
        self.advance(book, now);
        self.turn(input.clone(), book);
    }

    /// Takes a change to a list of protected networks.
    pub(crate) fn list(&mut self, change: &Arc<ListChange>, book: Option<&Book>, now: Timestamp) {
        self.advance(book, now);
        self.turn(Input::Listed(change.clone()), book);
    }

    /// Takes an event that matched.
    pub(crate) fn take(
        &mut self,
        event: &Arc<Event>,
        mut matches: Vec<Match>,
        context: Option<&Arc<EventContext>>,
        book: Option<&Book>,
        now: Timestamp,
    ) {
        self.advance(book, now);
        if !self.is_recorded() {
            self.identify(&mut matches, book);
        }
        self.tally.matched(&matches);
        self.turn(Input::of_event(event.clone(), matches, context.cloned()), book);
    }

    /// Puts the processes into `matches` that their numbers meant when the record was written. A target of which
    /// nothing was written is taken to be there and not protected.
    fn identify(&mut self, matches: &mut [Match], book: Option<&Book>) {
        let steps = matches.iter_mut().flat_map(|it| &mut it.steps);
        for target in steps.filter_map(|step| step.target.as_mut()) {
            if let Target::Process(process) = target {
                let named = self.named.get(&process.pid).copied();
                *process = named.unwrap_or_else(|| staunch_playbook::test_file::process(process.pid));
            }
            if target.address().is_some() || self.engine.state().found.get(target).is_some() {
                continue;
            }
            let found = Found {
                target: target.clone(),
                facts: Ok(TargetFacts {
                    what: staunch_playbook::test_file::USUAL.into(),
                    protected: None,
                }),
            };
            self.turn(Input::Found(found), book);
        }
    }

    /// Takes what somebody else removed out of the world, as far as it is in force here.
    pub(crate) fn vanish(&mut self, gone: &[(Target, Box<str>)], book: Option<&Book>, now: Timestamp) {
        self.advance(book, now);
        let mut findings = SweepFindings::default();
        for (target, found) in gone {
            let in_force = |it: &&Transaction| it.target == *target && it.state.kind() == StateKind::InForce;
            let state = self.engine.state();
            let kinds = target.aim().kinds();
            let holders: Vec<_> = kinds.filter_map(|kind| state.holder_of(kind, target)).collect();
            for id in holders {
                let it = self.engine.state().transactions.get(&id);
                if let Some(it) = it.filter(in_force) {
                    self.world.remove((it.kind, target.clone()), it.label());
                    findings.vanished.push((id, found.clone()));
                }
            }
        }
        if !findings.vanished.is_empty() {
            self.turn(Input::Swept(findings), book);
        }
    }

    /// Lets time pass until `now`; what falls due on the way happens when it is due. Time never goes back.
    fn advance(&mut self, book: Option<&Book>, now: Timestamp) {
        while let Some(due) = self.engine.state().next_deadline().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            self.turn(Input::Tick, book);
        }
        self.now = self.now.max(now);
    }

    /// One turn, and those that follow from its effects.
    fn turn(&mut self, first: Input, book: Option<&Book>) {
        let mut inputs = VecDeque::from([first]);
        while let Some(input) = inputs.pop_front() {
            let step = self.engine.step(&input, self.now);
            for record in &step.records {
                self.tally.note(record, self.engine.state(), step.now);
                if let Record::Transaction {
                    transaction,
                    change: Change::ApprovalRequested { .. },
                } = record
                    && let Some(command) = self.asked(*transaction, book)
                {
                    let by = Operator {
                        name: PERSON.into(),
                        from: "".into(),
                        reason: "".into(),
                    };
                    inputs.push_back(Input::Operator { by, command });
                }
            }
            let answers = step
                .effects
                .iter()
                .map(|effect| self.world.answer(effect, book, step.now));
            inputs.extend(answers);
        }
    }

    /// What a person who is asked about `id` says: what was said then, else what the backtest assumes.
    fn asked(&self, id: TransactionId, book: Option<&Book>) -> Option<Command> {
        let target = self.engine.state().transactions.get(&id)?.target.clone();
        match (book.and_then(|book| book.said(&target, self.now)), self.approvals) {
            (Some(true), _) | (None, Approvals::Grant) => Some(Command::Approve(id)),
            (Some(false), _) => Some(Command::Deny(id)),
            (None, Approvals::Lapse) => None,
        }
    }
}
