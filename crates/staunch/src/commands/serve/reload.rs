//! What a running server reads again: playbooks and protected networks, lists of those, and what this machine depends on.
//!
//! Never puts half of a configuration in force: one with a mistake changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use staunch_model::{Description, Policy, RiskTable};
use staunch_playbook::Compiled;
use staunch_runtime::{Busy, Handle, Intake};
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::compile;
use crate::config::{self, Config};
use crate::context::{Context, pin};
use crate::exit::Fault;
use crate::feeds::Feeds;
use crate::lists::Watch;
use crate::wiring;

/// How often it is looked at whether this machine depends on other addresses than before: SSH sessions come and go.
const DISCOVER_INTERVAL: Duration = Duration::from_secs(30);

/// How often lists are looked at; one that has changed and stays like that until the next look is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Reads playbooks and protected networks again: on SIGHUP; lists when they change; and the discovered ones from time to
/// time.
pub(super) struct Reload {
    pub(super) file: Option<PathBuf>,
    pub(super) handle: Handle,
    pub(super) intake: Arc<Intake>,
    pub(super) drivers: Vec<Description>,
    /// The configuration whose playbooks and protected networks are in force.
    pub(super) in_force: Config,
    /// Its lists of protected networks.
    pub(super) lists: Watch,
    /// What is known around events.
    pub(super) context: Arc<Context>,
    /// Its feeds; those of the configuration that it was started with.
    pub(super) feeds: Option<Arc<Feeds>>,
}

/// Why something is read again.
enum Because {
    Asked,
    Discover,
    Look,
}

impl Reload {
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let mut discover = tokio::time::interval(DISCOVER_INTERVAL);
        discover.tick().await;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let because = tokio::select! {
                _ = hangup.recv() => Because::Asked,
                _ = discover.tick() => Because::Discover,
                _ = look.tick() => Because::Look,
            };
            let done = tokio::task::spawn_blocking(move || {
                match because {
                    Because::Asked => self.again(),
                    Because::Discover => self.discover_again(),
                    Because::Look => self.look(),
                }
                self
            });
            match done.await {
                Ok(it) => self = it,
                Err(error) => {
                    tracing::error!(%error, "the configuration can no longer be read again");
                    return;
                }
            }
        }
    }

    /// Lists and feeds that have changed.
    fn look(&mut self) {
        self.lists.look(&self.handle);
        self.context.look(&self.handle);
        if let Some(feeds) = &self.feeds {
            feeds.look(&self.handle);
        }
    }

    fn again(&mut self) {
        let read = config::load(self.file.as_deref()).and_then(|loaded| {
            let mut config = self.in_force.clone();
            config.playbooks = loaded.config.playbooks;
            config.never_touch = loaded.config.never_touch;
            config.risk = loaded.config.risk;
            config.context = loaded.config.context;
            let compiled = compile(&config)?;
            let policy = self.policy(&config, &compiled)?;
            let lists = self.lists.read_again(&config, &self.handle)?;
            let context = self.context.read_again(&config, &self.handle)?;
            Ok((config, compiled, policy, (lists, context)))
        });
        match read {
            Ok((config, compiled, policy, (lists, context))) => {
                let (playbooks, protected) = (policy.playbooks.len(), policy.never_touch.len());
                // What moves between a list and the configuration is protected throughout by one of the two: lists only
                // add before the policy changes, and take away after it.
                let risk = Arc::new(config.risk.table());
                let guards = Arc::new(config.context.table());
                let set = self
                    .lists
                    .protect(&lists, &self.handle)
                    .and_then(|()| self.handle.set_policy(Arc::new(policy)))
                    .and_then(|()| self.set_risk(risk))
                    .and_then(|()| pin(&self.handle, guards));
                if let Err(error) = set.and_then(|()| self.lists.take(lists, &self.handle)) {
                    tracing::error!(%error, "the configuration was not read again; the earlier one stays in force");
                    return;
                }
                self.context.take(context, &self.handle);
                self.intake.set_knowledge(self.context.knowledge(&config));
                self.intake
                    .set_programs(compiled.into_iter().map(|it| it.program).collect());
                self.in_force = config;
                tracing::info!(playbooks, protected, "playbooks and protected networks were read again");
            }
            Err(fault) => {
                let why = fault.render(false);
                tracing::error!(
                    why = why.trim_end(),
                    "the configuration was not read again; the earlier one stays in force"
                );
            }
        }
    }

    fn policy(&self, config: &Config, compiled: &[Compiled]) -> Result<Policy, Fault> {
        let discovered = wiring::discover(config)?;
        Ok(wiring::policy(config, compiled, &discovered, &self.drivers))
    }

    fn set_risk(&self, table: Arc<RiskTable>) -> Result<(), Busy> {
        let in_force = self.handle.query(|state| state.risk_table.clone())?;
        match in_force {
            Some(it) if it == table => Ok(()),
            _ => self.handle.set_risk(table),
        }
    }

    /// Protects what this machine depends on by now, with everything else as it is.
    fn discover_again(&self) {
        if !self.in_force.never_touch.discover {
            return;
        }
        let discovered = match wiring::discover(&self.in_force) {
            Ok(discovered) => discovered,
            Err(fault) => {
                let why = fault.render(false);
                tracing::warn!(
                    why = why.trim_end(),
                    "own addresses were not found again; the earlier ones stay protected"
                );
                return;
            }
        };
        let Ok(Some(policy)) = self.handle.query(|state| state.policy.clone()) else {
            return;
        };
        let never_touch = wiring::never_touch(&self.in_force, &discovered);
        if policy.never_touch == never_touch {
            return;
        }
        let protected = never_touch.len();
        match self.handle.set_policy(Arc::new(Policy {
            never_touch,
            ..(*policy).clone()
        })) {
            Ok(()) => tracing::info!(
                protected,
                "this machine depends on other addresses than before; they are protected"
            ),
            Err(error) => tracing::warn!(%error, "own addresses were not protected anew"),
        }
    }
}
