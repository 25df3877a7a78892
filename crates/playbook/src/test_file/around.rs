//! What a test says is known around its events.

use std::collections::BTreeMap;
use std::net::IpAddr;

use staunch_model::{Asset, Identity, Place, Rating, Surroundings};

/// Answers from what the test says. What it says nothing of is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Assets by address.
    pub assets: BTreeMap<IpAddr, Asset>,
    /// Assets by the name of their host.
    pub hosts: BTreeMap<String, Asset>,
    /// Accounts.
    pub identities: BTreeMap<String, Identity>,
    /// Where addresses are.
    pub places: BTreeMap<IpAddr, At>,
    /// How bad addresses are. Of the others it is known that no feed names them; `None` when nothing is known of any.
    pub ratings: Option<BTreeMap<IpAddr, Rating>>,
}

/// Where an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The country.
    pub country: Option<String>,
    /// The number of the autonomous system.
    pub asn: Option<u32>,
    /// Whose that system is.
    pub organization: Option<String>,
}

impl Surroundings for Around {
    fn asset_at(&self, ip: IpAddr) -> Option<&Asset> {
        self.assets.get(&ip.to_canonical())
    }

    fn asset_named(&self, name: &str) -> Option<&Asset> {
        self.hosts.get(name)
    }

    fn identity(&self, account: &str) -> Option<&Identity> {
        self.identities.get(account)
    }

    fn place(&self, ip: IpAddr) -> Place<'_> {
        let at = self.places.get(&ip.to_canonical());
        at.map_or_else(Place::default, |at| Place {
            country: at.country.as_deref(),
            asn: at.asn,
            organization: at.organization.as_deref(),
        })
    }

    fn rating(&self, ip: IpAddr) -> Option<Rating> {
        let ratings = self.ratings.as_ref()?;
        Some(ratings.get(&ip.to_canonical()).copied().unwrap_or_default())
    }
}
