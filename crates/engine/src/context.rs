//! What is known around the events of incidents, and the guard that asks a person, or refuses, because of it.
//!
//! Never looks anything up: what files said when an event came is a part of its input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use staunch_model::text::boxed;
use staunch_model::{
    Asset, ContextRuling, ContextTable, EventContext, GuardName, GuardResult, IncidentId, KnownAccount, Match,
    Printable, Record, Target, Transaction, Unit, Verdict,
};

use crate::guard::{Question, unknown};
use crate::limits;
use crate::state::EngineState;
use crate::turn::Turn;

/// What was known around the events of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Around {
    /// Its targets, with what files said of each when the newest event came that is aimed at it.
    targets: Vec<(Target, Option<Asset>)>,
    /// The accounts that its events name, in the order in which they came first.
    accounts: Vec<KnownAccount>,
    /// Its events name more accounts than are kept, so that not all of them are known.
    more_accounts: bool,
    /// The assets that its events name, attacked ones among them, in the order in which they came first.
    assets: Vec<Asset>,
}

impl Around {
    /// What is known around one event.
    #[must_use]
    pub fn of(targets: Vec<(Target, Option<Asset>)>, account: Option<KnownAccount>) -> Self {
        Self {
            targets,
            accounts: account.into_iter().collect(),
            more_accounts: false,
            assets: Vec::new(),
        }
    }

    /// The assets that the events name, whether anything is aimed at them or not.
    #[must_use]
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// The accounts that the events name.
    #[must_use]
    pub fn accounts(&self) -> &[KnownAccount] {
        &self.accounts
    }

    fn name(&mut self, assets: &[Asset]) {
        for asset in assets {
            if self.assets.len() < limits::ASSETS_PER_INCIDENT_MAX && !self.assets.contains(asset) {
                self.assets.push(asset.clone());
            }
        }
    }

    fn add(&mut self, targets: &[(Target, Option<Asset>)], account: Option<&KnownAccount>) {
        let is_full = self.targets.len() >= limits::STEPS_PER_PLAYBOOK_MAX;
        for (target, asset) in targets {
            match self.targets.iter_mut().find(|(known, _)| known == target) {
                Some((_, known)) => known.clone_from(asset),
                None if !is_full => self.targets.push((target.clone(), asset.clone())),
                // A further target of a later event: nothing is planned for it.
                None => {}
            }
        }
        let Some(account) = account else { return };
        let is_full = self.accounts.len() >= limits::ACCOUNTS_PER_INCIDENT_MAX;
        match self.accounts.iter_mut().find(|it| it.name == account.name) {
            Some(known) => known.clone_from(account),
            None if !is_full => self.accounts.push(account.clone()),
            None => self.more_accounts = true,
        }
    }
}

/// What was known around the events of every incident that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByIncident(BTreeMap<IncidentId, Around>);

impl ByIncident {
    /// What was known around the events of `incident`; `None` when nobody was asked.
    #[must_use]
    pub fn get(&self, incident: IncidentId) -> Option<&Around> {
        self.0.get(&incident)
    }

    /// What was known around the events of every incident that holds `transaction`, or joined it before it acts.
    fn of_all(&self, transaction: &Transaction) -> Option<Around> {
        let joined = transaction.joined().iter().copied();
        let mut all = std::iter::once(transaction.incident)
            .chain(joined)
            .filter_map(|it| self.get(it));
        let mut first = all.next()?.clone();
        for it in all {
            first.add(&it.targets, None);
            for account in &it.accounts {
                first.add(&[], Some(account));
            }
            first.more_accounts |= it.more_accounts;
        }
        Some(first)
    }

    pub(crate) fn add(
        &mut self,
        incident: IncidentId,
        targets: &[(Target, Option<Asset>)],
        account: Option<&KnownAccount>,
    ) {
        self.0.entry(incident).or_default().add(targets, account);
    }

    pub(crate) fn name(&mut self, incident: IncidentId, assets: &[Asset]) {
        self.0.entry(incident).or_default().name(assets);
    }

    pub(crate) fn forget(&mut self, incident: IncidentId) {
        self.0.remove(&incident);
    }
}

