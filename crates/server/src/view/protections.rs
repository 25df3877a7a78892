//! What is never touched, as the API shows it: all of it, around an address, and page by page.
//!
//! Never says whether an address may be touched: the guards do.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use staunch_engine::lists::Found;
use staunch_engine::{EngineState, networks};
use staunch_model::{Exemption, ExemptionCause, Policy, Printable, Timestamp};

use crate::dto::{ProtectionOrigin, ProtectionView, STATUS_EXEMPTIONS_MAX};

/// The networks of files: all that are around `address`, or the first `most`; and how many others there are.
pub(crate) fn listed(state: &EngineState, address: Option<IpAddr>, most: usize) -> (Vec<ProtectionView>, u64) {
    match address {
        Some(ip) => {
            let around = (0..=IpNet::from(ip).prefix_len()).filter_map(|bits| Some(IpNet::new(ip, bits).ok()?.trunc()));
            (
                around
                    .flat_map(|network| state.lists.at(network))
                    .map(listed_view)
                    .collect(),
                0,
            )
        }
        None => {
            let all: usize = state.lists.iter().map(|(_, list)| list.len()).sum();
            let first: Vec<_> = state.lists.all().take(most).map(listed_view).collect();
            let left_out = (all - first.len()) as u64;
            (first, left_out)
        }
    }
}

/// The first networks of files behind `after`, `most` and those that stand at the last of them; and how many follow.
pub(crate) fn listed_page(state: &EngineState, after: Option<IpNet>, most: usize) -> (Vec<ProtectionView>, u64) {
    let mut first: Vec<Found<'_>> = state
        .lists
        .above(after)
        // One more of each list, to see where the page ends.
        .flat_map(|of_list| of_list.take(most + 1))
        .collect();
    first.sort_by_key(|it| it.network);
    if let Some(last) = first.get(most.saturating_sub(1)).map(|it| it.network) {
        first.retain(|it| it.network <= last);
    }
    let all: usize = state.lists.above(after).map(Iterator::count).sum();
    let left_out = (all - first.len()) as u64;
    (first.into_iter().map(listed_view).collect(), left_out)
}

fn listed_view(found: Found<'_>) -> ProtectionView {
    ProtectionView {
        network: found.network,
        origin: ProtectionOrigin::List,
        reason: Printable(found.reason).to_string(),
        file: Some(found.list.to_owned()),
        line: Some(found.line),
        by: None,
        since: None,
        until: None,
    }
}

/// What is never touched, by network.
pub(crate) fn protections(
    policy: Option<&Policy>,
    listed: Vec<ProtectionView>,
    exemptions: &[Exemption],
) -> Vec<ProtectionView> {
    let standing = |network: IpNet, origin, reason: &str| ProtectionView {
        network: networks::canonical(network),
        origin,
        reason: Printable(reason).to_string(),
        file: None,
        line: None,
        by: None,
        since: None,
        until: None,
    };
    let policy = policy.into_iter().flat_map(|policy| &policy.never_touch);
    let policy = policy.map(|it| standing(it.network, ProtectionOrigin::Policy, &it.reason));
    let always = networks::always().map(|(network, reason)| standing(network, ProtectionOrigin::Always, reason));
    let exempt = exemptions.iter().map(exemption);
    let mut all: Vec<_> = policy.chain(always).chain(listed).chain(exempt).collect();
    all.sort_by_key(|it| (it.network, it.origin));
    all
}

fn exemption(it: &Exemption) -> ProtectionView {
    ProtectionView {
        network: it.network,
        origin: match it.cause {
            ExemptionCause::Protected => ProtectionOrigin::Protected,
            ExemptionCause::Trusted => ProtectionOrigin::Trusted,
        },
        reason: Printable(&it.reason).to_string(),
        file: None,
        line: None,
        by: Some(Printable(&it.by).to_string()),
        since: Some(it.since),
        until: it.until,
    }
}

/// How many networks people keep from being contained at `now`, and the newest of them.
pub(crate) fn exempted(state: &EngineState, now: Timestamp) -> (u64, Vec<ProtectionView>) {
    let mut all: Vec<_> = state.exemptions.holding_at(now).collect();
    let count = all.len() as u64;
    all.sort_by_key(|it| (Reverse(it.since), it.network));
    all.truncate(STATUS_EXEMPTIONS_MAX);
    (count, all.into_iter().map(exemption).collect())
}

/// What people keep from being contained at `now` around `addresses`, each once.
pub(crate) fn exempted_around(
    state: &EngineState,
    addresses: &BTreeSet<IpAddr>,
    now: Timestamp,
) -> Vec<ProtectionView> {
    let mut found: Vec<&Exemption> = Vec::new();
    for it in addresses.iter().filter_map(|ip| state.exemptions.of(*ip, now)) {
        if !found.iter().any(|other| other.network == it.network) {
            found.push(it);
        }
    }
    found.into_iter().map(exemption).collect()
}

/// Leaves of `protections`, which are by network, a page of `limit` and what else stands at the last network of it.
/// Gives back that network when others follow, and how many of lists do: beside these there are `left_out`.
pub(crate) fn page_of(
    protections: &mut Vec<ProtectionView>,
    after: Option<IpNet>,
    limit: usize,
    left_out: u64,
) -> (Option<IpNet>, u64) {
    protections.retain(|it| after.is_none_or(|after| it.network > after));
    let Some(last) = protections.get(limit - 1).or(protections.last()).map(|it| it.network) else {
        return (None, left_out);
    };
    let is_behind = |it: &ProtectionView| it.network > last;
    let listed_behind = protections
        .iter()
        .filter(|it| is_behind(it) && it.file.is_some())
        .count() as u64;
    let all = protections.len();
    protections.retain(|it| !is_behind(it));
    let follow = left_out + listed_behind;
    ((follow > 0 || protections.len() < all).then_some(last), follow)
}
