//! Limits that were crossed: each by its number, of the playbook or of the configuration.

use staunch_model::{Change, GuardName, GuardResult, Playbook, Span, TransactionId};
use staunch_playbook::edit::Step;

use super::{Facts, Reason, Wish, rounded};

impl Facts<'_> {
    /// Refusals by `guard`, with their numbers, the largest last.
    fn refusals(&self, guard: GuardName) -> Vec<(u64, TransactionId, &GuardResult)> {
        let mut all: Vec<_> = self
            .changes
            .iter()
            .filter_map(|(frame, _, id, change)| match change {
                Change::Refused {
                    judgement: Some(judgement),
                    ..
                } => judgement.refusal().map(|result| (*frame, *id, result)),
                _ => None,
            })
            .filter(|(_, _, result)| result.guard == guard && result.measured.is_some())
            .collect();
        all.sort_by_key(|(_, _, result)| result.measured);
        all
    }

    /// Limits of the playbook that were crossed.
    pub(super) fn guards(&self, playbook: &Playbook) -> Vec<Reason> {
        let mut all = Vec::new();
        let reason =
            |slug, title, refusals: &[(u64, TransactionId, &GuardResult)], keys: &[&'static str], value| Reason {
                slug,
                title,
                because: said(refusals),
                wish: Wish::Playbook([&["guards"], keys].concat().into_iter().map(Step::Key).collect(), value),
                unjudged: None,
                guessed: None,
            };
        let impact = self.refusals(GuardName::Impact);
        if let Some(limit) = playbook.guards.traffic_share_max_bp
            && let Some(share) = most(&impact).filter(|share| *share > limit && *share <= 10_000)
        {
            let (was, wanted) = (percentage(limit), percentage(share));
            let title = format!("Let an act stop {wanted} of the traffic instead of {was}");
            all.push(reason(
                "traffic-share-max",
                title,
                &impact,
                &["impact", "traffic_share_max"],
                wanted,
            ));
        }
        let stale = self.refusals(GuardName::Freshness);
        let limit = playbook.guards.event_age_max;
        // An event from the future has crossed another limit, which nobody can set.
        let aged = stale.iter().filter(|(_, _, it)| it.limit == Some(limit.as_micros()));
        let old: Vec<_> = aged
            .filter(|(_, _, it)| !it.why.contains("in the future"))
            .copied()
            .collect();
        let wanted = most(&old).map(|age| rounded(Span::from_micros(age)));
        if let Some(wanted) = wanted.filter(|it| *it > limit && *it <= staunch_playbook::limits::EVENT_AGE_MAX) {
            let title = format!("Act on events of up to {wanted} of age instead of {limit}");
            all.push(reason("event-age-max", title, &old, &["event_age_max"], wanted.exact()));
        }
        let spent = self.refusals(GuardName::BudgetPlaybook);
        let limit = playbook.guards.acts_per_hour_max;
        let wanted = raised(limit, &spent);
        if let Some(wanted) = wanted.filter(|it| *it <= staunch_playbook::limits::ACTS_PER_HOUR_MAX) {
            let title = format!("Let the playbook act {wanted} times an hour instead of {limit}");
            all.push(reason(
                "acts-per-hour-max",
                title,
                &spent,
                &["acts_per_hour_max"],
                wanted.to_string(),
            ));
        }
        all
    }

    /// Budgets of the configuration that were spent.
    pub(super) fn budgets(&self) -> Vec<Reason> {
        let Some(limits) = self.limits() else { return Vec::new() };
        let kinds = [
            (
                GuardName::BudgetAction,
                "acts_per_action_hour_max",
                limits.acts_per_action_hour_max,
                "of one kind",
            ),
            (
                GuardName::BudgetGroup,
                "acts_per_group_hour_max",
                limits.acts_per_group_hour_max,
                "in one neighbourhood",
            ),
            (
                GuardName::BudgetTotal,
                "acts_per_hour_max",
                limits.acts_per_hour_max,
                "in all",
            ),
        ];
        let mut all = Vec::new();
        for (guard, key, limit, what) in kinds {
            let refusals = self.refusals(guard);
            let Some(wanted) = raised(limit, &refusals) else {
                continue;
            };
            let mut values = vec![(key, wanted.to_string())];
            // The limits lie in one another: what is within a wider one takes that along.
            if guard == GuardName::BudgetGroup && wanted > limits.acts_per_action_hour_max {
                values.push(("acts_per_action_hour_max", wanted.to_string()));
            }
            if guard != GuardName::BudgetTotal && wanted > limits.acts_per_hour_max {
                values.push(("acts_per_hour_max", wanted.to_string()));
            }
            all.push(Reason {
                slug: "budget",
                title: format!("Allow {wanted} acts {what} in an hour instead of {limit}"),
                because: said(&refusals),
                wish: Wish::Settings(vec!["limits".into()], values),
                unjudged: None,
                guessed: None,
            });
        }
        all
    }
}

/// The largest number.
fn most(refusals: &[(u64, TransactionId, &GuardResult)]) -> Option<u64> {
    refusals.last().and_then(|(_, _, result)| result.measured)
}

/// A limit with which none of `refusals` would have been one.
fn raised(limit: u32, refusals: &[(u64, TransactionId, &GuardResult)]) -> Option<u32> {
    let more = u32::try_from(refusals.len()).ok()?;
    (more > 0).then(|| limit.saturating_add(more))
}

fn said(refusals: &[(u64, TransactionId, &GuardResult)]) -> Vec<(u64, String)> {
    refusals
        .iter()
        .map(|(frame, id, result)| (*frame, format!("{id} was refused by {}: {}", result.guard, result.why)))
        .collect()
}

/// Basis points as playbooks have them: `7.43%`.
fn percentage(basis_points: u64) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    match rest {
        0 => format!("{whole}%"),
        rest if rest % 10 == 0 => format!("{whole}.{}%", rest / 10),
        rest => format!("{whole}.{rest:02}%"),
    }
}
