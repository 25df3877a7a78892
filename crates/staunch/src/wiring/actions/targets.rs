//! Who tells the targets that are no addresses, and which of them are protected.
//!
//! Never acts on one.

use std::sync::Arc;

use staunch_connectors::enrichers::{
    AccountFinder, AccountOptions, ByAim, DomainOptions, DomainTeller, HostTeller, JobTeller, ProcessFinder,
    ProcessOptions,
};
use staunch_model::Aim;
use staunch_ports::Targets;

use super::options::this_host;
use crate::called::endpoints;
use crate::config::Config;
use crate::exit::{Exit, Fault};

/// Who tells the targets that are no addresses; nobody unless something is to act on them.
///
/// # Errors
/// When the settings cannot be used.
pub(crate) fn targets(config: &Config) -> Result<Option<Arc<dyn Targets>>, Fault> {
    let mut by_aim = ByAim::default();
    if config.processes.enabled {
        by_aim = by_aim.with(Aim::Process, processes(config)?);
    }
    if config.domains.enabled {
        by_aim = by_aim.with(Aim::Domain, domains(config));
    }
    if config.accounts.enabled {
        by_aim = by_aim.with(Aim::Account, accounts(config));
    }
    if config.isolation.enabled {
        by_aim = by_aim.with(Aim::Host, HostTeller(this_host(config)));
    }
    if !config.jobs.is_empty() {
        let jobs = config.jobs.iter();
        let protected = jobs.map(|(name, job)| (name.as_str().into(), job.protected.clone()));
        by_aim = by_aim.with(Aim::Job, JobTeller::new(protected.collect()));
    }
    Ok((!by_aim.is_empty()).then(|| Arc::new(by_aim) as Arc<dyn Targets>))
}

fn processes(config: &Config) -> Result<ProcessFinder, Fault> {
    let options = ProcessOptions {
        host: this_host(config),
        protected_always: config.processes.protected.clone(),
        ..ProcessOptions::default()
    };
    ProcessFinder::new(options)
        .map_err(|error| Fault::of(Exit::Usage, &error).hint("look at [processes] in the configuration"))
}

fn domains(config: &Config) -> DomainTeller {
    DomainTeller::new(DomainOptions {
        host_names: config.host.names.clone(),
        // The configuration was checked.
        protected: config
            .domains
            .protected
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect(),
        needed: endpoints(config).into_iter().map(|it| (it.host, it.what)).collect(),
        ..DomainOptions::default()
    })
}

fn accounts(config: &Config) -> AccountFinder {
    AccountFinder::new(AccountOptions {
        host: this_host(config),
        protected: config.accounts.protected.clone(),
        ..AccountOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use staunch_model::Target;

    use super::*;

    #[test]
    fn what_staunch_calls_is_protected() {
        let text = "[domains]\nenabled = true\nprotected = [\"shop.company.com\"]\n\
                    [[feeds]]\nname = \"drop\"\nurl = \"https://feeds.intel.com/drop.txt\"\n\
                    [[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nkey_file = \"key\"\n\
                    [telemetry]\notlp = \"http://traces.watch.net:4318\"\n";
        let config = crate::config::parse(text).expect("a configuration");
        let targets = targets(&config).expect("it can be used").expect("somebody tells");
        for (name, says) in [
            ("intel.com", Some("the feed drop")),
            ("abuseipdb.com", Some("the look-up abuse")),
            ("watch.net", Some("the receiver of traces")),
            ("pay.shop.company.com", Some("protected by the configuration")),
            ("evil.com", None),
        ] {
            let target = Target::Domain(name.parse().expect("a domain"));
            let why = targets.look_again(&target).facts.expect("it can be told").protected;
            assert_eq!(why.is_some(), says.is_some(), "{name}: {why:?}");
            assert!(why.unwrap_or_default().contains(says.unwrap_or_default()), "{name}");
        }
    }
}
