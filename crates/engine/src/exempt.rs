//! Exemptions: networks that people take out of containment while the server runs.
//!
//! They add to the policy's protected networks and never take anything away from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::{
    Exemption, ExemptionCause, NoticeLevel, Operator, Policy, Printable, Record, ReleaseScope, Span, StateKind, Target,
    Timestamp, Transaction, TransactionId,
};

use crate::NO_SUCH;
use crate::found;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::networks;
use crate::state::EngineState;
use crate::turn::Turn;

/// The exemptions that were given and not taken back, by network; those that have ended are dropped when their
/// room is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemptions(BTreeMap<IpNet, Exemption>);

impl Exemptions {
    /// The narrowest one that holds for `ip` at `now`.
    #[must_use]
    pub fn of(&self, ip: IpAddr, now: Timestamp) -> Option<&Exemption> {
        if self.0.is_empty() {
            return None;
        }
        let bits = IpNet::from(ip).prefix_len();
        (0..=bits)
            .rev()
            .filter_map(|bits| self.0.get(&IpNet::new(ip, bits).ok()?.trunc()))
            .find(|it| it.holds_at(now) || is(Mutant::ProtectedTooLong))
    }

    /// The one of exactly this network, if it holds at `now`.
    #[must_use]
    pub fn get(&self, network: IpNet, now: Timestamp) -> Option<&Exemption> {
        self.0.get(&network.trunc()).filter(|it| it.holds_at(now))
    }

    /// Those that hold at `now`, by network.
    pub fn holding_at(&self, now: Timestamp) -> impl Iterator<Item = &Exemption> {
        self.0.values().filter(move |it| it.holds_at(now))
    }

    pub(crate) fn insert(&mut self, exemption: Exemption, now: Timestamp) {
        if self.0.len() >= limits::EXEMPTIONS_MAX {
            self.0.retain(|_, it| it.holds_at(now));
        }
        self.0.insert(exemption.network, exemption);
    }

    pub(crate) fn remove(&mut self, network: IpNet) {
        self.0.remove(&network);
    }
}

/// The protected network around `ip` at `now`, and why it is protected: what the policy says, or else a list, or else a
/// person. Safe to show.
#[must_use]
pub fn protection(state: &EngineState, ip: IpAddr, now: Timestamp) -> Option<(IpNet, String)> {
    if let Some((network, reason)) = state.index.never_touch.longest_match(ip) {
        return Some((network, Printable(reason).to_string()));
    }
    if let Some(network) = state.index.listed.longest_match(ip)
        && let Some(found) = state.lists.find(network)
    {
        return Some((network, found.why()));
    }
    let it = state.exemptions.of(ip, now)?;
    Some((it.network, why(it)))
}

/// Why `exemption` is one: by whom, until when, and the reason given. Safe to show.
#[must_use]
pub fn why(exemption: &Exemption) -> String {
    let by = Printable(&exemption.by);
    let mut text = match exemption.cause {
        ExemptionCause::Protected => format!("{by} protected it"),
        ExemptionCause::Trusted => format!("{by} released it and trusts it"),
    };
    if let Some(until) = exemption.until {
        text.push_str(&format!(" until {until}"));
    }
    if !exemption.reason.is_empty() {
        text.push_str(&format!(": {}", Printable(&exemption.reason)));
    }
    text
}

