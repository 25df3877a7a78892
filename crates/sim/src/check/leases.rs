//! How long something may be held: that a lease ends no later than was planned or asked for, and how leases grow for
//! who comes back.
//!
//! Never says why one is lifted: see `changes.rs`.

use staunch_model::{IncidentId, Span, StateKind, Target, Timestamp, TransactionId};

use super::{Ends, Found, Invariant, Model, fail};

/// How long the enforcement point keeps an act beyond its lease.
const HOLD_MARGIN: Span = Span::from_secs(60);

/// Fails when the lease of `id`, which ends at `until`, ends after `latest`.
pub(super) fn ends_in_time(id: TransactionId, until: Timestamp, latest: Timestamp) -> Found {
    if until > latest {
        return fail(
            Invariant::LeasesEnd,
            format!("the lease of {id} ends at {until}, and has to by {latest}"),
        );
    }
    Ok(())
}

/// Fails when the enforcement point keeps the act of `id` for `hold` by itself, and not for `lease` and the margin.
pub(super) fn held_for(id: TransactionId, hold: Span, lease: Span) -> Found {
    if hold != lease + HOLD_MARGIN {
        return fail(
            Invariant::LeasesEnd,
            format!("the act of {id} is kept for {hold}, and its lease is {lease}"),
        );
    }
    Ok(())
}

impl Model {
    /// Nothing is in force whose lease is over.
    pub(super) fn no_lease_is_over(&mut self, now: Timestamp) -> Found {
        if self.first_lease_end.is_none_or(|end| now < end) {
            return Ok(());
        }
        let in_force = self.transactions.iter().filter(|(_, it)| it.kind == StateKind::InForce);
        let ends = in_force.filter_map(|(id, it)| Some((it.lease_until?, *id)));
        let first = ends.min();
        self.first_lease_end = first.map(|(end, _)| end);
        match first {
            Some((end, id)) if end <= now => fail(
                Invariant::LeasesEnd,
                format!("the lease of {id} ended at {end}, and it is still in force"),
            ),
            _ => Ok(()),
        }
    }

    /// Takes note of when a lease ends.
    pub(super) fn lease_ends(&mut self, until: Timestamp) {
        self.first_lease_end = Some(self.first_lease_end.map_or(until, |first| first.min(until)));
    }

    /// How many leases the target of a step has served in a row; its `lease` is the one that follows.
    pub(super) fn grown(
        &self,
        incident: IncidentId,
        step: u16,
        target: &Target,
        lease: Span,
        now: Timestamp,
    ) -> Result<u32, (Invariant, String)> {
        let playbook = self
            .incidents
            .get(&incident)
            .and_then(|it| self.playbooks.get(&it.playbook));
        let Some((playbook, first)) = playbook.and_then(|it| Some((it, it.steps.get(usize::from(step))?.lease))) else {
            return Ok(0);
        };
        let grows = playbook.returns_within(step).is_some();
        let served = self
            .served
            .get(&(playbook.name.clone(), target.clone()))
            .filter(|(_, until)| now < *until);
        let served = served.filter(|_| grows).map_or(0, |(times, _)| *times);
        let mut leases = vec![first];
        leases.extend(playbook.leases_then(step));
        let expected = leases[(served as usize).min(leases.len() - 1)];
        if lease != expected {
            let what = format!("{target} of {incident} has served {served} and is held for {lease}, not {expected}");
            return Err((Invariant::LeasesGrow, what));
        }
        Ok(served)
    }

    /// Counts a lease that has been served.
    pub(super) fn count(&mut self, id: TransactionId, now: Timestamp) {
        let Some(it) = self.transactions.get(&id) else { return };
        let playbook = self
            .incidents
            .get(&it.incident)
            .and_then(|case| self.playbooks.get(&case.playbook));
        let Some((playbook, within)) = playbook.and_then(|of| Some((of, of.returns_within(it.step)?))) else {
            return;
        };
        let place = (playbook.name.clone(), it.target.clone());
        match it.ends {
            // One that was still ending when this one was planned has been counted since.
            Some(Ends::ByItself) => {
                let since = self.served.get(&place).filter(|(_, until)| now < *until);
                let before = since.map_or(0, |(times, _)| *times).max(it.served);
                self.served.insert(place, (before + 1, now + within));
            }
            Some(Ends::ByPerson) => {
                self.served.remove(&place);
            }
            None => {}
        }
    }
}
