//! What a running server reads again: playbooks and protected networks, lists of those, and what this machine depends
//! on.
//!
//! Never puts half of a configuration in force: one with a mistake changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use staunch_model::{Command, Description, Operator, Policy, Printable, RiskTable, Timestamp};
use staunch_playbook::{Compiled, Diagnostic, Severity};
use staunch_runtime::{Busy, Handle, Intake};
use staunch_server::dto::{MISTAKES_MAX, Mistake, Reloaded};
use staunch_server::{Configured, NotReloaded, RecordReload, ReloadDone, Reloads};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::mistakes;
use crate::config::{self, Config, Loaded};
use crate::context::{self, Context, pin};
use crate::exit::Fault;
use crate::feeds::Feeds;
use crate::lists::{Change, Watch};
use crate::names::{Looking, Names};
use crate::playbooks::Texts;
use crate::wiring;

/// How often it is looked at whether this machine depends on other addresses than before: SSH sessions come and go.
const DISCOVER_INTERVAL: Duration = Duration::from_secs(30);

/// How often lists are looked at; one that has changed and stays like that until the next look is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Reloads that operators may wait for at the same time: each reads everything.
const ORDERS_MAX: usize = 4;

/// Reads playbooks and protected networks again: on SIGHUP and on an operator's command; lists when they change; and
/// the discovered ones from time to time.
pub(super) struct Reload {
    pub(super) file: Option<PathBuf>,
    pub(super) handle: Handle,
    pub(super) intake: Arc<Intake>,
    pub(super) drivers: Vec<Description>,
    /// The configuration whose playbooks and protected networks are in force.
    pub(super) in_force: Config,
    /// What the file said when the server was started.
    pub(super) started_with: Config,
    /// How it stands to its file, which is told.
    pub(super) standing: Standing,
    /// What operators ask for.
    pub(super) ordered: mpsc::Receiver<Order>,
    /// Its lists of protected networks.
    pub(super) lists: Watch,
    /// What is known around events.
    pub(super) context: Arc<Context>,
    /// Its feeds; those of the configuration that it was started with.
    pub(super) feeds: Option<Arc<Feeds>>,
    /// The services that it calls; those of the configuration that it was started with.
    pub(super) called: Arc<Names>,
    /// The news of where they are that were looked at.
    pub(super) called_news: u64,
    /// What looks their names up; `None` while nothing asks where they are.
    pub(super) looking: Option<Looking>,
}

/// An operator's command to read everything again.
pub(super) struct Order {
    record: RecordReload,
    done: ReloadDone,
}

/// How the configuration stands to its file, for whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Standing(Arc<Mutex<Configured>>);

impl Standing {
    /// As at the start, for which the file was read at `read_at`.
    pub(super) fn at_start(read_at: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Configured {
            read_at,
            at_next_start: Vec::new(),
        })))
    }

    fn set(&self, configured: Configured) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = configured;
    }
}

/// The way of such commands from the API.
pub(super) struct Orders {
    sender: mpsc::Sender<Order>,
    standing: Standing,
}

impl Orders {
    pub(super) fn new(standing: Standing) -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        (Self { sender, standing }, receiver)
    }
}

