//! What is known of the things that an event names, from outside of the event: whose an address, a host or an account
//! is, and where in the world an address is.
//!
//! Never looks anything up by itself: who keeps the knowledge implements [`Surroundings`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::EventView;
use crate::risk::Score;
use crate::text::Printable;

/// What a file says of an address, a network or a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// The team that it belongs to.
    pub owner: Option<Arc<str>>,
    /// How much depends on it, in the words of the file.
    pub tier: Option<Arc<str>>,
    /// What kind of data it holds, in the words of the file.
    pub data_class: Option<Arc<str>>,
    /// Where it is used, such as `production`.
    pub environment: Option<Arc<str>>,
    /// The network or host that the file names.
    pub named: Arc<str>,
    /// The file, and the place in it. Safe to show.
    pub by: Arc<str>,
}

/// Who uses an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// A person.
    Human,
    /// A program.
    Service,
}

impl IdentityKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

/// What a file says of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The team that it belongs to.
    pub team: Option<Arc<str>>,
    /// Who uses it.
    pub kind: Option<IdentityKind>,
    /// Whether it is kept for emergencies: locked out, nobody gets in any more.
    pub break_glass: bool,
    /// The file, and the place in it. Safe to show.
    pub by: Arc<str>,
}

/// Where an address is, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The country, by ISO 3166.
    pub country: Option<&'a str>,
    /// The number of the autonomous system that announces it.
    pub asn: Option<u32>,
    /// Whose that system is.
    pub organization: Option<&'a str>,
}

/// How bad an address is, by feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rating {
    /// The score, in thousandths; 0 when no feed names it.
    pub score: Score,
    /// How sure the feed is, in percent; `None` when no feed names it.
    pub confidence: Option<u8>,
}

/// Knows what is around events. Look-ups answer from memory.
pub trait Surroundings: Send + Sync {
    /// What files say of `ip`; `None` when none names it.
    fn asset_at(&self, ip: IpAddr) -> Option<&Asset>;

    /// What files say of the host called `name`; `None` when none names it.
    fn asset_named(&self, name: &str) -> Option<&Asset>;

    /// What files say of `account`; `None` when none names it.
    fn identity(&self, account: &str) -> Option<&Identity>;

    /// Where `ip` is.
    fn place(&self, ip: IpAddr) -> Place<'_>;

    /// How bad `ip` is; `None` when that is not known.
    fn rating(&self, ip: IpAddr) -> Option<Rating>;
}

/// Nothing is known of anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingKnown;

impl Surroundings for NothingKnown {
    fn asset_at(&self, _: IpAddr) -> Option<&Asset> {
        None
    }

    fn asset_named(&self, _: &str) -> Option<&Asset> {
        None
    }

    fn identity(&self, _: &str) -> Option<&Identity> {
        None
    }

    fn place(&self, _: IpAddr) -> Place<'_> {
        Place::default()
    }

    fn rating(&self, _: IpAddr) -> Option<Rating> {
        None
    }
}

/// What was known around one event when it came, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventContext {
    /// The addresses of both sides and of all targets, each once.
    pub addresses: Vec<KnownAddress>,
    /// The host that reported it.
    pub host: Option<KnownHost>,
    /// The account concerned.
    pub account: Option<KnownAccount>,
}

/// What was known of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownAddress {
    /// The address.
    pub ip: IpAddr,
    /// What files said of it.
    pub asset: Option<Asset>,
    /// Its country.
    pub country: Option<Box<str>>,
    /// Its autonomous system.
    pub asn: Option<u32>,
    /// Whose that system is.
    pub organization: Option<Box<str>>,
    /// How bad it was by feeds.
    pub rating: Option<Rating>,
}

/// What was known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownHost {
    /// Its name.
    pub name: Box<str>,
    /// What files said of it.
    pub asset: Asset,
}

/// What was known of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownAccount {
    /// Its name.
    pub name: Box<str>,
    /// What files said of it; `None` when none named it.
    pub identity: Option<Identity>,
}

impl EventContext {
    /// What is known around `view`, and of the addresses among its `targets`.
    #[must_use]
    pub fn of(view: &EventView<'_>, targets: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut context = Self::default();
        let around = view.around;
        let sides = [view.source.ip, view.destination.ip].into_iter().flatten();
        for ip in sides.chain(targets) {
            if context.addresses.iter().any(|it| it.ip == ip) {
                continue;
            }
            let place = around.place(ip);
            context.addresses.push(KnownAddress {
                ip,
                asset: around.asset_at(ip).cloned(),
                country: place.country.map(Into::into),
                asn: place.asn,
                organization: place.organization.map(Into::into),
                rating: around.rating(ip),
            });
        }
        let host = view.host.filter(|name| !name.is_empty());
        context.host = host.and_then(|name| {
            Some(KnownHost {
                name: name.into(),
                asset: around.asset_named(name)?.clone(),
            })
        });
        let account = view.user.filter(|name| !name.is_empty());
        context.account = account.map(|name| KnownAccount {
            name: crate::text::clip(name, crate::Event::TEXT_BYTES_MAX).into(),
            identity: around.identity(name).cloned(),
        });
        context
    }

