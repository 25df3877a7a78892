//! Settings of what acts: the drivers, and which host they are on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_connectors::actions::sinkhole_domain::Sinkhole;
use staunch_model::{AccountName, Span};

/// The end of the name of the table in which addresses are limited, after the name of the table in which they are
/// blocked.
pub(crate) const LIMIT_TABLE_END: &str = "_limit";

/// The end of the name of the table by which this machine is isolated, after the same name.
pub(crate) const ISOLATION_TABLE_END: &str = "_isolation";

/// The firewall of this machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NftablesSettings {
    /// The name of Staunch's own table, of the family `inet`. Default `staunch`. Since v0.1.
    pub(crate) table: String,
    /// Addresses that can be blocked at the same time, for each IP version. Default 65536; at most 1048576. Takes
    /// effect when the table is made. Since v0.1.
    pub(crate) elements_max: u32,
    /// Whether a chain switches connection tracking on, so that shares of traffic are known. Default `true`. Since
    /// v0.1.
    pub(crate) track_flows: bool,
    /// How long an answer of the kernel is awaited; after that it is open what became of the request, and that is found
    /// out. Default `1s`; `100ms` to `10s`. Since v0.1.
    pub(crate) timeout: Span,
}

impl Default for NftablesSettings {
    fn default() -> Self {
        Self {
            table: "staunch".into(),
            elements_max: 65_536,
            track_flows: true,
            timeout: Span::from_secs(1),
        }
    }
}

/// How much of the traffic of an address passes that is limited by `rate-limit-ip`, in both directions together. A
/// change takes effect when the server starts and nothing is limited; until then what is limited keeps its rate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RateLimitSettings {
    /// Packets in a second. Default 10; 1 to 1000000. Since v0.1.
    pub(crate) packets_per_second: u32,
    /// Packets that may come at once beyond that. Default 20; 1 to 1000000. Since v0.1.
    pub(crate) burst: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            packets_per_second: 10,
            burst: 20,
        }
    }
}

/// Which events are of this machine, so that what they name can be told from the like of other machines.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HostSettings {
    /// The names that events give this machine, beside its own (`uname -n`). Default none. Since v0.1.
    pub(crate) names: Vec<String>,
    /// Whether events that name no host count as events of this machine. Default `false`. Since v0.1.
    pub(crate) unnamed: bool,
}

/// Acts on the processes of this machine: see [processes](../guide/processes.md).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessSettings {
    /// Whether playbooks may freeze processes. Needs cgroup v2, and root or both `CAP_DAC_OVERRIDE` and
    /// `CAP_SYS_PTRACE`. Default `false`. Since v0.1.
    pub(crate) enabled: bool,
    /// The directory of cgroup v2 below which processes are frozen, such as `/sys/fs/cgroup/kubepods.slice`; others are
    /// not touched. Default all of the tree. Since v0.1.
    pub(crate) below: Option<PathBuf>,
    /// Whether playbooks may also end processes for good (`kill-process`). Needs Linux 5.14. Default `false`. Since
    /// v0.1.
    pub(crate) kill: bool,
    /// Programs that are never touched, whoever runs them: whole paths, where a `*` at the end stands for the rest of
    /// the name. Default none: those that come with Staunch are protected where root, or a user that services have to
    /// themselves, runs them. Since v0.1.
    pub(crate) protected: Vec<String>,
}

/// Acts on domains by the resolver of this machine: see [domains](../guide/domains.md).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DomainSettings {
    /// Whether playbooks may have Unbound deny domains. Needs its control channel, and root or its group. Default
    /// `false`. Since v0.1.
    pub(crate) enabled: bool,
    /// The socket of its control channel, a whole path, as `control-interface` in `unbound.conf` names it. Default
    /// `/run/unbound.ctl`. Since v0.1.
    pub(crate) control: PathBuf,
    /// What denied names resolve to: `nxdomain`, nothing; or an address, such as `192.0.2.1`, for names of its IP
    /// version, and nothing for the other. Sinkholes that are in force keep theirs. Default `nxdomain`. Since v0.1.
    pub(crate) answer: String,
    /// The address on which that Unbound answers, such as `127.0.0.1:53`: it is asked by DNS, and by nobody else,
    /// whether a sinkhole holds. Default none: what its control channel says is believed. Since v0.1.
    pub(crate) resolver: Option<SocketAddr>,
    /// Domains that are never denied, nor what is below and above them, beside those that are found. Default none.
    /// Since v0.1.
    pub(crate) protected: Vec<String>,
}

impl DomainSettings {
    /// The word for names that resolve to nothing.
    const NOTHING: &str = "nxdomain";

    /// What denied names resolve to; `None` when that is not to be understood.
    pub(crate) fn sinkhole(&self) -> Option<Sinkhole> {
        if self.answer == Self::NOTHING {
            return Some(Sinkhole::NoSuchName);
        }
        self.answer.parse().ok().map(Sinkhole::Address)
    }
}

impl Default for DomainSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            control: "/run/unbound.ctl".into(),
            answer: Self::NOTHING.into(),
            resolver: None,
            protected: Vec::new(),
        }
    }
}

/// Acts on the accounts of this machine: see [accounts](../guide/accounts.md).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccountSettings {
    /// Whether playbooks may lock accounts. Needs root, or `CAP_DAC_OVERRIDE` and `CAP_CHOWN`, and to write in `/etc`.
    /// Default `false`. Since v0.1.
    pub(crate) enabled: bool,
    /// Accounts that are never locked, such as those for emergencies. Default none: root, accounts of the system, the
    /// user that Staunch runs as and the last account that may become root are protected without it. Since v0.1.
    pub(crate) protected: BTreeSet<AccountName>,
}

/// Cutting this machine off the network: see [isolation](../guide/isolation.md).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IsolationSettings {
    /// Whether playbooks may isolate this machine (`isolate-host`). Needs `CAP_NET_ADMIN`. Default `false`. Since v0.1.
    pub(crate) enabled: bool,
    /// The networks that this machine is managed from, which an isolation leaves in touch with it. 1 to 64 where it is
    /// enabled, none of them everything. Default none. Since v0.1.
    #[serde(deserialize_with = "super::networks")]
    pub(crate) management: Vec<IpNet>,
    /// Whether those who are logged in by SSH at that moment stay in touch too, from wherever. An intruder who is
    /// logged in is one of them, and whoever runs programs here can pass for one. Default `false`. Since v0.1.
    pub(crate) keep_sessions: bool,
}
