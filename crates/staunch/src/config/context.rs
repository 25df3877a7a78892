//! What is known around events: whose things are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use staunch_connectors::context::Format;
use staunch_model::{ContextRow, ContextRuling, ContextTable, IdentityKind, Printable};

/// What is known around events, for triggers (`asset.tier`, `identity.kind`) and for the context guard.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContextSettings {
    /// Files that say what networks, addresses and hosts are. Default none. Since v0.1.
    pub(crate) assets: Vec<ContextFile>,
    /// Files that say whose accounts are. Default none. Since v0.1.
    pub(crate) identities: Vec<ContextFile>,
    /// Databases in MaxMind's format that say where addresses are. Default none. Since v0.1.
    pub(crate) geo: Vec<GeoDatabase>,
    /// The rows of the context guard. Default none. Since v0.1.
    pub(crate) guards: Vec<ContextRowSettings>,
}

/// A database that says where addresses are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeoDatabase {
    /// The `.mmdb` file, such as GeoLite2 Country, City or ASN; of several, the first that knows decides. It is read
    /// again within a second of a change. One that is missing or cannot be used makes places unknown, which is told,
    /// and stops nothing. At most 128 MiB, all of which is kept in memory. Since v0.1.
    pub(crate) path: PathBuf,
}

/// A file of assets or of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextFile {
    /// The file. It is read again within a second of a change; one with a mistake is refused whole, and what it said
    /// before stays in force. At most 16 MiB, and 100000 entries in all files of a kind together. Since v0.1.
    pub(crate) path: PathBuf,
    /// `yaml`, `csv` or `json`. Default by the ending of the file's name. Since v0.1.
    pub(crate) format: Option<Format>,
}

impl ContextFile {
    /// How it is written; `None` when neither the configuration nor its name tells.
    pub(crate) fn format(&self) -> Option<Format> {
        let ending = Path::extension(&self.path).and_then(|it| it.to_str());
        self.format.or_else(|| Format::of_ending(&ending?.to_ascii_lowercase()))
    }
}

/// A row of the context guard: everything that it names must hold. The first row that holds decides.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextRowSettings {
    /// What it is called in the plan. Since v0.1.
    pub(crate) name: String,
    /// `true`: a file of assets names the target, or a network around it; `false`: none does. Default either. Since
    /// v0.1.
    pub(crate) asset_known: Option<bool>,
    /// The target belongs to one of these teams. Default any. Since v0.1.
    #[serde(default)]
    pub(crate) owner: Vec<String>,
    /// The target is of one of these tiers. Default any. Since v0.1.
    #[serde(default)]
    pub(crate) tier: Vec<String>,
    /// The target holds data of one of these classes. Default any. Since v0.1.
    #[serde(default)]
    pub(crate) data_class: Vec<String>,
    /// The target is in one of these environments. Default any. Since v0.1.
    #[serde(default)]
    pub(crate) environment: Vec<String>,
    /// An account that an event of the incident names belongs to one of these teams. Default any. Since v0.1.
    #[serde(default)]
    pub(crate) team: Vec<String>,
    /// Such an account is that of a person (`human`) or of a program (`service`). Default either. Since v0.1.
    pub(crate) identity_kind: Option<IdentityKind>,
    /// Such an account is kept for emergencies (`true`), or is not (`false`). Default either. Since v0.1.
    pub(crate) break_glass: Option<bool>,
    /// What follows: `refuse`, `ask` a person, or `pass`, whatever later rows say. Since v0.1.
    pub(crate) then: ContextRuling,
}

impl ContextSettings {
    /// True when there is nothing that could know of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.assets.is_empty() && self.identities.is_empty() && self.geo.is_empty()
    }

    /// The table of the context guard.
    pub(crate) fn table(&self) -> ContextTable {
        let texts = |it: &[String]| it.iter().map(|it| it.as_str().into()).collect();
        let row = |it: &ContextRowSettings| ContextRow {
            name: Printable(&it.name).to_string().into(),
            asset_known: it.asset_known,
            owner: texts(&it.owner),
            tier: texts(&it.tier),
            data_class: texts(&it.data_class),
            environment: texts(&it.environment),
            team: texts(&it.team),
            identity_kind: it.identity_kind,
            break_glass: it.break_glass,
            then: it.then,
        };
        ContextTable {
            rows: self.guards.iter().map(row).collect(),
        }
    }
}
