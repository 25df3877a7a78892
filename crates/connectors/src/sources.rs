//! Event sources: what each system's JSON means in the words that playbooks use.
//!
//! Never receives anything and never judges. A decoder turns one [`Document`] into one [`EventView`] that borrows from
//! it, without allocating: this is the hot path of Staunch.
//!
//! Text of an event stays as it was sent, escape sequences and all; show it with [`staunch_model::Printable`] only.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use staunch_model::EventView;

use crate::json::{Document, JsonError};

pub mod address;
pub mod alertmanager;
pub mod auditd;
pub mod body;
pub mod cloudevents;
pub mod cloudtrail;
pub mod crowdsec;
pub mod falco;
pub mod generic;
pub mod guardduty;
pub mod kubernetes_audit;
pub mod ocsf;
pub mod okta;
mod pick;
mod port;
pub mod suricata;
pub mod time;
pub mod wazuh;

pub use alertmanager::Alertmanager;
pub use auditd::Auditd;
pub use cloudevents::CloudEvents;
pub use cloudtrail::CloudTrail;
pub use crowdsec::CrowdSec;
pub use falco::Falco;
pub use generic::{Generic, GenericSettings};
pub use guardduty::GuardDuty;
pub use kubernetes_audit::KubernetesAudit;
pub use ocsf::Ocsf;
pub use okta::Okta;
pub use port::ports;
pub use suricata::{Suricata, SuricataSettings};
pub use wazuh::Wazuh;

/// One system's way of writing events.
pub trait Source: Send + Sync {
    /// The name of the system: what playbooks list under `sources` and what events are posted to.
    fn name(&self) -> &str;

    /// The paths at which a body may hold events inside an object: a list of them, or one. The first that is there
    /// counts. An object without any of them is an event itself.
    fn inside(&self) -> &'static [&'static [&'static str]] {
        &[]
    }

    /// The event that `doc` holds as a text, for systems that deliver JSON inside JSON.
    fn written<'a>(&self, _doc: &'a Document<'_>) -> Option<&'a str> {
        None
    }

    /// The event that is to be read instead of `doc`, for systems that pack a part of an event; `None` when nothing of
    /// it is packed, which is so of what this returns. `bytes` are those of `doc`.
    fn unpacked(&self, _doc: &Document<'_>, _bytes: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        None
    }

    /// See [`staunch_ports::Source::with_headers`].
    fn with_headers(&self, _headers: &mut dyn Iterator<Item = (&str, &str)>, _body: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Says what `doc` means.
    fn decode<'a>(&'a self, doc: &'a Document<'_>) -> Decoded<'a>;

    /// Says why [`Source::decode`] took the side that it took as the attacking one, or none. For people; not on the hot
    /// path.
    fn explain(&self, doc: &Document<'_>) -> &'static str;
}

/// What a document turned out to be.
#[derive(Clone, Copy)]
pub enum Decoded<'a> {
    /// An event.
    Event(EventView<'a>),
    /// Something that the configuration or the format says is not an event. The reason is for the counter.
    Ignored(&'static str),
    /// Not what this system sends.
    Malformed {
        /// What is missing or wrong.
        what: &'static str,
        /// What to look at.
        hint: &'static str,
    },
}

impl fmt::Debug for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(view) => write!(f, "Event({} {:?} {:?})", view.system, view.kind, view.signature),
            Self::Ignored(reason) => write!(f, "Ignored({reason})"),
            Self::Malformed { what, .. } => write!(f, "Malformed({what})"),
        }
    }
}

/// Settings of all sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSettings {
    /// Suricata. Since v0.1.
    pub suricata: SuricataSettings,
    /// Systems that are described by a mapping instead of code. Default none. Since v0.1.
    pub generic: Vec<GenericSettings>,
}

/// The sources of JSON that are written in code. [`Auditd`] is the one of text.
#[must_use]
pub fn built_in(settings: &SourceSettings) -> Vec<Arc<dyn Source>> {
    vec![
        Arc::new(Suricata::new(&settings.suricata)),
        Arc::new(Falco),
        Arc::new(GuardDuty),
        Arc::new(CloudTrail),
        Arc::new(Alertmanager),
        Arc::new(KubernetesAudit),
        Arc::new(CrowdSec),
        Arc::new(Ocsf),
        Arc::new(Wazuh),
        Arc::new(Okta),
        Arc::new(CloudEvents),
    ]
}

/// The built-in sources and those of `settings.generic`, each name once.
///
/// # Errors
///
/// When a mapping is invalid or its name is taken. The error names the key, such as `generic[1].source_ip`.
pub fn all(settings: &SourceSettings) -> Result<Vec<Arc<dyn Source>>, SettingsError> {
    let mut sources = built_in(settings);
    for (position, mapping) in settings.generic.iter().enumerate() {
        let within = |error: SettingsError| SettingsError {
            key: format!("generic[{position}].{}", error.key),
            ..error
        };
        let generic = Generic::new(mapping).map_err(within)?;
        let text = staunch_ports::Source::name(&Auditd);
        if generic.name() == text || sources.iter().any(|source| source.name() == generic.name()) {
            let what = format!("there is a source \"{}\" already", generic.name());
            return Err(within(SettingsError::new("name", what, "choose another name")));
        }
        sources.push(Arc::new(generic));
    }
    Ok(sources)
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The key, from the settings of sources on.
    pub key: String,
    /// What is wrong with its value.
    pub what: String,
    /// What to write instead.
    pub hint: &'static str,
}

impl SettingsError {
    fn new(key: impl Into<String>, what: impl Into<String>, hint: &'static str) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
            hint,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

impl std::error::Error for SettingsError {}
