//! What is never touched.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{Span, Timestamp, TransactionId};
use staunch_store::index::ROWS_MAX;

use super::{REASON_BYTES_MAX, REASON_PATTERN};

/// Exempt a network from containment while the server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectRequest {
    /// The network, such as `192.0.2.0/24`, or one address with its whole length. One that is wider than /16 (IPv6:
    /// /32) needs an operator.
    #[schemars(with = "String")]
    pub network: IpNet,
    /// For how long from now, such as `2h`; left out, until it is taken back.
    #[serde(default)]
    pub lasts: Option<Span>,
    /// Why, at most 500 bytes and not blank; it is recorded. Refusals show it.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Take the exemption of a network back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnprotectRequest {
    /// The network, exactly as it was protected.
    #[schemars(with = "String")]
    pub network: IpNet,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Which protections are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionQuery {
    /// Only those around this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How many networks at most, up to 1,000, by network; all that stands at one network is on one page. Left out,
    /// with `after`, 100; without, all but those of lists, and the first 1,000 of those. Not with `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only networks behind this one: `next` of the page before. Not with `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after: Option<IpNet>,
}

/// What is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Protections {
    /// The time of the engine that they are as of.
    pub now: Timestamp,
    /// By network. Around one address: the policy's first, then those of lists, and the narrowest of them first; a
    /// refusal names the first of all.
    pub protections: Vec<ProtectionView>,
    /// Networks of lists that are not named here, because they are too many: ask for one address, or page by page.
    #[serde(default)]
    pub left_out: u64,
    /// What to give as `after` for the next page; `None` when there is none, or no pages were asked for.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub next: Option<IpNet>,
    /// What holds the address that was asked for, although it may be protected now.
    #[serde(default)]
    pub held_by: Vec<TransactionId>,
}

/// A network that is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProtectionView {
    /// The network.
    #[schemars(with = "String")]
    pub network: IpNet,
    /// Where it comes from.
    pub origin: ProtectionOrigin,
    /// Why.
    pub reason: String,
    /// The file that lists it; `None` when none does.
    #[serde(default)]
    pub file: Option<String>,
    /// The line of the file, from 1.
    #[serde(default)]
    pub line: Option<u32>,
    /// The operator who protects it; `None` when nobody in person does.
    pub by: Option<String>,
    /// Since when; `None` when nobody in person does.
    pub since: Option<Timestamp>,
    /// Until when; `None` for good.
    pub until: Option<Timestamp>,
}

/// Where a protection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtectionOrigin {
    /// The configuration, or what was found on this machine.
    Policy,
    /// No containment can mean it.
    Always,
    /// A file lists it.
    List,
    /// `staunch protect add`.
    Protected,
    /// `staunch release --trust`.
    Trusted,
}

impl ProtectionOrigin {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Always => "always",
            Self::List => "list",
            Self::Protected => "protected",
            Self::Trusted => "trusted",
        }
    }
}
