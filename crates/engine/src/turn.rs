//! One turn of the engine: an input goes in, records come out, each applied as soon as it is decided.
//!
//! The rest of `decide` is in [`crate::react`] (what an input means), [`crate::advance`] (what is due) and
//! [`crate::recovery`] (what a start means). They change the state through [`Turn::put`] only.

use staunch_model::{
    ActionKind, Change, Dispatch, Effect, IncidentId, Notice, NoticeId, NoticeLevel, Record, Span, Timestamp,
    Transaction, TransactionId,
};

use crate::apply::{ApplyError, apply};
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;

/// A turn under way.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut EngineState,
    pub(crate) now: Timestamp,
    pub(crate) records: Vec<Record>,
    pub(crate) effects: Vec<Effect>,
}

impl Turn<'_> {
    /// Decides that `record` is true.
    ///
    /// # Panics
    /// When the record does not fit the state: the decision that made it is wrong, and nothing may be done on it.
    pub(crate) fn put(&mut self, record: Record) {
        if let Err(error) = self.try_put(record) {
            panic!("the engine decided something that its own table forbids: {error}");
        }
    }

    fn try_put(&mut self, record: Record) -> Result<(), ApplyError> {
        apply(self.state, &record, self.now, &mut self.effects)?;
        self.records.push(record);
        Ok(())
    }

    /// How much this turn has done and has to look after, to be held against the limits of a turn.
    pub(crate) fn size(&self) -> usize {
        self.records.len() + self.state.index.dirty.len()
    }

    pub(crate) fn change(&mut self, transaction: TransactionId, change: Change) {
        self.put(Record::Transaction { transaction, change });
    }

    /// The next effect of `it`, a look at the world.
    pub(crate) fn look(&self, it: &Transaction) -> Dispatch {
        Dispatch {
            ticket: it.ticket.wrapping_add(1),
            deadline: self.now + limits::OBSERVE_DEADLINE,
        }
    }

    /// The next effect of `it`, an act or an undo.
    pub(crate) fn act(&self, it: &Transaction) -> Dispatch {
        Dispatch {
            ticket: it.ticket.wrapping_add(1),
            deadline: if is(Mutant::WaitsForEver) {
                self.now + Span::from_hours(1_000_000)
            } else {
                self.now + self.in_flight_max(it.kind) + limits::ACT_DEADLINE_MARGIN
            },
        }
    }

    /// See [`EngineState::in_flight_max`].
    pub(crate) fn in_flight_max(&self, kind: ActionKind) -> Span {
        self.state.in_flight_max(kind)
    }

    pub(crate) fn notice(
        &mut self,
        level: NoticeLevel,
        incident: Option<IncidentId>,
        transaction: Option<TransactionId>,
        text: &str,
    ) {
        if self.state.notices.len() >= limits::NOTICES_MAX {
            self.drop_notice();
        }
        let id = NoticeId(self.state.last_notice + 1);
        let text = staunch_model::text::clip(text, limits::NOTICE_TEXT_BYTES_MAX).into();
        self.put(Record::NoticeQueued(Notice {
            id,
            level,
            incident,
            transaction,
            text,
        }));
    }

    /// Drops the oldest notice that is no page, or else the oldest page about how an incident stands: an attacker makes
    /// as many of these as it likes, and few are about what is stuck, about the breaker, a sweep or a recovery.
    fn drop_notice(&mut self) {
        let all = || self.state.notices.iter();
        let is_page = |it: &Notice| it.level == NoticeLevel::Page;
        let is_outcome = |it: &Notice| it.incident.is_some() && it.transaction.is_none();
        let victim = all()
            .find(|(_, pending)| !is_page(&pending.notice))
            .or_else(|| all().find(|(_, pending)| is_outcome(&pending.notice)))
            .or_else(|| all().next());
        if let Some(notice) = victim.map(|(id, _)| *id) {
            self.put(Record::NoticeFailed { notice, retry_at: None });
        }
    }
}

/// The first few of `items`, and how many more there are.
pub(crate) fn list(items: &[String]) -> String {
    let shown = items
        .iter()
        .take(limits::NAMED_IN_NOTICE_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match items.len().saturating_sub(limits::NAMED_IN_NOTICE_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
