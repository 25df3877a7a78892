//! Databases of places.
//!
//! What holds: a database is read or refused with a hint, in words that can be shown; whatever is in it, addresses are
//! looked up without harm, and what is found is short.

use std::net::IpAddr;

use staunch_connectors::geo::Database;

use crate::shown::assert_line;

/// Reads a database, and looks up some addresses in it.
pub fn run(data: &[u8]) {
    let database = match Database::new(data.to_vec()) {
        Ok(database) => database,
        Err(invalid) => {
            assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
            assert_line(&invalid.what);
            assert_line(&invalid.hint);
            return;
        }
    };
    let mut addresses: Vec<IpAddr> = vec![
        [203, 0, 113, 7].into(),
        [0; 4].into(),
        [255; 4].into(),
        [0_u8; 16].into(),
        [255_u8; 16].into(),
    ];
    addresses.extend(data.first_chunk::<16>().map(|it| IpAddr::from(*it)));
    for ip in addresses {
        let place = database.find(ip);
        for text in [place.country, place.organization].into_iter().flatten() {
            assert!(!text.is_empty() && text.len() <= 128);
        }
        assert_eq!(database.find(ip), place);
    }
}
