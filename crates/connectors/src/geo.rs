//! Where addresses are: databases in MaxMind's format, such as GeoLite2 Country, City and ASN, or those of DB-IP.
//!
//! Never maps a file into memory: one that is being replaced would change under look-ups. What cannot be decoded is not
//! known.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};
use staunch_model::{Place, Printable};

use crate::lists::Invalid;

/// The longest database that is read: a City database has about 64 MiB, a Country database a tenth of that.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// The longest text that is taken out of a database, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// A database.
pub struct Database {
    reader: Reader<Vec<u8>>,
}

impl Database {
    /// The database in `bytes`.
    ///
    /// # Errors
    /// When it is not one, or is cut off: what describes it stands at its end.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Invalid> {
        let reader = Reader::from_source(bytes).map_err(|error| Invalid {
            line: None,
            what: Printable(&error.to_string()).to_string(),
            hint: "is it the .mmdb file, unpacked and whole?".into(),
        })?;
        Ok(Self { reader })
    }

    /// What it calls itself, such as `GeoLite2-ASN`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// How many nodes its tree has, which grows with what it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.reader.metadata().node_count).unwrap_or(usize::MAX)
    }

    /// True when it knows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where `ip` is, as far as this database knows.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Place<'_> {
        let Ok(found) = self.reader.lookup(ip.to_canonical()) else {
            return Place::default();
        };
        if !found.has_data() {
            return Place::default();
        }
        let text = |path: &[PathElement<'_>]| -> Option<&str> {
            let text: &str = found.decode_path(path).ok().flatten()?;
            (!text.is_empty()).then(|| staunch_model::text::clip(text, TEXT_BYTES_MAX))
        };
        let key = PathElement::Key;
        let of_country = text(&[key("country"), key("iso_code")]);
        Place {
            // An address of a provider may be registered in one country and used in none that is known.
            country: of_country.or_else(|| text(&[key("registered_country"), key("iso_code")])),
            asn: found.decode_path(&[key("autonomous_system_number")]).ok().flatten(),
            organization: text(&[key("autonomous_system_organization")]),
        }
    }
}

/// Where `ip` is, by the first of `databases` that knows each part.
pub fn find<'d>(databases: impl IntoIterator<Item = &'d Database>, ip: IpAddr) -> Place<'d> {
    let mut place = Place::default();
    for it in databases {
        let found = it.find(ip);
        place.country = place.country.or(found.country);
        // Whose a system is, is said by the database that says which it is.
        if place.asn.is_none() {
            (place.asn, place.organization) = (found.asn, found.organization);
        }
        if place.country.is_some() && place.asn.is_some() {
            break;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTRY: &[u8] = include_bytes!("../tests/data/mmdb/country.mmdb");
    const ASN: &[u8] = include_bytes!("../tests/data/mmdb/asn.mmdb");

    fn database(bytes: &[u8]) -> Database {
        Database::new(bytes.to_vec()).expect("it is one")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn databases_complete_each_other() {
        let (country, asn) = (database(COUNTRY), database(ASN));
        assert_eq!(
            (country.kind(), asn.kind()),
            ("Staunch-Test-Country", "Staunch-Test-ASN")
        );
        let all = [&country, &asn];
        let place = find(all, ip("203.0.113.7"));
        assert_eq!(
            (place.country, place.asn, place.organization),
            (Some("DE"), Some(64_496), Some("Example Networks"))
        );
        assert_eq!(find(all, ip("::ffff:203.0.113.7")), place);
        let place = find(all, ip("2001:db8::1"));
        assert_eq!((place.country, place.asn), (Some("SE"), Some(4_200_000_001)));
        // Known to one of them only; in use nowhere, registered somewhere; known to none.
        let place = find(all, ip("203.0.113.200"));
        assert_eq!((place.country, place.asn), (None, Some(64_496)));
        assert_eq!(find(all, ip("198.51.100.1")).country, Some("US"));
        assert_eq!(find(all, ip("192.0.2.1")), Place::default());
    }

    #[test]
    fn what_is_no_database_or_cut_off_is_refused() {
        for bytes in [&b""[..], b"<html>", &COUNTRY[..COUNTRY.len() / 2]] {
            let invalid = Database::new(bytes.to_vec()).err().expect("it is none");
            assert!(!invalid.what.is_empty() && !invalid.hint.is_empty(), "{invalid:?}");
        }
    }

    /// Whatever is wrong inside makes a place unknown, and nothing worse.
    #[test]
    fn any_byte_may_be_any_other() {
        for at in 0..ASN.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = ASN.to_vec();
                bytes[at] ^= flip;
                if let Ok(it) = Database::new(bytes) {
                    for text in ["203.0.113.7", "2001:db8::1", "192.0.2.1", "255.255.255.255"] {
                        let place = it.find(ip(text));
                        assert!(place.organization.is_none_or(|it| it.len() <= TEXT_BYTES_MAX));
                    }
                }
            }
        }
    }
}
