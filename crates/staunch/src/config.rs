//! The configuration file: what can be set, what holds when nothing is said, and which values cannot work.
//!
//! Never opens a file: [`load()`] does. The doc comments of the fields are the manual.

mod acting;
mod check;
mod context;
mod evidence;
mod feeds;
mod form;
mod health;
mod http;
mod jobs;
mod load;
mod lookups;
#[cfg(test)]
mod manual;
mod mistake;
mod notices;
mod risk;
mod salvage;
mod shown;
mod sources;
mod telemetry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use staunch_connectors::ranges::Provider;
use staunch_engine::limits;
use staunch_model::{Mode, Printable, Span};

pub(crate) use acting::{
    AccountSettings, DomainSettings, HostSettings, ISOLATION_TABLE_END, IsolationSettings, LIMIT_TABLE_END,
    NftablesSettings, ProcessSettings, RateLimitSettings,
};
pub(crate) use context::{ContextFile, ContextSettings};
pub(crate) use evidence::{AnchorKind, AnchorSettings, EvidenceBucket, EvidencePlace, EvidenceSettings, RetentionMode};
pub(crate) use feeds::FeedSettings;
pub(crate) use health::{HealthSettings, PrometheusSettings, is_plain};
pub(crate) use http::HttpSettings;
pub(crate) use jobs::JobSettings;
pub(crate) use load::{DEFAULT_PATH, Loaded, Unusable, load, parse, read};
pub(crate) use lookups::LookupSettings;
pub(crate) use mistake::{Mistake, nearest, place_of, place_of_exactly, wrapped_hint};
pub(crate) use notices::{NotifierKind, NotifierSettings, RouteSettings};
pub(crate) use risk::RiskSettings;
pub(crate) use shown::{Line, Shown};
pub(crate) use sources::{JournaldSource, SourcesSettings, SyslogSource};
pub(crate) use telemetry::TelemetrySettings;

/// The name of the folder of evidence, in the data directory.
pub(crate) const EVIDENCE: &str = "evidence";

/// The name of the secret key of the transparency log, in the data directory.
pub(crate) const EVIDENCE_KEY: &str = "evidence.key";

