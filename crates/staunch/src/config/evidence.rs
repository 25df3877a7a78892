//! The keys of what is preserved, and where it is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use staunch_model::{Span, Tlp};

/// What is preserved before containment, and the vault that it is kept in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvidenceSettings {
    /// Whether evidence is preserved when a playbook asks for it. Without, it is missed, which is recorded and
    /// told, and containment goes on. Default `true`. Since v0.1.
    pub(crate) enabled: bool,
    /// The directory of the vault and its transparency log; made with mode 0700. Best on a disk of its own.
    /// Default `evidence` in the data directory. Since v0.1.
    pub(crate) dir: Option<PathBuf>,
    /// The most MiB of one artefact; a larger one is refused with a record. Of a file its last part is kept, and
    /// the record says of how much. Default 16384 (16 GiB). Since v0.1.
    pub(crate) artefact_mib_max: u64,
    /// Whether what is sealed is made immutable (`chattr +i`), where the file system and the capabilities of the
    /// server (CAP_LINUX_IMMUTABLE) let it; without, files are read-only, which the manifests say. Default
    /// `true`. Since v0.1.
    pub(crate) immutable: bool,
    /// Whom artefacts are encrypted to: public keys of age, as `age-keygen` prints them (`age1…`). Default nobody: they
    /// are not encrypted. Who has none of their secret keys can prove the stored bytes, and read nothing. Since
    /// v0.1.
    pub(crate) recipients: Vec<String>,
    /// The time server that tells how far the clock of this machine is off, which manifests then say: a name or an
    /// address, with a port where it is not 123. It is asked every five minutes, over UDP (SNTP); the clock is not
    /// set. Default none: nobody can tell. Since v0.1.
    pub(crate) clock: Option<String>,
    /// How confidential what is taken is, in words of the organisation, which its manifests then say. At most 100
    /// characters. Default nothing is said. Since v0.1.
    pub(crate) classification: Option<String>,
    /// Who may be shown what is taken, by the Traffic Light Protocol 2.0: `clear`, `green`, `amber`, `amber-strict` or
    /// `red`. Default nothing is said. Since v0.1.
    pub(crate) tlp: Option<Tlp>,
    /// How long what is taken is to be kept by the rules of the organisation, which its manifests then say. Nothing
    /// is deleted after it. `1d` to `36500d`. Default nothing is said. Since v0.1.
    pub(crate) keep: Option<Span>,
    /// Further words: in command lines and environments that are taken, the value of what has one of them in its name
    /// is hidden, as is that of `TOKEN`, `PASS`, `SECRET`, `KEY` and the like. At most 100, of 2 to 100 characters.
    /// Default none. Since v0.1.
    pub(crate) redact: Vec<String>,
    /// Where this machine belongs, which manifests then say. Default nothing is said. Since v0.1.
    pub(crate) source: EvidencePlace,
    /// A bucket that locks what is put there, for artefacts and copies of their manifests. Default none: artefacts
    /// stay in `dir`. Since v0.1.
    pub(crate) s3: Option<EvidenceBucket>,
    /// Where checkpoints of the transparency log are kept besides. Default nowhere. Since v0.1.
    pub(crate) anchors: Vec<AnchorSettings>,
}

/// Where this machine belongs, which the manifests of its evidence then say. Each has at most 300 characters.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvidencePlace {
    /// The cloud, hoster or cluster, such as `aws`. Default nothing is said. Since v0.1.
    pub(crate) provider: Option<String>,
    /// The account, project or cluster there. Default nothing is said. Since v0.1.
    pub(crate) account: Option<String>,
    /// The region there, such as `eu-central-1`. Default nothing is said. Since v0.1.
    pub(crate) region: Option<String>,
    /// The name of this machine there, such as its ARN. Default nothing is said. Since v0.1.
    pub(crate) resource: Option<String>,
}

/// The bucket that artefacts are kept in, locked by S3 Object Lock: see
/// [evidence](../guide/evidence.md#a-bucket-that-locks). It has to show that it locks before anything is put there.
/// While it is away, evidence is kept in `dir` and sent later.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvidenceBucket {
    /// The address of the service: `https://s3.eu-central-1.amazonaws.com`. `http://` for one on this machine.
    /// Since v0.1.
    pub(crate) endpoint: String,
    /// The region. Default `us-east-1`. Since v0.1.
    #[serde(default = "us_east_1")]
    pub(crate) region: String,
    /// The bucket. Object Lock is turned on when it is made. Since v0.1.
    pub(crate) bucket: String,
    /// What stands before the names of objects, such as `web-1`; each installation has its own. Default nothing.
    /// Since v0.1.
    #[serde(default)]
    pub(crate) prefix: String,
    /// Whether the bucket is the first part of the path, and not of the name of the host. Default `true`. Since
    /// v0.1.
    #[serde(default = "yes")]
    pub(crate) path_style: bool,
    /// The file of the name of the key and the secret key, with a space between, which nobody but its owner and
    /// group may read. It is read again each time. Since v0.1.
    pub(crate) key_file: PathBuf,
    /// The file of the authorities in PEM by which the service is verified. Default those of this machine. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// Who may delete evidence before its time: `governance`: those with a permission of their own; `compliance`:
    /// nobody, and nothing takes that back. Default `governance`. Since v0.1.
    #[serde(default)]
    pub(crate) retention: RetentionMode,
    /// How long evidence is kept, from when it is sealed last. Default `365d`; `1h` to `3650d`. Since v0.1.
    #[serde(default = "a_year")]
    pub(crate) retain: Span,
    /// Whether evidence is kept beyond that until somebody takes its legal hold away. Default `false`. Since v0.1.
    #[serde(default)]
    pub(crate) legal_hold: bool,
    /// How long sealing waits for the bucket, before an artefact is kept in `dir` and sent later. Default `10s`; `1s`
    /// to `1m`. Since v0.1.
    #[serde(default = "ten_seconds")]
    pub(crate) wait: Span,
}

