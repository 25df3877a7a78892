//! Makes the table in a user and network namespace of its own, fills and empties it, and needs no privilege for it.
//!
//! It ends with an error where the system forbids user namespaces, and says which setting decides.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use staunch_netlink::link::Links;
use staunch_netlink::namespace::enter_user_and_net;
use staunch_netlink::nftables::{COMMENT_BYTES_MAX, ELEMENTS_PER_BATCH_MAX, NewElement, Nft, NftError, TableOptions};

fn main() -> Result<(), Box<dyn Error>> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    enter_user_and_net()?;
    Links::open(TIMEOUT)?.set_up("lo")?;
    let mut nft = Nft::open("staunch", TIMEOUT)?;
    nft.ensure_table(TableOptions {
        elements_max: 10_000,
        track_flows: true,
    })?;

    let comment = "x".repeat(COMMENT_BYTES_MAX);
    let addresses: Vec<IpAddr> = (1..)
        .take(ELEMENTS_PER_BATCH_MAX)
        .map(|it| Ipv4Addr::from(0x0a00_0000 + it).into())
        .collect();
    let elements: Vec<_> = addresses
        .iter()
        .map(|address| NewElement {
            address: *address,
            timeout: Duration::from_secs(60),
            comment: &comment,
        })
        .collect();
    nft.add_elements(&elements)?;
    // Every element is refused, which is more answers than the receive buffer holds.
    match nft.add_elements(&elements) {
        Err(NftError::Exists { .. }) => {}
        other => return Err(format!("expected that the elements exist, got {other:?}").into()),
    }
    if nft.get_elements(&addresses)?.contains(&None) || nft.list_elements()?.len() != addresses.len() {
        return Err("an element is missing".into());
    }
    nft.delete_elements(&addresses)?;
    if !nft.chains_intact()? {
        return Err("the table is not whole".into());
    }
    Ok(nft.delete_table()?)
}