/// The whole configuration. Paths in it are relative to the file's directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The directory of journal, index, tokens and installation id; made with mode 0700. Default `/var/lib/staunch`.
    /// Since v0.1.
    pub(crate) data_dir: PathBuf,
    /// How far any playbook may go, whatever it says: `observe`, `approve` or `enforce`. Default `observe`.
    /// `staunch mode` overrides it until it is changed here. Since v0.1.
    pub(crate) mode: Mode,
    /// The HTTP API.
    pub(crate) http: HttpSettings,
    /// Playbooks.
    pub(crate) playbooks: PlaybookSettings,
    /// Limits that hold for all playbooks together.
    pub(crate) limits: LimitSettings,
    /// What is never touched.
    pub(crate) never_touch: NeverTouchSettings,
    /// How dangerous an incident is.
    pub(crate) risk: RiskSettings,
    /// Feeds that say which addresses are bad. Default none. Since v0.1.
    pub(crate) feeds: Vec<FeedSettings>,
    /// Services that are asked about addresses that no feed names. Default none. Since v0.1.
    pub(crate) lookups: Vec<LookupSettings>,
    /// What is known around events.
    pub(crate) context: ContextSettings,
    /// Ways to tell people beside the log, by name: `[notifiers.payments-oncall]`. Default none. Since v0.1.
    pub(crate) notifiers: BTreeMap<String, NotifierSettings>,
    /// Which notices are for which notifier. Default none: only the log has them. Since v0.1.
    pub(crate) routes: Vec<RouteSettings>,
    /// What tells whether the business is well, by name: `[health.shop]`. Default none. Since v0.1.
    pub(crate) health: BTreeMap<String, HealthSettings>,
    /// The Prometheus that the conditions of playbooks are asked of. Default none. Since v0.1.
    pub(crate) prometheus: Option<PrometheusSettings>,
    /// The firewall of this machine.
    pub(crate) nftables: NftablesSettings,
    /// How much of the traffic of an address passes that is limited.
    pub(crate) rate_limit: RateLimitSettings,
    /// Which events are of this machine.
    pub(crate) host: HostSettings,
    /// Acts on the processes of this machine.
    pub(crate) processes: ProcessSettings,
    /// Acts on domains.
    pub(crate) domains: DomainSettings,
    /// Acts on the accounts of this machine.
    pub(crate) accounts: AccountSettings,
    /// Cutting this machine off the network.
    pub(crate) isolation: IsolationSettings,
    /// Programs of yours that playbooks may run, by name: `[jobs.quarantine-mailbox]`. Default none. Since v0.1.
    pub(crate) jobs: BTreeMap<String, JobSettings>,
    /// Knowledge about traffic.
    pub(crate) traffic: TrafficSettings,
    /// Event sources.
    pub(crate) sources: SourcesSettings,
    /// The journal on disk.
    pub(crate) journal: JournalSettings,
    /// The archive of events that matched nothing.
    pub(crate) archive: ArchiveSettings,
    /// What is preserved before containment.
    pub(crate) evidence: EvidenceSettings,
    /// Drills on this installation.
    pub(crate) drill: DrillSettings,
    /// What a server takes away from itself.
    pub(crate) sandbox: SandboxSettings,
    /// Logging.
    pub(crate) log: LogSettings,
    /// What is told to systems that watch.
    pub(crate) telemetry: TelemetrySettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/staunch".into(),
            mode: Mode::Observe,
            http: HttpSettings::default(),
            playbooks: PlaybookSettings::default(),
            limits: LimitSettings::default(),
            never_touch: NeverTouchSettings::default(),
            risk: RiskSettings::default(),
            feeds: Vec::new(),
            lookups: Vec::new(),
            context: ContextSettings::default(),
            notifiers: BTreeMap::new(),
            routes: Vec::new(),
            health: BTreeMap::new(),
            prometheus: None,
            nftables: NftablesSettings::default(),
            rate_limit: RateLimitSettings::default(),
            host: HostSettings::default(),
            processes: ProcessSettings::default(),
            domains: DomainSettings::default(),
            accounts: AccountSettings::default(),
            isolation: IsolationSettings::default(),
            jobs: BTreeMap::new(),
            traffic: TrafficSettings::default(),
            sources: SourcesSettings::default(),
            journal: JournalSettings::default(),
            archive: ArchiveSettings::default(),
            evidence: EvidenceSettings::default(),
            drill: DrillSettings::default(),
            sandbox: SandboxSettings::default(),
            log: LogSettings::default(),
            telemetry: TelemetrySettings::default(),
        }
    }
}

/// Playbooks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlaybookSettings {
    /// Directories whose `*.yaml` and `*.yml` files are playbooks (`*.test.yaml` are not, and `snippets.yaml` is what
    /// they share). Default none. Since v0.1.
    pub(crate) dirs: Vec<PathBuf>,
    /// Whether the playbooks that come with Staunch are used too; those about processes where `[processes]` is
    /// enabled, those about domains where `[domains]` is, those about accounts
    /// where `[accounts]` is. Default `true`. Since v0.1.
    pub(crate) built_in: bool,
    /// Whether playbooks in `dirs` are used only when one of `trusted_keys` has signed them: see
    /// [signed playbooks](../guide/signed-playbooks.md). Those that come with Staunch are a part of the program and
    /// need no signature. Default `false`. Since v0.1.
    pub(crate) require_signature: bool,
    /// The verifier keys whose signatures count, as `staunch playbook keygen` prints them. Default none. Since v0.1.
    pub(crate) trusted_keys: Vec<String>,
    /// The environment whose values the [parameters](playbooks.md#parameters) of playbooks have, such as `production`.
    /// Default none: their defaults. Since v0.1.
    pub(crate) environment: Option<String>,
    /// Values of parameters that hold whatever the playbook and the environment say, by the name of the playbook:
    /// `[playbooks.parameters.brute-force-block]` with `lease = "30m"`. Default none. Since v0.1.
    #[serde(deserialize_with = "parameters")]
    pub(crate) parameters: BTreeMap<String, BTreeMap<String, String>>,
    // The file and its text, for mistakes that only the playbooks show.
    #[serde(skip)]
    written: Option<Arc<(String, String)>>,
}

