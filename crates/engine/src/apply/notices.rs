//! Notices until somebody has taken them. Never says to whom they go, nor when one is sent again: the record does.

use staunch_model::{Effect, Notice, NoticeId, Timestamp};

use super::ids::{free, number};
use super::misfits::tells_of_unfit;
use super::{ApplyError, Next};
use crate::limits;
use crate::state::{EngineState, PendingNotice, Unfit};

/// A notice is to be sent.
pub(super) fn queued(
    state: &mut EngineState,
    notice: &Notice,
    now: Timestamp,
    next: &mut Next<'_>,
) -> Result<(), ApplyError> {
    free(&notice.id, !state.notices.contains_key(&notice.id))?;
    number(&notice.id, notice.id.0, &mut state.last_notice)?;
    if tells_of_unfit(notice) {
        state.unfit = Unfit::default();
    }
    next.add(|| Some(Effect::Notify(notice.clone())));
    let answer_by = now + limits::NOTICE_DEADLINE;
    let pending = PendingNotice {
        notice: notice.clone(),
        attempts: 1,
        retry_at: None,
        answer_by,
    };
    state.index.enter_notice(&pending);
    state.notices.insert(notice.id, pending);
    Ok(())
}

/// A notice was taken, or nobody will take it.
pub(super) fn done(state: &mut EngineState, id: NoticeId) {
    if let Some(pending) = state.notices.remove(&id) {
        state.index.leave_notice(&pending);
    }
}

/// A notice was not taken; it is sent again at a time.
pub(super) fn postponed(state: &mut EngineState, id: NoticeId, at: Timestamp) {
    if let Some(pending) = state.notices.get_mut(&id) {
        state.index.leave_notice(pending);
        pending.retry_at = Some(at);
        state.index.enter_notice(pending);
    }
}

/// A notice is sent again.
pub(super) fn resent(state: &mut EngineState, id: NoticeId, now: Timestamp, next: &mut Next<'_>) {
    if let Some(pending) = state.notices.get_mut(&id) {
        state.index.leave_notice(pending);
        pending.retry_at = None;
        pending.answer_by = now + limits::NOTICE_DEADLINE;
        pending.attempts = pending.attempts.saturating_add(1);
        state.index.enter_notice(pending);
        next.add(|| Some(Effect::Notify(pending.notice.clone())));
    }
}
