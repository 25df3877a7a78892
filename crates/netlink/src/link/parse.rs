//! Reads addresses and routes out of rtnetlink messages.

use std::net::IpAddr;

use super::{FAMILY_V4, FAMILY_V6, IFA_ADDRESS, IFA_LOCAL, RTA_GATEWAY, TABLE_MAIN};
use crate::message::{Attribute, Attributes, Malformed, parse_attributes};

const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
/// The length of `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;
/// The length of `struct rtmsg`.
const ROUTE_HEADER_BYTES: usize = 12;
/// The length of `struct rtnexthop`.
const NEXT_HOP_HEADER_BYTES: usize = 8;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address of this side of the link.
    pub address: IpAddr,
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// The index of the link.
    pub index: u32,
}

/// Reads an address out of the payload of a message. It is `None` for families other than IPv4 and IPv6.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_address(payload: &[u8]) -> Result<Option<InterfaceAddress>, Malformed> {
    let (header, attributes) = payload
        .split_first_chunk::<ADDRESS_HEADER_BYTES>()
        .ok_or(Malformed { what: "address header" })?;
    let [family, prefix, _, _, i0, i1, i2, i3] = *header;
    if family != FAMILY_V4 && family != FAMILY_V6 {
        return Ok(None);
    }
    let (mut local, mut address) = (None, None);
    for attribute in parse_attributes(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = Some(ip(&attribute)?),
            IFA_ADDRESS => address = Some(ip(&attribute)?),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other side, and IFA_LOCAL this one.
    let address = local.or(address).ok_or(Malformed {
        what: "address without an address",
    })?;
    Ok(Some(InterfaceAddress {
        address,
        prefix,
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
    }))
}

/// Reads the next hops out of the payload of a route message, when it is a default route of the main table.
///
/// # Errors
///
/// [`Malformed`].
pub fn parse_gateways(payload: &[u8]) -> Result<Vec<IpAddr>, Malformed> {
    let (header, attributes) = payload
        .split_first_chunk::<ROUTE_HEADER_BYTES>()
        .ok_or(Malformed { what: "route header" })?;
    let mut table = u32::from(header[4]);
    let mut gateways = Vec::new();
    for attribute in parse_attributes(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            RTA_TABLE => table = attribute.u32_ne()?,
            RTA_MULTIPATH => next_hops(attribute.payload, &mut gateways)?,
            _ => gateways.extend(gateway(&attribute)?),
        }
    }
    let is_default = header[1] == 0 && table == u32::from(TABLE_MAIN);
    Ok(if is_default { gateways } else { Vec::new() })
}

/// Reads the list of next hops of a route with several paths.
fn next_hops(mut rest: &[u8], gateways: &mut Vec<IpAddr>) -> Result<(), Malformed> {
    let malformed = Malformed { what: "next hop" };
    while !rest.is_empty() {
        let [l0, l1, ..] = *rest.first_chunk::<NEXT_HOP_HEADER_BYTES>().ok_or(malformed)?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let inner: Attributes<'_> = parse_attributes(rest.get(NEXT_HOP_HEADER_BYTES..length).ok_or(malformed)?);
        for attribute in inner {
            gateways.extend(gateway(&attribute?)?);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(())
}

fn gateway(attribute: &Attribute<'_>) -> Result<Option<IpAddr>, Malformed> {
    match attribute.kind {
        RTA_GATEWAY => ip(attribute).map(Some),
        // A next hop of the other family: two bytes of family before the address.
        RTA_VIA => {
            let payload = attribute.payload.get(2..).ok_or(Malformed { what: "next hop" })?;
            ip(&Attribute {
                kind: attribute.kind,
                payload,
            })
            .map(Some)
        }
        _ => Ok(None),
    }
}

fn ip(attribute: &Attribute<'_>) -> Result<IpAddr, Malformed> {
    match attribute.payload.len() {
        4 => attribute.array::<4>().map(IpAddr::from),
        _ => attribute.array::<16>().map(IpAddr::from),
    }
}