impl EvidenceBucket {
    /// The host of the bucket, with its port where one is named.
    pub(crate) fn host(&self) -> String {
        let host = self
            .endpoint
            .split_once("://")
            .map_or(&*self.endpoint, |(_, host)| host);
        let host = host.trim_end_matches('/');
        if self.path_style {
            host.to_owned()
        } else {
            format!("{}.{host}", self.bucket)
        }
    }

    /// Its address, with the scheme.
    pub(crate) fn address(&self) -> String {
        let scheme = self.endpoint.split_once("://").map_or("https", |(scheme, _)| scheme);
        format!("{scheme}://{}", self.host())
    }
}

/// A place that the newest checkpoint of the transparency log is brought to, so that who can write here cannot
/// take back what was logged: see [evidence](../guide/evidence.md#anchors). What fails is tried again and holds
/// up nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnchorSettings {
    /// What it is called: letters, digits and `-`. Since v0.1.
    pub(crate) name: String,
    /// `git`: committed to a repository; `rfc3161`: stamped by an authority for time stamps;
    /// `s3`: copied into a bucket with Object Lock. Since v0.1.
    pub(crate) kind: AnchorKind,
    /// The repository, for `git`: the absolute path of a bare one, or an address that begins with `https://` or
    /// `ssh://`. `git` is run as the user of the server, with its keys and credentials. Since v0.1.
    #[serde(default)]
    pub(crate) repository: Option<String>,
    /// The branch, for `git`. It is never forced. Default `checkpoints`. Since v0.1.
    #[serde(default = "checkpoints")]
    pub(crate) branch: String,
    /// The address of the authority, for `rfc3161`, or of the bucket and what stands before the names of objects,
    /// for `s3`: `https://s3.eu-central-1.amazonaws.com/bucket/prefix` or
    /// `https://bucket.s3.eu-central-1.amazonaws.com`. `http://` for an authority, and for a bucket on this
    /// machine. Since v0.1.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// The file of the authorities in PEM by which its server is verified, for `rfc3161` and `s3`. Default those
    /// of this machine. Since v0.1.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// The region, for `s3`. Default `us-east-1`. Since v0.1.
    #[serde(default = "us_east_1")]
    pub(crate) region: String,
    /// The file of the name of the key and the secret key, with a space between, for `s3`, which nobody but its
    /// owner and group may read. It is read again each time. Since v0.1.
    #[serde(default)]
    pub(crate) key_file: Option<PathBuf>,
    /// Who may delete a checkpoint before its time, for `s3`: `governance`: those with a permission of their own;
    /// `compliance`: nobody, and nothing takes that back. Default `governance`. Since v0.1.
    #[serde(default)]
    pub(crate) retention: RetentionMode,
    /// How long a checkpoint is kept, for `s3`. Default `365d`; `1h` to `3650d`. Since v0.1.
    #[serde(default = "a_year")]
    pub(crate) retain: Span,
    /// Whether a checkpoint is kept beyond that until somebody takes its legal hold away, for `s3`. Default
    /// `false`. Since v0.1.
    #[serde(default)]
    pub(crate) legal_hold: bool,
    /// How often at the most, and only when there is a new checkpoint. After a failure it is tried again after a
    /// minute, and twice as long each time. Default `1h`; `1s` to `7d`. Since v0.1.
    #[serde(default = "an_hour")]
    pub(crate) every: Span,
    /// How long one attempt may take. Default `1m`; `1s` to `10m`. Since v0.1.
    #[serde(default = "a_minute")]
    pub(crate) deadline: Span,
}

/// The kinds of anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnchorKind {
    /// A repository.
    Git,
    /// An authority for time stamps.
    Rfc3161,
    /// A bucket with Object Lock.
    S3,
}

/// Who may delete what a bucket keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RetentionMode {
    /// Those with a permission of their own.
    #[default]
    Governance,
    /// Nobody.
    Compliance,
}

const fn a_year() -> Span {
    Span::from_hours(365 * 24)
}

fn us_east_1() -> String {
    "us-east-1".to_owned()
}

fn checkpoints() -> String {
    "checkpoints".to_owned()
}

const fn yes() -> bool {
    true
}

const fn ten_seconds() -> Span {
    Span::from_secs(10)
}

const fn an_hour() -> Span {
    Span::from_hours(1)
}

const fn a_minute() -> Span {
    Span::from_mins(1)
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            artefact_mib_max: 16 << 10,
            immutable: true,
            recipients: Vec::new(),
            clock: None,
            classification: None,
            tlp: None,
            keep: None,
            redact: Vec::new(),
            source: EvidencePlace::default(),
            s3: None,
            anchors: Vec::new(),
        }
    }
}
