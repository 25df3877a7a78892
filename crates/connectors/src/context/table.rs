//! What several files say together, to be asked many times.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use staunch_model::{Asset, Identity, Prefixes};

use super::{AssetEntry, IdentityEntry, Subject, key};

/// Assets by network and by name.
#[derive(Clone, Debug, Default)]
pub struct AssetTable {
    files: Vec<Arc<[AssetEntry]>>,
    /// File and entry of each network.
    networks: Box<[(u32, u32)]>,
    prefixes: Prefixes,
    hosts: HashMap<Box<str>, (u32, u32)>,
}

impl AssetTable {
    /// The table of what `files` say. Of equal networks and of equal names, that of the first file holds.
    #[must_use]
    pub fn new(files: Vec<Arc<[AssetEntry]>>) -> Self {
        let (mut networks, mut places, mut hosts) = (Vec::new(), Vec::new(), HashMap::new());
        for (file, entries) in (0..).zip(&files) {
            for (at, entry) in (0..).zip(&**entries) {
                match &entry.subject {
                    Subject::Network(network) => {
                        networks.push(*network);
                        places.push((file, at));
                    }
                    Subject::Host(host) => {
                        hosts.entry(host.clone()).or_insert((file, at));
                    }
                }
            }
        }
        Self {
            networks: places.into(),
            prefixes: Prefixes::new(&networks),
            hosts,
            files,
        }
    }

    /// What is said of `ip`, by the narrowest network around it.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Option<&Asset> {
        let at = self.prefixes.longest_match(ip.to_canonical())?;
        self.entry(*self.networks.get(at)?)
    }

    /// What is said of the host called `name`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Asset> {
        self.entry(*find(&self.hosts, name)?)
    }

    fn entry(&self, (file, at): (u32, u32)) -> Option<&Asset> {
        let entries = self.files.get(usize::try_from(file).ok()?)?;
        entries.get(usize::try_from(at).ok()?).map(|it| &it.asset)
    }
}

/// Accounts by name.
#[derive(Clone, Debug, Default)]
pub struct IdentityTable(HashMap<Box<str>, Identity>);

impl IdentityTable {
    /// The table of what `files` say. Of equal names, that of the first file holds.
    #[must_use]
    pub fn new<'f>(files: impl IntoIterator<Item = &'f Arc<[IdentityEntry]>>) -> Self {
        let mut accounts = HashMap::new();
        for entry in files.into_iter().flat_map(|it| &**it) {
            accounts
                .entry(entry.account.clone())
                .or_insert_with(|| entry.identity.clone());
        }
        Self(accounts)
    }

    /// What is said of `account`.
    #[must_use]
    pub fn get(&self, account: &str) -> Option<&Identity> {
        find(&self.0, account)
    }
}

/// Most names have small letters only, and are looked up without a copy.
fn find<'m, T>(map: &'m HashMap<Box<str>, T>, name: &str) -> Option<&'m T> {
    if map.is_empty() {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return map.get(&key(name));
    }
    map.get(name)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, assets, identities};
    use super::*;

    #[test]
    fn the_narrowest_network_decides_whole_and_of_equal_ones_the_first_file() {
        let read = |file: &str, text: &str| assets(Format::Csv, file, text.as_bytes()).expect("it is well formed");
        let first = read(
            "a",
            "network,host,tier,owner\n10.0.0.0/8,,one,ops\n10.1.0.0/16,,two,\n,db-1,three,\n2001:db8::/32,,six,\n",
        );
        let second = read(
            "b",
            "network,host,tier\n10.1.0.0/16,,other\n10.1.2.3,,host\n,DB-1,other\n",
        );
        let table = AssetTable::new(vec![first.into(), second.into()]);
        let tier = |ip: &str| {
            let asset = table.at(ip.parse().expect("an address"))?;
            Some((asset.tier.as_deref()?, asset.owner.as_deref(), &*asset.by))
        };
        assert_eq!(tier("10.2.0.1"), Some(("one", Some("ops"), "a, line 2")));
        // The wider network's owner is not the narrower one's.
        assert_eq!(tier("10.1.0.1"), Some(("two", None, "a, line 3")));
        assert_eq!(tier("10.1.2.3"), Some(("host", None, "b, line 3")));
        assert_eq!(tier("::ffff:10.1.2.3"), tier("10.1.2.3"));
        assert_eq!(tier("2001:db8::1"), Some(("six", None, "a, line 5")));
        assert_eq!(tier("192.0.2.1"), None);
        let named = |name: &str| table.named(name).and_then(|it| it.tier.as_deref());
        assert_eq!(
            [named("db-1"), named("Db-1"), named("db-2")],
            [Some("three"), Some("three"), None]
        );
    }

    #[test]
    fn accounts_are_found_without_case() {
        let read = identities(Format::Csv, "a", b"account,break_glass\nEmergency,true\n").expect("it is well formed");
        let table = IdentityTable::new([&read.into()]);
        assert!(table.get("EMERGENCY").is_some_and(|it| it.break_glass));
        assert!(table.get("emergency2").is_none());
    }
}