impl Turn<'_> {
    /// Why `target` is never touched; `None` when it may be.
    pub(crate) fn protection(&self, target: &Target) -> Option<String> {
        match target {
            Target::Address(ip) => {
                let (network, reason) = protection(self.state, *ip, self.now)?;
                Some(format!("{ip} is in {network}, which is never touched: {reason}"))
            }
            other => found::refusal(self.state, other),
        }
    }

    /// The policy is pinned.
    pub(crate) fn on_policy(&mut self, policy: &Arc<Policy>) {
        self.put_protecting(Record::PolicyPinned(policy.clone()));
    }

    /// Takes down a record that may protect more, and tells people of what is contained and was not protected before.
    pub(crate) fn put_protecting(&mut self, record: Record) {
        let before = self.acting(|ip| protection(self.state, ip, self.now).is_none());
        self.put(record);
        let is_protected = |ip| protection(self.state, ip, self.now).is_some();
        let newly = before
            .into_iter()
            .filter(|(_, target)| target.address().is_some_and(is_protected));
        let newly: Vec<_> = newly.collect();
        self.tell_newly_protected(&newly);
    }

    pub(crate) fn protect(
        &mut self,
        network: IpNet,
        lasts: Option<Span>,
        by: &Operator,
    ) -> Result<Vec<TransactionId>, String> {
        let network = networks::canonical(network);
        if let Some(lasts) = lasts {
            within(lasts, limits::EXEMPTION_MAX, "a protection")?;
        }
        self.check_room(&[network])?;
        let before = self.acting(|ip| network.contains(&ip) && protection(self.state, ip, self.now).is_none());
        self.exempt(network, ExemptionCause::Protected, lasts.map(|it| self.now + it), by);
        self.tell_newly_protected(&before);
        Ok(Vec::new())
    }

    pub(crate) fn unprotect(&mut self, network: IpNet) -> Result<Vec<TransactionId>, String> {
        let network = networks::canonical(network);
        if self.state.exemptions.get(network, self.now).is_none() && !is(Mutant::UnprotectsNothing) {
            let policy = self.state.policy.iter().flat_map(|policy| &policy.never_touch);
            let mut standing = policy
                .map(|it| it.network.trunc())
                .chain(networks::always().map(|it| it.0));
            let configured = standing.any(|it| it == network);
            if let Some(found) = self.state.lists.find(network) {
                let (list, line) = (Printable(found.list), found.line);
                return Err(format!(
                    "{network} is protected by line {line} of {list}, not by a command"
                ));
            }
            return Err(if configured {
                format!("{network} is protected by the configuration or as a part of this machine, not by a command")
            } else {
                format!("{NO_SUCH}protection of exactly {network}")
            });
        }
        self.put(Record::ExemptionEnded { network });
        Ok(Vec::new())
    }

    pub(crate) fn release_trusting(
        &mut self,
        scope: ReleaseScope,
        trust: Span,
        by: &Operator,
    ) -> Result<Vec<TransactionId>, String> {
        within(trust, limits::TRUST_MAX, "trust")?;
        let named: Vec<TransactionId> = match scope {
            ReleaseScope::Transaction(id) => vec![id],
            ReleaseScope::Incident(id) => {
                let incident = self.state.incidents.get(&id);
                incident.map_or_else(Vec::new, |it| it.transactions.iter().copied().collect())
            }
            ReleaseScope::All | ReleaseScope::Former => {
                return Err("trust is given to what one transaction or one incident holds, not to everything".into());
            }
        };
        let targets = named.iter().filter_map(|id| self.state.transactions.get(id));
        // What has ended, what it has let go and what nothing undoes keeps no trust from the rest; what others hold
        // as well does.
        let targets = targets.filter(|it| match scope {
            ReleaseScope::Incident(id) => it.is_held_by(id) && self.state.can_be_released(it),
            _ => true,
        });
        let networks: Option<Vec<IpNet>> = targets.map(|it| network_of(&it.target)).collect();
        let networks = networks.ok_or("trust is given to addresses: release without trust what is none")?;
        // Before anything is let go: a command does all of what it says, or nothing.
        self.check_room(&networks)
            .map_err(|why| format!("{why}; to release without trust is possible"))?;
        let released = match scope {
            ReleaseScope::Transaction(id) => self.release_one(id, by)?,
            ReleaseScope::Incident(id) => self.release_incident(id, by)?,
            ReleaseScope::All | ReleaseScope::Former => Vec::new(),
        };
        let until = self.now + trust;
        for id in &released {
            let Some(network) = self.state.transactions.get(id).and_then(|it| network_of(&it.target)) else {
                continue;
            };
            let longer = |it: &Exemption| it.until.is_none_or(|end| end >= until);
            if !self.state.exemptions.get(network, self.now).is_some_and(longer) && !is(Mutant::TrustForgotten) {
                self.exempt(network, ExemptionCause::Trusted, Some(until), by);
            }
        }
        Ok(released)
    }

    fn exempt(&mut self, network: IpNet, cause: ExemptionCause, until: Option<Timestamp>, by: &Operator) {
        if is(Mutant::ProtectionUnrecorded) {
            return;
        }
        self.put(Record::Exempted(Exemption {
            network,
            cause,
            by: by.name.clone(),
            reason: by.reason.clone(),
            since: self.now,
            until,
        }));
    }

    /// Whether `networks` can be exempted besides those that are.
    fn check_room(&self, networks: &[IpNet]) -> Result<(), String> {
        let all = &self.state.exemptions;
        if all.0.len() + networks.len() <= limits::EXEMPTIONS_MAX {
            return Ok(());
        }
        let new = networks.iter().filter(|it| all.get(**it, self.now).is_none()).count();
        let holding = all.holding_at(self.now).count();
        if holding + new > limits::EXEMPTIONS_MAX {
            return Err(format!(
                "{holding} networks are protected by commands already, and {} may be: lists belong into the configuration",
                limits::EXEMPTIONS_MAX
            ));
        }
        Ok(())
    }

    /// What acts or has acted at addresses for which `asked` holds. Processes are in no network.
    fn acting(&self, asked: impl Fn(IpAddr) -> bool) -> Vec<(TransactionId, Target)> {
        let acts = |it: &&Transaction| {
            let Some(ip) = it.target.address() else { return false };
            let kind = it.state.kind();
            matches!(
                kind,
                StateKind::Executing | StateKind::PostChecking | StateKind::InForce
            ) && asked(ip)
        };
        let found = self.state.containments().filter(acts);
        found.map(|it| (it.id, it.target.clone())).collect()
    }

    /// What is newly protected and is contained is not released by itself: the containment was right by what held
    /// before, and somebody must say which of the two is wrong.
    fn tell_newly_protected(&mut self, before: &[(TransactionId, Target)]) {
        let protected: Vec<_> = before
            .iter()
            .filter_map(|(id, target)| Some((*id, self.protection(target)?)))
            .collect();
        let texts: Vec<_> = protected
            .iter()
            .map(|(id, why)| {
                format!("{id} holds a target that is protected now ({why}): release it with `staunch release {id}`")
            })
            .collect();
        if !texts.is_empty() && !is(Mutant::ProtectedSilently) {
            let only = protected.first().map(|(id, _)| *id).filter(|_| protected.len() == 1);
            self.notice(NoticeLevel::Page, None, only, &crate::turn::list(&texts));
        }
    }
}

fn network_of(target: &Target) -> Option<IpNet> {
    target.address().map(IpNet::from)
}

fn within(span: Span, max: Span, what: &str) -> Result<(), String> {
    if span == Span::ZERO {
        return Err(format!("{what} for {span} is for no time at all"));
    }
    if span > max && !is(Mutant::ExemptionUnbounded) {
        return Err(format!("{what} for {span} is too long: the longest is {max}"));
    }
    Ok(())
}
