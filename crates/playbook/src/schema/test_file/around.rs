//! What a test says is known around its events.

use std::collections::BTreeMap;
use std::net::IpAddr;

use staunch_model::{Asset, ContextRow, Identity, Printable, Rating, Score};

use super::super::fields::Fields;
use super::super::{Walk, shape};
use crate::test_file::{Around, Located};
use crate::yaml::Node;

impl Walk<'_, '_> {
    /// What is known around events.
    pub(super) fn around(&mut self, fields: &Fields<'_>) -> Option<Around> {
        let mut around = Around::default();
        if let Some(node) = fields.get("assets") {
            for (key, value) in self.pairs(node, "`assets`", "an address or a host and what it is") {
                let named = self.scalar(key, "assets")?;
                let asset = self.asset(named, value)?;
                match named.parse::<IpAddr>() {
                    Ok(ip) => drop(around.assets.insert(ip.to_canonical(), asset)),
                    Err(_) => drop(around.hosts.insert(named.to_owned(), asset)),
                }
            }
        }
        if let Some(node) = fields.get("identities") {
            for (key, value) in self.pairs(node, "`identities`", "an account and what it is") {
                let account = self.scalar(key, "identities")?.to_owned();
                around.identities.insert(account, self.identity(value)?);
            }
        }
        if let Some(node) = fields.get("places") {
            for (key, value) in self.pairs(node, "`places`", "an address and where it is") {
                let ip = self.plain_address(key)?;
                around.places.insert(ip, self.located(value)?);
            }
        }
        if let Some(node) = fields.get("ratings") {
            let mut ratings = BTreeMap::new();
            for (key, value) in self.pairs(node, "`ratings`", "an address and how bad it is") {
                let ip = self.plain_address(key)?;
                ratings.insert(ip, self.rating(value)?);
            }
            around.ratings = Some(ratings);
        }
        Some(around)
    }

    fn asset(&mut self, named: &str, node: &Node) -> Option<Asset> {
        let fields = self.fields(node, &shape::ASSET)?;
        let mut word = |key| match fields.get(key) {
            Some(node) => Some(Some(self.scalar(node, key)?.into())),
            None => Some(None),
        };
        Some(Asset {
            owner: word("owner")?,
            tier: word("tier")?,
            data_class: word("data_class")?,
            environment: word("environment")?,
            named: named.into(),
            by: "the test".into(),
        })
    }

    fn identity(&mut self, node: &Node) -> Option<Identity> {
        let fields = self.fields(node, &shape::IDENTITY)?;
        let team = match fields.get("team") {
            Some(node) => Some(self.scalar(node, "team")?.into()),
            None => None,
        };
        let kind = match fields.get("kind") {
            Some(node) => Some(self.word(node, "kind", &shape::IDENTITY_KINDS)?),
            None => None,
        };
        let break_glass = match fields.get("break_glass") {
            Some(node) => self.word(node, "break_glass", &shape::ENFORCING)?,
            None => false,
        };
        Some(Identity {
            team,
            kind,
            break_glass,
            by: "the test".into(),
        })
    }

    /// A row of the context guard, as `[[context.guards]]` of the configuration has them.
    pub(super) fn context_row(&mut self, node: &Node) -> Option<ContextRow> {
        let fields = self.fields(node, &shape::CONTEXT_ROW)?;
        let name = self.required(&fields, "name").and_then(|it| self.scalar(it, "name"));
        let then = self
            .required(&fields, "then")
            .and_then(|it| self.word(it, "then", &shape::RULINGS));
        let mut words = |key| match fields.get(key) {
            Some(node) => self.entries(node, key, |walk, item| Some(walk.scalar(item, key)?.into())),
            None => Some(Vec::new()),
        };
        let [owner, tier, data_class, environment, team] =
            ["owner", "tier", "data_class", "environment", "team"].map(&mut words);
        let mut truth = |key| match fields.get(key) {
            Some(node) => self.word(node, key, &shape::ENFORCING).map(Some),
            None => Some(None),
        };
        let [asset_known, break_glass] = ["asset_known", "break_glass"].map(&mut truth);
        let identity_kind = match fields.get("identity_kind") {
            Some(node) => Some(self.word(node, "identity_kind", &shape::IDENTITY_KINDS)?),
            None => None,
        };
        Some(ContextRow {
            name: Printable(name?).to_string().into(),
            asset_known: asset_known?,
            owner: owner?,
            tier: tier?,
            data_class: data_class?,
            environment: environment?,
            team: team?,
            identity_kind,
            break_glass: break_glass?,
            then: then?,
        })
    }

    fn located(&mut self, node: &Node) -> Option<Located> {
        let fields = self.fields(node, &shape::LOCATED)?;
        let mut located = Located::default();
        if let Some(node) = fields.get("country") {
            located.country = Some(self.scalar(node, "country")?.to_owned());
        }
        if let Some(node) = fields.get("asn") {
            located.asn = Some(self.number(node, "asn", 0, u32::MAX)?);
        }
        if let Some(node) = fields.get("organization") {
            located.organization = Some(self.scalar(node, "organization")?.to_owned());
        }
        Some(located)
    }

    fn rating(&mut self, node: &Node) -> Option<Rating> {
        let fields = self.fields(node, &shape::RATING)?;
        let score = self.required(&fields, "score")?;
        let score = self.percentage(score, "score")?;
        let confidence = match fields.get("confidence") {
            Some(node) => self.number(node, "confidence", 0, 100)?,
            None => 100,
        };
        Some(Rating {
            // Hundredths of a percent are tenths of a thousandth.
            score: Score::from_thousandths(u16::try_from(score / 10).unwrap_or(u16::MAX)),
            confidence: u8::try_from(confidence).ok(),
        })
    }

    fn plain_address(&mut self, node: &Node) -> Option<IpAddr> {
        let ip: IpAddr = self.parsed(node, "an address", "write for example 203.0.113.7")?;
        Some(ip.to_canonical())
    }
}