impl PlaybookSettings {
    /// The file that they are from, and its text.
    pub(crate) fn written(&self) -> Option<(&str, &str)> {
        self.written
            .as_deref()
            .map(|(file, text)| (file.as_str(), text.as_str()))
    }
}

impl Default for PlaybookSettings {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            built_in: true,
            require_signature: false,
            trusted_keys: Vec::new(),
            environment: None,
            parameters: BTreeMap::new(),
            written: None,
        }
    }
}

/// Limits that hold for all playbooks together. A playbook can set lower ones for itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    /// Actions that are being carried out at the same time. Default 50; at most 1024. Since v0.1.
    pub(crate) actions_in_flight_max: u32,
    /// Acts of one kind in an hour. Default 500; at most `acts_per_hour_max`. Since v0.1.
    pub(crate) acts_per_action_hour_max: u32,
    /// Acts in one neighbourhood (/24 or /48) in an hour. Default 20; at most `acts_per_action_hour_max`. Since v0.1.
    pub(crate) acts_per_group_hour_max: u32,
    /// Acts in all in an hour. Default 500; at most 1000000. Since v0.1.
    pub(crate) acts_per_hour_max: u32,
    /// Failures (rolled back or stuck) within `breaker_window` that open the circuit breaker: from then on Staunch only
    /// observes, until a person sets the mode. Default 5; at least 1. Since v0.1.
    pub(crate) breaker_failures: u32,
    /// See `breaker_failures`. Default `10m`; `1s` to `1h`. Since v0.1.
    pub(crate) breaker_window: Span,
    /// How long the question whether to act waits for a person. Default `30m`; `1s` to `7d`. Since v0.1.
    pub(crate) approval_expiry: Span,
    /// The longest lease, renewals included, counted from the time of asking. Default `24h`; `1s` to `90d`. Since v0.1.
    pub(crate) lease_max: Span,
    /// How often containments in force are verified. Default `30s`; `1s` to `1h`. Since v0.1.
    pub(crate) sweep_interval: Span,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let it = limits::DEFAULT;
        Self {
            actions_in_flight_max: it.actions_in_flight_max,
            acts_per_action_hour_max: it.acts_per_action_hour_max,
            acts_per_group_hour_max: it.acts_per_group_hour_max,
            acts_per_hour_max: it.acts_per_hour_max,
            breaker_failures: it.breaker_failures,
            breaker_window: it.breaker_window,
            approval_expiry: it.approval_expiry,
            lease_max: it.lease_max,
            sweep_interval: it.sweep_interval,
        }
    }
}

impl From<LimitSettings> for staunch_model::Limits {
    fn from(it: LimitSettings) -> Self {
        Self {
            actions_in_flight_max: it.actions_in_flight_max,
            acts_per_action_hour_max: it.acts_per_action_hour_max,
            acts_per_group_hour_max: it.acts_per_group_hour_max,
            acts_per_hour_max: it.acts_per_hour_max,
            breaker_failures: it.breaker_failures,
            breaker_window: it.breaker_window,
            approval_expiry: it.approval_expiry,
            lease_max: it.lease_max,
            sweep_interval: it.sweep_interval,
        }
    }
}

/// What is never touched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NeverTouchSettings {
    /// Networks and single addresses, each with the reason that a refusal shows. Default none. Since v0.1.
    pub(crate) networks: Vec<ProtectedNetwork>,
    /// Files that list networks. Default none. Since v0.1.
    pub(crate) files: Vec<ProtectedFile>,
    /// Whether the machine's own addresses, gateways, resolvers and management sessions, and the services that Staunch
    /// calls, are found and protected. Default `true`. Since v0.1.
    pub(crate) discover: bool,
}

impl Default for NeverTouchSettings {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            files: Vec::new(),
            discover: true,
        }
    }
}

/// A network that is never touched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtectedNetwork {
    /// The network, such as `192.0.2.0/24`, or a single address. Since v0.1.
    #[serde(deserialize_with = "network")]
    pub(crate) network: IpNet,
    /// Why, in the words that a refusal shows. Since v0.1.
    pub(crate) reason: String,
}