/// What `context` says of the targets of `matched`.
#[must_use]
pub fn targets(matched: &Match, context: &EventContext) -> Vec<(Target, Option<Asset>)> {
    let mut targets: Vec<(Target, Option<Asset>)> = Vec::new();
    let steps = matched.steps.iter().take(limits::STEPS_PER_PLAYBOOK_MAX);
    for target in steps.filter_map(|step| step.target.as_ref()) {
        let asset = match target {
            Target::Address(ip) => context.address(*ip).and_then(|it| it.asset.clone()),
            // These are of the host that the event names, or they are not acted on.
            Target::Process(_) | Target::Account(_) | Target::Host(_) => {
                context.host.as_ref().map(|it| it.asset.clone())
            }
            Target::Domain(_) | Target::Job(_) => None,
        };
        if !targets.iter().any(|(known, _)| known == target) {
            targets.push((target.clone(), asset));
        }
    }
    targets
}

impl Turn<'_> {
    /// Notes what is known around an event that `incident` has taken up.
    pub(crate) fn note_around(&mut self, incident: IncidentId, matched: &Match, context: &EventContext) {
        let targets = targets(matched, context);
        let account = context.account.clone();
        let mut after = self.state.around.get(incident).cloned().unwrap_or_default();
        after.add(&targets, account.as_ref());
        // Most events of an incident say the same.
        if self.state.around.get(incident) != Some(&after) {
            self.put(Record::AroundKnown {
                incident,
                targets,
                account: account.map(Box::new),
            });
        }
        let named = context.addresses.iter().filter_map(|it| it.asset.as_ref());
        let named = named.chain(context.host.as_ref().map(|it| &it.asset));
        let mut known = self.state.around.get(incident).cloned().unwrap_or_default();
        let before = known.assets.len();
        known.name(&named.cloned().collect::<Vec<_>>());
        if known.assets.len() > before {
            let assets = known.assets.split_off(before);
            self.put(Record::AssetsKnown { incident, assets });
        }
    }
}

/// What the table says of the target and of the accounts; `None` without rows.
pub(crate) fn guard(state: &EngineState, question: &Question) -> Option<GuardResult> {
    let table = state.context_table.as_deref().filter(|it| !it.rows.is_empty())?;
    let transaction = question.transaction.and_then(|id| state.transactions.get(&id));
    let around = match (&question.around, transaction) {
        (Some(around), _) => Some(around.clone()),
        (None, Some(it)) => state.around.of_all(it),
        (None, None) => None,
    };
    let (verdict, why) = judge(table, question, around.as_ref());
    Some(GuardResult {
        guard: GuardName::Context,
        verdict,
        measured: None,
        limit: None,
        unit: Unit::Count,
        why,
    })
}

fn judge(table: &ContextTable, question: &Question, around: Option<&Around>) -> (Verdict, Box<str>) {
    let when_unknown = || unknown(question.playbook.guards.when_unknown);
    let target = &question.target;
    let found = around.and_then(|it| it.targets.iter().find(|(known, _)| known == target));
    let Some((around, (_, asset))) = around.zip(found) else {
        let why = format!("whose {target} is, is unknown: no file was asked when its event came");
        return (when_unknown(), why.into());
    };
    let shown = match asset {
        Some(asset) => format!("{target} is {asset}"),
        None => format!("nothing is known of {target}"),
    };
    let asks_identities = table.rows.iter().any(staunch_model::ContextRow::is_about_identities);
    match table.decide(asset.as_ref(), &around.accounts) {
        Some((at, row, account)) => {
            let number = at + 1;
            let by = match account {
                Some(KnownAccount {
                    name,
                    identity: Some(identity),
                }) => format!("; {} is {identity}", Printable(name)),
                _ => String::new(),
            };
            let (verdict, follows) = match row.then {
                // An account beyond those that are kept might be one that an earlier row is about.
                ContextRuling::Pass if around.more_accounts && asks_identities => (when_unknown(), "is not sure"),
                ContextRuling::Pass => (Verdict::Passed, "lets it pass"),
                ContextRuling::Ask => (Verdict::Ask, "asks a person"),
                ContextRuling::Refuse => (Verdict::Refused, "refuses"),
            };
            let name = Printable(&row.name);
            let why = boxed(format_args!(
                "row {number} of the context guard ({name}) {follows}: {shown}{by}"
            ));
            (verdict, why)
        }
        None if around.more_accounts && asks_identities => {
            let most = limits::ACCOUNTS_PER_INCIDENT_MAX;
            let why = format!("the events name more than {most} accounts, and not all of them are known; {shown}");
            (when_unknown(), why.into())
        }
        None => (
            Verdict::Passed,
            boxed(format_args!("no row of the context guard holds: {shown}")),
        ),
    }
}
