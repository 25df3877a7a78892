//! What the look before an act must have shown: what is in place there, the room that is left, and the traffic that
//! would stop.
//!
//! Never asks the world: what counts is what the engine was told.

use staunch_model::{
    Facts, Failure, Frame, Input, Observation, Owner, Playbook, Presence, TrafficShare, TransactionId, WhenUnknown,
};

use super::{Found, Invariant, Model, Tx, fail};

impl Model {
    /// An act follows a look, and goes only where that found it possible and harmless.
    pub(super) fn looked(&self, frame: &Frame, id: TransactionId, it: &Tx) -> Found {
        let Some((Ok(seen), facts)) = answer(frame, id, it) else {
            return fail(Invariant::TargetFree, format!("{id} acts without a look"));
        };
        is_free(id, seen)?;
        if let Some(room) = seen.capacity
            && room.used >= room.max
        {
            let what = format!("{id} acts where {} of {} are in place", room.used, room.max);
            return fail(Invariant::Capacity, what);
        }
        // When it is sent once more, nobody is asked again how much it would stop.
        match self.playbook_of(it.incident) {
            Some(playbook) if it.sends == 0 && it.target.address().is_some() => {
                stops_little(id, playbook, facts, it.approved)
            }
            _ => Ok(()),
        }
    }
}

/// The answer to the newest look at `id`, when `frame` is it.
pub(super) fn answer<'a>(
    frame: &'a Frame,
    id: TransactionId,
    it: &Tx,
) -> Option<(&'a Result<Observation, Failure>, &'a Facts)> {
    match &frame.input {
        Input::Observed {
            transaction,
            ticket,
            result,
            facts,
        } if *transaction == id && *ticket == it.ticket => Some((result, facts)),
        _ => None,
    }
}

/// Nothing is in place there but what is its own.
fn is_free(id: TransactionId, seen: &Observation) -> Found {
    match &seen.presence {
        Presence::Absent => Ok(()),
        Presence::Present {
            owner: Owner::Ours(label),
            ..
        } if *label == id => Ok(()),
        Presence::Present { owner, .. } => fail(
            Invariant::TargetFree,
            format!("{id} acts where something of {owner:?} is in place"),
        ),
    }
}

/// Not more of the traffic than its playbook allows would stop; or that is unknown, and its playbook lets that pass, or
/// a person who was asked does.
fn stops_little(id: TransactionId, playbook: &Playbook, facts: &Facts, approved: bool) -> Found {
    let Some(most) = playbook.guards.traffic_share_max_bp else {
        return Ok(());
    };
    match share_told(playbook, facts) {
        Some(share) if is_more(share, most) => fail(
            Invariant::Impact,
            format!("{id} acts although that stops {share:?}, and {most} basis points are allowed"),
        ),
        Some(_) => Ok(()),
        None if may_be_unknown(playbook, approved) => Ok(()),
        None => fail(
            Invariant::Impact,
            format!("{id} acts although nobody knows what that stops"),
        ),
    }
}

/// The share of the traffic, when that is known and says something.
pub(super) fn share_told<'a>(playbook: &Playbook, facts: &'a Facts) -> Option<&'a TrafficShare> {
    let told = facts.traffic.as_ref()?.value.as_ref().ok();
    told.filter(|share| share.flows == 0 || share.flows_total >= u64::from(playbook.flows_min()))
}

/// Whether the flows or the bytes are more than so many whole basis points of all.
pub(super) fn is_more(share: &TrafficShare, most: u64) -> bool {
    let is_more = |part: u64, whole: u64| {
        let share = (u128::from(part) * 10_000).checked_div(whole.into());
        share.is_some_and(|share| share > most.into())
    };
    let bytes = share.bytes.zip(share.bytes_total);
    is_more(share.flows, share.flows_total) || bytes.is_some_and(|(part, whole)| is_more(part, whole))
}

/// Whether an act of `playbook` goes on without something that is not known.
pub(super) fn may_be_unknown(playbook: &Playbook, approved: bool) -> bool {
    match playbook.guards.when_unknown {
        WhenUnknown::Pass => true,
        WhenUnknown::Ask => approved,
        WhenUnknown::Refuse => false,
    }
}