/// A file that lists networks that are never touched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtectedFile {
    /// The file; of `plain` ones, what follows `#` or `;` on a line is the reason of that line. It is read
    /// again within a second of a change; one with a mistake is refused whole, and what it said before stays in force.
    /// At most 16 MiB, and 200000 networks in all files together. Since v0.1.
    pub(crate) path: PathBuf,
    /// Why, for lines without a reason of their own. Since v0.1.
    pub(crate) reason: String,
    /// `plain`: a network or address on each line; `aws`: `ip-ranges.json`; `gcp`: `cloud.json`; `azure`:
    /// `ServiceTags_Public.json`. Default `plain`. Since v0.1.
    #[serde(default)]
    pub(crate) format: ListFormat,
    /// The services whose ranges are never touched, such as `CLOUDFRONT` and `ROUTE53_HEALTHCHECKS`; needed for the
    /// formats of providers, whose ranges attackers rent too. Since v0.1.
    #[serde(default)]
    pub(crate) services: Vec<String>,
    /// The regions whose ranges of these services are meant. Default all. Since v0.1.
    #[serde(default)]
    pub(crate) regions: Vec<String>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListFormat {
    #[default]
    Plain,
    Aws,
    Gcp,
    Azure,
}

impl ListFormat {
    /// Whose ranges they are; `None` when it is not a file of ranges.
    pub(crate) const fn provider(self) -> Option<Provider> {
        match self {
            Self::Plain => None,
            Self::Aws => Some(Provider::Aws),
            Self::Gcp => Some(Provider::Gcp),
            Self::Azure => Some(Provider::Azure),
        }
    }
}

/// Knowledge about traffic.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TrafficSettings {
    /// How often connections are counted. Default `2s`; `100ms` to `15s`. Since v0.1.
    pub(crate) refresh: Span,
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            refresh: Span::from_secs(2),
        }
    }
}

/// The journal on disk.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JournalSettings {
    /// Bytes of one segment file. Default 67108864 (64 MiB); 8 MiB to 4 GiB. Segments that exist keep their size. Since
    /// v0.1.
    pub(crate) segment_bytes: u64,
    /// Bytes kept back for lifting containment when the disk is full. Default 4194304 (4 MiB); at least 64 KiB, at most
    /// half of `segment_bytes`. Since v0.1.
    pub(crate) reserve_bytes: u64,
    /// Frames between two snapshots. More frames mean a longer start. Default 200000; at least 100. Since v0.1.
    pub(crate) snapshot_every: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            reserve_bytes: 4 << 20,
            snapshot_every: 200_000,
        }
    }
}

/// The archive of events that matched nothing, so that there is something to try new playbooks on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArchiveSettings {
    /// Whether alerts that match no playbook are kept, as they were sent. Telemetry, health and samples never match,
    /// and are not kept. Default `false`. Since v0.1.
    pub(crate) enabled: bool,
    /// The directory of the files, NDJSON compressed with zstd; made with mode 0700. Only files of the archive may be
    /// in it. Default `archive` in the data directory. Since v0.1.
    pub(crate) dir: Option<PathBuf>,
    /// Bytes of all files together; the oldest is removed to make room. Default 1073741824 (1 GiB); at least
    /// `file_bytes_max`. Since v0.1.
    pub(crate) bytes_max: u64,
    /// Bytes of one file; then the next is begun. Default 67108864 (64 MiB); at least 4 MiB. Since v0.1.
    pub(crate) file_bytes_max: u64,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            dir: None,
            bytes_max: 1 << 30,
            file_bytes_max: 64 << 20,
        }
    }
}

/// Drills on this installation.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DrillSettings {
    /// Networks that `staunch drill run --live` may use: on an operator's order the driver and the traffic feed
    /// misbehave for their addresses, for minutes. At most 8, none wider than a /24 or a /120, none that is never
    /// touched; use addresses that nobody has, such as `192.0.2.0/28`. Without one nothing can be made to misbehave.
    /// Default none. Since v0.1.
    #[serde(deserialize_with = "networks")]
    pub(crate) scope: Vec<IpNet>,
}

