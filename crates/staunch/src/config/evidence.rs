//! The keys of what is preserved, and where it is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is preserved before containment, and the vault that it is kept in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvidenceSettings {
    /// Whether evidence is preserved when a playbook asks for it. Without, it is missed, which is recorded and told, and
    /// containment goes on. Default `true`. Since v0.1.
    pub(crate) enabled: bool,
    /// The directory of the vault and its transparency log; made with mode 0700. Best on a disk of its own. Default `evidence` in the data directory.
    /// Since v0.1.
    pub(crate) dir: Option<PathBuf>,
    /// The most MiB of one artefact; a larger one is refused with a record, not cut. Default 16384 (16 GiB). Since v0.1.
    pub(crate) artefact_mib_max: u64,
    /// Whether what is sealed is made immutable (`chattr +i`), where the file system and the capabilities of the server
    /// (CAP_LINUX_IMMUTABLE) let it; without, files are read-only, which the manifests say. Default `true`. Since v0.1.
    pub(crate) immutable: bool,
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            artefact_mib_max: 16 << 10,
            immutable: true,
        }
    }
}
