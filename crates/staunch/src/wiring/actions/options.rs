//! What the configuration says to each driver.
//!
//! Never starts one, and looks at nothing but the configuration.

use std::sync::Arc;

use staunch_connectors::actions::block_ip::NftablesOptions;
use staunch_connectors::actions::exec_job::ExecJobOptions;
use staunch_connectors::actions::freeze_process::CgroupOptions;
use staunch_connectors::actions::isolate_host::{Lifelines, NftablesIsolationOptions};
use staunch_connectors::actions::lock_account::ShadowOptions;
use staunch_connectors::actions::sinkhole_domain::UnboundOptions;
use staunch_connectors::enrichers::ThisHost;
use staunch_model::InstallationId;
use staunch_netlink::nftables::{Allowed, Limit};

use crate::config::{Config, ISOLATION_TABLE_END, LIMIT_TABLE_END};

/// The directory in the data directory that says what accounts were before they were locked.
const ACCOUNTS_DIR: &str = "accounts";

/// The directory in the data directory that says which jobs may be in force.
const JOBS_DIR: &str = "jobs";

pub(super) fn blocking(config: &Config, installation: InstallationId) -> NftablesOptions {
    NftablesOptions {
        table: config.nftables.table.clone(),
        elements_max: config.nftables.elements_max,
        track_flows: config.nftables.track_flows,
        timeout: config.nftables.timeout.to_std(),
        ..NftablesOptions::new(installation)
    }
}

/// A table of its own, beside the one that blocks.
pub(super) fn limiting(config: &Config, installation: InstallationId) -> NftablesOptions {
    NftablesOptions {
        table: limit_table(config),
        limit: Some(Limit {
            packets_per_second: config.rate_limit.packets_per_second,
            burst: config.rate_limit.burst,
        }),
        // The table that blocks sees to that.
        track_flows: false,
        ..blocking(config, installation)
    }
}

pub(super) fn groups(config: &Config, installation: InstallationId) -> CgroupOptions {
    CgroupOptions {
        root: config.processes.below.clone(),
        ..CgroupOptions::new(installation)
    }
}

pub(super) fn resolver(config: &Config, installation: InstallationId) -> UnboundOptions {
    UnboundOptions {
        control: config.domains.control.clone(),
        // The configuration was checked.
        answer: config.domains.sinkhole().unwrap_or_default(),
        resolver: config.domains.resolver,
        ..UnboundOptions::new(installation)
    }
}

pub(super) fn records(config: &Config, installation: InstallationId) -> ShadowOptions {
    ShadowOptions::new(installation, config.data_dir.join(ACCOUNTS_DIR))
}

pub(super) fn jobs(config: &Config, installation: InstallationId) -> ExecJobOptions {
    let jobs = config.jobs.iter();
    ExecJobOptions {
        installation,
        records: config.data_dir.join(JOBS_DIR),
        jobs: jobs.map(|(name, job)| (name.as_str().into(), job.spec())).collect(),
    }
}

pub(super) fn isolating(
    config: &Config,
    installation: InstallationId,
    lifelines: Arc<dyn Lifelines>,
) -> NftablesIsolationOptions {
    NftablesIsolationOptions {
        table: isolation_table(config),
        host: this_host(config),
        timeout: config.nftables.timeout.to_std(),
        ..NftablesIsolationOptions::new(installation, lifelines)
    }
}

/// What a driver leaves reachable that never acts.
pub(super) fn nobody() -> Arc<dyn Lifelines> {
    Arc::new(Vec::<Allowed>::new())
}

pub(super) fn isolation_table(config: &Config) -> String {
    format!("{}{ISOLATION_TABLE_END}", config.nftables.table)
}

pub(super) fn limit_table(config: &Config) -> String {
    format!("{}{LIMIT_TABLE_END}", config.nftables.table)
}

pub(super) fn this_host(config: &Config) -> ThisHost {
    ThisHost {
        names: config.host.names.clone(),
        unnamed: config.host.unnamed,
        ..ThisHost::default()
    }
}