/// What a server takes away from itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SandboxSettings {
    /// Whether the kernel is told to let the server write only where it has to (Landlock; with `[accounts]` enabled,
    /// that is all of `/etc` too), run no program unless `[[sources.journald]]` needs one, and make none of some fifty
    /// system calls that reach into the kernel or other processes (seccomp). A kernel without Landlock (before Linux
    /// 5.19) or without seccomp is told of in the log, and by `staunch status`. Default `true`. Since v0.1.
    pub(crate) enabled: bool,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Logging.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSettings {
    /// `text` or `json`; both go to stderr. Default `text`. Since v0.1.
    pub(crate) format: LogFormat,
    /// The least important line that is written: `error`, `warn`, `info`, `debug` or `trace`. Personal data is on
    /// `debug`. Default `info`. Since v0.1.
    pub(crate) level: LogLevel,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// The directory of the places up to which files and journals were read.
    pub(crate) fn places_dir(&self) -> PathBuf {
        self.data_dir.join("files")
    }

    /// The file that keeps where the services were found that are called.
    pub(crate) fn called_file(&self) -> PathBuf {
        self.data_dir.join("called.json")
    }

    /// The file of hashed tokens.
    pub(crate) fn tokens_file(&self) -> PathBuf {
        self.http
            .tokens_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("tokens"))
    }

    /// The directory of the journal.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// Where is written down what was ended.
    pub(crate) fn killed_dir(&self) -> PathBuf {
        self.data_dir.join("killed")
    }

    /// The file of the secret key of the transparency log.
    pub(crate) fn evidence_secret_key_file(&self) -> PathBuf {
        self.data_dir.join(EVIDENCE_KEY)
    }

    /// The file of the public key of the transparency log.
    pub(crate) fn evidence_key_file(&self) -> PathBuf {
        self.data_dir.join("evidence.pub")
    }

    /// The directory of the vault and its transparency log.
    pub(crate) fn evidence_dir(&self) -> PathBuf {
        self.evidence
            .dir
            .clone()
            .unwrap_or_else(|| self.data_dir.join(EVIDENCE))
    }

    /// The directory of the archive.
    pub(crate) fn archive_dir(&self) -> PathBuf {
        self.archive
            .dir
            .clone()
            .unwrap_or_else(|| self.data_dir.join("archive"))
    }

    /// The file of the index.
    pub(crate) fn index_file(&self) -> PathBuf {
        self.data_dir.join("index.sqlite")
    }

    /// The socket for operators on this machine.
    pub(crate) fn operators_socket(&self) -> PathBuf {
        self.data_dir.join("operators.sock")
    }

    /// The file that notes which boot of this machine a server ran in.
    pub(crate) fn boot_file(&self) -> PathBuf {
        self.data_dir.join("boot")
    }

    /// The file that notes, line by line, who has released everything while no server ran.
    pub(crate) fn released_file(&self) -> PathBuf {
        self.data_dir.join("released.jsonl")
    }

    /// The file that holds the installation's id.
    pub(crate) fn installation_file(&self) -> PathBuf {
        self.data_dir.join("installation")
    }
}

/// Values of parameters: texts, or whole numbers and truth values, which are the texts that they are written as.
fn parameters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, D::Error> {
    let read = BTreeMap::<String, BTreeMap<String, toml::Value>>::deserialize(deserializer)?;
    let value = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Integer(number) => Ok((name, number.to_string())),
        toml::Value::Boolean(value) => Ok((name, value.to_string())),
        other => {
            let what = format!(
                "the value of the parameter {} is {}, not a text",
                Printable(&name),
                other.type_str()
            );
            Err(serde::de::Error::custom(what))
        }
    };
    let all = read.into_iter();
    all.map(|(playbook, values)| Ok((playbook, values.into_iter().map(value).collect::<Result<_, _>>()?)))
        .collect()
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    struct One(#[serde(deserialize_with = "network")] IpNet);
    let all = Vec::<One>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|One(network)| network).collect())
}

fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| ip.to_canonical().into()));
    let network = parsed.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "not a network or address: {} (write for example 192.0.2.0/24)",
            Printable(&text)
        ))
    })?;
    if network.trunc() == network {
        Ok(network)
    } else {
        let what = format!(
            "{network} has bits set after its prefix; write {} or {}",
            network.trunc(),
            network.addr()
        );
        Err(serde::de::Error::custom(what))
    }
}