    /// What was known of `ip`; `None` when the event does not name it.
    #[must_use]
    pub fn address(&self, ip: IpAddr) -> Option<&KnownAddress> {
        self.addresses.iter().find(|it| it.ip == ip)
    }

    /// What was known, each part in a line of its own. Safe to show.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for it in &self.addresses {
            let mut parts = Vec::new();
            parts.extend(it.asset.as_ref().map(ToString::to_string));
            parts.extend(it.country.as_ref().map(|it| format!("country {}", Printable(it))));
            parts.extend(it.asn.map(|asn| match &it.organization {
                Some(name) => format!("AS{asn} ({})", Printable(name)),
                None => format!("AS{asn}"),
            }));
            parts.extend(it.rating.map(|it| match it.confidence {
                Some(confidence) => format!("score {}, {confidence} % sure", it.score),
                None => "no feed names it".to_owned(),
            }));
            if !parts.is_empty() {
                // Of the parts, an asset alone is what an address can be.
                let is = if it.asset.is_some() { " is" } else { ":" };
                lines.push(format!("{}{is} {}", it.ip, parts.join("; ")));
            }
        }
        lines.extend(
            self.host
                .iter()
                .map(|it| format!("{} is {}", Printable(&it.name), it.asset)),
        );
        let named = self.account.iter().filter_map(|it| Some((it, it.identity.as_ref()?)));
        lines.extend(named.map(|(it, identity)| format!("{} is {identity}", Printable(&it.name))));
        lines
    }
}

impl Surroundings for EventContext {
    fn asset_at(&self, ip: IpAddr) -> Option<&Asset> {
        self.address(ip)?.asset.as_ref()
    }

    fn asset_named(&self, name: &str) -> Option<&Asset> {
        self.host.as_ref().filter(|it| &*it.name == name).map(|it| &it.asset)
    }

    fn identity(&self, account: &str) -> Option<&Identity> {
        let known = self.account.as_ref()?;
        let same = &*known.name == crate::text::clip(account, crate::Event::TEXT_BYTES_MAX);
        known.identity.as_ref().filter(|_| same)
    }

    fn place(&self, ip: IpAddr) -> Place<'_> {
        self.address(ip).map_or_else(Place::default, |it| Place {
            country: it.country.as_deref(),
            asn: it.asn,
            organization: it.organization.as_deref(),
        })
    }

    fn rating(&self, ip: IpAddr) -> Option<Rating> {
        self.address(ip)?.rating
    }
}

/// What it is, and where that is written. Safe to show.
impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (what, value) in [
            ("tier ", &self.tier),
            ("", &self.environment),
            ("data ", &self.data_class),
            ("of ", &self.owner),
        ] {
            if let Some(value) = value {
                write!(f, "{comma}{what}{}", Printable(value))?;
                comma = ", ";
            }
        }
        if comma.is_empty() {
            f.write_str("an asset")?;
        }
        write!(f, " ({}: {})", Printable(&self.by), Printable(&self.named))
    }
}

/// What it is, and where that is written. Safe to show.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Some(IdentityKind::Human) => "a person's account",
            Some(IdentityKind::Service) => "a service account",
            None => "an account",
        })?;
        if let Some(team) = &self.team {
            write!(f, " of {}", Printable(team))?;
        }
        if self.break_glass {
            f.write_str(", for emergencies (break-glass)")?;
        }
        write!(f, " ({})", Printable(&self.by))
    }
}

/// What a row of the context guard leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContextRuling {
    /// The act goes on, whatever later rows say.
    Pass,
    /// A person is asked.
    Ask,
    /// The act is refused.
    Refuse,
}

/// A row of the context guard: everything that it names must hold. What it says of the asset is asked of the target;
/// what it says of the identity, of the accounts that the incident's events name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextRow {
    /// What it is called in the plan.
    pub name: Box<str>,
    /// Whether a file must name the target, or must not.
    pub asset_known: Option<bool>,
    /// The owner is one of these; any when there is none. So are the next.
    pub owner: Vec<Box<str>>,
    /// See `owner`.
    pub tier: Vec<Box<str>>,
    /// See `owner`.
    pub data_class: Vec<Box<str>>,
    /// See `owner`.
    pub environment: Vec<Box<str>>,
    /// The team of an account is one of these; any when there is none.
    pub team: Vec<Box<str>>,
    /// Who uses an account.
    pub identity_kind: Option<IdentityKind>,
    /// Whether an account is kept for emergencies.
    pub break_glass: Option<bool>,
    /// What follows.
    pub then: ContextRuling,
}

/// What is asked of a person, or refused, because of what is known of the target and of accounts: the first row that
/// holds decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextTable {
    /// The rows, in order.
    pub rows: Vec<ContextRow>,
}