impl Reloads for Orders {
    fn reload(&self, record: RecordReload, done: ReloadDone) {
        if let Err(error) = self.sender.try_send(Order { record, done }) {
            let (mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order)) = error;
            (order.done)(Err(NotReloaded::TooMany));
        }
    }

    fn standing(&self) -> Configured {
        self.standing.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Records that a signal has everything read again. Who sent it, the system does not say: whoever may signal the
/// server.
fn record_signal(handle: &Handle, mistakes: u32) -> Result<(), NotReloaded> {
    let by = Operator {
        name: "a signal".into(),
        from: "SIGHUP".into(),
        reason: "".into(),
    };
    let (done, wait) = std::sync::mpsc::sync_channel(1);
    // Nobody waits any more when the receiver is gone.
    let reply = Box::new(move |result| drop(done.send(result)));
    let sent = handle.command(by, Command::Reload { mistakes }, reply);
    let answer = sent.and_then(|()| wait.recv().map_err(|_| Busy::Stopping)?);
    match answer {
        // With mistakes the engine refuses it, which is on record too.
        Ok(_) => Ok(()),
        Err(busy) => Err(NotReloaded::NotRecorded(busy.into())),
    }
}

/// Why something is read again.
enum Because {
    Signal,
    Ordered(Order),
    Discover,
    Look,
}

/// What was read, and can be put in force.
struct Prepared {
    config: Config,
    compiled: Vec<Compiled>,
    policy: Policy,
    lists: Change,
    context: context::Change,
    reloaded: Reloaded,
}

impl Reload {
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let mut discover = tokio::time::interval(DISCOVER_INTERVAL);
        discover.tick().await;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let because = tokio::select! {
                _ = hangup.recv() => Because::Signal,
                // The API holds the other end for as long as it serves.
                Some(order) = self.ordered.recv() => Because::Ordered(order),
                _ = discover.tick() => Because::Discover,
                _ = look.tick() => Because::Look,
            };
            let done = tokio::task::spawn_blocking(move || {
                match because {
                    // How it went is in the log.
                    Because::Signal => {
                        let handle = self.handle.clone();
                        drop(self.again(|mistakes| record_signal(&handle, mistakes)));
                    }
                    Because::Ordered(Order { record, done }) => {
                        let record = |mistakes| record(mistakes).map_err(NotReloaded::NotRecorded);
                        done(self.again(record));
                    }
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

    /// Lists and feeds that have changed, and services that were found elsewhere.
    fn look(&mut self) {
        let news = self.called.news();
        if news != self.called_news {
            self.called_news = news;
            self.discover_again();
        }
        self.lists.look(&self.handle);
        self.context.look(&self.handle);
        if let Some(feeds) = &self.feeds {
            feeds.look(&self.handle);
        }
    }

    /// Reads everything again, tells `record` how many mistakes there are, and puts it in force when there are none.
    fn again(&mut self, record: impl FnOnce(u32) -> Result<(), NotReloaded>) -> Result<Reloaded, NotReloaded> {
        let read_at = self.handle.machine_now();
        let result = match self.read() {
            Ok(prepared) => record(0).and_then(|()| self.put_in_force(prepared)),
            Err(mistakes) => {
                mistakes.iter().for_each(mistakes::log);
                // What cannot be used is never recorded as if it could.
                let count = u32::try_from(mistakes.len()).unwrap_or(u32::MAX).max(1);
                record(count).and(Err(NotReloaded::Mistakes(mistakes)))
            }
        };
        match &result {
            Ok(it) => {
                tracing::info!(
                    playbooks = it.playbooks,
                    protected = it.protected,
                    "playbooks and protected networks were read again"
                );
                if !it.at_next_start.is_empty() {
                    tracing::warn!(
                        keys = it.at_next_start.join(", "),
                        "what has changed in the configuration besides takes effect with the next start only"
                    );
                }
                self.standing.set(Configured {
                    read_at,
                    at_next_start: it.at_next_start.clone(),
                });
            }
            Err(not) => {
                let why = match not {
                    NotReloaded::Mistakes(mistakes) => format!("mistakes: {}", mistakes.len()),
                    NotReloaded::NotRecorded(_) => "it could not be recorded that this was asked for".to_owned(),
                    NotReloaded::TooMany => "others are waited for".to_owned(),
                    NotReloaded::Partly(busy) => busy.to_string(),
                };
                if matches!(not, NotReloaded::Partly(_)) {
                    tracing::error!(
                        why,
                        "the configuration was read again and is in force in part only; reload once more"
                    );
                } else {
                    tracing::error!(
                        why,
                        "the configuration was not read again; the earlier one stays in force"
                    );
                }
            }
        }
        result
    }

    /// Reads everything again, and changes nothing.
    fn read(&self) -> Result<Prepared, Vec<Mistake>> {
        let Loaded { config: read, .. } = config::read(self.file.as_deref()).map_err(mistakes::of_config)?;
        let mut config = self.in_force.clone();
        config.playbooks.clone_from(&read.playbooks);
        config.never_touch.clone_from(&read.never_touch);
        config.risk.clone_from(&read.risk);
        config.context.clone_from(&read.context);
        let texts = Texts::configured(&config);
        let outcome = texts.compile(&wiring::check_context(&config));
        let (errors, strange): (Vec<_>, Vec<_>) = outcome
            .diagnostics
            .iter()
            .partition(|it| it.severity == Severity::Error);
        if !outcome.usable {
            let later = at_next_start(&self.started_with, &read);
            let then = texts.compile(&wiring::check_context(&read)).diagnostics;
            let unreadable = texts.unreadable.iter().map(mistakes::of_unreadable);
            return Err(unreadable
                .chain(errors.into_iter().map(|it| {
                    let same =
                        |other: &&Diagnostic| (&it.file, &it.span, it.code) == (&other.file, &other.span, other.code);
                    match then.iter().find(same) {
                        Some(it) => mistakes::of_playbook(it),
                        None => mistakes::until_next_start(it, &later),
                    }
                }))
                .collect());
        }
        let warnings: Vec<_> = strange.into_iter().map(mistakes::of_playbook).collect();
        warnings.iter().for_each(mistakes::warn);
        let of_fault = |fault: Fault| vec![mistakes::of_fault(&fault)];
        let policy = self.policy(&config, &outcome.compiled).map_err(of_fault)?;
        let lists = self.lists.read_again(&config, &self.handle).map_err(of_fault)?;
        let (context, not_read) = self.context.read_again(&config, &self.handle).map_err(of_fault)?;
        let reloaded = Reloaded {
            playbooks: policy.playbooks.len() as u64,
            protected: policy.never_touch.len() as u64,
            listed: lists.networks() as u64,
            refused: lists
                .refused()
                .iter()
                .chain(&not_read)
                .map(mistakes::of_fault)
                .collect(),
            warnings,
            at_next_start: at_next_start(&self.started_with, &read),
        };
        Ok(Prepared {
            config,
            compiled: outcome.compiled,
            policy,
            lists,
            context,
            reloaded,
        })
    }

    fn put_in_force(&mut self, prepared: Prepared) -> Result<Reloaded, NotReloaded> {
        let Prepared {
            config,
            compiled,
            policy,
            lists,
            context,
            reloaded,
        } = prepared;
        // What moves between a list and the configuration is protected throughout by one of the two: lists only add
        // before the policy changes, and take away after it.
        let risk = Arc::new(config.risk.table());
        let guards = Arc::new(config.context.table());
        self.lists
            .protect(&lists, &self.handle)
            .and_then(|()| self.handle.set_policy(Arc::new(policy)))
            .map_err(NotReloaded::Partly)?;
        // From here on, what is discovered is added to what the new configuration protects.
        self.in_force = config;
        self.look_names_up();
        self.set_risk(risk)
            .and_then(|()| pin(&self.handle, guards))
            .and_then(|()| self.lists.take(lists, &self.handle))
            .map_err(NotReloaded::Partly)?;
        self.context.take(context, &self.handle);
        self.intake.set_knowledge(self.context.knowledge(&self.in_force));
        self.intake
            .set_programs(compiled.into_iter().map(|it| it.program).collect());
        Ok(reloaded)
    }

    /// Begins to look up the names of what is called, when what is called has come to be protected. What is found is
    /// news, for which [`Self::look`] looks.
    fn look_names_up(&mut self) {
        if self.looking.is_some() || !self.in_force.never_touch.discover {
            return;
        }
        match self.called.start() {
            Ok(looking) => self.looking = Some(looking),
            Err(fault) => {
                let why = fault.render(false, false);
                tracing::error!(
                    why = why.trim_end(),
                    "what is called by name is not protected; reload once more"
                );
            }
        }
    }

    fn policy(&self, config: &Config, compiled: &[Compiled]) -> Result<Policy, Fault> {
        let discovered = wiring::discover(config, &self.called)?;
        let policy = wiring::policy(config, compiled, &discovered, &self.drivers);
        wiring::check_size(config, &policy)?;
        Ok(policy)
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
        let discovered = match wiring::discover(&self.in_force, &self.called) {
            Ok(discovered) => discovered,
            Err(fault) => {
                let why = fault.render(false, false);
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

/// Keys of `read` that are not as at the start, and that a reload leaves alone; of a list, the list.
fn at_next_start(started_with: &Config, read: &Config) -> Vec<String> {
    const RELOADED: [&str; 4] = ["playbooks", "never_touch", "risk", "context"];
    let sections = |config: &Config| match serde_json::to_value(config) {
        Ok(Value::Object(mut sections)) => {
            sections.retain(|name, _| !RELOADED.contains(&name.as_str()));
            Value::Object(sections)
        }
        // What was read as TOML has names for keys.
        Ok(_) | Err(_) => Value::Null,
    };
    let mut keys = Vec::new();
    differing(&sections(started_with), &sections(read), "", &mut keys);
    if keys.len() > MISTAKES_MAX {
        let more = keys.len() - MISTAKES_MAX;
        keys.truncate(MISTAKES_MAX);
        keys.push(format!("{more} more"));
    }
    keys
}

/// Adds the keys below `path` that have different values, in order; one that is in one of the two only is different.
fn differing(before: &Value, after: &Value, path: &str, keys: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let shown = Printable(name);
                let path = if path.is_empty() {
                    shown.to_string()
                } else {
                    format!("{path}.{shown}")
                };
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                differing(&of(old), &of(new), &path, keys);
            }
        }
        _ if before == after => {}
        _ => keys.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_effect_with_the_next_start_is_named() {
        let before = Config::default();
        let mut after = before.clone();
        after.never_touch.discover = false;
        after.playbooks.built_in = false;
        assert!(at_next_start(&before, &after).is_empty());
        after.data_dir = "/elsewhere".into();
        after.log.level = config::LogLevel::Debug;
        assert_eq!(at_next_start(&before, &after), ["data_dir", "log.level"]);
        // What is gone has changed, and of a list it is the list that is named.
        let text = "[[sources.files]]\npath = \"/eve.json\"\n[notifiers.oncall]\nkind = \"webhook\"\n\
                    url = \"https://hooks.example/\"\nkey_file = \"key\"\n[[routes]]\nto = [\"oncall\"]\n";
        let before = config::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let after = config::parse(&text.replace("hooks.", "pages.").replace("/eve", "/other"));
        let after = after.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert_eq!(
            at_next_start(&before, &after),
            ["notifiers.oncall.url", "sources.files"]
        );
        assert_eq!(
            at_next_start(&before, &Config::default()),
            ["notifiers.oncall", "routes", "sources.files"]
        );
    }
}
