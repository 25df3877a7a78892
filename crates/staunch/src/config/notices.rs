//! Who is told: notifiers beside the log, and what leads to them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use staunch_model::{IdentityKind, NoticeLevel, Span};

use super::lookups::is_loopback;

/// What stands at a notifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NotifierKind {
    /// A service that takes notices by HTTP.
    Webhook,
}

/// A way to tell people beside the log, which always has everything. It takes effect from the next start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifierSettings {
    /// `webhook`: notices are posted as JSON, signed as Standard Webhooks 1.0.0 says. Since v0.1.
    pub(crate) kind: NotifierKind,
    /// Where they are posted: `https://`, or `http://` on this machine. Of it only the host is ever shown. Since v0.1.
    pub(crate) url: String,
    /// The file of the secret that the receiver knows too, `whsec_` and the base64 of 24 to 64 bytes, which nobody but
    /// its owner and group may read. Since v0.1.
    pub(crate) key_file: PathBuf,
    /// The file of the authorities in PEM by which it is verified. Default those of this machine. Since v0.1.
    pub(crate) ca: Option<PathBuf>,
    /// How long one try may take. Default `15s`; `100ms` to `30s`. Since v0.1.
    #[serde(default = "fifteen_seconds")]
    pub(crate) deadline: Span,
}

/// A route: everything that it names must hold of a notice. All routes that hold count; one that names nothing holds
/// when no other does. It takes effect from the next start.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RouteSettings {
    /// Whose things the incident is about: of the asset where the route names `environment`, `tier` or `data_class`;
    /// else of the account where it names `identity_kind` or `break_glass`; alone, of either. Default any. Since v0.1.
    pub(crate) team: Option<String>,
    /// One asset that the events of the incident name is in this environment, and all else that the route says of
    /// assets holds for it. Default any. Since v0.1.
    pub(crate) environment: Option<String>,
    /// The same asset is of this tier. Default any. Since v0.1.
    pub(crate) tier: Option<String>,
    /// The same asset holds data of this class. Default any. Since v0.1.
    pub(crate) data_class: Option<String>,
    /// An account that the events name is that of a person (`human`) or of a program (`service`). Default either.
    /// Since v0.1.
    pub(crate) identity_kind: Option<IdentityKind>,
    /// The account for which `identity_kind` holds is kept for emergencies (`true`), or is not (`false`). Default
    /// either. Since v0.1.
    pub(crate) break_glass: Option<bool>,
    /// The notice is of this level or more urgent: `info`, `warning`, `page`. Default any. Since v0.1.
    pub(crate) level: Option<NoticeLevel>,
    /// The notifiers that are told; with none, only the log is. Since v0.1.
    pub(crate) to: Vec<String>,
}

impl NotifierSettings {
    /// True when it is on this machine, and called without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }

    /// Why it cannot be called at its address.
    pub(super) fn why_no_url(&self) -> Option<&'static str> {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return Some("it does not begin with https:// or http://");
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || self.url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Some("it names no host");
        }
        if host.contains('@') {
            return Some("it has a user or a password in it");
        }
        if rest.contains('#') {
            return Some("it has a fragment in it, which is never sent");
        }
        match scheme {
            "https" => None,
            "http" if is_loopback(host) => None,
            "http" => Some("without encryption only this machine is told, such as 127.0.0.1"),
            _ => Some("it does not begin with https:// or http://"),
        }
    }

    /// Its scheme and its host: the rest may be a secret.
    pub(crate) fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{scheme}://{host}/...")
    }
}

impl RouteSettings {
    /// True when it names nothing, so that it holds when no other does.
    pub(crate) fn is_default(&self) -> bool {
        self.level.is_none() && !self.is_about_things()
    }

    /// True when it says something of assets or accounts.
    pub(crate) fn is_about_things(&self) -> bool {
        self.team.is_some() || self.is_about_assets() || self.is_about_accounts()
    }

    /// The first key of it that only an asset answers.
    pub(crate) fn key_of_assets(&self) -> Option<&'static str> {
        let environment = self.environment.as_ref().map(|_| "environment");
        let tier = self.tier.as_ref().map(|_| "tier");
        environment.or(tier).or(self.data_class.as_ref().map(|_| "data_class"))
    }

    /// The first key of it that only an account answers.
    pub(crate) fn key_of_accounts(&self) -> Option<&'static str> {
        let kind = self.identity_kind.map(|_| "identity_kind");
        kind.or(self.break_glass.map(|_| "break_glass"))
    }

    /// True when it says something that only an asset has.
    pub(crate) fn is_about_assets(&self) -> bool {
        self.key_of_assets().is_some()
    }

    /// True when it says something that only an account has.
    pub(crate) fn is_about_accounts(&self) -> bool {
        self.key_of_accounts().is_some()
    }
}

const fn fifteen_seconds() -> Span {
    Span::from_secs(15)
}