impl ContextTable {
    /// The first row that holds, with its position, and the account that it holds for when it is about one. What is not
    /// known is equal to nothing.
    #[must_use]
    pub fn decide<'t, 'a>(
        &'t self,
        asset: Option<&Asset>,
        accounts: &'a [KnownAccount],
    ) -> Option<(usize, &'t ContextRow, Option<&'a KnownAccount>)> {
        self.rows.iter().enumerate().find_map(|(at, row)| {
            if !row.holds_for(asset) {
                return None;
            }
            if !row.is_about_identities() {
                return Some((at, row, None));
            }
            let held = |it: &&KnownAccount| it.identity.as_ref().is_some_and(|it| row.holds_for_identity(it));
            accounts.iter().find(held).map(|it| (at, row, Some(it)))
        })
    }
}

impl ContextRow {
    /// A row that names nothing yet, and so holds for everything.
    #[must_use]
    pub fn new(name: &str, then: ContextRuling) -> Self {
        Self {
            name: name.into(),
            asset_known: None,
            owner: Vec::new(),
            tier: Vec::new(),
            data_class: Vec::new(),
            environment: Vec::new(),
            team: Vec::new(),
            identity_kind: None,
            break_glass: None,
            then,
        }
    }

    /// True when it says something of accounts.
    #[must_use]
    pub fn is_about_identities(&self) -> bool {
        !self.team.is_empty() || self.identity_kind.is_some() || self.break_glass.is_some()
    }

    /// True when it says something of the target.
    #[must_use]
    pub fn is_about_assets(&self) -> bool {
        let lists = [&self.owner, &self.tier, &self.data_class, &self.environment];
        self.asset_known.is_some() || lists.iter().any(|it| !it.is_empty())
    }

    fn holds_for(&self, asset: Option<&Asset>) -> bool {
        let has = |wanted: &[Box<str>], value: fn(&Asset) -> &Option<Arc<str>>| {
            wanted.is_empty()
                || asset
                    .and_then(|it| value(it).as_deref())
                    .is_some_and(|value| is_one_of(wanted, value))
        };
        self.asset_known.is_none_or(|wanted| wanted == asset.is_some())
            && has(&self.owner, |it| &it.owner)
            && has(&self.tier, |it| &it.tier)
            && has(&self.data_class, |it| &it.data_class)
            && has(&self.environment, |it| &it.environment)
    }

    fn holds_for_identity(&self, it: &Identity) -> bool {
        let of_team = it.team.as_deref().is_some_and(|team| is_one_of(&self.team, team));
        (self.team.is_empty() || of_team)
            && self.identity_kind.is_none_or(|wanted| it.kind == Some(wanted))
            && self.break_glass.is_none_or(|wanted| wanted == it.break_glass)
    }
}

fn is_one_of(wanted: &[Box<str>], value: &str) -> bool {
    wanted.iter().any(|it| &**it == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that names one thing, whether it holds for `asset` and `account`.
    fn holds(name_it: impl FnOnce(&mut ContextRow), asset: &Asset, account: &KnownAccount) -> bool {
        let mut row = ContextRow::new("row", ContextRuling::Refuse);
        name_it(&mut row);
        let table = ContextTable { rows: vec![row] };
        table.decide(Some(asset), std::slice::from_ref(account)).is_some()
    }

    #[test]
    fn a_row_holds_by_each_thing_that_it_can_name() {
        let asset = Asset {
            owner: Some("payments".into()),
            tier: Some("0".into()),
            data_class: Some("pci".into()),
            environment: Some("production".into()),
            named: "10.0.0.1".into(),
            by: "assets.yaml".into(),
        };
        let account = KnownAccount {
            name: "backup".into(),
            identity: Some(Identity {
                team: Some("ops".into()),
                kind: Some(IdentityKind::Service),
                break_glass: false,
                by: "people.csv".into(),
            }),
        };
        type Name = fn(&mut ContextRow, bool);
        let words: [(&str, Name); 7] = [
            ("owner", |it, right| it.owner = vec![pick(right, "payments")]),
            ("tier", |it, right| it.tier = vec![pick(right, "0")]),
            ("data_class", |it, right| it.data_class = vec![pick(right, "pci")]),
            ("environment", |it, right| {
                it.environment = vec![pick(right, "production")];
            }),
            ("team", |it, right| it.team = vec![pick(right, "ops")]),
            ("identity_kind", |it, right| {
                it.identity_kind = Some(if right {
                    IdentityKind::Service
                } else {
                    IdentityKind::Human
                });
            }),
            ("break_glass", |it, right| it.break_glass = Some(!right)),
        ];
        for (what, name_it) in words {
            assert!(holds(|it| name_it(it, true), &asset, &account), "{what}");
            assert!(!holds(|it| name_it(it, false), &asset, &account), "{what}");
        }
    }

    fn pick(right: bool, word: &str) -> Box<str> {
        if right { word.into() } else { "other".into() }
    }
}
